"""Stock levels of a shop's listings: what each may sell now, and what the shop has been told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import asyncpg
import msgspec

from gateway.core.access import Level
from gateway.store.sql import as_plain

REFUSED_AGAIN = (timedelta(minutes=10), timedelta(hours=6))
"""A refused level is told again after as long as its listing has been refused, but within these: twice as long each
time."""


class LevelRule(msgspec.Struct, frozen=True, kw_only=True):
    """How much of what is available a shop may sell: what the `warehouses` have together, less `keep_back` pieces of
    each listing, and of the rest this share, rounded down."""

    warehouses: tuple[str, ...]
    keep_back: int = 0
    share: float = 1.0


class DueLevel(msgspec.Struct, frozen=True):
    """A level that the shop has to be told; `failures`: so often in a row it did not work.

    `begun_at`: when it was noted as being told. What the shop sells from then on it may count off the new level.
    """

    listing_id: int
    level: Level
    failures: int
    begun_at: datetime | None = None


async def due_levels(
    pool: asyncpg.Pool, connection_id: int, rule: LevelRule, *, limit: int, changed_within_s: float | None = None
) -> list[DueLevel]:
    """Published listings whose level is another one than the shop was told, and that may be told now.

    First those of which the shop would sell too many, then those that have waited longest; refused levels that are only
    tried again come last. A listing may be sold as often as its scarcest part allows, counted in each warehouse alone:
    parts of one bundle leave from one place.

    `changed_within_s` looks only at listings that were changed, or whose stock moved, so lately. What began earlier and
    was committed since, and what had to wait for its time, is found by looking at all of them (None), which takes
    about 8 ms per 1,000 listings instead of 3 ms together.
    """
    arguments: list[object] = [
        connection_id,
        list(rule.warehouses),
        rule.keep_back,
        Decimal(str(rule.share)),
        limit,
    ]
    if changed_within_s is not None:
        arguments.append(changed_within_s)
    rows = await pool.fetch(
        f"{_levels('' if changed_within_s is None else '$6')} SELECT * FROM level v WHERE {_DUE}"
        " ORDER BY refused AND coalesce(quantity >= refused_level, true), coalesce(quantity < told, true) DESC,"
        " sent_at NULLS FIRST LIMIT $5",
        *arguments,
    )
    return [_due(row) for row in rows]


async def forget_sold(pool: asyncpg.Pool, connection_id: int, *, changed_within_s: float) -> None:
    """Take for unknown what the shop has of listings of which it sold, or closed an order, since it was told.

    Platforms count those by themselves, some when an order is placed and some when it is paid. Mostly the level is
    another one by then, and told in any case. It may be the same again, now or by the time that it can be told: by the
    rounding of a share, because as many pieces came back or in, because a paid order was told when it was placed, or
    because the order left from a warehouse that does not count for the level. An order has to have moved all parts of a
    listing: a box that every bundle has says nothing of which bundle was sold. Of what moves nothing whoever decides
    takes care (`gateway.store.orders`).
    """
    await pool.execute(
        f"WITH sold AS ({_SOLD})"
        # A row that somebody else has locked is found by the next look: nobody is waited for, so no deadlock.
        " UPDATE listing SET sent = NULL WHERE listing_id IN (SELECT l.listing_id"
        " FROM sold JOIN listing l USING (listing_id)"
        " WHERE l.connection_id = $1 AND l.sent IS NOT NULL AND sold.at > l.sent_at FOR UPDATE OF l SKIP LOCKED)",
        connection_id,
        changed_within_s,
    )


async def begin(
    pool: asyncpg.Pool, connection_id: int, rule: LevelRule, due: DueLevel, *, worker_id: int
) -> DueLevel | None:
    """The newest level of `due`'s listing, noted as being told by the shop's owner.

    None when there is nothing to tell any more, or this worker is not the owner any more.

    Noted first: a level whose answer is never heard may have arrived. What the shop has is then not known, and it is
    told again even where the level went back meanwhile to what it was told before.
    """
    row = await pool.fetchrow(
        f"{_levels()} UPDATE listing l SET sending = v.quantity,"
        " sent = CASE WHEN l.sending IS NULL THEN l.sent END FROM level v"
        f" WHERE l.listing_id = v.listing_id AND v.listing_id = $5 AND {_DUE}"
        " AND EXISTS (SELECT 1 FROM duty WHERE connection_id = $1 AND worker_id = $6 FOR KEY SHARE)"
        " RETURNING v.*, now()",
        connection_id,
        list(rule.warehouses),
        rule.keep_back,
        Decimal(str(rule.share)),
        due.listing_id,
        worker_id,
    )
    return None if row is None else msgspec.structs.replace(_due(row), begun_at=row[-1])


async def told(pool: asyncpg.Pool, due: DueLevel) -> None:
    """The shop has taken the level."""
    await pool.execute(
        "UPDATE listing SET sent = $2, sent_at = coalesce($3, now()), sending = NULL, failures = 0,"
        " not_before = '-infinity', refused = NULL WHERE listing_id = $1 AND sending = $2",
        due.listing_id,
        due.level.quantity,
        due.begun_at,
    )


async def untold(pool: asyncpg.Pool, due: DueLevel, *, again_in_s: float, failed: bool, arrived: bool) -> None:
    """The level was not taken, or nobody knows (`arrived`): tell it again after a while; `failed` counts against it."""
    await pool.execute(
        "UPDATE listing SET not_before = now() + make_interval(secs => $2), sending = CASE WHEN $4 THEN sending END,"
        " failures = least(failures + $3::integer, 30000), refused_level = NULL WHERE listing_id = $1 AND sending = $5",
        due.listing_id,
        again_in_s,
        int(failed),
        arrived,
        due.level.quantity,
    )


async def forget_told(pool: asyncpg.Pool, connection_ids: Sequence[int]) -> None:
    """These shops are not told levels now, so somebody else may tell them some: what they have or take is not known.

    Nor is it anybody's business any more that they did not get through.
    """
    await pool.execute(
        "UPDATE listing SET sent = NULL, refused = NULL, failures = 0,"
        " not_before = CASE WHEN refused IS NULL THEN not_before ELSE '-infinity' END"
        " WHERE connection_id = ANY($1::smallint[]) AND (sent IS NOT NULL OR refused IS NOT NULL OR failures > 0)",
        connection_ids,
    )


async def refuse(pool: asyncpg.Pool, due: DueLevel, why: str, *, lower_in_s: float) -> None:
    """The shop does not take the level. The listing is told again as `REFUSED_AGAIN` says, whatever its level is then.

    A lower level does not wait for that, or it would be sold too often: only for `lower_in_s`, so that a listing that
    sells every second is not a call every second; and 0, which nothing is below, not at all.
    """
    least, most = REFUSED_AGAIN
    await pool.execute(
        "UPDATE listing l SET refused = $2, refused_at = f.at, refused_level = $3, sending = NULL,"
        " failures = least(failures + 1, 30000), lower_from = now() + make_interval(secs => $4),"
        " not_before = now() + least(greatest(now() - f.at, $5), $6)"
        "  FROM (SELECT CASE WHEN refused IS NULL THEN now() ELSE coalesce(refused_at, now()) END AS at"
        "          FROM listing WHERE listing_id = $1) f"
        " WHERE l.listing_id = $1 AND l.sending = $3",
        due.listing_id,
        as_plain(why)[:500],
        due.level.quantity,
        lower_in_s,
        least,
        most,
    )


def _due(row: Sequence[object]) -> DueLevel:
    listing_id, sku, item_id, sku_id, quantity, failures = row[:6]
    return DueLevel(listing_id, Level(sku, quantity, item_id, sku_id), failures)  # type: ignore[arg-type]


def _levels(lately: str = "") -> str:
    """The levels of all published listings, or of those changed within so many seconds (`$6`), as the table `level`.

    `told` is null while nobody knows what the shop has. Those that changed are found first and by themselves: asked in
    one, PostgreSQL computes every level and throws most of them away.
    """
    changed = f"changed AS MATERIALIZED ({_CHANGED.format(lately=lately)})," if lately else ""
    listings = "changed JOIN listing l USING (listing_id)" if lately else "listing l"
    return f"""
