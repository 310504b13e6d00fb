"""Buyer data with known values goes through a real gateway; nothing that is kept or shown has any of it."""

from __future__ import annotations

import base64
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from gateway.sdk.signing import decode_secret, sign
from gateway.store.sql import open_pool
from gateway.store.token import replace_token
from gateway.testing.fakes import Faults
from tests.chaos.gateway import SECRET, Fake, Gateway, until

CANARIES = {
    "name": "欧阳金丝雀",
    "phone": "13977770001",
    "province": "浙江省",
    "city": "杭州市",
    "detail": "金丝雀路七十七号",
}
SECRETIVE = [CANARIES["name"], CANARIES["phone"], CANARIES["detail"], "请放金丝雀门口"]
KEY = base64.b64encode(b"k" * 32).decode()


def document(number: int, **more: Any) -> bytes:
    return msgspec.json.encode(
        {
            "order_no": f"C{number}",
            "updated_at": "2026-05-01T09:30:00+08:00",
            "placed_at": "2026-05-01T09:30:00+08:00",
            "lines": [{"line_no": "1", "sku": "SKU-001", "quantity": 1, "price": "9.90"}],
            "receiver": CANARIES,
            "buyer_note": "请放金丝雀门口",
            "payment": {"paid": True, "amount": "9.90"},
            **more,
        }
    )


async def post(gateway: Gateway, session: aiohttp.ClientSession, body: bytes, *, key: bytes) -> int:
    now = int(time.time())
    headers = {
        "webhook-id": f"msg-{hash(body)}",
        "webhook-timestamp": str(now),
        "webhook-signature": sign(key, message_id=f"msg-{hash(body)}", timestamp=now, body=body),
    }
    async with session.post(f"{gateway.hooks_url}/shop-a", data=body, headers=headers) as answer:
        await answer.read()
        return answer.status


class Desk:
    """A person at the API, who writes the buyer's name into every reason."""

    REASON = f"{CANARIES['name']} {CANARIES['phone']} 来电"

    def __init__(self, gateway: Gateway, session: aiohttp.ClientSession, token: str) -> None:
        self._base = f"http://127.0.0.1:{gateway.port}/api/v1"
        self._session = session
        self._headers = {"Authorization": f"Bearer {token}"}

    async def get(self, path: str, **query: Any) -> Any:
        async with self._session.get(self._base + path, headers=self._headers, params=query) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def post(self, path: str, **body: Any) -> None:
        body["reason"] = self.REASON
        async with self._session.post(self._base + path, headers=self._headers, json=body) as answer:
            assert answer.status == 200, await answer.text()


async def new_token(gateway: Gateway) -> str:
    pool = await open_pool(gateway.database_url, size=1)
    try:
        return await replace_token(pool)
    finally:
        await pool.close()


async def seen_and_handled(desk: Desk) -> None:
    """What others have quoted can be read, masked unless asked for; then people do something about it."""
    blocked = (await desk.get("/deliveries", state="blocked"))["deliveries"]
    assert 0 < len(blocked) < 20
    assert {row["blocked"] for row in blocked} == {"rejected:business"}
    quoted = "S010 收件人 {} {} {} 无法送达"
    shown = quoted.format("欧**", "139****0001", "***")
    assert {row["last_detail"] for row in blocked} == {shown}
    number = blocked[0]["number"]
    for unmask, words in ((0, shown), (1, quoted.format(CANARIES["name"], CANARIES["phone"], CANARIES["detail"]))):
        page = await desk.get(f"/orders/{number}", unmask=unmask)
        assert page["lanes"][0]["last_detail"] == words
        assert words in [one["detail"] for one in page["timeline"] if one["kind"] == "attempt"]
    letters = (await desk.get("/dead-letters"))["dead_letters"]
    assert f"$.receiver: unknown field `{CANARIES['name']}`" in [letter["message"]["en"] for letter in letters]

    await desk.post("/redrives", wanted={"code": "business"}, cap=1)
    await desk.post(f"/deliveries/{blocked[-1]['number']}/wms/1/resolve")
    await desk.post(f"/dead-letters/{letters[0]['dead_letter_id']}/discard")
    [redrive] = (await desk.get("/redrives", state="all"))["redrives"]
    assert redrive["reason"] == Desk.REASON.replace(CANARIES["phone"], "[phone]")
    page = await desk.get(f"/orders/{blocked[-1]['number']}")
    [by_hand] = [one for one in page["timeline"] if one["kind"] == "hand"]
    assert by_hand["reason"] == "欧** 139****0001 来电"


