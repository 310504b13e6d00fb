"""What the API shows of a buyer unless personal data is asked for: enough to tell that it is the right one, no more."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.api.views import OrderState
from gateway.core.order import Order, Receiver
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


def unquoted(text: str, receiver: Receiver | None) -> str:
    """`text`, which may quote `receiver`, with its parts as `masked` shows them and without telephone numbers."""
    if receiver is not None:
        shown = masked(receiver)
        parts = [(getattr(receiver, part), getattr(shown, part)) for part in _HIDDEN_PARTS]
        # The longest first: an address may begin with the town's name, or hold the buyer's.
        for said, instead in sorted(parts, key=lambda pair: -len(pair[0])):
            if len(said) > 1:
                text = text.replace(said, instead)
    return mask_text(text)


def state_of(order: Order, *, unmask: bool) -> Any:
    """`order` as the API shows it."""
    register = order.content
    if register is not None and not unmask:
        content = msgspec.structs.replace(
            register.value,
            receiver=masked(register.value.receiver),
            buyer_note=HIDDEN if register.value.buyer_note else "",
            seller_note=HIDDEN if register.value.seller_note else "",
        )
        order = msgspec.structs.replace(order, content=msgspec.structs.replace(register, value=content))
    return msgspec.convert(order, OrderState, from_attributes=True)


def _initial(name: str) -> str:
    return name[:1] + "*" * min(2, len(name) - 1) if name else ""


def _phone(phone: str) -> str:
    return phone[:3] + "****" + phone[-4:] if len(phone) >= 11 else HIDDEN if phone else ""
