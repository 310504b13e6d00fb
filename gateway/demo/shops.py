"""The shops' side: buyers place their orders, at the platforms or in the mini-program, as the day goes.

An order on a platform stands there, and whoever is to deliver it has to find it. One of the mini-program is told by a
signed webhook, again and again until it is acknowledged. Either way it is journaled then: a line of the journal stands
for an order that a buyer has paid for, and it is what the verdict goes by.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import aiohttp
import msgspec

from gateway.demo.baskets import Basket, Totals, bought_s, document_of
from gateway.demo.platforms import Platforms
from gateway.sdk.signing import decode_secret, sign

_AGAIN_S = 0.2
_ACCEPTED = 202
_CALLERS = 12
_LATELY_S = 3.0


class Acknowledged(msgspec.Struct, frozen=True):
    """One line of the journal."""

    number: str
    at: float


class Placed(msgspec.Struct, frozen=True):
    """An order that a shop has, and since when (epoch, s)."""

    basket: Basket
    at: float


SURGE = 4.0
"""Orders +300 %."""
SURGES = 0.2
_AS_LONG = SURGES + (1 - SURGES) * SURGE
"""A day without the surge would take so many times as long."""


TIME_LAPSE = 1_000.0
"""An hour of the shops is 3.6 s before the surge, and 0.9 s in it: some 33 orders, which makes about nine a second."""
AT_LEAST_S = 12.0


class Day(msgspec.Struct, frozen=True):
    """When orders are placed: in the rhythm in which the baskets were bought, in time-lapse, and from `SURGES` of the
    time on `SURGE` times as fast on top. `bought_s` are those of `gateway.demo.baskets.bought_s`, `time_lapse` is by
    how much faster the shops' clock runs here before the surge."""

    bought_s: Sequence[float]
    time_lapse: float

    @property
    def during_s(self) -> float:
        return self._span_s / self.time_lapse / _AS_LONG

    @property
    def per_s(self) -> float:
        """Orders a second before the surge, on the average of all baskets."""
        return len(self.bought_s) / self._span_s * self.time_lapse

    def at_s(self, index: int) -> float:
        """When the order `index` is placed, from the beginning."""
        quiet_s = self.during_s * SURGES
        at_s = self.bought_s[index] / self.time_lapse
        return at_s if at_s < quiet_s else quiet_s + (at_s - quiet_s) / SURGE

    @property
    def _span_s(self) -> float:
        return max(1.0, self.bought_s[-1])


def day_of(baskets: Iterable[Basket], *, per_s: float | None = None) -> Day:
    """The day on which the orders among `baskets` are sold, in the sequence of purchase.

    Without `per_s` (orders a second before the surge) in `TIME_LAPSE`, slower for so few orders that nothing would be
    seen: 2,000 take 55 to 75 s, and none less than `AT_LEAST_S`.
    """
    times = bought_s(basket for basket in baskets if basket.lines)
    usual = Day(times, TIME_LAPSE)
    if per_s is not None:
        return Day(times, TIME_LAPSE * per_s / usual.per_s)
    return Day(times, TIME_LAPSE * min(1.0, usual.during_s / AT_LEAST_S))


class Shops:
    """Places baskets as orders; counts as it goes. `totals` is what was placed, pieces and amounts."""

    def __init__(
        self,
        *,
        hooks_url: str,
        secrets: Mapping[str, str],
        platforms: Platforms,
        journal: Path,
        shift: timedelta,
    ) -> None:
        self._hooks_url = hooks_url
        self._platforms = platforms
        self._keys = {shop: decode_secret(secret) for shop, secret in secrets.items()}
        self._journal = journal
        self._shift = shift
        self._recent: deque[float] = deque()
        self.totals = Totals()
        self.placed: dict[str, Placed] = {}
        """What is in the journal, by our number, the oldest first."""
        self.repeated = 0
        """Calls that were not acknowledged and made again."""

    @property
    def acknowledged(self) -> int:
        return len(self.placed)

    def rate_per_s(self) -> float:
        """Orders acknowledged a second, of late."""
        now = time.monotonic()
        while self._recent and self._recent[0] < now - _LATELY_S:
            self._recent.popleft()
        return len(self._recent) / _LATELY_S

    async def sell(self, baskets: Iterable[Basket], day: Day) -> None:
        """Place every basket that is an order, as fast as the day goes; returns when all are journaled."""
        started = time.monotonic()
        queue = self._counted(baskets)
        journal = os.open(self._journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:

                async def call() -> None:
                    for index, basket in queue:
                        await asyncio.sleep(max(0.0, started + day.at_s(index) - time.monotonic()))
                        if basket.shop.platform == "webhook":
                            await self._tell(session, basket)
                        else:
                            self._platforms.place(basket)
                        placed = Placed(basket, time.time())
                        os.write(journal, msgspec.json.encode(Acknowledged(basket.number, placed.at)) + b"\n")
                        self.placed[basket.number] = placed
                        self._recent.append(time.monotonic())

                async with asyncio.TaskGroup() as group:
                    for number in range(_CALLERS):
                        group.create_task(call(), name=f"shop caller {number}")
        finally:
            os.close(journal)

    def _counted(self, baskets: Iterable[Basket]) -> Iterator[tuple[int, Basket]]:
        for basket in baskets:
            self.totals.add(basket)
            if basket.lines:
                yield self.totals.orders - 1, basket

    async def _tell(self, session: aiohttp.ClientSession, basket: Basket) -> None:
        body = document_of(basket, shift=self._shift)
        while not await self._told(session, basket, body):
            self.repeated += 1
            await asyncio.sleep(_AGAIN_S)

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
