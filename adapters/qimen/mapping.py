"""Qimen XML ⇄ the gateway's models, the signature, and what a WMS's answers mean.

Pure. Amounts are yuan with two decimals, instants Beijing time, quantities integers. Documents with a DTD are
refused, so entities can neither be declared nor expanded.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Literal
from xml.etree import ElementTree

import msgspec

from adapters.qimen.settings import Match, Settings
from gateway.sdk.models import (
    BadInput,
    Confirmation,
    ConnectionName,
    Content,
    Delivery,
    Facts,
    Item,
    Order,
    Parcel,
    Party,
    Progress,
    ProgressStep,
    Sku,
    Text,
    format_minor,
)

PREFIX = "taobao.qimen."
CREATE = "deliveryorder.create"
CANCEL = "order.cancel"
QUERY = "deliveryorder.query"
CONFIRM = "deliveryorder.confirm"
REPORT = "orderprocess.report"

PLATFORMS: Mapping[str, str] = {"taobao": "TB"}
"""Adapter of a shop → `sourcePlatformCode`; an adapter of Taobao cannot tell a shop of Tmall, TM."""

BEIJING = timezone(timedelta(hours=8))


# --- signature --------------------------------------------------------------------------------------------------


def sign(secret: str, query: Mapping[str, str], body: bytes) -> str:
    """``UPPER(hex(MD5(secret + k1v1k2v2... + body + secret)))`` over un-encoded values, names sorted, `sign` left out.

    Source: Qimen white paper, appendix on signatures (developer.alibaba.com, article 106850).
    """
    joined = "".join([name + query[name] for name in sorted(query) if name != "sign"])
    return hashlib.md5(f"{secret}{joined}".encode() + body + secret.encode()).hexdigest().upper()


def query_of(method: str, settings: Settings, now: datetime) -> dict[str, str]:
    """The query of one call, without its signature."""
    return {
        "method": PREFIX + method,
        "timestamp": beijing(now),
        "format": "xml",
        "app_key": settings.app_key,
        "v": "2.0",
        "sign_method": "md5",
        "customerId": settings.customer_id,
    }


def method_of(query: Mapping[str, str]) -> str:
    """``deliveryorder.confirm`` of ``taobao.qimen.deliveryorder.confirm``; empty when it is not a method's name."""
    name = query.get("method", "").removeprefix("taobao.").removeprefix("qimen.")
    return name if re.fullmatch(r"[a-z0-9._]{1,64}", name) else ""


# --- text -------------------------------------------------------------------------------------------------------

_SPECIAL = re.compile("[&<>\"'\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"}


def escape(text: str) -> str:
    """XML text. What XML 1.0 cannot hold (control characters but tab and line ends) is left out."""
    return _SPECIAL.sub(lambda match: _NAMED.get(match[0], ""), text)


def beijing(instant: datetime) -> str:
    """``2026-05-01 09:31:00``."""
    return instant.astimezone(BEIJING).isoformat(" ", "seconds")[:19]


def parse_beijing(text: str, *, where: str) -> datetime | None:
    """Aware UTC of ``2026-05-01 09:31:00`` (a ``T`` and fractions are taken too); None for nothing.

    Raises BadInput (`value`).
    """
    text = text.strip()
    if not text:
        return None
    try:
        local = datetime.fromisoformat(text)
        if not 2000 <= local.year <= 2099:
            raise ValueError
    except ValueError as error:
        advice = Text("yyyy-MM-dd HH:mm:ss，北京时间", "yyyy-MM-dd HH:mm:ss, Beijing time")
        raise BadInput("value", Text("不是时刻", "is not an instant"), where=where, advice=advice) from error
    return (local if local.tzinfo is not None else local.replace(tzinfo=BEIJING)).astimezone(UTC)


def parse_xml(body: bytes) -> ElementTree.Element:
    """The document's root. Raises BadInput (`xml`) for what is not UTF-8, not XML, or has a DTD."""
    try:
        # Decoded here, so that an `encoding=` of the document's own cannot hide a DTD from the next line.
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        what = Text(f"字节 {error.start} 不是 UTF-8", f"byte {error.start} is not UTF-8")
        raise BadInput("xml", what, advice=Text("改用 UTF-8 发送", "send UTF-8")) from error
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        advice = Text("只发普通元素，不接受实体", "send plain elements, entities are refused")
        raise BadInput("xml", Text("含有 DTD", "has a DTD"), advice=advice)
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        said = str(error)[:100]
        what = Text("不是 XML 文档", "is not an XML document")
        raise BadInput("xml", what, advice=Text(f"解析出错：{said}", said)) from error


