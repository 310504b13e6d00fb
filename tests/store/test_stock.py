"""Orders short of stock are woken by what a batch gives back: the oldest that fit, and nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime

import asyncpg
import pytest

from gateway.core.event import RECONSIDER, ConnectionName
from gateway.core.order import Content, Line, Order, OrderNumber, Receiver, Register, Route, Sku
from gateway.core.stock import Place
from gateway.store.orders import encode_state
from gateway.store.sql import open_pool, register_connections
from gateway.store.stock import Missing, StockSet, read_missing, set_stock, wake_waiting_for
from gateway.store.vault import Vault

NOW = datetime(2026, 5, 1, 8, tzinfo=UTC)
X, Y = (Sku("X"), "W"), (Sku("Y"), "W")


@pytest.fixture
async def pool(migrated_url: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await open_pool(migrated_url, size=2)
    await register_connections(pool, [ConnectionName("shop")])
    yield pool
    await pool.close()


async def wait(pool: asyncpg.Pool, n: int, lines: Mapping[str, int], *, reasons: str = "short_of_stock") -> None:
    made = tuple(Line(sku, Sku(sku), pieces, 100) for sku, pieces in lines.items())
    content = Register(1, 0, Content(NOW, made, Receiver(), 100))
    order = Order(number=OrderNumber(f"A{n}"), content=content, route=Route(ConnectionName("wms"), "W"))
    await pool.execute(
        "INSERT INTO orders (order_id, number, connection_id, stage, reasons, conflicts, state)"
        " VALUES ($1, $2, (SELECT connection_id FROM connection), 'reviewed', $3, '', $4)",
        n,
        order.number,
        reasons,
        encode_state(order),
    )


async def woken(pool: asyncpg.Pool, available: Mapping[Place, int], *, limit: int = 100) -> list[str]:
    async with pool.acquire() as connection, connection.transaction():
        count = await wake_waiting_for(connection, available, now=NOW, limit=limit)
    rows = await pool.fetch("DELETE FROM inbox RETURNING inbox_id, source, type, order_key")
    assert len(rows) == count
    assert all((row[1], row[2]) == ("shop", RECONSIDER) for row in rows)
    return [row[3] for row in sorted(rows)]


async def test_the_oldest_that_fit_are_woken(pool: asyncpg.Pool) -> None:
    await wait(pool, 1, {"X": 5})
    await wait(pool, 2, {"X": 1}, reasons="unpaid")
    await wait(pool, 3, {"X": 2, "Y": 1})
    await wait(pool, 4, {"X": 2}, reasons="unpaid short_of_stock")
    await wait(pool, 5, {"Y": 1})
    await wait(pool, 6, {"XY": 1})
    await wait(pool, 7, {"X": 1})
    await wait(pool, 8, {"X": 1})
    assert await woken(pool, {}) == []
    assert await woken(pool, {(Sku("X"), "elsewhere"): 9}) == []
    assert await woken(pool, {X: 3}) == ["A3", "A4", "A7"], "A3 may lack Y too, and holds nobody up; A8 is left nothing"
    assert await woken(pool, {X: 9, Y: 1}, limit=2) == ["A1", "A3"]
    assert await woken(pool, {Y: 1}) == ["A3", "A5"]


async def test_orders_whose_state_is_sealed_are_woken_too(migrated_url: str) -> None:
    """Which SKUs they lack cannot be told from the stored bytes: they are read, page after page."""
    sealed = await open_pool(migrated_url, size=2, vault=Vault([b"k" * 32]))
    await register_connections(sealed, [ConnectionName("shop")])
    try:
        for n in range(1, 41):
            await wait(sealed, n, {"Y": 1})
        await wait(sealed, 41, {"X": 2})
        assert await woken(sealed, {X: 2}, limit=2) == ["A41"]
        assert await woken(sealed, {X: 1}, limit=2) == []
    finally:
        await sealed.close()


async def test_what_an_order_lacks_is_told_of_those_that_wait_for_stock(pool: asyncpg.Pool) -> None:
    await pool.execute(
        "INSERT INTO stock (sku, warehouse, on_hand, locked)"
        " VALUES ('X', 'W', 5, 2), ('Y', 'W', 9, 0), ('Z', 'V', 9, 0)"
    )
    await wait(pool, 1, {"X": 5, "Y": 9, "Z": 2})
    await wait(pool, 2, {"X": 5, "Z": 2}, reasons="unpaid unknown_sku")
    await wait(pool, 3, {"X": 5}, reasons="unpaid")
    await wait(pool, 4, {"X": 3})

    found = await read_missing(pool, ["A1", "A2", "A3", "A4", "A5"])

    x = Missing(sku="X", warehouse="W", pieces=2, available=3)
    z = Missing(sku="Z", warehouse="W", pieces=2, available=None)
    assert found == {"A1": (x,), "A2": (x, z), "A4": ()}


async def test_setting_what_is_there_uses_up_no_numbers(pool: asyncpg.Pool) -> None:
    """There are two billion; whoever tells thousands of balances every few minutes must not come to their end."""

    async def told(*places: Place) -> StockSet:
        return await set_stock(pool, dict.fromkeys(places, 5), reason="count", actor="wang", now=NOW)

    assert (await told(X)).created == 1
    for _ in range(20):
        assert (await told(X)).created == 0
    assert (await told(X, Y)).created == 1
    assert [row[0] for row in await pool.fetch("SELECT stock_id FROM stock ORDER BY 1")] == [1, 2]
