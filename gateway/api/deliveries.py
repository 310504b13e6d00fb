"""Deliveries: what is open, and what a person does about one that is stuck."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec

from gateway.api.desk import Desk
from gateway.api.errors import ApiError, conflict, not_found, off_list, unread, wrong
from gateway.api.filters import check_connection
from gateway.api.orders import masked_lane, no_order
from gateway.api.routing import Call, Route
from gateway.api.shape import check_instants, misfit, parts_of
from gateway.api.views import ContentObject, DeliveriesQuery, Done, LaneList, ResendBody, ResolveBody
from gateway.core.items import unmapped
from gateway.core.money import format_minor
from gateway.core.order import Content, Operation
from gateway.core.text import Text
from gateway.core.words import OPERATIONS, word
from gateway.store.queries import LaneRow, contents_of, list_lanes
from gateway.store.repair import Head, NoSuchDelivery, NoSuchOrder, NotNow, resend, resolve
from gateway.store.sql import CannotRead

_MOST_LINES = 500
_MOST_MINOR = 100_000_000_000_000
"""As much as a shop may ever tell of (`max_total` of its settings): what is above has a digit too many."""

_MOST_CHARACTERS = 2_000
_CURRENCY = re.compile("[A-Z]{3}")
_MINOR = Text("金额以分为单位：12.30 写作 1230", "amounts are minor units: 12.30 is 1230")
_ERRORS = (400, 401, 404, 409, 422, 503)


class Deliveries:
    """Handlers of ``/deliveries``."""

    def __init__(self, pool: asyncpg.Pool, *, desk: Desk, now: Callable[[], datetime]) -> None:
        self._pool = pool
        self._desk = desk
        self._now = now

    def routes(self) -> list[Route]:
        return [
            Route(
                method="GET", path="/deliveries", handler=self.list_deliveries, query=DeliveriesQuery, answer=LaneList,
                zh="未完成的下发", en="Deliveries that are not done, oldest first",
            ),
            Route(
                method="POST", path="/deliveries/{number}/{target}/{seq}/resend", handler=self.resend_delivery,
                body=ResendBody, answer=Done, errors=_ERRORS,
                zh="（修改后）重新下发", en="Send a blocked delivery again, changed or not",
            ),
            Route(
                method="POST", path="/deliveries/{number}/{target}/{seq}/resolve", handler=self.resolve_delivery,
                body=ResolveBody, answer=Done, errors=_ERRORS,
                zh="标记为已处理", en="Take a delivery for done: it has been handled elsewhere",
            ),
        ]  # fmt: skip

    async def list_deliveries(self, call: Call) -> LaneList:
        query: DeliveriesQuery = call.query
        rows = await list_lanes(
            self._pool,
            state=query.state,
            target=query.target,
            after=None if query.after is None else _cursor(query.after),
            limit=query.limit,
        )
        if not rows:
            await check_connection(self._pool, query.target, where="target")
        more = _next(rows[-1]) if len(rows) == query.limit else ""
        contents = await contents_of(self._pool, [row.number for row in rows if row.last_detail])
        return LaneList(
            deliveries=[
                self._desk.seen(masked_lane(row, contents.get(row.number), known=row.number in contents))
                for row in rows
            ],
            next=more,
        )

    async def resend_delivery(self, call: Call) -> Done:
        body: ResendBody = call.body
        number, target, seq = _delivery(call)
        try:
            called_off = await resend(
                self._pool,
                number=number,
                target=target,
                seq=seq,
                edit=(lambda head: edited(head, body.edit)) if body.edit else None,
                confirmed_absent=body.confirmed_absent,
                if_attempts=body.if_attempts,
                gates=self._desk.asking.keys(),
                reason=body.reason,
                actor=call.actor,
            )
        except CannotRead as error:
            delivery = " ".join((number, target, call.path["seq"]))
            raise unread(Text(delivery, delivery), error) from error
        except (NoSuchDelivery, NotNow) as error:
            raise await self._refused(error, call) from error
        note = Text("即将重新下发", "it is sent again in a moment")
        if called_off:
            note = Text(
                f"{note.zh}；店铺已取消或退款，取消随后发出",
                f"{note.en}; the shop has called it off: the cancel follows",
            )
        return Done(note=note)

    async def resolve_delivery(self, call: Call) -> Done:
        body: ResolveBody = call.body
        number, target, seq = _delivery(call)
        try:
            goes_on = await resolve(
                self._pool,
                number=number,
                target=target,
                seq=seq,
                reason=body.reason,
                reference=body.reference,
                actor=call.actor,
                now=self._now(),
            )
        except (NoSuchDelivery, NotNow) as error:
            raise await self._refused(error, call) from error
        if goes_on:
            return Done(note=Text(f"第 {seq + 1} 条下发即将继续", f"delivery {seq + 1} goes on in a moment"))
        return Done(note=Text(f"对 {target} 已没有未完成的下发", f"nothing is open to {target}"))

    async def _refused(self, error: NoSuchDelivery | NotNow, call: Call) -> ApiError:
        number, target, seq = _delivery(call)
        if isinstance(error, NoSuchOrder):
            return await no_order(self._pool, number, self._desk)
        if isinstance(error, NoSuchDelivery):
            return not_found(
                Text(
                    f"订单 {number} 没有发往 {target} 的第 {seq} 条下发",
                    f"order {number} has no delivery {seq} to {target}",
                ),
                "path",
                Text("订单时间线里列出它的下发", "the order's timeline lists its deliveries"),
            )
        delivery = f"{number} {target} {call.path['seq']}"
        what = Text(f"{delivery}：{error.message.zh}", f"{delivery}: {error.message.en}")
        return conflict(error.code, what, error.advice)


def edited(head: Head, patch: dict[str, Any]) -> Content:
    """The content of `head` with `patch` merged in (RFC 7396). Raises ApiError with the place that is wrong."""
    if head.operation != Operation.CREATE:
        raise ApiError(
            422,
            "nothing_to_edit",
            Text(f"“{word(head.operation, OPERATIONS).zh}”不带内容", f"a {head.operation} carries no content"),
            where="$.edit",
            advice=Text("去掉 `edit`", "leave `edit` out"),
        )
    before: Any = {}
    if head.content is not None:
        before = msgspec.to_builtins(msgspec.convert(head.content, ContentObject, from_attributes=True))
    try:
        content = msgspec.convert(msgspec.convert(_merge(before, patch), ContentObject), Content, from_attributes=True)
    except msgspec.ValidationError as error:
        advice = Text("见 /api/v1/openapi.json 中的 Content", "see Content in /api/v1/openapi.json")
        raise misfit(error, "$.edit", advice) from error
    except RecursionError as error:  # a little less deep than what cannot be decoded either
        raise wrong("$.edit", Text("嵌套太深", "is nested too deep")) from error
    _check(content)
    _check_words(patch)
    if missing := unmapped(content.lines, head.order.recipes):
        raise wrong(
            "$.edit.lines",
            Text(
                f"{'、'.join(missing)[:300]} 没有对应的仓库编码",
                f"nothing stands for {', '.join(missing)[:300]} in the warehouse",
            ),
            Text("只用该订单判断时已有的编码", "use SKUs that the order had when it was decided"),
        )
    latest = content.latest_ship_at
    return msgspec.structs.replace(
        content,
        placed_at=content.placed_at.astimezone(UTC),
        latest_ship_at=None if latest is None else latest.astimezone(UTC),
    )


def _check(content: Content) -> None:
    if not 1 <= len(content.lines) <= _MOST_LINES:
        raise wrong(
            "$.edit.lines",
            Text(f"有 {len(content.lines)} 行", f"has {len(content.lines)} lines"),
            Text(f"一个订单有 1 至 {_MOST_LINES} 行", f"an order has 1 to {_MOST_LINES}"),
        )
    for index, line in enumerate(content.lines):
        place = f"$.edit.lines[{index}]"
        if not 1 <= line.quantity <= 1_000_000:
            raise wrong(
                f"{place}.quantity",
                Text(f"数量是 {line.quantity}", f"is {line.quantity}"),
                Text("应为 1 至 1000000", "1 to 1000000"),
            )
        if not line.sku or line.price_minor < 0 or line.discount_minor < 0:
            raise wrong(place, Text("没有 SKU，或金额为负", "has no SKU, or an amount below zero"), _MINOR)
        _check_amount(line.price_minor, f"{place}.price_minor")
        _check_amount(line.discount_minor, f"{place}.discount_minor")
    if min(content.total_minor, content.freight_minor, content.discount_minor) < 0:
        raise wrong("$.edit", Text("金额为负", "has an amount below zero"), _MINOR)
    for name in ("total_minor", "freight_minor", "discount_minor"):
        _check_amount(getattr(content, name), f"$.edit.{name}")
    if not _CURRENCY.fullmatch(content.currency):
        raise wrong("$.edit.currency", Text("不是币种代码", "is no currency code"), Text("如 CNY", "like CNY"))
    for name, at in (("placed_at", content.placed_at), ("latest_ship_at", content.latest_ship_at)):
        if at is not None and at.tzinfo is None:
            raise wrong(
                f"$.edit.{name}",
                Text("没有时区", "has no time zone"),
                Text("写成 2026-05-01T09:30:00+08:00 这样", "write it like 2026-05-01T09:30:00+08:00"),
            )
    check_instants(content, "$.edit")


def _check_amount(minor: int, where: str) -> None:
    if minor > _MOST_MINOR:
        most = format_minor(_MOST_MINOR)
        raise wrong(where, Text(f"大于 {most}", f"is above {most}"), _MINOR)


def _check_words(patch: Any) -> None:
    """What the order came with is its shop's affair; what a person adds has the length of a note."""
    for value, where in parts_of(patch, "$.edit"):
        if isinstance(value, str) and len(value) > _MOST_CHARACTERS:
            raise wrong(
                where,
                Text(f"有 {len(value)} 个字符", f"has {len(value)} characters"),
                Text(f"最多 {_MOST_CHARACTERS} 个", f"at most {_MOST_CHARACTERS}"),
            )


def _merge(before: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(before) if isinstance(before, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged


def _delivery(call: Call) -> tuple[str, str, int]:
    return call.path["number"], call.path["target"], int(call.path["seq"])


def _next(last: LaneRow) -> str:
    # A number may hold spaces, a connection's name none. One order's lanes to several targets open at one instant.
    return f"{last.opened_at.isoformat()} {last.target} {last.number}"


def _cursor(text: str) -> tuple[datetime, str, str]:
    try:
        at, target, number = text.split(" ", 2)
        opened_at = datetime.fromisoformat(at)
    except ValueError as error:
        raise off_list() from error
    if opened_at.tzinfo is None:
        raise off_list()
    return opened_at, number, target
