"""Stock: balances, and setting them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import asyncpg
import msgspec

from gateway.api.errors import conflict, wrong
from gateway.api.routing import Call, Route
from gateway.api.views import StockBody, StockList, StockQuery
from gateway.core.order import Sku
from gateway.core.stock import Place
from gateway.store.stock import StockSet, TooLow, list_stock, set_stock


class Stock:
    """Handlers of ``/stock``."""

    def __init__(self, pool: asyncpg.Pool, *, now: Callable[[], datetime]) -> None:
        self._pool = pool
        self._now = now

    def routes(self) -> list[Route]:
        return [
            Route(
                method="GET", path="/stock", handler=self.list_stock, query=StockQuery, answer=StockList,
                zh="库存", en="Balances, in pieces",
            ),
            Route(
                method="PUT", path="/stock", handler=self.set_stock, body=StockBody, answer=StockSet,
                errors=(400, 401, 409, 413, 422, 503),
                zh="设置在库数量", en="Set pieces on hand, all or none; orders that waited for them go on",
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
        )
        full = len(rows) == query.limit
        return StockList(
            stock=rows, next=msgspec.json.encode([rows[-1].sku, rows[-1].warehouse]).decode() if full else ""
        )

    async def set_stock(self, call: Call) -> StockSet:
        body: StockBody = call.body
        wanted: dict[Place, int] = {}
        for index, item in enumerate(body.items):
            place = (Sku(item.sku), item.warehouse)
            if place in wanted:
                raise wrong(f"$.items[{index}]", f"names {item.sku} in {item.warehouse} again", "name each place once")
            wanted[place] = item.on_hand
        try:
            return await set_stock(self._pool, wanted, reason=body.reason, actor=call.actor, now=self._now())
        except TooLow as error:
            first = error.rows[0]
            raise conflict(
                "below_booked",
                f"{first.sku} in {first.warehouse}: {first.locked} locked and {first.committed} committed are more than"
                f" {wanted[Sku(first.sku), first.warehouse]}"
                + (f"; {len(error.rows) - 1} more like it" if len(error.rows) > 1 else "")
                + ". Nothing was changed",
                "set at least what is booked, or cancel orders first",
                where="$.items",
                details=error.rows,
            ) from error


def _cursor(text: str) -> Place:
    try:
        sku, warehouse = msgspec.json.decode(text, type=tuple[str, str])
    except msgspec.DecodeError as error:
        raise wrong("query.after", "is not a place in this list", "pass `next` as it came") from error
    return Sku(sku), warehouse
