"""Plan: the commands an order's state asks for and has not asked for yet, and the stage that follows from it."""

from __future__ import annotations

from gateway.core.event import ConnectionName
from gateway.core.items import Recipes, items_of, pieces, shipped
from gateway.core.order import (
    Command,
    Conflict,
    Content,
    Operation,
    Order,
    Origin,
    ProgressStep,
    RefundStatus,
    Sku,
    Stage,
)
from gateway.pipeline.rules import Rules


def plan(order: Order, rules: Rules, *, allocated: bool) -> tuple[Command, ...]:
    """New commands, in the sequence their targets get them. Planning twice plans nothing more."""
    if order.origin is not Origin.LIVE:
        return ()
    new: list[Command] = []
    create = order.issued(Operation.CREATE)
    over = order.closed or order.refunded or order.gone
    # Any warehouse's word that it has left keeps it from being sent, even of one that was never told to ship it.
    if create is None and allocated and not over and not order.confirmations and order.route is not None:
        new.append(_next(order, new, order.route.target, Operation.CREATE, "create"))
    stop = (over or order.refund_open) and not order.shipped_final
    if create is not None and stop and order.issued(Operation.CANCEL) is None:
        new.append(_next(order, new, create.target, Operation.CANCEL, "cancel"))
    shop = rules.shop_of(order) if order.confirmations else None
    if shop is not None and shop.takes_shipments:
        told = {command.key for command in order.commands}
        for name in order.confirmed:
            if f"ship:{name}" not in told:
                new.append(_next(order, new, shop.name, Operation.SHIP, f"ship:{name}"))
    return tuple(new)


def _next(order: Order, new: list[Command], target: ConnectionName, operation: Operation, key: str) -> Command:
    """The command with the next number of its target's sequence."""
    seq = 1
    for command in (*order.commands, *new):
        if command.target == target:
            seq += 1
    return Command(target, seq, operation, key)


def stage_of(order: Order, *, waiting: bool, allocated: bool) -> Stage:
    """The stage that `order`'s facts and bookings amount to."""
    confirmed = bool(order.confirmations) and bool(order.confirmed)
    if confirmed and order.closed and not order.returned:
        return Stage.CONFLICT
    if order.refunded or (confirmed and order.returned):
        return Stage.REFUNDED
    if order.closed:
        return Stage.CANCELLED
    if order.shipped_final or order.gone:
        return Stage.SHIPPED
    if confirmed or (order.progress and _packs(order)):
        return Stage.PACKED
    if waiting:
        return Stage.RECEIVED
    return Stage.ALLOCATED if allocated else Stage.REVIEWED


def _packs(order: Order) -> bool:
    return any(ProgressStep.PACKING <= report.step <= ProgressStep.READY for report in order.reported)


def conflicts_of(order: Order, *, shops_told: bool = True) -> tuple[Conflict, ...]:
    """Named contradictions between what the shop says, what was sent and what the warehouse did; for a person.

    `cancelled_but_shipped`, unless the shop knew it as shipped when it closed it: goods that come back;
    `refunded_but_shipped`: paid back in full, the warehouse told to stop it, and a parcel has left all the same;
    `shipped_unknown_order`: a warehouse confirmed what no shop told of;
    `confirmed_by_other_warehouse`: one confirmed that the order is not routed to, and that does not count as shipped;
    `changed_after_sent`: lines or receiver changed after `create` was planned;
    `held_after_sent`: the channel holds it, nothing has left and it is not over;
    `reopened_after_cancel`: the warehouse is told to cancel, and the shop wants the order after all;
    `warehouse_exception`: the warehouse it is routed to reported one;
    `shipped_elsewhere`: the shop says that it has left, a warehouse was told to ship it and has not said so;
    `shipped_short`: the warehouse is done, shipped fewer pieces than were ordered, and they have not been paid back.

    `shops_told`: whether we tell the shop of shipments. One that hears of them from somebody else may do so before us,
    and is not `shipped_elsewhere` for that.
    """
    if not order.commands and not order.confirmations and not order.progress:
        return ()
    found: list[Conflict] = []
    planned = order.issued(Operation.CREATE) is not None
    if order.confirmations and order.closed and not order.returned:
        found.append("cancelled_but_shipped")
    if order.confirmations and order.refunded and not order.closed and order.issued(Operation.CANCEL) is not None:
        # Without our cancel the refund came after the parcel: goods that come back.
        found.append("refunded_but_shipped")
    if order.confirmations and order.content is None:
        found.append("shipped_unknown_order")
    if order.confirmations and order.route is not None and len(order.confirmed) < len(order.confirmations):
        found.append("confirmed_by_other_warehouse")
    if planned and not order.shipped_final:
        if order.changed_after_sent:
            found.append("changed_after_sent")
        if order.held and not order.confirmed and not (order.closed or order.refunded):
            # Once a parcel has left, a hold comes late; and some platforms hold what they were told is shipped.
            found.append("held_after_sent")
        if order.issued(Operation.CANCEL) is not None and not (order.closed or order.refunded or order.refund_open):
            found.append("reopened_after_cancel")
    if planned and shops_told and order.left_unseen and not order.closed:
        found.append("shipped_elsewhere")
    if order.progress and any(progress.step is ProgressStep.EXCEPTION for progress in order.reported):
        found.append("warehouse_exception")
    if order.confirmations and _shipped_short(order):
        found.append("shipped_short")
    return tuple(found)


def _shipped_short(order: Order) -> bool:
    """Whether nothing more follows and of some SKU fewer pieces left than were ordered, without their money back.

    Counted as the ledger counts: a last parcel that names no pieces completes the order, another one that names none
    brings none. A refund does not say what it is for, so it stands for the missing pieces as soon as it covers them.
    """
    if order.origin is not Origin.LIVE or order.closed or order.refunded or order.content is None:
        return False
    last = [told for told in order.confirmed.values() if told.final]
    if not last or not all(told.shipped for told in last):
        return False
    content = order.content.value
    missing = pieces(content.lines, order.recipes)
    for sku, count in shipped(order).items():
        missing[sku] = missing.get(sku, 0) - count
    if all(count <= 0 for count in missing.values()):
        return False
    repaid = [r.value.amount_minor for r in order.refunds.values() if r.value.status is RefundStatus.DONE]
    if not all(repaid):
        return False  # some shops do not say how much was paid back
    return not repaid or sum(repaid) < _paid_for(missing, content, order.recipes)


def _paid_for(missing: dict[Sku, int], content: Content, recipes: Recipes) -> int:
    """Minor units the buyer paid for so many pieces of each SKU: their prices, less their part of the discount."""
    left = dict(missing)
    price_minor = 0
    for item in items_of(content.lines, recipes):
        count = max(0, min(item.quantity, left.get(item.sku, 0)))
        left[item.sku] = left.get(item.sku, 0) - count
        price_minor += item.price_minor * count
    goods_minor = sum(line.price_minor * line.quantity for line in content.lines)
    paid_minor = min(goods_minor, content.total_minor - content.freight_minor)
    return price_minor * max(0, paid_minor) // goods_minor if goods_minor else 0
