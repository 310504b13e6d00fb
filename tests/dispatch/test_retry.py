"""The retry curve: its worked numbers, and its bounds for any policy."""

import random
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dispatch.retry import RetryPolicy, durable_wait, next_wait

POLICY = RetryPolicy()
NOW = datetime(2015, 10, 21, 7, 28, 0, tzinfo=UTC)


class Top(random.Random):
    """Draws what makes each wait longest."""

    def random(self) -> float:
        return 0.0


class Bottom(random.Random):
    """Draws what makes each wait shortest."""

    def random(self) -> float:
        return 1 - 2**-53


@pytest.mark.feature("F63")
@pytest.mark.parametrize(
    ("tries", "elapsed_s", "retry_after_s", "longest_s"),
    [
        (1, 0.0, None, 0.2),
        (2, 0.0, None, 0.4),
        (3, 0.0, None, 0.8),
        (4, 0.0, None, None),  # the first try and three retries
        (1, 29.7, None, 0.2),
        (1, 29.8, None, None),  # would start at the deadline
        (1, 60.0, None, None),
        (1, 1.0, 2.0, 2.0),
        (1, 1.0, 0.1, 0.2),
        (1, 1.0, 0.0, 0.2),
        (1, 1.0, 28.9, 28.9),
        (1, 1.0, 29.0, None),  # exactly what is left
        (1, 1.0, 40.0, None),
        (4, 1.0, 2.0, None),
    ],
)
def test_waits_of_a_burst(tries: int, elapsed_s: float, retry_after_s: float | None, longest_s: float | None) -> None:
    got = next_wait(POLICY, tries=tries, elapsed_s=elapsed_s, rng=Top(), retry_after_s=retry_after_s)
    assert got == longest_s


def test_the_wait_of_a_burst_is_capped() -> None:
    policy = RetryPolicy(burst_retries=20)
    waits = [next_wait(policy, tries=tries, elapsed_s=0.0, rng=Top()) for tries in range(1, 9)]
    assert waits == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0])


def test_no_retries() -> None:
    assert next_wait(RetryPolicy(burst_retries=0), tries=1, elapsed_s=0.0, rng=Top()) is None


@pytest.mark.feature("F63")
def test_full_jitter_spreads_evenly() -> None:
    rng = random.Random(1)
    waits = [next_wait(POLICY, tries=1, elapsed_s=0.0, rng=rng) for _ in range(4_000)]
    numbers = [wait for wait in waits if wait is not None]
    assert len(numbers) == 4_000
    assert 0 <= min(numbers) < 0.01 and 0.19 < max(numbers) <= 0.2
    assert sum(numbers) / 4_000 == pytest.approx(0.1, abs=0.005)


@pytest.mark.feature("F63")
@pytest.mark.parametrize(
    ("bursts", "shortest_s", "longest_s"),
    [
        (0, 8, 10),
        (1, 8, 10),
        (2, 16, 20),
        (3, 32, 40),
        (4, 64, 80),
        (5, 128, 160),
        (6, 240, 300),
        (7, 240, 300),
        (100_000, 240, 300),
    ],
)
def test_durable_waits(bursts: int, shortest_s: float, longest_s: float) -> None:
    assert durable_wait(POLICY, bursts, Top()) == longest_s
    assert durable_wait(POLICY, bursts, Bottom()) == pytest.approx(shortest_s)


def test_durable_waits_still_spread_at_the_cap() -> None:
    rng = random.Random(1)
    assert len({round(durable_wait(POLICY, 50, rng)) for _ in range(500)}) > 40


@pytest.mark.parametrize(("retry_after_s", "wait_s"), [(120.0, 120.0), (86_400.0, 3_600.0), (1.0, 40.0), (None, 40.0)])
def test_durable_wait_with_retry_after(retry_after_s: float | None, wait_s: float) -> None:
    assert durable_wait(POLICY, 3, Top(), retry_after_s=retry_after_s) == wait_s


def test_an_hour_of_outage_sees_about_18_bursts() -> None:
    rng = random.Random(1)
    bursts, now_s = 0, 0.0
    while now_s < 3_600:
        bursts += 1
        now_s += 0.7 + durable_wait(POLICY, bursts, rng)
    assert 17 <= bursts <= 19


@given(
    policy=st.builds(
        RetryPolicy,
        burst_retries=st.integers(0, 10),
        base_s=st.floats(0.001, 5),
        max_s=st.floats(5, 60),
        deadline_s=st.floats(0.1, 120),
    ),
    took_s=st.floats(0, 20),
    retry_after_s=st.one_of(st.none(), st.floats(0, 100)),
    seed=st.integers(),
)
def test_a_burst_ends_within_its_tries_and_its_deadline(
    policy: RetryPolicy, took_s: float, retry_after_s: float | None, seed: int
) -> None:
    rng = random.Random(seed)
    tries, started_s, now_s = 1, 0.0, took_s
    while True:
        wait_s = next_wait(policy, tries=tries, elapsed_s=now_s, rng=rng, retry_after_s=retry_after_s)
        if wait_s is None:
            break
        assert wait_s >= (retry_after_s or 0.0)
        assert wait_s <= max(policy.max_s, retry_after_s or 0.0)
        started_s = now_s + wait_s
        assert started_s < policy.deadline_s
        now_s = started_s + took_s
        tries += 1
    assert tries <= 1 + policy.burst_retries


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: RetryPolicy(burst_retries=-1), ["burst_retries"]),
        (lambda: RetryPolicy(base_s=0.0), ["base_s"]),
        (lambda: RetryPolicy(base_s=6.0, deadline_s=0.0), ["base_s", "deadline_s"]),
        (lambda: RetryPolicy(durable_base_s=301.0), ["durable_base_s"]),
        (lambda: RetryPolicy(durable_jitter=1.0), ["durable_jitter"]),
        (lambda: RetryPolicy(retry_after_max_s=-1.0), ["retry_after_max_s"]),
    ],
)
def test_a_policy_that_cannot_work_is_refused_whole(make: Callable[[], RetryPolicy], named: list[str]) -> None:
    with pytest.raises(ValueError, match="retry policy") as caught:
        make()
    for field in named:
        assert field in str(caught.value)
