"""Who is asking: the administrator's bearer token, and the name of the person behind it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

import asyncpg
from aiohttp import web

from gateway.api.errors import ApiError
from gateway.core.text import Text
from gateway.store.token import token_name

_KNOWN_FOR_S = 5.0
"""A token that was replaced is good for so long after."""
_MOST_KNOWN = 1000

ACTOR_HEADER = "X-Ordergate-Actor"
_ACTOR = re.compile(r"[\w.@ -]{1,60}")


class Auth:
    """Checks tokens against the database, and remembers good ones for a few seconds."""

    def __init__(self, pool: asyncpg.Pool, *, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._clock = clock
        self._known: dict[bytes, tuple[str, float]] = {}

    async def actor(self, request: web.Request) -> str:
        """Who acts: ``admin``, or ``admin/wang`` where the caller names the person. Raises ApiError 401."""
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip()
        if kind.lower() != "bearer" or not token:
            raise _unauthorized(
                "no_token",
                Text("需要令牌", "a token is needed"),
                Text(
                    "带上请求头 `Authorization: Bearer og_…`，即管理令牌",
                    "send the header `Authorization: Bearer og_…`, the administrator token",
                ),
            )
        name = await self._name(token)
        if name is None:
            raise _unauthorized(
                "bad_token",
                Text("令牌不存在或已被更换", "this token is unknown or has been replaced"),
                Text("用 `ordergate token replace` 生成新令牌", "`ordergate token replace` makes a new one"),
            )
        person = request.headers.get(ACTOR_HEADER, "")
        return f"{name}/{person}" if _ACTOR.fullmatch(person) else name

    async def _name(self, token: str) -> str | None:
        key, now = hashlib.sha256(token.encode("utf-8", "replace")).digest(), self._clock()
        known = self._known.get(key)
        if known is not None and now < known[1]:
            return known[0]
        name = await token_name(self._pool, token.encode("utf-8", "replace").decode())
        if name is None:
            self._known.pop(key, None)
            return None
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[key] = (name, now + _KNOWN_FOR_S)
        return name


def _unauthorized(code: str, message: Text, advice: Text) -> ApiError:
    return ApiError(
        401,
        code,
        message,
        where="headers.Authorization",
        advice=advice,
        headers={"WWW-Authenticate": 'Bearer realm="ordergate"'},
    )
