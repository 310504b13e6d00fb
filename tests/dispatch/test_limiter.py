"""The rate limit and the retry budget, by an injected clock; nothing here sleeps."""

import asyncio
import heapq
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dispatch.limiter import RateLimiter, RetryBudget


class Clock:
    """A monotonic clock that moves when told, and a sleep that waits for it."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._count = 0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._count += 1
        heapq.heappush(self._sleepers, (self.now + seconds, self._count, woken))
        await woken.wait()

    async def advance(self, until: float) -> None:
        """Go to `until`, waking each sleeper at its own instant."""
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            at, _, woken = heapq.heappop(self._sleepers)
            self.now = max(self.now, at)
            woken.set()
            await self._settle()
        self.now = until

    async def _settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


def test_burst_then_pace() -> None:
    limiter = RateLimiter(10, 5, clock=Clock())
    assert [round(limiter.reserve(), 6) for _ in range(8)] == [0, 0, 0, 0, 0, 0.1, 0.2, 0.3]


def test_a_quiet_time_saves_tokens_up_to_the_burst() -> None:
    clock = Clock()
    limiter = RateLimiter(10, 3, clock=clock)
    for _ in range(10):
        limiter.reserve()
    clock.now += 3_600
    assert [round(limiter.reserve(), 6) for _ in range(4)] == [0, 0, 0, 0.1]
    clock.now += 0.2  # the token owed and one more
    assert [round(limiter.reserve(), 6) for _ in range(2)] == [0, 0.1]


def test_no_limit_never_waits_and_does_not_read_the_clock() -> None:
    def clock() -> float:
        raise AssertionError("the clock was read")

    limiter = RateLimiter(None, clock=clock)
    assert {limiter.reserve() for _ in range(100)} == {0.0}


def test_a_pause_holds_without_a_limit_too() -> None:
    clock = Clock()
    limiter = RateLimiter(None, clock=clock)
    limiter.pause(30)
    assert limiter.reserve() == 30.0
    clock.now += 10
    assert limiter.reserve() == limiter.paused_for_s() == 20.0
    clock.now += 20
    assert limiter.reserve() == limiter.paused_for_s() == 0.0


def test_after_a_pause_the_rate_starts_without_a_burst() -> None:
    clock = Clock()
    limiter = RateLimiter(10, 5, clock=clock)
    limiter.pause(30)
    assert [round(limiter.reserve(), 6) for _ in range(3)] == [30, 30.1, 30.2]
    clock.now += 30.05
    assert limiter.reserve() == pytest.approx(0.25)


def test_of_overlapping_pauses_the_last_to_end_holds() -> None:
    clock = Clock()
    limiter = RateLimiter(10, 1, clock=clock)
    limiter.pause(30)
    limiter.pause(5)
    assert limiter.paused_for_s() == 30.0
    clock.now += 20
    limiter.pause(15)
    assert limiter.paused_for_s() == 15.0
    assert limiter.moved_s == 35.0
    assert limiter.reserve() == 15.0


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan])
def test_no_pause(seconds: float) -> None:
    limiter = RateLimiter(10, 1, clock=Clock())
    limiter.pause(seconds)
    assert limiter.reserve() == 0.0


@pytest.mark.parametrize("seconds", [86_400.0 * 365, math.inf])
def test_a_pause_is_bounded(seconds: float) -> None:
    limiter = RateLimiter(10, 1, clock=Clock(), pause_max_s=600)
    limiter.pause(seconds)
    assert limiter.reserve() == 600.0


def test_the_rate_can_change() -> None:
    limiter = RateLimiter(10, 1, clock=Clock())
    limiter.reserve()
    limiter.reserve()
    limiter.set_rate(2, 1)
    assert [round(limiter.reserve(), 6) for _ in range(2)] == [0.2, 0.7]
    limiter.set_rate(None, 1)
    assert limiter.reserve() == 0.0


@pytest.mark.parametrize(("rate_per_s", "burst"), [(0.0, 1), (-1.0, 1), (math.inf, 1), (math.nan, 1), (1.0, 0)])
def test_rates_that_cannot_work(rate_per_s: float, burst: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        RateLimiter(rate_per_s, burst, clock=Clock())


async def test_a_pause_puts_off_those_who_wait_in_their_order_and_pace() -> None:
    clock = Clock(0.0)
    limiter = RateLimiter(10, 1, clock=clock)
    went: list[tuple[int, float]] = []

    async def go(number: int) -> None:
        await limiter.turn(clock.sleep)
        went.append((number, round(clock.now, 6)))

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(go(number), name=f"go {number}")
        await clock.advance(0.15)
        limiter.pause(30)
        group.create_task(go(5), name="go 5")
        await clock.advance(20.0)
        limiter.pause(20)
        await clock.advance(100.0)
    assert went == [(0, 0.0), (1, 0.1), (2, 40.05), (3, 40.15), (4, 40.25), (5, 40.35)]


async def test_another_rate_holds_for_those_who_wait_already() -> None:
    """A gate's runners wait here by the hundred: with a turn each from before, a slow minute would last for hours."""
    clock = Clock(0.0)
    limiter = RateLimiter(0.1, 1, clock=clock)
    went: list[float] = []

    async def go() -> None:
        await limiter.turn(clock.sleep)
        went.append(round(clock.now, 6))

    async with asyncio.TaskGroup() as group:
        for number in range(200):
            group.create_task(go(), name=f"go {number}")
        await clock.advance(5.0)
        limiter.set_rate(100, 1)
        await clock.advance(3_000.0)
    assert went[:3] == [0.0, 10.0, 20.0] and went[-1] == pytest.approx(21.97), "not after 33 minutes"


