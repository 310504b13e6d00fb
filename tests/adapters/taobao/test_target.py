"""The way out: every shipment is told once, and levels are absolute."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from adapters.taobao import mapping
from adapters.taobao.fake import BUSY, FREQUENT, SHIPPED_ALREADY, FakeLine, FakeParcel
from adapters.taobao.source import DETAIL
from adapters.taobao.target import SEND, TaobaoTarget
from gateway.core.order import Register
from gateway.sdk.http import Http, HttpReply
from gateway.sdk.models import (
    Answer,
    Command,
    Confirmation,
    ConnectionName,
    Delivery,
    Done,
    Failed,
    Found,
    Level,
    NotFound,
    Operation,
    Order,
    OrdergateError,
    OrderNumber,
    Parcel,
    Rejected,
    Sku,
    Throttled,
    Unauthorised,
    Unknown,
)
from gateway.sdk.pull import Access
from tests.adapters.taobao.support import CUP, Shop
from tests.languages import is_told

LINES = [FakeLine(sku="A", quantity=2), FakeLine(sku="B"), FakeLine(sku="C")]
FULL = Confirmation("M1", True, (Parcel("ZTO", "78001"),))


def parcel(number: str, *items: tuple[str, int], carrier: str = "ZTO") -> Parcel:
    return Parcel(carrier, number, tuple((Sku(sku), pieces) for sku, pieces in items))


def delivery(shop: Shop, tid: str, confirmation: Confirmation = FULL, *more: Confirmation) -> Delivery:
    """A `ship` of `confirmation`, with the order as the source decodes it."""
    detail = {**shop.fake.trades[tid].detail, "modified": mapping.beijing(shop.clock.now())}
    facts = mapping.decode(msgspec.json.encode(detail), shop.setup().settings)
    assert facts.content is not None
    order = Order(
        number=OrderNumber(f"T{tid}"),
        connection=ConnectionName("shop-tb"),
        channel_no=tid,
        content=Register(1, 1, facts.content),
        confirmations={f"wms-1/{one.confirmation_id}": one for one in (confirmation, *more)},
    )
    key = f"ship:wms-1/{confirmation.confirmation_id}"
    return Delivery(order_id=1, order=order, command=Command(ConnectionName("shop-tb"), 1, Operation.SHIP, key))


def oids(shop: Shop, tid: str) -> list[str]:
    return [line["oid_str"] for line in shop.fake.trades[tid].lines]


@pytest.mark.feature("F127")
async def test_a_whole_shipment(shop: Shop, http: Http) -> None:
    tid = shop.fake.place([CUP], paid=True)
    out = TaobaoTarget(shop.setup(), shop.access(http))
    command = delivery(shop, tid)

    assert await out.find(command, deadline_s=5) == NotFound()
    assert await out.send(command, deadline_s=5) == Done("78001")
    assert shop.fake.parcels == {tid: [FakeParcel((tid,), "ZTO", "78001")]}
    assert shop.fake.trades[tid].status == "WAIT_BUYER_CONFIRM_GOODS"
    assert await out.find(command, deadline_s=5) == Found("78001")
    assert await out.send(command, deadline_s=5) == Done(already=True)
    assert (shop.fake.calls[SEND], shop.budget.turns) == (1, 1)
    assert shop.fake.books.sums["CUP-RED"] == {"placed": 2, "shipped": 2}


@pytest.mark.feature("F127")
async def test_a_shipment_in_parts(shop: Shop, http: Http) -> None:
    tid = shop.fake.place(LINES, paid=True)
    a, b, c = oids(shop, tid)
    out = TaobaoTarget(shop.setup(), shop.access(http))
    first = Confirmation("M1", False, (parcel("78001", ("A", 1)),), ((Sku("A"), 1),))
    rest = Confirmation("M2", True, (parcel("78002", ("A", 1), ("B", 1)), parcel("78003", ("C", 1), carrier="SF")))

    assert await out.send(delivery(shop, tid, first, rest), deadline_s=5) == Done("78001")
    assert shop.fake.trades[tid].status == "SELLER_CONSIGNED_PART"
    assert await out.find(delivery(shop, tid, rest, first), deadline_s=5) == NotFound()
    assert await out.send(delivery(shop, tid, rest, first), deadline_s=5) == Done("78002")
    assert shop.fake.parcels[tid] == [
        FakeParcel((a,), "ZTO", "78001"),
        FakeParcel((b,), "ZTO", "78002"),
        FakeParcel((c,), "SF", "78003"),
    ]
    assert await out.find(delivery(shop, tid, rest, first), deadline_s=5) == Found("78002")


async def test_more_lines_than_one_call_takes(shop: Shop, http: Http) -> None:
    tid = shop.fake.place([FakeLine(sku=f"S{number}") for number in range(121)], paid=True)
    shop.fake.refund(tid, oids(shop, tid)[0], status="SUCCESS")
    items = tuple((f"S{number}", 1) for number in range(1, 120))
    part = Confirmation("M1", False, (parcel("78001", *items),))
    out = TaobaoTarget(shop.setup(), shop.access(http))
    assert await out.send(delivery(shop, tid, part), deadline_s=5) == Done("78001")
    assert [len(one.oids) for one in shop.fake.parcels[tid]] == [50, 50, 19]


async def test_a_line_that_was_closed_is_not_told(shop: Shop, http: Http) -> None:
    tid = shop.fake.place(LINES, paid=True)
    command = delivery(shop, tid)
    a, b, c = oids(shop, tid)
    shop.fake.refund(tid, b, status="SUCCESS")
    assert await TaobaoTarget(shop.setup(), shop.access(http)).send(command, deadline_s=5) == Done("78001")
    assert shop.fake.parcels[tid] == [FakeParcel((a, c), "ZTO", "78001")]


@pytest.mark.feature("F66")
@pytest.mark.parametrize("looks", ["find", "send"])
async def test_a_shipment_that_was_taken_without_an_answer_is_not_told_again(http: Http, looks: str) -> None:
    """At a platform that would take it a second time."""
    shop = Shop(doubles_shipments=True)
    async with shop.fake:
        tids = [shop.fake.place(LINES, paid=True) for _ in range(8)]
        out = TaobaoTarget(shop.setup(), shop.access(http))
        shop.fake.set_faults({"commit_then_timeout_share": 0.5, "commands": ["ship"]})
        for tid in tids:
            command = delivery(shop, tid)
            answer: Any = await out.send(command, deadline_s=0.5)
            for _ in range(9):
                if isinstance(answer, Done | Found):
                    break
                assert answer == Unknown("timeout", answer.message, timeout=True)
                ask = out.find if looks == "find" else out.send
                answer = await ask(command, deadline_s=0.5)
            assert isinstance(answer, Done | Found)
        assert shop.fake.books.injected["commit_then_timeout"] > 0
        assert {tid: len(told) for tid, told in shop.fake.parcels.items()} == dict.fromkeys(tids, 1)
        assert shop.fake.books.duplicates == 0


async def test_what_was_typed_in_by_hand_is_done(shop: Shop, http: Http) -> None:
    tid = shop.fake.place([CUP], paid=True)
    command = delivery(shop, tid)
    shop.fake.consign(tid, FakeParcel((tid,), "SF", "by hand"))
    out = TaobaoTarget(shop.setup(), shop.access(http))
    assert await out.send(command, deadline_s=5) == Done(already=True)
    assert await out.find(command, deadline_s=5) == Found("78001")
    assert SEND not in shop.fake.calls


async def test_a_hand_that_was_faster_than_our_word(shop: Shop, http: Http) -> None:
    tid = shop.fake.place([CUP], paid=True)
    command = delivery(shop, tid)

    def by_hand(method: str) -> None:
        if method == SEND:
            shop.fake.consign(tid, FakeParcel((tid,), "SF", "by hand"))

    shop.fake.between = by_hand
    assert await TaobaoTarget(shop.setup(), shop.access(http)).send(command, deadline_s=5) == Done("78001")
    assert [told.out_sid for told in shop.fake.parcels[tid]] == ["by hand"]


@pytest.mark.parametrize(
    ("deed", "expected"),
    [
        (lambda shop, tid: shop.fake.close(tid), "closed"),
        (lambda shop, tid: shop.fake.forbid(tid), "not_shippable"),
        (lambda shop, tid: shop.fake.refund(tid, status="SUCCESS"), "closed"),
    ],
)
async def test_what_may_not_be_shipped_goes_to_a_person(shop: Shop, http: Http, deed: Any, expected: str) -> None:
    tid = shop.fake.place([CUP], paid=True)
    command = delivery(shop, tid)
    deed(shop, tid)
    out = TaobaoTarget(shop.setup(), shop.access(http))
    answer = await out.send(command, deadline_s=5)
    assert isinstance(answer, Rejected) and answer.code == expected
    assert await out.find(command, deadline_s=5) == NotFound()
    assert SEND not in shop.fake.calls


@pytest.mark.parametrize(
    ("confirmation", "code"),
    [
        (Confirmation("M1", True), "no_parcel"),
        (Confirmation("M1", True, (parcel("1", ("OTHER", 1)),)), "no_line"),
        (Confirmation("M1", True, (parcel("1", carrier="PIGEON"),)), "unknown_carrier"),
        (Confirmation("M1", True, (parcel("1", carrier="JD"),)), "unknown_carrier"),
    ],
)
async def test_what_cannot_be_told(shop: Shop, http: Http, confirmation: Confirmation, code: str) -> None:
    tid = shop.fake.place([CUP], paid=True)
    out = TaobaoTarget(shop.setup(), shop.access(http))
    answer = await out.send(delivery(shop, tid, confirmation), deadline_s=5)
    assert isinstance(answer, Rejected) and answer.code == code
    assert await out.find(delivery(shop, tid, confirmation), deadline_s=5) == answer
    assert shop.fake.calls == {}


async def test_a_shop_is_told_shipments_only(shop: Shop, http: Http) -> None:
    tid = shop.fake.place([CUP], paid=True)
    command = msgspec.structs.replace(
        delivery(shop, tid), command=Command(ConnectionName("shop-tb"), 1, Operation.CREATE, "create")
    )
    answer = await TaobaoTarget(shop.setup(), shop.access(http)).send(command, deadline_s=5)
    assert isinstance(answer, Rejected) and answer.code == "unsupported"


@pytest.mark.parametrize(
    ("confirmation", "expected"),
    [
        (Confirmation("M1", True, (parcel("1"), parcel("2"))), {"1": "ABC"}),
        (Confirmation("M1", False, (parcel("1"),), ((Sku("B"), 1), (Sku("C"), 0))), {"1": "B"}),
        (Confirmation("M1", True, (parcel("1", ("A", 1)), parcel("2", ("A", 1), ("B", 1)))), {"1": "A", "2": "B"}),
        (
            Confirmation("M1", True, (parcel("1"), parcel("2", ("B", 1))), ((Sku("A"), 2), (Sku("B"), 1))),
            {"1": "A", "2": "B"},
        ),
        (Confirmation("M1", True, (parcel("1", ("A", 2), ("OTHER", 1)),)), {"1": "A"}),
    ],
)
async def test_which_lines_go_with_which_parcel(
    shop: Shop, confirmation: Confirmation, expected: dict[str, str]
) -> None:
    tid = shop.fake.place(LINES, paid=True)
    names = dict(zip(oids(shop, tid), "ABC", strict=True))
    found = mapping.consignments(delivery(shop, tid, confirmation))
    assert not isinstance(found, Rejected)
    assert {one.parcel.tracking_no: "".join(names[oid] for oid in one.oids) for one in found} == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FREQUENT, Throttled(2.0, f"7 {FREQUENT['sub_code']} {FREQUENT['sub_msg']}")),
        (BUSY, Unknown("platform", f"15 {BUSY['sub_code']} 系统繁忙")),
        ({"code": 27}, Unauthorised("session", "27")),
        ({"code": 25}, Failed("signature", "25")),
        ({"code": 30}, Failed("clock", "30")),
        ({"code": 41}, Rejected("argument", "41")),
        (SHIPPED_ALREADY, Rejected("business", f"15 {SHIPPED_ALREADY['sub_code']} {SHIPPED_ALREADY['sub_msg']}")),
        ({"code": 15, "sub_code": "isv.error:B60"}, Rejected("business", "15 isv.error:B60")),
    ],
)
async def test_errors_inside_200_when_it_is_told(
    shop: Shop, http: Http, error: dict[str, Any], expected: Answer
) -> None:
    tid = shop.fake.place([CUP], paid=True)
    shop.fake.refuse(SEND, error)
    out = TaobaoTarget(shop.setup(), shop.access(http))
    assert await out.send(delivery(shop, tid), deadline_s=5) == expected
    assert shop.fake.parcels == {}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FREQUENT, Throttled(2.0, f"7 {FREQUENT['sub_code']} {FREQUENT['sub_msg']}")),
        (BUSY, Failed("platform", f"15 {BUSY['sub_code']} 系统繁忙")),
        ({"code": 27}, Unauthorised("session", "27")),
        ({"code": 25}, Failed("signature", "25")),
    ],
)
async def test_errors_of_the_look_leave_nothing_in_doubt(
    shop: Shop, http: Http, error: dict[str, Any], expected: Answer
) -> None:
    tid = shop.fake.place([CUP], paid=True)
    out = TaobaoTarget(shop.setup(), shop.access(http))
    shop.fake.refuse(DETAIL, error, error)
    assert await out.send(delivery(shop, tid), deadline_s=5) == expected
    assert await out.find(delivery(shop, tid), deadline_s=5) == expected
    assert SEND not in shop.fake.calls


async def test_a_trade_the_platform_does_not_show_goes_to_a_person(shop: Shop, http: Http) -> None:
    error = {"code": 15, "sub_code": "isv.trade-not-exist"}
    tid = shop.fake.place([CUP], paid=True)
    out = TaobaoTarget(shop.setup(), shop.access(http))
    shop.fake.refuse(DETAIL, error, error)
    assert await out.send(delivery(shop, tid), deadline_s=5) == Rejected("business", "15 isv.trade-not-exist")
    said = await out.find(delivery(shop, tid), deadline_s=5)
    assert said == Unknown("business", "15 isv.trade-not-exist", answered=True)
    assert SEND not in shop.fake.calls


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ({"share_5xx": 1.0}, Failed("http_503", "HTTP 503")),
        ({"share_5xx": 1.0, "status_5xx": 500}, Unknown("http_500", "HTTP 500")),
        ({"hang_share": 1.0}, "timeout"),
        ({"garbage_share": 1.0}, Unknown("unreadable", "the answer is not TOP's JSON: DecodeError")),
        ({"error_in_200_share": 1.0}, Unknown("platform", f"15 {BUSY['sub_code']} 系统繁忙")),
    ],
)
async def test_faults_while_it_is_told(shop: Shop, http: Http, faults: dict[str, Any], expected: Answer | str) -> None:
    tid = shop.fake.place([CUP], paid=True)
    shop.fake.set_faults({**faults, "commands": ["ship"]})
    answer = await TaobaoTarget(shop.setup(), shop.access(http)).send(delivery(shop, tid), deadline_s=0.5)
    if expected == "timeout":
        assert isinstance(answer, Unknown) and answer.timeout and answer.code == "timeout"
    else:
        assert answer == expected


async def test_an_answer_that_does_not_say_done_is_not_taken_for_it(shop: Shop, http: Http) -> None:
    class Unsure:
        """Answers a shipment with no word of success."""

        async def post(self, url: str, body: bytes, **more: Any) -> HttpReply:
            reply = await http.post(url, body, **more)
            return msgspec.structs.replace(reply, body=reply.body.replace(b'"is_success":true', b'"is_success":false'))

    tid = shop.fake.place([CUP], paid=True)
    access = msgspec.structs.replace(shop.access(http), http=Unsure())
    answer = await TaobaoTarget(shop.setup(), access).send(delivery(shop, tid), deadline_s=5)
    assert isinstance(answer, Unknown) and (answer.code, answer.answered) == ("not_confirmed", True)


async def test_no_turn_in_time_is_patience_and_no_attempt(shop: Shop, http: Http) -> None:
    class Never:
        async def turn(self) -> None:
            await asyncio.Event().wait()

        def pause(self, for_s: float) -> None: ...

    tid = shop.fake.place([CUP], paid=True)
    access: Access = msgspec.structs.replace(shop.access(http), budget=Never())
    answer = await TaobaoTarget(shop.setup(), access).send(delivery(shop, tid), deadline_s=0.3)
    assert isinstance(answer, Throttled)
    assert SEND not in shop.fake.calls


# --- levels and the check -------------------------------------------------------------------------------------------


@pytest.mark.feature("F53")
async def test_levels_are_absolute(shop: Shop, http: Http) -> None:
    out = TaobaoTarget(shop.setup(), shop.access(http))
    for quantity in (7, 7, 0):
        assert await out.set_level(Level("A", quantity, "612345678901", "49"), deadline_s=5) == Done()
        assert shop.fake.levels["612345678901", "49"] == quantity
    assert await out.set_level(Level("B", 3, "612345678902"), deadline_s=5) == Done()
    assert shop.fake.levels["612345678902", ""] == 3
    assert set(shop.fake.calls) == {"taobao.skus.quantity.update", "taobao.item.quantity.update"}


@pytest.mark.parametrize(("level", "code"), [(Level("A", 1), "no_item"), (Level("A", -1, "6"), "value")])
async def test_a_level_that_cannot_be_told(shop: Shop, http: Http, level: Level, code: str) -> None:
    answer = await TaobaoTarget(shop.setup(), shop.access(http)).set_level(level, deadline_s=5)
    assert isinstance(answer, Rejected) and answer.code == code
    assert shop.fake.calls == {}


async def test_a_level_that_is_refused(shop: Shop, http: Http) -> None:
    out = TaobaoTarget(shop.setup(), shop.access(http))
    shop.fake.refuse("taobao.item.quantity.update", FREQUENT, {"code": 15, "sub_code": "isv.item-not-exist"})
    assert isinstance(await out.set_level(Level("A", 1, "6"), deadline_s=5), Throttled)
    assert await out.set_level(Level("A", 1, "6"), deadline_s=5) == Rejected("business", "15 isv.item-not-exist")


async def test_the_check_says_what_to_do(shop: Shop, http: Http) -> None:
    await TaobaoTarget(shop.setup(), shop.access(http)).check(deadline_s=5)
    with pytest.raises(OrdergateError, match="check app_secret and sign_method") as refused:
        await TaobaoTarget(shop.setup(app_secret="other"), shop.access(http)).check(deadline_s=5)
    assert is_told(refused.value.text)
    shop.fake.expire()
    with pytest.raises(OrdergateError, match="authorise the shop again") as refused:
        await TaobaoTarget(shop.setup(), shop.access(http)).check(deadline_s=5)
    assert is_told(refused.value.text)
