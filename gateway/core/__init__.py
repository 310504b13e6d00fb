"""Pure data and rules: orders, stock, deliveries, errors. Standard library and msgspec only; no I/O, clock or randomness."""
