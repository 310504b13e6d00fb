"""How fast a gate may send: the platform's rate limit, and a budget for retries.

Answers for the pace of one gate in this process. How many sends are in flight, how a limit is shared between workers
and what an answer of 429 does to the delivery are left to the gate, whether the target is healthy to the breaker.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable


class RateLimiter:
    """Token bucket of one gate, for one event loop: `rate_per_s` on average, up to `burst` at once after a quiet time.

    Reservations are served in the order they were made. With 10 per second and a burst of 5, eight at once wait
    0, 0, 0, 0, 0, 0.1, 0.2 and 0.3 s. `rate_per_s` None is no limit; only `pause()` makes anyone wait then.

    `pause_max_s` bounds what a target can ask for, so that a Retry-After of a year does not close the gate for good.
    """

    __slots__ = ("_burst_s", "_clock", "_every_s", "_free_at", "_line", "_moved_s", "_pause_max_s", "_paused_until")

    def __init__(
        self, rate_per_s: float | None, burst: int = 1, *, clock: Callable[[], float], pause_max_s: float = 3600.0
    ) -> None:
        self._clock = clock
        self._pause_max_s = pause_max_s
        self._paused_until = -math.inf
        self._moved_s = 0.0
        self._free_at = -math.inf  # when the next token that nobody has taken is there
        self._line = asyncio.Lock()
        self.set_rate(rate_per_s, burst)

    def set_rate(self, rate_per_s: float | None, burst: int) -> None:
        """Use another rate from now on, such as this worker's new share of a limit; reservations keep their times."""
        if rate_per_s is not None and not 0 < rate_per_s < math.inf:
            raise ValueError(f"rate_per_s must be above 0, or absent for no limit, not {rate_per_s}")
        if burst < 1:
            raise ValueError(f"burst must be at least 1, not {burst}")
        self._every_s = 0.0 if rate_per_s is None else 1 / rate_per_s
        self._burst_s = self._every_s * (burst - 1)

    @property
    def limits(self) -> bool:
        """Whether anyone may have to wait; False without a rate and a pause, then a token need not be asked for."""
        return self._every_s > 0 or self._paused_until != -math.inf

    @property
    def moved_s(self) -> float:
        """By how much pauses have put off all reservations since the start; see `reserve()`."""
        return self._moved_s

    def reserve(self) -> float:
        """Take a token; you get the seconds to wait before using it, 0.0 for go now.

        A pause that begins while you wait puts your turn off by what `moved_s` grew meanwhile: wait that much longer,
        as `turn()` does. Whoever gives up waiting loses the token, which costs the others one interval.
        """
        if not self.limits:
            return 0.0
        now = self._clock()
        return self._reserve(now, now)

    def _reserve(self, asked_at: float, now: float) -> float:
        if self._every_s:
            # Tokens that came in while nobody asked are kept up to the burst, but none from before the end of a pause.
            due_at = max(self._free_at, asked_at - self._burst_s)
            self._free_at = due_at + self._every_s
            return max(0.0, due_at - now)
        if now >= self._paused_until:
            self._paused_until = -math.inf
            return 0.0
        return self._paused_until - now

    def pause(self, seconds: float) -> None:
        """Let nobody go for `seconds` (429, Retry-After): new and old reservations alike, their order and pace kept.

        Of overlapping pauses the one that ends last holds. Saved-up tokens are gone: after the pause the rate starts
        without a burst. Zero, negative and NaN are no pause.
        """
        if not seconds > 0:
            return
        now = self._clock()
        until = now + min(seconds, self._pause_max_s)
        # The earliest turn still to come is not before the end of the pause in force; all move by the difference.
        starts_at = max(now, self._paused_until)
        if until <= starts_at:
            return
        self._moved_s += until - starts_at
        self._free_at = max(self._free_at, starts_at) + until - starts_at
        self._paused_until = until

    def paused_for_s(self) -> float:
        """How much longer nobody goes; 0.0 without a pause."""
        return max(0.0, self._paused_until - self._clock())

    async def turn(self, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        """Return when it is this caller's turn. Cancelled while waiting, its token is lost.

        Only the first in line has a token: another rate holds for all behind it, however many wait. A token is counted
        from when it was asked for, so a timer that fires late costs those behind nothing.
        """
        if not self.limits:
            return
        asked_at = self._clock()
        async with self._line:
            wait_s = self._reserve(asked_at, self._clock())
            while wait_s > 0:
                moved_s = self._moved_s
                await sleep(wait_s)
                wait_s = self._moved_s - moved_s


class RetryBudget:
    """Lets retries be at most about `share` of the first tries: no outage is answered with four times the load.

    A token bucket after Finagle's `RetryBudget` (util/retry): each first try deposits `share`, time deposits
    `min_per_s`, a retry withdraws 1. The balance starts full and never exceeds `burst`. With 0.2, 1 per second and
    20: of 1,000 first tries in 10 s that all fail, 20 + 200 + 10 = 230 are tried again instead of 3,000; a gate with
    one order a minute may always retry.
    """

    __slots__ = ("_at", "_balance", "_burst", "_clock", "_min_per_s", "_share")

    def __init__(
        self, share: float = 0.2, *, min_per_s: float = 1.0, burst: float = 20.0, clock: Callable[[], float]
    ) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share must be from 0 to 1, not {share}")
        if not 0 <= min_per_s < math.inf:
            raise ValueError(f"min_per_s must be at least 0, not {min_per_s}")
        if not 1 <= burst < math.inf:
            raise ValueError(f"burst must be at least 1, not {burst}")
        self._share = share
        self._min_per_s = min_per_s
        self._burst = burst
        self._clock = clock
        self._balance = burst
        self._at = clock()

    def deposit(self) -> None:
        """Count a first try."""
        self._balance += self._share  # cut to the burst when it is read: until then it only grows

    def withdraw(self) -> bool:
        """Whether one retry may go now; if so, it is paid for. Otherwise nothing is taken."""
        balance = self.balance
        if balance < 1:
            return False
        self._balance = balance - 1
        return True

    @property
    def balance(self) -> float:
        """Retries that could go now, from 0 to `burst`."""
        now = self._clock()
        self._balance = min(self._burst, self._balance + (now - self._at) * self._min_per_s)
        self._at = now
        return self._balance
