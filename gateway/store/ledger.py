"""Whether each balance is the sum of its movements: the check, what it has found, and putting it right.

A check compares every balance with its sum in one snapshot and takes no lock on stock. The sum is kept: up to an
instant it stands in `ledger_sum`, and only what moved since is read. Once in a while the whole ledger is summed anew,
which finds what somebody has changed in its past. What looks wrong by the kept sum counts only when the place's whole
history, summed in one snapshot with its balance, says so as well; so a movement that the kept sum has missed (its
transaction took very long, or the clock of who wrote it was off) is no false alarm, and is in the sum from then on.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import asyncpg
import msgspec

from gateway.core.order import Sku
from gateway.core.stock import Place
from gateway.store.audit import audit
from gateway.store.sql import Connection
from gateway.store.stock import StockRow, wake_waiting_all

LATE_S = 120.0
"""What moved so long ago is committed, or was never begun: a statement has 30 s, and a session that idles 10."""
SUM_WITHIN_S = 900.0
"""The whole ledger: some seconds for each ten million movements."""

_SETTLE_LOCK = 7_262_013
_MOST_MOVED = 2**31 - 1

Keep = Literal["balance", "movements"]
"""Which of the two is right; the other one follows."""


class Pieces(msgspec.Struct, frozen=True):
    """The three columns of a balance, or of a sum of movements; a difference of two may be negative."""

    on_hand: int
    locked: int
    committed: int


class Due(msgspec.Struct, frozen=True):
    """What of the check is due now."""

    check: bool
    whole: bool


class MovementRow(msgspec.Struct, frozen=True, kw_only=True):
    """A movement as people see it. `order`: empty for what was set by hand; `reason`: then who and why."""

    at: datetime
    order: str
    on_hand: int
    locked: int
    committed: int
    reason: str


class PlaceLedger(msgspec.Struct, frozen=True, kw_only=True):
    """One balance beside its ledger. `off`: the balance less all that moved, of which the oldest may be summarized."""

    balance: StockRow
    moved: Pieces
    off: Pieces
    movements: list[MovementRow]
    summarized: int
    summarized_until: datetime | None


class Settled(msgspec.Struct, frozen=True):
    """`off`: the difference there was; all 0 where there was none, and nothing was written."""

    off: Pieces
    woken: int


class BelowBooked(Exception):
    """By its movements the place would have less than nothing, or more than a balance holds; nothing was written."""

    def __init__(self, moved: Pieces) -> None:
        super().__init__("the sum of the movements cannot be a balance")
        self.moved = moved


# --- the check


async def read_due(connection: Connection) -> Due:
    """What is due; all of it where there has never been a check."""
    row = await connection.fetchrow("SELECT next_at <= now(), sum_at <= now() FROM ledger_check")
    return Due(True, True) if row is None else Due(row[0], row[1])


async def sum_whole(connection: Connection) -> None:
    """Sum the whole ledger anew. Only for the one who holds the check's lock; readers and writers go on."""
    async with connection.transaction():
        await connection.execute(f"SET LOCAL statement_timeout = {int(SUM_WITHIN_S * 1000)}")
        await connection.execute(_BEGIN, LATE_S)
        await connection.execute(_SUM.format(only="", places=""), timeout=SUM_WITHIN_S)


async def compare(connection: Connection, *, late_s: float = LATE_S) -> int:
    """Compare all balances with their sums; returns how many are off. Only for the one who holds the check's lock."""
    await connection.execute(_ADVANCE, 2 * late_s, late_s)
    # A value, and no sub-select: of that the planner knows nothing, and may read the whole ledger.
    until_at = await connection.fetchval("SELECT until_at FROM ledger_check")
    suspects = [row[0] for row in await connection.fetch(_SUSPECT, until_at)]
    if suspects:
        async with connection.transaction(isolation="repeatable_read"):
            await connection.execute(f"SET LOCAL statement_timeout = {int(SUM_WITHIN_S * 1000)}")
            only, places = "AND stock_id = ANY($1)", "WHERE s.stock_id = ANY($1)"
            await connection.execute(_SUM.format(only=only, places=places), suspects, timeout=SUM_WITHIN_S)
            found = await connection.fetch(_DIFFERENCES, until_at, suspects)
            right = [row[0] for row in found if not (row[1] or row[2] or row[3])]
            await connection.execute("DELETE FROM ledger_off WHERE stock_id = ANY($1)", right)
            off = [row for row in found if row[1] or row[2] or row[3]]
            await connection.execute(_OFF, *([row[column] for row in off] for column in range(4)))
    count: int = await connection.fetchval("SELECT count(*) FROM ledger_off")
    return count


