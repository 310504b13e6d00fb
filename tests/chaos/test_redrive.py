"""A redrive into a WMS that has a part of it already, while the workers are killed: nothing doubled, the rate kept.

And one that resolves: each thing once, nothing sent, and what is not done when it is stopped as it was.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from gateway.core.delivery import Delivery, Done
from gateway.core.event import ConnectionName
from gateway.core.order import Order
from gateway.parts import setup_of
from gateway.sdk.http import Http
from gateway.store.orders import decode_state
from gateway.store.redrive import stop
from gateway.store.sql import open_pool
from gateway.store.token import first_token
from gateway.testing.fakes import Faults
from tests.chaos.gateway import SHOPS, Fake, Gateway, until
from tests.chaos.journal import Journal
from tests.chaos.load import PLAIN, stories

WMS = "wms"
BURST = 20
STRETCH_S = 5.0
REFUSING = Faults(share_5xx=1.0, status_5xx=400, commands=("create",))


class Stuck:
    """A gateway whose every delivery was refused, and a WMS that got some of them all the same."""

    def __init__(self, gateway: Gateway, fake: Fake, pool: asyncpg.Pool, session: aiohttp.ClientSession) -> None:
        self.gateway = gateway
        self.fake = fake
        self.pool = pool
        self._session = session

    async def call(self, method: str, *path: str | int, body: Any = None) -> Any:
        url = f"http://127.0.0.1:{self.gateway.port}/api/v1/" + "/".join(map(str, path))
        async with self._session.request(method, url, json=body) as answer:
            told = await answer.json()
            assert answer.status == 200, told
            return told

    async def arrive(self, orders: Sequence[tuple[int, Order]]) -> None:
        """These reach the WMS by another way, and their lanes say that nobody knows."""
        connection = self.gateway.settings.connections[ConnectionName(WMS)]
        turn = asyncio.Semaphore(16)
        async with Http(connections=16) as http:
            assert connection.adapter.target_type is not None
            target = connection.adapter.target_type(setup_of(connection, self.gateway.settings), http)

            async def send(order_id: int, order: Order) -> None:
                async with turn:
                    delivery = Delivery(order_id=order_id, order=order, command=order.commands[0])
                    assert isinstance(await target.send(delivery, deadline_s=10.0), Done)

            await asyncio.gather(*(send(order_id, order) for order_id, order in orders))
        await self.pool.execute(
            "UPDATE lane SET blocked = 'unknown', in_doubt = true WHERE order_id = ANY($1::bigint[])",
            [order_id for order_id, _ in orders],
        )


@asynccontextmanager
async def stuck(folder: Path, url: str, *, orders: int, rate_per_s: float, workers: int) -> AsyncIterator[Stuck]:
    async with Fake("qimen", folder) as fake:
        gates = {"rate_per_s": rate_per_s, "burst": BURST, "in_flight": 16, "deadline_s": 1.9, "slow_s": 1.5}
        gateway = Gateway(folder, database_url=url, fakes=[fake], workers=workers, gates=gates, settle_s=0.5)
        await gateway.prepare()
        pool = await open_pool(url, size=4)
        token = await first_token(pool)
        await fake.faults(REFUSING)
        headers = {"Authorization": f"Bearer {token}"}
        try:
            with Journal(gateway.journal_path) as journal:
                await gateway.start()
                await gateway.producer(journal).tell(stories(orders, shops=SHOPS, seed=3, mix=PLAIN))

            async def all_blocked() -> bool:
                return await pool.fetchval("SELECT count(*) FROM lane WHERE blocked IS NOT NULL") == orders

            await until(
                all_blocked, within_s=60 + orders / rate_per_s, what="everything to be refused", log=gateway.log
            )
            await fake.faults()
            async with aiohttp.ClientSession(headers=headers) as session:
                yield Stuck(gateway, fake, pool, session)
        finally:
            gateway.kill()
            await pool.close()


async def redriven(
    folder: Path, url: str, *, orders: int, rate_per_s: float, per_s: float, workers: int, kills: int
) -> dict[str, Any]:
    """What the redrive and the books say in the end, and the fastest second of the WMS."""
    rng = random.Random(7)
    async with stuck(folder, url, orders=orders, rate_per_s=rate_per_s, workers=workers) as desk:
        rows = await desk.pool.fetch("SELECT order_id, state FROM orders ORDER BY order_id")
        arrived = [(row[0], decode_state(row[1])) for row in rows[:: 5]] + [
            (row[0], decode_state(row[1])) for row in rows[1 :: 5]
        ]  # fmt: skip
        await desk.arrive(arrived)
        before = await desk.fake.books()
        wanted = {"wanted": {"target": WMS}, "cap": orders}
        look = await desk.call("POST", "redrives", "preview", body=wanted)
        assert look["preview"]["chosen"] == orders
        assert {(group["code"], group["how"]) for group in look["preview"]["groups"]} == {
            ("rejected:http_4xx", "ask"), ("unknown", "ask"),
        }  # fmt: skip
        body = {**wanted, "reason": "the WMS is back", "per_s": per_s, "start_in_s": 0}
        started = time.monotonic()
        redrive_id = (await desk.call("POST", "redrives", body=body))["redrive"]["redrive_id"]
        samples = [(time.monotonic(), before.requests)]
        killed = 0
        state: dict[str, Any] = {}
        while not state or state["state"] == "running":
            await asyncio.sleep(0.25)
            books = await desk.fake.books()
            samples.append((time.monotonic(), books.requests))
            row = await desk.pool.fetchrow(
                "SELECT (SELECT state FROM redrive WHERE redrive_id = $1) AS state,"
                " count(*) FILTER (WHERE state = 'done') AS done FROM redrive_item WHERE redrive_id = $1",
                redrive_id,
            )
            state = dict(row)
            if killed < kills and state["done"] > orders * (killed + 1) / (kills + 1):
                killed += bool(desk.gateway.kill_worker(rng))
            assert time.monotonic() - started < 120 + 6 * orders / rate_per_s, state
        took_s = time.monotonic() - started
        await asyncio.sleep(0.5)
        books = await desk.fake.books()
        seen = await desk.call("GET", "redrives", redrive_id)
        open_lanes = await desk.pool.fetchval("SELECT count(*) FROM lane")
        log = desk.gateway.log.read_text()
    assert killed == kills, log[-2000:]
    return {
        "took_s": round(took_s, 1),
        "killed": killed,
        "arrived_before": len(arrived),
        "redrive": {key: seen[key] for key in ("state", "total", "done", "found", "again", "skipped")},
        "open_lanes": open_lanes,
        "documents": sum(book.documents for book in books.orders.values()),
        "orders_at_wms": sum(book.documents == 1 for book in books.orders.values()),
        "duplicates": books.duplicates,
        "repeats": books.repeats,
        "requests": books.requests - before.requests,
        "fastest_per_s": round(fastest_per_s(samples), 1),
    }


def fastest_per_s(samples: Sequence[tuple[float, int]]) -> float:
    """The most requests a second over any stretch of at least `STRETCH_S`."""
    fastest = 0.0
    for index, (at, count) in enumerate(samples):
        later = next(((t, c) for t, c in samples[index + 1 :] if t - at >= STRETCH_S), None)
        if later is not None:
            fastest = max(fastest, (later[1] - count) / (later[0] - at))
    return fastest


def check(told: dict[str, Any], *, orders: int, rate_per_s: float) -> None:
    """All of them there once, and never more in a stretch than its rate and two bursts.

    One burst may have been saved up when the stretch began (all workers together have one), and whoever takes a killed
    worker's place, alone, begins with another; two kills are further apart than a stretch. Beside others a new worker
    waits for two heartbeats, in which the others come to their new share, so sharing adds nothing: a heartbeat of two
    workers that both used the whole rate would add 0.8 s of it.
    """
    assert (told["duplicates"], told["repeats"]) == (0, 0), told
    assert told["documents"] == told["orders_at_wms"] == orders, told
    assert told["open_lanes"] == 0, told
    assert (told["redrive"]["state"], told["redrive"]["done"]) == ("done", orders), told
    assert told["redrive"]["found"] >= told["arrived_before"], told
    assert told["fastest_per_s"] <= rate_per_s + 2 * BURST / STRETCH_S, told


@pytest.mark.feature("F78")
async def test_a_part_that_had_arrived_is_not_sent_again_though_the_worker_is_killed(
    postgres_url: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = await redriven(folder, postgres_url, orders=400, rate_per_s=150.0, per_s=150.0, workers=1, kills=1)
    with capsys.disabled():
        print(f"\nredrive: {told}")
    check(told, orders=400, rate_per_s=150.0)


@pytest.mark.soak
@pytest.mark.feature("F78")
async def test_five_thousand_redriven_while_workers_are_killed(
    postgres_url: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = await redriven(folder, postgres_url, orders=5_000, rate_per_s=300.0, per_s=250.0, workers=2, kills=3)
    with capsys.disabled():
        print(f"\nredrive: {told}")
    check(told, orders=5_000, rate_per_s=300.0)


@pytest.mark.parametrize("point", ["redrive.before_commit:3", "redrive.after_commit:3"])
async def test_a_crash_around_the_commit_of_a_step(postgres_url: str, folder: Path, point: str) -> None:
    """What a step released is released whole or not at all, and the next worker goes on from there."""
    orders = 60
    async with stuck(folder, postgres_url, orders=orders, rate_per_s=500.0, workers=1) as desk:
        rows = await desk.pool.fetch("SELECT order_id, state FROM orders ORDER BY order_id LIMIT 20")
        await desk.arrive([(row[0], decode_state(row[1])) for row in rows])
        await desk.gateway.stop()
        worker = await desk.gateway.start_worker(crash_at=point)
        body = {"wanted": {"target": WMS}, "reason": "x", "per_s": 50, "start_in_s": 0}
        redrive_id = (await desk.call("POST", "redrives", body=body))["redrive"]["redrive_id"]
        assert await asyncio.to_thread(worker.wait, 30) == 137
        await desk.gateway.start_worker()

        async def over() -> bool:
            return bool((await desk.call("GET", "redrives", redrive_id))["state"] == "done")

        await until(over, within_s=60, what="the redrive to end", log=desk.gateway.log)
        books = await desk.fake.books()
        seen = await desk.call("GET", "redrives", redrive_id)
    assert (books.duplicates, books.repeats) == (0, 0)
    assert sum(book.documents for book in books.orders.values()) == orders
    assert (seen["done"], seen["found"] >= 20) == (orders, True)


async def crashed_while_resolving(desk: Stuck, point: str) -> int:
    """Begin to take all for handled with a worker that ends at `point`, when it has; the id of the redrive."""
    await desk.gateway.stop()
    worker = await desk.gateway.start_worker(crash_at=point)
    body = {"wanted": {"target": WMS}, "reason": "typed in", "cap": 1000, "start_in_s": 0}
    redrive = (await desk.call("POST", "deliveries", "resolve", body=body))["redrive"]
    assert (redrive["does"], redrive["state"]) == ("resolve", "running")
    assert await asyncio.to_thread(worker.wait, 30) == 137
    return int(redrive["redrive_id"])


async def resolved(pool: asyncpg.Pool) -> tuple[int, int, int]:
    """How many attempts say so, how many records of who did it there are, and how many lanes are gone."""
    row = await pool.fetchrow(
        "SELECT (SELECT count(*) FROM attempt WHERE result = 8),"
        " (SELECT count(*) FROM audit WHERE action = 'delivery.resolve'),"
        " (SELECT count(*) FROM orders) - (SELECT count(*) FROM lane)"
    )
    return tuple(row)


@pytest.mark.feature("F117")
@pytest.mark.parametrize(("point", "kept"), [("redrive.before_commit:2", 20), ("redrive.after_commit:2", 40)])
async def test_a_crash_while_many_are_taken_for_handled(postgres_url: str, folder: Path, point: str, kept: int) -> None:
    """A step is whole or not at all, and the next worker goes on from there: each once, and nothing is sent."""
    orders = 60
    async with stuck(folder, postgres_url, orders=orders, rate_per_s=500.0, workers=1) as desk:
        before = await desk.fake.books()
        redrive_id = await crashed_while_resolving(desk, point)
        assert await resolved(desk.pool) == (kept, kept, kept)
        await desk.gateway.start_worker()

        async def over() -> bool:
            return bool((await desk.call("GET", "redrives", redrive_id))["state"] == "done")

        await until(over, within_s=60, what="the redrive to end", log=desk.gateway.log)
        books = await desk.fake.books()
        seen = await desk.call("GET", "redrives", redrive_id)
        assert await resolved(desk.pool) == (orders, orders, orders)
    assert (seen["done"], seen["skipped"], seen["total"]) == (orders, 0, orders)
    assert books.requests == before.requests


@pytest.mark.feature("F117")
async def test_stopped_after_a_crash_what_was_not_resolved_is_as_it_was(postgres_url: str, folder: Path) -> None:
    orders, rows = 60, "SELECT order_id, lane::text FROM lane"
    async with stuck(folder, postgres_url, orders=orders, rate_per_s=500.0, workers=1) as desk:
        requests = (await desk.fake.books()).requests
        before = dict(await desk.pool.fetch(rows))
        redrive_id = await crashed_while_resolving(desk, "redrive.after_commit:1")
        # The next worker would go on at once.
        assert await stop(desk.pool, redrive_id, reason="the wrong ones", actor="wang") == "running"
        await desk.gateway.start_worker()
        seen = await desk.call("GET", "redrives", redrive_id)
        after = dict(await desk.pool.fetch(rows))
        assert (await desk.fake.books()).requests == requests
    assert (seen["state"], seen["done"], seen["kept"]) == ("stopped", 20, 40)
    assert len(after) == 40 and after.items() <= before.items()
