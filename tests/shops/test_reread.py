"""The daily re-read finds what the poller has missed, and nothing from before the shop's beginning."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from gateway.core.happening import ShopReread, WindowRead
from gateway.ingest.poller import BEIJING, last_due
from tests.shops.conftest import Shop


@pytest.mark.feature("F8")
async def test_a_missed_order_is_found_counted_and_sent(shop: Shop) -> None:
    worker = await shop.start()
    await shop.until(lambda: shop.saw(WindowRead))
    shop.platform.place("seen")
    await shop.until_known("Bseen")
    await shop.stop(worker)
    await shop.pool.execute(
        "UPDATE pull SET begun_at = now() - interval '5 hours', reread_at = now() - interval '2 days'"
    )
    shop.platform.place("missed", modified=time.time() - 3 * 3600)
    shop.platform.place("before", modified=time.time() - 6 * 3600)
    await shop.start()
    await shop.until_known("Bmissed")
    await shop.until(lambda: shop.saw(ShopReread))
    (reread,) = shop.saw(ShopReread)
    assert (reread.orders, reread.missed) == (2, 1)
    await shop.until(lambda: shop.platform.created["Bmissed"] == 1)
    assert await shop.known() == {"Bseen", "Bmissed"}
    assert await shop.pool.fetchval("SELECT now() - reread_at < interval '1 minute' FROM pull")


async def test_a_first_start_has_nothing_to_read_again(shop: Shop) -> None:
    await shop.start()
    await shop.until(lambda: len(shop.saw(WindowRead)) > 2)
    assert shop.saw(ShopReread) == []


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-05-02T04:00:00+08:00", "2026-05-02T04:00:00+08:00"),
        ("2026-05-02T03:59:59+08:00", "2026-05-01T04:00:00+08:00"),
        ("2026-05-01T20:00:01+00:00", "2026-05-02T04:00:00+08:00"),
        ("2026-05-01T19:00:00+00:00", "2026-05-01T04:00:00+08:00"),
    ],
)
def test_the_hour_is_that_of_beijing(now: str, due: str) -> None:
    assert last_due(datetime.fromisoformat(now).astimezone(UTC), 4) == datetime.fromisoformat(due)
    assert BEIJING.utcoffset(None) == timedelta(hours=8)
