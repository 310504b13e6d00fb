"""The power goes under PostgreSQL: what a sender was told is taken is there afterwards. And the control that bites."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from gateway.embedded.postgres import EmbeddedPostgres
from tests.chaos.powercut_fs import PowerCut, missing
from tests.chaos.run import Plan, Scene, make_database, run

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(missing()), reason=f"no power cut on this machine: {missing()}"),
]


async def cut_in_the_middle(folder: Path, *, durable: bool) -> tuple[Counter[str], str]:
    """Kinds of violations after a power cut under load, and the figures."""
    server = EmbeddedPostgres(folder / "postgres")
    await server.start()
    await server.stop()
    data, backing = folder / "postgres" / "data", folder / "postgres" / "backing"
    data.rename(backing)
    data.mkdir(mode=0o700)
    if not durable:
        with (backing / "postgresql.auto.conf").open("a") as file:
            # By default every megabyte is flushed at once.
            file.write("synchronous_commit = off\nwal_writer_delay = 10s\nwal_writer_flush_after = 1GB\n")
    plan = Plan(orders=1500, seed=9, rate_per_s=150, within_s=120 if durable else 20, must_settle=durable)

    async def disturb(scene: Scene) -> None:
        if not durable:
            await scene.at(0.1, plan.orders)  # the tables, and what was there first, are not to be lost
            await scene.gateway.fetch("CHECKPOINT")
        await scene.at(0.5, plan.orders)
        os.kill(server.pid, signal.SIGKILL)
        await asyncio.to_thread(_until_gone, data)
        scene.report.notes["acknowledged_at_the_cut"] = scene.producer.acknowledged
        await asyncio.to_thread(disk.cut)
        await server.start()

    with PowerCut(backing, data) as disk:
        os.chown(data, backing.stat().st_uid, backing.stat().st_gid)
        await server.start()
        try:
            url = await make_database(server, "cut")
            report = await run(plan, folder, database_url=url, disturb=disturb)
        finally:
            await server.stop()
    return Counter(violation.kind for violation in report.violations), str(report)


def _until_gone(data: Path) -> None:
    """Wait until no process of the killed server is left."""
    import time

    import psutil

    while any(
        process.info["cwd"] == str(data) for process in psutil.process_iter(["cwd"]) if process.info["cwd"] is not None
    ):
        time.sleep(0.02)


async def test_nothing_acknowledged_is_lost_when_the_power_goes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds, figures = await cut_in_the_middle(folder, durable=True)
    with capsys.disabled():
        print(f"\npower cut: {figures}")
    assert kinds == {}


async def test_the_control_loses(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With synchronous_commit=off the same cut loses acknowledged orders, so the cut is one and the checker looks."""
    kinds, figures = await cut_in_the_middle(folder, durable=False)
    with capsys.disabled():
        print(f"\npower cut, synchronous_commit=off: {figures}")
    assert kinds["lost_event"] > 0
