"""The way out: commands as signed JSON posts (Standard Webhooks), with the idempotency key as `webhook-id`."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from adapters.webhook import mapping
from adapters.webhook.settings import Settings
from gateway.sdk.adapter import Setup
from gateway.sdk.carriers import UnknownCarrier
from gateway.sdk.http import Http, HttpReply, NoAnswer, NotSent, retry_after_s
from gateway.sdk.models import (
    Answer,
    Delivery,
    Done,
    Failed,
    Finding,
    Operation,
    OrdergateError,
    Problem,
    Rejected,
    SettingsError,
    Text,
    Throttled,
    Unknown,
    confirmation_to_tell,
    content_to_send,
    items_to_pick,
)
from gateway.sdk.signing import Signer, decode_secret


class WebhookTarget:
    """Posts `create`, `cancel` and `ship`. The receiver does a repeated `webhook-id` once."""

    def __init__(self, setup: Setup, http: Http) -> None:
        settings: Settings = setup.settings
        if settings.url is None:
            where = f"connections.{setup.connection}.settings.url"
            needed = Text("目标需要下发地址", "a target needs the URL its commands are posted to")
            raise SettingsError([Problem(where, Text("缺少", "is missing"), needed)])
        self._url = settings.url
        self._urls = {operation: _join(settings.url, settings.paths.get(operation, "")) for operation in Operation}
        self._signer = Signer(decode_secret(settings.secrets[0]))
        self._carriers = setup.carriers
        self._now = setup.now
        self._http = http

    async def send(self, delivery: Delivery, *, deadline_s: float) -> Answer:
        body = self.render(delivery)
        if isinstance(body, Rejected):
            return body
        headers = self.sign(delivery.idempotency_key, body)
        try:
            reply = await self._http.post(self._urls[delivery.operation], body, deadline_s=deadline_s, headers=headers)
        except NotSent as error:
            return error.as_answer()
        except NoAnswer as error:
            return error.as_unknown()
        return self._answer(reply)

    async def find(self, delivery: Delivery, *, deadline_s: float) -> Finding:
        """There is no way to ask; the manifest declares nothing findable, so nobody does."""
        return Unknown("not_findable", "a webhook cannot be asked what it has")

    async def check(self, *, deadline_s: float) -> None:
        reply = await self._http.request("GET", self._url, deadline_s=deadline_s)
        # 404 and 405 to a GET are answers: the server is there.
        if reply.status >= 500:
            raise OrdergateError(
                Text(
                    f"{self._url} 应答 {reply.status}：查看接收方的日志",
                    f"{self._url} answers {reply.status}: look at the receiver's log",
                )
            )

    def render(self, delivery: Delivery) -> bytes | Rejected:
        """The body of a command, or why it cannot be sent to this target."""
        if delivery.operation is Operation.CREATE:
            content = content_to_send(delivery)
            if content is None:
                return Rejected("content", "the order has no content")
            items = items_to_pick(delivery, content) if delivery.order.recipes is not None else ()
            return items if isinstance(items, Rejected) else mapping.render_create(delivery, content, items)
        if delivery.operation is Operation.CANCEL:
            return mapping.render_cancel(delivery)
        confirmation = confirmation_to_tell(delivery)
        if confirmation is None:
            return Rejected("content", f"the order has no confirmation for {delivery.command.key}")
        try:
            return mapping.render_ship(delivery, confirmation, self._carriers)
        except UnknownCarrier as error:
            return Rejected("unknown_carrier", str(error))

    def sign(self, message_id: str, body: bytes) -> dict[str, str]:
        """The headers of one attempt; the time stamp is the attempt's, the id the command's."""
        timestamp = int(self._now().timestamp())
        return {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": self._signer.sign(message_id=message_id, timestamp=timestamp, body=body),
        }

    def _answer(self, reply: HttpReply) -> Answer:
        kind, code = mapping.classify(reply.status)
        if kind == "done":
            return Done(_reference(reply.body))
        message = f"HTTP {reply.status} {_own_code(reply.body)}".rstrip()
        if kind == "rejected":
            return Rejected(code, message)
        wait_s = retry_after_s(reply.retry_after, now=self._now())
        if kind == "throttled":
            return Throttled(wait_s, message)
        return Failed(code, message, wait_s)


class _Answered(msgspec.Struct, frozen=True, gc=False):
    reference: str = ""


_read_answer = msgspec.json.Decoder(_Answered).decode


def _reference(body: bytes) -> str:
    """The receiver's own id, where it answers ``{"reference": "..."}``."""
    if b'"reference"' not in body:
        return ""
    try:
        return _read_answer(body).reference[:200]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


class _Refused(msgspec.Struct, frozen=True, gc=False):
    code: Any = None
    error: Any = None


_read_refusal = msgspec.json.Decoder(_Refused).decode
_MOST_REFUSAL_BYTES = 65_536

# A word, not a sentence; seven digits in a row may be a telephone number.
_CODE = re.compile(r"(?!.*[0-9]{7})[A-Za-z0-9_.-]{1,40}")


def _own_code(body: bytes) -> str:
    """The receiver's own error code, from ``{"code": "..."}`` or ``{"error": "..."}``; nothing else of its answer.

    An attempt's detail is kept, and a refusal likes to quote what it refuses: names, addresses, telephone numbers.
    """
    if len(body) > _MOST_REFUSAL_BYTES:
        return ""
    try:
        refused = _read_refusal(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    for given in (refused.code, refused.error):
        if isinstance(given, str) and _CODE.fullmatch(given):
            return given
    return ""


def _join(url: str, path: str) -> str:
    if path.startswith(("http://", "https://")):
        return path
    return f"{url.rstrip('/')}/{path.lstrip('/')}" if path else url
