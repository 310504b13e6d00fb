"""Who does what only one worker at a time does: whoever holds the advisory lock of it, on the session that does it.

A session ends with its process. A process that hangs (stopped, swapped out, in an adapter that blocks) keeps its
session and its locks, for hours; so the others end the session of a leader whose lease has run out.
"""

from __future__ import annotations

import asyncio

import asyncpg

from gateway.store.sql import AWAY, Connection

OUST_EVERY_S = 2.0
"""How often who does not lead looks whether the leader is a worker yet."""


async def lead(connection: Connection, what: int, *, worker_id: int) -> bool:
    """Whether this session leads at `what` (a lock's number) from now on, for a worker; until `leave` or its end."""
    # The second lock says whose the first one is.
    led: bool = await connection.fetchval(
        "SELECT CASE WHEN pg_try_advisory_lock($1::bigint)"
        " THEN pg_try_advisory_lock($1::bigint::integer, ($2::bigint % 2147483648)::integer) ELSE false END",
        what,
        worker_id,
    )
    return led


async def leave(connection: Connection, what: int, *, worker_id: int) -> None:
    """Lead no longer; a session that cannot be asked to is ended, and its locks with it."""
    try:
        async with asyncio.timeout(1.0):
            await connection.execute(
                "SELECT pg_advisory_unlock($1::bigint),"
                " pg_advisory_unlock($1::bigint::integer, ($2::bigint % 2147483648)::integer)",
                what,
                worker_id,
            )
    except (*AWAY, asyncpg.PostgresError):
        connection.terminate()


async def oust(connection: Connection, what: int) -> int:
    """End the session of who leads at `what` for a worker that others have replaced. Returns how many were ended."""
    ended: int = await connection.fetchval(
        "SELECT count(*) FILTER (WHERE pg_terminate_backend(l.pid)) FROM pg_locks l"
        " WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.classid::bigint = $1"
        " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND NOT EXISTS (SELECT 1 FROM worker w WHERE w.worker_id % 2147483648 = l.objid::bigint)",
        what,
    )
    return ended
