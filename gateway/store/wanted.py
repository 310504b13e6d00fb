"""Which of the things that wait for a person are meant, by a filter, and what they are: the look before the leap."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Literal

import asyncpg
import msgspec

from gateway.core.delivery import AfterUnknown
from gateway.store.dead import BEHIND
from gateway.store.sql import Connection, as_array

StuckKind = Literal["delivery", "dead_letter"]

_SAMPLES = 3


class Wanted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which blocked deliveries and dead letters; None means any.

    `code` is that of the block (``rejected:http_4xx``, short ``http_4xx``, or ``rejected`` for all that begin so, as
    rules of owners have it) or of the dead letter; `source` the
    connection that the order or the event came from; `since` and `until` bound when it began to wait for a person.
    Dead letters have neither target nor operation: where one is given, none is meant.
    """

    kinds: tuple[StuckKind, ...] = ("delivery", "dead_letter")
    target: str | None = None
    source: str | None = None
    operation: str | None = None
    code: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def narrows(self) -> bool:
        """Whether anything but the kinds is given."""
        return any((self.target, self.source, self.operation, self.code, self.since, self.until))


class Asking(msgspec.Struct, frozen=True):
    """What may follow when nobody knows whether a target has something, and how long *not found* does not count."""

    after: AfterUnknown
    settle_s: float


Gates = Collection[tuple[int, str]]
"""(target id, operation) of what is configured; nothing else is sent."""

Policies = Mapping[tuple[int, str], Asking]
"""(target id, operation) → how it is asked. An operation that is not in it is not configured and stays as it is."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Things with one root cause.

    `how`: `ask` the target first, `resend` (idempotent), `intake` (a dead letter goes
    through it again), `person` (neither is possible: stays), `send` (neither, and forced), `by_hand` (nothing is sent).
    """

    kind: StuckKind
    connection: str
    operation: str
    code: str
    how: Literal["ask", "resend", "send", "person", "intake", "by_hand"]
    count: int
    oldest: datetime
    newest: datetime
    samples: tuple[str, ...]


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What a filter finds. `total`: all that fit; `chosen`: would be taken now; `staying`: with their person, because
    the target can neither be asked nor told twice; `elsewhere`: in another redrive that still runs. `called_off`: those
    of `total` that create an order which its shop has cancelled or paid back since; the cancel stands behind them."""

    total: int
    chosen: int
    staying: int
    elsewhere: int
    groups: tuple[Group, ...]
    called_off: int = 0


class NoFilter(Exception):
    """Everything at once is never meant."""


class NoSuchConnection(Exception):
    """`name` is no connection; `known` are those that are."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(name)
        self.name = name
        self.known = tuple(known)


async def preview(pool: asyncpg.Pool, wanted: Wanted, *, policies: Policies | None, cap: int, forced: bool) -> Preview:
    """What a redrive by this filter would take; `policies` None: what would be taken for handled, which asks nobody.

    Raises NoFilter and NoSuchConnection.
    """
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        names = await connection_names(connection)
        given = arguments(wanted, names)
        rows = await connection.fetch(_GROUPS, *given)
        groups, staying, elsewhere, called_off = [], 0, 0, 0
        for kind, target_id, source, operation, code, count, busy, off, oldest, newest in rows:
            if policies is None:
                how = "by_hand"
            elif kind == "dead_letter":
                how = "intake"
            else:
                how = how_of(policies.get((target_id, operation)), forced)
            staying += count - busy if how == "person" else 0
            elsewhere += busy
            called_off += off
            groups.append(
                Group(
                    kind=kind,
                    connection=source if target_id is None else names[target_id],
                    operation=operation or "",
                    code=code,
                    how=how,  # type: ignore[arg-type]
                    count=count,
                    oldest=oldest,
                    newest=newest,
                    samples=await _samples(connection, kind, target_id, source, operation, code, given),
                )
            )
    total = sum(group.count for group in groups)
    return Preview(
        total=total,
        chosen=min(cap, total - staying - elsewhere),
        staying=staying,
        elsewhere=elsewhere,
        groups=tuple(groups),
        called_off=called_off,
    )


def how_of(asking: Asking | None, forced: bool) -> str:
    if asking is None:
        return "person"
    match asking.after:
        case AfterUnknown.FIND:
            return "ask"
        case AfterUnknown.RESEND:
            return "resend"
        case AfterUnknown.PERSON:
            return "send" if forced else "person"


async def connection_names(connection: Connection) -> dict[int, str]:
    """Connection id → name."""
    return dict(await connection.fetch("SELECT connection_id, name FROM connection"))


def arguments(wanted: Wanted, names: Mapping[int, str]) -> tuple[object, ...]:
    """`wanted` as the first seven parameters of the statements below."""
    if not wanted.narrows:
        raise NoFilter
    ids = {name: number for number, name in names.items()}
    for name in (wanted.target, wanted.source):
        if name is not None and name not in ids:
            raise NoSuchConnection(name, sorted(ids))
    return (
        list(wanted.kinds),
        None if wanted.target is None else ids[wanted.target],
        wanted.source,
        wanted.operation,
        wanted.code,
        wanted.since,
        wanted.until,
    )


