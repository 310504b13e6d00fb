"""The HTTP server under hooks, API, health pages and metrics: what goes wrong before a handler has a request, or its
body.

What a client sends is never a fault of ours: what is not HTTP is answered 400 and counted, without a traceback; a body
is handed on as it came, packed or not; and a connection on which no whole header comes in time, or from which nothing
is read for a minute, is closed. Of more connections than a process keeps, those that wait longest for a request go.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.http import HttpProcessingError

from gateway.core.errors import BadInput
from gateway.core.event import ConnectionName
from gateway.core.happening import Observer, Refused, Trouble
from gateway.core.text import NOTHING, Text

HEADER_WITHIN_S = 15.0
"""From the opening of a connection, or from the first byte of a later request on it, to the end of a header."""

TAKEN_WITHIN_S = 60.0
"""So long may a client take nothing of an answer."""

MOST_CONNECTIONS = 4_000

_SAID_EVERY_S = 60.0

_NOT_HTTP = msgspec.json.encode(
    {
        "error": "http",
        "message": Text("请求不是合格的 HTTP 报文", "this is not a well-formed HTTP request"),
        "advice": Text(
            "检查请求行和请求头：每行不超过 8190 字节，请求头不超过 128 个，要有 Host，路径与参数须经百分号编码",
            "look at the request line and the headers: lines of at most 8190 bytes, at most 128 headers, a Host, path"
            " and query percent-encoded",
        ),
    }
)


class Unread(BadInput):
    """A request's body that was not taken; `status` is what answers it, if anybody is there to read that."""

    def __init__(self, status: int, code: str, message: Text, *, where: str = "body", advice: Text = NOTHING) -> None:
        super().__init__(code, message, where=where, advice=advice)
        self.status = status


class Unproven:
    """Bytes of bodies that are still coming in, of senders nobody knows yet: so many at most for all of them."""

    def __init__(self, most_bytes: int) -> None:
        self._left_bytes = most_bytes

    def take(self, size_bytes: int) -> None:
        """Raises Unread: 503 `crowded`."""
        if size_bytes > self._left_bytes:
            what = Text("正在接收的请求体太多", "too many bodies are coming in")
            raise Unread(503, "crowded", what, advice=_AGAIN)
        self._left_bytes -= size_bytes

    def give(self, size_bytes: int) -> None:
        self._left_bytes += size_bytes


async def read_body(
    request: web.Request, *, limit_bytes: int, within_s: float, unproven: Unproven | None = None
) -> bytes:
    """The raw body. Raises Unread: 413 `too_large`, 415 `encoding`, 408 `slow`, 400 `hung_up`, 503 `crowded`.

    A compressed one is refused unread: what is signed are the bytes, and a bomb stays packed.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        what = Text("不接受压缩的请求体", "a compressed body is not taken")
        raise Unread(415, "encoding", what, where="headers", advice=Text("不压缩直接发送", "send it as it is"))
    if request.content_length is not None and request.content_length > limit_bytes:
        raise _too_large(limit_bytes)
    chunks, size, taken = [], 0, 0
    try:
        async with asyncio.timeout(within_s):
            async for chunk in request.content.iter_chunked(65536):
                size += len(chunk)
                if size > limit_bytes:
                    raise _too_large(limit_bytes)
                if unproven is not None:
                    unproven.take(len(chunk))
                    taken += len(chunk)
                chunks.append(chunk)
    except TimeoutError as error:
        what = Text(f"请求体没有在 {within_s:g} 秒内到齐", f"the body did not arrive within {within_s:g} s")
        raise Unread(408, "slow", what, advice=_AGAIN) from error
    except OSError as error:
        what = Text("请求体没有发完，连接已断开", "the connection ended within the body")
        raise Unread(400, "hung_up", what, advice=_AGAIN) from error
    finally:
        if unproven is not None:
            unproven.give(taken)
    return b"".join(chunks)


def most_connections() -> int:
    """How many connections a process keeps: half of the files it may open (`ulimit -n`), at most 4,000.

    The other half is for its database, its brokers and its targets: whoever opens connections to us must not cut us off
    from them.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if files == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, files // 2)


_AGAIN = Text("重新发送", "send it again")


def _too_large(limit_bytes: int) -> Unread:
    what = Text(f"请求体超过 {limit_bytes} 字节", f"the body is over {limit_bytes} bytes")
    return Unread(413, "too_large", what, advice=Text("拆分后发送", "split it and send the parts"))


class Listener(web.AppRunner):
    """Runs `application` on the sites that are made of it. `observe` is told who was turned away before a handler."""

    def __init__(
        self,
        application: web.Application,
        *,
        observe: Observer,
        stop_within_s: float = 60.0,
        header_within_s: float = HEADER_WITHIN_S,
        taken_within_s: float = TAKEN_WITHIN_S,
        most: int | None = None,
    ) -> None:
        # Unpacked by aiohttp, a body would be refused in its words or be a bomb before a handler has seen the headers.
        super().__init__(application, access_log=None, shutdown_timeout=stop_within_s, auto_decompress=False)
        self._observe = observe
        self._limits = _Limits(header_within_s, taken_within_s, most_connections() if most is None else most)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made, observe=self._observe, limits=self._limits, options=self._kwargs)


class _Limits(msgspec.Struct, frozen=True):
    header_within_s: float
    taken_within_s: float
    most: int


