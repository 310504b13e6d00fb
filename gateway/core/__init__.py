"""Pure data and rules: orders, stock, deliveries, errors. No I/O, clock or randomness; msgspec and the library."""
