"""Pinduoduo's router for one shop: signs and tokens checked, books of its orders, pages that shift while they are read.

A script plays the shop (`place`, `pay`, `cancel`, `review`, `open_refund`, ...); its clock is given, so that days pass
in minutes. After-sale cases have a list and times of their own, and amounts that an order does not show. Over HTTP,
beside the paths every fake has: ``POST /shop`` with ``{"do": "place", "lines": [...]}`` or ``{"do": "cancel",
"order_sn": "..."}``, and ``GET /shop`` for orders and levels.
In a process of its own: ``python -m adapters.pinduoduo.fake --port 8703 --secret S``.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from adapters.pinduoduo import mapping, wire
from gateway.sdk.models import format_minor
from gateway.testing.fakes import Effect, FakeServer, Faults, run_fake

T = TypeVar("T")


class FakeLine(msgspec.Struct, frozen=True, kw_only=True):
    """One position as it is ordered; `price_minor` for one piece."""

    outer_id: str
    quantity: int = 1
    price_minor: int = 0
    goods_id: int = 900_001
    sku_id: int = 800_001
    name: str = ""


class FakeOrder(msgspec.Struct, kw_only=True):
    """One order as the shop has it. Instants are the fake's clock, whole seconds."""

    order_sn: str
    lines: tuple[FakeLine, ...]
    gifts: tuple[FakeLine, ...] = ()
    discount_minor: int = 0
    postage_minor: int = 0
    created_at: datetime
    updated_at: datetime
    paid_at: datetime | None = None
    concluded_at: datetime | None = None
    shipped_at: datetime | None = None
    signed_at: datetime | None = None
    order_status: int = mapping.TO_SHIP
    confirm_status: int = mapping.NOT_CONCLUDED
    group_status: int = mapping.GROUPING
    refund_status: int = 1
    after_sales_status: int = 0
    under_review: bool = False
    lottery: bool = False
    logistics_id: int = 0
    tracking_number: str = ""
    extra: list[tuple[int, str]] = []
    remark: str = ""
    buyer: str = "李"
    broken: bool = False
    """The platform fails whenever it is asked for its detail."""
    hidden: bool = False
    """The list of changed orders leaves it out for now."""
    change: int = 0
    """Counts the order's changes, over all orders; the newest place in the list of changes."""
    requests: dict[str, int] = {}

    @property
    def total_minor(self) -> int:
        listed_minor = sum(line.price_minor * line.quantity for line in self.lines)
        return listed_minor - self.discount_minor + self.postage_minor

    @property
    def parcels(self) -> list[tuple[int, str]]:
        """(logistics_id, tracking number) of every parcel told, the first one first."""
        return [(self.logistics_id, self.tracking_number), *self.extra] if self.tracking_number else []


class FakeCase(msgspec.Struct, kw_only=True):
    """One after-sale case of an order."""

    id: int
    order_sn: str
    amount_minor: int
    status: int
    """`after_sales_status`."""
    created_at: datetime
    updated_at: datetime
    change: int = 0


