"""The platform's orders as facts: amounts, statuses, receivers, and what a dead letter says."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.pinduoduo import mapping
from adapters.pinduoduo.settings import Refunds, Settings
from gateway.core.order import Facts, Order, OrderNumber, Route, Stage, merge
from gateway.pipeline.decide import Step, fold, settle
from gateway.pipeline.review import reasons_to_wait
from gateway.pipeline.rules import Rules, Shop
from gateway.sdk.models import (
    BadInput,
    Closing,
    ConnectionName,
    Content,
    Hold,
    Line,
    Party,
    Payment,
    Receiver,
    Refund,
    RefundStatus,
    Sku,
)
from gateway.store.work import WAIT_FOR_OTHERS
from tests.adapters.pinduoduo.shop import settings_for
from tests.languages import is_told

SN = "260501-123456789012345"
INFO: dict[str, Any] = {
    "order_sn": SN,
    "order_status": 1,
    "confirm_status": 1,
    "group_status": 1,
    "refund_status": 1,
    "after_sales_status": 0,
    "risk_control_status": 0,
    "created_time": "2026-05-01 09:28:10",
    "pay_time": "2026-05-01 09:28:30",
    "pay_type": "WEIXIN",
    "confirm_time": "2026-05-01 09:28:31",
    "updated_at": "2026-05-01 09:28:35",
    "last_ship_time": "2026-05-03 09:28:31",
    "province": "广东省",
    "city": "深圳市",
    "town": "南山区",
    "receiver_name": "~AgAAAA==~cipher~",
    "receiver_name_mask": "李**",
    "receiver_phone": "$AgAA$cipher$",
    "receiver_phone_mask": "1*********1",
    "receiver_address": "~AgAA==~cipher~",
    "receiver_address_mask": "科**路***",
    "open_address_id": "OA1",
    "goods_amount": 79.8,
    "discount_amount": 5.0,
    "platform_discount": 3.0,
    "seller_discount": 2.0,
    "postage": 0.0,
    "pay_amount": 74.8,
    "buyer_memo": "快点",
    "remark": "",
    "item_list": [
        {
            "goods_id": "900001",
            "sku_id": "800001",
            "outer_id": "TEA-250G",
            "goods_name": "绿茶",
            "goods_spec": "250g",
            "goods_price": 39.9,
            "goods_count": 2,
        }
    ],
}
SEALED = '{"open_address_id":"OA1","name":"~AgAAAA==~cipher~","phone":"$AgAA$cipher$","address":"~AgAA==~cipher~"}'
SETTINGS = settings_for("http://127.0.0.1")
RULES = Rules(shops={}, mandatory=tuple(f"receiver.{name}" for name in ("name", "phone", "province", "city", "detail")))
EMPTIED = {"receiver_name": "", "receiver_phone": "", "receiver_address": "", "open_address_id": ""}
"""What the platform answers once an order is no longer to be shipped."""


def decode(**changes: Any) -> Facts:
    return mapping.decode(json.dumps({**INFO, **changes}).encode(), SETTINGS)


def test_an_order_to_ship() -> None:
    assert decode() == Facts(
        party=Party.SHOP,
        order_no=SN,
        version=1777598915000,
        rank=mapping.RANK_PAID + 1,
        content=Content(
            datetime(2026, 5, 1, 1, 28, 10, tzinfo=UTC),
            (Line("1", Sku("TEA-250G"), 2, 3990, "绿茶 250g"),),
            Receiver("李**", "1*********1", "广东省", "深圳市", "南山区", "", "科**路***", "", SEALED),
            7480,
            freight_minor=0,
            discount_minor=500,
            buyer_note="快点",
            latest_ship_at=datetime(2026, 5, 3, 1, 28, 31, tzinfo=UTC),
        ),
        payment=Payment(True, 7480, datetime(2026, 5, 1, 1, 28, 30, tzinfo=UTC), "WEIXIN"),
        hold=Hold(False),
        closing=Closing(False),
        refunds=(Refund(SN, RefundStatus.REJECTED, 0, ""),),
        left=False,
    )


# --- statuses ---------------------------------------------------------------------------------------------------

GROUPING = {"confirm_status": 0, "group_status": 0}
REVIEW = {"risk_control_status": 1, **EMPTIED}
SHIPPED = {"order_status": 2, **EMPTIED}


@pytest.mark.parametrize(
    ("changes", "paid", "hold", "closing", "refund", "rank"),
    [
        ({**GROUPING, "pay_time": ""}, False, "拼团中", "", None, mapping.RANK_CREATED),
        (GROUPING, True, "拼团中", "", None, mapping.RANK_CREATED),
        ({"group_status": 0}, True, "拼团中", "", None, mapping.RANK_CREATED),
        ({}, True, "", "", None, mapping.RANK_PAID),
        (REVIEW, True, "风控审核中", "", None, mapping.RANK_REVIEW),
        (SHIPPED, True, "", "", None, mapping.RANK_SHIPPED),
        ({**SHIPPED, "order_status": 3}, True, "", "", None, mapping.RANK_SIGNED),
        ({"confirm_status": 2, **EMPTIED}, True, "", "订单已取消", None, mapping.RANK_CLOSED),
        ({"confirm_status": 2, "pay_time": "", **EMPTIED}, False, "", "订单已取消", None, mapping.RANK_CLOSED),
        ({"group_status": 2, "confirm_status": 0}, True, "拼团中", "拼团失败", None, mapping.RANK_CLOSED),
        ({"refund_status": 2, "after_sales_status": 2}, True, "", "", RefundStatus.OPEN, mapping.RANK_PAID),
        ({"refund_status": 3, "after_sales_status": 4}, True, "", "", RefundStatus.OPEN, mapping.RANK_PAID),
        ({"refund_status": 4, "after_sales_status": 10}, True, "有已完成的退款", "", None, mapping.RANK_PAID),
        ({**SHIPPED, "refund_status": 4, "after_sales_status": 10}, True, "", "", None, mapping.RANK_SHIPPED),
        ({"refund_status": 1, "after_sales_status": 11}, True, "", "", RefundStatus.REJECTED, mapping.RANK_PAID),
    ],
)
def test_statuses(
    changes: dict[str, Any], paid: bool, hold: str, closing: str, refund: RefundStatus | None, rank: int
) -> None:
    facts = decode(**changes)

    assert facts.payment is not None and facts.payment.paid is paid
    assert facts.payment.amount_minor == (7480 if paid else 0)
    assert facts.hold == Hold(bool(hold), hold, for_person=hold == "有已完成的退款")
    assert facts.left is (changes.get("order_status") in (2, 3))
    assert facts.closing == Closing(bool(closing), closing)
    assert [one.status for one in facts.refunds] == [refund or RefundStatus.REJECTED]
    assert facts.rank == rank + changes.get("refund_status", 1)


def test_an_order_says_whether_a_refund_is_open_and_not_how_much_was_paid_back() -> None:
    finished = {"refund_status": 4, "after_sales_status": 10}
    assert decode(**finished).refunds == (Refund(SN, RefundStatus.REJECTED, 0, "退款成功"),)
    assert decode(refund_status=2, after_sales_status=27).refunds == (Refund(SN, RefundStatus.OPEN, 0, "售后状态 27"),)
    as_all = msgspec.structs.replace(SETTINGS, refunds=Refunds.ALL)
    facts = mapping.decode(json.dumps({**INFO, **finished}).encode(), as_all)
    assert facts.refunds == (Refund(SN, RefundStatus.DONE, 7480, "退款成功"),)
    assert facts.hold == Hold(False)


# --- after-sale cases -------------------------------------------------------------------------------------------

LATER = "2026-05-06 10:00:00"
CASE: dict[str, Any] = {
    "id": 301851299,
    "order_sn": SN,
    "after_sales_status": 10,
    "after_sales_type": 2,
    "after_sale_reason": "不想要了",
    "order_amount": "74.80",
    "refund_amount": "74.80",
    "updated_time": LATER,
}
OPENED = {"after_sales_status": 2, "updated_time": "2026-05-06 09:00:00"}
REFUNDED = {"refund_status": 4, "after_sales_status": 10}


def case(order: dict[str, Any] | None = INFO, settings: Settings = SETTINGS, **changes: Any) -> Facts:
    order_info = None if order is None else json.dumps(order).encode()
    return mapping.decode_case(mapping.case_body(json.dumps({**CASE, **changes}).encode(), order_info), settings)


def test_a_case_says_its_amount_and_brings_its_order_as_it_was_then() -> None:
    """The order's own time may stand still: read after the case had changed, it counts as of then."""
    facts = case({**INFO, **REFUNDED})
    order = decode(**REFUNDED)
    assert facts.version == 1778032800000 and order.version < facts.version
    assert facts.refunds == (*order.refunds, Refund("301851299", RefundStatus.DONE, 7480, "退款成功 不想要了"))
    assert (facts.content, facts.payment, facts.hold, facts.left) == (order.content, order.payment, order.hold, False)
    later = {**INFO, **REFUNDED, "updated_at": "2026-05-06 10:00:07"}
    assert case(later).version == facts.version + 7000
    assert case(updated_time="1778032800").version == facts.version, "UNIX seconds, as some answers have it"


