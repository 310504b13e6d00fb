"""The way in: orders by the time they changed, page by page from the last to the first, and the detail of each.

While a window is read, an order that changes leaves it: its new time lies behind the end. Every row behind it moves
one place to the front. So what is still to be read are always the first rows of the list, however many have left, and
reading from the end to the front leaves nothing out; a row that moved across the place reached so far is read twice.
The position is that place: how many rows at the front are unread. (Vendor, increment API: "必须采用倒序的分页方式".)
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta

import msgspec

from adapters.pinduoduo import mapping, wire
from adapters.pinduoduo.settings import Settings
from gateway.sdk.adapter import Setup
from gateway.sdk.details import Failures
from gateway.sdk.models import BadInput, Event, EventId, Facts, Failed, Rejected, Text, Unknown
from gateway.sdk.pull import Access, Page, Pulled, Window

MOST_REFUSED = 3
"""So many orders in a row are taken for refused by themselves. What is refused after that may well be every question:
each of them is tried like one that the platform fails at, and meanwhile the shop counts as failing."""
FRESH = timedelta(seconds=15)
"""More than a second and the difference of two clocks."""
_LONGEST = timedelta(minutes=30)
_SETTLED = timedelta(seconds=195)
"""So long a window may be, and so far behind now it has to end: three minutes, and the difference of two clocks."""
_STEPS_BACK = 48


class PinduoduoSource:
    """Asks for every order that was concluded, whatever its status, and for the refunds in it.

    Assumed, and not proven by a document: whatever changes an order's after-sale status changes its `updated_at`.
    """

    def __init__(self, setup: Setup, access: Access) -> None:
        self._settings: Settings = setup.settings
        self._connection = setup.connection
        self._now = setup.now
        self._access = access
        self._router = wire.Router(setup, access)
        self._failures = Failures(tries=self._settings.detail_tries, list_numbers=self._list_numbers, comes=self._comes)
        self._refused = 0

    async def pull(self, window: Window, position: str, *, deadline_s: float) -> Pulled:
        """One page, or what of it could be read before the platform refused to go on.

        An order whose detail fails again and again, while another's comes, is handed over as one that is refused.
        """
        size = self._settings.page_size
        unread = int(position) if position else 1
        start = (unread - 1) // size * size
        listed = await self._list(window, start // size + 1, deadline_s=deadline_s)
        if not isinstance(listed, _Listed):
            return listed
        rows = listed.order_sn_list or []
        if not position:
            if listed.total_count > len(rows):
                # Only now it is known where the end is.
                return Page((), str(listed.total_count))
            unread = len(rows)
        rows = rows[: unread - start]
        events, unread, trouble = await self._details(rows, window, deadline_s=deadline_s)
        if trouble is not None and unread == len(rows):
            return trouble
        left = start + unread
        return Page(tuple(events), str(left) if left else "")

    def decode(self, event: Event) -> Facts:
        facts = mapping.decode(event.body)
        if facts.order_no != event.order_key:
            what = Text("不是所查询的订单", "is not the order that was asked for")
            advice = Text(
                "平台返回了另一个订单：向平台反馈，放弃此条",
                "the platform answered with another order: report it to them, delete this entry",
            )
            raise BadInput("value", what, where="$.order_sn", advice=advice)
        return facts

    async def _list(self, window: Window, page: int, *, deadline_s: float) -> _Listed | wire.Later:
        answer = await self._router.call(
            wire.CHANGED_ORDERS,
            {
                "start_updated_at": int(window.start_at.timestamp()),
                "end_updated_at": int(window.end_at.timestamp()),
                "is_lucky_flag": 0 if self._settings.lottery_orders else 1,
                "order_status": 5,
                "refund_status": 5,
                "page": page,
                "page_size": self._settings.page_size,
                # The total is needed to begin at the end.
                "use_has_next": False,
            },
            deadline_s=deadline_s,
        )
        if not isinstance(answer, bytes):
            return wire.as_later(answer)
        try:
            return _read_list(answer)
        except msgspec.DecodeError as error:
            return Failed("shape", f"the list of changed orders cannot be read: {error}")

    async def _details(
        self, rows: Sequence[_Row], window: Window, *, deadline_s: float
    ) -> tuple[list[Event], int, wire.Later | None]:
        """Events of `rows` from the last to the first, how many at the front are unread, and what stopped it there."""
        events: list[Event] = []
        unread = len(rows)
        while unread:
            several = rows[max(0, unread - self._settings.details_at_once) : unread]
            async with asyncio.TaskGroup() as group:
                asked = [
                    group.create_task(
                        self._detail(row, window, deadline_s=deadline_s), name=f"pinduoduo-{self._connection}"
                    )
                    for row in reversed(several)
                ]
            for task in asked:
                result = task.result()
                if not isinstance(result, Event):
                    return events, unread, result
                unread -= 1
                if not self._is_fresh(result, window):
                    events.append(result)
        return events, 0, None

    def _is_fresh(self, event: Event, window: Window) -> bool:
        """Whether the order changed just now: its second may not be over, and of two states of one second nobody could
        tell which is the later. It changed after the window, so a later one has it."""
        return event.time > window.end_at and abs(event.time - self._now()) < FRESH

    async def _detail(self, row: _Row, window: Window, *, deadline_s: float) -> Event | wire.Later:
        answer = await self._ask(row.order_sn, deadline_s=deadline_s)
        at_once = isinstance(answer, Rejected) and self._refused < MOST_REFUSED
        alone = (
            not at_once
            and isinstance(answer, _Failing)
            and await self._failures.is_alone(row.order_sn, self._spans(window), deadline_s=deadline_s)
        )
        if alone:
            # The platform may have come back between the two.
            answer = await self._ask(row.order_sn, deadline_s=deadline_s)
        if isinstance(answer, _Failing) and (at_once or alone):
            # This one order: it must not keep those behind it waiting.
            self._refused += isinstance(answer, Rejected)
            return self._event(row, window, mapping.refusal(row.order_sn, row.updated_at or "", answer.message))
        if not isinstance(answer, bytes):
            return wire.as_later(answer)
        try:
            return self._event(row, window, bytes(_read_detail(answer).order_info))
        except msgspec.DecodeError:
            return self._event(row, window, answer)

    async def _ask(self, order_sn: str, *, deadline_s: float) -> bytes | wire.Trouble:
        await self._access.budget.turn()
        answer = await self._router.call(wire.ORDER, {"order_sn": order_sn}, deadline_s=deadline_s)
        if isinstance(answer, bytes):
            self._failures.forget(order_sn)
            self._refused = 0
        elif isinstance(answer, _Failing):
            self._failures.count(order_sn)
        return answer

    def _spans(self, window: Window) -> Iterator[Window]:
        """Where to look for another order: what the platform shows newest, this window, and back from it for a day."""
        newest = self._now() - _SETTLED
        yield Window(newest - _LONGEST, newest)
        yield window
        for steps in range(1, _STEPS_BACK + 1):
            yield Window(window.start_at - steps * _LONGEST, window.start_at - (steps - 1) * _LONGEST)

    async def _list_numbers(self, span: Window, deadline_s: float) -> list[str] | None:
        await self._access.budget.turn()
        listed = await self._list(span, 1, deadline_s=deadline_s)
        return [row.order_sn for row in listed.order_sn_list or ()] if isinstance(listed, _Listed) else None

    async def _comes(self, order_sn: str, deadline_s: float) -> bool:
        return isinstance(await self._ask(order_sn, deadline_s=deadline_s), bytes)

    def _event(self, row: _Row, window: Window, body: bytes) -> Event:
        try:
            text = _read_head(body).updated_at or row.updated_at
            updated_at = mapping.parse_beijing(text, "$.updated_at")
        except (msgspec.DecodeError, BadInput):
            updated_at = None
        return Event(
            id=EventId(mapping.event_id(row.order_sn, updated_at, body)),
            source=self._connection,
            type=mapping.EVENT_TYPE,
            order_key=row.order_sn,
            # By then it had changed, whatever its body says.
            time=updated_at or window.end_at,
            body=body,
        )


class _Row(msgspec.Struct, frozen=True, gc=False):
    order_sn: str
    updated_at: str | None = None


class _Listed(msgspec.Struct, frozen=True):
    total_count: int
    order_sn_list: list[_Row] | None = None


class _Detail(msgspec.Struct, frozen=True):
    order_info: msgspec.Raw


_Failing = Failed | Rejected | Unknown
"""What a detail fails with, and perhaps by its own fault: neither a limit nor the authorisation."""

_read_list = msgspec.json.Decoder(_Listed, strict=False).decode
_read_detail = msgspec.json.Decoder(_Detail).decode
_read_head = msgspec.json.Decoder(_Row).decode
