"""What the daily re-read takes for missed."""

from __future__ import annotations

from gateway.core.event import ConnectionName, Event, EventId
from gateway.store.dead import discard_in, set_aside
from gateway.store.inbox import put
from gateway.store.prefixes import note_prefixes
from gateway.store.pulls import unknown_orders
from tests.store.stuck import BLOCKED_AT, SHOP, WMS, letter, open_desk, stick


async def test_an_order_is_missed_that_stands_nowhere_here(migrated_url: str) -> None:
    pool, names = await open_desk(migrated_url)
    await stick(pool, names, 1)
    async with pool.acquire() as connection, connection.transaction():
        await set_aside(connection, [letter(2, "S2", "shape", key="2"), letter(3, "S3", "shape", key="3")])
        closed = await connection.fetchval("SELECT dead_letter_id FROM dead_letter WHERE number = 'S3'")
        await discard_in(connection, closed, reason="x", actor="y")
    for source, key in ((SHOP, "4"), (WMS, "5")):
        event = Event(
            id=EventId(key), source=ConnectionName(source), type="order", order_key=key, time=BLOCKED_AT, body=b"{}"
        )
        await put(pool, [event])

    missed = await unknown_orders(pool, SHOP, prefix="S", order_keys=["1", "2", "3", "4", "5", "6"])

    assert missed == {"3", "5", "6"}, "a closed dead letter is gone, and another sender's event is another order"
    assert await unknown_orders(pool, SHOP, prefix="T", order_keys=["1", "4"]) == {"1"}
    await note_prefixes(pool, {ConnectionName(SHOP): "S"}, {})
    assert not await unknown_orders(pool, SHOP, prefix="T", order_keys=["1", "4"]), "the shop had another prefix then"
    await note_prefixes(pool, {ConnectionName(SHOP): "T"}, {})
    assert not await unknown_orders(pool, "renamed", prefix="T", order_keys=["1"]), "and has another name since"
    await pool.close()