def test_a_case_without_its_order_is_a_refund_and_nothing_else() -> None:
    assert case(None) == Facts(
        party=Party.SHOP,
        order_no=SN,
        version=1778032800000,
        refunds=(Refund("301851299", RefundStatus.DONE, 7480, "退款成功 不想要了"),),
    )


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (2, RefundStatus.OPEN),
        (6, RefundStatus.OPEN),
        (31, RefundStatus.OPEN),
        (10, RefundStatus.DONE),
        (11, RefundStatus.REJECTED),
        (13, RefundStatus.REJECTED),
        (16, RefundStatus.REJECTED),
    ],
)
def test_what_a_case_s_status_means(said: int, status: RefundStatus) -> None:
    assert [one.status for one in case(None, after_sales_status=said).refunds] == [status]


EXCHANGE = {"after_sales_status": 14, "refund_amount": "74.80"}


@pytest.mark.parametrize("order", [INFO, None])
def test_a_refund_that_becomes_an_exchange_or_a_repair_holds_the_order_no_longer(order: dict[str, Any] | None) -> None:
    """One case under one number all the time: as an exchange it pays nothing back, and nothing is open."""
    opened, exchange = case({**INFO, "refund_status": 2}, **OPENED), case(order, **EXCHANGE)
    assert exchange.refunds[-1] == Refund("301851299", RefundStatus.REJECTED, 0, "售后状态 14 不想要了")
    over = decode(updated_at=LATER)
    for facts in ([opened, exchange, over], [exchange, over, opened], [over, opened, exchange]):
        order_now = merged(*facts)
        assert not order_now.refund_open and not order_now.refunded
        assert reasons_to_wait(order_now, RULES) == ()
    assert settled([decode()], [exchange])[1] == ["create"], "an exchange from the start changes nothing"
    assert settled([opened], [exchange, over])[1] == ["create"]


