"""Pieces on hand as a file: one row per SKU and warehouse.

Columns go by their Chinese or English titles, in any order; those of `stock list` are among them. The whole file is
read before anything is used, and every problem is named with its row and with what to do.
"""

from __future__ import annotations

import re

import msgspec

from gateway.sheets.files import EMPTY, BadFile, Cell, Kind, Row, read
from gateway.sheets.skus import LOST, plain

MAX_ROWS = 1_000_000
MAX_FILE_BYTES = 100_000_000
"""Read by the command on the operator's machine: more than a gateway would take."""
MAX_PIECES = 2_000_000_000
_CODE_CHARS = 64

TITLES = {
    "sku": ("sku", "仓库商品编码", "商品编码", "货品编码", "仓库SKU", "warehouse sku"),
    "warehouse": ("warehouse", "仓库"),
    "on_hand": ("on_hand", "在库", "在库数量", "数量", "on hand", "pieces"),
}


class StockRow(msgspec.Struct, frozen=True):
    sku: str
    warehouse: str
    on_hand: int


class Wrong(msgspec.Struct, frozen=True):
    """What is wrong in a row; 0 is the whole file."""

    row: int
    zh: str
    en: str


class BadStock(Exception):
    """`wrong`: everything, in the order of the file."""

    def __init__(self, wrong: list[Wrong]) -> None:
        super().__init__(f"{len(wrong)} problems")
        self.wrong = wrong


def parse(file: bytes) -> list[StockRow]:
    """The balances of an XLSX or CSV file, in its order. Raises BadStock."""
    try:
        rows = read(file, most_rows=MAX_ROWS, most_bytes=MAX_FILE_BYTES)
    except BadFile as error:
        raise BadStock([Wrong(0, error.zh, error.en)]) from error
    columns = _columns(rows[0] if rows else Row(1, ()))
    found, wrong, lines = [], list[Wrong](), dict[tuple[str, str], int]()
    for row in rows[1:]:
        before = len(wrong)
        sku, warehouse = (_code(row, columns, name, wrong) for name in ("sku", "warehouse"))
        on_hand = _pieces(row, columns, wrong)
        if len(wrong) > before:
            continue
        if (first := lines.setdefault((sku, warehouse), row.number)) != row.number:
            what = f"{sku} {warehouse} 重复，第 {first} 行已有"
            wrong.append(Wrong(row.number, what, f"{sku} {warehouse} stands there twice, on line {first} too"))
            continue
        found.append(StockRow(sku, warehouse, on_hand))
    if wrong:
        raise BadStock(wrong)
    return found


def _columns(header: Row) -> dict[str, int]:
    """Where the columns are. Raises BadStock."""
    known = {plain(title): name for name, titles in TITLES.items() for title in titles}
    columns = dict[str, int]()
    for index, cell in enumerate(header.cells):
        name = known.get(plain(cell.text))
        if name in columns:
            what = f"“{cell.text}”与“{header.cells[columns[name]].text}”是同一列，请删除一列"
            raise BadStock([Wrong(header.number, what, f"the column {name} is there twice: remove one")])
        if name is not None:
            columns[name] = index
    if missing := sorted(TITLES.keys() - columns.keys()):
        names = ", ".join(missing)
        zh = f"缺少列 {names}；第一行应为 sku,warehouse,on_hand（半角逗号），或 SKU、仓库、在库"
        raise BadStock([Wrong(0, zh, f"columns missing: {names}; its first line is sku,warehouse,on_hand")])
    return columns


def _at(row: Row, column: int) -> Cell:
    return row.cells[column] if column < len(row.cells) else EMPTY


def _code(row: Row, columns: dict[str, int], name: str, wrong: list[Wrong]) -> str:
    cell = _at(row, columns[name])
    if cell.kind not in (Kind.TEXT, Kind.NUMBER):
        zh, en = LOST[cell.kind]
        wrong.append(Wrong(row.number, f"{TITLES[name][1]}：{zh}", f"{name}: {en}"))
    elif not cell.text or len(cell.text) > _CODE_CHARS or not cell.text.isprintable():
        zh = f"{TITLES[name][1]}：需要 1 到 {_CODE_CHARS} 个可见字符（合并单元格只有第一行有值）"
        en = f"{name}: needs 1 to {_CODE_CHARS} visible characters (of merged cells only the first has a value)"
        wrong.append(Wrong(row.number, zh, en))
    return cell.text


def _pieces(row: Row, columns: dict[str, int], wrong: list[Wrong]) -> int:
    cell = _at(row, columns["on_hand"])
    if re.fullmatch(r"[0-9]{1,10}(\.0+)?", cell.text) and cell.kind is not Kind.FORMULA:
        pieces = int(cell.text.partition(".")[0])
        if pieces <= MAX_PIECES:
            return pieces
    zh = f"在库：需要 0 到 {MAX_PIECES} 的整数，不带千位分隔符和单位"
    wrong.append(Wrong(row.number, zh, f"on_hand: needs a whole number, 0 to {MAX_PIECES}, nothing else"))
    return 0
