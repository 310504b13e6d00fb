"""Imports of SKU tables beside batches of intake, on a real PostgreSQL: all or nothing, seen at once, nothing held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec
import pytest

from gateway.core.delivery import Held
from gateway.core.event import Arrival, ConnectionName, Event, EventId, Leg, Position
from gateway.core.order import (
    Content,
    Facts,
    Line,
    Operation,
    Order,
    Part,
    Party,
    Payment,
    Progress,
    ProgressStep,
    Receiver,
    Route,
    Sku,
)
from gateway.intake.batch import Decider
from gateway.pipeline.rules import Rules, Shop
from gateway.store.inbox import take
from gateway.store.orders import decode_state
from gateway.store.outbox import start_worker
from gateway.store.skus import (
    ListingWish,
    SkuImport,
    UnmappedSku,
    import_skus,
    list_listings,
    unmapped_skus,
)
from gateway.store.sql import Names, open_pool, register_connections

SHOP, PLAIN, WMS = ConnectionName("shop"), ConnectionName("plain"), ConnectionName("wms")
NOW = datetime(2026, 5, 1, 8, tzinfo=UTC)
RULES = Rules(
    shops={
        SHOP: Shop(name=SHOP, prefix="A", routes=(Route(WMS, "W"),), mapped=True),
        PLAIN: Shop(name=PLAIN, prefix="B", routes=(Route(WMS, "W"),)),
    }
)


class Outlet:
    """Takes everything."""

    def __init__(self) -> None:
        self.held: list[Held] = []

    def room(self, target: ConnectionName, operation: Operation) -> bool:
        return True

    def give_back(self, target: ConnectionName, operation: Operation) -> None:
        return

    def uncertain(self) -> None:
        return

    def take(self, held: Sequence[Held]) -> None:
        self.held += held


class Desk:
    def __init__(self, pool: asyncpg.Pool, names: Names) -> None:
        self.pool = pool
        self.names = names
        self.shop_id = names.id(SHOP)
        self.outlet = Outlet()
        self.count = 0

    async def worker(self, rules: Rules = RULES) -> Decider:
        return Decider(
            pool=self.pool,
            names=self.names,
            rules=rules,
            decoders=dict.fromkeys((*rules.shops, WMS), lambda event: msgspec.msgpack.decode(event.body, type=Facts)),
            outlet=self.outlet,
            worker_id=await start_worker(self.pool, name="test", lease_s=60),
            observe=lambda _: None,
            now=lambda: NOW,
            reach=lambda _: None,
        )

    def order(self, order_no: str, *skus: str, paid: bool = True, shop: ConnectionName = SHOP) -> Arrival:
        lines = tuple(Line(str(n), Sku(sku), 1, 100, f"名 {sku}") for n, sku in enumerate(skus, 1))
        self.count += 1
        facts = Facts(
            party=Party.SHOP,
            order_no=order_no,
            version=self.count,
            content=Content(NOW, lines, Receiver(name="张三"), 100),
            payment=Payment(paid, 100),
        )
        event = Event(
            id=EventId(f"e{self.count}"),
            source=shop,
            type="test",
            order_key=order_no,
            time=NOW,
            body=msgspec.msgpack.encode(facts),
        )
        return Arrival(event, Position(Leg.KAFKA, 0, self.count), NOW)

    async def decide(self, worker: Decider, *arrivals: Arrival) -> None:
        await worker.decide(worker.prepare(arrivals), leg=Leg.KAFKA)

    async def drain(self, worker: Decider) -> list[str]:
        """Decide what stands in the inbox; the numbers."""
        async with self.pool.acquire() as connection, connection.transaction():
            arrivals = await take(connection, 1000)
        await self.decide(worker, *arrivals)
        return [arrival.event.order_key for arrival in arrivals]

    async def bring(
        self, *wishes: ListingWish, shop_ids: Sequence[int] = (), replace: bool = False, dry_run: bool = False
    ) -> SkuImport:
        return await import_skus(
            self.pool,
            shop_ids or [self.shop_id],
            wishes,
            replace=replace,
            dry_run=dry_run,
            reason="new table",
            actor="admin/wang",
            now=NOW,
        )

    async def table(self) -> dict[str, tuple[Part, ...]]:
        rows = await list_listings(self.pool, self.shop_id, prefix=None, after=None, limit=None)
        return {listing.sku: listing.parts for listing, _ in rows}

    async def stored(self, number: str) -> Order:
        return decode_state(await self.pool.fetchval("SELECT state FROM orders WHERE number = $1", number))

    async def inbox(self) -> list[str]:
        return [row[0] for row in await self.pool.fetch("SELECT order_key FROM inbox ORDER BY inbox_id")]


@pytest.fixture
async def desk(migrated_url: str) -> AsyncIterator[Desk]:
    pool = await open_pool(migrated_url, size=8)
    yield Desk(pool, await register_connections(pool, [SHOP, PLAIN, WMS]))
    await pool.close()


def wish(sku: str, *parts: Part, **more: Any) -> ListingWish:
    return ListingWish(sku=Sku(sku), parts=parts or (part(f"w-{sku}"),), **more)


def part(sku: str, pieces: int = 1, *, gift: bool = False) -> Part:
    return Part(Sku(sku), pieces, gift)


def did(**counts: int) -> SkuImport:
    return SkuImport(applied=True, **{"new": 0, "changed": 0, "unchanged": 0, "removed": 0, "frees": 0, **counts})


@pytest.mark.feature("F125")
async def test_what_an_import_does_and_a_preview_only_says(desk: Desk) -> None:
    first = (wish("a"), wish("b", part("x", 2), part("g", gift=True)), wish("c"))
    preview = await desk.bring(*first, dry_run=True)
    assert preview == msgspec.structs.replace(did(new=3), applied=False)
    assert await desk.table() == {}
    assert await desk.bring(*first) == did(new=3)
    assert await desk.bring(*first) == did(unchanged=3)
    assert await desk.bring(wish("b", part("x", 3)), wish("d")) == did(new=1, changed=1)
    assert await desk.table() == {
        "a": (part("w-a"),),
        "b": (part("x", 3),),
        "c": (part("w-c"),),
        "d": (part("w-d"),),
    }
    preview = await desk.bring(wish("a"), replace=True, dry_run=True)
    assert preview == msgspec.structs.replace(did(unchanged=1, removed=3), applied=False)
    assert await desk.bring(wish("a"), replace=True) == did(unchanged=1, removed=3)
    assert await desk.table() == {"a": (part("w-a"),)}
    rows = await desk.pool.fetch(
        "SELECT actor, action, subject, convert_from(private_reason, 'UTF8') FROM audit ORDER BY audit_id"
    )
    assert tuple(rows[0]) == (
        "admin/wang",
        "skus.import",
        "shop: 3 new, 0 changed, 0 removed",
        "new table",
    )
    assert len(rows) == 4 and await desk.pool.fetchval("SELECT version FROM sku_table") == 3


async def test_an_import_that_fails_leaves_nothing(desk: Desk) -> None:
    await desk.bring(wish("a"))
    with pytest.raises(asyncpg.CheckViolationError):
        await desk.bring(wish("a", part("y")), wish("b", part("x", 0)), replace=True)
    assert await desk.table() == {"a": (part("w-a"),)}
    assert await desk.pool.fetchval("SELECT count(*) FROM audit") == 1


async def test_what_the_file_does_not_say_stays(desk: Desk) -> None:
    await desk.bring(wish("a", item_id="i1", sku_id="s1", title="杯", publish=True))
    await desk.pool.execute("UPDATE listing SET sent = 5, failures = 3, refused = 'off the shelf'")
    told = "SELECT item_id, sku_id, title, publish, sent, failures, refused FROM listing"
    await desk.bring(wish("a"))
    assert tuple(await desk.pool.fetchrow(told)) == ("i1", "s1", "杯", True, 5, 3, "off the shelf")
    await desk.bring(wish("a", part("x", 2)))
    assert tuple(await desk.pool.fetchrow(told)) == ("i1", "s1", "杯", True, 5, 0, None)
    await desk.bring(wish("a", part("x", 2), item_id="i2"))
    assert tuple(await desk.pool.fetchrow(told)) == ("i2", "s1", "杯", True, None, 0, None)


@pytest.mark.feature("F125")
async def test_held_orders_go_on_when_their_skus_come(desk: Desk) -> None:
    worker = await desk.worker()
    await desk.decide(
        worker,
        desk.order("1", "a"),
        desk.order("2", "a", "b"),
        desk.order("3", "z"),
        desk.order("4", "a", paid=False),
        desk.order("5", "a", shop=PLAIN),
    )
    assert [(await desk.stored(number)).reasons for number in ("A1", "A2", "A4", "B5")] == [
        ("unmapped_sku",),
        ("unmapped_sku",),
        ("unpaid", "unmapped_sku"),
        (),
    ]
    assert await unmapped_skus(desk.pool, [desk.shop_id], limit=10) == [
        UnmappedSku(sku="a", name="名 a", orders=3),
        UnmappedSku(sku="b", name="名 b", orders=1),
        UnmappedSku(sku="z", name="名 z", orders=1),
    ]
    assert (await desk.bring(wish("a"), dry_run=True)).frees == 2 and await desk.inbox() == []
    assert await desk.bring(wish("a", part("x", 2))) == did(new=1, frees=2)
    assert await desk.drain(worker) == ["A1", "A2", "A4"]
    order = await desk.stored("A1")
    assert (order.stage, order.reasons, order.commands[0].key) == ("allocated", (), "create")
    assert (await desk.stored("A2")).reasons == ("unmapped_sku",)
    assert (await desk.stored("A4")).reasons == ("unpaid",)
    assert [held.delivery.order.number for held in desk.outlet.held] == ["B5", "A1"]
    # Sent orders are left alone, whatever becomes of the table.
    assert await desk.bring(wish("a", part("y"))) == did(changed=1, frees=0)
    assert await desk.inbox() == ["A2", "A4"]


async def test_held_orders_of_a_renamed_shop_go_on_by_its_table(desk: Desk) -> None:
    new = ConnectionName("new")
    await desk.decide(await desk.worker(), desk.order("1", "a"), desk.order("2", "a", paid=False))
    desk.names = await register_connections(desk.pool, [SHOP, PLAIN, WMS, new])
    shop_ids = [desk.names.id(new), desk.shop_id]
    shop = msgspec.structs.replace(RULES.shops[SHOP], name=new)
    worker = await desk.worker(Rules(shops={new: shop}, renamed={SHOP: new}))
    assert [one.orders for one in await unmapped_skus(desk.pool, shop_ids, limit=10)] == [2]
    assert await desk.bring(wish("a", part("x", 2)), shop_ids=shop_ids) == did(new=1, frees=2)
    assert await desk.drain(worker) == ["A1", "A2"]
    order = await desk.stored("A1")
    assert (order.connection, order.stage, order.reasons) == (SHOP, "allocated", ())
    assert (await desk.stored("A2")).reasons == ("unpaid",)
    await desk.decide(worker, desk.order("2", "b", shop=new))
    assert (await desk.stored("A2")).reasons == ("unmapped_sku",), "it is looked up anew whenever it changes"


async def test_a_sent_order_that_is_held_for_a_sku_it_was_given_since_goes_on_when_that_comes(desk: Desk) -> None:
    """What it was sent with stays what it was."""
    worker = await desk.worker()
    await desk.pool.execute("INSERT INTO stock (sku, warehouse, on_hand) VALUES ('w-a', 'W', 9), ('w-b', 'W', 9)")
    await desk.bring(wish("a"))
    await desk.decide(worker, desk.order("1", "a"))
    await desk.decide(worker, desk.order("1", "a", "b"))
    order = await desk.stored("A1")
    assert (order.stage, order.reasons, order.conflicts) == ("received", ("unmapped_sku",), ("changed_after_sent",))

    assert await desk.bring(wish("a", part("w-a", 2)), wish("b")) == did(new=1, changed=1, frees=1)
    assert await desk.drain(worker) == ["A1"]

    order = await desk.stored("A1")
    assert (order.stage, order.reasons, [command.key for command in order.commands]) == ("allocated", (), ["create"])
    assert [(booking.sku, booking.committed) for booking in order.booked] == [("w-a", 1), ("w-b", 1)]
    assert await desk.bring(wish("b", part("y"))) == did(changed=1) and await desk.inbox() == []


@pytest.mark.feature("F125")
async def test_other_workers_see_a_new_table_with_their_next_batch(desk: Desk) -> None:
    one, two = await desk.worker(), await desk.worker()
    await desk.bring(wish("a", part("x")))
    for number, worker in (("1", one), ("2", two)):
        await desk.decide(worker, desk.order(number, "a"))
        assert (await desk.stored(f"A{number}")).recipes[0].parts == (part("x"),)  # type: ignore[index]
    await desk.bring(wish("a", part("y", 3)))
    for number, worker in (("3", one), ("4", two)):
        await desk.decide(worker, desk.order(number, "a"))
        assert (await desk.stored(f"A{number}")).recipes[0].parts == (part("y", 3),)  # type: ignore[index]
    await desk.bring(wish("b"), replace=True)
    await desk.decide(one, desk.order("5", "a"))
    assert (await desk.stored("A5")).reasons == ("unmapped_sku",)
    assert (await desk.stored("A1")).recipes[0].parts == (part("x"),)  # type: ignore[index]


@pytest.mark.feature("F125")
async def test_a_batch_and_an_import_do_not_pass_each_other(desk: Desk) -> None:
    """A batch that has found a SKU unmapped is waited for, and its order is woken; a batch after it waits in turn."""
    first, second = await desk.worker(), await desk.worker()
    await desk.pool.execute("INSERT INTO stock (sku, warehouse, on_hand) VALUES ('q', 'W', 9)")
    async with desk.pool.acquire() as elsewhere, asyncio.TaskGroup() as group:
        async with elsewhere.transaction():
            await elsewhere.execute("SELECT 1 FROM stock FOR UPDATE")
            # The second order holds the batch up where it locks the stock.
            group.create_task(desk.decide(first, desk.order("1", "a"), desk.order("2", "q", shop=PLAIN)))
            await _until_waiting(desk.pool, stock=1)
            importing = group.create_task(desk.bring(wish("a")))
            await _until_waiting(desk.pool, stock=1, tables=1)
            later = group.create_task(desk.decide(second, desk.order("3", "a")))
            await _until_waiting(desk.pool, stock=1, tables=2)
            assert not importing.done() and not later.done()
    assert importing.result() == did(new=1, frees=1), "the order of the batch that was under way"
    assert await desk.inbox() == ["A1"]
    assert (await desk.stored("A3")).reasons == ()
    await desk.drain(second)
    assert (await desk.stored("A1")).reasons == ()


async def _until_waiting(pool: asyncpg.Pool, *, stock: int, tables: int = 0) -> None:
    """Until so many wait for a row of stock, and for a shop's table."""
    query = """
        SELECT count(*) FILTER (WHERE wait_event = 'transactionid'), count(*) FILTER (WHERE wait_event = 'advisory')
          FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"""
    async with asyncio.timeout(10):
        while True:
            if tuple(await pool.fetchrow(query)) == (stock, tables):
                return
            await asyncio.sleep(0.01)


