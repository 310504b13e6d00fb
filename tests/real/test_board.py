"""Every query of the board and every series of the rules has data, from a real Prometheus that scrapes a real run.

A query without data is the typo that matters: Prometheus takes any name for a metric that has not happened yet. So
everything that is counted happens in this run.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from adapters.pinduoduo.fake import FakeLine as PinduoduoLine
from adapters.pinduoduo.fake import FakePinduoduo
from adapters.taobao.fake import BUSY, Clock
from adapters.taobao.fake import FakeLine as TaobaoLine
from adapters.taobao.fake import FakeShop as FakeTaobao
from adapters.wecom.fake import FakeWecom
from gateway.core.event import ConnectionName
from gateway.core.order import Part, Sku
from gateway.sdk.signing import decode_secret, sign
from gateway.sheets.skus import SkuRow, render
from gateway.store.sql import migrate, open_pool, register_connections
from grafana.board import ROWS
from grafana.catalogue import RULES
from tests.chaos.gateway import ROOT, SECRET, SHOPS, WAREHOUSE, Fake, Gateway, until
from tests.chaos.journal import Journal
from tests.chaos.load import Mix, Producer, stories
from tests.real.prometheus import NoPrometheus, Prometheus, program
from tests.store.test_purge import fill

pytestmark = [pytest.mark.real, pytest.mark.feature("F87")]

TAOBAO, PINDUODUO, WECOM = "taobao", "pinduoduo", "wecom"
ROBOT = "robot-of-the-board"
PINDUODUO_BEHIND = timedelta(seconds=193)
"""Pinduoduo shows what changed three minutes ago; the clock of its shop here is behind by as much."""

_POLLED: dict[str, Any] = {
    "pull": {"every_s": 0.5, "overlap_s": 5.0, "deadline_s": 2.0},
    "rate": {"per_s": 150.0, "burst": 60},
    "gates": {operation: {"deadline_s": 1.5, "slow_s": 1.2} for operation in ("ship", "stock")},
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


class Platforms:
    """What is there beside the warehouse: a shop on each platform that is polled, and a robot that tells people."""

    def __init__(self) -> None:
        self.began_at = datetime.now(UTC)
        self.clock = Clock(self.began_at)
        self.taobao = FakeTaobao(secret="secret", session="session", now=self.clock.now)
        self.pinduoduo = FakePinduoduo(now=lambda: datetime.now(UTC) - PINDUODUO_BEHIND, settled_after_s=0.0)
        self.wecom = FakeWecom(keys=[ROBOT])

    def connections(self) -> dict[str, dict[str, Any]]:
        shop = {"mode": "live", "route": [{"target": "wms", "warehouse": WAREHOUSE}], **_POLLED}
        return {
            TAOBAO: {
                **shop,
                "adapter": "taobao",
                "prefix": "TB",
                "stock": {"publish": True, "every_s": 0.5},
                "settings": {
                    "app_key": "12345678",
                    "app_secret": "secret",
                    "access_token": self.taobao.session,
                    "url": f"{self.taobao.url}/router/rest",
                },
            },
            PINDUODUO: {
                **shop,
                "adapter": "pinduoduo",
                "prefix": "PD",
                "start_at": self.began_at - PINDUODUO_BEHIND - timedelta(seconds=10),
                "settings": {
                    "client_id": "fake-client",
                    "client_secret": "fake-secret",
                    "access_token": self.pinduoduo.access_token,
                    "url": self.pinduoduo.router_url,
                },
            },
            WECOM: {"adapter": "wecom", "settings": {"robot_keys": [ROBOT], "base_url": self.wecom.url}},
        }


@asynccontextmanager
async def _platforms() -> AsyncIterator[Platforms]:
    platforms = Platforms()
    async with platforms.taobao, platforms.pinduoduo, platforms.wecom:
        yield platforms


@pytest.fixture
async def scraped(postgres_url: str, server_folder: Path, kafka: Any) -> AsyncIterator[Prometheus]:
    """A Prometheus that has watched a gateway through some bad seconds of all around it, and goes on."""
    wms = Fake("qimen", server_folder)
    async with _platforms() as platforms:
        gateway = Gateway(
            server_folder,
            database_url=postgres_url,
            fakes=[wms],
            kafka=kafka.bootstrap,
            topic="board",
            workers=2,
            sections={
                "breaker": {"min_calls": 4},
                "notices": {"channels": [WECOM], "settle_s": 3.0},
                "retention": {"hours": _hours_around_now()},
            },
            connections=platforms.connections(),
        )
        wms.ship_through(f"{gateway.hooks_url}/wms")
        await _years_and_days_before(gateway)
        missed = _not_seen_by_polling(platforms)
        platforms.taobao.refuse("taobao.trades.sold.increment.get", BUSY)
        async with wms, gateway:
            configuration = _SCRAPE.format(rules=RULES, port=gateway.metrics_port)
            with (
                Prometheus(server_folder / "prometheus", configuration) as prometheus,
                Journal(gateway.journal_path) as journal,
            ):
                producer = gateway.producer(journal)
                await _known(gateway, missed)
                await _levels(gateway, platforms)
                await _sold_on_platforms(gateway, platforms)
                await _authorised_again(gateway, platforms)
                await _near_their_ship_by_time(gateway)
                await _cancelled_after_it_has_left(gateway, producer)
                await _bad_seconds(gateway, wms, producer, kafka)
                await _people_told(gateway, platforms)
                await gateway.quiet(within_s=90)
                # What only just happened is in a rate once it has been scraped twice.
                scraped_at = time.time()
                async with asyncio.timeout(60):
                    while not _has(prometheus, f"timestamp(ordergate_workers) > {scraped_at + 2}"):  # noqa: ASYNC110
                        await asyncio.sleep(0.2)
                    # Looked for every 15 s.
                    while not _has(prometheus, "ordergate_ship_by_near_orders and ordergate_ship_by_past_orders"):  # noqa: ASYNC110
                        await asyncio.sleep(0.2)
                yield prometheus


def _hours_around_now() -> str:
    """Old rows are removed now, wherever in the day this runs. Beijing time."""
    now = datetime.now(UTC) + timedelta(hours=8)
    return f"{now - timedelta(hours=2):%H:%M}-{now + timedelta(hours=2):%H:%M}"


async def _years_and_days_before(gateway: Gateway) -> None:
    """Orders of eight years ago, and a shop that was read up to a minute ago and read again in whole two days ago."""
    pool = await open_pool(gateway.database_url, size=2)
    try:
        await migrate(pool)
        await fill(pool, 50, days_old=3_000, first=1_000_000)
        names = await register_connections(pool, [ConnectionName(TAOBAO)])
        await pool.execute(
            "INSERT INTO pull (connection_id, begun_at, read_to, reread_at) VALUES"
            " ($1, now() - interval '5 hours', now() - interval '1 minute', now() - interval '2 days')",
            names.id(ConnectionName(TAOBAO)),
        )
    finally:
        await pool.close()


def _not_seen_by_polling(platforms: Platforms) -> str:
    """An order of three hours ago, which is long before what polling still asks for; the number it gets here."""
    three_hours_s = 3 * 3600.0
    platforms.clock.advance(-three_hours_s)
    tid = platforms.taobao.place([TaobaoLine(sku="SKU-001")], paid=True)
    platforms.clock.advance(three_hours_s)
    return f"TB{tid}"


async def _known(gateway: Gateway, *numbers: str) -> None:
    async def known() -> bool:
        rows = await gateway.fetch("SELECT number FROM orders WHERE number = ANY($1::text[])", list(numbers))
        return len(rows) == len(numbers)

    await until(known, within_s=60, what=f"the orders {numbers}", log=gateway.log)


async def _levels(gateway: Gateway, platforms: Platforms) -> None:
    """Two listings of Taobao's, which is busy first and then refuses one. Nobody buys them: a level that falls is told
    again at once."""
    platforms.taobao.refuse("taobao.skus.quantity.update", BUSY, {**BUSY, "sub_code": "isv.item-is-delete"})
    rows = [
        SkuRow(
            sku=Sku(sku),
            parts=(Part(Sku(sku), 1),),
            title=None,
            item_id="612345678901",
            sku_id=str(sku_id),
            publish=True,
        )
        for sku_id, sku in enumerate(("CUP", "BOWL"), 4_900_000)
    ]
    items = [{"sku": row.sku, "warehouse": WAREHOUSE, "on_hand": 7} for row in rows]
    await gateway.call("PUT", "/stock", {"items": items, "reason": "counted"})
    file = base64.b64encode(render(rows, "csv")).decode()
    await gateway.call("POST", f"/skus/{TAOBAO}/import", {"file": file, "reason": "new"})

    async def told_and_refused() -> bool:
        refused = await gateway.fetch("SELECT 1 FROM listing WHERE refused IS NOT NULL")
        return len(platforms.taobao.levels) == len(refused) == 1

    await until(told_and_refused, within_s=60, what="the stock levels", log=gateway.log)


async def _sold_on_platforms(gateway: Gateway, platforms: Platforms) -> None:
    tid = platforms.taobao.place([TaobaoLine(sku="SKU-002")], paid=True)
    order_sn = platforms.pinduoduo.place([PinduoduoLine(outer_id="SKU-003", price_minor=850)])
    await _known(gateway, f"TB{tid}", f"PD{order_sn}")


async def _authorised_again(gateway: Gateway, platforms: Platforms) -> None:
    """The old token is good for nothing any more, and later somebody brings the new one."""
    platforms.pinduoduo.authorise(lifetime_s=86_400)

    async def refused() -> Any:
        return await gateway.fetch("SELECT 1 FROM credential WHERE refused IS NOT NULL")

    await until(refused, within_s=60, what="the platform to refuse the token", log=gateway.log)
    body = {"access_token": platforms.pinduoduo.access_token, "reason": "the merchant authorised again"}
    await gateway.call("POST", f"/connections/{PINDUODUO}/authorise", body)
    order_sn = platforms.pinduoduo.place([PinduoduoLine(outer_id="SKU-005", price_minor=850)])
    await _known(gateway, f"PD{order_sn}")


async def _cancelled_after_it_has_left(gateway: Gateway, producer: Producer) -> None:
    mix = Mix(cancelled=1, cancelled_first=0, refunded=0, unpaid=0, scarce=0, duplicate=0, reordered_within=0)
    placed, cancelled = stories(1, shops={"shop-a": "A"}, seed=11, mix=mix)
    await producer.tell([placed])

    def becomes(stage: str) -> Callable[[], Any]:
        return lambda: gateway.fetch("SELECT 1 FROM orders WHERE number = $1 AND stage = $2", number, stage)

    number = placed.acked.number
    await until(becomes("shipped"), within_s=60, what="the parcel to leave", log=gateway.log)
    await producer.tell([cancelled])
    await until(becomes("conflict"), within_s=60, what="the conflict", log=gateway.log)


async def _bad_seconds(gateway: Gateway, wms: Fake, producer: Producer, kafka: Any) -> None:
    """Orders by webhook while the warehouse, Kafka and one of the gateway's own sessions fail."""
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


