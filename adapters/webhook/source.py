"""The way in: signed order documents posted to ``/hooks/<connection>``."""

from __future__ import annotations

import msgspec

from adapters.webhook import mapping
from adapters.webhook.settings import Settings
from gateway.sdk.adapter import UNPROVEN, Push, Reply, Setup, well_typed
from gateway.sdk.models import (
    BadInput,
    BadSignature,
    Event,
    EventId,
    Facts,
    OrdergateError,
    Text,
    TooLarge,
    parse_minor,
)
from gateway.sdk.signing import decode_secret, verify


class WebhookSource:
    """Verifies Standard Webhooks signatures and decodes ``order.schema.json`` documents."""

    def __init__(self, setup: Setup) -> None:
        settings: Settings = setup.settings
        self._connection = setup.connection
        self._now = setup.now
        self._keys = tuple(decode_secret(secret) for secret in settings.secrets)
        self._max_total_minor = parse_minor(settings.max_total)

    def admit(self, push: Push) -> Event:
        verify(self._keys, push.headers, push.body, now=self._now())
        order_no, version, updated_at = mapping.read_head(push.body)
        return Event(
            id=EventId(mapping.event_id(order_no, version, push.body)),
            source=self._connection,
            type=mapping.EVENT_TYPE,
            order_key=order_no,
            time=updated_at or push.received_at,
            body=push.body,
            traceparent=push.traceparent,
        )

    def reply(self, error: OrdergateError | None) -> Reply:
        if error is None:
            return _ACCEPTED
        if isinstance(error, BadSignature):
            # One text for every reason: what exactly failed is for our log, not for whoever tries.
            return UNPROVEN
        if isinstance(error, BadInput):
            # Kept as a dead letter, where our side can repair and release it: sending the same again changes nothing.
            kept = {"code": error.code, "where": error.where, "message": error.message, "advice": error.advice}
            return Reply(413 if isinstance(error, TooLarge) else 422, msgspec.json.encode({"status": "kept", **kept}))
        return _NOT_TAKEN

    @well_typed
    def decode(self, event: Event) -> Facts:
        return mapping.decode(event.body, max_total_minor=self._max_total_minor, at=event.time)


_ACCEPTED = Reply(202, b'{"status":"accepted"}')
_NOT_TAKEN = Reply(
    503,
    msgspec.json.encode({"status": "refused", "message": Text("没有接收，请重发", "nothing was taken, send it again")}),
)
