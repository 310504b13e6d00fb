"""The parent of the workers: one listening socket, one page of metrics, restarts with back-off, an orderly stop.

The parent takes part in nothing else, so it survives whatever an order or an adapter does to a worker. It holds the
embedded PostgreSQL, if that is what the settings ask for, from before the first worker until after the last one.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web

from gateway.settings import Settings
from gateway.store.sql import migrate, open_pool
from gateway.store.token import first_token
from gateway.store.vault import enter_keys, vault_of
from gateway.telemetry.processes import forget

RESTART_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Pause before the n-th restart in a row; a worker that lived for `SETTLED_S` starts over."""
SETTLED_S = 30.0


WORKER = (sys.executable, "-m", "gateway", "worker")


class Supervisor:
    """Runs `workers` processes of this very command until it is told to stop. `worker` is how one is started."""

    def __init__(
        self,
        settings: Settings,
        *,
        config: Path,
        workers: int,
        stop_within_s: float = 25.0,
        tell: Callable[[str], None],
        worker: Sequence[str] = WORKER,
    ) -> None:
        self._settings = settings
        self._config = config
        self._workers = workers
        self._stop_within_s = stop_within_s
        self._tell = tell
        self._worker = worker
        self._run_id = secrets.token_hex(4)
        self._stop = asyncio.Event()
        self._alive: dict[int, asyncio.subprocess.Process] = {}

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        """Until SIGTERM, SIGINT or `stop`. Raises Unavailable when the database cannot be reached at the start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        async with AsyncExitStack() as stack:
            url = self._settings.database.url
            if self._settings.database.embedded:
                # Here: who brings a database of his own needs none of what the bundled one is made of.
                from gateway.embedded.postgres import EmbeddedPostgres

                server = await stack.enter_async_context(EmbeddedPostgres(Path(self._settings.data_dir) / "postgres"))
                url = server.url
            await self._prepare_database(url)
            sock = listening(self._settings.http.bind)
            stack.callback(sock.close)
            metrics_sock = await self._serve_metrics(stack)
            # The workers see the end of this pipe when the parent is gone, however it went.
            lifeline_read, lifeline_write = os.pipe()
            stack.callback(os.close, lifeline_write)
            stack.callback(os.close, lifeline_read)
            # The real addresses: port 0 in the settings means any free one.
            self._tell(f"metrics on http://{address_of(metrics_sock)}/metrics")
            self._tell(f"listening on http://{address_of(sock)} with {self._workers} worker(s)")
            async with asyncio.TaskGroup() as group:
                for slot in range(self._workers):
                    group.create_task(self._keep(slot, url=url, sock=sock, lifeline=lifeline_read), name=f"slot {slot}")
            self._tell("stopped")

    async def _prepare_database(self, url: str) -> None:
        pool = await open_pool(url, size=2)
        try:
            for name in await migrate(pool, told=self._tell):
                self._tell(f"database migrated: {name}")
            await enter_keys(pool, vault_of(self._settings.encryption.decoded))
            token = await first_token(pool)
            if token is not None:
                self._tell(f"administrator token, shown this once: {token}")
        finally:
            await pool.close()

    async def _keep(self, slot: int, *, url: str, sock: socket.socket, lifeline: int) -> None:
        """Keep one worker alive."""
        failures = 0
        while not self._stop.is_set():
            started = time.monotonic()
            process = await self._start(slot, url=url, sock=sock, lifeline=lifeline)
            code = await self._watch(process)
            forget(process.pid)
            del self._alive[process.pid]
            if self._stop.is_set():
                return
            failures = 0 if time.monotonic() - started > SETTLED_S else failures + 1
            pause_s = RESTART_S[min(failures, len(RESTART_S)) - 1] if failures else 0.0
            self._tell(f"worker {slot} ended with code {code}; restart in {pause_s:g} s")
            try:
                async with asyncio.timeout(pause_s):
                    await self._stop.wait()
            except TimeoutError:
                continue

    async def _start(self, slot: int, *, url: str, sock: socket.socket, lifeline: int) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *self._worker,
            "--config",
            str(self._config),
            "--name",
            f"{self._run_id}/{slot}",
            "--socket-fd",
            str(sock.fileno()),
            "--lifeline-fd",
            str(lifeline),
            "--stop-within",
            str(self._stop_within_s - 5.0),
            pass_fds=(sock.fileno(), lifeline),
            # In the environment, not on the command line: it may hold a password.
            env={**os.environ, "ORDERGATE_WORKER_DATABASE_URL": url},
            start_new_session=True,
        )
        self._alive[process.pid] = process
        return process

    async def _watch(self, process: asyncio.subprocess.Process) -> int:
        """The exit code of a worker; when the stop comes first, ask it to end and, past the deadline, make it."""
        ended = asyncio.ensure_future(process.wait())
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ended.done():
            process.terminate()
            try:
                async with asyncio.timeout(self._stop_within_s):
                    return await asyncio.shield(ended)
            except TimeoutError:
                self._tell(f"worker {process.pid} did not stop within {self._stop_within_s:g} s: killed")
                process.kill()
        return await ended

    async def _serve_metrics(self, stack: AsyncExitStack) -> socket.socket:
        from gateway.telemetry.metrics import metrics_page, show_wanted

        show_wanted(self._workers)

        async def metrics(_: web.Request) -> web.Response:
            page = await asyncio.to_thread(metrics_page)
            return web.Response(body=page, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

        async def healthz(_: web.Request) -> web.Response:
            alive = len(self._alive)
            return web.json_response(
                {"workers": alive, "wanted": self._workers}, status=200 if alive == self._workers else 503
            )

        application = web.Application()
        application.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz)])
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        sock = listening(self._settings.http.metrics_bind)
        await web.SockSite(runner, sock).start()
        return sock


def listening(bind: tuple[str, int]) -> socket.socket:
    """A listening socket that children can inherit; raises OSError with the address in its text."""
    family = socket.AF_INET6 if ":" in bind[0] else socket.AF_INET
    try:
        sock = socket.create_server(bind, family=family, backlog=1024)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {bind[0]}:{bind[1]}: {error.strerror}") from error
    sock.setblocking(False)
    return sock


def address_of(sock: socket.socket) -> str:
    """``127.0.0.1:8080``, ``[::1]:8080``."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
