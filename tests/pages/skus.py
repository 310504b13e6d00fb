"""docs/skus.md: a mapped shop whose bundle is not in its table yet; what it has refused is told again."""

from __future__ import annotations

import re
from collections.abc import Sequence

from openpyxl import Workbook, load_workbook

from adapters.taobao.fake import FakeLine
from tests.pages.page import Page
from tests.pages.reading import text_of
from tests.pages.stage import until
from tests.pages.town import Town

BUNDLE = FakeLine(sku="礼盒", price_minor=9900, item_id=612345678901234567, name="青瓷杯礼盒")
REFUSAL = {"code": 15, "msg": "Remote service error", "sub_code": "isv.item-is-delete", "sub_msg": "商品已删除"}


def story(page: Page, town: Town) -> None:
    folder, run = page.stage.folder, page.stage.run
    for sku in ("CUP-01", "DISH-02", "CARD"):
        assert run(f"ordergate stock set {sku} WH-HZ 200 -r new").code == 0
    number = f"T{town.sell(BUNDLE)}"
    other = f"T{town.sell(FakeLine(sku='散件'))}"
    for one in (number, other):
        town.held(one, "unmapped_sku")

    assert "table.xlsx：2 个编码" in page.run("ordergate skus template tmall table.xlsx")
    first, *filled = load_workbook(folder / "table.xlsx").worksheets[0].values
    assert {row[0] for row in filled} == {"礼盒", "散件"}
    head, *rows = _table(page)
    assert list(first) == head
    _write(page, [head, *rows])

    town.refuse_stock(REFUSAL)
    said = page.run("ordergate skus import tmall table.xlsx -r 六一新品 --dry-run")
    assert said == "预览，未写入：新增 1，修改 0，未变 0，删除 0；放行 1 个被压住的订单\n"
    assert run("ordergate skus list tmall").out.count("礼盒") == 0
    said = page.run("ordergate skus import tmall table.xlsx -r 六一新品")
    assert said == "已导入：新增 1，修改 0，未变 0，删除 0；放行 1 个被压住的订单\n"
    town.sent(number)
    unmapped = page.run("ordergate skus list tmall --unmapped")
    assert "散件" in unmapped and "礼盒" not in unmapped
    assert "table.csv：1 个编码" in page.run("ordergate skus export tmall table.csv")
    csv = (folder / "table.csv").read_text(encoding="utf-8-sig").splitlines()
    assert csv[0] == ",".join(head) and len(csv) == len(rows) + 1

    refused = r"礼盒 +CUP-01 × 3 \+ DISH-02 × 1 \+ CARD × 1（赠品） +青瓷杯礼盒 .*(isv|rejected|商品已删除)"
    until(lambda: re.search(refused, run("ordergate skus list tmall").out), "the shop to refuse the level")
    assert re.search(refused, page.run("ordergate skus list tmall --refused"))
    assert page.run("ordergate skus publish tmall -r 修复 --refused") == "1 个编码将重新同步\n"
    until(lambda: town.taobao.levels, "the shop to be told again")
    [(cups,)] = town.sql("SELECT on_hand - locked - committed FROM stock WHERE sku = 'CUP-01'")
    # Three cups make a box; two are kept back, and of the rest it may sell four fifths.
    assert list(town.taobao.levels.values()) == [int((cups // 3 - 2) * 0.8)]


def _table(page: Page) -> list[list[str]]:
    lines = [line for line in text_of(page.path).splitlines() if line.startswith("| 店铺商品编码") or "礼盒 |" in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def _write(page: Page, rows: Sequence[Sequence[str]]) -> None:
    book = Workbook()
    for row in rows:
        book.worksheets[0].append([int(cell) if n == 2 and cell.isdigit() else cell for n, cell in enumerate(row)])
    book.save(page.stage.folder / "table.xlsx")
