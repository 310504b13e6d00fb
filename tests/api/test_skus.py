"""The SKU table of a running gateway, through its API and its commands: a held order, a file, and the order goes on."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import openpyxl
import pytest

from adapters.qimen.fake import FakeWms, Warehouse
from adapters.webhook.fake import FakeShop
from gateway.cli import main
from gateway.core.event import ConnectionName
from gateway.store.configured import note_adapters
from gateway.store.prefixes import note_prefixes
from gateway.store.sql import open_pool
from gateway.store.token import first_token
from gateway.testing.fakes import Faults

from .conftest import ERP_SECRET, ORDER, SHOP_SECRET, Gateway, Running, is_told

MAPPED = f"""
  tmall:
    adapter: webhook
    prefix: T
    mode: live
    skus: mapped
    route: [{{target: erp, warehouse: W1}}]
    settings: {{secrets: ["{SHOP_SECRET}"]}}
"""
CSV = "店铺商品编码,仓库商品编码,数量,赠品\r\n{}\r\n"

Cli = Callable[..., Any]


@pytest.fixture
async def gateway(migrated_url: str, tmp_path: Path) -> AsyncIterator[Gateway]:
    pool = await open_pool(migrated_url, size=2)
    token = await first_token(pool)
    assert token is not None
    async with FakeShop(secrets=(ERP_SECRET,)) as erp, aiohttp.ClientSession() as session:
        async with Running(migrated_url, tmp_path, erp.url, extra=MAPPED) as running:
            yield Gateway(running.base, token, pool=pool, erp=erp, session=session)
    await pool.close()


@pytest.fixture
def cli(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> Cli:
    async def run(*arguments: str, code: int = 0) -> str:
        """What a command prints; it ends with `code`."""
        with pytest.raises(SystemExit) as ended:
            await asyncio.to_thread(main, [*arguments, "--url", gateway.base, "--token", gateway.token])
        printed = capsys.readouterr()
        assert (ended.value.code or 0) == code, printed
        return printed.out + printed.err

    return run


def order(number: str, *lines: tuple[str, int, str]) -> dict[str, Any]:
    return {
        **ORDER,
        "order_no": number,
        "lines": [
            {"line_no": str(n), "sku": sku, "quantity": quantity, "price": price, "name": "青瓷杯"}
            for n, (sku, quantity, price) in enumerate(lines, 1)
        ],
    }


def packed(*rows: str) -> str:
    return base64.b64encode(CSV.format("\r\n".join(rows)).encode("gbk")).decode()


@pytest.mark.feature("F125")
async def test_a_held_order_goes_on_with_the_file_that_names_its_sku(
    gateway: Gateway, cli: Cli, tmp_path: Path
) -> None:
    assert (await gateway.push(order("1", ("礼盒", 2, "45.00")), connection="tmall")).status == 202
    held = await gateway.stage("T1", "received", reason="unmapped_sku")
    assert held["reasons"] == ["unmapped_sku"]
    assert "礼盒" in await cli("skus", "list", "tmall", "--unmapped")

    file = tmp_path / "table.xlsx"
    assert "1 个编码" in await cli("skus", "template", "tmall", str(file))
    told = json.loads(await cli("skus", "template", "tmall", str(file), "--json"))
    assert told == {"file": str(file), "bytes": file.stat().st_size, "skus": 1}
    book = openpyxl.load_workbook(file)
    sheet = book.active
    assert [cell.value for cell in sheet[2]][:5] == ["礼盒", None, None, None, "青瓷杯"]
    sheet["B2"], sheet["C2"] = "CUP-01", 3
    sheet.append(["礼盒", "CARD", 1, "是"])
    book.save(file)

    preview = await cli("skus", "import", "tmall", str(file), "-r", "六一新品", "--dry-run", "--lang", "en")
    assert preview.strip() == (
        "preview, nothing written: 1 new, 0 changed, 0 unchanged, 0 removed; 1 held orders go on"
    )
    assert (await gateway.get("/skus/tmall"))["skus"] == []
    assert "放行 1 个" in await cli("skus", "import", "tmall", str(file), "-r", "六一新品")

    await gateway.sent("T1")
    (body,) = [json.loads(body) for body in gateway.erp.seen.values()]
    assert [line["sku"] for line in body["lines"]] == ["礼盒"]
    assert body["items"] == [
        {"line_no": "1", "sku": "CUP-01", "quantity": 6, "price": "15.00", "discount": "0.00", "gift": False},
        {"line_no": "1", "sku": "CARD", "quantity": 2, "price": "0.00", "discount": "0.00", "gift": True},
    ]
    state = (await gateway.get("/orders/T1"))["order"]
    assert state["recipes"] == [
        {
            "sku": "礼盒",
            "parts": [{"sku": "CUP-01", "pieces": 3, "gift": False}, {"sku": "CARD", "pieces": 1, "gift": True}],
        }
    ]
    assert "CUP-01 × 3 + CARD × 1（赠品）" in await cli("skus", "list", "tmall")
    exported = tmp_path / "out.csv"
    told = json.loads(await cli("skus", "export", "tmall", str(exported), "--json"))
    assert told == {"file": str(exported), "bytes": exported.stat().st_size, "skus": 1}
    assert "新增 0，修改 0，未变 1，删除 0" in await cli("skus", "import", "tmall", str(exported), "-r", "same")
    assert ("admin/" in (await gateway.audit())[0][0], (await gateway.audit())[0][1]) == (True, "skus.import")


async def test_what_waits_of_a_renamed_shop_goes_by_the_name_it_has_now(migrated_url: str, tmp_path: Path) -> None:
    pool = await open_pool(migrated_url, size=2)
    token = await first_token(pool)
    assert token is not None
    async with FakeShop(secrets=(ERP_SECRET,)) as erp, aiohttp.ClientSession() as session:
        async with Running(migrated_url, tmp_path, erp.url, extra=MAPPED) as running:
            gateway = Gateway(running.base, token, pool=pool, erp=erp, session=session)
            assert (await gateway.push(order("1", ("礼盒", 2, "45.00")), connection="tmall")).status == 202
            await gateway.stage("T1", "received", reason="unmapped_sku")
            refused = {**order("2", ("礼盒", 2, "45.00")), "lines": "none"}
            assert (await gateway.push(refused, connection="tmall")).status == 422
        async with pool.acquire() as connection:
            before = ConnectionName("tmall")
            await note_prefixes(connection, {before: "T"}, {})
            await note_adapters(connection, {before: "webhook"})
        owners = "owners: [{connection: tm, people: [li]}, {people: [wang]}]\n"
        extra = MAPPED.replace("tmall:", "tm:") + owners
        async with Running(migrated_url, tmp_path, erp.url, extra=extra) as running:
            gateway = Gateway(running.base, token, pool=pool, erp=erp, session=session)
            (card,) = (await gateway.get("/work", kind="hold", code="unmapped_sku"))["cards"]
            assert (card["connection"], card["owners"]) == ("tmall", ["li"])
            assert card["next"]["command"] == "ordergate skus template tm table.xlsx"
            assert [one["sku"] for one in (await gateway.get("/skus/tm/unmapped"))["skus"]] == ["礼盒"]
            body = {"file": packed("礼盒,CUP-01,3,"), "reason": "六一新品"}
            assert (await gateway.call("POST", "/skus/tm/import", body)).body["frees"] == 1
            await gateway.sent("T1")
            (card,) = (await gateway.get("/work", kind="dead_letter"))["cards"]
            assert card["owners"] == ["li"]
            assert "ordergate dead list --source tmall --code " in card["next"]["en"], "it stands there under that name"
            (letter,) = (await gateway.get("/dead-letters"))["dead_letters"]
            slip = {"body": order("3", ("礼盒", 2, "45.00")), "reason": "mended"}
            path = f"/dead-letters/{letter['dead_letter_id']}/release"
            assert (await gateway.call("POST", path, slip)).body["error"] == "another_order"
    await pool.close()


async def test_what_no_order_will_use_is_said_when_it_is_imported(gateway: Gateway, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text(CSV.format("礼盒,CUP-01,3,"), encoding="utf-8")
    assert "skus: as_is，订单不使用此表" in await cli("skus", "import", "shop", str(file), "-r", "early")
    assert "as_is" not in await cli("skus", "import", "tmall", str(file), "-r", "in time")
    file.write_text("SKU,仓库,在库\nCUP-01,W1,5\nCUP-01,Ｗ1,5\nCUP-01,w1,5\n", encoding="utf-8")
    assert "没有店铺的 route 通向仓库 w1、Ｗ1" in await cli("stock", "import", str(file), "-r", "盘点")
    assert "route" not in await cli("stock", "set", "CUP-01", "W1", "6", "-r", "盘点")
    assert "no shop's route leads to W2" in await cli("stock", "set", "A", "W2", "6", "-r", "x", "--lang", "en")


async def test_an_as_is_shop_sends_no_items(gateway: Gateway, cli: Cli) -> None:
    number = await gateway.order(order_no="77")
    await gateway.sent(number)
    (body,) = [json.loads(body) for body in gateway.erp.seen.values()]
    assert "items" not in body
    assert "as_is" in await cli("skus", "list", "shop")


@pytest.mark.feature("F125")
async def test_a_bad_file_changes_nothing_and_says_everything(gateway: Gateway, cli: Cli, tmp_path: Path) -> None:
    body = {"file": packed("A,W,1,", "B,W,0,", ",W,1,"), "reason": "r"}
    answer = await gateway.call("POST", "/skus/tmall/import", body)
    assert (answer.status, answer.body["error"], answer.body["where"]) == (422, "bad_table", "$.file")
    assert is_told(answer.body)
    assert answer.body["details"]["count"] == 2
    assert [(one["row"], one["column"], one["code"]) for one in answer.body["details"]["problems"]] == [
        (3, "数量", "quantity"),
        (4, "店铺商品编码", "missing"),
    ]
    assert (await gateway.get("/skus/tmall"))["skus"] == []
    file = tmp_path / "bad.csv"
    file.write_bytes(base64.b64decode(body["file"]))
    printed = await cli("skus", "import", "tmall", str(file), "-r", "r", code=1)
    assert "没有填写（合并单元格" in printed and "共 2 个问题，没有导入任何内容" in printed
    as_json = json.loads(await cli("skus", "import", "tmall", str(file), "-r", "r", "--json", code=1))
    assert (as_json["applied"], as_json["count"]) == (False, 2)


async def test_what_is_asked_for_is_checked(gateway: Gateway, cli: Cli) -> None:
    answer = await gateway.call("GET", "/skus/erp")
    assert (answer.status, answer.body["advice"]) == (
        404,
        {"zh": "配置中的店铺：shop、tmall", "en": "shops of this configuration: shop, tmall"},
    )
    answer = await gateway.call("POST", "/skus/tmall/import", {"file": "not base64!", "reason": "r"})
    assert (answer.status, answer.body["where"]) == (422, "$.file")
    assert is_told(answer.body)
    assert "there is no shop nowhere" in await cli("skus", "list", "nowhere", code=1)


async def test_pages_and_prefixes(gateway: Gateway) -> None:
    await gateway.post("/skus/tmall/import", {"file": packed("a1,W,1,", "a2,W,2,", "b1,W,3,"), "reason": "r"})
    page = await gateway.get("/skus/tmall", limit=2)
    assert [row["sku"] for row in page["skus"]] == ["a1", "a2"] and page["mapped"] is True
    rest = await gateway.get("/skus/tmall", limit=2, after=page["next"])
    assert ([row["sku"] for row in rest["skus"]], rest["next"]) == (["b1"], "")
    assert [row["sku"] for row in (await gateway.get("/skus/tmall", sku="b"))["skus"]] == ["b1"]


async def test_levels_are_told_again_on_demand(gateway: Gateway, cli: Cli) -> None:
    text = "店铺商品编码,仓库商品编码,数量,同步库存\r\na1,W,1,是\r\na2,W,2,是\r\nb1,W,3,否\r\n"
    await gateway.post("/skus/tmall/import", {"file": base64.b64encode(text.encode()).decode(), "reason": "r"})
    await gateway.pool.execute("UPDATE listing SET sent = 4, refused = CASE WHEN sku = 'a2' THEN 'off_shelf' END")
    assert "off_shelf" in await cli("skus", "list", "tmall")
    assert [row["sku"] for row in (await gateway.get("/skus/tmall", refused=1))["skus"]] == ["a2"]
    listed = await cli("skus", "list", "tmall", "--refused")
    assert "off_shelf" in listed and "a1" not in listed
    assert (await gateway.post("/skus/tmall/publish", {"refused": True, "reason": "r"})) == {"listings": 1}
    assert "2 个编码将重新同步" in await cli("skus", "publish", "tmall", "-r", "repair")
    assert [row["sent"] for row in (await gateway.get("/skus/tmall"))["skus"]] == [None, None, 4]


@pytest.mark.feature("F125")
async def test_an_edit_cannot_name_a_sku_that_nothing_stands_for(gateway: Gateway) -> None:
    await gateway.post("/skus/tmall/import", {"file": packed("A,W,1,", "B,V,1,"), "reason": "r"})
    gateway.erp.faults = Faults(share_5xx=1.0, status_5xx=422)
    await gateway.push(order("2", ("A", 1, "90.00")), connection="tmall")
    await gateway.blocked("T2")
    lines = [{"line_no": "1", "sku": "Q", "quantity": 1, "price_minor": 100}]
    answer = await gateway.call("POST", "/deliveries/T2/erp/1/resend", {"reason": "r", "edit": {"lines": lines}})
    assert (answer.status, answer.body["where"]) == (422, "$.edit.lines")
    assert "nothing stands for Q" in answer.body["message"]["en"] and is_told(answer.body)


BUNDLES = """
  tmall:
    adapter: webhook
    prefix: T
    mode: live
    skus: mapped
    route: [{{target: wms, warehouse: W1}}]
    settings: {{secrets: ["{secret}"], url: "{shop}"}}
  wms:
    adapter: qimen
    settings:
      url: {wms}
      app_key: fake
      secret: wms-secret
      customer_id: fake-wms
      owner_code: O
      shop_nick: shop
      sender: {{name: 仓库, mobile: "13800000000", province: 浙江省, city: 杭州市, detail: 文三路 90 号}}
