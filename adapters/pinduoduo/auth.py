"""Renewing a shop's authorisation, as far as this platform renews anything."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from adapters.pinduoduo import wire
from gateway.sdk.adapter import Setup
from gateway.sdk.models import Failed, Throttled, Token, Unauthorised
from gateway.sdk.pull import Access


class PinduoduoAuthoriser:
    """`pdd.pop.auth.token.refresh`.

    A refresh gives a new pair but, by the vendor, no longer life: `expires_at` of the answer is what counts. So a
    refresh answers whether the authorisation still holds, and when that is over only a person helps: the shop
    authorises again, which ends the old pair at once, and the new one is written into the configuration.
    """

    def __init__(self, setup: Setup, access: Access) -> None:
        self._now = setup.now
        self._router = wire.Router(setup, access)

    async def refresh(self, token: Token, *, deadline_s: float) -> Token | Failed | Throttled | Unauthorised:
        """The pair that replaces `token`. Unauthorised where there is no refresh token, the platform takes it no more,
        or what it gives has ended already. An answer that is lost is Failed: the same token may be tried again. So is
        a refusal with a code that nobody knows: were the authorisation over, every request would say so."""
        if not token.refresh:
            return Unauthorised("no_refresh_token", "the shop has to be authorised again")
        answer = await self._router.call(wire.REFRESH, {"refresh_token": token.refresh}, deadline_s=deadline_s)
        if not isinstance(answer, bytes):
            return wire.as_later(answer)
        try:
            given = _read(answer)
            expires_at = _instant(given.expires_at)
            refresh_expires_at = _instant(given.refresh_token_expires_at)
        except (msgspec.DecodeError, ValueError, OverflowError, OSError):
            return Failed("shape", "the answer to a refresh cannot be read")
        if expires_at is not None and expires_at <= self._now():
            return Unauthorised("expired", "a refresh does not lengthen it: the shop has to be authorised again")
        return Token(given.access_token, given.refresh_token or token.refresh, expires_at, refresh_expires_at)


class _Given(msgspec.Struct, frozen=True):
    """Instants are UNIX seconds, in some answers as text."""

    access_token: str
    refresh_token: str | None = None
    expires_at: int | None = None
    refresh_token_expires_at: int | None = None


def _instant(stamp: int | None) -> datetime | None:
    return datetime.fromtimestamp(stamp, UTC) if stamp else None


_read = msgspec.json.Decoder(_Given, strict=False).decode
