"""Reaches everything a configuration depends on, without changing anything there, and reports all problems at once.

The settings themselves are checked by `gateway.settings` before; here they are right, and the world may not be.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from aiokafka.errors import TopicAuthorizationFailedError, UnknownTopicOrPartitionError

from gateway.brokers import Right, meet, risks
from gateway.core.access import Token
from gateway.core.clock import DATABASE, OURS, Reading, judge, skew
from gateway.core.errors import OrdergateError, Problem
from gateway.core.text import NOTHING, Text
from gateway.dispatch.budget import ConnectionBudget
from gateway.parts import built, database_connections, notifier_of, setup_of
from gateway.sdk.cancelled import is_a_stop
from gateway.sdk.http import Http, NoAnswer, NotSent
from gateway.sdk.pull import Access
from gateway.settings import Connection, Kafka, Mode, Settings
from gateway.store.clock import read_clock
from gateway.store.configured import kept_start_at, other_adapters
from gateway.store.credentials import Credential, read_credentials, seed_of, supersedes
from gateway.store.identity import RESTORED, RUN_RESTORED, is_new, is_restored
from gateway.store.prefixes import changed_prefixes, renamed_shops, taken_prefixes
from gateway.store.queries import lanes_without_gate, orders_at_none, orders_of_none, watched_since
from gateway.store.sql import AWAY, created, later_migrations, of_another, pending_migrations, reason_of
from gateway.store.vault import blind_workers, cannot_follow, missing_keys, vault_of
from gateway.supervise import listening
from gateway.watch.wording import clock_facts

MIN_POSTGRES = 15
"""What the README asks for."""

_LACKING = """
SELECT relname FROM pg_class
 WHERE relnamespace = current_schema()::regnamespace AND relname = ANY($1) AND NOT CASE relkind
       WHEN 'S' THEN has_sequence_privilege(oid, 'USAGE')
       ELSE has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
        AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE') END
 ORDER BY relname
"""
# Of the limits of the server, this user and this database the one that leaves the least; those of -1 are none. What is
# reserved is no ordinary user's. Gateways that run are those that are counted for. Of the sessions of others an
# ordinary user sees little: neither their name nor their kind.
_CONNECTIONS = """
WITH session AS (
    SELECT usesysid, datid FROM pg_stat_activity
     WHERE usesysid IS NOT NULL AND datid IS NOT NULL AND pid <> pg_backend_pid()
       AND application_name IS DISTINCT FROM 'ordergate')
SELECT allowed, others
  FROM pg_roles r, pg_database d, LATERAL (VALUES
       (current_setting('max_connections')::int - CASE WHEN r.rolsuper THEN 0 ELSE
            current_setting('superuser_reserved_connections')::int
            + coalesce(nullif(current_setting('reserved_connections', true), '')::int, 0) END,
        (SELECT count(*)::int FROM session)),
       (CASE WHEN r.rolconnlimit >= 0 AND NOT r.rolsuper THEN r.rolconnlimit END,
        (SELECT count(*)::int FROM session WHERE usesysid = r.oid)),
       (CASE WHEN d.datconnlimit >= 0 AND NOT r.rolsuper THEN d.datconnlimit END,
        (SELECT count(*)::int FROM session WHERE datid = d.oid))) AS bound(allowed, others)
 WHERE r.rolname = current_user AND d.datname = current_database() AND allowed IS NOT NULL
 ORDER BY allowed - others LIMIT 1
