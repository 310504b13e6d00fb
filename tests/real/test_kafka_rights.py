"""A real Kafka that lets us do some things and not others: what is said of it, and that nothing is lost meanwhile."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from adapters.webhook.fake import FakeShop
from adapters.wecom.fake import FakeWecom
from gateway.app import Worker, WorkerPlace
from gateway.core.notice import Kind
from gateway.plugins import discover
from gateway.settings import parse
from gateway.store.sql import open_pool
from gateway.supervise import listening
from gateway.watch import conditions
from tests.real.broker import KafkaBroker, Listener
from tests.test_cli import ordergate_here
from tests.watch.test_end_to_end import CONFIG, ERP_SECRET, KEY, SHOP_SECRET, headers, heard, order

pytestmark = pytest.mark.real

GRANTED: dict[str, tuple[ResourceType, str, AclOperation]] = {
    "read": (ResourceType.TOPIC, "orders", AclOperation.READ),
    "write": (ResourceType.TOPIC, "orders", AclOperation.WRITE),
    "group": (ResourceType.GROUP, "gateways", AclOperation.READ),
}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    with KafkaBroker(
        tmp_path_factory.mktemp("kafka"),
        quick=True,
        users={"ordergate": "secret"},
        listeners=[Listener(name="LOGIN", protocol="SASL_PLAINTEXT")],
        settings={
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",  # whoever comes by the plain listener
        },
    ) as made:
        admin = AdminClient({"bootstrap.servers": made.bootstrap})
        for asked in admin.create_topics([NewTopic("orders", 2, 1)]).values():
            asked.result(30)
        yield made


def grant(broker: KafkaBroker, *rights: str) -> None:
    """These to the gateway's user, and no other."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    mine, allow, literal = "User:ordergate", AclPermissionType.ALLOW, ResourcePatternType.LITERAL
    everything = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, mine, None, AclOperation.ANY, AclPermissionType.ANY
    )
    for gone in admin.delete_acls([everything]).values():
        gone.result(30)
    given = [GRANTED[right] for right in rights]
    bindings = [AclBinding(kind, name, literal, mine, "*", deed, allow) for kind, name, deed in given]
    for made in admin.create_acls(bindings).values():
        made.result(30)


@pytest.mark.parametrize(
    ("rights", "where", "english", "chinese", "proposal"),
    [
        (
            ("write", "group"),
            "kafka.topic",
            "may not read the topic orders",
            "无权读取主题 orders",
            "Read --topic orders",
        ),
        (("read", "group"), "kafka.topic", "may not write to the topic", "无权写入主题 orders", "Write --topic orders"),
        (("read", "write"), "kafka.group", "may not use the group gateways", "无权使用消费组", "Read --group gateways"),
    ],
)
def test_check_names_the_right_that_is_missing(
    broker: KafkaBroker, tmp_path: Path, rights: tuple[str, ...], where: str, english: str, chinese: str, proposal: str
) -> None:
    grant(broker, *rights)
    config = configured(broker, tmp_path)
    for language, said in (("en", english), ("zh", chinese)):
        done = ordergate_here("check", "-c", config, "--json", "--lang", language)
        assert done.code == 2, done.out
        [problem] = done.json["problems"]
        assert problem["where"] == where and said in problem["what"]
        assert "User:ordergate" in problem["proposal"] and problem["proposal"].endswith(proposal)


def test_check_finds_nothing_missing_with_all_three(broker: KafkaBroker, tmp_path: Path) -> None:
    grant(broker, *GRANTED)
    done = ordergate_here("check", "-c", configured(broker, tmp_path), "--json", "--lang", "en")
    assert done.code == 0 and done.json["problems"] == []
    assert any(note["what"] == "topic orders is there" for note in done.json["notes"])


def test_check_says_that_the_topic_is_not_ours_at_all(broker: KafkaBroker, tmp_path: Path) -> None:
    grant(broker, "group")
    done = ordergate_here("check", "-c", configured(broker, tmp_path), "--json", "--lang", "en")
    assert done.code == 2
    assert [problem["what"] for problem in done.json["problems"]] == ["we may not use the topic orders"]


async def test_orders_that_we_may_not_read_are_told_and_wait_until_we_may(
    broker: KafkaBroker, migrated_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The consumer joins again every second, for a moment, and is refused what it fetches."""
    monkeypatch.setitem(conditions._OPEN_AFTER_S, Kind.KAFKA_NOT_READ, 12.0)  # type: ignore[index]
    await asyncio.to_thread(grant, broker, "write", "group")
    pool = await open_pool(migrated_url, size=2)
    async with (
        asyncio.timeout(120),
        FakeWecom(keys={KEY}) as wecom,
        FakeShop(secrets=(ERP_SECRET,)) as erp,
        aiohttp.ClientSession() as session,
    ):
        port = int(erp.url.rpartition(":")[2])
        text = CONFIG.format(
            folder=tmp_path, url=migrated_url, shop=SHOP_SECRET, erp=ERP_SECRET, port=port, key=KEY, wecom=wecom.url
        )
        sock = listening(("127.0.0.1", 0))
        worker = Worker(
            parse(yaml.safe_dump({"kafka": section(broker)}) + text, {}, discover(), name="k", folder=tmp_path),
            WorkerPlace(name="test/0", sock=sock, stop_within_s=5.0),
            url=migrated_url,
            observe=lambda _: None,
        )
        running = asyncio.create_task(worker.run(), name="worker")
        here = f"http://127.0.0.1:{sock.getsockname()[1]}"

        async def parts() -> list[str]:
            async with session.get(f"{here}/readyz") as answer:
                assert answer.status == 200
                return [reason["part"] for reason in (await answer.json())["reasons"]]

        while await parts() != ["intake"]:  # noqa: ASYNC110 (Kafka takes events, and they are not read)
            await asyncio.sleep(0.2)
        body = order(1)
        async with session.post(f"{here}/hooks/shop", data=io.BytesIO(body), headers=headers(body, 1)) as answer:
            assert answer.status == 202
        told = await heard(wecom, lambda told: told.text.startswith("Kafka 读不到"), within_s=40)
        assert "1 个进程中 1 个读不到主题" in told.text and told.text.endswith("docs/runbooks/kafka_not_read.md")
        assert await pool.fetchval("SELECT count(*) FROM orders") == 0
        await asyncio.to_thread(grant, broker, *GRANTED)
        await heard(wecom, lambda told: told.text.startswith("Kafka 已能读取"), within_s=60)
        assert await pool.fetchval("SELECT count(*) FROM orders") == 1 and await parts() == []
        worker.stop()
        await running
        assert len(wecom.told) == 2
    await pool.close()


def section(broker: KafkaBroker) -> dict[str, Any]:
    login = {"mechanism": "PLAIN", "username": "ordergate", "password": "secret"}
    return {
        "bootstrap": broker.bootstrap_of("LOGIN"),
        "topic": "orders",
        "group": "gateways",
        "security": {"protocol": "SASL_PLAINTEXT", **login},
    }


def configured(broker: KafkaBroker, folder: Path) -> Path:
    config = folder / "ordergate.yaml"
    http = {"listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0"}
    config.write_text(yaml.safe_dump({"kafka": section(broker), "http": http}))
    return config
