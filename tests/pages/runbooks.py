"""docs/runbooks: each page in the case that it is for."""

from __future__ import annotations

import getpass
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from gateway.testing.fakes import Faults
from tests.pages.page import Page
from tests.pages.skus import REFUSAL
from tests.pages.stage import until
from tests.pages.town import AWAY, ORDER, Town, push
from tests.ports import free_port

BREAKER_JUDGES_FROM = 8
"""Calls, by default."""


def overview(page: Page, town: Town) -> None:
    town.blocked("4001")
    until(lambda: "待人工" in page.stage.run("ordergate notices open").out, "the condition")
    assert re.search(r"待人工 +wms-1", page.run("ordergate notices open"))
    assert "待人工" in page.run("ordergate notices list")
    mails = len(town.mailbox.mails)
    assert "✓" in page.run("ordergate notices test ops-mail")
    assert len(town.mailbox.mails) == mails + 1


def authorise(page: Page, town: Town) -> None:
    town.taobao.session = "authorised-again"
    listed = "ordergate connections list"
    until(lambda: re.search(r"tmall +taobao +需重新授权", page.stage.run(listed).out), "the platform to refuse us")
    assert "授权到期" in page.run(listed)
    given = {"access_token": "authorised-again", "expires_in": 86400}
    (page.stage.folder / "given").write_text(json.dumps(given), encoding="utf-8")
    assert "完成" in page.run('ordergate connections authorise tmall --reason "重新授权" --from given')
    until(lambda: re.search(r"tmall +taobao +启用", page.stage.run(listed).out), "the shop to be read again")


def clock(page: Page, town: Town) -> None:
    assert "没有问题" in page.run("ordergate check")


def configs_differ(page: Page, town: Town) -> None:
    assert "没有问题" in page.run("ordergate check")
    assert "符合 0" in page.run("ordergate orders reconsider-many --code over_limit")


def backlog(page: Page, town: Town) -> None:
    listed = page.run("ordergate gates list")
    assert all(title in listed for title in ("暂停", "在途/上限", "状态"))
    assert re.search(r"wms-1 +下单 +闭合 .* 0/\d+ ", listed)


def level(page: Page, town: Town) -> None:
    town.refuse_stock(REFUSAL)
    table = "店铺商品编码,仓库商品编码,数量,平台商品ID,同步库存\r\n茶罐,TIN-01,1,612345678901234599,是\r\n"
    (page.stage.folder / "given.csv").write_text(table, encoding="utf-8")
    assert "新增 1" in page.stage.run("ordergate skus import tmall given.csv -r why").out
    until(lambda: "库存回传被拒" in page.stage.run("ordergate notices open").out, "the condition")
    assert re.search(r"茶罐 .*商品已删除", page.run("ordergate skus list tmall --refused"))
    town.taobao.levels.clear()
    assert page.run("ordergate skus publish tmall --refused --reason why") == "1 个编码将重新同步\n"
    until(lambda: town.taobao.levels, "the shop to be told again")
    assert "茶罐" not in page.stage.run("ordergate skus list tmall --refused").out
    town.sql("DELETE FROM listing WHERE sku = '茶罐' RETURNING 1")
    town.taobao.levels.clear()


def ship_by(page: Page, town: Town) -> None:
    assert page.stage.run("ordergate stock set CUP-01 WH-HZ 0 -r new").code == 0
    soon = datetime.now(UTC) + timedelta(hours=1)
    number = town.order("4151", sku="CUP-01", latest_ship_at=soon.isoformat())
    later = town.order("4152", sku="CUP-01", latest_ship_at=(soon + timedelta(days=2)).isoformat())
    for one in (number, later):
        town.held(one, "short_of_stock")
    listed = page.run("ordergate orders list --near-ship-by --connection shop-a")
    assert re.search(rf"{number} +shop-a +\S+ +库存不足", listed) and later not in listed
    assert "库存不足" in page.run("ordergate orders show NUMBER", instead={"NUMBER": number})
    until(lambda: re.search(r"临近发货时限 +shop-a", page.stage.run("ordergate notices open").out), "the condition")
    assert page.stage.run("ordergate stock set CUP-01 WH-HZ 9 -r arrived").code == 0
    town.sent(number)
    assert number not in page.stage.run("ordergate orders list --near-ship-by").out