"""
_TRIED_BYTES = 1_000_000
_LITTLE_BYTES = 3_000_000_000
MAX_SKEW_S = 5.0
_WITHIN_S = 8.0


class Note(msgspec.Struct, frozen=True):
    """Something that is as it should be."""

    where: str
    what: Text


class Checked(msgspec.Struct, frozen=True):
    """`warnings` keep nothing from running: what is open on purpose, or works for now."""

    problems: tuple[Problem, ...] = ()
    notes: tuple[Note, ...] = ()
    warnings: tuple[Problem, ...] = ()


async def reach(settings: Settings) -> Checked:
    """Try every dependency at the same time; takes as long as the slowest, at most about ten seconds."""
    probe = _Probe(settings)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one, name="probe") for one in probe.all()]
    return _together(
        [
            _connected(settings),
            _sealed(settings),
            _told(settings),
            *(task.result() for task in tasks),
            probe.clocks(),
        ]
    )


def room(folder: Path, *, free_bytes: int, embedded: bool) -> Checked:
    """A `data_dir` that can be written, and whether there is enough room for what it is used for."""
    free = f"{free_bytes / 1e9:.1f} GB"
    what = Text(f"{folder} 可写，剩余 {free}", f"{folder} can be written, {free} are free")
    if not embedded or free_bytes >= _LITTLE_BYTES:
        return _note("data_dir", what)
    advice = Text(
        "自带的 PostgreSQL 光是 WAL 就可能占 2 GB：腾出空间，或换一个磁盘",
        "the WAL of the bundled PostgreSQL alone may take 2 GB: make room, or choose another disk",
    )
    return Checked(warnings=(Problem("data_dir", what, advice),))


def _connected(settings: Settings) -> Checked:
    if settings.connections:
        return Checked()
    what = Text(
        "一个连接也没有：网关能运行，但不收也不发", "there is none: the gateway runs, and takes in and sends nothing"
    )
    how = Text(
        "添加店铺和仓库，从 docs/quickstart.yaml 开始", "add shops and warehouses, starting from docs/quickstart.yaml"
    )
    return Checked(warnings=(Problem("connections", what, how),))


def _sealed(settings: Settings) -> Checked:
    """Whether buyer data is; the bundled database of somebody who only tries it may do without."""
    if settings.encryption.keys or settings.database.embedded or not settings.connections:
        return Checked()
    what = Text(
        "没有密钥：买家信息和店铺令牌在数据库和备份里是明文",
        "there is no key: buyer data and tokens of shops are plain in the database and its backups",
    )
    how = Text(
        "用 ordergate keys new 生成，另存一份；已有的数据用 ordergate keys reseal 加密",
        "make one with `ordergate keys new`, keep a copy; `ordergate keys reseal` seals what is there",
    )
    return Checked(warnings=(Problem("encryption.keys", what, how),))


def _told(settings: Settings) -> Checked:
    """Whether anybody hears of trouble."""
    if not settings.connections:
        return Checked()
    if settings.notices.channels:
        return _findable(settings.notices.runbook_url)
    what = Text("没有通知渠道：出事时不通知任何人", "there is no channel: nobody is told when something fails")
    how = Text(
        "添加企业微信机器人或邮箱，写进 notices.channels，见 docs/notices.md",
        "add a WeCom robot or a mail account and name it in notices.channels; see docs/notices.md",
    )
    return Checked(warnings=(Problem("notices.channels", what, how),))


def _findable(runbook_url: str) -> Checked:
    """Whether the page that a notice ends with can be opened by whoever gets it, somewhere else."""
    if runbook_url.startswith(("https://", "http://")):
        return Checked()
    what = Text(
        f"是 {runbook_url}：收到通知的人打不开处置页", f"is {runbook_url}: who gets a notice cannot open its page there"
    )
    how = Text(
        "把 docs/runbooks 放到他们打得开的地方，这里填那里的网址",
        "put docs/runbooks where they can open it, and the URL of that place here",
    )
    return Checked(warnings=(Problem("notices.runbook_url", what, how),))


def _nearest(folder: Path) -> Path:
    """`folder`, or the nearest above it that there is: where this user may not look, the one that is closed."""
    # Path.exists raises there.
    return next(path for path in (folder, *folder.parents) if os.path.exists(path))


class _Probe:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stored: asyncio.Future[dict[str, Credential]] = asyncio.get_running_loop().create_future()
        """The authorisations of shops in the database, by connection; empty where it cannot be asked."""
        self._readings: dict[str, Reading] = {}
        """Clocks, by connection; and the database's, where it is on another machine."""

    def all(self) -> list[Any]:
        settings = self._settings
        probes = [self._data_dir(), self._database()]
        probes += [
            self._port("http.listen", settings.http.bind),
            self._port("http.metrics_listen", settings.http.metrics_bind),
        ]
        if settings.kafka is not None:
            probes.append(self._kafka(settings.kafka))
        for connection in settings.connections.values():
            if connection.adapter.source_type is not None or connection.pull is not None:
                probes.append(self._source(connection))
            if connection.pull is not None:
                probes.append(self._shop(connection))
            elif connection.adapter.target_type is not None and connection.gates:
                probes.append(self._target(connection))
        probes += [
            self._notifier(connection)
            for connection in settings.connections.values()
            if connection.adapter.notifier_type is not None
        ]
        return probes

    async def _data_dir(self) -> Checked:
        place, folder = "data_dir", Path(self._settings.data_dir)
        existing = _nearest(folder)
        try:
            with tempfile.TemporaryFile(dir=existing) as file:
                # An empty file has a place on a full disk, too.
                await asyncio.to_thread(file.write, bytes(_TRIED_BYTES))
                await asyncio.to_thread(file.flush)
            free_bytes = shutil.disk_usage(existing).free
        except OSError as error:
            return _problem(
                place,
                _because(error, f"{existing} 不可写", f"{existing} cannot be written"),
                Text(
                    "腾出空间，换一个目录，或给运行用户写权限",
                    "make room, choose another folder, or let the user who runs it write there",
                ),
            )
        return room(folder, free_bytes=free_bytes, embedded=self._settings.database.embedded)

    async def _database(self) -> Checked:
        try:
            return await self._database_itself()
        finally:
            if not self._stored.done():
                self._stored.set_result({})

    async def _database_itself(self) -> Checked:
        settings = self._settings
        if not settings.database.embedded:
            return await self._postgres(settings.database.url)
        folder = Path(settings.data_dir) / "postgres"
        try:
            from gateway.embedded.postgres import EmbeddedPostgres
        except ImportError as error:
            return _problem(
                "database.url",
                Text(f"内置数据库未安装（缺 {error.name}）", f"the embedded database is not installed ({error.name})"),
                _same("pip install 'ordergate[embedded]'"),
            )
        try:
            (folder / "data").stat()  # `exists` says no where one may not look, from Python 3.14 on
        except FileNotFoundError:
            return _note("database", Text("内置数据库将在首次启动时创建", "embedded: made at the first start"))
        except OSError as error:
            return _problem(
                "database",
                _because(error, f"无法查看 {folder}", f"{folder} cannot be looked at"),
                Text("用运行网关的用户执行", "run this as the user who runs the gateway"),
            )
        try:
            async with EmbeddedPostgres(folder) as server:
                return await self._postgres(server.url)
        except OrdergateError as error:
            what = Text(error.text.zh.replace("\n", " "), error.text.en.replace("\n", " "))
            return _problem("database", what, Text("查看该目录下的 log/server.log", "see log/server.log there"))

    async def _postgres(self, url: str) -> Checked:
        try:
            async with asyncio.timeout(_WITHIN_S):
                connection = await asyncpg.connect(url, timeout=_WITHIN_S)
                try:
                    return await self._inside(connection)
                finally:
                    await connection.close(timeout=2.0)
        except (*AWAY, asyncpg.PostgresError, ValueError) as error:
            return _problem(
                "database.url",
                _because(error, "数据库无法连接", "the database cannot be reached"),
                Text("检查地址、用户、密码和防火墙", "check address, user, password and firewall"),
            )

    async def _inside(self, connection: Any) -> Checked:
        """A database that has let us in."""
        return _together(
            [
                await self._server(connection),
                await self._left_behind(connection),
                await self._connections(connection),
                await self._schema(connection),
                await self._clock(connection),
            ]
        )

    async def _server(self, connection: Any) -> Checked:
        """Whether it is one that orders can be left to."""
        problems = []
        version = connection.get_server_version()
        if version.major < MIN_POSTGRES:
            what = Text(f"PostgreSQL {version.major} 太旧", f"PostgreSQL {version.major} is too old")
            problems.append(Problem("database", what, _same(f"PostgreSQL {MIN_POSTGRES}+")))
        encoding = await connection.fetchval("SHOW server_encoding")
        if encoding != "UTF8":
            what = Text(f"数据库编码是 {encoding}", f"the database's encoding is {encoding}")
            problems.append(Problem("database", what, _same("CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0")))
        for name in ("fsync", "full_page_writes"):
            if await connection.fetchval(f"SHOW {name}") != "on":
                what = Text(f"{name} 已关闭：断电会丢订单", f"{name} is off: a power cut loses orders")
                problems.append(Problem("database", what, _same(f"ALTER SYSTEM SET {name} = on")))
        if await connection.fetchval("SHOW transaction_read_only") == "on":
            what = Text("数据库只读：是备库，或被设为只读", "the database is read-only: a standby, or set to be so")
            advice = Text("在 database.url 写主库的地址", "name the primary in database.url")
            problems.append(Problem("database", what, advice))
        return Checked(tuple(problems))

    async def _left_behind(self, connection: Any) -> Checked:
        """Whether orders stay in the bundled database while this one begins with none."""
        folder = Path(self._settings.data_dir) / "postgres"
        with suppress(OSError):
            (folder / "data").stat()
            if not self._settings.database.embedded and await is_new(connection):
                what = Text(
                    f"是新库，而 {folder} 里还有自带的数据库：其中的订单这里不认得，店铺再次推送或被重读就会再下发一次",
                    f"is new, and the bundled database is still in {folder}: its orders are not known here, and those"
                    " that a shop tells again, or that are read again, would be sent a second time",
                )
                how = Text(
                    "先把它搬过来（docs/operations.md，备份、恢复）；只是试用过就把该目录移走",
                    "move it here first (docs/operations.md, Back up, Restore); where it was only tried, move the"
                    " folder away",
                )
                return Checked(warnings=(Problem("database.url", what, how),))
        return Checked()

    async def _schema(self, connection: Any) -> Checked:
        """Whether its tables are of this release or can be made so, and then what stands in them."""
        problems = []
        pending = await pending_migrations(connection)
        if later := await later_migrations(connection):
            what = Text(
                f"数据库属于更新的版本（{', '.join(later)}）",
                f"the database is of a later release ({', '.join(later)})",
            )
            problems.append(Problem("database", what, Text("升级程序，或恢复备份", "upgrade, or restore a backup")))
        elif pending and not await connection.fetchval("SELECT has_schema_privilege(current_schema(), 'CREATE')"):
            what = Text("当前用户不能建表", "this user may not create tables")
            problems.append(Problem("database", what, _same("GRANT CREATE ON SCHEMA public TO …")))
        elif pending and await of_another(connection):
            what = Text(
                "表属于别的数据库用户，当前用户不能升级", "the tables are another user's: this one cannot migrate"
            )
            advice = Text("用表的所有者运行 ordergate migrate", "run `ordergate migrate` as the owner of the tables")
            problems.append(Problem("database", what, advice))
        stands = [] if pending else [await self._rights(connection)]
        readable = not (stands[0].problems if stands else problems)
        if stands and readable:
            stands += [
                await self._keys(connection),
                await self._stranded(connection),
                await self._prefixes(connection),
                await self._adapters(connection),
            ]
        if readable and await is_restored(connection):
            stands.append(_problem("database", RESTORED, RUN_RESTORED))
        state = (
            Text(f"待升级：{', '.join(pending)}（启动时自动执行）", f"to migrate: {', '.join(pending)} (done at start)")
            if pending
            else Text("结构最新", "schema up to date")
        )
        version = connection.get_server_version()
        ours = f"PostgreSQL {version.major}.{version.micro}"  # as asyncpg names the second part, since 10
        note = _note("database", Text(f"{ours}，{state.zh}", f"{ours}, {state.en}"))
        return _together([Checked(tuple(problems)), *stands, note])

    async def _rights(self, connection: Any) -> Checked:
        """Whether this user may read and write the tables: their owner may have migrated, and granted nothing since."""
        lacking = [row[0] for row in await connection.fetch(_LACKING, created())]
        if not lacking:
            return Checked()
        listed = ", ".join(lacking)
        what = Text(f"当前用户不能读写：{listed}", f"this user may not read and write {listed}")
        grant = (
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO …;"
            " GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO …"
        )
        return _problem("database", what, _same(grant))

    async def _keys(self, connection: Any) -> Checked:
        """Whether what is sealed can be opened, here and by the workers that run; then which tokens shops have."""
        vault = vault_of(self._settings.encryption.decoded)
        if missing := await missing_keys(connection, vault):
            listed = ", ".join(missing)
            what = Text(f"缺少密钥 {listed}：数据库里有用它加密的行", f"lacks key {listed}, which has sealed rows")
            return _problem("encryption.keys", what, Text("把它放回，放在最后", "put it back, as the last one"))
        problems = []
        if vault is not None:
            if blind := await blind_workers(connection, vault):
                problems.append(Problem("encryption.keys", cannot_follow(blind, vault)))
            await vault.attend(connection)
        self._stored.set_result(await _stored_credentials(connection))
        return Checked(tuple(problems))

    async def _stranded(self, connection: Any) -> Checked:
        """Warns of what nobody will send."""
        warnings = []
        gates = {(str(c.name), str(operation)) for c in self._settings.connections.values() for operation in c.gates}
        for target, count in (await lanes_without_gate(connection, gates)).items():
            what = Text(
                f"{count} 条未完成的下发是给它的，但它不在配置里（或不再接收这类操作），没有人会发送",
                f"{count} open deliveries are to it, and it is not configured (or not for that operation any more):"
                " nobody sends them",
            )
            warnings.append(Problem(f"connections.{target}", what, _UNSENT))
        renamed = await renamed_shops(connection, self._settings.shop_prefixes, self._settings.adapters)
        for shop, count in (await orders_of_none(connection, [*self._settings.connections, *renamed])).items():
            what = Text(
                f"它有 {count} 单在仓库里，但它不在配置里：发货后没有人会回传给店铺",
                f"{count} of its orders are in a warehouse, and it is not configured: nobody will tell the shop that"
                " they are shipped",
            )
            warnings.append(Problem(f"connections.{shop}", what, _UNTOLD))
        for target, count in (await orders_at_none(connection, self._settings.connections)).items():
            what = Text(
                f"{count} 单在它那里还没发货，但它不在配置里（或改了名）：它确认发货时没有人收，换个名字收到的不算数",
                f"it has {count} orders that are not shipped, and it is not configured (or has another name now):"
                " nobody takes its confirmations, and those that come under another name do not count",
            )
            warnings.append(Problem(f"connections.{target}", what, _UNCONFIRMED))
        since = self._settings.with_starts(await kept_start_at(connection, renamed)).live_since
        for shop, count in (await watched_since(connection, since)).items():
            placed = since[shop] is not None
            what = Text(
                f"{'start_at 之后下的' if placed else '有'} {count} 单，收到时还在观察，或 start_at 写得更晚：只登记，"
                "网关不会下发",
                f"{count} orders{' placed since start_at' if placed else ''} came in while it was observed, or while"
                " start_at was later: they are only known, and the gateway does not deliver them",
            )
            how = Text(
                "先查旧系统发过哪些（ordergate orders list --reason observed、--reason before_start），其余由它发出；"
                "店铺显示已发货后不再提示",
                "see which of them the old system has delivered (ordergate orders list --reason observed, and --reason"
                " before_start), and have it deliver the rest; those that the shop shows as shipped are not counted",
            )
            warnings.append(Problem(f"connections.{shop}.start_at", what, how))
        return Checked(warnings=tuple(warnings))

    async def _prefixes(self, connection: Any) -> Checked:
        """Whether order numbers are still what they were, and no other shop's."""
        problems, warnings = list[Problem](), list[Problem]()
        live = self._settings.prefixes(Mode.LIVE)
        for one in await changed_prefixes(connection, live, self._settings.switched_over):
            problems.append(Problem(f"connections.{one.name}.prefix", one.what, one.advice))
        for taken in await taken_prefixes(connection, self._settings.shop_prefixes):
            said = Problem(f"connections.{taken.name}.prefix", taken.what, taken.advice)
            (warnings if taken.gone else problems).append(said)
        return Checked(tuple(problems), warnings=tuple(warnings))

    async def _adapters(self, connection: Any) -> Checked:
        """Whether what has a name is still reached as it was; then which instants are kept that the file leaves out."""
        now = self._settings.adapters
        warnings = []
        for name, before in (await other_adapters(connection, now)).items():
            what = Text(
                f"原来是 {before}，现在是 {now[name]}：未完成的下发和取消会发给另一个系统，原系统已有的单可能再发一份",
                f"was {before} and is {now[name]}: what is open to it, cancels too, goes to another system, and what"
                " the one before has may be sent a second time",
            )
            warnings.append(Problem(f"connections.{name}.adapter", what, _ANOTHER_NAME))
        notes = []
        renamed = await renamed_shops(connection, self._settings.shop_prefixes, self._settings.adapters)
        with_kept = self._settings.with_starts(await kept_start_at(connection, renamed))
        for name, start_at in with_kept.switched_over.items():
            if name not in self._settings.switched_over:
                kept = start_at.isoformat()
                what = Text(
                    f"没有写，沿用上次的 {kept}；要更早就写出来",
                    f"is left out, {kept} still counts; an earlier one has to be written",
                )
                notes.append(Note(f"connections.{name}.start_at", what))
        return Checked(notes=tuple(notes), warnings=tuple(warnings))

    async def _clock(self, connection: Any) -> Checked:
        read, elsewhere = await read_clock(connection)
        if read is None:
            return _note("clock", Text("数据库应答太慢，未比对时钟", "the database is too slow to compare"))
        if elsewhere:
            self._readings[DATABASE] = read
        skew_s = -skew(read, now_s=time.time(), monotonic_s=time.monotonic()).ahead_s
        if abs(skew_s) > MAX_SKEW_S:
            what = Text(f"数据库时钟相差 {skew_s:+.1f} 秒", f"the database's clock is {skew_s:+.1f} s off ours")
            return _problem("clock", what, Text("在两台机器上启用 NTP", "run NTP on both machines"))
        return _note("clock", Text(f"与数据库相差 {skew_s:+.2f} 秒", f"{skew_s:+.2f} s off the database's"))

    async def _connections(self, connection: Any) -> Checked:
        """How many a worker may need, and how many the database has for workers."""
        needed = database_connections(self._settings)
        most, others = await connection.fetchrow(_CONNECTIONS)
        left = max(0, most - others)
        what = Text(
            f"一个工作进程最多用 {needed} 个连接；数据库允许 {most} 个，其他程序占用 {others} 个",
            f"a worker takes up to {needed} connections; the database allows {most}, others hold {others}",
        )
        if needed <= left:
            workers = left // needed
            fits = Text(f"够 {workers} 个工作进程", f"enough for {workers} worker{'s' if workers > 1 else ''}")
            return _note("database", Text(f"{what.zh}：{fits.zh}", f"{what.en}: {fits.en}"))
        advice = Text(
            "调低 database.pool_size，或调高 max_connections（或该用户、该库的连接上限）",
            "lower database.pool_size, or raise max_connections (or the limit of this user or database)",
        )
        problem = Problem("database.pool_size", what, advice)
        return Checked((problem,)) if needed > most else Checked(warnings=(problem,))

    def clocks(self) -> Checked:
        """How far our clock is from those that were asked, and whose is off. Call it when all have been."""
        problems, notes = [], []
        now_s, monotonic_s = time.time(), time.monotonic()
        skews = {
            name: skew(read, now_s=now_s, monotonic_s=monotonic_s) for name, read in sorted(self._readings.items())
        }
        verdict = judge(skews, ())
        for name, one in skews.items():
            if name == DATABASE:
                continue  # said by whoever asked it
            by = f"{abs(one.ahead_s):.1f}"
            what = Text(
                f"本机比 {name} {'快' if one.ahead_s > 0 else '慢'} {by} 秒（±{one.give_s:.1f}）",
                f"our clock is {by} s (±{one.give_s:.1f}) {'ahead of' if one.ahead_s > 0 else 'behind'} that of {name}",
            )
            if name not in verdict.apart:
                notes.append(Note("clock", what))
                continue
            ours = verdict.off.get(OURS)
            whose, off = (name, verdict.off[name]) if ours is None else (f"@{socket.gethostname()}", ours)
            zh, advice_zh = clock_facts(whose, off, lambda zh, _: zh)
            en, advice_en = clock_facts(whose, off, lambda _, en: en)
            problems.append(Problem("clock", Text(f"{what.zh}。{zh}", f"{what.en}. {en}"), Text(advice_zh, advice_en)))
        return Checked(tuple(problems), tuple(notes))

    async def _kafka(self, kafka: Kafka) -> Checked:
        with _quiet("aiokafka"):  # what it logs of a broker that is away is said here, once and readably
            met = await meet(kafka, within_s=_WITHIN_S)
        problems, notes = list(met.problems), list[Note]()
        if met.topic == UnknownTopicOrPartitionError.errno:
            create = (
                f"kafka-topics.sh --bootstrap-server {kafka.bootstrap.split(',')[0]} --create --topic {kafka.topic}"
                " --partitions 12 --replication-factor 3 --config min.insync.replicas=2"
                " --config max.message.bytes=2097152"
            )
            what = Text(f"没有主题 {kafka.topic}", f"there is no topic {kafka.topic}")
            problems.append(Problem("kafka.topic", what, _same(create)))
        elif met.topic == TopicAuthorizationFailedError.errno:
            what = Text(f"无权使用主题 {kafka.topic}", f"we may not use the topic {kafka.topic}")
            problems.append(Problem("kafka.topic", what, _ALLOW))
        problems += [_denied(right, kafka) for right in Right if right in met.denied]
        if met.topic is not None and not problems:
            notes.append(Note("kafka", Text(f"主题 {kafka.topic} 可用", f"topic {kafka.topic} is there")))
        return Checked(tuple(problems), tuple(notes), (*risks(kafka.security), *met.warnings))

    async def _port(self, place: str, bind: tuple[str, int]) -> Checked:
        host, port = bind
        if port == 0:
            return Checked()
        try:
            listening(bind).close()
        except OSError as error:
            if await asyncio.to_thread(_is_ordergate, host, port):
                return _note(place, Text(f"{host}:{port} 上网关正在运行", f"a gateway runs on {host}:{port}"))
            return _problem(
                place,
                _because(error, f"{host}:{port} 无法监听", f"{host}:{port} cannot be listened on"),
                Text("换一个端口，或停掉占用它的程序", "choose another port, or stop what uses it"),
            )
        return _note(place, Text(f"{host}:{port} 空闲", f"{host}:{port} is free"))

    async def _shop(self, connection: Connection) -> Checked:
        """A polled shop: whether it is authorised, and whether its platform agrees."""
        place = f"connections.{connection.name}"
        seed: Token = connection.settings.token
        stored = (await self._stored).get(connection.name)
        # As a worker will: the database's token wins unless the configuration says another.
        newer = stored is not None and not (
            seed.access
            and supersedes(seed_of(seed), present=stored.seed, planted=stored.planted, works=stored.refused is None)
        )
        token = stored.token if newer and stored is not None else seed
        if not token.access:
            what = Text("店铺尚未授权：没有 token", "the shop is not authorised: there is no token")
            give = f"settings.access_token: ${{…}}  |  ordergate connections authorise {connection.name}"
            return _problem(place, what, _same(give))
        if newer and stored is not None and stored.refused is not None:
            what = Text(f"平台拒绝了授权：{stored.refused}", f"its platform refuses our token: {stored.refused}")
            return _problem(place, what, _same(f"ordergate connections authorise {connection.name}"))
        if connection.adapter.target_type is None:
            return _note(place, Text("已授权（未连通平台）", "has a token (its platform was not asked)"))
        return await self._target(connection, token)

    async def _source(self, connection: Connection) -> Checked:
        """Whether the way in can be built, as a worker does before it takes anything."""
        adapter, setup = connection.adapter, setup_of(connection, self._settings)
        try:
            if adapter.source_type is not None:
                built(connection, adapter.source_type, setup)
            if connection.pull is not None:
                async with Http(connections=1) as http:
                    access = Access(
                        http, ConnectionBudget(None, clock=time.monotonic), lambda: connection.settings.token
                    )
                    built(connection, adapter.pull_type, setup, access)
                    if adapter.authoriser_type is not None:
                        built(connection, adapter.authoriser_type, setup, access)
        except OrdergateError as error:
            return _problem(f"connections.{connection.name}", error.text, NOTHING)
        return Checked()

    async def _target(self, connection: Connection, token: Token | None = None) -> Checked:
        """`token`: what the adapter of a polled shop uses."""
        place = f"connections.{connection.name}"
        kind: Any = connection.adapter.target_type
        try:
            async with asyncio.timeout(_WITHIN_S), self._asking(connection) as http:
                unlimited = ConnectionBudget(None, clock=time.monotonic)
                given = http if token is None else Access(http, unlimited, lambda: token)
                target = built(connection, kind, setup_of(connection, self._settings), given)
                await target.check(deadline_s=_WITHIN_S - 2)
        except BaseException as error:  # an adapter may raise anything; it is all a problem
            if is_a_stop(error):
                raise
            known = isinstance(error, NotSent | NoAnswer | OrdergateError | TimeoutError | OSError)
            unknown = None if known else _same(f"{type(error).__name__}: {_line(str(error))}")
            advice = Text("检查 settings 里的地址和密钥", "check the address and keys in its settings")
            if token is not None:
                renew = f"ordergate connections authorise {connection.name}"
                advice = Text(f"{advice.zh}；令牌失效则执行 {renew}", f"{advice.en}; for a new token: {renew}")
            what = _because(error, "目标系统没有正常应答", "the target does not answer as it should", reason=unknown)
            return _problem(place, what, advice)
        return _note(place, Text("目标系统可用", "the target answers"))

    @asynccontextmanager
    async def _asking(self, connection: Connection) -> AsyncIterator[Http]:
        """Whatever comes of the question: who has answered has said its clock."""
        async with Http(connections=1) as http:
            try:
                yield http
            finally:
                if http.reading is not None:
                    self._readings[connection.name] = http.reading

    async def _notifier(self, connection: Connection) -> Checked:
        """Reach a medium without telling anybody anything."""
        place = f"connections.{connection.name}"
        try:
            async with asyncio.timeout(_WITHIN_S), self._asking(connection) as http:
                await notifier_of(self._settings, connection.name, http).check(deadline_s=_WITHIN_S - 2)
        except BaseException as error:  # an adapter may raise anything; it is all a problem
            if is_a_stop(error):
                raise
            known = isinstance(error, NotSent | NoAnswer | OrdergateError | TimeoutError | OSError)
            unknown = None if known else _same(type(error).__name__)
            return _problem(
                place,
                _because(error, "通知渠道不可用", "nobody can be told through it", reason=unknown),
                Text("检查 settings 里的地址和密钥", "check the address and keys in its settings"),
            )
        if connection.name not in self._settings.notices.channels:
            what = Text("通知渠道可用，但不在 notices.channels 里", "it answers, but is not in notices.channels")
            return _note(place, what)
        return _note(
            place,
            Text(
                f"通知渠道可用（发测试消息：ordergate notices test {connection.name}）",
                f"it answers (a message to try it: ordergate notices test {connection.name})",
            ),
        )


