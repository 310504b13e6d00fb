"""A real worker on a real PostgreSQL, with a signed shop in front of it and a partner's server behind."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import aiohttp
import asyncpg
import msgspec
import pytest

from adapters.webhook.fake import FakeShop
from gateway.app import Worker, WorkerPlace
from gateway.core.happening import Happening
from gateway.core.text import Text
from gateway.plugins import discover
from gateway.sdk.signing import decode_secret, sign
from gateway.settings import parse
from gateway.store.sql import as_text, open_pool, private_or_plain
from gateway.store.token import first_token
from gateway.supervise import listening
from tests import languages

SHOP_SECRET = "whsec_" + "c2hvcC1zZWNyZXQtMDEyMzQ1Njc4OWFiY2RlZg=="
ERP_SECRET = "whsec_" + "ZXJwLXNlY3JldC0wMTIzNDU2Nzg5YWJjZGVmZ2g="

CONFIG = """
data_dir: {folder}
database: {{url: "{url}"}}
dispatch: {{heartbeat_s: 0.2}}
retry: {{burst_retries: 0, durable_base_s: 0.2, durable_max_s: 1}}
stock: {{unknown_sku: pass}}
review: {{max_total: "5000.00"}}
connections:
  shop:
    adapter: webhook
    prefix: S
    mode: live
    route: [{{target: erp, warehouse: W1}}]
    settings: {{secrets: ["{shop}"]}}
  erp:
    adapter: webhook
    gates: {{create: {{deadline_s: 2, slow_s: 1}}}}
    settings: {{secrets: ["{erp}"], url: "{target}"}}
