"""Orders that wait for stock go on once it is there, however many they are and whoever is quicker."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from gateway.core.event import Arrival, Leg
from gateway.core.order import (
    Closing,
    Confirmation,
    Content,
    Facts,
    Line,
    Mode,
    Order,
    OrderNumber,
    Party,
    Payment,
    Progress,
    ProgressStep,
    Sku,
)
from gateway.intake.batch import Decider
from gateway.pipeline.rules import UnknownSku
from gateway.store.control import wake_live
from gateway.store.dead import discard, release
from gateway.store.inbox import put_in
from gateway.store.inbox import take as take_in
from gateway.store.orders import decode_state
from gateway.store.sql import Connection, open_pool, register_connections
from gateway.store.stock import WOKEN_AT_MOST, StockSet, TooLow, read_missing, reconsider, set_stock
from tests.intake.test_batch import EVERYTHING, NOW, RULES, SHOP, WMS, Desk, Memory, decide, said, told
from tests.intake.test_sealed import read_inbox

MANY = 2 * WOKEN_AT_MOST + 30
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
HOLDING = msgspec.structs.replace(RULES, unknown_sku=UnknownSku.HOLD)


@pytest.fixture
async def desk(migrated_url: str) -> AsyncIterator[Desk]:
    pool = await open_pool(migrated_url, size=4)
    yield Desk(pool, await register_connections(pool, [SHOP, WMS]))
    await pool.close()


def wants(order_no: str, *skus: str, pieces: int = 1) -> Facts:
    lines = tuple(Line(sku, Sku(sku), pieces, 100) for sku in skus)
    content: Content = msgspec.structs.replace(EVERYTHING, lines=lines)
    return Facts(party=Party.SHOP, order_no=order_no, version=1, content=content, payment=Payment(True, 2000))


async def stock(desk: Desk, **pieces: int) -> None:
    for sku, count in pieces.items():
        await desk.pool.execute("INSERT INTO stock (sku, warehouse, on_hand) VALUES ($1, 'W', $2)", sku, count)


async def take(desk: Desk, *facts: Facts) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, *(desk.arrival(one.order_no, one) for one in facts))
    await read_inbox(desk, decider)


@pytest.mark.parametrize("in_vain", [0, MANY])
async def test_what_a_large_order_gives_back_reaches_everybody_who_waits(desk: Desk, in_vain: int) -> None:
    """Those in front may lack something else, too: they are passed once, and hold nobody up."""
    await stock(desk, S1=MANY, S2=0)
    await take(desk, wants("1", "S1", pieces=MANY))
    await take(desk, *(wants(f"vain-{n}", "S1", "S2") for n in range(in_vain)))
    await take(desk, *(wants(f"waits-{n}", "S1") for n in range(MANY)))
    assert await desk.rows("SELECT count(*) FROM orders WHERE reasons = 'short_of_stock'") == [(in_vain + MANY,)]

    await take(desk, said(2, closing=Closing(True)))

    assert await desk.rows("SELECT stage, count(*) FROM orders WHERE number LIKE 'Awaits-%' GROUP BY 1") == [
        ("allocated", MANY)
    ]
    assert await desk.rows("SELECT on_hand, locked, committed FROM stock WHERE sku = 'S1'") == [(MANY, 0, MANY)]
    assert await desk.rows("SELECT count(*) FROM delivery WHERE key = 'create'") == [(MANY + 1,)]


async def test_a_piece_that_comes_back_does_not_stir_everybody_who_lacks_something_else(desk: Desk) -> None:
    """Or each piece that expires in a sale would have thousands decided again who cannot go on."""
    await stock(desk, S1=2, S2=0)
    await take(desk, wants("1", "S1", pieces=2))
    await take(desk, *(wants(f"vain-{n}", "S1", "S2") for n in range(5 * WOKEN_AT_MOST)))
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", said(2, closing=Closing(True))))
    await read_inbox(desk, decider)
    assert await desk.rows("SELECT last_value FROM inbox_inbox_id_seq") == [(WOKEN_AT_MOST,)]


async def test_what_waited_while_its_shop_was_observed_goes_on_when_that_is_live_again(desk: Desk) -> None:
    watched = msgspec.structs.replace(RULES.shops[SHOP], mode=Mode.OBSERVE)
    await take(desk, msgspec.structs.replace(wants("1", "S9"), payment=None))
    decider = await desk.worker(Memory(), rules=msgspec.structs.replace(RULES, shops={**RULES.shops, SHOP: watched}))
    await decide(decider, desk.arrival("1", said(2, payment=Payment(True, 2000))))
    assert await desk.rows("SELECT reasons FROM orders") == [("paused",)]
    async with desk.pool.acquire() as connection:
        for names in ([], [SHOP]):
            assert await wake_live(connection, names, {}, NOW) == len(names)
    await take(desk)
    assert await desk.rows("SELECT stage FROM orders") == [("allocated",)]


async def test_who_is_behind_one_that_somebody_else_was_quicker_than_has_his_turn(desk: Desk) -> None:
    """He was woken because nothing was missing, behind a front of orders that go on with lacking something else."""
    await stock(desk, S1=1, S2=0, S3=1)
    await take(desk, wants("1", "S1"))
    await take(desk, *(wants(f"vain-{n}", "S1", "S2") for n in range(WOKEN_AT_MOST)))
    await take(desk, wants("2", "S1", "S3"), wants("3", "S1"))
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", said(2, closing=Closing(True))))
    async with desk.pool.acquire() as connection, connection.transaction():
        woken = await take_in(connection, 2 * WOKEN_AT_MOST)
    await decider.decide(decider.prepare(woken), leg=Leg.INBOX)
    assert await desk.rows("SELECT order_key FROM inbox") == [("A2",)]
    await decide(decider, desk.arrival("quick", wants("quick", "S3")))
    await read_inbox(desk, decider)
    assert await desk.rows("SELECT number, stage FROM orders WHERE number IN ('A2', 'A3') ORDER BY 1") == [
        ("A2", "reviewed"),
        ("A3", "allocated"),
    ]


async def test_what_one_who_was_woken_leaves_reaches_those_behind(desk: Desk) -> None:
    await stock(desk, S1=10)
    await take(desk, wants("1", "S1", pieces=10))
    await take(desk, *(wants(f"waits-{n}", "S1") for n in range(15)))
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", said(2, closing=Closing(True))))
    assert await desk.rows("SELECT count(*) FROM inbox") == [(10,)]
    gone = Facts(party=Party.SHOP, order_no="waits-3", version=2, closing=Closing(True))
    await decide(decider, desk.arrival("waits-3", gone))
    await read_inbox(desk, decider)
    assert await desk.rows("SELECT count(*) FROM orders WHERE number LIKE 'Awaits-%' AND stage = 'allocated'") == [
        (10,)
    ]
    assert await desk.rows("SELECT on_hand, locked, committed FROM stock") == [(10, 0, 10)]


async def test_what_one_who_was_woken_leaves_reaches_who_was_passed_over_for_it(desk: Desk) -> None:
    await stock(desk, S1=3)
    await take(desk, wants("1", "S1", pieces=3))
    await take(desk, wants("2", "S1", pieces=2), wants("3", "S1", pieces=2), wants("4", "S1"))
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", said(2, closing=Closing(True))))
    assert await desk.rows("SELECT order_key FROM inbox ORDER BY 1") == [("A2",), ("A4",)]
    await decide(decider, desk.arrival("2", Facts(party=Party.SHOP, order_no="2", version=2, closing=Closing(True))))
    await read_inbox(desk, decider)
    assert await desk.rows("SELECT number, stage FROM orders WHERE number > 'A2' ORDER BY 1") == [
        ("A3", "allocated"),
        ("A4", "allocated"),
    ]


async def test_an_order_behind_a_dead_letter_keeps_no_stock_from_those_behind(desk: Desk) -> None:
    """It can take nothing while its letter stands; once that is closed it is decided, whatever waited with it."""
    await stock(desk, S1=3)
    await take(desk, *(wants(f"has-{n}", "S1") for n in range(3)))
    await take(desk, *(wants(str(n), "S1") for n in range(2, 6)))
    decider = await desk.worker(Memory())
    await decide(decider, *(desk.arrival(str(n), b"bad") for n in (2, 3, 4)))
    for n in range(3):
        gone = Facts(party=Party.SHOP, order_no=f"has-{n}", version=2, closing=Closing(True))
        await decide(decider, desk.arrival(f"has-{n}", gone))
        await read_inbox(desk, decider)
        assert await desk.rows("SELECT number FROM orders WHERE stage = 'allocated' AND number < 'Ah'") == [("A5",)]
    letters = await desk.rows("SELECT number, dead_letter_id FROM dead_letter ORDER BY 1")
    assert [number for number, _ in letters] == ["A2", "A3", "A4"], "wishes to decide them again do not pile up"

    await count(desk, "S1", pieces=4)
    await read_inbox(desk, decider)
    (_, first), *others = letters
    another = msgspec.msgpack.encode(Facts(party=Party.SHOP, order_no="9", version=1, closing=Closing(True)))
    assert await release(desk.pool, first, body=another, actor="wang") == 1
    for _, number in others:
        await discard(desk.pool, number, reason="an old state", actor="wang")
    await read_inbox(desk, decider)
    assert await desk.rows("SELECT stage, reasons FROM orders WHERE number < 'A9'") == [("allocated", "")] * 4


async def test_an_order_that_cannot_be_decided_keeps_no_stock_from_those_behind(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several in a row: each is set aside, and with it the wish that says who is behind."""
    await stock(desk, S1=1)
    await take(desk, wants("1", "S1"), *(wants(str(n), "S1") for n in range(2, 6)))
    decider = await desk.worker(Memory())
    whole = decider._fold

    def fold(number: OrderNumber, *rest: Any) -> Any:
        if number in ("A2", "A3", "A4"):
            raise KeyError("a defect")
        return whole(number, *rest)

    monkeypatch.setattr(decider, "_fold", fold)
    await decide(decider, desk.arrival("1", said(2, closing=Closing(True))))
    await read_inbox(desk, decider)
    assert await desk.rows("SELECT number, code FROM dead_letter ORDER BY 1") == [
        (number, "undecidable") for number in ("A2", "A3", "A4")
    ]
    assert await desk.rows("SELECT number FROM orders WHERE stage = 'allocated'") == [("A5",)]


