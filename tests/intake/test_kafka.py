"""What ends a consumer and what must not; and reading ahead, against a scripted consumer.

With a real broker the races between a poll and a rebalance cannot be hit at will. What a real one does is in tests/real
and tests/chaos.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, OffsetOutOfRangeError
from aiokafka.structs import ConsumerRecord

from gateway.core.errors import Unavailable
from gateway.core.event import Arrival, Leg
from gateway.core.happening import Happening, Observer, Trouble
from gateway.core.order import OrderNumber
from gateway.intake.backpressure import nothing_waits
from gateway.intake.batch import Batch, Prepared
from gateway.intake.kafka import KafkaReader

P0 = TopicPartition("orders", 0)


class Desk:
    """Stands for the Decider: notes what is prepared and decided, and decides when it is let."""

    def __init__(self) -> None:
        self.prepared: list[int] = []
        self.decided: list[list[int]] = []
        self.set_aside: list[tuple[int, str]] = []
        """(offset, code) of the dead letters."""
        self.fails = list[Exception]()
        """What the next decisions raise, one each."""
        self.may_decide = asyncio.Event()
        self.deciding = asyncio.Event()
        self.read_ahead = asyncio.Event()

    def prepare(self, arrivals: Sequence[Arrival]) -> Batch:
        self.prepared += [arrival.position.offset for arrival in arrivals]
        if self.deciding.is_set():
            self.read_ahead.set()
        return Batch(
            tuple(Prepared(a.event.source, None, a, OrderNumber(a.event.order_key), None) for a in arrivals), ()
        )

    async def decide(self, batch: Batch, *, leg: Leg) -> None:
        self.deciding.set()
        await self.may_decide.wait()
        if self.fails:
            raise self.fails.pop(0)
        self.set_aside += [(letter.arrival.position.offset, letter.code) for letter in batch.unsound]
        self.decided.append([prepared.arrival.position.offset for prepared in batch.sound])


class Consumer:
    """Gives what it is told, poll by poll; `between` runs while a poll waits."""

    def __init__(self, *polls: list[int]) -> None:
        self.polls = list(polls)
        self.committed: list[dict[TopicPartition, int]] = []
        self.between: Any = None
        self.away = False
        self.asked = asyncio.Event()
        self.back = asyncio.Event()

    async def getmany(self, *, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        if self.between is not None:
            between, self.between = self.between, None
            await between()
        offsets = self.polls.pop(0) if self.polls else []
        return {P0: [record(offset) for offset in offsets[:max_records]]} if offsets else {}

    def assignment(self) -> set[TopicPartition]:
        return {P0}

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        self.asked.set()
        if self.away:
            await self.back.wait()
        self.committed.append(offsets)


def record(offset: int) -> Any:
    return ConsumerRecord(
        topic="orders", partition=0, offset=offset, timestamp=1_795_665_661_447, timestamp_type=0,
        key=f"shop/{offset}".encode(), value=b"{}", checksum=None, serialized_key_size=0, serialized_value_size=0,
        headers=(),
    )  # fmt: skip


def reader_of(
    desk: Desk,
    consumer: Consumer,
    *,
    lock: asyncio.Lock | None = None,
    observe: Observer = lambda _: None,
    sends_waiting: Callable[[], int] = nothing_waits,
) -> KafkaReader:
    reader = KafkaReader(
        topic="orders", options={}, decider=desk, decide_lock=lock or asyncio.Lock(),  # type: ignore[arg-type]
        batch_events=4, batch_wait_ms=50, observe=observe, reach=lambda _: None, sends_waiting=sends_waiting,
    )  # fmt: skip
    reader._consumer = consumer
    return reader


async def test_the_next_batch_is_prepared_while_one_is_decided_and_takes_what_comes_meanwhile() -> None:
    desk, consumer = Desk(), Consumer([0, 1], [], [2, 3], [4])
    reader = reader_of(desk, consumer)
    first = await reader._read_ahead(consumer, None)
    assert first is not None
    async with asyncio.TaskGroup() as group:
        deciding = group.create_task(reader._decide(consumer, first))
        await desk.deciding.wait()
        ahead = group.create_task(reader._read_ahead(consumer, deciding))
        await desk.read_ahead.wait()
        assert desk.prepared == [0, 1, 2, 3]
        assert desk.decided == [] and not ahead.done()
        desk.may_decide.set()
        second = await ahead
        assert second is not None and second.events == 3
        await reader._decide(consumer, second)
    assert desk.decided == [[0, 1], [2, 3, 4]]
    await reader._commit(consumer)
    assert consumer.committed[-1] == {P0: 5}


@pytest.mark.feature("F15")
async def test_what_was_read_before_partitions_were_given_up_is_not_decided() -> None:
    desk, consumer = Desk(), Consumer([0, 1])
    desk.may_decide.set()
    reader = reader_of(desk, consumer)
    ahead = await reader._read_ahead(consumer, None)
    assert ahead is not None and ahead.events == 2
    await reader.drain(consumer)
    await reader._decide(consumer, ahead)
    await reader._commit(consumer)
    assert desk.decided == [] and consumer.committed == []


async def test_what_a_poll_brings_after_a_rebalance_is_of_the_new_assignment() -> None:
    """Dropped with what was read before, it would be skipped: the consumer's position is behind it already."""
    desk, consumer = Desk(), Consumer([0, 1], [7])
    desk.may_decide.set()
    reader = reader_of(desk, consumer)

    async def waited() -> None:
        consumer.between = lambda: reader.drain(consumer)

    ahead = await reader._read_ahead(consumer, asyncio.create_task(waited()))
    assert ahead is not None and ahead.events == 1
    await reader._decide(consumer, ahead)
    assert desk.decided == [[7]]


