"""What people are told of: conditions that begin and end, and the signs they are derived from. Values only.

A *sign* is what one look at the gateway shows now. A *condition* is what has been made of it: begun once, ended once.
Which sign begins or ends a condition is decided in `gateway.watch.conditions`; how it reads, in
`gateway.watch.wording`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec


class Kind(enum.StrEnum):
    """What can be the matter, most urgent first; each has its page docs/runbooks/<kind>.md."""

    DATABASE = "database"
    """The database is away, or takes no writes: nothing is decided or sent."""
    TARGET = "target"
    """A target operation fails: its breaker is open."""
    AUTHORISE = "authorise"
    """A platform refuses our authorisation: a person has to authorise again."""
    SHOP_NOT_READ = "shop_not_read"
    """A polled shop cannot be read: its platform fails at every question, or has us wait."""
    KAFKA_NOT_READ = "kafka_not_read"
    """Kafka is there, and its events are not read."""
    CLOCK = "clock"
    """A clock is off: that of a machine of ours, a platform's, a target's or the database's."""
    WORKER = "worker"
    """A worker has gone without retiring."""
    INBOX = "inbox"
    """Kafka does not take events, the inbox does."""
    SHIP_BY = "ship_by"
    """Orders that no warehouse has while the shop's latest time to ship is near, or past."""
    BACKLOG = "backlog"
    """The oldest that waits is older than the threshold."""
    LEVEL = "level"
    """A shop refuses stock levels: it sells by older ones."""
    LEDGER = "ledger"
    """Balances of a warehouse that are not the sum of their movements."""
    DEAD_LETTER = "dead_letter"
    """Events that could not be decoded or decided."""
    BLOCKED = "blocked"
    """Deliveries that wait for a person: refused by the target, or their fate is unknown."""
    CONFLICT = "conflict"
    """Orders whose facts contradict each other."""
    HOLD = "hold"
    """Orders that are not sent until a person does something."""


URGENT = frozenset(
    {
        Kind.DATABASE,
        Kind.TARGET,
        Kind.AUTHORISE,
        Kind.SHOP_NOT_READ,
        Kind.KAFKA_NOT_READ,
        Kind.CLOCK,
        Kind.WORKER,
    }
)
"""What stops orders now; a part of each outlet's rate is kept for it."""


class Change(enum.StrEnum):
    OPENED = "opened"
    GROWN = "grown"
    """Ten times as much as was told last, or as was left of it for a while."""
    CLOSED = "closed"


RENEWAL = "renewal"
RESTARTS = "restarts"
PAST = "past"
FAILING = "failing"


class Key(NamedTuple):
    """What a condition is about. `subject` is an operation, a code or a worker's name; `connection` may be empty.

    Of LEDGER it is a warehouse. Of AUTHORISE it is `RENEWAL` where only the renewal is refused: that is told apart from
    the end it leads to. Of WORKER it is `RESTARTS` where workers end again and again, and each has a successor. Of
    SHIP_BY it is `PAST` for the orders whose time is over: one that nobody ever sees to must not hide what comes near
    after it.
    """

    kind: Kind
    connection: str
    subject: str


class Sign(msgspec.Struct, frozen=True, kw_only=True):
    """Something is the matter now, since `since`.

    `firm` False: enough to keep a condition open, not to begin one (the way back of a threshold). `count`: orders,
    events, deliveries, listings or balances it is about. `workers` of `of_workers` see it. `age_s`: of the oldest that
    waits. `until`: what it leads to comes then; of `past` others it has come.
    """

    key: Key
    since: datetime
    firm: bool = True
    count: int = 0
    code: str = ""
    workers: int = 0
    of_workers: int = 0
    age_s: float = 0.0
    until: datetime | None = None
    past: int = 0


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """One condition, open while `closed_at` is None.

    `clear_since`: no sign of it any more, or hardly any, but not long enough. `reopened`: how often it came back soon
    after it had ended, or had nearly. `told`: the count that was told last, or what was left of it.
    """

    key: Key
    opened_at: datetime
    clear_since: datetime | None = None
    closed_at: datetime | None = None
    reopened: int = 0
    told: int = 0


