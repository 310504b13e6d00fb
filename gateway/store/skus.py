"""SKU tables: what a shop's SKUs stand for in the warehouse, as people import them and as intake looks them up.

An import and a batch of intake must not pass each other: a batch that found a SKU unmapped commits, and its order is
seen by the import that brings the SKU, or it waits and finds the SKU. Both take an advisory lock of the shop, intake
shared and the import for its last step; locks of rows would not do, sharers that come without end starve a writer of a
row. The version read under the lock tells intake whether what it remembers still holds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from datetime import datetime

import asyncpg
import msgspec

from gateway.core.event import Event
from gateway.core.items import unmapped
from gateway.core.order import Operation, Order, Part, Recipe, Sku
from gateway.store.inbox import put_in
from gateway.store.orders import decode_state
from gateway.store.sql import Connection, as_private
from gateway.store.stock import reconsider

_TABLE_LOCK = 7_262_010
_IMPORT_LOCK = 7_262_011
_REMEMBERED = 500_000
_PAGE = 1000


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What a shop sells under `sku`. `item_id` and `sku_id` are the platform's, for telling it stock levels."""

    sku: Sku
    parts: tuple[Part, ...]
    item_id: str = ""
    sku_id: str = ""
    title: str = ""
    publish: bool = False


class ListingWish(msgspec.Struct, frozen=True, kw_only=True):
    """A listing as an import wants it; None leaves what is there."""

    sku: Sku
    parts: tuple[Part, ...]
    item_id: str | None = None
    sku_id: str | None = None
    title: str | None = None
    publish: bool | None = None

    def over(self, before: Listing | None) -> Listing:
        before = before or Listing(sku=self.sku, parts=())
        return Listing(
            sku=self.sku,
            parts=self.parts,
            item_id=before.item_id if self.item_id is None else self.item_id,
            sku_id=before.sku_id if self.sku_id is None else self.sku_id,
            title=before.title if self.title is None else self.title,
            publish=before.publish if self.publish is None else self.publish,
        )


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the shop was told of a listing's level: `sent` last, at `sent_at`; `refused`: why it takes none now."""

    sent: int | None
    sent_at: datetime | None
    failures: int
    refused: str | None


