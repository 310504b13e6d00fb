"""Levels of a polled shop, told by the worker that owns it; never while the shop is only watched."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.happening import WindowRead
from gateway.store.sql import register_connections
from tests.shops.conftest import Shop


async def stocked(shop: Shop) -> None:
    await register_connections(shop.pool, ["shop"])  # type: ignore[list-item]
    await shop.pool.execute(
        "WITH l AS (INSERT INTO listing (connection_id, sku, publish) SELECT connection_id, 'CUP', true FROM connection"
        " RETURNING listing_id) INSERT INTO component (listing_id, sku, pieces) SELECT listing_id, 'CUP', 1 FROM l"
    )
    await shop.pool.execute("INSERT INTO stock (sku, warehouse, on_hand) VALUES ('CUP', 'W1', 7)")


@pytest.mark.feature("F126")
@pytest.mark.parametrize("mode", ["live", "observe"])
async def test_a_shop_is_told_its_levels_only_while_it_is_live(shop: Shop, mode: str) -> None:
    await stocked(shop)
    settings = shop.settings(extra="    stock: {publish: true, every_s: 0.1}", mode=mode)
    await shop.start(settings)
    await shop.until(lambda: shop.saw(WindowRead))
    if mode == "live":
        await shop.until(lambda: shop.platform.of("/level"))
    else:
        await asyncio.sleep(1.0)
        assert not shop.platform.of("/level")


async def test_what_another_system_may_have_told_meanwhile_is_told_over(shop: Shop) -> None:
    await stocked(shop)
    told = "    stock: {publish: true, every_s: 0.1}"
    for mode, calls in (("live", 1), ("observe", 1), ("live", 2)):
        worker = await shop.start(shop.settings(extra=told, mode=mode))
        await shop.until(lambda calls=calls: len(shop.platform.of("/level")) == calls)  # type: ignore[misc]
        await shop.until(lambda: shop.saw(WindowRead))
        await shop.stop(worker)
        shop.happened.clear()
    assert [one.body["quantity"] for one in shop.platform.of("/level")] == [7, 7]
