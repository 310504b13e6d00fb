"""The long set, against a real Apache Kafka and a PostgreSQL: what the in-memory cluster cannot show. With figures."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import pytest

from gateway.embedded.postgres import EmbeddedPostgres
from gateway.settings.sections import Kafka
from gateway.testing.fakes import Faults
from tests.chaos.gateway import SHOPS, Gateway, read_topic, shares_of, until
from tests.chaos.load import PLAIN, Mix, stories
from tests.chaos.run import Plan, Report, Scene, kills, make_database, run, stage
from tests.chaos.test_faults import isolation, of_isolation
from tests.real.broker import KafkaBroker

pytestmark = pytest.mark.real

Show = Callable[[Report], None]


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """A topic, and with it a group, of the test's own on the shared broker."""
    return f"orders-{request.node.name[5:60]}"


@pytest.fixture
def own_kafka(server_folder: Path) -> Iterator[KafkaBroker]:
    with KafkaBroker(server_folder / "kafka") as broker:
        yield broker


def held_to(report: Report) -> None:
    assert report.violations == []
    assert report.doubled == 0


@pytest.mark.feature("F2")
async def test_five_kills_of_a_worker(kafka: Any, topic: str, postgres_url: str, folder: Path, show: Show) -> None:
    seed = random.randrange(10**6)
    plan = Plan(orders=2500, seed=seed, rate_per_s=150, by="both", topic=topic, workers=2, ships=True)
    disturb = kills(5, seed=seed, documents=plan.orders)
    report = await run(plan, folder, database_url=postgres_url, kafka=kafka.bootstrap, disturb=disturb)
    report.notes["seed"] = seed
    show(report)
    held_to(report)
    assert report.notes["kills"] == 5


async def test_orders_flow_again_within_five_seconds_of_a_kill(
    kafka: Any, topic: str, postgres_url: str, folder: Path, show: Show
) -> None:
    """One worker, all through Kafka: it comes back as the same member, so nobody waits for its session to end."""
    plan = Plan(orders=1500, seed=21, rate_per_s=100, by="kafka", topic=topic, workers=1, mix=PLAIN)

    async def disturb(scene: Scene) -> None:
        await scene.at(0.5, plan.orders)
        scene.gateway.kill_worker(random.Random(1))
        killed_at = time.monotonic()
        [[before]] = await scene.gateway.fetch("SELECT count(*) FROM attempt")
        while (await scene.gateway.fetch("SELECT count(*) FROM attempt"))[0][0] <= before + 5:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        scene.report.notes["flowing_again_s"] = round(time.monotonic() - killed_at, 2)

    report = await run(plan, folder, database_url=postgres_url, kafka=kafka.bootstrap, disturb=disturb)
    show(report)
    held_to(report)
    assert report.notes["flowing_again_s"] <= 5


async def test_orders_flow_again_within_five_seconds_of_the_start_after_everything_was_killed(
    kafka: Any, topic: str, postgres_url: str, folder: Path, show: Show
) -> None:
    """As when a container is out of memory: the same members come back, and take over what the dead ones held."""
    plan = Plan(orders=1500, seed=27, rate_per_s=100, by="kafka", topic=topic, workers=2, mix=PLAIN, lease_s=15)

    async def disturb(scene: Scene) -> None:
        await scene.fake.faults(Faults(latency_ms=200))
        await scene.at(0.5, plan.orders)
        scene.gateway.kill()
        killed_at = time.monotonic()
        [[before]] = await scene.gateway.fetch("SELECT count(*) FROM attempt")
        [[theirs]] = await scene.gateway.fetch("SELECT count(*) FROM lane WHERE worker_id IS NOT NULL")
        await scene.gateway.start()
        while (await scene.gateway.fetch("SELECT count(*) FROM attempt"))[0][0] <= before + 5:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        scene.report.notes["flowing_again_s"] = round(time.monotonic() - killed_at, 2)
        scene.report.notes["held_by_the_dead"] = theirs
        # Each row is one that renews: none is left to wait for.
        assert await scene.gateway.fetch("SELECT count(*) FROM worker") == [(2,)]

    report = await run(plan, folder, database_url=postgres_url, kafka=kafka.bootstrap, disturb=disturb)
    show(report)
    held_to(report)
    assert report.notes["held_by_the_dead"] > 0
    assert report.notes["flowing_again_s"] <= 5