def test_an_exchange_that_becomes_a_refund_counts() -> None:
    exchange = case(None, SETTINGS, **{**OPENED, **EXCHANGE})
    assert settled([decode(), exchange], [case({**INFO, **REFUNDED})])[0] is Stage.REFUNDED


def test_a_case_s_status_nobody_knows_is_refused_until_the_settings_say_what_it_means() -> None:
    with pytest.raises(BadInput, match="after_sales_statuses") as refused:
        case(after_sales_status=40)
    assert (refused.value.code, refused.value.where) == ("value", "$.refund.after_sales_status")
    assert is_told(refused.value.advice)
    told = msgspec.structs.replace(SETTINGS, after_sales_statuses={"40": RefundStatus.OPEN, "41": None})
    assert [one.status for one in case(None, told, after_sales_status=40).refunds] == [RefundStatus.OPEN]
    [no_refund] = case(None, told, after_sales_status=41).refunds
    assert (no_refund.status, no_refund.amount_minor) == (RefundStatus.REJECTED, 0)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"refund_amount": "7.485"}, "amount"),
        ({"refund_amount": "-1"}, "amount"),
        ({"updated_time": ""}, "field"),
        ({"updated_time": "yesterday"}, "value"),
        ({"id": ""}, "value"),
        ({"order_sn": "other"}, "value"),
        ({"after_sales_status": None}, "shape"),
        ({"after_sale_reason": "a\0b"}, "value"),
    ],
)
def test_a_case_that_cannot_be_read_says_why(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(BadInput) as refused:
        case(**changes)
    assert refused.value.code == code and refused.value.advice


def test_a_nul_in_a_case_is_refused_where_it_would_be_kept() -> None:
    with pytest.raises(BadInput) as refused:
        case(None, SETTINGS, after_sale_reason="a\0b")
    assert refused.value.where == "$.refund.after_sale_reason"
    assert case(None, SETTINGS, after_sale_reason="a\\u0000b").refunds[0].reason.endswith("a\\u0000b"), "six letters"
    assert case(None, SETTINGS, buyer_word="\0").refunds == case(None).refunds, "what is not looked at"


def test_a_refund_in_full_ends_the_order_and_the_warehouse_is_told() -> None:
    opened, refunded = case({**INFO, "refund_status": 2}, **OPENED), case({**INFO, **REFUNDED})
    assert settled([opened, refunded]) == (Stage.REFUNDED, [])
    assert settled([refunded, opened]) == (Stage.REFUNDED, [])
    assert settled([decode()], [opened], [refunded]) == (Stage.REFUNDED, ["create", "cancel"])
    assert settled([decode()], [refunded], [decode(**REFUNDED)]) == (Stage.REFUNDED, ["create", "cancel"])
    order = settled_order([decode()], [refunded], [refunded], [decode(**REFUNDED, updated_at="2026-05-06 11:00:00")])
    assert order.conflicts == (), "that it is held as well is nobody's business"


def test_a_refund_in_part_before_shipping_holds_the_order_and_cancels_nothing() -> None:
    partly = case({**INFO, **REFUNDED}, refund_amount="5.00")
    order = settled_order([decode(**REFUNDED), partly])
    assert (order.stage, order.reasons, order.commands) == (Stage.RECEIVED, ("held_for_person",), ())
    assert "held_for_person" not in WAIT_FOR_OTHERS, "nobody else moves next: it stands on the desk"
    assert order.hold is not None and order.hold.value.reason == "有已完成的退款"
    assert order.refunds["301851299"].value.amount_minor == 500 and not order.refunded
    sent = settled_order([decode()], [partly])
    assert [command.key for command in sent.commands] == ["create"] and sent.conflicts == ("held_after_sent",)
    by_hand = {**INFO, **SHIPPED, **REFUNDED}
    assert settled([partly], [case(by_hand, refund_amount="5.00", updated_time="2026-05-06 12:00:00")]) == (
        Stage.SHIPPED,
        [],
    )


def test_a_case_counts_as_of_its_own_time_whatever_order_it_came_with() -> None:
    """Listed while it was open, and its order read only after both had changed; then it comes without its order."""
    stale = case({**INFO, "refund_status": 1, "updated_at": "2026-05-06 10:10:00"}, **OPENED)
    alone = case(None, SETTINGS, after_sales_status=11, updated_time="2026-05-06 10:09:50")
    for facts in ([stale, alone], [alone, stale]):
        assert not merged(*facts).refund_open
    same = case(
        {**INFO, "updated_at": "2026-05-06 10:10:00"}, after_sales_status=11, updated_time="2026-05-06 10:09:50"
    )
    assert merged(stale, same).refunds["301851299"] == merged(alone).refunds["301851299"], "with its order or without"
    assert merged(stale, same).refunds[SN].version == same.version


def test_two_refunds_in_part_that_make_the_whole_are_one_in_full() -> None:
    first = case({**INFO, **REFUNDED}, refund_amount="5.00")
    second = case({**INFO, **REFUNDED}, id=301851300, refund_amount="69.80", updated_time="2026-05-07 10:00:00")
    assert settled([first], [second]) == settled([second], [first]) == (Stage.REFUNDED, [])


def test_a_finished_refund_whose_amount_nobody_tells_holds_what_has_not_left() -> None:
    """The list of cases is not read, or has not come yet."""
    assert settled([decode(**REFUNDED)]) == (Stage.RECEIVED, [])
    assert settled([decode()], [decode(**REFUNDED)])[1] == ["create"]
    unread = msgspec.structs.replace(SETTINGS, refunds=Refunds.HOLD)
    not_read = mapping.decode(json.dumps({**INFO, **REFUNDED}).encode(), unread)
    assert (decode(**REFUNDED).hold, not_read.hold) == tuple(
        Hold(True, "有已完成的退款", for_person=read) for read in (True, False)
    ), "most are paid back in full, and of those nobody would hear that they are over"


def test_a_case_that_is_withdrawn_lets_the_order_go_though_its_own_time_stands_still() -> None:
    opened = case({**INFO, "refund_status": 2}, **OPENED)
    withdrawn = case({**INFO, "refund_status": 1}, after_sales_status=11)
    assert settled([opened]) == (Stage.RECEIVED, [])
    for batches in ([opened, withdrawn], [withdrawn, opened]):
        assert settled([decode(refund_status=2), *batches])[1] == ["create"]


WITHDRAWN = {"refund_status": 1, "updated_at": "2026-05-01 10:28:35"}


@pytest.mark.parametrize("status", [0, None, 9, 11, 12, 13])
def test_a_refund_that_is_over_does_not_hold_the_order(status: int | None) -> None:
    """`refund_status` 1 says that none is open; `after_sales_status` may say how it ended, or that there is none."""
    asked, over = decode(refund_status=2, after_sales_status=2), decode(**WITHDRAWN, after_sales_status=status)
    assert merged(asked).refund_open
    for facts in ([asked, over], [over, asked], [over], [asked, over, asked]):
        order = merged(*facts)
        assert not order.refund_open and not order.refunded
        assert reasons_to_wait(order, RULES) == ()


FREE = {"pay_amount": 0, "discount_amount": 79.8}


def test_an_order_for_nothing_that_was_refunded_is_over() -> None:
    """0.00 paid back is no refund that anybody could tell from none: the platform's word closes it."""
    refunded = decode(**FREE, refund_status=4, after_sales_status=10)
    assert refunded.closing == Closing(True, "退款成功")
    assert settled([refunded]) == (Stage.CANCELLED, [])
    assert settled([decode(**FREE)], [refunded]) == (Stage.CANCELLED, ["create", "cancel"])
    assert decode(**FREE).closing == decode(**FREE, refund_status=2, after_sales_status=2).closing == Closing(False)


def test_an_order_for_nothing_that_was_refunded_after_it_was_shipped_comes_back() -> None:
    returned = decode(**FREE, **SHIPPED, refund_status=4, after_sales_status=10)
    assert returned.closing == Closing(True, "退款成功", after_shipping=True)


@pytest.mark.parametrize(("step", "paid"), [(0, False), (1, False), (2, True), (None, True)])
def test_a_deposit_is_not_a_payment(step: int | None, paid: bool) -> None:
    facts = decode(step_order_info={"step_trade_status": step, "advanced_paid_fee": "5.00"})
    assert facts.payment is not None and facts.payment.paid is paid


@pytest.mark.parametrize(
    "name", ["order_status", "confirm_status", "group_status", "refund_status", "risk_control_status"]
)
def test_a_status_nobody_knows_is_refused(name: str) -> None:
    refused = refusal(**{name: 9})
    assert (refused.code, refused.where) == ("value", f"$.{name}")


def test_of_one_second_the_later_status_wins_in_either_order() -> None:
    paid, shipped, cancelled = decode(), decode(**SHIPPED), decode(confirm_status=2)
    assert paid.version == shipped.version == cancelled.version
    for facts in ([paid, shipped, cancelled], [cancelled, shipped, paid], [shipped, cancelled, paid]):
        order = merged(*facts)
        assert order.closed
    assert merged(shipped, paid).left_unseen and merged(paid, shipped).left_unseen


# --- receivers --------------------------------------------------------------------------------------------------


@pytest.mark.feature("F24")
@pytest.mark.parametrize(
    "later",
    [
        SHIPPED,
        {**SHIPPED, "receiver_name_mask": "", "receiver_phone_mask": "", "receiver_address_mask": ""},
        {**SHIPPED, "order_status": 3},
        REVIEW,
        {"confirm_status": 2, **EMPTIED},
        EMPTIED,
        # Filled by mistake, or by what the platform may do one day: it is no longer to be shipped.
        {"order_status": 2},
    ],
)
def test_a_receiver_that_was_known_is_not_wiped(later: dict[str, Any]) -> None:
    first, second = decode(), decode(updated_at="2026-05-02 09:00:00", **later)

    assert second.content is None
    for order in (merged(first, second), merged(second, first)):
        assert order.content is not None and order.content.value == first.content


def test_an_address_changed_while_it_is_to_be_shipped_counts() -> None:
    order = merged(decode(), decode(updated_at="2026-05-01 10:00:00", receiver_address="~AgAA==~other~"))
    assert order.content is not None and "other" in order.content.value.receiver.token


def test_while_a_group_forms_the_lines_are_known_and_the_order_waits() -> None:
    forming = decode(**GROUPING, **EMPTIED, receiver_name_mask="", receiver_phone_mask="", receiver_address_mask="")
    complete = decode(updated_at="2026-05-01 09:40:00")

    assert forming.content is not None and forming.content.lines == complete.content.lines  # type: ignore[union-attr]
    assert {"channel_hold", "missing:receiver.name"} <= set(reasons_to_wait(merged(forming), RULES))
    assert reasons_to_wait(merged(forming, complete), RULES) == ()


@pytest.mark.feature("F24")
def test_masks_satisfy_the_review_and_pass_untouched() -> None:
    bare = {"receiver_name_mask": "", "receiver_phone_mask": "", "receiver_address_mask": ""}
    facts = decode(**bare)
    assert facts.content is not None
    receiver = facts.content.receiver
    assert (receiver.name, receiver.phone, receiver.detail, receiver.token) == ("", "", "", SEALED)
    assert reasons_to_wait(merged(facts), RULES) == ()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"receiver_name": "李四", "receiver_name_mask": ""}, ("name", "李四")),
        ({"receiver_phone": "", "receiver_phone_mask": "", "contact_mobile": "1390001"}, ("phone", "1390001")),
        ({"receiver_address_mask": "", "address_mask": "广东省深圳市南山区科**"}, ("detail", "科**")),
        ({"receiver_address": "科苑路1号", "receiver_address_mask": ""}, ("detail", "科苑路1号")),
        ({"receiver_name": "李四"}, ("token", SEALED.replace('"name":"~AgAAAA==~cipher~",', ""))),
    ],
)
def test_what_stands_in_for_a_part_of_the_receiver(changes: dict[str, Any], expected: tuple[str, str]) -> None:
    facts = decode(**changes)
    assert facts.content is not None
    assert getattr(facts.content.receiver, expected[0]) == expected[1]


