"""Read models: what people and programs are shown of orders, deliveries, dead letters and lanes.

Reads only, each answer in one snapshot and bounded by a limit. Nothing is masked here: who may see what is decided by
the caller. What is written by hand is `gateway.store.repair`, `dead`, `control` and `stock`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import asyncpg
import msgspec
import zstandard

from gateway.core.delivery import Result
from gateway.core.event import ConnectionName
from gateway.core.notice import Nearing
from gateway.core.order import Content, Order, OrderNumber, Origin, Stage, Stale
from gateway.core.text import NOTHING, Text
from gateway.store.orders import NOBODY, decode_state, read_state
from gateway.store.ship_by import IS_WITHDRAWN, NEAR, UNDER_WAY
from gateway.store.sql import (
    DAMAGED,
    CannotOpen,
    CannotRead,
    Connection,
    Unopened,
    as_text,
    private_or_plain,
)

MAX_ROWS = 500
_MAX_PAYLOAD_BYTES = 16 * 1024 * 1024


class OrderRow(msgspec.Struct, frozen=True, kw_only=True):
    """One order in a list. `order_id` is the place to go on from.

    `ship_by`: until when its shop wants it shipped, while there is something to ship and the shop has said so.
    """

    order_id: int
    number: str
    connection: str
    stage: Stage
    reasons: tuple[str, ...]
    conflicts: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    ship_by: datetime | None = None


class OrderFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which orders; None means any. `before` is the `order_id` of the last row seen: newest come first.

    `numbers`: only these, whole. `near`: only what no warehouse has and is to be shipped so soon, the most urgent
    first; `behind` is then the last row seen, as `ship_by` and `order_id`.
    """

    stage: Stage | None = None
    reason: str | None = None
    conflict: str | None = None
    connection: str | None = None
    prefix: str | None = None
    numbers: tuple[str, ...] | None = None
    before: int | None = None
    near: timedelta | None = None
    behind: tuple[datetime, int] | None = None


class EventSeen(msgspec.Struct, frozen=True, kw_only=True, tag="event", tag_field="kind"):
    """Something came in. `n` names its payload, counted from 1; `stage` is where the order stood afterwards.

    `stale`: why nothing of it was taken over; never of what came in before migration 0020. `reasons`: what the order
    waited for afterwards; none of what came in before migration 0023.
    """

    at: datetime
    n: int
    event_id: str
    source: str
    type: str
    happened_at: datetime
    stage: str
    stale: Stale | None = None
    reasons: tuple[str, ...] = ()


class Decided(msgspec.Struct, frozen=True, kw_only=True, tag="decision", tag_field="kind"):
    """It was decided again and came to something else, though nothing new was known of it: stock came, say."""

    at: datetime
    stage: str
    reasons: tuple[str, ...]


class DeliveryPlanned(msgspec.Struct, frozen=True, kw_only=True, tag="delivery", tag_field="kind"):
    """A command for a target was decided on."""

    at: datetime
    target: str
    seq: int
    operation: str
    key: str


class AttemptEnded(msgspec.Struct, frozen=True, kw_only=True, tag="attempt", tag_field="kind"):
    """One attempt, or one decision of a person (`resolved`, worker 0). `detail` holds the target's words or its id."""

    at: datetime
    target: str
    seq: int
    result: str
    code: str
    detail: str
    took_ms: int
    worker: int


class StockMoved(msgspec.Struct, frozen=True, kw_only=True, tag="stock", tag_field="kind"):
    """Pieces booked or given back for the order."""

    at: datetime
    sku: str
    warehouse: str
    on_hand: int
    locked: int
    committed: int


class ContentEdited(msgspec.Struct, frozen=True, kw_only=True, tag="edit", tag_field="kind"):
    """A person changed what a delivery carries."""

    at: datetime
    target: str
    seq: int
    author: str


class SetAside(msgspec.Struct, frozen=True, kw_only=True, tag="dead_letter", tag_field="kind"):
    """An event of the order became a dead letter."""

    at: datetime
    dead_letter_id: int
    code: str
    resolution: str


class Redriven(msgspec.Struct, frozen=True, kw_only=True, tag="redrive", tag_field="kind"):
    """A blocked delivery was released by a redrive; `state` is what became of it (migration 0006 names them).

    What was `done` may also have been withdrawn unsent: its attempt says so.
    """

    at: datetime
    redrive_id: int
    target: str
    seq: int
    author: str
    state: str


