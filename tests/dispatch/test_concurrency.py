"""The adaptive limit against a simulated target, in virtual time; nothing here sleeps."""

from __future__ import annotations

import heapq
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.delivery import Answer, Done, Failed, Rejected, Throttled, Unknown
from gateway.dispatch.concurrency import AdaptiveLimit

DONE = Done()
LATE = Unknown("timeout", timeout=True)
DEADLINE_S = 5.0


class Target:
    """Answers after `usual_s`, and after `(n / knee) ** growth` times that with `n` above `knee` in flight.

    `spread` is the sigma of a log-normal factor on each answer. With `throttles` it refuses what is above the knee.
    """

    def __init__(
        self,
        limit: AdaptiveLimit,
        *,
        usual_s: float = 0.05,
        knee: int = 16,
        growth: float = 1.0,
        spread: float = 0.3,
        throttles: bool = False,
    ) -> None:
        self.limit = limit
        self.usual_s = usual_s
        self.knee = knee
        self.growth = growth
        self.spread = spread
        self.throttles = throttles
        self.now = 100.0
        self.limits: list[int] = []
        """The limit at each answer since `run` was called."""
        self.per_s = 0.0
        """Orders done in a second of the last `run`."""
        self._random = random.Random(7)
        self._flying: list[tuple[float, int, float, Answer]] = []
        self._count = 0

    def run(self, seconds: float, *, most: float = math.inf) -> None:
        """Go on for `seconds`, with orders for at most `most` sends at once."""
        end, done = self.now + seconds, 0
        self.limits = []
        while self.now < end:
            while len(self._flying) < min(self.limit.limit, most):
                self._send()
            self.now, _, started_at, answer = heapq.heappop(self._flying)
            in_flight = len(self._flying) + 1
            limit = self.limit.record(answer, started_at=started_at, took_s=self.now - started_at, in_flight=in_flight)
            assert limit == self.limit.limit
            self.limits.append(limit)
            done += answer is DONE
        self.per_s = done / seconds

    @property
    def mean(self) -> float:
        return sum(self.limits) / len(self.limits)

    def _send(self) -> None:
        full = max(1.0, (len(self._flying) + 1) / self.knee)
        if self.throttles and full > 1:
            took_s, answer = 0.001, Throttled()
        else:
            took_s, answer = self.usual_s * full**self.growth * math.exp(self._random.gauss(0, self.spread)), DONE
        if took_s > DEADLINE_S:
            took_s, answer = DEADLINE_S, LATE
        self._count += 1
        heapq.heappush(self._flying, (self.now + took_s, self._count, self.now, answer))


def feed(limit: AdaptiveLimit, answers: list[tuple[Answer, float]], *, at: float, in_flight: int = 64) -> float:
    """One window of `answers`, sent one after the other from `at` on; the instant after it."""
    for answer, took_s in answers:
        limit.record(answer, started_at=at, took_s=took_s, in_flight=in_flight)
        at += took_s
    return at


def settled(most: int = 64, *, knee: int | None = None) -> tuple[AdaptiveLimit, Target]:
    limit = AdaptiveLimit(most)
    target = Target(limit, knee=knee or most)
    target.run(30)
    return limit, target


