"""What is the matter, and what people have been told: sightings, conditions, notices and the messages they went out in.

Everything but a worker's own sightings is written by the one worker that holds the watch's lock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal

import asyncpg
import msgspec

from gateway.core.notice import (
    FAILING,
    Alive,
    Change,
    Condition,
    Facts,
    Group,
    Imbalance,
    Key,
    Kind,
    Lost,
    Notice,
    NotRenewed,
    OffPlaces,
    Refusal,
    Seen,
    Sighting,
    Unread,
    Waiting,
    Words,
)
from gateway.store.credentials import read_token
from gateway.store.ship_by import near_ship_by
from gateway.store.sql import Connection
from gateway.store.work import IS_HELD_BY_INDEX

Result = Literal["sent", "failed", "throttled", "unknown", "unauthorised", "rejected"]

_KEPT = timedelta(days=90)
_KINDS = list(Kind)
"""A later release may have written others: its own workers see to those."""
_LOCKED_WITHIN_MS = 200
"""So long a table that somebody has locked is waited for: one of many things that people are told of stands in it."""
_NOTHING = Facts()
_MOST_WAITING = 5000
"""Notices looked at in one go; the rest has its turn when these are told."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What has gone through one outlet: `used` of its rate, `last_at` it was used, and how it fares.

    `failures` in a row, the first of them at `failing_since`.
    """

    used: int = 0
    last_at: datetime | None = None
    hold_until: datetime | None = None
    failures: int = 0
    failing_since: datetime | None = None


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A message about to leave. `key` stays the same when it is sent again."""

    channel: str
    outlet: str
    title: str
    body: str
    people: tuple[str, ...]
    notices: tuple[int, ...]
    key: str = ""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended. `again`: it is sent as it is once more, so its notices stay with it."""

    result: Result
    code: str = ""
    detail: str = ""
    hold_until: datetime | None = None
    again: bool = False


# --- what is the matter


async def sight(pool: asyncpg.Pool, worker_id: int, *, new: Collection[Sighting], gone: Collection[Sighting]) -> None:
    """Write what this worker sees since now, or sees with another code, and forget what it does not see any more.

    Raises asyncpg.ForeignKeyViolationError where the worker has been replaced.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "DELETE FROM sighting s USING unnest($2::text[], $3::text[]) AS g(kind, subject)"
            " WHERE s.worker_id = $1 AND s.kind = g.kind AND s.subject = g.subject",
            worker_id,
            [one.kind for one in gone],
            [one.subject for one in gone],
        )
        await connection.execute(
            "INSERT INTO sighting (worker_id, kind, subject, code)"
            " SELECT $1, n.* FROM unnest($2::text[], $3::text[], $4::text[]) AS n"
            " ON CONFLICT (worker_id, kind, subject) DO UPDATE SET code = excluded.code",
            worker_id,
            [one.kind for one in new],
            [one.subject for one in new],
            [one.code for one in new],
        )


async def read_changing(connection: Connection) -> Facts:
    """The facts that cost next to nothing to read: sightings, refused authorisations, shops, workers."""
    seen = await connection.fetch(
        "SELECT kind, subject, count(*), min(since), min(code) FROM sighting GROUP BY kind, subject"
    )
    refusals = await connection.fetch(
        "SELECT c.name, r.refused, coalesce(r.refused_at, r.changed_at)"
        " FROM credential r JOIN connection c USING (connection_id) WHERE r.refused IS NOT NULL"
    )
    not_renewed = await connection.fetch(
        "SELECT c.name, r.renewal_refused, coalesce(r.renewal_refused_at, r.changed_at), r.token"
        " FROM credential r JOIN connection c USING (connection_id) WHERE r.renewal_refused IS NOT NULL"
    )
    # One that nobody owns is not being read either, and the worker that is gone is told of.
    unread = await connection.fetch(
        "SELECT c.name, p.failing, p.failing_at FROM pull p JOIN connection c USING (connection_id)"
        " JOIN duty d USING (connection_id) LEFT JOIN credential r USING (connection_id)"
        " WHERE p.failing IS NOT NULL AND d.worker_id IS NOT NULL AND NOT c.paused AND r.refused IS NULL"
    )
    alive = await connection.fetch("SELECT worker_id, name, started_at FROM worker")
    lost = await connection.fetch(
        "SELECT worker_id, name, started_at, lost_at, lanes, replaced_by FROM worker_lost"
        " WHERE replaced_by IS NULL OR lost_at > now() - interval '1 day'"
    )
    return Facts(
        seen={(row[0], row[1]): Seen(row[2], row[3], row[4]) for row in seen},
        refusals={row[0]: Refusal(row[1], row[2]) for row in refusals},
        not_renewed={row[0]: NotRenewed(row[1], row[2], read_token(row[3]).expires_at) for row in not_renewed},
        unread={row[0]: Unread(row[1], row[2]) for row in unread},
        alive=tuple(Alive(*row) for row in alive),
        lost=tuple(Lost(*row) for row in lost),
    )


