"""One pace for everything that asks a connection's platform. Time passes only by waiting, so every figure is exact."""

from __future__ import annotations

import asyncio

import pytest

from gateway.dispatch.budget import ConnectionBudget, Urgency
from tests.travel import now_s, travelling


def budget(rate_per_s: float | None, burst: int = 1, *, settle_s: float = 0.0) -> ConnectionBudget:
    return ConnectionBudget(rate_per_s, burst, clock=now_s, settle_s=settle_s)


async def served(one: ConnectionBudget, *urgencies: Urgency) -> list[tuple[Urgency, float]]:
    """Who got a turn, in that sequence, and when."""
    order: list[tuple[Urgency, float]] = []

    async def wait(urgency: Urgency) -> None:
        await one.turn(urgency)
        order.append((urgency, now_s()))

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for urgency in urgencies:
            group.create_task(wait(urgency))
    return order


@travelling
async def test_without_a_rate_nobody_waits() -> None:
    began = now_s()
    await served(budget(None), *[Urgency.SEND] * 5000)
    assert now_s() == began


@pytest.mark.parametrize("burst", [1, 5])
@travelling
async def test_the_rate_holds_after_the_burst(burst: int) -> None:
    times = [at for _, at in await served(budget(100, burst), *[Urgency.SEND] * 30)]
    for first in range(30):
        for last in range(first + burst, 30):
            assert times[last] - times[first] >= (last - first - burst + 1) / 100 - 0.002


@travelling
async def test_what_has_a_deadline_goes_first_pull_and_send_take_turns_and_the_reread_waits() -> None:
    one = budget(200)
    await one.turn()
    later, send, pull, under_way = Urgency.LATER, Urgency.SEND, Urgency.PULL, Urgency.UNDER_WAY
    order = await served(one, later, later, send, send, send, pull, pull, under_way)
    assert [urgency for urgency, _ in order] == [under_way, pull, send, pull, send, send, later, later]


@travelling
async def test_a_pause_holds_everybody_and_leaves_no_burst() -> None:
    one = budget(100, 10)
    waiting = asyncio.create_task(served(one, *[Urgency.SEND] * 15))
    await asyncio.sleep(0.02)
    one.pause(0.3)
    began = now_s()
    times = [at - began for _, at in await waiting]
    assert sum(at < 0.29 for at in times) <= 13
    after = [at for at in times if at >= 0.29]
    assert after and after[-1] - after[0] >= (len(after) - 1) / 100 - 0.002


@travelling
async def test_a_pause_holds_where_there_is_no_rate() -> None:
    one = budget(None)
    one.pause(0.2)
    began = now_s()
    await served(one, *[Urgency.SEND] * 50)
    assert 0.19 <= now_s() - began < 2


@travelling
async def test_workers_share_the_rate_and_one_that_joins_waits_until_the_others_know() -> None:
    one = budget(200, 8, settle_s=0.2)
    one.share(4)
    began = now_s()
    times = [at - began for _, at in await served(one, *[Urgency.SEND] * 20)]
    assert times[0] >= 0.19
    # From when the first was due: it may have been served late.
    assert times[-1] >= 0.2 + 19 / 50 - 0.005, "a quarter of the rate, and no burst after a pause"
    one.share(1)
    began = now_s()
    await served(one, *[Urgency.SEND] * 20)
    assert now_s() - began < 0.3


@travelling
async def test_who_gives_up_gives_the_turn_back() -> None:
    one = budget(20)
    await one.turn()
    gone = [asyncio.create_task(one.turn()) for _ in range(20)]
    await asyncio.sleep(0.01)
    for task in gone:
        task.cancel()
    await asyncio.wait(gone)
    began = now_s()
    await one.turn()
    assert now_s() - began < 0.2, "not behind twenty that have gone"
    got = asyncio.create_task(one.turn())
    await asyncio.sleep(0.08)  # its turn has come and it has gone on
    assert got.done() and not got.cancelled()
