"""What a client does wrong below HTTP's requests, on a socket of its own."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from gateway.core.event import ConnectionName
from gateway.core.happening import Happening, Refused, Trouble
from gateway.core.text import Text
from gateway.listener import Listener
from tests.languages import is_told

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]

NOT_HTTP = Refused(ConnectionName("unknown"), "http")
LATE = Refused(ConnectionName("unknown"), "slow")
CROWDED = Refused(ConnectionName("unknown"), "crowded")
SOON_S = 0.2
LARGE = bytes(32 * 1024 * 1024)
"""More than lies between a server and a client that reads nothing."""
WHOLE = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok"


class Server:
    def __init__(self, port: int, happened: list[Happening]) -> None:
        self.port = port
        self.happened = happened

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()


@asynccontextmanager
async def serving(
    *, header_within_s: float = 10.0, taken_within_s: float = 10.0, most: int | None = None
) -> AsyncIterator[Server]:
    """A server that answers a POST with the body it got, and a GET with a large one."""

    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def large(_: web.Request) -> web.Response:
        return web.Response(body=LARGE)

    application = web.Application()
    application.add_routes([web.post("/{path:.*}", echo), web.get("/", large)])
    happened: list[Happening] = []
    listener = Listener(
        application,
        observe=happened.extend,
        stop_within_s=1.0,
        header_within_s=header_within_s,
        taken_within_s=taken_within_s,
        most=most,
    )
    await listener.setup()
    await web.TCPSite(listener, "127.0.0.1", 0).start()
    try:
        yield Server(listener.addresses[0][1], happened)
    finally:
        await listener.cleanup()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    async with asyncio.timeout(5.0):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return int(head.split()[1]), await reader.readexactly(int(length.partition(b":")[2]))


async def under_way(client: Client) -> None:
    """Begin a request, up to where a handler waits for its body (`ok`)."""
    reader, writer = client
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    async with asyncio.timeout(5.0):
        assert (await reader.readuntil(b"\r\n\r\n")).split()[1] == b"100"


async def is_closed(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(5.0):
        return await reader.read(1) == b""


def request(line: bytes = b"POST / HTTP/1.1", headers: bytes = b"Host: x\r\n") -> bytes:
    return line + b"\r\n" + headers + b"\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        request(b"POST /" + b"a" * 9000 + b" HTTP/1.1"),
        request(b"POST /?" + b"a" * 9000 + b" HTTP/1.1"),
        request(headers=b"Host: x\r\nX-Long: " + b"a" * 9000 + b"\r\n"),
        request(headers=b"Host: x\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(5000))),
        request(b"POST /\xff HTTP/1.1"),
        request(b"POST /\x00 HTTP/1.1"),
        request(b"POST /?a b HTTP/1.1"),
        request(b"POST path HTTP/1.1"),
        request(b"POST http://[::1/ HTTP/1.1"),
        request(headers=b""),
        request(headers=b"Host: x\r\nX-Nul: \x00\r\n"),
        request(headers=b"Host: x\r\nContent-Length: -3\r\n"),
        request(headers=b"Host: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
        request(headers=b"Host: x\r\nTransfer-Encoding: chunked\r\n") + b"zz\r\nabc\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[:50] + b".." + sent[-30:]),
)
async def test_what_is_not_http_is_answered_and_counted_and_no_fault_of_ours(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with serving() as server, server.client() as (reader, writer):
            writer.write(sent)
            status, body = await answer(reader)
            assert await is_closed(reader)

    said = json.loads(body)
    assert (status, said["error"]) == (400, "http")
    assert is_told(Text(**said["message"])) and is_told(Text(**said["advice"]))
    assert server.happened == [NOT_HTTP]
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("body", [gzip.compress(b"ok"), b"xxxx"], ids=["packed", "not"])
async def test_a_packed_body_is_handed_on_as_it_came(coding: str, body: bytes) -> None:
    headers = f"Host: x\r\nContent-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n".encode()
    async with serving() as server, server.client() as (reader, writer):
        writer.write(request(headers=headers) + body)
        assert await answer(reader) == (200, body)


async def test_a_connection_without_a_whole_header_is_closed() -> None:
    async with serving(header_within_s=SOON_S) as server, server.client() as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n")
        assert await is_closed(reader)
        assert server.happened == [LATE]


async def test_each_byte_of_a_header_gives_no_new_time() -> None:
    async with serving(header_within_s=SOON_S) as server, server.client() as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\n")
        closed = asyncio.ensure_future(is_closed(reader))
        while not closed.done():
            writer.write(b"A: 1\r\n")
            await asyncio.wait({closed}, timeout=SOON_S / 10)
        assert await closed and server.happened == [LATE]


async def test_a_connection_that_says_nothing_is_closed_and_not_counted() -> None:
    async with serving(header_within_s=SOON_S) as server, server.client() as (reader, _):
        assert await is_closed(reader)
        assert server.happened == []


async def test_an_idle_connection_stays_open_and_a_later_header_has_its_own_time() -> None:
    async with serving(header_within_s=SOON_S) as server, server.client() as (reader, writer):
        for _ in range(2):
            writer.write(WHOLE)
            assert await answer(reader) == (200, b"ok")
            await asyncio.sleep(SOON_S * 2)
        writer.write(WHOLE[:20])
        assert await is_closed(reader)
        assert server.happened == [LATE]


async def test_empty_lines_behind_a_body_begin_no_header() -> None:
    async with serving(header_within_s=SOON_S) as server, server.client() as (reader, writer):
        writer.write(WHOLE)
        assert await answer(reader) == (200, b"ok")
        writer.write(b"\r\n")
        await asyncio.sleep(2 * SOON_S)
        writer.write(WHOLE)
        assert await answer(reader) == (200, b"ok")
        assert server.happened == []


async def test_a_header_in_pieces_is_taken_and_a_body_has_more_time() -> None:
    async with serving(header_within_s=SOON_S) as server, server.client() as (reader, writer):
        for _ in range(2):
            writer.write(WHOLE[:20])
            await asyncio.sleep(SOON_S / 4)
            writer.write(WHOLE[20:-2])
            for letter in b"o", b"k":
                await asyncio.sleep(SOON_S)
                writer.write(letter)
            assert await answer(reader) == (200, b"ok")
        assert server.happened == []


async def test_requests_sent_ahead_are_answered_in_their_order() -> None:
    async with serving(header_within_s=SOON_S) as server, server.client() as (reader, writer):
        writer.write(b"".join(WHOLE[:-2] + b"%02d" % n for n in range(80)))
        assert [await answer(reader) for _ in range(80)] == [(200, b"%02d" % n) for n in range(80)]
        await asyncio.sleep(SOON_S * 2)
        writer.write(WHOLE)
        assert await answer(reader) == (200, b"ok")
        assert server.happened == []


async def test_of_more_connections_than_are_kept_the_one_that_waits_longest_goes() -> None:
    async with serving(most=2) as server, server.client() as first, server.client() as second:
        for reader, writer in (first, second, first):
            writer.write(WHOLE)
            assert await answer(reader) == (200, b"ok")
        async with server.client() as (reader, writer):
            writer.write(WHOLE)
            assert await answer(reader) == (200, b"ok")
            assert await is_closed(second[0])
            first[1].write(WHOLE)
            assert await answer(first[0]) == (200, b"ok")
        assert server.happened == []


async def test_silent_connections_keep_nobody_out_and_no_request_is_cut_off() -> None:
    async with serving(most=3) as server, server.client() as (reader, writer):
        await under_way((reader, writer))
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(20)]
        for older, _ in silent[:-2]:
            assert await is_closed(older)
        async with server.client() as (another, its_writer):
            its_writer.write(WHOLE)
            assert await answer(another) == (200, b"ok")
        writer.write(WHOLE[-2:])
        assert await answer(reader) == (200, b"ok")
        for _, its_writer in silent:
            its_writer.close()
        assert server.happened == []


async def test_where_every_connection_has_a_request_another_is_closed_and_told_of_once() -> None:
    async with serving(most=2) as server, server.client() as first, server.client() as second:
        for client in (first, second):
            await under_way(client)
        for _ in range(3):
            async with server.client() as (reader, _):
                assert await is_closed(reader)
        for reader, writer in (first, second):
            writer.write(WHOLE[-2:])
            assert await answer(reader) == (200, b"ok")
        async with server.client() as (reader, writer):
            writer.write(WHOLE)
            assert await answer(reader) == (200, b"ok")

        assert [told for told in server.happened if told == CROWDED] == [CROWDED] * 3
        (trouble,) = [told for told in server.happened if isinstance(told, Trouble)]
        assert trouble.where == "http" and trouble.what.startswith("2 connections")


async def test_a_client_that_takes_nothing_of_its_answer_is_cut_off() -> None:
    async with serving(taken_within_s=SOON_S) as server, server.client() as (reader, writer):
        writer.write(request(b"GET / HTTP/1.1"))
        async with asyncio.timeout(5.0):
            while True:
                if server.happened:
                    break
                await asyncio.sleep(SOON_S / 10)
        assert server.happened == [LATE]
        with contextlib.suppress(ConnectionError):
            assert len(await reader.read()) < len(LARGE)


async def test_a_client_that_takes_its_answer_slowly_gets_all_of_it() -> None:
    async with serving(taken_within_s=SOON_S) as server, server.client() as (reader, writer):
        writer.write(request(b"GET / HTTP/1.1"))
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(16):
            await asyncio.sleep(SOON_S / 4)
            await reader.readexactly(len(LARGE) // 16)
        assert server.happened == []
