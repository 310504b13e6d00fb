"""The commands that use the configuration and the database directly: on the machine where the gateway runs, or may run.

And those for integrators, which need neither: signing and verifying webhooks.
"""

from __future__ import annotations

import asyncio
import base64
import os
import secrets as randomness
import shlex
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from gateway.core import words
from gateway.core.errors import BadSetting, BadSignature, OrdergateError, SettingsError
from gateway.core.event import ConnectionName
from gateway.core.keys import KEY_BYTES
from gateway.core.text import NOTHING, Text
from gateway.plugins import discover
from gateway.remote.answer import example
from gateway.schema import suggest
from gateway.sdk.signing import NO_MATCH, PREFIX, decode_secret, sign, verify
from gateway.settings import Mode, Settings, load
from gateway.terminal import ZH, AsJson, Lang, Language, Terminal, content_of

T = TypeVar("T")

DEFAULT_CONFIG = Path("ordergate.yaml")
ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", help="配置文件。Configuration file", envvar="ORDERGATE_CONFIG")
]

_READ_AGAIN = timedelta(days=1)
"""Before the newest event of a backup: what was taken earlier and not yet decided then is within it."""

token = typer.Typer(no_args_is_help=True, help="管理令牌。The administrator's token.")
keys = typer.Typer(no_args_is_help=True, help="静态数据加密的密钥。Keys that buyer data is sealed with.")
webhook = typer.Typer(no_args_is_help=True, help="给对接方：签名与验签。For integrators: sign and verify.")


def read_settings(config: Path) -> Settings:
    """The configuration, whole. Raises SettingsError with every problem."""
    return load(config, os.environ, discover())


def check(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False, lang: Lang = ZH) -> None:
    """检查配置，并连通每个依赖；一次列出全部问题。Check the configuration and reach what it needs; exit code 2."""
    from gateway.check import as_json as json_of
    from gateway.check import of_settings, reach, rows

    terminal = Terminal(language=lang, as_json=as_json)
    try:
        settings = read_settings(config)
    except SettingsError as error:
        checked = of_settings(error.problems)
    else:
        checked = asyncio.run(reach(settings))
    if as_json:
        terminal.json(json_of(checked, lang))
    else:
        if checked.notes:
            terminal.table([("正常", "Good"), ("", "")], [(note.where, note.what.of(lang)) for note in checked.notes])
        if checked.warnings:
            terminal.plain("")
            terminal.table([("位置", "Where"), ("注意", "Mind"), ("建议", "What to do")], rows(checked.warnings, lang))
        if checked.problems:
            columns = [("位置", "Where"), ("问题", "Problem"), ("建议", "What to do")]
            terminal.plain("")
            terminal.table(columns, rows(checked.problems, lang))
            count = len(checked.problems)
            terminal.line(f"{count} 个问题", f"{count} problem(s)")
        else:
            terminal.line("没有问题", "no problems")
    raise typer.Exit(2 if checked.problems else 0)


def migrate(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False, lang: Lang = ZH) -> None:
    """升级数据库结构（run 启动时也会执行）。Bring the database up to this release; `run` does it too."""
    from gateway.store.sql import migrate as bring_up

    applied = _in_database(config, bring_up, as_it_is=True)
    terminal = Terminal(language=lang, as_json=as_json)
    if as_json:
        terminal.json({"applied": applied})
    elif applied:
        terminal.line(f"已执行：{', '.join(applied)}", f"applied: {', '.join(applied)}")
    else:
        terminal.line("已是最新", "up to date")


def adapters(as_json: AsJson = False, lang: Lang = ZH) -> None:
    """已安装的适配器。Adapters of this installation."""
    registry = discover()
    terminal = Terminal(language=lang, as_json=as_json)
    if as_json:
        problems = [problem.said(lang) for problem in registry.problems]
        terminal.json({"adapters": registry.manifests, "problems": problems})
        return
    terminal.table(
        [("名称", "Name"), ("标题", "Title"), ("收", "In"), ("发", "Out")],
        [
            (
                name,
                manifest.title.get(str(lang), name),
                manifest.source is not None,
                terminal.choose("、", ", ").join(
                    [terminal.choose("通知", "notices")]
                    if manifest.notifier is not None
                    else [terminal.say(words.OPERATIONS[operation]) for operation in manifest.operations]
                ),
            )
            for name, manifest in registry.manifests.items()
        ],
    )
    for problem in registry.problems:
        terminal.plain(str(problem.said(lang)))


