"""Two shops whose settings change at random: no order is sent twice, mixed up, another's to send, or never sent."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from gateway.core.event import ConnectionName
from gateway.core.order import (
    Closing,
    Content,
    Facts,
    Line,
    Mode,
    Operation,
    Party,
    Payment,
    Receiver,
    Route,
    Sku,
)
from gateway.intake.batch import Decider
from gateway.pipeline.rules import Rules, Shop
from gateway.store.configured import kept_start_at, note_adapters, note_start_at
from gateway.store.control import pause, wake_live
from gateway.store.orders import decode_state
from gateway.store.prefixes import changed_prefixes, former_prefixes, note_prefixes, renamed_shops, taken_prefixes
from gateway.store.sql import open_pool, register_connections
from tests.intake.test_batch import WMS, Desk, Memory, decide
from tests.intake.test_sealed import read_inbox

NAMES = [[ConnectionName(f"shop-{number}{letter}") for letter in "abc"] for number in (1, 2)]


class Placed:
    """An order as it is at its platform. `ours`: the gateway was the one to send it when it was placed, not the system
    beside it. `either`: somebody may have said since that it is the other's."""

    def __init__(self, number: int, *, ours: bool) -> None:
        self.number, self.ours, self.either = number, ours, False
        self.at, self.version = datetime.now(UTC), 0
        self.paid = self.closed = self.told = False

    @property
    def facts(self) -> Facts:
        return Facts(
            party=Party.SHOP,
            order_no=str(self.number),
            version=self.version,
            content=Content(self.at, (Line("1", Sku("S1"), 1, 1000),), Receiver(name="张三"), 1000),
            payment=Payment(self.paid, 1000),
            closing=Closing(True) if self.closed else None,
        )


class Section(msgspec.Struct, frozen=True):
    """What the file says of the shop."""

    name: ConnectionName
    prefix: str
    mode: Mode
    start_at: datetime | None = None


class Scene:
    """A gateway of one worker, which is started again with every change. Both shops number their orders from 1."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.placed: list[list[Placed]] = [[], []]
        self.file = [Section(NAMES[0][0], "A", Mode.OBSERVE), Section(NAMES[1][0], "B", Mode.OBSERVE)]
        self.shop = 0
        self.decider: Decider

    @property
    def orders(self) -> list[Placed]:
        return self.placed[self.shop]

    @property
    def said(self) -> Section:
        return self.file[self.shop]

    async def starts(self, **changed: Any) -> bool:
        """As `gateway.supervise` and `gateway.app` do; False where it is refused."""
        file = list(self.file)
        file[self.shop] = msgspec.structs.replace(self.said, **changed)
        shops = {one.name: one.prefix for one in file}
        adapters = {WMS: "qimen", **dict.fromkeys(shops, "webhook")}
        live = {one.name: one.prefix for one in file if one.mode is Mode.LIVE}
        watched = {one.name: one.prefix for one in file if one.mode is Mode.OBSERVE}
        since = {one.name: one.start_at for one in file if one.start_at is not None and one.name in live}
        self.desk.names = await register_connections(self.desk.pool, adapters)
        async with self.desk.pool.acquire() as connection:
            taken = [one for one in await taken_prefixes(connection, shops) if not one.gone]
            one, other = sorted(shops.values())
            if taken or other.startswith(one) or await changed_prefixes(connection, live, since):
                return False
            await note_prefixes(connection, live, watched)
            await note_start_at(connection, shops, since)
            await note_adapters(connection, adapters)
            renamed = await renamed_shops(connection, shops, adapters)
            await wake_live(connection, live, renamed, datetime.now(UTC))
            former = await former_prefixes(connection, shops, renamed)
            kept = await kept_start_at(connection, renamed)
        self.file = file
        made = {
            one.name: Shop(
                name=one.name,
                prefix=one.prefix,
                former=former.get(one.name, ()),
                mode=one.mode,
                start_at=one.start_at or (kept.get(one.name) if one.name in live else None),
                routes=(Route(WMS, "W"),),
            )
            for one in file
        }
        starts = {old: kept[old] for old in renamed if old in kept}
        rules = Rules(shops=made, targets=frozenset({WMS}), renamed=renamed, starts=starts)
        self.decider = await self.desk.worker(Memory(10**6), rules=rules)
        await read_inbox(self.desk, self.decider)
        return True

    async def tell(self, orders: list[Placed]) -> None:
        arrivals = []
        for order in orders:
            arrival = self.desk.arrival(str(order.number), order.facts)
            event = msgspec.structs.replace(arrival.event, source=self.said.name)
            arrivals.append(msgspec.structs.replace(arrival, event=event))
            order.told = True
        await decide(self.decider, *arrivals)

    async def step(self, rng: random.Random) -> None:
        self.shop = rng.randrange(2)
        live = self.said.mode is Mode.LIVE
        match rng.choice(
            ["place"] * 3 + ["pay"] * 2 + "close again watch live drop rename slip restart prefix".split()
        ):
            case "place":
                order = Placed(len(self.orders) + 1, ours=live)
                order.paid = rng.random() < 0.5
                self.orders.append(order)
                if rng.random() < 0.8:
                    await self.tell([order])
            case "pay" | "close" as what if self.orders:
                order = rng.choice(self.orders)
                order.paid, order.closed = order.paid or what == "pay", order.closed or what == "close"
                order.version += 1
                await self.tell([order])
            case "again" if self.orders:
                await self.tell(rng.sample(self.orders, k=min(len(self.orders), 5)))
            case "watch" if live and await self.starts(
                mode=Mode.OBSERVE, prefix=rng.choice([self.said.prefix, "B", "C", "A1"])
            ):
                self.are_either()
            case "prefix" if not live:
                await self.starts(prefix=rng.choice(["A", "B", "C", "D", "A1", "B1"]))
            case "live" if not live:
                await self.live(rng)
            case "rename" if live:
                await self.starts(name=rng.choice(NAMES[self.shop]))
            case "drop" if live:
                assert await self.starts(start_at=None)
            case "slip" if live:
                before = self.said.start_at
                assert await self.starts(start_at=datetime.now(UTC) + timedelta(days=300))
                self.are_either()
                assert await self.starts(start_at=before)
            case "restart":
                assert await self.starts()

    async def live(self, rng: random.Random) -> None:
        """Without a start only what was told while it was watched is known to be the other system's."""
        if rng.random() < 0.5 and all(order.told for order in self.orders) and await self.starts(mode=Mode.LIVE):
            return
        assert await self.starts(mode=Mode.LIVE, start_at=datetime.now(UTC)), "what is advised"

    def are_either(self) -> None:
        for order in self.orders:
            order.either = order.either or order.ours


