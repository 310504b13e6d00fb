"""Which prefix a shop's order numbers have, kept from start to start.

A number is what an order is known by: with another prefix whatever the shop tells again, or is read again of it, is a
new order, and the warehouse has it twice. While a shop is only watched nothing is sent, and its prefix may change.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.core.event import ConnectionName
from gateway.core.text import Text
from gateway.store.sql import Connection

KEEP_PREFIX = Text(
    "改回原来的前缀；非改不可的，按切换的步骤做：先 `mode: observe`，再带 `start_at` 上线（docs/cut-over.zh-CN.md）",
    "put the one before back; where it has to be another, switch the shop over: `mode: observe` first, then live with"
    " `start_at` (docs/cut-over.md)",
)


async def changed_prefixes(connection: Connection, live: Mapping[ConnectionName, str]) -> dict[ConnectionName, str]:
    """Of the shops that are `live` with a prefix, those that were live with another one, and that one."""
    rows = await connection.fetch(
        "SELECT c.name, c.prefix FROM connection c"
        " JOIN unnest($1::text[], $2::text[]) AS n(name, prefix) ON n.name = c.name AND n.prefix <> c.prefix"
        " ORDER BY c.name",
        list(live),
        list(live.values()),
    )
    return {ConnectionName(row["name"]): row["prefix"] for row in rows}


async def note_prefixes(
    connection: Connection, live: Mapping[ConnectionName, str], watched: Mapping[ConnectionName, str]
) -> None:
    """Write down the prefixes of what is live, and forget that of a shop which is now `watched` under another one.

    The shops have to be registered.
    """
    await connection.execute(
        "UPDATE connection c SET prefix = n.prefix FROM unnest($1::text[], $2::text[]) AS n(name, prefix)"
        " WHERE c.name = n.name AND c.prefix IS DISTINCT FROM n.prefix",
        list(live),
        list(live.values()),
    )
    await connection.execute(
        "UPDATE connection c SET prefix = NULL FROM unnest($1::text[], $2::text[]) AS n(name, prefix)"
        " WHERE c.name = n.name AND c.prefix <> n.prefix",
        list(watched),
        list(watched.values()),
    )


def prefix_was(before: str, now: str) -> Text:
    """What is wrong with a shop whose prefix has changed."""
    return Text(
        f"原来是 {before}，现在是 {now}：店铺再次推送或被重读的订单会成为新订单，向仓库再下发一次",
        f"was {before} and is {now}: orders that the shop tells again, or that are read again, would be new ones and be"
        " sent to the warehouse a second time",
    )


def refused_prefixes(changed: Mapping[ConnectionName, str], live: Mapping[ConnectionName, str]) -> Text:
    """Why nothing starts with these."""
    said = [(name, prefix_was(before, live[name])) for name, before in changed.items()]
    return Text(
        f"{'；'.join(f'{name} 的 prefix {what.zh}' for name, what in said)}。{KEEP_PREFIX.zh}",
        f"{'; '.join(f'the prefix of {name} {what.en}' for name, what in said)}; {KEEP_PREFIX.en}",
    )
