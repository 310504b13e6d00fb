"""A fold over batches as intake does it, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from gateway.core.event import ConnectionName
from gateway.core.order import Facts, Mode, Order, OrderNumber, Party, Recipe, Route, Sku
from gateway.core.stock import Balance, Movement, Place
from gateway.pipeline.decide import Decision, Step, fold, settle
from gateway.pipeline.rules import Rules, Shop, UnknownSku
from tests.core.sample import OTHER_WMS, SHOP, WMS


def rules(
    *,
    mode: Mode = Mode.LIVE,
    start_at: datetime | None = None,
    routes: tuple[Route, ...] = (Route(WMS, "WH1"),),
    takes_shipments: bool = True,
    mandatory: tuple[str, ...] = ("receiver.phone",),
    unknown_sku: UnknownSku = UnknownSku.PASS,
    max_total_minor: int = 100_000_000,
    mapped: bool = False,
    targets: frozenset[ConnectionName] = frozenset({WMS, OTHER_WMS}),
) -> Rules:
    shop = Shop(
        name=SHOP,
        prefix="A",
        mode=mode,
        start_at=start_at,
        routes=routes,
        takes_shipments=takes_shipments,
        mapped=mapped,
    )
    return Rules(
        shops={SHOP: shop},
        targets=targets,
        mandatory=mandatory,
        unknown_sku=unknown_sku,
        max_total_minor=max_total_minor,
    )


def elsewhere(facts: Facts) -> Step:
    """A warehouse's facts, said by one that no order is routed to."""
    return Step(OTHER_WMS, facts)


def step(facts: Facts | Step) -> Step:
    if isinstance(facts, Step):
        return facts
    return Step(SHOP if facts.party is Party.SHOP else WMS, facts)


class Books:
    """Orders and stock in memory; `take` decides a batch as intake does, and `ledger` is what it moved."""

    def __init__(self, by: Rules, stock: Mapping[str, int] | None = None, *, warehouse: str = "WH1") -> None:
        self.rules = by
        self.orders: dict[OrderNumber, Order] = {}
        self.balances: dict[Place, Balance] = {
            (Sku(sku), warehouse): Balance(number, pieces, 0, 0)
            for number, (sku, pieces) in enumerate((stock or {}).items(), 1)
        }
        self.counted = {balance.stock_id: balance.on_hand for balance in self.balances.values()}
        self.ledger: list[Movement] = []
        self.table: dict[Sku, Recipe] = {}

    def map(self, *recipes: Recipe) -> None:
        """A person imports the shop's whole table anew."""
        self.table = {recipe.sku: recipe for recipe in recipes}

    def reconsider(self, *numbers: OrderNumber) -> None:
        self.take([(number, Step(SHOP, None)) for number in numbers])

    def count(self, sku: str, pieces: int, *, warehouse: str = "WH1") -> None:
        """A person counts a SKU that no balance knew."""
        balance = Balance(len(self.balances) + 1, pieces, 0, 0)
        self.balances[Sku(sku), warehouse] = balance
        self.counted[balance.stock_id] = pieces

    def take(self, batch: Iterable[tuple[OrderNumber, Facts | Step]]) -> list[Decision]:
        by_order: dict[OrderNumber, list[Step]] = {}
        for number, facts in batch:
            by_order.setdefault(number, []).append(step(facts))
        tables, known = {SHOP: self.table}, self.orders
        folded = [fold(number, known.get(number), steps, self.rules, tables) for number, steps in by_order.items()]
        decisions = settle(folded, self.balances, self.rules)
        for decision in decisions:
            self.orders[decision.order.number] = decision.order
            self.ledger += decision.movements
        return decisions

    def sums(self) -> dict[int, tuple[int, int, int]]:
        """stock id → what the count and all movements add up to."""
        sums = {stock_id: [on_hand, 0, 0] for stock_id, on_hand in self.counted.items()}
        for movement in self.ledger:
            row = sums[movement.stock_id]
            row[0] += movement.on_hand
            row[1] += movement.locked
            row[2] += movement.committed
        return {stock_id: (row[0], row[1], row[2]) for stock_id, row in sums.items()}

    def check_ledger(self) -> None:
        """The ledger adds up to the balances and to what the orders have booked, and nothing is below zero."""
        sums = self.sums()
        for place, balance in self.balances.items():
            assert (balance.on_hand, balance.locked, balance.committed) == sums[balance.stock_id], place
            assert min(balance.on_hand, balance.locked, balance.committed, balance.available) >= 0, place
            booked = [b for order in self.orders.values() for b in order.booked if (b.sku, b.warehouse) == place]
            assert sum(b.locked for b in booked) == balance.locked, place
            assert sum(b.committed for b in booked) == balance.committed, place
            assert sum(b.shipped for b in booked) == self.counted[balance.stock_id] - balance.on_hand, place


def decide(*facts: Facts | Step, by: Rules | None = None, stock: Mapping[str, int] | None = None) -> Order:
    """The order after these facts, one batch each."""
    books = Books(by or rules(), {"X": 100, "Y": 100} if stock is None else stock)
    number = OrderNumber("A1")
    for one in facts:
        books.take([(number, one)])
    books.check_ledger()
    return books.orders[number]


def commands(order: Order) -> Sequence[str]:
    return [f"{command.target}.{command.key}" for command in order.commands]


def facts_of(order: Order) -> Mapping[str, object]:
    """What an order says apart from what was done about it."""
    names = "connection channel_no content payment hold left closing refunds confirmations progress".split()
    known = msgspec.structs.asdict(order)
    return {name: known[name] for name in names}
