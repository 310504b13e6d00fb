"""What follows from an answer: sent again now, asked about, left to the outbox for a while, over, or a person's.

Decides for one gate, and touches nothing but the counts of the delivery and the retry budget: queues, timers, breakers
and limits are the gate's.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from gateway.core.delivery import (
    AfterUnknown,
    Answer,
    Done,
    Failed,
    Finding,
    Found,
    Held,
    NotFound,
    Rejected,
    Result,
    Throttled,
    Unauthorised,
    Unknown,
)
from gateway.dispatch.breaker import Verdict
from gateway.dispatch.limiter import RetryBudget
from gateway.dispatch.retry import THROTTLE_PAUSE_S, Patience, RetryPolicy, durable_wait, next_wait
from gateway.store.outbox import Outcome

_UNNAMED_HELD_S = 8.0
"""From this pause on, where the target names no time, the delivery waits in the outbox, and others get their turn: it
may be this one alone that the target does not like."""

_THROTTLES_HELD = 10
"""A delivery that is throttled this often in a row waits in the outbox, and others get their turn."""

_MOST_BURSTS = 30_000
"""What the column holds; the back-off has long stopped growing."""

_UNKNOWN_BURSTS = 8
"""After so many bursts that all ended unknown a person decides: the target neither takes the document nor shows it."""

_SILENT_BURSTS = 6
"""What a target does not answer at all counts up to here and no further: an outage alone is no person's work."""

_SHORTEST_SET_BACK_S = 1.0
_LONGEST_SET_BACK_S = 60.0


class Conclusion(msgspec.Struct, frozen=True, gc=False):
    """`result` to `took_s` are what is written of the attempt.

    `outcome` None: the delivery stays in memory and comes back after `wait_s`, or at once and first in its line.
    `verdict` on the target's health; None: none, the permit is given back. `pause_s`: everybody who asks the target
    waits so long; `backoff_s`: this gate does.
    """

    result: Result
    code: str
    message: str
    took_s: float
    verdict: Verdict | None
    outcome: Outcome | None = None
    wait_s: float | None = None
    pause_s: float = 0.0
    backoff_s: float = 0.0


