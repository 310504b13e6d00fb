"""The connection pool, migrations, and the two mappings every statement needs: connection ids and order ids."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any, Protocol, TypeAlias

import asyncpg

from gateway.core.errors import OrdergateError, Unavailable
from gateway.core.event import ConnectionName
from gateway.core.text import NOTHING, Text, in_both, system_reason

Connection: TypeAlias = Any
"""An asyncpg connection, whether straight or lent by the pool (asyncpg carries no types)."""


class CannotRead(OrdergateError):
    """A row cannot be read: damaged, or written by a later release. `code`: as lanes and dead letters have it."""

    code = "unreadable"


class CannotOpen(CannotRead):
    """Something was sealed with a key that is not configured, or has been changed since."""

    code = "sealed"


DAMAGED = Text("无法读取：已损坏，或由更新的版本写入", "it cannot be read: damaged, or written by a later release")


class Private(bytes):
    """Bytes that hold buyer data or a secret: sealed on their way into the database where keys are configured."""

    __slots__ = ()


class Unopened(bytes):
    """What is stored sealed and cannot be opened, as it is stored; written again, it stays so. `why`: for a person.

    Neither JSON, MessagePack nor a zstd frame begins like it: whoever decodes it fails at that row, and only there.
    """

    why: Text

    def __new__(cls, stored: bytes, why: Text) -> Unopened:
        made = super().__new__(cls, stored)
        made.why = why
        return made


def private(body: bytes) -> bytes:
    """`body` for a private column: sealed, or as it was stored where it could not be opened."""
    return body if isinstance(body, Unopened) else Private(body)


def as_plain(text: str) -> str:
    """`text` as a text column can hold it: no NUL, no half of a surrogate pair."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def as_private(text: str) -> Private | None:
    """`text` for a private column, without what a text column could not hold; None where nothing is left."""
    if not text:
        return None
    return Private(text.replace("\x00", ""), "utf-8", "replace") or None


def as_text(stored: bytes | None, language: str = "") -> str:
    """What `as_private` wrote, and `private_or_plain` reads; where it cannot be read, why, in `language` or in both."""
    if stored is None:
        return ""
    if isinstance(stored, Unopened):
        why = stored.why
    else:
        try:
            return stored.decode()
        except UnicodeDecodeError:
            why = DAMAGED
    return why.of(language) if language else why.both


def private_or_plain(column: str) -> str:
    """SQL of what `private_<column>` holds, or where that is null, `column` (rows from before migration 0009)."""
    place, _, name = column.rpartition(".")
    dot = f"{place}." if place else ""
    return f"coalesce({dot}private_{name}, convert_to({column}, 'UTF8'))"


class Sealing(Protocol):
    """What prepares each of a pool's connections to seal and open (`gateway.store.vault`)."""

    async def attend(self, connection: Connection) -> None: ...


REFUSED = (
    asyncpg.InvalidAuthorizationSpecificationError,  # class 28: user, password, pg_hba.conf
    asyncpg.InvalidCatalogNameError,  # the database is dropped, or has another name
    asyncpg.InsufficientPrivilegeError,  # of the database, or of a table that a migration has made for another user
    asyncpg.ObjectNotInPrerequisiteStateError,  # ALTER DATABASE … ALLOW_CONNECTIONS false
)
"""What is refused until somebody changes the server or the settings."""

# What asyncpg raises when the server is away, going down, short of something, cancelled us, is read-only after a
# failover or lets us in no more: nothing is wrong with what was asked, and the same call may work later.
AWAY = (
    *REFUSED,
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,  # class 08
    asyncpg.InterfaceError,
    asyncpg.InsufficientResourcesError,  # class 53
    asyncpg.OperatorInterventionError,  # class 57: shutting down, cancelled
    asyncpg.exceptions.PostgresSystemError,  # class 58: input and output
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    # A connection that broke off in the middle of a statement is left in a state of its own (asyncpg 0.32).
    asyncpg.InternalClientError,
)

