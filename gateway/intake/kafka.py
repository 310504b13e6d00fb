"""The Kafka leg of intake: one consumer, batches in sequence, offsets committed only behind the database.

While one batch is being decided the next is read and prepared, in slices between which everything else goes on: the
database works on one core and the gateway on another.

aiokafka rebalances in the background and eagerly, so a partition may be taken away while its batch is being
decided: `on_partitions_revoked` waits for the batch, commits what is finished and drops what was read ahead. What a
zombie (stopped past its session time-out) decides late is harmless: facts are idempotent and its offset commit is
refused by generation.

Nothing ends in silence: a consumer that no longer reads is replaced (`pulse`), and of events that the topic dropped
before they were read a dead letter is left. A topic that was deleted and made anew is read from its beginning: our
offset in the old one would pass over as many events of the new one.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from gateway.core.errors import Unavailable
from gateway.core.event import YEARS, Arrival, ConnectionName, Event, EventId, Leg, Position
from gateway.core.happening import Observer, Trouble
from gateway.core.text import Text
from gateway.intake.backpressure import give_way, nothing_waits
from gateway.intake.batch import Batch, Decider, Prepared
from gateway.intake.pulse import LOOK_EVERY_S, Pulse
from gateway.store.dead import DeadLetter
from gateway.store.sql import AWAY

_AGAIN_AFTER_S = 1.0
_COMMIT_EVERY_S = 0.2
_COMMIT_WITHIN_S = 3.0
_END_WITHIN_S = 5.0
_STUCK_AFTER_S = 5.0
"""Nothing new is fetched while a batch waits: from then on the brokers are asked how much has come, and as often."""
_ENDS_WITHIN_S = 2.0
_POSITIONS_WITHIN_S = 0.1
_IDENTIFY_EVERY_S = 5.0
_PARTITIONS_EVERY_MS = 10_000
"""So long at most, not aiokafka's five minutes, until new partitions, or a topic that was not there, are read."""
_SOUND_AFTER_S = 10.0
"""Nothing may have failed for so long; who is refused joins again every second, for a moment."""
_SLICE = 32
"""Events prepared without giving way: about a millisecond."""

T = TypeVar("T")


