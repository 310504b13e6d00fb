"""The gateway on a fast clock: what ``ordergate run`` and ``ordergate worker`` do, and nothing else changed.

``python -m tests.soak.sped run -c FILE --workers 2``; the clock stands in the environment (`tests.soak.clock`).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from pathlib import Path

from gateway.plugins import discover
from gateway.settings import load
from tests.soak.clock import clock_of


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.sped", description=__doc__)
    parser.add_argument("role", choices=["run", "worker"])
    parser.add_argument("-c", "--config", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--config-fd", type=int, default=-1)
    parser.add_argument("--name", default="")
    parser.add_argument("--socket-fd", type=int, default=-1)
    parser.add_argument("--lifeline-fd", type=int, default=-1)
    parser.add_argument("--pulse-fd", type=int)
    parser.add_argument("--stop-within", type=float, default=10.0)
    args = parser.parse_args()
    settings = load(args.config, os.environ, discover())
    if args.role == "worker":
        from gateway.app import WorkerPlace, run_worker

        place = WorkerPlace(
            name=args.name,
            sock=socket.socket(fileno=args.socket_fd),
            lifeline_fd=args.lifeline_fd,
            pulse_fd=args.pulse_fd,
            stop_within_s=args.stop_within,
        )
        url = os.environ["ORDERGATE_WORKER_DATABASE_URL"]
        return run_worker(settings, place, url=url, now=clock_of(os.environ).now)
    from gateway.supervise import Supervisor

    command = (sys.executable, "-m", "tests.soak.sped", "worker")
    supervisor = Supervisor(settings, config=args.config, workers=args.workers, tell=_tell, worker=command)
    asyncio.run(supervisor.run())
    return 0


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
