"""A platform's limit over polling, gates and all workers, by the clock of the platform."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.core.happening import WindowRead
from tests.shops.conftest import Shop

RATE, BURST = 40, 4


def most_over(times: list[float], *, rate: float) -> float:
    """The most requests beyond `rate` × time in any span of `times`."""
    return max(
        last - first + 1 - rate * (times[last] - times[first])
        for first in range(len(times))
        for last in range(first, len(times))
    )


@asynccontextmanager
async def stalls() -> AsyncIterator[list[float]]:
    """How long, in seconds, this loop was held up each time: what left one after another meanwhile arrives at once."""
    loop, found = asyncio.get_running_loop(), [0.0]

    async def beat() -> None:
        while True:
            due = loop.time() + 0.005
            await asyncio.sleep(0.005)
            found.append(loop.time() - due)

    beating = asyncio.create_task(beat(), name="beat")
    yield found
    beating.cancel()


@pytest.mark.feature("F7")
@pytest.mark.feature("F94")
async def test_the_limit_holds_over_polling_and_gates_of_two_workers(shop: Shop) -> None:
    settings = shop.settings(more=", details: true", extra=f"    rate: {{per_s: {RATE}, burst: {BURST}}}")
    await shop.start(settings)
    await shop.until(lambda: shop.saw(WindowRead))
    await shop.start(settings)
    await shop.until(lambda: _workers(shop, 2))
    shop.platform.page_size = 100  # one page: then all of them want to leave at once
    async with stalls() as held_up_s:
        shop.platform.place(*(f"n{number}" for number in range(60)))
        await shop.until(lambda: len(shop.platform.created) == 60, within_s=30)
    asked = shop.platform.asked
    assert len(shop.platform.of("/detail")) >= 60 and len(shop.platform.of("/create")) == 60
    assert len({one.worker for one in shop.platform.of("/create")}) == 2, "both workers have sent"
    times = [one.at for one in asked]
    # The burst of all workers, one request each that is on its way, and what a busy machine holds up.
    assert most_over(times, rate=RATE) <= BURST + 2 + RATE * max(held_up_s)
    busy = [one.at for one in asked if one.path != "/pull"]
    assert len(busy) / (busy[-1] - busy[0]) > RATE / 4, "and it is used"


async def _workers(shop: Shop, count: int) -> bool:
    return bool(await shop.pool.fetchval("SELECT count(*) = $1 FROM worker", count))


async def test_a_throttled_answer_to_one_is_patience_of_all(shop: Shop) -> None:
    await shop.start()
    await shop.until(lambda: shop.saw(WindowRead))
    shop.platform.answers["/create"] = [{"error": "busy", "wait_s": 2}]
    shop.platform.place("n1")
    await shop.until(lambda: len(shop.platform.of("/create")) == 2)
    first, second = shop.platform.of("/create")
    assert second.at - first.at >= 1.9
    between = [one for one in shop.platform.of("/pull") if first.at + 0.1 < one.at < first.at + 1.9]
    assert between == [], "the poller waits too"
