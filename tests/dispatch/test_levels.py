"""Stock levels told to a shop: a real PostgreSQL, a shop on a real socket, and a clock of the test."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import asyncpg
import msgspec
import pytest
from aiohttp import web

from gateway.core.access import Level
from gateway.core.delivery import Answer, Done, Failed, Rejected, Result, Throttled, Unauthorised, Unknown
from gateway.core.event import ConnectionName
from gateway.core.happening import Happening, LevelTold
from gateway.core.order import Part, Sku
from gateway.dispatch.breaker import Breaker, BreakerPolicy
from gateway.dispatch.levels import LevelPolicy, LevelPublisher
from gateway.dispatch.retry import RetryPolicy
from gateway.sdk.http import Http, NoAnswer, NotSent
from gateway.sdk.pull import LevelTarget
from gateway.store.control import UNTIL_ENDED, Forced
from gateway.store.levels import LevelRule, begin, due_levels, forget_told, told
from gateway.store.outbox import start_worker
from gateway.store.skus import ListingWish, import_skus, publish_again
from gateway.store.sql import open_pool, register_connections

SHOP = ConnectionName("shop")


class FakeShop:
    """A shop's server: keeps the levels it is told, and answers as the test says (`answer` of a SKU, else 200)."""

    def __init__(self) -> None:
        self.levels: dict[str, int] = {}
        self.calls: list[tuple[str, int]] = []
        self.answers: dict[str, str] = {}
        self.busy = self.busiest = 0
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        """Happens once, while a call is under way."""

    async def __aenter__(self) -> FakeShop:
        application = web.Application()
        application.router.add_post("/", self._take)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        level = msgspec.json.decode(await request.read(), type=Level)
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        await asyncio.sleep(0)
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        self.busy -= 1
        self.calls.append((level.sku, level.quantity))
        answer = self.answers.get(level.sku, "done")
        if answer in ("done", "hang_up"):
            self.levels[level.sku] = level.quantity
        if answer == "hang_up":
            assert request.transport is not None
            request.transport.close()
        return web.Response(text=answer)


class ShopTarget:
    """What an adapter would be."""

    def __init__(self, http: Http, url: str) -> None:
        self._http = http
        self._url = url

    async def set_level(self, level: Level, *, deadline_s: float) -> Answer:
        try:
            reply = await self._http.post(self._url, msgspec.json.encode(level), deadline_s=deadline_s)
        except NotSent as error:
            return error.as_answer()
        except NoAnswer as error:
            return error.as_unknown()
        return {
            "done": Done(),
            "failed": Failed("http_500"),
            "busy": Throttled(7.0),
            "enough": Throttled(),
            "no_such_item": Rejected("no_such_item", "下架"),
            "who_are_you": Unauthorised("27", "session expired"),
            "odd": Unknown("odd"),
        }[reply.body.decode()]


class Pace:
    """The connection's budget."""

    def __init__(self) -> None:
        self.turns = 0
        self.paused_s: list[float] = []
        self.before: Callable[[], Awaitable[object]] | None = None

    async def turn(self) -> None:
        self.turns += 1
        if self.before is not None:
            await self.before()

    def pause(self, for_s: float) -> None:
        self.paused_s.append(for_s)


class Token:
    """The shop's authorisation."""

    version = 7

    def __init__(self) -> None:
        self.held = False
        self.refusals: list[tuple[int, str]] = []

    def refused(self, version: int, answer: Unauthorised) -> None:
        self.refusals.append((version, answer.code))
        self.held = True


class Owner:
    """The ownership of the shop; `between` is what happens between two looks."""

    def __init__(self, worker_id: int) -> None:
        self.worker_id = worker_id
        self.stopping = False
        self.rested_s: list[float] = []
        self.between: Callable[[], Awaitable[object]] | None = None

    async def rest(self, for_s: float) -> None:
        self.rested_s.append(for_s)
        assert self.between is not None
        await self.between()


