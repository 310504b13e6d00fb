"""The shops' side: every order told by a signed webhook, again and again until it is acknowledged, and journaled then.

The journal is what the verdict goes by: a line stands for a promise that the gateway has given.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import aiohttp
import msgspec

from gateway.demo.baskets import Basket, Totals, document_of
from gateway.sdk.signing import decode_secret, sign

_AGAIN_S = 0.2
_ACCEPTED = 202


class Acknowledged(msgspec.Struct, frozen=True):
    """One line of the journal."""

    number: str
    at: float


class Shops:
    """Tells baskets as orders; counts as it goes. `totals` is what was told, pieces and amounts."""

    def __init__(
        self, *, hooks_url: str, secrets: Mapping[str, str], journal: Path, shift: timedelta, callers: int = 12
    ) -> None:
        self._hooks_url = hooks_url
        self._keys = {shop: decode_secret(secret) for shop, secret in secrets.items()}
        self._journal = journal
        self._shift = shift
        self._callers = callers
        self._recent: deque[float] = deque()
        self.totals = Totals()
        self.acknowledged = 0
        self.repeated = 0
        """Calls that were not acknowledged and made again."""

    def rate_per_s(self, *, over_s: float = 3.0) -> float:
        """Orders acknowledged a second, of late."""
        now = time.monotonic()
        while self._recent and self._recent[0] < now - over_s:
            self._recent.popleft()
        return len(self._recent) / over_s

    async def tell(self, baskets: Iterable[Basket], *, per_s: float) -> None:
        """Tell every basket that is an order, `per_s` a second; returns when all are acknowledged."""
        started = time.monotonic()
        queue = self._counted(baskets)
        journal = os.open(self._journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:

                async def call() -> None:
                    for index, basket in queue:
                        await asyncio.sleep(max(0.0, started + index / per_s - time.monotonic()))
                        body = document_of(basket, shift=self._shift)
                        while not await self._told(session, basket, body):
                            self.repeated += 1
                            await asyncio.sleep(_AGAIN_S)
                        os.write(journal, msgspec.json.encode(Acknowledged(basket.number, time.time())) + b"\n")
                        self.acknowledged += 1
                        self._recent.append(time.monotonic())

                async with asyncio.TaskGroup() as group:
                    for number in range(self._callers):
                        group.create_task(call(), name=f"shop caller {number}")
        finally:
            os.close(journal)

    def _counted(self, baskets: Iterable[Basket]) -> Iterator[tuple[int, Basket]]:
        for basket in baskets:
            self.totals.add(basket)
            if basket.lines:
                yield self.totals.orders - 1, basket

    async def _told(self, session: aiohttp.ClientSession, basket: Basket, body: bytes) -> bool:
        timestamp = int(time.time())
        message_id = f"{basket.number}-paid"
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(
                self._keys[basket.shop.name], message_id=message_id, timestamp=timestamp, body=body
            ),
        }
        try:
            async with session.post(f"{self._hooks_url}/{basket.shop.name}", data=body, headers=headers) as answer:
                await answer.read()
                return answer.status == _ACCEPTED
        except (aiohttp.ClientError, TimeoutError):
            return False
