"""Ordergate: every order into every warehouse system, exactly once in effect."""
