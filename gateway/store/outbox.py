"""The outbox after the decision: claims, outcomes, leases and adoption.

A lane, (order, target), is what is claimed. Two fences make adoption safe: a worker sends only before the end of its
lease, and every transaction that claims or gives birth holds a key-share lock on its `worker` row, which the
adopter deletes. An outcome is written only where the lane is still claimed by the worker and its head is the
command that was sent, so a worker back from the dead writes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import asyncpg
import msgspec

from gateway.core.delivery import Delivery, Held, Result
from gateway.core.errors import Fenced, OrdergateError
from gateway.core.event import ConnectionName
from gateway.core.order import Content, Operation, Order, Register, as_withdrawn
from gateway.store.identity import REFUSED_RESTORED, is_restored, note_identity
from gateway.store.inbox import put_in
from gateway.store.orders import decode_state, encode_state, holds_lease
from gateway.store.sql import DAMAGED, CannotOpen, CannotRead, Connection, Names, Private, Unopened, as_array
from gateway.store.stock import reconsider
from gateway.store.vault import ENTER_KEY, lacking, one_at_a_time

Lane = tuple[int, int]
"""(order id, target id)."""


class AttemptRow(NamedTuple):
    """One ended attempt, as COPY takes it. `code` names what went wrong, `detail` may quote anything."""

    order_id: int
    target_id: int
    seq: int
    worker_id: int
    ended_at: datetime
    took_ms: int
    result: Result
    code: str | None
    detail: Private | None


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What becomes of a lane's head. Exactly one of: done; blocked (for a person); otherwise it waits `delay_s`, or
    `keeps_place` as what was not begun: due since its lane was opened, and claimed before all that came later.

    `bursts` counts anew from where doubt begins, here and wherever it begins in the outbox: what a person gets after so
    many must not be what an outage has counted.
    """

    lane: Lane
    seq: int
    done: bool = False
    blocked: str | None = None
    delay_s: float = 0.0
    keeps_place: bool = False
    in_doubt: bool = False
    bursts: int = 0


class Written(msgspec.Struct, frozen=True):
    """`advanced`: lanes that go on to their next command, still held. `fenced`: lanes that are not ours any more."""

    advanced: dict[Lane, int]
    fenced: frozenset[Lane]


async def start_worker(
    pool: asyncpg.Pool, *, name: str, lease_s: float, key_id: str | None = None, opens: Collection[str] | None = None
) -> int:
    """Register this process and return its worker id; ids are never used twice.

    `key_id`: of the key it seals with; `opens`: of all it has, None where that is not known. Raises CannotOpen where it
    lacks one that seals: another gateway may have entered it since its parent looked. Raises OrdergateError where the
    database has been restored since then.
    """
    async with pool.acquire() as connection, connection.transaction():
        await one_at_a_time(connection)
        if await is_restored(connection):
            raise OrdergateError(REFUSED_RESTORED)
        if opens is not None:
            missing = await connection.fetch(_SEALS_WITHOUT, sorted(opens))
            if missing:
                raise CannotOpen(lacking([row[0] for row in missing]))
        if key_id is not None:
            # Its parent may have entered it long ago, and a reseal have struck it off while no worker had it.
            await connection.execute(ENTER_KEY, key_id)
        return int(
            await connection.fetchval(
                "INSERT INTO worker (name, lease_s, key_id, opens) VALUES ($1, $2, $3, $4) RETURNING worker_id",
                name,
                lease_s,
                key_id,
                None if opens is None else sorted(opens),
            )
        )


_SEALS_WITHOUT = """
SELECT key_id FROM sealing_key WHERE lost_at IS NULL AND NOT key_id = ANY ($1::text[]) ORDER BY key_id
"""


class Renewed(NamedTuple):
    """What a renewal shows of the database's clock: whether it has been set back since the last one, by more than a
    lease, and how many seconds have passed by it."""

    set_back: bool
    passed_s: float


