"""What stays of a configuration that says something else now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg

from gateway.core.event import ConnectionName
from gateway.store.configured import kept_start_at, note_adapters, note_start_at, other_adapters
from gateway.store.sql import register_connections

SHOP, WMS = ConnectionName("shop"), ConnectionName("wms")
AT = datetime(2026, 3, 1, tzinfo=UTC)


async def test_a_start_that_is_left_out_later_still_counts(migrated_url: str) -> None:
    """What was placed before was another system's to send, however late it changes again."""
    async with asyncpg.create_pool(migrated_url, min_size=1, max_size=1) as pool:
        await register_connections(pool, [SHOP, WMS])
        for said, kept in (({}, {}), ({SHOP: AT}, {SHOP: AT}), ({}, {SHOP: AT})):
            await note_start_at(pool, said)
            assert await kept_start_at(pool) == kept
        await note_start_at(pool, {SHOP: datetime(2099, 1, 1, tzinfo=UTC)})
        assert await kept_start_at(pool) == {}, "a slip of the pen that was taken back"
        earlier = {SHOP: AT - timedelta(days=1)}
        await note_start_at(pool, earlier)
        assert await kept_start_at(pool) == earlier


async def test_another_system_behind_a_name_is_seen(migrated_url: str) -> None:
    async with asyncpg.create_pool(migrated_url, min_size=1, max_size=1) as pool:
        await register_connections(pool, [SHOP, WMS])
        assert await other_adapters(pool, {WMS: "qimen"}) == {}
        await note_adapters(pool, {SHOP: "taobao", WMS: "webhook"})
        assert await other_adapters(pool, {SHOP: "taobao", WMS: "qimen"}) == {WMS: "webhook"}
        assert await other_adapters(pool, {SHOP: "taobao"}) == {}
