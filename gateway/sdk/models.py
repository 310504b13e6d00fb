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
from gateway.core.errors import BadInput, BadSignature, OrdergateError, Problem, SettingsError, TooLarge, Unavailable
from gateway.core.event import ConnectionName, Event, EventId
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
    Party,
    Payment,
    Progress,
    ProgressStep,
    Receiver,
    Refund,
    RefundStatus,
    Sku,
)

__all__ = [
    "Answer",
    "BadInput",
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
    "Level",
    "Line",
    "NotFound",
    "Operation",
    "Order",
    "OrderNumber",
    "OrdergateError",
    "Parcel",
    "Party",
    "Payment",
    "Problem",
    "Progress",
    "ProgressStep",
    "Receiver",
    "Refund",
    "RefundStatus",
    "Rejected",
    "SettingsError",
    "Sku",
    "Throttled",
    "Token",
    "TooLarge",
    "Unauthorised",
    "Unavailable",
    "Unknown",
    "content_to_send",
    "format_minor",
    "parse_minor",
]


def content_to_send(delivery: Delivery) -> Content | None:
    """The content a delivery carries, with the edits of a person in it; None when the order has none."""
    return None if delivery.order.content is None else delivery.order.content.value
