"""Trades of which something has left, decided on as intake does: by somebody's hand, or by us."""

from __future__ import annotations

import msgspec
import pytest

from adapters.taobao import mapping
from adapters.taobao.fake import FakeLine, FakeParcel
from adapters.taobao.target import TaobaoTarget
from gateway.core.order import Order, Stage
from gateway.sdk.http import Http
from gateway.sdk.models import (
    Command,
    Confirmation,
    ConnectionName,
    Delivery,
    Done,
    Facts,
    Operation,
    OrderNumber,
    Parcel,
    Party,
    Sku,
)
from tests.adapters.taobao.support import Shop
from tests.pipeline.sample import Books, commands, rules

LINES = [FakeLine(sku="A"), FakeLine(sku="B")]
NUMBER = OrderNumber("A1")


def read(shop: Shop, tid: str) -> Facts:
    """What the shop says of the trade now."""
    trade = shop.fake.trades[tid]
    detail = {**trade.detail, "modified": mapping.beijing(trade.modified)}
    return mapping.decode(msgspec.json.encode(detail), shop.setup().settings)


def by_hand(shop: Shop, tid: str, *lines: int) -> None:
    shop.clock.advance(60)
    oids = [line["oid_str"] for line in shop.fake.trades[tid].lines]
    shop.fake.consign(tid, FakeParcel(tuple(oids[line] for line in lines), "SF", "by hand"))


def paid_back(shop: Shop, tid: str, line: int, status: str) -> None:
    """A line's money is given back, which leaves the trade in `status`."""
    shop.clock.advance(60)
    trade = shop.fake.trades[tid]
    trade.lines[line].update(status="TRADE_CLOSED", refund_status="SUCCESS")
    trade.detail["status"] = status
    trade.modified = shop.clock.now()


def is_not_sent(books: Books, *, whole: bool) -> None:
    """What has left whole needs nobody and holds no stock; what left in part waits for the hand that sent it,
    which the desk calls."""
    order = books.orders[NUMBER]
    assert order.commands == () and order.conflicts == ()
    if whole:
        assert (order.stage, order.reasons) == (Stage.SHIPPED, ())
        assert not any(booking.locked or booking.committed for booking in order.booked)
    else:
        assert (order.stage, order.reasons) == (Stage.RECEIVED, ("held_for_person",))
    books.check_ledger()


def confirmed(name: str, sku: str, tracking_no: str, *, final: bool) -> Facts:
    parcel = Parcel("ZTO", tracking_no, ((Sku(sku), 1),))
    confirmation = Confirmation(name, final, (parcel,), ((Sku(sku), 1),))
    return Facts(party=Party.WAREHOUSE, order_no=NUMBER, confirmations=(confirmation,))


@pytest.mark.parametrize("status", ["", "TRADE_BUYER_SIGNED", "TRADE_FINISHED"])
@pytest.mark.parametrize("lines", [(0, 1), (0,)])
def test_what_left_by_hand_before_we_knew_it_is_not_sent(lines: tuple[int, ...], status: str) -> None:
    shop, books = Shop(), Books(rules(), {"A": 5, "B": 5})
    tid = shop.fake.place(LINES, paid=True)
    by_hand(shop, tid, *lines)
    if status and len(lines) == len(LINES):
        shop.fake.trades[tid].detail["status"] = status
    books.take([(NUMBER, read(shop, tid))])
    is_not_sent(books, whole=len(lines) == len(LINES))


@pytest.mark.parametrize("lines", [(0, 1), (1,)])
def test_what_left_by_hand_while_it_waited_for_stock_is_not_sent_when_stock_comes(lines: tuple[int, ...]) -> None:
    shop, books = Shop(), Books(rules(), {"A": 5, "B": 0})
    tid = shop.fake.place(LINES, paid=True)
    books.take([(NUMBER, read(shop, tid))])
    assert books.orders[NUMBER].reasons == ("short_of_stock",)
    by_hand(shop, tid, *lines)
    books.take([(NUMBER, read(shop, tid))])
    place = (Sku("B"), "WH1")
    books.balances[place].on_hand = books.counted[books.balances[place].stock_id] = 5
    books.reconsider(NUMBER)
    is_not_sent(books, whole=len(lines) == len(LINES))


