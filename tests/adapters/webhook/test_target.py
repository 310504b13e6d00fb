"""The way out, against a partner's server on loopback, its faults included."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from adapters.webhook.fake import FakeShop
from adapters.webhook.settings import Settings
from adapters.webhook.target import WebhookTarget
from gateway.core.order import Register
from gateway.sdk.adapter import Setup
from gateway.sdk.carriers import load_carriers
from gateway.sdk.http import Http, NotSent
from gateway.sdk.models import (
    Answer,
    Closing,
    Command,
    Confirmation,
    ConnectionName,
    Content,
    Delivery,
    Done,
    Failed,
    Line,
    Operation,
    Order,
    OrderNumber,
    Parcel,
    Receiver,
    Rejected,
    SettingsError,
    Sku,
    Throttled,
    Unknown,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CONTENT = Content(datetime(2026, 5, 1, tzinfo=UTC), (Line("1", Sku("CUP-01"), 2, 4500),), Receiver("张三"), 9000)
ORDER = Order(
    number=OrderNumber("SA1"),
    connection=ConnectionName("shop-a"),
    channel_no="A1",
    content=Register(1, 1, CONTENT),
    closing=Register(1, 1, Closing(True, "不要了")),
    confirmations={
        "wms/M1": Confirmation("M1", False, (Parcel("ZTO", "78"),)),
        "wms/M2": Confirmation("M2", True, (Parcel("PIGEON", "79"),)),
    },
)
CREATE = (Operation.CREATE, "create")


def delivery(operation: Operation = Operation.CREATE, key: str = "create", *, order: Order = ORDER) -> Delivery:
    return Delivery(order_id=1, order=order, command=Command(ConnectionName("shop-a"), 1, operation, key))


def target(url: str | None, http: Http, **settings: Any) -> WebhookTarget:
    return WebhookTarget(
        Setup(
            connection=ConnectionName("shop-a"),
            settings=Settings(secrets=(SECRET,), url=url, **settings),
            now=lambda: datetime.now(UTC),
            carriers=load_carriers(),
        ),
        http,
    )


@pytest.fixture
async def shop() -> AsyncIterator[FakeShop]:
    async with FakeShop(secrets=(SECRET,)) as fake:
        yield fake


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with Http(connections=4) as client:
        yield client


async def test_every_command_arrives_once_and_in_order(shop: FakeShop, http: Http) -> None:
    out = target(shop.url, http)
    commands = [
        delivery(),
        delivery(Operation.SHIP, "ship:wms/M1"),
        delivery(Operation.CANCEL, "cancel"),
        delivery(),
    ]

    answers = [await out.send(command, deadline_s=5) for command in commands]

    assert answers == [Done(f"R-{command.idempotency_key}") for command in commands]
    book = shop.books.orders["SA1"]
    assert book.commands == ["create", "ship:wms/M1", "cancel"]
    assert (book.documents, book.cancelled, shop.books.repeats, shop.changed) == (1, True, 1, [])
    assert shop.books.sums == {"CUP-01": {"created": 2}}


async def test_paths_per_operation(shop: FakeShop, http: Http) -> None:
    out = target(shop.url, http, paths={Operation.CREATE: "/orders"})
    elsewhere = target("http://127.0.0.1:9/x", http, paths={Operation.CREATE: shop.url + "/y"})

    assert isinstance(await out.send(delivery(), deadline_s=5), Done)
    assert isinstance(await elsewhere.send(delivery(), deadline_s=5), Done)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (delivery(order=msgspec.structs.replace(ORDER, content=None)), "content"),
        (delivery(Operation.SHIP, "ship:wms/M9"), "content"),
        (delivery(Operation.SHIP, "ship:wms/M2"), "unknown_carrier"),
    ],
)
async def test_what_cannot_be_rendered_is_rejected_without_a_call(
    shop: FakeShop, http: Http, command: Delivery, code: str
) -> None:
    answer = await target(shop.url, http).send(command, deadline_s=5)

    assert isinstance(answer, Rejected) and answer.code == code and answer.message
    assert shop.books.requests == 0


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ({"share_5xx": 1.0}, Failed("http_503", "HTTP 503")),
        ({"share_5xx": 1.0, "retry_after": "7"}, Failed("http_503", "HTTP 503", 7.0)),
        ({"share_5xx": 1.0, "status_5xx": 500}, Failed("http_500", "HTTP 500")),
        ({"share_5xx": 1.0, "status_5xx": 410}, Rejected("gone", "HTTP 410")),
        ({"share_5xx": 1.0, "status_5xx": 422}, Rejected("http_4xx", "HTTP 422")),
        ({"throttle_per_s": 0.0, "retry_after": "3"}, Throttled(3.0, "HTTP 429")),
    ],
)
async def test_faults_become_answers(shop: FakeShop, http: Http, faults: dict[str, Any], expected: Answer) -> None:
    shop.set_faults(faults)

    assert await target(shop.url, http).send(delivery(), deadline_s=5) == expected
    assert "SA1" not in shop.books.orders or not shop.books.orders["SA1"].commands


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b'{"code":"stock.short_1","message":"13800000000"}', "HTTP 422 stock.short_1"),
        (b'{"error":"E-40001"}', "HTTP 422 E-40001"),
        (b'{"code":7,"error":"gone"}', "HTTP 422 gone"),
        (b'{"code":"no such buyer","error":{"code":"x"}}', "HTTP 422"),
        (b'{"code":"13800000000"}', "HTTP 422"),
        (b'{"code":"\xe5\xbc\xa0"}', "HTTP 422"),
        (b'{"code":"' + b"x" * 41 + b'"}', "HTTP 422"),
        (b'["x"]', "HTTP 422"),
        (b"13800000000 is not a telephone number", "HTTP 422"),
        (b"\xff", "HTTP 422"),
        (b"", "HTTP 422"),
    ],
)
async def test_of_a_refusal_only_status_and_code_are_kept(http: Http, body: bytes, kept: str) -> None:
    async def serve(_: web.BaseRequest) -> web.Response:
        return web.Response(status=422, body=body)

    server = web.Server(serve)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    assert await target(url, http).send(delivery(), deadline_s=5) == Rejected("http_4xx", kept)
    listener.close()
    await server.shutdown(0.1)


async def test_a_key_that_fits_no_header_is_for_a_person(shop: FakeShop, http: Http) -> None:
    order = msgspec.structs.replace(
        ORDER, confirmations={"wms/出库": Confirmation("出库", True, (Parcel("ZTO", "7"),))}
    )

    answer = await target(shop.url, http).send(delivery(Operation.SHIP, "ship:wms/出库", order=order), deadline_s=5)

    assert isinstance(answer, Rejected) and answer.code == "url"
    assert shop.books.requests == 0


async def test_no_answer_is_unknown_and_a_resend_does_no_harm(shop: FakeShop, http: Http) -> None:
    out = target(shop.url, http)
    shop.set_faults({"commit_then_timeout_share": 1.0, "first_attempts_only": True})

    first = await out.send(delivery(), deadline_s=0.1)
    second = await out.send(delivery(), deadline_s=5)

    assert first == Unknown("timeout", "no answer within 0.1 s", timeout=True)
    assert isinstance(second, Done)
    assert (shop.books.orders["SA1"].documents, shop.books.repeats) == (1, 1)


async def test_a_wrong_secret_is_our_failure_not_the_order_s(http: Http) -> None:
    async with FakeShop(secrets=("whsec_" + "QUJD" * 8,)) as other:
        answer = await target(other.url, http).send(delivery(), deadline_s=5)

    assert isinstance(answer, Failed) and answer.code == "auth"
    assert other.books.refused == 1


async def test_down_and_up_again(shop: FakeShop, http: Http) -> None:
    out = target(shop.url, http)
    await out.send(delivery(), deadline_s=5)
    down = asyncio.ensure_future(shop.down(0.2))
    await asyncio.sleep(0)

    # The first one may still go into a connection that is being torn down.
    first = await out.send(delivery(), deadline_s=5)
    second = await out.send(delivery(), deadline_s=5)
    await down

    assert isinstance(first, Unknown | Failed) and first.code in ("connection_lost", "connect")
    assert isinstance(second, Failed) and second.code == "connect"
    assert isinstance(await out.send(delivery(), deadline_s=5), Done)


async def test_check_changes_nothing(shop: FakeShop, http: Http) -> None:
    await target(shop.url, http).check(deadline_s=5)
    assert shop.books.orders == {}
    with pytest.raises(NotSent):
        await target("http://127.0.0.1:9", http).check(deadline_s=5)


async def test_a_target_needs_a_url(http: Http) -> None:
    with pytest.raises(SettingsError, match="shop-a"):
        target(None, http)


async def test_books_survive_the_fake_and_are_read_over_http(http: Http, tmp_path: Path) -> None:
    journal = tmp_path / "books.jsonl"
    async with FakeShop(secrets=(SECRET,), journal=journal) as fake:
        await target(fake.url, http).send(delivery(), deadline_s=5)
    journal.write_bytes(journal.read_bytes() + b'{"order":"cut o')

    async with FakeShop(secrets=(SECRET,), journal=journal) as fake:
        await target(fake.url, http).send(delivery(), deadline_s=5)
        books = json.loads((await http.request("GET", fake.url + "/books", deadline_s=5)).body)
        posted = await http.post(fake.url + "/faults", b'{"latency_ms": 1, "seed": 3}', deadline_s=5)
        wrong = await http.post(fake.url + "/faults", b'{"latency": 1}', deadline_s=5)

    assert books["orders"]["SA1"]["commands"] == ["create"]
    assert (books["duplicates"], books["repeats"]) == (0, 1)
    assert json.loads(posted.body)["latency_ms"] == 1
    assert wrong.status == 400
