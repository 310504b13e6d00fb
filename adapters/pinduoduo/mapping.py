"""The platform's orders → the gateway's models, and what a parcel has to say to the platform.

Pure. Amounts are JSON numbers in yuan, instants Beijing time in whole seconds.

An order says whether an after-sale case is open or finished, and not how much was paid back. The list of cases does, so
an event of a case brings both: the case, and the order as it was right after.

The receiver is the reason for one rule: the platform shows it (as ciphertext, with masks beside it) only while an order
is to be shipped and not under review, and later answers empty texts. Facts of a newer version replace older ones, so
the content is told only while it is whole: an empty text says nothing, it does not take back what was known. Before
that, while a group is still forming, there is nothing to lose and the lines are told without a receiver.

Source: open.pinduoduo.com, documents of pdd.order.information.get, pdd.order.list.get, pdd.refund.list.increment.get.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import msgspec

from adapters.pinduoduo.settings import Refunds, Settings
from gateway.sdk.models import (
    BadInput,
    Closing,
    Content,
    Facts,
    Hold,
    Line,
    Party,
    Payment,
    Receiver,
    Refund,
    RefundStatus,
    Sku,
    Text,
    verdict_in_chinese,
)

EVENT_TYPE = "pinduoduo.order.v1"
CASE_TYPE = "pinduoduo.refund.v1"
PLATFORM = "pinduoduo"
BEIJING = timezone(timedelta(hours=8))
MOST_MINOR = 10**14
"""No amount is larger: a trillion yuan."""

Id = str | int
Money = Decimal | None


class Item(msgspec.Struct, frozen=True, gc=False):
    """One position of `item_list` or `gift_list`."""

    goods_count: int
    goods_price: Money = None
    goods_id: Id | None = None
    sku_id: Id | None = None
    outer_id: str | None = None
    goods_name: str | None = None
    goods_spec: str | None = None


class Tracking(msgspec.Struct, frozen=True, gc=False):
    """One parcel beside the first, of `extra_delivery_list`."""

    tracking_number: str | None = None
    logistics_id: Id | None = None


class Steps(msgspec.Struct, frozen=True, gc=False):
    """The stages of an order that is paid by a deposit first."""

    step_trade_status: int | None = None


class OrderInfo(msgspec.Struct, frozen=True, kw_only=True):
    """`order_info`, as far as it is looked at. Numbers may come as texts."""

    order_sn: str
    updated_at: str
    created_time: str
    order_status: int
    confirm_status: int
    refund_status: int
    pay_amount: Decimal
    goods_amount: Decimal
    item_list: list[Item]
    gift_list: list[Item] | None = None
    group_status: int | None = None
    risk_control_status: int | None = None
    after_sales_status: int | None = None
    pay_time: str | None = None
    pay_type: str | None = None
    last_ship_time: str | None = None
    step_order_info: Steps | None = None
    discount_amount: Money = None
    trade_in_national_subsidy_amount: Money = None
    postage: Money = None
    buyer_memo: str | None = None
    remark: str | None = None
    province: str | None = None
    city: str | None = None
    town: str | None = None
    address: str | None = None
    address_mask: str | None = None
    contact_mobile: str | None = None
    receiver_name: str | None = None
    receiver_name_mask: str | None = None
    receiver_phone: str | None = None
    receiver_phone_mask: str | None = None
    receiver_address: str | None = None
    receiver_address_mask: str | None = None
    open_address_id: str | None = None
    tracking_number: str | None = None
    extra_delivery_list: list[Tracking] | None = None

    def __post_init__(self) -> None:
        # Left out or null: there is no group that could fail, and nobody reviews it.
        for name, none in (("group_status", GROUPED), ("risk_control_status", 0)):
            if getattr(self, name) is None:
                msgspec.structs.force_setattr(self, name, none)

    @property
    def tracking_numbers(self) -> frozenset[str]:
        """The parcels the platform shows for this order."""
        extra = [parcel.tracking_number for parcel in self.extra_delivery_list or ()]
        return frozenset(number for number in (self.tracking_number, *extra) if number)

    @property
    def shipped(self) -> bool:
        return self.order_status >= SHIPPED

    @property
    def whole(self) -> bool:
        """Whether the receiver is shown: to be shipped, not under review, and something of it is there."""
        return (
            self.confirm_status == CONCLUDED
            and self.order_status == TO_SHIP
            and self.risk_control_status == 0
            and any((self.receiver_name, self.receiver_phone, self.receiver_address, self.contact_mobile))
        )


class Case(msgspec.Struct, frozen=True, gc=False):
    """One after-sale case (售后单) of `refund_list`. `refund_amount` in yuan; the time is the case's own."""

    id: Id
    order_sn: str
    after_sales_status: int
    updated_time: str
    refund_amount: Money = None
    after_sale_reason: str | None = None