async def renew_lease(pool: asyncpg.Pool, worker_id: int) -> Renewed:
    """Push the lease out from now. Raises Fenced when the worker has been replaced."""
    row = await pool.fetchrow(
        "UPDATE worker w SET renewed_at = now() FROM worker before"
        " WHERE w.worker_id = $1 AND before.worker_id = w.worker_id"
        " RETURNING before.renewed_at - make_interval(secs => before.lease_s) > now(),"
        " extract(epoch FROM now() - before.renewed_at)::float8",
        worker_id,
    )
    if row is None:
        raise Fenced(f"worker {worker_id} has been replaced: its lease ran out and another worker adopted its lanes")
    return Renewed(*row)


async def retire_worker(pool: asyncpg.Pool, worker_id: int) -> int:
    """Orderly end: free what this worker still holds, without doubt about any of it, and remove it.

    Only for a worker that has no attempt under way. Returns how many lanes were freed.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("DELETE FROM worker WHERE worker_id = $1", worker_id)
        status = await connection.execute(
            "WITH own AS (SELECT order_id, target_id FROM lane WHERE worker_id = $1"
            " ORDER BY order_id, target_id FOR UPDATE)"
            " UPDATE lane l SET worker_id = NULL FROM own"
            " WHERE l.order_id = own.order_id AND l.target_id = own.target_id",
            worker_id,
        )
    await pool.execute("NOTIFY ordergate_lane")
    return int(status.rsplit(" ", 1)[1])


async def adopt(
    pool: asyncpg.Pool,
    *,
    settle_s: Mapping[tuple[int, str], float],
    dead: Sequence[int] = (),
    set_back: bool = False,
    set_forward: bool = False,
) -> dict[int, int]:
    """Free the lanes of workers whose lease ran out (or that are known `dead`): worker id → lanes freed.

    Where the database's clock has been set back (`set_back`, or a lease was renewed in the future), that lease counts
    from now, and what waits for a time is due now: lanes, redrives that have begun, stock levels that a shop did not
    take, the check of the ledger. Otherwise a worker that has died would keep its lanes, and the others would wait, for
    as many hours as the clock was ahead.

    Where it is known to have been `set_forward`, every lease counts from now: that it looks run out says nothing of who
    has died, and who lives goes on sending until his next heartbeat.

    Freed lanes are in doubt; those of an operation in `settle_s` wait so long before they are asked about.
    """
    settling = (
        [target_id for target_id, _ in settle_s],
        [operation for _, operation in settle_s],
        list(settle_s.values()),
    )
    # By itself and first: it may take long, and the rows of workers must not be locked meanwhile.
    if set_back or await pool.fetchval(f"SELECT EXISTS (SELECT 1 FROM worker WHERE {_RENEWED_AHEAD})"):
        await pool.execute(_BRING_FORWARD, *settling)
        for statement in _GO_ON:
            await pool.execute(statement)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "UPDATE worker SET renewed_at = now() WHERE worker_id IN (SELECT worker_id FROM worker"
            f" WHERE $1 OR {_RENEWED_AHEAD} ORDER BY worker_id FOR NO KEY UPDATE SKIP LOCKED)",
            set_forward,
        )
        rows = await connection.fetch(
            "DELETE FROM worker WHERE worker_id IN (SELECT worker_id FROM worker"
            " WHERE renewed_at + make_interval(secs => lease_s) < now() OR worker_id = ANY($1::bigint[])"
            " ORDER BY worker_id FOR UPDATE SKIP LOCKED) RETURNING worker_id, name, started_at",
            list(dead),
        )
        if not rows:
            return {}
        gone = {row[0]: 0 for row in rows}
        freed = await connection.fetch(_ADOPT, *settling, list(gone))
        for row in freed:
            gone[row[0]] = row[1]
        # Its row is gone: this is what is left of it, for whoever tells people.
        await connection.executemany(
            "INSERT INTO worker_lost (worker_id, name, started_at, lanes) VALUES ($1, $2, $3, $4)",
            [(*row, gone[row[0]]) for row in rows],
        )
    await pool.execute("NOTIFY ordergate_lane")
    return gone


_RENEWED_AHEAD = "renewed_at - make_interval(secs => lease_s) > now()"


async def own_lanes(pool: asyncpg.Pool, worker_id: int) -> set[Lane]:
    """The lanes this worker has claimed, as the database sees it."""
    rows = await pool.fetch("SELECT order_id, target_id FROM lane WHERE worker_id = $1", worker_id)
    return {(row[0], row[1]) for row in rows}


async def free_lanes(pool: asyncpg.Pool, lanes: Sequence[Lane], *, worker_id: int) -> int:
    """Free lanes of this worker that nobody holds, without doubt. Returns how many there were."""
    status = await pool.execute(
        "WITH own AS (SELECT l.order_id, l.target_id FROM lane l"
        " JOIN unnest($1::text::bigint[], $2::text::smallint[]) AS d(order_id, target_id)"
        " ON l.order_id = d.order_id AND l.target_id = d.target_id"
        " WHERE l.worker_id = $3 ORDER BY l.order_id, l.target_id FOR UPDATE OF l)"
        " UPDATE lane l SET worker_id = NULL FROM own"
        " WHERE l.order_id = own.order_id AND l.target_id = own.target_id",
        as_array(lane[0] for lane in lanes),
        as_array(lane[1] for lane in lanes),
        worker_id,
    )
    await pool.execute("NOTIFY ordergate_lane")
    return int(status.rsplit(" ", 1)[1])


async def doubt_everything(pool: asyncpg.Pool) -> int:
    """After a restore from backup: every open lane is in doubt. Returns how many there are.

    So is every lane that an event from before now gives birth to: the backup does not know what was sent since it. A
    redrive that still runs in it asks as well, even one that was forced; one that resolves is stopped: that cannot be
    undone, and whether somebody has stopped it since is not known. What shops were told of stock is not known either.
    What waits for a person has waited as long as before.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("INSERT INTO restoration DEFAULT VALUES")
        await note_identity(connection, anew=True)  # the next start is not refused
        await connection.execute(_KEEP_UNRESOLVED)
        await connection.execute("UPDATE redrive_item SET ask = true WHERE state = 'waiting' AND NOT ask")
        await connection.execute("UPDATE listing SET sent = NULL, sending = NULL")
        status = await connection.execute(
            "UPDATE lane SET in_doubt = true, bursts = CASE WHEN in_doubt THEN bursts ELSE 0 END,"
            " worker_id = NULL, not_before = CASE WHEN blocked IS NULL THEN now() ELSE not_before END"
        )
    return int(status.rsplit(" ", 1)[1])


