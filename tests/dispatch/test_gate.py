"""What a gate makes of every answer, with a sender that does as it is told and a retry curve short enough to watch."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

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
    Result,
    Throttled,
    Unauthorised,
    Unknown,
)
from gateway.core.event import ConnectionName
from gateway.core.order import Command, Operation, Order, OrderNumber
from gateway.dispatch.breaker import Breaker, BreakerPolicy, Permit, State, Verdict
from gateway.dispatch.concurrency import AdaptiveLimit
from gateway.dispatch.gate import Gate, GatePolicy
from gateway.dispatch.lease import Lease
from gateway.dispatch.limiter import RateLimiter, RetryBudget
from gateway.dispatch.outcomes import Ended
from gateway.dispatch.retry import RetryPolicy
from gateway.store.control import Forced
from gateway.store.outbox import Outcome
from tests.travel import TravellingLoop, now_s, travelling

WMS = ConnectionName("wms-1")
NOW = datetime(2026, 5, 1, 2, tzinfo=UTC)
PATIENT = BreakerPolicy(consecutive_timeouts=50, min_calls=50)
BRIEF = RetryPolicy(base_s=0.001, max_s=0.002, durable_base_s=10.0)


class Script:
    """A sender that answers from a list and then with Done; it notes what it was asked."""

    def __init__(self, answers: Sequence[Answer] = (), findings: Sequence[Finding] = ()) -> None:
        self.answers = list(answers)
        self.findings = list(findings)
        self.asked: list[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self.hold: asyncio.Event | None = None

    async def send(self, delivery: Delivery, *, deadline_s: float) -> Answer:
        self.asked.append(f"send {delivery.order.number}")
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.hold is not None:
                await self.hold.wait()
            await asyncio.sleep(0)
            return self.answers.pop(0) if self.answers else Done("R1")
        finally:
            self.at_once -= 1

    async def find(self, delivery: Delivery, *, deadline_s: float) -> Finding:
        self.asked.append(f"find {delivery.order.number}")
        return self.findings.pop(0)


class Turns:
    """A budget that gives turns when it is told to."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.taken = 0
        self.pauses: list[float] = []

    async def turn(self) -> None:
        await self.open.wait()
        self.taken += 1

    def pause(self, for_s: float) -> None:
        self.pauses.append(for_s)


class Authority:
    """Whose token is used; a refusal of the newest one holds the gate, as the gateway does."""

    def __init__(self) -> None:
        self.version = 1
        self.refusals: list[tuple[int, str]] = []
        self.told = asyncio.Event()
        self.gate: Gate | None = None

    def refused(self, version: int, answer: Unauthorised) -> None:
        self.refusals.append((version, answer.code))
        self.told.set()
        if version == self.version and self.gate is not None:
            self.gate.hold()


class Bench:
    """A gate, what it recorded, and a way to wait for it."""

    def __init__(
        self,
        script: Script,
        *,
        adaptive: AdaptiveLimit | None = None,
        turns: Turns | None = None,
        authority: Authority | None = None,
        breaker: BreakerPolicy = PATIENT,
        target_id: int = 1,
        clock: Callable[[], float] = time.monotonic,
        retry: RetryPolicy = BRIEF,
        questions: bool = True,
        **policy: Any,
    ) -> None:
        self.ended: list[Ended] = []
        self.changed = asyncio.Event()
        self.script = script
        values = {"in_flight": 2, "deadline_s": 1.0, "after_unknown": AfterUnknown.FIND, "settle_s": 0.02, "places": 8}
        self.breaker, self.questions = (
            Breaker(name, breaker, clock=clock, rng=random.Random(1), on_change=lambda _: self.gate.breaker_changed())
            for name in ("wms-1.create", "wms-1.create.find")
        )
        self.lease = Lease(60.0, clock=clock, granted_at=clock())
        self.gate = Gate(
            target=WMS,
            target_id=target_id,
            operation=Operation.CREATE,
            sender=script,
            policy=GatePolicy(**{**values, **policy}),
            retry=retry,
            breaker=self.breaker,
            questions=self.questions if questions else None,
            limiter=RateLimiter(None, clock=clock),
            budget=RetryBudget(clock=clock),
            lease=self.lease,
            worker_id=7,
            record=self._record,
            observe=lambda _: None,
            clock=clock,
            rng=random.Random(1),
            reach=lambda _: None,
            adaptive=adaptive,
            turns=turns,
            authority=authority,
        )
        if authority is not None:
            authority.gate = self.gate

    def _record(self, ended: Ended) -> None:
        self.ended.append(ended)
        if ended.free is not None:
            ended.free()
        self.changed.set()

    def give(self, count: int = 1, *, in_doubt: bool = False) -> None:
        for number in range(count):
            assert self.gate.room()
            self.gate.take(held(number, in_doubt=in_doubt))

    async def outcomes(self, count: int = 1, *, within_s: float = 10.0) -> list[Ended]:
        """The first `count` endings of a delivery's stay."""
        async with asyncio.timeout(within_s):
            while len(found := [e for e in self.ended if e.outcome is not None]) < count:
                self.changed.clear()
                await self.changed.wait()
        return found

    def results(self) -> list[Result]:
        return [ended.attempt.result for ended in self.ended if ended.attempt is not None]


def held(number: int, *, in_doubt: bool = False) -> Held:
    order = Order(number=OrderNumber(f"A{number}"))
    command = Command(WMS, 1, Operation.CREATE, "create")
    return Held(delivery=Delivery(order_id=number, order=order, command=command), in_doubt=in_doubt)


def attempted(ended: Ended) -> tuple[Result, str, bytes]:
    """Result, code and detail of the attempt."""
    assert ended.attempt is not None
    return ended.attempt.result, ended.attempt.code or "", ended.attempt.detail or b""


def fail(breaker: Breaker, calls: int) -> None:
    """So many calls go wrong, and the breaker opens."""
    for _ in range(calls):
        permit = breaker.admit()
        assert isinstance(permit, Permit)
        breaker.record(permit, Verdict.FAILED, 0.0)
    assert breaker.snapshot().state is State.OPEN


@asynccontextmanager
async def running(bench: Bench) -> Any:
    task = asyncio.create_task(bench.gate.run())
    yield
    bench.gate.stop()
    async with asyncio.timeout(5):
        await task


async def test_done_ends_the_delivery_and_frees_its_place() -> None:
    bench = Bench(Script())
    async with running(bench):
        bench.give(3)
        ended = await bench.outcomes(3)
    assert all(e.outcome is not None and e.outcome.done for e in ended)
    assert bench.gate.state.places == 0
    assert attempted(ended[0])[2] == b"R1"


async def test_what_waits_for_its_turn_alone_is_told_apart() -> None:
    """Intake gives way to that; a person, a breaker or a rate would keep it waiting for good."""
    bench = Bench(Script(), authority=Authority())
    bench.give(4)
    assert bench.gate.only_queued() == 4
    bench.gate.pause()
    assert bench.gate.only_queued() == 0
    bench.gate.resume()
    bench.gate.hold()
    assert bench.gate.only_queued() == 0
    bench.gate.release()
    assert bench.gate.only_queued() == 4
    fail(bench.breaker, 50)
    assert bench.gate.only_queued() == 0


async def test_what_waits_for_a_rate_does_not_wait_for_its_turn_alone() -> None:
    turns = Turns()
    bench = Bench(Script(), turns=turns)
    async with running(bench):
        bench.give(5)
        async with asyncio.timeout(5):
            while bench.gate.sends_waiting() > 3:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert bench.gate.only_queued() == 0
        turns.open.set()
        await bench.outcomes(5)
    assert turns.taken == 5


