"""What stands for an order's lines: looked up until it was sent, remembered from then on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.items import lines_in
from gateway.core.order import (
    Confirmation,
    Facts,
    Line,
    Operation,
    Order,
    OrderNumber,
    Parcel,
    Part,
    Party,
    Recipe,
    Sku,
)
from gateway.core.stock import Balance
from gateway.pipeline.decide import Step
from gateway.pipeline.rules import Rules
from tests.core.sample import PLACED_AT, SHOP, closed, content, paid, placed, said, shipped
from tests.pipeline.sample import Books, commands, elsewhere, rules

NUMBER = OrderNumber("A1")
PAIR = Recipe(Sku("X"), (Part(Sku("Y"), 2), Part(Sku("G"), 1, gift=True)))
SINGLE = Recipe(Sku("X"), (Part(Sku("Z"), 1),))


def books(*recipes: Recipe, by: Rules | None = None) -> Books:
    made = Books(by or rules(mapped=True), {"Y": 10, "Z": 10, "G": 10, "X": 10})
    made.map(*recipes)
    return made


def booked(order: Order) -> dict[str, tuple[int, int, int]]:
    return {b.sku: (b.locked, b.committed, b.shipped) for b in order.booked}


@pytest.mark.feature("F125")
def test_a_mapped_order_books_and_sends_what_is_picked() -> None:
    shop = books(PAIR)
    shop.take([(NUMBER, placed(X=3))])
    assert booked(shop.orders[NUMBER]) == {"Y": (6, 0, 0), "G": (3, 0, 0)}
    shop.take([(NUMBER, paid())])
    assert booked(shop.orders[NUMBER]) == {"Y": (0, 6, 0), "G": (0, 3, 0)}
    assert commands(shop.orders[NUMBER]) == ["wms.create"]
    shop.take([(NUMBER, shipped())])
    assert booked(shop.orders[NUMBER]) == {"Y": (0, 0, 6), "G": (0, 0, 3)}
    shop.check_ledger()


@pytest.mark.feature("F125")
def test_an_unmapped_sku_holds_the_order_until_its_row_comes() -> None:
    shop = books()
    shop.take([(NUMBER, placed(X=1)), (NUMBER, paid())])
    order = shop.orders[NUMBER]
    assert (order.stage, order.reasons, order.booked, order.commands) == ("received", ("unmapped_sku",), (), ())
    shop.map(PAIR)
    shop.reconsider(NUMBER)
    assert (shop.orders[NUMBER].stage, shop.orders[NUMBER].reasons) == ("allocated", ())
    assert booked(shop.orders[NUMBER]) == {"Y": (0, 2, 0), "G": (0, 1, 0)}


def test_one_unmapped_line_holds_all_of_them() -> None:
    shop = books(PAIR)
    shop.take([(NUMBER, placed(X=1, Q=1)), (NUMBER, paid())])
    assert (shop.orders[NUMBER].reasons, shop.orders[NUMBER].booked) == (("unmapped_sku",), ())
    shop.take([(NUMBER, closed())])
    assert (shop.orders[NUMBER].stage, shop.orders[NUMBER].reasons) == ("cancelled", ())


@pytest.mark.feature("F125")
def test_a_table_edited_later_changes_nothing_that_was_sent() -> None:
    shop = books(PAIR)
    shop.take([(NUMBER, placed(X=1)), (NUMBER, paid())])
    sent = shop.orders[NUMBER]
    shop.map(SINGLE)
    shop.reconsider(NUMBER)
    assert shop.orders[NUMBER] == sent
    shop.map()
    shop.take([(NUMBER, shipped())])
    assert booked(shop.orders[NUMBER]) == {"Y": (0, 0, 2), "G": (0, 0, 1)}
    shop.check_ledger()


def test_a_table_edited_before_it_was_sent_moves_what_is_booked() -> None:
    shop = books(PAIR)
    shop.take([(NUMBER, placed(X=1))])
    shop.map(SINGLE)
    shop.take([(NUMBER, paid())])
    assert booked(shop.orders[NUMBER]) == {"Z": (0, 1, 0)}
    shop.check_ledger()


@pytest.mark.parametrize("mapped_before", [True, False])
def test_a_table_edited_later_changes_nothing_that_left_by_another_hand(mapped_before: bool) -> None:
    shop = books(PAIR, by=rules(mapped=mapped_before))
    shop.take([(NUMBER, placed(X=1))])
    shop.take([(NUMBER, said(2, left=True))])
    kept = {"Y": (0, 0, 2), "G": (0, 0, 1)} if mapped_before else {"X": (0, 0, 1)}
    assert booked(shop.orders[NUMBER]) == kept
    shop.map(SINGLE)
    shop.rules = rules(mapped=True)
    shop.take([(NUMBER, paid(3))])
    assert booked(shop.orders[NUMBER]) == kept
    shop.check_ledger()


def test_what_changed_and_left_by_another_hand_at_once_is_decided_once() -> None:
    shop = books(PAIR, Recipe(Sku("V"), (Part(Sku("Z"), 1),)))
    shop.take([(NUMBER, placed(X=1))])
    shop.take([(NUMBER, placed(2, V=1)), (NUMBER, said(3, left=True))])
    decided = shop.orders[NUMBER]
    shop.reconsider(NUMBER)
    assert shop.orders[NUMBER] == decided
    shop.check_ledger()


def test_a_line_added_after_it_was_sent_is_looked_up_and_the_others_stay() -> None:
    shop = books(PAIR)
    shop.take([(NUMBER, placed(X=1)), (NUMBER, paid())])
    shop.map(SINGLE, Recipe(Sku("Q"), (Part(Sku("Z"), 5),)))
    shop.take([(NUMBER, placed(3, X=1, Q=1))])
    assert booked(shop.orders[NUMBER]) == {"Y": (0, 2, 0), "G": (0, 1, 0), "Z": (0, 5, 0)}
    assert shop.orders[NUMBER].conflicts == ("changed_after_sent",)


def test_orders_sent_before_the_shop_was_mapped_stay_as_they_are() -> None:
    shop = books(by=rules())
    unsent = OrderNumber("A2")
    shop.take([(NUMBER, placed(X=1)), (NUMBER, paid()), (unsent, placed(X=1))])
    shop.rules = rules(mapped=True)
    shop.map(PAIR)
    shop.reconsider(NUMBER, unsent)
    assert booked(shop.orders[NUMBER]) == {"X": (0, 1, 0)}
    assert booked(shop.orders[unsent]) == {"Y": (2, 0, 0), "G": (1, 0, 0)}
    shop.rules = rules()
    shop.reconsider(NUMBER, unsent)
    assert booked(shop.orders[unsent]) == {"X": (1, 0, 0)}
    assert shop.orders[unsent].recipes is None


def test_a_confirmation_before_the_order_books_what_stands_for_its_lines() -> None:
    """The payment gives the order its shop and route, so the confirmation counts before any line is known."""
    shop = books(PAIR)
    shop.take([(NUMBER, paid(1))])
    shop.take([(NUMBER, shipped())])
    shop.take([(NUMBER, placed(2, X=1))])
    assert booked(shop.orders[NUMBER]) == {"Y": (0, 0, 2), "G": (0, 0, 1)}


def test_a_warehouse_counts_in_its_own_skus() -> None:
    shop = books(PAIR)
    shop.take([(NUMBER, placed(X=2)), (NUMBER, paid())])
    shop.take([(NUMBER, shipped("M1", final=False, Y=1))])
    assert booked(shop.orders[NUMBER]) == {"Y": (0, 3, 1), "G": (0, 2, 0)}
    shop.take([(NUMBER, shipped("M2", final=True, Y=3, G=2))])
    assert booked(shop.orders[NUMBER]) == {"Y": (0, 0, 4), "G": (0, 0, 2)}
    assert shop.balances[Sku("Y"), "WH1"] == Balance(1, 6, 0, 0)
    assert {command.target for command in shop.orders[NUMBER].commands} == {"wms", SHOP}


@pytest.mark.parametrize(
    ("left", "conflicts"),
    [
        (shipped(Y=4, G=2), ()),
        (shipped(Y=3, G=2), ("shipped_short",)),
        (shipped(Y=4), ("shipped_short",)),
        (shipped(X=2), ("shipped_short",)),
        (shipped(), ()),
    ],
    ids=["all of it", "a part is missing", "the gift is missing", "in the shop's own SKU", "no counts: as ordered"],
)
def test_a_bundle_or_a_gift_that_left_in_part_is_short(left: Facts, conflicts: tuple[str, ...]) -> None:
    shop = books(PAIR)
    shop.take([(NUMBER, placed(X=2)), (NUMBER, paid()), (NUMBER, left)])
    assert shop.orders[NUMBER].conflicts == conflicts


def test_a_line_that_nothing_stands_for_is_not_missed() -> None:
    """Added at the shop after the order was sent: what it would be in the warehouse is not known."""
    shop = books(PAIR)
    shop.take([(NUMBER, placed(X=1)), (NUMBER, paid()), (NUMBER, placed(3, X=1, Q=1)), (NUMBER, shipped(Y=2, G=1))])
    assert shop.orders[NUMBER].conflicts == ()


# --- which lines a shipment tells -------------------------------------------------------------------------------


def parcel(name: str, pieces: int = 1, *, at: datetime | None = None, final: bool = False) -> Facts:
    """A confirmation of one parcel with so many X."""
    items = ((Sku("X"), pieces),)
    confirmation = Confirmation(name, final, (Parcel("ZTO", name, items),), items, at)
    return Facts(party=Party.WAREHOUSE, order_no="A1", confirmations=(confirmation,))


def lines_of_x(*pieces: int) -> Facts:
    """The order of one line per number, all of them X."""
    lines = tuple(Line(f"L{n}", Sku("X"), count, 1000) for n, count in enumerate(pieces, 1))
    return said(1, content=msgspec.structs.replace(content(), lines=lines))


def told(batches: Sequence[Sequence[Facts | Step]], order: Facts) -> tuple[dict[str, tuple[str, ...]], Order]:
    """What each shipment told the shop, when it was told: confirmation → lines; and the order in the end."""
    books = Books(rules(), {"X": 100})
    books.take([(NUMBER, order), (NUMBER, paid())])
    lines: dict[str, tuple[str, ...]] = {}
    for batch in batches:
        [decision] = books.take([(NUMBER, one) for one in batch])
        for command in decision.commands:
            assert command.operation is Operation.SHIP
            name = command.key.removeprefix("ship:")
            [lines[name]] = lines_in(decision.order, name)
    return lines, books.orders[NUMBER]


LATER = PLACED_AT + timedelta(hours=1)


@pytest.mark.feature("F127")
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (parcel("MSG-9"), parcel("MSG-10", final=True)),
        (parcel("1:P1"), parcel("0:P2", final=True)),
        (parcel("M2", at=LATER, final=True), parcel("M1", at=PLACED_AT)),
        (elsewhere(parcel("M0", at=PLACED_AT)), parcel("M1", 2, at=LATER, final=True)),
    ],
    ids=["names without a time", "a partial, then the final", "the later one first", "another warehouse's before it"],
)
def test_a_confirmation_that_sorts_before_one_that_was_told_takes_no_line_of_it(
    first: Facts | Step, second: Facts
) -> None:
    lines, order = told([[first], [second]], lines_of_x(1, 1))
    assert [line for inside in lines.values() for line in inside] == ["L1", "L2"]
    assert {name: inside for name in lines for inside in lines_in(order, name)} == lines


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=4),
    st.data(),
)
def test_every_line_is_told_whatever_the_sequence(counts: list[int], data: st.DataObject) -> None:
    """All pieces leave, one a confirmation; names, times and batches say nothing about the sequence."""
    times = st.none() | st.integers(0, 3).map(lambda hours: PLACED_AT + timedelta(hours=hours))
    arriving = data.draw(st.permutations([parcel(f"M{n}", at=data.draw(times)) for n in range(sum(counts))]))
    batches = [[one] for one in arriving]
    if len(batches) > 1 and data.draw(st.booleans()):
        batches[:2] = [batches[0] + batches[1]]
    lines, order = told(batches, lines_of_x(*counts))
    assert {line for inside in lines.values() for line in inside} == {f"L{n}" for n in range(1, len(counts) + 1)}
    assert {name: inside for name in lines for inside in lines_in(order, name)} == lines