class _Server(web.Server):
    def __init__(self, made: web.Server, *, observe: Observer, limits: _Limits, options: dict[str, Any]) -> None:
        super().__init__(_answering(made.request_handler), request_factory=made.request_factory)
        self._options = options
        self.observe = observe
        self.limits = limits
        self._waiting: dict[_Connection, None] = {}
        """Those without a request, that which has been so longest first."""
        self._busy: set[_Connection] = set()
        self._said_at = -_SAID_EVERY_S

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._options)

    def enter(self, connection: _Connection) -> None:
        """Keep `connection`, in the place of one that waits if need be; where none does, cut it off."""
        if len(self._waiting) + len(self._busy) >= self.limits.most:
            if not self._waiting:
                self._turn_away(connection)
                return
            longest = next(iter(self._waiting))
            self.leave(longest)
            longest.cut()
        self._waiting[connection] = None

    def begin(self, connection: _Connection) -> None:
        if connection in self._waiting:
            del self._waiting[connection]
            self._busy.add(connection)

    def end(self, connection: _Connection) -> None:
        if connection in self._busy:
            self._busy.remove(connection)
            self._waiting[connection] = None

    def leave(self, connection: _Connection) -> None:
        self._waiting.pop(connection, None)
        self._busy.discard(connection)

    def _turn_away(self, connection: _Connection) -> None:
        happened: list[Refused | Trouble] = [Refused(ConnectionName("unknown"), "crowded")]
        now = time.monotonic()
        if now - self._said_at >= _SAID_EVERY_S:
            self._said_at = now
            what = (
                f"{self.limits.most} connections have a request under way: no more are taken (`ulimit -n` bounds them)"
            )
            happened.append(Trouble("http", what))
        self.observe(happened)
        connection.cut()


def _answering(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """`handler`, with JSON where aiohttp would say no in a line of plain English."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            return _turned_away(request, error)

    return handle


def _turned_away(request: web.BaseRequest, error: web.HTTPException) -> web.Response:
    headers: dict[str, str] = {}
    match error:
        case web.HTTPNotFound():
            code, where = "not_found", "path"
            message = Text("没有这个路径", "there is no such path")
            advice = Text(
                "API 在 /api/v1（见 /api/v1/openapi.json），推送发往 /hooks/<连接>",
                "the API is at /api/v1 (see /api/v1/openapi.json), pushes go to /hooks/<connection>",
            )
        case web.HTTPMethodNotAllowed():
            methods = ", ".join(sorted(error.allowed_methods))
            code, where, headers = "method", "method", {"Allow": methods}
            message = Text(f"此路径不接受 {request.method}", f"{request.method} is not for this path")
            advice = Text(f"改用 {methods}", f"use {methods}")
        case web.HTTPExpectationFailed():
            code, where = "expect", "headers.Expect"
            message = Text("不支持这个 Expect", "this Expect is not supported")
            advice = Text("只可写 100-continue，或不带", "write 100-continue, or leave it out")
        case _:
            code, where = "http", ""
            message = Text("请求无法接受", "the request cannot be taken")
            advice = Text(f"见 HTTP 状态 {error.status}", f"see HTTP status {error.status}")
    body = msgspec.json.encode({"error": code, "message": message, "where": where, "advice": advice})
    return web.Response(status=error.status, body=body, content_type="application/json", headers=headers)


class _Connection(web.RequestHandler):
    """Idle between requests it is closed by aiohttp's own keep-alive limit."""

    __slots__ = ("_begun", "_header_timer", "_reader_timer", "_server")

    def __init__(self, server: _Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._header_timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None
        self._begun = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._await_header()
        self._server.enter(self)

    def data_received(self, data: bytes) -> None:
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            self._begun = False
            self._forget_header()
            self._server.begin(self)
        elif data.strip(b"\r\n") and self._waiter is not None and not self._waiter.done():
            # No handler is at work, so this is no body: a header has begun. Empty lines before one do not count (RFC
            # 9112, section 2.2).
            self._begun = True
            if self._header_timer is None:
                self._await_header()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._forget_header()
        self._forget_reader()
        self._server.leave(self)
        super().connection_lost(exc)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        finished = await super().finish_response(request, resp, start_time)
        if not self._messages:
            self._server.end(self)
        return finished

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.transport is not None:
            self._await_reader(self.transport)

    def resume_writing(self) -> None:
        self._forget_reader()
        super().resume_writing()

    def cut(self) -> None:
        """Close at once: `force_close` alone waits for what the client has not read yet, which may be for ever."""
        transport = self.transport
        self.force_close()
        if transport is not None:
            transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        self._server.observe([Refused(ConnectionName("unknown"), "http")])
        response = web.Response(status=400, body=_NOT_HTTP, content_type="application/json")
        response.force_close()
        return response

    def _await_header(self) -> None:
        self._header_timer = self._loop.call_later(self._server.limits.header_within_s, self._too_late)

    def _forget_header(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _too_late(self) -> None:
        self._header_timer = None
        if self._begun:
            self._server.observe([Refused(ConnectionName("unknown"), "slow")])
        self.cut()

    def _await_reader(self, transport: asyncio.Transport) -> None:
        self._reader_timer = self._loop.call_later(
            self._server.limits.taken_within_s, self._look_at_reader, transport, transport.get_write_buffer_size()
        )

    def _forget_reader(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    def _look_at_reader(self, transport: asyncio.Transport, unread_before: int) -> None:
        self._reader_timer = None
        if transport.get_write_buffer_size() < unread_before:
            self._await_reader(transport)
            return
        self._server.observe([Refused(ConnectionName("unknown"), "slow")])
        self.force_close()
        transport.abort()