_UNTOLD = Text(
    "用原来的名字加回这个连接，至少到这些订单结束；其间已发货的，重新判断后就会回传"
    "（ordergate orders reconsider-many）",
    "put the connection back under the name that it had, at least until those orders are over; what was shipped"
    " meanwhile is told once it is decided again (ordergate orders reconsider-many)",
)
_UNCONFIRMED = Text(
    "用原来的名字加回这个连接，让它的确认仍推送到 /hooks/<原来的名字>，至少到这些订单都发货",
    "put the connection back under the name that it had, and have it confirm to /hooks/<that name>, at least until"
    " those orders are shipped",
)
_ANOTHER_NAME = Text(
    "另一个系统用另一个连接名，原来的留到它的单都发货为止（docs/operations.md，改动连接）",
    "another system gets a connection of its own; keep the one before until its orders are shipped"
    " (docs/operations.md, Changing connections)",
)
_UNSENT = Text(
    "加回这个连接；或核实后逐个标记已处理（ordergate deliveries list --target …，deliveries resolve）",
    "put the connection back; or see what became of them and resolve each (ordergate deliveries list --target …,"
    " deliveries resolve)",
)


async def _stored_credentials(connection: Any) -> dict[str, Credential]:
    rows = await connection.fetch("SELECT connection_id, name FROM connection")
    stored = await read_credentials(connection, [row[0] for row in rows])
    return {row[1]: stored[row[0]] for row in rows if row[0] in stored}


