"""The quick start of the README, typed by a test: two fakes, check, run, sign, post, look."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SECRET = "whsec_b3JkZXJnYXRlIHF1aWNrIHN0YXJ0IHNlY3JldA=="
PORTS = (8701, 8702, 8080, 9464)


@pytest.mark.feature("F119")
def test_an_order_goes_to_the_warehouse_and_its_shipment_comes_back(server_folder: Path) -> None:
    ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))

    def here(text: str) -> str:
        for port, free in ports.items():
            text = text.replace(f":{port}", f":{free}").replace(f"--port {port}", f"--port {free}")
        return text

    config = server_folder / "ordergate.yaml"
    http = f"http: {{listen: 127.0.0.1:{ports[8080]}, metrics_listen: 127.0.0.1:{ports[9464]}}}\n"
    config.write_text(here((ROOT / "docs/quickstart.yaml").read_text(encoding="utf-8")) + http, encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    fakes = re.findall(r"^\.venv/bin/python (-m adapters\.\S+\.fake .*)$", readme, re.MULTILINE)
    assert len(fakes) == 2
    with ExitStack() as stack:
        for fake in fakes:
            stack.enter_context(_running([sys.executable, *here(fake).split()], server_folder / "fake.log"))
        _until(lambda: _answers(ports[8701]) and _answers(ports[8702]))
        assert _ordergate("check", "-c", str(config)).returncode == 0
        log = server_folder / "run.log"
        stack.enter_context(_running([sys.executable, "-m", "gateway", "run", "-c", str(config)], log))
        token = _until(lambda: re.search(r"og_\S+", log.read_text(encoding="utf-8")))[0]
        _until(lambda: _answers(ports[8080], "/readyz"))
        hook = f"http://127.0.0.1:{ports[8080]}/hooks/shop-a"
        order = "adapters/webhook/order.example.json"
        signed = _ordergate("webhook", "sign", order, "--secret", SECRET, "--url", hook)
        line = next(line for line in signed.stdout.splitlines() if line.startswith("curl "))
        headers = dict(re.findall(r"-H '([\w-]+): ([^']*)'", line))
        body = (ROOT / order).read_bytes()
        with urllib.request.urlopen(urllib.request.Request(hook, body, headers), timeout=10) as answer:
            assert answer.status == 202
        books = _until(lambda: _json(ports[8702], "/books").get("orders", {}).get("AA1001"))
        assert books["commands"][0].startswith("ship:wms-1/")
        assert _json(ports[8701], "/books")["orders"]["AA1001"]["documents"] == 1
        environment = {"ORDERGATE_TOKEN": token}
        url = f"http://127.0.0.1:{ports[8080]}"
        shown = _ordergate("orders", "show", "AA1001", "--url", url, "--json", **environment)
        assert shown.returncode == 0 and '"shipped"' in shown.stdout, shown.stderr


def _ordergate(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[None]:
    with log.open("ab") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def _until(condition: Callable[[], Any], within_s: float = 60.0) -> Any:
    ends_at = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < ends_at, "not in time"
        time.sleep(0.05)
    return found


def _answers(port: int, path: str = "/books") -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _json(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return json.load(answer)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in sockets]
