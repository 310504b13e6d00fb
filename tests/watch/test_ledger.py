"""Balances beside the sums of their movements, in a real PostgreSQL: what is off is found, and nothing else."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from gateway.core.event import ConnectionName
from gateway.core.order import Closing, Content, Facts, Line, Party, Payment, Route, Sku
from gateway.pipeline.rules import Rules, Shop
from gateway.store.ledger import (
    LATE_S,
    BelowBooked,
    Keep,
    Pieces,
    compare,
    read_due,
    read_ledger,
    set_due,
    settle,
    sum_whole,
)
from gateway.store.outbox import start_worker
from gateway.store.purge import Ages
from gateway.store.sql import Connection, open_pool, register_connections
from gateway.store.stock import list_stock, set_stock
from gateway.watch.ledger import LedgerWatch
from gateway.watch.purge import purge_all
from tests.intake.test_batch import EVERYTHING, RULES, SHOP, WMS, Desk, Memory, decide

pytestmark = pytest.mark.feature("F52")

W = "W"
OTHER = ConnectionName("wms-2")


@pytest.fixture
async def desk(migrated_url: str) -> AsyncIterator[Desk]:
    pool = await open_pool(migrated_url, size=8)
    yield Desk(pool, await register_connections(pool, [SHOP, WMS, OTHER]))
    await pool.close()


async def count(desk: Desk, **pieces: int) -> None:
    wanted = {(Sku(sku), W): number for sku, number in pieces.items()}
    await set_stock(desk.pool, wanted, reason="counted", actor="wang", now=datetime.now(UTC))


async def checked(desk: Desk, *, whole: bool = False, late_s: float = LATE_S) -> dict[str, tuple[int, ...]]:
    """One round; what is off, by SKU."""
    async with desk.pool.acquire() as connection:
        if whole or (await read_due(connection)).whole:
            await sum_whole(connection)
            await set_due(connection, check_s=0, whole_s=3600)
        found = await compare(connection, late_s=late_s)
    rows = await desk.rows(
        "SELECT s.sku, o.on_hand, o.locked, o.committed FROM ledger_off o JOIN stock s USING (stock_id)"
    )
    assert len(rows) == found
    return {row[0]: row[1:] for row in rows}


def an_order(order_no: str, sku: str, *, version: int = 1, paid: bool = True, closed: bool = False) -> Facts:
    content: Content = Content(EVERYTHING.placed_at, (Line("1", Sku(sku), 1, 100),), EVERYTHING.receiver, 100)
    return Facts(
        party=Party.SHOP,
        order_no=order_no,
        version=version,
        content=content,
        payment=Payment(paid, 100),
        closing=Closing(closed),
    )


async def grown_old(desk: Desk, seconds: float) -> None:
    """As if all that is there had moved, and been checked, so much earlier."""
    await desk.pool.execute("UPDATE movement SET moved_at = moved_at - make_interval(secs => $1)", seconds)
    await desk.pool.execute("UPDATE ledger_check SET until_at = until_at - make_interval(secs => $1)", seconds)


async def test_what_is_off_is_found_by_the_next_check_and_is_over_when_it_is_put_right(desk: Desk) -> None:
    await count(desk, S1=10, S2=10, S3=10)
    assert await checked(desk) == {}
    await desk.pool.execute("UPDATE stock SET on_hand = on_hand + 3, locked = 2 WHERE sku = 'S2'")
    await desk.pool.execute("DELETE FROM movement USING stock s WHERE s.stock_id = movement.stock_id AND sku = 'S3'")
    assert await checked(desk) == {"S2": (3, 2, 0), "S3": (10, 0, 0)}
    since = await desk.rows("SELECT since FROM ledger_off ORDER BY 1")
    await count(desk, S2=20)
    assert await checked(desk) == {"S2": (3, 2, 0), "S3": (10, 0, 0)}, "a count moves both"
    assert await desk.rows("SELECT since FROM ledger_off ORDER BY 1") == since
    listed = await list_stock(desk.pool, prefix=None, warehouse=None, after=None, limit=10, off=True)
    assert [row.sku for row in listed] == ["S2", "S3"]
    await desk.pool.execute("UPDATE stock SET on_hand = on_hand - 3, locked = 0 WHERE sku = 'S2'")
    assert await checked(desk) == {"S3": (10, 0, 0)}


async def test_a_balance_is_never_deleted(desk: Desk) -> None:
    """Whoever books would go on by its number, past what is counted anew, and its movements would be nobody's."""
    await count(desk, S1=10)
    with pytest.raises(asyncpg.RestrictViolationError, match="ordergate stock set S1 W 0"):
        await desk.pool.execute("DELETE FROM stock WHERE sku = 'S1'")
    assert await desk.rows("SELECT on_hand FROM stock") == [(10,)]


