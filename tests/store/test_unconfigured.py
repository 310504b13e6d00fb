"""What hangs on shops that are not configured any more, or have another name now, and on settings that were changed."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import asyncpg

from gateway.core.delivery import Result
from gateway.core.event import ConnectionName
from gateway.core.order import Content, Order, OrderNumber, Origin, Receiver, Register
from gateway.store.orders import encode_state
from gateway.store.queries import orders_at_none, orders_of_none, watched_since
from gateway.store.sql import register_connections


async def test_orders_in_a_warehouse_whose_shop_is_gone_are_counted(migrated_url: str) -> None:
    """Nobody tells their shop that they are shipped."""
    old, new = ConnectionName("shop-a"), ConnectionName("shop-x")
    async with asyncpg.create_pool(migrated_url, min_size=1, max_size=1) as pool:
        names = await register_connections(pool, [old])
        for order_id, stage in enumerate(("received", "allocated", "packed", "shipped", "cancelled"), start=1):
            insert = "INSERT INTO orders (order_id, number, connection_id, stage, state) VALUES ($1, $2, $3, $4, '')"
            await pool.execute(insert, order_id, f"A{order_id}", names.id(old), stage)
        assert await orders_of_none(pool, [old]) == {}
        await register_connections(pool, [new])
        assert await orders_of_none(pool, [new]) == {"shop-a": 2}


async def test_orders_in_a_warehouse_that_is_gone_are_counted(migrated_url: str) -> None:
    """Nobody hears it say that they are shipped; under another name it is another one that says so."""
    shop, old, new = ConnectionName("shop"), ConnectionName("wms-a"), ConnectionName("wms-b")
    async with asyncpg.create_pool(migrated_url, min_size=1, max_size=1) as pool:
        names = await register_connections(pool, [shop, old, new])
        for order_id, stage in enumerate(("received", "allocated", "packed", "shipped", "cancelled"), start=1):
            insert = "INSERT INTO orders (order_id, number, connection_id, stage, state) VALUES ($1, $2, $3, $4, '')"
            await pool.execute(insert, order_id, f"A{order_id}", names.id(shop), stage)
            told = "INSERT INTO delivery (order_id, target_id, seq, operation, key) VALUES ($1, $2, $3, $4, $4)"
            await pool.execute(told, order_id, names.id(old), 1, "create")
            await pool.execute(told, order_id, names.id(shop), 1, "ship")
        assert await orders_at_none(pool, [shop, old]) == {}
        assert await orders_at_none(pool, [new]) == {"wms-a": 2}
        await pool.execute(
            "UPDATE orders SET conflicts = 'changed_after_sent shipped_elsewhere' WHERE stage = 'packed'"
        )
        assert await orders_at_none(pool, [new]) == {"wms-a": 1}, "its shop has sent the other by hand"
        # Of that one this is the second create: the first was withdrawn. So was that of another, which waits anew.
        await pool.execute(
            "INSERT INTO delivery (order_id, target_id, seq, operation, key) VALUES (2, $1, 3, 'create', 'create')",
            names.id(old),
        )
        await pool.execute(
            "INSERT INTO attempt (order_id, target_id, seq, worker_id, ended_at, took_ms, result)"
            " SELECT order_id, $1, 1, 1, now(), 0, $2 FROM orders",
            names.id(old),
            int(Result.WITHDRAWN),
        )
        assert await orders_at_none(pool, [new]) == {"wms-a": 1}


async def test_orders_that_are_only_known_are_counted_for_every_shop_that_is_live(migrated_url: str) -> None:
    """Also where the `start_at` that they came before is not there any more, and where there never was one."""
    shops = [ConnectionName(f"shop-{letter}") for letter in "abc"]
    start_at = datetime(2026, 5, 1, tzinfo=UTC)
    async with asyncpg.create_pool(migrated_url, min_size=1, max_size=1) as pool:
        names = await register_connections(pool, shops)
        kinds = list(itertools.product(shops, Origin, (-1, 0, 1)))
        for order_id, (shop, origin, hours) in enumerate(kinds):
            content = Content(start_at + timedelta(hours=hours), (), Receiver(), 0)
            number = OrderNumber(f"{shop}-{order_id}")
            order = Order(number=number, connection=shop, content=Register(1, 0, content), origin=origin)
            reason = {Origin.OBSERVED: "observed", Origin.BEFORE_START: "before_start unpaid"}.get(origin, "unpaid")
            await pool.execute(
                "INSERT INTO orders (order_id, number, connection_id, stage, reasons, state)"
                " VALUES ($1, $2, $3, 'received', $4, $5)",
                order_id,
                order.number,
                names.id(shop),
                reason,
                encode_state(order),
            )
        later = datetime(2099, 1, 1, tzinfo=UTC)
        assert await watched_since(pool, {shops[0]: start_at, shops[1]: None}) == {shops[0]: 4, shops[1]: 6}
        assert await watched_since(pool, {shops[0]: later}) == {}