@pytest.mark.feature("F64")
async def test_a_burst_is_one_try_and_three_more_then_the_delivery_waits_in_the_outbox() -> None:
    bench = Bench(Script([Failed("http_503")] * 9))
    async with running(bench):
        bench.give()
        (last,) = await bench.outcomes()
    assert bench.script.asked == ["send A0"] * 4
    assert last.outcome is not None and not last.outcome.done and last.outcome.blocked is None
    assert 8 <= last.outcome.delay_s <= 10 and last.outcome.bursts == 1


@pytest.mark.feature("F65")
async def test_throttled_is_not_an_attempt_and_pauses_the_gate() -> None:
    bench = Bench(Script([Throttled(0.0)]))
    started = time.monotonic()
    async with running(bench):
        bench.give()
        (last,) = await bench.outcomes()
    assert last.outcome is not None and last.outcome.done
    assert bench.results() == [Result.THROTTLED, Result.DONE]
    assert time.monotonic() - started >= 1, "an answer of 0 s is no reason for a loop"


class Throttling(Script):
    """Asks for patience, all the time or every other time, and does not say for how long; then it is well."""

    def __init__(self, *, until_s: float, every: int = 1) -> None:
        super().__init__()
        self._until_s = until_s
        self._every = every

    async def send(self, delivery: Delivery, *, deadline_s: float) -> Answer:
        self.asked.append(f"send {delivery.order.number}")
        too_much = now_s() < self._until_s and len(self.asked) % self._every == 0
        await asyncio.sleep(0.05)
        return Throttled(None) if too_much else Done("R1")


@travelling
async def test_a_target_that_asks_for_patience_for_an_hour_is_asked_less_and_less() -> None:
    bench = Bench(Throttling(until_s=3600.0), clock=now_s, in_flight=8, places=8)
    bench.lease.renewed(now_s() + 1e6)
    async with running(bench):
        bench.give(8)
        while now_s() < 3600:  # what goes back into the outbox is claimed again when it is due
            await asyncio.sleep(1.0)
            while bench.gate.room():
                bench.gate.take(held(0))
        assert len(bench.script.asked) < 8 * (10 + 3600 / 30)
        await asyncio.sleep(35.0)
        assert bench.results()[-4:] == [Result.DONE] * 4, "and hardly later than it is well"
        assert bench.gate.state.places == 0


class Counting(Script):
    """A target that lets `per_s` requests a second through and has a tenth of them in store, as most limiters do."""

    def __init__(self, per_s: float, *, asks_for_s: float = 1.0) -> None:
        super().__init__()
        self.per_s = per_s
        self.asks_for_s = asks_for_s
        self.passed = self.refused = 0
        self._stored, self._at = per_s / 10, now_s()

    async def send(self, delivery: Delivery, *, deadline_s: float) -> Answer:
        # No two at one instant: what is sent at the very instant of a refusal is sent after it, as far as anyone knows.
        await asyncio.sleep(0.02 + (self.passed + self.refused) % 97 / 10_007)
        self._stored = min(self.per_s / 10, self._stored + (now_s() - self._at) * self.per_s)
        self._at = now_s()
        if self._stored < 1:
            self.refused += 1
            return Throttled(self.asks_for_s)
        self._stored -= 1
        self.passed += 1
        return Done("R1")


@travelling
async def test_a_target_that_counts_requests_gets_about_as_many_as_it_lets_through() -> None:
    """Two workers who know of no rate. A second of patience after each refusal, and then all at once, gave it 7."""
    target = Counting(60.0)
    workers = [Bench(target, clock=now_s, in_flight=32, places=2000) for _ in range(2)]

    async def work(for_s: float) -> float:
        passed, until = target.passed, now_s() + for_s
        while now_s() < until:
            for bench in workers:
                while bench.gate.room():
                    bench.gate.take(held(0))
            await asyncio.sleep(1.0)
        return (target.passed - passed) / for_s

    for bench in workers:
        bench.lease.renewed(now_s() + 1e6)
    async with running(workers[0]), running(workers[1]):
        assert await work(120.0) > 0.7 * 60
        assert target.refused < 0.05 * target.passed
        assert all(0 < (bench.gate.state.learnt_per_s or 0) < 60 for bench in workers)
        target.per_s = 1e6
        await work(120.0)
        assert [bench.gate.state.learnt_per_s for bench in workers] == [None, None]
        assert await work(10.0) > 1000


async def _work(bench: Bench, target: Counting, for_s: float) -> float:
    """There is always a backlog; you get how many a second went through."""
    passed, until = target.passed, now_s() + for_s
    while now_s() < until:
        while bench.gate.room():
            bench.gate.take(held(0))
        await asyncio.sleep(1.0)
    return (target.passed - passed) / for_s


@travelling
@pytest.mark.parametrize("in_flight", [8, 256])
async def test_a_quota_that_falls_and_rises_is_followed(in_flight: int) -> None:
    """However many wait for their turn by the old pace; and also where everything is refused for an hour."""
    target = Counting(300.0)
    bench = Bench(target, clock=now_s, in_flight=in_flight, places=2000)
    bench.lease.renewed(now_s() + 1e6)
    async with running(bench):
        for per_s, settles_s in ((300.0, 60.0), (20.0, 60.0), (0.001, 3600.0), (60.0, 90.0)):
            target.per_s = per_s
            await _work(bench, target, settles_s)
            if per_s > 1:
                assert await _work(bench, target, 60.0) > 0.65 * per_s


@travelling
async def test_a_target_that_asks_for_half_a_minute_is_learnt_from_as_well() -> None:
    """All at once after each pause, it got 0.2 a second of 60."""
    target = Counting(60.0, asks_for_s=30.0)
    bench = Bench(target, clock=now_s, in_flight=32, places=2000)
    bench.lease.renewed(now_s() + 1e6)
    async with running(bench):
        await _work(bench, target, 300.0)
        assert await _work(bench, target, 600.0) > 10


@travelling
async def test_an_unnamed_wait_of_one_operation_costs_the_others_of_its_connection_a_second_each_time() -> None:
    """The shop whose ship calls are over their quota is still read."""
    turns = Turns()
    turns.open.set()
    bench = Bench(Throttling(until_s=600.0), clock=now_s, in_flight=2, places=2, turns=turns)
    bench.lease.renewed(now_s() + 1e6)
    async with running(bench):
        bench.give(2)
        while now_s() < 300:
            await asyncio.sleep(1.0)
            while bench.gate.room():
                bench.gate.take(held(0))
    assert set(turns.pauses) == {1.0} and len(bench.script.asked) < 2 * (10 + 300 / 30)


@travelling
async def test_a_pause_of_the_connection_saves_up_no_turns_of_the_gate() -> None:
    turns = Turns()
    bench = Bench(Script(), clock=now_s, in_flight=8, places=20, turns=turns)
    bench.gate.limiter.set_rate(1.0, 2)
    async with running(bench):
        bench.give(20)
        await asyncio.sleep(30.0)
        turns.open.set()
        await asyncio.sleep(0.5)
        assert len(bench.script.asked) == 3, "one that had its turn, and the burst"
        await asyncio.sleep(5.0)
        assert len(bench.script.asked) == 8


@travelling
async def test_what_a_breaker_keeps_back_takes_no_turn() -> None:
    """All that waits is handed out when the first probe is due, and only that one goes."""
    bench = Bench(Script(), clock=now_s, in_flight=4, breaker=BreakerPolicy(open_s=1.0))
    bench.gate.limiter.set_rate(0.01, 4)
    fail(bench.breaker, 8)
    async with running(bench):
        bench.give(4)
        await asyncio.sleep(2.0)
        assert len(bench.script.asked) == 4, "a probe, three more, and the burst"


