"""The platform's router: how a request is signed and sent, where its answer stands, and what an error means.

Source: open.pinduoduo.com, document 8EC06C399636041E (call rules, signature) and the error codes of the open platform.
Errors come with HTTP 200. What was asked and what it is for is left to source, target and auth.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from adapters.pinduoduo.settings import Meaning, Settings
from gateway.sdk.adapter import Setup
from gateway.sdk.http import HttpReply, NoAnswer, NotSent, retry_after_s
from gateway.sdk.models import Failed, Rejected, Throttled, Unauthorised, Unknown
from gateway.sdk.pull import Access


class Method(msgspec.Struct, frozen=True):
    """`root` holds the answer; it does not follow from the name. `authorised`: asked in a shop's name."""

    name: str
    root: str
    authorised: bool = True


CHANGED_ORDERS = Method("pdd.order.number.list.increment.get", "order_sn_increment_get_response")
CHANGED_CASES = Method("pdd.refund.list.increment.get", "refund_increment_get_response")
ORDER = Method("pdd.order.information.get", "order_info_get_response")
SHIP = Method("pdd.logistics.online.send", "logistics_online_send_response")
EXTRA_PARCELS = Method("pdd.order.upload.extra.logistics", "upload_extra_logistics_response")
QUANTITY = Method("pdd.goods.quantity.update", "goods_quantity_update_response")
REFRESH = Method("pdd.pop.auth.token.refresh", "pop_auth_token_refresh_response", authorised=False)
TIME = Method("pdd.time.get", "time_get_response", authorised=False)

ERRORS: Mapping[str, tuple[Meaning, str]] = {
    **dict.fromkeys(("52101", "70031"), (Meaning.THROTTLED, "throttled")),
    "10019": (Meaning.UNAUTHORISED, "token"),
    **dict.fromkeys(("70032", "70034", "70035"), (Meaning.UNAUTHORISED, "forbidden")),
    **dict.fromkeys(("50000", "50001", "50002", "52001", "52002"), (Meaning.INTERNAL, "internal")),
    **dict.fromkeys(("52102", "52103", "70033"), (Meaning.DEGRADED, "degraded")),
    "20004": (Meaning.CONFIGURATION, "sign"),
    "20005": (Meaning.CONFIGURATION, "ip"),
    "20031": (Meaning.CONFIGURATION, "permission"),
    "70036": (Meaning.CONFIGURATION, "quota"),
}
"""`error_code` → what it means, and our code for it. Anything else refuses the content of this one request.

Permanent, yet not rejected: a wrong secret, address or permission is the connection's fault. Rejecting would make a
case for a person of every waiting parcel. Where the platform says *stop* (forbidden, risk) nobody asks again until a
person has dealt with it.
"""

Trouble = Failed | Throttled | Unauthorised | Rejected | Unknown
"""What a request ends in when it has no answer to look at. Only after Unknown something may have been done."""
Later = Failed | Throttled | Unauthorised
"""What is left of `Trouble` where one only reads."""


def sign(secret: str, parameters: Mapping[str, str]) -> str:
    """``UPPER(hex(MD5(secret + k1v1k2v2... + secret)))``, names sorted, `sign` left out."""
    joined = "".join([name + parameters[name] for name in sorted(parameters) if name != "sign"])
    return hashlib.md5(f"{secret}{joined}{secret}".encode()).hexdigest().upper()


