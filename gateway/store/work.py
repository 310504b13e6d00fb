"""What waits for a person: held orders, conflicts, blocked deliveries, dead letters; read only.

`cards` groups all of it by root cause, `items` lists it, oldest first. Every statement is carried by a partial index
that holds nothing but what waits, so the millions that flow cost nothing here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import asyncpg
import msgspec

from gateway.core.delivery import Result
from gateway.core.order import Order, Reason
from gateway.core.owner import WorkKind
from gateway.store.audit import audit
from gateway.store.dead import BEHIND
from gateway.store.orders import decode_state
from gateway.store.sql import Connection, as_private

WAIT_FOR_OTHERS: tuple[Reason, ...] = ("unpaid", "channel_hold", "no_content", "observed", "before_start")
"""Reasons that keep an order without a person being able to do anything: the buyer or the channel moves next, or it
is not ours. Migration 0006 says the same."""

MOST_ITEMS = 500
SAMPLES = 3

KINDS: tuple[WorkKind, ...] = ("hold", "conflict", "delivery", "dead_letter")

Place = tuple[datetime, int, int]
"""Where a list goes on: since when, place of the kind in `KINDS`, id."""


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """One root cause: kind, connection (the shop, the target, or where the event came from), operation and code.

    `oldest` and `newest`: since when they wait. `samples`: order numbers, oldest first; of a dead letter that has none
    its id (``#4``).
    """

    kind: WorkKind
    connection: str
    operation: str
    code: str
    count: int
    oldest: datetime
    newest: datetime
    samples: tuple[str, ...]


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that waits. `codes`: all of the order's reasons or conflicts, the card's first.

    `seq` names the delivery, `dead_letter_id` the dead letter; `last_at`, `last_result` and `last_code` are those of a
    delivery's last attempt; `latest_ship_at` is the shop's word, where the order could be read.
    """

    kind: WorkKind
    number: str
    connection: str
    operation: str
    code: str
    codes: tuple[str, ...]
    since: datetime
    seq: int | None
    dead_letter_id: int | None
    shop: str
    channel_no: str
    stage: str
    latest_ship_at: datetime | None
    last_at: datetime | None
    last_result: str | None
    last_code: str | None
    place: Place


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """Which work; None means any. `code` is the card's: of several reasons the first."""

    kind: WorkKind | None = None
    connection: str | None = None
    operation: str | None = None
    code: str | None = None

    def wants(self, kind: WorkKind) -> bool:
        return self.kind in (None, kind) and not (self.operation and kind != "delivery")


async def cards(pool: asyncpg.Pool, wish: Wish) -> list[Card]:
    """The root causes, the one with most behind it first: as many as there are codes, not as there are orders."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        names = {name: number for number, name in await _names(connection)}
        # Where the tables' statistics are old or none, all that are stored look like few.
        await connection.execute("SET LOCAL enable_seqscan = off")
        found: list[Card] = []
        given = (None if wish.connection is None else names.get(wish.connection, -1), wish.code)
        if wish.wants("hold"):
            found += await _order_cards(connection, "hold", _HOLD_GROUPS, _HOLD_SAMPLES, given)
        if wish.wants("conflict"):
            found += await _order_cards(connection, "conflict", _CONFLICT_GROUPS, _CONFLICT_SAMPLES, given)
        if wish.wants("delivery"):
            for row in await connection.fetch(_LANE_GROUPS, *given, wish.operation):
                samples = await connection.fetch(_LANE_SAMPLES, *row[:3], SAMPLES)
                found.append(_card("delivery", row[3], row[1], row[2], row[4:], samples))
        if wish.wants("dead_letter"):
            for row in await connection.fetch(_LETTER_GROUPS, wish.connection, wish.code):
                samples = await connection.fetch(_LETTER_SAMPLES, *row[:2], SAMPLES)
                found.append(_card("dead_letter", row[0], "", row[1], row[2:], samples))
    return sorted(found, key=lambda card: (-card.count, card.oldest, card.kind, card.connection, card.code))


async def items(pool: asyncpg.Pool, wish: Wish, *, after: Place | None, limit: int) -> list[Item]:
    """What waits, oldest first; `after`: `place` of the last one seen."""
    limit = min(limit, MOST_ITEMS)
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        names = dict(await _names(connection))
        ids = {name: number for number, name in names.items()}
        connection_id = None if wish.connection is None else ids.get(wish.connection, -1)
        found: list[Item] = []
        for rank, kind in enumerate(KINDS):
            if not wish.wants(kind):
                continue
            # Of two things with one time the kind decides, then the id.
            at, number = _from(after, rank)
            if kind == "dead_letter":
                rows = await connection.fetch(_LETTERS, wish.connection, wish.code, at, number, limit)
                found += [_letter(row, rank) for row in rows]
            elif kind == "delivery":
                rows = await connection.fetch(_LANES, connection_id, wish.code, at, number, limit, wish.operation)
                found += [_delivery(row, rank, names) for row in rows]
            else:
                statement = _HOLDS if kind == "hold" else _CONFLICTS
                rows = await connection.fetch(statement, connection_id, wish.code, at, number, limit)
                found += [_held(row, kind, rank, names) for row in rows]
    return sorted(found, key=lambda item: item.place)[:limit]


class OtherConflicts(Exception):
    """The order's conflicts, `now`, are not those that the person has seen; nothing was written."""

    def __init__(self, now: tuple[str, ...]) -> None:
        super().__init__(" ".join(now))
        self.now = now


async def conflicts_handled(
    pool: asyncpg.Pool, number: str, *, reason: str, actor: str, seen: Collection[str] | None = None
) -> tuple[str, ...] | None:
    """Take an order's conflicts off the queue until they change: a person has dealt with them.

    Returns them, empty where there are none, None where there is no such order. `seen`: those that he knows of, None:
    whatever there are. Raises OtherConflicts.
    """
    async with pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow("SELECT order_id, conflicts FROM orders WHERE number = $1 FOR UPDATE", number)
        if row is None:
            return None
        now = tuple(row[1].split())
        if now and seen is not None and not set(now) <= set(seen):
            raise OtherConflicts(now)
        if now:
            await connection.execute(
                "INSERT INTO conflict_handled (order_id, conflicts, author, private_reason) VALUES ($1, $2, $3, $4)"
                " ON CONFLICT (order_id) DO UPDATE SET conflicts = excluded.conflicts, author = excluded.author,"
                " reason = '', private_reason = excluded.private_reason, handled_at = now()",
                row[0], row[1], actor, as_private(reason),
            )  # fmt: skip
            await audit(connection, actor=actor, action="order.conflicts_handled", subject=number, reason=reason)
    return now


def _from(after: Place | None, rank: int) -> tuple[datetime | None, int]:
    if after is None:
        return None, -1
    at, seen, number = after
    return at, number if rank == seen else _LAST_ID if rank < seen else -1


async def _names(connection: Connection) -> list[tuple[int, str]]:
    return [(row[0], row[1]) for row in await connection.fetch("SELECT connection_id, name FROM connection")]


async def _order_cards(
    connection: Connection,
    kind: WorkKind,
    groups: str,
    samples: str,
    given: tuple[int | None, str | None],
) -> list[Card]:
    """Rows come per whole text of reasons, which the index holds; a card is per first reason."""
    merged: dict[tuple[int | None, str], list[asyncpg.Record]] = {}
    for row in await connection.fetch(groups, *given):
        merged.setdefault((row[0], row[2].split(" ", 1)[0]), []).append(row)
    found = []
    for (connection_id, code), rows in merged.items():
        texts = [row[2] for row in rows]
        seen = await connection.fetch(samples, connection_id, texts, SAMPLES)
        figures = (sum(r[3] for r in rows), min(r[4] for r in rows), max(r[5] for r in rows))
        found.append(_card(kind, rows[0][1] or "", "", code, figures, seen))
    return found


def _card(
    kind: WorkKind,
    connection: str,
    operation: str,
    code: str,
    figures: Sequence[object],
    samples: Sequence[asyncpg.Record],
) -> Card:
    count, oldest, newest = figures
    return Card(
        kind=kind,
        connection=connection,
        operation=operation,
        code=code,
        count=count,  # type: ignore[arg-type]
        oldest=oldest,  # type: ignore[arg-type]
        newest=newest,  # type: ignore[arg-type]
        samples=tuple(row[0] for row in samples),
    )


def _held(row: asyncpg.Record, kind: WorkKind, rank: int, names: Mapping[int, str]) -> Item:
    order_id, number, connection_id, codes, since, stage, state = row
    order, shop = _order(state), names.get(connection_id, "")
    return Item(
        kind=kind,
        number=number,
        connection=shop,
        operation="",
        code=codes.split(" ", 1)[0],
        codes=tuple(codes.split()),
        since=since,
        seq=None,
        dead_letter_id=None,
        shop=shop,
        channel_no="" if order is None else order.channel_no,
        stage=stage,
        latest_ship_at=_latest(order),
        last_at=None,
        last_result=None,
        last_code=None,
        place=(since, rank, order_id),
    )


def _delivery(row: asyncpg.Record, rank: int, names: Mapping[int, str]) -> Item:
    place, number, shop_id, stage, state, target_id, operation, seq, blocked, since, last_at, result, code = row
    order = _order(state)
    return Item(
        kind="delivery",
        number=number,
        connection=names[target_id],
        operation=operation,
        code=blocked,
        codes=(blocked,),
        since=since,
        seq=seq,
        dead_letter_id=None,
        shop=names.get(shop_id, ""),
        channel_no="" if order is None else order.channel_no,
        stage=stage,
        latest_ship_at=_latest(order),
        last_at=last_at,
        last_result=None if result is None else Result(result).name.lower(),
        last_code=code,
        place=(since, rank, place),
    )


def _letter(row: asyncpg.Record, rank: int) -> Item:
    dead_letter_id, source, code, number, order_key, since = row
    return Item(
        kind="dead_letter",
        number=number or order_key,
        connection=source,
        operation="",
        code=code,
        codes=(code,),
        since=since,
        seq=None,
        dead_letter_id=dead_letter_id,
        shop=source,
        channel_no=order_key,
        stage="",
        latest_ship_at=None,
        last_at=None,
        last_result=None,
        last_code=None,
        place=(since, rank, dead_letter_id),
    )


def _order(state: bytes) -> Order | None:
    """None where a later release has written it: it waits all the same, and is listed."""
    try:
        return decode_state(state)
    except msgspec.MsgspecError:
        return None


def _latest(order: Order | None) -> datetime | None:
    return None if order is None or order.content is None else order.content.value.latest_ship_at


_LAST_ID = 2**63 - 1

# The words of the partial indexes: the planner takes an index only for the same expression.
# What a warehouse has already is for a person once, as the conflict `held_after_sent`.
_IS_KEPT = f"reasons <> '' AND reasons !~ '(^| )({'|'.join(WAIT_FOR_OTHERS)})( |$)'"
_FOR_PERSON = "reasons ~ '(^| )held_for_person( |$)'"
_HELD_AFTER = "conflicts ~ '(^| )held_after_sent( |$)'"
# Hardly any order that waits has conflicts: where there are none, neither of both expressions is looked for.
IS_HELD = f"{_IS_KEPT} AND NOT (conflicts <> '' AND {_FOR_PERSON} AND {_HELD_AFTER})"
# The same for who counts them all: no row is looked at, only the two indexes, of which neither holds both texts.
IS_HELD_BY_INDEX = (
    f"{_IS_KEPT} AND NOT (order_id IN (SELECT order_id FROM orders WHERE conflicts <> '' AND {_HELD_AFTER})"
    f" AND {_FOR_PERSON})"
)
# OFFSET 0 keeps the planner from a join, for which it would read all orders in the sequence of their ids.
_IS_CONFLICT = (
    "conflicts <> '' AND NOT EXISTS (SELECT 1 FROM conflict_handled h"
    " WHERE h.order_id = o.order_id AND h.conflicts = o.conflicts OFFSET 0)"
)
# A code that a card is asked for by is the first of the text: it is all of it, or has a space behind.
_CODE = "($2::text IS NULL OR {0} = $2 OR starts_with({0}, $2 || ' '))"


def _groups(column: str, condition: str) -> str:
    return f"""
SELECT o.connection_id, (SELECT c.name FROM connection c WHERE c.connection_id = o.connection_id), o.{column},
       count(*), min(o.updated_at), max(o.updated_at)
  FROM orders o
 WHERE {condition} AND ($1::smallint IS NULL OR o.connection_id = $1) AND {_CODE.format(f"o.{column}")}
 GROUP BY o.connection_id, o.{column}
"""


def _some(column: str, condition: str) -> str:
    def of(shop: str) -> str:
        return f"""
       (SELECT o.number, o.updated_at FROM orders o
         WHERE {condition} AND {shop} AND o.{column} = t.text
         ORDER BY o.connection_id, o.updated_at, o.order_id LIMIT $3)"""

    # Of one shop, or of none: both are the index's own sequence, where IS NOT DISTINCT FROM would read all that waits.
    return f"""
SELECT s.number FROM unnest($2::text[]) AS t(text) CROSS JOIN LATERAL (
{of("o.connection_id = $1::smallint")}
       UNION ALL
{of("$1::smallint IS NULL AND o.connection_id IS NULL")}) s
 ORDER BY s.updated_at LIMIT $3
"""


def _some_orders(column: str, condition: str) -> str:
    return f"""
SELECT o.order_id, o.number, o.connection_id, o.{column}, o.updated_at, o.stage, o.state
  FROM orders o
 WHERE {condition} AND ($1::smallint IS NULL OR o.connection_id = $1) AND {_CODE.format(f"o.{column}")}
   AND ($3::timestamptz IS NULL OR (o.updated_at, o.order_id) > ($3, $4::bigint))
 ORDER BY o.updated_at, o.order_id LIMIT $5
"""


_HOLD_GROUPS, _CONFLICT_GROUPS = _groups("reasons", IS_HELD_BY_INDEX), _groups("conflicts", _IS_CONFLICT)
_HOLD_SAMPLES, _CONFLICT_SAMPLES = _some("reasons", IS_HELD), _some("conflicts", _IS_CONFLICT)
_HOLDS, _CONFLICTS = _some_orders("reasons", IS_HELD), _some_orders("conflicts", _IS_CONFLICT)

_LANE_GROUPS = """
SELECT l.target_id, l.operation, l.blocked, (SELECT c.name FROM connection c WHERE c.connection_id = l.target_id),
       count(*), min(l.not_before), max(l.not_before)
  FROM lane l
 WHERE l.blocked IS NOT NULL AND ($1::smallint IS NULL OR l.target_id = $1) AND ($2::text IS NULL OR l.blocked = $2)
   AND ($3::text IS NULL OR l.operation = $3)
 GROUP BY l.target_id, l.operation, l.blocked
"""
_LANE_SAMPLES = """
SELECT o.number FROM lane l JOIN orders o USING (order_id)
 WHERE l.target_id = $1 AND l.operation = $2 AND l.blocked = $3 ORDER BY l.not_before, l.order_id LIMIT $4
"""
# The page is cut before anything is looked up. One number stands for (order, target).
_LANES = """
WITH page AS (
    SELECT l.order_id * 65536 + l.target_id AS place, l.order_id, l.target_id, l.operation, l.head, l.blocked,
           l.not_before
      FROM lane l
     WHERE l.blocked IS NOT NULL AND ($1::smallint IS NULL OR l.target_id = $1)
       AND ($2::text IS NULL OR l.blocked = $2) AND ($6::text IS NULL OR l.operation = $6)
       AND ($3::timestamptz IS NULL OR (l.not_before, l.order_id * 65536 + l.target_id) > ($3, $4::bigint))
     ORDER BY l.not_before, l.order_id * 65536 + l.target_id LIMIT $5
)
SELECT p.place, o.number, o.connection_id, o.stage, o.state, p.target_id, p.operation, p.head, p.blocked, p.not_before,
       a.ended_at, a.result, a.code
  FROM page p JOIN orders o USING (order_id)
  LEFT JOIN LATERAL (
       SELECT ended_at, result, code FROM attempt
        WHERE order_id = p.order_id AND target_id = p.target_id AND seq = p.head
        ORDER BY ended_at DESC LIMIT 1) a ON true
"""
_LETTER_GROUPS = f"""
SELECT source, code, count(*), min(created_at), max(created_at) FROM dead_letter
 WHERE closed_at IS NULL AND code <> '{BEHIND}'
   AND ($1::text IS NULL OR source = $1) AND ($2::text IS NULL OR code = $2)
 GROUP BY source, code
"""
_LETTER_SAMPLES = """
SELECT coalesce(nullif(number, ''), nullif(order_key, ''), '#' || dead_letter_id) FROM dead_letter
 WHERE closed_at IS NULL AND source = $1 AND code = $2 ORDER BY created_at, dead_letter_id LIMIT $3
"""
_LETTERS = f"""
SELECT dead_letter_id, source, code, number, order_key, created_at FROM dead_letter
 WHERE closed_at IS NULL AND code <> '{BEHIND}'
   AND ($1::text IS NULL OR source = $1) AND ($2::text IS NULL OR code = $2)
   AND ($3::timestamptz IS NULL OR (created_at, dead_letter_id) > ($3, $4::bigint))
 ORDER BY created_at, dead_letter_id LIMIT $5
"""
