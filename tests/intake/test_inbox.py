"""The inbox leg where the database does not bear a whole batch."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

from gateway.core.event import ConnectionName, Event, EventId
from gateway.core.happening import Happening, Trouble
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


async def test_a_batch_that_is_cut_off_is_smaller_the_next_time(migrated_url: str) -> None:
    pool = await open_pool(migrated_url, size=2)
    at = datetime.now(UTC)
    events = [
        Event(id=EventId(f"e-{n}"), source=ConnectionName("shop"), type="t", order_key=str(n), time=at, body=b"{}")
        for n in range(9)
    ]
    await put(pool, events)
    decider, happened = Slow(), list[Happening]()
    reader = InboxReader(
        pool=pool,
        decider=cast(Decider, decider),
        decide_lock=asyncio.Lock(),
        batch_events=8,
        wake=asyncio.Event(),
        observe=happened.extend,
        reach=lambda _: None,
    )
    reading = asyncio.create_task(reader.run())
    async with asyncio.timeout(30):
        while await pool.fetchval("SELECT count(*) FROM inbox"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    reader.stop()
    await reading
    assert decider.sizes[:3] == [8, 4, 2]
    assert {type(one) for one in happened} == {Trouble}
    await pool.close()
