"""The inbox as a queue: what is taken, and when it counts as taken."""

from __future__ import annotations

import asyncio
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


async def test_what_another_worker_is_at_is_neither_waited_for_nor_taken_twice(migrated_url: str) -> None:
    pool = await open_pool(migrated_url, size=3)
    await put(pool, [event(number) for number in range(4)])
    async with pool.acquire() as one, pool.acquire() as other, asyncio.timeout(10):
        async with one.transaction(), other.transaction():
            first, second = await take(one, 2), await take(other, 10)
    assert [arrival.event.order_key for arrival in (*first, *second)] == ["0", "1", "2", "3"]
    assert await pool.fetchval("SELECT count(*) FROM inbox") == 0
    await pool.close()


async def test_a_batch_is_in_the_sequence_in_which_its_events_came(migrated_url: str) -> None:
    """Not in that of the rows on the disk: the letter that an event waits behind came before it."""
    pool = await open_pool(migrated_url, size=1)
    await put(pool, [event(number) for number in range(4)])
    await pool.execute("UPDATE inbox SET traceparent = '' WHERE order_key = '0'")
    async with pool.acquire() as connection, connection.transaction():
        assert [arrival.event.order_key for arrival in await take(connection, 10)] == ["0", "1", "2", "3"]
    await pool.close()
