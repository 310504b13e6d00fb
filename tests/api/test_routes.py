"""Every route of the API: what it answers, and how it says no."""

from __future__ import annotations

import asyncio
import base64
import re
import time
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import msgspec
import pytest
from yarl import URL

from gateway.core.happening import Trouble
from gateway.core.order import Receiver
from gateway.embedded.postgres import EmbeddedPostgres
from gateway.store.ledger import compare, sum_whole
from gateway.store.orders import decode_state, encode_state
from gateway.store.sql import migrate, open_pool
from gateway.store.token import first_token, replace_token
from gateway.testing.fakes import Faults

from .conftest import ORDER, Gateway, Running, is_told

REFUSING = Faults(share_5xx=1.0, status_5xx=422)

ROUTES = [
    ("GET", "/orders"),
    ("GET", "/orders/S1001"),
    ("GET", "/orders/S1001/raw/1"),
    ("POST", "/orders/S1001/reconsider"),
    ("POST", "/orders/S1001/approve"),
    ("POST", "/orders/reconsider/preview"),
    ("POST", "/orders/reconsider"),
    ("GET", "/orders/S1001/reparse"),
    ("POST", "/orders/S1001/reparse"),
    ("GET", "/deliveries"),
    ("POST", "/deliveries/S1001/erp/1/resend"),
    ("POST", "/deliveries/S1001/erp/1/resolve"),
    ("GET", "/work"),
    ("GET", "/work/items"),
    ("GET", "/work/export"),
    ("POST", "/orders/S1001/conflicts-handled"),
    ("POST", "/redrives/preview"),
    ("POST", "/redrives"),
    ("GET", "/redrives"),
    ("GET", "/redrives/1"),
    ("POST", "/redrives/1/stop"),
    ("POST", "/deliveries/resolve/preview"),
    ("POST", "/deliveries/resolve"),
    ("GET", "/dead-letters"),
    ("GET", "/dead-letters/1"),
    ("POST", "/dead-letters/1/release"),
    ("POST", "/dead-letters/1/discard"),
    ("GET", "/gates"),
    ("POST", "/gates/erp/create/breaker"),
    ("GET", "/connections"),
    ("POST", "/connections/erp/authorise"),
    ("POST", "/connections/erp/pause"),
    ("POST", "/connections/erp/resume"),
    ("GET", "/stock"),
    ("PUT", "/stock"),
    ("GET", "/stock/ledger"),
    ("POST", "/stock/settle"),
    ("GET", "/notices"),
    ("GET", "/conditions"),
    ("GET", "/skus/shop"),
    ("GET", "/skus/shop/unmapped"),
    ("GET", "/skus/shop/export"),
    ("GET", "/skus/shop/template"),
    ("POST", "/skus/shop/import"),
    ("POST", "/skus/shop/publish"),
]


async def test_nothing_without_a_good_token(gateway: Gateway) -> None:
    for method, path in ROUTES:
        none = await gateway.call(method, path, token=None)
        bad = await gateway.call(method, path, token="og_wrong")
        assert (none.status, none.body["error"]) == (401, "no_token"), path
        assert (bad.status, bad.body["error"]) == (401, "bad_token"), path
        assert none.headers["WWW-Authenticate"].startswith("Bearer")
        assert is_told(none.body) and is_told(bad.body) and bad.body["where"]


async def test_a_replaced_token_is_refused_and_the_new_one_taken(gateway: Gateway) -> None:
    fresh = await replace_token(gateway.pool)

    assert (await gateway.call("GET", "/orders", token=fresh)).status == 200

    # The old one was never used here, so nobody remembers it.
    assert (await gateway.call("GET", "/orders")).status == 401


async def test_the_document_names_every_route_and_every_schema(gateway: Gateway) -> None:
    answer = await gateway.call("GET", "/openapi.json", token=None)

    assert answer.status == 200
    described = {(method.upper(), path) for path, methods in answer.body["paths"].items() for method in methods}
    assert len(described) == len(ROUTES)
    for method, path in ROUTES:
        assert any(m == method and re.fullmatch(re.sub("{[^}]+}", "[^/]+", p), path) for m, p in described), path
    text = msgspec.json.encode(answer.body).decode()
    schemas = answer.body["components"]["schemas"]
    for part in text.split('"#/components/schemas/')[1:]:
        assert part.split('"')[0] in schemas


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/orders/nope", 404, "not_found"),
        ("GET", "/orders/nope/raw/1", 404, "not_found"),
        ("GET", "/orders/nope/reparse", 404, "not_found"),
        ("GET", "/dead-letters/77", 404, "not_found"),
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/orders/x/raw/abc", 404, "not_found"),
        ("GET", "/orders/x/raw/0", 404, "not_found"),
        ("GET", "/orders?stage=lost", 422, "invalid"),
        ("GET", "/orders?limit=0", 422, "invalid"),
        ("GET", "/orders?limit=many", 422, "invalid"),
        ("GET", "/orders?colour=red", 422, "invalid"),
        ("GET", "/orders?after=x", 422, "invalid"),
        ("GET", "/orders?after=1.2", 422, "invalid"),
        ("GET", "/orders?near_ship_by=1&after=1", 422, "invalid"),
        ("GET", "/orders?near_ship_by=1&after=999999999999999999.2", 422, "invalid"),
        ("GET", "/orders?near_ship_by=2", 422, "invalid"),
        ("GET", "/orders/a%00b", 422, "invalid"),
        ("GET", "/orders?number=%00", 422, "invalid"),
        ("GET", "/deliveries?after=x", 422, "invalid"),
        ("GET", "/deliveries?state=lost", 422, "invalid"),
        ("GET", "/stock?after=x", 422, "invalid"),
        ("DELETE", "/orders", 405, "method"),
    ],
)
async def test_reads_say_what_is_wrong(gateway: Gateway, method: str, path: str, status: int, code: str) -> None:
    answer = await gateway.call(method, path)

    assert (answer.status, answer.body["error"]) == (status, code), answer
    assert is_told(answer.body) and answer.body["where"]


@pytest.mark.parametrize(
    ("path", "codes"),
    [
        ("/orders?stage=lost", ["received", "shipped", "conflict"]),
        ("/dead-letters?state=x", ["open", "all"]),
        ("/notices?kind=x", ["target", "dead_letter"]),
        ("/work?operation=crate", ["create", "cancel", "ship"]),
        ("/work/items?operation=crate", ["create", "cancel", "ship"]),
    ],
)
async def test_a_value_of_a_closed_set_is_answered_with_the_set(gateway: Gateway, path: str, codes: list[str]) -> None:
    advice = (await gateway.call("GET", path)).body["advice"]
    assert all(code in advice[language] for code in codes for language in ("zh", "en")), advice


