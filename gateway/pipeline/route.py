"""Route: which target, from which warehouse. Today the first route of the shop; rules and distance come with F57."""

from __future__ import annotations

from gateway.core.order import Order, Route
from gateway.pipeline.rules import Rules


def route_of(order: Order, rules: Rules) -> Route | None:
    """The route of `order`: the one it already has, else the shop's first; None while the shop is not known."""
    if order.route is not None:
        return order.route
    shop = rules.shops.get(order.connection)
    return shop.routes[0] if shop is not None and shop.routes else None