class ByHand(msgspec.Struct, frozen=True, kw_only=True, tag="hand", tag_field="kind"):
    """A person did something to the order or looked behind the masks; `subject` is the part it was done to."""

    at: datetime
    actor: str
    action: str
    subject: str
    reason: str


Happened = (
    EventSeen | Decided | DeliveryPlanned | AttemptEnded | StockMoved | ContentEdited | SetAside | Redriven | ByHand
)


class LaneRow(msgspec.Struct, frozen=True, kw_only=True):
    """A lane with its head and the last attempt of it.

    `held`: in the memory of `worker`, sent as soon as its gate lets it; `waiting`: for `not_before`, and once that has
    passed for its turn; `blocked`: for a person. `stopped`: why nothing is sent to its target now, whatever its state:
    a person paused the connection, its authorisation was refused, a person holds the breaker open, or (which the API
    adds) its target is not configured any more.
    """

    number: str
    target: str
    seq: int
    last_seq: int
    operation: str
    key: str
    state: Literal["held", "waiting", "blocked"]
    stopped: Literal["paused", "authorise", "breaker", "not_configured"] | None
    blocked: str | None
    in_doubt: bool
    bursts: int
    not_before: datetime
    opened_at: datetime
    worker: int | None
    attempts: int
    last_at: datetime | None
    last_result: str | None
    last_code: str | None
    last_detail: str | None


class OrderDetail(msgspec.Struct, frozen=True, kw_only=True):
    """All that is stored of one order.

    `unopened`: why it cannot be read; `order` then has its number, shop, stage, reasons and conflicts only.
    """

    order_id: int
    created_at: datetime
    updated_at: datetime
    order: Order
    timeline: tuple[Happened, ...]
    lanes: tuple[LaneRow, ...]
    unopened: Text = NOTHING


