"""The rules a decision is made by: the part of the configuration the pure steps read."""

from __future__ import annotations

import enum
from datetime import datetime

import msgspec

from gateway.core.event import ConnectionName
from gateway.core.order import Mode, Order, Route


class UnknownSku(enum.StrEnum):
    """What becomes of a SKU the stock table does not know: `pass` books nothing, `hold` stops the order."""

    PASS = "pass"
    HOLD = "hold"


class Shop(msgspec.Struct, frozen=True, kw_only=True):
    """Rules of one connection that orders come from.

    New orders go by the first of `routes`, the others are for those that go by them already. `takes_shipments` says
    whether its parcels are told back to it, `mapped` whether the warehouse knows its SKUs under other names
    (`gateway.pipeline.items`). `former`: prefixes that numbers of its orders have which were known under another one,
    the last first.
    """

    name: ConnectionName
    prefix: str
    former: tuple[str, ...] = ()
    mode: Mode = Mode.LIVE
    start_at: datetime | None = None
    routes: tuple[Route, ...] = ()
    takes_shipments: bool = False
    mapped: bool = False


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Everything `decide` needs besides facts. `mandatory` are dotted field names like ``receiver.phone``; `targets`:
    the connections that orders may go to; `paused`: shops whose orders wait, which is read with every batch;
    `renamed`: shops of before that have another name now; `starts`: from when on some of them were to deliver."""

    shops: dict[ConnectionName, Shop]
    targets: frozenset[ConnectionName] = frozenset()
    mandatory: tuple[str, ...] = ()
    max_total_minor: int = 100_000_000
    unknown_sku: UnknownSku = UnknownSku.PASS
    paused: frozenset[ConnectionName] = frozenset()
    renamed: dict[ConnectionName, ConnectionName] = {}
    starts: dict[ConnectionName, datetime] = {}

    def shop_of(self, order: Order) -> Shop | None:
        """Whose `order` is now: its shop's, which may have another name than then; None: nobody's."""
        shop = order.connection
        return self.shops.get(shop) or self.shops.get(self.renamed.get(shop, shop))
