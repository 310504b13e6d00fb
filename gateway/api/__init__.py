"""The HTTP API for people and programs, under /api/v1, and the health pages. What it reads and writes is `store`."""
