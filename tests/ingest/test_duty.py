"""What an owner runs is kept running, each loop by itself, and given back at the end."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import asyncpg
import pytest

from gateway.core.errors import Fenced
from gateway.core.event import ConnectionName
from gateway.core.happening import Happening, Trouble
from gateway.dispatch.lease import Lease
from gateway.ingest.duty import Duty, OwnerLoop, OwnersBudget, Ownership
from gateway.store.outbox import adopt, start_worker
from gateway.store.pulls import begin, claim_duty, move_cursor
from gateway.store.sql import open_pool, register_connections

SHOP = ConnectionName("shop")


class Loop:
    """Does as it is told, and says how often it was begun."""

    def __init__(self, *errors: BaseException, works_s: float = 0.0) -> None:
        self._errors = list(errors)
        self._works_s = works_s
        self.begun = 0
        self.through = asyncio.Event()

    async def run(self, owner: Ownership) -> None:
        self.begun += 1
        if self._errors:
            raise self._errors.pop(0)
        await asyncio.sleep(self._works_s)
        self.through.set()
        while not owner.stopping:
            await owner.rest(60)


class Endless:
    """The budget behind an owner's."""

    async def turn(self) -> None: ...

    def pause(self, for_s: float) -> None: ...


async def prepared(url: str) -> tuple[asyncpg.Pool, int, int]:
    pool = await open_pool(url, size=4)
    names = await register_connections(pool, [SHOP])
    return pool, names.id(SHOP), await start_worker(pool, name="test", lease_s=60)


def duty(pool: asyncpg.Pool, number: int, worker_id: int, happened: list[Happening], **loops: OwnerLoop) -> Duty:
    return Duty(
        connection=SHOP,
        connection_id=number,
        worker_id=worker_id,
        pool=pool,
        loops=list(loops.items()),
        observe=happened.extend,
    )


async def owner_of(pool: asyncpg.Pool) -> int | None:
    return await pool.fetchval("SELECT worker_id FROM duty")


async def test_a_loop_that_fails_is_begun_again_and_cuts_off_no_other(migrated_url: str) -> None:
    pool, number, worker_id = await prepared(migrated_url)
    happened: list[Happening] = []
    broken, busy = Loop(ConnectionError("away"), ValueError("defect")), Loop(works_s=1.0)
    one = duty(pool, number, worker_id, happened, broken=broken, busy=busy)
    async with asyncio.TaskGroup() as group:
        group.create_task(one.run())
        async with asyncio.timeout(15):
            await busy.through.wait()
            assert await owner_of(pool) == worker_id
            await broken.through.wait()
        began = time.monotonic()
        one.stop()
    assert time.monotonic() - began < 60, "its loops rest for a minute: nobody waits for that"
    assert (busy.begun, broken.begun) == (1, 3)
    assert [one.what for one in happened if isinstance(one, Trouble)] == [
        "shop broken: PostgreSQL is away: ConnectionError",
        "shop broken: failed with ValueError",
    ]
    assert await owner_of(pool) is None
    await pool.close()


async def test_a_cancel_that_an_adapter_makes_for_itself_ends_no_loop(migrated_url: str) -> None:
    """A task that is cancelled ends without a word, and the shop would be read no more."""
    pool, number, worker_id = await prepared(migrated_url)
    happened: list[Happening] = []
    broken = Loop(asyncio.CancelledError())
    one = duty(pool, number, worker_id, happened, broken=broken)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(one.run())
        async with asyncio.timeout(15):
            await broken.through.wait()
        assert [one.what for one in happened if isinstance(one, Trouble)] == ["shop broken: failed with CancelledError"]
        running.cancel()
    assert broken.begun == 2, "the gateway's own cancel goes through"
    await pool.close()


async def test_whoever_is_replaced_learns_it_at_its_next_write(migrated_url: str) -> None:
    pool, number, worker_id = await prepared(migrated_url)
    other = await start_worker(pool, name="other", lease_s=60)
    now = await pool.fetchval("SELECT date_trunc('second', now())")
    assert await claim_duty(pool, number, worker_id=worker_id)
    assert not await claim_duty(pool, number, worker_id=other)
    await begin(pool, number, worker_id=worker_id, at=now)
    moved = await move_cursor(pool, number, worker_id=worker_id, read_to=now + timedelta(hours=1))
    assert moved - now < timedelta(minutes=1), "never past the database's clock"
    await adopt(pool, settle_s={}, dead=[worker_id])
    assert await claim_duty(pool, number, worker_id=other)
    with pytest.raises(Fenced):
        await move_cursor(pool, number, worker_id=worker_id, read_to=now)
    with pytest.raises(Fenced):
        await claim_duty(pool, number, worker_id=worker_id)
    loop = Loop()
    with pytest.raises(BaseExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(duty(pool, number, worker_id, [], loop=loop).run())
    assert caught.group_contains(Fenced) and not loop.begun
    await pool.close()


async def test_no_turn_for_a_request_that_may_outlive_the_lease() -> None:
    clock = [0.0]
    lease = Lease(15, clock=lambda: clock[0], granted_at=0.0)
    budget = OwnersBudget(Endless(), lease=lease, deadline_s=10)
    await budget.turn()
    clock[0] = 6.0
    waiting = asyncio.create_task(budget.turn())
    await asyncio.sleep(0.5)
    assert not waiting.done()
    lease.renewed(6.0)
    async with asyncio.timeout(5):
        await waiting
