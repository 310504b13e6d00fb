"""The verdict: three accounts of the same orders, compared after everything has come to rest.

What the shops were promised (their journal), what the warehouse has and the shops were told (the books of the fakes),
and what the gateway believes (its database). None is trusted: lost is what was promised and is not in the books.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import msgspec

from gateway.core.order import Stage
from gateway.demo.baskets import Totals
from gateway.demo.platforms import Told
from gateway.demo.shops import Acknowledged
from gateway.store.orders import decode_state
from gateway.testing.fakes import Books

_PAGE = 5_000


class Known(msgspec.Struct):
    """What the gateway's database says. Amounts in fen; `left` is stock on hand, less what is booked."""

    stages: dict[str, str] = {}
    """Order number → stage."""
    pieces: defaultdict[str, int] = msgspec.field(default_factory=lambda: defaultdict(int))
    amount_minor: defaultdict[str, int] = msgspec.field(default_factory=lambda: defaultdict(int))
    left: dict[str, int] = {}
    open_lanes: int = 0
    for_a_person: int = 0
    dead_letters: int = 0
    inbox: int = 0


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """What the day without the gateway cost.

    `sync_failed`: lines in its log; each of them is an order that somebody has to look for.
    """

    orders_placed: int
    orders_at_wms: int
    lost: int
    duplicated: int
    sync_failed: int


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How the accounts compare. The numbers of `skus_…` are products whose figures differ: all have to be 0."""

    orders_placed: int
    orders_at_wms: int
    lost: int
    duplicated: int
    never_placed: int
    written_back: int
    written_back_wrongly: int
    excluded: int
    not_shipped: int
    for_a_person: int
    dead_letters: int
    skus: int
    pieces: int
    amount_minor: int
    skus_pieces_differ: int
    skus_amounts_differ: int
    skus_gateway_differ: int
    skus_stock_differ: int
    notice_s: float | None = None
    """From the first answer that went wrong to the message that the warehouse is down: see `gateway.demo.alarm`."""
    catch_up_s: float | None = None
    """From when the warehouse was back until no order had waited for it longer than ten seconds."""
    inbox_events: int = 0
    samples: Mapping[str, Sequence[str]]
    """Some order numbers or products behind every figure that should be 0."""

    @property
    def ok(self) -> bool:
        """Nothing lost, nothing doubled, nothing left over, every figure equal."""
        return self.orders_at_wms == self.orders_placed == self.written_back and not any(
            getattr(self, name) for name in _MUST_BE_ZERO
        )


_MUST_BE_ZERO = (
    "lost duplicated never_placed written_back_wrongly not_shipped for_a_person dead_letters skus_pieces_differ"
    " skus_amounts_differ skus_gateway_differ skus_stock_differ"
).split()


def judge(
    *,
    acknowledged: Set[str],
    totals: Totals,
    wms: Books,
    shops: Books,
    platforms: Mapping[str, Told],
    known: Known,
    stock_left: int,
) -> Verdict:
    """Compare. `platforms`: order number → what a platform knows, `shops` are the books of all other shops.

    `stock_left`: pieces of every product that must be left on the shelf.
    """
    at_wms = {number: book for number, book in wms.orders.items() if book.documents}
    lost = sorted(acknowledged - at_wms.keys())
    doubled = sorted(number for number, book in at_wms.items() if book.documents > 1)
    written_back, wrongly = 0, []
    for number, book in at_wms.items():
        confirmed = sum(command in ("ship", "ship_part") for command in book.commands)
        told = shops.orders[number].commands if number in shops.orders else []
        if number in platforms:
            written_back += bool(confirmed) and platforms[number] is Told.ONCE
            if platforms[number] is Told.WRONGLY:
                wrongly.append(number)
        elif confirmed and len(told) == len(set(told)) == confirmed:
            written_back += 1
        elif len(told) > confirmed or len(told) != len(set(told)):
            wrongly.append(number)
    created = {sku: deeds.get("created", 0) for sku, deeds in wms.sums.items()}
    samples = {
        "lost": lost,
        "duplicated": doubled,
        "never_placed": sorted((at_wms.keys() | known.stages.keys()) - acknowledged),
        "written_back_wrongly": sorted(wrongly),
        "not_shipped": sorted(number for number in acknowledged if known.stages.get(number) != Stage.SHIPPED),
        "skus_pieces_differ": _differing(created, totals.pieces),
        "skus_amounts_differ": _differing(wms.amounts_minor, totals.amount_minor),
        "skus_gateway_differ": sorted(
            {*_differing(known.pieces, totals.pieces), *_differing(known.amount_minor, totals.amount_minor)}
        ),
        "skus_stock_differ": _differing(known.left, dict.fromkeys(totals.pieces, stock_left)),
    }
    return Verdict(
        orders_placed=len(acknowledged),
        orders_at_wms=len(at_wms),
        written_back=written_back,
        excluded=totals.excluded,
        for_a_person=known.for_a_person,
        dead_letters=known.dead_letters,
        skus=len(totals.pieces),
        pieces=sum(totals.pieces.values()),
        amount_minor=sum(totals.amount_minor.values()),
        samples={name: found[:5] for name, found in samples.items() if found},
        **{
            # Second documents, not orders that have some.
            name: sum(at_wms[number].documents - 1 for number in found) if name == "duplicated" else len(found)
            for name, found in samples.items()
        },
    )


def read_journal(path: Path) -> set[str]:
    """Order numbers whose event was acknowledged; a line that was cut off is not there."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return {msgspec.json.decode(line, type=Acknowledged).number for line in lines}


async def read_books(url: str) -> Books:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:
        async with session.get(f"{url}/books") as answer:
            return msgspec.json.decode(await answer.read(), type=Books)


async def read_known(database_url: str) -> Known:
    """What the gateway's database says, in one snapshot."""
    known = Known()
    connection = await asyncpg.connect(database_url, timeout=5)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            last = -1
            while rows := await connection.fetch(
                "SELECT order_id, number, stage, state FROM orders WHERE order_id > $1 ORDER BY order_id LIMIT $2",
                last,
                _PAGE,
            ):
                last = rows[-1][0]
                for row in rows:
                    _enter(known, row)
            for sku, left, booked in await connection.fetch(
                "SELECT sku, on_hand, locked + committed FROM stock ORDER BY sku"
            ):
                known.left[sku] = left - booked
            known.open_lanes, known.for_a_person = await connection.fetchrow(
                "SELECT count(*), count(*) FILTER (WHERE blocked IS NOT NULL) FROM lane"
            )
            known.dead_letters = await connection.fetchval("SELECT count(*) FROM dead_letter WHERE closed_at IS NULL")
            known.inbox = await connection.fetchval("SELECT count(*) FROM inbox")
    finally:
        await connection.close()
    return known


def _enter(known: Known, row: Any) -> None:
    known.stages[row[1]] = row[2]
    content = decode_state(row[3]).content
    for line in content.value.lines if content is not None else ():
        known.pieces[line.sku] += line.quantity
        known.amount_minor[line.sku] += line.quantity * line.price_minor


def _differing(found: Mapping[str, int], wanted: Mapping[str, int]) -> list[str]:
    return sorted(sku for sku in {*found, *wanted} if found.get(sku, 0) != wanted.get(sku, 0))
