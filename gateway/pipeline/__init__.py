"""The decision on an order, in pure steps, a file each: clean, merge (`gateway.core.order`), items, review, route,
reserve, plan. `decide` puts them in their order."""