async def test_what_is_changed_in_the_past_is_found_when_the_whole_is_summed_again(desk: Desk) -> None:
    await count(desk, S1=10)
    await count(desk, S1=7)
    await grown_old(desk, 10 * LATE_S)
    assert await checked(desk) == {}
    await desk.pool.execute("DELETE FROM movement WHERE on_hand = 10")
    assert await checked(desk) == {}, "the sum is kept"
    assert await checked(desk, whole=True) == {"S1": (10, 0, 0)}


async def test_the_kept_sum_moves_on(desk: Desk) -> None:
    await count(desk, S1=10)
    assert await checked(desk) == {}
    for pieces in (9, 12, 4):
        await count(desk, S1=pieces, S2=pieces)
        await grown_old(desk, 3 * LATE_S)
        assert await checked(desk) == {}
        kept = "SELECT k.on_hand FROM ledger_sum k JOIN stock USING (stock_id) WHERE sku = 'S1'"
        assert await desk.rows(kept) == [(pieces,)]
    await desk.pool.execute("UPDATE stock SET on_hand = 5 WHERE sku = 'S2'")
    assert await checked(desk) == {"S2": (1, 0, 0)}


async def test_what_the_kept_sum_has_missed_is_no_false_alarm(desk: Desk) -> None:
    """A transaction that took an hour, or a clock that is an hour slow."""
    await count(desk, S1=10)
    assert await checked(desk) == {}
    await set_stock(
        desk.pool, {(Sku("S1"), W): 4}, reason="counted", actor="wang", now=datetime.now(UTC) - timedelta(hours=1)
    )
    assert await checked(desk) == {}
    assert await desk.rows("SELECT on_hand FROM ledger_sum") == [(-6,)], "it is in the sum from now on"


