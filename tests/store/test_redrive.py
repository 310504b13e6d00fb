"""Redrives: chosen by a filter, released in doubt at a pace, stopped without a trace; in one redrive at a time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec
import pytest

from gateway.core.delivery import Finding, Rejected, Result, Unknown
from gateway.core.order import Operation
from gateway.store.dead import BEHIND, DeadLetter, set_aside
from gateway.store.outbox import AttemptRow, Outcome, claim, start_worker, write_outcomes
from gateway.store.redrive import Pace, RedriveRow, list_redrives, read_redrive, start, step, stop
from gateway.store.repair import resend
from gateway.store.sql import Names, migrate, open_pool
from gateway.store.wanted import NoFilter, NoSuchConnection, Wanted, preview
from tests.dispatch.test_gate import Bench, Script, running

from .stuck import BLOCKED_AT, ERP, PAGER, WMS, lanes, let_be_due, letter, open_desk, policies, stick

TO_WMS = Wanted(target="wms")


@pytest.fixture
async def desk(migrated_url: str) -> AsyncIterator[tuple[asyncpg.Pool, Names]]:
    pool, names = await open_desk(migrated_url)
    yield pool, names
    await pool.close()


async def begin(
    pool: asyncpg.Pool,
    names: Names,
    wanted: Wanted = TO_WMS,
    *,
    cap: int = 1000,
    per_s: float = 100.0,
    forced: bool = False,
    settle_s: float = 0.0,
    start_in_s: float = 0.0,
) -> int | None:
    return await start(
        pool, wanted, policies=policies(names, settle_s=settle_s), cap=cap,
        pace=Pace(per_s=per_s, start_in_s=start_in_s), forced=forced, reason="they are back", actor="wang",
    )  # fmt: skip


async def row(pool: asyncpg.Pool, redrive_id: int | None) -> RedriveRow:
    assert redrive_id is not None
    found = await read_redrive(pool, redrive_id)
    assert found is not None
    return found


@pytest.mark.feature("F78")
async def test_what_is_released_is_in_doubt_and_due_when_the_last_attempt_has_settled(
    desk: tuple[asyncpg.Pool, Names],
) -> None:
    pool, names = desk
    await stick(pool, names, 3)
    later = datetime.now(UTC) - timedelta(seconds=1)
    await pool.execute("UPDATE attempt SET ended_at = $1 WHERE order_id = 2", later)
    redrive_id = await begin(pool, names, settle_s=15.0)

    await step(pool)

    rows = await pool.fetch(
        "SELECT order_id, blocked, bursts, in_doubt, not_before > now() AS waits, not_before FROM lane ORDER BY 1"
    )
    assert [tuple(r)[:5] for r in rows] == [
        (1, None, 0, True, False), (2, None, 0, True, True), (3, None, 0, True, False),
    ]  # fmt: skip
    assert rows[1]["not_before"] == later + timedelta(seconds=15)
    assert (await row(pool, redrive_id)).released == 3


@pytest.mark.parametrize("ahead_h", [1, -1])
async def test_a_worker_whose_clock_was_off_by_an_hour_makes_nobody_wait_so_long_and_nothing_unsettled(
    desk: tuple[asyncpg.Pool, Names], ahead_h: int
) -> None:
    pool, names = desk
    await stick(pool, names, 1)
    await pool.execute("UPDATE attempt SET ended_at = now() + make_interval(hours => $1)", ahead_h)
    await pool.execute("UPDATE lane SET not_before = now()")
    await begin(pool, names, settle_s=15.0)
    await step(pool)
    waits_s = await pool.fetchval("SELECT extract(epoch FROM not_before - now())::float8 FROM lane")
    assert 10 < waits_s <= 15


async def test_the_pace_is_the_rows_and_outlives_whoever_steps(desk: tuple[asyncpg.Pool, Names]) -> None:
    pool, names = desk
    await stick(pool, names, 40)
    redrive_id = await begin(pool, names, per_s=20.0, start_in_s=60.0)

    due_s = await step(pool)
    assert due_s is not None and 55 < due_s <= 60 and (await row(pool, redrive_id)).released == 0
    await let_be_due(pool)
    due_s = await step(pool)

    # A fifth of a second's worth, and the next not before that time has passed: no burst makes up for the silence.
    assert (await row(pool, redrive_id)).released == 4
    assert due_s is not None and 0.1 < due_s <= 0.2
    assert (await step(pool)) and (await row(pool, redrive_id)).released == 4


async def test_workers_that_step_at_once_release_each_lane_once(desk: tuple[asyncpg.Pool, Names]) -> None:
    pool, names = desk
    await stick(pool, names, 30)
    redrive_id = await begin(pool, names, per_s=5.0)

    await asyncio.gather(*(step(pool) for _ in range(5)))

    assert (await row(pool, redrive_id)).released == 1


async def test_a_target_that_does_not_take_them_gets_no_more(desk: tuple[asyncpg.Pool, Names]) -> None:
    pool, names = desk
    await stick(pool, names, 200)
    redrive_id = await begin(pool, names, per_s=1000.0)
    for _ in range(5):
        await let_be_due(pool)
        await step(pool)
    assert (await row(pool, redrive_id)).released == 200, "5 s of 1000 a second may be out"

    await stop(pool, redrive_id or 0, reason="again, slower", actor="wang")
    redrive_id = await begin(pool, names, per_s=1.0)
    for _ in range(80):
        await let_be_due(pool)
        await step(pool)
    assert ((await row(pool, redrive_id)).released, (await row(pool, redrive_id)).waiting) == (50, 150)


@pytest.mark.parametrize(
    ("finding", "blocked", "rounds"),
    [
        (Rejected("unknown_carrier", "carrier X"), "rejected:unknown_carrier", 1),
        (Unknown("not_proven", "查无此单", answered=True), "unknown", 8),
    ],
)
async def test_what_asking_does_not_settle_comes_back_and_makes_room_for_the_rest(
    desk: tuple[asyncpg.Pool, Names], finding: Finding, blocked: str, rounds: int
) -> None:
    """More than may be out at once; the last block had used up all its bursts."""
    pool, names = desk
    await stick(pool, names, 60, blocked=blocked, in_doubt=True, bursts=7)
    worker_id = await start_worker(pool, name="test/0", lease_s=60)
    redrive_id = await begin(pool, names, per_s=10.0)
    bench = Bench(Script([], [finding] * 1000), places=100, target_id=names.id(WMS))
    counts = []
    async with running(bench):
        while (await row(pool, redrive_id)).state == "running":
            await let_be_due(pool)
            await step(pool)
            held = await claim(pool, worker_id=worker_id, target=WMS, operation=Operation.CREATE, limit=99, names=names)
            bench.ended.clear()
            bench.gate.adopt(held)
            ended = await bench.outcomes(len(held))
            counts += [one.delivery.order_id for one in held]
            outcomes = [msgspec.structs.replace(e.outcome, delay_s=0.0) for e in ended if e.outcome is not None]
            await write_outcomes(pool, worker_id=worker_id, attempts=[e.attempt for e in ended], outcomes=outcomes)

    seen = await row(pool, redrive_id)
    assert (seen.state, seen.again) == ("done", 60)
    assert set(Counter(counts).values()) == {rounds}, "a person who sends it again gets a fresh count"
    assert await pool.fetchval("SELECT count(*) FROM lane WHERE blocked = $1 AND in_doubt", blocked) == 60


async def test_how_each_ended_is_kept(desk: tuple[asyncpg.Pool, Names]) -> None:
    pool, names = desk
    await stick(pool, names, 4)
    worker_id = await start_worker(pool, name="test/0", lease_s=60)
    redrive_id = await begin(pool, names)
    await step(pool)
    held = await claim(pool, worker_id=worker_id, target=WMS, operation=Operation.CREATE, limit=9, names=names)
    assert len(held) == 4 and all(one.in_doubt for one in held)
    results = [Result.FOUND, Result.DONE, Result.REJECTED]
    target_id = names.id(WMS)
    await write_outcomes(
        pool,
        worker_id=worker_id,
        attempts=[
            AttemptRow(n, target_id, 1, worker_id, datetime.now(UTC), 1, result, None, None)
            for n, result in enumerate(results, 1)
        ],
        outcomes=[
            Outcome(lane=(1, target_id), seq=1, done=True),
            Outcome(lane=(2, target_id), seq=1, done=True),
            Outcome(lane=(3, target_id), seq=1, blocked="rejected:sku"),
        ],
    )
    await let_be_due(pool)
    await step(pool)

    seen = await row(pool, redrive_id)
    assert (seen.state, seen.done, seen.found, seen.again, seen.released) == ("running", 2, 1, 1, 1)
    await write_outcomes(
        pool, worker_id=worker_id, attempts=[], outcomes=[Outcome(lane=(4, target_id), seq=1, done=True)]
    )
    await let_be_due(pool)
    assert await step(pool) is None
    assert (await row(pool, redrive_id)).state == "done"
    # What was blocked again is free for the next redrive.
    assert (await row(pool, await begin(pool, names))).total == 1


@pytest.mark.feature("F77")
@pytest.mark.parametrize("seed", range(6))
async def test_stopped_in_the_middle_every_lane_that_did_not_leave_is_as_it_was(
    desk: tuple[asyncpg.Pool, Names], seed: int
) -> None:
    """Random lanes, random steps, and whatever else happens to lanes meanwhile."""
    pool, names = desk
    rng = random.Random(seed)
    first = 1
    for _ in range(6):
        count = rng.randint(1, 12)
        await stick(
            pool, names, count, first=first, target=rng.choice((WMS, ERP)), tail=rng.randint(1, 2),
            blocked=rng.choice(("unknown", "rejected:http_4xx", "unreadable")), in_doubt=rng.random() < 0.5,
            bursts=rng.randint(0, 9),
        )  # fmt: skip
        first += count
    before = await lanes(pool)
    worker_id = await start_worker(pool, name="test/0", lease_s=60)
    redrive_id = await begin(pool, names, Wanted(source="shop"), per_s=rng.choice((5.0, 25.0, 60.0)))
    assert redrive_id is not None
    left: set[tuple[int, int]] = set()
    for _ in range(rng.randint(1, 6)):
        await let_be_due(pool)
        await step(pool)
        if rng.random() < 0.5:
            held = await claim(
                pool, worker_id=worker_id, target=WMS, operation=Operation.CREATE, limit=rng.randint(1, 4), names=names
            )
            left |= {(one.delivery.order_id, names.id(WMS)) for one in held}
    tried = sorted(left)[: len(left) // 2]
    await write_outcomes(
        pool, worker_id=worker_id, attempts=[],
        outcomes=[Outcome(lane=lane, seq=1, delay_s=3.0, in_doubt=True, bursts=1) for lane in tried],
    )  # fmt: skip

    assert await stop(pool, redrive_id, reason="not now", actor="wang") == "running"

    after = await lanes(pool)
    assert {lane: text for lane, text in after.items() if lane not in left} == {
        lane: text for lane, text in before.items() if lane not in left
    }
    seen = await row(pool, redrive_id)
    assert seen.state == "stopped" and (seen.waiting, seen.released) == (0, 0)
    assert seen.left == len(left) and seen.kept + seen.undone + seen.left == seen.total == len(before)
    assert await stop(pool, redrive_id, reason="not now", actor="wang") == "stopped"
    assert await step(pool) is None


async def test_a_lane_that_a_worker_gave_back_unsent_is_put_back_too(desk: tuple[asyncpg.Pool, Names]) -> None:
    pool, names = desk
    await stick(pool, names, 2)
    before = await lanes(pool)
    worker_id = await start_worker(pool, name="test/0", lease_s=60)
    redrive_id = await begin(pool, names)
    await step(pool)
    await claim(pool, worker_id=worker_id, target=WMS, operation=Operation.CREATE, limit=9, names=names)
    await pool.execute("UPDATE lane SET worker_id = NULL")

    await stop(pool, redrive_id or 0, reason="x", actor="wang")

    assert await lanes(pool) == before


async def test_a_command_planned_meanwhile_stays_when_the_lane_is_put_back(desk: tuple[asyncpg.Pool, Names]) -> None:
    pool, names = desk
    await stick(pool, names, 1)
    redrive_id = await begin(pool, names)
    await step(pool)
    await pool.execute("UPDATE lane SET tail = 2")

    await stop(pool, redrive_id or 0, reason="x", actor="wang")

    assert tuple(await pool.fetchrow("SELECT head, tail, blocked, bursts FROM lane")) == (1, 2, "rejected:http_4xx", 3)


@pytest.mark.feature("F77")
async def test_two_redrives_at_once_share_nothing(desk: tuple[asyncpg.Pool, Names]) -> None:
    pool, names = desk
    await stick(pool, names, 300)

    ids = await asyncio.gather(*(begin(pool, names, cap=200) for _ in range(4)))

    rows = [await row(pool, redrive_id) for redrive_id in ids if redrive_id is not None]
    chosen = await pool.fetch("SELECT order_id FROM redrive_item")
    assert len(chosen) == len({r[0] for r in chosen}) == sum(r.total for r in rows)
    rest = await begin(pool, names, cap=1000)
    total = sum(r.total for r in rows) + (0 if rest is None else (await row(pool, rest)).total)
    assert total == 300
    assert await begin(pool, names) is None, "all of them are in a redrive"
    seen = await preview(pool, TO_WMS, policies=policies(names), cap=10, forced=False)
    assert (seen.total, seen.chosen, seen.elsewhere) == (300, 0, 300)
    assert len(await list_redrives(pool, running=True, before=None, limit=10)) == len(rows) + (rest is not None)


async def test_redrives_that_are_begun_at_once_do_not_wait_for_each_other_in_a_circle(postgres_url: str) -> None:
    """Their filters cross, so each has the same things in another turn; all are written in key order."""
    pool = await open_pool(postgres_url, size=1)
    await migrate(pool)
    await pool.execute(_COUNT_WRITES)  # a database of its own: where a row comes to lie says nothing
    await pool.close()
    pool, names = await open_desk(postgres_url)
    rng, first = random.Random(1), 1
    for _ in range(40):
        count = rng.randint(5, 30)
        await stick(
            pool, names, count, first=first, target=rng.choice((WMS, ERP)),
            blocked=rng.choice(("rejected:a", "rejected:b", "unknown")),
        )  # fmt: skip
        first += count
    filters = (Wanted(source="shop"), Wanted(code="rejected:a"), Wanted(code="unknown"), Wanted(code="rejected"))

    await asyncio.gather(*(begin(pool, names, wanted) for wanted in filters))

    rows = await pool.fetch("SELECT redrive_id, order_id, target_id, n FROM redrive_item ORDER BY redrive_id, written")
    keys = [(r["redrive_id"], r["order_id"], r["target_id"]) for r in rows]
    assert keys == sorted(keys) and len({key[1:] for key in keys}) == len(keys)
    assert [r["n"] for r in rows] != sorted(r["n"] for r in rows), "targets take turns all the same"
    await pool.close()


_COUNT_WRITES = """
CREATE SEQUENCE writes;
ALTER TABLE redrive_item ADD COLUMN written bigint;
CREATE FUNCTION count_write() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.written = nextval('writes'); RETURN NEW; END $$;
CREATE TRIGGER count_write BEFORE INSERT ON redrive_item FOR EACH ROW EXECUTE FUNCTION count_write();
"""


@pytest.mark.feature("F77")
@pytest.mark.parametrize("wanted", [Wanted(), Wanted(kinds=("delivery",)), Wanted(kinds=("dead_letter",), code="")])
async def test_nobody_redrives_without_a_filter(desk: tuple[asyncpg.Pool, Names], wanted: Wanted) -> None:
    pool, names = desk
    await stick(pool, names, 1)
    before = await lanes(pool)
    with pytest.raises(NoFilter):
        await begin(pool, names, wanted)
    with pytest.raises(NoFilter):
        await preview(pool, wanted, policies=policies(names), cap=1, forced=False)
    with pytest.raises(NoFilter):
        await start(pool, wanted, policies=None, cap=1, pace=Pace(per_s=1.0), reason="x", actor="wang")
    with pytest.raises(NoSuchConnection):
        await begin(pool, names, Wanted(target="wmz"))
    assert await lanes(pool) == before and await pool.fetchval("SELECT count(*) FROM redrive") == 0


async def test_every_part_of_the_filter_narrows(desk: tuple[asyncpg.Pool, Names]) -> None:
    pool, names = desk
    await stick(pool, names, 2, first=1)
    await stick(pool, names, 3, first=11, blocked="unknown")
    await stick(pool, names, 4, first=21, target=ERP)
    since = BLOCKED_AT + timedelta(seconds=12)
    for wanted, count in (
        (Wanted(target="wms"), 5), (Wanted(source="shop"), 9), (Wanted(source="wms"), 0), (Wanted(code="unknown"), 3),
        (Wanted(code="rejected:http_4xx"), 6), (Wanted(code="http_4xx", target="erp"), 4),
        (Wanted(code="rejected"), 6), (Wanted(code="rejected", target="wms"), 2), (Wanted(code="reject"), 0),
        (Wanted(operation="cancel"), 0),
        (Wanted(operation="create", code="unknown"), 3), (Wanted(since=since), 6), (Wanted(until=since), 3),
        (Wanted(source="shop", kinds=("dead_letter",)), 0),
    ):  # fmt: skip
        seen = await preview(pool, wanted, policies=policies(names), cap=100, forced=False)
        assert (seen.total, seen.chosen) == (count, count), wanted


async def test_a_target_that_can_neither_be_asked_nor_told_twice_stays_with_its_person_unless_forced(
    desk: tuple[asyncpg.Pool, Names],
) -> None:
    pool, names = desk
    await stick(pool, names, 3, target=PAGER, blocked="unknown", in_doubt=True)
    await stick(pool, names, 1, first=11)
    seen = await preview(pool, Wanted(source="shop"), policies=policies(names), cap=100, forced=False)
    assert (seen.total, seen.chosen, seen.staying) == (4, 1, 3)
    assert {(g.connection, g.how, g.count) for g in seen.groups} == {("pager", "person", 3), ("wms", "ask", 1)}
    assert next(g for g in seen.groups if g.connection == "pager").samples == ("S1", "S2", "S3")
    assert (await row(pool, await begin(pool, names, Wanted(source="shop")))).total == 1

    redrive_id = await begin(pool, names, Wanted(target="pager"), forced=True)
    await pool.execute("UPDATE redrive SET next_at = 'infinity' WHERE redrive_id <> $1", redrive_id)
    await step(pool)

    assert await pool.fetchval("SELECT count(*) FROM lane WHERE blocked IS NULL AND NOT in_doubt") == 3
    assert ("wang", "redrive.start", f"redrive/{redrive_id}", "they are back (3)") in [
        tuple(r)
        for r in await pool.fetch("SELECT actor, action, subject, convert_from(private_reason, 'UTF8') FROM audit")
    ]


async def test_what_another_hand_has_changed_is_skipped(desk: tuple[asyncpg.Pool, Names]) -> None:
    pool, names = desk
    await stick(pool, names, 4)
    redrive_id = await begin(pool, names)
    await resend(
        pool, number="S1", target="wms", seq=1, edit=None, confirmed_absent=False, reason="by hand", actor="li"
    )
    await pool.execute("DELETE FROM lane WHERE order_id = 2")
    await pool.execute("UPDATE lane SET blocked = 'unknown' WHERE order_id = 3")

    await step(pool)

    seen = await row(pool, redrive_id)
    assert (seen.released, seen.skipped) == (1, 3)
    assert await pool.fetchval("SELECT blocked FROM lane WHERE order_id = 3") == "unknown"


async def test_targets_take_turns_and_the_oldest_are_taken_first(desk: tuple[asyncpg.Pool, Names]) -> None:
    pool, names = desk
    await stick(pool, names, 4, first=1)
    await stick(pool, names, 3, first=11, target=ERP)
    await begin(pool, names, Wanted(source="shop"), cap=6)
    order = [r[0] for r in await pool.fetch("SELECT order_id FROM redrive_item ORDER BY n")]
    assert order == [11, 1, 12, 2, 3, 4]


async def test_dead_letters_go_through_intake_again_with_what_waits_behind(desk: tuple[asyncpg.Pool, Names]) -> None:
    pool, names = desk
    async with pool.acquire() as connection:
        await set_aside(
            connection,
            [
                letter(1, "S7", "decide"),
                letter(2, "S7", BEHIND),
                letter(3, "S8", "decide"),
                letter(4, "S9", "json"),
            ],
        )
    seen = await preview(pool, Wanted(source="shop"), policies=policies(names), cap=100, forced=False)
    assert {(g.kind, g.connection, g.code, g.how, g.count) for g in seen.groups} == {
        ("dead_letter", "shop", "decide", "intake", 2), ("dead_letter", "shop", "json", "intake", 1),
    }  # fmt: skip
    redrive_id = await begin(pool, names, Wanted(source="shop", code="decide"))
    assert await begin(pool, names, Wanted(source="shop", code="decide")) is None

    await step(pool)
    await let_be_due(pool)
    await step(pool)

    assert [r[0] for r in await pool.fetch("SELECT event_id FROM inbox ORDER BY inbox_id")] == ["E1", "E2", "E3"]
    assert await pool.fetchval("SELECT count(*) FROM dead_letter WHERE closed_at IS NULL") == 1
    seen_row = await row(pool, redrive_id)
    assert (seen_row.state, seen_row.released, seen_row.done, seen_row.total) == ("running", 2, 0, 2)
    await pool.execute("DELETE FROM inbox")  # as intake does with what it could use
    await let_be_due(pool)
    await step(pool)
    seen_row = await row(pool, redrive_id)
    assert (seen_row.state, seen_row.done, seen_row.again, seen_row.total) == ("done", 2, 0, 2)


async def intake(pool: asyncpg.Pool, *again: DeadLetter) -> None:
    """Take all that is in the inbox, and set these aside again."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("DELETE FROM inbox")
        if again:
            await set_aside(connection, again)


