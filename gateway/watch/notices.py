"""Tells people what has begun and ended: one worker looks every second, writes a notice per change, and sends them.

Whoever holds the advisory lock does all of it, on the connection that holds the lock: a leader that has lost it cannot
write any more. A message is written before it leaves, so a leader that is killed leaves behind what it was sending, and
its successor knows what has been said, and how much of each outlet's rate is used up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import msgspec

from gateway.core.delivery import Answer, Done, Failed, Rejected, Throttled, Unauthorised, Unknown
from gateway.core.event import ConnectionName
from gateway.core.fault import raised
from gateway.core.happening import MessageEnded, Observer, Trouble, Watched
from gateway.core.notice import Facts, Kind, Sighting
from gateway.core.owner import OwnerRule
from gateway.sdk.cancelled import is_a_stop, is_ours, within
from gateway.sdk.notify import Limits, Message, Notifier, Person
from gateway.store.leading import OUST_EVERY_S, lead, leave, oust
from gateway.store.notices import (
    Draft,
    Ended,
    Result,
    Usage,
    begin_message,
    dissolve,
    end_message,
    forget_old,
    give_up,
    read_changing,
    read_conditions,
    read_notices_waiting,
    read_uncertain,
    read_usage,
    read_waiting,
    settle_unfinished,
    sight,
    untold_s,
    write_changes,
)
from gateway.store.ship_by import LOOK_EVERY_S
from gateway.store.sql import AWAY, Connection
from gateway.watch.conditions import Policy, judge, replacements, signs
from gateway.watch.digest import Channel, Outlet, Style, is_out, plan, room
from gateway.watch.wording import Language, words

LOCK = 7_262_004
_COUNT_EVERY_S = 5.0
_SHARE = 20
"""Counting takes at most this part of the time, like the backlog of the gauges."""
_COUNT_AGAIN_S = 10.0
"""So soon is counted again what could not be."""
_FORGET_EVERY_S = 3600.0
_GRACE_S = 2.0
_MARGIN_S = 5.0
"""Added to each outlet's window: clocks of two workers may differ so much, and `ordergate check` allows no more."""
_PAUSE_S = 2.0
_MOST_PAUSE_S = 30.0
_OUT_S = 300.0
"""An outlet that has failed for `hand_over_s` is left alone for so long; one that refuses us, twice as long."""
_GIVE_UP_AFTER = timedelta(hours=24)


class Telling(msgspec.Struct, frozen=True, kw_only=True):
    """How people are told: what counts as a change, who hears of it, and where the runbooks are."""

    policy: Policy
    language: Language
    people: Mapping[str, Person]
    owners: tuple[OwnerRule, ...]
    runbooks: str
    hand_over_s: float


class Sightings:
    """Writes down what this worker sees and nobody else can, whenever it changes."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        worker_id: int,
        look: Callable[[], frozenset[Sighting]],
        observe: Observer,
        every_s: float = 0.5,
    ) -> None:
        self._pool = pool
        self._worker_id = worker_id
        self._look = look
        self._observe = observe
        self._every_s = every_s
        self._written: dict[tuple[str, str], Sighting] = {}

    async def run(self) -> None:
        """Until cancelled. What was written goes with the worker's row."""
        while True:
            await self.write()
            await asyncio.sleep(self._every_s)

    async def write(self) -> None:
        """What has changed since the last time."""
        seen = {(one.kind, one.subject): one for one in self._look()}
        new = [one for place, one in seen.items() if self._written.get(place) != one]
        gone = [one for place, one in self._written.items() if place not in seen]
        if not new and not gone:
            return
        try:
            await sight(self._pool, self._worker_id, new=new, gone=gone)
            self._written = seen
        except asyncpg.ForeignKeyViolationError:
            pass  # replaced: the lease tells the dispatcher, and this worker ends
        except (*AWAY, asyncpg.PostgresError) as error:
            self._observe([Trouble("notices", f"what is seen cannot be written: {type(error).__name__}")])