# --- what goes out ----------------------------------------------------------------------------------------------


def with_platforms(settings: Settings, adapters: Mapping[ConnectionName, str]) -> Settings:
    """`settings` with the platform code of every shop whose adapter tells it, where they name no code for the rest.

    `adapters`: shop connection → adapter. Without the code of its platform an order goes out without its OAID.
    """
    if settings.platform_code is not None:
        return settings
    known = {str(shop): PLATFORMS[adapter] for shop, adapter in adapters.items() if adapter in PLATFORMS}
    return msgspec.structs.replace(settings, platform_codes={**known, **settings.platform_codes})


def render_create(delivery: Delivery, content: Content, items: Sequence[Item], settings: Settings) -> bytes:
    """The body of `deliveryorder.create`; the same bytes for the same order, whenever it is sent.

    One `orderLine` per item, numbered like the shop's line it belongs to; of several the second is ``<line>-2``.

    `createTime` and `operateTime` are when the order was paid (else placed): the standard wants them, and the time of
    the attempt would make two attempts two documents to a WMS that compares.

    The receiver's token goes along as `oaid` where the shop's platform is one of `oaid_platforms` only: what other
    platforms give to print by is no OAID, and a WMS that takes it for one prints nothing, or the mask.
    """
    order = delivery.order
    platform = settings.platform_codes.get(order.connection) or settings.platform_code or "OTHER"
    payment = None if order.payment is None else order.payment.value
    paid_at = payment.paid_at if payment is not None and payment.paid_at is not None else content.placed_at
    paid_minor = payment.amount_minor if payment is not None and payment.paid else 0
    channel_no = escape(order.channel_no)
    receiver, sender = content.receiver, settings.sender
    owner = escape(settings.owner_code)
    operated = beijing(paid_at)
    items_minor = 0
    lines = []
    before, count = "", 0
    for item in items:
        items_minor += item.price_minor * item.quantity
        line_no = escape(item.line_no)
        count = count + 1 if item.line_no == before else 1
        before = item.line_no
        lines.append(
            f"<orderLine><orderLineNo>{line_no if count == 1 else f'{line_no}-{count}'}</orderLineNo>"
            f"<sourceOrderCode>{channel_no}</sourceOrderCode>"
            f"<subSourceOrderCode>{line_no}</subSourceOrderCode>"
            f"<ownerCode>{owner}</ownerCode><itemCode>{escape(item.sku)}</itemCode>"
            f"{_element('itemName', item.name)}<planQty>{item.quantity}</planQty>"
            f"<retailPrice>{format_minor(item.price_minor + item.discount_minor)}</retailPrice>"
            f"<actualPrice>{format_minor(item.price_minor)}</actualPrice>"
            f"<discountAmount>{format_minor(item.discount_minor)}</discountAmount></orderLine>"
        )
    oaid = receiver.token if platform in settings.oaid_platforms else ""
    token = f"<oaidOrderSourceCode>{channel_no}</oaidOrderSourceCode>" if oaid else ""
    latest = ""
    if content.latest_ship_at is not None:
        latest = f"<latestDeliveryTime>{beijing(content.latest_ship_at)}</latestDeliveryTime>"
    return (
        '<?xml version="1.0" encoding="utf-8"?><request><deliveryOrder>'
        f"<deliveryOrderCode>{escape(order.number)}</deliveryOrderCode>"
        f"<orderType>{escape(settings.order_type)}</orderType>"
        f"<warehouseCode>{escape(_warehouse(order, settings))}</warehouseCode>"
        f"<sourcePlatformCode>{escape(platform)}</sourcePlatformCode>"
        f"<createTime>{operated}</createTime><placeOrderTime>{beijing(content.placed_at)}</placeOrderTime>"
        f"{'' if payment is None or payment.paid_at is None else f'<payTime>{operated}</payTime>'}"
        f"<operateTime>{operated}</operateTime><shopNick>{escape(settings.shop_nick)}</shopNick>"
        f"<logisticsCode>{escape(settings.logistics_code)}</logisticsCode>{token}{latest}"
        f"<totalAmount>{format_minor(content.total_minor)}</totalAmount>"
        f"<itemAmount>{format_minor(items_minor)}</itemAmount>"
        f"<discountAmount>{format_minor(content.discount_minor)}</discountAmount>"
        f"<freight>{format_minor(content.freight_minor)}</freight>"
        f"<arAmount>{format_minor(max(content.total_minor - paid_minor, 0))}</arAmount>"
        f"<gotAmount>{format_minor(paid_minor)}</gotAmount>"
        f"<senderInfo><name>{escape(sender.name)}</name><mobile>{escape(sender.mobile)}</mobile>"
        f"<province>{escape(sender.province)}</province><city>{escape(sender.city)}</city>"
        f"{_element('area', sender.area)}<detailAddress>{escape(sender.detail)}</detailAddress></senderInfo>"
        f"<receiverInfo><name>{escape(receiver.name)}</name><mobile>{escape(receiver.phone)}</mobile>"
        f"<province>{escape(receiver.province)}</province><city>{escape(receiver.city)}</city>"
        f"{_element('area', receiver.district)}{_element('town', receiver.town)}"
        f"<detailAddress>{escape(receiver.detail)}</detailAddress>"
        f"{_element('zipCode', receiver.postcode)}{_element('oaid', oaid)}</receiverInfo>"
        f"{_element('buyerMessage', content.buyer_note)}{_element('sellerMessage', content.seller_note)}"
        f"</deliveryOrder><orderLines>{''.join(lines)}</orderLines></request>"
    ).encode()


