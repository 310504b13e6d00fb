"""The checker: compares what was promised to senders, what the WMS has, what the gateway knows, and the offsets.

`gather` reads the four accounts of one run after it has come to rest, `check` compares them and names every
contradiction. It trusts none of them: an order is lost when the journal has it and the gateway or the WMS does not,
whatever the gateway says about itself.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import asyncpg
import msgspec
import zstandard

from gateway.core.delivery import Result
from gateway.core.event import ConnectionName, Event, EventId
from gateway.core.order import Closing, Facts, Order, OrderNumber, Register, Stage, merge
from gateway.core.sound import Decode
from gateway.core.stock import Balance, Place
from gateway.pipeline.clean import clean
from gateway.pipeline.decide import fold, settle
from gateway.pipeline.rules import Rules
from gateway.store.orders import decode_state
from gateway.store.sql import Sealing
from gateway.testing.fakes import Books
from tests.chaos.journal import Acked


class Violation(msgspec.Struct, frozen=True, order=True):
    """One contradiction. `kind` is from the closed set that `KINDS` lists."""

    kind: str
    subject: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.subject}: {self.what}"


KINDS = (
    "lost_event",  # acknowledged, and the gateway has neither decided nor set it aside
    "lost_shipment",  # the warehouse shipped and was heard, and the order does not say so
    "lost_order",  # acknowledged, to be delivered, and the WMS has no document (or it is cancelled)
    "sent_wrongly",  # the WMS has a document that no acknowledged event asks for
    "doubled",  # a second document, or a command that took effect twice
    "out_of_sequence",  # the WMS did an order's commands in another sequence than planned
    "offset_ahead",  # an offset is committed and its event is not in the gateway's state
    "open_lane",  # something is still to be sent, or waits for a person without a reason to
    "ledger",  # the sum of a place's movements is not its balance, or the orders' bookings are not
    "negative",  # a balance below zero
    "stage",  # the stored order is not what its events say
)


class Row(msgspec.Struct):
    """A stored order with the events that the gateway says it took."""

    order_id: int
    order: Order
    stage: str
    events: list[Event]


class Sent(msgspec.Struct, frozen=True):
    """A planned command of an order. `withdrawn`: the gateway says that it has not sent it, and will not."""

    number: str
    target: str
    seq: int
    operation: str
    key: str
    withdrawn: bool


class Lane(msgspec.Struct, frozen=True):
    number: str
    target: str
    blocked: str | None


class Record(msgspec.Struct, frozen=True):
    """What stands at one offset of the topic."""

    partition: int
    offset: int
    source: str
    event_id: str


class Evidence(msgspec.Struct, kw_only=True):
    """The four accounts. `books`: of every target, by connection name. `committed`: partition → offset."""

    acked: list[Acked]
    books: dict[str, Books]
    orders: dict[str, Row]
    commands: list[Sent]
    lanes: list[Lane]
    set_aside: set[tuple[str, str]]
    inbox: int
    stock: dict[int, tuple[Place, Balance]]
    moved: dict[int, Balance]
    records: list[Record] = []
    committed: dict[int, int] = {}


async def gather(
    url: str,
    *,
    acked: Sequence[Acked],
    books: Mapping[str, Books],
    records: Sequence[Record] = (),
    committed: Mapping[int, int] | None = None,
    vault: Sealing | None = None,
) -> Evidence:
    """Read the gateway's state from its database, and put it beside the other accounts."""
    connection = await asyncpg.connect(url)
    try:
        if vault is not None:
            await vault.attend(connection)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            names = {row[0]: row[1] for row in await connection.fetch("SELECT connection_id, name FROM connection")}
            orders = {
                row[1]: Row(row[0], decode_state(row[3]), row[2], [])
                for row in await connection.fetch("SELECT order_id, number, stage, state FROM orders")
            }
            by_id = {row.order_id: row for row in orders.values()}
            unpack = zstandard.ZstdDecompressor().decompress
            for row in await connection.fetch(
                "SELECT order_id, event_id, connection_id, type, happened_at, body FROM event WHERE connection_id <> 0"
            ):
                event = Event(
                    id=EventId(row[1]),
                    source=ConnectionName(names[row[2]]),
                    type=row[3],
                    order_key="",
                    time=row[4],
                    body=unpack(row[5]),
                )
                if row[0] in by_id:
                    by_id[row[0]].events.append(event)
            deliveries = await connection.fetch(
                "SELECT order_id, target_id, seq, operation, key, EXISTS (SELECT 1 FROM attempt a"
                "  WHERE (a.order_id, a.target_id, a.seq) = (d.order_id, d.target_id, d.seq) AND a.result = $1)"
                "  FROM delivery d ORDER BY order_id, target_id, seq",
                int(Result.WITHDRAWN),
            )
            lanes = await connection.fetch("SELECT order_id, target_id, blocked FROM lane")
            letters = await connection.fetch("SELECT source, event_id FROM dead_letter")
            inbox = await connection.fetchval("SELECT count(*) FROM inbox")
            stock = await connection.fetch("SELECT stock_id, sku, warehouse, on_hand, locked, committed FROM stock")
            moved = await connection.fetch(
                "SELECT stock_id, sum(on_hand), sum(locked), sum(committed) FROM movement GROUP BY stock_id"
            )
    finally:
        await connection.close()

    def number_of(order_id: int) -> str:
        return by_id[order_id].order.number if order_id in by_id else f"id {order_id}"

    return Evidence(
        acked=list(acked),
        books=dict(books),
        orders=orders,
        commands=[Sent(number_of(row[0]), names[row[1]], *row[2:]) for row in deliveries],
        lanes=[Lane(number_of(row[0]), names[row[1]], row[2]) for row in lanes],
        set_aside={(row[0], row[1]) for row in letters},
        inbox=inbox,
        stock={row[0]: ((row[1], row[2]), Balance(row[0], row[3], row[4], row[5])) for row in stock},
        moved={row[0]: Balance(row[0], row[1], row[2], row[3]) for row in moved},
        records=list(records),
        committed=dict(committed or {}),
    )


