"""The budget of one connection in this worker: one pace for everything that asks its platform.

Gates, poller, renewal of the token and publishing of levels all take their turns here, so that together they keep the
platform's limit; each worker uses its part of it, so that all workers together do. Implements
`gateway.sdk.pull.Budget`.
"""

from __future__ import annotations

import asyncio
import enum
import math
from collections import deque
from collections.abc import Callable

from gateway.core.delivery import LONGEST_PATIENCE_S


class Urgency(enum.IntEnum):
    """Who goes first where several wait. `PULL` and `SEND` take turns: neither backlog starves the other."""

    UNDER_WAY = 0
    """A further request of something whose deadline runs."""
    PULL = 1
    SEND = 2
    LATER = 3
    """Only when nobody else waits."""


class ConnectionBudget:
    """Token bucket with a queue, for one event loop: `rate_per_s` on average, up to `burst` at once after a quiet time.

    `rate_per_s` None: only `pause` makes anyone wait. With 10 per second and a burst of 5, eight at once wait
    0, 0, 0, 0, 0, 0.1, 0.2 and 0.3 s. A worker that joins others waits `settle_s` before its first request, until they
    have noticed and use less.
    """

    def __init__(
        self, rate_per_s: float | None, burst: int = 1, *, clock: Callable[[], float], settle_s: float = 0.0
    ) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._clock = clock
        self._settle_s = settle_s
        self._workers: int | None = None
        self._every_s = 0.0
        self._burst_s = 0.0
        self._free_at = -math.inf  # when the next token is there
        self._queues: dict[Urgency, deque[asyncio.Future[None]]] = {urgency: deque() for urgency in Urgency}
        self._pull_next = True
        self._timer: asyncio.TimerHandle | None = None
        self._use(1)

    def share(self, workers: int) -> None:
        """Use this worker's part of the limit, which holds over all workers."""
        if workers == self._workers:
            return
        joins = self._workers is None and workers > 1
        self._workers = workers
        self._use(workers)
        if joins and self._rate_per_s is not None:
            self.pause(self._settle_s)
        self._serve()

    async def turn(self, urgency: Urgency = Urgency.SEND) -> None:
        """Returns when one more request may leave. Cancelling gives the turn back."""
        if self._ready_in() <= 0 and self._next() is None:
            self._take()
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues[urgency].append(place)
        self._serve()
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():
                self._free_at -= self._every_s
            self._serve()
            raise

    def pause(self, for_s: float) -> None:
        """Nobody gets a turn for so long, at most a day; what was saved up is gone. Zero and less: no pause."""
        if for_s > 0:
            self._free_at = max(self._free_at, self._clock() + min(for_s, LONGEST_PATIENCE_S))
            self._serve()

    def at(self, urgency: Urgency) -> Share:
        """This budget for somebody whose turns are all of one urgency."""
        return Share(self, urgency)

    def _use(self, workers: int) -> None:
        if self._rate_per_s is not None:
            self._every_s = workers / self._rate_per_s
            self._burst_s = self._every_s * (max(1, self._burst // workers) - 1)

    def _ready_in(self) -> float:
        return self._free_at - self._clock()

    def _take(self) -> None:
        if self._every_s:
            # Tokens that came in while nobody asked are kept up to the burst.
            self._free_at = max(self._free_at, self._clock() - self._burst_s) + self._every_s

    def _serve(self) -> None:
        """Give turns to those who wait, as many as there are; come back when there is another."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while (queue := self._next()) is not None:
            wait_s = self._ready_in()
            if wait_s > 0:
                # A timer may fire a little early.
                self._timer = asyncio.get_running_loop().call_later(wait_s + 0.001, self._serve)
                return
            if queue is self._queues[Urgency.PULL]:
                self._pull_next = False
            elif queue is self._queues[Urgency.SEND]:
                self._pull_next = True
            self._take()
            queue.popleft().set_result(None)

    def _next(self) -> deque[asyncio.Future[None]] | None:
        """The queue whose first one is next, cleared of those who have gone."""
        pull, send = Urgency.PULL, Urgency.SEND
        order = (pull, send) if self._pull_next else (send, pull)
        for urgency in (Urgency.UNDER_WAY, *order, Urgency.LATER):
            queue = self._queues[urgency]
            while queue and queue[0].done():
                queue.popleft()
            if queue:
                return queue
        return None


class Share:
    """A budget as one of its users sees it."""

    def __init__(self, budget: ConnectionBudget, urgency: Urgency) -> None:
        self._budget = budget
        self._urgency = urgency

    async def turn(self) -> None:
        await self._budget.turn(self._urgency)

    def pause(self, for_s: float) -> None:
        self._budget.pause(for_s)