class Desk:
    """A shop's publisher, and the stock behind it."""

    def __init__(self, pool: asyncpg.Pool, shop: FakeShop, http: Http, *, connection_id: int, worker_id: int) -> None:
        self.pool = pool
        self.shop = shop
        self.http = http
        self.connection_id = connection_id
        self.now = 0.0
        self.pace = Pace()
        self.owner = Owner(worker_id)
        self.token = Token()
        self.happened: list[Happening] = []
        self.rule = LevelRule(warehouses=("W",))
        self.breaker = Breaker(
            "shop.stock",
            BreakerPolicy(min_calls=4, consecutive_timeouts=3),
            clock=lambda: self.now,
            rng=random.Random(1),
        )

    def publisher(
        self,
        *,
        in_flight: int = 4,
        reach: Callable[[str], None] = lambda _: None,
        target: LevelTarget | None = None,
        deadline_s: float = 5.0,
        authorised: bool = True,
    ) -> LevelPublisher:
        return LevelPublisher(
            pool=self.pool,
            connection=SHOP,
            connection_id=self.connection_id,
            target=target or ShopTarget(self.http, self.shop.url),
            policy=LevelPolicy(rule=self.rule, deadline_s=deadline_s, in_flight=in_flight),
            retry=RetryPolicy(),
            breaker=self.breaker,
            budget=self.pace,
            waits=lambda: self.token.held,
            authority=self.token if authorised else None,
            observe=self.happened.extend,
            clock=lambda: self.now,
            rng=random.Random(1),
            reach=reach,
        )

    async def once(self, publisher: LevelPublisher | None = None) -> int:
        """One look, and what it finds told; how many that were."""
        publisher = publisher or self.publisher()
        due = await publisher.look()
        await publisher.tell(due, self.owner)
        return len(due)

    async def sell(self, sku: str, *parts: tuple[str, int], gift: str = "", publish: bool = True) -> None:
        listing_id = await self.pool.fetchval(
            "INSERT INTO listing (connection_id, sku, item_id, publish) VALUES ($1, $2, $3, $4) RETURNING listing_id",
            self.connection_id,
            sku,
            f"item-{sku}",
            publish,
        )
        rows = [(listing_id, part, pieces, False) for part, pieces in parts or ((sku, 1),)]
        rows += [(listing_id, gift, 1, True)] if gift else []
        await self.pool.executemany("INSERT INTO component VALUES ($1, $2, $3, $4)", rows)

    async def count(self, sku: str, on_hand: int, *, locked: int = 0, committed: int = 0, at: str = "W") -> None:
        await self.pool.execute(
            "INSERT INTO stock (sku, warehouse, on_hand, locked, committed) VALUES ($1, $2, $3, $4, $5)"
            " ON CONFLICT (sku, warehouse) DO UPDATE SET on_hand = $3, locked = $4, committed = $5",
            sku,
            at,
            on_hand,
            locked,
            committed,
        )

    async def row(self, sku: str) -> asyncpg.Record:
        return await self.pool.fetchrow(
            # Not the difference of two instants: an infinite one has none before PostgreSQL 17.
            "SELECT sent, sending, failures, refused,"
            " (extract(epoch FROM not_before) - extract(epoch FROM now()))::float AS wait_s,"
            " (extract(epoch FROM lower_from) - extract(epoch FROM now()))::float AS lower_in_s"
            " FROM listing WHERE sku = $1",
            sku,
        )

    async def time_has_come(self) -> None:
        await self.pool.execute("UPDATE listing SET not_before = now() WHERE not_before > now()")

    async def pass_by(self, for_s: float) -> None:
        """Time goes by for the refused listings."""
        await self.pool.execute(
            "UPDATE listing SET not_before = not_before - d, lower_from = lower_from - d, refused_at = refused_at - d"
            "  FROM make_interval(secs => $1) AS d",
            for_s,
        )


@pytest.fixture
async def desk(migrated_url: str) -> AsyncIterator[Desk]:
    pool = await open_pool(migrated_url, size=6)
    names = await register_connections(pool, [SHOP])
    async with FakeShop() as shop, Http(connections=8) as http:
        worker_id = await start_worker(pool, name="test", lease_s=60)
        await pool.execute("INSERT INTO duty (connection_id, worker_id) VALUES ($1, $2)", names.id(SHOP), worker_id)
        yield Desk(pool, shop, http, connection_id=names.id(SHOP), worker_id=worker_id)
    await pool.close()


@pytest.mark.feature("F53")
async def test_what_a_listing_may_sell(desk: Desk) -> None:
    """The scarcest part of a bundle, in each warehouse alone; gifts do not count; a SKU nobody counted has none."""
    desk.rule = LevelRule(warehouses=("W", "V"))
    await desk.sell("plain", ("A", 1))
    await desk.sell("six", ("A", 6))
    await desk.sell("set", ("A", 1), ("B", 2), gift="nowhere")
    await desk.sell("unknown", ("Q", 1))
    await desk.sell("hidden", ("A", 1), publish=False)
    await desk.count("A", 15, locked=2, committed=1)
    await desk.count("A", 7, at="V")
    await desk.count("B", 5)
    await desk.count("A", 1000, at="elsewhere")
    assert await desk.once() == 4
    assert desk.shop.levels == {"plain": 19, "six": 3, "set": 2, "unknown": 0}
    assert await desk.once() == 0 and len(desk.shop.calls) == 4
    assert (await desk.row("six"))["sent"] == 3
    assert {h.sku: h.result for h in desk.happened if isinstance(h, LevelTold)} == dict.fromkeys(
        ("plain", "six", "set", "unknown"), Result.DONE
    )


@pytest.mark.parametrize(
    ("available", "keep_back", "share", "told"),
    [(10, 0, 1.0, 10), (10, 3, 1.0, 7), (10, 3, 0.5, 3), (2, 3, 1.0, 0), (100, 0, 0.29, 29), (3, 0, 0.3, 0)],
)
async def test_some_are_kept_back(desk: Desk, available: int, keep_back: int, share: float, told: int) -> None:
    desk.rule = LevelRule(warehouses=("W",), keep_back=keep_back, share=share)
    await desk.sell("A")
    await desk.count("A", available)
    await desk.once()
    assert desk.shop.levels == {"A": told}


@pytest.mark.feature("F53")
async def test_a_thousand_changes_are_a_few_calls_and_the_last_one_counts(desk: Desk) -> None:
    await desk.sell("A")
    await desk.count("A", 5000)
    changed = 0

    async def change() -> None:
        """Between two looks, 250 times."""
        nonlocal changed
        if changed == 1000:
            desk.owner.stopping = True
            return
        async with desk.pool.acquire() as connection:
            for _ in range(250):
                changed += 1
                await connection.execute(
                    "WITH s AS (UPDATE stock SET on_hand = on_hand - 1 WHERE sku = 'A' RETURNING stock_id)"
                    " INSERT INTO movement (stock_id, on_hand, locked, committed) SELECT stock_id, -1, 0, 0 FROM s"
                )

    desk.owner.between = change
    await desk.publisher().run(desk.owner)
    assert changed == 1000 and all(for_s >= 2 for for_s in desk.owner.rested_s)
    assert desk.shop.calls == [("A", 5000), ("A", 4750), ("A", 4500), ("A", 4250), ("A", 4000)]


