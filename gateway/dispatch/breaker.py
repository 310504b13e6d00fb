"""The circuit breaker of one gate: window, permits and clock in one file.

Answers for one question, "may this gate send now, and if not, until when?", from the outcomes it is told. It drives
the state of a `pybreaker.CircuitBreaker` (`open()`, `half_open()`, `close()`) and hears of changes by its listener, but
runs nothing through its `call`: the caller asks `admit()`, awaits outside, and reports with `record()` or `release()`.
What counts as a failure, how long a send may take, who waits and who is told are left to the gate.
"""

import enum
import math
import random
from collections.abc import Callable

import msgspec
import pybreaker

UNCOUNTED_EPOCH = 0
"""Epoch of a permit whose outcome counts nowhere; real epochs start at 1."""

_BUCKETS = 12
_RAMP_STEPS = 8


class State(enum.Enum):
    """State of a breaker; the values are pybreaker's own names."""

    CLOSED = pybreaker.STATE_CLOSED
    OPEN = pybreaker.STATE_OPEN
    HALF_OPEN = pybreaker.STATE_HALF_OPEN


class Verdict(enum.Enum):
    """What an attempt says about the health of the target, not about the order: a refused order is `OK`."""

    OK = "ok"
    FAILED = "failed"
    SLOW = "slow"
    TIMEOUT = "timeout"


class Cause(enum.Enum):
    """Why a breaker changed: a closed set, fit for a metric label."""

    FAILURE_SHARE = "failure_share"
    TIMEOUTS = "timeouts"
    PROBE_DUE = "probe_due"
    PROBE_FAILED = "probe_failed"
    PROBES_PASSED = "probes_passed"
    FORCED = "forced"
    HOLD_ENDED = "hold_ended"


class BreakerPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When a breaker opens, how long it stays so, and how it comes back. Raises ValueError on numbers that cannot work.

    Opens when, over the last `window_s`, at least `min_calls` were counted and `failure_share` of them were failed or
    slow: 4 bad of 8 open it, 3 of 8 do not, and neither do 7 bad of 7. Only a bad outcome opens, never the good one
    that makes the eighth call. `consecutive_timeouts` in a row open it whatever the count, so a dead target that sees
    two calls a minute is noticed too.

    Stays open 10, 20, 40, 60, 60 s (`open_s` doubling up to `open_max_s`), each shortened by up to `open_jitter` of
    itself so that workers do not probe together: the first time is 8 to 10 s. The doubling starts over once the
    breaker has stayed closed for `window_s`; a target that flaps faster than that keeps its longer times.

    Comes back in stages: with `probes` (1, 3) one call is let through, after its success three more at once, and if
    less than `failure_share` of them is bad (at most 1 of 3), the breaker closes; otherwise it opens again. Judged like
    this a target that refuses one call in three comes back in a few tries; if all had to succeed, it would stay shut
    while two thirds of its calls would go through. A probe that is neither recorded nor released
    within `probe_lease_s` loses its place to another; keep that above the send deadline.

    `slow_s`: an `OK` that took this long or longer counts as `SLOW`; None counts only the `SLOW` it is told.
    """

    window_s: float = 60.0
    min_calls: int = 8
    failure_share: float = 0.5
    slow_s: float | None = None
    consecutive_timeouts: int = 5
    open_s: float = 10.0
    open_max_s: float = 60.0
    open_jitter: float = 0.2
    probes: tuple[int, ...] = (1, 3)
    probe_lease_s: float = 60.0
    ramp_s: float = 10.0

    def __post_init__(self) -> None:
        wrong = [
            text
            for bad, text in (
                (not 0 < self.window_s < math.inf, "window_s must be above 0"),
                (self.min_calls < 1, "min_calls must be at least 1"),
                (not 0 < self.failure_share <= 1, "failure_share must be above 0 and at most 1"),
                (self.slow_s is not None and not self.slow_s > 0, "slow_s must be above 0, or absent"),
                (self.consecutive_timeouts < 1, "consecutive_timeouts must be at least 1"),
                (not 0 < self.open_s <= self.open_max_s < math.inf, "open_s must be above 0 and at most open_max_s"),
                (not 0 <= self.open_jitter < 1, "open_jitter must be at least 0 and below 1"),
                (not self.probes or min(self.probes) < 1, "probes must be one or more numbers of at least 1"),
                (not 0 < self.probe_lease_s < math.inf, "probe_lease_s must be above 0"),
                (not 0 <= self.ramp_s < math.inf, "ramp_s must be at least 0"),
            )
            if bad
        ]
        if wrong:
            raise ValueError("breaker policy: " + "; ".join(wrong))


class Permit(msgspec.Struct, frozen=True, gc=False):
    """Leave to send once; give it back through `record()` or `release()`, once. `serial` is 0 unless it is a probe."""

    epoch: int
    probe: bool
    serial: int


class Refused(msgspec.Struct, frozen=True, gc=False):
    """No leave to send, until the monotonic instant `until` at the latest.

    `OPEN`: exactly then. `HALF_OPEN`: all probes are out; `until` is when the first of their leases ends, and room may
    come earlier, with the outcome of a probe.
    """

    until: float
    state: State


class BreakerChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A breaker went from one state to another, or a manual hold began or ended (`old` and `new` may then be the same).

    `until` (monotonic) is set while it is open or held. With `dry_run` nothing was refused: it is what would have
    happened.
    """

    name: str
    old: State
    new: State
    cause: Cause
    manual_reason: str | None
    failure_share: float
    calls: int
    until: float | None
    dry_run: bool

    @property
    def label(self) -> str:
        """`closed`, `open`, `half_open`, `forced_open` or `forced_closed`."""
        return _label(self.new, self.manual_reason)


class BreakerSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A breaker as people see it.

    `failure_share` and `calls` stand still while it is not closed: they show what opened it. `reopen_in_s` is how long
    until it lets a probe through (0.0: with the next call), None unless open. `refused` counts since the start; in a
    dry run those that would have been.
    """

    name: str
    state: State
    cause: Cause | None
    failure_share: float
    calls: int
    reopen_in_s: float | None
    manual_reason: str | None
    manual_for_s: float | None
    refused: int
    dry_run: bool

    @property
    def label(self) -> str:
        """`closed`, `open`, `half_open`, `forced_open` or `forced_closed`."""
        return _label(self.state, self.manual_reason)


class Breaker:
    """The breaker of one gate; for one event loop, not for threads.

    `clock` is monotonic seconds. `on_change` hears each real change once, after it is complete, so it may call back
    into the breaker; it must be quick and must not raise.

    With `dry_run` the breaker goes through its states as always, but what it would refuse gets a permit that counts
    nowhere. A `force_open()` refuses in a dry run too: a person asked for it.
    """

    __slots__ = (
        "_bad_probes",
        "_cause",
        "_changed",
        "_circuit",
        "_clock",
        "_closed_at",
        "_dry_run",
        "_epoch",
        "_held_closed",
        "_judged",
        "_leases",
        "_manual_reason",
        "_manual_until",
        "_on_change",
        "_open_row",
        "_open_until",
        "_permit",
        "_policy",
        "_ramping",
        "_refused",
        "_rng",
        "_serial",
        "_slow_s",
        "_stage",
        "_state",
        "_timeouts",
        "_window",
        "name",
    )

    def __init__(
        self,
        name: str,
        policy: BreakerPolicy,
        *,
        clock: Callable[[], float],
        rng: random.Random,
        on_change: Callable[[BreakerChanged], None] | None = None,
        dry_run: bool = False,
    ) -> None:
        self.name = name
        self._policy = policy
        self._clock = clock
        self._rng = rng
        self._on_change = on_change
        self._dry_run = dry_run
        self._slow_s = math.inf if policy.slow_s is None else policy.slow_s

        self._changed: list[tuple[State, State]] = []
        self._circuit = pybreaker.CircuitBreaker(name=name, listeners=[_Listener(self._changed)])
        self._state = State.CLOSED
        self._cause: Cause | None = None
        self._epoch = UNCOUNTED_EPOCH + 1
        self._permit = Permit(self._epoch, False, 0)

        self._window = _Window(policy.window_s)
        self._timeouts = 0  # in a row
        self._closed_at = clock()
        self._ramping = False
        self._open_row = 0  # openings in a row, for the doubling
        self._open_until = 0.0
        self._manual_reason: str | None = None
        self._manual_until = 0.0
        self._held_closed = False  # whether it was closed, by itself, when it was forced open

        self._stage = 0
        self._judged = 0
        self._bad_probes = 0
        self._serial = 0
        self._leases: dict[int, float] = {}  # serial -> end; all leases are equally long, so the first ends first
        self._refused = 0

    # --- the gate's side

    def admit(self) -> Permit | Refused:
        """Leave to send now, or until when not. Never waits; the first call after the open time is the first probe."""
        if self._state is State.CLOSED:
            return self._permit  # one shared permit per epoch: nothing is counted on the way in
        now = self._clock()
        state = self._state
        if state is State.OPEN:
            if now < self._open_until:
                return self._refuse(self._open_until)
            self._let_go(now) if self._held_closed else self._half_open()
            if self._state is not State.HALF_OPEN:
                return self.admit()  # closed again, or whoever heard of the change forced another at once
        leases = self._leases
        if len(leases) >= self._room():
            # Invariant: room is at least 1 in half-open, so a full house has a first lease.
            serial, ends_at = next(iter(leases.items()))
            if now < ends_at:
                return self._refuse(ends_at)
            del leases[serial]  # the holder is gone or hangs: its late outcome finds no lease and counts nowhere
        self._serial += 1
        leases[self._serial] = now + self._policy.probe_lease_s
        return Permit(self._epoch, True, self._serial)

    def shut_until(self) -> float | None:
        """The monotonic instant up to which `admit()` would refuse, None if it would admit; takes no permit."""
        if self._state is State.CLOSED or (self._dry_run and self._manual_reason is None):
            return None
        until = self._open_until
        if self._state is State.HALF_OPEN:
            if len(self._leases) < self._room():
                return None
            until = next(iter(self._leases.values()))
        return until if self._clock() < until else None

    def open_until(self) -> float | None:
        """The monotonic instant up to which it is open, None while it is not: then a probe may go, or is under way."""
        if self._state is not State.OPEN or (self._dry_run and self._manual_reason is None):
            return None
        return self._open_until if self._clock() < self._open_until else None

    def record(self, permit: Permit, verdict: Verdict, took_s: float) -> None:
        """Count the outcome of an admitted call. Outcomes of an epoch that has passed count nowhere.

        So 50 calls under way when the breaker opens neither extend its open time nor pass for probes. After a probe's
        outcome there may be room for the next: whoever queues should ask `admit()` again.
        """
        if permit.epoch != self._epoch:
            return
        if verdict is Verdict.OK and took_s >= self._slow_s:
            verdict = Verdict.SLOW
        if permit.probe:
            self._record_probe(permit, verdict)
            return
        window = self._window
        now = self._clock()
        if self._manual_reason is not None and now >= self._manual_until:
            self._end_hold()
            if permit.epoch != self._epoch:
                return  # whoever heard of it forced the breaker again
        if verdict is Verdict.OK:
            self._timeouts = 0
            window.add(now, 0)
            return
        window.add(now, 1)
        self._timeouts = self._timeouts + 1 if verdict is Verdict.TIMEOUT else 0
        if self._manual_reason is not None:
            return  # forced closed: counted, not acted on
        policy = self._policy
        if self._timeouts >= policy.consecutive_timeouts:
            self._trip(now, Cause.TIMEOUTS)
        elif window.calls >= policy.min_calls and window.share() >= policy.failure_share:
            self._trip(now, Cause.FAILURE_SHARE)

    def release(self, permit: Permit) -> None:
        """Give a permit back without a verdict: the call was cancelled, or never made."""
        if permit.probe and permit.epoch == self._epoch:
            self._leases.pop(permit.serial, None)

    def ramp_limit(self, full: int) -> int:
        """How many calls may be in flight now, of the `full` limit: 1 after closing, `full` once `ramp_s` has passed.

        Grows by the same factor in each of 8 steps, so with `full` 256 it doubles: 1, 2, 4, 8, 16, 32, 64, 128, 256;
        with 16 it goes 1, 1, 2, 2, 4, 5, 8, 11, 16. No ramp at the start, after a forced closing, or in a dry run. Not
        closed: `full`, as there `admit()` counts.
        """
        if not self._ramping or self._state is not State.CLOSED:
            return full
        step = self._ramp_step(self._clock())
        if step >= _RAMP_STEPS:
            self._ramping = False
            return full
        return min(full, max(1, int(full ** (step / _RAMP_STEPS) + 1e-9)))

    def next_change_at(self) -> float | None:
        """The monotonic instant when time alone lets more through, for a waiter to sleep until; None when none will.

        Open: when the first probe may go. Half-open: now, or with all probes out the end of the first lease. Closed:
        the next step of the ramp. An instant that has passed means now. An outcome or a manual change may come first.
        """
        if self._state is State.OPEN:
            return self._open_until
        if self._state is State.HALF_OPEN:
            if len(self._leases) < self._room():
                return self._clock()
            return next(iter(self._leases.values()))
        if not self._ramping:
            return None
        step = self._ramp_step(self._clock())
        return None if step >= _RAMP_STEPS else self._closed_at + (step + 1) * self._policy.ramp_s / _RAMP_STEPS

    # --- the operator's side

    def force_open(self, reason: str, until: float) -> None:
        """Refuse everything until the monotonic instant `until`.

        Then a breaker that was closed before closes again, with the ramp: nothing is known against its target, and an
        idle gate would have no call to probe with. Any other probes as after any opening. Calls under way go on; their
        outcomes count nowhere. Does not lengthen later open times.
        """
        self._check_hold(reason, until)
        if self._state is State.CLOSED:
            self._held_closed = self._manual_reason is None
        self._manual_reason, self._manual_until, self._open_until = reason, until, until
        self._turn(State.OPEN, Cause.FORCED)

    def force_close(self, reason: str, until: float) -> None:
        """Admit everything until the monotonic instant `until`, without ramp; outcomes are counted but open nothing.

        Afterwards the next bad outcome is weighed with what the window then holds.
        """
        self._check_hold(reason, until)
        self._manual_reason, self._manual_until = reason, until
        if self._state is State.CLOSED:
            self._ramping = False
            self._turn(State.CLOSED, Cause.FORCED)
        else:
            self._close(self._clock(), Cause.FORCED, ramp=False)

    def resume(self) -> None:
        """End a manual hold; a breaker forced open closes, or probes with the next call (see `force_open`).

        Without a hold, nothing changes.
        """
        if self._manual_reason is None:
            return
        if self._state is State.OPEN:
            now = self._clock()
            if self._held_closed:
                self._let_go(now)
                return
            self._open_until = min(self._open_until, now)
        self._end_hold()

    def snapshot(self) -> BreakerSnapshot:
        """The breaker as it stands; changes nothing, so it may say open with `reopen_in_s` 0.0 until a call comes."""
        now = self._clock()
        if self._state is State.CLOSED:
            self._window.roll(now)
        held = self._manual_reason is not None and now < self._manual_until
        return BreakerSnapshot(
            name=self.name,
            state=self._state,
            cause=self._cause,
            failure_share=self._window.share(),
            calls=self._window.calls,
            reopen_in_s=max(0.0, self._open_until - now) if self._state is State.OPEN else None,
            manual_reason=self._manual_reason if held else None,
            manual_for_s=self._manual_until - now if held else None,
            refused=self._refused,
            dry_run=self._dry_run,
        )

    # --- private

    def _refuse(self, until: float) -> Permit | Refused:
        self._refused += 1
        if self._dry_run and self._manual_reason is None:
            return Permit(UNCOUNTED_EPOCH, False, 0)
        return Refused(until, self._state)

    def _room(self) -> int:
        return self._policy.probes[self._stage] - self._judged

    def _record_probe(self, permit: Permit, verdict: Verdict) -> None:
        if self._leases.pop(permit.serial, None) is None:
            return  # its lease went to another, or it was reported before
        now = self._clock()
        self._judged += 1
        self._bad_probes += verdict is not Verdict.OK
        if self._bad_probes >= self._policy.probes[self._stage] * self._policy.failure_share:
            self._trip(now, Cause.PROBE_FAILED)
            return
        if self._room() > 0:
            return
        self._stage += 1
        self._judged = self._bad_probes = 0
        if self._stage == len(self._policy.probes):
            self._close(now, Cause.PROBES_PASSED, ramp=not self._dry_run)

    def _trip(self, now: float, cause: Cause) -> None:
        policy = self._policy
        if self._state is State.CLOSED and now - self._closed_at >= policy.window_s:
            self._open_row = 0
        nominal_s = min(policy.open_s * 2.0**self._open_row, policy.open_max_s)
        if nominal_s < policy.open_max_s:
            self._open_row += 1
        self._open_until = now + nominal_s * (1 - policy.open_jitter * self._rng.random())
        self._held_closed = False
        self._turn(State.OPEN, cause)

    def _let_go(self, now: float) -> None:
        """Close after a hold that found the breaker closed."""
        self._manual_reason = None
        self._close(now, Cause.HOLD_ENDED, ramp=not self._dry_run)

    def _half_open(self) -> None:
        self._manual_reason = None
        self._stage = 0
        self._judged = self._bad_probes = 0
        self._turn(State.HALF_OPEN, Cause.PROBE_DUE)

    def _close(self, now: float, cause: Cause, *, ramp: bool) -> None:
        self._held_closed = False
        self._window.clear()
        self._timeouts = 0
        self._closed_at = now
        self._ramping = ramp and self._policy.ramp_s > 0
        self._turn(State.CLOSED, cause)

    def _turn(self, new: State, cause: Cause) -> None:
        """Enter `new` with a new epoch and no leases; the one place that moves pybreaker's state.

        The same state again is a hold that began or was replaced: pybreaker stays as it is (it would fire for open to
        open), and so do epoch and permits.
        """
        if new is self._state:
            self._tell(new, new, cause)
            return
        if new is State.OPEN:
            self._circuit.open()
        elif new is State.HALF_OPEN:
            self._circuit.half_open()
        else:
            self._circuit.close()
        self._state = new
        self._cause = cause
        self._epoch += 1
        self._permit = Permit(self._epoch, False, 0)
        self._leases.clear()
        # pybreaker calls its listeners before it stores the state: what they heard goes on only now that all agree.
        heard = self._changed[:]
        self._changed.clear()
        for old, entered in heard:
            self._tell(old, entered, cause)

    def _tell(self, old: State, new: State, cause: Cause) -> None:
        if self._on_change is None:
            return
        until = self._open_until if new is State.OPEN else None
        if self._manual_reason is not None:
            until = self._manual_until
        self._on_change(
            BreakerChanged(
                name=self.name,
                old=old,
                new=new,
                cause=cause,
                manual_reason=self._manual_reason,
                failure_share=self._window.share(),
                calls=self._window.calls,
                until=until,
                dry_run=self._dry_run and self._manual_reason is None,
            )
        )

    def _check_hold(self, reason: str, until: float) -> None:
        if not reason:
            raise ValueError(f"breaker {self.name}: a manual change needs a reason")
        if not math.isfinite(until):
            raise ValueError(f"breaker {self.name}: a manual change needs an end, not {until}")

    def _end_hold(self) -> None:
        self._manual_reason = None
        self._tell(self._state, self._state, Cause.HOLD_ENDED)

    def _ramp_step(self, now: float) -> int:
        return int((now - self._closed_at) / self._policy.ramp_s * _RAMP_STEPS + 1e-6)


class _Window:
    """Calls and bad calls of the last `window_s`, in 12 buckets: bounded memory, at most 12 steps per call.

    It looks back 11 to 12 buckets: 55 to 60 s of a window of 60.
    """

    __slots__ = ("_bads", "_bucket_s", "_counts", "_tick", "bad", "calls")

    def __init__(self, window_s: float) -> None:
        self._bucket_s = window_s / _BUCKETS
        self.clear()

    def clear(self) -> None:
        self._counts = [0] * _BUCKETS
        self._bads = [0] * _BUCKETS
        self._tick = -1
        self.calls = 0
        self.bad = 0

    def add(self, now: float, bad: int) -> None:
        tick = int(now / self._bucket_s)
        if tick != self._tick:
            self.roll(now)
        at = tick % _BUCKETS
        self._counts[at] += 1
        self._bads[at] += bad
        self.calls += 1
        self.bad += bad

    def roll(self, now: float) -> None:
        """Forget the buckets that `now` has left behind."""
        tick = int(now / self._bucket_s)
        for passed in range(max(self._tick + 1, tick - _BUCKETS + 1), tick + 1):
            at = passed % _BUCKETS
            self.calls -= self._counts[at]
            self.bad -= self._bads[at]
            self._counts[at] = 0
            self._bads[at] = 0
        self._tick = max(self._tick, tick)

    def share(self) -> float:
        return self.bad / self.calls if self.calls else 0.0


class _Listener(pybreaker.CircuitBreakerListener):
    """Notes what pybreaker says has changed, for the breaker to pass on once its own state is whole."""

    def __init__(self, changed: list[tuple[State, State]]) -> None:
        self._changed = changed

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        old = State.CLOSED if old_state is None else State(old_state.name)
        self._changed.append((old, State(new_state.name)))


def _label(state: State, manual_reason: str | None) -> str:
    if manual_reason is None:
        return state.name.lower()
    return "forced_open" if state is State.OPEN else "forced_closed"
