"""Settings of one Qimen connection."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from gateway.sdk.models import BadSetting, ProgressStep, described


class Match(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a WMS says something: its `code`, exactly, and a part of its `message`, a regular expression. Both given:
    both have to fit."""

    code: str | None = None
    message: str | None = None

    def __post_init__(self) -> None:
        if not (self.code or self.message):
            raise BadSetting("规则需要 `code` 或 `message`", "a rule needs `code` or `message`")
        try:
            re.compile(self.message or "")
        except re.error as error:
            raise BadSetting(
                f"`message` 不是正则表达式：{error}", f"`message` is not a regular expression: {error}"
            ) from error


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

    url: Annotated[str, described("不带查询参数的地址", "without the query", pattern=r"^https?://[^\s?]+$")]
    app_key: Annotated[str, described("奇门控制台或 WMS 给的 app_key", "from the Qimen console, or the WMS")]
    secret: Annotated[
        str,
        described(
            "与 `app_key` 配对的密钥；收发都用它签名", "belongs to `app_key`; signs what goes out and in", min_length=1
        ),
    ]
    customer_id: Annotated[
        str, described("`customerId`：平台上的哪个 WMS", "`customerId`: which WMS of the platform is meant")
    ]
    owner_code: Annotated[
        str,
        described("`ownerCode`：货主编码，用 WMS 的叫法", "`ownerCode`: whose goods they are, as the WMS calls you"),
    ]
    shop_nick: Annotated[str, described("出库单的店铺名 `shopNick`", "`shopNick` of the delivery orders")]
    sender: Annotated[Sender, described("发件人", "who the parcels come from")]
    logistics_code: Annotated[
        str, described("指定的快递；`OTHER` 由 WMS 决定", "carrier the WMS is asked for; `OTHER` leaves it to the WMS")
    ] = "OTHER"
    warehouse_code: Annotated[
        str, described("订单没有指定仓库时的仓库编码", "for orders routed without a warehouse")
    ] = "OTHER"
    warehouse_codes: Annotated[
        dict[str, str],
        described(
            "`route` 里的仓库 → 该 WMS 的仓库编码；不在其中的照 `route` 的写法发送",
            "warehouse of a `route` → what this WMS calls it; one that is not here goes out as the `route` has it",
        ),
    ] = {}
    order_type: Annotated[str, described("`orderType`；JYCK 为销售出库", "`orderType`; JYCK is a sale")] = "JYCK"
    platform_code: Annotated[
        str | None,
        described(
            "不在 `platform_codes` 里的店铺的 `sourcePlatformCode`；不写时 `taobao` 适配器的店铺是 `TB`，其余 `OTHER`",
            "`sourcePlatformCode` of shops not in `platform_codes`; without it `TB` for those of the adapter `taobao`,"
            " `OTHER` for the rest",
        ),
    ] = None
    platform_codes: Annotated[
        dict[str, str], described("店铺连接 → TB、TM、JD、DD 等", "shop connection → TB, TM, JD, DD, ...")
    ] = {}
    oaid_platforms: Annotated[
        tuple[str, ...],
        described(
            "收货人密文作为 `oaid` 发送的平台编码；其他平台的密文不是 OAID，不发送",
            "platform codes whose receivers' ciphertext goes out as `oaid`; that of other platforms is no OAID and does"
            " not go out",
        ),
    ] = ("TB", "TM")
    not_found: Annotated[
        tuple[Match, ...],
        described(
            "查不到订单时 `deliveryorder.query` 的应答", "what `deliveryorder.query` answers for an unknown order"
        ),
    ] = ()
    not_found_when_empty: Annotated[
        bool,
        described("查询成功但没有单据，也算查不到", "a successful query without a document also means: unknown order"),
    ] = False
    already_done: Annotated[
        tuple[Match, ...],
        described("重复下单时的应答；查询核实后才采信", "answers to a repeated create; believed after a query only"),
    ] = (Match(message=r"(?i)已存在|重复|duplicate|already exist"),)
    cancel_refused: Annotated[
        tuple[Match, ...], described("表示已不能取消的应答", "answers that say it is too late to cancel")
    ] = (Match(message=r"(?i)已出库|已发货|已拣货|不能取消|不允许取消|无法取消|CANCELEDFAIL"),)
    uncommitted_statuses: Annotated[
        tuple[int, ...],
        described(
            "WMS 一定没有收到的 HTTP 状态码；其他 5xx 算结果不明。503 是代理后面没有 WMS 时的应答；"
            "若 WMS 收下订单后也可能返回 503，就清空此列表",
            "HTTP statuses after which the WMS certainly has nothing; any other 5xx is unknown. 503 is what"
            " a proxy says with no WMS behind it; empty the list where the WMS may say so after it took the order",
        ),
    ] = (503,)
    process_status: Annotated[
        dict[str, ProgressStep],
        described(
            "该 WMS 在标准之外的状态 → 10/20/30/40/90", "statuses of this WMS beside the standard's → 10/20/30/40/90"
        ),
    ] = {}

    def __repr__(self) -> str:
        """Without the secret: settings end up in messages."""
        return f"Settings(url={self.url!r}, app_key={self.app_key!r}, customer_id={self.customer_id!r})"