async def test_a_dead_letter_that_is_set_aside_again_counts_as_blocked_again(desk: tuple[asyncpg.Pool, Names]) -> None:
    pool, names = desk
    letters = [letter(1, "S1", "amount"), letter(2, "", "amount"), letter(3, "S3", "amount")]
    async with pool.acquire() as connection:
        # Of the same event with another payload: its own letter, which is nobody's end.
        other = msgspec.structs.replace(letters[2].arrival.event, body=b"[]")
        twin = msgspec.structs.replace(
            letters[2], code="json", arrival=msgspec.structs.replace(letters[2].arrival, event=other)
        )
        await set_aside(connection, [*letters, twin])
    redrive_id = await begin(pool, names, Wanted(source="shop", code="amount"))
    await step(pool)
    assert (await row(pool, redrive_id)).released == 3

    await intake(pool, letters[0], msgspec.structs.replace(letters[1], code="value"))
    await let_be_due(pool)
    await step(pool)

    seen = await row(pool, redrive_id)
    assert (seen.state, seen.done, seen.again) == ("done", 1, 2)


async def test_a_dead_letter_whose_order_waits_for_another_of_the_redrive_has_not_ended(
    desk: tuple[asyncpg.Pool, Names],
) -> None:
    pool, names = desk
    first, second = letter(1, "S1", "amount"), letter(2, "S1", "amount")
    async with pool.acquire() as connection:
        await set_aside(connection, [first, second])
    redrive_id = await begin(pool, names, Wanted(source="shop", code="amount"), per_s=1.0)
    await step(pool)
    await intake(pool, msgspec.structs.replace(first, code=BEHIND))
    seen = await row(pool, redrive_id)
    assert (seen.waiting, seen.released) == (1, 1)

    await let_be_due(pool)
    await step(pool)

    seen = await row(pool, redrive_id)
    assert (seen.waiting, seen.released) == (0, 2)
    assert await pool.fetchval("SELECT count(*) FROM inbox") == 2
    await intake(pool)
    await let_be_due(pool)
    await step(pool)
    seen = await row(pool, redrive_id)
    assert (seen.state, seen.done, seen.again) == ("done", 2, 0)


