"""Behind a pgbouncer that pools by session: orders come in and go out as on the database itself."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psutil
import pytest

from gateway.embedded.postgres import EmbeddedPostgres
from tests.chaos.run import Plan, run
from tests.lifelines import end_with_us
from tests.ports import free_port

BOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin:/usr/local/sbin")


@asynccontextmanager
async def pgbouncer(folder: Path, server: EmbeddedPostgres, url: str) -> AsyncIterator[str]:
    """URL of the database at `url`, by way of a pgbouncer with nothing set but what it needs to find it."""
    assert BOUNCER is not None
    port, name, query = free_port(), urlsplit(url).path[1:], parse_qs(urlsplit(url).query)
    account = psutil.Process(server.pid).username()
    place = folder / "bouncer"
    place.mkdir(mode=0o755)
    (place / "users.txt").write_text('"ordergate" ""\n')
    (place / "pgbouncer.ini").write_text(
        f"[databases]\n{name} = host={query['host'][0]} port={query['port'][0]} user=ordergate\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\nauth_file = {place}/users.txt\npool_mode = session\ndefault_pool_size = 40\n"
    )
    process = subprocess.Popen(
        [BOUNCER, "-q", "-u", account, str(place / "pgbouncer.ini")],
        stderr=subprocess.DEVNULL,
        preexec_fn=end_with_us,  # noqa: PLW1509
    )
    try:
        by_way = f"postgresql://ordergate@127.0.0.1:{port}/{name}"
        async with asyncio.timeout(20):
            while True:
                try:
                    await (await asyncpg.connect(by_way, timeout=2)).close()
                    break
                except OSError:
                    assert process.poll() is None
                    await asyncio.sleep(0.1)
        yield by_way
    finally:
        process.terminate()
        process.wait()


@pytest.mark.skipif(BOUNCER is None, reason="pgbouncer is not installed")
async def test_orders_go_through_by_way_of_pgbouncer(
    postgres_server: EmbeddedPostgres, postgres_url: str, server_folder: Path
) -> None:
    async with pgbouncer(server_folder, postgres_server, postgres_url) as by_way:
        report = await run(Plan(orders=100, seed=11, workers=2), server_folder, database_url=by_way)
    assert report.violations == []
    assert report.doubled == 0
