"""What waits in the database, read every few seconds by one worker and shown to whoever draws gauges."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import timedelta

import asyncpg
import msgspec

from gateway.core.happening import Observer, Trouble
from gateway.core.notice import Nearing
from gateway.store.leading import OUST_EVERY_S, lead, leave, oust
from gateway.store.queries import Backlog, read_backlog
from gateway.store.ship_by import LOOK_EVERY_S, near_ship_by
from gateway.store.sql import AWAY, Connection

_LOCK = 7_262_002
_SHARE = 20
"""Reading takes at most this part of the time: a million open lanes make the picture coarser, not the server busy."""


class BacklogWatch:
    """Reads while this worker holds the advisory lock; the others try again until its holder is gone."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        worker_id: int,
        show: Callable[[Backlog], None],
        observe: Observer,
        unknown: Callable[[], None] = lambda: None,
        every_s: float = 5.0,
        ship_by_lead: timedelta,
    ) -> None:
        """`unknown` is called when this worker stops reading: what it has shown last is then nobody's picture."""
        self._pool = pool
        self._worker_id = worker_id
        self._show = show
        self._unknown = unknown
        self._observe = observe
        self._every_s = every_s
        self._ship_by_lead = ship_by_lead

    async def run(self) -> None:
        """Until cancelled."""
        oust_at = 0.0
        while True:
            try:
                async with self._pool.acquire() as connection:
                    if await lead(connection, _LOCK, worker_id=self._worker_id):
                        await self._watch(connection)
                    elif time.monotonic() >= oust_at:
                        oust_at = time.monotonic() + OUST_EVERY_S
                        await oust(connection, _LOCK)
            except (*AWAY, asyncpg.PostgresError) as error:
                self._observe([Trouble("watch", f"the backlog cannot be read: {type(error).__name__}")])
            await asyncio.sleep(self._every_s)

    async def _watch(self, connection: Connection) -> None:
        """As the one who reads, until cancelled or the database is away."""
        nearing: Mapping[tuple[str, str], Nearing] = {}
        near_at = 0.0
        try:
            while True:
                started = time.monotonic()
                if started >= near_at:
                    nearing = await near_ship_by(connection, self._ship_by_lead)
                    near_at = started + LOOK_EVERY_S
                self._show(msgspec.structs.replace(await read_backlog(connection), nearing=nearing))
                await asyncio.sleep(max(self._every_s, _SHARE * (time.monotonic() - started)))
        finally:
            self._unknown()
            # The lock is the session's, and the session goes on in the pool.
            await leave(connection, _LOCK, worker_id=self._worker_id)
