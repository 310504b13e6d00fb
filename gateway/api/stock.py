"""Stock: balances, setting them, and their movements beside them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime

import asyncpg
import msgspec

from gateway.api.errors import ApiError, conflict, not_found, off_list, wrong
from gateway.api.routing import Call, Route
from gateway.api.views import LedgerQuery, SettleBody, StockBody, StockDone, StockList, StockQuery
from gateway.core.order import Sku
from gateway.core.stock import Place
from gateway.core.text import Text
from gateway.store.ledger import BelowBooked, PlaceLedger, Settled, read_ledger, settle
from gateway.store.stock import TooLow, list_stock, set_stock


class Stock:
    """Handlers of ``/stock``. `warehouses`: those that a shop's route leads to."""

    def __init__(self, pool: asyncpg.Pool, *, warehouses: Collection[str], now: Callable[[], datetime]) -> None:
        self._pool = pool
        self._warehouses = warehouses
        self._now = now

    def routes(self) -> list[Route]:
        return [
            Route(
                method="GET", path="/stock", handler=self.list_stock, query=StockQuery, answer=StockList,
                zh="库存", en="Balances, in pieces",
            ),
            Route(
                method="PUT", path="/stock", handler=self.set_stock, body=StockBody, answer=StockDone,
                errors=(400, 401, 409, 413, 422, 503),
                zh="设置在库数量", en="Set pieces on hand, all or none; orders that waited for them go on",
            ),
            Route(
                method="GET", path="/stock/ledger", handler=self.ledger, query=LedgerQuery, answer=PlaceLedger,
                errors=(401, 404, 422, 503),
                zh="库存与其变动", en="A balance beside the sum of its movements, and the newest of them",
            ),
            Route(
                method="POST", path="/stock/settle", handler=self.settle, body=SettleBody, answer=Settled,
                errors=(400, 401, 404, 409, 413, 422, 503),
                zh="平账", en="Put a balance and the sum of its movements right",
            ),
        ]  # fmt: skip

    async def list_stock(self, call: Call) -> StockList:
        query: StockQuery = call.query
        rows = await list_stock(
            self._pool,
            prefix=query.sku,
            warehouse=query.warehouse,
            after=None if query.after is None else _cursor(query.after),
            limit=query.limit,
            off=query.off,
        )
        full = len(rows) == query.limit
        return StockList(
            stock=rows, next=msgspec.json.encode([rows[-1].sku, rows[-1].warehouse]).decode() if full else ""
        )

    async def set_stock(self, call: Call) -> StockDone:
        body: StockBody = call.body
        wanted: dict[Place, int] = {}
        for index, item in enumerate(body.items):
            place = (Sku(item.sku), item.warehouse)
            if place in wanted:
                raise wrong(
                    f"$.items[{index}]",
                    Text(f"又出现了 {item.warehouse} 的 {item.sku}", f"names {item.sku} in {item.warehouse} again"),
                    Text("每个仓库的每个 SKU 只写一次", "name each place once"),
                )
            wanted[place] = item.on_hand
        try:
            done = await set_stock(self._pool, wanted, reason=body.reason, actor=call.actor, now=self._now())
        except TooLow as error:
            first, more = error.rows[0], len(error.rows) - 1
            on_hand = wanted[Sku(first.sku), first.warehouse]
            raise conflict(
                "below_booked",
                Text(
                    f"{first.warehouse} 的 {first.sku}：锁定 {first.locked}、已占 {first.committed}，多于 {on_hand}"
                    + (f"；另有 {more} 处类似" if more else "")
                    + "。没有做任何改动",
                    f"{first.sku} in {first.warehouse}: {first.locked} locked and {first.committed} committed are more"
                    f" than {on_hand}" + (f"; {more} more like it" if more else "") + ". Nothing was changed",
                ),
                Text("数量至少为锁定与已占之和，或先取消订单", "set at least what is booked, or cancel orders first"),
                where="$.items",
                details=error.rows,
            ) from error
        unrouted = sorted({warehouse for _, warehouse in wanted} - set(self._warehouses))
        return StockDone(done.changed, done.created, done.woken, unrouted=unrouted)

    async def ledger(self, call: Call) -> PlaceLedger:
        query: LedgerQuery = call.query
        found = await read_ledger(self._pool, (Sku(query.sku), query.warehouse), limit=query.limit)
        if found is None:
            raise _no_place(query.sku, query.warehouse, "query")
        return found

    async def settle(self, call: Call) -> Settled:
        body: SettleBody = call.body
        place = (Sku(body.sku), body.warehouse)
        try:
            done = await settle(
                self._pool, place, keep=body.keep, reason=body.reason, actor=call.actor, now=self._now()
            )
        except BelowBooked as error:
            moved = error.moved
            raise conflict(
                "below_booked",
                Text(
                    f"按变动合计，{body.warehouse} 的 {body.sku} 在库 {moved.on_hand}、锁定 {moved.locked}、"
                    f"已占 {moved.committed}，不能成为库存。没有做任何改动",
                    f"by its movements {body.sku} in {body.warehouse} has {moved.on_hand} on hand, {moved.locked}"
                    f" locked, {moved.committed} committed, which no balance can be. Nothing was changed",
                ),
                Text("以库存为准（keep=balance），再按盘点设置在库", "keep the balance, then set what is counted"),
                where="$.keep",
            ) from error
        if done is None:
            raise _no_place(body.sku, body.warehouse, "$.sku")
        return done


def _no_place(sku: str, warehouse: str, where: str) -> ApiError:
    what = Text(f"{warehouse} 没有 {sku} 的库存", f"there is no balance of {sku} in {warehouse}")
    return not_found(what, where, Text("用 `ordergate stock list` 查看", "see `ordergate stock list`"))


def _cursor(text: str) -> Place:
    try:
        sku, warehouse = msgspec.json.decode(text, type=tuple[str, str])
    except msgspec.DecodeError as error:
        raise off_list() from error
    return Sku(sku), warehouse
