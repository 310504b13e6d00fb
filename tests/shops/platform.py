"""The platform of the bazaar: a real server whose orders, tokens and moods the tests set."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any, Self

import msgspec
from aiohttp import web


class Asked(msgspec.Struct, frozen=True):
    at: float
    path: str
    worker: str
    token: str
    body: dict[str, Any]


class Platform:
    def __init__(self, *, page_size: int = 3) -> None:
        self.orders: dict[str, dict[str, Any]] = {}
        self.created: Counter[str] = Counter()
        self.asked: list[Asked] = []
        self.tokens = {"t1"}
        self.refreshes: dict[str, str] = {}
        """Refresh token → the access token it gives."""
        self.token_lives_s = 3600.0
        self.answers: dict[str, list[dict[str, Any]]] = {}
        """Path → answers to give instead, one after the other."""
        self.hold: asyncio.Event | None = None
        self.overlaps: list[set[str]] = []
        """Sets of workers that asked for pages at the same time."""
        self._pulling: Counter[str] = Counter()
        self.page_size = page_size

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_post("/{name}", self._handle)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.hold is not None:
            self.hold.set()
        await self._runner.cleanup()

    def place(self, *numbers: str, modified: float | None = None) -> None:
        at = time.time() if modified is None else modified
        for number in numbers:
            self.orders[number] = {"no": number, "modified": at, "placed": at}

    def of(self, path: str) -> list[Asked]:
        return [one for one in self.asked if one.path == path]

    async def _handle(self, request: web.Request) -> web.Response:
        body, path, worker = await request.json(), request.path, request.headers["x-worker"]
        self.asked.append(Asked(time.monotonic(), path, worker, request.headers["x-token"], body))
        if path == "/pull":
            self._pulling[worker] += 1
            at_once = {name for name, count in self._pulling.items() if count}
            if len(at_once) > 1:
                self.overlaps.append(at_once)
        try:
            if self.hold is not None:
                await self.hold.wait()
            return web.json_response(self._answer(path, body, request.headers["x-token"]))
        finally:
            if path == "/pull":
                self._pulling[worker] -= 1

    def _answer(self, path: str, body: dict[str, Any], token: str) -> dict[str, Any]:
        if self.answers.get(path):
            return self.answers[path].pop(0)
        if path == "/refresh":
            access = self.refreshes.pop(body["refresh"], None)
            if access is None:
                return {"error": "token"}
            self.tokens = {access}
            return {"access": access, "refresh": f"{body['refresh']}+", "expires_at": time.time() + self.token_lives_s}
        if token not in self.tokens:
            return {"error": "token"}
        if path == "/pull":
            rows = sorted(
                (row for row in self.orders.values() if body["start"] <= row["modified"] <= body["end"]),
                key=lambda row: (row["modified"], row["no"]),
            )
            first = body["page"] * self.page_size
            more = len(rows) > first + self.page_size
            return {"rows": rows[first : first + self.page_size], "next": body["page"] + 1 if more else None}
        if path == "/create":
            self.created[body["no"]] += 1
        return {}
