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
from gateway.sdk.models import Event, EventId, Facts
from gateway.sdk.pull import Access, Page, Pulled, Window

LIST = "taobao.trades.sold.increment.get"
DETAIL = "taobao.trade.fullinfo.get"
_SECOND = timedelta(seconds=1)


class Walk(msgspec.Struct, frozen=True):
    """Where a walk backwards stands: the page to read next (0: the question at its end), how many rows there were when
    it began, and the last modification among them."""

    page: int
    total: int
    newest: datetime


class TaobaoSource:
    """Pulls one shop."""

    def __init__(self, setup: Setup, access: Access) -> None:
        self._settings: Settings = setup.settings
        self._connection = setup.connection
        self._budget = access.budget
        self._top = Top(setup, access)
        self._kept_for: tuple[Window, str] | None = None
        self._kept: dict[bytes, Event] = {}

    async def pull(self, window: Window, position: str, *, deadline_s: float) -> Pulled:
        """See `PullSource.pull`. What was read of a page that then failed is not asked for again at the next try."""
        walk = _read_walk(position)
        rows = await self._rows(window, walk, deadline_s)
        if isinstance(rows, Verdict):
            return rows.of_question()
        read = self._kept if self._kept_for == (window, position) else {}
        failure = await self._details(rows.rows, read, window, deadline_s)
        if failure is not None:
            self._kept_for, self._kept = (window, position), read
            return failure.of_question()
        self._kept_for, self._kept = None, {}
        return Page(tuple(read[row] for row in rows.rows), rows.next)

    def decode(self, event: Event) -> Facts:
        return mapping.decode(event.body, self._settings)

    # --- the list ---------------------------------------------------------------------------------------------------

    async def _rows(self, window: Window, walk: Walk | None, deadline_s: float) -> _Rows | Verdict:
        if walk is not None and walk.page > 0:
            listed = await self._list(window, walk.page, deadline_s)
            if isinstance(listed, Verdict):
                return listed
            return _Rows(listed.rows, _write_walk(msgspec.structs.replace(walk, page=walk.page - 1)))
        if walk is not None:
            settled = await self._settled(window, walk, deadline_s)
            if settled is not False:
                return _Rows(()) if settled is True else settled
            await self._budget.turn()
        first = await self._list(window, 1, deadline_s, total=True)
        if isinstance(first, Verdict):
            return first
        if first.total <= len(first.rows):
            return _Rows(first.rows)  # all of it in one answer: nothing can shift
        last_page = -(-first.total // self._settings.page_size)
        await self._budget.turn()
        last = await self._list(window, last_page, deadline_s)
        if isinstance(last, Verdict):
            return last
        newest = max((_modified(row) or window.start_at for row in (*first.rows, *last.rows)), default=window.start_at)
        return _Rows(last.rows, _write_walk(Walk(last_page - 1, first.total, newest)))

    async def _settled(self, window: Window, walk: Walk, deadline_s: float) -> bool | Verdict:
        """Whether nothing moved into the window during the walk: no more rows than there were, and none modified later
        than all of them."""
        now = await self._list(window, 1, deadline_s, total=True)
        if isinstance(now, Verdict):
            return now
        if now.total > walk.total:
            return False
        if walk.newest >= window.end_at:
            return True
        await self._budget.turn()
        late = await self._list(Window(walk.newest + _SECOND, window.end_at), 1, deadline_s)
        if isinstance(late, Verdict):
            return late
        return not any(walk.newest < (_modified(row) or window.end_at) <= window.end_at for row in late.rows)

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
        """Have an event in `read` for every row, or say why not. Each request waits for its turn of the budget."""
        waiting = iter([row for row in dict.fromkeys(rows) if row not in read])
        failures: list[Verdict] = []

        async def work() -> None:
            for row in waiting:
                await self._budget.turn()
                if failures:
                    return
                event = await self._event(row, window, deadline_s)
                if isinstance(event, Verdict):
                    failures.append(event)
                    return
                read[row] = event

        async with asyncio.TaskGroup() as group:
            for number in range(min(self._settings.details_at_once, len(rows))):
                group.create_task(work(), name=f"{self._connection}-detail-{number}")
        return failures[0] if failures else None

    async def _event(self, raw: bytes, window: Window, deadline_s: float) -> Event | Verdict:
        row = mapping.read_row(raw)
        if not row.number.isdigit():
            return self._as_event(row, window, raw)  # kept as it is; `decode` says what is wrong with it
        params = {"fields": mapping.FIELDS, "tid": row.number, "include_oaid": "true"}
        answer = await self._top.call(DETAIL, params, deadline_s=deadline_s)
        if isinstance(answer, Verdict):
            if answer.kind != "rejected" or answer.code != "business":
                return answer
            # This one trade is refused, and will be: a dead letter keeps what there is, and holds nobody else up.
            said = msgspec.json.encode({"code": answer.code, "message": answer.message})
            return self._as_event(row, window, mapping.render_refused(raw, said))
        try:
            body = bytes(_decode_detail(answer).trade)
        except msgspec.DecodeError:
            body = mapping.render_refused(raw, bytes(answer))
        return self._as_event(row, window, body)

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
    rows: tuple[bytes, ...]
    next: str = ""


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


def _read_walk(position: str) -> Walk | None:
    """None for the beginning, and for what another release wrote: that window is begun anew."""
    try:
        return _decode_walk(position) if position else None
    except msgspec.DecodeError:
        return None


def _write_walk(walk: Walk) -> str:
    return msgspec.json.encode(walk).decode()


def _modified(row: bytes) -> datetime | None:
    return mapping.parse_beijing(mapping.read_row(row).modified or "")
