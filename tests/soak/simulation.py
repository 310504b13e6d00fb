"""A simulated time: four shops and two warehouses on a fast clock, a real gateway between them, faults, and a verdict.

What shops and workers call "now" is the fast clock; deadlines, leases, pauses and the database's clock are real. So it
starts ten days back, because no shop counts as read past the database's clock; a poll that rests for half a second
rests for minutes of the town, so the gateway is always behind and asks without a rest; and a signature that is good for
five minutes is good for a second.

By hand: ``python -m tests.soak.simulation --hours 48 --speed 240 --orders 8000 --seed 1``.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import heapq
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import msgspec
import yaml

from adapters.pinduoduo.fake import FakePinduoduo
from adapters.taobao.fake import FakeShop as FakeTaobao
from adapters.webhook.fake import FakeShop as FakePartner
from gateway.core.event import ConnectionName
from gateway.core.sound import Decode
from gateway.embedded.postgres import EmbeddedPostgres
from gateway.parts import setup_of, sources_of
from gateway.plugins import discover
from gateway.sdk.pull import Access
from gateway.settings import load
from gateway.sheets.skus import render
from gateway.testing.fakes import FakeServer, Faults
from tests.chaos.gateway import Fake, Gateway
from tests.chaos.run import make_database
from tests.ports import free_port
from tests.soak.accounts import Accounts, Verdict, check, gather, read_wms
from tests.soak.clock import FastClock
from tests.soak.town import (
    SECRET,
    WAREHOUSES,
    Deed,
    Fate,
    MiniProgram,
    PinduoduoShop,
    Shop,
    Sold,
    TaobaoShop,
    life,
    orders,
    warehouse_skus,
)

BEIJING = timezone(timedelta(hours=8))
HOUR_S = 3600.0
OPENING = 100_000
"""Pieces of every SKU at the start."""

# Hours of a day in Beijing; the evening is the peak.
_BUSY = (3, 2, 1, 1, 1, 1, 2, 4, 6, 8, 9, 9, 10, 9, 8, 8, 8, 8, 9, 12, 18, 22, 16, 8)
_FIRST_HOUR = 8


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """From `at_h` to `until_h` (simulated hours) a shop or warehouse behaves as `faults` says.

    `worker` and `postgresql` get a kill -9; of ``expire:<shop>`` the authorisation ends, by ``authorise:<shop>`` the
    merchant gives another. A `down_s` lasts until `until_h`, whatever its value.
    """

    at_h: float
    until_h: float = 0.0
    where: str
    faults: Mapping[str, Any] = {}


_LOST_ANSWERS: Mapping[str, Any] = {"commit_then_timeout_share": 0.12, "hang_s": 2.0, "first_attempts_only": True}
_LATE: Mapping[str, Any] = {"commit_late_share": 0.08, "late_by_s": 1.4, "first_attempts_only": True}

TWO_DAYS: Sequence[Trouble] = (
    Trouble(at_h=2.5, until_h=5, where="wms-a", faults={"latency_ms": 250, "jitter_ms": 450}),
    Trouble(at_h=4, until_h=5, where="mini", faults={"share_5xx": 0.3}),
    Trouble(at_h=6, until_h=8, where="wms-b", faults={"share_5xx": 0.4}),
    Trouble(at_h=7, until_h=9, where="taobao-a", faults={"error_in_200_share": 0.2}),
    Trouble(at_h=9.5, until_h=11, where="pinduoduo", faults={"error_in_200_share": 0.15}),
    Trouble(at_h=11, until_h=14, where="wms-a", faults=_LOST_ANSWERS),
    Trouble(at_h=12, until_h=13.5, where="taobao-b", faults={"throttle_per_s": 15.0}),
    Trouble(at_h=13, until_h=15, where="taobao-a", faults={"commands": ("ship",), **_LOST_ANSWERS}),
    Trouble(at_h=14.5, where="postgresql"),
    Trouble(at_h=16, until_h=18, where="wms-b", faults=_LATE),
    Trouble(at_h=17, until_h=19, where="pinduoduo", faults={"commands": ("ship", "ship_extra"), **_LOST_ANSWERS}),
    Trouble(at_h=18, until_h=19, where="mini", faults=_LOST_ANSWERS),
    Trouble(at_h=20, until_h=22, where="wms-a", faults={"error_in_200_share": 0.2, "garbage_share": 0.05}),
    Trouble(at_h=24, where="expire:taobao-b"),
    Trouble(at_h=26, until_h=29, where="wms-a", faults={"down_s": 3.0}),
    Trouble(at_h=30, where="expire:pinduoduo"),
    Trouble(at_h=31.5, where="authorise:pinduoduo"),
    Trouble(at_h=32, until_h=34, where="wms-b", faults={"hang_share": 0.1, "hang_s": 2.0, **_LATE}),
    Trouble(at_h=33, until_h=34.5, where="pinduoduo", faults={"throttle_per_s": 15.0, "throttle_in_200": True}),
    Trouble(at_h=35.5, where="postgresql"),
    Trouble(at_h=36, until_h=37.5, where="wms-a", faults={"status_5xx": 503, "share_5xx": 0.6, "retry_after": "1"}),
    Trouble(at_h=38, until_h=40, where="taobao-b", faults={"error_in_200_share": 0.15, "garbage_share": 0.03}),
    Trouble(at_h=41, until_h=44, where="wms-b", faults=_LOST_ANSWERS),
    Trouble(at_h=45, until_h=46, where="wms-a", faults={"latency_ms": 200, "share_5xx": 0.2, **_LATE}),
    *(Trouble(at_h=hour, where="worker") for hour in (3, 6.5, 10, 15.5, 19.5, 23, 27, 31, 34.2, 39, 42.5, 46)),
)

AN_HOUR: Sequence[Trouble] = (
    Trouble(at_h=0.1, until_h=0.25, where="wms-a", faults={"share_5xx": 0.3, **_LOST_ANSWERS}),
    Trouble(at_h=0.2, until_h=0.3, where="taobao-a", faults={"error_in_200_share": 0.15}),
    Trouble(at_h=0.25, where="expire:taobao-b"),
    Trouble(at_h=0.3, until_h=0.45, where="wms-b", faults=_LATE),
    Trouble(at_h=0.35, where="expire:pinduoduo"),
    Trouble(at_h=0.45, where="worker"),
    Trouble(at_h=0.5, where="authorise:pinduoduo"),
    Trouble(at_h=0.6, until_h=0.8, where="wms-a", faults={"down_s": 0.2}),
)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is simulated. `ships_after_s`: how long a warehouse takes; `token_h`: how long Taobao's tokens live.

    `rate_per_s`: what may be asked of each platform, in real seconds.
    """

    hours: float
    speed: float
    orders: int
    seed: int = 1
    troubles: Sequence[Trouble] = ()
    ships_after_s: float = HOUR_S
    token_h: float = 7.0
    rate_per_s: float = 150.0
    workers: int = 2
    within_s: float = 120.0