async def read_waiting(
    connection: Connection, known: Facts = _NOTHING, *, ship_by_lead: timedelta | None = None
) -> Facts:
    """The facts that are counted: open lanes, dead letters, conflicts, holds, levels, the ledger, the inbox.

    Reads every open lane. With `ship_by_lead` also what is to be shipped so soon; without, that is as `known` says. So
    is what stands in a table that somebody has locked, or takes longer than the server lets it.
    """
    found: dict[str, Any] = {}
    counts = dict(_COUNTS)
    if ship_by_lead is not None:
        counts["nearing"] = partial(near_ship_by, lead=ship_by_lead)
    for name, count in counts.items():
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = {_LOCKED_WITHIN_MS}")
                found[name] = await count(connection)
        except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError):
            continue
    return msgspec.structs.replace(known, **found, uncounted=frozenset(counts.keys() - found.keys()))


async def _count_lanes(connection: Connection) -> Mapping[tuple[str, str], Waiting]:
    rows = await connection.fetch(
        "SELECT c.name, l.operation, count(*), min(l.opened_at), count(*) FILTER (WHERE l.bursts > 0) FROM lane l"
        " JOIN connection c ON c.connection_id = l.target_id WHERE l.blocked IS NULL GROUP BY c.name, l.operation"
    )
    return {(row[0], row[1]): Waiting(row[2], row[3], row[4]) for row in rows}


async def _count_blocked(connection: Connection) -> Mapping[tuple[str, str], Group]:
    rows = await connection.fetch(
        "SELECT c.name, l.blocked, count(*), min(l.opened_at) FROM lane l"
        " JOIN connection c ON c.connection_id = l.target_id WHERE l.blocked IS NOT NULL GROUP BY c.name, l.blocked"
    )
    return _groups(rows)


async def _count_dead_letters(connection: Connection) -> Mapping[tuple[str, str], Group]:
    rows = await connection.fetch(
        "SELECT source, code, count(*), min(created_at) FROM dead_letter"
        " WHERE closed_at IS NULL AND code <> 'behind' GROUP BY source, code"
    )
    return _groups(rows)


async def _count_conflicts(connection: Connection) -> Mapping[tuple[str, str], Group]:
    rows = await connection.fetch(
        "SELECT coalesce(c.name, ''), k, count(*), min(o.updated_at)"
        " FROM orders o LEFT JOIN connection c USING (connection_id), unnest(string_to_array(o.conflicts, ' ')) AS k"
        " WHERE o.conflicts <> '' AND NOT EXISTS (SELECT 1 FROM conflict_handled h"
        " WHERE h.order_id = o.order_id AND h.conflicts = o.conflicts) GROUP BY 1, 2"
    )
    return _groups(rows)


# By the card of the desk. Who has paused a shop knows of it, and refunds are settled at the shop all day long.
COUNT_HELD = f"""
SELECT coalesce(c.name, ''), h.code, h.count, h.since
  FROM (SELECT connection_id, split_part(reasons, ' ', 1) AS code, count(*) AS count, min(updated_at) AS since
          FROM orders WHERE {IS_HELD_BY_INDEX} GROUP BY 1, 2) AS h
  LEFT JOIN connection c USING (connection_id)
 WHERE h.code NOT IN ('paused', 'refund_open')
"""


async def _count_held(connection: Connection) -> Mapping[tuple[str, str], Group]:
    return _groups(await connection.fetch(COUNT_HELD))


_LEVEL_FAILS = 5
"""So often in a row a level has not got through: then it is no hiccup."""
_LEVEL_FAILS_WITHIN = timedelta(seconds=150)
"""What that takes with the waits between them (10, 20, 40 and 80 s): since when it is the matter, no row says."""


