"""What leaves: deliveries of commands, and the answers that targets give, as values.

    Done          the target has it; `reference` is the target's own id, if it gave one
    Failed        the target certainly has nothing of it, and the same call may work later
    Throttled     the target asks for patience
    Rejected      the content is wrong for this target: a person edits and resends
    Unknown       the request left and no answer came back: nobody knows whether the target has it
    Unauthorised  the platform does not take our authorisation any more: everything for it waits for a person

These are an `Answer`, what one attempt can end in. Asked whether it has a delivery, a target answers with a `Finding`.
What becomes of the delivery then (done, wait, blocked) is decided in `gateway.dispatch.conclude`.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from gateway.core.code import code_of
from gateway.core.event import ConnectionName
from gateway.core.order import Command, Operation, Order

GRACE_S = 0.5
"""An adapter keeps its own deadline; the gate cuts it off at most this much later, in case it does not. So long must
the lease last beyond the deadline of what is sent."""


LONGEST_PATIENCE_S = 86_400.0
"""A daily quota asks for patience until midnight, and nothing for longer."""


def _patience(given: object) -> float | None:
    """Seconds, from 0 to a day; None where an adapter hands us what is no number: a header as it came, a time span."""
    try:
        seconds = float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), LONGEST_PATIENCE_S)


def _have(answer: msgspec.Struct, name: str, kind: type[str] | type[bool]) -> None:
    """Have a field be of its kind, whatever an adapter has put there.

    What cannot be (the truth of an array, say) is refused here, where the adapter makes its answer, and not in a gate.
    """
    given = getattr(answer, name)
    if type(given) is not kind:
        msgspec.structs.force_setattr(answer, name, kind() if given is None else kind(given))


class Done(msgspec.Struct, frozen=True, gc=False):
    """The target has it. `already` marks "you sent that before", which is success."""

    reference: str = ""
    already: bool = False

    def __post_init__(self) -> None:
        _have(self, "reference", str)
        _have(self, "already", bool)


class _No(msgspec.Struct, frozen=True, gc=False):
    """`code` comes from the adapter's closed set, is grouped by and shown: it is cut to what can be one (`code_of`).

    `message` is for a person and may quote what was sent: it goes into no log, metric or notice.
    """

    code: str
    message: str = ""

    def __post_init__(self) -> None:
        if self.code:
            msgspec.structs.force_setattr(self, "code", code_of(str(self.code)))
        _have(self, "message", str)


class Failed(_No, frozen=True, gc=False):
    """Did not work, the target certainly has nothing of it, and the same call may work later."""

    retry_after_s: float | None = None

    def __post_init__(self) -> None:
        _No.__post_init__(self)
        msgspec.structs.force_setattr(self, "retry_after_s", _patience(self.retry_after_s))


class Throttled(msgspec.Struct, frozen=True, gc=False):
    """The target asks for patience (429 and the like). Not counted as an attempt."""

    retry_after_s: float | None = None
    message: str = ""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "retry_after_s", _patience(self.retry_after_s))
        _have(self, "message", str)


class Rejected(_No, frozen=True, gc=False):
    """The target understood and refuses this content; sending it again changes nothing."""


class Unknown(_No, frozen=True, gc=False):
    """The request left and no usable answer came back.

    `timeout` tells the breaker that the target was slow, `answered` that it is well: it answered, and only what it
    means for this document is open.
    """

    timeout: bool = False
    answered: bool = False

    def __post_init__(self) -> None:
        _No.__post_init__(self)
        _have(self, "timeout", bool)
        _have(self, "answered", bool)


class Unauthorised(_No, frozen=True, gc=False):
    """The platform refuses our authorisation: the token has expired or was withdrawn. Not counted as an attempt.

    Says nothing about what was sent: the connection's queue is kept until it is authorised again. `code` is the
    platform's own.
    """


Answer = Done | Failed | Throttled | Rejected | Unknown | Unauthorised
"""What one attempt can end in."""


class Found(msgspec.Struct, frozen=True, gc=False):
    """The target was asked and knows the document."""

    reference: str = ""

    def __post_init__(self) -> None:
        _have(self, "reference", str)


class NotFound(msgspec.Struct, frozen=True, gc=False):
    """The target was asked and does not know it *by the connection's configured rule*.

    Anything less certain (an error, an unknown text, a page cut short) is Failed or Unknown.
    """


Finding = Found | NotFound | Failed | Throttled | Rejected | Unknown | Unauthorised
"""What asking a target for a document can end in.