async def set_due(connection: Connection, *, check_s: float, whole_s: float | None) -> None:
    """Say when the next check is due, and the next sum over the whole ledger; None leaves that as it is."""
    await connection.execute(
        "UPDATE ledger_check SET next_at = now() + make_interval(secs => $1),"
        " sum_at = coalesce(now() + make_interval(secs => $2), sum_at)",
        check_s,
        whole_s,
    )


# --- for people


async def read_ledger(pool: asyncpg.Pool, place: Place, *, limit: int) -> PlaceLedger | None:
    """A balance, the sum of all its movements and the newest of them, in one snapshot. Reads the whole ledger."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        row = await connection.fetchrow(_PLACE, *place, timeout=SUM_WITHIN_S)
        if row is None:
            return None
        movements = await connection.fetch(_MOVEMENTS, row["stock_id"], limit, timeout=SUM_WITHIN_S)
    balance = StockRow(
        sku=place[0],
        warehouse=place[1],
        on_hand=row["on_hand"],
        locked=row["locked"],
        committed=row["committed"],
        available=row["on_hand"] - row["locked"] - row["committed"],
    )
    moved = Pieces(row["moved_on_hand"], row["moved_locked"], row["moved_committed"])
    return PlaceLedger(
        balance=balance,
        moved=moved,
        off=_off(row),
        movements=[MovementRow(**dict(one)) for one in movements],
        summarized=row["summarized"],
        summarized_until=row["until_at"],
    )


async def settle(
    pool: asyncpg.Pool, place: Place, *, keep: Keep, reason: str, actor: str, now: datetime
) -> Settled | None:
    """Put a balance and its movements right: by a movement of the difference, or by the balance that they sum up to.

    None: there is no such balance. The whole ledger is read without a lock on the balance; what is written is the
    difference, which stays the same however much is booked meanwhile. Orders that wait for the SKU are decided again
    where there are pieces that none of them was woken for. Raises BelowBooked.
    """
    async with pool.acquire() as connection, connection.transaction():
        # Two people at once would take the difference off twice.
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _SETTLE_LOCK, timeout=SUM_WITHIN_S)
        row = await connection.fetchrow(_PLACE, *place, timeout=SUM_WITHIN_S)
        if row is None:
            return None
        off, woken = _off(row), 0
        subject = f"{place[0]}@{place[1]} {off.on_hand:+d}/{off.locked:+d}/{off.committed:+d} ({keep})"
        await audit(connection, actor=actor, action="stock.settle", subject=subject, reason=reason)
        if off == Pieces(0, 0, 0):
            return Settled(off, 0)
        stock_id, difference = row["stock_id"], (off.on_hand, off.locked, off.committed)
        if keep == "balance":
            await connection.executemany(
                "INSERT INTO movement (stock_id, on_hand, locked, committed, reason) VALUES ($1, $2, $3, $4, $5)",
                [(stock_id, *part, f"{actor}: {reason}") for part in _as_movements(difference)],
            )
        else:
            try:
                await connection.execute(
                    "UPDATE stock SET on_hand = on_hand - $2::bigint, locked = locked - $3::bigint,"
                    " committed = committed - $4::bigint WHERE stock_id = $1",
                    stock_id,
                    *difference,
                )
            except (asyncpg.CheckViolationError, asyncpg.NumericValueOutOfRangeError) as error:
                raise BelowBooked(Pieces(row["moved_on_hand"], row["moved_locked"], row["moved_committed"])) from error
        # Who has raised a balance past us has woken nobody.
        more = off.on_hand - off.locked - off.committed
        if (more if keep == "balance" else -more) > 0:
            woken = await wake_waiting_all(connection, {Sku(place[0])}, now)
        await connection.execute("DELETE FROM ledger_off WHERE stock_id = $1", stock_id)
    return Settled(off, woken)


def _as_movements(difference: tuple[int, ...]) -> list[tuple[int, ...]]:
    """`difference` as movements, of which each holds 32 bits: one, but where somebody has written much by hand."""
    parts = []
    while any(difference):
        part = tuple(max(-_MOST_MOVED, min(_MOST_MOVED, pieces)) for pieces in difference)
        difference = tuple(left - taken for left, taken in zip(difference, part, strict=True))
        parts.append(part)
    return parts


def _off(row: Any) -> Pieces:
    return Pieces(
        row["on_hand"] - row["moved_on_hand"],
        row["locked"] - row["moved_locked"],
        row["committed"] - row["moved_committed"],
    )


# Where the database's clock was set back, the instant lies ahead, and the sum would miss whatever moves until then.
_BEGIN = """
INSERT INTO ledger_check AS c (until_at, next_at, sum_at)
VALUES (now() - make_interval(secs => $1), 'epoch', 'epoch')
    ON CONFLICT (only_row) DO UPDATE SET until_at = least(c.until_at, excluded.until_at)
