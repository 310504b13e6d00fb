"""Sending many things again: blocked deliveries and dead letters, chosen by a filter, released at a pace.

A redrive is a row with its items, so it survives whoever works on it: each step is one transaction that locks the row,
frees some lanes and says when the next step may be. Lanes are freed *in doubt*: a target that can be asked is asked
before anything is sent, an idempotent one gets it again; where neither is possible the delivery stays with its person,
unless that is forced. Only heads are touched, so an order's commands keep their sequence. A dead letter goes into the
inbox, and has ended when intake has taken it from there: done, or set aside again.

Few are out at a time (`_open_most`), so that stopping brings nearly all of the rest back, and a target that fails
again gets no more.

A redrive may also `resolve` its items: nothing is sent, each is taken for handled elsewhere, and what is
waiting still when it is stopped is as it was (`gateway.store.resolve`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Literal

import asyncpg
import msgspec

from gateway.core.delivery import AfterUnknown, Result
from gateway.store.audit import audit
from gateway.store.dead import BEHIND, lock_letters, put_back
from gateway.store.orders import wake_dispatch
from gateway.store.resolve import MOST_RESOLVED, resolve_lanes, resolve_letters
from gateway.store.sql import Connection, as_array, as_private, as_text, private_or_plain
from gateway.store.wanted import (
    LANE_BUSY,
    LANES_WANTED,
    LETTER_BUSY,
    LETTERS_WANTED,
    LOCK_CHOSEN,
    Gates,
    Policies,
    Wanted,
    arguments,
    connection_names,
    how_of,
    lane_keys,
)

MOST_ITEMS = 20_000
"""Most things one redrive takes."""

RESOLVED_PER_S = 100.0
"""How many are resolved a second: there is no target to spare, but time for who sees the first go wrong to stop it."""

_TICK_S = 0.2
_IDLE_S = 0.5
_OUT_FOR_S = 5.0
_OUT_LEAST = 50

State = Literal["running", "done", "stopped"]
Does = Literal["send", "resolve"]

_DUE = {"send": "next_at", "resolve": "due_at"}
"""Where it is kept when the next step may be (migration 0014)."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """`per_s`: so many a second at most, evenly. `start_in_s`: nothing is released, or resolved, before."""

    per_s: float
    start_in_s: float = 0.0


class RedriveRow(msgspec.Struct, frozen=True, kw_only=True):
    """A redrive and how far it is: its counts add up to `total`. `found`: those of `done` the target had already;
    `withdrawn`: those that nothing was sent of, nor will be, because the shop has called the order off.

    `does`: whether it sends its items again, or takes them for handled elsewhere (`resolve`): then none is `released`,
    and what is `done` cannot be undone. `starts_at`: when the first is, or was, released or resolved; None where it
    ended before.
    """

    redrive_id: int
    does: Does
    state: State
    wanted: Wanted
    reason: str
    author: str
    forced: bool
    per_s: float
    created_at: datetime
    starts_at: datetime | None
    next_at: datetime
    ended_at: datetime | None
    ended_by: str | None
    total: int
    waiting: int
    released: int
    done: int
    found: int
    withdrawn: int
    again: int
    skipped: int
    kept: int
    undone: int
    left: int


async def start(
    pool: asyncpg.Pool,
    wanted: Wanted,
    *,
    policies: Policies | None,
    cap: int,
    pace: Pace,
    reason: str,
    actor: str,
    forced: bool = False,
) -> int | None:
    """Begin a redrive of the oldest `cap` things that fit; its id, or None where nothing does.

    `policies` None: they are resolved, which asks nobody. What another running redrive has is left to it. Raises
    NoFilter and NoSuchConnection.
    """
    does: Does = "resolve" if policies is None else "send"
    may = {key: asking for key, asking in (policies or {}).items() if how_of(asking, forced) != "person"}
    async with pool.acquire() as connection, connection.transaction():
        given = arguments(wanted, await connection_names(connection))
        redrive_id = await connection.fetchval(
            _BEGIN,
            msgspec.json.encode(wanted).decode(),
            as_private(reason),
            actor,
            forced,
            pace.per_s,
            pace.start_in_s,
            does,
        )
        status = await connection.execute(
            _CHOOSE if does == "send" else _CHOOSE_ALL,
            *given,
            min(cap, MOST_ITEMS if does == "send" else MOST_RESOLVED),
            redrive_id,
            [target_id for target_id, _ in may],
            [operation for _, operation in may],
            [asking.settle_s if asking.after is AfterUnknown.FIND else 0.0 for asking in may.values()],
            [asking.after is not AfterUnknown.PERSON for asking in may.values()],
        )
        count = int(status.rsplit(" ", 1)[1])
        if not count:
            await connection.execute("DELETE FROM redrive WHERE redrive_id = $1", redrive_id)
            return None
        action = "redrive.start" if does == "send" else "redrive.resolve"
        await audit(
            connection, actor=actor, action=action, subject=f"redrive/{redrive_id}", reason=f"{reason} ({count})"
        )
        await connection.execute("NOTIFY ordergate_redrive")
        # What has just been filled has no statistics, and every step would be planned for an empty table.
        await connection.execute("ANALYZE redrive_item")
    return int(redrive_id)


async def step(
    pool: asyncpg.Pool, *, gates: Gates | None = None, reach: Callable[[str], None] = lambda _: None
) -> float | None:
    """One step of the redrive that is due first: release or resolve what its pace allows, note how the released ended.

    `gates` None: all there are. What is for none of them, its target having left the configuration since, is skipped:
    nobody would send it, and as released it would wait for no person any more; it is resolved like any other. Returns
    the seconds until something is due again, None when no redrive runs. Steps of several workers take turns at the row,
    and a step that is cut off leaves nothing behind.
    """
    async with pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(
            f"SELECT redrive_id, does, per_s, author, {private_or_plain('reason')} FROM redrive"
            " WHERE state = 'running' AND coalesce(due_at, next_at) <= clock_timestamp()"
            " ORDER BY coalesce(due_at, next_at) LIMIT 1 FOR UPDATE SKIP LOCKED"
        )
        if row is not None:
            await _advance(connection, _Due(*row), gates=gates)
            reach("redrive.before_commit")
    if row is not None:
        reach("redrive.after_commit")
    due_s = await pool.fetchval(
        "SELECT extract(epoch FROM min(coalesce(due_at, next_at)) - clock_timestamp())::float8 FROM redrive"
        " WHERE state = 'running'"
    )
    return None if due_s is None else max(0.0, due_s)


async def stop(pool: asyncpg.Pool, redrive_id: int, *, reason: str, actor: str) -> State | None:
    """Stop a redrive: what has not left yet is as it was before. The state it had, None when there is no such redrive.

    What a worker already holds in memory, or has tried since, goes its way; what is resolved already stays so.
    """
    async with pool.acquire() as connection, connection.transaction():
        state: State | None = await connection.fetchval(
            "SELECT state FROM redrive WHERE redrive_id = $1 FOR UPDATE", redrive_id
        )
        if state != "running":
            return state
        await _settle(connection, redrive_id)
        unsent = as_array(row[0] for row in await connection.fetch(_UNSENT, redrive_id))
        await connection.execute(_PUT_BACK, redrive_id, unsent)
        await connection.execute(
            "UPDATE redrive_item SET state = 'undone' WHERE redrive_id = $1 AND n = ANY($2::text::integer[])",
            redrive_id,
            unsent,
        )
        await connection.execute(
            "UPDATE redrive_item SET state = CASE state WHEN 'waiting' THEN 'kept' ELSE 'left' END"
            " WHERE redrive_id = $1 AND state IN ('waiting', 'released')",
            redrive_id,
        )
        await connection.execute(
            "UPDATE redrive SET state = 'stopped', ended_at = now(), ended_by = $2 WHERE redrive_id = $1",
            redrive_id,
            actor,
        )
        await audit(connection, actor=actor, action="redrive.stop", subject=f"redrive/{redrive_id}", reason=reason)
    return state


async def list_redrives(pool: asyncpg.Pool, *, running: bool, before: int | None, limit: int) -> list[RedriveRow]:
    """Redrives, the newest first."""
    rows = await pool.fetch(_REDRIVES + " ORDER BY redrive_id DESC LIMIT $3", running, before, limit)
    return [_redrive(row) for row in rows]


async def read_redrive(pool: asyncpg.Pool, redrive_id: int) -> RedriveRow | None:
    row = await pool.fetchrow(_REDRIVES + " AND redrive_id = $3", False, None, redrive_id)
    return None if row is None else _redrive(row)


async def _settle(connection: Connection, redrive_id: int) -> None:
    """Note how those that are out have ended."""
    await connection.execute(_SETTLE, redrive_id)
    await connection.execute(_SETTLE_LETTERS, redrive_id)


class _Due(msgspec.Struct, frozen=True):
    """A redrive whose next step is due, locked. `reason` as it is stored."""

    redrive_id: int
    does: Does
    per_s: float
    author: str
    reason: bytes | None


async def _advance(connection: Connection, due: _Due, *, gates: Gates | None) -> None:
    redrive_id, per_s = due.redrive_id, due.per_s
    await _settle(connection, redrive_id)
    counts = dict(
        await connection.fetch(
            "SELECT state, count(*) FROM redrive_item WHERE redrive_id = $1 AND state IN ('waiting', 'released')"
            " GROUP BY state",
            redrive_id,
        )
    )
    waiting, out = counts.get("waiting", 0), counts.get("released", 0)
    if not waiting and not out:
        await connection.execute(
            "UPDATE redrive SET state = 'done', ended_at = now() WHERE redrive_id = $1", redrive_id
        )
        return
    now_due = min(max(1, round(per_s * _TICK_S)), max(0, _open_most(per_s) - out), waiting)
    wait_s = now_due / per_s if now_due else _IDLE_S
    if now_due:
        items = await connection.fetch(
            "SELECT n, order_id, target_id, seq AS head, blocked, not_before, dead_letter_id FROM redrive_item"
            " WHERE redrive_id = $1 AND state = 'waiting' ORDER BY n LIMIT $2",
            redrive_id,
            now_due,
        )
        # One kind in one transaction: intake takes dead letters and lanes in the other order.
        letters = items[0]["dead_letter_id"] is not None
        same = [item for item in items if (item["dead_letter_id"] is not None) is letters]
        if due.does == "resolve":
            await _resolve(connection, due, same, letters=letters)
        elif letters:
            await _release_letters(connection, redrive_id, same, author=due.author)
        else:
            await _release_lanes(connection, redrive_id, same, gates)
        await connection.execute(
            "UPDATE redrive_item SET state = 'skipped'"
            " WHERE redrive_id = $1 AND n = ANY($2::integer[]) AND state = 'waiting'",
            redrive_id,
            [item["n"] for item in same],
        )
    await connection.execute(
        f"UPDATE redrive SET {_DUE[due.does]} = clock_timestamp() + make_interval(secs => $2) WHERE redrive_id = $1",
        redrive_id,
        wait_s,
    )


async def _resolve(connection: Connection, due: _Due, items: Sequence[asyncpg.Record], *, letters: bool) -> None:
    """Take those for handled that are still as they were chosen."""
    reason = as_text(due.reason)
    if letters:
        ids = [item["dead_letter_id"] for item in items]
        closed = set(await resolve_letters(connection, ids, reason=reason, actor=due.author))
        done = [item["n"] for item in items if item["dead_letter_id"] in closed]
    else:
        finished = set(await resolve_lanes(connection, items, reason=reason, actor=due.author))
        done = [item["n"] for item in items if (item["order_id"], item["target_id"]) in finished]
    await connection.execute(
        "UPDATE redrive_item SET state = 'done', released_at = now(), result = $3"
        " WHERE redrive_id = $1 AND n = ANY($2::integer[])",
        due.redrive_id,
        done,
        int(Result.RESOLVED),
    )


async def _release_lanes(
    connection: Connection, redrive_id: int, items: Sequence[asyncpg.Record], gates: Gates | None
) -> None:
    """Free the lanes that are still as they were chosen. Locked first and in key order, like all writers of lanes."""
    locked = await connection.fetch(LOCK_CHOSEN, *lane_keys(items))
    if gates is not None:
        locked = [row for row in locked if (row["target_id"], row["operation"]) in gates]
    if not locked:
        return
    numbers = {(item["order_id"], item["target_id"]): item["n"] for item in items}
    given = as_array(numbers[row["order_id"], row["target_id"]] for row in locked)
    await connection.execute(_SAVE, redrive_id, given)
    await connection.execute(_FREE, redrive_id, given)
    await wake_dispatch(connection, {row["target_id"] for row in locked})


async def _release_letters(
    connection: Connection, redrive_id: int, items: Sequence[asyncpg.Record], *, author: str
) -> None:
    ids = [item["dead_letter_id"] for item in items]
    await lock_letters(connection, ids)
    rows = await connection.fetch(
        "SELECT dead_letter_id, number FROM dead_letter WHERE dead_letter_id = ANY($1::bigint[]) AND closed_at IS NULL"
        " ORDER BY dead_letter_id FOR UPDATE",
        ids,
    )
    for dead_letter_id, number in rows:
        await put_back(connection, number, actor=author, repaired={dead_letter_id: None})
    await connection.execute(
        "UPDATE redrive_item SET state = 'released', released_at = now()"
        " WHERE redrive_id = $1 AND dead_letter_id = ANY($2::bigint[]) AND state = 'waiting'",
        redrive_id,
        [row[0] for row in rows],
    )


def _open_most(per_s: float) -> int:
    """How many may be released and not yet ended."""
    return max(_OUT_LEAST, round(per_s * _OUT_FOR_S))


def _redrive(row: Mapping[str, object]) -> RedriveRow:
    values = dict(row)
    values["wanted"] = msgspec.json.decode(str(values["wanted"]), type=Wanted)
    values["reason"] = as_text(values["reason"])  # type: ignore[arg-type]
    return RedriveRow(**values)  # type: ignore[arg-type]


# What is resolved has its `next_at` where no worker of the release before comes to (migration 0014).
_BEGIN = """
INSERT INTO redrive (wanted, private_reason, author, forced, per_s, does, next_at, due_at)
SELECT $1, $2, $3, $4, $5, $7, CASE $7 WHEN 'send' THEN at ELSE '9999-01-01 UTC' END, CASE $7 WHEN 'resolve' THEN at END
  FROM (SELECT now() + make_interval(secs => $6) AS at) AS soon