@pytest.mark.parametrize("body", [b'{"order_no": "1"}', msgspec.msgpack.encode([0, [[b"\xff", "W"]]]), b"\xc1"])
async def test_something_else_in_the_place_of_a_wish_ends_no_worker(desk: Desk, body: bytes) -> None:
    """As it may be released by a gateway from before, with what somebody took for a repair."""
    await stock(desk, S1=1)
    await take(desk, wants("1", "S1"))
    decider = await desk.worker(Memory())
    async with desk.pool.acquire() as connection:
        await put_in(connection, [msgspec.structs.replace(reconsider("A1", SHOP, NOW), body=body)])
    await read_inbox(desk, decider)
    assert await desk.rows("SELECT count(*) FROM inbox") == [(0,)]
    assert await desk.rows("SELECT code FROM dead_letter") == []


@pytest.mark.parametrize("seed", range(4))
async def test_nobody_waits_while_what_he_needs_is_there(desk: Desk, seed: int) -> None:
    """Orders of several SKUs and sizes, stock that comes and goes, two workers: at rest nobody who waits would fit."""
    rng = random.Random(seed)
    await stock(desk, S1=6, S2=6, S3=6)
    workers = [await desk.worker(Memory()) for _ in range(2)]
    skus = ["S1", "S2", "S3"]
    told: dict[str, int] = {}
    for _ in range(12):
        arrivals: list[Arrival] = []
        for _ in range(rng.randint(1, 8)):
            old = rng.sample(sorted(told), k=min(len(told), rng.randint(0, 3)))
            for order_no in [*old, f"n{len(told)}"]:
                told[order_no] = told.get(order_no, 0) + 1
                arrivals.append(desk.arrival(order_no, _anything(rng, order_no, told[order_no], skus)))
        middle = len(arrivals) // 2
        await asyncio.gather(
            _decide_both(desk, workers[0], arrivals[:middle]),
            _decide_both(desk, workers[1], arrivals[middle:]),
            _restock(desk, rng, skus),
        )
    await asyncio.gather(*(read_inbox(desk, worker) for worker in workers))

    waiting = [row[0] for row in await desk.rows("SELECT number FROM orders WHERE reasons LIKE '%short_of_stock%'")]
    fits = [number for number, lacks in (await read_missing(desk.pool, waiting)).items() if not lacks]
    assert waiting and not fits
    await _check_ledger(desk)


