"""What enters: the key that keeps one order's events in one partition, and words that are stored or sent."""

from __future__ import annotations

import pytest

from gateway.core.event import RECONSIDER, Event, EventId, Leg
from tests.core.sample import PLACED_AT, SHOP


@pytest.mark.parametrize(("order_key", "key"), [("A1001", "shop/A1001"), ("", "shop/"), ("a/b", "shop/a/b")])
def test_events_of_one_order_have_one_key(order_key: str, key: str) -> None:
    """Whatever they say: only sender and order count."""
    for number, kind, body in ((1, "placed", b"{}"), (2, "paid", b"")):
        event = Event(id=EventId(str(number)), source=SHOP, type=kind, order_key=order_key, time=PLACED_AT, body=body)
        assert event.key == key


def test_words_that_rows_and_labels_hold_stay() -> None:
    """Events that wait in an inbox carry the type; dashboards name the legs."""
    assert RECONSIDER == "ordergate.reconsider"
    assert [str(leg) for leg in Leg] == ["kafka", "inbox"]
