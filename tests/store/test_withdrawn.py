"""A create that has never left while its cancel waits behind it: neither is sent."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import asyncpg
import pytest

from gateway.core.delivery import Result
from gateway.core.happening import AttemptEnded, Happening
from gateway.core.order import Operation
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.outcomes import Ended
from gateway.store.outbox import AttemptRow, claim, overtaken, own_lanes, start_worker, withdraw
from gateway.store.redrive import Pace, read_redrive, start, step
from gateway.store.sql import Names
from gateway.store.wanted import Wanted
from tests.dispatch.test_gate import Bench, Script, fail, running

from .stuck import PAGER, WMS, let_be_due, open_desk, policies, stick
from .test_strays import dispatcher_of

NEVER_LEFT = [(Result.FAILED, "connect"), (Result.FAILED, "tls"), (Result.FAILED, "pool"), (Result.THROTTLED, None)]
LEFT = [
    (Result.FAILED, "http_503"), (Result.UNKNOWN, "timeout"), (Result.REJECTED, "business"), (Result.NOT_FOUND, None),
    (Result.UNAUTHORISED, "token"), (Result.FAILED, None),
]  # fmt: skip


async def waiting(pool: asyncpg.Pool, names: Names, count: int, *, tail: int = 2, first: int = 1) -> None:
    """Orders whose commands 1 to `tail` wait to be sent, untried."""
    ids = await stick(pool, names, count, tail=tail, first=first)
    await pool.execute("DELETE FROM attempt WHERE order_id = ANY($1)", ids)
    await pool.execute("UPDATE lane SET blocked = NULL, bursts = 0, not_before = now() WHERE order_id = ANY($1)", ids)


async def tried(pool: asyncpg.Pool, names: Names, order_id: int, result: Result, code: str | None) -> None:
    row = AttemptRow(order_id, names.id(WMS), 1, 7, datetime.now(UTC), 5, result, code, None)
    await pool.execute(
        "INSERT INTO attempt (order_id, target_id, seq, worker_id, ended_at, took_ms, result, code, private_detail)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        *row,
    )


async def held_by(pool: asyncpg.Pool, names: Names) -> int:
    """All that waits, claimed by a new worker; its id."""
    worker_id = await start_worker(pool, name="test", lease_s=60)
    await claim(pool, worker_id=worker_id, target=WMS, operation=Operation.CREATE, limit=500, names=names)
    return worker_id


async def cancelled(pool: asyncpg.Pool, names: Names, *order_ids: int) -> None:
    """The shop cancels what waits as one command, as intake writes it."""
    await pool.execute(
        "INSERT INTO delivery (order_id, target_id, seq, operation, key)"
        " SELECT n, $1, 2, 'cancel', 'cancel' FROM unnest($2::bigint[]) n",
        names.id(WMS),
        order_ids,
    )
    await pool.execute("UPDATE lane SET tail = 2 WHERE order_id = ANY($1)", order_ids)


async def attempts(pool: asyncpg.Pool) -> list[tuple[int, int, Result]]:
    rows = await pool.fetch("SELECT order_id, seq, result FROM attempt ORDER BY order_id, seq")
    return [(row[0], row[1], Result(row[2])) for row in rows]


async def test_both_end_and_the_timeline_has_both(migrated_url: str) -> None:
    pool, names = await open_desk(migrated_url)
    await waiting(pool, names, 2)
    await waiting(pool, names, 1, tail=1, first=3)
    worker_id = await held_by(pool, names)
    assert await overtaken(pool, worker_id=worker_id, target=WMS, names=names) == {1, 2}
    for _ in range(2):  # asked again where the answer was lost
        kept = await withdraw(pool, worker_id=worker_id, target=WMS, creates={1: 1, 2: 1, 3: 1}, names=names)
        assert kept == {3}, "nobody has cancelled it"
        assert await attempts(pool) == [(n, seq, Result.WITHDRAWN) for n in (1, 2) for seq in (1, 2)]
    assert await own_lanes(pool, worker_id) == {(3, names.id(WMS))}
    await pool.close()


@pytest.mark.parametrize(
    ("result", "code", "ends"), [(*one, True) for one in NEVER_LEFT] + [(*one, False) for one in LEFT]
)
async def test_what_may_have_left_is_sent_and_cancelled(
    migrated_url: str, result: Result, code: str | None, ends: bool
) -> None:
    """A WMS that answers 503 may have kept the order: without its cancel the goods would leave."""
    pool, names = await open_desk(migrated_url)
    await waiting(pool, names, 1)
    await tried(pool, names, 1, result, code)
    worker_id = await held_by(pool, names)
    kept = await withdraw(pool, worker_id=worker_id, target=WMS, creates={1: 1}, names=names)
    assert kept == (set() if ends else {1})
    await pool.close()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE lane SET in_doubt = true",
        "UPDATE lane SET worker_id = worker_id + 1",
        "UPDATE lane SET tail = 3",
        "UPDATE lane SET head = 2, operation = 'cancel', tail = 3",
        "UPDATE delivery SET operation = 'ship' WHERE seq = 2",
    ],
)
async def test_a_lane_that_is_not_just_that_stays(migrated_url: str, change: str) -> None:
    pool, names = await open_desk(migrated_url)
    await waiting(pool, names, 1)
    worker_id = await held_by(pool, names)
    await pool.execute(change)
    before = await pool.fetchval("SELECT lane::text FROM lane")
    await withdraw(pool, worker_id=worker_id, target=WMS, creates={1: 1}, names=names)
    assert await pool.fetchval("SELECT lane::text FROM lane") == before
    assert await attempts(pool) == []
    await pool.close()


async def test_doubt_that_a_redrive_sends_unasked_is_sent_and_cancelled(migrated_url: str) -> None:
    """A worker died while it sent it, and what was left could not be opened: there is a doubt and no attempt."""
    pool, names = await open_desk(migrated_url)
    await stick(pool, names, 1, target=PAGER, tail=2, blocked="sealed", in_doubt=True)
    await stick(pool, names, 1, target=PAGER, tail=2, blocked="sealed", first=2)
    await pool.execute("DELETE FROM attempt")
    wanted, pace = Wanted(target=PAGER), Pace(per_s=100)
    asked = policies(names)
    await start(pool, wanted, policies=asked, cap=10, pace=pace, reason="because", actor="ann", forced=True)
    await let_be_due(pool)
    await step(pool)
    worker_id = await start_worker(pool, name="test", lease_s=60)
    held = await claim(pool, worker_id=worker_id, target=PAGER, operation=Operation.CREATE, limit=500, names=names)
    assert [one.in_doubt for one in held] == [False, False]
    assert await withdraw(pool, worker_id=worker_id, target=PAGER, creates={1: 1, 2: 1}, names=names) == {1}
    await pool.close()


async def test_a_redrive_does_not_say_of_what_was_withdrawn_that_its_target_has_it(migrated_url: str) -> None:
    pool, names = await open_desk(migrated_url)
    await stick(pool, names, 3, target=PAGER, tail=2, blocked="sealed")
    await pool.execute("DELETE FROM attempt")
    redrive_id = await start(
        pool, Wanted(target=PAGER), policies=policies(names), cap=10, pace=Pace(per_s=100), reason="the key is back",
        actor="ann", forced=True,
    )  # fmt: skip
    assert redrive_id is not None
    await let_be_due(pool)
    await step(pool)
    worker_id = await start_worker(pool, name="test", lease_s=60)
    await claim(pool, worker_id=worker_id, target=PAGER, operation=Operation.CREATE, limit=500, names=names)
    assert await withdraw(pool, worker_id=worker_id, target=PAGER, creates={1: 1, 2: 1}, names=names) == set()
    await let_be_due(pool)
    await step(pool)
    seen = await read_redrive(pool, redrive_id)
    assert seen is not None
    assert (seen.total, seen.released, seen.done, seen.found, seen.withdrawn) == (3, 1, 2, 0, 2)
    await pool.close()


async def a_gate(pool: asyncpg.Pool, names: Names, happened: list[Happening]) -> tuple[Dispatcher, Bench]:
    worker_id = await start_worker(pool, name="test", lease_s=60)
    dispatcher = dispatcher_of(pool, names, worker_id, happened)
    bench = Bench(Script(), target_id=names.id(WMS), places=8)
    bench.gate.target = WMS
    dispatcher.add(bench.gate)
    return dispatcher, bench


async def test_what_is_claimed_goes_out_without_those(migrated_url: str) -> None:
    pool, names = await open_desk(migrated_url)
    await waiting(pool, names, 3, tail=1)
    await waiting(pool, names, 2, first=4)
    happened = list[Happening]()
    dispatcher, bench = await a_gate(pool, names, happened)
    claiming = asyncio.create_task(dispatcher._claim_parked(bench.gate))
    async with running(bench):
        await bench.outcomes(3)
    claiming.cancel()
    assert bench.script.asked == ["send S1", "send S2", "send S3"]
    told = [(one.number, one.operation, one.seq, one.result) for one in happened if isinstance(one, AttemptEnded)]
    assert told == [
        (f"S{n}", operation, seq, Result.WITHDRAWN)
        for n in (4, 5)
        for operation, seq in ((Operation.CREATE, 1), (Operation.CANCEL, 2))
    ]
    assert bench.gate.state.places == 0
    await pool.close()


async def test_what_waits_in_memory_for_a_target_that_is_down_is_looked_at_again(migrated_url: str) -> None:
    pool, names = await open_desk(migrated_url)
    await waiting(pool, names, 4, tail=1)
    dispatcher, bench = await a_gate(pool, names, [])
    await dispatcher._claim_group(bench.gate)
    fail(bench.breaker, 50)
    assert bench.gate.sends_waiting() == 4
    await cancelled(pool, names, 2, 4)
    await dispatcher._withdraw_queued(bench.gate, set())
    assert (bench.gate.sends_waiting(), bench.gate.state.places) == (2, 2)
    assert [held.delivery.order_id for held in bench.gate._queued()] == [1, 3]
    assert await attempts(pool) == [(n, seq, Result.WITHDRAWN) for n in (2, 4) for seq in (1, 2)]
    await pool.close()


async def test_one_that_must_be_sent_after_all_is_put_back_once(migrated_url: str) -> None:
    pool, names = await open_desk(migrated_url)
    await waiting(pool, names, 2, tail=1)
    dispatcher, bench = await a_gate(pool, names, [])
    await dispatcher._claim_group(bench.gate)
    await tried(pool, names, 2, Result.FAILED, "http_503")
    await cancelled(pool, names, 2)
    to_send = set[int]()
    await dispatcher._withdraw_queued(bench.gate, to_send)
    assert [held.delivery.order_id for held in bench.gate._queued()] == [2, 1]
    assert to_send == {2}
    bench.gate.put_back(bench.gate.take_out({1}))
    await dispatcher._withdraw_queued(bench.gate, to_send)
    assert [held.delivery.order_id for held in bench.gate._queued()] == [1, 2], "it is not moved again"
    assert len(await own_lanes(pool, dispatcher.worker_id)) == bench.gate.state.places == 2
    await pool.execute("UPDATE lane SET tail = 1")
    await dispatcher._withdraw_queued(bench.gate, to_send)
    assert to_send == set()
    await pool.close()


async def test_what_was_tried_is_not_withdrawn_before_that_is_written(migrated_url: str) -> None:
    """A refused authorisation says nothing of what was sent, and what it was said of waits in memory as before."""
    pool, names = await open_desk(migrated_url)
    await waiting(pool, names, 1, tail=1)
    dispatcher, bench = await a_gate(pool, names, [])
    await dispatcher._claim_group(bench.gate)
    refused = AttemptRow(
        1, names.id(WMS), 1, dispatcher.worker_id, datetime.now(UTC), 5, Result.UNAUTHORISED, "token", None
    )
    dispatcher.outcomes.add(Ended(refused, None, None))
    await cancelled(pool, names, 1)
    to_send = set[int]()
    await dispatcher._withdraw_queued(bench.gate, to_send)
    assert (bench.gate.sends_waiting(), to_send, await attempts(pool)) == (1, set(), [])
    dispatcher.outcomes.stop()
    async with asyncio.timeout(20), pool.acquire() as other, other.transaction():
        await other.execute("LOCK TABLE attempt IN SHARE MODE")
        writing = asyncio.create_task(dispatcher.outcomes.run())
        await stands_at_a_lock(other)
        await dispatcher._withdraw_queued(bench.gate, to_send)
    assert (bench.gate.sends_waiting(), to_send) == (1, set()), "nor while it is being written"
    await writing
    await dispatcher._withdraw_queued(bench.gate, to_send)
    assert (bench.gate.sends_waiting(), to_send) == (1, {1})
    assert await attempts(pool) == [(1, 1, Result.UNAUTHORISED)]
    await pool.close()


async def test_what_is_looked_at_is_nobodys_to_free_however_long_that_takes(migrated_url: str) -> None:
    """An index built on the attempts, say: freed meanwhile, an order would be sent by whoever claims it, and by us."""
    pool, names = await open_desk(migrated_url)
    await waiting(pool, names, 1, tail=1)
    await waiting(pool, names, 1, first=2)
    dispatcher, bench = await a_gate(pool, names, [])
    dispatcher._astray_after_s = 0.0
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE attempt IN SHARE MODE")
        claiming = asyncio.create_task(dispatcher._claim_group(bench.gate))
        await stands_at_a_lock(connection)
        dispatcher.uncertain()
        await dispatcher._free_strays()
        assert await own_lanes(pool, dispatcher.worker_id) == {(n, names.id(WMS)) for n in (1, 2)}
    await claiming
    assert [held.delivery.order_id for held in bench.gate._queued()] == [1]
    assert await own_lanes(pool, dispatcher.worker_id) == {(1, names.id(WMS))}
    await dispatcher._free_strays()
    assert len(await own_lanes(pool, dispatcher.worker_id)) == bench.gate.state.places == 1
    await pool.close()


async def test_what_was_taken_out_of_the_line_is_nobodys_to_free_either(migrated_url: str) -> None:
    pool, names = await open_desk(migrated_url)
    await waiting(pool, names, 1, tail=1)
    dispatcher, bench = await a_gate(pool, names, [])
    await dispatcher._claim_group(bench.gate)
    await cancelled(pool, names, 1)
    dispatcher._astray_after_s = 0.0
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE attempt IN SHARE MODE")
        looking = asyncio.create_task(dispatcher._withdraw_queued(bench.gate, set()))
        await stands_at_a_lock(connection)
        dispatcher.uncertain()
        await dispatcher._free_strays()
        assert await own_lanes(pool, dispatcher.worker_id) == {(1, names.id(WMS))}
    await looking
    assert await attempts(pool) == [(1, seq, Result.WITHDRAWN) for seq in (1, 2)]
    assert bench.gate.state.places == 0
    await pool.close()


async def stands_at_a_lock(connection: asyncpg.pool.PoolConnectionProxy) -> None:
    """Somebody waits for what `connection` has locked."""
    stands = 0
    async with asyncio.timeout(10):
        while not stands:
            stands = await connection.fetchval(
                "SELECT count(*) FROM pg_locks WHERE relation = 'attempt'::regclass AND NOT granted"
            )
            await asyncio.sleep(0.01)