def parameter(value: Any) -> str:
    """`value` as it is signed and sent: text as it is, all else as JSON, once, so that both are the same."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


class Router:
    """Asks the platform in the name of one shop. Takes no turn of the budget: only its users know which request is the
    first of several."""

    def __init__(self, setup: Setup, access: Access) -> None:
        self._settings: Settings = setup.settings
        self._now = setup.now
        self._access = access
        self._errors = {
            **ERRORS,
            **{code: (meaning, meaning.value) for code, meaning in self._settings.errors.items()},
        }

    async def call(self, method: Method, parameters: Mapping[str, Any], *, deadline_s: float) -> bytes | Trouble:
        """The JSON of the answer under the method's root, as it came. Parameters without a value are not sent."""
        try:
            reply = await self._access.http.post(
                self._settings.url, self.request(method, parameters), deadline_s=deadline_s, headers=_HEADERS
            )
        except NotSent as error:
            return error.as_answer()
        except NoAnswer as error:
            return error.as_unknown()
        answer = self._by_status(reply) if reply.status != 200 else self._read(method, reply.body)
        if isinstance(answer, Throttled):
            self._access.budget.pause(answer.retry_after_s or self._settings.throttle_s)
        return answer

    def request(self, method: Method, parameters: Mapping[str, Any]) -> bytes:
        """The signed body of one request."""
        settings = self._settings
        sent = {name: parameter(value) for name, value in parameters.items() if value not in (None, "")}
        sent |= {
            "type": method.name,
            "client_id": settings.client_id,
            "timestamp": str(int(self._now().timestamp())),
            "data_type": "JSON",
        }
        if method.authorised:
            sent["access_token"] = self._access.token().access
        sent["sign"] = sign(settings.client_secret, sent)
        return msgspec.json.encode(sent)

    def _read(self, method: Method, body: bytes) -> bytes | Trouble:
        try:
            answer = _read_roots(body)
            root = answer.get(method.root)
            if root is not None:
                return bytes(root)
            if "error_response" in answer:
                return self._judge(_read_error(answer["error_response"]))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        return Unknown("unreadable", f"the answer to {method.name} has neither {method.root} nor error_response")

    def _judge(self, error: _Error) -> Trouble:
        code = str(error.error_code)
        meaning, ours = self._errors.get(code, (Meaning.REJECTED, "business"))
        words = dict.fromkeys(str(word) for word in (code, error.error_msg, error.sub_code, error.sub_msg) if word)
        message = _plain(" ".join(words))
        if meaning is Meaning.THROTTLED:
            return Throttled(self._settings.throttle_s, message)
        if meaning is Meaning.UNAUTHORISED:
            return Unauthorised(code, message)
        if meaning is Meaning.INTERNAL:
            return Unknown(ours, message)
        if meaning is Meaning.REJECTED:
            return Rejected(ours, message)
        return Failed(ours, message)

    def _by_status(self, reply: HttpReply) -> Trouble:
        message = f"HTTP {reply.status}"
        wait_s = retry_after_s(reply.retry_after, now=self._now())
        if reply.status == 429:
            return Throttled(wait_s or self._settings.throttle_s, message)
        if reply.status == 503:
            # What stands before the platform's machines when there is none behind it.
            return Failed("http_503", message, wait_s)
        if reply.status >= 500 or reply.status == 408:
            code = f"http_{reply.status}" if reply.status in (408, 500, 502, 504) else "http_5xx"
            return Unknown(code, message, timeout=reply.status == 504)
        return Failed("http_4xx" if reply.status >= 400 else "redirect", message, wait_s)


def as_later(trouble: Trouble) -> Later:
    """`trouble` where one only reads: nothing is in doubt, ask again later."""
    if isinstance(trouble, Unknown | Rejected):
        return Failed(trouble.code, trouble.message)
    return trouble


class _Error(msgspec.Struct, frozen=True):
    error_code: int | str
    error_msg: str | None = None
    sub_code: int | str | None = None
    sub_msg: str | None = None


_read_roots = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_error = msgspec.json.Decoder(_Error).decode
_HEADERS = {"content-type": "application/json"}
_NUMBER = re.compile(r"[0-9]{7,}")


def _plain(text: str) -> str:
    """The platform's words for a person. Numbers that may be a buyer's telephone are taken out."""
    return " ".join(_NUMBER.sub("#", text).split())[:200]
