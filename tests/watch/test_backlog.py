"""One of several reads the backlog, and another goes on when it ends; against a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from gateway.core.happening import Happening
from gateway.store.sql import open_pool
from gateway.watch.backlog import BacklogWatch


@pytest.fixture
async def pool(migrated_url: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await open_pool(migrated_url, size=4)
    yield pool
    await pool.close()


async def test_only_one_reads_and_another_goes_on_when_it_has_ended(pool: asyncpg.Pool) -> None:
    shown: asyncio.Queue[str] = asyncio.Queue()
    troubles: list[Happening] = []
    given_up: list[str] = []

    def watch(name: str) -> BacklogWatch:
        return BacklogWatch(
            pool,
            show=lambda _: shown.put_nowait(name),
            unknown=lambda: given_up.append(name),
            observe=troubles.extend,
            every_s=0.02,
        )

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        first = group.create_task(watch("first").run())
        assert await shown.get() == "first"
        second = group.create_task(watch("second").run())
        assert {await shown.get() for _ in range(10)} == {"first"}
        first.cancel()
        while await shown.get() != "second":
            pass
        second.cancel()
    assert troubles == []
    assert given_up == ["first", "second"]
    # The session goes on in the pool, without the lock.
    assert await pool.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
