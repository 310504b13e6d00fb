"""The way in: what a WMS calls us with, signed with our secret by the Qimen gateway."""

from __future__ import annotations

import hashlib
import hmac

from adapters.qimen import mapping
from adapters.qimen.settings import Settings
from gateway.sdk.adapter import Push, Reply, Setup
from gateway.sdk.models import BadInput, BadSignature, Event, EventId, Facts, OrdergateError, Text, TooLarge

PLATFORM = "qimen"


class QimenSource:
    """Takes `deliveryorder.confirm` and `orderprocess.report`; other methods are kept as events nobody decodes.

    The time stamp in the query is not judged: the protocol gives no tolerance, and a message that is replayed has the
    identity it had before.
    """

    def __init__(self, setup: Setup) -> None:
        self._settings: Settings = setup.settings
        self._connection = setup.connection
        self._carriers = {
            names[PLATFORM].upper(): code for code, names in setup.carriers.rows.items() if names.get(PLATFORM)
        }

    def admit(self, push: Push) -> Event:
        given = push.query.get("sign", "")
        if not given:
            raise BadSignature(Text("查询参数中没有 `sign`", "the query has no `sign`"))
        if push.query.get("sign_method", "md5") != "md5":
            raise BadSignature(Text("只接受 sign_method=md5", "only sign_method=md5 is taken"))
        try:
            wanted = mapping.sign(self._settings.secret, push.query, push.body)
            matches = hmac.compare_digest(wanted.encode(), given.upper().encode())
        except UnicodeEncodeError as error:
            raise BadSignature(Text("查询参数不是 UTF-8", "the query is not UTF-8")) from error
        if not matches:
            raise BadSignature(Text("签名不符", "the signature does not match"))
        method = mapping.method_of(push.query)
        handled = method in (mapping.CONFIRM, mapping.REPORT)
        # Without a key nothing of the order waits behind a message that nobody decodes.
        order_key, identity = mapping.read_head(method, push.body) if handled else ("", "")
        return Event(
            id=EventId(f"{order_key}/{method}/{identity or hashlib.blake2b(push.body, digest_size=8).hexdigest()}"),
            source=self._connection,
            type=f"qimen.{method}",
            order_key=order_key,
            time=push.received_at,
            body=push.body,
            traceparent=push.traceparent,
        )

    def reply(self, error: OrdergateError | None) -> Reply:
        """In Chinese, which the partners of Qimen read; the envelope has room for one language."""
        if error is None:
            return _SUCCESS
        if isinstance(error, BadSignature):
            return _failure(401, "sign-check-failure", "签名无效")
        if isinstance(error, TooLarge):
            return _failure(413, "too-large", error.message.zh)
        if isinstance(error, BadInput):
            return _failure(400, error.code, error.message.zh)
        return _failure(503, "unavailable", "没有接收，请稍后重发")

    def decode(self, event: Event) -> Facts:
        method = event.type.removeprefix("qimen.")
        return mapping.decode(method, event.body, settings=self._settings, carriers=self._carriers)


def _failure(status: int, code: str, message: str) -> Reply:
    return Reply(status, mapping.render_reply(success=False, code=code, message=message), _XML)


_XML = "text/xml; charset=utf-8"
_SUCCESS = Reply(200, mapping.render_reply(success=True, code="0", message="已接收"), _XML)
