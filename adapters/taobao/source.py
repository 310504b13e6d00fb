"""The way in: trades by the time they were last modified, page by page from the last, each with its detail.

The vendor's rule is to page backwards: a trade that changes leaves the window, and all behind it move up, which is
towards pages that are still to be read. Nothing may move *into* the window meanwhile; that is why it ends in the past,
and why a walk of several pages asks again at its end and starts over when something did.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from adapters.taobao import mapping
from adapters.taobao.errors import Verdict
from adapters.taobao.settings import Settings
from adapters.taobao.wire import Top
from gateway.sdk.adapter import Setup
from gateway.sdk.details import Failures
from gateway.sdk.models import BadInput, Event, EventId, Facts, Text
from gateway.sdk.pull import Access, Page, Pulled, Window

LIST = "taobao.trades.sold.increment.get"
DETAIL = "taobao.trade.fullinfo.get"
MOST_ODDITIES = 3
"""So many trades in a row may be refused for a reason that is not the trade's own. What is refused after that may well
be the question: each of them is tried like one that the platform fails at, and meanwhile the shop waits."""
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
"""The longest window the platform takes."""


class Walk(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a walk backwards stands.

    `page` is to be read next: None, the walk begins; 0, the question at its end. `total` rows there were when it began,
    and `newest` was the last modification among them. `again` counts how often this page has been read in part.
    """

    page: int | None = None
    total: int = 0
    newest: datetime | None = None
    again: int = 0