COLLIDED = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""Two transactions met; the same call works now."""

COMMAND_TIMEOUT_S = 30.0

_MIGRATION_LOCK = 7_262_001
_MIGRATION_WITHIN_S = 86_400.0
"""An index over years of orders takes its time; so do others wait for whoever is at it."""

_MIGRATION_TRIES = 10
_MIGRATION_LOCK_WITHIN_MS = 2_000
"""Whoever waits for a whole table has everybody else wait behind him; autovacuum gives way after a second."""
_MIGRATION_PAUSE_S = 3.0


_NAMED = {"application_name": "ordergate"}
# Whatever the defaults of the server or the database are: what is committed is on the disk before anybody is told; who
# has waited for a lock sees what was committed meanwhile; a backslash in a statement of ours is just that; and a worker
# that is stopped or cut off inside a transaction does not hold its locks for the two hours that TCP takes. Nor are
# statements compiled: ours are short, and compiling one takes up to half a second. Not with the connection's start:
# pgbouncer refuses one that asks for these.
_SESSION = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
SET default_transaction_isolation = 'read committed';
SET standard_conforming_strings = on;
SET jit = off;
SET idle_in_transaction_session_timeout = 10000;
SET tcp_keepalives_idle = 10;
SET tcp_keepalives_interval = 5;
SET tcp_keepalives_count = 3
"""
_CONNECT_WITHIN_S = 5.0


async def open_pool(url: str, *, size: int, vault: Sealing | None = None) -> asyncpg.Pool:
    """A pool of `size` connections, each with a statement cache.

    Raises Unavailable when the server is away, and OrdergateError when it refuses us; both say what to look at.
    Without a `vault` nothing is sealed, and what is sealed is read as it is stored.
    """

    async def prepare(connection: Connection) -> None:
        await connection.execute(_SESSION, timeout=_CONNECT_WITHIN_S)
        if vault is not None:
            await vault.attend(connection)

    try:
        return await asyncpg.create_pool(
            url,
            min_size=min(2, size),
            max_size=size,
            command_timeout=COMMAND_TIMEOUT_S,
            timeout=_CONNECT_WITHIN_S,
            max_inactive_connection_lifetime=0,
            server_settings=_NAMED,
            reset=_given_back,
            init=prepare,
        )
    except AWAY as error:
        if isinstance(error, REFUSED):
            raise OrdergateError(_not_reached(error)) from error
        raise Unavailable(_not_reached(error)) from error
    except (asyncpg.PostgresError, ValueError) as error:  # ValueError: what asyncpg makes of an address
        raise OrdergateError(_not_reached(error)) from error


def _not_reached(error: Exception) -> Text:
    why = reason_of(error)
    return Text(
        f"连不上数据库：{why.zh}；检查 database.url 的地址、库名、用户和密码，以及防火墙",
        f"the database cannot be reached: {why.en}; check address, name, user and password in database.url, and the"
        " firewall",
    )


def reason_of(error: Exception) -> Text:
    """Why the database, or the way to it, refuses, on one line: in our words where there are some."""
    said = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, OSError) and not isinstance(error, TimeoutError):
        file = f"{error.filename}：" if error.filename else ""
        return Text(file + system_reason(error).zh, said)
    known = _refusal(error).zh
    return Text(f"{known}（{said}）" if known else said, said)


def kind_of(error: BaseException) -> Text:
    """As `reason_of`, of a closed set of words: it names no host, user or database, so anybody may read it."""
    if isinstance(error, socket.gaierror) or (isinstance(error, OSError) and (error.errno or 0) > 0):
        said = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        return system_reason(OSError(error.errno, said))
    return _refusal(error) or Text(f"原因 {type(error).__name__}", type(error).__name__)


def _refusal(error: BaseException) -> Text:
    return next((words for kind, words in _REFUSALS if isinstance(error, kind)), NOTHING)


