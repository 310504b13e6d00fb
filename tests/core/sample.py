"""Facts of a sample order: what a shop and its warehouse say about it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from gateway.core.event import ConnectionName
from gateway.core.order import (
    Closing,
    Confirmation,
    Content,
    Facts,
    Hold,
    Line,
    Party,
    Payment,
    Progress,
    ProgressStep,
    Receiver,
    Refund,
    RefundStatus,
    Sku,
)

SHOP, WMS, OTHER_WMS = ConnectionName("shop"), ConnectionName("wms"), ConnectionName("wms-2")
PLACED_AT = datetime(2026, 5, 1, 1, tzinfo=UTC)
RECEIVER = Receiver("王*", "138****1234", "浙江省", "杭州市", "西湖区", "", "文一路1号")


def content(
    lines: Mapping[str, int] | None = None, *, receiver: Receiver = RECEIVER, total_minor: int = 2000
) -> Content:
    counted = {"X": 2} if lines is None else lines
    made = tuple(Line(str(n), Sku(sku), pieces, 1000) for n, (sku, pieces) in enumerate(counted.items(), 1))
    return Content(PLACED_AT, made, receiver, total_minor)


def said(version: int = 1, **groups: object) -> Facts:
    """What the shop says at `version`."""
    return Facts(party=Party.SHOP, order_no="1", version=version, **groups)  # type: ignore[arg-type]


def placed(version: int = 1, **lines: int) -> Facts:
    return said(version, content=content(lines or None))


def paid(version: int = 2, amount_minor: int = 2000) -> Facts:
    return said(version, payment=Payment(True, amount_minor))


def held(version: int = 3, *, yes: bool = True, for_person: bool = False) -> Facts:
    return said(version, hold=Hold(yes, for_person=for_person))


def closed(version: int = 4) -> Facts:
    return said(version, closing=Closing(True))


def refund(version: int, status: RefundStatus, amount_minor: int = 2000, refund_id: str = "R1") -> Facts:
    return said(version, refunds=(Refund(refund_id, status, amount_minor),))


def shipped(name: str = "M1", *, final: bool = True, **pieces: int) -> Facts:
    """A warehouse's confirmation."""
    counted = tuple(sorted((Sku(sku), count) for sku, count in pieces.items()))
    confirmation = Confirmation(name, final, shipped=counted)
    return Facts(party=Party.WAREHOUSE, order_no="A1", confirmations=(confirmation,))


def reported(step: ProgressStep) -> Facts:
    return Facts(party=Party.WAREHOUSE, order_no="A1", progress=(Progress(step),))