async def test_everyday_work_of_several_workers_is_no_false_alarm(desk: Desk) -> None:
    """Booked, changed, moved to another warehouse, cancelled, counted, purged and checked at once; and what is planted
    then is found."""
    dice = random.Random(7)
    skus = [f"S{n}" for n in range(8)]
    await count(desk, **dict.fromkeys(skus, 40))
    there = {(Sku(sku), "W2"): 40 for sku in skus}
    await set_stock(desk.pool, there, reason="counted", actor="wang", now=datetime.now(UTC))
    # Two of them send orders to one warehouse, the third one to another: what is not sent yet moves to and fro.
    moved = Rules(shops={SHOP: Shop(name=SHOP, prefix="A", routes=(Route(OTHER, "W2"),))})
    workers = [await desk.worker(Memory(), rules=by) for by in (RULES, RULES, moved)]
    turns = [asyncio.Lock() for _ in workers]
    going = True

    async def book(number: int) -> None:
        for turn in range(25):
            orders = [(f"{number}-{turn}-{n}", dice.choice(skus)) for n in range(8)]
            steps = [an_order(no, sku, paid=dice.random() < 0.6) for no, sku in orders]
            other = [an_order(no, dice.choice(skus), version=2, paid=dice.random() < 0.3) for no, _ in orders]
            again = [an_order(no, sku, version=3, closed=dice.random() < 0.6) for no, sku in orders]
            for shift, facts in enumerate((steps, other, again)):
                async with turns[(number + shift) % 3]:
                    await decide(workers[(number + shift) % 3], *(desk.arrival(one.order_no, one) for one in facts))

    async def by_hand() -> None:
        while going:
            place = (Sku(dice.choice(skus)), W)
            balance = (await list_stock(desk.pool, prefix=place[0], warehouse=W, after=None, limit=1))[0]
            more = balance.on_hand + dice.randrange(10)
            await set_stock(desk.pool, {place: more}, reason="counted", actor="wang", now=datetime.now(UTC))
            await asyncio.sleep(0.01)

    def old(now: datetime) -> Ages:
        return Ages(now - timedelta(days=90), now - timedelta(days=120))

    async def grow_old_and_purge() -> None:
        async with desk.pool.acquire() as connection:
            while going:
                await connection.execute(
                    "UPDATE orders SET created_at = now() - interval '200 days', updated_at = created_at"
                    " WHERE stage = 'cancelled'"
                )
                await purge_all(connection, ages=old, now=lambda: datetime.now(UTC), told=lambda _: None)
                await connection.execute("DELETE FROM purge_walk")
                await asyncio.sleep(0.02)

    async def check() -> int:
        rounds = 0
        while going:
            # The kept sum moves on all the time, and now and then before a transaction has ended.
            assert await checked(desk, whole=rounds % 5 == 0, late_s=0.01) == {}
            rounds += 1
        return rounds

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        booking = [group.create_task(book(number)) for number in range(3)]
        beside = [group.create_task(by_hand()), group.create_task(grow_old_and_purge())]
        checking = group.create_task(check())
        await asyncio.wait(booking)
        going = False
        await asyncio.wait([*beside, checking])
    assert checking.result() > 10
    assert await desk.rows("SELECT count(*) > 0 FROM movement_past") == [(True,)]
    between = (
        "SELECT count(*) > 20 FROM (SELECT 1 FROM movement JOIN stock USING (stock_id) WHERE order_id IS NOT NULL"
        " GROUP BY order_id HAVING count(DISTINCT warehouse) > 1) AS moved"
    )
    assert await desk.rows(between) == [(True,)]
    await desk.pool.execute("UPDATE stock SET on_hand = on_hand + 1 WHERE sku = 'S5'")
    assert await checked(desk) == {"S5": (1, 0, 0)}


async def test_a_check_waits_for_nobody_and_nobody_waits_for_it(desk: Desk) -> None:
    await count(desk, S1=10)
    await checked(desk)
    async with desk.pool.acquire() as other, other.transaction():
        await other.execute("UPDATE stock SET on_hand = on_hand + 1")
        async with asyncio.timeout(5):
            assert await checked(desk, whole=True) == {}
    async with desk.pool.acquire() as other, other.transaction(isolation="repeatable_read"):
        await checked(desk, whole=True)
        await other.execute("SELECT 1 FROM stock FOR UPDATE NOWAIT")


@pytest.mark.parametrize(
    ("keep", "balance"), [("balance", (13, 2, 0)), ("movements", (10, 0, 0))], ids=["balance", "movements"]
)
async def test_the_two_are_put_right_by_whichever_is_true(desk: Desk, keep: str, balance: tuple[int, ...]) -> None:
    await count(desk, S1=10)
    await desk.pool.execute("UPDATE stock SET on_hand = 13, locked = 2")
    assert await checked(desk) == {"S1": (3, 2, 0)}
    place = (Sku("S1"), W)
    put = await settle(desk.pool, place, keep=keep, reason="counted", actor="wang", now=datetime.now(UTC))  # type: ignore[arg-type]
    assert put is not None and put.off == Pieces(3, 2, 0)
    assert await desk.rows("SELECT on_hand, locked, committed FROM stock") == [balance]
    assert await checked(desk) == {} and await checked(desk, whole=True) == {}
    seen = await read_ledger(desk.pool, place, limit=10)
    assert seen is not None and seen.off == Pieces(0, 0, 0)
    assert (seen.moved.on_hand, seen.moved.locked, seen.moved.committed) == balance
    again = await settle(desk.pool, place, keep=keep, reason="counted", actor="wang", now=datetime.now(UTC))  # type: ignore[arg-type]
    assert again is not None and again.off == Pieces(0, 0, 0)
    assert await desk.rows("SELECT action, subject FROM audit WHERE action = 'stock.settle' ORDER BY audit_id") == [
        ("stock.settle", f"S1@W +3/+2/+0 ({keep})"),
        ("stock.settle", f"S1@W +0/+0/+0 ({keep})"),
    ]


