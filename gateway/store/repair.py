"""What a person does to a delivery that is stuck: send it again, changed or not, or say that it is done.

The rules of lanes are those of `gateway.store.outbox`: only a head is touched, and only while no worker holds it. The
order's row is locked first, so that intake adds no command meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime

import asyncpg
import msgspec

from gateway.core.delivery import Result
from gateway.core.order import Content, Operation, Order
from gateway.core.text import Text
from gateway.core.words import OPERATIONS, word
from gateway.store.audit import audit
from gateway.store.inbox import put_in
from gateway.store.orders import encode_state, read_state, wake_dispatch
from gateway.store.outbox import read_edit
from gateway.store.sql import Connection, Private, as_private
from gateway.store.stock import reconsider

UNKNOWN = "unknown"
"""How a lane is blocked whose target may or may not have the document."""

BY_HAND = 0
"""Worker id of an attempt that a person stands for."""


class NoSuchDelivery(Exception):
    """The order has no such delivery."""


class NoSuchOrder(NoSuchDelivery):
    """There is no such order."""


class NotNow(Exception):
    """The delivery, or the order, is in no state for it: `code` from a closed set, what is the case, and what to do."""

    def __init__(self, code: str, message: Text, advice: Text) -> None:
        super().__init__(message.en)
        self.code = code
        self.message = message
        self.advice = advice


class Head(msgspec.Struct, frozen=True):
    """A lane's head with the content it would carry (edits applied). `edited`: somebody has made it what it is."""

    operation: str
    order: Order
    content: Content | None
    edited: bool = False


class _Locked(msgspec.Struct, frozen=True):
    """A lane's head, locked, with its order as that is stored: to be taken for done, nothing of it need be read."""

    order_id: int
    target_id: int
    seq: int
    last_seq: int
    operation: str
    blocked: str | None
    in_doubt: bool
    state: bytes


async def resend(
    pool: asyncpg.Pool,
    *,
    number: str,
    target: str,
    seq: int,
    edit: Callable[[Head], Content] | None,
    confirmed_absent: bool,
    reason: str,
    actor: str,
    if_attempts: int | None = None,
    gates: Collection[tuple[str, str]] | None = None,
) -> bool:
    """Free a blocked head, so that it is sent again at once; `edit` makes the content it then carries.

    Returns whether a cancel of the same order follows it.

    `if_attempts`: how many attempts the caller has seen; when there are others, somebody else has sent it meanwhile.
    `gates`: (target, operation) of what is configured, None: all there are; nobody would send what is for another one.
    Raises NoSuchDelivery, NotNow, CannotRead (it would be blocked again at once), and whatever `edit` raises; then
    nothing is changed.
    """
    async with pool.acquire() as connection, connection.transaction():
        try:
            head = await _lock_head(connection, number=number, target=target, seq=seq)
            if gates is not None and (target, head.operation) not in gates:
                raise _not_configured(target, head.operation)
            _check_blocked(head, target, confirmed_absent=confirmed_absent)
        except NotNow as error:
            if edit is not None and error.code in _UNEDITED:
                raise NotNow(error.code, error.message, _UNEDITED[error.code]) from error
            raise
        if if_attempts is not None:
            await _check_attempts(connection, head, if_attempts)
        opened = await _read_head(connection, head)
        if edit is not None:
            await connection.execute(
                "INSERT INTO delivery_edit (order_id, target_id, seq, body, author) VALUES ($1, $2, $3, $4, $5)",
                head.order_id,
                head.target_id,
                seq,
                Private(msgspec.json.encode(edit(opened))),
                actor,
            )
        if confirmed_absent or not head.in_doubt:
            await _take_as_it_is(connection, head, opened, number=number, target=target)
        await connection.execute(
            "UPDATE lane SET blocked = NULL, bursts = 0, not_before = now(), in_doubt = in_doubt AND NOT $3"
            " WHERE order_id = $1 AND target_id = $2",
            head.order_id,
            head.target_id,
            confirmed_absent,
        )
        action = "delivery.resend" if edit is None else "delivery.edit_and_resend"
        await audit(connection, actor=actor, action=action, subject=f"{number}/{target}/{seq}", reason=reason)
        await wake_dispatch(connection, {head.target_id})
    cancel = opened.order.issued(Operation.CANCEL)
    return cancel is not None and cancel.target == target and cancel.seq > seq


