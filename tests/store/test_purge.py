"""What age removes and what it leaves, against a real PostgreSQL; what a step costs is printed by the `real` test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from gateway.core.happening import Happening, Purged, Trouble
from gateway.core.order import Content, Facts, Line, Order, OrderNumber, Party, Receiver, Sku, Stage, merge
from gateway.store.orders import decode_state, encode_state
from gateway.store.purge import AGAIN_AFTER, Ages, begin_walk, count_due, purge_closed, purge_orders
from gateway.store.sql import open_pool
from gateway.store.vault import MAGIC, Vault
from gateway.watch.purge import Hours, PurgeWatch, purge_all

NOW = datetime(2026, 6, 1, 20, tzinfo=UTC)
AGES = Ages(NOW - timedelta(days=90), NOW - timedelta(days=365))
PLACES = 7
_DEAD_LETTER = (
    "event_id, source, type, order_key, number, happened_at, taken_at, body, leg, partition, position, code, message,"
    " body_sha256"
)


@pytest.fixture
async def pool(migrated_url: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await open_pool(migrated_url, size=4)
    yield pool
    await pool.close()


def an_order(stage: Stage = Stage.SHIPPED) -> Order:
    content = Content(
        NOW,
        (Line("1", Sku("SKU-1"), 2, 990),),
        Receiver(name="王小明", phone="13800001234"),
        1980,
        buyer_note="门铃坏了",
    )
    facts = Facts(party=Party.SHOP, order_no="1", version=5, rank=20, content=content)
    order = merge(Order(number=OrderNumber("A1")), facts, "shop-a")  # type: ignore[arg-type]
    return Order(**{name: getattr(order, name) for name in order.__struct_fields__} | {"stage": stage})


async def fill(pool: asyncpg.Pool, orders: int, *, days_old: int, first: int = 1, stage: Stage = Stage.SHIPPED) -> None:
    """Orders with two events, two attempts and two movements each, all of one age; balances follow the movements."""
    at = NOW - timedelta(days=days_old)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("INSERT INTO connection (name) VALUES ('shop-a'), ('wms-1') ON CONFLICT DO NOTHING")
        await connection.execute(
            "INSERT INTO stock (sku, warehouse, on_hand) SELECT 'SKU-' || n, 'WH', 0 FROM generate_series(1, $1) n"
            " ON CONFLICT DO NOTHING",
            PLACES,
        )
        numbers = "generate_series($1::bigint, $2::bigint) AS id"
        await connection.execute(
            "INSERT INTO orders (order_id, number, connection_id, stage, created_at, updated_at, state)"
            f" SELECT id, 'A' || id, 1, $3, $4, $4, $5 FROM {numbers}",
            first, first + orders - 1, str(stage), at, encode_state(an_order(stage)),
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO event (order_id, digest, event_id, connection_id, type, happened_at, taken_at, stage, body)"
            " SELECT id, int4send(e), 'e' || e, 1, 't', $3, $3, 'shipped', $4"
            f" FROM {numbers}, generate_series(1, 2) AS e",
            first, first + orders - 1, at, b"x" * 600,
        )  # fmt: skip
        await connection.execute(
            f"INSERT INTO delivery (order_id, target_id, seq, operation, key) SELECT id, 2, 1, 'create', 'create' FROM"
            f" {numbers}",
            first, first + orders - 1,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO attempt (order_id, target_id, seq, worker_id, ended_at, took_ms, result)"
            f" SELECT id, 2, 1, 1, $3, 50, r FROM {numbers}, generate_series(1, 2) AS r",
            first, first + orders - 1, at,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO movement (stock_id, order_id, on_hand, locked, committed, moved_at)"
            f" SELECT 1 + id % $4, id, m, 0, 0, $3 FROM {numbers}, generate_series(1, 2) AS m",
            first, first + orders - 1, at, PLACES,
        )  # fmt: skip
        await connection.execute("UPDATE stock s SET on_hand = l.on_hand FROM ledger l WHERE l.stock_id = s.stock_id")


async def left(pool: asyncpg.Pool) -> dict[str, int]:
    tables = ("orders", "event", "attempt", "movement", "delivery", "delivery_edit", "dead_letter", "audit")
    return {table: await pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables}


async def ledger_is_whole(pool: asyncpg.Pool) -> bool:
    apart = await pool.fetch(
        "SELECT s.stock_id FROM stock s LEFT JOIN ledger l USING (stock_id)"
        " WHERE (s.on_hand, s.locked, s.committed)"
        "    <> (coalesce(l.on_hand, 0), coalesce(l.locked, 0), coalesce(l.committed, 0))"
    )
    return apart == []


async def purge(pool: asyncpg.Pool, *, now: datetime = NOW, ages: Ages = AGES) -> dict[str, int]:
    """Everything that is due at `now`, by small steps."""
    removed: dict[str, int] = {}

    def told(rows: object) -> None:
        for table, count in dict(rows).items():  # type: ignore[call-overload]
            removed[table] = removed.get(table, 0) + count

    async with pool.acquire() as connection:
        assert await purge_all(connection, ages=lambda _: ages, now=lambda: now, told=told)
    return removed


async def test_orders_that_are_over_lose_their_timeline_and_their_buyer(pool: asyncpg.Pool) -> None:
    await fill(pool, 30, days_old=100)
    await fill(pool, 5, days_old=10, first=101)
    await pool.execute("INSERT INTO delivery_edit (order_id, target_id, seq, body, author) VALUES (3, 2, 1, 'x', 'op')")
    assert await count_due_in(pool) == {"event": 60, "attempt": 60, "movement": 60, "delivery_edit": 1, "reduced": 30}
    assert await purge(pool) == {"event": 60, "attempt": 60, "movement": 60, "delivery_edit": 1, "reduced": 30}
    assert await count_due_in(pool) == {}
    assert await left(pool) == {
        "orders": 35, "event": 10, "attempt": 10, "movement": 10, "delivery": 35, "delivery_edit": 0,
        "dead_letter": 0, "audit": 0,
    }  # fmt: skip
    assert await ledger_is_whole(pool)
    old = decode_state(await pool.fetchval("SELECT state FROM orders WHERE order_id = 1"))
    assert old.content is not None and old.content.value.receiver == Receiver() and not old.content.value.buyer_note
    assert old.content.value.lines == an_order().content.value.lines  # type: ignore[union-attr]
    young = decode_state(await pool.fetchval("SELECT state FROM orders WHERE order_id = 101"))
    assert young == an_order()


async def count_due_in(pool: asyncpg.Pool) -> dict[str, int]:
    async with pool.acquire() as connection:
        return await count_due(connection, AGES)


@pytest.mark.parametrize(
    "kept",
    [
        "INSERT INTO lane (order_id, target_id, operation, head, tail) VALUES (1, 2, 'create', 1, 1)",
        f"INSERT INTO dead_letter ({_DEAD_LETTER})"
        " VALUES ('e', 's', 't', '1', 'A1', now(), now(), '', 'inbox', -1, 1, 'json', 'x', '')",
        "UPDATE orders SET stage = 'received'",
        "UPDATE orders SET stage = 'conflict'",
        "UPDATE orders SET updated_at = '2026-05-30T00:00:00Z'",
    ],
    ids=["open lane", "open dead letter", "waiting", "conflict", "touched since"],
)
async def test_what_somebody_may_still_need_stays(pool: asyncpg.Pool, kept: str) -> None:
    await fill(pool, 1, days_old=400)
    await pool.execute(kept)
    before = await left(pool)
    assert await purge(pool) == {}
    assert await left(pool) == before


async def test_whole_orders_go_when_no_shop_looks_back_that_far(pool: asyncpg.Pool) -> None:
    await fill(pool, 4, days_old=366)
    await fill(pool, 4, days_old=364, first=11)
    await purge(pool)
    remaining = await left(pool)
    assert remaining["orders"] == 4 and remaining["delivery"] == 4 and remaining["event"] == 0
    assert await ledger_is_whole(pool)


async def test_what_was_said_of_a_conflict_goes_with_the_timeline_and_that_it_was_dealt_with_with_the_order(
    pool: asyncpg.Pool,
) -> None:
    await fill(pool, 1, days_old=100)
    await fill(pool, 1, days_old=366, first=11)
    await pool.execute(
        "INSERT INTO conflict_handled (order_id, conflicts, author, reason, private_reason)"
        " SELECT order_id, 'shipped_short', 'wang', '王小明来电', '王小明来电'::bytea FROM orders"
    )
    await purge(pool)
    rows = await pool.fetch("SELECT order_id, conflicts, author, reason, private_reason FROM conflict_handled")
    assert [tuple(row) for row in rows] == [(1, "shipped_short", "wang", "", None)]


@pytest.mark.parametrize(
    ("conflicts", "days_ago", "goes"),
    [
        ("cancelled_but_shipped", 100, True),
        ("cancelled_but_shipped", 80, False),
        ("shipped_short", 100, False),
    ],
    ids=["dealt with", "dealt with lately", "another than was dealt with"],
)
async def test_an_order_whose_conflict_was_dealt_with_is_over(
    pool: asyncpg.Pool, conflicts: str, days_ago: int, goes: bool
) -> None:
    """It stays a conflict, for nobody any more: else its buyer would be kept for ever."""
    await fill(pool, 1, days_old=100, stage=Stage.CONFLICT)
    await pool.execute("UPDATE orders SET conflicts = 'cancelled_but_shipped'")
    assert await purge(pool) == {}
    await pool.execute(
        "INSERT INTO conflict_handled (order_id, conflicts, author, handled_at) VALUES (1, $1, 'wang', $2)",
        conflicts,
        NOW - timedelta(days=days_ago),
    )
    removed = await purge(pool, now=NOW + AGAIN_AFTER, ages=AGES)
    assert removed == ({"event": 2, "attempt": 2, "movement": 2, "reduced": 1} if goes else {})
    content = decode_state(await pool.fetchval("SELECT state FROM orders")).content
    assert content is not None and (content.value.receiver == Receiver()) is goes


async def test_movements_can_be_sought_by_their_blocks_although_nothing_is_old(pool: asyncpg.Pool) -> None:
    """PostgreSQL does it by itself once a fifth of the table is new: millions of rows, all read by every look."""
    await fill(pool, 3_000, days_old=10)
    assert await purge(pool) == {}
    for index in ("movement_order", "movement_moved"):
        assert await pool.fetchval("SELECT brin_summarize_new_values($1::text::regclass)", index) == 0


async def test_a_user_who_does_not_own_the_tables_purges_them(pool: asyncpg.Pool, migrated_url: str) -> None:
    """Summarizing block ranges anew is for their owner alone: without that an order's movements take ever longer."""
    await fill(pool, 4, days_old=100)
    user = f"app_of_{await pool.fetchval('SELECT current_database()')}"
    await pool.execute(
        f"CREATE ROLE {user} LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {user}"
    )
    own = await open_pool(migrated_url.replace("user=ordergate", f"user={user}"), size=1)
    try:
        assert (await purge(own))["movement"] == 8
    finally:
        await own.close()
        await pool.execute(f"DROP OWNED BY {user}; DROP ROLE {user}")
    assert await ledger_is_whole(pool)