async def found_in_database(gateway: Gateway) -> list[str]:
    """Every table that has a canary in any column, as text or inside bytes."""
    tables = await gateway.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    hits = []
    for (table,) in tables:
        for text in SECRETIVE:
            pattern = f"%{text}%", f"%{text.encode().hex()}%"
            if await gateway.fetch(f'SELECT 1 FROM "{table}" t WHERE t::text LIKE $1 OR t::text LIKE $2', *pattern):
                hits.append(f"{table}: {text}")
    return hits


async def _run(
    postgres_url: str, folder: Path, sections: dict[str, Any], look: Callable[[Gateway], Awaitable[list[str]]]
) -> tuple[list[str], list[str]]:
    """What `look` finds, and what stands in the log or the metrics, after orders sent, refused, broken and forged."""
    fake = Fake("qimen", folder, arguments=["--quoting-share", "0.3"])
    gateway = Gateway(folder, database_url=postgres_url, fakes=[fake], sections=sections)
    key = decode_secret(SECRET)
    async with fake, gateway, aiohttp.ClientSession() as session:
        await fake.faults(Faults(share_5xx=0.3, garbage_share=0.2, first_attempts_only=True))
        for number in range(20):
            assert await post(gateway, session, document(number), key=key) == 202
        assert await post(gateway, session, document(90, lines="broken"), key=key) == 422
        assert await post(gateway, session, document(91, receiver={**CANARIES, "phone": 7}), key=key) == 422
        assert await post(gateway, session, b"{" + document(92), key=key) == 422
        assert await post(gateway, session, document(93), key=b"x" * 32) == 401
        odd = {**CANARIES, CANARIES["name"]: "?"}
        assert await post(gateway, session, document(94, receiver=odd), key=key) == 422
        await until(
            lambda: _settled(gateway), within_s=60, what="orders to be sent and dead letters kept", log=gateway.log
        )
        await seen_and_handled(Desk(gateway, session, await new_token(gateway)))
        async with session.get(f"http://127.0.0.1:{gateway.settings.http.metrics_bind[1]}/metrics") as answer:
            metrics = await answer.text()
        found = await look(gateway)
        await gateway.stop()
    shown = {"log": gateway.log.read_text(), "metrics": metrics}
    assert "ordergate_orders_decided_total" in metrics and "C19" in shown["log"]
    return found, [f"{where}: {text}" for where, page in shown.items() for text in SECRETIVE if text in page]


async def _settled(gateway: Gateway) -> bool:
    orders = await gateway.fetch("SELECT 1 FROM attempt WHERE result IN (1, 4, 6)")
    letters = await gateway.fetch("SELECT 1 FROM dead_letter")
    return len(orders) == 20 and len(letters) == 4


async def test_sealed_nothing_of_a_buyer_is_found_anywhere(postgres_url: str, folder: Path) -> None:
    found, shown = await _run(postgres_url, folder, {"encryption": {"keys": [KEY]}}, found_in_database)
    assert found == []
    assert shown == []


async def test_the_search_finds_what_is_not_sealed(postgres_url: str, folder: Path) -> None:
    """The control: without a key the database has it, and logs and metrics still have not."""
    found, shown = await _run(postgres_url, folder, {}, found_in_database)
    assert {hit.partition(":")[0] for hit in found} >= {"orders", "event", "dead_letter", "attempt", "audit", "redrive"}
    assert shown == []
