"""Orders with a history, and the producer that tells them to the gateway until it is believed.

A story is a list of documents as a shop would send them. The mix has cancels (also before their create), refunds,
orders that are never paid, duplicates and reordering; what becomes of each at the end is known when it is written.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from adapters.webhook import mapping
from gateway.sdk.signing import decode_secret, sign
from tests.chaos.journal import Acked, End, Journal

SKUS = 40
SCARCE = "SKU-scarce"


class Told(msgspec.Struct, frozen=True):
    """One document on its way: which shop sends it, and what is journaled once it is acknowledged."""

    shop: str
    order_no: str
    body: bytes
    acked: Acked


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of the orders; the rest is simply placed and paid. `duplicate`: of the documents, sent a second time."""

    cancelled: float = 0.08
    cancelled_first: float = 0.04
    refunded: float = 0.05
    unpaid: float = 0.03
    late_paid: float = 0.2
    scarce: float = 0.03
    duplicate: float = 0.1
    reordered_within: int = 30
    """Documents swap places over this distance."""


PLAIN = Mix(
    cancelled=0, cancelled_first=0, refunded=0, unpaid=0, late_paid=0, scarce=0, duplicate=0, reordered_within=0
)


def stories(orders: int, *, shops: dict[str, str], seed: int, mix: Mix | None = None, first: int = 1) -> list[Told]:
    """Documents of `orders` orders over `shops` (connection → prefix), in the sequence they are sent."""
    mix = mix or Mix()
    rng = random.Random(seed)
    names = sorted(shops)
    placed: list[tuple[float, Told]] = []
    for number in range(first, first + orders):
        shop = names[number % len(names)]
        order_no = f"{seed}-{number}"
        end, documents = _story(order_no, rng, mix)
        told = []
        for document in documents:
            body = msgspec.json.encode(document)
            event_id = mapping.event_id(*mapping.read_head(body)[:2], body)
            told.append(Told(shop, order_no, body, Acked(shops[shop] + order_no, shop, event_id, end, len(documents))))
        for step, one in enumerate(told):
            # A change follows its order at some distance, so that some find it sent and some do not.
            place = number + step * rng.choice((0.0, 3.0, 60.0))
            placed.append((place + rng.uniform(0, mix.reordered_within), one))
            if rng.random() < mix.duplicate:
                placed.append((place + rng.uniform(0, 3 * mix.reordered_within), one))
    placed.sort(key=lambda pair: pair[0])
    return [told for _, told in placed]


def _story(order_no: str, rng: random.Random, mix: Mix) -> tuple[End, list[dict[str, Any]]]:
    at = datetime(2026, 5, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(86400))
    scarce = rng.random() < mix.scarce
    lines = [
        {
            "line_no": str(index + 1),
            "sku": SCARCE if scarce else f"SKU-{rng.randrange(SKUS):03d}",
            "quantity": rng.randint(1, 3),
            "price": f"{rng.randint(1, 99)}.{rng.randint(0, 99):02d}",
        }
        for index in range(rng.randint(1, 4))
    ]
    content: dict[str, Any] = {
        "placed_at": at.isoformat(),
        "lines": lines,
        "receiver": {
            "name": "王*",
            "phone": "138****1234",
            "province": "浙江省",
            "city": "杭州市",
            "detail": "文一路1号",
        },
    }
    payment = {"payment": {"paid": True, "amount": "20.00", "paid_at": at.isoformat()}}

    def said(step: int, **more: Any) -> dict[str, Any]:
        return {"order_no": order_no, "updated_at": (at + timedelta(minutes=step)).isoformat(), **more}

    placed_and_paid = said(0, status="paid", **content, **payment)
    lot = rng.random()
    for share, end, documents in (
        (mix.cancelled, "stopped", [placed_and_paid, said(9, status="cancelled")]),
        (mix.cancelled_first, "stopped", [said(9, status="cancelled"), placed_and_paid]),
        (
            mix.refunded,
            "stopped",
            [
                placed_and_paid,
                said(5, refunds=[{"refund_id": "R1", "status": "open", "amount": "20.00"}]),
                said(7, refunds=[{"refund_id": "R1", "status": "done", "amount": "20.00"}]),
            ],
        ),
        (mix.unpaid, "waiting", [said(0, status="placed", **content)]),
        (mix.late_paid, "sent", [said(0, status="placed", **content), said(2, status="paid", **payment)]),
    ):
        if lot < share:
            return ("any" if scarce and end == "sent" else end), documents  # type: ignore[return-value]
        lot -= share
    return ("any" if scarce else "sent"), [placed_and_paid]


