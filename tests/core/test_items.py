"""What is picked for the lines of an order, to the piece and the minor unit; and which lines a parcel answers for."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.items import items_of, lines_in, pieces, unmapped
from gateway.core.order import (
    Confirmation,
    Content,
    Line,
    Order,
    OrderNumber,
    Parcel,
    Part,
    Receiver,
    Recipe,
    Register,
    Sku,
)
from tests.core.sample import PLACED_AT

A, B, C, G = Sku("A"), Sku("B"), Sku("C"), Sku("G")
SIX = Recipe(Sku("six"), (Part(A, 6),))
SET = Recipe(Sku("set"), (Part(A, 1), Part(B, 2), Part(G, 1, gift=True)))
CUP = Recipe(Sku("cup"), (Part(C, 3),))


def line(sku: str, quantity: int, price_minor: int, discount_minor: int = 0, *, no: str = "1") -> Line:
    return Line(no, Sku(sku), quantity, price_minor, "杯", discount_minor)


@pytest.mark.feature("F125")
@pytest.mark.parametrize(
    ("ordered", "recipes", "picked"),
    [
        (line("A", 2, 500, 50), None, [("A", 2, 500, 50, "杯", False)]),
        (line("six", 2, 6000), (SIX,), [("A", 12, 1000, 0, "杯", False)]),
        (line("cup", 1, 1000), (CUP,), [("C", 1, 334, 0, "杯", False), ("C", 2, 333, 0, "杯", False)]),
        (
            line("cup", 1, 1000, 101),
            (CUP,),
            [("C", 1, 334, 34, "杯", False), ("C", 1, 333, 34, "杯", False), ("C", 1, 333, 33, "杯", False)],
        ),
        (
            line("set", 2, 901),
            (SET,),
            [("A", 2, 301, 0, "", False), ("B", 4, 300, 0, "", False), ("G", 2, 0, 0, "", True)],
        ),
        (line("six", 1, 0), (SIX,), [("A", 6, 0, 0, "杯", False)]),
        (line("unheard of", 1, 100), (SIX,), []),
    ],
)
def test_what_is_picked_for_a_line(
    ordered: Line, recipes: tuple[Recipe, ...] | None, picked: list[tuple[object, ...]]
) -> None:
    items = items_of([ordered], recipes)
    assert [(i.sku, i.quantity, i.price_minor, i.discount_minor, i.name, i.gift) for i in items] == picked
    assert {item.line_no for item in items} <= {"1"}


def test_what_nothing_stands_for_is_named() -> None:
    lines = [line("six", 1, 1), line("b", 1, 1), line("a", 1, 1), line("a", 2, 1)]
    assert unmapped(lines, (SIX,)) == ("a", "b")
    assert unmapped(lines, ()) == ("a", "b", "six")
    assert unmapped(lines, None) == ()


_skus = st.sampled_from([A, B, C, G])
_parts = st.dictionaries(st.tuples(_skus, st.booleans()), st.integers(1, 40), min_size=1, max_size=5).map(
    lambda made: tuple(Part(sku, count, gift) for (sku, gift), count in sorted(made.items()))
)
_recipes = st.dictionaries(st.sampled_from("xyz"), _parts).map(
    lambda made: tuple(Recipe(Sku(sku), parts) for sku, parts in sorted(made.items()))
)
_lines = st.lists(
    st.builds(
        Line,
        st.sampled_from(["1", "2", "3"]),
        st.sampled_from("xyzw").map(Sku),
        st.integers(1, 50),
        st.integers(0, 100_000),
        st.just(""),
        st.integers(0, 5_000),
    ),
    max_size=4,
)


@pytest.mark.feature("F125")
@given(_lines, _recipes)
def test_bundles_add_up(lines: list[Line], recipes: tuple[Recipe, ...]) -> None:
    """Pieces are quantity times recipe, money is what the lines cost, gifts have no price."""
    items = items_of(lines, recipes)
    counted: Counter[Sku] = Counter()
    for item in items:
        counted[item.sku] += item.quantity
        assert item.quantity >= 1
        assert not item.gift or item.price_minor == item.discount_minor == 0
    expected: Counter[Sku] = Counter()
    paid = discounted = 0
    parts = {recipe.sku: recipe.parts for recipe in recipes}
    for one in lines:
        for part in parts.get(one.sku, ()):
            expected[part.sku] += part.pieces * one.quantity
        if any(not part.gift for part in parts.get(one.sku, ())):
            paid += one.price_minor * one.quantity
            discounted += one.discount_minor * one.quantity
    assert counted == expected == Counter(pieces(lines, recipes))
    assert sum(item.price_minor * item.quantity for item in items) == paid
    assert sum(item.discount_minor * item.quantity for item in items) == discounted


@given(_lines)
def test_a_shop_without_a_table_picks_its_lines(lines: list[Line]) -> None:
    items = items_of(lines, None)
    assert [(i.line_no, i.sku, i.quantity, i.price_minor, i.name, i.discount_minor) for i in items] == [
        msgspec.structs.astuple(one) for one in lines
    ]
    assert sum(pieces(lines, None).values()) == sum(one.quantity for one in lines)


def order(lines: tuple[Line, ...], recipes: tuple[Recipe, ...] | None, **confirmations: list[dict[Sku, int]]) -> Order:
    made = {
        name: Confirmation(
            name, False, tuple(Parcel("ZTO", f"{name}-{n}", tuple(items.items())) for n, items in enumerate(parcels))
        )
        for name, parcels in confirmations.items()
    }
    content = Register(1, 0, Content(PLACED_AT, lines, Receiver(), 100))
    return Order(number=OrderNumber("A1"), content=content, recipes=recipes, confirmations=made)


@pytest.mark.feature("F127")
def test_a_parcel_finds_the_lines_of_the_shop() -> None:
    lines = (line("set", 1, 900, no="1"), line("six", 1, 600, no="2"), line("cup", 1, 100, no="3"))
    shipped = order(lines, (CUP, SET, SIX), m1=[{A: 1}, {B: 2, G: 1}], m2=[{A: 6}, {C: 3}, {}], m3=[{G: 5}])
    assert lines_in(shipped, "m1") == (("1",), ("1",)), "both parts of the set belong to line 1"
    assert lines_in(shipped, "m2") == (("2",), ("3",), ()), "line 1 has its A already"
    assert lines_in(shipped, "m3") == ((),), "a gift speaks for no line"
    assert lines_in(shipped, "m4") == ()


def test_lines_of_one_sku_are_told_once_each() -> None:
    lines = (line("A", 1, 100, no="1"), line("A", 2, 100, no="2"))
    shipped = order(lines, None, m1=[{A: 1}], m2=[{A: 2}], m3=[{A: 1}])
    assert [lines_in(shipped, name) for name in ("m1", "m2", "m3")] == [(("1",),), (("2",),), ((),)]
    together = order(lines, None, m1=[{A: 2}, {A: 1, B: 1}])
    assert lines_in(together, "m1") == (("1", "2"), ("2",))


def test_what_is_counted_and_not_packed_goes_with_the_first_parcel() -> None:
    lines = (line("set", 1, 900, no="1"), line("six", 1, 600, no="2"))
    counted = Confirmation("m1", True, (Parcel("ZTO", "1"), Parcel("ZTO", "2", ((A, 1),))), ((A, 7), (B, 2)))
    shipped = msgspec.structs.replace(order(lines, (SET, SIX)), confirmations={"m1": counted})
    assert lines_in(shipped, "m1") == (("1", "2"), ("1",))
    silent = msgspec.structs.replace(shipped, confirmations={"m1": Confirmation("m1", True, (Parcel("ZTO", "1"),))})
    assert lines_in(silent, "m1") == ((),)
