"""How far our clock is from the clocks of others, and whose is off. Pure.

Platforms refuse requests whose time stamp is off. Nobody tells the true time, so clocks are compared with one another:
where most others are apart from ours by the same amount, ours is off; where one is alone with what it says, it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from statistics import median_low

import msgspec

MOST_OFF_S = 8.0
"""Farther apart is off. Pinduoduo has 10 s (adapters/pinduoduo/README.md); a `Date` header leaves one or two open."""
NEAR_S = MOST_OFF_S / 2
"""What was off is right again when it is as near as this."""
SLOWEST_S = 2.0
"""An answer that took longer says too little of the moment at which it was written."""

DATABASE = "/database"
"""The database among the names of connections, none of which has a slash."""
OURS = ""
_MOST_NAMES = 3


class Reading(msgspec.Struct, frozen=True):
    """Another clock less our monotonic one lies between `least_s` and `most_s`. `at_s`: when it was read, monotonic.

    Against the monotonic clock, so that a reading stays good when our wall clock is set.
    """

    least_s: float
    most_s: float
    at_s: float


class Skew(msgspec.Struct, frozen=True):
    """Our clock is ahead of another one by something between `least_s` and `most_s`; below zero it is behind."""

    least_s: float
    most_s: float

    @property
    def ahead_s(self) -> float:
        return (self.least_s + self.most_s) / 2

    @property
    def give_s(self) -> float:
        """How far `ahead_s` may be wrong."""
        return (self.most_s - self.least_s) / 2

    @property
    def certain_s(self) -> float:
        """So far apart they are at least."""
        return max(self.least_s, -self.most_s, 0.0)


class Off(msgspec.Struct, frozen=True, kw_only=True):
    """A clock that is off. `ahead_s`: by how much ours is ahead of it, or, where ours is off, of the others.

    `agreeing` of `asked` clocks say so: they are apart from ours alike, or agree with ours where another one is off.
    `names` are the first of them.
    """

    ahead_s: int
    agreeing: int
    asked: int
    names: tuple[str, ...]


class Verdict(msgspec.Struct, frozen=True):
    """Who is off (`OURS`, or another's name), and who is apart from ours, for the next verdict."""

    off: Mapping[str, Off] = {}
    apart: frozenset[str] = frozenset()


def reading(shown_s: float, *, resolution_s: float, sent_s: float, received_s: float) -> Reading | None:
    """What a clock says that showed `shown_s` (since 1970) at some time between two monotonic instants.

    It may have been up to `resolution_s` later than it showed. None where the instants are too far apart.
    """
    if received_s - sent_s > SLOWEST_S:
        return None
    return Reading(shown_s - received_s, shown_s + resolution_s - sent_s, received_s)


def skew(read: Reading, *, now_s: float, monotonic_s: float) -> Skew:
    """How far ours, which shows `now_s` at `monotonic_s`, is ahead of the clock that was read."""
    ours_s = now_s - monotonic_s
    return Skew(ours_s - read.most_s, ours_s - read.least_s)


def judge(skews: Mapping[str, Skew], before: Collection[str]) -> Verdict:
    """Whose clock is off. `before`: who was apart last time."""
    apart = {
        name: one.ahead_s
        for name, one in sorted(skews.items())
        if one.certain_s > (NEAR_S if name in before else MOST_OFF_S)
    }
    if not apart:
        return Verdict()
    ahead_s = median_low(apart.values())
    alike = [name for name, other_s in apart.items() if abs(other_s - ahead_s) <= MOST_OFF_S]
    # One that is alone proves nothing of ours, even where there is no other to ask.
    if len(alike) > 1 and 2 * len(alike) > len(skews):
        off = {OURS: _off(ahead_s, alike, len(skews))}
    else:
        right = sorted(skews.keys() - apart.keys())
        if right == [DATABASE]:
            right = []  # in a container on our machine it has an address of its own, and our clock
        off = {name: _off(other_s, right, len(skews)) for name, other_s in apart.items()}
    return Verdict(off, frozenset(apart))


def _off(ahead_s: float, agreeing: Collection[str], asked: int) -> Off:
    return Off(ahead_s=round(ahead_s), agreeing=len(agreeing), asked=asked, names=tuple(agreeing)[:_MOST_NAMES])
