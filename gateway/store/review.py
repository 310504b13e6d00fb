"""What a person has to say of orders that wait: decide one again, or all that fit a filter, and let one pass.

Intake decides them by today's rules, as after any event: what stands against sending them and was not let pass still
does.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

import asyncpg
import msgspec

from gateway.core.order import Order, Passed, Stage
from gateway.core.text import Text
from gateway.core.words import reason as word_of_reason
from gateway.store.audit import audit
from gateway.store.inbox import put_in
from gateway.store.orders import encode_state, read_state
from gateway.store.queries import ORDERS_FIT, OrderFilter, fitting
from gateway.store.repair import NoSuchOrder, NotNow
from gateway.store.sql import CannotRead, as_private
from gateway.store.stock import reconsider

MOST_AT_ONCE = 1_000
"""Most orders that are decided again with one request."""

_ROOM = 500
"""No wishes are put behind so many events that wait in the inbox."""
_LOOK_EVERY_S = 0.05

_MISSING = "missing:"
_RECEIVER = f"{_MISSING}receiver."


class Approved(msgspec.Struct, frozen=True, kw_only=True):
    """What an order waited for and now passes, and what else it waits for.

    `total_minor`: of one that was over the limit, the total that it passes with; a person may have seen another before.
    """

    passed: tuple[str, ...]
    left: tuple[str, ...]
    total_minor: int | None = None


class OrderGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Orders of one shop that stand at one place for the same reasons. `like`: the oldest one's number."""

    connection: str
    stage: Stage
    reasons: tuple[str, ...]
    count: int
    like: str


class Reconsidered(msgspec.Struct, frozen=True, kw_only=True):
    """`count` orders are decided again; `unread` cannot be read and stay as they are; `next` is empty at the end.

    None, and `next` the same as before: intake is behind. The same again goes on.
    """

    count: int
    unread: tuple[str, ...]
    next: str


async def reconsider_order(pool: asyncpg.Pool, number: str, *, reason: str, actor: str, now: datetime) -> bool:
    """Have intake decide an order again; False when there is none of that number.

    Raises CannotRead: intake would set the wish aside, and hold everything told later behind it.
    """
    async with pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(f"SELECT coalesce(c.name, ''), o.state {_FROM} WHERE o.number = $1", number)
        if row is None:
            return False
        read_state(row[1])
        await put_in(connection, [reconsider(number, row[0], now)])
        await audit(connection, actor=actor, action="order.reconsider", subject=number, reason=reason)
    return True


async def preview(pool: asyncpg.Pool, wanted: OrderFilter) -> list[OrderGroup]:
    """What `reconsider_many` would take in the end, the most first."""
    return [
        OrderGroup(connection=row[0], stage=Stage(row[1]), reasons=tuple(row[2].split()), count=row[3], like=row[4])
        for row in await pool.fetch(_GROUPS, *fitting(wanted))
    ]


async def reconsider_many(
    pool: asyncpg.Pool,
    wanted: OrderFilter,
    *,
    after: int,
    limit: int,
    reason: str,
    actor: str,
    now: datetime,
    room_within_s: float = 5.0,
) -> Reconsidered:
    """Have intake decide orders that fit `wanted` again, the oldest first: at most `limit`, of those with an id above
    `after`. Waits while intake is behind, and takes none where it is so for `room_within_s`."""
    if not await _is_room(pool, room_within_s):
        return Reconsidered(count=0, unread=(), next=str(after))
    async with pool.acquire() as connection, connection.transaction():
        rows = await connection.fetch(_PAGE, *fitting(wanted), after, limit)
        taken, unread = [], []
        for row in rows:
            try:
                read_state(row[3])
            except CannotRead:
                unread.append(row[1])
            else:
                taken.append(row)
        if taken:
            await put_in(connection, [reconsider(row[1], row[2], now) for row in taken])
            await connection.copy_records_to_table(
                "audit",
                columns="actor action subject private_reason".split(),
                records=[(actor, "order.reconsider", row[1], as_private(reason)) for row in taken],
            )
    return Reconsidered(count=len(taken), unread=tuple(unread), next=str(rows[-1][0]) if len(rows) == limit else "")


