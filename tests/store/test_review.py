"""Orders that are decided again in bulk keep out of the way of those that come in."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from gateway.store.inbox import put
from gateway.store.queries import OrderFilter
from gateway.store.review import Reconsidered, reconsider_many
from gateway.store.sql import open_pool
from gateway.store.stock import reconsider

NOW = datetime(2026, 5, 1, 9, 30, tzinfo=UTC)


async def test_no_wishes_are_put_behind_what_intake_has_not_taken_yet(migrated_url: str) -> None:
    pool = await open_pool(migrated_url, size=2)

    async def again(room_within_s: float) -> Reconsidered:
        return await reconsider_many(
            pool, OrderFilter(prefix="S"), after=7, limit=100, reason="x", actor="admin", now=NOW,
            room_within_s=room_within_s,
        )  # fmt: skip

    await put(pool, [reconsider(f"X{n}", "shop", NOW) for n in range(500)])
    assert await again(0.1) == Reconsidered(count=0, unread=(), next="7")
    waiting = asyncio.create_task(again(30.0))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await pool.execute("DELETE FROM inbox WHERE order_key = 'X0'")
    assert await waiting == Reconsidered(count=0, unread=(), next="")
    await pool.close()
