"""What is removed by age: the timeline of orders that are over, what people have closed, and at last the orders.

Two ages. At `timeline` an order that is over loses its events, attempts, movements, edits and its buyer; what stays of
the order (its number, the versions it won by, what was planned and booked) keeps a late duplicate from having any
effect. At `tombstone`, longer than any channel looks back, that goes too.

Over means: shipped, cancelled, refunded, or a conflict that a person has dealt with; without a lane and without an open
dead letter, and untouched since. An order that never got there keeps its timeline: somebody may have to look at it.

The orders are walked by id in windows. Each step is one short transaction, the walk's place in it, so that it goes on
where it was killed. It locks only orders that nothing has touched for months, skips those that somebody else has
locked, and takes no lock on stock: the movements it removes are added to `movement_past`, and the ledger stays whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from gateway.core.order import Stage, reduced
from gateway.store.orders import decode_state, encode_state
from gateway.store.sql import Connection, Unopened

LOCK = 7_262_003
"""Of whoever purges; one at a time."""

WINDOW = 250
"""Orders that one step looks at: some 1,500 rows, and a commit that nobody else waits for long."""

STEP_WITHIN_MS = 5_000
_SLICE = 50
"""Orders reduced without giving way: about a millisecond."""

AGAIN_AFTER = timedelta(days=30)
"""Orders that were not over when the walk came by wait for the next one."""

OVER = (Stage.SHIPPED, Stage.CANCELLED, Stage.REFUNDED)


class Ages(msgspec.Struct, frozen=True):
    """What is older than these instants goes; `tombstone_before` is the earlier one."""

    timeline_before: datetime
    tombstone_before: datetime


class Step(msgspec.Struct, frozen=True):
    """What a step removed, by table, and whether there may be more.

    `orders` are whole ones, `reduced` those that stay without their buyer. `unopened`: the numbers of orders that keep
    theirs because they cannot be opened.
    """

    rows: Mapping[str, int]
    more: bool
    unopened: Sequence[str] = ()


async def purge_orders(connection: Connection, ages: Ages, *, now: datetime, window: int = WINDOW) -> Step:
    """Go one window further. `more` is False at the end of the walk, until it is time for the next one."""
    async with connection.transaction():
        await _bound(connection)
        after = await _walk(connection, now)
        if after is None:
            return Step({}, False)
        found = await connection.fetch(_WINDOW, after, window, ages.timeline_before)
        rows: dict[str, int] = {}
        unopened: list[str] = []
        if found:
            due = await connection.fetch(_DUE, found[0][0], found[-1][0], ages.timeline_before, _stages())
            gone = [row[0] for row in due if row[1] < ages.tombstone_before]
            rows = await _remove_timeline(connection, [row[0] for row in due], ages)
            reduced_now = await _reduce(connection, _staying(due, ages))
            if reduced_now:
                rows["reduced"] = reduced_now
            unopened = [row[3] for row in due if isinstance(row[2], Unopened) and row[1] >= ages.tombstone_before]
            rows |= await _remove_orders(connection, gone)
        # Ids grow with time, but by blocks for each worker. It stops behind the last old one: those that grow old
        # later are gone on with, a young one in between waits for the next walk.
        old = [row[0] for row in found if row[1]]
        await connection.execute(
            "UPDATE purge_walk SET after_id = $1, ended_at = $2", old[-1] if old else after, None if old else now
        )
    return Step(rows, bool(old), unopened)


async def purge_closed(connection: Connection, ages: Ages, *, limit: int = WINDOW) -> Step:
    """Remove closed dead letters, records of what people did, redrives that have ended, and stock set by hand.

    Up to `limit` rows of each.
    """
    async with connection.transaction():
        await _bound(connection)
        rows = {
            "dead_letter": await _count(connection, _DEAD_LETTERS, ages.timeline_before, limit),
            "audit": await _count(connection, _AUDIT, ages.timeline_before, limit),
            # One has up to 20,000 items, too many to go with it: they go before.
            "redrive_item": await _count(connection, _REDRIVE_ITEMS, ages.timeline_before, limit),
            "redrive": await _count(connection, _REDRIVES, ages.timeline_before, limit),
            "movement": await _fold(connection, _COUNTS, ages.timeline_before, limit, until=ages.timeline_before),
        }
    return Step({table: count for table, count in rows.items() if count}, max(rows.values()) == limit)


async def begin_walk(connection: Connection, now: datetime) -> None:
    """Have the walk over the orders begin at the first one."""
    await connection.execute(
        "INSERT INTO purge_walk (after_id, began_at) VALUES (-1, $1)"
        " ON CONFLICT (only_row) DO UPDATE SET after_id = -1, began_at = $1, ended_at = NULL",
        now,
    )


async def summarize_movements(connection: Connection, *, anew: bool) -> None:
    """Summarize the block ranges of `movement` that are not yet, or all of them `anew`, since removed rows still widen
    them: an order's movements are sought by them, and what has moved lately, and what is not summarized is read.

    `anew` reads the table twice; writers are not held up. This user need not own the table (migration 0016).
    """
    await connection.execute("SELECT summarize_movements($1)", anew, timeout=600)


async def count_due(connection: Connection, ages: Ages) -> dict[str, int]:
    """What would be removed now, by table as in `Step`; nothing is."""
    counts: dict[str, int] = {}
    after = -1
    while found := await connection.fetch(_WINDOW, after, WINDOW, ages.timeline_before):
        due = await connection.fetch(
            _DUE.replace("FOR UPDATE OF o SKIP LOCKED", ""), found[0][0], found[-1][0], ages.timeline_before, _stages()
        )
        ids = [row[0] for row in due]
        staying = _staying(due, ages)
        step = {"orders": len(ids) - len(staying), "reduced": len(await _less(staying))}
        for table in _OF_ORDERS:
            step[table] = await connection.fetchval(
                f"SELECT count(*) FROM {table} WHERE {_OWN}", ids, found[0][0], found[-1][0]
            )
        for table, count in step.items():
            counts[table] = counts.get(table, 0) + count
        old = [row[0] for row in found if row[1]]
        if not old:
            break
        after = old[-1]
    before = ages.timeline_before
    counts["dead_letter"] = await connection.fetchval("SELECT count(*) FROM dead_letter WHERE closed_at < $1", before)
    counts["audit"] = await connection.fetchval("SELECT count(*) FROM audit WHERE at < $1", before)
    counts["redrive_item"] = await connection.fetchval(
        "SELECT count(*) FROM redrive JOIN redrive_item USING (redrive_id) WHERE ended_at < $1", before
    )
    counts["redrive"] = await connection.fetchval("SELECT count(*) FROM redrive WHERE ended_at < $1", before)
    counts["movement"] = counts.get("movement", 0) + await connection.fetchval(
        "SELECT count(*) FROM movement WHERE order_id IS NULL AND moved_at < $1", before
    )
    return {table: count for table, count in counts.items() if count}


async def _bound(connection: Connection) -> None:
    """Nobody waits long for a step, and a step waits for nobody."""
    await connection.execute(f"SET LOCAL statement_timeout = {STEP_WITHIN_MS}")
    await connection.execute("SET LOCAL lock_timeout = 200")


async def _walk(connection: Connection, now: datetime) -> int | None:
    """The id to go on from; None while the walk has ended and it is too early for another."""
    row = await connection.fetchrow("SELECT after_id, began_at, ended_at FROM purge_walk FOR UPDATE")
    if row is None:
        await connection.execute("INSERT INTO purge_walk (after_id, began_at) VALUES (-1, $1)", now)
        return -1
    after: int = row[0]
    if row[1] + AGAIN_AFTER <= now:
        await connection.execute("UPDATE purge_walk SET began_at = $1, ended_at = NULL, after_id = -1", now)
        return -1
    # What has grown old since the walk ended lies behind where it stopped: that is gone on with once a day.
    if row[2] is not None and row[2] + timedelta(hours=20) > now:
        return None
    return after


async def _remove_timeline(connection: Connection, ids: list[int], ages: Ages) -> dict[str, int]:
    if not ids:
        return {}
    rows = {}
    for table in _OF_ORDERS:
        if table == "movement":
            sql = f"DELETE FROM movement WHERE {_OWN} RETURNING stock_id, on_hand, locked, committed"
            rows[table] = await _fold(connection, sql, ids, ids[0], ids[-1], until=ages.timeline_before)
        else:
            rows[table] = _rows(await connection.execute(f"DELETE FROM {table} WHERE {_OWN}", ids, ids[0], ids[-1]))
    # That its conflicts are dealt with stays, or they would be back; what was said of them does not.
    await connection.execute(_FORGET_WHY, ids)
    return {table: count for table, count in rows.items() if count}


async def _fold(connection: Connection, sql: str, *arguments: Any, until: datetime) -> int:
    """Remove the movements that `sql` deletes and add them to those of the past; returns how many there were."""
    return int(await connection.fetchval(_FOLD.format(gone=sql, until=len(arguments) + 1), *arguments, until))


def _staying(due: Sequence[Any], ages: Ages) -> list[tuple[int, bytes]]:
    return [(row[0], row[2]) for row in due if row[1] >= ages.tombstone_before]


async def _reduce(connection: Connection, orders: list[tuple[int, bytes]]) -> int:
    """How many had anything left to lose."""
    states = await _less(orders)
    if states:
        await connection.execute(_REDUCE, [row[0] for row in states], [row[1] for row in states])
    return len(states)


async def _less(orders: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """The orders that become less, as they then are."""
    states: list[tuple[int, bytes]] = []
    for number, (order_id, state) in enumerate(orders):
        if number % _SLICE == 0:
            await asyncio.sleep(0)
        try:
            order = decode_state(state)
        except msgspec.MsgspecError:
            continue  # a later release's, or its key is missing: it is left as it is
        less = reduced(order)
        if less is not order:
            states.append((order_id, encode_state(less)))
    return states


async def _remove_orders(connection: Connection, ids: list[int]) -> dict[str, int]:
    if not ids:
        return {}
    for table in ("delivery", "conflict_handled"):
        await connection.execute(f"DELETE FROM {table} WHERE order_id = ANY($1::bigint[])", ids)
    return {"orders": _rows(await connection.execute("DELETE FROM orders WHERE order_id = ANY($1::bigint[])", ids))}


async def _count(connection: Connection, sql: str, *arguments: Any) -> int:
    return _rows(await connection.execute(sql, *arguments))


def _rows(status: str) -> int:
    return int(status.rsplit(" ", 1)[1])


def _stages() -> list[str]:
    return [str(stage) for stage in OVER]


# The block ranges of `movement` are sought by the span.
_OWN = "order_id = ANY($1::bigint[]) AND order_id BETWEEN $2 AND $3"
_OF_ORDERS = ("event", "attempt", "movement", "delivery_edit")

# `old`: created before the timeline begins.
_WINDOW = """
SELECT order_id, created_at < $3 AS old FROM orders WHERE order_id > $1 ORDER BY order_id LIMIT $2
"""

_DUE = """
SELECT o.order_id, o.updated_at, o.state, o.number
  FROM orders o
 WHERE o.order_id BETWEEN $1 AND $2 AND o.created_at < $3 AND o.updated_at < $3
   AND (o.stage = ANY($4::text[]) OR o.stage = 'conflict' AND EXISTS (
        SELECT 1 FROM conflict_handled h
         WHERE h.order_id = o.order_id AND h.conflicts = o.conflicts AND h.handled_at < $3))
   AND NOT EXISTS (SELECT 1 FROM lane l WHERE l.order_id = o.order_id)
   AND NOT EXISTS (SELECT 1 FROM dead_letter d WHERE d.number = o.number AND d.closed_at IS NULL)
 ORDER BY o.order_id
   FOR UPDATE OF o SKIP LOCKED