async def doubt_before(pool: asyncpg.Pool) -> datetime | None:
    """Events from before this instant may have been acted on by a gateway whose database is lost; None: there was none.

    A restore is forgotten after 90 days: nobody tells anything new of what is older.
    """
    found: datetime | None = await pool.fetchval(
        "SELECT max(restored_at) FROM restoration WHERE restored_at > now() - interval '90 days'"
    )
    return found


async def doubt(connection: Connection, lanes: Sequence[Lane]) -> None:
    """Mark `lanes` as in doubt, in the caller's transaction."""
    await connection.execute(_DOUBT, as_array(lane[0] for lane in lanes), as_array(lane[1] for lane in lanes))


async def newest_event(pool: asyncpg.Pool) -> datetime | None:
    """When the newest of the events that are known was taken."""
    found: datetime | None = await pool.fetchval("SELECT max(taken_at) FROM event", timeout=600)
    return found


async def claim(
    pool: asyncpg.Pool,
    *,
    worker_id: int,
    target: ConnectionName,
    operation: Operation,
    limit: int,
    names: Names,
    certain: int | None = None,
    doubtful: int | None = None,
) -> list[Held]:
    """Up to `limit` free lanes of one gate that are due, oldest due first, now claimed by this worker.

    At most `certain` of them are in no doubt, and `doubtful` in doubt; None: as many as are due. Those in doubt that
    were asked about least come first: what a target never answers about would otherwise be what it is probed with, time
    and again. Lanes another worker is claiming are skipped, not waited for. Raises Fenced.
    """
    target_id = names.id(target)
    held = []
    async with pool.acquire() as connection, connection.transaction():
        if not await holds_lease(connection, worker_id):
            raise Fenced(f"worker {worker_id} has been replaced")
        gate = (target_id, str(operation), limit, worker_id)
        certain, doubtful = (limit if part is None else min(part, limit) for part in (certain, doubtful))
        if certain == doubtful == limit:
            rows = await connection.fetch(_CLAIM, *gate)
        else:
            rows = await connection.fetch(_CLAIM_APART, *gate, certain, doubtful)
        edits = await _edits(connection, [(row[0], target_id, row[1]) for row in rows])
        for order_id, seq, in_doubt, bursts, taken_at, state in rows:
            edited = edits.get((order_id, target_id, seq))
            one = _held(
                order_id=order_id,
                seq=seq,
                state=state,
                target=target,
                edited=edited,
                in_doubt=in_doubt,
                bursts=bursts,
                taken_at=taken_at,
            )
            if one is None:
                await _block(connection, (order_id, target_id), state, edited)
            else:
                held.append(one)
    return held


