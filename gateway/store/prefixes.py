"""The prefix of each live shop's order numbers, kept so that with another one nothing starts.

A number is what an order is known by. What is known keeps its own when the shop takes another prefix, but while some
gateways or workers go by one and some by another, the same order is two, and the warehouse has it twice. While a shop
is only watched nothing is sent, and its prefix may change; live again, it needs a `start_at` from after the change.
No shop takes what was another one's: order 17 of both would be one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from gateway.core.event import ConnectionName
from gateway.core.text import Text
from gateway.store.sql import Connection

KEEP_PREFIX = Text(
    "改回原来的前缀；非改不可的，按切换的步骤做：先 `mode: observe`，再带 `start_at` 上线（docs/cut-over.zh-CN.md）",
    "put the one before back; where it has to be another, switch the shop over: `mode: observe` first, then live with"
    " `start_at` (docs/cut-over.md)",
)
_START_LATER = Text(
    "`start_at` 写在此后，选几分钟之后的时刻（docs/cut-over.zh-CN.md）",
    "a `start_at` after that, some minutes ahead (docs/cut-over.md)",
)
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_TAKE_ANOTHER = Text("给它另选一个前缀", "choose another prefix for it")


class Changed(msgspec.Struct, frozen=True):
    """A live shop's prefix `before` and `now`; `until`: since then it was only watched, under another."""

    name: ConnectionName
    before: str
    now: str
    until: datetime | None

    @property
    def what(self) -> Text:
        if self.until is None:
            return Text(
                f"原来是 {self.before}，现在是 {self.now}：店铺推送或被重读的订单可能成为两单，向仓库再下发一次",
                f"was {self.before} and is {self.now}: orders that the shop tells, or that are read again, could"
                " become two and be sent to the warehouse a second time",
            )
        until = self.until.isoformat(timespec="seconds")
        return Text(
            f"原来是 {self.before}，{until} 起以另一个前缀观察，现在以 {self.now} 上线：没有更晚的 start_at，"
            "其间的订单再次推送或被重读，会向仓库再下发一次",
            f"was {self.before}, was watched under another since {until}, and is live as {self.now}: without a later"
            " start_at orders of that time that are told or read again would be sent a second time",
        )

    @property
    def advice(self) -> Text:
        return KEEP_PREFIX if self.until is None else _START_LATER


class Taken(msgspec.Struct, frozen=True):
    """A shop whose prefix `now` is, begins or begins with one that another shop's orders have, or begins or begins with
    another one of its own: A and 15 are A1 and 5.

    `gone`: the other is not configured, and may be this very shop under its name of before.
    """

    name: ConnectionName
    now: str
    other: ConnectionName
    others: str
    gone: bool

    @property
    def what(self) -> Text:
        if self.other == self.name:
            return Text(
                f"{self.now!r}：它自己已有的订单号以 {self.others!r} 开头，两者可能相同，一单会并入另一单",
                f"{self.now!r}: numbers of its own orders begin with {self.others!r} and could be the same, and one"
                " order would be taken for another",
            )
        return Text(
            f"{self.now!r}：{self.other} 的订单号以 {self.others!r} 开头，两者可能相同，一家的订单会并入另一家的",
            f"{self.now!r}: the numbers of orders of {self.other} begin with {self.others!r} and could be the same, and"
            " an order of the one would be taken for the other's",
        )

    @property
    def advice(self) -> Text:
        if not self.gone:
            return _TAKE_ANOTHER
        return Text(
            f"是另一家店铺就{_TAKE_ANOTHER.zh}；就是 {self.other} 改了名的，保持不变",
            f"{_TAKE_ANOTHER.en}, unless it is {self.other} under a new name: then leave it",
        )


async def changed_prefixes(
    connection: Connection, live: Mapping[ConnectionName, str], start_at: Mapping[ConnectionName, datetime]
) -> list[Changed]:
    """Of the shops that are `live` with a prefix, those whose orders may have another one."""
    rows = await connection.fetch(
        "SELECT c.name, c.prefix, n.prefix, c.prefix_until FROM connection c"
        " JOIN unnest($1::text[], $2::text[], $3::timestamptz[]) AS n(name, prefix, start_at) ON n.name = c.name"
        " WHERE (n.prefix <> c.prefix OR c.prefix_until IS NOT NULL)"
        " AND NOT coalesce(n.start_at >= c.prefix_until, false) ORDER BY c.name",
        list(live),
        list(live.values()),
        [start_at.get(name) for name in live],
    )
    return [Changed(ConnectionName(row[0]), *row[1:]) for row in rows]


async def taken_prefixes(connection: Connection, prefixes: Mapping[ConnectionName, str]) -> list[Taken]:
    """Of all shops those whose prefix, which they have not had live yet, could make an order number of another's; or
    one of their own, where they have not even been watched under it."""
    rows = await connection.fetch(
        "SELECT n.name, n.prefix, c.name, p.prefix, c.name <> ALL($1::text[])"
        " FROM unnest($1::text[], $2::text[]) AS n(name, prefix)"
        " JOIN connection c ON c.name <> n.name"
        " CROSS JOIN unnest(c.former || c.prefix) AS p(prefix)"
        " WHERE (starts_with(n.prefix, p.prefix) OR starts_with(p.prefix, n.prefix))"
        " AND NOT EXISTS (SELECT 1 FROM connection o WHERE o.name = n.name AND n.prefix = ANY(o.former || o.prefix))"
        " UNION ALL SELECT n.name, n.prefix, c.name, p.prefix, false"
        " FROM unnest($1::text[], $2::text[]) AS n(name, prefix)"
        " JOIN connection c ON c.name = n.name AND n.prefix <> ALL (c.seen)"
        " CROSS JOIN unnest(c.seen) AS p(prefix)"
        " WHERE starts_with(n.prefix, p.prefix) OR starts_with(p.prefix, n.prefix)"
        " ORDER BY 1, 3, 4",
        list(prefixes),
        list(prefixes.values()),
    )
    return [Taken(ConnectionName(row[0]), row[1], ConnectionName(row[2]), *row[3:]) for row in rows]


