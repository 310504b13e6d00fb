"""Order documents: what they decode to, and what each bad one is told."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import adapters.webhook
from adapters.webhook import mapping
from adapters.webhook.schema import order_schema
from gateway.core.order import Register, Stage
from gateway.core.sound import sound
from gateway.sdk.carriers import load_carriers
from gateway.sdk.models import (
    BadInput,
    Closing,
    Command,
    Confirmation,
    ConnectionName,
    Content,
    Delivery,
    Facts,
    Hold,
    Line,
    Operation,
    Order,
    OrderNumber,
    Parcel,
    Part,
    Party,
    Payment,
    Receiver,
    Recipe,
    Refund,
    RefundStatus,
    Sku,
    Text,
    confirmation_to_tell,
    format_minor,
)
from tests.languages import is_told
from tests.pipeline.sample import Books, commands, rules

FOLDER = Path(adapters.webhook.__path__[0])
LIMIT = 100_000_000
EXAMPLE = json.loads((FOLDER / "order.example.json").read_text(encoding="utf-8"))
HEAD = {"order_no": "A1", "updated_at": "2026-05-01T09:30:05+08:00"}


def decode(document: Any) -> Facts:
    body = document if isinstance(document, bytes) else json.dumps(document, ensure_ascii=False).encode()
    return mapping.decode(body, max_total_minor=LIMIT)


def test_example_says_everything_it_says() -> None:
    facts = decode(EXAMPLE)

    assert facts == Facts(
        party=Party.SHOP,
        order_no="A1001",
        version=1777599005000,
        rank=20,
        content=Content(
            datetime(2026, 5, 1, 1, 30, tzinfo=UTC),
            (Line("1", Sku("CUP-01"), 2, 4500, "青瓷杯", 500), Line("2", Sku("TEA-𠮷"), 1, 1000)),
            Receiver("张三", "13800000000", "上海市", "上海市", "浦东新区", "", "张江路1号"),
            9800,
            "CNY",
            800,
            1000,
            "尽快发货 🙏",
            "",
            datetime(2026, 5, 3, 1, 30, tzinfo=UTC),
        ),
        payment=Payment(True, 9800, datetime(2026, 5, 1, 1, 30, 4, tzinfo=UTC), "wechat"),
        closing=Closing(False),
        left=False,
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"payment": {"paid": True, "amount": "3"}}, {"payment": Payment(True, 300)}),
        ({"payment": {"paid": False}}, {"payment": Payment(False)}),
        ({"hold": {"held": True, "reason": "risk"}}, {"hold": Hold(True, "risk")}),
        ({"status": "shipped"}, {"left": True, "rank": 30}),
        ({"status": "finished"}, {"left": True, "rank": 40}),
        ({"status": "shipped", "hold": {"held": False}}, {"hold": Hold(False), "left": False, "rank": 30}),
        (
            {"status": "finished", "hold": {"held": True, "reason": "risk"}},
            {"hold": Hold(True, "risk"), "left": True, "rank": 40},
        ),
        ({"status": "placed"}, {"closing": Closing(False), "left": False, "rank": 10}),
        ({"cancelled": {"reason": "no longer wanted"}}, {"closing": Closing(True, "no longer wanted"), "rank": 50}),
        ({"status": "cancelled"}, {"closing": Closing(True), "rank": 50}),
        (
            {"status": "paid", "cancelled": {}, "payment": {"paid": True}},
            {"closing": Closing(True), "payment": Payment(True), "left": False, "rank": 50},
        ),
        (
            {"refunds": [{"refund_id": "R1", "status": "open", "amount": "0.01"}]},
            {"refunds": (Refund("R1", RefundStatus.OPEN, 1),)},
        ),
        ({"version": 7}, {"version": 7}),
        ({"updated_at": "2026-05-01T01:30:05.001Z"}, {"version": 1777599005001}),
        ({"extra": {"a": [1, {"b": None}]}}, {}),
        ({}, {}),
    ],
)
def test_an_event_may_carry_only_what_changed(change: dict[str, Any], said: dict[str, Any]) -> None:
    assert decode(HEAD | change) == msgspec.structs.replace(
        Facts(party=Party.SHOP, order_no="A1", version=1777599005000), **said
    )


CANCELLED = {"order_no": "A1001", "updated_at": "2026-05-01T10:00:00+08:00", "status": "cancelled"}
PAID_AFTER_ALL = EXAMPLE | {"updated_at": "2026-05-01T10:00:01+08:00", "status": "paid"}


@pytest.mark.parametrize("sequence", [*permutations((EXAMPLE | {"status": "placed", "payment": {"paid": False}},
                                                     CANCELLED, PAID_AFTER_ALL))])  # fmt: skip
def test_what_is_paid_after_it_was_cancelled_is_sent_once(sequence: tuple[dict[str, Any], ...]) -> None:
    """A shop gives up an order that is not paid in time, and the payment comes in a second later."""
    books, number = Books(rules(mandatory=())), OrderNumber("A1001")
    for document in (*sequence, *sequence):
        books.take([(number, decode(document))])
    order = books.orders[number]
    assert (order.stage, commands(order)) == (Stage.ALLOCATED, ["wms.create"])


@pytest.mark.parametrize("says", [{"status": "cancelled"}, {"cancelled": {}}])
def test_of_one_instant_a_cancel_outlives_what_was_paid(says: dict[str, Any]) -> None:
    cancelled = {"order_no": "A1001", "updated_at": CANCELLED["updated_at"]} | says
    paid = PAID_AFTER_ALL | {"updated_at": CANCELLED["updated_at"]}
    for sequence in ((cancelled, paid), (paid, cancelled)):
        books, number = Books(rules(mandatory=())), OrderNumber("A1001")
        for document in sequence:
            books.take([(number, decode(document))])
        assert books.orders[number].stage is Stage.CANCELLED


@pytest.mark.parametrize("status", ["shipped", "finished"])
def test_what_leaves_or_is_filed_after_a_cancel_does_not_take_it_back(status: str) -> None:
    """The shop echoes what it was told: that the buyer has cancelled is no less true."""
    books, number = Books(rules(mandatory=())), OrderNumber("A1001")
    for document in (CANCELLED, EXAMPLE | {"updated_at": "2026-05-01T10:00:02+08:00", "status": status}):
        books.take([(number, decode(document))])
    assert books.orders[number].closing is not None and books.orders[number].closing.value.closed


def test_total_is_worked_out_when_not_given() -> None:
    document = {key: value for key, value in EXAMPLE.items() if key != "total"}

    content = decode(document).content

    assert content is not None and content.total_minor == 2 * 4500 + 1000 + 800 - 1000


def order(**changes: Any) -> dict[str, Any]:
    return EXAMPLE | changes


def with_line(**changes: Any) -> dict[str, Any]:
    return EXAMPLE | {"lines": [EXAMPLE["lines"][1], EXAMPLE["lines"][0] | changes]}


def without(*path: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(EXAMPLE))
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return document


BAD: list[tuple[str, Any, str, str]] = [
    ("empty", b"", "json", "$"),
    ("not JSON", b"<order/>", "json", "$"),
    ("cut off", b'{"order_no": "A1"', "json", "$"),
    ("two documents", json.dumps(EXAMPLE).encode() * 2, "json", "$"),
    ("not UTF-8", b'{"order_no":"A1","updated_at":"2026-05-01T01:30:05Z","buyer_note":"\xff"}', "json", "$"),
    ("half a surrogate", b'{"order_no":"A1","updated_at":"2026-05-01T01:30:05Z","buyer_note":"\\ud800"}', "json", "$"),
    ("nested deeply", b'{"order_no":"A1","extra":' + b"[" * 100_000, "json", "$"),
    ("NUL byte", b'{"order_no":"A1","updated_at":"2026-05-01T01:30:05Z","buyer_note":"\x00"}', "json", "$"),
    ("NUL escaped", order(buyer_note="a\0b"), "value", "$.buyer_note"),
    ("NUL in a line", with_line(name="\0"), "value", "$.lines[1].name"),
    ("an array", [EXAMPLE], "shape", "$"),
    ("null", None, "shape", "$"),
    ("text for number", with_line(quantity="2"), "shape", "$.lines[1].quantity"),
    ("number for amount", with_line(price=45.0), "shape", "$.lines[1].price"),
    ("number for text", order(order_no=1001), "shape", "$.order_no"),
    ("object for list", order(lines={"1": {}}), "shape", "$.lines"),
    ("list for object", order(receiver=[]), "shape", "$.receiver"),
    ("bool for quantity", with_line(quantity=True), "shape", "$.lines[1].quantity"),
    ("fraction of a piece", with_line(quantity=1.5), "shape", "$.lines[1].quantity"),
    ("extra not an object", order(extra=[1]), "shape", "$.extra"),
    ("no number", without("order_no"), "field", "$.order_no"),
    ("no time", without("updated_at"), "field", "$.updated_at"),
    ("no receiver", without("receiver"), "field", "$.receiver"),
    ("no placed_at", without("placed_at"), "field", "$.placed_at"),
    ("no lines", without("lines"), "field", "$.lines"),
    ("no sku", order(lines=[{"line_no": "1", "quantity": 1, "price": "1"}]), "field", "$.lines[0].sku"),
    ("paid without payment", HEAD | {"status": "paid"}, "field", "$.payment"),
    ("misspelt", order(reciever={}), "field", "$"),
    ("misspelt in a line", with_line(qty=1), "field", "$.lines[1]"),
    ("number with a space", order(order_no="A 1"), "value", "$.order_no"),
    ("number with a line end", order(order_no="A1\n"), "value", "$.order_no"),
    ("number empty", order(order_no=""), "value", "$.order_no"),
    ("number too long", order(order_no="1" * 65), "value", "$.order_no"),
    ("quantity 0", with_line(quantity=0), "value", "$.lines[1].quantity"),
    ("quantity negative", with_line(quantity=-1), "value", "$.lines[1].quantity"),
    ("quantity absurd", with_line(quantity=1_000_001), "value", "$.lines[1].quantity"),
    ("quantity beyond 64 bits", with_line(quantity=10**30), "value", "$.lines[1].quantity"),
    ("no line", order(lines=[]), "value", "$.lines"),
    ("501 lines", order(lines=[{"line_no": str(n), "sku": "S", "quantity": 1, "price": "1"} for n in range(501)]),
     "value", "$.lines"),
    ("one line number twice", order(lines=[EXAMPLE["lines"][0]] * 2), "value", "$.lines"),
    ("one refund twice", HEAD | {"refunds": [{"refund_id": "R", "status": "open"}] * 2}, "value", "$.refunds"),
    ("unknown status", order(status="lost"), "value", "$.status"),
    ("unknown refund status", HEAD | {"refunds": [{"refund_id": "R", "status": "x"}]}, "value", "$.refunds[0].status"),
    ("time without offset", order(updated_at="2026-05-01T09:30:05"), "value", "$.updated_at"),
    ("time as a word", order(updated_at="yesterday"), "value", "$.updated_at"),
    ("time before all days", order(updated_at="0001-01-01T00:00:00+14:00"), "value", "$.updated_at"),
    ("time after all days", order(placed_at="9999-12-31T23:59:59-14:00"), "value", "$.placed_at"),
    ("currency", order(currency="yuan"), "value", "$.currency"),
    ("note too long", order(buyer_note="x" * 2001), "value", "$.buyer_note"),
    ("name too long", with_line(name="x" * 501), "value", "$.lines[1].name"),
    ("total absurd", order(total="1000000.01"), "value", "$.total"),
    ("price absurd", with_line(price="99999999"), "value", "$.lines[1].price"),
    ("price negative", with_line(price="-1"), "value", "$.lines[1].price"),
    ("sum absurd", without("total") | {"freight": "1000000.00"}, "value", "$.total"),
    ("sum negative", without("total") | {"discount": "999.00"}, "value", "$.total"),
    ("version negative", order(version=-1), "value", "$.version"),
    ("amount with exponent", with_line(price="1e3"), "amount", "$.lines[1].price"),
    ("amount with comma", order(total="1,000.00"), "amount", "$.total"),
    ("amount with three decimals", order(freight="1.005"), "amount", "$.freight"),
    ("amount empty", HEAD | {"payment": {"paid": True, "amount": ""}}, "amount", "$.payment.amount"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "code", "where"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_documents_are_told_what_is_wrong_where(document: Any, code: str, where: str) -> None:
    with pytest.raises(BadInput) as caught:
        decode(document)

    assert (caught.value.code, caught.value.where) == (code, where)
    assert is_told(caught.value.message) and is_told(caught.value.advice)


def test_misspelt_fields_get_a_proposal() -> None:
    with pytest.raises(BadInput) as caught:
        decode(order(reciever={}))
    assert caught.value.advice == Text("是不是 `receiver`？", "did you mean `receiver`?")
    with pytest.raises(BadInput) as caught:
        decode(with_line(quantitty=1))
    assert caught.value.advice == Text("是不是 `quantity`？", "did you mean `quantity`?")


@pytest.mark.parametrize(
    ("document", "zh", "en"),
    [
        (with_line(quantity="2"), "应为整数，现为文本", "expected `int`, got `str`"),
        (with_line(quantity=True), "应为整数，现为真假值", "expected `int`, got `bool`"),
        (with_line(quantity=1.5), "应为整数，现为小数", "expected `int`, got `float`"),
        (order(lines={"1": {}}), "应为数组或空，现为对象", "expected `array | null`, got `object`"),
        (order(receiver=[]), "应为对象或空，现为数组", "expected `object | null`, got `array`"),
        (order(order_no=None), "应为文本，现为空", "expected `str`, got `null`"),
        (order(latest_ship_at=1), "应为时刻或空，现为整数", "expected `datetime | null`, got `int`"),
        (with_line(quantity=0), "应为整数且 >= 1", "expected `int` >= 1"),
        (with_line(quantity=10**30), "应为整数且 <= 1000000", "expected `int` <= 1000000"),
        (with_line(sku=""), "至少要有 1 个字符", "expected `str` of length >= 1"),
        (order(buyer_note="x" * 2001), "最多 2000 个字符", "expected `str` of length <= 2000"),
        (order(lines=[]), "至少要有 1 项", "expected `array` of length >= 1"),
        (
            HEAD | {"refunds": [{"refund_id": "R", "status": "open"}] * 501},
            "最多 500 项",
            "expected `array` of length <= 500",
        ),
        (order(reciever={}), "没有 `reciever` 这个字段", "unknown field `reciever`"),
        (order(currency="yuan"), "不是货币代码", "is not a currency code"),
        (order(freight="1.005"), "不是最多两位小数的金额", "is not an amount with at most two decimals"),
    ],
)
def test_the_decoder_s_words_are_told_in_both_languages(document: Any, zh: str, en: str) -> None:
    with pytest.raises(BadInput) as caught:
        decode(document)
    assert caught.value.message == Text(zh, en)


@pytest.mark.parametrize(
    ("body", "zh"),
    [
        (b"<order/>", "字节 0 处格式有误"),
        (b'{"order_no": "A1"', "报文不完整"),
        (b'{"order_no":"\xff"}', "字节 13 不是 UTF-8"),
        (b'\xef\xbb\xbf{"order_no":"A1"}', "去掉开头的 BOM（EF BB BF）"),
        (b'{"order_no":"A1","extra":' + b"[" * 1_000_000, "嵌套过深"),
    ],
)
def test_what_is_no_json_is_told_where(body: bytes, zh: str) -> None:
    with pytest.raises(BadInput) as caught:
        decode(body)
    assert caught.value.advice.zh == zh


def test_no_message_quotes_the_buyer() -> None:
    for document in (
        order(receiver={"name": ["王小明"]}),
        order(status="王小明"),
        order(currency="王小明"),
        order(total="王小明"),
        EXAMPLE | {"王 小明 13800000000": 1},
    ):
        with pytest.raises(BadInput) as caught:
            decode(document)
        assert "小明" not in str(caught.value)


def test_a_backslash_before_u0000_is_text() -> None:
    body = json.dumps(order(buyer_note="\\u0000 🙏"), ensure_ascii=False).encode()

    content = decode(body).content

    assert content is not None and content.buyer_note == "\\u0000 🙏"


@pytest.mark.parametrize("value", [b"1e999", b"9" * 5000, b'"\xff"'], ids=["huge", "digits", "no UTF-8"])
def test_extra_is_not_looked_at_for_a_nul_in_it(value: bytes) -> None:
    extra = b', "extra": {"said": "\\u0000", "value": ' + value + b"}}"
    body = json.dumps({key: inner for key, inner in EXAMPLE.items() if key != "extra"}).encode()[:-1] + extra

    assert decode(body) == decode(EXAMPLE)


# --- schema -----------------------------------------------------------------------------------------------------

BEYOND_SCHEMA = {
    "NUL escaped", "NUL in a line", "one line number twice", "one refund twice", "time without offset",
    "time as a word", "time before all days", "time after all days", "total absurd", "price absurd", "sum absurd",
    "sum negative",
}  # fmt: skip
"""Refused by the decoder for reasons a JSON Schema cannot say (formats are annotations)."""


def test_the_schema_file_is_what_the_decoder_takes() -> None:
    made = json.loads(json.dumps(order_schema()))
    assert json.loads((FOLDER / "order.schema.json").read_text(encoding="utf-8")) == made
    jsonschema.Draft202012Validator.check_schema(order_schema())


def test_schema_and_decoder_agree_on_the_example() -> None:
    jsonschema.Draft202012Validator(order_schema()).validate(EXAMPLE)
    assert decode(EXAMPLE).order_no == EXAMPLE["order_no"]


@pytest.mark.parametrize(
    ("document", "agree"),
    [(row[1], row[0] not in BEYOND_SCHEMA) for row in BAD if not isinstance(row[1], bytes)],
    ids=[row[0] for row in BAD if not isinstance(row[1], bytes)],
)
def test_schema_and_decoder_agree_on_what_is_wrong(document: Any, agree: bool) -> None:
    assert jsonschema.Draft202012Validator(order_schema()).is_valid(document) is not agree


# --- properties -------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=100)
amounts = st.integers(0, 10_000_00)
instants = st.integers(946_800_000_000, 4_102_300_000_000).map(lambda ms: datetime.fromtimestamp(ms / 1000, UTC))
ids = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64)
skus = texts.filter(bool).map(lambda text: Sku(text[:64]))
lines = st.builds(Line, ids, skus, st.integers(1, 1_000_000), amounts, texts, amounts)
contents = st.builds(
    Content,
    instants,
    st.lists(lines, min_size=1, max_size=5, unique_by=lambda line: line.line_no).map(tuple),
    st.builds(Receiver, *[texts] * 9),
    amounts,
    st.sampled_from(["CNY", "HKD"]),
    amounts,
    amounts,
    texts,
    texts,
    st.none() | instants,
)


def document_of(number: str, content: Content, updated_at: datetime) -> dict[str, Any]:
    return {
        "order_no": number,
        "updated_at": updated_at.isoformat(),
        "placed_at": content.placed_at.isoformat(),
        "lines": [
            {
                "line_no": line.line_no,
                "sku": line.sku,
                "quantity": line.quantity,
                "price": format_minor(line.price_minor),
                "name": line.name,
                "discount": format_minor(line.discount_minor),
            }
            for line in content.lines
        ],
        "receiver": {name: getattr(content.receiver, name) for name in Receiver.__struct_fields__},
        "total": format_minor(content.total_minor),
        "currency": content.currency,
        "freight": format_minor(content.freight_minor),
        "discount": format_minor(content.discount_minor),
        "buyer_note": content.buyer_note,
        "seller_note": content.seller_note,
        "latest_ship_at": None if content.latest_ship_at is None else content.latest_ship_at.isoformat(),
    }


@given(ids, contents, instants)
def test_any_content_survives_the_way_in(number: str, content: Content, updated_at: datetime) -> None:
    facts = decode(document_of(number, content, updated_at))

    assert (facts.order_no, facts.content) == (number, content)


@given(contents)
def test_what_goes_out_comes_in_the_same(content: Content) -> None:
    """Our `create` is close to our own order document: lines, receiver, notes and amounts are the same words."""
    delivery = Delivery(
        order_id=1,
        order=Order(number=OrderNumber("A1"), connection=ConnectionName("shop"), channel_no="1"),
        command=Command(ConnectionName("wms"), 1, Operation.CREATE, "create"),
    )
    sent = json.loads(mapping.render_create(delivery, content, ()))
    own = ("type", "channel", "channel_order_no", "warehouse", "paid_at", "paid")

    back = decode(
        {key: value for key, value in sent.items() if key not in own} | {"updated_at": "2026-05-01T00:00:00Z"}
    )

    assert back.content == content


@given(st.binary(max_size=200) | st.recursive(st.none() | st.booleans() | st.integers() | texts,
       lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*EXAMPLE, "sku", "x"]), inner)))  # fmt: skip
def test_nothing_but_bad_input_comes_out_of_rubbish(rubbish: Any) -> None:
    body = rubbish if isinstance(rubbish, bytes) else json.dumps(rubbish).encode()
    mapping.read_head(body)
    try:
        decode(body)
    except BadInput as error:
        assert error.code in {"json", "shape", "field", "value", "amount"}


EDGES = [
    None, True, -1, 0, 1, 1.5, 2**53, 2**70, "", "0", "-0.01", "-1.00", "1.5", "1e3", "999999999.99", "١٢.٣٠", " ",
    "\ud800", "placed", "0001-01-01T00:00:00+08:00", "2026-05-01T09:30:00", "2099-12-31T23:59:59-12:00", [], {},
]  # fmt: skip
WHOLE = EXAMPLE | {
    "payment": {"paid": True, "amount": "12.30", "paid_at": "2026-05-01T09:30:00+08:00", "method": "alipay"},
    "hold": {"held": True, "reason": "risk"},
    "cancelled": {"reason": "changed their mind"},
    "refunds": [{"refund_id": "R1", "status": "open", "amount": "1.00", "reason": ""}],
    "extra": {"shop_id": 5},
}


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in `value`, with each key or index of it."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


@pytest.mark.parametrize("edge", EDGES, ids=repr)
def test_facts_are_sound_whatever_is_sent(edge: Any) -> None:
    """`WebhookSource.decode` says that it is well typed, so nobody finds out behind it."""
    document = copy.deepcopy(WHOLE)
    assert sound(decode(document)) == decode(document)
    for container, key in _places(document):
        kept = container[key]
        container[key] = edge
        try:
            facts = decode(json.dumps(document).encode())
        except BadInput:
            pass
        else:
            assert sound(facts) == facts
        container[key] = kept


# --- reading what `admit` needs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "number", "version"),
    [
        (json.dumps(EXAMPLE).encode(), "A1001", "1777599005000"),
        (b'{"order_no": 12, "version": 3}', "12", "3"),
        (b'{"order_no": "A1", "lines": [', "A1", ""),
        (b'{"order_no" : "A1"', "A1", ""),
        (b'{"order_no": 17, "x": tru', "17", ""),
        (b'{"order_no": "A 1"}', "", ""),
        (b'{"order_no": "A\\u0000"}', "", ""),
        (b'{"order_no": true}', "", ""),
        (b'{"order_no": "A1", "updated_at": "0001-01-01T00:00:00+14:00"}', "A1", ""),
        (b"\xff\xfe", "", ""),
        (b"[]", "", ""),
    ],
)
def test_the_order_is_read_as_far_as_it_can_be(body: bytes, number: str, version: str) -> None:
    assert mapping.read_head(body)[:2] == (number, version)


# --- what goes out ----------------------------------------------------------------------------------------------


def test_ship_names_carriers_as_the_partner_does() -> None:
    confirmation = Confirmation("M1", True, (Parcel("ZTO", "78", ((Sku("CUP-01"), 2),)),), ((Sku("CUP-01"), 2),))
    delivery = Delivery(
        order_id=1,
        order=Order(
            number=OrderNumber("SA1"),
            connection=ConnectionName("shop-a"),
            channel_no="A1",
            confirmations={"wms-1/M1": confirmation},
        ),
        command=Command(ConnectionName("shop-a"), 1, Operation.SHIP, "ship:wms-1/M1"),
    )
    carriers = load_carriers().extended({"ZTO": {"webhook": "zhongtong"}})

    assert confirmation_to_tell(delivery) == confirmation
    assert json.loads(mapping.render_ship(delivery, confirmation, carriers)) == {
        "type": "order.ship",
        "order_no": "SA1",
        "channel": "shop-a",
        "channel_order_no": "A1",
        "final": True,
        "shipped_at": None,
        "parcels": [{"carrier": "zhongtong", "tracking_no": "78", "items": [{"sku": "CUP-01", "quantity": 2}]}],
        "shipped": [{"sku": "CUP-01", "quantity": 2}],
    }


@pytest.mark.feature("F125")
@pytest.mark.feature("F127")
def test_a_mapped_shop_s_parcel_names_the_shop_s_lines() -> None:
    """The warehouse counts its own SKUs: the parcel says so, and which lines of the shop they belong to."""
    lines = (Line("1", Sku("礼盒"), 1, 1000), Line("2", Sku("CUP"), 1, 300))
    cup, dish = Part(Sku("C-1"), 1), Part(Sku("D-2"), 2)
    parcels = (Parcel("ZTO", "78", ((Sku("C-1"), 2),)), Parcel("ZTO", "79", ((Sku("D-2"), 2),)), Parcel("ZTO", "80"))
    delivery = Delivery(
        order_id=1,
        order=Order(
            number=OrderNumber("SA1"),
            content=Register(1, 0, Content(datetime(2026, 5, 1, tzinfo=UTC), lines, Receiver(), 1300)),
            confirmations={"wms-1/M1": Confirmation("M1", True, parcels)},
            recipes=(Recipe(Sku("CUP"), (cup,)), Recipe(Sku("礼盒"), (cup, dish))),
        ),
        command=Command(ConnectionName("shop-a"), 1, Operation.SHIP, "ship:wms-1/M1"),
    )
    confirmation = confirmation_to_tell(delivery)
    assert confirmation is not None
    sent = json.loads(mapping.render_ship(delivery, confirmation, load_carriers().extended({"ZTO": {"webhook": "z"}})))
    assert [(parcel["items"], parcel["lines"]) for parcel in sent["parcels"]] == [
        ([{"sku": "C-1", "quantity": 2}], ["1", "2"]),
        ([{"sku": "D-2", "quantity": 2}], ["1"]),
        ([], []),
    ]


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (200, "done", ""), (202, "done", ""), (204, "done", ""), (302, "failed", "redirect"),
        (400, "rejected", "http_4xx"), (401, "failed", "auth"), (403, "failed", "auth"), (404, "rejected", "http_4xx"),
        (408, "failed", "http_408"), (409, "rejected", "http_4xx"), (410, "rejected", "gone"),
        (413, "rejected", "too_large"), (422, "rejected", "http_4xx"), (425, "failed", "http_425"),
        (429, "throttled", ""), (500, "failed", "http_500"), (503, "failed", "http_503"), (599, "failed", "http_5xx"),
    ],
)  # fmt: skip
def test_what_a_status_means(status: int, kind: str, code: str) -> None:
    assert mapping.classify(status) == (kind, code)


def test_a_receiver_goes_out_with_the_fields_it_has() -> None:
    assert mapping.ReceiverOut.__struct_fields__ == Receiver.__struct_fields__