async def overtaken(pool: asyncpg.Pool, *, worker_id: int, target: ConnectionName, names: Names) -> set[int]:
    """Orders whose create this worker holds while something else waits behind it: it may not be wanted any more."""
    rows = await pool.fetch(_OVERTAKEN, worker_id, names.id(target))
    return {row[0] for row in rows}


async def withdraw(
    pool: asyncpg.Pool, *, worker_id: int, target: ConnectionName, creates: Mapping[int, int], names: Names
) -> set[int]:
    """End the lanes of `creates` (order → the seq of its create) of which nothing has left and nothing but the cancel
    follows; you get the orders whose creates this worker still holds.

    Both are kept as WITHDRAWN. Nothing has left where no attempt was begun, or none came to a connection or further
    than to be throttled; whatever else a target said, it may have kept the order. Safe to repeat: a create that was
    planned anew meanwhile is another one.

    They are decided again: what was said of them as sent does not hold any more, and what the shop wants after all is
    sent. Not where a person has dealt with that: he may have entered it in the warehouse by hand.
    """
    async with pool.acquire() as connection, connection.transaction():
        # First, like every writer; an order that cannot be read keeps its commands.
        rows = await connection.fetch(_LOCK_ORDERS, as_array(creates))
        orders = {row[0]: order for row in rows if (order := _readable(row[1])) is not None}
        these = (worker_id, names.id(target), as_array(orders), as_array(creates[order_id] for order_id in orders))
        ended = await connection.fetch(
            _WITHDRAW, *these, int(Result.WITHDRAWN), int(Result.FAILED), int(Result.THROTTLED)
        )
        if ended:
            dealt_with = {row[0] for row in await connection.fetch(_REOPENED_BY_HAND, [row[0] for row in ended])}
            gone = {row[0]: as_withdrawn(orders[row[0]], target) for row in ended if row[0] not in dealt_with}
            await connection.execute(_NOTE_WITHDRAWN, list(gone), [encode_state(order) for order in gone.values()])
            now = datetime.now(UTC)
            await put_in(connection, [reconsider(order.number, order.connection, now) for order in gone.values()])
        rows = await connection.fetch(
            _STILL_HELD, worker_id, names.id(target), as_array(creates), as_array(creates.values())
        )
    return {row[0] for row in rows}


def _readable(state: bytes) -> Order | None:
    try:
        return None if isinstance(state, Unopened) else decode_state(state)
    except msgspec.MsgspecError:
        return None


