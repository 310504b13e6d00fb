"""The commands that use the configuration and the database directly: on the machine where the gateway runs, or may run.

And those for integrators, which need neither: signing and verifying webhooks.
"""

from __future__ import annotations

import asyncio
import base64
import os
import secrets as randomness
import shlex
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from gateway.core.errors import BadSignature, OrdergateError, SettingsError, Unavailable
from gateway.plugins import discover
from gateway.sdk.signing import PREFIX, decode_secret, sign, verify
from gateway.settings import Settings, load
from gateway.terminal import ZH, AsJson, Lang, Terminal, content_of

T = TypeVar("T")

DEFAULT_CONFIG = Path("ordergate.yaml")
ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", help="配置文件。Configuration file", envvar="ORDERGATE_CONFIG")
]

_READ_AGAIN = timedelta(days=1)
"""Before the newest event of a backup: what was taken earlier and not yet decided then is within it."""

token = typer.Typer(no_args_is_help=True, help="管理令牌。The administrator's token.")
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
        checked = of_settings(error.problems, terminal)
    else:
        checked = asyncio.run(reach(settings, terminal))
    if as_json:
        terminal.json(json_of(checked))
    else:
        if checked.notes:
            terminal.table([("正常", "Good"), ("", "")], [(note.where, note.what) for note in checked.notes])
        if checked.warnings:
            terminal.plain("")
            terminal.table([("位置", "Where"), ("注意", "Mind"), ("建议", "What to do")], rows(checked.warnings))
        if checked.problems:
            columns = [("位置", "Where"), ("问题", "Problem"), ("建议", "What to do")]
            terminal.plain("")
            terminal.table(columns, rows(checked.problems))
            count = len(checked.problems)
            terminal.line(f"{count} 个问题", f"{count} problem(s)")
        else:
            terminal.line("没有问题", "no problems")
    raise typer.Exit(2 if checked.problems else 0)


def migrate(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False, lang: Lang = ZH) -> None:
    """升级数据库结构（run 启动时也会执行）。Bring the database up to this release; `run` does it too."""
    from gateway.store.sql import migrate as bring_up

    applied = _in_database(config, bring_up)
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
        terminal.json({"adapters": registry.manifests, "problems": registry.problems})
        return
    terminal.table(
        [("名称", "Name"), ("标题", "Title"), ("收", "In"), ("发", "Out")],
        [
            (name, manifest.title.get(str(lang), name), manifest.source is not None, list(manifest.operations))
            for name, manifest in registry.manifests.items()
        ],
    )
    for problem in registry.problems:
        terminal.plain(str(problem))


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
    from gateway.store.sql import migrate as bring_up

    settings = read_settings(config)
    given = _instant(since)

    async def doubt(pool: Any) -> tuple[int, datetime | None, int]:
        await bring_up(pool)
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
        return await doubt_everything(pool), start, again

    lanes, start, again = _in_database(config, doubt)
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


def purge(
    config: ConfigFile = DEFAULT_CONFIG,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="只统计，不删除。Only count, remove nothing")] = False,
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """立即按保留期清除（网关每晚自动执行）。Remove by age what need not be kept; the gateway does it every night."""
    from gateway.app import ages_of
    from gateway.store.purge import LOCK, begin_walk, count_due
    from gateway.store.sql import unlock
    from gateway.watch.purge import purge_all

    settings = read_settings(config)
    rows: Counter[str] = Counter()

    def now() -> datetime:
        return datetime.now(UTC)

    async def work(pool: Any) -> None:
        async with pool.acquire() as connection:
            if dry_run:
                rows.update(await count_due(connection, ages_of(settings, now())))
                return
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
                raise OrdergateError("网关正在清除 / the gateway is purging just now")
            try:
                await begin_walk(connection, now())
                await purge_all(connection, ages=partial(ages_of, settings), now=now, told=rows.update)
            finally:
                await unlock(connection, LOCK)

    _in_database(config, work)
    terminal = Terminal(language=lang, as_json=as_json)
    if as_json:
        terminal.json({"dry_run": dry_run, "rows": rows})
    elif not rows:
        terminal.line("没有到期的内容", "nothing is old enough")
    else:
        what = ("将清除（行）", "Would go, rows") if dry_run else ("已清除（行）", "Gone, rows")
        terminal.table([("表", "Table"), what], sorted(rows.items()))


@token.command("replace")
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


# --- webhooks

Body = Annotated[Path, typer.Argument(help="报文文件，- 为标准输入。File with the body, - for standard input")]
Secret = Annotated[
    str, typer.Option(envvar="ORDERGATE_WEBHOOK_SECRET", help="密钥 whsec_…。Secret", show_default=False)
]


@webhook.command("secret")
def webhook_secret(as_json: AsJson = False) -> None:
    """生成一个密钥。Make a secret."""
    made = PREFIX + base64.b64encode(randomness.token_bytes(32)).decode()
    terminal = Terminal(language=ZH, as_json=as_json)
    if as_json:
        terminal.json({"secret": made})
    else:
        terminal.plain(made)


@webhook.command("sign")
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


@webhook.command("verify")
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
        if why == "no signature matches" and content.rstrip() != content:
            why += ": the body ends with white space; sign the very bytes that are sent"
        if as_json:
            terminal.json({"good": False, "why": why})
        else:
            terminal.plain(f"{terminal.choose('不通过', 'not good')}: {why}")
        raise typer.Exit(1) from error
    if as_json:
        terminal.json({"good": True, "why": ""})
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
    except ValueError as error:
        raise OrdergateError(str(error)) from error


# --- the database


def _in_database(config: Path, work: Callable[[Any], Awaitable[T]]) -> T:
    settings = read_settings(config)

    async def do() -> T:
        async with _database(settings) as pool:
            return await work(pool)

    return asyncio.run(do())


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Any]:
    """A pool on the configured database; the embedded one is attached to where it runs, else started meanwhile."""
    import asyncpg

    from gateway.store.sql import open_pool

    async with AsyncExitStack() as stack:
        url = settings.database.url
        if settings.database.embedded:
            from gateway.embedded.postgres import EmbeddedPostgres

            url = (await stack.enter_async_context(EmbeddedPostgres(Path(settings.data_dir) / "postgres"))).url
        try:
            pool = await open_pool(url, size=2)
        except asyncpg.PostgresError as error:
            raise Unavailable(f"the database refuses us: {error}") from error
        stack.push_async_callback(pool.close)
        yield pool
