"""What others put on a topic of a real Kafka, and what they do with the topic itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from gateway.brokers import topic_id
from gateway.core.event import MAX_BODY_BYTES, ConnectionName, Event, EventId, Leg
from gateway.core.happening import Happening, Trouble
from gateway.ingest.inbound import Inbound, InboxLeg, KafkaLeg
from gateway.intake.kafka import KafkaReader
from gateway.store.sql import open_pool
from tests.real.broker import KafkaBroker
from tests.real.test_kafka_stopped import SESSION_S, Desk

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    settings = {"auto.create.topics.enable": "false"}
    with KafkaBroker(tmp_path_factory.mktemp("kafka"), quick=True, settings=settings) as made:
        yield made


class Topic:
    """One topic, and a producer that is not ours."""

    def __init__(self, broker: KafkaBroker, name: str) -> None:
        self.name = name
        self._address = {"bootstrap.servers": broker.bootstrap}
        self._admin = AdminClient(self._address)

    async def make(self, partitions: int = 1, **settings: str) -> None:
        await _all(self._admin.create_topics([NewTopic(self.name, partitions, 1, config=settings)]))

    async def remove(self) -> None:
        await _all(self._admin.delete_topics([self.name]))

    async def grow(self, partitions: int) -> None:
        await _all(self._admin.create_partitions([NewPartitions(self.name, partitions)]))

    async def drop_before(self, offset: int) -> None:
        await _all(self._admin.delete_records([TopicPartition(self.name, 0, offset)]))

    def producer(self, **settings: Any) -> Producer:
        return Producer({**self._address, "linger.ms": 50, **settings})

    async def tell(self, ids: set[str], *, producer: Producer | None = None, partition: int = 0) -> None:
        ours = self.producer() if producer is None else producer
        for one in sorted(ids):
            ours.produce(self.name, b"{}" * 500, key=b"shop/1", partition=partition, headers={"ce_id": one})
        assert await asyncio.to_thread(ours.flush, 30.0) == 0


async def _all(asked: dict[Any, Future[Any]]) -> None:
    for one in asked.values():
        await asyncio.to_thread(one.result, 30)


@asynccontextmanager
async def reading(
    broker: KafkaBroker, topic: str, *, member: str = "worker-0", session_s: int = SESSION_S
) -> AsyncIterator[tuple[KafkaReader, Desk, list[Happening]]]:
    desk, happened = Desk(), list[Happening]()
    reader = KafkaReader(
        topic=topic,
        options={
            "bootstrap_servers": broker.bootstrap,
            "group_id": topic,
            "group_instance_id": member,
            "session_timeout_ms": session_s * 1000,
        },
        decider=desk,  # type: ignore[arg-type]
        decide_lock=asyncio.Lock(),
        batch_events=500,
        batch_wait_ms=20,
        observe=happened.extend,
        reach=lambda _: None,
        identify=partial(topic_id, topic=topic),
    )
    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        running = group.create_task(reader.run(), name="reader")
        yield reader, desk, happened
        reader.stop()
        await running


async def until(reached: Callable[[], bool]) -> None:
    while not reached():  # noqa: ASYNC110 (a reader has no signal of its own for it)
        await asyncio.sleep(0.05)


def ids(prefix: str, count: int) -> set[str]:
    return {f"{prefix}{number}" for number in range(count)}


@pytest.mark.parametrize("codec", ["gzip", "lz4", "snappy", "zstd"])
async def test_events_are_read_however_their_producer_compresses_them(broker: KafkaBroker, codec: str) -> None:
    topic = Topic(broker, f"compressed-{codec}")
    await topic.make()
    await topic.tell(ids("e", 100), producer=topic.producer(**{"compression.type": codec}))
    async with reading(broker, topic.name) as (_, desk, happened):
        await until(lambda: desk.decided == ids("e", 100))
    assert happened == []


async def test_who_stops_in_order_keeps_no_partition_from_those_who_come_after(broker: KafkaBroker) -> None:
    """A gateway that is started again has members of other names, which must not wait for the sessions of the old."""
    topic = Topic(broker, "handed-over")
    await topic.make(2)
    async with reading(broker, topic.name, member="first-0", session_s=600) as (_, desk, _):
        await topic.tell(ids("a", 20))
        await until(lambda: desk.decided == ids("a", 20))
    async with reading(broker, topic.name, member="second-0", session_s=600) as (_, desk, happened):
        for partition in (0, 1):
            await topic.tell(ids(f"b{partition}-", 20), partition=partition)
        await until(lambda: desk.decided == ids("b0-", 20) | ids("b1-", 20))
    assert happened == []


@pytest.mark.parametrize(
    ("limits", "length"),
    [
        ({"max.message.bytes": "10000"}, 20_000),
        ({}, MAX_BODY_BYTES),
        ({"max.message.bytes": "2000000", "segment.bytes": "1048576"}, MAX_BODY_BYTES),
    ],
    ids=["message", "default", "segment"],
)
async def test_the_inbox_takes_what_is_larger_than_the_topic_allows_and_kafka_goes_on_with_the_rest(
    broker: KafkaBroker, migrated_url: str, limits: dict[str, str], length: int
) -> None:
    """Unless it is told otherwise a topic takes 1 MiB with all that is around it, and our own door a body of 1 MiB."""
    topic = Topic(broker, f"small-{length}-{len(limits)}")
    await topic.make(**limits)
    pool = await open_pool(migrated_url, size=2)
    happened: list[Happening] = []
    kafka = KafkaLeg(
        topic=topic.name,
        options={"bootstrap_servers": broker.bootstrap},
        acknowledge_within_s=5.0,
        clock=asyncio.get_running_loop().time,
        observe=happened.extend,
    )
    inbox = InboxLeg(pool, observe=happened.extend)
    inbound = Inbound(kafka=kafka, inbox=inbox, observe=lambda _: None)
    async with asyncio.TaskGroup() as group:
        legs = [group.create_task(kafka.run(), name="kafka"), group.create_task(inbox.run(), name="inbox")]
        async with asyncio.timeout(30):
            await until(lambda: kafka.up)
            for n in range(4):  # more often than refusals of another kind replace a producer
                assert await inbound.put(_event(f"small{n}", 100)) is Leg.KAFKA
                assert await inbound.put(_event(f"large{n}", length)) is Leg.INBOX
                await until(lambda: kafka.up)
            assert await inbound.put(_event("small4", 100)) is Leg.KAFKA
        for leg in legs:
            leg.cancel()
    too_large = Trouble("kafka", "an event is larger than the topic allows, the inbox takes it")
    assert happened.count(too_large) == 4
    assert not any("not acknowledged" in str(one) for one in happened)
    rows = await pool.fetch("SELECT event_id FROM inbox ORDER BY event_id")
    assert [row[0] for row in rows] == [f"large{n}" for n in range(4)]
    await pool.close()
    async with reading(broker, topic.name) as (_, desk, _):
        await until(lambda: desk.decided == ids("small", 5))


def _event(name: str, length: int) -> Event:
    return Event(
        id=EventId(name),
        source=ConnectionName("shop"),
        type="t",
        order_key="1",
        time=datetime(2026, 5, 1, tzinfo=UTC),
        body=b"x" * length,
    )


async def test_a_topic_that_was_made_anew_is_read_from_its_beginning(broker: KafkaBroker) -> None:
    """Behind the back of the reader: its offset is one that the new topic has too."""
    topic = Topic(broker, "anew")
    await topic.make()
    async with reading(broker, topic.name) as (reader, desk, happened):
        await topic.tell(ids("old", 50))
        await until(lambda: desk.decided == ids("old", 50) and reader._identity is not None)
        await topic.remove()
        await topic.make()
        await topic.tell(ids("new", 200))
        await until(lambda: desk.decided >= ids("new", 200))
        await until(lambda: reader.lag == 0)
    assert any("made anew and is read from its beginning" in str(one) for one in happened)


async def test_a_topic_that_comes_late_and_its_new_partitions_are_read_within_seconds(broker: KafkaBroker) -> None:
    topic = Topic(broker, "late")
    async with reading(broker, topic.name) as (reader, desk, _):
        await asyncio.sleep(1.0)
        await topic.make(1)
        await topic.tell({"first"})
        async with asyncio.timeout(20):
            await until(lambda: desk.decided == {"first"})
        await topic.grow(3)
        await topic.tell({"in-a-new-one"}, partition=2)
        async with asyncio.timeout(20):
            await until(lambda: desk.decided == {"first", "in-a-new-one"})
        await until(lambda: reader.lag == 0)


async def test_what_a_transaction_takes_back_is_neither_decided_nor_waited_for(broker: KafkaBroker) -> None:
    topic = Topic(broker, "transactions")
    await topic.make()
    producer = topic.producer(**{"transactional.id": "theirs"})
    await asyncio.to_thread(producer.init_transactions, 30.0)
    async with reading(broker, topic.name) as (reader, desk, _):
        producer.begin_transaction()
        await topic.tell(ids("kept", 10), producer=producer)
        await asyncio.to_thread(producer.commit_transaction, 30.0)
        await until(lambda: desk.decided == ids("kept", 10))
        producer.begin_transaction()
        await topic.tell(ids("taken-back", 300), producer=producer)
        await asyncio.to_thread(producer.abort_transaction, 30.0)
        consumer = reader._consumer
        assert consumer is not None
        await until(lambda: any((consumer.highwater(one) or 0) >= 312 for one in consumer.assignment()))
        await until(lambda: reader.lag == 0)
        [partition] = consumer.assignment()
        # Ten, three hundred, and a mark behind each.
        while await consumer.committed(partition) != 312:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert desk.decided == ids("kept", 10)


async def test_events_that_the_topic_dropped_unread_leave_one_dead_letter(broker: KafkaBroker) -> None:
    topic = Topic(broker, "dropped")
    await topic.make()
    async with reading(broker, topic.name) as (_, desk, _):
        await topic.tell(ids("read", 10))
        await until(lambda: desk.decided == ids("read", 10))
    await topic.tell(ids("unread", 30))
    await topic.drop_before(40)
    async with reading(broker, topic.name) as (_, desk, _):
        await until(lambda: len(desk.letters) == 1)
        [letter] = desk.letters
        assert (letter.code, letter.number, letter.arrival.event.source) == ("dropped", "", topic.name)
        assert "30 个未读取的事件" in letter.message.zh and "offsets 10 to 39" in letter.message.en
    # Nothing came meanwhile: the gap is behind us all the same.
    async with reading(broker, topic.name) as (_, desk, happened):
        await topic.tell({"next"})
        await until(lambda: desk.decided == {"next"})
    assert desk.letters == [] and happened == []