class Report(msgspec.Struct, kw_only=True):
    """What was simulated, and what came of it."""

    accounts: Accounts
    verdict: Verdict
    orders: int
    fates: dict[str, int]
    wall_s: float
    drained_s: float
    injected: dict[str, dict[str, int]]
    notes: dict[str, Any]

    def __str__(self) -> str:
        lines = [
            f"{self.orders} orders, {self.wall_s:.0f} s, drained in {self.drained_s:.1f} s, fates {self.fates}",
            f"injected {self.injected}",
            f"notes {self.notes}",
            f"rests {self.verdict.rests}",
            f"{len(self.verdict.violations)} violations",
        ]
        return "\n".join([*lines, *map(str, self.verdict.violations[:30])])


class FastGateway(Gateway):
    """`ordergate run` on a fast clock, with the shops and warehouses of the town."""

    module = "tests.soak.sped"

    def __init__(self, folder: Path, document: Mapping[str, Any], *, database_url: str, workers: int) -> None:
        self.folder = folder
        self.database_url = database_url
        self.kafka = None
        self.workers = workers
        self.fakes = {}
        self.shop = None
        self.port, self.metrics_port = free_port(), free_port()
        listening = {"listen": f"127.0.0.1:{self.port}", "metrics_listen": f"127.0.0.1:{self.metrics_port}"}
        self.config = folder / "ordergate.yaml"
        self.config.write_text(
            yaml.safe_dump({**document, "http": listening, "database": {"url": database_url}}, allow_unicode=True)
        )
        self._process = None
        self._socket: socket.socket | None = None
        self._lifeline = (-1, -1)