def render_cancel(delivery: Delivery, settings: Settings) -> bytes:
    """The body of `order.cancel`."""
    order = delivery.order
    reason = order.closing.value.reason if order.closing is not None and order.closing.value.reason else "买家取消"
    return (
        '<?xml version="1.0" encoding="utf-8"?><request>'
        f"<warehouseCode>{escape(_warehouse(order, settings))}</warehouseCode>"
        f"<ownerCode>{escape(settings.owner_code)}</ownerCode><orderCode>{escape(order.number)}</orderCode>"
        f"<orderType>{escape(settings.order_type)}</orderType><cancelReason>{escape(reason)}</cancelReason></request>"
    ).encode()


def render_query(number: str, warehouse: str, settings: Settings) -> bytes:
    """The body of `deliveryorder.query` for one order."""
    return (
        '<?xml version="1.0" encoding="utf-8"?><request>'
        f"<orderCode>{escape(number)}</orderCode><ownerCode>{escape(settings.owner_code)}</ownerCode>"
        f"<warehouseCode>{escape(warehouse)}</warehouseCode><page>1</page><pageSize>10</pageSize></request>"
    ).encode()


def _warehouse(order: Order, settings: Settings) -> str:
    """What the WMS calls the warehouse that `order` is routed to."""
    if order.route is None or not order.route.warehouse:
        return settings.warehouse_code
    return settings.warehouse_codes.get(order.route.warehouse, order.route.warehouse)


def warehouse_of(delivery: Delivery, settings: Settings) -> str:
    return _warehouse(delivery.order, settings)


