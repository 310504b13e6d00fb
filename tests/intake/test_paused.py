"""A paused shop: what comes in is taken and waits, what a warehouse has is still cancelled; then all of it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime

import msgspec
import pytest

from gateway.core.event import ConnectionName
from gateway.core.order import Closing, Facts, Payment
from gateway.pipeline.rules import Rules
from gateway.store.control import pause, resume, settled_obstacles
from gateway.store.inbox import put, put_in
from gateway.store.sql import register_connections
from gateway.store.stock import reconsider
from gateway.store.work import Wish, cards
from tests.intake.test_batch import EVERYTHING, NOW, RULES, SHOP, WMS, Desk, Memory, decide, desk, paid, said
from tests.intake.test_sealed import read_inbox
from tests.intake.test_verdicts import count_stock, next_one, story

__all__ = ["desk"]

pytestmark = pytest.mark.feature("F129")
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
STATES = "SELECT number, stage, reasons FROM orders ORDER BY number"
COMMANDS = "SELECT number, operation FROM delivery JOIN orders USING (order_id) ORDER BY number, seq"


async def halt(desk: Desk, name: str = SHOP, *, configured: Collection[str] = ()) -> None:
    assert await pause(desk.pool, name, configured=configured, reason="wrong prices", actor="test")


async def go_on(desk: Desk, name: str = SHOP) -> int | None:
    return await resume(desk.pool, name, configured=(), reason="put right", actor="test", now=datetime.now(UTC))


async def test_a_paid_order_of_a_paused_shop_waits_and_goes_on_by_itself(desk: Desk) -> None:
    await count_stock(desk, 5)
    memory = Memory()
    decider = await desk.worker(memory)
    await halt(desk)
    await decide(decider, next_one(desk, paid("1")))
    assert await desk.rows(STATES) == [("A1", "received", "paused")] and not memory.held
    assert await desk.rows("SELECT locked, committed FROM stock") == [(2, 0)], "kept for it meanwhile"
    (card,) = await cards(desk.pool, Wish())
    assert (card.kind, card.connection, card.code, card.samples) == ("hold", SHOP, "paused", ("A1",))

    assert await go_on(desk) == 1
    await read_inbox(desk, decider)
    assert await desk.rows(STATES) == [("A1", "allocated", "")] and len(memory.held) == 1
    assert await desk.rows("SELECT locked, committed FROM stock") == [(0, 2)]
    assert await story(desk) == [("#1", "received", ("paused",)), ("again", "allocated", ())]
    assert await go_on(desk) == 0, "nobody waits any more"


async def test_what_is_in_the_inbox_when_the_shop_is_paused_waits_too(desk: Desk) -> None:
    """As what a poller has read, or a webhook has taken while Kafka was away."""
    decider = await desk.worker(Memory())
    await put(desk.pool, [desk.arrival("1", paid("1")).event])
    await halt(desk)
    await read_inbox(desk, decider)
    assert await desk.rows(STATES) == [("A1", "received", "paused")]


async def test_a_wish_to_decide_it_again_does_not_get_past_the_pause(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, next_one(desk, said(1, content=EVERYTHING, payment=Payment(False))))
    await halt(desk)
    await decide(decider, next_one(desk, said(2, payment=Payment(True, 2000))))
    async with desk.pool.acquire() as connection, connection.transaction():
        await put_in(connection, [reconsider("A1", SHOP, NOW)])
    await read_inbox(desk, decider)
    assert await desk.rows(STATES) == [("A1", "received", "paused")]
    assert await story(desk) == [("#1", "received", ("unpaid",)), ("#2", "received", ("paused",))]


@pytest.mark.parametrize("since", ["prefix = 'A'", "prefix = 'B', former = '{A}'"])
async def test_a_shop_is_paused_and_goes_on_with_the_orders_it_had_under_another_name(desk: Desk, since: str) -> None:
    await decide(await desk.worker(Memory()), desk.arrival("1", said(1, content=EVERYTHING, payment=Payment(False))))
    new = ConnectionName("shop-n")
    desk.names = await register_connections(desk.pool, [SHOP, WMS, new])
    await desk.pool.execute("UPDATE connection SET prefix = 'A', adapter = 'webhook' WHERE name <> $1", WMS)
    await desk.pool.execute(f"UPDATE connection SET {since} WHERE name = $1", new)
    shop = msgspec.structs.replace(RULES.shops[SHOP], name=new)
    decider = await desk.worker(Memory(), rules=Rules(shops={new: shop}, renamed={SHOP: new}))
    await halt(desk, new)
    told = desk.arrival("1", said(2, payment=Payment(True, 2000)))
    await decide(decider, msgspec.structs.replace(told, event=msgspec.structs.replace(told.event, source=new)))
    assert await desk.rows(STATES) == [("A1", "received", "paused")]

    assert await go_on(desk, new) == 1
    await read_inbox(desk, decider)
    assert await desk.rows(STATES) == [("A1", "allocated", "")]


async def test_a_shop_is_resumed_with_the_orders_it_had_two_names_and_a_prefix_before(desk: Desk) -> None:
    between, new = ConnectionName("shop-m"), ConnectionName("shop-n")
    desk.names = await register_connections(desk.pool, [SHOP, between, WMS, new])
    await desk.pool.execute("UPDATE connection SET adapter = 'webhook' WHERE name <> $1", WMS)
    await desk.pool.execute("UPDATE connection SET prefix = 'A' WHERE name = $1", SHOP)
    await desk.pool.execute("UPDATE connection SET prefix = 'B', former = '{A}' WHERE name = $1", between)
    await desk.pool.execute("UPDATE connection SET prefix = 'B' WHERE name = $1", new)
    shop = msgspec.structs.replace(RULES.shops[SHOP], name=new)
    decider = await desk.worker(Memory(), rules=Rules(shops={new: shop}, renamed={SHOP: new, between: new}))
    await halt(desk, new)
    await decide(decider, desk.arrival("1", paid("1")))
    await desk.pool.execute("UPDATE orders SET connection_id = $1", desk.names.id(SHOP))
    assert await desk.rows(STATES) == [("A1", "received", "paused")]
    assert await go_on(desk, new) == 1


async def test_a_shop_that_has_taken_the_prefix_of_another_ones_name_of_before_is_not_paused_with_it(
    desk: Desk,
) -> None:
    """`ordergate check` says of it that its numbers could be the other's, and it starts all the same."""
    new, taker = ConnectionName("shop-n"), ConnectionName("shop-t")
    await register_connections(desk.pool, [new, taker])
    await desk.pool.execute("UPDATE connection SET adapter = 'webhook', prefix = 'B' WHERE name <> $1", WMS)
    await desk.pool.execute("UPDATE connection SET former = '{A}' WHERE name = $1", SHOP)
    await desk.pool.execute("UPDATE connection SET prefix = 'A' WHERE name = $1", taker)
    await halt(desk, new, configured=(new, taker, WMS))
    assert await desk.rows("SELECT name FROM connection WHERE paused ORDER BY name") == [(SHOP,), (new,)]


