"""Compares this machine's clock with those of the platforms, the targets and the database, and tells whose is off.

Platforms say theirs with every answer (`gateway.sdk.http`); a target that has not been sent anything is asked once,
soon after the start. The first comparison with each is a log line. Each worker looks for itself, since its machine's
clock is nobody else's. Whose clock is off is decided in `gateway.core.clock`; here it becomes a log line when it lasts,
and a sighting, of which notices are made.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

import asyncpg
import msgspec

from gateway.core.clock import DATABASE, MOST_OFF_S, OURS, Off, Reading, Skew, judge, skew
from gateway.core.happening import ClockChanged, ClockCompared, Observer, Trouble
from gateway.core.notice import Sighting
from gateway.sdk.cancelled import is_a_stop, within
from gateway.store.clock import read_clock
from gateway.store.sql import AWAY

_FIRST_S = 2.0
_WITHIN_S = 5.0
_LASTS_S = 60.0
_FRESH_S = 900.0
_ASK_AGAIN_S = 600.0


class ClockWatch:
    """`readings`: the clocks of connections, as far as they have said them. `askable`: what has a connection say its.

    `machine` is this machine's name. `show` gets how far ours is ahead of a connection's or the database's; not a
    number when that is not known any more. `now` is this machine's wall clock, `clock` its monotonic one, and
    `slept` how long that one has stood still in all, while the machine was suspended.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        readings: Callable[[], Mapping[str, Reading]],
        askable: Mapping[str, Callable[[], Awaitable[None]]],
        machine: str,
        show: Callable[[str, float], None],
        observe: Observer,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
        slept: Callable[[], float] | None = None,
        every_s: float = 10.0,
    ) -> None:
        self._pool = pool
        self._readings = readings
        self._askable = askable
        self._machine = machine
        self._show = show
        self._observe = observe
        self._now = now
        self._clock = clock
        self._every_s = every_s
        self._slept = slept or _slept_s
        self._slept_s = self._slept()
        self._awake_s = -math.inf
        self._asked_at: dict[str, float] = {}
        self._apart: frozenset[str] = frozenset()
        self._shown: frozenset[str] = frozenset()
        self._off: Mapping[str, Off] = {}
        self._since: dict[str, float] = {}
        self._told: set[str] = set()
        self._compared: set[str] = set()

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.sleep(_FIRST_S)
        while True:
            await self.look()
            await asyncio.sleep(self._every_s)
            # By the first time whoever talks by itself has done so.
            await self.ask()

    def sightings(self) -> frozenset[Sighting]:
        """Whose clock is off by the last look, whether or not it lasts."""
        return frozenset(
            Sighting("clock", f"@{self._machine}" if who == OURS else who, msgspec.json.encode(off).decode())
            for who, off in self._off.items()
        )

    async def ask(self) -> None:
        """Have targets answer that never have, once; and those again that were off and have said nothing since."""
        readings, now_s = self._readings(), self._clock()
        due = []
        for name in self._askable:
            read, asked_at = readings.get(name), self._asked_at.get(name)
            if read is None:
                wanted = asked_at is None
            else:
                wanted = name in self._apart and now_s - max(read.at_s, asked_at or read.at_s) >= _ASK_AGAIN_S
            if wanted:
                due.append(name)
                self._asked_at[name] = now_s
        async with asyncio.TaskGroup() as group:
            for name in due:
                group.create_task(self._ask(name), name=f"clock of {name}")

    async def look(self) -> None:
        """One comparison with everything that has said its clock."""
        self._wake()
        readings = {name: read for name, read in self._readings().items() if read.at_s > self._awake_s}
        database, elsewhere = await self._database()
        monotonic_s, now_s = self._clock(), self._now().timestamp()
        known = {
            name: skew(read, now_s=now_s, monotonic_s=monotonic_s)
            for name, read in readings.items()
            # Who was off is so until it says otherwise.
            if monotonic_s - read.at_s < _FRESH_S or name in self._apart
        }
        witnesses = dict(known)
        if database is not None:
            known[DATABASE] = skew(database, now_s=now_s, monotonic_s=monotonic_s)
            if elsewhere:
                witnesses[DATABASE] = known[DATABASE]
        self._draw(known)
        self._tell_first(known)
        verdict = judge(witnesses, self._apart)
        self._apart, self._off = verdict.apart, verdict.off
        self._tell(monotonic_s)

    def _wake(self) -> None:
        """After a sleep of the machine the readings of before say nothing: they go by a clock that stood still."""
        slept_s = self._slept()
        if slept_s - self._slept_s > 1.0:
            self._awake_s, self._apart = self._clock(), frozenset()
        self._slept_s = slept_s

    async def _ask(self, name: str) -> None:
        try:
            await within(_WITHIN_S, self._askable[name]())
        except BaseException as error:  # an adapter may raise anything; who does not answer is its gates' affair
            if is_a_stop(error):
                raise
            return

    async def _database(self) -> tuple[Reading | None, bool]:
        try:
            async with asyncio.timeout(_WITHIN_S), self._pool.acquire() as connection:
                return await read_clock(connection)
        except (*AWAY, asyncpg.PostgresError) as error:
            self._observe([Trouble("watch", f"the database's clock cannot be read: {type(error).__name__}")])
            return None, False

    def _draw(self, known: Mapping[str, Skew]) -> None:
        for name, one in known.items():
            self._show(name, one.ahead_s)
        for name in self._shown - known.keys():
            self._show(name, math.nan)
        self._shown = frozenset(known)

    def _tell_first(self, known: Mapping[str, Skew]) -> None:
        """How far apart each is at the start, before anybody knows whether that lasts."""
        new = sorted(known.keys() - self._compared)
        self._compared.update(new)
        if new:
            skews = [(name, known[name]) for name in new]
            self._observe(
                [ClockCompared(_name(who), one.ahead_s, one.give_s, one.certain_s > MOST_OFF_S) for who, one in skews]
            )

    def _tell(self, at_s: float) -> None:
        """What lasts is told once, and once when it is over."""
        self._since = {who: self._since.get(who, at_s) for who in self._off}
        lasting = {who for who, since_s in self._since.items() if at_s - since_s >= _LASTS_S}
        begun = lasting - self._told
        over = self._told - self._off.keys()
        self._told = (self._told | begun) - over
        changes = [ClockChanged(_name(who), self._off[who].ahead_s) for who in sorted(begun)]
        changes += [ClockChanged(_name(who), None) for who in sorted(over)]
        if changes:
            self._observe(changes)


def _name(who: str) -> str:
    return {OURS: "ours", DATABASE: "database"}.get(who, who)


def _slept_s() -> float:
    """How long this machine has been suspended since it was started; 0 where the system does not say."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return 0.0 if boot is None else time.clock_gettime(boot) - time.monotonic()
