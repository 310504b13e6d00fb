"""A gate with everything that it is made of, against a target that fails in every way, in time that takes none.

What no single part can show: that the numbers go together. A model of the target keeps books, a model of the outbox
parks and claims, workers die, are cut off from the database and are stopped; then the faults end.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.delivery import (
    AfterUnknown,
    Answer,
    Delivery,
    Done,
    Failed,
    Finding,
    Found,
    Held,
    NotFound,
    Rejected,
    Throttled,
    Unauthorised,
    Unknown,
)
from gateway.core.event import ConnectionName
from gateway.core.order import Command, Operation, Order, OrderNumber
from gateway.dispatch.breaker import Breaker, BreakerChanged, State
from gateway.dispatch.budget import ConnectionBudget, Share, Urgency
from gateway.dispatch.concurrency import AdaptiveLimit
from gateway.dispatch.gate import Gate, GatePolicy
from gateway.dispatch.lease import Lease
from gateway.dispatch.limiter import RateLimiter, RetryBudget
from gateway.dispatch.outcomes import Ended
from gateway.parts import breaker_policy_of, retry_policy_of
from gateway.settings import LEASE_BEATS, LEASE_DEADLINES
from gateway.settings import Breaker as BreakerSettings
from gateway.settings import GatePolicy as GateSettings
from gateway.settings import Retry as RetrySettings
from gateway.store.outbox import Outcome
from tests.travel import TravellingLoop

WMS = ConnectionName("wms-1")

LOST_ANSWERS = ("lost_answer", "hangs_with_it", "raises_with_it", "nonsense", "unreadable")
"""The target has it at once, and nobody hears of it."""
FAULTS = (*LOST_ANSWERS, "late", "lost_request", "hangs", "raises", "failed", "throttled", "unauthorised", "rejected")
FIND_FAULTS = ("late", "hangs", "raises", "nonsense", "not_proven", "failed", "throttled", "unauthorised")


class Fault(msgspec.Struct, frozen=True):
    """What goes wrong from `begins_s` on, for `lasts_s`: with a share of the sends, and a share of the questions."""

    begins_s: float
    lasts_s: float
    sends: tuple[str, ...]
    finds: tuple[str, ...]
    share: float


class Blow(msgspec.Struct, frozen=True):
    """`kill`: the worker is gone; `stop`: it ends in order; `cut`: it lives on, but not for the database."""

    at_s: float
    kind: str


class Case(msgspec.Struct, frozen=True, kw_only=True):
    after_unknown: AfterUnknown
    findable: bool
    in_flight: int
    adaptive: bool
    places: int
    deadline_s: float
    latency: float
    """As a share of the deadline."""
    jitter: float
    slow: float
    """As a share of the deadline."""
    settle_s: float
    rate_per_s: float | None
    burst: int
    lease_s: float
    heartbeat_s: float
    retry: RetrySettings
    breaker: BreakerSettings
    births: tuple[float, ...]
    there: frozenset[int]
    """Deliveries that somebody has made by hand before."""
    doubted: frozenset[int] = frozenset()
    """Deliveries that are in doubt from their birth on, as after a restore."""
    connection_rate_per_s: float | None = None
    """With one the gate takes its turns at the budget of its connection."""
    refuses_twice: bool
    faults: tuple[Fault, ...]
    blows: tuple[Blow, ...]
    seed: int

    @property
    def well_at_s(self) -> float:
        ends = [fault.begins_s + fault.lasts_s for fault in self.faults]
        return max([*ends, *(blow.at_s for blow in self.blows), *self.births, 0.0])

    @property
    def quick(self) -> bool:
        """Whether no answer of a target that is well is slow."""
        questions = 2 if self.refuses_twice and self.there else 1
        return questions * self.latency * (1 + self.jitter) < self.slow


class Target:
    """Answers after its latency; what it has is in its books."""

    def __init__(self, case: Case, rng: random.Random) -> None:
        self.case = case
        self.rng = rng
        self.books: Counter[int] = Counter()
        self.committed_at: dict[int, float] = {}
        self.open: Counter[int] = Counter()
        """Sends that may have arrived, for all that the gate has been told."""
        self.calls: list[tuple[float, int]] = []
        self.wrong: list[str] = []

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def enter(self, order_id: int, by: str) -> None:
        if order_id in self.case.there:
            return  # it refuses what it has from before
        if self.books[order_id] and self.case.after_unknown is not AfterUnknown.RESEND:
            self.wrong.append(f"{order_id} entered twice: at {self.committed_at[order_id]:.3f}, {self.now():.3f} {by}")
        self.books[order_id] += 1
        self.committed_at[order_id] = self.now()

    def has(self, order_id: int) -> bool:
        return order_id in self.case.there or self.books[order_id] > 0

    def fault(self, *, find: bool) -> str | None:
        now = self.now()
        for fault in self.case.faults:
            kinds = fault.finds if find else fault.sends
            if kinds and fault.begins_s <= now < fault.begins_s + fault.lasts_s and self.rng.random() < fault.share:
                return self.rng.choice(kinds)
        return None

    def latency_s(self) -> float:
        case = self.case
        return case.deadline_s * case.latency * (1 + case.jitter * self.rng.uniform(-1, 1))

    def in_time(self, after_s: float) -> float:
        """Attempts that a stop or a kill cuts off end early: what settles, settles so long after the request, then."""
        blown = any(blow.kind != "cut" for blow in self.case.blows)
        return min(after_s, self.case.settle_s * 0.99) if blown else after_s

    async def send(self, worker: Worker, order_id: int, deadline_s: float) -> Any:
        case, loop, has = self.case, asyncio.get_running_loop(), self.has(order_id)
        if case.after_unknown is AfterUnknown.PERSON and self.open[order_id]:
            self.wrong.append(f"{order_id} sent again, though nobody knows what became of it")
        fault, took_s = self.fault(find=False), self.latency_s()
        # A request travels on, whatever becomes of the worker.
        may_arrive = fault is None or fault in LOST_ANSWERS or fault == "late"
        self.open[order_id] += may_arrive or fault in ("lost_request", "hangs", "raises")
        if fault == "late":
            late_s = min(self.rng.random(), 0.99) * case.settle_s
            loop.call_later(self.in_time(deadline_s + late_s), self.enter, order_id, "late")
        elif may_arrive:
            loop.call_later(self.in_time(took_s * 0.9), self.enter, order_id, fault or "well")
        match fault:
            case "lost_answer" | "late" | "lost_request":
                await asyncio.sleep(deadline_s)
                return Unknown("timeout", timeout=True)
            case "hangs" | "hangs_with_it":
                await asyncio.sleep(1e7)
            case "raises" | "raises_with_it":
                await asyncio.sleep(took_s)
                raise KeyError("mapping")
        await asyncio.sleep(took_s)
        match fault:
            case "nonsense":
                return None
            case "unreadable":
                return Unknown("unreadable")
            case "failed":
                return Failed("http_503", retry_after_s=self.rng.choice((None, None, 3.0)))
            case "throttled":
                return Throttled(self.rng.choice((None, 0.0, 2.0, 45.0)))
            case "unauthorised":
                return Unauthorised("expired")
            case "rejected":
                return Rejected("content")
        if has:
            if case.refuses_twice and case.findable:
                # As at Qimen: it asks within what is left of the deadline.
                left_s = deadline_s - took_s
                asked_s = self.latency_s()
                await asyncio.sleep(min(left_s, asked_s))
                if asked_s >= left_s or self.fault(find=True):
                    return Unknown("duplicate", answered=True)
            return Done(already=True)
        self.open[order_id] -= 1
        return Done()

    async def find(self, worker: Worker, order_id: int, deadline_s: float) -> Any:
        fault, took_s, has = self.fault(find=True), self.latency_s(), self.has(order_id)
        match fault:
            case "late":
                await asyncio.sleep(deadline_s)
                return Unknown("timeout", timeout=True)
            case "hangs":
                await asyncio.sleep(1e7)
            case "raises":
                raise KeyError("mapping")
        await asyncio.sleep(took_s)
        match fault:
            case "nonsense":
                return None
            case "not_proven":
                return Unknown("not_proven", answered=True)
            case "failed":
                return Failed("http_503")
            case "throttled":
                return Throttled(self.rng.choice((None, 0.0, 2.0, 45.0)))
            case "unauthorised":
                return Unauthorised("expired")
        return Found() if has else NotFound()


class Lane:
    def __init__(self) -> None:
        self.in_doubt = False
        self.bursts = 0
        self.not_before = 0.0
        self.worker: int | None = None
        self.ended: str | None = None
        self.ended_at = 0.0


class Worker:
    """One life of a gate: what it holds, its lease, and what it has told of that is not written yet."""

    def __init__(self, world: World, number: int) -> None:
        case, loop = world.case, asyncio.get_running_loop()
        self.world = world
        self.number = number
        self.rng = random.Random(case.seed + number)
        self.cut = False
        self.alive = True
        self.at_once = 0
        self.starts: list[float] = []
        self.lease = Lease(case.lease_s, clock=loop.time, granted_at=loop.time())
        self.lease_ends_at = loop.time() + case.lease_s
        self.unwritten: list[Ended] = []
        app: Any = SimpleNamespace(breaker=case.breaker, retry=case.retry)
        self.breaker, self.questions = (
            Breaker(
                name,
                world.breaker_policy(app),
                clock=loop.time,
                rng=self.rng,
                on_change=self._breaker_changed,
            )
            for name in ("wms-1.create", "wms-1.create.find")
        )
        self.gate = Gate(
            target=WMS,
            target_id=1,
            operation=Operation.CREATE,
            sender=self,
            policy=GatePolicy(
                in_flight=case.in_flight,
                deadline_s=case.deadline_s,
                after_unknown=case.after_unknown,
                findable=case.findable,
                settle_s=case.settle_s,
                places=case.places,
                rate_per_s=case.rate_per_s,
                burst=case.burst,
                connection_per_s=case.connection_rate_per_s,
            ),
            retry=retry_policy_of(app),
            breaker=self.breaker,
            questions=self.questions,
            limiter=RateLimiter(case.rate_per_s, case.burst, clock=loop.time),
            budget=RetryBudget(case.retry.budget_share, clock=loop.time),
            lease=self.lease,
            worker_id=number,
            record=self._record,
            observe=lambda _: None,
            clock=loop.time,
            rng=self.rng,
            reach=lambda _: None,
            adaptive=AdaptiveLimit(case.in_flight) if case.adaptive else None,
            turns=world.turns,
        )
        self.task = asyncio.create_task(self.gate.run())
        self.keeper = asyncio.create_task(self._keep())
        self.claimer = asyncio.create_task(self._claim())
        self.writer = asyncio.create_task(self._write())

    # --- Sender

    async def send(self, delivery: Delivery, *, deadline_s: float) -> Answer:
        with self._call(delivery):
            return await self.world.target.send(self, delivery.order_id, deadline_s)  # type: ignore[no-any-return]

    async def find(self, delivery: Delivery, *, deadline_s: float) -> Finding:
        with self._call(delivery):
            return await self.world.target.find(self, delivery.order_id, deadline_s)  # type: ignore[no-any-return]

    def _call(self, delivery: Delivery) -> Any:
        return _Call(self, delivery.order_id)

    # --- what the dispatcher does

    def _breaker_changed(self, changed: BreakerChanged) -> None:
        self.world.changes.append((asyncio.get_running_loop().time(), changed))
        self.gate.breaker_changed()

    def _record(self, ended: Ended) -> None:
        self.unwritten.append(ended)
        state = self.gate.state
        self.world.check(0 <= state.places <= self.gate.policy.places, f"places {state.places}")
        self.world.check(0 <= state.in_flight <= self.gate.policy.in_flight, f"in flight {state.in_flight}")

    async def _write(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            if not self.cut:
                self.flush()

    def flush(self) -> None:
        ended, self.unwritten = self.unwritten, []
        for one in ended:
            if one.outcome is not None:
                self.write(one.outcome)
            if one.free is not None:
                one.free()

    def write(self, outcome: Outcome) -> None:
        lane = self.world.lanes[outcome.lane[0]]
        if lane.worker != self.number:
            self.world.check(self.cut, f"{outcome.lane[0]} is not ours: a second outcome of one hold")
            return
        lane.worker = None
        if outcome.done or outcome.blocked:
            self.world.check(lane.ended is None, f"{outcome.lane[0]} ended twice")
            lane.ended, lane.ended_at = outcome.blocked or "done", asyncio.get_running_loop().time()
        lane.in_doubt, lane.bursts = outcome.in_doubt, outcome.bursts
        lane.not_before = asyncio.get_running_loop().time() + outcome.delay_s

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.world.case.heartbeat_s)
            if not self.cut:
                self.lease.renewed(loop.time())
                self.lease_ends_at = loop.time() + self.world.case.lease_s
                self.gate.share(self.rng.choice((1, 1, 2, 3)))  # others come and go

    async def _claim(self) -> None:
        gate = self.gate
        while True:
            gate.freed.clear()
            more = False
            room = min(gate.spare(), 500)
            certain, doubtful = gate.spare_for_orders(), gate.spare_for_questions()
            stride = certain and room < 250 and room < gate.places // 2 and gate.sends_waiting()
            if not self.cut and room and (certain or doubtful) and not stride:
                held = self.world.claim(self.number, room, certain, doubtful)
                more = len(held) == room
                if certain:
                    gate.parked = more
                if doubtful:
                    gate.more_in_doubt = doubtful == sum(one.in_doubt for one in held)
                gate.adopt(held)
            if more:
                await asyncio.sleep(0.01)
                continue
            try:
                async with asyncio.timeout(1.0):
                    await gate.freed.wait()
            except TimeoutError:
                continue

    async def end(self, *, stop_within_s: float | None) -> None:
        """In order when there is time for it, otherwise at once and with nothing written."""
        if stop_within_s is not None:
            self.gate.stop()
            await asyncio.wait([self.task], timeout=stop_within_s)
        tasks = [self.task, self.keeper, self.claimer, self.writer]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        self.alive = False
        if stop_within_s is not None:
            self.flush()
            for outcome in self.gate.leftovers():
                self.write(outcome)
            for order_id, lane in self.world.lanes.items():
                self.world.check(lane.worker != self.number, f"{order_id} is left behind by an orderly stop")


class _Call:
    def __init__(self, worker: Worker, order_id: int) -> None:
        self.worker = worker
        self.order_id = order_id

    def __enter__(self) -> None:
        worker, now = self.worker, asyncio.get_running_loop().time()
        worker.at_once += 1
        worker.starts.append(now)
        worker.world.target.calls.append((now, self.order_id))
        worker.world.check(worker.at_once <= worker.gate.policy.in_flight, f"{worker.at_once} at once")
        self.started = now

    def __exit__(self, *_: object) -> None:
        now = asyncio.get_running_loop().time()
        self.worker.at_once -= 1
        if self.worker.alive:
            ends_at = self.worker.lease_ends_at
            self.worker.world.check(now <= ends_at + 1e-6, f"a call ended at {now:.3f}, the lease at {ends_at:.3f}")


class World:
    def __init__(self, case: Case) -> None:
        self.case = case
        self.rng = random.Random(case.seed)
        self.target = Target(case, self.rng)
        self.lanes = {number: Lane() for number in range(len(case.births))}
        for number in case.doubted:
            self.lanes[number].in_doubt = True
        self.turns: Share | None = None
        if case.connection_rate_per_s is not None:
            clock = asyncio.get_running_loop().time
            self.turns = ConnectionBudget(case.connection_rate_per_s, case.burst, clock=clock).at(Urgency.SEND)
        self.born = 0
        self.changes: list[tuple[float, BreakerChanged]] = []
        self.wrong: list[str] = []
        self.numbers = itertools.count(1)
        self.workers: list[Worker] = []

    def check(self, right: bool, otherwise: str) -> None:
        if not right:
            self.wrong.append(otherwise)

    def breaker_policy(self, app: Any) -> Any:
        case = self.case
        gate = GateSettings(
            idempotent=case.after_unknown is AfterUnknown.RESEND,
            findable=case.findable,
            rate_per_s=case.rate_per_s,
            burst=case.burst,
            in_flight=case.in_flight,
            deadline_s=case.deadline_s,
            slow_s=case.slow * case.deadline_s,
            adaptive=case.adaptive,
        )
        return breaker_policy_of(app, gate)

    def held(self, order_id: int) -> Held:
        lane = self.lanes[order_id]
        order = Order(number=OrderNumber(f"A{order_id}"))
        delivery = Delivery(order_id=order_id, order=order, command=Command(WMS, 1, Operation.CREATE, "create"))
        return Held(delivery=delivery, in_doubt=lane.in_doubt, bursts=lane.bursts)

    def claim(self, number: int, limit: int, certain: int, doubtful: int) -> list[Held]:
        now = asyncio.get_running_loop().time()
        free = [
            (lane.not_before, order_id)
            for order_id, lane in self.lanes.items()
            if order_id < self.born and lane.worker is None and lane.ended is None and lane.not_before <= now
        ]
        asked = [one for one in sorted(free) if self.lanes[one[1]].in_doubt][:doubtful]
        others = [one for one in sorted(free) if not self.lanes[one[1]].in_doubt][:certain]
        mine = sorted(order_id for _, order_id in sorted([*others, *asked])[:limit])
        for order_id in mine:
            self.lanes[order_id].worker = number
        return [self.held(order_id) for order_id in mine]

    def adopt(self, dead: Worker) -> None:
        now = asyncio.get_running_loop().time()
        settle_s = self.case.settle_s if self.case.after_unknown is AfterUnknown.FIND else 0.0
        for lane in self.lanes.values():
            if lane.worker == dead.number:
                lane.bursts = lane.bursts if lane.in_doubt else 0
                lane.worker, lane.in_doubt, lane.not_before = None, True, now + settle_s

    def start(self) -> Worker:
        self.workers.append(Worker(self, next(self.numbers)))
        return self.workers[-1]

    async def bear(self) -> None:
        loop = asyncio.get_running_loop()
        for order_id, at in list(enumerate(self.case.births))[self.born :]:
            await asyncio.sleep(max(0.0, at - loop.time()))
            self.born = order_id + 1
            worker = self.workers[-1]
            if worker.alive and not worker.cut and worker.gate.room():
                self.lanes[order_id].worker = worker.number
                worker.gate.take(self.held(order_id))

    async def strike(self) -> None:
        loop, case = asyncio.get_running_loop(), self.case
        for blow in case.blows:
            await asyncio.sleep(max(0.0, blow.at_s - loop.time()))
            worker = self.workers[-1]
            if blow.kind == "stop":
                await worker.end(stop_within_s=self.rng.choice((0.0, 0.5 * case.deadline_s, 2 * case.deadline_s)))
            elif blow.kind == "kill":
                await worker.end(stop_within_s=None)
                if self.rng.random() < 0.5:
                    await asyncio.sleep(max(0.0, worker.lease_ends_at - loop.time()))
                self.adopt(worker)
            else:
                worker.cut = True
                await asyncio.sleep(max(0.0, worker.lease_ends_at - loop.time()) + 1e-3)
                self.adopt(worker)
            self.start()
            if blow.kind == "cut":
                await asyncio.sleep(self.rng.random() * case.heartbeat_s)
                await worker.end(stop_within_s=None)

    def bound_s(self) -> float:
        """How long everything may take once the target is well: every wait there is, some of them for each delivery."""
        case, retry, breaker = self.case, self.case.retry, self.case.breaker
        each_s = case.deadline_s + sum(1 / rate for rate in (case.rate_per_s, case.connection_rate_per_s) if rate)
        if not case.quick:
            each_s += breaker.open_max_s + case.deadline_s
        waits_s = retry.durable_max_s + case.settle_s + case.lease_s + 60.0 + breaker.open_max_s * 2 + breaker.ramp_s
        return 10 * waits_s + 3 * each_s * (len(self.lanes) + 20) + 100 * case.deadline_s

    async def run(self) -> None:
        loop, case = asyncio.get_running_loop(), self.case
        assert isinstance(loop, CountingLoop)
        self.start()
        tasks = [asyncio.create_task(self.bear()), asyncio.create_task(self.strike())]
        await asyncio.gather(*tasks)
        until = loop.time() + max(0.0, case.well_at_s - loop.time()) + self.bound_s()
        while loop.time() < until and any(lane.ended is None for lane in self.lanes.values()):  # noqa: ASYNC110
            await asyncio.sleep(1.0)
        late = [order_id for order_id, lane in self.lanes.items() if lane.ended is None]
        self.check(not late, f"still open at {loop.time():.0f}, well since {case.well_at_s:.0f}: {late}")
        if not late:
            await self.come_back()
        worker = self.workers[-1]
        await asyncio.sleep(2 * case.deadline_s + 2.0)
        if not late:
            state = worker.gate.state
            self.check(
                (state.places, state.queued, state.in_flight, state.waiting) == (0, 0, 0, 0), f"at the end {state}"
            )
            idle = sum(not future.done() for future in worker.gate._idle)
            self.check(idle == case.in_flight, f"{idle} idle runners at the end")
        await worker.end(stop_within_s=1.0)
        self.audit(loop)

    async def come_back(self) -> None:
        """Orders go on coming in; a breaker in front of a target that is well closes."""
        loop, case = asyncio.get_running_loop(), self.case
        breaker, latest = self.workers[-1].breaker, list(self.lanes.values())
        until = max(loop.time(), case.well_at_s) + self.bound_s()
        while loop.time() < until and case.quick:
            latest = [lane for lane in latest if lane.ended is None]
            if breaker.snapshot().state is State.CLOSED and not latest:
                return
            if len(latest) < 5 and breaker.snapshot().state is not State.CLOSED:
                self.lanes[len(self.lanes)] = Lane()
                latest.append(self.lanes[len(self.lanes) - 1])
                self.born += 1
            await asyncio.sleep(1.0)
        self.check(not case.quick, f"the breaker is {breaker.snapshot().state} for good")

    def audit(self, loop: CountingLoop) -> None:
        case = self.case
        self.wrong += self.target.wrong
        if not case.faults and case.quick:
            self.check(not self.changes, f"the breaker of a target that is well moved: {self.changes[:1]}")
        for order_id, lane in self.lanes.items():
            if lane.ended == "done" and not self.target.has(order_id):
                self.wrong.append(f"{order_id} is done, and the target has nothing")
            if (
                not case.faults
                and lane.ended not in (None, "done")
                and not (case.after_unknown is AfterUnknown.PERSON and (case.blows or order_id in case.doubted))
            ):
                self.wrong.append(f"{order_id} is a person's ({lane.ended}), and nothing was wrong")
        if case.rate_per_s is not None:
            for worker in self.workers:
                # One may have had its turn of the gate, and wait for that of the connection.
                more = 0 if case.connection_rate_per_s is None else 1
                self._audit_rate(worker.starts, case.rate_per_s, case.burst + more)
        if case.connection_rate_per_s is not None:
            self._audit_rate(sorted(at for at, _ in self.target.calls), case.connection_rate_per_s, case.burst)
        self._audit_storms(loop)

    def _audit_rate(self, starts: Iterable[float], rate_per_s: float, burst: float) -> None:
        tokens, before = burst, 0.0
        for at in starts:
            tokens = min(burst, tokens + (at - before) * rate_per_s) - 1
            before = at
            self.check(tokens > -1e-3, f"above the rate at {at:.3f}")

    def _audit_storms(self, loop: CountingLoop) -> None:
        a_second: Counter[tuple[int, int]] = Counter((int(at), order_id) for at, order_id in self.target.calls)
        most = 2 * (self.case.retry.burst_retries + 1) + 4
        if self.case.retry.durable_base_s >= 2:
            for (second, order_id), calls in a_second.items():
                self.check(calls <= most, f"{calls} calls for {order_id} in second {second}")
        calls_in: Counter[int] = Counter(int(at) for at, _ in self.target.calls)
        for second, rounds in loop.rounds.items():
            near = sum(calls_in[second + by] for by in (-1, 0, 1)) + sum(
                int(at) in (second - 1, second, second + 1) for at in self.case.births
            )
            self.check(rounds <= 150 + 40 * near + 8 * len(self.lanes), f"{rounds} rounds in second {second}, {near}")


class CountingLoop(TravellingLoop):
    def __init__(self) -> None:
        super().__init__()
        self.rounds: Counter[int] = Counter()

    def _run_once(self) -> None:
        super()._run_once()
        self.rounds[int(self._now_s)] += 1
        if self.rounds[int(self._now_s)] > 20_000:
            raise RuntimeError(f"time stands still at {self._now_s}")


def play(case: Case) -> World:
    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        return runner.run(_play(case))


async def _play(case: Case) -> World:
    world = World(case)
    await world.run()
    return world


def _num(*choices: float) -> st.SearchStrategy[float]:
    return st.sampled_from(choices)


@st.composite
def cases(draw: st.DrawFn, *, long: bool = False) -> Case:
    after_unknown, findable = draw(
        st.sampled_from(
            (
                (AfterUnknown.FIND, True),
                (AfterUnknown.FIND, True),
                (AfterUnknown.RESEND, True),
                (AfterUnknown.RESEND, False),
                (AfterUnknown.PERSON, False),
            )
        )
    )
    deadline_s = draw(_num(5.0, 0.3, 1.0, 2.0, 10.0, 30.0, *((90.0, 300.0) if long else ())))
    lease_s = deadline_s * LEASE_DEADLINES * draw(_num(1.5, 1.01, 3.0)) + draw(_num(0.0, 5.0))
    # Only what the lease outlives, with the half second that the gate takes to cut it off, is sent at all.
    lease_s = max(lease_s, (deadline_s + 0.5) * LEASE_BEATS / (LEASE_BEATS - 1) * 1.01)
    in_flight = draw(st.integers(1, 8))
    open_s = draw(_num(10.0, 1.0, 30.0))
    base_s = draw(_num(0.2, 0.01, 2.0))
    durable_base_s = draw(_num(10.0, 2.0, 0.5))
    births = sorted(draw(st.lists(st.floats(0, 60).map(lambda at: round(at, 2)), min_size=1, max_size=30)))
    faults = draw(
        st.lists(
            st.builds(
                Fault,
                begins_s=_num(0.0, 3.0, 20.0, 60.0),
                lasts_s=_num(5.0, 20.0, 120.0, *((1000.0,) if long else ())),
                sends=st.lists(st.sampled_from(FAULTS), max_size=3, unique=True).map(tuple),
                finds=st.lists(st.sampled_from(FIND_FAULTS), max_size=3, unique=True).map(tuple),
                share=_num(1.0, 0.5, 0.2),
            ),
            max_size=4,
        )
    )
    blows = draw(
        st.lists(
            st.builds(
                Blow, at_s=st.floats(0, 100).map(lambda at: round(at, 3)), kind=st.sampled_from(("kill", "stop", "cut"))
            ),
            max_size=3,
        )
    )
    jitter = draw(_num(0.0, 0.02, 0.5))
    return Case(
        after_unknown=after_unknown,
        findable=findable,
        in_flight=in_flight,
        adaptive=in_flight > 1 and draw(st.booleans()),
        places=draw(st.integers(1, 40)),
        deadline_s=deadline_s,
        latency=draw(_num(0.02, 0.3, 0.45, 0.6)) if jitter == 0.5 else draw(_num(0.02, 0.3, 0.45, 0.6, 0.8, 0.95)),
        jitter=jitter,
        slow=draw(_num(0.98, 0.6, 0.98, 1.5)),
        settle_s=draw(_num(15.0, 0.0, 1.0, 60.0, *((4000.0,) if long else ()))),
        rate_per_s=draw(st.sampled_from((None, None, 0.5, 5.0, 50.0))),
        burst=draw(st.integers(1, 10)),
        lease_s=lease_s,
        heartbeat_s=lease_s / LEASE_BEATS * draw(_num(1.0, 0.5)),
        retry=RetrySettings(
            burst_retries=draw(st.integers(0, 4)),
            base_s=base_s,
            max_s=base_s * draw(_num(1.0, 10.0)),
            durable_base_s=durable_base_s,
            durable_max_s=durable_base_s * draw(_num(1.0, 4.0, *((30.0,) if long else ()))),
            budget_share=draw(_num(0.2, 0.01, 1.0)),
        ),
        breaker=BreakerSettings(
            window_s=draw(_num(60.0, 5.0)),
            min_calls=draw(_num(8, 1, 3)),  # type: ignore[arg-type]
            failure_share=draw(_num(0.5, 0.1, 1.0)),
            consecutive_timeouts=draw(st.integers(1, 6)),
            open_s=open_s,
            open_max_s=open_s * draw(_num(1.0, 6.0)),
            ramp_s=draw(_num(10.0, 0.0, 60.0)),
        ),
        births=tuple(births),
        there=frozenset(draw(st.sets(st.integers(0, len(births) - 1), max_size=2))),
        doubted=frozenset(draw(st.sets(st.integers(0, len(births) - 1)))),
        connection_rate_per_s=draw(st.sampled_from((None, None, None, 1.0, 20.0))),
        refuses_twice=draw(st.booleans()),
        faults=tuple(faults),
        blows=tuple(sorted(blows, key=lambda blow: blow.at_s)),
        seed=draw(st.integers(0, 10_000)),
    )


@given(cases())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_numbers_and_any_faults(case: Case) -> None:
    world = play(case)
    assert not world.wrong, world.wrong[:5]


def test_a_probe_keeps_its_place_for_longer_than_an_attempt_may_take() -> None:
    app: Any = SimpleNamespace(breaker=BreakerSettings())
    for deadline_s in (1.0, 59.0, 61.0, 300.0):
        gate = GateSettings(
            idempotent=False,
            findable=True,
            rate_per_s=None,
            burst=1,
            in_flight=1,
            deadline_s=deadline_s,
            slow_s=deadline_s,
            adaptive=False,
        )
        assert breaker_policy_of(app, gate).probe_lease_s > deadline_s + 0.5, "its answer would not be heard"


def _calm(**changes: Any) -> Case:
    """A target that can be asked and a gateway that nothing happens to, but for `changes`."""
    given: dict[str, Any] = {
        "after_unknown": AfterUnknown.FIND,
        "findable": True,
        "adaptive": False,
        "deadline_s": 10.0,
        "latency": 0.005,
        "jitter": 0.0,
        "slow": 0.98,
        "settle_s": 15.0,
        "rate_per_s": None,
        "burst": 1,
        "lease_s": 35.0,
        "heartbeat_s": 5.0,
        "retry": RetrySettings(),
        "breaker": BreakerSettings(),
        "there": frozenset(),
        "refuses_twice": False,
        "faults": (),
        "blows": (),
        "seed": 1,
    }
    return Case(**given | changes)


def test_more_in_doubt_than_fits_in_memory_keeps_no_new_order_waiting() -> None:
    """A worker with a full gate has died, and the answers to questions take five seconds each."""
    old, slow_s = 200, 5.0
    case = _calm(
        in_flight=4,
        places=40,
        births=tuple([0.0] * old + [10.0 + number for number in range(60)]),
    )

    class Slow(Target):
        async def find(self, worker: Worker, order_id: int, deadline_s: float) -> Any:
            await asyncio.sleep(slow_s)
            return Found() if self.has(order_id) else NotFound()

    async def scene() -> World:
        world = World(case)
        world.target, world.born = Slow(case, world.rng), old
        for order_id in range(old):
            world.lanes[order_id].in_doubt = True
        await world.run()
        return world

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        world = runner.run(scene())
    assert not world.wrong, world.wrong[:5]
    waited = [world.lanes[n].ended_at - born for n, born in enumerate(case.births) if n >= old]
    assert max(waited) < 2 * slow_s, "before the last of the old ones, and not after"
    settled = [world.lanes[n].ended_at for n in range(old)]
    assert max(settled) < 2 * old * slow_s / case.in_flight, "and these go on meanwhile"


@pytest.mark.parametrize("places", [6, 200])
@pytest.mark.parametrize("after_unknown", [AfterUnknown.FIND, AfterUnknown.RESEND])
def test_what_is_in_doubt_is_asked_about_while_orders_are_refused(after_unknown: AfterUnknown, places: int) -> None:
    """The target has it all the while; a cancel behind it would wait for the end of the outage."""
    old, due_at, well_at = 30, 300.0, 3600.0
    case = _calm(
        after_unknown=after_unknown,
        in_flight=8,
        places=places,
        births=tuple([0.0] * old + [5.0 * number for number in range(300)]),
        there=frozenset(range(old)),
        doubted=frozenset(range(old)),
        faults=(Fault(begins_s=0.0, lasts_s=well_at, sends=("failed",), finds=(), share=1.0),),
    )

    async def scene() -> World:
        world = World(case)
        world.born = old
        for order_id in range(old):
            world.lanes[order_id].not_before = due_at
        await world.run()
        return world

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        world = runner.run(scene())
    assert not world.wrong, world.wrong[:5]
    assert max(world.lanes[order_id].ended_at for order_id in range(old)) < due_at + 60
    assert min(world.lanes[order_id].ended_at for order_id in range(old, len(case.births))) > well_at
