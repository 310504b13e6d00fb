"""docs/desk.md: what waits for a person, one by one and many at once."""

from __future__ import annotations

from datetime import UTC, datetime

from openpyxl import load_workbook

from gateway.core.event import Arrival, ConnectionName, Event, EventId, Leg, Position
from gateway.core.text import Text
from gateway.store.dead import DeadLetter
from tests.pages.page import Page
from tests.pages.reading import blocks_of
from tests.pages.stage import until
from tests.pages.town import REFUSES, Town

NO_PHONE = {"name": "张三", "province": "上海市", "city": "上海市", "district": "浦东新区", "detail": "张江路1号"}


def story(page: Page, town: Town) -> None:
    folder, run = page.stage.folder, page.stage.run
    assert run("ordergate stock set CUP-01 WH-HZ 0 -r new").code == 0
    short = [town.order(number, sku="CUP-01") for number in ("1101", "1102", "1103")]
    for number in short:
        town.held(number, "short_of_stock")
    town.blocked("1001")

    cards = page.run("ordergate work list")
    assert "3 × 等待 shop-a: 库存不足 (short_of_stock)  [wang]" in cards
    assert "如 A1101、A1102、A1103" in cards and "→ 补货并更新库存，订单自动继续: ordergate stock set" in cards
    items = page.run("ordergate work items --kind hold --code short_of_stock")
    assert all(number in items for number in short) and "A1001" not in items
    page.run("ordergate orders export --stuck -o stuck.xlsx")
    rows = list(load_workbook(folder / "stuck.xlsx").worksheets[0].values)
    assert {"A1001", *short} <= {cell for row in rows for cell in row}

    assert "3 个订单继续" in page.run('ordergate stock set CUP-01 WH-HZ 120 -r "到货"')
    for number in short:
        town.sent(number)
    (folder / "stock.csv").write_text("sku,warehouse,on_hand\nCUP-01,WH-HZ,110\nCUP-03,WH-HZ,5\n", encoding="utf-8")
    assert "已更改 2 项（其中新建 1 项）" in page.run('ordergate stock import stock.csv -r "盘点"')

    assert "最晚发货" in page.run("ordergate orders list --near-ship-by")
    shown = page.run("ordergate orders show A1001")
    assert "rejected:http_4xx" in shown and "张三" not in shown and "13800000000" not in shown
    town.order("3927461500123")
    town.sent("A3927461500123")
    assert "A3927461500123" in page.run("ordergate orders list --channel-no 3927461500123")

    _one(page, town)
    _many(page, town)
    _decided_again(page, town)
    _paused(page, town)
    assert "3 × delivery wms-1 create: nobody knows whether the target has it (unknown)" in page.run(
        "ordergate work list --lang en"
    )


def _one(page: Page, town: Town) -> None:
    edit, english = blocks_of("docs/desk.md", "json")
    assert edit == english
    (page.stage.folder / "fix.json").write_text(edit, encoding="utf-8")
    tries = len(town.sql(_ATTEMPTS, "A1001"))
    with town.trouble(REFUSES):
        page.run('ordergate deliveries resend A1001 wms-1 1 --edit fix.json -r "地址有误"')
        until(lambda: len(town.sql(_ATTEMPTS, "A1001")) > tries, "it to be refused again")
        town.until_blocked("A1001")
    page.run('ordergate deliveries resolve A1001 wms-1 1 --reference W-77 -r "已手工录入"')
    shown = page.stage.run("ordergate orders show A1001").out
    assert "修改内容" in shown and "已手工录入 [W-77]" in shown

    town.confirm("A1001")
    town.cancel("1001")
    town.in_conflict("A1001")
    conflicts = "ordergate work items --kind conflict --code cancelled_but_shipped"
    assert "A1001" in page.stage.run(conflicts).out
    page.run('ordergate work handled A1001 -r "已联系快递拦截"')
    assert "A1001" not in page.stage.run(conflicts).out
    town.order("1601", receiver=NO_PHONE)
    town.held("A1601", "missing:receiver.phone")
    assert "已放行：缺少收件人电话" in page.run('ordergate orders approve A1601 -r "买家自提，不需要电话"')
    town.sent("A1601")
    assert "条报文，与已知一致" in page.run("ordergate orders reparse A1001 --dry-run")


