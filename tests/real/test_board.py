"""Every query of the board and every series of the rules has data, from a real Prometheus that scrapes a real run.

A query without data is the typo that matters: Prometheus takes any name for a metric that has not happened yet.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from gateway.sdk.signing import decode_secret, sign
from grafana.board import ROWS
from grafana.catalogue import RULES
from tests.chaos.gateway import SECRET, SHOPS, Fake, Gateway
from tests.chaos.journal import Journal
from tests.chaos.load import Mix, stories
from tests.real.prometheus import NoPrometheus, Prometheus, program

pytestmark = [pytest.mark.real, pytest.mark.feature("F87")]

# Series that this run has none of, and why that is right. The tests hold both: these are empty, all others are not.
NOT_IN_THIS_RUN = {
    "ordergate_connection_changes_total": "nobody paused a connection, and none lost its authorisation",
    "ordergate_pull_": "the shops of this run are webhooks: nothing is polled",
    "ordergate_missed_orders_total": "the same",
    "ordergate_levels_told_total": "a webhook takes no stock levels",
    "levels_refused": "the same",
    "ordergate_notice_messages_total": "nobody is configured to be told",
    "ordergate_notice_untold_seconds": "the same",
    "ordergate_order_conflicts_total": "no order of this run was cancelled after it had left",
    "ordergate_purged_rows_total": "nothing here is older than the 90 days that are kept at least",
}
_SCRAPE = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: ordergate
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    try:
        program("prometheus")
    except NoPrometheus as error:
        pytest.skip(str(error))


@pytest.fixture
async def scraped(postgres_url: str, server_folder: Path, kafka: Any) -> AsyncIterator[Prometheus]:
    """A Prometheus that has watched a gateway through some bad seconds of its warehouse, and goes on."""
    async with Fake("qimen", server_folder) as wms:
        gateway = Gateway(
            server_folder,
            database_url=postgres_url,
            fakes=[wms],
            kafka=kafka.bootstrap,
            topic="board",
            workers=2,
            sections={"breaker": {"min_calls": 4}},
        )
        async with gateway:
            configuration = _SCRAPE.format(rules=RULES, port=gateway.metrics_port)
            with (
                Prometheus(server_folder / "prometheus", configuration) as prometheus,
                Journal(gateway.journal_path) as journal,
            ):
                producer = gateway.producer(journal)
                told = stories(150, shops=SHOPS, seed=7, mix=Mix(unpaid=0.1, duplicate=0.3))
                await wms.faults(share_5xx=0.1, commit_then_timeout_share=0.1, hang_s=1)
                await _unusable(gateway)
                await producer.tell(told[: len(told) // 2], per_s=30)
                # One trouble of the gateway's own: the session that reads the backlog is cut off.
                await gateway.fetch(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                )
                await wms.faults(down_s=3.0)
                await producer.tell(told[len(told) // 2 :], per_s=30)
                # Some go by the inbox, in any case.
                kafka.pause()
                try:
                    await producer.tell(stories(5, shops=SHOPS, seed=10))
                finally:
                    kafka.resume()
                # Refusals of content: what is asked for next is answered by the business, not by the network.
                await wms.faults(error_in_200_share=0.3)
                await producer.tell(stories(20, shops=SHOPS, seed=8), per_s=30)
                await gateway.quiet(within_s=90)
                # What only just happened is in a rate once it has been scraped twice.
                scraped_at = time.time()
                async with asyncio.timeout(30):
                    while not _has(prometheus, f"timestamp(ordergate_workers) > {scraped_at + 2}"):  # noqa: ASYNC110
                        await asyncio.sleep(0.2)
                yield prometheus


async def _unusable(gateway: Gateway) -> None:
    """A document that is no order, and a request that nobody signed."""
    body, at = b'{"order_no": ', int(time.time())
    headers = {
        "webhook-id": "broken",
        "webhook-timestamp": str(at),
        "webhook-signature": sign(decode_secret(SECRET), message_id="broken", timestamp=at, body=body),
    }
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{gateway.hooks_url}/shop-a", data=body, headers=headers) as answer:
            assert answer.status == 422
        async with session.post(f"{gateway.hooks_url}/shop-a", data=body) as answer:
            assert answer.status == 401


async def test_every_query_and_every_rule_has_data(scraped: Prometheus) -> None:
    empty = sorted(title for title, expr in _queries() if not _has(scraped, expr))
    right = sorted(title for title, expr in _queries() if any(name in expr for name in NOT_IN_THIS_RUN))
    assert empty == right
    for rule in scraped.rules():
        assert rule["health"] == "ok", f"{rule['name']}: {rule.get('lastError')}"
    missing = sorted({series for series in _series_of_rules() if not _has(scraped, series)})
    assert missing == sorted(s for s in set(_series_of_rules()) if any(name in s for name in NOT_IN_THIS_RUN))


def _queries() -> Iterator[tuple[str, str]]:
    for row in ROWS:
        for panel in row.panels:
            for number, query in enumerate(panel.queries):
                expr = query.expr.replace("$__rate_interval", "1m").replace("$job", "ordergate")
                yield f"{panel.title} [{number}]", expr.replace("$source", ".*").replace("$target", ".*")


def _series_of_rules() -> Iterator[str]:
    """Every selector of every rule with its labels; the name alone would not find a label's misspelt value."""
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            yield from re.findall(r"\bordergate[_:][a-z0-9_:]+(?:\{[^}]*\})?", rule["expr"])


def _has(prometheus: Prometheus, expr: str) -> bool:
    return any(not math.isnan(float(sample["value"][1])) for sample in prometheus.query(expr))
