"""Whose clock is off, by the `Date` of real servers and a real PostgreSQL; our own clock is injected."""

from __future__ import annotations

import asyncio
import io
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from adapters.webhook.fake import FakeShop
from adapters.webhook.settings import Settings as WebhookSettings
from adapters.webhook.target import WebhookTarget
from adapters.wecom.fake import FakeWecom
from gateway.app import Worker, WorkerPlace
from gateway.core.clock import DATABASE, Off, Reading
from gateway.core.event import ConnectionName
from gateway.core.happening import ClockChanged, ClockCompared, Happening, Trouble
from gateway.embedded.postgres import EmbeddedPostgres
from gateway.plugins import discover
from gateway.sdk.adapter import Setup
from gateway.sdk.carriers import load_carriers
from gateway.sdk.http import Http
from gateway.settings import parse
from gateway.store.clock import read_clock
from gateway.store.sql import open_pool
from gateway.supervise import listening
from gateway.telemetry.metrics import Gauges, Metrics
from gateway.testing.fakes import Faults
from gateway.watch.clock import ClockWatch
from tests.ports import free_port
from tests.telemetry.test_metrics import page, value
from tests.watch.test_end_to_end import CONFIG, ERP_SECRET, KEY, SHOP_SECRET, headers, order

AHEAD = Faults(clock_ahead_s=63.0)
BEHIND = Faults(clock_ahead_s=-63.0)


class Room:
    """A gateway's clock among the clocks of real servers. `wrong_s`: what ours shows too much; time can be passed."""

    def __init__(self, pool: asyncpg.Pool, stack: AsyncExitStack) -> None:
        self.pool = pool
        self.stack = stack
        self.wrong_s = 0.0
        self.passed_s = 0.0
        self.slept_s = 0.0
        self.fakes: dict[str, FakeShop] = {}
        self.https: dict[str, Http] = {}
        self.targets: dict[str, WebhookTarget] = {}
        self.asked: list[str] = []
        self.talked_s: dict[str, float] = {}
        self.shown: dict[str, float] = {}
        self.happened: list[Happening] = []
        self.askable: dict[str, Callable[[], Awaitable[None]]] = {}
        self.watch = ClockWatch(
            pool,
            readings=self.readings,
            askable=self.askable,
            machine="gateway-1",
            show=self.shown.__setitem__,
            observe=self.happened.extend,
            now=lambda: datetime.now(UTC) + timedelta(seconds=self.passed_s + self.wrong_s),
            clock=lambda: time.monotonic() + self.passed_s,
            slept=lambda: self.slept_s,
        )

    async def open(self, name: str, faults: Faults | None = None) -> None:
        """A target that has not been sent anything."""
        fake = await self.stack.enter_async_context(FakeShop(secrets=(ERP_SECRET,), faults=faults))
        http = await self.stack.enter_async_context(Http(connections=1))
        setup = Setup(
            connection=ConnectionName(name),
            settings=WebhookSettings(secrets=(ERP_SECRET,), url=fake.url),
            now=lambda: datetime.now(UTC),
            carriers=load_carriers(),
        )
        self.fakes[name], self.https[name], self.targets[name] = fake, http, WebhookTarget(setup, http)

        async def ask() -> None:
            self.asked.append(name)
            await self._check(name)

        self.askable[name] = ask

    async def talk(self, *names: str) -> None:
        """These say their clocks now, whenever they have done so last."""
        for name in names or self.fakes:
            await self._check(name)

    async def _check(self, name: str) -> None:
        self.https[name]._look_at = 0.0
        await self.targets[name].check(deadline_s=5.0)
        self.talked_s[name] = self.passed_s

    def readings(self) -> dict[str, Reading]:
        """`Http` knows nothing of the time that was passed."""
        read = {name: http.reading for name, http in self.https.items() if http.reading is not None}
        return {name: msgspec.structs.replace(one, at_s=one.at_s + self.talked_s[name]) for name, one in read.items()}

    async def look(self, passed_s: float = 0.0) -> dict[str, Off]:
        """One look after that time; who is off by it."""
        self.passed_s += passed_s
        await self.watch.look()
        return {one.subject: msgspec.json.decode(one.code, type=Off) for one in self.watch.sightings()}

    def told(self) -> list[tuple[str, int | None]]:
        return [(one.clock, one.ahead_s) for one in self.happened if isinstance(one, ClockChanged)]


@pytest.fixture
async def room(postgres_url: str) -> AsyncIterator[Room]:
    pool = await open_pool(postgres_url, size=2)
    async with AsyncExitStack() as stack:
        yield Room(pool, stack)
    await pool.close()