def _many(page: Page, town: Town) -> None:
    unknown = town.unknown("1201", "1202", "1203")
    look = page.run("ordergate deliveries redrive --target wms-1 --code unknown --dry-run")
    assert "符合 3，将处理 3，留给人工 0" in look and "先查询对方，没有才发送" in look
    before = town.sql(_LANES, unknown)
    town.sql("ALTER TABLE redrive ALTER COLUMN redrive_id RESTART WITH 7")
    command = "ordergate deliveries redrive --target wms-1 --code unknown --yes --cap 5000 --rate 20"
    assert "批次 7：重发 3 个，每秒 20 个" in page.run(f'{command} -r "仓库已恢复"')
    shown = page.run("ordergate redrives show 7")
    assert "进行中" in shown
    stopped = page.run('ordergate redrives stop 7 -r "先等等"')
    assert "已停止" in stopped
    assert town.sql(_LANES, unknown) == before

    town.set_aside(DeadLetter(_arrival(), "A1301", "undecidable", Text("出了什么错", "what is wrong")))
    look = page.run("ordergate dead redrive --source shop-a --code undecidable --dry-run")
    assert "符合 1，将处理 1" in look and "A1301" in look

    town.order("1401")
    town.sent("A1401")
    town.ship_silently("A1401")
    town.cancel("1401")
    assert town.until_blocked("A1401") == "rejected:cancel_refused"
    look = page.run("ordergate deliveries resolve-many --target wms-1 --code cancel_refused --dry-run")
    assert "将处理 1" in look and "A1401" in look and "已标记的不能撤销" in look
    before = town.sql(_LANES, ["A1401"])
    command = "ordergate deliveries resolve-many --target wms-1 --code cancel_refused --yes"
    assert "批次 8：标记已处理 1 个" in page.run(f'{command} -r "已电话取消"')
    stopped = page.run('ordergate redrives stop 8 -r "核实有误"')
    assert "已停止" in stopped and "停止时未动" in stopped
    assert town.sql(_LANES, ["A1401"]) == before
    page.stage.run(f"{command} -r again --start-in 0")
    until(lambda: not town.sql(_LANES, ["A1401"]), "it to be resolved")
    listed = page.run("ordergate redrives list")
    assert listed.count("标记已处理") == 2 and listed.count("重发") == 1
    assert "已标记的不能撤销" in page.stage.run("ordergate redrives show 9").out


def _decided_again(page: Page, town: Town) -> None:
    town.order("1602", receiver=NO_PHONE)
    town.held("A1602", "missing:receiver.phone")
    command = "ordergate orders reconsider-many --code missing:receiver.phone --connection shop-a"
    look = page.run(command)
    assert "符合 1，将处理 1" in look and "A1602" in look
    assert "1 个订单即将重新判断" in page.run(f'{command} --yes -r "电话不再必填"')


def _paused(page: Page, town: Town) -> None:
    assert "新的订单从此等待" in page.run('ordergate pause shop-a -r "价格有误"')
    number = town.order("1501")
    town.held(number, "paused")
    assert number in page.run("ordergate orders list --reason paused")
    assert "等待的 1 个订单" in page.run('ordergate resume shop-a -r "已更正"')
    town.sent(number)
    page.run('ordergate pause wms-1 --operation create -r "对方停机"')
    until(lambda: "手动断开" in page.stage.run("ordergate gates list").out, "the worker to follow")
    number = town.order("1502")
    until(lambda: town.sql(_LANES, [number]), "it to wait for the warehouse")
    page.run('ordergate resume wms-1 --operation create -r "对方恢复"')
    town.sent(number)


def _arrival() -> Arrival:
    now = datetime.now(UTC)
    event = Event(
        id=EventId("E1301"), source=ConnectionName("shop-a"), type="order", order_key="1301", time=now, body=b"{}"
    )
    return Arrival(event, Position(Leg.INBOX, -1, 1), now)


_ATTEMPTS = "SELECT 1 FROM attempt a JOIN orders o USING (order_id) WHERE o.number = $1"
_LANES = "SELECT l::text FROM lane l JOIN orders o USING (order_id) WHERE o.number = ANY($1::text[]) ORDER BY o.number"
