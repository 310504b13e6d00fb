"""XLSX and CSV as rows of cells, and back; and the traps of Excel, named instead of passed on.

A cell is what a person sees in it, as text, and what it is: Excel keeps 612345678901234567 as the number
612345678901234560, makes a date of 1-2 and 123 of 00123. What it has lost cannot be read back, so the kind goes along
and whoever knows the column decides. Formulas count by the value that Excel stored for them.
"""

from __future__ import annotations

import csv
import enum
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, Literal

import msgspec

MAX_FILE_BYTES = 3_000_000
MAX_ROWS = 50_000
MAX_COLUMNS = 50
MAX_CELL_CHARS = 1_000
_MAX_UNPACKED_BYTES = 100_000_000
_MAX_SHEET_ROWS = 200_000
"""Rows of a sheet that are looked at, empty ones included: formatting a whole column makes a million of them."""

_EXCEL_DIGITS = 15
"""More digits of a number Excel does not keep."""

Format = Literal["xlsx", "csv"]


class Kind(enum.Enum):
    """What a cell is. From LONG on the text is not what was meant."""

    TEXT = "text"
    NUMBER = "number"
    LONG = "long"
    """A number whose last digits Excel has lost: as a number, or shortened to 6.1E+17 in a CSV that it saved."""
    DECIMAL = "decimal"
    DATE = "date"
    ERROR = "error"
    FORMULA = "formula"
    """A formula that no value was stored for."""


class Cell(msgspec.Struct, frozen=True, array_like=True, gc=False):
    text: str
    kind: Kind = Kind.TEXT


class Row(msgspec.Struct, frozen=True):
    """`number` as Excel or an editor counts rows, from 1."""

    number: int
    cells: tuple[Cell, ...]


class BadFile(Exception):
    """The file cannot be read as a table at all; what to do about it, in both languages."""

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(f"{zh} / {en}")
        self.zh = zh
        self.en = en


EMPTY = Cell("")


def read(file: bytes, *, most_rows: int = MAX_ROWS, most_bytes: int = MAX_FILE_BYTES) -> list[Row]:
    """The rows of the first sheet, empty ones left out. Raises BadFile. Takes seconds for a large XLSX."""
    if len(file) > most_bytes:
        raise BadFile(
            f"文件超过 {most_bytes // 1_000_000} MB，请拆分后导入",
            f"the file is over {most_bytes} bytes: split it",
        )
    if file.startswith(b"\xd0\xcf\x11\xe0"):
        raise BadFile(
            "这是旧版 .xls 或加密的文件，请去掉密码并另存为 .xlsx 或 CSV",
            "this is an old .xls or an encrypted file: take off the password and save it as .xlsx or CSV",
        )
    rows = _of_xlsx(file) if file.startswith(b"PK") else _of_csv(file)
    found = []
    for row in rows:
        if any(cell.text for cell in row.cells):
            found.append(row)
            if len(found) > most_rows + 1:
                raise BadFile(
                    f"超过 {most_rows} 行，请拆分后导入", f"there are more than {most_rows} rows: split the file"
                )
    return found


def write(header: Sequence[str], rows: Iterable[Sequence[str | int]], form: Format) -> bytes:
    """A file that Excel opens without harm to codes: as text cells, or in a CSV behind a tab (`read` takes it off)."""
    return _to_xlsx(header, rows) if form == "xlsx" else _to_csv(header, rows)


# --- XLSX -------------------------------------------------------------------------------------------------------


def _of_xlsx(file: bytes) -> list[Row]:
    from openpyxl import load_workbook

    try:
        with zipfile.ZipFile(io.BytesIO(file)) as archive:
            unpacked_bytes = sum(entry.file_size for entry in archive.infolist())
        if unpacked_bytes > _MAX_UNPACKED_BYTES:
            raise BadFile(
                "文件解压后过大，请把数据复制到新表格再导入",
                "the file unpacks to too much: copy the data into a new sheet",
            )
        sheet = _first_sheet(load_workbook(io.BytesIO(file), read_only=True, keep_links=False))
        rows, formulas = [], False
        for number, cells in enumerate(sheet, 1):
            made = _row(cells)
            formulas = formulas or any(cell.kind is Kind.FORMULA for cell in made)
            rows.append(Row(number, made))
        if formulas:
            # Read once more, for the values that Excel stored beside its formulas.
            stored = _first_sheet(load_workbook(io.BytesIO(file), read_only=True, keep_links=False, data_only=True))
            rows = [_with_values(row, cells) for row, cells in zip(rows, stored, strict=False)]
    except BadFile:
        raise
    except Exception as error:  # a stranger's file: whatever its reader stumbles over is the file's fault
        raise BadFile(
            f"无法作为 XLSX 读取（{type(error).__name__}），请用 Excel 打开并重新另存为 .xlsx",
            f"cannot be read as XLSX ({type(error).__name__}): open it in Excel and save it as .xlsx again",
        ) from error
    return rows


def _first_sheet(workbook: Any) -> Iterator[Sequence[Any]]:
    """Rows of the first sheet that is shown."""
    shown = [sheet for sheet in workbook.worksheets if sheet.sheet_state == "visible"]
    if not shown:
        raise BadFile("没有可见的工作表", "there is no visible sheet")
    sheet = shown[0]
    sheet.reset_dimensions()  # what programs write there is often wrong
    for number, cells in enumerate(sheet.iter_rows(max_col=MAX_COLUMNS), 1):
        if number > _MAX_SHEET_ROWS:
            raise BadFile(
                f"工作表超过 {_MAX_SHEET_ROWS} 行（可能只是格式），请把数据复制到新表格",
                f"the sheet goes beyond row {_MAX_SHEET_ROWS} (perhaps only formats): copy the data into a new sheet",
            )
        yield cells