async def _samples(
    connection: Connection,
    kind: str,
    target_id: int | None,
    source: str | None,
    operation: str | None,
    code: str,
    given: Sequence[object],
) -> tuple[str, ...]:
    if kind == "delivery":
        rows = await connection.fetch(
            "SELECT o.number FROM lane l JOIN orders o USING (order_id) LEFT JOIN connection c USING (connection_id)"
            " WHERE l.target_id = $1 AND l.operation = $2 AND l.blocked = $3 AND ($4::text IS NULL OR c.name = $4)"
            " AND ($5::timestamptz IS NULL OR l.not_before >= $5) AND ($6::timestamptz IS NULL OR l.not_before < $6)"
            " ORDER BY l.not_before, l.order_id LIMIT $7",
            target_id, operation, code, given[2], given[5], given[6], _SAMPLES,
        )  # fmt: skip
    else:
        rows = await connection.fetch(
            "SELECT coalesce(nullif(number, ''), nullif(order_key, ''), '#' || dead_letter_id) FROM dead_letter"
            " WHERE closed_at IS NULL AND source = $1 AND code = $2"
            " AND ($3::timestamptz IS NULL OR created_at >= $3) AND ($4::timestamptz IS NULL OR created_at < $4)"
            " ORDER BY created_at, dead_letter_id LIMIT $5",
            source, code, given[5], given[6], _SAMPLES,
        )  # fmt: skip
    return tuple(row[0] for row in rows)


def lane_keys(rows: Sequence[asyncpg.Record]) -> tuple[str, str, str, list[str]]:
    return (
        as_array(row["order_id"] for row in rows),
        as_array(row["target_id"] for row in rows),
        as_array(row["head"] for row in rows),
        [row["blocked"] for row in rows],
    )


# $1 kinds, $2 target, $3 source, $4 operation, $5 code, $6 since, $7 until
LANES_WANTED = """
 l.blocked IS NOT NULL AND l.worker_id IS NULL AND 'delivery' = ANY($1::text[])
   AND ($2::smallint IS NULL OR l.target_id = $2)
   AND ($3::text IS NULL OR EXISTS (SELECT 1 FROM orders o JOIN connection c USING (connection_id)
                                     WHERE o.order_id = l.order_id AND c.name = $3))
   AND ($4::text IS NULL OR l.operation = $4)
   AND ($5::text IS NULL OR l.blocked IN ($5, 'rejected:' || $5) OR starts_with(l.blocked, $5 || ':'))
   AND ($6::timestamptz IS NULL OR l.not_before >= $6)
   AND ($7::timestamptz IS NULL OR l.not_before < $7)
"""
LETTERS_WANTED = f"""
 d.closed_at IS NULL AND d.code <> '{BEHIND}' AND 'dead_letter' = ANY($1::text[])
   AND $2::smallint IS NULL AND $4::text IS NULL
   AND ($3::text IS NULL OR d.source = $3)
   AND ($5::text IS NULL OR d.code = $5)
   AND ($6::timestamptz IS NULL OR d.created_at >= $6)
   AND ($7::timestamptz IS NULL OR d.created_at < $7)
"""
LANE_BUSY = """EXISTS (SELECT 1 FROM redrive_item i WHERE i.order_id = l.order_id AND i.target_id = l.target_id
                           AND i.state IN ('waiting', 'released'))"""
LETTER_BUSY = "EXISTS (SELECT 1 FROM redrive_item i WHERE i.dead_letter_id = d.dead_letter_id AND i.state = 'waiting')"

_CALLED_OFF = """l.operation = 'create' AND EXISTS (
    SELECT 1 FROM orders o WHERE o.order_id = l.order_id AND o.stage IN ('cancelled', 'refunded'))"""

_GROUPS = f"""
SELECT 'delivery' AS kind, l.target_id, NULL AS source, l.operation, l.blocked AS code, count(*) AS count,
       count(*) FILTER (WHERE {LANE_BUSY}) AS busy, count(*) FILTER (WHERE {_CALLED_OFF}) AS called_off,
       min(l.not_before) AS oldest, max(l.not_before) AS newest
  FROM lane l WHERE {LANES_WANTED} GROUP BY l.target_id, l.operation, l.blocked
UNION ALL
SELECT 'dead_letter', NULL, d.source, NULL, d.code, count(*),
       count(*) FILTER (WHERE {LETTER_BUSY}), 0, min(d.created_at), max(d.created_at)
  FROM dead_letter d WHERE {LETTERS_WANTED} GROUP BY d.source, d.code
 ORDER BY count DESC, kind, target_id, source, operation, code
"""

# By key, whatever the planner thinks of the partial indexes, which hold all that is blocked or free.
LOCK_CHOSEN = """
SELECT l.order_id, l.target_id, l.head, l.operation, l.not_before
  FROM lane l
  JOIN unnest($1::text::bigint[], $2::text::smallint[], $3::text::smallint[], $4::text[])
    AS d(order_id, target_id, head, blocked)
    ON l.order_id = d.order_id AND l.target_id = d.target_id
 WHERE l.head = d.head AND l.blocked IS NOT DISTINCT FROM d.blocked AND coalesce(l.worker_id, -1) = -1
 ORDER BY l.order_id, l.target_id
   FOR UPDATE OF l
"""
