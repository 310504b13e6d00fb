"""What people have been told, and what is the matter now."""

from __future__ import annotations

import asyncpg

from gateway.api.filters import check_connection
from gateway.api.routing import Call, Route
from gateway.api.views import ConditionList, ConditionView, NoticeList, NoticesQuery
from gateway.store.notices import list_conditions, list_notices


class Notices:
    """Handlers of ``/notices`` and ``/conditions``."""

    def __init__(self, pool: asyncpg.Pool, *, watched: bool) -> None:
        self._pool = pool
        self._watched = watched

    def routes(self) -> list[Route]:
        return [
            Route(
                method="GET", path="/notices", handler=self.list_notices, query=NoticesQuery, answer=NoticeList,
                zh="通知记录", en="Notices and what became of each, newest first",
            ),
            Route(
                method="GET", path="/conditions", handler=self.list_conditions, answer=ConditionList,
                zh="当前异常", en="What is the matter now, the longest first",
            ),
        ]  # fmt: skip

    async def list_notices(self, call: Call) -> NoticeList:
        query: NoticesQuery = call.query
        rows = await list_notices(
            self._pool,
            state=query.state,
            kind=query.kind,
            connection=query.connection,
            before=None if query.after is None else int(query.after),
            limit=query.limit,
        )
        if not rows:
            await check_connection(self._pool, query.connection, where="connection")
        more = str(rows[-1].notice_id) if len(rows) == query.limit else ""
        return NoticeList(notices=rows, next=more)

    async def list_conditions(self, call: Call) -> ConditionList:
        return ConditionList(
            watched=self._watched,
            conditions=[
                ConditionView(
                    kind=one.key.kind,
                    connection=one.key.connection,
                    subject=one.key.subject,
                    opened_at=one.opened_at,
                    clear_since=one.clear_since,
                    told=one.told,
                )
                for one in await list_conditions(self._pool)
            ],
        )
