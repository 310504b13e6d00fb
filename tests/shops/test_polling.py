"""What a polled shop's orders go through: the first start, windows, gaps, owners, and what a re-read finds."""

from __future__ import annotations

import asyncio
import itertools
import time
from datetime import UTC, datetime, timedelta

import pytest

from gateway.core.happening import OrderDecided, PullChanged, PullFailed, Trouble, WindowRead
from gateway.sdk.pull import Pulled, Window
from tests.shops.bazaar import adapter
from tests.shops.conftest import Shop
from tests.shops.platform import Platform


async def test_a_first_start_takes_what_changes_from_now_on_and_sends_it_once(shop: Shop) -> None:
    shop.platform.place("old", modified=time.time() - 3600)
    await shop.start()
    await shop.until(lambda: shop.saw(WindowRead))
    shop.platform.place(*(f"n{number}" for number in range(7)))
    await shop.until_known(*(f"Bn{number}" for number in range(7)))
    await shop.until(lambda: len(shop.platform.created) == 7)
    windows = len(shop.saw(WindowRead))
    await shop.until(lambda: len(shop.saw(WindowRead)) > windows + 2)
    assert await shop.known() == {f"Bn{number}" for number in range(7)}, "nothing from before the first start"
    assert set(shop.platform.created.values()) == {1}
    assert not shop.saw(Trouble)
    decided = shop.saw(OrderDecided)
    assert sum(one.duplicates for one in decided) > 7, "the overlap was read again"
    assert sum(one.commands for one in decided) == 7, "and changed nothing"


async def test_start_at_reaches_back_window_by_window_without_waiting(shop: Shop) -> None:
    since = datetime.now(UTC) - timedelta(hours=5)
    for minutes in range(5, 300, 20):
        shop.platform.place(f"m{minutes}", modified=time.time() - 60 * minutes)
    shop.platform.place("before", modified=since.timestamp() - 5)
    began = time.monotonic()
    await shop.start(shop.settings(extra=f"    start_at: {since.isoformat()}\n    pull: {{every_s: 30}}"))
    await shop.until_known(*(f"Bm{minutes}" for minutes in range(5, 300, 20)), within_s=300)
    assert time.monotonic() - began < 32 * 30, "33 windows, none of them waited for"
    windows = [(one.body["start"], one.body["end"]) for one in shop.platform.of("/pull") if one.body["page"] == 0]
    assert windows[0][0] == float(int(since.timestamp()))
    assert all(end - start <= 600 for start, end in windows)
    assert all(later[0] == max(earlier[1] - 60, windows[0][0]) for earlier, later in itertools.pairwise(windows))
    assert "Bbefore" not in await shop.known()


async def test_a_gap_longer_than_the_platform_remembers_is_named(shop: Shop) -> None:
    worker = await shop.start()
    await shop.until(lambda: shop.saw(WindowRead))
    await shop.stop(worker)
    await shop.pool.execute("UPDATE pull SET read_to = now() - interval '3 days', begun_at = now() - interval '9 days'")
    shop.platform.place("kept", modified=time.time() - 80_000)
    await shop.start()
    await shop.until_known("Bkept", within_s=30)
    (trouble,) = [one for one in shop.saw(Trouble) if one.where == "pull_gap"]
    assert "cannot be asked for" in trouble.what and "shop" in trouble.what


async def test_a_clock_that_was_wrong_does_not_stop_the_reading(shop: Shop) -> None:
    worker = await shop.start()
    await shop.until(lambda: shop.saw(WindowRead))
    await shop.stop(worker)
    await shop.pool.execute("UPDATE pull SET read_to = now() + interval '1 hour'")
    await shop.start()
    shop.platform.place("n1", modified=time.time() + 1)
    await shop.until_known("Bn1")
    (trouble,) = shop.saw(Trouble)
    assert trouble.where == "clock" and "run NTP" in trouble.what


async def test_two_workers_never_poll_one_shop_at_once_and_the_second_takes_over(shop: Shop) -> None:
    first = await shop.start()
    await shop.until(lambda: shop.saw(WindowRead))
    await shop.start()
    await asyncio.sleep(1.5)  # time in which the second could go wrong
    assert len({one.worker for one in shop.platform.of("/pull")}) == 1
    await shop.kill(first)
    killed_at = time.monotonic()
    left_s = await shop.pool.fetchval(
        "SELECT extract(epoch FROM renewed_at - now())::float8 + lease_s FROM worker WHERE name = 'test/0'"
    )
    shop.platform.place("later")
    await shop.until_known("Blater", within_s=20)
    pulls = shop.platform.of("/pull")
    assert len({one.worker for one in pulls}) == 2
    assert shop.platform.overlaps == []
    took_over = next(one.at for one in pulls if one.worker != pulls[0].worker)
    assert took_over - killed_at >= left_s > 0, "not before the dead owner's lease has run out"


