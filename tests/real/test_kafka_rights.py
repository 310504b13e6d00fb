"""A real Kafka that lets us do some things and not others: what `ordergate check` says of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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

from tests.real.broker import KafkaBroker, Listener
from tests.test_cli import ordergate_here

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


def configured(broker: KafkaBroker, folder: Path) -> Path:
    login = {"mechanism": "PLAIN", "username": "ordergate", "password": "secret"}
    section = {
        "bootstrap": broker.bootstrap_of("LOGIN"),
        "topic": "orders",
        "group": "gateways",
        "security": {"protocol": "SASL_PLAINTEXT", **login},
    }
    config = folder / "ordergate.yaml"
    http = {"listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0"}
    config.write_text(yaml.safe_dump({"kafka": section, "http": http}))
    return config