def ledger(page: Page, town: Town) -> None:
    places = (("CUP-01", "9"), ("CUP-02", "7"))
    for sku, pieces in places:
        assert "已更改 1 项" in page.stage.run(f"ordergate stock set {sku} WH-HZ {pieces} -r counted").out
    town.sql("UPDATE stock SET on_hand = on_hand + 3 WHERE sku = ANY($1) RETURNING 1", [sku for sku, _ in places])

    def off() -> str:
        town.sql("UPDATE ledger_check SET next_at = now() RETURNING 1")
        return page.stage.run("ordergate notices open").out

    until(lambda: re.search("库存账不平 .*WH-HZ", off()), "the condition")
    listed = page.run("ordergate stock list --off")
    assert "CUP-01" in listed and "CUP-02" in listed
    seen = page.run("ordergate stock show CUP-01 WH-HZ")
    assert re.search(r"差 +\+3 +\+0 +\+0", seen) and re.search(r"\+9 +\+0 +\+0 .*counted", seen)
    said = page.run("ordergate stock settle CUP-01 WH-HZ --keep movements --reason why")
    assert "已平账：在库差 +3" in said
    page.run("ordergate stock settle CUP-01 WH-HZ --keep balance --reason why", instead={"CUP-01": "CUP-02"})
    assert page.stage.run("ordergate stock list --off").out.count("CUP") == 0
    left = town.sql("SELECT sku, on_hand FROM stock WHERE sku LIKE 'CUP-0_' ORDER BY 1")
    assert [tuple(row) for row in left] == [("CUP-01", 9), ("CUP-02", 10)]
    page.run("ordergate stock set CUP-01 WH-HZ 5 --reason why")
    shown = json.loads(page.run("ordergate stock show CUP-01 WH-HZ --limit 500 --json"))
    assert shown["moved"]["on_hand"] == shown["balance"]["on_hand"] == 5
    until(lambda: "库存账不平" not in off(), "it to be over", within_s=60)


def blocked(page: Page, town: Town) -> None:
    refused, [absent, there] = town.blocked("4101"), town.unknown("4102", "4103")
    listed = page.run("ordergate deliveries list --state blocked --target wms-1")
    assert all(number in listed for number in (refused, absent, there))
    assert "rejected:http_4xx" in listed and "unknown" in listed
    look = page.run("ordergate deliveries redrive --target wms-1 --code rejected --dry-run")
    assert "符合 1，将处理 1" in look and refused in look
    (page.stage.folder / "given").write_text('{"receiver": {"detail": "张江路2号"}}', encoding="utf-8")
    resend = "ordergate deliveries resend NUMBER wms-1 SEQ"
    page.run(f"{resend} --edit given --reason why", instead={"NUMBER": refused, "SEQ": "1"})
    town.sent(refused)
    page.run(f"{resend} --confirmed-absent --reason why", instead={"NUMBER": absent, "SEQ": "1"})
    town.sent(absent)
    page.run("ordergate deliveries resolve NUMBER wms-1 SEQ --reason why", instead={"NUMBER": there, "SEQ": "1"})
    assert not town.sql(_OPEN, there) and not town.documents(there)


def conflict(page: Page, town: Town) -> None:
    number = town.order("4201")
    town.sent(number)
    town.confirm(number)
    town.cancel("4201")
    town.in_conflict(number)
    assert number in page.run("ordergate work items --kind conflict --connection shop-a")
    shown = page.run("ordergate orders show NUMBER", instead={"NUMBER": number})
    assert number in page.run("ordergate orders list --conflict cancelled_but_shipped")
    assert f"{number}  shop-a  冲突  买家已取消，仓库已发货" in shown
    assert "联系快递拦截或等待退回" in page.run("ordergate work list")
    opened = "ordergate notices open"
    until(lambda: re.search(r"订单冲突 +shop-a +买家已取消，仓库已发货", page.stage.run(opened).out), "the condition")
    page.run("ordergate work handled NUMBER --reason why", instead={"NUMBER": number})
    assert number not in page.stage.run("ordergate work items --kind conflict").out
    until(lambda: "订单冲突" not in page.stage.run(opened).out, "the notice to end")


