"""The SKU table of a shop as a file: one row per part, the rows of one shop SKU together make its recipe.

Columns go by their Chinese or English titles, in any order. The whole file is read before anything is used: every
problem is named with its row and column and with what to do.
"""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Iterable, Sequence

import msgspec

from gateway.core.order import Part, Sku
from gateway.sheets.files import EMPTY, MAX_CELL_CHARS, BadFile, Cell, Format, Kind, Row, read, write

MAX_PIECES = 1_000
MAX_PARTS = 50
MAX_PROBLEMS = 1_000
_SHOP_SKU_CHARS = 128
_SKU_CHARS = 64


class Column(enum.Enum):
    SHOP_SKU = "shop_sku"
    SKU = "sku"
    QUANTITY = "quantity"
    GIFT = "gift"
    TITLE = "title"
    ITEM_ID = "item_id"
    SKU_ID = "sku_id"
    PUBLISH = "publish"


TITLES: dict[Column, tuple[str, ...]] = {
    Column.SHOP_SKU: ("店铺商品编码", "shop_sku", "店铺编码", "店铺SKU", "商家编码", "外部编码", "shop sku"),
    Column.SKU: ("仓库商品编码", "sku", "仓库编码", "仓库SKU", "货品编码", "商品编码", "warehouse sku", "merchant sku"),
    Column.QUANTITY: ("数量", "quantity", "件数", "pieces", "qty"),
    Column.GIFT: ("赠品", "gift", "是否赠品"),
    Column.TITLE: ("商品名称", "title", "名称", "name"),
    Column.ITEM_ID: ("平台商品ID", "item_id", "商品ID", "item id", "num_iid", "goods_id"),
    Column.SKU_ID: ("平台规格ID", "sku_id", "规格ID", "sku id"),
    Column.PUBLISH: ("同步库存", "publish", "发布库存"),
}
"""The first of each is written, the second in English."""

_NEEDED = (Column.SHOP_SKU, Column.SKU, Column.QUANTITY)
_CODES = (Column.SHOP_SKU, Column.SKU, Column.ITEM_ID, Column.SKU_ID)
_YES = frozenset("是 y yes true 1 √ ✓ 有".split())
_NO = frozenset(["", *"否 n no false 0 × 无".split()])


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong: in which row and column (as the file has it; 0 and empty for the whole file), and what to do."""

    row: int
    column: str
    code: str
    zh: str
    en: str


class SkuRow(msgspec.Struct, frozen=True, kw_only=True):
    """A shop SKU as the file has it; None where the file has no such column."""

    sku: Sku
    parts: tuple[Part, ...]
    title: str | None
    item_id: str | None
    sku_id: str | None
    publish: bool | None


class BadTable(Exception):
    """`problems`: the first MAX_PROBLEMS; `count`: how many there are."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = tuple(problems[:MAX_PROBLEMS])
        self.count = len(problems)


def parse(file: bytes) -> list[SkuRow]:
    """The shop SKUs of a file, in its order. Raises BadTable with everything that is wrong."""
    try:
        rows = read(file)
    except BadFile as error:
        raise BadTable([Problem(row=0, column="", code="file", zh=error.zh, en=error.en)]) from error
    reading = _Reading()
    if not rows or not reading.take_header(rows[0]):
        if not rows:
            reading.add(0, "", "empty", "文件是空的", "the file is empty")
        raise BadTable(reading.problems)
    for row in rows[1:]:
        reading.take(row)
    found = reading.finish()
    if reading.problems:
        raise BadTable(sorted(reading.problems, key=lambda problem: problem.row))
    return found


def render(rows: Iterable[SkuRow], form: Format, *, english: bool = False) -> bytes:
    """The file that `parse` reads the same rows from; a row without parts leaves room for its first."""
    return write(
        [titles[1 if english else 0] for titles in TITLES.values()],
        [
            (
                row.sku,
                part.sku if part is not None else "",
                part.pieces if part is not None else "",
                _yes(part is not None and part.gift, english),
                row.title or "",
                row.item_id or "",
                row.sku_id or "",
                _yes(bool(row.publish), english),
            )
            for row in rows
            for part in (row.parts or (None,))
        ],
        form,
    )


