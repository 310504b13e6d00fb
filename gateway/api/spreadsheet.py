"""Stuck orders as a spreadsheet. Rows stream through a temporary file, so memory holds one page of them.

Nothing in it can be a formula: every text is a string cell, and one that begins like a formula has an apostrophe in
front, which stays there when somebody saves the sheet as CSV. Long ids are texts too, so no digit is lost.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from datetime import timedelta, timezone
from typing import Any, Literal

from gateway.api.views import WorkItem
from gateway.core import words
from gateway.core.text import Text

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

_BEIJING = timezone(timedelta(hours=8))
# The last, because "#N/A" would become an error instead of a text.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠", "#")
# XML 1.0 knows no such characters, and a cell holds no more than that many.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_MOST = 32_000

# zh, en, width
_COLUMNS = (
    ("类型", "Kind", 10),
    ("订单号", "Order", 24),
    ("店铺", "Shop", 14),
    ("店铺单号", "Shop's number", 22),
    ("原因", "Why", 34),
    ("原因代码", "Code", 26),
    ("等待自（北京时间）", "Waiting since (UTC+8)", 20),
    ("目标", "Target", 14),
    ("操作", "Operation", 10),
    ("最近结果", "Last result", 12),
    ("最近代码", "Last code", 16),
    ("最近尝试（北京时间）", "Last attempt (UTC+8)", 20),
    ("最晚发货（北京时间）", "Latest ship time (UTC+8)", 20),
    ("负责人", "Owner", 14),
    ("下一步", "What to do", 40),
    ("命令", "Command", 60),
)


class StuckSheet:
    """A sheet that is being written. Making it and its methods block: call them in a thread."""

    def __init__(self, language: Literal["zh", "en"]) -> None:
        # Here, so that a worker that exports nothing has the time and memory of this library for orders.
        from openpyxl import Workbook
        from openpyxl.cell import WriteOnlyCell
        from openpyxl.styles import Font
        from openpyxl.utils import get_column_letter

        self._language = language
        self._book = Workbook(write_only=True)
        self._sheet = self._book.create_sheet(Text("卡住的订单", "stuck orders").of(language))
        self._sheet.freeze_panes = "A2"
        for number, (_, _, width) in enumerate(_COLUMNS, 1):
            self._sheet.column_dimensions[get_column_letter(number)].width = width
        heads = [WriteOnlyCell(self._sheet, value=Text(zh, en).of(language)) for zh, en, _ in _COLUMNS]
        for cell in heads:
            cell.font = Font(bold=True)
        self._sheet.append(heads)

    def add(self, items: Sequence[WorkItem]) -> None:
        for item in items:
            self._sheet.append(self._row(item))

    def add_cut_off(self, limit: int) -> None:
        """Say below the rows that they are not all."""
        zh, en = f"只有最早的 {limit} 项，还有更多", f"only the oldest {limit}: there are more"
        self._sheet.append([Text(zh, en).of(self._language)])

    def content(self) -> bytes:
        """The whole file; nothing can be added after."""
        file = io.BytesIO()
        self._book.save(file)
        return file.getvalue()

    def _row(self, item: WorkItem) -> list[Any]:
        language = self._language
        delivery = item.kind == "delivery"
        texts = (
            words.WORK[item.kind].of(language),
            item.number,
            item.shop,
            item.channel_no,
            item.means.of(language),
            " ".join(item.codes),
            item.since,
            item.connection if delivery else "",
            words.word(item.operation, words.OPERATIONS).of(language),
            words.result(item.last_result or "").of(language),
            item.last_code or "",
            item.last_at,
            item.latest_ship_at,
            Text("、", ", ").of(language).join(item.owners),
            item.next.en if language == "en" else item.next.zh,
            item.next.command,
        )
        return [
            harmless(value) if isinstance(value, str) else value and value.astimezone(_BEIJING).replace(tzinfo=None)
            for value in texts
        ]


def harmless(text: str) -> str:
    """`text` as a spreadsheet may hold it: never a formula, no character that XML does not know."""
    text = _UNPRINTABLE.sub("", text)[:_MOST]
    return f"'{text}" if text.startswith(_FORMULA) else text