@travelling
async def test_a_worker_that_joins_others_sends_nothing_until_they_use_less() -> None:
    """The rate holds over all workers, also while the others have not noticed yet."""
    first, second = (
        Bench(Script(), clock=now_s, in_flight=8, places=400, rate_per_s=10.0, burst=4, joins_s=6.0) for _ in range(2)
    )
    for bench in (first, second):
        bench.gate.limiter.set_rate(10.0, 4)
    async with running(first), running(second):
        first.gate.share(1)
        first.give(400)
        await asyncio.sleep(10.0)
        second.gate.share(2)
        second.give(200)
        assert second.gate.state.throttled_s == 0.0, "its target has asked for nothing"
        await asyncio.sleep(3.0)
        first.gate.share(2)
        for passed_s in range(13, 30):
            assert len(first.script.asked) + len(second.script.asked) <= 4 + 10 * passed_s + 2
            await asyncio.sleep(1.0)
        assert len(second.script.asked) > 50
        before = len(second.script.asked)
        second.gate.share(1)
        await asyncio.sleep(5.0)
        assert len(second.script.asked) > before + 40, "alone again it waits for nobody"


@pytest.mark.parametrize("rate", ["rate_per_s", "connection_per_s"])
@travelling
async def test_a_worker_beside_others_leaves_them_what_it_could_not_send_in_a_minute(rate: str) -> None:
    """One that holds all that a dead one has left sends it at its part of the rate, and the other nothing."""
    limit: dict[str, Any] = {rate: 2.0}
    bench = Bench(Script(), clock=now_s, places=1000, deadline_s=5.0, **limit)
    bench.gate.share(1)
    bench.give(500)
    bench.gate.share(2)
    left = [ended.outcome for ended in bench.ended]
    assert [outcome.lane[0] for outcome in left if outcome is not None] == list(range(499, 64, -1)), "the last ones"
    assert bench.gate.state.places == 65 and not any(outcome.in_doubt for outcome in left if outcome is not None)
    assert all(outcome.keeps_place for outcome in left if outcome is not None), "not behind all that came later"
    assert bench.gate.spare() == 0 and not bench.gate.room()
    bench.gate.share(1)
    assert bench.gate.spare() == 1000 - 65
    bench.gate.share(2)
    assert len(bench.ended) == 435
    bench.gate.adopt([held(number) for number in range(100)])
    assert bench.gate.parked
    bench.gate.share(3)
    assert bench.gate.state.places == 44, "whatever else is parked: the others are through with that some day"


@travelling
async def test_what_is_in_doubt_is_left_to_others_too_after_what_is_to_be_sent() -> None:
    """What a dead worker held, and the only one that was left has claimed before another is started again."""
    bench = Bench(Script(), clock=now_s, places=1000, deadline_s=5.0, rate_per_s=2.0)
    bench.gate.share(1)
    bench.give(400, in_doubt=True)
    bench.gate.adopt([held(number) for number in range(400, 500)])
    bench.gate.share(2)
    left = [ended.outcome for ended in bench.ended if ended.outcome is not None]
    assert [outcome.lane[0] for outcome in left] == list(range(499, 64, -1))
    assert [outcome.in_doubt for outcome in left] == [False] * 100 + [True] * 335


@travelling
async def test_refusals_that_do_not_come_from_the_pace_are_answered_by_a_second_of_patience() -> None:
    """Going slower is tried once in ten minutes."""
    bench = Bench(Throttling(until_s=3600.0, every=2), clock=now_s, in_flight=8, places=2000)
    bench.lease.renewed(now_s() + 1e6)
    async with running(bench):
        bench.give(2000)
        await bench.outcomes(2000, within_s=600.0)
    assert now_s() < 600, "4 a second, as without"


async def test_a_gate_says_how_long_it_has_been_asked_to_wait() -> None:
    bench = Bench(Script([Throttled(120.0)]))
    async with running(bench):
        assert bench.gate.state.throttled_s == 0.0
        bench.give()
        await bench.outcomes()
        assert 110.0 < bench.gate.state.throttled_s <= 120.0


async def test_a_throttle_without_end_ends_after_a_day() -> None:
    bench = Bench(Script([Throttled(float("inf"))]))
    async with running(bench):
        bench.give()
        (last,) = await bench.outcomes()
    assert last.outcome is not None and last.outcome.delay_s == 86_400


async def test_a_long_throttle_leaves_memory_without_counting_a_burst() -> None:
    bench = Bench(Script([Throttled(120.0)]))
    async with running(bench):
        bench.give()
        (last,) = await bench.outcomes()
    assert last.outcome is not None and last.outcome.delay_s == 120.0 and last.outcome.bursts == 0


@pytest.mark.feature("F75")
async def test_rejected_content_blocks_the_lane_for_a_person() -> None:
    bench = Bench(Script([Rejected("unknown_carrier", "carrier X")]))
    async with running(bench):
        bench.give()
        (last,) = await bench.outcomes()
    assert last.outcome is not None and last.outcome.blocked == "rejected:unknown_carrier"
    assert attempted(last)[2] == b"carrier X"


@pytest.mark.parametrize("found", [True, False])
async def test_unknown_is_asked_about_before_anything_is_sent_again(found: bool) -> None:
    bench = Bench(Script([Unknown("timeout", timeout=True)], [Found("W1") if found else NotFound()]))
    async with running(bench):
        bench.give()
        (last,) = await bench.outcomes()
    assert bench.script.asked == ["send A0", "find A0"] + ([] if found else ["send A0"])
    expected = [Result.UNKNOWN, Result.FOUND] if found else [Result.UNKNOWN, Result.NOT_FOUND, Result.DONE]
    assert bench.results() == expected
    assert last.outcome is not None and last.outcome.done and not last.outcome.in_doubt


async def test_unknown_again_and_again_waits_in_the_outbox_and_ends_with_a_person() -> None:
    bench = Bench(Script([Unknown("timeout", timeout=True)] * 8, [NotFound()] * 8))
    async with running(bench):
        bench.give()
        (last,) = await bench.outcomes()
        assert [word.split()[0] for word in bench.script.asked] == ["send"] + ["find", "send"] * 3
        assert last.outcome is not None and last.outcome.in_doubt and last.outcome.blocked is None
        assert last.outcome.bursts == 1 and last.outcome.delay_s >= 8
        bench.ended.clear()
        again = held(0, in_doubt=True)
        again.bursts = 7
        bench.gate.adopt([again])
        (over,) = await bench.outcomes()
    assert over.outcome is not None and over.outcome.blocked == "unknown"


async def test_what_is_not_found_is_sent_again_within_the_retry_budget() -> None:
    """A WMS that takes nothing and never says so: at full rate it would get each order four times."""
    orders, timeout = 60, Unknown("timeout", timeout=True)
    bench = Bench(
        Script([timeout] * 400, [NotFound()] * 400),
        clock=lambda: 0.0,  # in which the budget earns nothing
        places=2 * orders,
        breaker=BreakerPolicy(consecutive_timeouts=1000, min_calls=1000),
    )
    async with running(bench):
        bench.give(orders)
        left = [ended.outcome for ended in await bench.outcomes(orders)]
    sends = sum(word.startswith("send") for word in bench.script.asked)
    assert sends <= orders + 20 + 0.2 * orders, "one each, what the budget starts with, and a fifth"
    assert sends > orders
    waiting = [outcome for outcome in left if outcome is not None and outcome.blocked is None]
    assert len(waiting) == orders and all(outcome.in_doubt and outcome.delay_s >= 8 for outcome in waiting)