def reference(
    as_schema: Annotated[
        bool,
        typer.Option("--schema", "--json", help="输出 JSON Schema，供编辑器和程序使用。JSON Schema, for editors"),
    ] = False,
    lang: Lang = Language.EN,
) -> None:
    """配置项全表（含各适配器）。Every setting, those of the adapters too, as Markdown."""
    from gateway import settings

    made = msgspec.json.format(msgspec.json.encode(settings.schema())).decode() if as_schema else all_settings(lang)
    sys.stdout.write(made.rstrip() + "\n")


def all_settings(language: str) -> str:
    """Markdown of everything that can be set, as `docs/configuration.md` and its Chinese page have it."""
    from gateway import settings

    registry = discover()
    text = _REFERENCE_HEAD.of(language) + settings.reference(language)
    for name, manifest in registry.manifests.items():
        zh, en = manifest.title.get("zh", name), manifest.title.get("en", name)
        title = Text(f"{zh} · {en}：其连接的 `settings`", f"{en} · {zh}: `settings` of its connections")
        text += settings.section(
            registry.load(name).settings_type, f"{Text('适配器', 'adapter').of(language)} {name}", title, "##", language
        )
    return text


_REFERENCE_HEAD = Text(
    "# 配置\n\n一个 YAML 文件。本页由 `ordergate reference --lang zh` 生成，带注释的示例见\n"
    "[configuration.example.yaml](configuration.example.yaml)；`ordergate check` 指出配置里的每个错误。\n"
    "`${NAME}` 取自环境变量，`file:/path` 从文件读取，各节的任何键都可以用 `ORDERGATE_<SECTION>_<KEY>` 设置。\n\n",
    "# Configuration\n\nOne YAML file; made by `ordergate reference`. An example with comments is\n"
    "[configuration.example.yaml](configuration.example.yaml), `ordergate check` tells what is wrong with yours.\n"
    "`${NAME}` comes from the environment, `file:/path` is read from a file, any key of a section can be set as\n"
    "`ORDERGATE_<SECTION>_<KEY>`.\n\n",
)