_ALLOW = Text("授予读写该主题、使用该消费组的权限", "allow us to read and write it, and to use the group")


def _denied(right: Right, kafka: Kafka) -> Problem:
    """What does not work without `right`, and the line that grants it."""
    who = kafka.security.username or "…"
    grant = (
        f"kafka-acls.sh --bootstrap-server {kafka.bootstrap.split(',')[0]} --add --allow-principal 'User:{who}'"
        f" --operation {'Write' if right is Right.WRITE else 'Read'}"
    )
    if right is Right.GROUP:
        what = Text(
            f"无权使用消费组 {kafka.group}：Kafka 中的事件无法读取",
            f"we may not use the group {kafka.group}: nothing on Kafka is read",
        )
        return Problem("kafka.group", what, _same(f"{grant} --group {kafka.group}"))
    if right is Right.READ:
        what = Text(
            f"无权读取主题 {kafka.topic}：Kafka 中的事件无法读取",
            f"we may not read the topic {kafka.topic}: nothing on Kafka is read",
        )
    else:
        what = Text(
            f"无权写入主题 {kafka.topic}：新事件都改走收件箱",
            f"we may not write to the topic {kafka.topic}: all that comes goes to the inbox",
        )
    return Problem("kafka.topic", what, _same(f"{grant} --topic {kafka.topic}"))


