"""Reading shops whose platform is polled: the poller, and the daily re-read that finds what it missed.

Both ask window by window through `WindowReader`: each page's events are durable before the next page is asked for,
and the cursor moves when a window is through. A crash in between asks for the window again; what comes twice changes
nothing. Who may run this, and for which shop, is `gateway.ingest.duty`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta, timezone

import asyncpg
import msgspec

from gateway.core.code import OTHER
from gateway.core.delivery import Failed, Throttled, Unauthorised
from gateway.core.errors import Unavailable
from gateway.core.event import ConnectionName, Event
from gateway.core.fault import raised
from gateway.core.happening import Observer, PullChanged, PullFailed, ShopReread, Trouble, WindowRead
from gateway.core.sound import flaw_of, storable
from gateway.ingest.authorisation import Authorisation
from gateway.ingest.backoff import backoff_s
from gateway.ingest.duty import Ownership
from gateway.ingest.inbound import Inbound
from gateway.sdk.cancelled import is_a_stop, is_ours
from gateway.sdk.pull import Budget, Page, PullSource, Window
from gateway.settings import PullPolicy
from gateway.store.pulls import (
    Cursor,
    begin,
    begin_earlier,
    mark_reread,
    move_cursor,
    read_cursor,
    set_failing,
    unknown_orders,
)

BEIJING = timezone(timedelta(hours=8))
_HELD_LOOK_S = 1.0
_DUE_LOOK_S = 60.0
"""So often the daily re-read looks whether it is time."""
_MIN_PAUSE_S = 1.0
_LONG_S = 60.0
_DAY = timedelta(days=1)
_CLOCK_BACK = timedelta(minutes=1)
"""A cursor so far ahead of what can be read was set by a clock that was wrong."""

Report = Callable[[str], Awaitable[None]]
"""Told why the last question failed, or "" when it was answered."""


class PolledShop(msgspec.Struct, frozen=True):
    """A shop to read. `start_at`: nothing that changed before is asked for (None: before the first start)."""

    name: ConnectionName
    prefix: str
    start_at: datetime | None
    policy: PullPolicy


class WindowReader:
    """Reads windows of one shop through, page by page. `waits` says whether the shop is paused by a person."""

    def __init__(
        self,
        *,
        name: ConnectionName,
        source: PullSource,
        budget: Budget,
        authorisation: Authorisation,
        inbound: Inbound,
        deadline_s: float,
        waits: Callable[[], bool],
        rng: random.Random,
        observe: Observer,
        reach: Callable[[str], None],
        hangs_after_s: float = 3600.0,
    ) -> None:
        """`hangs_after_s`: of one call of the adapter, which may be many requests and their turns; far above them."""
        self._name = name
        self._source = source
        self._budget = budget
        self._authorisation = authorisation
        self._inbound = inbound
        self._deadline_s = deadline_s
        self._paused = waits
        self._rng = rng
        self._observe = observe
        self._reach = reach
        self._hangs_after_s = hangs_after_s

    def waits(self) -> bool:
        """Whether nothing may be asked now: paused, or to be authorised again."""
        return self._authorisation.held or self._paused()

    async def read(
        self, window: Window, owner: Ownership, *, report: Report, seen: Callable[[Sequence[Event]], Awaitable[None]]
    ) -> bool:
        """Have all of `window` durable; False when it is time to stop before. `seen` gets each page's events first.

        Asks again after whatever is not a page, for as long as it takes.
        """
        position, failures, throttled = "", 0, False
        while not owner.stopping:
            if self.waits():
                await owner.rest(_HELD_LOOK_S)
                continue
            await self._budget.turn()
            if self.waits() or owner.stopping:
                continue
            version = self._authorisation.version
            answer = await self._ask(window, position)
            match answer:
                case Page(events, then):
                    await seen(events)
                    if not await self._keep([storable(event, window.end_at) for event in events], owner):
                        return False
                    self._reach("poller.after_page")
                    await report("")
                    if not then:
                        return True
                    position, failures, throttled = then, 0, False
                case Throttled(retry_after_s):
                    self._observe([PullFailed(self._name, "throttled")])
                    # Told to wait a little now and then is nobody's business; again and again, or for long, is.
                    if throttled or (retry_after_s or 0.0) >= _LONG_S:
                        await report("throttled")
                    throttled = True
                    self._budget.pause(max(_MIN_PAUSE_S, retry_after_s or 0.0))
                case Unauthorised(code):
                    self._observe([PullFailed(self._name, code)])
                    self._authorisation.refused(version, answer)
                case Failed(code, _, retry_after_s):
                    failures, code = failures + 1, code or OTHER
                    self._observe([PullFailed(self._name, code)])
                    await report(code)
                    await owner.rest(max(backoff_s(failures, self._rng), retry_after_s or 0.0))
        return False

    async def _ask(self, window: Window, position: str) -> Page | Failed | Throttled | Unauthorised:
        """One call of the adapter; whatever is wrong with it becomes Failed. Its words may hold buyer data.

        One that has a request without a deadline would never end, and its shop never be read again.
        """
        limit = asyncio.timeout(self._hangs_after_s)
        try:
            async with limit:
                answer: object = await self._source.pull(window, position, deadline_s=self._deadline_s)
        except asyncio.CancelledError as error:
            if is_ours():
                raise
            return self._broken(raised(error))
        except BaseException as error:
            if is_a_stop(error):
                raise
            hung = limit.expired()
            return self._broken(f"no answer within {self._hangs_after_s:g} s" if hung else raised(error))
        if not isinstance(answer, Page | Failed | Throttled | Unauthorised):
            return self._broken(f"an answer of {type(answer).__name__}")
        if isinstance(answer, Page) and (flaw := _flaw_of(answer.events, answer.next, position, self._name)):
            return self._broken(flaw)
        return answer

    def _broken(self, how: str) -> Failed:
        self._observe([Trouble("adapter", f"{self._name} pull: {how}")])
        return Failed("adapter", how)

    async def _keep(self, events: Sequence[Event], owner: Ownership) -> bool:
        """Have `events` durable, however long that takes; False when it is time to stop before."""
        left, told = events, False
        while left:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._put(event), name=f"keep {self._name}") for event in left]
            waits = [task.result() for task in tasks]
            left = [event for event, wait_s in zip(left, waits, strict=True) if wait_s is not None]
            if left:
                if owner.stopping:
                    return False
                if not told:
                    told = True
                    self._observe([Trouble("pull", f"{self._name}: neither leg takes events, the shop is read later")])
                await owner.rest(max(wait_s for wait_s in waits if wait_s is not None))
        return True

    async def _put(self, event: Event) -> float | None:
        """None when `event` is durable, otherwise the seconds to wait before it is offered again."""
        try:
            await self._inbound.put(event)
        except Unavailable as error:
            return error.retry_after_s
        return None


class Poller:
    """The owner's loop that keeps up with one shop."""

    def __init__(
        self,
        *,
        shop: PolledShop,
        reader: WindowReader,
        pool: asyncpg.Pool,
        now: Callable[[], datetime],
        observe: Observer,
        reach: Callable[[str], None],
    ) -> None:
        self._shop = shop
        self._reader = reader
        self._pool = pool
        self._now = now
        self._observe = observe
        self._reach = reach

    async def run(self, owner: Ownership) -> None:
        """Raises what says "the database is away", and Fenced."""
        policy = self._shop.policy
        failing: str | None = None  # what the database has is not known yet

        async def report(code: str) -> None:
            nonlocal failing
            if code != failing:
                if await set_failing(self._pool, owner.connection_id, code or None):
                    self._observe([PullChanged(self._shop.name, code)])
                failing = code

        events = 0

        async def count(page: Sequence[Event]) -> None:
            nonlocal events
            events += len(page)

        cursor = await read_cursor(self._pool, owner.connection_id)
        cursor = await self._begin(owner) if cursor is None else await self._begun_earlier(cursor, owner)
        read_to = cursor.read_to
        while not owner.stopping:
            upto = newest(self._now(), policy)
            # A shop that has just begun counts as read up to then, and its platform shows that moment later.
            if read_to > cursor.begun_at and read_to - upto > _CLOCK_BACK:
                self._tell_clock(read_to, upto)
                read_to = max(upto, cursor.begun_at)
            if self._reader.waits() or upto <= read_to:
                await owner.rest(_HELD_LOOK_S if self._reader.waits() else policy.every_s)
                continue
            read_to = self._over_the_gap(read_to)
            window = next_window(read_to, upto, policy, edge=max(cursor.begun_at, oldest(self._now(), policy)))
            events = 0
            if not await self._reader.read(window, owner, report=report, seen=count):
                return
            self._reach("poller.before_cursor")
            read_to = await move_cursor(
                self._pool, owner.connection_id, worker_id=owner.worker_id, read_to=window.end_at
            )
            self._observe([WindowRead(self._shop.name, events, read_to)])
            # After an outage window follows window; in step with the shop there is nothing to hurry for. Cut short by
            # the database's clock, it is in step too.
            if read_to < window.end_at or read_to >= newest(self._now(), policy) - timedelta(seconds=policy.every_s):
                await owner.rest(policy.every_s)

    async def _begin(self, owner: Ownership) -> Cursor:
        now = self._now()
        # Without `start_at`, what changed while this process started is new, too.
        wanted = min(self._shop.start_at or now - timedelta(seconds=self._shop.policy.overlap_s), now)
        at = max(wanted, oldest(now, self._shop.policy))
        if at > wanted:
            self._lost("it starts later than start_at", wanted, at)
        return await begin(self._pool, owner.connection_id, worker_id=owner.worker_id, at=whole_second(at))

    async def _begun_earlier(self, cursor: Cursor, owner: Ownership) -> Cursor:
        """`cursor`, taken back where `start_at` is from before reading began: it was moved, or said later."""
        wanted = self._shop.start_at
        if wanted is None:
            return cursor
        at = whole_second(max(wanted, oldest(self._now(), self._shop.policy)))
        if at >= cursor.begun_at:
            return cursor
        if at > wanted:
            self._lost("it starts later than start_at", wanted, at)
        return await begin_earlier(self._pool, owner.connection_id, worker_id=owner.worker_id, at=at)

    def _over_the_gap(self, read_to: datetime) -> datetime:
        """Where to go on; later than `read_to` only where the platform does not know that far back any more."""
        edge = oldest(self._now(), self._shop.policy)
        if read_to >= edge:
            return read_to
        self._lost("it was not read for longer than the platform remembers", read_to, edge)
        return edge

    def _tell_clock(self, read_to: datetime, upto: datetime) -> None:
        what = (
            f"{self._shop.name}: it counts as read up to {read_to.isoformat()}, and the clock says {upto.isoformat()}"
        )
        self._observe([Trouble("clock", f"{what}: run NTP; the daily re-read finds what was leapt over")])

    def _lost(self, why: str, since: datetime, until: datetime) -> None:
        what = f"{self._shop.name}: {why}: what changed from {since.isoformat()} to {until.isoformat()} cannot be asked"
        self._observe([Trouble("pull_gap", f"{what} for; look those orders up in the shop by hand")])


