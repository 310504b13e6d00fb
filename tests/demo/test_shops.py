"""How the day goes: quiet, then four times as fast."""

from __future__ import annotations

import pytest

from gateway.demo.shops import SURGE, SURGES, Day


@pytest.mark.parametrize(("orders", "per_s"), [(2_000, 9.0), (100, 2.4), (7, 0.5)])
def test_the_surge_begins_on_time_and_the_day_ends_with_the_last_order(orders: int, per_s: float) -> None:
    day = Day(orders, per_s)
    times = [day.at_s(index) for index in range(orders)]
    assert times == sorted(times) and times[0] == 0
    assert times[-1] < day.during_s <= times[-1] + 2 / per_s
    quiet = [at for at in times if at < SURGES * day.during_s]
    assert len(quiet) == pytest.approx(SURGES * day.during_s * per_s, abs=1)
    surge_per_s = (len(times) - len(quiet)) / (day.during_s * (1 - SURGES))
    assert surge_per_s == pytest.approx(SURGE * per_s, rel=0.2)


def test_two_thousand_orders_take_about_a_minute() -> None:
    assert 60 < Day(2_000, 9.0).during_s < 70
