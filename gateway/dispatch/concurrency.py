"""How many sends of a gate may be in flight: a limit that follows what the target can take.

Answers for one number, from the outcomes and durations it is told. Who waits for a slot, and whether a target is sent
to at all, are left to the gate and to the breaker.

AIMD, with latency as the signal as in TCP Vegas, judged by windows. From Netflix's concurrency-limits
(github.com/Netflix/concurrency-limits, package `limit`): nothing is decided on few samples (`WindowedLimit`), a cut
goes by the ratio of two round-trip times and at most to half (`GradientLimit`), the limit grows only while at least
half of it is in use (`AIMDLimit`). Not from there: what answers are compared with. `Gradient2Limit` takes a long mean
of all answers; at a gate with a backlog that becomes the mean of an overloaded target, and the limit grows with it
(simulated: to five times the knee in 10 minutes). Here each cut measures the target anew, with less in flight, which is
the idea of BBR's ProbeRTT. `docs/decisions/0006-adaptive-concurrency.md` has the figures.
"""

import math

from gateway.core.delivery import Answer, Done, Rejected, Throttled, Unauthorised, Unknown

_FIRST = 4
_DOUBLING_S = 0.25
_WINDOW_S = 0.5
_WINDOW_ANSWERS = 8.0
_WINDOW_SAMPLES = 20
_LOST_SHARE = 0.05
_SLOWER = 1.5
_SAME = 0.8
"""Answers of 0.8 to 1.25 times the length took as long. The smallest cut, to 0.63, makes queued ones shorter."""
_BELOW = 0.95
_LEAST = 0.5
_THROTTLED = 0.9
_STEP_WINDOWS = 4
_SHORTEST_S = 1e-6


class AdaptiveLimit:
    """The limit of one gate, from 1 to `most`; for one event loop.

    It starts at 4. A window lasts 8 usual answers and at least 0.5 s (0.25 s while it doubles), and has at least 20
    samples and as many as the limit. An answer counts if its request went out within the window: what went out under
    another limit says nothing about this one. A failure counts if its request went out after the last cut: a hundred
    that time out together are one reason to cut. How long a window took is the geometric mean of its answers, which one
    that takes a hundred times as long as 19 others moves by 26 %. Then:

    - More than 1 in 20 failed or timed out: cut to the share that did not, at most to half. Throttled at all: to 0.9 or
      less. Afterwards it does not grow for three good windows.
    - Answers took more than 1.5 times as long as usual, with the limit in use: cut in that proportion and 5 % more, at
      most to half. The window after a cut tells what is usual. Answers back within 1.5 move it half-way to theirs. If
      they take as long as before the cut, it is the target that got slower, and theirs is usual now. Otherwise they
      still queue, and it cuts again.
    - None of these, and in use: grow. Doubling, up to the first cut or `most`; later by a quarter of the way back to
      where the last cut was made (as CUBIC does, RFC 9438), and beyond it by 1 in each of 3 windows, by 2 in 4, by 3 in
      4, so that a target that has recovered is found from 4 past 64 in 20 windows.

    With a target that works on 16 at a time and queues the rest, it goes back and forth between 15 and 27. An order
    refused for its content, or an answer whose meaning is open, counts nowhere: it need not have cost the usual work.
    """

    __slots__ = (
        "_answers",
        "_before_s",
        "_began_at",
        "_calm",
        "_cut_at",
        "_doubling",
        "_ends_at",
        "_exact",
        "_in_flight",
        "_known",
        "_logs",
        "_lost",
        "_most",
        "_needed",
        "_throttled",
        "_usual_s",
        "limit",
    )

    def __init__(self, most: int) -> None:
        if most < 1:
            raise ValueError(f"most must be at least 1, not {most}")
        self._most = most
        self._exact = float(min(_FIRST, most))
        self.limit = int(self._exact)
        """How many may be in flight now."""
        self._usual_s = 0.0  # 0: not known yet
        self._before_s = 0.0  # what answers took before the cut whose bottom this window is; 0: it is none
        self._doubling = True
        self._known = 0.0  # the limit before the last cut that latency made
        self._calm = 0  # windows in use since the last cut
        self._cut_at = -math.inf
        self._open(-math.inf)

    def record(self, answer: Answer, *, started_at: float, took_s: float, in_flight: int) -> int:
        """Count one send that has ended; you get the limit that holds now.

        Monotonic seconds; `in_flight` counts this one too. A send that was cancelled is not recorded.
        """
        if isinstance(answer, Done):
            if started_at < self._began_at:
                return self.limit
            self._answers += 1
            self._logs += math.log(took_s if took_s > _SHORTEST_S else _SHORTEST_S)
            self._in_flight += in_flight
        elif started_at < self._cut_at or isinstance(answer, Rejected | Unauthorised):
            return self.limit
        elif isinstance(answer, Throttled):
            self._throttled += 1
        elif isinstance(answer, Unknown) and answer.answered:
            return self.limit
        else:
            self._lost += 1
        now = started_at + took_s
        if now >= self._ends_at and self._answers + self._lost + self._throttled >= self._needed:
            self._judge(now)
            self._open(now)
        return self.limit

    def _open(self, now: float) -> None:
        self._began_at = now
        self._ends_at = now + (_DOUBLING_S if self._doubling else max(_WINDOW_S, _WINDOW_ANSWERS * self._usual_s))
        # One of each slot: the first to end of many that began together are the quick ones.
        self._needed = max(_WINDOW_SAMPLES, self.limit)
        self._answers = self._lost = self._throttled = 0
        self._logs = 0.0
        self._in_flight = 0

    def _judge(self, now: float) -> None:
        before_s, self._before_s = self._before_s, 0.0
        samples = self._answers + self._lost + self._throttled
        if self._throttled or self._lost > samples * _LOST_SHARE:
            kept = max(_LEAST, self._answers / samples)
            self._cut(min(kept, _THROTTLED) if self._throttled else kept, now)
            self._calm = -_STEP_WINDOWS
            self._known = 0.0
            return
        took_s = math.exp(self._logs / self._answers)
        in_use = 2 * self._in_flight >= self.limit * self._answers
        self._learn(took_s, before_s)
        if took_s <= _SLOWER * self._usual_s:
            if in_use:
                self._grow()
        elif in_use:
            self._known = self._exact
            self._cut(max(_LEAST, _BELOW * self._usual_s / took_s), now)
            self._before_s = took_s

    def _learn(self, took_s: float, before_s: float) -> None:
        """What is usual, from a window that took `took_s`; `before_s` if it is the bottom of a cut."""
        usual_s = self._usual_s
        if not usual_s:
            self._usual_s = took_s
        elif not before_s:
            # Slower is no news, a growing limit makes it so. A little quicker is luck, much quicker a better target.
            if took_s < usual_s:
                self._usual_s += (took_s - usual_s) * (0.5 if took_s * _SLOWER < usual_s else 0.05)
        elif took_s <= _SLOWER * usual_s:
            self._usual_s += (took_s - usual_s) / 2
        elif _SAME * before_s < took_s < before_s / _SAME:
            self._usual_s = took_s

    def _grow(self) -> None:
        if self._doubling:
            self._exact *= 2
        else:
            self._calm += 1
            self._exact += max(1 + self._calm // _STEP_WINDOWS, (self._known - self._exact) / 4)
        if self._exact >= self._most:
            self._exact = float(self._most)
            self._doubling = False
        self.limit = int(self._exact)

    def _cut(self, share: float, now: float) -> None:
        self._cut_at = now
        self._doubling = False
        self._calm = 0
        self._exact = max(1.0, self._exact * share)
        self.limit = int(self._exact)