class Waiting(msgspec.Struct, frozen=True):
    """Deliveries that are not done and wait for nobody's hand; `failing` have been tried in vain."""

    count: int
    oldest_at: datetime
    failing: int = 0


class Group(msgspec.Struct, frozen=True):
    """Rows with one cause, and when the first of them came."""

    count: int
    first_at: datetime


class Nearing(msgspec.Struct, frozen=True):
    """Orders that no warehouse has though they are to be shipped soon, or were: since when, and the first by when."""

    count: int
    since: datetime
    first_by: datetime


class Sighting(NamedTuple):
    """What a worker sees and no table says: `kind` is `breaker` (subject ``wms-1/create``), `kafka`, `kafka_not_read`
    or `clock`.

    The subject of a clock is the connection, ``/database`` or ``@`` and one of our machines; its code is a
    `gateway.core.clock.Off` as JSON.
    """

    kind: str
    subject: str
    code: str


class Seen(msgspec.Struct, frozen=True):
    """A sighting, by how many workers and since when."""

    workers: int
    first_at: datetime
    code: str


class Imbalance(msgspec.Struct, frozen=True):
    """A balance less the sum of its movements, in pieces."""

    sku: str
    on_hand: int
    locked: int
    committed: int


class OffPlaces(msgspec.Struct, frozen=True):
    """Balances of one warehouse that are not the sum of their movements, since the first of them; one as an example."""

    count: int
    first_at: datetime
    example: Imbalance


class Refusal(msgspec.Struct, frozen=True):
    """The platform's word that a connection has to be authorised again."""

    code: str
    at: datetime


class NotRenewed(msgspec.Struct, frozen=True):
    """The platform's word that it gives no new token for the present one, which is good until `ends_at`."""

    code: str
    at: datetime
    ends_at: datetime | None


class Unread(msgspec.Struct, frozen=True):
    """A polled shop that cannot be read: the newest reason, and since when, whatever the reasons were."""

    code: str
    since: datetime


class Alive(msgspec.Struct, frozen=True):
    """A worker that has not been replaced."""

    worker_id: int
    name: str
    started_at: datetime


class Lost(msgspec.Struct, frozen=True):
    """A worker that went without retiring; `lanes` were freed. `replaced_by`: the worker that came after it."""

    worker_id: int
    name: str
    started_at: datetime
    lost_at: datetime
    lanes: int
    replaced_by: int | None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the gateway, as signs are made of it. Connections by name, `ledger` by warehouse.

    `inbox` are events not decided, `levels` listings whose stock level is refused, `nearing` orders by their shop, and
    `PAST` or nothing. `uncounted`: which of these could not be counted now; they are as they were, or empty where
    nobody has counted them before.
    """

    seen: Mapping[tuple[str, str], Seen] = {}
    refusals: Mapping[str, Refusal] = {}
    not_renewed: Mapping[str, NotRenewed] = {}
    unread: Mapping[str, Unread] = {}
    alive: tuple[Alive, ...] = ()
    lost: tuple[Lost, ...] = ()
    waiting: Mapping[tuple[str, str], Waiting] = {}
    blocked: Mapping[tuple[str, str], Group] = {}
    dead_letters: Mapping[tuple[str, str], Group] = {}
    conflicts: Mapping[tuple[str, str], Group] = {}
    held: Mapping[tuple[str, str], Group] = {}
    levels: Mapping[tuple[str, str], Group] = {}
    nearing: Mapping[tuple[str, str], Nearing] = {}
    ledger: Mapping[str, OffPlaces] = {}
    inbox: Waiting | None = None
    uncounted: frozenset[str] = frozenset()


class Words(msgspec.Struct, frozen=True):
    """A notice as people read it: one line; what is known; what a person should do."""

    title: str
    facts: str
    advice: str


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one condition, on its way to people.

    `apart`: it was in a message that was refused for its content, and goes alone. `refused_by`: channels that have
    refused it alone.
    """

    notice_id: int
    at: datetime
    key: Key
    change: Change
    words: Words
    apart: bool = False
    refused_by: tuple[str, ...] = ()

    @property
    def urgent(self) -> bool:
        return self.change is not Change.CLOSED and self.key.kind in URGENT
