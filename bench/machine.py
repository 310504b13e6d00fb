"""The servers around the gateway, and what processes cost, read from /proc (Linux)."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from confluent_kafka import Producer

from bench import orders
from bench.sink import Sink
from gateway.store.sql import migrate, open_pool
from tests.lifelines import postgres_with_us
from tests.real.broker import KafkaBroker

PARTITIONS = 8
_TICKS = os.sysconf("SC_CLK_TCK")


class Machine:
    """A real Kafka, a real PostgreSQL with fsync on, and the sink. Everything is gone after it, killed or not."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = stack.enter_context(_folder())
            # First, because its keeper also clears the folder up.
            self.postgres = stack.enter_context(postgres_with_us(self.folder))
            self.kafka = stack.enter_context(KafkaBroker(self.folder / "kafka", partitions=PARTITIONS))
            self.sink = stack.enter_context(Sink())
            self._numbers = iter(range(1, 10_000))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def fresh_name(self) -> str:
        """A name no topic, group or database of this run has."""
        return f"bench_{next(self._numbers)}"

    # --- Kafka

    def make_topic(self, topic: str) -> None:
        async def make() -> None:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka.bootstrap)
            await admin.start()
            try:
                await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
            finally:
                await admin.close()

        asyncio.run(make())

    def producer(self, *, linger_ms: int) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self.kafka.bootstrap,
                "linger.ms": linger_ms,
                "queue.buffering.max.messages": 200_000,
                "enable.idempotence": True,
                "acks": "all",
            }
        )

    def fill(self, topic: str, messages: Iterable[orders.Message]) -> int:
        """Produce all `messages`; returns how many pieces of stock they order."""
        producer, pieces = self.producer(linger_ms=20), 0
        for message in messages:
            pieces += message.pieces
            while True:
                try:
                    producer.produce(topic, message.body, message.key, headers=message.headers)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        if producer.flush(60):
            raise RuntimeError("Kafka did not take the orders within 60 s")
        return pieces

    async def ends(self, topic: str) -> int:
        """How many records the topic has."""
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        async with AIOKafkaConsumer(bootstrap_servers=self.kafka.bootstrap) as consumer:
            ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        return sum(int(end) for end in ends.values())

    async def await_committed(self, topic: str, group: str, count: int, *, every_s: float) -> int:
        """How many records of the topic `group` has committed, once it is at least `count`."""
        # Not librdkafka's call for it: asked again and again about a group that is forming, 2.16 crashes the process.
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka.bootstrap)
        await admin.start()
        try:
            while True:
                try:
                    offsets = await admin.list_consumer_group_offsets(group)
                except KafkaError:
                    offsets = {}  # the group is not known yet
                done = sum(max(0, int(one.offset)) for partition, one in offsets.items() if partition.topic == topic)
                if done >= count:
                    return done
                await asyncio.sleep(every_s)
        finally:
            await admin.close()

    # --- PostgreSQL

    async def make_database(self, name: str) -> str:
        """URL of a fresh database: migrated, and with stock of every SKU that an order can name."""
        server = await asyncpg.connect(self.postgres.url)
        try:
            await server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        finally:
            await server.close()
        url = self.postgres.url_of(name)
        pool = await open_pool(url, size=1)
        try:
            await migrate(pool)
            await pool.execute(
                "WITH s AS (INSERT INTO stock (sku, warehouse, on_hand) SELECT sku, $2, 1000000"
                " FROM unnest($1::text[]) AS sku RETURNING stock_id)"
                " INSERT INTO movement (stock_id, on_hand, locked, committed, reason, moved_at)"
                " SELECT stock_id, 1000000, 0, 0, 'opening', now() FROM s",
                orders.skus(),
                orders.WAREHOUSE,
            )
            await pool.execute("VACUUM ANALYZE stock, movement")
            await pool.execute("CHECKPOINT")
        finally:
            await pool.close()
        return url

    async def drop_database(self, name: str) -> None:
        server = await asyncpg.connect(self.postgres.url)
        try:
            await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        finally:
            await server.close()

    # --- cost

    def cpu_s(self, root: int) -> dict[str, float]:
        """CPU used so far by the gateway that runs as process `root`, and by the servers."""
        return {
            "gateway": tree_cpu_s(root),
            "postgres": tree_cpu_s(self.postgres.pid),
            "kafka": tree_cpu_s(self.kafka.pid),
            "sink": tree_cpu_s(self.sink.pid),
        }


def tree_cpu_s(root: int) -> float:
    """CPU seconds of a process and its descendants, those that have ended included."""
    return sum(_cpu_s(pid) for pid in tree(root))


def tree_peak_mb(root: int) -> float:
    """Sum of the peak resident memory of a process and its living descendants, an upper bound of their peak."""
    return sum(_status_kb(pid, "VmHWM") for pid in tree(root)) / 1024


def tree_now_mb(root: int) -> float:
    """Sum of the resident memory of a process and its living descendants."""
    return sum(_status_kb(pid, "VmRSS") for pid in tree(root)) / 1024


def tree(root: int) -> Sequence[int]:
    """`root` and its descendants."""
    found = [root]
    for pid in found:
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(field) for field in fields[11:15]) / _TICKS


def _status_kb(pid: int, name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name + ":")), 0)


@contextmanager
def _folder() -> Iterator[Path]:
    """Short-named (a socket's path has 107 bytes), and open for entering: the servers run under their own accounts."""
    path = Path(tempfile.mkdtemp(prefix="ordergate-bench-", dir="/tmp"))
    path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def wait_until(condition: Any, *, within_s: float, every_s: float, what: str) -> None:
    """Return once `condition()` holds. Raises TimeoutError that names `what` did not happen."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {within_s:g} s: {what}")
        time.sleep(every_s)