class _CaseEvent(msgspec.Struct, frozen=True):
    """The body of an event of a case. Without the order where that changed too late for this window or is not given."""

    refund: msgspec.Raw
    order_info: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


NOT_CONCLUDED, CONCLUDED, CANCELLED = 0, 1, 2
"""`confirm_status`."""
TO_SHIP, SHIPPED, SIGNED = 1, 2, 3
"""`order_status`."""
GROUPING, GROUPED, GROUP_FAILED = 0, 1, 2
"""`group_status`."""
REFUNDS: Mapping[int, RefundStatus] = {
    1: RefundStatus.REJECTED,
    2: RefundStatus.OPEN,
    3: RefundStatus.OPEN,
    4: RefundStatus.DONE,
}
"""`refund_status`. 1 is "none, or closed": nothing is open, whatever `after_sales_status` says."""

AFTER_SALES: Mapping[int, str] = {
    0: "",
    2: "买家申请退款，待商家处理",
    3: "退货退款，待商家处理",
    4: "商家同意退款，退款中",
    5: "平台同意退款，退款中",
    6: "驳回退款，待买家处理",
    7: "已同意退货退款，待用户发货",
    8: "平台处理中",
    9: "平台拒绝退款，退款关闭",
    10: "退款成功",
    11: "买家撤销",
    12: "买家逾期未处理，退款失败",
    13: "买家逾期，超过有效期",
}
"""`after_sales_status` in the vendor's words, for people; those from 14 on are exchanges and repairs."""

CASES: Mapping[int, RefundStatus | None] = {
    **dict.fromkeys((2, 3, 4, 5, 6, 7, 8, 31, 33), RefundStatus.OPEN),
    **dict.fromkeys((0, 9, 11, 12, 13), RefundStatus.REJECTED),
    10: RefundStatus.DONE,
    **dict.fromkeys((14, 15, 16, 17, 18, 21, 22, 24, 25, 27, 32), None),
}
"""`after_sales_status` of a case. None: an exchange or a repair, which pays nothing back. It counts as a refund that is
over: under the same number one may have been asked for before."""

RANK_CREATED, RANK_REVIEW, RANK_PAID, RANK_SHIPPED, RANK_SIGNED, RANK_CLOSED = 100, 150, 200, 300, 400, 500
"""Of two messages of one second the later status counts, and within it the refund that is further on."""


# --- orders -----------------------------------------------------------------------------------------------------


def decode(body: bytes, settings: Settings) -> Facts:
    """What `order_info` says.

    Raises BadInput: `json`, `shape` (types or structure changed), `field` (missing), `value`, `amount`, `unread`.
    """
    order = read(body)
    _check(order.order_status, "order_status", (TO_SHIP, SHIPPED, SIGNED))
    _check(order.confirm_status, "confirm_status", (NOT_CONCLUDED, CONCLUDED, CANCELLED))
    _check(order.group_status, "group_status", (GROUPING, GROUPED, GROUP_FAILED))
    _check(order.refund_status, "refund_status", tuple(REFUNDS))
    _check(order.risk_control_status, "risk_control_status", (0, 1))
    _check_number(order.order_sn, "$.order_sn")
    paid_minor = _minor(order.pay_amount, "$.pay_amount")
    return Facts(
        party=Party.SHOP,
        order_no=order.order_sn,
        version=version_of(order),
        rank=_rank(order),
        content=_content(order, paid_minor) if order.whole or order.confirm_status == NOT_CONCLUDED else None,
        payment=_payment(order, paid_minor),
        hold=_hold(order, settings.refunds),
        left=order.shipped,
        closing=_closing(order, paid_minor),
        refunds=(_refund(order, paid_minor, settings.refunds),),
    )


