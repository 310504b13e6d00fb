"""Migrations of a database that is full and in use: of the first schema, with a queue, dead letters and open lanes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg
import pytest

from gateway.core.delivery import Result
from gateway.core.errors import OrdergateError
from gateway.core.order import Order, OrderNumber
from gateway.store.credentials import read_credentials
from gateway.store.orders import encode_state
from gateway.store.outbox import AttemptRow, write_outcomes
from gateway.store.queries import AttemptEnded, ByHand, list_dead_letters, read_order
from gateway.store.redrive import list_redrives
from gateway.store.sql import as_private, migrate, migrations, open_pool

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


@pytest.fixture
async def eighth(postgres_url: str) -> str:
    """A database as migration 0008 left it, with words that others wrote."""
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("CREATE TABLE migration (name text PRIMARY KEY, applied_at timestamptz DEFAULT now())")
    for name, text in migrations():
        if name < "0009":
            await connection.execute(text)
            await connection.execute("INSERT INTO migration (name) VALUES ($1)", name)
    await connection.execute("INSERT INTO connection (name) VALUES ('shop'), ('wms')")
    await connection.executemany(
        "INSERT INTO credential (connection_id, seed, token, refused) VALUES ($1, '', '{\"access\":\"t\"}', $2)",
        [(1, "27: 会话已失效 13900001111"), (2, None)],
    )
    await connection.execute(
        "INSERT INTO orders (order_id, number, stage, state) VALUES (1, 'A1', 'received', $1)",
        encode_state(Order(number=OrderNumber("A1"))),
    )
    await write_as_before(connection, 1)
    await connection.close()
    return postgres_url


async def write_as_before(connection: asyncpg.Connection, n: int) -> None:
    """What a gateway of the release before writes, by its own statements."""
    await connection.copy_records_to_table(
        "attempt",
        columns="order_id target_id seq worker_id ended_at took_ms result code detail".split(),
        records=[(1, 2, n, 1, datetime.now(UTC), 5, 4, "business", f"收件人张三 {n}")],
    )
    await connection.execute(
        "INSERT INTO dead_letter (event_id, source, type, order_key, number, happened_at, taken_at, traceparent, body,"
        " body_sha256, leg, partition, position, code, message, advice)"
        " SELECT $1, 'shop', 't', 'K', 'A1', now(), now(),"
        " '', '{}', '\\x01', 'inbox', -1, 1, 'field', $2, 'see it'",
        f"e{n}",
        f"unknown field 张三 {n}",
    )
    await connection.execute(
        "INSERT INTO audit (actor, action, subject, reason) VALUES ('wang', 'order.reconsider', 'A1', $1)",
        f"张三来电 {n}",
    )
    await connection.execute(
        "INSERT INTO redrive (wanted, reason, author, forced, per_s, next_at)"
        " VALUES ('{\"code\":\"x\"}', $1, 'wang', false, 1, 'infinity')",
        f"张三来电 {n}",
    )
    await connection.execute(
        "INSERT INTO conflict_handled (order_id, conflicts, author, reason) VALUES ($1, 'c', 'wang', '张三来电')", n
    )


async def words(pool: asyncpg.Pool) -> set[str]:
    """All that can be read of what others wrote."""
    order = await read_order(pool, "A1")
    assert order is not None
    letters = await list_dead_letters(pool, open_only=True, source=None, code=None, before=None, limit=9)
    return {
        *(one.detail for one in order.timeline if isinstance(one, AttemptEnded)),
        *(one.reason for one in order.timeline if isinstance(one, ByHand)),
        *(f"{letter.message.zh}, {letter.advice.en}" for letter in letters),
        *(redrive.reason for redrive in await list_redrives(pool, running=False, before=None, limit=9)),
    }


def written(*numbers: int) -> set[str]:
    return {text for n in numbers for text in (f"收件人张三 {n}", f"张三来电 {n}", f"unknown field 张三 {n}, see it")}


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
        # Of the two PostgreSQL ends the one that looks first: here the migration.
        await busy.execute("SET LOCAL deadlock_timeout = '60s'")
        migrating = asyncio.create_task(migrate(pool))
        await waits(busy)
        await busy.execute("UPDATE lane SET bursts = 1 WHERE order_id = 1")
    assert await migrating == LATER
    await pool.close()


async def test_a_schema_of_a_later_release_is_refused_in_both_languages_and_left_as_it_is(first: str) -> None:
    pool = await open_pool(first, size=2)
    await pool.execute("INSERT INTO migration (name) VALUES ('9999_later')")
    with pytest.raises(OrdergateError) as refused:
        await migrate(pool)
    assert "更新的版本升级（9999_later）" in refused.value.text.zh
    assert "a later release (9999_later): run that release" in refused.value.text.en
    assert {row[0] for row in await pool.fetch("SELECT name FROM migration")} == {FIRST, "9999_later"}
    await pool.close()


async def test_who_does_not_own_the_tables_starts_where_nothing_is_pending(first: str) -> None:
    """The owner has migrated; the gateway's own user reads and writes, and need not be able to make a table."""
    owner = await open_pool(first, size=2)
    own = await _user_of_the_gateway(owner, first)
    with pytest.raises(OrdergateError) as refused:
        await migrate(own)
    assert "请用表的所有者运行 `ordergate migrate`" in refused.value.text.zh
    assert "as the owner of its tables" in refused.value.text.en
    assert await migrate(owner) == LATER
    assert await migrate(own) == []
    await own.close()
    await owner.close()


