"""A benchmark that is killed takes everything with it that it started: processes and files."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]


def commands(folder: str) -> list[str]:
    """Command lines of all processes that name something in `folder`."""
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if folder and folder in line]


def until(look: Callable[[], bool], *, within_s: float, what: Callable[[], object]) -> None:
    end = time.monotonic() + within_s
    while not look():
        assert time.monotonic() < end, f"not within {within_s:g} s: {what()}"
        time.sleep(0.1)


@pytest.mark.real
def test_kill_9_leaves_no_process_and_no_file_behind(tmp_path: Path) -> None:
    said = tmp_path / "said"
    with said.open("wb") as out:
        bench = subprocess.Popen([sys.executable, "-m", "bench", "--kill"], cwd=ROOT, stdout=out, stderr=out)
    folder = ""

    def everything_runs() -> bool:
        nonlocal folder
        assert bench.poll() is None, said.read_text()
        for process in psutil.process_iter(["ppid", "cmdline"]):
            if process.info["ppid"] == bench.pid:
                named = re.search(r"/tmp/ordergate-bench-\w+", " ".join(process.info["cmdline"] or []))
                folder = named[0] if named else folder
        running = "\n".join(commands(folder))
        return all(part in running for part in ("kafka.Kafka", "postgres/data", "gateway.worker"))

    try:
        until(everything_runs, within_s=120, what=lambda: f"{commands(folder)}\n{said.read_text()}")
    finally:
        bench.kill()
        bench.wait()
    until(lambda: not commands(folder), within_s=45, what=lambda: commands(folder))
    assert not Path(folder).exists()
