"""Route: which target, from which warehouse. For now the shop's first route."""

from __future__ import annotations

from gateway.core.order import Operation, Order, Route
from gateway.pipeline.rules import Rules


def route_of(order: Order, rules: Rules) -> Route | None:
    """The route of `order`: the one it already has, else the shop's first; None while the shop is not known.

    While no warehouse knows of the order, one that the shop has not any more is replaced: where stock is kept for the
    order by one for the same warehouse, which another system runs now, and only where its target is not configured any
    more by another warehouse; else by the shop's first, as for a code that was mended.
    """
    kept = order.route
    if kept is not None and (order.confirmations or order.progress or order.issued(Operation.CREATE) is not None):
        return kept
    shop = rules.shop_of(order)
    if shop is None or not shop.routes:
        return kept
    if kept is None or kept in shop.routes:
        return kept or shop.routes[0]
    if order.booked:
        there = [route for route in shop.routes if route.warehouse == kept.warehouse]
        if there or kept.target in rules.targets:
            return there[0] if there else kept
    return shop.routes[0]