async def load_held(pool: asyncpg.Pool, lanes: Mapping[Lane, int], *, names: Names) -> list[Held]:
    """The commands this worker's advanced lanes go on to: lane → seq."""
    rows = await pool.fetch(
        "SELECT order_id, state, updated_at FROM orders WHERE order_id = ANY($1::bigint[])",
        [order_id for order_id, _ in lanes],
    )
    states = {row[0]: (row[1], row[2]) for row in rows}
    found = []
    for (order_id, target_id), seq in lanes.items():
        state, updated_at = states[order_id]
        one = _held(order_id=order_id, seq=seq, state=state, target=names.name(target_id), taken_at=updated_at)
        if one is None:
            await _block(pool, (order_id, target_id), state)
        else:
            found.append(one)
    return found


async def _block(connection: Connection, lane: Lane, *read: bytes | None) -> None:
    """Put a lane whose order cannot be read before a person: its key is missing, a later release's row, or a defect."""
    await connection.execute(
        "UPDATE lane SET worker_id = NULL, blocked = $3 WHERE order_id = $1 AND target_id = $2",
        *lane,
        "sealed" if any(isinstance(stored, Unopened) for stored in read) else "unreadable",
    )


async def write_outcomes(
    pool: asyncpg.Pool, *, worker_id: int, attempts: Sequence[AttemptRow], outcomes: Sequence[Outcome]
) -> Written:
    """Record ended attempts and what becomes of their lanes, in one transaction."""
    done = [o for o in outcomes if o.done]
    open_ = [o for o in outcomes if not o.done]
    advanced: dict[Lane, int] = {}
    settled: set[Lane] = set()
    async with pool.acquire() as connection, connection.transaction():
        if attempts:
            await connection.copy_records_to_table("attempt", columns=_ATTEMPT_COLUMNS, records=attempts)
        if done:
            rows = await connection.fetch(_FINISH, *_keys(done), worker_id)
            settled |= {(row[0], row[1]) for row in rows}
            rest = [o for o in done if o.lane not in settled]
            if rest:
                for row in await connection.fetch(_ADVANCE, *_keys(rest), worker_id):
                    advanced[(row[0], row[1])] = row[2]
        if open_:
            rows = await connection.fetch(
                _WAIT,
                *_keys(open_),
                worker_id,
                [None if o.keeps_place else timedelta(seconds=o.delay_s) for o in open_],
                [o.in_doubt for o in open_],
                [o.bursts for o in open_],
                [o.blocked for o in open_],
            )
            settled |= {(row[0], row[1]) for row in rows}
    return Written(advanced, frozenset(o.lane for o in outcomes if o.lane not in settled and o.lane not in advanced))


async def read_edit(connection: Connection, key: tuple[int, int, int]) -> Content | None:
    """What a person last made of the content of a delivery (order id, target id, seq). Raises CannotRead."""
    body = (await _edits(connection, [key])).get(key)
    if isinstance(body, Unopened):
        raise CannotOpen(body.why)
    try:
        return None if body is None else _read_content(body)
    except msgspec.MsgspecError as error:
        raise CannotRead(DAMAGED) from error


async def _edits(connection: Connection, keys: Sequence[tuple[int, int, int]]) -> dict[tuple[int, int, int], bytes]:
    if not keys:
        return {}
    rows = await connection.fetch(
        "SELECT DISTINCT ON (order_id, target_id, seq) order_id, target_id, seq, body FROM delivery_edit"
        " WHERE order_id = ANY($1::bigint[]) ORDER BY order_id, target_id, seq, edit_id DESC",
        [key[0] for key in keys],
    )
    return {(row[0], row[1], row[2]): row[3] for row in rows}


def _read_content(body: bytes) -> Content:
    try:
        return _decode_content(body)
    except UnicodeDecodeError as error:  # none of msgspec's own errors
        raise msgspec.DecodeError(str(error)) from error


_decode_content = msgspec.json.Decoder(Content).decode


