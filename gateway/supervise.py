"""The parent of the workers: one listening socket, one page of metrics, restarts with back-off, an orderly stop.

The parent takes part in nothing else, so it survives whatever an order or an adapter does to a worker. It holds the
embedded PostgreSQL, if that is what the settings ask for, from before the first worker until after the last one.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Protocol

import asyncpg
from aiohttp import web

from gateway.core.errors import OrdergateError
from gateway.core.text import Text, system_reason
from gateway.listener import Listener
from gateway.run_name import run_name
from gateway.settings import Mode, Settings
from gateway.store.configured import note_adapters, note_start_at
from gateway.store.control import wake_live
from gateway.store.identity import REFUSED_RESTORED, is_restored, note_identity
from gateway.store.prefixes import (
    changed_prefixes,
    lock_connections,
    note_prefixes,
    refused_prefixes,
    renamed_shops,
    taken_prefixes,
)
from gateway.store.sql import migrate, open_pool, register_connections, told_in_one_line
from gateway.store.token import first_token
from gateway.store.vault import enter_keys, vault_of
from gateway.telemetry.processes import folder_of_ours, forget, prepare

if TYPE_CHECKING:
    from gateway.telemetry.metrics import ParentMetrics, WorkerEnd

RESTART_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Pause before the n-th restart in a row; a worker that lived for `SETTLED_S` starts over."""
SETTLED_S = 30.0
DATABASE_EVERY_S = 1.0
DATABASE_AGAIN_S = 5.0
"""How often the bundled database is looked at, and how soon one that did not start is tried again."""
CUT_OFF_WITHIN_S = 3.0
"""What a database may take to end a statement that is cancelled, and the sessions."""
PULSE_EVERY_S = 5.0
HUNG_AFTER = 12
"""So many looks in a row at a worker's pulse that find none, and it is killed: it hangs, and its lease ran out long
ago. Looks, not time: a machine that was suspended has not looked either."""


class _OwnDatabase(Protocol):
    """`gateway.embedded.postgres.EmbeddedPostgres`, of which only some installations have all it needs."""

    @property
    def url(self) -> str: ...

    def runs(self) -> bool: ...

    async def start_again(self) -> None: ...


WORKER = (sys.executable, "-m", "gateway.worker")


