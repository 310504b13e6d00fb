"""The way in from a WMS: who is let in, what an event is known by, and the envelope that goes back."""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree

import msgspec
import pytest

from adapters.qimen import mapping
from adapters.qimen.fake import render_confirm, render_report, signed_query
from adapters.qimen.settings import Sender, Settings
from adapters.qimen.source import QimenSource
from gateway.sdk.adapter import Push, Setup
from gateway.sdk.carriers import load_carriers
from gateway.sdk.models import BadInput, BadSignature, ConnectionName, Text, TooLarge, Unavailable

NOW = datetime(2026, 5, 1, 1, 31, tzinfo=UTC)
SETTINGS = Settings(
    url="http://127.0.0.1/x",
    app_key="k",
    secret="s",
    customer_id="c",
    owner_code="o",
    shop_nick="n",
    sender=Sender(name="n", mobile="m", province="p", city="c", detail="d"),
)
CONFIRM = render_confirm("A1", {"CUP-01": 1}, final=True, carrier="zt", tracking_no="78", out_biz_code="MSG-77")

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def source() -> QimenSource:
    carriers = load_carriers().extended({"ZTO": {"qimen": "ZT"}})
    return QimenSource(Setup(connection=ConnectionName("wms"), settings=SETTINGS, now=lambda: NOW, carriers=carriers))


def push(body: bytes, method: str = mapping.CONFIRM, *, secret: str = "s") -> Push:
    query = signed_query(method, body, secret=secret, app_key="k", customer_id="c")
    return Push(method="POST", query=query, headers={}, body=body, received_at=NOW)


def test_a_confirmation_is_known_by_its_message_id() -> None:
    event = source().admit(push(CONFIRM))

    assert (event.id, event.order_key) == ("A1/deliveryorder.confirm/MSG-77", "A1")
    assert event.type == "qimen.deliveryorder.confirm"
    assert source().admit(push(CONFIRM.replace(b"<status>", b" <status>"))).id == event.id
    confirmation = source().decode(event).confirmations[0]
    assert (confirmation.confirmation_id, confirmation.parcels[0].carrier) == ("MSG-77", "ZTO")


def test_a_report_is_known_by_status_and_time() -> None:
    body = render_report("A1", "PICK", NOW)
    event = source().admit(push(body, mapping.REPORT))

    assert event.id == "A1/orderprocess.report/PICK@2026-05-01 09:31:00"
    assert source().decode(event).order_no == "A1"


@pytest.mark.parametrize(
    ("given", "kept"), [(TRACE, TRACE), ("\udcff", ""), (TRACE + "\n", ""), (TRACE.upper(), ""), ("", "")]
)
def test_a_traceparent_is_one_or_is_left_out(given: str, kept: str) -> None:
    event = source().admit(msgspec.structs.replace(push(CONFIRM), headers={"traceparent": given}))
    assert event.traceparent == kept


def test_a_proven_sender_may_send_rubbish() -> None:
    event = source().admit(push(CONFIRM[:150]))

    assert event.order_key == "A1"
    assert event.id != source().admit(push(CONFIRM[:151])).id
    with pytest.raises(BadInput):
        source().decode(event)


def test_what_nobody_decodes_blocks_nothing() -> None:
    event = source().admit(push(CONFIRM, "inventory.report"))

    assert (event.order_key, event.type) == ("", "qimen.inventory.report")
    with pytest.raises(BadInput):
        source().decode(event)


def test_who_is_not_proven_is_refused() -> None:
    good = push(CONFIRM)
    for bad in (
        push(CONFIRM, secret="other"),
        msgspec.structs.replace(good, body=CONFIRM + b" "),
        msgspec.structs.replace(good, query={**good.query, "customerId": "other"}),
        msgspec.structs.replace(good, query={**good.query, "sign_method": "hmac"}),
        msgspec.structs.replace(good, query={**good.query, "sign": ""}),
        msgspec.structs.replace(good, query={**good.query, "sign": "签"}),
        # What stands in the query for a byte that is not UTF-8.
        msgspec.structs.replace(good, query={**good.query, "sign": "\udcff"}),
        msgspec.structs.replace(good, query={**good.query, "customerId": "\udcff"}),
        msgspec.structs.replace(good, query={}),
    ):
        with pytest.raises(BadSignature):
            source().admit(bad)
    lower = msgspec.structs.replace(good, query={**good.query, "sign": good.query["sign"].lower()})
    assert source().admit(lower)


@pytest.mark.parametrize(
    ("error", "status", "flag", "message"),
    [
        (None, 200, "success", "已接收"),
        (BadSignature("x"), 401, "failure", "签名无效"),
        (TooLarge(1), 413, "failure", "报文超过 1 字节"),
        (BadInput("xml", Text("含有 <x>", "has <x>")), 400, "failure", "含有 <x>"),
        (Unavailable("x"), 503, "failure", "没有接收，请稍后重发"),
    ],
)
def test_every_answer_is_an_envelope(
    error: BadInput | Unavailable | None, status: int, flag: str, message: str
) -> None:
    reply = source().reply(error)

    envelope = ElementTree.fromstring(reply.body)
    assert (reply.status, envelope.findtext("flag"), envelope.findtext("message")) == (status, flag, message)
