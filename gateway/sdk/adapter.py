"""What an adapter implements: `Source` (its events come in) and `Target` (commands go out), and what it is given.

An adapter is one folder: ``manifest.toml`` (data, read without importing it), ``settings.py``, ``mapping.py`` (pure),
``source.py``, ``target.py``, ``fake.py``. It imports `gateway.sdk` and nothing else of the gateway. A complete one
stands in docs/adapters.md.

What people read of it is in Chinese and English: a setting is `described`, a Settings struct raises `BadSetting`, and
`check` an OrdergateError with a `Text`, a source BadInput with two. A plain text is shown as it is in both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec

from gateway.core.delivery import AfterUnknown, Answer, Delivery, Finding, after_unknown
from gateway.core.errors import OrdergateError
from gateway.core.event import ConnectionName, Event
from gateway.core.order import Facts, Operation
from gateway.core.sound import well_typed as well_typed  # noqa: PLC0414 (for adapters)
from gateway.core.text import NOTHING, Text
from gateway.sdk.carriers import Carriers
from gateway.sdk.http import Http

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

API_VERSION = 1
"""Raised when a change breaks adapters written against the version before."""


class Push(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request to ``/hooks/<connection>``. Header names are lower case; `body` are the raw bytes.

    Bytes of the query and of header values that are not UTF-8 stand in them as lone surrogates: such a text cannot be
    encoded, and belongs in no event.
    """

    method: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    received_at: datetime

    @property
    def traceparent(self) -> str:
        """The header of that name, or nothing when it is not one (W3C Trace Context, section 3.2)."""
        given = self.headers.get("traceparent", "")
        return given if _TRACEPARENT.fullmatch(given) else ""


class Reply(msgspec.Struct, frozen=True):
    """What the sender of a push is answered."""

    status: int
    body: bytes
    content_type: str = "application/json"


UNPROVEN = Reply(
    401,
    msgspec.json.encode(
        {"error": "signature", "message": Text("签名无效", "the sender is not proven"), "advice": NOTHING}
    ),
)
"""What is answered for a bad signature, whatever is wrong with it, and where no connection is: nobody learns more."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What an adapter is built from. `settings` is an instance of the adapter's own Settings.

    `now` is the wall clock (aware UTC). Two instances of one connection share nothing. A Settings class may have a
    property `operations` (a set of Operation) where one connection uses less than the manifest declares. `adapters`:
    connection → name of its adapter, of all that are configured; a WMS may be to know which platform an order is from.
    """

    connection: ConnectionName
    settings: Any
    now: Callable[[], datetime]
    carriers: Carriers
    adapters: Mapping[ConnectionName, str] = {}


class Source(Protocol):
    """The way in of one connection. All methods are synchronous and do no I/O."""

    def __init__(self, setup: Setup) -> None: ...

    def admit(self, push: Push) -> Event:
        """Verify the signature over the raw bytes and wrap them as an event.

        Raises BadSignature when the sender is not proven. A proven sender's bad payload is *not* refused here: it
        becomes an event with whatever order key can be read (or none), so that it is kept.
        """
        ...

    def reply(self, error: OrdergateError | None) -> Reply:
        """The answer in the sender's own dialect; `error` None means the event is durable."""
        ...

    def decode(self, event: Event) -> Facts:
        """What the event says. Pure: same event, same facts.

        Raises BadInput with code `json`, `xml`, `shape` (types or structure changed), `field` (missing or unknown),
        `value`, or `amount`; anything else an adapter raises is contained as code `adapter`. `unread` is for an event
        that stands for an order of which its platform gave nothing: what is read of the order later closes it by
        itself, so its body must hold nothing that could be lost.
        """
        ...


class Target(Protocol):
    """The way out of one connection, per worker."""

    def __init__(self, setup: Setup, http: Http) -> None: ...

    async def send(self, delivery: Delivery, *, deadline_s: float) -> Answer:
        """One attempt. Never retries, never raises for what a target answers: classification is data."""
        ...

    async def find(self, delivery: Delivery, *, deadline_s: float) -> Finding:
        """Ask whether the document of `delivery` exists at the target. Only for operations declared findable.

        A fault of the content, found before anything is asked, is Rejected as in `send`. A target that is well and
        answers, but proves nothing, is Unknown with `answered`: the way to a person, which an outage must not take.
        """
        ...

    async def check(self, *, deadline_s: float) -> None:
        """Reach the target without changing anything there. Raises NotSent, NoAnswer or OrdergateError."""
        ...


class OperationManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an adapter declares about one operation; the gateway derives its policy from it."""

    idempotent: bool
    findable: bool = False
    deadline_s: float = 5.0
    rate_per_s: float | None = None
    burst: int = 10
    in_flight: int = 32
    slow_s: float = 3.0
    adaptive: bool = False

    @property
    def after_unknown(self) -> AfterUnknown:
        return after_unknown(idempotent=self.idempotent, findable=self.findable)


class RateManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The platform's limit on one connection, over everything that is asked of it; the file may lower or raise it."""

    per_s: float
    burst: int = 1


class PullManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a platform wants to be polled.

    `window_s`: the longest span of one question. `delay_s`: so far behind now the newest question may reach.
    `overlap_s`: how much of what was read is read again each time, for rows that appear late. `lookback_s`: how far
    back the platform knows changes.
    """

    window_s: float
    overlap_s: float
    lookback_s: float
    delay_s: float = 0.0
    every_s: float = 30.0
    deadline_s: float = 10.0


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``manifest.toml``. Classes are ``module:attribute`` inside the adapter's folder."""

    name: str
    title: dict[str, str]
    settings: str
    api_version: int = API_VERSION
    source: str | None = None
    target: str | None = None
    authoriser: str | None = None
    notifier: str | None = None
    """A `gateway.sdk.notify.Notifier`: the connection tells people, and moves no orders."""
    operations: dict[Operation, OperationManifest] = {}
    pull: PullManifest | None = None
    """There: `source` is a `gateway.sdk.pull.PullSource`, and source and target are built with an `Access`."""
    rate: RateManifest | None = None
