"""Servers for tests. Each is real: a PostgreSQL with fsync on, librdkafka's in-memory cluster, an Apache Kafka."""

from __future__ import annotations

import asyncio
import gc
import itertools
import shutil
import tempfile
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gateway.embedded.postgres import EmbeddedPostgres
from tests.databases import MigratedDatabases

T = TypeVar("T")

_database_numbers = itertools.count(1)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect the tests without looking for garbage meanwhile, and leave them out of it afterwards.

    All that collecting makes stays to the end. Looking through it takes a third of the collection, and again as much
    of every full search during the tests.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """A folder that a server's own account can reach; pytest's tmp_path is closed to everybody else."""
    with short_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """One PostgreSQL for the whole run. A test that kills or fills its server starts one of its own instead."""
    with short_folder() as folder, EmbeddedPostgres(folder / "postgres") as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """DSN of an empty database that belongs to this test alone and is dropped after it."""
    name = f"test_{next(_database_numbers)}"
    _execute(postgres_server.url, f"CREATE DATABASE {name} TEMPLATE template0")
    yield postgres_server.url_of(name)
    _execute(postgres_server.url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def migrated_databases(postgres_server: EmbeddedPostgres) -> MigratedDatabases:
    return MigratedDatabases(postgres_server)


@pytest.fixture
def migrated_url(postgres_server: EmbeddedPostgres, migrated_databases: MigratedDatabases) -> Iterator[str]:
    """As `postgres_url`, of a database with the schema and without a row."""
    name = _in_loop_of_its_own(migrated_databases.take)
    yield postgres_server.url_of(name)
    _in_loop_of_its_own(lambda: migrated_databases.give_back(name))


@pytest.fixture
def kafka_mock() -> Iterator[str]:
    """Bootstrap address of an in-memory cluster with one broker.

    One consumer only, four partitions a topic, made on first use, 5 MiB kept per partition: for rebalances and crashes
    take `kafka`.
    """
    from confluent_kafka import Producer

    # Its network threads live in the client; the Python side only has to stay alive and be polled.
    cluster = Producer({"bootstrap.servers": "ignored", "test.mock.num.brokers": 1, "log_level": 0})
    broker = next(iter(cluster.list_topics(timeout=10).brokers.values()))
    ended = threading.Event()

    def keep_polled() -> None:
        while not ended.is_set():
            cluster.poll(0.05)

    poller = threading.Thread(target=keep_polled, name="kafka-mock")
    poller.start()
    yield f"{broker.host}:{broker.port}"
    ended.set()
    poller.join()


@pytest.fixture(scope="session")
def kafka() -> Iterator[Any]:
    """A running `KafkaBroker`, shared by the run: use topic and group names of your own, and leave it running."""
    from tests.real.broker import KafkaBroker

    with short_folder() as folder, KafkaBroker(folder) as broker:
        yield broker


class short_folder:
    """Like tempfile.TemporaryDirectory, but open for entering and with a short name (a socket's path has 107 bytes)."""

    def __enter__(self) -> Path:
        self._path = Path(tempfile.mkdtemp(prefix="ordergate-test-", dir="/tmp"))
        self._path.chmod(0o711)
        return self._path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._path)


def _execute(url: str, statement: str) -> None:
    import asyncpg

    async def execute() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    _in_loop_of_its_own(execute)


def _in_loop_of_its_own(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    # In a thread: asyncio.run here would take the event loop of the test away.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(work())).result()
