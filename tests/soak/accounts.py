"""The accounts of a simulated time, compared: the platforms' books, the warehouses', and the gateway's database.

`gather` reads them once everything has come to rest; `check` names every contradiction and lists what still waits, with
its reason. The gateway's own word is never enough: what must have happened follows from the platforms' books.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import zstandard

from gateway.core.event import ConnectionName, Event, EventId
from gateway.core.order import Facts, Operation, Order, RefundStatus
from gateway.core.sound import Decode
from gateway.store.orders import decode_state
from gateway.testing.fakes import Effect
from tests.chaos.checker import Violation
from tests.soak.town import WAREHOUSES, Fate, Shop, Sold, Standing

KINDS = (
    "lost",  # paid, free and to be sent, and its warehouse has no document (or has cancelled it)
    "sent_wrongly",  # a document of an order that was never to be sent, or at the wrong warehouse
    "doubled",  # a second document, or a parcel or line that a shop was told twice
    "pieces",  # the document has other pieces than the order stands for
    "not_stopped",  # stopped at the shop, left all the same, and nobody is told
    "untold",  # a parcel that its shop does not know of, or knows wrongly
    "stock",  # balance, ledger, bookings and what was shipped do not agree
    "level",  # a shop was told another level than what it may sell
    "waiting",  # something waits for no reason that the books give
)


class AtWms(msgspec.Struct, kw_only=True):
    """What one warehouse did for one order. `parcels`: tracking numbers of what left."""

    documents: int = 0
    cancelled: bool = False
    pieces: dict[str, int] = {}
    shipped: dict[str, int] = {}
    parcels: list[str] = []
    created_at: float = 0.0
    status: str = ""


class AtShop(msgspec.Struct, frozen=True, kw_only=True):
    """What a shop knows of one order. `complete`: it was told of all that left, each line or parcel once."""

    sold: Sold
    standing: Standing
    target: str
    pieces: dict[str, int]
    told: list[str]
    complete: bool


class Known(msgspec.Struct, frozen=True):
    """An order in the gateway. `left_first`: the events that say it has left whole were committed before any that says
    it is stopped, or together with the first of those."""

    order: Order
    stage: str
    left_first: bool


class Waiting(msgspec.Struct, frozen=True):
    """An open lane; `blocked` None: something is still to be sent."""

    number: str
    target: str
    operation: str
    blocked: str | None


class Place(msgspec.Struct, frozen=True):
    """One balance; `moved` is the ledger's sum."""

    opening: int
    on_hand: int
    locked: int
    committed: int
    moved: tuple[int, int, int]

    @property
    def available(self) -> int:
        return self.on_hand - self.locked - self.committed


class Listing(msgspec.Struct, frozen=True):
    """A published listing: what the shop's platform says may be sold (None: nothing yet), and what may be."""

    shop: str
    sku: str
    at_shop: int | None
    parts: tuple[tuple[str, int], ...]
    warehouse: str


class Accounts(msgspec.Struct, kw_only=True):
    """All of it. `wms`: target → order number → what it did."""

    shops: dict[str, AtShop]
    wms: dict[str, dict[str, AtWms]]
    known: dict[str, Known]
    lanes: list[Waiting]
    dead_letters: list[str]
    inbox: int
    stock: dict[tuple[str, str], Place]
    listings: list[Listing]


class Verdict(msgspec.Struct, kw_only=True):
    """`rests`: what waits at the end and has a reason to, by that reason."""

    violations: list[Violation]
    rests: dict[str, int]


# The server has `track_commit_timestamp` on: row numbers and clocks do not tell what was decided before what.
_EVENTS = """
SELECT number, name, event_id, type, happened_at, body, pg_xact_commit_timestamp(event.xmin)
  FROM event JOIN orders USING (order_id) JOIN connection ON connection.connection_id = event.connection_id
 WHERE number = ANY($1)
 ORDER BY 7
"""


# --- reading -----------------------------------------------------------------------------------------------------


def read_wms(journal: Path) -> dict[str, AtWms]:
    """What a warehouse did, from its journal."""
    found: dict[str, AtWms] = defaultdict(AtWms)
    for line in journal.read_bytes().split(b"\n")[:-1]:
        effect = msgspec.json.decode(line, type=Effect)
        at = found[effect.order]
        match effect.command:
            case "create":
                at.documents += 1
                at.pieces = dict(effect.items)
                at.created_at = at.created_at or effect.at
            case "cancel":
                at.cancelled = True
            case "ship" | "ship_part":
                part = 1 if effect.command == "ship_part" else 2
                at.parcels.append(f"78{blake2b(f'{effect.order}/{part}'.encode(), digest_size=5).hexdigest()}")
                for sku, pieces in effect.items.items():
                    at.shipped[sku] = at.shipped.get(sku, 0) + pieces
        at.status = effect.command
    return dict(found)