async def test_two_who_put_the_same_right_do_it_once(desk: Desk) -> None:
    await count(desk, S1=10)
    await desk.pool.execute("UPDATE stock SET on_hand = 14")
    place, at = (Sku("S1"), W), datetime.now(UTC)
    both = [settle(desk.pool, place, keep="movements", reason="x", actor=who, now=at) for who in ("wang", "li")]
    assert sorted(one.off.on_hand for one in await asyncio.gather(*both) if one) == [0, 4]
    assert await desk.rows("SELECT on_hand FROM stock") == [(10,)]


async def test_movements_that_can_be_no_balance_are_not_taken(desk: Desk) -> None:
    await count(desk, S1=10)
    await decide(await desk.worker(Memory()), desk.arrival("1", an_order("1", "S1")))
    await desk.pool.execute("DELETE FROM movement WHERE order_id IS NULL")
    place, at = (Sku("S1"), W), datetime.now(UTC)
    with pytest.raises(BelowBooked):
        await settle(desk.pool, place, keep="movements", reason="x", actor="wang", now=at)
    assert await settle(desk.pool, (Sku("S9"), W), keep="balance", reason="x", actor="wang", now=at) is None


async def test_a_difference_that_no_movement_holds_is_put_right_or_refused(desk: Desk) -> None:
    """Somebody has written movements past us, of more pieces than 32 bits count."""
    await count(desk, S1=10)
    await desk.pool.execute(
        "INSERT INTO movement (stock_id, on_hand, locked, committed, reason)"
        " SELECT stock_id, 2000000000, 0, 0, 'by hand' FROM stock, generate_series(1, 3)"
    )
    place, at = (Sku("S1"), W), datetime.now(UTC)
    with pytest.raises(BelowBooked):
        await settle(desk.pool, place, keep="movements", reason="x", actor="wang", now=at)
    put = await settle(desk.pool, place, keep="balance", reason="x", actor="wang", now=at)
    assert put is not None and put.off == Pieces(-6_000_000_000, 0, 0)
    assert await checked(desk, whole=True) == {}
    assert await desk.rows("SELECT on_hand, (SELECT sum(on_hand) FROM movement)::bigint FROM stock") == [(10, 10)]


@pytest.mark.parametrize(("counted", "by_hand", "keep"), [(3, 0, "movements"), (0, 3, "balance")])
async def test_pieces_that_are_there_after_all_go_to_who_waits_for_them(
    desk: Desk, counted: int, by_hand: int, keep: Keep
) -> None:
    """Also those that somebody has put into the balance past us, who has woken nobody."""
    await count(desk, S1=counted)
    await desk.pool.execute("UPDATE stock SET on_hand = 0")
    await decide(await desk.worker(Memory()), desk.arrival("1", an_order("1", "S1")))
    await desk.pool.execute("UPDATE stock SET on_hand = $1", by_hand)
    put = await settle(desk.pool, (Sku("S1"), W), keep=keep, reason="x", actor="wang", now=datetime.now(UTC))
    assert put is not None and put.woken == 1
    assert await desk.rows("SELECT order_key FROM inbox") == [("A1",)]