class DailyReread:
    """The owner's loop that reads the last days of a shop again, once a day, behind everything else."""

    def __init__(
        self,
        *,
        shop: PolledShop,
        reader: WindowReader,
        pool: asyncpg.Pool,
        now: Callable[[], datetime],
        observe: Observer,
    ) -> None:
        self._shop = shop
        self._reader = reader
        self._pool = pool
        self._now = now
        self._observe = observe

    async def run(self, owner: Ownership) -> None:
        """Raises what says "the database is away", and Fenced."""
        while not owner.stopping:
            cursor = await read_cursor(self._pool, owner.connection_id)
            if cursor is None or cursor.reread_at >= last_due(self._now(), self._shop.policy.reread_hour):
                await owner.rest(_DUE_LOOK_S)
            else:
                await self._reread(owner, cursor)

    async def _reread(self, owner: Ownership, cursor: Cursor) -> None:
        """What lies before `begun_at` stays out: the first start may have been a cut-over."""
        policy, now = self._shop.policy, self._now()
        orders: set[str] = set()
        missed: set[str] = set()

        async def look(page: Sequence[Event]) -> None:
            keys = {storable(event, now).order_key for event in page if event.order_key} - orders
            if keys:
                missed.update(
                    await unknown_orders(self._pool, self._shop.name, prefix=self._shop.prefix, order_keys=keys)
                )
                orders.update(keys)

        read_to = whole_second(max(now - policy.reread_days * _DAY, oldest(now, policy), cursor.begun_at))
        while read_to < cursor.read_to:
            end_at = min(read_to + timedelta(seconds=policy.window_s), cursor.read_to)
            if not await self._reader.read(Window(read_to, end_at), owner, report=_untold, seen=look):
                return
            read_to = end_at
        await mark_reread(self._pool, owner.connection_id, worker_id=owner.worker_id, at=now)
        self._observe([ShopReread(self._shop.name, len(orders), len(missed))])


