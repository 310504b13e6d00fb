"""The decision on an order, in pure steps, a file each: clean, merge, items, review, route, reserve,
plan."""