"""


@pytest.mark.feature("F125")
@pytest.mark.feature("F127")
async def test_a_bundle_goes_to_a_warehouse_and_its_parcels_come_back_to_the_shop(
    migrated_url: str, tmp_path: Path
) -> None:
    """In the shop's words in, in the warehouse's out, and both ways back: the ledger counts what was picked."""
    pool = await open_pool(migrated_url, size=2)
    token = await first_token(pool)
    assert token is not None
    secret = "wms-secret"
    async with (
        FakeShop(secrets=(ERP_SECRET,)) as erp,
        FakeShop(secrets=(SHOP_SECRET,)) as shop,
        FakeWms(secret=secret) as wms,
        aiohttp.ClientSession() as session,
    ):
        extra = BUNDLES.format(secret=SHOP_SECRET, shop=shop.url, wms=f"{wms.url}/router/qimen/service")
        async with Running(migrated_url, tmp_path, erp.url, extra=extra) as running:
            gateway = Gateway(running.base, token, pool=pool, erp=erp, session=session)
            wms.warehouse = Warehouse(hooks_url=f"{running.base}/hooks/wms")
            await gateway.post(
                "/skus/tmall/import", {"file": packed("礼盒,CUP-01,3,", "礼盒,CARD,1,是"), "reason": "r"}
            )
            await gateway.call(
                "PUT",
                "/stock",
                {
                    "items": [
                        {"sku": "CUP-01", "warehouse": "W1", "on_hand": 10},
                        {"sku": "CARD", "warehouse": "W1", "on_hand": 5},
                    ],
                    "reason": "count",
                },
            )
            await gateway.push(order("9", ("礼盒", 2, "45.00")), connection="tmall")
            await gateway.stage("T9", "shipped")
            await gateway.sent("T9")
            assert wms.books.orders["T9"].documents == 1
            assert wms.books.sums == {
                "CUP-01": {"created": 6, "shipped": 6},
                "CARD": {"created": 2, "shipped": 2},
            }
            assert wms.books.amounts_minor == {"CUP-01": 9000, "CARD": 0}, "what the buyer paid, and nothing for gifts"
            (told,) = [json.loads(body) for body in shop.seen.values()]
            assert [parcel["lines"] for parcel in told["parcels"]] == [["1"]]
            assert told["shipped"] == [{"sku": "CARD", "quantity": 2}, {"sku": "CUP-01", "quantity": 6}]
            rows = (await gateway.get("/stock"))["stock"]
            balances = {row["sku"]: (row["on_hand"], row["locked"], row["committed"]) for row in rows}
            assert balances == {"CUP-01": (4, 0, 0), "CARD": (3, 0, 0)}
    await pool.close()
