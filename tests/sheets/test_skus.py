"""The SKU table of a shop as a file: the same rows back, and every problem with its row, column and remedy."""

from __future__ import annotations

from datetime import date

import pytest

from gateway.core.order import Part, Sku
from gateway.sheets import files
from gateway.sheets.skus import MAX_PROBLEMS, BadTable, Problem, SkuRow, parse, render
from tests.sheets.test_files import LONG, xlsx

HEADER = "店铺商品编码,仓库商品编码,数量,赠品,商品名称,平台商品ID,平台规格ID,同步库存\r\n"


def row(sku: str, *parts: Part, publish: bool | None = False, title: str = "", item_id: str = "") -> SkuRow:
    return SkuRow(sku=Sku(sku), parts=parts, title=title, item_id=item_id, sku_id="", publish=publish)


def part(sku: str, pieces: int = 1, *, gift: bool = False) -> Part:
    return Part(Sku(sku), pieces, gift)


TABLE = [
    row(LONG, part("00123"), item_id=LONG, publish=True, title="青瓷杯 6 只"),
    row("set", part("A", 2), part("B"), part("A", gift=True), part("G", gift=True)),
    row("=1+1", part("1-2", 1000)),
]


def problems(file: bytes | str) -> list[tuple[int, str, str]]:
    with pytest.raises(BadTable) as raised:
        parse(file.encode() if isinstance(file, str) else file)
    assert all(problem.zh and problem.en for problem in raised.value.problems)
    return [(problem.row, problem.column, problem.code) for problem in raised.value.problems]


@pytest.mark.feature("F125")
@pytest.mark.parametrize("form", ["xlsx", "csv"])
@pytest.mark.parametrize("english", [False, True])
def test_a_table_comes_back_as_it_was(form: files.Format, english: bool) -> None:
    assert parse(render(TABLE, form, english=english)) == TABLE


def test_columns_in_any_order_and_other_ones_between() -> None:
    made = "备注,数量, SKU ,店铺SKU（必填）\r\n给小王,２,W-1,S-1\r\n,1,W-2,S-1\r\n"
    assert parse(made.encode("gbk")) == [
        SkuRow(sku=Sku("S-1"), parts=(part("W-1", 2), part("W-2")), title=None, item_id=None, sku_id=None, publish=None)
    ]


@pytest.mark.feature("F125")
def test_all_problems_at_once_each_with_its_place() -> None:
    made = HEADER + "\r\n".join(
        [
            ",W1,1,,,,,",
            "S1,,1,,,,,",
            "S2,W1,0,,,,,",
            "S2,W1,1.5,,,,,",
            "S3,W1,1,也许,,,,",
            "S4,W1,1,,,,,是",
            "S4,W1,2,,,,,否",
            "S5,6.12346E+17,1,,,,,",
            "S6,=A1,1,,,,,",
            "S7,G,1,是,,,,",
            "S8,W1,1,,杯,1,,",
            "S8,W2,1,,碗,2,,",
            f"{'x' * 200},W1,1,,,,,",
        ]
    )
    assert problems(made) == [
        (2, "店铺商品编码", "missing"),
        (3, "仓库商品编码", "missing"),
        (4, "数量", "quantity"),
        (5, "数量", "quantity"),
        (6, "赠品", "flag"),
        (8, "仓库商品编码", "twice"),
        (8, "同步库存", "differs"),
        (9, "仓库商品编码", "long"),
        (10, "仓库商品编码", "formula"),
        (11, "赠品", "only_gifts"),
        (13, "商品名称", "differs"),
        (13, "平台商品ID", "differs"),
        (14, "店铺商品编码", "long"),
    ]


@pytest.mark.feature("F125")
def test_excel_s_traps() -> None:
    made = xlsx(
        ["店铺商品编码", "仓库商品编码", "数量"],
        [int(LONG), "W", 1],
        [123, 7, 2.0],
        ["S3", date(2026, 1, 2), 1],
        ["S4", 1.1, 1],
        ["S5", "=B2", "=1+1"],
        ["S6", "#REF!", 1],
        [None, "merged", 1],
    )
    assert problems(made) == [
        (2, "店铺商品编码", "long"),
        (4, "仓库商品编码", "date"),
        (5, "仓库商品编码", "decimal"),
        (6, "仓库商品编码", "formula"),
        (6, "数量", "formula"),
        (7, "仓库商品编码", "error"),
        (8, "店铺商品编码", "missing"),
    ]
    with pytest.raises(BadTable) as raised:
        parse(made)
    assert "“文本”格式" in raised.value.problems[0].zh and "format the column as text" in raised.value.problems[0].en
    good = xlsx(["店铺商品编码", "仓库商品编码", "数量"], [123, 7, 2.0], formats={"A2": "000000"})
    assert [(one.sku, one.parts) for one in parse(good)] == [("000123", (part("7", 2),))]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("", [(0, "", "empty")]),
        (HEADER, [(0, "", "empty")]),
        ("foo,bar\r\n1,2\r\n", [(1, "店铺商品编码", "header"), (1, "仓库商品编码", "header"), (1, "数量", "header")]),
        ("sku,shop_sku,quantity,货品编码\r\n", [(1, "货品编码", "header")]),
        ("\0", [(0, "", "file")]),
    ],
)
def test_what_is_no_sku_table_is_said(file: str, expected: list[tuple[int, str, str]]) -> None:
    assert problems(file) == expected


def test_a_file_full_of_problems_lists_the_first_and_counts_all() -> None:
    with pytest.raises(BadTable) as raised:
        parse((HEADER + "S,W,none\r\n" * (MAX_PROBLEMS + 5)).encode())
    assert len(raised.value.problems) == MAX_PROBLEMS and raised.value.count == MAX_PROBLEMS + 5
    assert isinstance(raised.value.problems[0], Problem)


@pytest.mark.parametrize(("form", "count"), [("csv", files.MAX_ROWS), ("xlsx", 5_000)])
def test_large_tables_are_read(form: files.Format, count: int) -> None:
    """A full one of 50,000 rows takes about 8 s of CPU as XLSX and 1 s as CSV."""
    made = render([row(f"{10**17 + n}", part(f"W{n}")) for n in range(count)], form)
    assert len(made) < files.MAX_FILE_BYTES
    assert len(parse(made)) == count
