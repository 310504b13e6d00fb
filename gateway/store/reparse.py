"""An order whose kept messages are parsed again: what they say by today's adapters takes the place of what is known.

Only facts are replaced. What was done about them (route, bookings, commands) stays, so nothing is sent twice; intake
then decides the order by what it knows, as after any event. The facts and the wish to decide are one transaction.

Refused where the kept messages do not tell all that is known: they are gone with their age, or an adapter makes less of
one than it did. Nothing that was known is forgotten for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import asyncpg
import msgspec

from gateway.core.event import Arrival, ConnectionName, Event, EventId, Leg, Position
from gateway.core.order import Facts, Order, OrderNumber, Party, differences, forgotten, told_anew
from gateway.core.text import Text
from gateway.store.audit import audit
from gateway.store.dead import DeadLetter
from gateway.store.inbox import put_in
from gateway.store.orders import NOBODY, OrderWrite, read_state, write_orders
from gateway.store.queries import payload_of
from gateway.store.repair import NoSuchOrder, NotNow
from gateway.store.sql import Connection, Names
from gateway.store.stock import reconsider

Reads = Callable[[Arrival], tuple[OrderNumber, Facts] | DeadLetter]
"""What a message says by today's adapter, as intake reads it, or why intake would set it aside."""


class Reparsed(msgspec.Struct, frozen=True, kw_only=True):
    """How many messages were read, and which kinds of facts are others now (``content.receiver``, ``payment``)."""

    messages: int
    changes: tuple[str, ...]


async def look(
    pool: asyncpg.Pool, number: str, *, reads: Reads, renamed: Mapping[ConnectionName, ConnectionName]
) -> Reparsed:
    """What `reparse` would change. Raises as that does."""
    async with pool.acquire() as connection:
        _, before, anew, messages = await _parsed(connection, number, reads, renamed, lock=False)
    return Reparsed(messages=messages, changes=tuple(differences(before, anew)))


async def reparse(
    pool: asyncpg.Pool,
    number: str,
    *,
    reads: Reads,
    renamed: Mapping[ConnectionName, ConnectionName],
    names: Names,
    reason: str,
    actor: str,
    now: datetime,
) -> Reparsed:
    """Replace the facts of an order by what its messages say, and have intake decide it. `renamed`: see Rules.

    Where they say the same, nothing is changed but that it was asked for. Raises NoSuchOrder, NotNow and CannotRead.
    """
    async with pool.acquire() as connection, connection.transaction():
        order_id, before, anew, messages = await _parsed(connection, number, reads, renamed, lock=True)
        if anew is not before:
            write = OrderWrite(
                order_id=order_id,
                new=False,
                changed=True,
                disputed_anew=bool(before.conflicts),
                order=anew,
                events=(),
                movements=(),
                commands=(),
            )
            await write_orders(connection, [write], names=names)
            await put_in(connection, [reconsider(number, anew.connection, now)])
        await audit(connection, actor=actor, action="order.reparse", subject=number, reason=reason)
    return Reparsed(messages=messages, changes=tuple(differences(before, anew)))


async def _parsed(
    connection: Connection, number: str, reads: Reads, renamed: Mapping[ConnectionName, ConnectionName], *, lock: bool
) -> tuple[int, Order, Order, int]:
    """The order's id, the order as it is and as its messages tell it, and how many there are."""
    row = await connection.fetchrow(_ORDER + (" FOR UPDATE" if lock else ""), number)
    if row is None:
        raise NoSuchOrder(f"there is no order {number}")
    order_id, before = row[0], read_state(row[1])
    shop = renamed.get(before.connection, before.connection)
    told: list[tuple[ConnectionName, Facts]] = []
    for place, kept in enumerate(await connection.fetch(_MESSAGES, order_id, NOBODY), 1):
        source = ConnectionName(kept[1])
        of_the_shop = renamed.get(source, source) == shop
        event = Event(
            id=EventId(kept[0]),
            source=source,
            type=kept[2],
            order_key=before.channel_no if of_the_shop else number,
            time=kept[3],
            body=payload_of(kept[5]),
        )
        said = reads(Arrival(event, Position(Leg.KAFKA, 0, 0), kept[4]))
        if isinstance(said, DeadLetter):
            raise NotNow(
                "unusable",
                Text(f"第 {place} 条消息：{said.message.zh}", f"message {place}: {said.message.en}"),
                Text(f"{said.advice.zh}；看 `orders raw`", f"{said.advice.en}; `orders raw` shows it"),
            )
        whose, facts = said
        # Its shop may have had another prefix, and name, when it was known.
        own = facts.party is Party.SHOP and of_the_shop and facts.order_no == before.channel_no
        if whose != number and not own:
            raise NotNow(
                "another_order",
                Text(f"第 {place} 条消息说的是订单 {whose}", f"message {place} tells of order {whose}"),
                Text("检查连接的 prefix 和适配器", "look at the connection's prefix and at the adapter"),
            )
        told.append((source, facts))
    anew = told_anew(before, told)
    if lost := forgotten(before, anew):
        raise NotNow(
            "not_all_told",
            Text(
                f"保留的 {len(told)} 条消息不再说明：{'、'.join(lost)}",
                f"the {len(told)} messages that are kept tell less than is known of: {', '.join(lost)}",
            ),
            Text(
                "消息可能已按保留期清除，或适配器解析得更少；订单保持不变",
                "messages may be gone with their age, or the adapter makes less of one; the order stays as it is",
            ),
        )
    return order_id, before, anew, len(told)


_ORDER = "SELECT order_id, state FROM orders WHERE number = $1"

_MESSAGES = """
SELECT e.event_id, coalesce(c.name, ''), e.type, e.happened_at, e.taken_at, e.body
  FROM event e
  LEFT JOIN connection c USING (connection_id)
 WHERE e.order_id = $1 AND e.connection_id <> $2
 ORDER BY e.taken_at, e.digest
"""