async def test_what_another_worker_left_in_doubt_costs_no_budget() -> None:
    bench = Bench(Script([], [NotFound()] * 60), clock=lambda: 0.0, places=120)
    async with running(bench):
        bench.give(60, in_doubt=True)
        left = [ended.outcome for ended in await bench.outcomes(60)]
    assert all(outcome is not None and outcome.done for outcome in left)


async def test_what_settles_for_hours_is_not_asked_about_before() -> None:
    timeout = Unknown("timeout", timeout=True)
    bench = Bench(Script([timeout] * 4, [NotFound()] * 4), settle_s=7200.0, retry=RetryPolicy(burst_retries=0))
    async with running(bench):
        bench.give()
        (last,) = await bench.outcomes()
    assert last.outcome is not None and last.outcome.in_doubt
    assert last.outcome.delay_s == 7200, "a not found before then would have it sent twice"


class LosesSome(Script):
    """Takes orders, and now and then nobody hears of it."""

    async def send(self, delivery: Delivery, *, deadline_s: float) -> Answer:
        answer = await super().send(delivery, deadline_s=deadline_s)
        return Unknown("connection_lost") if len(self.asked) % 30 == 0 else answer


@travelling
async def test_what_settles_for_hours_does_so_in_the_outbox() -> None:
    """One in thirty is lost: in the memory of the gate, they would soon keep all others out of it."""
    bench = Bench(LosesSome(), clock=now_s, settle_s=7200.0, retry=RetryPolicy())
    async with running(bench):
        for number in range(500):
            assert bench.gate.room(), f"order {number} waits for those in doubt"
            bench.gate.take(held(number))
            await asyncio.sleep(0.1)
        left = [e.outcome for e in await bench.outcomes(500) if e.outcome is not None and not e.outcome.done]
    assert len(left) == 16 and all(outcome.in_doubt and outcome.delay_s == 7200 for outcome in left)


async def claims(script: Script, count: int, *, in_doubt: bool = False, bursts: int = 0) -> list[Outcome]:
    """What becomes of one delivery that is claimed `count` times, as soon as it is due, until a person has it."""
    bench, outcomes = Bench(script), list[Outcome]()
    async with running(bench):
        while len(outcomes) < count and (not outcomes or outcomes[-1].blocked is None):
            one = held(0, in_doubt=in_doubt)
            one.bursts = bursts
            bench.gate.adopt([one])
            outcome = (await bench.outcomes())[0].outcome
            assert outcome is not None and not outcome.done
            bench.ended.clear()
            in_doubt, bursts = outcome.in_doubt, outcome.bursts
            outcomes.append(outcome)
    return outcomes


NOT_PROVEN = Unknown("not_proven", "查无此单", answered=True)
SILENT = (Failed("http_503"), Unknown("timeout", timeout=True))


async def test_answers_that_never_prove_anything_end_with_a_person() -> None:
    script = Script([Unknown("timeout", timeout=True)], [NOT_PROVEN] * 20)
    told = await claims(script, 20)
    assert script.asked == ["send A0"] + ["find A0"] * 8
    assert [outcome.blocked for outcome in told] == [None] * 7 + ["unknown"]
    assert all(outcome.in_doubt for outcome in told)
    assert 12 * 60 < sum(outcome.delay_s for outcome in told) < 18 * 60


@pytest.mark.parametrize("silent", SILENT)
async def test_an_outage_is_no_persons_work_however_long(silent: Finding) -> None:
    told = await claims(Script([], [silent] * 40 + [NOT_PROVEN]), 41, in_doubt=True)
    assert len(told) == 41 and not any(outcome.blocked for outcome in told)
    assert told[-2].delay_s >= 240, "and is asked as seldom as anything that waits for a target"


async def test_what_failed_before_the_doubt_began_does_not_count() -> None:
    timeout = Unknown("timeout", timeout=True)
    (first,) = await claims(Script([timeout], [NOT_PROVEN]), 1, bursts=20)
    assert (first.blocked, first.in_doubt, first.bursts) == (None, True, 1)
    (first,) = await claims(Script([timeout] * 4, [NotFound()] * 3), 1, bursts=20)
    assert (first.blocked, first.in_doubt, first.bursts) == (None, True, 1)


async def test_what_can_be_neither_asked_nor_told_is_a_persons_and_says_nothing_of_the_target() -> None:
    quick = BreakerPolicy(min_calls=8, open_s=0.05, open_jitter=0.0)
    bench = Bench(Script([], [Rejected("unknown_carrier", "carrier X")] * 20), breaker=quick, places=20)
    async with running(bench):
        bench.give(10, in_doubt=True)
        ended = await bench.outcomes(10)
        assert {attempted(e)[:2] for e in ended} == {(Result.REJECTED, "unknown_carrier")}
        for e in ended:
            assert e.outcome is not None and e.outcome.blocked == "rejected:unknown_carrier" and e.outcome.in_doubt
        assert bench.questions.snapshot().calls == 0
        fail(bench.questions, 8)
        async with asyncio.timeout(5):
            while bench.questions.open_until() is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        bench.give(10, in_doubt=True)
        await bench.outcomes(20)
    assert bench.questions.snapshot().state is State.HALF_OPEN, "nobody has asked the target yet"


@pytest.mark.parametrize("nonsense", [None, "ok", 7])
async def test_an_answer_that_is_none_costs_no_permit_and_no_place(nonsense: Any) -> None:
    bench = Bench(Script([nonsense], [nonsense]))
    async with running(bench):
        bench.give()
        (last,) = await bench.outcomes()
    assert attempted(last)[1] == "find:adapter" and bench.gate.state.places == 0


async def test_a_find_that_fails_leaves_the_delivery_in_doubt() -> None:
    bench = Bench(Script([], [Failed("http_503")]))
    async with running(bench):
        bench.give(in_doubt=True)
        (last,) = await bench.outcomes()
    assert bench.script.asked == ["find A0"]
    assert last.outcome is not None and last.outcome.in_doubt and last.outcome.delay_s >= 8


async def test_a_find_that_is_told_when_to_come_back_does_not_come_before() -> None:
    bench = Bench(Script([], [Failed("http_503", "", 120.0)]))
    async with running(bench):
        bench.give(in_doubt=True)
        (last,) = await bench.outcomes()
    assert last.outcome is not None and last.outcome.in_doubt and last.outcome.delay_s >= 120


async def test_unknown_at_a_target_that_can_do_neither_is_a_persons() -> None:
    bench = Bench(Script([Unknown("timeout", timeout=True)]), after_unknown=AfterUnknown.PERSON)
    async with running(bench):
        bench.give()
        (last,) = await bench.outcomes()
        bench.ended.clear()
        bench.give(in_doubt=True)
        (adopted,) = await bench.outcomes()
    assert last.outcome is not None and last.outcome.blocked == "unknown"
    assert adopted.outcome is not None and adopted.outcome.blocked == "unknown"
    assert bench.script.asked == ["send A0"]


async def test_unknown_at_an_idempotent_target_is_sent_again() -> None:
    bench = Bench(Script([Unknown("timeout", timeout=True)]), after_unknown=AfterUnknown.RESEND)
    async with running(bench):
        bench.give()
        (last,) = await bench.outcomes()
    assert bench.script.asked == ["send A0"] * 2
    assert last.outcome is not None and last.outcome.done


