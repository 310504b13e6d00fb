"""A worker with its default times, a partner that is away, and a robot that hears of it; and again when it is back."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import msgspec
import pytest

from adapters.webhook.fake import FakeShop
from adapters.wecom.fake import FakeWecom, Told
from gateway.app import Worker, WorkerPlace
from gateway.core.happening import Happening, Trouble
from gateway.plugins import discover
from gateway.sdk.signing import decode_secret, sign
from gateway.settings import parse
from gateway.store.sql import open_pool
from gateway.store.token import first_token
from gateway.supervise import listening
from tests.ports import free_port

SHOP_SECRET = "whsec_" + "c2hvcC1zZWNyZXQtMDEyMzQ1Njc4OWFiY2RlZg=="
ERP_SECRET = "whsec_" + "ZXJwLXNlY3JldC0wMTIzNDU2Nzg5YWJjZGVmZ2g="
KEY = "0f3c2d1e-aaaa-4bbb-8ccc-1234567890ab"

# Every time that counts until the first message is the default one.
CONFIG = """
data_dir: {folder}
database: {{url: "{url}"}}
retry: {{durable_base_s: 2, durable_max_s: 2}}
breaker: {{open_s: 2}}
connections:
  shop:
    adapter: webhook
    prefix: S
    mode: live
    route: [{{target: erp, warehouse: W1}}]
    settings: {{secrets: ["{shop}"]}}
  erp:
    adapter: webhook
    settings: {{secrets: ["{erp}"], url: "http://127.0.0.1:{port}"}}
  robot:
    adapter: wecom
    settings: {{robot_keys: ["{key}"], base_url: "{wecom}"}}
notices:
  channels: [robot]
  people: {{wang: {{userid: wangwu}}}}
  settle_s: 2
