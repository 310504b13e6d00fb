"""WeCom as notices see it: group robots and an application that keep their limits, their errors inside HTTP 200.

In a process of its own: ``python -m adapters.wecom.fake --port 8703 --key KEY``. Over HTTP, beside what every fake has:
``GET /told`` (every message with its mentions), ``POST /robots`` (``{"removed": ["KEY"]}``: the keys that are no good).
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any

import msgspec
from aiohttp import web

from gateway.testing.fakes import Effect, FakeServer, Faults, run_fake

PER_MINUTE = 20
_TEXT_BYTES = 2048
_TOKEN_S = 7200


class Told(msgspec.Struct, frozen=True):
    """One message that people see. `outlet`: the robot's key, or ``application``; `at`: epoch, s."""

    at: float
    outlet: str
    text: str
    mentioned: tuple[str, ...] = ()
    mobiles: tuple[str, ...] = ()
    to: tuple[str, ...] = ()


class Company(msgspec.Struct, frozen=True, kw_only=True):
    """A company with one application, and the userids of its members."""

    corp_id: str
    secret: str
    agent_id: int
    members: frozenset[str]
    from_good_address: bool = True


class FakeWecom(FakeServer):
    """Robots by their keys. `clock` is what a minute is measured by."""

    def __init__(
        self,
        *,
        keys: Collection[str] = (),
        company: Company | None = None,
        clock: Callable[[], float] = time.time,
        port: int = 0,
        faults: Faults | None = None,
    ) -> None:
        super().__init__(port=port, faults=faults)
        self.told: list[Told] = []
        self.keys = set(keys)
        self.company = company
        self.tokens: dict[str, float] = {}
        """Access tokens that are good, and until when."""
        self._clock = clock
        self._minute: dict[str, deque[float]] = {}
        self._said: dict[bytes, float] = {}
        """What the application was asked to say, and until when the same request is dropped."""

    async def serve(self, request: web.BaseRequest, body: bytes) -> web.Response:
        query = request.query
        if request.path == "/cgi-bin/webhook/send":
            return await self._robot(query.get("key", ""), body)
        if request.path == "/cgi-bin/gettoken":
            return self._token_of(query.get("corpid", ""), query.get("corpsecret", ""))
        if request.path == "/cgi-bin/message/send":
            return await self._application(query.get("access_token", ""), body)
        return web.Response(status=404)

    def apply(self, effect: Effect) -> None:
        """Messages are kept in `told`."""

    def error_in_200(self) -> web.Response:
        return _said(-1, "system busy")

    def throttled_in_200(self) -> web.Response:
        return _said(45009, "api freq out of limit")

    async def admin(self, request: web.BaseRequest, body: bytes) -> web.Response | None:
        if request.path == "/told":
            return web.Response(body=msgspec.json.encode(self.told), content_type="application/json")
        if request.path == "/robots" and request.method == "POST":
            self.keys -= set(msgspec.json.decode(body, type=dict[str, list[str]])["removed"])
            return web.Response(body=b"{}", content_type="application/json")
        return None

    async def _robot(self, key: str, body: bytes) -> web.Response:
        if key not in self.keys:
            self.books.refused += 1
            return _said(93000, "invalid webhook url, hint: [1], from ip: 127.0.0.1")
        message = _object(body)
        if message.get("msgtype") != "text":
            return _said(40008, "invalid message type")
        return await self._take(key, body, message, to=())

    def _token_of(self, corp_id: str, secret: str) -> web.Response:
        company = self.company
        if company is None or corp_id != company.corp_id:
            return _said(40013, "invalid corpid")
        if secret != company.secret:
            return _said(40001, "invalid credential")
        token = f"token-{len(self.tokens) + 1:04}"
        self.tokens[token] = self._clock() + _TOKEN_S
        return _said(0, "ok", access_token=token, expires_in=_TOKEN_S)

    async def _application(self, token: str, body: bytes) -> web.Response:
        company = self.company
        if company is None or token not in self.tokens:
            return _said(40014, "invalid access_token")
        if self.tokens[token] <= self._clock():
            return _said(42001, "access_token expired")
        if not company.from_good_address:
            return _said(60020, "not allow to access from your ip")
        message = _object(body)
        if message.get("agentid") != company.agent_id:
            return _said(301002, "not allow operate another agent with this accesstoken")
        named = str(message.get("touser", "")).split("|")
        # "@all" means all where nothing stands beside it; among others it is a userid that nobody has.
        there = [userid for userid in named if userid in company.members or named == ["@all"]]
        missed = [userid for userid in named if userid not in there]
        if not there:
            return _said(81013, "user & party & tag all invalid")
        return await self._take("application", body, message, to=there, invaliduser="|".join(missed))

    async def _take(
        self, outlet: str, body: bytes, message: dict[str, Any], *, to: Iterable[str], **more: Any
    ) -> web.Response:
        text = message.get("text")
        if not isinstance(text, dict) or not text.get("content"):
            return _said(44004, "text content is empty")
        content = str(text["content"])
        if len(content.encode()) > _TEXT_BYTES:
            return _said(40058, f"text.content exceed max length {_TEXT_BYTES}")

        def take() -> web.Response:
            now = self._clock()
            minute = self._minute.setdefault(outlet, deque())
            while minute and minute[0] <= now - 60:
                minute.popleft()
            if len(minute) >= PER_MINUTE:
                self._count("over_the_rate")
                return self.throttled_in_200()
            minute.append(now)
            if message.get("enable_duplicate_check") == 1:
                if self._said.get(body, 0.0) > now:
                    return _said(0, "ok", **more)
                self._said[body] = now + message["duplicate_check_interval"]
            self.told.append(
                Told(
                    at=now,
                    outlet=outlet,
                    text=content,
                    mentioned=tuple(text.get("mentioned_list", ())),
                    mobiles=tuple(text.get("mentioned_mobile_list", ())),
                    to=tuple(to),
                )
            )
            self.commit(Effect(outlet, "message", now))
            return _said(0, "ok", **more)

        return await self.perform(outlet, "message", take)


def _said(errcode: int, errmsg: str, **more: Any) -> web.Response:
    body = msgspec.json.encode({"errcode": errcode, "errmsg": errmsg, **more})
    return web.Response(body=body, content_type="application/json")


def _object(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


def main() -> None:
    parser = argparse.ArgumentParser(prog="adapters.wecom.fake", description=__doc__)
    parser.add_argument("--port", type=int, default=8703)
    parser.add_argument("--key", action="append", default=[], help="a robot's key; may be given several times")
    args = parser.parse_args()
    run_fake(FakeWecom(keys=args.key or ["fake-robot-key"], port=args.port))


if __name__ == "__main__":
    main()