async def test_the_newest_level_is_told_when_its_turn_comes_late(desk: Desk) -> None:
    await desk.sell("A")
    await desk.count("A", 9)
    changes = iter([8, 8])

    async def meanwhile() -> None:
        await desk.count("A", next(changes))

    desk.pace.before = meanwhile
    await desk.once()
    assert desk.shop.calls == [("A", 8)]


async def _move(desk: Desk, *moves: tuple[str, int], order: int | None, on_hand: bool = False) -> None:
    """One order's pieces are locked (below zero: let go), or `on_hand` changes."""
    async with desk.pool.acquire() as connection, connection.transaction():
        for sku, pieces in moves:
            await connection.execute(
                f"WITH s AS (UPDATE stock SET {'on_hand' if on_hand else 'locked'} ="
                f" {'on_hand' if on_hand else 'locked'} + $2 WHERE sku = $1 RETURNING stock_id)"
                " INSERT INTO movement (stock_id, order_id, on_hand, locked, committed)"
                " SELECT stock_id, $3, CASE WHEN $4 THEN $2 ELSE 0 END, CASE WHEN $4 THEN 0 ELSE $2 END, 0 FROM s",
                sku,
                pieces,
                order,
                on_hand,
            )


async def _order(desk: Desk, order_id: int, *, shop: ConnectionName = SHOP) -> int:
    names = await register_connections(desk.pool, [shop])
    await desk.pool.execute(
        "INSERT INTO orders (order_id, number, connection_id, stage, state) VALUES ($1, $2, $3, 'allocated', '')",
        order_id,
        f"A{order_id}",
        names.id(shop),
    )
    return order_id


@pytest.mark.feature("F53")
async def test_what_the_shop_has_sold_itself_is_told_also_where_the_level_is_the_same(desk: Desk) -> None:
    """A share that is rounded down: of 9 pieces it may sell 4, and of 8 too. It counted its sale off by itself."""
    desk.rule = LevelRule(warehouses=("W",), share=0.5)
    publisher = desk.publisher()
    await desk.sell("A")
    await desk.count("A", 9)
    assert await desk.once(publisher) == 1
    desk.shop.levels["A"] -= 1
    await _move(desk, ("A", 1), order=await _order(desk, 1))
    assert await desk.once(publisher) == 1
    assert desk.shop.calls == [("A", 4), ("A", 4)] and desk.shop.levels == {"A": 4}
    for _ in range(3):
        assert await desk.once(publisher) == 0  # told once


async def test_a_sale_behind_which_as_many_pieces_came_in_is_told(desk: Desk) -> None:
    publisher = desk.publisher()
    await desk.sell("A")
    await desk.count("A", 1)
    assert await desk.once(publisher) == 1
    desk.shop.levels["A"] -= 1
    order = await _order(desk, 1)
    await _move(desk, ("A", 1), order=None, on_hand=True)
    await _move(desk, ("A", 1), order=order)
    desk.shop.answers["A"] = "failed"
    await desk.once(publisher)
    desk.shop.answers.clear()
    await desk.time_has_come()
    assert await desk.once(publisher) == 1  # also where the first call fails
    assert desk.shop.levels == {"A": 1}
    # It has left: what is there to sell is the same as before.
    await desk.pool.execute(
        "WITH s AS (UPDATE stock SET on_hand = on_hand - 1, locked = locked - 1 RETURNING stock_id)"
        " INSERT INTO movement (stock_id, order_id, on_hand, locked, committed) SELECT stock_id, 1, -1, -1, 0 FROM s"
    )
    assert await desk.once(publisher) == 0


async def test_an_order_is_told_again_when_it_is_paid(desk: Desk) -> None:
    """Placed, it is locked and the level is another one; some shops count it off only now."""
    publisher = desk.publisher()
    await desk.sell("A")
    await desk.count("A", 9)
    assert await desk.once(publisher) == 1
    await _move(desk, ("A", 1), order=await _order(desk, 1))
    assert await desk.once(publisher) == 1
    desk.shop.levels["A"] -= 1
    await desk.pool.execute(
        "WITH s AS (UPDATE stock SET locked = locked - 1, committed = committed + 1 RETURNING stock_id)"
        " INSERT INTO movement (stock_id, order_id, on_hand, locked, committed) SELECT stock_id, 1, 0, -1, 1 FROM s"
    )
    assert await desk.once(publisher) == 1
    assert desk.shop.levels == {"A": 8}
    assert await desk.once(publisher) == 0


async def test_a_sale_while_a_level_waits_is_told_though_the_level_is_back_by_then(desk: Desk) -> None:
    """A platform that fails for minutes: the shop sells meanwhile, and as many pieces come in."""
    publisher = desk.publisher()
    await desk.sell("A")
    await desk.count("A", 9)
    assert await desk.once(publisher) == 1
    await _move(desk, ("A", 2), order=None, on_hand=True)
    desk.shop.answers["A"] = "failed"
    assert await desk.once(publisher) == 1
    desk.shop.answers.clear()
    desk.shop.levels["A"] -= 2
    await _move(desk, ("A", 2), order=await _order(desk, 1))
    assert await desk.once(publisher) == 0, "it waits"
    await desk.pool.execute("UPDATE movement SET moved_at = moved_at - interval '400 seconds'")
    await desk.pool.execute("UPDATE listing SET sent_at = sent_at - interval '400 seconds'")
    await desk.time_has_come()
    assert await desk.once(publisher) == 1
    assert desk.shop.levels == {"A": 9}


