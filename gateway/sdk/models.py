"""The models an adapter maps to and from, re-exported from the core so that adapters import `gateway.sdk` only."""

from __future__ import annotations

from gateway.core.access import Level, Token
from gateway.core.delivery import (
    Answer,
    Delivery,
    Done,
    Failed,
    Finding,
    Found,
    NotFound,
    Rejected,
    Throttled,
    Unauthorised,
    Unknown,
)
from gateway.core.errors import (
    BadInput,
    BadSetting,
    BadSignature,
    OrdergateError,
    Problem,
    SettingsError,
    TooLarge,
    Unavailable,
)
from gateway.core.event import ConnectionName, Event, EventId
from gateway.core.items import Item, items_of, lines_in, unmapped
from gateway.core.money import format_minor, parse_minor
from gateway.core.order import (
    Closing,
    Command,
    Confirmation,
    Content,
    Facts,
    Hold,
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
    Refund,
    RefundStatus,
    Sku,
)
from gateway.core.shape import verdict_in_chinese
from gateway.core.text import Text, described

__all__ = [
    "Answer",
    "BadInput",
    "BadSetting",
    "BadSignature",
    "Closing",
    "Command",
    "Confirmation",
    "ConnectionName",
    "Content",
    "Delivery",
    "Done",
    "Event",
    "EventId",
    "Facts",
    "Failed",
    "Finding",
    "Found",
    "Hold",
    "Item",
    "Level",
    "Line",
    "NotFound",
    "Operation",
    "Order",
    "OrderNumber",
    "OrdergateError",
    "Parcel",
    "Part",
    "Party",
    "Payment",
    "Problem",
    "Progress",
    "ProgressStep",
    "Receiver",
    "Recipe",
    "Refund",
    "RefundStatus",
    "Rejected",
    "SettingsError",
    "Sku",
    "Text",
    "Throttled",
    "Token",
    "TooLarge",
    "Unauthorised",
    "Unavailable",
    "Unknown",
    "confirmation_to_tell",
    "content_to_send",
    "described",
    "format_minor",
    "items_to_pick",
    "lines_in",
    "parse_minor",
    "verdict_in_chinese",
]


def content_to_send(delivery: Delivery) -> Content | None:
    """The content a delivery carries, with the edits of a person in it; None when the order has none."""
    return None if delivery.order.content is None else delivery.order.content.value


def confirmation_to_tell(delivery: Delivery) -> Confirmation | None:
    """The confirmation that a `ship` is about: its key is ``ship:<name in order.confirmations>``."""
    return delivery.order.confirmations.get(delivery.command.key.removeprefix(f"{Operation.SHIP}:"))


def items_to_pick(delivery: Delivery, content: Content) -> tuple[Item, ...] | Rejected:
    """What a warehouse picks for `content` (as `content_to_send` gives it), in its own SKUs; gifts are among it.

    Rejected where a person's edit names a SKU that the order's recipes do not know.
    """
    missing = unmapped(content.lines, delivery.order.recipes)
    if missing:
        what = f"nothing stands for {', '.join(missing)[:300]} in the warehouse"
        return Rejected("unmapped_sku", f"{what}: edit the lines to SKUs that the order had when it was decided")
    return items_of(content.lines, delivery.order.recipes)
