"""Renewing a shop's authorisation. How long tokens live depends on the app: `expires_in` counts."""

from __future__ import annotations

from datetime import datetime, timedelta
from urllib.parse import urlencode

import msgspec

from adapters.taobao.errors import ErrorResponse, judge, judge_lack, judge_status
from adapters.taobao.settings import Settings
from adapters.taobao.wire import FORM
from gateway.sdk.adapter import Setup
from gateway.sdk.http import HttpReply, NoAnswer, NotSent
from gateway.sdk.models import Failed, Throttled, Token, Unauthorised
from gateway.sdk.pull import Access


class TaobaoAuthoriser:
    """Trades a refresh token for a new pair at `token_url` (OAuth 2, RFC 6749 section 6)."""

    def __init__(self, setup: Setup, access: Access) -> None:
        self._settings: Settings = setup.settings
        self._now = setup.now
        self._http = access.http

    async def refresh(self, token: Token, *, deadline_s: float) -> Token | Failed | Throttled | Unauthorised:
        """The token that replaces `token`.

        Failed after a request that got no answer: whether the refresh token was used up by it, only the next try tells.
        Failed, too, after a refusal that is no word on the authorisation: were it over, every request would say so.
        """
        if not token.refresh:
            return Unauthorised("no_refresh_token", "this app renews nothing: authorise the shop again")
        form = {
            "grant_type": "refresh_token",
            "client_id": self._settings.app_key,
            "client_secret": self._settings.app_secret,
            "refresh_token": token.refresh,
        }
        try:
            reply = await self._http.post(
                self._settings.token_url, urlencode(form).encode(), deadline_s=deadline_s, headers=FORM
            )
        except (NotSent, NoAnswer) as error:
            return judge_lack(error).of_question()
        return self._read(reply, token)

    def _read(self, reply: HttpReply, token: Token) -> Token | Failed | Throttled | Unauthorised:
        if reply.status >= 500 or reply.status == 429:
            return judge_status(reply, now=self._now()).of_question()
        try:
            answer = _decode(reply.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return Failed("unreadable", f"HTTP {reply.status}, not a token: {type(error).__name__}")
        if answer.access_token:
            return Token(
                answer.access_token,
                answer.refresh_token or token.refresh,
                self._after(answer.expires_in),
                self._after(answer.re_expires_in) or token.refresh_expires_at,
            )
        if answer.error_response is not None:
            return judge(answer.error_response, now=self._now()).of_question()
        if answer.error in _OVER:
            return Unauthorised(
                answer.error, "the platform does not renew this authorisation: authorise the shop again"
            )
        if answer.error in _OURS:
            return Failed(answer.error, "the platform refuses app_key and app_secret: check them")
        if answer.error:
            code = answer.error if answer.error in _FOR_LATER else "refused"
            return Failed(code, f"HTTP {reply.status}: the platform renews nothing now")
        if reply.status != 200:
            return judge_status(reply, now=self._now()).of_question()
        return Failed("unreadable", "the answer holds neither a token nor an error")

    def _after(self, seconds: int | str | None) -> datetime | None:
        """The instant so many seconds from now; None where the platform does not say, or says it does not end."""
        given = int(seconds) if seconds is not None and str(seconds).isdigit() else 0
        return self._now() + timedelta(seconds=given) if 0 < given < _ENDLESS_S else None


class _Answer(msgspec.Struct, frozen=True):
    access_token: str = ""
    refresh_token: str = ""
    expires_in: int | str | None = None
    re_expires_in: int | str | None = None
    error: str = ""
    error_response: ErrorResponse | None = None


_decode = msgspec.json.Decoder(_Answer).decode
_ENDLESS_S = 10**10
# RFC 6749 sections 4.1.2.1 and 5.2, RFC 8628 section 3.5; which of them this platform uses is not documented.
_OVER = ("invalid_grant", "unauthorized_client", "access_denied", "expired_token")
_OURS = ("invalid_client",)
_FOR_LATER = ("invalid_request", "unsupported_grant_type", "invalid_scope", "temporarily_unavailable", "server_error")
