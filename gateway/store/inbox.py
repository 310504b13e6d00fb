"""The inbox: the second leg of the inbound stream, and the only one where no Kafka is configured."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg

from gateway.core.errors import Unavailable
from gateway.core.event import Arrival, ConnectionName, Event, EventId, Leg, Position
from gateway.store.sql import AWAY, Connection, private

PUT_WITHIN_S = 5.0
_TAKEN_BYTES = 16 * 1024 * 1024
"""Bodies of one batch. Decoding takes several times as much memory, and hundreds of the largest would take it all."""


async def put(pool: asyncpg.Pool, events: Sequence[Event]) -> None:
    """Make `events` durable, in one transaction, and wake the readers. Raises Unavailable."""
    try:
        # A sender waits for this: better told 503 after a few seconds than kept on the line by a server that is gone.
        async with asyncio.timeout(PUT_WITHIN_S), pool.acquire() as connection, connection.transaction():
            await put_in(connection, events)
    except AWAY as error:
        raise Unavailable(f"the inbox cannot take events: {type(error).__name__}") from error


async def put_in(connection: Connection, events: Sequence[Event]) -> None:
    """Like `put`, inside the caller's transaction."""
    await connection.copy_records_to_table(
        "inbox",
        columns="event_id source type order_key happened_at traceparent body".split(),
        records=[(e.id, e.source, e.type, e.order_key, e.time, e.traceparent, private(e.body)) for e in events],
    )
    await connection.execute("NOTIFY ordergate_inbox")


async def take(connection: Connection, limit: int) -> list[Arrival]:
    """Up to `limit` of the oldest events no other worker is at, deleted when the caller's transaction commits.

    Fewer where their bodies are over 16 MiB together: those that begin below that.

    None counts as taken after the caller's transaction began, whose instant is that of all that it decides.
    """
    rows = await connection.fetch(
        "DELETE FROM inbox WHERE inbox_id IN"
        " (SELECT inbox_id FROM (SELECT inbox_id, sum(bytes) OVER (ORDER BY inbox_id ROWS UNBOUNDED PRECEDING) - bytes"
        " AS bytes_before FROM (SELECT inbox_id, octet_length(body) AS bytes FROM inbox ORDER BY inbox_id LIMIT $1"
        " FOR UPDATE SKIP LOCKED) AS oldest) AS summed WHERE bytes_before < $2)"
        " RETURNING inbox_id, event_id, source, type, order_key, happened_at, least(taken_at, now()), traceparent,"
        " body",
        limit,
        _TAKEN_BYTES,
    )
    rows.sort(key=lambda row: row[0])
    return [
        Arrival(
            Event(
                id=EventId(row[1]),
                source=ConnectionName(row[2]),
                type=row[3],
                order_key=row[4],
                time=row[5],
                traceparent=row[7],
                body=row[8],
            ),
            Position(Leg.INBOX, -1, row[0]),
            row[6],
        )
        for row in rows
    ]
