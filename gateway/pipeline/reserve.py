"""Reserve: what an order wants booked, and what it gets of it.

A function of the order's state and the balances alone: the movement is the difference from what is booked, so
repeats move nothing and every arrival order ends in the same ledger. Reserving is all or nothing per order;
what a warehouse says it shipped is a fact and is booked as far as the balance carries it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.core.items import pieces as pieces_of
from gateway.core.items import shipped, unmapped
from gateway.core.order import Booking, Conflict, Order, Origin, Reason, Sku
from gateway.core.stock import Balance, Movement, Place, Shift, book, book_first, covers, shifts
from gateway.pipeline.rules import UnknownSku


class Reserved(msgspec.Struct, frozen=True, gc=False):
    """`complete` says that all the order wants is booked."""

    booked: tuple[Booking, ...]
    movements: tuple[Movement, ...] = ()
    complete: bool = True
    reasons: tuple[Reason, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    unknown: tuple[Sku, ...] = ()
    """SKUs without a balance that were passed over."""


def wanted(order: Order, *, approved: bool) -> tuple[Booking, ...]:
    """What the state of `order` asks of the ledger, in SKU order: paid and approved commits, otherwise it locks.

    A SKU that left unbooked is asked for no more: its balance was counted after it had gone. So are the pieces that are
    written off. An order with a SKU that nothing stands for asks for nothing until a warehouse says what it shipped:
    reserving is all or nothing.
    """
    if order.origin is not Origin.LIVE or order.content is None or order.route is None:
        return ()
    lines = order.content.value.lines
    ordered = pieces_of(lines, order.recipes)
    for sku in order.unbooked:
        ordered.pop(sku, None)
    warehouse = order.route.warehouse
    if not order.confirmations or not order.confirmed:
        if order.left_by_other_hand:
            # Of what was kept for it, what is ordered still has left the shelf, and no refund puts it back: whoever
            # takes goods back counts them. Where nothing was kept, nobody knows from where it came.
            kept = [(b, min(b.locked + b.committed + b.shipped, ordered.get(b.sku, 0))) for b in order.booked]
            return tuple([Booking(b.sku, b.warehouse, 0, 0, pieces) for b, pieces in kept if pieces])
        if order.closed or order.refunded:
            # Closed, a shop does not say any more that it had left.
            return tuple([Booking(b.sku, b.warehouse, 0, 0, b.shipped) for b in order.booked if b.shipped])
        if order.recipes is not None and unmapped(lines, order.recipes):
            return ()
        if approved:
            return tuple([Booking(sku, warehouse, 0, pieces) for sku, pieces in sorted(ordered.items())])
        return tuple([Booking(sku, warehouse, pieces) for sku, pieces in sorted(ordered.items())])
    left = {sku: pieces for sku, pieces in shipped(order).items() if sku not in order.unbooked}
    written_off = dict(order.written_off)
    over = order.shipped_final or order.closed or order.refunded
    bookings = []
    for sku in sorted(ordered.keys() | left.keys()):
        gone = left.get(sku, 0)
        rest = 0 if over else max(0, ordered.get(sku, 0) - gone)
        sent = max(0, gone - written_off.get(sku, 0))
        if rest or sent:
            locked, committed = (0, rest) if approved else (rest, 0)
            bookings.append(Booking(sku, warehouse, locked, committed, sent))
    return tuple(bookings)


def reserve(
    order: Order, want: tuple[Booking, ...], balances: Mapping[Place, Balance], *, unknown_sku: UnknownSku
) -> Reserved:
    """Book `want` on `balances` (changed in place) as far as they allow.

    A SKU without a balance is unknown: it books nothing, and holds the order where the configuration says so.
    """
    found = [(b, balance) for b in want if (balance := balances.get((b.sku, b.warehouse))) is not None]
    if len(found) == len(want):
        return _reserve(order, want, found, balances)
    if unknown_sku is UnknownSku.HOLD and not order.confirmed:
        return Reserved((), _released(order.booked, balances), complete=False, reasons=("unknown_sku",))
    reserved = _reserve(order, tuple([b for b, _ in found]), found, balances)
    unknown = tuple([b.sku for b in want if (b.sku, b.warehouse) not in balances])
    return msgspec.structs.replace(reserved, unknown=unknown)


def _reserve(
    order: Order,
    known: tuple[Booking, ...],
    found: list[tuple[Booking, Balance]],
    balances: Mapping[Place, Balance],
) -> Reserved:
    if not order.booked:
        movements = book_first(found)
        if movements is not None:
            return Reserved(known, tuple(movements))
    needed = shifts(order.booked, known)
    if not needed:
        return Reserved(known)
    if covers(balances, needed):
        return Reserved(known, tuple(book(balances[shift.place], shift) for shift in needed))
    if not order.confirmed:
        return Reserved(order.booked, complete=False, reasons=("short_of_stock",))
    return _as_far_as_it_goes(order.booked, needed, balances)


def _released(booked: tuple[Booking, ...], balances: Mapping[Place, Balance]) -> tuple[Movement, ...]:
    """The movements that give back all that is booked."""
    return tuple(book(balances[shift.place], shift) for shift in shifts(booked, ()))


def _as_far_as_it_goes(booked: tuple[Booking, ...], needed: list[Shift], balances: Mapping[Place, Balance]) -> Reserved:
    """Shipping is a fact even where the ledger did not have the pieces: take what is there and name the rest."""
    after = {(b.sku, b.warehouse): b for b in booked}
    movements = []
    for shift in needed:
        balance = balances[shift.place]
        missing = max(0, shift.needs - balance.available)
        cut = shift
        for part in ("shipped", "committed", "locked"):
            less = min(missing, max(0, getattr(cut, part)))
            cut = msgspec.structs.replace(cut, **{part: getattr(cut, part) - less})
            missing -= less
        movements.append(book(balance, cut))
        old = after.get(shift.place, Booking(*shift.place))
        after[shift.place] = Booking(
            old.sku,
            old.warehouse,
            old.locked + cut.locked,
            old.committed + cut.committed,
            old.shipped + cut.shipped,
        )
    kept = tuple(b for _, b in sorted(after.items()) if b.locked or b.committed or b.shipped)
    return Reserved(kept, tuple(movements), complete=False, conflicts=("shipped_beyond_stock",))
