"""Our own JSON ⇄ the gateway's models: the order documents that come in, the commands that go out.

Pure. Incoming documents carry what is known or what changed: `order_no` and `updated_at` always, every other group when
there is something to say about it. Limits stand in the types, so that `order.schema.json` and the decoder cannot
disagree; advice is worked out on the error path only.
"""

from __future__ import annotations

import codecs
import difflib
import enum
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import repeat
from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta

from gateway.sdk.carriers import Carriers
from gateway.sdk.models import (
    BadInput,
    Closing,
    Confirmation,
    Content,
    Delivery,
    Facts,
    Hold,
    Item,
    Line,
    Operation,
    Party,
    Payment,
    Receiver,
    Refund,
    RefundStatus,
    Sku,
    Text,
    format_minor,
    lines_in,
    parse_minor,
    verdict_in_chinese,
)

EVENT_TYPE = "ordergate.order.v1"

# --- what comes in ----------------------------------------------------------------------------------------------

Id = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        description="1 to 64 visible ASCII characters, no spaces",
        # For readers of the schema. The decoder leaves it to `_check_ids`: a pattern costs a microsecond each time.
        # `$` alone would let a line end through.
        extra_json_schema={"pattern": r"^[!-~]{1,64}$(?!\n)"},
    ),
]
Name = Annotated[str, Meta(max_length=100)]
Words = Annotated[str, Meta(max_length=500)]
Note = Annotated[str, Meta(max_length=2000)]
Amount = Annotated[
    str,
    Meta(
        max_length=20,
        description="decimal text, at most two decimals, not negative",
        examples=["12.30"],
        # For readers of the schema; the decoder leaves it to `parse_minor`.
        extra_json_schema={"pattern": r"^[0-9]{1,15}(\.[0-9]{1,2})?$"},
    ),
]
Instant = Annotated[
    datetime,
    Meta(tz=True, description="RFC 3339 with offset, years 2000 to 2099", examples=["2026-05-01T09:30:00+08:00"]),
]


class Status(enum.StrEnum):
    """Where the order stands at the shop. Of two events with one version, the later status counts."""

    PLACED = "placed"
    PAID = "paid"
    SHIPPED = "shipped"
    FINISHED = "finished"
    CANCELLED = "cancelled"


_OPEN, _CLOSED = Closing(False), Closing(True)
_WANTED = (Status.PLACED, Status.PAID)
"""What has left the shop, or is filed there, says nothing of a cancel before it."""
_LEFT = {Status.PLACED: False, Status.PAID: False, Status.SHIPPED: True, Status.FINISHED: True}
RANKS = {Status.PLACED: 10, Status.PAID: 20, Status.SHIPPED: 30, Status.FINISHED: 40, Status.CANCELLED: 50}


