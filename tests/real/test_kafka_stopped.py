"""A real Kafka that answers nobody for longer than a session, and a consumer that ends without a word: what was
acknowledged is decided."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from gateway.core.event import Arrival, ConnectionName, Event, EventId, Leg
from gateway.core.happening import Happening, Trouble
from gateway.core.order import OrderNumber
from gateway.ingest.inbound import KafkaLeg
from gateway.intake.batch import Batch, Prepared
from gateway.intake.kafka import KafkaReader
from gateway.store.dead import DeadLetter
from tests.real.broker import KafkaBroker

pytestmark = pytest.mark.real

_OLDEST = "message.timestamp.before.max.ms"

SESSION_S = 6
"""The shortest that a broker lets members ask for."""


@pytest.fixture
def own_kafka(server_folder: Path) -> Iterator[KafkaBroker]:
    with KafkaBroker(server_folder, quick=True) as broker:
        yield broker


class Desk:
    """Takes its time, as the database does."""

    def __init__(self) -> None:
        self.decided: set[EventId] = set()
        self.letters: list[DeadLetter] = []

    def prepare(self, arrivals: Sequence[Arrival]) -> Batch:
        return Batch(
            tuple(Prepared(a.event.source, None, a, OrderNumber(a.event.order_key), None) for a in arrivals), ()
        )

    async def decide(self, batch: Batch, *, leg: Leg) -> None:
        await asyncio.sleep(0.002 * len(batch.sound))
        self.decided |= {prepared.arrival.event.id for prepared in batch.sound}
        self.letters += batch.unsound


class Load:
    """A hundred events a second into the Kafka leg; notes those that it acknowledges."""

    def __init__(self, leg: KafkaLeg) -> None:
        self.acknowledged: set[EventId] = set()
        self.stopping = False
        self._leg = leg

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in itertools.count():
                if self.stopping:
                    break
                group.create_task(self._put(number))
                await asyncio.sleep(0.01)

    async def _put(self, number: int) -> None:
        event = Event(
            id=EventId(f"e{number}"), source=ConnectionName("shop"), type="t", order_key=f"o{number}",
            time=datetime.now(UTC), body=b"{}" * 500,
        )  # fmt: skip
        if await self._leg.put(event):
            self.acknowledged.add(event.id)

    async def grows(self, by: int) -> None:
        before = len(self.acknowledged)
        while len(self.acknowledged) < before + by:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("stopped_s", [SESSION_S - 1, SESSION_S + 0.5, SESSION_S + 4])
async def test_everything_acknowledged_is_decided_after_a_stop(own_kafka: KafkaBroker, stopped_s: float) -> None:
    async with under_load(own_kafka) as (_, load, _):
        own_kafka.pause()
        await asyncio.sleep(stopped_s)
        own_kafka.resume()
        await load.grows(200)


async def test_a_static_member_that_ends_without_a_word_is_replaced_by_itself(own_kafka: KafkaBroker) -> None:
    async with under_load(own_kafka) as (reader, load, happened):
        assert reader._consumer is not None
        reader._consumer._coordinator._coordination_task.cancel()
        await load.grows(200)
    assert any("is replaced" in one.what for one in happened if isinstance(one, Trouble)), happened


async def test_a_broker_that_answers_but_takes_nothing_is_not_up(own_kafka: KafkaBroker) -> None:
    """It leads the partition, and refuses every event as too old; then no other event comes."""
    admin = AdminClient({"bootstrap.servers": own_kafka.bootstrap})
    [made] = admin.create_topics([NewTopic("closed", 1, 1, config={_OLDEST: "0"})]).values()
    await asyncio.to_thread(made.result, 30)
    leg = KafkaLeg(
        topic="closed",
        options={"bootstrap_servers": own_kafka.bootstrap},
        acknowledge_within_s=1.0,
        clock=asyncio.get_running_loop().time,
        observe=lambda _: None,
        ask_again_s=0.5,
    )
    event = Event(
        id=EventId("e"), source=ConnectionName("shop"), type="t", order_key="o", time=datetime.now(UTC), body=b"{}"
    )

    async def until(up: bool) -> None:
        while leg.up is not up:  # noqa: ASYNC110 (the leg has no signal of its own for it)
            await asyncio.sleep(0.02)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        producing = group.create_task(leg.run(), name="leg")
        await until(True)
        assert not await leg.put(event)
        for _ in range(50):
            await asyncio.sleep(0.1)
            assert not leg.up
        entry = ConfigEntry(_OLDEST, "3600000", incremental_operation=AlterConfigOpType.SET)
        opened = ConfigResource(ConfigResource.Type.TOPIC, "closed", incremental_configs=[entry])
        [altered] = admin.incremental_alter_configs([opened]).values()
        await asyncio.to_thread(altered.result, 30)
        await until(True)
        producing.cancel()


@asynccontextmanager
async def under_load(kafka: KafkaBroker) -> AsyncIterator[tuple[KafkaReader, Load, list[Happening]]]:
    """Events come and are decided; at the end all that were acknowledged have been."""
    happened, desk, options = list[Happening](), Desk(), {"bootstrap_servers": kafka.bootstrap}
    leg = KafkaLeg(
        topic="orders",
        options=options,
        acknowledge_within_s=1.0,
        clock=asyncio.get_running_loop().time,
        observe=happened.extend,
    )
    reader = KafkaReader(
        topic="orders",
        options={
            **options,
            "group_id": "g",
            "group_instance_id": "worker-0",
            "session_timeout_ms": SESSION_S * 1000,
        },
        decider=desk,  # type: ignore[arg-type]
        decide_lock=asyncio.Lock(),
        batch_events=500,
        batch_wait_ms=20,
        observe=happened.extend,
        reach=lambda _: None,
    )
    load = Load(leg)
    async with asyncio.timeout(100), asyncio.TaskGroup() as group:
        producing = group.create_task(leg.run(), name="leg")
        group.create_task(reader.run(), name="reader")
        group.create_task(load.run(), name="load")
        await load.grows(200)
        yield reader, load, happened
        load.stopping = True
        while load.acknowledged - desk.decided:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert reader.reading
        reader.stop()
        producing.cancel()