async def _untold(_code: str) -> None:
    """The poller asks the same platform and tells."""


def newest(now: datetime, policy: PullPolicy) -> datetime:
    """Up to where a shop can be read now."""
    return whole_second(now - timedelta(seconds=policy.delay_s))


def oldest(now: datetime, policy: PullPolicy) -> datetime:
    """From where on it can be read."""
    return whole_second(now - timedelta(seconds=policy.lookback_s) + timedelta(seconds=1))


def next_window(read_to: datetime, upto: datetime, policy: PullPolicy, *, edge: datetime) -> Window:
    """The window after `read_to`, overlapping what was read before it.

    With windows of 30 minutes that overlap by 2, 10:00 → 09:58 to 10:28.
    """
    start_at = max(read_to - timedelta(seconds=policy.overlap_s), edge)
    return Window(start_at, min(start_at + timedelta(seconds=policy.window_s), upto))


def last_due(now: datetime, hour: int) -> datetime:
    """The latest instant, not after `now`, at which it was `hour` o'clock in Beijing."""
    local = now.astimezone(BEIJING)
    due = local.replace(hour=hour, minute=0, second=0, microsecond=0)
    return due if due <= local else due - _DAY


def whole_second(at: datetime) -> datetime:
    return at.replace(microsecond=0)


def _flaw_of(events: object, then: object, position: str, name: ConnectionName) -> str:
    """Why a page from `position` cannot be kept; empty for one that can."""
    if not isinstance(then, str):
        return f"a page with next of {type(then).__name__}"
    if then and then == position:
        return "the page that follows is this one"
    if not isinstance(events, tuple | list):
        return f"a page with events of {type(events).__name__}"
    return next((flaw for event in events if (flaw := flaw_of(event, name))), "")