def test_what_is_paid_back_instead_of_being_shipped_by_hand_stays_on_the_shelf() -> None:
    """As the desk advises: of a trade that left in part, the rest is paid back."""
    shop, books = Shop(), Books(rules(), {"A": 5, "B": 5})
    tid = shop.fake.place(LINES, paid=False)
    books.take([(NUMBER, read(shop, tid))])
    shop.fake.pay(tid)
    by_hand(shop, tid, 0)
    books.take([(NUMBER, read(shop, tid))])
    is_not_sent(books, whole=False)
    paid_back(shop, tid, 1, "WAIT_BUYER_CONFIRM_GOODS")
    books.take([(NUMBER, read(shop, tid))])
    is_not_sent(books, whole=True)
    assert [books.balances[Sku(sku), "WH1"].on_hand for sku in "AB"] == [4, 5]
    paid_back(shop, tid, 0, "TRADE_CLOSED")
    books.take([(NUMBER, read(shop, tid))])
    assert (books.orders[NUMBER].stage, books.orders[NUMBER].commands) == (Stage.CANCELLED, ())
    assert [books.balances[Sku(sku), "WH1"].on_hand for sku in "AB"] == [4, 5], "whoever takes it back counts it"
    books.check_ledger()


@pytest.mark.parametrize("first", [0, 1])
def test_what_left_by_hand_stays_off_the_shelf_whichever_line_is_paid_back_first(first: int) -> None:
    shop, books = Shop(), Books(rules(), {"A": 5, "B": 5})
    tid = shop.fake.place(LINES, paid=False)
    books.take([(NUMBER, read(shop, tid))])
    shop.fake.pay(tid)
    by_hand(shop, tid, 0)
    books.take([(NUMBER, read(shop, tid))])
    for line, status in (
        (first, "WAIT_SELLER_SEND_GOODS" if first == 0 else "WAIT_BUYER_CONFIRM_GOODS"),
        (1 - first, "TRADE_CLOSED"),
    ):
        paid_back(shop, tid, line, status)
        books.take([(NUMBER, read(shop, tid))])
        assert books.orders[NUMBER].commands == ()
    assert books.orders[NUMBER].stage is Stage.CANCELLED
    assert [books.balances[Sku(sku), "WH1"].on_hand for sku in "AB"] == [4, 5], "whoever takes it back counts it"
    books.check_ledger()


def test_what_left_by_hand_after_it_was_sent_is_told_to_a_person() -> None:
    shop, books = Shop(), Books(rules(), {"A": 5, "B": 5})
    tid = shop.fake.place(LINES, paid=True)
    books.take([(NUMBER, read(shop, tid))])
    by_hand(shop, tid, 0, 1)
    books.take([(NUMBER, read(shop, tid))])
    assert (commands(books.orders[NUMBER]), books.orders[NUMBER].conflicts) == (["wms.create"], ("shipped_elsewhere",))


async def test_our_own_shipment_in_parts_changes_nothing(shop: Shop, http: Http) -> None:
    """The platform says of what we have told it what it says of what was typed in by hand."""
    books, out = Books(rules(), {"A": 5, "B": 5}), TaobaoTarget(shop.setup(), shop.access(http))
    tid = shop.fake.place(LINES, paid=True)
    books.take([(NUMBER, read(shop, tid))])

    async def confirm_and_tell(name: str, sku: str, tracking_no: str, *, final: bool) -> Order:
        books.take([(NUMBER, confirmed(name, sku, tracking_no, final=final))])
        before = books.orders[NUMBER]
        shop.clock.advance(60)
        command = Command(ConnectionName("shop"), 1, Operation.SHIP, f"ship:wms/{name}")
        told = msgspec.structs.replace(before, channel_no=tid)
        answer = await out.send(Delivery(order_id=1, order=told, command=command), deadline_s=5)
        assert answer == Done(tracking_no)
        for _ in range(2):  # polled, and polled again
            books.take([(NUMBER, read(shop, tid))])
        after = books.orders[NUMBER]
        assert (after.held, after.left is not None and after.left.value) == (not final, final)
        assert (after.commands, after.booked, after.stage) == (before.commands, before.booked, before.stage)
        assert (after.reasons, after.conflicts) == ((), ())
        books.check_ledger()
        return after

    part = await confirm_and_tell("M1", "A", "78001", final=False)
    assert (shop.fake.trades[tid].status, part.stage) == ("SELLER_CONSIGNED_PART", "packed")
    whole = await confirm_and_tell("M2", "B", "78002", final=True)
    assert (shop.fake.trades[tid].status, whole.stage) == ("WAIT_BUYER_CONFIRM_GOODS", "shipped")
    assert commands(whole) == ["wms.create", "shop.ship:wms/M1", "shop.ship:wms/M2"]