def _anything(rng: random.Random, order_no: str, version: int, skus: Sequence[str]) -> Facts:
    if version > 1 and rng.random() < 0.6:
        return Facts(party=Party.SHOP, order_no=order_no, version=version, closing=Closing(True))
    named = rng.sample(skus, k=rng.randint(1, 2))
    facts = wants(order_no, *named, pieces=rng.randint(1, 4))
    return msgspec.structs.replace(facts, version=version, payment=Payment(rng.random() < 0.7, 2000))


async def _decide_both(desk: Desk, decider: Decider, arrivals: Sequence[Arrival]) -> None:
    if arrivals:
        await decide(decider, *arrivals)
    await read_inbox(desk, decider)


async def _restock(desk: Desk, rng: random.Random, skus: Sequence[str]) -> None:
    sku = rng.choice(skus)
    try:
        await count(desk, sku, pieces=rng.randint(0, 12))
    except TooLow:
        return


async def _check_ledger(desk: Desk) -> None:
    balances = {row[0]: tuple(row[1:]) for row in await desk.rows("SELECT sku, on_hand, locked, committed FROM stock")}
    booked = {sku: [0, 0] for sku in balances}
    for (state,) in await desk.rows("SELECT state FROM orders"):
        for booking in decode_state(state).booked:
            booked[booking.sku][0] += booking.locked
            booked[booking.sku][1] += booking.committed
    assert {sku: row[1:] for sku, row in balances.items()} == {sku: tuple(row) for sku, row in booked.items()}