def restored(
    config: ConfigFile = DEFAULT_CONFIG,
    since: Annotated[
        str,
        typer.Option(
            help="从此时刻重读 Kafka，例如 2026-05-01T09:30:00+08:00；默认为备份中最新事件前一天。"
            "Read Kafka again from then; else from a day before the newest event of the backup"
        ),
    ] = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """从备份恢复后、启动前运行。After a restore, before the start: read again what came since, ask before sending."""
    from gateway.brokers import rewind
    from gateway.store.outbox import doubt_everything, newest_event
    from gateway.store.prefixes import changed_prefixes, note_restored
    from gateway.store.sql import migrate as bring_up

    settings = read_settings(config)
    given = _instant(since)

    async def doubt(pool: Any) -> tuple[int, datetime | None, int]:
        await bring_up(pool)
        live = settings.prefixes(Mode.LIVE)
        alive = await pool.fetch("SELECT name FROM worker WHERE renewed_at + make_interval(secs => lease_s) > now()")
        if alive:
            names = ", ".join(row[0] for row in alive)
            raise OrdergateError(f"网关正在运行，请先停止 / the gateway runs, stop it first: {names}")
        start, again = given, 0
        if settings.kafka is not None:
            if start is None and (newest := await newest_event(pool)) is not None:
                start = newest - _READ_AGAIN
            # Before the rest: when Kafka is away nothing has been done, and all of it is repeated.
            again = await rewind(settings.kafka, start or datetime(2000, 1, 1, tzinfo=UTC))
        if await changed_prefixes(pool, live, {}):
            await note_restored(pool, live, await newest_event(pool))
        return await doubt_everything(pool), start, again

    lanes, start, again = _in_database(config, doubt, as_it_is=True)
    terminal = Terminal(language=lang, as_json=as_json)
    if as_json:
        terminal.json({"in_doubt": lanes, "since": start, "events_again": again})
        return
    terminal.line(
        f"{lanes} 条未完成的下发将先向对方查询", f"{lanes} open deliveries are looked up before they are sent again"
    )
    if settings.kafka is not None:
        terminal.line(
            f"Kafka 中 {again} 个事件将重读，其下发也先查询",
            f"{again} events are read again from Kafka; what they ask for is looked up, too",
        )


def database(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """运行内置 PostgreSQL，直到 Ctrl-C，供备份和恢复。The bundled PostgreSQL until Ctrl-C, to back up or restore.

    先打印一行 export，--json 时为一行 JSON。First it prints an export line; with --json the same as a line of JSON.
    """
    settings = read_settings(config)
    if not settings.database.embedded:
        raise OrdergateError(
            Text(
                "配置的是自己的数据库（database.url），不由 ordergate 启动",
                "the configuration has a database of your own (database.url); it is not ours to start",
            )
        )

    async def hold() -> None:
        from gateway.embedded.postgres import EmbeddedPostgres

        over = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, over.set)
        async with EmbeddedPostgres(Path(settings.data_dir) / "postgres") as server:
            if as_json:
                given = dict(pair.split("=", 1) for pair in server.environment)
                sys.stdout.write(msgspec.json.encode({"DATABASE_URL": server.url, **given}).decode() + "\n")
            else:
                sys.stdout.write(f"export DATABASE_URL={shlex.quote(server.url)} {shlex.join(server.environment)}\n")
            sys.stdout.flush()
            await over.wait()

    asyncio.run(hold())


def purge(
    config: ConfigFile = DEFAULT_CONFIG,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="只统计，不删除。Only count, remove nothing")] = False,
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """立即按保留期清除（网关每晚自动执行）。Remove by age what need not be kept; the gateway does it every night."""
    from gateway.parts import ages_of
    from gateway.store.purge import LOCK, begin_walk, count_due
    from gateway.store.sql import unlock
    from gateway.store.vault import vault_of
    from gateway.watch.purge import purge_all

    settings = read_settings(config)
    vault = vault_of(settings.encryption.decoded)
    rows: Counter[str] = Counter()
    unopened: list[str] = []

    def now() -> datetime:
        return datetime.now(UTC)

    async def work(pool: Any) -> None:
        async with pool.acquire() as connection:
            if vault is not None:
                await vault.attend(connection)
            if dry_run:
                rows.update(await count_due(connection, ages_of(settings, now())))
                return
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
                raise OrdergateError("网关正在清除 / the gateway is purging just now")
            try:
                await begin_walk(connection, now())
                await purge_all(
                    connection, ages=partial(ages_of, settings), now=now, told=rows.update, unopened=unopened.extend
                )
            finally:
                await unlock(connection, LOCK)

    _in_database(config, work)
    terminal = Terminal(language=lang, as_json=as_json)
    if as_json:
        terminal.json({"dry_run": dry_run, "rows": rows, "unopened": unopened})
    elif not rows:
        terminal.line("没有到期的内容", "nothing is old enough")
    else:
        what = ("将清除（行）", "Would go, rows") if dry_run else ("已清除（行）", "Gone, rows")
        buyers = terminal.choose("orders（仅买家信息）", "orders (their buyer only)")
        named = {buyers if table == "reduced" else table: count for table, count in rows.items()}
        terminal.table([("表", "Table"), what], sorted(named.items()))
    if unopened and not as_json:
        listed = ", ".join(unopened[:20])
        terminal.line(
            f"{len(unopened)} 张订单打不开（缺密钥），仍保留买家信息：{listed}",
            f"{len(unopened)} orders keep their buyer, as they cannot be opened (a key is missing): {listed}",
        )