def _held(
    *,
    order_id: int,
    seq: int,
    state: bytes,
    target: ConnectionName,
    edited: bytes | None = None,
    in_doubt: bool = False,
    bursts: int = 0,
    taken_at: datetime | None = None,
) -> Held | None:
    """The delivery as a worker holds it; None when the order or its edit cannot be read, or it lacks the command."""
    try:
        order = decode_state(state)
        content = None if edited is None else _read_content(edited)
    except msgspec.MsgspecError:
        return None
    if content is not None:
        # Adapters need not know of edits: the order they are given carries what is to be sent.
        version, rank = (order.content.version, order.content.rank) if order.content is not None else (0, 0)
        order = msgspec.structs.replace(order, content=Register(version, rank, content))
    command = next((c for c in order.commands if c.target == target and c.seq == seq), None)
    if command is None:
        return None
    delivery = Delivery(order_id=order_id, order=order, command=command)
    return Held(delivery=delivery, in_doubt=in_doubt, bursts=bursts, taken_at=taken_at)


def _keys(outcomes: Sequence[Outcome]) -> tuple[str, str, str]:
    return (
        as_array(o.lane[0] for o in outcomes),
        as_array(o.lane[1] for o in outcomes),
        as_array(o.seq for o in outcomes),
    )


_ATTEMPT_COLUMNS = "order_id target_id seq worker_id ended_at took_ms result code private_detail".split()

# Every statement below locks its lanes in key order first, like all other writers of lanes.
_OWN = """
WITH own AS (
    SELECT l.order_id, l.target_id
      FROM lane l
      JOIN unnest($1::text::bigint[], $2::text::smallint[], $3::text::smallint[]) AS d(order_id, target_id, seq)
        ON l.order_id = d.order_id AND l.target_id = d.target_id AND l.head = d.seq
     WHERE l.worker_id = $4
     ORDER BY l.order_id, l.target_id
       FOR UPDATE OF l
)
"""
_FINISH = (
    _OWN
    + """
DELETE FROM lane l USING own
 WHERE l.order_id = own.order_id AND l.target_id = own.target_id AND l.tail = l.head
RETURNING l.order_id, l.target_id
"""
)
_ADVANCE = (
    _OWN
    + """
UPDATE lane l
   SET head = l.head + 1, in_doubt = false, bursts = 0,
       operation = (SELECT d.operation FROM delivery d
                     WHERE d.order_id = l.order_id AND d.target_id = l.target_id AND d.seq = l.head + 1)
  FROM own
 WHERE l.order_id = own.order_id AND l.target_id = own.target_id AND l.tail > l.head
RETURNING l.order_id, l.target_id, l.head
"""
)
_WAIT = (
    _OWN
    + """
UPDATE lane l
   SET worker_id = NULL, not_before = coalesce(now() + n.delay, least(l.opened_at, now())), in_doubt = n.in_doubt,
       bursts = n.bursts, blocked = n.blocked
  FROM own, unnest($1::text::bigint[], $2::text::smallint[], $5::interval[], $6::boolean[], $7::smallint[], $8::text[])
    AS n(order_id, target_id, delay, in_doubt, bursts, blocked)
 WHERE l.order_id = own.order_id AND l.target_id = own.target_id
   AND n.order_id = own.order_id AND n.target_id = own.target_id
RETURNING l.order_id, l.target_id
"""
)