def decode_case(body: bytes, settings: Settings) -> Facts:
    """What an event of an after-sale case says: the case under its own number, and the order with it.

    The order was read after the case had changed, so it counts as of the later of both times: a refund that moves the
    case and leaves the order's `updated_at` where it was is not taken for old. The case counts as of its own time, with
    its order or without: it was listed before that was read. Raises BadInput as `decode` does.
    """
    try:
        event = _decode_case_event(body)
        case = _decode_case(event.refund)
    except msgspec.ValidationError as error:
        raise _explain(str(error), body) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput("json", _NO_JSON, advice=_LOOK) from error
    if b"\\u0000" in body:
        _refuse_nul(case, "$.refund")
    refund = _refund_of(case, settings)
    version = _version(case.updated_time, "$.refund.updated_time")
    if not event.order_info:
        _check_number(case.order_sn, "$.refund.order_sn")
        return Facts(party=Party.SHOP, order_no=case.order_sn, version=version, refunds=(refund,))
    facts = decode(bytes(event.order_info), settings)
    if facts.order_no != case.order_sn:
        what = Text("与 order_info 不是同一订单", "is another order than order_info")
        raise BadInput("value", what, where="$.refund.order_sn", advice=_LOOK)
    return msgspec.structs.replace(
        facts,
        version=max(version, facts.version),
        refunds=(*facts.refunds, refund),
        refund_versions={refund.refund_id: version},
    )


def case_body(case: bytes, order_info: bytes | None) -> bytes:
    """The body of an event of a case: both as the platform wrote them."""
    parts = {"refund": case} if order_info is None else {"refund": case, "order_info": order_info}
    return msgspec.json.encode({name: msgspec.Raw(part) for name, part in parts.items()})


def read(body: bytes) -> OrderInfo:
    """`order_info` by its types. Raises BadInput: `json`, `shape`, `field`, `value`, `unread`."""
    try:
        order = _decode_order(body)
    except msgspec.ValidationError as error:
        raise _explain(str(error), body) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        said = str(error)[:100]
        raise BadInput("json", _NO_JSON, advice=Text(f"解析出错：{said}", said)) from error
    if b"\\u0000" in body:
        _refuse_nul(order, "$")
    return order


def version_of(order: OrderInfo) -> int:
    """`updated_at` in ms."""
    return _version(order.updated_at, "$.updated_at")