def hold(page: Page, town: Town) -> None:
    receiver = {"name": "张三", "province": "上海市", "city": "上海市", "district": "浦东新区", "detail": "张江路1号"}
    number = town.order("4251", receiver=receiver)
    town.held(number, "missing:receiver.phone")
    assert "确认不需要的可放行: ordergate orders approve" in page.run("ordergate work list --kind hold")
    assert number in page.run("ordergate work items --kind hold")
    opened = "ordergate notices open"
    # Half a minute after the order has begun to wait.
    town.sql("UPDATE orders SET updated_at = updated_at - interval '1 minute' WHERE number = $1", number)
    until(lambda: re.search(r"订单被扣住 +shop-a +缺少收件人电话", page.stage.run(opened).out), "the condition")
    page.run("ordergate orders approve NUMBER --reason why", instead={"NUMBER": number})
    town.sent(number)
    assert "符合 0" in page.run("ordergate orders reconsider-many --code no_route")
    until(lambda: "订单被扣住" not in page.stage.run(opened).out, "the notice to end")


def dead_letter(page: Page, town: Town) -> None:
    for order_no in ("4301", "4302", "4303"):
        push(page.stage, {**ORDER, "order_no": order_no, "lines": "none"}, status=422)
    question = "SELECT dead_letter_id FROM dead_letter WHERE order_key = ANY($1::text[]) ORDER BY order_key"
    numbers = ["4301", "4302", "4303"]
    until(lambda: len(town.sql(question, numbers)) == 3, "the letters")
    mended, repaired, useless = (str(row[0]) for row in town.sql(question, numbers))
    listed = page.run("ordergate dead list --source shop-a --code shape")
    assert all(order_no in listed for order_no in ("4301", "4302", "4303"))
    shown = page.run("ordergate dead show ID", instead={"ID": mended})
    assert "shape" in shown and "$.lines" in shown and "13800000000" not in shown
    # Nothing has been mended here, so it comes back.
    assert page.run("ordergate dead release ID", instead={"ID": mended}) == "1 条消息重新处理\n"
    assert "符合 " in page.run("ordergate dead redrive --source shop-a --code shape --dry-run")
    said = page.run("ordergate dead redrive --source shop-a --code shape --yes --reason why", more="--start-in 600")
    redrive_id = re.findall(r"批次 (\d+)", said)[0]
    assert "已停止" in page.stage.run(f"ordergate redrives stop {redrive_id} -r first-one-by-one").out
    page.run("ordergate dead show ID -o given", instead={"ID": repaired})
    file = page.stage.folder / "given"
    letter = json.loads(file.read_text(encoding="utf-8"))
    assert (letter["order_no"], letter["lines"]) == ("4302", "none")
    file.write_text(json.dumps({**letter, "lines": ORDER["lines"]}), encoding="utf-8")
    assert page.run("ordergate dead release ID --body given", instead={"ID": repaired}) == "1 条消息重新处理\n"
    town.sent("A4302")
    page.run("ordergate dead discard ID --reason why", instead={"ID": useless})
    assert "13800000000" in page.run("ordergate dead show ID --unmask", instead={"ID": useless})
    left = page.stage.run("ordergate dead list --source shop-a").out
    assert "4302" not in left and "4303" not in left


def error_ratio(page: Page, town: Town) -> None:
    with town.trouble(AWAY):
        number = town.order("4401")
        until(lambda: town.sql(_FAILED, number), "a failure")
        assert re.search(r"wms-1 +下单 .* \d+%", page.run("ordergate gates list"))
        assert re.search(rf"{number} .*失败.*http_503", page.run("ordergate deliveries list --target wms-1"))
    town.sent(number)
    page.run("ordergate gates open wms-1 create --reason why")
    town.until_gate("forced_open")
    number = town.order("4402")
    until(lambda: town.sql(_OPEN, number), "the delivery to wait")
    assert not town.documents(number)
    page.run("ordergate gates auto wms-1 create --reason why")
    town.sent(number)


def gate_held(page: Page, town: Town) -> None:
    page.run("ordergate gates open wms-1 create --reason why")
    town.until_gate("forced_open")
    page.run("ordergate gates close wms-1 create --reason why")
    town.until_gate("forced_closed")
    who = f"admin/{getpass.getuser()}"
    told = rf"wms-1 +下单 +手动闭合 .* 闭合，到 20\d\d-\S+ \S+：why \({who}\)"
    assert re.search(told, page.run("ordergate gates list"))
    page.run("ordergate gates auto wms-1 create --reason why")
    town.until_gate("closed")
    page.run("ordergate pause wms-1 --operation create --reason why")
    town.until_gate("forced_open")
    page.run("ordergate resume wms-1 --operation create --reason why")
    town.until_gate("closed")


