"""Stock arithmetic: differences, what is covered, and that no sequence of bookings loses or makes a piece."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.order import Booking, Sku
from gateway.core.stock import Balance, Movement, Place, Shift, book, book_first, covers, shifts

A, B, C = ((Sku(sku), "WH1") for sku in "ABC")
PLACES = (A, B, C, (Sku("A"), "WH2"))
"""Two warehouses have one SKU: they are two balances."""


def of(place: Place, locked: int = 0, committed: int = 0, shipped: int = 0) -> Booking:
    return Booking(*place, locked, committed, shipped)


# --- tables -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("booked", "wanted", "shift"),
    [
        ([], [of(A, locked=2)], Shift(A, 2, 0, 0)),
        ([of(A, locked=2)], [of(A, committed=2)], Shift(A, -2, 2, 0)),
        ([of(A, committed=2)], [of(A, locked=2)], Shift(A, 2, -2, 0)),
        ([of(A, committed=2)], [of(A, shipped=2)], Shift(A, 0, -2, 2)),
        ([of(A, committed=2)], [of(A, committed=1, shipped=1)], Shift(A, 0, -1, 1)),
        ([of(A, committed=2)], [], Shift(A, 0, -2, 0)),
        ([of(A, locked=2)], [of(A, locked=5)], Shift(A, 3, 0, 0)),
        ([], [of(A, shipped=2)], Shift(A, 0, 0, 2)),
        ([of(A, shipped=5)], [of(A, shipped=2)], Shift(A, 0, 0, -3)),
    ],
    ids=["placed", "paid", "held again", "shipped", "shipped in part", "cancelled", "more of it", "shipped unbooked",
         "confirmation corrected"],
)  # fmt: skip
def test_a_shift_is_what_is_wanted_less_what_is_booked(
    booked: list[Booking], wanted: list[Booking], shift: Shift
) -> None:
    assert shifts(booked, wanted) == [shift]


def test_a_place_that_stays_as_it_is_does_not_shift() -> None:
    assert shifts([of(A, 1), of(B, 1)], [of(A, 1), of(C, 1)]) == [Shift(B, -1, 0, 0), Shift(C, 1, 0, 0)]
    assert shifts([of(A, 1, 2, 3)], [of(A, 1, 2, 3)]) == []
    assert shifts([], []) == []


def test_another_warehouse_is_another_place() -> None:
    """A re-route moves the lock."""
    elsewhere = (A[0], "WH2")
    assert shifts([of(A, 2)], [of(elsewhere, 2)]) == [Shift(A, -2, 0, 0), Shift(elsewhere, 2, 0, 0)]


@pytest.mark.parametrize(
    ("shift", "needs"),
    [
        (Shift(A, 2, 0, 0), 2),
        (Shift(A, -2, 2, 0), 0),
        (Shift(A, 0, -2, 2), 0),
        (Shift(A, 0, -2, 3), 1),
        (Shift(A, 0, -2, 0), -2),
    ],
    ids=["locking", "committing what was locked", "shipping what was booked", "shipping more", "releasing"],
)
def test_what_a_shift_takes_from_what_is_available(shift: Shift, needs: int) -> None:
    assert shift.needs == needs


@pytest.mark.parametrize(
    ("balance", "shift", "covered"),
    [
        (Balance(1, 5, 2, 1), Shift(A, 2, 0, 0), True),
        (Balance(1, 5, 2, 1), Shift(A, 3, 0, 0), False),
        (Balance(1, 3, 0, 3), Shift(A, 0, -3, 3), True),
        (Balance(1, 3, 3, 0), Shift(A, -3, 3, 0), True),
        (Balance(1, 0, 0, 0), Shift(A, 0, 0, 1), False),
        (Balance(1, 3, 3, 0), Shift(A, -1, 0, 0), True),
        (Balance(1, 0, 3, 0), Shift(A, -1, 0, 0), True),
    ],
    ids=["all that is available", "one more", "shipped from what was booked", "paid", "nothing there", "given back",
         "given back where too much is booked"],
)  # fmt: skip
def test_what_is_available_covers_a_shift_or_not(balance: Balance, shift: Shift, covered: bool) -> None:
    assert covers({A: balance}, [shift]) is covered


def test_one_place_that_is_short_is_enough() -> None:
    assert not covers({A: Balance(1, 9, 0, 0), B: Balance(2, 0, 0, 0)}, [Shift(A, 1, 0, 0), Shift(B, 1, 0, 0)])
    assert covers({}, [])


def test_booking_changes_the_balance_by_its_movement() -> None:
    balance = Balance(7, 5, 0, 2)
    assert book(balance, Shift(A, 0, -2, 2)) == Movement(7, -2, 0, -2)
    assert balance == Balance(7, 3, 0, 0)
    assert balance.available == 3


# --- properties -------------------------------------------------------------------------------------------------

_pieces = st.integers(0, 4)
_counts = st.tuples(_pieces, _pieces, _pieces).filter(any)
_on_hand = st.fixed_dictionaries({place: st.integers(0, 9) for place in PLACES})


@st.composite
def _bookings(draw: st.DrawFn) -> tuple[Booking, ...]:
    """What an order may want: in place order, none of them empty."""
    places = draw(st.sets(st.sampled_from(PLACES)))
    return tuple(of(place, *draw(_counts)) for place in sorted(places))


def _balances(on_hand: Mapping[Place, int]) -> dict[Place, Balance]:
    return {place: Balance(number, pieces, 0, 0) for number, (place, pieces) in enumerate(on_hand.items(), 1)}


@settings(deadline=None)
@given(_bookings(), _bookings())
def test_shifts_lead_from_what_is_booked_to_what_is_wanted(
    booked: tuple[Booking, ...], wanted: tuple[Booking, ...]
) -> None:
    found = shifts(booked, wanted)
    sums = {(b.sku, b.warehouse): [b.locked, b.committed, b.shipped] for b in booked}
    for shift in found:
        parts = (shift.locked, shift.committed, shift.shipped)
        assert any(parts), "a shift of nothing would be written as a movement of nothing"
        sums[shift.place] = [old + part for old, part in zip(sums.get(shift.place, (0, 0, 0)), parts, strict=True)]
    assert tuple(of(place, *counts) for place, counts in sorted(sums.items()) if any(counts)) == wanted
    assert [shift.place for shift in found] == sorted({shift.place for shift in found}), "in place order, each once"


@settings(deadline=None)
@given(_bookings(), _on_hand)
def test_booking_first_is_the_same_as_the_long_way(wanted: tuple[Booking, ...], on_hand: dict[Place, int]) -> None:
    short, long = _balances(on_hand), _balances(on_hand)
    needed = shifts((), wanted)
    expected = [book(long[shift.place], shift) for shift in needed] if covers(long, needed) else None
    assert book_first([(b, short[b.sku, b.warehouse]) for b in wanted]) == expected
    assert short == long


@settings(deadline=None)
@given(_on_hand, st.lists(st.tuples(st.integers(0, 2), _bookings()), max_size=10))
def test_no_sequence_of_bookings_makes_or_loses_a_piece(
    on_hand: dict[Place, int], wishes: list[tuple[int, tuple[Booking, ...]]]
) -> None:
    """Three orders change their minds as they like: the ledger's sum is the balance, and nothing is oversold."""
    balances = _balances(on_hand)
    booked: dict[int, tuple[Booking, ...]] = {}
    ledger: list[Movement] = []
    for order, wanted in wishes:
        needed = shifts(booked.get(order, ()), wanted)
        if covers(balances, needed):
            ledger += [book(balances[shift.place], shift) for shift in needed]
            booked[order] = wanted
        for place, balance in balances.items():
            moved = [movement for movement in ledger if movement.stock_id == balance.stock_id]
            assert balance.on_hand == on_hand[place] + sum(movement.on_hand for movement in moved)
            assert balance.locked == sum(movement.locked for movement in moved)
            assert balance.committed == sum(movement.committed for movement in moved)
            assert min(balance.on_hand, balance.locked, balance.committed, balance.available) >= 0
            here = [b for wants in booked.values() for b in wants if (b.sku, b.warehouse) == place]
            assert balance.locked == sum(b.locked for b in here)
            assert balance.committed == sum(b.committed for b in here)
            assert on_hand[place] - balance.on_hand == sum(b.shipped for b in here)