def event_id(order_sn: str, updated_at: datetime | None, body: bytes) -> str:
    """The same for the same state of an order, however often it is read."""
    stamp = "" if updated_at is None else str((updated_at - _EPOCH) // _MS)
    return f"{order_sn}/{stamp}/{blake2b(body, digest_size=8).hexdigest()}"


def refusal(order_sn: str, updated_at: str, message: str) -> bytes:
    """What stands for an order without its detail: `decode` refuses it (`unread`) and names the code."""
    return msgspec.json.encode({"order_sn": order_sn, "updated_at": updated_at, _REFUSED: message})


def parse_beijing(text: str | None, where: str) -> datetime | None:
    """Aware UTC of ``2026-05-01 09:31:00``, or of UNIX seconds; None for nothing, and for the epoch some fields have.

    Raises BadInput (`value`).
    """
    if not text or text.startswith(("0000", "1970")):
        return None
    if _UNIX.fullmatch(text):
        return datetime.fromtimestamp(int(text), UTC)
    try:
        local = datetime.fromisoformat(text.strip())
        if not 2000 <= local.year <= 2099 or local.tzinfo is not None:
            raise ValueError
    except ValueError as error:
        advice = Text("yyyy-MM-dd HH:mm:ss，北京时间", "yyyy-MM-dd HH:mm:ss, Beijing time")
        raise BadInput("value", Text("不是时刻", "is not an instant"), where=where, advice=advice) from error
    return local.replace(tzinfo=BEIJING).astimezone(UTC)


def _content(order: OrderInfo, paid_minor: int) -> Content:
    """Lines carry no paid amount, so the discount stays on the order, and the sums are proven:
    price × count - discount + freight = what was paid."""
    lines = []
    listed_minor = 0
    for name, items in (("item_list", order.item_list), ("gift_list", order.gift_list or ())):
        for index, item in enumerate(items):
            where = f"$.{name}[{index}]"
            gift = name == "gift_list"
            price_minor = 0 if gift else _minor(item.goods_price, f"{where}.goods_price")
            if not 1 <= item.goods_count <= 1_000_000:
                what = Text("不是数量", "is not a quantity")
                advice = Text("1 到 1000000 件", "1 to 1000000 pieces")
                raise BadInput("value", what, where=f"{where}.goods_count", advice=advice)
            listed_minor += price_minor * item.goods_count
            lines.append(
                Line(f"{'G' if gift else ''}{index + 1}", _sku(item, where), item.goods_count, price_minor, _name(item))
            )
    if not order.item_list:
        raise BadInput("field", _EMPTY, where="$.item_list", advice=_LOOK)
    goods_minor = _minor(order.goods_amount, "$.goods_amount")
    discount_minor = _minor(order.discount_amount, "$.discount_amount")
    postage_minor = _minor(order.postage, "$.postage")
    # `goods_amount` is after a price the seller changed by hand (`order_change_amount`).
    changed_minor = listed_minor - goods_minor
    # What is paid beyond goods and postage is for services: installation, delivery to the door.
    services_minor = paid_minor - (goods_minor - discount_minor + postage_minor)
    if services_minor < 0:
        subsidy_minor = _minor(order.trade_in_national_subsidy_amount, "$.trade_in_national_subsidy_amount")
        discount_minor += subsidy_minor
        services_minor += subsidy_minor
    if services_minor < 0 or changed_minor < 0:
        what = Text("与其他金额不符", "does not fit the other amounts")
        where = "$.goods_amount" if changed_minor < 0 else "$.pay_amount"
        advice = Text(
            "goods_amount 不超过单价 × 数量，pay_amount 不少于商品 - 优惠 + 运费",
            "goods_amount is price × count or less, pay_amount is goods - discount + postage or more",
        )
        raise BadInput("amount", what, where=where, advice=advice)
    placed_at = parse_beijing(order.created_time, "$.created_time")
    if placed_at is None:
        raise BadInput("field", _EMPTY, where="$.created_time", advice=_LOOK)
    return Content(
        placed_at,
        tuple(lines),
        _receiver(order),
        paid_minor,
        freight_minor=postage_minor + services_minor,
        discount_minor=discount_minor + changed_minor,
        buyer_note=order.buyer_memo or "",
        seller_note=order.remark or "",
        latest_ship_at=parse_beijing(order.last_ship_time, "$.last_ship_time"),
    )


def _receiver(order: OrderInfo) -> Receiver:
    """Masks where people read, ciphertext in `token`, neither touched. `town` is the district here.

    The token is JSON with what a waybill is made from: ``open_address_id``, ``name``, ``phone``, ``address``.
    """
    province, city, town = order.province or "", order.city or "", order.town or ""
    sealed = {
        "open_address_id": order.open_address_id or "",
        "name": _cipher(order.receiver_name),
        "phone": _cipher(order.receiver_phone) or _cipher(order.contact_mobile),
        "address": _cipher(order.receiver_address),
    }
    detail = order.receiver_address_mask or _clear(order.receiver_address)
    if not detail:
        # These have the region in front.
        detail = order.address_mask or _clear(order.address)
        for part in (province, city, town):
            detail = detail.removeprefix(part)
    sealed = {name: text for name, text in sealed.items() if text}
    return Receiver(
        name=order.receiver_name_mask or _clear(order.receiver_name),
        phone=order.receiver_phone_mask or _clear(order.receiver_phone) or _clear(order.contact_mobile),
        province=province,
        city=city,
        district=town,
        detail=detail,
        token=msgspec.json.encode(sealed).decode() if sealed else "",
    )


def _payment(order: OrderInfo, paid_minor: int) -> Payment:
    """A group that is still forming has been paid for; an order with a deposit is paid with its last step."""
    steps = order.step_order_info
    paid_at = parse_beijing(order.pay_time, "$.pay_time")
    paid = order.confirm_status == CONCLUDED or paid_at is not None
    if steps is not None and steps.step_trade_status in (0, 1):
        paid = False
    return Payment(paid, paid_minor if paid else 0, paid_at if paid else None, order.pay_type or "")


def _hold(order: OrderInfo, refunds: Refunds) -> Hold:
    """A finished refund holds what has not left: the platform wants only orders shipped that have none.

    Paid back in full, the order is over, and the hold says nothing. Paid back in part, or by an unknown amount, a
    person has to look what is still to be sent. Where the cases are not read, it may as well be over: nobody is told.
    """
    if order.risk_control_status == 1:
        return Hold(True, "风控审核中")
    if order.confirm_status == NOT_CONCLUDED or order.group_status == GROUPING:
        return Hold(True, "拼团中")
    if refunds is not Refunds.ALL and not order.shipped and REFUNDS[order.refund_status] is RefundStatus.DONE:
        return Hold(True, "有已完成的退款", for_person=refunds is Refunds.LIST)
    return Hold(False)


def _closing(order: OrderInfo, paid_minor: int) -> Closing:
    """Refunded closes an order that cost nothing: 0.00 paid back in full would look like no refund at all."""
    if order.confirm_status == CANCELLED:
        return Closing(True, "订单已取消")
    if order.group_status == GROUP_FAILED:
        return Closing(True, "拼团失败")
    if paid_minor == 0 and REFUNDS[order.refund_status] is RefundStatus.DONE:
        return Closing(True, "退款成功", after_shipping=order.shipped)
    return Closing(False)


def _refund(order: OrderInfo, paid_minor: int, refunds: Refunds) -> Refund:
    """Whether something is open, by the order's own word and under its number.

    How much was paid back is said by the cases. Here a finished refund is one that is no longer open, except where all
    counts as paid back. None is told as one that is over, too: one that was asked for and withdrawn may read like none
    (`after_sales_status` 0), and an order about which nothing is told would wait for it for ever.
    """
    status = REFUNDS[order.refund_status]
    reason = AFTER_SALES.get(order.after_sales_status or 0, f"售后状态 {order.after_sales_status}")
    if refunds is Refunds.ALL:
        return Refund(order.order_sn, status, paid_minor, reason)
    return Refund(order.order_sn, RefundStatus.REJECTED if status is RefundStatus.DONE else status, 0, reason)


def _refund_of(case: Case, settings: Settings) -> Refund:
    number, said = str(case.id), case.after_sales_status
    _check_number(number, "$.refund.id")
    if said in CASES:
        status = CASES[said]
    elif str(said) in settings.after_sales_statuses:
        status = settings.after_sales_statuses[str(said)]
    else:
        advice = Text(
            f"在该连接的 `after_sales_statuses` 下写明含义：{said}: open",
            f"say what it means under `after_sales_statuses` of the connection: {said}: open",
        )
        unknown = Text(f"未知售后状态 {said}", f"is the unknown after-sale status {said}")
        raise BadInput("value", unknown, where="$.refund.after_sales_status", advice=advice)
    reason = " ".join(part for part in (AFTER_SALES.get(said, f"售后状态 {said}"), case.after_sale_reason) if part)
    if status is None:
        return Refund(number, RefundStatus.REJECTED, 0, reason[:200])
    return Refund(number, status, _minor(case.refund_amount, "$.refund.refund_amount"), reason[:200])


def _rank(order: OrderInfo) -> int:
    if order.confirm_status == CANCELLED or order.group_status == GROUP_FAILED:
        rank = RANK_CLOSED
    elif order.shipped:
        rank = RANK_SIGNED if order.order_status == SIGNED else RANK_SHIPPED
    elif order.confirm_status == NOT_CONCLUDED or order.group_status == GROUPING:
        rank = RANK_CREATED
    else:
        rank = RANK_REVIEW if order.risk_control_status else RANK_PAID
    return rank + order.refund_status


def _sku(item: Item, where: str) -> Sku:
    """The merchant's code of the variant, else the platform's id. The goods' code would stand for every variant."""
    sku = (item.outer_id or "").strip() or (str(item.sku_id) if str(item.sku_id or "").strip("0") else "")
    if not sku or len(sku) > 64:
        what = Text("outer_id 和 sku_id 都没有", "has neither outer_id nor sku_id")
        advice = Text(
            "在店铺后台给该规格设置商家编码，最多 64 个字符",
            "give the variant a merchant code (商家编码) of at most 64 characters in the shop",
        )
        raise BadInput("field", what, where=where, advice=advice)
    return Sku(sku)


def _name(item: Item) -> str:
    return " ".join(part for part in (item.goods_name, item.goods_spec) if part)[:500]


def _minor(amount: Money, where: str) -> int:
    """Fen. The platform writes doubles: what is off by less than a ten-thousandth of a fen is their noise."""
    if amount is None:
        return 0
    if not amount.is_finite() or not 0 <= amount * 100 <= MOST_MINOR:
        what = Text("不在 0 与 1000000000000.00 之间", "is not between 0 and 1000000000000.00")
        raise BadInput("amount", what, where=where, advice=_LOOK)
    minor = int((amount * 100).to_integral_value())
    if abs(amount * 100 - minor) > _NOISE:
        what = Text("不是最多两位小数的金额", "is not an amount with at most two decimals")
        raise BadInput("amount", what, where=where, advice=_LOOK)
    return minor


def _cipher(text: str | None) -> str:
    """`text` where it is ciphertext: ``~AgAAAA==~...~``, ``$AgAA$...$``."""
    return text if text and _CIPHER.fullmatch(text) else ""


def _clear(text: str | None) -> str:
    return text if text and not _CIPHER.fullmatch(text) else ""


def _version(text: str, where: str) -> int:
    at = parse_beijing(text, where)
    if at is None:
        raise BadInput("field", _EMPTY, where=where, advice=_LOOK)
    return (at - _EPOCH) // _MS


def _check_number(number: str, where: str) -> None:
    if _ID.fullmatch(number) is None:
        advice = Text("1 到 64 个可见 ASCII 字符", "1 to 64 visible ASCII characters")
        raise BadInput("value", Text("不是有效的编号", "is not an id"), where=where, advice=advice)


def _check(value: int | None, name: str, known: Sequence[int]) -> None:
    if value not in known:
        named = list(map(str, known))
        advice = Text(
            f"已知的有 {'、'.join(named)}；平台可能新增了状态：更新适配器",
            f"known are {', '.join(named)}; the platform may have a new one: update the adapter",
        )
        raise BadInput("value", Text("不是已知的状态", "is not a known status"), where=f"$.{name}", advice=advice)


def _explain(message: str, body: bytes) -> BadInput:
    """msgspec's words, without a value of the order in them."""
    try:
        refused = msgspec.json.decode(body, type=dict[str, Any]).get(_REFUSED)
    except msgspec.MsgspecError:
        refused = None
    if isinstance(refused, str):
        # The platform's own words may quote the buyer: they stay in the payload, and are sealed with it.
        code = _REFUSAL_CODE.match(refused)
        said = Text(
            f"平台没有给出详情（{code[0]}）" if code is not None else "平台没有给出详情",
            f"the platform does not give its detail ({code[0]})"
            if code is not None
            else "the platform does not give its detail",
        )
        advice = Text(
            "在店铺后台查看该订单；再次读到时此条自动关闭，确认无用可放弃",
            "look at the order in the shop; a later reading closes this by itself, or discard it",
        )
        return BadInput("unread", said, where="$", advice=advice)
    what, _, where = message.partition(" - at `")
    where = where.rstrip("`") or "$"
    missing = _MISSING.fullmatch(what)
    if missing is not None:
        return BadInput("field", Text("缺少", "is missing"), where=f"{where}.{missing[1]}", advice=_LOOK)
    zh = verdict_in_chinese(what) or "类型不符"
    en = what if what.startswith("Expected") else "has another type"
    return BadInput("shape", Text(zh, en), where=where, advice=_LOOK)


def _refuse_nul(told: OrderInfo | Case, where: str) -> None:
    """A NUL stands in no database and in no warehouse's document."""
    for name, value in msgspec.to_builtins(told).items():
        if "\0" in str(value):
            nul = Text("含有 NUL 字符", "contains a NUL character")
            raise BadInput(
                "value", nul, where=f"{where}.{name}", advice=Text("在店铺后台去掉", "remove it in the shop")
            )


_REFUSED = "detail_refused"
_REFUSAL_CODE = re.compile(r"(?:HTTP )?[0-9]{1,6}(?![^ ])")
_LOOK = Text(
    "在店铺后台查看该订单；若平台改变了应答，更新适配器",
    "look at the order in the shop; if the platform changed its answers, update the adapter",
)
_NO_JSON = Text("不是 JSON 文档", "is not a JSON document")
_EMPTY = Text("为空", "is empty")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_NOISE = Decimal("0.0001")
_UNIX = re.compile(r"[0-9]{10}")
_ID = re.compile(r"[!-~]{1,64}")
_CIPHER = re.compile(r"([~$#]).+\1", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_decode_order = msgspec.json.Decoder(OrderInfo, strict=False).decode
_decode_case_event = msgspec.json.Decoder(_CaseEvent).decode
_decode_case = msgspec.json.Decoder(Case, strict=False).decode


# --- parcels ----------------------------------------------------------------------------------------------------


class Shipment(msgspec.Struct, frozen=True):
    """One parcel as the platform wants it told."""

    logistics_id: int
    tracking_number: str


def missing(shipments: Sequence[Shipment], order: OrderInfo) -> list[Shipment]:
    """Those of `shipments` that the platform does not show."""
    shown = order.tracking_numbers
    return [shipment for shipment in shipments if shipment.tracking_number not in shown]
