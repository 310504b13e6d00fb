"""What people do about shops: look at them, check them, and give them a new token that no command line shows."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.cli import main
from gateway.core.happening import ConnectionChanged, ConnectionState, Trouble, WindowRead
from gateway.plugins import discover
from gateway.remote.client import RemoteError
from gateway.remote.connections import _authorisation
from gateway.settings import parse
from gateway.store.outbox import retire_worker, start_worker
from gateway.store.sql import CannotOpen
from gateway.store.vault import Vault, enter_keys
from tests.shops.conftest import Shop

NOW_S = 1_780_000_000.0


async def ordergate(*arguments: str, stdin: str = "") -> tuple[int, str]:
    """The command, beside the worker's loop: exit code and what it prints."""

    def run() -> tuple[int, str]:
        shown, sys.stdin = io.StringIO(), io.TextIOWrapper(io.BytesIO(stdin.encode()))
        try:
            with redirect_stdout(shown), redirect_stderr(shown):
                main(arguments)
        except SystemExit as end:
            return int(end.code or 0), shown.getvalue()
        finally:
            sys.stdin = sys.__stdin__
        return 0, shown.getvalue()

    return await asyncio.to_thread(run)


async def test_a_shop_is_authorised_again_from_standard_input(shop: Shop) -> None:
    shop.platform.tokens = {"t2"}
    worker = await shop.start()
    await shop.until(lambda: shop.saw(ConnectionChanged))
    url, token = await shop.api(worker)
    remote = ["--url", url, "--token", token]
    code, page = await ordergate("connections", "list", *remote)
    assert code == 0 and "需重新授权" in page and "token: session expired" in page
    given = json.dumps({"access_token": "t2", "refresh_token": "r2", "expires_in": 86400})
    code, page = await ordergate("connections", "authorise", "shop", "-r", "renewed", *remote, stdin=given)
    assert code == 0 and "t2" not in page
    await shop.until(lambda: shop.saw(WindowRead))
    code, page = await ordergate("connections", "list", "--lang", "en", *remote)
    assert "ready" in page and "test/0" in page
    assert [one.state for one in shop.saw(ConnectionChanged)] == [ConnectionState.RE_AUTHORISE, ConnectionState.READY]


async def test_a_refused_renewal_is_shown_while_the_shop_goes_on(shop: Shop) -> None:
    ends_at = datetime.now(UTC) + timedelta(minutes=5)
    worker = await shop.start(shop.settings(more=f', refresh_token: r1, expires_at: "{ends_at.isoformat()}"'))
    await shop.until(lambda: shop.saw(Trouble))
    url, token = await shop.api(worker)
    code, page = await ordergate("connections", "list", "--url", url, "--token", token)
    assert code == 0 and "启用" in page and "续期被拒：token" in page
    assert "目标见 ordergate gates list" in page, "a dead target is in use, too"


async def test_pausing_and_resuming_are_told(shop: Shop) -> None:
    worker = await shop.start()
    await shop.until(lambda: shop.saw(WindowRead))
    for deed in ("pause", "resume"):
        assert (await shop.call(worker, "POST", f"/connections/shop/{deed}", {"reason": "stocktaking"}))[0] == 200
        if deed == "pause":
            shown = await shop.connection(worker)
            assert (shown["state"], shown["reason"]) == ("paused", "stocktaking")
    assert [one.state for one in shop.saw(ConnectionChanged)] == [ConnectionState.PAUSED, ConnectionState.READY]


@pytest.mark.parametrize(
    ("path", "body", "status", "where"),
    [
        ("nope", {"access_token": "t", "reason": "r"}, 404, "path.name"),
        ("shop", {"access_token": "", "reason": "r"}, 422, "$.access_token"),
        ("shop", {"access_token": "t"}, 422, "$"),
        ("shop", {"access_token": "t", "reason": "r", "expires_at": "2020-01-01T00:00:00Z"}, 422, "$.expires_at"),
        ("shop", {"access_token": "t", "reason": "r", "expires_at": "2099-01-01T00:00:00"}, 422, "$.expires_at"),
    ],
)
async def test_a_bad_authorisation_is_refused(shop: Shop, path: str, body: Any, status: int, where: str) -> None:
    worker = await shop.start()
    got, answer = await shop.call(worker, "POST", f"/connections/{path}/authorise", body)
    assert (got, answer["where"]) == (status, where)
    assert await shop.pool.fetchval("SELECT count(*) FROM audit") == 0


