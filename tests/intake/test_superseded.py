"""Letters of which their platform gave nothing: a newer reading of the order closes them, and nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
import pytest

from gateway.core.errors import BadInput
from gateway.core.event import RECONSIDER, Arrival, ConnectionName, Event, EventId, Leg, Position
from gateway.core.happening import LetterSuperseded
from gateway.core.order import Closing, Facts, Refund, RefundStatus
from gateway.pipeline.rules import Rules
from gateway.store.dead import release
from gateway.store.notices import read_waiting
from gateway.store.queries import SetAside, read_order
from gateway.store.redrive import Pace, read_redrive, start, step
from gateway.store.sql import migrate, open_pool, register_connections
from gateway.store.wanted import Wanted
from gateway.store.work import Wish, cards
from tests.intake.test_batch import NOW, RULES, SHOP, WMS, Desk, Memory, decide, paid, parcel, said
from tests.intake.test_sealed import read_inbox

LATER = NOW + timedelta(minutes=1)
CANCELLED = said(2, closing=Closing(True))
LETTERS = "SELECT code, resolution, closed_by FROM dead_letter ORDER BY dead_letter_id"
SUPERSEDED = ("unread", "superseded", "ordergate")
OPEN = ("unread", None, None)


@pytest.fixture
async def desk(postgres_url: str) -> AsyncIterator[Desk]:
    pool = await open_pool(postgres_url, size=8)
    await migrate(pool)
    yield Desk(pool, await register_connections(pool, [SHOP, WMS]))
    await pool.close()


@pytest.mark.feature("F14")
async def test_a_newer_reading_closes_what_could_not_be_read_with_a_trace(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", b"unread"))
    assert [card.code for card in await cards(desk.pool, Wish(kind="dead_letter"))] == ["unread"]

    await decide(decider, desk.arrival("1", paid("1"), at=LATER))
    await read_inbox(desk, decider)

    assert await desk.rows("SELECT number, stage FROM orders") == [("A1", "allocated")]
    assert await desk.rows(LETTERS) == [SUPERSEDED]
    assert await cards(desk.pool, Wish(kind="dead_letter")) == []
    async with desk.pool.acquire() as connection:
        assert (await read_waiting(connection)).dead_letters == {}
    detail = await read_order(desk.pool, "A1")
    assert detail is not None
    assert [one.resolution for one in detail.timeline if isinstance(one, SetAside)] == ["superseded"]
    [(kept,)] = await desk.rows("SELECT dead_letter_id FROM dead_letter")
    assert [one for one in desk.happened if isinstance(one, LetterSuperseded)] == [LetterSuperseded(kept, SHOP)]


async def test_the_same_state_read_after_all_closes_it_too(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", b"unread"))
    await decide(decider, desk.arrival("1", paid("1")))
    await read_inbox(desk, decider)
    assert await desk.rows(LETTERS) == [SUPERSEDED]
    assert await desk.rows("SELECT stage FROM orders") == [("allocated",)]


async def test_a_reading_under_the_new_name_of_its_shop_closes_it_too(desk: Desk) -> None:
    await decide(await desk.worker(Memory()), desk.arrival("1", b"unread"))
    new = ConnectionName("shop-n")
    desk.names = await register_connections(desk.pool, [SHOP, WMS, new])
    shop = msgspec.structs.replace(RULES.shops[SHOP], name=new)
    decider = await desk.worker(Memory(), rules=Rules(shops={new: shop}, renamed={SHOP: new}))
    told = desk.arrival("1", paid("1"), at=LATER)
    await decide(decider, msgspec.structs.replace(told, event=msgspec.structs.replace(told.event, source=new)))
    await read_inbox(desk, decider)
    assert await desk.rows(LETTERS) == [SUPERSEDED]
    assert await desk.rows("SELECT stage FROM orders") == [("allocated",)]


@pytest.mark.parametrize("newer_of", ["before", "now"])
async def test_what_is_stored_of_its_shop_under_another_name_is_newer_too(desk: Desk, newer_of: str) -> None:
    """Kafka delivers twice, and what it still holds is of both names."""
    new = ConnectionName("shop-n")
    newer, unread = desk.arrival("1", paid("1"), at=LATER), desk.arrival("1", b"unread")
    if newer_of == "before":
        await decide(await desk.worker(Memory()), newer)
        unread = msgspec.structs.replace(unread, event=msgspec.structs.replace(unread.event, source=new))
    desk.names = await register_connections(desk.pool, [SHOP, WMS, new])
    shop = msgspec.structs.replace(RULES.shops[SHOP], name=new)
    decider = await desk.worker(Memory(), rules=Rules(shops={new: shop}, renamed={SHOP: new}))
    if newer_of == "now":
        newer = msgspec.structs.replace(newer, event=msgspec.structs.replace(newer.event, source=new))
        await decide(decider, newer)
    assert await desk.rows("SELECT stage FROM orders") == [("allocated",)]
    await decide(decider, unread)
    assert await desk.rows(LETTERS) == []


async def test_a_refund_that_was_told_under_the_name_of_before_reads_no_order(desk: Desk) -> None:
    refund = said(2, refunds=(Refund("R1", RefundStatus.OPEN, 100),))
    await decide(await desk.worker(Memory()), desk.arrival("1", refund, at=LATER))
    new = ConnectionName("shop-n")
    desk.names = await register_connections(desk.pool, [SHOP, WMS, new])
    shop = msgspec.structs.replace(RULES.shops[SHOP], name=new)
    decider = await desk.worker(Memory(), rules=Rules(shops={new: shop}, renamed={SHOP: new}))
    await decide(decider, desk.arrival("1", b"unread"))
    assert await desk.rows(LETTERS) == [OPEN]


@pytest.mark.parametrize("first", ["unread", "sound"])
async def test_both_in_one_batch_are_one_after_the_other(desk: Desk, first: str) -> None:
    decider = await desk.worker(Memory())
    arrivals = [desk.arrival("1", b"unread"), desk.arrival("1", paid("1"), at=LATER)]
    await decide(decider, *(arrivals if first == "unread" else arrivals[::-1]))
    await read_inbox(desk, decider)
    assert await desk.rows("SELECT code FROM dead_letter WHERE closed_at IS NULL") == []
    assert await desk.rows("SELECT stage FROM orders") == [("allocated",)]


async def test_what_waited_behind_goes_first(desk: Desk) -> None:
    """An older state, a warehouse's word, and the reading that frees them: decided in the sequence they came in."""
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", paid("1"), at=NOW - timedelta(minutes=1)))
    await decide(decider, desk.arrival("1", b"unread"))
    again = desk.arrival("1", said(1, closing=Closing(False)), at=NOW - timedelta(seconds=1))
    await decide(decider, again, desk.arrival("A1", parcel("M1"), at=LATER))
    assert [row[0] for row in await desk.rows(LETTERS)] == ["unread", "behind", "behind"]

    last = desk.arrival("1", CANCELLED, at=LATER)
    await decide(decider, last)
    ids = await desk.rows("SELECT event_id FROM inbox ORDER BY inbox_id")
    assert ids == [("e3",), ("e4",), ("e5",)] and last.event.id == "e5"
    await read_inbox(desk, decider)

    assert await desk.rows("SELECT conflicts FROM orders") == [("cancelled_but_shipped",)]
    assert await desk.rows(LETTERS) == [SUPERSEDED, *[("behind", "released", "ordergate")] * 2]