class DeadLetterRow(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter without its payload. `behind`: later events of its order that wait for it."""

    dead_letter_id: int
    source: str
    type: str
    event_id: str
    order_key: str
    number: str
    code: str
    message: Text
    advice: Text
    leg: str
    partition: int
    position: int
    body_bytes: int
    happened_at: datetime
    taken_at: datetime
    created_at: datetime
    closed_at: datetime | None
    closed_by: str | None
    resolution: str | None
    behind: int = 0


class GateLanes(msgspec.Struct, frozen=True):
    """Lanes of one gate: all, those nobody holds, and those that wait for a person."""

    open: int
    parked: int
    blocked: int


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What waits in the database now."""

    lanes: Mapping[tuple[int, str], GateLanes]
    oldest_s: Mapping[int, float]
    inbox_rows: int
    inbox_oldest_s: float
    dead_letters: Mapping[str, int]
    levels_refused: Mapping[str, int]
    ledger_off: int
    nearing: Mapping[tuple[str, str], Nearing] = {}
    """What `gateway.store.ship_by` finds, which is read less often."""


def fitting(wanted: OrderFilter) -> tuple[str | None, ...]:
    """`wanted` as the first five parameters of a statement with `ORDERS_FIT`."""
    return (wanted.stage, wanted.reason, wanted.conflict, wanted.connection, wanted.prefix)


async def list_orders(pool: asyncpg.Pool, wanted: OrderFilter, *, limit: int) -> list[OrderRow]:
    """The newest orders that fit `wanted`, or the most urgent of those that are `near`."""
    asked = fitting(wanted)
    limit = min(limit, MAX_ROWS)
    if wanted.near is not None:
        at, order_id = wanted.behind or (None, None)
        async with pool.acquire() as connection, connection.transaction(readonly=True):
            # A plan for any values, as PostgreSQL makes one at the sixth call, reads all orders for each that is near.
            await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_seqscan = off")
            rows = await connection.fetch(
                _ORDERS_NEAR, wanted.near, UNDER_WAY, *asked, wanted.numbers, at, order_id, limit
            )
    elif wanted.numbers is not None:
        rows = await pool.fetch(_ORDERS_NUMBERED, *asked, wanted.before, limit, wanted.numbers)
    else:
        rows = await pool.fetch(_ORDERS, *asked, wanted.before, limit)
    return [
        OrderRow(
            order_id=row[0],
            number=row[1],
            connection=row[2] or "",
            stage=Stage(row[3]),
            reasons=tuple(row[4].split()),
            conflicts=tuple(row[5].split()),
            created_at=row[6],
            updated_at=row[7],
            ship_by=row[8],
        )
        for row in rows
    ]


async def read_order(pool: asyncpg.Pool, number: str) -> OrderDetail | None:
    """One order with everything that happened to it, in the sequence in which it became known."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        row = await connection.fetchrow(
            "SELECT order_id, created_at, updated_at, state, connection_id, stage, reasons, conflicts FROM orders"
            " WHERE number = $1",
            number,
        )
        if row is None:
            return None
        order_id = row[0]
        names = {row[0]: row[1] for row in await connection.fetch("SELECT connection_id, name FROM connection")}
        letters = await _set_aside(connection, number)
        timeline: list[Happened] = [
            *await _events(connection, order_id, names),
            *await _deliveries(connection, order_id, names),
            *await _movements(connection, order_id),
            *letters,
            *await _redriven(connection, order_id, names),
            *await _by_hand(connection, number, [letter.dead_letter_id for letter in letters]),
        ]
        lanes = await connection.fetch(_LANES_OF_ORDER, order_id)
    timeline.sort(key=lambda happened: (happened.at, _RANK[type(happened)]))
    unopened = NOTHING
    try:
        order = read_state(row[3])
    except CannotRead as error:
        unopened = error.text
        order = Order(
            number=OrderNumber(number),
            connection=ConnectionName(names.get(row[4], "")),
            stage=Stage(row[5]),
            reasons=tuple(row[6].split()),
            conflicts=tuple(row[7].split()),
        )
    return OrderDetail(
        order_id=order_id,
        created_at=row[1],
        updated_at=row[2],
        order=order,
        timeline=tuple(timeline),
        lanes=tuple(_lane(lane) for lane in lanes),
        unopened=unopened,
    )


async def known_numbers(pool: asyncpg.Pool, numbers: Sequence[str]) -> list[str]:
    """Those of `numbers` that are orders."""
    return [row[0] for row in await pool.fetch("SELECT number FROM orders WHERE number = ANY($1::text[])", numbers)]


async def open_letters(pool: asyncpg.Pool, numbers: Sequence[str]) -> list[int]:
    """The dead letters that wait for a person and are of one of `numbers`, the oldest first."""
    rows = await pool.fetch(
        "SELECT dead_letter_id FROM dead_letter WHERE closed_at IS NULL AND number <> '' AND number = ANY($1::text[])"
        " ORDER BY dead_letter_id LIMIT $2",
        numbers,
        MAX_ROWS,
    )
    return [row[0] for row in rows]


async def read_payload(pool: asyncpg.Pool, number: str, n: int) -> tuple[EventSeen, bytes] | None:
    """The `n`-th event of an order (from 1) with its untouched payload. Raises CannotRead."""
    rows = await pool.fetch(_EVENTS + " OFFSET $2 LIMIT 1", await _order_id(pool, number), n - 1)
    if not rows:
        return None
    names = {row[0]: row[1] for row in await pool.fetch("SELECT connection_id, name FROM connection")}
    return _event(n, rows[0], names), payload_of(rows[0][6])


def payload_of(stored: bytes) -> bytes:
    """The untouched payload that `event.body` holds. Raises CannotRead."""
    if isinstance(stored, Unopened):
        raise CannotOpen(stored.why)
    try:
        return zstandard.ZstdDecompressor().decompress(stored, max_output_size=_MAX_PAYLOAD_BYTES)
    except zstandard.ZstdError as error:
        raise CannotRead(DAMAGED) from error


async def list_lanes(
    pool: asyncpg.Pool, *, state: str, target: str | None, after: tuple[datetime, str, str] | None, limit: int
) -> list[LaneRow]:
    """Lanes that are `open` (all), `waiting` (for their time) or `blocked` (for a person), oldest first.

    `after`: `opened_at`, number and target of the last row seen.
    """
    place = after if after is not None else (None, None, None)
    rows = await pool.fetch(_LANES, _LANE_STATES[state], target, *place, min(limit, MAX_ROWS))
    return [_lane(row) for row in rows]


async def contents_of(pool: asyncpg.Pool, numbers: Sequence[str]) -> dict[str, Content | None]:
    """Number → what was ordered, None where the shop has not said so; an order that cannot be read is left out."""
    contents: dict[str, Content | None] = {}
    rows = await pool.fetch("SELECT number, state FROM orders WHERE number = ANY($1::text[])", numbers)
    for number, state in rows:
        try:
            order = decode_state(state)
        except msgspec.MsgspecError:
            continue
        contents[number] = None if order.content is None else order.content.value
    return contents


async def list_dead_letters(
    pool: asyncpg.Pool, *, open_only: bool, source: str | None, code: str | None, before: int | None, limit: int
) -> list[DeadLetterRow]:
    """The newest dead letters. Those that only wait behind another are left out unless `code` asks for them."""
    rows = await pool.fetch(_DEAD_LETTERS, open_only, source, code, before, min(limit, MAX_ROWS))
    return [_letter(dict(row)) for row in rows]


async def read_dead_letter(pool: asyncpg.Pool, dead_letter_id: int) -> tuple[DeadLetterRow, bytes] | None:
    """One dead letter, open or closed, with its payload: `Unopened` where that cannot be."""
    row = await pool.fetchrow(_DEAD_LETTER, dead_letter_id)
    if row is None:
        return None
    values = dict(row)
    body = values.pop("body")
    return _letter(values), body


async def closed_reason(pool: asyncpg.Pool, dead_letter_id: int) -> str:
    """Why a person closed it, or began the redrive that released it; empty where nobody said."""
    return as_text(await pool.fetchval(_CLOSED_REASON, dead_letter_id))


async def gate_lanes(pool: Connection) -> dict[tuple[int, str], GateLanes]:
    """Lanes per (target id, operation of the head)."""
    rows = await pool.fetch(
        "SELECT target_id, operation, count(*),"
        " count(*) FILTER (WHERE worker_id IS NULL AND blocked IS NULL), count(*) FILTER (WHERE blocked IS NOT NULL)"
        " FROM lane GROUP BY target_id, operation"
    )
    return {(row[0], row[1]): GateLanes(row[2], row[3], row[4]) for row in rows}


async def lanes_without_gate(pool: Connection, gates: Collection[tuple[str, str]]) -> dict[str, int]:
    """Target → its open lanes that nobody sends; `gates`: (target, operation) of what is configured."""
    names = dict(await pool.fetch("SELECT connection_id, name FROM connection"))
    counts: Counter[str] = Counter()
    for (target_id, operation), lanes in (await gate_lanes(pool)).items():
        if (names[target_id], operation) not in gates:
            counts[names[target_id]] += lanes.open
    return dict(sorted(counts.items()))


async def orders_of_none(pool: Connection, names: Collection[str]) -> dict[str, int]:
    """Shop that is not among `names` → how many of its orders a warehouse has and has not shipped; none: left out.

    Of all orders the newest hundred thousand are looked at.
    """
    return await _of_others(
        pool,
        names,
        "SELECT connection_id, count(*) FROM (SELECT connection_id, stage FROM orders ORDER BY order_id DESC"
        " LIMIT 100000) AS newest WHERE connection_id = ANY($1) AND stage IN ('allocated', 'packed') GROUP BY 1",
    )


async def orders_at_none(pool: Connection, names: Collection[str]) -> dict[str, int]:
    """Target that is not among `names` → how many orders it has, with nothing open, and not shipped; none: left out.

    Of all orders the newest hundred thousand are looked at.
    """
    return await _of_others(
        pool,
        names,
        "SELECT d.target_id, count(*)"
        " FROM (SELECT order_id, stage, conflicts FROM orders ORDER BY order_id DESC LIMIT 100000) AS newest"
        " JOIN delivery d USING (order_id) LEFT JOIN lane l USING (order_id, target_id)"
        " WHERE d.target_id = ANY($1) AND d.operation = 'create' AND stage IN ('allocated', 'packed')"
        # Its shop has shipped it by hand since, and a person is told of that.
        " AND 'shipped_elsewhere' <> ALL (string_to_array(conflicts, ' ')) AND l.order_id IS NULL"
        f" AND NOT {IS_WITHDRAWN} GROUP BY 1",
    )


async def _of_others(pool: Connection, names: Collection[str], count: str) -> dict[str, int]:
    """Connection that is not among `names` → what `count` says for its id; left out where it says nothing."""
    others = dict(await pool.fetch("SELECT connection_id, name FROM connection WHERE name <> ALL($1)", list(names)))
    if not others:
        return {}
    return {others[row[0]]: row[1] for row in await pool.fetch(count, list(others))}


async def watched_since(pool: Connection, since: Mapping[ConnectionName, datetime | None]) -> dict[ConnectionName, int]:
    """Shop → how many of its orders are not delivered that were placed since an instant (None: ever); none: left out.

    They were first seen while it observed, or had a later `start_at`.

    Of what waits, those that changed last are looked at, fifty thousand at the most.
    """
    found: Counter[ConnectionName] = Counter()
    for shop, instant, state in await pool.fetch(_WATCHED, list(since), list(since.values())):
        try:
            order = read_state(state)
        except CannotRead:
            continue
        if order.origin is not Origin.LIVE and order.content is not None:
            found[shop] += instant is None or order.content.value.placed_at >= instant
    return dict(sorted((+found).items()))


async def read_backlog(pool: Connection) -> Backlog:
    """What the gauges show. Reads every open lane: seldom more than thousands, at worst (a target dead) millions."""
    lanes = await gate_lanes(pool)
    oldest = await pool.fetch(
        # What is blocked waits for a person, not for its target.
        "SELECT target_id, extract(epoch FROM now() - min(opened_at))::float8 FROM lane"
        " WHERE blocked IS NULL GROUP BY target_id"
    )
    # The first by its key is taken next, and no younger than any other by more than a sender's patience.
    inbox_rows, inbox_oldest_s = await pool.fetchrow(
        "SELECT count(*), coalesce(greatest(extract(epoch FROM now() -"
        " (SELECT taken_at FROM inbox ORDER BY inbox_id LIMIT 1)), 0), 0)::float8 FROM inbox"
    )
    dead = await pool.fetch("SELECT source, count(*) FROM dead_letter WHERE closed_at IS NULL GROUP BY source")
    refused = await pool.fetch(
        "SELECT c.name, count(*) FROM listing l JOIN connection c USING (connection_id)"
        " JOIN duty d USING (connection_id)"
        " WHERE l.refused IS NOT NULL AND l.publish AND d.worker_id IS NOT NULL GROUP BY c.name"
    )
    ledger_off = await pool.fetchval("SELECT count(*) FROM ledger_off JOIN stock USING (stock_id)")
    return Backlog(
        lanes=lanes,
        oldest_s={row[0]: row[1] for row in oldest},
        inbox_rows=inbox_rows,
        inbox_oldest_s=inbox_oldest_s,
        dead_letters={row[0]: row[1] for row in dead},
        levels_refused={row[0]: row[1] for row in refused},
        ledger_off=ledger_off,
    )


async def _order_id(pool: asyncpg.Pool, number: str) -> int:
    return await pool.fetchval("SELECT order_id FROM orders WHERE number = $1", number) or -1


async def _events(connection: Connection, order_id: int, names: Mapping[int, str]) -> list[Happened]:
    rows = await connection.fetch(_EVENTS, order_id)
    decided = await connection.fetch(_DECISIONS, order_id)
    return [
        *(_event(n, row, names) for n, row in enumerate(rows, 1)),
        *(Decided(at=row[0], stage=row[1], reasons=_codes(row[2])) for row in decided),
    ]


def _codes(text: str | None) -> tuple[str, ...]:
    return tuple(text.split()) if text else ()


def _event(n: int, row: Sequence[object], names: Mapping[int, str]) -> EventSeen:
    taken_at, event_id, connection_id, type_, happened_at, stage, _, stale, reasons = row
    return msgspec.convert(
        {
            "kind": "event",
            "at": taken_at,
            "n": n,
            "event_id": event_id,
            "source": names.get(connection_id, ""),  # type: ignore[call-overload]
            "type": type_,
            "happened_at": happened_at,
            "stage": stage,
            "stale": stale,
            "reasons": _codes(reasons),  # type: ignore[arg-type]
        },
        EventSeen,
    )


async def _deliveries(connection: Connection, order_id: int, names: Mapping[int, str]) -> list[Happened]:
    deliveries = await connection.fetch(
        "SELECT created_at, target_id, seq, operation, key FROM delivery WHERE order_id = $1", order_id
    )
    attempts = await connection.fetch(
        f"SELECT ended_at, target_id, seq, result, code, {private_or_plain('detail')}, took_ms, worker_id"
        " FROM attempt WHERE order_id = $1",
        order_id,
    )
    edits = await connection.fetch(
        "SELECT edited_at, target_id, seq, author FROM delivery_edit WHERE order_id = $1", order_id
    )
    return [
        *(
            DeliveryPlanned(at=row[0], target=names[row[1]], seq=row[2], operation=row[3], key=row[4])
            for row in deliveries
        ),
        *(
            AttemptEnded(
                at=row[0],
                target=names[row[1]],
                seq=row[2],
                result=Result(row[3]).name.lower(),
                code=row[4] or "",
                detail=as_text(row[5]),
                took_ms=row[6],
                worker=row[7],
            )
            for row in attempts
        ),
        *(ContentEdited(at=row[0], target=names[row[1]], seq=row[2], author=row[3]) for row in edits),
    ]


async def _movements(connection: Connection, order_id: int) -> list[StockMoved]:
    rows = await connection.fetch(
        "SELECT m.moved_at, s.sku, s.warehouse, m.on_hand, m.locked, m.committed"
        "  FROM movement m JOIN stock s USING (stock_id) WHERE m.order_id = $1 ORDER BY m.moved_at, s.sku",
        order_id,
    )
    return [
        StockMoved(at=row[0], sku=row[1], warehouse=row[2], on_hand=row[3], locked=row[4], committed=row[5])
        for row in rows
    ]


async def _set_aside(connection: Connection, number: OrderNumber | str) -> list[SetAside]:
    rows = await connection.fetch(
        "SELECT created_at, dead_letter_id, code, coalesce(resolution, 'open') FROM dead_letter WHERE number = $1",
        number,
    )
    return [SetAside(at=row[0], dead_letter_id=row[1], code=row[2], resolution=row[3]) for row in rows]


async def _redriven(connection: Connection, order_id: int, names: Mapping[int, str]) -> list[Redriven]:
    rows = await connection.fetch(
        "SELECT i.released_at, i.redrive_id, i.target_id, i.seq, r.author, i.state"
        "  FROM redrive_item i JOIN redrive r USING (redrive_id)"
        # What was resolved is told by hand, as it is one by one.
        " WHERE i.order_id = $1 AND i.released_at IS NOT NULL AND r.does = 'send'",
        order_id,
    )
    return [
        Redriven(at=row[0], redrive_id=row[1], target=names[row[2]], seq=row[3], author=row[4], state=row[5])
        for row in rows
    ]


async def _by_hand(connection: Connection, number: str, letters: Sequence[int]) -> list[ByHand]:
    """What was done to the order, and to its dead `letters`.

    A number may itself hold a slash: what stands behind it tells whether it is this order that is meant.
    """
    rows = await connection.fetch(
        f"SELECT at, actor, action, subject, {private_or_plain('reason')} FROM audit"
        " WHERE (subject = $1 OR subject LIKE $2) AND (action LIKE 'order.%' OR action LIKE 'delivery.%')"
        " ORDER BY audit_id LIMIT $3",
        number,
        re.sub(r"([\\%_])", r"\\\1", number) + "/%",
        MAX_ROWS,
    )
    found = []
    for at, actor, action, subject, reason in rows:
        rest = subject[len(number) + 1 :]
        if _BEHIND_NUMBER.get(action.split(".")[0] if action != "order.raw" else action, _NOTHING).fullmatch(rest):
            found.append(ByHand(at=at, actor=actor, action=action, subject=rest, reason=as_text(reason)))
    if letters:
        rows = await connection.fetch(
            f"SELECT at, actor, action, subject, {private_or_plain('reason')} FROM audit"
            " WHERE subject = ANY($1::text[]) AND action LIKE 'dead_letter.%' ORDER BY audit_id LIMIT $2",
            [str(letter) for letter in letters],
            MAX_ROWS,
        )
        found += [
            ByHand(at=row[0], actor=row[1], action=row[2], subject=f"#{row[3]}", reason=as_text(row[4])) for row in rows
        ]
    return found


def _lane(row: Mapping[str, object]) -> LaneRow:
    values = dict(row)
    result, detail = values.pop("last_result"), values.pop("last_detail")
    state = "blocked" if values["blocked"] is not None else "waiting" if values["worker"] is None else "held"
    name = Result(result).name.lower() if isinstance(result, int) else None
    words = as_text(detail) if isinstance(detail, bytes) else None
    return LaneRow(**values, state=state, last_result=name, last_detail=words)  # type: ignore[arg-type]


def _letter(values: dict[str, Any]) -> DeadLetterRow:
    words = {}
    for name in ("message", "advice"):
        zh = as_text(values.pop(f"{name}_zh"), "zh") or as_text(values[name], "zh")
        words[name] = Text(zh, as_text(values[name], "en"))
    return DeadLetterRow(**values | words)


# Equal times: what caused something stands before it.
_RANK: Mapping[type, int] = {
    EventSeen: 0,
    Decided: 1,
    SetAside: 2,
    StockMoved: 3,
    DeliveryPlanned: 4,
    ByHand: 5,
    Redriven: 6,
    ContentEdited: 7,
    AttemptEnded: 8,
}

_NOTHING = re.compile("")
_BEHIND_NUMBER = {"delivery": re.compile(r"[a-z0-9-]+/\d+"), "order.raw": re.compile(r"\d+")}

_LANE_STATES = {"open": None, "waiting": False, "blocked": True}

ORDERS_FIT = """($1::text IS NULL OR o.stage = $1)
   AND ($2::text IS NULL OR $2 = ANY (string_to_array(o.reasons, ' ')))
   AND ($3::text IS NULL OR (o.conflicts <> '' AND $3 = ANY (string_to_array(o.conflicts, ' '))))
   AND ($4::text IS NULL OR c.name = $4)
   AND ($5::text IS NULL OR starts_with(o.number, $5))"""
"""Of `orders` o, to which `connection` c may be joined, with the parameters of `fitting`."""

_ORDERS = f"""
SELECT o.order_id, o.number, c.name, o.stage, o.reasons, o.conflicts, o.created_at, o.updated_at, o.ship_by
  FROM orders o LEFT JOIN connection c USING (connection_id)
 WHERE {ORDERS_FIT}
   AND ($6::bigint IS NULL OR o.order_id < $6)
 ORDER BY o.order_id DESC
 LIMIT $7
"""

_ORDERS_NUMBERED = _ORDERS.replace(" WHERE ", " WHERE o.number = ANY($8::text[]) AND ", 1)

_ORDERS_NEAR = f"""
SELECT o.order_id, o.number, c.name, o.stage, o.reasons, o.conflicts, o.created_at, o.updated_at, o.ship_by
  FROM ({NEAR}) n JOIN orders o USING (order_id) LEFT JOIN connection c ON c.connection_id = o.connection_id
 WHERE ($3::text IS NULL OR o.stage = $3)
   AND ($4::text IS NULL OR $4 = ANY (string_to_array(o.reasons, ' ')))
   AND ($5::text IS NULL OR $5 = ANY (string_to_array(o.conflicts, ' ')))
   AND ($6::text IS NULL OR c.name = $6)
   AND ($7::text IS NULL OR starts_with(o.number, $7))
   AND ($8::text[] IS NULL OR o.number = ANY ($8))
   AND ($9::timestamptz IS NULL OR (n.ship_by, n.order_id) > ($9, $10::bigint))
 ORDER BY n.ship_by, n.order_id
 LIMIT $11
"""

_WATCHED = """
SELECT n.name, n.since, o.state FROM orders o JOIN connection c USING (connection_id)
  JOIN unnest($1::text[], $2::timestamptz[]) AS n(name, since) ON n.name = c.name
 WHERE o.stage = 'received' AND string_to_array(o.reasons, ' ') && '{observed,before_start}'
   AND (n.since IS NULL OR o.updated_at >= n.since)
 ORDER BY o.updated_at DESC
 LIMIT 50000
"""

_EVENTS = f"""
SELECT taken_at, event_id, connection_id, type, happened_at, stage, body, stale, reasons
  FROM event WHERE order_id = $1 AND connection_id <> {NOBODY} ORDER BY taken_at, digest
"""
_DECISIONS = f"""
SELECT taken_at, stage, reasons FROM event WHERE order_id = $1 AND connection_id = {NOBODY} ORDER BY taken_at, digest
"""

_LANE_COLUMNS = f"""
SELECT o.number, c.name AS target, l.head AS seq, l.tail AS last_seq, l.operation, d.key, l.blocked, l.in_doubt,
       CASE WHEN c.paused THEN 'paused'
            WHEN EXISTS (SELECT 1 FROM credential r WHERE r.connection_id = l.target_id AND r.refused IS NOT NULL)
            THEN 'authorise'
            WHEN EXISTS (SELECT 1 FROM breaker_override b WHERE b.target_id = l.target_id
                            AND b.operation = l.operation AND b.forced = 'open' AND b.until_at > now())
            THEN 'breaker' END AS stopped,
       l.bursts, l.not_before, l.opened_at, l.worker_id AS worker,
       (SELECT count(*) FROM attempt a
         WHERE a.order_id = l.order_id AND a.target_id = l.target_id AND a.seq = l.head) AS attempts,
       a.ended_at AS last_at, a.result AS last_result, a.code AS last_code, a.detail AS last_detail
  FROM lane l
  JOIN orders o USING (order_id)
  JOIN connection c ON c.connection_id = l.target_id
  JOIN delivery d ON d.order_id = l.order_id AND d.target_id = l.target_id AND d.seq = l.head
  LEFT JOIN LATERAL (
       SELECT ended_at, result, code, {private_or_plain("detail")} AS detail FROM attempt
        WHERE order_id = l.order_id AND target_id = l.target_id AND seq = l.head
        ORDER BY ended_at DESC LIMIT 1) a ON true
"""
_LANES_OF_ORDER = _LANE_COLUMNS + " WHERE l.order_id = $1 ORDER BY l.target_id"
# The page is cut before attempts are looked up: a million lanes may be open.
_LANES = (
    """
WITH page AS (
    SELECT l.order_id, l.target_id
      FROM lane l JOIN orders o USING (order_id) JOIN connection c ON c.connection_id = l.target_id
     WHERE ($1::boolean IS NULL OR (l.blocked IS NOT NULL) = $1)
       AND ($1::boolean IS DISTINCT FROM false OR l.worker_id IS NULL)
       AND ($2::text IS NULL OR c.name = $2)
       AND ($3::timestamptz IS NULL OR (l.opened_at, o.number, c.name) > ($3, $4::text, $5::text))
     ORDER BY l.opened_at, o.number, c.name
     LIMIT $6
)
"""
    + _LANE_COLUMNS
    + " JOIN page p ON p.order_id = l.order_id AND p.target_id = l.target_id ORDER BY l.opened_at, o.number, c.name"
)

_DEAD_LETTER_COLUMNS = f"""
SELECT dead_letter_id, source, type, event_id, order_key, number, code, {private_or_plain("message")} AS message,
       private_message_zh AS message_zh, {private_or_plain("advice")} AS advice, private_advice_zh AS advice_zh,
       leg, partition, position,
       octet_length(body) - CASE WHEN substring(body for 4) = '\\xc14f4731' THEN 36 ELSE 0 END AS body_bytes,
       happened_at, taken_at, created_at, closed_at, closed_by, resolution,
       CASE WHEN number = '' OR code = 'behind' OR closed_at IS NOT NULL THEN 0 ELSE
         (SELECT count(*) FROM dead_letter b
           WHERE b.number = d.number AND b.code = 'behind' AND b.closed_at IS NULL) END AS behind
"""
_DEAD_LETTERS = (
    _DEAD_LETTER_COLUMNS
    + """
  FROM dead_letter d
 WHERE ($1 = false OR closed_at IS NULL)
   AND ($2::text IS NULL OR source = $2)
   AND (code = $3::text OR ($3::text IS NULL AND code <> 'behind'))
   AND ($4::bigint IS NULL OR dead_letter_id < $4)
 ORDER BY dead_letter_id DESC
 LIMIT $5
"""
)
_CLOSED_REASON = f"""
SELECT coalesce(
    (SELECT {private_or_plain("a.reason")} FROM audit a
      WHERE a.subject = $1::bigint::text AND a.action IN ('dead_letter.release', 'dead_letter.discard')
      ORDER BY a.audit_id DESC LIMIT 1),
    (SELECT {private_or_plain("r.reason")} FROM redrive_item i JOIN redrive r USING (redrive_id)
      WHERE i.dead_letter_id = $1 AND i.released_at IS NOT NULL LIMIT 1))
"""
_DEAD_LETTER = _DEAD_LETTER_COLUMNS + ", body FROM dead_letter d WHERE dead_letter_id = $1"


class ConnectionRow(msgspec.Struct, frozen=True):
    """A connection as the database knows it; what lies behind `paused` is None where it is not polled."""

    connection_id: int
    name: str
    paused: bool
    pause_reason: str
    owner: str | None
    read_to: datetime | None
    reread_at: datetime | None
    failing: str | None


async def list_connections(pool: asyncpg.Pool) -> dict[int, ConnectionRow]:
    """By connection id; those of earlier configurations too."""
    rows = await pool.fetch(
        "SELECT c.connection_id, c.name, c.paused, c.pause_reason, w.name, p.read_to, p.reread_at, p.failing"
        " FROM connection c LEFT JOIN duty d USING (connection_id) LEFT JOIN worker w ON w.worker_id = d.worker_id"
        " LEFT JOIN pull p USING (connection_id)"
    )
    return {row[0]: ConnectionRow(*row) for row in rows}
