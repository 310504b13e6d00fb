"""Baskets as orders: nothing of the data gets lost or rounded on the way into a document."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from itertools import islice

import msgspec
import pytest

from adapters.webhook import mapping
from gateway.core.errors import OrdergateError
from gateway.demo.baskets import (
    BASKETS,
    EMPTY,
    IN_HOURS,
    SHOPS,
    Basket,
    Bought,
    Totals,
    _minor,
    document_of,
    read_baskets,
    sample,
    sku_of,
)

LIMIT_MINOR = 100_000_000


def test_the_whole_file_once() -> None:
    """Every line is in exactly one basket, and the lines of a basket stand together."""
    totals, numbers, lines, in_hours = Totals(), set(), 0, 0
    for basket in read_baskets():
        totals.add(basket)
        in_hours += bool(basket.lines) and basket.in_hours
        numbers.add(basket.basket_id)
        lines += len(basket.lines)

    assert len(numbers) == totals.orders + totals.excluded == BASKETS
    assert totals.excluded == EMPTY
    assert in_hours == IN_HOURS
    assert lines == 1_469_307 - 8_869
    assert sum(totals.pieces.values()) == 152_923_108
    assert sum(totals.amount_minor.values()) == 459_602_706


def test_documents_say_what_the_baskets_say() -> None:
    totals, told = Totals(), Totals()
    shops = set()
    for basket in sample(500, seed=7):
        totals.add(basket)
        if not basket.lines:
            continue
        shops.add(basket.shop)
        facts = mapping.decode(document_of(basket), max_total_minor=LIMIT_MINOR)
        assert facts.content is not None and facts.payment is not None
        assert facts.order_no == str(basket.basket_id)
        assert basket.number == basket.shop.prefix + facts.order_no
        assert all(getattr(facts.content.receiver, name) for name in ("name", "phone", "province", "city", "detail"))
        by_line = sum(line.quantity * line.price_minor for line in facts.content.lines)
        assert by_line == facts.content.total_minor == facts.payment.amount_minor
        for line in facts.content.lines:
            told.pieces[line.sku] += line.quantity
            told.amount_minor[line.sku] += line.quantity * line.price_minor

    assert totals.orders == 500
    assert shops == set(SHOPS)
    assert (told.pieces, told.amount_minor) == (totals.pieces, totals.amount_minor)


def test_the_same_in_every_run_and_others_for_another_seed() -> None:
    def documents(seed: int) -> list[bytes]:
        return [document_of(basket) for basket in sample(20, seed=seed) if basket.lines]

    assert documents(3) == documents(3)
    assert documents(3) != documents(4)


@pytest.mark.parametrize(
    ("quantity", "amount_minor", "prices"),
    [
        (1, 99, [("1", 1, "0.99")]),
        (2, 278, [("1", 2, "1.39")]),
        (3, 100, [("1", 2, "0.33"), ("1+", 1, "0.34")]),
        (10_000, 2_500, [("1", 7_500, "0.00"), ("1+", 2_500, "0.01")]),
        (4, 0, [("1", 4, "0.00")]),
    ],
)
def test_an_amount_that_does_not_divide_becomes_two_lines(
    quantity: int, amount_minor: int, prices: list[tuple[str, int, str]]
) -> None:
    basket = Basket(77, 1, 2, 1_490_000_000, (Bought(1, quantity, amount_minor),))
    lines = msgspec.json.decode(document_of(basket))["lines"]

    assert [(line["line_no"], line["quantity"], line["price"]) for line in lines] == prices
    assert {line["sku"] for line in lines} == {sku_of(1)}


def test_dates_are_beijing_time_and_move_as_a_whole() -> None:
    basket = next(iter(sample(1, seed=0)))
    first = msgspec.json.decode(document_of(basket))
    moved = msgspec.json.decode(document_of(basket, shift=timedelta(days=1)))

    assert first["placed_at"].endswith("+08:00")
    assert next(read_baskets()).bought_at.isoformat() == "2017-01-01T11:53:26+08:00"
    assert moved["placed_at"][11:] == first["placed_at"][11:]
    assert moved["placed_at"] > first["placed_at"]


def test_floats_end_at_the_reader() -> None:
    assert _minor(2.78) == 278
    assert _minor(0.29) == 29
    assert _minor(840.0) == 84_000
    with pytest.raises(OrdergateError, match="two decimals"):
        _minor(1.005)


def test_more_orders_than_there_are_is_refused() -> None:
    with pytest.raises(OrdergateError, match="108,042"):
        next(sample(IN_HOURS + 1, seed=0))


def test_a_sample_is_what_was_bought_in_hours_from_the_opening_of_a_day_on() -> None:
    baskets = list(sample(300, seed=5))
    assert sum(bool(basket.lines) for basket in baskets) == 300
    everything = [basket for basket in read_baskets() if basket.in_hours]
    first = everything.index(baskets[0])
    assert everything[first : first + len(baskets)] == baskets
    assert everything[first - 1].day < baskets[0].day


def test_reading_loads_no_pandas() -> None:
    """It would take three seconds and 60 MB."""
    code = "import sys, gateway.demo.baskets as b; next(b.read_baskets()); print('pandas' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.strip() == "False"


def test_the_stream_is_lazy() -> None:
    assert len(list(islice(read_baskets(), 10))) == 10