async def test_an_orderly_stop_hands_the_shop_over_at_once(shop: Shop) -> None:
    first = await shop.start()
    await shop.until(lambda: shop.saw(WindowRead))
    await shop.start()
    await shop.stop(first)
    stopped_at = time.monotonic()
    owner = shop.platform.of("/pull")[0].worker
    await shop.until(lambda: any(one.worker != owner for one in shop.platform.of("/pull")))
    # The lease of a worker that is killed has to run out first.
    assert time.monotonic() - stopped_at < shop.settings().dispatch.lease_s
    assert shop.platform.overlaps == []


async def test_failures_are_told_once_and_the_same_page_is_asked_again(shop: Shop) -> None:
    await shop.start()
    await shop.until(lambda: shop.saw(WindowRead))
    shop.platform.answers["/pull"] = [{"error": "down"}, {"error": "down"}, {"error": "busy", "wait_s": 0.1}]
    shop.platform.place("n1")
    await shop.until_known("Bn1")
    assert [one.code for one in shop.saw(PullFailed)] == ["down", "down", "throttled"]
    assert [one.code for one in shop.saw(PullChanged)] == ["down", ""]
    assert await shop.pool.fetchval("SELECT failing FROM pull") is None


async def test_a_broken_adapter_ends_nothing(shop: Shop) -> None:
    await shop.start()
    await shop.until(lambda: shop.saw(WindowRead))
    shop.platform.answers["/pull"] = [{"rows": "nonsense"}, {"rows": [], "next": {}}]
    shop.platform.place("n1")
    await shop.until_known("Bn1")
    assert {one.where for one in shop.saw(Trouble)} == {"adapter"}
    assert next(one.code for one in shop.saw(PullFailed)) == "adapter"


async def test_a_paused_shop_is_not_polled(shop: Shop) -> None:
    await shop.start()
    await shop.until(lambda: shop.saw(WindowRead))
    await shop.pool.execute("UPDATE connection SET paused = true")
    await shop.until(lambda: time.monotonic() - shop.platform.of("/pull")[-1].at > 1.0)
    asked = len(shop.platform.of("/pull"))
    shop.platform.place("n1")
    await asyncio.sleep(1.0)
    assert len(shop.platform.of("/pull")) == asked
    await shop.pool.execute("UPDATE connection SET paused = false")
    await shop.until_known("Bn1")


async def test_a_shop_whose_platform_hangs_holds_up_no_other(shop: Shop) -> None:
    async with Platform() as other:
        other.hold = asyncio.Event()
        text = f"""
  hung:
    adapter: bazaar
    prefix: H
    mode: observe
    settings: {{url: "{other.url}", access_token: t1}}"""
        worker = await shop.start(shop.settings(extra=text))
        await shop.until(lambda: other.of("/pull"))
        await shop.until(lambda: shop.saw(WindowRead))
        shop.platform.place("n1")
        await shop.until_known("Bn1", within_s=5)
        await shop.until(lambda: shop.saw(PullFailed))
        assert {(one.source, one.code) for one in shop.saw(PullFailed)} == {("hung", "timeout")}
        began = time.monotonic()
        await shop.stop(worker)
        assert time.monotonic() - began < 4, "and no stop"
        other.hold.set()


async def test_a_shop_that_cannot_be_cut_off_keeps_no_worker_from_an_orderly_end(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All deliveries that the worker holds would be left in doubt behind it."""
    hangs, ends = asyncio.Event(), asyncio.Event()

    class Stubborn(adapter.Source):
        async def pull(self, window: Window, position: str, *, deadline_s: float) -> Pulled:
            hangs.set()
            while not ends.is_set():
                try:
                    await ends.wait()
                except asyncio.CancelledError:
                    continue
            raise asyncio.CancelledError

    monkeypatch.setattr(adapter, "Source", Stubborn)
    worker = await shop.start()
    await hangs.wait()
    worker.stop()

    async def retired() -> bool:
        return await shop.pool.fetchval("SELECT count(*) FROM worker") == 0

    try:
        await shop.until(retired)
    finally:
        ends.set()
