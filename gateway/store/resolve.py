"""Already handled (F129), for many at once: deliveries become done and dead letters are closed, on a person's word."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from gateway.core.delivery import Result
from gateway.store.dead import discard
from gateway.store.orders import wake_dispatch
from gateway.store.repair import BY_HAND
from gateway.store.sql import Connection, as_array, as_private
from gateway.store.wanted import (
    LANE_BUSY,
    LANES_WANTED,
    LETTER_BUSY,
    LETTERS_WANTED,
    LOCK_CHOSEN,
    Wanted,
    arguments,
    connection_names,
    lane_keys,
)

MOST_RESOLVED = 1_000
"""Most things that are said to be handled with one request."""

_CHUNK = 100


async def resolve_many(pool: asyncpg.Pool, wanted: Wanted, *, cap: int, reason: str, actor: str, now: datetime) -> int:
    """Take the oldest `cap` things that fit for handled elsewhere: deliveries as done, dead letters as discarded.

    Returns how many; what another hand has changed meanwhile is left alone. Cut off in the middle it has done a part,
    and the same call does the rest. Raises NoFilter and NoSuchConnection.
    """
    async with pool.acquire() as connection:
        given = arguments(wanted, await connection_names(connection))
        lanes = await connection.fetch(_LANES, *given, min(cap, MOST_RESOLVED))
        letters = await connection.fetch(_LETTERS, *given, min(cap, MOST_RESOLVED))
    oldest = sorted([*lanes, *letters], key=lambda row: row["since"])[:cap]
    chosen = [row for row in oldest if row["order_id"] is not None]
    count = 0
    for start_ in range(0, len(chosen), _CHUNK):
        async with pool.acquire() as connection, connection.transaction():
            count += await _resolve(connection, chosen[start_ : start_ + _CHUNK], reason=reason, actor=actor, now=now)
    for row in oldest:
        if row["order_id"] is None:
            count += await discard(pool, row["dead_letter_id"], reason=reason, actor=actor) >= 0
    return count


async def _resolve(
    connection: Connection, rows: Sequence[asyncpg.Record], *, reason: str, actor: str, now: datetime
) -> int:
    """Heads that are still as they were chosen become done."""
    ids = sorted({row["order_id"] for row in rows})
    # Orders before lanes, in key order: intake adds no command meanwhile.
    numbers = dict(
        await connection.fetch(
            "SELECT order_id, number FROM orders WHERE order_id = ANY($1::bigint[]) ORDER BY number FOR UPDATE", ids
        )
    )
    locked = await connection.fetch(LOCK_CHOSEN, *lane_keys(rows))
    names = await connection_names(connection)
    await connection.copy_records_to_table(
        "attempt",
        columns="order_id target_id seq worker_id ended_at took_ms result code private_detail".split(),
        records=[
            (row["order_id"], row["target_id"], row["head"], BY_HAND, now, 0, int(Result.RESOLVED), "by_hand",
             as_private(f"{actor}: {reason}"[:500]))
            for row in locked
        ],
    )  # fmt: skip
    keys = (as_array(row["order_id"] for row in locked), as_array(row["target_id"] for row in locked))
    await connection.execute(_FINISH, *keys)
    await connection.execute(_NEXT, *keys)
    await connection.copy_records_to_table(
        "audit",
        columns="actor action subject private_reason".split(),
        records=[
            (
                actor,
                "delivery.resolve",
                f"{numbers[row['order_id']]}/{names[row['target_id']]}/{row['head']}",
                as_private(reason),
            )
            for row in locked
        ],
    )
    if locked:
        await wake_dispatch(connection, {row["target_id"] for row in locked})
    return len(locked)


_LANES = f"""
SELECT l.order_id, l.target_id, l.head, l.operation, l.blocked, l.not_before AS since, NULL::bigint AS dead_letter_id
  FROM lane l WHERE {LANES_WANTED} AND NOT {LANE_BUSY} ORDER BY l.not_before, l.order_id LIMIT $8
"""
_LETTERS = f"""
SELECT NULL::bigint AS order_id, NULL::smallint AS target_id, NULL::smallint AS head, NULL::text AS operation,
       d.code AS blocked, d.created_at AS since, d.dead_letter_id
  FROM dead_letter d WHERE {LETTERS_WANTED} AND NOT {LETTER_BUSY} ORDER BY d.created_at, d.dead_letter_id LIMIT $8
"""

_RESOLVED = "unnest($1::text::bigint[], $2::text::smallint[]) AS d(order_id, target_id)"
_FINISH = f"""
DELETE FROM lane l USING {_RESOLVED}
 WHERE l.order_id = d.order_id AND l.target_id = d.target_id AND l.tail = l.head
"""
_NEXT = f"""
UPDATE lane l
   SET head = l.head + 1, in_doubt = false, bursts = 0, blocked = NULL, not_before = now(),
       operation = (SELECT n.operation FROM delivery n
                     WHERE n.order_id = l.order_id AND n.target_id = l.target_id AND n.seq = l.head + 1)
  FROM {_RESOLVED}
 WHERE l.order_id = d.order_id AND l.target_id = d.target_id AND l.tail > l.head
"""