def compare(
    shop: Annotated[str, typer.Argument(help="店铺连接名。Name of the shop's connection")],
    config: ConfigFile = DEFAULT_CONFIG,
    last: Annotated[int, typer.Option(min=1, max=100_000, help="最近多少单。How many of the newest")] = 200,
    channel_numbers: Annotated[
        bool,
        typer.Option(
            "--channel-numbers",
            help="用平台单号查（旧系统没有前缀）。Ask by the shop's own numbers, without our prefix",
        ),
    ] = False,
    per_s: Annotated[float, typer.Option("--rate", min=0.1, max=100, help="每秒查询数。Questions a second")] = 5.0,
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """切换前对比：观察到的订单，仓库都有吗？Before going live: does the warehouse have what the gateway has watched?"""
    from gateway.compare import compare as ask

    settings = read_settings(config)
    found = _in_database(
        config,
        lambda pool: ask(pool, settings, shop, last=last, channel_numbers=channel_numbers, per_s=per_s),
        opened=True,
    )
    terminal = Terminal(language=lang, as_json=as_json)
    if as_json:
        terminal.json(found)
        return
    terminal.table(
        [("观察到", "Watched"), ("仓库有", "There"), ("仓库没有", "Not there"), ("未答", "Not told")],
        [(found.orders, found.there, found.not_there, found.not_told)],
    )
    held = {terminal.say(words.reason(code)): count for code, count in found.held.items()}
    for zh, en, counts in (
        ("配置中已没有的目标，未询问：", "no connections any more, not asked: ", found.gone),
        ("本地打不开，未询问：", "cannot be read here, not asked: ", found.unread),
        ("对方未明确回答：", "not told: ", found.refusals),
        ("网关会因此拦下：", "the gateway would have held: ", held),
    ):
        if counts:
            listed = ", ".join(f"{name} {count}" for name, count in counts.items())
            terminal.line(zh + listed, en + listed)
    if found.missing:
        listed = " ".join(found.missing)
        terminal.line(f"仓库没有的（部分）：{listed}", f"not there, some of them: {listed}")


@token.command("replace", epilog=example("token replace -c ordergate.yaml"))
def token_replace(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False, lang: Lang = ZH) -> None:
    """作废旧令牌，生成新令牌（只显示一次）。Revoke every token and show a new one, this once."""
    from gateway.store.sql import migrate as bring_up
    from gateway.store.token import replace_token

    async def replace(pool: Any) -> str:
        await bring_up(pool)
        return await replace_token(pool)

    fresh = _in_database(config, replace)
    terminal = Terminal(language=lang, as_json=as_json)
    if as_json:
        terminal.json({"token": fresh})
    else:
        terminal.plain(fresh)


# --- keys

Again = Annotated[bool, typer.Option("--count", help="统计未用当前密钥的行（慢）。Count rows of other keys (slow)")]


@keys.command("new", epilog=example("keys new"))
def keys_new(as_json: AsJson = False) -> None:
    """生成一个密钥（请存放在配置之外）。Make a key; keep it outside of the configuration file."""
    made = base64.b64encode(randomness.token_bytes(KEY_BYTES)).decode()
    terminal = Terminal(language=ZH, as_json=as_json)
    if as_json:
        terminal.json({"key": made})
    else:
        terminal.plain(made)


@keys.command("status", epilog=example("keys status", "keys status --count"))
def keys_status(
    config: ConfigFile = DEFAULT_CONFIG, count: Again = False, as_json: AsJson = False, lang: Lang = ZH
) -> None:
    """数据库里用到的密钥。The keys that rows of the database are sealed with."""
    from gateway.store.reseal import keys_with_rows, left
    from gateway.store.vault import keys_in_use, vault_of

    vault = vault_of(read_settings(config).encryption.decoded)
    terminal = Terminal(language=lang, as_json=as_json)
    others = None
    if count:
        used = _in_database(config, lambda pool: keys_with_rows(pool, _needed(vault)))
        others = _in_database(config, lambda pool: left(pool, _needed(vault)))
    else:
        used = _in_database(config, lambda pool: keys_in_use(pool, vault))
    if as_json:
        terminal.json({"keys": used, "rows_of_other_keys": others})
        return
    terminal.table(
        [
            ("密钥", "Key"), ("首次使用", "First used"), ("当前", "Seals"), ("已配置", "Configured"),
            ("已丢失", "Lost"), *([("行数", "Rows")] if count else []),
        ],
        [
            (key.key_id, key.first_used_at, key.active, key.configured, key.lost_at, *([key.rows] if count else []))
            for key in used
        ],
    )  # fmt: skip
    if shut := sum(key.rows or 0 for key in used if not key.configured):
        terminal.line(
            f"{shut} 行打不开：其密钥不在配置中，请加回 encryption.keys 并重启网关",
            f"{shut} rows cannot be opened: their key is not configured. Put it back into encryption.keys, restart",
        )
    if others is not None:
        terminal.table([("列", "Column"), ("其他密钥或明文行数", "Rows of other keys, or plain")], list(others.items()))


@keys.command("reseal", epilog=example("keys reseal -c ordergate.yaml"))
def keys_reseal(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False, lang: Lang = ZH) -> None:
    """用当前密钥重新加密所有数据，网关可同时运行。Seal everything with the first key, while the gateway runs.

    打不开的行逐一列出（最多 20 行），退出码 1。What cannot be opened is named, twenty rows at most; exit code 1.
    """
    from gateway.store.reseal import reseal
    from gateway.store.vault import vault_of

    vault = _needed(vault_of(read_settings(config).encryption.decoded))
    terminal = Terminal(language=lang, as_json=as_json)

    def told(column: str, rows: int) -> None:
        if not as_json:
            terminal.plain(f"{column}: {rows}")

    done = _in_database(config, lambda pool: reseal(pool, vault, told=told))
    if as_json:
        terminal.json(done)
    else:
        _print_resealed(terminal, done)
    if done.unopened:
        raise typer.Exit(1)


@keys.command("lost", epilog=example("keys lost 9f86d081", 'keys lost 9f86d081 --yes -r "副本也没有了"'))
def keys_lost(
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="`keys status` 列出的密钥。As `keys status` lists it")],
    reason: Annotated[str, typer.Option("--reason", "-r", help="原因，会被记录。Why; needed with --yes")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="确认执行。Do it")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """密钥及其副本都没有了：不带它也能启动。Give up a key that is gone for good, so that the gateway starts without it.

    用它加密的订单、报文和店铺令牌从此打不开；新订单照常。以后找到了，加回 encryption.keys 即可。What it has sealed
    stays shut, new orders flow; found again, it is put back into encryption.keys.
    """
    from gateway.store.reseal import keys_with_rows
    from gateway.store.vault import lose_key, vault_of

    vault = _needed(vault_of(read_settings(config).encryption.decoded))
    terminal = Terminal(language=lang, as_json=as_json)
    if yes and not reason:
        raise OrdergateError(Text("执行需要 --reason，会被记录", "--yes needs --reason, which is kept"))
    _in_database(config, lambda pool: lose_key(pool, vault, key_id, reason=reason if yes else None))
    used = _in_database(config, lambda pool: keys_with_rows(pool, vault))
    rows = sum(key.rows or 0 for key in used if key.key_id == key_id)
    if as_json:
        terminal.json({"key_id": key_id, "lost": yes, "rows": rows})
    elif yes:
        terminal.line(
            f"完成：网关不再需要密钥 {key_id}，{rows} 行打不开",
            f"done: no gateway needs key {key_id} any more, {rows} rows stay shut",
        )
    else:
        terminal.line(
            f"将有 {rows} 行再也打不开：未完成的下发转人工（sealed），其订单的后续消息成为死信，店铺须重新授权。"
            "确认执行：加 --yes -r 原因",
            f"{rows} rows would stay shut: open deliveries of those orders wait for a person (sealed), what comes for"
            " them becomes dead letters, shops have to be authorised again. To do it: --yes -r REASON",
        )