def _element(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>" if text else ""


# --- what a WMS answers -----------------------------------------------------------------------------------------


class WmsReply(msgspec.Struct, frozen=True):
    """An answer as it reads. `by` tells the WMS's own envelope from the gateway's `error_response`."""

    by: Literal["wms", "gateway"]
    success: bool
    code: str
    message: str
    reference: str = ""
    order_code: str = ""
    status: str = ""


def parse_reply(body: bytes) -> WmsReply:
    """The envelope of an answer. Raises BadInput when it is not one."""
    root = parse_xml(body)
    if root.tag == "error_response":
        code = _text(root, "sub_code") or _text(root, "code")
        return WmsReply("gateway", False, code, _text(root, "sub_msg") or _text(root, "msg"))
    flag = _text(root, "flag").lower()
    if root.tag != "response" or flag not in ("success", "failure"):
        raise BadInput("shape", Text("不是奇门的应答格式", "is not a Qimen envelope"), where="/response/flag")
    return WmsReply(
        "wms",
        flag == "success",
        _text(root, "code"),
        _text(root, "message"),
        _text(root, "deliveryOrderId") or _text(root, "deliveryOrder/deliveryOrderId") or _text(root, "orderId"),
        _text(root, "deliveryOrder/deliveryOrderCode") or _text(root, "deliveryOrderCode"),
        (_text(root, "deliveryOrder/status") or _text(root, "status")).upper(),
    )


Kind = Literal["done", "throttled", "failed", "unknown", "already_done", "not_found", "rejected"]


class Verdict(msgspec.Struct, frozen=True):
    """What an answer means: its kind, and a code from a closed set."""

    kind: Kind
    code: str = ""


_NUMBERED: Mapping[str, Verdict] = {
    **dict.fromkeys(("4", "5", "6", "7", "8"), Verdict("throttled")),
    **dict.fromkeys(("24", "25", "26", "27", "28", "29"), Verdict("failed", "auth")),
    **dict.fromkeys(("30", "31"), Verdict("failed", "clock")),
    **dict.fromkeys(("40", "41"), Verdict("rejected", "parameter")),
}
"""Numbers of the `error_response` that say the gateway stopped the call itself. A number of a WMS means nothing."""

_NAMED_FAULTS: tuple[tuple[re.Pattern[str], Verdict], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), verdict)
    for pattern, verdict in (
        (r"^accesscontrol\.|call-limited|flow-?control|throttl", Verdict("throttled")),
        # Handed on, and what came of it is not known: the WMS may have it.
        (r"^isp\..*(timeout|remote)", Verdict("unknown", "gateway_timeout")),
        (r"^isp\.", Verdict("unknown", "gateway")),
        (r"sign-check-failure|invalid-signature|^isv\.(appkey|invalid-app|.*session)", Verdict("failed", "auth")),
        (r"^isv\..*timestamp", Verdict("failed", "clock")),
        (r"^isv\.(missing-|invalid-)|^missing-|^invalid-parameter", Verdict("rejected", "parameter")),
    )
)
"""Named codes, in either envelope; the first match counts. Only what certainly went no further than the gateway is
anything but unknown: a create that is wrongly called unknown costs a question, one wrongly called failed a document."""


def gateway_fault(reply: WmsReply) -> Verdict | None:
    """What the gateway between us and the WMS complains of; None when the failure is the WMS's own answer."""
    for pattern, verdict in _NAMED_FAULTS:
        if pattern.search(reply.code):
            return verdict
    return _NUMBERED.get(reply.code, Verdict("unknown", "gateway")) if reply.by == "gateway" else None


def classify(reply: WmsReply, settings: Settings, *, cancel: bool = False) -> Verdict:
    """What an answer to a create (or a cancel) means. A WMS's own failure is a matter of content, for a person."""
    if reply.success:
        return Verdict("done")
    if not says_not_found(reply, settings):
        fault = gateway_fault(reply)
        if fault is not None:
            return fault
        if cancel and fits(reply, settings.cancel_refused):
            return Verdict("rejected", "cancel_refused")
        if fits(reply, settings.already_done):
            return Verdict("already_done")
        return Verdict("rejected", "business")
    return Verdict("rejected", "not_found")


def says_not_found(reply: WmsReply, settings: Settings) -> bool:
    """Whether a failure means "no such order" by the connection's rule.

    A rule that names a code counts always; one by message only counts for the WMS's own answers, because the gateway
    says "does not exist" of an app key, too.
    """
    fault = gateway_fault(reply)
    return fits(reply, [rule for rule in settings.not_found if fault is None or rule.code is not None])


def classify_status(status: int, settings: Settings) -> Verdict:
    """What an HTTP status other than 200 means for a command that must not be repeated blindly."""
    if status == 429:
        return Verdict("throttled")
    if status in settings.uncommitted_statuses:
        return Verdict("failed", f"http_{status}" if status in (500, 502, 503, 504) else "http_5xx")
    if status >= 500 or status == 408:
        return Verdict("unknown", f"http_{status}" if status in (408, 500, 502, 503, 504) else "http_5xx")
    if status in (400, 413, 422):
        return Verdict("rejected", "http_4xx")
    if status in (401, 403):
        return Verdict("failed", "auth")
    return Verdict("failed", "http_4xx" if status >= 400 else "redirect")


def fits(reply: WmsReply, rules: Iterable[Match]) -> bool:
    """Whether one of `rules` describes the answer."""
    return any(
        (rule.code is None or rule.code == reply.code)
        and (rule.message is None or re.search(rule.message, reply.message) is not None)
        for rule in rules
    )


def ban_s(message: str) -> float | None:
    """Seconds the gateway says a caller is banned for, and one more; None when it does not say."""
    match = re.search(r"ban will last for (\d{1,5})", message)
    return None if match is None else int(match[1]) + 1.0


CANCELLED_STATUSES = frozenset({"CANCELED", "CANCELLED", "CLOSED"})


# --- what a WMS tells -------------------------------------------------------------------------------------------