def test_a_contact_alone_is_a_receiver_and_the_rest_is_asked_for() -> None:
    """Since 2025-11-07 name and address may be empty and the telephone stand in `contact_mobile` alone."""
    hidden = dict.fromkeys(("receiver_name_mask", "receiver_phone_mask", "receiver_address_mask"), "")
    facts = decode(**EMPTIED, **hidden, contact_mobile="13900010001")
    assert facts.content is not None and facts.content.receiver.phone == "13900010001"
    assert reasons_to_wait(merged(facts), RULES) == ("missing:receiver.name", "missing:receiver.detail")


# --- amounts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "minor"),
    [("0.29", 29), ("1.1", 110), ("74.80000000000001", 7480), ("74.79999999999999", 7480), ("1e1", 1000), ("7", 700)],
)
def test_a_json_number_is_read_exactly(text: str, minor: int) -> None:
    body = json.dumps({**INFO, "goods_amount": 0, "discount_amount": 0, "item_list": [gift()]}).encode()
    body = body.replace(b'"pay_amount": 74.8', b'"pay_amount": ' + text.encode())
    facts = mapping.decode(body, SETTINGS)
    assert facts.content is not None and facts.content.total_minor == minor


def test_amounts_may_be_text() -> None:
    assert decode(pay_amount="74.80", goods_amount="79.80", postage="0", order_status="1") == decode()


