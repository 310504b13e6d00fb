"""The README, typed: two fakes, check, run, sign, post, look; then a database of one's own and two workers.

From its first command to the shipment told back to the shop it is timed. What a fresh machine needs on top, `./dev`
filling `.venv` from a package registry, depends on the line to it and is not in the figure.
"""

from __future__ import annotations

import base64
import re
import shlex
import time
from collections.abc import Callable

import yaml

from gateway.core.keys import KEY_BYTES
from tests.pages.page import Page
from tests.pages.stage import fetch, until

SECRET = "whsec_b3JkZXJnYXRlIHF1aWNrIHN0YXJ0IHNlY3JldA=="
ORDER = "adapters/webhook/order.example.json"
FIRST_ORDER_WITHIN_S = 600.0
"""F119: the first order is through within ten minutes."""


def story(page: Page, tell: Callable[[str], None]) -> None:
    began = time.monotonic()
    stage = page.stage
    wms, shop = (f"http://127.0.0.1:{stage.port(number)}" for number in (8701, 8702))
    assert "usage: ./dev" in page.run("./dev help")
    page.run("cp docs/quickstart.yaml ordergate.yaml")
    document = yaml.safe_load(stage.here(stage.config.read_text(encoding="utf-8")))
    stage.config.write_text(yaml.safe_dump({**document, "http": stage.http}, allow_unicode=True), encoding="utf-8")
    assert "ordergate run" in page.run("./dev run --help")
    fakes = [
        page.start(
            ".venv/bin/python -m adapters.qimen.fake --port 8701 --secret quickstart"
            " --hooks-url http://127.0.0.1:8080/hooks/wms-1 --confirm-after-s 2"
        ),
        page.start(f".venv/bin/python -m adapters.webhook.fake --port 8702 --secret {SECRET}"),
    ]
    until(lambda: all("http://" in fake.said() for fake in fakes), "the fakes")

    checked = page.run(".venv/bin/ordergate check -c ordergate.yaml")
    assert "没有问题" in checked and "不通知任何人" in checked and "没有密钥" not in checked
    gateway = page.start_gateway(".venv/bin/ordergate run -c ordergate.yaml")
    token = re.findall(r"og_\S+", gateway.said())
    assert len(token) == 1, "shown once"
    page.run("export ORDERGATE_TOKEN=og_...", instead={"og_...": token[0]})
    page.run("export ORDERGATE_URL=...", instead={"...": stage.url})

    signed = page.run(
        f".venv/bin/ordergate webhook sign {ORDER} --secret {SECRET} --url http://127.0.0.1:8080/hooks/shop-a"
    )
    *headers, empty, curl = signed.splitlines()
    assert [line.partition(":")[0] for line in headers] == ["webhook-id", "webhook-timestamp", "webhook-signature"]
    assert not empty
    posted = stage.run(f"{curl} -w ' %{{http_code}}'")
    assert posted.out.endswith(" 202"), posted
    until(lambda: "AA1001" in stage.run("ordergate orders list").out, "the order to be decided")
    assert re.search(r"AA1001 +shop-a ", page.run(".venv/bin/ordergate orders list"))
    until(lambda: "shop-a 1 成功" in stage.run("ordergate orders show AA1001").out, "the shipment to be told back")
    assert "AA1001" in stage.get(f"{shop}/books")["orders"]
    took_s = time.monotonic() - began
    tell(f"README.md: an own order in the warehouse and its shipment back after {took_s:.1f} s")
    assert took_s < FIRST_ORDER_WITHIN_S
    shown = page.run(".venv/bin/ordergate orders show AA1001")
    assert "AA1001  shop-a  已发货" in shown and "wms-1 1 成功" in shown
    assert '"AA1001":{"documents":1,' in page.run("curl -s http://127.0.0.1:8701/books")
    assert stage.get(f"{wms}/books")["orders"]["AA1001"]["status"] == "DELIVERED"

    server = stage.server()
    gateway.stop()
    fetch(server.url_of("postgres"), "ALTER DATABASE ordergate RENAME TO quick_start")
    stage.environment |= {"PGHOST": str(server.data_dir / "run"), "PGUSER": "ordergate"}
    page.run("createdb ordergate")
    stage.environment["ORDERGATE_DATABASE"] = server.url
    gateway = page.start_gateway("ordergate run --workers 2")
    assert "with 2 worker(s)" in gateway.said()
    workers = f"http://127.0.0.1:{stage.port(9464)}/healthz"
    assert stage.get(workers) == {"workers": 2, "wanted": 2}

    assert "没有问题" in page.run("ordergate check")
    signed = page.run("ordergate webhook sign", more=f"{ORDER} --secret {SECRET}")
    id_, timestamp, signature = (line.partition(": ")[2] for line in signed.splitlines()[:3])
    given = f"--id {id_} --timestamp {timestamp} --signature {shlex.quote(signature)}"
    assert page.run("ordergate webhook verify", more=f"{ORDER} --secret {SECRET} {given}") == "通过\n"
    assert "编号" in page.run("ordergate dead list")
    assert "目标" in page.run("ordergate deliveries list")
    assert page.run("ordergate work list") == "没有待办\n"
    assert len(base64.b64decode(page.run("ordergate keys new"))) == KEY_BYTES
    assert '"connections"' in page.run("ordergate reference --json")
    assert re.search(r"wms-1 +下单 +闭合", page.run("ordergate gates list"))
    assert "SKU" in page.run("ordergate stock list")
    gateway.stop()
    assert "0 条未完成的下发" in page.run("ordergate restored")
    assert "--stored" in page.run("./dev bench --help")