Rejected: the target was not asked, because with this content it can be neither asked nor told (an unknown carrier); a
person gets it, still in doubt. Unknown with `answered`: the target was asked and its answer proves nothing; a person
gets it when that goes on. Failed, and Unknown without `answered`, are asked again for as long as it takes.
"""


class AfterUnknown(enum.StrEnum):
    """What may follow an unknown outcome; derived from the adapter's manifest."""

    RESEND = "resend"
    """Idempotent: sending again does no harm. Where it can be asked about, that comes first, but need not prove it."""
    FIND = "find"
    """Ask first; only a *not found* that counts allows sending again."""
    PERSON = "person"
    """Neither: the delivery stays unknown until a person decides."""


class Result(enum.IntEnum):
    """How an attempt is recorded. Stored as a number: never renumber."""

    DONE = 1
    FAILED = 2
    THROTTLED = 3
    REJECTED = 4
    UNKNOWN = 5
    FOUND = 6
    NOT_FOUND = 7
    RESOLVED = 8
    """A person said: already handled."""
    UNAUTHORISED = 9
    WITHDRAWN = 10
    """Never sent: the shop had cancelled the order before anything of it left."""


def after_unknown(*, idempotent: bool, findable: bool) -> AfterUnknown:
    """Policy for an operation from what its adapter declares."""
    if idempotent:
        return AfterUnknown.RESEND
    return AfterUnknown.FIND if findable else AfterUnknown.PERSON


class Delivery(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One command on its way to one target, with the order as it is to be sent: a person's edits are in it."""

    order_id: int
    order: Order
    command: Command

    @property
    def target(self) -> ConnectionName:
        return self.command.target

    @property
    def operation(self) -> Operation:
        return self.command.operation

    @property
    def idempotency_key(self) -> str:
        """Same on every attempt: ``A1001/create`` or ``A1001/ship:wms-1/MSG-77``."""
        return f"{self.order.number}/{self.command.key}"


class Held(msgspec.Struct, kw_only=True, gc=False):
    """A delivery this worker has claimed and holds in memory. Mutable: the gate counts on it.

    `in_doubt`: an earlier attempt may have arrived, what follows depends on the operation's policy.
    `bursts`: how often a burst of attempts has been exhausted, since it is in doubt or since it is not. `throttles`: so
    often in a row. `taken_at`: when the order's event became durable. `doubted`: it has been in doubt since its claim.
    `unasked`: it still is, and is sent all the same, as nobody could be asked and sending twice does no harm.
    """

    delivery: Delivery
    in_doubt: bool = False
    doubted: bool = False
    unasked: bool = False
    bursts: int = 0
    tries: int = 0
    throttles: int = 0
    first_try_at: float = 0.0
    taken_at: datetime | None = None


class Outlet(Protocol):
    """Where intake hands deliveries over, straight from the commit into memory."""

    def room(self, target: ConnectionName, operation: Operation) -> bool:
        """Take one place in the gate's memory; False when it is full or closed, then the delivery is parked."""
        ...

    def give_back(self, target: ConnectionName, operation: Operation) -> None:
        """Return a place that was taken, because nothing was committed."""
        ...

    def uncertain(self) -> None:
        """A transaction ended without an answer: what it claimed may be ours without anybody holding it."""
        ...

    def take(self, held: Sequence[Held]) -> None:
        """Deliveries that are committed as claimed by this worker and have a place each."""
        ...
