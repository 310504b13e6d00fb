"""Stock as people set it: balances listed, and set by hand with a movement and a reason.

What orders book is written by `gateway.store.orders`. Every change of a balance has its movement, so the ledger's sum
equals the balance.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from datetime import datetime

import asyncpg
import msgspec

from gateway.core.event import RECONSIDER, ConnectionName, Event, EventId
from gateway.core.items import pieces, shipped
from gateway.core.order import Order, Sku
from gateway.core.stock import Place
from gateway.store.audit import audit
from gateway.store.inbox import put_in
from gateway.store.orders import NEW_PLACES_LOCK, StockPlaces, decode_state, encode_state
from gateway.store.sql import Connection, Unopened

_PAGE = 1000

WOKEN_AT_MOST = 100
"""Orders that one batch of intake wakes: what it gave back seldom serves more, and it holds its locks meanwhile."""


class StockRow(msgspec.Struct, frozen=True, kw_only=True):
    """One balance, in pieces."""

    sku: str
    warehouse: str
    on_hand: int
    locked: int
    committed: int
    available: int


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """Pieces of a SKU that an order lacks at its warehouse, and those there are; None: no balance knows it."""

    sku: str
    warehouse: str
    pieces: int
    available: int | None


class TooLow(Exception):
    """`rows`: balances that would go below what is booked; nothing was written."""

    def __init__(self, rows: Sequence[StockRow]) -> None:
        super().__init__(f"{len(rows)} balances would go below what is booked")
        self.rows = tuple(rows)


class StockSet(msgspec.Struct, frozen=True):
    """What setting balances did. `woken`: orders that waited for these SKUs, or had shipped more of them than the books
    had, and are decided again."""

    changed: int
    created: int
    woken: int


async def list_stock(
    pool: asyncpg.Pool,
    *,
    prefix: str | None,
    warehouse: str | None,
    after: Place | None,
    limit: int,
    off: bool = False,
) -> list[StockRow]:
    """Balances in (SKU, warehouse) order. `after`: the last one seen. `off`: those that were not the sum of their
    movements at the last check."""
    sku, place = after if after is not None else (None, None)
    rows = await pool.fetch(
        "SELECT sku, warehouse, on_hand, locked, committed, on_hand - locked - committed AS available FROM stock"
        " WHERE ($1::text IS NULL OR starts_with(sku, $1)) AND ($2::text IS NULL OR warehouse = $2)"
        " AND ($3::text IS NULL OR (sku, warehouse) > ($3, $4::text))"
        " AND (NOT $6 OR stock_id IN (SELECT stock_id FROM ledger_off)) ORDER BY sku, warehouse LIMIT $5",
        prefix,
        warehouse,
        sku,
        place,
        limit,
        off,
    )
    return [StockRow(**dict(row)) for row in rows]


async def read_missing(pool: asyncpg.Pool, numbers: Sequence[str]) -> dict[str, tuple[Missing, ...]]:
    """Number → what it lacks at this moment, in SKU order, of those orders that wait for stock.

    Each by itself: what another one that waits would take is not taken off. An order of a later release is left out.
    """
    waiting: dict[str, tuple[dict[Place, int], bool]] = {}
    for number, reasons, state in await pool.fetch(_WAITING, list(numbers)):
        try:
            waiting[number] = _needs(decode_state(state)), "unknown_sku" in reasons
        except msgspec.MsgspecError:
            continue
    skus = sorted({sku for needs, _ in waiting.values() for sku, _ in needs})
    if not skus:
        return {}
    rows = await pool.fetch(
        "SELECT sku, warehouse, on_hand - locked - committed FROM stock WHERE sku = ANY($1::text[])", skus
    )
    available = {(row[0], row[1]): row[2] for row in rows}
    found: dict[str, tuple[Missing, ...]] = {}
    for number, (needs, unknown) in waiting.items():
        lacks = []
        for place, need in sorted(needs.items()):
            there = available.get(place)
            # A SKU that no balance knows may pass, where the configuration says so.
            if need > there if there is not None else unknown:
                lacks.append(Missing(sku=place[0], warehouse=place[1], pieces=need - (there or 0), available=there))
        found[number] = tuple(lacks)
    return found


async def set_stock(
    pool: asyncpg.Pool, wanted: dict[Place, int], *, reason: str, actor: str, now: datetime
) -> StockSet:
    """Set `on_hand` of each place, all or none; new places are made.

    Orders that wait for a SKU that has become more are decided again. What was shipped beyond the books is not on the
    shelf that was counted, so it is never taken off the new balance. Raises TooLow.
    """
    places = sorted(wanted)
    async with pool.acquire() as connection, connection.transaction():
        settled = await _write_off(connection, wanted.keys(), now)  # orders are locked before stock
        skus, warehouses = [sku for sku, _ in places], [warehouse for _, warehouse in places]
        there = await connection.fetchval(
            "SELECT count(*) FROM stock JOIN unnest($1::text[], $2::text[]) AS p(sku, warehouse)"
            " USING (sku, warehouse)",
            skus,
            warehouses,
        )
        if there < len(places):
            await connection.execute("SELECT pg_advisory_xact_lock($1)", NEW_PLACES_LOCK)
        # New rows in key order too: two bulk settings at once must not wait for each other in a circle. A row that is
        # only tried takes a number as well, and there are two billion: a warehouse that tells all its stock every few
        # minutes would have used them up in a year.
        born = await connection.fetch(
            "INSERT INTO stock (sku, warehouse) SELECT sku, warehouse"
            " FROM unnest($1::text[], $2::text[]) AS p(sku, warehouse)"
            " WHERE NOT EXISTS (SELECT 1 FROM stock s WHERE s.sku = p.sku AND s.warehouse = p.warehouse) ORDER BY 1, 2"
            " ON CONFLICT DO NOTHING RETURNING sku, warehouse",
            skus,
            warehouses,
        )
        balances = await StockPlaces().lock(connection, places)
        low = [
            StockRow(
                sku=place[0],
                warehouse=place[1],
                on_hand=balance.on_hand,
                locked=balance.locked,
                committed=balance.committed,
                available=balance.available,
            )
            for place, balance in sorted(balances.items())
            if wanted[place] < balance.locked + balance.committed
        ]
        if low:
            raise TooLow(low)
        moves = [
            (balance.stock_id, wanted[place] - balance.on_hand)
            for place, balance in balances.items()
            if wanted[place] != balance.on_hand
        ]
        if moves:
            await connection.execute(
                "UPDATE stock s SET on_hand = s.on_hand + m.pieces"
                " FROM unnest($1::integer[], $2::integer[]) AS m(stock_id, pieces) WHERE s.stock_id = m.stock_id",
                [stock_id for stock_id, _ in moves],
                [pieces for _, pieces in moves],
            )
            await connection.copy_records_to_table(
                "movement",
                columns="stock_id on_hand locked committed reason moved_at".split(),
                records=[(stock_id, pieces, 0, 0, f"{actor}: {reason}", now) for stock_id, pieces in moves],
            )
        more = {place[0] for place, balance in balances.items() if wanted[place] > balance.on_hand}
        more |= {Sku(row[0]) for row in born}
        woken = await wake_waiting_all(connection, more, now) if more else 0
        subject = ", ".join(f"{sku}@{warehouse}={wanted[sku, warehouse]}" for sku, warehouse in places[:20])
        if len(places) > 20:
            subject += f" and {len(places) - 20} more"
        await audit(connection, actor=actor, action="stock.set", subject=subject, reason=reason)
    return StockSet(len(moves), len(born), settled + woken)


async def _write_off(connection: Connection, places: Set[Place], now: datetime) -> int:
    """Have the orders decided again that shipped more than the books had at `places`, the missing pieces written off;
    returns how many."""
    written: list[tuple[int, bytes]] = []
    events: list[Event] = []
    for order_id, number, source, state in await connection.fetch(_SHIPPED_BEYOND_STOCK):
        try:
            order = decode_state(state)
        except msgspec.MsgspecError:
            continue
        if missing := _beyond_books(order, places):
            known = dict(order.written_off)
            off = tuple(sorted({**known, **{sku: known.get(sku, 0) + count for sku, count in missing.items()}}.items()))
            written.append((order_id, encode_state(msgspec.structs.replace(order, written_off=off))))
            events.append(reconsider(number, source, now))
    if written:
        await connection.execute(
            "UPDATE orders o SET state = n.state FROM unnest($1::bigint[], $2::bytea[]) AS n(order_id, state)"
            " WHERE o.order_id = n.order_id",
            [order_id for order_id, _ in written],
            [state for _, state in written],
        )
        await put_in(connection, events)
    return len(written)


def _beyond_books(order: Order, places: Set[Place]) -> dict[Sku, int]:
    """Pieces that left one of `places` and that no balance carried."""
    if order.route is None:
        return {}
    missing = shipped(order)
    for sku, count in order.written_off:
        missing[sku] = missing.get(sku, 0) - count
    for booking in order.booked:
        missing[booking.sku] = missing.get(booking.sku, 0) - booking.shipped
    warehouse = order.route.warehouse
    return {
        sku: count
        for sku, count in missing.items()
        if count > 0 and sku not in order.unbooked and (sku, warehouse) in places
    }


class WokenFurther(msgspec.Struct, frozen=True, array_like=True):
    """In the last of the orders that are woken together: those behind `after` may have what is left at `places`.

    `orders`: ids of those woken. The first that fits only if one of them leaves its part is behind `after`, too.
    """

    after: int
    places: tuple[Place, ...]
    orders: tuple[int, ...] = ()


def woken_further(event: Event) -> WokenFurther | None:
    """What the wish to decide an order again says about those behind it; nothing where somebody has put something else
    in its place, which must not end whoever reads it."""
    if not event.body or isinstance(event.body, Unopened):
        return None
    try:
        return _decode_further(event.body)
    except (msgspec.MsgspecError, UnicodeDecodeError):  # the latter of a damaged name: none of msgspec's own errors
        return None


async def wake_waiting_for(
    connection: Connection, available: Mapping[Place, int], *, now: datetime, limit: int = WOKEN_AT_MOST
) -> int:
    """Have the oldest orders decided again that are short of stock and fit into `available`; returns how many.

    `available`: pieces there are at the places that got some back. The caller has locked their balances, so an order
    that another worker found short of them is committed and seen. Needs at other places are not looked at: an order may
    be woken in vain, and what such an order may take stays free for those behind it. Of the orders that name one of the
    SKUs, the oldest ten thousand at most are looked at. Without places there is no query.

    When the last of them is decided, `wake_further` goes on behind them.
    """
    return await _wake(connection, available, now=now, limit=limit, after=-1, pages=_MOST_PAGES, elsewhere=False)


async def wake_further(
    connection: Connection,
    further: WokenFurther,
    available: Mapping[Place, int],
    *,
    now: datetime,
    limit: int = WOKEN_AT_MOST,
) -> int:
    """Go on behind the orders of `further`, which are decided; returns how many more are woken.

    `available`: what they have left at its places, locked. In a transaction after that of the giver, so needs at other
    places can be looked at without a lock: of two that give something to one order, the later one sees both.

    Where none of those woken could go on, of those that lack something else a thousand at most are passed: or everybody
    who gives back one piece would go through all of them. Whoever is woken then lacks nothing, and if he cannot go on
    after all, somebody else was quicker.
    """
    if not available:
        return 0
    pages = _MOST_PAGES if await connection.fetchval(_ANY_WENT_ON, list(further.orders)) else 1
    return await _wake(connection, available, now=now, limit=limit, after=further.after, pages=pages, elsewhere=True)


async def _wake(
    connection: Connection,
    available: Mapping[Place, int],
    *,
    now: datetime,
    limit: int,
    after: int,
    pages: int,
    elsewhere: bool,
) -> int:
    """`elsewhere`: needs at other places are looked at, too."""
    if not available:
        return 0
    left = dict(available)
    skus = [sku.encode() for sku in sorted({sku for sku, _ in available})]
    events: list[Event] = []
    ids: list[int] = []
    passed_over: int | None = None
    for _ in range(pages):
        rows = await connection.fetch(_SHORT_OF, skus, 10 * limit, after)
        waiting = [(row[3], row[0], row[1], needs) for row in rows if (needs := _needs_of(row[2]))]
        there: dict[Place, int] = {}
        if elsewhere:
            others = {place for *_, needs in waiting if not needs.keys().isdisjoint(left) for place in needs}
            there = await _available(connection, others - left.keys())
        for order_id, number, source, needs in waiting:
            freed = needs.keys() & left.keys()
            if not freed or any(needs[place] > available[place] for place in freed):
                continue
            if any(pieces > there.get(place, pieces) for place, pieces in needs.items() if place not in left):
                continue
            if any(needs[place] > left[place] for place in freed):
                passed_over = order_id if passed_over is None else passed_over
                continue
            events.append(reconsider(number, source, now))
            ids.append(order_id)
            if len(events) == limit:
                break
            if len(freed) == len(needs) or elsewhere:
                for place in freed:
                    left[place] -= needs[place]
                if not any(left.values()):
                    break
        if len(events) == limit or len(rows) < 10 * limit or not any(left.values()):
            break
        after = rows[-1][3]
    if events:
        # One that is passed over comes behind somebody who is woken: each link of the chain begins further on.
        behind = ids[-1] if passed_over is None else min(ids[-1], passed_over - 1)
        further = WokenFurther(behind, tuple(sorted(available)), tuple(ids))
        events[-1] = msgspec.structs.replace(events[-1], body=_encode_further(further))
        await put_in(connection, events)
    return len(events)


def _needs_of(state: bytes) -> dict[Place, int]:
    """What an order lacks; nothing of one that cannot be read: who gives stock back is not to blame."""
    try:
        return _needs(decode_state(state))
    except msgspec.MsgspecError:
        return {}


async def _available(connection: Connection, places: Collection[Place]) -> dict[Place, int]:
    """Pieces that can be had at those `places` that exist, as last committed."""
    if not places:
        return {}
    rows = await connection.fetch(_AVAILABLE, [sku for sku, _ in places], [warehouse for _, warehouse in places])
    return {(Sku(row[0]), row[1]): row[2] for row in rows}


def reconsider(number: str, source: str, now: datetime) -> Event:
    """The event that has intake decide an order again."""
    return Event(
        id=EventId(f"reconsider/{number}/{now.timestamp()}"),
        source=ConnectionName(source),
        type=RECONSIDER,
        order_key=number,
        time=now,
        body=b"",
    )


async def wake_waiting_all(connection: Connection, skus: Set[Sku], now: datetime) -> int:
    """Have the orders that lack one of `skus` decided again, the oldest first."""
    woken, last = 0, -1
    while True:
        rows = await connection.fetch(
            "SELECT o.order_id, o.number, coalesce(c.name, ''), o.state"
            " FROM orders o LEFT JOIN connection c USING (connection_id)"
            " WHERE o.stage IN ('received', 'reviewed') AND o.order_id > $1"
            " AND string_to_array(o.reasons, ' ') && ARRAY['short_of_stock', 'unknown_sku']"
            " ORDER BY o.order_id LIMIT $2",
            last,
            _PAGE,
        )
        if not rows:
            return woken
        last = rows[-1][0]
        events = [reconsider(row[1], row[2], now) for row in rows if not skus.isdisjoint(_skus(row[3]))]
        if events:
            await put_in(connection, events)
        woken += len(events)


def _skus(state: bytes) -> Iterator[Sku]:
    try:
        order = decode_state(state)
    except msgspec.MsgspecError:
        return
    if order.content is not None:
        yield from pieces(order.content.value.lines, order.recipes)


def _needs(order: Order) -> dict[Place, int]:
    """Pieces `order` still has to get of each place."""
    needs: dict[Place, int] = {}
    if order.content is None or order.route is None:
        return needs
    for sku, count in pieces(order.content.value.lines, order.recipes).items():
        if sku not in order.unbooked:
            needs[sku, order.route.warehouse] = count
    for booking in order.booked:
        place = (booking.sku, booking.warehouse)
        if place in needs:
            needs[place] -= booking.locked + booking.committed + booking.shipped
    return {place: pieces for place, pieces in needs.items() if pieces > 0}


_WAITING = """
SELECT number, string_to_array(reasons, ' '), state FROM orders
 WHERE number = ANY($1::text[]) AND string_to_array(reasons, ' ') && ARRAY['short_of_stock', 'unknown_sku']
