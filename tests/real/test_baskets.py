"""Real purchases through a real Kafka and a real PostgreSQL to the Qimen warehouse: every basket exactly one document.

The orders are those of `gateway.demo.baskets`, produced straight to the topic in the documented CloudEvents form.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from adapters.webhook import mapping
from gateway.demo import scene
from gateway.demo.baskets import BASKETS, EMPTY, SHOPS, Basket, Totals, document_of, read_baskets
from gateway.demo.figures import JournalTail
from gateway.demo.verdict import read_books, read_known

PARTITIONS = 8
UNACKNOWLEDGED = 2_000
"""How many messages the producer has on the way at once."""

# Production's own times; only the limit on what may be in flight is that of a big warehouse.
WMS = {"settle_s": 15.0, "gates": {"create": {"in_flight": 64}}}


class Size(msgspec.Struct, frozen=True):
    """Memory of the gateway's processes and of its database, in MB."""

    gateway_mb: float
    database_mb: float

    def __str__(self) -> str:
        return f"gateway {self.gateway_mb:.0f} MB, database {self.database_mb:.0f} MB"


def first_baskets(orders: int | None) -> Iterator[Basket]:
    """Baskets from the beginning of the data until `orders` of them are orders; None: all."""
    left = orders
    for basket in read_baskets():
        yield basket
        if left is not None:
            left -= bool(basket.lines)
            if not left:
                return


@pytest.mark.real
@pytest.mark.parametrize(
    "orders",
    [
        pytest.param(20_000, id="20,000"),
        pytest.param(None, id="all", marks=pytest.mark.soak),
    ],
)
async def test_every_basket_is_exactly_one_document(
    orders: int | None, kafka: Any, postgres_url: str, server_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = f"baskets-{orders or 'all'}"
    secrets = {shop.name: scene.new_secret() for shop in SHOPS}
    totals, numbers = Totals(), set[str]()
    await create_topic(kafka.bootstrap, topic)
    async with scene.open_wms(server_folder / "wms.journal") as wms_url:
        document = scene.configuration(
            data_dir=server_folder / "data",
            wms_url=wms_url,
            shops_url=None,
            shop_secrets=secrets,
            wms=WMS,
            sections={
                "database": {"url": postgres_url},
                "kafka": {"bootstrap": kafka.bootstrap, "topic": topic, "group": topic},
            },
        )
        async with scene.open_gateway(server_folder, document) as gateway:
            at_start = await sizes(gateway.pid, postgres_url)
            started = time.monotonic()
            peak_mb = 0.0
            async with asyncio.TaskGroup() as group:
                producing = group.create_task(
                    produce(kafka.bootstrap, topic, counted(first_baskets(orders), totals, numbers)), name="producer"
                )
                wms = JournalTail(server_folder / "wms.journal")
                moved_at, before = started, 0
                while not producing.done() or len(wms.orders) < totals.orders:
                    await asyncio.sleep(0.25)
                    wms.read_on()
                    peak_mb = max(peak_mb, resident_mb(gateway.pid))
                    if len(wms.orders) != before:
                        moved_at, before = time.monotonic(), len(wms.orders)
                    assert time.monotonic() - moved_at < 60, f"{before:,} of {totals.orders:,} and nothing moves"
            took_s = time.monotonic() - started
            await settled(postgres_url, kafka.bootstrap, topic)
            at_end = await sizes(gateway.pid, postgres_url)
            books, known = await read_books(wms_url), await read_known(postgres_url)
    with capsys.disabled():
        print(
            f"\n{totals.orders:,} orders of {sum(totals.pieces.values()):,} pieces and {len(totals.pieces):,} products,"
            f" {totals.excluded} baskets excluded: {took_s:.1f} s, {totals.orders / took_s:,.0f} orders/s"
            f"\n  start: {at_start}\n  end:   {at_end}\n  peak:  gateway {peak_mb:.0f} MB"
            f"\n  database per order: {(at_end.database_mb - at_start.database_mb) * 1e3 / totals.orders:.2f} kB"
        )

    if orders is None:
        assert (totals.orders, totals.excluded) == (BASKETS - EMPTY, EMPTY)
    else:
        assert totals.orders == orders
    assert books.orders.keys() == known.stages.keys() == numbers
    assert {book.documents for book in books.orders.values()} == {1}
    assert books.duplicates == books.repeats == books.refused == 0
    assert {sku: deeds["created"] for sku, deeds in books.sums.items()} == totals.pieces == known.pieces
    assert books.amounts_minor == totals.amount_minor == known.amount_minor
    assert set(known.stages.values()) == {"allocated"}
    assert (known.open_lanes, known.inbox, known.dead_letters) == (0, 0, 0)


def counted(baskets: Iterator[Basket], totals: Totals, numbers: set[str]) -> Iterator[Basket]:
    for basket in baskets:
        totals.add(basket)
        if basket.lines:
            numbers.add(basket.number)
            yield basket


async def create_topic(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    finally:
        await admin.close()


async def produce(bootstrap: str, topic: str, baskets: Iterator[Basket]) -> None:
    """Every basket as one message; returns when all are acknowledged."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True) as producer:
        while some := list(islice(baskets, UNACKNOWLEDGED)):
            futures = []
            for basket in some:
                body = document_of(basket)
                event_id = mapping.event_id(*mapping.read_head(body)[:2], body)
                futures.append(
                    await producer.send(
                        topic,
                        body,
                        key=f"{basket.shop.name}/{basket.order_no}".encode(),
                        headers=[
                            ("ce_specversion", b"1.0"),
                            ("ce_id", event_id.encode()),
                            ("ce_source", basket.shop.name.encode()),
                            ("ce_type", mapping.EVENT_TYPE.encode()),
                            ("ce_time", datetime.now(UTC).isoformat().encode()),
                        ],
                    )
                )
            await asyncio.gather(*futures)


async def settled(database_url: str, bootstrap: str, topic: str) -> None:
    """Outcomes written, and every offset committed: within 10 s of the last document."""
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    connection = await asyncpg.connect(database_url)
    try:
        async with (
            asyncio.timeout(10),
            AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=topic, enable_auto_commit=False) as consumer,
        ):
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            while True:
                committed = {partition: await consumer.committed(partition) or 0 for partition in partitions}
                if committed == ends and not await connection.fetchval("SELECT count(*) FROM lane"):
                    return
                await asyncio.sleep(0.1)
    finally:
        await connection.close()


async def sizes(pid: int, database_url: str) -> Size:
    connection = await asyncpg.connect(database_url)
    try:
        size = await connection.fetchval("SELECT pg_database_size(current_database())")
    finally:
        await connection.close()
    return Size(resident_mb(pid), size / 1e6)


def resident_mb(pid: int) -> float:
    """Of `ordergate run` and its workers."""
    parent = psutil.Process(pid)
    return sum(process.memory_info().rss for process in (parent, *parent.children())) / 1e6
