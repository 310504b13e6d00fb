from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
from aiohttp import web

from gateway.core.event import ConnectionName, Event, EventId, Leg
from gateway.core.happening import Happening, Observer, Trouble
from gateway.core.order import Facts, Party
from gateway.ingest.webhook import Hooks
from gateway.sdk.adapter import Push, Reply, Source
from gateway.sdk.models import OrdergateError


class _XmlSource:
    """A source whose dialect names a charset with its media type."""

    def admit(self, push: Push) -> Event:
        return Event(
            id=EventId("e1"),
            source=ConnectionName("wms"),
            type="t",
            order_key="A1",
            time=push.received_at,
            body=push.body,
        )

    def reply(self, error: OrdergateError | None) -> Reply:
        return Reply(200, b"<response/>", "text/xml; charset=utf-8")

    def decode(self, event: Event) -> Facts:
        return Facts(party=Party.WAREHOUSE, order_no="A1")


class _Taken:
    async def put(self, event: Event) -> Leg:
        return Leg.INBOX


class _Broken(_XmlSource):
    def admit(self, push: Push) -> Event:
        raise OrdergateError("no such buyer: 13800000000")


@asynccontextmanager
async def served(source: Source, observe: Observer) -> AsyncIterator[str]:
    """The URL of a server with `source` as its connection `wms`."""
    hooks = Hooks(
        sources={ConnectionName("wms"): source},
        inbound=_Taken(),
        body_limit_bytes=1024,
        now=lambda: datetime.now(UTC),
        observe=observe,
    )
    application = web.Application()
    application.add_routes(hooks.routes())
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}/hooks/wms"
    finally:
        await runner.cleanup()


async def test_a_reply_may_name_its_charset() -> None:
    async with served(_XmlSource(), lambda _: None) as url, aiohttp.ClientSession() as session:
        async with session.post(url, data=b"<request/>") as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "text/xml; charset=utf-8"
            assert await answer.read() == b"<response/>"


async def test_what_an_adapter_says_when_it_fails_stays_out_of_the_log() -> None:
    happened: list[Happening] = []
    async with served(_Broken(), happened.extend) as url, aiohttp.ClientSession() as session:
        async with session.post(url, data=b"<request/>"):
            pass
    assert [one.what for one in happened if isinstance(one, Trouble)] == ["wms: admit failed with OrdergateError"]
