"""Time that passes only by waiting: a wait of ten seconds takes none, and no busy machine makes it twelve."""

from __future__ import annotations

import asyncio
import functools
import heapq
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")


class TravellingLoop(asyncio.SelectorEventLoop):
    """For coroutines that wait for timers of this loop and for nothing outside."""

    _ready: Any
    _scheduled: Any
    _timer_cancelled_count: int

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0

    def time(self) -> float:
        return self._now_s

    def _run_once(self) -> None:
        # A cancelled timer is no time to travel to: the loop would then wait for the next one in earnest.
        while self._scheduled and self._scheduled[0].cancelled():
            self._timer_cancelled_count -= 1
            heapq.heappop(self._scheduled)._scheduled = False
        if not self._ready and self._scheduled:
            self._now_s = max(self._now_s, self._scheduled[0].when())
        super()._run_once()  # type: ignore[misc]


def travelling(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """The test in a loop of its own whose time is `now_s`."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=TravellingLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


def now_s() -> float:
    """The time of the running loop."""
    return asyncio.get_running_loop().time()
