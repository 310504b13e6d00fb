"""Orders that were purged and are told of once more, through a running gateway, with the warehouse's books beside."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import msgspec

from gateway.store.orders import decode_state
from gateway.store.sql import migrate, open_pool
from tests.chaos.gateway import ROOT, SHOPS, Fake, Gateway
from tests.chaos.journal import Journal
from tests.chaos.load import Mix, stories
from tests.lifelines import end_with_us
from tests.store.test_purge import fill, ledger_is_whole, left

MIX = Mix(cancelled=0.1, cancelled_first=0.1, refunded=0.1, unpaid=0, late_paid=0.2, scarce=0, duplicate=0.1)


async def test_a_late_duplicate_of_a_purged_order_makes_no_second_document(postgres_url: str, folder: Path) -> None:
    async with Fake("qimen", folder) as wms:
        gateway = Gateway(folder, database_url=postgres_url, fakes=[wms])
        wms.ship_through(f"{gateway.hooks_url}/wms")
        # Started again, with the address that confirmations go to.
        await wms.__aexit__(None, None, None)
        await wms.__aenter__()
        async with gateway:
            told = stories(60, shops=SHOPS, seed=9, mix=MIX)
            with Journal(gateway.journal_path) as journal:
                producer = gateway.producer(journal)
                await producer.tell(told)
                await gateway.quiet(within_s=60, still_s=1.0)
                books = await wms.books()
                over = await gateway.fetch("SELECT count(*) FROM orders WHERE stage = ANY($1)", _OVER)
                assert over[0][0] >= 50
                await _age(gateway)
                purged = await asyncio.to_thread(_ordergate, "purge", "-c", str(gateway.config), "--json")
                assert purged["rows"]["event"] > 100
                [[left]] = await gateway.fetch(
                    "SELECT count(*) FROM event JOIN orders USING (order_id) WHERE orders.stage = ANY($1)", _OVER
                )
                assert left == 0
                await producer.tell(told)
                await gateway.quiet(within_s=60, still_s=1.0)
            again = await wms.books()
            assert {name: order.documents for name, order in again.orders.items()} == {
                name: order.documents for name, order in books.orders.items()
            }
            assert again.requests == books.requests
            for row in await gateway.fetch("SELECT state FROM orders WHERE stage = ANY($1)", _OVER):
                order = decode_state(row[0])
                assert order.content is None or order.content.value.receiver.detail == ""
            apart = await gateway.fetch(
                "SELECT 1 FROM stock s LEFT JOIN ledger l USING (stock_id) WHERE (s.on_hand, s.locked, s.committed)"
                " <> (coalesce(l.on_hand, 0), coalesce(l.locked, 0), coalesce(l.committed, 0))"
            )
            assert apart == []


_OVER = ["shipped", "cancelled", "refunded"]


async def _age(gateway: Gateway) -> None:
    """Half a year goes by."""
    for statement in (
        "UPDATE orders SET created_at = created_at - interval '200 days'",
        "UPDATE orders SET updated_at = updated_at - interval '200 days'",
        "UPDATE movement SET moved_at = moved_at - interval '200 days'",
    ):
        await gateway.fetch(statement)


def _ordergate(*arguments: str) -> dict[str, dict[str, int]]:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    answer: dict[str, dict[str, int]] = msgspec.json.decode(done.stdout)
    return answer


async def test_a_purge_that_was_killed_leaves_the_ledger_whole_and_is_gone_on_with(
    postgres_url: str, folder: Path
) -> None:
    config = folder / "ordergate.yaml"
    config.write_text(f"data_dir: {folder}\ndatabase: {{url: '{postgres_url}'}}\n")
    pool = await open_pool(postgres_url, size=2)
    try:
        await migrate(pool)
        await fill(pool, 20_000, days_old=3_000)
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "purge", "-c", str(config)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            preexec_fn=end_with_us,  # noqa: PLW1509
        )
        async with asyncio.timeout(60):
            while await pool.fetchval("SELECT count(*) FROM orders") == 20_000:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        process.kill()
        process.wait()
        between = await left(pool)
        assert 0 < between["orders"] < 20_000
        assert between["event"] == between["movement"] == between["attempt"] == 2 * between["orders"]
        assert await ledger_is_whole(pool)
        purged = await asyncio.to_thread(_ordergate, "purge", "-c", str(config), "--json")
        assert purged["rows"]["orders"] <= between["orders"]
        assert set((await left(pool)).values()) == {0} and await ledger_is_whole(pool)
        assert (await asyncio.to_thread(_ordergate, "purge", "-c", str(config), "--dry-run", "--json"))["rows"] == {}
    finally:
        await pool.close()
