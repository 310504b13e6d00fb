"""Whose lease has run out and what is due, whatever happens to the database's clock; and who gets what of it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from gateway.core.happening import Happening, Trouble
from gateway.core.order import Operation
from gateway.dispatch.lease import Lease
from gateway.store.control import force_breaker, read_controls
from gateway.store.ledger import Due, read_due, sum_whole
from gateway.store.outbox import Outcome, adopt, claim, renew_lease, start_worker, write_outcomes
from gateway.store.sql import open_pool

from .stuck import WMS, open_desk, stick
from .test_strays import dispatcher_of


async def test_a_lease_from_the_future_counts_from_when_it_is_seen(migrated_url: str) -> None:
    """The database's clock was eight hours ahead, until somebody set it right."""
    pool = await open_pool(migrated_url, size=2)
    dead, alive, present = [await start_worker(pool, name=name, lease_s=1.0) for name in ("a/0", "b/0", "c/0")]
    await pool.execute(
        "INSERT INTO lane (order_id, target_id, operation, head, tail, worker_id) VALUES (1, 1, 'create', 1, 1, $1)",
        dead,
    )
    await pool.execute("UPDATE worker SET renewed_at = now() + interval '8 hours' WHERE worker_id <> $1", present)

    assert await adopt(pool, settle_s={}) == {}, "who has renewed just before is not taken for dead"
    adopted: dict[int, int] = {}
    async with asyncio.timeout(10):
        while not adopted:
            await renew_lease(pool, alive)
            await renew_lease(pool, present)
            adopted = await adopt(pool, settle_s={})
            await asyncio.sleep(0.1)

    assert adopted == {dead: 1}
    assert await pool.fetchval("SELECT count(*) FROM worker") == 2
    await pool.close()


async def test_what_the_dead_held_is_asked_about_before_it_is_sent_again(migrated_url: str) -> None:
    """He may have sent it with his last breath; whoever lives keeps his."""
    pool, names = await open_desk(migrated_url)
    await stick(pool, names, 3)
    dead, alive = [await start_worker(pool, name=name, lease_s=15.0) for name in ("a/0", "b/0")]
    holds = "CASE order_id WHEN 3 THEN $1::bigint ELSE $2 END"
    await pool.execute(f"UPDATE lane SET blocked = NULL, worker_id = {holds}", alive, dead)
    settle_s = {(names.id(WMS), "create"): 30.0}
    assert await adopt(pool, settle_s=settle_s, dead=[dead]) == {dead: 2}
    rows = await pool.fetch(
        "SELECT worker_id, in_doubt, extract(epoch FROM not_before - now())::float8 > 20 FROM lane ORDER BY order_id"
    )
    assert [tuple(row) for row in rows] == [(None, True, True), (None, True, True), (alive, False, False)]
    await pool.close()


@pytest.mark.parametrize("asked", [True, False])
async def test_what_the_dead_held_does_not_wait_behind_what_came_later(migrated_url: str, asked: bool) -> None:
    """A backlog: those it held are the oldest."""
    pool, names = await open_desk(migrated_url)
    await stick(pool, names, 9)
    dead, alive = [await start_worker(pool, name=name, lease_s=15.0) for name in ("a/0", "b/0")]
    await pool.execute("UPDATE lane SET blocked = NULL, worker_id = CASE WHEN order_id < 3 THEN $1::bigint END", dead)
    assert await adopt(pool, settle_s={(names.id(WMS), "create"): 0.0} if asked else {}, dead=[dead]) == {dead: 2}
    gate: dict[str, Any] = {"target": WMS, "operation": Operation.CREATE, "limit": 4, "names": names}
    share = {"certain": 4, "doubtful": 2} if asked else {}
    held = await claim(pool, worker_id=alive, **gate, **share)
    assert sorted(one.delivery.order_id for one in held) == [1, 2, 3, 4]
    await pool.close()


