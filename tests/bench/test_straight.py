"""What the benchmark compares the gateway with."""

from __future__ import annotations

import asyncio

import asyncpg
from aiohttp import web
from aiohttp.test_utils import TestServer
from confluent_kafka import Producer

from bench import orders
from bench.straight import AHEAD, straight


async def test_it_ends_where_nothing_is_taken(kafka_mock: str, migrated_url: str) -> None:
    """Not only where somebody is left who sends: the orders behind would wait for the others for good."""
    count = AHEAD + 1000
    producer = Producer({"bootstrap.servers": kafka_mock})
    for message in orders.messages(0, count):
        producer.produce("orders", message.body, message.key, headers=message.headers)
    assert not producer.flush(20)
    connection = await asyncpg.connect(migrated_url)
    await connection.execute(
        "INSERT INTO stock (sku, warehouse, on_hand) SELECT sku, $2, 1000000 FROM unnest($1::text[]) AS sku",
        orders.skus(),
        orders.WAREHOUSE,
    )
    await connection.close()

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=503)

    application = web.Application()
    application.router.add_post("/", refuse)
    refused = None
    async with TestServer(application) as server, asyncio.timeout(60):
        try:
            await straight(
                database_url=migrated_url, bootstrap=kafka_mock, topic="orders", group="straight",
                url=str(server.make_url("/")), in_flight=2, count=count,
            )  # fmt: skip
        except* AssertionError as errors:
            refused = errors.exceptions[0]
    assert str(refused).startswith("503")
