"""The fake shop: what others script it with, and that a process of its own can be steered."""

from __future__ import annotations

from datetime import UTC, datetime

import aiohttp
import msgspec

from adapters.taobao.fake import Clock
from gateway.plugins import discover
from tests.adapters.taobao.support import CUP, Shop


async def test_it_is_steered_over_http(shop: Shop) -> None:
    async with aiohttp.ClientSession(shop.fake.url) as session:

        async def post(path: str, body: object) -> dict[str, str]:
            async with session.post(path, data=msgspec.json.encode(body)) as answer:
                return msgspec.json.decode(await answer.read(), type=dict[str, str])

        tid = (await post("/trades", {"lines": [{"sku": "A", "price_minor": 100}], "freight_minor": 5}))["tid"]
        assert shop.fake.trades[tid].detail["payment"] == "1.05"
        deeds = [({"do": "pay"}, "WAIT_SELLER_SEND_GOODS"), ({"do": "refund", "status": "SUCCESS"}, "TRADE_CLOSED")]
        for deed, status in deeds:
            assert await post(f"/trades/{tid}", deed) == {"status": status}
        await post("/expire", {})
        assert shop.fake.expires_at is not None
        for path in ("/parcels", "/levels", "/books"):
            async with session.get(path) as answer:
                assert answer.status == 200


def test_a_clock_runs_as_fast_as_it_is_told() -> None:
    clock = Clock(datetime(2026, 5, 1, tzinfo=UTC), speed=0)
    assert clock.now() == clock.now()
    clock.advance(60)
    assert clock.now() == datetime(2026, 5, 1, 0, 1, tzinfo=UTC)
    fast = Clock(speed=3600)
    first = fast.now()
    while fast.now() == first:
        pass
    assert fast.now() > first


async def test_the_life_of_a_trade_moves_it_in_the_list(shop: Shop) -> None:
    first, second = shop.fake.place([CUP]), shop.fake.place([CUP, CUP], discount_minor=301)
    shares = [line["divide_order_fee"] for line in shop.fake.trades[second].lines]
    assert shares == ["58.30", "58.29"]
    shop.clock.advance(1)
    shop.fake.pay(first)
    assert [tid for _, tid in shop.fake._order] == [second, first]


def test_the_manifest_loads() -> None:
    adapter = discover().load("taobao")
    assert adapter.pull_type is not None and adapter.target_type is not None and adapter.authoriser_type is not None
    assert adapter.source_type is None
