"""One chaos run: a gateway, a fake WMS and a load, disturbed meanwhile, and the checker's verdict behind it.

By hand, with a PostgreSQL of its own: ``python -m tests.chaos.run --orders 3000 --rate 300 --workers 2 --kills 5``.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from gateway.embedded.postgres import EmbeddedPostgres
from gateway.testing.fakes import Faults
from tests.chaos.checker import Violation
from tests.chaos.gateway import SHOPS, Fake, Gateway, Wms
from tests.chaos.journal import Journal
from tests.chaos.load import Mix, Producer, stories
from tests.lifelines import postgres_with_us


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is run. `rate_per_s` are documents; `still_s` must be longer than the WMS's latest effect is late.

    `by`: what the load comes in by, `webhook`, `kafka` (straight to the topic) or `both`. Where `run` is given a broker
    the gateway uses it whatever the load does.
    """

    orders: int
    seed: int = 1
    rate_per_s: float | None = None
    mix: Mix = Mix()
    by: str = "webhook"
    topic: str = "ordergate.inbound"
    wms: Wms = "qimen"
    workers: int = 2
    faults: Faults | None = None
    gates: dict[str, Any] = {}
    sections: dict[str, dict[str, Any]] = {}
    settle_s: float = 2.0
    lease_s: float = 4.0
    still_s: float = 0.3
    within_s: float = 90.0
    must_settle: bool = True
    """False where the damage done may keep the gateway busy for good; then the accounts are compared all the same."""
    ships: bool = False
    """The WMS confirms what it took, through the gateway's own hook, and one of the shops is told."""


class Report(msgspec.Struct, kw_only=True):
    """What came of it, and how long the parts took."""

    violations: list[Violation] = []
    orders: int = 0
    acknowledged: int = 0
    refused: int = 0
    slowest_ack_s: float = 0.0
    told_s: float = 0.0
    drained_s: float = 0.0
    documents: int = 0
    doubled: int = 0
    requests: int = 0
    injected: dict[str, int] = {}
    notes: dict[str, Any] = {}

    def __str__(self) -> str:
        shown = msgspec.to_builtins(self)
        shown["violations"] = [str(violation) for violation in self.violations[:20]]
        return ", ".join(
            f"{key} {round(value, 2) if isinstance(value, float) else value}" for key, value in shown.items()
        )


class Scene(msgspec.Struct, frozen=True):
    """What a disturbance gets its hands on. `over` is set when the load has been told."""

    gateway: Gateway
    fake: Fake
    producer: Producer
    over: asyncio.Event
    report: Report

    async def at(self, share: float, orders: int) -> None:
        """Wait until this share of `orders` documents is acknowledged."""
        while self.producer.acknowledged < share * orders and not self.over.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


Disturb = Callable[[Scene], Awaitable[None]]


async def run(
    plan: Plan, folder: Path, *, database_url: str, kafka: str | None = None, disturb: Disturb | None = None
) -> Report:
    """Run `plan`, wait until nothing is left to do, and have the checker look at it."""
    async with stage(plan, folder, database_url=database_url, kafka=kafka) as scene:
        return await play(plan, scene, disturb)


@asynccontextmanager
async def stage(plan: Plan, folder: Path, *, database_url: str, kafka: str | None = None) -> AsyncIterator[Scene]:
    """Everything `plan` needs, started."""
    fake = Fake(plan.wms, folder)
    shop = Fake("webhook", folder, name="shop-a") if plan.ships else None
    gateway = Gateway(
        folder,
        database_url=database_url,
        fakes=[fake],
        kafka=kafka,
        topic=plan.topic,
        workers=plan.workers,
        shop=shop,
        gates=plan.gates,
        settle_s=plan.settle_s,
        lease_s=plan.lease_s,
        sections=plan.sections,
    )
    if plan.ships:
        fake.ship_through(f"{gateway.hooks_url}/{fake.name}")
    async with AsyncExitStack() as stack:
        journal = stack.enter_context(Journal(gateway.journal_path))
        await stack.enter_async_context(fake)
        if shop is not None:
            await stack.enter_async_context(shop)
        if plan.faults is not None:
            await fake.faults(plan.faults)
        await stack.enter_async_context(gateway)
        producer = gateway.producer(journal, webhooks=plan.by != "kafka", kafka=plan.by != "webhook")
        yield Scene(gateway, fake, producer, asyncio.Event(), Report())


