"""What every process of Ordergate begins and ends with: its standard streams, and what it says when it fails."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.core.errors import OrdergateError, SettingsError
from gateway.core.text import system_reason


def open_what_is_closed() -> None:
    """Have the null device stand for standard streams that the caller has closed (``>&-``).

    Left alone, what is opened next gets their number, and what a child process prints goes into it.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115


def heed_children() -> None:
    """Learn how child processes end, also where whoever started this one does not care (SIGCHLD stays ignored).

    All of them would seem to have succeeded: the bundled PostgreSQL was taken for one of another release.
    """
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def show_what_can_be_shown() -> None:
    """From now on a character that the terminal's encoding lacks is printed as its code (``\\U00020bb7``)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def exits() -> Iterator[None]:
    """Errors made on purpose, and those of the system, become a readable message and exit code 1, bad settings 2."""
    try:
        yield
    except SettingsError as error:
        for problem in error.problems:
            print(problem.said("zh"), problem.said("en"), sep="\n", file=sys.stderr)
        print(f"{len(error.problems)} 个问题 / {len(error.problems)} problem(s)", file=sys.stderr)
        sys.exit(2)
    except (OrdergateError, OSError) as error:
        said = error.text.both if isinstance(error, OrdergateError) else _of_system(error)
        print(f"错误 / error: {said}", file=sys.stderr)
        sys.exit(1)


def _of_system(error: OSError) -> str:
    """What the operating system refused, and why: in Chinese, with its own words behind."""
    reason = system_reason(error).zh
    return reason if error.filename is None else f"{error.filename}: {reason}"
