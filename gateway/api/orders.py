"""Orders: the list, one order with its timeline, its original payloads, and having it decided again."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec

from gateway.api.desk import Desk
from gateway.api.errors import ApiError, conflict, not_found, off_list, unread, wrong
from gateway.api.filters import check_conflict, check_connection, check_reason
from gateway.api.masking import HIDDEN, state_of, unquoted
from gateway.api.routing import Call, Route
from gateway.api.views import (
    Done,
    OrderList,
    OrderPage,
    OrdersQuery,
    OrdersWanted,
    Payload,
    ReasonBody,
    ReconsiderBody,
    ReconsiderPreview,
    ReconsiderPreviewBody,
    UnmaskQuery,
)
from gateway.core.order import Content, Stage
from gateway.core.text import Text
from gateway.store.audit import audit
from gateway.store.queries import (
    AttemptEnded,
    ByHand,
    Happened,
    LaneRow,
    OrderFilter,
    OrderRow,
    known_numbers,
    list_orders,
    open_letters,
    read_order,
    read_payload,
)
from gateway.store.repair import NoSuchOrder, NotNow
from gateway.store.reparse import Reads, Reparsed, look, reparse
from gateway.store.review import Approved, Reconsidered, approve, preview, reconsider_many, reconsider_order
from gateway.store.sql import CannotRead, Names
from gateway.store.stock import read_missing

_NAMED = 3
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


class Orders:
    """Handlers of ``/orders``."""

    def __init__(
        self, pool: asyncpg.Pool, *, names: Names, reads: Reads, desk: Desk, now: Callable[[], datetime]
    ) -> None:
        self._pool = pool
        self._names = names
        self._reads = reads
        self._desk = desk
        self._now = now

    def routes(self) -> list[Route]:
        return [
            Route(
                method="GET", path="/orders", handler=self.list_orders, query=OrdersQuery, answer=OrderList,
                zh="订单列表", en="Orders, newest first",
            ),
            Route(
                method="GET", path="/orders/{number}", handler=self.get_order, query=UnmaskQuery, answer=OrderPage,
                zh="订单及其经过", en="One order with everything that happened to it", errors=(401, 404, 422, 503),
            ),
            Route(
                method="GET", path="/orders/{number}/raw/{n}", handler=self.get_payload, answer=Payload,
                zh="原始报文", en="The n-th original payload of an order; recorded", errors=(401, 404, 409, 422, 503),
            ),
            Route(
                method="POST", path="/orders/{number}/reconsider", handler=self.reconsider_order, body=ReasonBody,
                answer=Done, zh="重新判断订单", en="Decide an order again", errors=(400, 401, 404, 409, 422, 503),
            ),
            Route(
                method="POST", path="/orders/{number}/approve", handler=self.approve_order, body=ReasonBody,
                answer=Approved, zh="放行金额超过上限或缺少收件信息的订单",
                en="Let an order pass that is over the limit, or lacks something of its receiver, as it is now",
                errors=(400, 401, 404, 409, 422, 503),
            ),
            Route(
                method="POST", path="/orders/reconsider/preview", handler=self.preview_reconsider,
                body=ReconsiderPreviewBody, answer=ReconsiderPreview, zh="批量重新判断预览",
                en="Which orders would be decided again; changes nothing", errors=(400, 401, 422, 503),
            ),
            Route(
                method="POST", path="/orders/reconsider", handler=self.reconsider_orders, body=ReconsiderBody,
                answer=Reconsidered, zh="批量重新判断", errors=(400, 401, 422, 503),
                en="Decide all orders again that fit, a page at a time: `next` is the `after` of the one behind. Waits"
                " while intake is behind, 5 s at most; then it takes none, and the same again goes on",
            ),
            Route(
                method="GET", path="/orders/{number}/reparse", handler=self.look_reparsed, answer=Reparsed,
                zh="重新解析报文会改变什么", en="What parsing an order's messages again would change",
                errors=(401, 404, 409, 422, 503),
            ),
            Route(
                method="POST", path="/orders/{number}/reparse", handler=self.reparse_order, body=ReasonBody,
                answer=Reparsed, zh="用现在的适配器重新解析订单保留的报文，再重新判断",
                en="Parse an order's kept messages again by today's adapters, and decide it again",
                errors=(400, 401, 404, 409, 422, 503),
            ),
        ]  # fmt: skip

    async def list_orders(self, call: Call) -> OrderList:
        query: OrdersQuery = call.query
        near = bool(query.near_ship_by)
        before, behind = _place(query.after, near=near)
        rows = await list_orders(
            self._pool,
            OrderFilter(
                stage=None if query.stage is None else Stage(query.stage),
                reason=query.reason,
                conflict=query.conflict,
                connection=query.connection,
                prefix=query.number,
                numbers=None if query.channel_no is None else tuple(self._desk.numbers(query.channel_no)),
                before=before,
                near=self._desk.ship_by_lead if near else None,
                behind=behind,
            ),
            limit=query.limit,
        )
        if not rows:
            await check_connection(self._pool, query.connection, where="connection")
            check_reason(query.reason)
            check_conflict(query.conflict)
        return OrderList(orders=rows, next=_cursor(rows[-1], near=near) if len(rows) == query.limit else "")

    async def get_order(self, call: Call) -> OrderPage:
        number, unmask = call.path["number"], bool(call.query.unmask)
        detail = await read_order(self._pool, number)
        if detail is None:
            raise await no_order(self._pool, number, self._desk)
        if unmask:
            await audit(self._pool, actor=call.actor, action="order.unmask", subject=number)
        missing = await read_missing(self._pool, [number])
        content = None if detail.order.content is None else detail.order.content.value
        known = not detail.unopened
        return OrderPage(
            number=number,
            created_at=detail.created_at,
            updated_at=detail.updated_at,
            masked=not unmask,
            order=state_of(detail.order, unmask=unmask),
            lanes=[
                self._desk.seen(lane if unmask else masked_lane(lane, content, known=known)) for lane in detail.lanes
            ],
            timeline=[one if unmask else _masked(one, content, known=known) for one in detail.timeline],
            missing=missing.get(number, ()),
            unopened=detail.unopened,
        )

    async def get_payload(self, call: Call) -> Payload:
        number, n = call.path["number"], int(call.path["n"])
        try:
            found = await read_payload(self._pool, number, n) if n else None
        except CannotRead as error:
            raise unread(Text(f"订单 {number} 的第 {n} 份报文", f"payload {n} of order {number}"), error) from error
        if found is None:
            raise not_found(
                Text(f"订单 {number} 没有第 {n} 份报文", f"order {number} has no payload {n}"),
                "path",
                Text("订单时间线里的消息从 1 起编号", "the order's timeline numbers its events from 1"),
            )
        event, body = found
        await audit(self._pool, actor=call.actor, action="order.raw", subject=f"{number}/{n}")
        return Payload(event=event, text=text_of(body), base64=base64.b64encode(body).decode())

    async def reconsider_order(self, call: Call) -> Done:
        number = call.path["number"]
        try:
            found = await reconsider_order(
                self._pool, number, reason=call.body.reason, actor=call.actor, now=self._now()
            )
        except CannotRead as error:
            raise unread(Text(f"订单 {number}", f"order {number}"), error) from error
        if not found:
            raise await no_order(self._pool, number, self._desk)
        return Done(note=Text("即将重新判断", "the order is decided again in a moment"))

    async def approve_order(self, call: Call) -> Approved:
        number = call.path["number"]
        try:
            return await approve(self._pool, number, reason=call.body.reason, actor=call.actor, now=self._now())
        except CannotRead as error:
            raise unread(Text(f"订单 {number}", f"order {number}"), error) from error
        except NoSuchOrder as error:
            raise await no_order(self._pool, number, self._desk) from error
        except NotNow as error:
            raise conflict(error.code, error.message, error.advice, where="path") from error

    async def preview_reconsider(self, call: Call) -> ReconsiderPreview:
        groups = await preview(self._pool, await self._wanted(call.body.wanted))
        return ReconsiderPreview(total=sum(group.count for group in groups), groups=groups)

    async def reconsider_orders(self, call: Call) -> Reconsidered:
        body: ReconsiderBody = call.body
        return await reconsider_many(
            self._pool,
            await self._wanted(body.wanted),
            after=int(body.after),
            limit=body.limit,
            reason=body.reason,
            actor=call.actor,
            now=self._now(),
        )

    async def _wanted(self, given: OrdersWanted) -> OrderFilter:
        """Raises ApiError where it narrows nothing, or names what there never was."""
        if given == OrdersWanted():
            raise wrong(
                "$.wanted",
                Text("没有限定范围：不会一次处理全部", "narrows nothing: everything at once is never meant"),
                Text(
                    "给出 stage、code、conflict、connection 或 number",
                    "give stage, code, conflict, connection or number",
                ),
            )
        await check_connection(self._pool, given.connection, where="connection", place="$.wanted")
        check_reason(given.code, where="code", place="$.wanted")
        check_conflict(given.conflict, place="$.wanted")
        return OrderFilter(
            stage=None if given.stage is None else Stage(given.stage),
            reason=given.code,
            conflict=given.conflict,
            connection=given.connection,
            prefix=given.number,
        )

    async def look_reparsed(self, call: Call) -> Reparsed:
        number = call.path["number"]
        return await self._reparsed(number, look(self._pool, number, reads=self._reads, renamed=self._desk.renamed))

    async def reparse_order(self, call: Call) -> Reparsed:
        number = call.path["number"]
        doing = reparse(
            self._pool,
            number,
            reads=self._reads,
            renamed=self._desk.renamed,
            names=self._names,
            reason=call.body.reason,
            actor=call.actor,
            now=self._now(),
        )
        return await self._reparsed(number, doing)

    async def _reparsed(self, number: str, doing: Awaitable[Reparsed]) -> Reparsed:
        try:
            return await doing
        except CannotRead as error:
            what = Text(f"订单 {number} 或它的一条报文", f"order {number}, or one of its messages")
            raise unread(what, error) from error
        except NoSuchOrder as error:
            raise await no_order(self._pool, number, self._desk) from error
        except NotNow as error:
            raise conflict(error.code, error.message, error.advice, where="path") from error


def _cursor(row: OrderRow, *, near: bool) -> str:
    """Where the list goes on behind `row`: by its id, or by its latest time to ship (in µs) and its id."""
    if not near or row.ship_by is None:
        return str(row.order_id)
    return f"{(row.ship_by - _EPOCH) // _MICROSECOND}.{row.order_id}"


def _place(text: str | None, *, near: bool) -> tuple[int | None, tuple[datetime, int] | None]:
    """What `_cursor` has said. Raises ApiError where it was said of the other list."""
    if text is None:
        return None, None
    first, _, order_id = text.partition(".")
    if near is not bool(order_id):
        raise off_list()
    if not near:
        return int(first), None
    try:
        return None, (_EPOCH + int(first) * _MICROSECOND, int(order_id))
    except OverflowError as error:
        raise off_list() from error


def text_of(body: bytes) -> str | None:
    """`body` as text, None where it is not UTF-8."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def masked_lane(lane: LaneRow, content: Content | None, *, known: bool) -> LaneRow:
    """A target's words may quote the buyer. `known` False: nobody can tell what to mask, so none are shown."""
    if lane.last_detail is None:
        return lane
    return msgspec.structs.replace(lane, last_detail=_said(lane.last_detail, content, known=known))


