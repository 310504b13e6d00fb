"""The Kafka leg of intake: one consumer, batches in sequence, offsets committed only behind the database.

aiokafka rebalances in the background and eagerly, so a partition may be taken away while its batch is being
decided: `on_partitions_revoked` waits for the batch and commits what is finished. What a zombie (stopped past its
session time-out) decides late is harmless: facts are idempotent and its offset commit is refused by generation.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from gateway.core.errors import Unavailable
from gateway.core.event import Arrival, ConnectionName, Event, EventId, Leg, Position
from gateway.core.happening import Observer, Trouble
from gateway.intake.batch import Decider
from gateway.store.sql import AWAY

_COMMIT_EVERY_S = 0.2


class KafkaReader:
    """Reads one topic until stopped. `options` go to AIOKafkaConsumer (bootstrap, group, security, member id)."""

    def __init__(
        self,
        *,
        topic: str,
        options: Mapping[str, Any],
        decider: Decider,
        decide_lock: asyncio.Lock,
        batch_events: int,
        batch_wait_ms: int,
        observe: Observer,
        reach: Callable[[str], None],
    ) -> None:
        self._topic = topic
        self._options = dict(options)
        self._decider = decider
        self._lock = decide_lock
        self._batch_events = batch_events
        self._batch_wait_ms = batch_wait_ms
        self._observe = observe
        self._reach = reach
        self._done: dict[TopicPartition, int] = {}
        self._committed_at = 0.0
        self._stopping = False

    def stop(self) -> None:
        """Finish the batch under way, commit its offsets, leave the group, and return from `run`."""
        self._stopping = True

    async def run(self) -> None:
        """Until stopped; starts again, with a new consumer, whenever the broker cannot be talked to."""
        while not self._stopping:
            try:
                await self._consume()
            except (KafkaError, OSError) as error:
                self._observe([Trouble("kafka", f"consumer stopped: {type(error).__name__}")])
                await asyncio.sleep(1.0)

    async def _consume(self) -> None:
        consumer = AIOKafkaConsumer(
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=50,
            max_partition_fetch_bytes=2 * 1024 * 1024,
            isolation_level="read_committed",
            **self._options,
        )
        self._done.clear()
        consumer.subscribe([self._topic], listener=_Drain(self, consumer))
        try:
            await consumer.start()
            while not self._stopping:
                await self._batch(consumer)
        finally:
            # Bounded: a broker that is away must not hold up the stop. What is not committed is read again.
            try:
                async with asyncio.timeout(5.0):
                    await self._commit(consumer)
                    await consumer.stop()
            except (TimeoutError, KafkaError, OSError) as error:
                self._observe([Trouble("kafka", f"consumer did not stop cleanly: {type(error).__name__}")])

    async def _batch(self, consumer: AIOKafkaConsumer) -> None:
        polled = await consumer.getmany(timeout_ms=self._batch_wait_ms, max_records=self._batch_events)
        if not polled:
            await self._commit(consumer)
            return
        self._reach("kafka.polled")
        async with self._lock:
            arrivals = [_arrival(record) for records in polled.values() for record in records]
            batch = self._decider.prepare(arrivals)
            self._reach("kafka.prepared")
            while True:
                try:
                    await self._decider.decide(batch, leg=Leg.KAFKA)
                    break
                except AWAY as error:
                    self._observe([Trouble("intake", f"PostgreSQL is away: {type(error).__name__}")])
                    await asyncio.sleep(1.0)
                except Unavailable as error:
                    await asyncio.sleep(error.retry_after_s)
            for partition, records in polled.items():
                self._done[partition] = records[-1].offset + 1
            self._reach("kafka.before_offset")
            if time.monotonic() - self._committed_at >= _COMMIT_EVERY_S:
                await self._commit(consumer)
                self._reach("kafka.after_offset")

    async def drain(self, consumer: AIOKafkaConsumer) -> None:
        """Wait for the batch under way and commit what is finished; called before partitions are given up."""
        async with self._lock:
            await self._commit(consumer)
            self._done.clear()

    async def _commit(self, consumer: AIOKafkaConsumer) -> None:
        if not self._done:
            return
        assigned = consumer.assignment()
        offsets = {partition: offset for partition, offset in self._done.items() if partition in assigned}
        self._done.clear()
        self._committed_at = time.monotonic()
        try:
            if offsets:
                await consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            # The group moved on without us: the new owner reads these events again, which changes nothing.
            self._observe([Trouble("kafka", f"offsets not committed: {type(error).__name__}")])


class _Drain(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, reader: KafkaReader, consumer: AIOKafkaConsumer) -> None:
        self._reader = reader
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        await self._reader.drain(self._consumer)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        return


def _arrival(record: Any) -> Arrival:
    """A record as an event. What its producer left out is filled with what is known; intake judges the rest."""
    headers: dict[str, str] = {
        name: value.decode("utf-8", "replace") for name, value in record.headers if value is not None
    }
    key = record.key.decode("utf-8", "replace") if record.key is not None else ""
    source, _, order_key = key.partition("/")
    now = datetime.now(UTC)
    taken_at = _sensible(record.timestamp / 1000, default=now)
    return Arrival(
        Event(
            id=EventId(headers.get("ce_id") or f"{record.topic}/{record.partition}/{record.offset}"),
            source=ConnectionName(headers.get("ce_source") or source),
            type=headers.get("ce_type", ""),
            order_key=order_key,
            time=_instant(headers.get("ce_time", ""), default=taken_at),
            body=record.value if record.value is not None else b"",
            traceparent=headers.get("traceparent", ""),
        ),
        Position(Leg.KAFKA, record.partition, record.offset),
        taken_at,
    )


def _instant(text: str, *, default: datetime) -> datetime:
    if not text:
        return default
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return default
    # Outside of these years an instant may have no UTC form, and nothing happened there.
    return instant if instant.tzinfo is not None and 2000 <= instant.year <= 2099 else default


def _sensible(seconds: float, *, default: datetime) -> datetime:
    """A record's time stamp, unless its producer counted in another unit or not at all (-1)."""
    return datetime.fromtimestamp(seconds, UTC) if 946_684_800 <= seconds < 4_102_444_800 else default
