"""What the commands print: tables and lines in Chinese or English, or JSON. And the input that all of them share."""

from __future__ import annotations

import enum
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from gateway.core.errors import OrdergateError
from gateway.core.text import Text

_TIMEZONE = "ORDERGATE_TIMEZONE"
_PIPED_WIDTH = 200
"""Columns when nobody looks at a terminal: nothing is cut off."""

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""All but the end of a line."""

_FIGURE = re.compile(r"([+-]?\d[\d./%]{0,11})?")
_GAP = 2
"""Columns between those of a table."""
_CHARACTER = 2
"""Columns of a Chinese one."""


class Language(enum.StrEnum):
    ZH = "zh"
    EN = "en"


AsJson = Annotated[bool, typer.Option("--json", help="输出 JSON。Print JSON")]
Lang = Annotated[Language, typer.Option("--lang", envvar="ORDERGATE_LANG", help="语言。Language")]
ZH = Language.ZH


class Terminal:
    """Standard output in one language, or as JSON."""

    def __init__(self, *, language: Language, as_json: bool) -> None:
        self.as_json = as_json
        self.language = language
        # Standard output may have been replaced since the import: it is looked up now.
        # No markup and no emoji: of a SKU `TS:M:RED` neither would leave its text.
        self._console = Console(
            file=sys.stdout,
            highlight=False,
            markup=False,
            emoji=False,
            width=None if sys.stdout.isatty() else _PIPED_WIDTH,
        )

    def choose(self, zh: str, en: str) -> str:
        return zh if self.language is Language.ZH else en

    def say(self, text: Text) -> str:
        return text.of(self.language)

    def line(self, zh: str, en: str) -> None:
        self.plain(self.choose(zh, en))

    def plain(self, text: str) -> None:
        """One line, as it is, except for what would do something to the terminal."""
        self._console.print(harmless(text), soft_wrap=True)

    def json(self, value: Any) -> None:
        text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
        if not (sys.stdout.encoding or "utf-8").lower().startswith("utf"):
            # Of a character that this encoding lacks, JSON has an escape of its own.
            text = json.dumps(json.loads(text), indent=2)
        sys.stdout.write(text + "\n")

    def table(self, columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[Any]]) -> None:
        """`columns` are (zh, en)."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        texts = [[harmless(shown(cell)) for cell in row] for row in rows]
        titles = [self.choose(*column) for column in columns]
        widths = [max((cell_len(row[place]) for row in texts), default=0) for place in range(len(columns))]
        all_of_it = sum(max(cell_len(title), width) + _GAP for title, width in zip(titles, widths, strict=True)) - _GAP
        for place, (zh, _) in enumerate(columns):
            # A number is copied: it stands on one line wherever that leaves room for the rest.
            whole = zh == "单号" and widths[place] <= self._console.width // 3
            # A figure in two lines would be another figure; its title may stand in several.
            figures = all(_FIGURE.fullmatch(row[place]) for row in texts)
            width = max(widths[place], _CHARACTER) if figures and all_of_it > self._console.width else None
            table.add_column(titles[place], overflow="fold", no_wrap=whole, width=width)
        for row in texts:
            table.add_row(*row)
        self._console.print(table)


def harmless(text: str) -> str:
    """`text` with its control characters written out, ``\\x1b`` for one: a buyer or a shop may have written it, and a
    terminal would obey. So are those that turn the direction of writing round, behind which a number can hide."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shown(cell: Any) -> str:
    """A value as a person reads it; instants in local time to the second."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "✓" if cell else ""
    if isinstance(cell, float):
        return f"{cell:.3g}"
    if isinstance(cell, datetime):
        return when(cell.isoformat())
    if isinstance(cell, list | tuple):
        return " ".join(shown(part) for part in cell)
    return str(cell)


def when(text: str | None) -> str:
    """``2026-05-01 09:30:05`` of an RFC 3339 text, in Beijing time, or in that of ``ORDERGATE_TIMEZONE``."""
    if not text:
        return ""
    return datetime.fromisoformat(text).astimezone(time_zone()).strftime("%Y-%m-%d %H:%M:%S")


def time_zone() -> tzinfo:
    """The zone that people read times in. Raises OrdergateError."""
    name = os.environ.get(_TIMEZONE)
    if not name:
        # Without the table of zones, which a slim container does not have: China keeps one time all year.
        return timezone(timedelta(hours=8), "Asia/Shanghai")
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise OrdergateError(
            f"{_TIMEZONE}={name}: 没有这个时区 / there is no such time zone: write it like Asia/Shanghai or UTC"
        ) from error


def content_of(file: Path) -> bytes:
    """What a file given to a command holds; `-` is standard input."""
    return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
