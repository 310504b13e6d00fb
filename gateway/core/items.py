"""Items: what is picked in the warehouse for the lines of an order, and which lines a parcel answers for.

A shop sells lines; a warehouse picks items. Where the shop's SKUs are the warehouse's own (`recipes` None), a line is
an item. Elsewhere a recipe says what one piece of a line is made of: other SKUs, several (a bundle), gifts on top.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec

from gateway.core.order import Confirmation, Line, Operation, Order, Part, Recipe, Sku

Recipes = tuple[Recipe, ...] | None


class Item(msgspec.Struct, frozen=True, gc=False):
    """One position to pick, for the shop's line `line_no`. Prices are minor units for one piece, after discount.

    The items of a line add up to its price and its discount to the last minor unit; gifts cost nothing.
    """

    line_no: str
    sku: Sku
    quantity: int
    price_minor: int
    discount_minor: int = 0
    name: str = ""
    gift: bool = False


def items_of(lines: Sequence[Line], recipes: Recipes) -> tuple[Item, ...]:
    """What to pick for `lines`, in their sequence; lines without a recipe are left out (`unmapped` names them)."""
    if recipes is None:
        return tuple(
            [
                Item(line.line_no, line.sku, line.quantity, line.price_minor, line.discount_minor, line.name)
                for line in lines
            ]
        )
    parts = {recipe.sku: recipe.parts for recipe in recipes}
    return tuple([item for line in lines for item in _items(line, parts.get(line.sku, ()))])


def pieces(lines: Sequence[Line], recipes: Recipes) -> dict[Sku, int]:
    """Pieces per SKU that `lines` take out of the warehouse."""
    counted: dict[Sku, int] = {}
    if recipes is None:
        for line in lines:
            counted[line.sku] = counted.get(line.sku, 0) + line.quantity
        return counted
    parts = {recipe.sku: recipe.parts for recipe in recipes}
    for line in lines:
        for part in parts.get(line.sku, ()):
            counted[part.sku] = counted.get(part.sku, 0) + part.pieces * line.quantity
    return counted


def shipped(order: Order) -> dict[Sku, int]:
    """Pieces per SKU that have left by the word of the warehouse that counts."""
    counted: dict[Sku, int] = {}
    confirmed = order.confirmed.values()
    for told in confirmed:
        for sku, count in told.shipped:
            counted[sku] = counted.get(sku, 0) + count
    if order.content is not None and any(told.final and not told.shipped for told in confirmed):
        # The last parcel is said to complete the order, whatever the ones before it counted.
        for sku, count in pieces(order.content.value.lines, order.recipes).items():
            counted[sku] = max(count, counted.get(sku, 0))
    return counted


def unmapped(lines: Sequence[Line], recipes: Recipes) -> tuple[Sku, ...]:
    """SKUs of `lines` that nothing stands for in the warehouse, in their order."""
    if recipes is None:
        return ()
    known = {recipe.sku for recipe in recipes}
    return tuple(sorted({line.sku for line in lines if line.sku not in known}))


def lines_in(order: Order, confirmation: str) -> tuple[tuple[str, ...], ...]:
    """For each parcel of the confirmation of that name: the numbers of the shop's lines that are in it.

    A warehouse counts its own SKUs. Its pieces are handed out to the lines that wait for them, in the sequence in which
    the shop is told, so that two lines made of one SKU are each told once and a line that was told stays with its
    parcel, whichever confirmation comes after it. A line stands in several parcels when its parts do; gifts speak for
    no line. What a confirmation counts and has in no parcel goes with the first one. A confirmation that counts nothing
    has no lines.
    """
    told = order.confirmations.get(confirmation)
    if told is None or order.content is None:
        return ()
    waiting: dict[Sku, list[tuple[str, int]]] = {}
    for item in items_of(order.content.value.lines, order.recipes):
        if not item.gift:
            waiting.setdefault(item.sku, []).append((item.line_no, item.quantity))
    for name, earlier in _in_sequence(order):
        found = [_taken(parcel.items, waiting) for parcel in earlier.parcels]
        loose = _taken(_not_packed(earlier), waiting)
        if name == confirmation:
            if loose and found:
                found[0] = tuple(sorted({*found[0], *loose}))
            return tuple(found)
    return ()


def _in_sequence(order: Order) -> list[tuple[str, Confirmation]]:
    """The confirmations by the place of their `ship` command; those without one come last, by their time and name.

    A time or a name alone would move a line that was told: a warehouse that gives no time may call the second message
    ``MSG-10`` after ``MSG-9``, and what is timed arrives in any sequence.
    """
    places = {command.key: place for place, command in enumerate(order.commands)}

    def key(named: tuple[str, Confirmation]) -> tuple[int, float, str]:
        name, confirmation = named
        at = 0.0 if confirmation.at is None else confirmation.at.timestamp()
        return places.get(f"{Operation.SHIP}:{name}", len(places)), at, name

    return sorted(order.confirmations.items(), key=key)


def _not_packed(confirmation: Confirmation) -> list[tuple[Sku, int]]:
    """Pieces that were shipped and stand in no parcel."""
    left = dict(confirmation.shipped)
    for parcel in confirmation.parcels:
        for sku, count in parcel.items:
            left[sku] = left.get(sku, 0) - count
    return [(sku, count) for sku, count in left.items() if count > 0]


def _taken(packed: Sequence[tuple[Sku, int]], waiting: dict[Sku, list[tuple[str, int]]]) -> tuple[str, ...]:
    """Lines that `packed` pieces go to; takes them out of `waiting`."""
    lines: dict[str, None] = {}
    for sku, count in packed:
        queue = waiting.get(sku, [])
        while count > 0 and queue:
            line_no, wants = queue[0]
            lines[line_no] = None
            if wants > count:
                queue[0] = (line_no, wants - count)
            else:
                del queue[0]
            count -= wants
    return tuple(sorted(lines))


def _items(line: Line, parts: Sequence[Part]) -> Iterator[Item]:
    """`line` as items. What the line costs is spread evenly over the pieces that are sold, the odd units to the first.

    One piece at 10.00 of three cups is two cups at 3.33 and one at 3.34.
    """
    sold = [part for part in parts if not part.gift]
    count = sum(part.pieces for part in sold) * line.quantity
    name = line.name if len(sold) == 1 else ""
    price, odd_price = divmod(line.price_minor * line.quantity, count) if count else (0, 0)
    discount, odd_discount = divmod(line.discount_minor * line.quantity, count) if count else (0, 0)
    start = 0
    for part in sold:
        end = start + part.pieces * line.quantity
        cuts = sorted({start, end, *(odd for odd in (odd_price, odd_discount) if start < odd < end)})
        for first, after in pairwise(cuts):
            yield Item(
                line.line_no,
                part.sku,
                after - first,
                price + (first < odd_price),
                discount + (first < odd_discount),
                name,
            )
        start = end
    for part in parts:
        if part.gift:
            yield Item(line.line_no, part.sku, part.pieces * line.quantity, 0, gift=True)
