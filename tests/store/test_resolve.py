"""Many taken for handled: by a redrive that sends nothing, begins later, can be stopped, and does each thing once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from gateway.core.delivery import Result
from gateway.core.order import Operation
from gateway.store.dead import BEHIND, discard, set_aside
from gateway.store.outbox import Outcome, claim, start_worker, write_outcomes
from gateway.store.queries import AttemptEnded, ByHand, Redriven, read_order
from gateway.store.redrive import RESOLVED_PER_S, Pace, RedriveRow, read_redrive, start, step, stop
from gateway.store.repair import resend, resolve
from gateway.store.resolve import MOST_RESOLVED
from gateway.store.sql import Names
from gateway.store.wanted import Wanted, preview

from .stuck import ERP, WMS, lanes, let_be_due, letter, open_desk, policies, stick

ALL = Wanted(source="shop")
Desk = tuple[asyncpg.Pool, Names]


@pytest.fixture
async def desk(migrated_url: str) -> AsyncIterator[Desk]:
    pool, names = await open_desk(migrated_url)
    yield pool, names
    await pool.close()


async def begin(
    pool: asyncpg.Pool,
    wanted: Wanted = ALL,
    *,
    cap: int = 1000,
    per_s: float = RESOLVED_PER_S,
    start_in_s: float = 0.0,
) -> int:
    redrive_id = await start(
        pool, wanted, policies=None, cap=cap, pace=Pace(per_s=per_s, start_in_s=start_in_s), reason="typed in",
        actor="li",
    )  # fmt: skip
    assert redrive_id is not None
    return redrive_id


async def row(pool: asyncpg.Pool, redrive_id: int) -> RedriveRow:
    found = await read_redrive(pool, redrive_id)
    assert found is not None
    return found


async def to_the_end(pool: asyncpg.Pool, redrive_id: int) -> RedriveRow:
    while (await row(pool, redrive_id)).state == "running":
        await let_be_due(pool)
        await step(pool)
    return await row(pool, redrive_id)


async def letters(pool: asyncpg.Pool) -> dict[int, str]:
    """Every dead letter as the bytes of its row."""
    return dict(await pool.fetch("SELECT dead_letter_id, dead_letter::text FROM dead_letter"))


async def put_aside(pool: asyncpg.Pool, *numbers: str) -> None:
    async with pool.acquire() as connection:
        await set_aside(connection, [letter(n, number, "json") for n, number in enumerate(numbers, 1)])


async def acts(pool: asyncpg.Pool) -> dict[str, int]:
    return dict(await pool.fetch("SELECT action, count(*) FROM audit GROUP BY action"))


@pytest.mark.feature("F129")
async def test_many_are_taken_for_handled_and_their_lanes_go_on(desk: Desk) -> None:
    pool, names = desk
    await stick(pool, names, 50, first=1)
    await stick(pool, names, 3, first=501, tail=2)
    await put_aside(pool, "S900")
    seen = await preview(pool, ALL, policies=None, cap=1000, forced=True)
    assert (seen.total, seen.chosen, {g.how for g in seen.groups}) == (54, 54, {"by_hand"})

    first = await to_the_end(pool, await begin(pool, Wanted(code="http_4xx"), cap=40))
    assert (first.does, first.total, first.done, await pool.fetchval("SELECT count(*) FROM lane")) == (
        "resolve", 40, 40, 13,
    )  # fmt: skip
    rest = await to_the_end(pool, await begin(pool))

    assert (rest.state, rest.total, rest.done, rest.skipped, rest.found) == ("done", 14, 14, 0, 0)
    rows = await pool.fetch("SELECT order_id, head, operation, blocked, in_doubt FROM lane ORDER BY 1")
    assert [tuple(r) for r in rows] == [(n, 2, "cancel", None, False) for n in (501, 502, 503)]
    said = "SELECT count(*) FROM attempt WHERE result = 8 AND convert_from(private_detail, 'UTF8') = 'li: typed in'"
    assert await pool.fetchval(said) == 53
    assert tuple(await pool.fetchrow("SELECT resolution, closed_by FROM dead_letter")) == ("discarded", "li")
    assert await acts(pool) == {"redrive.resolve": 2, "delivery.resolve": 53, "dead_letter.discard": 1}
    order = await read_order(pool, "S1")
    assert order is not None
    told = [one for one in order.timeline if isinstance(one, AttemptEnded | ByHand | Redriven)]
    assert [type(one) for one in told] == [AttemptEnded, ByHand, AttemptEnded], "as when it is resolved by itself"
    assert isinstance(told[1], ByHand) and (told[1].actor, told[1].reason) == ("li", "typed in")
    assert isinstance(told[2], AttemptEnded) and told[2].result == Result.RESOLVED.name.lower()


@pytest.mark.feature("F117")
async def test_nothing_is_resolved_before_it_is_due_and_stopped_then_all_is_as_it_was(desk: Desk) -> None:
    pool, names = desk
    await stick(pool, names, 5, tail=2, in_doubt=True)
    await put_aside(pool, "S900", "")
    before = (await lanes(pool), await letters(pool))

    redrive_id = await begin(pool, start_in_s=60.0)
    due_s = await step(pool)

    seen = await row(pool, redrive_id)
    assert due_s is not None and 55 < due_s <= 60 and (seen.state, seen.waiting) == ("running", 7)
    assert seen.starts_at == seen.next_at == seen.created_at + timedelta(seconds=60)
    assert await stop(pool, redrive_id, reason="the wrong ones", actor="wang") == "running"
    await let_be_due(pool)
    assert await step(pool) is None
    assert (await lanes(pool), await letters(pool)) == before
    seen = await row(pool, redrive_id)
    assert (seen.state, seen.kept, seen.done, seen.ended_by, seen.starts_at) == ("stopped", 7, 0, "wang", None)
    assert await acts(pool) == {"redrive.resolve": 1, "redrive.stop": 1}
    assert await pool.fetchval("SELECT count(*) FROM inbox") == 0
    # They are free again.
    assert (await row(pool, await begin(pool))).total == 7


@pytest.mark.feature("F117")
async def test_stopped_in_the_middle_what_was_not_resolved_is_as_it_was(desk: Desk) -> None:
    pool, names = desk
    await stick(pool, names, 30)
    await put_aside(pool, *(f"S9{n:02}" for n in range(30)))
    before, before_letters = await lanes(pool), await letters(pool)
    redrive_id = await begin(pool)
    for done in (20, 30, 50):  # a fifth of a second's worth, of one kind
        await let_be_due(pool)
        await step(pool)
        assert (await row(pool, redrive_id)).done == done

    await stop(pool, redrive_id, reason="the wrong ones", actor="wang")

    seen = await row(pool, redrive_id)
    assert (seen.state, seen.done, seen.kept, seen.left, seen.undone) == ("stopped", 50, 10, 0, 0)
    assert await lanes(pool) == {}, "what is resolved stays so"
    assert before.keys() == {(n, names.id(WMS)) for n in range(1, 31)}
    after = await letters(pool)
    assert sum(after[key] == text for key, text in before_letters.items()) == 10
    assert await pool.fetchval("SELECT count(*) FROM dead_letter WHERE closed_at IS NULL") == 10


@pytest.mark.feature("F117")
async def test_what_another_hand_has_changed_meanwhile_is_left_alone(desk: Desk) -> None:
    pool, names = desk
    await stick(pool, names, 6)
    await put_aside(pool, "S900", "S901")
    worker_id = await start_worker(pool, name="test/0", lease_s=60)
    redrive_id = await begin(pool, start_in_s=60.0)
    for number in ("S1", "S2", "S3"):
        await resend(
            pool, number=number, target="wms", seq=1, edit=None, confirmed_absent=False, if_attempts=None,
            reason="corrected", actor="wang", gates=None,
        )  # fmt: skip
    held = await claim(pool, worker_id=worker_id, target=WMS, operation=Operation.CREATE, limit=2, names=names)
    again = held[0].delivery.order_id
    await write_outcomes(
        pool, worker_id=worker_id, attempts=[],
        outcomes=[Outcome(lane=(again, names.id(WMS)), seq=1, blocked="rejected:http_4xx", bursts=3)],
    )  # fmt: skip
    await resolve(
        pool, number="S4", target="wms", seq=1, reason="by phone", reference="", actor="wang", now=datetime.now(UTC)
    )
    [first, _] = sorted(await letters(pool))
    assert await discard(pool, first, reason="a test", actor="wang") == 0
    changed = {key: text for key, text in (await lanes(pool)).items() if key[0] < 4}

    seen = await to_the_end(pool, redrive_id)

    assert (seen.total, seen.done, seen.skipped) == (8, 3, 5)
    assert await lanes(pool) == changed, "sent again, held, or blocked once more for the same reason: not as chosen"
    assert await pool.fetchval("SELECT count(*) FROM attempt WHERE result = 8 AND order_id IN (1, 2, 3)") == 0
    closed_by = "SELECT closed_by FROM dead_letter ORDER BY dead_letter_id"
    assert [r[0] for r in await pool.fetch(closed_by)] == ["wang", "li"]


@pytest.mark.feature("F117")
async def test_a_step_that_is_cut_off_leaves_nothing_and_each_is_done_once(desk: Desk) -> None:
    pool, names = desk
    await stick(pool, names, 30, tail=2)
    await put_aside(pool, *(f"S9{n}" for n in range(5)))
    redrive_id = await begin(pool)

    def die(point: str) -> None:
        if point == "redrive.before_commit":
            raise ConnectionError

    def die_after(point: str) -> None:
        if point == "redrive.after_commit":
            raise ConnectionError

    while (await row(pool, redrive_id)).state == "running":
        await let_be_due(pool)
        before = (await lanes(pool), await letters(pool), await row(pool, redrive_id), await acts(pool))
        with pytest.raises(ConnectionError):
            await step(pool, reach=die)
        assert (await lanes(pool), await letters(pool), await row(pool, redrive_id), await acts(pool)) == before
        with pytest.raises(ConnectionError):
            await step(pool, reach=die_after)

    assert (await row(pool, redrive_id)).done == 35
    assert await pool.fetchval("SELECT count(*) FROM attempt WHERE result = 8") == 30
    assert await acts(pool) == {"redrive.resolve": 1, "delivery.resolve": 30, "dead_letter.discard": 5}
    assert {r[0] for r in await pool.fetch("SELECT head FROM lane")} == {2}


async def test_workers_that_step_at_once_resolve_each_once(desk: Desk) -> None:
    pool, names = desk
    await stick(pool, names, 30)
    redrive_id = await begin(pool, per_s=5.0)

    await asyncio.gather(*(step(pool) for _ in range(5)))

    assert (await row(pool, redrive_id)).done == 1
    assert await acts(pool) == {"redrive.resolve": 1, "delivery.resolve": 1}


@pytest.mark.feature("F117")
async def test_nothing_is_in_two_redrives_whatever_they_do(desk: Desk) -> None:
    pool, names = desk
    await stick(pool, names, 4)
    redrive_id = await begin(pool, cap=3, start_in_s=60.0)
    sending = await start(
        pool, ALL, policies=policies(names), cap=9, pace=Pace(per_s=9.0), reason="they are back", actor="wang"
    )
    assert (await row(pool, redrive_id)).total == 3 and (await row(pool, sending or 0)).total == 1
    assert (await row(pool, sending or 0)).does == "send"
    seen = await preview(pool, ALL, policies=None, cap=9, forced=True)
    assert (seen.total, seen.chosen, seen.elsewhere) == (4, 0, 4)
    assert await start(pool, ALL, policies=None, cap=9, pace=Pace(per_s=9.0), reason="x", actor="li") is None


async def test_no_more_than_a_thousand_are_resolved_with_one_request(desk: Desk) -> None:
    pool, names = desk
    await stick(pool, names, MOST_RESOLVED + 5)
    redrive_id = await begin(pool, cap=20_000, start_in_s=60.0)
    assert (await row(pool, redrive_id)).total == MOST_RESOLVED
    oldest = "SELECT max(order_id) FROM redrive_item"
    assert await pool.fetchval(oldest) == MOST_RESOLVED, "the oldest first"


async def test_what_no_gate_would_send_can_be_resolved(desk: Desk) -> None:
    pool, names = desk
    await stick(pool, names, 3)
    redrive_id = await begin(pool)

    await step(pool, gates={(names.id(ERP), "create")})

    assert (await row(pool, redrive_id)).done == 3


async def test_what_waits_behind_a_dead_letter_goes_through_intake_once_the_last_in_front_is_closed(
    desk: Desk,
) -> None:
    pool, _ = desk
    async with pool.acquire() as connection:
        await set_aside(connection, [letter(1, "S7", "json"), letter(2, "S7", "decide"), letter(3, "S7", BEHIND)])
    await to_the_end(pool, await begin(pool, Wanted(source="shop", code="json")))
    assert await pool.fetchval("SELECT count(*) FROM inbox") == 0

    await to_the_end(pool, await begin(pool, Wanted(source="shop", code="decide")))

    assert [r[0] for r in await pool.fetch("SELECT event_id FROM inbox")] == ["E3"]
    assert await pool.fetchval("SELECT count(*) FROM dead_letter WHERE closed_at IS NULL") == 0


@pytest.mark.feature("F117")
async def test_a_worker_of_the_release_before_takes_no_step_of_it_and_stops_it_as_it_should(desk: Desk) -> None:
    """By its own statements; it would send whatever it found due."""
    pool, names = desk
    await stick(pool, names, 3)
    before = await lanes(pool)
    redrive_id = await begin(pool)

    found = await pool.fetchrow(
        "SELECT redrive_id, per_s, author FROM redrive WHERE state = 'running' AND next_at <= clock_timestamp()"
        " ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED"
    )
    due_s = await pool.fetchval(
        "SELECT extract(epoch FROM min(next_at) - clock_timestamp())::float8 FROM redrive WHERE state = 'running'"
    )
    assert found is None and due_s > 86400 * 365 * 1000
    await pool.execute(
        "UPDATE redrive_item SET state = CASE state WHEN 'waiting' THEN 'kept' ELSE 'left' END"
        " WHERE redrive_id = $1 AND state IN ('waiting', 'released')",
        redrive_id,
    )
    await pool.execute(
        "UPDATE redrive SET state = 'stopped', ended_at = now(), ended_by = $2 WHERE redrive_id = $1",
        redrive_id,
        "wang",
    )

    assert await step(pool) is None
    assert await lanes(pool) == before
    assert (await row(pool, redrive_id)).kept == 3
    # What it begins itself is sent, as ever.
    await pool.execute(
        "INSERT INTO redrive (wanted, private_reason, author, forced, per_s, next_at)"
        " VALUES ('{\"target\":\"wms\"}', NULL, 'wang', false, 5, now())"
    )
    assert await pool.fetchval("SELECT does FROM redrive ORDER BY redrive_id DESC LIMIT 1") == "send"
