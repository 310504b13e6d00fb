"""What the timeline says of an order that had to wait: for what, after each decision, and what let it go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from gateway.core.event import Arrival, EventId
from gateway.core.order import Closing, Confirmation, Facts, Hold, Party, Payment, Sku
from gateway.store.inbox import put_in
from gateway.store.purge import Ages
from gateway.store.queries import Decided, EventSeen, read_order, read_payload
from gateway.store.reparse import Reparsed, look
from gateway.store.stock import reconsider, set_stock
from tests.intake.test_batch import EVERYTHING, NOW, RULES, SHOP, Desk, Memory, decide, desk, paid, said
from tests.intake.test_sealed import read_inbox
from tests.store.test_purge import purge

__all__ = ["desk"]

Story = list[tuple[str, str, tuple[str, ...]]]
UNPAID = said(1, content=EVERYTHING, payment=Payment(False))


async def story(desk: Desk, number: str = "A1") -> Story:
    """What came in (its number) or was decided without it ("again"), where the order stood then, what it waited for."""
    page = await read_order(desk.pool, number)
    assert page is not None
    return [
        (f"#{one.n}" if isinstance(one, EventSeen) else "again", one.stage, one.reasons)
        for one in page.timeline
        if isinstance(one, EventSeen | Decided)
    ]


def next_one(desk: Desk, facts: Facts) -> Arrival:
    """Taken a second after the one before it."""
    arrival = desk.arrival("1", facts)
    return msgspec.structs.replace(arrival, taken_at=NOW + timedelta(seconds=desk.count))


async def count_stock(desk: Desk, pieces: int) -> None:
    await set_stock(desk.pool, {("S1", "W"): pieces}, reason="x", actor="test", now=datetime.now(UTC))  # type: ignore[dict-item]


@pytest.mark.feature("F116")
async def test_an_order_that_waited_for_its_money_and_then_for_stock_says_both_and_what_let_it_go(desk: Desk) -> None:
    await count_stock(desk, 0)
    decider = await desk.worker(Memory())
    await decide(decider, next_one(desk, UNPAID))
    await decide(decider, next_one(desk, said(2, payment=Payment(True, 2000))))
    await count_stock(desk, 5)
    await read_inbox(desk, decider)

    waited: Story = [
        ("#1", "received", ("unpaid", "short_of_stock")),
        ("#2", "reviewed", ("short_of_stock",)),
        ("again", "allocated", ()),
    ]
    assert await story(desk) == waited
    page = await read_order(desk.pool, "A1")
    assert page is not None
    assert [type(one).__name__ for one in page.timeline][-3:] == ["Decided", "StockMoved", "DeliveryPlanned"]
    assert await read_payload(desk.pool, "A1", 3) is None, "nothing came in with it"


@pytest.mark.feature("F53")
async def test_what_a_shop_puts_back_of_an_order_that_was_kept_nothing_for_is_told_again(desk: Desk) -> None:
    """The last piece was sold twice, and the second buyer cancels: the shop would offer one that is not there."""
    await count_stock(desk, 0)
    decider = await desk.worker(Memory())
    await desk.pool.execute(
        "INSERT INTO listing (connection_id, sku, publish, sent, sent_at) SELECT $1, sku, true, 0, now()"
        " FROM unnest(ARRAY['S1', 'another']) AS sku",
        desk.names.id(SHOP),
    )
    told = "SELECT sku, sent FROM listing ORDER BY sku"
    await decide(decider, next_one(desk, UNPAID))
    assert await desk.rows(told) == [("S1", 0), ("another", 0)]
    await decide(decider, next_one(desk, said(2, closing=Closing(True))))
    assert await desk.rows("SELECT count(*) FROM movement WHERE order_id IS NOT NULL") == [(0,)]
    assert await desk.rows(told) == [("S1", None), ("another", 0)]


async def test_a_hold_says_when_it_began_and_that_it_ended(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    held = said(1, content=EVERYTHING, payment=Payment(True, 2000), hold=Hold(True))
    await decide(decider, next_one(desk, held))
    await decide(decider, next_one(desk, said(2, hold=Hold(False))))
    assert await story(desk) == [("#1", "received", ("channel_hold",)), ("#2", "allocated", ())]


async def test_a_cancel_ends_the_wait(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, next_one(desk, UNPAID))
    await decide(decider, next_one(desk, said(2, closing=Closing(True))))
    assert await story(desk) == [("#1", "received", ("unpaid",)), ("#2", "cancelled", ())]


async def test_what_goes_straight_through_stores_nothing_of_it(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", paid("1")))
    assert await desk.rows("SELECT stage, reasons FROM event") == [("allocated", None)]


async def test_a_decision_that_comes_to_the_same_again_is_no_news(desk: Desk) -> None:
    await count_stock(desk, 0)
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", paid("1")))
    for _ in range(2):
        async with desk.pool.acquire() as connection, connection.transaction():
            await put_in(connection, [reconsider("A1", SHOP, datetime.now(UTC))])
        await read_inbox(desk, decider)
    assert await story(desk) == [("#1", "reviewed", ("short_of_stock",))]


async def test_other_rules_are_why_the_same_event_comes_to_something_else(desk: Desk) -> None:
    """The event has been stored with what it came to then, and that stays."""
    strict = msgspec.structs.replace(RULES, max_total_minor=100)
    arrival = desk.arrival("1", paid("1"))
    await decide(await desk.worker(Memory(), rules=strict), arrival)
    await decide(await desk.worker(Memory()), arrival)
    assert await story(desk) == [("#1", "received", ("over_limit",)), ("again", "allocated", ())]


async def test_a_decision_does_not_stand_for_news_of_the_order(desk: Desk) -> None:
    """A dead letter without content closes where its shop has told of the order since: it has not."""
    await count_stock(desk, 0)
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", paid("1")))
    await count_stock(desk, 5)
    await read_inbox(desk, decider)
    await decide(decider, desk.arrival("1", b"unread", at=NOW + timedelta(minutes=1)))
    assert await desk.rows("SELECT code FROM dead_letter WHERE closed_at IS NULL") == [("unread",)]


async def test_what_it_waited_for_goes_with_the_timeline(desk: Desk) -> None:
    await count_stock(desk, 0)
    decider = await desk.worker(Memory())
    await decide(decider, next_one(desk, UNPAID))
    await decide(decider, next_one(desk, said(2, payment=Payment(True, 2000))))
    await count_stock(desk, 5)
    await read_inbox(desk, decider)
    await decide(decider, next_one(desk, said(3, closing=Closing(True))))
    await desk.pool.execute("DELETE FROM lane")
    assert len(await story(desk)) == 4
    later = datetime.now(UTC) + timedelta(days=100)
    ages = Ages(later - timedelta(days=90), later - timedelta(days=365))
    assert (await purge(desk.pool, now=later, ages=ages))["event"] == 4
    assert await story(desk) == []


async def test_a_message_with_the_id_of_another_one_is_kept_where_something_new_was_taken_of_it(desk: Desk) -> None:
    """A warehouse that confirms a part, and then the whole under the same id; in two batches or in one."""

    def confirmed(number: str, *, final: bool) -> Arrival:
        shipped = Confirmation("MSG-77", final, shipped=((Sku("S1"), 2 if final else 1),))
        facts = Facts(party=Party.WAREHOUSE, order_no=f"A{number}", confirmations=(shipped,))
        arrival = desk.arrival(number, facts)
        event = msgspec.structs.replace(arrival.event, id=EventId("MSG-77"))
        return msgspec.structs.replace(arrival, event=event, taken_at=NOW + timedelta(seconds=desk.count))

    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", paid("1")), desk.arrival("2", paid("2")))
    part, whole = confirmed("1", final=False), confirmed("1", final=True)
    await decide(decider, part)
    await decide(decider, whole)
    await decide(decider, part, whole)
    await decide(decider, confirmed("2", final=False), confirmed("2", final=True))
    assert await story(desk, "A1") == [("#1", "allocated", ()), ("#2", "packed", ()), ("#3", "shipped", ())]
    assert await story(desk, "A2") == [("#1", "allocated", ()), ("#2", "shipped", ()), ("#3", "shipped", ())]
    for number in ("A1", "A2"):
        assert await look(desk.pool, number, reads=decider.reads, renamed={}) == Reparsed(messages=3, changes=())
