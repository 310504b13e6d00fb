"""What the fake promises to demos and long runs: a real limit, books by HTTP, and lists that stay quick."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from adapters.pinduoduo import wire
from adapters.pinduoduo.fake import FakeLine, FakePinduoduo
from gateway.sdk.http import Http
from gateway.sdk.models import Throttled, Token
from tests.adapters.pinduoduo.shop import Clock, access_of, access_to, setup_for

CUP = FakeLine(outer_id="CUP", price_minor=3990)


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with Http(connections=8) as client:
        yield client


async def test_the_limit_is_one_of_real_time(http: Http) -> None:
    async with FakePinduoduo(rate_per_s=50, burst=5) as fake:
        router = wire.Router(setup_for(fake.router_url, now=fake.now), access_of(fake, http))
        began = time.monotonic()
        taken = 0
        while time.monotonic() - began < 0.5:
            taken += not isinstance(await router.call(wire.TIME, {}, deadline_s=5), Throttled)
        took_s = time.monotonic() - began
    assert 0.5 * 50 * took_s <= taken <= 5 + 50 * took_s + 1
    assert fake.throttled > 0


async def test_a_list_is_quick_whatever_came_before(http: Http) -> None:
    """48 hours of a busy shop: the cost of a page goes by its window, not by all the orders there are."""
    clock = Clock()

    def list_took_s(fake: FakePinduoduo) -> float:
        """The least of twenty times."""
        end = int(clock().timestamp()) - 181
        asked = {"start_updated_at": str(end - 1800), "end_updated_at": str(end)}
        asked |= {name: "5" for name in ("is_lucky_flag", "order_status", "refund_status")}
        times = []
        for _ in range(20):
            began = time.perf_counter()
            answer = fake._list(asked)
            times.append(time.perf_counter() - began)
        assert isinstance(answer.body, bytes)
        assert msgspec.json.decode(answer.body)[wire.CHANGED_ORDERS.root]["total_count"] > 200
        return min(times)

    async with FakePinduoduo(now=clock) as fake:
        taken = []
        for orders in (400, 19_600):
            for _ in range(orders):
                fake.place([CUP])
                clock.forward(seconds=8)
            taken.append(list_took_s(fake))
    assert taken[1] < 10 * taken[0], "fifty times as many orders"


async def test_in_a_process_of_its_own(http: Http) -> None:
    command = [sys.executable, "-m", "adapters.pinduoduo.fake", "--port", "0", "--secret", "fake-secret"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().strip()

    async def shop(**deed: Any) -> tuple[int, Any]:
        reply = await http.post(f"{url}/shop", msgspec.json.encode(deed), deadline_s=5)
        return reply.status, msgspec.json.decode(reply.body) if reply.status == 200 else reply.body.decode()

    try:
        lines = [{"outer_id": "CUP", "price_minor": 3990, "quantity": 2}]
        order_sn = (await shop(do="place", lines=lines, discount_minor=80))[1]["order_sn"]
        assert (await shop(do="open_refund", order_sn=order_sn, amount_minor=500))[1]["id"] > 0
        assert (await shop(do="open_refund", order_sn="none"))[0] == 404
        assert (await shop(do="sing", order_sn=order_sn))[0] == 400
        assert (await shop(do="sign", order_sn="none"))[0] == 404
        assert (await shop(do="place", lines=[{}]))[0] == 400
        token = (await shop(do="authorise", lifetime_s=60))[1]["access_token"]
        access = access_to(http, token=lambda: Token(token))
        router = wire.Router(setup_for(f"{url}/api/router", now=lambda: datetime.now(UTC)), access)
        shipment = {"order_sn": order_sn, "logistics_id": 44, "tracking_number": "SF1", "redelivery_type": 1}
        assert isinstance(await router.call(wire.SHIP, shipment, deadline_s=5), bytes)
        known = msgspec.json.decode((await http.request("GET", f"{url}/shop", deadline_s=5)).body)
        books = msgspec.json.decode((await http.request("GET", f"{url}/books", deadline_s=5)).body)
    finally:
        process.terminate()
        await process.wait()
    assert known["parcels"] == {order_sn: [[44, "SF1"]]} and known["access_token"] == token
    assert books["orders"][order_sn]["commands"] == ["ship:SF1"]
