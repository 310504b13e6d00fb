from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from gateway.store.sql import migrate, open_pool
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("turn", [1, 2])
async def test_every_test_has_an_empty_database_of_its_own(postgres_url: str, turn: int) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        await connection.execute("CREATE TABLE mine (id int)")
        assert await connection.fetchval("SHOW fsync") == "on"
    finally:
        await connection.close()


@pytest.mark.parametrize("left", ["rows", "a table", "an index", "a setting", "no migration", ""])
async def test_every_test_has_a_migrated_database_of_its_own(migrated_url: str, left: str) -> None:
    pool = await open_pool(migrated_url, size=1)
    try:
        assert await migrate(pool) == []
        assert await pool.fetchval(
            "SELECT to_regclass('mine') IS NULL AND to_regclass('orders_number_key') IS NOT NULL"
        )
        assert await pool.fetchval("SHOW work_mem") == "4MB"
        assert await pool.fetchval("INSERT INTO connection (name) VALUES ('shop') RETURNING connection_id") == 1
        match left:
            case "a table":
                await pool.execute("CREATE TABLE mine (id int)")
            case "an index":
                await pool.execute("ALTER TABLE orders DROP CONSTRAINT orders_number_key CASCADE")
            case "a setting":
                name = await pool.fetchval("SELECT current_database()")
                await pool.execute(f"ALTER DATABASE {name} SET work_mem = '1MB'")
            case "no migration":
                await pool.execute("DELETE FROM migration")
    finally:
        await pool.close()


async def test_the_in_memory_kafka_carries_a_message(kafka_mock: str) -> None:
    async with asyncio.timeout(20):
        async with AIOKafkaProducer(bootstrap_servers=kafka_mock, enable_idempotence=True) as producer:
            await producer.send_and_wait("orders", b"one", key=b"shop/1")
        consumer = AIOKafkaConsumer("orders", bootstrap_servers=kafka_mock, group_id="g", auto_offset_reset="earliest")
        async with consumer:
            message = await consumer.getone()
    assert (message.key, message.value) == (b"shop/1", b"one")


def test_a_port_that_one_process_is_given_no_other_is_while_it_lives() -> None:
    """Two runs of tests at a time: neither has its servers where those of the other are about to start."""
    asked = "import json; from tests.ports import free_port; print(json.dumps([free_port() for _ in range(2000)]))"
    given = {free_port() for _ in range(3)}
    ran = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not given & set(json.loads(ran.stdout))
