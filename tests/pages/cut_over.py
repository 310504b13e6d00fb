"""docs/cut-over.md: a shop that is watched, compared and taken over, with the page's own configurations."""

from __future__ import annotations

import re
import urllib.request
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from adapters.qimen.fake import FakeWms, signed_query
from tests.pages.page import Page
from tests.pages.stage import Fakes, fetch, until
from tests.pages.town import ORDER, SECRET, example_of, push, quick_start, send_order, warehouse, write_config


def story(page: Page, fakes: Fakes, database_url: str) -> None:
    stage, run = page.stage, page.stage.run
    wms = fakes.enter(warehouse(stage))
    stage.environment["SHOP_A_SECRET"] = SECRET
    watched = example_of(page.path)["connections"]
    document = {
        "database": {"url": database_url},
        "dispatch": {"heartbeat_s": 0.3},
        "connections": {**watched, "wms-1": quick_start()["wms-1"]},
    }
    write_config(stage, document)

    assert "没有问题" in page.run("ordergate check -c ordergate.yaml")
    gateway = page.start_gateway("ordergate run -c ordergate.yaml")
    for order_no in ("1001", "1002"):
        send_order(stage, order_no)
        _as_before(wms, order_no)
    send_order(stage, "1003", payment={"paid": False, "amount": "0"}, status="placed")
    push(stage, {**ORDER, "order_no": "1004", "lines": "none"}, status=422)
    until(lambda: "1004" in run("ordergate dead list").out, "the letter")
    until(lambda: run("ordergate orders list").out.count("仅观察") >= 3, "the orders")
    listed = page.run("ordergate orders list --reason observed")
    assert all(number in listed for number in ("A1001", "A1002")) and re.search("A1003 .*未付款", listed)
    assert re.search("shop-a .*报文结构不对", page.run("ordergate dead list"))

    told = page.run("ordergate compare shop-a --last 500 -c ordergate.yaml")
    assert re.search(r"观察到.*仓库没有.*\n3 +0 +3 +0", told) and "网关会因此拦下：未付款 1" in told
    assert "仓库没有的（部分）：A1003 A1002 A1001" in told
    told = page.run("ordergate compare shop-a --last 500 --channel-numbers -c ordergate.yaml")
    assert re.search(r"观察到.*仓库没有.*\n3 +2 +1 +0", told) and "仓库没有的（部分）：1003\n" in told
    assert set(wms.books.orders) == {"1001", "1002"}

    gateway.stop()
    live = example_of(page.path, 1)
    watched["shop-a"] |= live
    write_config(stage, document)
    stage.start_gateway("ordergate run -c ordergate.yaml")
    start_at = live["start_at"]
    assert isinstance(start_at, datetime)
    send_order(stage, "1005", placed_at=(start_at - timedelta(minutes=1)).isoformat())
    send_order(stage, "1006", placed_at=(start_at + timedelta(minutes=1)).isoformat())
    until(lambda: "A1006" in wms.books.orders, "the first order to be sent")
    told = run("ordergate check -c ordergate.yaml").out
    assert "没有问题" in told and "观察单" not in told, "it was restarted in time"
    listed = page.run("ordergate orders list")
    assert re.search("A1005 .*切换前的订单", listed) and re.search("A1001 .*仅观察", listed)
    assert re.search("A1006 +shop-a +已分配", listed)
    until(lambda: "A1006" not in run("ordergate deliveries list").out, "it to be taken")
    assert "A100" not in page.run("ordergate deliveries list")
    assert re.search(r"wms-1 +下单 +闭合", page.run("ordergate gates list"))
    assert set(wms.books.orders) == {"1001", "1002", "A1006"}

    page.run('ordergate pause wms-1 --reason "back to the old system"')
    assert re.search(r"wms-1 +下单 +闭合 +✓", run("ordergate gates list").out)
    beats: set[Any] = set()
    # A worker reads what is paused right after it has renewed its lease: of two more, one came after the pause.
    until(lambda: beats.add(fetch(database_url, "SELECT renewed_at FROM worker")[0][0]) or len(beats) > 2, "the worker")
    send_order(stage, "1007", placed_at=(start_at + timedelta(minutes=2)).isoformat())
    until(lambda: "A1007" in run("ordergate deliveries list").out, "the delivery to wait")
    assert "A1007" not in wms.books.orders
    page.run('ordergate resume wms-1 --reason "go on"')
    until(lambda: "A1007" in wms.books.orders, "it to be sent")


def _as_before(wms: FakeWms, order_no: str) -> None:
    """The system that is to be replaced tells the warehouse of an order by the shop's own number."""
    line = "<orderLine><itemCode>CUP-01</itemCode><planQty>2</planQty></orderLine>"
    code = f"<deliveryOrder><deliveryOrderCode>{order_no}</deliveryOrderCode></deliveryOrder>"
    body = f"<request>{code}<orderLines>{line}</orderLines></request>".encode()
    query = signed_query("deliveryorder.create", body, secret="quickstart", app_key="1000", customer_id="C1")
    request = urllib.request.Request(f"{wms.url}?{urlencode(query, quote_via=quote)}", body)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert b"success" in answer.read()