async def test_a_timer_that_is_late_costs_no_turn() -> None:
    clock = Clock(0.0)
    limiter = RateLimiter(100, 1, clock=clock)

    async def late(seconds: float) -> None:
        await clock.sleep(seconds + 0.004)

    async with asyncio.TaskGroup() as group:
        going = [group.create_task(limiter.turn(late), name=f"go {number}") for number in range(101)]
        await clock.advance(1.01)
        assert all(task.done() for task in going), "100 a second"


async def test_a_pause_between_the_turn_and_a_late_waking_holds() -> None:
    clock = Clock(0.0)
    limiter = RateLimiter(10, 1, clock=clock)
    limiter.reserve()
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))
        if len(slept) == 1:
            clock.now = 0.5  # due at 0.1, woken late
            limiter.pause(10)
            clock.now = 0.6
        else:
            clock.now += seconds

    await limiter.turn(sleep)
    assert clock.now >= 10.5
    assert slept == [0.1, 10.0]


@given(
    rate=st.floats(0.1, 1_000),
    burst=st.integers(1, 50),
    gaps=st.lists(st.floats(0, 2), min_size=1, max_size=200),
)
def test_turns_come_in_order_and_no_window_holds_more_than_burst_and_rate(
    rate: float, burst: int, gaps: list[float]
) -> None:
    clock = Clock(0.0)
    limiter = RateLimiter(rate, burst, clock=clock)
    turns = []
    for gap in gaps:
        clock.now += gap
        turns.append(clock.now + limiter.reserve())
    assert turns == sorted(turns)
    for at in range(len(turns) - burst):
        assert turns[at + burst] - turns[at] >= 1 / rate - 1e-6
    for first in range(0, len(turns), 7):
        within = turns[-1] - turns[first]
        assert len(turns) - first <= burst + rate * within + 1e-3


@given(
    steps=st.lists(st.tuples(st.floats(0, 5), st.sampled_from(["reserve", "pause"]), st.floats(0, 20)), max_size=60),
    rate=st.one_of(st.none(), st.floats(0.5, 100)),
)
def test_nobody_goes_before_a_pause_ends(steps: list[tuple[float, str, float]], rate: float | None) -> None:
    clock = Clock(0.0)
    limiter = RateLimiter(rate, 4, clock=clock)
    until = 0.0
    for gap, what, seconds in steps:
        clock.now += gap
        if what == "pause":
            limiter.pause(seconds)
            until = max(until, clock.now + seconds)
        else:
            assert clock.now + limiter.reserve() >= until - 1e-6


def test_the_budget_stops_a_retry_storm() -> None:
    clock = Clock(0.0)
    budget = RetryBudget(0.2, min_per_s=1, burst=20, clock=clock)
    retried = 0
    for _ in range(1_000):
        clock.now += 0.01
        budget.deposit()
        retried += sum(budget.withdraw() for _ in range(3))
    assert 225 <= retried <= 230  # 20 + 200 + 10, less what is left of a whole one


def test_a_quiet_gate_may_always_retry() -> None:
    clock = Clock(0.0)
    budget = RetryBudget(0.2, min_per_s=1, burst=20, clock=clock)
    for _ in range(100):
        budget.deposit()
        assert all(budget.withdraw() for _ in range(3))
        clock.now += 60


def test_a_refused_retry_takes_nothing() -> None:
    budget = RetryBudget(0.5, min_per_s=0, burst=1, clock=Clock())
    assert budget.withdraw()
    budget.deposit()
    assert not budget.withdraw()
    budget.deposit()
    assert budget.withdraw()


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=300))
def test_the_balance_is_bounded_and_retries_never_exceed_what_came_in(steps: list[tuple[float, bool]]) -> None:
    clock = Clock(0.0)
    budget = RetryBudget(0.2, min_per_s=0.5, burst=5, clock=clock)
    tries = retries = 0
    for gap, first in steps:
        clock.now += gap
        if first:
            tries += 1
            budget.deposit()
        else:
            retries += budget.withdraw()
        assert 0 <= budget.balance <= 5
        assert retries <= 5 + 0.2 * tries + 0.5 * clock.now + 1e-6


@pytest.mark.parametrize(
    ("share", "min_per_s", "burst"), [(-0.1, 1, 20), (1.1, 1, 20), (0.2, -1, 20), (0.2, math.inf, 20), (0.2, 1, 0.5)]
)
def test_budgets_that_cannot_work(share: float, min_per_s: float, burst: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        RetryBudget(share, min_per_s=min_per_s, burst=burst, clock=Clock())