async def test_a_sale_during_the_call_is_told(desk: Desk) -> None:
    """A platform that takes the level at once and is slow to say so: it sells, and the order is here first."""
    desk.rule = LevelRule(warehouses=("W",), share=0.5)
    publisher = desk.publisher()
    await desk.sell("A")
    await desk.count("A", 9)
    order = await _order(desk, 1)

    async def sold() -> None:
        await _move(desk, ("A", 1), order=order)

    desk.shop.meanwhile = sold
    assert await desk.once(publisher) == 1
    desk.shop.levels["A"] -= 1
    assert await desk.once(publisher) == 1
    assert desk.shop.levels == {"A": 4}
    assert await desk.once(publisher) == 0


async def test_an_order_that_came_back_from_another_warehouse_is_told(desk: Desk) -> None:
    """Its shop goes to another one since then, and has put the piece back all the same."""
    publisher = desk.publisher()
    await desk.sell("A")
    await desk.count("A", 9)
    await desk.count("A", 5, locked=1, at="before")
    assert await desk.once(publisher) == 1
    desk.shop.levels["A"] += 1
    await desk.pool.execute(
        "WITH s AS (UPDATE stock SET locked = 0 WHERE warehouse = 'before' RETURNING stock_id)"
        " INSERT INTO movement (stock_id, order_id, on_hand, locked, committed) SELECT stock_id, $1, 0, -1, 0 FROM s",
        await _order(desk, 1),
    )
    desk.now += 31
    assert await desk.once(publisher) == 1
    assert desk.shop.levels == {"A": 9}
    assert await desk.once(publisher) == 0


async def test_what_moved_by_a_clock_that_was_ahead_is_not_told_with_every_look(desk: Desk) -> None:
    publisher = desk.publisher()
    await desk.sell("A")
    await desk.count("A", 9)
    await _move(desk, ("A", 1), order=await _order(desk, 1))
    await desk.pool.execute("UPDATE movement SET moved_at = moved_at + interval '8 hours'")
    assert [await desk.once(publisher) for _ in range(4)] == [1, 0, 0, 0]


async def test_a_sale_whose_transaction_took_long_is_told(desk: Desk) -> None:
    """It is dated by its beginning, and seen by the next look at all listings at the latest."""
    desk.rule = LevelRule(warehouses=("W",), share=0.5)
    publisher = desk.publisher()
    await desk.sell("A")
    await desk.count("A", 9)
    assert await desk.once(publisher) == 1
    desk.now += 31
    assert await desk.once(publisher) == 0
    await _move(desk, ("A", 1), order=await _order(desk, 1))
    desk.shop.levels["A"] -= 1
    # Begun a while before the last look at all of them, committed after it, and now the next one is due.
    await desk.pool.execute("UPDATE listing SET sent_at = sent_at - interval '90 seconds'")
    await desk.pool.execute("UPDATE movement SET moved_at = moved_at - interval '50 seconds'")
    for _ in range(15):
        desk.now += 2
        await desk.once(publisher)
    assert desk.shop.levels == {"A": 4}


async def test_a_sale_of_another_shop_or_of_another_bundle_tells_nothing_that_is_told(desk: Desk) -> None:
    desk.rule = LevelRule(warehouses=("W",), share=0.5)
    publisher = desk.publisher()
    await desk.sell("small", ("A", 1), ("BOX", 1), gift="CARD")
    await desk.sell("large", ("B", 1), ("BOX", 1))
    for sku in ("A", "B", "BOX", "CARD"):
        await desk.count(sku, 9)
    assert await desk.once(publisher) == 2
    await _move(desk, ("A", 1), ("BOX", 1), order=await _order(desk, 1, shop=ConnectionName("other")))
    assert await desk.once(publisher) == 0
    await desk.pool.execute("UPDATE stock SET on_hand = 9, locked = 0")
    await _move(desk, ("A", 1), ("BOX", 1), ("CARD", 1), order=await _order(desk, 2))
    assert await desk.once(publisher) == 1
    assert desk.shop.calls[-1] == ("small", 4)


async def test_a_level_that_went_back_is_not_told(desk: Desk) -> None:
    await desk.sell("A")
    await desk.count("A", 9)
    await desk.once()
    await desk.count("A", 8)

    async def back() -> None:
        await desk.count("A", 9)

    desk.pace.before = back
    assert await desk.once() == 1
    assert desk.shop.calls == [("A", 9)]


class Cancelled:
    """An adapter that waits for a task of its own, which is cancelled."""

    async def set_level(self, level: Level, *, deadline_s: float) -> Answer:
        raise asyncio.CancelledError


async def test_a_cancel_that_an_adapter_makes_for_itself_is_an_unknown_outcome(desk: Desk) -> None:
    await desk.sell("A")
    await desk.count("A", 9)
    assert await desk.once(desk.publisher(target=Cancelled())) == 1
    told = [one for one in desk.happened if isinstance(one, LevelTold)]
    assert [(one.result, one.code) for one in told] == [(Result.UNKNOWN, "adapter")]
    assert (await desk.row("A"))["failures"] == 1


class Stubborn:
    """An adapter that hangs for one listing, and does not let itself be cut off."""

    def __init__(self, target: LevelTarget) -> None:
        self._target = target
        self.hangs = asyncio.Event()

    async def set_level(self, level: Level, *, deadline_s: float) -> Answer:
        while level.sku == "A" and not self.hangs.is_set():
            try:
                await self.hangs.wait()
            except asyncio.CancelledError:
                continue
        return await self._target.set_level(level, deadline_s=deadline_s)


