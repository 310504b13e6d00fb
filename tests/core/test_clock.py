"""Whose clock is off, by tables."""

from __future__ import annotations

import pytest

from gateway.core.clock import DATABASE, MOST_OFF_S, NEAR_S, OURS, Off, Skew, judge, reading, skew


def about(ahead_s: float, *, give_s: float = 0.6) -> Skew:
    return Skew(ahead_s - give_s, ahead_s + give_s)


@pytest.mark.parametrize(
    ("ahead_s", "who"),
    [
        # Nobody, and nothing to compare with.
        ({}, set()),
        ({"a": 0.3, "b": -0.2, DATABASE: 0.0}, set()),
        ({"a": MOST_OFF_S, "b": -MOST_OFF_S}, set()),
        # One that is alone proves nothing of ours, whoever agrees with us.
        ({"a": 63}, {"a"}),
        ({"a": 63, "b": 0}, {"a"}),
        ({"a": 63, "b": 0, "c": 1, DATABASE: 0}, {"a"}),
        ({"a": 0, DATABASE: -63}, {DATABASE}),
        # Most of them say the same.
        ({"a": 63, "b": 62}, {OURS}),
        ({"a": 63, "b": 62, "c": 0}, {OURS}),
        ({"a": -63, "b": 0, DATABASE: -63}, {OURS}),
        ({"a": 63, "b": 62, "c": 64, "d": -5000}, {OURS}),
        # Half of them do not, and apart by what they like is not alike.
        ({"a": 63, "b": 62, "c": 0, "d": 0}, {"a", "b"}),
        ({"a": 63, "b": -63}, {"a", "b"}),
        ({"a": 63, "b": 600, "c": 7200}, {"a", "b", "c"}),
    ],
)
def test_whose_clock_is_off(ahead_s: dict[str, float], who: set[str]) -> None:
    verdict = judge({name: about(one_s, give_s=0) for name, one_s in ahead_s.items()}, ())
    assert verdict.off.keys() == who
    assert verdict.apart == {name for name, one_s in ahead_s.items() if abs(one_s) > MOST_OFF_S}


def test_a_verdict_says_who_says_so() -> None:
    skews = {name: about(63) for name in ("e", "d", "c", "b")} | {"a": about(0)}
    assert judge(skews, ()).off == {OURS: Off(ahead_s=63, agreeing=4, asked=5, names=("b", "c", "d"))}
    assert judge({"a": about(-63), "b": about(0.4), DATABASE: about(0)}, ()).off == {
        "a": Off(ahead_s=-63, agreeing=2, asked=3, names=(DATABASE, "b"))
    }
    assert judge({"a": about(63)}, ()).off == {"a": Off(ahead_s=63, agreeing=0, asked=1, names=())}


def test_a_database_alone_does_not_acquit_us() -> None:
    """In a container on our machine it has an address of its own, and our clock."""
    assert judge({"a": about(63), DATABASE: about(0)}, ()).off == {"a": Off(ahead_s=63, agreeing=0, asked=2, names=())}


def test_only_what_is_certain_is_apart_and_it_is_so_until_it_is_near() -> None:
    steps = [
        (8.5, 0.6, False),
        (8.7, 0.6, True),
        (8.5, 0.6, True),
        (4.7, 0.6, True),
        (4.5, 0.6, False),
        (8.5, 0.6, False),
    ]
    before: frozenset[str] = frozenset()
    for ahead_s, give_s, apart in steps:
        before = judge({"a": about(-ahead_s, give_s=give_s)}, before).apart
        assert bool(before) is apart, ahead_s
    assert NEAR_S < 4.7 - 0.6 and MOST_OFF_S < 8.7 - 0.6


def test_what_a_reading_says_of_our_clock_now() -> None:
    # A header of whole seconds, between 100.0 and 100.4 on our monotonic clock.
    read = reading(1_000_000.0, resolution_s=1.0, sent_s=100.0, received_s=100.4)
    assert read is not None
    # Our wall clock is right: 0.7 s later it shows that much more.
    one = skew(read, now_s=1_000_001.4, monotonic_s=101.1)
    assert (one.least_s, one.most_s) == (pytest.approx(-0.7), pytest.approx(0.7))
    # It is set an hour ahead, and nobody has to be asked again to know.
    one = skew(read, now_s=1_003_605.0, monotonic_s=105.0)
    assert (one.ahead_s, one.give_s, one.certain_s) == (
        pytest.approx(3599.7),
        pytest.approx(0.7),
        pytest.approx(3599.0),
    )


def test_an_answer_that_took_long_says_nothing() -> None:
    assert reading(1_000_000.0, resolution_s=1.0, sent_s=100.0, received_s=102.1) is None
