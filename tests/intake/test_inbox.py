"""The inbox leg where the database does not bear a whole batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import asyncpg

from gateway.core.event import ConnectionName, Event, EventId
from gateway.core.happening import Happening, Trouble
from gateway.intake.backpressure import nothing_waits
from gateway.intake.batch import Decider
from gateway.intake.inbox import InboxReader
from gateway.store.inbox import put
from gateway.store.sql import open_pool


class Slow:
    """Decides; a transaction with more than three events is cut off, as by a time limit of the server."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    async def decide_in(self, begin: Any) -> int:
        async with begin() as (_, arrivals):
            self.sizes.append(len(arrivals))
            if len(arrivals) > 3:
                raise TimeoutError
            return len(arrivals)


def reading(
    pool: asyncpg.Pool,
    decider: Slow,
    happened: list[Happening],
    *,
    batch_events: int = 8,
    sends_waiting: Callable[[], int] = nothing_waits,
) -> InboxReader:
    return InboxReader(
        pool=pool,
        decider=cast(Decider, decider),
        decide_lock=asyncio.Lock(),
        batch_events=batch_events,
        wake=asyncio.Event(),
        observe=happened.extend,
        reach=lambda _: None,
        sends_waiting=sends_waiting,
    )


def events(count: int) -> list[Event]:
    at, shop = datetime.now(UTC), ConnectionName("shop")
    return [
        Event(id=EventId(f"e-{n}"), source=shop, type="t", order_key=str(n), time=at, body=b"{}") for n in range(count)
    ]


async def test_a_batch_that_is_cut_off_is_smaller_the_next_time(migrated_url: str) -> None:
    pool = await open_pool(migrated_url, size=2)
    await put(pool, events(9))
    decider, happened = Slow(), list[Happening]()
    reader = reading(pool, decider, happened)
    async with asyncio.TaskGroup() as group:
        group.create_task(reader.run(), name="reader")
        await _until_empty(pool)
        reader.stop()
    assert decider.sizes[:3] == [8, 4, 2]
    assert {type(one) for one in happened} == {Trouble}
    await pool.close()


async def test_a_privilege_that_is_missing_is_waited_for(migrated_url: str) -> None:
    """Of a table that a migration has made for another user, say: it must not end the worker, and all else it does."""
    owner = await open_pool(migrated_url, size=2)
    user = f"gateway_{await owner.fetchval('SELECT current_database()')}"
    await owner.execute(f"CREATE ROLE {user}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}")
    await put(owner, events(3))
    happened = list[Happening]()
    try:
        async with asyncpg.create_pool(
            migrated_url, min_size=1, max_size=2, init=lambda c: c.execute(f"SET ROLE {user}")
        ) as pool:
            reader = reading(pool, Slow(), happened)
            async with asyncio.TaskGroup() as group:
                group.create_task(reader.run(), name="reader")
                async with asyncio.timeout(30):
                    while not happened:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
                await owner.execute(f"GRANT UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {user}")
                await _until_empty(owner)
                reader.stop()
    finally:
        await owner.execute(f"DROP OWNED BY {user}; DROP ROLE {user}")
        await owner.close()
    assert happened[0] == Trouble("inbox", "PostgreSQL is away: InsufficientPrivilegeError")


async def _until_empty(pool: asyncpg.Pool) -> None:
    async with asyncio.timeout(30):
        while await pool.fetchval("SELECT count(*) FROM inbox"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
