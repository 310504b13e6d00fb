"""The inbox leg of intake: claim, decide and delete in one transaction, woken by NOTIFY."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import asyncpg

from gateway.core.errors import Unavailable
from gateway.core.event import Arrival, Leg
from gateway.core.happening import Observer, Trouble
from gateway.intake.backpressure import give_way, nothing_waits
from gateway.intake.batch import COLLIDED, Decider, is_to_blame
from gateway.store.inbox import take
from gateway.store.sql import AWAY, Connection

_POLL_S = 1.0
"""How long an event waits at the most where its NOTIFY was lost (a reconnect)."""


class InboxReader:
    """Reads the inbox until stopped. `wake` is set by NOTIFY."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        decider: Decider,
        decide_lock: asyncio.Lock,
        batch_events: int,
        wake: asyncio.Event,
        observe: Observer,
        reach: Callable[[str], None],
        sends_waiting: Callable[[], int] = nothing_waits,
    ) -> None:
        self._pool = pool
        self._decider = decider
        self._lock = decide_lock
        self._batch_events = batch_events
        self._wake = wake
        self._observe = observe
        self._reach = reach
        self._sends_waiting = sends_waiting
        self._limit = batch_events
        self._stopping = False

    def stop(self) -> None:
        """Finish the batch under way, then return from `run`."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Until stopped. A batch cut off by a cancel is rolled back: its rows stay in the inbox."""
        while not self._stopping:
            self._wake.clear()
            try:
                while not self._stopping and await self._batch():
                    pass
            except AWAY as error:
                # Cut off for its length, perhaps: the same again would be so for ever.
                self._limit = max(1, self._limit // 2)
                self._observe([Trouble("inbox", f"PostgreSQL is away: {type(error).__name__}")])
                await asyncio.sleep(_POLL_S)
                continue
            except Unavailable as error:
                await asyncio.sleep(error.retry_after_s)
                continue
            try:
                async with asyncio.timeout(_POLL_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _batch(self) -> int:
        """Decide one batch; returns how many events it had. Halves the limit when the database refuses the rows."""
        async with self._lock:
            begun_at = time.monotonic()
            try:
                done = await self._decider.decide_in(self._transaction)
            except COLLIDED:
                return 1
            except Exception as error:
                if not is_to_blame(error):
                    raise
                if self._limit > 1:
                    self._limit //= 2
                    return 1
                return await self._set_aside_one()
            took_s = time.monotonic() - begun_at
        if done >= self._batch_events:
            await give_way(self._sends_waiting, above=self._batch_events // 2, at_most_s=took_s)
        self._limit = min(self._batch_events, self._limit * 2)
        return done

    async def _set_aside_one(self) -> int:
        """The oldest event alone is refused by the database: through the Kafka leg's way, which sets it aside."""
        async with self._pool.acquire() as connection, connection.transaction():
            arrivals = await take(connection, 1)
            await self._decider.decide(self._decider.prepare(arrivals), leg=Leg.INBOX)
        return len(arrivals)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[tuple[Connection, Sequence[Arrival]]]:
        async with self._pool.acquire() as connection:
            async with connection.transaction():
                arrivals = await take(connection, self._limit)
                yield connection, arrivals
                self._reach("inbox.before_commit")
            self._reach("inbox.after_commit")
