"""Connections: how they stand, pausing and resuming, and giving a shop a new authorisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import asyncpg

from gateway.api.errors import ApiError, conflict, near, not_found, wrong
from gateway.api.routing import Call, Route
from gateway.api.views import AuthoriseBody, ConnectionList, ConnectionView, Done, PauseBody, PulledView
from gateway.core.access import Token
from gateway.core.event import ConnectionName
from gateway.core.happening import ConnectionChanged, ConnectionState, Observer
from gateway.core.order import Operation
from gateway.core.text import Text
from gateway.core.words import OPERATIONS, word
from gateway.settings import Connection
from gateway.store.control import force_breaker, pause, resume
from gateway.store.credentials import authorise, read_credentials
from gateway.store.queries import ConnectionRow, list_connections
from gateway.store.sql import Names
from gateway.telemetry.logs import mask_text

_ERRORS = (400, 401, 404, 422, 503)


class Connections:
    """Handlers of ``/connections``."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        names: Names,
        connections: Mapping[ConnectionName, Connection],
        now: Callable[[], datetime],
        observe: Observer,
    ) -> None:
        self._pool = pool
        self._names = names
        self._connections = connections
        self._now = now
        self._observe = observe

    def routes(self) -> list[Route]:
        return [
            Route(
                method="GET", path="/connections", handler=self.list_connections, answer=ConnectionList,
                zh="连接状态", en="How the connections stand, and how far polled shops are read",
            ),
            Route(
                method="POST", path="/connections/{name}/pause", handler=self.pause, body=PauseBody, answer=Done,
                errors=_ERRORS, zh="暂停连接，或只暂停它的一种操作",
                en="Send nothing to a connection, and have a shop's orders wait, until it is resumed; or one operation",
            ),
            Route(
                method="POST", path="/connections/{name}/resume", handler=self.resume, body=PauseBody, answer=Done,
                errors=_ERRORS, zh="恢复连接，或它的一种操作",
                en="Send to a connection again, and decide the orders of a shop that waited; or one operation of it",
            ),
            Route(
                method="POST", path="/connections/{name}/authorise", handler=self.authorise, body=AuthoriseBody,
                answer=Done, errors=(400, 401, 404, 409, 422, 503),
                zh="重新授权店铺", en="Give a polled shop a new token; what was held for the lack of one goes on",
            ),
        ]  # fmt: skip

    async def list_connections(self, call: Call) -> ConnectionList:
        rows = await list_connections(self._pool)
        polled = [self._names.id(name) for name, one in self._connections.items() if one.pull is not None]
        credentials = await read_credentials(self._pool, polled)
        views = []
        for name, connection in self._connections.items():
            row = rows[self._names.id(name)]
            credential = credentials.get(row.connection_id)
            state, reason = _state(row, None if credential is None else credential.refused)
            views.append(
                ConnectionView(
                    name=name,
                    adapter=connection.manifest.name,
                    state=state.value,
                    reason=reason,
                    pull=None
                    if connection.pull is None
                    else PulledView(
                        owner=row.owner,
                        read_to=row.read_to,
                        reread_at=row.reread_at,
                        failing=row.failing,
                        token_ends_at=None if credential is None else credential.token.expires_at,
                        token_changed_at=None if credential is None else credential.changed_at,
                        renewal_refused=None if credential is None else credential.renewal_refused,
                    ),
                )
            )
        return ConnectionList(connections=views)

    async def pause(self, call: Call) -> Done:
        name, body = ConnectionName(call.path["name"]), call.body
        if body.operation is not None:
            return await self._hold(call, name, body.operation, paused=True)
        before = await self._state_of(name)
        if not await pause(self._pool, name, configured=self._connections, reason=body.reason, actor=call.actor):
            raise self._no_connection(name)
        await self._say(name, before)
        zh, en = "各进程在一次心跳内跟上", "every worker follows within its heartbeat"
        if self._is_shop(name):
            zh = f"新的订单从此等待；对它的回传和读取，{zh}"
            en = f"its orders wait from now on; of what it is told and of reading it, {en}"
        return Done(note=Text(f"已暂停；{zh}", f"paused; {en}"))

    async def resume(self, call: Call) -> Done:
        name, body = ConnectionName(call.path["name"]), call.body
        if body.operation is not None:
            return await self._hold(call, name, body.operation, paused=False)
        before = await self._state_of(name)
        woken = await resume(
            self._pool, name, configured=self._connections, reason=body.reason, actor=call.actor, now=self._now()
        )
        if woken is None:
            raise self._no_connection(name)
        await self._say(name, before)
        zh, en = "各进程在一次心跳内跟上", "every worker follows within its heartbeat"
        if self._is_shop(name):
            zh = f"等待的 {woken} 个订单即将重新判断；{zh}"
            en = f"decided again in a moment are the orders that waited: {woken}; {en}"
        return Done(note=Text(f"已恢复；{zh}", f"resumed; {en}"))

    async def authorise(self, call: Call) -> Done:
        name, body = ConnectionName(call.path["name"]), call.body
        connection = self._connections.get(name)
        if connection is None:
            raise self._no_connection(name)
        if connection.pull is None:
            raise conflict(
                "no_token",
                Text(
                    f"{name} 不是轮询的店铺，它的适配器不在这里保存令牌",
                    f"{name} is not a polled shop: its adapter keeps no token here",
                ),
                Text("它的密钥写在配置中", "its keys stand in its settings"),
            )
        token = _token(body)
        if token.expires_at is not None and token.expires_at <= self._now():
            raise wrong(
                "$.expires_at",
                Text("已过期", "has passed"),
                Text("向平台重新申请令牌", "ask the platform for a new token"),
            )
        held = await authorise(self._pool, self._names.id(name), token, name=name, reason=body.reason, actor=call.actor)
        if held:
            self._observe([ConnectionChanged(name, ConnectionState.READY, "authorised")])
        return Done(
            note=Text("已授权；各进程几秒内改用新令牌", "authorised; every worker uses the new token within seconds")
        )

    async def _say(self, name: ConnectionName, before: ConnectionState | None) -> None:
        state = await self._state_of(name)
        if state is not None and state is not before:
            self._observe([ConnectionChanged(name, state, "by_hand")])

    def _is_shop(self, name: ConnectionName) -> bool:
        connection = self._connections.get(name)
        return connection is not None and connection.is_shop

    async def _hold(self, call: Call, name: ConnectionName, operation: Operation, *, paused: bool) -> Done:
        """Pause one operation: its breaker is held open until somebody ends that."""
        connection = self._connections.get(name)
        if connection is None:
            raise self._no_connection(name)
        there = connection.held_operations
        if operation not in there:
            raise not_found(
                Text(f"{name} 没有操作 {operation}", f"{name} has no operation {operation}"),
                "$.operation",
                Text(f"它的操作：{'、'.join(there) or '没有'}", f"its operations: {', '.join(there) or 'none'}"),
            )
        await force_breaker(
            self._pool,
            target_id=self._names.id(name),
            operation=operation,
            forced="open" if paused else None,
            reason=call.body.reason,
            actor=call.actor,
            for_s=None,
        )
        said = word(operation, OPERATIONS)
        zh, en = ("已暂停", "paused") if paused else ("已恢复", "resumed")
        return Done(
            note=Text(
                f"{name} 的{said.zh}{zh}；各进程在一次心跳内跟上",
                f"{en} {said.en} of {name}; every worker follows within its heartbeat",
            )
        )

    def _no_connection(self, name: str) -> ApiError:
        return not_found(
            Text(f"没有连接 {name}", f"there is no connection {name}"),
            "path.name",
            near(name, self._connections) or Text("GET /connections 列出全部连接", "GET /connections lists them"),
        )

    async def _state_of(self, name: str) -> ConnectionState | None:
        """How a connection stands; None when there is none of that name."""
        connection_id = self._names.get(ConnectionName(name))
        if connection_id is None:
            return None
        row = (await list_connections(self._pool))[connection_id]
        credential = (await read_credentials(self._pool, [connection_id])).get(connection_id)
        return _state(row, None if credential is None else credential.refused)[0]


def _state(row: ConnectionRow, refused: str | None) -> tuple[ConnectionState, str]:
    if row.paused:
        return ConnectionState.PAUSED, mask_text(row.pause_reason)
    return (ConnectionState.READY, "") if refused is None else (ConnectionState.RE_AUTHORISE, mask_text(refused))


def _token(body: AuthoriseBody) -> Token:
    def utc(at: datetime | None) -> datetime | None:
        return None if at is None else at.astimezone(UTC)

    return Token(body.access_token, body.refresh_token, utc(body.expires_at), utc(body.refresh_expires_at))
