"""What the API shows of a buyer unless personal data is asked for: enough to tell that it is the right one, no more."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from gateway.api.views import OrderState
from gateway.core.order import Closing, Content, Hold, Order, Receiver, Register
from gateway.telemetry.logs import mask_text

HIDDEN = "***"


def masked(receiver: Receiver) -> Receiver:
    """`receiver` so that a person can tell it is the right one: 张三丰 → 张**, 13800001234 → 138****1234."""
    return Receiver(
        _initial(receiver.name),
        _phone(receiver.phone),
        receiver.province,
        receiver.city,
        receiver.district,
        HIDDEN if receiver.town else "",
        HIDDEN if receiver.detail else "",
        HIDDEN if receiver.postcode else "",
        HIDDEN if receiver.token else "",
    )


_HIDDEN_PARTS = ("name", "phone", "town", "detail", "postcode", "token")


def unquoted(text: str, content: Content | None) -> str:
    """`text`, which may quote what was ordered: receiver and notes as `state_of` shows them, no telephone numbers."""
    if content is not None:
        shown = masked(content.receiver)
        parts = [(getattr(content.receiver, part), getattr(shown, part)) for part in _HIDDEN_PARTS]
        parts += [(content.buyer_note, HIDDEN), (content.seller_note, HIDDEN)]
        # The longest first: an address may begin with the town's name, or hold the buyer's.
        for said, instead in sorted(parts, key=lambda pair: -len(pair[0])):
            if len(said) > 1:
                text = text.replace(said, instead)
    return mask_text(text)


def state_of(order: Order, *, unmask: bool) -> Any:
    """`order` as the API shows it."""
    return msgspec.convert(order if unmask else _masked(order), OrderState, from_attributes=True)


def _masked(order: Order) -> Order:
    """Why a refund was asked for are a buyer's own words, like a note; other reasons may quote one."""
    content = None if order.content is None else order.content.value

    def hushed(register: Register[_Reasoned] | None) -> Register[_Reasoned] | None:
        return None if register is None else _with(register, reason=unquoted(register.value.reason, content))

    return msgspec.structs.replace(
        order,
        content=order.content
        and _with(
            order.content,
            receiver=masked(order.content.value.receiver),
            buyer_note=HIDDEN if order.content.value.buyer_note else "",
            seller_note=HIDDEN if order.content.value.seller_note else "",
        ),
        hold=hushed(order.hold),
        closing=hushed(order.closing),
        refunds={
            key: _with(refund, reason=HIDDEN if refund.value.reason else "") for key, refund in order.refunds.items()
        },
        progress=tuple(msgspec.structs.replace(one, text=unquoted(one.text, content)) for one in order.progress),
    )


_Value = TypeVar("_Value", bound=msgspec.Struct)
_Reasoned = TypeVar("_Reasoned", Hold, Closing)


def _with(register: Register[_Value], **changes: str | Receiver) -> Register[_Value]:
    return msgspec.structs.replace(register, value=msgspec.structs.replace(register.value, **changes))


def _initial(name: str) -> str:
    return name[:1] + "*" * min(2, len(name) - 1) if name else ""


def _phone(phone: str) -> str:
    return phone[:3] + "****" + phone[-4:] if len(phone) >= 11 else HIDDEN if phone else ""
