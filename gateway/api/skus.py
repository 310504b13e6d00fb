"""SKU tables of shops: listed, exported, and imported as a whole file or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime

import asyncpg
import msgspec

from gateway.api.errors import ApiError, not_found
from gateway.api.routing import Call, Route
from gateway.api.views import (
    ListingView,
    PartView,
    SkuFile,
    SkuFileQuery,
    SkuImportBody,
    SkuImported,
    SkuList,
    SkuPublishBody,
    SkuPublished,
    SkusQuery,
    UnmappedList,
    UnmappedQuery,
)
from gateway.core.event import ConnectionName
from gateway.core.order import Sku
from gateway.core.text import Text
from gateway.settings import Connection
from gateway.sheets.skus import BadTable, SkuRow, parse, render
from gateway.store.skus import (
    Listing,
    ListingWish,
    Told,
    import_skus,
    list_listings,
    publish_again,
    unmapped_skus,
)
from gateway.store.sql import Names

_TEMPLATE_SKUS = 5_000
_PATH = "/skus/{shop}"


class Skus:
    """Handlers of ``/skus``, for the connections that orders begin at."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        names: Names,
        connections: Mapping[ConnectionName, Connection],
        now: Callable[[], datetime],
        renamed: Mapping[ConnectionName, ConnectionName],
    ) -> None:
        self._pool = pool
        self._names = names
        self._mapped = {name: one.skus == "mapped" for name, one in connections.items() if one.is_shop}
        self._now = now
        self._renamed = renamed
        self._reading = asyncio.Lock()
        """One file at a time: a thread that reads one takes turns with everything this worker does."""

    def routes(self) -> list[Route]:
        errors = (401, 404, 422, 503)
        return [
            Route(
                method="GET", path=_PATH, handler=self.list_skus, query=SkusQuery, answer=SkuList, errors=errors,
                zh="店铺商品对照表", en="What a shop's SKUs stand for in the warehouse, and which levels it was told",
            ),
            Route(
                method="GET", path=f"{_PATH}/unmapped", handler=self.list_unmapped_skus, query=UnmappedQuery,
                answer=UnmappedList, errors=errors,
                zh="缺少对照、压住订单的编码", en="SKUs that hold orders because nothing stands for them",
            ),
            Route(
                method="GET", path=f"{_PATH}/export", handler=self.export_skus, query=SkuFileQuery, answer=SkuFile,
                errors=errors, zh="导出对照表", en="The table as a file",
            ),
            Route(
                method="GET", path=f"{_PATH}/template", handler=self.skus_template, query=SkuFileQuery, answer=SkuFile,
                errors=errors,
                zh="对照表模板，已填入缺少对照的编码", en="A file to fill in, with the SKUs that hold orders in it",
            ),
            Route(
                method="POST", path=f"{_PATH}/import", handler=self.import_skus, body=SkuImportBody, answer=SkuImported,
                errors=(400, 401, 404, 413, 422, 503),
                zh="导入对照表", en="Import a file, all or nothing; orders that waited for its SKUs go on",
            ),
            Route(
                method="POST", path=f"{_PATH}/publish", handler=self.publish_skus, body=SkuPublishBody,
                answer=SkuPublished, errors=(400, 401, 404, 413, 422, 503),
                zh="重新同步库存", en="Tell stock levels again, those that the shop refused included",
            ),
        ]  # fmt: skip

    async def list_skus(self, call: Call) -> SkuList:
        query: SkusQuery = call.query
        shop, shop_id = self._shop(call)
        rows = await list_listings(
            self._pool, shop_id, prefix=query.sku, refused=query.refused, after=query.after, limit=query.limit
        )
        full = len(rows) == query.limit
        return SkuList(
            mapped=self._mapped[shop],
            skus=[_view(listing, told) for listing, told in rows],
            next=rows[-1][0].sku if full else "",
        )

    async def list_unmapped_skus(self, call: Call) -> UnmappedList:
        query: UnmappedQuery = call.query
        return UnmappedList(skus=await unmapped_skus(self._pool, self._ids(call), limit=query.limit))

    async def export_skus(self, call: Call) -> SkuFile:
        shop, shop_id = self._shop(call)
        rows = await list_listings(self._pool, shop_id, prefix=None, after=None, limit=None)
        return await self._file(call.query, f"{shop}-skus", [_row(listing) for listing, _ in rows])

    async def skus_template(self, call: Call) -> SkuFile:
        shop, _ = self._shop(call)
        missing = await unmapped_skus(self._pool, self._ids(call), limit=_TEMPLATE_SKUS)
        rows = [
            SkuRow(sku=Sku(one.sku), parts=(), title=one.name, item_id=None, sku_id=None, publish=None)
            for one in missing
        ]
        return await self._file(call.query, f"{shop}-skus-template", rows)

    async def import_skus(self, call: Call) -> SkuImported:
        body: SkuImportBody = call.body
        shop, _ = self._shop(call)
        try:
            async with self._reading:
                rows = await asyncio.to_thread(parse, body.file)
        except BadTable as error:
            raise ApiError(
                422,
                "bad_table",
                Text(
                    f"文件中有 {error.count} 个问题，没有导入任何内容",
                    f"{error.count} problem(s) in the file; nothing was imported",
                ),
                where="$.file",
                advice=Text(
                    "按 `details` 所列（行、列、怎么办）修正，再导入整个文件",
                    "repair what `details` lists (row, column, what to do) and import the whole file again",
                ),
                details={"count": error.count, "problems": error.problems},
            ) from error
        done = await import_skus(
            self._pool,
            self._ids(call),
            [
                ListingWish(
                    sku=row.sku,
                    parts=row.parts,
                    item_id=row.item_id,
                    sku_id=row.sku_id,
                    title=row.title,
                    publish=row.publish,
                )
                for row in rows
            ],
            replace=body.replace,
            dry_run=body.dry_run,
            reason=body.reason,
            actor=call.actor,
            now=self._now(),
        )
        return SkuImported(**msgspec.structs.asdict(done), mapped=self._mapped[shop])

    async def publish_skus(self, call: Call) -> SkuPublished:
        body: SkuPublishBody = call.body
        count = await publish_again(
            self._pool,
            self._shop(call)[1],
            skus=body.skus,
            refused=body.refused,
            reason=body.reason,
            actor=call.actor,
        )
        return SkuPublished(listings=count)

    async def _file(self, query: SkuFileQuery, name: str, rows: list[SkuRow]) -> SkuFile:
        async with self._reading:
            file = await asyncio.to_thread(render, rows, query.format, english=query.language == "en")
        return SkuFile(name=f"{name}.{query.format}", skus=len(rows), file=file)

    def _ids(self, call: Call) -> list[int]:
        """The shop's number, and those that it had under other names: their orders go by its table."""
        shop, number = self._shop(call)
        before = [self._names.get(old) for old, new in self._renamed.items() if new == shop]
        return [number, *(found for found in before if found is not None)]

    def _shop(self, call: Call) -> tuple[ConnectionName, int]:
        shop = ConnectionName(call.path["shop"])
        number = self._names.get(shop)
        if shop not in self._mapped or number is None:
            known = sorted(self._mapped)
            raise not_found(
                Text(f"没有店铺 {shop}", f"there is no shop {shop}"),
                "path",
                Text(
                    f"配置中的店铺：{'、'.join(known) or '无'}",
                    f"shops of this configuration: {', '.join(known) or 'none'}",
                ),
            )
        return shop, number


def _view(listing: Listing, told: Told) -> ListingView:
    return ListingView(
        sku=listing.sku,
        title=listing.title,
        parts=[PartView(sku=part.sku, quantity=part.pieces, gift=part.gift) for part in listing.parts],
        item_id=listing.item_id,
        sku_id=listing.sku_id,
        publish=listing.publish,
        sent=told.sent,
        sent_at=told.sent_at,
        failures=told.failures,
        refused=told.refused,
    )


def _row(listing: Listing) -> SkuRow:
    return SkuRow(
        sku=listing.sku,
        parts=listing.parts,
        title=listing.title,
        item_id=listing.item_id,
        sku_id=listing.sku_id,
        publish=listing.publish,
    )