class Deed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``POST /shop`` takes."""

    do: str
    order_sn: str = ""
    lines: tuple[FakeLine, ...] = ()
    discount_minor: int = 0
    postage_minor: int = 0
    amount_minor: int | None = None
    lifetime_s: float = 86_400.0


class FakePinduoduo(FakeServer):
    """One shop behind the router.

    `now` is its clock. `rate_per_s` is the platform's limit in real seconds (the gateway's budget runs in those, too).
    `churn`: so many orders of the asked window change after each page, which moves every row behind them.
    `settled_after_s`: how far behind now a window has to end.
    `refresh_extends`: False as the vendor says; True lets a long run go on without a person.
    """

    def __init__(
        self,
        *,
        secret: str = "fake-secret",
        client_id: str = "fake-client",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        rate_per_s: float | None = None,
        burst: float = 10.0,
        churn: int = 0,
        newest_first: bool = False,
        settled_after_s: float = 180.0,
        token_lifetime_s: float = 365 * 86_400.0,
        refresh_extends: bool = False,
        port: int = 0,
        faults: Faults | None = None,
        journal: Path | None = None,
    ) -> None:
        super().__init__(port=port, faults=faults, journal=journal)
        self.now = now
        self.orders: dict[str, FakeOrder] = {}
        self.cases: dict[int, FakeCase] = {}
        self.cases_move_orders = True
        """Whether a case that changes changes its order's `updated_at`: not documented."""
        self.cases_listed = True
        """Whether this application may read the list of cases."""
        self.levels: dict[tuple[str, str], int] = {}
        """(goods_id, sku_id or outer_id) → pieces for sale."""
        self.promoted: set[str] = set()
        """goods_ids on a promotion slot: their stock cannot be lowered."""
        self.churn = churn
        self.pages = 0
        """Pages of changed orders that were answered."""
        self.throttled = 0
        self.refreshes = 0
        self.on_page: Callable[[], None] | None = None
        """Called after each page was made, before it is answered: a script's chance to change orders."""
        self._secret = secret
        self._client_id = client_id
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._turns = burst
        self._turns_at = 0.0
        self._newest_first = newest_first
        self._settled_after_s = settled_after_s
        self._refresh_extends = refresh_extends
        self._changes: list[tuple[datetime, int, str]] = []
        self._case_changes: list[tuple[datetime, int, int]] = []
        self._serial = 0
        self._requests: dict[str, dict[str, int]] = {}
        self.authorise(lifetime_s=token_lifetime_s)

    @property
    def router_url(self) -> str:
        return f"{self.url}/api/router"

    # --- what the shop and its buyers do ------------------------------------------------------------------------

    def authorise(self, *, lifetime_s: float) -> None:
        """The merchant authorises (again): a new pair, the old one ends at once."""
        self._lifetime_s = lifetime_s
        self.expires_at = self._second() + timedelta(seconds=lifetime_s)
        self.access_token, self.refresh_token = self._secret_text("access"), self._secret_text("refresh")
        self._good_tokens = {self.access_token}

    def expire(self) -> None:
        """The authorisation ends now."""
        self.expires_at = self._second()

    def place(
        self,
        lines: Sequence[FakeLine],
        *,
        order_sn: str = "",
        gifts: Sequence[FakeLine] = (),
        discount_minor: int = 0,
        postage_minor: int = 0,
        pay: bool = True,
    ) -> str:
        """A new order, paid and its group complete unless `pay` is False; its number."""
        at = self._second()
        self._serial += 1
        order_sn = order_sn or f"{at.astimezone(mapping.BEIJING):%y%m%d}-{self._serial:015d}"
        self.orders[order_sn] = FakeOrder(
            order_sn=order_sn,
            lines=tuple(lines),
            gifts=tuple(gifts),
            discount_minor=discount_minor,
            postage_minor=postage_minor,
            created_at=at,
            updated_at=at,
        )
        self._changed(order_sn)
        if pay:
            self.pay(order_sn)
            self.conclude(order_sn)
        return order_sn

    def pay(self, order_sn: str) -> None:
        order = self._changed(order_sn)
        order.paid_at = order.updated_at
        self._sell(order.lines)

    def conclude(self, order_sn: str) -> None:
        """The group is complete: from now on the order is listed."""
        order = self._changed(order_sn)
        order.confirm_status, order.group_status, order.concluded_at = (
            mapping.CONCLUDED,
            mapping.GROUPED,
            order.updated_at,
        )

    def cancel(self, order_sn: str) -> None:
        order = self._changed(order_sn)
        order.confirm_status = mapping.CANCELLED
        if order.paid_at is not None:
            self._sell(order.lines, back=True)

    def fail_group(self, order_sn: str) -> None:
        self._changed(order_sn).group_status = mapping.GROUP_FAILED

    def review(self, order_sn: str) -> None:
        """Risk control looks at the order; `release` ends it."""
        self._changed(order_sn).under_review = True

    def release(self, order_sn: str) -> None:
        self._changed(order_sn).under_review = False

    def open_refund(self, order_sn: str, *, amount_minor: int | None = None) -> int:
        """The buyer asks for so much, or for all; the number of the new case."""
        self._serial += 1
        at, order = self._second(), self.orders[order_sn]
        amount_minor = order.total_minor if amount_minor is None else amount_minor
        case = FakeCase(
            id=self._serial, order_sn=order_sn, amount_minor=amount_minor, status=2, created_at=at, updated_at=at
        )
        self.cases[case.id] = case
        self._after_sales(case, 2, refund_status=2)
        return case.id

    def withdraw_refund(self, order_sn: str) -> None:
        self._after_sales(self._newest_case(order_sn), 11, refund_status=1)

    def finish_refund(self, order_sn: str) -> None:
        """The newest case is paid back, and of what has not left the buyer gets nothing."""
        order = self.orders[order_sn]
        if order.order_status == mapping.TO_SHIP and order.refund_status != 4:
            self._sell(order.lines, back=True)
        self._after_sales(self._newest_case(order_sn), 10, refund_status=4)

    def _sell(self, lines: Sequence[FakeLine], *, back: bool = False) -> None:
        """Count down what is left of the listings where a level was told, once it is paid; or up, for what stays."""
        for line in lines:
            listing = str(line.goods_id), str(line.sku_id)
            if listing in self.levels:
                self.levels[listing] = max(0, self.levels[listing] + (line.quantity if back else -line.quantity))

    def hide(self, order_sn: str) -> None:
        """The list of changed orders leaves it out, until `show`."""
        self.orders[order_sn].hidden = True

    def show(self, order_sn: str) -> None:
        """Listed again, by the time it changed last."""
        self.orders[order_sn].hidden = False

    def sign(self, order_sn: str) -> None:
        """The buyer has the parcel."""
        order = self._changed(order_sn)
        order.order_status, order.signed_at = mapping.SIGNED, order.updated_at

    def touch(self, order_sn: str, remark: str = "x") -> None:
        """Something changes that is nobody's business here."""
        self._changed(order_sn).remark = remark

    def ship_by_hand(self, order_sn: str, *, logistics_id: int, tracking_number: str) -> None:
        """The merchant ships in the platform's own console."""
        self._ship(self.orders[order_sn], logistics_id, tracking_number)

    def render(self, order_sn: str) -> bytes:
        """`order_info` as it is answered now."""
        return _encode(_order_info(self.orders[order_sn]))

    # --- the router ---------------------------------------------------------------------------------------------

    async def serve(self, request: web.BaseRequest, body: bytes) -> web.Response:
        if request.method != "POST" or request.path != "/api/router":
            return web.Response(status=404)
        try:
            asked = msgspec.json.decode(body, type=dict[str, str])
        except msgspec.DecodeError:
            return _error(10001, "parameters are text")
        refused = self._admit(asked)
        if refused is not None:
            return refused
        handler = _HANDLERS.get(asked["type"])
        if handler is None:
            return _error(10002, "type 不存在")
        command, key, serve = handler
        order_sn = asked.get(key, "")
        order = self.orders.get(order_sn)
        counted = order.requests if order is not None else self._requests.setdefault(command, {})
        return await self.perform(order_sn, command, lambda: serve(self, asked), requests=counted)

    def apply(self, effect: Effect) -> None:
        """One line in the order's book per parcel: ``ship:SF1001``. Levels have no order."""
        if effect.command == "stock":
            return
        book = self.books.order(effect.order)
        book.commands.append(f"ship:{effect.key}")
        book.at.append(effect.at)
        book.status = "ship"

    def error_in_200(self) -> web.Response:
        return _error(52001, "服务异常")

    def throttled_in_200(self) -> web.Response:
        self.throttled += 1
        return _error(70031, "调用过于频繁，请调整调用频率")

    async def admin(self, request: web.BaseRequest, body: bytes) -> web.Response | None:
        if request.path != "/shop":
            return None
        if request.method == "GET":
            levels = {f"{goods}/{sku}": pieces for (goods, sku), pieces in self.levels.items()}
            parcels = {order.order_sn: order.parcels for order in self.orders.values()}
            return web.json_response({"parcels": parcels, "levels": levels, "access_token": self.access_token})
        try:
            deed = msgspec.json.decode(body, type=Deed)
            if deed.do == "place":
                order_sn = self.place(
                    deed.lines,
                    order_sn=deed.order_sn,
                    discount_minor=deed.discount_minor,
                    postage_minor=deed.postage_minor,
                )
                return web.json_response({"order_sn": order_sn})
            if deed.do == "authorise":
                self.authorise(lifetime_s=deed.lifetime_s)
                return web.json_response({"access_token": self.access_token, "refresh_token": self.refresh_token})
            if deed.do == "open_refund":
                return web.json_response({"id": self.open_refund(deed.order_sn, amount_minor=deed.amount_minor)})
            if deed.do == "expire":
                self.expire()
            elif deed.do in _DEEDS:
                _DEEDS[deed.do](self, deed.order_sn)
            else:
                return web.Response(
                    status=400,
                    text=f"do is one of {', '.join(('place', 'authorise', 'expire', 'open_refund', *_DEEDS))}",
                )
        except msgspec.MsgspecError as error:
            return web.Response(status=400, text=str(error))
        except KeyError:
            return web.Response(status=404, text="no such order")
        return web.json_response({})

    def _admit(self, asked: Mapping[str, str]) -> web.Response | None:
        """The platform's refusal of a request as such, whatever it asks for."""
        if asked.get("client_id") != self._client_id or not hmac.compare_digest(
            wire.sign(self._secret, asked).encode(), asked.get("sign", "").encode()
        ):
            self.books.refused += 1
            return _error(20004, "签名sign校验失败")
        stamp = asked.get("timestamp", "")
        if not stamp.isdigit() or abs(int(stamp) - self.now().timestamp()) > 600:
            return _error(20002, "timestamp 已过期")
        if not self._turn():
            return self.throttled_in_200()
        good = asked.get("access_token") in self._good_tokens and self.now() < self.expires_at
        if not good and asked.get("type") not in _OPEN:
            return _error(10019, "access_token已过期")
        return None

    def _list(self, asked: Mapping[str, str]) -> web.Response:
        span = self._span(asked, "is_lucky_flag", "order_status", "refund_status")
        if isinstance(span, web.Response):
            return span
        wanted = {"1": (False,), "2": (True,)}.get(asked["is_lucky_flag"], (False, True))
        listed = [order for order in self._changed_between(span.start, span.end) if order.lottery in wanted]
        rows = [{"order_sn": order.order_sn, "updated_at": _beijing(order.updated_at)} for order in span.page(listed)]
        answer = _answer(wire.CHANGED_ORDERS, {"total_count": len(listed), "order_sn_list": rows})
        self.pages += 1
        for turn in range(min(self.churn, len(listed))):
            self.touch(listed[self._lot(turn) % len(listed)].order_sn)
        if self.on_page is not None:
            self.on_page()
        return answer

    def _list_cases(self, asked: Mapping[str, str]) -> web.Response:
        if not self.cases_listed:
            return _error(20031, "应用没有该接口的权限")
        span = self._span(asked, "after_sales_status", "after_sales_type")
        if isinstance(span, web.Response):
            return span
        wanted = int(asked["after_sales_status"])
        listed = [case for case in self._cases_between(span.start, span.end) if wanted in (1, case.status)]
        rows = [self._case_row(case) for case in span.page(listed)]
        answer = _answer(wire.CHANGED_CASES, {"total_count": len(listed), "refund_list": rows})
        self.pages += 1
        for turn in range(min(self.churn, len(listed))):
            self._case_changed(listed[self._lot(turn) % len(listed)])
        if self.on_page is not None:
            self.on_page()
        return answer

    def _span(self, asked: Mapping[str, str], *needed: str) -> _Span | web.Response:
        try:
            start, end = int(asked["start_updated_at"]), int(asked["end_updated_at"])
            page, size = int(asked.get("page", "1")), int(asked.get("page_size", "100"))
            for name in needed:
                int(asked[name])
        except (KeyError, ValueError):
            return _error(10001, "缺少必填参数")
        if not 0 <= end - start <= 1800:
            return _error(10001, "开始时间结束时间间距不超过 30 分钟")
        if end > self.now().timestamp() - self._settled_after_s:
            return _error(10001, "end_updated_at 必须小于当前时间 3 分钟")
        if page < 1 or not 1 <= size <= 100:
            return _error(10001, "page 从 1 开始，page_size 最大 100")
        return _Span(start, end, (page - 1) * size, size)

    def _lot(self, turn: int) -> int:
        return int.from_bytes(blake2b(f"{self.pages}/{turn}".encode(), digest_size=4).digest(), "big")

    def _case_row(self, case: FakeCase) -> dict[str, Any]:
        order = self.orders[case.order_sn]
        line = order.lines[0]
        return {
            "id": case.id,
            "order_sn": case.order_sn,
            "after_sale_reason": "不想要了",
            "after_sales_status": case.status,
            "after_sales_type": 2,
            "confirm_time": _beijing(order.concluded_at),
            "created_time": _beijing(case.created_at),
            "updated_time": _beijing(case.updated_at),
            "order_amount": format_minor(order.total_minor),
            "refund_amount": format_minor(case.amount_minor),
            "goods_id": line.goods_id,
            "sku_id": str(line.sku_id),
            "outer_id": line.outer_id,
            "goods_number": str(line.quantity),
            "goods_price": format_minor(line.price_minor),
            "tracking_number": order.tracking_number,
        }

    def _detail(self, asked: Mapping[str, str]) -> web.Response:
        order = self.orders.get(asked.get("order_sn", ""))
        if order is None:
            return _error(40001, "订单不存在")
        if order.broken:
            return _error(50001, "业务服务错误")
        return _answer(wire.ORDER, {"order_info": _order_info(order)})

    def _send(self, asked: Mapping[str, str]) -> web.Response:
        order = self.orders.get(asked.get("order_sn", ""))
        carrier, tracking_number = asked.get("logistics_id", ""), asked.get("tracking_number", "")
        if order is None:
            return _error(40001, "订单不存在")
        if not carrier.isdigit() or not tracking_number:
            return _error(40002, "快递公司或运单号错误")
        shipped = order.order_status >= mapping.SHIPPED
        if asked.get("redelivery_type", "1") == "2":
            if not shipped:
                return _error(40004, "订单未发货，不能修改发货")
        elif shipped:
            self.books.repeats += 1
            return _error(40003, "订单已发货")
        if order.confirm_status != mapping.CONCLUDED or order.under_review or order.refund_status == 4:
            return _error(40005, "订单状态不允许发货")
        self._ship(order, int(carrier), tracking_number)
        self.commit(Effect(order.order_sn, "ship", self.now().timestamp(), key=tracking_number))
        return _answer(wire.SHIP, {"is_success": True})

    def _add_parcels(self, asked: Mapping[str, str]) -> web.Response:
        order = self.orders.get(asked.get("order_sn", ""))
        if order is None or order.order_status < mapping.SHIPPED:
            return _error(40004, "订单未发货")
        tracks = msgspec.json.decode(asked.get("extra_track_list", "[]"), type=list[dict[str, int | str]])
        known = {number for _, number in order.parcels}
        for track in tracks:
            code, number = int(track["shipping_id"]), str(track["tracking_number"])
            if number not in known:
                self._changed(order.order_sn).extra.append((code, number))
                self.commit(Effect(order.order_sn, "ship", self.now().timestamp(), key=number))
        return _answer(wire.EXTRA_PARCELS, {"success": True})

    def _set_level(self, asked: Mapping[str, str]) -> web.Response:
        goods_id, sku = asked.get("goods_id", ""), asked.get("sku_id") or asked.get("outer_id", "")
        quantity = asked.get("quantity", "")
        if not (goods_id and sku and quantity.isdigit()) or asked.get("update_type", "1") != "1":
            return _error(10001, "缺少必填参数")
        if goods_id in self.promoted and int(quantity) < self.levels.get((goods_id, sku), 0):
            return _error(40010, "资源位上的商品不能减少库存")
        self.levels[goods_id, sku] = int(quantity)
        self.commit(Effect(f"{goods_id}/{sku}", "stock", self.now().timestamp(), key=quantity))
        return _answer(wire.QUANTITY, {"is_success": True})

    def _refresh(self, asked: Mapping[str, str]) -> web.Response:
        if asked.get("refresh_token") != self.refresh_token or (
            self.now() >= self.expires_at and not self._refresh_extends
        ):
            return _error(10019, "refresh_token已过期")
        self.refreshes += 1
        if self._refresh_extends:
            self.expires_at = self._second() + timedelta(seconds=self._lifetime_s)
        self.access_token, self.refresh_token = self._secret_text("access"), self._secret_text("refresh")
        # Requests under way keep theirs.
        self._good_tokens.add(self.access_token)
        expires = int(self.expires_at.timestamp())
        return _answer(
            wire.REFRESH,
            {
                "access_token": self.access_token,
                "refresh_token": self.refresh_token,
                "expires_at": expires,
                "expires_in": expires - int(self.now().timestamp()),
                "refresh_token_expires_at": expires,
            },
        )

    def _time(self, asked: Mapping[str, str]) -> web.Response:
        return _answer(wire.TIME, {"time": _beijing(self.now())})

    # --- inside -------------------------------------------------------------------------------------------------

    def _second(self) -> datetime:
        return self.now().replace(microsecond=0)

    def _secret_text(self, what: str) -> str:
        self._serial += 1
        return blake2b(f"{self._secret}/{what}/{self._serial}".encode(), digest_size=16).hexdigest()

    def _changed(self, order_sn: str) -> FakeOrder:
        """The order, modified now. Its older places in the list of changes stay, and are passed over."""
        order = self.orders[order_sn]
        order.updated_at = self._second()
        self._serial += 1
        order.change = self._serial
        self._changes.append((order.updated_at, order.change, order_sn))
        return order

    def _changed_between(self, start: int, end: int) -> list[FakeOrder]:
        first = bisect.bisect_left(self._changes, (datetime.fromtimestamp(start, UTC),))
        last = bisect.bisect_left(self._changes, (datetime.fromtimestamp(end + 1, UTC),))
        listed = []
        for _, change, order_sn in self._changes[first:last]:
            order = self.orders[order_sn]
            if order.change == change and order.concluded_at is not None and not order.hidden:
                listed.append(order)
        return listed[::-1] if self._newest_first else listed

    def _cases_between(self, start: int, end: int) -> list[FakeCase]:
        first = bisect.bisect_left(self._case_changes, (datetime.fromtimestamp(start, UTC),))
        last = bisect.bisect_left(self._case_changes, (datetime.fromtimestamp(end + 1, UTC),))
        changes = self._case_changes[first:last]
        listed = [self.cases[number] for _, change, number in changes if self.cases[number].change == change]
        return listed[::-1] if self._newest_first else listed

    def _case_changed(self, case: FakeCase) -> None:
        case.updated_at = self._second()
        self._serial += 1
        case.change = self._serial
        self._case_changes.append((case.updated_at, case.change, case.id))

    def _newest_case(self, order_sn: str) -> FakeCase:
        cases = [case for case in self.cases.values() if case.order_sn == order_sn]
        return cases[-1] if cases else self.cases[self.open_refund(order_sn)]

    def _after_sales(self, case: FakeCase, status: int, *, refund_status: int) -> None:
        case.status = status
        self._case_changed(case)
        order = self._changed(case.order_sn) if self.cases_move_orders else self.orders[case.order_sn]
        order.refund_status, order.after_sales_status = refund_status, status

    def _ship(self, order: FakeOrder, logistics_id: int, tracking_number: str) -> None:
        self._changed(order.order_sn)
        order.order_status = max(order.order_status, mapping.SHIPPED)
        order.shipped_at = order.updated_at
        order.logistics_id, order.tracking_number = logistics_id, tracking_number

    def _turn(self) -> bool:
        """A bucket of `burst` turns that fills in real time."""
        if self._rate_per_s is None:
            return True
        now = asyncio.get_running_loop().time()
        self._turns = min(self._burst, self._turns + (now - self._turns_at) * self._rate_per_s)
        self._turns_at = now
        if self._turns < 1:
            return False
        self._turns -= 1
        return True


