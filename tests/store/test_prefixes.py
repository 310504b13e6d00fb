"""Shops whose prefixes change, and who may have which."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from gateway.core.event import ConnectionName
from gateway.store.configured import note_adapters
from gateway.store.prefixes import (
    changed_prefixes,
    former_prefixes,
    lock_connections,
    note_prefixes,
    note_restored,
    renamed_shops,
    taken_prefixes,
)
from gateway.store.sql import register_connections

ONE, OTHER, NEW = ConnectionName("one"), ConnectionName("other"), ConnectionName("new")


@pytest.fixture
async def pool(migrated_url: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(migrated_url, min_size=1, max_size=2) as pool:
        await register_connections(pool, [ONE, OTHER, NEW])
        yield pool


async def _until(pool: asyncpg.Pool) -> datetime:
    until: datetime = await pool.fetchval("SELECT prefix_until FROM connection WHERE name = $1", ONE)
    return until


async def test_live_again_under_another_prefix_it_needs_a_start_from_after_the_change(pool: asyncpg.Pool) -> None:
    await note_prefixes(pool, {ONE: "A"}, {})
    for _ in range(2):
        await note_prefixes(pool, {}, {ONE: "B"})
    until = await _until(pool)
    for prefix in ("A", "B"):  # of what was placed meanwhile nothing is known under the first
        live = {ONE: prefix}
        assert [one.until for one in await changed_prefixes(pool, live, {})] == [until]
        assert await changed_prefixes(pool, live, {ONE: until - timedelta(seconds=1)})
        assert not await changed_prefixes(pool, live, {ONE: until})
    await note_prefixes(pool, {ONE: "B"}, {})
    assert await _until(pool) is None
    assert not await changed_prefixes(pool, {ONE: "B"}, {})
    assert await changed_prefixes(pool, {ONE: "A"}, {ONE: until})


async def test_nobody_takes_what_is_or_was_anothers(pool: asyncpg.Pool) -> None:
    """Not by way of observing either: order 17 of both would be one."""
    await note_prefixes(pool, {ONE: "A", OTHER: "B"}, {})
    await note_prefixes(pool, {}, {ONE: "B", OTHER: "A"})
    taken = await taken_prefixes(pool, {ONE: "B", OTHER: "A"})
    assert [(one.name, one.other, one.gone) for one in taken] == [(ONE, OTHER, False), (OTHER, ONE, False)]
    assert not await taken_prefixes(pool, {ONE: "A", OTHER: "B"})
    await note_prefixes(pool, {ONE: "C"}, {})
    for prefix in ("A", "AB"):
        taken = await taken_prefixes(pool, {ONE: "C", NEW: prefix})
        assert [(one.name, one.other, one.others) for one in taken] == [(NEW, ONE, "A")]
    assert not await taken_prefixes(pool, {ONE: "A", OTHER: "B", NEW: "D"}), "it goes back to its own"


async def test_no_prefix_begins_another_of_its_own(pool: asyncpg.Pool) -> None:
    """A and 15 are A1 and 5."""
    await note_prefixes(pool, {OTHER: "CD"}, {ONE: "A"})
    for shop, prefix, others in ((ONE, "A1", "A"), (OTHER, "C", "CD")):
        taken = await taken_prefixes(pool, {ONE: "A", OTHER: "CD", shop: prefix})
        assert [(one.name, one.other, one.others, one.gone) for one in taken] == [(shop, shop, others, False)]
        assert "its own" in taken[0].what.en
    await note_prefixes(pool, {OTHER: "CD"}, {ONE: "A1"})
    assert not await taken_prefixes(pool, {ONE: "A", OTHER: "CD"}), "it goes back"
    assert not await taken_prefixes(pool, {ONE: "A1", OTHER: "CD"}), "it has started with it before"


async def test_a_shop_that_is_gone_may_have_a_new_name(pool: asyncpg.Pool) -> None:
    await note_prefixes(pool, {ONE: "A"}, {})
    assert [one.gone for one in await taken_prefixes(pool, {NEW: "A", OTHER: "B"})] == [True]
    await note_prefixes(pool, {NEW: "A"}, {})
    assert not await taken_prefixes(pool, {NEW: "A", OTHER: "B"}), "said once"


async def test_a_shop_under_a_new_name_is_the_one_with_the_prefix_and_the_adapter_of_before(pool: asyncpg.Pool) -> None:
    await note_prefixes(pool, {ONE: "A", OTHER: "B"}, {})
    await note_adapters(pool, {ONE: "taobao", OTHER: "taobao", NEW: "taobao"})
    for adapter, found in (("taobao", {ONE: NEW}), ("webhook", {})):
        adapters = {OTHER: "taobao", NEW: adapter}
        assert await renamed_shops(pool, {OTHER: "B", NEW: "A"}, adapters) == found
    assert await renamed_shops(pool, {OTHER: "B", NEW: "A"}, {**adapters, ONE: "taobao"}) == {}, "it is still there"
    only = {OTHER: "taobao", NEW: "taobao"}
    assert await renamed_shops(pool, {OTHER: "B", NEW: "C"}, only) == {}
    for prefix in ("A", "C"):
        await note_prefixes(pool, {NEW: prefix}, {})
    assert await renamed_shops(pool, {OTHER: "B", NEW: "C"}, only) == {ONE: NEW}, "and has taken another since"
    await note_prefixes(pool, {}, {OTHER: "A"})
    assert await renamed_shops(pool, {OTHER: "B", NEW: "C"}, only) == {ONE: NEW}, (
        "to have watched under it is not enough"
    )


async def test_a_shop_has_the_names_of_its_names_of_before(pool: asyncpg.Pool) -> None:
    """Each of two has a prefix in common with the next; a shop that is there has none but its own."""
    await note_adapters(pool, {ONE: "taobao", OTHER: "taobao"})
    await note_prefixes(pool, {ONE: "A"}, {})
    for prefix in ("A", "B"):
        await note_prefixes(pool, {OTHER: prefix}, {})
    assert await renamed_shops(pool, {NEW: "B"}, {NEW: "taobao"}) == {ONE: NEW, OTHER: NEW}
    assert await renamed_shops(pool, {NEW: "B"}, {NEW: "taobao", OTHER: "taobao"}) == {}


async def test_the_prefixes_of_before_are_those_of_its_orders_the_last_first(pool: asyncpg.Pool) -> None:
    shops = {ONE: "D", OTHER: "B", NEW: "E"}
    await note_prefixes(pool, {OTHER: "B"}, {ONE: "A"})  # what was only watched is known by it as well
    await note_prefixes(pool, {ONE: "C", OTHER: "B"}, {})
    assert await former_prefixes(pool, shops, {}) == {ONE: ("C", "A")}, "it is live, or watched, under another already"
    await note_prefixes(pool, shops, {})
    assert await former_prefixes(pool, shops, {}) == {ONE: ("C", "A")}
    assert await former_prefixes(pool, {ONE: "A"}, {}) == {ONE: ("D", "C")}
    assert await former_prefixes(pool, {OTHER: "B", NEW: "D"}, {ONE: NEW}) == {NEW: ("C", "A", "E")}


async def test_a_backup_from_before_a_switch_over_does_not_undo_it(pool: asyncpg.Pool) -> None:
    """To go back to the prefix of then would send again whatever was sent since, to observe would keep it for good."""
    backed_up_at = datetime(2026, 5, 1, tzinfo=UTC)
    await note_prefixes(pool, {ONE: "A", OTHER: "B"}, {})
    live, start_at = {ONE: "C", OTHER: "B"}, {ONE: backed_up_at + timedelta(days=3)}
    assert await changed_prefixes(pool, live, start_at)
    await note_restored(pool, live, backed_up_at)
    assert not await changed_prefixes(pool, live, start_at)
    assert await changed_prefixes(pool, live, {ONE: backed_up_at - timedelta(days=1)}), "it says nothing of this"
    await note_prefixes(pool, live, {})
    assert not await changed_prefixes(pool, live, {})


async def test_of_two_that_start_at_the_same_moment_one_is_refused(pool: asyncpg.Pool) -> None:
    async def start(prefix: str) -> bool:
        async with pool.acquire() as connection, connection.transaction():
            await lock_connections(connection)
            if await changed_prefixes(connection, {ONE: prefix}, {}):
                return False
            await asyncio.sleep(0.1)
            await note_prefixes(connection, {ONE: prefix}, {})
        return True

    assert sorted(await asyncio.gather(start("A"), start("B"))) == [False, True]
