"""The verdict bites: each way in which an account can be wrong is planted, and seen."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from gateway.core.order import Stage
from gateway.demo.baskets import Basket, Bought, Totals
from gateway.demo.platforms import Told
from gateway.demo.verdict import Known, Verdict, judge
from gateway.testing.fakes import Books, OrderBook

ORDERS = [
    Basket(1, 1, 0, 1_490_000_000, (Bought(11, 2, 278), Bought(12, 1, 99))),
    Basket(2, 1, 1, 1_490_000_000, (Bought(11, 1, 139),)),
    Basket(3, 1, 1, 1_490_000_000, ()),
]
LEFT = 5


class Accounts(msgspec.Struct):
    acknowledged: set[str]
    totals: Totals
    wms: Books
    shops: Books
    known: Known
    platforms: dict[str, Told] = {}

    def judged(self) -> Verdict:
        return judge(
            acknowledged=self.acknowledged,
            totals=self.totals,
            wms=self.wms,
            shops=self.shops,
            platforms=self.platforms,
            known=self.known,
            stock_left=LEFT,
        )


@pytest.fixture
def accounts() -> Accounts:
    """Two orders that went the whole way, the first in two parcels, and an empty basket."""
    totals, known, wms, shops = Totals(), Known(), Books(), Books()
    for basket in ORDERS:
        totals.add(basket)
        if not basket.lines:
            continue
        known.stages[basket.number] = Stage.SHIPPED
        for line in basket.lines:
            known.pieces[str(line.product_id)] += line.quantity
            known.amount_minor[str(line.product_id)] += line.amount_minor
            wms.add("created", {str(line.product_id): line.quantity})
            wms.add_amounts({str(line.product_id): line.amount_minor})
        wms.order(basket.number).documents = 1
    known.left = {"11": LEFT, "12": LEFT}
    wms.orders["A1"] = OrderBook(documents=1, commands=["create", "ship_part", "ship"])
    wms.orders["B2"] = OrderBook(documents=1, commands=["create", "ship"])
    shops.orders["A1"] = OrderBook(commands=["ship:wms/1", "ship:wms/2"])
    shops.orders["B2"] = OrderBook(commands=["ship:wms/1"])
    return Accounts({"A1", "B2"}, totals, wms, shops, known)


def test_accounts_that_agree(accounts: Accounts) -> None:
    result = accounts.judged()

    assert result.ok
    assert (result.orders_placed, result.orders_at_wms, result.written_back, result.excluded) == (2, 2, 2, 1)
    assert (result.skus, result.pieces, result.amount_minor) == (2, 4, 516)


def _set(path: str, value: object) -> Callable[[Accounts], None]:
    def plant(accounts: Accounts) -> None:
        *parents, name = path.split(".")
        holder: object = accounts
        for parent in parents:
            holder = holder[parent] if isinstance(holder, dict) else getattr(holder, parent)
        if isinstance(holder, dict):
            holder[name] = value
        else:
            setattr(holder, name, value)

    return plant


@pytest.mark.parametrize(
    ("plant", "figure", "expected"),
    [
        (lambda accounts: accounts.wms.orders.pop("B2"), "lost", 1),
        (_set("wms.orders.B2.documents", 0), "lost", 1),
        (_set("wms.orders.A1.documents", 3), "duplicated", 2),
        (lambda accounts: accounts.acknowledged.discard("B2"), "never_placed", 1),
        (lambda accounts: accounts.shops.orders["A1"].commands.append("ship:wms/2"), "written_back_wrongly", 1),
        (lambda accounts: accounts.shops.orders["B2"].commands.append("ship:wms/9"), "written_back_wrongly", 1),
        (lambda accounts: accounts.shops.orders["A1"].commands.pop(), "written_back", 1),
        (_set("platforms.B2", Told.NOT_YET), "written_back", 1),
        (_set("platforms.B2", Told.WRONGLY), "written_back_wrongly", 1),
        (_set("known.stages.A1", Stage.PACKED), "not_shipped", 1),
        (_set("known.for_a_person", 1), "for_a_person", 1),
        (_set("known.dead_letters", 1), "dead_letters", 1),
        (_set("wms.sums.12.created", 2), "skus_pieces_differ", 1),
        (_set("wms.amounts_minor.12", 98), "skus_amounts_differ", 1),
        (_set("known.pieces.11", 4), "skus_gateway_differ", 1),
        (_set("known.amount_minor.11", 4), "skus_gateway_differ", 1),
        (_set("known.left.12", 4), "skus_stock_differ", 1),
    ],
)
def test_a_planted_difference_is_seen(
    accounts: Accounts, plant: Callable[[Accounts], None], figure: str, expected: int
) -> None:
    plant(accounts)
    result = accounts.judged()

    assert getattr(result, figure) == expected
    assert not result.ok


def test_what_a_platform_knows_counts_in_place_of_the_books(accounts: Accounts) -> None:
    accounts.platforms["B2"] = Told.ONCE
    del accounts.shops.orders["B2"]
    assert accounts.judged().ok
