"""Batches against a real PostgreSQL: what blocks what, two workers at once, and defects that cost one order only."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from gateway.core.delivery import Held
from gateway.core.errors import BadInput, Fenced
from gateway.core.event import MAX_BODY_BYTES, RECONSIDER, Arrival, ConnectionName, Event, EventId, Leg, Position
from gateway.core.happening import Happening, OrderDecided, Trouble
from gateway.core.order import (
    Closing,
    Confirmation,
    Content,
    Facts,
    Hold,
    Line,
    Operation,
    OrderNumber,
    Party,
    Payment,
    Progress,
    ProgressStep,
    Receiver,
    Refund,
    RefundStatus,
    Route,
    Sku,
)
from gateway.core.sound import Decode, well_typed
from gateway.intake.batch import Decider
from gateway.pipeline.rules import Rules, Shop
from gateway.store.dead import release
from gateway.store.notices import read_waiting
from gateway.store.orders import decode_state
from gateway.store.outbox import start_worker
from gateway.store.queries import EventSeen, read_dead_letter, read_order, read_payload
from gateway.store.sql import AWAY, Connection, Names, open_pool, register_connections
from gateway.store.work import Wish, cards, conflicts_handled

SHOP, WMS = ConnectionName("shop-a"), ConnectionName("wms-1")
NOW = datetime(2026, 5, 1, 8, tzinfo=UTC)
RULES = Rules(shops={SHOP: Shop(name=SHOP, prefix="A", routes=(Route(WMS, "W"),))})
EVERYTHING = Content(NOW, (Line("1", Sku("S1"), 2, 1000),), Receiver(name="张三"), 2000)


def _told(order_no: object = "7", total_minor: object = 2000, line: Line = EVERYTHING.lines[0], **more: Any) -> Facts:
    content = Content(NOW, (line,), Receiver(name="张三"), total_minor)  # type: ignore[arg-type]
    return Facts(party=Party.SHOP, order_no=order_no, content=content, **more)  # type: ignore[arg-type]


LIES: dict[bytes, Facts] = {
    b"$.order_no None": _told(None),
    b"$.order_no empty": _told(""),
    b"$.version text": _told(version="1"),
    b"$.content.total_minor float": _told(total_minor=20.5),
    b"$.content.lines[0].price_minor float": _told(line=Line("1", Sku("S1"), 2, 10.5)),  # type: ignore[arg-type]
    b"$.content.lines[0] none of it": _told(line=Line("1", Sku("S1"), -2, 1000)),
    b"$.payment.amount_minor negative": _told(payment=Payment(True, -1)),
    b"$.refunds[0].amount_minor negative": _told(refunds=(Refund("R1", RefundStatus.DONE, -1),)),
    b"$.confirmations[0] takes back": _told(confirmations=(Confirmation("1", True, shipped=((Sku("S1"), -2),)),)),
    b"$.payment.paid_at naive": _told(payment=Payment(True, paid_at=NOW.replace(tzinfo=None))),
    b"$ too large": _told(total_minor=2**70),
    b"$ nothing": None,  # type: ignore[dict-item]
}
"""Where the lie is → what a broken adapter tells."""


class Memory:
    """An outlet that keeps what it is given; `places` are those left."""

    def __init__(self, places: int = 1000) -> None:
        self.places = places
        self.held: list[Held] = []
        self.lost_answers = 0

    def room(self, target: ConnectionName, operation: Operation) -> bool:
        if not self.places:
            return False
        self.places -= 1
        return True

    def give_back(self, target: ConnectionName, operation: Operation) -> None:
        self.places += 1

    def uncertain(self) -> None:
        self.lost_answers += 1

    def take(self, held: Sequence[Held]) -> None:
        self.held += held


def decode(event: Event) -> Facts:
    """The body is MessagePack of the facts; some stand for what cannot be read, for what a platform did not give, and
    for a broken adapter, which may crash or tell what no type allows."""
    if event.body in LIES:
        return LIES[event.body]
    if event.body == b"unread":
        raise BadInput("unread", "the platform gives no detail")
    if event.body == b"bad":
        raise BadInput("json", "is not a JSON document", advice="send JSON")
    if event.body == b"crash":
        raise ZeroDivisionError
    if event.body == b"exit":
        raise SystemExit(3)
    if event.body == b"panic":
        raise BaseException("a Rust library panics")
    if event.body == b"cut off":
        raise asyncio.CancelledError
    return msgspec.msgpack.decode(event.body, type=Facts)


class Desk:
    """A database, and as many workers as are asked for."""

    def __init__(self, pool: asyncpg.Pool, names: Names) -> None:
        self.pool = pool
        self.names = names
        self.happened: list[Happening] = []
        self.count = 0

    async def worker(
        self,
        memory: Memory,
        *,
        rules: Rules = RULES,
        doubt_before: datetime | None = None,
        adapter: Decode = decode,
    ) -> Decider:
        worker_id = await start_worker(self.pool, name="test", lease_s=60)
        return Decider(
            pool=self.pool,
            names=self.names,
            rules=rules,
            decoders=dict.fromkeys((WMS, *rules.shops), adapter),
            outlet=memory,
            worker_id=worker_id,
            observe=self.happened.extend,
            now=lambda: NOW,
            reach=lambda _: None,
            doubt_before=doubt_before,
        )

    def arrival(self, order_no: str, body: bytes | Facts, *, kind: str = "test", at: datetime = NOW) -> Arrival:
        self.count += 1
        raw = body if isinstance(body, bytes) else msgspec.msgpack.encode(body)
        source = WMS if isinstance(body, Facts) and body.party is Party.WAREHOUSE else SHOP
        event = Event(id=EventId(f"e{self.count}"), source=source, type=kind, order_key=order_no, time=at, body=raw)
        return Arrival(event, Position(Leg.KAFKA, 0, self.count), NOW)

    async def waits_for_a_lock(self) -> int:
        """Returns as soon as a session of this database does: its process id."""
        async with asyncio.timeout(10):
            while True:
                found = await self.pool.fetchval(
                    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
                if found is not None:
                    return int(found)
                await asyncio.sleep(0.01)

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.pool.fetch(query)]


@pytest.fixture
async def desk(migrated_url: str) -> AsyncIterator[Desk]:
    pool = await open_pool(migrated_url, size=8)
    yield Desk(pool, await register_connections(pool, [SHOP, WMS]))
    await pool.close()


def paid(order_no: str) -> Facts:
    return Facts(party=Party.SHOP, order_no=order_no, version=1, content=EVERYTHING, payment=Payment(True, 2000))


def filled(length: int) -> bytes:
    """The body of the paid order 2, whose note is of this length."""
    content = msgspec.structs.replace(EVERYTHING, buyer_note="x" * length)
    return msgspec.msgpack.encode(msgspec.structs.replace(paid("2"), content=content))


def said(version: int, **groups: Any) -> Facts:
    """What the shop says of its order 1 at `version`."""
    return Facts(party=Party.SHOP, order_no="1", version=version, **groups)


def goes_to(place: str, version: int) -> Facts:
    receiver = msgspec.structs.replace(EVERYTHING.receiver, detail=place)
    return said(version, content=msgspec.structs.replace(EVERYTHING, receiver=receiver))


def told(**groups: Any) -> Facts:
    """What the warehouse says of it."""
    return Facts(party=Party.WAREHOUSE, order_no="A1", **groups)


def trouble(text: str) -> Facts:
    return told(progress=(Progress(ProgressStep.EXCEPTION, text),))


def parcel(name: str) -> Facts:
    return told(confirmations=(Confirmation(name, final=False, shipped=((Sku("S1"), 1),)),))


async def decide(decider: Decider, *arrivals: Arrival) -> None:
    await decider.decide(decider.prepare(arrivals), leg=Leg.KAFKA)


@pytest.mark.feature("F12")
async def test_an_event_that_is_older_says_so(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    newer, older = desk.arrival("1", goes_to("新", 3)), desk.arrival("1", goes_to("旧", 2))
    oldest = desk.arrival("1", goes_to("更旧", 1), at=NOW + timedelta(seconds=1))
    again = desk.arrival("1", goes_to("新", 3), at=NOW + timedelta(seconds=2))
    await decide(decider, newer, older)
    await decide(decider, oldest)
    await decide(decider, again, newer, newer)
    await decide(decider, older)
    stale = await desk.rows("SELECT event_id, stale FROM event ORDER BY 1")
    assert stale == [("e1", None), ("e2", "older"), ("e3", "older"), ("e4", "unchanged")]
    decided = [one for one in desk.happened if isinstance(one, OrderDecided)]
    assert [(one.events, one.duplicates, one.stale) for one in decided] == [(2, 0, 1), (1, 1, 1), (3, 3, 0), (1, 1, 1)]
    page = await read_order(desk.pool, "A1")
    assert page is not None
    seen = {one.event_id: one.stale for one in page.timeline if isinstance(one, EventSeen)}
    assert seen == dict(stale)


@pytest.mark.feature("F9")
async def test_a_paid_order_is_stored_once_and_handed_over_claimed(desk: Desk) -> None:
    memory = Memory()
    decider = await desk.worker(memory)
    arrival = desk.arrival("1", paid("1"))
    await decide(decider, arrival, arrival)
    await decide(decider, arrival)
    assert await desk.rows("SELECT number, stage FROM orders") == [("A1", "allocated")]
    assert await desk.rows("SELECT count(*) FROM event") == [(1,)]
    assert await desk.rows("SELECT operation, head, tail, worker_id FROM lane") == [("create", 1, 1, 1)]
    assert [held.delivery.idempotency_key for held in memory.held] == ["A1/create"]
    assert [held.taken_at for held in memory.held] == [NOW], "how long it takes is counted from there"


async def test_above_the_bound_a_delivery_is_parked_not_held(desk: Desk) -> None:
    memory = Memory(places=1)
    decider = await desk.worker(memory)
    woken: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def wake(_connection: object, _pid: int, _channel: str, targets: str) -> None:
        woken.set_result(targets)

    async with desk.pool.acquire() as other:
        await other.add_listener("ordergate_lane", wake)
        try:
            await decide(decider, *(desk.arrival(str(n), paid(str(n))) for n in range(5)))
            async with asyncio.timeout(5):
                assert await woken == str(desk.names.id(WMS)), "whoever has room claims them at once"
        finally:
            await other.remove_listener("ordergate_lane", wake)
    assert await desk.rows("SELECT count(*) FILTER (WHERE worker_id IS NULL), count(*) FROM lane") == [(4, 5)]
    assert len(memory.held) == 1


@pytest.mark.feature("F75")
async def test_a_bad_event_blocks_its_own_order_until_it_is_repaired(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await decide(
        decider,
        desk.arrival("1", b"bad"),
        desk.arrival("1", paid("1")),
        desk.arrival("2", b"crash"),
        desk.arrival("3", paid("3")),
    )
    await decide(decider, desk.arrival("1", Facts(party=Party.SHOP, order_no="1", version=2, closing=Closing(True))))
    assert await desk.rows("SELECT number, stage FROM orders") == [("A3", "allocated")]
    letters = await desk.rows("SELECT number, code FROM dead_letter ORDER BY dead_letter_id")
    assert sorted(letters) == [("A1", "behind"), ("A1", "behind"), ("A1", "json"), ("A2", "adapter")]

    (bad,) = await desk.rows("SELECT dead_letter_id FROM dead_letter WHERE code = 'json'")
    repaired = msgspec.msgpack.encode(paid("1"))
    assert await release(desk.pool, bad[0], body=repaired, actor="wang") == 3
    assert await release(desk.pool, bad[0], body=repaired, actor="wang") == 0
    assert await desk.rows("SELECT count(*) FROM inbox") == [(3,)]
    assert await desk.rows("SELECT code FROM dead_letter WHERE closed_at IS NULL") == [("adapter",)]


async def test_facts_that_break_their_types_cost_one_event_and_are_told_by_field(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    lies = [desk.arrival(f"{index}", body) for index, body in enumerate(LIES)]
    await decide(decider, *lies, desk.arrival("99", paid("99")))
    assert await desk.rows("SELECT number, stage FROM orders") == [("A99", "allocated")]
    letters = await desk.rows("SELECT number, code FROM dead_letter ORDER BY dead_letter_id")
    assert letters == [(f"A{index}", "adapter") for index in range(len(LIES))]
    for letter, lie in zip(decider.prepare(lies).unsound, LIES, strict=True):
        assert letter.message.zh.startswith(f"{lie.decode().split()[0]}: 适配器给出的 Facts 有误：")


@pytest.mark.parametrize("party", list(Party))
@pytest.mark.parametrize("order_no", [None, 7])
async def test_a_decode_that_is_believed_and_gives_no_number_costs_one_event(
    desk: Desk, party: Party, order_no: object
) -> None:
    def believed(event: Event) -> Facts:
        return Facts(party=party, order_no=order_no) if event.body == b"lie" else decode(event)  # type: ignore[arg-type]

    decider = await desk.worker(Memory(), adapter=well_typed(believed))
    await decide(decider, desk.arrival("1", b"lie"), desk.arrival("2", paid("2")))
    assert await desk.rows("SELECT number, stage FROM orders") == [("A2", "allocated")]
    assert await desk.rows("SELECT number, code FROM dead_letter") == [("A1", "adapter")]


async def test_a_body_over_the_limit_is_set_aside_whole_and_what_is_within_is_decided(desk: Desk) -> None:
    """Nobody stands between a topic and intake: it may take what our own door would answer with 413."""
    memory = Memory()
    decider = await desk.worker(memory)
    room = MAX_BODY_BYTES - len(filled(1 << 16)) + (1 << 16)
    full = filled(room)
    assert len(full) == MAX_BODY_BYTES
    over = filled(room + 1)
    await decide(decider, desk.arrival("1", over), desk.arrival("1", paid("1")), desk.arrival("2", full))
    assert await desk.rows("SELECT number, stage FROM orders") == [("A2", "allocated")]
    assert [held.delivery.idempotency_key for held in memory.held] == ["A2/create"]
    letters = await desk.rows("SELECT number, code, leg FROM dead_letter ORDER BY dead_letter_id")
    assert sorted(letters) == [("A1", "behind", "kafka"), ("A1", "too_large", "kafka")]

    ((letter_id,),) = await desk.rows("SELECT dead_letter_id FROM dead_letter WHERE code = 'too_large'")
    kept = await read_dead_letter(desk.pool, letter_id)
    assert kept is not None and kept[1] == over, "whole, for whoever splits it"
    assert "1048577" in kept[0].message.zh and "1048577" in kept[0].message.en
    repaired = msgspec.msgpack.encode(paid("1"))
    assert await release(desk.pool, letter_id, body=repaired, actor="wang") == 2


class _Forgets(BadInput):
    def __init__(self) -> None:
        pass


class _Puts(BadInput):
    def __init__(self) -> None:
        super().__init__("value", "x")
        self.code, self.message, self.advice = 404, "is wrong", "look"  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (_Forgets(), "adapter", "$: the adapter does not say why"),
        (_Puts(), "404", "$: is wrong"),
        (BadInput("value", ValueError("is wrong"), advice=ValueError("look")), "value", "$: is wrong"),  # type: ignore[arg-type]
    ],
    ids=str,
)
async def test_a_refusal_that_is_not_made_as_it_should_be_costs_its_event(
    desk: Desk, error: BadInput, code: str, said: str
) -> None:
    def adapter(event: Event) -> Facts:
        if event.body == b"refused":
            raise error
        return decode(event)

    decider = await desk.worker(Memory(), adapter=adapter)
    await decide(decider, desk.arrival("1", b"refused"), desk.arrival("2", paid("2")))
    [(letter_id, kept)] = await desk.rows("SELECT dead_letter_id, code FROM dead_letter")
    letter = await read_dead_letter(desk.pool, letter_id)
    assert letter is not None and (kept, letter[0].message.en) == (code, said)
    assert await desk.rows("SELECT number, stage FROM orders") == [("A2", "allocated")]


@pytest.mark.parametrize("body", [b"exit", b"panic", b"cut off"])
async def test_an_adapter_that_exits_or_panics_ends_no_worker(desk: Desk, body: bytes) -> None:
    """Nor one that asks for the result of a task that was cut off: its cancel would end the reader unnoticed."""
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", body), desk.arrival("2", paid("2")))
    assert await desk.rows("SELECT number, code FROM dead_letter") == [("A1", "adapter")]
    assert await desk.rows("SELECT number, stage FROM orders") == [("A2", "allocated")]


async def test_a_worker_that_is_not_restarted_yet_cancels_what_another_one_sent_to_a_new_target(desk: Desk) -> None:
    """While gateways get a later configuration one after the other, all of them read events of the same orders."""
    old, target = await desk.worker(Memory()), ConnectionName("wms-2")
    desk.names = await register_connections(desk.pool, [SHOP, WMS, target])
    shop = Shop(name=SHOP, prefix="A", routes=(Route(target, "W"),))
    new = await desk.worker(Memory(), rules=Rules(shops={SHOP: shop}, targets=frozenset({target})))
    await decide(new, desk.arrival("1", paid("1")))
    await decide(old, desk.arrival("1", said(2, closing=Closing(True))))
    assert await desk.rows("SELECT code FROM dead_letter") == []
    lanes = "SELECT name, head, tail FROM lane JOIN connection ON connection_id = target_id"
    assert await desk.rows(lanes) == [("wms-2", 1, 2)]


async def test_the_same_bad_event_read_again_is_kept_once(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    bad = desk.arrival("1", b"bad")
    await decide(decider, bad)
    await decide(decider, bad)
    assert await desk.rows("SELECT count(*) FROM dead_letter") == [(1,)]


async def test_what_the_database_refuses_costs_one_order_and_not_the_batch(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    endless = random.Random(1).randbytes(9000).hex()  # longer than an index takes, and hard to compress
    arrivals = [desk.arrival(str(n), paid(str(n))) for n in range(20)]
    arrivals.insert(7, desk.arrival(endless, paid(endless)))
    arrivals += [desk.arrival("bad", b"bad")]
    await decide(decider, *arrivals)
    assert await desk.rows("SELECT count(*) FROM orders") == [(20,)]
    letters = await desk.rows("SELECT code, source FROM dead_letter ORDER BY code")
    assert letters == [("json", "shop-a"), ("undecidable", "shop-a")]
    assert any(isinstance(one, Trouble) for one in desk.happened)


async def test_what_is_refused_alone_takes_no_dead_letter_with_it(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    endless = random.Random(1).randbytes(9000).hex()
    await decide(decider, desk.arrival("1", b"bad"), desk.arrival(endless, paid(endless)))
    assert await desk.rows("SELECT code FROM dead_letter ORDER BY code") == [("json",), ("undecidable",)]


async def test_what_two_sources_call_the_same_is_kept_of_both(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    arrivals = [desk.arrival("1", paid("1")), desk.arrival("A1", parcel("M1"))]
    for arrival in arrivals:
        event = msgspec.structs.replace(arrival.event, id=EventId("1"))
        await decide(decider, msgspec.structs.replace(arrival, event=event))
    assert await desk.rows("SELECT count(*) FROM event") == [(2,)]


@pytest.mark.parametrize("part", ["id", "source", "type", "order_key", "traceparent"])
async def test_an_event_with_a_part_of_any_length_is_set_aside(desk: Desk, part: str) -> None:
    """Whoever produces to the topic writes what he likes."""
    decider = await desk.worker(Memory())
    endless = random.Random(1).randbytes(50_000).hex()
    arrival = desk.arrival("1", b"bad")
    event = msgspec.structs.replace(arrival.event, **{part: endless})
    await decide(decider, msgspec.structs.replace(arrival, event=event), desk.arrival("2", paid("2")))
    assert await desk.rows("SELECT number FROM orders") == [("A2",)]
    assert await desk.rows("SELECT count(*) FROM dead_letter") == [(1,)]


async def test_a_defect_in_our_own_steps_costs_one_order(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    decider = await desk.worker(Memory())
    whole = decider._fold

    def fold(number: OrderNumber, *rest: Any) -> Any:
        if number == "A3":
            raise KeyError("a defect")
        return whole(number, *rest)

    monkeypatch.setattr(decider, "_fold", fold)
    await decide(decider, *(desk.arrival(str(n), paid(str(n))) for n in range(6)))
    assert await desk.rows("SELECT count(*) FROM orders") == [(5,)]
    assert await desk.rows("SELECT number, code FROM dead_letter") == [("A3", "undecidable")]


async def test_an_event_from_the_future_is_set_aside(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", paid("1"), at=NOW + timedelta(days=2)))
    assert await desk.rows("SELECT number, code FROM dead_letter") == [("A1", "clock")]


@pytest.mark.feature("F9")
async def test_two_workers_that_meet_the_same_new_orders_store_each_once(desk: Desk) -> None:
    memories = [Memory() for _ in range(4)]
    workers = [await desk.worker(memory) for memory in memories]
    arrivals = [desk.arrival(str(n), paid(str(n))) for n in range(200)]
    await asyncio.gather(*(decide(worker, *arrivals) for worker in workers))
    assert await desk.rows("SELECT count(*) FROM orders") == [(200,)]
    assert await desk.rows("SELECT count(*) FROM delivery") == [(200,)]
    assert sum(len(memory.held) for memory in memories) == 200
    assert {memory.places + len(memory.held) for memory in memories} == {1000}


async def test_a_batch_that_is_refused_for_a_deadlock_is_decided_again_and_keeps_no_place(desk: Desk) -> None:
    """A deadlock shows only at the lanes, when places have been taken for them."""
    memory = Memory()
    decider = await desk.worker(memory)
    await decide(decider, desk.arrival("1", paid("1")))
    async with desk.pool.acquire() as other:
        await other.execute("SET deadlock_timeout = '1h'")  # the one that notices is the batch
        async with other.transaction():
            await other.execute("SELECT 1 FROM lane FOR UPDATE")
            stopped = asyncio.create_task(decide(decider, desk.arrival("1", said(2, closing=Closing(True)))))
            await desk.waits_for_a_lock()
            await other.execute("SELECT 1 FROM orders FOR UPDATE")
        await stopped
    assert await desk.rows("SELECT tail FROM lane") == [(2,)]
    assert (memory.places, len(memory.held)) == (999, 1), "nor one for a lane that was there already"


@pytest.mark.feature("F9")
async def test_a_command_for_a_lane_that_somebody_holds_is_his(desk: Desk) -> None:
    """Sent by the one who decided it, a cancel could be there before the order, and be sent twice."""
    first, second = Memory(), Memory()
    await decide(await desk.worker(first), desk.arrival("1", paid("1")))
    await decide(await desk.worker(second), desk.arrival("1", said(2, closing=Closing(True))))
    assert await desk.rows("SELECT operation, head, tail, worker_id FROM lane") == [("create", 1, 2, 1)]
    assert len(first.held) == 1
    assert not second.held and second.places == 1000


@pytest.mark.parametrize("leg", Leg)
@pytest.mark.parametrize("cut", ["cancelled", "disconnected"])
async def test_a_batch_whose_end_nobody_knows_has_the_lanes_compared(desk: Desk, cut: str, leg: Leg) -> None:
    """Its commit may have gone through: then the lanes are ours, and nobody holds them."""
    memory = Memory()
    decider = await desk.worker(memory)
    arrival = desk.arrival("1", paid("1"))

    @asynccontextmanager
    async def transaction() -> AsyncIterator[tuple[Connection, Sequence[Arrival]]]:
        async with desk.pool.acquire() as connection, connection.transaction():
            yield connection, [arrival]

    async with desk.pool.acquire() as other, other.transaction():
        await other.execute("LOCK TABLE lane")
        work = decide(decider, arrival) if leg is Leg.KAFKA else decider.decide_in(transaction)
        deciding = asyncio.ensure_future(work)
        waits = await desk.waits_for_a_lock()
        if cut == "cancelled":
            deciding.cancel()
        else:
            await other.execute("SELECT pg_terminate_backend($1)", waits)
        with pytest.raises((asyncio.CancelledError, *AWAY)):
            await deciding
    assert memory.lost_answers == 1
    assert memory.places == 1000 and not memory.held


@pytest.mark.feature("F46")
async def test_workers_that_meet_at_the_last_pieces_sell_each_of_them_once(desk: Desk) -> None:
    await desk.pool.execute("INSERT INTO stock (sku, warehouse, on_hand) VALUES ('S1', 'W', 15)")
    workers = [await desk.worker(Memory()) for _ in range(4)]

    async def sell(worker: Decider, first: int) -> None:
        for n in range(first, 40, len(workers)):
            await decide(worker, desk.arrival(str(n), paid(str(n))))

    await asyncio.gather(*(sell(worker, first) for first, worker in enumerate(workers)))
    stages = await desk.rows("SELECT stage, count(*) FROM orders GROUP BY stage ORDER BY stage")
    assert stages == [("allocated", 7), ("reviewed", 33)], "of two pieces each"
    assert await desk.rows("SELECT on_hand, locked, committed FROM stock") == [(15, 0, 14)]
    assert await desk.rows("SELECT sum(committed), count(*) FROM movement") == [(14, 7)]
    with pytest.raises(asyncpg.CheckViolationError):
        await desk.pool.execute("UPDATE stock SET committed = committed + 2")


@pytest.mark.feature("F4")
async def test_what_was_sent_is_kept_with_its_order_as_it_came_and_can_be_read_again(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    arrivals = [desk.arrival("1", paid("1")), desk.arrival("1", said(2, closing=Closing(True)))]
    await decide(decider, *arrivals)
    found = [await read_payload(desk.pool, "A1", n) for n in (1, 2)]
    kept = {seen.event_id: body for seen, body in filter(None, found)}
    assert kept == {arrival.event.id: arrival.event.body for arrival in arrivals}
    from_what_is_kept = [
        msgspec.structs.replace(arrival, event=msgspec.structs.replace(arrival.event, body=kept[arrival.event.id]))
        for arrival in arrivals
    ]
    (order,) = await desk.rows("SELECT state FROM orders")
    await desk.pool.execute("TRUNCATE orders, event, delivery, lane")
    again = await desk.worker(Memory())
    await decide(again, *from_what_is_kept)
    assert await desk.rows("SELECT state FROM orders") == [order]


async def test_a_replaced_worker_writes_nothing(desk: Desk) -> None:
    memory = Memory()
    decider = await desk.worker(memory)
    await desk.pool.execute("DELETE FROM worker")
    with pytest.raises(Fenced):
        await decide(decider, desk.arrival("1", paid("1")))
    assert await desk.rows("SELECT count(*) FROM orders") == [(0,)]
    assert memory.places == 1000 and not memory.held


async def test_a_paid_order_of_which_the_shop_tells_nothing_is_for_a_person(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", said(1, payment=Payment(True, 2000))))
    assert [(card.kind, card.code) for card in await cards(desk.pool, Wish())] == [("hold", "paid_no_content")]
    await decide(decider, desk.arrival("1", paid("1")))
    assert await cards(desk.pool, Wish()) == []


async def test_reconsidering_an_order_nobody_knows_is_nothing(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    nobody = desk.arrival("A404", b"", kind=RECONSIDER)
    await decide(decider, Arrival(nobody.event, Position(Leg.INBOX, -1, 1), NOW))
    assert await desk.rows("SELECT count(*) FROM orders") == [(0,)]
    assert not [one for one in desk.happened if type(one).__name__ == "OrderDecided"]


async def test_pieces_that_come_back_go_to_the_order_that_waits_for_them(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await desk.pool.execute("INSERT INTO stock (sku, warehouse, on_hand) VALUES ('S1', 'W', 3)")
    await decide(decider, desk.arrival("1", paid("1")), desk.arrival("2", paid("2")))
    assert await desk.rows("SELECT stage FROM orders ORDER BY number") == [("allocated",), ("reviewed",)]
    await decide(decider, desk.arrival("1", Facts(party=Party.SHOP, order_no="1", version=2, closing=Closing(True))))
    assert await desk.rows("SELECT order_key, type FROM inbox") == [("A2", RECONSIDER)]
    again = desk.arrival("A2", b"", kind=RECONSIDER)
    await decide(decider, Arrival(again.event, Position(Leg.INBOX, -1, 1), NOW))
    assert await desk.rows("SELECT stage FROM orders ORDER BY number") == [("cancelled",), ("allocated",)]
    assert await desk.rows("SELECT on_hand, locked, committed FROM stock") == [(3, 0, 2)]


@pytest.mark.parametrize("configured", [True, False])
async def test_an_order_with_the_number_of_another_shops_is_set_aside(desk: Desk, configured: bool) -> None:
    """Prefixes were changed: it would count as known, and never be sent. One that is gone may be this one renamed."""
    other = ConnectionName("shop-b")
    desk.names = await register_connections(desk.pool, [SHOP, WMS, other])
    await decide(await desk.worker(Memory()), desk.arrival("1", paid("1")))
    shops = {other: Shop(name=other, prefix="A", routes=(Route(WMS, "W"),))}
    if configured:
        shops[SHOP] = Shop(name=SHOP, prefix="B", routes=(Route(WMS, "W"),))
    strange = [desk.arrival("1", said(n, closing=Closing(True))) for n in (2, 3)]
    strange = [msgspec.structs.replace(one, event=msgspec.structs.replace(one.event, source=other)) for one in strange]
    decider = await desk.worker(Memory(), rules=Rules(shops=shops))
    await decide(decider, strange[0], desk.arrival("1", trouble("破损")), strange[1])
    await decide(decider, desk.arrival("1", trouble("缺货")))
    stage, codes = ("allocated", ["another_shop", "another_shop"]) if configured else ("cancelled", [])
    [(stands, state)] = await desk.rows("SELECT stage, state FROM orders")
    assert stands == stage
    assert len(decode_state(state).progress) == 2, "nothing of the order itself is held back"
    assert [row[0] for row in await desk.rows("SELECT code FROM dead_letter ORDER BY 1")] == codes


async def test_an_order_keeps_its_number_when_its_shop_takes_another_prefix(desk: Desk) -> None:
    """A cancel reaches the warehouse that has it, and what is told again is no new order."""
    await decide(await desk.worker(Memory()), desk.arrival("1", paid("1")), desk.arrival("2", paid("2")))
    shop = Shop(name=SHOP, prefix="C", former=("B", "A"), routes=(Route(WMS, "W"),))
    decider = await desk.worker(Memory(), rules=Rules(shops={SHOP: shop}))
    again = msgspec.structs.replace(paid("2"), version=2)
    await decide(decider, desk.arrival("1", said(2, closing=Closing(True))), desk.arrival("2", again))
    await decide(decider, desk.arrival("2", b"bad"), desk.arrival("3", paid("3")))
    later = Facts(party=Party.SHOP, order_no="2", version=3, closing=Closing(True))
    await decide(decider, desk.arrival("2", later))
    stages = "SELECT number, stage FROM orders ORDER BY number"
    assert await desk.rows(stages) == [("A1", "cancelled"), ("A2", "allocated"), ("C3", "allocated")]
    letters = await desk.rows("SELECT number, code FROM dead_letter ORDER BY dead_letter_id")
    assert letters == [("A2", "json"), ("A2", "behind")]
    assert await desk.rows("SELECT key, count(*) FROM delivery GROUP BY 1 ORDER BY 1") == [("cancel", 1), ("create", 3)]


async def test_an_order_of_a_shop_that_has_another_name_now_is_not_another_shops(desk: Desk) -> None:
    new, other = ConnectionName("shop-n"), ConnectionName("shop-b")
    desk.names = await register_connections(desk.pool, [SHOP, WMS, new, other])
    await decide(await desk.worker(Memory()), desk.arrival("1", paid("1")))
    shops = {
        name: Shop(name=name, prefix=prefix, routes=(Route(WMS, "W"),)) for name, prefix in ((new, "C"), (other, "A"))
    }
    decider = await desk.worker(Memory(), rules=Rules(shops=shops, renamed={SHOP: new}))
    told = desk.arrival("1", said(2, closing=Closing(True)))
    await decide(decider, msgspec.structs.replace(told, event=msgspec.structs.replace(told.event, source=other)))
    assert await desk.rows("SELECT stage FROM orders") == [("allocated",)]
    assert await desk.rows("SELECT code, source FROM dead_letter") == [("another_shop", other)]


async def test_an_order_of_a_renamed_shop_goes_the_way_that_its_shop_has_been_given_since(desk: Desk) -> None:
    new = ConnectionName("shop-n")
    desk.names = await register_connections(desk.pool, [SHOP, WMS, new])
    without = Rules(shops={SHOP: Shop(name=SHOP, prefix="A")})
    await decide(await desk.worker(Memory(), rules=without), desk.arrival("1", paid("1")))
    assert await desk.rows("SELECT reasons FROM orders") == [("no_route",)]
    rules = Rules(shops={new: Shop(name=new, prefix="A", routes=(Route(WMS, "W"),))}, renamed={SHOP: new})
    again = desk.arrival("A1", b"", kind=RECONSIDER)
    await decide(await desk.worker(Memory(), rules=rules), Arrival(again.event, Position(Leg.INBOX, -1, 1), NOW))
    assert await desk.rows("SELECT stage, reasons FROM orders") == [("allocated", "")]


async def test_a_former_prefix_makes_no_order_of_another_shop_ours(desk: Desk) -> None:
    other = ConnectionName("shop-b")
    desk.names = await register_connections(desk.pool, [SHOP, WMS, other])
    await decide(await desk.worker(Memory()), desk.arrival("1", paid("1")))
    shops = {
        SHOP: Shop(name=SHOP, prefix="A", routes=(Route(WMS, "W"),)),
        other: Shop(name=other, prefix="B", former=("A",), routes=(Route(WMS, "W"),)),
    }
    told = desk.arrival("1", paid("1"))
    told = msgspec.structs.replace(told, event=msgspec.structs.replace(told.event, source=other))
    await decide(await desk.worker(Memory(), rules=Rules(shops=shops)), told)
    assert await desk.rows("SELECT number FROM orders ORDER BY 1") == [("A1",), ("B1",)]


async def test_a_connection_without_a_prefix_cannot_speak_for_a_shop(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", paid("1")))
    stranger = desk.arrival("A1", Facts(party=Party.SHOP, order_no="A1", version=9, closing=Closing(True)))
    event = msgspec.structs.replace(stranger.event, source=WMS)
    await decide(decider, Arrival(event, stranger.position, NOW))
    assert await desk.rows("SELECT stage FROM orders") == [("allocated",)]
    assert await desk.rows("SELECT code FROM dead_letter") == [("not_a_shop",)]


@pytest.mark.feature("F130")
async def test_an_order_placed_before_a_restore_is_asked_for_however_late_it_is_told_of(desk: Desk) -> None:
    """A polled shop tells of an order as it is now: the event that the lost gateway sent it by is not seen again."""
    memory = Memory()
    decider = await desk.worker(memory, doubt_before=NOW + timedelta(hours=1))
    later = NOW + timedelta(hours=2)
    fresh = msgspec.structs.replace(paid("2"), content=msgspec.structs.replace(EVERYTHING, placed_at=later))
    taken, sent = (msgspec.structs.replace(fresh, order_no=number) for number in "34")
    for arrival, taken_at in (
        (desk.arrival("1", paid("1"), at=later), later),
        (desk.arrival("2", fresh, at=later), later),
        # By a clock that was ahead, and by one that was behind.
        (desk.arrival("3", taken, at=later), NOW),
        (desk.arrival("4", sent, at=NOW), later),
    ):
        await decide(decider, msgspec.structs.replace(arrival, taken_at=taken_at))
    doubtful = {"A1": True, "A2": False, "A3": True, "A4": True}
    lanes = await desk.rows("SELECT number, in_doubt FROM lane JOIN orders USING (order_id)")
    assert dict(lanes) == doubtful
    assert {held.delivery.order.number: held.in_doubt for held in memory.held} == doubtful


CANCELLED = said(4, closing=Closing(True))


@pytest.mark.feature("F79")
@pytest.mark.parametrize(
    ("conflict", "before", "news"),
    [
        ("changed_after_sent", [goes_to("2 Road", 2)], [goes_to("another town", 3)]),
        ("changed_after_sent", [goes_to("2 Road", 2)], [said(3, content=EVERYTHING), goes_to("2 Road", 4)]),
        ("warehouse_exception", [trouble("a cup is broken")], [trouble("the shelf is empty")]),
        ("held_after_sent", [said(2, hold=Hold(True, "risk"))], [said(3, hold=Hold(True, "pre-sale"))]),
        (
            "held_after_sent",
            [said(2, hold=Hold(True))],
            [said(3, hold=Hold(False)), said(4, hold=Hold(True))],
        ),
        ("cancelled_but_shipped", [CANCELLED, parcel("M1")], [parcel("M2")]),
    ],
)
async def test_a_conflict_that_was_dealt_with_is_back_when_there_is_news_of_it(
    desk: Desk, conflict: str, before: list[Facts], news: list[Facts]
) -> None:
    decider = await desk.worker(Memory())
    for facts in (paid("1"), *before):
        await decide(decider, desk.arrival(facts.order_no, facts))
    assert await conflicts_handled(desk.pool, "A1", reason="told them", actor="li") == (conflict,)
    assert await conflicts_shown(desk) == []
    for facts in news:
        await decide(decider, desk.arrival(facts.order_no, facts))
    assert await conflicts_shown(desk) == [conflict]
    assert await desk.rows("SELECT actor, subject FROM audit WHERE action = 'order.conflicts_handled'") == [
        ("li", "A1")
    ]


@pytest.mark.feature("F79")
@pytest.mark.parametrize(
    ("before", "more"),
    [
        # What is known already, whole or under a newer version.
        (goes_to("2 Road", 2), goes_to("2 Road", 2)),
        (goes_to("2 Road", 2), goes_to("2 Road", 3)),
        (goes_to("2 Road", 2), said(3, payment=Payment(True, 2000, method="card"))),
        # The warehouse goes on after it.
        (trouble("a cup is broken"), told(progress=(Progress(ProgressStep.PACKING),))),
        (trouble("a cup is broken"), parcel("M1")),
        (goes_to("2 Road", 2), told(progress=(Progress(ProgressStep.PICKING),))),
    ],
)
async def test_a_conflict_that_was_dealt_with_stays_so_whatever_else_becomes_known(
    desk: Desk, before: Facts, more: Facts
) -> None:
    decider = await desk.worker(Memory())
    for facts in (paid("1"), before):
        await decide(decider, desk.arrival(facts.order_no, facts))
    assert await conflicts_handled(desk.pool, "A1", reason="told them", actor="li")
    await decide(decider, desk.arrival(more.order_no, more), desk.arrival(before.order_no, before))
    assert await desk.rows("SELECT conflicts <> '' FROM orders") == [(True,)]
    assert await conflicts_shown(desk) == []


async def conflicts_shown(desk: Desk) -> list[str]:
    """The codes that have a card; those that people are told of are the same."""
    codes = [card.code for card in await cards(desk.pool, Wish(kind="conflict"))]
    async with desk.pool.acquire() as connection:
        assert [code for _, code in (await read_waiting(connection)).conflicts] == codes
    return codes
