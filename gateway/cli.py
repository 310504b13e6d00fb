"""The command ``ordergate``: runs the gateway, checks its configuration, and lets people look at and repair orders."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
import typer.main

from gateway import admin, usage
from gateway.admin import DEFAULT_CONFIG, ConfigFile, read_settings
from gateway.process import exits, heed_children, open_what_is_closed, show_what_can_be_shown
from gateway.remote.answer import example
from gateway.remote.connections import connections, pause, resume
from gateway.remote.dead_letters import dead
from gateway.remote.deliveries import deliveries
from gateway.remote.gates import gates
from gateway.remote.notices import notices
from gateway.remote.orders import orders
from gateway.remote.redrives import redrives
from gateway.remote.skus import skus
from gateway.remote.stock import stock
from gateway.remote.work import work

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Ordergate 订单网关: every order into every warehouse system, exactly once in effect.",
)


def _version(asked: bool) -> None:
    if asked:
        print(metadata.version("ordergate"))
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="The release / 版本号")
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. Errors made on purpose become one readable message and exit code 1, bad settings 2.

    So do, with 2, a wrong option and the like. `arguments` stand for those of the process.
    """
    open_what_is_closed()
    heed_children()
    show_what_can_be_shown()
    with exits():
        try:
            if _may_print_help(sys.argv[1:] if arguments is None else arguments):
                usage.fold_help()
            code = _command()(arguments, standalone_mode=False)
        except typer.TyperException as error:
            for line in usage.told(error):
                print(line, file=sys.stderr)
            sys.exit(error.exit_code)
        except typer.Abort:
            print("已中止 / aborted", file=sys.stderr)
            sys.exit(1)
    sys.exit(code)


@app.command(epilog=example("run -c ordergate.yaml", "run -c ordergate.yaml --workers 2"))
def run(
    config: ConfigFile = DEFAULT_CONFIG,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes / 工作进程数")] = 1,
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C. 运行网关。"""
    settings = read_settings(config)
    from gateway.supervise import Supervisor

    supervisor = Supervisor(settings, config=config.resolve(), workers=workers, tell=_tell)
    asyncio.run(supervisor.run())


@app.command(epilog=example("demo", "demo --orders 200", "demo --without-gateway"))
def demo(
    orders: Annotated[int, typer.Option(min=1, max=108_042, help="How many orders / 订单数")] = 2_000,
    seed: Annotated[int, typer.Option(help="Which purchases, and which calls fail / 随机种子")] = 1,
    rate: Annotated[
        float | None, typer.Option(min=0.1, help="Orders a second before the surge, on average / 高峰前平均每秒下单数")
    ] = None,
    without_gateway: Annotated[
        bool, typer.Option("--without-gateway", help="The same day through a naive forwarder / 没有网关的同一天")
    ] = False,
    keep: Annotated[Path | None, typer.Option(help="Keep logs, books and data in this new folder / 保留目录")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object as the last line / 最后一行输出 JSON")
    ] = False,
) -> None:
    """The incident of 5 January on this machine, with a verdict. 演示：1 月 5 日 15:00 的故障，最后对账。"""
    from gateway.demo.play import Wishes, run_demo

    wishes = Wishes(orders=orders, seed=seed, per_s=rate, keep=keep, as_json=as_json, without_gateway=without_gateway)
    raise typer.Exit(asyncio.run(run_demo(wishes)))


def _may_print_help(arguments: Sequence[str]) -> bool:
    """Whether help is asked for, or may be printed for a group without a command."""
    return "--help" in arguments or not any(argument.startswith("-") for argument in arguments)


@functools.cache
def _command() -> Callable[..., int | None]:
    """`app` as a command, made once: that takes a tenth of a second, and a process may call `main` many times."""
    return typer.main.get_command(app)


def _tell(text: str) -> None:
    # Whoever read it may be gone, or the disk full: no reason to end the gateway.
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


notices.command("test", epilog=example("notices test ops-robot"))(admin.notices_test)
for command, *examples in (
    (admin.check, "check -c ordergate.yaml", "check -c ordergate.yaml --lang en"),
    (admin.migrate, "migrate -c ordergate.yaml"),
    (admin.adapters, "adapters"),
    (admin.reference, "reference --lang zh", "reference --json"),
    (
        admin.restored,
        "restored -c ordergate.yaml",
        "restored -c ordergate.yaml --since 2026-05-01T09:30:00+08:00",
    ),
    (admin.database, "database -c ordergate.yaml"),
    (admin.purge, "purge --dry-run", "purge"),
    (admin.compare, "compare shop-a --last 500", "compare shop-a --last 500 --channel-numbers"),
    (pause, 'pause shop-a -r "价格有误"', 'pause wms-1 --operation create -r "对方停机"'),
    (resume, 'resume shop-a -r "已更正"', 'resume wms-1 --operation create -r "对方恢复"'),
):
    app.command(epilog=example(*examples))(command)
for name, group in (
    ("work", work),
    ("orders", orders),
    ("deliveries", deliveries),
    ("redrives", redrives),
    ("dead", dead),
    ("gates", gates),
    ("connections", connections),
    ("stock", stock),
    ("notices", notices),
    ("skus", skus),
    ("token", admin.token),
    ("keys", admin.keys),
    ("webhook", admin.webhook),
):
    app.add_typer(group, name=name)
