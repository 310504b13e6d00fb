"""Trials that are not about speed alone: a long backlog, a dead target, a full database, a killed worker,
a target with a knee.

Each returns lines for people and a dict for programs, and says which of the limits that the gateway promises it broke.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import msgspec

from bench import orders
from bench.machine import Machine, tree_now_mb, tree_peak_mb, wait_until
from bench.product import Product
from bench.scenario import START_WITHIN_S, await_arrival, measure, verify

SMALL = 10_000
"""Orders in the database that count as few."""

MEMORY_BELOW_MB = 300
"""Parent and worker together, however much waits."""
FLOWS_WITHIN_S = 5
STORED_AT_MOST = 1.3
"""Times what an order costs with few orders stored."""

BACKLOG_S = 60.0
DEAD_S = 20.0
_IDS_APART = 1_000_000_000

ADAPTIVE_IN_FLIGHT = 128


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How the target bears load; see the sink."""

    latency_ms: float = 0
    knee: int = 0
    growth: float = 1.0


AT_ONCE = Load()
TARGETS = {
    "queues above 16": Load(latency_ms=20, knee=16),
    "contends above 16": Load(latency_ms=20, knee=16, growth=1.5),
    "no knee, 100 ms": Load(latency_ms=100),
    "no knee, 0 ms": AT_ONCE,
}
"""What adaptive concurrency is tried on: where it should gain, and where it can only cost."""


class Trial(msgspec.Struct, frozen=True):
    """What one trial came to. `broken`: the limits it did not keep, with their figures."""

    name: str
    figures: dict[str, Any]
    broken: tuple[str, ...] = ()


def backlog(machine: Machine, *, events: int, in_flight: int) -> Trial:
    """Peak memory while `events` wait in the topic."""
    with _prepared(machine, count=events, in_flight=in_flight) as (product, _, _, _):
        wait_until(lambda: machine.sink.books().distinct > 0, within_s=START_WITHIN_S, every_s=0.1, what="first order")
        end = time.monotonic() + BACKLOG_S
        while time.monotonic() < end and machine.sink.books().distinct < events:
            time.sleep(0.5)
        through = machine.sink.books().distinct
        figures = {"events": events, "still_waiting": events - through, **_memory(product)}
    return Trial("backlog", figures, memory_broken(figures["peak_mb"]))


def dead_target(machine: Machine, *, events: int, in_flight: int) -> Trial:
    """Peak memory when nobody listens at the target: everything is taken in, stored, and waits in the database."""
    with _nobody() as url, _prepared(machine, count=events, in_flight=in_flight, target_url=url) as prepared:
        product, database_url, topic, _ = prepared
        started = time.monotonic()
        asyncio.run(_taken_in(machine, topic, events))
        taken_s = time.monotonic() - started
        time.sleep(DEAD_S)
        lanes = asyncio.run(_value(database_url, "SELECT count(*) FROM lane"))
        if lanes != events:
            raise AssertionError(f"{lanes} lanes of {events} are open")
        figures = {"events": events, "taken_in_s_with_start": round(taken_s, 1), **_memory(product)}
    return Trial("dead target", figures, memory_broken(figures["peak_mb"]))


def killed(machine: Machine, *, count: int, in_flight: int) -> Trial:
    """Seconds without a new order at the target after `kill -9` of the only worker, under load."""
    with _prepared(machine, count=count, in_flight=in_flight) as (product, database_url, topic, pieces):
        wait_until(
            lambda: machine.sink.books().distinct > count // 3, within_s=START_WITHIN_S, every_s=0.01, what="a third"
        )
        (worker,) = product.workers
        os.kill(worker, signal.SIGKILL)
        killed_ns = time.time_ns()
        await_arrival(machine, product, count)
        times = sorted(machine.sink.times(machine.folder / "times"))
        # What was on the wire at that moment still arrives.
        next_ns = next(at for at in times if at > killed_ns + 50_000_000)
        asyncio.run(verify(machine, database_url, topic=topic, count=count, pieces=pieces, repeats=True))
        flows_s = (next_ns - killed_ns) / 1e9
        figures = {"flows_again_s": round(flows_s, 2), "repeats": machine.sink.books().duplicates}
    return Trial("kill -9 of the worker", figures, flow_broken(flows_s))


