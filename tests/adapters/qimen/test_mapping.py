"""Qimen documents and signatures, as tables; what a WMS's answers mean."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.qimen import mapping
from adapters.qimen.fake import render_confirm, render_report
from adapters.qimen.settings import Match, Sender, Settings
from gateway.core.items import items_of
from gateway.core.order import Register, Route
from gateway.sdk.models import (
    BadInput,
    Closing,
    Command,
    Confirmation,
    ConnectionName,
    Content,
    Delivery,
    Facts,
    Line,
    Operation,
    Order,
    OrderNumber,
    Parcel,
    Part,
    Party,
    Payment,
    Progress,
    ProgressStep,
    Receiver,
    Recipe,
    Sku,
)
from tests.languages import is_told

SETTINGS = Settings(
    url="http://127.0.0.1/router/qimen/service",
    app_key="k",
    secret="s",
    customer_id="c",
    owner_code="OWN1",
    shop_nick="demo shop",
    sender=Sender(name="仓库", mobile="13800000000", province="浙江省", city="杭州市", detail="仓前路1号"),
    platform_codes={"shop-a": "TB"},
    not_found=(Match(message="订单不存在"), Match(code="isv.no-order")),
)
CONTENT = Content(
    datetime(2026, 5, 1, 1, 30, 5, tzinfo=UTC),
    (Line("1", Sku("CUP-01"), 1, 9000, "杯", 1000),),
    Receiver("张**", "138****0000", "上海市", "上海市", "浦东新区", "", "张江路***", "", "1abc"),
    9000,
)


def delivery(content: Content | None = CONTENT, *, number: str = "GW2026050100001") -> Delivery:
    order = Order(
        number=OrderNumber(number),
        connection=ConnectionName("shop-a"),
        channel_no="4200000000000000001",
        content=None if content is None else Register(1, 1, content),
        payment=Register(1, 1, Payment(True, 9000, datetime(2026, 5, 1, 1, 31, tzinfo=UTC))),
        closing=Register(1, 1, Closing(True, "不要了 <&>")),
    )
    return Delivery(order_id=1, order=order, command=Command(ConnectionName("wms"), 1, Operation.CREATE, "create"))


# --- signature --------------------------------------------------------------------------------------------------


def test_published_vector() -> None:
    """Qimen white paper, appendix; reproduces with v=1.0 and an empty body."""
    query = {
        "app_key": "testerp_appkey",
        "customerId": "stub-cust-code",
        "format": "xml",
        "method": "taobao.qimen.entryorder.query",
        "sign_method": "md5",
        "timestamp": "2015-04-26 00:00:07",
        "v": "1.0",
    }
    assert mapping.sign("test", query, b"") == "D06D88CB34B2EC0E5C9BAB396C9542B6"
    assert mapping.sign("test", {**query, "sign": "anything"}, b"") == "D06D88CB34B2EC0E5C9BAB396C9542B6"


@given(st.dictionaries(st.text("ab", min_size=1), st.text(max_size=5)), st.binary(max_size=20))
def test_order_of_parameters_does_not_matter(query: dict[str, str], body: bytes) -> None:
    turned = dict(reversed(query.items()))
    assert mapping.sign("s", query, body) == mapping.sign("s", turned, body)


# --- what goes out ----------------------------------------------------------------------------------------------


def test_create_says_what_the_standard_asks_for() -> None:
    root = ElementTree.fromstring(mapping.render_create(delivery(), CONTENT, items_of(CONTENT.lines, None), SETTINGS))
    order = {element.tag: element.text for element in root.iterfind("deliveryOrder/*")}
    receiver = {element.tag: element.text for element in root.iterfind("deliveryOrder/receiverInfo/*")}
    lines = [{element.tag: element.text for element in line} for line in root.iterfind("orderLines/orderLine")]

    for name in ("senderInfo", "receiverInfo"):
        order.pop(name)
    assert order == {
        "deliveryOrderCode": "GW2026050100001",
        "orderType": "JYCK",
        "warehouseCode": "OTHER",
        "sourcePlatformCode": "TB",
        "createTime": "2026-05-01 09:31:00",
        "placeOrderTime": "2026-05-01 09:30:05",
        "payTime": "2026-05-01 09:31:00",
        "operateTime": "2026-05-01 09:31:00",
        "shopNick": "demo shop",
        "logisticsCode": "OTHER",
        "oaidOrderSourceCode": "4200000000000000001",
        "totalAmount": "90.00",
        "itemAmount": "90.00",
        "discountAmount": "0.00",
        "freight": "0.00",
        "arAmount": "0.00",
        "gotAmount": "90.00",
    }
    assert receiver == {
        "name": "张**",
        "mobile": "138****0000",
        "province": "上海市",
        "city": "上海市",
        "area": "浦东新区",
        "detailAddress": "张江路***",
        "oaid": "1abc",
    }
    assert lines == [
        {
            "orderLineNo": "1",
            "sourceOrderCode": "4200000000000000001",
            "subSourceOrderCode": "1",
            "ownerCode": "OWN1",
            "itemCode": "CUP-01",
            "itemName": "杯",
            "planQty": "1",
            "retailPrice": "100.00",
            "actualPrice": "90.00",
            "discountAmount": "10.00",
        }
    ]


PDD = '{"open_address_id":"a-1","name":"~AgAAAA==~cipher~"}'


@pytest.mark.parametrize(
    ("shop", "token", "more", "oaid"),
    [
        ("shop-a", "1abc", {}, "1abc"),
        ("pdd-1", PDD, {}, None),
        ("mini", PDD, {}, None),
        ("mini", "1abc", {"platform_code": "TM"}, "1abc"),
        ("mini", "1abc", {"oaid_platforms": ("OTHER",)}, "1abc"),
        ("shop-a", "", {}, None),
    ],
)
def test_only_the_token_of_a_platform_that_has_them_is_an_oaid(
    shop: str, token: str, more: dict[str, Any], oaid: str | None
) -> None:
    content = msgspec.structs.replace(CONTENT, receiver=msgspec.structs.replace(CONTENT.receiver, token=token))
    settings = msgspec.structs.replace(SETTINGS, platform_codes={"shop-a": "TB", "pdd-1": "PDD"}, **more)
    sent = delivery(content)
    sent = msgspec.structs.replace(sent, order=msgspec.structs.replace(sent.order, connection=ConnectionName(shop)))
    body = mapping.render_create(sent, content, items_of(content.lines, None), settings)
    root = ElementTree.fromstring(body)
    assert root.findtext("deliveryOrder/receiverInfo/oaid") == oaid
    assert root.findtext("deliveryOrder/oaidOrderSourceCode") == (oaid and "4200000000000000001")
    assert b"cipher" not in body


@pytest.mark.parametrize(
    ("more", "codes"),
    [
        ({}, {"shop-tb": "TB", "shop-tm": "TM"}),
        ({"platform_code": "POS"}, {"shop-tm": "TM"}),
    ],
)
def test_a_taobao_shop_is_known_by_its_adapter(more: dict[str, Any], codes: dict[str, str]) -> None:
    settings = msgspec.structs.replace(SETTINGS, platform_codes={"shop-tm": "TM"}, **more)
    names = {"shop-tb": "taobao", "shop-tm": "taobao", "pdd-1": "pinduoduo", "wms": "qimen"}
    adapters = {ConnectionName(shop): adapter for shop, adapter in names.items()}
    assert mapping.with_platforms(settings, adapters).platform_codes == codes


@pytest.mark.feature("F125")
def test_a_bundle_is_a_line_per_item_and_adds_up() -> None:
    content = msgspec.structs.replace(
        CONTENT, lines=(Line("11", Sku("礼盒"), 1, 1000, "礼盒", 101), Line("12", Sku("CUP"), 2, 300, "杯"))
    )
    recipes = (
        Recipe(Sku("CUP"), (Part(Sku("C-1"), 1),)),
        Recipe(Sku("礼盒"), (Part(Sku("C-1"), 1), Part(Sku("D-2"), 2), Part(Sku("CARD"), 1, gift=True))),
    )
    root = ElementTree.fromstring(
        mapping.render_create(delivery(content), content, items_of(content.lines, recipes), SETTINGS)
    )
    names = "orderLineNo subSourceOrderCode itemCode itemName planQty actualPrice discountAmount retailPrice".split()
    assert [tuple(line.findtext(name) for name in names) for line in root.iterfind("orderLines/orderLine")] == [
        ("11", "11", "C-1", None, "1", "3.34", "0.34", "3.68"),
        ("11-2", "11", "D-2", None, "1", "3.33", "0.34", "3.67"),
        ("11-3", "11", "D-2", None, "1", "3.33", "0.33", "3.66"),
        ("11-4", "11", "CARD", None, "1", "0.00", "0.00", "0.00"),
        ("12", "12", "C-1", "杯", "2", "3.00", "0.00", "3.00"),
    ]
    assert root.findtext("deliveryOrder/itemAmount") == "16.00"


texts = st.text(max_size=30)


@given(texts, texts, st.integers(1, 10**6), st.integers(0, 10**9))
def test_any_text_makes_a_document_that_says_it(sku: str, note: str, quantity: int, price_minor: int) -> None:
    content = msgspec.structs.replace(
        CONTENT, lines=(Line("1", Sku(sku), quantity, price_minor),), buyer_note=note, receiver=Receiver(note)
    )
    root = ElementTree.fromstring(
        mapping.render_create(delivery(content), content, items_of(content.lines, None), SETTINGS)
    )

    line = root.find("orderLines/orderLine")
    assert line is not None
    assert line.findtext("itemCode", "") == readable(sku)
    assert line.findtext("planQty") == str(quantity)
    assert line.findtext("actualPrice") == f"{price_minor // 100}.{price_minor % 100:02d}"
    assert root.findtext("deliveryOrder/receiverInfo/name", "") == readable(note)


def readable(text: str) -> str:
    """What XML 1.0 can hold of a text, with its line ends as a parser gives them back."""
    kept = "".join(c for c in text if c in "\t\n\r" or (ord(c) >= 32 and c not in "\ufffe\uffff"))
    return kept.replace("\r\n", "\n").replace("\r", "\n")


def test_cancel_names_order_and_reason() -> None:
    root = ElementTree.fromstring(mapping.render_cancel(delivery(), SETTINGS))
    assert {element.tag: element.text for element in root} == {
        "warehouseCode": "OTHER",
        "ownerCode": "OWN1",
        "orderCode": "GW2026050100001",
        "orderType": "JYCK",
        "cancelReason": "不要了 <&>",
    }


# --- what a WMS answers -----------------------------------------------------------------------------------------


def failure(code: str = "S001", message: str = "x") -> bytes:
    return f"<response><flag>failure</flag><code>{code}</code><message>{message}</message></response>".encode()


def top(code: str, sub_code: str = "", text: str = "") -> bytes:
    more = f"<sub_code>{sub_code}</sub_code><sub_msg>{text}</sub_msg>" if sub_code else ""
    return f"<error_response><code>{code}</code><msg>m</msg>{more}</error_response>".encode()


@pytest.mark.parametrize(
    ("body", "cancel", "kind", "code"),
    [
        (b"<response><flag>success</flag><code>0</code></response>", False, "done", ""),
        (b"<response><flag>SUCCESS</flag></response>", False, "done", ""),
        (failure(message="商品编码不存在: CUP-01"), False, "rejected", "business"),
        (failure("7", "a WMS's own number"), False, "rejected", "business"),
        (failure(message="出库单 A1 已存在"), False, "already_done", ""),
        (failure(message="Duplicate order"), False, "already_done", ""),
        (failure(message="订单不存在"), True, "rejected", "not_found"),
        (failure("isv.no-order", "nothing"), True, "rejected", "not_found"),
        (failure(message="订单已出库，不能取消"), True, "rejected", "cancel_refused"),
        (failure(message="订单已出库，不能重复创建"), False, "already_done", ""),
        (failure("sign-check-failure"), False, "failed", "auth"),
        (failure("isv.appkey-not-exists", "订单不存在"), False, "failed", "auth"),
        (failure("isp.internal-error"), False, "unknown", "gateway"),
        (failure("isp.remote-service-timeout"), False, "unknown", "gateway_timeout"),
        (failure("isp.call-limited"), False, "throttled", ""),
        (failure("isv.missing-parameter:itemCode"), False, "rejected", "parameter"),
        (failure("isv.invalid-timestamp"), False, "failed", "clock"),
        (top("7"), False, "throttled", ""),
        (top("7", "accesscontrol.limited-by-api-access-count", "x"), False, "throttled", ""),
        (top("25"), False, "failed", "auth"),
        (top("31"), False, "failed", "clock"),
        (top("40"), False, "rejected", "parameter"),
        (top("10"), False, "unknown", "gateway"),
        (top("15", "isp.service-unavailable"), False, "unknown", "gateway"),
        (top("15", "isv.order-half-created"), False, "unknown", "gateway"),
        (top("15", "isp.remote-connection-timeout"), False, "unknown", "gateway_timeout"),
        (top("15", "isv.invalid-parameter"), False, "rejected", "parameter"),
        (top("99"), False, "unknown", "gateway"),
    ],
)
def test_what_an_answer_means(body: bytes, cancel: bool, kind: str, code: str) -> None:
    verdict = mapping.classify(mapping.parse_reply(body), SETTINGS, cancel=cancel)
    assert (verdict.kind, verdict.code) == (kind, code)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (500, "unknown"), (503, "failed"), (502, "unknown"), (504, "unknown"), (599, "unknown"), (408, "unknown"),
        (429, "throttled"), (401, "failed"), (404, "failed"), (302, "failed"), (400, "rejected"), (413, "rejected"),
    ],
)  # fmt: skip
def test_what_a_status_means(status: int, kind: str) -> None:
    assert mapping.classify_status(status, SETTINGS).kind == kind
    strict = msgspec.structs.replace(SETTINGS, uncommitted_statuses=())
    assert mapping.classify_status(status, strict).kind == ("unknown" if status >= 500 else kind)
    sure = msgspec.structs.replace(SETTINGS, uncommitted_statuses=(500,))
    assert mapping.classify_status(500, sure).kind == "failed"


def test_without_a_rule_nothing_is_not_found() -> None:
    bare = msgspec.structs.replace(SETTINGS, not_found=())
    reply = mapping.parse_reply(failure(message="订单不存在"))
    assert mapping.says_not_found(reply, SETTINGS)
    assert not mapping.says_not_found(reply, bare)


def test_how_long_a_ban_lasts() -> None:
    assert mapping.ban_s("This ban will last for 3 more seconds") == 4.0
    assert mapping.ban_s("App Call Limited") is None


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><response><flag>success</flag><m>&b;</m></response>'


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "xml"),
        (b"<html><body>Bad gateway</body>", "xml"),
        (b"<response><flag>success</flag>", "xml"),
        (BOMB, "xml"),
        (BOMB.decode().encode("utf-16"), "xml"),
        (b'<?xml version="1.0" encoding="gbk"?><response><m>\xd6\xd0</m></response>', "xml"),
        (b"<response><flag>&xxe;</flag></response>", "xml"),
        (b"\x00", "xml"),
        (b'{"flag":"success"}', "xml"),
        (b"<response><flag>maybe</flag></response>", "shape"),
        (b"<answer><flag>success</flag></answer>", "shape"),
        (b"<response/>", "shape"),
    ],
)
def test_what_is_no_envelope(body: bytes, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        mapping.parse_reply(body)
    assert caught.value.code == code


# --- what a WMS tells -------------------------------------------------------------------------------------------

SAMPLE = """<request><deliveryOrder><deliveryOrderCode>GW2026050100001</deliveryOrderCode>
<warehouseCode>WH-HZ</warehouseCode><orderType>JYCK</orderType><outBizCode>MSG-77</outBizCode>
<confirmType>0</confirmType><status>DELIVERED</status><operateTime>2026-05-01 18:00:00</operateTime></deliveryOrder>
<packages><package><logisticsCode>zto</logisticsCode><expressCode>78900000000001</expressCode>
<items><item><itemCode>CUP-01</itemCode><quantity>1</quantity></item></items></package></packages><orderLines>
<orderLine><orderLineNo>1</orderLineNo><itemCode>CUP-01</itemCode><planQty>1</planQty><actualQty>1</actualQty>
</orderLine></orderLines></request>"""


def told(text: str, method: str = mapping.CONFIRM) -> Facts:
    return mapping.decode(method, text.encode(), settings=SETTINGS, carriers={"ZTO-WMS": "ZTO"})


def test_a_confirmation() -> None:
    assert told(SAMPLE) == Facts(
        party=Party.WAREHOUSE,
        order_no="GW2026050100001",
        confirmations=(
            Confirmation(
                "MSG-77",
                True,
                (Parcel("ZTO", "78900000000001", ((Sku("CUP-01"), 1),)),),
                ((Sku("CUP-01"), 1),),
                datetime(2026, 5, 1, 10, 0, tzinfo=UTC),
            ),
        ),
    )


def test_a_parcel_that_is_listed_for_each_sku_in_it_is_one() -> None:
    again = "".join(
        f"<package><logisticsCode>ZTO-wms</logisticsCode><expressCode>78900000000001</expressCode><items><item>"
        f"<itemCode>{sku}</itemCode><quantity>{pieces}</quantity></item></items></package>"
        for sku, pieces in (("CUP-01", 2), ("TEE-01", 1))
    )
    [confirmation] = told(SAMPLE.replace("</packages>", f"{again}</packages>")).confirmations
    assert confirmation.parcels == (Parcel("ZTO", "78900000000001", ((Sku("CUP-01"), 3), (Sku("TEE-01"), 1))),)


def test_a_carrier_is_named_as_we_do() -> None:
    confirmation = told(SAMPLE.replace("zto", "ZTO-wms")).confirmations[0]
    assert confirmation.parcels[0].carrier == "ZTO"


@pytest.mark.parametrize(
    ("old", "new", "final"),
    [
        ("<confirmType>0</confirmType>", "", True),
        ("<confirmType>0</confirmType>", "<confirmType>1</confirmType>", False),
        ("DELIVERED", "PARTDELIVERED", False),
        ("<status>DELIVERED</status>", "", True),
    ],
)
def test_whether_more_follows(old: str, new: str, final: bool) -> None:
    assert told(SAMPLE.replace(old, new)).confirmations[0].final is final


def test_nothing_shipped_is_not_as_ordered() -> None:
    assert told(SAMPLE.replace("<actualQty>1", "<actualQty>0")).confirmations[0].shipped == ((Sku("CUP-01"), 0),)


def test_without_lines_the_parcels_say_what_was_shipped() -> None:
    text = SAMPLE[: SAMPLE.index("<orderLines>")] + "</request>"
    assert told(text).confirmations[0].shipped == ((Sku("CUP-01"), 1),)


def test_lines_of_one_item_are_added_up() -> None:
    line = "<orderLine><itemCode>CUP-01</itemCode><actualQty>2.00</actualQty></orderLine>"
    assert told(SAMPLE.replace("<orderLines>", f"<orderLines>{line}")).confirmations[0].shipped == ((Sku("CUP-01"), 3),)


def test_identity_of_a_confirmation_without_an_id() -> None:
    def one(*numbers: str) -> bytes:
        packages = "".join(f"<package><expressCode>{number}</expressCode></package>" for number in numbers)
        return (
            "<request><deliveryOrder><deliveryOrderCode>A1</deliveryOrderCode></deliveryOrder>"
            f"<packages>{packages}</packages></request>"
        ).encode()

    assert mapping.read_head(mapping.CONFIRM, one("2", "1")) == ("A1", "0:1+2")
    assert mapping.read_head(mapping.CONFIRM, one("1", "2")) == ("A1", "0:1+2")
    assert len(mapping.read_head(mapping.CONFIRM, one(*map(str, range(100))))[1]) == 32


@pytest.mark.parametrize("given", ["出库-77", "MSG 77", "MSG\n77", "M" * 65])
def test_an_id_that_fits_no_header_is_known_by_its_digest(given: str) -> None:
    name = told(SAMPLE.replace("MSG-77", given)).confirmations[0].confirmation_id
    assert len(name) == 32 and name.isalnum() and name.isascii()
    assert mapping.read_head(mapping.CONFIRM, SAMPLE.replace("MSG-77", given).encode())[1] == name
    other = told(SAMPLE.replace("MSG-77", given + "!")).confirmations[0].confirmation_id
    assert other != name


@pytest.mark.parametrize(
    ("status", "step"),
    [
        ("ACCEPT", ProgressStep.ACCEPTED),
        ("print", ProgressStep.PICKING),
        ("PICK", ProgressStep.PICKING),
        ("CHECK", ProgressStep.PACKING),
        ("PACKAGE", ProgressStep.PACKING),
        ("WEIGH", ProgressStep.PACKING),
        ("READY", ProgressStep.READY),
        ("DELIVERED", ProgressStep.READY),
        ("EXCEPTION", ProgressStep.EXCEPTION),
        ("CANCELEDFAIL", ProgressStep.EXCEPTION),
        ("CANCELED", None),
        ("SOMETHING_OF_THEIRS", None),
    ],
)
def test_progress(status: str, step: ProgressStep | None) -> None:
    body = render_report("A1", status, datetime(2026, 5, 1, 1, 30, tzinfo=UTC)).decode()
    at = datetime(2026, 5, 1, 1, 30, tzinfo=UTC)
    progress = () if step is None else (Progress(step, status.upper(), at),)
    assert told(body, mapping.REPORT) == Facts(party=Party.WAREHOUSE, order_no="A1", progress=progress)


def test_a_status_of_their_own_can_be_configured() -> None:
    settings = msgspec.structs.replace(SETTINGS, process_status={"CANCELED": ProgressStep.EXCEPTION})
    body = render_report("A1", "CANCELED", datetime(2026, 5, 1, tzinfo=UTC))
    facts = mapping.decode(mapping.REPORT, body, settings=settings, carriers={})
    assert facts.progress[0].step is ProgressStep.EXCEPTION


@pytest.mark.parametrize(
    ("text", "method", "code"),
    [
        ("", mapping.CONFIRM, "xml"),
        (BOMB.decode(), mapping.CONFIRM, "xml"),
        ("<req/>", mapping.CONFIRM, "shape"),
        ("<request/>", mapping.CONFIRM, "field"),
        ("<request/>", mapping.REPORT, "field"),
        (SAMPLE.replace("<expressCode>78900000000001</expressCode>", ""), mapping.CONFIRM, "field"),
        (SAMPLE.replace("<itemCode>CUP-01</itemCode><planQty>", "<planQty>"), mapping.CONFIRM, "field"),
        (SAMPLE.replace("<actualQty>1", "<actualQty>-1"), mapping.CONFIRM, "value"),
        (SAMPLE.replace("<actualQty>1", "<actualQty>1.5"), mapping.CONFIRM, "value"),
        (SAMPLE.replace("<actualQty>1", "<actualQty>9999999"), mapping.CONFIRM, "value"),
        (SAMPLE.replace("<confirmType>0", "<confirmType>2"), mapping.CONFIRM, "value"),
        (SAMPLE.replace("DELIVERED", "EXCEPTION"), mapping.CONFIRM, "value"),
        (SAMPLE.replace("2026-05-01 18:00:00", "yesterday"), mapping.CONFIRM, "value"),
        (SAMPLE.replace("2026-05-01 18:00:00", "0001-01-01 00:00:00"), mapping.CONFIRM, "value"),
        (SAMPLE.replace("GW2026050100001", "9" * 201), mapping.CONFIRM, "value"),
        ("<request/>", "inventory.report", "value"),
    ],
)
def test_bad_messages(text: str, method: str, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        told(text, method)
    assert caught.value.code == code
    assert is_told(caught.value.message) and is_told(caught.value.advice)


skus = st.text(st.characters(min_codepoint=33, exclude_categories=["Cs", "Zs", "Cc", "Zl", "Zp"],
                             exclude_characters="\ufffe\uffff"), min_size=1, max_size=20)  # fmt: skip


@given(st.dictionaries(skus, st.integers(0, 1_000_000), min_size=1, max_size=5), st.booleans())
def test_any_confirmation_survives_the_way_in(items: dict[str, int], final: bool) -> None:
    body = render_confirm("A1", items, final=final, carrier="ZTO", tracking_no="78", out_biz_code="M1")
    wanted = tuple(sorted((Sku(sku), pieces) for sku, pieces in items.items()))

    facts = mapping.decode(mapping.CONFIRM, body, settings=SETTINGS, carriers={})

    assert facts.confirmations == (Confirmation("M1", final, (Parcel("ZTO", "78", wanted),), wanted),)


@given(st.binary(max_size=100) | st.text(max_size=100).map(lambda text: f"<request>{text}</request>".encode()))
def test_nothing_but_bad_input_comes_out_of_rubbish(body: bytes) -> None:
    for method in (mapping.CONFIRM, mapping.REPORT):
        mapping.read_head(method, body)
        with pytest.raises(BadInput):
            mapping.decode(method, body, settings=SETTINGS, carriers={})


def test_settings_never_show_the_secret() -> None:
    assert "SECRET" not in repr(msgspec.structs.replace(SETTINGS, secret="SECRET"))


@pytest.mark.parametrize("rule", [{}, {"message": "("}, {"text": "x"}])
def test_bad_rules_are_refused(rule: dict[str, str]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(rule, Match)


@pytest.mark.parametrize(
    ("route", "said"),
    [(None, "OTHER"), (Route(ConnectionName("wms"), "HZ"), "WH-01"), (Route(ConnectionName("wms"), "SH"), "SH")],
)
def test_a_warehouse_is_called_what_the_wms_calls_it(route: Route | None, said: str) -> None:
    settings = msgspec.structs.replace(SETTINGS, warehouse_codes={"HZ": "WH-01"})
    asked = delivery()
    asked = msgspec.structs.replace(asked, order=msgspec.structs.replace(asked.order, route=route))
    code = f"<warehouseCode>{said}</warehouseCode>".encode()
    assert code in mapping.render_create(asked, CONTENT, items_of(CONTENT.lines, None), settings)
    assert code in mapping.render_cancel(asked, settings)
    assert mapping.warehouse_of(asked, settings) == said