STEPS: Mapping[str, ProgressStep] = {
    "ACCEPT": ProgressStep.ACCEPTED,
    "PRINT": ProgressStep.PICKING,
    "PICK": ProgressStep.PICKING,
    "CHECK": ProgressStep.PACKING,
    "PACKAGE": ProgressStep.PACKING,
    "WEIGH": ProgressStep.PACKING,
    "READY": ProgressStep.READY,
    "DELIVERED": ProgressStep.READY,
    "EXCEPTION": ProgressStep.EXCEPTION,
    "LACK": ProgressStep.EXCEPTION,
    "REJECT": ProgressStep.EXCEPTION,
    "REFUSE": ProgressStep.EXCEPTION,
    "CANCELEDFAIL": ProgressStep.EXCEPTION,
}
"""Process status → step. Others say nothing to us: CANCELED and CLOSED echo our cancel, the rest is a WMS's own
(`process_status` in the settings adds them). What was shipped is told by the confirmation, not by DELIVERED."""

_CODE = re.compile(rb"<(?:deliveryOrderCode|orderCode)>\s*([^<>&\s]{1,128})\s*</")
_KEY = re.compile(r"[!-~]{1,128}")
_PLAIN_ID = re.compile(r"[!-~]{1,64}")
_LOOK = Text("查看原始报文", "look at the raw message")


def read_head(method: str, body: bytes) -> tuple[str, str]:
    """Our number, and what is the same when the same message comes again; each empty when it cannot be read.

    A confirmation is known by `outBizCode`, else by its type and tracking numbers; a report by status and time.
    Source: Qimen standard, deliveryorder.confirm, `outBizCode`.
    """
    try:
        root = parse_xml(body)
    except BadInput:
        match = _CODE.search(body)
        number = match[1].decode("ascii", "replace") if match else ""
        return (number if _KEY.fullmatch(number) else ""), ""
    number = _text(root, "deliveryOrder/deliveryOrderCode") or _text(root, "order/orderCode")
    if _KEY.fullmatch(number) is None:
        return "", ""
    if method == REPORT:
        return number, f"{_text(root, 'process/processStatus').upper()}@{_text(root, 'process/operateTime')}"
    try:
        return number, confirmation_id(root)
    except BadInput:
        return number, ""


def confirmation_id(root: ElementTree.Element) -> str:
    """``MSG-77``, or ``0:78900000000001+78900000000002`` where the WMS gives no id.

    Becomes part of a command's key, and with that of a header: what is not 1 to 64 visible ASCII characters is replaced
    by its digest.
    """
    given = _text(root, "deliveryOrder/outBizCode")
    if not given:
        numbers = sorted({_text(package, "expressCode") for package in root.iterfind("packages/package")})
        given = f"{_confirm_type(root)}:{'+'.join(numbers)}"
    return given if _PLAIN_ID.fullmatch(given) else _digest(given)


def decode(method: str, body: bytes, *, settings: Settings, carriers: Mapping[str, str]) -> Facts:
    """What a message of the WMS says. `carriers`: the WMS's code → ours; others are passed on as they are.

    Raises BadInput: `xml`, `shape`, `field`, `value`.
    """
    if method not in (CONFIRM, REPORT):
        advice = Text("在 WMS 中关闭该消息，或放弃此条", "switch the message off at the WMS, or delete this entry")
        what = Text(f"不处理 `{method}`", f"`{method}` is not handled")
        raise BadInput("value", what, where="method", advice=advice)
    root = parse_xml(body)
    if root.tag != "request":
        raise BadInput("shape", Text("根元素不是 `request`", "the root is not `request`"), where="/", advice=_LOOK)
    return _confirm(root, carriers) if method == CONFIRM else _report(root, settings)


