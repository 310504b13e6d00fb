"""Runs what the gateway is compared with, against the same sink."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import msgspec

from bench import orders
from bench.machine import Machine
from bench.scenario import Plan, verify
from tests.lifelines import end_with_us

NAIVE_S = 10.0


class Bound(msgspec.Struct, frozen=True):
    """What one of them reached, by the sink's clock."""

    orders_per_s: float
    cpu_s_per_1000: float
    peak_mb: float


class Baselines:
    """One measurement per kind, latency and in-flight limit; `limit` is taken before and after the gateway's."""

    def __init__(self, machine: Machine, *, straight: bool = False) -> None:
        self._machine = machine
        self._with_straight = straight

    def before(self, plan: Plan) -> dict[str, Bound]:
        bounds = {kind: self._bare(kind, plan) for kind in ("limit", "aiohttp")}
        bounds["naive"] = self._naive(plan)
        if self._with_straight:
            bounds["straight"] = self._straight(plan)
        return bounds

    def after(self, plan: Plan, bounds: dict[str, Bound]) -> dict[str, Bound]:
        """`bounds` with `limit` as the mean of both sides, since a machine's speed drifts."""
        first, second = bounds["limit"], self._bare("limit", plan)
        mean = Bound(
            (first.orders_per_s + second.orders_per_s) / 2,
            (first.cpu_s_per_1000 + second.cpu_s_per_1000) / 2,
            max(first.peak_mb, second.peak_mb),
        )
        return bounds | {"limit": mean}

    def _bare(self, kind: str, plan: Plan) -> Bound:
        self._machine.sink.reset(start=0, count=plan.count, latency_ms=plan.latency_ms)
        said = self._client("clients", kind, "--count", str(plan.count), "--in-flight", str(plan.in_flight))
        return self._bound(said, plan.count)

    def _naive(self, plan: Plan) -> Bound:
        topic, _ = self._filled_topic(plan)
        said = self._client(
            "clients", "naive", "--count", str(plan.count), "--seconds", str(NAIVE_S),
            "--bootstrap", self._machine.kafka.bootstrap, "--topic", topic, "--group", topic,
        )  # fmt: skip
        return self._bound(said, said["orders"])

    def _straight(self, plan: Plan) -> Bound:
        topic, pieces = self._filled_topic(plan)
        database_url = asyncio.run(self._machine.make_database(topic))
        said = self._client(
            "straight", "--count", str(plan.count), "--in-flight", str(plan.in_flight),
            "--database-url", database_url, "--bootstrap", self._machine.kafka.bootstrap,
            "--topic", topic, "--group", topic,
        )  # fmt: skip
        asyncio.run(verify(self._machine, database_url, topic=topic, count=plan.count, pieces=pieces))
        asyncio.run(self._machine.drop_database(topic))
        return self._bound(said, plan.count)

    def _filled_topic(self, plan: Plan) -> tuple[str, int]:
        """Its name, which a group or a database may have as well, and the pieces of stock its orders take."""
        topic = self._machine.fresh_name()
        self._machine.make_topic(topic)
        pieces = self._machine.fill(topic, orders.messages(0, plan.count))
        self._machine.sink.reset(start=0, count=plan.count, latency_ms=plan.latency_ms)
        return topic, pieces

    def _client(self, module: str, *arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", f"bench.{module}", *arguments, "--url", self._machine.sink.url],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=600,
            preexec_fn=end_with_us,
        )
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return said

    def _bound(self, said: dict[str, Any], count: int) -> Bound:
        books = self._machine.sink.books()
        if books.distinct != count or books.duplicates:
            raise AssertionError(f"{books.distinct} of {count} orders at the sink, {books.duplicates} twice")
        per_s = (count - 1) / (books.last_ns - books.first_ns) * 1e9
        return Bound(per_s, said["cpu_s_per_1000"], said["peak_mb"])
