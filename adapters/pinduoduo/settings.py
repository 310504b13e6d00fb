"""Settings of one Pinduoduo shop."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from gateway.sdk.models import RefundStatus, Token, described


class Meaning(enum.StrEnum):
    """What an error code says about the next request."""

    THROTTLED = "throttled"
    """Too many requests; this one was not looked at."""
    UNAUTHORISED = "unauthorised"
    """The shop's authorisation is over, or the platform has shut us out: everything waits for a person."""
    CONFIGURATION = "configuration"
    """Our application is set up wrongly: the queue is kept, and goes on by itself once that is repaired."""
    DEGRADED = "degraded"
    """Switched off for now; nothing was done."""
    INTERNAL = "internal"
    """Failed inside the platform: whether anything was done is not known."""
    REJECTED = "rejected"
    """This content is refused."""


class Refunds(enum.StrEnum):
    """What is known of a refund that is finished. The order itself does not say how much was paid back."""

    LIST = "list"
    HOLD = "hold"
    ALL = "all"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One shop, by the authorisation it gave to one application of the open platform.

    The token of the file is the first one; what a refresh returns is kept in the database. A new token in the file
    replaces that: write one down after the shop was authorised again, because the old pair ends at once.
    """

    client_id: Annotated[str, msgspec.Meta(min_length=1)]
    client_secret: Annotated[str, msgspec.Meta(min_length=1)]
    access_token: Annotated[str, msgspec.Meta(min_length=1)]
    refresh_token: Annotated[
        str, described("为空：到期后由人重新授权", "empty: a person authorises again when it ends")
    ] = ""
    expires_at: (
        Annotated[datetime, described("`access_token` 何时到期", "when `access_token` ends", tz=True)] | None
    ) = None
    url: Annotated[str, described("平台的接口地址", "the platform's router", pattern=r"^https?://[^\s?]+$")] = (
        "https://gw-api.pinduoduo.com/api/router"
    )
    page_size: Annotated[int, msgspec.Meta(ge=1, le=100)] = 100
    details_at_once: Annotated[
        int, described("同时查询的订单详情数", "order details that are asked for at the same time", ge=1, le=32)
    ] = 4
    detail_tries: Annotated[
        int,
        described(
            "同一订单的详情，平台失败这么多次、而其他订单的详情正常时，转为死信",
            "so often one order's detail may fail before it is set aside, where the platform gives that of others",
            ge=1,
        ),
    ] = 10
    lottery_orders: Annotated[bool, described("也接收抽奖订单", "take lottery orders (抽奖订单) too")] = True
    extra_parcels: Annotated[
        Literal["missing", "all", "off"],
        described(
            "平台的一个订单只带一个包裹。其余的作为额外运单号添加：只加还没显示的（missing）、每次全部重传（all，若平台是整体替换）、或不加（off）",
            "the platform ships an order with one parcel. Further ones are added as extra tracking numbers:"
            " those it does not show yet, all of them again (where it turns out to replace its list), or none",
        ),
    ] = "missing"
    refunds: Annotated[
        Refunds,
        described(
            "已完成的退款怎么算：读售后列表，每个售后单按其金额（list）；"
            "不读列表，未发货的一律暂停（hold）；不读列表，视为全额退款（all）",
            "what a finished refund counts for: the list of after-sale cases is read and each counts with its amount"
            " (list); it is not read, and what is not shipped yet is held (hold), or all counts as paid back (all)",
        ),
    ] = Refunds.LIST
    refund_queries: Annotated[
        tuple[int, ...],
        described(
            "读售后列表时 `after_sales_status` 的取值，逐个查询；1 为全部",
            "what the list of cases is asked with as `after_sales_status`, one after the other; 1 is all of them",
            min_length=1,
        ),
    ] = (1,)
    after_sales_statuses: Annotated[
        dict[str, RefundStatus | None],
        described(
            "表中没有的售后单 `after_sales_status` 的含义；null 为不是退款",
            "the `after_sales_status` of a case that the table does not know; null: no refund",
        ),
    ] = {}
    throttle_s: Annotated[
        float,
        described(
            "平台说请求过多时等多久", "how long to wait when the platform says: too many requests", ge=0.1, le=600
        ),
    ] = 10.0
    errors: Annotated[
        dict[str, Meaning],
        described("错误码 → 含义，叠加在自带的表上", "error code → what it means, over the adapter's own table"),
    ] = {}

    @property
    def token(self) -> Token:
        """The authorisation the file gives."""
        return Token(self.access_token, self.refresh_token, self.expires_at)

    def __repr__(self) -> str:
        """Without secrets: settings end up in messages."""
        return f"Settings(url={self.url!r}, client_id={self.client_id!r})"
