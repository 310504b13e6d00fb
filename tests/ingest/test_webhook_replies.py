from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from yarl import URL

from gateway.core.event import ConnectionName, Event, EventId, Leg
from gateway.core.happening import Happening, Observer, Refused, Trouble
from gateway.core.order import Facts, Party
from gateway.core.text import Text
from gateway.ingest.inbound import Inbound, InboxLeg
from gateway.ingest.webhook import Hooks
from gateway.listener import Listener
from gateway.sdk.adapter import Push, Reply, Source
from gateway.sdk.models import BadSignature, OrdergateError
from gateway.store.inbox import take
from gateway.store.sql import open_pool
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
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def admit(self, push: Push) -> Event:
        raise self._error

    def reply(self, error: OrdergateError | None) -> Reply:
        return Reply(503 if error is not None else 200, b"<response/>", "text/xml")


@asynccontextmanager
async def served(
    source: Source, observe: Observer, *, unproven_bytes: int = 4096, inbound: Any = None
) -> AsyncIterator[str]:
    """The URL of a server with `source` as its connection `wms`."""
    hooks = Hooks(
        sources={ConnectionName("wms"): source},
        inbound=inbound or _Taken(),
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


@pytest.mark.parametrize(
    "error",
    [OrdergateError("no such buyer: 13800000000"), KeyError("13800000000"), asyncio.CancelledError("13800000000")],
)
async def test_what_an_adapter_says_when_it_fails_stays_out_of_the_log(error: BaseException) -> None:
    happened: list[Happening] = []
    async with served(_Broken(error), happened.extend) as url, aiohttp.ClientSession() as session:
        async with session.post(url, data=b"<request/>") as answer:
            assert (answer.status, await answer.read()) == (503, b"<response/>"), "to be sent again"
    (told,) = [one.what for one in happened if isinstance(one, Trouble)]
    where = rf"{type(error).__name__} at {Path(__file__).name}:\d+"
    assert re.fullmatch(f"wms: admit failed with {where}", told)


class _Gives(_Broken):
    """Hands on what it is made with, whatever its types say."""

    def __init__(self, given: Any) -> None:
        self._given = given

    def admit(self, push: Push) -> Event:
        return self._given  # type: ignore[no-any-return]


def _event(**changes: object) -> Event:
    event = Event(
        id=EventId("e1"),
        source=ConnectionName("wms"),
        type="t",
        order_key="A1",
        time=datetime(2026, 1, 5, tzinfo=UTC),
        body=b"{}",
    )
    return msgspec.structs.replace(event, **changes)


@pytest.mark.parametrize(
    ("given", "flaw"),
    [
        (None, "an event of NoneType"),
        ("e1", "an event of str"),
        (_event(id=17), "an event with id of int"),
        (_event(id=""), "an event without an id"),
        (_event(order_key=None), "an event with order_key of NoneType"),
        (_event(body="{}"), "an event with body of str"),
        (_event(time="2026-01-05"), "an event with time of str"),
        (_event(time=datetime(2026, 1, 5)), "an event with time without a time zone"),  # noqa: DTZ001
        (_event(source="shop"), "an event of another connection"),
    ],
)
async def test_an_event_that_no_leg_can_take_is_the_adapters_fault_and_told(given: object, flaw: str) -> None:
    happened: list[Happening] = []
    async with served(_Gives(given), happened.extend) as url, aiohttp.ClientSession() as session:
        async with session.post(url, data=b"<request/>") as answer:
            assert (answer.status, await answer.read()) == (503, b"<response/>")
    assert happened == [Refused(ConnectionName("wms"), "adapter"), Trouble("adapter", f"wms: admit gave {flaw}")]


@pytest.mark.parametrize(
    "nothing",
    [
        pytest.param(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=8))), id="has no UTC form"),
        pytest.param(datetime.min.replace(tzinfo=UTC), id="minus infinity to PostgreSQL"),
        pytest.param(datetime.max.replace(tzinfo=UTC), id="infinity"),
    ],
)
async def test_what_no_database_takes_is_kept_without_what_it_refuses(migrated_url: str, nothing: datetime) -> None:
    """The adapter of docs/adapters.md takes the order's number as its sender wrote it. Others take an instant, and that
    of year 1 is what Go and .NET write for none."""
    pool = await open_pool(migrated_url, size=2)
    leg = InboxLeg(pool, observe=lambda _: None)
    writing = asyncio.ensure_future(leg.run())
    given = _event(id="A\x001", order_key="A\x00\ud800", time=nothing)
    inbound = Inbound(kafka=None, inbox=leg, observe=lambda _: None)
    async with served(_Gives(given), lambda _: None, inbound=inbound) as url, aiohttp.ClientSession() as session:
        async with session.post(url, data=b"<request/>") as answer:
            assert answer.status == 200
    async with pool.acquire() as connection:
        (kept,) = await take(connection, 10)
    assert (kept.event.id, kept.event.order_key) == ("A\ufffd1", "A\ufffd?")
    assert timedelta(0) <= kept.taken_at - kept.event.time < timedelta(minutes=1)
    writing.cancel()
    await asyncio.wait([writing])
    await pool.close()


class _Mute(_XmlSource):
    def __init__(self, given: object) -> None:
        self._given = given

    def admit(self, push: Push) -> Event:
        if push.body == b"forged":
            raise BadSignature(Text("签名不符", "the signature does not match"))
        return super().admit(push)

    def reply(self, error: OrdergateError | None) -> Reply:
        if isinstance(self._given, BaseException):
            raise self._given
        return self._given  # type: ignore[return-value]


@pytest.mark.parametrize("body", [b"<request/>", b"forged"])
@pytest.mark.parametrize(
    ("given", "how"),
    [
        (KeyError("13800000000 张三"), r"reply failed with KeyError at \S+:\d+"),
        (SystemExit(3), r"reply failed with SystemExit at \S+:\d+"),
        (asyncio.CancelledError(), r"reply failed with CancelledError at \S+:\d+"),
        (None, "reply gave an answer of NoneType"),
        (Reply("ok", b""), "reply failed with ValueError"),  # type: ignore[arg-type]
        (Reply(0, b""), "reply gave a status that is none"),
        (Reply(200, {"code": 0}), "reply gave a body of dict"),  # type: ignore[arg-type]
        (Reply(200, b"", None), "reply gave a content type of NoneType"),  # type: ignore[arg-type]
        (Reply(200, b"", "text/xml\r\nX: y"), "reply gave a content type that is no header"),
    ],
)
async def test_a_reply_that_fails_is_told_without_its_words_and_sent_again(
    given: object, how: str, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    happened: list[Happening] = []
    async with served(_Mute(given), happened.extend) as url, aiohttp.ClientSession() as session:
        async with session.post(url, data=body) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
            assert json.loads(await answer.read())["error"] == "adapter"
    (told,) = [one.what for one in happened if isinstance(one, Trouble)]
    assert re.fullmatch(f"wms: {how}", told)
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


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