async def test_a_place_in_a_list_is_told_as_what_it_is(gateway: Gateway) -> None:
    for path in ("/orders", "/deliveries", "/dead-letters", "/redrives", "/work/items", "/notices", "/stock"):
        body = (await gateway.call("GET", path, after="zzz")).body
        assert body["where"] == "query.after" and "`next`" in body["advice"]["zh"], path
        assert "regex" not in msgspec.json.encode(body).decode()
    assert (await gateway.call("GET", "/work/items", after="x" * 200)).body["where"] == "query.after"


async def test_a_filter_that_names_what_there_never_was_is_refused(gateway: Gateway) -> None:
    for path, where, meant in (
        ("/orders?connection=shp", "connection", "shop"),
        ("/orders?reason=unpayed", "reason", "unpaid"),
        ("/orders?conflict=canceled_but_shipped", "conflict", "cancelled_but_shipped"),
        ("/orders?reason=x", "reason", None),
        ("/deliveries?target=epr", "target", "erp"),
        ("/dead-letters?source=shopp", "source", "shop"),
        ("/notices?connection=shopp", "connection", "shop"),
        ("/work?connection=nope", "connection", None),
        ("/work/items?connection=shopp", "connection", "shop"),
        ("/work?kind=hold&code=short_of_stok", "code", "short_of_stock"),
        ("/work/items?kind=conflict&code=x", "code", None),
    ):
        answer = await gateway.call("GET", path)

        assert (answer.status, answer.body["error"], answer.body["where"]) == (422, "invalid", f"query.{where}"), path
        assert is_told(answer.body)
        if meant is not None:
            assert answer.body["advice"] == {"zh": f"是不是 {meant}？", "en": f"did you mean {meant}?"}
    for path in (
        "/orders?connection=erp", "/orders?reason=missing:receiver.town", "/deliveries?target=shop",
        "/dead-letters?code=an_adapters", "/dead-letters?source=erp", "/work?code=an_adapters",
        "/work?kind=delivery&code=x",
    ):  # fmt: skip
        assert (await gateway.call("GET", path)).status == 200, path
    await gateway.pool.execute(
        "INSERT INTO dead_letter (event_id, source, type, order_key, number, happened_at, taken_at, body, leg,"
        " partition, position, code, message, closed_at) VALUES ('E', 'old', 't', '', '', now(), now(), '', 'kafka', 0,"
        " 0, 'unknown_source', '', now())"
    )
    assert await gateway.get("/dead-letters", source="old") == {"dead_letters": [], "next": ""}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/orders/nope/reconsider", {"reason": "x"}, 404, "not_found"),
        ("POST", "/orders/nope/reparse", {"reason": "x"}, 404, "not_found"),
        ("POST", "/orders/nope/reparse", {"reason": ""}, 422, "invalid"),
        ("POST", "/orders/nope/reconsider", {}, 422, "invalid"),
        ("POST", "/orders/nope/reconsider", {"reason": ""}, 422, "invalid"),
        ("POST", "/orders/nope/reconsider", {"reason": "x", "why": 1}, 422, "invalid"),
        ("POST", "/orders/nope/reconsider", b"{", 400, "json"),
        ("POST", "/dead-letters/77/release", b'{"body":' + b"[" * 100_000, 400, "json"),
        ("POST", "/orders/nope/reconsider", b" " * 5_000_000, 413, "too_large"),
        ("POST", "/deliveries/nope/erp/1/resend", {"reason": "x"}, 404, "not_found"),
        ("POST", "/deliveries/nope/erp/1/resolve", {"reason": "x"}, 404, "not_found"),
        ("POST", "/dead-letters/77/release", None, 404, "not_found"),
        ("POST", "/dead-letters/77/discard", {"reason": "x"}, 404, "not_found"),
        ("POST", "/gates/erp/fly/breaker", {"force": "open", "reason": "x"}, 404, "not_found"),
        ("POST", "/gates/nope/create/breaker", {"force": "open", "reason": "x"}, 404, "not_found"),
        ("POST", "/gates/erp/create/breaker", {"force": "ajar", "reason": "x"}, 422, "invalid"),
        ("POST", "/gates/erp/create/breaker", {"force": "open", "reason": "x", "for_s": 1e9}, 422, "invalid"),
        ("POST", "/connections/nope/pause", {"reason": "x"}, 404, "not_found"),
        ("POST", "/connections/nope/pause", {"reason": "x", "operation": "create"}, 404, "not_found"),
        ("POST", "/connections/erp/pause", {"reason": "x", "operation": "stock"}, 404, "not_found"),
        ("POST", "/connections/erp/resume", {"reason": "x", "operation": "fly"}, 422, "invalid"),
        ("PUT", "/stock", {"items": [], "reason": "x"}, 422, "invalid"),
        ("PUT", "/stock", {"items": [{"sku": "A", "warehouse": "W", "on_hand": -1}], "reason": "x"}, 422, "invalid"),
        ("PUT", "/stock", {"items": [{"sku": "A", "warehouse": "W", "on_hand": 1}] * 2, "reason": "x"}, 422, "invalid"),
        ("PUT", "/stock", {"items": [{"sku": "A\x00", "warehouse": "W", "on_hand": 1}], "reason": "x"}, 422, "invalid"),
    ],
)
async def test_writes_say_what_is_wrong_and_leave_no_trace(
    gateway: Gateway, method: str, path: str, body: Any, status: int, code: str
) -> None:
    raw = body if isinstance(body, bytes) else None
    answer = await gateway.call(method, path, None if raw else body, raw=raw)

    assert (answer.status, answer.body["error"]) == (status, code), answer
    assert is_told(answer.body)
    assert await gateway.audit() == []


@pytest.mark.parametrize(
    ("method", "path", "body", "where"),
    [
        ("GET", "/skus/shop?after=%00", None, "query.after"),
        ("GET", "/work/items?after=a%00b", None, "query.after"),
        ("GET", "/orders?num%00ber=1", None, "query"),
        ("POST", "/orders/nope/reconsider", {"reason": "\x00"}, "$.reason"),
        ("POST", "/dead-letters/77/release", {"reason": "a\x00b"}, "$.reason"),
        ("POST", "/dead-letters/77/discard", {"reason": "\x00"}, "$.reason"),
        ("POST", "/skus/shop/publish", {"skus": ["A"], "reason": "\x00"}, "$.reason"),
        ("POST", "/connections/shop/pause", {"reason": "\x00"}, "$.reason"),
        ("POST", "/deliveries/nope/erp/1/resend", {"reason": "x", "edit": {"a": [{"b\x00": 1}]}}, "$.edit.a[0]"),
    ],
)
async def test_a_nul_is_refused_wherever_it_stands(
    gateway: Gateway, method: str, path: str, body: Any, where: str
) -> None:
    answer = await gateway.call(method, path, body)

    assert (answer.status, answer.body["error"], answer.body["where"]) == (422, "invalid", where), answer
    assert "NUL" in answer.body["message"]["en"] and is_told(answer.body)
    assert await gateway.audit() == []


