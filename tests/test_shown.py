"""What a worker shows of itself."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry

from gateway.core.errors import Unavailable
from gateway.core.event import ConnectionName, Event, EventId
from gateway.dispatch.lease import Lease
from gateway.ingest.inbound import InboxLeg
from gateway.shown import show_worker
from gateway.store.sql import open_pool
from gateway.telemetry.metrics import Gauges, Metrics

EVENT = Event(
    id=EventId("e1"),
    source=ConnectionName("shop-a"),
    type="t",
    order_key="A1",
    time=datetime(2026, 5, 1, tzinfo=UTC),
    body=b"{}",
)


async def test_a_worker_shows_whether_the_database_takes_events(migrated_url: str) -> None:
    """One that has its lease renewed and no room for events is silent nowhere else."""
    registry = CollectorRegistry()
    gauges = Gauges(Metrics(["shop-a"], registry=registry))
    pool = await open_pool(migrated_url, size=2)
    inbox = InboxLeg(pool, observe=lambda _: None)
    lease = Lease(60.0, clock=time.monotonic, granted_at=time.monotonic())

    async def shown() -> float | None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await show_worker(gauges, lease, [], None, inbox)
        return registry.get_sample_value("ordergate_leg_up", {"leg": "inbox"})

    async with asyncio.TaskGroup() as group:
        writing = group.create_task(inbox.run(), name="inbox")
        await inbox.put(EVENT)
        assert await shown() == 1
        await pool.close()
        with pytest.raises(Unavailable):
            await inbox.put(EVENT)
        assert await shown() == 0
        writing.cancel()
