"""Dead letters that are closed: by two at one instant, people, or a redrive and somebody; and the last of an order."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from gateway.core.event import RECONSIDER
from gateway.store.dead import BEHIND, discard, release, set_aside
from gateway.store.redrive import Pace, start, step
from gateway.store.wanted import Wanted

from .stuck import letter, open_desk

_WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


async def test_what_waits_behind_two_letters_goes_on_when_two_people_discard_them_at_once(migrated_url: str) -> None:
    pool, _ = await open_desk(migrated_url)
    async with pool.acquire() as connection:
        letters = [letter(1, "S1", "field"), letter(2, "S1", "value"), letter(3, "S1", BEHIND), letter(4, "S2", "json")]
        await set_aside(connection, letters)
    ids = [row[0] for row in await pool.fetch("SELECT dead_letter_id FROM dead_letter ORDER BY dead_letter_id")]

    async with pool.acquire() as first, asyncio.TaskGroup() as people:
        async with first.transaction():
            # Both have closed theirs, or wait to, and neither has ended.
            await first.execute("LOCK TABLE audit IN EXCLUSIVE MODE")
            both = [people.create_task(discard(pool, n, reason="a test", actor="li")) for n in ids[1::-1]]
            await _until_waiting(pool, 2)

    assert sorted(task.result() for task in both) == [0, 1]
    assert [row[0] for row in await pool.fetch("SELECT event_id FROM inbox")] == ["E3"]
    still_open = await pool.fetch("SELECT dead_letter_id FROM dead_letter WHERE closed_at IS NULL")
    assert [row[0] for row in still_open] == ids[3:]
    await pool.close()


async def test_a_redrive_and_who_discards_the_same_letter_do_not_wait_for_each_other_in_a_circle(
    migrated_url: str,
) -> None:
    """What waits behind a letter may be older than it: behind one before it, which has been closed."""
    pool, _ = await open_desk(migrated_url)
    async with pool.acquire() as connection:
        await set_aside(connection, [letter(1, "S1", "field"), letter(2, "S1", BEHIND), letter(3, "S1", "value")])
    first, behind, front = await pool.fetchval(
        "SELECT array_agg(dead_letter_id ORDER BY dead_letter_id) FROM dead_letter"
    )
    assert await discard(pool, first, reason="a test", actor="li") == 0
    wanted, pace = Wanted(source="shop", code="value"), Pace(per_s=100.0)
    await start(pool, wanted, policies={}, cap=1, pace=pace, reason="a test", actor="wang")

    async with pool.acquire() as other, asyncio.TaskGroup() as both:
        async with other.transaction():
            await other.execute("SELECT 1 FROM dead_letter WHERE dead_letter_id = $1 FOR UPDATE", behind)
            discarded = both.create_task(discard(pool, front, reason="a test", actor="li"))
            await _until_waiting(pool, 1)
            both.create_task(step(pool))
            await _until_waiting(pool, 2)

    assert discarded.result() == 1
    assert [row[0] for row in await pool.fetch("SELECT event_id FROM inbox")] == ["E2"]
    assert await pool.fetchval("SELECT state FROM redrive_item") == "skipped"
    await pool.close()


@pytest.mark.parametrize("how", ["repaired", "discarded"])
async def test_an_order_from_which_the_last_letter_goes_is_decided_again(migrated_url: str, how: str) -> None:
    """Repaired, the letter may be another order's; and what the order waits for may have come while it stood there."""
    pool, _ = await open_desk(migrated_url)
    async with pool.acquire() as connection:
        await set_aside(connection, [letter(1, "S1", "json")])
    only = await pool.fetchval("SELECT dead_letter_id FROM dead_letter")
    if how == "repaired":
        assert await release(pool, only, body=b"{}", actor="li") == 1
    else:
        assert await discard(pool, only, reason="a test", actor="li") == 0
    there = [tuple(row) for row in await pool.fetch("SELECT type, order_key FROM inbox ORDER BY inbox_id")]
    assert there[-1] == (RECONSIDER, "S1")
    assert len(there) == (2 if how == "repaired" else 1)
    await pool.close()


async def test_two_people_who_release_one_order_at_once_put_nothing_back_twice(migrated_url: str) -> None:
    pool, _ = await open_desk(migrated_url)
    async with pool.acquire() as connection:
        await set_aside(connection, [letter(1, "S1", "field"), letter(2, "S1", "value"), letter(3, "S1", BEHIND)])
    ids = [row[0] for row in await pool.fetch("SELECT dead_letter_id FROM dead_letter ORDER BY dead_letter_id")]
    async with pool.acquire() as first, asyncio.TaskGroup() as people:
        async with first.transaction():
            await first.execute("LOCK TABLE audit IN EXCLUSIVE MODE")
            both = [people.create_task(release(pool, n, body=None, actor="li")) for n in ids[1::-1]]
            await _until_waiting(pool, 2)
    assert sorted(task.result() for task in both) == [1, 2]
    assert sorted(row[0] for row in await pool.fetch("SELECT event_id FROM inbox")) == ["E1", "E2", "E3"]
    await pool.close()


async def _until_waiting(pool: asyncpg.Pool, count: int) -> None:
    async with asyncio.timeout(10):
        while True:
            if await pool.fetchval(_WAITING) == count:
                return
            await asyncio.sleep(0.01)
