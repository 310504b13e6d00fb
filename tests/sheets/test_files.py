"""XLSX and CSV as rows of cells: what Excel does to codes is named, and what is written survives Excel."""

from __future__ import annotations

import csv
import io
import zipfile
from datetime import date
from typing import Any

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sheets import files
from gateway.sheets.files import BadFile, Cell, Kind, Row, read, write

LONG = "612345678901234567"


def xlsx(*rows: list[Any], formats: dict[str, str] | None = None) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    for row in rows:
        sheet.append(row)
    for place, number_format in (formats or {}).items():
        sheet[place].number_format = number_format
    made = io.BytesIO()
    book.save(made)
    return made.getvalue()


def cells(file: bytes) -> list[tuple[Cell, ...]]:
    return [row.cells for row in read(file)]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "＝1", "＋1", "－1", "＠x"])
def test_no_text_is_a_formula_in_a_csv(text: str) -> None:
    """Excel in Chinese and Japanese takes the wide signs for the narrow ones."""
    made = write(["a"], [[text]], "csv")
    assert f"\t{text}" in made.decode("utf-8-sig")
    assert cells(made)[1] == (Cell(text),)


@pytest.mark.feature("F125")
def test_what_excel_made_of_a_code_is_named() -> None:
    made = xlsx(
        ["00123", 123, int(LONG), 1.5, date(2026, 1, 2), True, "#N/A", None, "  ＡＢ\u3000", 42],
        formats={"B1": "00000", "J1": "0"},
    )
    assert cells(made) == [
        (
            Cell("00123"),
            Cell("00123", Kind.NUMBER),
            Cell(f"{float(LONG):.0f}", Kind.LONG),
            Cell("1.5", Kind.DECIMAL),
            Cell("2026-01-02 00:00:00", Kind.DATE),
            Cell("TRUE"),
            Cell("#N/A", Kind.ERROR),
            Cell(""),
            Cell("ＡＢ"),
            Cell("42", Kind.NUMBER),
        )
    ]


def test_a_formula_counts_by_its_stored_value() -> None:
    """openpyxl stores none, as a program does that never calculated; Excel stores one beside each formula."""
    made = xlsx(["a", '="b"&"c"', "d"])
    assert cells(made) == [(Cell("a"), Cell('="b"&"c"', Kind.FORMULA), Cell("d"))]
    stored = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(made)) as before, zipfile.ZipFile(stored, "w") as after:
        for name in before.namelist():
            content = before.read(name)
            if name == "xl/worksheets/sheet1.xml":
                assert b"<v></v>" in content or b"<v />" in content or b"<v/>" in content
                content = content.replace(b'<c r="B1">', b'<c r="B1" t="str">')
                content = content.replace(b"<v></v>", b"<v>bc</v>").replace(b"<v />", b"<v>bc</v>")
                content = content.replace(b"<v/>", b"<v>bc</v>")
            after.writestr(name, content)
    assert cells(stored.getvalue()) == [(Cell("a"), Cell("bc"), Cell("d"))]


def test_only_the_first_visible_sheet_is_read() -> None:
    book = openpyxl.Workbook()
    book.active.sheet_state = "hidden"
    book.active.append(["hidden"])
    book.create_sheet("two").append(["shown"])
    book.create_sheet("three").append(["later"])
    made = io.BytesIO()
    book.save(made)
    assert cells(made.getvalue()) == [(Cell("shown"),)]


def test_rows_keep_the_numbers_that_excel_shows() -> None:
    assert [row.number for row in read(xlsx(["a"], [None], ["b"]))] == [1, 3]
    assert [row.number for row in read(b'a,b\r\n\r\n"c\r\nc",d\r\ne,f\r\n')] == [1, 3, 5]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "gb18030", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_in_the_encodings_that_excel_writes(encoding: str, delimiter: str) -> None:
    text = delimiter.join(["店铺商品编码", "数量"]) + "\r\n" + delimiter.join(["青瓷杯", "2"]) + "\r\n"
    assert read(text.encode(encoding)) == [
        Row(1, (Cell("店铺商品编码"), Cell("数量"))),
        Row(2, (Cell("青瓷杯"), Cell("2"))),
    ]


def test_csv_cells() -> None:
    made = b'="00123",6.12346E+17,\t0001,=A1+1,#N/A,a=b\r\n'
    assert cells(made) == [
        (
            Cell("00123"),
            Cell("6.12346E+17", Kind.LONG),
            Cell("0001"),
            Cell("=A1+1", Kind.FORMULA),
            Cell("#N/A", Kind.ERROR),
            Cell("a=b"),
        )
    ]


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (b"\xd0\xcf\x11\xe0 old", "另存为 .xlsx"),
        (b"PK\x03\x04 not a workbook", "另存为 .xlsx"),
        (b"\xff\xff\x80\x81\xff", "UTF-8"),
        (b"a\x00b", "CSV"),
        (b"x" * (files.MAX_FILE_BYTES + 1), "拆分"),
        (b"a\n" * (files.MAX_ROWS + 2), "拆分"),
        (b'"' + b"x" * 200_000, "CSV"),
    ],
)
def test_what_is_no_table_is_said(file: bytes, says: str) -> None:
    with pytest.raises(BadFile) as raised:
        read(file)
    assert says in raised.value.zh and raised.value.en


def test_a_file_that_unpacks_to_gigabytes_is_not_unpacked() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b" " * 200_000_000)
    assert len(made.getvalue()) < files.MAX_FILE_BYTES
    with pytest.raises(BadFile, match="unpacks"):
        read(made.getvalue())


HOSTILE = ["00123", LONG, "1-2", "=1+1", "+86", "-5", "@x", "1E5", "3.10", "青瓷杯", 'a"b', "a,b", "TRUE", "x"]


@pytest.mark.feature("F125")
def test_what_is_written_is_text_to_excel() -> None:
    book = openpyxl.load_workbook(io.BytesIO(write(["编码"], [(code,) for code in HOSTILE], "xlsx")))
    column = [book.active.cell(row, 1) for row in range(2, len(HOSTILE) + 2)]
    assert [cell.value for cell in column] == HOSTILE
    assert {(cell.data_type, cell.number_format) for cell in column} == {("s", "@")}
    made = write(["编码"], [(code,) for code in HOSTILE], "csv")
    assert made.startswith(b"\xef\xbb\xbf")
    rows = [row[0] for row in csv.reader(io.StringIO(made.decode("utf-8-sig")))][1:]
    behind_a_tab = {row[1:] for row in rows if row.startswith("\t")}
    assert behind_a_tab == {"00123", LONG, "1-2", "=1+1", "+86", "-5", "@x", "1E5", "3.10"}


_texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp", "Cf")), max_size=12)


@given(st.lists(st.tuples(_texts, st.integers(1, 1000)), max_size=5), st.sampled_from(["xlsx", "csv"]))
def test_what_is_written_is_read_again(rows: list[tuple[str, int]], form: files.Format) -> None:
    kept = read(write(["编码", "数量"], rows, form))[1:]
    assert [(row.cells[0].text, row.cells[1].text) for row in kept] == [(text, str(n)) for text, n in rows]
