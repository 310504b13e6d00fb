"""Confluent's Parallel Consumer (vertx) against the same sink, built from a folder with `pom.xml` and `Cpc.java`."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from pathlib import Path

from bench import orders
from bench.baselines import Bound
from bench.machine import Machine, tree_cpu_s, tree_peak_mb, wait_until
from bench.scenario import START_WITHIN_S, Plan
from tests.lifelines import end_with_us

BUILD_WITHIN_S = 300.0
RUN_WITHIN_S = 300.0
_BOOTSTRAP = "127.0.0.1:9092"
_HEAP = ["-Xmx512m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]


class PeerMissing(Exception):
    """The peer cannot be run here; the message says why."""


class ParallelConsumer:
    """Key order, offsets committed every second, stores nothing."""

    kind = "parallel-consumer"

    def __init__(self, machine: Machine, sources: Path) -> None:
        self._machine = machine
        self._classes = _build(machine, sources)

    def run(self, plan: Plan) -> Bound:
        """One pass over `plan.count` orders with as many requests in flight as the gateway has."""
        machine, topic = self._machine, self._machine.fresh_name()
        machine.make_topic(topic)
        machine.fill(topic, orders.messages(0, plan.count))
        machine.sink.reset(start=0, count=plan.count, latency_ms=plan.latency_ms)
        with (machine.folder / f"{topic}.log").open("wb") as log:
            process = subprocess.Popen(
                ["java", *_HEAP, "-cp", self._classes, "Cpc", topic, uuid.uuid4().hex, "vertx", str(plan.in_flight)],
                env={**os.environ, "SP": str(machine.sink.port)},
                stdout=log,
                stderr=log,
                preexec_fn=end_with_us,  # noqa: PLW1509
            )
            try:
                sink = machine.sink
                wait_until(lambda: sink.books().distinct > 0, within_s=START_WITHIN_S, every_s=0.01, what=self.kind)
                before_s, arrived = tree_cpu_s(process.pid), sink.books().distinct
                wait_until(
                    lambda: sink.books().distinct == plan.count, within_s=RUN_WITHIN_S, every_s=0.05, what=self.kind
                )
                cpu_s, peak_mb, books = tree_cpu_s(process.pid) - before_s, tree_peak_mb(process.pid), sink.books()
            finally:
                process.kill()
                process.wait()
        per_s = (plan.count - 1) / (books.last_ns - books.first_ns) * 1e9
        return Bound(per_s, cpu_s / (plan.count - arrived) * 1000, peak_mb)


def _build(machine: Machine, sources: Path) -> str:
    """The class path. Raises PeerMissing."""
    folder = sources / "cpc"
    for file in ("pom.xml", "Cpc.java"):
        if not (folder / file).is_file():
            raise PeerMissing(f"there is no {folder / file}")
    for tool in ("java", "javac", "mvn"):
        if shutil.which(tool) is None:
            raise PeerMissing(f"{tool} is not installed")
    build = machine.folder / "cpc"
    build.mkdir()
    shutil.copy(folder / "pom.xml", build)
    # The peer's source names the broker's usual port; ours is wherever one was free.
    source = (folder / "Cpc.java").read_text().replace(_BOOTSTRAP, machine.kafka.bootstrap)
    (build / "Cpc.java").write_text(source)
    _do(["mvn", "-B", "-q", "dependency:copy-dependencies", "-DoutputDirectory=libs"], build)
    _do(["javac", "-cp", "libs/*", "-d", "out", "Cpc.java"], build)
    return f"{build}/libs/*:{build}/out"


def _do(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=BUILD_WITHIN_S, check=False)
    if done.returncode:
        raise PeerMissing(f"{command[0]} failed: {(done.stdout + done.stderr)[-500:]}")
