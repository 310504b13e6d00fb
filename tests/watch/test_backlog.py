"""One of several reads the backlog, and another goes on when it ends; against a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from gateway.core.happening import Happening
from gateway.store.outbox import start_worker
from gateway.store.queries import read_backlog
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

    workers = {name: await start_worker(pool, name=name, lease_s=15) for name in ("first", "second")}

    def watch(name: str) -> BacklogWatch:
        return BacklogWatch(
            pool,
            worker_id=workers[name],
            show=lambda _: shown.put_nowait(name),
            unknown=lambda: given_up.append(name),
            observe=troubles.extend,
            every_s=0.02,
            ship_by_lead=timedelta(hours=4),
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


async def test_the_inbox_is_as_old_as_the_event_that_is_taken_next(pool: asyncpg.Pool) -> None:
    async def seen() -> tuple[int, float]:
        async with pool.acquire() as connection:
            found = await read_backlog(connection)
        return found.inbox_rows, found.inbox_oldest_s

    async def put(age_s: float) -> None:
        await pool.execute(
            "INSERT INTO inbox (event_id, source, type, order_key, happened_at, taken_at, body)"
            " VALUES ('e', 'shop', 't', '1', now(), now() - make_interval(secs => $1), '')",
            age_s,
        )

    assert await seen() == (0, 0.0)
    # A server that took over from one whose clock was ahead: nothing is younger than new.
    await put(-3600.0)
    assert await seen() == (1, 0.0)
    await pool.execute("DELETE FROM inbox")
    for age_s in (1200.0, 900.0, 30.0):
        await put(age_s)
    rows, oldest_s = await seen()
    assert rows == 3 and 1200.0 <= oldest_s < 1260.0
    await pool.execute("DELETE FROM inbox WHERE taken_at < now() - interval '1000 seconds'")
    rows, oldest_s = await seen()
    assert rows == 2 and 900.0 <= oldest_s < 960.0
