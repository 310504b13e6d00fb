"""Dead letters: events set aside whole, with the reason, and with later events of the same order behind them.

One that holds nothing of its order (`UNREAD`) says no more than that something had changed: a later reading of the
order closes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

import asyncpg
import msgspec
import zstandard

from gateway.core.event import MAX_BODY_BYTES, Arrival, ConnectionName, Event, EventId
from gateway.core.happening import DeadLettered, LetterSuperseded
from gateway.core.text import NOTHING, Text
from gateway.store.audit import audit
from gateway.store.inbox import put_in
from gateway.store.sql import Connection, Private, Unopened, as_plain, as_private, private
from gateway.store.stock import reconsider

LONGEST_NUMBER = 255
LONGEST_SOURCE = 255
"""Longer than the name of any connection; an index holds it."""

BEHIND = "behind"
"""Code of an event that is sound itself but waits for an earlier one of its order."""

UNREAD = "unread"
"""Code of an event that holds nothing of its order: its platform gave nothing. What is read later stands for it."""

_BY_ITSELF = "ordergate"
"""Who has closed what no person has."""


class DeadLetter(msgspec.Struct, frozen=True):
    """An event to set aside. `number` is our order number, empty when it cannot be known (then it blocks nothing)."""

    arrival: Arrival
    number: str
    code: str
    message: Text
    advice: Text = NOTHING


class Standing(msgspec.Struct, frozen=True):
    """An open dead letter. `happened_at`: what it says is the order's state of then, as its source dates it."""

    dead_letter_id: int
    number: str
    source: str
    code: str
    happened_at: datetime


async def standing(connection: Connection, numbers: Collection[str]) -> list[Standing]:
    """The open dead letters of these orders, locked. Where none is open at all, asking costs more than it is worth."""
    rows = await connection.fetch(
        # Until the transaction ends: a release meanwhile waits, and then takes what is put behind with it.
        "SELECT dead_letter_id, number, source, code, happened_at FROM dead_letter"
        " WHERE closed_at IS NULL AND number = ANY($1::text[]) ORDER BY dead_letter_id FOR UPDATE",
        list(numbers),
    )
    return [Standing(*row) for row in rows]


async def without_overtaken(
    connection: Connection,
    letters: Sequence[DeadLetter],
    *,
    tells: Callable[[Event], bool],
    renamed: Mapping[ConnectionName, ConnectionName],
) -> list[DeadLetter]:
    """`letters` but those with nothing in them of whose order something newer of the same source is stored already.

    `tells` says of a stored event whether it is about the order itself; one that cannot be read is taken for that.
    `renamed`: shops of before and the names that they have now; a shop is one source under all its names.
    """
    asked = [letter for letter in letters if letter.code == UNREAD and letter.number]
    if not asked:
        return list(letters)
    sources = [letter.arrival.event.source for letter in asked]
    rows = await connection.fetch(
        "SELECT l.n, e.event_id, e.type, e.happened_at, e.body"
        " FROM unnest($1::text[], $2::text[], $3::timestamptz[]) WITH ORDINALITY AS l(number, source, happened_at, n)"
        " JOIN orders o ON o.number = l.number JOIN event e USING (order_id)"
        " JOIN connection c ON c.connection_id = e.connection_id"
        " LEFT JOIN unnest($4::text[], $5::text[]) AS r(before, name) ON r.before = c.name"
        " WHERE coalesce(r.name, c.name) = l.source AND e.happened_at > l.happened_at",
        [_number(letter.number) for letter in asked],
        [as_plain(renamed.get(source, source)) for source in sources],
        [letter.arrival.event.time for letter in asked],
        list(renamed),
        list(renamed.values()),
    )
    overtaken: set[int] = set()
    for n, event_id, kind, happened_at, stored in rows:
        letter = asked[n - 1]
        if id(letter) in overtaken:
            continue
        body = _unpacked(stored)
        about = msgspec.structs.replace(
            letter.arrival.event, id=EventId(event_id), type=kind, time=happened_at, body=body or b""
        )
        if body is None or tells(about):
            overtaken.add(id(letter))
    return [letter for letter in letters if id(letter) not in overtaken]


