"""Which database this is: that of a restored backup stands on another server, under another number on the same one, or
has tables that were made anew.

What it cannot tell is a copy of the server's files, nor what a standby lacks that has taken the server's place.
"""

from __future__ import annotations

import asyncpg

from gateway.core.text import Text
from gateway.store.sql import Connection

RESTORED = Text(
    "这个数据库是从备份恢复的，或搬到了别的服务器：备份之后发出过什么，它不知道",
    "this database was restored from a backup, or moved to another server: it does not know what was sent since",
)
RUN_RESTORED = Text(
    "先停止所有网关，运行一次 `ordergate restored`，再启动",
    "stop all gateways, run `ordergate restored` once, and start again",
)
REFUSED_RESTORED = Text(f"{RESTORED.zh}。{RUN_RESTORED.zh}", f"{RESTORED.en}; {RUN_RESTORED.en}")


async def is_restored(connection: Connection) -> bool:
    """Whether the last gateway ran on another database than this one, of which this is a copy.

    Also where this release's migrations are still to be applied; False where nothing says so yet.
    """
    try:
        row = await connection.fetchrow("SELECT * FROM identity")
    except asyncpg.UndefinedTableError:
        return False
    if row is None:
        return False
    *server, tables = await _here(connection)
    return [row["system_identifier"], row["database_oid"]] != server or row.get("table_oid") not in (None, tables)


async def is_new(connection: Connection) -> bool:
    """Whether no gateway has started on this database yet; one of before migration 0018 has left but its orders.

    False, too, where this user may not look.
    """
    try:
        new: bool = await connection.fetchval(
            "SELECT NOT EXISTS (SELECT FROM identity) AND NOT EXISTS (SELECT FROM orders)"
        )
        return new
    except asyncpg.UndefinedTableError:
        return await connection.fetchval("SELECT to_regclass('orders')") is None
    except asyncpg.InsufficientPrivilegeError:
        return False


async def note_identity(connection: Connection, *, anew: bool = False) -> None:
    """Write down which database this is, where nothing stands; `anew`: whatever stands there."""
    await connection.execute(
        "INSERT INTO identity AS i (system_identifier, database_oid, table_oid) VALUES ($1, $2, $3)"
        " ON CONFLICT (one) DO UPDATE SET system_identifier = excluded.system_identifier,"
        " database_oid = excluded.database_oid, table_oid = excluded.table_oid WHERE $4 OR i.table_oid IS NULL",
        *await _here(connection),
        anew,
    )


async def _here(connection: Connection) -> tuple[int, int, int]:
    """The server's identifier, 0 where it says none, the database's number on it, and that of the table there."""
    oids = await connection.fetchrow(
        "SELECT oid::bigint, 'identity'::regclass::bigint FROM pg_database WHERE datname = current_database()"
    )
    try:
        async with connection.transaction():
            return await connection.fetchval("SELECT system_identifier FROM pg_control_system()"), *oids
    except (asyncpg.InsufficientPrivilegeError, asyncpg.FeatureNotSupportedError, asyncpg.UndefinedFunctionError):
        return 0, *oids
