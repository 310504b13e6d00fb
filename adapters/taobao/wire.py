"""One call of TOP: the signed form out, the answer or a verdict back.

Sources: signature, envelope and common parameters by open.taobao.com, article 101617. The root of an answer is either
`error_response` or the method's own; whatever that is called, its value is what was asked for.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec

from adapters.taobao import mapping
from adapters.taobao.errors import ErrorResponse, Verdict, judge, judge_lack, judge_status
from adapters.taobao.settings import Settings
from gateway.sdk.adapter import Setup
from gateway.sdk.http import NoAnswer, NotSent
from gateway.sdk.pull import Access

FORM = {"content-type": "application/x-www-form-urlencoded;charset=utf-8"}


def sign(secret: bytes, params: Mapping[str, str], *, method: str) -> str:
    """Upper hex over ``k1v1k2v2...``, names sorted, `sign` left out; `method` is `md5`, `hmac` or `hmac-sha256`."""
    joined = "".join([name + params[name] for name in sorted(params) if name != "sign"]).encode()
    if method == "md5":
        return hashlib.md5(secret + joined + secret).hexdigest().upper()
    return hmac.new(secret, joined, {"hmac": "md5", "hmac-sha256": "sha256"}[method]).hexdigest().upper()


class Top:
    """The platform, as one shop reaches it."""

    def __init__(self, setup: Setup, access: Access) -> None:
        self._settings: Settings = setup.settings
        self._now = setup.now
        self._access = access

    async def call(self, method: str, params: Mapping[str, str], *, deadline_s: float) -> msgspec.Raw | Verdict:
        """What `method` answers, as JSON, or why there is nothing. Takes no turn of the budget, and never raises."""
        token = self._access.token().access
        try:
            reply = await self._access.http.post(
                self._settings.url, self._form(method, params, token), deadline_s=deadline_s, headers=FORM
            )
        except (NotSent, NoAnswer) as error:
            return judge_lack(error)
        now = self._now()
        if reply.status != 200:
            verdict = judge_status(reply, now=now)
        else:
            answer = _read(reply.body)
            if not isinstance(answer, ErrorResponse | Verdict):
                return answer
            verdict = judge(answer, now=now) if isinstance(answer, ErrorResponse) else answer
        if verdict.kind == "unauthorised" and self._access.token().access != token:
            # Renewed while this was under way: the new one has not been refused.
            return Verdict("failed", "token_replaced", "the token was renewed meanwhile", 0.0)
        return verdict

    def _form(self, method: str, params: Mapping[str, str], token: str) -> bytes:
        settings = self._settings
        form = {
            **params,
            "method": method,
            "app_key": settings.app_key,
            "session": token,
            "timestamp": mapping.beijing(self._now()),
            "v": "2.0",
            "format": "json",
            "sign_method": settings.sign_method,
        }
        form["sign"] = sign(settings.app_secret.encode(), form, method=settings.sign_method)
        return urlencode(form).encode()


_read_root = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_error = msgspec.json.Decoder(ErrorResponse).decode


def _read(body: bytes) -> msgspec.Raw | ErrorResponse | Verdict:
    try:
        root = _read_root(body)
        refused = root.pop("error_response", None)
        if refused is not None:
            return _read_error(refused)
        if len(root) == 1:
            return next(iter(root.values()))
        reason = f"the answer has {len(root)} roots"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = f"the answer is not TOP's JSON: {type(error).__name__}"
    return Verdict("failed", "unreadable", reason, certain=False)