class _In(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class LineIn(_In, frozen=True, kw_only=True, gc=False):
    line_no: Id
    sku: Annotated[Sku, Meta(min_length=1, max_length=64)]
    quantity: Annotated[int, Meta(ge=1, le=1_000_000)]
    price: Annotated[Amount, Meta(description="for one piece, after discount")]
    name: Words = ""
    discount: Annotated[Amount, Meta(description="for one piece, already taken off `price`")] = "0"


class ReceiverIn(_In, frozen=True, kw_only=True, gc=False):
    name: Name = ""
    phone: Name = ""
    province: Name = ""
    city: Name = ""
    district: Name = ""
    town: Name = ""
    detail: Words = ""
    postcode: Name = ""
    token: Annotated[str, Meta(max_length=2000, description="the platform's ciphertext where parts are masked")] = ""


class PaymentIn(_In, frozen=True, kw_only=True, gc=False):
    paid: bool
    amount: Annotated[Amount, Meta(description="what the buyer paid")] = "0"
    paid_at: Instant | None = None
    method: Name = ""


class HoldIn(_In, frozen=True, kw_only=True, gc=False):
    """Whether it may be sent. Without this group, what is `shipped` or `finished` has left and is not sent again."""

    held: bool
    reason: Words = ""


class CancelledIn(_In, frozen=True, kw_only=True, gc=False):
    """The shop closed the order. A later `status` of `placed` or `paid`, without this group, opens it again."""

    reason: Words = ""


class RefundIn(_In, frozen=True, kw_only=True, gc=False):
    refund_id: Id
    status: RefundStatus
    amount: Amount = "0"
    reason: Words = ""


class OrderIn(_In, frozen=True, kw_only=True, gc=False):
    """One order, or what changed in it."""

    order_no: Id
    updated_at: Annotated[Instant, Meta(description="when the shop last changed the order")]
    version: (
        Annotated[
            int,
            Meta(
                ge=0,
                le=2**53,
                description="a counter that grows with every change, given always or never; else `updated_at` in ms",
            ),
        ]
        | None
    ) = None
    status: Status | None = None
    placed_at: Instant | None = None
    lines: (
        Annotated[
            tuple[LineIn, ...], Meta(min_length=1, max_length=500, description="comes with `placed_at` and `receiver`")
        ]
        | None
    ) = None
    receiver: ReceiverIn | None = None
    total: Annotated[Amount, Meta(description="default: price × quantity of all lines + freight - discount")] | None = (
        None
    )
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$", max_length=3)] = "CNY"
    freight: Amount = "0"
    discount: Annotated[Amount, Meta(description="on the whole order")] = "0"
    buyer_note: Note = ""
    seller_note: Note = ""
    latest_ship_at: Instant | None = None
    payment: PaymentIn | None = None
    hold: HoldIn | None = None
    cancelled: Annotated[CancelledIn, Meta(description="present: the shop closed the order")] | None = None
    refunds: Annotated[tuple[RefundIn, ...], Meta(max_length=500)] = ()
    extra: Annotated[msgspec.Raw, Meta(description="yours; accepted and not looked at")] = msgspec.field(
        default_factory=msgspec.Raw
    )


class Head(msgspec.Struct, frozen=True, gc=False):
    """What `admit` needs, whatever the rest looks like."""

    order_no: Any = None
    version: Any = None
    updated_at: Any = None


_decode_order = msgspec.json.Decoder(OrderIn).decode
_decode_head = msgspec.json.Decoder(Head).decode
_decode_parts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_DAY = timedelta(days=1)
_ORDER_NO = re.compile(r'"order_no"\s*:\s*"?([!#-\[\]-~]{1,64}?)["\s,}]')
_ID = re.compile(r"[!-~]{1,64}")
_MISSING = Text("缺少", "is missing")
_NOT_AN_ID = Text("不是有效的编号", "is not an id")
_ID_ADVICE = Text("1 到 64 个可见 ASCII 字符，不含空格", "1 to 64 visible ASCII characters, no spaces")


def decode(body: bytes, *, max_total_minor: int, at: datetime | None = None) -> Facts:
    """What an order document says. An `updated_at` more than a day after `at`, the event's own time, is refused.

    Raises BadInput: `json`, `shape` (types or structure changed), `field` (missing or unknown), `value`, `amount`.
    """
    try:
        order = _decode_order(body)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput("json", Text("不是 JSON 文档", "is not a JSON document"), advice=_brief(error, body)) from error
    if b"\\u0000" in body:
        _refuse_nul(body)
    if order.extra and bytes(order.extra)[:1] != b"{":
        advice = Text("自己的数据放进一个对象里", "put values of your own into an object")
        raise BadInput("shape", Text("应为对象", "expected `object`"), where="$.extra", advice=advice)
    _check_ids([order.order_no], "$.order_no")
    updated_at = _instant(order.updated_at, "$.updated_at")
    if at is not None and updated_at - at > _DAY:
        late = Text("比事件晚一天以上", "is more than a day after the event")
        advice = Text(
            "校准发送方的时钟：未来的时间会压过之后的所有更新",
            "set the sender's clock right: a time in the future would outlive every later update",
        )
        raise BadInput("value", late, where="$.updated_at", advice=advice)
    content = None
    if order.lines is not None:
        content = _content(order, order.lines, max_total_minor)
    elif order.receiver is not None or order.total is not None or order.placed_at is not None:
        advice = Text(
            "`receiver`、`total`、`placed_at` 要与 `lines` 一起提供",
            "`receiver`, `total`, `placed_at` come with `lines`",
        )
        raise BadInput("field", _MISSING, where="$.lines", advice=advice)
    payment = closing = hold = None
    if order.payment is not None:
        paid = order.payment
        payment = Payment(
            paid.paid,
            _amount(paid.amount, "$.payment.amount", max_total_minor),
            None if paid.paid_at is None else _instant(paid.paid_at, "$.payment.paid_at"),
            paid.method,
        )
    elif order.status is Status.PAID:
        example = '"payment": {"paid": true, "amount": "12.30"}'
        advice = Text(f"实付金额不作猜测：补上 {example}", f"what was paid is not guessed: add {example}")
        lacking = Text("状态为 `paid` 时不能缺少", "is missing with status `paid`")
        raise BadInput("field", lacking, where="$.payment", advice=advice)
    if order.cancelled is not None:
        closing = Closing(True, order.cancelled.reason)
    elif order.status is Status.CANCELLED:
        closing = _CLOSED
    elif order.status in _WANTED:
        closing = _OPEN  # also after it was cancelled
    left = None if order.status is None else _LEFT.get(order.status)
    if order.hold is not None:
        hold = Hold(order.hold.held, order.hold.reason)
        left = left and order.hold.held
    return Facts(
        party=Party.SHOP,
        order_no=order.order_no,
        version=(updated_at - _EPOCH) // _MS if order.version is None else order.version,
        rank=_rank(order),
        left=left,
        content=content,
        payment=payment,
        hold=hold,
        closing=closing,
        refunds=_refunds(order.refunds, max_total_minor) if order.refunds else (),
    )


def _rank(order: OrderIn) -> int:
    """Of two documents with one version the higher counts: one that cancels comes last, whatever else it says."""
    if order.cancelled is not None:
        return RANKS[Status.CANCELLED]
    return 0 if order.status is None else RANKS[order.status]


def read_head(body: bytes) -> tuple[str, str, datetime | None]:
    """Order number, version and time as far as they can be read: ``("A1", "1777599000000", 2026-...)``.

    Never raises: of a broken document it is the text after ``"order_no":``, or nothing.
    """
    try:
        head = _decode_head(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        match = _ORDER_NO.search(body[:65_536].decode("utf-8", "replace"))
        return (match[1] if match else ""), "", None
    number = head.order_no
    if isinstance(number, int) and not isinstance(number, bool):
        number = str(number)
    if not isinstance(number, str) or _ID.fullmatch(number) is None:
        number = ""
    updated_at = None
    if isinstance(head.updated_at, str):
        try:
            updated_at = _instant(msgspec.convert(head.updated_at, datetime), "")
        except (msgspec.ValidationError, BadInput):
            updated_at = None
    version = head.version if isinstance(head.version, int) else None
    if version is None and updated_at is not None:
        version = (updated_at - _EPOCH) // _MS
    return number, "" if version is None else str(version)[:20], updated_at


def event_id(order_no: str, version: str, body: bytes) -> str:
    """The same for a re-send of the same document: number, version, and a digest of the bytes."""
    return f"{order_no}/{version}/{blake2b(body, digest_size=8).hexdigest()}"


def _content(order: OrderIn, lines: Sequence[LineIn], limit: int) -> Content:
    if order.receiver is None or order.placed_at is None:
        where = "$.receiver" if order.receiver is None else "$.placed_at"
        advice = Text("`lines` 要与 `placed_at`、`receiver` 一起提供", "`lines` come with `placed_at` and `receiver`")
        raise BadInput("field", _MISSING, where=where, advice=advice)
    try:
        mapped = tuple(
            [
                Line(
                    line.line_no,
                    line.sku,
                    line.quantity,
                    parse_minor(line.price),
                    line.name,
                    parse_minor(line.discount),
                )
                for line in lines
            ]
        )
    except BadInput:
        _check_amounts(lines, limit)  # says where
        raise
    amounts = [amount for line in mapped for amount in (line.price_minor, line.discount_minor)]
    if min(amounts) < 0 or max(amounts) > limit:
        _check_amounts(lines, limit)
    numbers = [line.line_no for line in mapped]
    _check_ids(numbers, "$.lines[%d].line_no")
    if len(set(numbers)) < len(numbers):
        twice = Text("两行的 `line_no` 相同", "two lines have one `line_no`")
        raise BadInput("value", twice, where="$.lines", advice=Text("各行用不同的行号", "number the lines"))
    freight_minor = 0 if order.freight == "0" else _amount(order.freight, "$.freight", limit)
    discount_minor = 0 if order.discount == "0" else _amount(order.discount, "$.discount", limit)
    if order.total is not None:
        total_minor = _amount(order.total, "$.total", limit)
    else:
        pieces_minor = sum([line.price_minor * line.quantity for line in mapped])
        total_minor = _within(pieces_minor + freight_minor - discount_minor, "$.total", limit)
    given = order.receiver
    return Content(
        _instant(order.placed_at, "$.placed_at"),
        mapped,
        Receiver(
            given.name,
            given.phone,
            given.province,
            given.city,
            given.district,
            given.town,
            given.detail,
            given.postcode,
            given.token,
        ),
        total_minor,
        order.currency,
        freight_minor,
        discount_minor,
        order.buyer_note,
        order.seller_note,
        None if order.latest_ship_at is None else _instant(order.latest_ship_at, "$.latest_ship_at"),
    )


def _check_amounts(lines: Sequence[LineIn], limit: int) -> None:
    """Raises BadInput for the first amount that is none, or out of bounds."""
    for index, line in enumerate(lines):
        _amount(line.price, "$.lines[%d].price", limit, index)
        _amount(line.discount, "$.lines[%d].discount", limit, index)


def _refunds(given: Sequence[RefundIn], limit: int) -> tuple[Refund, ...]:
    _check_ids([refund.refund_id for refund in given], "$.refunds[%d].refund_id")
    if len({refund.refund_id for refund in given}) < len(given):
        twice = Text("两笔退款的 `refund_id` 相同", "two refunds have one `refund_id`")
        raise BadInput("value", twice, where="$.refunds", advice=Text("每笔退款只写一次", "send each case once"))
    return tuple(
        Refund(one.refund_id, one.status, _amount(one.amount, "$.refunds[%d].amount", limit, index), one.reason)
        for index, one in enumerate(given)
    )


def _check_ids(ids: Sequence[str], where: str) -> None:
    """Raises BadInput for one that is not visible ASCII; `where` has a ``%d`` where there are several."""
    together = "".join(ids)
    if together.isascii() and together.isprintable() and " " not in together:
        return
    index = next(index for index, one in enumerate(ids) if _ID.fullmatch(one) is None)
    raise BadInput("value", _NOT_AN_ID, where=where % index if "%d" in where else where, advice=_ID_ADVICE)


def _amount(text: str, where: str, limit: int, index: int | None = None) -> int:
    try:
        minor = parse_minor(text)
    except BadInput as error:
        path = where if index is None else where % index
        raise BadInput("amount", error.message, where=path, advice=error.advice) from error
    if 0 <= minor <= limit:
        return minor
    return _within(minor, where if index is None else where % index, limit)


def _within(minor: int, where: str, limit: int) -> int:
    if minor < 0:
        advice = Text("优惠写在 `discount` 里", "send discounts in `discount`")
        raise BadInput("value", Text("小于零", "is below zero"), where=where, advice=advice)
    if minor > limit:
        highest = format_minor(limit)
        advice = Text(
            "核对金额；上限是该连接的 `max_total`", "check the amount; `max_total` of the connection is the limit"
        )
        raise BadInput("value", Text(f"超过 {highest}", f"is over {highest}"), where=where, advice=advice)
    return minor


def _instant(value: datetime, where: str) -> datetime:
    # The year first: year 1 with an offset has no UTC form.
    if not 2000 <= value.year <= 2099 or value.tzinfo is None:
        outside = Text("不在 2000 年到 2099 年之间", "is not between 2000 and 2099")
        advice = Text("写成带时区的 RFC 3339 时间", "send RFC 3339 with an offset")
        raise BadInput("value", outside, where=where, advice=advice)
    return value.astimezone(UTC)


# --- what was wrong with it -------------------------------------------------------------------------------------

_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<where>.*)`)?$", re.DOTALL)
_FIELD = re.compile(r"field `(?P<name>.*)`")


def _explain(message: str) -> BadInput:
    """msgspec's message as our code, path and advice. Never quotes a value, which may be the buyer's."""
    match = _AT.match(message)
    what, where = (match["what"], match["where"] or "$") if match else (message, "$")
    field = _FIELD.search(what)
    if what.startswith("Object contains unknown field") and field is not None:
        known = _fields_at(where)
        near = difflib.get_close_matches(field["name"], known, n=1, cutoff=0.6)
        if near:
            advice = Text(f"是不是 `{near[0]}`？", f"did you mean `{near[0]}`?")
        else:
            advice = Text("此处可用：" + "、".join(known), "known here: " + ", ".join(known))
        # The name is the sender's text: shown only as far as it looks like one.
        name = field["name"] if re.fullmatch(r"\w{1,40}", field["name"]) else "?"
        return BadInput("field", Text(f"没有 `{name}` 这个字段", f"unknown field `{name}`"), where=where, advice=advice)
    if what.startswith("Object missing required field") and field is not None:
        return BadInput("field", _MISSING, where=f"{where}.{field['name']}", advice=Text("必填", "it is required"))
    if what.startswith("Invalid enum value"):
        unknown = Text("不是可用的值", "is not one of the known values")
        return BadInput("value", unknown, where=where, advice=_choices(where))
    if what.startswith("Expected") and ", got " in what:
        leaf = where.rpartition(".")[2]
        amount = leaf in ("price", "discount", "total", "freight", "amount") and ("`int`" in what or "`float`" in what)
        advice = Text("结构与文档不符", "the structure is not the documented one")
        if amount:
            advice = Text('金额是文本，写成 "12.30"', 'amounts are text like "12.30"')
        return BadInput("shape", _verdict(what), where=where, advice=advice)
    if where == "$.currency":
        advice = Text("三个大写字母：CNY", "three capital letters: CNY")
        return BadInput("value", Text("不是货币代码", "is not a currency code"), where=where, advice=advice)
    if where.rpartition(".")[2] in ("order_no", "line_no", "refund_id"):
        return BadInput("value", _NOT_AN_ID, where=where, advice=_ID_ADVICE)
    if "timezone" in what or "RFC3339" in what:
        example = "2026-05-01T09:30:00+08:00"
        advice = Text(f"写成带时区的 RFC 3339 时间：{example}", f"send RFC 3339 with an offset, like {example}")
        return BadInput("value", Text("不是时刻", "is not an instant"), where=where, advice=advice)
    return BadInput("value", _verdict(what), where=where, advice=Text("超出范围", "out of range"))


def _verdict(what: str) -> Text:
    """msgspec's verdict on a value; in Chinese that of a value that is not among the known ones says no more."""
    return Text(verdict_in_chinese(what) or "不是可用的值", what[0].lower() + what[1:])


def _struct_at(where: str) -> type[msgspec.Struct]:
    found: type[msgspec.Struct] = OrderIn
    for name in re.findall(r"\.(\w+)", where):
        kinds = {field.encode_name: field.type for field in msgspec.structs.fields(found)}
        found = _struct_in(kinds.get(name)) or found
    return found


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:
    """The struct inside ``Annotated[tuple[X, ...]] | None``."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    for inner in get_args(kind):
        found = _struct_in(inner)
        if found is not None:
            return found
    return None


def _fields_at(where: str) -> list[str]:
    return list(_struct_at(where).__struct_encode_fields__)


def _choices(where: str) -> Text:
    kind: type[enum.StrEnum] = RefundStatus if "refunds" in where else Status
    return Text("可用：" + "、".join(kind), "one of: " + ", ".join(kind))


def _refuse_nul(body: bytes) -> None:
    """`\\u0000` in the bytes may also be a backslash and five letters, so look at the values."""

    def walk(value: Any, where: str) -> None:
        if isinstance(value, str):
            if "\0" in value:
                nul = Text("含有 NUL 字符", "contains a NUL character")
                advice = Text("数据库和仓库都不接受，请去掉", "no database and no warehouse takes it; remove it")
                raise BadInput("value", nul, where=where, advice=advice)
        elif isinstance(value, dict):
            for key, inner in value.items():
                walk(key, where)
                walk(inner, f"{where}.{key}" if re.fullmatch(r"\w{1,40}", key) else where)
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                walk(inner, f"{where}[{index}]")

    # `extra` need not be readable.
    for name, value in _decode_parts(body).items():
        if name != "extra":
            walk(msgspec.json.decode(value), f"$.{name}")


def _brief(error: Exception, body: bytes) -> Text:
    if body.startswith(codecs.BOM_UTF8):
        return Text("去掉开头的 BOM（EF BB BF）", "leave out the BOM at its beginning (EF BB BF)")
    if isinstance(error, RecursionError):
        return Text("嵌套过深", "nested too deeply")
    if isinstance(error, UnicodeDecodeError):
        try:
            body.decode()
        except UnicodeDecodeError as whole:  # the decoder's own counts from the beginning of the text it is in
            return Text(f"字节 {whole.start} 不是 UTF-8", f"byte {whole.start} is not UTF-8")
    said = str(error)[:100]
    if said == "Input data was truncated":
        return Text("报文不完整", said)
    at = re.search(r"\(byte (\d+)\)", said)
    return Text("格式有误" if at is None else f"字节 {at[1]} 处格式有误", said)


# --- what goes out ----------------------------------------------------------------------------------------------


class LineOut(msgspec.Struct, frozen=True, gc=False):
    line_no: str
    sku: str
    quantity: int
    price: str
    name: str
    discount: str


class ReceiverOut(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Fields of `Receiver`, in its sequence (a test compares them); those that are not known are left out."""

    name: str = ""
    phone: str = ""
    province: str = ""
    city: str = ""
    district: str = ""
    town: str = ""
    detail: str = ""
    postcode: str = ""
    token: str = ""


class PickOut(msgspec.Struct, frozen=True, gc=False):
    """One position to pick, for the line `line_no`: `sku` is the warehouse's, `price` and `discount` are per piece."""

    line_no: str
    sku: str
    quantity: int
    price: str
    discount: str
    gift: bool


class CreateOut(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="order.create"):
    """An order to fulfil. `order_no` is our number, `channel_order_no` the shop's.

    `items` is there for shops whose SKUs are mapped: what to pick for `lines`, bundles taken apart, gifts added.
    Without it the lines are what to pick.
    """

    order_no: str
    channel: str
    channel_order_no: str
    warehouse: str
    placed_at: datetime
    paid_at: datetime | None
    paid: str
    lines: tuple[LineOut, ...]
    receiver: ReceiverOut
    total: str
    currency: str
    freight: str
    discount: str
    buyer_note: str
    seller_note: str
    latest_ship_at: datetime | None
    items: tuple[PickOut, ...] | msgspec.UnsetType = msgspec.UNSET


class CancelOut(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="order.cancel"):
    """Do not fulfil this order."""

    order_no: str
    channel: str
    channel_order_no: str
    reason: str


class ItemOut(msgspec.Struct, frozen=True, gc=False):
    sku: str
    quantity: int


class ParcelOut(msgspec.Struct, frozen=True, gc=False):
    """`items` are counted in the warehouse's SKUs. `lines`, for shops whose SKUs are mapped: the shop's lines in it."""

    carrier: str
    tracking_no: str
    items: tuple[ItemOut, ...]
    lines: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


class ShipOut(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="order.ship"):
    """Parcels of this order are on their way. `final`: nothing more follows. `shipped`: pieces; empty: as ordered."""

    order_no: str
    channel: str
    channel_order_no: str
    final: bool
    shipped_at: datetime | None
    parcels: tuple[ParcelOut, ...]
    shipped: tuple[ItemOut, ...]


_encode = msgspec.json.Encoder().encode
_receiver_fields = operator.attrgetter(*Receiver.__struct_fields__)


def render_create(delivery: Delivery, content: Content, items: Sequence[Item]) -> bytes:
    """The body of a `create`; `items` are what to pick for `content`.

    Pure, but not frozen: a delivery that waited and is claimed again carries the order as it stands then, so the bytes
    may differ between attempts. What stays is `webhook-id`; the receiver goes by that.
    """
    order = delivery.order
    payment = None if order.payment is None else order.payment.value
    lines = tuple(
        [
            LineOut(
                line.line_no,
                line.sku,
                line.quantity,
                format_minor(line.price_minor),
                line.name,
                format_minor(line.discount_minor),
            )
            for line in content.lines
        ]
    )
    return _encode(
        CreateOut(
            order.number,
            order.connection,
            order.channel_no,
            "" if order.route is None else order.route.warehouse,
            content.placed_at,
            None if payment is None else payment.paid_at,
            "0.00" if payment is None else format_minor(payment.amount_minor),
            lines,
            ReceiverOut(*_receiver_fields(content.receiver)),
            format_minor(content.total_minor),
            content.currency,
            format_minor(content.freight_minor),
            format_minor(content.discount_minor),
            content.buyer_note,
            content.seller_note,
            content.latest_ship_at,
            msgspec.UNSET if order.recipes is None else tuple([_pick(item) for item in items]),
        )
    )


def render_cancel(delivery: Delivery) -> bytes:
    """The body of a `cancel`."""
    order = delivery.order
    reason = "" if order.closing is None else order.closing.value.reason
    return _encode(CancelOut(order.number, order.connection, order.channel_no, reason))


def render_ship(delivery: Delivery, confirmation: Confirmation, carriers: Carriers) -> bytes:
    """The body of a `ship`. Raises UnknownCarrier."""
    order = delivery.order
    lines: Iterable[tuple[str, ...] | msgspec.UnsetType] = repeat(msgspec.UNSET)
    if order.recipes is not None:
        lines = lines_in(order, _confirmation_name(delivery))
    parcels = tuple(
        ParcelOut(carriers.code(parcel.carrier, "webhook"), parcel.tracking_no, _items(parcel.items), inside)
        for parcel, inside in zip(confirmation.parcels, lines, strict=False)
    )
    return _encode(
        ShipOut(
            order.number,
            order.connection,
            order.channel_no,
            confirmation.final,
            confirmation.at,
            parcels,
            _items(confirmation.shipped),
        )
    )


def _confirmation_name(delivery: Delivery) -> str:
    return delivery.command.key.removeprefix(f"{Operation.SHIP}:")


def _pick(item: Item) -> PickOut:
    price, discount = format_minor(item.price_minor), format_minor(item.discount_minor)
    return PickOut(item.line_no, item.sku, item.quantity, price, discount, item.gift)


def _items(pairs: Sequence[tuple[str, int]]) -> tuple[ItemOut, ...]:
    return tuple(ItemOut(sku, quantity) for sku, quantity in pairs)


# --- what the answer means --------------------------------------------------------------------------------------

STATUSES: Mapping[int, tuple[str, str]] = {
    401: ("failed", "auth"),
    403: ("failed", "auth"),
    408: ("failed", "http_408"),
    410: ("rejected", "gone"),
    413: ("rejected", "too_large"),
    425: ("failed", "http_425"),
    429: ("throttled", ""),
}
"""Answer by status; any other 2xx is done, 4xx rejected, 5xx and 3xx failed. 401 and 403 are our configuration's fault:
a wrong secret must not turn every waiting order into a case for a person."""


def classify(status: int) -> tuple[str, str]:
    """(kind, code) of an HTTP status; kind is `done`, `failed`, `throttled` or `rejected`, codes are a closed set."""
    known = STATUSES.get(status)
    if known is not None:
        return known
    if 200 <= status < 300:
        return "done", ""
    if 300 <= status < 400:
        return "failed", "redirect"
    if 400 <= status < 500:
        return "rejected", "http_4xx"
    return "failed", f"http_{status}" if status in (500, 502, 503, 504) else "http_5xx"