async def _people_told(gateway: Gateway, platforms: Platforms) -> None:
    async def told() -> bool:
        return bool(platforms.wecom.told)

    await until(told, within_s=30, what="people to be told", log=gateway.log)


async def _near_their_ship_by_time(gateway: Gateway) -> None:
    """Two orders of which there is no stock: one has to leave within the hour, one should have left."""
    sku = "RARE-01"
    items = [{"sku": sku, "warehouse": WAREHOUSE, "on_hand": 0}]
    await gateway.call("PUT", "/stock", {"items": items, "reason": "counted"})
    example = json.loads((ROOT / "adapters/webhook/order.example.json").read_text(encoding="utf-8"))
    line = {"line_no": "1", "sku": sku, "quantity": 1, "price": "98.00", "name": "青瓷杯"}
    for number, hours in (("near", 1), ("past", -1)):
        latest = (datetime.now(UTC) + timedelta(hours=hours)).isoformat()
        order = {**example, "order_no": number, "lines": [line], "total": "98.00", "freight": "0", "discount": "0"}
        assert await _pushed(gateway, json.dumps({**order, "latest_ship_at": latest}).encode()) == 202

    async def held() -> bool:
        return (
            len(await gateway.fetch("SELECT 1 FROM orders WHERE reasons = 'short_of_stock' AND ship_by <> now()")) == 2
        )

    await until(held, within_s=60, what="two orders to wait for stock", log=gateway.log)


async def _unusable(gateway: Gateway) -> None:
    """A document that is no order, and a request that nobody signed."""
    body = b'{"order_no": '
    assert await _pushed(gateway, body) == 422
    assert await _pushed(gateway, body, signed=False) == 401


async def _pushed(gateway: Gateway, body: bytes, *, signed: bool = True) -> int:
    """The status of the answer."""
    at, name = int(time.time()), f"msg_{time.time_ns()}"
    headers = {
        "webhook-id": name,
        "webhook-timestamp": str(at),
        "webhook-signature": sign(decode_secret(SECRET), message_id=name, timestamp=at, body=body),
    }
    async with aiohttp.ClientSession() as session:
        async with session.post(
            f"{gateway.hooks_url}/shop-a", data=body, headers=headers if signed else None
        ) as answer:
            return answer.status


async def test_every_query_and_every_rule_has_data(scraped: Prometheus) -> None:
    assert sorted(title for title, expr in _queries() if not _has(scraped, expr)) == []
    for rule in scraped.rules():
        assert rule["health"] == "ok", f"{rule['name']}: {rule.get('lastError')}"
    assert sorted({series for series in _series_of_rules() if not _has(scraped, series)}) == []


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
