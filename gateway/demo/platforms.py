"""The platforms the demo's shops sell on, in this process: buyers place orders there, the gateway asks for them.

Taobao and Pinduoduo are the fakes that ship with the adapters, in their platforms' own wire formats.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from adapters.pinduoduo.fake import FakeLine as PinduoduoLine
from adapters.pinduoduo.fake import FakePinduoduo
from adapters.taobao.fake import FakeLine as TaobaoLine
from adapters.taobao.fake import FakeShop as FakeTaobao
from gateway.demo.baskets import SHOPS, Basket, Line, Shop, lines_of

PINDUODUO_BEHIND = timedelta(seconds=193)
"""Pinduoduo shows what changed three minutes ago. The clock of its shop here is behind by as much, so that nobody has
to wait for that; two seconds are left, as at the others."""

_PULL: Mapping[str, Any] = {"every_s": 1.0, "overlap_s": 5.0, "reread_days": 0}
_RATE: Mapping[str, Any] = {"per_s": 150.0, "burst": 60}


class Told(enum.Enum):
    """How far a shop has been told of an order's shipment."""

    NOT_YET = enum.auto()
    ONCE = enum.auto()
    WRONGLY = enum.auto()
    """Something of it twice."""


class TaobaoShop:
    """One shop on Taobao."""

    def __init__(self, fake: FakeTaobao) -> None:
        self._fake = fake

    def settings(self) -> dict[str, Any]:
        return {
            "app_key": "12345678",
            "app_secret": "demo-secret",
            "access_token": self._fake.session,
            "url": f"{self._fake.url}/router/rest",
        }

    def place(self, basket: Basket) -> None:
        lines = [
            TaobaoLine(sku=line.sku, quantity=line.quantity, price_minor=line.price_minor) for line in lines_of(basket)
        ]
        self._fake.place(lines, paid=True, tid=basket.order_no)

    def told(self, order_no: str) -> Told:
        lines = [line["oid_str"] for line in self._fake.trades[order_no].lines]
        sent = Counter(oid for parcel in self._fake.parcels.get(order_no, ()) for oid in parcel.oids)
        return _told(wanted=lines, found=sent)


class PinduoduoShop:
    """One shop on Pinduoduo."""

    def __init__(self, fake: FakePinduoduo) -> None:
        self._fake = fake

    def settings(self) -> dict[str, Any]:
        return {
            "client_id": "fake-client",
            "client_secret": "demo-secret",
            "access_token": self._fake.access_token,
            "url": self._fake.router_url,
        }

    def place(self, basket: Basket) -> None:
        self._fake.place([_pinduoduo_line(line) for line in lines_of(basket)], order_sn=basket.order_no)

    def told(self, order_no: str) -> Told:
        parcels = Counter(number for _, number in self._fake.orders[order_no].parcels)
        return _told(wanted=list(parcels), found=parcels)


def _told(*, wanted: Sequence[str], found: Counter[str]) -> Told:
    """`ONCE`: everything that should be told is there, one time each."""
    if any(count > 1 for count in found.values()):
        return Told.WRONGLY
    return Told.ONCE if found and all(found[one] for one in wanted) else Told.NOT_YET


class Platforms:
    """The shops that are polled, by name."""

    def __init__(self, shops: Mapping[str, TaobaoShop | PinduoduoShop]) -> None:
        self.shops = shops

    def connections(self) -> dict[str, dict[str, Any]]:
        """What of their connections is not the same for all shops."""
        return {
            shop.name: {
                "adapter": shop.platform,
                "pull": dict(_PULL),
                "rate": dict(_RATE),
                "gates": {"ship": {"in_flight": 4, "deadline_s": 3.0, "slow_s": 2.0}},
                "settings": self.shops[shop.name].settings(),
            }
            for shop in SHOPS
            if shop.name in self.shops
        }

    def place(self, basket: Basket) -> None:
        """A buyer's order; from now on it is the gateway's business to find it."""
        self.shops[basket.shop.name].place(basket)

    def told(self, shop: Shop, order_no: str) -> Told:
        return self.shops[shop.name].told(order_no)


@asynccontextmanager
async def open_platforms() -> AsyncIterator[Platforms]:
    """Both platforms, serving."""
    shops: dict[str, TaobaoShop | PinduoduoShop] = {}
    async with AsyncExitStack() as stack:
        for shop in SHOPS:
            if shop.platform == "taobao":
                taobao = FakeTaobao(secret="demo-secret", session=f"session-{shop.name}")
                shops[shop.name] = TaobaoShop(await stack.enter_async_context(taobao))
            elif shop.platform == "pinduoduo":
                pinduoduo = FakePinduoduo(secret="demo-secret", now=_behind, settled_after_s=0.0)
                shops[shop.name] = PinduoduoShop(await stack.enter_async_context(pinduoduo))
        yield Platforms(shops)


def _behind() -> datetime:
    return datetime.now(UTC) - PINDUODUO_BEHIND


def _pinduoduo_line(line: Line) -> PinduoduoLine:
    return PinduoduoLine(outer_id=line.sku, quantity=line.quantity, price_minor=line.price_minor)