class Conclusions:
    """Those of one gate. `asks`: what is in doubt can be asked about."""

    def __init__(
        self,
        *,
        target_id: int,
        after_unknown: AfterUnknown,
        asks: bool,
        settle_s: float,
        retry: RetryPolicy,
        budget: RetryBudget,
        clock: Callable[[], float],
        rng: random.Random,
        authorised_again: bool,
    ) -> None:
        """`authorised_again`: somebody says when a connection whose authorisation was refused may go on."""
        self._target_id = target_id
        self._after_unknown = after_unknown
        self._asks = asks
        self._settle_s = settle_s
        self._retry = retry
        self._budget = budget
        self._clock = clock
        self._rng = rng
        self._authorised_again = authorised_again
        self._patience = Patience(clock)

    def sent(self, held: Held, answer: Answer, took_s: float) -> Conclusion:
        """What follows from the answer to a send. Whoever hears Unauthorised holds the gate himself."""
        self._patience.heard(answer)
        match answer:
            case Done():
                done = self._outcome(held, done=True)
                return Conclusion(
                    Result.DONE, "already" if answer.already else "", answer.reference, took_s, Verdict.OK, done
                )
            case Rejected():
                return self._rejected(held, answer, took_s, Verdict.OK)
            case Throttled():
                return self._throttled(held, answer, took_s)
            case Unauthorised():
                return self._unauthorised(held, answer, took_s)
            case Failed():
                said = Conclusion(Result.FAILED, answer.code, answer.message, took_s, Verdict.FAILED)
                return self._failed(held, said, retry_after_s=answer.retry_after_s)
            case Unknown():
                return self._unknown(held, answer, took_s)

    def asked(self, held: Held, finding: Finding, took_s: float) -> Conclusion:
        """What follows from the answer to a question; consumes no attempt."""
        self._patience.heard(finding)
        match finding:
            case Found():
                found = self._outcome(held, done=True)
                return Conclusion(Result.FOUND, "", finding.reference, took_s, Verdict.OK, found)
            case NotFound():
                absent = Conclusion(Result.NOT_FOUND, "", "", took_s, Verdict.OK)
                # To send it once more is a retry, unless this worker has not sent it yet.
                if held.tries and not self._budget.withdraw():
                    return self._waits(held, absent)
                held.in_doubt = held.unasked = False
                return absent
            case Throttled():
                return self._throttled(held, finding, took_s)
            case Unauthorised():
                return self._unauthorised(held, finding, took_s)
            case Rejected():
                return self._rejected(held, finding, took_s, None)  # the target was not asked
            case Failed() | Unknown():
                return self._unproven(held, finding, took_s)

    def in_doubt(self, held: Held) -> Conclusion:
        """A delivery in doubt at a target that can be neither asked nor sent it again."""
        blocked = self._outcome(held, blocked="unknown")
        return Conclusion(Result.UNKNOWN, "in_doubt", "", 0.0, None, blocked)

    def set_back(self, held: Held, after_s: float) -> Outcome:
        """A delivery in doubt that cannot be asked about for `after_s`."""
        if held.tries:
            held.bursts = min(held.bursts + 1, max(held.bursts, _SILENT_BURSTS))
        delay_s = min(max(after_s, _SHORTEST_SET_BACK_S), _LONGEST_SET_BACK_S)
        return self.left(held, in_doubt=True, delay_s=delay_s)

    def left(self, held: Held, *, in_doubt: bool, delay_s: float | None = None) -> Outcome:
        """A delivery that goes back into the outbox: to its place with nothing attempted, or to wait for `delay_s`."""
        return Outcome(
            lane=(held.delivery.order_id, self._target_id),
            seq=held.delivery.command.seq,
            in_doubt=in_doubt or held.unasked,
            bursts=held.bursts if held.in_doubt or held.unasked or not in_doubt else 0,
            delay_s=delay_s or 0.0,
            keeps_place=delay_s is None,
        )

    def _rejected(self, held: Held, answer: Rejected, took_s: float, verdict: Verdict | None) -> Conclusion:
        blocked = self._outcome(held, blocked=f"rejected:{answer.code}")
        return Conclusion(Result.REJECTED, answer.code, answer.message, took_s, verdict, blocked)

    def _throttled(self, held: Held, answer: Throttled, took_s: float) -> Conclusion:
        """Not an attempt and no verdict on the target: everybody waits as long as it asks for."""
        pause_s = max(THROTTLE_PAUSE_S, answer.retry_after_s or 0.0)
        backoff_s = 0.0 if answer.retry_after_s else self._patience.wait_s
        held.throttles += 1
        outcome = None
        if pause_s > self._retry.deadline_s or held.throttles >= _THROTTLES_HELD or backoff_s >= _UNNAMED_HELD_S:
            outcome = self._outcome(held, delay_s=max(pause_s, backoff_s))
        return Conclusion(
            Result.THROTTLED, "throttled", answer.message, took_s, None, outcome, None, pause_s, backoff_s
        )

    def _unauthorised(self, held: Held, answer: Unauthorised, took_s: float) -> Conclusion:
        """Neither an attempt nor a verdict: the connection is held and this delivery goes first when it is not."""
        said = Conclusion(Result.UNAUTHORISED, answer.code, answer.message, took_s, None)
        # Where nobody would ever say that it may go on: waits and is tried, like any other failure.
        return said if self._authorised_again else self._waits(held, said)

    def _unknown(self, held: Held, answer: Unknown, took_s: float) -> Conclusion:
        said = Conclusion(Result.UNKNOWN, answer.code, answer.message, took_s, verdict_of(answer))
        match self._after_unknown:
            case AfterUnknown.RESEND:
                self._doubt(held)
                if answer.answered and self._asks and held.bursts + 1 >= _UNKNOWN_BURSTS:
                    return self._for_a_person(held, said)
                # A person gets what is said to be there and never shown: silence alone does not count towards it.
                most = _MOST_BURSTS if answer.answered or not self._asks else max(held.bursts, _SILENT_BURSTS)
                return self._failed(held, said, most_bursts=most)
            case AfterUnknown.FIND:
                self._doubt(held)
                held.tries += 1
                held.throttles = 0
                # What settles for longer than a burst lasts does so in the outbox: it would fill the gate's memory.
                if held.tries <= self._retry.burst_retries and self._settle_s <= self._retry.deadline_s:
                    return msgspec.structs.replace(said, wait_s=self._settle_s)
                if held.bursts + 1 >= _UNKNOWN_BURSTS:
                    return self._for_a_person(held, said)
                return self._waits(held, said, least_s=self._settle_s)
            case AfterUnknown.PERSON:
                return self._for_a_person(held, said)

    def _doubt(self, held: Held) -> None:
        if not self._asks:
            return
        if not held.doubted:
            held.doubted, held.bursts = True, 0  # those before only failed
        held.in_doubt = True

    def _unproven(self, held: Held, finding: Failed | Unknown, took_s: float) -> Conclusion:
        """Still in doubt: asked again later, by whoever claims it then, or a person's when answers never prove it.

        What may be sent again in any case is sent now.
        """
        said = Conclusion(Result.FAILED, f"find:{finding.code}", finding.message, took_s, verdict_of(finding))
        if self._after_unknown is AfterUnknown.RESEND:
            held.in_doubt = False
            return said
        answered = isinstance(finding, Unknown) and finding.answered
        if answered and held.bursts + 1 >= _UNKNOWN_BURSTS:
            return self._for_a_person(held, msgspec.structs.replace(said, result=Result.UNKNOWN))
        most = _MOST_BURSTS if answered else max(held.bursts, _SILENT_BURSTS)
        after_s = finding.retry_after_s if isinstance(finding, Failed) else None
        return self._waits(held, said, retry_after_s=after_s, most_bursts=most)

    def _failed(
        self, held: Held, said: Conclusion, *, retry_after_s: float | None = None, most_bursts: int = _MOST_BURSTS
    ) -> Conclusion:
        """Again within the burst if the curve and the budget allow, otherwise later, from the outbox."""
        held.tries += 1
        held.throttles = 0
        elapsed_s = self._clock() - held.first_try_at
        wait_s = next_wait(
            self._retry, tries=held.tries, elapsed_s=elapsed_s, rng=self._rng, retry_after_s=retry_after_s
        )
        if wait_s is None or not self._budget.withdraw():
            return self._waits(held, said, retry_after_s=retry_after_s, most_bursts=most_bursts)
        return msgspec.structs.replace(said, wait_s=wait_s)

    def _waits(
        self,
        held: Held,
        said: Conclusion,
        *,
        retry_after_s: float | None = None,
        most_bursts: int = _MOST_BURSTS,
        least_s: float = 0.0,
    ) -> Conclusion:
        """Out of memory and into the outbox, with the durable back-off, and for `least_s` at least."""
        held.bursts = min(held.bursts + 1, most_bursts)
        delay_s = max(least_s, durable_wait(self._retry, held.bursts, self._rng, retry_after_s=retry_after_s))
        return msgspec.structs.replace(said, outcome=self._outcome(held, delay_s=delay_s))

    def _for_a_person(self, held: Held, said: Conclusion) -> Conclusion:
        return msgspec.structs.replace(said, outcome=self._outcome(held, blocked="unknown"))

    def _outcome(self, held: Held, *, done: bool = False, blocked: str | None = None, delay_s: float = 0.0) -> Outcome:
        return Outcome(
            lane=(held.delivery.order_id, self._target_id),
            seq=held.delivery.command.seq,
            done=done,
            blocked=blocked,
            delay_s=delay_s,
            in_doubt=(held.in_doubt or held.unasked) and not done,
            bursts=held.bursts,
        )


def verdict_of(answer: Failed | Unknown) -> Verdict:
    """What an attempt without success says about the target's health."""
    if isinstance(answer, Failed):
        return Verdict.FAILED
    if answer.answered:
        return Verdict.OK
    return Verdict.TIMEOUT if answer.timeout else Verdict.FAILED