async def test_an_adapter_that_cannot_be_cut_off_stops_no_other_level(desk: Desk) -> None:
    for sku in "AB":
        await desk.sell(sku)
        await desk.count(sku, 9)
    publisher = desk.publisher(target=(stubborn := Stubborn(ShopTarget(desk.http, desk.shop.url))), deadline_s=0.1)
    async with asyncio.timeout(20):
        await desk.once(publisher)
        assert desk.shop.levels == {"B": 9} and (await desk.row("A"))["failures"] == 1
        await desk.count("B", 7)
        await desk.once(publisher)
        assert desk.shop.levels == {"B": 7}
        stubborn.hangs.set()
        await desk.time_has_come()
        await desk.once(publisher)
    assert desk.shop.levels == {"A": 9, "B": 7}


class Quoting:
    """An adapter that hands on what a platform writes, whatever that is."""

    async def set_level(self, level: Level, *, deadline_s: float) -> Answer:
        return Rejected("no_such_item", "下架\x00\ud800")


async def test_words_of_a_platform_that_no_database_takes_do_not_hold_up_the_other_levels(desk: Desk) -> None:
    for sku in ("A", "B"):
        await desk.sell(sku)
        await desk.count(sku, 9)
    assert await desk.once(desk.publisher(target=Quoting())) == 2
    assert {(await desk.row(sku))["refused"] for sku in ("A", "B")} == {"no_such_item: 下架?"}
    assert await desk.once(desk.publisher(target=Quoting())) == 0


@pytest.mark.feature("F53")
async def test_a_crash_between_the_call_and_its_note_repeats_the_call(desk: Desk) -> None:
    await desk.sell("A")
    await desk.count("A", 9)
    await desk.once()
    await desk.count("A", 4)

    class Killed(BaseException):
        pass

    def die(place: str) -> None:
        assert place == "levels.after_send"
        raise Killed

    with pytest.raises(BaseExceptionGroup):
        await desk.once(desk.publisher(reach=die))
    assert desk.shop.levels == {"A": 4}
    # The level goes back to what was noted last: the shop has another one all the same.
    await desk.count("A", 9)
    await desk.once()
    assert desk.shop.levels == {"A": 9}
    assert await desk.once() == 0 and desk.shop.calls == [("A", 9), ("A", 4), ("A", 9)]


async def test_nobody_knows_what_the_shop_has_after_a_lost_answer(desk: Desk) -> None:
    """Not even when the next try certainly fails: the level is told until the shop says that it has it."""
    await desk.sell("A")
    await desk.count("A", 9)
    await desk.once()
    await desk.count("A", 4)
    desk.shop.answers["A"] = "hang_up"
    await desk.once()
    assert desk.shop.levels == {"A": 4}
    row = await desk.row("A")
    assert row["failures"] == 1 and 8 <= row["wait_s"] <= 10
    await desk.count("A", 9)
    desk.shop.answers["A"] = "failed"
    await desk.time_has_come()
    assert await desk.once() == 1
    row = await desk.row("A")
    assert row["failures"] == 2 and 16 <= row["wait_s"] <= 20
    desk.shop.answers.clear()
    await desk.time_has_come()
    await desk.once()
    row = await desk.row("A")
    assert desk.shop.levels == {"A": 9} and (row["sent"], row["sending"], row["failures"]) == (9, None, 0)


async def test_a_failing_listing_waits_and_the_others_go_on(desk: Desk) -> None:
    for sku in ("A", "B"):
        await desk.sell(sku)
        await desk.count(sku, 5)
    desk.shop.answers["A"] = "failed"
    await desk.once()
    assert desk.shop.levels == {"B": 5}
    await desk.count("B", 4)
    assert await desk.once() == 1, "A waits"
    assert desk.shop.levels == {"B": 4}


async def test_a_refused_level_is_told_again_after_longer_and_longer(desk: Desk) -> None:
    await desk.sell("A")
    await desk.sell("B")
    await desk.count("A", 5)
    desk.shop.answers["A"] = "no_such_item"
    await desk.once()
    assert (await desk.row("A"))["refused"] == "no_such_item: 下架"
    waits = []
    for _ in range(9):
        wait_s = (await desk.row("A"))["wait_s"]
        waits.append(round(wait_s / 600))
        await desk.pass_by(wait_s - 5)
        assert await desk.once() == 0, "not before its time"
        await desk.pass_by(6)
        assert await desk.once() == 1
    assert waits == [1, 1, 2, 4, 8, 16, 32, 36, 36], "times ten minutes"
    assert len(desk.shop.calls) == 11 and desk.shop.levels == {"B": 0}
    desk.shop.answers.clear()
    await desk.pass_by(6 * 3600 + 1)
    assert await desk.once() == 1 and desk.shop.levels["A"] == 5
    row = await desk.row("A")
    assert (row["refused"], row["failures"], row["sent"]) == (None, 0, 5)
    assert await desk.once() == 0
    # The next refusal has nothing to do with the ones before.
    await desk.count("A", 4)
    desk.shop.answers["A"] = "no_such_item"
    await desk.once()
    assert 595 < (await desk.row("A"))["wait_s"] <= 600


async def test_a_lower_level_than_the_refused_one_is_told_soon_and_zero_at_once(desk: Desk) -> None:
    """Or the shop would sell what is not there. Still not a call for every piece that it sells."""
    await desk.sell("A")
    await desk.count("A", 9)
    await desk.once()
    desk.shop.answers["A"] = "no_such_item"
    await desk.count("A", 8)
    await desk.once()
    assert 7 < (await desk.row("A"))["lower_in_s"] <= 10
    for left in (7, 6):
        await desk.count("A", left)
        assert await desk.once() == 0
    await desk.pass_by(10)
    assert await desk.once() == 1 and desk.shop.calls[-1] == ("A", 6)
    assert 15 < (await desk.row("A"))["lower_in_s"] <= 20, "twice as long"
    await desk.pass_by(20)
    assert await desk.once() == 0, "that one is refused"
    await desk.count("A", 7)
    assert await desk.once() == 0, "more can wait"
    await desk.count("A", 5)
    assert await desk.once() == 1 and desk.shop.calls[-1] == ("A", 5)
    await desk.count("A", 0)
    assert await desk.once() == 1 and desk.shop.calls[-1] == ("A", 0)
    assert [await desk.once() for _ in range(3)] == [0, 0, 0]
    assert (await desk.row("A"))["wait_s"] < 630
    await desk.pass_by(700)
    desk.shop.answers.clear()
    assert await desk.once() == 1 and desk.shop.levels == {"A": 0}


