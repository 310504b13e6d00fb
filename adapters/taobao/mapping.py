"""Trades of Taobao and Tmall ⇄ the gateway's models: what a trade says, and what a shipment tells.

Pure. Amounts are yuan with two decimals, instants Beijing time. Sources: the vendor's API descriptions of
`taobao.trade.fullinfo.get` and `taobao.logistics.offline.send`. Lists read in both forms, ``{"order": [...]}`` and the
bare list of `simplify`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from hashlib import blake2b
from typing import Generic, Literal, TypeVar

import msgspec

from adapters.taobao.settings import Settings, Stand
from gateway.sdk.models import (
    BadInput,
    Closing,
    Content,
    Delivery,
    Facts,
    Hold,
    Line,
    Operation,
    Parcel,
    Party,
    Payment,
    Receiver,
    Refund,
    RefundStatus,
    Rejected,
    Sku,
    Text,
    lines_in,
    parse_minor,
    verdict_in_chinese,
)

EVENT_TYPE = "taobao.trade.v1"
BEIJING = timezone(timedelta(hours=8))

FIELDS = (
    "tid,tid_str,type,status,created,pay_time,modified,consign_time,end_time,payment,total_fee,post_fee,discount_fee,"
    "adjust_fee,received_payment,order_tax_fee,buyer_cod_fee,step_trade_status,step_paid_fee,is_sh_ship,delivery_time,"
    "buyer_nick,buyer_open_uid,buyer_message,seller_memo,seller_flag,receiver_name,receiver_mobile,receiver_phone,"
    "receiver_state,receiver_city,receiver_district,receiver_town,receiver_address,receiver_zip,promotion_details,"
    "service_orders,orders"
)
"""Of a trade's detail. The receiver's name, address, both numbers and `created` have to be among them, or no OAID comes
(parameter `oaid` of the vendor's description)."""

T = TypeVar("T")
Id = int | str
Given = str | None
"""The platform leaves fields out, sends null, or sends an empty text."""

# --- a trade as the platform writes it ----------------------------------------------------------------------------


class Orders(msgspec.Struct, Generic[T], frozen=True):
    order: tuple[T, ...] = ()


class ServiceOrders(msgspec.Struct, Generic[T], frozen=True):
    service_order: tuple[T, ...] = ()


class OrderIn(msgspec.Struct, frozen=True, gc=False):
    """A line (子订单)."""

    oid: Id = ""
    oid_str: Given = None
    num: int = 0
    price: Given = None
    title: Given = None
    num_iid: Id | None = None
    sku_id: Id | None = None
    outer_iid: Given = None
    outer_sku_id: Given = None
    discount_fee: Given = None
    adjust_fee: Given = None
    part_mjz_discount: Given = None
    divide_order_fee: Given = None
    status: Given = None
    refund_status: Given = None
    refund_id: Id | None = None
    consign_time: Given = None
    invoice_no: Given = None


class ServiceOrderIn(msgspec.Struct, frozen=True, gc=False):
    payment: Given = None


class TradeIn(msgspec.Struct, frozen=True, gc=False):
    tid: Id = ""
    tid_str: Given = None
    type: Given = None
    status: Given = None
    created: Given = None
    modified: Given = None
    pay_time: Given = None
    payment: Given = None
    post_fee: Given = None
    order_tax_fee: Given = None
    buyer_cod_fee: Given = None
    step_trade_status: Given = None
    is_sh_ship: bool | None = None
    delivery_time: Given = None
    buyer_message: Given = None
    seller_memo: Given = None
    receiver_name: Given = None
    receiver_mobile: Given = None
    receiver_phone: Given = None
    receiver_state: Given = None
    receiver_city: Given = None
    receiver_district: Given = None
    receiver_town: Given = None
    receiver_address: Given = None
    receiver_zip: Given = None
    oaid: Given = None
    orders: Orders[OrderIn] | tuple[OrderIn, ...] | None = None
    service_orders: ServiceOrders[ServiceOrderIn] | tuple[ServiceOrderIn, ...] | None = None
    error_response: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    """Not the platform's place for it: what stands where a detail was refused, see `render_refused`."""

    @property
    def lines(self) -> tuple[OrderIn, ...]:
        return (self.orders.order if isinstance(self.orders, Orders) else self.orders) or ()

    @property
    def services(self) -> tuple[ServiceOrderIn, ...]:
        given = self.service_orders
        return (given.service_order if isinstance(given, ServiceOrders) else given) or ()

    @property
    def number(self) -> str:
        return self.tid_str or str(self.tid)


# --- where a trade stands -------------------------------------------------------------------------------------------

STATUSES: Mapping[str, tuple[int, Stand]] = {
    "TRADE_NO_CREATE_PAY": (10, "unpaid"),
    "WAIT_PRE_AUTH_CONFIRM": (12, "unpaid"),
    "WAIT_BUYER_PAY": (14, "unpaid"),
    "PAY_PENDING": (16, "unpaid"),
    "PAID_FORBID_CONSIGN": (20, "held"),
    "WAIT_SELLER_SEND_GOODS": (30, "paid"),
    "SELLER_CONSIGNED_PART": (40, "paid"),
    "WAIT_BUYER_CONFIRM_GOODS": (50, "shipped"),
    "TRADE_BUYER_SIGNED": (52, "shipped"),
    "TRADE_FINISHED": (60, "finished"),
    "TRADE_CLOSED_BY_TAOBAO": (70, "cancelled"),
    "TRADE_CLOSED": (72, "closed"),
}
"""`status` of trades and lines → its place in a trade's life, and what it means. Of one modified second the later place
wins; places are multiplied by ten to leave room for the steps of a pre-sale."""

_RANKS: Mapping[Stand, int] = {
    "unpaid": 15,
    "held": 25,
    "paid": 35,
    "shipped": 55,
    "finished": 65,
    "cancelled": 71,
    "closed": 73,
}
STEPS = ("FRONT_NOPAID_FINAL_NOPAID", "FRONT_PAID_FINAL_NOPAID", "FRONT_PAID_FRONT_FORFEITED", "FRONT_PAID_FINAL_PAID")
"""`step_trade_status` of a pre-sale, in the order of its life. Only the last one may be shipped."""

REFUNDS: Mapping[str, RefundStatus | None] = {
    "": None,
    "NO_REFUND": None,
    "WAIT_SELLER_AGREE": RefundStatus.OPEN,
    "WAIT_BUYER_RETURN_GOODS": RefundStatus.OPEN,
    "WAIT_SELLER_CONFIRM_GOODS": RefundStatus.OPEN,
    "SELLER_REFUSE_BUYER": RefundStatus.REJECTED,
    "CLOSED": RefundStatus.REJECTED,
    "SUCCESS": RefundStatus.DONE,
}
"""`refund_status` of a line; ``NO_REFUND`` is not in the vendor's description, and seen."""

PART_SHIPPED = "SELLER_CONSIGNED_PART"
_SHIPPED: frozenset[Stand] = frozenset({"shipped", "finished"})
_ENDED: frozenset[Stand] = frozenset({"cancelled", "closed"})


def place_of(status: str, settings: Settings) -> tuple[int, Stand] | None:
    """Place and meaning of a status; None for one that neither the table nor the settings know."""
    known = STATUSES.get(status)
    if known is None and status in settings.statuses:
        stand = settings.statuses[status]
        known = (_RANKS[stand], stand)
    return known


# --- what comes in --------------------------------------------------------------------------------------------------


def decode(body: bytes, settings: Settings) -> Facts:
    """What a trade's detail says. Raises BadInput: `json`, `shape`, `field`, `value`, `amount`, `unread`."""
    try:
        trade = _decode_trade(body)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput("json", Text("不是 JSON 文档", "is not a JSON document"), advice=_READ_AGAIN) from error
    if trade.error_response:
        raise _unread(trade.error_response)
    number = trade.number
    if not number.isascii() or not number.isdigit():
        raise BadInput("field", _NO_NUMBER, where="$.tid", advice=Text("每个订单都应有此项", "every trade has one"))
    place, stand = _place(trade.status, "$.status", settings)
    step = trade.step_trade_status or ""
    lines = trade.lines
    stands = [_place(line.status or trade.status, _at(trade, i, "status"), settings)[1] for i, line in enumerate(lines)]
    closed_lines = [own in _ENDED for own in stands]
    ended = stand in _ENDED or (bool(lines) and all(closed_lines))
    kept = [line for closed, line in zip(closed_lines, lines, strict=True) if not closed or _left(line)]
    # Closed, a trade does not say any more that it was shipped: its lines do, and those that were not are left out.
    left = stand in _SHIPPED or (ended and bool(kept) and all(map(_left, kept)))
    modified_at = _instant(trade.modified, "$.modified")
    return Facts(
        party=Party.SHOP,
        order_no=number,
        version=round(modified_at.timestamp()) * 1000,
        rank=place * 10 + (STEPS.index(step) if step in STEPS else 0),
        content=_content(trade, [closed and not _left(line) for closed, line in zip(closed_lines, lines, strict=True)]),
        payment=_payment(trade, stand),
        hold=_hold(trade, stand, stands, step),
        left=left,
        closing=Closing(True, trade.status or "", all(map(_left, lines))) if ended else Closing(False),
        refunds=_refunds(trade, settings),
    )


def _unread(said: msgspec.Raw) -> BadInput:
    """`unread` where nothing but the platform's refusal is there; an answer of another form may hold the trade."""
    try:
        _decode_refusal(said)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        other = Text("平台的应答中没有订单", "the platform's answer has no trade in it")
        return BadInput("shape", other, where="$.error_response", advice=_UPDATE)
    refused = Text("平台没有给出订单详情", "the platform does not give the trade's detail")
    advice = Text(
        "在卖家后台查看该订单；再次读到时此条自动关闭，确认无用可放弃",
        "look at the trade in the seller's desk; a later reading closes this by itself, or discard it",
    )
    return BadInput("unread", refused, where="$.error_response", advice=advice)


def _place(status: str | None, where: str, settings: Settings) -> tuple[int, Stand]:
    if not status:
        advice = Text("每个订单和子订单都应有此项", "every trade and line has one")
        raise BadInput("field", _MISSING, where=where, advice=advice)
    known = place_of(status, settings)
    if known is None:
        shown = status if re.fullmatch(r"[A-Z_]{1,40}", status) else "?"
        unknown = Text(f"未知状态 {shown}", f"is the unknown status {shown}")
        advice = Text(
            f"在该连接的 `statuses` 下写明含义：{shown}: paid",
            f"say what it means under `statuses` of the connection: {shown}: paid",
        )
        raise BadInput("value", unknown, where=where, advice=advice)
    return known


def _payment(trade: TradeIn, stand: Stand) -> Payment:
    if trade.type == "cod":
        # To be sent before it is paid; nothing has been paid until it has arrived.
        return Payment(stand not in ("unpaid", "cancelled"), method="cod")
    paid = stand not in ("unpaid", "cancelled") and (stand != "closed" or bool(trade.pay_time))
    if not paid:
        return Payment(False)
    paid_at = None if not trade.pay_time else _instant(trade.pay_time, "$.pay_time")
    return Payment(True, _amount(trade.payment, "$.payment"), paid_at)


def _hold(trade: TradeIn, stand: Stand, stands: Sequence[Stand], step: str) -> Hold:
    """What has left in part is a hold too, and for a person: the hand that sent a line of it sends the rest.

    After our own shipments it comes late and changes nothing: `create` is out, and a parcel is confirmed.
    """
    if stand == "held":
        return Hold(True, trade.status or "")
    if (
        stand not in _ENDED
        and stand not in _SHIPPED
        and (trade.status == PART_SHIPPED or _SHIPPED.intersection(stands) or any(map(_left, trade.lines)))
    ):
        return Hold(True, PART_SHIPPED, for_person=True)
    if step and step != STEPS[-1]:
        return Hold(True, step[:40])
    if trade.is_sh_ship:
        return Hold(True, "is_sh_ship")
    return Hold(False)


def _refunds(trade: TradeIn, settings: Settings) -> tuple[Refund, ...]:
    """The last refund of every line that has one, known by the line: a trade tells no more than the last one.

    Known by its own number, one that was withdrawn between two readings would stay open for ever. How much was paid
    back does not stand in a trade, so the amount is 0: a trade that is paid back in full is closed.
    """
    found = []
    for index, line in enumerate(trade.lines):
        said = line.refund_status or ""
        if said in REFUNDS:
            status = REFUNDS[said]
        elif said in settings.refund_statuses:
            status = settings.refund_statuses[said]
        else:
            shown = said if re.fullmatch(r"[A-Z_]{1,40}", said) else "?"
            unknown = Text(f"未知退款状态 {shown}", f"is the unknown refund status {shown}")
            advice = Text(
                f"在该连接的 `refund_statuses` 下写明含义：{shown}: open",
                f"say what it means under `refund_statuses` of the connection: {shown}: open",
            )
            raise BadInput("value", unknown, where=_at(trade, index, "refund_status"), advice=advice)
        refund_id = str(line.refund_id or "")
        if status is None and refund_id.strip("0"):
            status = RefundStatus.REJECTED  # there was one, and it is no more
        if status is not None:
            found.append(Refund(_oid(line), status, 0, f"{refund_id} {said}".strip()))
    return tuple(found)


def _content(trade: TradeIn, gone: Sequence[bool]) -> Content:
    """Lines that were closed before they were sent are left out, unless that leaves none."""
    given = trade.lines
    if not given:
        advice = Text("在请求的字段中加上 `orders`", "ask for `orders` among the fields")
        raise BadInput("field", _MISSING, where="$.orders", advice=advice)
    bill = _bill(trade)
    if all(gone):
        gone = [False] * len(given)
    kept = [index for index, out in enumerate(gone) if not out]
    lines = []
    pieces_minor = 0
    for index in kept:
        line = _line(trade, index, bill.shares_minor[index])
        pieces_minor += line.price_minor * line.quantity
        lines.append(line)
    numbers = {line.line_no for line in lines}
    if len(numbers) < len(lines):
        twice = Text("两个子订单的 `oid` 相同", "two lines have one `oid`")
        raise BadInput("value", twice, where="$.orders", advice=_READ_AGAIN)
    kept_minor = sum(bill.shares_minor[index] for index in kept)
    every_minor = sum(bill.shares_minor)
    # What the platform has not divided over the lines goes with them in proportion.
    undivided_minor = bill.undivided_minor * kept_minor // every_minor if every_minor else bill.undivided_minor
    if kept_minor + bill.charges_minor == bill.payment_minor:
        undivided_minor = 0  # closed before it was paid: the payment is without the line
    total_minor = kept_minor + bill.charges_minor - undivided_minor
    return Content(
        _instant(trade.created, "$.created"),
        tuple(lines),
        _receiver(trade),
        total_minor,
        freight_minor=bill.charges_minor,
        discount_minor=pieces_minor + bill.charges_minor - total_minor,
        buyer_note=trade.buyer_message or "",
        seller_note=trade.seller_memo or "",
        latest_ship_at=_latest(trade.delivery_time),
    )


def _line(trade: TradeIn, index: int, share_minor: int) -> Line:
    given = trade.lines[index]
    oid = _oid(given)
    if not oid.isascii() or not oid.isdigit():
        where = _at(trade, index, "oid")
        raise BadInput("field", _NO_NUMBER, where=where, advice=Text("每个子订单都应有此项", "every line has one"))
    codes = (given.outer_sku_id, given.outer_iid, _id(given.sku_id), _id(given.num_iid))
    sku = next((code.strip() for code in codes if code and not code.isspace()), "")
    if not sku:
        advice = Text("给商品设置商家编码", "give the item a merchant code (商家编码)")
        raise BadInput("field", _MISSING, where=_at(trade, index, "outer_sku_id"), advice=advice)
    # Rounded up: what a piece costs too much by that, the discount of the whole order takes off again.
    price_minor = -(-share_minor // given.num)
    list_minor = _amount(given.price, _at(trade, index, "price"))
    return Line(oid, Sku(sku), given.num, price_minor, given.title or "", max(list_minor - price_minor, 0))


def _receiver(trade: TradeIn) -> Receiver:
    """As the platform has it, masked parts included; `token` is the OAID.

    A county that its province governs directly has no city: the vendor's advice is to take the district for one.
    """
    return Receiver(
        trade.receiver_name or "",
        trade.receiver_mobile or trade.receiver_phone or "",
        trade.receiver_state or "",
        trade.receiver_city or trade.receiver_district or "",
        trade.receiver_district or "",
        trade.receiver_town or "",
        trade.receiver_address or "",
        trade.receiver_zip or "",
        trade.oaid or "",
    )


class Bill(msgspec.Struct, frozen=True):
    """A trade's amounts, proven: the shares of the lines and the charges, less what is undivided, are the payment.

    `charges_minor`: freight, duty, services and the cash-on-delivery fee.
    """

    shares_minor: tuple[int, ...]
    charges_minor: int
    undivided_minor: int
    payment_minor: int


def _bill(trade: TradeIn) -> Bill:
    """Raises BadInput (`amount`) where lines and charges do not amount to what was paid.

    A line's share is `divide_order_fee` (after all discounts), else price × num + adjust_fee - discount_fee -
    part_mjz_discount. The proof is waived where a line was paid back: the platform then changes the line's amounts.
    """
    shares = tuple(_share(trade, index) for index in range(len(trade.lines)))
    charges = sum(
        _amount(text, where, absent=0)
        for text, where in (
            (trade.post_fee, "$.post_fee"),
            (trade.order_tax_fee, "$.order_tax_fee"),
            (trade.buyer_cod_fee, "$.buyer_cod_fee"),
            *((service.payment, "$.service_orders") for service in trade.services),
        )
    )
    payment = _amount(trade.payment, "$.payment")
    undivided = sum(shares) + charges - payment
    if undivided < 0 and not any(REFUNDS.get(line.refund_status or "") is RefundStatus.DONE for line in trade.lines):
        more = Text("超过子订单与各项费用之和", "is more than lines and charges amount to")
        advice = Text(
            "与卖家后台核对该订单；是否有网关不认识的费用？",
            "compare the trade with the seller's desk; a charge that the gateway does not know?",
        )
        raise BadInput("amount", more, where="$.payment", advice=advice)
    return Bill(shares, charges, max(undivided, 0), payment)


def _share(trade: TradeIn, index: int) -> int:
    line = trade.lines[index]
    if line.num < 1:
        few = Text("小于 1", "is not at least 1")
        raise BadInput("value", few, where=_at(trade, index, "num"), advice=_READ_AGAIN)
    if line.divide_order_fee:
        return _amount(line.divide_order_fee, _at(trade, index, "divide_order_fee"))
    minor = (
        _amount(line.price, _at(trade, index, "price")) * line.num
        + _amount(line.adjust_fee, _at(trade, index, "adjust_fee"), absent=0, signed=True)
        - _amount(line.discount_fee, _at(trade, index, "discount_fee"), absent=0)
        - _amount(line.part_mjz_discount, _at(trade, index, "part_mjz_discount"), absent=0)
    )
    if minor < 0:
        more = Text("超过子订单的金额", "is more than the line costs")
        raise BadInput("amount", more, where=_at(trade, index, "discount_fee"), advice=_READ_AGAIN)
    return minor


def _amount(text: str | None, where: str, *, absent: int | None = None, signed: bool = False) -> int:
    if not text:
        if absent is None:
            raise BadInput("field", _MISSING, where=where, advice=_ASK_FOR_IT)
        return absent
    try:
        minor = parse_minor(text)
    except BadInput as error:
        advice = Text("平台的金额以元为单位：12.30", "the platform writes yuan: 12.30")
        raise BadInput("amount", error.message, where=where, advice=advice) from error
    if minor < 0 and not signed:
        raise BadInput("amount", Text("小于零", "is below zero"), where=where, advice=_READ_AGAIN)
    return minor


def _instant(text: str | None, where: str) -> datetime:
    if not text:
        raise BadInput("field", _MISSING, where=where, advice=_ASK_FOR_IT)
    found = parse_beijing(text)
    if found is None:
        advice = Text("yyyy-MM-dd HH:mm:ss，北京时间", "yyyy-MM-dd HH:mm:ss, Beijing time")
        raise BadInput("value", Text("不是时刻", "is not an instant"), where=where, advice=advice)
    return found


def _latest(text: str | None) -> datetime | None:
    """`delivery_time` where it is an instant or a day (then the day's end); its form is not described, so else None."""
    if not text:
        return None
    return parse_beijing(f"{text} 23:59:59" if len(text) == 10 else text)


def _left(line: OrderIn) -> bool:
    """Whether a line has been handed to a carrier."""
    return any(told and not told.isspace() for told in (line.consign_time, line.invoice_no))


def _id(given: Id | None) -> str:
    """An item without variants has no `sku_id`, or 0."""
    return str(given) if str(given or "").strip("0") else ""


def _oid(line: OrderIn) -> str:
    return line.oid_str or str(line.oid)


def _at(trade: TradeIn, index: int, field: str) -> str:
    return f"$.orders{'.order' if isinstance(trade.orders, Orders) else ''}[{index}].{field}"


_MISSING = Text("缺少", "is missing")
_NO_NUMBER = Text("缺少，或不是数字", "is missing or not a number")
_ASK_FOR_IT = Text("在请求的字段中加上它", "ask for it among the fields")
_READ_AGAIN = Text("重新读取该订单", "read the order again")
_UPDATE = Text(
    "平台改变了订单的写法：需要更新适配器",
    "the platform has changed how it writes trades: an update of the adapter is needed",
)
_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<where>.*)`)?$", re.DOTALL)


def _explain(message: str) -> BadInput:
    """msgspec's message as code and path. Never quotes a value, which may be the buyer's."""
    match = _AT.match(message)
    what, where = (match["what"], match["where"] or "$") if match else (message, "$")
    zh = verdict_in_chinese(what) or "类型或格式不符"
    return BadInput("shape", Text(zh, what[0].lower() + what[1:]), where=where, advice=_UPDATE)


_decode_trade = msgspec.json.Decoder(TradeIn).decode

# --- events ---------------------------------------------------------------------------------------------------------


class Row(msgspec.Struct, frozen=True):
    """A row of the list of changed trades."""

    tid: Id = ""
    tid_str: Given = None
    modified: Given = None

    @property
    def number(self) -> str:
        return self.tid_str or str(self.tid)


def read_row(raw: bytes) -> Row:
    """As much of a row (or of a trade) as can be read; never raises."""
    try:
        return _decode_row(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Row()


def event_id(number: str, modified_at: datetime, body: bytes) -> str:
    """The same for the same state of a trade: number, modified, and a digest, because many states share a second.

    The digest does not see the order of keys, which the platform does not promise.
    """
    try:
        body = _canonical(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # whatever it is, it has bytes
    return f"{number}/{round(modified_at.timestamp()) * 1000}/{blake2b(body, digest_size=8).hexdigest()}"


class Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why there is no detail, in the adapter's words."""

    code: str
    message: str


def render_refused(row: bytes, error: bytes) -> bytes:
    """What is kept of a trade without its detail: its row, and a `Refusal` or the answer; `decode` refuses it, too."""
    return b'{"row":' + row + b',"error_response":' + error + b"}"


_decode_refusal = msgspec.json.Decoder(Refusal).decode
_decode_row = msgspec.json.Decoder(Row).decode
_canonical = msgspec.json.Encoder(order="deterministic").encode

# --- time -----------------------------------------------------------------------------------------------------------


def beijing(instant: datetime) -> str:
    """``2026-05-01 09:31:00``."""
    return instant.astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S")


def parse_beijing(text: str) -> datetime | None:
    """Aware UTC of ``2026-05-01 09:31:00``; None for anything else."""
    if not _LOCAL.fullmatch(text):
        return None
    try:
        local = datetime.fromisoformat(text)
    except ValueError:
        return None
    return local.replace(tzinfo=BEIJING).astimezone(UTC) if 2000 <= local.year <= 2099 else None


_LOCAL = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", re.ASCII)

# --- shipments out --------------------------------------------------------------------------------------------------


class Consignment(msgspec.Struct, frozen=True):
    """Lines that leave under one tracking number."""

    oids: tuple[str, ...]
    parcel: Parcel


class Standing(msgspec.Struct, frozen=True):
    """Where the lines of a trade stand at the platform, in their order there."""

    stand: Stand
    lines: Mapping[str, Literal["open", "shipped", "ended"]]

    def still_open(self, oids: Iterable[str]) -> tuple[str, ...]:
        return tuple(oid for oid in oids if self.lines.get(oid) == "open")

    def any_shipped(self, oids: Iterable[str]) -> bool:
        return any(self.lines.get(oid) == "shipped" for oid in oids)

    def is_whole(self, oids: Sequence[str]) -> bool:
        """Whether `oids` are all that is to be sent of the trade, and nothing of it has been sent."""
        return not self.any_shipped(self.lines) and set(oids) == set(self.still_open(self.lines))


def consignments(delivery: Delivery) -> tuple[Consignment, ...] | Rejected:
    """The lines that the confirmation of a `ship` command covers, by the parcel they are told with.

    The platform splits a trade by line, never by piece: a line is told with the first parcel that has a piece of it,
    and what is told twice is found to be told. A line's `line_no` is the platform's `oid`.
    """
    order = delivery.order
    name = delivery.command.key.removeprefix(f"{Operation.SHIP}:")
    confirmation = order.confirmations.get(name)
    if confirmation is None or order.content is None:
        return Rejected("content", f"the order has no confirmation for {delivery.command.key}")
    if not confirmation.parcels:
        return Rejected("no_parcel", "the warehouse names no parcel: tell the shop by hand, then resolve this")
    inside = lines_in(order, name)
    if not confirmation.shipped and not any(parcel.items for parcel in confirmation.parcels):
        # The warehouse counts nothing: everything goes with the first parcel.
        inside = (tuple([line.line_no for line in order.content.value.lines]),)
    by_parcel: dict[int, list[str]] = {}
    told: set[str] = set()
    for number, lines in enumerate(inside):
        fresh = [line_no for line_no in lines if line_no not in told]
        told.update(fresh)
        if fresh:
            by_parcel[number] = fresh
    if not by_parcel:
        return Rejected("no_line", "nothing that was shipped stands in the shop's order")
    return tuple(Consignment(tuple(oids), confirmation.parcels[number]) for number, oids in sorted(by_parcel.items()))


def read_standing(body: bytes, settings: Settings) -> Standing:
    """Where a looked-up trade stands. Raises BadInput."""
    try:
        trade = _decode_trade(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput("shape", Text("不是订单数据", "is not a trade")) from error
    _, stand = _place(trade.status, "$.status", settings)
    lines: dict[str, Literal["open", "shipped", "ended"]] = {}
    for index, line in enumerate(trade.lines):
        _, own = _place(line.status or trade.status, _at(trade, index, "status"), settings)
        if own in _SHIPPED or _left(line):
            lines[_oid(line)] = "shipped"
        elif own in _ENDED or stand in _ENDED:
            lines[_oid(line)] = "ended"
        else:
            lines[_oid(line)] = "shipped" if stand in _SHIPPED else "open"
    return Standing(stand, lines)
