"""The HTTP way in: ``POST /hooks/<connection>``.

Reads the raw body within its limits, has the adapter prove the sender, makes the event durable, and answers in the
sender's own dialect. What a proven sender got wrong is kept as a dead letter and told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec
from aiohttp import web

from gateway.core.errors import BadInput, BadSignature, OrdergateError, Unavailable
from gateway.core.event import ConnectionName
from gateway.core.fault import raised
from gateway.core.happening import Observer, Refused, Trouble
from gateway.core.sound import flaw_of, storable
from gateway.core.text import Text
from gateway.ingest.inbound import Inbound
from gateway.listener import Unproven, Unread, read_body
from gateway.sdk.adapter import UNPROVEN, Push, Reply, Source
from gateway.sdk.cancelled import is_a_stop

_BODY_WITHIN_S = 15.0
_UNPROVEN_BYTES = 64 * 1024 * 1024
_RETRY_AFTER_S = 2.0
_NO_REPLY = msgspec.json.encode(
    {"error": "adapter", "message": Text("适配器出错，请重发", "the adapter failed: send it again")}
)
_BROKEN = Text("适配器出错，没有接收", "the adapter failed: nothing was taken")


class Hooks:
    """Request handler for all connections with a source."""

    def __init__(
        self,
        *,
        sources: Mapping[ConnectionName, Source],
        inbound: Inbound,
        body_limit_bytes: int,
        now: Callable[[], datetime],
        observe: Observer,
        unproven_bytes: int = _UNPROVEN_BYTES,
    ) -> None:
        self._sources = sources
        self._inbound = inbound
        self._limit = body_limit_bytes
        self._unproven = Unproven(unproven_bytes)
        self._now = now
        self._observe = observe

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/hooks/{connection}", self.receive)]

    async def receive(self, request: web.Request) -> web.Response:
        """Answers 2xx only for an event that is durable."""
        name = ConnectionName(request.match_info["connection"])
        source = self._sources.get(name)
        if source is None:
            # The same words as for a bad signature: nobody learns which shops exist.
            self._observe([Refused(ConnectionName("unknown"), "signature")])
            return _response(UNPROVEN)
        try:
            body = await read_body(request, limit_bytes=self._limit, within_s=_BODY_WITHIN_S, unproven=self._unproven)
            push = Push(
                method=request.method,
                query=dict(request.query),
                headers={key.lower(): value for key, value in request.headers.items()},
                body=body,
                received_at=self._now(),
            )
            event = source.admit(push)
            if flaw := flaw_of(event, name):
                self._observe([Refused(name, "adapter"), Trouble("adapter", f"{name}: admit gave {flaw}")])
                return self._answer(name, source, OrdergateError(_BROKEN))
            event = storable(event, push.received_at)
            await self._inbound.put(event)
        except Unread as error:
            self._observe([Refused(name, error.code)])
            later = _RETRY_AFTER_S if error.status == 503 else None
            return _response(Reply(error.status, _problem(error)), retry_after_s=later, close=True)
        except BadSignature as error:
            self._observe([Refused(name, "signature")])
            return self._answer(name, source, error)
        except BadInput as error:
            # A proven sender, and so little sense that not even an event can be made of it.
            self._observe([Refused(name, error.code)])
            return self._answer(name, source, error)
        except Unavailable as error:
            self._observe([Refused(name, "unavailable")])
            return self._answer(name, source, error, retry_after_s=error.retry_after_s)
        except BaseException as error:  # a broken adapter: nothing was taken; its words may hold buyer data
            if is_a_stop(error):
                raise
            self._observe([Refused(name, "adapter"), Trouble("adapter", f"{name}: admit failed with {raised(error)}")])
            return self._answer(name, source, error if isinstance(error, OrdergateError) else OrdergateError(_BROKEN))
        try:
            source.decode(event)
        except BadInput as error:
            return self._answer(name, source, error)
        except BaseException as error:  # a broken adapter: the event is durable, intake sets it aside
            if is_a_stop(error):
                raise
            self._observe([Trouble("adapter", f"{name}: decode failed with {raised(error)}")])
        return self._answer(name, source, None)

    def _answer(
        self, name: ConnectionName, source: Source, error: OrdergateError | None, *, retry_after_s: float | None = None
    ) -> web.Response:
        """In the sender's dialect. Where the adapter has no answer it is told to send again: a repeat does no harm."""
        try:
            reply = source.reply(error)
            if not (flaw := _flaw_of(reply)):
                return _response(reply, retry_after_s=retry_after_s)
            how = f"reply gave {flaw}"
        except BaseException as broken:  # its words may hold buyer data
            if is_a_stop(broken):
                raise
            how = f"reply failed with {raised(broken)}"
        self._observe([Trouble("adapter", f"{name}: {how}")])
        return _response(Reply(503, _NO_REPLY), retry_after_s=retry_after_s or _RETRY_AFTER_S)


def _flaw_of(reply: object) -> str:
    """Why `reply` cannot be sent, which would show only when nobody can answer any more; empty for one that can."""
    if not isinstance(reply, Reply):
        return f"an answer of {type(reply).__name__}"
    if not 200 <= int(reply.status) <= 599:
        return "a status that is none"
    if not isinstance(reply.content_type, str):
        return f"a content type of {type(reply.content_type).__name__}"  # type: ignore[unreachable]
    if not reply.content_type.isprintable():
        return "a content type that is no header"
    sendable = reply.body is None or isinstance(reply.body, bytes | bytearray | memoryview | str)
    return "" if sendable else f"a body of {type(reply.body).__name__}"


def _problem(error: BadInput) -> bytes:
    return msgspec.json.encode({"error": error.code, "message": error.message, "advice": error.advice})


def _response(reply: Reply, *, retry_after_s: float | None = None, close: bool = False) -> web.Response:
    # As a header: the argument `content_type` takes no charset, which XML dialects send.
    response = web.Response(status=reply.status, body=reply.body, headers={"Content-Type": reply.content_type})
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(max(1, round(retry_after_s)))
    if close:
        response.force_close()
    return response