class _Span(msgspec.Struct, frozen=True):
    """Which part of a list is asked for: UNIX seconds, both included, and from which row on how many."""

    start: int
    end: int
    first: int
    size: int

    def page(self, listed: Sequence[T]) -> Sequence[T]:
        return listed[self.first : self.first + self.size]


_Serve = Callable[[FakePinduoduo, Mapping[str, str]], web.Response]
_HANDLERS: Mapping[str, tuple[str, str, _Serve]] = {
    wire.CHANGED_ORDERS.name: ("list", "", FakePinduoduo._list),
    wire.CHANGED_CASES.name: ("cases", "", FakePinduoduo._list_cases),
    wire.ORDER.name: ("detail", "order_sn", FakePinduoduo._detail),
    wire.SHIP.name: ("ship", "order_sn", FakePinduoduo._send),
    wire.EXTRA_PARCELS.name: ("ship_extra", "order_sn", FakePinduoduo._add_parcels),
    wire.QUANTITY.name: ("stock", "goods_id", FakePinduoduo._set_level),
    wire.REFRESH.name: ("refresh", "", FakePinduoduo._refresh),
    wire.TIME.name: ("time", "", FakePinduoduo._time),
}
"""Method → the command that faults and counts know it by, the parameter that says what it is about, and the answer."""
_OPEN = frozenset({wire.REFRESH.name, wire.TIME.name})
_DEEDS: Mapping[str, Callable[[FakePinduoduo, str], None]] = {
    "pay": FakePinduoduo.pay,
    "conclude": FakePinduoduo.conclude,
    "cancel": FakePinduoduo.cancel,
    "fail_group": FakePinduoduo.fail_group,
    "review": FakePinduoduo.review,
    "release": FakePinduoduo.release,
    "withdraw_refund": FakePinduoduo.withdraw_refund,
    "finish_refund": FakePinduoduo.finish_refund,
    "sign": FakePinduoduo.sign,
    "hide": FakePinduoduo.hide,
    "show": FakePinduoduo.show,
}
_encode = msgspec.json.Encoder(decimal_format="number").encode


