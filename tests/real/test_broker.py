from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.real.broker import KafkaBroker

pytestmark = pytest.mark.real


@pytest.fixture
def own_kafka(server_folder: Path) -> Iterator[KafkaBroker]:
    with KafkaBroker(server_folder) as broker:
        yield broker


async def test_acknowledged_messages_survive_kill_9(own_kafka: KafkaBroker) -> None:
    async with asyncio.timeout(60):
        async with AIOKafkaProducer(bootstrap_servers=own_kafka.bootstrap, acks="all") as producer:
            for number in range(100):
                await producer.send_and_wait("orders", str(number).encode(), partition=0)
        own_kafka.kill()
        await asyncio.to_thread(own_kafka.start)
        async with AIOKafkaConsumer(bootstrap_servers=own_kafka.bootstrap, auto_offset_reset="earliest") as consumer:
            partition = TopicPartition("orders", 0)
            consumer.assign([partition])
            assert (await consumer.end_offsets([partition]))[partition] == 100
            got = [int((await consumer.getone()).value) for _ in range(100)]
    assert got == list(range(100))


async def test_a_paused_broker_answers_nobody_until_it_resumes(own_kafka: KafkaBroker) -> None:
    async with asyncio.timeout(60):
        async with AIOKafkaProducer(bootstrap_servers=own_kafka.bootstrap, acks="all") as producer:
            await producer.send_and_wait("orders", b"before")
            own_kafka.pause()
            waiting = await producer.send("orders", b"during")
            done, _ = await asyncio.wait([waiting], timeout=1)
            assert not done
            own_kafka.resume()
            await waiting
            assert len(await producer.partitions_for("orders")) == 8


async def test_the_shared_broker_takes_messages(kafka: KafkaBroker) -> None:
    async with asyncio.timeout(20), AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        assert (await producer.send_and_wait("the-shared-broker", b"one")).offset == 0