@pytest.mark.parametrize("text", ["74.805", "-1", "1e20", '"x"', '""', "true"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    body = json.dumps(INFO).encode().replace(b'"pay_amount": 74.8', b'"pay_amount": ' + text.encode())
    with pytest.raises(BadInput) as refused:
        mapping.decode(body, SETTINGS)
    assert refused.value.code in ("amount", "shape")
    assert refused.value.where == "$.pay_amount"


@given(
    lines=st.lists(st.tuples(st.integers(0, 500_000), st.integers(1, 99)), min_size=1, max_size=5),
    gifts=st.lists(st.integers(1, 5), max_size=2),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    postage=st.integers(0, 5000),
    services=st.integers(0, 5000),
)
def test_the_sums_are_proven(
    lines: list[tuple[int, int]], gifts: list[int], shares: tuple[float, float], postage: int, services: int
) -> None:
    listed = sum(price * count for price, count in lines)
    goods = listed - int(shares[0] * listed)
    discount = int(shares[1] * goods)
    facts = decode(
        goods_amount=goods / 100,
        discount_amount=discount / 100,
        postage=postage / 100,
        pay_amount=(goods - discount + postage + services) / 100,
        item_list=[
            {"goods_count": count, "goods_price": price / 100, "outer_id": f"S{n}"}
            for n, (price, count) in enumerate(lines)
        ],
        gift_list=[{**gift(), "goods_count": count} for count in gifts],
    )
    content = facts.content
    assert content is not None
    assert [(line.price_minor, line.quantity) for line in content.lines] == [*lines, *((0, count) for count in gifts)]
    assert content.discount_minor == listed - goods + discount
    assert content.freight_minor == postage + services
    summed = sum(line.price_minor * line.quantity for line in content.lines)
    assert summed - content.discount_minor + content.freight_minor == content.total_minor


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"pay_amount": 74.79}, "$.pay_amount"),
        ({"goods_amount": 79.81, "pay_amount": 74.81}, "$.goods_amount"),
    ],
)
def test_sums_that_do_not_fit_are_refused(changes: dict[str, Any], where: str) -> None:
    refused = refusal(**changes)
    assert (refused.code, refused.where) == ("amount", where)