@pytest.fixture
async def scene(migrated_url: str) -> AsyncIterator[Scene]:
    pool = await open_pool(migrated_url, size=4)
    yield Scene(Desk(pool, await register_connections(pool, [WMS])))
    await pool.close()


@pytest.mark.parametrize("seed", range(40))
async def test_whatever_is_changed_of_shops_each_of_their_orders_is_sent_by_one(scene: Scene, seed: int) -> None:
    rng = random.Random(seed)
    assert await scene.starts(mode=rng.choice(list(Mode)))
    for _ in range(80):
        await scene.step(rng)
    for scene.shop in range(2):
        if scene.said.mode is not Mode.LIVE:
            await scene.live(rng)
        for order in scene.orders:
            order.paid, order.version = True, order.version + 1
        await scene.tell(scene.orders)
    letters = await scene.desk.rows("SELECT source, order_key FROM dead_letter WHERE code = 'another_shop'")
    assert await scene.desk.rows("SELECT code FROM dead_letter WHERE code <> 'another_shop'") == []
    stored = [decode_state(row[0]) for row in await scene.desk.rows("SELECT state FROM orders")]
    for scene.shop, names in enumerate(NAMES):
        for order in scene.orders:
            if any((name, str(order.number)) in letters for name in names):
                continue  # a person knows of it
            known = [one for one in stored if one.connection in names and one.channel_no == str(order.number)]
            sent = [one for one in known if one.issued(Operation.CREATE) is not None]
            assert len(sent) <= (1 if order.ours else 0), order.number
            assert sent or order.closed or order.either or not order.ours, order.number
            assert not order.closed or all(one.issued(Operation.CANCEL) is not None for one in sent), order.number
            contents = [one.content.value for one in known if one.content is not None]
            assert order.facts.content in contents, order.number


async def cancelled(scene: Scene, order: Placed) -> list[tuple[Operation, ...]]:
    """The shop cancels it; the operations of each order that is known then."""
    order.version, order.closed = order.version + 1, True
    await scene.tell([order])
    stored = [decode_state(row[0]) for row in await scene.desk.rows("SELECT state FROM orders")]
    return [tuple(command.operation for command in one.commands) for one in stored]


async def sent(scene: Scene) -> Placed:
    order = Placed(17, ours=True)
    order.paid = True
    await scene.tell([order])
    return order


async def test_a_cancel_reaches_what_was_sent_two_names_and_a_prefix_before(scene: Scene) -> None:
    """The name in between tells whose the first was: it has had the prefix of both."""
    assert await scene.starts(mode=Mode.LIVE)
    order = await sent(scene)
    assert await scene.starts(name=NAMES[0][1])
    assert await scene.starts(mode=Mode.OBSERVE, prefix="C")
    assert await scene.starts(mode=Mode.LIVE, start_at=datetime.now(UTC))
    assert await scene.starts(name=NAMES[0][2])
    assert await cancelled(scene, order) == [(Operation.CREATE, Operation.CANCEL)]


async def test_a_pause_of_the_name_of_before_holds_nothing_under_the_one_it_has_now(scene: Scene) -> None:
    """It holds no order that comes in, and those of before waited on for it, where nobody looked."""
    assert await scene.starts(mode=Mode.LIVE)
    assert await pause(scene.desk.pool, NAMES[0][0], configured=(), reason="wrong prices", actor="test")
    order = await sent(scene)
    assert await scene.desk.rows("SELECT reasons FROM orders") == [("paused",)]
    assert await scene.starts(name=NAMES[0][1])
    assert await cancelled(scene, order) == [(Operation.CREATE, Operation.CANCEL)]


async def test_what_its_shop_had_left_to_another_before_it_was_renamed_stays_that_ones(scene: Scene) -> None:
    """An order that nobody had paid yet when the start was said, and of which the name of before was told last."""
    assert await scene.starts(mode=Mode.LIVE)
    order = Placed(17, ours=True)
    await scene.tell([order])
    assert await scene.starts(start_at=datetime.now(UTC))
    assert await scene.starts(name=NAMES[0][1], start_at=None)
    order.paid, order.version = True, 1
    await scene.tell([order])
    assert await scene.desk.rows("SELECT reasons FROM orders") == [("before_start",)]


async def test_what_waited_goes_on_whatever_its_shop_is_to_be_read_from_under_a_new_name(scene: Scene) -> None:
    assert await scene.starts(mode=Mode.LIVE)
    order = Placed(17, ours=True)
    await scene.tell([order])
    assert await scene.starts(name=NAMES[0][1], start_at=datetime.now(UTC))
    order.paid, order.version = True, 1
    await scene.tell([order])
    assert await scene.desk.rows("SELECT stage, reasons FROM orders") == [("allocated", "")]
