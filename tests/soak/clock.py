"""A wall clock that runs faster than time, the same one in every process of a simulation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec

VARIABLE = "ORDERGATE_TEST_CLOCK"


class FastClock(msgspec.Struct, frozen=True):
    """Shows `start_at` (epoch, s) when `time.monotonic()` is `began`, and goes on `speed` times as fast.

    Linux counts its monotonic clock from the machine's start, so it is one for all processes.
    """

    start_at: float
    began: float
    speed: float

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.start_at, UTC) + timedelta(seconds=self.passed_s())

    def passed_s(self) -> float:
        """Simulated seconds since the start."""
        return (time.monotonic() - self.began) * self.speed

    def environ(self) -> dict[str, str]:
        """What tells a child process which clock it has."""
        return {VARIABLE: msgspec.json.encode(self).decode()}


def clock_of(environ: Mapping[str, str]) -> FastClock:
    return msgspec.json.decode(environ[VARIABLE], type=FastClock)
