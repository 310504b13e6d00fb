"""What a gate learns from refusals, by figures; what it gains by it is in test_gate.py and in the chaos runs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dispatch.pace import LearntRate


def _refuse(rate: LearntRate, now: float, most_per_s: float = math.inf) -> None:
    rate.refused(sent_at=now, now=now, most_per_s=most_per_s)


def _learning(first_per_s: float = 32.0, *, passed: int = 9, most_per_s: float = math.inf) -> LearntRate:
    """It has counted what goes through for three seconds, and keeps to a rate since 0.0."""
    rate = LearntRate(first_per_s)
    _refuse(rate, -3.0, most_per_s)
    for number in range(passed):
        rate.passed(-2.0 + number / 10)
    _refuse(rate, 0.0, most_per_s)
    return rate


def _cut(per_s: float) -> LearntRate:
    """Refused at this rate, at 0.0."""
    rate = _learning(per_s)
    _refuse(rate, 0.0)
    return rate


def _send(rate: LearntRate, *, now: float, for_s: float, most_per_s: float = math.inf) -> float:
    """Everything goes through from `now` on, as often as it may; you get when that was over."""
    until = now + for_s
    while now < until:
        rate.passed(now, most_per_s=most_per_s)
        now += 1 / (rate.rate_per_s or 1_000.0)
    return now


def test_a_rate_is_kept_to_when_it_is_refused_for_three_seconds() -> None:
    rate = LearntRate(32)
    assert not rate.listens
    _refuse(rate, 0.0)
    assert rate.listens and rate.rate_per_s is None
    _refuse(rate, 1.0)
    assert rate.rate_per_s is None
    _refuse(rate, 3.0)
    assert rate.rate_per_s == 32


def test_a_refusal_in_passing_is_forgotten() -> None:
    rate = LearntRate(32)
    _refuse(rate, 0.0)
    _send(rate, now=1.0, for_s=10.0)
    assert not rate.listens
    _refuse(rate, 12.0)
    assert rate.rate_per_s is None


def test_it_doubles_twice_a_second_until_it_is_refused_again() -> None:
    rate = _learning(32)
    now = _send(rate, now=1.0, for_s=1.5)
    assert rate.rate_per_s == pytest.approx(256, rel=0.1)
    _refuse(rate, now)
    assert rate.rate_per_s == pytest.approx(0.7 * 256, rel=0.1)


def test_it_comes_back_slowly_to_where_it_was_cut_and_goes_on_beyond() -> None:
    rate = _cut(60.0)
    assert rate.rate_per_s == pytest.approx(42)
    now = _send(rate, now=0.0, for_s=5.0)
    assert 55 < (rate.rate_per_s or 0) < 58
    now = _send(rate, now=now, for_s=5.0)
    assert rate.rate_per_s == pytest.approx(60, abs=0.5)
    _send(rate, now=now, for_s=8.0)
    assert rate.rate_per_s == pytest.approx(71, abs=1)


def test_refusals_of_what_was_sent_before_the_cut_are_one_reason_to_cut() -> None:
    rate = _cut(60.0)
    for _ in range(100):
        rate.refused(sent_at=-0.1, now=0.2)
    assert rate.rate_per_s == pytest.approx(42)


def test_it_does_not_grow_while_nobody_sends() -> None:
    rate = _cut(60.0)
    rate.passed(1.0)
    rate.passed(7_200.0)
    assert (rate.rate_per_s or 0) < 48


def test_a_target_that_refuses_no_more_is_sent_to_as_fast_as_may_be_again() -> None:
    rate = _cut(60.0)
    _send(rate, now=0.0, for_s=120.0)
    assert rate.rate_per_s is None and not rate.listens


def test_beside_a_configured_rate_only_less_than_that_is_learnt() -> None:
    rate = _learning(32, most_per_s=10.0)
    assert rate.rate_per_s == pytest.approx(7)
    _send(rate, now=0.0, for_s=1.0, most_per_s=10.0)
    assert rate.rate_per_s is None


def test_refusals_that_do_not_get_fewer_are_not_answered_by_going_slower() -> None:
    """18 a second went through at once after each pause; at a rate of less than that they are refused as before."""
    rate, now = _learning(32, passed=54), 0.0
    while rate.rate_per_s is not None:
        now += 1.0
        _refuse(rate, now)
    assert now == 3.0, "32, 22 and 16"
    for later in (0.0, 4.0, 599.0):
        _refuse(rate, now + later)
        assert not rate.listens
    _refuse(rate, now + 600.0)
    assert rate.listens


def test_the_patience_that_a_target_asks_for_is_no_quiet_time() -> None:
    """Asked to wait for 30 s, it lets as few through as any other that is sent all at once."""
    rate = LearntRate(32)
    _refuse(rate, 0.0)
    for after in (0.1, 30.0, 30.1):  # one that was under way together with the refused, and the first after the pause
        rate.passed(after)
    _refuse(rate, 30.2)
    assert rate.rate_per_s == 32


def test_a_quota_that_falls_is_learnt_anew() -> None:
    """100 a second went through without, more with a rate; that less does now is no news of the pace."""
    rate = LearntRate(32)
    _refuse(rate, -3.0)
    for number in range(300):
        rate.passed(-2.0 + number / 300)
    _refuse(rate, 0.0)
    now = _send(rate, now=0.0, for_s=4.0)
    assert (rate.rate_per_s or 0) > 100
    while rate.rate_per_s is not None:
        now += 1.0
        _refuse(rate, now)
    assert rate.listens
    _refuse(rate, now + 3.0)
    assert rate.rate_per_s == 32


def test_a_target_that_refused_everything_is_counted_anew() -> None:
    """Nothing went through without a rate and nothing with it: that says nothing of the pace."""
    rate, now = _learning(32, passed=0), 0.0
    while rate.rate_per_s is not None:
        now += 1.0
        _refuse(rate, now)
    assert rate.listens
    _refuse(rate, now + 3.0)
    assert rate.rate_per_s == 32


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, 1e7)), max_size=60), st.floats(0.01, 1e5))
def test_whatever_comes_it_stays_a_rate(answers: list[tuple[bool, float]], most_per_s: float) -> None:
    rate, now = LearntRate(32), 0.0
    for refused, gap_s in answers:
        now += gap_s
        if refused:
            _refuse(rate, now, most_per_s)
        elif rate.listens:
            rate.passed(now, most_per_s=most_per_s)
        assert rate.rate_per_s is None or 0 < rate.rate_per_s <= 10_000
        assert rate.listens or rate.rate_per_s is None
