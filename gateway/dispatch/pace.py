"""How many requests a second a target lets through, learnt from its refusals (429 and the like).

Answers for one number, from what the target lets through and what it refuses. How long nobody is sent after a refusal,
the rate that a configuration gives and who waits for a turn are left to the limiter and the gate.

A target that lets 60 a second through and has no more than a few in store gives those few to whoever comes after a
second of patience, refuses the rest and asks for a second more: most of its time nobody sends. So the gate sends
evenly, as fast as has gone well. The curve is CUBIC's (RFC 9438), over a rate as in the adaptive retry mode of the AWS
SDKs (botocore, `retries/throttling.py`), and with their 0.7, but slower: each refusal costs the pause that it asks for.
Not from there: the first rate is not measured but doubled until it is refused; only time in which something goes
through counts, so that a rate does not grow while nobody needs it; and it is compared with what went through without
it. `docs/decisions/0012-learnt-rate.md` has the figures.
"""

import math

_KEPT = 0.7
_SCALE = 0.02
_DOUBLES_EVERY_S = 0.5
_LONGEST_GAP_S = 1.0
_LEAST_PER_S = 0.1
_MOST_PER_S = 10_000.0
_COMPARED_S = 3.0
_QUIET_S = 9.0
_RESTS_S = 600.0


class LearntRate:
    """The rate of one gate in one worker; for one event loop. Other workers learn theirs.

    From the first refusal on it counts for 3 s or more what goes through as before, all at once after each pause; with
    9 s of answers and no refusal among them it stops. Then the rate is `first_per_s` and doubles every 0.5 s. Each
    refusal of what was sent since the one before cuts it to 0.7. From there it comes back to where it was cut, slower
    the nearer it is, and goes on beyond faster and faster: from 60 a second to 42, in 10 s back to 60, 8 s later at 71.

    It is forgotten above `most_per_s`, what the gate may send anyway or 10,000 a second; and where a rate is refused at
    which no more goes through than without. Such refusals do not come from the pace, and nothing is learnt for 10
    minutes; unless the rate has helped before (3 s of more than without), or nothing went through without it, either:
    then the target has another quota now, or refused everything, and it is counted anew at once.
    """

    __slots__ = (
        "_before_per_s",
        "_counts_since",
        "_cut_at",
        "_doubles",
        "_first_per_s",
        "_grown_s",
        "_helped",
        "_known_per_s",
        "_passed",
        "_passed_at",
        "_rests_until",
        "listens",
        "rate_per_s",
    )

    def __init__(self, first_per_s: float) -> None:
        self._first_per_s = first_per_s
        self._cut_at = self._rests_until = -math.inf
        self._forget()

    def _forget(self) -> None:
        self.rate_per_s: float | None = None
        """What to keep to; None: nothing is known to be too much."""
        self.listens = False
        """Whether it is to be told what goes through; refusals always."""
        self._before_per_s = 0.0
        self._counts_since = 0.0
        self._passed = 0
        self._passed_at: float | None = None
        self._doubles = True
        self._helped = False
        self._known_per_s = self._grown_s = 0.0

    def refused(self, *, sent_at: float, now: float, most_per_s: float = math.inf) -> None:
        """A request that went out at `sent_at` was too much. Monotonic seconds."""
        if sent_at < self._cut_at or now < self._rests_until:
            return
        self._cut_at = now
        self._grown_s = 0.0
        self._passed_at = None  # in the pause that follows nothing goes through
        rate = self.rate_per_s
        if rate is not None:
            if rate <= self._before_per_s:
                anew = self._helped or self._before_per_s == _LEAST_PER_S
                self._forget()
                if anew:
                    self._count(now)
                else:
                    self._rests_until = now + _RESTS_S
                return
            self._doubles = False
            self._set(_KEPT * min(rate, most_per_s), known_per_s=min(rate, most_per_s))
        elif not self.listens:
            self._count(now)
        elif (counted_s := now - self._counts_since) >= _COMPARED_S:
            self._before_per_s = max(_LEAST_PER_S, self._passed / counted_s)
            first = min(self._first_per_s, _KEPT * most_per_s)
            self._set(first, known_per_s=first)

    def passed(self, now: float, *, most_per_s: float = math.inf) -> None:
        """A request was let through."""
        if self._passed_at is not None:
            self._grown_s += min(now - self._passed_at, _LONGEST_GAP_S)
        self._passed_at = now
        if self.rate_per_s is None:
            self._passed += 1
            if self._grown_s > _QUIET_S:
                self._forget()
            return
        if self._doubles:
            rate = self._known_per_s * math.exp2(self._grown_s / _DOUBLES_EVERY_S)
        else:
            back_s = math.cbrt(self._known_per_s * (1 - _KEPT) / _SCALE)
            rate = self._known_per_s + _SCALE * (self._grown_s - back_s) ** 3
        if rate >= min(most_per_s, _MOST_PER_S):
            self._forget()
        else:
            self._set(rate, known_per_s=self._known_per_s)
            self._helped |= self._grown_s >= _COMPARED_S and rate > self._before_per_s

    def _count(self, now: float) -> None:
        self.listens = True
        self._counts_since = now

    def _set(self, per_s: float, *, known_per_s: float) -> None:
        self.rate_per_s = max(_LEAST_PER_S, per_s)
        self._known_per_s = known_per_s
