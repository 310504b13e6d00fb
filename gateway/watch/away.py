"""Tells people that the database is away. Every other notice stands in it; this one goes past it.

Of the workers that share a data folder the one that holds a lock file tells: one message when the database has not let
it renew its lease for a while, or has not answered it, one when it does again. What has been told stands in a file
beside, so that who comes after it, as after a restart, tells the end of it, and not its beginning once more. Gateways
elsewhere tell for themselves: without a database nobody knows of the other, and who is cut off alone has to be heard
too.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg
import msgspec

from gateway.core.delivery import Done, Throttled
from gateway.core.event import ConnectionName
from gateway.core.happening import MessageEnded, Observer, Trouble
from gateway.core.notice import Change, Condition, Key, Kind, Notice, Sign
from gateway.sdk.notify import Message, Notifier
from gateway.store.sql import AWAY
from gateway.watch.conditions import Changed
from gateway.watch.digest import compose, mentioned
from gateway.watch.notices import Telling, attempt, result_of
from gateway.watch.wording import words

LOCK_FILE, TOLD_FILE = "database-away.lock", "database-away.json"
_ANSWERS_WITHIN_S = 5.0
"""One connection that has broken off without a word is not the database."""
_SURE_S = 5.0
"""A process that was stopped, or slept, finds its lease old, and renews it at once."""
_AWAY_AFTER_S, _RENEWED_WITHIN_S = 30.0, 10.0
"""A database that is started again, or fails over, sooner is nobody's business; who renews now has done so within the
second. At least four heartbeats, and two."""
_MOST_DOUBLINGS = 10
_PAUSE_S, _MOST_PAUSE_S = 10.0, 300.0
"""Before the next try where nobody has said that he has it, and the most that it doubles to: people may have it."""
_GIVE_UP_AFTER = timedelta(hours=24)


class Told(msgspec.Struct, frozen=True):
    """What people know, and whoever tells next: `since` when it is away, if it is, or when it was back (`ended_at`);
    and how many times in a row it was away again soon after."""

    since: datetime | None = None
    ended_at: datetime | None = None
    reopened: int = 0


class Answers:
    """When the database last answered on the connections by which orders are decided and sent.

    The lease is renewed on others, which a server that takes no more may have left us while those are gone.
    """

    def __init__(self, pool: asyncpg.Pool, *, clock_s: Callable[[], float], every_s: float = 3.0) -> None:
        self._pool = pool
        self._clock_s = clock_s
        self._every_s = every_s
        self._asked_at = clock_s()

    def unanswered_s(self) -> float:
        return self._clock_s() - self._asked_at

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            asked_at = self._clock_s()
            with suppress(*AWAY, asyncpg.PostgresError):
                await self._pool.fetchval("SELECT 1", timeout=_ANSWERS_WITHIN_S)
                self._asked_at = asked_at
            await asyncio.sleep(self._every_s)


class AwayWatch:
    """`unserved_s`: how long ago the database was asked when it last both answered and renewed this worker's lease,
    which it is every `heartbeat_s`.

    `channels`: name → notifier, in the order in which they are asked. `now` is the wall clock, `clock_s` a monotonic
    one.
    """

    def __init__(
        self,
        *,
        unserved_s: Callable[[], float],
        heartbeat_s: float,
        channels: Mapping[str, Notifier],
        telling: Telling,
        folder: Path,
        machine: str,
        now: Callable[[], datetime],
        clock_s: Callable[[], float],
        observe: Observer,
        every_s: float = 1.0,
        deadline_s: float = 8.0,
    ) -> None:
        self._unserved_s = unserved_s
        self._channels = channels
        self._telling = telling
        self._folder = folder
        self._key = Key(Kind.DATABASE, "", machine)
        self._now = now
        self._clock_s = clock_s
        self._observe = observe
        self._away_after_s = max(_AWAY_AFTER_S, 4 * heartbeat_s)
        self._renewed_within_s = max(_RENEWED_WITHIN_S, 2 * heartbeat_s)
        self._every_s = every_s
        self._deadline_s = deadline_s
        self._told = Told()
        self._changed_at: float | None = None
        self._again_at = 0.0
        self._failures = 0

    async def run(self) -> None:
        """Until cancelled."""
        if Kind.DATABASE in self._telling.policy.mute:
            return
        with ExitStack() as stack:
            while not self._lead(stack):  # noqa: ASYNC110, the lock is the kernel's
                await asyncio.sleep(self._every_s)
            self.go_on()
            while True:
                try:
                    await self.look()
                except Exception as error:  # a supervisor's catch-all: orders go on, whatever becomes of what is told
                    self._observe([Trouble("notices", f"the database's absence is not told: {type(error).__name__}")])
                await asyncio.sleep(self._every_s)

    def go_on(self) -> None:
        """Go on where whoever told before has stopped."""
        try:
            self._told = msgspec.json.decode((self._folder / TOLD_FILE).read_bytes(), type=Told)
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as error:
            self._observe([Trouble("notices", f"{TOLD_FILE} cannot be read: {type(error).__name__}")])

    async def look(self) -> None:
        """One look: tell what has changed for long enough. The end has to last longer each time it comes back soon."""
        at, unserved_s = self._clock_s(), self._unserved_s()
        told = self._told.since is not None
        away = unserved_s >= (self._renewed_within_s if told else self._away_after_s)
        if away is told:
            self._changed_at, self._again_at, self._failures = None, 0.0, 0
            return
        if self._changed_at is None:
            self._changed_at = at
        policy = self._telling.policy
        settle_s = min(policy.settle_s * 2**self._told.reopened, policy.settle_max_s)
        if at - self._changed_at < (_SURE_S if away else settle_s) or at < self._again_at:
            return
        if await (self._tell_begin() if away else self._tell_end()):
            self._changed_at = None
        else:
            pause_s = min(_PAUSE_S * 2 ** min(self._failures, _MOST_DOUBLINGS), _MOST_PAUSE_S)
            self._again_at, self._failures = self._clock_s() + pause_s, self._failures + 1

    async def _tell_begin(self) -> bool:
        since = self._now() - timedelta(seconds=self._unserved_s())
        if not await self._tell(Change.OPENED, since):
            return False
        ended_at, again = self._told.ended_at, timedelta(seconds=self._telling.policy.again_s)
        soon = ended_at is not None and self._now() - ended_at < again
        self._told = Told(since=since, reopened=min(self._told.reopened + 1, _MOST_DOUBLINGS) if soon else 0)
        self._keep()
        return True

    async def _tell_end(self) -> bool:
        since = self._told.since
        assert since is not None
        if not await self._tell(Change.CLOSED, since) and self._now() - since < _GIVE_UP_AFTER:
            return False
        self._told = Told(ended_at=self._now(), reopened=self._told.reopened)
        self._keep()
        return True

    async def _tell(self, change: Change, since: datetime) -> bool:
        """Whether one of the outlets has it."""
        at, telling = self._now(), self._telling
        sign = Sign(key=self._key, since=since) if change is Change.OPENED else None
        changed = Changed(change, Condition(key=self._key, opened_at=since), sign)
        said = words(changed, at=at, language=telling.language, runbooks=telling.runbooks)
        notice = Notice(notice_id=0, at=at, key=self._key, change=change, words=said)
        for name, notifier in self._channels.items():
            title, text = compose([notice], limit_bytes=notifier.limits.text_bytes, language=telling.language)
            people = tuple(telling.people[who] for who in mentioned([notice], telling.owners) if who in telling.people)
            for outlet in notifier.outlets:
                key = f"ordergate-away-{change}-{since:%Y%m%dT%H%M%S}"
                message = Message(key=key, title=title, text=text, people=people, outlet=outlet)
                answer = await attempt(notifier, message, deadline_s=self._deadline_s)
                code = "" if isinstance(answer, Done | Throttled) else answer.code
                self._observe([MessageEnded(ConnectionName(name), result_of(answer), code, 1)])
                if isinstance(answer, Done):
                    return True
        return False

    # --- the folder

    def _lead(self, stack: ExitStack) -> bool:
        """Whether this process tells from now on, until its end; without a folder to write in, each for itself."""
        try:
            lock = stack.enter_context((self._folder / LOCK_FILE).open("a"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stack.close()
            return False
        except OSError as error:
            self._observe([Trouble("notices", f"{LOCK_FILE} cannot be locked: {error.strerror}")])
        return True

    def _keep(self) -> None:
        path = self._folder / TOLD_FILE
        try:
            if self._told.since is None:
                path.unlink(missing_ok=True)  # rather forgotten, where the disk is full, than over a second time
            beside = path.with_suffix(".new")
            beside.write_bytes(msgspec.json.encode(self._told))
            os.replace(beside, path)
        except OSError as error:
            self._observe([Trouble("notices", f"{TOLD_FILE} cannot be written: {error.strerror}")])
