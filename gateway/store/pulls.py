"""Polled shops: who polls each, how far it has been read, and when it was last read again from the start.

A shop has one owner, a live worker. The claim locks the worker's own row against adoption like every other claim;
whoever deletes a dead worker's row frees its duties in the same statement (ON DELETE SET NULL).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import asyncpg
import msgspec

from gateway.core.errors import Fenced
from gateway.store.orders import holds_lease


class Cursor(msgspec.Struct, frozen=True):
    """`begun_at`: where reading began, nothing older is ever asked for. `reread_at`: end of the last full re-read."""

    begun_at: datetime
    read_to: datetime
    reread_at: datetime


async def claim_duty(pool: asyncpg.Pool, connection_id: int, *, worker_id: int) -> bool:
    """Become the owner of what only one worker may do for a connection; False while another one is.

    Raises Fenced.
    """
    async with pool.acquire() as connection, connection.transaction():
        if not await holds_lease(connection, worker_id):
            raise Fenced(f"worker {worker_id} has been replaced")
        claimed = await connection.fetchval(
            "INSERT INTO duty AS d (connection_id, worker_id) VALUES ($1, $2) ON CONFLICT (connection_id)"
            " DO UPDATE SET worker_id = $2, claimed_at = now() WHERE d.worker_id IS NULL OR d.worker_id = $2"
            " RETURNING 1",
            connection_id,
            worker_id,
        )
    return claimed is not None


async def release_duty(pool: asyncpg.Pool, connection_id: int, *, worker_id: int) -> None:
    """Orderly end of an ownership; for a worker that asks this platform for nothing more."""
    await pool.execute(
        "UPDATE duty SET worker_id = NULL WHERE connection_id = $1 AND worker_id = $2", connection_id, worker_id
    )


async def read_cursor(pool: asyncpg.Pool, connection_id: int) -> Cursor | None:
    """How far a shop has been read; None when it never was."""
    row = await pool.fetchrow("SELECT begun_at, read_to, reread_at FROM pull WHERE connection_id = $1", connection_id)
    return None if row is None else Cursor(*row)


async def begin(pool: asyncpg.Pool, connection_id: int, *, worker_id: int, at: datetime) -> Cursor:
    """The first start: everything that changes from `at` on, at most now, is read. Raises Fenced."""
    row = await pool.fetchrow(
        _MINE + " INSERT INTO pull (connection_id, begun_at, read_to, reread_at)"
        f" SELECT connection_id, least($3, {_NOW}), least($3, {_NOW}), now() FROM mine"
        " RETURNING begun_at, read_to, reread_at",
        connection_id,
        worker_id,
        at,
    )
    if row is None:
        raise _not_owner(connection_id, worker_id)
    return Cursor(*row)


async def begin_earlier(pool: asyncpg.Pool, connection_id: int, *, worker_id: int, at: datetime) -> Cursor:
    """Reading begins at `at`, which is before it did, and everything since is read again. Raises Fenced."""
    row = await pool.fetchrow(
        f"{_MINE} UPDATE pull p SET begun_at = least($3, begun_at), read_to = least($3, read_to) FROM mine"
        " WHERE p.connection_id = mine.connection_id RETURNING begun_at, read_to, reread_at",
        connection_id,
        worker_id,
        at,
    )
    if row is None:
        raise _not_owner(connection_id, worker_id)
    return Cursor(*row)


async def move_cursor(pool: asyncpg.Pool, connection_id: int, *, worker_id: int, read_to: datetime) -> datetime:
    """Everything up to `read_to` is durable; returns how far the shop counts as read.

    That is never past the database's own clock: a worker whose clock runs ahead must not leap over what is still to
    change. Raises Fenced when this worker is not the owner any more.
    """
    return await _update(pool, f"read_to = least($3, {_NOW})", connection_id, worker_id, read_to)


async def mark_reread(pool: asyncpg.Pool, connection_id: int, *, worker_id: int, at: datetime) -> None:
    """The full re-read that is through began at `at`. Raises Fenced."""
    await _update(pool, "reread_at = $3", connection_id, worker_id, at)


async def set_failing(pool: asyncpg.Pool, connection_id: int, code: str | None) -> bool:
    """Remember why a shop cannot be read (None: it can); whether that is new.

    `failing_at` is since when it cannot be read, whatever the reasons were.
    """
    changed = await pool.fetchval(
        "UPDATE pull SET failing = $2,"
        " failing_at = CASE WHEN $2::text IS NULL THEN NULL ELSE coalesce(failing_at, now()) END"
        " WHERE connection_id = $1 AND failing IS DISTINCT FROM $2 RETURNING 1",
        connection_id,
        code,
    )
    return changed is not None


async def unknown_orders(
    pool: asyncpg.Pool, source: str, *, prefix: str, order_keys: Collection[str]
) -> frozenset[str]:
    """Those of a shop's order numbers that stand nowhere here: no order, no dead letter, nothing in the inbox.

    The shop may have had other prefixes, and other names: those whose last prefix was `prefix`.
    """
    rows = await pool.fetch(
        "SELECT k FROM unnest($1::text[]) AS k"
        " WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.number = $2 || k OR o.number = ANY (ARRAY("
        "SELECT p || k FROM connection c CROSS JOIN unnest(c.seen) AS p WHERE c.name = $3 OR c.prefix = $2)))"
        " AND NOT EXISTS (SELECT 1 FROM dead_letter d WHERE d.number = $2 || k AND d.closed_at IS NULL)"
        " AND NOT EXISTS (SELECT 1 FROM inbox i WHERE i.source = $3 AND i.order_key = k)",
        list(order_keys),
        prefix,
        source,
    )
    return frozenset(row[0] for row in rows)


async def _update(pool: asyncpg.Pool, change: str, connection_id: int, worker_id: int, at: datetime) -> datetime:
    read_to: datetime | None = await pool.fetchval(
        f"{_MINE} UPDATE pull p SET {change} FROM mine WHERE p.connection_id = mine.connection_id RETURNING p.read_to",
        connection_id,
        worker_id,
        at,
    )
    if read_to is None:
        raise _not_owner(connection_id, worker_id)
    return read_to


def _not_owner(connection_id: int, worker_id: int) -> Fenced:
    return Fenced(f"worker {worker_id} is not the owner of connection {connection_id} any more")


_NOW = "date_trunc('second', now())"
_MINE = "WITH mine AS (SELECT connection_id FROM duty WHERE connection_id = $1 AND worker_id = $2 FOR KEY SHARE)"
