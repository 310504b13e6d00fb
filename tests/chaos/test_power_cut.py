"""The power goes under PostgreSQL: what a sender was told is taken is there afterwards, and so is what stands before an
offset that Kafka has. And the control that bites.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from gateway.embedded.postgres import EmbeddedPostgres
from tests.chaos.powercut_fs import PowerCut, missing
from tests.chaos.run import Plan, Report, Scene, make_database, run

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(missing()), reason=f"no power cut on this machine: {missing()}"),
]

Show = Callable[[str, Report], None]


@pytest.fixture(scope="module", autouse=True)
def mounted(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is there may still not be allowed: only a mount tells."""
    folder = tmp_path_factory.mktemp("fuse")
    (folder / "backing").mkdir()
    (folder / "mount").mkdir()
    try:
        with PowerCut(folder / "backing", folder / "mount"):
            pass
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no power cut on this machine: {error}")


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Show:
    def shown(what: str, report: Report) -> None:
        with capsys.disabled():
            print(f"\n{what}: {report}")

    return shown


async def cut(plan: Plan, folder: Path, *, at: tuple[float, ...], durable: bool = True, kafka: Any = None) -> Report:
    """Run `plan` and cut the power at each of these shares of its orders. Kafka has its power all the time.

    The server says by default that a commit is done before it is on the disk: the gateway's sessions do not.
    """
    server = EmbeddedPostgres(folder / "postgres")
    await server.start()
    await server.stop()
    data, backing = folder / "postgres" / "data", folder / "postgres" / "backing"
    data.rename(backing)
    data.mkdir(mode=0o700)
    with (backing / "postgresql.auto.conf").open("a") as file:
        # Whoever tunes a server may have it so; and by default every megabyte is flushed at once.
        file.write("synchronous_commit = off\nwal_writer_delay = 10s\nwal_writer_flush_after = 1GB\n")

    async def disturb(scene: Scene) -> None:
        if not durable:
            await scene.at(0.1, plan.orders)  # the tables, and what was there first, are not to be lost
            await scene.gateway.fetch("CHECKPOINT")
            disk.lie()
        acknowledged = scene.report.notes["acknowledged_at_the_cuts"] = []
        for share in at:
            await scene.at(share, plan.orders)
            assert not scene.over.is_set(), "under load"
            os.kill(server.pid, signal.SIGKILL)
            await asyncio.to_thread(_until_gone, data)
            acknowledged.append(scene.producer.acknowledged)
            await asyncio.to_thread(disk.cut)
            await server.start()

    with PowerCut(backing, data) as disk:
        os.chown(data, backing.stat().st_uid, backing.stat().st_gid)
        await server.start()
        try:
            url = await make_database(server, "cut")
            bootstrap = kafka.bootstrap if kafka is not None else None
            return await run(plan, folder, database_url=url, kafka=bootstrap, disturb=disturb)
        finally:
            await server.stop()


def _until_gone(data: Path) -> None:
    """Wait until no process of the killed server is left."""
    while any(
        process.info["cwd"] == str(data) for process in psutil.process_iter(["cwd"]) if process.info["cwd"] is not None
    ):
        time.sleep(0.02)


async def test_nothing_acknowledged_is_lost_when_the_power_goes(folder: Path, show: Show) -> None:
    report = await cut(Plan(orders=1500, seed=9, rate_per_s=150, within_s=120), folder, at=(0.5,))
    show("power cut", report)
    assert report.violations == []


async def test_no_offset_is_ahead_of_the_state_when_the_power_goes(kafka: Any, folder: Path, show: Show) -> None:
    plan = Plan(orders=1500, seed=9, rate_per_s=150, by="both", topic="cut", within_s=120)
    report = await cut(plan, folder, at=(0.5,), kafka=kafka)
    show("power cut, both legs", report)
    assert report.violations == []


async def test_the_control_loses(kafka: Any, folder: Path, show: Show) -> None:
    """On a disk that lies the same cut loses what stood before the offsets: a cut it is, and one that shows."""
    plan = Plan(orders=1500, seed=9, rate_per_s=150, by="both", topic="cut-control", within_s=20, must_settle=False)
    report = await cut(plan, folder, at=(0.5,), kafka=kafka, durable=False)
    kinds = Counter(violation.kind for violation in report.violations)
    show(f"power cut, a disk that lies: {dict(kinds)}", report)
    assert kinds["lost_event"] > 0
    assert kinds["offset_ahead"] > 0


@pytest.mark.soak
async def test_twenty_power_cuts(kafka: Any, folder: Path, show: Show) -> None:
    plan = Plan(orders=20_000, seed=19, rate_per_s=150, by="both", topic="cuts", within_s=300)
    report = await cut(plan, folder, at=tuple(share / 22 for share in range(1, 21)), kafka=kafka)
    show("twenty power cuts", report)
    assert report.violations == []
    assert len(report.notes["acknowledged_at_the_cuts"]) == 20
