"""What the pages tell people to type and needs a package registry: Kafka and its tools, an installation, an
adapter of one's own, the lock.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.pages.adapters import write_package
from tests.pages.page import FETCHING
from tests.pages.reading import ROOT
from tests.pages.stage import Stage, until
from tests.pages.town import quick_start, write_config
from tests.real.broker import find_java, prepare

pytestmark = pytest.mark.real

WITHIN_S = 900.0
"""For what a registry and a busy machine may take."""


def kafka(folder: Path, run_broker: str, create_topic: str) -> None:
    with Stage(folder) as stage:
        port = str(stage.port(9464))
        # The script of Kafka's own archive starts this class; the jars come from Maven Central without it.
        script = folder / "tools" / "kafka-topics.sh"
        script.parent.mkdir()
        java = f"{find_java()} -cp '{prepare()}/*' org.apache.kafka.tools.TopicCommand"
        script.write_text(f'#!/bin/sh\nexec {java} "$@"\n')
        script.chmod(0o755)
        stage.environment |= {"PATH": f"{script.parent}:{stage.environment['PATH']}", "PYTHONPATH": str(ROOT)}
        broker = stage.start(run_broker.replace("9092", port).replace("/tmp/kafka", f"{folder}/kafka"))
        until(lambda: "Apache Kafka" in broker.said() or broker.ended(), "Kafka to run", within_s=120)
        assert f"on 127.0.0.1:{port}" in broker.said()
        assert "Created topic ordergate.inbound" in _run(create_topic.replace("9092", port), folder, stage.environment)
        described = f"kafka-topics.sh --bootstrap-server 127.0.0.1:{port} --describe --topic ordergate.inbound"
        assert "PartitionCount: 8" in _run(described, folder, stage.environment)


def service(folder: Path, install: str) -> None:
    """What is installed runs from there, without the checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ORDERGATE_", "PG"))}
    _run(install.replace("/opt/ordergate", f"{folder}/ordergate"), ROOT, kept)
    programs = folder / "ordergate" / "bin"
    where = _run(f"{programs}/python -c 'import gateway; print(gateway.__path__[0])'", folder, kept).strip()
    assert Path(where).is_relative_to(folder / "ordergate")
    with Stage(folder) as stage:
        write_config(stage, {"connections": quick_start()})
        stage.environment = {**kept, "ORDERGATE_URL": stage.url}
        gateway = stage.start_gateway(f"{programs}/ordergate run -c ordergate.yaml --workers 2")
        assert "with 2 worker(s)" in gateway.said() and stage.environment["ORDERGATE_TOKEN"]
        assert "shop-a" in _run(f"{programs}/ordergate connections list", folder, stage.environment)
        gateway.stop()


def lock(folder: Path, compile_: str) -> None:
    """The lock has what pyproject.toml asks for, and nothing that it does not."""
    uv = shutil.which("uv", path=f"{sys.prefix}/bin:{os.environ['PATH']}")
    if uv is None:
        pytest.skip("there is no uv, which ./dev installs")
    for name in ("pyproject.toml", "README.md", "deploy/requirements.lock"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    _run(compile_, folder, {**os.environ, "PATH": f"{Path(uv).parent}:{os.environ['PATH']}"})
    assert _pinned(folder / "deploy/requirements.lock") == _pinned(ROOT / "deploy/requirements.lock")


def plugin(folder: Path, install: str) -> None:
    """The package of docs/adapters.md, built and installed beside a gateway that finds it."""
    write_package("docs/adapters.md", folder / "mywms")
    _run(f"{sys.executable} -m venv .venv", folder, os.environ)
    _run(install, folder, {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")})
    # The gateway and its libraries stand in the environment of the tests.
    paths = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])
    listed = _run(".venv/bin/python -m gateway adapters --json", folder, {**os.environ, "PYTHONPATH": paths})
    assert "mywms" in json.loads(listed)["adapters"]


RUNS: Mapping[str, Callable[..., None]] = {"kafka": kafka, "service": service, "plugin": plugin, "lock": lock}


@pytest.mark.parametrize("name", FETCHING)
def test_what_needs_a_registry_does_what_its_page_says(name: str, server_folder: Path) -> None:
    RUNS[name](server_folder, *FETCHING[name])


def _run(line: str, folder: Path, environment: Mapping[str, str]) -> str:
    ran = subprocess.run(
        ["/bin/sh", "-c", line],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert ran.returncode == 0, f"`{line}` ended with {ran.returncode}:\n{ran.stdout[-2000:]}\n{ran.stderr[-2000:]}"
    return ran.stdout


def _pinned(file: Path) -> list[str]:
    return re.findall(r"^[a-z0-9._-]+(?:\[[a-z,]+\])?==\S+", file.read_text(encoding="utf-8"), re.M)