async def _count_levels(connection: Connection) -> Mapping[tuple[str, str], Group]:
    # Where nobody owns the shop nobody tells it levels: it may not be configured any more.
    rows = await connection.fetch(
        "SELECT c.name, split_part(l.refused, ':', 1), count(*), min(coalesce(l.refused_at, l.changed_at))"
        " FROM listing l JOIN connection c USING (connection_id) JOIN duty d USING (connection_id)"
        " WHERE l.refused IS NOT NULL AND l.publish AND d.worker_id IS NOT NULL GROUP BY 1, 2"
        " UNION ALL SELECT c.name, $2, count(*), now() - $3::interval"
        " FROM listing l JOIN connection c USING (connection_id) JOIN duty d USING (connection_id)"
        " WHERE l.refused IS NULL AND l.failures > 0 AND l.publish AND d.worker_id IS NOT NULL GROUP BY 1"
        " HAVING max(l.failures) >= $1",
        _LEVEL_FAILS,
        FAILING,
        _LEVEL_FAILS_WITHIN,
    )
    return _groups(rows)


async def _count_ledger(connection: Connection) -> Mapping[str, OffPlaces]:
    # What is off most is the example.
    rows = await connection.fetch(
        "SELECT s.warehouse, count(*) OVER w, min(o.since) OVER w, s.sku, o.on_hand, o.locked, o.committed"
        "  FROM ledger_off o JOIN stock s USING (stock_id) WINDOW w AS (PARTITION BY s.warehouse)"
        " ORDER BY abs(o.on_hand) + abs(o.locked) + abs(o.committed), s.sku DESC"
    )
    return {row[0]: OffPlaces(row[1], row[2], Imbalance(*row[3:])) for row in rows}


async def _count_inbox(connection: Connection) -> Waiting | None:
    row = await connection.fetchrow("SELECT count(*), min(taken_at) FROM inbox")
    return Waiting(row[0], row[1]) if row[0] else None


def _groups(rows: Sequence[Sequence[Any]]) -> Mapping[tuple[str, str], Group]:
    return {(row[0], row[1]): Group(row[2], row[3]) for row in rows}


_COUNTS: Mapping[str, Callable[[Connection], Awaitable[Any]]] = {
    "waiting": _count_lanes,
    "blocked": _count_blocked,
    "dead_letters": _count_dead_letters,
    "conflicts": _count_conflicts,
    "held": _count_held,
    "levels": _count_levels,
    "ledger": _count_ledger,
    "inbox": _count_inbox,
}


async def read_conditions(connection: Connection) -> list[Condition]:
    """Open and lately ended."""
    rows = await connection.fetch(
        "SELECT kind, connection, subject, opened_at, clear_since, closed_at, reopened, told FROM condition"
        " WHERE kind = ANY($1)",
        _KINDS,
    )
    return [_condition(row) for row in rows]


async def write_changes(
    connection: Connection,
    *,
    conditions: Sequence[Condition],
    notices: Sequence[tuple[datetime, Key, Change, Words]],
    replaced: Mapping[int, int],
    forget_before: datetime,
) -> None:
    """Conditions as they stand now and a notice for each change, in one transaction.

    Conditions that ended before `forget_before` are forgotten.
    """
    async with connection.transaction():
        await connection.executemany(
            "INSERT INTO condition (kind, connection, subject, opened_at, clear_since, closed_at, reopened, told)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (kind, connection, subject) DO UPDATE SET"
            " opened_at = $4, clear_since = $5, closed_at = $6, reopened = $7, told = $8",
            [
                (
                    str(one.key.kind), one.key.connection, one.key.subject,
                    one.opened_at, one.clear_since, one.closed_at, one.reopened, one.told,
                )
                for one in conditions
            ],
        )  # fmt: skip
        await connection.executemany(
            "INSERT INTO notice (at, kind, connection, subject, change, title, facts, advice)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            [
                (
                    at, str(key.kind), key.connection, key.subject, str(change), words.title, words.facts, words.advice
                )
                for at, key, change, words in notices
            ],
        )  # fmt: skip
        await connection.executemany(
            "UPDATE worker_lost SET replaced_by = $2 WHERE worker_id = $1", list(replaced.items())
        )
        await connection.execute("DELETE FROM condition WHERE closed_at < $1", forget_before)


async def forget_old(connection: Connection, *, at: datetime) -> None:
    """Remove what was told 90 days ago and longer."""
    await connection.execute("DELETE FROM notice WHERE settled_at < $1", at - _KEPT)
    await connection.execute("DELETE FROM notice_message WHERE began_at < $1", at - _KEPT)
    await connection.execute("DELETE FROM worker_lost WHERE replaced_by IS NOT NULL AND lost_at < $1", at - _KEPT)


# --- telling people