class TaobaoSource:
    """Pulls one shop."""

    def __init__(self, setup: Setup, access: Access) -> None:
        self._settings: Settings = setup.settings
        self._connection = setup.connection
        self._now = setup.now
        self._budget = access.budget
        self._top = Top(setup, access)
        self._unfinished: _Unfinished | None = None
        self._oddities = 0
        self._failures = Failures(tries=self._settings.detail_tries, list_numbers=self._list_numbers, comes=self._comes)

    async def pull(self, window: Window, position: str, *, deadline_s: float) -> Pulled:
        """See `PullSource.pull`.

        A page of which some details fail is handed over as far as it goes, and the rest asked for next: where one
        request in twenty fails, no page of fifty would ever come through whole. Where the platform asks for patience
        or refuses us, that is the answer, and what was read already is not asked for again. A trade whose detail fails
        again and again, while others' do not, is handed over as one that is refused.
        """
        walk = _read_walk(position)
        rows = await self._rows(window, walk, deadline_s)
        if isinstance(rows, Verdict):
            return rows.of_question()
        before = self._unfinished
        handed, read = (
            (before.handed, before.read)
            if before is not None and (before.window, before.position) == (window, position)
            else (frozenset[bytes](), {})
        )
        left = [row for row in dict.fromkeys(rows.rows) if row not in handed]
        failure = await self._details([row for row in left if row not in read], read, window, deadline_s)
        if failure is None:
            self._unfinished = None
            return Page(tuple(read[row] for row in left), _write_walk(rows.next))
        if failure.kind != "failed" or not read:
            self._unfinished = _Unfinished(window, position, handed, read)
            return failure.of_question()
        again = _write_walk(msgspec.structs.replace(rows.here, again=walk.again + 1))
        # Asked from there, the engine has made durable what it gets here: it need not be read again.
        self._unfinished = _Unfinished(window, again, handed.union(read), {})
        return Page(tuple(read.values()), again)

    def decode(self, event: Event) -> Facts:
        facts = mapping.decode(event.body, self._settings)
        if event.order_key and facts.order_no != event.order_key:
            what = Text("不是所查询的订单", "is not the trade that was asked for")
            advice = Text(
                "平台返回了另一个订单：向平台反馈，放弃此条",
                "the platform answered with another trade: report it to them, discard this",
            )
            raise BadInput("value", what, where="$.tid", advice=advice)
        return facts

    # --- the list ---------------------------------------------------------------------------------------------------

    async def _rows(self, window: Window, walk: Walk, deadline_s: float) -> _Rows | Verdict:
        if walk.page is not None and walk.page > 0:
            listed = await self._list(window, walk.page, deadline_s)
            if isinstance(listed, Verdict):
                return listed
            return _Rows(listed.rows, walk, Walk(walk.page - 1, walk.total, walk.newest))
        if walk.page == 0:
            settled = await self._settled(window, walk, deadline_s)
            if isinstance(settled, Verdict):
                return settled
            if settled:
                return _Rows((), walk, None)
            await self._budget.turn()
        first = await self._list(window, 1, deadline_s, total=True)
        if isinstance(first, Verdict):
            return first
        if first.total <= len(first.rows):
            return _Rows(first.rows, Walk(), None)  # all of it in one answer: nothing can shift
        last_page = -(-first.total // self._settings.page_size)
        await self._budget.turn()
        last = await self._list(window, last_page, deadline_s)
        if isinstance(last, Verdict):
            return last
        newest = max((_modified(row) or window.start_at for row in (*first.rows, *last.rows)), default=window.start_at)
        here = Walk(last_page, first.total, newest)
        return _Rows(last.rows, here, Walk(last_page - 1, first.total, newest))

    async def _settled(self, window: Window, walk: Walk, deadline_s: float) -> bool | Verdict:
        """Whether nothing moved into the window during the walk: no more rows than there were, and none modified later
        than all of them."""
        now = await self._list(window, 1, deadline_s, total=True)
        if isinstance(now, Verdict):
            return now
        newest = walk.newest or window.start_at
        if now.total > walk.total:
            return False
        if newest >= window.end_at:
            return True
        await self._budget.turn()
        late = await self._list(Window(newest + _SECOND, window.end_at), 1, deadline_s)
        if isinstance(late, Verdict):
            return late
        return not any(newest < (_modified(row) or newest) <= window.end_at for row in late.rows)

    async def _list(self, window: Window, page: int, deadline_s: float, *, total: bool = False) -> _Listed | Verdict:
        params = {
            "fields": "tid,modified",
            "start_modified": mapping.beijing(window.start_at),
            # The platform wants a span, not an instant.
            "end_modified": mapping.beijing(max(window.end_at, window.start_at + _SECOND)),
            "type": ",".join(self._settings.types),
            "page_no": str(page),
            "page_size": str(self._settings.page_size),
            "use_has_next": "false" if total else "true",
        }
        answer = await self._top.call(LIST, params, deadline_s=deadline_s)
        if isinstance(answer, Verdict):
            return answer
        try:
            listed = _decode_list(answer)
        except msgspec.DecodeError as error:
            return Verdict("failed", "unreadable", f"the list of trades has changed its form: {type(error).__name__}")
        trades = listed.trades
        rows = (trades.trade if isinstance(trades, _Trades) else trades) or ()
        if total and listed.total_results is None:
            return Verdict("failed", "unreadable", "the list of trades says no total")
        return _Listed(tuple(bytes(row) for row in rows), listed.total_results or 0)

    # --- the details ------------------------------------------------------------------------------------------------

    async def _details(
        self, rows: Sequence[bytes], read: dict[bytes, Event], window: Window, deadline_s: float
    ) -> Verdict | None:
        """Put an event into `read` for every row, or say why not all. Each request waits for its turn of the budget.

        A detail that fails does not end it, as many as are asked for at once do, and so does being asked for patience.
        """
        waiting = iter(rows)
        failures: list[Verdict] = []

        def over() -> bool:
            return len(failures) >= at_once or any(failure.kind != "failed" for failure in failures)

        async def work() -> None:
            for row in waiting:
                if not over():
                    await self._budget.turn()
                if over():
                    return
                event = await self._event(row, window, deadline_s)
                if isinstance(event, Verdict):
                    failures.append(event)
                else:
                    read[row] = event

        at_once = min(self._settings.details_at_once, len(rows))
        async with asyncio.TaskGroup() as group:
            for number in range(at_once):
                group.create_task(work(), name=f"{self._connection}-detail-{number}")
        return next((failure for failure in failures if failure.kind != "failed"), failures[0] if failures else None)

    async def _event(self, raw: bytes, window: Window, deadline_s: float) -> Event | Verdict:
        row = mapping.read_row(raw)
        if not row.number.isdigit():
            return self._as_event(row, window, raw)  # kept as it is; `decode` says what is wrong with it
        answer = await self._detail(row.number, deadline_s)
        alone = _may_pass(answer) and await self._failures.is_alone(
            row.number, self._spans(window), deadline_s=deadline_s
        )
        if alone:
            # The platform may have come back between the two.
            await self._budget.turn()
            answer = await self._detail(row.number, deadline_s)
        if isinstance(answer, Verdict):
            odd = answer.kind == "rejected" and answer.code != "business"
            refused = answer.kind == "rejected" and (not odd or self._oddities < MOST_ODDITIES)
            if not refused and not (alone and _may_pass(answer)):
                return answer
            self._oddities += odd
            # This one trade is refused, and will be: a dead letter keeps what there is, and holds nobody else up.
            said = msgspec.json.encode(mapping.Refusal(answer.code, answer.message))
            return self._as_event(row, window, mapping.render_refused(raw, said))
        try:
            body = bytes(_decode_detail(answer).trade)
        except msgspec.DecodeError:
            body = mapping.render_refused(raw, bytes(answer))
        return self._as_event(row, window, body)

    async def _detail(self, number: str, deadline_s: float) -> msgspec.Raw | Verdict:
        params = {"fields": mapping.FIELDS, "tid": number, "include_oaid": "true"}
        answer = await self._top.call(DETAIL, params, deadline_s=deadline_s)
        if not isinstance(answer, Verdict):
            self._oddities = 0
            self._failures.forget(number)
        elif answer.kind in ("failed", "rejected"):
            self._failures.count(number)
        return answer

    def _spans(self, window: Window) -> tuple[Window, Window]:
        """Where to look for another trade: in the last day, then in what waits behind this one."""
        now = self._now()
        return Window(now - _DAY, now), Window(window.start_at, min(window.start_at + _DAY, now))

    async def _list_numbers(self, span: Window, deadline_s: float) -> list[str] | None:
        await self._budget.turn()
        listed = await self._list(span, 1, deadline_s)
        if isinstance(listed, Verdict):
            return None
        return [number for number in (mapping.read_row(row).number for row in listed.rows) if number.isdigit()]

    async def _comes(self, number: str, deadline_s: float) -> bool:
        await self._budget.turn()
        return not isinstance(await self._detail(number, deadline_s), Verdict)

    def _as_event(self, row: mapping.Row, window: Window, body: bytes) -> Event:
        number = row.number if row.number.isdigit() else ""
        modified = mapping.read_row(body).modified or row.modified or ""
        modified_at = mapping.parse_beijing(modified) or window.end_at
        return Event(
            id=EventId(mapping.event_id(number, modified_at, body)),
            source=self._connection,
            type=mapping.EVENT_TYPE,
            order_key=number,
            time=modified_at,
            body=body,
        )


class _Rows(msgspec.Struct, frozen=True):
    """A page of the list: `here` reads it again, `next` goes on; None: the window is through."""

    rows: tuple[bytes, ...]
    here: Walk
    next: Walk | None


class _Unfinished(msgspec.Struct, frozen=True):
    """What is known of the page that the engine asks for next, if it asks for `position` of `window`: the rows whose
    events it has, and the events it has not got yet."""

    window: Window
    position: str
    handed: frozenset[bytes]
    read: dict[bytes, Event]


class _Listed(msgspec.Struct, frozen=True):
    rows: tuple[bytes, ...]
    total: int


class _Trades(msgspec.Struct, frozen=True):
    trade: tuple[msgspec.Raw, ...] = ()


class _List(msgspec.Struct, frozen=True):
    total_results: int | None = None
    trades: _Trades | tuple[msgspec.Raw, ...] | None = None


class _Detail(msgspec.Struct, frozen=True):
    trade: msgspec.Raw


_decode_list = msgspec.json.Decoder(_List).decode
_decode_detail = msgspec.json.Decoder(_Detail).decode
_decode_walk = msgspec.json.Decoder(Walk).decode


def _may_pass(answer: msgspec.Raw | Verdict) -> bool:
    """Whether a detail has failed without a word on the trade itself, or on how often we may ask."""
    return isinstance(answer, Verdict) and (
        answer.kind == "failed" or (answer.kind == "rejected" and answer.code != "business")
    )


def _read_walk(position: str) -> Walk:
    """Empty is the beginning; so is what another release wrote: that window is begun anew."""
    try:
        return _decode_walk(position) if position else Walk()
    except msgspec.DecodeError:
        return Walk()


def _write_walk(walk: Walk | None) -> str:
    return "" if walk is None else msgspec.json.encode(walk).decode()


def _modified(row: bytes) -> datetime | None:
    return mapping.parse_beijing(mapping.read_row(row).modified or "")
