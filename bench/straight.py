"""The path of an order without whoever decides about it: the same bytes read, stored, sent and recorded, straight on.

    topic → document decoded, compressed → stock locked, all tables written → signed POST → outcome → offset

With the gateway's own statements, codecs and HTTP client, and nothing between them: no merge, review or plan, no gate,
breaker, retry or lease, no dead letter, metric or log. Every order is taken to be new, paid and in stock. What the
gateway costs beyond this is its own part; this is the price of Python and of the libraries it is written with.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import uvloop
import zstandard
from aiokafka import AIOKafkaConsumer

from adapters.webhook import mapping
from bench import orders
from bench.clients import cpu_s, result
from bench.product import SECRET
from gateway.core.delivery import Delivery, Result
from gateway.core.event import ConnectionName
from gateway.core.order import Booking, Command, Content, Facts, Operation, Order, OrderNumber, Register, Route, Stage
from gateway.core.stock import Balance, Movement, Place
from gateway.intake.batch import ZSTD_LEVEL
from gateway.sdk.http import Http
from gateway.sdk.signing import Signer, decode_secret
from gateway.store.orders import EventRow, OrderWrite, StockPlaces, lock_orders, write_orders, write_outbox
from gateway.store.outbox import AttemptRow, Outcome, start_worker, write_outcomes
from gateway.store.sql import OrderIds, Private, open_pool, register_connections

BATCH_EVENTS = 1000
AHEAD = 2000
"""Deliveries that wait to be sent: those of two batches."""
OUTCOME_WAIT_S = 0.02
COMMIT_EVERY_S = 0.2
SHOP, SINK = ConnectionName(orders.CONNECTION), ConnectionName("sink")
MOST_MINOR = 10**10


class Straight:
    """One pass over a topic."""

    def __init__(self, pool: asyncpg.Pool, http: Http, url: str) -> None:
        self._pool = pool
        self._http = http
        self._url = url
        self._ids = OrderIds()
        self._places = StockPlaces()
        self._compress = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress
        self._signer = Signer(decode_secret(SECRET))
        self._queue: asyncio.Queue[Delivery] = asyncio.Queue(AHEAD)
        self._answered: list[tuple[Delivery, int]] = []
        self._answer = asyncio.Event()
        self.recorded = 0

    async def start(self) -> None:
        self._names = await register_connections(self._pool, [SHOP, SINK])
        self._worker_id = await start_worker(self._pool, name="straight", lease_s=3600)

    async def take(self, records: Sequence[Any]) -> None:
        """Store a batch, then hand its deliveries on."""
        told = [mapping.decode(record.value, max_total_minor=MOST_MINOR) for record in records]
        contents = [facts.content for facts in told if facts.content is not None]
        async with self._pool.acquire() as connection, connection.transaction():
            await lock_orders(connection, [OrderNumber(orders.PREFIX + facts.order_no) for facts in told])
            places = {(line.sku, orders.WAREHOUSE) for content in contents for line in content.lines}
            balances = await self._places.lock(connection, places)
            order_ids = await self._ids.take(connection, len(records))
            writes = [
                self._write(order_id, record, facts, content, balances)
                for order_id, record, facts, content in zip(order_ids, records, told, contents, strict=True)
            ]
            await write_orders(connection, writes, names=self._names)
            lanes = {(write.order_id, self._names.id(SINK)) for write in writes}
            await write_outbox(connection, writes, claimed=lanes, worker_id=self._worker_id, names=self._names)
        for write in writes:
            await self._queue.put(Delivery(order_id=write.order_id, order=write.order, command=write.commands[0]))

    def _write(
        self, order_id: int, record: Any, facts: Facts, content: Content, balances: Mapping[Place, Balance]
    ) -> OrderWrite:
        key = (facts.version, facts.rank)
        booked = tuple([Booking(line.sku, orders.WAREHOUSE, 0, line.quantity) for line in content.lines])
        stock_ids = [balances[booking.sku, booking.warehouse].stock_id for booking in booked]
        order = Order(
            number=OrderNumber(orders.PREFIX + facts.order_no),
            connection=SHOP,
            channel_no=facts.order_no,
            content=Register(*key, content),
            payment=None if facts.payment is None else Register(*key, facts.payment),
            route=Route(SINK, orders.WAREHOUSE),
            booked=booked,
            commands=(Command(SINK, 1, Operation.CREATE, "create"),),
            stage=Stage.ALLOCATED,
        )
        headers = {name: str(value, "utf-8") for name, value in record.headers}
        row = EventRow(
            hashlib.blake2b(headers["ce_id"].encode(), digest_size=12).digest(),
            headers["ce_id"],
            self._names.id(SHOP),
            headers["ce_type"],
            datetime.fromisoformat(headers["ce_time"]),
            datetime.now(UTC),
            Private(self._compress(record.value)),
        )
        return OrderWrite(
            order_id=order_id,
            new=True,
            changed=True,
            disputed_anew=False,
            order=order,
            events=(row,),
            movements=tuple(
                [Movement(stock_id, 0, 0, one.committed) for stock_id, one in zip(stock_ids, booked, strict=True)]
            ),
            commands=order.commands,
        )

    async def send(self) -> None:
        """Post what is stored, one after the other, until cancelled."""
        while True:
            delivery = await self._queue.get()
            content = delivery.order.content
            assert content is not None
            body = mapping.render_create(delivery, content.value, ())
            message_id, timestamp = delivery.idempotency_key, int(time.time())
            headers = {
                "content-type": "application/json",
                "webhook-id": message_id,
                "webhook-timestamp": str(timestamp),
                "webhook-signature": self._signer.sign(message_id=message_id, timestamp=timestamp, body=body),
            }
            began = time.monotonic()
            reply = await self._http.post(self._url, body, deadline_s=30, headers=headers)
            assert reply.status == 200, reply.status
            self._answered.append((delivery, int((time.monotonic() - began) * 1000)))
            self._answer.set()

    async def record(self) -> None:
        """Write outcomes in groups, until cancelled."""
        target_id = self._names.id(SINK)
        while True:
            await self._answer.wait()
            await asyncio.sleep(OUTCOME_WAIT_S)
            self._answer.clear()
            group, self._answered = self._answered, []
            ended_at = datetime.now(UTC)
            await write_outcomes(
                self._pool,
                worker_id=self._worker_id,
                attempts=[
                    AttemptRow(one.order_id, target_id, 1, self._worker_id, ended_at, took_ms, Result.DONE, None, None)
                    for one, took_ms in group
                ],
                outcomes=[Outcome(lane=(one.order_id, target_id), seq=1, done=True) for one, _ in group],
            )
            self.recorded += len(group)


async def straight(
    *, database_url: str, bootstrap: str, topic: str, group: str, url: str, in_flight: int, count: int
) -> dict[str, Any]:
    """`count` orders of `topic`, with `in_flight` requests at a time."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False
    )
    async with (
        await open_pool(database_url, size=4) as pool,
        Http(connections=in_flight) as http,
        consumer,
        asyncio.TaskGroup() as tasks,
    ):
        path = Straight(pool, http, url)
        await path.start()
        running = [tasks.create_task(path.send()) for _ in range(in_flight)] + [tasks.create_task(path.record())]
        taken, used_s, started = 0, cpu_s(), time.perf_counter()
        committed_at = time.monotonic()
        while taken < count:
            polled = await consumer.getmany(timeout_ms=100, max_records=BATCH_EVENTS)
            records = [record for some in polled.values() for record in some]
            if not records:
                continue
            if not taken:
                used_s, started = cpu_s(), time.perf_counter()
            await path.take(records)
            taken += len(records)
            if time.monotonic() - committed_at > COMMIT_EVERY_S:
                committed_at = time.monotonic()
                await consumer.commit()
        while path.recorded < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await consumer.commit()
        found = result(count, used_s, started)
        for task in running:
            task.cancel()
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("database-url", "bootstrap", "topic", "group", "url"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("in-flight", "count"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    # As a worker does, for whom the collector has nothing to find (`gateway.app.run_worker`).
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    print(json.dumps(uvloop.run(straight(**vars(given)))), flush=True)


if __name__ == "__main__":
    main()
