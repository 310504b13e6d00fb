"""Whether an adapter's event, and what it says that one means, are what their types promise: types bind nobody who
builds a struct.

Stored as it came, a price that is a float makes an order that cannot be read again, and an order number that is None
ends the worker that reads it.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from gateway.core.errors import BadInput
from gateway.core.event import YEARS, ConnectionName, Event, EventId
from gateway.core.order import Facts
from gateway.core.shape import JSON_KINDS, verdict_in_chinese
from gateway.core.text import Text


def _plain(value: object) -> object:
    """What a parser's own kind of text, number or instant stands for (lxml, pendulum)."""
    match value:
        case str():
            return str.__str__(value)
        case int():
            return int.__int__(value)
        case datetime():
            return datetime.combine(value.date(), value.timetz())
    raise TypeError


_encode = msgspec.msgpack.Encoder(enc_hook=_plain).encode
_decode = msgspec.msgpack.Decoder(Facts).decode
_KINDS = {**JSON_KINDS, "None": "空"}
_EVENT_KINDS = dict.fromkeys(("id", "source", "type", "order_key", "traceparent"), str) | {
    "body": bytes,
    "time": datetime,
}
_STEP = re.compile(r"\.(\w+)|\[(\d+|\.\.\.)\]")

_MARK = "well_typed"
_NEGATIVE = Text("不能为负", "it is negative")

DEFECT = Text("这是适配器的缺陷，修复后放行", "this is a defect of the adapter: release the event once it is mended")
"""What is done about an event that its adapter cannot tell of."""


def flaw_of(event: object, source: ConnectionName) -> str:
    """Why neither leg can take `event` as one of the connection `source`; empty for one that can be kept."""
    if not isinstance(event, Event):
        return f"an event of {type(event).__name__}"
    for field, kind in _EVENT_KINDS.items():
        if not isinstance(value := getattr(event, field), kind):
            return f"an event with {field} of {type(value).__name__}"
    if event.time.tzinfo is None:
        return "an event with time without a time zone"
    if not event.id:
        return "an event without an id"
    return "" if event.source == source else "an event of another connection"


def storable(event: Event, at: datetime) -> Event:
    """`event` with texts and an instant that both legs can hold: one that cannot be written would never be taken, and
    one that is not read as it was written ends whoever reads it.

    `at` stands for an instant that is none.
    """
    if event.time.year not in YEARS:
        event = msgspec.structs.replace(event, time=at)
    texts = (event.id, event.type, event.order_key, event.traceparent)
    if all(text.isascii() and "\x00" not in text for text in texts):
        return event
    clean = [text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode() for text in texts]
    return msgspec.structs.replace(event, id=EventId(clean[0]), type=clean[1], order_key=clean[2], traceparent=clean[3])


Decode = Callable[[Event], Facts]
F = TypeVar("F", bound=Callable[..., Facts])


def well_typed(decode: F) -> F:
    """Marks a `decode` that gives nothing but what a typed decoder has read, and what is computed of it.

    What its facts are is proven by its tests, with `sound`, for all that may be sent; it is not found out again for
    every event, at 3 % of all that an order costs.
    """
    setattr(decode, _MARK, True)
    return decode


def checked(decode: Decode) -> Decode:
    """`decode` that gives sound facts only, or raises as `sound` does."""
    if getattr(decode, _MARK, False):
        return decode
    return lambda event: sound(decode(event))


def sound(facts: Facts) -> Facts:
    """`facts` as they will be read again. Raises BadInput with code `adapter`, which quotes nothing."""
    try:
        read = _decode(_encode(facts))
    except msgspec.ValidationError as error:
        said, _, path = str(error).partition(" - at ")
        said = said.partition(" value '")[0]  # of an enum it quotes what was given
        in_chinese = verdict_in_chinese(said, kinds=_KINDS) or "不是可用的值"
        raise _unsound(_named(path.strip("`")), Text(in_chinese, said)) from error
    except Exception as error:  # of anything at all: a lone surrogate, a number of 70 bits, an object of its own
        kind = type(error).__name__
        raise _unsound("$", Text(f"无法保存：{kind}", f"it cannot be stored: {kind}")) from error
    for where, flaw in _flaws(read):
        raise _unsound(where, flaw)
    return read


def _unsound(where: str, flaw: Text) -> BadInput:
    said = Text(f"适配器给出的 Facts 有误：{flaw.zh}", f"the Facts of the adapter are wrong: {flaw.en}")
    return BadInput("adapter", said, where=where, advice=DEFECT)


def _flaws(facts: Facts) -> Iterator[tuple[str, Text]]:
    """What no type says."""
    if not facts.order_no:
        yield "$.order_no", Text("为空", "it is empty")
    if (content := facts.content) is not None:
        for index, line in enumerate(content.lines):
            if line.quantity < 1 or line.price_minor < 0 or not line.sku:
                yield (
                    f"$.content.lines[{index}]",
                    Text(
                        "quantity 至少为 1，price_minor 不为负，sku 不为空",
                        "`quantity` is at least 1, `price_minor` not negative, `sku` not empty",
                    ),
                )
        if content.total_minor < 0:
            yield "$.content.total_minor", _NEGATIVE
        yield from _naive("$.content.placed_at", content.placed_at)
        yield from _naive("$.content.latest_ship_at", content.latest_ship_at)
    if facts.payment is not None:
        if facts.payment.amount_minor < 0:
            yield "$.payment.amount_minor", _NEGATIVE
        yield from _naive("$.payment.paid_at", facts.payment.paid_at)
    for index, refund in enumerate(facts.refunds):
        if refund.amount_minor < 0:
            yield f"$.refunds[{index}].amount_minor", _NEGATIVE
    for index, confirmation in enumerate(facts.confirmations):
        counted = (confirmation.shipped, *(parcel.items for parcel in confirmation.parcels))
        if any(pieces < 0 for items in counted for _, pieces in items):
            yield f"$.confirmations[{index}]", Text("件数不能为负", "a number of pieces is negative")
        yield from _naive(f"$.confirmations[{index}].at", confirmation.at)
    for index, progress in enumerate(facts.progress):
        yield from _naive(f"$.progress[{index}].at", progress.at)


def _naive(where: str, at: datetime | None) -> Iterator[tuple[str, Text]]:
    if at is not None and at.tzinfo is None:
        yield where, Text("时刻缺少时区", "the instant has no time zone")


def _named(path: str) -> str:
    """``$.content.lines[0].price_minor`` of ``$.content[1][0][3]``: most of the structs are stored as arrays."""
    kind: Any = Facts
    said = "$"
    for name, index in _STEP.findall(path):
        struct = next((one for one in (kind, *typing.get_args(kind)) if _is_struct(one)), None)
        if struct is None or typing.get_origin(kind) is tuple:
            kind = next(iter(typing.get_args(kind)), None)
            said += f"[{index}]"
            continue
        fields = typing.get_type_hints(struct)
        name = name or list(fields)[int(index)]
        kind = fields[name]
        said += f".{name}"
    return said


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
