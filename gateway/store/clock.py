"""What the database's clock shows."""

from __future__ import annotations

import time

from gateway.core.clock import Reading, reading
from gateway.store.sql import Connection


async def read_clock(connection: Connection) -> tuple[Reading | None, bool]:
    """Its clock, and whether that is another one than ours: the server's own machine has the same."""
    sent_s = time.monotonic()
    shown_s, elsewhere = await connection.fetchrow(
        "SELECT extract(epoch FROM clock_timestamp())::float8, inet_server_addr() IS DISTINCT FROM inet_client_addr()"
    )
    return reading(shown_s, resolution_s=0.0, sent_s=sent_s, received_s=time.monotonic()), elsewhere
