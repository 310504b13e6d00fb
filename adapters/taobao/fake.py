"""A shop on Taobao that speaks TOP: it sells, changes its orders while they are paged, and misbehaves on demand.

In a process of its own: ``python -m adapters.taobao.fake --port 8703 --secret S --session T [--refresh-token R]
[--speed 60]``. Beside the paths every fake has: ``POST /trades`` (places one: `{"lines": [{"sku": "A", "price_minor":
990}], "paid": true}`), ``POST /trades/<tid>`` (`{"do": "pay"}`, or forbid, allow, refund, close, remark),
``GET /parcels``, ``GET /levels``, ``POST /expire``.

Reads go through the faults as command `query`, shipments as `ship`, levels as `stock`, renewals as `token`. Where the
platform's ways are not known, the fake takes the harsher one, or `newest_first`, `wrapped`, `doubles_shipments` say.
"""

from __future__ import annotations

import argparse
import bisect
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from adapters.taobao import mapping
from adapters.taobao.wire import sign
from gateway.sdk.models import format_minor
from gateway.testing.fakes import Effect, FakeServer, Faults, run_fake

DEFAULT_TYPES = ("guarantee_trade", "auto_delivery", "ec", "cod", "step")
BUSY = {"code": 15, "msg": "Remote service error", "sub_code": "isp.remote-service-error", "sub_msg": "系统繁忙"}
FREQUENT = {
    "code": 7,
    "msg": "App Call Limited",
    "sub_code": "accesscontrol.limited-by-api-access-count",
    "sub_msg": "This ban will last for 1 more seconds",
}
QUOTA = {"code": 7, "msg": "App Call Limited", "sub_code": "accesscontrol.limited-by-app-access-count"}
SHIPPED_ALREADY = {
    "code": 15,
    "msg": "Remote service error",
    "sub_code": "isv.logistics-offline-service-error:B04",
    "sub_msg": "订单状态不对，该物流订单已经发货或者已关闭，不能重复发货",
}


class Clock:
    """A wall clock that runs `speed` times as fast (0: it stands), and can be moved on."""

    def __init__(self, start: datetime | None = None, *, speed: float = 1.0) -> None:
        self._start = start or datetime.now(UTC)
        self._began = time.monotonic()
        self.speed = speed

    def now(self) -> datetime:
        return self._start + timedelta(seconds=(time.monotonic() - self._began) * self.speed)

    def advance(self, seconds: float) -> None:
        self._start += timedelta(seconds=seconds)


class FakeLine(msgspec.Struct, frozen=True, kw_only=True):
    """What is bought. `price_minor` is the list price of one piece, `discount_minor` is taken off the whole line."""

    sku: str
    quantity: int = 1
    price_minor: int = 990
    discount_minor: int = 0
    item_id: int = 612345678901
    sku_id: str = "4900000000001"
    name: str = "商品"


class FakeTrade(msgspec.Struct):
    """A trade as the shop has it; `detail` is what the platform would answer, without `modified`."""

    tid: str
    modified: datetime
    detail: dict[str, Any]

    @property
    def lines(self) -> list[dict[str, Any]]:
        orders: list[dict[str, Any]] = self.detail["orders"]
        return orders

    @property
    def status(self) -> str:
        return str(self.detail["status"])


class FakeParcel(msgspec.Struct, frozen=True):
    """A shipment that the shop was told."""

    oids: tuple[str, ...]
    company_code: str
    out_sid: str