@pytest.mark.parametrize(
    ("letter", "then"),
    [
        ("unread", "older"),
        ("unread", "warehouse"),
        ("unread", "reconsider"),
        ("json", "newer"),
        ("unread and json", "newer"),
        ("another's", "newer"),
    ],
)
async def test_nothing_else_closes_it(desk: Desk, letter: str, then: str) -> None:
    decider = await desk.worker(Memory())
    unread = desk.arrival("1", b"unread")
    if letter == "another's":
        event = msgspec.structs.replace(unread.event, source=WMS, order_key="A1")
        unread = Arrival(event, unread.position, NOW)
    if "json" not in letter or " and " in letter:
        await decide(decider, unread)
    if "json" in letter:
        await decide(decider, desk.arrival("1", b"bad"))
    before = await desk.rows("SELECT dead_letter_id FROM dead_letter WHERE closed_at IS NULL AND code <> 'behind'")
    arrival = {
        "older": desk.arrival("1", paid("1"), at=NOW - timedelta(seconds=1)),
        "warehouse": desk.arrival("A1", parcel("M1"), at=LATER),
        "reconsider": desk.arrival("A1", b"", kind=RECONSIDER, at=LATER),
        "newer": desk.arrival("1", paid("1"), at=LATER),
    }[then]
    if then == "reconsider":
        arrival = Arrival(arrival.event, Position(Leg.INBOX, -1, 1), NOW)
    await decide(decider, arrival)
    await read_inbox(desk, decider)
    after = "SELECT dead_letter_id FROM dead_letter WHERE closed_at IS NULL AND code <> 'behind'"
    assert await desk.rows(after) == before != []
    assert await desk.rows("SELECT count(*) FROM orders") == [(0,)]


