"""Settings of one Taobao or Tmall shop."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.sdk.models import RefundStatus, Token, described

URL = Annotated[str, Meta(pattern=r"^https?://[^\s?]+$")]
Secret = Annotated[str, Meta(min_length=1)]

Stand = Literal["unpaid", "paid", "held", "shipped", "finished", "cancelled", "closed"]
"""What a status of a trade means to us. `cancelled`: before payment, `closed`: after it."""

TYPES = (
    "fixed",
    "auction",
    "guarantee_trade",
    "auto_delivery",
    "independent_simple_trade",
    "independent_shop_trade",
    "ec",
    "cod",
    "fenxiao",
    "game_equipment",
    "shopex_trade",
    "netcn_trade",
    "external_trade",
    "o2o_offlinetrade",
    "step",
    "nopaid",
    "pre_auth_type",
)
"""Every kind of trade the vendor lists. Without `type` only five of them are returned."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One shop that has authorised the app `app_key`.

    `access_token`, `refresh_token` and the two instants are what the authorisation page handed out; from then on the
    gateway renews them, where the platform lets this kind of app do so.
    """

    app_key: Annotated[str, Meta(min_length=1)]
    app_secret: Secret
    access_token: Secret
    refresh_token: Annotated[
        str, described("为空：到期后由人重新授权", "empty: a person authorises again when the token ends")
    ] = ""
    expires_at: (
        Annotated[datetime, described("`access_token` 何时到期", "when `access_token` ends", tz=True)] | None
    ) = None
    refresh_expires_at: Annotated[datetime, Meta(tz=True)] | None = None
    url: URL = "https://gw.api.taobao.com/router/rest"
    token_url: URL = "https://oauth.taobao.com/token"
    sign_method: Literal["md5", "hmac", "hmac-sha256"] = "md5"
    types: Annotated[
        tuple[str, ...], described("读取的交易类型", "the kinds of trades that are read", min_length=1)
    ] = TYPES
    page_size: Annotated[
        int, described("每页条数；官方建议 40 到 50", "rows a page; the vendor advises 40 to 50", ge=1, le=100)
    ] = 50
    details_at_once: Annotated[
        int, described("同时查询的订单详情数", "order details asked for at the same time", ge=1, le=16)
    ] = 4
    detail_tries: Annotated[
        int,
        described(
            "同一订单的详情，平台失败这么多次、而其他订单的详情正常时，转为死信",
            "so often one trade's detail may fail before it is set aside, where the platform gives that of others",
            ge=1,
        ),
    ] = 10
    statuses: Annotated[
        dict[str, Stand], described("表中没有的交易状态", "statuses of trades that the table does not know")
    ] = {}
    refund_statuses: Annotated[
        dict[str, RefundStatus | None],
        described(
            "表中没有的 `refund_status`；null 为没有退款",
            "`refund_status` texts that the table does not know; null: no refund",
        ),
    ] = {}

    @property
    def token(self) -> Token:
        """The authorisation as configured."""
        return Token(self.access_token, self.refresh_token, self.expires_at, self.refresh_expires_at)

    def __repr__(self) -> str:
        """Without the secrets: settings end up in messages."""
        return f"Settings(app_key={self.app_key!r}, url={self.url!r})"
