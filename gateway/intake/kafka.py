"""The Kafka leg of intake: one consumer, batches in sequence, offsets committed only behind the database.

While one batch is being decided the next is read and prepared, in slices between which everything else goes on: the
database works on one core and the gateway on another.

aiokafka rebalances in the background and eagerly, so a partition may be taken away while its batch is being
decided: `on_partitions_revoked` waits for the batch, commits what is finished and drops what was read ahead. What a
zombie (stopped past its session time-out) decides late is harmless: facts are idempotent and its offset commit is
refused by generation.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from gateway.core.errors import Unavailable
from gateway.core.event import Arrival, ConnectionName, Event, EventId, Leg, Position
from gateway.core.happening import Observer, Trouble
from gateway.intake.batch import Batch, Decider, Prepared
from gateway.store.dead import DeadLetter
from gateway.store.sql import AWAY

_COMMIT_EVERY_S = 0.2
_COMMIT_WITHIN_S = 3.0
_END_WITHIN_S = 5.0
_SLICE = 32
"""Events prepared without giving way: about a millisecond."""


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
        self._decided: dict[TopicPartition, int] = {}
        self._epoch = 0
        self._consumer: AIOKafkaConsumer | None = None
        self._committed_at = 0.0
        self._stopping = False

    def stop(self) -> None:
        """Finish the batch that is being decided, commit its offsets, leave the group, and return from `run`."""
        self._stopping = True

    @property
    def lag(self) -> int:
        """Events on our partitions that are not decided, as far as the last polls tell."""
        if self._consumer is None:
            return 0
        assigned = self._consumer.assignment()
        ends = {partition: self._consumer.highwater(partition) for partition in self._decided.keys() & assigned}
        return sum(max(0, end - self._decided[partition]) for partition, end in ends.items() if end is not None)

    async def run(self) -> None:
        """Until stopped; starts again, with a new consumer, whenever the broker cannot be talked to."""
        while not self._stopping:
            failed = False
            try:
                await self._consume()
            except* (KafkaError, OSError) as errors:
                failed = True
                kinds = {type(error.__cause__ or error).__name__ for error in _leaves(errors)}
                what = f"consumer stopped: {', '.join(sorted(kinds))} (`ordergate check` says why)"
                self._observe([Trouble("kafka", what)])
            if failed:
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
        self._consumer = consumer
        self._done.clear()
        self._decided.clear()
        consumer.subscribe([self._topic], listener=_Drain(self, consumer))
        try:
            await _start(consumer)
            async with asyncio.TaskGroup() as group:
                deciding: asyncio.Task[None] | None = None
                try:
                    while not self._stopping:
                        ahead = await self._read_ahead(consumer, deciding)
                        if ahead is not None and not self._stopping:
                            deciding = group.create_task(self._decide(consumer, ahead), name="kafka decide")
                except (KafkaError, OSError):
                    # A consumer that cannot go on is no reason to tear up what is being committed.
                    if deciding is not None:
                        await asyncio.wait([deciding])
                    raise
        finally:
            # Stopped whatever the commit does: a consumer left behind would go on as this member of the group.
            try:
                await self._end(consumer, "offsets not committed", self._commit)
            finally:
                await self._end(consumer, "consumer did not stop cleanly", AIOKafkaConsumer.stop)

    async def _end(
        self, consumer: AIOKafkaConsumer, failed: str, step: Callable[[AIOKafkaConsumer], Awaitable[None]]
    ) -> None:
        """A step of the end, bounded: a broker that is away must not hold it up. What is not committed comes again."""
        try:
            async with asyncio.timeout(_END_WITHIN_S):
                await step(consumer)
        except (TimeoutError, KafkaError, OSError) as error:
            self._observe([Trouble("kafka", f"{failed}: {type(error).__name__}")])

    async def _read_ahead(self, consumer: AIOKafkaConsumer, deciding: asyncio.Task[None] | None) -> _Ahead | None:
        """The next batch, prepared while the one before it is being decided; returns when that one is."""
        ahead = await self._read(consumer, _Ahead(self._epoch), within_ms=self._batch_wait_ms)
        if deciding is not None:
            await deciding
        if not ahead.events:
            await self._commit(consumer)
            return None
        if ahead.events < self._batch_events:
            # What has come in meanwhile belongs to this batch too: a commit is dear.
            ahead = await self._read(consumer, ahead, within_ms=0)
            if not ahead.events:
                return None  # partitions were given up, and nothing has come from those we have now
        self._reach("kafka.prepared")
        return ahead

    async def _read(self, consumer: AIOKafkaConsumer, ahead: _Ahead, *, within_ms: int) -> _Ahead:
        """`ahead` with what a poll adds, prepared in slices: between them the batch before and the sends go on."""
        polled = await consumer.getmany(timeout_ms=within_ms, max_records=self._batch_events - ahead.events)
        if ahead.epoch != self._epoch:
            # Partitions were given up before this poll ended: its records are of the new assignment, those before not.
            ahead = _Ahead(self._epoch)
        if polled:
            self._reach("kafka.polled")
        for partition, records in polled.items():
            for start in range(0, len(records), _SLICE):
                part, now = records[start : start + _SLICE], datetime.now(UTC)
                arrivals = [_arrival(record, now) for record in part]
                ahead.add(self._decider.prepare(arrivals), partition, part[-1].offset + 1)
                await asyncio.sleep(0)
        return ahead

    async def _decide(self, consumer: AIOKafkaConsumer, ahead: _Ahead) -> None:
        async with self._lock:
            if ahead.epoch != self._epoch:
                return  # partitions were given up meanwhile: whoever has them now reads these events again
            while True:
                try:
                    await self._decider.decide(ahead.batch(), leg=Leg.KAFKA)
                    break
                except AWAY as error:
                    self._observe([Trouble("intake", f"PostgreSQL is away: {type(error).__name__}")])
                    await asyncio.sleep(1.0)
                except Unavailable as error:
                    await asyncio.sleep(error.retry_after_s)
            self._done.update(ahead.offsets)
            self._decided.update(ahead.offsets)
        # Without the lock, which the inbox shares: the broker may be away, and then the inbox carries the orders.
        self._reach("kafka.before_offset")
        if time.monotonic() - self._committed_at >= _COMMIT_EVERY_S:
            await self._commit(consumer)
            self._reach("kafka.after_offset")

    async def drain(self, consumer: AIOKafkaConsumer) -> None:
        """Wait for the batch under way, commit what is finished and drop what was read ahead; called before partitions
        are given up."""
        if consumer is not self._consumer:
            return  # one that has been replaced: what is read ahead now is not its own
        async with self._lock:
            self._epoch += 1
        await self._commit(consumer)
        self._done.clear()
        self._decided.clear()

    async def _commit(self, consumer: AIOKafkaConsumer) -> None:
        """Commit what is finished. Offsets that the broker does not confirm in time go with the next ones."""
        if not self._done:
            return
        assigned, epoch = consumer.assignment(), self._epoch
        offsets = {partition: offset for partition, offset in self._done.items() if partition in assigned}
        self._done.clear()
        self._committed_at = time.monotonic()
        if not offsets:
            return
        try:
            async with asyncio.timeout(_COMMIT_WITHIN_S):
                await consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            # The group moved on without us: the new owner reads these events again, which changes nothing.
            self._observe([Trouble("kafka", f"offsets not committed: {type(error).__name__}")])
        except TimeoutError:
            self._observe([Trouble("kafka", f"offsets not committed within {_COMMIT_WITHIN_S:g} s")])
            if epoch == self._epoch:
                self._done = offsets | self._done


class _Ahead:
    """A batch that is read and prepared, not decided. `epoch` counts how often partitions had been given up before."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.offsets: dict[TopicPartition, int] = {}
        self._sound: list[Prepared] = []
        self._unsound: list[DeadLetter] = []

    @property
    def events(self) -> int:
        return len(self._sound) + len(self._unsound)

    def add(self, part: Batch, partition: TopicPartition, offset: int) -> None:
        self._sound += part.sound
        self._unsound += part.unsound
        self.offsets[partition] = offset

    def batch(self) -> Batch:
        return Batch(tuple(self._sound), tuple(self._unsound))


async def _start(consumer: AIOKafkaConsumer) -> None:
    """Raises KafkaError or OSError, also where an answer or a host name makes the library raise something else."""
    try:
        await consumer.start()
    except (KafkaError, OSError):
        raise
    except Exception as error:
        raise KafkaError("the consumer cannot be started") from error


class _Drain(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, reader: KafkaReader, consumer: AIOKafkaConsumer) -> None:
        self._reader = reader
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        await self._reader.drain(self._consumer)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        return


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _arrival(record: Any, now: datetime) -> Arrival:
    """A record as an event. What its producer left out is filled with what is known; intake judges the rest."""
    headers: dict[str, str] = {name: str(value, "utf-8", "replace") for name, value in record.headers if value}
    key = str(record.key, "utf-8", "replace") if record.key else ""
    source, _, order_key = key.partition("/")
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
