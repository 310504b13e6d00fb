"""HTTP API for people and programs: orders, deliveries, dead letters, gates."""
