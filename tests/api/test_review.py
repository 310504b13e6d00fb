"""What a person says of orders that wait: this one may pass, and decide these again."""

from __future__ import annotations

import msgspec
import pytest

from gateway.core.order import Order, Passed
from gateway.store.orders import decode_state, encode_state

from .conftest import ORDER, Gateway, is_told

MUCH = {"total": "9000.00", "payment": {"paid": True, "amount": "9000.00"}}
FILTER = {"wanted": {"code": "over_limit", "connection": "shop"}}


async def test_an_order_over_the_limit_passes_by_a_persons_word_as_it_is_then(gateway: Gateway) -> None:
    number = await gateway.order(**MUCH | {"payment": {"paid": False}, "status": "placed"})
    await gateway.stage(number, "received", reason="over_limit")

    answer = await gateway.post(f"/orders/{number}/approve", {"reason": "known buyer"})

    assert answer == {"passed": ["over_limit"], "left": ["unpaid"], "total_minor": 900_000}
    await _waits_for(gateway, number, "unpaid")
    assert gateway.erp.books.orders == {}
    # What was not looked at holds it again.
    await gateway.order(**MUCH | {"total": "9000.01", "updated_at": "2026-05-01T09:40:05+08:00"})
    await _waits_for(gateway, number, "over_limit")
    assert (await gateway.post(f"/orders/{number}/approve", {"reason": "again"}))["left"] == []
    await gateway.sent(number)
    assert gateway.erp.books.orders[number].documents == 1
    assert await gateway.audit() == [
        ("admin/wang", "order.approve", number, "known buyer"), ("admin/wang", "order.approve", number, "again"),
    ]  # fmt: skip
    timeline = (await gateway.get(f"/orders/{number}"))["timeline"]
    assert [one["action"] for one in timeline if one["kind"] == "hand"] == ["order.approve"] * 2


async def test_a_receiver_without_a_telephone_passes_by_a_persons_word(gateway: Gateway) -> None:
    receiver = {**ORDER["receiver"], "phone": ""}
    number = await gateway.order(receiver=receiver)
    await gateway.stage(number, "received", reason="missing:receiver.phone")
    (item,) = (await gateway.get("/work/items", kind="hold"))["items"]
    assert item["next"]["command"] == f"ordergate orders approve {number} -r REASON"

    passed = await gateway.post(f"/orders/{number}/approve", {"reason": "picks it up"})

    assert passed == {"passed": ["missing:receiver.phone"], "left": [], "total_minor": None}
    await gateway.sent(number)
    other = await gateway.order(order_no="1002", receiver={**receiver, "city": ""})
    await gateway.stage(other, "received", reason="missing:receiver.city")


async def test_what_is_not_for_a_person_to_let_pass_is_refused(gateway: Gateway) -> None:
    number = await gateway.order(status="placed", payment={"paid": False})
    await gateway.stage(number, "received", reason="unpaid")
    refused = await gateway.call("POST", f"/orders/{number}/approve", {"reason": "x"})
    assert (refused.status, refused.body["error"]) == (409, "nothing_to_pass") and is_told(refused.body)
    assert "未付款" in refused.body["message"]["zh"]

    await gateway.order(updated_at="2026-05-01T09:40:05+08:00")
    await gateway.sent(number)
    sent = await gateway.call("POST", f"/orders/{number}/approve", {"reason": "x"})
    assert (sent.status, sent.body["error"]) == (409, "nothing_to_pass") and is_told(sent.body)
    assert (await gateway.call("POST", "/orders/S77/approve", {"reason": "x"})).status == 404
    assert await gateway.audit() == []


async def test_all_that_fit_are_decided_again_page_by_page(gateway: Gateway) -> None:
    numbers = [await gateway.order(order_no=str(n), **MUCH) for n in (1, 2, 3)]
    await gateway.order(order_no="4")
    for number in numbers:
        await gateway.stage(number, "received", reason="over_limit")
    await gateway.sent("S4")
    look = await gateway.post("/orders/reconsider/preview", FILTER)
    assert look == {
        "total": 3,
        "groups": [
            {"connection": "shop", "stage": "received", "reasons": ["over_limit"], "count": 3, "like": "S1"},
        ],
    }
    # As another rule would have left them: what these have stored is what is decided by.
    for number in numbers:
        await _store(gateway, number, limit=900_000)

    first = await gateway.post("/orders/reconsider", {**FILTER, "reason": "rules", "limit": 2})
    assert (first["count"], first["unread"]) == (2, []) and first["next"]
    last = await gateway.post("/orders/reconsider", {**FILTER, "reason": "rules", "limit": 2, "after": first["next"]})
    assert last == {"count": 1, "unread": [], "next": ""}

    for number in numbers:
        await gateway.sent(number)
    assert {number: gateway.erp.books.orders[number].documents for number in numbers} == dict.fromkeys(numbers, 1)
    assert await gateway.audit() == [("admin/wang", "order.reconsider", number, "rules") for number in numbers]
    assert (await gateway.post("/orders/reconsider/preview", FILTER))["total"] == 0


async def test_an_order_that_cannot_be_read_is_named_and_the_others_go_on(gateway: Gateway) -> None:
    numbers = [await gateway.order(order_no=str(n), **MUCH) for n in (1, 2)]
    for number in numbers:
        await gateway.stage(number, "received", reason="over_limit")
    await gateway.pool.execute("UPDATE orders SET state = '\\x93' WHERE number = 'S1'")

    answer = await gateway.post("/orders/reconsider", {**FILTER, "reason": "rules"})

    assert answer == {"count": 1, "unread": ["S1"], "next": ""}
    refused = await gateway.call("POST", "/orders/S1/approve", {"reason": "x"})
    assert refused.status == 409 and is_told(refused.body)


@pytest.mark.parametrize(
    ("wanted", "where"),
    [
        ({}, "$.wanted"), ({"connection": "shpo"}, "$.wanted.connection"), ({"code": "over_limits"}, "$.wanted.code"),
        ({"conflict": "x"}, "$.wanted.conflict"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/orders/reconsider", "/orders/reconsider/preview"])
async def test_a_filter_that_narrows_nothing_or_names_nothing_is_refused(
    gateway: Gateway, wanted: dict[str, str], where: str, path: str
) -> None:
    body = {"wanted": wanted} | ({"reason": "x"} if path.endswith("reconsider") else {})
    answer = await gateway.call("POST", path, body)
    assert (answer.status, answer.body["where"]) == (422, where) and is_told(answer.body)


async def _waits_for(gateway: Gateway, number: str, *reasons: str) -> None:
    async def look() -> bool:
        return list(reasons) == (await gateway.get("/orders", number=number))["orders"][0]["reasons"]

    await gateway.until(look)


async def _store(gateway: Gateway, number: str, *, limit: int) -> None:
    """Have what a person let pass of an order be so much, and nobody decide it."""
    state = await gateway.pool.fetchval("SELECT state FROM orders WHERE number = $1", number)
    order: Order = msgspec.structs.replace(decode_state(state), passed=Passed(limit))
    await gateway.pool.execute("UPDATE orders SET state = $2 WHERE number = $1", number, encode_state(order))