async def test_dead_letters_that_were_closed_and_records_go_by_their_own_age(pool: asyncpg.Pool) -> None:
    await pool.execute(
        f"INSERT INTO dead_letter ({_DEAD_LETTER}, closed_at)"
        " SELECT 'e' || n, 's', 't', '', '', $1, $1, '', 'inbox', -1, n, 'json', 'x', ''::bytea, closed_at"
        "   FROM unnest($2::timestamptz[]) WITH ORDINALITY AS t(closed_at, n)",
        NOW,
        [NOW - timedelta(days=91), NOW - timedelta(days=89), None],
    )
    await pool.execute(
        "INSERT INTO audit (at, actor, action, subject) SELECT at, 'op', 'x', 'y' FROM unnest($1::timestamptz[]) AS at",
        [NOW - timedelta(days=days) for days in range(80, 100)],
    )
    await pool.execute("INSERT INTO stock (sku, warehouse, on_hand) VALUES ('SKU-9', 'WH', 12)")
    await pool.execute(
        "INSERT INTO movement (stock_id, on_hand, locked, committed, moved_at)"
        " VALUES (1, 7, 0, 0, $1), (1, 5, 0, 0, $2)",
        NOW - timedelta(days=100),
        NOW - timedelta(days=5),
    )
    async with pool.acquire() as connection:
        steps = [await purge_closed(connection, AGES, limit=6) for _ in range(3)]
    assert [step.more for step in steps] == [True, False, False]
    assert steps[0].rows == {"dead_letter": 1, "audit": 6, "movement": 1} and steps[1].rows == {"audit": 3}
    assert await pool.fetchval("SELECT array_agg(event_id ORDER BY event_id) FROM dead_letter") == ["e2", "e3"]
    assert await ledger_is_whole(pool)