_OVERTAKEN = """
SELECT order_id FROM lane WHERE worker_id = $1 AND target_id = $2 AND operation = 'create' AND tail > head
"""
# Codes of `gateway.sdk.http.NotSent`: no connection came about. What a redrive sends unasked is in no doubt any
# more, and may have arrived all the same: a worker that dies leaves no attempt.
_WITHDRAW = """
WITH own AS (
    SELECT l.order_id, l.target_id, l.head, l.tail
      FROM lane l JOIN unnest($3::text::bigint[], $4::text::smallint[]) AS d(order_id, seq)
        ON l.order_id = d.order_id AND l.head = d.seq
     WHERE l.worker_id = $1 AND l.target_id = $2 AND l.tail = l.head + 1 AND NOT l.in_doubt
     ORDER BY l.order_id, l.target_id
       FOR UPDATE OF l
), unwanted AS (
    SELECT o.* FROM own o
      JOIN delivery c ON (c.order_id, c.target_id, c.seq) = (o.order_id, o.target_id, o.head) AND c.operation = 'create'
      JOIN delivery n ON (n.order_id, n.target_id, n.seq) = (o.order_id, o.target_id, o.tail) AND n.operation = 'cancel'
     WHERE NOT EXISTS (
           SELECT 1 FROM attempt a
            WHERE a.order_id = o.order_id AND a.target_id = o.target_id AND a.seq = o.head AND a.result <> $7
              AND NOT (a.result = $6 AND coalesce(a.code, '') IN ('connect', 'connect_timeout', 'tls', 'pool')))
       AND NOT EXISTS (
           SELECT 1 FROM redrive_item i
            WHERE i.order_id = o.order_id AND i.target_id = o.target_id AND i.seq = o.head AND i.in_doubt AND NOT i.ask)
), ended AS (
    DELETE FROM lane l USING unwanted u WHERE l.order_id = u.order_id AND l.target_id = u.target_id
    RETURNING l.order_id, l.target_id, u.head, u.tail
)
INSERT INTO attempt (order_id, target_id, seq, worker_id, ended_at, took_ms, result, code)
SELECT order_id, target_id, seq, $1, now(), 0, $5::smallint, 'cancelled'
  FROM ended CROSS JOIN LATERAL (VALUES (head), (tail)) AS both_of_them(seq)
RETURNING order_id
"""
_STILL_HELD = """
SELECT l.order_id
  FROM lane l JOIN unnest($3::text::bigint[], $4::text::smallint[]) AS d(order_id, seq)
    ON l.order_id = d.order_id AND l.head = d.seq
 WHERE l.worker_id = $1 AND l.target_id = $2
"""
_LOCK_ORDERS = """
SELECT order_id, state FROM orders WHERE order_id = ANY($1::text::bigint[]) ORDER BY number FOR UPDATE
"""
# Whoever writes such a row holds its order's lock.
_REOPENED_BY_HAND = """
SELECT order_id FROM conflict_handled
 WHERE order_id = ANY($1::bigint[]) AND 'reopened_after_cancel' = ANY (string_to_array(conflicts, ' '))
"""
_NOTE_WITHDRAWN = """
UPDATE orders o SET state = n.state FROM unnest($1::bigint[], $2::bytea[]) AS n(order_id, state)
 WHERE o.order_id = n.order_id
"""


def _due(limit: str, which: str = "") -> str:
    return f"""
    SELECT order_id, target_id, opened_at FROM lane
     WHERE target_id = $1 AND operation = $2 AND worker_id IS NULL AND blocked IS NULL AND not_before <= now() {which}
     ORDER BY not_before
     LIMIT {limit}
       FOR UPDATE SKIP LOCKED
"""


