"""The scene: the configuration of the demo, and the processes it consists of, all on free ports of this machine.

A PostgreSQL in a folder of its own, a Kafka broker, the warehouse and the mini-program as servers with books, the
shops' platforms and WeCom, and `ordergate run` as its users run it. What is played on it is `gateway.demo.play`.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import yaml

from adapters.wecom.fake import FakeWecom
from gateway.core.errors import OrdergateError
from gateway.demo.baskets import SHOPS
from gateway.demo.platforms import PINDUODUO_BEHIND, Platforms, open_platforms

WMS = "wms"
WECOM = "wecom"
WAREHOUSE = "WH-HZ"
WMS_SECRET = "demo-wms-secret"
START_WITHIN_S = 60.0

# Everything that takes minutes in production takes seconds here, so that nobody waits for a breaker.
TIMES: Mapping[str, Any] = {
    "retry": {"base_s": 0.1, "max_s": 1.0, "durable_base_s": 0.5, "durable_max_s": 3.0},
    "breaker": {"window_s": 5.0, "open_s": 2.0, "open_max_s": 2.0, "ramp_s": 1.0},
}
WMS_TIMES: Mapping[str, Any] = {
    "settle_s": 2.0,
    "gates": {"create": {"deadline_s": 1.0, "slow_s": 0.6, "in_flight": 16, "rate_per_s": 300.0, "burst": 30}},
}


class Scene(msgspec.Struct, kw_only=True):
    """Where everything can be reached while it runs. `secrets`: shop → the secret it signs with."""

    folder: Path
    gateway_url: str
    metrics_url: str
    token: str
    database_url: str
    wms_url: str
    shops_url: str
    secrets: Mapping[str, str]
    platforms: Platforms
    wecom: FakeWecom
    broker: Broker
    configuration: Mapping[str, Any]
    gateway_pid: int

    @property
    def wms_journal(self) -> Path:
        return self.folder / "wms.journal"

    @property
    def shops_journal(self) -> Path:
        return self.folder / "shops.journal"

    @property
    def acknowledged(self) -> Path:
        return self.folder / "acknowledged.journal"


def configuration(
    *,
    data_dir: Path,
    wms_url: str,
    shops_url: str | None,
    shop_secrets: Mapping[str, str],
    wms: Mapping[str, Any] = WMS_TIMES,
    sections: Mapping[str, Any] = TIMES,
    polled: Mapping[str, Mapping[str, Any]] | None = None,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The gateway's configuration: four shops and one Qimen warehouse.

    Shops that are not in `polled` are webhooks; without `shops_url` nothing is written back to those. `more` are other
    connections.
    """
    connections: dict[str, Any] = {
        shop.name: {
            **(
                (polled or {}).get(shop.name)
                or {
                    "adapter": "webhook",
                    "settings": {
                        "secrets": [shop_secrets[shop.name]],
                        **({"url": f"{shops_url}/{shop.name}"} if shops_url is not None else {}),
                    },
                }
            ),
            "prefix": shop.prefix,
            "mode": "live",
            "route": [{"target": WMS, "warehouse": WAREHOUSE}],
        }
        for shop in SHOPS
    }
    connections[WMS] = {
        "adapter": "qimen",
        **wms,
        "settings": {
            "url": f"{wms_url}/router/qimen",
            "app_key": "fake",
            "secret": WMS_SECRET,
            "customer_id": "fake-wms",
            "owner_code": "DEMO",
            "shop_nick": "演示旗舰店",
            "sender": {
                "name": "演示仓",
                "mobile": "13800000000",
                "province": "浙江省",
                "city": "杭州市",
                "detail": "一号库",
            },
            "not_found": [{"code": "S404"}],
        },
    }
    connections.update(more or {})
    return {
        "data_dir": str(data_dir),
        "http": {"listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0"},
        **sections,
        "connections": connections,
    }


@asynccontextmanager
async def open_scene(folder: Path) -> AsyncIterator[Scene]:
    """Everything runs when this is entered, and nothing of it when it is left, cancelled or not."""
    shop_secrets = {shop.name: new_secret() for shop in SHOPS if shop.platform == "webhook"}
    data_dir = folder / "data"
    began_at = datetime.now(UTC)
    robot = secrets.token_hex(16)
    async with _open_database(data_dir / "postgres") as database_url:
        async with (
            open_wms(folder / "wms.journal") as wms_url,
            open_shops(folder, shop_secrets) as shops_url,
            open_platforms() as platforms,
            FakeWecom(keys=[robot]) as wecom,
            open_broker() as broker,
        ):
            document = configuration(
                data_dir=data_dir,
                wms_url=wms_url,
                shops_url=shops_url,
                shop_secrets=shop_secrets,
                sections={
                    **TIMES,
                    "kafka": {"bootstrap": broker.bootstrap, "acknowledge_within_s": 1.0},
                    "notices": {"channels": [WECOM], "settle_s": 3.0, "backlog_age_s": 10.0},
                },
                polled={
                    # Orders placed while the gateway is starting are new, too.
                    name: {**entry, "start_at": began_at - PINDUODUO_BEHIND - timedelta(seconds=10)}
                    for name, entry in platforms.connections().items()
                },
                more={WECOM: {"adapter": "wecom", "settings": {"robot_keys": [robot], "base_url": wecom.url}}},
            )
            async with open_gateway(folder, document) as gateway:
                # Where the warehouse tells us what it has shipped is known only now.
                await post(
                    f"{wms_url}/warehouse",
                    {
                        "hooks_url": f"{gateway.url}/hooks/{WMS}",
                        "confirm_after_s": 2.0,
                        "partial_share": 0.1,
                        "duplicate_share": 0.1,
                    },
                )
                yield Scene(
                    folder=folder,
                    gateway_url=gateway.url,
                    metrics_url=gateway.metrics_url,
                    token=gateway.token,
                    database_url=database_url,
                    wms_url=wms_url,
                    shops_url=shops_url,
                    secrets=shop_secrets,
                    platforms=platforms,
                    wecom=wecom,
                    broker=broker,
                    configuration=document,
                    gateway_pid=gateway.pid,
                )