class Town:
    """Everything that runs."""

    def __init__(
        self,
        plan: Plan,
        clock: FastClock,
        gateway: FastGateway,
        shops: Mapping[str, Shop],
        fakes: Mapping[str, FakeServer],
        wms: Mapping[str, Fake],
        server: EmbeddedPostgres,
    ) -> None:
        self.plan = plan
        self.clock = clock
        self.gateway = gateway
        self.shops = shops
        self.fakes = fakes
        self.wms = wms
        self.server = server
        self.sold: list[Sold] = []
        self.notes: Counter[str] = Counter()
        self._rng = random.Random(plan.seed)
        self._opened_s = 0.0

    @property
    def passed_s(self) -> float:
        """Simulated seconds since the shops opened."""
        return self.clock.passed_s() - self._opened_s

    async def live(self) -> None:
        """Until the simulated time is over: orders come, things happen to them, and trouble comes and goes."""
        plan = self.plan
        weights = [float(_BUSY[(_FIRST_HOUR + hour) % 24]) for hour in range(int(plan.hours) or 1)]
        shares = dict(zip(self.shops.values(), (0.3, 0.25, 0.25, 0.2), strict=True))
        to_come = list(orders(list(shares.items()), plan.orders, seed=plan.seed, hours=plan.hours, weights=weights))
        happenings: list[tuple[float, int, Sold, Deed | None]] = [
            (sold.placed_s, index, sold, None) for index, sold in enumerate(to_come)
        ]
        heapq.heapify(happenings)
        count = len(happenings)
        self._opened_s = self.clock.passed_s()
        async with asyncio.TaskGroup() as group:
            troubles = [group.create_task(self._trouble(one), name=one.where) for one in plan.troubles]
            while self.passed_s < plan.hours * HOUR_S:
                while happenings and happenings[0][0] <= self.passed_s:
                    at_s, _, sold, deed = heapq.heappop(happenings)
                    shop = self.shops[sold.shop]
                    if deed is not None:
                        shop.do(deed, sold)
                        continue
                    shop.place(sold)
                    self.sold.append(sold)
                    for after_s, then in life(sold.fate, self._rng, ships_after_s=plan.ships_after_s):
                        count += 1
                        heapq.heappush(happenings, (at_s + after_s, count, sold, then))
                await asyncio.sleep(0.01)
            await asyncio.gather(*troubles)

    async def _trouble(self, trouble: Trouble) -> None:
        await self._until(trouble.at_h)
        what, _, name = trouble.where.partition(":")
        if what == "worker":
            while not self.gateway.kill_worker(self._rng):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        elif what == "postgresql":
            os.kill(self.server.pid, signal.SIGKILL)
            await asyncio.sleep(1.5)
            await self.server.start()
        elif what == "expire":
            fake = self.fakes[name]
            assert isinstance(fake, FakeTaobao | FakePinduoduo)
            fake.expire()
        elif what == "authorise":
            await self._authorise(name)
        else:
            await self._misbehave(trouble)
        self.notes[f"{what} {name}".strip() if what in ("expire", "authorise") else what] += 1

    async def _authorise(self, name: str) -> None:
        """The merchant authorises again at the platform, and somebody tells the gateway."""
        fake = self.fakes[name]
        assert isinstance(fake, FakePinduoduo)
        fake.authorise(lifetime_s=30 * 86_400)
        body = {
            "access_token": fake.access_token,
            "refresh_token": fake.refresh_token,
            "expires_at": fake.expires_at.isoformat(),
            "reason": "the merchant authorised again",
        }
        await self.gateway.call("POST", f"/connections/{name}/authorise", body)

    async def _misbehave(self, trouble: Trouble) -> None:
        changes = {"seed": self.plan.seed, **trouble.faults}
        if "down_s" in changes:
            changes["down_s"] = (trouble.until_h - trouble.at_h) * HOUR_S / self.clock.speed
        nothing = msgspec.to_builtins(Faults(throttle_in_200=True))
        if trouble.where in self.wms:
            await self.wms[trouble.where].faults(**changes)
            await self._until(trouble.until_h)
            await self._heal(trouble.where, nothing)
        else:
            self.fakes[trouble.where].set_faults(changes)
            await self._until(trouble.until_h)
            self.fakes[trouble.where].set_faults(nothing)

    async def _heal(self, name: str, nothing: Mapping[str, Any]) -> None:
        """A warehouse that was down may be just about to be back."""
        while True:
            try:
                await self.wms[name].faults(**nothing)
                return
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)

    async def _until(self, hour: float) -> None:
        await asyncio.sleep(max(0.0, hour * HOUR_S - self.passed_s) / self.clock.speed)

    # --- the end

    async def drain(self) -> float:
        """Wait until nothing moves any more; the seconds that took. Raises TimeoutError with what is left."""
        for shop in self.shops.values():
            shop.quiet()
        started, ended_at = time.monotonic(), self.clock.now()
        before: Any = None
        still_since = started
        while True:
            left, now = await self._left(ended_at), await self._picture()
            if any(left.values()) or now != before:
                before, still_since = now, time.monotonic()
            elif time.monotonic() - still_since > 3.0:
                return time.monotonic() - started
            if time.monotonic() - started > self.plan.within_s:
                raise TimeoutError(f"still open: {left}\n{self.gateway.log.read_text(errors='replace')[-5000:]}")
            await asyncio.sleep(0.3)

    async def _left(self, ended_at: datetime) -> dict[str, Any]:
        connection = await asyncpg.connect(self.gateway.database_url, timeout=10)
        try:
            unread = await connection.fetchval(
                "SELECT count(*) FROM pull WHERE read_to < $1", ended_at + timedelta(seconds=60)
            )
            inbox = await connection.fetchval("SELECT count(*) FROM inbox")
            lanes = await connection.fetchval("SELECT count(*) FROM lane WHERE blocked IS NULL")
        finally:
            await connection.close()
        mini = self.shops["mini"]
        assert isinstance(mini, MiniProgram)
        books = [await fake.books() for fake in self.wms.values()]
        packing = sum(book.status == "ACCEPT" for one in books for book in one.orders.values())
        return {"unread": unread, "inbox": inbox, "lanes": lanes, "webhooks": mini.waiting, "packing": packing}

    async def _picture(self) -> Any:
        """What still changes where something is on its way."""
        effects = [(await fake.books()).effects for fake in self.wms.values()]
        levels = [dict(shop.levels) for shop in self.shops.values()]
        return effects, levels, [fake.books.effects for fake in self.fakes.values()]

    async def slowest_s(self, target: str, since_h: float, until_h: float) -> tuple[int, float]:
        """Of what was placed and free between these hours: how many reached `target`, and the 95th percentile of how
        long that took, in real seconds."""
        wms = read_wms(self.gateway.folder / f"{target}.books")
        began = time.time() - self.passed_s / self.clock.speed
        waits = sorted(
            wms[sold.number].created_at - (began + sold.placed_s / self.clock.speed)
            for sold in self.sold
            if sold.fate is Fate.PLAIN and since_h * HOUR_S <= sold.placed_s < until_h * HOUR_S and sold.number in wms
        )
        return len(waits), waits[int(len(waits) * 0.95)] if waits else 0.0


