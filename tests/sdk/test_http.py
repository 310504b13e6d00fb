"""Whether a request may have arrived, told by real sockets that behave badly."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
import uvloop

from gateway.core.delivery import Failed, Rejected
from gateway.core.text import Text
from gateway.sdk.http import Http, NoAnswer, NotSent, retry_after_s
from gateway.sdk.wire import Departures, Lost, Origin, Wire
from tests.languages import is_told


class Rude:
    """A server that reads a request and then does `manner`."""

    def __init__(self) -> None:
        self.manner = "answer"
        self.arrived = 0
        self.busy = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while await reader.read(65_536):
                self.arrived += 1
                self.busy.set()
                if self.manner == "answer":
                    writer.write(b"HTTP/1.1 200 OK\r\nretry-after: 3\r\ncontent-length: 2\r\n\r\nok")
                    continue
                if self.manner == "reset":
                    # Linger 0: close() sends RST.
                    option = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
                elif self.manner == "hang":
                    await asyncio.sleep(1)
                elif self.manner == "cut":
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut")
                elif self.manner == "stall":
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut")
                    await asyncio.sleep(1)
                elif self.manner == "babble":
                    writer.write(b"SSH-2.0-x\r\n\r\n")
                break
        writer.close()


@pytest.fixture
async def rude() -> AsyncIterator[Rude]:
    one = Rude()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x?sign=SECRET"
    yield one
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("reused", [False, True], ids=["fresh", "reused"])
@pytest.mark.parametrize(
    ("manner", "code", "timeout"),
    [
        ("hang", "timeout", True),
        ("stall", "timeout", True),
        ("close", "connection_lost", False),
        ("reset", "connection_lost", False),
        ("cut", "connection_lost", False),
        ("babble", "connection_lost", False),
    ],
)
async def test_a_request_that_arrived_is_never_called_not_sent(
    rude: Rude, manner: str, code: str, timeout: bool, reused: bool
) -> None:
    async with Http(connections=1) as http:
        if reused:
            await http.post(rude.url, b"x", deadline_s=5)
        before = rude.arrived
        rude.manner = manner
        with pytest.raises(NoAnswer) as caught:
            await http.post(rude.url, b"x", deadline_s=0.15)

    assert (caught.value.code, caught.value.timeout) == (code, timeout)
    # Once: the library does not send a POST again by itself.
    assert rude.arrived == before + 1
    assert "SECRET" not in str(caught.value)


async def test_what_cannot_have_arrived_is_not_sent(rude: Rude) -> None:
    async with Http(connections=1) as http:
        for url in ("http://127.0.0.1:9/?sign=SECRET", "http://nowhere.invalid/?sign=SECRET"):
            with pytest.raises(NotSent) as caught:
                await http.post(url, b"x", deadline_s=5)
            assert caught.value.code == "connect"
            assert "SECRET" not in str(caught.value)
        with pytest.raises(NotSent) as caught:
            await http.post("http://[::/", b"x", deadline_s=5)
        assert caught.value.code == "url"
    assert rude.arrived == 0


async def test_nobody_picks_up(rude: Rude) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        callers = [socket.socket() for _ in range(4)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(deaf.getsockname())
        async with Http(connections=1, connect_timeout_s=0.1) as http:
            with pytest.raises(NotSent) as caught:
                await http.post(f"http://127.0.0.1:{deaf.getsockname()[1]}/", b"x", deadline_s=5)
        for caller in callers:
            caller.close()
    assert caught.value.code == "connect_timeout"


async def test_no_free_connection(rude: Rude) -> None:
    rude.manner = "hang"
    async with Http(connections=1) as http:
        first = asyncio.ensure_future(http.post(rude.url, b"x", deadline_s=0.4))
        await rude.busy.wait()
        with pytest.raises(NotSent) as caught:
            await http.post(rude.url, b"x", deadline_s=0.1)
        with pytest.raises(NoAnswer):
            await first
    assert caught.value.code == "pool"
    assert rude.arrived == 1


async def test_a_connect_that_failed_leaves_its_slot(rude: Rude) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    async with Http(connections=1) as http:
        with pytest.raises(NotSent) as caught:
            await http.post(f"http://127.0.0.1:{port}/", b"x", deadline_s=5)
        server = await asyncio.start_server(rude.serve, "127.0.0.1", port)
        reply = await http.post(f"http://127.0.0.1:{port}/", b"x", deadline_s=5)
    server.close()
    await server.wait_closed()
    assert (caught.value.code, reply.status) == ("connect", 200)


async def test_a_handshake_that_failed_leaves_its_slot(rude: Rude) -> None:
    rude.manner = "close"
    async with Http(connections=1) as http:
        for _ in range(2):
            with pytest.raises(NotSent) as caught:
                await http.post(rude.url.replace("http:", "https:"), b"x", deadline_s=2)
            assert caught.value.code in ("connect", "tls")


async def test_a_connection_that_never_opened_leaves_its_slot() -> None:
    """What a failed `connection_made` looks like: connected, and nothing to write to."""

    class Fails(Wire):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            if not failed:
                failed.append(transport)
                transport.abort()
                return
            super().connection_made(transport)

    failed: list[asyncio.BaseTransport] = []
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    origin = Origin("127.0.0.1", port, tls=None, limit=1, loop=loop, departures=Departures(loop), wire=Fails)
    with pytest.raises(OSError):
        await origin.take(connect_within_s=5)
    async with asyncio.timeout(5):
        origin.give_back(await origin.take(connect_within_s=5))
    origin.close()
    server.close()
    assert failed


@pytest.mark.parametrize("written", [False, True])
async def test_a_connection_lost_before_its_request_was_written_is_told_apart(rude: Rude, written: bool) -> None:
    """Requests leave at the end of the loop's turn: where a connection ends before that, nothing has been sent."""
    rude.manner = "hang"
    loop = asyncio.get_running_loop()
    port = urlsplit(rude.url).port
    assert port is not None
    origin = Origin("127.0.0.1", port, tls=None, limit=1, loop=loop, departures=Departures(loop))
    wire = await origin.take(connect_within_s=5)
    answer = wire.send(b"POST / HTTP/1.1\r\n\r\n", ends_at=loop.time() + 5)
    if written:
        await rude.busy.wait()
    wire.connection_lost(None)
    with pytest.raises(Lost) as caught:
        await answer
    assert caught.value.sent is written
    origin.give_back(wire)
    await asyncio.sleep(0)  # its turn to be written has come, and nothing is
    assert rude.arrived == written