_CLAIMED = """
, claimed AS (
    UPDATE lane l SET worker_id = $4 FROM free
     WHERE l.order_id = free.order_id AND l.target_id = free.target_id
    RETURNING l.order_id, l.head, l.in_doubt, l.bursts, l.opened_at
)
SELECT c.order_id, c.head, c.in_doubt, c.bursts, c.opened_at, o.state
  FROM claimed c JOIN orders o USING (order_id)
 ORDER BY CASE WHEN c.in_doubt THEN c.bursts END, c.opened_at, c.order_id
"""
_CLAIM = f"WITH free AS ({_due('$3')}) {_CLAIMED}"
# What is not in doubt may be behind all that is, and the other way round: two looks. Of both, those that were opened
# first: what a dead worker held is due when it has settled, behind all that has waited since before.
_CLAIM_APART = f"""
WITH certain AS ({_due("$5", "AND NOT in_doubt")}), doubtful AS ({_due("$6", "AND in_doubt")}), free AS (
    SELECT * FROM certain UNION ALL SELECT * FROM doubtful ORDER BY opened_at LIMIT $3
) {_CLAIMED}
"""
_KEEP_UNRESOLVED = """
WITH stopped AS (
    UPDATE redrive SET state = 'stopped', ended_at = now(), ended_by = 'ordergate'
     WHERE does = 'resolve' AND state = 'running' RETURNING redrive_id
)
UPDATE redrive_item SET state = 'kept' WHERE state = 'waiting' AND redrive_id IN (SELECT redrive_id FROM stopped)
"""
_DOUBT = """
WITH these AS (
    SELECT l.order_id, l.target_id
      FROM lane l
      JOIN unnest($1::text::bigint[], $2::text::smallint[]) AS d(order_id, target_id)
        ON l.order_id = d.order_id AND l.target_id = d.target_id
     ORDER BY l.order_id, l.target_id
       FOR UPDATE OF l
)
UPDATE lane l SET in_doubt = true FROM these
 WHERE l.order_id = these.order_id AND l.target_id = these.target_id
"""
# What need not settle keeps its place.
_SETTLED_AT = """
coalesce(now() + make_interval(secs =>
    (SELECT s.settle_s FROM unnest($1::smallint[], $2::text[], $3::float8[]) AS s(target_id, operation, settle_s)
      WHERE s.target_id = l.target_id AND s.operation = l.operation)), least(l.opened_at, now()))
"""
_ADOPT = f"""
WITH own AS (
    SELECT order_id, target_id, worker_id FROM lane
     WHERE worker_id = ANY($4::bigint[]) ORDER BY order_id, target_id FOR UPDATE
), freed AS (
    UPDATE lane l
       SET worker_id = NULL, in_doubt = true, bursts = CASE WHEN l.in_doubt THEN l.bursts ELSE 0 END,
           not_before = {_SETTLED_AT}
      FROM own
     WHERE l.order_id = own.order_id AND l.target_id = own.target_id
    RETURNING own.worker_id
)
SELECT worker_id, count(*) FROM freed GROUP BY worker_id
"""
# Sooner than they were to be, some of them: that costs a request. What is in doubt settles all the same.
_BRING_FORWARD = f"""
WITH waiting AS (
    SELECT order_id, target_id FROM lane
     WHERE worker_id IS NULL AND blocked IS NULL AND not_before > now() ORDER BY order_id, target_id FOR UPDATE
)
UPDATE lane l SET not_before = least(l.not_before, CASE WHEN l.in_doubt THEN {_SETTLED_AT} ELSE now() END)
  FROM waiting w WHERE l.order_id = w.order_id AND l.target_id = w.target_id
"""

# What somebody holds at this moment is given its time by the clock as it is now. A redrive that has not begun waits:
# until then its author may stop it. One that resolves has no `next_at` (migration 0014).
_GO_ON = (
    """
UPDATE redrive SET next_at = CASE does WHEN 'send' THEN least(next_at, now()) ELSE next_at END,
       due_at = CASE WHEN due_at > now() THEN now() ELSE due_at END
 WHERE redrive_id IN (
       SELECT redrive_id FROM redrive r WHERE state = 'running' AND coalesce(due_at, next_at) > now()
          AND EXISTS (SELECT 1 FROM redrive_item i WHERE i.redrive_id = r.redrive_id AND i.state <> 'waiting')
          FOR UPDATE SKIP LOCKED)
""",
    """
UPDATE listing SET not_before = least(not_before, now()), lower_from = least(lower_from, now())
 WHERE listing_id IN (
       SELECT listing_id FROM listing WHERE greatest(not_before, lower_from) > now()
        ORDER BY listing_id FOR UPDATE SKIP LOCKED)
""",
    """
UPDATE ledger_check SET next_at = least(next_at, now()), sum_at = least(sum_at, now())
 WHERE only_row IN (SELECT only_row FROM ledger_check FOR UPDATE SKIP LOCKED)
""",
)
