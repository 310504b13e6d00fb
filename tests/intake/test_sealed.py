"""Rows whose key is missing, or that have been damaged: they cost an event or an order, and no worker its life."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import msgspec
import pytest

from gateway.core.event import Leg
from gateway.core.happening import DeadLettered
from gateway.core.order import Closing, Facts, Operation, Party
from gateway.intake.batch import Decider
from gateway.intake.inbox import InboxReader
from gateway.store.dead import release
from gateway.store.inbox import put
from gateway.store.outbox import claim, load_held, start_worker
from gateway.store.queries import list_dead_letters
from gateway.store.sql import open_pool, register_connections
from gateway.store.vault import Vault
from tests.intake.test_batch import EVERYTHING, SHOP, WMS, Desk, Memory, decide, paid

OLD, NEW = b"o" * 32, b"n" * 32
CLOSED = Facts(party=Party.SHOP, order_no="1", version=2, closing=Closing(True))


class Desks:
    """One database as processes with other keys see it; `raw` opens nothing."""

    def __init__(self, url: str, stack: AsyncExitStack, raw: asyncpg.Pool) -> None:
        self._url = url
        self._stack = stack
        self.raw = raw

    async def with_keys(self, *keys: bytes) -> Desk:
        pool = await open_pool(self._url, size=4, vault=Vault(keys))
        self._stack.push_async_callback(pool.close)
        return Desk(pool, await register_connections(pool, [SHOP, WMS]))


@pytest.fixture
async def desks(migrated_url: str) -> AsyncIterator[Desks]:
    async with AsyncExitStack() as stack:
        raw = await open_pool(migrated_url, size=2)
        stack.push_async_callback(raw.close)
        yield Desks(migrated_url, stack, raw)


async def read_inbox(desk: Desk, decider: Decider) -> None:
    """As a worker does, until nothing is left."""
    reader = InboxReader(
        pool=desk.pool, decider=decider, decide_lock=asyncio.Lock(), batch_events=100, wake=asyncio.Event(),
        observe=desk.happened.extend, reach=lambda _: None,
    )  # fmt: skip
    running = asyncio.ensure_future(reader.run())
    async with asyncio.timeout(20):
        while not running.done() and await desk.pool.fetchval("SELECT count(*) FROM inbox"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    reader.stop()
    await running


@pytest.mark.parametrize("damaged", [False, True])
async def test_an_event_in_the_inbox_that_cannot_be_opened_is_set_aside_as_it_is(desks: Desks, damaged: bool) -> None:
    old, new = await desks.with_keys(OLD), await desks.with_keys(*([NEW, OLD] if damaged else [NEW]))
    await put(old.pool, [old.arrival("1", paid("1")).event])
    if damaged:
        await desks.raw.execute("UPDATE inbox SET body = set_byte(body, 40, get_byte(body, 40) # 1)")
    await put(new.pool, [new.arrival("1", CLOSED).event, new.arrival("2", paid("2")).event])
    stored = await desks.raw.fetchval("SELECT body FROM inbox ORDER BY inbox_id LIMIT 1")

    await read_inbox(new, await new.worker(Memory()))

    assert await new.rows("SELECT number, stage FROM orders") == [("A2", "allocated")]
    assert await new.rows("SELECT code FROM dead_letter ORDER BY code") == [("behind",), ("sealed",)]
    [letter] = await list_dead_letters(new.pool, open_only=True, source=None, code=None, before=None, limit=9)
    assert (letter.number, letter.code) == ("A1", "sealed")
    said = "has been changed since" if damaged else "is not configured"
    assert Vault([OLD]).active_id.hex() in letter.message.zh and said in letter.message.en
    assert [one.code for one in new.happened if isinstance(one, DeadLettered)].count("sealed") == 1
    kept = await desks.raw.fetchval("SELECT body FROM dead_letter WHERE code = 'sealed'")
    assert kept == stored, "so it is there again once its key is"


async def test_a_released_event_goes_through_once_its_key_is_back_and_is_kept_until_then(desks: Desks) -> None:
    old, new = await desks.with_keys(OLD), await desks.with_keys(NEW)
    await put(old.pool, [old.arrival("1", paid("1")).event])
    decider = await new.worker(Memory())
    await read_inbox(new, decider)
    for desk, left in ((new, 1), (await desks.with_keys(NEW, OLD), 0)):
        [letter] = await new.rows("SELECT dead_letter_id FROM dead_letter WHERE closed_at IS NULL")
        assert await release(desk.pool, letter[0], body=None, actor="wang") == 1
        await read_inbox(desk, await desk.worker(Memory()))
        assert await new.rows("SELECT count(*) FROM dead_letter WHERE closed_at IS NULL") == [(left,)]
    assert await new.rows("SELECT number, stage FROM orders") == [("A1", "allocated")]


@pytest.mark.parametrize("leg", list(Leg))
async def test_news_of_an_order_that_cannot_be_opened_is_set_aside_and_the_batch_goes_on(
    desks: Desks, leg: Leg
) -> None:
    old, new = await desks.with_keys(OLD), await desks.with_keys(NEW)
    await decide(await old.worker(Memory()), old.arrival("1", paid("1")))
    new.count = old.count
    arrivals = [new.arrival("1", CLOSED), new.arrival("2", paid("2")), new.arrival("3", paid("3"))]
    decider = await new.worker(Memory())
    if leg is Leg.KAFKA:
        await decider.decide(decider.prepare(arrivals), leg=leg)
    else:
        await put(new.pool, [arrival.event for arrival in arrivals])
        await read_inbox(new, decider)
    assert await new.rows("SELECT number FROM orders ORDER BY number") == [("A1",), ("A2",), ("A3",)]
    assert await new.rows("SELECT number, code FROM dead_letter") == [("A1", "sealed")]


async def test_what_gives_stock_back_is_decided_though_an_order_that_waits_for_it_cannot_be_opened(
    desks: Desks,
) -> None:
    old, new = await desks.with_keys(OLD), await desks.with_keys(NEW)
    decider = await new.worker(Memory())
    await new.pool.execute("INSERT INTO stock (sku, warehouse, on_hand) VALUES ('S1', 'W', 3)")
    await decide(decider, new.arrival("1", paid("1")))
    old.count = new.count
    await decide(await old.worker(Memory()), old.arrival("2", paid("2")))
    new.count = old.count
    await decide(decider, new.arrival("3", paid("3")))
    await decide(decider, new.arrival("1", CLOSED))
    assert await new.rows("SELECT number, stage FROM orders ORDER BY number") == [
        ("A1", "cancelled"), ("A2", "reviewed"), ("A3", "reviewed"),
    ]  # fmt: skip
    assert await new.rows("SELECT order_key FROM inbox") == [("A3",)]
    assert await new.rows("SELECT count(*) FROM dead_letter") == [(0,)]


async def test_the_lane_of_an_order_that_cannot_be_opened_waits_for_a_person(desks: Desks) -> None:
    old, new = await desks.with_keys(OLD), await desks.with_keys(NEW)
    await decide(await old.worker(Memory(0)), old.arrival("1", paid("1")))
    new.count = old.count
    await decide(await new.worker(Memory(0)), new.arrival("2", paid("2")))
    worker_id = await start_worker(new.pool, name="test", lease_s=60)
    held = await claim(new.pool, worker_id=worker_id, target=WMS, operation=Operation.CREATE, limit=9, names=new.names)
    assert [one.delivery.order.number for one in held] == ["A2"]
    blocked = "SELECT o.number, l.blocked, l.worker_id FROM lane l JOIN orders o USING (order_id) ORDER BY o.number"
    assert await new.rows(blocked) == [("A1", "sealed", None), ("A2", None, worker_id)]

    await new.pool.execute("UPDATE lane SET blocked = NULL")
    [order_id] = (await new.rows("SELECT order_id FROM orders WHERE number = 'A1'"))[0]
    assert await load_held(new.pool, {(order_id, new.names.id(WMS)): 1}, names=new.names) == []
    assert (await new.rows(blocked))[0] == ("A1", "sealed", None)


async def test_what_a_person_has_edited_is_not_sent_unedited(desks: Desks) -> None:
    new = await desks.with_keys(NEW)
    await decide(await new.worker(Memory(0)), new.arrival("1", paid("1")))
    [order_id] = (await new.rows("SELECT order_id FROM orders"))[0]
    await desks.raw.execute(
        "INSERT INTO delivery_edit (order_id, target_id, seq, body, author) VALUES ($1, $2, 1, $3, 'wang')",
        order_id,
        new.names.id(WMS),
        Vault([OLD]).seal(msgspec.json.encode(EVERYTHING)),
    )
    worker_id = await start_worker(new.pool, name="test", lease_s=60)
    claimed = await claim(
        new.pool, worker_id=worker_id, target=WMS, operation=Operation.CREATE, limit=9, names=new.names
    )
    assert claimed == []
    assert await new.rows("SELECT blocked FROM lane") == [("sealed",)]


async def test_a_damaged_name_in_an_order_that_is_not_sealed_costs_that_order(desks: Desks) -> None:
    """No key is configured, so nothing but the decoder notices; invalid UTF-8 is no error of msgspec's own."""
    plain = Desk(desks.raw, await register_connections(desks.raw, [SHOP, WMS]))
    await decide(await plain.worker(Memory(0)), plain.arrival("1", paid("1")), plain.arrival("2", paid("2")))
    state = (await plain.rows("SELECT state FROM orders WHERE number = 'A1'"))[0][0]
    name = EVERYTHING.receiver.name.encode()
    assert name in state
    await plain.pool.execute(
        "UPDATE orders SET state = $1 WHERE number = 'A1'", state.replace(name, b"\xff" * len(name))
    )
    worker_id = await start_worker(plain.pool, name="test", lease_s=60)
    held = await claim(
        plain.pool, worker_id=worker_id, target=WMS, operation=Operation.CREATE, limit=9, names=plain.names
    )
    assert [one.delivery.order.number for one in held] == ["A2"]
    assert await plain.rows("SELECT blocked FROM lane ORDER BY order_id") == [("unreadable",), (None,)]