class Producer:
    """Tells documents to the gateway, again and again until each is acknowledged, and keeps the journal.

    By webhook where `hooks_url` is given, straight to the topic where `kafka` is; with both, orders take turns.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        hooks_url: str | None,
        secrets: dict[str, str],
        kafka: str | None = None,
        topic: str = "ordergate.inbound",
        callers: int = 16,
    ) -> None:
        self._journal = journal
        self._hooks_url = hooks_url
        self._keys = {shop: decode_secret(secret) for shop, secret in secrets.items()}
        self._kafka = kafka
        self._topic = topic
        self._callers = callers
        self.acknowledged = 0
        self.refused = 0
        """How often a document was not taken: answered with an error, or not at all."""
        self.slowest_s = 0.0

    async def tell(
        self, documents: Sequence[Told], *, per_s: float | None = None, stop: Callable[[], bool] = lambda: False
    ) -> int:
        """Send `documents`, at most `per_s` a second; returns how many were acknowledged before `stop` said so."""
        before = self.acknowledged
        started = time.monotonic()
        queue: Iterator[tuple[int, Told]] = iter(enumerate(documents))
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            producer = None
            if self._kafka is not None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._kafka, acks="all", enable_idempotence=True, linger_ms=2
                )
                await producer.start()

            async def call() -> None:
                for index, told in queue:
                    if stop():
                        return
                    if per_s is not None:
                        await asyncio.sleep(max(0.0, started + index / per_s - time.monotonic()))
                    began = time.monotonic()
                    while not await self._once(session, producer, told):
                        self.refused += 1
                        if stop():
                            return
                        await asyncio.sleep(0.05)
                    self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                    self._journal.write([told.acked])
                    self.acknowledged += 1

            try:
                async with asyncio.TaskGroup() as group:
                    for number in range(self._callers):
                        group.create_task(call(), name=f"caller {number}")
            finally:
                if producer is not None:
                    await producer.stop()
        return self.acknowledged - before

    async def _once(self, session: aiohttp.ClientSession, producer: AIOKafkaProducer | None, told: Told) -> bool:
        by_kafka = producer is not None and (self._hooks_url is None or hash(told.order_no) % 2 == 0)
        if by_kafka:
            assert producer is not None
            return await self._produce(producer, told)
        timestamp = int(time.time())
        headers = {
            "content-type": "application/json",
            "webhook-id": told.acked.event_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(
                self._keys[told.shop], message_id=told.acked.event_id, timestamp=timestamp, body=told.body
            ),
        }
        try:
            async with session.post(f"{self._hooks_url}/{told.shop}", data=told.body, headers=headers) as answer:
                await answer.read()
                return answer.status == 202
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def _produce(self, producer: AIOKafkaProducer, told: Told) -> bool:
        try:
            async with asyncio.timeout(30):
                await producer.send_and_wait(
                    self._topic,
                    told.body,
                    key=f"{told.shop}/{told.order_no}".encode(),
                    headers=[
                        ("ce_specversion", b"1.0"),
                        ("ce_id", told.acked.event_id.encode()),
                        ("ce_source", told.shop.encode()),
                        ("ce_type", mapping.EVENT_TYPE.encode()),
                        ("ce_time", datetime.now(UTC).isoformat().encode()),
                    ],
                )
        except (KafkaError, TimeoutError):
            return False
        return True