def _row(cells: Sequence[Any]) -> tuple[Cell, ...]:
    made = [EMPTY if cell.value is None else _cell(cell) for cell in cells]
    while made and made[-1] is EMPTY:
        made.pop()
    return tuple(made)


def _cell(cell: Any) -> Cell:
    value = cell.value
    if cell.data_type == "f":
        return Cell(str(value), Kind.FORMULA)
    if cell.data_type == "e":
        return Cell(str(value), Kind.ERROR)
    if isinstance(value, str):
        return Cell(_tidy(value))
    if isinstance(value, bool):
        return Cell("TRUE" if value else "FALSE")
    if isinstance(value, int | float):
        return _number(value, str(cell.number_format or ""))
    if isinstance(value, datetime | date | time | timedelta):
        return Cell(str(value), Kind.DATE)
    return Cell(_tidy(str(value)))


def _number(value: float, number_format: str) -> Cell:
    if value != value or abs(value) >= 10**_EXCEL_DIGITS:
        return Cell(f"{value:.0f}", Kind.LONG)
    if value != int(value):
        return Cell(repr(value), Kind.DECIMAL)
    text = str(int(value))
    # A format of noughts only is how a sheet shows 00123.
    return Cell(text.zfill(len(number_format)) if re.fullmatch("0{2,}", number_format) else text, Kind.NUMBER)


def _with_values(row: Row, stored: Sequence[Any]) -> Row:
    """`row` with the stored values of its formulas."""
    values = _row(stored)
    cells = [
        values[index] if cell.kind is Kind.FORMULA and index < len(values) and values[index].text else cell
        for index, cell in enumerate(row.cells)
    ]
    return Row(row.number, tuple(cells))


def _to_xlsx(header: Sequence[str], rows: Iterable[Sequence[str | int]]) -> bytes:
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Font
    from openpyxl.utils import get_column_letter

    workbook = Workbook(write_only=True)
    sheet = workbook.create_sheet("SKU")
    sheet.freeze_panes = "A2"
    for index in range(len(header)):
        # Columns of text, so that what is typed below is text, too.
        column = sheet.column_dimensions[get_column_letter(index + 1)]
        column.width = 22
        column.number_format = "@"
    titles = []
    for title in header:
        cell = WriteOnlyCell(sheet, title)
        cell.font = Font(bold=True)
        titles.append(cell)
    sheet.append(titles)
    # A row is written as it is appended, so that one cell per column does for all rows; making its style is dear.
    texts = [WriteOnlyCell(sheet) for _ in header]
    for cell in texts:
        cell.number_format = "@"
    for row in rows:
        cells: list[object] = []
        for value, cell in zip(row, texts, strict=True):
            if isinstance(value, str) and value:
                cell.value = _UNWRITABLE.sub("", value)
                cell.data_type = "s"  # a text that begins with = is no formula
                cells.append(cell)
            else:
                cells.append(value or None)
        sheet.append(cells)
    made = io.BytesIO()
    workbook.save(made)
    return made.getvalue()


# --- CSV --------------------------------------------------------------------------------------------------------


def _of_csv(file: bytes) -> Iterator[Row]:
    text = _decoded(file)
    if "\0" in text:
        raise BadFile("不是 CSV 或 XLSX 文件", "this is neither CSV nor XLSX")
    first = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise BadFile(
                f"第 {number} 行不是有效的 CSV：{error}", f"line {number} is no valid CSV: {error}"
            ) from error
        yield Row(number, tuple([_csv_cell(field) for field in fields[:MAX_COLUMNS]]))


def _decoded(file: bytes) -> str:
    """UTF-8 with or without its mark, UTF-16 with one (Excel's “Unicode text”), else GB 18030, which covers GBK."""
    if file.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", "gb18030"]
    for encoding in encodings:
        try:
            return file.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise BadFile("编码不是 UTF-8 或 GBK，请另存为“CSV UTF-8”", "is neither UTF-8 nor GBK: save it as “CSV UTF-8”")


def _csv_cell(field: str) -> Cell:
    text = _tidy(field)
    if field.startswith("\t"):
        return Cell(text)  # as `write` protects it from Excel
    literal = re.fullmatch(r'="([^"]*)"', text)  # how some programs protect a code from Excel
    if literal:
        return Cell(_tidy(literal[1]))
    if text.startswith("=") and len(text) > 1:
        return Cell(text, Kind.FORMULA)
    if re.fullmatch(r"#(N/A|REF!|VALUE!|NAME\?|DIV/0!|NULL!|NUM!|####*)", text):
        return Cell(text, Kind.ERROR)
    return Cell(text, Kind.LONG if re.fullmatch(r"[0-9](\.[0-9]+)?[Ee]\+[0-9]+", text) else Kind.TEXT)


def _to_csv(header: Sequence[str], rows: Iterable[Sequence[str | int]]) -> bytes:
    made = io.StringIO(newline="")
    writer = csv.writer(made)
    writer.writerow(header)
    for row in rows:
        writer.writerow([f"\t{value}" if isinstance(value, str) and _is_at_risk(value) else value for value in row])
    return b"\xef\xbb\xbf" + made.getvalue().encode("utf-8", "replace")


def _is_at_risk(text: str) -> bool:
    """Whether Excel would make something else of it: a shortened number, a date, a formula."""
    return re.fullmatch(r"0[0-9].*|[0-9]{12,}|[0-9]+[-/.Ee][0-9+].*|[=+\-@＝＋－＠].*", text, re.DOTALL) is not None


_STRAY = " \t\r\n\u3000\u00a0\ufeff\u200b"
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def _tidy(text: str) -> str:
    return text.strip(_STRAY)
