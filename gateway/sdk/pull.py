"""The way in by asking: what an adapter implements for a shop whose platform is polled, and what it is given.

The engine keeps the cursor, asks window by window, makes every page durable before it asks for the next, and moves the
cursor when a window is through; a crash inside a window asks for it again. Repeats do no harm: an event's id comes
from the business fact. Only one worker polls a shop at a time.

The Settings of such an adapter have a property ``token -> Token``: the authorisation that the configuration gives, with
an empty `access` where it gives none. It is the seed: what the authoriser or a person puts later wins, until the
configuration says another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import msgspec

from gateway.core.access import Level, Token
from gateway.core.delivery import Answer, Failed, Throttled, Unauthorised
from gateway.core.event import Event
from gateway.core.order import Facts
from gateway.sdk.adapter import Setup
from gateway.sdk.http import Http


class Window(msgspec.Struct, frozen=True):
    """A span of the platform's modification times, both ends included, aware UTC, whole seconds."""

    start_at: datetime
    end_at: datetime


class Page(msgspec.Struct, frozen=True):
    """A part of a window. `next` is what `pull` wants to go on from; empty: the window is through.

    An order whose detail cannot be read is an event all the same, with the bytes there are: `decode` refuses it, and it
    is kept as a dead letter.
    """

    events: tuple[Event, ...]
    next: str = ""


Pulled = Page | Failed | Throttled | Unauthorised
"""What one call of `pull` can end in. After anything but a page the engine asks for the same again, later."""


class Budget(Protocol):
    """The connection's share of its platform's rate limit, over pull, write-back and all workers."""

    async def turn(self) -> None:
        """Returns when one more request may leave. Cancelling gives the turn back."""
        ...

    def pause(self, for_s: float) -> None:
        """The platform asked for patience: nobody of this connection gets a turn for so long."""
        ...


class Access(msgspec.Struct, frozen=True):
    """What an adapter of a shop reaches its platform with.

    `token` gives the newest token known to this worker: ask for it before every request, a refresh by another worker
    replaces it. The gate and the poller take a turn of the budget for the first request of a `send`, `find`,
    `set_level` or `pull`; the adapter takes one before every further request.
    """

    http: Http
    budget: Budget
    token: Callable[[], Token]

    async def turn_before(self, until: float) -> bool:
        """Take a turn of the budget; False when none comes before `until` (the event loop's clock)."""
        try:
            async with asyncio.timeout_at(until):
                await self.budget.turn()
        except TimeoutError:
            return False
        return True


class PullSource(Protocol):
    """The way in of one polled connection."""

    def __init__(self, setup: Setup, access: Access) -> None: ...

    async def pull(self, window: Window, position: str, *, deadline_s: float) -> Pulled:
        """One page of what changed in `window`, from `position` (empty: from its beginning).

        Never retries, never raises for what a platform answers. `deadline_s` is for each of its requests. A platform
        whose pages shift while rows change is read so that nothing is left out; an order read twice does no harm.
        """
        ...

    def decode(self, event: Event) -> Facts:
        """As for `Source.decode`."""
        ...


class Authoriser(Protocol):
    """Renews the token of one connection. Called by one worker at a time, and never twice for one token."""

    def __init__(self, setup: Setup, access: Access) -> None: ...

    async def refresh(self, token: Token, *, deadline_s: float) -> Token | Failed | Throttled | Unauthorised:
        """The token that replaces `token`. Unauthorised: only a person can authorise this shop again."""
        ...


class LevelTarget(Protocol):
    """The part of a Target that takes stock levels (operation `stock`)."""

    async def set_level(self, level: Level, *, deadline_s: float) -> Answer:
        """Have the shop sell `level.quantity` pieces from now on: an absolute number, so a repeat does no harm."""
        ...