def _unpacked(stored: bytes) -> bytes | None:
    """The body of a stored event; None where it cannot be opened."""
    if isinstance(stored, Unopened):
        return None
    try:
        return zstandard.ZstdDecompressor().decompress(stored, max_output_size=MAX_BODY_BYTES)
    except zstandard.ZstdError:
        return None


async def supersede(
    connection: Connection, letters: Sequence[Standing], *, by: Sequence[Event]
) -> list[LetterSuperseded]:
    """Close `letters`, which the caller has locked and which hold nothing, for `by`, later events of their orders.

    What waited behind them goes through the inbox, and `by` after it. The rows stay.
    """
    rows = await connection.fetch(
        "UPDATE dead_letter SET closed_at = now(), closed_by = $2, resolution = 'superseded'"
        " WHERE dead_letter_id = ANY($1::bigint[]) AND closed_at IS NULL RETURNING dead_letter_id, source",
        [letter.dead_letter_id for letter in letters],
        _BY_ITSELF,
    )
    for number in sorted({letter.number for letter in letters}):
        await put_back(connection, number, actor=_BY_ITSELF, repaired={})
    await put_in(connection, by)
    return [LetterSuperseded(row[0], ConnectionName(row[1])) for row in sorted(rows)]


async def set_aside(connection: Connection, letters: Sequence[DeadLetter]) -> list[DeadLettered]:
    """Keep `letters`; returns those that were not kept already."""
    rows = await connection.fetch(
        _INSERT,
        *(
            list(column)
            for column in zip(
                *(
                    (
                        as_plain(letter.arrival.event.id),
                        as_plain(letter.arrival.event.source)[:LONGEST_SOURCE],
                        as_plain(letter.arrival.event.type),
                        as_plain(letter.arrival.event.order_key),
                        _number(letter.number),
                        letter.arrival.event.time,
                        letter.arrival.taken_at,
                        as_plain(letter.arrival.event.traceparent),
                        private(letter.arrival.event.body),
                        hashlib.sha256(letter.arrival.event.body).digest(),
                        str(letter.arrival.position.leg),
                        letter.arrival.position.partition,
                        letter.arrival.position.offset,
                        letter.code,
                        as_private(letter.message.en),
                        _only_chinese(letter.message),
                        as_private(letter.advice.en),
                        _only_chinese(letter.advice),
                    )
                    for letter in letters
                ),
                strict=True,
            )
        ),
    )
    return [DeadLettered(row[0], ConnectionName(row[1]), row[2]) for row in rows]


async def release(pool: asyncpg.Pool, dead_letter_id: int, *, body: bytes | None, actor: str, reason: str = "") -> int:
    """Send a dead letter (with a repaired `body`, if given) and everything behind it through intake again.

    Returns how many events were put back, in their first order; 0 when there is no such open dead letter.
    """
    async with pool.acquire() as connection, connection.transaction():
        await lock_letters(connection, [dead_letter_id])
        row = await connection.fetchrow(
            "SELECT number, source, now() FROM dead_letter WHERE dead_letter_id = $1 AND closed_at IS NULL FOR UPDATE",
            dead_letter_id,
        )
        if row is None:
            return 0
        number, source, now = row
        await audit(connection, actor=actor, action="dead_letter.release", subject=str(dead_letter_id), reason=reason)
        events = await put_back(connection, number, actor=actor, repaired={dead_letter_id: body})
        if body is not None and number and events == 1:
            # Repaired, it may be another order's; what this one waits for may have come meanwhile.
            await put_in(connection, [reconsider(number, source, now)])
        return events


async def discard(pool: asyncpg.Pool, dead_letter_id: int, *, reason: str, actor: str) -> int:
    """Close a dead letter without using it, and put what waited behind it through intake. The row stays.

    Returns how many events were put back, -1 when there is no such open dead letter.
    """
    async with pool.acquire() as connection, connection.transaction():
        await lock_letters(connection, [dead_letter_id])
        return await discard_in(connection, dead_letter_id, reason=reason, actor=actor)


