"""`ordergate compare`: the warehouse is asked for what the gateway has only watched, and nothing is changed there."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import yaml

from gateway.core.delivery import Delivery, Done
from gateway.core.event import ConnectionName
from gateway.core.order import Command, Content, Line, Operation, Order, OrderNumber, Receiver, Register, Route, Sku
from gateway.parts import now, setup_of
from gateway.sdk.http import Http
from gateway.sdk.signing import decode_secret, sign
from gateway.store.orders import decode_state, encode_state
from gateway.store.sql import open_pool
from gateway.store.vault import Vault
from tests.chaos.gateway import ROOT, SECRET, WAREHOUSE, Fake, Gateway, until
from tests.store.test_vault import DAMAGE

SHOP = "shop-o"


def document(number: int, **more: Any) -> bytes:
    return msgspec.json.encode(
        {
            "order_no": f"{number}",
            "updated_at": "2026-05-01T09:30:00+08:00",
            "placed_at": "2026-05-01T09:30:00+08:00",
            "lines": [{"line_no": "1", "sku": "SKU-001", "quantity": 1, "price": "9.90"}],
            "receiver": {
                "name": "王*",
                "phone": "139****0001",
                "province": "浙江省",
                "city": "杭州市",
                "detail": "一号",
            },
            "payment": {"paid": True, "amount": "9.90"},
            **more,
        }
    )


async def watch(gateway: Gateway, bodies: list[bytes]) -> None:
    key = decode_secret(SECRET)
    async with aiohttp.ClientSession() as session:
        for number, body in enumerate(bodies):
            headers = {
                "webhook-id": f"m{number}",
                "webhook-timestamp": str(int(time.time())),
                "webhook-signature": sign(key, message_id=f"m{number}", timestamp=int(time.time()), body=body),
            }
            async with session.post(f"{gateway.hooks_url}/{SHOP}", data=body, headers=headers) as answer:
                assert answer.status == 202, await answer.text()


async def deliver_as_before(gateway: Gateway, numbers: list[str]) -> None:
    """What the system that is to be replaced does: the same warehouse, the shop's own numbers."""
    wms = gateway.settings.connections["wms"]
    assert wms.adapter.target_type is not None
    content = Content(now(), (Line("1", Sku("SKU-001"), 1, 990),), Receiver("王*", "139", "浙江省", "杭州市"), 990)
    async with Http(connections=1) as http:
        target = wms.adapter.target_type(setup_of(wms, gateway.settings), http)
        for number in numbers:
            order = Order(number=OrderNumber(number), content=Register(1, 0, content), route=Route(wms.name, WAREHOUSE))
            command = Command(wms.name, 1, Operation.CREATE, "create")
            assert isinstance(await target.send(Delivery(order_id=1, order=order, command=command), deadline_s=5), Done)