async def test_a_reason_may_speak_of_an_escaped_nul_and_a_payload_may_hold_one(gateway: Gateway) -> None:
    answer = await gateway.call("POST", "/orders/nope/reconsider", raw=rb'{"reason": "\\u0000"}')
    assert answer.status == 404
    answer = await gateway.call("POST", "/dead-letters/77/release", {"body": {"buyer_note": "\x00"}, "reason": "x"})
    assert answer.status == 404


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+08:00", "1999-12-31T23:59:59Z", "2100-01-01T07:59:59+07:59"])
async def test_an_instant_of_another_century_is_refused(gateway: Gateway, at: str) -> None:
    for path, body, where in (
        ("/redrives/preview", {"wanted": {"target": "erp", "since": at}}, "$.wanted.since"),
        ("/deliveries/resolve", {"wanted": {"until": at}, "reason": "x"}, "$.wanted.until"),
    ):
        answer = await gateway.call("POST", path, body)
        assert (answer.status, answer.body["error"], answer.body["where"]) == (422, "invalid", where), answer
        assert "2099" in answer.body["message"]["zh"] and is_told(answer.body)


@pytest.mark.parametrize("path", ["/deliveries?after=0001-01-01T00:00:00%2B08:00 erp S1", "/orders?number=%ED%A0%80"])
async def test_what_the_database_cannot_take_is_refused_without_the_name_of_an_exception(
    gateway: Gateway, path: str
) -> None:
    answer = await gateway.call("GET", path)
    assert answer.status in (200, 422) and "Error" not in msgspec.json.encode(answer.body).decode()


async def test_who_hangs_up_within_a_body_is_no_outage_of_the_database(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    await gateway.get("/orders")  # the token is known from now on
    _, writer = await asyncio.open_connection("127.0.0.1", URL(gateway.base).port)
    head = (
        "POST /api/v1/orders/nope/reconsider HTTP/1.1", "Host: x", f"Authorization: Bearer {gateway.token}",
        "Content-Length: 400", "", "{",
    )  # fmt: skip
    writer.write("\r\n".join(head).encode())
    await writer.drain()
    await gateway.get("/orders")
    writer.close()
    for _ in range(5):
        await gateway.get("/orders")

    assert [one for one in gateway.happened if isinstance(one, Trouble)] == []
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/api/v1x", 404, "not_found"),
        ("GET", "/hooks/shop", 405, "method"),
        ("POST", "/healthz", 405, "method"),
    ],
)
async def test_what_is_asked_beside_the_api_is_refused_in_json_too(
    gateway: Gateway, method: str, path: str, status: int, code: str
) -> None:
    async with aiohttp.request(method, gateway.base + path) as response:
        body = await response.json()

    assert (response.status, body["error"]) == (status, code) and is_told(body)
    assert ("Allow" in response.headers) is (status == 405)


async def test_an_expectation_that_nobody_knows_is_refused_in_json(gateway: Gateway) -> None:
    async with aiohttp.request("GET", f"{gateway.base}/api/v1/orders", headers={"Expect": "200-maybe"}) as response:
        body = await response.json()

    assert (response.status, body["error"], body["where"]) == (417, "expect", "headers.Expect") and is_told(body)


async def test_a_packed_body_is_not_taken(gateway: Gateway) -> None:
    answer = await gateway.call("POST", "/orders/nope/reconsider", {"reason": "x"}, packed=True)
    assert (answer.status, answer.body["error"], is_told(answer.body)) == (415, "encoding", True)


async def test_an_order_with_its_way(gateway: Gateway) -> None:
    number = await gateway.order()
    await gateway.sent(number)

    page = await gateway.get(f"/orders/{number}")

    kinds = [one["kind"] for one in page["timeline"]]
    assert kinds == ["event", "delivery", "attempt"]
    event, delivery, attempt = page["timeline"]
    assert (event["n"], event["source"], event["type"], event["stage"]) == (
        1,
        "shop",
        "ordergate.order.v1",
        "allocated",
    )
    assert (delivery["target"], delivery["seq"], delivery["operation"], delivery["key"]) == (
        "erp",
        1,
        "create",
        "create",
    )
    assert (attempt["result"], attempt["detail"]) == ("done", f"R-{number}/create")
    assert [one["at"] for one in page["timeline"]] == sorted(one["at"] for one in page["timeline"])
    assert page["order"]["stage"] == "allocated"
    assert page["order"]["content"]["value"]["lines"][0]["quantity"] == 2


async def test_personal_data_is_hidden_unless_asked_for_and_that_is_recorded(gateway: Gateway) -> None:
    number = await gateway.order(buyer_note="call me at 13800001234")
    await gateway.stage(number, "allocated")

    hidden = await gateway.get(f"/orders/{number}")
    assert "张三丰" not in str(hidden) and "13800001234" not in str(hidden) and "张江路" not in str(hidden)
    assert hidden["masked"] and hidden["order"]["content"]["value"]["receiver"]["phone"] == "138****1234"
    assert await gateway.audit() == []

    shown = await gateway.get(f"/orders/{number}", unmask=1)
    assert shown["order"]["content"]["value"]["receiver"]["name"] == "张三丰" and not shown["masked"]
    raw = await gateway.get(f"/orders/{number}/raw/1")
    assert msgspec.json.decode(raw["text"])["receiver"]["detail"] == "张江路1号"
    assert base64.b64decode(raw["base64"]).decode() == raw["text"]
    assert [row[:3] for row in await gateway.audit()] == [
        ("admin/wang", "order.unmask", number),
        ("admin/wang", "order.raw", f"{number}/1"),
    ]


async def test_a_telephone_number_in_a_reason_is_hidden(gateway: Gateway) -> None:
    reason = {"reason": "ask 王 13800001234"}
    await gateway.post("/connections/erp/pause", reason)
    await gateway.post("/gates/erp/create/breaker", {"force": "open", **reason})

    (erp,) = [one for one in (await gateway.get("/connections"))["connections"] if one["name"] == "erp"]
    (gate,) = [one for one in (await gateway.get("/gates"))["gates"] if one["forced"]]
    assert erp["reason"] == gate["forced"]["reason"] == "ask 王 [phone]"


