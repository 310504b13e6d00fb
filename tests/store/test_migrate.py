"""Migrations of a database that is full and in use: of the first schema, with a queue, dead letters and open lanes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from gateway.store.sql import migrate, migrations, open_pool

FIRST, *LATER = [name for name, _ in migrations()]
_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"

_FILL = """
INSERT INTO connection (name) VALUES ('shop'), ('wms');
INSERT INTO orders (order_id, number, connection_id, stage, reasons, conflicts, state)
SELECT n, 'S' || n, 1, 'reviewed', CASE n % 3 WHEN 0 THEN 'short_of_stock unpaid' WHEN 1 THEN 'no_route' ELSE '' END,
       CASE n % 5 WHEN 0 THEN 'shipped_beyond_stock' ELSE '' END, '\\x90'
  FROM generate_series(1, 500) n;
INSERT INTO lane (order_id, target_id, operation, head, tail, blocked)
SELECT n, 2, 'create', 1, 1, CASE n % 2 WHEN 0 THEN 'unknown' END FROM generate_series(1, 500) n;
INSERT INTO inbox (event_id, source, type, order_key, happened_at, body)
SELECT 'e' || n, 'shop', 't', n, now(), '' FROM generate_series(1, 500) n;
INSERT INTO dead_letter (event_id, source, type, order_key, number, happened_at, taken_at, body, leg, partition,
                         position, code, message)
SELECT 'e' || n, 'shop', 't', n, CASE n % 2 WHEN 0 THEN 'S' || n ELSE '' END, now(), now(),
       decode(md5(copy::text), 'hex'), 'inbox', -1, n, 'json', ''
  FROM generate_series(1, 500) n, generate_series(1, 2) copy;
"""


@pytest.fixture
async def first(postgres_url: str) -> str:
    """A database as the first migration left it, and full."""
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("CREATE TABLE migration (name text PRIMARY KEY, applied_at timestamptz DEFAULT now())")
    await connection.execute(dict(migrations())[FIRST])
    await connection.execute("INSERT INTO migration (name) VALUES ($1)", FIRST)
    await connection.execute(_FILL)
    await connection.close()
    return postgres_url


@asynccontextmanager
async def intake(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A batch of a worker that still runs, with an order locked."""
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        await connection.execute("SELECT 1 FROM orders WHERE order_id = 1 FOR UPDATE")
        yield connection
    await connection.close()


async def waits(connection: asyncpg.Connection) -> None:
    while not await connection.fetchval(_WAITING):  # noqa: ASYNC110 (no event of ours tells)
        await asyncio.sleep(0.01)


async def test_a_full_database_of_the_first_schema_is_brought_up(first: str) -> None:
    pool = await open_pool(first, size=2)
    assert await migrate(pool) == LATER
    assert await pool.fetchval("SELECT count(*) FROM dead_letter WHERE closed_at IS NULL") == 1000
    await pool.close()


async def test_a_migration_takes_as_long_as_it_takes(first: str) -> None:
    pool = await asyncpg.create_pool(first, min_size=1, max_size=1, command_timeout=0.2)
    async with intake(first) as busy:
        migrating = asyncio.create_task(migrate(pool))
        await waits(busy)
        await asyncio.sleep(0.5)  # longer than any other statement may take
    assert await migrating == LATER
    await pool.close()


async def test_a_migration_that_meets_a_running_worker_is_tried_again(first: str) -> None:
    """A batch takes orders, then lanes; a migration that waits for the orders may have the lanes."""
    pool = await open_pool(first, size=2)
    async with intake(first) as busy:
        migrating = asyncio.create_task(migrate(pool))
        await waits(busy)
        await busy.execute("UPDATE lane SET bursts = 1 WHERE order_id = 1")
    assert await migrating == LATER
    await pool.close()