async def test_several_workers_check_no_more_often_than_one_and_go_on_after_a_restart(
    desk: Desk, migrated_url: str
) -> None:
    await count(desk, S1=10)
    await desk.pool.execute("UPDATE stock SET on_hand = 11")

    async def run(name: str) -> None:
        # Each has sessions of its own, as workers do: they end with it, and with them a lock that it held just then.
        pool = await open_pool(migrated_url, size=1)
        try:
            worker_id = await start_worker(pool, name=name, lease_s=60)
            await LedgerWatch(pool, worker_id=worker_id, observe=desk.happened.extend, every_s=0.02).run()
        finally:
            pool.terminate()

    async def until_off(wanted: int) -> None:
        question = "SELECT next_at > now(), (SELECT count(*) FROM ledger_off) FROM ledger_check"
        while await desk.rows(question) != [(True, wanted)]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    async with asyncio.timeout(20):
        tasks = [asyncio.create_task(run(name)) for name in ("a", "b", "c")]
        await until_off(1)
        due = await desk.rows("SELECT next_at, sum_at FROM ledger_check")
        await asyncio.sleep(0.3)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert await desk.rows("SELECT next_at, sum_at FROM ledger_check") == due
        assert await desk.rows("SELECT sum_at > now() + interval '50 minutes' FROM ledger_check") == [(True,)]
        assert desk.happened == []
        await desk.pool.execute("UPDATE stock SET on_hand = 10")
        await desk.pool.execute("UPDATE ledger_check SET next_at = now()")
        task = asyncio.create_task(run("d"))
        await until_off(0)
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.real
async def test_what_a_check_costs_and_whether_a_hot_balance_waits(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """30,000 SKUs with 8,000,000 movements, 1,000,000 of them of one, which a writer books meanwhile."""
    pool = desk.pool
    await pool.execute("INSERT INTO stock (sku, warehouse) SELECT 'S' || n, 'W' FROM generate_series(1, 30000) n")
    for first in range(0, 8_000_000, 1_000_000):
        await pool.execute(
            "INSERT INTO movement (stock_id, order_id, on_hand, locked, committed, moved_at)"
            " SELECT CASE WHEN n % 8 = 0 THEN 1 ELSE 1 + n % 30000 END, n, 1, 0, 0,"
            " now() - interval '1 day' + make_interval(secs => n / 100.0)"
            " FROM generate_series($1::bigint, $1 + 999999) n",
            first,
            timeout=300,
        )
    await pool.execute(
        "UPDATE stock s SET on_hand = l.on_hand FROM ledger l WHERE l.stock_id = s.stock_id", timeout=300
    )
    await pool.execute("SELECT summarize_movements(false)", timeout=300)
    await pool.execute("VACUUM ANALYZE", timeout=300)
    waits: list[float] = []
    over = asyncio.Event()

    async def write() -> None:
        while not over.is_set():
            started = time.perf_counter()
            async with pool.acquire() as connection, connection.transaction():
                await connection.fetch("SELECT 1 FROM stock WHERE stock_id = 1 FOR UPDATE")
                await connection.execute("INSERT INTO movement VALUES (1, 1, 1, 0, 0)")
                await connection.execute("UPDATE stock SET on_hand = on_hand + 1 WHERE stock_id = 1")
            waits.append(time.perf_counter() - started)
            await asyncio.sleep(0.005)

    async def took(work: Callable[[Connection], Awaitable[object]]) -> float:
        started = time.perf_counter()
        async with pool.acquire() as connection:
            await work(connection)
        return time.perf_counter() - started

    def quantiles(values: list[float]) -> str:
        ranked = sorted(values)
        return ", ".join(f"{ranked[int(share * (len(ranked) - 1))] * 1e3:.1f}" for share in (0.5, 0.99, 1))

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        await asyncio.sleep(3)
        alone = waits[:]
        waits.clear()
        whole = await took(sum_whole)
        checks = [await took(compare) for _ in range(20)]
        await pool.execute("UPDATE stock SET locked = 1 WHERE stock_id IN (1, 77)")
        finding = await took(compare)
        over.set()
    assert await desk.rows("SELECT stock_id, locked FROM ledger_off ORDER BY 1") == [(1, 1), (77, 1)]
    with capsys.disabled():
        print(
            f"\nthe whole ledger: {whole:.2f} s; a check, ms (p50, p99, worst): {quantiles(checks)};"
            f" one that finds two: {finding:.2f} s"
            f"\na writer of the hot balance, ms: {quantiles(alone)} alone, {quantiles(waits)} beside them"
        )
    assert max(checks) < whole / 3, "a check does not sum the whole history"
    assert max(waits) < whole / 3, "nobody waits for a check"