async def test_what_a_worker_leaves_unbegun_is_claimed_before_what_came_later(migrated_url: str) -> None:
    """A restart in a backlog: the oldest orders, those in memory, would wait until all others are through."""
    pool, names = await open_desk(migrated_url)
    await stick(pool, names, 9)
    await pool.execute("UPDATE lane SET blocked = NULL, bursts = 0")
    stopped, next_one = [await start_worker(pool, name=name, lease_s=15.0) for name in ("a/0", "a/1")]
    held = await claim(pool, worker_id=stopped, target=WMS, operation=Operation.CREATE, limit=3, names=names)
    lanes = [(one.delivery.order_id, names.id(WMS)) for one in held]
    assert [lane[0] for lane in lanes] == [1, 2, 3]
    left = [Outcome(lane=lane, seq=1, keeps_place=lane[0] != 2, delay_s=0.0) for lane in lanes]
    await write_outcomes(pool, worker_id=stopped, attempts=(), outcomes=left)
    held = await claim(pool, worker_id=next_one, target=WMS, operation=Operation.CREATE, limit=3, names=names)
    assert [one.delivery.order_id for one in held] == [1, 3, 4]
    await pool.execute("UPDATE lane SET opened_at = now() + interval '8 hours'")  # the clock was ahead
    left = [Outcome(lane=(order_id, names.id(WMS)), seq=1, keeps_place=True) for order_id in (1, 3, 4)]
    await write_outcomes(pool, worker_id=next_one, attempts=(), outcomes=left)
    assert await pool.fetchval("SELECT count(*) FROM lane WHERE worker_id IS NULL AND not_before <= now()") == 9
    await pool.close()


@pytest.mark.parametrize("survivors", [("a/0",), ("a/0", "b/0"), ()])
async def test_what_waits_by_a_clock_that_was_ahead_is_due_once_it_is_set_right(
    migrated_url: str, survivors: tuple[str, ...]
) -> None:
    """The database's clock was eight hours ahead. What is in doubt settles all the same."""
    pool, names = await open_desk(migrated_url)
    await stick(pool, names, 2, first=1)
    await stick(pool, names, 1, first=3, in_doubt=True)
    await stick(pool, names, 1, first=4)
    await pool.execute(
        "UPDATE lane SET not_before = now() + interval '8 hours', blocked = CASE WHEN order_id = 4 THEN blocked END"
    )
    before = [await start_worker(pool, name=name, lease_s=15.0) for name in survivors or ("dead/0",)]
    await pool.execute("UPDATE worker SET renewed_at = now() + interval '8 hours'")
    workers = before if survivors else [await start_worker(pool, name="new/0", lease_s=15.0)]
    settle_s = {(names.id(WMS), "create"): 30.0}

    set_back = 0
    for _ in range(2):
        for worker_id in workers:
            back = (await renew_lease(pool, worker_id)).set_back
            set_back += back
            await adopt(pool, settle_s=settle_s, set_back=back)

    assert set_back == (1 if survivors else 0), "told once, by whoever finds its own lease in the future first"
    rows = await pool.fetch(
        "SELECT order_id, extract(epoch FROM not_before - now())::float8 AS in_s FROM lane ORDER BY order_id"
    )
    assert rows[0]["in_s"] <= 0 and rows[1]["in_s"] <= 0
    assert 20 < rows[2]["in_s"] <= 30
    assert rows[3]["in_s"] > 7 * 3600, "since when a person has it is no time to wait for"
    held = await claim(pool, worker_id=workers[0], target=WMS, operation=Operation.CREATE, limit=9, names=names)
    assert sorted(one.delivery.order_id for one in held) == [1, 2]
    await pool.close()


