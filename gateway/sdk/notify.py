"""What an adapter that tells people something implements: `Notifier`, and what it is given to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from gateway.core.delivery import Answer
from gateway.sdk.adapter import Setup
from gateway.sdk.http import Http


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody to be told, by as many ways as are known."""

    name: str
    userid: str = ""
    mobile: str = ""
    email: str = ""

    def __repr__(self) -> str:
        return f"Person({self.name!r})"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message. `key` is the same when it is sent again because nobody knows whether it arrived.

    `title` is one line and `text` begins with it; `text` is within the notifier's `text_bytes`. `outlet` is one of the
    notifier's own.
    """

    key: str
    title: str
    text: str
    people: tuple[Person, ...] = ()
    outlet: str


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one outlet takes: `messages` in any `window_s`, each of at most `text_bytes` in UTF-8.

    `patience_s`: so much longer than its deadline an attempt may last, once the message has been handed over.
    """

    messages: int
    window_s: float
    text_bytes: int
    patience_s: float = 0.0


class Notifier(Protocol):
    """A medium. `outlets` are what has a rate of its own (a robot, an application), named without a secret in it."""

    outlets: Sequence[str]
    limits: Limits

    def __init__(self, setup: Setup, http: Http) -> None: ...

    async def notify(self, message: Message, *, deadline_s: float) -> Answer:
        """One attempt. Never retries, never raises for what the medium answers; done after `deadline_s`, and the
        `patience_s` of its limits.

        `Done`: taken; `reference` may say for whom it was not. `Failed`: certainly not taken, later perhaps.
        `Throttled`: over the medium's rate. `Rejected`: this content will never be taken. `Unauthorised`: the outlet
        takes nothing from us, whatever it says (robot removed, password changed, nobody there whom it may tell).
        `Unknown`: it left, and no answer came.
        """
        ...

    async def check(self, *, deadline_s: float) -> None:
        """Reach the medium without telling anybody anything. Raises NotSent, NoAnswer or OrdergateError."""
        ...
