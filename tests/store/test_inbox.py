"""The inbox as a queue: what is taken, and when it counts as taken."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.core.event import ConnectionName, Event, EventId
from gateway.store.inbox import put, take
from gateway.store.sql import open_pool


async def test_nothing_is_taken_after_what_is_decided_from_it(migrated_url: str) -> None:
    """A transaction that began before an event came may still take it; both instants stand in the order's timeline."""
    pool = await open_pool(migrated_url, size=2)
    event = Event(
        id=EventId("e-1"),
        source=ConnectionName("shop"),
        type="webhook.order.v1",
        order_key="1",
        time=datetime.now(UTC),
        body=b"{}",
    )
    async with pool.acquire() as connection, connection.transaction():
        began_at = await connection.fetchval("SELECT now()")
        await put(pool, [event])
        (arrival,) = await take(connection, 10)
    assert arrival.event == event
    assert arrival.taken_at == began_at
    await pool.close()
