from __future__ import annotations

from datetime import UTC, datetime

import aiohttp
from aiohttp import web

from gateway.core.event import ConnectionName, Event, EventId, Leg
from gateway.core.order import Facts, Party
from gateway.ingest.webhook import Hooks
from gateway.sdk.adapter import Push, Reply
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


async def test_a_reply_may_name_its_charset() -> None:
    hooks = Hooks(
        sources={ConnectionName("wms"): _XmlSource()},
        inbound=_Taken(),
        body_limit_bytes=1024,
        now=lambda: datetime.now(UTC),
        observe=lambda _: None,
    )
    application = web.Application()
    application.add_routes(hooks.routes())
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession() as session:
            async with session.post(f"http://{host}:{port}/hooks/wms", data=b"<request/>") as answer:
                assert answer.status == 200
                assert answer.headers["Content-Type"] == "text/xml; charset=utf-8"
                assert await answer.read() == b"<response/>"
    finally:
        await runner.cleanup()