class _Draft:
    """A shop SKU while its rows are read."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.parts: dict[tuple[Sku, bool], int] = {}
        self.texts: dict[Column, str] = {}
        self.publish: bool | None = None


class _Reading:
    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._columns: dict[Column, tuple[int, str]] = {}
        self._drafts: dict[Sku, _Draft] = {}

    def add(self, row: int, column: str, code: str, zh: str, en: str) -> None:
        self.problems.append(Problem(row=row, column=column, code=code, zh=zh, en=en))

    def take_header(self, row: Row) -> bool:
        """Whether the columns that are needed are there."""
        known = {plain(title): column for column, titles in TITLES.items() for title in titles}
        for index, cell in enumerate(row.cells):
            column = known.get(plain(cell.text))
            if column is None:
                continue
            if column in self._columns:
                what = f"“{cell.text}”与“{self._columns[column][1]}”是同一列，请删除一列"
                self.add(row.number, cell.text, "header", what, "this column is there twice: remove one")
                continue
            self._columns[column] = (index, cell.text)
        for column in _NEEDED:
            if column not in self._columns:
                zh, en = TITLES[column][:2]
                seen = "、".join(cell.text for cell in row.cells if cell.text)[:200]
                self.add(
                    row.number,
                    zh,
                    "header",
                    f"缺少列“{zh}”（第 {row.number} 行现有：{seen}），请使用模板：ordergate skus template",
                    f"the column {en} ({zh}) is missing: start from `ordergate skus template`",
                )
        return not self.problems

    def take(self, row: Row) -> None:
        before = len(self.problems)
        shop_sku = Sku(self._code(row, Column.SHOP_SKU, _SHOP_SKU_CHARS, needed=True))
        sku = Sku(self._code(row, Column.SKU, _SKU_CHARS, needed=True))
        pieces = self._pieces(row)
        gift = self._flag(row, Column.GIFT)
        publish = self._flag(row, Column.PUBLISH)
        texts = {
            Column.TITLE: self._text(row, Column.TITLE),
            Column.ITEM_ID: self._code(row, Column.ITEM_ID, _SKU_CHARS),
            Column.SKU_ID: self._code(row, Column.SKU_ID, _SKU_CHARS),
        }
        if len(self.problems) > before:
            if shop_sku:
                self._drafts.setdefault(shop_sku, _Draft(row.number))
            return
        draft = self._drafts.setdefault(shop_sku, _Draft(row.number))
        if (sku, gift) in draft.parts:
            self.add(
                row.number,
                self._title(Column.SKU),
                "twice",
                f"{shop_sku} 已有 {sku}（第 {draft.number} 行起），请合并为一行并把数量相加",
                f"{shop_sku} has {sku} already (from row {draft.number}): make it one row with the sum",
            )
        draft.parts[sku, gift] = pieces
        for column, text in texts.items():
            if text and draft.texts.setdefault(column, text) != text:
                self._differs(row, column, shop_sku, draft.texts[column])
        if Column.PUBLISH in self._columns and self._at(row, Column.PUBLISH).text:
            if draft.publish not in (None, publish):
                self._differs(row, Column.PUBLISH, shop_sku, "是" if draft.publish else "否")
            draft.publish = publish

    def finish(self) -> list[SkuRow]:
        """The shop SKUs, with what only all their rows together can be wrong in."""
        found = []
        for sku, draft in self._drafts.items():
            parts = [Part(part, pieces, gift) for (part, gift), pieces in draft.parts.items()]
            if parts and all(part.gift for part in parts):
                self.add(
                    draft.number,
                    self._title(Column.GIFT),
                    "only_gifts",
                    f"{sku} 只有赠品，至少要有一行不是赠品",
                    f"{sku} has nothing but gifts: at least one row is what is sold",
                )
            if len(parts) > MAX_PARTS:
                self.add(
                    draft.number,
                    self._title(Column.SHOP_SKU),
                    "too_many",
                    f"{sku} 有 {len(parts)} 行，最多 {MAX_PARTS} 行",
                    f"{sku} has {len(parts)} rows, at most {MAX_PARTS} are possible",
                )
            found.append(
                SkuRow(
                    sku=sku,
                    parts=tuple(sorted(parts, key=lambda part: (part.gift, part.sku))),
                    title=self._shared(draft, Column.TITLE),
                    item_id=self._shared(draft, Column.ITEM_ID),
                    sku_id=self._shared(draft, Column.SKU_ID),
                    publish=bool(draft.publish) if Column.PUBLISH in self._columns else None,
                )
            )
        if not found and not self.problems:
            self.add(0, "", "empty", "只有表头，没有数据", "there is a header and nothing below it")
        return found

    # --- one cell

    def _at(self, row: Row, column: Column) -> Cell:
        place = self._columns.get(column)
        return row.cells[place[0]] if place is not None and place[0] < len(row.cells) else EMPTY

    def _title(self, column: Column) -> str:
        place = self._columns.get(column)
        return TITLES[column][0] if place is None else place[1]

    def _shared(self, draft: _Draft, column: Column) -> str | None:
        return draft.texts.get(column, "") if column in self._columns else None

    def _text(self, row: Row, column: Column) -> str:
        cell = self._at(row, column)
        if cell.kind in (Kind.FORMULA, Kind.ERROR):
            return self._unread(row, column, cell)
        return cell.text[:MAX_CELL_CHARS]

    def _code(self, row: Row, column: Column, most: int, *, needed: bool = False) -> str:
        cell = self._at(row, column)
        title = self._title(column)
        if cell.kind not in (Kind.TEXT, Kind.NUMBER):
            return self._unread(row, column, cell)
        if not cell.text and needed:
            self.add(
                row.number,
                title,
                "missing",
                "没有填写（合并单元格只有第一行有值，每行都要填）",
                "is empty (of merged cells only the first has a value: write it in every row)",
            )
        if len(cell.text) > most:
            self.add(row.number, title, "long", f"超过 {most} 个字符", f"has more than {most} characters")
            return ""
        if not cell.text.isprintable():
            self.add(
                row.number, title, "characters", "含有不可见字符，请重新输入", "has invisible characters: type it again"
            )
            return ""
        return cell.text

    def _pieces(self, row: Row) -> int:
        cell = self._at(row, Column.QUANTITY)
        text = unicodedata.normalize("NFKC", cell.text)
        if cell.kind in (Kind.FORMULA, Kind.ERROR, Kind.DATE):
            self._unread(row, Column.QUANTITY, cell)
        elif re.fullmatch(r"[0-9]{1,6}(\.0+)?", text) and 1 <= int(text.split(".")[0]) <= MAX_PIECES:
            return int(text.split(".")[0])
        else:
            what = f"“{cell.text[:20]}”" if cell.text else "没有填写"
            shown = repr(cell.text[:20]) if cell.text else "nothing"
            self.add(
                row.number,
                self._title(Column.QUANTITY),
                "quantity",
                f"{what}：需要 1 到 {MAX_PIECES} 的整数；不再使用的商品请整行删除并用 --replace 导入",
                f"is {shown}: write a whole number, 1 to {MAX_PIECES} (to end a SKU, drop its rows and use --replace)",
            )
        return 0

    def _flag(self, row: Row, column: Column) -> bool:
        cell = self._at(row, column)
        text = unicodedata.normalize("NFKC", cell.text).lower()
        if text in _YES or text in _NO:
            return text in _YES
        self.add(
            row.number,
            self._title(column),
            "flag",
            f"“{cell.text[:20]}”：填 是 或 否",
            f"is {cell.text[:20]!r}: write yes or no",
        )
        return False

    def _unread(self, row: Row, column: Column, cell: Cell) -> str:
        zh, en = LOST[cell.kind]
        self.add(row.number, self._title(column), cell.kind.value, zh, en)
        return ""

    def _differs(self, row: Row, column: Column, shop_sku: str, first: str) -> None:
        self.add(
            row.number,
            self._title(column),
            "differs",
            f"与 {shop_sku} 前面的行（{first[:40]}）不同，请填一样的值或留空",
            f"differs from an earlier row of {shop_sku} ({first[:40]}): write the same, or nothing",
        )


LOST = {
    Kind.LONG: (
        "Excel 把长编码存成了数字，末尾几位已丢失：把这一列设为“文本”格式后重新粘贴原编码",
        "Excel kept this long code as a number and lost its last digits: format the column as text and paste it again",
    ),
    Kind.DECIMAL: (
        "Excel 把编码存成了小数：把这一列设为“文本”格式后重新输入",
        "Excel kept this code as a decimal number: format the column as text and type it again",
    ),
    Kind.DATE: (
        "Excel 把编码变成了日期：把这一列设为“文本”格式后重新输入",
        "Excel made a date of it: format the column as text and type it again",
    ),
    Kind.ERROR: ("公式出错的单元格，请填写真实的值", "holds an Excel error: write the value itself"),
    Kind.FORMULA: (
        "公式没有保存结果：在 Excel 中复制这一列，选择性粘贴为“值”后再导入",
        "is a formula without a stored result: paste the column as values",
    ),
}


def plain(title: str) -> str:
    """A title as it is compared: `商家编码 *（必填）` is `商家编码`."""
    return re.sub(r"\(.*?\)|[\s_*]", "", unicodedata.normalize("NFKC", title)).lower()


def _yes(flag: bool, english: bool) -> str:
    return ("yes" if english else "是") if flag else ""