def _print_resealed(terminal: Terminal, done: Any) -> None:
    total, shut = sum(done.changed.values()), sum(done.unopened.values())
    if not shut:
        terminal.line(f"完成，{total} 行已用当前密钥加密", f"done, {total} rows sealed with the first key")
    else:
        terminal.line(
            f"未完成：{total} 行已用当前密钥加密，{shut} 行打不开，保持原样",
            f"not done: {total} rows sealed with the first key; {shut} cannot be opened and stay as they are",
        )
        terminal.table([("列", "Column"), ("打不开的行", "Cannot be opened")], list(done.unopened.items()))
        terminal.table(
            [("列", "Column"), ("行", "Row"), ("密钥", "Key"), ("原因", "Why")],
            [(one.column, one.row, one.key_id, terminal.say(one.why)) for one in done.rows],
        )
        if shut > len(done.rows):
            terminal.line(f"只列出其中 {len(done.rows)} 行", f"{len(done.rows)} of them are listed")
        terminal.line(
            "缺密钥的：加回 encryption.keys，重启网关，再次运行。已损坏的：从备份恢复该行（店铺令牌：重新授权）；"
            "否则留到保留期满，由 ordergate purge 清除",
            "where the key is missing: put it back into encryption.keys, restart the gateway, run this again. What is"
            " damaged: restore the row from a backup (of a shop's token: authorise the shop anew); else it stays until"
            " `ordergate purge` removes it by age",
        )
    if done.needed:
        keys = ", ".join(done.needed)
        terminal.line(
            f"密钥 {keys} 仍在使用，不能从配置删除",
            f"key {keys} is still in use: it has to stay in the configuration",
        )