async def test_a_worker_stopped_for_twenty_seconds(
    kafka: Any, topic: str, postgres_url: str, folder: Path, show: Show
) -> None:
    """SIGSTOP past lease and session: another worker adopts its lanes; what it does when it wakes changes nothing."""
    plan = Plan(orders=3000, seed=22, rate_per_s=100, by="both", topic=topic, workers=2, lease_s=6, within_s=120)

    async def disturb(scene: Scene) -> None:
        await scene.fake.faults(Faults(latency_ms=50, jitter_ms=100))
        await scene.at(0.2, plan.orders)
        pid = scene.gateway.worker_pids()[0]
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(20)
        os.kill(pid, signal.SIGCONT)
        scene.report.notes["adopted"] = scene.gateway.log.read_text().count("lanes adopted")

    report = await run(plan, folder, database_url=postgres_url, kafka=kafka.bootstrap, disturb=disturb)
    show(report)
    held_to(report)
    assert report.notes["adopted"] >= 1


@pytest.mark.feature("F2")
async def test_kill_9_of_postgresql(kafka: Any, topic: str, folder: Path, show: Show) -> None:
    server = EmbeddedPostgres(folder / "postgres")
    await server.start()
    plan = Plan(orders=2000, seed=23, rate_per_s=150, by="both", topic=topic, workers=2)

    async def disturb(scene: Scene) -> None:
        pids = [server.pid]
        for moment in (0.3, 0.7):
            await scene.at(moment, plan.orders)
            assert not scene.over.is_set(), "under load"
            os.kill(pids[-1], signal.SIGKILL)
            await asyncio.sleep(2)
            assert not psutil.pid_exists(pids[-1]) or psutil.Process(pids[-1]).status() == psutil.STATUS_ZOMBIE
            await server.start()
            pids.append(server.pid)
        scene.report.notes["pids"] = pids

    try:
        url = await make_database(server, "killed")
        report = await run(plan, folder, database_url=url, kafka=kafka.bootstrap, disturb=disturb)
    finally:
        await server.stop()
    show(report)
    held_to(report)
    assert len(set(report.notes["pids"])) == 3
    recovered = (folder / "postgres" / "log" / "server.log").read_text().count("automatic recovery in progress")
    assert recovered == 2


async def test_kafka_stopped_for_thirty_seconds_and_killed(
    own_kafka: KafkaBroker, postgres_url: str, folder: Path, show: Show
) -> None:
    """Webhooks go on: the inbox takes over. What stands on the topic is decided once the broker is back."""
    plan = Plan(orders=4000, seed=24, rate_per_s=100, workers=2, within_s=120)

    async def disturb(scene: Scene) -> None:
        await scene.at(0.15, plan.orders)
        own_kafka.pause()
        before = scene.producer.acknowledged
        await asyncio.sleep(30)
        scene.report.notes["acknowledged_meanwhile"] = scene.producer.acknowledged - before
        own_kafka.kill()
        await asyncio.sleep(2)
        await asyncio.to_thread(own_kafka.start)

    report = await run(plan, folder, database_url=postgres_url, kafka=own_kafka.bootstrap, disturb=disturb)
    show(report)
    held_to(report)
    assert report.notes["acknowledged_meanwhile"] > 1000
    assert report.slowest_ack_s < 10


@pytest.mark.feature("F2")
async def test_the_inbox_takes_over_once_kafka_has_not_acknowledged_for_two_seconds(
    own_kafka: KafkaBroker, postgres_url: str, folder: Path, show: Show
) -> None:
    """With the setting left alone, and one order after the other: the first behind the stop waits for Kafka for so long
    and is taken by the inbox; those behind it wait no more, save one in five seconds that asks Kafka again.
    """
    within_s = Kafka(bootstrap=own_kafka.bootstrap).acknowledge_within_s
    assert within_s == 2
    plan = Plan(orders=300, mix=PLAIN, workers=1, sections={"kafka": {"acknowledge_within_s": within_s}})
    async with stage(plan, folder, database_url=postgres_url, kafka=own_kafka.bootstrap) as scene:
        documents = iter(stories(plan.orders, shops=SHOPS, seed=plan.seed, mix=plan.mix))

        async def legs() -> tuple[int, int]:
            return await scene.gateway.accepted("kafka"), await scene.gateway.accepted("inbox")

        async def tell(orders: int) -> list[float]:
            """How long each took to be acknowledged (s)."""
            took_s = []
            for document in islice(documents, orders):
                began = time.monotonic()
                assert await scene.producer.tell([document]) == 1
                took_s.append(time.monotonic() - began)
            return took_s

        async def by_kafka() -> bool:
            (before, _), _, (after, _) = await legs(), await tell(1), await legs()
            return after > before

        await until(by_kafka, within_s=30, what="Kafka to take events", log=scene.gateway.log)
        (by_kafka_before, by_inbox_before), healthy_s = await legs(), await tell(20)
        assert await legs() == (by_kafka_before + 20, by_inbox_before)

        own_kafka.pause()
        [first_s] = await tell(1)
        assert await legs() == (by_kafka_before + 20, by_inbox_before + 1)
        assert within_s <= first_s < 2 * within_s + max(healthy_s)
        began = time.monotonic()
        next_s = await tell(20)
        asked_again = [took_s for took_s in next_s if took_s >= within_s]
        assert len(asked_again) <= (time.monotonic() - began) / 5
        assert await legs() == (by_kafka_before + 20, by_inbox_before + 21)

        own_kafka.resume()
        await until(by_kafka, within_s=60, what="Kafka to be asked again", log=scene.gateway.log)
        await scene.gateway.quiet(within_s=60)
        assert await scene.gateway.verdict() == []
    scene.report.notes |= {
        "healthy_s": round(max(healthy_s), 3),
        "first_s": round(first_s, 3),
        "next_s": round(statistics.median(next_s), 3),
    }
    show(scene.report)