@asynccontextmanager
async def town(plan: Plan, folder: Path, *, database_url: str, server: EmbeddedPostgres) -> AsyncIterator[Town]:
    """Everything started, shelves full, SKU tables in place. The clock starts in the past: what it shows must never be
    ahead of the database's."""
    first_day = datetime.now(BEIJING).replace(hour=_FIRST_HOUR, minute=0, second=0, microsecond=0) - timedelta(days=10)
    clock = FastClock(first_day.timestamp(), time.monotonic(), plan.speed)
    token_s = plan.token_h * HOUR_S
    taobao_a = FakeTaobao(secret="s-a", session="session-a", refresh_token="r-a", lifetime_s=token_s, now=clock.now)
    taobao_b = FakeTaobao(
        secret="s-b", session="session-b", refresh_token="r-b", lifetime_s=1.4 * token_s, now=clock.now
    )
    pinduoduo = FakePinduoduo(now=clock.now, churn=1, token_lifetime_s=20 * 86_400)
    partner = FakePartner(secrets=(SECRET,), now=clock.now)
    mini = MiniProgram("mini", partner, clock, seed=plan.seed)
    shops: dict[str, Shop] = {
        "taobao-a": TaobaoShop("taobao-a", taobao_a, prefix="TA", target="wms-a", mapped=False, seed=plan.seed),
        "taobao-b": TaobaoShop("taobao-b", taobao_b, prefix="TB", target="wms-b", mapped=True, seed=plan.seed + 1),
        "pinduoduo": PinduoduoShop("pinduoduo", pinduoduo),
        "mini": mini,
    }
    fakes: dict[str, FakeServer] = {
        "taobao-a": taobao_a,
        "taobao-b": taobao_b,
        "pinduoduo": pinduoduo,
        "mini": partner,
    }
    wms = {name: Fake("qimen", folder, name=name) for name in WAREHOUSES}
    async with AsyncExitStack() as stack:
        for platform in fakes.values():
            await stack.enter_async_context(platform)
        for warehouse in wms.values():
            await stack.enter_async_context(warehouse)
        document = _document(folder, shops, wms, _platforms(plan, taobao_a, taobao_b, pinduoduo, partner), clock)
        gateway = FastGateway(folder, document, database_url=database_url, workers=plan.workers)
        stack.callback(gateway.kill)
        await gateway.start(**clock.environ())
        mini.hooks_url = gateway.hooks_url
        await _furnish(gateway, shops, clock)
        for name, warehouse in wms.items():
            await _open_warehouse(warehouse, f"{gateway.hooks_url}/{name}", plan)
        yield Town(plan, clock, gateway, shops, fakes, wms, server)