def compare(gateway: Gateway, *arguments: str) -> tuple[int, str]:
    ran = subprocess.run(
        [sys.executable, "-m", "gateway", "compare", "-c", str(gateway.config), *arguments],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return ran.returncode, ran.stdout or ran.stderr


@pytest.mark.real
async def test_the_warehouse_is_asked_for_what_was_watched(postgres_url: str, folder: Path) -> None:
    fake = Fake("qimen", folder)
    route = [{"target": "wms", "warehouse": WAREHOUSE}]
    observing = {"adapter": "webhook", "prefix": "O-", "mode": "observe", "route": route}
    gateway = Gateway(
        folder,
        database_url=postgres_url,
        fakes=[fake],
        connections={SHOP: {**observing, "settings": {"secrets": [SECRET]}}},
        sections={"encryption": {"keys": [base64.b64encode(b"k" * 32).decode()]}},
    )
    async with fake, gateway:
        code, said = await asyncio.to_thread(compare, gateway, SHOP)
        assert code == 1 and "mode: observe" in said
        bodies = [document(number) for number in range(1, 7)]
        bodies.append(document(7, payment={"paid": False}))
        # The old system has shipped it by the time that anybody compares.
        bodies.append(document(1, status="shipped", updated_at="2026-05-01T10:30:00+08:00"))
        await watch(gateway, bodies)
        await until(
            lambda: _watched(gateway, len(bodies)), within_s=30, what="the orders to be decided", log=gateway.log
        )
        await deliver_as_before(gateway, ["1", "2", "3", "4"])

        code, said = await asyncio.to_thread(compare, gateway, SHOP, "--channel-numbers", "--json", "--rate", "100")
        assert code == 0, said
        found = json.loads(said)
        assert (found["orders"], found["there"], found["not_there"], found["not_told"]) == (7, 4, 3, 0)
        assert sorted(found["missing"]) == ["5", "6", "7"]
        assert found["held"] == {"unpaid": 1}

        code, said = await asyncio.to_thread(compare, gateway, SHOP, "--last", "3", "--rate", "100", "--lang", "en")
        assert code == 0 and "not there, some of them: O-7 O-6 O-5" in said

        await _route_as_before(postgres_url, "O-6", target="wms-old")
        code, said = await asyncio.to_thread(compare, gateway, SHOP, "--channel-numbers", "--rate", "100")
        assert code == 0 and "配置中已没有的目标，未询问：wms-old 1" in said, said
        code, said = await asyncio.to_thread(compare, gateway, SHOP, "--channel-numbers", "--json", "--rate", "100")
        found = json.loads(said)
        assert (found["there"], found["not_there"], found["not_told"], found["gone"]) == (4, 2, 1, {"wms-old": 1})

        await gateway.fetch(f"UPDATE orders SET state = {DAMAGE.format('state')} WHERE number = 'O-5' RETURNING 1")
        code, said = await asyncio.to_thread(compare, gateway, SHOP, "--channel-numbers", "--json", "--rate", "100")
        found = json.loads(said)
        assert (code, found["orders"], found["there"], found["not_there"]) == (0, 7, 4, 1)
        assert (found["not_told"], found["unread"]) == (2, {"sealed": 1})

        code, said = await asyncio.to_thread(compare, gateway, "shop-x")
        assert code == 1 and SHOP in said
        books = await fake.books()
        assert {number: book.documents for number, book in books.orders.items()} == dict.fromkeys("1234", 1)


@pytest.mark.real
async def test_what_came_in_between_start_at_and_the_restart_is_told(postgres_url: str, folder: Path) -> None:
    """The old system has stopped taking orders by then, and what was watched is not delivered."""
    fake = Fake("qimen", folder)
    shop: dict[str, Any] = {
        "adapter": "webhook",
        "prefix": "O-",
        "mode": "observe",
        "route": [{"target": "wms", "warehouse": WAREHOUSE}],
        "settings": {"secrets": [SECRET]},
    }
    gateway = Gateway(folder, database_url=postgres_url, fakes=[fake], connections={SHOP: shop})
    async with fake, gateway:
        bodies = [document(number, placed_at=f"2026-05-01T09:3{number}:00+08:00") for number in range(4)]
        await watch(gateway, bodies)
        await until(lambda: _watched(gateway, len(bodies)), within_s=30, what="the orders", log=gateway.log)
        gateway.kill()
        settings = yaml.safe_load(gateway.config.read_text())
        settings["connections"][SHOP] |= {"mode": "live", "start_at": "2026-05-01T09:32:00+08:00"}
        gateway.config.write_text(yaml.safe_dump(settings))
        await gateway.start()
        await watch(gateway, [document(9, placed_at="2026-05-01T09:40:00+08:00")])
        await until(lambda: _sent(fake, 1), within_s=30, what="what came later to be sent", log=gateway.log)

        told = await asyncio.to_thread(gateway.warnings, f"connections.{SHOP}.start_at")
        assert [one["what"].startswith("start_at 之后下的 2 单") for one in told] == [True]
        assert "由它发出" in told[0]["proposal"] and "start_at" not in told[0]["proposal"]
        lines = [json.loads(line) for line in gateway.log.read_text().splitlines() if '"cut_over"' in line]
        assert [line["what"].startswith(f"{SHOP}: 2 orders") for line in lines] == [True]

        # The old system has delivered them, and the shop says so.
        shipped = {"status": "shipped", "updated_at": "2026-05-01T10:00:00+08:00"}
        left = [msgspec.json.encode(msgspec.json.decode(body) | shipped) for body in bodies[2:]]
        await watch(gateway, left)
        await until(lambda: _watched(gateway, len(bodies) + 3), within_s=30, what="what has left", log=gateway.log)
        assert await asyncio.to_thread(gateway.warnings, f"connections.{SHOP}.start_at") == []
        assert list((await fake.books()).orders) == ["O-9"]


@pytest.mark.real
async def test_observed_again_a_shop_has_nothing_new_sent_until_it_is_live(postgres_url: str, folder: Path) -> None:
    """Back to the old system, and here again: what came in live, and is paid meanwhile, is another's until then."""
    fake = Fake("qimen", folder)
    shop: dict[str, Any] = {
        "adapter": "webhook",
        "prefix": "O-",
        "mode": "live",
        "route": [{"target": "wms", "warehouse": WAREHOUSE}],
        "settings": {"secrets": [SECRET]},
    }
    gateway = Gateway(folder, database_url=postgres_url, fakes=[fake], connections={SHOP: shop})

    async def again(mode: str) -> None:
        gateway.kill()
        settings = yaml.safe_load(gateway.config.read_text())
        settings["connections"][SHOP]["mode"] = mode
        gateway.config.write_text(yaml.safe_dump(settings))
        await gateway.start()

    async with fake, gateway:
        await watch(gateway, [document(1), document(2, payment={"paid": False})])
        await until(lambda: _sent(fake, 1), within_s=30, what="what is paid to be sent", log=gateway.log)
        await again("observe")
        await watch(gateway, [document(2, updated_at="2026-05-01T09:40:00+08:00"), document(3)])
        await until(lambda: _watched(gateway, 4), within_s=30, what="what came to be decided", log=gateway.log)
        reasons = await gateway.fetch("SELECT reasons FROM orders WHERE number > 'O-1' ORDER BY number")
        assert [row[0] for row in reasons] == ["paused", "observed"]
        assert list((await fake.books()).orders) == ["O-1"]
        await again("live")
        await until(lambda: _sent(fake, 2), within_s=30, what="what waited to be sent", log=gateway.log)
        assert list((await fake.books()).orders) == ["O-1", "O-2"]


async def _sent(fake: Fake, orders: int) -> bool:
    return len((await fake.books()).orders) == orders


async def _route_as_before(url: str, number: str, *, target: str) -> None:
    """The order as it was decided when its target still had another name."""
    pool = await open_pool(url, size=1, vault=Vault([b"k" * 32]))
    try:
        state = decode_state(await pool.fetchval("SELECT state FROM orders WHERE number = $1", number))
        state = msgspec.structs.replace(state, route=Route(ConnectionName(target), WAREHOUSE))
        await pool.execute("UPDATE orders SET state = $2 WHERE number = $1", number, encode_state(state))
    finally:
        await pool.close()


async def _watched(gateway: Gateway, count: int) -> bool:
    rows = await gateway.fetch("SELECT count(*) FROM event")
    return bool(rows[0][0] == count)