def test_a_subsidy_that_is_not_in_the_discount_is_one_too() -> None:
    facts = decode(pay_amount=64.8, trade_in_national_subsidy_amount=10)
    assert facts.content is not None
    assert (facts.content.total_minor, facts.content.discount_minor) == (6480, 1500)


# --- lines ------------------------------------------------------------------------------------------------------


def gift() -> dict[str, Any]:
    return {"goods_id": 1, "sku_id": 800009, "outer_id": "BAG", "goods_price": 9.9, "goods_count": 1}


def test_gifts_are_lines_of_price_zero() -> None:
    facts = decode(gift_list=[gift()])
    assert facts.content is not None
    assert facts.content.lines[1] == Line("G1", Sku("BAG"), 1, 0)
    assert facts.content.total_minor == 7480


def test_an_order_without_group_and_review_says_null() -> None:
    assert decode(group_status=None, risk_control_status=None) == decode(group_status=1, risk_control_status=0)


@pytest.mark.parametrize("sku_id", ["0", 0, None, ""])
def test_the_id_of_no_variant_stands_for_none(sku_id: Any) -> None:
    with pytest.raises(BadInput) as caught:
        decode(item_list=[{**INFO["item_list"][0], "outer_id": "", "sku_id": sku_id}])
    assert caught.value.code == "field"