async def left_first(
    connection: asyncpg.Connection, decoders: Mapping[ConnectionName, Decode], orders: Mapping[str, AtShop]
) -> set[str]:
    """The numbers of those of `orders` whose last parcel was heard of before their stop, or in one transaction with
    it."""
    left: dict[str, Any] = {}
    stopped: dict[str, Any] = {}
    decompress = zstandard.ZstdDecompressor().decompress
    for number, source, event_id, kind, time, body, committed in await connection.fetch(_EVENTS, list(orders)):
        at = orders[number]
        key = at.sold.no if source == at.sold.shop else number
        event = Event(id=EventId(event_id), source=source, type=kind, order_key=key, time=time, body=decompress(body))
        facts = decoders[source](event)
        if source == at.target and any(confirmation.final for confirmation in facts.confirmations):
            left.setdefault(number, committed)
        if _stops(facts):
            stopped.setdefault(number, committed)
    return {number for number in left if number not in stopped or left[number] <= stopped[number]}


def _stops(facts: Facts) -> bool:
    closed = facts.closing is not None and facts.closing.closed
    return closed or any(refund.status is not RefundStatus.REJECTED for refund in facts.refunds)


async def gather(
    url: str,
    *,
    shops: Mapping[str, Shop],
    sold: Sequence[Sold],
    journals: Mapping[str, Path],
    opening: int,
    decoders: Mapping[ConnectionName, Decode],
) -> Accounts:
    wms = {target: read_wms(journal) for target, journal in journals.items()}
    at_shops = {}
    for one in sold:
        shop = shops[one.shop]
        parcels = wms[shop.target].get(one.number, AtWms()).parcels
        at_shops[one.number] = AtShop(
            sold=one,
            standing=shop.standing(one),
            target=shop.target,
            pieces=shop.pieces(one.lines),
            told=shop.told(one),
            complete=shop.is_told(one, parcels),
        )
    listings = [
        Listing(
            shop.name,
            row.sku,
            shop.levels.get((row.item_id or "", row.sku_id or "")),
            tuple((str(part.sku), part.pieces) for part in row.parts if not part.gift),
            shop.warehouse,
        )
        for shop in shops.values()
        for row in shop.table()
        if row.publish
    ]
    connection = await asyncpg.connect(url, timeout=10)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            stopped = {number: at for number, at in at_shops.items() if at.standing.stopped}
            left = await left_first(connection, decoders, stopped)
            rows = await connection.fetch("SELECT order_id, number, stage, state FROM orders")
            numbers = {row[0]: row[1] for row in rows}
            lanes = await connection.fetch(
                "SELECT order_id, c.name, operation, blocked FROM lane JOIN connection c ON connection_id = target_id"
            )
            letters = await connection.fetch("SELECT number, code FROM dead_letter WHERE closed_at IS NULL")
            stock = await connection.fetch(
                "SELECT sku, warehouse, s.on_hand, s.locked, s.committed, coalesce(l.on_hand, 0),"
                " coalesce(l.locked, 0), coalesce(l.committed, 0) FROM stock s LEFT JOIN ledger l USING (stock_id)"
            )
            coming = [row[0] for row in await connection.fetch("SELECT inbox_id FROM inbox")]
        inbox = await _undecided(connection, coming)
    finally:
        await connection.close()
    return Accounts(
        shops=at_shops,
        wms=wms,
        known={row[1]: Known(decode_state(row[3]), row[2], row[1] in left) for row in rows},
        lanes=[Waiting(numbers[row[0]], row[1], row[2], row[3]) for row in lanes],
        dead_letters=[f"{row[0]}: {row[1]}" for row in letters],
        inbox=inbox,
        stock={(row[0], row[1]): Place(opening, row[2], row[3], row[4], (row[5], row[6], row[7])) for row in stock},
        listings=listings,
    )


async def _undecided(connection: asyncpg.Connection, coming: Sequence[int]) -> int:
    """How many of these rows of the inbox stay there.

    The shops are polled on: what is read once more of the overlap of two windows may come at this very instant.
    """
    for _ in range(150):
        left = await connection.fetchval("SELECT count(*) FROM inbox WHERE inbox_id = ANY($1::bigint[])", coming)
        if not left:
            return 0
        await asyncio.sleep(0.2)
    return int(left)


# --- comparing ---------------------------------------------------------------------------------------------------


