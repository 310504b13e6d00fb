"""What a run of tests or of the benchmark starts ends with it, also when the run is killed.

Children of ours are ended by the kernel (`end_with_us`). PostgreSQL makes itself nobody's child, so a keeper beside it
reads a pipe whose other end only we hold: `python -m tests.lifelines <server's folder> <run's folder>`.
"""

from __future__ import annotations

import ctypes
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.embedded.postgres import EmbeddedPostgres

ROOT = Path(__file__).resolve().parents[1]
_PR_SET_PDEATHSIG = 1
_BYE = b"bye"


def end_with_us() -> None:
    """In a child before its program starts: a run that is killed leaves nothing behind.

    The kernel goes by the thread that started the child: a child started from a thread ends with that thread.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def postgres_with_us(folder: Path) -> Iterator[EmbeddedPostgres]:
    """A server in ``folder/postgres``. When we are killed it is stopped, and `folder` removed."""
    keeper = subprocess.Popen(
        [sys.executable, "-m", "tests.lifelines", str(folder / "postgres"), str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert keeper.stdin is not None and keeper.stdout is not None
    try:
        keeper.stdout.readline()
        # The same server: whoever opens its folder second attaches, and the last to leave stops it.
        with EmbeddedPostgres(folder / "postgres") as server:
            yield server
    finally:
        keeper.communicate(_BYE)


def main() -> None:
    """Hold the server until standard input ends, then stop it; without a last word also clear up the run's folder."""
    server, folder = (Path(argument) for argument in sys.argv[1:])
    with EmbeddedPostgres(server):
        print("held", flush=True)
        said = sys.stdin.buffer.read()
    if said != _BYE:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