async def test_redrives_that_have_ended_go_with_their_items_by_the_same_age(pool: asyncpg.Pool) -> None:
    """As many items a step as rows of anything else: a redrive may have 20,000."""
    await pool.execute(
        "INSERT INTO redrive (wanted, private_reason, author, forced, per_s, state, next_at, ended_at)"
        " SELECT '{\"target\":\"wms-1\"}', '王小明来电'::bytea, 'wang', false, 1,"
        "        CASE WHEN ended_at IS NULL THEN 'running' ELSE 'done' END, $1, ended_at"
        "   FROM unnest($2::timestamptz[]) AS ended_at",
        NOW - timedelta(days=100),
        [NOW - timedelta(days=99), NOW - timedelta(days=91), NOW - timedelta(days=89), None],
    )
    await pool.execute(
        "INSERT INTO redrive_item (redrive_id, n, state, dead_letter_id)"
        " SELECT r, n, 'done', 10 * r + n FROM generate_series(1, 4) r, generate_series(1, 4) n"
    )
    assert await count_due_in(pool) == {"redrive": 2, "redrive_item": 8}
    async with pool.acquire() as connection:
        steps = [await purge_closed(connection, AGES, limit=6) for _ in range(3)]
    assert [step.more for step in steps] == [True, False, False]
    assert [step.rows for step in steps] == [{"redrive_item": 6, "redrive": 1}, {"redrive_item": 2, "redrive": 1}, {}]
    assert await count_due_in(pool) == {}
    assert await pool.fetchval("SELECT array_agg(redrive_id ORDER BY redrive_id) FROM redrive") == [3, 4]
    assert await pool.fetchval("SELECT count(*) FROM redrive_item WHERE redrive_id IN (3, 4)") == 8