def _needed(vault: Any) -> Any:
    if vault is None:
        raise OrdergateError("配置中没有密钥 / there is no key in encryption.keys (`ordergate keys new` makes one)")
    return vault


# --- notices


def notices_test(
    channel: Annotated[str, typer.Argument(help="通知渠道（连接名）。A connection that tells people")],
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """向渠道发一条测试消息，并提醒 notices.people 中的所有人。Send a test message that mentions everybody."""
    from gateway.core.delivery import Done, Throttled
    from gateway.parts import notifier_of, telling_of
    from gateway.sdk.http import Http
    from gateway.sdk.notify import Message
    from gateway.watch.notices import attempt
    from gateway.watch.wording import when

    settings, terminal = read_settings(config), Terminal(language=lang, as_json=as_json)
    connection = settings.connections.get(ConnectionName(channel))
    if connection is None or connection.adapter.notifier_type is None:
        able = [str(c.name) for c in settings.connections.values() if c.adapter.notifier_type is not None]
        raise OrdergateError(
            f"{channel} 不是通知渠道 / tells nobody: "
            + (suggest(channel, able).both or "可用 / these do: " + (", ".join(able) or "-"))
        )
    told: list[dict[str, Any]] = []

    async def send() -> None:
        async with Http(connections=1) as http:
            notifier = notifier_of(settings, channel, http)
            for outlet in notifier.outlets:
                at = datetime.now(UTC)
                title = "Ordergate 测试通知" if settings.language == "zh" else "Ordergate test notice"
                message = Message(
                    key=f"ordergate-test-{at:%Y%m%dT%H%M%S}-{randomness.token_hex(4)}",
                    title=title,
                    text=f"{title} {when(at)} · {outlet}",
                    people=tuple(telling_of(settings).people.values()),
                    outlet=outlet,
                )
                answer = await attempt(notifier, message, deadline_s=10.0)
                if isinstance(answer, Done):
                    told.append({"outlet": outlet, "sent": True, "what": answer.reference})
                else:
                    code = "throttled" if isinstance(answer, Throttled) else answer.code
                    told.append({"outlet": outlet, "sent": False, "what": f"{code} {answer.message}".strip()})

    asyncio.run(send())
    if as_json:
        terminal.json({"channel": channel, "outlets": told})
    else:
        terminal.table(
            [("出口", "Outlet"), ("已发", "Sent"), ("说明", "What it said")],
            [(one["outlet"], one["sent"], one["what"]) for one in told],
        )
    raise typer.Exit(0 if all(one["sent"] for one in told) else 1)


# --- webhooks

Body = Annotated[Path, typer.Argument(help="报文文件，- 为标准输入。File with the body, - for standard input")]
Secret = Annotated[
    str, typer.Option(envvar="ORDERGATE_WEBHOOK_SECRET", help="密钥 whsec_…。Secret", show_default=False)
]


@webhook.command("secret", epilog=example("webhook secret"))
def webhook_secret(as_json: AsJson = False) -> None:
    """生成一个密钥。Make a secret."""
    made = PREFIX + base64.b64encode(randomness.token_bytes(32)).decode()
    terminal = Terminal(language=ZH, as_json=as_json)
    if as_json:
        terminal.json({"secret": made})
    else:
        terminal.plain(made)


@webhook.command(
    "sign", epilog=example("webhook sign order.json --secret whsec_… --url http://127.0.0.1:8080/hooks/shop-a")
)
def webhook_sign(
    body: Body = Path("-"),
    secret: Secret = "",
    message_id: Annotated[str, typer.Option("--id", help="消息号，默认随机。Message id, else a random one")] = "",
    timestamp: Annotated[int, typer.Option(help="时间戳（秒），默认当前。Seconds since 1970, else now")] = 0,
    url: Annotated[str, typer.Option(help="网关收单地址。Where it goes")] = "http://127.0.0.1:8080/hooks/<connection>",
    as_json: AsJson = False,
) -> None:
    """输出三个签名头和可直接执行的 curl。The three headers, and a curl line ready to run."""
    key = _key(secret)
    message_id = message_id or f"msg_{randomness.token_hex(12)}"
    timestamp = timestamp or int(time.time())
    content = content_of(body)
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(key, message_id=message_id, timestamp=timestamp, body=content),
    }
    given = {"content-type": "application/json", **headers}
    parts = ["curl", "-sS", "-X", "POST", url]
    for name, value in given.items():
        parts += ["-H", f"{name}: {value}"]
    parts += ["--data-binary", f"@{body}"]
    line = shlex.join(parts)
    terminal = Terminal(language=ZH, as_json=as_json)
    if as_json:
        terminal.json({"headers": headers, "curl": line})
        return
    for name, value in headers.items():
        terminal.plain(f"{name}: {value}")
    terminal.plain("")
    terminal.plain(line)


