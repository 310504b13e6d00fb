"""How the day goes: in the rhythm of the real purchases, then four times as fast."""

from __future__ import annotations

from itertools import pairwise

import pytest

from gateway.demo.baskets import CLOSES_H, OPENS_H, Basket, Bought, bought_s, read_baskets, sample
from gateway.demo.shops import AT_LEAST_S, SURGE, SURGES, TIME_LAPSE, Day, day_of

HOURS_S = (CLOSES_H - OPENS_H) * 3600


def bought(day: int, hour: float, *, lines: bool = True) -> Basket:
    return Basket(1, 1, 0, day * 86_400 + int(hour * 3600), (Bought(11, 1, 99),) if lines else ())


def test_the_clock_of_the_shops_stands_still_at_night_and_on_days_without_a_purchase() -> None:
    baskets = [bought(17_000, 15.0), bought(17_000, 23.5), bought(17_001, 15.25), bought(17_009, 15.25)]
    assert bought_s(baskets) == [0.0, 8.5 * 3600, HOURS_S + 900, 2 * HOURS_S + 900]


def test_orders_come_as_the_baskets_were_bought_and_faster_in_the_surge() -> None:
    """Every pause between two orders is that between the two purchases, by one measure, and a quarter of it later."""
    baskets = [basket for basket in sample(2_000, seed=3) if basket.lines]
    day = day_of(baskets)
    times = [day.at_s(index) for index in range(2_000)]
    assert times == sorted(times) and times[0] >= 0
    assert times[-1] == pytest.approx(day.during_s)
    surge_at = SURGES * day.during_s
    before = [index for index, at in enumerate(times) if at < surge_at]
    assert len(before) > 50
    for index, (earlier, later) in enumerate(pairwise(bought_s(baskets))):
        pause_s = (later - earlier) / day.time_lapse
        if times[index] >= surge_at:
            assert times[index + 1] - times[index] == pytest.approx(pause_s / SURGE)
        elif times[index + 1] < surge_at:
            assert times[index + 1] - times[index] == pytest.approx(pause_s)


def test_the_same_in_every_run_and_another_for_another_seed() -> None:
    def times(seed: int) -> list[float]:
        day = day_of(sample(50, seed=seed))
        return [day.at_s(index) for index in range(50)]

    assert times(3) == times(3)
    assert times(3) != times(4)


def test_empty_baskets_are_no_orders_and_take_no_place() -> None:
    day = day_of([bought(17_000, 15.0), bought(17_000, 15.5, lines=False), bought(17_000, 16.0)])
    assert list(day.bought_s) == [0.0, 3_600.0]


def test_two_thousand_orders_take_about_a_minute_wherever_they_begin() -> None:
    """From the opening of every day of the year from which there are so many."""
    baskets = [basket for basket in read_baskets() if basket.in_hours and basket.lines]
    openings = [0] + [index for index in range(1, len(baskets)) if baskets[index].day != baskets[index - 1].day]
    days = [day_of(baskets[first : first + 2_000]) for first in openings if first + 2_000 <= len(baskets)]
    assert len(days) > 350
    assert all(day.time_lapse == TIME_LAPSE for day in days)
    assert min(day.during_s for day in days) > 50 and max(day.during_s for day in days) < 80
    assert min(day.per_s for day in days) > 7 and max(day.per_s for day in days) < 12


@pytest.mark.parametrize("orders", [1, 2, 100])
def test_few_orders_are_given_time_to_be_seen(orders: int) -> None:
    assert day_of(sample(orders, seed=0)).during_s == pytest.approx(AT_LEAST_S)


def test_a_single_order_at_the_opening_has_its_day_too() -> None:
    assert day_of([bought(17_000, 15.0)]).during_s == pytest.approx(AT_LEAST_S)


def test_a_rate_that_is_asked_for_is_the_average_before_the_surge() -> None:
    day = day_of(sample(100, seed=0), per_s=4.0)
    assert day.per_s == pytest.approx(4.0)
    assert isinstance(day, Day) and day.during_s == pytest.approx(100 / 4.0 / (SURGES + (1 - SURGES) * SURGE))
