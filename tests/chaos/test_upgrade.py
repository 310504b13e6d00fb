"""A database that an earlier release left when it was killed, with something in every state, taken over by this one.

`upgrade/` holds it beside what was promised to the senders and what the warehouse had. A release adds its own dump.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from adapters.wecom.fake import FakeWecom
from gateway.store.review import reconsider_order
from gateway.store.sql import migrate, migrations, open_pool
from gateway.store.vault import vault_of
from tests.chaos.gateway import Fake, Gateway, until

LEFT = Path(__file__).with_name("upgrade")
KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
ROBOT = "0f3c2d1e-aaaa-4bbb-8ccc-1234567890ab"


async def load(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute((LEFT / "0008.sql").read_text(encoding="utf-8"))
    # Nobody is told after a day.
    await connection.execute("UPDATE notice SET at = now()")
    await connection.close()


async def test_an_upgraded_schema_is_that_of_a_new_database(postgres_url: str) -> None:
    """A migration that was edited after its release would leave the two apart for ever."""
    await load(postgres_url)
    pool = await open_pool(postgres_url, size=1)
    assert await migrate(pool) == [name for name, _ in migrations() if name > "0009"]
    async with pool.acquire() as connection:
        upgraded = await _schema(connection, "public")
        await connection.execute("CREATE SCHEMA fresh; SET search_path = fresh")
        for _, text in migrations():
            await connection.execute(text)
        fresh = await _schema(connection, "fresh")
    await pool.close()
    assert upgraded == fresh


async def test_what_an_earlier_release_left_is_taken_over(postgres_url: str, folder: Path) -> None:
    """Nothing is lost or sent twice, and deciding again what it has decided plans nothing new."""
    await load(postgres_url)
    for name in ("wms.books", "journal"):
        shutil.copy(LEFT / name, folder)
    async with Fake("qimen", folder) as wms, FakeWecom(keys={ROBOT}) as wecom:
        robot = {"adapter": "wecom", "settings": {"robot_keys": [ROBOT], "base_url": wecom.url}}
        gateway = Gateway(
            folder,
            database_url=postgres_url,
            fakes=[wms],
            gates={"deadline_s": 1.9, "slow_s": 1.5},
            settle_s=0.5,
            sections={
                "encryption": {"keys": [KEY]},
                "notices": {"channels": ["robot"], "settle_s": 2},
                # Time goes on for the dump, too.
                "retention": {"timeline_days": 3650, "tombstone_days": 36500},
            },
            connections={"robot": robot},
        )
        arrived = await _documents(wms)
        async with _running(gateway):

            async def adopted() -> bool:
                return not await gateway.fetch("SELECT 1 FROM worker WHERE worker_id = 1")

            await until(adopted, within_s=20, what="the lanes of the one before", log=gateway.log)
            assert await _documents(wms) == arrived, "it was paused, and still is"
            await gateway.fetch("UPDATE connection SET paused = false")
            await gateway.fetch("UPDATE redrive SET per_s = 50, next_at = now()")

            async def over() -> bool:
                [[state]] = await gateway.fetch("SELECT state FROM redrive")
                return bool(state == "done")

            await until(over, within_s=30, what="the redrive", log=gateway.log)
            await gateway.quiet(within_s=30)
            assert await gateway.verdict() == []
            assert (await wms.books()).duplicates == 0

            titles = [row[0] for row in await gateway.fetch("SELECT title FROM notice WHERE notice_id <= 2")]

            async def told() -> bool:
                return [sum(title in one.text for one in wecom.told) for title in titles] == [1, 1]

            await until(told, within_s=30, what="what nobody had been told", log=gateway.log)
            decided = await _decided(gateway)
            await _reconsider_all(gateway)
            await gateway.quiet(within_s=30)
            assert await _decided(gateway) == decided
            assert len(await gateway.fetch("SELECT 1 FROM dead_letter WHERE closed_at IS NULL")) == 2


@asynccontextmanager
async def _running(gateway: Gateway) -> AsyncIterator[None]:
    try:
        await gateway.start()
        yield
    finally:
        gateway.kill()


async def _documents(wms: Fake) -> int:
    return sum(order.documents for order in (await wms.books()).orders.values())


async def _decided(gateway: Gateway) -> list[Any]:
    """All that decisions leave, but for the time they were made."""
    return [
        [tuple(row) for row in await gateway.fetch(query)]
        for query in (
            "SELECT number, stage, reasons, conflicts FROM orders ORDER BY number",
            "SELECT order_id, target_id, seq, key FROM delivery ORDER BY order_id, target_id, seq",
            "SELECT sku, warehouse, on_hand, locked, committed FROM stock ORDER BY stock_id",
            "SELECT count(*) FROM movement",
        )
    ]


async def _reconsider_all(gateway: Gateway) -> None:
    pool = await open_pool(gateway.database_url, size=2, vault=vault_of(gateway.settings.encryption.decoded))
    for [number] in await gateway.fetch("SELECT number FROM orders"):
        assert await reconsider_order(pool, number, reason="x", actor="test", now=datetime.now(UTC))
    await pool.close()


async def _schema(connection: Any, name: str) -> dict[str, set[tuple[Any, ...]]]:
    """Tables, columns, indexes, constraints and views of a schema, as the server would make them again."""
    return {
        what: {
            tuple(value.replace(f"{name}.", "") if isinstance(value, str) else value for value in row)
            for row in await connection.fetch(query, name)
        }
        for what, query in _CATALOGUE.items()
    }


_CATALOGUE = {
    "tables": """
SELECT relname, relkind::text, reloptions::text FROM pg_class
 WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'v', 'S') AND relname <> 'migration'""",
    "columns": """
SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, attidentity::text, attstorage::text,
       pg_get_expr(adbin, adrelid)
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped
       LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE relnamespace = $1::regnamespace AND relkind = 'r' AND relname <> 'migration'""",
    "indexes": """
SELECT pg_get_indexdef(indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
 WHERE relnamespace = $1::regnamespace AND relname <> 'migration'""",
    "constraints": """
SELECT relname, pg_get_constraintdef(o.oid) FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid
 WHERE relnamespace = $1::regnamespace AND relname <> 'migration'""",
    "views": """
SELECT relname, pg_get_viewdef(oid) FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind = 'v'""",
}
