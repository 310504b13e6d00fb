from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from gateway.core.event import ConnectionName, Event, EventId, Leg
from gateway.core.happening import Happening, Observer, Refused, Trouble
from gateway.core.order import Facts, Party
from gateway.core.text import Text
from gateway.ingest.webhook import Hooks
from gateway.listener import Listener
from gateway.sdk.adapter import Push, Reply, Source
from gateway.sdk.models import OrdergateError
from tests.languages import is_told


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
    def __init__(self, error: Exception) -> None:
        self._error = error

    def admit(self, push: Push) -> Event:
        raise self._error

    def reply(self, error: OrdergateError | None) -> Reply:
        return Reply(503 if error is not None else 200, b"<response/>", "text/xml")


@asynccontextmanager
async def served(source: Source, observe: Observer, *, unproven_bytes: int = 4096) -> AsyncIterator[str]:
    """The URL of a server with `source` as its connection `wms`."""
    hooks = Hooks(
        sources={ConnectionName("wms"): source},
        inbound=_Taken(),
        body_limit_bytes=1024,
        now=lambda: datetime.now(UTC),
        observe=observe,
        unproven_bytes=unproven_bytes,
    )
    application = web.Application()
    application.add_routes(hooks.routes())
    listener = Listener(application, observe=observe)
    await listener.setup()
    await web.TCPSite(listener, "127.0.0.1", 0).start()
    try:
        host, port = listener.addresses[0][:2]
        yield f"http://{host}:{port}/hooks/wms"
    finally:
        await listener.cleanup()


async def test_a_reply_may_name_its_charset() -> None:
    async with served(_XmlSource(), lambda _: None) as url, aiohttp.ClientSession() as session:
        async with session.post(url, data=b"<request/>") as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "text/xml; charset=utf-8"
            assert await answer.read() == b"<response/>"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "GZIP, gzip"])
async def test_a_body_that_says_it_is_packed_is_refused_in_our_words(
    coding: str, caplog: pytest.LogCaptureFixture
) -> None:
    happened: list[Happening] = []
    async with served(_XmlSource(), happened.extend) as url, aiohttp.ClientSession() as session:
        async with session.post(url, data=b"xxxx", headers={"Content-Encoding": coding}) as answer:
            assert answer.status == 415
            said = json.loads(await answer.read())
    assert said["error"] == "encoding" and is_told(Text(**said["message"])) and is_told(Text(**said["advice"]))
    assert happened == [Refused(ConnectionName("wms"), "encoding")]
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


async def test_who_hangs_up_within_a_body_is_counted_and_no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    happened: list[Happening] = []
    seen = asyncio.Event()

    def observe(batch: list[Happening]) -> None:
        happened.extend(batch)
        seen.set()

    async with served(_XmlSource(), observe) as url:
        _, writer = await asyncio.open_connection("127.0.0.1", URL(url).port)
        writer.write(b"POST /hooks/wms HTTP/1.1\r\nHost: x\r\nContent-Length: 400\r\n\r\nabc")
        await writer.drain()
        writer.close()
        async with asyncio.timeout(5.0):
            await seen.wait()
    assert happened == [Refused(ConnectionName("wms"), "hung_up")]
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


@pytest.mark.parametrize("error", [OrdergateError("no such buyer: 13800000000"), KeyError("13800000000")])
async def test_what_an_adapter_says_when_it_fails_stays_out_of_the_log(error: Exception) -> None:
    happened: list[Happening] = []
    async with served(_Broken(error), happened.extend) as url, aiohttp.ClientSession() as session:
        async with session.post(url, data=b"<request/>") as answer:
            assert (answer.status, await answer.read()) == (503, b"<response/>"), "to be sent again"
    (told,) = [one.what for one in happened if isinstance(one, Trouble)]
    where = rf"{type(error).__name__} at {Path(__file__).name}:\d+"
    assert re.fullmatch(f"wms: admit failed with {where}", told)


async def test_bodies_that_come_in_together_have_a_bound_and_what_is_over_it_comes_again() -> None:
    happened: list[Happening] = []
    async with served(_XmlSource(), happened.extend, unproven_bytes=1000) as url, aiohttp.ClientSession() as session:
        held = []
        for _ in range(3):  # of which two fit
            reader, writer = await asyncio.open_connection("127.0.0.1", URL(url).port)
            writer.write(b"POST /hooks/wms HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n" + b"x" * 400)
            held.append((reader, writer))
        async with asyncio.timeout(5.0):
            refusals = [asyncio.ensure_future(reader.readuntil(b"\r\n\r\n")) for reader, _ in held]
            (refused,), waiting = await asyncio.wait(refusals, return_when=asyncio.FIRST_COMPLETED)
        head = refused.result().decode().lower()
        assert head.startswith("http/1.1 503 ") and "retry-after: 2" in head
        assert happened == [Refused(ConnectionName("wms"), "crowded")]

        for (_, writer), answer in zip(held, refusals, strict=True):
            if answer in waiting:
                writer.write(b"x" * 100)
        async with asyncio.timeout(5.0):
            assert [(await answer).split()[1] for answer in refusals if answer in waiting] == [b"200", b"200"]
        async with session.post(url, data=b"x" * 1000) as answer_now:
            assert answer_now.status == 200
        for _, writer in held:
            writer.close()
