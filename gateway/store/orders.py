"""Orders, their events, stock and new outbox rows: what one batch of intake reads and writes.

All statements of a batch run in one transaction and touch tables in the order orders → stock → lanes, rows in key
order, like every other writer, so that batches of several workers never wait for each other in a circle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

import asyncpg
import msgspec
from msgspec.structs import astuple

from gateway.core.errors import DatabaseBusy, Fenced
from gateway.core.event import ConnectionName
from gateway.core.order import Command, Order, OrderNumber, Sku, Stale
from gateway.core.stock import Balance, Movement, Place
from gateway.store.sql import DAMAGED, CannotOpen, CannotRead, Connection, Names, Private, Unopened, as_array

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Order).decode


def decode_state(state: bytes) -> Order:
    """The order that `orders.state` holds. Raises MsgspecError where there is none to be read."""
    try:
        return _decode(state)
    except UnicodeDecodeError as error:  # a damaged name is none of msgspec's own errors
        raise msgspec.DecodeError(str(error)) from error


def read_state(state: bytes) -> Order:
    """The same. Raises CannotRead, which says why to a person."""
    if isinstance(state, Unopened):
        raise CannotOpen(state.why)
    try:
        return decode_state(state)
    except msgspec.MsgspecError as error:
        raise CannotRead(DAMAGED) from error


def encode_state(order: Order) -> bytes:
    """`order` as `orders.state` holds it."""
    return Private(_encode(order))


class Stored(msgspec.Struct, frozen=True, gc=False):
    """An order as the database has it."""

    order_id: int
    order: Order


NOBODY = 0
"""`connection_id` of what stands in `event` for a decision that no event brought about."""


class EventRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One row of `event`, without what its order came to. `body` is compressed.

    `taken_at` None, of an order that is stored: when the transaction began. `stale`: why nothing of it was taken.
    """

    digest: bytes
    event_id: str
    connection_id: int
    type: str
    happened_at: datetime
    taken_at: datetime | None
    body: bytes
    stale: Stale | None = None


