"""Tables and properties of the merged order."""

from __future__ import annotations

import pytest

from gateway.core.order import Facts, Hold, Order, OrderNumber, Party, Payment, RefundStatus, merge
from tests.core.sample import RECEIVER, SHOP, held, paid, placed, refund, said
from tests.pipeline.sample import decide

OPEN, DONE, REJECTED = RefundStatus.OPEN, RefundStatus.DONE, RefundStatus.REJECTED
PLACED, PAID = placed(1, X=2), paid(2)


# --- merge ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "is_paid"),
    [
        ([paid(2), said(1, payment=Payment(False))], True),
        ([said(1, payment=Payment(False)), paid(2)], True),
        ([paid(2), said(3, payment=Payment(False))], False),
        ([paid(2), paid(2)], True),
    ],
    ids=["older after newer", "newer after older", "taken back", "twice"],
)
def test_the_newest_version_wins(facts: list[Facts], is_paid: bool) -> None:
    order = Order(number=OrderNumber("A1"))
    for one in facts:
        order = merge(order, one, SHOP)
    assert order.paid is is_paid


def test_of_one_version_the_later_status_wins() -> None:
    low = Facts(party=Party.SHOP, order_no="1", version=1, rank=10, payment=Payment(False))
    high = Facts(party=Party.SHOP, order_no="1", version=1, rank=20, payment=Payment(True, 5))
    for pair in ((low, high), (high, low)):
        order = Order(number=OrderNumber("A1"))
        for one in pair:
            order = merge(order, one, SHOP)
        assert order.paid


def test_of_one_version_and_status_both_arrivals_agree() -> None:
    one, other = said(1, hold=Hold(True, "risk")), said(1, hold=Hold(True, "presale"))
    results = set()
    for pair in ((one, other), (other, one)):
        order = Order(number=OrderNumber("A1"))
        for facts in pair:
            order = merge(order, facts, SHOP)
        assert order.hold is not None
        results.add(order.hold.value.reason)
    assert len(results) == 1


@pytest.mark.parametrize(
    ("one", "other", "status"),
    [(OPEN, DONE, DONE), (OPEN, REJECTED, REJECTED), (REJECTED, DONE, DONE)],
)
def test_of_one_version_and_status_a_refund_is_as_far_as_it_got(
    one: RefundStatus, other: RefundStatus, status: RefundStatus
) -> None:
    for pair in ((one, other), (other, one)):
        order = Order(number=OrderNumber("A1"))
        for refund_status in pair:
            order = merge(order, refund(3, refund_status), SHOP)
        assert order.refunds["R1"].value.status is status


def test_an_older_refund_that_got_further_does_not_win() -> None:
    order = Order(number=OrderNumber("A1"))
    for facts in (refund(3, DONE), refund(4, OPEN), refund(3, DONE)):
        order = merge(order, facts, SHOP)
    assert order.refunds["R1"].value.status is OPEN


def test_nothing_new_gives_the_same_object() -> None:
    order = merge(Order(number=OrderNumber("A1")), PLACED, SHOP)
    assert merge(order, PLACED, SHOP) is order
    assert merge(order, said(0, hold=None), SHOP) is order


def test_one_group_does_not_move_another() -> None:
    """A newer event that says nothing about the payment leaves it as it is known."""
    order = decide(PLACED, PAID, held(9, yes=False))
    assert order.paid and order.payment is not None and order.payment.version == 2


def test_the_receiver_of_the_sample_is_masked() -> None:
    assert "*" in RECEIVER.name and "*" in RECEIVER.phone