async def test_check_asks_the_platform_with_the_token_that_the_workers_use(shop: Shop) -> None:
    config = shop.folder / "ordergate.yaml"

    async def check(token: str) -> tuple[int, Any]:
        config.write_text(shop.text(token=token), encoding="utf-8")
        code, page = await ordergate("check", "-c", str(config), "--json", "--lang", "en")
        shown = json.loads(page)
        lines = (*shown["problems"], *shown["notes"])
        return code, next(one for one in lines if one["where"] == "connections.shop")

    assert await check("t1") == (0, {"where": "connections.shop", "what": "the target answers"})
    code, problem = await check("t0")
    assert code == 2 and "the platform says: token" in problem["what"]
    assert "ordergate connections authorise shop" in problem["proposal"]
    code, problem = await check("")
    assert code == 2 and "no token" in problem["what"] and "authorise shop" in problem["proposal"]
    worker = await shop.start(shop.settings(token="t0"))
    await shop.until(lambda: shop.saw(ConnectionChanged))
    code, problem = await check("t0")
    assert code == 2 and "refuses our token" in problem["what"]
    body = {"access_token": "t1", "reason": "r"}
    assert (await shop.call(worker, "POST", "/connections/shop/authorise", body))[0] == 200
    assert (await check("t0"))[0] == 0, "the newer token of the database wins over that of the file"


async def test_check_reads_a_sealed_token_and_misses_its_key(shop: Shop) -> None:
    config = shop.folder / "ordergate.yaml"
    key = base64.b64encode(b"k" * 32).decode()
    sealed = shop.text(extra=f"encryption: {{keys: [{key}]}}")
    await enter_keys(shop.pool, Vault([b"k" * 32]))
    settings = parse(sealed, {}, discover(), name="t.yaml", folder=shop.folder)
    await shop.stop(await shop.start(settings))
    for text, code, said in ((sealed, 0, "the target answers"), (shop.text(), 2, "which has sealed rows")):
        config.write_text(text, encoding="utf-8")
        ended, page = await ordergate("check", "-c", str(config), "--json", "--lang", "en")
        assert (ended, said in page) == (code, True), page


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        ("t1\n", {"access_token": "t1"}),
        ('{"access_token": "t1", "refresh_token": "r", "expires_in": 60}', {"expires_at": NOW_S + 60}),
        ('{"access_token": "t1", "expires_at": 1780000100}', {"expires_at": 1780000100}),
        ('{"access_token": "t1", "expires_at": "1780000100000"}', {"expires_at": 1780000100}),
        ('{"access_token": "t1", "refresh_expires_in": 60}', {"refresh_expires_at": NOW_S + 60}),
    ],
)
def test_tokens_are_read_as_platforms_write_them(content: str, taken: dict[str, Any]) -> None:
    found = _authorisation(content.encode(), now_s=NOW_S)
    assert found["access_token"] == "t1"
    for key, value in taken.items():
        wanted = value if isinstance(value, str) else datetime.fromtimestamp(value, UTC).isoformat()
        assert found[key] == wanted


@pytest.mark.parametrize(
    "content", [b"", b"two words", b"\xff", b"{", b'{"token": "secret-9"}', b'{"access_token": 1, "expires_in": "x"}']
)
def test_what_is_no_token_is_refused_without_quoting_it(content: bytes) -> None:
    with pytest.raises(RemoteError) as caught:
        _authorisation(content, now_s=NOW_S)
    assert "secret" not in str(caught.value)


async def test_a_key_that_is_gone_for_good_can_be_given_up(shop: Shop) -> None:
    config = shop.folder / "ordergate.yaml"

    def configured(*keys: bytes) -> None:
        listed = [base64.b64encode(key).decode() for key in keys]
        config.write_text(shop.text(extra=f"encryption: {{keys: {listed}}}"), encoding="utf-8")

    old, new = Vault([b"k" * 32]), Vault([b"n" * 32])
    lost = old.active_id.hex()
    await enter_keys(shop.pool, old)
    insert = "INSERT INTO orders (order_id, number, stage, state) VALUES (1, 'A-1', 'received', $1)"
    await shop.pool.execute(insert, old.seal(b"1"))

    configured(b"k" * 32)
    code, page = await ordergate("keys", "lost", lost, "--yes", "-r", "误操作", "-c", str(config))
    assert code == 1 and f"密钥 {lost} 就在 encryption.keys 里，没有丢" in page
    configured(b"n" * 32)
    with pytest.raises(CannotOpen, match="ordergate keys lost --help"):
        await enter_keys(shop.pool, new)
    code, page = await ordergate("keys", "lost", "00000000", "-c", str(config))
    assert code == 1 and f"用过的是：{lost}" in page
    worker_id = await start_worker(shop.pool, name="run-9/0", lease_s=60, key_id=lost, opens=[lost])
    code, page = await ordergate("keys", "lost", lost, "--yes", "-r", "服务器报废", "-c", str(config))
    assert code == 1 and "工作进程 run-9/0 有它" in page
    await retire_worker(shop.pool, worker_id)

    code, page = await ordergate("keys", "lost", lost, "-c", str(config))
    assert code == 0 and "将有 1 行再也打不开" in page and "加 --yes -r 原因" in page
    code, page = await ordergate("keys", "lost", lost, "--yes", "-c", str(config))
    assert code == 1 and "执行需要 --reason" in page
    with pytest.raises(CannotOpen):
        await enter_keys(shop.pool, new)  # a look has changed nothing
    code, page = await ordergate("keys", "lost", lost, "--yes", "-r", "王先生说服务器报废", "-c", str(config), "--json")
    assert (code, json.loads(page)) == (0, {"key_id": lost, "lost": True, "rows": 1})

    await enter_keys(shop.pool, new)
    await retire_worker(
        shop.pool,
        await start_worker(
            shop.pool, name="run-9/0", lease_s=60, key_id=new.active_id.hex(), opens=[new.active_id.hex()]
        ),
    )
    [audited] = await shop.pool.fetch("SELECT subject, private_reason FROM audit WHERE action = 'key.lost'")
    assert audited["subject"] == lost and new.open(audited["private_reason"]).decode() == "王先生说服务器报废"
    code, page = await ordergate("keys", "reseal", "-c", str(config))
    assert code == 1 and "A-1" in page and "不能从配置删除" not in page, "nobody can be asked to keep what is lost"
    code, page = await ordergate("keys", "status", "--json", "-c", str(config))
    assert [(key["key_id"], key["lost_at"] is None) for key in json.loads(page)["keys"]] == [
        (lost, False),
        (new.active_id.hex(), True),
    ]

    # Found again, it opens as before, and may not go missing once more.
    await enter_keys(shop.pool, Vault([b"n" * 32, b"k" * 32]))
    with pytest.raises(CannotOpen):
        await enter_keys(shop.pool, new)


