"""A gateway that dies between a page, its cursor and a renewed token; real processes, ended as `kill -9` does."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.lifelines import end_with_us
from tests.shops.conftest import Shop

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def gateway(shop: Shop, text: str, installed: Path, *, crash_at: str = "") -> Iterator[Path]:
    """`ordergate run`; you get its log."""
    config, log = shop.folder / "ordergate.yaml", shop.folder / f"log-{time.monotonic_ns()}"
    config.write_text(text, encoding="utf-8")
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "run", "--config", str(config)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{installed}:{ROOT}", "ORDERGATE_CRASH_AT": crash_at},
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            preexec_fn=end_with_us,  # noqa: PLW1509
        )
        try:
            yield log
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.mark.parametrize("point", ["poller.after_page:2", "poller.before_cursor:1"])
async def test_nothing_is_lost_or_sent_twice(shop: Shop, bazaar: Path, point: str) -> None:
    numbers = [f"n{number}" for number in range(10)]
    shop.platform.place(*numbers, modified=time.time() - 100)
    since = datetime.now(UTC) - timedelta(seconds=300)
    text = shop.text(extra=f"    start_at: {since.isoformat()}")
    with gateway(shop, text, bazaar, crash_at=point) as log:
        await shop.until(lambda: "ended with code 137" in log.read_text(), within_s=30)
    assert await shop.pool.fetchval("SELECT read_to = begun_at FROM pull"), "the cursor stands where it stood"
    pages = {one.body["page"] for one in shop.platform.of("/pull")}
    assert pages == ({0, 1} if point.startswith("poller.after_page") else {0, 1, 2, 3})
    with gateway(shop, text, bazaar):
        await shop.until_known(*(f"B{number}" for number in numbers), within_s=30)
        await shop.until(lambda: len(shop.platform.created) == 10, within_s=30)
        await shop.until(lambda: shop.pool.fetchval("SELECT read_to > begun_at FROM pull"))
        await asyncio.sleep(1.0)
    assert set(shop.platform.created.values()) == {1}
    assert await shop.pool.fetchval("SELECT count(*) FROM event") == 10


async def test_a_token_whose_renewal_was_lost_calls_a_person(shop: Shop, bazaar: Path) -> None:
    """The platform has replaced it and the answer died with us: the one thing that cannot be asked for again."""
    shop.platform.refreshes = {"r1": "t2"}
    ends_at = datetime.now(UTC) + timedelta(seconds=300)
    text = shop.text(more=f', refresh_token: r1, expires_at: "{ends_at.isoformat()}"')
    with gateway(shop, text, bazaar, crash_at="renewal.before_swap:1") as log:
        await shop.until(lambda: "ended with code 137" in log.read_text(), within_s=30)
        await shop.until(lambda: shop.pool.fetchval("SELECT refused FROM credential"), within_s=30)
    assert await shop.pool.fetchval("SELECT version FROM credential") == 1
