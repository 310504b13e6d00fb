"""Neither leg dies of an event, and the Kafka leg does not die of its producer."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web

from adapters.webhook.settings import Settings
from adapters.webhook.source import WebhookSource
from gateway.core.errors import Unavailable
from gateway.core.event import ConnectionName, Event, EventId, Leg
from gateway.core.happening import Happening, Trouble
from gateway.ingest.inbound import Inbound, InboxLeg, KafkaLeg
from gateway.ingest.webhook import Hooks
from gateway.sdk.adapter import Setup
from gateway.sdk.carriers import load_carriers
from gateway.sdk.signing import decode_secret, sign
from gateway.store.sql import open_pool
from tests.lifelines import end_with_us

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"order_no":"A1","updated_at":"2026-05-01T09:30:05+08:00","payment":{"paid":true,"amount":"1.00"}}'


def event(name: str = "e1", *, traceparent: str = "") -> Event:
    return Event(
        id=EventId(name),
        source=ConnectionName("shop-a"),
        type="t",
        order_key="A1",
        time=datetime(2026, 5, 1, tzinfo=UTC),
        body=b"{}",
        traceparent=traceparent,
    )


@asynccontextmanager
async def running(leg: InboxLeg | KafkaLeg) -> AsyncIterator[asyncio.Task[None]]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(leg.run(), name="leg")
        yield task
        task.cancel()


async def test_an_event_that_cannot_be_encoded_takes_neither_the_others_nor_the_leg(migrated_url: str) -> None:
    pool = await open_pool(migrated_url, size=2)
    leg = InboxLeg(pool, observe=lambda _: None)
    bad = event("bad", traceparent="\udcff")
    # All three are one group: the leg has not started yet.
    puts = [asyncio.ensure_future(leg.put(one)) for one in (event("a"), bad, event("b"))]
    await asyncio.sleep(0)
    async with running(leg) as task:
        answers = await asyncio.gather(*puts, return_exceptions=True)
        assert [type(one) for one in answers] == [type(None), Unavailable, type(None)]
        assert not leg.refused, "that says nothing about the database"
        await leg.put(event("c"))
        assert not task.done()
    assert await pool.fetchval("SELECT string_agg(event_id, ' ' ORDER BY event_id) FROM inbox") == "a b c"
    await pool.close()


async def test_a_sender_who_goes_away_takes_neither_the_others_nor_the_leg(migrated_url: str) -> None:
    pool = await open_pool(migrated_url, size=2)
    leg = InboxLeg(pool, observe=lambda _: None)
    gone, stays = [asyncio.ensure_future(leg.put(event(name))) for name in "ab"]
    await asyncio.sleep(0)
    gone.cancel()
    async with running(leg) as task:
        await stays
        await leg.put(event("c"))
        assert not task.done()
    assert await pool.fetchval("SELECT string_agg(event_id, ' ' ORDER BY event_id) FROM inbox") == "a b c"
    await pool.close()


async def test_whoever_waits_for_a_leg_that_ends_is_told_to_send_again(migrated_url: str) -> None:
    """One whose event is being written as well: nobody else would ever answer him."""
    pool = await open_pool(migrated_url, size=3)
    leg = InboxLeg(pool, observe=lambda _: None)
    async with pool.acquire() as other, other.transaction():
        await other.execute("LOCK TABLE inbox")
        async with asyncio.timeout(10), running(leg):
            written = asyncio.ensure_future(leg.put(event("a")))
            while not await other.fetchval("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            waits = asyncio.ensure_future(leg.put(event("b")))
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            answers = await asyncio.gather(written, waits, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable, Unavailable]
    await pool.close()


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("traceparent", b"\xff", 202),
        ("x-other", b"\xff", 202),
        ("webhook-id", b"\xff", 401),
        ("webhook-timestamp", b"\xff", 401),
        ("webhook-signature", b"v1,\xff", 401),
    ],
)
async def test_raw_bytes_in_a_header(header: str, value: bytes, status: int) -> None:
    taken: list[Event] = []

    class Taken(Inbound):
        def __init__(self) -> None:
            pass

        async def put(self, event: Event) -> Leg:
            event.traceparent.encode()
            taken.append(event)
            return Leg.INBOX

    setup = Setup(
        connection=ConnectionName("shop-a"),
        settings=Settings(secrets=(SECRET,)),
        now=lambda: datetime.now(UTC),
        carriers=load_carriers(),
    )
    hooks = Hooks(
        sources={setup.connection: WebhookSource(setup)},
        inbound=Taken(),
        body_limit_bytes=1024,
        now=setup.now,
        observe=lambda _: None,
    )
    application = web.Application()
    application.add_routes(hooks.routes())
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stamp = int(datetime.now(UTC).timestamp())
    headers = {
        "host": b"x",
        "connection": b"close",
        "content-length": str(len(BODY)).encode(),
        "webhook-id": b"m1",
        "webhook-timestamp": str(stamp).encode(),
        "webhook-signature": sign(decode_secret(SECRET), message_id="m1", timestamp=stamp, body=BODY).encode(),
        header: value,
    }
    head = b"".join(name.encode() + b": " + text + b"\r\n" for name, text in headers.items())
    try:
        reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
        writer.write(b"POST /hooks/shop-a HTTP/1.1\r\n" + head + b"\r\n" + BODY)
        async with asyncio.timeout(5):
            answer = await reader.read()
        writer.close()
    finally:
        await runner.cleanup()
    assert answer.split(b" ", 2)[1] == str(status).encode()
    assert [one.traceparent for one in taken] == ([""] if status == 202 else [])


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def kafka_leg(address: str, clock: _Clock, happened: list[Happening]) -> KafkaLeg:
    return KafkaLeg(
        topic="orders",
        options={"bootstrap_servers": address},
        acknowledge_within_s=5.0,
        clock=clock,
        observe=happened.extend,
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (the leg has no signal of its own for it)
            await asyncio.sleep(0.02)


async def test_a_producer_that_refuses_for_ever_is_replaced(kafka_mock: str) -> None:
    clock, happened = _Clock(), list[Happening]()
    leg = kafka_leg(kafka_mock, clock, happened)
    async with running(leg):
        await until(lambda: leg.up)
        assert await leg.put(event())
        dead = leg._producer
        assert dead is not None
        dead._message_accumulator.fail_all(RuntimeError("fatal"))

        for _ in range(3):
            # Those under way together are one failure, and none of them a success: the leg stays down in between.
            assert await asyncio.gather(leg.put(event()), leg.put(event())) == [False, False]
            clock.now += 10.0
            assert not leg.up
        await until(lambda: leg._producer not in (None, dead))

        assert not leg.up, "nothing has been acknowledged yet"
        assert await leg.put(event())
        assert leg.up
    assert [one.what for one in happened if isinstance(one, Trouble)] == [
        "not acknowledged: RuntimeError, the inbox takes over",
        "the producer is dead, another one takes its place",
    ]


async def test_a_producer_whose_sending_task_ended_is_replaced(kafka_mock: str) -> None:
    leg = kafka_leg(kafka_mock, _Clock(), [])
    async with running(leg):
        await until(lambda: leg.up)
        dead = leg._producer
        assert dead is not None
        dead._sender.sender_task.cancel()
        await until(lambda: leg._producer not in (None, dead))
        assert await leg.put(event())


async def test_an_event_that_cannot_be_encoded_says_nothing_about_the_brokers(kafka_mock: str) -> None:
    leg = kafka_leg(kafka_mock, _Clock(), [])
    async with running(leg):
        await until(lambda: leg.up)
        assert not await leg.put(event(traceparent="\udcff"))
        assert leg.up
        assert await leg.put(event())


async def test_a_broker_name_that_no_codec_takes_does_not_end_the_leg() -> None:
    """Brokers name their own addresses: what the settings would refuse can still come from there."""
    happened = list[Happening]()
    leg = kafka_leg("kafka..example:9092", _Clock(), happened)
    async with running(leg) as task:
        await until(lambda: bool(happened))
        assert not task.done() and not leg.up
        assert not await leg.put(event())
    (told,) = happened
    assert isinstance(told, Trouble) and "Unicode" in told.what and "the inbox takes over" in told.what


_CLUSTER = """
from confluent_kafka import Producer
cluster = Producer({"bootstrap.servers": "ignored", "test.mock.num.brokers": 1, "log_level": 0})
broker = next(iter(cluster.list_topics(timeout=10).brokers.values()))
print(f"{broker.host}:{broker.port}", flush=True)
while True:
    cluster.poll(0.05)
