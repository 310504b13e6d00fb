"""The lease of this worker, on a clock nobody sets: one of the two fences that make adoption safe.

The instant is taken *before* the renewal is asked for, so it is never later than what the database granted.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock_s() -> float:
    """Seconds that pass in a suspended machine, too, where the system tells: others take its lanes over meanwhile.

    `time.monotonic` stands still then, and who wakes would send for a beat what they have sent.
    """
    return time.clock_gettime(_CLOCK)


class Lease:
    """Until when this worker may send, by `clock`."""

    __slots__ = ("_clock", "_ends_at", "_lease_s")

    def __init__(self, lease_s: float, *, clock: Callable[[], float], granted_at: float) -> None:
        self._clock = clock
        self._lease_s = lease_s
        self._ends_at = granted_at + lease_s

    def now(self) -> float:
        return self._clock()

    def renewed(self, asked_at: float) -> None:
        """The database has renewed; `asked_at` is the instant (`now`) before it was asked."""
        self._ends_at = max(self._ends_at, asked_at + self._lease_s)

    def covers(self, deadline_s: float) -> bool:
        """Whether a send that may take `deadline_s` ends before the lease does."""
        return self._clock() + deadline_s < self._ends_at

    def left_s(self) -> float:
        return self._ends_at - self._clock()