def _confirm(root: ElementTree.Element, carriers: Mapping[str, str]) -> Facts:
    code = _required(root, "deliveryOrder/deliveryOrderCode")
    status = _text(root, "deliveryOrder/status").upper()
    if status not in ("", "DELIVERED", "PARTDELIVERED"):
        where = "/request/deliveryOrder/status"
        what = Text("发货确认的状态不是已发货", "a confirmation that does not say shipped")
        raise BadInput("value", what, where=where, advice=Text("向仓库核实", "ask the warehouse"))
    at = parse_beijing(
        _text(root, "deliveryOrder/operateTime") or _text(root, "deliveryOrder/orderConfirmTime"),
        where="/request/deliveryOrder/operateTime",
    )
    # A WMS may list a parcel once for each SKU in it.
    parcels: dict[tuple[str, str], dict[Sku, int]] = {}
    packed: dict[Sku, int] = {}
    for index, package in enumerate(root.iterfind("packages/package"), 1):
        where = f"/request/packages/package[{index}]"
        items: dict[Sku, int] = {}
        for item in package.iterfind("items/item"):
            _count(items, item, "quantity", f"{where}/items/item")
        for sku, pieces in items.items():
            packed[sku] = packed.get(sku, 0) + pieces
        carrier = _required(package, "logisticsCode", where).upper()
        tracking_no = _required(package, "expressCode", where)
        parcel = parcels.setdefault((carriers.get(carrier, carrier), tracking_no), {})
        for sku, pieces in items.items():
            parcel[sku] = parcel.get(sku, 0) + pieces
    shipped: dict[Sku, int] = {}
    for index, line in enumerate(root.iterfind("orderLines/orderLine"), 1):
        # A line of zero stays: without any line the confirmation would read "as ordered".
        _count(shipped, line, "actualQty", f"/request/orderLines/orderLine[{index}]")
    return Facts(
        party=Party.WAREHOUSE,
        order_no=code,
        confirmations=(
            Confirmation(
                confirmation_id(root),
                _confirm_type(root) == "0" and status != "PARTDELIVERED",
                tuple(Parcel(*named, tuple(sorted(items.items()))) for named, items in sorted(parcels.items())),
                tuple(sorted((shipped or packed).items())),
                at,
            ),
        ),
    )


def _report(root: ElementTree.Element, settings: Settings) -> Facts:
    code = _text(root, "order/orderCode") or _required(root, "deliveryOrder/deliveryOrderCode")
    status = _required(root, "process/processStatus").upper()
    at = parse_beijing(_text(root, "process/operateTime"), where="/request/process/operateTime")
    step = settings.process_status.get(status, STEPS.get(status))
    if step is None:
        return Facts(party=Party.WAREHOUSE, order_no=code)
    text = " ".join(
        part for part in (status, _text(root, "process/operateInfo"), _text(root, "process/remark")) if part
    )
    return Facts(party=Party.WAREHOUSE, order_no=code, progress=(Progress(step, text[:500], at),))


def _confirm_type(root: ElementTree.Element) -> str:
    """`0` final, `1` more follows. Not given means final (the standard's default)."""
    given = _text(root, "deliveryOrder/confirmType") or "0"
    if given not in ("0", "1"):
        where = "/request/deliveryOrder/confirmType"
        advice = Text("向仓库核实后面是否还有包裹", "ask the warehouse whether more follows")
        raise BadInput("value", Text("不是 0 或 1", "is neither 0 nor 1"), where=where, advice=advice)
    return given


def _count(into: dict[Sku, int], element: ElementTree.Element, field: str, where: str) -> None:
    sku = Sku(_required(element, "itemCode", where))
    text = _required(element, field, where)
    match = re.fullmatch(r"([0-9]{1,7})(?:\.0+)?", text)
    if match is None or int(match[1]) > 1_000_000:
        advice = Text("0 到 1000000 的整数件", "0 to 1000000 whole pieces")
        raise BadInput("value", Text("不是数量", "is not a quantity"), where=f"{where}/{field}", advice=advice)
    into[sku] = into.get(sku, 0) + int(match[1])


def _required(element: ElementTree.Element, path: str, where: str = "/request") -> str:
    text = _text(element, path)
    if not text:
        advice = Text("必填", "it is required")
        raise BadInput("field", Text("缺少", "is missing"), where=f"{where}/{path}", advice=advice)
    if len(text) > 200:
        what = Text("超过 200 个字符", "is longer than 200 characters")
        raise BadInput("value", what, where=f"{where}/{path}", advice=_LOOK)
    return text


def _text(element: ElementTree.Element, path: str) -> str:
    found = element.find(path)
    return (found.text or "").strip() if found is not None else ""


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


# --- what we answer a WMS ---------------------------------------------------------------------------------------


def render_reply(*, success: bool, code: str = "", message: str = "") -> bytes:
    """The envelope a WMS expects from us."""
    flag = "success" if success else "failure"
    return (
        f'<?xml version="1.0" encoding="utf-8"?><response><flag>{flag}</flag><code>{escape(code)}</code>'
        f"<message>{escape(message)}</message></response>"
    ).encode()
