"""What a connection was when a gateway last started with it: what the file does not say any more still counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from gateway.core.event import ConnectionName
from gateway.store.sql import Connection


async def note_start_at(
    connection: Connection, shops: Collection[ConnectionName], start_at: Mapping[ConnectionName, datetime]
) -> None:
    """Keep from when on `shops` deliver. One that the file leaves out later stays: it says what another system sent.

    One that is still to come does not take the place of that before it has come to pass: it may be a slip.
    """
    await connection.execute(
        "UPDATE connection c SET start_next = CASE WHEN n.start_at > now() THEN n.start_at END, start_at = CASE"
        f" WHEN n.start_at <= now() THEN n.start_at ELSE {_KEPT} END"
        " FROM unnest($1::text[], $2::timestamptz[]) AS n(name, start_at) WHERE c.name = n.name"
        " AND (n.start_at IS DISTINCT FROM c.start_at OR c.start_next IS NOT NULL)",
        list(shops),
        [start_at.get(name) for name in shops],
    )


async def kept_start_at(
    connection: Connection, renamed: Mapping[ConnectionName, ConnectionName]
) -> dict[ConnectionName, datetime]:
    """From when on each shop was last said to deliver; left out where that is still to come.

    `renamed`: shops of before and the names that they have now, under which theirs counts until another is said; of
    several that of the last one.
    """
    rows = await connection.fetch(
        f"SELECT name, {_KEPT} FROM connection c WHERE {_KEPT} IS NOT NULL ORDER BY connection_id DESC"
    )
    kept = {ConnectionName(row[0]): row[1] for row in rows}
    for old, start_at in list(kept.items()):
        if old in renamed:
            kept.setdefault(renamed[old], start_at)
    return kept


_KEPT = "CASE WHEN c.start_next <= now() THEN c.start_next ELSE c.start_at END"


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