async def test_it_goes_on_where_it_was_cut_off_and_comes_back_for_what_was_not_over(pool: asyncpg.Pool) -> None:
    await fill(pool, 20, days_old=100)
    await pool.execute("UPDATE orders SET stage = 'allocated' WHERE order_id = 2")
    async with pool.acquire() as connection:
        assert (await purge_orders(connection, AGES, now=NOW, window=8)).more
        # Cut off in the middle of a step: nothing of it has happened.
        cut_off = connection.transaction()
        await cut_off.start()
        await purge_orders(connection, AGES, now=NOW, window=8)
        await cut_off.rollback()
    assert (await left(pool))["event"] == 26 and await ledger_is_whole(pool)
    assert (await purge(pool))["event"] == 24
    await pool.execute("UPDATE orders SET stage = 'shipped', updated_at = created_at WHERE order_id = 2")
    assert await purge(pool, now=NOW + timedelta(days=1)) == {}, "the walk is past it"
    later = NOW + AGAIN_AFTER
    assert (await purge(pool, now=later))["event"] == 2
    assert await ledger_is_whole(pool)


async def test_orders_that_grew_old_since_are_found_the_next_night(pool: asyncpg.Pool) -> None:
    await fill(pool, 5, days_old=100)
    await fill(pool, 5, days_old=89, first=2001)
    assert (await purge(pool))["event"] == 10
    assert await purge(pool, now=NOW + timedelta(hours=1)) == {}, "once a night"
    ages = Ages(AGES.timeline_before + timedelta(days=2), AGES.tombstone_before)
    assert (await purge(pool, now=NOW + timedelta(days=2), ages=ages))["event"] == 10


async def test_an_order_that_somebody_has_locked_is_passed_over(pool: asyncpg.Pool) -> None:
    await fill(pool, 3, days_old=100)
    async with pool.acquire() as other, other.transaction():
        await other.fetch("SELECT 1 FROM orders WHERE number = 'A2' FOR UPDATE")
        async with asyncio.timeout(5):
            assert (await purge(pool))["event"] == 4
    async with pool.acquire() as connection:
        await begin_walk(connection, NOW)
    assert (await purge(pool))["event"] == 2


@pytest.mark.parametrize(
    ("hours", "inside", "outside"),
    [((120, 360), (2, 5), (1, 6, 23)), ((1380, 60), (23, 0), (1, 12, 22))],
)
def test_hours_are_beijing_s_and_may_go_over_midnight(
    hours: tuple[int, int], inside: tuple[int, ...], outside: tuple[int, ...]
) -> None:
    def at(hour: int) -> datetime:
        return datetime(2026, 6, 2, hour, 30, tzinfo=UTC) - timedelta(hours=8)

    assert all(Hours(*hours).contain(at(hour)) for hour in inside)
    assert not any(Hours(*hours).contain(at(hour)) for hour in outside)