async def settle_unfinished(connection: Connection, *, at: datetime) -> int:
    """What somebody who is gone was sending when he went: nobody knows whether it arrived. Returns how many.

    Only for the one who holds the lock.
    """
    status = await connection.execute(
        "UPDATE notice_message SET result = 'unknown', ended_at = $1, code = 'interrupted',"
        " detail = 'the gateway ended before the answer came' WHERE result IS NULL",
        at,
    )
    return int(status.rsplit(" ", 1)[1])


async def read_notices_waiting(connection: Connection) -> list[Notice]:
    """Notices in no message, oldest first."""
    rows = await connection.fetch(
        "SELECT notice_id, at, kind, connection, subject, change, title, facts, advice, apart, refused_by"
        " FROM notice WHERE state = 'waiting' AND kind = ANY($2) ORDER BY at, notice_id LIMIT $1",
        _MOST_WAITING,
        _KINDS,
    )
    return [
        Notice(
            notice_id=row[0],
            at=row[1],
            key=Key(Kind(row[2]), row[3], row[4]),
            change=Change(row[5]),
            words=Words(row[6], row[7], row[8]),
            apart=row[9],
            refused_by=tuple(row[10]),
        )
        for row in rows
    ]


async def untold_s(connection: Connection, *, at: datetime) -> float:
    """Age of the oldest notice that nobody has been told; 0.0 when there is none."""
    oldest: datetime | None = await connection.fetchval(
        "SELECT min(at) FROM notice WHERE state IN ('waiting', 'sending')"
    )
    return 0.0 if oldest is None else max(0.0, (at - oldest).total_seconds())


async def read_uncertain(connection: Connection) -> list[Draft]:
    """Messages of which nobody knows whether they arrived and whose notices still belong to them."""
    rows = await connection.fetch(
        "SELECT m.key, m.channel, m.outlet, m.title, m.body, m.people, array_agg(n.notice_id ORDER BY n.notice_id)"
        " FROM notice_message m JOIN notice n USING (message_id)"
        " WHERE m.result = 'unknown' AND n.state = 'sending' GROUP BY m.message_id ORDER BY m.message_id"
    )
    return [
        Draft(
            key=row[0],
            channel=row[1],
            outlet=row[2],
            title=row[3],
            body=row[4],
            people=tuple(row[5]),
            notices=tuple(row[6]),
        )
        for row in rows
    ]


async def read_usage(connection: Connection, channel: str, outlet: str, *, after: datetime, until: datetime) -> Usage:
    """How one outlet stands; its rate counts every attempt that had not ended at `after`.

    What began later than `until` was written by a clock that was ahead, and has been set right since.
    """
    row = await connection.fetchrow(
        "WITH own AS (SELECT began_at, ended_at, result, hold_until FROM notice_message"
        "              WHERE channel = $1 AND outlet = $2 AND began_at > $3::timestamptz - interval '1 day'"
        "              AND began_at <= $4),"
        " failing AS (SELECT began_at FROM own WHERE result <> 'sent' AND result <> 'rejected' AND began_at >"
        "              coalesce((SELECT max(began_at) FROM own WHERE result IN ('sent', 'rejected')), '-infinity'))"
        " SELECT (SELECT count(*) FROM own WHERE coalesce(ended_at, 'infinity') > $3),"
        "        (SELECT max(began_at) FROM own), (SELECT max(hold_until) FROM own),"
        "        (SELECT count(*) FROM failing), (SELECT min(began_at) FROM failing)",
        channel,
        outlet,
        after,
        until,
    )
    return Usage(used=row[0], last_at=row[1], hold_until=row[2], failures=row[3], failing_since=row[4])


async def begin_message(connection: Connection, draft: Draft, *, at: datetime) -> int:
    """Write that a message leaves now, and that its notices are in it; its number."""
    async with connection.transaction():
        message_id: int = await connection.fetchval(
            "INSERT INTO notice_message (key, channel, outlet, title, body, people, notices, began_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING message_id",
            draft.key,
            draft.channel,
            draft.outlet,
            draft.title,
            draft.body,
            list(draft.people),
            len(draft.notices),
            at,
        )
        await connection.execute(
            "UPDATE notice SET state = 'sending', message_id = $2 WHERE notice_id = ANY($1::bigint[])",
            list(draft.notices),
            message_id,
        )
    return message_id


