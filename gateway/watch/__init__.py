"""Time-driven work, done by whoever holds the advisory lock."""
