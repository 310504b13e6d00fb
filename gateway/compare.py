"""Before a shop goes live: what the warehouse has of the orders that the gateway has only watched.

While a connection observes, somebody else delivers its orders. Asking the target for each of them, without changing
anything there, tells whether both see the same shop: an order that is not there was lost on the old way, is held by the
gateway's rules too, or is known to the warehouse by another number.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from gateway.core.delivery import Delivery, Finding, Found, NotFound
from gateway.core.errors import OrdergateError
from gateway.core.event import ConnectionName
from gateway.core.order import Command, Operation, Order, OrderNumber, Origin
from gateway.parts import built, setup_of
from gateway.sdk.adapter import Target
from gateway.sdk.http import Http
from gateway.settings import Connection, Settings
from gateway.store.orders import read_state
from gateway.store.sql import CannotRead

_SAMPLES = 20
_PAGE = 500
_LOOKED_AT = 100_000
"""So many of the newest orders are looked at for those that were watched; a shop that has long been live has others."""

_CANDIDATES = """
SELECT o.order_id, o.state, (' ' || o.reasons || ' ') LIKE '% observed %' AS waits
  FROM orders o JOIN connection c USING (connection_id)
 WHERE c.name = $1 AND ((' ' || o.reasons || ' ') LIKE '% observed %' OR o.stage = 'shipped')
 ORDER BY o.order_id DESC
 LIMIT $2
"""


class Compared(msgspec.Struct, kw_only=True):
    """What came out. `held`: reasons the gateway would have held orders for, which are asked about all the same."""

    shop: str
    orders: int = 0
    there: int = 0
    not_there: int = 0
    not_told: int = 0
    missing: list[str] = []
    """Numbers that are not there, some of them."""
    refusals: dict[str, int] = {}
    """Why the target did not tell: code → orders."""
    held: dict[str, int] = {}
    gone: dict[str, int] = {}
    """Targets of the orders' routes that are no connections any more → orders; these are in `not_told`."""
    unread: dict[str, int] = {}
    """Why a watched order cannot be read here (`sealed`, `unreadable`) → orders; these are in `not_told`."""


async def compare(
    pool: asyncpg.Pool, settings: Settings, shop: str, *, last: int, channel_numbers: bool, per_s: float
) -> Compared:
    """Ask for the `last` orders that `shop` brought while it observed, at most `per_s` a second.

    `channel_numbers`: by the shop's own numbers, which an older system may have sent, instead of ours with the prefix.
    Raises OrdergateError where there is nothing to compare, or nobody who can be asked.
    """
    connection = settings.connections.get(ConnectionName(shop))
    if connection is None or not connection.is_shop:
        shops = ", ".join(name for name, one in settings.connections.items() if one.is_shop) or "-"
        raise OrdergateError(f"没有店铺连接 {shop} / there is no shop {shop!r}; shops: {shops}")
    orders, unread = await _observed(pool, connection, last=last)
    if not orders and not unread:
        raise OrdergateError(
            f"{shop} 没有观察到的订单：先以 mode: observe 运行一段时间"
            f" / {shop} has no observed orders yet: let it run with `mode: observe` for a while"
        )
    compared = Compared(shop=shop, orders=len(orders) + unread.total(), not_told=unread.total(), unread=dict(unread))
    async with asyncio.TaskGroup() as group:
        for name in sorted({order.route.target for _, order in orders if order.route is not None}):
            mine = [(order_id, order) for order_id, order in orders if order.route and order.route.target == name]
            target = settings.connections.get(name)
            if target is None or Operation.CREATE not in target.gates:
                # Renamed or taken out since the orders were watched; the others can be asked all the same.
                compared.gone[name] = len(mine)
                compared.not_told += len(mine)
                continue
            group.create_task(
                _ask(settings, target, mine, compared, channel_numbers=channel_numbers, per_s=per_s), name=name
            )
    held = Counter(reason for _, order in orders for reason in order.reasons if reason != Origin.OBSERVED)
    compared.held = dict(held.most_common())
    compared.not_told += sum(order.route is None for _, order in orders)
    return compared


async def _observed(pool: asyncpg.Pool, shop: Connection, *, last: int) -> tuple[list[tuple[int, Order]], Counter[str]]:
    """The orders that can be read, and how many cannot, by why.

    What the old system has shipped waits for nothing any more, and has no reasons: of that only the state tells.
    """
    orders: list[tuple[int, Order]] = []
    unread: Counter[str] = Counter()
    async with pool.acquire() as connection, connection.transaction(readonly=True):
        rows = connection.cursor(_CANDIDATES, shop.name, max(_LOOKED_AT, last), prefetch=_PAGE)
        async for order_id, state, waits in rows:
            if len(orders) + unread.total() == last:
                break
            try:
                order = read_state(state)
            except CannotRead as error:
                if waits:
                    unread[error.code] += 1
                continue
            if order.origin is Origin.OBSERVED:
                orders.append((order_id, order))
    return orders, unread


async def _ask(
    settings: Settings,
    connection: Connection,
    orders: Sequence[tuple[int, Order]],
    compared: Compared,
    *,
    channel_numbers: bool,
    per_s: float,
) -> None:
    policy = connection.gate(Operation.CREATE)
    if not policy.findable or connection.adapter.target_type is None:
        raise OrdergateError(
            f"{connection.name} 不支持查询单据，无法对比"
            f" / {connection.name} cannot be asked for an order: its adapter declares `create` as not findable"
        )
    async with Http(connections=1) as http:
        target = built(connection, connection.adapter.target_type, setup_of(connection, settings), http)
        for order_id, order in orders:
            asked = OrderNumber(order.channel_no) if channel_numbers else order.number
            finding = await _find(target, order_id, order, asked, connection=connection, deadline_s=policy.deadline_s)
            _enter(compared, asked, finding)
            await asyncio.sleep(1 / per_s)


async def _find(
    target: Target, order_id: int, order: Order, number: OrderNumber, *, connection: Connection, deadline_s: float
) -> Finding:
    command = Command(connection.name, 1, Operation.CREATE, "create")
    named = msgspec.structs.replace(order, number=number)
    return await target.find(Delivery(order_id=order_id, order=named, command=command), deadline_s=deadline_s)


def _enter(compared: Compared, number: str, finding: Finding) -> None:
    match finding:
        case Found():
            compared.there += 1
        case NotFound():
            compared.not_there += 1
            if len(compared.missing) < _SAMPLES:
                compared.missing.append(number)
        case _:
            compared.not_told += 1
            code: Any = getattr(finding, "code", "throttled")
            compared.refusals[code] = compared.refusals.get(code, 0) + 1
