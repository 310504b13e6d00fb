"""Many at once: sending again what is blocked, and taking it for handled; each with a filter, a preview and a cap.

Both are redrives: they begin a while after they were asked for, are listed, and can be stopped.
"""

from __future__ import annotations

import asyncpg
import msgspec

from gateway.api.desk import Desk
from gateway.api.errors import ApiError, conflict, near, not_found, wrong
from gateway.api.routing import Call, Route
from gateway.api.views import (
    PreviewBody,
    ReasonBody,
    RedriveBody,
    RedriveList,
    RedrivePreview,
    RedrivesQuery,
    RedriveStarted,
    ResolveManyBody,
    ResolvePreviewBody,
    WantedBody,
)
from gateway.core.text import Text
from gateway.core.words import REDRIVES, word
from gateway.store.redrive import RESOLVED_PER_S, Pace, RedriveRow, list_redrives, read_redrive, start, stop
from gateway.store.sql import Names
from gateway.store.wanted import NoFilter, NoSuchConnection, Preview, preview
from gateway.telemetry.logs import mask_text

_ERRORS = (400, 401, 404, 409, 413, 422, 503)
_FOR_GOOD = Text("已标记的不能撤销", "what is resolved cannot be undone")


class Redrives:
    """Handlers of ``/redrives`` and ``/deliveries/resolve``."""

    def __init__(self, pool: asyncpg.Pool, *, names: Names, desk: Desk) -> None:
        self._pool = pool
        self._desk = desk
        self._policies = desk.policies(names)

    def routes(self) -> list[Route]:
        return [
            Route(
                method="POST", path="/redrives/preview", handler=self.preview_redrive, body=PreviewBody,
                answer=RedrivePreview, errors=_ERRORS, zh="批量重发预览",
                en="What a redrive would take; changes nothing",
            ),
            Route(
                method="POST", path="/redrives", handler=self.start_redrive, body=RedriveBody, answer=RedriveStarted,
                errors=_ERRORS, zh="批量重发",
                en="Send blocked deliveries and dead letters again, at a pace, asking first what has arrived",
            ),
            Route(
                method="GET", path="/redrives", handler=self.list_redrives, query=RedrivesQuery, answer=RedriveList,
                zh="批量重发与批量标记已处理的列表", en="Redrives, those that resolve included, newest first",
            ),
            Route(
                method="GET", path="/redrives/{id}", handler=self.get_redrive, answer=RedriveRow,
                zh="批量重发、批量标记已处理的进度", en="One redrive and how far it is", errors=(401, 404, 503),
            ),
            Route(
                method="POST", path="/redrives/{id}/stop", handler=self.stop_redrive, body=ReasonBody,
                answer=RedriveRow, errors=_ERRORS, zh="停止批量重发、批量标记已处理",
                en="Stop a redrive; what has not left, or is not resolved yet, is as it was before",
            ),
            Route(
                method="POST", path="/deliveries/resolve/preview", handler=self.preview_resolve,
                body=ResolvePreviewBody, answer=Preview, errors=_ERRORS, zh="批量标记已处理预览",
                en="What would be taken for handled; changes nothing",
            ),
            Route(
                method="POST", path="/deliveries/resolve", handler=self.resolve_many, body=ResolveManyBody,
                answer=RedriveStarted, errors=_ERRORS, zh="批量标记已处理",
                en="Take many for handled elsewhere, as a redrive that sends nothing: deliveries as done, dead letters"
                " closed unused; it can be stopped before it begins, and not undone after",
            ),
        ]  # fmt: skip

    async def preview_redrive(self, call: Call) -> RedrivePreview:
        body: PreviewBody = call.body
        found = await self._preview(body.wanted, cap=body.cap, forced=body.send_unasked)
        per_s = self._desk.pace(body.wanted.target, body.wanted.operation)
        return RedrivePreview(preview=found, per_s=per_s, takes_s=found.chosen / per_s)

    async def start_redrive(self, call: Call) -> RedriveStarted:
        body: RedriveBody = call.body
        per_s = body.per_s or self._desk.pace(body.wanted.target, body.wanted.operation)
        try:
            redrive_id = await start(
                self._pool,
                body.wanted.wanted(),
                policies=self._policies,
                cap=body.cap,
                pace=Pace(per_s=per_s, start_in_s=body.start_in_s),
                forced=body.send_unasked,
                reason=body.reason,
                actor=call.actor,
            )
        except (NoFilter, NoSuchConnection) as error:
            raise _refused(error) from error
        if redrive_id is None:
            raise _nothing(
                Text("符合条件的都不能重发", "nothing that fits may be sent again"),
                Text(
                    "POST /redrives/preview 说明哪些符合条件，哪些留给人工，哪些已在其他批次中",
                    "POST /redrives/preview says what fits, and what stays with a person or is in another redrive",
                ),
            )
        row = await self._read(redrive_id)
        return RedriveStarted(
            redrive=row,
            note=Text(
                f"{body.start_in_s:g} 秒后开始放出；之前和之后都可以停止",
                f"the first leaves in {body.start_in_s:g} s; until then and after, it can be stopped",
            ),
        )

    async def list_redrives(self, call: Call) -> RedriveList:
        query: RedrivesQuery = call.query
        rows = await list_redrives(
            self._pool,
            running=query.state == "running",
            before=None if query.after is None else int(query.after),
            limit=query.limit,
        )
        further = str(rows[-1].redrive_id) if len(rows) == query.limit else ""
        return RedriveList(redrives=[_masked(row) for row in rows], next=further)

    async def get_redrive(self, call: Call) -> RedriveRow:
        return await self._read(int(call.path["id"]))

    async def stop_redrive(self, call: Call) -> RedriveRow:
        redrive_id = int(call.path["id"])
        state = await stop(self._pool, redrive_id, reason=call.body.reason, actor=call.actor)
        row = await self._read(redrive_id)
        if state in ("done", "stopped"):
            advice = Text("没有可停止的", "nothing is left to stop")
            if row.does == "resolve":
                advice = Text(f"{advice.zh}；{_FOR_GOOD.zh}", f"{advice.en}; {_FOR_GOOD.en}")
            raise conflict(
                "ended",
                Text(
                    f"批次 {redrive_id} 已经结束：{word(state, REDRIVES).zh}",
                    f"redrive {redrive_id} has ended already: {state}",
                ),
                advice,
                where="path.id",
            )
        return row

    async def preview_resolve(self, call: Call) -> Preview:
        body: ResolvePreviewBody = call.body
        return await self._preview(body.wanted, cap=body.cap, forced=True, resolve=True)

    async def resolve_many(self, call: Call) -> RedriveStarted:
        body: ResolveManyBody = call.body
        try:
            redrive_id = await start(
                self._pool,
                body.wanted.wanted(),
                policies=None,
                cap=body.cap,
                pace=Pace(per_s=RESOLVED_PER_S, start_in_s=body.start_in_s),
                reason=body.reason,
                actor=call.actor,
            )
        except (NoFilter, NoSuchConnection) as error:
            raise _refused(error) from error
        if redrive_id is None:
            raise _nothing(
                Text("没有符合条件的可标记", "nothing that fits is left to resolve"),
                Text(
                    "POST /deliveries/resolve/preview 说明哪些符合条件，哪些已在其他批次中",
                    "POST /deliveries/resolve/preview says what fits, and what is in another redrive",
                ),
            )
        return RedriveStarted(
            redrive=await self._read(redrive_id),
            note=Text(
                f"{body.start_in_s:g} 秒后开始标记；在此之前停止，一切照旧；{_FOR_GOOD.zh}",
                f"the first is resolved in {body.start_in_s:g} s; stopped before, all stays as it is; {_FOR_GOOD.en}",
            ),
        )

    async def _preview(self, given: WantedBody, *, cap: int, forced: bool, resolve: bool = False) -> Preview:
        policies = None if resolve else self._policies
        try:
            return await preview(self._pool, given.wanted(), policies=policies, cap=cap, forced=forced)
        except (NoFilter, NoSuchConnection) as error:
            raise _refused(error) from error

    async def _read(self, redrive_id: int) -> RedriveRow:
        row = await read_redrive(self._pool, redrive_id)
        if row is None:
            raise not_found(
                Text(f"没有批次 {redrive_id}", f"there is no redrive {redrive_id}"),
                "path.id",
                Text("GET /redrives 列出全部批次", "GET /redrives lists them"),
            )
        return _masked(row)


def _masked(row: RedriveRow) -> RedriveRow:
    return msgspec.structs.replace(row, reason=mask_text(row.reason))


def _nothing(message: Text, advice: Text) -> ApiError:
    return conflict("nothing", message, advice, where="$.wanted")


def _refused(error: NoFilter | NoSuchConnection) -> ApiError:
    if isinstance(error, NoFilter):
        return wrong(
            "$.wanted",
            Text("没有限定范围：不会一次处理全部", "narrows nothing: everything at once is never meant"),
            Text(
                "给出 target、source、operation、code、since 或 until",
                "give target, source, operation, code, since or until",
            ),
        )
    return not_found(
        Text(f"没有连接 {error.name}", f"there is no connection {error.name}"),
        "$.wanted",
        near(error.name, error.known) or Text("GET /gates 列出各个目标", "GET /gates lists targets"),
    )
