"""Plan: the commands an order's state asks for and has not asked for yet, and the stage that follows from it."""

from __future__ import annotations

from gateway.core.event import ConnectionName
from gateway.core.order import Command, Conflict, Operation, Order, Origin, ProgressStep, Stage
from gateway.pipeline.rules import Rules


def plan(order: Order, rules: Rules, *, allocated: bool) -> tuple[Command, ...]:
    """New commands, in the sequence their targets get them. Planning twice plans nothing more."""
    if order.origin is not Origin.LIVE:
        return ()
    new: list[Command] = []
    create = order.issued(Operation.CREATE)
    over = order.closed or order.refunded
    # Any warehouse's word that it has left keeps it from being sent, even of one that was never told to ship it.
    if create is None and allocated and not over and not order.confirmations and order.route is not None:
        new.append(_next(order, new, order.route.target, Operation.CREATE, "create"))
    stop = (over or order.refund_open) and not order.shipped_final
    if create is not None and stop and order.issued(Operation.CANCEL) is None:
        new.append(_next(order, new, create.target, Operation.CANCEL, "cancel"))
    shop = rules.shops.get(order.connection) if order.confirmations else None
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
    if order.shipped_final:
        return Stage.SHIPPED
    if confirmed or any(ProgressStep.PACKING <= p.step <= ProgressStep.READY for p in order.reported):
        return Stage.PACKED
    if waiting:
        return Stage.RECEIVED
    return Stage.ALLOCATED if allocated else Stage.REVIEWED


def conflicts_of(order: Order) -> tuple[Conflict, ...]:
    """Named contradictions between what the shop says, what was sent and what the warehouse did; for a person.

    `cancelled_but_shipped`, unless the shop knew it as shipped when it closed it: goods that come back;
    `refunded_but_shipped`: paid back in full, the warehouse told to stop it, and a parcel has left all the same;
    `shipped_unknown_order`: a warehouse confirmed what no shop told of;
    `confirmed_by_other_warehouse`: one confirmed that the order is not routed to, and that does not count as shipped;
    `changed_after_sent`: lines or receiver changed after `create` was planned; `held_after_sent`, and nothing has left;
    `reopened_after_cancel`: the warehouse was told to cancel and the shop wants the order after all;
    `warehouse_exception`: the warehouse it is routed to reported one.
    """
    if not order.commands and not order.confirmations and not order.progress:
        return ()
    found: list[Conflict] = []
    if order.confirmations and order.closed and not order.returned:
        found.append("cancelled_but_shipped")
    if order.confirmations and order.refunded and not order.closed and order.issued(Operation.CANCEL) is not None:
        # Without our cancel the refund came after the parcel: goods that come back.
        found.append("refunded_but_shipped")
    if order.confirmations and order.content is None:
        found.append("shipped_unknown_order")
    if order.confirmations and order.route is not None and len(order.confirmed) < len(order.confirmations):
        found.append("confirmed_by_other_warehouse")
    if order.issued(Operation.CREATE) is not None and not order.shipped_final:
        if order.changed_after_sent:
            found.append("changed_after_sent")
        if order.held and not order.confirmed:
            # Once a parcel has left, a hold comes late; and some platforms hold what they were told is shipped.
            found.append("held_after_sent")
        if order.issued(Operation.CANCEL) is not None and not (order.closed or order.refunded or order.refund_open):
            found.append("reopened_after_cancel")
    if any(progress.step is ProgressStep.EXCEPTION for progress in order.reported):
        found.append("warehouse_exception")
    return tuple(found)