async def test_one_target_that_is_odd_is_told_of_once_and_once_when_it_is_right(room: Room) -> None:
    await room.open("erp")
    await room.open("shop")
    await room.open("wms", BEHIND)
    await room.talk()
    off = await room.look()
    assert off == {"wms": Off(ahead_s=off["wms"].ahead_s, agreeing=2, asked=3, names=("erp", "shop"))}
    assert off["wms"].ahead_s == pytest.approx(63, abs=2)
    assert room.shown["wms"] == pytest.approx(63, abs=2)
    assert abs(room.shown["erp"]) < 2 and abs(room.shown[DATABASE]) < 2
    await room.look(59)
    assert room.told() == []
    for _ in range(3):
        await room.look(10)
    assert room.told() == [("wms", off["wms"].ahead_s)]
    room.fakes["wms"].set_faults({"clock_ahead_s": 0.0})
    await room.talk("wms")
    assert await room.look(10) == {}
    await room.look(10)
    assert room.told()[1:] == [("wms", None)]


async def test_the_first_comparison_with_each_is_told_at_once_and_never_again(room: Room) -> None:
    for name, faults in (("erp", None), ("fast", AHEAD), ("slow", BEHIND)):
        await room.open(name, faults)
    await room.talk("erp", "fast")
    await room.look()

    def told() -> list[ClockCompared]:
        return [one for one in room.happened if isinstance(one, ClockCompared)]

    assert [(one.clock, one.off) for one in told()] == [("database", False), ("erp", False), ("fast", True)]
    # In both directions: ours is behind a clock that is fast.
    assert told()[2].ahead_s == pytest.approx(-63, abs=2) and abs(told()[1].ahead_s) < 2
    assert all(0 <= one.give_s < 2 for one in told())
    await room.talk()
    await room.look()
    [slow] = told()[3:]
    assert (slow.clock, slow.off, slow.ahead_s) == ("slow", True, pytest.approx(63, abs=2))
    room.wrong_s = 500.0
    for _ in range(3):
        await room.talk()
        await room.look(100)
    assert len(told()) == 4


async def test_it_is_ours_when_most_of_the_others_say_so(room: Room) -> None:
    for name in ("erp", "shop", "wms"):
        await room.open(name)
    await room.talk()
    assert await room.look() == {}
    # Set wrong: nobody has to say anything again.
    room.wrong_s = -63.0
    off = await room.look()
    assert off.keys() == {"@gateway-1"}
    assert (off["@gateway-1"].agreeing, off["@gateway-1"].asked) == (3, 3)
    assert off["@gateway-1"].ahead_s == pytest.approx(-63, abs=2)
    await room.look(60)
    assert [who for who, _ in room.told()] == ["ours"]
    # Nor when it is set right.
    room.wrong_s = 0.0
    assert await room.look() == {}
    assert room.told()[1:] == [("ours", None)]


async def test_a_database_on_our_own_machine_proves_nothing(room: Room) -> None:
    """It has the same clock: that it agrees with ours does not make the other one wrong."""
    await room.open("erp", AHEAD)
    await room.talk()
    off = await room.look()
    assert (off["erp"].agreeing, off["erp"].asked) == (0, 1)


@asynccontextmanager
async def from_another_address(url: str) -> AsyncIterator[str]:
    """The same server, reached as if from another machine: over a forwarder on 127.0.0.2."""
    parts = urlsplit(url)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(parts.hostname, parts.port, local_addr=("127.0.0.2", 0))
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))
        ended.set()

    ended = asyncio.Event()
    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield url.replace(f":{parts.port}/", f":{port}/")
        await ended.wait()


async def test_a_database_elsewhere_is_a_clock_like_the_others(server_folder: Path) -> None:
    async with EmbeddedPostgres(server_folder / "p", tcp=True, port=free_port()) as server, AsyncExitStack() as stack:
        direct = await asyncpg.connect(server.url)
        assert not (await read_clock(direct))[1]
        hba = server_folder / "p" / "data" / "pg_hba.conf"
        hba.write_text(hba.read_text() + "host all all 127.0.0.2/32 scram-sha-256\n")
        await direct.execute("SELECT pg_reload_conf()")
        await direct.close()
        async with from_another_address(server.url) as url:
            pool = await asyncpg.create_pool(url, min_size=1, max_size=1)
            room = Room(pool, stack)
            await room.open("erp")
            await room.open("wms", BEHIND)
            await room.talk()
            assert (await room.look())["wms"].names == (DATABASE, "erp")
            room.wrong_s = 63.0
            ours = (await room.look())["@gateway-1"]
            # To whom ours is 126 s ahead says something else.
            assert (ours.names, ours.agreeing, ours.asked) == ((DATABASE, "erp"), 2, 3)
            await pool.close()


async def test_a_database_that_is_away_is_a_trouble_and_the_others_are_compared(room: Room) -> None:
    await room.open("erp")
    await room.talk()
    await room.look()
    assert DATABASE in room.shown
    room.pool.terminate()
    await room.look()
    assert [one.where for one in room.happened if isinstance(one, Trouble)] == ["watch"]
    assert math.isnan(room.shown[DATABASE]) and abs(room.shown["erp"]) < 2