def _order_info(order: FakeOrder) -> dict[str, Any]:
    shown = (
        order.confirm_status == mapping.CONCLUDED and order.order_status == mapping.TO_SHIP and not order.under_review
    )
    mark = blake2b(order.order_sn.encode(), digest_size=6).hexdigest()
    hidden = order.under_review
    return {
        "order_sn": order.order_sn,
        "order_status": order.order_status,
        "confirm_status": order.confirm_status,
        "group_status": order.group_status,
        "refund_status": order.refund_status,
        "after_sales_status": order.after_sales_status,
        "risk_control_status": int(order.under_review),
        "is_lucky_flag": 2 if order.lottery else 1,
        "created_time": _beijing(order.created_at),
        "pay_time": _beijing(order.paid_at),
        "pay_type": "WEIXIN",
        "confirm_time": _beijing(order.concluded_at),
        "shipping_time": _beijing(order.shipped_at),
        "receive_time": _beijing(order.signed_at),
        "updated_at": _beijing(order.updated_at),
        "last_ship_time": _beijing(order.created_at + timedelta(hours=48)),
        "province": "" if hidden else "广东省",
        "city": "" if hidden else "深圳市",
        "town": "" if hidden else "南山区",
        "receiver_name": f"~AgAAAA==~{mark}n~1~" if shown else "",
        "receiver_name_mask": "" if hidden else f"{order.buyer}**",
        "receiver_phone": f"$AgAAAA==${mark}p$1$" if shown else "",
        "receiver_phone_mask": "" if hidden else "1*********1",
        "receiver_address": f"~AgAAAA==~{mark}a~1~" if shown else "",
        "receiver_address_mask": "" if hidden else "科**路***",
        "open_address_id": f"OA{mark}" if shown else "",
        "remark": order.remark,
        "goods_amount": _yuan(order.total_minor + order.discount_minor - order.postage_minor),
        "discount_amount": _yuan(order.discount_minor),
        "platform_discount": _yuan(order.discount_minor),
        "seller_discount": _yuan(0),
        "postage": _yuan(order.postage_minor),
        "pay_amount": _yuan(order.total_minor),
        "item_list": [_item(line) for line in order.lines],
        "gift_list": [_item(line) for line in order.gifts],
        "logistics_id": order.logistics_id,
        "tracking_number": order.tracking_number,
        "extra_delivery_list": [{"logistics_id": code, "tracking_number": number} for code, number in order.extra],
    }


