"""Pieces on hand from the files that people have: what Excel and WPS save is read, and what they have lost is named."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from openpyxl import Workbook

from gateway.sheets.stock import BadStock, StockRow, parse

ONE = [StockRow("CUP-01", "WH-HZ", 5)]


def sheet(*rows: Sequence[object]) -> bytes:
    book = Workbook()
    for row in rows:
        book.active.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def problems(file: bytes) -> list[tuple[int, str]]:
    with pytest.raises(BadStock) as caught:
        parse(file)
    assert all(one.zh and one.en for one in caught.value.wrong)
    return [(one.row, one.zh) for one in caught.value.wrong]


@pytest.mark.parametrize(
    "file",
    [
        b"sku,warehouse,on_hand\nCUP-01,WH-HZ,5\n",
        b"\xef\xbb\xbfsku,warehouse,on_hand\r\nCUP-01,WH-HZ,5\r\n,,\r\n\r\n",
        b"sku;warehouse;on_hand\nCUP-01;WH-HZ;5\n",
        "SKU,仓库,在库,锁定\nCUP-01 , WH-HZ,5.0,0\n".encode("gbk"),
        "备注\t在库数量\t商品编码\t仓库\n早\t5\tCUP-01\tWH-HZ\n".encode("utf-16"),
        sheet(["SKU", "仓库", "在库"], ["CUP-01", "WH-HZ", 5], [None, " ", None]),
    ],
    ids=["plain", "Excel's UTF-8", "semicolons", "GBK", "Excel's Unicode text", "XLSX"],
)
def test_what_spreadsheets_save_is_read(file: bytes) -> None:
    assert parse(file) == ONE


def test_a_file_with_a_header_alone_sets_nothing() -> None:
    assert parse(b"sku,warehouse,on_hand\n") == []


def test_codes_that_excel_has_spoilt_are_named_and_not_set() -> None:
    shortened = b"sku,warehouse,on_hand\n6.12E+11,WH-HZ,5\n"
    assert problems(shortened)[0][1].startswith("仓库商品编码：Excel 把长编码存成了数字")
    kept = sheet(["sku", "warehouse", "on_hand"], [612345678901234567, "W", 1], [1.5, "W", 1], ["00123", "W", "=1+1"])
    assert [row for row, _ in problems(kept)] == [2, 3, 4]


def test_everything_that_is_wrong_is_named_at_once() -> None:
    rows = b'sku,warehouse,on_hand\nA,W,"1,000"\nB,W,-1\n,W,1\nC,W,\nD,W,1\nD,W,2\nE,W,3000000000\nF,W,5pcs\n'
    found = problems(rows)
    assert [row for row, _ in found] == [2, 3, 4, 5, 7, 8, 9]
    assert found[4][1] == "D W 重复，第 6 行已有"


@pytest.mark.parametrize(
    ("file", "zh"),
    [
        (b"", "缺少列 on_hand, sku, warehouse"),
        ("仓库,数量\nW,1\n".encode(), "缺少列 sku"),
        (b"sku,warehouse,on_hand,pieces\nA,W,1,2\n", "“pieces”与“on_hand”是同一列"),
        (b"\xd0\xcf\x11\xe0", "旧版 .xls"),
    ],
)
def test_a_file_that_is_none_of_these_is_told_what_it_should_be(file: bytes, zh: str) -> None:
    [(_, said)] = problems(file)
    assert zh in said


def test_all_balances_of_a_large_shop_are_read() -> None:
    file = "sku,warehouse,on_hand\n" + "".join(f"S{number},WH-HZ,{number}\n" for number in range(100_000))
    assert len(parse(file.encode())) == 100_000