"""

_ANY_WENT_ON = """
SELECT EXISTS (SELECT 1 FROM orders WHERE order_id = ANY ($1::bigint[])
   AND NOT string_to_array(reasons, ' ') && ARRAY['short_of_stock', 'unknown_sku'])
"""
_AVAILABLE = """
SELECT sku, warehouse, on_hand - locked - committed
  FROM stock JOIN unnest($1::text[], $2::text[]) AS p(sku, warehouse) USING (sku, warehouse)
"""

# Locked in the sequence in which a batch of intake locks its orders.
_SHIPPED_BEYOND_STOCK = """
SELECT o.order_id, o.number, coalesce(c.name, ''), o.state
  FROM orders o LEFT JOIN connection c USING (connection_id)
 WHERE o.conflicts <> '' AND 'shipped_beyond_stock' = ANY (string_to_array(o.conflicts, ' '))
 ORDER BY o.number
   FOR UPDATE OF o
"""

_encode_further = msgspec.msgpack.Encoder().encode
_decode_further = msgspec.msgpack.Decoder(WokenFurther).decode

_MOST_PAGES = 10
"""So often the next ones are looked at where those that lack other SKUs stand in front."""

# The orders short of stock are found first and by themselves: planned in one, a small LIMIT lets PostgreSQL walk all
# orders by their id. A SKU stands in the encoded state as it is, so most that lack others are never decoded; of
# a sealed state (it begins with gateway.store.vault.MAGIC) only decoding tells. One with a dead letter in front takes
# nothing: whoever lets it go has it decided.
_SHORT_OF = """
WITH short AS MATERIALIZED (
    SELECT order_id FROM orders WHERE stage IN ('received', 'reviewed') AND reasons LIKE '%short_of_stock%'
)
SELECT o.number, coalesce(c.name, ''), o.state, o.order_id
  FROM short JOIN orders o USING (order_id) LEFT JOIN connection c USING (connection_id)
 WHERE order_id > $3
   AND NOT EXISTS (SELECT 1 FROM dead_letter d WHERE d.closed_at IS NULL AND d.number = o.number)
   AND (substring(o.state for 4) = '\\xc14f4731'
        OR EXISTS (SELECT 1 FROM unnest($1::bytea[]) AS freed(sku) WHERE position(freed.sku IN o.state) > 0))
 ORDER BY order_id
 LIMIT $2
"""