def _platforms(
    plan: Plan, taobao_a: FakeTaobao, taobao_b: FakeTaobao, pinduoduo: FakePinduoduo, partner: FakePartner
) -> dict[str, dict[str, Any]]:
    """Per shop what its connection needs beyond the route."""
    ship = {"ship": {"in_flight": 6, "deadline_s": 1.5, "slow_s": 1.2}}
    told = {operation: {"deadline_s": 1.5, "slow_s": 1.2} for operation in ("create", "cancel", "ship")}
    stock = {"stock": {"deadline_s": 1.5, "slow_s": 1.2}}
    polled = {
        "pull": {"every_s": 0.5, "reread_days": 1, "deadline_s": 2.0},
        "rate": {"per_s": plan.rate_per_s, "burst": 20},
    }
    taobao = {
        name: {
            "adapter": "taobao",
            **polled,
            "gates": {**ship, **stock},
            "settings": {
                "app_key": "12345678",
                "app_secret": secret,
                "access_token": fake.session,
                "refresh_token": fake.refresh_token,
                "expires_at": fake.expires_at.isoformat() if fake.expires_at is not None else None,
                "url": f"{fake.url}/router/rest",
                "token_url": f"{fake.url}/token",
            },
        }
        for name, fake, secret in (("taobao-a", taobao_a, "s-a"), ("taobao-b", taobao_b, "s-b"))
    }
    taobao["taobao-b"] |= {"skus": "mapped", "stock": {"publish": True, "every_s": 1.0}}
    return {
        **taobao,
        "pinduoduo": {
            "adapter": "pinduoduo",
            **polled,
            "gates": {**ship, **stock},
            "stock": {"publish": True, "every_s": 1.0},
            "settings": {
                "client_id": "fake-client",
                "client_secret": "fake-secret",
                "access_token": pinduoduo.access_token,
                "refresh_token": pinduoduo.refresh_token,
                "expires_at": pinduoduo.expires_at.isoformat(),
                "url": pinduoduo.router_url,
                "throttle_s": 0.5,
                "detail_tries": 50,
            },
        },
        "mini": {"adapter": "webhook", "gates": told, "settings": {"secrets": [SECRET], "url": partner.url}},
    }


