"""Workers with a polled shop: real workers on a real PostgreSQL, and a real server for the platform."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from gateway.app import Worker, WorkerPlace
from gateway.core.happening import Happening
from gateway.plugins import discover
from gateway.settings import Settings, parse
from gateway.store.sql import open_pool
from gateway.store.token import first_token
from gateway.supervise import listening
from tests.shops.platform import Platform

CONFIG = """
data_dir: {folder}
database: {{url: "{url}"}}
dispatch: {{heartbeat_s: 0.2, lease_s: 5.1, held_per_gate: 30}}
retry: {{burst_retries: 0, durable_base_s: 0.2, durable_max_s: 1}}
http: {{listen: "127.0.0.1:0", metrics_listen: "127.0.0.1:0"}}
connections:
  shop:
    adapter: bazaar
    prefix: B
    mode: {mode}
    route: [{{target: shop, warehouse: W1}}]
    settings: {{url: "{platform}", access_token: "{token}"{more}}}
{extra}
"""


def register(folder: Path) -> Path:
    """A folder for the Python path in which an installed distribution offers the adapter `bazaar`."""
    info = folder / "bazaar-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bazaar\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ordergate.adapters]\nbazaar = tests.shops.bazaar\n")
    return folder


class Shop:
    """A configured shop, its platform, its database, and as many workers as a test starts."""

    def __init__(self, url: str, folder: Path, platform: Platform, pool: asyncpg.Pool, stack: AsyncExitStack) -> None:
        self.url = url
        self.folder = folder
        self.platform = platform
        self.pool = pool
        self.happened: list[Happening] = []
        self._stack = stack
        self._tasks: dict[Worker, asyncio.Task[None]] = {}
        self._bases: dict[Worker, str] = {}
        self._token: str | None = None

    def text(self, *, token: str = "t1", more: str = "", extra: str = "", mode: str = "live") -> str:
        """The configuration; `more` continues the adapter's settings, `extra` the connection."""
        return CONFIG.format(
            folder=self.folder,
            url=self.url,
            platform=self.platform.url,
            token=token,
            more=more,
            extra=extra,
            mode=mode,
        )

    def settings(self, *, token: str = "t1", more: str = "", extra: str = "", mode: str = "live") -> Settings:
        text = self.text(token=token, more=more, extra=extra, mode=mode)
        return parse(text, {}, discover(), name="t.yaml", folder=self.folder)

    async def start(self, settings: Settings | None = None) -> Worker:
        sock = listening(("127.0.0.1", 0))
        number = len(self._tasks)
        worker = Worker(
            settings or self.settings(),
            WorkerPlace(name=f"test/{number}", sock=sock, stop_within_s=4.0),
            url=self.url,
            observe=self.happened.extend,
        )
        self._tasks[worker] = asyncio.create_task(worker.run(), name=f"worker {number}")
        self._bases[worker] = f"http://127.0.0.1:{sock.getsockname()[1]}"
        self._stack.push_async_callback(self.stop, worker)
        return worker

    async def stop(self, worker: Worker) -> None:
        worker.stop()
        await self._tasks[worker]

    async def kill(self, worker: Worker) -> None:
        """As near to `kill -9` as one process comes: nothing is given back, the worker's row stays."""
        task = self._tasks[worker]
        task.cancel()
        await asyncio.wait([task])
        self._tasks[worker] = asyncio.create_task(asyncio.sleep(0))

    async def api(self, worker: Worker) -> tuple[str, str]:
        """Address of a worker, and the administrator's token."""
        self._token = self._token or await first_token(self.pool)
        assert self._token is not None
        return self._bases[worker], self._token

    async def call(self, worker: Worker, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One request to a worker's API."""
        url, token = await self.api(worker)
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{url}/api/v1{path}", json=body, headers=headers) as response,
        ):
            return response.status, await response.json()

    async def connection(self, worker: Worker) -> Any:
        """How the shop stands, as the API says."""
        status, body = await self.call(worker, "GET", "/connections")
        assert status == 200, body
        return next(row for row in body["connections"] if row["name"] == "shop")

    def saw(self, kind: type[Any]) -> list[Any]:
        return [one for one in self.happened if isinstance(one, kind)]

    async def until(self, look: Callable[[], Any | Awaitable[Any]], *, within_s: float = 15.0) -> Any:
        """The first answer of `look` that is true."""
        deadline = time.monotonic() + within_s
        while True:
            found = look()
            if isinstance(found, Awaitable):
                found = await found
            if found:
                return found
            assert time.monotonic() < deadline, f"not within {within_s:g} s"
            await asyncio.sleep(0.02)

    async def known(self) -> set[str]:
        return {row[0] for row in await self.pool.fetch("SELECT number FROM orders")}

    async def until_known(self, *numbers: str, within_s: float = 15.0) -> None:
        async def look() -> bool:
            return set(numbers) <= await self.known()

        await self.until(look, within_s=within_s)


@pytest.fixture
def bazaar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the installed adapter."""
    folder = register(tmp_path / "installed")
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
async def shop(migrated_url: str, tmp_path: Path, bazaar: Path) -> AsyncIterator[Shop]:
    pool = await open_pool(migrated_url, size=2)
    async with Platform() as platform:
        async with AsyncExitStack() as stack:
            yield Shop(migrated_url, tmp_path, platform, pool, stack)
    await pool.close()
