"""One shop for these tests: what the adapter is built with, and a clock that only moves when it is told to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from adapters.pinduoduo.fake import FakePinduoduo
from adapters.pinduoduo.settings import Settings
from gateway.sdk.adapter import Setup
from gateway.sdk.carriers import load_carriers
from gateway.sdk.http import Http
from gateway.sdk.models import ConnectionName, Token
from gateway.sdk.pull import Access

START = datetime(2026, 5, 1, 1, 30, tzinfo=UTC)


class Clock:
    """`now` of the fake and of the adapter."""

    def __init__(self, at: datetime = START) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **span: float) -> None:
        self.at += timedelta(**span)


class CountingBudget:
    """Gives every turn at once, and counts."""

    def __init__(self) -> None:
        self.turns = 0
        self.pauses: list[float] = []

    async def turn(self) -> None:
        self.turns += 1

    def pause(self, for_s: float) -> None:
        self.pauses.append(for_s)


def settings_for(url: str, **changes: Any) -> Settings:
    settings = Settings(client_id="fake-client", client_secret="fake-secret", access_token="T1", url=url)
    return msgspec.structs.replace(settings, **changes)


def setup_for(url: str, *, now: Callable[[], datetime] = lambda: START, **changes: Any) -> Setup:
    return Setup(
        connection=ConnectionName("pdd-1"), settings=settings_for(url, **changes), now=now, carriers=load_carriers()
    )


def access_to(
    http: Http, *, budget: CountingBudget | None = None, token: Callable[[], Token] = lambda: Token("T1")
) -> Access:
    return Access(http, budget or CountingBudget(), token)


def access_of(fake: FakePinduoduo, http: Http, *, budget: CountingBudget | None = None) -> Access:
    """With the token that is good at `fake`, whatever it is by then."""
    return access_to(http, budget=budget, token=lambda: Token(fake.access_token, fake.refresh_token, fake.expires_at))