async def test_imports_and_batches_in_a_crowd_leave_no_order_held(desk: Desk) -> None:
    workers = [await desk.worker() for _ in range(3)]
    skus = [f"s{n}" for n in range(12)]

    async def order(worker: Decider, number: int) -> None:
        for round_ in range(15):
            await desk.decide(worker, desk.order(f"{number}-{round_}", skus[(5 * round_ + number) % len(skus)]))

    async def bring() -> None:
        for sku in skus:
            await desk.bring(wish(sku))

    async with asyncio.TaskGroup() as group:
        for number, worker in enumerate(workers):
            group.create_task(order(worker, number))
        group.create_task(bring())
    await desk.drain(workers[0])
    stages = await desk.pool.fetch("SELECT stage, reasons, count(*) FROM orders GROUP BY 1, 2")
    assert [tuple(row) for row in stages] == [("allocated", "", 45)]


async def test_a_warehouse_that_speaks_first_keeps_no_sku_from_being_looked_up(desk: Desk) -> None:
    await desk.bring(wish("a"))
    facts = Facts(party=Party.WAREHOUSE, order_no="A1", progress=(Progress(ProgressStep.ACCEPTED),))
    report = Event(
        id=EventId("r"), source=WMS, type="test", order_key="A1", time=NOW, body=msgspec.msgpack.encode(facts)
    )
    worker = await desk.worker()
    await desk.decide(worker, Arrival(report, Position(Leg.KAFKA, 0, 0), NOW), desk.order("1", "a"))
    assert (await desk.stored("A1")).reasons == ()
    again = msgspec.structs.replace(report, id=EventId("r2"))
    await desk.decide(await desk.worker(), Arrival(again, Position(Leg.KAFKA, 0, 1), NOW))
    assert (await desk.stored("A1")).reasons == ()


async def test_two_imports_of_one_shop_take_turns(desk: Desk) -> None:
    done = await asyncio.gather(*(desk.bring(wish("a", part("x", n)), wish(f"b{n}")) for n in range(1, 6)))
    assert sum(one.new for one in done) == 6 and sum(one.changed for one in done) == 4
    assert await desk.pool.fetchval("SELECT version FROM sku_table") == 5


async def test_only_mapped_shops_cost_a_batch_something(desk: Desk) -> None:
    worker, asked = await desk.worker(), list[str]()

    @asynccontextmanager
    async def logged(arrival: Arrival) -> AsyncIterator[tuple[Any, Sequence[Arrival]]]:
        async with desk.pool.acquire() as connection, connection.transaction():
            with connection.query_logger(lambda record: asked.append(record.query)):
                yield connection, [arrival]

    for shop, number, queries in ((PLAIN, "1", 0), (SHOP, "2", 3), (SHOP, "3", 2)):
        asked.clear()
        arrival = desk.order(number, "a", shop=shop)
        await worker.decide_in(lambda arrival=arrival: logged(arrival))
        about = [query for query in asked if "sku_table" in query or "advisory" in query or "listing" in query]
        assert len(about) == queries, about