async def test_no_delivery_is_lost_between_pages_when_an_order_has_several(gateway: Gateway) -> None:
    gateway.erp.faults = REFUSING
    for order_no in ("1", "2"):
        await gateway.blocked(await gateway.order(order_no=order_no))
    # As of an order that goes to two targets: both lanes open in the transaction that decides it.
    async with gateway.pool.acquire() as connection, connection.transaction():
        shop = await connection.fetchval("SELECT connection_id FROM connection WHERE name = 'shop'")
        await connection.execute("CREATE TEMP TABLE d ON COMMIT DROP AS SELECT * FROM delivery")
        await connection.execute("CREATE TEMP TABLE l ON COMMIT DROP AS SELECT * FROM lane")
        for name in ("d", "l"):
            await connection.execute(f"UPDATE {name} SET target_id = $1", shop)
        await connection.execute("UPDATE d SET key = key || '/shop'")
        await connection.execute("INSERT INTO delivery SELECT * FROM d")
        await connection.execute("INSERT INTO lane SELECT * FROM l")

    seen, after = [], {}
    while True:
        page = await gateway.get("/deliveries", limit=1, **after)
        seen += [(row["number"], row["target"]) for row in page["deliveries"]]
        if not page["next"]:
            break
        after = {"after": page["next"]}
    assert seen == [("S1", "erp"), ("S1", "shop"), ("S2", "erp"), ("S2", "shop")]


async def test_the_list_of_orders_is_filtered_and_turned_page_by_page(gateway: Gateway) -> None:
    for index in range(5):
        await gateway.order(order_no=f"A{index}")
    await gateway.order(order_no="B1", status="placed", payment={"paid": False})
    waiting = await gateway.stage("SB1", "received", reason="unpaid", connection="shop")
    assert waiting["reasons"] == ["unpaid"]
    for index in range(5):
        await gateway.stage(f"SA{index}", "allocated")

    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = await gateway.get("/orders", number="SA", limit=2, **after)
        seen += [row["number"] for row in page["orders"]]
        if not page["next"]:
            break
        after = {"after": page["next"]}
    assert sorted(seen) == [f"SA{index}" for index in range(5)] and len(seen) == len(set(seen))
    assert (await gateway.get("/orders", connection="erp"))["orders"] == []
    assert (await gateway.get("/orders", conflict="cancelled_but_shipped"))["orders"] == []
    assert (await gateway.get("/orders", reason="unpaid", number="SA"))["orders"] == []


async def test_a_number_with_a_slash_in_it(gateway: Gateway) -> None:
    number = await gateway.order(order_no="20/26")
    await gateway.stage(number, "allocated")

    assert (await gateway.get("/orders/S20%252F26".replace("%25", "%")))["number"] == "S20/26"


@pytest.mark.feature("F76")
async def test_a_refused_delivery_is_edited_and_sent_again(gateway: Gateway) -> None:
    gateway.erp.faults = REFUSING
    number = await gateway.order()
    lane = await gateway.blocked(number)
    assert (lane["state"], lane["blocked"], lane["last_result"], lane["last_code"]) == (
        "blocked", "rejected:http_4xx", "rejected", "http_4xx",
    )  # fmt: skip
    gateway.erp.faults = Faults()

    path = f"/deliveries/{number}/erp/1/resend"
    for edit, place in [
        ({"lines": []}, "$.edit.lines"),
        ({"lines": [{"line_no": "1", "sku": "X", "quantity": "two", "price_minor": 1}]}, "$.edit.lines[0].quantity"),
        ({"lines": [{"line_no": "1", "sku": "X", "quantity": 0, "price_minor": 1}]}, "$.edit.lines[0].quantity"),
        ({"receiver": {"fax": "1"}}, "$.edit.receiver"),
        ({"placed_at": "2026-05-01T09:30:00"}, "$.edit.placed_at"),
        ({"total_minor": -1}, "$.edit"),
        ({"total_minor": 10**14 + 1}, "$.edit.total_minor"),
        ({"freight_minor": 10**30}, "$.edit.freight_minor"),
        ({"discount_minor": 2**64}, "$.edit.discount_minor"),
        ({"lines": [{"line_no": "1", "sku": "X", "quantity": 1, "price_minor": 2**63}]}, "$.edit.lines[0].price_minor"),
        ({"currency": "yuan"}, "$.edit.currency"),
        ({"receiver": {"name": "三" * 2001}}, "$.edit.receiver.name"),
        ({"lines": [{"line_no": "1", "sku": "X" * 2001, "quantity": 1, "price_minor": 1}]}, "$.edit.lines[0].sku"),
        ({"buyer_note": "a\x00"}, "$.edit.buyer_note"),
        ({"placed_at": "0001-01-01T00:00:00+08:00"}, "$.edit.placed_at"),
        ({"latest_ship_at": "2100-01-01T00:00:00Z"}, "$.edit.latest_ship_at"),
    ]:
        answer = await gateway.call("POST", path, {"reason": "x", "edit": edit})
        assert (answer.status, answer.body["where"], is_told(answer.body)) == (422, place, True), answer
    assert (await gateway.call("POST", f"/deliveries/{number}/erp/2/resend", {"reason": "x"})).status == 404

    await gateway.post(path, {"reason": "wrong SKU", "edit": {"receiver": {"phone": "13900005678"}, "lines": [
        {"line_no": "1", "sku": "CUP-09", "quantity": 3, "price_minor": 100}]}})  # fmt: skip
    await gateway.sent(number)

    sent = msgspec.json.decode(gateway.erp.seen[f"{number}/create"])
    assert [(line["sku"], line["quantity"]) for line in sent["lines"]] == [("CUP-09", 3)]
    assert (sent["receiver"]["phone"], sent["receiver"]["name"]) == ("13900005678", "张三丰")
    page = await gateway.get(f"/orders/{number}")
    kinds = [one["kind"] for one in page["timeline"]]
    assert kinds == ["event", "delivery", "attempt", "hand", "edit", "attempt"]
    assert await gateway.audit() == [("admin/wang", "delivery.edit_and_resend", f"{number}/erp/1", "wrong SKU")]
    again = await gateway.call("POST", path, {"reason": "x"})
    assert (again.status, again.body["error"]) == (409, "done")


