"""What a filter that found nothing names: a connection or a code that there never was is a slip, and said to be one.

Looked at only then. What is found needs no list: an earlier configuration's connection, or a later release's code,
stands with its rows.
"""

from __future__ import annotations

from collections.abc import Iterable

import asyncpg

from gateway.api.errors import near, wrong
from gateway.core.text import Text
from gateway.core.words import CONFLICTS, REASONS
from gateway.store.wanted import connection_names


async def check_connection(
    pool: asyncpg.Pool, name: str | None, *, where: str, place: str = "query", letters: bool = False
) -> None:
    """Raises ApiError where `name` has never been a connection; with `letters`, nor one that a dead letter names."""
    if name is None:
        return
    async with pool.acquire() as connection:
        known = set((await connection_names(connection)).values())
        if name in known:
            return
        if letters and await connection.fetchval("SELECT EXISTS (SELECT 1 FROM dead_letter WHERE source = $1)", name):
            return
    raise wrong(
        f"{place}.{where}",
        Text(f"没有连接 {name}", f"there is no connection {name}"),
        near(name, sorted(known)) or Text("GET /connections 列出全部连接", "GET /connections lists them"),
    )


def check_reason(code: str | None, *, where: str = "reason", place: str = "query") -> None:
    """Raises ApiError where no order ever waits for `code`."""
    if code is not None and not code.startswith("missing:"):
        _check(code, REASONS, where=f"{place}.{where}", what=Text("没有这个等待原因", "there is no such reason"))


def check_conflict(code: str | None, *, where: str = "conflict", place: str = "query") -> None:
    """Raises ApiError where no order is ever in the conflict `code`."""
    if code is not None:
        _check(code, CONFLICTS, where=f"{place}.{where}", what=Text("没有这个冲突", "there is no such conflict"))


def _check(code: str, known: Iterable[str], *, where: str, what: Text) -> None:
    codes = list(known)
    if code not in codes:
        raise wrong(
            where,
            Text(f"{what.zh}：{code}", f"{what.en}: {code}"),
            near(code, codes) or Text(f"可以是 {'、'.join(codes)}", f"one of {', '.join(codes)}"),
        )