async def _is_room(pool: asyncpg.Pool, within_s: float) -> bool:
    """Whether few events wait in the inbox, now or soon.

    What comes in stands behind all that waits there: 10 s and more behind a hundred thousand wishes at once.
    """
    for _ in range(1 + round(within_s / _LOOK_EVERY_S)):
        if await pool.fetchval(_WAITING, _ROOM) < _ROOM:
            return True
        await asyncio.sleep(_LOOK_EVERY_S)
    return False


async def approve(pool: asyncpg.Pool, number: str, *, reason: str, actor: str, now: datetime) -> Approved:
    """Let an order pass that is over the limit, or lacks something of its receiver, as it is now; intake decides it.

    Raises NoSuchOrder, CannotRead, and NotNow where it waits for neither.
    """
    async with pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(
            f"SELECT o.order_id, coalesce(c.name, ''), o.state {_FROM} WHERE o.number = $1 FOR UPDATE OF o",
            number,
        )
        if row is None:
            raise NoSuchOrder(f"there is no order {number}")
        order = read_state(row[2])
        codes = tuple(code for code in order.reasons if code == "over_limit" or code.startswith(_RECEIVER))
        if not codes or order.content is None:
            raise _nothing_to_pass(order)
        known = order.passed or Passed()
        total = order.content.value.total_minor if "over_limit" in codes else known.total_minor
        without = {code.removeprefix(_MISSING) for code in codes if code != "over_limit"}
        passed = Passed(max(total, known.total_minor), tuple(sorted(without.union(known.without))))
        await connection.execute(
            "UPDATE orders SET state = $2 WHERE order_id = $1",
            row[0],
            encode_state(msgspec.structs.replace(order, passed=passed)),
        )
        await put_in(connection, [reconsider(number, row[1], now)])
        await audit(connection, actor=actor, action="order.approve", subject=number, reason=reason)
    return Approved(
        passed=codes,
        left=tuple(code for code in order.reasons if code not in codes),
        total_minor=total if "over_limit" in codes else None,
    )


def _nothing_to_pass(order: Order) -> NotNow:
    waits = [word_of_reason(code) for code in order.reasons]
    if not waits:
        what = Text("它不在等待审核", "it does not wait for a look")
    else:
        what = Text(
            f"它等待的不能由人放行：{'、'.join(word.zh for word in waits)}",
            f"what it waits for is not for a person to let pass: {', '.join(word.en for word in waits)}",
        )
    return NotNow(
        "nothing_to_pass",
        what,
        Text(
            "能放行的是金额超过上限和缺少收件信息；其他的看 `ordergate work items`",
            "a total over the limit and a receiver that lacks something can be let pass; for all else see"
            " `ordergate work items`",
        ),
    )


_WAITING = "SELECT count(*) FROM (SELECT FROM inbox ORDER BY inbox_id LIMIT $1) AS first"
_FROM = "FROM orders o LEFT JOIN connection c USING (connection_id)"
_GROUPS = f"""
SELECT g.name, g.stage, g.reasons, g.count, (SELECT number FROM orders WHERE order_id = g.oldest)
  FROM (SELECT coalesce(c.name, '') AS name, o.stage, o.reasons, count(*) AS count, min(o.order_id) AS oldest
          {_FROM} WHERE {ORDERS_FIT} GROUP BY 1, 2, 3) AS g
 ORDER BY g.count DESC, g.oldest
"""
_PAGE = f"""
SELECT o.order_id, o.number, coalesce(c.name, ''), o.state {_FROM}
 WHERE {ORDERS_FIT} AND o.order_id > $6
 ORDER BY o.order_id LIMIT $7
"""
