"""Orders whose rows cannot be opened: the desk shows what is known of them and why not all, and no list fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from adapters.webhook.fake import FakeShop
from gateway.store.reseal import SEALED
from gateway.store.sql import migrate, open_pool
from gateway.store.token import first_token
from gateway.store.vault import Vault, enter_keys, is_sealed
from gateway.testing.fakes import Faults
from tests.api.conftest import ERP_SECRET, ORDER, Gateway, Running, is_told
from tests.api.test_routes import REFUSING
from tests.shops.test_commands import ordergate
from tests.store.test_vault import DAMAGE

KEY, LOST = b"k" * 32, b"l" * 32
KEYS = '\nencryption: {keys: ["a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="]}\n'
NAME = ORDER["receiver"]["name"]
SOUND, SHUT, BROKEN = "S1", "S2", "S3"


@pytest.fixture
async def gateway(postgres_url: str, tmp_path: Path) -> AsyncIterator[Gateway]:
    """Of three blocked orders S2 is sealed with a key that is gone, in every column, and of S3 a bit has turned.

    So it is with the payload of dead letters 1 and 2; `pool` opens nothing.
    """
    pool = await open_pool(postgres_url, size=2)
    await migrate(pool)
    await enter_keys(pool, Vault([KEY]))
    token = await first_token(pool)
    assert token is not None
    async with FakeShop(secrets=(ERP_SECRET,)) as erp, aiohttp.ClientSession() as session:
        async with Running(postgres_url, tmp_path, erp.url, extra=KEYS) as running:
            gateway = Gateway(running.base, token, pool=pool, erp=erp, session=session)
            gateway.erp.faults = REFUSING
            for number in "123":
                await gateway.order(order_no=number)
                await gateway.blocked(f"S{number}")
                await gateway.push({**ORDER, "order_no": f"4{number}", "lines": "none"})
            await gateway.dead(3)
            gateway.erp.faults = Faults()
            await pool.execute("UPDATE orders SET conflicts = 'over_shipped'")
            for number in (SOUND, SHUT, BROKEN):
                reason = {"reason": f"{NAME} called"}
                await gateway.post(f"/orders/{number}/conflicts-handled", reason)
            await pool.execute("DELETE FROM conflict_handled")
            await lose(gateway)
            yield gateway
    await pool.close()


async def lose(gateway: Gateway) -> None:
    vault, lost = Vault([KEY]), Vault([LOST])
    for column in SEALED:
        rows = await gateway.pool.fetch(f"SELECT ctid, {column.column} FROM {column.table} t")
        for place, stored in rows:
            if stored is None or not is_sealed(stored):
                continue
            named = await gateway.pool.fetchval(f"SELECT {column.named} FROM {column.table} t WHERE ctid = $1", place)
            if SHUT in named or (column.table == "dead_letter" and named.startswith("#1 ")):
                await gateway.pool.execute(
                    f"UPDATE {column.table} SET {column.column} = $2 WHERE ctid = $1",
                    place,
                    lost.seal(vault.open(stored)),
                )
    await gateway.pool.execute(f"UPDATE orders SET state = {DAMAGE.format('state')} WHERE number = $1", BROKEN)
    await gateway.pool.execute(
        f"UPDATE event SET body = {DAMAGE.format('body')}"
        " WHERE order_id = (SELECT order_id FROM orders WHERE number = $1)",
        BROKEN,
    )
    await gateway.pool.execute(f"UPDATE dead_letter SET body = {DAMAGE.format('body')} WHERE dead_letter_id = 2")


def why(number: str) -> str:
    return "not configured" if number == SHUT else "has been changed since"


async def test_an_order_that_cannot_be_opened_is_shown_as_far_as_it_is_known(gateway: Gateway) -> None:
    for number in (SHUT, BROKEN):
        page = await gateway.get(f"/orders/{number}")
        assert why(number) in page["unopened"]["en"] and page["unopened"]["zh"] != page["unopened"]["en"]
        order = page["order"]
        assert (order["number"], order["connection"], order["stage"]) == (number, "shop", "allocated")
        assert (order["conflicts"], order["content"]) == (["over_shipped"], None)
        kinds = [one["kind"] for one in page["timeline"]]
        assert kinds == ["event", "delivery", "attempt", "hand"] and page["lanes"][0]["state"] == "blocked"
        # Nobody knows what of these words to mask.
        words = [page["timeline"][2]["detail"], page["timeline"][3]["reason"], page["lanes"][0]["last_detail"]]
        assert words == ["***"] * 3
        page = await gateway.get(f"/orders/{number}", unmask="1")
        words = [page["timeline"][2]["detail"], page["timeline"][3]["reason"], page["lanes"][0]["last_detail"]]
        assert all(("not configured" in one) is (number == SHUT) for one in words), words

        code, shown = await ordergate("orders", "show", number, "--url", gateway.base, "--token", gateway.token)
        assert code == 0 and "订单内容打不开：" in shown and "冲突" in shown
    page = await gateway.get(f"/orders/{SOUND}")
    assert (page["unopened"], page["order"]["content"]["value"]["receiver"]["name"]) == ({"zh": "", "en": ""}, "张**")
    assert page["timeline"][3]["reason"] == "张** called"


async def test_no_list_fails_because_of_a_row_that_cannot_be_opened(gateway: Gateway) -> None:
    everybody = {SOUND, SHUT, BROKEN}
    for path, key in (("/orders", "orders"), ("/deliveries", "deliveries"), ("/work/items", "items")):
        rows = (await gateway.get(path))[key]
        assert {row["number"] for row in rows} >= everybody, path
        if path == "/deliveries":
            assert {row["number"] for row in rows if row["last_detail"] == "***"} == {SHUT, BROKEN}
    assert {card["kind"]: card["count"] for card in (await gateway.get("/work"))["cards"]} == {
        "conflict": 3, "delivery": 3, "dead_letter": 3,
    }  # fmt: skip
    letters = (await gateway.get("/dead-letters"))["dead_letters"]
    assert "not configured" in letters[2]["message"]["en"] and "配置中没有该密钥" in letters[2]["message"]["zh"]
    assert "sealed with" not in letters[2]["message"]["zh"]
    wanted = {"wanted": {"source": "shop"}}
    assert (await gateway.post("/redrives/preview", wanted))["preview"]["total"] == 6
    assert (await gateway.post("/deliveries/resolve/preview", wanted))["total"] == 6
    for path in ("/skus/shop/unmapped", "/connections", "/notices", "/redrives"):
        assert (await gateway.call("GET", path)).status in (200, 404), path
    async with gateway.download("/work/export") as sheet:
        assert sheet.status == 200
    for command in ("orders list", "deliveries list", "dead list", "work list", "redrives list"):
        code, _ = await ordergate(*command.split(), "--url", gateway.base, "--token", gateway.token)
        assert code == 0, command


async def test_what_cannot_be_opened_is_refused_with_what_to_do_and_changes_nothing(gateway: Gateway) -> None:
    before = await gateway.audit()
    for method, path, body in [
        ("GET", "/orders/{0}/raw/1", None),
        ("POST", "/orders/{0}/reconsider", {"reason": "x"}),
        ("GET", "/orders/{0}/reparse", None),
        ("POST", "/orders/{0}/reparse", {"reason": "x"}),
        ("POST", "/deliveries/{0}/erp/1/resend", {"reason": "x"}),
        ("POST", "/deliveries/{0}/erp/1/resend", {"reason": "x", "edit": {"seller_note": "y"}}),
    ]:
        for number in (SHUT, BROKEN):
            answer = await gateway.call(method, path.format(number), body)
            assert (answer.status, answer.body["error"]) == (409, "sealed"), answer
            assert is_told(answer.body) and number in answer.body["message"]["zh"], answer
            assert why(number) in answer.body["message"]["en"]
    for number, why_not in ((1, "not configured"), (2, "has been changed since")):
        page = await gateway.get(f"/dead-letters/{number}")
        assert why_not in page["unopened"]["en"]
        answer = await gateway.call("POST", f"/dead-letters/{number}/release", {"reason": "x"})
        assert (answer.status, answer.body["error"], is_told(answer.body)) == (409, "sealed", True), answer
    assert await gateway.audit() == before and await gateway.pool.fetchval("SELECT count(*) FROM inbox") == 0
    page = await gateway.get("/dead-letters/1", unmask="1")
    assert (page["text"], page["base64"]) == (None, None)
    code, shown = await ordergate("dead", "show", "1", "--url", gateway.base, "--token", gateway.token)
    assert code == 0 and "报文打不开：" in shown
    code, _ = await ordergate("orders", "raw", SHUT, "--url", gateway.base, "--token", gateway.token)
    assert code == 1


async def test_a_person_may_still_say_that_it_is_done_and_put_a_whole_payload(gateway: Gateway) -> None:
    for number in (SHUT, BROKEN):
        await gateway.post(f"/deliveries/{number}/erp/1/resolve", {"reason": "typed in by hand"})
        assert (await gateway.get(f"/orders/{number}"))["lanes"] == []
    answer = await gateway.post(
        "/dead-letters/2/release", {"reason": "x", "body": {**ORDER, "order_no": "42"}, "another_order": False}
    )
    assert answer == {"events": 1}
    await gateway.sent("S42")
    assert (await gateway.post("/dead-letters/1/discard", {"reason": "x"})) == {"events": 0}
    await gateway.post(f"/deliveries/{SOUND}/erp/1/resend", {"reason": "x", "edit": {"seller_note": "y"}})
    await gateway.sent(SOUND)


async def test_what_a_person_edited_and_nobody_can_open_is_not_replaced_unseen(gateway: Gateway) -> None:
    await gateway.pool.execute(
        "INSERT INTO delivery_edit (order_id, target_id, seq, body, author)"
        " SELECT order_id, target_id, 1, $2, 'wang' FROM lane JOIN orders USING (order_id) WHERE number = $1",
        SOUND,
        Vault([LOST]).seal(msgspec.json.encode({})),
    )
    body: dict[str, Any] = {"reason": "x", "edit": {"seller_note": "y"}}
    answer = await gateway.call("POST", f"/deliveries/{SOUND}/erp/1/resend", body)
    assert (answer.status, answer.body["error"]) == (409, "sealed")
    assert (await gateway.get(f"/orders/{SOUND}"))["unopened"]["en"] == ""


async def test_a_plain_row_that_is_damaged_is_shown_as_unreadable(gateway: Gateway) -> None:
    """As it is where no key is configured; damage within a name is no error of the format."""
    await gateway.pool.execute("UPDATE orders SET state = $2 WHERE number = $1", SOUND, b"\x9b\xa2\xff\xfe")
    await gateway.pool.execute("UPDATE attempt SET private_detail = '\\xff'")
    await gateway.pool.execute("UPDATE event SET body = 'x'")
    page = await gateway.get(f"/orders/{SOUND}")
    assert "damaged" in page["unopened"]["en"] and "损坏" in page["unopened"]["zh"]
    for path in (f"/orders/{SOUND}/raw/1", f"/orders/{SOUND}/reconsider"):
        method = "GET" if "raw" in path else "POST"
        answer = await gateway.call(method, path, None if method == "GET" else {"reason": "x"})
        assert (answer.status, answer.body["error"], is_told(answer.body)) == (409, "unreadable", True), answer
    for path in ("/deliveries", "/work/items", "/orders"):
        await gateway.get(path)