class OrderWrite(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """All that one order of a batch writes.

    `disputed_anew`: who has dealt with its conflicts has not seen what it brings of them.
    """

    order_id: int
    new: bool
    changed: bool
    disputed_anew: bool
    order: Order
    events: Sequence[EventRow]
    movements: Sequence[Movement]
    commands: Sequence[Command]


async def lock_orders(connection: Connection, numbers: Sequence[OrderNumber]) -> dict[OrderNumber, Stored]:
    """The stored orders among `numbers`, locked in key order until the transaction ends.

    Raises CannotOpen or MsgspecError where one of them cannot be read.
    """
    rows = await connection.fetch(
        "SELECT order_id, number, state FROM orders WHERE number = ANY($1::text[]) ORDER BY number FOR UPDATE", numbers
    )
    for row in rows:
        if isinstance(row[2], Unopened):
            raise CannotOpen(row[2].why)
    return {row[1]: Stored(row[0], decode_state(row[2])) for row in rows}


async def shops_of(connection: Connection, numbers: Collection[str]) -> list[tuple[str, ConnectionName]]:
    """Those of `numbers` that are orders of a shop, each with the shop."""
    rows = await connection.fetch(
        "SELECT o.number, c.name FROM orders o JOIN connection c USING (connection_id)"
        " WHERE o.number = ANY($1::text[])",
        list(numbers),
    )
    return [(row[0], ConnectionName(row[1])) for row in rows]


NEW_PLACES_LOCK = 7_262_012
"""Held while balances are made, and shared by whoever has orders wait because there are none: whoever makes them sees
those orders, or they see the balances. Taken before any balance is locked."""


class StockPlaces:
    """Balances by place. Remembers the ids of places it has seen: a balance is never deleted nor renumbered."""

    _REMEMBERED = 1_000_000

    def __init__(self) -> None:
        self._ids: dict[Place, int] = {}

    async def lock(
        self, connection: Connection, places: Collection[Place], *, certain: bool = False
    ) -> dict[Place, Balance]:
        """The balances of those `places` that exist, locked in key order until the transaction ends.

        `certain`: of those that do not exist none is made before it ends, which costs two round trips where any is
        missing.
        """
        if len(self._ids) > self._REMEMBERED:
            self._ids = {}
        found = self._known(places)
        if len(found) < len(places):
            unseen = [place for place in places if place not in self._ids]
            await self._look_up(connection, unseen)
            unseen = [place for place in unseen if place not in self._ids]
            if unseen and certain:
                # A statement of its own: the next one has to see what was committed while this one waited.
                await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", NEW_PLACES_LOCK)
                await self._look_up(connection, unseen)
            found = self._known(places)
        if not found:
            return {}
        rows = await connection.fetch(
            "SELECT stock_id, on_hand, locked, committed FROM stock"
            " WHERE stock_id = ANY($1::text::integer[]) ORDER BY stock_id FOR UPDATE",
            as_array(found),
        )
        return {found[row[0]]: Balance(row[0], row[1], row[2], row[3]) for row in rows}

    def _known(self, places: Collection[Place]) -> dict[int, Place]:
        """Those of `places` whose ids are known, by their ids."""
        return {stock_id: place for place in places if (stock_id := self._ids.get(place)) is not None}

    async def _look_up(self, connection: Connection, unseen: Sequence[Place]) -> None:
        rows = await connection.fetch(
            "SELECT s.stock_id, s.sku, s.warehouse FROM stock s"
            " JOIN unnest($1::text[], $2::text[]) AS p(sku, warehouse) ON s.sku = p.sku AND s.warehouse = p.warehouse",
            [sku for sku, _ in unseen],
            [warehouse for _, warehouse in unseen],
        )
        for row in rows:
            self._ids[(Sku(row[1]), row[2])] = row[0]


async def write_orders(
    connection: Connection,
    writes: Sequence[OrderWrite],
    *,
    names: Names,
) -> None:
    """Write orders, events, movements and balances in bulk.

    Raises DatabaseBusy when another worker created one of the new orders meanwhile: read the facts again.
    """
    writes = sorted(writes, key=lambda w: w.order.number)
    new = [w for w in writes if w.new]
    old = [w for w in writes if not w.new]
    changed = [w for w in old if w.changed]
    try:
        if new:
            await connection.copy_records_to_table(
                "orders",
                columns=_ORDER_COLUMNS,
                records=(
                    (
                        w.order_id,
                        w.order.number,
                        names.get(w.order.connection),
                        w.order.stage,
                        " ".join(w.order.reasons),
                        " ".join(w.order.conflicts),
                        w.order.ship_by,
                        encode_state(w.order),
                    )
                    for w in new
                ),
            )
    except asyncpg.UniqueViolationError as error:
        raise DatabaseBusy("another worker created one of the batch's orders", retry_after_s=0.0) from error
    if changed:
        await connection.execute(
            _UPDATE_ORDERS,
            [w.order_id for w in changed],
            [names.get(w.order.connection) for w in changed],
            [str(w.order.stage) for w in changed],
            [" ".join(w.order.reasons) for w in changed],
            [" ".join(w.order.conflicts) for w in changed],
            [w.order.ship_by for w in changed],
            [encode_state(w.order) for w in changed],
        )
    if anew := [w.order_id for w in changed if w.disputed_anew]:
        # Whoever writes such a row holds its order's lock, as we do; the audit keeps who dealt with what.
        await connection.execute("DELETE FROM conflict_handled WHERE order_id = ANY($1::bigint[])", anew)
    await _write_events(connection, new, old)
    await _write_movements(connection, writes)
    await _doubt_levels(connection, writes, names)


async def write_outbox(
    connection: Connection,
    writes: Sequence[OrderWrite],
    *,
    claimed: set[tuple[int, int]],
    worker_id: int,
    names: Names,
) -> set[tuple[int, int]]:
    """Write new deliveries and their lanes; returns the lanes, (order id, target id), born claimed by `worker_id`.

    `claimed` are the lanes the worker has room for; the others are parked. A lane that exists already only moves
    its tail: whoever holds it goes on to the new command. Raises Fenced when the worker's row is gone.
    """
    deliveries = []
    first: dict[tuple[int, int], tuple[str, int, int]] = {}
    fresh: set[int] = set()
    for w in writes:
        if w.new:
            fresh.add(w.order_id)
        for command in w.commands:
            target_id = names.id(command.target)
            lane = (w.order_id, target_id)
            deliveries.append((*lane, command.seq, command.operation, command.key))
            operation, head, _ = first.get(lane, (str(command.operation), command.seq, 0))
            first[lane] = (operation, head, command.seq)
    if not deliveries:
        return set()
    if claimed and not await holds_lease(connection, worker_id):
        raise Fenced(f"worker {worker_id} has been replaced")
    await connection.copy_records_to_table("delivery", columns=_DELIVERY_COLUMNS, records=deliveries)
    born = [(lane, part) for lane, part in sorted(first.items()) if lane[0] in fresh]
    await connection.copy_records_to_table(
        "lane",
        columns=_LANE_COLUMNS,
        records=(
            (*lane, operation, head, tail, worker_id if lane in claimed else None)
            for lane, (operation, head, tail) in born
        ),
    )
    mine = {lane for lane, _ in born if lane in claimed}
    others = [(lane, part) for lane, part in sorted(first.items()) if lane[0] not in fresh]
    if others:
        rows = await connection.fetch(
            _UPSERT_LANES,
            [lane[0] for lane, _ in others],
            [lane[1] for lane, _ in others],
            [operation for _, (operation, _, _) in others],
            [head for _, (_, head, _) in others],
            [tail for _, (_, _, tail) in others],
            [worker_id if lane in claimed else None for lane, _ in others],
        )
        mine |= {(row[0], row[1]) for row in rows if row[2] and (row[0], row[1]) in claimed}
    return mine


async def holds_lease(connection: Connection, worker_id: int) -> bool:
    """Whether the worker still exists; locks its row against adoption until the transaction ends."""
    return await connection.fetchval("SELECT 1 FROM worker WHERE worker_id = $1 FOR KEY SHARE", worker_id) is not None


async def wake_dispatch(connection: Connection, targets: Collection[int]) -> None:
    """Tell every worker, on commit, that lanes of these targets are free to be claimed."""
    await connection.execute("SELECT pg_notify('ordergate_lane', $1)", " ".join(map(str, sorted(targets))))


async def _write_events(connection: Connection, new: Sequence[OrderWrite], old: Sequence[OrderWrite]) -> None:
    if new:
        records = ((w.order_id, *astuple(event), w.order.stage, _waits(w.order)) for w in new for event in w.events)
        await connection.copy_records_to_table("event", columns=_EVENT_COLUMNS, records=records)
    known = [(w.order_id, *astuple(event), str(w.order.stage), _waits(w.order)) for w in old for event in w.events]
    known = await _new_ones(connection, known)
    # What an order took something of is kept, even where its sender has given it the id of another message.
    told = [record for record in known if record[_STALE] is None]
    await _new_ones(connection, [(record[0], another_digest(record[1], record[_BODY]), *record[2:]) for record in told])


async def _new_ones(connection: Connection, records: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Insert events of stored orders; returns those whose id is kept already."""
    if not records:
        return []
    records = sorted(records, key=lambda record: (record[0], record[1]))
    rows = await connection.fetch(_INSERT_EVENTS, *(list(column) for column in zip(*records, strict=True)))
    if len(rows) == len(records):
        return []
    kept = {(row[0], row[1]) for row in rows}
    return [record for record in records if (record[0], record[1]) not in kept]


def another_digest(digest: bytes, body: bytes) -> bytes:
    """The digest of an event whose id is that of another one, which is kept under `digest`."""
    return hashlib.blake2b(digest + body, digest_size=len(digest)).digest()


def _waits(order: Order) -> str | None:
    return " ".join(order.reasons) if order.reasons else None


async def _write_movements(connection: Connection, writes: Sequence[OrderWrite]) -> None:
    if not any(w.movements for w in writes):
        return
    sums: dict[int, list[int]] = {}

    def rows() -> Iterator[tuple[int, int, int, int, int]]:
        for w in writes:
            for m in w.movements:
                total = sums.get(m.stock_id)
                if total is None:
                    sums[m.stock_id] = [m.on_hand, m.locked, m.committed]
                else:
                    total[0] += m.on_hand
                    total[1] += m.locked
                    total[2] += m.committed
                yield (m.stock_id, w.order_id, m.on_hand, m.locked, m.committed)

    await connection.copy_records_to_table("movement", columns=_MOVEMENT_COLUMNS, records=rows())
    await connection.execute(
        _UPDATE_STOCK,
        as_array(sums),
        as_array(total[0] for total in sums.values()),
        as_array(total[1] for total in sums.values()),
        as_array(total[2] for total in sums.values()),
    )


async def _doubt_levels(connection: Connection, writes: Sequence[OrderWrite], names: Names) -> None:
    """What a shop has of listings that it puts back of orders for which nothing was kept is not known.

    No movement tells the shop's owner of those (`gateway.store.levels.forget_sold`), and the shop sells them again: the
    last piece was sold twice, the second buyer cancels, and one is on offer that is not there.
    """
    back = {
        (shop, line.sku)
        for w in writes
        if not w.movements and not w.order.booked and (w.new or w.changed) and (w.order.closed or w.order.refunds)
        if w.order.content is not None and (shop := names.get(w.order.connection)) is not None
        for line in w.order.content.value.lines
    }
    if back:
        # An answer to a call under way is not noted without `sending`.
        await connection.execute(
            "UPDATE listing SET sent = NULL, sending = NULL WHERE listing_id IN (SELECT l.listing_id FROM listing l"
            " JOIN unnest($1::smallint[], $2::text[]) AS b(shop, sku) ON l.connection_id = b.shop AND l.sku = b.sku"
            " WHERE l.sent IS NOT NULL OR l.sending IS NOT NULL ORDER BY l.listing_id FOR NO KEY UPDATE OF l)",
            [shop for shop, _ in back],
            [sku for _, sku in back],
        )


_ORDER_COLUMNS = "order_id number connection_id stage reasons conflicts ship_by state".split()
_EVENT_COLUMNS = "order_id digest event_id connection_id type happened_at taken_at body stale stage reasons".split()
_BODY, _STALE = _EVENT_COLUMNS.index("body"), _EVENT_COLUMNS.index("stale")
_MOVEMENT_COLUMNS = "stock_id order_id on_hand locked committed".split()
_DELIVERY_COLUMNS = "order_id target_id seq operation key".split()
_LANE_COLUMNS = "order_id target_id operation head tail worker_id".split()

_UPDATE_ORDERS = """
UPDATE orders o
   SET connection_id = n.connection_id, stage = n.stage, state = n.state, updated_at = now(),
       reasons = n.reasons, conflicts = n.conflicts, ship_by = n.ship_by
  FROM unnest($1::bigint[], $2::smallint[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::bytea[])
    AS n(order_id, connection_id, stage, reasons, conflicts, ship_by, state)
 WHERE o.order_id = n.order_id
"""

_INSERT_EVENTS = """
INSERT INTO event (order_id, digest, event_id, connection_id, type, happened_at, taken_at, body, stale, stage, reasons)
SELECT order_id, digest, event_id, connection_id, type, happened_at, coalesce(taken_at, now()), body, stale, stage,
       reasons
  FROM unnest($1::bigint[], $2::bytea[], $3::text[], $4::smallint[], $5::text[], $6::timestamptz[], $7::timestamptz[],
              $8::bytea[], $9::text[], $10::text[], $11::text[])
    AS n(order_id, digest, event_id, connection_id, type, happened_at, taken_at, body, stale, stage, reasons)
    ON CONFLICT DO NOTHING
RETURNING order_id, digest
"""

_UPDATE_STOCK = """
UPDATE stock s
   SET on_hand = s.on_hand + d.on_hand, locked = s.locked + d.locked, committed = s.committed + d.committed
  FROM unnest($1::text::integer[], $2::text::integer[], $3::text::integer[], $4::text::integer[])
    AS d(stock_id, on_hand, locked, committed)
 WHERE s.stock_id = d.stock_id
"""

_UPSERT_LANES = """
INSERT INTO lane (order_id, target_id, operation, head, tail, worker_id, not_before, opened_at)
SELECT order_id, target_id, operation, head, tail, worker_id, now(), now()
  FROM unnest($1::bigint[], $2::smallint[], $3::text[], $4::smallint[], $5::smallint[], $6::bigint[])
    AS n(order_id, target_id, operation, head, tail, worker_id)
    ON CONFLICT (order_id, target_id) DO UPDATE SET tail = excluded.tail
RETURNING order_id, target_id, (xmax = 0)
"""