async def discard_in(connection: Connection, dead_letter_id: int, *, reason: str, actor: str) -> int:
    """`discard` inside the caller's transaction, which has called `lock_letters`.

    Where nothing is in front of the order any more and nothing waited, it is decided again all the same: what it waits
    for may have come meanwhile.
    """
    row = await connection.fetchrow(
        "UPDATE dead_letter SET closed_at = now(), closed_by = $2, resolution = 'discarded'"
        " WHERE dead_letter_id = $1 AND closed_at IS NULL RETURNING number, source, now()",
        dead_letter_id,
        actor,
    )
    if row is None:
        return -1
    number, source, now = row
    await audit(connection, actor=actor, action="dead_letter.discard", subject=str(dead_letter_id), reason=reason)
    in_front = await connection.fetchval(
        "SELECT EXISTS (SELECT 1 FROM dead_letter WHERE closed_at IS NULL AND number = $1 AND code <> $2)",
        number,
        BEHIND,
    )
    if in_front:
        return 0
    events = await put_back(connection, number, actor=actor, repaired={})
    if not events and number:
        await put_in(connection, [reconsider(number, source, now)])
    return events


async def lock_letters(connection: Connection, ids: Sequence[int]) -> None:
    """Lock all open dead letters of the orders that these are of, in the sequence of `standing`.

    Of two that are closed at one instant each would see the other still in front, and neither would let go what waits
    behind both.
    """
    await connection.execute(
        "SELECT 1 FROM dead_letter WHERE closed_at IS NULL AND number <> '' AND number = ANY (ARRAY("
        "SELECT number FROM dead_letter WHERE dead_letter_id = ANY($1::bigint[])))"
        " ORDER BY dead_letter_id FOR UPDATE",
        list(ids),
    )


async def put_back(connection: Connection, number: str, *, actor: str, repaired: Mapping[int, bytes | None]) -> int:
    """Close the dead letters in `repaired` and all behind in their order, and put their events into the inbox.

    Inside the caller's transaction, which has locked them. Returns how many events that were.
    """
    rows = await connection.fetch(
        "UPDATE dead_letter SET closed_at = now(), closed_by = $3, resolution = 'released'"
        " WHERE closed_at IS NULL"
        " AND (dead_letter_id = ANY($1::bigint[]) OR (number = $2 AND number <> '' AND code = $4))"
        " RETURNING dead_letter_id, event_id, source, type, order_key, happened_at, traceparent, body",
        list(repaired),
        number,
        actor,
        BEHIND,
    )
    events = []
    for row in sorted(rows, key=lambda row: row[0]):
        body = repaired.get(row[0])
        events.append(
            Event(
                id=EventId(row[1] if body is None else f"{row[1]}+repaired"),
                source=ConnectionName(row[2]),
                type=row[3],
                order_key=row[4],
                time=row[5],
                traceparent=row[6],
                body=row[7] if body is None else body,
            )
        )
    if events:
        await put_in(connection, events)
    return len(events)


def _number(number: str) -> str:
    """`number` as the index takes it; what is longer than any order number blocks nothing."""
    return as_plain(number) if len(number) <= LONGEST_NUMBER else ""


def _only_chinese(said: Text) -> Private | None:
    """What the column of the Chinese words holds: nothing where they are the English ones."""
    return None if said.zh == said.en else as_private(said.zh)


_INSERT = """
INSERT INTO dead_letter (event_id, source, type, order_key, number, happened_at, taken_at, traceparent, body,
                         body_sha256, leg, partition, position, code, private_message,
                         private_message_zh, private_advice, private_advice_zh)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[],
                     $7::timestamptz[], $8::text[], $9::bytea[], $10::bytea[], $11::text[], $12::integer[],
                     $13::bigint[], $14::text[], $15::bytea[], $16::bytea[], $17::bytea[], $18::bytea[])
    ON CONFLICT DO NOTHING
RETURNING dead_letter_id, source, code
"""
