"""The retry curve: how long to wait before a send is tried again, and when to stop.

Answers for both kinds of retry, so that they cannot multiply: the few tries of a burst, made while the worker holds the
delivery, and the durable waits between bursts, written to the lane. Waits and stops are tenacity's strategies, driven
by hand through a `RetryCallState`: its loop would keep the in-flight slot while it sleeps. Whether a retry is allowed
at all (the outcome, the budget, the breaker) is left to the gate.
"""

import math
import random
from collections.abc import Callable

import msgspec
import tenacity

from gateway.core.delivery import Throttled

THROTTLE_PAUSE_S = 1.0
"""The least that anybody waits who was asked for patience: an answer of "0 s" must not become a loop."""

_LONGEST_UNNAMED_S = 30.0
"""A target whose quota is used up until midnight, and which does not say so, is asked twice a minute all night long."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of the curve. Raises ValueError on numbers that cannot work.

    A burst is one first try and at most `burst_retries` more. The wait before retry n is drawn evenly from 0 to
    `base_s` * 2^(n-1), at most `max_s`: with 0.2 and 5, up to 0.2, 0.4 and 0.8 s, so the waits of a whole burst come
    to 0.7 s on average and 1.4 s at most. No try starts `deadline_s` or more after the first one did.

    After a burst the delivery waits in its lane for `durable_base_s` doubling to `durable_max_s`, shortened by up to
    `durable_jitter` of itself: 8-10, 16-20, 32-40, 64-80, 128-160, then 240-300 s each. A target that is down for an
    hour sees about 18 bursts of a delivery, 72 tries.

    `retry_after_max_s` bounds the durable wait a target can ask for.
    """

    burst_retries: int = 3
    base_s: float = 0.2
    max_s: float = 5.0
    deadline_s: float = 30.0
    durable_base_s: float = 10.0
    durable_max_s: float = 300.0
    durable_jitter: float = 0.2
    retry_after_max_s: float = 3600.0

    def __post_init__(self) -> None:
        wrong = [
            text
            for bad, text in (
                (self.burst_retries < 0, "burst_retries must be at least 0"),
                (not 0 < self.base_s <= self.max_s < math.inf, "base_s must be above 0 and at most max_s"),
                (not 0 < self.deadline_s < math.inf, "deadline_s must be above 0"),
                (
                    not 0 < self.durable_base_s <= self.durable_max_s < math.inf,
                    "durable_base_s must be above 0 and at most durable_max_s",
                ),
                (not 0 <= self.durable_jitter < 1, "durable_jitter must be at least 0 and below 1"),
                (not 0 <= self.retry_after_max_s < math.inf, "retry_after_max_s must be at least 0"),
            )
            if bad
        ]
        if wrong:
            raise ValueError("retry policy: " + "; ".join(wrong))


class Patience:
    """How long to leave a target alone that asks for patience (429) and does not say for how long.

    1 s, doubling to 30 s while nothing but such answers comes; any other answer starts over. Answers that come within
    one wait belong to requests that were under way together, and count as one: the wait doubles only with what is sent
    after it.
    """

    __slots__ = ("_clock", "_until", "wait_s")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = -math.inf
        self.wait_s = 0.0
        """After an answer that names no time; 0.0 while there was none."""

    def heard(self, answer: object) -> None:
        if not isinstance(answer, Throttled):
            self.wait_s, self._until = 0.0, -math.inf
        elif not answer.retry_after_s and (now := self._clock()) >= self._until:
            self.wait_s = min(max(THROTTLE_PAUSE_S, 2 * self.wait_s), _LONGEST_UNNAMED_S)
            self._until = now + self.wait_s

    def left_s(self) -> float:
        """How much longer; 0.0 when it is over."""
        return max(0.0, self._until - self._clock())


def next_wait(
    policy: RetryPolicy, *, tries: int, elapsed_s: float, rng: random.Random, retry_after_s: float | None = None
) -> float | None:
    """Seconds to wait before the next try of this burst, or None when the burst is exhausted.

    `tries` have been made (1 after the first), `elapsed_s` since the first began. A `retry_after_s` is the least that
    is waited, and ends the burst when it does not fit: 2 s after 1 s of 30 gives 2.0, 40 s gives None at once rather
    than a try that is known to be refused.
    """
    wait = _Jittered(multiplier=policy.base_s, max=policy.max_s, rng=rng, jitter=1.0)
    # Not stop_after_delay: it looks at the time passed, not at the wait to come, and overshoots by a Retry-After.
    stop = tenacity.stop_after_attempt(1 + policy.burst_retries) | tenacity.stop_before_delay(policy.deadline_s)
    state = _call_state(attempt=tries, elapsed_s=elapsed_s)
    state.upcoming_sleep = max(wait(state), retry_after_s or 0.0)
    return None if stop(state) else state.upcoming_sleep


def durable_wait(policy: RetryPolicy, bursts: int, rng: random.Random, *, retry_after_s: float | None = None) -> float:
    """Seconds until the next burst, after `bursts` exhausted ones (from 1); at least `retry_after_s`, up to its bound.

    Worked: after the 3rd burst 32 to 40 s, with Retry-After 120 exactly 120.0, with Retry-After of a day 3,600.0.
    """
    wait = _Jittered(multiplier=policy.durable_base_s, max=policy.durable_max_s, rng=rng, jitter=policy.durable_jitter)
    waited_s = wait(_call_state(attempt=max(1, bursts), elapsed_s=0.0))
    return max(waited_s, min(retry_after_s or 0.0, policy.retry_after_max_s))


class _Jittered(tenacity.wait_exponential):
    """tenacity's exponential wait, shortened by up to `jitter` of itself with an injected random source.

    tenacity's own `wait_random_exponential` (the same curve with jitter 1.0) draws from the module `random`, and
    `wait_exponential_jitter` cuts off after adding its jitter, so that at the cap everybody waits for the same time.
    """

    def __init__(self, *, multiplier: float, max: float, rng: random.Random, jitter: float) -> None:
        super().__init__(multiplier=multiplier, max=max)
        self._rng = rng
        self._jitter = jitter

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        return super().__call__(retry_state) * (1 - self._jitter * self._rng.random())


def _call_state(*, attempt: int, elapsed_s: float) -> tenacity.RetryCallState:
    """The state tenacity's loop would have after try number `attempt`; its own clock readings are overwritten."""
    state = tenacity.RetryCallState(tenacity.Retrying(), fn=None, args=(), kwargs={})
    state.attempt_number = attempt
    state.start_time = 0.0
    state.outcome_timestamp = elapsed_s
    return state