@pytest.mark.parametrize(("answer", "wait_s"), [("failed", 10), ("busy", 7), ("odd", 10)])
async def test_zero_that_does_not_arrive_behind_a_refusal_waits_like_any_other(
    desk: Desk, answer: str, wait_s: float
) -> None:
    await desk.sell("A")
    await desk.count("A", 5)
    desk.shop.answers["A"] = "no_such_item"
    await desk.once()
    await desk.count("A", 0)
    desk.shop.answers["A"] = answer
    assert [await desk.once() for _ in range(3)] == [1, 0, 0]
    row = await desk.row("A")
    assert row["refused"] and wait_s / 2 < row["wait_s"] <= 2 * wait_s
    desk.shop.answers.clear()
    await desk.time_has_come()
    assert await desk.once() == 1 and desk.shop.levels == {"A": 0}


async def test_a_level_that_is_back_at_what_the_shop_has_ends_a_refusal_once_the_shop_says_so(desk: Desk) -> None:
    await desk.sell("A")
    await desk.count("A", 9)
    await desk.once()
    desk.shop.answers["A"] = "no_such_item"
    await desk.count("A", 4)
    await desk.once()
    await desk.count("A", 9)
    desk.shop.answers.clear()
    assert await desk.once() == 0
    await desk.pass_by(601)
    assert await desk.once() == 1 and (await desk.row("A"))["refused"] is None


async def test_refused_levels_that_are_only_tried_again_go_last(desk: Desk) -> None:
    for sku in ("A", "B", "C"):
        await desk.sell(sku)
        await desk.count(sku, 5)
    desk.shop.answers = dict.fromkeys("AB", "no_such_item")
    await desk.once()
    await desk.pass_by(601)
    await desk.count("B", 1)
    await desk.count("C", 6)
    desk.shop.calls.clear()
    await desk.once(desk.publisher(in_flight=1))
    assert desk.shop.calls == [("B", 1), ("C", 6), ("A", 5)]


async def test_nothing_is_refused_where_nothing_is_told(desk: Desk) -> None:
    """The shop is only watched from now on: another system tells it levels."""
    await desk.sell("A")
    await desk.count("A", 5)
    desk.shop.answers["A"] = "no_such_item"
    await desk.once()
    await forget_told(desk.pool, [desk.connection_id])
    assert (await desk.row("A"))["refused"] is None
    assert await desk.once() == 1, "live again: what was refused long ago says nothing"


async def test_nothing_fails_where_nothing_is_told(desk: Desk) -> None:
    """An application without the permission for stock, until somebody sets `publish: false`: the notice closes."""
    await desk.sell("A")
    await desk.count("A", 5)
    desk.shop.answers["A"] = "failed"
    await desk.once()
    assert (await desk.row("A"))["failures"] == 1
    await forget_told(desk.pool, [desk.connection_id])
    assert (await desk.row("A"))["failures"] == 0


async def test_a_refused_listing_is_told_again_when_a_person_says_so(desk: Desk) -> None:
    await desk.sell("A")
    await desk.count("A", 4)
    desk.shop.answers["A"] = "no_such_item"
    await desk.once()
    desk.shop.answers.clear()
    assert await desk.once() == 0
    count = await publish_again(
        desk.pool, desk.connection_id, skus=None, refused=True, reason="back on sale", actor="admin"
    )
    assert count == 1 and await desk.once() == 1
    assert desk.shop.levels == {"A": 4}
    assert await publish_again(desk.pool, desk.connection_id, skus=["A"], refused=True, reason="r", actor="a") == 0


async def test_a_throttled_shop_is_left_alone_as_long_as_it_asks_for(desk: Desk) -> None:
    for sku in ("A", "B", "C"):
        await desk.sell(sku)
        await desk.count(sku, 5)
    desk.shop.answers = dict.fromkeys("ABC", "busy")
    await desk.once(desk.publisher(in_flight=1))
    assert len(desk.shop.calls) == 1 and desk.pace.paused_s == [7.0]
    row = await desk.row(desk.shop.calls[0][0])
    assert row["failures"] == 0 and 6 < row["wait_s"] <= 7
    desk.shop.answers.clear()
    await desk.time_has_come()
    await desk.once()
    assert desk.shop.levels == {"A": 5, "B": 5, "C": 5}


async def test_a_shop_that_asks_for_patience_for_an_hour_is_asked_less_and_less(desk: Desk) -> None:
    """A quota that is used up, and does not say until when. People are told: it counts as a failure."""
    for number in range(20):
        await desk.sell(f"S{number}")
        await desk.count(f"S{number}", 5)
    desk.shop.answers = {f"S{number}": "enough" for number in range(20)}
    asked = failures = 0

    async def rest() -> None:
        nonlocal asked, failures
        desk.now += max(desk.owner.rested_s[-1], 0.1)
        await desk.time_has_come()
        if desk.now > 3600 and desk.shop.answers:
            asked = len(desk.shop.calls)
            failures = await desk.pool.fetchval("SELECT max(failures) FROM listing")
            desk.shop.answers.clear()
        desk.owner.stopping = desk.now > 3600 + 35

    desk.owner.between = rest
    await desk.publisher(in_flight=4).run(desk.owner)
    assert asked < 4 * (10 + 3600 / 30)
    assert failures >= 5
    assert len(desk.shop.levels) == 20, "and told soon after it is well"
    assert set(desk.pace.paused_s) == {1.0}, "it is still read"