@pytest.mark.feature("F15")
async def test_rebalances_from_one_worker_to_three_and_back(
    kafka: Any, topic: str, postgres_url: str, folder: Path, show: Show
) -> None:
    """At each step the partitions have moved while orders come, and whoever got some has decided of what is on them."""
    plan = Plan(orders=3000, seed=25, rate_per_s=100, by="both", topic=topic, workers=1, within_s=120)

    async def held_by(workers: int, scene: Scene) -> list[int]:
        """The partitions of each worker, once there are so many workers and each has some."""

        shares: list[int] = []
        async with asyncio.timeout(60):
            while len(shares) != workers or min(shares) == 0:
                await asyncio.sleep(0.5)
                shares = await shares_of(kafka.bootstrap, topic)
        assert not scene.over.is_set(), "under load"
        return shares

    async def disturb(scene: Scene) -> None:
        await scene.at(0.1, plan.orders)
        notes = scene.report.notes
        notes["shares"] = [await held_by(1, scene)]
        more_folder = folder / "more"
        more_folder.mkdir()
        more = Gateway(
            more_folder,
            database_url=postgres_url,
            fakes=[scene.fake],
            kafka=kafka.bootstrap,
            topic=topic,
            workers=2,
        )
        await more.start()
        try:
            notes["shares"].append(await held_by(3, scene))
            await scene.at(0.6, plan.orders)
            notes["stopped_in_s"] = round(await more.stop(), 2)
        finally:
            more.kill()
        notes["shares"].append(await held_by(1, scene))
        notes["decided_by_more"] = more.log.read_text().count('"order_decided"')

    report = await run(plan, folder, database_url=postgres_url, kafka=kafka.bootstrap, disturb=disturb)
    show(report)
    held_to(report)
    assert report.notes["shares"] == [[8], [2, 3, 3], [8]]
    assert report.notes["decided_by_more"] > 0


@pytest.mark.feature("F65")
async def test_a_wms_that_throttles(kafka: Any, topic: str, postgres_url: str, folder: Path, show: Show) -> None:
    """A storm of 429: it asks for patience, and gets it."""
    faults = Faults(throttle_per_s=60, retry_after="1")
    plan = Plan(orders=1000, seed=26, rate_per_s=200, by="both", topic=topic, faults=faults, within_s=240)
    report = await run(plan, folder, database_url=postgres_url, kafka=kafka.bootstrap)
    show(report)
    held_to(report)
    # A storm at first, and one refusal each time a worker tries whether more goes through. No configuration names a
    # rate: with patience alone ten requests are refused for each order (8,765 of 9,739), and all takes five times as
    # long.
    assert 50 < report.injected["throttled"] < report.documents / 2


_MEANWHILE = """
SELECT count(*) FILTER (WHERE result IN (1, 6)), count(*) FILTER (WHERE result NOT IN (1, 6, 10)),
       array_agg(DISTINCT coalesce(code, '')) FILTER (WHERE result <> 10), count(*) FILTER (WHERE result = 10)
  FROM attempt
 WHERE ended_at BETWEEN $1::timestamptz + interval '1 second' AND $1::timestamptz + interval '29 seconds'
"""