def _item(line: FakeLine) -> dict[str, Any]:
    return {
        "goods_id": str(line.goods_id),
        "sku_id": str(line.sku_id),
        "outer_id": line.outer_id,
        "goods_name": line.name or line.outer_id,
        "goods_spec": "",
        "goods_price": _yuan(line.price_minor),
        "goods_count": line.quantity,
    }


def _yuan(minor: int) -> Decimal:
    """As a JSON number, the way the platform writes its doubles: 79.8, 5.0."""
    yuan = Decimal(format_minor(minor))
    return yuan.quantize(Decimal("0.1")) if minor % 10 == 0 else yuan


def _beijing(instant: datetime | None) -> str:
    return "" if instant is None else f"{instant.astimezone(mapping.BEIJING):%Y-%m-%d %H:%M:%S}"


def _answer(method: wire.Method, value: Mapping[str, Any]) -> web.Response:
    body = _encode({method.root: {**value, "request_id": "1"}})
    return web.Response(body=body, content_type="application/json")


def _error(code: int, message: str) -> web.Response:
    error = {"error_code": code, "error_msg": message, "sub_code": "", "sub_msg": message, "request_id": "1"}
    return web.Response(body=_encode({"error_response": error}), content_type="application/json")


def main() -> None:
    parser = argparse.ArgumentParser(prog="adapters.pinduoduo.fake", description=__doc__)
    parser.add_argument("--port", type=int, default=8703)
    parser.add_argument("--secret", default="fake-secret")
    parser.add_argument("--client-id", default="fake-client")
    parser.add_argument("--books", type=Path, help="keep the books in this file")
    parser.add_argument("--rate-per-s", type=float, help="refuse what comes faster")
    parser.add_argument("--churn", type=int, default=0, help="orders that change after each page")
    args = parser.parse_args()
    run_fake(
        FakePinduoduo(
            secret=args.secret,
            client_id=args.client_id,
            port=args.port,
            rate_per_s=args.rate_per_s,
            churn=args.churn,
            journal=args.books,
        )
    )


if __name__ == "__main__":
    main()