async def test_who_counts_a_sku_sees_the_order_that_is_being_held_for_it(desk: Desk) -> None:
    decider = await desk.worker(Memory(), rules=HOLDING)
    counting: list[asyncio.Task[StockSet]] = []

    @asynccontextmanager
    async def batch() -> AsyncIterator[tuple[Connection, list[Arrival]]]:
        async with desk.pool.acquire() as connection, connection.transaction():
            yield connection, [desk.arrival("1", wants("1", "S1"))]
            counting.append(asyncio.create_task(count(desk, "S1")))
            await until_waiting(desk, 1, unless=counting[0])

    await decider.decide_in(batch)
    assert (await counting[0]).woken == 1
    await read_inbox(desk, decider)
    assert await desk.rows("SELECT stage, reasons FROM orders") == [("allocated", "")]


async def test_an_order_sees_the_balance_that_is_being_made(desk: Desk) -> None:
    decider = await desk.worker(Memory(), rules=HOLDING)
    await stock(desk, S2=1)
    async with asyncio.TaskGroup() as group:
        async with desk.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT 1 FROM stock FOR UPDATE")
            counting = group.create_task(count(desk, "S1", "S2"))
            await until_waiting(desk, 1, unless=counting)
            deciding = group.create_task(decide(decider, desk.arrival("1", wants("1", "S1", "S2"))))
            await until_waiting(desk, 2, unless=deciding)
    assert counting.result() == StockSet(2, 1, 0)
    assert await desk.rows("SELECT stage, reasons FROM orders") == [("allocated", "")]


async def test_what_was_shipped_beyond_the_books_is_not_taken_off_what_is_counted_then(desk: Desk) -> None:
    await stock(desk, S1=3, S2=1)
    await take(desk, wants("1", "S1", pieces=2), shipped(S1=5, S2=2))
    order = await stored(desk, "A1")
    assert order.conflicts == ("shipped_beyond_stock",)
    assert {booking.sku: booking.shipped for booking in order.booked} == {"S1": 3, "S2": 1}

    assert (await count(desk, "S1", pieces=10)).woken == 1
    await take(desk, shipped("again", S1=1))
    assert await on_hand(desk) == {"S1": 9, "S2": 0}
    order = await stored(desk, "A1")
    assert (order.written_off, order.conflicts) == ((("S1", 2),), ("shipped_beyond_stock",))

    assert (await count(desk, "S2", pieces=0)).woken == 1
    assert (await stored(desk, "A1")).conflicts == ("shipped_beyond_stock",)
    await read_inbox(desk, await desk.worker(Memory()))
    assert (await stored(desk, "A1")).conflicts == ()
    assert (await count(desk, "S1", "S2")).woken == 0
    await take(desk, told(progress=(Progress(ProgressStep.PACKING),)))
    assert await on_hand(desk) == {"S1": 10, "S2": 10}
    moved = await desk.rows(
        "SELECT sku, sum(m.on_hand) FROM movement m JOIN stock USING (stock_id) GROUP BY 1 ORDER BY 1"
    )
    assert moved == [("S1", 10 - 3), ("S2", 10 - 1)]  # what the test put there has no movement


async def test_what_has_no_balance_to_leave_is_not_written_off(desk: Desk) -> None:
    await stock(desk, S1=1)
    await take(desk, wants("1", "S1"), shipped(S1=2, S3=4))
    assert (await count(desk, "S1", "S3", pieces=5)).woken == 1
    await take(desk, told(progress=(Progress(ProgressStep.PACKING),)))
    order = await stored(desk, "A1")
    assert (order.unbooked, order.written_off, order.conflicts) == (("S3",), (("S1", 1),), ())
    assert await on_hand(desk) == {"S1": 5, "S3": 5}


def shipped(name: str = "M1", **pieces: int) -> Facts:
    counted = tuple((Sku(sku), count) for sku, count in pieces.items())
    return told(confirmations=(Confirmation(name, final=True, shipped=counted),))


async def stored(desk: Desk, number: str) -> Order:
    return decode_state(await desk.pool.fetchval("SELECT state FROM orders WHERE number = $1", number))


async def on_hand(desk: Desk) -> dict[str, int]:
    return dict(await desk.pool.fetch("SELECT sku, on_hand FROM stock ORDER BY sku"))


async def count(desk: Desk, *skus: str, pieces: int = 10) -> StockSet:
    counted = {(Sku(sku), "W"): pieces for sku in skus}
    return await set_stock(desk.pool, counted, reason="counted", actor="wang", now=NOW)


async def until_waiting(desk: Desk, sessions: int, *, unless: asyncio.Task[Any]) -> None:
    """Until so many wait for a lock of another one, or the last of them did not have to."""
    async with asyncio.timeout(20):
        while not unless.done() and await desk.pool.fetchval(WAITING) < sessions:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
