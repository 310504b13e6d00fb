"""Intake that gives way to the sends: while they are behind, and never for good."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.intake.backpressure import give_way
from gateway.store.inbox import put
from gateway.store.sql import open_pool
from tests.intake.test_inbox import Slow, events, reading
from tests.intake.test_kafka import Consumer, Desk, Positioned, reader_of
from tests.travel import now_s, travelling


class Queue:
    """So many deliveries wait, `per_s` of them are sent a second."""

    def __init__(self, waiting: int, *, per_s: float) -> None:
        self._waiting, self._per_s, self._since = waiting, per_s, now_s()

    def __call__(self) -> int:
        return max(0, round(self._waiting - self._per_s * (now_s() - self._since)))


@travelling
async def test_intake_waits_until_the_sends_have_caught_up() -> None:
    await give_way(Queue(500, per_s=1000), above=400, at_most_s=1.0)
    assert now_s() == pytest.approx(0.1, abs=0.005)


@travelling
async def test_it_does_not_wait_where_few_are_left() -> None:
    await give_way(Queue(400, per_s=0), above=400, at_most_s=1.0)
    assert now_s() == 0


@pytest.mark.parametrize(("at_most_s", "waits_s"), [(0.0, 0.0), (0.3, 0.3), (60.0, 1.0)])
def test_a_target_that_does_not_take_them_stops_nothing(at_most_s: float, waits_s: float) -> None:
    """Nor does a batch that took a minute, because the database was away."""

    @travelling
    async def waits() -> None:
        await give_way(Queue(5000, per_s=0), above=400, at_most_s=at_most_s)
        assert now_s() == pytest.approx(waits_s, abs=0.005)

    waits()


class Looks:
    """Sends that are never behind; how much was done by each look at them."""

    def __init__(self, done: Sequence[Any]) -> None:
        self._done, self.found = done, list[int]()

    def __call__(self) -> int:
        self.found.append(len(self._done))
        return 0


async def test_kafka_is_read_again_when_the_sends_have_been_looked_at() -> None:
    desk, consumer = Desk(), Consumer([0, 1, 2, 3], [4, 5], [], [6])
    desk.may_decide.set()
    looks = Looks(desk.prepared)
    reader = reader_of(desk, consumer, sends_waiting=looks)
    allowed_s = []
    for _ in range(3):
        ahead = await reader._read_ahead(consumer, None)
        assert ahead is not None
        await reader._decide(consumer, ahead)
        allowed_s.append(reader._full_took_s > 0)
    assert desk.decided == [[0, 1, 2, 3], [4, 5], [6]]
    assert looks.found == [0, 4, 6]
    assert allowed_s == [True, False, False], "only a full batch has another one behind it"


async def test_kafka_does_not_give_way_again_where_nothing_has_come_behind_a_full_batch() -> None:
    """A slow target has its orders waiting for long: what comes next, for another one, need not wait for it."""
    desk, consumer = Desk(), Positioned([0, 1, 2, 3])
    desk.may_decide.set()
    reader = reader_of(desk, consumer)
    ahead = await reader._read_ahead(consumer, None)
    assert ahead is not None
    await reader._decide(consumer, ahead)
    assert reader._full_took_s > 0
    assert await reader._read_ahead(consumer, None) is None
    assert reader._full_took_s == 0


async def test_the_inbox_gives_way_behind_a_full_batch_alone(migrated_url: str) -> None:
    pool = await open_pool(migrated_url, size=2)
    await put(pool, events(5))
    decider = Slow()
    looks = Looks(decider.sizes)
    reader = reading(pool, decider, [], batch_events=2, sends_waiting=looks)
    async with asyncio.TaskGroup() as group:
        group.create_task(reader.run(), name="reader")
        async with asyncio.timeout(30):
            while await pool.fetchval("SELECT count(*) FROM inbox"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        reader.stop()
    assert decider.sizes[:3] == [2, 2, 1]
    assert looks.found == [1, 2], "one look behind each batch that was full"
    await pool.close()