def _document(
    folder: Path,
    shops: Mapping[str, Shop],
    wms: Mapping[str, Fake],
    platforms: Mapping[str, Mapping[str, Any]],
    clock: FastClock,
) -> dict[str, Any]:
    gate = {"deadline_s": 0.9, "slow_s": 0.7, "in_flight": 12}
    started_at = datetime.fromtimestamp(clock.start_at, UTC).isoformat()
    return {
        "data_dir": str(folder / "data"),
        "dispatch": {"lease_s": 5.0, "heartbeat_s": 1.0},
        "retry": {"base_s": 0.1, "max_s": 1.0, "durable_base_s": 0.5, "durable_max_s": 3.0},
        "breaker": {"window_s": 5.0, "open_s": 0.5, "open_max_s": 2.0, "ramp_s": 1.0},
        "connections": {
            **{
                name: {
                    "prefix": shop.prefix,
                    "mode": "live",
                    "start_at": started_at,
                    "route": [{"target": shop.target, "warehouse": shop.warehouse}],
                    **platforms[name],
                }
                for name, shop in shops.items()
            },
            **{
                name: fake.connection(gates={"create": gate, "cancel": gate}, settle_s=2.5)
                for name, fake in wms.items()
            },
        },
    }


async def _furnish(gateway: FastGateway, shops: Mapping[str, Shop], clock: FastClock) -> None:
    """Count the shelves, bring in the SKU tables, and have the daily re-read go by the town's days."""
    items = [
        {"sku": sku, "warehouse": warehouse, "on_hand": OPENING}
        for warehouse in WAREHOUSES.values()
        for sku in warehouse_skus(warehouse)
    ]
    await gateway.call("PUT", "/stock", {"items": items, "reason": "opening count"})
    for name, shop in shops.items():
        if shop.table():
            file = base64.b64encode(render(shop.table(), "csv")).decode()
            await gateway.call("POST", f"/skus/{name}/import", {"file": file, "reason": "opening"})
    while await gateway.fetch("SELECT count(*) FROM pull") != [(3,)]:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    await gateway.fetch("UPDATE pull SET reread_at = $1", datetime.fromtimestamp(clock.start_at, UTC))


async def _open_warehouse(fake: Fake, hooks_url: str, plan: Plan) -> None:
    body = {
        "hooks_url": hooks_url,
        "confirm_after_s": plan.ships_after_s / plan.speed,
        "partial_share": 0.12,
        "duplicate_share": 0.1,
        "reports": True,
        "tries": 10_000,
        "callers": 8,
    }
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{fake.url}/warehouse", data=msgspec.json.encode(body)) as answer:
            assert answer.status == 200, await answer.text()


