"""Route: which target, from which warehouse. For now the shop's first route."""

from __future__ import annotations

from gateway.core.order import Operation, Order, Route
from gateway.pipeline.rules import Rules


def route_of(order: Order, rules: Rules) -> Route | None:
    """The route of `order`: the one it already has, else the shop's first; None while the shop is not known.

    One to a target that is not configured any more, which no warehouse knows of yet, is replaced by the shop's first.
    """
    kept = order.route
    if kept is not None and (
        kept.target in rules.targets
        or order.confirmations
        or order.progress
        or order.issued(Operation.CREATE) is not None
    ):
        return kept
    shop = rules.shops.get(order.connection)
    return shop.routes[0] if shop is not None and shop.routes else kept
