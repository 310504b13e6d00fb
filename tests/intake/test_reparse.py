"""Messages that another adapter parses again, on a real PostgreSQL: what changes, what stays, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from gateway.core.errors import BadInput
from gateway.core.event import ConnectionName, Event
from gateway.core.order import Facts, Hold, Mode, Order, Party, Payment, Receiver
from gateway.intake.batch import Decider
from gateway.pipeline.rules import Rules
from gateway.store.orders import decode_state
from gateway.store.repair import NoSuchOrder, NotNow
from gateway.store.reparse import Reparsed, look, reparse
from gateway.store.sql import register_connections
from tests.intake.test_batch import (
    NOW,
    RULES,
    SHOP,
    WMS,
    Desk,
    Memory,
    decide,
    decode,
    desk,
    goes_to,
    paid,
    parcel,
    said,
)
from tests.intake.test_sealed import read_inbox

__all__ = ["desk"]

pytestmark = pytest.mark.feature("F4")

AGAIN = NOW + timedelta(minutes=5)
RIGHT = Receiver(name="李四", phone="13800000000")


def mended(receiver: Receiver = RIGHT) -> Callable[[Event], Facts]:
    """An adapter that reads another receiver out of the same messages."""

    def adapter(event: Event) -> Facts:
        facts = decode(event)
        if facts.content is None:
            return facts
        return msgspec.structs.replace(facts, content=msgspec.structs.replace(facts.content, receiver=receiver))

    return adapter


async def again(
    desk: Desk,
    decider: Decider,
    number: str = "A1",
    *,
    renamed: Mapping[ConnectionName, ConnectionName] | None = None,
) -> Reparsed:
    return await reparse(
        desk.pool,
        number,
        reads=decider.reads,
        renamed=renamed or {},
        names=desk.names,
        reason="mended",
        actor="wang",
        now=AGAIN,
    )


async def stored(desk: Desk, number: str = "A1") -> Order:
    return decode_state(await desk.pool.fetchval("SELECT state FROM orders WHERE number = $1", number))


async def everything(desk: Desk) -> list[Any]:
    """All that parsing again could change."""
    tables = ("orders", "event", "delivery", "lane", "inbox", "audit", "conflict_handled", "dead_letter")
    return [await desk.rows(f"SELECT * FROM {table} t ORDER BY t") for table in tables]


async def test_what_was_misread_is_read_right_and_the_order_goes_on(desk: Desk) -> None:
    rules = msgspec.structs.replace(RULES, mandatory=("receiver.phone",))
    old = await desk.worker(Memory(), rules=rules)
    await decide(old, desk.arrival("1", paid("1")), desk.arrival("1", said(2, hold=Hold(False))))
    assert (await stored(desk)).reasons == ("missing:receiver.phone",)
    memory = Memory()
    new = await desk.worker(memory, rules=rules, adapter=mended())

    before = await everything(desk)
    assert await look(desk.pool, "A1", reads=new.reads, renamed={}) == Reparsed(
        messages=2, changes=("content.receiver",)
    )
    assert await everything(desk) == before

    assert await again(desk, new) == Reparsed(messages=2, changes=("content.receiver",))
    assert await desk.rows("SELECT actor, action, subject FROM audit") == [("wang", "order.reparse", "A1")]
    await read_inbox(desk, new)
    order = await stored(desk)
    assert order.content is not None and (order.content.version, order.content.value.receiver) == (1, RIGHT)
    assert [(command.target, command.key) for command in order.commands] == [("wms-1", "create")]
    assert [held.delivery.order.content for held in memory.held] == [order.content]
    assert await look(desk.pool, "A1", reads=new.reads, renamed={}) == Reparsed(messages=2, changes=())


async def test_what_would_lose_as_another_event_of_the_same_version_counts(desk: Desk) -> None:
    """Merged into what is stored, of two receivers of one version the one with the greater encoding would stay."""
    for receiver in (Receiver(name="a"), Receiver(name="z" * 40)):
        await decide(await desk.worker(Memory()), desk.arrival("1", paid("1")))
        await again(desk, await desk.worker(Memory(), adapter=mended(receiver)))
        content = (await stored(desk)).content
        assert content is not None and content.value.receiver == receiver


async def test_the_same_adapter_reads_the_same_and_decides_nothing(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", paid("1")))
    await decide(decider, desk.arrival("1", goes_to("elsewhere", 2)), desk.arrival("1", parcel("P1")))
    *before, _, _, _ = await everything(desk)
    assert await again(desk, decider) == Reparsed(messages=3, changes=())
    *after, _, _, _ = await everything(desk)
    assert after == before and await desk.rows("SELECT action FROM audit") == [("order.reparse",)]


async def test_what_was_sent_is_not_sent_again_and_a_person_is_told_what_differs(desk: Desk) -> None:
    await decide(await desk.worker(Memory()), desk.arrival("1", paid("1")))
    memory = Memory()
    new = await desk.worker(memory, adapter=mended())
    await again(desk, new)
    await read_inbox(desk, new)
    order = await stored(desk)
    assert [command.key for command in order.commands] == ["create"] and memory.held == []
    assert order.conflicts == ("changed_after_sent",)
    assert await desk.rows("SELECT conflicts FROM orders") == [("changed_after_sent",)]

    await again(desk, await desk.worker(Memory()))
    await read_inbox(desk, new)
    assert (await stored(desk)).conflicts == (), "as it was sent"


async def test_who_has_dealt_with_a_conflict_hears_of_it_again(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", paid("1")))
    await decide(decider, desk.arrival("1", goes_to("elsewhere", 2)))
    await desk.pool.execute(
        "INSERT INTO conflict_handled (order_id, conflicts, author) SELECT order_id, conflicts, 'wang' FROM orders"
    )
    await again(desk, await desk.worker(Memory(), adapter=mended()))
    assert await desk.rows("SELECT * FROM conflict_handled") == []


async def test_an_order_that_was_only_observed_stays_so(desk: Desk) -> None:
    shop = msgspec.structs.replace(RULES.shops[SHOP], mode=Mode.OBSERVE)
    await decide(await desk.worker(Memory(), rules=Rules(shops={SHOP: shop})), desk.arrival("1", paid("1")))
    live = await desk.worker(Memory(), adapter=mended())
    await again(desk, live)
    await read_inbox(desk, live)
    order = await stored(desk)
    assert order.content is not None and order.content.value.receiver == RIGHT
    assert order.commands == () and str(order.origin) == "observed"


async def test_an_order_from_before_its_shop_took_another_prefix_is_read_again(desk: Desk) -> None:
    await decide(await desk.worker(Memory()), desk.arrival("1", paid("1")))
    shop = msgspec.structs.replace(RULES.shops[SHOP], prefix="B", former=("A",))
    await again(desk, await desk.worker(Memory(), rules=Rules(shops={SHOP: shop}), adapter=mended()))
    order = await stored(desk)
    assert order.content is not None and order.content.value.receiver == RIGHT


async def test_what_was_told_under_two_names_and_prefixes_of_its_shop_is_read_again(desk: Desk) -> None:
    await decide(await desk.worker(Memory()), desk.arrival("1", paid("1")))
    new = ConnectionName("shop-n")
    desk.names = await register_connections(desk.pool, [SHOP, WMS, new])
    shop = msgspec.structs.replace(RULES.shops[SHOP], name=new, prefix="B", former=("A",))
    rules = Rules(shops={new: shop}, renamed={SHOP: new})
    told = desk.arrival("1", said(2, payment=Payment(True, 2000)))
    told = msgspec.structs.replace(told, event=msgspec.structs.replace(told.event, source=new))
    await decide(await desk.worker(Memory(), rules=rules), told)
    done = await again(desk, await desk.worker(Memory(), rules=rules, adapter=mended()), renamed=rules.renamed)
    assert done.messages == 2
    order = await stored(desk)
    assert order.content is not None and order.content.value.receiver == RIGHT
    assert order.connection == SHOP


def _less(event: Event) -> Facts:
    return msgspec.structs.replace(decode(event), payment=None)


def _older(event: Event) -> Facts:
    return msgspec.structs.replace(decode(event), version=0)


def _no_parcels(event: Event) -> Facts:
    return msgspec.structs.replace(decode(event), confirmations=())


def _unreadable(event: Event) -> Facts:
    raise BadInput("json", "is not a JSON document", advice="send JSON")


def _of_another(event: Event) -> Facts:
    facts = decode(event)
    return msgspec.structs.replace(facts, order_no="A2" if facts.party is Party.WAREHOUSE else "2")


@pytest.mark.parametrize(
    ("adapter", "code", "words"),
    [
        (_less, "not_all_told", "payment"),
        (_older, "not_all_told", "content, payment"),
        (_no_parcels, "not_all_told", "confirmations"),
        (_unreadable, "unusable", "message 1: "),
        (_of_another, "another_order", "A2"),
    ],
)
async def test_an_adapter_that_makes_less_of_them_changes_nothing(
    desk: Desk, adapter: Callable[[Event], Facts], code: str, words: str
) -> None:
    await decide(await desk.worker(Memory()), desk.arrival("1", paid("1")), desk.arrival("1", parcel("P1")))
    new = await desk.worker(Memory(), adapter=adapter)
    before = await everything(desk)
    for doing in (look(desk.pool, "A1", reads=new.reads, renamed={}), again(desk, new)):
        with pytest.raises(NotNow) as told:
            await doing
        assert told.value.code == code and words in told.value.message.en
    assert await everything(desk) == before


async def test_messages_that_are_gone_with_their_age_forget_nothing(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", paid("1")), desk.arrival("1", said(2, payment=Payment(True, 1000))))
    known = await stored(desk)
    for gone in ("event_id = 'e2'", "true"):
        await desk.pool.execute(f"DELETE FROM event WHERE {gone}")
        with pytest.raises(NotNow, match="less than is known"):
            await again(desk, decider)
        assert await stored(desk) == known
    with pytest.raises(NoSuchOrder):
        await again(desk, decider, "A9")


async def test_a_source_that_is_configured_no_more_is_told(desk: Desk) -> None:
    decider = await desk.worker(Memory())
    await decide(decider, desk.arrival("1", paid("1")))
    await desk.pool.execute("UPDATE connection SET name = 'gone' WHERE name = 'shop-a'")
    with pytest.raises(NotNow, match="message 1: no connection 'gone'"):
        await again(desk, decider)
