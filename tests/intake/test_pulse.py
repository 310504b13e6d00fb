"""A consumer that has stopped reading is replaced; one that has nothing to read, or nobody to ask, is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError

from gateway.core.event import Arrival, Leg
from gateway.core.happening import Happening, Trouble
from gateway.core.order import OrderNumber
from gateway.intake.batch import Batch, Prepared
from gateway.intake.kafka import KafkaReader
from gateway.intake.pulse import Pulse

TOPIC = "orders"
P0 = TopicPartition(TOPIC, 0)
LOOKS = 3


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("kafka", "pulse"):
        monkeypatch.setattr(f"gateway.intake.{module}.LOOK_EVERY_S", 0.2)
    monkeypatch.setattr("gateway.intake.pulse._SILENT_LOOKS", LOOKS)


class Desk:
    """Stands for the Decider and tells what has been decided."""

    def __init__(self) -> None:
        self.decided: set[bytes] = set()
        self._came = asyncio.Condition()

    def prepare(self, arrivals: Sequence[Arrival]) -> Batch:
        return Batch(
            tuple(Prepared(a.event.source, None, a, OrderNumber(a.event.order_key), None) for a in arrivals), ()
        )

    async def decide(self, batch: Batch, *, leg: Leg) -> None:
        async with self._came:
            self.decided |= {prepared.arrival.event.body for prepared in batch.sound}
            self._came.notify_all()

    async def has(self, body: bytes) -> None:
        async with self._came:
            await self._came.wait_for(lambda: body in self.decided)


@asynccontextmanager
async def reading(kafka: str, happened: list[Happening], **options: Any) -> AsyncIterator[tuple[KafkaReader, Desk]]:
    desk = Desk()
    reader = KafkaReader(
        topic=TOPIC,
        options={"bootstrap_servers": kafka, "group_id": "g", "session_timeout_ms": 3000, **options},
        decider=desk,  # type: ignore[arg-type]
        decide_lock=asyncio.Lock(),
        batch_events=100,
        batch_wait_ms=20,
        observe=happened.extend,
        reach=lambda _: None,
    )
    async with asyncio.timeout(40), asyncio.TaskGroup() as group:
        group.create_task(reader.run(), name="reader")
        yield reader, desk
        reader.stop()


async def its_part_in_the_group_ends(reader: KafkaReader) -> None:
    assert reader._consumer is not None
    reader._consumer._coordinator._coordination_task.cancel()


async def its_fetching_ends(reader: KafkaReader) -> None:
    assert reader._consumer is not None
    reader._consumer._fetcher._fetch_task.cancel()


async def it_does_not_fetch(reader: KafkaReader) -> None:
    assert reader._consumer is not None
    reader._consumer.pause(*reader._consumer.assignment())


@pytest.mark.parametrize("fault", [its_part_in_the_group_ends, its_fetching_ends, it_does_not_fetch])
async def test_a_consumer_that_stops_without_a_word_is_replaced(
    kafka_mock: str, fault: Callable[[KafkaReader], Awaitable[None]]
) -> None:
    happened = list[Happening]()
    async with (
        AIOKafkaProducer(bootstrap_servers=kafka_mock, acks="all") as producer,
        reading(kafka_mock, happened) as (reader, desk),
    ):
        await producer.send_and_wait(TOPIC, b"before", partition=0)
        await desk.has(b"before")
        assert reader.reading and happened == []
        first = reader._consumer
        await fault(reader)
        await producer.send_and_wait(TOPIC, b"after", partition=0)
        await desk.has(b"after")
        # A fetch that was under way when the task ended may have brought it.
        while reader._consumer is first or not reader.reading:  # noqa: ASYNC110 (the reader has no signal for it)
            await asyncio.sleep(0.02)
        assert reader.reading and reader._consumer is not first
    assert any("stopped reading and is replaced" in one.what for one in happened if isinstance(one, Trouble)), happened


async def test_events_that_the_topic_dropped_unread_are_told(kafka_mock: str) -> None:
    """The in-memory cluster keeps 5 MiB of a partition; a real one what its retention says."""
    happened = list[Happening]()
    async with AIOKafkaProducer(bootstrap_servers=kafka_mock, acks="all") as producer:
        await producer.send_and_wait(TOPIC, b"before", partition=0)
        async with reading(kafka_mock, happened) as (_, desk):
            await desk.has(b"before")
        assert happened == []
        for _ in range(8):
            await producer.send_and_wait(TOPIC, b"x" * 900_000, partition=0)
        await producer.send_and_wait(TOPIC, b"after", partition=0)
        async with reading(kafka_mock, happened) as (_, desk):
            await desk.has(b"after")
    [told] = happened
    assert isinstance(told, Trouble)
    assert told.what.startswith("partition 0 no longer has offset 1, goes on at ") and "events are lost" in told.what


class Consumer:
    """Answers what a Pulse asks; without tasks that could have ended."""

    _coordinator = _fetcher = None

    def __init__(self, *, end: int, away: bool = False) -> None:
        self.end, self.away, self.asked, self.heard = end, away, 0, 1

    def assignment(self) -> set[TopicPartition]:
        return {P0}

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {0}

    def last_poll_timestamp(self, partition: TopicPartition) -> int:
        return self.heard

    async def position(self, partition: TopicPartition) -> int:
        return 5

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        self.asked += 1
        if self.away:
            raise KafkaConnectionError
        return dict.fromkeys(partitions, self.end)


async def looks(consumer: Consumer, *, joining: bool = False, hungry: bool = True) -> list[str]:
    pulse = Pulse(consumer, TOPIC)
    return [await pulse.look(joining=joining, hungry=hungry) for _ in range(2 * LOOKS)]


async def test_a_silent_consumer_is_given_up_only_where_there_is_something_to_read() -> None:
    assert any(await looks(Consumer(end=6)))
    assert not any(await looks(Consumer(end=5)))
    assert not any(await looks(Consumer(end=6), hungry=False)), "what it holds for us comes first"


async def test_one_that_hears_from_kafka_is_not_asked_about() -> None:
    consumer = Consumer(end=6)
    pulse = Pulse(consumer, TOPIC)
    for consumer.heard in range(2 * LOOKS):
        assert await pulse.look(joining=False, hungry=True) == ""
    assert consumer.asked == 0


async def test_a_join_without_end_is_given_up_but_not_while_kafka_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.intake.pulse._JOINING_LOOKS", LOOKS)
    assert any(await looks(Consumer(end=5), joining=True))
    away = Consumer(end=6, away=True)
    assert not any(await looks(away, joining=True)) and not any(await looks(away))
    assert away.asked == 3