"""

ORDER: dict[str, Any] = {
    "order_no": "1001",
    "updated_at": "2026-05-01T09:30:05+08:00",
    "status": "paid",
    "placed_at": "2026-05-01T09:30:00+08:00",
    "lines": [{"line_no": "1", "sku": "CUP-01", "quantity": 2, "price": "45.00", "name": "青瓷杯"}],
    "receiver": {
        "name": "张三丰",
        "phone": "13800001234",
        "province": "上海市",
        "city": "上海市",
        "district": "浦东新区",
        "detail": "张江路1号",
    },
    "total": "90.00",
    "payment": {"paid": True, "amount": "90.00"},
}


class Answer(msgspec.Struct):
    status: int
    body: Any
    headers: dict[str, str]


def is_told(body: Any) -> bool:
    """Whether a refusal says what is wrong and what to do, in Chinese and in English."""
    return all(languages.is_told(Text(**body[part])) for part in ("message", "advice"))


class Gateway:
    """A worker under test, and the ways to it."""

    def __init__(
        self, base: str, token: str, pool: asyncpg.Pool, erp: FakeShop, session: aiohttp.ClientSession
    ) -> None:
        self.base = base
        self.token = token
        self.pool = pool
        self.erp = erp
        self.happened: list[Happening] = []
        self._session = session
        self._messages = 0

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "",
        raw: bytes | None = None,
        packed: bool = False,
        **query: Any,
    ) -> Answer:
        """One request to the API. `token` None sends none; a `packed` one says that its body is gzip."""
        headers = {"X-Ordergate-Actor": "wang"}
        if packed:
            headers["Content-Encoding"] = "gzip"
        if token is not None:
            headers["Authorization"] = f"Bearer {token or self.token}"
        content = raw if raw is not None else b"" if body is None else msgspec.json.encode(body)
        async with self._session.request(
            method, f"{self.base}/api/v1{path}", data=io.BytesIO(content), headers=headers, params=query
        ) as response:
            return Answer(response.status, msgspec.json.decode(await response.read()), dict(response.headers))

    async def get(self, path: str, **query: Any) -> Any:
        answer = await self.call("GET", path, **query)
        assert answer.status == 200, answer
        return answer.body

    async def post(self, path: str, body: Any = None) -> Any:
        answer = await self.call("POST", path, body)
        assert answer.status == 200, answer
        return answer.body

    def download(self, path: str, **query: Any) -> Any:
        """The answer itself, to be read in an `async with`."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return self._session.get(f"{self.base}/api/v1{path}", headers=headers, params=query)

    async def page(self, path: str) -> Answer:
        async with self._session.get(self.base + path) as response:
            return Answer(response.status, await response.json(), dict(response.headers))

    async def push(
        self,
        body: bytes | dict[str, Any],
        *,
        secret: str = SHOP_SECRET,
        connection: str = "shop",
        skew_s: float = 0,
        headers: dict[str, str] | None = None,
        sign_body: bytes | None = None,
    ) -> Answer:
        """One signed webhook."""
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        self._messages += 1
        message_id, timestamp = f"msg_{self._messages}", int(time.time() + skew_s)
        signature = sign(
            decode_secret(secret),
            message_id=message_id,
            timestamp=timestamp,
            body=raw if sign_body is None else sign_body,
        )
        given = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature,
            **(headers or {}),
        }
        async with self._session.post(
            f"{self.base}/hooks/{connection}", data=io.BytesIO(raw), headers=given
        ) as response:
            return Answer(response.status, (await response.read()).decode(), dict(response.headers))

    async def order(self, **changes: Any) -> str:
        """Push an order; our number for it."""
        document = {**ORDER, **changes}
        answer = await self.push(document)
        assert answer.status == 202, answer
        return f"S{document['order_no']}"

    async def until(self, look: Callable[[], Awaitable[Any]], *, within_s: float = 15.0) -> Any:
        """The first answer of `look` that is true."""
        deadline = time.monotonic() + within_s
        while True:
            found = await look()
            if found:
                return found
            assert time.monotonic() < deadline, f"not within {within_s:g} s"
            await asyncio.sleep(0.03)

    async def stage(self, number: str, stage: str, **filters: Any) -> Any:
        """The order in the list once it has reached `stage`."""

        async def look() -> Any:
            rows = (await self.get("/orders", number=number, stage=stage, **filters))["orders"]
            return rows[0] if rows else None

        return await self.until(look)

    async def sent(self, number: str) -> None:
        """Until nothing of the order is open."""

        async def look() -> bool:
            answer = await self.call("GET", f"/orders/{number}")
            return answer.status == 200 and answer.body["order"]["commands"] and not answer.body["lanes"]

        await self.until(look)

    async def blocked(self, number: str) -> Any:
        """The order's lane once it waits for a person."""

        async def look() -> Any:
            rows = (await self.get("/deliveries", state="blocked"))["deliveries"]
            return next((row for row in rows if row["number"] == number), None)

        return await self.until(look)

    async def dead(self, count: int = 1) -> list[Any]:
        """The open dead letters once there are `count`, the newest first."""

        async def look() -> Any:
            rows = (await self.get("/dead-letters"))["dead_letters"]
            return (rows,) if len(rows) == count else None

        (letters,) = await self.until(look)
        return list(letters)

    async def kept(self) -> int:
        """How many events are anywhere in the database."""
        count = await self.pool.fetchval(
            "SELECT (SELECT count(*) FROM inbox) + (SELECT count(*) FROM event) + (SELECT count(*) FROM dead_letter)"
        )
        return int(count)

    async def audit(self) -> list[tuple[str, str, str, str]]:
        rows = await self.pool.fetch(
            f"SELECT actor, action, subject, {private_or_plain('reason')} FROM audit ORDER BY audit_id"
        )
        return [(*row[:3], as_text(row[3])) for row in rows]


class Running:
    """A worker in this process's event loop."""

    def __init__(self, url: str, folder: Path, target: str, *, extra: str = "") -> None:
        text = CONFIG.format(folder=folder, url=url, shop=SHOP_SECRET, erp=ERP_SECRET, target=target) + extra
        self.settings = parse(text, {}, discover(), name="test.yaml", folder=folder)
        self.happened: list[Happening] = []
        self.sock = listening(("127.0.0.1", 0))
        self.worker = Worker(
            self.settings,
            WorkerPlace(name="test/0", sock=self.sock, stop_within_s=5.0),
            url=url,
            observe=self.happened.extend,
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.sock.getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.worker.run(), name="worker")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self.worker.stop()
        await self._task


@pytest.fixture
async def gateway(migrated_url: str, tmp_path: Path) -> AsyncIterator[Gateway]:
    pool = await open_pool(migrated_url, size=2)
    token = await first_token(pool)
    assert token is not None
    async with FakeShop(secrets=(ERP_SECRET,)) as erp, aiohttp.ClientSession() as session:
        async with Running(migrated_url, tmp_path, erp.url) as running:
            gateway = Gateway(running.base, token, pool=pool, erp=erp, session=session)
            gateway.happened = running.happened
            yield gateway
    await pool.close()