async def test_a_rebalance_that_ends_the_wait_leaves_nothing_to_decide() -> None:
    desk, consumer = Desk(), Consumer([0, 1])
    reader = reader_of(desk, consumer)

    async def waited() -> None:
        consumer.between = lambda: reader.drain(consumer)

    assert await reader._read_ahead(consumer, asyncio.create_task(waited())) is None


async def test_a_consumer_that_has_been_replaced_drops_nothing() -> None:
    """One that could not be stopped still hears of rebalances; what its successor has read ahead is not its own."""
    desk, consumer = Desk(), Consumer([0, 1])
    desk.may_decide.set()
    reader = reader_of(desk, consumer)
    ahead = await reader._read_ahead(consumer, None)
    assert ahead is not None
    await reader.drain(Consumer())
    await reader._decide(consumer, ahead)
    assert desk.decided == [[0, 1]]


async def test_a_broker_that_does_not_confirm_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The inbox shares the lock, and is what carries the orders while Kafka is away."""
    monkeypatch.setattr("gateway.intake.kafka._COMMIT_WITHIN_S", 0.05)
    desk, consumer, lock = Desk(), Consumer([0, 1]), asyncio.Lock()
    desk.may_decide.set()
    reader = reader_of(desk, consumer, lock=lock)
    ahead = await reader._read_ahead(consumer, None)
    assert ahead is not None
    consumer.away = True
    async with asyncio.TaskGroup() as group:
        deciding = group.create_task(reader._decide(consumer, ahead))
        await consumer.asked.wait()
        assert not lock.locked()
        await deciding
    assert consumer.committed == []
    consumer.away = False
    await reader._commit(consumer)
    assert consumer.committed == [{P0: 2}]


async def test_an_offset_that_was_not_confirmed_does_not_stand_over_a_later_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.intake.kafka._COMMIT_WITHIN_S", 0.5)
    desk, consumer = Desk(), Consumer([0, 1], [], [2, 3], [])
    desk.may_decide.set()
    reader = reader_of(desk, consumer)
    first = await reader._read_ahead(consumer, None)
    assert first is not None
    consumer.away = True
    async with asyncio.TaskGroup() as group:
        group.create_task(reader._decide(consumer, first))
        await consumer.asked.wait()
        second = await reader._read_ahead(consumer, None)
        assert second is not None
        await reader._decide(consumer, second)
    consumer.away = False
    await reader._commit(consumer)
    assert consumer.committed == [{P0: 4}]


@pytest.mark.parametrize(
    "away",
    [
        ConnectionResetError(),
        TimeoutError(),
        asyncpg.CannotConnectNowError("starting"),
        asyncpg.ReadOnlySQLTransactionError("a standby"),
        asyncpg.InterfaceError("the connection is closed"),
        Unavailable("collided", retry_after_s=0.0),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_batch_is_decided_again_until_the_database_takes_it(
    away: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.intake.kafka._AGAIN_AFTER_S", 0.01)
    desk, consumer = Desk(), Consumer([0, 1])
    desk.may_decide.set()
    desk.fails = [away, away]
    reader = reader_of(desk, consumer)
    ahead = await reader._read_ahead(consumer, None)
    assert ahead is not None
    await reader._decide(consumer, ahead)
    await reader._commit(consumer)
    assert desk.decided == [[0, 1]] and consumer.committed == [{P0: 2}]


@pytest.mark.feature("F15")
async def test_partitions_are_given_up_behind_the_commit_under_way() -> None:
    """Answered only after the new join, it would be refused, and the refusal taken for the new member's."""
    desk, consumer = Desk(), Consumer([0, 1])
    desk.may_decide.set()
    reader = reader_of(desk, consumer)
    ahead = await reader._read_ahead(consumer, None)
    assert ahead is not None
    consumer.away = True
    async with asyncio.TaskGroup() as group:
        deciding = group.create_task(reader._decide(consumer, ahead))
        await consumer.asked.wait()
        draining = group.create_task(reader.drain(consumer))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not draining.done() and not deciding.done()
        consumer.back.set()
    assert consumer.committed == [{P0: 2}]


