"""Orders that wait for stock go on once it is there, however many they are and whoever is quicker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from gateway.core.event import Arrival
from gateway.core.order import Closing, Content, Facts, Line, Party, Payment, Sku
from gateway.pipeline.rules import UnknownSku
from gateway.store.sql import Connection, open_pool, register_connections
from gateway.store.stock import WOKEN_AT_MOST, StockSet, set_stock
from tests.intake.test_batch import EVERYTHING, NOW, RULES, SHOP, WMS, Desk, Memory, decide, said
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


async def count(desk: Desk, *skus: str) -> StockSet:
    counted = {(Sku(sku), "W"): 10 for sku in skus}
    return await set_stock(desk.pool, counted, reason="counted", actor="wang", now=NOW)


async def until_waiting(desk: Desk, sessions: int, *, unless: asyncio.Task[Any]) -> None:
    """Until so many wait for a lock of another one, or the last of them did not have to."""
    async with asyncio.timeout(20):
        while not unless.done() and await desk.pool.fetchval(WAITING) < sessions:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
