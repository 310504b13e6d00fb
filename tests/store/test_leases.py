"""Whose lease has run out, whatever happens to the database's clock."""

from __future__ import annotations

import asyncio

from gateway.store.outbox import adopt, renew_lease, start_worker
from gateway.store.sql import open_pool


async def test_a_lease_from_the_future_counts_from_when_it_is_seen(migrated_url: str) -> None:
    """The database's clock was eight hours ahead, until somebody set it right."""
    pool = await open_pool(migrated_url, size=2)
    dead, alive, present = [await start_worker(pool, name=name, lease_s=1.0) for name in ("a/0", "b/0", "c/0")]
    await pool.execute(
        "INSERT INTO lane (order_id, target_id, operation, head, tail, worker_id) VALUES (1, 1, 'create', 1, 1, $1)",
        dead,
    )
    await pool.execute("UPDATE worker SET renewed_at = now() + interval '8 hours' WHERE worker_id <> $1", present)

    assert await adopt(pool, settle_s={}) == {}, "who has renewed just before is not taken for dead"
    adopted: dict[int, int] = {}
    async with asyncio.timeout(10):
        while not adopted:
            await renew_lease(pool, alive)
            await renew_lease(pool, present)
            adopted = await adopt(pool, settle_s={})
            await asyncio.sleep(0.1)

    assert adopted == {dead: 1}
    assert await pool.fetchval("SELECT count(*) FROM worker") == 2
    await pool.close()
