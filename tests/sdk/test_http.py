"""Whether a request may have arrived, told by real sockets that behave badly."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvloop

from gateway.core.delivery import Failed, Rejected
from gateway.core.text import Text
from gateway.sdk.http import Http, NoAnswer, NotSent, date_of, retry_after_s
from gateway.sdk.wire import Departures, Lost, Origin, Wire
from tests.certificates import Authority
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


@pytest.mark.parametrize(
    ("hosts", "expired", "said"),
    [(["localhost"], True, "certificate has expired"), (["wms.example.com"], False, "not valid for 'localhost'")],
)
async def test_what_is_wrong_with_a_certificate_is_told(
    rude: Rude, tmp_path: Path, hosts: list[str], expired: bool, said: str
) -> None:
    authority = Authority(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.issue("server", *hosts, expired=expired))
    server = await asyncio.start_server(rude.serve, "localhost", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with server, Http(connections=1, ca_pem=authority.file.read_text()) as http:
        with pytest.raises(NotSent) as caught:
            await http.post(f"https://localhost:{port}/", b"x", deadline_s=5)
    assert caught.value.code == "tls" and said in caught.value.text.zh and said in caught.value.text.en


@pytest.mark.parametrize("host", ["wms..example.com", "w" * 64 + ".example.com", "仓库..example.com"])
async def test_a_name_that_no_server_can_have_is_not_sent(host: str) -> None:
    async with Http(connections=1) as http:
        with pytest.raises(NotSent) as caught:
            await http.post(f"http://{host}:8080/", b"x", deadline_s=2)
    assert caught.value.code == "url"


async def test_the_name_of_a_host_is_written_without_its_port(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        writer.close()

    async def resolve(host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    async with server, Http(connections=1) as http:
        await http.post(f"http://仓库.中国:{port}/", b"", deadline_s=5)
    assert f"\r\nhost: xn--5mqv79a.xn--fiqs8s:{port}\r\n".encode() in asked[0]


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


EPOCH = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)
OK = "HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("head", "at"),
    [
        # The three forms of RFC 9110, section 5.6.7.
        (f"{OK}Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n", EPOCH),
        (f"{OK}date:Sunday, 06-Nov-94 08:49:37 GMT\r\nserver: x\r\n\r\nok", EPOCH),
        (f"{OK}server: x\r\nDATE: \t Sun Nov  6 08:49:37 1994 \r\n\r\n", EPOCH),
        (f"{OK}Date: Sun, 06 Nov 1994 16:49:37 +0800\r\n\r\n", EPOCH),
        # None, garbage, out of range.
        (f"{OK}server: x\r\n\r\n", None),
        (f"{OK}Date:\r\nserver: x\r\n\r\n", None),
        (f"{OK}Date: -1\r\n\r\n", None),
        (f"{OK}Date: yesterday, as it were\r\n\r\n", None),
        (f"{OK}Date: Sun, 06 Nov 1994 08:49:99 GMT\r\n\r\n", None),
        (f"{OK}Date: Fri, 31 Dec 9999 23:59:59 -2300\r\n\r\n", None),
        (f"{OK}Date: 今天\r\n\r\n", None),
        # Not a header of the answer, or not the whole of one.
        (f"{OK}server: x\r\n\r\n\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n", None),
        (f"{OK}X-Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n", None),
        (f"{OK}server: x\r\nDate: Sun, 06 Nov 1994 08:49:3", None),
        (f"{OK}Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Le", EPOCH),
        ("", None),
        # A cache's answer is as old as it says; 0 is one that has asked.
        (f"{OK}Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nAge: 600\r\n\r\n", None),
        (f"{OK}age: 7\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n", None),
        (f"{OK}Age: 0\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n", EPOCH),
    ],
)
def test_when_an_answer_was_made(head: str, at: datetime | None) -> None:
    assert date_of(head.encode()) == at


@contextlib.asynccontextmanager
async def saying(*headers: str) -> AsyncIterator[str]:
    """The address of a server whose answers have these headers, one after the other."""
    left = list(headers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(f"{OK}{left.pop(0)}content-length: 0\r\n\r\n".encode())
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    ended = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await ended.wait()


@pytest.mark.parametrize("dated", ["", "Date: soon\r\n", "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nAge: 9\r\n"])
async def test_a_date_that_is_missing_or_garbage_is_ignored(dated: str) -> None:
    async with saying(dated) as url, Http(connections=1) as http:
        assert (await http.request("GET", url, deadline_s=5)).status == 200
        assert http.reading is None


async def test_the_clock_of_the_other_side_is_read_from_an_answer_now_and_then() -> None:
    later = "Date: Sun, 06 Nov 1994 09:49:37 GMT\r\n"
    async with saying("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", later, later) as url, Http(connections=1) as http:
        before_s = time.monotonic()
        await http.request("GET", url, deadline_s=5)
        after_s, read = time.monotonic(), http.reading
        assert read is not None
        shown_s = EPOCH.timestamp()
        assert shown_s - after_s <= read.least_s <= read.most_s - 1 <= shown_s - before_s
        assert before_s <= read.at_s <= after_s
        await http.request("GET", url, deadline_s=5)
        assert http.reading is read, "not at every answer"
        http._look_at = 0.0  # ten seconds on
        await http.request("GET", url, deadline_s=5)
        assert http.reading.least_s - read.least_s == pytest.approx(3600, abs=5)


async def test_a_clock_that_was_read_stays_when_the_next_date_cannot_be() -> None:
    async with saying("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "Date: soon\r\n") as url, Http(connections=1) as http:
        await http.request("GET", url, deadline_s=5)
        read, http._look_at = http.reading, 0.0
        await http.request("GET", url, deadline_s=5)
        assert http.reading is read is not None