@pytest.mark.real
async def test_what_a_step_costs_and_whether_intake_waits(
    pool: asyncpg.Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    """170,000 old orders, a million rows that go; a writer books the same stock meanwhile."""
    for first in range(1, 170_001, 34_000):
        await fill(pool, 34_000, days_old=100, first=first)
    await pool.execute("VACUUM ANALYZE")
    waits: list[float] = []
    over = asyncio.Event()

    async def write() -> None:
        number = 10_000_000
        while not over.is_set():
            started = time.perf_counter()
            async with pool.acquire() as connection, connection.transaction():
                await connection.fetch("SELECT 1 FROM stock WHERE stock_id = $1 FOR UPDATE", 1 + number % PLACES)
                await connection.execute(
                    "INSERT INTO movement (stock_id, order_id, on_hand, locked, committed) VALUES ($1, $2, 1, 0, 0)",
                    1 + number % PLACES, number,
                )  # fmt: skip
                await connection.execute(
                    "UPDATE stock SET on_hand = on_hand + 1 WHERE stock_id = $1", 1 + number % PLACES
                )
            waits.append(time.perf_counter() - started)
            number += 1
            await asyncio.sleep(0.005)

    def quantiles(values: list[float]) -> str:
        ranked = sorted(values)
        return ", ".join(f"{ranked[int(share * (len(ranked) - 1))] * 1e3:.1f}" for share in (0.5, 0.99, 1))

    steps: list[float] = []
    rows = reduced = 0
    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        await asyncio.sleep(5)
        alone = waits[:]
        waits.clear()
        async with pool.acquire() as connection:
            more = True
            while more:
                started = time.perf_counter()
                step = await purge_orders(connection, AGES, now=NOW)
                steps.append(time.perf_counter() - started)
                reduced += step.rows.get("reduced", 0)
                rows += sum(count for table, count in step.rows.items() if table != "reduced")
                more = step.more
        over.set()
    with capsys.disabled():
        print(
            f"\npurge: {rows} rows of 170,000 orders in {len(steps)} steps, {sum(steps):.0f} s"
            f"\na step, ms (p50, p99, worst): {quantiles(steps)}"
            f"\na writer, ms: {quantiles(alone)} alone, {quantiles(waits)} beside it"
        )
    assert (rows, reduced) == (1_020_000, 170_000)
    assert await ledger_is_whole(pool)
    assert max(steps) < sum(steps) / 2, "no step is most of it: its locks are held for one step at a time"


async def test_what_stays_is_sealed_again(migrated_url: str) -> None:
    vault = Vault([b"k" * 32])
    pool = await open_pool(migrated_url, size=2, vault=vault)
    plain = await open_pool(migrated_url, size=2)
    try:
        await fill(pool, 2, days_old=100)
        assert (await plain.fetchval("SELECT state FROM orders LIMIT 1")).startswith(MAGIC)
        assert (await purge(pool))["event"] == 4
        assert (await plain.fetchval("SELECT state FROM orders LIMIT 1")).startswith(MAGIC)
        order = decode_state(await pool.fetchval("SELECT state FROM orders LIMIT 1"))
        assert order.content is not None and order.content.value.receiver == Receiver()
    finally:
        await pool.close()
        await plain.close()


async def test_an_order_that_cannot_be_opened_keeps_its_buyer_and_is_told(migrated_url: str) -> None:
    happened: list[Happening] = []
    old, new = [await open_pool(migrated_url, size=2, vault=Vault([key * 32])) for key in (b"o", b"n")]
    try:
        await fill(old, 1, days_old=100)
        await fill(new, 2, days_old=100, first=2)
        before = await old.fetchval("SELECT state FROM orders WHERE order_id = 1")
        watch = PurgeWatch(new, ages=lambda _: AGES, hours=Hours(0, 1439), observe=happened.extend, now=lambda: NOW)
        running = asyncio.ensure_future(watch.run())
        async with asyncio.timeout(20):
            while not running.done() and not await new.fetchval("SELECT count(ended_at) FROM purge_walk"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])
        assert {(one.table, one.rows) for one in happened if isinstance(one, Purged)} >= {("reduced", 2)}
        [told] = [one.what for one in happened if isinstance(one, Trouble)]
        assert "A1" in told and "key is missing" in told
        assert await old.fetchval("SELECT state FROM orders WHERE order_id = 1") == before
    finally:
        await old.close()
        await new.close()
