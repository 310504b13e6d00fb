"""Which database this is: that of a restored backup stands on another server, or under another number on the same one.

What it cannot tell is a copy of the server's files in the place of the files themselves.
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


async def is_restored(connection: Connection) -> bool:
    """Whether the last gateway ran on another database than this one, of which this is a copy."""
    row = await connection.fetchrow("SELECT system_identifier, database_oid FROM identity")
    return row is not None and tuple(row) != await _here(connection)


async def note_identity(connection: Connection, *, anew: bool = False) -> None:
    """Write down which database this is, where nothing stands; `anew`: whatever stands there."""
    await connection.execute(
        "INSERT INTO identity (system_identifier, database_oid) VALUES ($1, $2) ON CONFLICT (one) DO UPDATE"
        " SET system_identifier = excluded.system_identifier, database_oid = excluded.database_oid WHERE $3",
        *await _here(connection),
        anew,
    )


async def _here(connection: Connection) -> tuple[int, int]:
    """The server's identifier, 0 where it says none, and the database's number on it."""
    oid = await connection.fetchval("SELECT oid::bigint FROM pg_database WHERE datname = current_database()")
    try:
        async with connection.transaction():
            return await connection.fetchval("SELECT system_identifier FROM pg_control_system()"), oid
    except (asyncpg.InsufficientPrivilegeError, asyncpg.FeatureNotSupportedError, asyncpg.UndefinedFunctionError):
        return 0, oid
