"""docs/adapters.md: the `decode` of a shop that it shows, taken from its very text."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.core.sound import sound
from gateway.sdk.models import (
    BadInput,
    Closing,
    ConnectionName,
    Event,
    EventId,
    Facts,
    Line,
    Party,
    Payment,
    Refund,
    RefundStatus,
    Sku,
)
from tests.pages.reading import text_of

ORDER: dict[str, Any] = {
    "number": "B77",
    "revision": 3,
    "placed_at": "2026-05-01T09:30:00+08:00",
    "lines": [{"id": "1", "sku": "CUP-01", "pieces": 2, "price": "45.00"}],
    "name": "张三",
    "phone": "13800000000",
    "address": ["上海市", "上海市", "浦东新区", "张江路1号"],
    "paid": "90.00",
    "is_paid": True,
    "refunds": {"R1": ["open", "45.00"]},
}


def decode(**changes: Any) -> Facts:
    section = text_of("docs/adapters.md").partition("### A shop that pushes its orders")[2]
    shown = re.search(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    assert shown
    names: dict[str, Any] = {"__name__": "shown"}
    exec(compile(shown[1], "shown", "exec", dont_inherit=True), names)
    event = Event(
        id=EventId("e"),
        source=ConnectionName("shop"),
        type="t",
        order_key="B77",
        time=datetime(2026, 5, 1, tzinfo=UTC),
        body=json.dumps(ORDER | changes).encode(),
    )
    facts = names["decode"](None, event)
    assert isinstance(facts, Facts)
    return facts


def test_the_shop_of_the_page_tells_sound_facts() -> None:
    facts = decode()
    assert sound(facts) == facts
    assert (facts.party, facts.order_no, facts.version) == (Party.SHOP, "B77", 3)
    assert facts.content is not None and facts.content.lines == (Line("1", Sku("CUP-01"), 2, 4500),)
    assert (facts.content.total_minor, facts.content.receiver.detail) == (9000, "张江路1号")
    assert (facts.payment, facts.closing) == (Payment(True, 9000), Closing(False))
    assert facts.refunds == (Refund("R1", RefundStatus.OPEN, 4500),)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"placed_at": "2026-05-01T09:30:00"}, "value"),
        ({"paid": "9,0"}, "amount"),
        ({"lines": [{"id": "1", "sku": "CUP-01", "pieces": 0, "price": "45.00"}]}, "shape"),
        ({"refunds": {"R1": ["odd", "1.00"]}}, "shape"),
    ],
)
def test_the_shop_of_the_page_says_what_is_wrong(change: dict[str, Any], code: str) -> None:
    with pytest.raises(BadInput) as told:
        decode(**change)
    assert told.value.code == code