def _decoders(config: Path) -> dict[ConnectionName, Decode]:
    """How the gateway reads what its connections tell, polled shops included."""
    settings = load(config, os.environ, discover())
    nothing: Any = None
    nobody = Access(nothing, nothing, nothing)  # to decode, an adapter asks nobody
    return {
        connection.name: connection.adapter.pull_type(setup_of(connection, settings), nobody).decode
        for connection in settings.connections.values()
        if connection.adapter.pull_type is not None
    } | {name: source.decode for name, source in sources_of(settings).items()}


async def simulate(plan: Plan, folder: Path, *, database_url: str, server: EmbeddedPostgres) -> Report:
    """Run `plan`, wait until nothing is left to do, and compare the accounts. `server` may be killed."""
    started = time.monotonic()
    async with town(plan, folder, database_url=database_url, server=server) as it:
        mini = it.shops["mini"]
        assert isinstance(mini, MiniProgram)
        telling = asyncio.create_task(mini.tell(), name="mini-program")
        try:
            await it.live()
            drained_s = await it.drain()
        finally:
            telling.cancel()
            await asyncio.wait([telling])
        journals = {name: folder / f"{name}.books" for name in it.wms}
        accounts = await gather(
            database_url,
            shops=it.shops,
            sold=it.sold,
            journals=journals,
            opening=OPENING,
            decoders=_decoders(it.gateway.config),
        )
        verdict = check(accounts)
        injected = {name: (await fake.books()).injected for name, fake in it.wms.items()}
        injected |= {name: fake.books.injected for name, fake in it.fakes.items()}
        notes: dict[str, Any] = dict(it.notes)
        for trouble in plan.troubles:
            if "down_s" in trouble.faults:
                other = next(name for name in it.wms if name != trouble.where)
                notes["other_while_down"] = await it.slowest_s(other, trouble.at_h, trouble.until_h)
                notes["other_before"] = await it.slowest_s(other, trouble.at_h - 2, trouble.at_h)
        notes |= {"webhooks": mini.sent, "webhooks_repeated": mini.repeated}
        notes["renewed"] = {name: getattr(it.fakes[name], "refreshes", 0) for name in it.fakes}
        notes["pages"] = getattr(it.fakes["pinduoduo"], "pages", 0)
    fates = Counter(sold.fate.value for sold in it.sold)
    return Report(
        accounts=accounts,
        verdict=verdict,
        orders=len(it.sold),
        fates=dict(fates),
        wall_s=time.monotonic() - started,
        drained_s=drained_s,
        injected=injected,
        notes=notes,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.simulation", description=__doc__)
    parser.add_argument("--hours", type=float, default=48.0)
    parser.add_argument("--speed", type=float, default=240.0)
    parser.add_argument("--orders", type=int, default=8000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep books, log and data here")
    args = parser.parse_args()
    short = args.hours < 4
    plan = Plan(
        hours=args.hours,
        speed=args.speed,
        orders=args.orders,
        seed=args.seed,
        troubles=AN_HOUR if short else TWO_DAYS,
        ships_after_s=HOUR_S / 10 if short else HOUR_S,
        token_h=0.7 if short else 7.0,
    )
    folder = args.folder or Path(tempfile.mkdtemp(prefix="ordergate-sim-", dir="/tmp"))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)
    report = asyncio.run(simulate_alone(plan, folder))
    print(report)
    return 1 if report.verdict.violations else 0


async def simulate_alone(plan: Plan, folder: Path) -> Report:
    """`simulate` with a PostgreSQL of its own that remembers when each transaction was committed."""
    server = EmbeddedPostgres(folder / "postgres")
    await server.start()
    try:
        connection = await asyncpg.connect(server.url)
        await connection.execute("ALTER SYSTEM SET track_commit_timestamp = on")
        await connection.close()
        await server.stop()
        await server.start()
        url = await make_database(server, "simulated")
        return await simulate(plan, folder, database_url=url, server=server)
    finally:
        await server.stop()


if __name__ == "__main__":
    sys.exit(main())