RETURNING redrive_id
"""


# $8 cap, $9 redrive, then the policies: targets, operations, settle times, whether to be asked or told in doubt.
# An attempt is dated by its worker's clock, which may be hours off: by the database's it ended before now, and not
# before its lane was blocked (`since`).
# Targets take turns, so that none waits behind another's thousands. Written in key order: of two that are begun at once
# each waits for what the other has, and never the other way round as well.
def _choose(join: str) -> str:
    return f"""
WITH policy AS (
    SELECT * FROM unnest($10::smallint[], $11::text[], $12::float8[], $13::boolean[])
        AS p(target_id, operation, settle_s, ask)
), lanes AS (
    SELECT l.order_id, l.target_id, l.head, l.blocked, l.not_before AS since, NULL::bigint AS dead_letter_id,
           p.ask, p.settle_s
      FROM lane l {join} JOIN policy p USING (target_id, operation)
     WHERE {LANES_WANTED} AND NOT {LANE_BUSY} ORDER BY l.not_before, l.order_id LIMIT $8
), letters AS (
    SELECT NULL::bigint, NULL::smallint, NULL::smallint, d.code, d.created_at, d.dead_letter_id, true, NULL::float8
      FROM dead_letter d
     WHERE {LETTERS_WANTED} AND NOT {LETTER_BUSY} ORDER BY d.created_at, d.dead_letter_id LIMIT $8
), chosen AS (
    SELECT *, row_number() OVER (PARTITION BY target_id ORDER BY since, order_id, dead_letter_id) AS turn
      FROM (SELECT * FROM lanes UNION ALL SELECT * FROM letters) everything ORDER BY since LIMIT $8
)
INSERT INTO redrive_item (redrive_id, n, order_id, target_id, seq, dead_letter_id, blocked, not_before, ask, settled_at)
SELECT $9, row_number() OVER (ORDER BY target_id IS NULL, turn, target_id),
       order_id, target_id, head, dead_letter_id, blocked, since, coalesce(ask, true),
       (SELECT greatest(c.since, least(now(), max(a.ended_at))) FROM attempt a
         WHERE a.order_id = c.order_id AND a.target_id = c.target_id AND a.seq = c.head AND a.worker_id <> 0
        HAVING count(*) > 0)
       + make_interval(secs => c.settle_s)
  FROM chosen c
 ORDER BY order_id, target_id, dead_letter_id
    ON CONFLICT DO NOTHING
