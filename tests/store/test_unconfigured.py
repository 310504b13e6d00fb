"""What hangs on shops that are not configured any more, or have another name now."""

from __future__ import annotations

import asyncpg

from gateway.core.event import ConnectionName
from gateway.store.queries import orders_of_none
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
