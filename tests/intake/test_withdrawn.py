"""An order whose create and cancel were both withdrawn: its stock is free again, and nothing says that it was sent."""

from __future__ import annotations

import re

import msgspec
import pytest

from gateway.api.advice import About, next_step
from gateway.core.delivery import Result
from gateway.core.order import Closing, Conflict, Facts, Hold, Operation, Payment, Refund, RefundStatus
from gateway.core.words import CONFLICTS
from gateway.store.outbox import claim, start_worker, withdraw
from gateway.store.queries import AttemptEnded, read_order
from tests.intake.test_batch import EVERYTHING, RULES, SHOP, WMS, Desk, Memory, decide, desk, goes_to, said
from tests.intake.test_verdicts import count_stock, next_one

__all__ = ["desk"]

ORDERS = "SELECT stage, reasons, conflicts FROM orders"


async def withdrawn(desk: Desk) -> list[tuple[int, str]]:
    """A worker claims the order and sends neither; the attempts as its timeline has them."""
    worker_id = await start_worker(desk.pool, name="sends", lease_s=60)
    held = await claim(
        desk.pool, worker_id=worker_id, target=WMS, operation=Operation.CREATE, limit=9, names=desk.names
    )
    orders = [one.delivery.order_id for one in held]
    kept = await withdraw(desk.pool, worker_id=worker_id, target=WMS, order_ids=orders, names=desk.names)
    assert len(held) == 1 and not kept and await desk.rows("SELECT * FROM lane") == []
    page = await read_order(desk.pool, "A1")
    assert page is not None
    return [(one.seq, one.result) for one in page.timeline if isinstance(one, AttemptEnded)]


async def test_stock_is_free_and_the_timeline_says_that_neither_was_sent(desk: Desk) -> None:
    await count_stock(desk, 5)
    decider = await desk.worker(Memory(0))
    await decide(decider, next_one(desk, said(1, content=EVERYTHING, payment=Payment(True, 2000))))
    await decide(decider, next_one(desk, said(2, closing=Closing(True))))
    assert await withdrawn(desk) == [(seq, Result.WITHDRAWN.name.lower()) for seq in (1, 2)]
    assert await desk.rows("SELECT locked, committed FROM stock") == [(0, 0)]
    assert await desk.rows(ORDERS) == [("cancelled", "", "")]


async def test_wanted_after_all_it_is_for_a_person_who_is_not_told_that_the_warehouse_knows_of_it(desk: Desk) -> None:
    await count_stock(desk, 5)
    decider = await desk.worker(Memory(0))
    await decide(decider, next_one(desk, said(1, content=EVERYTHING, payment=Payment(True, 2000))))
    await decide(decider, next_one(desk, said(2, refunds=(Refund("R1", RefundStatus.OPEN, 100),))))
    assert await desk.rows("SELECT locked, committed FROM stock") == [(2, 0)]
    await withdrawn(desk)
    await decide(decider, next_one(desk, said(3, refunds=(Refund("R1", RefundStatus.REJECTED, 100),))))
    assert await desk.rows(ORDERS) == [("allocated", "", "reopened_after_cancel")]
    assert await desk.rows("SELECT * FROM lane") == [], "it is not sent a second time"
    words = CONFLICTS["reopened_after_cancel"]
    assert "仓库" not in words.zh and "warehouse" not in words.en
    step = next_step(About(kind="conflict", connection="shop", operation="", code="reopened_after_cancel"))
    assert "没有发出的，由人录入仓库" in step.zh and "what was never sent, enter in the warehouse by hand" in step.en
    await decide(decider, next_one(desk, said(4, closing=Closing(True))))
    assert await desk.rows(ORDERS) == [("cancelled", "", "")]
    assert await desk.rows("SELECT locked, committed FROM stock") == [(0, 0)]


@pytest.mark.parametrize(
    ("code", "then"),
    [
        ("changed_after_sent", goes_to("2 Road", 4)),
        ("held_after_sent", said(4, hold=Hold(True, "risk"))),
        ("shipped_elsewhere", said(4, left=True)),
    ],
)
async def test_what_becomes_of_it_then_is_not_said_to_have_come_after_it_was_sent(
    desk: Desk, code: Conflict, then: Facts
) -> None:
    await count_stock(desk, 5)
    shop = msgspec.structs.replace(RULES.shops[SHOP], takes_shipments=True)
    decider = await desk.worker(Memory(0), rules=msgspec.structs.replace(RULES, shops={SHOP: shop}))
    await decide(decider, next_one(desk, said(1, content=EVERYTHING, payment=Payment(True, 2000))))
    await decide(decider, next_one(desk, said(2, closing=Closing(True))))
    await withdrawn(desk)
    await decide(decider, next_one(desk, said(3, closing=Closing(False))))
    await decide(decider, next_one(desk, then))
    assert code in (await desk.rows("SELECT conflicts FROM orders"))[0][0].split()
    words = CONFLICTS[code]
    assert "下发" not in words.zh and not re.search(r"\bsent\b", words.en)
    step = next_step(About(kind="conflict", connection="shop", operation="", code=code))
    assert "未发出的，仓库没有" in step.zh and "never sent" in step.en