"""


_CHOOSE, _CHOOSE_ALL = _choose("INNER"), _choose("LEFT")

# By number: whatever the statistics say of a table that has just been filled, the key is the way to its rows.
_SAVE = """
UPDATE redrive_item i
   SET state = 'released', in_doubt = l.in_doubt, bursts = l.bursts, not_before = l.not_before,
       released_at = greatest(now(), i.settled_at)
  FROM lane l
 WHERE i.redrive_id = $1 AND i.n = ANY($2::text::integer[])
   AND l.order_id = i.order_id AND l.target_id = i.target_id
"""
_FREE = """
UPDATE lane l SET blocked = NULL, bursts = 0, in_doubt = i.ask, not_before = i.released_at
  FROM redrive_item i
 WHERE i.redrive_id = $1 AND i.n = ANY($2::text::integer[])
   AND l.order_id = i.order_id AND l.target_id = i.target_id
"""
_SETTLE = """
WITH ended AS (
    SELECT i.n, l.head IS NOT DISTINCT FROM i.seq AS again,
           (SELECT a.result FROM attempt a
             WHERE a.order_id = i.order_id AND a.target_id = i.target_id AND a.seq = i.seq
             ORDER BY a.ended_at DESC LIMIT 1) AS result
      FROM redrive_item i LEFT JOIN lane l ON l.order_id = i.order_id AND l.target_id = i.target_id
     WHERE i.redrive_id = $1 AND i.state = 'released' AND i.dead_letter_id IS NULL
       AND (l.order_id IS NULL OR l.head <> i.seq OR l.blocked IS NOT NULL)
)
UPDATE redrive_item i SET state = CASE WHEN e.again THEN 'again' ELSE 'done' END, result = e.result
  FROM ended e WHERE i.redrive_id = $1 AND i.n = e.n
