"""Databases with the schema, for one test after the other: emptied and renamed, which takes a fifth of a new one."""

from __future__ import annotations

import itertools

import asyncpg

from gateway.embedded.postgres import EmbeddedPostgres
from gateway.store.sql import migrate, open_pool

_numbers = itertools.count(1)

_BREAK_OFF = """
SELECT bool_and(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_TABLES = "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
_FILLED = f"{_TABLES} AND pg_relation_size(oid) > 0"
_USED_SEQUENCES = """
SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false) FROM pg_sequences
 WHERE last_value IS NOT NULL
"""
# All that a test could have changed but rows: every object with its definition, and what holds for the database.
_SHAPE = """
SELECT md5(string_agg(line, E'\\n' ORDER BY line)) FROM (
    SELECT concat_ws(' ', 'class', c.oid, relname, relkind, relnamespace, relowner, relacl, reloptions, relrowsecurity)
      FROM pg_class c WHERE c.oid >= 16384 AND relnamespace <> 'pg_toast'::regnamespace
    UNION ALL SELECT concat_ws(' ', 'column', attrelid, attname, atttypid, attnum, attnotnull, attisdropped, atthasdef)
      FROM pg_attribute WHERE attrelid >= 16384 AND attnum > 0
    UNION ALL SELECT concat_ws(' ', 'default', adrelid, adnum, pg_get_expr(adbin, adrelid)) FROM pg_attrdef
    UNION ALL SELECT concat_ws(' ', 'constraint', oid, conname, pg_get_constraintdef(oid), convalidated)
      FROM pg_constraint WHERE oid >= 16384
    UNION ALL SELECT concat_ws(' ', 'index', indexrelid, pg_get_indexdef(indexrelid), indisvalid)
      FROM pg_index WHERE indexrelid >= 16384
    UNION ALL SELECT concat_ws(' ', 'trigger', oid, pg_get_triggerdef(oid), tgenabled) FROM pg_trigger
    UNION ALL SELECT concat_ws(' ', 'event trigger', oid, evtname, evtenabled) FROM pg_event_trigger
    UNION ALL SELECT concat_ws(' ', 'function', oid, proname, md5(prosrc)) FROM pg_proc WHERE oid >= 16384
    UNION ALL SELECT concat_ws(' ', 'type', oid, typname) FROM pg_type WHERE oid >= 16384
    UNION ALL SELECT concat_ws(' ', 'schema', oid, nspname, nspowner, nspacl) FROM pg_namespace
     WHERE nspname !~ '^pg_(temp|toast_temp)_'
    UNION ALL SELECT concat_ws(' ', 'extension', oid, extname) FROM pg_extension
    UNION ALL SELECT concat_ws(' ', 'database', datdba, datacl, datconnlimit, datallowconn) FROM pg_database
     WHERE datname = current_database()
    UNION ALL SELECT concat_ws(' ', 'setting', setrole, setconfig) FROM pg_db_role_setting
     WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
) AS shape(line)
"""


class MigratedDatabases:
    """Those of one server. None is in use twice at a time, and none has what a test before has left."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        self._free: list[str] = []
        self._shapes: dict[str, str] = {}
        self._kept: dict[str, str] = {}
        """Table → digest of the rows that `migrate` itself has made."""

    async def take(self) -> str:
        """Name of a database as `migrate` leaves it."""
        name = f"migrated_{next(_numbers)}"
        if self._free:
            before = self._free.pop()
            # Whoever still thinks of it as the one before finds nothing.
            await self._do(f"ALTER DATABASE {before} RENAME TO {name}")
            self._shapes[name] = self._shapes.pop(before)
            return name
        if not self._kept:
            await self._make_template()
        await self._do(f"CREATE DATABASE {name} TEMPLATE migrated")
        connection = await asyncpg.connect(self._server.url_of(name))
        try:
            self._shapes[name] = await connection.fetchval(_SHAPE)
        finally:
            await connection.close()
        return name

    async def give_back(self, name: str) -> None:
        """Empty it for the next; one whose schema is no longer what it was is dropped."""
        if await self._emptied(name):
            self._free.append(name)
        else:
            await self._do(f"DROP DATABASE {name} WITH (FORCE)")

    async def _emptied(self, name: str) -> bool:
        connection = await asyncpg.connect(self._server.url_of(name))
        try:
            if (
                await connection.fetchval(_BREAK_OFF) is False
                or await connection.fetchval(_SHAPE) != self._shapes[name]
            ):
                return False
            filled = [row[0] for row in await connection.fetch(_FILLED) if row[0] not in self._kept]
            if filled:
                await connection.execute(f"TRUNCATE {', '.join(filled)} CASCADE")
            await connection.execute(_USED_SEQUENCES)
            return await _digests(connection, self._kept) == self._kept
        finally:
            await connection.close()

    async def _make_template(self) -> None:
        await self._do("CREATE DATABASE migrated TEMPLATE template0")
        pool = await open_pool(self._server.url_of("migrated"), size=1)
        try:
            await migrate(pool)
            async with pool.acquire() as connection:
                self._kept = await _digests(connection, [row[0] for row in await connection.fetch(_FILLED)])
        finally:
            await pool.close()

    async def _do(self, statement: str) -> None:
        connection = await asyncpg.connect(self._server.url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


async def _digests(connection: asyncpg.Connection, tables: object) -> dict[str, str]:
    return {
        table: await connection.fetchval(f"SELECT md5(string_agg(t::text, '/' ORDER BY t::text)) FROM {table} t")
        for table in tables
    }
