"""``python -m gateway.worker``: one worker process; `ordergate run` starts it.

Not a command of `ordergate`: what those are made of takes a third of a worker's start, and after a kill orders wait.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path

from gateway.plugins import discover
from gateway.process import exits, open_what_is_closed, show_what_can_be_shown
from gateway.settings import Settings, load, parse


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m gateway.worker", description="started by `ordergate run`")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--config-fd", type=int)
    parser.add_argument("--name", required=True)
    parser.add_argument("--socket-fd", type=int, required=True)
    parser.add_argument("--lifeline-fd", type=int, required=True)
    parser.add_argument("--pulse-fd", type=int)
    parser.add_argument("--stop-within", type=float, required=True)
    given = parser.parse_args()
    open_what_is_closed()
    show_what_can_be_shown()
    with exits():
        # First, and without the rest: of bad settings people hear at once.
        settings = _settings(given.config, given.config_fd)
        from gateway.app import WorkerPlace, run_worker

        place = WorkerPlace(
            name=given.name,
            sock=socket.socket(fileno=given.socket_fd),
            lifeline_fd=given.lifeline_fd,
            pulse_fd=given.pulse_fd,
            stop_within_s=given.stop_within,
        )
        sys.exit(run_worker(settings, place, url=os.environ["ORDERGATE_WORKER_DATABASE_URL"]))


def _settings(config: Path, kept: int | None) -> Settings:
    """Of the file `config`: as its parent has read it, and that is in `kept`, where it has one."""
    if kept is None:
        return load(config, os.environ, discover())
    # At a place of its own: the others read the same file.
    text = os.pread(kept, os.fstat(kept).st_size, 0).decode()
    return parse(text, os.environ, discover(), name=config.name, folder=config.parent)


if __name__ == "__main__":
    main()
