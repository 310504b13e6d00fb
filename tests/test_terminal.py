"""How a person reads what commands print."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import termios
from datetime import UTC, datetime

import pytest

from gateway.terminal import Language, Terminal, shown
from tests.pages.reading import ROOT


def test_an_instant_is_shown_in_the_time_of_who_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a table that comes from the database as in one that comes from the API: they are compared."""
    at = datetime(2026, 5, 1, 1, 30, 5, 824526, tzinfo=UTC)
    monkeypatch.delenv("ORDERGATE_TIMEZONE", raising=False)
    assert shown(at) == "2026-05-01 09:30:05"
    monkeypatch.setenv("ORDERGATE_TIMEZONE", "UTC")
    assert shown(at) == "2026-05-01 01:30:05"


@pytest.mark.parametrize("sku", ["TS:M:RED", ":x:", "[red]A[/red]", "[A]", "C\\", "C\\[A]", "CUP-01\n青瓷杯"])
def test_what_a_shop_calls_its_goods_is_printed_letter_by_letter(sku: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither an emoji in the middle of a code nor a code that is gone: people copy it from there."""
    terminal = Terminal(language=Language.EN, as_json=False)
    terminal.table([("商品", "SKU")], [[sku]])
    assert capsys.readouterr().out.split()[1:] == sku.split()
    terminal.plain(sku)
    assert capsys.readouterr().out == f"{sku}\n"


def test_what_a_buyer_writes_does_nothing_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    note = "\x1b[2Jgone \x9b31m\r\b\t\x7f\u202e1002A"
    terminal = Terminal(language=Language.EN, as_json=False)
    terminal.table([("备注", "Note")], [[note]])
    terminal.plain(note)
    written = r"\x1b[2Jgone \x9b31m\r\x08\t\x7f\u202e1002A"
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == ["Note", written, written]


NARROW = """
from gateway.remote.redrives import _print_redrives
from gateway.terminal import Language, Terminal

row = {"redrive_id": 12, "does": "send", "state": "running", "total": 15200, "waiting": 14000, "released": 50,
       "done": 1150, "found": 1020, "again": 0, "reason": "the warehouse is back", "author": "admin/wang",
       "starts_at": "2026-05-01T09:00:00+08:00"}
_print_redrives(Terminal(language=Language.ZH, as_json=False), {"redrives": [row], "next": ""})
"""


def test_a_figure_stays_whole_on_a_narrow_terminal() -> None:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 60, 0, 0))
    with os.fdopen(ours, "rb") as reader:
        subprocess.run([sys.executable, "-c", NARROW], cwd=ROOT, stdout=theirs, check=True, timeout=60)
        os.close(theirs)
        said = reader.read1(65_536).decode()
    assert all(f" {figure} " in said for figure in (15200, 14000, 50, 1150, 1020)) and "重" in said, said