def check(
    evidence: Evidence, *, rules: Rules, decoders: Mapping[str, Decode], allowed_blocks: Iterable[str] = ()
) -> list[Violation]:
    """Every contradiction between the accounts; none means: nothing lost, nothing doubled, everything in sequence.

    `allowed_blocks`: reasons for which a lane may wait for a person ("rejected:cancel_refused").
    """
    found: list[Violation] = []
    found += _events(evidence)
    found += _documents(evidence, set(allowed_blocks))
    found += _shipments(evidence)
    found += _sequences(evidence)
    found += _offsets(evidence)
    found += _lanes(evidence, set(allowed_blocks))
    found += _ledger(evidence)
    found += _stages(evidence, rules, decoders)
    return sorted(found)


def offsets_ahead(evidence: Evidence) -> list[Violation]:
    """Only the offsets against the state: what may be asked in the middle of a run, right after a kill."""
    return list(_offsets(evidence))


# --- one account against another --------------------------------------------------------------------------------


def _events(evidence: Evidence) -> Iterator[Violation]:
    """Every acknowledged event is in the gateway: part of its order, or set aside whole."""
    for acked in evidence.acked:
        if (acked.source, acked.event_id) in evidence.set_aside:
            continue
        row = evidence.orders.get(acked.number)
        if row is None:
            yield Violation("lost_event", acked.number, f"event {acked.event_id}: the order is not known")
        elif not any(event.id == acked.event_id and event.source == acked.source for event in row.events):
            yield Violation("lost_event", acked.number, f"event {acked.event_id} is not among the order's events")


