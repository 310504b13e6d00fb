"""What waits behind a dead letter always has one in front that a person sees."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from gateway.store.dead import LONGEST_NUMBER, discard, discard_in, lock_letters, put_back
from gateway.store.sql import open_pool, register_connections
from tests.intake.test_batch import SHOP, WMS, Desk, Memory, decide, paid
from tests.intake.test_sealed import read_inbox
from tests.intake.test_woken import until_waiting


@pytest.fixture
async def desk(migrated_url: str) -> AsyncIterator[Desk]:
    pool = await open_pool(migrated_url, size=4)
    yield Desk(pool, await register_connections(pool, [SHOP, WMS]))
    await pool.close()


@pytest.mark.parametrize("closed", ["discarded", "released"])
async def test_nothing_is_put_behind_a_letter_that_is_being_closed(desk: Desk, closed: str) -> None:
    """Read once more, as after a rebalance, its event finds the letter open, and a later one finds it closed."""
    decider = await desk.worker(Memory())
    bad, later = desk.arrival("1", b"bad"), desk.arrival("1", paid("1"))
    await decide(decider, bad)
    ((letter,),) = await desk.rows("SELECT dead_letter_id FROM dead_letter")
    async with asyncio.TaskGroup() as group, desk.pool.acquire() as person, person.transaction():
        await lock_letters(person, [letter])
        deciding = group.create_task(decide(decider, bad, later))
        await until_waiting(desk, 1, unless=deciding)
        if closed == "discarded":
            await discard_in(person, letter, reason="a test", actor="wang")
        else:
            repaired = msgspec.msgpack.encode(paid("1"))
            await put_back(person, "A1", actor="wang", repaired={letter: repaired})
    await read_inbox(desk, decider)
    assert await desk.rows("SELECT code FROM dead_letter WHERE closed_at IS NULL") == []
    assert await desk.rows("SELECT number, stage FROM orders") == [("A1", "allocated")]


async def test_who_closes_a_letter_takes_with_it_what_a_batch_is_putting_behind_it(desk: Desk) -> None:
    """The batch has found the letter open, and waits for something else before it writes."""
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", b"bad"), desk.arrival("2", paid("2")))
    ((letter,),) = await desk.rows("SELECT dead_letter_id FROM dead_letter")
    async with asyncio.TaskGroup() as group, desk.pool.acquire() as other:
        async with other.transaction():
            await other.execute("SELECT 1 FROM orders WHERE number = 'A2' FOR UPDATE")
            deciding = group.create_task(decide(decider, desk.arrival("1", paid("1")), desk.arrival("2", paid("2"))))
            await until_waiting(desk, 1, unless=deciding)
            closing = group.create_task(discard(desk.pool, letter, reason="a test", actor="wang"))
            await until_waiting(desk, 2, unless=closing)
    assert closing.result() == 1
    await read_inbox(desk, decider)
    assert await desk.rows("SELECT code FROM dead_letter WHERE closed_at IS NULL") == []
    assert await desk.rows("SELECT number FROM orders ORDER BY 1") == [("A1",), ("A2",)]


async def test_nothing_is_put_behind_a_letter_that_blocks_nothing(desk: Desk) -> None:
    """A number longer than any order has is not kept with its letter: nothing behind it would ever be let go."""
    decider = await desk.worker(Memory())
    endless = "7" * LONGEST_NUMBER
    await decide(decider, desk.arrival(endless, b"bad"), desk.arrival(endless, paid(endless)))
    assert await desk.rows("SELECT code FROM dead_letter WHERE closed_at IS NULL") == [("json",)]
    assert await desk.rows("SELECT stage FROM orders") == [("allocated",)]