@pytest.mark.feature("F69")
async def test_a_wms_that_is_down_for_thirty_seconds(
    kafka: Any, topic: str, postgres_url: str, folder: Path, show: Show
) -> None:
    plan = Plan(orders=3000, seed=27, rate_per_s=100, by="both", topic=topic, within_s=240)

    async def disturb(scene: Scene) -> None:
        await scene.at(0.2, plan.orders)
        before = scene.producer.acknowledged
        await scene.fake.faults(down_s=30)
        [[since]] = await scene.gateway.fetch("SELECT now()")
        await asyncio.sleep(29)
        [[done, failed, codes, withdrawn]] = await scene.gateway.fetch(_MEANWHILE, since)
        scene.report.notes |= {"done_meanwhile": done, "failed_meanwhile": failed, "codes": codes}
        scene.report.notes["withdrawn"] = withdrawn
        scene.report.notes["acknowledged_meanwhile"] = scene.producer.acknowledged - before

    report = await run(plan, folder, database_url=postgres_url, kafka=kafka.bootstrap, disturb=disturb)
    show(report)
    held_to(report)
    assert report.injected == {"down": 1}
    assert report.notes["done_meanwhile"] == 0
    # Two workers' breakers stay open for two seconds at most, then one call finds out that it is still down.
    assert report.notes["failed_meanwhile"] >= 20
    # Whatever was on its way when it went down is asked about, and that fails in the same way.
    assert {code.removeprefix("find:") for code in report.notes["codes"]} == {"connect"}
    assert "connect" in report.notes["codes"]
    assert report.notes["withdrawn"] > 0, "what was cancelled meanwhile goes out no more"
    assert report.notes["acknowledged_meanwhile"] > 1000


@pytest.mark.feature("F11")
async def test_many_more_orders_are_under_way_than_there_are_partitions_and_each_keeps_its_sequence(
    kafka: Any, topic: str, postgres_url: str, folder: Path, show: Show
) -> None:
    """The checker compares the sequence of each order's commands; half of the orders have two."""
    latency_s = 0.3
    plan = Plan(
        orders=1500,
        seed=29,
        rate_per_s=300,
        by="kafka",
        topic=topic,
        mix=Mix(cancelled=0.5, scarce=0),
        faults=Faults(latency_ms=1000 * latency_s),
        gates={"in_flight": 64, "deadline_s": 1.0, "slow_s": 0.9},
        lease_s=6.0,
    )
    report = await run(plan, folder, database_url=postgres_url, kafka=kafka.bootstrap)
    _, ends = await read_topic(kafka.bootstrap, topic)
    under_way = report.requests * latency_s / (report.told_s + report.drained_s)
    report.notes |= {"partitions": len(ends), "under_way": round(under_way, 1)}
    show(report)
    held_to(report)
    assert under_way > 3 * len(ends)


async def test_ten_thousand_orders_with_a_fifth_of_first_attempts_timing_out_after_accept(
    kafka: Any, topic: str, postgres_url: str, folder: Path, show: Show
) -> None:
    faults = Faults(
        commit_then_timeout_share=0.15, commit_late_share=0.06, late_by_s=2.5, hang_s=5, first_attempts_only=True
    )
    plan = Plan(
        orders=10_000,
        seed=28,
        mix=PLAIN,
        by="both",
        topic=topic,
        faults=faults,
        gates={"deadline_s": 1.0, "slow_s": 0.9, "in_flight": 64},
        settle_s=4.0,
        lease_s=6.0,
        still_s=3.0,
        within_s=600,
    )
    report = await run(plan, folder, database_url=postgres_url, kafka=kafka.bootstrap)
    show(report)
    held_to(report)
    assert report.documents == 10_000
    assert report.injected["commit_then_timeout"] + report.injected["commit_late"] > 1900


@pytest.mark.feature("F73")
async def test_a_dead_target_leaves_the_others_p95_within_one_and_a_half(
    postgres_url: str, folder: Path, show: Show
) -> None:
    p95 = await isolation(folder, postgres_url, orders=1500, rounds=5, rate_per_s=150)
    healthy, beside_dead, report = of_isolation(p95)
    show(report)
    assert beside_dead <= 1.5 * healthy


@pytest.mark.soak
async def test_thirty_kills_of_a_worker(kafka: Any, topic: str, postgres_url: str, folder: Path, show: Show) -> None:
    seed = random.randrange(10**6)
    plan = Plan(orders=20_000, seed=seed, rate_per_s=150, by="both", topic=topic, workers=3, ships=True, within_s=300)
    disturb = kills(30, seed=seed, documents=plan.orders)
    report = await run(plan, folder, database_url=postgres_url, kafka=kafka.bootstrap, disturb=disturb)
    report.notes["seed"] = seed
    show(report)
    held_to(report)
    assert report.notes["kills"] == 30