async def test_what_may_be_sent_again_and_can_be_asked_about_is_asked_about_first() -> None:
    bench = Bench(
        Script([Unknown("duplicate", answered=True)], [Found("R2")]),
        after_unknown=AfterUnknown.RESEND,
        findable=True,
    )
    async with running(bench):
        bench.give()
        (last,) = await bench.outcomes()
    assert bench.script.asked == ["send A0", "find A0"]
    assert last.outcome is not None and last.outcome.done and attempted(last)[2] == b"R2"


@pytest.mark.parametrize("finding", [NotFound(), Failed("http_503"), Unknown("timeout", timeout=True)])
async def test_what_may_be_sent_again_is_sent_at_once_when_asking_shows_nothing(finding: Finding) -> None:
    bench = Bench(Script([], [finding]), after_unknown=AfterUnknown.RESEND, findable=True, settle_s=60.0)
    async with running(bench):
        bench.give(in_doubt=True)
        (last,) = await bench.outcomes()
    assert bench.script.asked == ["find A0", "send A0"]
    assert last.outcome is not None and last.outcome.done


async def test_what_is_said_to_be_there_and_never_shown_comes_to_a_person_instead_of_being_sent_for_ever() -> None:
    said = Unknown("duplicate", answered=True)
    bench = Bench(Script([said] * 60, [NotFound()] * 60), after_unknown=AfterUnknown.RESEND, findable=True)
    async with running(bench):
        bench.give()
        for bursts in range(1, 9):
            *_, last = await bench.outcomes(bursts)
            assert last.outcome is not None
            if last.outcome.blocked:
                break
            assert last.outcome.in_doubt and last.outcome.bursts == bursts
            assert bench.gate.room()
            again = held(0, in_doubt=True)
            again.bursts = last.outcome.bursts
            bench.gate.take(again)
    assert bursts == 8
    assert last.outcome is not None and last.outcome.blocked == "unknown"


async def test_what_an_outage_has_counted_is_no_persons_work_where_sending_again_does_no_harm() -> None:
    timeout, said = Unknown("timeout", timeout=True), Unknown("duplicate", answered=True)
    script, bursts, in_doubt = Script([timeout] * 10 + [said], [timeout] * 9 + [NotFound()]), 0, False
    once = RetryPolicy(burst_retries=0)
    bench = Bench(script, after_unknown=AfterUnknown.RESEND, findable=True, retry=once)
    async with running(bench):
        for _ in range(11):
            one = held(0, in_doubt=in_doubt)
            one.bursts = bursts
            bench.gate.adopt([one])
            outcome = (await bench.outcomes())[0].outcome
            bench.ended.clear()
            assert outcome is not None and outcome.blocked is None
            bursts, in_doubt = outcome.bursts, outcome.in_doubt
    assert not script.answers


@travelling
async def test_a_hung_attempt_is_cut_off_before_the_lease_ends() -> None:
    loop = asyncio.get_running_loop()
    for late_s in (0.0, 0.05, 0.1, 0.15, 0.2):
        bench = Bench(Script(), clock=loop.time, deadline_s=5.0)
        bench.script.hold = asyncio.Event()
        bench.lease = bench.gate._lease = Lease(5.51 + late_s, clock=loop.time, granted_at=loop.time())
        async with running(bench):
            await asyncio.sleep(late_s)
            bench.give()
            while not bench.ended:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert bench.lease.left_s() > -0.011, "a lane must not be in two hands"
            bench.script.hold.set()
            bench.script.findings = [Found()]
            bench.lease.renewed(loop.time() + 60)
            await bench.outcomes()


class CountingLoop(TravellingLoop):
    rounds = 0

    def _run_once(self) -> None:
        self.rounds += 1
        super()._run_once()


def test_a_breaker_that_is_due_and_no_free_slot_is_no_loop() -> None:
    async def scene() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        eager = BreakerPolicy(consecutive_timeouts=1, open_s=1.0)
        bench = Bench(
            Script(),
            breaker=eager,
            adaptive=AdaptiveLimit(8),
            clock=loop.time,
            in_flight=8,
            deadline_s=30.0,
        )
        bench.script.hold = asyncio.Event()
        async with running(bench):
            bench.give(8)
            await asyncio.sleep(0.1)
            permit = bench.breaker.admit()
            assert isinstance(permit, Permit)
            bench.breaker.record(permit, Verdict.TIMEOUT, 1.0)
            bench.gate.breaker_changed()
            rounds = loop.rounds
            await asyncio.sleep(20.0)
            rounds = loop.rounds - rounds
            bench.script.hold.set()
            await bench.outcomes(8)
        return rounds

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        assert runner.run(scene()) < 500


async def test_an_adapter_that_hangs_is_cut_off_and_one_that_fails_is_contained() -> None:
    bench = Bench(Script(), deadline_s=0.05)
    bench.script.hold = asyncio.Event()
    async with running(bench):
        bench.give()
        async with asyncio.timeout(5):
            while not bench.ended:
                bench.changed.clear()
                await bench.changed.wait()
        bench.script.hold.set()
        bench.script.findings = [Found()]
        await bench.outcomes()
    assert attempted(bench.ended[0])[0] is Result.UNKNOWN
    assert attempted(bench.ended[0])[1] == "deadline"

    for defect in (KeyError("mapping"), SystemExit(3), BaseException("a Rust library panics")):
        broken = Bench(Script())
        broken.script.answers = [None]  # type: ignore[list-item]

        async def fails(delivery: Delivery, *, deadline_s: float, defect: BaseException = defect) -> Answer:
            raise defect

        broken.script.send = fails  # type: ignore[method-assign]
        broken.script.findings = [Found()]
        async with running(broken):
            broken.give()
            await broken.outcomes()
        assert attempted(broken.ended[0])[1] == "adapter"


class HangsOnItsWayOut(Script):
    """Asks a target that is gone, and then waits for the connection to it to close."""

    gone = True

    async def send(self, delivery: Delivery, *, deadline_s: float) -> Answer:
        try:
            await asyncio.sleep(1e9 if self.gone else 0.0)
        finally:
            await asyncio.sleep(1e9 if self.gone else 0.0)
        return await super().send(delivery, deadline_s=deadline_s)

    async def find(self, delivery: Delivery, *, deadline_s: float) -> Finding:
        await self.send(delivery, deadline_s=deadline_s)
        return NotFound()


@pytest.mark.parametrize("in_doubt", [False, True])
@travelling
async def test_an_adapter_that_hangs_on_its_way_out_keeps_no_slot(in_doubt: bool) -> None:
    bench = Bench(script := HangsOnItsWayOut(), clock=now_s, in_flight=1, deadline_s=5.0, settle_s=1.0)
    async with running(bench):
        bench.give(in_doubt=in_doubt)
        await asyncio.sleep(8.3)
        assert [attempted(ended)[1].removeprefix("find:") for ended in bench.ended] == ["deadline"]
        script.gone = False
        bench.gate.adopt([held(1)])
        assert sum(e.outcome is not None and e.outcome.done for e in await bench.outcomes(2)) == 2 - in_doubt
        assert bench.gate.state.in_flight == 0 and bench.gate.state.places == 0


@travelling
async def test_an_adapter_that_hangs_on_its_way_out_does_not_keep_a_stop_from_giving_back_the_rest() -> None:
    bench = Bench(HangsOnItsWayOut(), clock=now_s, in_flight=1, deadline_s=5.0)
    task = asyncio.create_task(bench.gate.run())
    bench.give(3)
    await asyncio.sleep(1.0)
    bench.gate.stop()
    task.cancel()
    await asyncio.wait([task], timeout=60)
    assert task.done()
    assert [outcome.in_doubt for outcome in bench.gate.leftovers()] == [False, False, True]


