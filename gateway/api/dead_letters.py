"""Dead letters: what was set aside and why, and letting it go through again or not."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping

import asyncpg
import msgspec

from gateway.api.errors import ApiError, conflict, not_found, unread, wrong
from gateway.api.filters import check_connection
from gateway.api.orders import text_of
from gateway.api.routing import Call, Route
from gateway.api.views import (
    DeadLetterList,
    DeadLetterPage,
    DeadLettersQuery,
    ReasonBody,
    ReleaseBody,
    Released,
    UnmaskQuery,
)
from gateway.core.errors import BadInput
from gateway.core.event import MAX_BODY_BYTES, RECONSIDER, ConnectionName, Event, EventId
from gateway.core.fault import raised
from gateway.core.order import Facts, Party
from gateway.core.sound import sound
from gateway.core.text import NOTHING, Text
from gateway.core.words import RESOLUTIONS, word
from gateway.sdk.cancelled import is_a_stop
from gateway.store.audit import audit
from gateway.store.dead import discard, release
from gateway.store.queries import DeadLetterRow, closed_reason, list_dead_letters, read_dead_letter
from gateway.store.sql import CannotOpen, Unopened
from gateway.telemetry.logs import mask_text

_ERRORS = (400, 401, 404, 409, 413, 422, 503)
_NO_PAYLOAD = Text(
    "它没有报文，是网关自己要求重新判断订单", "it has none: with this the gateway wanted to decide an order again"
)
_AS_IT_IS = Text(
    "原样放行；订单有变，让店铺重新推送",
    "release it as it is; where the order is another one, have its shop send it again",
)


class DeadLetters:
    """Handlers of ``/dead-letters``. `decoders`: what each connection's events say, as intake reads them; `renamed`:
    shops of before that have another name now."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        decoders: Mapping[ConnectionName, Callable[[Event], Facts]],
        prefixes: Mapping[ConnectionName, str],
        renamed: Mapping[ConnectionName, ConnectionName],
    ) -> None:
        self._pool = pool
        self._decoders = decoders
        self._prefixes = prefixes
        self._renamed = renamed

    def routes(self) -> list[Route]:
        return [
            Route(
                method="GET", path="/dead-letters", handler=self.list_dead_letters, query=DeadLettersQuery,
                answer=DeadLetterList, zh="死信列表", en="Events set aside, newest first",
            ),
            Route(
                method="GET", path="/dead-letters/{id}", handler=self.get_dead_letter, query=UnmaskQuery,
                answer=DeadLetterPage, zh="死信详情", en="One dead letter; its payload with `unmask=1`, recorded",
                errors=(401, 404, 422, 503),
            ),
            Route(
                method="POST", path="/dead-letters/{id}/release", handler=self.release_dead_letter, body=ReleaseBody,
                body_required=False, payload="body", answer=Released, errors=_ERRORS,
                zh="（修复后）重新处理", en="Send it through again, repaired or not, and what waits behind it",
            ),
            Route(
                method="POST", path="/dead-letters/{id}/discard", handler=self.discard_dead_letter, body=ReasonBody,
                answer=Released, errors=_ERRORS, zh="放弃死信", en="Close it unused; what waits behind it goes on",
            ),
        ]  # fmt: skip

    async def list_dead_letters(self, call: Call) -> DeadLetterList:
        query: DeadLettersQuery = call.query
        rows = await list_dead_letters(
            self._pool,
            open_only=query.state == "open",
            source=query.source,
            code=query.code,
            before=None if query.after is None else int(query.after),
            limit=query.limit,
        )
        if not rows:
            await check_connection(self._pool, query.source, where="source", letters=True)
        more = str(rows[-1].dead_letter_id) if len(rows) == query.limit else ""
        return DeadLetterList(dead_letters=[_masked(row) for row in rows], next=more)

    async def get_dead_letter(self, call: Call) -> DeadLetterPage:
        row, body = await self._read(call)
        reason = "" if row.closed_at is None else await closed_reason(self._pool, row.dead_letter_id)
        unopened = body.why if isinstance(body, Unopened) else NOTHING
        if not call.query.unmask:
            return DeadLetterPage(dead_letter=_masked(row), closed_reason=mask_text(reason), unopened=unopened)
        await audit(self._pool, actor=call.actor, action="dead_letter.unmask", subject=str(row.dead_letter_id))
        if unopened:
            return DeadLetterPage(dead_letter=row, closed_reason=reason, unopened=unopened)
        return DeadLetterPage(
            dead_letter=row, closed_reason=reason, text=text_of(body), base64=base64.b64encode(body).decode()
        )

    async def release_dead_letter(self, call: Call) -> Released:
        row, stored = await self._read(call, open_only=True)
        body = _repaired(call.body)
        if body is None and isinstance(stored, Unopened):
            # Intake would set it aside again, as another one.
            number = row.dead_letter_id
            what = Text(f"死信 {number} 的报文", f"the payload of dead letter {number}")
            raise unread(what, CannotOpen(stored.why))
        if body is not None:
            self._check(row, body, another_order=call.body.another_order)
        events = await release(self._pool, row.dead_letter_id, body=body, actor=call.actor, reason=call.body.reason)
        if not events:
            raise _closed(row)
        return Released(events=events)

    async def discard_dead_letter(self, call: Call) -> Released:
        row, _ = await self._read(call, open_only=True)
        events = await discard(self._pool, row.dead_letter_id, reason=call.body.reason, actor=call.actor)
        if events < 0:
            raise _closed(row)
        return Released(events=events)

    def _check(self, row: DeadLetterRow, body: bytes, *, another_order: bool) -> None:
        """Refuse a repair that intake would set aside again, or that is another order's: the letter would be closed
        with it, and its own order gone. So would be what is put in the place of a wish to decide an order again.

        Nothing is known of a connection that is not configured.
        """
        if row.type == RECONSIDER:
            raise _unrepaired("reconsider", _NO_PAYLOAD, "$.body", _AS_IT_IS)
        source = ConnectionName(row.source)
        shop = self._renamed.get(source, source)
        decode = self._decoders.get(shop)
        if decode is None:
            return
        event = Event(
            id=EventId(row.event_id),
            source=source,
            type=row.type,
            order_key=row.order_key,
            time=row.happened_at,
            body=body,
        )
        try:
            facts = sound(decode(event))
        except BadInput as error:
            raise _unrepaired(error.code, error.message, error.where, error.advice) from error
        except BaseException as error:  # a broken adapter, which intake contains too
            if is_a_stop(error):
                raise
            what = Text(f"适配器出错：{raised(error)}", f"the adapter failed with {raised(error)}")
            raise _unrepaired("adapter", what, "$.body", NOTHING) from error
        prefix = "" if facts.party is Party.WAREHOUSE else self._prefixes.get(shop, "")
        number = prefix + facts.order_no
        is_known = bool(row.number or row.order_key)
        if is_known and not another_order and number != row.number and facts.order_no != row.order_key:
            own = row.number or row.order_key
            raise conflict(
                "another_order",
                Text(
                    f"报文是订单 {number} 的，死信 {row.dead_letter_id} 是订单 {own} 的",
                    f"the payload is of order {number}, dead letter {row.dead_letter_id} of order {own}",
                ),
                Text(
                    "核对报文；若原单号本身有误，加 --another-order（API：another_order）",
                    "check the payload; where the number itself was wrong, give --another-order (API: another_order)",
                ),
                where="$.body",
                details={"number": number, "own": own},
            )

    async def _read(self, call: Call, *, open_only: bool = False) -> tuple[DeadLetterRow, bytes]:
        dead_letter_id = int(call.path["id"])
        found = await read_dead_letter(self._pool, dead_letter_id)
        if found is None:
            raise not_found(
                Text(f"没有死信 {dead_letter_id}", f"there is no dead letter {dead_letter_id}"),
                "path.id",
                Text("GET /dead-letters 列出全部死信", "GET /dead-letters lists them"),
            )
        if open_only and found[0].closed_at is not None:
            raise _closed(found[0])
        return found