def test_what_was_not_sent_is_an_answer() -> None:
    assert NotSent("url", "x").as_answer() == Rejected("url", "x")
    assert NotSent("connect", "x").as_answer() == Failed("connect", "x")


def test_why_there_is_no_answer_is_told_in_both_languages() -> None:
    refused = NotSent("connect", "Connect call failed")
    refused.__cause__ = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed")
    assert refused.text == Text("无法连接：连接被拒绝（Connect call failed）", "connect: Connect call failed")
    for code in ("connect", "connect_timeout", "tls", "pool", "url"):
        assert is_told(NotSent(code, "").text), code
    for code in ("timeout", "connection_lost"):
        assert is_told(NoAnswer(code, "no answer within 5 s", timeout=False).text), code
    assert NotSent("of_others", "their words").text == Text("of_others: their words", "of_others: their words")


async def test_an_answer_is_whole(rude: Rude) -> None:
    async with Http(connections=1) as http:
        reply = await http.post(rude.url, b"x", deadline_s=5)
    assert (reply.status, reply.body, reply.retry_after) == (200, b"ok", "3")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        (" 0 ", 0.0),
        ("999999999999", 86_400.0),
        ("Fri, 01 May 2026 00:00:30 GMT", 30.0),
        ("Fri, 01 May 2026 00:00:30 -0000", 30.0),
        ("Thu, 30 Apr 2026 00:00:00 GMT", 0.0),
        ("soon", None),
        ("-3", None),
        ("1.5", 1.5),
        ("1e3", None),
        ("nan", None),
        (".5", None),
        ("１２", None),
        ("9" * 400, None),
        ("Friday, 01-May-26 00:00:30 GMT", 30.0),  # RFC 850
        ("Fri May  1 00:00:30 2026", 30.0),  # asctime
        ("Fri, 01 May 2026 08:00:30 +0800", 30.0),
        ("Fri, 31 Dec 9999 23:59:59 -2359", None),
        ("", None),
    ],
)
def test_retry_after_in_both_forms(text: str | None, seconds: float | None) -> None:
    assert retry_after_s(text, now=datetime(2026, 5, 1, tzinfo=UTC)) == seconds


async def test_a_query_may_follow_the_host(rude: Rude) -> None:
    async with Http(connections=1) as http:
        reply = await http.post(rude.url.replace("/x", ""), b"x", deadline_s=5)
    assert reply.status == 200


def test_uvloop_behaves_the_same() -> None:
    """The product runs on uvloop, whose transports are not asyncio's."""

    async def exchange() -> tuple[int, str]:
        one = Rude()
        server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
        async with Http(connections=1) as http:
            status = (await http.post(url, b"x", deadline_s=5)).status
            one.manner = "reset"
            with pytest.raises(NoAnswer) as caught:
                await http.post(url, b"x", deadline_s=5)
        server.close()
        return status, caught.value.code

    assert uvloop.run(exchange()) == (200, "connection_lost")
