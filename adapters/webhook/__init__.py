"""Orders in and commands out as our own JSON, signed after Standard Webhooks."""
