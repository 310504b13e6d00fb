"""The checker finds nothing after an honest run, and each violation when it is planted into one of the accounts.

Planted in the accounts themselves: rows of the database, the WMS's books, the journal, the offsets.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from gateway.embedded.postgres import EmbeddedPostgres
from gateway.parts import rules_of
from gateway.store.orders import decode_state, encode_state
from gateway.testing.fakes import Books
from tests.chaos.checker import KINDS, Record, check, gather, offsets_ahead
from tests.chaos.gateway import ALLOWED_BLOCKS
from tests.chaos.journal import Acked, read
from tests.chaos.run import Plan, make_database, play, stage

_numbers = itertools.count(1)
PLAN = Plan(orders=120, seed=11, workers=1, ships=True)


class Ran(msgspec.Struct):
    """What one honest run has left behind."""

    server: Any
    database: str
    acked: list[Acked]
    books: dict[str, Books]
    rules: Any
    decoders: Any
    violations: list[Any]


@pytest.fixture(scope="module")
def ran(postgres_server: EmbeddedPostgres) -> Iterator[Ran]:
    async def once() -> Ran:
        folder = Path(tempfile.mkdtemp(prefix="ordergate-test-", dir="/tmp"))
        name = f"checker_{next(_numbers)}"
        url = await make_database(postgres_server, name)
        try:
            async with stage(PLAN, folder, database_url=url) as scene:
                report = await play(PLAN, scene)
                gateway = scene.gateway
                evidence = await gateway.evidence()
                decoders, rules = gateway.decoders(), rules_of(gateway.settings)
                await gateway.stop()
                acked = read(gateway.journal_path)
        finally:
            shutil.rmtree(folder)
        return Ran(postgres_server, name, acked, evidence.books, rules, decoders, report.violations)

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(lambda: asyncio.run(once())).result()


async def judged(
    ran: Ran,
    *,
    plant: str = "",
    acked: list[Acked] | None = None,
    books: dict[str, Books] | None = None,
    records: list[Record] | None = None,
    committed: dict[int, int] | None = None,
) -> list[tuple[str, str]]:
    """(kind, subject) of what the checker finds, with `plant` done to a copy of the database."""
    admin = await asyncpg.connect(ran.server.url)
    try:
        await admin.execute("DROP DATABASE IF EXISTS planted WITH (FORCE); ")
        url = await make_database(ran.server, "planted", template=ran.database)
        if plant:
            connection = await asyncpg.connect(url)
            await connection.execute(plant)
            await connection.close()
        evidence = await gather(
            url,
            acked=ran.acked if acked is None else acked,
            books=ran.books if books is None else books,
            records=records or [],
            committed=committed,
        )
    finally:
        await admin.close()
    found = check(evidence, rules=ran.rules, decoders=ran.decoders, allowed_blocks=ALLOWED_BLOCKS)
    return [(violation.kind, violation.subject) for violation in found]


def delivered(ran: Ran) -> str:
    """An order that went to the WMS, and nothing more."""
    return next(a.number for a in ran.acked if a.end == "sent" and a.events == 1)


def cancelled(ran: Ran) -> str:
    """An order of which the WMS did create and cancel."""
    return next(number for number, book in ran.books["wms"].orders.items() if book.commands == ["create", "cancel"])


async def test_an_honest_run_shows_nothing(ran: Ran) -> None:
    assert ran.violations == []
    assert await judged(ran) == []
    ends = {a.number: a.end for a in ran.acked}
    assert {end: list(ends.values()).count(end) > 0 for end in ("sent", "stopped", "waiting")} == dict.fromkeys(
        ("sent", "stopped", "waiting"), True
    )


async def test_an_acknowledged_order_that_the_gateway_does_not_know(ran: Ran) -> None:
    lost = Acked("A-never", "shop-a", "e1", "sent", 1)
    assert ("lost_event", "A-never") in await judged(ran, acked=[*ran.acked, lost])


async def test_an_event_that_is_missing_from_its_order(ran: Ran) -> None:
    number = delivered(ran)
    plant = f"DELETE FROM event WHERE order_id = (SELECT order_id FROM orders WHERE number = '{number}')"
    assert ("lost_event", number) in await judged(ran, plant=plant)


async def test_an_order_that_never_reached_the_wms(ran: Ran) -> None:
    number, books = delivered(ran), copy.deepcopy(ran.books)
    del books["wms"].orders[number]
    assert ("lost_order", number) in await judged(ran, books=books)


async def test_an_order_that_was_never_even_planned(ran: Ran) -> None:
    number, books = delivered(ran), copy.deepcopy(ran.books)
    del books["wms"].orders[number]
    plant = f"DELETE FROM delivery WHERE order_id = (SELECT order_id FROM orders WHERE number = '{number}')"
    assert ("lost_order", number) in await judged(ran, plant=plant, books=books)


async def test_a_command_that_was_sent_though_it_was_withdrawn(ran: Ran) -> None:
    number = delivered(ran)
    plant = f"""
    INSERT INTO attempt (order_id, target_id, seq, worker_id, ended_at, took_ms, result)
    SELECT order_id, target_id, seq, 1, now(), 0, 10 FROM delivery JOIN orders USING (order_id)
     WHERE number = '{number}'
    """
    assert ("doubled", number) in await judged(ran, plant=plant)
    books = copy.deepcopy(ran.books)
    del books["wms"].orders[number]
    assert ("lost_order", number) in await judged(ran, plant=plant, books=books), "it was to be sent"


async def test_a_shipment_the_gateway_has_not_heard_of(ran: Ran) -> None:
    number, books = delivered(ran), copy.deepcopy(ran.books)
    books["wms"].orders[number].commands.append("ship")
    assert ("lost_shipment", number) in await judged(ran, books=books)


async def test_pieces_that_were_shipped_and_not_counted(ran: Ran) -> None:
    books = copy.deepcopy(ran.books)
    next(iter(books["wms"].sums.values()))["shipped"] = 10_000
    assert ("lost_shipment", "wms") in await judged(ran, books=books)


async def test_a_document_nobody_asked_for(ran: Ran) -> None:
    books = copy.deepcopy(ran.books)
    waiting = next(a.number for a in ran.acked if a.end == "waiting")
    books["wms"].orders[waiting] = copy.deepcopy(books["wms"].orders[delivered(ran)])
    books["wms"].orders["A-nobody"] = copy.deepcopy(books["wms"].orders[delivered(ran)])
    found = await judged(ran, books=books)
    assert ("sent_wrongly", waiting) in found
    assert ("sent_wrongly", "A-nobody") in found


async def test_a_stopped_order_that_the_wms_was_not_told_to_stop(ran: Ran) -> None:
    number, books = cancelled(ran), copy.deepcopy(ran.books)
    books["wms"].orders[number].cancelled = False
    assert ("sent_wrongly", number) in await judged(ran, books=books)
    books["wms"].orders[number].commands.append("ship")  # it had left when the stop came: nobody to tell
    assert ("sent_wrongly", number) not in await judged(ran, books=books)


async def test_a_second_document(ran: Ran) -> None:
    number, books = delivered(ran), copy.deepcopy(ran.books)
    books["wms"].orders[number].documents += 1
    books["wms"].orders[number].commands.append("create")
    found = await judged(ran, books=books)
    assert ("doubled", number) in found


async def test_a_command_that_took_effect_twice(ran: Ran) -> None:
    number, books = cancelled(ran), copy.deepcopy(ran.books)
    books["wms"].orders[number].commands.append("cancel")
    assert ("doubled", number) in await judged(ran, books=books)


async def test_commands_of_one_order_in_another_sequence(ran: Ran) -> None:
    number, books = cancelled(ran), copy.deepcopy(ran.books)
    books["wms"].orders[number].commands.reverse()
    assert ("out_of_sequence", number) in await judged(ran, books=books)


async def test_a_committed_offset_ahead_of_the_state(ran: Ran) -> None:
    known = [Record(0, offset, a.source, a.event_id) for offset, a in enumerate(ran.acked)]
    unknown = Record(0, len(known), "shop-a", "not-decided")
    assert await judged(ran, records=[*known, unknown], committed={0: len(known)}) == []
    found = await judged(ran, records=[*known, unknown], committed={0: len(known) + 1})
    assert found == [("offset_ahead", "partition 0")]


async def test_a_lane_left_open(ran: Ran) -> None:
    number = delivered(ran)
    for blocked, expected in (("NULL", True), ("'unknown'", True), ("'rejected:cancel_refused'", False)):
        plant = (
            "INSERT INTO lane (order_id, target_id, operation, head, tail, not_before, opened_at, blocked)"
            f" SELECT order_id, (SELECT connection_id FROM connection WHERE name = 'wms'), 'create', 1, 1, now(),"
            f" now(), {blocked} FROM orders WHERE number = '{number}'"
        )
        assert (("open_lane", number) in await judged(ran, plant=plant)) is expected


async def test_an_event_left_in_the_inbox(ran: Ran) -> None:
    plant = (
        "INSERT INTO inbox (event_id, source, type, order_key, happened_at, body)"
        " VALUES ('e', 'shop-a', 't', 'k', now(), '')"
    )
    assert ("open_lane", "inbox") in await judged(ran, plant=plant)


async def test_a_ledger_that_does_not_add_up(ran: Ran) -> None:
    place = "SKU-001/WH1"
    assert ("ledger", place) in await judged(ran, plant="UPDATE stock SET on_hand = on_hand + 1 WHERE sku = 'SKU-001'")
    both = (
        "UPDATE stock SET locked = locked + 1 WHERE sku = 'SKU-001';"
        "INSERT INTO movement (stock_id, on_hand, locked, committed, moved_at)"
        " SELECT stock_id, 0, 1, 0, now() FROM stock WHERE sku = 'SKU-001'"
    )
    assert ("ledger", place) in await judged(ran, plant=both)  # in balance, and no order has it


async def test_a_balance_below_zero(ran: Ran) -> None:
    plant = (
        "DO $$ DECLARE c record; BEGIN FOR c IN SELECT conname FROM pg_constraint"
        " WHERE conrelid = 'stock'::regclass AND contype = 'c'"
        " LOOP EXECUTE format('ALTER TABLE stock DROP CONSTRAINT %I', c.conname); END LOOP; END $$;"
        "UPDATE stock SET on_hand = -1 WHERE sku = 'SKU-001'"
    )
    assert ("negative", "SKU-001/WH1") in await judged(ran, plant=plant)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda order: msgspec.structs.replace(order, payment=None),
        lambda order: msgspec.structs.replace(order, stage="received"),
        lambda order: msgspec.structs.replace(order, booked=()),
    ],
    ids=["facts", "stage", "bookings"],
)
async def test_a_stored_order_that_its_events_contradict(ran: Ran, spoil: Callable[[Any], Any]) -> None:
    connection = await asyncpg.connect(ran.server.url_of(ran.database))
    rows = await connection.fetch("SELECT number, state FROM orders WHERE stage = 'shipped'")
    await connection.close()
    number, state = next((row[0], row[1]) for row in rows if decode_state(row[1]).booked)
    spoiled = encode_state(spoil(decode_state(state))).hex()
    found = await judged(ran, plant=f"UPDATE orders SET state = '\\x{spoiled}' WHERE number = '{number}'")
    assert ("stage", number) in found


def test_every_kind_of_violation_is_planted_above() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f'("{kind}"' not in text] == []


async def test_offsets_can_be_asked_alone(ran: Ran) -> None:
    url = ran.server.url_of(ran.database)
    evidence = await gather(url, acked=[], books={}, records=[Record(2, 5, "shop-a", "not-decided")], committed={2: 6})
    assert [violation.kind for violation in offsets_ahead(evidence)] == ["offset_ahead"]
