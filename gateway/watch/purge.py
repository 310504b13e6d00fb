"""Removes by age what need not be kept, at night, by one worker, a small part of the time.

What goes and what stays is `gateway.store.purge`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import asyncpg
import msgspec

from gateway.core.happening import Observer, Purged, Trouble
from gateway.store.purge import LOCK, WINDOW, Ages, Step, purge_closed, purge_orders, summarize_movements
from gateway.store.sql import AWAY, Connection, unlock

_BEIJING = timezone(timedelta(hours=8))
_SHOWN = 20
_SHARE = 5
"""Purging takes one part of so many of the time."""
_LEAST_WINDOW = 50


class Hours(msgspec.Struct, frozen=True):
    """A part of the day in Beijing, in minutes since midnight; it may go over midnight."""

    start_min: int
    end_min: int

    def contain(self, now: datetime) -> bool:
        local = now.astimezone(_BEIJING)
        minute = local.hour * 60 + local.minute
        if self.start_min <= self.end_min:
            return self.start_min <= minute < self.end_min
        return minute >= self.start_min or minute < self.end_min


class PurgeWatch:
    """Purges within `hours` while this worker holds the advisory lock, until nothing is left for that night."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        ages: Callable[[datetime], Ages],
        hours: Hours,
        observe: Observer,
        now: Callable[[], datetime],
        every_s: float = 60.0,
    ) -> None:
        self._pool = pool
        self._ages = ages
        self._hours = hours
        self._observe = observe
        self._now = now
        self._every_s = every_s

    async def run(self) -> None:
        """Until cancelled."""
        through = False
        while True:
            if not self._hours.contain(self._now()):
                through = False
            elif not through:
                try:
                    async with self._pool.acquire() as connection:
                        through = await self._purge(connection)
                except (*AWAY, asyncpg.PostgresError) as error:
                    self._observe([Trouble("retention", f"nothing was purged: {type(error).__name__}")])
            await asyncio.sleep(self._every_s)

    async def _purge(self, connection: Connection) -> bool:
        """Whether there is nothing left; False when another worker is at it, or the hours are over."""
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
            return False
        try:
            return await purge_all(
                connection,
                ages=self._ages,
                now=self._now,
                told=self._told,
                unopened=self._unopened,
                go_on=lambda: self._hours.contain(self._now()),
                share=_SHARE,
            )
        finally:
            await unlock(connection, LOCK)

    def _told(self, rows: Mapping[str, int]) -> None:
        self._observe([Purged(table, count) for table, count in rows.items()])

    def _unopened(self, numbers: Sequence[str]) -> None:
        more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
        listed = ", ".join(numbers[:_SHOWN]) + more
        what = f"orders that keep their buyer, as they cannot be opened (a key is missing): {listed}"
        self._observe([Trouble("retention", what)])


async def purge_all(
    connection: Connection,
    *,
    ages: Callable[[datetime], Ages],
    now: Callable[[], datetime],
    told: Callable[[Mapping[str, int]], None],
    unopened: Callable[[Sequence[str]], None] = lambda _: None,
    go_on: Callable[[], bool] = lambda: True,
    share: int = 1,
) -> bool:
    """Purge step by step until nothing is left (True) or `go_on` says no; `told` hears what each step removed,
    `unopened` the numbers of orders that could not be reduced.

    A step that takes too long is tried again with fewer orders. Raises what the database raises otherwise.
    """
    moved = 0

    async def step(work: Callable[..., Awaitable[Step]], **arguments: Any) -> bool:
        nonlocal moved
        started = time.monotonic()
        done = await work(connection, ages(now()), **arguments)
        moved += done.rows.get("movement", 0)
        if done.rows:
            told(done.rows)
        if done.unopened:
            unopened(done.unopened)
        await asyncio.sleep((share - 1) * (time.monotonic() - started))
        return done.more

    window = WINDOW
    for work, arguments in ((purge_closed, {}), (purge_orders, {"now": now()})):
        more = True
        while more:
            if not go_on():
                return False
            size = {"window" if work is purge_orders else "limit": window}
            try:
                more = await step(work, **arguments, **size)
            except (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError):
                if window <= _LEAST_WINDOW:
                    raise
                window //= 2
    await summarize_movements(connection, anew=moved > 0)
    return True
