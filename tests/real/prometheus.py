"""A real Prometheus and its promtool: those on the PATH, else Debian's package, unpacked into .cache, not installed.

The oldest that will do is 2.42 (`keep_firing_for`), which is Debian 12's.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.lifelines import end_with_us
from tests.ports import free_port

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "prometheus"
AT_LEAST = (2, 42)
START_WITHIN_S = 60.0


class NoPrometheus(Exception):
    """There is none here and none can be fetched; the message says what was tried."""


def program(name: str) -> Path:
    """Path of `prometheus` or `promtool`. Raises NoPrometheus."""
    on_path = shutil.which(name)
    if on_path is not None and _new_enough(Path(on_path)):
        return Path(on_path)
    unpacked = CACHE / "usr" / "bin" / name
    if not unpacked.exists():
        _unpack()
    return unpacked


def _unpack() -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NoPrometheus("no Prometheus 2.42 or newer on the PATH, and this is not Debian, whose package would do")
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE.parent) as folder:
        fetched = _run(["apt-get", "download", "-q", "prometheus"], folder)
        if fetched.returncode != 0:
            # A fresh machine has no lists of packages yet.
            _run(["apt-get", "update", "-q"], folder)
            fetched = _run(["apt-get", "download", "-q", "prometheus"], folder)
        packages = list(Path(folder).glob("prometheus_*.deb"))
        if not packages:
            raise NoPrometheus(f"apt-get download prometheus failed: {fetched.stderr[-500:]}")
        staging = Path(folder) / "root"
        unpacked = _run(["dpkg-deb", "-x", str(packages[0]), str(staging)], folder)
        if unpacked.returncode != 0:
            raise NoPrometheus(f"the package of Prometheus cannot be unpacked: {unpacked.stderr[-500:]}")
        if not _new_enough(staging / "usr" / "bin" / "promtool"):
            raise NoPrometheus("Debian's Prometheus here is older than 2.42")
        shutil.rmtree(CACHE, ignore_errors=True)
        staging.rename(CACHE)


def _run(command: list[str], folder: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def _new_enough(path: Path) -> bool:
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    version = re.search(r"version (\d+)\.(\d+)", said.stdout + said.stderr)
    return version is not None and (int(version[1]), int(version[2])) >= AT_LEAST


class Prometheus:
    """A server on 127.0.0.1 with `configuration` (YAML) and its data in `folder`; it ends with whoever started it."""

    def __init__(self, folder: Path, configuration: str) -> None:
        self._folder = folder
        self._configuration = configuration
        self.port = free_port()

    def __enter__(self) -> Self:
        server = program("prometheus")
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "prometheus.yml"
        config.write_text(self._configuration, encoding="utf-8")
        self._log = (self._folder / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [server, f"--config.file={config}", f"--storage.tsdb.path={self._folder / 'data'}",
             f"--web.listen-address=127.0.0.1:{self.port}"],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            preexec_fn=end_with_us,  # noqa: PLW1509
        )  # fmt: skip
        end = time.monotonic() + START_WITHIN_S
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > end:
                raise NoPrometheus((self._folder / "prometheus.log").read_text()[-2000:])
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The samples of an instant query: ``{"metric": {...}, "value": [at, "1"]}``. ValueError: it is not PromQL."""
        return list(self._get("query", query=expr)["result"])

    def rules(self) -> list[dict[str, Any]]:
        """Every rule with its `health` and, where there is one, `lastError`."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, what: str, **parameters: str) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return dict(json.load(answer)["data"])
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(json.load(error)["error"]) from error

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
