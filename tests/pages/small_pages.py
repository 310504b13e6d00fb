"""Pages with a handful of commands: the configuration, the way of an order, notices, and single platforms."""

from __future__ import annotations

import base64
import re
import shutil
from datetime import UTC, datetime, timedelta

import pytest

from gateway.core.keys import KEY_BYTES
from gateway.core.words import NOTICES
from gateway.sdk.signing import decode_secret
from tests.pages.page import Page
from tests.pages.reading import blocks_of, text_of
from tests.pages.stage import until
from tests.pages.town import SECRET, Town, example_of, quick_start, write_config

NEXT_YEAR = (datetime.now(UTC) + timedelta(days=365)).isoformat()


def configuration(page: Page, town: Town) -> None:
    assert page.run("ordergate reference") == text_of(page.path)
    _of_configuration(page)


def configuration_zh(page: Page, town: Town) -> None:
    assert page.run("ordergate reference --lang zh") == text_of(page.path)
    _of_configuration(page)


def _of_configuration(page: Page) -> None:
    assert "没有问题" in page.run("ordergate check")
    assert len(base64.b64decode(page.run("ordergate keys new"))) == KEY_BYTES
    listed = page.run("ordergate adapters")
    assert all(name in listed for name in ("webhook", "qimen", "taobao", "pinduoduo", "wecom", "smtp"))


def example(page: Page, town: Town) -> None:
    assert "没有问题" in page.run("ordergate check")
    assert re.search(r"完成，\d+ 行已用当前密钥加密", page.run("ordergate keys reseal"))
    assert len(base64.b64decode(page.run("ordergate keys new"))) == KEY_BYTES
    assert "webhook" in page.run("ordergate adapters")


def quick_start_file(page: Page, town: Town) -> None:
    assert len(decode_secret(page.run("ordergate webhook secret").strip())) == 32


def contributing(page: Page, town: Town) -> None:
    said = page.run("./dev help")
    for command in ("test", "check", "test-real", "test-soak", "generate"):
        assert f"\n  {command} " in said


def travels(page: Page, town: Town) -> None:
    town.order("2001")
    town.sent("A2001")
    shown = page.run("ordergate orders show A2001")
    for what in ("收到消息", "计划下发", "下发结果"):
        assert what in shown


def notices(page: Page, town: Town) -> None:
    mails = len(town.mailbox.mails)
    checked = page.run("ordergate check")
    assert "ordergate notices test ops-robot" in checked and "ordergate notices test ops-mail" in checked
    assert not _tried(town) and len(town.mailbox.mails) == mails
    assert "✓" in page.run("ordergate notices test ops-robot")
    assert _tried(town) == [("wangwu",)]
    town.blocked("3001")
    told = re.compile(rf"{NOTICES['blocked'].zh} .*(?:已发，消息|并入消息) \d+.* ops-robot ")
    until(lambda: told.search(page.stage.run("ordergate notices list").out), "the robot to tell of it")
    assert "blocked" in page.run("ordergate notices list")
    assert "✓" in page.run("ordergate notices test ops-mail")
    assert "Ordergate 测试通知" in str(town.mailbox.mails[-1]["Subject"])
    assert town.mailbox.recipients[-1] == ["ops@example.com", "wang@example.com"]


def _tried(town: Town) -> list[tuple[str, ...]]:
    """Who was mentioned in each test message of the robot; notices may come at any time."""
    return [told.mentioned for told in town.robot.told if told.text.startswith("Ordergate 测试通知")]


def pinduoduo(page: Page) -> None:
    stage, fake = page.stage, f"http://127.0.0.1:{page.stage.port(8703)}"
    running = page.start("python -m adapters.pinduoduo.fake --port 8703")
    until(lambda: "http://" in running.said(), "the fake")
    assert '"access_token"' in page.run("curl http://127.0.0.1:8703/shop")
    token = stage.get(f"{fake}/shop")["access_token"]
    stage.environment |= {"PDD_CLIENT_ID": "fake-client", "PDD_CLIENT_SECRET": "fake-secret"}
    stage.environment |= {"PDD_ACCESS_TOKEN": token, "PDD_REFRESH_TOKEN": "r"}
    document = example_of(page.path)
    settings = document["connections"]["pdd-1"]["settings"]
    settings |= {"url": "http://127.0.0.1:8703/api/router", "expires_at": NEXT_YEAR}
    write_config(stage, document)
    checked = page.run("ordergate check")
    assert "目标系统可用" in checked and "没有问题" in checked


def webhook(page: Page) -> None:
    """What it is sent, and what its answers mean, is in tests/adapters/webhook."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine: a partner signs with it")
    stage = page.stage
    write_config(stage, {"connections": quick_start()})
    stage.start_gateway("ordergate run")
    [script] = blocks_of(page.path, "shell")
    (stage.folder / "send-order.sh").write_text(script, encoding="utf-8")
    page.run(f"export WEBHOOK_SECRET={SECRET}")
    send = "sh send-order.sh adapters/webhook/order.example.json http://127.0.0.1:8080/hooks/shop-a"
    assert page.run(send) == '{"status":"accepted"} 202'
    assert stage.run(send).out.endswith(" 202")
    until(lambda: "AA1001" in stage.run("ordergate orders list").out, "the order to be decided")
    received = stage.run("ordergate orders show AA1001").out.count("收到消息")
    assert received == 1, "the same bytes are the same order"
    stage.environment["WEBHOOK_SECRET"] = f"whsec_{base64.b64encode(b'another partner, another key').decode()}"
    assert stage.run(send).out.endswith(" 401")
    running = page.start(f"python -m adapters.webhook.fake --port 8702 --secret {SECRET}")
    until(lambda: "http://" in running.said(), "the fake")
    assert page.stage.get(f"http://127.0.0.1:{page.stage.port(8702)}/books")["orders"] == {}


def taobao(page: Page) -> None:
    stage = page.stage
    running = page.start("python -m adapters.taobao.fake --port 8703")
    until(lambda: "http://" in running.said(), "the fake")
    stage.environment |= {"TAOBAO_SECRET": "fake-secret", "TAOBAO_TOKEN": "fake-session", "TAOBAO_REFRESH": "r"}
    document = example_of(page.path)
    settings = document["connections"]["shop-tb"]["settings"]
    settings |= {"url": "http://127.0.0.1:8703/router/rest", "token_url": "http://127.0.0.1:8703/token"}
    settings["expires_at"] = NEXT_YEAR
    write_config(stage, document)
    checked = stage.run("ordergate check").out
    assert "目标系统可用" in checked and "没有问题" in checked