def check(accounts: Accounts) -> Verdict:
    """Every contradiction between the accounts, and what waits for a reason."""
    rests: Counter[str] = Counter()
    found = [
        *_documents(accounts),
        *_stopped(accounts, rests),
        *_told(accounts, rests),
        *_stock(accounts),
        *_levels(accounts),
        *_waiting(accounts, rests),
    ]
    return Verdict(violations=sorted(found), rests=dict(rests))


def _documents(accounts: Accounts) -> Iterator[Violation]:
    """Documents at the warehouses against what the platforms' books ask for."""
    for number, at in accounts.shops.items():
        documents = {target: books[number].documents for target, books in accounts.wms.items() if number in books}
        for target, count in documents.items():
            if count > 1:
                yield Violation("doubled", number, f"{target} has {count} documents")
            if count and target != at.target:
                yield Violation("sent_wrongly", number, f"{target} has a document, its warehouse is {at.target}")
        here = accounts.wms[at.target].get(number, AtWms())
        if here.documents and here.pieces != at.pieces:
            yield Violation("pieces", number, f"the document has {here.pieces}, the order stands for {at.pieces}")
        standing = at.standing
        if not standing.paid and here.documents:
            yield Violation("sent_wrongly", number, "was never paid, and the warehouse has a document")
        if standing.held and here.documents:
            yield Violation("sent_wrongly", number, "was held from the beginning, and the warehouse has a document")
        if standing.paid and not standing.held and not standing.stopped:
            known = accounts.known.get(number)
            reopened = known is not None and "reopened_after_cancel" in known.order.conflicts
            if not here.documents:
                yield Violation("lost", number, f"paid and free ({at.sold.fate.value}), {at.target} has no document")
            elif here.cancelled and not reopened:
                yield Violation("lost", number, f"{at.target} has cancelled it, and the shop has not")
            elif not here.cancelled and here.shipped != at.pieces:
                yield Violation("pieces", number, f"{at.target} has shipped {here.shipped} of {at.pieces}")
    for target, books in accounts.wms.items():
        for number, at_wms in books.items():
            if at_wms.documents and number not in accounts.shops:
                yield Violation("sent_wrongly", number, f"{target} has a document of an order that nobody placed")


def _stopped(accounts: Accounts, rests: Counter[str]) -> Iterator[Violation]:
    """What was stopped at the shop and left all the same is before a person's eyes, by name."""
    blocked = {(lane.number, lane.target): lane.blocked for lane in accounts.lanes}
    for number, at in accounts.shops.items():
        here = accounts.wms[at.target].get(number, AtWms())
        if not at.standing.stopped or not here.documents or here.cancelled:
            continue
        known = accounts.known.get(number)
        refusal = blocked.get((number, at.target))
        if known is None:
            yield Violation("not_stopped", number, "has a document, and the gateway does not know it")
        elif known.order.conflicts:
            rests[f"stopped and left: {'+'.join(known.order.conflicts)}"] += 1
        elif refusal:
            rests[f"stopped and left: {refusal}"] += 1
        elif known.left_first and known.order.issued(Operation.CANCEL) is None:
            rests["stopped after it had left"] += 1
        else:
            commands = [command.key for command in known.order.commands]
            yield Violation("not_stopped", number, f"{here.status} at its warehouse, {known.stage}: {commands}")


def _told(accounts: Accounts, rests: Counter[str]) -> Iterator[Violation]:
    """Every parcel is known to its shop, once; what a shop refuses waits for a person."""
    blocked = {(lane.number, lane.target): lane.blocked for lane in accounts.lanes}
    for number, at in accounts.shops.items():
        here = accounts.wms[at.target].get(number, AtWms())
        for parcel, times in Counter(at.told).items():
            # Taobao's books have a parcel once for each request; lines stand in `complete`.
            if times > 1 and not at.complete:
                yield Violation("doubled", number, f"{at.sold.shop} was told {parcel} {times} times")
            if parcel.startswith("78") and parcel not in here.parcels:
                yield Violation("untold", number, f"{at.sold.shop} was told {parcel}, which {at.target} never sent")
        if at.complete or not here.parcels:
            if at.told and not here.parcels:
                yield Violation("untold", number, f"{at.sold.shop} was told {at.told}, and nothing has left")
            continue
        refusal = blocked.get((number, at.sold.shop))
        if at.standing.stopped and refusal is not None:
            rests[f"stopped, the shop refuses its parcel: {refusal}"] += 1
        elif not (at.standing.stopped and here.shipped != at.pieces and at.told):
            yield Violation("untold", number, f"{at.sold.shop} knows {at.told} of {here.parcels} ({refusal})")


