"""What hangs on shops that are not configured any more, or have another name now."""

from __future__ import annotations

import asyncpg

from gateway.core.event import ConnectionName
from gateway.store.queries import orders_at_none, orders_of_none
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
