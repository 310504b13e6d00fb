"""Lanes that a commit without an answer has claimed come free again; those in somebody's hands stay."""

from __future__ import annotations

import time

from gateway.core.event import ConnectionName
from gateway.core.happening import Happening, Trouble
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.lease import Lease
from gateway.store.outbox import free_lanes, own_lanes, start_worker
from gateway.store.sql import open_pool, register_connections


async def test_only_what_is_astray_for_long_is_freed(migrated_url: str) -> None:
    pool = await open_pool(migrated_url, size=4)
    names = await register_connections(pool, [ConnectionName("wms-1")])
    worker_id = await start_worker(pool, name="test", lease_s=60)
    happened: list[Happening] = []
    dispatcher = Dispatcher(
        pool=pool,
        keeper=pool,
        names=names,
        worker_id=worker_id,
        lease=Lease(60, clock=time.monotonic, granted_at=time.monotonic()),
        heartbeat_s=0.05,
        observe=happened.extend,
        outcome_wait_s=0.001,
        reach=lambda _: None,
    )
    await pool.execute(
        "INSERT INTO lane (order_id, target_id, operation, head, tail, worker_id)"
        " SELECT n, 1, 'create', 1, 1, $1 FROM generate_series(1, 3) n",
        worker_id,
    )
    dispatcher._advancing = {(3, 1): 1}
    await dispatcher._free_strays()
    assert len(await own_lanes(pool, worker_id)) == 3, "nothing was uncertain: nobody looks"
    dispatcher.uncertain()
    await dispatcher._free_strays()
    await dispatcher._free_strays()
    assert len(await own_lanes(pool, worker_id)) == 3, "a call may still be on its way"
    dispatcher._astray_after_s = 0.0
    await dispatcher._free_strays()
    assert await own_lanes(pool, worker_id) == {(3, 1)}
    assert [one.where for one in happened if isinstance(one, Trouble)] == ["strays"]
    assert await pool.fetchval("SELECT bool_or(in_doubt) FROM lane") is False
    assert await free_lanes(pool, [(3, 1)], worker_id=worker_id + 1) == 0
    await pool.close()