@pytest.mark.feature("F6")
async def test_without_authorisation_everything_is_kept(desk: Desk) -> None:
    for sku in ("A", "B", "C"):
        await desk.sell(sku)
        await desk.count(sku, 5)
    desk.shop.answers = dict.fromkeys("ABC", "who_are_you")
    await desk.once(desk.publisher(in_flight=1))
    assert len(desk.shop.calls) == 1 and desk.token.refusals == [(7, "27")]
    desk.shop.answers.clear()
    await desk.once()
    assert desk.shop.levels == {}, "not before it is authorised again"
    desk.token.held = False
    assert await desk.once() == 3
    assert desk.shop.levels == {"A": 5, "B": 5, "C": 5}


async def test_a_refused_authorisation_that_nobody_renews_is_a_failure_like_any_other(desk: Desk) -> None:
    """Or the shop would be asked every two seconds for good, and nobody told of it."""
    await desk.sell("A")
    await desk.count("A", 5)
    desk.shop.answers["A"] = "who_are_you"
    publisher = desk.publisher(authorised=False)
    assert [await desk.once(publisher) for _ in range(3)] == [1, 0, 0]
    row = await desk.row("A")
    assert row["failures"] == 1 and 5 < row["wait_s"] <= 10


@pytest.mark.feature("F67")
async def test_the_breaker_stands_before_the_calls(desk: Desk) -> None:
    for number in range(12):
        await desk.sell(f"S{number}")
        await desk.count(f"S{number}", 5)
    desk.shop.answers = {f"S{number}": "failed" for number in range(12)}
    await desk.once(desk.publisher(in_flight=1))
    assert len(desk.shop.calls) == 4
    await desk.time_has_come()
    assert await desk.once() == 0
    desk.now += 60
    desk.shop.answers.clear()
    while await desk.once(desk.publisher(in_flight=1)):
        pass
    assert len(desk.shop.levels) == 12


async def test_what_would_be_sold_too_often_goes_first(desk: Desk) -> None:
    for sku in ("A", "B", "C"):
        await desk.sell(sku)
        await desk.count(sku, 5)
    await desk.once()
    await desk.count("A", 7)
    await desk.count("B", 6)
    await desk.count("C", 0)
    desk.shop.calls.clear()
    await desk.once(desk.publisher(in_flight=1))
    assert desk.shop.calls[0] == ("C", 0) and len(desk.shop.calls) == 3


async def test_what_sells_out_while_all_are_told_does_not_wait_for_the_others(desk: Desk) -> None:
    """`skus publish` of a shop with a thousand listings, whose platform takes one a second."""
    for number in range(1000):
        await desk.sell(f"S{number:04}")
    await desk.pool.execute("INSERT INTO stock (sku, warehouse, on_hand) SELECT sku, 'W', 5 FROM component")
    await desk.pool.execute("UPDATE listing SET changed_at = now() - interval '1 day'")
    sold_out = (f"S{number:04}" for number in (0, 999, 500))
    waited: dict[str, int] = {}
    sold = ""

    async def turn() -> None:
        nonlocal sold
        desk.now += 1
        if sold and desk.shop.levels.get(sold) == 0:
            waited[sold] = desk.pace.turns - waited[sold]
            sold = ""
        if not sold and desk.pace.turns % 40 == 25 and (sku := next(sold_out, "")):
            sold, waited[sku] = sku, desk.pace.turns
            await _move(desk, (sku, -5), order=None, on_hand=True)
        desk.owner.stopping = desk.pace.turns == 200

    async def between() -> None:
        assert desk.owner.stopping or not desk.owner.rested_s[-1], "no rest while there is more to tell"

    desk.pace.before, desk.owner.between = turn, between
    await desk.publisher(in_flight=1).run(desk.owner)
    assert waited.keys() == {"S0000", "S0999", "S0500"} and max(waited.values()) <= 12, "calls"


async def test_calls_go_together_up_to_the_limit(desk: Desk) -> None:
    for number in range(20):
        await desk.sell(f"S{number}")
    await desk.once(desk.publisher(in_flight=3))
    assert desk.shop.busiest <= 3 and len(desk.shop.levels) == 20 and desk.pace.turns == 20


@pytest.mark.feature("F129")
async def test_a_person_can_stop_the_levels_alone_and_let_them_go_again(desk: Desk) -> None:
    publisher = desk.publisher()
    await desk.sell("A")
    await desk.count("A", 9)
    at = datetime(2026, 5, 1, tzinfo=UTC)
    publisher.follow(Forced("open", "促销", "li", UNTIL_ENDED), at=at)

    async def go_on() -> None:
        looks = len(desk.owner.rested_s)
        desk.now += desk.owner.rested_s[-1]
        if looks == 3:
            assert not desk.shop.calls
            publisher.follow(None, at=at)
        desk.owner.stopping = looks == 4

    desk.owner.between = go_on
    await publisher.run(desk.owner)
    assert desk.shop.calls == [("A", 9)], "with the look after it was let go"
    assert desk.owner.rested_s == [2.0] * 4, "and that look comes soon, however long it was to be held"


