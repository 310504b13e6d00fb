"""What is kept of an order that is over: late facts have no effect on it, and the buyer is gone."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from gateway.core.order import Closing, Facts, Order, OrderNumber, Receiver, RefundStatus, Stage, reduced
from gateway.pipeline.decide import Decision
from tests.core.sample import closed, content, held, paid, placed, refund, said, shipped
from tests.pipeline.sample import Books, rules

NUMBER = OrderNumber("A1")

SHIPPED = (placed(1), paid(2), shipped())
CANCELLED = (placed(1), paid(2), closed(4))
REFUNDED = (placed(1), paid(2), refund(3, RefundStatus.DONE))


def over(facts: Sequence[Facts]) -> Books:
    """The books with that order, reduced."""
    books = Books(rules(), {"X": 10})
    for one in facts:
        books.take([(NUMBER, one)])
    books.orders[NUMBER] = reduced(books.orders[NUMBER])
    books.ledger.clear()
    return books


def told(books: Books, *late: Facts) -> Decision:
    [decision] = books.take([(NUMBER, one) for one in late])
    return decision


@pytest.mark.parametrize("facts", [SHIPPED, CANCELLED, REFUNDED], ids=["shipped", "cancelled", "refunded"])
def test_everything_that_was_told_before_changes_nothing(facts: tuple[Facts, ...]) -> None:
    for late in ((one,) for one in (*facts, placed(1), paid(2), held(2, yes=False))):
        books = over(facts)
        before = books.orders[NUMBER]
        decision = told(books, *late)
        assert decision.commands == () and decision.movements == ()
        assert decision.order.stage is before.stage and decision.order.content == before.content
    books = over(facts)
    assert not told(books, *facts).changed


def test_the_buyer_is_gone_and_what_was_ordered_stays() -> None:
    order = over(SHIPPED).orders[NUMBER]
    assert order.content is not None
    assert order.content.value.receiver == Receiver()
    assert order.content.value.lines == content().lines
    assert "文一路" not in msgspec.json.encode(order).decode()
    assert reduced(order) is order


def test_a_newer_version_with_the_same_content_is_no_change_of_what_was_sent() -> None:
    assert told(over(SHIPPED), said(9, content=content())).order.conflicts == ()
    memo = msgspec.structs.replace(content(), seller_note="came back")
    assert told(over(SHIPPED), said(9, content=memo)).order.conflicts == ()
    order = told(over(CANCELLED), said(9, content=memo)).order
    assert order.stage is Stage.CANCELLED and "changed_after_sent" not in order.conflicts


def test_a_shop_that_wants_a_cancelled_order_after_all_is_for_a_person() -> None:
    decision = told(over(CANCELLED), said(9, closing=Closing(False)))
    assert decision.commands == ()
    assert decision.order.stage is Stage.RECEIVED and "missing:receiver.phone" in decision.order.reasons


def test_an_order_without_content_stays_as_it_is() -> None:
    order = Order(number=NUMBER)
    assert reduced(order) is order
