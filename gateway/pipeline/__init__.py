"""The decision on an order, in pure steps, a file each: clean, merge, review, route, reserve, plan."""