class KafkaReader:
    """Reads one topic until stopped. `options` go to AIOKafkaConsumer (bootstrap, group, security, member id).

    `identify` says which of the topics it is that have had this name, one after the other; None where nobody knows.
    """

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
        identify: Callable[[AIOKafkaConsumer], Awaitable[bytes | None]] | None = None,
        sends_waiting: Callable[[], int] = nothing_waits,
    ) -> None:
        self._topic = topic
        self._identify = identify
        self._identity: bytes | None = None
        self._anew = False
        self._sends_waiting = sends_waiting
        self._full_took_s = 0.0
        self._options = dict(options)
        self._decider = decider
        self._lock = decide_lock
        self._batch_events = batch_events
        self._batch_wait_ms = batch_wait_ms
        self._observe = observe
        self._reach = reach
        self._done: dict[TopicPartition, int] = {}
        self._decided: dict[TopicPartition, int] = {}
        self._begun: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._deciding_at: float | None = None
        self._epoch = 0
        self._consumer: AIOKafkaConsumer | None = None
        self._committed_at = 0.0
        self._committing = asyncio.Lock()
        self._joined = False
        self._failed_at = -math.inf
        self._draining = False
        self._emptied = 0
        self._stalled = ""
        self._waiting: asyncio.Timeout | None = None
        self._stopping = False

    def stop(self) -> None:
        """Finish the batch that is being decided, commit its offsets, leave the group, and return from `run`."""
        self._stopping = True

    @property
    def reading(self) -> bool:
        """Whether there is a consumer that has its part of the topic."""
        return self._joined

    @property
    def sound(self) -> bool:
        """Whether it reads, and no consumer has failed in the last ten seconds."""
        return self._joined and time.monotonic() - self._failed_at >= _SOUND_AFTER_S

    @property
    def lag(self) -> int:
        """Events on our partitions that are not decided, as far as the last polls tell, or the brokers while a batch is
        stuck."""
        if self._consumer is None:
            return 0
        lag, reached = 0, self._begun | self._decided
        for partition in reached.keys() & self._consumer.assignment():
            end = max(self._consumer.highwater(partition) or 0, self._ends.get(partition, 0))
            lag += max(0, end - reached[partition])
        return lag

    async def run(self) -> None:
        """Until stopped; starts again, with a new consumer, whenever the broker cannot be talked to or the consumer has
        stopped reading."""
        while not self._stopping:
            failed = False
            try:
                await self._consume()
            except* _Stalled as stalls:
                failed = True
                if not self._stopping:
                    why = "; ".join(str(stall) for stall in _leaves(stalls))
                    self._observe([Trouble("kafka", f"the consumer has stopped reading and is replaced: {why}")])
            except* (KafkaError, OSError) as errors:
                failed = True
                kinds = {type(error.__cause__ or error).__name__ for error in _leaves(errors)}
                what = f"consumer stopped: {', '.join(sorted(kinds))} (`ordergate check` says why)"
                self._observe([Trouble("kafka", what)])
            if failed:
                self._failed_at = time.monotonic()
            if failed and not self._stopping:
                await asyncio.sleep(_AGAIN_AFTER_S)

    async def _consume(self) -> None:
        consumer = AIOKafkaConsumer(
            enable_auto_commit=False,
            auto_offset_reset="none",  # see `_reset`
            fetch_max_wait_ms=50,
            max_partition_fetch_bytes=2 * 1024 * 1024,
            metadata_max_age_ms=_PARTITIONS_EVERY_MS,
            isolation_level="read_committed",
            **self._options,
        )
        self._consumer = consumer
        self._forget()
        self._joined = self._draining = False
        self._stalled = ""
        consumer.subscribe([self._topic], listener=_Drain(self, consumer))
        watching = asyncio.create_task(self._watch(consumer), name="kafka watch")
        try:
            await self._unless_stalled(_start(consumer))
            async with asyncio.TaskGroup() as group:
                deciding: asyncio.Task[None] | None = None
                try:
                    while not self._stopping:
                        ahead = await self._read_ahead(consumer, deciding)
                        if ahead is not None and not self._stopping:
                            deciding = group.create_task(self._decide(consumer, ahead), name="kafka decide")
                except (KafkaError, OSError, _Stalled):
                    # A consumer that cannot go on is no reason to tear up what is being committed.
                    if deciding is not None:
                        await asyncio.wait([deciding])
                    raise
        finally:
            watching.cancel()
            # Stopped whatever the commit does: a consumer left behind would go on as this member of the group.
            try:
                await self._end(consumer, "offsets not committed", self._commit)
            finally:
                self._joined = False
                if self._stopping:
                    _leave(consumer)
                if not await self._end(consumer, "consumer did not stop cleanly", AIOKafkaConsumer.stop):
                    await self._end(consumer, "connections not closed", _disconnect)

    async def _end(
        self, consumer: AIOKafkaConsumer, failed: str, step: Callable[[AIOKafkaConsumer], Awaitable[None]]
    ) -> bool:
        """A step of the end, bounded: a broker that is away must not hold it up. What is not committed comes again."""
        try:
            async with asyncio.timeout(_END_WITHIN_S):
                await _own_cancel_only(step(consumer))
        except (TimeoutError, KafkaError, OSError, _Stalled) as error:
            self._observe([Trouble("kafka", f"{failed}: {type(error).__name__.lstrip('_')}")])
            return False
        return True

    async def _watch(self, consumer: AIOKafkaConsumer) -> None:
        """Until cancelled; ends what the reader waits for when the consumer does not read any more.

        A look that fails says nothing about the consumer: it is told, once, and the next one follows.
        """
        pulse, emptied, told = Pulse(consumer, self._topic), self._emptied, False
        asked_at, identified_at = 0.0, 0.0
        while not self._stalled:
            await asyncio.sleep(LOOK_EVERY_S)
            await self._locate(consumer)
            now = time.monotonic()
            if now - identified_at >= _IDENTIFY_EVERY_S:
                await self._know_topic(consumer)
                identified_at = now
            if self._deciding_at is not None and now - max(self._deciding_at, asked_at) >= _STUCK_AFTER_S:
                await self._measure(consumer)
                asked_at = time.monotonic()
            if self._draining:
                continue  # it is the consumer that waits, for us
            hungry, emptied = self._waiting is not None or self._emptied != emptied, self._emptied
            try:
                self._stalled = await pulse.look(joining=not self._joined, hungry=hungry)
            except Exception as error:
                if not told:
                    told = True
                    what = f"the consumer cannot be watched: {type(error).__name__}; whether it reads is not known"
                    self._observe([Trouble("kafka", what)])
            if self._stopping and not self._joined:
                self._stalled = "the gateway is stopping"
        if self._waiting is not None:
            self._waiting.reschedule(0.0)

    async def _locate(self, consumer: AIOKafkaConsumer) -> None:
        """Note where the partitions begin for us of which nothing has been polled yet."""
        if self._draining or not self._joined:
            return  # the positions are behind what was read ahead, and that is read again
        epoch = self._epoch
        try:
            async with asyncio.timeout(_POSITIONS_WITHIN_S):
                for partition in consumer.assignment() - self._begun.keys():
                    position = await consumer.position(partition)
                    if epoch == self._epoch:
                        self._begun.setdefault(partition, position)
        except Exception:  # those that have no position yet are found by the next look, which must come
            return

    async def _know_topic(self, consumer: AIOKafkaConsumer) -> None:
        """Note whether the topic is still the one that was read; where that cannot be learnt, the next look follows."""
        if self._identify is None:
            return
        try:
            async with asyncio.timeout(_ENDS_WITHIN_S):
                identity = await self._identify(consumer)
        except Exception:  # of whatever type: what a parser makes of an answer; the watch must not end with it
            return
        if identity is None:
            return
        if self._identity is not None and identity != self._identity:
            self._anew = True
        self._identity = identity

    async def _measure(self, consumer: AIOKafkaConsumer) -> None:
        """Ask the brokers where our partitions end; what is known stays where they do not say so in time."""
        try:
            async with asyncio.timeout(_ENDS_WITHIN_S):
                ends = await consumer.end_offsets(list(consumer.assignment()))
        except Exception:  # of whatever type: what a parser makes of an answer; the watch must not end with it
            return
        self._ends.update(ends)

    async def _unless_stalled(self, wait: Awaitable[T]) -> T:
        """What `wait` gives. Raises _Stalled when the watch finds that the consumer will not give it: while it is given
        no partitions, aiokafka waits without end whatever time it is told."""
        try:
            async with asyncio.timeout(0.0 if self._stalled else None) as self._waiting:
                return await _own_cancel_only(wait)
        except TimeoutError:
            if not self._stalled:
                raise
            raise _Stalled(self._stalled) from None
        finally:
            self._waiting = None

    async def _read_ahead(self, consumer: AIOKafkaConsumer, deciding: asyncio.Task[None] | None) -> _Ahead | None:
        """The next batch, prepared while the one before it is being decided; returns when that one is."""
        if self._anew:
            if deciding is not None:
                await deciding
            await self._unless_stalled(self._begin_anew(consumer))
        await give_way(self._sends_waiting, above=self._batch_events // 2, at_most_s=self._full_took_s)
        ahead = await self._read(consumer, _Ahead(self._epoch), within_ms=self._batch_wait_ms)
        if deciding is not None:
            await deciding
        if not ahead.events:
            self._full_took_s = 0.0
            await self._pass_over(consumer)
            await self._commit(consumer)
            return None
        if ahead.events < self._batch_events:
            # What has come in meanwhile belongs to this batch too: a commit is dear.
            ahead = await self._read(consumer, ahead, within_ms=0)
            if not ahead.events:
                return None  # partitions were given up, and nothing has come from those we have now
        self._reach("kafka.prepared")
        return ahead

    async def _pass_over(self, consumer: AIOKafkaConsumer) -> None:
        """Count as decided what is no event: the marks of transactions and what they took back. Only while nothing that
        was read is undecided."""
        if self._draining:
            return  # what was read ahead has been dropped
        epoch = self._epoch
        reached = self._begun | self._decided
        for partition in reached.keys() & consumer.assignment():
            try:
                async with asyncio.timeout(0.0):  # known, or not to be waited for
                    position = await consumer.position(partition)
            except (TimeoutError, KafkaError):
                continue
            if epoch != self._epoch:
                return
            if position > reached[partition]:
                self._done[partition] = self._decided[partition] = position

    async def _read(self, consumer: AIOKafkaConsumer, ahead: _Ahead, *, within_ms: int) -> _Ahead:
        """`ahead` with what a poll adds, prepared in slices: between them the batch before and the sends go on."""
        room = self._batch_events - ahead.events
        try:
            polled = await self._unless_stalled(consumer.getmany(timeout_ms=within_ms, max_records=room))
        except (NoOffsetForPartitionError, OffsetOutOfRangeError) as error:
            await self._unless_stalled(self._reset(consumer, error, ahead))
            return ahead
        if ahead.epoch != self._epoch:
            # Partitions were given up before this poll ended: its records are of the new assignment, those before not.
            ahead = _Ahead(self._epoch)
        if sum(map(len, polled.values())) < room:
            self._emptied += 1
        if polled:
            self._reach("kafka.polled")
        for partition, records in polled.items():
            self._begun.setdefault(partition, records[0].offset)
        for partition, records in polled.items():
            for start in range(0, len(records), _SLICE):
                part, now = records[start : start + _SLICE], datetime.now(UTC)
                arrivals = [_arrival(record, now) for record in part]
                ahead.add(self._decider.prepare(arrivals), partition, part[-1].offset + 1)
                await asyncio.sleep(0)
        return ahead

    async def _begin_anew(self, consumer: AIOKafkaConsumer) -> None:
        """Read the topic that has taken the place of another from its beginning; nothing is under way meanwhile."""
        epoch, assigned = self._epoch, list(consumer.assignment())
        begins = await consumer.beginning_offsets(assigned) if assigned else {}
        if not begins or epoch != self._epoch:
            return  # of the partitions that are ours then, the next try
        self._anew = False
        for partition, first in begins.items():
            self._go_on_at(consumer, partition, first)
        what = "the topic was made anew and is read from its beginning; what had not been read of the old one is lost"
        self._observe([Trouble("kafka", what)])

    async def _reset(self, consumer: AIOKafkaConsumer, error: KafkaError, ahead: _Ahead) -> None:
        """Go on at the first event there is. Where others were to come before it, the topic has dropped them unread: a
        dead letter says so until somebody has had them sent again."""
        missed: dict[TopicPartition, int]
        if isinstance(error, OffsetOutOfRangeError):
            [missed] = error.args
        else:
            missed = {partition: 0 for partition in error.args}
        epoch = self._epoch
        begins = await consumer.beginning_offsets(list(missed))
        gaps = []
        if isinstance(error, OffsetOutOfRangeError):
            for partition, first in begins.items():
                wanted = missed[partition]
                if first > wanted:
                    gaps.append(_gap(partition, wanted, first))
                gone = f"{first - wanted} events are lost" if first > wanted else "the topic was made anew"
                what = (
                    f"partition {partition.partition} no longer has offset {wanted}, goes on at {first}: {gone}"
                    " (its retention is too short, or this group was away for too long)"
                )
                self._observe([Trouble("kafka", what)])
        # The batch under way ends first: it notes where it got to, and that must not stand behind this.
        async with self._lock:
            if gaps:
                await self._decide_until_done(Batch((), tuple(gaps)))
            for partition, first in begins.items():
                if partition not in consumer.assignment() or epoch != self._epoch:
                    continue
                if partition in ahead.offsets:
                    # What was read before the gap is not decided yet: this is committed when it is.
                    consumer.seek(partition, first)
                    self._ends.pop(partition, None)
                    ahead.offsets[partition] = first
                else:
                    self._go_on_at(consumer, partition, first)

    def _go_on_at(self, consumer: AIOKafkaConsumer, partition: TopicPartition, first: int) -> None:
        """Commit that too: where nothing comes any more, the next start would find the same gap."""
        consumer.seek(partition, first)
        self._done[partition] = self._decided[partition] = self._begun[partition] = first
        self._ends.pop(partition, None)

    async def _decide(self, consumer: AIOKafkaConsumer, ahead: _Ahead) -> None:
        self._deciding_at = time.monotonic()
        try:
            async with self._lock:
                if ahead.epoch != self._epoch:
                    return  # partitions were given up meanwhile: whoever has them now reads these events again
                begun_at = time.monotonic()
                await self._decide_until_done(ahead.batch())
                # Nobody runs away who finds less than a batch.
                self._full_took_s = time.monotonic() - begun_at if ahead.events >= self._batch_events else 0.0
                self._done.update(ahead.offsets)
                self._decided.update(ahead.offsets)
        finally:
            self._deciding_at = None
        # Without the lock, which the inbox shares: the broker may be away, and then the inbox carries the orders.
        self._reach("kafka.before_offset")
        if time.monotonic() - self._committed_at >= _COMMIT_EVERY_S:
            await self._commit(consumer)

    async def _decide_until_done(self, batch: Batch) -> None:
        while True:
            try:
                await self._decider.decide(batch, leg=Leg.KAFKA)
                return
            except AWAY as error:
                self._observe([Trouble("intake", f"PostgreSQL is away: {type(error).__name__}")])
                await asyncio.sleep(_AGAIN_AFTER_S)
            except Unavailable as error:
                await asyncio.sleep(error.retry_after_s)

    async def drain(self, consumer: AIOKafkaConsumer) -> None:
        """Wait for the batch under way, commit what is finished and drop what was read ahead; called before partitions
        are given up."""
        if consumer is not self._consumer:
            return  # one that has been replaced: what is read ahead now is not its own
        self._draining = True
        try:
            async with self._lock:
                self._epoch += 1
            await self._commit(consumer)
        finally:
            self._forget()
            self._joined = self._draining = False

    def _forget(self) -> None:
        """What is known of the partitions that were ours."""
        self._done.clear()
        self._decided.clear()
        self._begun.clear()
        self._ends.clear()

    def joined(self, consumer: AIOKafkaConsumer) -> None:
        """Called when partitions, or none, have been given to `consumer`."""
        if consumer is self._consumer:
            self._joined = True

    async def _commit(self, consumer: AIOKafkaConsumer) -> None:
        """Commit what is finished. Offsets that the broker does not confirm in time go with the next ones.

        One at a time, and `drain` waits for the one under way: answered only behind the new join (brokers answer in
        sequence), it would be refused, and aiokafka would take the refusal for the new member's and join once more.
        """
        if self._done or self._committing.locked():
            async with self._committing:
                await self._commit_done(consumer)

    async def _commit_done(self, consumer: AIOKafkaConsumer) -> None:
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
            self._reach("kafka.after_offset")
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


class _Stalled(Exception):
    """The consumer does not read any more; the text says how that shows."""


async def _own_cancel_only(wait: Awaitable[T]) -> T:
    """What `wait` gives. A cancel that is not ours is of one of aiokafka's tasks, and must not end the reader."""
    try:
        return await wait
    except asyncio.CancelledError:
        ours = asyncio.current_task()
        if ours is not None and ours.cancelling():
            raise
        raise _Stalled("one of its tasks was cancelled") from None


def _leave(consumer: AIOKafkaConsumer) -> None:
    """Have the stop of `consumer` leave the group, which aiokafka (0.14) spares a static member, who may come back.

    Those who take over have other names: they would get no partition before this member's session has run out.
    """
    if consumer._coordinator is not None:
        consumer._coordinator._group_instance_id = None


async def _disconnect(consumer: AIOKafkaConsumer) -> None:
    """What a stop that was cut short has not come to (aiokafka 0.14): it may not go on fetching, nor as a member."""
    if consumer._coordinator is not None:
        consumer._coordinator._coordination_task.cancel()
        if consumer._coordinator._heartbeat_task is not None:
            consumer._coordinator._heartbeat_task.cancel()
    if consumer._fetcher is not None:
        consumer._fetcher._fetch_task.cancel()
    await consumer._client.close()


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
        self._reader.joined(self._consumer)


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


def _gap(partition: TopicPartition, wanted: int, first: int) -> DeadLetter:
    """What stands for the events from `wanted` on that the topic has dropped unread: of no order that is known."""
    now, events = datetime.now(UTC), first - wanted
    where = f"{partition.topic}/{partition.partition}"
    return DeadLetter(
        Arrival(
            Event(
                id=EventId(f"{where}/{wanted}"),
                source=ConnectionName(partition.topic),
                type="",
                order_key="",
                time=now,
                body=b"",
            ),
            Position(Leg.KAFKA, partition.partition, wanted),
            now,
        ),
        "",
        "dropped",
        Text(
            f"Kafka 已删除分区 {partition.partition} 中 {events} 个未读取的事件（位置 {wanted} 至 {first - 1}）",
            f"Kafka has removed {events} events of partition {partition.partition} unread"
            f" (offsets {wanted} to {first - 1})",
        ),
        Text(
            "请发送方或店铺拉取补发这段时间的订单，再 discard；加大主题的 retention.ms、retention.bytes",
            "have the senders, or a pull, send the orders of that time again, then discard this; raise the topic's"
            " retention.ms or retention.bytes",
        ),
    )


def _instant(text: str, *, default: datetime) -> datetime:
    if not text:
        return default
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return default
    return instant if instant.tzinfo is not None and instant.year in YEARS else default


def _sensible(seconds: float, *, default: datetime) -> datetime:
    """A record's time stamp, unless its producer counted in another unit or not at all (-1)."""
    return datetime.fromtimestamp(seconds, UTC) if 946_684_800 <= seconds < 4_102_444_800 else default
