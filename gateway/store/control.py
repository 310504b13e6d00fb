"""What people have switched by hand: paused connections, forced breakers; and how many workers share the limits.

Orders of a paused shop wait, and a shop that is resumed has those decided again. The two must not pass each other, or
an order would wait for good: both take an advisory lock, whoever has orders wait shared and whoever resumes alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime

import asyncpg
import msgspec

from gateway.core.event import ConnectionName
from gateway.store.audit import audit
from gateway.store.inbox import put_in
from gateway.store.sql import Connection
from gateway.store.stock import reconsider
from gateway.store.work import IS_HELD

_RESUME_LOCK = 7_262_014
_PAGE = 1000

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


class Obstacles(msgspec.Struct, frozen=True):
    """What may keep orders of a batch from going on. `letters`: whether any dead letter is open."""

    letters: bool
    paused: frozenset[ConnectionName]


async def obstacles(connection: Connection) -> Obstacles:
    """Whether anything stands in the way of anybody: nearly always nothing does, and one question tells."""
    row = await connection.fetchrow(_OBSTACLES)
    return Obstacles(row[0], frozenset(map(ConnectionName, row[1])))


async def settled_obstacles(connection: Connection) -> Obstacles:
    """The same, and no connection is resumed before the caller's transaction ends."""
    # A statement of its own: the next one has to see what was committed while this one waited.
    await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", _RESUME_LOCK)
    return await obstacles(connection)


async def pause(pool: asyncpg.Pool, name: str, *, configured: Collection[str], reason: str, actor: str) -> bool:
    """Pause a connection; False when there is none of that name. None that is `configured` is its name of before."""
    async with pool.acquire() as connection, connection.transaction():
        return bool(await _switch(connection, name, configured, paused=True, reason=reason, actor=actor))


async def resume(
    pool: asyncpg.Pool, name: str, *, configured: Collection[str], reason: str, actor: str, now: datetime
) -> int | None:
    """Resume a connection, and have its orders that waited for that decided again, the oldest first. `configured`: see
    `pause`.

    How many there are; None when there is no connection of that name.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _RESUME_LOCK)
        switched = await _switch(connection, name, configured, paused=False, reason=reason, actor=actor)
        return sum([await _wake(connection, *one, now) for one in switched]) if switched else None


async def wake_live(
    connection: Connection,
    live: Collection[ConnectionName],
    renamed: Mapping[ConnectionName, ConnectionName],
    now: datetime,
) -> int:
    """Have what waits for the shops that are `live` decided again unless they are paused: they may have been observed
    until now, or paused under the name of before. How many orders that are.

    `renamed`: shops of before and the names that they have now.
    """
    names = {name: name for name in live} | {old: new for old, new in renamed.items() if new in live}
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _RESUME_LOCK)
        shops = await connection.fetch(
            "SELECT c.connection_id, c.name FROM unnest($1::text[], $2::text[]) AS s(name, now)"
            " JOIN connection c ON c.name = s.name JOIN connection n ON n.name = s.now"
            " WHERE NOT n.paused ORDER BY c.name",
            list(names),
            list(names.values()),
        )
        return sum([await _wake(connection, shop[0], shop[1], now) for shop in shops])


async def _wake(connection: Connection, connection_id: int, name: str, now: datetime) -> int:
    numbers = [row[0] for row in await connection.fetch(_WAITING, connection_id)]
    for first in range(0, len(numbers), _PAGE):
        await put_in(connection, [reconsider(number, name, now) for number in numbers[first : first + _PAGE]])
    return len(numbers)


async def _switch(
    connection: Connection, name: str, configured: Collection[str], *, paused: bool, reason: str, actor: str
) -> list[tuple[int, str]]:
    """Id and name of what is switched: the connection, and what it was called before (`renamed_shops`), of which there
    may be orders that have not been sent; nothing where there is none of that name.

    By a name that is not configured any more, all that has had a prefix in common is switched.
    """
    rows = await connection.fetch(
        "WITH RECURSIVE was AS (SELECT connection_id, adapter, former || prefix AS had FROM connection WHERE name = $1"
        " UNION SELECT c.connection_id, c.adapter, c.former || c.prefix FROM was w JOIN connection c"
        " ON c.adapter = w.adapter AND c.prefix = ANY (w.had)"
        " WHERE c.name <> ALL($4::text[]) OR $1 <> ALL($4::text[]))"
        " UPDATE connection c SET paused = $2, pause_reason = $3 FROM was w WHERE c.connection_id = w.connection_id"
        " RETURNING c.connection_id, c.name",
        name,
        paused,
        reason,
        list(configured),
    )
    if rows:
        action = "connection.pause" if paused else "connection.resume"
        await audit(connection, actor=actor, action=action, subject=name, reason=reason)
    return sorted((row[0], row[1]) for row in rows)


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


_PAUSED = "SELECT name FROM connection WHERE paused"
_OBSTACLES = f"SELECT EXISTS (SELECT 1 FROM dead_letter WHERE closed_at IS NULL), ARRAY({_PAUSED})"
_WAITING = f"""
SELECT number FROM orders
 WHERE connection_id = $1 AND {IS_HELD} AND 'paused' = ANY (string_to_array(reasons, ' '))
 ORDER BY order_id
"""
