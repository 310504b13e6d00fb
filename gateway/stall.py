"""Whether this worker's loop runs, looked at from a thread: where it stands still the log says in which line.

An adapter that blocks stops everything that its worker does, and the lease runs out meanwhile. All that others see of
it is a worker that is gone; only the worker itself knows what it was at.
"""

from __future__ import annotations

import sys
import threading
from types import FrameType, TracebackType

from gateway.core.happening import Observer, Trouble

LOOK_EVERY_S = 1.0
LOOKS = 5
"""So many looks in a row that find no beat. Looks, not time: a process that was suspended has not looked either."""


class LoopWatch:
    """Watches the loop of the thread that enters it, which has to `beat` each second."""

    def __init__(self, observe: Observer, *, look_every_s: float = LOOK_EVERY_S) -> None:
        self._observe = observe
        self._look_every_s = look_every_s
        self._beats = 0
        self._over = threading.Event()
        self._watched = threading.get_ident()

    def beat(self) -> None:
        self._beats += 1

    def __enter__(self) -> LoopWatch:
        self._watched = threading.get_ident()
        threading.Thread(target=self._look, name="loop watch", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()

    def _look(self) -> None:
        seen, missed = self._beats, 0
        while not self._over.wait(self._look_every_s):
            if self._beats != seen:
                seen, missed = self._beats, 0
                continue
            missed += 1
            if missed == LOOKS:  # told once for each time it stands
                frame = sys._current_frames().get(self._watched)
                for_s = LOOKS * self._look_every_s
                what = f"the loop has stood still for {for_s:g} s, in {place_of(frame)}"
                self._observe([Trouble("stalled", what)])


def place_of(frame: FrameType | None) -> str:
    """``dispatch/gate.py:630 > ordergate_mywms/target.py:31 > urllib3/connection.py:198``: the last line of the
    gateway's own, what it called, and how deep in there it is."""
    frames: list[FrameType] = []
    while frame is not None:
        frames.append(frame)
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] == "gateway":
            break
        frame = frame.f_back
    frames.reverse()
    named = dict.fromkeys(_line(one) for one in (*frames[:2], *frames[-1:]))
    return " > ".join(named) or "nobody's code"


def _line(frame: FrameType) -> str:
    return f"{'/'.join(frame.f_code.co_filename.split('/')[-2:])}:{frame.f_lineno}"