# The first that fits.
_REFUSALS: tuple[tuple[type[BaseException], Text], ...] = (
    (TimeoutError, Text("没有应答", "no answer")),
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        Text("用户名或密码不对，或不许从这里登录", "wrong user or password, or no login from here"),
    ),
    (asyncpg.InvalidCatalogNameError, Text("没有这个数据库", "there is no such database")),
    (asyncpg.TooManyConnectionsError, Text("连接数已满", "all its connections are taken")),
    (asyncpg.ObjectNotInPrerequisiteStateError, Text("数据库被设为不接受连接", "it is set to take no connections")),
    (asyncpg.CannotConnectNowError, Text("数据库正在启动或停止", "it is starting or stopping")),
    (asyncpg.InsufficientPrivilegeError, Text("权限不足", "a privilege is missing")),
    (
        asyncpg.ReadOnlySQLTransactionError,
        Text("数据库只读：是备库，或被设为只读", "it is read-only: a standby, or set to be so"),
    ),
    (asyncpg.DiskFullError, Text("数据库的磁盘已满", "its disk is full")),
    (asyncpg.LockNotAvailableError, Text("表被别人锁住", "somebody has locked the table")),
    (asyncpg.QueryCanceledError, Text("语句被取消或超时", "the statement was cancelled or timed out")),
    (asyncpg.AdminShutdownError, Text("连接被数据库断开", "it has ended the connection")),
    (asyncpg.ConnectionDoesNotExistError, Text("连接被数据库断开", "it has ended the connection")),
    (asyncpg.InternalClientError, Text("连接已断开", "the connection has ended")),
)


@asynccontextmanager
async def told_in_one_line() -> AsyncIterator[None]:
    """What the server refuses, or is too short of, comes out as Unavailable or OrdergateError, for a person to read.

    Only what a person mends there: a mistake in a statement stays what it is. Nor is an error of a file touched.
    """
    try:
        yield
    except asyncpg.InsufficientPrivilegeError as error:
        raise OrdergateError(_refused(error)) from error
    except AWAY as error:
        if isinstance(error, OSError) and not isinstance(error, (ConnectionError, TimeoutError)):
            raise
        raise Unavailable(_refused(error)) from error


def _refused(error: Exception) -> Text:
    why = reason_of(error)
    return Text(
        f"数据库拒绝了操作或中断：{why.zh}；检查数据库服务器，之后再运行",
        f"the database refused or broke off: {why.en}; look at the database server, then run this again",
    )


async def _given_back(connection: Connection) -> None:
    """Next to nothing on giving a connection back: ours leave only advisory locks in a session, and give those back.

    asyncpg's own reset costs a round trip and four statements after every transaction. A session that takes nothing is
    ended: by a setting that it has begun with, or on a server that is a standby, it would take nothing for ever, though
    new ones do again. What is asked here the server says by itself (since PostgreSQL 14).
    """
    told = connection.get_settings()
    if "on" in (getattr(told, "default_transaction_read_only", "off"), getattr(told, "in_hot_standby", "off")):
        connection.terminate()


async def migrate(pool: asyncpg.Pool, *, told: Callable[[str], None] = lambda _: None) -> list[str]:
    """Bring the schema up to this release and return the names of the migrations applied.

    Each file is one transaction, under an advisory lock, so that several workers may start at once and a
    migration that was cut short starts again from nothing. `told` hears of one that has to wait.

    A schema that is up to date is only read: who runs the gateway need not own it. Raises OrdergateError, with nothing
    done, where it is of a later release or another user's; and where this user may not change it.
    """
    async with pool.acquire() as connection:
        await connection.execute("SELECT pg_advisory_lock($1)", _MIGRATION_LOCK, timeout=_MIGRATION_WITHIN_S)
        try:
            return await _bring_up(connection, told)
        except asyncpg.InsufficientPrivilegeError as error:
            raise _may_not_migrate(in_both(str(error))) from error
        finally:
            await unlock(connection, _MIGRATION_LOCK)


