"""The image, built by buildah and run as compose.yaml and the operations guide have it: no engine, no registry needed.

The base is made of the distribution's packages (debootstrap) in place of `python:3.13-slim`: its Python is another one.
Takes minutes, as root.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.gateway import until
from tests.chaos.powercut_fs import may_mount
from tests.lifelines import end_with_us
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
BASE, IMAGE = "ordergate-test-base", "localhost/ordergate-test"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def missing() -> str:
    """Why no image can be built here; empty when one can."""
    if os.geteuid() != 0 or not may_mount():
        return "only root that may mount can run it"
    return ", ".join(f"{name} is not installed" for name in ("buildah", "debootstrap") if shutil.which(name) is None)


pytestmark = [pytest.mark.soak, pytest.mark.skipif(bool(missing()), reason=missing())]


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """The root of a container of the image."""
    _base()
    _done(
        *("buildah", "bud", "--format", "docker", "--isolation", "chroot", "--network", "host", "--pull-never"),
        *("--build-arg", f"PYTHON={BASE}", "-f", "deploy/Dockerfile", "-t", IMAGE, "."),
    )
    container = _done("buildah", "from", "--pull-never", IMAGE)
    yield Path(_done("buildah", "mount", container))
    _done("buildah", "rm", container)


def _base() -> None:
    """An image ``python:…`` with pip and nothing else, made once."""
    inspected = ["buildah", "inspect", f"docker.io/library/python:{BASE}"]
    if subprocess.run(inspected, check=False, capture_output=True).returncode == 0:
        return
    container = _done("buildah", "from", "scratch")
    root = Path(_done("buildah", "mount", container))
    packages = "--include=python3,python3-venv,python3-pip,ca-certificates"
    _done("debootstrap", "--variant=minbase", packages, "bookworm", str(root))
    for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        marker.unlink()
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    shutil.copy(CERTIFICATES, root / "etc/ssl/certs")
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    settings = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("PIP_")]
    install = ["python3", "-m", "pip", "install", "--quiet", "--ignore-installed", "--root-user-action=ignore", "pip"]
    _done("chroot", str(root), "env", *settings, *install)
    _done("buildah", "commit", "--rm", container, f"docker.io/library/python:{BASE}")


def _done(*command: str) -> str:
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr[-3000:]}"
    return done.stdout.strip()


_AS_ITS_USER = (
    *("setpriv", "--reuid", "10001", "--regid", "10001", "--clear-groups", "--no-new-privs", "--bounding-set=-all"),
    *("--inh-caps=-all", "env", "-i", "-C", "/var/lib/ordergate", "LANG=C.UTF-8", "PYTHONUNBUFFERED=1"),
    *("PATH=/opt/ordergate/bin:/usr/local/bin:/usr/bin:/bin", "ORDERGATE_CONFIG=/etc/ordergate/ordergate.yaml"),
)


def contained(root: Path, config: Path, data: Path, *command: str) -> list[str]:
    """What runs `command` in the image as compose.yaml has it: its user, no capabilities, a root that is read-only."""
    inside = f"""set -e
        for folder in etc/ordergate var/lib/ordergate; do mkdir -p {root}/$folder; done
        at=$(mktemp -d) && mount --bind {root} $at
        mount -t proc proc $at/proc && mount --rbind /dev $at/dev
        mount -t tmpfs -o size=64m,mode=1777,nosuid,nodev tmpfs $at/tmp
        mount --bind {config} $at/etc/ordergate && mount --bind {data} $at/var/lib/ordergate
        mount -o remount,ro,bind $at
        exec chroot $at "$@"
    """
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", inside, "_", *_AS_ITS_USER, *command]


def beside(pid: int, *command: str) -> list[str]:
    """What runs `command` beside the process `pid` of a container, as ``docker exec`` does."""
    return ["nsenter", "--target", str(pid), "--mount", "--root", *_AS_ITS_USER, *command]


@pytest.fixture
def folders(server_folder: Path) -> tuple[Path, Path]:
    """For the configuration, and for the data, which is the image's user's."""
    config, data = server_folder / "config", server_folder / "data"
    config.mkdir()
    data.mkdir()
    os.chown(data, 10001, 10001)
    return config, data


def test_nothing_that_installs_software_is_left_and_only_its_data_can_be_written(
    image: Path, folders: tuple[Path, Path]
) -> None:
    def said(*command: str) -> str:
        inside = contained(image, *folders, *command)
        return subprocess.run(inside, check=False, capture_output=True, text=True, timeout=60).stdout.strip()

    assert said("id", "-u") == "10001"
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", said("ordergate", "--version"))
    assert said("sh", "-c", "touch /tmp/x /var/lib/ordergate/x && echo written") == "written"
    assert said("sh", "-c", "touch /opt/ordergate/x || echo refused") == "refused"
    assert not list(image.glob("opt/ordergate/lib/python3*/site-packages/pip"))


async def test_it_runs_alone_with_the_bundled_postgresql_and_stops_in_order(
    image: Path, folders: tuple[Path, Path]
) -> None:
    config, data = folders
    port, metrics = free_port(), free_port()
    quick_start = (ROOT / "docs/quickstart.yaml").read_text(encoding="utf-8").replace("./data", "/var/lib/ordergate")
    (config / "ordergate.yaml").write_text(
        f'{quick_start}\nhttp: {{listen: "0.0.0.0:{port}", metrics_listen: "0.0.0.0:{metrics}"}}\n', encoding="utf-8"
    )
    log = (config / "log").open("wb")
    gateway = subprocess.Popen(
        contained(image, config, data, "ordergate", "run"),
        stdout=log,
        stderr=log,
        preexec_fn=end_with_us,  # noqa: PLW1509
    )
    try:

        async def serves() -> bool:
            assert gateway.poll() is None, (config / "log").read_text()[-3000:]
            return await asyncio.to_thread(_ready, port)

        await until(serves, within_s=60, what="the gateway in the image to be ready", log=config / "log")
        declared = re.search(r"HEALTHCHECK.*\n +CMD (\[.*\])", (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8"))
        assert declared is not None
        check = [part.replace("9464", str(metrics)) for part in json.loads(declared[1])]
        assert subprocess.run(beside(gateway.pid, *check), check=False, timeout=60).returncode == 0
        checked = beside(gateway.pid, "ordergate", "check")
        done = subprocess.run(checked, check=False, capture_output=True, text=True, timeout=60)
        assert "结构最新" in done.stdout, done.stdout + done.stderr
    finally:
        gateway.send_signal(signal.SIGTERM)
        code = gateway.wait(60)
        log.close()
    assert code == 0, (config / "log").read_text()[-3000:]
    assert "已停止 / stopped" in (config / "log").read_text()


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(json.loads(answer.read())["ready"])
    except OSError:
        return False