async def test_one_that_comes_again_after_a_newer_reading_is_nothing_new(desk: Desk) -> None:
    """Kafka delivers twice, and a page that is read again has it again: nobody is called for what is known by then."""
    decider = await desk.worker(Memory())
    unread = desk.arrival("1", b"unread")
    newer = desk.arrival("1", paid("1"), at=LATER)
    await decide(decider, unread)
    for _ in range(2):
        await decide(decider, newer)
        await read_inbox(desk, decider)
        await decide(decider, unread)
    await decide(decider, unread, newer)
    assert await desk.rows(LETTERS) == [SUPERSEDED]
    # What is newer than all that is known is news.
    await decide(decider, desk.arrival("1", b"unread", at=LATER + timedelta(seconds=1)))
    assert await desk.rows(LETTERS) == [SUPERSEDED, OPEN]


async def test_what_is_stored_and_can_be_read_no_more_counts_as_the_newer_reading(desk: Desk) -> None:
    """By an adapter of another release: what is known of the order does not go away with that."""
    await decide(await desk.worker(Memory()), desk.arrival("1", paid("1"), at=LATER))

    def later_release(event: Event) -> Facts:
        raise BadInput("unread" if event.body == b"unread" else "json", "is not what it was")

    await decide(await desk.worker(Memory(), adapter=later_release), desk.arrival("1", b"unread"))
    assert await desk.rows(LETTERS) == []


async def test_two_workers_that_meet_it_close_it_once(desk: Desk) -> None:
    workers = [await desk.worker(Memory()) for _ in range(4)]
    for n in range(30):
        await decide(workers[0], desk.arrival(str(n), b"unread"))
    newer = [desk.arrival(str(n), paid(str(n)), at=LATER) for n in range(30)]
    await asyncio.gather(*(decide(worker, *newer) for worker in workers))
    await read_inbox(desk, workers[0])
    assert await desk.rows("SELECT resolution, count(*) FROM dead_letter GROUP BY 1") == [("superseded", 30)]
    assert await desk.rows("SELECT count(*) FROM orders") == [(30,)]
    assert await desk.rows("SELECT count(*) FROM delivery") == [(30,)]
    assert len([one for one in desk.happened if isinstance(one, LetterSuperseded)]) == 30


