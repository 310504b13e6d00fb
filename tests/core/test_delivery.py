"""What leaves: the policy after an unknown outcome, keys that stay the same, and numbers that are stored."""

from __future__ import annotations

import pytest

from gateway.core.delivery import AfterUnknown, Delivery, Result, after_unknown
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