async def test_a_look_that_fails_is_told_once_and_the_watch_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[object] = [AttributeError("_coordinator"), RuntimeError("again"), "", "its fetching has ended"]

    async def look(_self: object, *, joining: bool, hungry: bool) -> str:
        found = looks.pop(0)
        if isinstance(found, Exception):
            raise found
        return str(found)

    monkeypatch.setattr("gateway.intake.kafka.Pulse.look", look)
    monkeypatch.setattr("gateway.intake.kafka.LOOK_EVERY_S", 0.01)
    happened = list[Happening]()
    reader = reader_of(Desk(), Consumer(), observe=happened.extend)
    async with asyncio.timeout(5):
        await reader._watch(Consumer())
    assert looks == [] and reader._stalled == "its fetching has ended"
    (told,) = happened
    assert isinstance(told, Trouble) and "AttributeError" in told.what


async def test_a_broker_name_that_no_codec_takes_does_not_end_the_reader() -> None:
    happened = list[Happening]()
    nobody: Any = None
    reader = KafkaReader(
        topic="orders",
        options={"bootstrap_servers": "kafka..example:9092", "group_id": "g"},
        decider=nobody,
        decide_lock=asyncio.Lock(),
        batch_events=10,
        batch_wait_ms=10,
        observe=happened.extend,
        reach=lambda _: None,
    )
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        task = group.create_task(reader.run(), name="reader")
        while not happened:  # noqa: ASYNC110 (the reader has no signal of its own for it)
            await asyncio.sleep(0.02)
        assert not task.done()
        reader.stop()
    (told,) = happened
    assert isinstance(told, Trouble) and "Unicode" in told.what