WITH {changed} most AS (
    SELECT l.listing_id, w.warehouse, min(coalesce(s.on_hand - s.locked - s.committed, 0) / c.pieces) AS pieces
      FROM {listings}
      JOIN component c ON c.listing_id = l.listing_id AND NOT c.gift
     CROSS JOIN unnest($2::text[]) AS w(warehouse)
      LEFT JOIN stock s ON s.sku = c.sku AND s.warehouse = w.warehouse
     WHERE l.connection_id = $1 AND l.publish
       AND (l.not_before <= now() OR l.refused IS NOT NULL AND l.refused_level > 0)
     GROUP BY l.listing_id, w.warehouse
), level AS (
    SELECT l.listing_id, l.sku, l.item_id, l.sku_id, least(floor(greatest(m.pieces - $3, 0) * $4::numeric),
           2000000000)::integer AS quantity, l.failures, l.sent_at,
           CASE WHEN l.sending IS NULL THEN l.sent END AS told,
           l.refused IS NOT NULL AS refused, l.refused_level, l.not_before, l.lower_from
      FROM (SELECT listing_id, sum(pieces) AS pieces FROM most GROUP BY listing_id) m JOIN listing l USING (listing_id)
)
"""


_CHANGED = """
    SELECT listing_id FROM listing
     WHERE connection_id = $1 AND publish AND changed_at > now() - make_interval(secs => {lately})
     UNION
    SELECT c.listing_id
      FROM (SELECT DISTINCT stock_id FROM movement WHERE moved_at > now() - make_interval(secs => {lately})) m
      JOIN stock s ON s.stock_id = m.stock_id AND s.warehouse = ANY($2)
      JOIN component c ON c.sku = s.sku
"""

_SOLD = """
    SELECT listing_id, max(at) AS at
      FROM (SELECT c.listing_id, max(m.moved_at) AS at, count(DISTINCT c.sku) AS parts
              FROM movement m
              JOIN orders o ON o.order_id = m.order_id AND o.connection_id = $1
              JOIN stock s ON s.stock_id = m.stock_id
              JOIN component c ON c.sku = s.sku AND NOT c.gift
             WHERE m.moved_at > now() - make_interval(secs => $2)
               AND m.moved_at <= now()  -- or it would be told with every look once the clock has been set back
               AND (m.on_hand <> m.locked + m.committed OR (m.on_hand = 0 AND m.committed > 0))
             GROUP BY c.listing_id, m.order_id) m
      JOIN (SELECT listing_id, count(*) AS parts FROM component WHERE NOT gift GROUP BY listing_id) p
     USING (listing_id, parts)
     GROUP BY listing_id
"""

_DUE = (
    # Also where the level is back to what the shop has: only its answer says that it takes levels again.
    "(v.quantity IS DISTINCT FROM v.told OR v.refused) AND (v.not_before <= now()"
    " OR v.refused AND v.quantity < v.refused_level AND (v.quantity = 0 OR v.lower_from <= now()))"
)