def _may_not_migrate(why: Text) -> OrdergateError:
    return OrdergateError(
        Text(
            f"当前数据库用户不能升级数据库结构（{why.zh}）：请用表的所有者运行 `ordergate migrate`，再给本用户读写权限",
            f"this user may not bring the database up ({why.en}): run `ordergate migrate` as the owner of its"
            " tables, then let this user read and write them",
        )
    )


async def _bring_up(connection: Connection, told: Callable[[str], None]) -> list[str]:
    pending = await pending_migrations(connection)
    if later := await later_migrations(connection):
        listed = ", ".join(later)
        raise OrdergateError(
            Text(
                f"数据库已由更新的版本升级（{listed}）：请运行那个版本，或恢复备份",
                f"the database has been migrated by a later release ({listed}): run that release, or restore a backup",
            )
        )
    if pending:
        if await of_another(connection):
            # One that alters no table would go through, and what it makes would be the wrong user's.
            raise _may_not_migrate(Text("表属于别的用户", "the tables are another user's"))
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS migration"
            " (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
    texts = dict(migrations())
    for name in pending:
        await _apply(connection, name, texts[name], told)
    return pending


async def _apply(connection: Connection, name: str, text: str, told: Callable[[str], None]) -> None:
    """One migration; tried again where it meets the transactions of workers that still run, or a backup."""
    left, waited, until = _MIGRATION_TRIES, False, time.monotonic() + _MIGRATION_WITHIN_S
    while True:
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = {_MIGRATION_LOCK_WITHIN_MS}")
                await connection.execute(text, timeout=_MIGRATION_WITHIN_S)
                await connection.execute("INSERT INTO migration (name) VALUES ($1)", name)
            return
        except COLLIDED:
            left -= 1
            if not left:
                raise
        except asyncpg.LockNotAvailableError:
            if time.monotonic() > until:
                raise
            if not waited:
                told(
                    f"迁移 {name} 在等待：有人长时间占用它要改的表（在备份？） / "
                    f"migration {name} waits: somebody has a table that it alters in use for long (a backup?)"
                )
            waited = True
            await asyncio.sleep(_MIGRATION_PAUSE_S)


async def unlock(connection: Connection, key: int) -> None:
    """Give an advisory lock of this session back; a session that cannot be asked to is ended, and its lock with it."""
    try:
        async with asyncio.timeout(1.0):
            await connection.execute("SELECT pg_advisory_unlock($1)", key)
    except (*AWAY, asyncpg.PostgresError):
        connection.terminate()


async def pending_migrations(connection: Connection) -> list[str]:
    """Names of the migrations of this release that the database lacks; all of them where there is no schema yet."""
    done = await _applied(connection)
    return [name for name, _ in migrations() if name not in done]


def replaced(pending: Iterable[str]) -> Text:
    """Why no worker starts while a gateway of the release before runs on, whose program is this one by now."""
    listed = ", ".join(pending)
    return Text(
        f"程序已换成新版本，数据库还没有升级（{listed}）：请重启网关，启动时会升级",
        f"the program has been replaced by a later release, and the database is not brought up yet ({listed}):"
        " restart the gateway, which does it",
    )


async def later_migrations(connection: Connection) -> list[str]:
    """Names of the migrations that the database has and this release does not know, sorted."""
    return sorted(await _applied(connection) - {name for name, _ in migrations()})


