"""The way in and back with the adapters of the real platforms: workers on a PostgreSQL, the fakes, a Qimen WMS.

The bazaar of the other tests here shows what the engine does; this shows that it does so for the platforms there are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml
from aiohttp import web

from adapters.pinduoduo.fake import FakeLine as PinduoduoLine
from adapters.pinduoduo.fake import FakePinduoduo
from adapters.qimen.fake import FakeWms, Warehouse
from adapters.taobao.fake import FakeLine as TaobaoLine
from adapters.taobao.fake import FakeShop as FakeTaobao
from gateway.app import Worker, WorkerPlace
from gateway.core.happening import AttemptEnded, Happening, ShopReread, WindowRead
from gateway.plugins import discover
from gateway.settings import parse
from gateway.store.sql import open_pool
from gateway.supervise import listening
from tests.shops.test_limits import most_over, stalls

pytestmark = pytest.mark.real

RATE, BURST = 40, 4


class Taobao(FakeTaobao):
    """A shop, and when it was asked."""

    prefix = "T"

    def __init__(self) -> None:
        super().__init__(secret="s", session="t0")
        self.asked: list[float] = []

    async def serve(self, request: web.BaseRequest, body: bytes) -> web.Response:
        self.asked.append(time.monotonic())
        return await super().serve(request, body)

    def settings(self) -> dict[str, Any]:
        return {"app_key": "12345678", "app_secret": "s", "access_token": "t0", "url": f"{self.url}/router/rest"}

    def sell(self) -> str:
        return self.place([TaobaoLine(sku="CUP")], paid=True)

    def hide(self, number: str) -> None:
        self.hidden.add(number)

    def show(self, number: str) -> None:
        self.hidden.discard(number)

    def told(self, number: str) -> list[str]:
        return [parcel.out_sid for parcel in self.parcels.get(number, ())]


class Pinduoduo(FakePinduoduo):
    """A shop, and when it was asked. It shows what changed after three minutes: its clock is behind by nearly as much,
    so that nobody waits for that."""

    prefix = "P"

    def __init__(self) -> None:
        super().__init__(now=lambda: datetime.now(UTC) - timedelta(seconds=193), settled_after_s=0.0)
        self.asked: list[float] = []

    async def serve(self, request: web.BaseRequest, body: bytes) -> web.Response:
        self.asked.append(time.monotonic())
        return await super().serve(request, body)

    def settings(self) -> dict[str, Any]:
        return {
            "client_id": "fake-client",
            "client_secret": "fake-secret",
            "access_token": self.access_token,
            "url": self.router_url,
        }

    def sell(self) -> str:
        return self.place([PinduoduoLine(outer_id="CUP", price_minor=3990)])

    def told(self, number: str) -> list[str]:
        return [tracking_no for _, tracking_no in self.orders[number].parcels]


Platform = Taobao | Pinduoduo
KINDS: dict[str, type[Taobao] | type[Pinduoduo]] = {"taobao": Taobao, "pinduoduo": Pinduoduo}


class Qimen(FakeWms):
    """A WMS, and what it was sent."""

    def __init__(self) -> None:
        super().__init__(secret="fake-secret")
        self.bodies: list[bytes] = []

    async def serve(self, request: web.BaseRequest, body: bytes) -> web.Response:
        self.bodies.append(body)
        return await super().serve(request, body)


class Chain:
    """Shop, gateway and warehouse; as many workers as a test starts, and what each of them told."""

    def __init__(
        self,
        *,
        kind: str,
        url: str,
        folder: Path,
        shop: Platform,
        wms: Qimen,
        pool: asyncpg.Pool,
        stack: AsyncExitStack,
    ) -> None:
        self.shop = shop
        self.wms = wms
        self.pool = pool
        self.happened: list[list[Happening]] = []
        self._start_at = (shop.now() - timedelta(seconds=5)).isoformat()
        self._kind = kind
        self._url = url
        self._folder = folder
        self._stack = stack
        self._tasks: dict[Worker, asyncio.Task[None]] = {}

    async def start(self, **shop: Any) -> Worker:
        """One more worker. `shop` is added to the connection."""
        gate = {"deadline_s": 2, "slow_s": 1}
        sender = {"name": "仓库", "mobile": "13800000000", "province": "浙江省", "city": "杭州市", "detail": "一号库"}
        document = {
            "data_dir": str(self._folder),
            "database": {"url": self._url},
            "dispatch": {"heartbeat_s": 0.2, "lease_s": 5.1},
            "http": {"listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0"},
            "connections": {
                "shop": {
                    "adapter": self._kind,
                    "prefix": self.shop.prefix,
                    "mode": "live",
                    "route": [{"target": "wms", "warehouse": "W1"}],
                    "start_at": self._start_at,
                    "pull": {"every_s": 0.3, "overlap_s": 1, "deadline_s": 3},
                    "gates": {name: dict(gate) for name in ("ship", "stock")},
                    "settings": self.shop.settings(),
                    **shop,
                },
                "wms": {
                    "adapter": "qimen",
                    "gates": {name: dict(gate) for name in ("create", "cancel")},
                    "settings": {
                        "url": f"{self.wms.url}/router/qimen",
                        "app_key": "fake",
                        "secret": "fake-secret",
                        "customer_id": "fake-wms",
                        "owner_code": "OWNER",
                        "shop_nick": "shop",
                        "sender": sender,
                        "not_found": [{"code": "S404"}],
                    },
                },
            },
        }
        settings = parse(yaml.safe_dump(document), {}, discover(), name="t.yaml", folder=self._folder)
        sock = listening(("127.0.0.1", 0))
        told: list[Happening] = []
        place = WorkerPlace(name=f"test/{len(self._tasks)}", sock=sock, stop_within_s=4.0)
        worker = Worker(settings, place, url=self._url, observe=told.extend)
        self.happened.append(told)
        self._tasks[worker] = asyncio.create_task(worker.run(), name=place.name)
        self._stack.push_async_callback(self.stop, worker)
        self.wms.warehouse = Warehouse(hooks_url=f"http://127.0.0.1:{sock.getsockname()[1]}/hooks/wms")
        return worker

    async def stop(self, worker: Worker) -> None:
        worker.stop()
        await self._tasks[worker]

    def saw(self, kind: type[Any]) -> list[Any]:
        return [one for told in self.happened for one in told if isinstance(one, kind)]

    async def until(self, look: Callable[[], Any | Awaitable[Any]], *, within_s: float = 60.0) -> None:
        deadline = time.monotonic() + within_s
        while True:
            found = look()
            if isinstance(found, Awaitable):
                found = await found
            if found:
                return
            assert time.monotonic() < deadline, f"not within {within_s:g} s"
            await asyncio.sleep(0.02)

    async def known(self) -> set[str]:
        return {row[0] for row in await self.pool.fetch("SELECT number FROM orders")}


@asynccontextmanager
async def chain(kind: str, url: str, folder: Path) -> AsyncIterator[Chain]:
    pool = await open_pool(url, size=2)
    async with KINDS[kind]() as shop, Qimen() as wms, AsyncExitStack() as stack:
        yield Chain(kind=kind, url=url, folder=folder, shop=shop, wms=wms, pool=pool, stack=stack)
    await pool.close()


@pytest.mark.feature("F8")
@pytest.mark.parametrize("kind", KINDS)
async def test_an_order_that_the_list_had_hidden_is_found_by_the_daily_re_read_and_shipped(
    kind: str, migrated_url: str, tmp_path: Path
) -> None:
    async with chain(kind, migrated_url, tmp_path) as it:
        shop = it.shop
        worker = await it.start()
        await it.until(lambda: it.saw(WindowRead))
        hidden, seen = shop.sell(), shop.sell()
        shop.hide(hidden)
        sold_at = shop.now()
        await it.until(lambda: shop.told(seen))
        # Beyond what the overlap reads again.
        await it.until(lambda: it.saw(WindowRead)[-1].read_to > sold_at + timedelta(seconds=3))
        shop.show(hidden)
        windows = len(it.saw(WindowRead))
        await it.until(lambda: len(it.saw(WindowRead)) > windows + 2)
        assert await it.known() == {f"{shop.prefix}{seen}"}, "the poller does not look back"

        await it.stop(worker)
        await it.pool.execute("UPDATE pull SET reread_at = now() - interval '2 days'")
        await it.start()
        await it.until(lambda: it.saw(ShopReread))
        (reread,) = it.saw(ShopReread)
        assert (reread.orders, reread.missed) == (2, 1)
        await it.until(lambda: shop.told(hidden))
        assert len(shop.told(hidden)) == len(shop.told(seen)) == 1
        assert {number: book.documents for number, book in it.wms.books.orders.items()} == {
            f"{shop.prefix}{number}": 1 for number in (hidden, seen)
        }


@pytest.mark.feature("F7")
@pytest.mark.feature("F94")
@pytest.mark.parametrize("kind", KINDS)
async def test_the_limit_holds_over_reading_and_write_back_of_two_workers(
    kind: str, migrated_url: str, tmp_path: Path
) -> None:
    async with stalls() as held_up_s, chain(kind, migrated_url, tmp_path) as it:
        shop = it.shop
        for _ in range(2):
            await it.start(rate={"per_s": RATE, "burst": BURST})
        await it.until(lambda: it.saw(WindowRead))

        async def both() -> bool:
            return bool(await it.pool.fetchval("SELECT count(*) = 2 FROM worker"))

        await it.until(both)
        begin = len(shop.asked)
        sold = [shop.sell() for _ in range(60)]
        await it.until(lambda: all(shop.told(number) for number in sold), within_s=120)
        times = shop.asked
        # A detail, a look before the shipment, and the shipment.
        assert len(times) - begin >= 3 * len(sold)
        assert {len(shop.told(number)) for number in sold} == {1}
        writers = [told for told in it.happened if any(_wrote_back(one) for one in told)]
        assert len(writers) == 2, "both workers have written back"
        # The burst of all workers, one request each that is on its way, and what a busy machine holds up.
        assert most_over(times, rate=RATE) <= BURST + 2 + RATE * max(held_up_s)
        busy = times[begin:]
        assert len(busy) / (busy[-1] - busy[0]) > RATE / 4, "and it is used"


def _wrote_back(happening: Happening) -> bool:
    return isinstance(happening, AttemptEnded) and happening.operation == "ship"


@pytest.mark.feature("F24")
@pytest.mark.parametrize(("kind", "platform", "printable"), [("taobao", "TB", True), ("pinduoduo", "OTHER", False)])
async def test_a_warehouse_gets_what_it_prints_by_without_being_told_which_shop_is_of_which_platform(
    kind: str, platform: str, printable: bool, migrated_url: str, tmp_path: Path
) -> None:
    async with chain(kind, migrated_url, tmp_path) as it:
        await it.start()
        sold = it.shop.sell()
        await it.until(lambda: it.shop.told(sold))
    (created,) = [body for body in it.wms.bodies if sold.encode() in body and b"<receiverInfo>" in body]
    assert f"<sourcePlatformCode>{platform}</sourcePlatformCode>".encode() in created
    assert (b"<oaid>" in created) is printable