async def test_an_edit_is_refused_however_deep_it_is_nested(gateway: Gateway) -> None:
    gateway.erp.faults = REFUSING
    number = await gateway.order()
    await gateway.blocked(number)

    for depth in range(930, 960):  # around what can be decoded
        raw = b'{"reason":"x","edit":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
        answer = await gateway.call("POST", f"/deliveries/{number}/erp/1/resend", raw=raw)
        assert answer.status in (400, 422), (depth, answer)


async def test_an_unknown_outcome_needs_a_person_who_has_looked(gateway: Gateway) -> None:
    gateway.erp.faults = REFUSING
    number = await gateway.order()
    await gateway.blocked(number)
    gateway.erp.faults = Faults()
    await gateway.pool.execute("UPDATE lane SET blocked = 'unknown', in_doubt = true")

    path = f"/deliveries/{number}/erp/1/resend"
    refused = await gateway.call("POST", path, {"reason": "again"})
    assert (refused.status, refused.body["error"]) == (409, "unknown_outcome")
    assert is_told(refused.body)
    assert all("confirmed_absent" in said for said in refused.body["advice"].values())

    await gateway.post(path, {"reason": "they do not have it", "confirmed_absent": True})
    await gateway.sent(number)
    assert gateway.erp.books.orders[number].documents == 1


async def test_a_delivery_handled_elsewhere_lets_the_next_command_go(gateway: Gateway) -> None:
    gateway.erp.faults = REFUSING
    number = await gateway.order()
    await gateway.blocked(number)
    gateway.erp.faults = Faults()
    await gateway.order(updated_at="2026-05-01T09:31:00+08:00", status="cancelled")
    await gateway.stage(number, "cancelled")
    behind = await gateway.call("POST", f"/deliveries/{number}/erp/2/resolve", {"reason": "x"})
    assert (behind.status, behind.body["error"]) == (409, "behind")

    done = await gateway.post(
        f"/deliveries/{number}/erp/1/resolve", {"reason": "typed in by hand", "reference": "ERP-7"}
    )
    assert "2" in done["note"]["en"] and "2" in done["note"]["zh"]
    await gateway.sent(number)

    assert gateway.erp.books.orders[number].commands == ["cancel"]
    results = [one for one in (await gateway.get(f"/orders/{number}"))["timeline"] if one["kind"] == "attempt"]
    assert [(one["seq"], one["result"]) for one in results] == [(1, "rejected"), (1, "resolved"), (2, "done")]
    assert results[1]["detail"] == "admin/wang: typed in by hand [ERP-7]"
    assert ("admin/wang", "delivery.resolve", f"{number}/erp/1", "typed in by hand") in await gateway.audit()


async def test_resolving_the_last_command_closes_the_lane(gateway: Gateway) -> None:
    gateway.erp.faults = REFUSING
    number = await gateway.order()
    await gateway.blocked(number)

    await gateway.post(f"/deliveries/{number}/erp/1/resolve", {"reason": "done by phone"})

    assert await gateway.pool.fetchval("SELECT count(*) FROM lane") == 0
    assert gateway.erp.books.effects == 0


async def test_a_delivery_that_waits_by_itself_is_not_pushed(gateway: Gateway) -> None:
    await gateway.post("/connections/erp/pause", {"reason": "stocktaking"})
    await _heard(gateway)
    number = await gateway.order()
    await gateway.stage(number, "allocated")

    answer = await gateway.call("POST", f"/deliveries/{number}/erp/1/resend", {"reason": "x"})

    assert (answer.status, answer.body["error"]) == (409, "not_blocked")


@pytest.mark.feature("F129")
async def test_a_paused_shop_is_listened_to_and_its_orders_wait_until_it_is_resumed(gateway: Gateway) -> None:
    sent = await gateway.order(order_no="1")
    await gateway.sent(sent)
    answer = await gateway.post("/connections/shop/pause", {"reason": "wrong prices"})
    assert "从此等待" in answer["note"]["zh"] and "its orders wait" in answer["note"]["en"]

    waits = await gateway.order(order_no="2")
    await gateway.stage(waits, "received", reason="paused")
    (card,) = (await gateway.get("/work"))["cards"]
    assert (card["code"], card["means"]["zh"]) == ("paused", "店铺已暂停或改为观察")
    assert (card["next"]["command"], card["count"]) == ("ordergate resume shop -r REASON", 1)
    await gateway.order(order_no="1", updated_at="2026-05-01T09:31:00+08:00", status="cancelled")
    await gateway.stage(sent, "cancelled")
    await gateway.sent(sent)
    assert gateway.erp.books.orders[sent].commands == ["create", "cancel"]
    assert waits not in gateway.erp.books.orders

    answer = await gateway.post("/connections/shop/resume", {"reason": "put right"})
    assert "等待的 1 个订单" in answer["note"]["zh"] and "orders that waited: 1" in answer["note"]["en"]
    await gateway.stage(waits, "allocated")
    await gateway.sent(waits)
    told = (await gateway.get(f"/orders/{waits}"))["timeline"]
    assert [(one["kind"], one["reasons"]) for one in told if "reasons" in one] == [
        ("event", ["paused"]), ("decision", []),
    ]  # fmt: skip


@pytest.mark.feature("F129")
async def test_one_operation_is_paused_until_it_is_resumed(gateway: Gateway) -> None:
    await gateway.post("/connections/erp/pause", {"reason": "their move", "operation": "create"})
    await _heard(gateway)
    gates = {gate["operation"]: gate["forced"] for gate in (await gateway.get("/gates"))["gates"]}
    assert gates["create"] == {"state": "open", "reason": "their move", "author": "admin/wang", "until_at": None}
    assert gates["cancel"] is None
    number = await gateway.order()
    await gateway.stage(number, "allocated")
    (lane,) = (await gateway.get(f"/orders/{number}"))["lanes"]
    assert (lane["stopped"], number in gateway.erp.books.orders) == ("breaker", False)

    await gateway.post("/connections/erp/resume", {"reason": "moved", "operation": "create"})
    await gateway.sent(number)
    assert [row[1] for row in await gateway.audit()] == ["breaker.open", "breaker.automatic"]


