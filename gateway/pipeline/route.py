"""Route: which target, from which warehouse. For now the shop's first route."""

from __future__ import annotations

from gateway.core.order import Operation, Order, Route
from gateway.pipeline.rules import Rules


def route_of(order: Order, rules: Rules) -> Route | None:
    """The route of `order`: the one it already has, else the shop's first; None while the shop is not known.

    While no warehouse knows of the order, one to a target that is not configured any more is replaced by the shop's
    first, and so is one that the shop has not any more where nothing is kept for the order: a code that was mended.
    """
    kept = order.route
    if kept is not None and (order.confirmations or order.progress or order.issued(Operation.CREATE) is not None):
        return kept
    shop = rules.shops.get(order.connection)
    if shop is None or not shop.routes:
        return kept
    if kept is not None and kept.target in rules.targets and (order.booked or kept in shop.routes):
        return kept
    return shop.routes[0]