def stored(machine: Machine, *, orders_stored: int, count: int, in_flight: int) -> Trial:
    """CPU per order, gateway and PostgreSQL, with 10,000 and with `orders_stored` orders in the database."""
    with _prepared(machine, count=SMALL, in_flight=in_flight) as (product, database_url, topic, _):
        await_arrival(machine, product, SMALL)
        costs = []
        for step, have in enumerate((SMALL + count, orders_stored)):
            if step:
                asyncio.run(_copy_orders(database_url, copies=have // (SMALL + count)))
            start = SMALL + step * count
            machine.sink.reset(start=start, count=count, latency_ms=0)
            machine.fill(topic, orders.messages(start, count))
            flow = measure(machine, product, database_url, topic=topic, count=count, before=start)
            costs.append(flow)
        cost = [flow.cpu_s_per_1000["gateway"] + flow.cpu_s_per_1000["postgres"] for flow in costs]
        total = asyncio.run(_value(database_url, "SELECT count(*) FROM orders"))
        size = asyncio.run(_value(database_url, "SELECT pg_database_size(current_database()) / 1048576"))
    figures = {
        "stored": [SMALL, total - count],
        "orders_per_s": [round(flow.orders_per_s) for flow in costs],
        "cpu_s_per_1000_with_postgres": [round(one, 4) for one in cost],
        "ratio": round(cost[1] / cost[0], 2),
        "database_mb": int(size),
    }
    return Trial("cost with many orders stored", figures, cost_broken(cost[1] / cost[0]))


def memory_broken(peak_mb: float) -> tuple[str, ...]:
    return () if peak_mb < MEMORY_BELOW_MB else (f"peak_mb {peak_mb:.1f} is not below {MEMORY_BELOW_MB}",)


def flow_broken(flows_again_s: float) -> tuple[str, ...]:
    return () if flows_again_s <= FLOWS_WITHIN_S else (f"flows_again_s {flows_again_s:.3f} is above {FLOWS_WITHIN_S}",)


def cost_broken(ratio: float) -> tuple[str, ...]:
    return () if ratio <= STORED_AT_MOST else (f"ratio {ratio:.4f} is above {STORED_AT_MOST}",)


def adaptive(machine: Machine, *, count: int) -> Iterator[Trial]:
    """Orders/s, and how long the target took for an order, with a fixed limit of 128 and with one that adapts."""
    for name, load in TARGETS.items():
        per_s: list[float] = []
        took_ms: list[int] = []
        for adapts in (False, True):
            with _prepared(machine, count=count, in_flight=ADAPTIVE_IN_FLIGHT, adaptive=adapts, load=load) as prepared:
                product, database_url, topic, pieces = prepared
                per_s.append(measure(machine, product, database_url, topic=topic, count=count).orders_per_s)
                asyncio.run(verify(machine, database_url, topic=topic, count=count, pieces=pieces))
                took_ms.append(asyncio.run(_value(database_url, _P99_MS)))
        figures = {
            "orders_per_s": [round(one) for one in per_s],
            "ratio": round(per_s[1] / per_s[0], 2),
            "attempt_p99_ms": took_ms,
        }
        yield Trial(f"adaptive, {name}", figures)


_P99_MS = "SELECT percentile_disc(0.99) WITHIN GROUP (ORDER BY took_ms) FROM attempt"


@contextmanager
def _prepared(
    machine: Machine,
    *,
    count: int,
    in_flight: int,
    target_url: str | None = None,
    adaptive: bool = False,
    load: Load = AT_ONCE,
) -> Iterator[tuple[Product, str, str, int]]:
    """A running gateway on a topic that holds `count` orders: (product, database URL, topic and group, pieces)."""
    name = machine.fresh_name()
    database_url = asyncio.run(machine.make_database(name))
    machine.make_topic(name)
    pieces = machine.fill(name, orders.messages(0, count))
    machine.sink.reset(start=0, count=count, latency_ms=load.latency_ms, knee=load.knee, growth=load.growth)
    product = Product(
        machine.folder / name,
        database_url=database_url,
        bootstrap=machine.kafka.bootstrap,
        topic=name,
        group=name,
        target_url=target_url or machine.sink.url,
        in_flight=in_flight,
        adaptive=adaptive,
    )
    with product:
        yield product, database_url, name, pieces
    asyncio.run(machine.drop_database(name))


def _memory(product: Product) -> dict[str, float]:
    (worker,) = product.workers
    return {
        "peak_mb": round(tree_peak_mb(product.pid), 1),
        "worker_peak_mb": round(tree_peak_mb(worker), 1),
        "now_mb": round(tree_now_mb(product.pid), 1),
    }


@contextmanager
def _nobody() -> Iterator[str]:
    """URL of a port that is taken but not listened on: connections are refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/orders"


async def _taken_in(machine: Machine, topic: str, events: int) -> None:
    async with asyncio.timeout(60 + events / 200):
        await machine.await_committed(topic, topic, events, every_s=0.2)


async def _value(database_url: str, query: str) -> Any:
    connection = await asyncpg.connect(database_url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def _copy_orders(database_url: str, *, copies: int) -> None:
    """Multiply every order with all that belongs to it, under new numbers, and put the stock right."""
    connection = await asyncpg.connect(database_url, command_timeout=3600)
    try:
        for table, columns in _COPIED.items():
            others = [
                row[0]
                for row in await connection.fetch(
                    "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public'"
                    " AND table_name = $1 AND NOT column_name = ANY($2) ORDER BY ordinal_position",
                    table,
                    list(columns),
                )
            ]
            names = ", ".join([*columns, *others])
            values = ", ".join([*columns.values(), *(f"t.{name}" for name in others)])
            condition = "" if table == "orders" else " WHERE t.order_id IS NOT NULL"
            await connection.execute(
                f"INSERT INTO {table} ({names}) SELECT {values}"
                f" FROM generate_series(1, {copies - 1}) AS copy CROSS JOIN {table} t{condition}"
            )
        await connection.execute(
            "UPDATE stock s SET on_hand = m.on_hand, locked = m.locked, committed = m.committed FROM (SELECT stock_id,"
            " sum(on_hand) AS on_hand, sum(locked) AS locked, sum(committed) AS committed FROM movement"
            " GROUP BY stock_id) m WHERE m.stock_id = s.stock_id"
        )
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


_ORDER_ID = f"t.order_id + copy::bigint * {_IDS_APART}"
_COPIED = {
    "orders": {"order_id": _ORDER_ID, "number": "'C' || copy || '-' || t.number"},
    "event": {"order_id": _ORDER_ID},
    "movement": {"order_id": _ORDER_ID},
    "delivery": {"order_id": _ORDER_ID},
    "attempt": {"order_id": _ORDER_ID},
}
