"""The pages for load balancers: ``/healthz`` (the process answers) and ``/readyz`` (send it requests)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import asyncpg
import msgspec
from aiohttp import web

from gateway.core.errors import OrdergateError
from gateway.core.text import NOTHING, Text
from gateway.store.sql import AWAY, kind_of, pending_migrations
from gateway.telemetry.health import Part, Readiness, State, readiness

_ASK_WITHIN_S = 2.0


class Health:
    """`states` tells of the worker's own parts; the database is asked each time. `refused`: why the database did not
    take the last event, empty when it did."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        states: Callable[[], Mapping[Part, State]],
        refused: Callable[[], Text] = lambda: NOTHING,
    ) -> None:
        self._pool = pool
        self._states = states
        self._refused = refused

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/healthz", self.alive), web.get("/readyz", self.ready)]

    async def alive(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "alive", "product": "ordergate"})

    async def ready(self, _: web.Request) -> web.Response:
        """200 or 503, and in both cases everything that is not as it should be."""
        state, why = await self._database()
        answer: Readiness = readiness({**self._states(), Part.DATABASE: state}, {Part.DATABASE: why})
        reasons = [{"part": r.part, "state": r.state, "fatal": r.fatal, "zh": r.zh, "en": r.en} for r in answer.reasons]
        return web.Response(
            status=200 if answer.ready else 503,
            body=msgspec.json.encode({"ready": answer.ready, "reasons": reasons}),
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    async def _database(self) -> tuple[State, Text]:
        """How it stands, and where it is down, why."""
        try:
            async with asyncio.timeout(_ASK_WITHIN_S):
                async with self._pool.acquire() as connection:
                    if await connection.fetchval("SHOW transaction_read_only") == "on":
                        return State.READ_ONLY, NOTHING
                    if await pending_migrations(connection):
                        return State.OUTDATED, NOTHING
        except (*AWAY, asyncpg.PostgresError, OrdergateError) as error:
            return State.DOWN, kind_of(error)
        # It answers; that it takes something is another matter (a full disk).
        refused = self._refused()
        return (State.DOWN, refused) if refused else (State.UP, NOTHING)