class Refreshing(Script):
    """Its calls wait for one refresh of a token, as adapters like to do: whoever is cut off cancels it for all."""

    def __init__(self) -> None:
        super().__init__(findings=[NotFound()] * 20)
        self.refresh: asyncio.Task[None] | None = None
        self.hangs = True

    async def send(self, delivery: Delivery, *, deadline_s: float) -> Answer:
        if self.hangs:
            if self.refresh is None:
                self.refresh = asyncio.ensure_future(asyncio.sleep(3600))
            await self.refresh
        return await super().send(delivery, deadline_s=deadline_s)

    async def find(self, delivery: Delivery, *, deadline_s: float) -> Finding:
        if self.hangs and self.refresh is not None:
            await self.refresh
        return await super().find(delivery, deadline_s=deadline_s)


@pytest.mark.parametrize("in_doubt", [False, True])
@travelling
async def test_a_cancel_that_an_adapter_makes_for_itself_costs_no_runner(in_doubt: bool) -> None:
    """Taken for the gate's own, it ends the runner without a word, and the delivery is held for ever."""
    script = Refreshing()
    bench = Bench(script, clock=now_s, in_flight=3, deadline_s=5.0, settle_s=15.0)
    async with running(bench):
        bench.give(1)
        await asyncio.sleep(1.0)
        bench.gate.adopt([held(1), held(2, in_doubt=in_doubt)])
        await asyncio.sleep(5.5)
        told = [attempted(ended)[1].removeprefix("find:") for ended in bench.ended]
        assert sorted(told) == ["adapter", "adapter", "deadline"]
        script.hangs = False
        ended = await bench.outcomes(3, within_s=600.0)
        assert sum(e.outcome is not None and e.outcome.done for e in ended) == 3 - in_doubt
        bench.gate.adopt([held(3), held(4), held(5)])
        await bench.outcomes(6, within_s=600.0)
        assert bench.gate.state.in_flight == 0 and bench.gate.state.places == 0


@pytest.mark.parametrize("wait", ["120", "soon", timedelta(minutes=2), Decimal(120), float("nan"), -5.0], ids=repr)
async def test_a_wait_that_is_no_number_of_seconds_fails_nothing_but_itself(wait: Any) -> None:
    """`Retry-After` as it stands in the header, say: an adapter may answer anything."""
    for script, in_doubt in (
        (Script([Throttled(wait)]), False),
        (Script([Failed("http_503", "", wait)] * 4), False),
        (Script([], [Failed("http_503", "", wait)]), True),
    ):
        bench = Bench(script)
        async with running(bench):
            bench.give(in_doubt=in_doubt)
            (last,) = await bench.outcomes()
        assert last.outcome is not None and 0 <= last.outcome.delay_s <= 120
        assert isinstance(last.outcome.delay_s, float)


async def test_no_more_in_flight_than_allowed_and_no_more_in_memory_than_places() -> None:
    bench = Bench(Script())
    async with running(bench):
        bench.give(8)
        assert not bench.gate.room()
        assert bench.gate.parked
        await bench.outcomes(8)
    assert bench.script.most_at_once == 2


@pytest.mark.feature("F67")
@pytest.mark.feature("F69")
async def test_an_open_breaker_sends_nothing_and_uses_no_attempt() -> None:
    bench = Bench(Script())
    bench.breaker.force_open("WMS is being moved", time.monotonic() + 0.15)
    async with running(bench):
        bench.give(2)
        await asyncio.sleep(0)
        assert bench.gate.state.queued == 2 and bench.gate.spare_for_orders() == 0
        assert bench.script.asked == []
        await bench.outcomes(2)
    assert bench.breaker.snapshot().state is not State.OPEN
    assert all(result is Result.DONE for result in bench.results())


async def test_nothing_is_sent_that_the_lease_does_not_cover() -> None:
    bench = Bench(Script(), deadline_s=2.0)
    bench.lease = Lease(1.0, clock=time.monotonic, granted_at=time.monotonic())
    bench.gate._lease = bench.lease
    async with running(bench):
        bench.give()
        await asyncio.sleep(0.3)
        assert bench.script.asked == []
        bench.lease.renewed(time.monotonic() + 60)
        await bench.outcomes()


async def test_a_stop_leaves_what_waits_without_doubt_and_what_was_cut_off_in_doubt() -> None:
    bench = Bench(Script())
    bench.script.hold = asyncio.Event()
    task = asyncio.create_task(bench.gate.run())
    for number in range(4):
        one = held(number)
        one.bursts = 20
        bench.gate.adopt([one])
    async with asyncio.timeout(5):
        while bench.script.at_once < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
    bench.gate.stop()
    task.cancel()
    await asyncio.wait([task])
    left = {outcome.lane[0]: outcome for outcome in bench.gate.leftovers()}
    assert sorted(left) == [0, 1, 2, 3]
    assert [left[number].in_doubt for number in range(4)] == [True, True, False, False]
    assert left[0].delay_s == bench.gate.policy.settle_s and left[2].delay_s == 0.0
    assert [left[number].keeps_place for number in range(4)] == [False, False, True, True]
    assert [left[number].bursts for number in range(4)] == [0, 0, 20, 20], "doubt counts anew"
    assert set(bench.gate.lanes()) == {0, 1, 2, 3}


@pytest.mark.parametrize("shop", [False, True])
@travelling
async def test_a_stop_waits_for_nobody_whose_turn_is_still_to_come(shop: bool) -> None:
    bench = Bench(Script(), clock=now_s, in_flight=8, places=20, turns=Turns() if shop else None)
    bench.gate.limiter.set_rate(0.1, 1)
    async with running(bench):
        bench.give(20)
        await asyncio.sleep(1.0)
        bench.gate.stop()
        began = now_s()
    assert now_s() == began, "none of them would be sent"
    left = bench.gate.leftovers()
    assert len(left) == 20 - len(bench.script.asked) and not any(outcome.in_doubt for outcome in left)


@travelling
async def test_a_stop_waits_for_nobody_who_has_just_been_given_something() -> None:
    bench = Bench(Script(), clock=now_s, in_flight=8, places=20)
    bench.gate.limiter.set_rate(0.1, 1)
    async with running(bench):
        await asyncio.sleep(1.0)
        bench.give(20)
        bench.gate.stop()
        began = now_s()
    assert now_s() == began and len(bench.gate.leftovers()) == 20


class HangingQuestions(Script):
    """Takes orders at once and never answers a question."""

    async def find(self, delivery: Delivery, *, deadline_s: float) -> Finding:
        self.asked.append(f"find {delivery.order.number}")
        await asyncio.sleep(deadline_s)
        return Unknown("timeout", timeout=True)


@travelling
async def test_questions_that_hang_do_not_keep_orders_waiting() -> None:
    clock = asyncio.get_running_loop().time
    bench = Bench(HangingQuestions(), breaker=BreakerPolicy(), clock=clock, in_flight=4, deadline_s=10.0, places=200)
    async with running(bench):
        bench.give(100, in_doubt=True)
        began = clock()
        for number in range(100, 150):
            assert bench.gate.room()
            bench.gate.take(held(number))
        ended = await bench.outcomes(50)
        assert clock() - began < 1.0, "half of the slots are theirs"
        assert all(e.outcome is not None and e.outcome.done for e in ended)
        ended = await bench.outcomes(150, within_s=60.0)
        assert bench.gate.state.places == 0, "and what is in doubt gives its place back"
    asked = sum(word.startswith("find") for word in bench.script.asked)
    assert asked < 10, "five time-outs in a row are enough"
    assert bench.breaker.snapshot().label == "closed" and bench.questions.snapshot().label == "open"
    for e in ended:
        if e.attempt is None:
            assert e.outcome is not None and e.outcome.in_doubt and not e.outcome.done
            assert 1.0 <= e.outcome.delay_s <= 60.0 and e.outcome.bursts == 0