async def test_a_worker_that_lost_the_shop_tells_nothing(desk: Desk) -> None:
    await desk.sell("A")
    await desk.count("A", 5)
    publisher = desk.publisher()
    due = await publisher.look()
    await desk.pool.execute("DELETE FROM worker")
    await publisher.tell(due, desk.owner)
    assert desk.shop.calls == []
    desk.owner.worker_id = await start_worker(desk.pool, name="other", lease_s=60)
    await desk.pool.execute("UPDATE duty SET worker_id = $1", desk.owner.worker_id)
    await desk.once()
    assert desk.shop.levels == {"A": 5}


async def test_an_answer_that_comes_after_another_worker_has_begun_is_not_noted(desk: Desk) -> None:
    await desk.sell("A")
    await desk.count("A", 5)
    mine = (await due_levels(desk.pool, desk.connection_id, desk.rule, limit=1))[0]
    begun = await begin(desk.pool, desk.connection_id, desk.rule, mine, worker_id=desk.owner.worker_id)
    assert begun is not None
    await desk.count("A", 3)
    other = await begin(desk.pool, desk.connection_id, desk.rule, mine, worker_id=desk.owner.worker_id)
    assert other is not None
    await told(desk.pool, begun)
    row = await desk.row("A")
    assert (row["sent"], row["sending"]) == (None, 3)
    await told(desk.pool, other)
    row = await desk.row("A")
    assert (row["sent"], row["sending"]) == (3, None)


@pytest.mark.parametrize("answer", ["done", "rejected"])
async def test_an_answer_about_an_item_that_was_replaced_meanwhile_counts_for_nothing(desk: Desk, answer: str) -> None:
    """The listing stands for another item of the platform from now on; what was told was the old one's level."""
    await desk.sell("A")
    await desk.count("A", 5)
    desk.shop.answers["A"] = answer

    async def replace() -> None:
        wish = ListingWish(sku=Sku("A"), parts=(Part(Sku("A"), 1),), item_id="another", publish=True)
        await import_skus(
            desk.pool, [desk.connection_id], [wish], replace=False, dry_run=False, reason="r", actor="wang",
            now=datetime.now(UTC),
        )  # fmt: skip

    desk.shop.meanwhile = replace
    assert await desk.once() == 1
    row = await desk.row("A")
    assert (row["sent"], row["refused"]) == (None, None)
    desk.shop.answers.clear()
    assert await desk.once() == 1 and (await desk.row("A"))["sent"] == 5


async def test_a_level_that_is_to_be_told_again_is_told_again_behind_one_under_way(desk: Desk) -> None:
    await desk.sell("A")
    await desk.count("A", 5)
    desk.shop.meanwhile = lambda: publish_again(
        desk.pool, desk.connection_id, skus=None, refused=False, reason="r", actor="wang"
    )
    assert [await desk.once() for _ in range(3)] == [1, 1, 0]


async def test_a_stop_ends_between_two_calls(desk: Desk) -> None:
    for number in range(5):
        await desk.sell(f"S{number}")

    async def stop() -> None:
        desk.owner.stopping = desk.pace.turns == 3

    desk.pace.before = stop
    assert await desk.once(desk.publisher(in_flight=1)) == 5
    assert len(desk.shop.calls) == 2


async def test_what_moved_is_looked_at_often_and_all_of_it_now_and_then(desk: Desk) -> None:
    publisher = desk.publisher()
    for sku in ("A", "B", "C"):
        await desk.sell(sku)
        await desk.count(sku, 9)
    assert await desk.once(publisher) == 3
    await desk.pool.execute("UPDATE listing SET changed_at = now() - interval '1 hour'")
    await desk.count("A", 8)
    assert await desk.once(publisher) == 0, "no movement says so, as where a transaction took very long"
    await desk.count("B", 7)
    await desk.pool.execute(
        "INSERT INTO movement (stock_id, on_hand, locked, committed)"
        " SELECT stock_id, 0, 2, 0 FROM stock WHERE sku = 'B'"
    )
    assert await desk.once(publisher) == 1 and desk.shop.levels["B"] == 7
    await publish_again(desk.pool, desk.connection_id, skus=["C"], refused=False, reason="r", actor="a")
    assert await desk.once(publisher) == 1 and desk.shop.calls[-1] == ("C", 9)
    desk.now += 30
    assert await desk.once(publisher) == 1 and desk.shop.levels["A"] == 8


async def test_what_is_left_over_is_found_again_at_once(desk: Desk) -> None:
    publisher = desk.publisher(in_flight=1)
    for sku in ("A", "B", "C"):
        await desk.sell(sku)
    await desk.pool.execute("UPDATE listing SET changed_at = now() - interval '1 hour'")
    desk.shop.answers = dict.fromkeys("ABC", "busy")
    assert await desk.once(publisher) == 3 and len(desk.shop.calls) == 1
    desk.shop.answers.clear()
    assert await desk.once(publisher) == 2


async def test_only_what_the_shop_publishes_is_told(desk: Desk) -> None:
    other = await desk.pool.fetchval("INSERT INTO connection (name) VALUES ('other') RETURNING connection_id")
    await desk.sell("A")
    await desk.sell("B", publish=False)
    await desk.pool.execute("INSERT INTO listing (connection_id, sku, publish) VALUES ($1, 'C', true)", other)
    await desk.pool.execute("INSERT INTO component SELECT listing_id, 'C', 1 FROM listing WHERE sku = 'C'")
    for lately in (None, 60.0):
        due = await due_levels(desk.pool, desk.connection_id, desk.rule, limit=10, changed_within_s=lately)
        assert [one.level for one in due] == [Level("A", 0, "item-A")]