"""
# The same event set aside again is an open dead letter of the same order, event and payload: the key of its index.
# Where that is behind another one which this redrive has still to release, it goes through once more with that one.
# (`IS TRUE` keeps the planner from a join: one look at the inbox, hashed; it may hold what an outage of Kafka left.)
_SETTLE_LETTERS = f"""
WITH gone AS MATERIALIZED (
    SELECT i.n, d.source, d.event_id, d.number, coalesce(d.body_sha256, sha256(d.body)) AS body
      FROM redrive_item i LEFT JOIN dead_letter d USING (dead_letter_id)
     WHERE i.redrive_id = $1 AND i.state = 'released' AND i.dead_letter_id IS NOT NULL
), coming AS MATERIALIZED (
    SELECT source, event_id FROM inbox
     WHERE EXISTS (SELECT 1 FROM gone) AND (event_id IN (SELECT event_id FROM gone)) IS TRUE
), seen AS (
    SELECT g.n, again.code,
           EXISTS (SELECT 1 FROM coming c WHERE c.source = g.source AND c.event_id = g.event_id) AS comes,
           again.code = '{BEHIND}' AND EXISTS (
               SELECT 1 FROM redrive_item w JOIN dead_letter d USING (dead_letter_id)
                WHERE w.redrive_id = $1 AND w.state = 'waiting' AND d.closed_at IS NULL AND d.number = g.number
           ) AS goes_on
      FROM gone g LEFT JOIN LATERAL (
           SELECT d.code FROM dead_letter d
            WHERE d.closed_at IS NULL AND d.number = g.number
              AND md5(d.source || chr(31) || d.event_id) = md5(g.source || chr(31) || g.event_id)
              AND coalesce(d.body_sha256, sha256(d.body)) = g.body) again ON true
)
UPDATE redrive_item i SET state = CASE WHEN s.code IS NULL THEN 'done' ELSE 'again' END
  FROM seen s
 WHERE i.redrive_id = $1 AND i.n = s.n AND CASE WHEN s.code IS NULL THEN NOT s.comes ELSE NOT s.goes_on END