class WaryOfQuestions(Script):
    """Takes orders; what it makes of a question comes after a while."""

    def __init__(self, finding: Finding, *, after_s: float) -> None:
        super().__init__()
        self._finding = finding
        self._after_s = after_s

    async def find(self, delivery: Delivery, *, deadline_s: float) -> Finding:
        self.asked.append(f"find {delivery.order.number}")
        await asyncio.sleep(self._after_s)
        return self._finding


@pytest.mark.parametrize(
    ("finding", "after_s", "within_s"),
    [(NotFound(), 5.0, 6.0), (Throttled(5.0), 0.1, 11.0), (Throttled(), 0.1, 100.0)],
    ids=["slow", "throttled", "throttled, for whoever knows how long"],
)
@pytest.mark.parametrize("adaptive", [False, True])
@travelling
async def test_a_single_slot_serves_orders_and_questions_in_turn(
    finding: Finding, after_s: float, within_s: float, adaptive: bool
) -> None:
    """The target takes orders at once. A new one does not wait for all that is in doubt."""
    script, narrow = WaryOfQuestions(finding, after_s=after_s), AdaptiveLimit(1) if adaptive else None
    in_flight = 4 if adaptive else 1
    bench = Bench(script, clock=now_s, in_flight=in_flight, adaptive=narrow, deadline_s=10.0, places=200)
    bench.lease.renewed(now_s() + 1e6)
    async with running(bench):
        bench.give(50, in_doubt=True)
        await asyncio.sleep(1.0)
        for number in range(100, 105):
            began = now_s()
            assert bench.gate.room()
            bench.gate.take(held(number))
            while f"send A{number}" not in script.asked:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            assert now_s() - began < within_s
            asked = sum(word.startswith("find") for word in script.asked)
        await asyncio.sleep(60.0)
        assert sum(word.startswith("find") for word in script.asked) > asked, "and questions go on"


async def test_what_cannot_be_asked_about_now_is_sent_where_that_does_no_harm() -> None:
    shut = BreakerPolicy(min_calls=2)
    bench = Bench(Script(), breaker=shut, after_unknown=AfterUnknown.RESEND, findable=True)
    fail(bench.questions, 2)
    async with running(bench):
        bench.give(2, in_doubt=True)
        ended = await bench.outcomes(2)
    assert bench.script.asked == ["send A0", "send A1"]
    assert all(e.outcome is not None and e.outcome.done for e in ended)


async def test_what_was_sent_unasked_and_did_not_arrive_is_still_in_doubt() -> None:
    """Of an attempt that a dead worker had begun nobody knows: its cancel must not be left out with it."""
    shut = BreakerPolicy(min_calls=2, consecutive_timeouts=50)
    bench = Bench(
        Script([Failed("connect")] * 4), breaker=shut, after_unknown=AfterUnknown.RESEND, findable=True,
        retry=RetryPolicy(burst_retries=0, durable_base_s=10.0),
    )  # fmt: skip
    fail(bench.questions, 2)
    async with running(bench):
        bench.give(in_doubt=True)
        (ended,) = await bench.outcomes()
    assert bench.script.asked == ["send A0"] and attempted(ended)[:2] == (Result.FAILED, "connect")
    assert ended.outcome is not None and ended.outcome.in_doubt


async def test_what_is_sent_unasked_is_not_taken_out_of_the_line() -> None:
    bench = Bench(Script(), after_unknown=AfterUnknown.RESEND, findable=True, breaker=BreakerPolicy(min_calls=2))
    fail(bench.questions, 2)
    bench.give(in_doubt=True)
    assert bench.gate.sends_waiting() == 1 and bench.gate.take_out({0}) == []
    bench.gate.stop()
    assert [outcome.in_doubt for outcome in bench.gate.leftovers()] == [True]


async def test_questions_go_on_while_orders_are_refused_but_not_while_a_person_holds_the_gate() -> None:
    bench = Bench(Script([], [Found("W1")] * 4), breaker=BreakerPolicy(min_calls=2))
    fail(bench.breaker, 2)
    async with running(bench):
        bench.give(2, in_doubt=True)
        await bench.outcomes(2)
        assert bench.results() == [Result.FOUND] * 2
        bench.gate.follow(Forced("open", "WMS is being moved", "ann", NOW + timedelta(hours=1)), at=NOW)
        bench.give(2, in_doubt=True)
        for _ in range(10):
            await asyncio.sleep(0)
        assert bench.gate.state.queued == 2 and len(bench.script.asked) == 2
        bench.gate.follow(None, at=NOW)
        await bench.outcomes(4)


async def test_a_place_that_nothing_could_use_wakes_nobody() -> None:
    """Each look through a long backlog that finds nothing in doubt costs the database tens of milliseconds."""
    bench = Bench(Script(findings=[Found()] * 8))
    fail(bench.breaker, 50)
    async with running(bench):
        bench.gate.parked = True
        await asyncio.sleep(0)
        bench.gate.freed.clear()
        bench.gate.adopt([held(number, in_doubt=True) for number in range(8)])
        await bench.outcomes(8)
        assert bench.gate.state.places == 0 and not bench.gate.freed.is_set()


@travelling
async def test_a_hold_lasts_as_long_as_it_was_to_whatever_this_machines_clock_says() -> None:
    """`NOW` is the database's, which may be years from ours."""
    bench = Bench(Script(), clock=now_s)
    async with running(bench):
        bench.gate.follow(Forced("open", "WMS is being moved", "ann", NOW + timedelta(seconds=40)), at=NOW)
        assert bench.breaker.snapshot().manual_for_s == 40
        bench.give()
        await asyncio.sleep(39)
        assert bench.script.asked == [] and bench.breaker.snapshot().label == "forced_open"
        await asyncio.sleep(2)
        await bench.outcomes()


async def picked(bench: Bench) -> None:
    """A runner has taken what waits, and waits for its turn."""
    async with asyncio.timeout(5):
        while not bench.gate.state.in_flight:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_question_that_waits_for_its_turn_is_not_asked_once_a_person_holds_the_gate() -> None:
    turns = Turns()
    bench = Bench(Script([], [Found("W1")]), turns=turns)
    async with running(bench):
        bench.give(in_doubt=True)
        await picked(bench)
        bench.gate.follow(Forced("open", "WMS is being moved", "ann", NOW + timedelta(hours=1)), at=NOW)
        turns.open.set()
        async with asyncio.timeout(5):
            while bench.gate.state.in_flight:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert bench.script.asked == [] and bench.gate.state.queued == 1
        bench.gate.follow(None, at=NOW)
        await bench.outcomes()
    assert bench.script.asked == ["find A0"]


async def test_a_question_that_waits_for_its_turn_while_their_breaker_opens_is_left_out() -> None:
    turns = Turns()
    policy = BreakerPolicy(min_calls=2)
    bench = Bench(Script(), turns=turns, after_unknown=AfterUnknown.RESEND, findable=True, breaker=policy)
    async with running(bench):
        bench.give(in_doubt=True)
        await picked(bench)
        fail(bench.questions, 2)
        turns.open.set()
        await bench.outcomes()
    assert bench.script.asked == ["send A0"]