"""

_REDUCE = """
UPDATE orders o SET state = n.state
  FROM unnest($1::bigint[], $2::bytea[]) AS n(order_id, state)
 WHERE o.order_id = n.order_id
"""

_FOLD = """
WITH gone AS ({gone}), past AS (
    INSERT INTO movement_past AS p (stock_id, on_hand, locked, committed, movements, until_at)
    SELECT stock_id, sum(on_hand), sum(locked), sum(committed), count(*), ${until}::timestamptz
      FROM gone GROUP BY stock_id ORDER BY stock_id
        ON CONFLICT (stock_id) DO UPDATE
       SET on_hand = p.on_hand + excluded.on_hand, locked = p.locked + excluded.locked,
           committed = p.committed + excluded.committed, movements = p.movements + excluded.movements,
           until_at = excluded.until_at
    RETURNING 1
)
SELECT count(*) FROM gone
"""

_FORGET_WHY = """
UPDATE conflict_handled SET reason = '', private_reason = NULL
 WHERE order_id = ANY($1::bigint[]) AND (reason <> '' OR private_reason IS NOT NULL)
"""

_COUNTS = """
DELETE FROM movement WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM movement WHERE order_id IS NULL AND moved_at < $1 LIMIT $2
)) RETURNING stock_id, on_hand, locked, committed
"""

_DEAD_LETTERS = """
DELETE FROM dead_letter WHERE dead_letter_id IN (
    SELECT dead_letter_id FROM dead_letter WHERE closed_at < $1 ORDER BY dead_letter_id LIMIT $2
)
"""

_AUDIT = "DELETE FROM audit WHERE audit_id IN (SELECT audit_id FROM audit WHERE at < $1 ORDER BY audit_id LIMIT $2)"

_REDRIVE_ITEMS = """
DELETE FROM redrive_item WHERE (redrive_id, n) IN (
    SELECT redrive_id, n FROM redrive JOIN redrive_item USING (redrive_id) WHERE ended_at < $1
     ORDER BY redrive_id, n LIMIT $2
)
"""

_REDRIVES = """
DELETE FROM redrive WHERE redrive_id IN (
    SELECT redrive_id FROM redrive r
     WHERE ended_at < $1 AND NOT EXISTS (SELECT 1 FROM redrive_item i WHERE i.redrive_id = r.redrive_id)
     ORDER BY redrive_id LIMIT $2
)
"""