async def former_prefixes(
    connection: Connection,
    prefixes: Mapping[ConnectionName, str],
    renamed: Mapping[ConnectionName, ConnectionName],
) -> dict[ConnectionName, tuple[str, ...]]:
    """Shop → the prefixes other than its present one that its orders have, the last first; none: left out.

    `renamed`: shops of before and the names that they have now; theirs count as well.
    """
    now = {**prefixes, **{old: prefixes[new] for old, new in renamed.items()}}
    rows = await connection.fetch(
        "SELECT c.name, array_remove(c.seen, n.prefix) FROM connection c"
        " JOIN unnest($1::text[], $2::text[]) AS n(name, prefix) ON n.name = c.name ORDER BY c.connection_id DESC",
        list(now),
        list(now.values()),
    )
    found: dict[ConnectionName, tuple[str, ...]] = {}
    for name, former in rows:
        if former:
            shop = renamed.get(ConnectionName(name), ConnectionName(name))
            found[shop] = found.get(shop, ()) + tuple(reversed(former))
    return found


async def renamed_shops(
    connection: Connection, prefixes: Mapping[ConnectionName, str], adapters: Mapping[ConnectionName, str]
) -> dict[ConnectionName, ConnectionName]:
    """Shop that is not configured any more → the one that has its prefix now, or had it since, by the same adapter,
    be it under a third name.

    `adapters` are those of everything that is configured, `prefixes` those of its shops.
    """
    rows = await connection.fetch(
        "WITH RECURSIVE was AS (SELECT n.name, n.name AS now, n.adapter, o.former || o.prefix || n.prefix AS had"
        " FROM unnest($1::text[], $2::text[], $3::text[]) AS n(name, prefix, adapter)"
        " LEFT JOIN connection o ON o.name = n.name"
        " UNION SELECT c.name, w.now, c.adapter, c.former || c.prefix FROM was w JOIN connection c"
        " ON c.adapter = w.adapter AND c.prefix = ANY (w.had) WHERE c.name <> ALL($4::text[]))"
        " SELECT name, now FROM was WHERE name <> now",
        list(prefixes),
        list(prefixes.values()),
        [adapters[name] for name in prefixes],
        list(adapters),
    )
    return {ConnectionName(row[0]): ConnectionName(row[1]) for row in rows}


async def note_prefixes(
    connection: Connection, live: Mapping[ConnectionName, str], watched: Mapping[ConnectionName, str]
) -> None:
    """Write down the prefixes of all, of what is live, and since when a shop is `watched` under another one.

    The shops have to be registered.
    """
    every = {**watched, **live}
    await connection.execute(
        "UPDATE connection c SET seen = array_remove(c.seen, n.prefix) || n.prefix"
        " FROM unnest($1::text[], $2::text[]) AS n(name, prefix)"
        " WHERE c.name = n.name AND n.prefix IS DISTINCT FROM c.seen[cardinality(c.seen)]",
        list(every),
        list(every.values()),
    )
    await connection.execute(
        "UPDATE connection c SET prefix = n.prefix, prefix_until = NULL, former = CASE"
        " WHEN c.prefix <> n.prefix THEN array_remove(c.former, n.prefix) || c.prefix ELSE c.former END"
        " FROM unnest($1::text[], $2::text[]) AS n(name, prefix)"
        " WHERE c.name = n.name AND (c.prefix IS DISTINCT FROM n.prefix OR c.prefix_until IS NOT NULL)",
        list(live),
        list(live.values()),
    )
    await connection.execute(
        "UPDATE connection c SET prefix_until = date_trunc('second', now())"
        " FROM unnest($1::text[], $2::text[]) AS n(name, prefix)"
        " WHERE c.name = n.name AND c.prefix <> n.prefix AND c.prefix_until IS NULL",
        list(watched),
        list(watched.values()),
    )


async def note_restored(connection: Connection, live: Mapping[ConnectionName, str], newest_at: datetime | None) -> None:
    """A backup from before a shop was switched over to another prefix does not know of it: since its newest event the
    shop counts as watched, so that the `start_at` that it is live with is enough."""
    await connection.execute(
        "UPDATE connection c SET prefix_until = $3 FROM unnest($1::text[], $2::text[]) AS n(name, prefix)"
        " WHERE c.name = n.name AND c.prefix <> n.prefix AND c.prefix_until IS NULL",
        list(live),
        list(live.values()),
        newest_at or _LONG_AGO,
    )


async def lock_connections(connection: Connection) -> None:
    """Keep others that start from looking at what this transaction is about to note."""
    await connection.fetch("SELECT FROM connection ORDER BY connection_id FOR NO KEY UPDATE")


def refused_prefixes(wrong: Sequence[Changed | Taken]) -> Text:
    """Why nothing starts with these."""
    return Text(
        "；".join(f"{one.name} 的 prefix {one.what.zh}。{one.advice.zh}" for one in wrong),
        "; ".join(f"the prefix of {one.name} {one.what.en}; {one.advice.en}" for one in wrong),
    )