async def end_message(
    connection: Connection, message_id: int, ended: Ended, *, at: datetime, channels: Sequence[str]
) -> None:
    """Write how a message ended, and what that means for its notices.

    Refused for its content: each goes alone, and one that went alone is not given to this channel again; when none of
    `channels` is left it has failed.
    """
    async with connection.transaction():
        channel = await connection.fetchval(
            "UPDATE notice_message SET ended_at = $2, result = $3, code = $4, detail = $5, hold_until = $6"
            " WHERE message_id = $1 RETURNING channel",
            message_id,
            at,
            ended.result,
            ended.code,
            ended.detail,
            ended.hold_until,
        )
        if ended.result == "sent":
            await connection.execute(
                "UPDATE notice SET state = CASE WHEN (SELECT notices FROM notice_message WHERE message_id = $1) = 1"
                " THEN 'sent' ELSE 'merged' END, settled_at = $2 WHERE message_id = $1",
                message_id,
                at,
            )
        elif ended.result == "rejected":
            await connection.execute(
                "UPDATE notice SET state = 'waiting', message_id = NULL, apart = true,"
                " refused_by = CASE WHEN (SELECT notices FROM notice_message WHERE message_id = $1) = 1"
                " THEN refused_by || $2::text ELSE refused_by END WHERE message_id = $1",
                message_id,
                channel,
            )
            await connection.execute(
                "UPDATE notice SET state = 'failed', settled_at = $1, why = $2"
                " WHERE state = 'waiting' AND refused_by @> $3::text[]",
                at,
                f"{channel}: {ended.code} {ended.detail}".strip(),
                list(channels),
            )
        elif not ended.again:
            await connection.execute(
                "UPDATE notice SET state = 'waiting', message_id = NULL WHERE message_id = $1", message_id
            )


async def dissolve(connection: Connection, notices: Sequence[int]) -> None:
    """Take notices out of a message that will not be sent again: they wait for another one."""
    await connection.execute(
        "UPDATE notice SET state = 'waiting', message_id = NULL WHERE notice_id = ANY($1::bigint[])", list(notices)
    )


async def give_up(connection: Connection, *, before: datetime, at: datetime, why: str) -> int:
    """Notices from before that time that still wait have failed. Returns how many."""
    status = await connection.execute(
        "UPDATE notice SET state = 'failed', settled_at = $2, why = $3 WHERE state = 'waiting' AND at < $1",
        before,
        at,
        why,
    )
    return int(status.rsplit(" ", 1)[1])


# --- reading, for people


class NoticeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One notice and what became of it. `message_id`: the message it went out in, `notices` in all."""

    notice_id: int
    at: datetime
    kind: str
    connection: str
    subject: str
    change: str
    title: str
    facts: str
    advice: str
    state: str
    why: str
    message_id: int | None
    notices: int | None
    channel: str | None
    people: list[str] | None
    settled_at: datetime | None


async def list_notices(
    pool: asyncpg.Pool, *, state: str | None, kind: str | None, connection: str | None, before: int | None, limit: int
) -> list[NoticeRow]:
    """The newest notices."""
    rows = await pool.fetch(
        "SELECT n.notice_id, n.at, n.kind, n.connection, n.subject, n.change, n.title, n.facts, n.advice, n.state,"
        " n.why, n.message_id, m.notices, m.channel, m.people, n.settled_at"
        " FROM notice n LEFT JOIN notice_message m USING (message_id)"
        " WHERE ($1::text IS NULL OR n.state = $1) AND ($2::text IS NULL OR n.kind = $2)"
        " AND ($3::text IS NULL OR n.connection = $3) AND ($4::bigint IS NULL OR n.notice_id < $4)"
        " ORDER BY n.notice_id DESC LIMIT $5",
        state,
        kind,
        connection,
        before,
        limit,
    )
    return [NoticeRow(**dict(row)) for row in rows]


async def list_conditions(pool: asyncpg.Pool) -> list[Condition]:
    """What is the matter now, the longest first; not what only a later release knows of."""
    rows = await pool.fetch(
        "SELECT kind, connection, subject, opened_at, clear_since, closed_at, reopened, told FROM condition"
        " WHERE closed_at IS NULL AND kind = ANY($1) ORDER BY opened_at",
        _KINDS,
    )
    return [_condition(row) for row in rows]


def _condition(row: Sequence[object]) -> Condition:
    kind, connection, subject, opened_at, clear_since, closed_at, reopened, told = row
    return msgspec.convert(
        {
            "key": (kind, connection, subject),
            "opened_at": opened_at,
            "clear_since": clear_since,
            "closed_at": closed_at,
            "reopened": reopened,
            "told": told,
        },
        Condition,
    )
