"""The gate before one target operation: everything between a claimed delivery and `adapter.send()`.

    in-flight limit → rate limit → circuit breaker → deadline → adapter → outcome

A fixed number of runners take deliveries from two lines: what is to be sent, and what is in doubt and to be asked about
first. Each has a breaker of its own, so that a target whose questions fail is still sent orders. A delivery that has to
wait (retry, settle time) leaves its runner and comes back by timer, so that waiting costs no in-flight slot. What a
delivery keeps until its outcome is durable is a *place*: places bound the memory of this gate, and of this gate alone.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Protocol

import msgspec

from gateway.core.delivery import (
    GRACE_S,
    AfterUnknown,
    Answer,
    Delivery,
    Failed,
    Finding,
    Held,
    Throttled,
    Unauthorised,
    Unknown,
)
from gateway.core.event import ConnectionName
from gateway.core.fault import raised
from gateway.core.happening import AttemptEnded, Observer, Trouble
from gateway.core.order import Operation
from gateway.dispatch.authority import Authority
from gateway.dispatch.breaker import Breaker, Permit, Refused
from gateway.dispatch.conclude import Conclusion, Conclusions
from gateway.dispatch.concurrency import AdaptiveLimit
from gateway.dispatch.hold import Hold
from gateway.dispatch.lease import Lease
from gateway.dispatch.limiter import RateLimiter, RetryBudget
from gateway.dispatch.outcomes import Ended
from gateway.dispatch.pace import LearntRate
from gateway.dispatch.retry import RetryPolicy
from gateway.sdk.cancelled import WAY_OUT_S, insist, is_a_stop
from gateway.sdk.pull import Budget
from gateway.store.control import Forced
from gateway.store.outbox import AttemptRow, Outcome
from gateway.store.sql import as_private

_STRIDE = 250
"""Lanes in doubt that are claimed together, where there are so many."""

_HELD_S = 60.0
"""So long a worker goes on sending, at its part of a shared rate, with what it holds in memory."""


class Sender(Protocol):
    """The part of an adapter's Target that a gate uses."""

    async def send(self, delivery: Delivery, *, deadline_s: float) -> Answer: ...

    async def find(self, delivery: Delivery, *, deadline_s: float) -> Finding: ...


class GatePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of one gate. `settle_s`: how long after an attempt a *not found* does not count yet.

    `findable`: what is in doubt is asked about before it is sent again, also where sending again would do no harm.
    `joins_s`: how long other workers may take to notice that they share `rate_per_s` with one more. `connection_per_s`:
    what the connection may be asked a second, over all that asks it.
    """

    in_flight: int
    deadline_s: float
    after_unknown: AfterUnknown
    findable: bool = False
    settle_s: float = 15.0
    places: int = 5000
    rate_per_s: float | None = None
    burst: int = 10
    connection_per_s: float | None = None
    joins_s: float = 0.0

    @property
    def asks(self) -> bool:
        """Whether anything is ever asked about."""
        return self.after_unknown is AfterUnknown.FIND or (self.findable and self.after_unknown is AfterUnknown.RESEND)


class GateState(msgspec.Struct, frozen=True):
    """What the API and the gauges show of a gate."""

    target: ConnectionName
    operation: Operation
    places: int
    queued: int
    in_flight: int
    waiting: int
    paused: bool
    throttled_s: float
    """So much longer nothing is sent: the target has asked for patience. What waits for that counts as in flight."""
    learnt_per_s: float | None
    """So many requests a second the target lets through, as far as this worker has found out; None: it refuses none."""


class Line:
    """What waits for one kind of request, the breaker before it, and how many are under way."""

    __slots__ = ("breaker", "busy", "queue")

    def __init__(self, breaker: Breaker) -> None:
        self.breaker = breaker
        self.queue: deque[Held] = deque()
        self.busy = 0


class Gate:
    """One connection × operation in one worker. Everything runs on one event loop.

    `questions` is the breaker before `find`; a gate whose policy never asks has none. `turns`: what its connection may
    ask for a second, shared with everything else that asks its platform.
    """

    def __init__(
        self,
        *,
        target: ConnectionName,
        target_id: int,
        operation: Operation,
        sender: Sender,
        policy: GatePolicy,
        retry: RetryPolicy,
        breaker: Breaker,
        questions: Breaker | None,
        limiter: RateLimiter,
        budget: RetryBudget,
        lease: Lease,
        worker_id: int,
        record: Callable[[Ended], None],
        observe: Observer,
        clock: Callable[[], float],
        rng: random.Random,
        reach: Callable[[str], None],
        adaptive: AdaptiveLimit | None = None,
        turns: Budget | None = None,
        authority: Authority | None = None,
    ) -> None:
        self.target = target
        self.target_id = target_id
        self.operation = operation
        self.policy = policy
        self.breaker = breaker
        self.questions = questions
        self.limiter = limiter
        self._sender = sender
        self._budget = budget
        self._lease = lease
        self._worker_id = worker_id
        self._record = record
        self._observe = observe
        self._clock = clock
        self._reach = reach
        self._adaptive = adaptive
        self._turns = turns
        self._learnt = LearntRate(policy.in_flight)
        self._longest_s = policy.deadline_s + GRACE_S
        self._rate = (policy.rate_per_s, policy.burst)
        self._patience_until = 0.0
        self._joins_until = -math.inf
        self._authority = authority
        self._sends = Line(breaker)
        self._asks = Line(questions) if policy.asks and questions is not None else None
        if policy.asks and self._asks is None:
            raise ValueError(f"{target} {operation}: a gate that asks needs a breaker for its questions")
        self._conclude = Conclusions(
            target_id=target_id,
            after_unknown=policy.after_unknown,
            asks=policy.asks,
            settle_s=policy.settle_s,
            retry=retry,
            budget=budget,
            clock=clock,
            rng=rng,
            authorised_again=authority is not None,
        )
        self._lines = (self._sends,) if self._asks is None else (self._asks, self._sends)
        self.limit = policy.in_flight if adaptive is None else adaptive.limit
        """How many may be in flight now, but for the breaker."""
        self.places = policy.places
        """How many may be held in memory now."""
        self._idle: deque[asyncio.Future[tuple[Line, Held]]] = deque()
        self._timers: dict[asyncio.TimerHandle, Held] = {}
        self._running: dict[int, Held] = {}
        self._flying: dict[int, tuple[asyncio.Task[None], float]] = {}
        self._overdue: dict[int, int] = {}
        self._queueing: set[asyncio.Task[None]] = set()
        self._turning = asyncio.Lock()
        self._busy = 0
        self._orders_turn = False
        self._places = 0
        self._paused = False
        self._held = False
        self._shut = False
        self._stopping = False
        self._by_hand = Hold(breaker, clock)
        self._workers: int | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self.parked = False
        """Whether free lanes are known to wait in the outbox; then births leave them half the places."""
        self.more_in_doubt = False
        """Whether there are free lanes in doubt beyond what questions get."""
        self.freed = asyncio.Event()
        """Set when places come free, for whoever claims parked lanes."""

    # --- memory

    def room(self) -> bool:
        """Take a place for a delivery about to be born, if there is one.

        While nothing may be sent, half of the places are left to what can be asked about.
        """
        half = self.parked or (self._asks is not None and not self._may_send())
        limit = self.places // 2 if half else self.places
        if self._shut or self._stopping or self._places >= limit:
            self.parked = True
            return False
        self._places += 1
        return True

    def spare(self) -> int:
        """How many parked lanes may be claimed now."""
        if self._shut or self._stopping:
            return 0
        return max(0, self.places - self._places)

    def spare_for_orders(self) -> int:
        """How many lanes in no doubt may be claimed now; none while nothing could be sent."""
        return self.places if self._may_send() else 0

    def spare_for_questions(self) -> int:
        """How many lanes in doubt may be claimed now: what has to be asked about gets half of the places at most.

        Where the answers come slowly, new orders would otherwise wait in the outbox for all that is in doubt.
        """
        if self._asks is None:
            return self.spare_for_orders()
        if self._held_open():
            return 0
        if self._asks.breaker.open_until() is not None:
            # Sent without being asked about, or of no use now.
            return self.spare_for_orders() if self.policy.after_unknown is AfterUnknown.RESEND else 0
        share = max(1, self.places // 2)
        spare = share - self._asking()
        return spare if spare >= min(share / 2, _STRIDE) else 0  # not a claim for each answer

    def sends_waiting(self) -> int:
        """How many deliveries wait in memory to be sent, without those that are asked about."""
        return len(self._sends.queue)

    def only_queued(self) -> int:
        """How many of them no person, breaker or rate limit keeps back."""
        if self._shut or self._stopping or self._queueing or not self._may_send():
            return 0
        return len(self._sends.queue)

    def take_out(self, order_ids: Collection[int]) -> list[Held]:
        """Out of the line of what is to be sent: those of these orders of which nothing was tried. They keep their
        places, and come back by `put_back` or leave by `give_back`."""
        found = [
            held
            for held in self._sends.queue
            if held.delivery.order_id in order_ids and not (held.in_doubt or held.doubted or held.tries)
        ]
        if found:
            taken = set(map(id, found))
            self._sends.queue = deque([held for held in self._sends.queue if id(held) not in taken])
        return found

    def put_back(self, held: Sequence[Held]) -> None:
        """To the front of the line, in this sequence."""
        self._sends.queue.extendleft(reversed(held))
        self._pump()

    def _asking(self) -> int:
        return 0 if self._asks is None else len(self._asks.queue) + self._asks.busy

    def give_back(self) -> None:
        """Free one place."""
        self._places -= 1
        if (self.parked and self._may_send()) or (self.more_in_doubt and self.spare_for_questions()):
            self.freed.set()

    def take(self, held: Held) -> None:
        """A delivery that has its place already (`room`)."""
        self._line_up(held)
        self._pump()

    def adopt(self, held: Iterable[Held]) -> None:
        """Deliveries claimed or advanced to: they get their places now."""
        for one in held:
            self._places += 1
            self._line_up(one)
        self._pump()

    # --- control

    @property
    def state(self) -> GateState:
        queued = sum(len(line.queue) for line in self._lines)
        return GateState(
            target=self.target,
            operation=self.operation,
            places=self._places,
            queued=queued,
            in_flight=self._busy,
            waiting=len(self._timers),
            paused=self._paused,
            throttled_s=self._throttled_s(),
            learnt_per_s=self._learnt.rate_per_s,
        )

    def _throttled_s(self) -> float:
        now = self._clock()
        asked_s = self.limiter.paused_for_s() if now >= self._joins_until else 0.0  # before, the pause is our own
        return max(asked_s, self._patience_until - now, 0.0)

    def pause(self) -> None:
        """A person said: start nothing new; what is in flight ends as it ends."""
        self._paused = self._shut = True

    def resume(self) -> None:
        self._paused = False
        self._open()

    def hold(self) -> None:
        """Start nothing new until the connection is authorised again; pausing and holding do not undo each other."""
        self._held = self._shut = True

    def release(self) -> None:
        self._held = False
        self._open()

    def _open(self) -> None:
        self._shut = self._paused or self._held
        if not self._shut:
            self.freed.set()
            self._pump()

    def follow(self, forced: Forced | None, *, at: datetime) -> None:
        """Hold the breaker as a person asked for, or let it go again. `at`: the present by the clock of `forced`."""
        self._by_hand.follow(forced, at=at)

    def share(self, workers: int) -> None:
        """Use this worker's part of the target's rate limit, which holds over all workers.

        One that joins others sends nothing until they have noticed and use less.
        """
        if workers == self._workers:
            return
        joins = self._workers is None and workers > 1
        self._workers = workers
        self._share_places(workers)
        if self.policy.rate_per_s is None:
            return
        self._rate = (self.policy.rate_per_s / workers, max(1, self.policy.burst // workers))
        self._set_rate()
        if joins:
            self.limiter.pause(self.policy.joins_s)
            self._joins_until = self._clock() + self.policy.joins_s

    def _share_places(self, workers: int) -> None:
        """Beside others, hold no more than goes in a minute; what is beyond goes back to its place in the outbox, the
        last in line first.

        Where one worker holds all there is to send, the others' parts of the rate go unused: now, or once they are
        through with what is in the outbox.
        """
        rates = [rate for rate in (self.policy.rate_per_s, self.policy.connection_per_s) if rate is not None]
        self.places = self.policy.places
        if not rates or workers == 1:
            return
        self.places = min(self.places, max(2, math.ceil(min(rates) / workers * (_HELD_S + self.policy.deadline_s))))
        for held in islice(self._from_the_end(), max(0, self._places - self.places)):
            outcome = self._conclude.left(held, in_doubt=held.in_doubt)
            self._record(Ended(None, None, outcome, self.give_back))
            self.parked = True
            self.more_in_doubt |= held.in_doubt

    def _from_the_end(self) -> Iterator[Held]:
        """Take out what is in line, the last first; what is to be asked about goes after what is to be sent."""
        for line in reversed(self._lines):
            while line.queue:
                yield line.queue.pop()

    def _set_rate(self) -> None:
        """The lower of this worker's part of the configured rate and what the target lets through, evenly."""
        (rate_per_s, burst), learnt_per_s = self._rate, self._learnt.rate_per_s
        if learnt_per_s is not None and (rate_per_s is None or learnt_per_s < rate_per_s):
            rate_per_s, burst = learnt_per_s, 1
        self.limiter.set_rate(rate_per_s, burst)

    def breaker_changed(self) -> None:
        """A breaker moved: look whether more may go now."""
        self.freed.set()
        asyncio.get_running_loop().call_soon(self._look_again)

    def _look_again(self) -> None:
        if self._asks is not None and self._asks.queue and self._asks.breaker.open_until() is not None:
            asked, self._asks.queue = self._asks.queue, deque()
            for held in asked:
                self._line_up(held)
        self._pump()

    def stop(self) -> None:
        """Start nothing new, for good. `run` returns when nothing is in flight any more."""
        self._stopping = True
        for future in self._idle:
            if not future.done():
                future.cancel()
        for runner in self._queueing:
            runner.cancel()

    def lanes(self) -> Iterator[int]:
        """Ids of the orders whose lanes this gate holds."""
        for held in (*self._queued(), *self._timers.values(), *self._running.values()):
            yield held.delivery.order_id

    def leftovers(self) -> list[Outcome]:
        """After `run` has returned: how to leave what this gate still holds in the outbox.

        In doubt is what waited for its settle time, and what was cut off in flight.
        """
        left = [self._conclude.left(held, in_doubt=held.in_doubt) for held in self._queued()]
        now = asyncio.get_running_loop().time()
        for timer, held in self._timers.items():
            timer.cancel()
            delay_s = max(0.0, timer.when() - now)
            left.append(self._conclude.left(held, in_doubt=held.in_doubt, delay_s=delay_s))
        settle_s = self.policy.settle_s if self.policy.after_unknown is AfterUnknown.FIND else 0.0
        for key, held in self._running.items():
            cut_off = key in self._flying
            doubt = held.in_doubt or cut_off
            left.append(self._conclude.left(held, in_doubt=doubt, delay_s=settle_s if cut_off else None))
        return left

    def _queued(self) -> Iterator[Held]:
        return chain.from_iterable(line.queue for line in self._lines)

    # --- runners

    async def run(self) -> None:
        """The runners, until `stop` or cancelled."""
        async with asyncio.TaskGroup() as group:
            runners = [
                group.create_task(self._run(), name=f"gate {self.target} {self.operation} {number}")
                for number in range(self.policy.in_flight)
            ]
            guard = group.create_task(self._guard(), name=f"guard {self.target} {self.operation}")
            try:
                await asyncio.wait(runners)
            finally:
                guard.cancel()
                insist(runners, every_s=WAY_OUT_S)  # an adapter may hang on its way out, and nobody guards it any more

    async def _guard(self) -> None:
        """Cut off attempts whose adapter does not keep its deadline. One look for all instead of a timer for each.

        What is overdue after half of the grace is seen within the other half: the lease covers no more than that. One
        whose way out hangs too (a connection that does not close) is cut off again half a deadline later: it has a
        slot, and perhaps the place of a probe.
        """
        while True:
            await asyncio.sleep(GRACE_S / 2)
            now = self._clock()
            for key, (task, overdue_at) in self._flying.items():
                if now >= overdue_at:
                    self._overdue[key] = self._overdue.get(key, 0) + 1
                    self._flying[key] = (task, now + self.policy.deadline_s / 2)
                    task.cancel()

    def _cut_off(self, held: Held, me: asyncio.Task[None]) -> bool:
        """Whether the cancel that has just arrived is the guard's, and no one else's."""
        return self._end_cut_off(held, me) and not me.cancelling()

    def _end_cut_off(self, held: Held, me: asyncio.Task[None]) -> bool:
        """Whether the guard has cut this attempt off. Its cancels are spent, whatever the adapter made of them."""
        if not self._overdue:
            return False
        cancels = self._overdue.pop(id(held), 0)
        for _ in range(cancels):
            me.uncancel()
        return cancels > 0

    async def _run(self) -> None:
        me, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert me is not None
        while not self._stopping:
            picked = self._pick()
            if picked is None:
                future: asyncio.Future[tuple[Line, Held]] = loop.create_future()
                self._idle.append(future)
                try:
                    picked = await future
                except asyncio.CancelledError:
                    if me.cancelling():
                        if future.done() and not future.cancelled():
                            line, held = future.result()
                            line.queue.appendleft(held)  # handed over, and never begun
                        raise
                    return  # `stop` cancelled what this runner waited for, not the runner
            line, held = picked
            self._running[id(held)] = held
            await self._handle(line, held, me)
            # Not in a `finally`: what a cancel cuts off stays listed for `leftovers`.
            del self._running[id(held)]
            self._busy -= 1
            line.busy -= 1
            if self._idle:
                self._pump()

    def _pick(self) -> tuple[Line, Held] | None:
        """The next delivery that may start now, and its line; takes an in-flight slot for it."""
        if self._shut or self._stopping or self._busy >= self.limit:
            return None
        for line in self._lines:
            if not line.queue or not self._lets_go(line):
                continue
            if not self._covered():
                self._wake_at(self._clock() + 0.2)
                return None
            self._busy += 1
            line.busy += 1
            held = line.queue.popleft()
            # What a question has cleared is sent on that question's turn.
            self._orders_turn = line is self._asks or (self._orders_turn and held.doubted)
            return line, held
        return None

    def _lets_go(self, line: Line) -> bool:
        """Whether `line` may start one more now; if not, and time alone changes that, looks again then."""
        breaker, limit = line.breaker, self.limit
        if line is self._asks:
            if self._sends.queue:
                if limit == 1 and self._orders_turn and self._lets_go(self._sends):
                    return False  # a single slot serves both in turn
                limit = max(1, limit // 2)  # questions that hang leave orders their slots
            if self._held_open():
                breaker = self.breaker
        if line.busy < breaker.ramp_limit(limit) and breaker.shut_until() is None:
            return True
        at = breaker.next_change_at()
        # Once it has passed, only the end of an attempt makes room: looking again would go round without a pause.
        if at is not None and at > self._clock():
            self._wake_at(at)
        return False

    def _may_send(self) -> bool:
        return self.breaker.shut_until() is None

    def _held_open(self) -> bool:
        """Whether a person wants nothing to go to the target, questions included."""
        return self._by_hand.open

    def _covered(self) -> bool:
        """Whether an attempt started now ends before this worker's lease does."""
        return self._lease.covers(self._longest_s)

    def _pump(self) -> None:
        """Hand deliveries to idle runners as long as both are there and nothing forbids it."""
        while self._idle:
            if self._idle[0].done():
                self._idle.popleft()
                continue
            picked = self._pick()
            if picked is None:
                return
            self._idle.popleft().set_result(picked)

    def _line_up(self, held: Held, *, first: bool = False) -> None:
        """To the end of its line, or to the front.

        What cannot be asked about now does not wait for that in memory, where it would take the place of what can be
        sent: it goes back into the outbox, or is sent without, where that does no harm.
        """
        line = self._sends
        if held.in_doubt and self._asks is not None:
            until = None if self._stopping or self._held_open() else self._asks.breaker.open_until()
            if until is None:
                line = self._asks
            elif self.policy.after_unknown is AfterUnknown.RESEND:
                held.in_doubt, held.doubted, held.unasked = False, True, True
            else:
                self._set_back(held, until)
                return
        if first:
            line.queue.appendleft(held)
        else:
            line.queue.append(held)

    def _set_back(self, held: Held, until: float) -> None:
        self.parked = True
        outcome = self._conclude.set_back(held, until - self._clock())
        self._record(Ended(None, None, outcome, self.give_back))

    def _wake_at(self, at: float) -> None:
        loop = asyncio.get_running_loop()
        when = loop.time() + max(0.0, at - self._clock()) + 0.001
        if self._alarm is None or self._alarm.cancelled() or not loop.time() < self._alarm.when() <= when:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = loop.call_at(when, self._pump)

    def _again(self, held: Held, wait_s: float) -> None:
        """Back into the queue after `wait_s`, without a slot meanwhile."""
        loop = asyncio.get_running_loop()

        def come_back() -> None:
            del self._timers[timer]
            crowded = self.parked and self._asking() >= max(1, self.places // 2)
            if crowded and held.in_doubt and not self._stopping and self.policy.after_unknown is AfterUnknown.FIND:
                self._set_back(held, self._clock())  # new orders wait in the outbox for a place
            else:
                self._line_up(held)
            self._pump()

        timer = loop.call_later(wait_s, come_back)
        self._timers[timer] = held

    # --- one attempt

    async def _handle(self, line: Line, held: Held, me: asyncio.Task[None]) -> None:
        if held.in_doubt and self.policy.after_unknown is AfterUnknown.PERSON:
            self._write(held, self._conclude.in_doubt(held))
            return
        if self.limiter.limits or self._turns is not None:
            if self._stopping or line.breaker.shut_until() is not None:
                self._line_up(held, first=True)  # since it was picked, all probes are out; no token is spent
                return
            await self._turn(me)
        permit = line.breaker.admit()
        held_open = line is self._asks and self._held_open()
        if isinstance(permit, Refused) or self._stopping or self._shut or held_open or not self._covered():
            if isinstance(permit, Permit):
                line.breaker.release(permit)
            self._line_up(held, first=True)
            return
        key, started = id(held), self._clock()
        self._flying[key] = (me, started + self._longest_s - GRACE_S / 2)
        if line is self._sends:
            await self._send(held, permit, me, started)
        else:
            await self._find(line, held, permit, me, started)
        del self._flying[key]

    async def _turn(self, me: asyncio.Task[None]) -> None:
        """Wait until the limits let one more go. That may take hours: `stop` ends this runner meanwhile.

        Of those that wait for a turn of the connection, one has had its turn of this gate: more would go at once then.
        """
        self._queueing.add(me)
        try:
            if self._turns is None:
                await self.limiter.turn()
                return
            async with self._turning:
                await self.limiter.turn()
                await self._turns.turn()
        finally:
            self._queueing.discard(me)

    async def _send(self, held: Held, permit: Permit, me: asyncio.Task[None], started: float) -> None:
        version = 0 if self._authority is None else self._authority.version
        if not held.tries:
            held.first_try_at = started
            self._budget.deposit()
        self._reach("gate.before_send")
        try:
            answer = await self._sender.send(held.delivery, deadline_s=self.policy.deadline_s)
        except asyncio.CancelledError:
            if self._cut_off(held, me):
                answer = Unknown("deadline", "the adapter did not keep its deadline", timeout=True)
            elif me.cancelling():
                self.breaker.release(permit)
                raise
            else:
                answer = self._broken("CancelledError")  # its own doing: raised, it would end this runner unnoticed
        except BaseException as error:  # a broken adapter is contained here; whether it sent is not known
            if is_a_stop(error):
                raise
            answer = self._broken(raised(error))
        self._end_cut_off(held, me)
        self._reach("gate.after_send")
        took_s = self._clock() - started
        if self._adaptive is not None:  # finds are another request: they take a slot and count nowhere
            self.limit = self._adaptive.record(answer, started_at=started, took_s=took_s, in_flight=len(self._flying))
        if not isinstance(answer, Answer):  # an adapter may answer anything
            answer = self._broken(f"an answer of {type(answer).__name__}")  # type: ignore[unreachable]
        if self._learnt.listens or isinstance(answer, Throttled):
            self._learn(answer, started)
        self._follow_up(self._sends, held, permit, self._conclude.sent(held, answer, took_s))
        if isinstance(answer, Unauthorised) and self._authority is not None:
            self._authority.refused(version, answer)

    async def _find(self, line: Line, held: Held, permit: Permit, me: asyncio.Task[None], started: float) -> None:
        """Ask the target about a delivery in doubt. Consumes no attempt."""
        held.doubted = True
        version = 0 if self._authority is None else self._authority.version
        try:
            finding = await self._sender.find(held.delivery, deadline_s=self.policy.deadline_s)
        except asyncio.CancelledError:
            if self._cut_off(held, me):
                finding = Unknown("deadline", "the adapter did not keep its deadline", timeout=True)
            elif me.cancelling():
                line.breaker.release(permit)
                raise
            else:
                finding = self._broken("CancelledError")
        except BaseException as error:  # a broken adapter is contained here
            if is_a_stop(error):
                raise
            finding = self._broken(raised(error))
        self._end_cut_off(held, me)
        took_s = self._clock() - started
        if not isinstance(finding, Finding):  # an adapter may answer anything
            finding = self._broken(f"a finding of {type(finding).__name__}")  # type: ignore[unreachable]
        if self._learnt.listens or isinstance(finding, Throttled):
            self._learn(finding, started)
        self._follow_up(line, held, permit, self._conclude.asked(held, finding, took_s))
        if isinstance(finding, Unauthorised) and self._authority is not None:
            self._authority.refused(version, finding)

    def _learn(self, answer: Answer | Finding, started: float) -> None:
        """Send as fast as the target lets through. What has failed was perhaps not even counted."""
        now, most_per_s = self._clock(), self._rate[0] or math.inf
        if isinstance(answer, Throttled):
            self._learnt.refused(sent_at=started, now=now, most_per_s=most_per_s)
        elif not isinstance(answer, Failed | Unknown):
            self._learnt.passed(now, most_per_s=most_per_s)
        self._set_rate()

    def _broken(self, how: str) -> Unknown:
        """What a broken adapter's attempt counts as: whether it sent is not known. Its words may hold buyer data."""
        self._observe([Trouble("adapter", f"{self.target} {self.operation}: {how}")])
        return Unknown("adapter", f"the adapter failed: {how}")

    # --- what follows

    def _follow_up(self, line: Line, held: Held, permit: Permit, concluded: Conclusion) -> None:
        if concluded.verdict is None:
            line.breaker.release(permit)
        else:
            line.breaker.record(permit, concluded.verdict, concluded.took_s)
        if concluded.pause_s:
            if self._turns is not None:
                self._turns.pause(concluded.pause_s)
                self._patience_until = max(self._patience_until, self._clock() + concluded.pause_s)
            else:
                self.limiter.pause(concluded.pause_s)
        if concluded.backoff_s:
            self.limiter.pause(concluded.backoff_s)
        self._write(held, concluded)
        outcome = concluded.outcome
        if outcome is not None:
            self.parked |= not outcome.done and outcome.blocked is None
        elif concluded.wait_s is not None:
            self._again(held, concluded.wait_s)
        else:
            self._line_up(held, first=True)

    def _write(self, held: Held, concluded: Conclusion) -> None:
        """Have it written what came of an attempt, and what becomes of the delivery if it does not stay in memory."""
        delivery, now = held.delivery, datetime.now(UTC)
        since_s = (now - held.taken_at).total_seconds() if held.taken_at is not None else None
        self._record(
            Ended(
                AttemptRow(
                    delivery.order_id,
                    self.target_id,
                    delivery.command.seq,
                    self._worker_id,
                    now,
                    int(concluded.took_s * 1000),
                    concluded.result,
                    concluded.code or None,
                    as_private(concluded.message[:500]),
                ),
                AttemptEnded(
                    delivery.order.number,
                    self.target,
                    self.operation,
                    delivery.command.seq,
                    concluded.result,
                    concluded.code,
                    concluded.took_s,
                    since_s,
                ),
                concluded.outcome,
                self.give_back if concluded.outcome is not None else None,
            )
        )
