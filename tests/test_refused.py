"""A database that lets a running gateway in no more: whoever pushes is told so, and all goes on once it does again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import asyncpg
import psutil
import pytest

from gateway.embedded.postgres import EmbeddedPostgres
from gateway.sdk.cancelled import insist
from tests.ports import free_port
from tests.test_cli import CONFIG, ERP_SECRET, ORDER, SHOP_SECRET, Running, until


@pytest.mark.real
async def test_a_user_that_may_not_log_in_for_a_while_costs_no_worker(
    postgres_server: EmbeddedPostgres, postgres_url: str, tmp_path: Path
) -> None:
    admin = await asyncpg.connect(postgres_url)
    beside = await asyncpg.connect(postgres_server.url)
    name = await admin.fetchval("SELECT current_database()")
    user = f"app_of_{name}"
    await admin.execute(f"CREATE ROLE {user} LOGIN; GRANT CREATE ON SCHEMA public TO {user}")
    port, metrics_port = free_port(), free_port()
    config, log = tmp_path / "ordergate.yaml", tmp_path / "log"
    url = postgres_url.replace("user=ordergate", f"user={user}")
    target = f"http://127.0.0.1:{free_port()}"
    config.write_text(
        CONFIG.format(url=url, port=port, metrics_port=metrics_port, shop=SHOP_SECRET, erp=ERP_SECRET, target=target)
    )
    gateway = Running(config, port, metrics_port)
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "run", "-c", str(config)], stdout=sink, stderr=sink
        )
    try:
        await asyncio.to_thread(until, lambda: _pushed(gateway) == 202)
        workers = [child.pid for child in psutil.Process(process.pid).children()]
        await admin.execute(f"ALTER ROLE {user} NOLOGIN")
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", user)
        for _ in range(6):
            assert await asyncio.to_thread(_pushed, gateway) == 503, log.read_text()
            await asyncio.sleep(0.5)
        told = await asyncio.to_thread(_told, gateway)
        assert told["zh"] == "数据库不可用（用户名或密码不对，或不许从这里登录）：不能接收事件"
        assert (
            told["en"] == "the database is down (wrong user or password, or no login from here): events cannot be taken"
        )
        await admin.execute(f"ALTER ROLE {user} LOGIN")
        await asyncio.to_thread(until, lambda: _pushed(gateway) == 202)
        await beside.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", user)
        for _ in range(6):
            assert await asyncio.to_thread(_pushed, gateway) == 503, log.read_text()
            await asyncio.sleep(0.5)
        told = await asyncio.to_thread(_told, gateway)
        assert told["zh"] == "数据库不可用（数据库被设为不接受连接）：不能接收事件"
        await beside.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await asyncio.to_thread(until, lambda: _pushed(gateway) == 202)
        await admin.execute(f"ALTER ROLE {user} SET default_transaction_read_only = on")
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", user)
        await asyncio.to_thread(until, lambda: _state(gateway) == "read_only")
        await admin.execute(f"ALTER ROLE {user} RESET default_transaction_read_only")
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", user)
        await asyncio.to_thread(until, lambda: _pushed(gateway) == 202)
        await asyncio.to_thread(until, lambda: _decided(gateway, log))
        # A full disk: what it is asked it answers, and takes nothing.
        await admin.execute(_FULL)
        await asyncio.to_thread(until, lambda: _pushed(gateway) == 503)
        assert (await asyncio.to_thread(_told, gateway))["zh"] == "数据库不可用（数据库的磁盘已满）：不能接收事件"
        await admin.execute("DROP TRIGGER no_room ON inbox")
        # Nobody pushes: a load balancer that has taken this gateway out would not either.
        await asyncio.to_thread(until, lambda: _told(gateway) == {})
        assert [child.pid for child in psutil.Process(process.pid).children()] == workers, log.read_text()
    finally:
        process.terminate()
        assert await asyncio.to_thread(process.wait, 30) == 0
        await admin.execute(f"DROP OWNED BY {user}")
        await admin.execute(f"DROP ROLE {user}")
        await admin.close()
        await beside.close()


def _pushed(gateway: Running) -> int:
    """The status of a push, or 0 where nobody answers in ten seconds."""
    with contextlib.suppress(OSError):
        return gateway.push(ORDER)
    return 0


def _state(gateway: Running) -> str:
    return _told(gateway).get("state", "")


def _told(gateway: Running) -> dict[str, str]:
    """Of the database, as the page for load balancers has it while the worker is not ready; else empty."""
    try:
        urllib.request.urlopen(f"{gateway.url}/readyz", timeout=10).close()
    except urllib.error.HTTPError as error:
        with error:
            reasons = json.load(error)["reasons"]
        return next((reason for reason in reasons if reason["part"] == "database"), {})
    return {}


_FULL = """
CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER no_room BEFORE INSERT ON inbox FOR EACH ROW EXECUTE FUNCTION no_room();
"""


def _decided(gateway: Running, log: Path) -> bool:
    before = log.read_text().count("order_decided")
    assert gateway.push(ORDER) == 202
    until(lambda: log.read_text().count("order_decided") > before)
    return True


async def test_a_task_that_mistakes_its_cancel_for_an_error_of_the_database_ends_all_the_same() -> None:
    begun = asyncio.Event()

    async def loop() -> None:
        taken = 0
        while taken < 2:
            try:
                begun.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                # As asyncpg's InterfaceError in its place is taken for a database that is away.
                taken += 1
        raise asyncio.CancelledError

    task = asyncio.create_task(loop())
    await begun.wait()
    task.cancel()
    insist([task], every_s=0.02)
    async with asyncio.timeout(5):
        await asyncio.wait([task])
    assert task.cancelled()