async def test_a_redrive_stopped_after_a_dead_letter_has_left_says_so(desk: tuple[asyncpg.Pool, Names]) -> None:
    pool, names = desk
    async with pool.acquire() as connection:
        await set_aside(connection, [letter(n, f"S{n}", "amount") for n in (1, 2, 3)])
    redrive_id = await begin(pool, names, Wanted(source="shop"), per_s=1.0)
    await step(pool)
    await intake(pool, letter(1, "S1", "amount"))
    await let_be_due(pool)
    await step(pool)

    await stop(pool, redrive_id or 0, reason="they come back", actor="wang")

    seen = await row(pool, redrive_id)
    assert (seen.again, seen.left, seen.kept, seen.released) == (1, 1, 1, 0)


async def test_a_redrive_takes_what_its_preview_found_for_a_family_of_codes(desk: tuple[asyncpg.Pool, Names]) -> None:
    pool, names = desk
    await stick(pool, names, 2, first=1)
    await stick(pool, names, 1, first=11, blocked="rejected:business")
    await stick(pool, names, 1, first=21, blocked="unknown")
    wanted = Wanted(code="rejected")
    seen = await preview(pool, wanted, policies=policies(names), cap=100, forced=False)
    assert {(g.code, g.count) for g in seen.groups} == {("rejected:http_4xx", 2), ("rejected:business", 1)}
    assert (await row(pool, await begin(pool, names, wanted))).total == 3


