"""What a shop's platform lets us in with, and how many pieces a shop may sell: the values beside orders."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Token(msgspec.Struct, frozen=True, gc=False):
    """An authorisation of one shop. Instants are aware UTC; None where the platform does not say, or it does not end.

    `refresh` is empty where the platform renews nothing: then a person authorises again.
    """

    access: str
    refresh: str = ""
    expires_at: datetime | None = None
    refresh_expires_at: datetime | None = None

    def __post_init__(self) -> None:
        """Refused here, where an adapter makes it: stored, an instant of no time zone would end whoever compares it."""
        if not isinstance(self.access, str) or not isinstance(self.refresh, str):
            raise TypeError("access and refresh of a token are texts")
        for at in (self.expires_at, self.refresh_expires_at):
            if at is not None and (not isinstance(at, datetime) or at.utcoffset() is None):
                raise TypeError("an instant of a token is a datetime with a time zone")

    def __repr__(self) -> str:
        return f"Token(expires_at={self.expires_at!r})"


class Level(msgspec.Struct, frozen=True, gc=False):
    """How many pieces of one item a shop may sell now.

    `sku` is what the shop's orders call it; `item_id` and `sku_id` are the platform's ids of the page and of the
    variant, each empty where the platform needs none.
    """

    sku: str
    quantity: int
    item_id: str = ""
    sku_id: str = ""
