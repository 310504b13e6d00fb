"""HTTP out, for adapters: one POST or GET with a deadline, and errors that say whether the request may have arrived.

The client is pyreqwest (why: `docs/decisions/0002-http-client.md`). Redirects are off and proxies from the
environment are ignored: a target is where its settings say it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import msgspec
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import (
    BuilderError,
    ConnectError,
    ConnectTimeoutError,
    PoolTimeoutError,
    RequestError,
    RequestTimeoutError,
)

from gateway.core.delivery import Failed, Unknown


class NotSent(Exception):
    """The request certainly did not reach the target (no connection, no slot): sending again is safe.

    `code` is one of `connect`, `connect_timeout`, `pool`, `url`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    def as_failed(self) -> Failed:
        return Failed(self.code, self.message)


class NoAnswer(Exception):
    """The request left, or may have left, and no whole answer came back: nobody knows what the target did."""

    def __init__(self, code: str, message: str, *, timeout: bool) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.timeout = timeout

    def as_unknown(self) -> Unknown:
        return Unknown(self.code, self.message, timeout=self.timeout)


class HttpReply(msgspec.Struct, frozen=True, gc=False):
    """A whole answer. Header names are lower case; only the few an adapter may need are kept."""

    status: int
    body: bytes
    retry_after: str | None = None


class Http:
    """A pool of keep-alive connections. One per connection × worker; use as an async context manager.

    `connections` bounds the sockets; the gate's in-flight limit stays at or below it.
    """

    def __init__(self, *, connections: int, connect_timeout_s: float = 3.0, ca_pem: bytes | None = None) -> None:
        builder = (
            ClientBuilder()
            .max_connections(connections)
            .pool_max_idle_per_host(connections)
            .pool_idle_timeout(timedelta(seconds=20))
            .connect_timeout(timedelta(seconds=connect_timeout_s))
            .follow_redirects(False)
            .tcp_nodelay(True)
            .http1_only()
            .no_proxy()
            .user_agent("ordergate")
        )
        if ca_pem is not None:
            builder = builder.add_root_certificate_pem(ca_pem)
        self._client: Client = builder.build()

    async def __aenter__(self) -> Http:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def request(
        self, method: str, url: str, *, deadline_s: float, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> HttpReply:
        """The target's answer, whatever its status.

        Raises NotSent where the request cannot have arrived and NoAnswer where it may have. A cancel leaves the
        request's fate unknown, like NoAnswer.
        """
        try:
            builder = self._client.request(method, url).timeout(timedelta(seconds=deadline_s))
            if body:
                builder = builder.body_bytes(body)
            if headers:
                builder = builder.headers(headers)
            response = await builder.build().send()
            return HttpReply(response.status, bytes(await response.bytes()), response.get_header("retry-after"))
        except PoolTimeoutError as error:
            raise NotSent("pool", "no connection became free in time") from error
        except (BuilderError, ValueError) as error:
            raise NotSent("url", _brief(error)) from error
        except (ConnectTimeoutError, ConnectError) as error:
            if _never_connected(error):
                code = "connect_timeout" if isinstance(error, ConnectTimeoutError) else "connect"
                raise NotSent(code, _brief(error)) from error
            if isinstance(error, ConnectTimeoutError):
                raise NoAnswer("timeout", f"no answer within {deadline_s:g} s", timeout=True) from error
            raise NoAnswer("connection_lost", _brief(error), timeout=False) from error
        except RequestTimeoutError as error:
            raise NoAnswer("timeout", f"no answer within {deadline_s:g} s", timeout=True) from error
        except RequestError as error:
            raise NoAnswer("connection_lost", _brief(error), timeout=False) from error

    async def post(
        self, url: str, body: bytes, *, deadline_s: float, headers: Mapping[str, str] | None = None
    ) -> HttpReply:
        return await self.request("POST", url, deadline_s=deadline_s, body=body, headers=headers)


LONGEST_RETRY_AFTER_S = 86_400.0


def retry_after_s(text: str | None, *, now: datetime) -> float | None:
    """Seconds to wait by a `retry-after` header (a count of seconds or an HTTP date); None when absent or unreadable.

    Never negative and at most a day. RFC 9110 section 10.2.3.
    """
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_RETRY_AFTER_S)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max((until - now).total_seconds(), 0.0), LONGEST_RETRY_AFTER_S)


def _never_connected(error: RequestError) -> bool:
    """Whether the library proves that no connection came about, so that nothing can have been sent.

    Its classes do not: 0.15 raises ConnectTimeoutError for any late answer, and ConnectError for a connection that was
    lost after the request had been sent. The chain of causes does; a wording we do not know counts as sent.
    """
    return "client error (Connect)" in _causes(error)


def _causes(error: Exception) -> list[str]:
    details = getattr(error, "details", None)
    causes = details.get("causes", []) if isinstance(details, dict) else []
    return [str(cause.get("message", "")) for cause in causes]


def _brief(error: Exception) -> str:
    """What happened, without the URL, which may carry a signature."""
    causes = [cause for cause in _causes(error) if "http" not in cause]
    return (causes[-1] if causes else type(error).__name__)[:200]