owners: [{{connection: erp, people: [wang]}}]
"""


def order(number: int) -> bytes:
    at = datetime.now(UTC).isoformat()
    return msgspec.json.encode(
        {
            "order_no": str(number), "updated_at": at, "status": "paid", "placed_at": at,
            "lines": [{"line_no": "1", "sku": "CUP-01", "quantity": 1, "price": "45.00", "name": "青瓷杯"}],
            "receiver": {
                "name": "张三丰", "phone": "13800001234", "province": "上海市", "city": "上海市",
                "district": "浦东新区", "detail": "张江路1号",
            },
            "total": "45.00", "payment": {"paid": True, "amount": "45.00"},
        }
    )  # fmt: skip


def headers(body: bytes, number: int) -> dict[str, str]:
    message_id, timestamp = f"msg_{number}", int(time.time())
    signature = sign(decode_secret(SHOP_SECRET), message_id=message_id, timestamp=timestamp, body=body)
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature,
    }


async def heard(fake: FakeWecom, what: Callable[[Told], bool], *, within_s: float) -> Told:
    for _ in range(int(within_s / 0.05)):
        found = next((told for told in fake.told if what(told)), None)
        if found is not None:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {within_s:g} s: {[told.text for told in fake.told]}")


@pytest.mark.feature("F80")
async def test_a_dead_target_is_told_within_fifteen_seconds_and_that_it_is_back(
    migrated_url: str, tmp_path: Path
) -> None:
    port = free_port()
    pool = await open_pool(migrated_url, size=2)
    token = await first_token(pool)
    happened: list[Happening] = []
    async with FakeWecom(keys={KEY}) as wecom, aiohttp.ClientSession() as session:
        text = CONFIG.format(
            folder=tmp_path, url=migrated_url, shop=SHOP_SECRET, erp=ERP_SECRET, port=port, key=KEY, wecom=wecom.url
        )
        sock = listening(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{sock.getsockname()[1]}"
        worker = Worker(
            parse(text, {}, discover(), name="test.yaml", folder=tmp_path),
            WorkerPlace(name="test/0", sock=sock, stop_within_s=5.0),
            url=migrated_url,
            observe=happened.extend,
        )
        running = asyncio.create_task(worker.run(), name="worker")

        async def place(first: int, last: int) -> None:
            for number in range(first, last):
                body = order(number)
                url = f"{base}/hooks/shop"
                async with session.post(url, data=io.BytesIO(body), headers=headers(body, number)) as answer:
                    assert answer.status == 202, await answer.text()

        await place(1000, 1002)  # a quiet shop: two orders
        down = await heard(wecom, lambda told: told.text.startswith("不可用：erp 下单"), within_s=20)
        first_failure: datetime = await pool.fetchval("SELECT min(ended_at) FROM attempt")
        notice_s = down.at - first_failure.timestamp()
        assert notice_s <= 15
        assert down.mentioned == ("wangwu",)
        assert down.text.startswith("不可用：erp 下单，2 单在等")

        async with FakeShop(secrets=(ERP_SECRET,), port=port) as erp:
            up = await heard(wecom, lambda told: told.text.startswith("已恢复：erp 下单"), within_s=45)
            for _ in range(400):
                if len(erp.books.orders) == 2:
                    break
                await asyncio.sleep(0.05)
            assert {number: book.documents for number, book in erp.books.orders.items()} == {"S1000": 1, "S1001": 1}
            for _ in range(200):  # the robot has it a moment before it is written down
                async with session.get(
                    f"{base}/api/v1/notices", headers={"Authorization": f"Bearer {token}"}
                ) as answer:
                    listed = (await answer.json())["notices"]
                if all(one["state"] == "sent" for one in listed):
                    break
                await asyncio.sleep(0.05)
            async with session.get(f"{base}/api/v1/conditions", headers={"Authorization": f"Bearer {token}"}) as answer:
                assert (await answer.json())["conditions"] == []
            worker.stop()
            await running
    await pool.close()
    assert [(one["kind"], one["change"], one["state"]) for one in listed] == [
        ("target", "closed", "sent"),
        ("target", "opened", "sent"),
    ]
    assert [told.text for told in wecom.told] == [down.text, up.text]
    said = "\n".join([*(told.text for told in wecom.told), *(repr(one) for one in happened)])
    assert not any(canary in said for canary in (KEY, "张三丰", "13800001234", "张江路"))
    assert not any(isinstance(one, Trouble) and one.where == "notices" for one in happened)
    print(f"first failed answer to the first message: {notice_s:.1f} s")


async def test_a_kafka_that_is_away_is_told_and_orders_go_through_the_inbox(migrated_url: str, tmp_path: Path) -> None:
    nobody = free_port()
    pool = await open_pool(migrated_url, size=2)
    async with (
        FakeWecom(keys={KEY}) as wecom,
        FakeShop(secrets=(ERP_SECRET,)) as erp,
        aiohttp.ClientSession() as session,
    ):
        port = int(erp.url.rpartition(":")[2])
        text = CONFIG.format(
            folder=tmp_path, url=migrated_url, shop=SHOP_SECRET, erp=ERP_SECRET, port=port, key=KEY, wecom=wecom.url
        )
        sock = listening(("127.0.0.1", 0))
        worker = Worker(
            parse(f"kafka: {{bootstrap: 127.0.0.1:{nobody}}}\n{text}", {}, discover(), name="k", folder=tmp_path),
            WorkerPlace(name="test/0", sock=sock, stop_within_s=5.0),
            url=migrated_url,
            observe=lambda _: None,
        )
        running = asyncio.create_task(worker.run(), name="worker")
        told = await heard(wecom, lambda told: told.text.startswith("Kafka 不可用，改走收件箱"), within_s=30)
        body = order(1)
        url = f"http://127.0.0.1:{sock.getsockname()[1]}/hooks/shop"
        async with session.post(url, data=io.BytesIO(body), headers=headers(body, 1)) as answer:
            assert answer.status == 202
        worker.stop()
        await running
    await pool.close()
    assert "1 个进程中 1 个写不进 Kafka" in told.text and told.text.endswith("docs/runbooks/inbox.md")
    assert len(wecom.told) == 1
