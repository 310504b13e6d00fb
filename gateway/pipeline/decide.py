"""Decide: the steps in order, over one batch.

    merge → items → review → route    `fold`, needs the stored orders, and the tables of shops whose SKUs are mapped
    reserve → plan                    `settle`, needs the stock balances, which are locked only then

Both are pure, and both *fold*: a duplicate inside the batch is seen by the event after it, and the last piece of
stock inside the batch goes to the order that came first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gateway.core.event import ConnectionName
from gateway.core.order import (
    Booking,
    Command,
    Facts,
    MissingField,
    Operation,
    Order,
    OrderNumber,
    Reason,
    Stage,
    Stale,
    merge,
    stale,
)
from gateway.core.stock import Balance, Movement, Place
from gateway.pipeline.items import Tables, with_recipes
from gateway.pipeline.plan import conflicts_of, plan, stage_of
from gateway.pipeline.reserve import reserve, wanted
from gateway.pipeline.review import origin_of, reasons_to_wait, waits_for_shop
from gateway.pipeline.route import route_of
from gateway.pipeline.rules import Rules

NO_TABLES: Tables = {}


class Step(msgspec.Struct, frozen=True, gc=False):
    """One event's facts about one order; `facts` None asks to decide again with nothing new known."""

    source: ConnectionName
    facts: Facts | None


class Folded(msgspec.Struct, frozen=True, gc=False):
    """An order with the batch's facts merged in and reviewed, waiting for the stock balances.

    `stale`: the steps of which nothing was merged, by their place among those of the order, and why.
    """

    before: Order | None
    order: Order
    reasons: tuple[Reason | MissingField, ...]
    wanted: tuple[Booking, ...]
    stale: tuple[tuple[int, Stale], ...] = ()

    def places(self) -> list[Place]:
        """Balances this order's decision may touch; some of them twice."""
        booked = self.order.booked
        return [(b.sku, b.warehouse) for b in (booked + self.wanted if booked else self.wanted)]


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What is to be written for one order. `changed` False: what is stored says it all. `stale`: see Folded."""

    before: Order | None
    order: Order
    movements: tuple[Movement, ...]
    commands: tuple[Command, ...]
    stale: tuple[tuple[int, Stale], ...] = ()

    @property
    def changed(self) -> bool:
        return self.before is None or self.before != self.order

    @property
    def stage_before(self) -> Stage | None:
        return None if self.before is None else self.before.stage


def fold(
    number: OrderNumber, before: Order | None, steps: Sequence[Step], rules: Rules, tables: Tables = NO_TABLES
) -> Folded:
    """Merge `steps` into what is stored, say what stands for its lines, review and route."""
    order = before if before is not None else Order(number=number)
    idle: tuple[tuple[int, Stale], ...] = ()
    for place, step in enumerate(steps):
        if step.facts is not None:
            merged = merge(order, step.facts, step.source)
            if merged is order:
                idle += ((place, stale(order, step.facts)),)
            order = merged
    shop = rules.shop_of(order)
    if order.recipes is not None or (shop is not None and shop.mapped):
        order = with_recipes(order, rules, tables)
    first_seen = bool(order.connection) and (before is None or not before.connection)
    origin, route = origin_of(order, rules, first_seen=first_seen), route_of(order, rules)
    if origin is not order.origin or route is not order.route:
        order = msgspec.structs.replace(order, origin=origin, route=route)
    reasons = reasons_to_wait(order, rules)
    if order.route is None and not reasons:
        reasons = ("no_route",)
    if not reasons and waits_for_shop(order, rules):
        reasons = ("paused",)
    return Folded(before, order, reasons, wanted(order, approved=not reasons), idle)


def settle(folded: Sequence[Folded], balances: Mapping[Place, Balance], rules: Rules) -> list[Decision]:
    """Reserve and plan every order of the batch, in the order given, on `balances` (changed in place)."""
    return [_settle(item, balances, rules) for item in folded]


def given_back(decisions: Sequence[Decision], balances: Mapping[Place, Balance]) -> dict[Place, int]:
    """Pieces available now at the places where one of `decisions` gave some back; orders short of stock wait for them.

    `balances` as `settle` left them. A place where others of the batch took all of it again is left out; one where they
    took more than came back is not: an order of the batch that was decided in between may fit now.
    """
    # An order that nothing is known of has nothing to give: most decisions are passed over at once.
    risen = {
        movement.stock_id
        for decision in decisions
        if decision.before is not None
        for movement in decision.movements
        if movement.on_hand > movement.locked + movement.committed
    }
    if not risen:
        return {}
    return {place: b.available for place, b in balances.items() if b.stock_id in risen and b.available > 0}


def _settle(item: Folded, balances: Mapping[Place, Balance], rules: Rules) -> Decision:
    order = item.order
    reserved = reserve(order, item.wanted, balances, unknown_sku=rules.unknown_sku)
    allocated = reserved.complete and not item.reasons
    commands = plan(order, rules, allocated=allocated)
    if commands:
        order = msgspec.structs.replace(order, commands=(*order.commands, *commands))
    unbooked = order.unbooked
    if reserved.unknown and _has_left(order):
        unbooked = tuple(sorted({*unbooked, *reserved.unknown}))
    stage = stage_of(order, waiting=bool(item.reasons), allocated=allocated)
    shop = rules.shop_of(order)
    order = msgspec.structs.replace(
        order,
        booked=reserved.booked,
        unbooked=unbooked,
        stage=stage,
        reasons=() if stage in _OVER else item.reasons + reserved.reasons,
        # With what has just been planned: deciding again must find nothing else.
        conflicts=conflicts_of(order, shops_told=shop is not None and shop.takes_shipments) + reserved.conflicts,
    )
    return Decision(item.before, order, reserved.movements, commands, item.stale)


def _has_left(order: Order) -> bool:
    """Whether the warehouse has been told to ship the order, or says that it did."""
    return bool(order.confirmed) or order.issued(Operation.CREATE) is not None


_OVER = frozenset({Stage.CANCELLED, Stage.REFUNDED, Stage.SHIPPED, Stage.CONFLICT})
"""Stages in which an order waits for nothing any more."""
