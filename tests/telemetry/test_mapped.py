"""Metrics in files on a disk that is full: nobody ends by it, and what was counted is shown once there is room."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.mapped import AGAIN_S

ROOT = Path(__file__).parents[2]

# For each line: counts once for each shop in it, and says the page.
WORKER = """
import sys
from gateway.core.happening import PullFailed
from gateway.telemetry import mapped, metrics, observe
mapped.map_with_room()
counted = observe.MetricsObserver(metrics.Metrics([f"shop-{number}" for number in range(1000)]))
print("counts", flush=True)
for line in sys.stdin:
    counted([PullFailed(shop, "timeout") for shop in line.split()])
    print(metrics.metrics_page().decode(), end="# over\\n", flush=True)
"""


class Disk:
    """A disk of 1 MB."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def fill(self) -> None:
        with pytest.raises(OSError), (self.place / "filling").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def make_room(self) -> None:
        (self.place / "filling").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no disk of our own can be mounted: {mounted.stderr.decode().strip()}")
    try:
        yield Disk(place)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


class Counting:
    """A process that counts in files on `disk`."""

    def __init__(self, disk: Disk) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PROMETHEUS_MULTIPROC_DIR": str(disk.place)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Counting:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "counts\n", self._ended()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def count(self, *shops: str) -> dict[str, float]:
        """What the page says after each of `shops` has failed once more."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(" ".join(shops) + "\n")
        self._process.stdin.flush()
        page = ""
        while not page.endswith("# over\n"):
            line = self._process.stdout.readline()
            assert line, self._ended()
            page += line
        return {
            sample.labels["source"]: sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == "ordergate_pull_failures_total"
        }

    def count_until_shown(self, *shops: str) -> dict[str, float]:
        """As `count`, again and again, until all of `shops` are on the page."""
        end = time.monotonic() + AGAIN_S + 10
        while not (found := self.count(*shops)).keys() >= set(shops):
            assert time.monotonic() < end, found
            time.sleep(0.1)
        return found

    def _ended(self) -> str:
        assert self._process.stderr is not None
        return f"ended with {self._process.wait(10)}: {self._process.stderr.read()}"


def test_a_process_that_starts_while_the_disk_is_full_counts_on(disk: Disk) -> None:
    disk.fill()
    with Counting(disk) as counting:
        assert counting.count("shop-1", "shop-2") == {}
        disk.make_room()
        found = counting.count_until_shown("shop-1", "shop-2")
        assert found["shop-1"] == found["shop-2"] > 1, "what was counted without room, too"


def test_a_file_that_cannot_grow_keeps_what_it_has(disk: Disk) -> None:
    """64 KB are what a file begins with: about 300 shops."""
    many = [f"shop-{number}" for number in range(1000)]
    with Counting(disk) as counting:
        assert counting.count("shop-0") == {"shop-0": 1}
        disk.fill()
        found = counting.count(*many)
        assert found["shop-0"] == 2 and 100 < len(found) < 900
        disk.make_room()
        found = counting.count_until_shown(*many)
        assert found["shop-0"] == found["shop-999"] + 1, "none is lost"
