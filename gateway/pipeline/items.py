"""Items: what an order's lines stand for in the warehouse, for shops that call things by names of their own.

What a SKU is made of is looked up while the order is still here, and remembered with it from when the warehouse was
told: a table that is edited later changes neither what was sent nor what is booked for it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.core.event import ConnectionName
from gateway.core.order import Operation, Order, Recipe, Sku
from gateway.pipeline.rules import Rules

Tables = Mapping[ConnectionName, Mapping[Sku, Recipe]]
"""Of each shop whose SKUs are mapped, what is known of those its orders name."""


def with_recipes(order: Order, rules: Rules, tables: Tables) -> Order:
    """`order` with the recipes of what it orders; the same object where nothing changed.

    Once `create` was planned, a warehouse said that it shipped, or it left by another hand, a SKU's recipe stays what
    it is. An order that was sent before its shop was mapped stays as it is, too, and so does what was kept for one that
    left by another hand.
    """
    shop = rules.shop_of(order)
    if shop is None or order.content is None:
        return order
    sent = order.issued(Operation.CREATE) is not None
    gone = order.left_by_other_hand
    if order.recipes is None and (sent or (gone and order.booked)):
        return order
    left = sent or gone or bool(order.confirmed)
    if not shop.mapped:
        return order if left or order.recipes is None else msgspec.structs.replace(order, recipes=None)
    table = tables.get(shop.name, {})
    known = {recipe.sku: recipe for recipe in order.recipes or ()} if left else {}
    for line in order.content.value.lines:
        if line.sku not in known and (recipe := table.get(line.sku)) is not None:
            known[line.sku] = recipe
    recipes = tuple([recipe for _, recipe in sorted(known.items())])
    return order if recipes == order.recipes else msgspec.structs.replace(order, recipes=recipes)