"""


@pytest.fixture
def own_kafka_mock() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`kafka_mock` in a process of its own, which can be stopped."""
    with subprocess.Popen(
        [sys.executable, "-c", _CLUSTER],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=end_with_us,  # noqa: PLW1509
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
        process.kill()


async def test_the_leg_is_up_again_although_no_event_comes(own_kafka_mock: tuple[str, subprocess.Popen[str]]) -> None:
    address, process = own_kafka_mock
    happened = list[Happening]()
    leg = KafkaLeg(
        topic="orders",
        options={"bootstrap_servers": address},
        acknowledge_within_s=0.5,
        clock=asyncio.get_running_loop().time,
        observe=happened.extend,
        ask_again_s=0.2,
    )
    async with running(leg):
        await until(lambda: leg.up)
        while not await leg.put(event("first")):  # the topic is made on first use
            pass
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        happened.clear()
        assert not await leg.put(event("last of the night"))
        await asyncio.sleep(1.0)
        assert not leg.up
        process.send_signal(signal.SIGCONT)
        await until(lambda: leg.up)
    assert [one.what for one in happened if isinstance(one, Trouble)] == [
        "not acknowledged: TimeoutError, the inbox takes over"
    ]


async def test_a_new_producer_is_up_when_the_one_before_died_without_an_event(kafka_mock: str) -> None:
    leg = kafka_leg(kafka_mock, _Clock(), [])
    async with running(leg):
        await until(lambda: leg.up)
        dead = leg._producer
        assert dead is not None
        dead._sender.sender_task.cancel()
        await until(lambda: not leg.up)
        await until(lambda: leg.up)
        assert leg._producer is not dead