class NoticeWatch:
    """Looks and tells while this worker holds the lock; the others try again until its holder is gone.

    `channels`: name → notifier, in the order in which they are asked. `now` is the wall clock, aware UTC.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        worker_id: int,
        channels: Mapping[str, Notifier],
        telling: Telling,
        now: Callable[[], datetime],
        observe: Observer,
        reach: Callable[[str], None] = lambda _: None,
        every_s: float = 1.0,
        deadline_s: float = 8.0,
    ) -> None:
        self._pool = pool
        self._worker_id = worker_id
        self._channels = channels
        self._telling = telling
        self._now = now
        self._observe = observe
        self._reach = reach
        self._every_s = every_s
        self._deadline_s = deadline_s
        self._style = Style(language=telling.language, owners=telling.owners, hand_over_s=telling.hand_over_s)

    async def run(self) -> None:
        """Until cancelled."""
        oust_at = 0.0
        while True:
            try:
                async with self._pool.acquire() as connection:
                    if await lead(connection, LOCK, worker_id=self._worker_id):
                        try:
                            await self._lead(connection)
                        finally:
                            # The lock is the session's, and the session goes on in the pool.
                            await leave(connection, LOCK, worker_id=self._worker_id)
                    elif time.monotonic() >= oust_at:
                        oust_at = time.monotonic() + OUST_EVERY_S
                        if await oust(connection, LOCK):
                            self._observe([Trouble("notices", "who told people hangs: its session was ended")])
            except Exception as error:  # a supervisor's catch-all: orders go on, whatever becomes of what is told
                self._observe([Trouble("notices", f"nobody can be told now: {type(error).__name__}")])
            await asyncio.sleep(self._every_s)

    async def _lead(self, connection: Connection) -> None:
        await self.take_over(connection)
        counted, count_at, near_at, forget_at = Facts(), 0.0, 0.0, 0.0
        policy = self._telling.policy
        ship_by_lead = None if Kind.SHIP_BY in policy.mute else timedelta(seconds=policy.ship_by_lead_s)
        while True:
            started = time.monotonic()
            changing = await read_changing(connection)
            # What has just begun is told of with the numbers of now.
            if started >= count_at or changing.seen.keys() - counted.seen.keys():
                near = ship_by_lead if started >= near_at else None
                before, counted = counted, await read_waiting(connection, counted, ship_by_lead=near)
                if "nearing" not in counted.uncounted and near is not None:
                    near_at = started + LOOK_EVERY_S
                if counted.uncounted - before.uncounted:
                    what = f"not counted, the last count stands: {', '.join(sorted(counted.uncounted))}"
                    self._observe([Trouble("notices", f"{what} (somebody has locked a table?)")])
                rest_s = _SHARE * (time.monotonic() - started)
                if counted.uncounted:  # it was waiting rather than work
                    rest_s = min(rest_s, _COUNT_AGAIN_S)
                count_at = started + max(_COUNT_EVERY_S, rest_s)
            if started >= forget_at:
                await forget_old(connection, at=self._now())
                forget_at = started + _FORGET_EVERY_S
            counted = merged(changing, counted)
            await self.look(connection, counted)
            await self.tell(connection)
            self._observe([Watched(await untold_s(connection, at=self._now()))])
            await asyncio.sleep(self._every_s)

    async def take_over(self, connection: Connection) -> None:
        """What a leader before this one was sending when it went may have arrived."""
        left = await settle_unfinished(connection, at=self._now())
        if left:
            self._observe([Trouble("notices", f"{left} messages were under way when their sender went")])

    # --- looking

    async def look(self, connection: Connection, facts: Facts) -> None:
        """One look: what has changed since the last one is written, with a notice for each change."""
        at, telling = self._now(), self._telling
        known = await read_conditions(connection)
        found = signs(facts, at=at, policy=telling.policy)
        judged = judge(found, known, at=at, policy=telling.policy, uncounted=facts.uncounted)
        replaced = replacements(facts.alive, facts.lost)
        if not judged.conditions and not replaced:
            return
        await write_changes(
            connection,
            conditions=judged.conditions,
            notices=[
                (
                    at,
                    changed.condition.key,
                    changed.change,
                    words(changed, at=at, language=telling.language, runbooks=telling.runbooks),
                )
                for changed in judged.changes
            ],
            replaced=replaced,
            forget_before=at - timedelta(seconds=telling.policy.again_s),
        )

    # --- telling

    async def tell(self, connection: Connection) -> None:
        """Send what can be sent now, until nothing more may go or something did not arrive."""
        at = self._now()
        lost = await give_up(connection, before=at - _GIVE_UP_AFTER, at=at, why="no channel took it within 24 hours")
        if lost:
            self._observe([Trouble("notices", f"{lost} notices reached nobody within 24 hours")])
        for draft in await read_uncertain(connection):
            if await self._may_send_again(connection, draft) and not await self._send(connection, draft):
                return
        while True:
            waiting = await read_notices_waiting(connection)
            if not waiting:
                return
            channels = [await self._standing(connection, name) for name in self._channels]
            drafts = plan(waiting, channels, at=self._now(), style=self._style)
            if not drafts:
                return
            for draft in drafts:
                if not await self._send(connection, draft):
                    return

    async def _may_send_again(self, connection: Connection, draft: Draft) -> bool:
        """Whether what may not have arrived can be sent once more, as it is.

        Where its outlet is out, or not configured any more, its notices wait for another message.
        """
        notifier = self._channels.get(draft.channel)
        if notifier is None or draft.outlet not in notifier.outlets:
            await dissolve(connection, draft.notices)
            return False
        at = self._now()
        usage = await self._usage(connection, draft.channel, draft.outlet)
        if is_out(usage, at=at, hand_over_s=self._telling.hand_over_s):
            await dissolve(connection, draft.notices)
            return False
        return room(usage, _widened(notifier.limits), at=at, urgent=True) > 0

    async def _send(self, connection: Connection, draft: Draft) -> bool:
        """One attempt, written before and after; whether the message is with the people."""
        notifier = self._channels[draft.channel]
        usage = await self._usage(connection, draft.channel, draft.outlet)
        at = self._now()
        key = draft.key or f"ordergate-{min(draft.notices)}-{at:%Y%m%dT%H%M%S}"
        message_id = await begin_message(connection, msgspec.structs.replace(draft, key=key), at=at)
        self._reach("notice.before_send")
        message = Message(
            key=key,
            title=draft.title,
            text=draft.body,
            people=tuple(self._telling.people[name] for name in draft.people if name in self._telling.people),
            outlet=draft.outlet,
        )
        answer = await attempt(notifier, message, deadline_s=self._deadline_s)
        self._reach("notice.after_send")
        ended = self._ended(answer, usage, notifier.limits, began_at=at)
        await end_message(connection, message_id, ended, at=self._now(), channels=list(self._channels))
        self._observe([MessageEnded(ConnectionName(draft.channel), ended.result, ended.code, len(draft.notices))])
        return ended.result == "sent"

    def _ended(self, answer: Answer, usage: Usage, limits: Limits, *, began_at: datetime) -> Ended:
        """What an answer means for the outlet: how long it is left alone."""
        at = self._now()
        match answer:
            case Done():
                return Ended(result=result_of(answer), detail=_storable(answer.reference))
            case Throttled():
                pause_s = max(1.0, limits.window_s if answer.retry_after_s is None else answer.retry_after_s)
                hold_until = at + timedelta(seconds=pause_s)
                return Ended(result=result_of(answer), detail=_storable(answer.message), hold_until=hold_until)
            case Unauthorised():
                hold_until = at + timedelta(seconds=2 * _OUT_S)
                return _refused(answer, hold_until=hold_until)
            case Rejected():
                return _refused(answer)
            case Failed() | Unknown():
                since = usage.failing_since or began_at
                out = (at - since).total_seconds() >= self._telling.hand_over_s
                pause_s = _OUT_S if out else min(_PAUSE_S * 2 ** min(usage.failures, 10), _MOST_PAUSE_S)
                hold_until = at + timedelta(seconds=pause_s)
                return _refused(answer, hold_until=hold_until)

    async def _standing(self, connection: Connection, name: str) -> Channel:
        notifier = self._channels[name]
        outlets = [Outlet(outlet, await self._usage(connection, name, outlet)) for outlet in notifier.outlets]
        return Channel(name, _widened(notifier.limits), tuple(outlets))

    async def _usage(self, connection: Connection, channel: str, outlet: str) -> Usage:
        window_s, at = _widened(self._channels[channel].limits).window_s, self._now()
        after, until = at - timedelta(seconds=window_s), at + timedelta(seconds=_MARGIN_S)
        return await read_usage(connection, channel, outlet, after=after, until=until)


async def attempt(notifier: Notifier, message: Message, *, deadline_s: float) -> Answer:
    """`notifier.notify`, whatever it does: one that raises, or does not keep its deadline, has an unknown outcome."""
    try:
        for_s = deadline_s + notifier.limits.patience_s + _GRACE_S
        answer: object = await within(for_s, notifier.notify(message, deadline_s=deadline_s))
        if isinstance(answer, Answer):
            return answer
        return Unknown("adapter", f"the notifier failed: an answer of {type(answer).__name__}")
    except TimeoutError:
        return Unknown("deadline", "the notifier did not keep its deadline", timeout=True)
    except asyncio.CancelledError:
        if is_ours():
            raise
        return Unknown("adapter", "the notifier failed: CancelledError")
    except BaseException as error:  # a broken adapter is contained here; its words may hold a secret
        if is_a_stop(error):
            raise
        return Unknown("adapter", f"the notifier failed: {raised(error)}")


def merged(changing: Facts, counted: Facts) -> Facts:
    """One picture of the facts that are read all the time and those that are counted now and then."""
    return msgspec.structs.replace(
        counted,
        seen=changing.seen,
        refusals=changing.refusals,
        not_renewed=changing.not_renewed,
        unread=changing.unread,
        alive=changing.alive,
        lost=changing.lost,
    )


def result_of(answer: Answer) -> Result:
    """How an attempt to tell people has ended."""
    match answer:
        case Done():
            return "sent"
        case Throttled():
            return "throttled"
        case Unauthorised():
            return "unauthorised"
        case Rejected():
            return "rejected"
        case Failed():
            return "failed"
        case Unknown():
            return "unknown"


def _refused(answer: Failed | Rejected | Unknown | Unauthorised, **more: Any) -> Ended:
    again = isinstance(answer, Unknown)
    return Ended(
        result=result_of(answer), code=_storable(answer.code), detail=_storable(answer.message), again=again, **more
    )


def _storable(text: object) -> str:
    """A medium's words as PostgreSQL can hold them: no NUL, no half of a surrogate pair."""
    return str(text)[:200].replace("\x00", "").encode("utf-8", "replace").decode()


def _widened(limits: Limits) -> Limits:
    return msgspec.structs.replace(limits, window_s=limits.window_s + _MARGIN_S)