class RunningGateway(msgspec.Struct, frozen=True):
    """What `ordergate run` told when it started. `token` is empty when the database had one already."""

    pid: int
    url: str
    metrics_url: str
    token: str


@asynccontextmanager
async def open_gateway(folder: Path, document: Mapping[str, Any]) -> AsyncIterator[RunningGateway]:
    """`ordergate run` on the configuration `document`; ready when this is entered. Its log is ``gateway.log``."""
    config, log = folder / "ordergate.yaml", folder / "gateway.log"
    config.write_text(yaml.safe_dump(dict(document), allow_unicode=True, sort_keys=False))
    # It holds the secrets of this run.
    config.chmod(0o600)
    with log.open("wb") as out:
        os.chmod(log, 0o600)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "gateway", "run", "--config", str(config)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield await _ready(process, log)
    finally:
        # Longer than it gives its workers.
        await _end(process, within_s=35.0)


@asynccontextmanager
async def open_wms(journal: Path, *arguments: str) -> AsyncIterator[str]:
    """The warehouse; its URL."""
    command = ["-m", "adapters.qimen.fake", "--port", "0", "--secret", WMS_SECRET, "--books", str(journal)]
    async with _server([*command, *arguments]) as url:
        yield url


class Broker:
    """A Kafka broker in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, bootstrap: str) -> None:
        self._process = process
        self.bootstrap = bootstrap

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """It answers nobody in the meantime."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def open_broker() -> AsyncIterator[Broker]:
    """librdkafka's in-memory cluster."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway.demo.broker"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_WITHIN_S):
            bootstrap = (await process.stdout.readline()).decode().strip()
        if not bootstrap:
            raise OrdergateError("the broker of the demo did not start: pip install 'ordergate[demo]'")
        yield Broker(process, bootstrap)
    finally:
        await _end(process, within_s=5.0)


@asynccontextmanager
async def open_shops(folder: Path, shop_secrets: Mapping[str, str]) -> AsyncIterator[str]:
    """The platform of the four shops, which takes the write-backs of shipments; its URL."""
    command = ["-m", "adapters.webhook.fake", "--port", "0", "--books", str(folder / "shops.journal")]
    for secret in shop_secrets.values():
        command += ["--secret", secret]
    async with _server(command) as url:
        yield url


async def post(url: str, body: Any) -> None:
    """Tell one of the fakes something. Raises OrdergateError when it does not take it."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        async with session.post(url, data=msgspec.json.encode(body)) as answer:
            if answer.status != 200:
                raise OrdergateError(f"{url} answers {answer.status}: {await answer.text()}")


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


@asynccontextmanager
async def _open_database(folder: Path) -> AsyncIterator[str]:
    """The embedded PostgreSQL that `ordergate run` will use too; its URL."""
    from gateway.embedded.postgres import EmbeddedPostgres

    server = EmbeddedPostgres(folder)
    async with asyncio.TaskGroup() as group:
        starting = group.create_task(server.start(), name="database")
        try:
            # Cut off half way it would go on starting, and nobody would be left to stop it.
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait([starting])
            await server.stop()
            raise
    try:
        yield server.url
    finally:
        await server.stop()


@asynccontextmanager
async def _server(arguments: Sequence[str]) -> AsyncIterator[str]:
    """A fake in a process of its own; the first line it prints is its URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        # Ctrl-C is for us: we end it after the gateway.
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_WITHIN_S):
            url = (await process.stdout.readline()).decode().strip()
        if not url.startswith("http"):
            raise OrdergateError(f"{arguments[1]} did not start")
        yield url
    finally:
        await _end(process, within_s=5.0)


async def _ready(process: asyncio.subprocess.Process, log: Path) -> RunningGateway:
    """Wait until the gateway takes orders. Raises OrdergateError with the end of its log."""
    until = time.monotonic() + START_WITHIN_S
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        while time.monotonic() < until and process.returncode is None:
            said = _text_of(log)
            listening = re.search(r"listening on (http://\S+)", said)
            metrics = re.search(r"metrics on (http://\S+)", said)
            if listening is not None and metrics is not None:
                with suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(f"{listening[1]}/readyz") as answer:
                        if answer.status == 200:
                            token = re.search(r"token, shown this once: (\S+)", said)
                            return RunningGateway(process.pid, listening[1], metrics[1], token[1] if token else "")
            await asyncio.sleep(0.05)
    raise OrdergateError(f"the gateway did not start; the end of its log:\n{_text_of(log)[-3000:]}")


async def _end(process: asyncio.subprocess.Process, *, within_s: float) -> None:
    """End a process: asked first, killed past the deadline."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(within_s):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _text_of(log: Path) -> str:
    return log.read_text(errors="replace")