def test_without_a_code_of_the_merchant_it_is_the_variant_s_id() -> None:
    facts = decode(item_list=[{**INFO["item_list"][0], "outer_id": " ", "outer_goods_id": "TEA", "sku_id": 800001}])
    assert facts.content is not None and facts.content.lines[0].sku == "800001"


# --- what a dead letter says ------------------------------------------------------------------------------------


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in INFO.items() if key != name}).encode()


@pytest.mark.parametrize(
    ("body", "code", "where"),
    [
        (b"{", "json", "$"),
        (b"\xff", "json", "$"),
        (b"[]", "shape", "$"),
        (without("item_list"), "field", "$.item_list"),
        (without("order_status"), "field", "$.order_status"),
        (without("pay_amount"), "field", "$.pay_amount"),
        (json.dumps({**INFO, "item_list": {}}).encode(), "shape", "$.item_list"),
        (json.dumps({**INFO, "item_list": []}).encode(), "field", "$.item_list"),
        (json.dumps({**INFO, "item_list": [{"goods_price": 1}]}).encode(), "field", "$.item_list[0].goods_count"),
        (
            json.dumps({**INFO, "item_list": [{**gift(), "goods_count": 0}]}).encode(),
            "value",
            "$.item_list[0].goods_count",
        ),
        (json.dumps({**INFO, "gift_list": [{"goods_count": 1}]}).encode(), "field", "$.gift_list[0]"),
        (json.dumps({**INFO, "updated_at": ""}).encode(), "field", "$.updated_at"),
        (json.dumps({**INFO, "updated_at": "yesterday"}).encode(), "value", "$.updated_at"),
        (json.dumps({**INFO, "order_sn": "a b"}).encode(), "value", "$.order_sn"),
        (json.dumps({**INFO, "buyer_memo": "a\0b"}).encode(), "value", "$.buyer_memo"),
    ],
)
def test_every_refusal_says_what_where_and_what_to_do(body: bytes, code: str, where: str) -> None:
    with pytest.raises(BadInput) as refused:
        mapping.decode(body, SETTINGS)
    assert (refused.value.code, refused.value.where) == (code, where)
    assert is_told(refused.value.message) and is_told(refused.value.advice)
    assert "13800001111" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("40001 订单不存在", "$: 平台没有给出详情（40001）"),
        ("50001 王丽 138 0000 1234 的订单异常", "$: 平台没有给出详情（50001）"),
        ("HTTP 500", "$: 平台没有给出详情（HTTP 500）"),
        ("王丽的订单异常", "$: 平台没有给出详情"),
        ("138号院王丽", "$: 平台没有给出详情"),
        ("13800001234 王丽", "$: 平台没有给出详情"),
    ],
)
def test_a_detail_the_platform_refuses_says_so_and_quotes_nobody(words: str, shown: str) -> None:
    with pytest.raises(BadInput) as refused:
        mapping.decode(mapping.refusal(SN, "2026-05-01 09:28:35", words), SETTINGS)
    assert refused.value.code == "unread" and refused.value.advice
    assert f"{refused.value.where}: {refused.value.message.zh}" == shown


