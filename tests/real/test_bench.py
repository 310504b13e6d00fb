"""The benchmark runs, and what it compares the gateway with does the same work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.real
def test_a_quick_run_ends_with_every_figure_beside_the_straight_path() -> None:
    """Whose books are compared like the gateway's: each order sent once, stored, booked, recorded and committed."""
    ran = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--straight", "--count", "1500", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    (found,) = json.loads(ran.stdout.splitlines()[-1])["scenarios"]
    assert (found["name"], found["workers"], found["latency_ms"], found["orders"]) == ("1 worker, 0 ms", 1, 0, 1500)
    figures = "orders_per_s cpu_s_per_1000 peak_mb p50_ms p99_ms ratio_limit ratio_aiohttp ratio_naive".split()
    assert [name for name in figures if not found[name] > 0] == []
    assert set(found["bounds"]) == {"limit", "aiohttp", "naive", "straight"}
    assert "straight" in ran.stdout
