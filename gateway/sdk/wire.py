"""HTTP/1.1 connections for `gateway.sdk.http`: one request at a time each, kept alive, and exact about what was sent.

Parsing is llhttp's, through httptools. What is ours is the part a general client does not tell: whether any byte of a
request may have left. A request is written in one piece to a connection that is open; before that it is certainly
*not sent*, also where the connection is lost while it waits for its turn; after that its fate is unknown until a whole
answer is there. Nothing is ever sent twice.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable
from typing import cast

import httptools
import msgspec

KEEP_IDLE_S = 10.0
"""An idle connection older than this is not used again: many servers close theirs after 15 s or more, and a request
that crosses such a close on the wire has an unknown fate."""

MAX_ANSWER_BYTES = 8 * 1024 * 1024

_CUT_OFF = "the connection was lost before a whole answer came"


class Lost(Exception):
    """The connection ended, or spoke something else than HTTP, before a whole answer was there.

    `sent` False: before a byte of the request was written.
    """

    def __init__(self, what: str, *, sent: bool) -> None:
        super().__init__(what)
        self.sent = sent


class HttpReply(msgspec.Struct, frozen=True, gc=False):
    """A whole answer; of its headers only what adapters need."""

    status: int
    body: bytes
    retry_after: str | None = None


class Departures:
    """Requests that leave together, once everything has run that was ready when the first of them was handed over.

    Written one by one between other work, each would wake a receiver that has gone to sleep since the last one, which
    costs the sender more than all the rest of a write.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._wires: list[Wire] = []

    def add(self, wire: Wire) -> None:
        if not self._wires:
            self._loop.call_soon(self._leave)
        self._wires.append(wire)

    def _leave(self) -> None:
        wires, self._wires = self._wires, []
        # Not the loop's own time, which uvloop reads once a turn: this process may have been stopped since.
        now = time.monotonic()
        for wire in wires:
            wire.leave(now)


class Wire(asyncio.Protocol):
    """One connection. `free_at` is loop time of its last answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, departures: Departures) -> None:
        self._loop = loop
        self._departures = departures
        self._request = b""
        self._ends_at = 0.0
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[HttpReply] | None = None
        self._body: list[bytes] = []
        self._size = 0
        self._retry_after: str | None = None
        self._framed = False
        self._headed = False
        self.head: bytes | None = b""
        """Set to None it becomes the next that arrives: an answer's header, as a rule the whole of it."""
        self.open = False
        self.free_at = 0.0

    def send(self, request: bytes, *, ends_at: float) -> asyncio.Future[HttpReply]:
        """Have `request` written before `ends_at` (monotonic) or not at all; you get its answer's future (or Lost)."""
        self._request = request
        self._ends_at = ends_at
        # What the last answer left must not pass for the beginning of this one.
        self._headed = self._framed = False
        self._waiter = self._loop.create_future()
        self._departures.add(self)
        return self._waiter

    @property
    def unsent(self) -> bool:
        """Whether a request still waits to be written."""
        return bool(self._request)

    def leave(self, now: float) -> None:
        """Write the request, unless its time is over or the connection has ended meanwhile."""
        request = self._request
        if not request or now >= self._ends_at or not self.open or self._transport is None:
            return
        self._request = b""
        self._transport.write(request)

    def abort(self) -> None:
        """End the connection at once; a request under way stays of unknown fate."""
        self.open = False
        self._waiter = None
        self._request = b""
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but ancestry
        self.open = True

    def data_received(self, data: bytes) -> None:
        if self._waiter is None:
            self.abort()  # an answer nobody asked for: this connection is out of step
            return
        if self._request:
            self._fail("the server spoke before it was asked")
            return
        if self.head is None:
            self.head = data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail("the server wants another protocol")
        except httptools.HttpParserError as error:
            self._fail(f"the answer is not HTTP: {type(error).__name__}")

    def eof_received(self) -> bool:
        if self._waiter is not None and self._headed and not self._framed:
            self.on_message_complete()  # an answer without a length ends with the connection
        else:
            self._fail(_CUT_OFF)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        self._fail(_CUT_OFF if error is None else type(error).__name__)

    # --- the parser's side

    def on_message_begin(self) -> None:
        if self._waiter is None:
            self.abort()  # more than was asked for: the rest of it would pass for the next answer
            return
        self._body = []
        self._size = 0
        self._retry_after = None
        self._framed = self._headed = False

    def on_header(self, name: bytes, value: bytes) -> None:
        size = len(name)
        if size == 11 and name.lower() == b"retry-after":
            self._retry_after = value.decode("latin-1")
        elif (size == 14 and name.lower() == b"content-length") or (
            size == 17 and name.lower() == b"transfer-encoding"
        ):
            self._framed = True

    def on_headers_complete(self) -> None:
        self._headed = True

    def on_body(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > MAX_ANSWER_BYTES:
            self._fail(f"the answer is over {MAX_ANSWER_BYTES} bytes")
            return
        self._body.append(part)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return  # 100 Continue and the like: the answer is still to come
        waiter, self._waiter = self._waiter, None
        if not self._parser.should_keep_alive():
            self.open = False
            if self._transport is not None:
                self._transport.close()
        self.free_at = self._loop.time()
        if waiter is not None and not waiter.done():
            waiter.set_result(HttpReply(status, b"".join(self._body), self._retry_after))

    def _fail(self, what: str) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(Lost(what, sent=not self._request))
        if self.open:
            self.abort()


class Origin:
    """All connections to one scheme, host and port; at most `limit` of them."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None,
        limit: int,
        loop: asyncio.AbstractEventLoop,
        departures: Departures,
        wire: Callable[[asyncio.AbstractEventLoop, Departures], Wire] = Wire,
    ) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._limit = limit
        self._loop = loop
        self._departures = departures
        self._wire = wire
        self._idle: list[Wire] = []
        self._count = 0
        self._queue: deque[asyncio.Future[None]] = deque()

    def idle(self) -> Wire | None:
        """An open connection that nobody uses, the one used last."""
        while self._idle:
            wire = self._idle.pop()
            if wire.open and wire.free_at > self._loop.time() - KEEP_IDLE_S:
                return wire
            self._drop(wire)
        return None

    async def take(self, *, connect_within_s: float) -> Wire:
        """An open connection, an idle one if there is one. Raises OSError or TimeoutError when none comes about.

        Waits while all are in use, for as long as the caller's own deadline lets it.
        """
        while True:
            wire = self.idle()
            if wire is not None:
                return wire
            if self._count < self._limit:
                return await self._connect(connect_within_s)
            turn: asyncio.Future[None] = self._loop.create_future()
            self._queue.append(turn)
            await turn

    def give_back(self, wire: Wire) -> None:
        """The connection is done with its request, one way or the other."""
        if wire.open:
            self._idle.append(wire)
            self._next()
        else:
            self._drop(wire)

    def close(self) -> None:
        for wire in self._idle:
            wire.abort()
        self._idle.clear()

    async def _connect(self, within_s: float) -> Wire:
        self._count += 1
        try:
            async with asyncio.timeout(within_s):
                _, wire = await self._loop.create_connection(
                    lambda: self._wire(self._loop, self._departures),
                    self._host,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls is not None else None,
                )
            if not wire.open:
                # Nothing has been written, so nothing can have arrived.
                wire.abort()
                raise ConnectionResetError("closed as soon as it was open")
        except BaseException:
            self._count -= 1
            self._next()
            raise
        return wire

    def _drop(self, wire: Wire) -> None:
        wire.abort()
        self._count -= 1
        self._next()

    def _next(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