async def test_what_is_for_a_target_that_left_the_configuration_is_not_said_to_be_sent(gateway: Gateway) -> None:
    gateway.erp.faults = REFUSING
    number = await gateway.order()
    await gateway.blocked(number)
    async with gateway.pool.acquire() as connection, connection.transaction():
        gone = await connection.fetchval("INSERT INTO connection (name) VALUES ('old-wms') RETURNING connection_id")
        for table in ("delivery", "attempt", "lane"):
            await connection.execute(f"UPDATE {table} SET target_id = $1", gone)

    path = f"/deliveries/{number}/old-wms/1"
    before = await gateway.pool.fetchval("SELECT lane::text FROM lane")
    answer = await gateway.call("POST", f"{path}/resend", {"reason": "x", "confirmed_absent": True})
    assert (answer.status, answer.body["error"], is_told(answer.body)) == (409, "not_configured", True)
    assert await gateway.pool.fetchval("SELECT lane::text FROM lane") == before
    await gateway.pool.execute("UPDATE lane SET blocked = NULL")
    answer = await gateway.call("POST", f"{path}/resend", {"reason": "x"})
    assert (answer.status, answer.body["error"]) == (409, "not_configured"), "it is not sent by itself either"
    (listed,) = (await gateway.get("/deliveries"))["deliveries"]
    (shown,) = (await gateway.get(f"/orders/{number}"))["lanes"]
    assert (listed["state"], listed["stopped"], shown["stopped"]) == ("waiting", "not_configured", "not_configured")
    await gateway.post(f"{path}/resolve", {"reason": "typed in there"})
    assert await gateway.pool.fetchval("SELECT count(*) FROM lane") == 0


async def test_a_paused_connection_gets_nothing_until_it_is_resumed(gateway: Gateway) -> None:
    await gateway.post("/connections/erp/pause", {"reason": "stocktaking"})
    await _heard(gateway)
    number = await gateway.order()
    await gateway.stage(number, "allocated")
    waiting = (await gateway.get("/deliveries", state="waiting", target="erp"))["deliveries"]
    assert [(row["number"], row["stopped"]) for row in waiting] == [(number, "paused")]
    gates = (await gateway.get("/gates"))["gates"]
    assert all(gate["paused"] for gate in gates)
    assert sum(gate["parked"] for gate in gates) == 1
    assert gateway.erp.books.effects == 0

    await gateway.post("/connections/erp/resume", {"reason": "counted"})
    await gateway.sent(number)

    assert [row[1] for row in await gateway.audit()] == ["connection.pause", "connection.resume"]


async def _heard(gateway: Gateway) -> None:
    """Whether the worker has read its switches since they were set: two heartbeats of its lease."""
    before = await gateway.pool.fetchval("SELECT renewed_at FROM worker")
    for _ in range(2):
        before = await gateway.until(partial(_renewed, gateway, before))


async def _renewed(gateway: Gateway, before: Any) -> Any:
    now = await gateway.pool.fetchval("SELECT renewed_at FROM worker")
    return now if now != before else None


async def test_two_who_hold_a_breaker_at_once_are_both_heard(gateway: Gateway) -> None:
    path = "/gates/erp/create/breaker"
    for _ in range(5):
        answers = await asyncio.gather(
            *[gateway.call("POST", path, {"force": force, "reason": "x"}) for force in ("open", "closed") * 3]
        )
        assert [answer.status for answer in answers] == [200] * 6
        await gateway.post(path, {"force": "auto", "reason": "x"})
    assert len(await gateway.audit()) == 35


@pytest.mark.feature("F70")
async def test_a_breaker_is_held_open_and_let_go(gateway: Gateway) -> None:
    async def state() -> str:
        gates = (await gateway.get("/gates"))["gates"]
        return str(next(g for g in gates if g["operation"] == "create")["worker"]["breaker"]["state"])

    async def becomes(wanted: str) -> None:
        async def look() -> bool:
            return await state() == wanted

        await gateway.until(look)

    assert await state() == "closed"
    path = "/gates/erp/create/breaker"
    await gateway.post(path, {"force": "open", "reason": "their migration", "for_s": 600})
    await becomes("forced_open")
    number = await gateway.order()
    await gateway.stage(number, "allocated")
    gate = next(g for g in (await gateway.get("/gates"))["gates"] if g["operation"] == "create")
    assert (gate["open"], gate["forced"]["state"], gate["forced"]["reason"]) == (1, "open", "their migration")
    assert gate["forced"]["author"] == "admin/wang"
    assert (gate["worker"]["in_flight"], gate["worker"]["limit"]) == (0, 32)
    await gateway.post(path, {"force": "auto", "reason": "over"})
    await gateway.sent(number)
    await gateway.post(path, {"force": "closed", "reason": "trust me", "for_s": 1})
    await becomes("forced_closed")
    await becomes("closed")
    assert [row[1] for row in await gateway.audit()] == ["breaker.open", "breaker.automatic", "breaker.closed"]


@pytest.mark.feature("F68")
async def test_a_breaker_is_of_one_operation(gateway: Gateway) -> None:
    """What cannot be created just now can be cancelled."""
    first = await gateway.order(order_no="1")
    await gateway.sent(first)
    await gateway.post("/gates/erp/create/breaker", {"force": "open", "reason": "their migration", "for_s": 600})

    async def held() -> dict[str, str]:
        return {g["operation"]: g["worker"]["breaker"]["state"] for g in (await gateway.get("/gates"))["gates"]}

    async def is_open() -> bool:
        return (await held())["create"] == "forced_open"

    await gateway.until(is_open)
    assert (await held())["cancel"] == "closed"
    second = await gateway.order(order_no="2")
    await gateway.stage(second, "allocated")
    await gateway.order(
        order_no="1", updated_at="2026-05-01T10:00:00+08:00", status="cancelled", cancelled={"reason": "buyer"}
    )
    await gateway.stage(first, "cancelled")
    await gateway.sent(first)
    assert gateway.erp.books.orders[first].cancelled
    assert second not in gateway.erp.books.orders


