"""What a trade says: tables, amounts to the last fen, and what is refused."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.taobao import mapping
from adapters.taobao.settings import Settings
from gateway.core.order import Order, OrderNumber, merge
from gateway.sdk.models import (
    BadInput,
    Closing,
    ConnectionName,
    Content,
    Facts,
    Hold,
    Line,
    Party,
    Payment,
    Receiver,
    Refund,
    RefundStatus,
    Sku,
    format_minor,
)
from tests.languages import is_told

SETTINGS = Settings(app_key="1", app_secret="s", access_token="t")
SAMPLE: dict[str, Any] = {
    "tid": 2600000000000000001,
    "tid_str": "2600000000000000001",
    "status": "WAIT_SELLER_SEND_GOODS",
    "buyer_nick": "t**1",
    "buyer_open_uid": "AAHx0001",
    "created": "2026-05-01 09:30:05",
    "pay_time": "2026-05-01 09:30:41",
    "modified": "2026-05-01 09:30:42",
    "payment": "59.80",
    "total_fee": "69.80",
    "post_fee": "0.00",
    "discount_fee": "10.00",
    "adjust_fee": "0.00",
    "oaid": "1oaidDemo",
    "receiver_name": "张**",
    "receiver_mobile": "*******8000",
    "receiver_state": "浙江省",
    "receiver_city": "杭州市",
    "receiver_district": "余杭区",
    "receiver_town": "五常街道",
    "receiver_address": "文*路**号",
    "buyer_message": "请放门口",
    "seller_memo": "老客户",
    "orders": {
        "order": [
            {
                "oid": 2600000000000000002,
                "num_iid": 612345678901,
                "sku_id": "4900000000001",
                "outer_sku_id": "CUP-RED",
                "title": "陶瓷杯",
                "num": 2,
                "price": "34.90",
                "discount_fee": "10.00",
                "payment": "59.80",
                "status": "WAIT_SELLER_SEND_GOODS",
                "refund_status": "NO_REFUND",
            }
        ]
    },
}


def trade(*, line: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    made = {**copy.deepcopy(SAMPLE), **changes}
    if line is not None:
        made["orders"]["order"][0] |= line
    return {name: value for name, value in made.items() if value is not ...}


def decode(made: dict[str, Any], settings: Settings = SETTINGS) -> Facts:
    return mapping.decode(msgspec.json.encode(made), settings)


def content(made: dict[str, Any]) -> Content:
    found = decode(made).content
    assert found is not None
    return found


def test_the_sample() -> None:
    assert decode(SAMPLE) == Facts(
        party=Party.SHOP,
        order_no="2600000000000000001",
        version=1777599042000,
        rank=300,
        content=Content(
            datetime(2026, 5, 1, 1, 30, 5, tzinfo=UTC),
            (Line("2600000000000000002", Sku("CUP-RED"), 2, 2990, "陶瓷杯", 500),),
            Receiver("张**", "*******8000", "浙江省", "杭州市", "余杭区", "五常街道", "文*路**号", token="1oaidDemo"),
            5980,
            buyer_note="请放门口",
            seller_note="老客户",
        ),
        payment=Payment(True, 5980, datetime(2026, 5, 1, 1, 30, 41, tzinfo=UTC)),
        hold=Hold(False),
        closing=Closing(False),
        left=False,
    )


def test_the_simplified_form_says_the_same() -> None:
    assert decode(trade(orders=SAMPLE["orders"]["order"])) == decode(SAMPLE)


@pytest.mark.parametrize(
    ("status", "paid", "hold", "closing"),
    [
        ("TRADE_NO_CREATE_PAY", False, "", ""),
        ("WAIT_BUYER_PAY", False, "", ""),
        ("PAY_PENDING", False, "", ""),
        ("WAIT_PRE_AUTH_CONFIRM", False, "", ""),
        ("WAIT_SELLER_SEND_GOODS", True, "", ""),
        ("PAID_FORBID_CONSIGN", True, "PAID_FORBID_CONSIGN", ""),
        ("SELLER_CONSIGNED_PART", True, "SELLER_CONSIGNED_PART", ""),
        ("WAIT_BUYER_CONFIRM_GOODS", True, "", ""),
        ("TRADE_BUYER_SIGNED", True, "", ""),
        ("TRADE_FINISHED", True, "", ""),
        ("TRADE_CLOSED", True, "", "TRADE_CLOSED"),
        ("TRADE_CLOSED_BY_TAOBAO", False, "", "TRADE_CLOSED_BY_TAOBAO"),
    ],
)
def test_every_status(status: str, paid: bool, hold: str, closing: str) -> None:
    facts = decode(trade(status=status, line={"status": status}))
    assert facts.payment is not None and facts.payment.paid is paid
    assert facts.left is (status in ("WAIT_BUYER_CONFIRM_GOODS", "TRADE_BUYER_SIGNED", "TRADE_FINISHED"))
    assert facts.hold == Hold(bool(hold), hold, for_person=hold == "SELLER_CONSIGNED_PART")
    assert facts.closing == Closing(bool(closing), closing)


def test_every_status_of_the_table_is_tested_and_has_a_place_of_its_own() -> None:
    assert len(mapping.STATUSES) == 12
    assert len({place for place, _ in mapping.STATUSES.values()}) == 12


def test_a_trade_that_was_closed_without_having_been_paid() -> None:
    assert decode(trade(status="TRADE_CLOSED", pay_time=...)).payment == Payment(False)


def test_of_one_second_the_later_status_wins_whichever_comes_first() -> None:
    life = ["WAIT_BUYER_PAY", "PAID_FORBID_CONSIGN", "WAIT_SELLER_SEND_GOODS", "SELLER_CONSIGNED_PART", "TRADE_CLOSED"]
    facts = [decode(trade(status=status, line={"status": status})) for status in life]
    assert [fact.version for fact in facts] == [facts[0].version] * 5
    for order in (facts, facts[::-1]):
        merged = Order(number=OrderNumber("A1"))
        for fact in order:
            merged = merge(merged, fact, ConnectionName("shop"))
        assert merged.closed and not merged.held


@pytest.mark.parametrize(
    ("status", "step", "held"),
    [
        ("WAIT_BUYER_PAY", "FRONT_NOPAID_FINAL_NOPAID", True),
        ("WAIT_BUYER_PAY", "FRONT_PAID_FINAL_NOPAID", True),
        ("WAIT_SELLER_SEND_GOODS", "FRONT_PAID_FRONT_FORFEITED", True),
        ("WAIT_SELLER_SEND_GOODS", "FRONT_PAID_FINAL_PAID", False),
        ("WAIT_SELLER_SEND_GOODS", "", False),
        ("WAIT_SELLER_SEND_GOODS", None, False),
    ],
)
def test_a_pre_sale_is_held_until_all_of_it_is_paid(status: str, step: str | None, held: bool) -> None:
    facts = decode(trade(status=status, line={"status": status}, type="step", step_trade_status=step))
    assert facts.hold == Hold(held, (step or "") if held else "")


def test_the_steps_of_a_pre_sale_have_their_places_in_one_second() -> None:
    ranks = [decode(trade(status="WAIT_BUYER_PAY", step_trade_status=step)).rank for step in mapping.STEPS]
    assert ranks == sorted(ranks) and len(set(ranks)) == 4


def test_what_the_platform_does_not_let_be_shipped_is_held() -> None:
    assert decode(trade(is_sh_ship=True)).hold == Hold(True, "is_sh_ship")


def test_cash_on_delivery_is_sent_before_it_is_paid() -> None:
    facts = decode(trade(type="cod", pay_time=..., buyer_cod_fee="1.00", payment="60.80"))
    assert facts.payment == Payment(True, 0, None, "cod")
    assert facts.content is not None and (facts.content.total_minor, facts.content.freight_minor) == (6080, 100)


# --- refunds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "refund_id", "status"),
    [
        ("WAIT_SELLER_AGREE", "R1", RefundStatus.OPEN),
        ("WAIT_BUYER_RETURN_GOODS", "R1", RefundStatus.OPEN),
        ("WAIT_SELLER_CONFIRM_GOODS", 71, RefundStatus.OPEN),
        ("SELLER_REFUSE_BUYER", "R1", RefundStatus.REJECTED),
        ("CLOSED", "R1", RefundStatus.REJECTED),
        ("SUCCESS", "R1", RefundStatus.DONE),
        ("NO_REFUND", "R1", RefundStatus.REJECTED),
        ("NO_REFUND", None, None),
        ("NO_REFUND", 0, None),
        ("", "", None),
        (None, ..., None),
    ],
)
def test_every_refund_status(said: str | None, refund_id: Any, status: RefundStatus | None) -> None:
    line = {"refund_status": said} | ({} if refund_id is ... else {"refund_id": refund_id})
    expected = () if status is None else (Refund("2600000000000000002", status, 0, f"{refund_id} {said}"),)
    assert decode(trade(line=line)).refunds == expected


def test_a_second_refund_of_a_line_takes_the_place_of_the_first() -> None:
    """The first was withdrawn between two readings; nothing tells so, and it must not keep the order for ever."""
    order = Order(number=OrderNumber("A1"))
    for second, refund_id, said in ((42, "R1", "WAIT_SELLER_AGREE"), (50, "R2", "CLOSED")):
        line = {"refund_status": said, "refund_id": refund_id}
        facts = decode(trade(modified=f"2026-05-01 09:30:{second}", line=line))
        order = merge(order, facts, ConnectionName("shop"))
    assert not order.refund_open


@pytest.mark.parametrize(
    ("line", "sku"),
    [
        ({"outer_sku_id": " CUP-RED\u3000"}, "CUP-RED"),
        ({"outer_sku_id": " ", "outer_iid": "CUP"}, "CUP"),
        ({"outer_sku_id": "\u3000", "outer_iid": "", "sku_id": "0490"}, "0490"),
        ({"outer_sku_id": "", "outer_iid": None, "sku_id": "0", "num_iid": 612345678901}, "612345678901"),
    ],
)
def test_a_code_of_blanks_is_none(line: dict[str, Any], sku: str) -> None:
    content = decode(trade(line=line)).content
    assert content is not None and content.lines[0].sku == sku


def test_a_number_of_blanks_is_no_parcel() -> None:
    facts = decode(trade(line={"invoice_no": " ", "consign_time": ""}))
    assert facts.hold is not None and not facts.hold.held


def two_lines(**second: Any) -> dict[str, Any]:
    made = trade(payment="69.80")
    line = {**made["orders"]["order"][0], "discount_fee": "0.00", "num": 1}
    first = {**line, "oid": 11, "outer_sku_id": "A", "price": "20.00"}
    made["orders"]["order"] = [first, {**line, "oid": 12, "outer_sku_id": "B", "price": "49.80", **second}]
    return made


def test_a_line_that_was_paid_back_before_it_left_is_not_sent() -> None:
    facts = decode(two_lines(status="TRADE_CLOSED", refund_status="SUCCESS", refund_id="R1"))
    assert facts.content is not None
    assert [line.sku for line in facts.content.lines] == ["A"]
    assert facts.content.total_minor == 2000
    assert facts.closing == Closing(False)
    assert facts.refunds == (Refund("12", RefundStatus.DONE, 0, "R1 SUCCESS"),)
    assert facts.payment is not None and facts.payment.amount_minor == 6980


def test_a_line_that_came_back_stays_in_the_order() -> None:
    made = two_lines(status="TRADE_CLOSED", refund_status="SUCCESS", consign_time="2026-05-01 09:30:40")
    assert [line.sku for line in content(made).lines] == ["A", "B"]


@pytest.mark.parametrize(
    "second",
    [
        {"status": "WAIT_BUYER_CONFIRM_GOODS"},
        {"status": "TRADE_FINISHED"},
        {"consign_time": "2026-05-01 09:30:40"},
        {"invoice_no": "SF1"},
        {"status": "TRADE_CLOSED", "refund_status": "SUCCESS", "consign_time": "2026-05-01 09:30:40"},
    ],
)
def test_one_line_that_has_left_holds_all_of_the_trade(second: dict[str, Any]) -> None:
    """Whatever the trade itself says: its head and its lines are not changed at the same moment."""
    assert decode(two_lines(**second)).hold == Hold(True, "SELLER_CONSIGNED_PART", for_person=True)


@pytest.mark.parametrize(("left", "after"), [((0, 1), True), ((0,), False), ((), False)])
def test_a_trade_that_is_closed_says_whether_all_of_it_had_left(left: tuple[int, ...], after: bool) -> None:
    made = two_lines(status="TRADE_CLOSED", refund_status="SUCCESS") | {"status": "TRADE_CLOSED"}
    for index, line in enumerate(made["orders"]["order"]):
        line["status"] = "TRADE_CLOSED"
        if index in left:
            line["consign_time"] = "2026-05-01 09:30:40"
    facts = decode(made)
    assert facts.closing == Closing(True, "TRADE_CLOSED", after_shipping=after)
    assert facts.hold == Hold(False), "closed, there is nothing left to wait with"


def test_a_line_that_was_closed_before_payment_is_neither_sent_nor_paid() -> None:
    made = two_lines(status="TRADE_CLOSED_BY_TAOBAO") | {"payment": "20.00"}
    found = content(made)
    assert ([line.sku for line in found.lines], found.total_minor, found.discount_minor) == (["A"], 2000, 0)


def test_all_lines_closed_is_closed() -> None:
    made = two_lines(status="TRADE_CLOSED", refund_status="SUCCESS")
    made["orders"]["order"][0]["status"] = "TRADE_CLOSED"
    facts = decode(made)
    assert facts.closing is not None and facts.closing.closed
    assert facts.content is not None and len(facts.content.lines) == 2


# --- amounts --------------------------------------------------------------------------------------------------------


@st.composite
def bills(draw: st.DrawFn) -> tuple[dict[str, Any], int]:
    """A trade of some lines with discounts of both kinds, as the platform would write it, and what was paid."""
    divided = draw(st.booleans())
    lines, shares = [], []
    for number in range(draw(st.integers(1, 5))):
        pieces, price = draw(st.integers(1, 7)), draw(st.integers(0, 99_999))
        adjust = draw(st.integers(-50, 50)) if price * pieces >= 50 else 0
        off = draw(st.integers(0, price * pieces + adjust))
        part = draw(st.integers(0, price * pieces + adjust - off))
        shares.append(price * pieces + adjust - off - part)
        line = {
            "oid": 11 + number,
            "num_iid": 1,
            "num": pieces,
            "price": format_minor(price),
            "adjust_fee": format_minor(adjust),
            "discount_fee": format_minor(off),
            "part_mjz_discount": format_minor(part),
            "status": "WAIT_SELLER_SEND_GOODS",
        }
        if divided:
            line["divide_order_fee"] = format_minor(shares[-1])
        lines.append(line)
    freight, service = draw(st.integers(0, 2000)), draw(st.integers(0, 300))
    undivided = draw(st.integers(0, sum(shares)))
    paid = sum(shares) + freight + service - undivided
    services = {"service_order": [{"payment": format_minor(service)}]}
    made = trade(
        payment=format_minor(paid), post_fee=format_minor(freight), orders={"order": lines}, service_orders=services
    )
    return made, paid


@given(bills())
def test_no_fen_is_lost(bill: tuple[dict[str, Any], int]) -> None:
    made, paid = bill
    found = content(made)
    pieces = sum(line.price_minor * line.quantity for line in found.lines)
    assert found.total_minor == paid
    assert pieces + found.freight_minor - found.discount_minor == paid
    assert found.discount_minor >= 0
    assert all(line.price_minor >= 0 and line.discount_minor >= 0 for line in found.lines)


@given(bills(), st.data())
def test_what_is_left_of_a_trade_is_worth_no_more_than_the_whole(bill: tuple[dict[str, Any], int], data: Any) -> None:
    made, paid = bill
    lines = made["orders"]["order"]
    for line in data.draw(st.lists(st.sampled_from(lines), max_size=len(lines) - 1)) if len(lines) > 1 else []:
        line |= {"status": "TRADE_CLOSED", "refund_status": "SUCCESS", "refund_id": "R"}
    found = content(made)
    pieces = sum(line.price_minor * line.quantity for line in found.lines)
    assert 0 <= found.total_minor <= paid
    assert pieces + found.freight_minor - found.discount_minor == found.total_minor


def test_a_price_that_does_not_divide() -> None:
    found = content(trade(payment="10.00", line={"num": 3, "divide_order_fee": "10.00"}))
    assert (found.lines[0].price_minor, found.discount_minor, found.total_minor) == (334, 2, 1000)


# --- receiver, SKU, time --------------------------------------------------------------------------------------------


@pytest.mark.feature("F24")
def test_masked_parts_pass_untouched() -> None:
    receiver = content(SAMPLE).receiver
    assert (receiver.name, receiver.phone, receiver.detail, receiver.token) == (
        "张**",
        "*******8000",
        "文*路**号",
        "1oaidDemo",
    )


@pytest.mark.parametrize("city", ["", None, ...])
def test_a_county_that_its_province_governs_is_its_own_city(city: Any) -> None:
    made = trade(receiver_state="河南省", receiver_city=city, receiver_district="济源市", receiver_town="")
    receiver = content(made).receiver
    assert (receiver.province, receiver.city, receiver.district, receiver.town) == ("河南省", "济源市", "济源市", "")


@pytest.mark.parametrize(
    ("gone", "sku"),
    [
        ([], "CUP-RED"),
        (["outer_sku_id"], "ITEM-1"),
        (["outer_sku_id", "outer_iid"], "4900000000001"),
        (["outer_sku_id", "outer_iid", "sku_id"], "612345678901"),
    ],
)
def test_the_sku_is_the_merchants_before_the_platforms(gone: list[str], sku: str) -> None:
    for nothing in (None, ""):
        line = {"outer_iid": "ITEM-1", **dict.fromkeys(gone, nothing)}
        assert content(trade(line=line)).lines[0].sku == sku


def test_the_latest_time_to_ship_is_read_where_it_can_be() -> None:
    assert content(trade(delivery_time="2026-05-03 23:59:59")).latest_ship_at == datetime(
        2026, 5, 3, 15, 59, 59, tzinfo=UTC
    )
    assert content(trade(delivery_time="2026-05-03")).latest_ship_at == datetime(2026, 5, 3, 15, 59, 59, tzinfo=UTC)
    assert content(trade(delivery_time="付款后48小时")).latest_ship_at is None


@given(st.integers(978_307_200, 4_039_372_800))
def test_times_come_back_as_they_went(epoch: int) -> None:
    instant = datetime.fromtimestamp(epoch, UTC)
    assert mapping.parse_beijing(mapping.beijing(instant)) == instant
    assert mapping.beijing(instant) == (instant + timedelta(hours=8)).strftime("%Y-%m-%d %H:%M:%S")


# --- what is refused ------------------------------------------------------------------------------------------------

WRONG: list[tuple[Any, str, str]] = [
    (b"{", "json", "$"),
    (b"\xff", "json", "$"),
    (b"[]", "shape", "$"),
    (trade(tid=..., tid_str=...), "field", "$.tid"),
    (trade(tid_str="26x"), "field", "$.tid"),
    (trade(tid=[1]), "shape", "$.tid"),
    (trade(status=...), "field", "$.status"),
    (trade(status="BRAND_NEW"), "value", "$.status"),
    (trade(modified=...), "field", "$.modified"),
    (trade(modified="2026-05-01T09:30:42Z"), "value", "$.modified"),
    (trade(modified="2026-02-30 09:30:42"), "value", "$.modified"),
    (trade(created=None), "field", "$.created"),
    (trade(pay_time="yesterday"), "value", "$.pay_time"),
    (trade(payment=...), "field", "$.payment"),
    (trade(payment="59.8元"), "amount", "$.payment"),
    (trade(payment="-1.00"), "amount", "$.payment"),
    (trade(payment=59.8), "shape", "$.payment"),
    (trade(payment="59.81"), "amount", "$.payment"),
    (trade(post_fee="x"), "amount", "$.post_fee"),
    (trade(orders=...), "field", "$.orders"),
    (trade(orders={"order": []}), "field", "$.orders"),
    (trade(orders="none"), "shape", "$.orders"),
    (trade(line={"oid": ""}), "field", "$.orders.order[0].oid"),
    (trade(line={"num": 0}), "value", "$.orders.order[0].num"),
    (trade(line={"num": "2"}), "shape", "$.orders.order[0].num"),
    (trade(line={"price": None}), "field", "$.orders.order[0].price"),
    (trade(line={"price": "1.234"}), "amount", "$.orders.order[0].price"),
    (trade(line={"discount_fee": "99.00"}), "amount", "$.orders.order[0].discount_fee"),
    (trade(line={"divide_order_fee": "-1.00"}), "amount", "$.orders.order[0].divide_order_fee"),
    (trade(line={"status": "NEW"}), "value", "$.orders.order[0].status"),
    (trade(line={"refund_status": "NEW"}), "value", "$.orders.order[0].refund_status"),
    (
        trade(line={"outer_sku_id": None, "sku_id": None, "num_iid": None}),
        "field",
        "$.orders.order[0].outer_sku_id",
    ),
    (two_lines(oid=11), "value", "$.orders"),
    (trade(orders=[{**SAMPLE["orders"]["order"][0], "num": -1}]), "value", "$.orders[0].num"),
    (mapping.render_refused(b'{"tid":1}', b'{"code":"business","message":"gone"}'), "unread", "$.error_response"),
    # What the platform has answered in a form of its own may hold the trade: nothing closes that but a person.
    (mapping.render_refused(b'{"tid":1}', b'{"order":{"tid":1}}'), "shape", "$.error_response"),
]


@pytest.mark.parametrize(("made", "code", "where"), WRONG)
def test_what_cannot_be_used_says_what_where_and_what_to_do(made: Any, code: str, where: str) -> None:
    body = made if isinstance(made, bytes) else msgspec.json.encode(made)
    with pytest.raises(BadInput) as caught:
        mapping.decode(body, SETTINGS)
    assert (caught.value.code, caught.value.where) == (code, where)
    assert is_told(caught.value.message) and is_told(caught.value.advice)
    for private in ("张", "8000", "文*路", "59.8", "yesterday"):
        assert private not in str(caught.value)


def test_new_words_of_the_platform_are_a_line_in_the_configuration() -> None:
    settings = msgspec.structs.replace(
        SETTINGS, statuses={"BRAND_NEW": "held"}, refund_statuses={"NEW": RefundStatus.OPEN, "NONE": None}
    )
    facts = decode(trade(status="BRAND_NEW", line={"status": "BRAND_NEW", "refund_status": "NEW"}), settings)
    assert facts.hold == Hold(True, "BRAND_NEW")
    assert [refund.status for refund in facts.refunds] == [RefundStatus.OPEN]
    assert decode(trade(line={"refund_status": "NONE"}), settings).refunds == ()


# --- identity -------------------------------------------------------------------------------------------------------


@pytest.mark.feature("F10")
def test_an_event_is_known_by_the_state_it_tells() -> None:
    at = datetime(2026, 5, 1, 1, 30, 42, tzinfo=UTC)
    body = msgspec.json.encode(SAMPLE)
    turned = msgspec.json.encode(dict(reversed(SAMPLE.items())))
    changed = msgspec.json.encode(trade(seller_memo="x"))
    name = mapping.event_id("26", at, body)
    assert name.startswith("26/1777599042000/")
    assert mapping.event_id("26", at, turned) == name
    assert mapping.event_id("26", at, changed) != name
    assert mapping.event_id("26", at, b"{") != name


def test_settings_keep_their_secrets() -> None:
    settings = Settings(app_key="k", app_secret="S3", access_token="T4", refresh_token="R5")
    assert not any(secret in repr(settings) + repr(settings.token) for secret in ("S3", "T4", "R5"))
    assert (settings.token.access, settings.token.refresh) == ("T4", "R5")