async def of_another(connection: Connection) -> bool:
    """Whether the tables are there and another user's, who alone may alter them."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT 1 FROM pg_class"
        " WHERE oid IN (to_regclass('migration'), to_regclass('orders')) AND NOT pg_has_role(relowner, 'USAGE'))"
    )
    return found


async def _applied(connection: Connection) -> set[str]:
    try:
        return {row[0] for row in await connection.fetch("SELECT name FROM migration")}
    except asyncpg.UndefinedTableError:
        return set()


def migrations() -> list[tuple[str, str]]:
    """(name, SQL) of every migration of this release, in order."""
    folder = resources.files("gateway.store.migrations")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [(f.name.removesuffix(".sql"), f.read_text(encoding="utf-8")) for f in files]


def created() -> list[str]:
    """Names of the tables and sequences that the migrations of this release make."""
    return [name for _, text in migrations() for name in _CREATED.findall(text)]


_CREATED = re.compile(r"^CREATE (?:TABLE|SEQUENCE) (\w+)", re.MULTILINE)


class Names:
    """Connection names ⇄ the small numbers rows carry. Read at the start, and again where a gateway with a later
    configuration has registered one since: names are never renumbered."""

    def __init__(self, ids: dict[ConnectionName, int]) -> None:
        self._ids = ids
        self._names = {number: name for name, number in ids.items()}

    def id(self, name: ConnectionName) -> int:
        return self._ids[name]

    def get(self, name: ConnectionName) -> int | None:
        return self._ids.get(name)

    def name(self, number: int) -> ConnectionName:
        return self._names[number]

    def find(self, number: int) -> ConnectionName | None:
        """None for a connection that a process with a later configuration has registered since."""
        return self._names.get(number)

    async def read_again(self, connection: Connection) -> None:
        """Know those that have been registered since."""
        for number, name in await connection.fetch("SELECT connection_id, name FROM connection"):
            self._ids[ConnectionName(name)] = number
            self._names[number] = ConnectionName(name)


async def register_connections(pool: asyncpg.Pool, names: Iterable[ConnectionName]) -> Names:
    """Give every configured connection its number; those of earlier configurations keep theirs."""
    await pool.execute(
        "INSERT INTO connection (name) SELECT n FROM unnest($1::text[]) AS n"
        " WHERE NOT EXISTS (SELECT 1 FROM connection c WHERE c.name = n) ORDER BY n ON CONFLICT DO NOTHING",
        sorted(set(names)),
    )
    rows = await pool.fetch("SELECT connection_id, name FROM connection")
    return Names({ConnectionName(row["name"]): row["connection_id"] for row in rows})


def as_array(numbers: Iterable[int]) -> str:
    """`numbers` as PostgreSQL writes an array; for ``$1::text::integer[]``.

    asyncpg looks at every element of a list for its shape, at 0.25 µs each; this takes a third of that.
    """
    return "{" + ",".join(map(str, numbers)) + "}"


class OrderIds:
    """Hands out order ids from blocks of the database sequence: one round trip per 1,000 orders."""

    BLOCK = 1000

    def __init__(self) -> None:
        self._next = 0
        self._left = 0

    async def take(self, connection: Connection, count: int) -> list[int]:
        """`count` fresh ids. Ids of a transaction that rolls back are lost, which harms nothing."""
        ids: list[int] = []
        while len(ids) < count:
            if not self._left:
                self._next = await connection.fetchval("SELECT nextval('order_block')")
                self._left = self.BLOCK
            some = min(self._left, count - len(ids))
            ids.extend(range(self._next, self._next + some))
            self._next += some
            self._left -= some
        return ids


async def listen(url: str, channels: Mapping[str, Callable[[str], None]]) -> Any:
    """A connection of its own that calls a channel's function with each notice's payload; the caller closes it."""
    connection = await asyncpg.connect(url, timeout=_CONNECT_WITHIN_S, server_settings=_NAMED)

    def wake(_connection: Any, _pid: int, channel: str, payload: str) -> None:
        channels[channel](payload)

    try:
        await connection.execute(_SESSION, timeout=_CONNECT_WITHIN_S)
        for channel in channels:
            await connection.add_listener(channel, wake)
    except BaseException:
        connection.terminate()  # cancelled or refused on the way: nobody else knows of it
        raise
    return connection
