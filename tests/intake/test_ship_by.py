"""What the shops' latest times to ship come to: from what a shop says to what is near, against a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest

from gateway.core.notice import PAST, Nearing
from gateway.core.order import (
    Closing,
    Confirmation,
    Facts,
    Hold,
    Party,
    Payment,
    Progress,
    ProgressStep,
    Refund,
    RefundStatus,
)
from gateway.store.queries import OrderFilter, list_orders
from gateway.store.ship_by import NEAR, UNDER_WAY, near_ship_by
from gateway.store.sql import open_pool, register_connections
from tests.intake.test_batch import EVERYTHING, SHOP, WMS, Desk, Memory, decide
from tests.intake.test_withdrawn import withdrawn

LEAD = timedelta(hours=4)
NONE = (None, None)
NOW = datetime.now(UTC).replace(microsecond=0)

pytestmark = pytest.mark.feature("F74")


@pytest.fixture
async def desk(migrated_url: str) -> AsyncIterator[Desk]:
    pool = await open_pool(migrated_url, size=8)
    yield Desk(pool, await register_connections(pool, [SHOP, WMS]))
    await pool.close()


def order(order_no: str, ship_by: datetime | None, *, paid: bool = True, version: int = 1, **more: object) -> Facts:
    content = msgspec.structs.replace(EVERYTHING, latest_ship_at=ship_by)
    return Facts(
        party=Party.SHOP,
        order_no=order_no,
        version=version,
        content=content,
        payment=Payment(paid, 2000),
        **more,  # type: ignore[arg-type]
    )


def told(order_no: str, **groups: object) -> Facts:
    return Facts(party=Party.WAREHOUSE, order_no=f"A{order_no}", **groups)  # type: ignore[arg-type]


async def near(desk: Desk, lead: timedelta = LEAD) -> tuple[Nearing | None, Nearing | None]:
    """Those that are to be shipped soon, and those that were."""
    async with desk.pool.acquire() as connection:
        found = await near_ship_by(connection, lead)
    assert found.keys() <= {("shop-a", ""), ("shop-a", PAST)}
    return found.get(("shop-a", "")), found.get(("shop-a", PAST))


async def listed(desk: Desk, **more: object) -> list[str]:
    rows = await list_orders(desk.pool, OrderFilter(near=LEAD, **more), limit=500)  # type: ignore[arg-type]
    return [row.number for row in rows]


async def pass_by(desk: Desk, passed: timedelta = UNDER_WAY) -> None:
    """What is on its way has been for so long."""
    await desk.pool.execute("UPDATE lane SET opened_at = opened_at - $1::interval", passed)


async def test_what_waits_in_a_lane_is_near_when_it_has_waited_for_a_minute(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    times = {"1": 2.0, "2": -1.0, "3": 5.0, "4": None}
    for order_no, hours in times.items():
        ship_by = None if hours is None else NOW + timedelta(hours=hours)
        await decide(decider, desk.arrival(order_no, order(order_no, ship_by)))
    assert await near(desk) == NONE, "all is on its way"
    await pass_by(desk)
    soon, past = await near(desk)
    assert soon is not None and (soon.count, soon.first_by) == (1, NOW + timedelta(hours=2))
    assert past is not None and (past.count, past.first_by) == (1, NOW - timedelta(hours=1))
    assert soon.since >= NOW and past.since >= NOW, "not since before they came"
    assert await listed(desk) == ["A2", "A1"]
    wider, _ = await near(desk, timedelta(hours=6))
    assert wider is not None and wider.count == 2
    # However a lane stands: blocked, in doubt, held by a worker.
    await desk.pool.execute("UPDATE lane SET blocked = 'unknown', in_doubt = true, worker_id = NULL")
    assert await listed(desk) == ["A2", "A1"] and None not in await near(desk)
    await desk.pool.execute("DELETE FROM lane")  # as when it is done
    assert await near(desk) == NONE and await listed(desk) == []


@pytest.mark.parametrize(
    "what",
    [
        {"closing": Closing(True)},
        {"refunds": (Refund("R1", RefundStatus.DONE, 2000),)},
        {"left": True},
    ],
    ids=["cancelled", "refunded", "left"],
)
async def test_what_is_over_at_the_shop_is_not_near(desk: Desk, what: dict[str, object]) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", order("1", NOW)))
    await pass_by(desk)
    assert await listed(desk) == ["A1"]
    await decide(decider, desk.arrival("1", order("1", NOW, version=2, **what)))
    assert await desk.rows("SELECT operation, head FROM lane") == [("create", 1)], "its create is still open"
    assert await near(desk) == NONE and await listed(desk) == []


@pytest.mark.parametrize(
    "what",
    [
        {"confirmations": (Confirmation("M1", final=False),)},
        {"progress": (Progress(ProgressStep.ACCEPTED),)},
    ],
    ids=["confirmed", "accepted"],
)
async def test_what_the_warehouse_speaks_of_has_reached_it(desk: Desk, what: dict[str, object]) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", order("1", NOW)))
    await desk.pool.execute("UPDATE lane SET in_doubt = true")
    await pass_by(desk)
    assert await listed(desk) == ["A1"]
    await decide(decider, desk.arrival("A1", told("1", **what)))
    assert await near(desk) == NONE


async def test_what_is_held_is_near_unless_others_have_to_move(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await desk.pool.execute("INSERT INTO stock (sku, warehouse, on_hand) VALUES ('S1', 'W', 0)")
    await decide(decider, desk.arrival("1", order("1", NOW)))
    await decide(decider, desk.arrival("2", order("2", NOW + timedelta(hours=1), paid=False)))
    await decide(decider, desk.arrival("3", order("3", NOW, hold=Hold(True))))
    await decide(decider, desk.arrival("4", order("4", NOW + timedelta(hours=3), hold=Hold(True, for_person=True))))
    reasons = [row[0].split()[0] for row in await desk.rows("SELECT reasons FROM orders ORDER BY number")]
    assert reasons == ["short_of_stock", "unpaid", "channel_hold", "held_for_person"]
    assert await listed(desk) == ["A1", "A4"]
    assert await listed(desk, reason="held_for_person") == ["A4"]
    assert await listed(desk, behind=(NOW, 10**15)) == ["A4"]
    # The shop gives it more time.
    await decide(decider, desk.arrival("1", order("1", NOW + timedelta(days=2), version=2)))
    assert await listed(desk) == ["A4"]


async def test_what_a_dead_letter_keeps_back_is_near_where_its_order_is_known(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", order("1", NOW, paid=False)), desk.arrival("2", b"bad"))
    assert await near(desk) == NONE
    await decide(decider, desk.arrival("1", b"bad"))
    await decide(decider, desk.arrival("1", order("1", NOW, version=2)))
    assert await desk.rows("SELECT number, code FROM dead_letter ORDER BY dead_letter_id") == [
        ("A2", "json"), ("A1", "json"), ("A1", "behind"),
    ]  # fmt: skip
    _, seen = await near(desk)
    assert seen is not None and seen.count == 1, "once, however much waits behind it"
    await desk.pool.execute("UPDATE dead_letter SET closed_at = now()")
    assert await near(desk) == NONE


async def test_what_was_sent_and_waits_for_a_refund_has_reached_its_warehouse(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", order("1", NOW)))
    await desk.pool.execute("DELETE FROM lane")
    refund = order("1", NOW, version=2, refunds=(Refund("R1", RefundStatus.OPEN, 2000),))
    await decide(decider, desk.arrival("1", refund))
    assert await desk.rows("SELECT reasons FROM orders") == [("refund_open",)]
    assert await near(desk) == NONE
    await decide(decider, desk.arrival("2", order("2", NOW, refunds=(Refund("R1", RefundStatus.OPEN, 2000),))))
    assert await listed(desk) == ["A2"], "held, and no warehouse has it"


async def test_what_was_withdrawn_and_waits_has_reached_no_warehouse(desk: Desk) -> None:
    decider = await desk.worker(Memory(0))
    await decide(decider, desk.arrival("1", order("1", NOW)))
    refund = order("1", NOW, version=2, refunds=(Refund("R1", RefundStatus.OPEN, 2000),))
    await decide(decider, desk.arrival("1", refund))
    await withdrawn(desk)
    assert await desk.rows("SELECT reasons FROM orders") == [("refund_open",)]
    assert await listed(desk) == ["A1"]


@pytest.mark.parametrize("hours", [8, -5, 0, 5.5])
async def test_an_instant_is_the_same_in_every_zone(desk: Desk, hours: float) -> None:
    decider = await desk.worker(Memory())
    there = NOW.astimezone(timezone(timedelta(hours=hours)))
    await decide(decider, desk.arrival("1", order("1", there)))
    await pass_by(desk)
    _, seen = await near(desk)
    assert seen is not None and seen.first_by == NOW


@pytest.mark.parametrize(
    "at",
    [
        datetime.min.replace(tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
    ],
    ids=lambda at: str(at.year),
)
async def test_an_instant_that_stands_for_none_is_none_and_costs_no_order(desk: Desk, at: datetime) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", order("1", at)))
    await decide(decider, desk.arrival("1", order("1", at, version=2)))
    assert await desk.rows("SELECT number, ship_by FROM orders") == [("A1", None)]
    assert await desk.rows("SELECT 1 FROM dead_letter") == []


async def test_what_a_release_before_has_stored_counts_from_its_next_change_on(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", order("1", NOW)))
    await pass_by(desk)
    await desk.pool.execute("UPDATE orders SET ship_by = NULL")
    assert await near(desk) == NONE
    await decide(decider, desk.arrival("1", order("1", NOW, version=2)))
    assert await listed(desk) == ["A1"]


async def test_looking_reads_nothing_of_what_does_not_wait(desk: Desk) -> None:
    """Two thirds of ten thousand wait: reading all of them would look cheaper, and with millions stored it is not."""
    await desk.pool.execute(
        "INSERT INTO orders (order_id, number, connection_id, stage, reasons, state, ship_by)"
        " SELECT n, 'S' || n, 1, 'shipped', CASE WHEN n % 3 = 1 THEN 'over_limit' ELSE '' END, '', now()"
        " FROM generate_series(1, 10000) n"
    )
    await desk.pool.execute(
        "INSERT INTO lane (order_id, target_id, operation, head, tail, opened_at)"
        " SELECT order_id, 2, 'create', 1, 1, now() - interval '1 hour' FROM orders WHERE order_id % 3 = 0"
    )
    sent = "INSERT INTO delivery SELECT order_id, 2, 1, 'create', 'create' FROM orders WHERE reasons = ''"
    await desk.pool.execute(sent)
    await desk.pool.execute("VACUUM ANALYZE orders, lane, delivery")
    read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'orders'"
    async with desk.pool.acquire() as connection, connection.transaction():
        before = await connection.fetchval(read)
        seen = await near_ship_by(connection, LEAD)
        assert await connection.fetchval(read) - before == seen["shop-a", PAST].count == 3333 + 3334


async def test_looking_searches_no_words_where_there_are_no_conflicts(desk: Desk) -> None:
    """Hardly any order that waits has some, and searching the words of each was half of what looking cost."""
    asked = NEAR.replace("$1", "'4 hours'").replace("$2", "'1 minute'")
    plan = [row[0] for row in await desk.pool.fetch(f"EXPLAIN {asked}")]
    searches = [line for line in plan if "held_for_person" in line]
    assert searches
    for line in searches:
        assert 0 < line.find("conflicts") < line.find("held_for_person"), line


@pytest.mark.parametrize("analysed", [False, True])
async def test_listing_page_after_page_is_as_quick_as_the_first(desk: Desk, analysed: bool) -> None:
    """PostgreSQL plans a statement anew five times, and then once for whatever is asked for."""
    await desk.pool.execute(
        "INSERT INTO orders (order_id, number, connection_id, stage, reasons, state, ship_by)"
        " SELECT n, 'S' || n, 1, 'received', CASE WHEN n % 2 = 1 THEN 'over_limit' ELSE '' END, '',"
        " now() - n * interval '1 second' FROM generate_series(1, 40000) n"
    )
    await desk.pool.execute(
        "INSERT INTO lane (order_id, target_id, operation, head, tail, opened_at)"
        " SELECT order_id, 2, 'create', 1, 1, now() - interval '1 hour' FROM orders WHERE reasons = ''"
    )
    await desk.pool.execute("INSERT INTO delivery SELECT order_id, 2, 1, 'create', 'create' FROM lane")
    if analysed:
        await desk.pool.execute("ANALYZE")
    seen: list[str] = []
    behind = None
    async with asyncio.timeout(20):
        for _ in range(8):
            rows = await list_orders(desk.pool, OrderFilter(near=LEAD, behind=behind), limit=500)
            seen += [row.number for row in rows]
            assert rows[-1].ship_by is not None
            behind = (rows[-1].ship_by, rows[-1].order_id)
    assert seen == [f"S{number}" for number in range(40_000, 36_000, -1)]