@webhook.command(
    "verify",
    epilog=example("webhook verify order.json --secret whsec_… --id msg_1 --timestamp 1767225600 --signature v1,…"),
)
def webhook_verify(
    body: Body = Path("-"),
    secret: Secret = "",
    message_id: Annotated[str, typer.Option("--id", help="webhook-id")] = "",
    timestamp: Annotated[str, typer.Option(help="webhook-timestamp")] = "",
    signature: Annotated[str, typer.Option(help="webhook-signature")] = "",
    now: Annotated[int, typer.Option(help="收到的时刻（秒），默认当前。When it came, else now")] = 0,
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """验签；不通过时说明原因，退出码 1。Verify a signature; exit code 1 with the reason when it is not good."""
    key = _key(secret)
    content = content_of(body)
    headers = {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": signature}
    at = datetime.fromtimestamp(now, UTC) if now else datetime.now(UTC)
    terminal = Terminal(language=lang, as_json=as_json)
    try:
        verify([key], headers, content, now=at)
    except BadSignature as error:
        why = error.message
        if why == NO_MATCH and content.rstrip() != content:
            why = Text(
                f"{why.zh}：报文以空白字符结尾，要对实际发送的字节签名",
                f"{why.en}: the body ends with white space; sign the very bytes that are sent",
            )
        if as_json:
            terminal.json({"good": False, "why": why})
        else:
            terminal.plain(f"{terminal.choose('不通过', 'not good')}: {terminal.say(why)}")
        raise typer.Exit(1) from error
    if as_json:
        terminal.json({"good": True, "why": NOTHING})
    else:
        terminal.line("通过", "good")


def _instant(text: str) -> datetime | None:
    if not text:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise OrdergateError(f"不是带时区的时刻 / not an instant with its zone: {text!r}; 2026-05-01T09:30:00+08:00")
    return instant


def _key(secret: str) -> bytes:
    if not secret:
        raise OrdergateError(
            "请用 --secret 或 ORDERGATE_WEBHOOK_SECRET 给出密钥 / pass --secret or set ORDERGATE_WEBHOOK_SECRET"
            " (`ordergate webhook secret` makes one)"
        )
    try:
        return decode_secret(secret)
    except BadSetting as error:
        raise OrdergateError(error.text) from error


# --- the database


def _in_database(
    config: Path, work: Callable[[Any], Awaitable[T]], *, opened: bool = False, as_it_is: bool = False
) -> T:
    """`opened`: what is sealed is read as it was written. `as_it_is`: also a schema of an earlier release will do."""
    from gateway.store.sql import pending_migrations

    settings = read_settings(config)

    async def do() -> T:
        async with _database(settings, opened=opened) as pool:
            if not as_it_is:
                async with pool.acquire() as connection:
                    pending = await pending_migrations(connection)
                if pending:
                    raise OrdergateError(
                        Text(
                            f"数据库结构还是旧版本的（待升级：{'、'.join(pending)}）：先运行 `ordergate migrate`",
                            f"the database is still as an earlier release left it (to migrate: {', '.join(pending)}):"
                            " run `ordergate migrate` first",
                        )
                    )
            return await work(pool)

    return asyncio.run(do())


@asynccontextmanager
async def _database(settings: Settings, *, opened: bool) -> AsyncIterator[Any]:
    """A pool on the configured database; the embedded one is attached to where it runs, else started meanwhile."""
    from gateway.store.sql import open_pool, told_in_one_line
    from gateway.store.vault import vault_of

    async with AsyncExitStack() as stack:
        url = settings.database.url
        if settings.database.embedded:
            from gateway.embedded.postgres import EmbeddedPostgres

            url = (await stack.enter_async_context(EmbeddedPostgres(Path(settings.data_dir) / "postgres"))).url
        vault = vault_of(settings.encryption.decoded) if opened else None
        pool = await open_pool(url, size=2, vault=vault)
        stack.push_async_callback(pool.close)
        async with told_in_one_line():
            yield pool
