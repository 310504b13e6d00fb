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
            await note_start_at(pool, [SHOP], said)
            assert await kept_start_at(pool, {}) == kept
        earlier = {SHOP: AT - timedelta(days=1)}
        await note_start_at(pool, [SHOP], earlier)
        assert await kept_start_at(pool, {}) == earlier


async def test_a_start_counts_for_a_shop_under_its_new_name_until_another_is_said(migrated_url: str) -> None:
    new = ConnectionName("new")
    async with asyncpg.create_pool(migrated_url, min_size=1, max_size=1) as pool:
        for name in (SHOP, new):
            await register_connections(pool, [name])
        await note_start_at(pool, [SHOP], {SHOP: AT})
        assert (await kept_start_at(pool, {SHOP: new}))[new] == AT
        await note_start_at(pool, [new], {new: AT + timedelta(days=1)})
        assert (await kept_start_at(pool, {SHOP: new}))[new] == AT + timedelta(days=1)
        third = ConnectionName("third")
        kept = await kept_start_at(pool, {SHOP: third, new: third})
        assert kept[third] == AT + timedelta(days=1), "renamed twice: the last that was said"


async def test_a_start_that_is_still_to_come_counts_once_it_has_come(migrated_url: str) -> None:
    async with asyncpg.create_pool(migrated_url, min_size=1, max_size=1) as pool:
        await register_connections(pool, [SHOP, WMS])
        await note_start_at(pool, [SHOP], {SHOP: AT})
        await note_start_at(pool, [SHOP], {SHOP: datetime(2099, 1, 1, tzinfo=UTC)})
        assert await kept_start_at(pool, {}) == {SHOP: AT}, "a slip of the pen, and what came to pass before it"
        come = await _comes_to_pass(pool)
        assert await kept_start_at(pool, {}) == {SHOP: come}, "without another start of the gateway"
        for _ in range(2):
            await note_start_at(pool, [SHOP], {})
            assert await kept_start_at(pool, {}) == {SHOP: come}


async def test_a_start_that_was_taken_back_before_it_came_never_counts(migrated_url: str) -> None:
    """A worker that is started again later would keep what was placed before it for another system."""
    async with asyncpg.create_pool(migrated_url, min_size=1, max_size=1) as pool:
        await register_connections(pool, [SHOP, WMS])
        for before in ({}, {SHOP: AT}):
            await note_start_at(pool, [SHOP], before)
            await note_start_at(pool, [SHOP], {SHOP: datetime(2099, 1, 1, tzinfo=UTC)})
            await note_start_at(pool, [SHOP], {})
            await _comes_to_pass(pool)
            assert await kept_start_at(pool, {}) == before


async def _comes_to_pass(pool: asyncpg.Pool) -> datetime:
    """As if the start that is to come, where there is one, had come a second ago."""
    come = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1)
    await pool.execute("UPDATE connection SET start_next = $1 WHERE start_next IS NOT NULL", come)
    return come


async def test_another_system_behind_a_name_is_seen(migrated_url: str) -> None:
    async with asyncpg.create_pool(migrated_url, min_size=1, max_size=1) as pool:
        await register_connections(pool, [SHOP, WMS])
        assert await other_adapters(pool, {WMS: "qimen"}) == {}
        await note_adapters(pool, {SHOP: "taobao", WMS: "webhook"})
        assert await other_adapters(pool, {SHOP: "taobao", WMS: "qimen"}) == {WMS: "webhook"}
        assert await other_adapters(pool, {SHOP: "taobao"}) == {}