def gateway_down(page: Page, town: Town) -> None:
    wrong = {"connections": {"shop-a": {"adapter": "webhok"}, "wms-1": {"adapter": "qimen", "settings": {}}}}
    (page.stage.folder / "wrong.yaml").write_text(yaml.safe_dump(wrong), encoding="utf-8")
    said = page.run("ordergate check -c wrong.yaml", code=2)
    assert "webhook" in said and "connections.wms-1" in said and re.search(r"\n\d+ 个问题\n", said)


def database(page: Page, town: Town) -> None:
    with _configured(page, database={"url": f"postgresql://ordergate@127.0.0.1:{free_port()}/ordergate"}):
        said = page.run("ordergate check", code=2)
    assert "database" in said and "1 个问题" in said


def broker_away(page: Page, town: Town) -> None:
    with _configured(page, kafka={"bootstrap": f"127.0.0.1:{free_port()}"}):
        said = page.run("ordergate check", code=2)
    assert "kafka.bootstrap" in said and "1 个问题" in said


def intake_lag(page: Page, town: Town) -> None:
    assert "没有问题" in page.run("ordergate check")
    page.run_on("README.md", "ordergate run --workers 2")


def shop_not_read(page: Page, town: Town) -> None:
    town.taobao.faults = Faults(share_5xx=1.0, commands=("query",))
    listed = "ordergate connections list"
    until(lambda: re.search(r"tmall .* http_503", page.stage.run(listed).out), "reading to fail")
    said = page.run(listed)
    assert all(title in said for title in ("读取故障", "已读至", "负责进程"))
    assert re.search(r"tmall +taobao +启用 +20\d\d-\S+ \S+ +http_503 ", said)
    said = page.run("ordergate check", code=2)
    assert "connections.tmall" in said
    town.taobao.faults = Faults(throttle_in_200=True)
    until(lambda: not re.search(r"tmall .* http_503", page.stage.run(listed).out), "reading to go on")


def worker(page: Page, town: Town) -> None:
    assert "已暂停" in page.run("ordergate pause wms-1 -r why")
    assert "已恢复" in page.stage.run("ordergate resume wms-1 -r mended").out


def target(page: Page, town: Town) -> None:
    with town.trouble(AWAY):
        numbers = [town.order(str(4501 + n)) for n in range(BREAKER_JUDGES_FROM + 2)]
        town.until_gate("open")
        until(lambda: any(town.sql(_FAILED, number) for number in numbers), "a failure on record")
        assert re.search(r"wms-1 +下单 +断开 .* \d+%", page.run("ordergate gates list"))
        assert re.search("失败.*http_503", page.run("ordergate deliveries list --target wms-1"))
    page.run("ordergate gates close wms-1 create --for 60 --reason why")
    for number in numbers:
        town.sent(number)
    page.stage.run("ordergate gates auto wms-1 create -r over")
    number = town.blocked("4550")
    page.run("ordergate deliveries resolve NUMBER wms-1 SEQ --reason why", instead={"NUMBER": number, "SEQ": "1"})
    assert not town.sql(_OPEN, number)


def unknown_outcomes(page: Page, town: Town) -> None:
    [number] = town.unknown("4601")
    assert re.search(rf"{number} +wms-1 .*不清楚对方是否已收到", page.run("ordergate deliveries list --state blocked"))


@contextmanager
def _configured(page: Page, **sections: Any) -> Iterator[None]:
    """The configuration with other `sections`."""
    stage = page.stage
    document = {**yaml.safe_load(stage.config.read_text(encoding="utf-8")), **sections}
    (stage.folder / "other.yaml").write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    stage.environment["ORDERGATE_CONFIG"] = "other.yaml"
    yield
    del stage.environment["ORDERGATE_CONFIG"]


_OPEN = "SELECT 1 FROM lane l JOIN orders o USING (order_id) WHERE o.number = $1"
_FAILED = "SELECT 1 FROM attempt a JOIN orders o USING (order_id) WHERE o.number = $1 AND code = 'http_503'"
