"""The real amtool, which judges a configuration of Alertmanager: the one on the PATH, else made by Go into .cache."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "alertmanager"
BUILD_WITHIN_S = 1200.0


class NoAlertmanager(Exception):
    """There is no amtool of this release here and none can be made; the message says what was tried."""


def amtool(release: str) -> Path:
    """Path of `amtool` of `release` ("v0.31.1") or a later one. Raises NoAlertmanager."""
    made = CACHE / release / "amtool"
    if made.exists():
        return made
    on_path = shutil.which("amtool")
    if on_path is not None and _at_least(on_path, release):
        return Path(on_path)
    go = shutil.which("go")
    if go is None:
        raise NoAlertmanager(f"no amtool {release} on the PATH, and no Go to make one")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        # Nothing of it stays but the program; a module cache is read-only unless told otherwise.
        places = {"GOBIN": f"{folder}/bin", "GOPATH": f"{folder}/path", "GOCACHE": f"{folder}/cache"}
        built = subprocess.run(
            [go, "install", f"github.com/prometheus/alertmanager/cmd/amtool@{release}"],
            env={**os.environ, **places, "GOFLAGS": "-modcacherw"},
            capture_output=True,
            text=True,
            timeout=BUILD_WITHIN_S,
            check=False,
        )
        if built.returncode != 0:
            raise NoAlertmanager(f"go install amtool@{release} failed: {built.stderr[-500:]}")
        made.parent.mkdir(exist_ok=True)
        (Path(folder) / "bin" / "amtool").replace(made)
    return made


def _at_least(program: str, release: str) -> bool:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    version = re.search(r"version v?(\d+)\.(\d+)\.(\d+)", said.stdout + said.stderr)
    wanted = [int(part) for part in release.removeprefix("v").split(".")]
    return version is not None and [int(part) for part in version.groups()] >= wanted
