"""Writes ended attempts and the outcomes of deliveries in groups: one transaction for all that ended meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

import asyncpg
import msgspec

from gateway.core.errors import Unavailable
from gateway.core.happening import AttemptEnded, Observer, Trouble
from gateway.store.outbox import AttemptRow, Lane, Outcome, write_outcomes
from gateway.store.sql import AWAY


class Ended(msgspec.Struct, frozen=True, gc=False):
    """One ended attempt; `outcome` None when the delivery stays in memory and is tried again.

    `attempt` and `happening` None: nothing was attempted, the delivery only leaves memory.
    """

    attempt: AttemptRow | None
    happening: AttemptEnded | None
    outcome: Outcome | None
    free: Callable[[], None] | None = None
    """Called once the outcome is durable: gives the place in the gate's memory back."""


class OutcomeWriter:
    """Collects and flushes. What it holds is bounded by the gates' places, which are freed only behind a flush."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        worker_id: int,
        group_wait_s: float,
        advance: Callable[[dict[Lane, int]], None],
        uncertain: Callable[[], None],
        observe: Observer,
        reach: Callable[[str], None],
    ) -> None:
        self._pool = pool
        self._worker_id = worker_id
        self._group_wait_s = group_wait_s
        self._advance = advance
        self._uncertain = uncertain
        self._observe = observe
        self._reach = reach
        self._waiting: list[Ended] = []
        self._flushing: list[Ended] = []
        self._wake = asyncio.Event()
        self._stopping = False

    def add(self, ended: Ended) -> None:
        self._waiting.append(ended)
        self._wake.set()

    def lanes(self) -> Iterator[Lane]:
        """Lanes whose outcome is not durable yet."""
        for ended in (*self._waiting, *self._flushing):
            if ended.outcome is not None:
                yield ended.outcome.lane

    def attempted(self) -> Iterator[Lane]:
        """Lanes of which an attempt is not durable yet."""
        for ended in (*self._waiting, *self._flushing):
            if ended.attempt is not None:
                yield ended.attempt.order_id, ended.attempt.target_id

    def stop(self) -> None:
        """Flush what is waiting, then return from `run`."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        while not (self._stopping and not self._waiting):
            await self._wake.wait()
            if not self._stopping:
                await asyncio.sleep(self._group_wait_s)
            self._wake.clear()
            self._flushing, self._waiting = self._waiting, []
            if self._flushing:
                await self._flush(self._flushing)
                self._flushing = []

    async def _flush(self, group: Sequence[Ended]) -> None:
        """Write one group, however long the database is away; the outcome of a sent order is never dropped."""
        attempts = [ended.attempt for ended in group if ended.attempt is not None]
        outcomes = [ended.outcome for ended in group if ended.outcome is not None]
        self._reach("outcome.before_commit")
        while True:
            try:
                written = await write_outcomes(
                    self._pool, worker_id=self._worker_id, attempts=attempts, outcomes=outcomes
                )
                break
            except (*AWAY, Unavailable) as error:
                # The commit may have gone through: a lane that it moved on is then ours and in nobody's hands.
                self._uncertain()
                self._observe([Trouble("outcomes", f"PostgreSQL is away: {type(error).__name__}")])
                await asyncio.sleep(0.5)
            except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
                continue
        self._reach("outcome.after_commit")
        for ended in group:
            if ended.free is not None:
                ended.free()
        self._observe([ended.happening for ended in group if ended.happening is not None])
        if written.fenced:
            self._observe(
                [Trouble("fence", f"{len(written.fenced)} outcomes not written: their lanes are not ours any more")]
            )
        if written.advanced:
            self._advance(written.advanced)