async def test_who_has_not_talked_is_asked_once(room: Room) -> None:
    await room.open("erp")
    await room.open("wms")
    await room.open("down")
    room.fakes["down"].set_faults({"down_s": 60.0})
    await room.talk("erp")
    await room.watch.ask()
    assert sorted(room.asked) == ["down", "wms"]
    await room.look()
    assert room.shown.keys() == {"erp", "wms", DATABASE}
    for _ in range(3):
        room.passed_s += 600
        await room.watch.ask()
    assert len(room.asked) == 2, "neither again, whether it was right or silent"


@pytest.mark.parametrize("defect", [SystemExit(3), BaseException("a Rust library panics")])
async def test_who_ends_the_program_when_asked_ends_no_worker(room: Room, defect: BaseException) -> None:
    async def end() -> None:
        raise defect

    room.askable["broken"] = end
    await room.watch.ask()
    await room.open("wms")
    await room.talk("wms")
    await room.look()
    assert room.shown.keys() == {"wms", DATABASE}, "the others are compared all the same"


async def test_who_was_off_is_asked_again_and_who_was_right_is_forgotten_when_silent(room: Room) -> None:
    await room.open("erp")
    await room.open("shop")
    await room.open("wms", BEHIND)
    await room.talk()
    await room.look()
    await room.look(600)
    await room.watch.ask()
    assert room.asked == ["wms"]
    await room.watch.ask()
    await room.look(301)
    assert room.asked == ["wms"]
    # A quarter of an hour is too long ago to say that we agree.
    off = await room.look()
    assert (off["wms"].agreeing, off["wms"].asked) == (0, 1)
    assert math.isnan(room.shown["erp"]) and room.shown["wms"] == pytest.approx(63, abs=2)
    room.fakes["wms"].set_faults({"clock_ahead_s": 0.0})
    room.passed_s += 600
    await room.watch.ask()
    assert room.asked == ["wms", "wms"]
    assert await room.look() == {}
    assert [who for who, _ in room.told()] == ["wms", "wms"]


async def test_what_was_read_before_a_machine_slept_says_nothing_after_it(room: Room) -> None:
    """The clock that readings go by stands still in a suspended machine, and ours does not."""
    for name in ("erp", "wms"):
        await room.open(name)
        await room.talk(name)
    await room.watch.look()
    assert room.watch.sightings() == frozenset()
    room.slept_s = room.wrong_s = 120.0
    await room.watch.look()
    assert room.watch.sightings() == frozenset()
    room.wrong_s = 0.0
    for name in ("erp", "wms"):
        room.passed_s += 20.0
        await room.talk(name)
    await room.watch.look()
    assert {"erp", "wms"} <= {name for name, ahead_s in room.shown.items() if not math.isnan(ahead_s)}


async def test_a_worker_compares_its_clock_with_whom_it_has_sent_to(migrated_url: str, tmp_path: Path) -> None:
    pool = await open_pool(migrated_url, size=2)
    registry, happened = CollectorRegistry(), list[Happening]()
    async with (
        FakeWecom(keys={KEY}) as wecom,
        FakeShop(secrets=(ERP_SECRET,), faults=AHEAD) as erp,
        aiohttp.ClientSession() as session,
    ):
        text = CONFIG.format(
            folder=tmp_path, url=migrated_url, shop=SHOP_SECRET, erp=ERP_SECRET,
            port=urlsplit(erp.url).port, key=KEY, wecom=wecom.url,
        )  # fmt: skip
        settings = parse(text, {}, discover(), name="test.yaml", folder=tmp_path)
        sock = listening(("127.0.0.1", 0))
        worker = Worker(
            settings,
            WorkerPlace(name="test/0", sock=sock, stop_within_s=5.0),
            url=migrated_url,
            observe=happened.extend,
            gauges=Gauges(Metrics(settings.connections, registry=registry)),
        )
        running = asyncio.create_task(worker.run(), name="worker")
        body = order(1)
        url = f"http://127.0.0.1:{sock.getsockname()[1]}/hooks/shop"
        async with session.post(url, data=io.BytesIO(body), headers=headers(body, 1)) as answer:
            assert answer.status == 202
        for _ in range(600):
            seen = await pool.fetch("SELECT subject, code FROM sighting WHERE kind = 'clock'")
            if seen:
                break
            await asyncio.sleep(0.05)
        worker.stop()
        await running
    await pool.close()
    assert [row[0] for row in seen] == ["erp"]
    assert msgspec.json.decode(seen[0][1], type=Off).ahead_s == pytest.approx(-63, abs=2)
    assert value(page(registry), "ordergate_clock_skew_seconds", connection="erp") == pytest.approx(-63, abs=2)
    assert abs(value(page(registry), "ordergate_database_clock_skew_seconds") or 9) < 2