async def resolve(
    pool: asyncpg.Pool, *, number: str, target: str, seq: int, reason: str, reference: str, actor: str, now: datetime
) -> bool:
    """Take a head for done on a person's word; whether the lane goes on to a next command.

    Raises NoSuchDelivery and NotNow.
    """
    async with pool.acquire() as connection, connection.transaction():
        head = await _lock_head(connection, number=number, target=target, seq=seq)
        detail = f"{actor}: {reason}" + (f" [{reference}]" if reference else "")
        await connection.execute(
            "INSERT INTO attempt (order_id, target_id, seq, worker_id, ended_at, took_ms, result, code, private_detail)"
            " VALUES ($1, $2, $3, $4, $5, 0, $6, 'by_hand', $7)",
            head.order_id,
            head.target_id,
            seq,
            BY_HAND,
            now,
            int(Result.RESOLVED),
            as_private(detail[:500]),
        )
        goes_on = head.last_seq > seq
        if goes_on:
            await connection.execute(_ADVANCE, head.order_id, head.target_id)
            await wake_dispatch(connection, {head.target_id})
        else:
            await connection.execute(
                "DELETE FROM lane WHERE order_id = $1 AND target_id = $2", head.order_id, head.target_id
            )
        await audit(
            connection, actor=actor, action="delivery.resolve", subject=f"{number}/{target}/{seq}", reason=reason
        )
    return goes_on


async def _lock_head(connection: Connection, *, number: str, target: str, seq: int) -> _Locked:
    order = await connection.fetchrow("SELECT order_id, state FROM orders WHERE number = $1 FOR UPDATE", number)
    if order is None:
        raise NoSuchOrder(f"there is no order {number}")
    order_id, state = order
    target_id = await connection.fetchval("SELECT connection_id FROM connection WHERE name = $1", target)
    planned = target_id is not None and await connection.fetchval(
        "SELECT 1 FROM delivery WHERE order_id = $1 AND target_id = $2 AND seq = $3", order_id, target_id, seq
    )
    if not planned:
        raise NoSuchDelivery(f"order {number} has no delivery {seq} to {target}")
    lane = await connection.fetchrow(
        "SELECT head, tail, operation, worker_id, blocked, in_doubt FROM lane"
        " WHERE order_id = $1 AND target_id = $2 FOR UPDATE",
        order_id,
        target_id,
    )
    if lane is None or lane[0] > seq:
        raise NotNow(
            "done",
            Text("它已经完成", "it is done already"),
            Text("无需再做；订单时间线里有结果", "nothing is left to do; the order's timeline shows how it ended"),
        )
    if lane[0] < seq:
        raise NotNow(
            "behind",
            Text(f"它排在发往 {target} 的第 {lane[0]} 条之后", f"it waits behind delivery {lane[0]} to {target}"),
            Text(f"先处理第 {lane[0]} 条", f"deal with delivery {lane[0]} first"),
        )
    if lane[3] is not None:
        raise NotNow(
            "held",
            Text(
                f"工作进程 {lane[3]} 正持有它，闸门一放行就发送",
                f"worker {lane[3]} holds it and sends it as soon as its gate lets it",
            ),
            Text("稍后再试", "try again later"),
        )
    return _Locked(order_id, target_id, seq, lane[1], lane[2], lane[4], lane[5], state)