"""

# What is right already is not written again.
_SUM = """
INSERT INTO ledger_sum AS c (stock_id, on_hand, locked, committed)
SELECT s.stock_id, coalesce(m.on_hand, 0), coalesce(m.locked, 0), coalesce(m.committed, 0)
  FROM stock s
  LEFT JOIN (
       SELECT stock_id, sum(on_hand)::bigint AS on_hand, sum(locked)::bigint AS locked,
              sum(committed)::bigint AS committed
         FROM (SELECT stock_id, on_hand, locked, committed FROM movement
                WHERE moved_at <= (SELECT until_at FROM ledger_check) {only}
               UNION ALL
               SELECT stock_id, on_hand, locked, committed FROM movement_past WHERE true {only}) AS moved
        GROUP BY stock_id) AS m USING (stock_id)
{places}
    ON CONFLICT (stock_id) DO UPDATE
   SET on_hand = excluded.on_hand, locked = excluded.locked, committed = excluded.committed
 WHERE (c.on_hand, c.locked, c.committed) <> (excluded.on_hand, excluded.locked, excluded.committed)
"""

_ADVANCE = """
WITH step AS (
    SELECT until_at, now() - make_interval(secs => $2) AS then_at FROM ledger_check
     WHERE until_at < now() - make_interval(secs => $1)
), added AS (
    INSERT INTO ledger_sum AS c (stock_id, on_hand, locked, committed)
    SELECT stock_id, sum(on_hand), sum(locked), sum(committed) FROM movement
     WHERE moved_at > (SELECT until_at FROM step) AND moved_at <= (SELECT then_at FROM step) GROUP BY stock_id
        ON CONFLICT (stock_id) DO UPDATE
       SET on_hand = c.on_hand + excluded.on_hand, locked = c.locked + excluded.locked,
           committed = c.committed + excluded.committed
)
UPDATE ledger_check SET until_at = step.then_at FROM step
"""

# `found`: the difference of each place by the sum that is kept up to $1.
_FOUND = """
WITH late AS (
    SELECT stock_id, sum(on_hand)::bigint AS on_hand, sum(locked)::bigint AS locked, sum(committed)::bigint AS committed
      FROM movement WHERE moved_at > $1 GROUP BY stock_id
), found AS (
    SELECT s.stock_id,
           s.on_hand - coalesce(c.on_hand, 0) - coalesce(l.on_hand, 0) AS on_hand,
           s.locked - coalesce(c.locked, 0) - coalesce(l.locked, 0) AS locked,
           s.committed - coalesce(c.committed, 0) - coalesce(l.committed, 0) AS committed
      FROM stock s LEFT JOIN ledger_sum c USING (stock_id) LEFT JOIN late l USING (stock_id)
)
"""

_SUSPECT = f"""{_FOUND}
SELECT stock_id FROM found f LEFT JOIN ledger_off o USING (stock_id)
 WHERE (f.on_hand, f.locked, f.committed)
       <> (coalesce(o.on_hand, 0), coalesce(o.locked, 0), coalesce(o.committed, 0))
"""

_DIFFERENCES = f"{_FOUND} SELECT stock_id, on_hand, locked, committed FROM found WHERE stock_id = ANY($2)"

_OFF = """
INSERT INTO ledger_off (stock_id, on_hand, locked, committed)
SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[])
    ON CONFLICT (stock_id) DO UPDATE
   SET on_hand = excluded.on_hand, locked = excluded.locked, committed = excluded.committed
"""

_PLACE = """
WITH place AS MATERIALIZED (SELECT * FROM stock WHERE sku = $1 AND warehouse = $2)
SELECT s.stock_id, s.on_hand, s.locked, s.committed,
       m.on_hand + coalesce(p.on_hand, 0) AS moved_on_hand, m.locked + coalesce(p.locked, 0) AS moved_locked,
       m.committed + coalesce(p.committed, 0) AS moved_committed,
       coalesce(p.movements, 0) AS summarized, p.until_at
  FROM place s LEFT JOIN movement_past p USING (stock_id),
       LATERAL (SELECT coalesce(sum(on_hand), 0)::bigint AS on_hand, coalesce(sum(locked), 0)::bigint AS locked,
                       coalesce(sum(committed), 0)::bigint AS committed
                  FROM movement WHERE stock_id = s.stock_id) AS m
"""

_MOVEMENTS = """
SELECT m.moved_at AS at, coalesce(o.number, '') AS order, m.on_hand, m.locked, m.committed,
       coalesce(m.reason, '') AS reason
  FROM (SELECT * FROM movement WHERE stock_id = $1 ORDER BY moved_at DESC LIMIT $2) AS m
  LEFT JOIN orders o USING (order_id)
 ORDER BY m.moved_at DESC
"""
