"""After a restore nothing that the backup says counts as what others know: not what was sent, not what was told."""

from __future__ import annotations

import pytest

from gateway.core.errors import OrdergateError
from gateway.store.dead import set_aside
from gateway.store.identity import note_identity
from gateway.store.outbox import doubt_everything, start_worker
from gateway.store.redrive import Pace, read_redrive, start, step
from gateway.store.wanted import Wanted

from .stuck import PAGER, SHOP, letter, open_desk, policies, stick


@pytest.mark.feature("F130")
async def test_a_forced_redrive_that_was_running_sends_nothing_unasked(migrated_url: str) -> None:
    pool, names = await open_desk(migrated_url)
    await stick(pool, names, 20, target=PAGER, blocked="unknown")
    wanted, pace = Wanted(target="pager"), Pace(per_s=1000)
    assert await start(
        pool, wanted, policies=policies(names), cap=100, pace=pace, forced=True, reason="they are back", actor="wang"
    )
    await doubt_everything(pool)  # the gateway that is lost went on with it
    await step(pool)
    assert await pool.fetchval("SELECT count(*) FROM lane WHERE blocked IS NULL") == 20
    assert await pool.fetchval("SELECT count(*) FROM lane WHERE NOT in_doubt") == 0
    await pool.close()


@pytest.mark.feature("F130")
async def test_what_was_to_be_resolved_is_left_to_its_people(migrated_url: str) -> None:
    """Somebody may have stopped it since the backup."""
    pool, names = await open_desk(migrated_url)
    await stick(pool, names, 3)
    async with pool.acquire() as connection:
        await set_aside(connection, [letter(1, "S900", "json")])
    redrive_id = await start(
        pool, Wanted(source="shop"), policies=None, cap=100, pace=Pace(per_s=1000), reason="typed in", actor="wang"
    )
    await doubt_everything(pool)
    assert await step(pool) is None
    assert await pool.fetchval("SELECT count(*) FROM lane WHERE blocked IS NOT NULL") == 3
    assert await pool.fetchval("SELECT count(*) FROM dead_letter WHERE closed_at IS NULL") == 1
    seen = await read_redrive(pool, redrive_id or 0)
    assert seen is not None and (seen.state, seen.kept, seen.ended_by) == ("stopped", 4, "ordergate")
    await pool.close()


@pytest.mark.feature("F130")
async def test_levels_are_told_again(migrated_url: str) -> None:
    pool, names = await open_desk(migrated_url)
    await pool.execute(
        "INSERT INTO listing (connection_id, sku, publish, sent) VALUES ($1, 'CUP', true, 3)", names.id(SHOP)
    )
    await doubt_everything(pool)
    assert await pool.fetchval("SELECT sent FROM listing") is None
    await pool.close()


@pytest.mark.feature("F130")
async def test_what_waits_for_a_person_has_waited_as_long_as_before(migrated_url: str) -> None:
    """Since when it waits is what people choose by, and what the oldest is told by."""
    pool, names = await open_desk(migrated_url)
    await stick(pool, names, 2)
    since = "SELECT not_before FROM lane WHERE blocked IS NOT NULL ORDER BY order_id"
    before = await pool.fetch(since)
    assert await doubt_everything(pool) == len(before) == 2
    assert await pool.fetch(since) == before
    await pool.close()


@pytest.mark.feature("F130")
async def test_no_worker_starts_on_a_database_that_was_restored_under_its_gateway(migrated_url: str) -> None:
    """The gateway's own start was on the one before."""
    pool, _ = await open_desk(migrated_url)
    async with pool.acquire() as connection:
        await note_identity(connection)
        await start_worker(pool, name="a/0", lease_s=15)
        await connection.execute("UPDATE identity SET system_identifier = system_identifier + 1")
    with pytest.raises(OrdergateError, match="ordergate restored"):
        await start_worker(pool, name="a/0", lease_s=15)
    await doubt_everything(pool)
    await start_worker(pool, name="a/0", lease_s=15)
    await pool.close()