class FakeShop(FakeServer):
    """One shop and one authorisation. `trades`, `parcels` (by tid) and `levels` (by item and SKU) are its books."""

    def __init__(
        self,
        *,
        secret: str,
        session: str,
        app_key: str = "12345678",
        refresh_token: str = "",
        lifetime_s: float | None = None,
        now: Callable[[], datetime] | None = None,
        first_tid: int = 2_600_000_000_000_000_000,
        quota_per_day: int | None = None,
        tolerance_s: float = 600.0,
        newest_first: bool = True,
        wrapped: bool = True,
        doubles_shipments: bool = False,
        port: int = 0,
        faults: Faults | None = None,
    ) -> None:
        super().__init__(port=port, faults=faults or Faults(throttle_in_200=True))
        self.now = now or Clock().now
        self.trades: dict[str, FakeTrade] = {}
        self.hidden: set[str] = set()
        """Trades that the list of modified ones leaves out for now."""
        self.parcels: dict[str, list[FakeParcel]] = {}
        self.levels: dict[tuple[str, str], int] = {}
        self.session = session
        self.refresh_token = refresh_token
        self.expires_at = None if lifetime_s is None else self.now() + timedelta(seconds=lifetime_s)
        self.refreshes = 0
        self.calls: dict[str, int] = {}
        """Requests by method that were let in."""
        self.between: Callable[[str], None] | None = None
        """Called with the method before each answer is made: the shop goes on while it is read."""
        self._secret = secret
        self._app_key = app_key
        self._lifetime_s = lifetime_s
        self._next_number = first_tid
        self._quota_per_day = quota_per_day
        self._tolerance_s = tolerance_s
        self._calls_of_day = ("", 0)
        self._newest_first = newest_first
        self._wrapped = wrapped
        self._doubles_shipments = doubles_shipments
        self._order: list[tuple[datetime, str]] = []
        self._refusals: dict[str, deque[dict[str, Any]]] = {}
        self._renewals: deque[tuple[int, dict[str, Any]]] = deque()
        self._requests = 0

    # --- what the shop does -----------------------------------------------------------------------------------------

    def place(
        self,
        lines: Sequence[FakeLine],
        *,
        paid: bool = False,
        tid: str = "",
        kind: str = "fixed",
        freight_minor: int = 0,
        discount_minor: int = 0,
        note: str = "",
        **more: Any,
    ) -> str:
        """A buyer places a trade; you get its `tid`. `discount_minor` is divided over the lines, `more` are fields."""
        numbers = [self._number() for _ in range(len(lines) + 1)]
        tid = tid or str(numbers[0])
        amounts = [line.price_minor * line.quantity - line.discount_minor for line in lines]
        parts = _divide(discount_minor, amounts)
        orders = [
            {
                "oid": int(tid) if len(lines) == 1 else number,
                "oid_str": tid if len(lines) == 1 else str(number),
                "num_iid": line.item_id,
                "sku_id": line.sku_id,
                "outer_sku_id": line.sku,
                "title": line.name,
                "num": line.quantity,
                "price": format_minor(line.price_minor),
                "adjust_fee": "0.00",
                "discount_fee": format_minor(line.discount_minor),
                "part_mjz_discount": format_minor(part),
                "divide_order_fee": format_minor(amount - part),
                "payment": format_minor(amount),
                "status": "WAIT_BUYER_PAY",
                "refund_status": "NO_REFUND",
            }
            for line, number, amount, part in zip(lines, numbers[1:], amounts, parts, strict=True)
        ]
        now = self.now().replace(microsecond=0)
        detail = {
            "tid": int(tid),
            "tid_str": tid,
            "type": kind,
            "status": "WAIT_BUYER_PAY",
            "created": mapping.beijing(now),
            "payment": format_minor(sum(amounts) - discount_minor + freight_minor),
            "total_fee": format_minor(sum(line.price_minor * line.quantity for line in lines)),
            "post_fee": format_minor(freight_minor),
            "discount_fee": format_minor(discount_minor),
            "adjust_fee": "0.00",
            "buyer_nick": "t**1",
            "buyer_open_uid": "AAHx0001",
            "buyer_message": note,
            "receiver_name": "张**",
            "receiver_mobile": "*******8000",
            "receiver_state": "浙江省",
            "receiver_city": "杭州市",
            "receiver_district": "余杭区",
            "receiver_town": "五常街道",
            "receiver_address": "文*路**号",
            "oaid": f"1oaid{tid[-12:]}",
            "orders": orders,
            **more,
        }
        self.trades[tid] = FakeTrade(tid, now, detail)
        bisect.insort(self._order, (now, tid))
        self._sell(orders)
        self._note(tid, "place", _pieces(orders))
        if paid:
            self.pay(tid)
        return tid

    def pay(self, tid: str) -> None:
        """The buyer pays; of a pre-sale, all that is left."""
        trade = self.trades[tid]
        changes = {"pay_time": mapping.beijing(self.now())}
        if "step_trade_status" in trade.detail:
            changes["step_trade_status"] = mapping.STEPS[-1]
        self._become(trade, "WAIT_SELLER_SEND_GOODS", "pay", **changes)

    def forbid(self, tid: str) -> None:
        """Paid, and must not be shipped."""
        self._become(self.trades[tid], "PAID_FORBID_CONSIGN", "forbid", pay_time=mapping.beijing(self.now()))

    def allow(self, tid: str) -> None:
        self._become(self.trades[tid], "WAIT_SELLER_SEND_GOODS", "allow")

    def close(self, tid: str) -> None:
        """Closed: before payment by the platform, after it with the money back."""
        trade = self.trades[tid]
        paid = "pay_time" in trade.detail
        self._sell(trade.lines, back=True)
        self._become(trade, "TRADE_CLOSED" if paid else "TRADE_CLOSED_BY_TAOBAO", "close")

    def refund(self, tid: str, oid: str = "", *, status: str = "WAIT_SELLER_AGREE") -> None:
        """The refund of a line (empty: of all) gets `status`; SUCCESS closes the lines, and the trade with its last."""
        trade = self.trades[tid]
        for line in trade.lines:
            if oid in ("", line["oid_str"]):
                line["refund_status"] = status
                line.setdefault("refund_id", str(self._number()))
                if status == "SUCCESS":
                    if line["status"] == "WAIT_SELLER_SEND_GOODS":
                        self._sell([line], back=True)
                    line["status"] = "TRADE_CLOSED"
        if all(line["status"] == "TRADE_CLOSED" for line in trade.lines):
            trade.detail["status"] = "TRADE_CLOSED"
        self._move(trade)
        self._note(tid, f"refund:{status}")

    def _sell(self, lines: Sequence[Mapping[str, Any]], *, back: bool = False) -> None:
        """Count down what is left of the listings, as far as a level was told; or up, for what does not leave."""
        for line in lines:
            listing = str(line["num_iid"]), str(line["sku_id"])
            if listing in self.levels:
                self.levels[listing] = max(0, self.levels[listing] + (line["num"] if back else -line["num"]))

    def remark(self, tid: str, memo: str = "") -> None:
        """The seller writes a note: modified, and nothing else."""
        trade = self.trades[tid]
        trade.detail["seller_memo"] = memo
        self._move(trade)

    def consign(self, tid: str, parcel: FakeParcel) -> None:
        """Lines leave; also what happens when somebody types the shipment in by hand."""
        trade = self.trades[tid]
        for line in trade.lines:
            if line["oid_str"] in parcel.oids:
                line |= {
                    "status": "WAIT_BUYER_CONFIRM_GOODS",
                    "consign_time": mapping.beijing(self.now()),
                    "logistics_company": parcel.company_code,
                    "invoice_no": parcel.out_sid,
                }
        waiting = any(line["status"] == "WAIT_SELLER_SEND_GOODS" for line in trade.lines)
        trade.detail["status"] = "SELLER_CONSIGNED_PART" if waiting else "WAIT_BUYER_CONFIRM_GOODS"
        self.parcels.setdefault(tid, []).append(parcel)
        self._move(trade)
        pieces = _pieces([line for line in trade.lines if line["oid_str"] in parcel.oids])
        self._note(tid, "ship", pieces, key=parcel.out_sid)

    def expire(self, *, for_good: bool = False) -> None:
        """The session ends now; `for_good`: the refresh token, too."""
        self.expires_at = self.now()
        if for_good:
            self.refresh_token = ""

    def refuse(self, method: str, *errors: dict[str, Any]) -> None:
        """Answer the next requests of `method` (or of one tid) with these `error_response` bodies."""
        self._refusals.setdefault(method, deque()).extend(errors)

    def answer_renewals(self, *answers: tuple[int, dict[str, Any]]) -> None:
        """Answer the next renewals with these statuses and bodies, and renew nothing."""
        self._renewals.extend(answers)

    # --- what it is asked -------------------------------------------------------------------------------------------

    async def serve(self, request: web.BaseRequest, body: bytes) -> web.Response:
        form = dict(parse_qsl(body.decode(), keep_blank_values=True))
        self._requests += 1
        if request.path == "/token":
            return await self.perform("token", "token", lambda: self._renew(form))
        error = self._reason_to_refuse(form)
        if error is not None:
            return _refused(error)
        method = form["method"]
        self.calls[method] = self.calls.get(method, 0) + 1
        answers = {
            "taobao.trades.sold.increment.get": self._list,
            "taobao.trade.fullinfo.get": self._detail,
            "taobao.logistics.offline.send": self._ship,
            "taobao.skus.quantity.update": self._set_levels,
            "taobao.item.quantity.update": self._set_levels,
        }
        if method not in answers:
            return _refused({"code": 22, "msg": "Invalid Method"})
        command = {"logistics": "ship", "skus": "stock", "item": "stock"}.get(method.split(".")[1], "query")
        order = {
            "ship": form.get("tid", ""),
            "stock": f"stock/{form.get('num_iid')}/{form.get('skuid_quantities', '').partition(':')[0]}",
            # Of questions no book is kept: drawn anew each time, or the faults of the first would be those of all.
            "query": f"query-{self._requests}",
        }[command]

        def answer() -> web.Response:
            if self.between is not None:
                self.between(method)
            for name in (method, form.get("tid", "")):
                if self._refusals.get(name):
                    return _refused(self._refusals[name].popleft())
            return answers[method](form)

        return await self.perform(order, command, answer)

    def apply(self, effect: Effect) -> None:
        book = self.books.order(effect.order)
        book.commands.append(effect.command)
        book.at.append(effect.at)
        if effect.command == "place":
            book.documents += 1
        if effect.items:
            self.books.add("placed" if effect.command == "place" else "shipped", effect.items)
        book.cancelled = book.cancelled or effect.command == "close"
        book.status = self.trades[effect.order].status

    def error_in_200(self) -> web.Response:
        return _refused(BUSY)

    def throttled_in_200(self) -> web.Response:
        return _refused(FREQUENT)

    async def admin(self, request: web.BaseRequest, body: bytes) -> web.Response | None:
        if request.path == "/trades" and request.method == "POST":
            given = msgspec.json.decode(body, type=_Placed)
            return _json({"tid": self.place(given.lines, paid=given.paid, freight_minor=given.freight_minor)})
        if request.path.startswith("/trades/") and request.method == "POST":
            tid, deed = request.path.removeprefix("/trades/"), msgspec.json.decode(body, type=_Deed)
            if tid not in self.trades:
                return web.Response(status=404, text="no such trade")
            if deed.do == "refund":
                self.refund(tid, deed.oid, status=deed.status)
            else:
                getattr(self, deed.do)(tid)
            return _json({"status": self.trades[tid].status})
        if request.path == "/parcels":
            return _json(self.parcels)
        if request.path == "/levels":
            return _json({f"{item}/{sku}": quantity for (item, sku), quantity in self.levels.items()})
        if request.path == "/expire":
            self.expire()
            return _json({})
        return None

    # --- inside -----------------------------------------------------------------------------------------------------

    def _reason_to_refuse(self, form: Mapping[str, str]) -> dict[str, Any] | None:
        if form.get("app_key") != self._app_key:
            return {"code": 29, "msg": "Invalid app Key", "sub_code": "isv.appkey-not-exists"}
        if form.get("format") != "json":
            return {"code": 23, "msg": "Invalid Format"}
        method = form.get("sign_method", "")
        known = method in ("md5", "hmac", "hmac-sha256")
        if not known or form.get("sign") != sign(self._secret.encode(), form, method=method):
            self.books.refused += 1
            return {"code": 25, "msg": "Invalid Signature"}
        at = mapping.parse_beijing(form.get("timestamp", ""))
        if at is None or abs((at - self.now()).total_seconds()) > self._tolerance_s:
            return {"code": 31, "msg": "Invalid Timestamp"}
        if not form.get("session"):
            return {"code": 26, "msg": "Missing Session"}
        if form["session"] != self.session or (self.expires_at is not None and self.now() >= self.expires_at):
            return {"code": 27, "msg": "Invalid Session", "sub_code": "invalid-sessionkey"}
        day = mapping.beijing(self.now())[:10]
        self._calls_of_day = (day, self._calls_of_day[1] + 1 if self._calls_of_day[0] == day else 1)
        if self._quota_per_day is not None and self._calls_of_day[1] > self._quota_per_day:
            return QUOTA
        return None

    def _list(self, form: Mapping[str, str]) -> web.Response:
        start, end = mapping.parse_beijing(form["start_modified"]), mapping.parse_beijing(form["end_modified"])
        page, size = int(form.get("page_no", "1")), int(form.get("page_size", "40"))
        if start is None or end is None or not start < end <= start + timedelta(days=1) or not 1 <= size <= 100:
            return _refused({"code": 41, "msg": "Invalid Arguments", "sub_code": "isv.invalid-parameter"})
        types = form["type"].split(",") if form.get("type") else DEFAULT_TYPES
        low = bisect.bisect_left(self._order, (start, ""))
        high = bisect.bisect_left(self._order, (end + timedelta(seconds=1), ""))
        shown = (tid for _, tid in self._order[low:high] if tid not in self.hidden)
        rows = [tid for tid in shown if self.trades[tid].detail["type"] in types]
        if self._newest_first:
            rows.reverse()
        fields = form["fields"].split(",")
        listed = [_fields(self.trades[tid], fields) for tid in rows[(page - 1) * size : page * size]]
        answer: dict[str, Any] = {"request_id": "fake"}
        if form.get("use_has_next") == "true":
            answer["has_next"] = page * size < len(rows)
        else:
            answer["total_results"] = len(rows)
        if listed:
            answer["trades"] = {"trade": listed} if self._wrapped else listed
        return _json({"trades_sold_increment_get_response": answer})

    def _detail(self, form: Mapping[str, str]) -> web.Response:
        trade = self.trades.get(form.get("tid", ""))
        if trade is None:
            return _refused({"code": 15, "msg": "Remote service error", "sub_code": "isv.trade-not-exist"})
        fields = form["fields"].split(",")
        detail = _fields(trade, fields)
        needed = {"receiver_name", "receiver_address", "created", "receiver_mobile", "receiver_phone"}
        if form.get("include_oaid") and needed <= set(fields):
            detail["oaid"] = trade.detail["oaid"]
        if "orders" in detail and self._wrapped:
            detail["orders"] = {"order": detail["orders"]}
        return _json({"trade_fullinfo_get_response": {"trade": detail, "request_id": "fake"}})

    def _ship(self, form: Mapping[str, str]) -> web.Response:
        trade = self.trades.get(form["tid"])
        if trade is None:
            return _refused(
                {"code": 15, "sub_code": "isv.logistics-offline-service-error:B01", "sub_msg": "订单不存在"}
            )
        split = form["sub_tid"].split(",") if form.get("is_split") == "1" else [o["oid_str"] for o in trade.lines]
        lines = [line for line in trade.lines if line["oid_str"] in split]
        if form.get("is_split") != "1":
            lines = [line for line in lines if line["status"] != "TRADE_CLOSED"]
        shippable = bool(lines) and all(line["status"] == "WAIT_SELLER_SEND_GOODS" for line in lines)
        if not shippable:
            self.books.repeats += 1
            shipped_before = all(line["status"] == "WAIT_BUYER_CONFIRM_GOODS" for line in lines)
            if not (self._doubles_shipments and lines and shipped_before):
                return _refused(SHIPPED_ALREADY)
            self.books.duplicates += 1
        oids = tuple(line["oid_str"] for line in lines)
        self.consign(trade.tid, FakeParcel(oids, form["company_code"], form["out_sid"]))
        return _json({"logistics_offline_send_response": {"shipping": {"is_success": True}, "request_id": "fake"}})

    def _set_levels(self, form: Mapping[str, str]) -> web.Response:
        item = form["num_iid"]
        pairs = form.get("skuid_quantities") or f"{form.get('sku_id', '')}:{form.get('quantity', '')}"
        for pair in pairs.split(";"):
            sku, _, quantity = pair.partition(":")
            if not quantity.isdigit():
                return _refused({"code": 41, "msg": "Invalid Arguments", "sub_code": "isv.invalid-parameter:quantity"})
            self.levels[item, sku] = int(quantity)
        root = "skus_quantity_update_response" if "skuid_quantities" in form else "item_quantity_update_response"
        return _json({root: {"item": {"num_iid": int(item)}, "request_id": "fake"}})

    def _renew(self, form: Mapping[str, str]) -> web.Response:
        if self._renewals:
            status, body = self._renewals.popleft()
            return _json(body, status=status)
        if (form.get("client_id"), form.get("client_secret")) != (self._app_key, self._secret):
            return _json({"error": "invalid_client", "error_description": "client_secret is invalid"}, status=400)
        if not self.refresh_token or form.get("refresh_token") != self.refresh_token:
            # One that was used stands for nothing any more.
            return _json({"error": "invalid_grant", "error_description": "refresh token is invalid"}, status=400)
        self.refreshes += 1
        self.session, self.refresh_token = f"session-{self.refreshes}", f"refresh-{self.refreshes}"
        lifetime_s = self._lifetime_s or 86_400.0
        self.expires_at = self.now() + timedelta(seconds=lifetime_s)
        tokens = {"access_token": self.session, "refresh_token": self.refresh_token, "token_type": "Bearer"}
        return _json(
            {**tokens, "expires_in": int(lifetime_s), "re_expires_in": int(lifetime_s), "taobao_user_nick": "n"}
        )

    def _number(self) -> int:
        self._next_number += 1
        return self._next_number

    def _become(self, trade: FakeTrade, status: str, command: str, **changes: Any) -> None:
        trade.detail |= {"status": status, **changes}
        for line in trade.lines:
            if line["status"] not in ("TRADE_CLOSED", "WAIT_BUYER_CONFIRM_GOODS"):
                line["status"] = status
        self._move(trade)
        self._note(trade.tid, command)

    def _move(self, trade: FakeTrade) -> None:
        """The trade is modified now, and stands elsewhere in the list."""
        place = bisect.bisect_left(self._order, (trade.modified, trade.tid))
        del self._order[place]
        trade.modified = self.now().replace(microsecond=0)
        bisect.insort(self._order, (trade.modified, trade.tid))

    def _note(self, tid: str, command: str, items: dict[str, int] | None = None, *, key: str = "") -> None:
        self.commit(Effect(tid, command, self.now().timestamp(), key, items or {}))


