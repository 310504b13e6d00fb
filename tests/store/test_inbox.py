"""The inbox as a queue: what is taken, and when it counts as taken."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.core.event import ConnectionName, Event, EventId
from gateway.store.inbox import put, take
from gateway.store.sql import open_pool


def event(number: int, body: bytes = b"{}") -> Event:
    return Event(
        id=EventId(f"e-{number}"),
        source=ConnectionName("shop"),
        type="webhook.order.v1",
        order_key=str(number),
        time=datetime.now(UTC),
        body=body,
    )


async def test_nothing_is_taken_after_what_is_decided_from_it(migrated_url: str) -> None:
    """A transaction that began before an event came may still take it; both instants stand in the order's timeline."""
    pool = await open_pool(migrated_url, size=2)
    one = event(1)
    async with pool.acquire() as connection, connection.transaction():
        began_at = await connection.fetchval("SELECT now()")
        await put(pool, [one])
        (arrival,) = await take(connection, 10)
    assert arrival.event == one
    assert arrival.taken_at == began_at
    await pool.close()


async def test_a_batch_of_large_events_is_a_small_one(migrated_url: str) -> None:
    """Five hundred of a megabyte took gigabytes, and were tried again as they were when their connection broke off."""
    pool = await open_pool(migrated_url, size=2)
    sizes = [1_000_000] * 30 + [10] * 3
    await put(pool, [event(number, bytes(size)) for number, size in enumerate(sizes)])
    taken: list[list[int]] = []
    for _ in range(4):
        async with pool.acquire() as connection, connection.transaction():
            taken.append([len(arrival.event.body) for arrival in await take(connection, 500)])
    assert [len(batch) for batch in taken] == [17, 16, 0, 0]
    assert [size for batch in taken for size in batch] == sizes
    await pool.close()
