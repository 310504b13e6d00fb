"""Review: may this order be sent? The reasons why not, or none.

Reviewed means a verdict, and the verdict is approval only when the order is paid, not held by the channel and has no
open refund; all else waits in *received* with its reasons. Reasons are codes from a closed set; texts for people
are made of them elsewhere.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable

from gateway.core.items import unmapped
from gateway.core.order import Content, Hold, MissingField, Mode, Operation, Order, Origin, Reason
from gateway.pipeline.rules import Rules


def reasons_to_wait(order: Order, rules: Rules) -> tuple[Reason | MissingField, ...]:
    """Codes of what stands against sending `order`; empty means approved."""
    reasons: list[Reason | MissingField] = []
    if order.origin is not Origin.LIVE:
        reasons.append("observed" if order.origin is Origin.OBSERVED else "before_start")
    if order.content is None:
        reasons.append("paid_no_content" if _ought_to_be_known(order) else "no_content")
        if order.hold is not None and order.held:
            reasons.append(_held(order.hold.value))
        return tuple(reasons)
    if not order.paid:
        reasons.append("unpaid")
    if order.hold is not None and order.held and not order.confirmed:
        # Once a parcel has left, a hold comes late; and some platforms hold what they were told is shipped.
        reasons.append(_held(order.hold.value))
    if order.refund_open:
        reasons.append("refund_open")
    content = order.content.value
    if not content.lines:
        reasons.append(MissingField("missing:lines"))
    passed = order.passed
    if content.total_minor > rules.max_total_minor and (passed is None or content.total_minor > passed.total_minor):
        reasons.append("over_limit")
    if not all(_fields(rules.mandatory)(content)):
        # A platform's ciphertext stands for the receiver fields it hides.
        reasons += [
            MissingField(f"missing:{name}")
            for name, value in zip(rules.mandatory, _fields(rules.mandatory)(content), strict=True)
            if not value
            and not (content.receiver.token and name.startswith("receiver."))
            and (passed is None or name not in passed.without)
        ]
    if order.recipes is not None and unmapped(content.lines, order.recipes):
        reasons.append("unmapped_sku")
    return tuple(reasons)


def waits_for_shop(order: Order, rules: Rules) -> bool:
    """Whether `order`, which could be sent, waits because its shop is paused, or observed again and another's to send.

    What a warehouse has goes its way.
    """
    shop = rules.shop_of(order)
    name = order.connection if shop is None else shop.name  # the one of before nobody resumes
    if name not in rules.paused and (shop is None or shop.mode is Mode.LIVE):
        return False
    return order.issued(Operation.CREATE) is None and not order.confirmations


def origin_of(order: Order, rules: Rules, *, first_seen: bool) -> Origin:
    """How the gateway stands to `order`. Fixed at first sight, except that *before start* needs the content.

    That goes by the start of the name that its shop had then: of a new name it may just say from when on to read.
    """
    if order.origin is not Origin.LIVE or order.commands:
        return order.origin
    shop = rules.shops.get(order.connection)
    if first_seen and shop is not None and shop.mode is Mode.OBSERVE:
        return Origin.OBSERVED
    start_at = rules.starts.get(order.connection) if shop is None else shop.start_at
    if start_at is not None and order.content is not None and order.content.value.placed_at < start_at:
        return Origin.BEFORE_START
    return Origin.LIVE


def _held(hold: Hold) -> Reason:
    return "held_for_person" if hold.for_person else "channel_hold"


def _ought_to_be_known(order: Order) -> bool:
    """Whether nothing but its content keeps a paid order here: the channel has no reason to keep that to itself."""
    lets_go = order.hold is None or not order.held or order.hold.value.for_person
    return order.paid and lets_go and not order.refund_open and not order.confirmations


@functools.cache
def _fields(names: tuple[str, ...]) -> Callable[[Content], tuple[object, ...]]:
    """Reads the dotted fields `names` of a content."""
    getters = [operator.attrgetter(name) for name in names]
    if len(getters) < 2:
        return lambda content: tuple(getter(content) for getter in getters)
    return operator.attrgetter(*names)