async def test_what_came_counts_as_lag_while_nothing_can_be_decided(
    kafka_mock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.intake.kafka.LOOK_EVERY_S", 0.1)
    monkeypatch.setattr("gateway.intake.kafka._STUCK_AFTER_S", 0.5)
    desk = Desk()
    reader = KafkaReader(
        topic="orders",
        options={"bootstrap_servers": kafka_mock, "group_id": "g"},
        decider=desk,  # type: ignore[arg-type]
        decide_lock=asyncio.Lock(),
        batch_events=2,
        batch_wait_ms=20,
        observe=lambda _: None,
        reach=lambda _: None,
    )

    async def lag_is(events: int) -> None:
        while reader.lag != events:  # noqa: ASYNC110 (the reader has no signal of its own for it)
            await asyncio.sleep(0.02)

    async with AIOKafkaProducer(bootstrap_servers=kafka_mock, acks="all") as producer:
        for partition in (0, 1, 1, 2, 2, 2):
            await producer.send_and_wait("orders", b"{}", key=b"shop/1", partition=partition)
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(reader.run(), name="reader")
            await lag_is(6)
            assert desk.decided == []
            for partition in (1, 2, 3):
                await producer.send_and_wait("orders", b"{}", key=b"shop/1", partition=partition)
            await lag_is(9)
            assert desk.decided == []
            desk.may_decide.set()
            await lag_is(0)
            assert sum(map(len, desk.decided)) == 9
            reader.stop()


class Positioned(Consumer):
    """Knows where it stands; a poll may be an error."""

    def __init__(self, *polls: Any, begins: int = 0) -> None:
        super().__init__(*polls)
        self.position_ = 0
        self.begins = begins
        self.refuses = False

    async def getmany(self, *, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        if self.polls and isinstance(self.polls[0], Exception):
            raise self.polls.pop(0)
        polled = await super().getmany(timeout_ms=timeout_ms, max_records=max_records)
        for records in polled.values():
            self.position_ = records[-1].offset + 1
        return polled

    async def position(self, partition: TopicPartition) -> int:
        return self.position_

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, self.begins)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.position_ = offset

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        if self.refuses:
            raise GroupAuthorizationFailedError()
        await super().commit(offsets)


async def test_nothing_read_before_a_gap_is_passed_over_when_partitions_go_away() -> None:
    desk, consumer = Desk(), Positioned([50, 51, 52], OffsetOutOfRangeError({P0: 53}), begins=500)
    desk.may_decide.set()
    reader = reader_of(desk, consumer)
    ahead = await reader._read_ahead(consumer, None)
    assert ahead is not None and ahead.events == 3 and consumer.position_ == 500
    await reader.drain(consumer)
    await reader._decide(consumer, ahead)
    assert [50, 51, 52] not in desk.decided and consumer.committed == [], "its next owner reads them again"


async def test_what_was_read_before_a_gap_is_decided_and_then_the_gap_is_behind() -> None:
    desk, consumer = Desk(), Positioned([50, 51, 52], OffsetOutOfRangeError({P0: 53}), begins=500)
    desk.may_decide.set()
    reader = reader_of(desk, consumer)
    ahead = await reader._read_ahead(consumer, None)
    assert ahead is not None
    await reader._decide(consumer, ahead)
    await reader._commit(consumer)
    assert desk.decided[-1] == [50, 51, 52] and consumer.committed[-1] == {P0: 500}
    assert desk.set_aside == [(53, "dropped")], "and said so, once"


async def test_the_beginning_of_a_topic_made_anew_stands_over_where_a_batch_of_the_old_one_got_to() -> None:
    desk, consumer = Desk(), Positioned([100, 101])
    reader = reader_of(desk, consumer)
    first = await reader._read_ahead(consumer, None)
    assert first is not None
    deciding = asyncio.create_task(reader._decide(consumer, first))
    await desk.deciding.wait()
    consumer.polls = [OffsetOutOfRangeError({P0: 102}), []]
    ahead = asyncio.create_task(reader._read_ahead(consumer, deciding))
    await asyncio.sleep(0)
    desk.may_decide.set()
    await ahead
    await reader._commit(consumer)
    assert consumer.committed[-1] == {P0: 0} and consumer.position_ == 0


async def test_a_commit_that_is_refused_while_partitions_go_away_passes_over_nothing() -> None:
    desk, consumer = Desk(), Positioned([0, 1], [], [2, 3], [])
    desk.may_decide.set()
    reader = reader_of(desk, consumer)
    first = await reader._read_ahead(consumer, None)
    assert first is not None
    await reader._decide(consumer, first)
    reader._done = {P0: 2}
    second = await reader._read_ahead(consumer, None)
    assert second is not None and second.events == 2
    consumer.refuses = True
    with pytest.raises(GroupAuthorizationFailedError):
        await reader.drain(consumer)
    consumer.refuses = False
    await reader._decide(consumer, second)
    await reader._read_ahead(consumer, None)
    assert desk.decided == [[0, 1]]
    assert all(offsets[P0] <= 2 for offsets in consumer.committed)
