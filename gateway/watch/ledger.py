"""Checks all the time that each balance is the sum of its movements, by one worker, a small part of the time.

How is `gateway.store.ledger`'s. What it finds stands in the database, where notices and gauges are made of it.
"""

from __future__ import annotations

import asyncio
import time

import asyncpg

from gateway.core.happening import Observer, Trouble
from gateway.store.leading import OUST_EVERY_S, lead, leave, oust
from gateway.store.ledger import compare, read_due, set_due, sum_whole
from gateway.store.sql import AWAY, COLLIDED, Connection

_LOCK = 7_262_005
_EVERY_S = 15.0
_SHARE = 50
"""A check takes at most this part of the time."""
_WHOLE_EVERY_S = 3600.0
_WHOLE_SHARE = 200
"""The whole ledger is read at most this part of the time: 20 s of reading come once in 67 minutes."""


class LedgerWatch:
    """Checks while this worker holds the advisory lock; when the next check is due stands in the database, so that
    several workers check no more often than one, and a restart does not sum everything anew."""

    def __init__(self, pool: asyncpg.Pool, *, worker_id: int, observe: Observer, every_s: float = 5.0) -> None:
        self._pool = pool
        self._worker_id = worker_id
        self._observe = observe
        self._every_s = every_s

    async def run(self) -> None:
        """Until cancelled."""
        oust_at = 0.0
        while True:
            try:
                async with self._pool.acquire() as connection:
                    if await lead(connection, _LOCK, worker_id=self._worker_id):
                        try:
                            await self._check(connection)
                        finally:
                            # The lock is the session's, and the session goes on in the pool.
                            await leave(connection, _LOCK, worker_id=self._worker_id)
                    elif time.monotonic() >= oust_at:
                        oust_at = time.monotonic() + OUST_EVERY_S
                        await oust(connection, _LOCK)
            except COLLIDED:
                pass  # somebody has put a place right meanwhile
            except (*AWAY, asyncpg.PostgresError) as error:
                self._observe([Trouble("ledger", f"the ledger cannot be checked: {type(error).__name__}")])
            await asyncio.sleep(self._every_s)

    async def _check(self, connection: Connection) -> None:
        """What is due."""
        due = await read_due(connection)
        if not (due.check or due.whole):
            return
        started = time.monotonic()
        whole_s = None
        if due.whole:
            await sum_whole(connection)
            whole_s = max(_WHOLE_EVERY_S, _WHOLE_SHARE * (time.monotonic() - started))
            started = time.monotonic()
        await compare(connection)
        await set_due(connection, check_s=max(_EVERY_S, _SHARE * (time.monotonic() - started)), whole_s=whole_s)
