"""The command ``ordergate``: runs the gateway, checks its configuration, and lets people look at and repair orders."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.core.errors import OrdergateError, SettingsError
from gateway.plugins import discover
from gateway.settings import Settings, load

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Ordergate 订单网关: every order into every warehouse system, exactly once in effect.",
)
ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="Configuration file / 配置文件", envvar="ORDERGATE_CONFIG")]
DEFAULT_CONFIG = Path("ordergate.yaml")


def main() -> None:
    """Entry point: errors made on purpose become one readable message and exit code 1, bad settings 2."""
    try:
        app()
    except SettingsError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        print(f"{len(error.problems)} problem(s) / {len(error.problems)} 个问题", file=sys.stderr)
        sys.exit(2)
    except (OrdergateError, OSError) as error:
        print(f"error / 错误: {error}", file=sys.stderr)
        sys.exit(1)


@app.command()
def run(
    config: ConfigFile = DEFAULT_CONFIG,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes / 工作进程数")] = 1,
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C. 运行网关。"""
    settings = read_settings(config)
    from gateway.telemetry.processes import prepare

    prepare(Path(settings.data_dir) / "metrics")
    from gateway.supervise import Supervisor

    supervisor = Supervisor(settings, config=config.resolve(), workers=workers, tell=_tell)
    asyncio.run(supervisor.run())


@app.command(hidden=True)
def worker(
    config: ConfigFile,
    name: Annotated[str, typer.Option()],
    socket_fd: Annotated[int, typer.Option()],
    lifeline_fd: Annotated[int, typer.Option()],
    stop_within: Annotated[float, typer.Option()],
) -> None:
    """One worker process; started by `run`."""
    settings = read_settings(config)
    from gateway.app import WorkerPlace, run_worker

    place = WorkerPlace(
        name=name, sock=socket.socket(fileno=socket_fd), lifeline_fd=lifeline_fd, stop_within_s=stop_within
    )
    raise typer.Exit(run_worker(settings, place, url=os.environ["ORDERGATE_WORKER_DATABASE_URL"]))


def read_settings(config: Path) -> Settings:
    """The configuration, whole. Raises SettingsError with every problem."""
    return load(config, os.environ, discover())


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