def _together(parts: Sequence[Checked]) -> Checked:
    return Checked(
        tuple(problem for part in parts for problem in part.problems),
        tuple(note for part in parts for note in part.notes),
        tuple(warning for part in parts for warning in part.warnings),
    )


def _problem(where: str, what: Text, proposal: Text) -> Checked:
    return Checked((Problem(where, what, proposal),))


def _note(where: str, what: Text) -> Checked:
    return Checked(notes=(Note(where, what),))


def _same(text: str) -> Text:
    """A command or a line of the configuration."""
    return Text(text, text)


def _because(error: BaseException, zh: str, en: str, *, reason: Text | None = None) -> Text:
    why = reason or _reason(error)
    return Text(f"{zh}：{why.zh}", f"{en}: {why.en}")


def _reason(error: BaseException) -> Text:
    """Why something failed, on one line: in our words where there are some, else in those of the other side."""
    said = " ".join(str(error).split())[:300] or type(error).__name__
    match error:
        case TimeoutError() if not str(error):
            return Text(f"{_WITHIN_S:g} 秒内没有应答", f"no answer within {_WITHIN_S:g} s")
        case NotSent() | NoAnswer() | OrdergateError():
            return Text(_line(error.text.zh), _line(error.text.en))
        case asyncpg.PostgresError() | OSError():
            return reason_of(error)
    return _same(said)


