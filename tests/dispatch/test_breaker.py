"""The breaker: tables for its rules, and a state machine that tries what no table thought of."""

import random
from collections.abc import Callable, Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.dispatch.breaker import (
    Breaker,
    BreakerChanged,
    BreakerPolicy,
    Cause,
    Permit,
    Refused,
    State,
    Verdict,
)

OK, FAILED, SLOW, TIMEOUT = Verdict.OK, Verdict.FAILED, Verdict.SLOW, Verdict.TIMEOUT
LETTERS = {"o": OK, "f": FAILED, "s": SLOW, "t": TIMEOUT}
EXACT = BreakerPolicy(open_jitter=0.0, probe_lease_s=30.0)


class Clock:
    """A monotonic clock that moves when told."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Rig:
    """A breaker with its clock and what it has said."""

    def __init__(self, policy: BreakerPolicy = EXACT, *, dry_run: bool = False) -> None:
        self.clock = Clock()
        self.changes: list[BreakerChanged] = []
        self.breaker = Breaker(
            "wms:create",
            policy,
            clock=self.clock,
            rng=random.Random(7),
            on_change=self.changes.append,
            dry_run=dry_run,
        )

    def permit(self) -> Permit:
        got = self.breaker.admit()
        assert isinstance(got, Permit)
        return got

    def refused(self) -> Refused:
        got = self.breaker.admit()
        assert isinstance(got, Refused)
        return got

    def feed(self, letters: str, *, every_s: float = 0.0) -> None:
        for letter in letters:
            self.breaker.record(self.permit(), LETTERS[letter], 0.1)
            self.clock.now += every_s

    @property
    def state(self) -> State:
        return self.breaker.snapshot().state

    def open_for_s(self) -> float:
        left = self.breaker.snapshot().reopen_in_s
        assert left is not None
        return left

    def labels(self) -> list[str]:
        return [change.label for change in self.changes]


def opened(policy: BreakerPolicy = EXACT) -> Rig:
    rig = Rig(policy)
    rig.feed("f" * policy.min_calls)
    assert rig.state is State.OPEN
    return rig


def reclose(rig: Rig) -> None:
    rig.clock.now += rig.open_for_s()
    rig.feed("oooo")
    assert rig.state is State.CLOSED


@pytest.mark.feature("F67")
@pytest.mark.parametrize(
    ("letters", "state", "cause"),
    [
        ("fffffff", State.CLOSED, None),  # seven calls: too few to judge
        ("ffffffff", State.OPEN, Cause.FAILURE_SHARE),
        ("ffffoooo", State.CLOSED, None),  # at the share, but the last was good
        ("ffffoooof", State.OPEN, Cause.FAILURE_SHARE),
        ("oooooffo" + "f", State.CLOSED, None),  # 3 of 9
        ("ffoffoff", State.OPEN, Cause.FAILURE_SHARE),  # two of three fail, interleaved
        ("ssosssos", State.OPEN, Cause.FAILURE_SHARE),  # slow counts as failed
        ("tttt", State.CLOSED, None),
        ("ttttt", State.OPEN, Cause.TIMEOUTS),
        ("ttttottt", State.OPEN, Cause.FAILURE_SHARE),  # not in a row, but 7 of 8
        ("ttttott", State.CLOSED, None),
        ("oooooooooooottttt", State.OPEN, Cause.TIMEOUTS),  # 5 of 17 bad is below the share
        ("oooooooooooottfttt", State.CLOSED, None),  # a refusal shows that it answers
    ],
)
def test_what_opens_it(letters: str, state: State, cause: Cause | None) -> None:
    rig = Rig()
    rig.feed(letters)
    assert rig.state is state
    assert rig.breaker.snapshot().cause is cause


def test_67_percent_interleaved_failures_open_it_within_eight_calls() -> None:
    rig = Rig()
    letters = iter("ffo" * 100)
    sent = 0
    while rig.state is not State.OPEN:
        rig.feed(next(letters), every_s=0.1)
        sent += 1
    assert sent == 8


def test_an_ok_that_took_too_long_is_slow() -> None:
    rig = Rig(BreakerPolicy(slow_s=2.0))
    for _ in range(8):
        rig.breaker.record(rig.permit(), OK, 1.99)
    assert rig.breaker.snapshot().failure_share == 0.0
    for _ in range(8):
        rig.breaker.record(rig.permit(), OK, 2.0)
    assert rig.state is State.OPEN


def test_the_window_forgets() -> None:
    rig = Rig()
    rig.feed("fffffff")
    rig.clock.now += 61
    assert rig.breaker.snapshot().calls == 0
    rig.feed("f")
    assert rig.state is State.CLOSED
    assert rig.breaker.snapshot().calls == 1


def test_the_window_forgets_bucket_by_bucket() -> None:
    rig = Rig()
    rig.feed("o" * 600, every_s=1.0)
    assert 54 <= rig.breaker.snapshot().calls <= 60


def test_open_times_double_up_to_the_maximum() -> None:
    rig = opened()
    seen = []
    for _ in range(6):
        seen.append(rig.open_for_s())
        rig.clock.now += rig.open_for_s()
        rig.feed("f")
    assert seen == [10.0, 20.0, 40.0, 60.0, 60.0, 60.0]


def test_open_time_is_shortened_by_jitter_and_never_lengthened() -> None:
    seen = []
    for seed in range(200):
        clock = Clock()
        breaker = Breaker("b", BreakerPolicy(), clock=clock, rng=random.Random(seed))
        for _ in range(8):
            permit = breaker.admit()
            assert isinstance(permit, Permit)
            breaker.record(permit, FAILED, 0.1)
        left = breaker.snapshot().reopen_in_s
        assert left is not None
        seen.append(left)
    assert 8.0 <= min(seen) < 8.1 and 9.9 < max(seen) <= 10.0


def test_flapping_keeps_the_long_open_time_and_a_quiet_window_ends_it() -> None:
    rig = opened()
    reclose(rig)
    rig.feed("ffffffff")
    assert rig.open_for_s() == 20.0
    reclose(rig)
    rig.clock.now += 60
    rig.feed("ffffffff")
    assert rig.open_for_s() == 10.0


def test_closing_forgets_the_time_outs_that_opened_it() -> None:
    rig = Rig()
    rig.feed("ttttt")
    reclose(rig)
    rig.feed("tttt")
    assert rig.state is State.CLOSED


def test_passed_probes_of_one_half_open_time_count_nothing_in_the_next() -> None:
    rig = opened()
    rig.clock.now += 10
    rig.feed("o" + "off")
    rig.clock.now += 20
    probe = rig.permit()
    rig.refused()
    rig.breaker.record(probe, OK, 0.1)
    rig.feed("oo")
    assert rig.state is State.HALF_OPEN


def test_late_failures_never_extend_the_open_time_and_late_successes_are_no_probes() -> None:
    rig = Rig()
    under_way = [rig.permit() for _ in range(100)]
    for permit in under_way[:8]:
        rig.breaker.record(permit, FAILED, 0.1)
    until = rig.refused().until
    rig.clock.now += 5
    for permit in under_way[8:54]:
        rig.breaker.record(permit, TIMEOUT, 5.0)
    assert rig.refused().until == until
    rig.clock.now = until
    rig.permit()
    for permit in under_way[54:]:
        rig.breaker.record(permit, OK, 15.0)
    assert rig.state is State.HALF_OPEN
    assert len(rig.changes) == 2


def test_half_open_lets_one_through_then_three_and_then_closes() -> None:
    rig = opened()
    rig.clock.now = rig.refused().until
    got = [rig.breaker.admit() for _ in range(100)]
    (first,) = [permit for permit in got if isinstance(permit, Permit)]
    assert first.probe
    assert rig.refused().state is State.HALF_OPEN
    rig.breaker.record(first, OK, 0.1)

    got = [rig.breaker.admit() for _ in range(100)]
    probes = [permit for permit in got if isinstance(permit, Permit)]
    assert len(probes) == 3
    for permit in probes[:2]:
        rig.breaker.record(permit, OK, 0.1)
        rig.refused()  # what passed makes no room for a fourth
    rig.breaker.record(probes[2], OK, 0.1)
    assert rig.state is State.CLOSED
    assert not rig.permit().probe
    assert [(change.new, change.cause) for change in rig.changes] == [
        (State.OPEN, Cause.FAILURE_SHARE),
        (State.HALF_OPEN, Cause.PROBE_DUE),
        (State.CLOSED, Cause.PROBES_PASSED),
    ]


@pytest.mark.parametrize("verdict", [FAILED, SLOW, TIMEOUT])
def test_too_many_bad_probes_open_again_and_the_other_probes_count_nowhere(verdict: Verdict) -> None:
    rig = opened()
    rig.clock.now += 10
    rig.feed("o")
    probes = [rig.permit() for _ in range(3)]
    rig.breaker.record(probes[0], verdict, 0.1)
    assert rig.state is State.HALF_OPEN
    rig.breaker.record(probes[1], FAILED, 0.1)
    until = rig.refused().until
    assert until == rig.clock.now + 20
    rig.breaker.record(probes[2], OK, 0.1)
    assert rig.refused().until == until
    assert len(rig.changes) == 3


def test_the_first_probe_has_to_succeed_and_one_bad_of_three_is_let_pass() -> None:
    rig = opened()
    rig.clock.now += 10
    rig.feed("f")
    assert rig.state is State.OPEN
    rig.clock.now = rig.refused().until
    rig.feed("o")
    for permit, verdict in zip([rig.permit() for _ in range(3)], [OK, FAILED, OK], strict=True):
        rig.breaker.record(permit, verdict, 0.1)
    assert rig.state is State.CLOSED


@pytest.mark.feature("F71")
def test_a_cancelled_probe_gives_its_permit_back_without_a_verdict() -> None:
    rig = opened()
    rig.clock.now += 10
    for _ in range(50):
        permit = rig.permit()
        rig.refused()
        rig.breaker.release(permit)
    assert rig.state is State.HALF_OPEN
    assert len(rig.changes) == 2


@pytest.mark.feature("F71")
def test_a_lost_probe_frees_its_place_when_its_lease_ends() -> None:
    rig = opened()
    rig.clock.now += 10
    lost = rig.permit()
    refused = rig.refused()
    assert refused.until == rig.clock.now + 30 == rig.breaker.next_change_at()
    rig.clock.now = refused.until
    heir = rig.permit()
    rig.refused()
    rig.breaker.record(lost, FAILED, 31.0)  # its place is taken: counts nowhere
    rig.breaker.release(lost)
    assert rig.state is State.HALF_OPEN
    rig.refused()
    rig.breaker.record(heir, OK, 0.1)
    rig.breaker.record(heir, OK, 0.1)  # twice counts once
    assert sum(isinstance(rig.breaker.admit(), Permit) for _ in range(10)) == 3


@pytest.mark.feature("F69")
def test_the_ramp_grows_to_the_full_limit() -> None:
    rig = opened()
    assert rig.breaker.ramp_limit(256) == 256
    reclose(rig)
    seen = [(rig.breaker.ramp_limit(256), rig.breaker.ramp_limit(16), rig.breaker.ramp_limit(1))]
    while (at := rig.breaker.next_change_at()) is not None:
        assert at > rig.clock.now
        rig.clock.now = at
        seen.append((rig.breaker.ramp_limit(256), rig.breaker.ramp_limit(16), rig.breaker.ramp_limit(1)))
    assert [big for big, _, _ in seen] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert [small for _, small, _ in seen] == [1, 1, 2, 2, 4, 5, 8, 11, 16]
    assert {one for _, _, one in seen} == {1}
    assert rig.clock.now == pytest.approx(1_020.0)


def test_next_change_of_each_state() -> None:
    rig = Rig()
    assert rig.breaker.next_change_at() is None
    rig.feed("ffffffff")
    assert rig.breaker.next_change_at() == 1_010.0
    rig.clock.now = 1_010.0
    permit = rig.permit()
    assert rig.breaker.next_change_at() == 1_040.0
    rig.breaker.release(permit)
    assert rig.breaker.next_change_at() == 1_010.0


@pytest.mark.feature("F70")
def test_forced_open_refuses_until_its_end_and_then_closes_with_the_ramp() -> None:
    rig = Rig()
    under_way = rig.permit()
    rig.breaker.force_open("stocktaking", rig.clock.now + 600)
    assert rig.refused() == Refused(1_600.0, State.OPEN)
    snapshot = rig.breaker.snapshot()
    assert (snapshot.label, snapshot.manual_reason, snapshot.manual_for_s) == ("forced_open", "stocktaking", 600.0)
    rig.breaker.record(under_way, FAILED, 0.1)
    rig.clock.now = 1_600.0
    assert not rig.permit().probe
    assert (rig.breaker.snapshot().manual_reason, rig.breaker.ramp_limit(16)) == (None, 1)
    assert rig.labels() == ["forced_open", "closed"]


def test_an_idle_gate_is_not_left_open_by_a_hold_that_found_it_closed() -> None:
    rig = Rig()
    for _ in range(2):
        rig.breaker.force_open("stocktaking", rig.clock.now + 5)
        rig.breaker.force_open("longer", rig.clock.now + 60)
        rig.clock.now += 61
        rig.breaker.resume()
    assert rig.labels() == ["forced_open", "forced_open", "closed"] * 2
    assert rig.breaker.snapshot().cause is Cause.HOLD_ENDED


def test_a_hold_over_a_forced_closing_says_nothing_for_its_target() -> None:
    rig = opened()
    rig.breaker.force_close("go", rig.clock.now + 60)
    rig.breaker.force_open("halt", rig.clock.now + 5)
    rig.clock.now += 5
    assert rig.permit().probe


def test_forced_open_over_an_open_one_says_so_and_does_not_lengthen_later_times() -> None:
    rig = opened()
    rig.breaker.force_open("stocktaking", rig.clock.now + 5)
    assert rig.open_for_s() == 5.0
    rig.clock.now += 5
    rig.feed("f")
    assert rig.open_for_s() == 20.0
    assert rig.labels() == ["open", "forced_open", "half_open", "open"]


@pytest.mark.feature("F70")
def test_forced_closed_admits_counts_and_ends() -> None:
    rig = opened()
    rig.breaker.force_close("their status page is wrong", rig.clock.now + 60)
    assert rig.breaker.ramp_limit(16) == 16
    rig.feed("t" * 50, every_s=1.0)
    assert rig.breaker.snapshot().label == "forced_closed"
    assert rig.breaker.snapshot().failure_share == 1.0
    rig.clock.now += 10
    assert rig.breaker.snapshot().manual_reason is None
    rig.feed("of")
    assert rig.labels() == ["open", "forced_closed", "closed", "open"]


def test_forced_closed_over_a_closed_one_keeps_permits_and_ends_the_ramp() -> None:
    rig = opened()
    reclose(rig)
    permit = rig.permit()
    rig.breaker.force_close("go", rig.clock.now + 10)
    assert rig.breaker.ramp_limit(16) == 16
    rig.breaker.record(permit, FAILED, 0.1)
    assert rig.breaker.snapshot().calls == 1


@pytest.mark.parametrize("closed", [True, False])
def test_resume_ends_a_hold(closed: bool) -> None:
    rig = Rig()
    rig.breaker.resume()
    assert rig.changes == []
    if closed:
        rig.breaker.force_close("go", 9_999.0)
        rig.feed("fffffff")
        rig.breaker.resume()
        rig.feed("f")
        assert rig.labels() == ["forced_closed", "closed", "open"]
    else:
        rig.breaker.force_open("halt", 9_999.0)
        rig.breaker.resume()
        assert not rig.permit().probe
        assert rig.labels() == ["forced_open", "closed"]


def test_resume_of_a_hold_over_an_open_one_probes() -> None:
    rig = opened()
    rig.breaker.force_open("halt", 9_999.0)
    rig.breaker.resume()
    assert rig.permit().probe
    assert rig.labels() == ["open", "forced_open", "open", "half_open"]


@pytest.mark.feature("F70")
@pytest.mark.parametrize(("reason", "until"), [("", 2_000.0), ("halt", float("inf")), ("halt", float("nan"))])
def test_a_hold_needs_a_reason_and_an_end(reason: str, until: float) -> None:
    rig = Rig()
    for force in (rig.breaker.force_open, rig.breaker.force_close):
        with pytest.raises(ValueError, match="wms:create"):
            force(reason, until)
    assert rig.changes == []
    assert rig.breaker.snapshot().manual_reason is None


@pytest.mark.feature("F70")
def test_dry_run_admits_always_and_says_what_would_have_been() -> None:
    rig = Rig(dry_run=True)
    rig.feed("f" * 500, every_s=0.01)
    assert rig.breaker.shut_until() is None
    assert rig.labels() == ["open"]
    assert rig.changes[0].dry_run
    assert rig.breaker.snapshot().refused == 492
    rig.clock.now += 10
    rig.feed("oooo")
    assert rig.labels() == ["open", "half_open", "closed"]
    assert rig.breaker.ramp_limit(16) == 16


def test_dry_run_never_refuses_concurrent_calls_in_half_open() -> None:
    rig = Rig(dry_run=True)
    rig.feed("ffffffff")
    rig.clock.now += 10
    permits = [rig.permit() for _ in range(100)]
    assert sum(permit.probe for permit in permits) == 1
    for permit in permits[1:]:
        rig.breaker.record(permit, OK, 0.1)
    assert rig.state is State.HALF_OPEN


def test_a_person_can_open_it_in_a_dry_run() -> None:
    rig = Rig(dry_run=True)
    rig.breaker.force_open("halt", 1_060.0)
    assert rig.refused().until == rig.breaker.shut_until() == 1_060.0
    assert not rig.changes[0].dry_run


def test_a_hold_that_has_run_out_does_not_make_a_dry_run_refuse() -> None:
    rig = Rig(dry_run=True)
    rig.breaker.force_close("go", 1_001.0)
    rig.clock.now = 1_002.0
    rig.feed("f" * 20)
    assert rig.labels() == ["forced_closed", "closed", "open"]


def test_whoever_hears_a_change_may_call_back() -> None:
    clock = Clock()
    heard: list[str] = []

    def hear(change: BreakerChanged) -> None:
        heard.append(change.label)
        assert breaker.snapshot().state is change.new
        if change.new is State.HALF_OPEN and len(heard) == 2:
            breaker.force_open("not yet", clock.now + 50)

    breaker = Breaker("b", EXACT, clock=clock, rng=random.Random(1), on_change=hear)
    for _ in range(8):
        permit = breaker.admit()
        assert isinstance(permit, Permit)
        breaker.record(permit, FAILED, 0.1)
    clock.now += 10
    assert breaker.admit() == Refused(1_060.0, State.OPEN)
    assert heard == ["open", "half_open", "forced_open"]


def test_a_hold_replaced_by_whoever_hears_its_end_drops_the_outcome() -> None:
    clock = Clock()

    def hear(change: BreakerChanged) -> None:
        if change.cause is Cause.HOLD_ENDED:
            breaker.force_open("closed long enough", 2_000.0)

    breaker = Breaker("b", EXACT, clock=clock, rng=random.Random(1), on_change=hear)
    breaker.force_close("go", 1_010.0)
    clock.now = 1_010.0
    permit = breaker.admit()
    assert isinstance(permit, Permit)
    breaker.record(permit, FAILED, 0.1)
    assert breaker.snapshot().calls == 0
    assert breaker.snapshot().reopen_in_s == 990.0


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: BreakerPolicy(window_s=0), ["window_s"]),
        (lambda: BreakerPolicy(min_calls=0, failure_share=0.0), ["min_calls", "failure_share"]),
        (lambda: BreakerPolicy(slow_s=0.0), ["slow_s"]),
        (lambda: BreakerPolicy(consecutive_timeouts=0), ["consecutive_timeouts"]),
        (lambda: BreakerPolicy(open_s=61.0), ["open_s"]),
        (lambda: BreakerPolicy(open_jitter=1.0), ["open_jitter"]),
        (lambda: BreakerPolicy(probes=()), ["probes"]),
        (lambda: BreakerPolicy(probes=(1, 0)), ["probes"]),
        (lambda: BreakerPolicy(probe_lease_s=0.0, ramp_s=-1.0), ["probe_lease_s", "ramp_s"]),
    ],
)
def test_a_policy_that_cannot_work_is_refused_whole(make: Callable[[], BreakerPolicy], named: Iterable[str]) -> None:
    with pytest.raises(ValueError, match="breaker policy") as caught:
        make()
    for field in named:
        assert field in str(caught.value)


class BreakerMachine(RuleBasedStateMachine):
    """Any order of calls, outcomes, losses, holds and time."""

    policy = BreakerPolicy(min_calls=4, consecutive_timeouts=3, probes=(1, 3), probe_lease_s=5.0)

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig(self.policy)
        self.held: list[Permit] = []  # admitted, not yet reported
        self.probe_ends: dict[int, float] = {}
        self.done: list[Permit] = []
        self.judged = 0
        self.epoch = 1

    def _look(self) -> None:
        """Start counting anew when the breaker has entered another epoch."""
        epoch = 1 + sum(change.old is not change.new for change in self.rig.changes)
        if epoch != self.epoch:
            self.epoch, self.judged = epoch, 0
            self.probe_ends.clear()

    def _allowed(self) -> int:
        return 1 if self.judged < 1 else 4 - self.judged

    @rule(count=st.integers(1, 100))
    def admit_at_once(self, count: int) -> None:
        for _ in range(count):
            shut_until = self.rig.breaker.shut_until()
            got = self.rig.breaker.admit()
            assert shut_until == (got.until if isinstance(got, Refused) else None)
            self._look()
            if isinstance(got, Permit):
                assert got.epoch == self.epoch
                self.held.append(got)
                if got.probe:
                    assert self.rig.state is State.HALF_OPEN
                    self.probe_ends[got.serial] = self.rig.clock.now + self.policy.probe_lease_s
            else:
                assert got.until > self.rig.clock.now
                assert got.until == self.rig.breaker.next_change_at()
        in_force = [end for end in self.probe_ends.values() if end > self.rig.clock.now]
        assert len(in_force) <= self._allowed()

    @precondition(lambda self: self.held)
    @rule(data=st.data(), verdict=st.sampled_from(Verdict), took_s=st.floats(0, 100))
    def report(self, data: st.DataObject, verdict: Verdict, took_s: float) -> None:
        permit = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        stale = permit.epoch != self.epoch
        before = self._whole()
        lease_before = self.probe_ends.pop(permit.serial, None) if permit.probe and not stale else None
        changes = len(self.rig.changes)
        self.rig.breaker.record(permit, verdict, took_s)
        if stale:
            assert self._whole() == before
        elif permit.probe and lease_before is not None and self._counted(before):
            self.judged += 1
        assert len(self.rig.changes) - changes <= 2  # a hold that ended, and one change
        self._look()
        self.done.append(permit)

    def _counted(self, before: object) -> bool:
        return self._whole() != before

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        permit = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        before = self._whole()
        changes = len(self.rig.changes)
        self.rig.breaker.release(permit)
        if permit.epoch != self.epoch:
            assert self._whole() == before
        elif permit.probe:
            self.probe_ends.pop(permit.serial, None)
        assert len(self.rig.changes) == changes
        self.done.append(permit)

    @precondition(lambda self: self.held)
    @rule()
    def lose_all(self) -> None:
        self.held.clear()

    @precondition(lambda self: any(permit.probe for permit in self.done))
    @rule(data=st.data(), verdict=st.sampled_from(Verdict))
    def report_a_probe_again(self, data: st.DataObject, verdict: Verdict) -> None:
        permit = data.draw(st.sampled_from([permit for permit in self.done if permit.probe]))
        before = self._whole()
        self.rig.breaker.record(permit, verdict, 0.1)
        self.rig.breaker.release(permit)
        assert self._whole() == before

    @rule(seconds=st.floats(0, 200))
    def wait(self, seconds: float) -> None:
        self.rig.clock.now += seconds

    @rule(seconds=st.floats(-1, 100))
    def force_open(self, seconds: float) -> None:
        self.rig.breaker.force_open("by hand", self.rig.clock.now + seconds)
        self._look()

    @rule(seconds=st.floats(-1, 100))
    def force_close(self, seconds: float) -> None:
        self.rig.breaker.force_close("by hand", self.rig.clock.now + seconds)
        self._look()

    @rule()
    def resume(self) -> None:
        self.rig.breaker.resume()

    @rule(verdicts=st.lists(st.sampled_from(Verdict), min_size=1, max_size=6))
    def serve(self, verdicts: list[Verdict]) -> None:
        """Calls one after the other, each as soon as it may go: leads through all states."""
        for verdict in verdicts:
            at = self.rig.breaker.next_change_at()
            self.rig.clock.now = max(self.rig.clock.now, at or 0.0)
            self.admit_at_once(1)
            if self.held:
                permit = self.held.pop()
                lease = self.probe_ends.pop(permit.serial, None) if permit.epoch == self.epoch else None
                before = self._whole()
                self.rig.breaker.record(permit, verdict, 0.1)
                if permit.probe and lease is not None and self._counted(before):
                    self.judged += 1
                self._look()
                self.done.append(permit)

    @rule()
    def always_admits_after_waiting_as_told(self) -> None:
        """Whatever was lost before, at most one wait to the instant it names lets a call through."""
        got = self.rig.breaker.admit()
        self._look()
        if isinstance(got, Refused):
            at = self.rig.breaker.next_change_at()
            assert at is not None
            self.rig.clock.now = max(self.rig.clock.now, at)
            got = self.rig.breaker.admit()
            self._look()
        assert isinstance(got, Permit)
        self.rig.breaker.release(got)

    def _whole(self) -> object:
        breaker = self.rig.breaker
        return (
            breaker.snapshot(),
            breaker.next_change_at(),
            breaker.ramp_limit(64),
            len(breaker._leases),
            breaker._judged,
            breaker._bad_probes,
            breaker._stage,
            breaker._timeouts,
            len(self.rig.changes),
        )

    @invariant()
    def pybreaker_agrees(self) -> None:
        breaker = self.rig.breaker
        assert breaker._circuit.current_state == breaker._state.value
        assert breaker._circuit.state.name == breaker._state.value
        assert breaker._changed == []

    @invariant()
    def counts_add_up(self) -> None:
        breaker = self.rig.breaker
        window = breaker._window
        assert 0 <= window.bad <= window.calls
        assert window.calls == sum(window._counts) and window.bad == sum(window._bads)
        assert len(window._counts) == 12
        snapshot = breaker.snapshot()
        assert snapshot.reopen_in_s is None or 0 <= snapshot.reopen_in_s <= 100 + 1e-9
        assert 1 <= breaker.ramp_limit(64) <= 64
        if breaker._state is State.HALF_OPEN:
            assert len(breaker._leases) <= breaker._room() <= 3
        else:
            assert not breaker._leases

    @invariant()
    def each_event_is_a_real_change(self) -> None:
        labels = self.rig.labels()
        automatic = [change for change in self.rig.changes if change.cause is not Cause.FORCED]
        assert all(change.old is not change.new or change.cause is Cause.HOLD_ENDED for change in automatic)
        assert not labels or labels[-1].endswith(self.rig.breaker._state.name.lower())


BreakerMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBreakerMachine = BreakerMachine.TestCase
