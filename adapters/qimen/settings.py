"""Settings of one Qimen connection."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from gateway.sdk.models import ProgressStep


class Match(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a WMS says something: its `code`, exactly, and a part of its `message`, a regular expression. Both given:
    both have to fit."""

    code: str | None = None
    message: str | None = None

    def __post_init__(self) -> None:
        if not (self.code or self.message):
            raise ValueError("a rule needs `code` or `message`")
        try:
            re.compile(self.message or "")
        except re.error as error:
            raise ValueError(f"`message` is not a regular expression: {error}") from error


class Sender(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who the parcels come from."""

    name: str
    mobile: str
    province: str
    city: str
    detail: str
    area: str = ""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One WMS behind the Qimen gateway, or one that speaks the protocol itself.

    What the standard leaves to every WMS is data here: `not_found`, `already_done`, `cancel_refused`.
    Without a rule in `not_found`, a document is never taken for missing, and a create whose fate is unknown waits for
    a person.
    """

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s?]+$", description="without the query")]
    app_key: Annotated[str, msgspec.Meta(description="from the Qimen console, or the WMS")]
    secret: Annotated[str, msgspec.Meta(min_length=1, description="belongs to `app_key`; signs what goes out and in")]
    customer_id: Annotated[str, msgspec.Meta(description="`customerId`: which WMS of the platform is meant")]
    owner_code: Annotated[str, msgspec.Meta(description="`ownerCode`: whose goods they are, as the WMS calls you")]
    shop_nick: Annotated[str, msgspec.Meta(description="`shopNick` of the delivery orders")]
    sender: Annotated[Sender, msgspec.Meta(description="who the parcels come from")]
    logistics_code: Annotated[
        str, msgspec.Meta(description="carrier the WMS is asked for; `OTHER` leaves it to the WMS")
    ] = "OTHER"
    warehouse_code: Annotated[str, msgspec.Meta(description="for orders routed without a warehouse")] = "OTHER"
    order_type: Annotated[str, msgspec.Meta(description="`orderType`; JYCK is a sale")] = "JYCK"
    platform_code: Annotated[str, msgspec.Meta(description="`sourcePlatformCode` of shops not in `platform_codes`")] = (
        "OTHER"
    )
    platform_codes: Annotated[dict[str, str], msgspec.Meta(description="shop connection → TB, TM, JD, DD, ...")] = {}
    not_found: Annotated[
        tuple[Match, ...], msgspec.Meta(description="what `deliveryorder.query` answers for an unknown order")
    ] = ()
    not_found_when_empty: Annotated[
        bool, msgspec.Meta(description="a successful query without a document also means: unknown order")
    ] = False
    already_done: Annotated[
        tuple[Match, ...], msgspec.Meta(description="answers to a repeated create; believed after a query only")
    ] = (Match(message=r"(?i)已存在|重复|duplicate|already exist"),)
    cancel_refused: Annotated[
        tuple[Match, ...], msgspec.Meta(description="answers that say it is too late to cancel")
    ] = (Match(message=r"(?i)已出库|已发货|已拣货|不能取消|不允许取消|无法取消|CANCELEDFAIL"),)
    uncommitted_statuses: Annotated[
        tuple[int, ...],
        msgspec.Meta(
            description="HTTP statuses after which the WMS certainly has nothing; any other 5xx is unknown. 503 is what"
            " a proxy says with no WMS behind it; empty the list where the WMS may say so after it took the order"
        ),
    ] = (503,)
    process_status: Annotated[
        dict[str, ProgressStep], msgspec.Meta(description="statuses of this WMS beside the standard's → 10/20/30/40/90")
    ] = {}

    def __repr__(self) -> str:
        """Without the secret: settings end up in messages."""
        return f"Settings(url={self.url!r}, app_key={self.app_key!r}, customer_id={self.customer_id!r})"