class _Placed(msgspec.Struct):
    lines: list[FakeLine]
    paid: bool = False
    freight_minor: int = 0


class _Deed(msgspec.Struct):
    do: str
    oid: str = ""
    status: str = "WAIT_SELLER_AGREE"

    def __post_init__(self) -> None:
        if self.do not in ("pay", "forbid", "allow", "refund", "close", "remark"):
            raise ValueError("`do` is pay, forbid, allow, refund, close or remark")


def _fields(trade: FakeTrade, fields: Sequence[str]) -> dict[str, Any]:
    """What was asked for, and no more."""
    whole = {**trade.detail, "modified": mapping.beijing(trade.modified)}
    return {name: whole[name] for name in fields if name in whole}


def _divide(minor: int, amounts: Sequence[int]) -> list[int]:
    """`minor` over the lines in proportion, to the last fen."""
    parts = [minor * amount // (sum(amounts) or 1) for amount in amounts]
    parts[-1] += minor - sum(parts)
    return parts


def _pieces(lines: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    pieces: dict[str, int] = {}
    for line in lines:
        pieces[line["outer_sku_id"]] = pieces.get(line["outer_sku_id"], 0) + line["num"]
    return pieces


def _json(value: object, *, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def _refused(error: Mapping[str, Any]) -> web.Response:
    return _json({"error_response": {**error, "request_id": "fake"}})


def main() -> None:
    parser = argparse.ArgumentParser(prog="adapters.taobao.fake", description=__doc__)
    parser.add_argument("--port", type=int, default=8703)
    parser.add_argument("--app-key", default="12345678")
    parser.add_argument("--secret", default="fake-secret")
    parser.add_argument("--session", default="fake-session")
    parser.add_argument("--refresh-token", default="fake-refresh")
    parser.add_argument("--speed", type=float, default=1.0, help="how fast the shop's clock runs")
    args = parser.parse_args()
    run_fake(
        FakeShop(
            secret=args.secret,
            session=args.session,
            app_key=args.app_key,
            refresh_token=args.refresh_token,
            now=Clock(speed=args.speed).now,
            port=args.port,
        )
    )


if __name__ == "__main__":
    main()