def test_an_instant_before_there_was_a_shop_is_none() -> None:
    assert decode(last_ship_time="1970-01-01 08:00:00").content.latest_ship_at is None  # type: ignore[union-attr]
    assert mapping.parse_beijing("0000-00-00 00:00:00", "$") is None


def refusal(**changes: Any) -> BadInput:
    with pytest.raises(BadInput) as refused:
        decode(**changes)
    assert refused.value.advice
    return refused.value


def settled(*batches: list[Facts]) -> tuple[Stage, list[str]]:
    """The stage after these batches, and what the warehouse has been told."""
    order = settled_order(*batches)
    return order.stage, [command.key for command in order.commands]


def settled_order(*batches: list[Facts]) -> Order:
    shop = ConnectionName("pdd-1")
    rules = Rules(shops={shop: Shop(name=shop, prefix="P", routes=(Route(ConnectionName("wms"), "W"),))})
    order = Order(number=OrderNumber(f"P{SN}"))
    for batch in batches:
        [decision] = settle([fold(order.number, order, [Step(shop, one) for one in batch], rules)], {}, rules)
        order = decision.order
    return order


def merged(*facts: Facts) -> Order:
    order = Order(number=OrderNumber(f"P{SN}"))
    for one in facts:
        order = merge(order, one, ConnectionName("pdd-1"))
    return order