async def test_purging_names_the_orders_that_keep_their_buyer(shop: Shop) -> None:
    """Somebody may purge because a buyer asked for it: no word would mean that it is done."""
    config = shop.folder / "ordergate.yaml"
    listed = base64.b64encode(b"n" * 32).decode()
    config.write_text(shop.text(extra=f"encryption: {{keys: ['{listed}']}}"), encoding="utf-8")
    await shop.pool.execute(
        "INSERT INTO orders (order_id, number, stage, state, created_at, updated_at)"
        " VALUES (1, 'A-1', 'shipped', $1, now() - interval '300 days', now() - interval '300 days')",
        Vault([b"k" * 32]).seal(b"1"),
    )
    code, page = await ordergate("purge", "-c", str(config))
    assert code == 0 and "1 张订单打不开（缺密钥），仍保留买家信息：A-1" in page, page
    code, page = await ordergate("purge", "-c", str(config), "--json")
    assert (code, json.loads(page)["unopened"]) == (0, ["A-1"])


async def test_a_command_asks_for_the_migration_that_it_needs(shop: Shop) -> None:
    config = shop.folder / "ordergate.yaml"
    config.write_text(shop.text(), encoding="utf-8")
    await shop.pool.execute("DELETE FROM migration WHERE name = '0015_lost_key'")
    await shop.pool.execute("ALTER TABLE sealing_key DROP COLUMN lost_at")
    for command in (["keys", "status"], ["purge", "--dry-run"], ["token", "replace"]):
        code, page = await ordergate(*command, "-c", str(config))
        assert code == 1 and "待升级：0015_lost_key" in page and "ordergate migrate" in page, page
    code, page = await ordergate("migrate", "-c", str(config))
    assert code == 0 and "0015_lost_key" in page
    code, page = await ordergate("keys", "status", "-c", str(config))
    assert code == 0


async def test_a_row_that_cannot_be_opened_fails_the_reseal_and_keeps_its_key(shop: Shop) -> None:
    config = shop.folder / "ordergate.yaml"
    keys = [base64.b64encode(key).decode() for key in (b"n" * 32, b"k" * 32)]
    config.write_text(shop.text(extra=f"encryption: {{keys: {keys}}}"), encoding="utf-8")
    old = Vault([b"k" * 32])
    await enter_keys(shop.pool, old)
    rows = [("A-1", old.seal(b"1")), ("A-2", old.seal(b"2")[:-1])]
    for n, (number, state) in enumerate(rows):
        insert = "INSERT INTO orders (order_id, number, stage, state) VALUES ($1, $2, 'received', $3)"
        await shop.pool.execute(insert, n, number, state)
    code, page = await ordergate("keys", "reseal", "-c", str(config))
    assert code == 1 and "未完成：" in page and "A-2" in page and "A-1" not in page, page
    assert f"密钥 {old.active_id.hex()} 仍在使用，不能从配置删除" in page and "从备份恢复" in page
    code, page = await ordergate("keys", "status", "--count", "--json", "-c", str(config))
    assert code == 0 and [(key["configured"], key["rows"]) for key in json.loads(page)["keys"]] == [(True, 1)] * 2
    code, page = await ordergate("keys", "reseal", "-c", str(config), "--json")
    answer = json.loads(page)
    assert (code, answer["unopened"], answer["rows"][0]["row"]) == (1, {"orders.state": 1}, "A-2")
    await shop.pool.execute("DELETE FROM orders WHERE number = 'A-2'")
    code, page = await ordergate("keys", "reseal", "-c", str(config))
    assert code == 0 and "完成，0 行" in page and "不能从配置删除" not in page
