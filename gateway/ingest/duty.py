"""What the owner of a connection runs, and nobody else: poll, renew the token, read again, publish levels.

One `Duty` per connection and worker. It claims the ownership in the database, runs its loops while this worker has it,
and gives it back on an orderly stop. Two fences keep two workers from asking one platform at once: the claim, which
an adopter frees only after the owner's lease has run out, and `OwnersBudget`, which lets no request leave that might
outlive that lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Protocol

import asyncpg

from gateway.core.errors import Fenced, Unavailable
from gateway.core.event import ConnectionName
from gateway.core.happening import Observer, Trouble
from gateway.sdk.cancelled import is_ours
from gateway.sdk.pull import Budget
from gateway.store.pulls import claim_duty, release_duty
from gateway.store.sql import AWAY

_CLAIM_EVERY_S = 1.0
_AGAIN_S = 2.0
_LEASE_LOOK_S = 0.2


class Ownership:
    """Handed to every loop of an owner: who owns what, and when to stop."""

    def __init__(self, connection: ConnectionName, connection_id: int, worker_id: int) -> None:
        self.connection = connection
        self.connection_id = connection_id
        self.worker_id = worker_id
        self._stop = asyncio.Event()

    @property
    def stopping(self) -> bool:
        """A loop returns soon after this has become true; one that does not is cancelled."""
        return self._stop.is_set()

    async def rest(self, for_s: float) -> None:
        """Returns after `for_s`, or as soon as it is time to stop."""
        try:
            async with asyncio.timeout(for_s):
                await self._stop.wait()
        except TimeoutError:
            return

    def stop(self) -> None:
        self._stop.set()


class OwnerLoop(Protocol):
    """Something the owner of a connection does for as long as it is the owner.

    It writes only what is guarded by the duty row (`gateway.store.pulls`, Fenced otherwise) and asks the platform only
    after a turn of its `OwnersBudget`. Raising what says "the database is away" is allowed: it is started again.
    """

    async def run(self, owner: Ownership) -> None: ...


class Lease(Protocol):
    """The part of a worker's lease that is needed here."""

    def covers(self, deadline_s: float) -> bool: ...


class OwnersBudget:
    """A budget that gives no turn to a request which might still be under way after this worker's lease."""

    def __init__(self, budget: Budget, *, lease: Lease, deadline_s: float) -> None:
        self._budget = budget
        self._lease = lease
        self._deadline_s = deadline_s

    async def turn(self) -> None:
        await self._budget.turn()
        # Waiting may have taken long, and so may this process have slept.
        while not self._lease.covers(self._deadline_s):  # noqa: ASYNC110 (renewed elsewhere, on another clock)
            await asyncio.sleep(_LEASE_LOOK_S)

    def pause(self, for_s: float) -> None:
        self._budget.pause(for_s)


class Duty:
    """The ownership of one connection, wanted or had, in one worker."""

    def __init__(
        self,
        *,
        connection: ConnectionName,
        connection_id: int,
        worker_id: int,
        pool: asyncpg.Pool,
        loops: Sequence[tuple[str, OwnerLoop]],
        observe: Observer,
    ) -> None:
        self.connection = connection
        self._owner = Ownership(connection, connection_id, worker_id)
        self._pool = pool
        self._loops = loops
        self._observe = observe

    def stop(self) -> None:
        """Have `run` return as soon as what is under way is through."""
        self._owner.stop()

    async def run(self) -> None:
        """Until `stop` or cancelled. Raises Fenced when this worker has been replaced."""
        owner = self._owner
        await self._kept("claim", self._claim)
        if owner.stopping:
            return
        async with asyncio.TaskGroup() as group:
            for name, loop in self._loops:
                # Each by itself: a poller without a database must not cut off a renewal that is under way.
                run = partial(loop.run, owner)
                group.create_task(self._kept(name, run), name=f"{name} {self.connection}")
        try:
            await release_duty(self._pool, owner.connection_id, worker_id=owner.worker_id)
        except AWAY as error:
            # Whoever notices that this worker is gone frees it.
            self._observe([Trouble("duty", f"{self.connection}: not given back: {type(error).__name__}")])

    async def _claim(self) -> None:
        """Returns as the owner, or when it is time to stop."""
        owner = self._owner
        while not owner.stopping and not await claim_duty(self._pool, owner.connection_id, worker_id=owner.worker_id):
            await owner.rest(_CLAIM_EVERY_S)

    async def _kept(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """`run`, begun again after whatever failed until it returns; told once until something else fails."""
        told = ""
        while True:
            try:
                return await run()
            except Fenced:
                raise
            except (*AWAY, Unavailable) as error:
                what = f"PostgreSQL is away: {type(error).__name__}"
            except asyncio.CancelledError:
                if is_ours():
                    raise
                what = "failed with CancelledError"
            except Exception as error:  # a supervisor's: a defect in one shop's loop must not end the worker
                what = f"failed with {type(error).__name__}"
            if self._owner.stopping:
                return
            if what != told:
                told = what
                self._observe([Trouble("duty", f"{self.connection} {name}: {what}")])
            await self._owner.rest(_AGAIN_S)
