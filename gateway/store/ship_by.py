"""Orders that no warehouse has, though the shop wants them shipped soon or wanted them shipped already; read only.

None of the millions that are stored is looked at for this: what waits is few, and has its tables and partial indexes.
What waits for the buyer or the channel (`WAIT_FOR_OTHERS`) is not late by anything that we could do, unless an event of
it is a dead letter. What has only just been decided is on its way, and not counted.
"""

from __future__ import annotations

from datetime import timedelta

from gateway.core.delivery import Result
from gateway.core.notice import PAST, Nearing
from gateway.store.sql import Connection
from gateway.store.work import IS_HELD

LOOK_EVERY_S = 15.0
"""Looking costs 2 to 4 µs for each order that waits, near or not, and 10 where it is not in the server's memory; what
is looked for is told in hours."""
UNDER_WAY = timedelta(seconds=60)
"""So long an order that could be sent at once may be on its way."""


async def near_ship_by(connection: Connection, lead: timedelta) -> dict[tuple[str, str], Nearing]:
    """Shop → its orders that no warehouse has and that are to be shipped within `lead`, and apart (`PAST`) that were.

    By the database's clock. What stands behind a dead letter counts where its order is known; of an event that was
    never decided nothing is.
    """
    async with connection.transaction():
        # Where the tables' statistics are old or none, all that are stored look like few.
        await connection.execute("SET LOCAL enable_seqscan = off")
        rows = await connection.fetch(_COUNT, lead, UNDER_WAY)
    return {(row[0], row[1]): Nearing(row[2], row[3], row[4]) for row in rows}


IS_WITHDRAWN = f"""EXISTS (
    SELECT 1 FROM attempt a WHERE a.order_id = d.order_id AND a.target_id = d.target_id AND a.seq = d.seq
       AND a.result = {int(Result.WITHDRAWN)} OFFSET 0)"""
"""Of a delivery `d`."""

# $1 is how near, $2 `UNDER_WAY`. OFFSET 0 has each row looked up by its key: where many wait the planner would rather
# read all that are stored. A `create` that is open has a lane; one that was planned and has none any more has been
# sent, was taken for handled, or was withdrawn.
_UNSENT = f"""
o.ship_by < now() + $1::interval
   AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.order_id = o.order_id AND d.operation = 'create'
       AND NOT {IS_WITHDRAWN} OFFSET 0)
"""
NEAR = f"""
SELECT o.order_id, o.connection_id, o.created_at, o.ship_by
  FROM lane l
 CROSS JOIN LATERAL (SELECT * FROM orders o WHERE o.order_id = l.order_id OFFSET 0) o
 WHERE l.operation = 'create' AND l.opened_at < now() - $2::interval AND o.ship_by < now() + $1::interval
UNION ALL
SELECT o.order_id, o.connection_id, o.created_at, o.ship_by FROM orders o
 WHERE {IS_HELD} AND {_UNSENT}
UNION ALL
SELECT o.order_id, o.connection_id, o.created_at, o.ship_by
  FROM (SELECT DISTINCT number FROM dead_letter WHERE closed_at IS NULL AND number <> '') l
 CROSS JOIN LATERAL (SELECT * FROM orders o WHERE o.number = l.number OFFSET 0) o
 WHERE o.reasons <> '' AND NOT ({IS_HELD}) AND {_UNSENT}
"""
_COUNT = f"""
SELECT coalesce(c.name, ''), n.over, count(*),
       min(greatest(n.ship_by - CASE n.over WHEN '' THEN $1::interval ELSE '0' END, n.created_at)), min(n.ship_by)
  FROM (SELECT *, CASE WHEN ship_by < now() THEN '{PAST}' ELSE '' END AS over FROM ({NEAR}) o) n
  LEFT JOIN connection c USING (connection_id)
 GROUP BY 1, 2
"""