async def test_stock_is_set_with_a_movement_and_wakes_what_waited(gateway: Gateway) -> None:
    def items(*rows: tuple[str, int]) -> dict[str, Any]:
        return {"items": [{"sku": s, "warehouse": "W1", "on_hand": n} for s, n in rows], "reason": "counted"}

    first = await gateway.call("PUT", "/stock", items(("CUP-01", 1), ("TEA", 5)))
    assert first.body == {"changed": 2, "created": 2, "woken": 0, "unrouted": []}
    number = await gateway.order()
    await gateway.stage(number, "reviewed", reason="short_of_stock")
    missing = [{"sku": "CUP-01", "warehouse": "W1", "pieces": 1, "available": 1}]
    assert (await gateway.get(f"/orders/{number}"))["missing"] == missing
    (item,) = (await gateway.get("/work/items", code="short_of_stock"))["items"]
    assert item["missing"] == missing and item["next"]["zh"] == "补货并更新库存，订单自动继续（缺 CUP-01 1 件）"
    assert item["next"]["command"] == "ordergate stock set CUP-01 W1 PIECES -r REASON"

    second = await gateway.call("PUT", "/stock", items(("CUP-01", 10)))
    assert second.body == {"changed": 1, "created": 0, "woken": 1, "unrouted": []}
    await gateway.sent(number)
    assert (await gateway.get(f"/orders/{number}"))["missing"] == []
    rows = (await gateway.get("/stock", sku="CUP"))["stock"]
    assert rows == [{"sku": "CUP-01", "warehouse": "W1", "on_hand": 10, "locked": 0, "committed": 2, "available": 8}]

    low = await gateway.call("PUT", "/stock", items(("CUP-01", 1), ("TEA", 9)))
    assert (low.status, low.body["error"], low.body["details"][0]["committed"]) == (409, "below_booked", 2)
    assert (await gateway.get("/stock", sku="TEA"))["stock"][0]["on_hand"] == 5
    await _ledger_is_right(gateway.pool)

    page = await gateway.get("/stock", limit=1)
    assert (page["stock"][0]["sku"], page["next"] != "") == ("CUP-01", True)
    assert (await gateway.get("/stock", limit=1, after=page["next"]))["stock"][0]["sku"] == "TEA"
    timeline = (await gateway.get(f"/orders/{number}"))["timeline"]
    assert [one["committed"] for one in timeline if one["kind"] == "stock"] == [2]
    assert [row[1:] for row in await gateway.audit()] == [
        ("stock.set", "CUP-01@W1=1, TEA@W1=5", "counted"),
        ("stock.set", "CUP-01@W1=10", "counted"),
    ]


async def _ledger_is_right(pool: asyncpg.Pool) -> None:
    wrong = await pool.fetch(
        "SELECT s.sku FROM stock s LEFT JOIN movement m USING (stock_id) GROUP BY s.stock_id"
        " HAVING (s.on_hand, s.locked, s.committed) IS DISTINCT FROM"
        " (coalesce(sum(m.on_hand), 0), coalesce(sum(m.locked), 0), coalesce(sum(m.committed), 0))"
    )
    assert wrong == []


@pytest.mark.feature("F52")
async def test_a_balance_is_seen_beside_its_movements_and_settled(gateway: Gateway) -> None:
    items = [{"sku": "CUP-01", "warehouse": "W1", "on_hand": 5}]
    await gateway.call("PUT", "/stock", {"items": items, "reason": "counted"})
    number = await gateway.order()
    await gateway.sent(number)
    await gateway.pool.execute("UPDATE stock SET committed = 0 WHERE sku = 'CUP-01'")
    async with gateway.pool.acquire() as connection:
        await sum_whole(connection)
        assert await compare(connection) == 1
    assert [row["sku"] for row in (await gateway.get("/stock", off=1))["stock"]] == ["CUP-01"]
    seen = await gateway.get("/stock/ledger", sku="CUP-01", warehouse="W1")
    assert seen["moved"] == {"on_hand": 5, "locked": 0, "committed": 2}
    assert seen["off"] == {"on_hand": 0, "locked": 0, "committed": -2}
    assert [(one["order"], one["on_hand"], one["committed"]) for one in seen["movements"]] == [
        (number, 0, 2),
        ("", 5, 0),
    ]
    assert seen["movements"][1]["reason"].endswith(": counted")

    place = {"sku": "CUP-01", "warehouse": "W1", "reason": "by hand"}
    wrong = await gateway.call("POST", "/stock/settle", {**place, "keep": "neither"})
    assert wrong.status == 422
    settled = await gateway.call("POST", "/stock/settle", {**place, "keep": "movements"})
    assert settled.body == {"off": seen["off"], "woken": 0}
    assert (await gateway.get("/stock", sku="CUP"))["stock"][0]["committed"] == 2
    assert (await gateway.get("/stock", off=1))["stock"] == []
    await _ledger_is_right(gateway.pool)
    assert (await gateway.audit())[-1][1:] == ("stock.settle", "CUP-01@W1 +0/+0/-2 (movements)", "by hand")

    await gateway.pool.execute("DELETE FROM movement WHERE order_id IS NULL")
    below = await gateway.call("POST", "/stock/settle", {**place, "keep": "movements"})
    assert (below.status, below.body["error"]) == (409, "below_booked")
    unknown = await gateway.call("POST", "/stock/settle", {**place, "sku": "NONE", "keep": "balance"})
    assert (unknown.status, (await gateway.call("GET", "/stock/ledger?sku=NONE&warehouse=W1")).status) == (404, 404)
    kept = await gateway.call("POST", "/stock/settle", {**place, "keep": "balance"})
    assert kept.body["off"] == {"on_hand": 5, "locked": 0, "committed": 0}
    right = await gateway.call("POST", "/stock/settle", {**place, "keep": "balance"})
    assert right.body["off"] == {"on_hand": 0, "locked": 0, "committed": 0}
    assert (await gateway.audit())[-1][1:3] == ("stock.settle", "CUP-01@W1 +0/+0/+0 (balance)"), "who asked is recorded"
    await _ledger_is_right(gateway.pool)


async def test_stock_of_codes_that_are_long_as_json_is_turned_page_by_page(gateway: Gateway) -> None:
    items = [{"sku": "\x01" * 63 + end, "warehouse": "\x02" * 64, "on_hand": 1} for end in "ab"]
    assert (await gateway.call("PUT", "/stock", {"items": items, "reason": "x"})).status == 200

    first = await gateway.get("/stock", limit=1)
    second = await gateway.get("/stock", limit=1, after=first["next"])
    assert [row["sku"][-1] for row in first["stock"] + second["stock"]] == ["a", "b"]


async def test_an_order_is_decided_again(gateway: Gateway) -> None:
    number = await gateway.order()
    await gateway.sent(number)

    await gateway.post(f"/orders/{number}/reconsider", {"reason": "rules changed"})

    async def taken() -> bool:
        return not await gateway.pool.fetchval("SELECT EXISTS (SELECT 1 FROM inbox)")

    await gateway.until(taken)
    assert gateway.erp.books.orders[number].documents == 1
    assert await gateway.audit() == [("admin/wang", "order.reconsider", number, "rules changed")]


