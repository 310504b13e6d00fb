"""The demo as everybody starts it: 2,000 orders through the whole incident, in less than three minutes."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).resolve().parents[2]
ORDERS = 2_000
SAID = ("orders_placed", "lost", "duplicated", "notice_s", "catch_up_s", "inbox_events", "seconds")
WITHIN_S = 180.0
"""From the command to the verdict, once everything is installed."""


@pytest.mark.real
@pytest.mark.feature("F120")
async def test_the_day_of_5_january_loses_and_doubles_nothing(
    server_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway", "demo", "--json"),
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(server_folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 2 * WITHIN_S)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()

    said = out.decode()
    assert process.returncode == 0, said + err.decode()
    verdict = msgspec.json.decode(said.splitlines()[-1])
    with capsys.disabled():
        print("\n" + ", ".join(f"{name} {verdict[name]}" for name in SAID))
    assert verdict["ok"] and verdict["lost"] == verdict["duplicated"] == 0
    assert verdict["orders_placed"] == verdict["orders_at_wms"] == verdict["written_back"] >= ORDERS
    assert verdict["notice_s"] >= 0 and verdict["catch_up_s"] >= 0
    assert verdict["inbox_events"] > 0
    assert verdict["seconds"] < WITHIN_S
    assert list(server_folder.iterdir()) == []
