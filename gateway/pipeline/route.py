"""Route: which target, from which warehouse. Today the first route of the shop; rules and distance come with F57."""

from __future__ import annotations

from gateway.core.order import Operation, Order, Route
from gateway.pipeline.rules import Rules


def route_of(order: Order, rules: Rules) -> Route | None:
    """The shop's first route as it is now; None while the shop is not known or has none.

    What waits follows a route that is changed, and its bookings with it. From when a warehouse has been told of the
    order, or tells of it, the route stays.
    """
    if order.route is not None and (
        order.confirmations or order.progress or order.issued(Operation.CREATE) is not None
    ):
        return order.route
    shop = rules.shops.get(order.connection)
    first = shop.routes[0] if shop is not None and shop.routes else None
    return order.route if first is None or first == order.route else first