def _masked(one: Happened, content: Content | None, *, known: bool) -> Happened:
    """So may what people write."""
    match one:
        case AttemptEnded():
            return msgspec.structs.replace(one, detail=_said(one.detail, content, known=known))
        case ByHand():
            return msgspec.structs.replace(one, reason=_said(one.reason, content, known=known))
    return one


def _said(words: str, content: Content | None, *, known: bool) -> str:
    return unquoted(words, content) if known or not words else HIDDEN


async def no_order(pool: asyncpg.Pool, number: str, desk: Desk) -> ApiError:
    """There is no order of this number: with ours where it is a shop's own, and with its dead letter if it has one."""
    ours = await known_numbers(pool, desk.numbers(number))
    letters = [] if ours else await open_letters(pool, [number, *desk.numbers(number)])
    if letters:
        ids = ", ".join(map(str, letters[:_NAMED]))
        advice = Text(
            f"它的消息成了死信 {ids}，修复后才有订单；GET /dead-letters 列出死信",
            f"its event is dead letter {ids}: there is an order once that is repaired; GET /dead-letters lists them",
        )
    elif ours:
        advice = Text(
            f"{number} 是店铺单号，是不是 {' 或 '.join(ours)}？",
            f"{number} is the shop's own number: did you mean {' or '.join(ours)}?",
        )
    else:
        advice = Text(
            "用我方单号：连接前缀加店铺单号；GET /orders?number=… 按开头查找",
            "use our number: the connection's prefix and the shop's number; GET /orders?number=… finds by its start",
        )
    return not_found(Text(f"没有订单 {number}", f"there is no order {number}"), "path.number", advice)
