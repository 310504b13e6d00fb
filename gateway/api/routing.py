"""One line per route: what it is called, what it takes, what it answers, and who handles it.

The table is what is served and what the OpenAPI document is made of, so neither can forget a route.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

READ_ERRORS = (401, 422, 503)


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One authenticated request: who acts, the parts of the path, and query and body in their structs."""

    actor: str
    path: dict[str, str]
    query: Any
    body: Any


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is a file. `more`: it was cut off at its limit."""

    name: str
    media_type: str
    content: bytes
    more: bool = False


Handler = Callable[[Call], Awaitable[Any]]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """`errors` are the statuses it may answer besides 200. `answer` is a struct, or the media type of a `Download`.

    `payload`: the field of the body in which somebody else's message is handed in as it is, NUL included.
    """

    method: str
    path: str
    handler: Handler
    answer: Any
    zh: str
    en: str
    query: Any = None
    body: Any = None
    body_required: bool = True
    payload: str | None = None
    errors: tuple[int, ...] = READ_ERRORS