"""
# A lane that nobody holds and whose time is still that of its release has not been claimed, or was given back unsent:
# whoever writes an outcome, or adopts it, moves `not_before`. (`coalesce` keeps the planner off the index of free
# lanes, which holds all of them: 7 s for 5,000.)
_UNSENT = """
SELECT i.n
  FROM redrive_item i JOIN lane l ON l.order_id = i.order_id AND l.target_id = i.target_id
 WHERE i.redrive_id = $1 AND i.state = 'released'
   AND l.head = i.seq AND coalesce(l.worker_id, -1) = -1 AND l.blocked IS NULL AND l.not_before = i.released_at
 ORDER BY l.order_id, l.target_id
   FOR UPDATE OF l
"""
_PUT_BACK = """
UPDATE lane l SET blocked = i.blocked, in_doubt = i.in_doubt, bursts = i.bursts, not_before = i.not_before
  FROM redrive_item i
 WHERE i.redrive_id = $1 AND i.n = ANY($2::text::integer[])
   AND l.order_id = i.order_id AND l.target_id = i.target_id
"""

_REDRIVES = f"""
SELECT redrive_id, does, state, wanted, {private_or_plain("reason")} AS reason, author, forced,
       per_s, created_at,
       coalesce(c.first_at, CASE WHEN state = 'running' THEN coalesce(due_at, next_at) END) AS starts_at,
       coalesce(due_at, next_at) AS next_at, ended_at, ended_by,
       c.total, c.waiting, c.released, c.done, c.found, c.withdrawn, c.again, c.skipped, c.kept, c.undone, c."left"
  FROM redrive r CROSS JOIN LATERAL (
       SELECT count(*) AS total, min(i.released_at) AS first_at,
              count(*) FILTER (WHERE i.state = 'waiting') AS waiting,
              count(*) FILTER (WHERE i.state = 'released') AS released,
              count(*) FILTER (WHERE i.state = 'done') AS done,
              count(*) FILTER (WHERE i.state = 'done' AND i.result = {int(Result.FOUND)}) AS found,
              count(*) FILTER (WHERE i.state = 'done' AND i.result = {int(Result.WITHDRAWN)}) AS withdrawn,
              count(*) FILTER (WHERE i.state = 'again') AS again,
              count(*) FILTER (WHERE i.state = 'skipped') AS skipped,
              count(*) FILTER (WHERE i.state = 'kept') AS kept,
              count(*) FILTER (WHERE i.state = 'undone') AS undone,
              count(*) FILTER (WHERE i.state = 'left') AS "left"
         FROM redrive_item i WHERE i.redrive_id = r.redrive_id) c
 WHERE ($1::boolean = false OR r.state = 'running') AND ($2::bigint IS NULL OR r.redrive_id < $2)
"""
