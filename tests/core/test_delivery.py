"""What leaves: the policy after an unknown outcome, keys that stay the same, and numbers that are stored."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.core.delivery import (
    AfterUnknown,
    Delivery,
    Done,
    Failed,
    Found,
    Rejected,
    Result,
    Throttled,
    Unauthorised,
    Unknown,
    after_unknown,
)
from gateway.core.order import Command, Operation, Order, OrderNumber
from tests.core.sample import SHOP, WMS


@pytest.mark.feature("F109")
@pytest.mark.parametrize(
    ("idempotent", "findable", "policy"),
    [
        (True, True, AfterUnknown.RESEND),
        (True, False, AfterUnknown.RESEND),
        (False, True, AfterUnknown.FIND),
        (False, False, AfterUnknown.PERSON),
    ],
)
def test_what_follows_unknown_is_what_the_adapter_declares(
    idempotent: bool, findable: bool, policy: AfterUnknown
) -> None:
    assert after_unknown(idempotent=idempotent, findable=findable) is policy


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (Command(WMS, 1, Operation.CREATE, "create"), "A1001/create"),
        (Command(WMS, 2, Operation.CANCEL, "cancel"), "A1001/cancel"),
        (Command(SHOP, 1, Operation.SHIP, "ship:wms-1/MSG-77"), "A1001/ship:wms-1/MSG-77"),
    ],
)
def test_a_delivery_is_known_by_order_and_command(command: Command, key: str) -> None:
    """Targets refuse the second of two with one key: it must not depend on the attempt, nor on the order's state."""
    order = Order(number=OrderNumber("A1001"))
    delivery = Delivery(order_id=1, order=order, command=command)
    edited = Delivery(order_id=1, order=Order(number=order.number, reasons=("edited",)), command=command)
    assert delivery.idempotency_key == edited.idempotency_key == key
    assert (delivery.target, delivery.operation) == (command.target, command.operation)


def test_results_keep_their_numbers() -> None:
    """Attempts are stored with them. A new one gets a number of its own."""
    numbers = {
        "DONE": 1, "FAILED": 2, "THROTTLED": 3, "REJECTED": 4, "UNKNOWN": 5, "FOUND": 6, "NOT_FOUND": 7, "RESOLVED": 8,
    }  # fmt: skip
    assert {name: Result[name].value for name in numbers} == numbers


class Array:
    """As those of numpy: it has no truth, and says so."""

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array is ambiguous")

    def __str__(self) -> str:
        return "[7 8]"


@pytest.mark.parametrize(
    ("given", "text"),
    [(None, ""), (7, "7"), (b"R1", "b'R1'"), (Array(), "[7 8]")],
    ids=["none", "number", "bytes", "array"],
)
def test_what_an_answer_says_is_text(given: Any, text: str) -> None:
    """A gate that finds anything else in it would fail, and with it the worker, each time that it is sent."""
    assert [Done(given).reference, Found(given).reference, Throttled(1.0, given).message] == [text] * 3
    for kind in (Failed, Rejected, Unknown, Unauthorised):
        assert kind("code", given).message == text


def test_what_has_no_truth_is_refused_where_the_answer_is_made() -> None:
    mark: Any = Array()
    for make in (
        lambda: Done(already=mark),
        lambda: Unknown("code", timeout=mark),
        lambda: Unknown("code", answered=mark),
        lambda: Failed(mark),
    ):
        with pytest.raises(ValueError, match="ambiguous"):
            make()
