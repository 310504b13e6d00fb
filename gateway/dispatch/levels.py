"""Tells a shop how many pieces of each listing it may sell. A level is state: only the newest counts.

So nothing is queued. Every couple of seconds the levels of a shop's published listings are compared with what the shop
was told last, and what differs is told. A thousand changes between two looks are one call, a restart looks again, and
a listing that has to wait is told what is right when its time comes (docs/decisions/0010-a-level-is-state.md). One that
the platform refuses waits too, for longer.

One worker does this for a shop: its owner.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

import asyncpg
import msgspec

from gateway.core.access import Level
from gateway.core.delivery import GRACE_S, Answer, Done, Failed, Rejected, Result, Throttled, Unauthorised, Unknown
from gateway.core.event import ConnectionName
from gateway.core.fault import raised
from gateway.core.happening import LevelTold, Observer, Trouble
from gateway.dispatch.authority import Authority
from gateway.dispatch.breaker import Breaker, Permit, Refused, Verdict
from gateway.dispatch.conclude import verdict_of
from gateway.dispatch.hold import Hold
from gateway.dispatch.retry import THROTTLE_PAUSE_S, Patience, RetryPolicy, durable_wait
from gateway.sdk.cancelled import is_a_stop, is_ours, within
from gateway.sdk.pull import Budget, LevelTarget
from gateway.store.control import Forced
from gateway.store.levels import DueLevel, LevelRule, begin, due_levels, forget_sold, refuse, told, untold

_AT_ONCE = 500
"""Listings one look takes up; while they are told the next look waits, but no longer than `_TELLS_S`."""

_TELLS_S = 10.0
"""What sells out meanwhile must not wait until a slow platform has been told all of them."""

_SHARE = 20
"""Looking takes at most this part of the time: a hundred thousand listings are looked at less often."""

_ALL_EVERY_S = 30.0
"""So often all listings are looked at, in between those that changed: what waited for its time is found by this."""

_OVERLAP_S = 30.0
"""A look at what changed goes so much further back than the last one: a transaction's changes are dated by its start,
and no statement takes longer."""

_SOLD_OVERLAP_S = 5.0
"""The same for what the shop itself has sold, where every order is looked at. Looking at all goes `_OVERLAP_S` further
back than the last such look."""

_UNOWNED_S = 300.0
"""The first look goes so much further back: the shop sold while nobody owned it."""


_LONG_S = 30.0
"""A shop that wants to be left alone for so long has no patience for levels: a failure, of which people are told."""


class Owner(Protocol):
    """The ownership of the shop, had by this worker as long as `run` is not cancelled."""

    @property
    def worker_id(self) -> int: ...

    @property
    def stopping(self) -> bool:
        """It is time to return."""
        ...

    async def rest(self, for_s: float) -> None:
        """Returns after `for_s`, or as soon as it is time to stop."""
        ...


class LevelPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """`deadline_s` is for one call, `in_flight` for how many at a time, `every_s` between two looks at the stock."""

    rule: LevelRule
    deadline_s: float
    in_flight: int = 1
    every_s: float = 2.0


class LevelPublisher:
    """The levels of one shop in one worker, which runs it while it owns the shop.

    `budget` gives no turn to a call that would outlive this worker's lease. `waits`, looked at before every call: the
    shop is paused, or has to be authorised again. `authority` None: the shop needs no token of ours.
    """

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        connection: ConnectionName,
        connection_id: int,
        target: LevelTarget,
        policy: LevelPolicy,
        retry: RetryPolicy,
        breaker: Breaker,
        budget: Budget,
        waits: Callable[[], bool],
        authority: Authority | None,
        observe: Observer,
        clock: Callable[[], float],
        rng: random.Random,
        reach: Callable[[str], None],
    ) -> None:
        self._pool = pool
        self._connection = connection
        self._connection_id = connection_id
        self._target = target
        self._policy = policy
        self._retry = retry
        self._breaker = breaker
        self._budget = budget
        self._waits = waits
        self._authority = authority
        self._observe = observe
        self._clock = clock
        self._rng = rng
        self._reach = reach
        self._all_due_at = clock()
        self._looked_at = self._all_looked_at = clock() - _UNOWNED_S
        self._patience = Patience(clock)
        self._by_hand = Hold(breaker, clock)

    def follow(self, forced: Forced | None, *, at: datetime) -> None:
        """What a person wants of this operation; see `Hold.follow`."""
        self._by_hand.follow(forced, at=at)

    async def run(self, owner: Owner) -> None:
        """While `owner` is not stopping. What a cancel cuts off is told again by whoever owns the shop then.

        Raises what says that the database is away.
        """
        while not owner.stopping:
            wait_s = self._policy.every_s
            if not self._waits():
                started = self._clock()
                due = await self.look()
                took_s = self._clock() - started
                through = await self.tell(due, owner)
                more = self._all_due_at <= self._clock()
                wait_s = 0.0 if through and more else max(wait_s, _SHARE * took_s)
            # A person may let go of it at any time.
            shut_s = min(self._shut_s(), self._policy.every_s) if self._by_hand.open else self._shut_s()
            await owner.rest(max(wait_s, shut_s))

    async def look(self) -> list[DueLevel]:
        """What has to be told now, the most urgent first; none while nothing may be told.

        What has just changed goes before all others: of those there may be as many as there are listings, once all are
        told again.
        """
        now = self._clock()
        if self._shut_s():
            self._all_due_at = now
            return []
        all_of_them = now >= self._all_due_at
        before, overlap_s = (self._all_looked_at, _OVERLAP_S) if all_of_them else (self._looked_at, _SOLD_OVERLAP_S)
        await forget_sold(self._pool, self._connection_id, changed_within_s=now - before + overlap_s)
        due = await self._due(changed_within_s=now - self._looked_at + _OVERLAP_S)
        self._looked_at = now
        if all_of_them:
            self._all_looked_at, self._all_due_at = now, now + _ALL_EVERY_S
            changed = {one.listing_id for one in due}
            due += [one for one in await self._due(changed_within_s=None) if one.listing_id not in changed]
            due = due[:_AT_ONCE]
        if len(due) == _AT_ONCE:
            self._all_due_at = now  # there may be more
        return due

    async def _due(self, *, changed_within_s: float | None) -> list[DueLevel]:
        return await due_levels(
            self._pool, self._connection_id, self._policy.rule, limit=_AT_ONCE, changed_within_s=changed_within_s
        )

    async def tell(self, due: Sequence[DueLevel], owner: Owner) -> bool:
        """Tell these listings' levels as they are when their turn comes, `in_flight` at a time, as far as time allows.

        False: the platform, the breaker or a person stopped it before it was through.
        """
        waiting, through, until = iter(due), True, self._clock() + _TELLS_S

        async def work() -> None:
            nonlocal through
            for one in waiting:
                if not through:
                    return
                if not await self._tell(one, owner):
                    through = False
                if self._clock() >= until:
                    return

        async with asyncio.TaskGroup() as group:
            for number in range(min(self._policy.in_flight, len(due))):
                group.create_task(work(), name=f"levels {self._connection} {number}")
        if not through or next(waiting, None) is not None:
            self._all_due_at = self._clock()  # what is left over is found by looking at all
        return through

    def _shut_s(self) -> float:
        """How long the breaker lets nothing through, or the platform is left alone that named no time for that."""
        until = self._breaker.shut_until()
        return max(self._patience.left_s(), 0.0 if until is None else until - self._clock())

    async def _tell(self, due: DueLevel, owner: Owner) -> bool:
        """Tell one listing's newest level; False when the others need not be tried before the next look."""
        await self._budget.turn()
        if owner.stopping or self._waits() or self._shut_s():
            return False
        newest = await begin(self._pool, self._connection_id, self._policy.rule, due, worker_id=owner.worker_id)
        if newest is None:
            return True  # it went back meanwhile to what the shop has been told
        permit = self._breaker.admit()
        if isinstance(permit, Refused):
            await untold(self._pool, newest, again_in_s=0.0, failed=False, arrived=False)
            return False
        version = 0 if self._authority is None else self._authority.version
        started = self._clock()
        answer = await self._call(newest.level, permit)
        took_s = self._clock() - started
        if isinstance(answer, Unauthorised) and self._authority is not None:
            self._authority.refused(version, answer)
        self._reach("levels.after_send")
        return await self._settle(newest, permit, answer, took_s)

    async def _call(self, level: Level, permit: Permit) -> Answer:
        try:
            answer: object = await within(
                self._policy.deadline_s + GRACE_S, self._target.set_level(level, deadline_s=self._policy.deadline_s)
            )
        except TimeoutError:
            return Unknown("deadline", "the adapter did not keep its deadline", timeout=True)
        except asyncio.CancelledError:
            if not is_ours():
                return self._broken("CancelledError")
            self._breaker.release(permit)
            raise
        except BaseException as error:  # a broken adapter is contained here; whether it sent is not known
            if is_a_stop(error):
                raise
            return self._broken(raised(error))
        match answer:
            case Done() | Failed() | Throttled() | Rejected() | Unknown() | Unauthorised():
                return answer
            case _:  # an adapter may answer anything
                return self._broken(f"an answer of {type(answer).__name__}")

    def _broken(self, how: str) -> Unknown:
        self._observe([Trouble("adapter", f"{self._connection} stock: {how}")])
        return Unknown("adapter", f"the adapter failed: {how}")

    async def _settle(self, due: DueLevel, permit: Permit, answer: Answer, took_s: float) -> bool:
        """Note what came of it; False when the others need not be tried before the next look."""
        result, code, goes_on = Result.DONE, "", True
        self._patience.heard(answer)
        match answer:
            case Done():
                self._breaker.record(permit, Verdict.OK, took_s)
                await told(self._pool, due)
            case Rejected():
                self._breaker.record(permit, Verdict.OK, took_s)
                result, code = Result.REJECTED, answer.code
                why = f"{answer.code}: {answer.message}".rstrip(": ")
                await refuse(self._pool, due, why, lower_in_s=self._pause_s(due, None))
            case Throttled():
                self._breaker.release(permit)
                result, code, goes_on = Result.THROTTLED, "throttled", False
                pause_s = max(THROTTLE_PAUSE_S, answer.retry_after_s or 0.0)
                self._budget.pause(pause_s)
                lasts = max(pause_s, self._patience.wait_s) >= _LONG_S
                await untold(self._pool, due, again_in_s=pause_s, failed=lasts, arrived=False)
            case Unauthorised() if self._authority is not None:
                self._breaker.release(permit)
                result, code, goes_on = Result.FAILED, "unauthorised", False
                await untold(self._pool, due, again_in_s=0.0, failed=False, arrived=False)
            case Failed() | Unauthorised():  # nobody would ever say that the shop may be told again
                self._breaker.record(permit, Verdict.FAILED, took_s)
                result, code = Result.FAILED, answer.code
                again_in_s = self._pause_s(due, answer.retry_after_s if isinstance(answer, Failed) else None)
                await untold(self._pool, due, again_in_s=again_in_s, failed=True, arrived=False)
            case Unknown():
                self._breaker.record(permit, verdict_of(answer), took_s)
                result, code = Result.UNKNOWN, answer.code
                await untold(self._pool, due, again_in_s=self._pause_s(due, None), failed=True, arrived=True)
        self._observe([LevelTold(self._connection, due.level.sku, due.level.quantity, result, code, took_s)])
        return goes_on

    def _pause_s(self, due: DueLevel, retry_after_s: float | None) -> float:
        return durable_wait(self._retry, due.failures + 1, self._rng, retry_after_s=retry_after_s)
