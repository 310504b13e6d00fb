"""HTTP out, for adapters: one POST or GET with a deadline, and errors that say whether the request may have arrived.

Redirects are not followed and proxies from the environment are ignored: a target is where its settings say it is.
Why not a ready client: `docs/decisions/0002-http-client.md`.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from gateway.core.clock import Reading, reading
from gateway.core.delivery import Failed, Rejected, Unknown
from gateway.core.text import Text, system_reason
from gateway.core.words import ANSWERS
from gateway.sdk.wire import Departures, Lost, Origin, Wire
from gateway.sdk.wire import HttpReply as HttpReply  # noqa: PLC0414 (for adapters)


class NotSent(Exception):
    """The request certainly did not reach the target (no connection, no slot): sending again is safe.

    `code` is one of `connect`, `connect_timeout`, `tls`, `pool`, `url`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    @property
    def text(self) -> Text:
        return in_words(self.code, self.message, self.__cause__)

    def as_answer(self) -> Failed | Rejected:
        """Rejected for `url`: what cannot be put into a request will not fit into the next one either."""
        return Rejected(self.code, self.message) if self.code == "url" else Failed(self.code, self.message)


class NoAnswer(Exception):
    """The request left, or may have left, and no whole answer came back: nobody knows what the target did."""

    def __init__(self, code: str, message: str, *, timeout: bool) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.timeout = timeout

    @property
    def text(self) -> Text:
        return in_words(self.code, self.message, self.__cause__)

    def as_unknown(self) -> Unknown:
        return Unknown(self.code, self.message, timeout=self.timeout)


_IN_OTHERS_WORDS = frozenset({"connect", "tls"})
"""The message is the system's; of the other codes it is ours, and says in English what stands above."""


def in_words(code: str, message: str, cause: BaseException | None = None) -> Text:
    """Why there is no answer, for a person; a code of others stands as it is."""
    en = f"{code}: {message}" if message and not message.startswith(code) else message or code
    if code not in ANSWERS:
        return Text(en, en)
    said = ANSWERS[code].zh
    detail = system_reason(cause).zh if isinstance(cause, OSError) else message
    return Text(f"{said}：{detail}" if code in _IN_OTHERS_WORDS and detail else said, en)


_SWEEP_S = 0.05
_LOOK_EVERY_S = 10.0