async def test_a_redrive_says_when_it_starts_and_when_it_has_started(desk: tuple[asyncpg.Pool, Names]) -> None:
    pool, names = desk
    await stick(pool, names, 3)
    redrive_id = await begin(pool, names, per_s=1.0, start_in_s=60.0)
    seen = await row(pool, redrive_id)
    assert seen.starts_at == seen.created_at + timedelta(seconds=60)
    await let_be_due(pool)
    await step(pool)
    started_at = (await row(pool, redrive_id)).starts_at
    assert started_at is not None and started_at < seen.starts_at
    await let_be_due(pool)
    await step(pool)
    assert (await row(pool, redrive_id)).starts_at == started_at
    await stop(pool, redrive_id or 0, reason="x", actor="wang")

    redrive_id = await begin(pool, names, start_in_s=60.0)
    await stop(pool, redrive_id or 0, reason="x", actor="wang")
    assert (await row(pool, redrive_id)).starts_at is None


async def test_what_no_gate_would_send_is_skipped_and_stays_with_its_person(desk: tuple[asyncpg.Pool, Names]) -> None:
    pool, names = desk
    await stick(pool, names, 3)
    await stick(pool, names, 2, target=ERP, first=11)
    redrive_id = await begin(pool, names, Wanted(source="shop"))
    before = await lanes(pool)
    gates = {(names.id(ERP), "create"), (names.id(WMS), "cancel")}

    await step(pool, gates=gates)

    seen = await row(pool, redrive_id)
    assert (seen.skipped, seen.released, seen.waiting) == (3, 2, 0)
    after = await lanes(pool)
    assert {key: after[key] for key in after if key[1] == names.id(WMS)} == {
        key: before[key] for key in before if key[1] == names.id(WMS)
    }
