"""One gateway's HTTP API, as the commands call it: who asks, within what time, and what a refusal says."""

from __future__ import annotations

import getpass
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlencode

from gateway.core.errors import OrdergateError
from gateway.core.text import Text, system_reason

_WITHIN_S = 30.0
_DOWNLOAD_WITHIN_S = 300.0


class RemoteError(OrdergateError):
    """The gateway said no, or did not answer; the text says what to do.

    `code` and `details` are of its answer; empty where there was none.
    """

    def __init__(self, text: str | Text, *, code: str = "", details: Any = None) -> None:
        super().__init__(text)
        self.code = code
        self.details = details


class Remote:
    """The API of one gateway."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._token = token.strip()
        # A proxy of the environment would be asked for 127.0.0.1 too.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, *path: str | int, **query: Any) -> Any:
        return self.call("GET", path, query=query)

    def post(self, *path: str | int, body: Mapping[str, Any]) -> Any:
        return self.call("POST", path, body=body)

    def download(self, *path: str | int, **query: Any) -> tuple[bytes, bool]:
        """The bytes of an answer that is a file, and whether it was cut off at its limit. Raises RemoteError."""
        content, headers = self._ask("GET", path, query=query, within_s=_DOWNLOAD_WITHIN_S)
        return content, "X-Ordergate-More" in headers

    def call(
        self,
        method: str,
        path: tuple[str | int, ...],
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
    ) -> Any:
        """The decoded answer. Raises RemoteError."""
        try:
            return json.loads(self._ask(method, path, body=body, query=query)[0])
        except ValueError as error:
            raise RemoteError(
                Text(
                    f"{self._url} 的应答不是网关的：地址对吗？", f"{self._url} answers, and is no gateway: its address?"
                )
            ) from error

    def _ask(
        self,
        method: str,
        path: tuple[str | int, ...],
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        within_s: float = _WITHIN_S,
    ) -> tuple[bytes, Message]:
        if not self._url.lower().startswith(("http://", "https://")):
            what = Text(f"地址 {self._url} 缺少 http://", f"the address {self._url} lacks http://")
            like = f"--url http://{self._url.rpartition('://')[2]}"
            raise RemoteError(Text(f"{what.zh}，写成 {like}", f"{what.en}: write {like}"))
        if not self._token:
            raise RemoteError(
                "没有令牌，请设置 ORDERGATE_TOKEN 或 --token / no token: set ORDERGATE_TOKEN or pass --token"
                " (`ordergate token replace` makes one)"
            )
        if not (self._token.isascii() and self._token.isprintable()):
            # Refused here: the header's own error would quote it.
            raise RemoteError("令牌里有多余的字符，请重新复制 / the token has characters no token has: copy it again")
        if "" in path:
            raise RemoteError(Text("单号或名称是空的", "a number or a name is empty"))
        url = f"{self._url}/api/v1/" + "/".join(quote(str(part), safe="") for part in path)
        given = {name: value for name, value in (query or {}).items() if value not in (None, False)}
        if given:
            url += "?" + urlencode({name: int(v) if v is True else v for name, v in given.items()})
        try:
            request = urllib.request.Request(
                url,
                method=method,
                data=None if body is None else json.dumps(body).encode(),
                headers={
                    "Authorization": f"Bearer {self._token}",
                    "Content-Type": "application/json",
                    # In UTF-8, which the API reads; left to itself, http.client takes no name beyond Latin-1.
                    "X-Ordergate-Actor": _user().encode().decode("latin-1"),
                },
            )
            with self._opener.open(request, timeout=within_s) as response:
                return bytes(response.read()), response.headers
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(error) from error
        except (OSError, ValueError, HTTPException) as error:
            raise self._silent(error) from error

    def _silent(self, error: Exception) -> RemoteError:
        cause = getattr(error, "reason", None) or error
        said = str(cause).strip()
        reason = system_reason(cause) if isinstance(cause, OSError) else Text(said, said)
        return RemoteError(
            Text(
                f"{self._url} 没有应答：{reason.zh}。网关在运行吗？地址用 --url 或 ORDERGATE_URL",
                f"{self._url} does not answer: {said}; is the gateway running? its address: --url or ORDERGATE_URL",
            )
        )


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this user id (a container)
        return "cli"


def _refusal(error: urllib.error.HTTPError) -> RemoteError:
    try:
        problem = json.loads(error.read(2_000_000))
        said = {language: str(problem["message"][language]) for language in ("zh", "en")}
    except (ValueError, KeyError, TypeError, OSError, HTTPException):
        return RemoteError(f"HTTP {error.code} {error.reason}: 这里不是网关 API？/ is this the gateway's address?")
    for language, what in said.items():
        if advice := (problem.get("advice") or {}).get(language):
            said[language] = f"{what} — {_CALL.sub(_command, advice)}"
    code, where = str(problem.get("error", "")), problem.get("where") or ""
    if code != "unrepaired":  # of that one it is a place in the payload
        where = _argument(where)
    elif where:
        where += ": "
    return RemoteError(Text(where + said["zh"], said["en"]), code=code, details=problem.get("details"))


def _argument(where: str) -> str:
    """What a place in the request is called on the command line; what stands in the path is named by the words."""
    place, _, name = where.partition(".")
    if place == "path" or where in ("headers.Authorization", "query", "$", "$.wanted"):
        return ""
    if place == "query":
        return f"--{name.replace('_', '-')}: "
    if given := _GIVEN.fullmatch(where):
        option = _OPTIONS.get(given[1], given[1].replace("_", "-"))
        return f"--{option} {given[2]}: " if given[2] else f"--{option}: "
    return f"{where}: " if where else ""


_GIVEN = re.compile(
    r"\$\.(?:wanted\.)?(target|source|stage|connection|number|conflict|operation|code|since|until|cap|per_s|start_in_s"
    r"|reason|reference|edit|for_s|if_attempts|keep|conflicts|body|body_base64)(?:\.(.+))?"
)
"""Where a body holds what an option has said."""
_OPTIONS = {"per_s": "rate", "start_in_s": "start-in", "for_s": "for", "conflicts": "conflict", "body_base64": "body"}

_COMMANDS = {
    "GET /orders?number=…": "`ordergate orders list --number …`",
    "GET /connections": "`ordergate connections list`",
    "GET /dead-letters": "`ordergate dead list`",
    "GET /gates": "`ordergate gates list`",
    "GET /redrives": "`ordergate redrives list`",
    "GET /work/items": "`ordergate work items`",
    # The same command as the one that was refused.
    "POST /orders/reconsider/preview": "`--dry-run`",
    "POST /redrives/preview": "`--dry-run`",
    "POST /deliveries/resolve/preview": "`--dry-run`",
    '"confirmed_absent": true': "`--confirmed-absent`",
    "keep=balance": "`--keep balance`",
    "`not_before`": "`ordergate deliveries list`",
    "/api/v1/openapi.json 中的 Content": "docs/desk.md",
    "Content in /api/v1/openapi.json": "docs/desk.md",
    "/api/v1/openapi.json": "`--help`",
}
_CALL = re.compile("(" + "|".join(map(re.escape, _COMMANDS)) + ")(?![\\w/])")


def _command(call: re.Match[str]) -> str:
    """The command or option that does the same: who types commands has no use for a path or a field of the API."""
    return _COMMANDS[call[1]]
