"""The HTTP server under hooks, API, health pages and metrics: what goes wrong before a handler has a request.

What a client sends is never a fault of ours: what is not HTTP is answered 400 and counted, without a traceback; a body
is handed on as it came, packed or not; and a connection on which no whole header comes in time is closed.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.http import HttpProcessingError

from gateway.core.event import ConnectionName
from gateway.core.happening import Observer, Refused
from gateway.core.text import Text

HEADER_WITHIN_S = 15.0
"""From the opening of a connection, or from the first byte of a later request on it, to the end of a header."""

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


class Listener(web.AppRunner):
    """Runs `application` on the sites that are made of it. `observe` is told who was turned away before a handler."""

    def __init__(
        self,
        application: web.Application,
        *,
        observe: Observer,
        stop_within_s: float = 60.0,
        header_within_s: float = HEADER_WITHIN_S,
    ) -> None:
        # Unpacked by aiohttp, a body would be refused in its words or be a bomb before a handler has seen the headers.
        super().__init__(application, access_log=None, shutdown_timeout=stop_within_s, auto_decompress=False)
        self._observe = observe
        self._header_within_s = header_within_s

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made, observe=self._observe, header_within_s=self._header_within_s, options=self._kwargs)


class _Server(web.Server):
    def __init__(self, made: web.Server, *, observe: Observer, header_within_s: float, options: dict[str, Any]) -> None:
        super().__init__(made.request_handler, request_factory=made.request_factory)
        self._options = options
        self.observe = observe
        self.header_within_s = header_within_s

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._options)


class _Connection(web.RequestHandler):
    """Idle between requests it is closed by aiohttp's own keep-alive limit."""

    __slots__ = ("_begun", "_header_timer", "_server")

    def __init__(self, server: _Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._header_timer: asyncio.TimerHandle | None = None
        self._begun = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._await_header()

    def data_received(self, data: bytes) -> None:
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            self._begun = False
            self._forget_header()
        elif data.strip(b"\r\n") and self._waiter is not None and not self._waiter.done():
            # No handler is at work, so this is no body: a header has begun. Empty lines before one do not count (RFC
            # 9112, section 2.2).
            self._begun = True
            if self._header_timer is None:
                self._await_header()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._forget_header()
        super().connection_lost(exc)

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
        self._header_timer = self._loop.call_later(self._server.header_within_s, self._too_late)

    def _forget_header(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _too_late(self) -> None:
        self._header_timer = None
        if self._begun:
            self._server.observe([Refused(ConnectionName("unknown"), "slow")])
        self.force_close()