async def test_all_that_waits_for_a_time_goes_on_once_a_clock_that_was_ahead_is_set_right(migrated_url: str) -> None:
    """Redrives that have begun, stock levels that a shop did not take, and the check of the ledger."""
    pool, names = await open_desk(migrated_url)
    redrives = {"begun": ("send", "done"), "not begun": ("send", "waiting"), "resolves": ("resolve", "done")}
    for author, (does, state) in redrives.items():
        await pool.execute(
            "WITH r AS (INSERT INTO redrive (wanted, author, forced, per_s, does, next_at, due_at) VALUES"
            " ('{ }', $1, false, 1, $2, CASE $2 WHEN 'send' THEN now() + interval '8 hours'"
            " ELSE '9999-01-01 UTC' END, CASE $2 WHEN 'resolve' THEN now() + interval '8 hours' END)"
            " RETURNING redrive_id)"
            " INSERT INTO redrive_item (redrive_id, n, state) "
            " SELECT redrive_id, n, CASE n WHEN 1 THEN $3 ELSE 'waiting' END FROM r, generate_series(1, 2) AS n",
            author,
            does,
            state,
        )
    await pool.execute(
        "INSERT INTO listing (connection_id, sku, not_before, lower_from)"
        " VALUES ($1, 'S1', now() + interval '8 hours', now() + interval '8 hours'),"
        " ($1, 'S2', '-infinity', '-infinity')",
        names.id(WMS),
    )
    await pool.execute(
        "INSERT INTO ledger_check (until_at, next_at, sum_at)"
        " VALUES (now() + interval '8 hours', now() + interval '8 hours', now() + interval '9 hours')"
    )
    worker_id = await start_worker(pool, name="a/0", lease_s=15.0)
    await pool.execute("UPDATE worker SET renewed_at = now() + interval '8 hours'")

    back = (await renew_lease(pool, worker_id)).set_back
    await adopt(pool, settle_s={}, set_back=back)

    due = await pool.fetch("SELECT author FROM redrive WHERE coalesce(due_at, next_at) <= now() ORDER BY author")
    assert [row[0] for row in due] == ["begun", "resolves"], "one that has not begun may still be stopped"
    assert await pool.fetchval("SELECT count(*) FROM redrive WHERE does = 'resolve' AND next_at > '9998-01-01'") == 1
    assert await pool.fetchval("SELECT count(*) FROM redrive WHERE does = 'send' AND due_at IS NOT NULL") == 0
    listings = await pool.fetch("SELECT sku FROM listing WHERE not_before <= now() AND lower_from <= now() ORDER BY 1")
    assert [row[0] for row in listings] == ["S1", "S2"]
    assert await pool.fetchval("SELECT not_before = '-infinity' FROM listing WHERE sku = 'S2'")
    async with pool.acquire() as connection:
        assert await read_due(connection) == Due(check=True, whole=True)
        await sum_whole(connection)
        assert await connection.fetchval("SELECT until_at < now() FROM ledger_check")
    await pool.close()


async def test_a_clock_that_goes_on_brings_nothing_forward(migrated_url: str) -> None:
    pool, names = await open_desk(migrated_url)
    await stick(pool, names, 1)
    await pool.execute("UPDATE lane SET blocked = NULL, not_before = now() + interval '1 hour'")
    worker_id = await start_worker(pool, name="a/0", lease_s=15.0)
    for _ in range(2):
        assert (await renew_lease(pool, worker_id)).set_back is False
        await adopt(pool, settle_s={})
    assert await pool.fetchval("SELECT not_before > now() + interval '59 minutes' FROM lane")
    await pool.close()


async def test_a_clock_that_leaps_ahead_replaces_nobody_who_lives(migrated_url: str) -> None:
    """Who lives would go on sending for a beat what another has taken over."""
    pool, names = await open_desk(migrated_url)
    silent, worker_id = [await start_worker(pool, name=name, lease_s=1.0) for name in ("a/0", "b/0")]
    happened: list[Happening] = []
    dispatcher, beat = dispatcher_of(pool, names, worker_id, happened, heartbeat_s=0.3), asyncio.Event()
    dispatcher.on_controls.append(lambda _: beat.set())

    async def until(where: str) -> float:
        async with asyncio.timeout(10):
            while not any(isinstance(one, Trouble) and one.where == where for one in happened):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return asyncio.get_running_loop().time()

    keeping = asyncio.create_task(dispatcher._keep_lease())
    for _ in range(2):
        await renew_lease(pool, silent)
        await beat.wait()
        beat.clear()
    assert happened == [], "a clock that goes on is nothing to tell"
    await pool.execute("UPDATE worker SET renewed_at = renewed_at - interval '1 hour'")
    seen_at = await until("clock")
    await renew_lease(pool, silent)  # raises Fenced where it has been replaced
    adopted_at = await until("adopted")
    assert adopted_at - seen_at > 0.8, "its lease runs out as any other"
    assert len(happened) == 2
    assert await pool.fetchval("SELECT count(*) FROM worker") == 1
    keeping.cancel()
    await asyncio.wait([keeping])
    await pool.close()