class Supervisor:
    """Runs `workers` processes of this very command until it is told to stop. `worker` is how one is started.

    All of them go by the file `config` as it is now. One that is started again later does not read what was written
    there since: it would decide otherwise than the others, nobody has looked at the prefixes yet, and with a mistake in
    it there would soon be no worker left.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        config: Path,
        workers: int,
        stop_within_s: float = 25.0,
        tell: Callable[[str], None],
        worker: Sequence[str] = WORKER,
        pulse_every_s: float = PULSE_EVERY_S,
    ) -> None:
        self._settings = settings
        self._config = config
        self._text = config.read_bytes()
        self._workers = workers
        self._stop_within_s = stop_within_s
        self._tell = tell
        self._worker = worker
        self._pulse_every_s = pulse_every_s
        self._name: str = ""
        self._name_fd: int | None = None
        self._stop = asyncio.Event()
        self._alive: dict[int, asyncio.subprocess.Process] = {}
        self._metrics = Path(settings.data_dir) / "metrics"

    def stop(self) -> None:
        self._stop.set()

    def _say(self, zh: str, en: str) -> None:
        self._tell(Text(zh, en).both)

    async def run(self) -> None:
        """Until SIGTERM, SIGINT, SIGHUP or `stop`. Raises Unavailable when the database cannot be reached at the start,
        and OrdergateError when an address cannot be listened on or the database was restored and nobody has said so;
        then nothing has been done.

        To be called before prometheus_client is imported.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # started by nohup
            loop.add_signal_handler(number, self.stop)
        _raise_limit_of_files()
        async with AsyncExitStack() as stack:
            # First: where another gateway runs, this one has touched nothing and given away no token.
            http = self._settings.http
            sock = stack.enter_context(_address(http.bind, "http.listen"))
            metrics_sock = stack.enter_context(_address(http.metrics_bind, "http.metrics_listen"))
            self._metrics = _prepare_folder(Path(self._settings.data_dir), stack)
            self._name, self._name_fd = stack.enter_context(run_name(Path(self._settings.data_dir)))
            kept = _kept(self._text, Path(self._settings.data_dir), stack)
            url = self._settings.database.url
            server: _OwnDatabase | None = None
            if self._settings.database.embedded:
                # Here: who brings a database of his own needs none of what the bundled one is made of.
                from gateway.embedded.postgres import EmbeddedPostgres

                server = await stack.enter_async_context(EmbeddedPostgres(Path(self._settings.data_dir) / "postgres"))
                url = server.url
            if not await self._prepared(url):
                self._say("已停止，数据库尚未就绪", "stopped before the database was ready")
                return
            # Only now: until then a load balancer is refused, and does not wait.
            _listen(sock, "http.listen")
            _listen(metrics_sock, "http.metrics_listen")
            metrics = await self._serve_metrics(metrics_sock, stack)
            # The workers see the end of this pipe when the parent is gone, however it went.
            lifeline_read, lifeline_write = os.pipe()
            stack.callback(os.close, lifeline_write)
            stack.callback(os.close, lifeline_read)
            # The real addresses: port 0 in the settings means any free one.
            address = f"http://{address_of(metrics_sock)}/metrics"
            self._say(f"指标：{address}", f"metrics on {address}")
            address, workers = f"http://{address_of(sock)}", self._workers
            self._say(
                f"网关已启动：{address}，{workers} 个工作进程", f"listening on {address} with {workers} worker(s)"
            )
            async with asyncio.TaskGroup() as group:
                if server is not None:
                    group.create_task(self._keep_database(server), name="database")
                for slot in range(self._workers):
                    keeping = self._keep(slot, url=url, sock=sock, kept=kept, lifeline=lifeline_read, metrics=metrics)
                    group.create_task(keeping, name=f"slot {slot}")
            self._say("已停止", "stopped")

    async def _prepared(self, url: str) -> bool:
        """Whether the database is ready; not where the stop comes first, which cuts the wait and a migration off.

        Who migrates or backs up elsewhere may be waited for a whole day.
        """
        preparing = asyncio.ensure_future(self._prepare_database(url))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({preparing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            preparing.cancel()
            await asyncio.wait({preparing, stopping}, timeout=CUT_OFF_WITHIN_S)
            # asyncpg waits until the server has heard that a statement is cancelled: not for one that does not answer.
            preparing.cancel()
            await asyncio.wait({preparing, stopping})
        if preparing.cancelled():
            return False
        preparing.result()
        return True

    async def _prepare_database(self, url: str) -> None:
        async with told_in_one_line():
            await self._prepare_reached(await open_pool(url, size=2))

    async def _prepare_reached(self, pool: asyncpg.Pool) -> None:
        try:
            for name in await migrate(pool, told=self._tell):
                self._say(f"数据库已迁移：{name}", f"database migrated: {name}")
            async with pool.acquire() as connection:
                if await is_restored(connection):
                    raise OrdergateError(REFUSED_RESTORED)
                await note_identity(connection)
                await register_connections(pool, self._settings.connections)
                await self._keep_prefixes(connection)
                await note_start_at(connection, self._settings.shop_prefixes, self._settings.switched_over)
                await note_adapters(connection, self._settings.adapters)
                await self._wake(connection)
            await enter_keys(pool, vault_of(self._settings.encryption.decoded))
            token = await first_token(pool)
            if token is not None:
                self._tell(f"管理令牌，只显示这一次 / administrator token, shown this once: {token}")
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(CUT_OFF_WITHIN_S):
                    await pool.close()  # past the deadline it breaks its connections off

    async def _wake(self, connection: asyncpg.Connection) -> None:
        """Have orders decided again that waited while their shop, which may have had another name, was observed."""
        live = self._settings.prefixes(Mode.LIVE)
        renamed = await renamed_shops(connection, live, self._settings.adapters)
        await wake_live(connection, live, renamed, datetime.now(UTC))

    async def _keep_prefixes(self, connection: asyncpg.Connection) -> None:
        live, watched = self._settings.prefixes(Mode.LIVE), self._settings.prefixes(Mode.OBSERVE)
        async with connection.transaction():
            await lock_connections(connection)
            changed = await changed_prefixes(connection, live, self._settings.switched_over)
            taken = [one for one in await taken_prefixes(connection, self._settings.shop_prefixes) if not one.gone]
            if changed or taken:
                raise OrdergateError(refused_prefixes([*changed, *taken]))
            await note_prefixes(connection, live, watched)

    async def _keep_database(self, server: _OwnDatabase) -> None:
        """Start the bundled database again whenever it has ended: killed, or given up, as it does on a full disk.

        People are told once why it does not start, and again when that is for another reason.
        """
        told = ""
        pause_s = DATABASE_EVERY_S
        while not await self._stops_within(pause_s):
            pause_s = DATABASE_EVERY_S
            # One that did not start in time and runs now is not ours yet: starting takes it over, and ends it with us.
            if not told and await asyncio.to_thread(server.runs):
                continue
            if not told:
                self._say(
                    "自带的 PostgreSQL 停了，正在重新启动", "the bundled PostgreSQL has ended: it is started again"
                )
            try:
                # Not to be cancelled: what starts in a thread would be left running.
                await server.start_again()
            except OrdergateError as error:
                pause_s = DATABASE_AGAIN_S
                if error.text.zh != told:
                    told = error.text.zh
                    self._tell(error.text.both)
                continue
            told = ""
            self._say("自带的 PostgreSQL 恢复运行", "the bundled PostgreSQL runs again")

    async def _stops_within(self, pause_s: float) -> bool:
        try:
            async with asyncio.timeout(pause_s):
                await self._stop.wait()
        except TimeoutError:
            return False
        return True

    async def _keep(
        self, slot: int, *, url: str, sock: socket.socket, kept: int, lifeline: int, metrics: ParentMetrics
    ) -> None:
        """Keep one worker alive."""
        failures = 0
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                process, pulse = await self._start(slot, url=url, sock=sock, kept=kept, lifeline=lifeline)
            except (OSError, RuntimeError) as error:
                # Short of memory, processes or threads: the other workers go on, and this one follows.
                failures += 1
                why = system_reason(error) if isinstance(error, OSError) else Text(str(error), str(error))
                self._say(f"工作进程 {slot} 无法启动：{why.zh}", f"worker {slot} cannot be started: {why.en}")
                await self._stops_within(max(1.0, RESTART_S[min(failures, len(RESTART_S)) - 1]))
                continue
            try:
                async with asyncio.TaskGroup() as group:
                    looking = group.create_task(self._kill_hung(slot, process, pulse), name=f"pulse {slot}")
                    code = await self._watch(process)
                    looking.cancel()
            finally:
                os.close(pulse)
            del self._alive[process.pid]
            try:
                await asyncio.to_thread(forget, process.pid)
            except OSError as error:
                self._say(
                    f"进程 {process.pid} 的指标留在它自己的文件里：{error}",
                    f"the metrics of worker {process.pid} stay in its own files: {error}",
                )
            if self._stop.is_set():
                return
            metrics.restarted(_end(code))
            failures = 0 if time.monotonic() - started > SETTLED_S else failures + 1
            pause_s = RESTART_S[min(failures, len(RESTART_S)) - 1] if failures else 0.0
            self._say(
                f"工作进程 {slot} 已结束，代码 {code}；{pause_s:g} 秒后重启",
                f"worker {slot} ended with code {code}; restart in {pause_s:g} s",
            )
            await self._stops_within(pause_s)

    async def _start(
        self, slot: int, *, url: str, sock: socket.socket, kept: int, lifeline: int
    ) -> tuple[asyncio.subprocess.Process, int]:
        """A worker, and the end of the pipe that its pulse comes out of."""
        # Without it no worker starts; who has removed it may not know that anybody runs here.
        with suppress(OSError):
            self._metrics.mkdir(parents=True, exist_ok=True)
        pulse, beaten = os.pipe()
        os.set_blocking(pulse, False)
        try:
            process = await asyncio.create_subprocess_exec(
                *self._worker,
                "--config",
                str(self._config),
                "--config-fd",
                str(kept),
                "--name",
                f"{self._name}/{slot}",
                "--socket-fd",
                str(sock.fileno()),
                "--lifeline-fd",
                str(lifeline),
                "--pulse-fd",
                str(beaten),
                "--stop-within",
                str(self._stop_within_s - 5.0),
                pass_fds=(sock.fileno(), kept, lifeline, beaten, *(() if self._name_fd is None else (self._name_fd,))),
                # In the environment, not on the command line: it may hold a password.
                env={**os.environ, "ORDERGATE_WORKER_DATABASE_URL": url},
                start_new_session=True,
            )
        except BaseException:
            os.close(pulse)
            raise
        finally:
            os.close(beaten)
        self._alive[process.pid] = process
        return process, pulse

    async def _kill_hung(self, slot: int, process: asyncio.subprocess.Process, pulse: int) -> None:
        """Kill a worker whose loop stands: an adapter that blocks, a process that somebody has stopped.

        It takes nothing and sends nothing, and does not end of itself; another one does in its place. Not before its
        first beat: until then it is starting, which a slow machine may take its time for.
        """
        silent = None
        while silent is None or silent < HUNG_AFTER:
            await asyncio.sleep(self._pulse_every_s)
            if _beats(pulse):
                silent = 0
            elif silent is not None:
                silent += 1
        for_s = HUNG_AFTER * self._pulse_every_s
        self._say(
            f"工作进程 {slot} 已 {for_s:g} 秒没有动静，强行结束",
            f"worker {slot} has not moved for {for_s:g} s and is killed",
        )
        with suppress(ProcessLookupError):  # it has just ended
            process.kill()

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
                self._say(
                    f"进程 {process.pid} 没有在 {self._stop_within_s:g} 秒内停下，已强制结束",
                    f"worker {process.pid} did not stop within {self._stop_within_s:g} s: killed",
                )
                process.kill()
        return await ended

    async def _serve_metrics(self, sock: socket.socket, stack: AsyncExitStack) -> ParentMetrics:
        from gateway.telemetry.mapped import map_with_room
        from gateway.telemetry.metrics import ParentMetrics, metrics_page

        map_with_room()
        shown = ParentMetrics(self._workers)

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
        listener = Listener(application, observe=lambda _: None)
        await listener.setup()
        stack.push_async_callback(listener.cleanup)
        await web.SockSite(listener, sock).start()
        return shown


def _kept(text: bytes, data_dir: Path, stack: AsyncExitStack) -> int:
    """A file without a name that holds `text`, for children to read until `stack` ends."""
    try:
        with TemporaryFile(dir=data_dir) as file:
            file.write(text)
            file.flush()
            kept = os.dup(file.fileno())
    except OSError as error:
        raise _unusable(error, data_dir) from error
    stack.callback(os.close, kept)
    return kept


def _beats(pulse: int) -> bool:
    """Whether a beat has come out of the pipe since the last look."""
    try:
        return bool(os.read(pulse, 65_536))
    except BlockingIOError:
        return False


def _end(code: int) -> WorkerEnd:
    from gateway.telemetry.metrics import WorkerEnd

    if code < 0:
        return WorkerEnd.KILLED
    # `app.EXIT_FENCED` is EX_TEMPFAIL; the parent imports nothing of what a worker is made of.
    return {os.EX_OK: WorkerEnd.STOPPED, os.EX_TEMPFAIL: WorkerEnd.REPLACED}.get(code, WorkerEnd.FAILED)


def listening(bind: tuple[str, int]) -> socket.socket:
    """A listening socket that children can inherit. Raises OSError."""
    sock = bound(bind)
    try:
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def bound(bind: tuple[str, int]) -> socket.socket:
    """A socket that has its address and takes no connection yet. Raises OSError, also where another one listens."""
    sock = socket.socket(socket.AF_INET6 if ":" in bind[0] else socket.AF_INET)
    try:
        # As socket.create_server does.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(bind)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


_BACKLOG = 1024


def _raise_limit_of_files() -> None:
    """As many open files as this process and the workers may have at all.

    1,024 are usual, 524,288 allowed; whoever connects beyond the limit is cut off without a word.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


_FILES = 65_536


def _prepare_folder(data_dir: Path, stack: AsyncExitStack) -> Path:
    """The folder of the metrics, empty, and nobody else's until `stack` ends."""
    try:
        folder = stack.enter_context(folder_of_ours(data_dir))
        prepare(folder)
        return folder
    except OSError as error:
        raise _unusable(error, data_dir) from error


def _unusable(error: OSError, data_dir: Path) -> OrdergateError:
    why = system_reason(error)
    return OrdergateError(
        Text(
            f"{error.filename or data_dir} 不能用：{why.zh}；换一个 `data_dir`，或给运行用户写权限",
            f"{error.filename or data_dir} cannot be used: {why.en}; choose another `data_dir`, or let the user who"
            " runs this write there",
        )
    )


def _address(bind: tuple[str, int], setting: str) -> socket.socket:
    try:
        return bound(bind)
    except OSError as error:
        raise _taken(error, f"{bind[0]}:{bind[1]}", setting) from error


def _listen(sock: socket.socket, setting: str) -> None:
    try:
        sock.listen(_BACKLOG)
    except OSError as error:  # another process had the same address, and was faster
        raise _taken(error, address_of(sock), setting) from error


def _taken(error: OSError, address: str, setting: str) -> OrdergateError:
    why = system_reason(error)
    return OrdergateError(
        Text(
            f"无法监听 {address}：{why.zh}。请修改 `{setting}`，或停掉占用该端口的程序",
            f"cannot listen on {address}: {why.en}; change `{setting}`, or stop what uses the port",
        )
    )


def address_of(sock: socket.socket) -> str:
    """``127.0.0.1:8080``, ``[::1]:8080``."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
