"""What a connection makes of a server that says too little, too much, or something at the wrong time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.sdk.http import Http, NoAnswer, NotSent
from gateway.sdk.wire import Departures, Lost, Origin, Wire

REQUEST = b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n"


class Server:
    """Reads, counts and gives `answer`, if there is one."""

    def __init__(self) -> None:
        self.arrived = 0
        self.url = ""
        self.port = 0
        self.writers: list[asyncio.StreamWriter] = []
        self.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while await reader.read(65_536):
                self.arrived += 1
                if self.answer:
                    writer.write(self.answer)
        except ConnectionError:
            pass
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    one = Server()
    listening = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.port = listening.sockets[0].getsockname()[1]
    one.url = f"http://127.0.0.1:{one.port}/"
    yield one
    for writer in one.writers:
        writer.close()
    listening.close()
    await listening.wait_closed()


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Wire]:
    loop = asyncio.get_running_loop()
    origin = Origin("127.0.0.1", server.port, tls=None, limit=1, loop=loop, departures=Departures(loop))
    wire = await origin.take(connect_within_s=5)
    while not server.writers:  # noqa: ASYNC110 (the server has accepted a moment later)
        await asyncio.sleep(0.001)
    yield wire
    wire.abort()


async def test_an_earlier_answer_is_not_given_to_a_request_that_was_never_served(server: Server) -> None:
    """A 204 has no length, and neither has an answer that ends with its connection."""
    async with Http(connections=1) as http:
        server.answer = b"HTTP/1.1 204 No Content\r\n\r\n"
        assert (await http.post(server.url, b"1", deadline_s=5)).status == 204
        server.answer = b""
        async with asyncio.TaskGroup() as group:
            second = group.create_task(_fate(http, server.url))
            while server.arrived < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            server.writers[0].close()
        assert second.result() == "unknown"


@pytest.mark.parametrize("more", [b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe", b"HTTP/1.1 2", b"x"])
async def test_what_follows_an_answer_is_not_the_beginning_of_the_next(server: Server, more: bytes) -> None:
    """A server or a proxy that is out of step: what it says next belongs to what it has begun."""
    whole = server.answer
    async with Http(connections=1) as http:
        server.answer = whole + more
        assert (await http.post(server.url, b"1", deadline_s=5)).body == b"ok"
        server.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"[len(more) :] if len(more) > 1 else whole
        fate = await _fate(http, server.url)
    assert len(server.writers) == 2, "the connection is not used again"
    assert fate == ("answered" if more == b"x" else "unknown")


async def _fate(http: Http, url: str) -> str:
    try:
        await http.post(url, b"2", deadline_s=5)
    except NoAnswer:
        return "unknown"
    except NotSent:
        return "not sent"
    return "answered"


async def test_a_request_on_a_connection_that_the_server_closed_has_not_been_sent(server: Server) -> None:
    async with connected(server) as wire:
        answer = wire.send(REQUEST, ends_at=time.monotonic() + 5)
        wire.eof_received()
        with pytest.raises(Lost) as caught:
            await answer
    assert not caught.value.sent
    assert server.arrived == 0


async def test_what_comes_before_the_request_has_left_is_not_its_answer(server: Server) -> None:
    async with connected(server) as wire:
        answer = wire.send(REQUEST, ends_at=time.monotonic() + 5)
        wire.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        with pytest.raises(Lost, match="before it was asked") as caught:
            await answer
        await asyncio.sleep(0)
    assert not caught.value.sent and not wire.open
    assert server.arrived == 0


async def test_a_request_does_not_leave_after_its_deadline(server: Server) -> None:
    """A process that was stopped past its lease must not send what it had in hand: somebody else may have by then."""
    async with Http(connections=1) as http:
        assert (await http.post(server.url, b"1", deadline_s=5)).status == 200
        late = asyncio.create_task(http.post(server.url, b"2", deadline_s=0.05), name="late")
        await asyncio.sleep(0)  # handed over, not written
        time.sleep(0.1)  # as SIGSTOP would
        with pytest.raises(NotSent, match="after the deadline"):
            await late
    assert server.arrived == 1