@pytest.mark.feature("F4")
async def test_what_was_misread_once_is_parsed_again(gateway: Gateway) -> None:
    number = await gateway.order()
    await gateway.sent(number)
    path = f"/orders/{number}/reparse"
    assert await gateway.get(path) == {"messages": 1, "changes": []}
    state = await gateway.pool.fetchval("SELECT state FROM orders")
    order = decode_state(state)
    assert order.content is not None
    right = order.content.value
    misread = msgspec.structs.replace(right, receiver=Receiver(name="?"))
    wrong = msgspec.structs.replace(order, content=msgspec.structs.replace(order.content, value=misread))
    await gateway.pool.execute("UPDATE orders SET state = $1", encode_state(wrong))

    looked = await gateway.get(path)
    assert looked == {"messages": 1, "changes": ["content.receiver"]}
    assert (await gateway.pool.fetchval("SELECT state FROM orders"), await gateway.audit()) == (encode_state(wrong), [])
    assert await gateway.post(path, {"reason": "the adapter is mended"}) == looked

    async def decided() -> bool:
        return not await gateway.pool.fetchval("SELECT EXISTS (SELECT 1 FROM inbox)")

    await gateway.until(decided)
    now = decode_state(await gateway.pool.fetchval("SELECT state FROM orders"))
    assert now.content is not None and now.content.value == right
    assert now.commands == order.commands and gateway.erp.books.orders[number].documents == 1
    assert await gateway.audit() == [("admin/wang", "order.reparse", number, "the adapter is mended")]
    page = await gateway.get(f"/orders/{number}")
    assert [one["action"] for one in page["timeline"] if one["kind"] == "hand"] == ["order.reparse"]

    await gateway.pool.execute("DELETE FROM event")
    for method, body in (("GET", None), ("POST", {"reason": "x"})):
        refused = await gateway.call(method, path, body)
        assert (refused.status, refused.body["error"], is_told(refused.body)) == (409, "not_all_told", True)


async def test_who_meets_another_change_is_told_to_try_again(gateway: Gateway) -> None:
    blocked = """SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
                                AND wait_event_type = 'Lock' AND starts_with(query, 'INSERT INTO audit'))"""

    async def waits() -> bool:
        return await gateway.pool.fetchval(blocked) is True

    async with gateway.pool.acquire() as other, asyncio.TaskGroup() as both:
        async with other.transaction():
            await other.execute("LOCK TABLE audit IN EXCLUSIVE MODE")
            met = both.create_task(gateway.call("POST", "/connections/erp/pause", {"reason": "x"}))
            await gateway.until(waits)
            # It waits for us, and we for it: PostgreSQL ends the one that has waited longer.
            await other.execute("UPDATE connection SET pause_reason = '' WHERE name = 'erp'")
    refused = met.result()
    assert (refused.status, refused.body["error"], is_told(refused.body)) == (503, "unavailable", True)
    assert not await gateway.pool.fetchval("SELECT paused FROM connection WHERE name = 'erp'")
    assert (await gateway.call("POST", "/connections/erp/pause", {"reason": "x"})).status == 200


async def test_health_pages(gateway: Gateway) -> None:
    assert (await gateway.page("/healthz")).status == 200
    ready = await gateway.page("/readyz")
    assert (ready.status, ready.body) == (200, {"ready": True, "reasons": []})

    await gateway.pool.execute("DELETE FROM migration")
    behind = await gateway.page("/readyz")

    assert behind.status == 503
    assert behind.body["reasons"][0]["state"] == "outdated"
    assert "ordergate migrate" in behind.body["reasons"][0]["zh"] and "migrate" in behind.body["reasons"][0]["en"]


async def test_a_kafka_that_is_away_leaves_the_worker_ready(migrated_url: str, tmp_path: Path) -> None:
    pool = await open_pool(migrated_url, size=1)
    await pool.close()
    extra = "kafka: {bootstrap: '127.0.0.1:9'}\n"
    async with Running(migrated_url, tmp_path, "http://127.0.0.1:9", extra=extra) as running:
        async with aiohttp.ClientSession() as session, session.get(f"{running.base}/readyz") as response:
            body = await response.json()
    assert (response.status, body["ready"]) == (200, True)
    assert [(reason["part"], reason["fatal"]) for reason in body["reasons"]] == [("kafka", False), ("intake", False)]


async def test_without_a_database_it_says_so_and_comes_back(server_folder: Path, tmp_path: Path) -> None:
    with EmbeddedPostgres(server_folder / "postgres") as server:
        pool = await open_pool(server.url, size=2)
        await migrate(pool)
        token = await first_token(pool)
        await pool.close()
        headers = {"Authorization": f"Bearer {token}"}
        async with Running(server.url, tmp_path, "http://127.0.0.1:9") as running, aiohttp.ClientSession() as session:

            async def status(path: str) -> int:
                async with session.get(running.base + path, headers=headers) as response:
                    await response.read()
                    return response.status

            async def becomes(path: str, wanted: int) -> None:
                deadline = time.monotonic() + 20
                while await status(path) != wanted:
                    assert time.monotonic() < deadline, f"{path} is not {wanted}"

            assert (await status("/readyz"), await status("/api/v1/orders")) == (200, 200)
            server.stop_blocking()
            await becomes("/api/v1/orders", 503)
            await becomes("/readyz", 503)
            assert await status("/healthz") == 200
            server.start_blocking()
            await becomes("/readyz", 200)
            await becomes("/api/v1/orders", 200)


def test_the_order_document_of_these_tests_is_the_documented_one() -> None:
    from adapters.webhook.mapping import decode

    assert decode(msgspec.json.encode(ORDER), max_total_minor=10**9).order_no == "1001"


async def test_notices_and_conditions_are_listed_and_filtered(gateway: Gateway) -> None:
    await gateway.pool.execute(
        "INSERT INTO notice (at, kind, connection, subject, change, title, facts, advice, state)"
        " SELECT now(), k, 'erp', 'x', 'opened', 't', 'f', 'a', s FROM unnest(ARRAY['target', 'blocked', 'target'],"
        " ARRAY['sent', 'failed', 'waiting']) AS n(k, s)"
    )
    await gateway.pool.execute(
        "INSERT INTO condition (kind, connection, subject, opened_at, closed_at)"
        " VALUES ('target', 'erp', 'create', now(), NULL), ('target', 'erp', 'cancel', now(), now())"
    )

    async def states(**filters: Any) -> list[str]:
        return [one["state"] for one in (await gateway.get("/notices", **filters))["notices"]]

    assert await states() == ["waiting", "failed", "sent"]
    assert await states(kind="target", state="sent") == ["sent"]
    assert await states(connection="shop") == []
    first = await gateway.get("/notices", limit=2)
    assert await states(after=first["next"]) == ["sent"]
    assert [one["subject"] for one in (await gateway.get("/conditions"))["conditions"]] == ["create"]
    for wrong in ({"state": "lost"}, {"kind": "tragedy"}, {"after": "x"}):
        assert (await gateway.call("GET", "/notices", **wrong)).status == 422