@pytest.mark.feature("F72")
@pytest.mark.parametrize("growth", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("usual_s", [0.02, 0.2])
@pytest.mark.parametrize("knee", [4, 16, 48])
def test_it_finds_the_knee_and_loses_little_of_what_the_target_can_do(knee: int, usual_s: float, growth: float) -> None:
    target = Target(AdaptiveLimit(128), knee=knee, usual_s=usual_s, growth=growth)
    target.run(1000 * usual_s)
    target.run(2000 * usual_s)
    assert 0.6 * knee <= target.mean <= 1.6 * knee
    assert target.per_s >= (0.9 if growth == 1 else 0.75) * knee / usual_s


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_without_a_knee_it_ends_where_it_is_configured(spread: float) -> None:
    target = Target(AdaptiveLimit(128), knee=10_000, spread=spread)
    target.run(20)
    target.run(60)
    assert max(target.limits) == 128 and target.mean > 120


def test_it_starts_low_and_doubles() -> None:
    limit = AdaptiveLimit(64)
    assert limit.limit == 4
    target = Target(limit, knee=64)
    target.run(1.5)
    assert target.limits[-1] == 64
    assert list(dict.fromkeys(target.limits)) == [4, 8, 16, 32, 64]
    target.knee = 8
    target.run(10)
    target.knee = 64
    target.run(2)
    assert limit.limit < 32, "doubling is for the start"


def test_a_target_that_recovers_gets_its_load_back() -> None:
    limit, target = settled(64)
    assert target.mean > 30
    target.knee = 6
    target.run(30)
    target.run(30)
    assert target.mean < 12
    target.knee = 64
    target.run(15)
    assert limit.limit >= 50


def test_a_target_that_is_slower_whatever_is_sent_keeps_its_load() -> None:
    _, target = settled(64)
    target.usual_s *= 4
    target.run(60)
    target.run(60)
    assert target.mean > 50


def test_a_bad_spell_does_not_become_what_is_usual() -> None:
    _, target = settled(128, knee=16)
    target.usual_s *= 6
    target.run(10)
    target.usual_s /= 6
    target.run(40)
    target.run(40)
    assert 10 <= target.mean <= 26


def test_a_hiccup_costs_one_cut_and_is_soon_forgotten() -> None:
    limit, target = settled(128)
    target.usual_s *= 3
    target.run(0.5)
    target.usual_s /= 3
    target.run(2)
    assert min(target.limits) >= 64
    target.run(4)
    assert limit.limit >= 115


def test_a_target_that_gets_a_little_slower_and_still_does_more_is_used() -> None:
    """With all 128 in flight it takes 2.8 times as long as with 4, and does 11 times as much."""
    target = Target(AdaptiveLimit(128), knee=4, growth=0.3)
    target.run(60)
    target.run(60)
    assert target.mean > 90


def test_a_stable_timeout_brings_it_down_and_never_below_one() -> None:
    """Answers that are all late at the same deadline look steady to a gradient (Netflix/concurrency-limits, 137)."""
    limit, target = settled(64)
    target.usual_s = 60.0
    target.run(60)
    assert limit.limit <= 8
    target.run(600)
    assert limit.limit == 1 and min(target.limits) == 1
    target.usual_s = 0.05
    target.run(60)
    assert limit.limit >= 50


def test_sends_that_time_out_together_are_one_reason_to_cut() -> None:
    limit, target = settled(64)
    assert limit.limit == 64
    at = target.now
    seen = [limit.record(LATE, started_at=at + n / 1000, took_s=DEADLINE_S, in_flight=64) for n in range(1000)]
    assert len(set(seen)) == 2 and 32 <= seen[-1] < 64
    assert seen.index(seen[-1]) <= 600, "those that were sent before the window began count too"


def test_throttles_keep_it_at_what_the_target_allows() -> None:
    target = Target(AdaptiveLimit(128), knee=16, throttles=True)
    target.run(30)
    target.run(60)
    assert 10 <= target.mean <= 18


@pytest.mark.parametrize("bad", [LATE, Failed("http_503"), None], ids=["timeout", "failure", "slow"])
def test_one_bad_answer_in_a_window_changes_nothing(bad: Answer | None) -> None:
    limit, target = settled(16)
    assert limit.limit == 16
    for _ in range(20):
        window = [(DONE, 0.05)] * 19 + [(bad or DONE, DEADLINE_S)]
        target.now = feed(limit, window, at=target.now, in_flight=16)
        assert limit.limit == 16


def test_throttled_once_is_a_tenth_less() -> None:
    limit, target = settled(64)
    feed(limit, [(DONE, 0.05)] * 80 + [(Throttled(), 0.05)], at=target.now)
    feed(limit, [(DONE, 0.05)] * 80, at=target.now + 60)
    assert limit.limit == 57


def test_only_what_is_in_use_grows() -> None:
    limit = AdaptiveLimit(64)
    target = Target(limit, knee=64)
    target.run(60, most=1)
    assert limit.limit == 4, "one at a time is less than half"
    target.run(60, most=10)
    assert limit.limit == 32, "10 of 16 is more than half, 10 of 32 is less"
    target.usual_s *= 10
    target.run(60, most=10)
    assert limit.limit == 32, "nor is it what is in flight that makes the target slow"


def test_a_quiet_time_changes_nothing() -> None:
    limit, target = settled(64, knee=16)
    before = limit.limit
    target.now += 86_400
    target._flying.clear()
    target.run(0.2)
    assert abs(limit.limit - before) <= before / 2
    target.run(30)
    assert 10 <= target.mean <= 26


@pytest.mark.parametrize("answer", [Rejected("unknown_sku"), Unknown("duplicate", answered=True)])
def test_what_is_not_the_usual_work_counts_nowhere(answer: Answer) -> None:
    limit, target = settled(64, knee=16)
    before = limit.limit
    feed(limit, [(answer, 0.0001)] * 2000, at=target.now)
    feed(limit, [(answer, 4.0)] * 2000, at=target.now + 10)
    assert limit.limit == before


def test_a_limit_of_one_stays_and_less_is_refused() -> None:
    target = Target(AdaptiveLimit(1), knee=1)
    target.run(30)
    assert set(target.limits) == {1}
    with pytest.raises(ValueError, match="at least 1"):
        AdaptiveLimit(0)


answers: st.SearchStrategy[Answer] = st.sampled_from(
    [DONE, DONE, DONE, LATE, Failed("connect"), Throttled(), Rejected("x"), Unknown("y", answered=True)]
)
runs = st.tuples(
    answers,
    st.integers(1, 200),
    st.floats(0, 10, allow_nan=False),
    st.floats(0, 1000, allow_nan=False),
    st.integers(1, 300),
)


@given(most=st.integers(1, 300), script=st.lists(runs, max_size=40))
def test_it_stays_between_one_and_what_is_configured(
    most: int, script: list[tuple[Answer, int, float, float, int]]
) -> None:
    limit, now = AdaptiveLimit(most), 0.0
    for answer, times, took_s, pause_s, in_flight in script:
        now += pause_s
        for _ in range(times):
            before = limit.limit
            after = limit.record(answer, started_at=now, took_s=took_s, in_flight=in_flight)
            now += took_s
            assert after == limit.limit
            assert 1 <= after <= most
            assert before // 2 <= after <= max(2 * before, before + 50)