def _documents(evidence: Evidence, allowed_blocks: set[str]) -> Iterator[Violation]:
    """What the WMS has against where each order had to end, by the journal alone."""
    refused = {lane.number for lane in evidence.lanes if lane.blocked in allowed_blocks}
    documents: Counter[str] = Counter()
    cancelled: set[str] = set()
    left: set[str] = set()
    for books in evidence.books.values():
        for number, book in books.orders.items():
            documents[number] += book.documents
            if book.cancelled:
                cancelled.add(number)
            if book.documents and "ship" in book.commands:
                left.add(number)  # whole, so a cancel that came later had nobody to go to
    ends, seen = {}, defaultdict(set)
    for acked in evidence.acked:
        ends[acked.number] = acked
        seen[acked.number].add(acked.event_id)
    for number, acked in ends.items():
        if len(seen[number]) < acked.events or any(
            (acked.source, event_id) in evidence.set_aside for event_id in seen[number]
        ):
            continue
        has = documents[number]
        if acked.end == "sent" and not has:
            yield Violation("lost_order", number, "acknowledged and deliverable, the WMS has no document")
        elif acked.end == "sent" and number in cancelled:
            yield Violation("lost_order", number, "cancelled at the WMS, and no event says so")
        elif acked.end == "waiting" and has:
            yield Violation("sent_wrongly", number, "the WMS has a document of an order that had to wait")
        elif acked.end == "stopped" and has and number not in cancelled | refused | left:
            yield Violation("sent_wrongly", number, "stopped at the shop, and the WMS was not told")
    for number, has in documents.items():
        if has > 1:
            yield Violation("doubled", number, f"{has} documents")
        if has and number not in evidence.orders:
            yield Violation("sent_wrongly", number, "the WMS has a document of an order the gateway does not know")


def _shipments(evidence: Evidence) -> Iterator[Violation]:
    """What a warehouse handed over is what the order says was shipped, piece by piece, once."""
    for target, books in evidence.books.items():
        shipped: Counter[str] = Counter()
        for number, book in books.orders.items():
            handed_over = sum(effect in ("ship", "ship_part") for effect in book.commands if book.documents)
            if not handed_over:
                continue
            row = evidence.orders.get(number)
            confirmations = row.order.confirmations if row is not None else {}
            if len(confirmations) < handed_over:
                yield Violation("lost_shipment", number, f"{target} shipped {handed_over}, known {len(confirmations)}")
            elif len(confirmations) > handed_over:
                yield Violation("doubled", number, f"{target} shipped {handed_over}, known {len(confirmations)}")
            for confirmation in confirmations.values():
                for sku, pieces in confirmation.shipped:
                    shipped[sku] += pieces
        said = {sku: deeds["shipped"] for sku, deeds in books.sums.items() if deeds.get("shipped")}
        if said != dict(shipped):
            yield Violation(
                "lost_shipment", target, "the pieces it shipped are not the pieces that are known as shipped"
            )


def _sequences(evidence: Evidence) -> Iterator[Violation]:
    """Per order and target, the effects in the books are the planned commands, each once, in their sequence."""
    planned: dict[tuple[str, str], list[Sent]] = defaultdict(list)
    for command in evidence.commands:
        planned[(command.number, command.target)].append(command)
    waiting = {(lane.number, lane.target) for lane in evidence.lanes}
    for target, books in evidence.books.items():
        for number, book in books.orders.items():
            commands = planned.get((number, target), [])
            # Some books note the operation, others the command's whole key; a warehouse's own deeds are left out.
            known = {command.key for command in commands} | {command.operation for command in commands}
            done = [effect for effect in book.commands if effect in known or effect in ("create", "cancel")]
            expected = [
                command.key if command.key in done else command.operation
                for command in commands
                if not command.withdrawn
            ]
            for effect, times in Counter(done).items():
                if times > expected.count(effect):
                    yield Violation("doubled", number, f"`{effect}` took effect {times} times at {target}")
            once = list(dict.fromkeys(done))
            places = [expected.index(effect) for effect in once if effect in expected]
            if places != sorted(places):
                yield Violation("out_of_sequence", number, f"{target} did {done}, planned was {expected}")
            elif len(set(places)) < len(expected) and (number, target) not in waiting:
                yield Violation("lost_order", number, f"{target} did {done}, planned and closed was {expected}")
    for (number, target), commands in planned.items():
        books = evidence.books.get(target)
        if [command.seq for command in commands] != list(range(1, len(commands) + 1)):
            yield Violation("out_of_sequence", number, f"commands to {target} are numbered with gaps")
        sent = not all(command.withdrawn for command in commands)
        if books is not None and number not in books.orders and (number, target) not in waiting and sent:
            yield Violation("lost_order", number, f"{target} has nothing, the gateway says it was sent")


