"""How the API says no: a status, a code from a closed set, what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import msgspec
from aiohttp import web

from gateway.api.views import Problem
from gateway.core.text import NOTHING, Text
from gateway.store.sql import CannotRead


class ApiError(Exception):
    """Answered as it says. `code` is from a closed set; no text quotes buyer data or a secret."""

    def __init__(
        self,
        status: int,
        code: str,
        message: Text,
        *,
        where: str = "",
        advice: Text = NOTHING,
        details: Any = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message.en)
        self.status = status
        self.problem = Problem(error=code, message=message, where=where, advice=advice, details=details)
        self.headers = headers or {}

    def response(self) -> web.Response:
        return web.Response(
            status=self.status,
            body=msgspec.json.encode(self.problem),
            content_type="application/json",
            headers=self.headers,
        )


SEE = Text("见 /api/v1/openapi.json", "see /api/v1/openapi.json")


def not_found(what: Text, where: str, advice: Text) -> ApiError:
    return ApiError(404, "not_found", what, where=where, advice=advice)


def wrong(where: str, message: Text, advice: Text = SEE) -> ApiError:
    """The request cannot be understood."""
    return ApiError(422, "invalid", message, where=where, advice=advice)


def off_list() -> ApiError:
    """The query's `after` cannot be the end of a page."""
    return wrong(
        "query.after",
        Text("不是本列表中的位置", "is not a place in this list"),
        Text(
            "它是上一页应答里的 `next`，原样传回；第一页不传",
            "it is `next` in the answer of the page before: pass it as it came, and none for the first page",
        ),
    )


def conflict(code: str, message: Text, advice: Text, *, where: str = "", details: Any = None) -> ApiError:
    """The request is understood and cannot be done as things stand."""
    return ApiError(409, code, message, where=where, advice=advice, details=details)


def unread(what: Text, error: CannotRead) -> ApiError:
    """`what` is there, and cannot be opened or is damaged; `sealed` or `unreadable`."""
    return conflict(
        error.code, Text(f"{what.zh}：{error.text.zh}", f"{what.en}: {error.text.en}"), _BRING_BACK, where="path"
    )


_BRING_BACK = Text(
    "缺密钥的，加回 encryption.keys 并重启网关；已损坏的，从备份恢复该行（docs/operations.md，更换密钥）",
    "what lacks its key: put that back into encryption.keys and restart the gateway; what is damaged: restore the row"
    " from a backup (docs/operations.md, Replace a key)",
)


def near(given: str, known: Iterable[str]) -> Text:
    """A question for the known name that is most like `given`, empty where none is."""
    found = difflib.get_close_matches(given, list(known), n=1)
    return Text(f"是不是 {found[0]}？", f"did you mean {found[0]}?") if found else NOTHING
