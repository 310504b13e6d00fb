"""The one work queue: what waits for a person, by root cause and one by one, and as a spreadsheet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

import asyncpg
import msgspec

from gateway.api.advice import FOR_STOCK, About, How, meaning, next_step, whose
from gateway.api.desk import Desk
from gateway.api.errors import conflict, near, not_found, off_list, wrong
from gateway.api.filters import check_conflict, check_connection, check_reason
from gateway.api.routing import Call, Download, Route
from gateway.api.spreadsheet import XLSX, StuckSheet
from gateway.api.views import (
    Done,
    ExportQuery,
    HandledBody,
    WorkCard,
    WorkCards,
    WorkItem,
    WorkItems,
    WorkItemsQuery,
    WorkQuery,
)
from gateway.core.delivery import AfterUnknown
from gateway.core.event import ConnectionName
from gateway.core.owner import WorkKind
from gateway.core.text import Text
from gateway.core.words import CONFLICTS, word
from gateway.store.stock import Missing, read_missing
from gateway.store.work import Card, Item, OtherConflicts, Place, Wish, cards, conflicts_handled, items

_PAGE = 500
_HOW: dict[AfterUnknown, How] = {
    AfterUnknown.FIND: "ask",
    AfterUnknown.RESEND: "resend",
    AfterUnknown.PERSON: "person",
}


class Work:
    """Handlers of ``/work``."""

    def __init__(self, pool: asyncpg.Pool, *, desk: Desk, now: Callable[[], datetime]) -> None:
        self._pool = pool
        self._desk = desk
        self._now = now
        # A file of 10,000 rows takes some 3 s of the CPU that orders need: one at a time.
        self._exporting = asyncio.Lock()

    def routes(self) -> list[Route]:
        return [
            Route(
                method="GET", path="/work", handler=self.list_work, query=WorkQuery, answer=WorkCards,
                zh="待办（按原因归组）", en="What waits for a person, a card per root cause",
            ),
            Route(
                method="GET", path="/work/items", handler=self.list_work_items, query=WorkItemsQuery, answer=WorkItems,
                zh="待办明细", en="What waits for a person, one by one, oldest first",
            ),
            Route(
                method="GET", path="/work/export", handler=self.export_work, query=ExportQuery, answer=XLSX,
                zh="导出卡住的订单（XLSX）", en="The same as a spreadsheet",
            ),
            Route(
                method="POST", path="/orders/{number}/conflicts-handled", handler=self.conflicts_handled,
                body=HandledBody, answer=Done, errors=(400, 401, 404, 409, 422, 503), zh="冲突已处理",
                en="Take an order's conflicts off the queue until they change",
            ),
        ]  # fmt: skip

    async def list_work(self, call: Call) -> WorkCards:
        query: WorkQuery = call.query
        found = [self._card(card) for card in await cards(self._pool, _wish(query))]
        mine = [card for card in found if query.owner in (None, *card.owners)]
        if not mine:
            await self._check(query)
        return WorkCards(cards=mine, total=sum(card.count for card in mine))

    async def list_work_items(self, call: Call) -> WorkItems:
        query: WorkItemsQuery = call.query
        after = None if query.after is None else _place(query.after)
        found, full = await self._page(query, await self._wishes(query), after=after, limit=query.limit)
        if not found:
            await self._check(query)
        more = _cursor(found[-1][0]) if full and found else ""
        return WorkItems(items=[one for _, one in found], next=more)

    async def export_work(self, call: Call) -> Download:
        async with self._exporting:
            content, more = await self._sheet(call.query)
        return Download(name=f"stuck-{self._now():%Y%m%d-%H%M%S}.xlsx", media_type=XLSX, content=content, more=more)

    async def conflicts_handled(self, call: Call) -> Done:
        number = call.path["number"]
        body: HandledBody = call.body
        try:
            codes = await conflicts_handled(
                self._pool, number, seen=body.conflicts, reason=body.reason, actor=call.actor
            )
        except OtherConflicts as error:
            said = "、".join(f"{word(code, CONFLICTS).zh}（{code}）" for code in error.now)
            raise conflict(
                "changed_meanwhile",
                Text(
                    f"订单 {number} 现在的冲突是 {said}", f"the conflicts of order {number} are {', '.join(error.now)}"
                ),
                Text("其余的也核实之后，再一并标记", "look into the others, too, then say so of all of them"),
                where="$.conflicts",
            ) from error
        if codes is None:
            raise not_found(
                Text(f"没有订单 {number}", f"there is no order {number}"),
                "path.number",
                Text("GET /work/items 列出全部待办", "GET /work/items lists what waits"),
            )
        if not codes:
            raise conflict(
                "no_conflict",
                Text(f"订单 {number} 没有冲突", f"order {number} has no conflict"),
                Text("无需再做", "nothing is left to do"),
            )
        said = "、".join(word(code, CONFLICTS).zh for code in codes)
        note = Text(f"{said}：有变化前不再列出", f"{', '.join(codes)}: off the queue until that changes")
        return Done(note=note)

    async def _check(self, query: WorkQuery) -> None:
        """Deliveries and dead letters have codes of adapters too, which nobody lists."""
        await check_connection(self._pool, query.connection, where="connection", letters=True)
        self._check_owner(query.owner)
        if query.kind == "hold":
            check_reason(query.code, where="code")
        elif query.kind == "conflict":
            check_conflict(query.code, where="code")

    def _check_owner(self, owner: str | None) -> None:
        known = sorted({person for rule in self._desk.owners for person in rule.people})
        if owner is not None and known and owner not in known:
            raise wrong(
                "query.owner",
                Text(f"没有负责人 {owner}", f"there is no owner {owner}"),
                near(owner, known)
                or Text(f"配置 owners 里有 {'、'.join(known)}", f"the setting `owners` has {', '.join(known)}"),
            )

    async def _sheet(self, query: ExportQuery) -> tuple[bytes, bool]:
        """The file, and whether something has found no room in it."""
        sheet = await asyncio.to_thread(StuckSheet, query.language or self._desk.language)
        after: Place | None = None
        wishes = await self._wishes(query)
        left, more = query.limit, True
        while more:
            found, more = await self._page(query, wishes, after=after, limit=min(_PAGE, left) or 1)
            if not left:
                more = bool(found)
                break
            # Beside the loop: others' requests go on between the pages of a long file.
            await asyncio.to_thread(sheet.add, [one for _, one in found])
            left -= len(found)
            after = found[-1][0] if found else None
        if more:
            sheet.add_cut_off(query.limit)
        content = await asyncio.to_thread(sheet.content)
        if left == query.limit:
            await self._check(query)
        return content, more

    async def _wishes(self, query: WorkQuery) -> list[Wish]:
        """What to read for `query`. Whose work it is, is not stored, but goes by the card: of a hundred thousand things
        only those of the owner's cards are looked at."""
        if query.owner is None:
            return [_wish(query)]
        mine = [card for card in await cards(self._pool, _wish(query)) if query.owner in self._card(card).owners]
        # An order without a shop has a card without a connection, which no wish can name.
        return [
            Wish(kind=c.kind, connection=c.connection or None, operation=c.operation or None, code=c.code) for c in mine
        ]

    async def _page(
        self, query: WorkQuery, wishes: Sequence[Wish], *, after: Place | None, limit: int
    ) -> tuple[list[tuple[Place, WorkItem]], bool]:
        """Up to `limit` items with their places, and whether there may be more."""
        found: list[tuple[Place, WorkItem]] = []
        size = limit if all(wish.connection for wish in wishes) or query.owner is None else _PAGE
        while True:
            read = [one for wish in wishes for one in await items(self._pool, wish, after=after, limit=size)]
            # Two wishes may find the same, where one of them could not name the connection.
            page = sorted({item.place: item for item in read}.values(), key=lambda item: item.place)[:size]
            missing = await self._missing(page)
            for item in page:
                one = self._item(item, missing.get(item.number, ()))
                if query.owner in (None, *one.owners):
                    found.append((item.place, one))
                    if len(found) == limit:
                        return found, True
            if len(page) < size:
                return found, False
            after = page[-1].place

    async def _missing(self, page: Sequence[Item]) -> dict[str, tuple[Missing, ...]]:
        numbers = [item.number for item in page if item.kind == "hold" and FOR_STOCK.intersection(item.codes)]
        return await read_missing(self._pool, numbers) if numbers else {}

    def _card(self, card: Card) -> WorkCard:
        about = self._about(card.kind, card.connection, card.operation, card.code)
        return WorkCard(
            **msgspec.structs.asdict(card),
            means=meaning(card.kind, card.code),
            owners=whose(about, self._desk.owners),
            next=next_step(about),
        )

    def _item(self, item: Item, missing: tuple[Missing, ...]) -> WorkItem:
        about = msgspec.structs.replace(
            self._about(item.kind, item.connection, item.operation, item.code),
            number=item.number,
            seq=item.seq,
            dead_letter_id=item.dead_letter_id,
            missing=missing if item.kind == "hold" else (),
            conflicts=item.codes if item.kind == "conflict" else (),
            stage=item.stage,
        )
        values = msgspec.structs.asdict(item)
        del values["place"]
        return WorkItem(
            **values,
            means=meaning(item.kind, item.code),
            owners=whose(about, self._desk.owners),
            next=next_step(about),
            missing=about.missing,
        )

    def _about(self, kind: WorkKind, connection: str, operation: str, code: str) -> About:
        """What is done at the shop is done by the name that it has now, by who owns that; what waits is found by the
        name of then."""
        how = _HOW[self._desk.after(connection, operation)]
        shop = self._desk.renamed.get(ConnectionName(connection), "")
        return About(kind=kind, connection=connection, shop=shop, operation=operation, code=code, how=how)


def _wish(query: WorkQuery) -> Wish:
    return Wish(kind=query.kind, connection=query.connection, operation=query.operation, code=query.code)


def _cursor(place: Place) -> str:
    return f"{place[0].isoformat()} {place[1]} {place[2]}"


def _place(text: str) -> Place:
    try:
        at, rank, number = text.split(" ")
        place = (datetime.fromisoformat(at), int(rank), int(number))
    except ValueError as error:
        raise off_list() from error
    if place[0].tzinfo is None or not 0 <= place[1] < 9 or not 0 <= place[2] < 2**63:
        raise off_list()
    return place
