"""Sends notices through WeCom. Keys, secrets and tokens stand in URLs only, and in no message of ours."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

from adapters.wecom import mapping
from adapters.wecom.settings import Application, Settings
from gateway.sdk.adapter import Setup
from gateway.sdk.http import Http, HttpReply, NoAnswer, NotSent, retry_after_s
from gateway.sdk.models import Answer, Failed, OrdergateError, Text, Unauthorised
from gateway.sdk.notify import Message

_JSON = {"content-type": "application/json"}
_EARLIER_S = 300.0
"""A token is renewed so long before its end."""


class WecomNotifier:
    """One group with its robots, each an outlet with a rate of its own; or one application."""

    def __init__(self, setup: Setup, http: Http) -> None:
        settings: Settings = setup.settings
        self._http = http
        self._base = settings.base_url
        # A robot that is replaced by another is another outlet: what is held against the old one does not count.
        self._robots: Mapping[str, str] = {
            f"robot-{hashlib.sha256(key.encode()).hexdigest()[:8]}": key for key in settings.keys
        }
        self._application = settings.application
        if settings.application is None:
            self.outlets: tuple[str, ...] = tuple(self._robots)
            self.limits = mapping.ROBOT_LIMITS
        else:
            self._tokens = _Tokens(http, self._base, settings.application)
            self.outlets = (f"application-{settings.application.agent_id}",)
            self.limits = mapping.APPLICATION_LIMITS

    async def notify(self, message: Message, *, deadline_s: float) -> Answer:
        try:
            if self._application is not None:
                return await self._by_application(self._application, message, deadline_s)
            key = self._robots[message.outlet]
            reply = await self._http.post(
                f"{self._base}/cgi-bin/webhook/send?key={quote(key)}",
                mapping.robot_body(message),
                deadline_s=deadline_s,
                headers=_JSON,
            )
            return _answer(reply, key)
        except NotSent as error:
            return error.as_answer()
        except NoAnswer as error:
            return error.as_unknown()

    async def check(self, *, deadline_s: float) -> None:
        """A robot is asked for a message type that does not exist: a good key is told so, a bad one that it is bad."""
        if self._application is not None:
            refused = await self._tokens.renew(deadline_s=deadline_s)
            if refused is not None:
                said = f"{refused.code} {refused.message}"
                raise OrdergateError(Text(f"企业微信没有给出 token：{said}", f"WeCom gives no token: {said}"))
            return
        for number, key in enumerate(self._robots.values(), 1):
            url = f"{self._base}/cgi-bin/webhook/send?key={quote(key)}"
            reply = await self._http.post(url, b'{"msgtype":"none"}', deadline_s=deadline_s, headers=_JSON)
            answer = _answer(reply, key)
            if isinstance(answer, Unauthorised):
                said = f"{answer.code} {answer.message}"
                raise OrdergateError(
                    Text(f"企业微信拒绝第 {number} 个机器人：{said}", f"WeCom refuses robot number {number}: {said}")
                )
            if mapping.reply_of(reply.body) is None:
                status = f"HTTP {reply.status}"
                raise OrdergateError(Text(f"{status}：不是企业微信的接口", f"{status}: this is not WeCom's interface"))

    async def _by_application(self, application: Application, message: Message, deadline_s: float) -> Answer:
        ends_at = time.monotonic() + deadline_s
        body = mapping.application_body(message, agent_id=application.agent_id, to=application.to)
        renewed = False
        while True:
            if not self._tokens.good or renewed:
                try:
                    refused = await self._tokens.renew(deadline_s=max(0.1, ends_at - time.monotonic()))
                except NoAnswer as error:  # of the token: the message has not left
                    return Failed(error.code, f"no token: {error.message}")
                if refused is not None:
                    return refused
            token = self._tokens.token
            reply = await self._http.post(
                f"{self._base}/cgi-bin/message/send?access_token={quote(token)}",
                body,
                deadline_s=max(0.1, ends_at - time.monotonic()),
                headers=_JSON,
            )
            said = mapping.reply_of(reply.body)
            if said is None or said.errcode not in mapping.TOKEN_ENDED or renewed:
                return _answer(reply, token, application.secret)
            renewed = True  # a token may end early; a fresh one is refused for a reason


class _Tokens:
    """The access token of one application."""

    def __init__(self, http: Http, base: str, application: Application) -> None:
        self._http = http
        self._base = base
        self._application = application
        self._ends_at = 0.0
        self.token = ""

    @property
    def good(self) -> bool:
        return bool(self.token) and time.monotonic() < self._ends_at

    async def renew(self, *, deadline_s: float) -> Failed | Unauthorised | None:
        """Get a fresh token; the answer when there is none. Raises NotSent and NoAnswer."""
        application = self._application
        reply = await self._http.request(
            "GET",
            f"{self._base}/cgi-bin/gettoken?corpid={quote(application.corp_id)}&corpsecret={quote(application.secret)}",
            deadline_s=deadline_s,
        )
        said = mapping.reply_of(reply.body) if reply.status == 200 else None
        if said is not None and said.errcode == 0 and said.access_token:
            self.token = said.access_token
            self._ends_at = time.monotonic() + max(0.0, said.expires_in - _EARLIER_S)
            return None
        answer = _answer(reply, application.secret)
        if isinstance(answer, Unauthorised):
            return answer
        code = answer.code if isinstance(answer, Failed) else "no_token"
        return Failed(code, f"WeCom gives no token (HTTP {reply.status})")


def _answer(reply: HttpReply, *secrets: str) -> Answer:
    wait_s = retry_after_s(reply.retry_after, now=datetime.now(UTC))
    return mapping.answer_of(reply.status, reply.body, retry_after_s=wait_s, secrets=secrets)
