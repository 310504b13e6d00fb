"""Pieces that one order gives back serve all that wait for them, however many those are."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from gateway.core.order import Closing, Content, Facts, Line, Party, Payment, Sku
from gateway.store.sql import open_pool, register_connections
from gateway.store.stock import WOKEN_AT_MOST
from tests.intake.test_batch import EVERYTHING, SHOP, WMS, Desk, Memory, decide, said
from tests.intake.test_sealed import read_inbox

MANY = 2 * WOKEN_AT_MOST + 30


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
