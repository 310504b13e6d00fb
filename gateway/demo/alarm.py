"""`notice_s`: how long people do not know yet that the warehouse is in trouble, with its beginning and its end.

It begins with the first answer to a new document that went wrong as the gateway counts it, which is what its circuit
breaker does: a call that failed, one that went without an answer, and one that took `slow_s` or longer, whatever the
answer was. It ends when the robot has the message that this warehouse is down. No other message ends it: not that of a
backlog, which is something else and may come first, and not that of the recovery. Both ends are instants of this
machine's clock, the first as the gateway wrote it down and the second as the fake robot did.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import asyncpg
import msgspec

from gateway.core.delivery import Result
from gateway.core.order import Operation
from gateway.demo.scene import WMS

_DOWN = f"不可用：{WMS} "
"""How a notice begins that a breaker of the warehouse has opened (`gateway.watch.wording`)."""
_MARK = "· "
"""Before each notice, where one message holds several."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call that sent a new document to the warehouse, as the gateway wrote it down when it `ended_at` (epoch, s)."""

    ended_at: float
    took_s: float
    result: Result


class Message(Protocol):
    """What the robot has: `at` is epoch, s."""

    @property
    def at(self) -> float: ...
    @property
    def text(self) -> str: ...


def notice_s(calls: Iterable[Call], told: Iterable[Message], *, slow_s: float) -> float | None:
    """The figure, to a tenth of a second; None when nothing went wrong or nobody was told that it did."""
    wrong_at = min((call.ended_at for call in calls if counts(call, slow_s=slow_s)), default=None)
    if wrong_at is None:
        return None
    told_at = min((message.at for message in told if message.at >= wrong_at and says_down(message.text)), default=None)
    return None if told_at is None else round(told_at - wrong_at, 1)


def counts(call: Call, *, slow_s: float) -> bool:
    """Whether the breaker counts the call against the warehouse.

    An *unknown* whose answer did come is none of its, but a warehouse that makes a second document of a repeat, as the
    demo's does, never answers so. One that asks for patience or refuses our authorisation is not judged by its time.
    """
    if call.result in (Result.FAILED, Result.UNKNOWN):
        return True
    return call.result in (Result.DONE, Result.REJECTED) and call.took_s >= slow_s


def says_down(text: str) -> bool:
    """Whether one of the notices in a message is the one that the warehouse is down."""
    return any(line.removeprefix(_MARK).startswith(_DOWN) for line in text.splitlines())


async def read_calls(database_url: str) -> list[Call]:
    """Every call that sent the warehouse a new document. Questions about what is in doubt have another breaker."""
    connection = await asyncpg.connect(database_url, timeout=5)
    try:
        rows = await connection.fetch(
            "SELECT extract(epoch FROM a.ended_at)::float8, a.took_ms, a.result FROM attempt a"
            " JOIN delivery d USING (order_id, target_id, seq) JOIN connection c ON c.connection_id = a.target_id"
            " WHERE c.name = $1 AND d.operation = $2 AND NOT starts_with(coalesce(a.code, ''), 'find:')",
            WMS,
            Operation.CREATE,
        )
    finally:
        await connection.close()
    return [Call(ended_at=row[0], took_s=row[1] / 1000, result=Result(row[2])) for row in rows]
