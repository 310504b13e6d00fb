"""What a connection was when a gateway last started with it: what the file does not say any more still counts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from gateway.core.event import ConnectionName
from gateway.store.sql import Connection


async def note_start_at(connection: Connection, start_at: Mapping[ConnectionName, datetime]) -> None:
    """Keep from when on shops deliver. One that the file leaves out later stays: it says what another system sent."""
    await connection.execute(
        "UPDATE connection c SET start_at = n.start_at FROM unnest($1::text[], $2::timestamptz[]) AS n(name, start_at)"
        " WHERE c.name = n.name AND c.start_at IS DISTINCT FROM n.start_at",
        list(start_at),
        list(start_at.values()),
    )


async def kept_start_at(connection: Connection) -> dict[ConnectionName, datetime]:
    """From when on each shop was last said to deliver; left out where that is still to come, which may be a slip."""
    rows = await connection.fetch("SELECT name, start_at FROM connection WHERE start_at <= now()")
    return {ConnectionName(row["name"]): row["start_at"] for row in rows}


async def note_adapters(connection: Connection, adapters: Mapping[ConnectionName, str]) -> None:
    await connection.execute(
        "UPDATE connection c SET adapter = n.adapter FROM unnest($1::text[], $2::text[]) AS n(name, adapter)"
        " WHERE c.name = n.name AND c.adapter IS DISTINCT FROM n.adapter",
        list(adapters),
        list(adapters.values()),
    )


async def other_adapters(connection: Connection, adapters: Mapping[ConnectionName, str]) -> dict[ConnectionName, str]:
    """Connections that are reached by another adapter than before, and which that was."""
    rows = await connection.fetch(
        "SELECT c.name, c.adapter FROM connection c"
        " JOIN unnest($1::text[], $2::text[]) AS n(name, adapter) ON n.name = c.name AND n.adapter <> c.adapter"
        " ORDER BY c.name",
        list(adapters),
        list(adapters.values()),
    )
    return {ConnectionName(row["name"]): row["adapter"] for row in rows}