# To who wanted it changed, that nothing is left to do is not true.
_UNEDITED: Mapping[str, Text] = {
    "done": Text(
        "这次修改没有发出。看订单时间线里对方收到了什么；还要改，直接联系对方",
        "your change was not sent: see in the order's timeline what was; where it has to be changed still, tell the"
        " target",
    ),
    "not_blocked": Text(
        "这次修改没有采用：它会按现有内容自动再次发送，见 `not_before`；还要改，等它又待人工时，或联系对方",
        "your change was not taken: it is sent again by itself as it is, see `not_before`; where it has to be changed"
        " still, do so once it is blocked again, or tell the target",
    ),
}


def _not_configured(target: str, operation: str) -> NotNow:
    return NotNow(
        "not_configured",
        Text(
            f"{target} 的“{word(operation, OPERATIONS).zh}”不在配置里，没有人会发送",
            f"{target} is not configured for {operation}: nobody would send it",
        ),
        Text(
            "把连接加回配置并重启网关；或确认已在别处处理后标记已处理",
            "put the connection back into the configuration and restart; or resolve it, once it is handled elsewhere",
        ),
    )


def _check_blocked(head: _Locked, target: str, *, confirmed_absent: bool) -> None:
    """Raises NotNow where it is sent again by itself, or may be there already."""
    if head.blocked is None:
        raise NotNow(
            "not_blocked",
            Text("它没有等待人工", "it is not blocked"),
            Text("会自动再次发送，见 `not_before`", "it is sent again by itself; see `not_before`"),
        )
    if head.blocked == UNKNOWN and not confirmed_absent:
        raise NotNow(
            "unknown_outcome",
            Text(f"不清楚 {target} 是否已收到", f"nobody knows whether {target} has it"),
            Text(
                '到对方系统核实：有则标记已处理，确定没有则带 "confirmed_absent": true 重试',
                'look there: if it is there, resolve it; if it is certainly not, repeat with "confirmed_absent": true',
            ),
        )


async def _check_attempts(connection: Connection, head: _Locked, seen: int) -> None:
    """Raises NotNow where there have been others than the `seen` ones."""
    attempts = await connection.fetchval(
        "SELECT count(*) FROM attempt WHERE order_id = $1 AND target_id = $2 AND seq = $3",
        head.order_id,
        head.target_id,
        head.seq,
    )
    if attempts != seen:
        raise NotNow(
            "changed_meanwhile",
            Text(
                f"已尝试 {attempts} 次，不是 {seen} 次：期间有人发送过",
                f"it has had {attempts} attempts, not {seen}: somebody has sent it meanwhile",
            ),
            Text(
                "先看订单时间线，再用现在的次数重试",
                "look at the order's timeline, then repeat with the number it has now",
            ),
        )


async def _read_head(connection: Connection, head: _Locked) -> Head:
    """Raises CannotRead."""
    order = read_state(head.state)
    edited = await read_edit(connection, (head.order_id, head.target_id, head.seq))
    register = order.content
    content = edited if edited is not None else register.value if register is not None else None
    return Head(head.operation, order, content, edited is not None)


async def _take_as_it_is(connection: Connection, head: _Locked, opened: Head, *, number: str, target: str) -> None:
    """What its target has never had was not changed after it was sent: what goes out now is what the shop has now.

    Unless somebody has edited it before: then that goes out.
    """
    order, create = opened.order, opened.order.issued(Operation.CREATE)
    if opened.edited or create is None or (create.target, create.seq) != (target, head.seq):
        return
    if order.changed_after_sent:
        await connection.execute(
            "UPDATE orders SET state = $2 WHERE order_id = $1",
            head.order_id,
            encode_state(msgspec.structs.replace(order, sent_content=b"")),
        )
        now = await connection.fetchval("SELECT now()")
        await put_in(connection, [reconsider(number, order.connection, now)])


_ADVANCE = """
UPDATE lane l
   SET head = l.head + 1, in_doubt = false, bursts = 0, blocked = NULL, not_before = now(),
       operation = (SELECT d.operation FROM delivery d
                     WHERE d.order_id = l.order_id AND d.target_id = l.target_id AND d.seq = l.head + 1)
 WHERE l.order_id = $1 AND l.target_id = $2
"""