def _offsets(evidence: Evidence) -> Iterator[Violation]:
    """Whatever stands before a committed offset is in the state, or set aside."""
    known = {(event.source, event.id) for row in evidence.orders.values() for event in row.events}
    known |= evidence.set_aside
    for record in evidence.records:
        if record.offset < evidence.committed.get(record.partition, 0) and (
            (record.source, record.event_id) not in known
        ):
            yield Violation(
                "offset_ahead",
                f"partition {record.partition}",
                f"committed {evidence.committed[record.partition]}, event {record.event_id} at {record.offset} unknown",
            )


def _lanes(evidence: Evidence, allowed_blocks: set[str]) -> Iterator[Violation]:
    for lane in evidence.lanes:
        if lane.blocked is None:
            yield Violation("open_lane", lane.number, f"something is still to be sent to {lane.target}")
        elif lane.blocked not in allowed_blocks:
            yield Violation("open_lane", lane.number, f"waits for a person at {lane.target}: {lane.blocked}")
    if evidence.inbox:
        yield Violation("open_lane", "inbox", f"{evidence.inbox} events are not decided")


def _ledger(evidence: Evidence) -> Iterator[Violation]:
    booked: dict[Place, list[int]] = defaultdict(lambda: [0, 0])
    for row in evidence.orders.values():
        for booking in row.order.booked:
            sums = booked[(booking.sku, booking.warehouse)]
            sums[0] += booking.locked
            sums[1] += booking.committed
    for stock_id, (place, balance) in evidence.stock.items():
        name = "/".join(place)
        moved = evidence.moved.get(stock_id, Balance(stock_id, 0, 0, 0))
        if (moved.on_hand, moved.locked, moved.committed) != (balance.on_hand, balance.locked, balance.committed):
            yield Violation("ledger", name, f"the movements sum up to {moved}, the balance is {balance}")
        if booked[place] != [balance.locked, balance.committed]:
            yield Violation("ledger", name, f"the orders have {booked[place]} booked, the balance is {balance}")
        if min(balance.on_hand, balance.locked, balance.committed, balance.available) < 0:
            yield Violation("negative", name, str(balance))


def _stages(evidence: Evidence, rules: Rules, decoders: Mapping[str, Decode]) -> Iterator[Violation]:
    """Every stored order is what its stored events say, and deciding it again would change nothing."""
    for number, row in evidence.orders.items():
        facts = [(event.source, clean(decoders[event.source](event))) for event in row.events]
        merged = _merged(row.order, facts)
        differing = [name for name in _FACTS if _said(merged, name) != _said(row.order, name)]
        if differing:
            yield Violation("stage", number, f"its events say something else about {', '.join(differing)}")
            continue
        if row.stage != row.order.stage:
            yield Violation("stage", number, f"is searched as {row.stage}, stored as {row.order.stage}")
        if "short_of_stock" in row.order.reasons:
            continue  # pieces may have come free since; whoever frees them asks for a new decision
        [decision] = settle([fold(OrderNumber(number), row.order, [], rules)], _balances(evidence), rules)
        if decision.changed:
            stage = Stage(decision.order.stage)
            yield Violation("stage", number, f"stored as {row.order.stage}, deciding again says {stage}")


_FACTS = "connection channel_no content payment hold closing refunds confirmations progress".split()


def _said(order: Order, name: str) -> object:
    """A field group; that an order is open, earlier releases left unsaid."""
    told = getattr(order, name)
    return None if isinstance(told, Register) and told.value == Closing(False) else told


def _merged(stored: Order, facts: Iterable[tuple[ConnectionName, Facts]]) -> Order:
    order = Order(number=stored.number)
    for source, said in sorted(facts, key=lambda one: hashlib.sha256(repr(one).encode()).digest()):
        order = merge(order, said, source)
    return order


def _balances(evidence: Evidence) -> dict[Any, Balance]:
    return {
        place: Balance(balance.stock_id, balance.on_hand, balance.locked, balance.committed)
        for place, balance in evidence.stock.values()
    }
