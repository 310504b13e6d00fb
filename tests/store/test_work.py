"""The work queue: what waits for a person and nothing else, by root cause and page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from gateway.core.order import Stage
from gateway.store import work
from gateway.store.dead import BEHIND, set_aside
from gateway.store.notices import COUNT_HELD, read_waiting
from gateway.store.sql import Names, open_pool
from gateway.store.wanted import Wanted, preview
from gateway.store.work import WAIT_FOR_OTHERS, Item, Wish, cards, conflicts_handled, items

from .stuck import BLOCKED_AT, ERP, lanes, letter, open_desk, policies, stick

NO_LANE = None


@pytest.fixture
async def desk(migrated_url: str) -> AsyncIterator[tuple[asyncpg.Pool, Names]]:
    pool, names = await open_desk(migrated_url)
    yield pool, names
    await pool.close()


async def fill(pool: asyncpg.Pool, names: Names) -> None:
    """400 orders with one cause, some with others, and many that wait for somebody else."""
    await stick(pool, names, 400, first=1)
    await stick(pool, names, 2, first=501, target=ERP, blocked="unknown", in_doubt=True)
    await stick(pool, names, 5, first=601, blocked=NO_LANE, reasons="short_of_stock", stage=Stage.REVIEWED)
    await stick(pool, names, 2, first=611, blocked=NO_LANE, reasons="missing:receiver.phone over_limit")
    await stick(pool, names, 1, first=621, blocked=NO_LANE, reasons="missing:receiver.phone")
    for n, others in enumerate(WAIT_FOR_OTHERS):
        await stick(pool, names, 3, first=701 + 10 * n, blocked=NO_LANE, reasons=others)
        await stick(pool, names, 3, first=901 + 10 * n, blocked=NO_LANE, reasons=f"over_limit {others}")
    await stick(pool, names, 4, first=801, blocked=NO_LANE, conflicts="changed_after_sent warehouse_exception")
    for n, reasons in enumerate(("held_for_person", "held_for_person over_limit")):
        # A warehouse has it: one card, which says to stop it there, and not a second one that says to ship it.
        conflicts = "held_after_sent warehouse_exception"
        await stick(pool, names, 1, first=851 + n, blocked=NO_LANE, reasons=reasons, conflicts=conflicts)
    await stick(pool, names, 1, first=861, blocked=NO_LANE, reasons="held_for_person")
    async with pool.acquire() as connection:
        await set_aside(
            connection, [letter(1, "S950", "json"), letter(2, "S950", BEHIND), letter(3, "", "json", key="K3")]
        )


@pytest.mark.feature("F79")
async def test_four_hundred_orders_are_one_card(desk: tuple[asyncpg.Pool, Names]) -> None:
    pool, names = desk
    await fill(pool, names)

    found = await cards(pool, Wish())

    assert [(c.kind, c.connection, c.operation, c.code, c.count, c.samples) for c in found] == [
        ("delivery", "wms", "create", "rejected:http_4xx", 400, ("S1", "S2", "S3")),
        ("hold", "shop", "", "short_of_stock", 5, ("S601", "S602", "S603")),
        ("conflict", "shop", "", "changed_after_sent", 4, ("S801", "S802", "S803")),
        ("hold", "shop", "", "missing:receiver.phone", 3, ("S611", "S612", "S621")),
        ("delivery", "erp", "create", "unknown", 2, ("S501", "S502")),
        ("conflict", "shop", "", "held_after_sent", 2, ("S851", "S852")),
        # What is behind another is not counted; one whose number could not be read is known by the sender's key.
        ("dead_letter", "shop", "", "json", 2, ("S950", "K3")),
        ("hold", "shop", "", "held_for_person", 1, ("S861",)),
    ]
    assert (found[0].newest - found[0].oldest).total_seconds() == 399


async def test_a_wish_narrows_cards_and_items_alike(desk: tuple[asyncpg.Pool, Names]) -> None:
    pool, names = desk
    await fill(pool, names)
    for wish, count in (
        (Wish(kind="hold"), 9), (Wish(kind="hold", code="missing:receiver.phone"), 3), (Wish(kind="conflict"), 6),
        (Wish(connection="wms"), 400), (Wish(connection="shop"), 9 + 6 + 2), (Wish(connection="nobody"), 0),
        (Wish(operation="create"), 402), (Wish(operation="cancel"), 0), (Wish(code="unknown"), 2),
        (Wish(code="warehouse_exception"), 0), (Wish(kind="dead_letter"), 2), (Wish(code="held_for_person"), 1),
        (Wish(), 402 + 9 + 6 + 2),
    ):  # fmt: skip
        assert sum(card.count for card in await cards(pool, wish)) == count, wish
        assert len(await everything(pool, wish, limit=500)) == count, wish


@pytest.mark.parametrize("limit", [1, 7, 500])
async def test_pages_hold_everything_once_and_the_oldest_first(desk: tuple[asyncpg.Pool, Names], limit: int) -> None:
    pool, names = desk
    await stick(pool, names, 20, first=1)
    await stick(pool, names, 9, first=101, target=ERP)
    await stick(pool, names, 5, first=201, blocked=NO_LANE, reasons="no_route")
    await stick(pool, names, 5, first=301, blocked=NO_LANE, conflicts="held_after_sent")
    # All at once: the kind and the id decide.
    await pool.execute("UPDATE lane SET not_before = '2026-05-01T00:00:00Z'")
    await pool.execute("UPDATE orders SET updated_at = '2026-05-01T00:00:00Z' WHERE order_id % 2 = 0")

    seen = await everything(pool, Wish(), limit=limit)

    assert len(seen) == len({(one.kind, one.number) for one in seen}) == 39
    assert [one.place for one in seen] == sorted(one.place for one in seen)


async def test_an_item_says_what_its_kind_knows(desk: tuple[asyncpg.Pool, Names]) -> None:
    pool, names = desk
    await stick(pool, names, 1, first=1)
    await stick(pool, names, 1, first=2, blocked=NO_LANE, reasons="missing:receiver.phone over_limit")
    await pool.execute("UPDATE orders SET state = '\\xc1' WHERE order_id = 2")

    delivery, hold = await everything(pool, Wish(), limit=10)

    assert (delivery.shop, delivery.channel_no, delivery.connection, delivery.seq) == ("shop", "1", "wms", 1)
    assert (delivery.last_result, delivery.last_code, delivery.stage) == ("rejected", "http_4xx", "allocated")
    assert (hold.code, hold.codes) == ("missing:receiver.phone", ("missing:receiver.phone", "over_limit"))
    assert hold.channel_no == "" and hold.latest_ship_at is None, "it cannot be read, and is listed all the same"


async def test_a_conflict_that_was_dealt_with_is_off_the_queue_until_it_changes(
    desk: tuple[asyncpg.Pool, Names],
) -> None:
    pool, names = desk
    await stick(pool, names, 2, first=1, blocked=NO_LANE, conflicts="held_after_sent")
    await stick(pool, names, 1, first=9, blocked=NO_LANE)

    assert await conflicts_handled(pool, "S1", reason="told them", actor="li") == ("held_after_sent",)
    assert await conflicts_handled(pool, "S9", reason="x", actor="li") == ()
    assert await conflicts_handled(pool, "S77", reason="x", actor="li") is None

    assert [one.number for one in await everything(pool, Wish(), limit=9)] == ["S2"]
    assert [card.count for card in await cards(pool, Wish())] == [1]
    async with pool.acquire() as connection:
        told = (await read_waiting(connection)).conflicts
    assert told["shop", "held_after_sent"].count == 1, "nobody is told of what was handled"
    await pool.execute("UPDATE orders SET conflicts = 'held_after_sent warehouse_exception' WHERE number = 'S1'")
    assert len(await everything(pool, Wish(), limit=9)) == 2
    await conflicts_handled(pool, "S1", reason="that too", actor="li")
    assert [one.number for one in await everything(pool, Wish(), limit=9)] == ["S2"]
    assert await pool.fetchval("SELECT count(*) FROM audit WHERE action = 'order.conflicts_handled'") == 2


async def test_the_indexes_hold_what_the_queries_ask_for(desk: tuple[asyncpg.Pool, Names]) -> None:
    """Thousands that wait for others beside a few that wait for a person: no statement may look at the thousands."""
    pool, names = desk
    await stick(pool, names, 30, first=1)
    await stick(pool, names, 30, first=101, blocked=NO_LANE, reasons="no_route")
    await stick(pool, names, 30, first=201, blocked=NO_LANE, conflicts="held_after_sent")
    await stick(pool, names, 3000, first=1001, blocked=NO_LANE, reasons="unpaid")
    await pool.execute("ANALYZE orders, lane")
    for index in ("orders_held", "orders_conflict", "lane_blocked"):
        size = await pool.fetchval("SELECT reltuples FROM pg_class WHERE relname = $1", index)
        assert size == 30, index
    assert len(await lanes(pool)) == 30
    for statement, index in (
        (work._HOLD_GROUPS, "orders_held"), (work._HOLDS, "orders_held"),
        (work._CONFLICT_GROUPS, "orders_conflict"), (work._CONFLICTS, "orders_conflict"),
    ):  # fmt: skip
        numbered = statement
        for n in (5, 4, 3, 2, 1):
            numbered = numbered.replace(f"${n}", "50" if n == 5 else "NULL")
        plan = "\n".join(r[0] for r in await pool.fetch("EXPLAIN " + numbered))
        assert index in plan and "Seq Scan on orders" not in plan, plan


async def test_what_is_held_is_counted_from_the_index_alone(desk: tuple[asyncpg.Pool, Names]) -> None:
    """It is counted every few seconds: with 100,000 held among a million, a look at each row took half a second."""
    pool, names = desk
    await stick(pool, names, 300, first=1, blocked=NO_LANE, reasons="no_route")
    await stick(pool, names, 3, first=1001, blocked=NO_LANE, reasons="held_for_person", conflicts="held_after_sent")
    await stick(pool, names, 2, first=2001, blocked=NO_LANE, reasons="held_for_person", conflicts="shipped_short")
    await stick(pool, names, 3000, first=3001, blocked=NO_LANE)
    await pool.execute("VACUUM ANALYZE orders")
    plan = "\n".join(row[0] for row in await pool.fetch("EXPLAIN " + COUNT_HELD))
    assert plan.count(" on orders") == plan.count("Index Only Scan using orders_") == 2, plan
    async with pool.acquire() as connection:
        held = (await read_waiting(connection)).held
    assert {code: group.count for (_, code), group in held.items()} == {"no_route": 300, "held_for_person": 2}


@pytest.mark.parametrize("analysed", [False, True])
async def test_cards_look_at_few_orders_but_those_that_they_name(
    desk: tuple[asyncpg.Pool, Names], migrated_url: str, analysed: bool
) -> None:
    """With 100,000 held among a million, each card read all of them for the three that it names: 3 s for the desk."""
    pool, names = desk
    for n, reasons in enumerate(("no_route", "short_of_stock", "missing:receiver.phone over_limit", "over_limit")):
        await stick(pool, names, 400, first=1001 + 1000 * n, blocked=NO_LANE, reasons=reasons)
    await stick(pool, names, 40, first=5001, blocked=NO_LANE, conflicts="shipped_short")
    await stick(pool, names, 40, first=6001, blocked=NO_LANE, conflicts="shipped_unknown_order")
    await pool.execute("UPDATE orders SET connection_id = NULL WHERE conflicts = 'shipped_unknown_order'")
    await stick(pool, names, 4000, first=10_001, blocked=NO_LANE)
    await pool.execute(f"VACUUM (INDEX_CLEANUP ON, ANALYZE {analysed}) orders")
    read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'orders'"
    async with await open_pool(migrated_url, size=1) as alone:
        await alone.execute("SELECT pg_stat_force_next_flush()")
        before, times = await pool.fetchval(read), 8
        for _ in range(times):  # planned anew five times, and then perhaps once for whatever is asked for
            found = await cards(alone, Wish())
            await alone.execute("SELECT pg_stat_force_next_flush()")
        looked_at = await pool.fetchval(read) - before
    named = sum(len(card.samples) for card in found)
    assert (len(found), named) == (6, 18)
    # Where no statistics say how few have conflicts, the rows of these may be read twice.
    assert looked_at <= times * (named + (0 if analysed else 2 * 80))


async def everything(pool: asyncpg.Pool, wish: Wish, *, limit: int) -> list[Item]:
    """All pages."""
    found: list[Item] = []
    after = None
    while page := await items(pool, wish, after=after, limit=limit):
        found += page
        after = page[-1].place
        if len(page) < limit:
            break
    return found


async def test_a_dead_letter_that_has_no_number_is_named_by_its_id(desk: tuple[asyncpg.Pool, Names]) -> None:
    pool, names = desk
    async with pool.acquire() as connection:
        await set_aside(connection, [letter(1, "S1", "json"), letter(2, "", "json", key="")])
    (card,) = await cards(pool, Wish())
    seen = await preview(pool, Wanted(code="json"), policies=policies(names), cap=9, forced=False)

    assert card.samples == seen.groups[0].samples == ("S1", "#2")


async def test_orders_that_are_held_are_counted_by_shop_and_first_reason(migrated_url: str) -> None:
    pool, names = await open_desk(migrated_url)
    held = (
        "unmapped_sku",
        "missing:receiver.phone over_limit",
        "paused",
        "refund_open over_limit",
        "unpaid no_route",
    )
    for n, reasons in enumerate(held):
        first = 1 + 10 * n
        await stick(pool, names, n + 1, first=first, blocked=None, reasons=reasons, stage=Stage.RECEIVED)
    async with pool.acquire() as connection:
        facts = await read_waiting(connection)
    counted = {place: group.count for place, group in facts.held.items()}
    assert counted == {("shop", "unmapped_sku"): 1, ("shop", "missing:receiver.phone"): 2}
    assert facts.held["shop", "unmapped_sku"].first_at == BLOCKED_AT + timedelta(seconds=1)
    await pool.close()