def _stock(accounts: Accounts) -> Iterator[Violation]:
    shipped: Counter[tuple[str, str]] = Counter()
    for target, books in accounts.wms.items():
        for here in books.values():
            for sku, pieces in here.shipped.items():
                shipped[sku, WAREHOUSES[target]] += pieces
    booked: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for known in accounts.known.values():
        for booking in known.order.booked:
            sums = booked[booking.sku, booking.warehouse]
            sums[0] += booking.locked
            sums[1] += booking.committed
    for place, balance in accounts.stock.items():
        name = "/".join(place)
        if balance.moved != (balance.on_hand, balance.locked, balance.committed):
            yield Violation("stock", name, f"the ledger's sum is {balance.moved}, the balance {balance}")
        if balance.on_hand != balance.opening - shipped[place]:
            yield Violation("stock", name, f"{balance.opening} less {shipped[place]} shipped is not {balance.on_hand}")
        if booked[place] != [balance.locked, balance.committed]:
            yield Violation("stock", name, f"the orders have {booked[place]} booked, the balance is {balance}")
    for number, known in accounts.known.items():
        kept = [booking for booking in known.order.booked if booking.locked or booking.committed]
        at = accounts.shops.get(number)
        if not kept or at is None:
            continue
        left = accounts.wms[at.target].get(number, AtWms()).shipped == at.pieces
        if left or (at.standing.stopped and not known.order.refund_open):
            yield Violation("stock", number, f"keeps {kept} from others, and {'has left' if left else 'is stopped'}")
    for place in shipped.keys() - accounts.stock.keys():
        yield Violation("stock", "/".join(place), "was shipped, and there is no balance")


def _levels(accounts: Accounts) -> Iterator[Violation]:
    """A platform counts off what it sold and holds back: of such an order the gateway knows no lines yet."""
    unseen: Counter[tuple[str, str]] = Counter()
    for number, at in accounts.shops.items():
        if number not in accounts.known or accounts.known[number].order.content is None:
            for sku, quantity in at.sold.lines:
                unseen[at.sold.shop, sku] += quantity
    for listing in accounts.listings:
        may = min(accounts.stock[sku, listing.warehouse].available // pieces for sku, pieces in listing.parts)
        at_least = may - unseen[listing.shop, listing.sku]
        if listing.at_shop is None or not at_least <= listing.at_shop <= may:
            yield Violation("level", f"{listing.shop}/{listing.sku}", f"was told {listing.at_shop}, may sell {may}")


def _waiting(accounts: Accounts, rests: Counter[str]) -> Iterator[Violation]:
    """Whatever is not over has a reason in the platform's books."""
    for lane in accounts.lanes:
        if lane.blocked is None:
            yield Violation("waiting", lane.number, f"`{lane.operation}` is still to be sent to {lane.target}")
            continue
        at = accounts.shops.get(lane.number)
        was_stopped = at is not None and (at.standing.stopped or at.sold.fate is Fate.WITHDRAWN)
        if not was_stopped or not lane.blocked.startswith("rejected:"):
            yield Violation("waiting", lane.number, f"`{lane.operation}` to {lane.target} is blocked: {lane.blocked}")
    for number, known in accounts.known.items():
        at = accounts.shops.get(number)
        if at is None:
            yield Violation("waiting", number, "the gateway has an order that nobody placed")
            continue
        standing, reasons = at.standing, set(known.order.reasons)
        given = (
            ("unpaid", not standing.paid),
            ("channel_hold", standing.held),
            ("refund_open", standing.stopped),
            # Pinduoduo shows no receiver of an order under review.
            ("no_content", standing.held or standing.stopped or not standing.paid),
        )
        right = {name for name, holds in given if holds}
        if known.stage in ("received", "reviewed"):
            rests["order waits: " + "+".join(sorted(reasons))] += 1
            if not reasons or reasons - right:
                yield Violation("waiting", number, f"{known.stage} for {sorted(reasons)}, the shop says {standing}")
        elif known.stage in ("allocated", "packed") and not standing.stopped:
            conflicts = set(known.order.conflicts)
            if not conflicts & {"reopened_after_cancel"}:
                yield Violation("waiting", number, f"is {known.stage}, and nothing is on its way ({sorted(conflicts)})")
            else:
                rests[f"for a person: {'+'.join(sorted(conflicts))}"] += 1
        elif known.order.conflicts and not standing.stopped:
            yield Violation("waiting", number, f"conflicts {known.order.conflicts}, and the shop says {standing}")
    for letter in accounts.dead_letters:
        yield Violation("waiting", letter.partition(":")[0], f"a dead letter: {letter}")
    if accounts.inbox:
        yield Violation("waiting", "inbox", f"{accounts.inbox} events are not decided")
