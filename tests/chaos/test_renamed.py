"""A shop that gets another name, or another prefix, while orders of it are in a warehouse or on their way there."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from adapters.qimen.fake import render_confirm, signed_query
from adapters.qimen.mapping import CONFIRM
from adapters.webhook.mapping import EVENT_TYPE, event_id, read_head
from gateway.core.event import ConnectionName, Event, EventId
from gateway.sdk.signing import decode_secret, sign
from gateway.store.inbox import put_in
from gateway.store.sql import open_pool
from tests.chaos.gateway import SECRET, WAREHOUSE, Fake, Gateway, until
from tests.chaos.test_compare import document

OLD, NEW = ConnectionName("shop-o"), ConnectionName("shop-n")


@pytest.mark.real
async def test_under_its_new_name_a_shop_has_its_orders_sent_and_is_told_of_them(
    postgres_url: str, folder: Path
) -> None:
    wms, platform = Fake("qimen", folder), Fake("webhook", folder, name="platform")
    gateway = Gateway(folder, database_url=postgres_url, fakes=[wms], connections={OLD: _shop(platform)})

    async def decided(events: int) -> bool:
        return (await gateway.fetch("SELECT count(*) FROM event"))[0][0] == events

    async with wms, platform, gateway:
        await _tell(gateway, OLD, document(1), document(2, payment={"paid": False}), document(3))
        await until(lambda: _sent(wms, "O-1", "O-3"), within_s=30, what="what is paid to be sent", log=gateway.log)
        gateway.kill()
        await _leave_behind(postgres_url, document(4))
        _rename(gateway)
        assert await asyncio.to_thread(gateway.warnings, f"connections.{OLD}") == []
        await gateway.start()
        await _tell(gateway, NEW, document(2, updated_at="2026-05-01T09:40:00+08:00"), document(5))
        await until(
            lambda: _sent(wms, *(f"O-{n}" for n in range(1, 6))), within_s=30, what="all of them", log=gateway.log
        )
        await _tell(gateway, NEW, document(3, status="cancelled", updated_at="2026-05-01T09:50:00+08:00"))
        await until(lambda: decided(7), within_s=30, what="the cancel", log=gateway.log)
        for number in (1, 2, 4, 5):
            await _confirm(gateway, f"O-{number}")

        async def told() -> bool:
            books = await platform.books()
            return {number for number, book in books.orders.items() if book.status == "ship"} == {
                f"O-{number}" for number in (1, 2, 4, 5)
            }

        await until(told, within_s=30, what="the shop to be told of all shipments", log=gateway.log)
        books = await wms.books()
        assert {number: book.documents for number, book in books.orders.items()} == {f"O-{n}": 1 for n in range(1, 6)}
        assert books.orders["O-3"].cancelled
        assert await gateway.fetch("SELECT code FROM dead_letter") == []


@pytest.mark.real
async def test_switched_over_to_another_prefix_a_shop_still_speaks_of_its_orders_of_before(
    postgres_url: str, folder: Path
) -> None:
    wms, platform = Fake("qimen", folder), Fake("webhook", folder, name="platform")
    gateway = Gateway(folder, database_url=postgres_url, fakes=[wms], connections={OLD: _shop(platform)})

    async def again(**changed: Any) -> None:
        gateway.kill()
        settings = yaml.safe_load(gateway.config.read_text())
        settings["connections"][OLD] |= changed
        gateway.config.write_text(yaml.safe_dump(settings))
        await gateway.start()

    async def over() -> bool:
        books, told = await wms.books(), await platform.books()
        here = books.orders.get("O-1"), books.orders.get("N-3"), told.orders.get("O-2")
        return all(here) and here[0] is not None and here[0].cancelled

    async with wms, platform, gateway:
        await _tell(gateway, OLD, document(1), document(2))
        await until(lambda: _sent(wms, "O-1", "O-2"), within_s=30, what="both to be sent", log=gateway.log)
        await again(prefix="N-", mode="observe")
        start_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
        await again(mode="live", start_at=start_at.isoformat())
        later = (start_at + timedelta(seconds=1)).isoformat()
        await _tell(gateway, OLD, document(1, status="cancelled", updated_at="2026-05-01T09:50:00+08:00"))
        await _tell(gateway, OLD, document(2, updated_at="2026-05-01T09:50:00+08:00"), document(3, placed_at=later))
        await _confirm(gateway, "O-2")
        await until(over, within_s=30, what="the cancel, the shipment and the new order", log=gateway.log)
        books = await wms.books()
        assert {number: book.documents for number, book in books.orders.items()} == {"O-1": 1, "O-2": 1, "N-3": 1}
        numbers = await gateway.fetch("SELECT number FROM orders ORDER BY 1")
        assert [row[0] for row in numbers] == ["N-3", "O-1", "O-2"]


def _shop(platform: Fake) -> dict[str, Any]:
    return {
        "adapter": "webhook",
        "prefix": "O-",
        "mode": "live",
        "route": [{"target": "wms", "warehouse": WAREHOUSE}],
        "settings": {"secrets": [SECRET], "url": platform.url},
        "gates": {key: {"deadline_s": 0.5, "slow_s": 0.4} for key in platform.operations},
    }


async def _sent(wms: Fake, *numbers: str) -> bool:
    return sorted((await wms.books()).orders) == sorted(numbers)


async def _tell(gateway: Gateway, shop: str, *bodies: bytes) -> None:
    key = decode_secret(SECRET)
    async with aiohttp.ClientSession() as session:
        for body in bodies:
            at, name = int(time.time()), f"m{time.monotonic_ns()}"
            headers = {
                "webhook-id": name,
                "webhook-timestamp": str(at),
                "webhook-signature": sign(key, message_id=name, timestamp=at, body=body),
            }
            async with session.post(f"{gateway.hooks_url}/{shop}", data=body, headers=headers) as answer:
                assert answer.status == 202, await answer.text()


async def _confirm(gateway: Gateway, number: str) -> None:
    body = render_confirm(number, {"SKU-001": 1}, final=True, carrier="SF", tracking_no=f"SF{number}")
    query = signed_query(CONFIRM, body, secret="fake-secret", app_key="fake", customer_id="fake-wms")
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{gateway.hooks_url}/wms", params=query, data=body) as answer:
            assert b"success" in await answer.read()


async def _leave_behind(url: str, body: bytes) -> None:
    """As if the gateway had been stopped between taking it and deciding."""
    order_no, version, at = read_head(body)
    assert at is not None
    told = {"id": EventId(event_id(order_no, version, body)), "order_key": order_no, "time": at, "body": body}
    pool = await open_pool(url, size=1)
    async with pool.acquire() as connection:
        await put_in(connection, [Event(source=OLD, type=EVENT_TYPE, **told)])
    await pool.close()


def _rename(gateway: Gateway) -> None:
    settings = yaml.safe_load(gateway.config.read_text())
    settings["connections"][NEW] = settings["connections"].pop(OLD)
    gateway.config.write_text(yaml.safe_dump(settings))