def _repaired(body: ReleaseBody) -> bytes | None:
    if body.body_base64 is not None and body.body is not None:
        raise wrong(
            "$",
            Text("同时有 `body` 和 `body_base64`", "has both `body` and `body_base64`"),
            Text("只传其中一个", "send one of them"),
        )
    repaired: bytes | None = None
    if body.body_base64 is not None:
        try:
            repaired = base64.b64decode(body.body_base64, validate=True)
        except ValueError as error:  # binascii.Error is one; a text that is not ASCII raises it bare
            raise wrong(
                "$.body_base64",
                Text("不是 base64", "is not base64"),
                Text("对报文的字节编码", "encode the payload's bytes"),
            ) from error
    elif isinstance(body.body, str):
        repaired = body.body.encode("utf-8", "replace")
    elif body.body is not None:
        repaired = msgspec.json.encode(body.body)
    if repaired is not None and len(repaired) > MAX_BODY_BYTES:
        raise ApiError(
            413,
            "too_large",
            Text(f"报文有 {len(repaired)} 字节", f"the payload has {len(repaired)} bytes"),
            where="$.body",
            advice=Text(f"最多 {MAX_BODY_BYTES}", f"at most {MAX_BODY_BYTES}"),
        )
    return repaired


def _unrepaired(code: str, what: Text, where: str, advice: Text) -> ApiError:
    message = _without(what)
    return ApiError(
        422,
        "unrepaired",
        Text(f"报文仍无法处理：{message.zh}", f"the payload still cannot be used: {message.en}"),
        where=where,
        advice=_without(advice) or Text("修正后再次放行", "repair it, then release it again"),
        details={"code": code},
    )


def _masked(row: DeadLetterRow) -> DeadLetterRow:
    return msgspec.structs.replace(row, message=_without(row.message), advice=_without(row.advice))


def _without(said: Text) -> Text:
    return Text(mask_text(said.zh), mask_text(said.en))


def _closed(row: DeadLetterRow) -> ApiError:
    how = Text("已关闭", "closed")
    if row.resolution:
        how = Text(f"{word(row.resolution, RESOLUTIONS).zh}（{row.closed_by}）", f"{row.resolution} by {row.closed_by}")
    return conflict(
        "closed",
        Text(f"死信 {row.dead_letter_id} {how.zh}", f"dead letter {row.dead_letter_id} is {how.en} already"),
        Text("无需再做", "nothing is left to do"),
        where="path.id",
    )