async def test_what_a_warehouse_has_is_cancelled_and_what_it_has_not_is_over(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", paid("1")))
    await halt(desk)
    await decide(decider, desk.arrival("2", paid("2")))
    for number in ("1", "2"):
        closed = Facts(party=paid(number).party, order_no=number, version=2, closing=Closing(True))
        await decide(decider, desk.arrival(number, closed))
    assert await desk.rows(STATES) == [("A1", "cancelled", ""), ("A2", "cancelled", "")]
    assert await desk.rows(COMMANDS) == [("A1", "create"), ("A1", "cancel")]
    assert await go_on(desk) == 0


async def test_an_order_that_was_sent_stays_where_it_is(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", paid("1")))
    await halt(desk)
    await decide(decider, desk.arrival("1", said(2, payment=Payment(True, 2000))))
    assert await desk.rows(STATES) == [("A1", "allocated", "")]


async def test_an_order_that_is_short_of_stock_takes_what_comes_and_waits(desk: Desk) -> None:
    await count_stock(desk, 0)
    decider = await desk.worker(Memory())
    await halt(desk)
    await decide(decider, desk.arrival("1", paid("1")))
    assert await desk.rows(STATES) == [("A1", "received", "paused short_of_stock")]
    await count_stock(desk, 5)
    await read_inbox(desk, decider)
    assert await desk.rows(STATES) == [("A1", "received", "paused")]
    assert await go_on(desk) == 1
    await read_inbox(desk, decider)
    assert await desk.rows(STATES) == [("A1", "allocated", "")]


async def test_a_paused_warehouse_is_no_paused_shop(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await halt(desk, WMS)
    await decide(decider, desk.arrival("1", paid("1")))
    assert await desk.rows(STATES) == [("A1", "allocated", "")]
    assert await go_on(desk, WMS) == 0


async def test_orders_of_another_shop_go_on(desk: Desk) -> None:
    shops = RULES.shops | {WMS: msgspec.structs.replace(RULES.shops[SHOP], name=WMS, prefix="B")}
    decider = await desk.worker(Memory(), rules=Rules(shops=shops))
    await halt(desk, WMS)
    await decide(decider, desk.arrival("1", paid("1")))
    assert await desk.rows(STATES) == [("A1", "allocated", "")]


async def test_a_resume_waits_for_the_batch_that_has_an_order_wait(desk: Desk) -> None:
    await halt(desk)
    async with desk.pool.acquire() as connection, connection.transaction():
        # As a batch that has read the pause and is not committed.
        assert (await settled_obstacles(connection)).paused == {SHOP}
        ended = asyncio.create_task(go_on(desk), name="resume")
        await somebody_waits(desk)
        assert not ended.done()
    assert await ended == 0


async def test_a_batch_waits_for_the_resume_and_has_nobody_wait_then(desk: Desk) -> None:
    await halt(desk)
    decider = await desk.worker(Memory())
    async with desk.pool.acquire() as connection:
        async with connection.transaction():
            await connection.execute("LOCK TABLE audit")
            ended = asyncio.create_task(go_on(desk), name="resume")
            await somebody_waits(desk)
            decided = asyncio.create_task(decide(decider, desk.arrival("1", paid("1"))), name="batch")
            await somebody_waits(desk, 2)
        await ended
        await decided
    assert await desk.rows(STATES) == [("A1", "allocated", "")]


async def test_what_is_set_aside_while_a_batch_waits_for_the_resume_is_in_front_of_it(desk: Desk) -> None:
    await halt(desk)
    decider, other = await desk.worker(Memory()), await desk.worker(Memory())
    async with desk.pool.acquire() as connection:
        async with connection.transaction():
            await connection.execute("LOCK TABLE audit")
            ended = asyncio.create_task(go_on(desk), name="resume")
            await somebody_waits(desk)
            decided = asyncio.create_task(decide(decider, desk.arrival("1", paid("1"))), name="batch")
            await somebody_waits(desk, 2)
            await decide(other, desk.arrival("1", b"bad"))
        await ended
        await decided
    assert await desk.rows("SELECT code FROM dead_letter ORDER BY dead_letter_id") == [("json",), ("behind",)]
    assert await desk.rows(STATES) == []


async def test_the_orders_of_a_paused_shop_that_has_left_the_configuration_wait_as_well(desk: Desk) -> None:
    await count_stock(desk, 0)
    await decide(await desk.worker(Memory()), desk.arrival("1", paid("1")))
    await halt(desk)
    without = await desk.worker(Memory(), rules=Rules(shops={}, targets=frozenset({WMS})))
    await count_stock(desk, 5)
    await read_inbox(desk, without)
    assert await desk.rows(STATES) == [("A1", "received", "paused")]
    assert await go_on(desk) == 1
    await read_inbox(desk, without)
    assert await desk.rows(STATES) == [("A1", "allocated", "")]


async def somebody_waits(desk: Desk, sessions: int = 1) -> None:
    async with asyncio.timeout(10):
        while await desk.pool.fetchval(WAITING) < sessions:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
