"""Sends what the outbox holds: dispatcher, gates, and the fences that make adoption safe."""
