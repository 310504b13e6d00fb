"""Works on redrives, in every worker: whoever is there takes the next step, at the pace the redrive's own row keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg

from gateway.core.happening import Observer, Trouble
from gateway.store.redrive import step
from gateway.store.sql import AWAY, COLLIDED
from gateway.store.wanted import Gates

_LOOK_EVERY_S = 10.0
"""How often to look where none is known to run; a new one wakes all by a notice."""
_SOONEST_S = 0.02
_RETRY_S = 1.0


class RedriveLoop:
    """`wake` when a redrive was started."""

    def __init__(self, pool: asyncpg.Pool, *, gates: Gates, observe: Observer, reach: Callable[[str], None]) -> None:
        self._pool = pool
        self._gates = gates
        self._observe = observe
        self._reach = reach
        self.wake = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. A step that is cut off is rolled back."""
        while True:
            self.wake.clear()
            try:
                due_s = await step(self._pool, gates=self._gates, reach=self._reach)
            except (*AWAY, *COLLIDED) as error:
                self._observe([Trouble("redrive", f"a step failed, it is repeated: {type(error).__name__}")])
                due_s = _RETRY_S
            except asyncpg.PostgresError as error:
                self._observe([Trouble("redrive", f"a step failed: {type(error).__name__}")])
                due_s = _LOOK_EVERY_S
            wait_s = _LOOK_EVERY_S if due_s is None else min(max(due_s, _SOONEST_S), _LOOK_EVERY_S)
            try:
                async with asyncio.timeout(wait_s):
                    await self.wake.wait()
            except TimeoutError:
                continue
