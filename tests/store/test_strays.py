"""Lanes that a commit without an answer has claimed come free again; those in somebody's hands stay."""

from __future__ import annotations

import asyncio
import time

import asyncpg

from gateway.core.event import ConnectionName
from gateway.core.happening import Happening, Trouble
from gateway.core.order import Operation
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.lease import Lease
from gateway.store.outbox import free_lanes, own_lanes, start_worker
from gateway.store.sql import Names, open_pool, register_connections
from tests.dispatch.test_gate import Bench, Script, running

from .stuck import WMS, open_desk, stick


def dispatcher_of(
    pool: asyncpg.Pool, names: Names, worker_id: int, happened: list[Happening], *, heartbeat_s: float = 0.05
) -> Dispatcher:
    """One without gates."""
    return Dispatcher(
        pool=pool,
        keeper=pool,
        names=names,
        worker_id=worker_id,
        lease=Lease(60, clock=time.monotonic, granted_at=time.monotonic()),
        heartbeat_s=heartbeat_s,
        observe=happened.extend,
        outcome_wait_s=0.001,
        reach=lambda _: None,
    )


async def test_only_what_is_astray_for_long_is_freed(migrated_url: str) -> None:
    pool = await open_pool(migrated_url, size=4)
    names = await register_connections(pool, [ConnectionName("wms-1")])
    worker_id = await start_worker(pool, name="test", lease_s=60)
    happened: list[Happening] = []
    dispatcher = dispatcher_of(pool, names, worker_id, happened)
    await pool.execute(
        "INSERT INTO lane (order_id, target_id, operation, head, tail, worker_id)"
        " SELECT n, 1, 'create', 1, 1, $1 FROM generate_series(1, 3) n",
        worker_id,
    )
    dispatcher._advancing = {(3, 1): 1}
    await dispatcher._free_strays()
    assert len(await own_lanes(pool, worker_id)) == 3, "nothing was uncertain: nobody looks"
    dispatcher.uncertain()
    await dispatcher._free_strays()
    await dispatcher._free_strays()
    assert len(await own_lanes(pool, worker_id)) == 3, "a call may still be on its way"
    dispatcher._astray_after_s = 0.0
    await dispatcher._free_strays()
    assert await own_lanes(pool, worker_id) == {(3, 1)}
    assert [one.where for one in happened if isinstance(one, Trouble)] == ["strays"]
    assert await pool.fetchval("SELECT bool_or(in_doubt) FROM lane") is False
    assert await free_lanes(pool, [(3, 1)], worker_id=worker_id + 1) == 0
    await pool.close()


async def test_a_command_that_no_gate_takes_is_freed_though_the_database_breaks_off(migrated_url: str) -> None:
    """The worker goes on: its end would leave all that it holds in doubt."""
    pool, names = await open_desk(migrated_url)
    await stick(pool, names, 1, tail=2)
    worker_id = await start_worker(pool, name="test", lease_s=60)
    await pool.execute("UPDATE lane SET head = 2, operation = 'cancel', blocked = NULL, worker_id = $1", worker_id)
    happened: list[Happening] = []
    dispatcher = dispatcher_of(pool, names, worker_id, happened)
    dispatcher._advance({(1, names.id(WMS)): 2})
    going_on = asyncio.create_task(dispatcher._go_on())
    async with pool.acquire() as connection:
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM lane FOR UPDATE")
            ended = 0
            async with asyncio.timeout(10):
                while not ended:
                    ended = await connection.fetchval(
                        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                    )
                    await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        while len(told := [one.what for one in happened if isinstance(one, Trouble)]) < 2:
            assert not going_on.done(), going_on.exception()
            await asyncio.sleep(0.01)
    going_on.cancel()
    assert not await own_lanes(pool, worker_id)
    away, over = told
    assert away.startswith("PostgreSQL is away: ") and over == "wms has no gate cancel"
    await pool.close()


async def test_what_lanes_go_on_to_is_held_in_memory_only_as_far_as_there_are_places(migrated_url: str) -> None:
    """Orders are taken and their cancels are not: what has gone on to a cancel would fill the memory meanwhile."""
    pool, names = await open_desk(migrated_url)
    orders, places = 6, 4
    await stick(pool, names, orders, tail=2)
    worker_id = await start_worker(pool, name="test", lease_s=60)
    await pool.execute("UPDATE lane SET head = 2, operation = 'cancel', blocked = NULL, worker_id = $1", worker_id)
    dispatcher = dispatcher_of(pool, names, worker_id, [])
    bench = Bench(Script(), target_id=names.id(WMS), places=places)
    bench.gate.target, bench.gate.operation = WMS, Operation.CANCEL
    dispatcher.add(bench.gate)
    dispatcher._advance({(number, names.id(WMS)): 2 for number in range(1, orders + 1)})
    going_on = asyncio.create_task(dispatcher._go_on())
    async with asyncio.timeout(10):
        while len(await own_lanes(pool, worker_id)) != places:
            assert not going_on.done(), going_on.exception()
            await asyncio.sleep(0.01)
    assert bench.gate.state.places == places
    going_on.cancel()
    claiming = asyncio.create_task(dispatcher._claim_parked(bench.gate))
    async with running(bench):
        ended = await bench.outcomes(orders)
    claiming.cancel()
    assert sorted(e.outcome.lane[0] for e in ended if e.outcome is not None) == list(range(1, orders + 1)), (
        "the others are claimed once there are places"
    )
    await pool.close()
