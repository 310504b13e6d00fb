"""The same day without the gateway: the middleware many shops start with, so that one sees what it loses.

It asks the platforms for what is new, takes the mini-program's webhooks, and posts each order to the warehouse: four at
a time, a second for an answer, three tries, then a line in the log. It keeps nothing. The wire formats are those of the
adapters: what is naive is only what lies between.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import yaml
from aiohttp import web
from rich.console import Console

from gateway.core.access import Token
from gateway.core.delivery import Delivery, Done
from gateway.core.event import ConnectionName, Event, EventId
from gateway.core.order import Command, Facts, Operation, Order, OrderNumber, Route, merge
from gateway.demo import incident, verdict, view
from gateway.demo.baskets import BEIJING, SHOPS, Basket, Shop
from gateway.demo.platforms import PINDUODUO_BEHIND, Platforms, open_platforms
from gateway.demo.scene import WAREHOUSE, WMS, configuration, new_secret, open_wms
from gateway.demo.shops import Day, Shops
from gateway.parts import now, setup_of
from gateway.plugins import discover
from gateway.sdk.adapter import Target
from gateway.sdk.http import Http
from gateway.sdk.pull import Access, Page, PullSource, Window
from gateway.settings import Settings, load

AT_ONCE = 4
TRIES = 3
WITHIN_S = 1.0
_LINE_S = 2.0
_ASK_S = 1.0
_REST_S = 6.0
"""After the last order, for what is still on its way."""


class _Unlimited:
    """No budget: it asks as often as it likes."""

    async def turn(self) -> None:
        return

    def pause(self, for_s: float) -> None:
        return


class Forwarder:
    """Shops in, warehouse out, nothing in between."""

    def __init__(self, settings: Settings, http: Http, *, log: Path) -> None:
        self._settings = settings
        self._http = http
        self._queue: asyncio.Queue[tuple[Shop, Facts]] = asyncio.Queue()
        self._log = log.open("a", encoding="utf-8")
        wms = settings.connections[ConnectionName(WMS)]
        assert wms.adapter.target_type is not None
        self._wms: Target = wms.adapter.target_type(setup_of(wms, settings), http)
        self.sync_failed = 0

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    async def drained(self, *, within_s: float) -> None:
        """Returns when every order has had its tries, or after `within_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._queue.join()

    def close(self) -> None:
        self._log.close()

    async def ask(self, shop: Shop, since_at: datetime) -> None:
        """Ask one platform again and again for what is new since the last time."""
        connection = self._settings.connections[ConnectionName(shop.name)]
        kind, policy, token = connection.adapter.pull_type, connection.pull, connection.settings.token

        def newest() -> Token:
            return token  # type: ignore[no-any-return] # a setting of the adapter

        assert kind is not None and policy is not None
        source: PullSource = kind(setup_of(connection, self._settings), Access(self._http, _Unlimited(), newest))
        while True:
            until_at = (now() - timedelta(seconds=policy.delay_s)).replace(microsecond=0)
            if until_at > since_at:
                position = ""
                while True:
                    answer = await source.pull(Window(since_at, until_at), position, deadline_s=WITHIN_S)
                    if not isinstance(answer, Page):
                        break
                    for event in answer.events:
                        self._queue.put_nowait((shop, source.decode(event)))
                    position = answer.next
                    if not position:
                        break
                since_at = until_at + timedelta(seconds=1)
            await asyncio.sleep(_ASK_S)

    async def take(self, request: web.Request) -> web.Response:
        """A webhook: taken, whatever becomes of it."""
        shop = next(shop for shop in SHOPS if shop.name == request.match_info["shop"])
        connection = self._settings.connections[ConnectionName(shop.name)]
        assert connection.adapter.source_type is not None
        source = connection.adapter.source_type(setup_of(connection, self._settings))
        body = await request.read()
        event = Event(id=EventId("1"), source=connection.name, type="", order_key="", time=datetime.now(UTC), body=body)
        self._queue.put_nowait((shop, source.decode(event)))
        return web.Response(status=202)

    async def forward(self) -> None:
        """One of those who post, until cancelled."""
        while True:
            shop, facts = await self._queue.get()
            order = Order(number=OrderNumber(shop.prefix + facts.order_no))
            order = merge(order, facts, ConnectionName(shop.name))
            order = msgspec.structs.replace(order, route=Route(ConnectionName(WMS), WAREHOUSE))
            command = Command(ConnectionName(WMS), 1, Operation.CREATE, "create")
            for _ in range(TRIES):
                answer = await self._wms.send(Delivery(order_id=0, order=order, command=command), deadline_s=WITHIN_S)
                if isinstance(answer, Done):
                    break
            else:
                self.sync_failed += 1
                self._log.write(f"{datetime.now(BEIJING):%Y-%m-%d %H:%M:%S} Sync Failed: API Timeout {order.number}\n")
                self._log.flush()
            self._queue.task_done()


async def play(folder: Path, baskets: list[Basket], day: Day, *, seed: int, console: Console) -> verdict.Loss:
    """The whole day; returns when the last order has had its chance."""
    began_at = datetime.now(UTC)
    secrets = {shop.name: new_secret() for shop in SHOPS if shop.platform == "webhook"}
    async with open_wms(folder / "wms.journal") as wms_url, open_platforms() as platforms, Http(connections=16) as http:
        settings = _settings(folder, wms_url, secrets, platforms)
        forwarder = Forwarder(settings, http, log=folder / "middleware.log")
        try:
            async with _webhooks(forwarder) as url:
                shops = Shops(
                    hooks_url=url, secrets=secrets, platforms=platforms, journal=folder / "acknowledged.journal",
                    shift=began_at - max(basket.bought_at for basket in baskets),
                )  # fmt: skip
                await _run(forwarder, shops, platforms, baskets, day, wms_url, seed=seed, console=console)
        finally:
            forwarder.close()
        books = await verdict.read_books(wms_url)
    at_wms = {number: book.documents for number, book in books.orders.items() if book.documents}
    return verdict.Loss(
        orders_placed=len(shops.placed),
        orders_at_wms=len(at_wms),
        lost=len(shops.placed.keys() - at_wms.keys()),
        duplicated=sum(documents - 1 for documents in at_wms.values()),
        sync_failed=forwarder.sync_failed,
    )


async def _run(
    forwarder: Forwarder,
    shops: Shops,
    platforms: Platforms,
    baskets: list[Basket],
    day: Day,
    wms_url: str,
    *,
    seed: int,
    console: Console,
) -> None:
    began_at = datetime.now(UTC).replace(microsecond=0)
    async with asyncio.TaskGroup() as group:
        working = [group.create_task(forwarder.forward(), name=f"forward {number}") for number in range(AT_ONCE)]
        for shop in SHOPS:
            if shop.name in platforms.shops:
                since_at = began_at - (PINDUODUO_BEHIND if shop.platform == "pinduoduo" else timedelta())
                working.append(group.create_task(forwarder.ask(shop, since_at), name=shop.name))
        working.append(group.create_task(_show(forwarder, shops, console), name="view"))
        playing = [
            group.create_task(shops.sell(baskets, day), name="shops"),
            group.create_task(
                incident.play(
                    wms_url,
                    during_s=day.during_s,
                    seed=seed,
                    begin=lambda act, resting: console.print(
                        view.act_line(act, resting=resting), soft_wrap=True, markup=False
                    ),
                ),
                name="incident",
            ),
        ]
        await asyncio.wait(playing)
        await asyncio.sleep(_REST_S)
        await forwarder.drained(within_s=60)
        for task in working:
            task.cancel()


async def _show(forwarder: Forwarder, shops: Shops, console: Console) -> None:
    while True:
        await asyncio.sleep(_LINE_S)
        console.print(
            f"  已下单/placed {shops.acknowledged:,}  排队/queued {forwarder.waiting:,}"
            f"  Sync Failed: API Timeout × {forwarder.sync_failed:,}",
            soft_wrap=True,
            markup=False,
        )


def _settings(folder: Path, wms_url: str, secrets: dict[str, str], platforms: Platforms) -> Settings:
    """The gateway's own configuration, for the adapters: only they are used."""
    document: dict[str, Any] = configuration(
        data_dir=folder / "data",
        wms_url=wms_url,
        shops_url=None,
        shop_secrets=secrets,
        polled=platforms.connections(),
    )
    file = folder / "middleware.yaml"
    file.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False))
    file.chmod(0o600)
    return load(file, {}, discover())


@asynccontextmanager
async def _webhooks(forwarder: Forwarder) -> AsyncIterator[str]:
    """Where the mini-program posts its orders to."""
    application = web.Application()
    application.router.add_post("/hooks/{shop}", forwarder.take)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        yield f"http://127.0.0.1:{port}/hooks"
    finally:
        await runner.cleanup()
