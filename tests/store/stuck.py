"""Orders whose deliveries wait for a person, written straight into the tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import asyncpg

from gateway.core.delivery import AfterUnknown
from gateway.core.event import Arrival, ConnectionName, Event, EventId, Leg, Position
from gateway.core.order import Command, Operation, Order, OrderNumber, Register, Stage
from gateway.core.text import Text
from gateway.store.dead import DeadLetter
from gateway.store.orders import encode_state
from gateway.store.sql import Names, open_pool, register_connections
from gateway.store.wanted import Asking, Policies
from tests.core.sample import content

BLOCKED_AT = datetime(2026, 5, 1, 2, tzinfo=UTC)
SHOP, WMS, ERP, PAGER = (ConnectionName(name) for name in ("shop", "wms", "erp", "pager"))
ASKING = {WMS: AfterUnknown.FIND, ERP: AfterUnknown.RESEND, PAGER: AfterUnknown.PERSON}


async def open_desk(url: str) -> tuple[asyncpg.Pool, Names]:
    """A migrated database with a shop and three targets: one that can be asked, one idempotent, one neither."""
    pool = await open_pool(url, size=6)
    return pool, await register_connections(pool, (SHOP, *ASKING))


def policies(names: Names, *, settle_s: float = 0.0) -> Policies:
    return {
        (names.id(target), operation): Asking(after, settle_s)
        for target, after in ASKING.items()
        for operation in ("create", "cancel")
    }


async def stick(
    pool: asyncpg.Pool,
    names: Names,
    count: int,
    *,
    target: ConnectionName = WMS,
    first: int = 1,
    blocked: str | None = "rejected:http_4xx",
    tail: int = 1,
    in_doubt: bool = False,
    bursts: int = 3,
    reasons: str = "",
    conflicts: str = "",
    stage: Stage = Stage.ALLOCATED,
) -> list[int]:
    """`count` orders with ids from `first`, each with commands 1 to `tail` for `target`, the first of them blocked.

    `blocked` None: without a lane.
    """
    ids = list(range(first, first + count))
    target_id = names.id(target)
    commands = [
        Command(target, seq, Operation.CREATE if seq == 1 else Operation.CANCEL, "create" if seq == 1 else "cancel")
        for seq in range(1, tail + 1)
    ]
    async with pool.acquire() as connection, connection.transaction():
        await connection.copy_records_to_table(
            "orders",
            columns="order_id number connection_id stage reasons conflicts state created_at updated_at".split(),
            records=[
                (n, f"S{n}", names.id(SHOP), stage, reasons, conflicts, _state(n, commands), at, at)
                for n, at in zip(ids, _instants(ids), strict=True)
            ],
        )
        if blocked is None:
            return ids
        await connection.copy_records_to_table(
            "delivery",
            columns="order_id target_id seq operation key".split(),
            records=[(n, target_id, c.seq, c.operation, c.key) for n in ids for c in commands],
        )
        await connection.copy_records_to_table(
            "attempt",
            columns="order_id target_id seq worker_id ended_at took_ms result code private_detail".split(),
            records=[
                (n, target_id, 1, 9, at, 5, 4, "http_4xx", None) for n, at in zip(ids, _instants(ids), strict=True)
            ],
        )
        await connection.copy_records_to_table(
            "lane",
            columns="order_id target_id operation head tail in_doubt blocked bursts not_before opened_at".split(),
            records=[
                (n, target_id, "create", 1, tail, in_doubt, blocked, bursts, at, at)
                for n, at in zip(ids, _instants(ids), strict=True)
            ],
        )
    return ids


def letter(n: int, number: str, code: str, *, key: str = "K") -> DeadLetter:
    """A dead letter of the shop, event `E<n>`."""
    event = Event(id=EventId(f"E{n}"), source=SHOP, type="order", order_key=key, time=BLOCKED_AT, body=b"{}")
    return DeadLetter(
        Arrival(event, Position(Leg.INBOX, -1, n), BLOCKED_AT), number, code, Text("出了什么错", "what is wrong")
    )


async def lanes(pool: asyncpg.Pool) -> dict[tuple[int, int], str]:
    """Every lane as the bytes of its row: (order id, target id) → text of all columns."""
    rows = await pool.fetch("SELECT order_id, target_id, lane::text FROM lane")
    return {(row[0], row[1]): row[2] for row in rows}


async def let_be_due(pool: asyncpg.Pool) -> None:
    """The pace has passed."""
    await pool.execute("UPDATE redrive SET next_at = '-infinity' WHERE state = 'running' AND does = 'send'")
    await pool.execute("UPDATE redrive SET due_at = '-infinity' WHERE state = 'running' AND does = 'resolve'")


def _state(number: int, commands: Sequence[Command]) -> bytes:
    return encode_state(
        Order(
            number=OrderNumber(f"S{number}"),
            connection=SHOP,
            channel_no=str(number),
            content=Register(1, 0, content({"CUP": 2})),
            commands=tuple(commands),
        )
    )


def _instants(ids: Sequence[int]) -> list[datetime]:
    return [BLOCKED_AT + timedelta(seconds=n) for n in ids]