async def test_who_wakes_in_a_machine_that_was_suspended_sends_once_his_lease_is_renewed(migrated_url: str) -> None:
    """The lease has a clock of its own, which was not suspended."""
    pool, names = await open_desk(migrated_url)
    worker_id = await start_worker(pool, name="a/0", lease_s=60.0)
    dispatcher, slept_s = dispatcher_of(pool, names, worker_id, []), 0.0
    lease = Lease(60, clock=lambda: time.monotonic() + slept_s, granted_at=time.monotonic())
    dispatcher.lease = lease
    slept_s = 3600.0
    assert not lease.covers(0.0)
    keeping = asyncio.create_task(dispatcher._keep_lease())
    async with asyncio.timeout(10):
        while not lease.covers(30.0):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    keeping.cancel()
    await asyncio.wait([keeping])
    await pool.close()


async def test_what_is_in_doubt_is_claimed_up_to_its_part_and_the_oldest_first(migrated_url: str) -> None:
    """Whichever is older, neither keeps the other from being claimed."""
    pool, names = await open_desk(migrated_url)
    await stick(pool, names, 30, first=1, in_doubt=True)
    await stick(pool, names, 30, first=101)
    await stick(pool, names, 30, first=201, in_doubt=True)
    await pool.execute("UPDATE lane SET blocked = NULL")
    worker_id = await start_worker(pool, name="a/0", lease_s=60.0)

    async def claimed(limit: int, doubtful: int | None, *, certain: int | None = None) -> list[int]:
        held = await claim(
            pool, worker_id=worker_id, target=WMS, operation=Operation.CREATE, limit=limit, names=names,
            certain=certain, doubtful=doubtful,
        )  # fmt: skip
        return [one.delivery.order_id for one in held]

    assert await claimed(20, 5) == [*range(1, 6), *range(101, 116)]
    assert await claimed(3, 30, certain=0) == [6, 7, 8], "nor one in no doubt, where nothing may be sent"
    assert await claimed(3, 2, certain=0) == [9, 10]
    assert await claimed(3, 2, certain=1) == [11, 12, 116]
    assert await claimed(20, 0) == list(range(117, 131)), "and no lane in doubt, where there is no place for one"
    assert await claimed(3, 3) == list(range(13, 16))
    assert await claimed(10, 9) == list(range(16, 25))
    assert await claimed(50, None) == [*range(25, 31), *range(201, 231)]
    assert await pool.fetchval("SELECT count(*) FROM lane WHERE worker_id IS NULL") == 0
    await pool.close()


async def test_what_was_asked_about_in_vain_comes_behind_what_was_not(migrated_url: str) -> None:
    """Or an old order that the target never answers about is what each half-open breaker probes it with."""
    pool, names = await open_desk(migrated_url)
    await stick(pool, names, 1, first=1, in_doubt=True, bursts=6)
    await stick(pool, names, 1, first=2, in_doubt=True, bursts=1)
    await stick(pool, names, 2, first=3, in_doubt=True, bursts=0)
    await stick(pool, names, 1, first=5, bursts=6)
    await stick(pool, names, 1, first=6, bursts=0)
    await pool.execute("UPDATE lane SET blocked = NULL")
    worker_id = await start_worker(pool, name="a/0", lease_s=60.0)
    held = await claim(pool, worker_id=worker_id, target=WMS, operation=Operation.CREATE, limit=9, names=names)
    orders = [(one.delivery.order_id, one.in_doubt) for one in held]
    assert [order_id for order_id, in_doubt in orders if in_doubt] == [3, 4, 2, 1]
    assert [order_id for order_id, in_doubt in orders if not in_doubt] == [5, 6], "what is sent goes by its age"
    await pool.close()


async def test_a_hold_begins_and_ends_by_the_databases_clock(migrated_url: str) -> None:
    pool, names = await open_desk(migrated_url)
    where = (names.id(WMS), "create")
    for forced, for_s in (("open", 600.0), ("closed", 60.0), ("open", 0.001)):
        until_at = await force_breaker(
            pool, target_id=where[0], operation=where[1], forced=forced, reason="x", actor="ann", for_s=for_s
        )
        assert for_s - 30 < await pool.fetchval("SELECT extract(epoch FROM $1 - now())::float8", until_at) <= for_s
        await asyncio.sleep(0.01)
        controls = await read_controls(pool)
        held = controls.forced.get(where)
        assert abs((until_at - controls.at).total_seconds() - for_s) < 30
        assert (None if held is None else (held.forced, held.until_at)) == (None if for_s < 1 else (forced, until_at))
    await pool.close()
