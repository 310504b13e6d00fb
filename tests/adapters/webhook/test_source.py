"""The way in: who is let in, what an event is known by, and what the sender is told."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from adapters.webhook.settings import Settings
from adapters.webhook.source import WebhookSource
from gateway.sdk.adapter import Push, Setup
from gateway.sdk.carriers import load_carriers
from gateway.sdk.models import BadInput, BadSignature, ConnectionName, Text, TooLarge, Unavailable
from gateway.sdk.signing import decode_secret, sign

NEW = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLD = "whsec_" + "QUJD" * 8
NOW = datetime(2026, 5, 1, 1, 31, tzinfo=UTC)
BODY = b'{"order_no":"A1","updated_at":"2026-05-01T09:30:05+08:00","payment":{"paid":true,"amount":"1.00"}}'


def source(*secrets: str) -> WebhookSource:
    settings = Settings(secrets=secrets or (NEW, OLD))
    return WebhookSource(
        Setup(connection=ConnectionName("shop-a"), settings=settings, now=lambda: NOW, carriers=load_carriers())
    )


def push(body: bytes = BODY, *, secret: str = NEW, at: datetime = NOW, message_id: str = "m1") -> Push:
    timestamp = int(at.timestamp())
    signature = sign(decode_secret(secret), message_id=message_id, timestamp=timestamp, body=body)
    headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp), "webhook-signature": signature}
    return Push(method="POST", query={}, headers=headers, body=body, received_at=NOW)


def test_published_vector() -> None:
    """standard-webhooks/standard-webhooks, libraries/go/webhook_test.go."""
    given = sign(
        decode_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert given == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_event_is_known_by_the_fact() -> None:
    event = source().admit(push())
    again = source().admit(push(message_id="m2", at=NOW + timedelta(seconds=60), secret=OLD))

    assert event.order_key == "A1"
    assert event.type == "ordergate.order.v1"
    assert event.time == datetime(2026, 5, 1, 1, 30, 5, tzinfo=UTC)
    assert event.id.startswith("A1/1777599005000/")
    assert again == event
    assert source().decode(event).order_no == "A1"


def test_other_bytes_are_another_event() -> None:
    assert source().admit(push()).id != source().admit(push(BODY + b" ")).id


def test_a_proven_sender_may_send_rubbish() -> None:
    event = source().admit(push(b'{"order_no":"A1","lines":['))

    assert (event.order_key, event.time) == ("A1", NOW)
    with pytest.raises(BadInput):
        source().decode(event)


@pytest.mark.parametrize("seconds", [-301, 301])
def test_a_stale_stamp_is_refused(seconds: int) -> None:
    with pytest.raises(BadSignature):
        source().admit(push(at=NOW + timedelta(seconds=seconds)))


def test_a_stamp_within_tolerance_is_taken() -> None:
    early, late = (source().admit(push(at=NOW + timedelta(seconds=skew_s))) for skew_s in (-300, 300))
    assert early.id == late.id and early.order_key


def test_a_changed_body_an_unknown_secret_and_a_missing_header_are_refused() -> None:
    good = push()
    for bad in (
        msgspec.structs.replace(good, body=BODY + b" "),
        push(secret="whsec_" + "QUJE" * 8),
        msgspec.structs.replace(good, headers={}),
        msgspec.structs.replace(good, headers={**good.headers, "webhook-signature": "v1,\udcff"}),
        msgspec.structs.replace(good, headers={**good.headers, "webhook-id": "\udcff"}),
        msgspec.structs.replace(good, headers={**good.headers, "webhook-id": "张"}),
        msgspec.structs.replace(good, headers={**good.headers, "webhook-timestamp": "\udcff"}),
    ):
        with pytest.raises(BadSignature):
            source().admit(bad)


def test_replies() -> None:
    one = source()
    assert one.reply(None).status == 202
    assert one.reply(BadSignature("stale")).status == 401
    assert b"stale" not in one.reply(BadSignature("stale")).body
    assert one.reply(TooLarge(1024)).status == 413
    assert one.reply(BadInput("json", "is not JSON")).status == 422
    assert one.reply(Unavailable("database")).status == 503
    for error in (None, BadSignature("x"), Unavailable("x")):
        json.loads(one.reply(error).body)


def test_a_sender_is_told_in_both_languages() -> None:
    one = source()
    error = BadInput("field", Text("缺少", "is missing"), where="$.lines", advice=Text("必填", "it is required"))
    assert json.loads(one.reply(error).body) == {
        "status": "kept",
        "code": "field",
        "where": "$.lines",
        "message": {"zh": "缺少", "en": "is missing"},
        "advice": {"zh": "必填", "en": "it is required"},
    }
    assert json.loads(one.reply(Unavailable("database")).body) == {
        "status": "refused",
        "message": {"zh": "没有接收，请重发", "en": "nothing was taken, send it again"},
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"secrets": []},
        {"secrets": ["short"]},
        {"secrets": ["whsec_QUJD"]},
        {"secrets": [NEW], "url": "ftp://x"},
        {"secrets": [NEW], "max_total": "much"},
        {"secrets": [NEW], "max_total": "0"},
        {"secrets": [NEW], "secret": "x"},
        {"secrets": [NEW], "paths": {"move": "/x"}},
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(settings, Settings)


def test_settings_never_show_a_secret() -> None:
    assert NEW not in repr(Settings(secrets=(NEW,))) + str(Settings(secrets=(NEW,)))