class Http:
    """A pool of keep-alive connections. One per connection × worker; use as an async context manager.

    `connections` bounds the sockets per origin; the gate's in-flight limit stays at or below it. Certificates are
    verified against the system's authorities, or those in `ca_pem`.
    """

    def __init__(self, *, connections: int, connect_timeout_s: float = 3.0, ca_pem: str | None = None) -> None:
        self._connections = connections
        self._connect_timeout_s = connect_timeout_s
        self._ca_pem = ca_pem
        self._origins: dict[str, tuple[Origin, bytes]] = {}
        self._last: tuple[str, tuple[Origin, bytes, str]] | None = None
        self._due: dict[asyncio.Future[HttpReply], float] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._look_at = 0.0
        self.reading: Reading | None = None
        """The other side's clock by the `Date` of an answer, read every 10 s while there are any."""

    async def __aenter__(self) -> Http:
        self._loop = asyncio.get_running_loop()  # asking for it costs a system call each time
        self._departures = Departures(self._loop)
        return self

    async def __aexit__(self, *_: object) -> None:
        for origin, _host in self._origins.values():
            origin.close()
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def request(
        self, method: str, url: str, *, deadline_s: float, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> HttpReply:
        """The target's answer, whatever its status; the deadline is kept to 50 ms.

        Raises NotSent where the request cannot have arrived and NoAnswer where it may have. A cancel leaves the
        request's fate unknown, like NoAnswer. Header names and values are ASCII, `url` is percent-encoded.
        """
        origin, host, path = self._origin(url)
        request = _request(method, path, host, headers, body)
        loop = self._loop
        began = loop.time()
        ends_at = began + deadline_s
        wire = origin.idle() or await self._connected(origin, ends_at, loop)
        sent_s = None
        if began >= self._look_at:
            self._look_at = began + _LOOK_EVERY_S
            wire.head, sent_s = None, time.monotonic()
        answer = wire.send(request, ends_at=ends_at)
        self._due[answer] = ends_at
        if self._sweeper is None:
            self._sweeper = loop.call_later(_SWEEP_S, self._sweep)
        try:
            reply = await answer
            if sent_s is not None:
                self._read_clock(wire, sent_s)
            return reply
        except Lost as error:
            if not error.sent:
                raise NotSent("connect", str(error)) from error
            raise NoAnswer("connection_lost", str(error), timeout=False) from error
        except _Expired as error:
            unsent = wire.unsent
            wire.abort()
            if unsent:
                raise NotSent("pool", "its turn came after the deadline") from error
            raise NoAnswer("timeout", f"no answer within {deadline_s:g} s", timeout=True) from error
        except asyncio.CancelledError:
            wire.abort()
            raise
        finally:
            del self._due[answer]
            origin.give_back(wire)

    def post(
        self, url: str, body: bytes, *, deadline_s: float, headers: Mapping[str, str] | None = None
    ) -> Coroutine[None, None, HttpReply]:
        """`request` with POST."""
        return self.request("POST", url, deadline_s=deadline_s, body=body, headers=headers)

    def _read_clock(self, wire: Wire, sent_s: float) -> None:
        head, wire.head = wire.head, b""
        shown_at = date_of(head or b"")
        if shown_at is not None:
            received_s = time.monotonic()
            read = reading(shown_at.timestamp(), resolution_s=1.0, sent_s=sent_s, received_s=received_s)
            self.reading = read or self.reading

    def _sweep(self) -> None:
        """End the waits whose deadline has passed. One timer for all: one per request costs more than its parsing."""
        loop = self._loop
        now = loop.time()
        for answer, ends_at in self._due.items():
            if ends_at <= now and not answer.done():
                answer.set_exception(_Expired())
        self._sweeper = loop.call_later(_SWEEP_S, self._sweep) if self._due else None

    def _origin(self, url: str) -> tuple[Origin, bytes, str]:
        """Connections for `url`, its Host header, and what stands in the request line. Raises NotSent."""
        same = self._last
        if same is not None and same[0] == url:
            return same[1]
        start = url.find("/", 8)
        query = url.find("?", 8, start if start > 0 else len(url))
        if query > 0:  # http://host?query: the path is empty
            base, path = url[:query], "/" + url[query:]
        else:
            base, path = (url, "/") if start < 0 else (url[:start], url[start:])
        known = self._origins.get(base)
        if known is None:
            known = self._origins[base] = self._new_origin(base)
        self._last = (url, (*known, path))
        return self._last[1]

    def _new_origin(self, base: str) -> tuple[Origin, bytes]:
        try:
            parts = urlsplit(base)
            port = parts.port
            name = (parts.hostname or "").encode("idna")
        except ValueError as error:  # UnicodeError, too: a name with a part that is empty or over 63 characters
            raise NotSent("url", f"the URL cannot be read: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
            raise NotSent("url", "the URL is not http(s)://host[:port]/path")
        tls = None
        if parts.scheme == "https":
            tls = ssl.create_default_context(cadata=self._ca_pem)
        origin = Origin(
            parts.hostname,
            port or (443 if tls is not None else 80),
            tls=tls,
            limit=self._connections,
            loop=self._loop,
            departures=self._departures,
        )
        # A port is no part of the name: encoded with it, it would be taken for a part of the last label.
        host = parts.netloc.encode() if parts.netloc.isascii() else name + (b"" if port is None else b":%d" % port)
        return origin, host

    async def _connected(self, origin: Origin, ends_at: float, loop: asyncio.AbstractEventLoop) -> Wire:
        try:
            async with asyncio.timeout_at(ends_at):
                return await origin.take(connect_within_s=self._connect_timeout_s)
        except TimeoutError as error:
            if loop.time() >= ends_at:
                raise NotSent("pool", "no connection became free in time") from error
            raise NotSent("connect_timeout", f"nobody answers within {self._connect_timeout_s:g} s") from error
        except ssl.SSLError as error:
            # Of a certificate that it has expired, or is for another name; the reason only says that it is not good.
            said = getattr(error, "verify_message", "") or error.reason or type(error).__name__
            raise NotSent("tls", said) from error
        except OSError as error:
            raise NotSent("connect", error.strerror or type(error).__name__) from error


LONGEST_RETRY_AFTER_S = 86_400.0
_SECONDS = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?", re.ASCII)


def retry_after_s(text: str | None, *, now: datetime) -> float | None:
    """Seconds to wait by a `retry-after` header; None when it is absent or says nothing usable.

    Both forms of RFC 9110 section 10.2.3, with the three date formats of section 5.6.7, and fractions of a second,
    which some platforms send. Never negative and at most a day: "120" is 120.0, "0.3" is 0.3, a date that has passed
    0.0. `now` is aware.
    """
    if text is None:
        return None
    text = text.strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), LONGEST_RETRY_AFTER_S)
    until = _instant(text)
    return None if until is None else min(max((until - now).total_seconds(), 0.0), LONGEST_RETRY_AFTER_S)


_DATE = re.compile(rb"\r\ndate:[ \t]*([^\r\n]+)\r\n", re.IGNORECASE)
# 0 is what a cache says that has asked for this very answer.
_AGED = re.compile(rb"\r\nage:(?![ \t0]*\r\n)", re.IGNORECASE)


def date_of(head: bytes) -> datetime | None:
    """When the server says that it made the answer which begins with `head`; None where it does not say.

    `Date` (RFC 9110, section 6.6.1), in whole seconds. An answer with an `Age` comes from a cache, and its date with it
    (RFC 9111, section 5.1).
    """
    lines, end, _ = head.partition(b"\r\n\r\n")
    head = lines + end[:2]  # the last line of what was cut off may be half a date
    found = _DATE.search(head)
    return None if found is None or _AGED.search(head) else _instant(found[1].decode("latin-1").strip())


def _instant(text: str) -> datetime | None:
    """An HTTP date in any of its three formats (RFC 9110, section 5.6.7), in UTC."""
    try:
        at = parsedate_to_datetime(text)
        # asctime form, or zone "-0000": both are UTC here
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


class _Expired(Exception):
    """The deadline of a request is over."""


def _request(method: str, path: str, host: bytes, headers: Mapping[str, str] | None, body: bytes) -> bytes:
    """The request as it goes on the wire. Raises NotSent for what would break out of its place."""
    lines = [f"{method} {path} HTTP/1.1"]
    if headers:
        lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append(f"content-length: {len(body)}\r\nuser-agent: ordergate\r\nhost: ")
    head = "\r\n".join(lines)
    # One line per part and the two of the last: more means a line break inside a value.
    if (
        not head.isascii()
        or head.count("\n") != len(lines) + 1
        or path.count(" ")
        or head.count("\r") != len(lines) + 1
    ):
        raise NotSent("url", "URL and headers must be ASCII, percent-encoded, and on one line each")
    return b"".join((head.encode("ascii"), host, b"\r\n\r\n", body))
