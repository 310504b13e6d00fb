"""The way in: orders by the time they changed, page by page from the last to the first, and the detail of each.

Before them, in every window, the after-sale cases by the time *they* changed, each with the detail of its order: only
the case says how much is paid back, and it is not documented that a case moves the order's own time. The cases come
first so that a refund is known in full before the order that it belongs to says that there is one.

While a window is read, an order that changes leaves it: its new time lies behind the end. Every row behind it moves
one place to the front. So what is still to be read are always the first rows of the list, however many have left, and
reading from the end to the front leaves nothing out; a row that moved across the place reached so far is read twice.
The position is that place: how many rows at the front are unread, for the cases after ``c<which question>:``. (Vendor,
increment API: "必须采用倒序的分页方式".)
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from adapters.pinduoduo import mapping, wire
from adapters.pinduoduo.settings import Refunds, Settings
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
_LOTTERY = 2
"""`is_lucky_flag` of `order_info`; 1 is any other order."""


class PinduoduoSource:
    """Asks for the after-sale cases, and for every order that was concluded, whatever its status."""

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
        at = _read_place(position, questions=self._questions)
        size = self._settings.page_size
        unread = at.unread or 1
        start = (unread - 1) // size * size
        listed = await self._rows(window, at, start // size + 1, deadline_s=deadline_s)
        if not isinstance(listed, _Rows):
            return listed
        rows = listed.rows
        if not at.unread:
            if listed.total > len(rows):
                # Only now it is known where the end is.
                return Page((), _write_place(msgspec.structs.replace(at, unread=listed.total)))
            unread = len(rows)
        rows = rows[: unread - start]
        events, unread, trouble = await self._details(rows, window, deadline_s=deadline_s)
        if trouble is not None and unread == len(rows):
            return trouble
        left = start + unread
        then = msgspec.structs.replace(at, unread=left) if left else self._after(at)
        return Page(tuple(events), "" if then is None else _write_place(then))

    def decode(self, event: Event) -> Facts:
        read = mapping.decode_case if event.type == mapping.CASE_TYPE else mapping.decode
        facts = read(event.body, self._settings)
        if event.order_key and facts.order_no != event.order_key:
            what = Text("不是所查询的订单", "is not the order that was asked for")
            advice = Text(
                "平台返回了另一个订单：向平台反馈，放弃此条",
                "the platform answered with another order: report it to them, delete this entry",
            )
            raise BadInput("value", what, where="$.order_sn", advice=advice)
        return facts

    @property
    def _questions(self) -> int:
        """How many times the list of cases is asked in a window."""
        return len(self._settings.refund_queries) if self._settings.refunds is Refunds.LIST else 0

    def _after(self, at: _Place) -> _Place | None:
        """The next question of the window; None: it is through."""
        if at.question is None:
            return None
        return _Place(at.question + 1 if at.question + 1 < self._questions else None)

    async def _rows(self, window: Window, at: _Place, page: int, *, deadline_s: float) -> _Rows | wire.Later:
        if at.question is not None:
            return await self._list_cases(
                window, self._settings.refund_queries[at.question], page, deadline_s=deadline_s
            )
        listed = await self._list(window, page, deadline_s=deadline_s)
        return _Rows(listed.order_sn_list or [], listed.total_count) if isinstance(listed, _Listed) else listed

    async def _list_cases(self, window: Window, status: int, page: int, *, deadline_s: float) -> _Rows | wire.Later:
        answer = await self._router.call(
            wire.CHANGED_CASES,
            {
                "start_updated_at": int(window.start_at.timestamp()),
                "end_updated_at": int(window.end_at.timestamp()),
                "after_sales_status": status,
                "after_sales_type": 1,
                "page": page,
                "page_size": self._settings.page_size,
            },
            deadline_s=deadline_s,
        )
        if not isinstance(answer, bytes):
            return wire.as_later(answer)
        try:
            listed = _read_cases(answer)
        except msgspec.DecodeError as error:
            return Failed("shape", f"the list of after-sale cases cannot be read: {error}")
        rows = [_case_row(bytes(raw)) for raw in listed.refund_list or ()]
        if len(rows) > MOST_REFUSED and not any(row.order_sn for row in rows):
            return Failed("shape", "no row of the list of after-sale cases has an order_sn")
        return _Rows(rows, listed.total_count)

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
                if not isinstance(result, Event | None):
                    return events, unread, result
                unread -= 1
                if result is not None and not self._is_fresh(result, window):
                    events.append(result)
        return events, 0, None

    def _is_fresh(self, event: Event, window: Window) -> bool:
        """Whether the order changed just now: its second may not be over, and of two states of one second nobody could
        tell which is the later. It changed after the window, so a later one has it."""
        return self._is_just_now(event.time, window)

    def _is_just_now(self, at: datetime, window: Window) -> bool:
        return at > window.end_at and abs(at - self._now()) < FRESH

    async def _detail(self, row: _Row, window: Window, *, deadline_s: float) -> Event | wire.Later | None:
        """None: an order that the settings leave out. The list of cases has them all."""
        if not row.order_sn:
            return self._event(row, window, b"")
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
            refused = mapping.refusal(row.order_sn, row.updated_at or "", answer.message)
            return self._event(row, window, b"" if row.case else refused)
        if not isinstance(answer, bytes):
            return wire.as_later(answer)
        try:
            order_info = bytes(_read_detail(answer).order_info)
        except msgspec.DecodeError:
            order_info = answer
        if not self._settings.lottery_orders and _is_lottery(order_info):
            return None
        return self._event(row, window, order_info)

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
        """Of an order, or of a case: of that without its order, where the order changed just now or is not given
        (`body` empty). The amount stands in the case: a letter that holds nothing is closed by a later reading.
        """
        try:
            text = _read_head(body).updated_at or row.updated_at
            updated_at = mapping.parse_beijing(text, "$.updated_at")
        except (msgspec.DecodeError, BadInput):
            updated_at = None
        if row.case:
            changed_at = _instant(row.updated_at)
            alone = not body or (updated_at is not None and self._is_just_now(updated_at, window))
            body = mapping.case_body(row.case, None if alone else body)
            updated_at = changed_at if alone else max(filter(None, (changed_at, updated_at)), default=None)
        return Event(
            id=EventId(mapping.event_id(row.order_sn, updated_at, body)),
            source=self._connection,
            type=mapping.CASE_TYPE if row.case else mapping.EVENT_TYPE,
            order_key=row.order_sn,
            # By then it had changed, whatever its body says.
            time=updated_at or window.end_at,
            body=body,
        )


class _Place(msgspec.Struct, frozen=True):
    """Where a window stands: at which question for cases (None: at the orders), and how many rows at the front of its
    list are unread; 0, the list is begun."""

    question: int | None = None
    unread: int = 0


class _Row(msgspec.Struct, frozen=True, gc=False):
    """An order to be read; `case` as it was listed where it is to be read because of one, with the case's own time.
    `order_sn` is empty where the case does not say it: that one is handed over as it is, and refused by itself."""

    order_sn: str
    updated_at: str | None = None
    case: bytes = b""


class _Rows(msgspec.Struct, frozen=True):
    rows: list[_Row]
    total: int


class _CaseHead(msgspec.Struct, frozen=True, gc=False):
    order_sn: Any = None
    updated_time: Any = None


class _Cases(msgspec.Struct, frozen=True):
    total_count: int
    refund_list: list[msgspec.Raw] | None = None


class _Head(msgspec.Struct, frozen=True, gc=False):
    updated_at: str | None = None


class _Kind(msgspec.Struct, frozen=True, gc=False):
    is_lucky_flag: int


class _Listed(msgspec.Struct, frozen=True):
    total_count: int
    order_sn_list: list[_Row] | None = None


class _Detail(msgspec.Struct, frozen=True):
    order_info: msgspec.Raw


_Failing = Failed | Rejected | Unknown
"""What a detail fails with, and perhaps by its own fault: neither a limit nor the authorisation."""

_read_list = msgspec.json.Decoder(_Listed, strict=False).decode
_read_detail = msgspec.json.Decoder(_Detail).decode
_read_head = msgspec.json.Decoder(_Head).decode
_read_kind = msgspec.json.Decoder(_Kind, strict=False).decode
_read_cases = msgspec.json.Decoder(_Cases, strict=False).decode
_read_case_head = msgspec.json.Decoder(_CaseHead).decode


def _read_place(position: str, *, questions: int) -> _Place:
    """Empty is the beginning; so is a question that is no longer asked, since the settings changed in between."""
    first = _Place(0 if questions else None)
    if not position:
        return first
    question, _, unread = position.removeprefix("c").rpartition(":")
    if not question:
        return _Place(None, int(unread))
    return _Place(int(question), int(unread)) if int(question) < questions else first


def _write_place(place: _Place) -> str:
    return str(place.unread) if place.question is None else f"c{place.question}:{place.unread}"


def _case_row(case: bytes) -> _Row:
    try:
        head = _read_case_head(case)
    except msgspec.DecodeError:
        head = _CaseHead()
    number, time = (text if isinstance(text, str) else "" for text in (head.order_sn, head.updated_time))
    return _Row(number.strip() and number, time, case)


def _is_lottery(order_info: bytes) -> bool:
    try:
        return _read_kind(order_info).is_lucky_flag == _LOTTERY
    except msgspec.DecodeError:
        return False


def _instant(text: str | None) -> datetime | None:
    try:
        return mapping.parse_beijing(text, "$")
    except BadInput:
        return None