async def test_a_migration_that_alters_no_table_is_its_owners_work_too(first: str) -> None:
    """What it makes would be the wrong user's, who may not do what it is for: nobody would notice before the night."""
    owner = await open_pool(first, size=2)
    await migrate(owner)
    await owner.execute("DROP FUNCTION summarize_movements; DELETE FROM migration WHERE name LIKE '0016%'")
    own = await _user_of_the_gateway(owner, first)
    await owner.execute(f"GRANT CREATE ON SCHEMA public TO {await own.fetchval('SELECT current_user')}")
    with pytest.raises(OrdergateError) as refused:
        await migrate(own)
    assert "表属于别的用户" in refused.value.text.zh and "another user's" in refused.value.text.en
    assert await migrate(owner) == ["0016_summarize_movements"]
    await own.close()
    await owner.close()


async def _user_of_the_gateway(owner: asyncpg.Pool, url: str) -> asyncpg.Pool:
    """A pool of a user who may read and write what there is."""
    name = f"app_of_{await owner.fetchval('SELECT current_database()')}"
    await owner.execute(
        f"CREATE ROLE {name} LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}"
    )
    return await open_pool(url.replace("user=ordergate", f"user={name}"), size=2)


async def test_words_of_before_can_still_be_read(eighth: str) -> None:
    pool = await open_pool(eighth, size=2)
    await migrate(pool)
    assert await words(pool) == written(1)
    refused = {number: one.refused for number, one in (await read_credentials(pool, [1, 2])).items()}
    assert refused == {1: "27: 会话已失效 13900001111", 2: None}
    assert await pool.fetchval("SELECT refused FROM credential WHERE connection_id = 1") == "27"
    await pool.close()


async def test_a_gateway_of_the_release_before_goes_on(eighth: str) -> None:
    """It writes what can be read; what is written since then is empty to it, and no error."""
    pool = await open_pool(eighth, size=2)
    await migrate(pool)
    async with pool.acquire() as connection:
        await write_as_before(connection, 2)
        await connection.execute("UPDATE credential SET refused = 'token: expired' WHERE connection_id = 2")
        row = AttemptRow(1, 2, 3, 1, datetime.now(UTC), 5, Result.REJECTED, "business", as_private("收件人张三 3"))
        await write_outcomes(pool, worker_id=1, attempts=[row], outcomes=[])
        seen = await connection.fetch("SELECT detail FROM attempt ORDER BY seq")
    assert [one[0] for one in seen] == ["收件人张三 1", "收件人张三 2", None]
    assert await words(pool) == written(1, 2) | {"收件人张三 3"}
    assert (await read_credentials(pool, [2]))[2].refused == "token: expired"
    await pool.close()


async def test_nobody_waits_behind_a_migration_that_waits_for_a_backup(eighth: str) -> None:
    pool = await open_pool(eighth, size=2)
    backup, writer = await asyncpg.connect(eighth), await asyncpg.connect(eighth)
    reading = backup.transaction()
    await reading.start()
    await backup.execute("LOCK TABLE attempt IN ACCESS SHARE MODE")  # as pg_dump has it until it ends
    heard: asyncio.Queue[str] = asyncio.Queue()
    migrating = asyncio.create_task(migrate(pool, told=heard.put_nowait))
    assert "0009_private_words waits" in await asyncio.wait_for(heard.get(), 30)
    await writer.execute("SET statement_timeout = '10s'")
    await write_as_before(writer, 2)
    assert not migrating.done()
    await reading.rollback()
    assert await migrating == [name for name, _ in migrations() if name >= "0009"]
    assert await words(pool) == written(1, 2)
    assert heard.empty(), "told once"
    for connection in (backup, writer, pool):
        await connection.close()


async def test_nobody_waits_for_the_busiest_table_while_a_small_one_is_waited_for(eighth: str) -> None:
    pool = await open_pool(eighth, size=2)
    reader, writer = await asyncpg.connect(eighth), await asyncpg.connect(eighth)
    reading = reader.transaction()
    await reading.start()
    await reader.execute("SELECT 1 FROM redrive")
    migrating = asyncio.create_task(migrate(pool))
    await waits(reader)
    await writer.execute("SET lock_timeout = '100ms'")
    # What the gateway of the release before does all the time; a redrive waits, for its table is the one in use.
    await writer.execute("INSERT INTO attempt SELECT * FROM attempt LIMIT 1")
    await writer.execute("UPDATE dead_letter SET message = 'x'")
    assert not migrating.done()
    await reading.rollback()
    assert await migrating == [name for name, _ in migrations() if name >= "0009"]
    for connection in (reader, writer, pool):
        await connection.close()