async def test_a_redrive_passes_over_what_is_closed_meanwhile(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    for n in (1, 2):
        await decide(decider, desk.arrival(str(n), b"unread"))
    redrive_id = await start(
        desk.pool, Wanted(source=SHOP, code="unread"), policies={}, cap=10, pace=Pace(per_s=100), forced=False,
        reason="they are back", actor="wang",
    )  # fmt: skip
    assert redrive_id is not None
    await decide(decider, desk.arrival("1", paid("1"), at=LATER))
    for _ in range(2):
        await step(desk.pool)
        await read_inbox(desk, decider)
        await desk.pool.execute("UPDATE redrive SET next_at = '-infinity' WHERE state = 'running'")
    found = await read_redrive(desk.pool, redrive_id)
    assert found is not None
    # The other has gone through intake once more, and its platform gave nothing then either.
    assert (found.state, found.skipped, found.again, found.total) == ("done", 1, 1, 2)
    assert await desk.rows("SELECT number FROM dead_letter WHERE closed_at IS NULL") == [("A2",)]


async def test_a_letter_that_a_person_repaired_is_an_event_like_any_other(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", b"unread"))
    [(letter,)] = await desk.rows("SELECT dead_letter_id FROM dead_letter")
    await release(desk.pool, letter, body=msgspec.msgpack.encode(paid("1")), actor="wang")
    await read_inbox(desk, decider)
    assert await desk.rows(LETTERS) == [("unread", "released", "wang")]
    assert await desk.rows("SELECT event_id, stage FROM orders JOIN event USING (order_id, stage)") == [
        (EventId("e1+repaired"), "allocated")
    ]


def case(version: int, status: RefundStatus, amount_minor: int = 2000) -> Facts:
    return said(version, refunds=(Refund("R1", status, amount_minor),))


@pytest.mark.parametrize("first", ["unread", "case"])
async def test_a_case_alone_stops_the_order_and_closes_nothing(desk: Desk, first: str) -> None:
    """It says nothing of the order, so the order has not been read since, whichever of both is the newer one."""
    decider = await desk.worker(Memory())
    arrivals = [desk.arrival("1", b"unread"), desk.arrival("1", case(2, RefundStatus.OPEN), at=LATER)]
    for arrival in arrivals if first == "unread" else arrivals[::-1]:
        await decide(decider, arrival)
    assert await desk.rows(LETTERS) == [OPEN]
    assert await desk.rows("SELECT stage, reasons FROM orders") == [("received", "no_content")]

    # Over, it may let the order go: that waits until somebody knows what else there is.
    await decide(decider, desk.arrival("1", case(3, RefundStatus.REJECTED), at=LATER + timedelta(seconds=1)))
    await read_inbox(desk, decider)
    assert [row[0] for row in await desk.rows(LETTERS)] == ["unread", "behind"]

    await decide(decider, desk.arrival("1", paid("1"), at=LATER + timedelta(seconds=2)))
    await read_inbox(desk, decider)
    assert await desk.rows(LETTERS) == [SUPERSEDED, ("behind", "released", "ordergate")]
    assert await desk.rows("SELECT stage FROM orders") == [("allocated",)]


async def test_a_case_alone_cancels_what_was_sent_although_the_order_cannot_be_read(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", paid("1"), at=NOW - timedelta(minutes=1)))
    await decide(decider, desk.arrival("1", b"unread"))
    await decide(decider, desk.arrival("1", case(2, RefundStatus.DONE), at=LATER))
    assert await desk.rows("SELECT stage FROM orders") == [("refunded",)]
    assert await desk.rows("SELECT key FROM delivery ORDER BY seq") == [("create",), ("cancel",)]
    assert await desk.rows(LETTERS) == [OPEN]


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_case_that_ends_does_not_let_go_what_nobody_could_read(desk: Desk, at_once: bool) -> None:
    """Paid back in part: what is left of the order, only a reading of it tells."""
    decider = await desk.worker(Memory())
    content = paid("1")
    await decide(
        decider, desk.arrival("1", msgspec.structs.replace(content, payment=None), at=NOW - timedelta(hours=1))
    )
    await decide(decider, desk.arrival("1", b"unread"))
    asked = desk.arrival("1", case(2, RefundStatus.OPEN, 500), at=LATER)
    over = desk.arrival("1", case(3, RefundStatus.DONE, 500), at=LATER + timedelta(seconds=1))
    if at_once:
        await decide(decider, asked, over)
    else:
        await decide(decider, asked)
        await decide(decider, over)
    assert [row[0] for row in await desk.rows(LETTERS)] == ["unread", "behind"]
    assert "refund_open" in (await desk.rows("SELECT reasons FROM orders"))[0][0]


async def test_a_case_alone_waits_behind_what_holds_something(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", b"unread"), desk.arrival("1", b"bad"))
    await decide(decider, desk.arrival("1", case(2, RefundStatus.OPEN), at=LATER))
    assert [row[0] for row in await desk.rows(LETTERS)] == ["unread", "json", "behind"]
    assert await desk.rows("SELECT number FROM orders") == []
