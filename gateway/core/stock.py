"""Stock arithmetic: balances, what an order wants booked, and the movements between two bookings.

Per (SKU, warehouse): ``available = on_hand - locked - committed``, never below zero. Placed: locked. Paid and
approved: committed. Shipped: on_hand and committed go down. Cancelled: released. A movement is the difference between
what the order's state wants booked and what is booked, so replaying an event moves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from gateway.core.order import Booking, Sku

Place = tuple[Sku, str]
"""(SKU, warehouse code): the key of one balance."""


class Balance(msgspec.Struct, array_like=True, gc=False):
    """What the one database knows of one place, in pieces. Mutable: the fold books on it."""

    stock_id: int
    on_hand: int
    locked: int
    committed: int

    @property
    def available(self) -> int:
        return self.on_hand - self.locked - self.committed


class Movement(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A change of one balance, in pieces; the sum of a place's movements equals its balance."""

    stock_id: int
    on_hand: int
    locked: int
    committed: int


class Shift(msgspec.Struct, frozen=True, gc=False):
    """What has to change at one place for one order: the booking wanted less the booking that stands."""

    place: Place
    locked: int
    committed: int
    shipped: int

    @property
    def needs(self) -> int:
        """Pieces this shift takes from what is available; negative when it gives some back.

        Shipping takes them out of what was booked: locked 0, committed -2, shipped +2 needs 0.
        """
        return self.locked + self.committed + self.shipped


def shifts(booked: Sequence[Booking], wanted: Sequence[Booking]) -> list[Shift]:
    """The differences from `booked` to `wanted`, both in place order and without empty bookings; so is the result."""
    if not booked:
        return [Shift((b.sku, b.warehouse), b.locked, b.committed, b.shipped) for b in wanted]
    before = {(b.sku, b.warehouse): b for b in booked}
    after = {(b.sku, b.warehouse): b for b in wanted}
    found = []
    for place in sorted(before.keys() | after.keys()):
        old, new = before.get(place, _NOTHING), after.get(place, _NOTHING)
        locked, committed, shipped = new.locked - old.locked, new.committed - old.committed, new.shipped - old.shipped
        if locked or committed or shipped:
            found.append(Shift(place, locked, committed, shipped))
    return found


def covers(balances: Mapping[Place, Balance], needed: Iterable[Shift]) -> bool:
    """Whether every shift that needs pieces finds them available."""
    for shift in needed:
        needs = shift.locked + shift.committed + shift.shipped
        if needs > 0 and balances[shift.place].available < needs:
            return False
    return True


def book_first(wanted: Sequence[tuple[Booking, Balance]]) -> list[Movement] | None:
    """Book an order that has nothing booked yet: all of `wanted`, or None and nothing where one balance is too low.

    The same as `shifts`, `covers` and `book` from an empty booking, in two passes over the lines: most decisions are
    an order's first.
    """
    for booking, balance in wanted:
        needs = booking.locked + booking.committed + booking.shipped
        if balance.on_hand - balance.locked - balance.committed < needs:
            return None
    movements = []
    for booking, balance in wanted:
        balance.on_hand -= booking.shipped
        balance.locked += booking.locked
        balance.committed += booking.committed
        movements.append(Movement(balance.stock_id, -booking.shipped, booking.locked, booking.committed))
    return movements


def book(balance: Balance, shift: Shift) -> Movement:
    """Apply `shift` to `balance` in place and return the movement to be written."""
    movement = Movement(balance.stock_id, -shift.shipped, shift.locked, shift.committed)
    balance.on_hand += movement.on_hand
    balance.locked += movement.locked
    balance.committed += movement.committed
    return movement


_NOTHING = Booking(Sku(""), "")
