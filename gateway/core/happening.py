"""What happens inside the gateway, as values. Logic emits them; telemetry turns them into metrics, logs and notices.

Emitters hand over *batches* (a list per transaction or flush), so that a metric is added to once per batch.
Nothing here holds buyer data.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from gateway.core.delivery import Result
from gateway.core.event import ConnectionName
from gateway.core.order import Operation, OrderNumber, Stage


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """An event became durable on one leg (`kafka` or `inbox`) and its sender was told so."""

    source: ConnectionName
    leg: str


class Refused(msgspec.Struct, frozen=True, gc=False):
    """A sender was turned away; `code` is from a closed set (`signature`, `stale`, `too_large`, `unavailable`...)."""

    source: ConnectionName
    code: str


class OrderDecided(msgspec.Struct, frozen=True, gc=False):
    """One order was decided and the decision is durable.

    `duplicates`: its events, where nothing changed. `stale`: those of which nothing was taken, as they were older than
    what was known. `lag_s`: oldest of its events, from leg to commit.
    """

    number: OrderNumber
    connection: ConnectionName
    stage_before: Stage | None
    stage: Stage
    reasons: tuple[str, ...]
    conflicts: tuple[str, ...]
    events: int
    duplicates: int
    stale: int
    commands: int
    lag_s: float


class DeadLettered(msgspec.Struct, frozen=True, gc=False):
    """An event was set aside; `code` is the BadInput code, or `behind` when it waits for an earlier one."""

    dead_letter_id: int
    source: ConnectionName
    code: str


class LetterSuperseded(msgspec.Struct, frozen=True, gc=False):
    """A dead letter that held nothing of its order was closed: what it could not say has been read since."""

    dead_letter_id: int
    source: ConnectionName


class AttemptEnded(msgspec.Struct, frozen=True, gc=False):
    """One attempt of a delivery ended, and its outcome is durable."""

    number: OrderNumber
    target: ConnectionName
    operation: Operation
    seq: int
    result: Result
    code: str
    took_s: float
    since_taken_s: float | None
    """From the leg taking the order's event to the target's acknowledgement; None where not known (adopted)."""


class LevelTold(msgspec.Struct, frozen=True, gc=False):
    """A shop was told how many pieces of `sku` it may sell, or would not hear it; the outcome is durable."""

    connection: ConnectionName
    sku: str
    quantity: int
    result: Result
    code: str
    took_s: float


class BatchCommitted(msgspec.Struct, frozen=True, gc=False):
    """A batch of intake became durable."""

    leg: str
    events: int
    took_s: float


class GateChanged(msgspec.Struct, frozen=True, gc=False):
    """A breaker changed its state: `closed`, `open`, `half_open`, `forced_open`, `forced_closed`.

    `questions`: the one before the questions about what is in doubt, not the one before the operation itself.
    """

    target: ConnectionName
    operation: str
    state: str
    reason: str
    questions: bool = False


class ConnectionState(enum.StrEnum):
    """Whether anything goes to and comes from a connection."""

    READY = "ready"
    PAUSED = "paused"
    """By a person."""
    RE_AUTHORISE = "re_authorise"
    """The platform refuses our authorisation, its queue is kept until a person gives a new one."""


class ConnectionChanged(msgspec.Struct, frozen=True, gc=False):
    """A connection entered `state`. Told once, by the worker that made the change; `reason` is a code or a person's."""

    connection: ConnectionName
    state: ConnectionState
    reason: str


class PullChanged(msgspec.Struct, frozen=True, gc=False):
    """A shop cannot be read any more, `code` says why; or it can again, `code` empty. Told once per change."""

    source: ConnectionName
    code: str


class PullFailed(msgspec.Struct, frozen=True, gc=False):
    """One question to a shop had no page for an answer; it is asked again."""

    source: ConnectionName
    code: str


class WindowRead(msgspec.Struct, frozen=True, gc=False):
    """Everything that changed at a shop up to `read_to` is durable here."""

    source: ConnectionName
    events: int
    read_to: datetime


class ShopReread(msgspec.Struct, frozen=True, gc=False):
    """The daily re-read of a shop is through; `missed` of its orders were not known here."""

    source: ConnectionName
    orders: int
    missed: int


class MessageEnded(msgspec.Struct, frozen=True, gc=False):
    """A message to people about `notices` changes ended as `result` (`sent`, `failed`, `throttled`, `unknown`...)."""

    channel: ConnectionName
    result: str
    code: str
    notices: int


class Watched(msgspec.Struct, frozen=True, gc=False):
    """Somebody has looked whether people have to be told; the oldest notice not told is `untold_s` old (0.0: none)."""

    untold_s: float


class ClockChanged(msgspec.Struct, frozen=True, gc=False):
    """A clock is off, ours by `ahead_s`, or another's to ours; or it is right again (None). Told once per change.

    `clock`: a connection, the database, or `ours`.
    """

    clock: str
    ahead_s: int | None


class ClockCompared(msgspec.Struct, frozen=True, gc=False):
    """The first comparison with a clock since the start: ours is ahead of it by `ahead_s`, give or take `give_s`; below
    zero it is behind. `off`: farther apart than is right. Told once for each clock, so it tells nobody to do anything.
    """

    clock: str
    ahead_s: float
    give_s: float
    off: bool


class Trouble(msgspec.Struct, frozen=True, gc=False):
    """Something in the gateway itself failed and was contained: `where` from a closed set, `what` for a person."""

    where: str
    what: str


class Purged(msgspec.Struct, frozen=True, gc=False):
    """Rows of a table were removed because of their age."""

    table: str
    rows: int


Happening = (
    Accepted
    | Refused
    | OrderDecided
    | DeadLettered
    | LetterSuperseded
    | AttemptEnded
    | BatchCommitted
    | GateChanged
    | ConnectionChanged
    | PullChanged
    | PullFailed
    | WindowRead
    | ShopReread
    | MessageEnded
    | Watched
    | LevelTold
    | Purged
    | ClockChanged
    | ClockCompared
    | Trouble
)
Observer = Callable[[Sequence[Happening]], None]
