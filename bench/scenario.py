"""One scenario: orders wait in the topic, the gateway takes them through; then again at half of that rate for latency.

Nothing is reported before the books agree: every order exactly once at the sink, every lane closed, every offset
committed, and a ledger whose sum is the balance.
"""

from __future__ import annotations

import asyncio
import statistics
import time

import asyncpg
import msgspec

from bench import orders
from bench.machine import Machine, tree_peak_mb, wait_until
from bench.product import Product

START_WITHIN_S = 60.0
STALLED_AFTER_S = 30.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to run. `paced_s`: how long the half-load part takes; 0 leaves it out."""

    name: str
    workers: int
    latency_ms: float
    count: int
    in_flight: int
    paced_s: float


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """What a full-speed pass came to. `recorded_per_s` counts until the last outcome and offset were durable."""

    orders_per_s: float
    recorded_per_s: float
    cpu_s_per_1000: dict[str, float]
    peak_mb: float


class Paced(msgspec.Struct, frozen=True, kw_only=True):
    """Latency from the record's time stamp to the sink's answer, at `rate_per_s`."""

    rate_per_s: float
    p50_ms: float
    p99_ms: float


def run(machine: Machine, plan: Plan) -> tuple[Flow, Paced | None]:
    """Run one scenario. Raises AssertionError when the books do not agree."""
    name = machine.fresh_name()
    database_url = asyncio.run(machine.make_database(name))
    machine.make_topic(name)
    pieces = machine.fill(name, orders.messages(0, plan.count))
    machine.sink.reset(start=0, count=plan.count, latency_ms=plan.latency_ms)
    product = Product(
        machine.folder / name,
        database_url=database_url,
        bootstrap=machine.kafka.bootstrap,
        topic=name,
        group=name,
        target_url=machine.sink.url,
        in_flight=plan.in_flight,
        workers=plan.workers,
    )
    paced = None
    with product:
        flow = measure(machine, product, database_url, topic=name, count=plan.count)
        asyncio.run(verify(machine, database_url, topic=name, count=plan.count, pieces=pieces))
        if plan.paced_s:
            paced, count, more = _paced(machine, product, plan, topic=name, rate_per_s=flow.orders_per_s / 2)
            asyncio.run(verify(machine, database_url, topic=name, count=count, pieces=pieces + more))
    asyncio.run(machine.drop_database(name))
    return flow, paced


def measure(machine: Machine, product: Product, database_url: str, *, topic: str, count: int, before: int = 0) -> Flow:
    """One pass of `count` orders that the sink expects; the topic held `before` others."""
    sink = machine.sink
    wait_until(
        lambda: sink.books().distinct > 0, within_s=START_WITHIN_S, every_s=0.01, what=f"first order\n{product.tail()}"
    )
    cpu_s, arrived = machine.cpu_s(product.pid), sink.books().distinct
    await_arrival(machine, product, count)
    finished_ns = asyncio.run(_recorded(machine, database_url, topic=topic, count=before + count))
    after, books = machine.cpu_s(product.pid), sink.books()
    return Flow(
        orders_per_s=(count - 1) / (books.last_ns - books.first_ns) * 1e9,
        recorded_per_s=(count - 1) / (finished_ns - books.first_ns) * 1e9,
        cpu_s_per_1000={who: (after[who] - cpu_s[who]) / (count - arrived) * 1000 for who in after},
        peak_mb=tree_peak_mb(product.pid),
    )


def await_arrival(machine: Machine, product: Product, count: int) -> None:
    """Until `count` orders are at the sink. Raises TimeoutError when nothing has moved for a while."""
    seen, moved_at = -1, time.monotonic()
    while (distinct := machine.sink.books().distinct) < count:
        if distinct != seen:
            seen, moved_at = distinct, time.monotonic()
        elif time.monotonic() - moved_at > STALLED_AFTER_S:
            raise TimeoutError(f"{seen} of {count} orders arrived, then none\n{product.tail()}")
        time.sleep(0.05)


async def _recorded(machine: Machine, database_url: str, *, topic: str, count: int) -> int:
    """When (ns since the epoch) every outcome was in the database and every offset committed."""
    connection = await asyncpg.connect(database_url)
    try:
        async with asyncio.timeout(STALLED_AFTER_S):
            # Asked, not told: the gateway must not do anything for the sake of being measured.
            while await connection.fetchval("SELECT EXISTS (SELECT 1 FROM lane)"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await machine.await_committed(topic, topic, count, every_s=0.01)
    finally:
        await connection.close()
    return time.time_ns()


def _paced(machine: Machine, product: Product, plan: Plan, *, topic: str, rate_per_s: float) -> tuple[Paced, int, int]:
    """Produce at `rate_per_s`; the latencies, and how many orders and pieces the topic has now."""
    count = int(rate_per_s * plan.paced_s)
    prepared = list(orders.messages(plan.count, count))
    produced_ns = [0] * count
    machine.sink.reset(start=plan.count, count=count, latency_ms=plan.latency_ms)
    producer = machine.producer(linger_ms=2)
    started, sent = time.monotonic(), 0
    while sent < count:
        due = min(count, int((time.monotonic() - started) * rate_per_s))
        while sent < due:
            message = prepared[sent]
            produced_ns[sent] = time.time_ns()
            producer.produce(
                topic, message.body, message.key, headers=message.headers, timestamp=produced_ns[sent] // 1_000_000
            )
            sent += 1
        producer.poll(0.002)
    producer.flush(30)
    await_arrival(machine, product, count)
    answered_ns = machine.sink.times(machine.folder / "times")
    # The first second finds caches cold and is not the rate's fault.
    warm = int(min(rate_per_s, count / 4))
    taken_ms = sorted(
        (answered - made) / 1e6 for answered, made in zip(answered_ns[warm:], produced_ns[warm:], strict=True)
    )
    cuts = statistics.quantiles(taken_ms, n=100)
    paced = Paced(rate_per_s=rate_per_s, p50_ms=cuts[49], p99_ms=cuts[98])
    return paced, plan.count + count, sum(message.pieces for message in prepared)


async def verify(
    machine: Machine, database_url: str, *, topic: str, count: int, pieces: int, repeats: bool = False
) -> None:
    """Compare sink, database and topic; raises AssertionError with every difference.

    `repeats` allows what a worker that was killed had sent and not written down: sent again under the same id.
    """
    await _recorded(machine, database_url, topic=topic, count=count)
    books = machine.sink.books()
    connection = await asyncpg.connect(database_url)
    try:
        found = dict(await connection.fetchrow(_FOUND))
    finally:
        await connection.close()
    found |= {
        "twice at the sink": books.duplicates,
        "unknown to the sink": books.strangers,
        "offsets behind the end": await machine.ends(topic)
        - await machine.await_committed(topic, topic, count, every_s=0.01),
    }
    wanted = dict.fromkeys(found, 0) | {
        "orders": count, "events": count, "deliveries": count, "acknowledged": count, "attempts": count,
        "pieces committed": pieces,
    }  # fmt: skip
    if repeats:
        found |= {"twice at the sink": 0, "attempts": count}
    wrong = [f"{what}: {found[what]} instead of {wanted[what]}" for what in wanted if found[what] != wanted[what]]
    if wrong:
        raise AssertionError("; ".join(wrong))


_FOUND = """
SELECT (SELECT count(*) FROM orders) AS orders,
       (SELECT count(*) FROM event) AS events,
       (SELECT count(*) FROM delivery) AS deliveries,
       (SELECT count(*) FROM attempt) AS attempts,
       (SELECT count(DISTINCT (order_id, target_id, seq)) FROM attempt WHERE result = 1) AS acknowledged,
       (SELECT count(*) FROM lane) AS "lanes open",
       (SELECT count(*) FROM dead_letter) AS "dead letters",
       (SELECT coalesce(sum(committed), 0) FROM stock) AS "pieces committed",
       (SELECT count(*) FROM stock s LEFT JOIN
            (SELECT stock_id, sum(on_hand) AS on_hand, sum(locked) AS locked, sum(committed) AS committed
               FROM movement GROUP BY stock_id) m USING (stock_id)
         WHERE (s.on_hand, s.locked, s.committed) IS DISTINCT FROM (m.on_hand, m.locked, m.committed))
            AS "balances that are not their ledger's sum"
"""
