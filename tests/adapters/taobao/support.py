"""What the tests of the Taobao adapter share: a budget that counts, a shop whose clock stands still, and set-ups."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from adapters.taobao.fake import Clock, FakeLine, FakeShop
from adapters.taobao.settings import Settings
from gateway.sdk.adapter import Setup
from gateway.sdk.carriers import load_carriers
from gateway.sdk.http import Http
from gateway.sdk.models import ConnectionName, Token
from gateway.sdk.pull import Access

START = datetime(2026, 5, 1, 1, 30, tzinfo=UTC)
CUP = FakeLine(sku="CUP-RED", quantity=2, price_minor=3490, discount_minor=1000, name="陶瓷杯")


class CountingBudget:
    """Lets everybody go, and counts."""

    def __init__(self) -> None:
        self.turns = 0

    async def turn(self) -> None:
        self.turns += 1

    def pause(self, for_s: float) -> None: ...


class Shop:
    """A fake shop with a clock that stands, and what an adapter needs to reach it."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock(START, speed=0)
        self.fake = FakeShop(secret="s", session="t0", refresh_token="r0", now=self.clock.now, **options)
        self.budget = CountingBudget()
        self.tokens = [Token("t0", "r0")]
        """The newest token last; with more than one, each look takes the first away."""

    def setup(self, *, now: Callable[[], datetime] | None = None, **settings: Any) -> Setup:
        return Setup(
            connection=ConnectionName("shop-tb"),
            settings=Settings(
                **{
                    "app_key": "12345678",
                    "app_secret": "s",
                    "access_token": "t0",
                    "refresh_token": "r0",
                    "url": f"{self.fake.url}/router/rest",
                    "token_url": f"{self.fake.url}/token",
                    **settings,
                }
            ),
            now=now or self.clock.now,
            carriers=load_carriers(),
        )

    def access(self, http: Http) -> Access:
        return Access(http, self.budget, self._token)

    def _token(self) -> Token:
        return self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]