def _line(text: str) -> str:
    return " ".join(text.split())[:300]


def _is_ordergate(host: str, port: int) -> bool:
    host = "127.0.0.1" if host in ("0.0.0.0", "") else f"[{host}]" if ":" in host else host
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{host}:{port}/healthz", timeout=2.0) as response:
            body = msgspec.json.decode(response.read(10_000))
    except (OSError, msgspec.DecodeError, ValueError):
        return False
    return isinstance(body, dict) and (body.get("product") == "ordergate" or "wanted" in body)


def as_json(checked: Checked, language: str) -> dict[str, Any]:
    return {
        "ok": not checked.problems,
        "problems": [problem.said(language) for problem in checked.problems],
        "warnings": [warning.said(language) for warning in checked.warnings],
        "notes": [{"where": note.where, "what": note.what.of(language)} for note in checked.notes],
    }


def rows(problems: Sequence[Problem], language: str) -> list[tuple[str, str, str]]:
    return [(said.where, said.what, said.proposal) for said in (problem.said(language) for problem in problems)]


def of_settings(problems: Sequence[Problem]) -> Checked:
    """Problems of the file itself, each with something to do about it."""
    proposal = Text("对照示例配置和适配器说明", "compare with the example configuration and the adapter's page")
    return Checked(tuple(p if p.proposal else msgspec.structs.replace(p, proposal=proposal) for p in problems))


@contextmanager
def _quiet(library: str) -> Iterator[None]:
    """It logs nothing that one can survive."""
    logger = logging.getLogger(library)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
