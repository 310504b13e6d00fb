"""An order whose create and cancel were both withdrawn: its stock is free again, and wanted after all it is sent."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from gateway.core.delivery import Held, Result
from gateway.core.event import Arrival
from gateway.core.order import Closing, Operation, Payment, Refund, RefundStatus
from gateway.intake.batch import Decider
from gateway.store.inbox import take
from gateway.store.outbox import claim, start_worker, withdraw
from gateway.store.queries import AttemptEnded, read_order
from gateway.store.sql import Connection
from gateway.store.work import conflicts_handled
from tests.intake.test_batch import EVERYTHING, WMS, Desk, Memory, decide, desk, goes_to, said
from tests.intake.test_verdicts import count_stock, next_one

__all__ = ["desk"]

ORDERS = "SELECT stage, reasons, conflicts FROM orders"
LANES = "SELECT operation, head, tail FROM lane"
OPEN, REFUSED = Refund("R1", RefundStatus.OPEN, 100), Refund("R1", RefundStatus.REJECTED, 100)


async def claimed(desk: Desk) -> tuple[int, list[Held]]:
    """A new worker, and what it has claimed."""
    worker_id = await start_worker(desk.pool, name=f"sends {os.urandom(4).hex()}", lease_s=60)
    held = await claim(
        desk.pool, worker_id=worker_id, target=WMS, operation=Operation.CREATE, limit=9, names=desk.names
    )
    return worker_id, held


async def from_inbox(desk: Desk, decider: Decider) -> int:
    """Has all that waits in the inbox decided; how many events that were."""

    @asynccontextmanager
    async def transaction() -> AsyncIterator[tuple[Connection, Sequence[Arrival]]]:
        async with desk.pool.acquire() as connection, connection.transaction():
            yield connection, await take(connection, 10)

    return await decider.decide_in(transaction)


async def withdrawn(desk: Desk) -> list[tuple[int, str]]:
    """A worker claims the order and sends neither; the attempts as its timeline has them."""
    worker_id, held = await claimed(desk)
    orders = {one.delivery.order_id: one.delivery.command.seq for one in held}
    kept = await withdraw(desk.pool, worker_id=worker_id, target=WMS, creates=orders, names=desk.names)
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


async def test_wanted_after_all_it_is_sent(desk: Desk) -> None:
    await count_stock(desk, 5)
    decider = await desk.worker(Memory(0))
    await decide(decider, next_one(desk, said(1, content=EVERYTHING, payment=Payment(True, 2000))))
    await decide(decider, next_one(desk, said(2, refunds=(OPEN,))))
    await withdrawn(desk)
    await decide(decider, next_one(desk, said(3, refunds=(REFUSED,))))
    assert await desk.rows(ORDERS) == [("allocated", "", "")]
    assert await desk.rows(LANES) == [("create", 3, 3)]
    assert await desk.rows("SELECT locked, committed FROM stock") == [(0, 2)]
    assert await desk.rows("SELECT seq, operation, key FROM delivery ORDER BY seq") == [
        (1, "create", "create"),
        (2, "cancel", "cancel"),
        (3, "create", "create"),
    ]
    await decide(decider, next_one(desk, said(4, closing=Closing(True))))
    assert await desk.rows(ORDERS) == [("cancelled", "", "")]
    assert await desk.rows(LANES) == [("create", 3, 4)]
    assert await withdrawn(desk) == [(seq, "withdrawn") for seq in (1, 2, 3, 4)]
    assert await desk.rows("SELECT locked, committed FROM stock") == [(0, 0)]


async def test_wanted_before_it_is_withdrawn_it_is_sent_as_well(desk: Desk) -> None:
    """What the shop said last was decided while both still waited for a target that is down."""
    await count_stock(desk, 5)
    decider = await desk.worker(Memory(0))
    await decide(decider, next_one(desk, said(1, content=EVERYTHING, payment=Payment(True, 2000))))
    await decide(decider, next_one(desk, said(2, refunds=(OPEN,))))
    await decide(decider, next_one(desk, said(3, refunds=(REFUSED,))))
    assert await desk.rows(ORDERS) == [("allocated", "", "reopened_after_cancel")]
    await withdrawn(desk)
    assert await from_inbox(desk, decider) == 1
    assert await desk.rows(ORDERS) == [("allocated", "", "")]
    assert await desk.rows(LANES) == [("create", 3, 3)]
    assert await desk.rows("SELECT locked, committed FROM stock") == [(0, 2)]


async def test_what_a_person_has_dealt_with_is_not_sent_as_well(desk: Desk) -> None:
    """While the target was down he saw that it does not have it, and entered it by hand as he was told to."""
    decider = await desk.worker(Memory(0))
    await decide(decider, next_one(desk, said(1, content=EVERYTHING, payment=Payment(True, 2000))))
    await decide(decider, next_one(desk, said(2, refunds=(OPEN,))))
    await decide(decider, next_one(desk, said(3, refunds=(REFUSED,))))
    assert await conflicts_handled(desk.pool, "A1", reason="entered by hand", actor="ann") == ("reopened_after_cancel",)
    await withdrawn(desk)
    await from_inbox(desk, decider)
    assert await desk.rows(ORDERS) == [("allocated", "", "reopened_after_cancel")]
    assert await desk.rows(LANES) == [] and len(await desk.rows("SELECT * FROM conflict_handled")) == 1


async def test_what_is_sent_then_is_what_is_wanted_then(desk: Desk) -> None:
    """Changed meanwhile, it is not held against what would have been sent before."""
    await count_stock(desk, 5)
    decider = await desk.worker(Memory(0))
    await decide(decider, next_one(desk, said(1, content=EVERYTHING, payment=Payment(True, 2000))))
    await decide(decider, next_one(desk, said(2, closing=Closing(True))))
    await withdrawn(desk)
    elsewhere = msgspec.structs.replace(EVERYTHING, receiver=msgspec.structs.replace(EVERYTHING.receiver, detail="2"))
    await decide(decider, next_one(desk, said(3, content=elsewhere, closing=Closing(False))))
    assert await desk.rows(ORDERS) == [("allocated", "", "")]
    _, [one] = await claimed(desk)
    assert one.delivery.command.seq == 3 and one.delivery.order.content is not None
    assert one.delivery.order.content.value.receiver.detail == "2"


async def test_what_stood_against_it_as_sent_is_gone(desk: Desk) -> None:
    """Nobody is asked to tell a warehouse of another receiver that it has never had one of."""
    decider = await desk.worker(Memory(0))
    await decide(decider, next_one(desk, said(1, content=EVERYTHING, payment=Payment(True, 2000))))
    await decide(decider, next_one(desk, goes_to("2", 2)))
    await decide(decider, next_one(desk, said(3, closing=Closing(True))))
    assert await desk.rows(ORDERS) == [("cancelled", "", "changed_after_sent")]
    await withdrawn(desk)
    await from_inbox(desk, decider)
    assert await desk.rows(ORDERS) == [("cancelled", "", "")]


async def test_what_no_balance_knew_then_is_booked_when_it_is_sent(desk: Desk) -> None:
    """It has never left: what was counted meanwhile has it."""
    decider = await desk.worker(Memory(0))
    await decide(decider, next_one(desk, said(1, content=EVERYTHING, payment=Payment(True, 2000))))
    await decide(decider, next_one(desk, said(2, refunds=(OPEN,))))
    await withdrawn(desk)
    await from_inbox(desk, decider)
    await count_stock(desk, 5)
    await decide(decider, next_one(desk, said(3, refunds=(REFUSED,))))
    assert await desk.rows(LANES) == [("create", 3, 3)]
    assert await desk.rows("SELECT locked, committed FROM stock") == [(0, 2)]


async def test_an_order_that_cannot_be_read_is_not_withdrawn(desk: Desk) -> None:
    decider = await desk.worker(Memory(0))
    await decide(decider, next_one(desk, said(1, content=EVERYTHING, payment=Payment(True, 2000))))
    await decide(decider, next_one(desk, said(2, closing=Closing(True))))
    worker_id, held = await claimed(desk)
    await desk.pool.execute("UPDATE orders SET state = 'damaged'")
    orders = {one.delivery.order_id: one.delivery.command.seq for one in held}
    kept = await withdraw(desk.pool, worker_id=worker_id, target=WMS, creates=orders, names=desk.names)
    assert kept == orders.keys() and await desk.rows(LANES) == [("create", 1, 2)]
    assert await desk.rows("SELECT * FROM attempt") == []


async def test_asked_again_where_the_answer_was_lost_what_is_sent_anew_is_another_one(desk: Desk) -> None:
    """This worker holds that too, by now: neither has it the first to send, nor is the other taken from it."""
    decider = await desk.worker(Memory(0))
    await decide(decider, next_one(desk, said(1, content=EVERYTHING, payment=Payment(True, 2000))))
    await decide(decider, next_one(desk, said(2, refunds=(OPEN,))))
    worker_id, [one] = await claimed(desk)
    first = {one.delivery.order_id: 1}
    assert not await withdraw(desk.pool, worker_id=worker_id, target=WMS, creates=first, names=desk.names)
    await decide(decider, next_one(desk, said(3, refunds=(REFUSED,))))
    await desk.pool.execute("UPDATE lane SET worker_id = $1", worker_id)
    assert not await withdraw(desk.pool, worker_id=worker_id, target=WMS, creates=first, names=desk.names)
    await decide(decider, next_one(desk, said(4, closing=Closing(True))))
    assert not await withdraw(desk.pool, worker_id=worker_id, target=WMS, creates=first, names=desk.names)
    assert await desk.rows(LANES) == [("create", 3, 4)]
