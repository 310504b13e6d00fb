"""The HTTP way in: ``POST /hooks/<connection>``.

Reads the raw body within its limits, has the adapter prove the sender, makes the event durable, and answers in the
sender's own dialect. What a proven sender got wrong is kept as a dead letter and told at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec
from aiohttp import web

from gateway.core.errors import BadInput, BadSignature, OrdergateError, TooLarge, Unavailable
from gateway.core.event import ConnectionName
from gateway.core.happening import Observer, Refused, Trouble
from gateway.core.text import Text
from gateway.ingest.inbound import Inbound
from gateway.sdk.adapter import UNPROVEN, Push, Reply, Source

_BODY_WITHIN_S = 15.0


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
    ) -> None:
        self._sources = sources
        self._inbound = inbound
        self._limit = body_limit_bytes
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
            body = await self._body(request)
            push = Push(
                method=request.method,
                query=dict(request.query),
                headers={key.lower(): value for key, value in request.headers.items()},
                body=body,
                received_at=self._now(),
            )
            event = source.admit(push)
            await self._inbound.put(event)
        except (TooLarge, _Encoded, _Slow, _HungUp) as error:
            self._observe([Refused(name, error.code)])
            # Nobody is there to read the 400.
            status = {"too_large": 413, "encoding": 415, "slow": 408, "hung_up": 400}[error.code]
            return _response(Reply(status, _problem(error.code, error.message, error.advice)), close=True)
        except BadSignature as error:
            self._observe([Refused(name, "signature")])
            return _response(source.reply(error))
        except BadInput as error:
            # A proven sender, and so little sense that not even an event can be made of it.
            self._observe([Refused(name, error.code)])
            return _response(source.reply(error))
        except Unavailable as error:
            self._observe([Refused(name, "unavailable")])
            return _response(source.reply(error), retry_after_s=error.retry_after_s)
        except OrdergateError as error:
            self._observe(
                [Refused(name, "adapter"), Trouble("adapter", f"{name}: admit failed with {type(error).__name__}")]
            )
            return _response(source.reply(error))
        try:
            source.decode(event)
        except BadInput as error:
            return _response(source.reply(error))
        except Exception as error:  # a broken adapter (F110): the event is durable, intake sets it aside
            self._observe([Trouble("adapter", f"{name}: decode failed with {type(error).__name__}")])
        return _response(source.reply(None))

    async def _body(self, request: web.Request) -> bytes:
        """The raw body. A compressed one is refused unread: what is signed are the bytes, and a bomb stays packed."""
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise _Encoded()
        if request.content_length is not None and request.content_length > self._limit:
            raise TooLarge(self._limit)
        chunks, size = [], 0
        try:
            async with asyncio.timeout(_BODY_WITHIN_S):
                async for chunk in request.content.iter_chunked(65536):
                    size += len(chunk)
                    if size > self._limit:
                        raise TooLarge(self._limit)
                    chunks.append(chunk)
        except TimeoutError as error:
            raise _Slow() from error
        except OSError as error:
            raise _HungUp() from error
        return b"".join(chunks)


class _Encoded(BadInput):
    def __init__(self) -> None:
        super().__init__(
            "encoding",
            Text("不接受压缩的报文", "a compressed body is not taken"),
            where="headers",
            advice=Text("不压缩直接发送", "send it as it is"),
        )


class _Slow(BadInput):
    def __init__(self) -> None:
        within = f"{_BODY_WITHIN_S:g}"
        super().__init__(
            "slow", Text(f"报文没有在 {within} 秒内到齐", f"the body did not arrive within {within} s"), where="body"
        )


class _HungUp(BadInput):
    def __init__(self) -> None:
        super().__init__(
            "hung_up", Text("报文没有发完，连接已断开", "the connection ended within the body"), where="body"
        )


def _problem(code: str, message: Text, advice: Text) -> bytes:
    return msgspec.json.encode({"error": code, "message": message, "advice": advice})


def _response(reply: Reply, *, retry_after_s: float | None = None, close: bool = False) -> web.Response:
    # As a header: the argument `content_type` takes no charset, which XML dialects send.
    response = web.Response(status=reply.status, body=reply.body, headers={"Content-Type": reply.content_type})
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(max(1, round(retry_after_s)))
    if close:
        response.force_close()
    return response