class SkuImport(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did, or would do. `frees`: orders that a SKU without a row holds, and that this lets go on."""

    applied: bool
    new: int
    changed: int
    unchanged: int
    removed: int
    frees: int


class UnmappedSku(msgspec.Struct, frozen=True, kw_only=True):
    """A SKU that holds `orders` orders; `name` as one of them has it."""

    sku: str
    name: str
    orders: int


class SkuTables:
    """Recipes as intake reads them. Remembers those of a version, those that are not there included."""

    def __init__(self) -> None:
        self._tables: dict[int, tuple[int, dict[Sku, Recipe | None]]] = {}

    async def lock(
        self, connection: Connection, named: Mapping[int, Collection[Sku]]
    ) -> dict[int, Mapping[Sku, Recipe]]:
        """Per connection id the recipes of those SKUs that have one; no import is through before the transaction ends.

        Costs two round trips, and one more where a SKU is new to this process.
        """
        ids = sorted(named)
        # A statement of its own: the next one has to see what was committed while this one waited.
        await connection.execute(
            "SELECT pg_advisory_xact_lock_shared($1, shop) FROM unnest($2::integer[]) AS shop ORDER BY shop",
            _TABLE_LOCK,
            ids,
        )
        versions = dict.fromkeys(ids, 0)
        versions.update(
            await connection.fetch(
                "SELECT connection_id, version FROM sku_table WHERE connection_id = ANY($1::smallint[])", ids
            )
        )
        missing: list[tuple[int, Sku]] = []
        for number in ids:
            kept = self._tables.get(number)
            if kept is None or kept[0] != versions[number] or len(kept[1]) > _REMEMBERED:
                kept = self._tables[number] = (versions[number], {})
            missing += [(number, sku) for sku in named[number] if sku not in kept[1]]
        if missing:
            await self._look_up(connection, missing)
        found: dict[int, Mapping[Sku, Recipe]] = {}
        for number in ids:
            recipes = self._tables[number][1]
            found[number] = {sku: recipe for sku in named[number] if (recipe := recipes[sku]) is not None}
        return found

    async def _look_up(self, connection: Connection, missing: Sequence[tuple[int, Sku]]) -> None:
        rows = await connection.fetch(
            "SELECT l.connection_id, l.sku, c.sku, c.pieces, c.gift"
            "  FROM unnest($1::smallint[], $2::text[]) AS n(connection_id, sku)"
            "  JOIN listing l ON l.connection_id = n.connection_id AND l.sku = n.sku"
            "  JOIN component c USING (listing_id)"
            " ORDER BY c.gift, c.sku",
            [number for number, _ in missing],
            [sku for _, sku in missing],
        )
        parts: dict[tuple[int, Sku], list[Part]] = {}
        for number, sku, part, pieces, gift in rows:
            parts.setdefault((number, Sku(sku)), []).append(Part(Sku(part), pieces, gift))
        for number, sku in missing:
            made = parts.get((number, sku))
            self._tables[number][1][sku] = None if made is None else Recipe(sku, tuple(made))


async def list_listings(
    pool: asyncpg.Pool,
    connection_id: int,
    *,
    prefix: str | None,
    after: str | None,
    limit: int | None,
    refused: bool = False,
) -> list[tuple[Listing, Told]]:
    """Listings of a shop in SKU order. `after`: the last one seen; `limit` None: all; `refused`: only those."""
    async with pool.acquire() as connection:
        return await _listings(connection, connection_id, prefix=prefix, after=after, limit=limit, refused=refused)


async def unmapped_skus(pool: asyncpg.Pool, connection_ids: Sequence[int], *, limit: int) -> list[UnmappedSku]:
    """The SKUs that hold orders of a shop because nothing stands for them, those that hold most first.

    `connection_ids`: its own, and those that it had under other names.
    """
    held: dict[str, tuple[str, int]] = {}
    async with pool.acquire() as connection, connection.transaction():
        async for row in connection.cursor(_HELD, connection_ids, prefetch=_PAGE):
            try:
                order = decode_state(row[1])
            except msgspec.MsgspecError:
                continue
            if order.content is None:
                continue
            lines = order.content.value.lines
            for sku in unmapped(lines, order.recipes):
                name, count = held.get(sku, ("", 0))
                held[sku] = (name or next(line.name for line in lines if line.sku == sku), count + 1)
    rows = [UnmappedSku(sku=sku, name=name, orders=count) for sku, (name, count) in held.items()]
    return sorted(rows, key=lambda row: (-row.orders, row.sku))[:limit]


async def import_skus(
    pool: asyncpg.Pool,
    connection_ids: Sequence[int],
    wishes: Sequence[ListingWish],
    *,
    replace: bool,
    dry_run: bool,
    reason: str,
    actor: str,
    now: datetime,
) -> SkuImport:
    """Make a shop's table what `wishes` say, all or nothing; with `replace` what they do not name is removed.

    `connection_ids`: its own, and those that it had under other names, whose orders go by its table. Orders that wait,
    and name a SKU that changed, are decided again. With `dry_run` nothing is written.
    """
    connection_id = connection_ids[0]
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1, $2)", _IMPORT_LOCK, connection_id)
        before = {
            listing.sku: listing
            for listing, _ in await _listings(connection, connection_id, prefix=None, after=None, limit=None)
        }
        after = {wish.sku: wish.over(before.get(wish.sku)) for wish in wishes}
        new = [listing for sku, listing in after.items() if sku not in before]
        changed = [listing for sku, listing in after.items() if sku in before and before[sku] != listing]
        removed = sorted(before.keys() - after.keys()) if replace else []
        known = {sku for sku, listing in before.items() if listing.parts} - set(removed) | after.keys()
        touched = {listing.sku for listing in new} | set(removed)
        touched |= {listing.sku for listing in changed if listing.parts != before[listing.sku].parts}
        if not dry_run and (new or changed or removed):
            await _write(connection, connection_id, new=new, changed=changed, removed=removed)
            # Now, and not earlier: while this waits for the batches that have read the old table, new ones wait.
            await connection.execute("SELECT pg_advisory_xact_lock($1, $2)", _TABLE_LOCK, connection_id)
            await connection.execute(
                "INSERT INTO sku_table (connection_id, version) VALUES ($1, 1)"
                " ON CONFLICT (connection_id) DO UPDATE SET version = sku_table.version + 1, changed_at = now()",
                connection_id,
            )
        frees, events = await _waiting_for(connection, connection_ids, touched, known, now) if touched else (0, [])
        done = SkuImport(
            applied=not dry_run,
            new=len(new),
            changed=len(changed),
            unchanged=len(after) - len(new) - len(changed),
            removed=len(removed),
            frees=frees,
        )
        if not dry_run:
            if events:
                await put_in(connection, events)
            await connection.execute(
                "INSERT INTO audit (actor, action, subject, private_reason)"
                " SELECT $1, 'skus.import', name || $3::text, $4 FROM connection WHERE connection_id = $2",
                actor,
                connection_id,
                f": {len(new)} new, {len(changed)} changed, {len(removed)} removed",
                as_private(reason),
            )
    return done


async def publish_again(
    pool: asyncpg.Pool, connection_id: int, *, skus: Collection[str] | None, refused: bool, reason: str, actor: str
) -> int:
    """Have levels told again although nothing changed, refused ones included; how many listings that is.

    `skus` None: of the whole shop; `refused`: only of those the shop takes none of.
    """
    async with pool.acquire() as connection, connection.transaction():
        status = await connection.execute(
            "UPDATE listing"
            "   SET sent = NULL, sending = NULL, refused = NULL, failures = 0, not_before = '-infinity',"
            "       changed_at = now()"
            " WHERE connection_id = $1 AND publish AND ($2::text[] IS NULL OR sku = ANY($2))"
            " AND (NOT $3 OR refused IS NOT NULL)",
            connection_id,
            None if skus is None else sorted(skus),
            refused,
        )
        count = int(status.rsplit(" ", 1)[1])
        await connection.execute(
            "INSERT INTO audit (actor, action, subject, private_reason)"
            " SELECT $1, 'skus.publish', name || $3::text, $4 FROM connection WHERE connection_id = $2",
            actor,
            connection_id,
            f": {count} listings",
            as_private(reason),
        )
    return count


async def _listings(
    connection: Connection,
    connection_id: int,
    *,
    prefix: str | None,
    after: str | None,
    limit: int | None,
    refused: bool = False,
) -> list[tuple[Listing, Told]]:
    rows = await connection.fetch(_LISTINGS, connection_id, prefix, after, limit, refused)
    return [
        (
            Listing(
                sku=Sku(row["sku"]),
                parts=tuple(
                    [
                        Part(Sku(sku), pieces, gift)
                        for sku, pieces, gift in zip(row["parts"], row["pieces"], row["gifts"], strict=True)
                    ]
                ),
                item_id=row["item_id"],
                sku_id=row["sku_id"],
                title=row["title"],
                publish=row["publish"],
            ),
            Told(sent=row["sent"], sent_at=row["sent_at"], failures=row["failures"], refused=row["refused"]),
        )
        for row in rows
    ]


async def _write(
    connection: Connection,
    connection_id: int,
    *,
    new: Sequence[Listing],
    changed: Sequence[Listing],
    removed: Sequence[str],
) -> None:
    if removed:
        await connection.execute(
            "DELETE FROM listing WHERE connection_id = $1 AND sku = ANY($2::text[])", connection_id, removed
        )
    if changed:
        await connection.execute(_UPDATE, connection_id, *_columns(changed))
        await connection.execute(
            "DELETE FROM component c USING listing l"
            " WHERE l.listing_id = c.listing_id AND l.connection_id = $1 AND l.sku = ANY($2::text[])",
            connection_id,
            [listing.sku for listing in changed],
        )
    if new:
        await connection.execute(_INSERT, connection_id, *_columns(new))
    written = {listing.sku: listing.parts for listing in (*new, *changed)}
    if not written:
        return
    rows = await connection.fetch(
        "SELECT listing_id, sku FROM listing WHERE connection_id = $1 AND sku = ANY($2::text[])",
        connection_id,
        list(written),
    )
    await connection.copy_records_to_table(
        "component",
        columns="listing_id sku pieces gift".split(),
        records=[(row[0], part.sku, part.pieces, part.gift) for row in rows for part in written[row[1]]],
    )


def _columns(listings: Iterable[Listing]) -> list[list[object]]:
    rows = [(one.sku, one.item_id, one.sku_id, one.title, one.publish) for one in listings]
    return [list(column) for column in zip(*rows, strict=True)]


async def _waiting_for(
    connection: Connection, connection_ids: Sequence[int], touched: Set[Sku], known: Set[Sku], now: datetime
) -> tuple[int, list[Event]]:
    """How many held orders have all their SKUs in `known` now, and the wish to decide those that name one `touched`.

    One that was sent is left alone, unless it has been changed since and is held for a SKU that nothing stood for.
    """
    frees, events = 0, []
    async for row in connection.cursor(_WAITING, connection_ids, prefetch=_PAGE):
        try:
            order = decode_state(row[1])
        except msgspec.MsgspecError:
            continue
        skus, held = _skus(order), "unmapped_sku" in order.reasons
        if skus.isdisjoint(touched) or (order.issued(Operation.CREATE) is not None and not held):
            continue
        frees += held and skus <= known
        events.append(reconsider(row[0], order.connection, now))
    return frees, events


def _skus(order: Order) -> set[Sku]:
    return set() if order.content is None else {line.sku for line in order.content.value.lines}


_LISTINGS = """
SELECT l.sku, l.item_id, l.sku_id, l.title, l.publish, l.sent, l.sent_at, l.failures, l.refused,
       coalesce(p.parts, '{}') AS parts, coalesce(p.pieces, '{}') AS pieces, coalesce(p.gifts, '{}') AS gifts
  FROM listing l
  LEFT JOIN LATERAL (
       SELECT array_agg(c.sku ORDER BY c.gift, c.sku) AS parts, array_agg(c.pieces ORDER BY c.gift, c.sku) AS pieces,
              array_agg(c.gift ORDER BY c.gift, c.sku) AS gifts
         FROM component c WHERE c.listing_id = l.listing_id) p ON true
 WHERE l.connection_id = $1 AND ($2::text IS NULL OR starts_with(l.sku, $2)) AND ($3::text IS NULL OR l.sku > $3)
   AND (NOT $5 OR l.refused IS NOT NULL)
 ORDER BY l.sku
 LIMIT $4
"""

_INSERT = """
INSERT INTO listing (connection_id, sku, item_id, sku_id, title, publish)
SELECT $1, n.* FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[]) AS n
"""

# What the shop was told holds only for the same item, and while nobody else could have told it something. So does the
# answer to a call under way: without `sending` it is not noted.
_UPDATE = """
UPDATE listing l
   SET item_id = n.item_id, sku_id = n.sku_id, title = n.title, publish = n.publish, changed_at = now(),
       sent = CASE WHEN l.item_id = n.item_id AND l.sku_id = n.sku_id AND l.publish AND n.publish THEN l.sent END,
       sending = CASE WHEN l.item_id = n.item_id AND l.sku_id = n.sku_id AND l.publish AND n.publish THEN l.sending END,
       refused = NULL, failures = 0, not_before = '-infinity'
  FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[]) AS n(sku, item_id, sku_id, title, publish)
 WHERE l.connection_id = $1 AND l.sku = n.sku
"""

_WAITING = """
SELECT number, state FROM orders
 WHERE stage IN ('received', 'reviewed') AND connection_id = ANY($1::smallint[])
 ORDER BY order_id
"""

_HELD = """
SELECT number, state FROM orders
 WHERE stage IN ('received', 'reviewed') AND connection_id = ANY($1::smallint[]) AND reasons LIKE '%unmapped\\_sku%'
"""
