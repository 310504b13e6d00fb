"""Already handled: what a redrive that resolves does with its items, on its author's word and for good."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from gateway.core.delivery import Result
from gateway.store.dead import discard_in, lock_letters
from gateway.store.orders import wake_dispatch
from gateway.store.repair import BY_HAND
from gateway.store.sql import Connection, as_array, as_private
from gateway.store.wanted import LOCK_CHOSEN, connection_names, lane_keys

MOST_RESOLVED = 1_000
"""Most things that are said to be handled with one request."""


async def resolve_lanes(
    connection: Connection, items: Sequence[asyncpg.Record], *, reason: str, actor: str
) -> list[tuple[int, int]]:
    """Take heads for done that are still blocked as they were chosen: (order id, target id) of those that were.

    Inside the caller's transaction. One that was sent again and is blocked once more is not as it was: `not_before`,
    since when it is, has moved.
    """
    ids = sorted({item["order_id"] for item in items})
    # Orders before lanes, in key order: intake adds no command meanwhile.
    numbers = dict(
        await connection.fetch(
            "SELECT order_id, number FROM orders WHERE order_id = ANY($1::bigint[]) ORDER BY number FOR UPDATE", ids
        )
    )
    since = {(item["order_id"], item["target_id"]): item["not_before"] for item in items}
    locked = [
        row
        for row in await connection.fetch(LOCK_CHOSEN, *lane_keys(items))
        if row["not_before"] == since[row["order_id"], row["target_id"]]
    ]
    if not locked:
        return []
    now = await connection.fetchval("SELECT clock_timestamp()")
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
    await wake_dispatch(connection, {row["target_id"] for row in locked})
    return [(row["order_id"], row["target_id"]) for row in locked]


async def resolve_letters(connection: Connection, ids: Sequence[int], *, reason: str, actor: str) -> list[int]:
    """Discard those of these dead letters that are still open: their ids. Inside the caller's transaction."""
    await lock_letters(connection, ids)
    return [one for one in ids if await discard_in(connection, one, reason=reason, actor=actor) >= 0]


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
