"""Serves the table of routes under /api/v1: who asks, what is asked in its struct, and every answer as JSON."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg
import msgspec
from aiohttp import web

from gateway.api.auth import Auth
from gateway.api.connections import Connections
from gateway.api.dead_letters import DeadLetters
from gateway.api.deliveries import Deliveries
from gateway.api.desk import Desk
from gateway.api.errors import SEE, ApiError, not_found, off_list, unread, wrong
from gateway.api.gates import Gates
from gateway.api.notices import Notices
from gateway.api.openapi import document
from gateway.api.orders import Orders
from gateway.api.redrives import Redrives
from gateway.api.routing import Call, Download, Route
from gateway.api.shape import check_instants, check_texts, misfit, no_nul, one_of
from gateway.api.skus import Skus
from gateway.api.stock import Stock
from gateway.api.views import WorkerGate
from gateway.api.work import Work
from gateway.core.errors import Unavailable
from gateway.core.event import ConnectionName, Event
from gateway.core.happening import Observer, Trouble
from gateway.core.order import Facts
from gateway.core.text import Text
from gateway.listener import Unread, read_body
from gateway.settings import Connection
from gateway.store.reparse import Reads
from gateway.store.sql import AWAY, COLLIDED, CannotRead, Names

PREFIX = "/api/v1"
_BODY_LIMIT_BYTES = 4 * 1024 * 1024
_BODY_WITHIN_S = 15.0
_NUMBERS = {"seq": r"{seq:\d{1,4}}", "n": r"{n:\d{1,6}}", "id": r"{id:\d{1,18}}"}


class Api:
    """The API of one worker; reads and writes the one database, so any worker answers for all."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        names: Names,
        targets: Mapping[ConnectionName, Collection[str]],
        connections: Mapping[ConnectionName, Connection],
        decoders: Mapping[ConnectionName, Callable[[Event], Facts]],
        reads: Reads,
        desk: Desk,
        own_gates: Callable[[], Sequence[WorkerGate]],
        observe: Observer,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        version: str,
    ) -> None:
        self._auth = Auth(pool, clock=clock)
        self._observe = observe
        self.routes: tuple[Route, ...] = (
            *Work(pool, desk=desk, now=now).routes(),
            *Orders(pool, names=names, reads=reads, desk=desk, now=now).routes(),
            *Deliveries(pool, desk=desk, now=now).routes(),
            *Redrives(pool, names=names, desk=desk).routes(),
            *DeadLetters(pool, decoders=decoders, prefixes=desk.prefixes, renamed=desk.renamed).routes(),
            *Gates(pool, names=names, targets=targets, own=own_gates).routes(),
            *Connections(pool, names=names, connections=connections, now=now, observe=observe).routes(),
            *Stock(pool, warehouses=_warehouses(connections), now=now).routes(),
            *Notices(pool, watched=desk.watched).routes(),
            *Skus(pool, names=names, connections=connections, now=now, renamed=desk.renamed).routes(),
        )
        self._document = msgspec.json.encode(document(self.routes, version=version))

    def application(self) -> web.Application:
        """To be mounted at `PREFIX`."""
        application = web.Application(middlewares=[self._contain])
        application.router.add_get("/openapi.json", self._openapi)
        for route in self.routes:
            path = route.path
            for name, pattern in _NUMBERS.items():
                path = path.replace(f"{{{name}}}", pattern)
            application.router.add_route(route.method, path, self._handler(route))
        return application

    async def _openapi(self, _: web.Request) -> web.Response:
        return web.Response(body=self._document, content_type="application/json")

    def _handler(self, route: Route) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            actor = await self._auth.actor(request)
            call = Call(
                actor=actor,
                path={key: no_nul(value, f"path.{key}") for key, value in request.match_info.items()},
                query=_query(request, route),
                body=None if route.body is None else _decoded(await _read(request), route),
            )
            answer = await route.handler(call)
            if isinstance(answer, Download):
                return web.Response(
                    body=answer.content,
                    content_type=answer.media_type,
                    headers={
                        "Cache-Control": "no-store",
                        "Content-Disposition": f'attachment; filename="{answer.name}"',
                        **({"X-Ordergate-More": "1"} if answer.more else {}),
                    },
                )
            return web.Response(
                body=msgspec.json.encode(answer), content_type="application/json", headers={"Cache-Control": "no-store"}
            )

        return handle

    @web.middleware
    async def _contain(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        """Every answer is JSON, whatever happened."""
        try:
            response: web.StreamResponse = await handler(request)
            return response
        except ApiError as error:
            return error.response()
        except web.HTTPMethodNotAllowed as error:
            methods = ", ".join(sorted(error.allowed_methods))
            return ApiError(
                405,
                "method",
                Text(f"此路径不接受 {request.method}", f"{request.method} is not for this path"),
                where="method",
                advice=Text(f"改用 {methods}", f"use {methods}"),
                headers={"Allow": methods},
            ).response()
        except web.HTTPNotFound:
            return not_found(
                Text(f"没有 {request.path}", f"there is no {request.path}"),
                "path",
                Text(f"{PREFIX}/openapi.json 列出全部路径", f"{PREFIX}/openapi.json lists what is"),
            ).response()
        except (*AWAY, Unavailable, asyncpg.QueryCanceledError) as error:
            self._observe([Trouble("api", f"PostgreSQL is away: {type(error).__name__}")])
            return ApiError(
                503,
                "unavailable",
                Text("数据库没有应答", "the database does not answer"),
                advice=Text("稍后重试", "try again"),
                headers={"Retry-After": "2"},
            ).response()
        except COLLIDED as error:
            self._observe([Trouble("api", f"{request.method} {_pattern(request)}: {type(error).__name__}")])
            return ApiError(
                503,
                "unavailable",
                Text("同时有别的改动，两者相撞，这一次没有做成", "it met another change of the same, and was not done"),
                advice=Text("再试一次", "try again"),
                headers={"Retry-After": "1"},
            ).response()
        except CannotRead as error:
            return unread(Text("所涉的一行", "a row that this needs"), error).response()
        except asyncpg.DataError:
            return wrong("request", Text("有无法存储的值", "holds a value that cannot be stored")).response()
        except asyncpg.PostgresError as error:
            self._observe([Trouble("api", f"{request.method} {_pattern(request)}: {type(error).__name__}")])
            return _failed().response()
        except web.HTTPException:
            raise
        except Exception as error:  # a supervisor's catch-all: the worker goes on, the log has the reason
            self._observe([Trouble("api", f"{request.method} {_pattern(request)}: {error!r}")])
            return _failed().response()


def _failed() -> ApiError:
    return ApiError(
        500,
        "internal",
        Text("网关内部出错", "this failed inside the gateway"),
        advice=Text("见网关日志", "see its log"),
    )


def _pattern(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return "" if resource is None else resource.canonical


def _query(request: web.Request, route: Route) -> Any:
    if route.query is None:
        return None
    given = dict(request.query)
    check_texts(given, "query")
    try:
        query = msgspec.convert(given, route.query, strict=False)
    except msgspec.ValidationError as error:
        if str(error).endswith("at `$.after`"):
            raise off_list() from error
        raise misfit(error, "query", one_of(route.query, error) or SEE) from error
    check_instants(query, "query")
    return query


async def _read(request: web.Request) -> bytes:
    try:
        return await read_body(request, limit_bytes=_BODY_LIMIT_BYTES, within_s=_BODY_WITHIN_S)
    except Unread as error:
        raise ApiError(error.status, error.code, error.message, where=error.where, advice=error.advice) from error


def _decoded(body: bytes, route: Route) -> Any:
    if not body and not route.body_required:
        body = b"{}"
    try:
        decoded = msgspec.json.decode(body, type=route.body)
        # As it came: the structs hold no fewer texts, but also bytes and instants.
        texts = msgspec.json.decode(body) if b"\\u0000" in body else {}
    except msgspec.ValidationError as error:
        raise misfit(error, "$") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(
            400,
            "json",
            Text("请求体不是 JSON", "the body is not JSON"),
            where="body",
            advice=Text(
                "发送 JSON 对象，并带上 `Content-Type: application/json`",
                "send a JSON object with `Content-Type: application/json`",
            ),
        ) from error
    if route.payload is not None:
        texts.pop(route.payload, None)
    check_texts(texts, "$")
    check_instants(decoded, "$")
    return decoded


def _warehouses(connections: Mapping[ConnectionName, Connection]) -> frozenset[str]:
    return frozenset(place.warehouse for connection in connections.values() for place in connection.route)
