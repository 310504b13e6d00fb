"""A WMS that speaks Qimen: takes delivery orders, keeps books, misbehaves on demand, and ships what it took.

In a process of its own: ``python -m adapters.qimen.fake --port 8701 --secret S [--books FILE] [--hooks-url URL]``.
Beside the paths every fake has: ``GET`` and ``POST /warehouse`` (fields of `Warehouse`).
"""

from __future__ import annotations

import argparse
import asyncio
import html
import re
import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import aiohttp
import msgspec
from aiohttp import web

from adapters.qimen import mapping
from gateway.sdk.models import parse_minor
from gateway.testing.fakes import Effect, FakeServer, Faults, run_fake


class Warehouse(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How the fake plays the warehouse. Without `hooks_url` it ships nothing.

    `confirm_after_s` after an order came in its confirmation goes out; of `partial_share` of the orders with more than
    one piece, the first piece goes ahead in a confirmation of its own. `duplicate_share`: sent twice. `reports`:
    progress goes out before. `quoting_share` of the orders is refused, in words that quote their receiver.
    """

    hooks_url: str = ""
    confirm_after_s: float = 0.0
    partial_share: float = 0.0
    duplicate_share: float = 0.0
    reports: bool = False
    quoting_share: float = 0.0
    out_biz_code: bool = True
    carrier: str = "ZTO"
    callers: int = 4
    tries: int = 20
    pause_s: float = 0.5


class FakeWms(FakeServer):
    """One WMS. `dedupe` False makes a second document of a repeated create, True refuses it as a duplicate."""

    def __init__(
        self,
        *,
        secret: str,
        app_key: str = "fake",
        customer_id: str = "fake-wms",
        port: int = 0,
        dedupe: bool = False,
        repeated_cancel_fails: bool = True,
        faults: Faults | None = None,
        warehouse: Warehouse | None = None,
        journal: Path | None = None,
    ) -> None:
        super().__init__(port=port, faults=faults, journal=journal)
        self.warehouse = warehouse or Warehouse()
        self.told: deque[tuple[str, str]] = deque(maxlen=10_000)
        """(order, what) our calls to the gateway that were accepted, newest last."""
        self._secret = secret
        self._app_key = app_key
        self._customer_id = customer_id
        self._dedupe = dedupe
        self._repeated_cancel_fails = repeated_cancel_fails
        self._items: dict[str, dict[str, int]] = {}
        self._due: asyncio.Queue[str] = asyncio.Queue()
        self._session: aiohttp.ClientSession | None = None

    # --- what it is told ----------------------------------------------------------------------------------------

    async def serve(self, request: web.BaseRequest, body: bytes) -> web.Response:
        query = dict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True))
        if query.get("sign") != mapping.sign(self._secret, query, body):
            self.books.refused += 1
            return _envelope(False, "sign-check-failure", "签名校验失败")
        method = mapping.method_of(query)
        if method == mapping.CREATE:
            code = _text(_ORDER_CODE, body)
            return await self.perform(code, "create", lambda: self._create(code, body))
        if method == mapping.CANCEL:
            code = _text(_CANCEL_CODE, body)
            return await self.perform(code, "cancel", lambda: self._cancel(code))
        if method == mapping.QUERY:
            code = _text(_CANCEL_CODE, body)
            return await self.perform(code, "query", lambda: self._query(code))
        return _envelope(False, "isv.invalid-method", "unknown method")

    def apply(self, effect: Effect) -> None:
        book = self.books.order(effect.order)
        if effect.command == "create":
            book.documents += 1
            self.books.duplicates += book.documents > 1
            book.status = "ACCEPT"
            self._items[effect.order] = effect.items
            self.books.add("created", effect.items)
            self.books.add_amounts(effect.amounts_minor)
        elif effect.command == "cancel":
            book.cancelled = True
            book.status = "CANCELED"
            self.books.add("cancelled", effect.items)
        else:
            book.status = "DELIVERED" if effect.command == "ship" else "PARTDELIVERED"
            self.books.add("shipped", effect.items)
        book.commands.append(effect.command)
        book.at.append(effect.at)

    def error_in_200(self) -> web.Response:
        return _envelope(False, "isp.internal-error", "系统繁忙")

    def throttled_in_200(self) -> web.Response:
        return web.Response(
            body=b"<error_response><code>7</code><msg>App Call Limited</msg>"
            b"<sub_code>accesscontrol.limited-by-api-access-count</sub_code>"
            b"<sub_msg>This ban will last for 1 more seconds</sub_msg></error_response>",
            content_type="text/xml",
        )

    def _create(self, code: str, body: bytes) -> web.Response:
        if not code:
            return _envelope(False, "S001", "deliveryOrderCode 不能为空")
        if code in self._items:
            self.books.repeats += 1
            if self._dedupe:
                return _envelope(False, "S002", f"出库单 {code} 已存在")
        if _share(code, "quote") < self.warehouse.quoting_share:
            quoted = _QUOTED.findall(body.partition(b"<receiverInfo>")[2])
            return _envelope(False, "S010", f"收件人 {b' '.join(quoted).decode()} 无法送达")
        items: dict[str, int] = {}
        amounts_minor: dict[str, int] = {}
        for sku, pieces, price in _LINE.findall(body):
            name = html.unescape(sku.decode())
            items[name] = items.get(name, 0) + int(pieces)
            if price:
                amounts_minor[name] = amounts_minor.get(name, 0) + int(pieces) * parse_minor(price.decode())
        self.commit(Effect(code, "create", time.time(), items=items, amounts_minor=amounts_minor))
        if self.warehouse.hooks_url:
            asyncio.get_running_loop().call_later(self.warehouse.confirm_after_s, self._due.put_nowait, code)
        return _envelope(True, "0", "ok", f"<deliveryOrderId>W-{html.escape(code)}</deliveryOrderId>")

    def _cancel(self, code: str) -> web.Response:
        if code not in self._items:
            return _envelope(False, "S404", "订单不存在")
        book = self.books.orders[code]
        if book.status in ("DELIVERED", "PARTDELIVERED"):
            return _envelope(False, "S003", "订单已出库，不能取消")
        if book.cancelled:
            self.books.repeats += 1
            if self._repeated_cancel_fails:
                return _envelope(False, "S004", "订单已取消，请勿重复操作")
            return _envelope(True, "0", "ok")
        self.commit(Effect(code, "cancel", time.time(), items=self._items[code]))
        return _envelope(True, "0", "ok")

    def _query(self, code: str) -> web.Response:
        if code not in self._items:
            return _envelope(False, "S404", "订单不存在")
        order = html.escape(code)
        return _envelope(
            True,
            "0",
            "ok",
            f"<deliveryOrder><deliveryOrderCode>{order}</deliveryOrderCode><deliveryOrderId>W-{order}"
            f"</deliveryOrderId><status>{self.books.orders[code].status}</status></deliveryOrder>",
        )

    # --- what it does -------------------------------------------------------------------------------------------

    async def admin(self, request: web.BaseRequest, body: bytes) -> web.Response | None:
        if request.path != "/warehouse":
            return None
        if request.method == "POST":
            changes = msgspec.json.decode(body, type=dict[str, Any])
            self.warehouse = msgspec.convert({**msgspec.structs.asdict(self.warehouse), **changes}, Warehouse)
        return web.Response(body=msgspec.json.encode(self.warehouse), content_type="application/json")

    async def started(self) -> None:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
        for number in range(self.warehouse.callers):
            self.spawn(self._work(), name=f"fake-warehouse-{number}")

    async def stopping(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _work(self) -> None:
        while True:
            code = await self._due.get()
            self.books.telling += 1
            try:
                await self.ship(code)
            finally:
                self.books.telling -= 1

    async def ship(self, code: str) -> None:
        """Pack and hand over the order `code` (unless it was cancelled) and tell the gateway."""
        warehouse = self.warehouse
        if warehouse.reports:
            for status in ("ACCEPT", "PICK", "PACKAGE"):
                await self._tell(mapping.REPORT, code, status, render_report(code, status, datetime.now(UTC)))
        book = self.books.orders[code]
        # From here on a cancel comes too late; the books say so before the gateway hears of it.
        if book.cancelled or book.status == "DELIVERED":
            return
        items = self._items[code]
        rest = dict(items)
        if sum(items.values()) > 1 and _share(code, "partial") < warehouse.partial_share:
            first = next(iter(items))
            rest[first] -= 1
            self.commit(Effect(code, "ship_part", time.time(), items={first: 1}))
            await self._confirm(code, {first: 1}, part=1, final=False)
        rest = {sku: pieces for sku, pieces in rest.items() if pieces}
        self.commit(Effect(code, "ship", time.time(), items=rest))
        await self._confirm(code, rest, part=2, final=True)

    async def _confirm(self, code: str, items: Mapping[str, int], *, part: int, final: bool) -> None:
        body = render_confirm(
            code,
            items,
            final=final,
            carrier=self.warehouse.carrier,
            tracking_no=f"78{blake2b(f'{code}/{part}'.encode(), digest_size=5).hexdigest()}",
            out_biz_code=f"{code}-{part}" if self.warehouse.out_biz_code else "",
        )
        what = "final" if final else "part"
        await self._tell(mapping.CONFIRM, code, what, body)
        if _share(code, what) < self.warehouse.duplicate_share:
            await self._tell(mapping.CONFIRM, code, what, body)

    async def _tell(self, method: str, code: str, what: str, body: bytes) -> None:
        """Call the gateway, if there is one, until it says success."""
        assert self._session is not None
        if not self.warehouse.hooks_url:
            return
        for _ in range(self.warehouse.tries):
            query = signed_query(
                method, body, secret=self._secret, app_key=self._app_key, customer_id=self._customer_id
            )
            url = f"{self.warehouse.hooks_url}?{urlencode(query, quote_via=quote)}"
            try:
                async with self._session.post(url, data=body, headers={"content-type": "text/xml"}) as answer:
                    if answer.status == 200 and b"<flag>success</flag>" in await answer.read():
                        self.told.append((code, what))
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(self.warehouse.pause_s)


def signed_query(method: str, body: bytes, *, secret: str, app_key: str, customer_id: str) -> dict[str, str]:
    """The query of a call to the gateway, as the Qimen gateway signs it for the receiver."""
    query = {
        "method": mapping.PREFIX + method,
        "timestamp": mapping.beijing(datetime.now(UTC)),
        "format": "xml",
        "app_key": app_key,
        "v": "2.0",
        "sign_method": "md5",
        "customerId": customer_id,
    }
    query["sign"] = mapping.sign(secret, query, body)
    return query


def render_confirm(
    code: str, items: Mapping[str, int], *, final: bool, carrier: str, tracking_no: str, out_biz_code: str = ""
) -> bytes:
    """A `deliveryorder.confirm` with one parcel of `items`."""
    order = html.escape(code)
    message_id = f"<outBizCode>{html.escape(out_biz_code)}</outBizCode>" if out_biz_code else ""
    packed = "".join(
        f"<item><itemCode>{html.escape(sku)}</itemCode><quantity>{pieces}</quantity></item>"
        for sku, pieces in items.items()
    )
    lines = "".join(
        f"<orderLine><orderLineNo>{number}</orderLineNo><itemCode>{html.escape(sku)}</itemCode>"
        f"<planQty>{pieces}</planQty><actualQty>{pieces}</actualQty></orderLine>"
        for number, (sku, pieces) in enumerate(items.items(), 1)
    )
    status = "DELIVERED" if final else "PARTDELIVERED"
    return (
        f"<request><deliveryOrder><deliveryOrderCode>{order}</deliveryOrderCode><warehouseCode>OTHER</warehouseCode>"
        f"<orderType>JYCK</orderType>{message_id}<confirmType>{0 if final else 1}</confirmType>"
        f"<status>{status}</status></deliveryOrder><packages><package><logisticsCode>{carrier}</logisticsCode>"
        f"<expressCode>{tracking_no}</expressCode><items>{packed}</items></package></packages>"
        f"<orderLines>{lines}</orderLines></request>"
    ).encode()


def render_report(code: str, status: str, at: datetime) -> bytes:
    """An `orderprocess.report`."""
    return (
        f"<request><order><orderCode>{html.escape(code)}</orderCode><orderType>JYCK</orderType>"
        f"<warehouseCode>OTHER</warehouseCode></order><process><processStatus>{status}</processStatus>"
        f"<operateTime>{mapping.beijing(at)}</operateTime></process></request>"
    ).encode()


_ORDER_CODE = re.compile(rb"<deliveryOrderCode>([^<]*)</")
_CANCEL_CODE = re.compile(rb"<orderCode>([^<]*)</")
_QUOTED = re.compile(rb"<(?:name|mobile|detailAddress)>([^<]*)</")
_LINE = re.compile(
    rb"<itemCode>([^<]*)</itemCode>.*?<planQty>(\d+)</planQty>"
    rb"(?:<retailPrice>[^<]*</retailPrice><actualPrice>([0-9.]+)</actualPrice>)?"
)


def _text(pattern: re.Pattern[bytes], body: bytes) -> str:
    match = pattern.search(body)
    return html.unescape(match[1].decode()) if match else ""


def _envelope(success: bool, code: str, message: str, more: str = "") -> web.Response:
    flag = "success" if success else "failure"
    body = f"<response><flag>{flag}</flag><code>{code}</code><message>{message}</message>{more}</response>"
    return web.Response(body=body.encode(), content_type="text/xml")


def _share(code: str, what: str) -> float:
    return int.from_bytes(blake2b(f"{what}/{code}".encode(), digest_size=4).digest(), "big") / 2**32


def main() -> None:
    parser = argparse.ArgumentParser(prog="adapters.qimen.fake", description=__doc__)
    parser.add_argument("--port", type=int, default=8701)
    parser.add_argument("--secret", default="fake-secret")
    parser.add_argument("--dedupe", action="store_true", help="refuse a repeated create instead of doubling it")
    parser.add_argument("--books", type=Path, help="keep the books in this file")
    parser.add_argument("--hooks-url", default="", help="where to send progress and confirmations")
    parser.add_argument("--confirm-after-s", type=float, default=0.0)
    parser.add_argument("--partial-share", type=float, default=0.0)
    parser.add_argument("--duplicate-share", type=float, default=0.0)
    parser.add_argument("--reports", action="store_true")
    parser.add_argument("--quoting-share", type=float, default=0.0)
    args = parser.parse_args()
    warehouse = Warehouse(
        hooks_url=args.hooks_url,
        confirm_after_s=args.confirm_after_s,
        partial_share=args.partial_share,
        duplicate_share=args.duplicate_share,
        reports=args.reports,
        quoting_share=args.quoting_share,
    )
    run_fake(FakeWms(secret=args.secret, port=args.port, dedupe=args.dedupe, warehouse=warehouse, journal=args.books))


if __name__ == "__main__":
    main()
