"""A real Kafka behind TLS and logins: what the configuration promises, and what is said when it is wrong.

The listeners are those that people meet: their own cluster's, and a managed Kafka's with certificates of other names.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest
import yaml

from gateway.brokers import kafka_options
from gateway.core.event import Arrival, ConnectionName, Event, EventId, Leg
from gateway.core.happening import Happening, Trouble
from gateway.core.order import OrderNumber
from gateway.ingest.inbound import KafkaLeg
from gateway.intake.batch import Batch, Prepared
from gateway.intake.kafka import KafkaReader
from gateway.plugins import discover
from gateway.settings import Kafka, load
from tests.certificates import Authority
from tests.chaos.gateway import SHOPS, Fake, Gateway, read_topic, until
from tests.chaos.journal import Journal
from tests.chaos.load import PLAIN, stories
from tests.real.broker import KafkaBroker, Listener
from tests.test_cli import ordergate_here

pytestmark = pytest.mark.real

PASSWORD = "canary-9f31 all=the #signs"


class Cluster:
    """A broker with a listener per way to be reached, and the certificates on both sides. Files are in `folder`."""

    LOGIN: ClassVar = {"mechanism": "SCRAM-SHA-512", "username": "ordergate", "password": PASSWORD}

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ours, theirs = Authority(folder), Authority(folder, "other-ca")
        here = ours.issue("server", "127.0.0.1")
        names = ours.issue("names", "broker.example.com")
        expired = ours.issue("expired", "127.0.0.1", expired=True)
        ours.issue("client", "ordergate")
        ours.issue("locked-client", "ordergate", password=PASSWORD)
        theirs.issue("stranger", "ordergate")
        self.broker = KafkaBroker(
            folder / "kafka",
            quick=True,
            users={"ordergate": PASSWORD},
            listeners=[
                Listener(name="LOGIN", protocol="SASL_SSL", certificate=here),
                Listener(name="CLEAR", protocol="SASL_PLAINTEXT"),
                Listener(name="CERTIFICATE", protocol="SSL", certificate=here, clients_ca=ours.file),
                Listener(name="NAMES", protocol="SASL_SSL", certificate=names),
                Listener(name="EXPIRED", protocol="SASL_SSL", certificate=expired),
                # Fits where clients begin, and not where they are sent.
                Listener(name="SENT_ON", protocol="SASL_SSL", certificate=here, advertised_host="localhost"),
            ],
        )

    def section(self, listener: str, **security: Any) -> dict[str, Any]:
        """`kafka` in the configuration; a key of `security` that is None is left out."""
        protocol = "PLAINTEXT" if listener == "PLAINTEXT" else self.broker.protocol_of(listener)
        whole = {"protocol": protocol, **(self.LOGIN if "SASL" in protocol else {})}
        if protocol.endswith("SSL"):
            whole["ca_file"] = "ca.pem"
        whole |= security
        address = self.broker.bootstrap if listener == "PLAINTEXT" else self.broker.bootstrap_of(listener)
        return {"bootstrap": address, "security": {key: value for key, value in whole.items() if value is not None}}

    def kafka(self, listener: str, **security: Any) -> Kafka:
        """The section as the product reads it from a file."""
        file = self.folder / "ordergate.yaml"
        file.write_text(yaml.safe_dump({"kafka": self.section(listener, **security)}))
        made = load(file, {}, discover()).kafka
        assert made is not None
        return made


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    with made.broker:
        yield made


@asynccontextmanager
async def gateway_on(
    cluster: Cluster, folder: Path, database_url: str, *, topic: str, kafka: dict[str, Any]
) -> AsyncIterator[tuple[Gateway, Fake]]:
    """`ordergate run` that reaches the broker by `kafka`; the test itself by the plain listener."""
    async with Fake("webhook", folder) as fake:
        gateway = Gateway(
            folder,
            database_url=database_url,
            fakes=[fake],
            kafka=cluster.broker.bootstrap,
            topic=topic,
            sections={"kafka": kafka},
        )
        async with gateway:
            yield gateway, fake


def with_absolute_files(section: dict[str, Any], folder: Path) -> dict[str, Any]:
    files = {key: str(folder / file) for key, file in section["security"].items() if key.endswith("_file")}
    return {**section, "security": {**section["security"], **files}}


async def readiness(gateway: Gateway) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session:
        async with session.get(gateway.hooks_url.replace("/hooks", "/readyz")) as answer:
            return {"status": answer.status, **await answer.json()}


async def test_orders_come_and_go_through_tls_and_scram(
    cluster: Cluster, server_folder: Path, postgres_url: str
) -> None:
    topic = "orders-scram"
    section = with_absolute_files(cluster.section("LOGIN"), cluster.folder)
    async with gateway_on(cluster, server_folder, postgres_url, topic=topic, kafka=section) as (gateway, fake):

        async def all_is_well() -> bool:
            return (await readiness(gateway))["reasons"] == []

        await until(all_is_well, within_s=20, what="Kafka to be up", log=gateway.log)
        with Journal(gateway.journal_path) as journal:
            by_webhook, by_topic = gateway.producer(journal), gateway.producer(journal, webhooks=False)
            assert await by_webhook.tell(stories(1, shops=SHOPS, seed=1, mix=PLAIN)) == 1
            on_topic, _ = await read_topic(cluster.broker.bootstrap, topic)
            assert len(on_topic) == 1, "what came by webhook stands on the topic"
            assert await by_topic.tell(stories(1, shops=SHOPS, seed=2, mix=PLAIN)) == 1
        await gateway.quiet(within_s=20)
        assert await gateway.verdict() == []
        books = await fake.books()
        assert [book.documents for book in books.orders.values()] == [1, 1]
        await gateway.stop()
        assert PASSWORD not in gateway.log.read_text()


@pytest.mark.parametrize(
    ("listener", "security"),
    [
        pytest.param("LOGIN", {"mechanism": "PLAIN"}, id="tls-plain"),
        pytest.param("LOGIN", {"mechanism": "SCRAM-SHA-256"}, id="tls-scram-256"),
        pytest.param("LOGIN", {"mechanism": "SCRAM-SHA-512"}, id="tls-scram-512"),
        pytest.param("CLEAR", {"mechanism": "PLAIN"}, id="clear-plain"),
        pytest.param("CLEAR", {"mechanism": "SCRAM-SHA-256"}, id="clear-scram-256"),
        pytest.param("CERTIFICATE", {"cert_file": "client.pem", "key_file": "client.pem"}, id="certificate"),
        pytest.param(
            "CERTIFICATE",
            {"cert_file": "locked-client.pem", "key_file": "locked-client.pem", "key_password": PASSWORD},
            id="certificate-locked",
        ),
        pytest.param("NAMES", {"check_hostname": False}, id="other-names"),
    ],
)
async def test_both_legs_make_the_round_trip(
    cluster: Cluster, listener: str, security: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    topic = f"trip-{request.node.callspec.id}"
    options = kafka_options(cluster.kafka(listener, **security))
    happened, decider = list[Happening](), Arrived()
    leg = kafka_leg(options, topic, happened)
    reader = KafkaReader(
        topic=topic,
        options={**options, "group_id": topic, "session_timeout_ms": 10_000},
        decider=decider,  # type: ignore[arg-type]
        decide_lock=asyncio.Lock(),
        batch_events=10,
        batch_wait_ms=10,
        observe=happened.extend,
        reach=lambda _: None,
    )
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        producing = group.create_task(leg.run(), name="leg")
        while not leg.up:  # noqa: ASYNC110 (the leg has no signal of its own for it)
            await asyncio.sleep(0.02)
        assert await leg.put(EVENT)
        group.create_task(reader.run(), name="reader")
        assert (await decider.first).event == EVENT
        reader.stop()
        producing.cancel()
    assert happened == []


class Arrived:
    """Decides nothing and tells what came."""

    def __init__(self) -> None:
        self.first: asyncio.Future[Arrival] = asyncio.get_running_loop().create_future()

    def prepare(self, arrivals: Sequence[Arrival]) -> Batch:
        return Batch(
            tuple(Prepared(one.event.source, None, one, OrderNumber(one.event.order_key), None) for one in arrivals), ()
        )

    async def decide(self, batch: Batch, *, leg: Leg) -> None:
        if not self.first.done():
            self.first.set_result(batch.sound[0].arrival)


EVENT = Event(
    id=EventId("e1"),
    source=ConnectionName("shop-a"),
    type="t",
    order_key="shop-a/1",
    time=datetime(2026, 5, 1, tzinfo=UTC),
    body=b"{}",
)


def kafka_leg(options: dict[str, Any], topic: str, happened: list[Happening], **more: Any) -> KafkaLeg:
    return KafkaLeg(
        topic=topic,
        options=options,
        acknowledge_within_s=10.0,
        clock=time.monotonic,
        observe=happened.extend,
        **more,
    )


WRONG: dict[str, tuple[str, dict[str, Any], str, str, str]] = {
    "password": ("LOGIN", {"password": "x"}, "security.password", "refuses the login", "拒绝登录"),
    "plain-password": ("LOGIN", {"mechanism": "PLAIN", "password": "x"}, "security.password", "refuses", "拒绝登录"),
    "ca": ("LOGIN", {"ca_file": "other-ca.pem"}, "security.ca_file", "not signed by the CA in", "里的 CA 签发的"),
    "no-ca": ("LOGIN", {"ca_file": None}, "security.ca_file", "not signed by a CA that this system", "系统信任的 CA"),
    "expired": ("EXPIRED", {}, "bootstrap", "certificate has expired", "不在有效期内"),
    "names": (
        "NAMES",
        {},
        "security.check_hostname",
        "other names: broker.example.com",
        "别的名字：broker.example.com",
    ),
    "sent-on": ("SENT_ON", {}, "security.check_hostname", "advertised.listeners) shows", "advertised.listeners 所指）"),
    "no-certificate": ("CERTIFICATE", {}, "security.cert_file", "asks for a client certificate", "要求客户端证书"),
    "stranger": (
        "CERTIFICATE",
        {"cert_file": "stranger.pem", "key_file": "stranger.pem"},
        "security.cert_file",
        "refuses our certificate",
        "不接受我们的证书",
    ),
    "no-login": ("PLAINTEXT", {"protocol": "SASL_PLAINTEXT", **Cluster.LOGIN}, "security.protocol", "no login", "登录"),
    "no-tls": ("CLEAR", {"protocol": "SASL_SSL"}, "security.protocol", "does not speak SASL_SSL", "SASL_SSL"),
    "tls": ("LOGIN", {"protocol": "SASL_PLAINTEXT", "ca_file": None}, "security.protocol", "hangs up", "断开"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_check_says_what_is_wrong_and_where(cluster: Cluster, wrong: str, tmp_path: Path) -> None:
    listener, security, key, english, chinese = WRONG[wrong]
    section = with_absolute_files(cluster.section(listener, **security), cluster.folder)
    config = tmp_path / "ordergate.yaml"
    http = {"listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0"}
    config.write_text(yaml.safe_dump({"kafka": section, "http": http}))
    for language, said in (("en", english), ("zh", chinese)):
        done = ordergate_here("check", "-c", config, "--json", "--lang", language)
        assert done.code == 2
        first = done.json["problems"][0]
        assert first["where"] == f"kafka.{key}"
        assert said in first["what"] and first["proposal"], first
        assert section["bootstrap"].rpartition(":")[2] in first["what"], "which broker"
        assert PASSWORD not in done.out + done.err and done.err == ""


def test_check_warns_of_what_is_left_open(cluster: Cluster, tmp_path: Path) -> None:
    http = {"listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0"}
    config = tmp_path / "ordergate.yaml"
    section = with_absolute_files(cluster.section("NAMES", check_hostname=False), cluster.folder)
    config.write_text(yaml.safe_dump({"kafka": {**section, "topic": "trip-other-names"}, "http": http}))
    done = ordergate_here("check", "-c", config, "--json", "--lang", "en")
    # And that nothing is connected, which this configuration leaves out.
    where = [warning["where"] for warning in done.json["warnings"]]
    assert where == ["connections", "kafka.security.check_hostname"]
    # The topic is made by the round trip, if that ran; check makes none.
    assert {problem["where"] for problem in done.json["problems"]} <= {"kafka.topic"}
    assert "不核对证书里的主机名" in ordergate_here("check", "-c", config).out


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("password", "SaslAuthenticationFailed"),
        ("ca", "unable to get local issuer certificate"),
        ("sent-on", "certificate is not valid for 'localhost'"),
    ],
)
async def test_a_gateway_that_may_not_talk_to_kafka_takes_orders_all_the_same(
    cluster: Cluster, wrong: str, reason: str, server_folder: Path, postgres_url: str
) -> None:
    listener, security, *_ = WRONG[wrong]
    section = with_absolute_files(cluster.section(listener, **security), cluster.folder)
    async with gateway_on(cluster, server_folder, postgres_url, topic=wrong, kafka=section) as (gateway, fake):
        workers = gateway.worker_pids()
        with Journal(gateway.journal_path) as journal:
            assert await gateway.producer(journal).tell(stories(1, shops=SHOPS, seed=1, mix=PLAIN)) == 1

        async def delivered() -> bool:
            return bool((await fake.books()).orders)

        async def told() -> bool:
            return reason in gateway.log.read_text()

        await until(delivered, within_s=10, what="the order", log=gateway.log)
        await until(told, within_s=10, what=reason, log=gateway.log)
        ready = await readiness(gateway)
        assert (ready["status"], ready["ready"]) == (200, True)
        assert [(one["part"], one["fatal"]) for one in ready["reasons"]] == [("kafka", False), ("intake", False)]
        assert "go to the inbox" in ready["reasons"][0]["en"]
        assert "events there are kept and wait" in ready["reasons"][1]["en"]
        assert gateway.worker_pids() == workers and "restart in" not in gateway.log.read_text()
        assert len(gateway.log.read_text().splitlines()) < 60, "the reason, and not a flood of it"
        assert PASSWORD not in gateway.log.read_text()


async def test_brokers_that_send_us_where_they_are_not_are_given_up_and_asked_again(cluster: Cluster) -> None:
    happened = list[Happening]()
    leg = kafka_leg(kafka_options(cluster.kafka("SENT_ON")), "nowhere", happened, start_within_s=0.5)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        task = group.create_task(leg.run(), name="leg")
        while not happened:  # noqa: ASYNC110 (the leg has no signal of its own for it)
            await asyncio.sleep(0.02)
        assert not leg.up and not await leg.put(EVENT)
        task.cancel()
    (told,) = happened
    assert isinstance(told, Trouble) and "producer not started: TimeoutError" in told.what
