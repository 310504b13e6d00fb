"""A breaker as a person holds it: open or closed by hand until an instant, or left to itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from gateway.dispatch.breaker import Breaker
from gateway.store.control import Forced


class Hold:
    """What a person wants of one breaker of this worker. `clock` is the breaker's own."""

    def __init__(self, breaker: Breaker, clock: Callable[[], float]) -> None:
        self._breaker = breaker
        self._clock = clock
        self._forced: Forced | None = None

    @property
    def open(self) -> bool:
        """Whether a person wants nothing to go through."""
        return self._forced is not None and self._breaker.snapshot().label == "forced_open"

    def follow(self, forced: Forced | None, *, at: datetime) -> None:
        """Hold the breaker as a person asked for, or let it go again. `at`: the present by the clock of `forced`."""
        if forced == self._forced:
            return
        self._forced = forced
        if forced is None:
            self._breaker.resume()
            return
        until = self._clock() + max(0.0, (forced.until_at - at).total_seconds())
        if forced.forced == "open":
            self._breaker.force_open(forced.reason, until)
        else:
            self._breaker.force_close(forced.reason, until)
