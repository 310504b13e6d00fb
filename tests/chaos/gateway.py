"""One gateway under test: its configuration, its processes, a fake WMS beside it, and what they all know at the end."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp
import asyncpg
import msgspec
import psutil
import yaml
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient

from gateway.parts import rules_of, sources_of
from gateway.plugins import discover
from gateway.settings import Settings, load
from gateway.store.sql import migrate, open_pool
from gateway.store.vault import vault_of
from gateway.testing.fakes import Books, Faults
from tests.chaos.checker import Evidence, Record, Violation, check, gather
from tests.chaos.journal import Journal, read
from tests.chaos.load import SCARCE, SKUS, Producer
from tests.lifelines import end_with_us
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS1jaGFvcy10ZXN0cyE="
SHOPS = {"shop-a": "A", "shop-b": "B"}
WAREHOUSE = "WH1"

# A WMS's own refusal to cancel what has left is for a person, in these tests as in life.
ALLOWED_BLOCKS = ("rejected:cancel_refused",)

Wms = Literal["webhook", "qimen"]


class Fake:
    """A fake target in a process of its own, which outlives whatever happens to the gateway."""

    def __init__(self, kind: Wms, folder: Path, *, name: str = "wms", arguments: Iterable[str] = ()) -> None:
        self.kind = kind
        self.name = name
        self._folder = folder
        self._arguments = list(arguments)
        self.port = free_port()
        self.ships = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def operations(self) -> list[str]:
        return ["create", "cancel", "ship"] if self.kind == "webhook" else ["create", "cancel"]

    def connection(self, **more: Any) -> dict[str, Any]:
        """Its entry under `connections`."""
        if self.kind == "webhook":
            return {"adapter": "webhook", "settings": {"secrets": [SECRET], "url": self.url}, **more}
        sender = {"name": "仓库", "mobile": "13800000000", "province": "浙江省", "city": "杭州市", "detail": "一号库"}
        return {
            "adapter": "qimen",
            "settings": {
                "url": f"{self.url}/router/qimen",
                "app_key": "fake",
                "secret": "fake-secret",
                "customer_id": "fake-wms",
                "owner_code": "OWNER",
                "shop_nick": "shop",
                "sender": sender,
                "not_found": [{"code": "S404"}],
            },
            **more,
        }

    def ship_through(self, hooks_url: str) -> None:
        """Have the WMS confirm what it took: some in two parts, some confirmations twice, progress before."""
        self.ships = True
        self._arguments += ["--hooks-url", hooks_url, "--confirm-after-s", "0.2", "--partial-share", "0.2"]
        self._arguments += ["--duplicate-share", "0.1", "--reports"]

    async def __aenter__(self) -> Self:
        command = [sys.executable, "-m", f"adapters.{self.kind}.fake", "--port", str(self.port)]
        command += ["--books", str(self._folder / f"{self.name}.books")]
        command += ["--secret", SECRET if self.kind == "webhook" else "fake-secret", *self._arguments]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=end_with_us,  # noqa: PLW1509
        )
        assert self._process.stdout is not None
        await asyncio.to_thread(self._process.stdout.readline)
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    async def faults(self, faults: Faults | None = None, **changes: Any) -> None:
        """Misbehave from now on; without arguments behave."""
        body = msgspec.json.encode(changes or faults or Faults())
        async with self._session.post(f"{self.url}/faults", data=body) as answer:
            assert answer.status == 200, await answer.text()

    async def books(self) -> Books:
        async with self._session.get(f"{self.url}/books") as answer:
            return msgspec.json.decode(await answer.read(), type=Books)


class Gateway:
    """`ordergate run` as a child process, on a database and perhaps a broker that are there already."""

    module = "gateway"

    def __init__(
        self,
        folder: Path,
        *,
        database_url: str,
        fakes: Iterable[Fake],
        kafka: str | None = None,
        topic: str = "ordergate.inbound",
        workers: int = 1,
        shop: Fake | None = None,
        gates: Mapping[str, Any] | None = None,
        settle_s: float = 2.0,
        lease_s: float = 4.0,
        sections: Mapping[str, Mapping[str, Any]] | None = None,
        connections: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self.database_url = database_url
        self.kafka = kafka
        self.topic = topic
        self.workers = workers
        self.fakes = {fake.name: fake for fake in fakes}
        self.shop = shop
        self.port = free_port()
        self.metrics_port = free_port()
        limits = {"deadline_s": 0.5, "slow_s": 0.4, **(gates or {})}
        wms = {
            name: fake.connection(gates=dict.fromkeys(fake.operations, limits), settle_s=settle_s)
            for name, fake in self.fakes.items()
        }
        first = next(iter(self.fakes))
        shops: dict[str, dict[str, Any]] = {
            name: {
                "adapter": "webhook",
                "prefix": prefix,
                "mode": "live",
                "route": [{"target": first, "warehouse": WAREHOUSE}],
                "settings": {"secrets": [SECRET]},
            }
            for name, prefix in SHOPS.items()
        }
        if shop is not None:
            # This shop is told what was shipped; the others do not ask for it.
            shops[shop.name]["settings"]["url"] = shop.url
            shops[shop.name]["gates"] = dict.fromkeys(shop.operations, limits)
        document: dict[str, Any] = {
            "data_dir": str(folder / "data"),
            "database": {"url": database_url},
            "http": {"listen": f"127.0.0.1:{self.port}", "metrics_listen": f"127.0.0.1:{self.metrics_port}"},
            # Short, so that a test sees in seconds what takes minutes in production; the ratios are the same.
            "dispatch": {"lease_s": lease_s, "heartbeat_s": lease_s / 5},
            "retry": {"durable_base_s": 0.5, "durable_max_s": 2.0},
            "breaker": {"open_s": 0.5, "open_max_s": 2.0, "ramp_s": 1.0},
            "connections": {**shops, **wms, **(connections or {})},
        }
        if kafka is not None:
            document["kafka"] = {"bootstrap": kafka, "topic": topic, "group": topic, "acknowledge_within_s": 1.0}
        for name, section in (sections or {}).items():
            document[name] = {**document.get(name, {}), **section}
        self.config = folder / "ordergate.yaml"
        self.config.write_text(yaml.safe_dump(document, allow_unicode=True))
        self.settings: Settings = load(self.config, {}, discover())
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._lifeline = (-1, -1)

    @property
    def hooks_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    @property
    def journal_path(self) -> Path:
        return self.folder / "journal"

    @property
    def log(self) -> Path:
        return self.folder / "gateway.log"

    async def prepare(self, *, stock: int = 1_000_000, scarce: int = 20) -> None:
        """Bring the schema up, and count the shelves: each balance with the movement that makes its ledger whole."""
        pool = await open_pool(self.database_url, size=2)
        try:
            await migrate(pool)
            async with pool.acquire() as connection, connection.transaction():
                await connection.executemany(
                    "WITH s AS (INSERT INTO stock (sku, warehouse, on_hand) VALUES ($1, $2, $3) RETURNING stock_id)"
                    " INSERT INTO movement (stock_id, on_hand, locked, committed, reason, moved_at)"
                    " SELECT stock_id, $3, 0, 0, 'count', now() FROM s",
                    # Every fourth SKU stays unknown and passes.
                    [(f"SKU-{n:03d}", WAREHOUSE, stock) for n in range(SKUS) if n % 4] + [(SCARCE, WAREHOUSE, scarce)],
                )
        finally:
            await pool.close()

    # --- processes

    async def __aenter__(self) -> Self:
        await self.prepare()
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    async def start(self, **environ: str) -> None:
        """Start `ordergate run`; returns when every worker has registered."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, "run", "-c", str(self.config), "--workers", str(self.workers)],
                cwd=ROOT,
                env={**os.environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with_us,  # noqa: PLW1509
            )
        await until(self._serving, within_s=30, what="the gateway to serve", log=self.log)

    async def start_worker(self, *, crash_at: str = "") -> subprocess.Popen[bytes]:
        """Start one worker without a parent, under a name that is the same every time: it buries the one before.

        `crash_at`: ends by itself, as by kill -9, when it gets to this place (``gate.after_send:3``: the third time).
        """
        if self._socket is None:
            self._socket = socket.create_server(("127.0.0.1", self.port), backlog=1024)
            self._socket.setblocking(False)
            self._lifeline = os.pipe()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway.worker", "--config", str(self.config), "--name", "chaos/0",
                 "--socket-fd", str(self._socket.fileno()), "--lifeline-fd", str(self._lifeline[0]),
                 "--stop-within", "10"],
                cwd=ROOT,
                env={
                    **os.environ,
                    "ORDERGATE_WORKER_DATABASE_URL": self.database_url,
                    "ORDERGATE_CRASH_AT": crash_at,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(self._socket.fileno(), self._lifeline[0]),
                start_new_session=True,
                preexec_fn=end_with_us,  # noqa: PLW1509
            )  # fmt: skip
        await until(self._serving, within_s=30, what="the worker to serve", log=self.log)
        return self._process

    async def _serving(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()[-3000:]
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as session:
                async with session.post(f"{self.hooks_url}/nobody", data=b"{}") as answer:
                    return answer.status == 401
        except (aiohttp.ClientError, TimeoutError):
            return False

    def worker_pids(self) -> list[int]:
        if self._process is None or self._process.poll() is not None:
            return []
        try:
            children = psutil.Process(self._process.pid).children()
            return sorted(child.pid for child in children if {"gateway.worker", "worker"} & set(child.cmdline()))
        except psutil.NoSuchProcess:
            return []

    def kill_worker(self, rng: random.Random) -> int:
        """kill -9 of one worker; the parent starts another. Returns the pid, 0 when none is there just now."""
        pids = self.worker_pids()
        if not pids:
            return 0
        pid = rng.choice(pids)
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill(self) -> None:
        """kill -9 of everything."""
        pids = self.worker_pids()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            for end in self._lifeline:
                os.close(end)

    async def stop(self, *, within_s: float = 40.0) -> float:
        """SIGTERM and wait; returns the seconds it took. Fails the test when it did not end by itself, with 0."""
        assert self._process is not None
        started = time.monotonic()
        self._process.terminate()
        code = await asyncio.to_thread(self._process.wait, within_s)
        self._process = None
        assert code == 0, self.log.read_text()[-3000:]
        return time.monotonic() - started

    # --- what it knows

    async def call(self, method: str, path: str, body: Any) -> Any:
        """One call of the API as the administrator."""
        token = re.search(r"token, shown this once: (\S+)", self.log.read_text(errors="replace"))
        assert token is not None
        headers = {"Authorization": f"Bearer {token[1]}", "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{self.port}/api/v1{path}"
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            async with session.request(method, url, data=msgspec.json.encode(body), headers=headers) as answer:
                assert answer.status == 200, f"{path}: {answer.status} {await answer.text()}"
                return await answer.json()

    def warnings(self, where: str) -> list[Any]:
        """What `ordergate check` warns of there."""
        ran = subprocess.run(
            [sys.executable, "-m", "gateway", "check", "-c", str(self.config), "--json"],
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return [one for one in json.loads(ran.stdout)["warnings"] if one["where"] == where]

    async def accepted(self, leg: str) -> int:
        """How many events this leg has carried so far, by the page of metrics."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            async with session.get(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer:
                page = await answer.text()
        counts = re.findall(rf'^ordergate_events_accepted_total{{[^}}]*leg="{leg}"[^}}]*}} (\S+)', page, re.MULTILINE)
        return int(sum(map(float, counts)))

    def producer(self, journal: Journal, *, webhooks: bool = True, kafka: bool | None = None) -> Producer:
        return Producer(
            journal,
            hooks_url=self.hooks_url if webhooks else None,
            secrets=dict.fromkeys(SHOPS, SECRET),
            kafka=self.kafka if kafka or (kafka is None and not webhooks) else None,
            topic=self.topic,
        )

    async def quiet(self, *, within_s: float, still_s: float = 0.3) -> float:
        """Wait until nothing is left to do: offsets at the end, inbox empty, no open lane, the fakes untouched.

        `still_s`: how long the fakes must not have been asked anything; longer than their latest effect is late.
        Returns the seconds it took. Raises TimeoutError with what was still open.
        """
        started = time.monotonic()
        asked, since = -1, started
        left: dict[str, Any] = {}
        while True:
            left = await self._left()
            books = await self._books()
            requests = sum(book.requests for book in books.values())
            left |= self._unshipped(books)
            if requests != asked or any(left.values()):
                asked, since = requests, time.monotonic()
            elif time.monotonic() - since >= still_s:
                return time.monotonic() - started
            if time.monotonic() - started > within_s:
                raise TimeoutError(f"after {within_s:g} s still open: {left}\n{self.log.read_text()[-4000:]}")
            await asyncio.sleep(0.05)

    async def _books(self) -> dict[str, Books]:
        fakes = [*self.fakes.values(), *([self.shop] if self.shop is not None else [])]
        return {fake.name: await fake.books() for fake in fakes}

    def _unshipped(self, books: Mapping[str, Books]) -> dict[str, Any]:
        """What warehouses that ship still have on their shelves, or have not told yet; the gateway will hear of it."""
        shelves = [books[name].orders.values() for name, fake in self.fakes.items() if fake.ships]
        return {
            "unshipped": sum(book.status in ("ACCEPT", "PARTDELIVERED") for shelf in shelves for book in shelf),
            "untold": sum(book.telling for book in books.values()),
        }

    async def _left(self) -> dict[str, Any]:
        try:
            connection = await asyncpg.connect(self.database_url, timeout=5)
        except (OSError, asyncpg.PostgresError, TimeoutError) as error:
            return {"database": repr(error)}
        try:
            left = {
                "inbox": await connection.fetchval("SELECT count(*) FROM inbox"),
                "lanes": await connection.fetchval("SELECT count(*) FROM lane WHERE blocked IS NULL"),
            }
        finally:
            await connection.close()
        if self.kafka is not None:
            records, committed = await read_topic(self.kafka, self.topic)
            ends: dict[int, int] = {}
            for record in records:
                ends[record.partition] = record.offset + 1
            left["events"] = sum(end - committed.get(partition, 0) for partition, end in ends.items())
        return left

    async def evidence(self) -> Evidence:
        records, committed = await read_topic(self.kafka, self.topic) if self.kafka is not None else ([], {})
        return await gather(
            self.database_url,
            acked=read(self.journal_path),
            books=await self._books(),
            records=records,
            committed=committed,
            vault=vault_of(self.settings.encryption.decoded),
        )

    def decoders(self) -> dict[str, Any]:
        return {name: source.decode for name, source in sources_of(self.settings).items()}

    async def verdict(self) -> list[Violation]:
        return check(
            await self.evidence(),
            rules=rules_of(self.settings),
            decoders=self.decoders(),
            allowed_blocks=ALLOWED_BLOCKS,
        )

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        connection = await asyncpg.connect(self.database_url, timeout=5)
        try:
            rows: list[Any] = await connection.fetch(query, *arguments)
            return rows
        finally:
            await connection.close()


async def read_topic(bootstrap: str, topic: str) -> tuple[list[Record], dict[int, int]]:
    """Everything that stands on the topic, and what the group of that name has committed. Joins no group."""
    records: list[Record] = []
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        stack.push_async_callback(admin.close)
        [about] = await admin.describe_topics([topic])
        partitions = [TopicPartition(topic, one["partition"]) for one in about["partitions"]]
        if not partitions:
            return [], {}
        consumer = await stack.enter_async_context(
            AIOKafkaConsumer(
                bootstrap_servers=bootstrap, group_id=topic, enable_auto_commit=False, auto_offset_reset="earliest"
            )
        )
        consumer.assign(partitions)
        # Offsets first: what is committed by now must be in a state that is read later.
        committed = {tp.partition: await consumer.committed(tp) or 0 for tp in partitions}
        ends = await consumer.end_offsets(partitions)
        await consumer.seek_to_beginning(*partitions)
        left = {tp for tp in partitions if ends[tp] > await consumer.position(tp)}
        while left:
            for tp, batch in (await consumer.getmany(timeout_ms=200)).items():
                for record in batch:
                    headers = dict(record.headers)
                    source = headers.get("ce_source", record.key.partition(b"/")[0]).decode()
                    event_id = headers.get("ce_id", b"").decode()
                    event_id = event_id or f"{record.topic}/{record.partition}/{record.offset}"
                    records.append(Record(tp.partition, record.offset, source, event_id))
            left = {tp for tp in left if ends[tp] > await consumer.position(tp)}
    return records, committed


async def shares_of(bootstrap: str, group: str) -> list[int]:
    """How many partitions the members of a group have, the fewest first; nothing while they are being shared out."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    [described] = admin.describe_consumer_groups([group]).values()
    about = await asyncio.to_thread(described.result, 30)
    if about.state is not ConsumerGroupState.STABLE:
        return []
    return sorted(len(one.assignment.topic_partitions) for one in about.members)


async def until(condition: Callable[[], Any], *, within_s: float, what: str, log: Path | None = None) -> None:
    """Wait until `await condition()` holds, looking 20 times a second."""
    ends_at = time.monotonic() + within_s
    while not await condition():
        if time.monotonic() > ends_at:
            said = f"\n{log.read_text()[-4000:]}" if log is not None else ""
            raise TimeoutError(f"waited {within_s:g} s for {what}{said}")
        await asyncio.sleep(0.05)