async def play(plan: Plan, scene: Scene, disturb: Disturb | None = None) -> Report:
    """Tell the stories of `plan`, disturb meanwhile, and judge."""
    report, gateway, producer = scene.report, scene.gateway, scene.producer
    documents = stories(plan.orders, shops=SHOPS, seed=plan.seed, mix=plan.mix)
    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        if disturb is not None:
            group.create_task(_all(disturb(scene)), name="disturb")
        await producer.tell(documents, per_s=plan.rate_per_s)
        scene.over.set()
    report.told_s = time.monotonic() - started
    try:
        report.drained_s = await gateway.quiet(within_s=plan.within_s, still_s=plan.still_s)
    except TimeoutError:
        if plan.must_settle:
            raise
        report.notes["unsettled"] = True
    report.violations = await gateway.verdict()
    books = await scene.fake.books()
    report.orders = plan.orders
    report.acknowledged = producer.acknowledged
    report.refused = producer.refused
    report.slowest_ack_s = producer.slowest_s
    report.documents = sum(book.documents for book in books.orders.values())
    report.doubled = books.duplicates
    report.requests = books.requests
    report.injected = books.injected
    return report


async def _all(work: Awaitable[None]) -> None:
    await work


def kills(count: int, *, seed: int, documents: int) -> Disturb:
    """kill -9 of a worker at `count` random moments of the load."""
    rng = random.Random(seed)
    moments = sorted(rng.uniform(0.05, 0.95) for _ in range(count))

    async def disturb(scene: Scene) -> None:
        done = 0
        for moment in moments:
            await scene.at(moment, documents)
            while not scene.gateway.kill_worker(rng):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            done += 1
        scene.report.notes["kills"] = done

    return disturb


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.run", description=__doc__)
    parser.add_argument("--orders", type=int, default=2000)
    parser.add_argument("--rate", type=float, help="documents a second; as fast as they are taken when left out")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--wms", choices=["qimen", "webhook"], default="qimen")
    parser.add_argument("--by", choices=["webhook", "kafka", "both"], default="webhook")
    parser.add_argument("--kafka", help="bootstrap address of a broker")
    parser.add_argument("--database", help="URL of an empty database; a PostgreSQL of its own when left out")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--faults", default="{}", help="JSON with the fields of Faults")
    parser.add_argument("--ships", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    faults = msgspec.json.decode(args.faults, type=Faults)
    plan = Plan(
        orders=args.orders,
        seed=args.seed,
        rate_per_s=args.rate,
        by=args.by,
        wms=args.wms,
        workers=args.workers,
        faults=faults,
        ships=args.ships,
        still_s=0.5 + (faults.late_by_s if faults.commit_late_share else 0),
        within_s=300,
    )
    with tempfile.TemporaryDirectory(prefix="ordergate-chaos-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o711)
        disturb = kills(args.kills, seed=args.seed, documents=args.orders) if args.kills else None
        if args.database:
            report = asyncio.run(run(plan, folder, database_url=args.database, kafka=args.kafka, disturb=disturb))
        else:
            with postgres_with_us(folder) as server:
                url = asyncio.run(make_database(server, "chaos"))
                report = asyncio.run(run(plan, folder, database_url=url, kafka=args.kafka, disturb=disturb))
    print(report)
    return 1 if report.violations else 0


async def make_database(server: EmbeddedPostgres, name: str, *, template: str = "template0") -> str:
    """URL of a new database."""
    connection = await asyncpg.connect(server.url)
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    finally:
        await connection.close()
    return server.url_of(name)


if __name__ == "__main__":
    sys.exit(main())
