"""Where doubt begins in the outbox: what an outage has counted is not counted against an answer that proves nothing."""

from __future__ import annotations

from gateway.store.outbox import adopt, doubt_everything, start_worker

from .stuck import open_desk, stick

BURSTS = "SELECT bursts FROM lane ORDER BY order_id"


async def test_bursts_count_anew_from_where_doubt_begins(migrated_url: str) -> None:
    pool, names = await open_desk(migrated_url)
    await stick(pool, names, 1, bursts=20)
    await stick(pool, names, 1, first=2, in_doubt=True, bursts=5)
    worker_id = await start_worker(pool, name="test/0", lease_s=60)
    await pool.execute("UPDATE lane SET blocked = NULL, worker_id = $1", worker_id)

    assert await adopt(pool, settle_s={}, dead=[worker_id]) == {worker_id: 2}
    assert [row[0] for row in await pool.fetch(BURSTS)] == [0, 5]

    await pool.execute("UPDATE lane SET in_doubt = false, bursts = 20 WHERE order_id = 1")
    await doubt_everything(pool)
    assert [row[0] for row in await pool.fetch(BURSTS)] == [0, 5]
    await pool.close()