async def test_what_was_handed_to_a_runner_that_never_began_is_left_in_the_outbox() -> None:
    bench = Bench(Script())
    task = asyncio.create_task(bench.gate.run())
    for _ in range(5):
        await asyncio.sleep(0)
    bench.give()
    for runner in asyncio.all_tasks():
        if runner.get_name().startswith("gate wms-1"):
            runner.cancel()
    task.cancel()
    await asyncio.wait([task])
    assert bench.script.asked == []
    assert [outcome.lane[0] for outcome in bench.gate.leftovers()] == [0]


@pytest.mark.feature("F67")
@travelling
async def test_questions_that_wait_when_their_breaker_opens_go_back_into_the_outbox() -> None:
    clock = asyncio.get_running_loop().time
    bench = Bench(
        Script(findings=[Failed("http_503")] * 2), breaker=BreakerPolicy(min_calls=2), clock=clock, in_flight=1
    )
    async with running(bench):
        bench.give(6, in_doubt=True)
        ended = await bench.outcomes(6)
    assert [e.attempt is None for e in ended] == [False, False, True, True, True, True]
    assert bench.gate.state.places == 0 and bench.gate.freed.is_set()


def test_a_gate_that_asks_needs_a_breaker_for_that() -> None:
    with pytest.raises(ValueError, match="questions"):
        Bench(Script(), questions=False)
    Bench(Script(), questions=False, after_unknown=AfterUnknown.PERSON)


async def test_paused_starts_nothing_new() -> None:
    bench = Bench(Script())
    async with running(bench):
        bench.gate.pause()
        assert not bench.gate.room()
        bench.gate.adopt([held(1)])
        await asyncio.sleep(0)
        assert bench.script.asked == []
        bench.gate.resume()
        await bench.outcomes()


class Contended(Script):
    """A sender that takes 5 ms for up to 4 at once, and longer for more: 16 at once take 80 ms."""

    async def send(self, delivery: Delivery, *, deadline_s: float) -> Answer:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.005 * max(1.0, self.at_once / 4) ** 2)
        self.at_once -= 1
        return Done()


@pytest.mark.feature("F72")
async def test_an_adaptive_gate_stays_near_the_knee_of_its_target() -> None:
    bench = Bench(Contended(), adaptive=AdaptiveLimit(64), in_flight=64, places=1000)
    async with running(bench):
        bench.give(1000)
        await bench.outcomes(1000)
    assert 1 <= bench.gate.limit <= 10
    assert bench.script.most_at_once <= 16, "no more than two doublings beyond it, once"


async def test_a_gate_sends_as_many_at_once_as_its_limit_says() -> None:
    for adaptive, most in ((AdaptiveLimit(8), 4), (None, 8)):
        bench = Bench(Script(), adaptive=adaptive, in_flight=8, places=20)
        bench.script.hold = asyncio.Event()
        async with running(bench):
            bench.give(20)
            for _ in range(20):
                await asyncio.sleep(0)
            assert bench.script.at_once == bench.gate.state.in_flight == bench.gate.limit == most
            bench.script.hold.set()
            await bench.outcomes(20)


class Told(AdaptiveLimit):
    """Notes what it is told."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.told: list[tuple[Answer, float, int]] = []

    def record(self, answer: Answer, *, started_at: float, took_s: float, in_flight: int) -> int:
        self.told.append((answer, took_s, in_flight))
        return super().record(answer, started_at=started_at, took_s=took_s, in_flight=in_flight)


async def test_the_limit_hears_of_every_send_but_of_no_cancel_and_no_find() -> None:
    throttled, late = Throttled(0.0), Unknown("timeout", timeout=True)
    adaptive = Told(2)
    bench = Bench(Script([throttled, late], [Found()]), adaptive=adaptive)
    async with running(bench):
        bench.give()
        await bench.outcomes()
    assert [(answer, in_flight) for answer, _, in_flight in adaptive.told] == [(throttled, 1), (late, 1)]

    adaptive = Told(2)
    bench = Bench(Script(), adaptive=adaptive)
    bench.script.hold = asyncio.Event()
    task = asyncio.create_task(bench.gate.run())
    bench.give(2)
    async with asyncio.timeout(5):
        while bench.script.at_once < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert adaptive.told == []

    adaptive = Told(2)
    bench = Bench(Script(findings=[Found()]), adaptive=adaptive, deadline_s=0.05)
    bench.script.hold = asyncio.Event()
    async with running(bench):
        bench.give()
        await bench.outcomes()
    ((answer, took_s, _),) = adaptive.told
    assert isinstance(answer, Unknown) and answer.timeout and took_s >= 0.05, "the guard's cut is a time-out"


@pytest.mark.parametrize("in_doubt", [False, True])
async def test_an_unauthorised_answer_holds_the_gate_and_costs_the_delivery_nothing(in_doubt: bool) -> None:
    authority, refusal = Authority(), Unauthorised("expired", "session expired")
    bench = Bench(Script([] if in_doubt else [refusal], [refusal, NotFound()]), authority=authority, in_flight=1)
    async with running(bench):
        bench.give(3, in_doubt=in_doubt)
        async with asyncio.timeout(5):
            await authority.told.wait()
        await asyncio.sleep(0.05)
        assert len(bench.script.asked) == 1, "nothing leaves while the gate is held"
        assert not bench.gate.room() and bench.gate.spare() == 0
        bench.gate.pause()
        bench.gate.release()
        await asyncio.sleep(0.05)
        assert len(bench.script.asked) == 1, "a person's pause outlives it"
        bench.script.findings += [NotFound()] * 2
        bench.gate.resume()
        ended = await bench.outcomes(3)
    assert bench.script.asked[1].split()[1] == "A0", "it goes first"
    assert all(one.outcome is not None and one.outcome.done and one.outcome.bursts == 0 for one in ended)
    assert bench.results()[0] is Result.UNAUTHORISED
    assert bench.breaker.snapshot().calls == 3, "no verdict on the target"
    assert bench.questions.snapshot().calls == (3 if in_doubt else 0)


async def test_the_refusal_is_of_the_token_that_was_used_when_it_was_sent() -> None:
    authority = Authority()
    bench = Bench(Script([Unauthorised("expired")]), authority=authority)
    bench.script.hold = asyncio.Event()
    async with running(bench):
        bench.give()
        await asyncio.sleep(0.05)
        assert bench.script.asked == ["send A0"]
        authority.version = 2
        bench.script.hold.set()
        (last,) = await bench.outcomes()
    assert authority.refusals == [(1, "expired")]
    assert last.outcome is not None and last.outcome.done, "sent again at once, with the new token"


async def test_unauthorised_where_nobody_keeps_a_token_waits_in_the_outbox() -> None:
    bench = Bench(Script([Unauthorised("expired")]))
    async with running(bench):
        bench.give()
        (last,) = await bench.outcomes()
    assert last.outcome is not None and not last.outcome.done and last.outcome.blocked is None
    assert last.outcome.delay_s >= 5


async def test_waiting_for_a_turn_of_the_connection_does_not_spend_the_deadline() -> None:
    turns = Turns()
    bench = Bench(Script(), turns=turns, deadline_s=0.05)
    async with running(bench):
        bench.give()
        await asyncio.sleep(0.8)  # longer than the deadline and its grace
        assert bench.script.asked == []
        turns.open.set()
        (last,) = await bench.outcomes()
    assert last.outcome is not None and last.outcome.done
    assert turns.taken == 1


async def test_a_throttled_answer_pauses_the_whole_connection() -> None:
    turns = Turns()
    turns.open.set()
    bench = Bench(Script([Throttled(7.0)]), turns=turns)
    async with running(bench):
        bench.give()
        (last,) = await bench.outcomes()
    assert turns.pauses == [7.0]
    assert last.outcome is not None and last.outcome.done
