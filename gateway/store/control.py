"""What people have switched by hand: paused connections, forced breakers; and how many workers share the limits."""

from __future__ import annotations

from datetime import UTC, datetime

import asyncpg
import msgspec

from gateway.store.audit import audit

UNTIL_ENDED = datetime(9999, 1, 1, tzinfo=UTC)
"""`until_at` of what holds until somebody ends it."""


class Forced(msgspec.Struct, frozen=True):
    """A breaker held open or closed by a person until an instant (aware UTC) of the database's clock."""

    forced: str
    reason: str
    author: str
    until_at: datetime


class Controls(msgspec.Struct, frozen=True):
    """`paused`: connection ids. `forced`: (connection id, operation). `workers`: how many are alive.

    `at`: when they were read, by the database's clock: this machine's may be another.
    """

    paused: frozenset[int]
    forced: dict[tuple[int, str], Forced]
    workers: int
    at: datetime


async def read_controls(pool: asyncpg.Pool) -> Controls:
    """All switches that are in force now."""
    async with pool.acquire() as connection:
        paused = await connection.fetch("SELECT connection_id FROM connection WHERE paused")
        forced = await connection.fetch(
            "SELECT target_id, operation, forced, reason, author, until_at FROM breaker_override WHERE until_at > now()"
        )
        workers, at = await connection.fetchrow("SELECT count(*), now() FROM worker")
    return Controls(
        frozenset(row[0] for row in paused),
        {(row[0], row[1]): Forced(*row[2:]) for row in forced},
        max(1, workers),
        at,
    )


async def set_paused(pool: asyncpg.Pool, name: str, *, paused: bool, reason: str, actor: str) -> bool:
    """Pause or resume a connection; False when there is none of that name."""
    async with pool.acquire() as connection, connection.transaction():
        found = await connection.fetchval(
            "UPDATE connection SET paused = $2, pause_reason = $3 WHERE name = $1 RETURNING 1", name, paused, reason
        )
        if found is None:
            return False
        action = "connection.pause" if paused else "connection.resume"
        await audit(connection, actor=actor, action=action, subject=name, reason=reason)
    return True


async def force_breaker(
    pool: asyncpg.Pool,
    *,
    target_id: int,
    operation: str,
    forced: str | None,
    reason: str,
    actor: str,
    for_s: float | None,
) -> datetime:
    """Hold a breaker `open` or `closed` for `for_s`; `forced` None ends it. Until when, by the database's clock.

    `for_s` None: until somebody ends it.
    """
    async with pool.acquire() as connection, connection.transaction():
        until_at = UNTIL_ENDED
        if for_s is not None:
            until_at = await connection.fetchval("SELECT now() + make_interval(secs => $1)", for_s)
        if forced is None:
            await connection.execute(
                "DELETE FROM breaker_override WHERE target_id = $1 AND operation = $2", target_id, operation
            )
        else:
            # Of two at once the later one holds.
            await connection.execute(
                "INSERT INTO breaker_override (target_id, operation, forced, reason, author, until_at)"
                " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (target_id, operation) DO UPDATE SET forced = $3,"
                " reason = $4, author = $5, until_at = $6",
                target_id,
                operation,
                forced,
                reason,
                actor,
                until_at,
            )
        action = f"breaker.{forced or 'automatic'}"
        await audit(connection, actor=actor, action=action, subject=f"{target_id}/{operation}", reason=reason)
    return until_at
