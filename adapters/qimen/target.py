"""The way out: delivery orders and cancels to a WMS, and the question whether it has them."""

from __future__ import annotations

import asyncio
from urllib.parse import quote, urlencode

from adapters.qimen import mapping
from adapters.qimen.settings import Settings
from gateway.sdk.adapter import Setup
from gateway.sdk.http import Http, HttpReply, NoAnswer, NotSent, retry_after_s
from gateway.sdk.models import (
    Answer,
    BadInput,
    Delivery,
    Done,
    Failed,
    Finding,
    Found,
    NotFound,
    Operation,
    OrdergateError,
    Rejected,
    Text,
    Throttled,
    Unknown,
    content_to_send,
    items_to_pick,
)

LEAST_S = 0.05
"""Less than this left of a deadline is not worth a question."""


class QimenTarget:
    """`create` and `cancel` by our order number, and `find` for both.

    A create that is refused as a duplicate is asked for once within the same deadline: done where the WMS shows it,
    unknown where it does not. A cancel that is refused is done where the document turns out to be cancelled.
    """

    def __init__(self, setup: Setup, http: Http) -> None:
        self._settings: Settings = mapping.with_platforms(setup.settings, setup.adapters)
        self._now = setup.now
        self._http = http

    async def send(self, delivery: Delivery, *, deadline_s: float) -> Answer:
        until = _clock() + deadline_s
        method, body = self._render(delivery)
        if isinstance(body, Rejected):
            return body
        reply = await self._call(method, body, deadline_s=deadline_s)
        if not isinstance(reply, mapping.WmsReply):
            return reply
        cancel = delivery.operation is Operation.CANCEL
        verdict = mapping.classify(reply, self._settings, cancel=cancel)
        message = f"{reply.code} {reply.message}".strip()[:500]
        if verdict.kind == "done":
            return Done(reply.reference)
        if (trouble := _trouble(verdict, message)) is not None:
            return trouble
        if verdict.kind != "already_done" and not cancel:
            return Rejected(verdict.code, message)
        left_s = until - _clock()
        finding = await self.find(delivery, deadline_s=left_s) if left_s >= LEAST_S else None
        if isinstance(finding, Found):
            return Done(finding.reference, already=True)
        if verdict.kind == "already_done":
            # Not shown although it was said to be there: nobody knows, and sending again is no way to find out.
            return Unknown("duplicate", message, answered=True)
        return Rejected(verdict.code, message)

    async def find(self, delivery: Delivery, *, deadline_s: float) -> Finding:
        """`create`: whether the document is there; one that is cancelled while the shop wants the order is a case for a
        person, because nothing of it would ever be shipped. `cancel`: whether its status says cancelled; any other
        status of a document that is there counts as *not found*, because sending a cancel again does no harm."""
        settings = self._settings
        number = delivery.order.number
        body = mapping.render_query(number, mapping.warehouse_of(delivery, settings), settings)
        reply = await self._call(mapping.QUERY, body, deadline_s=deadline_s)
        if isinstance(reply, Rejected):
            return Unknown(reply.code, reply.message, answered=True)
        if not isinstance(reply, mapping.WmsReply):
            return reply
        message = f"{reply.code} {reply.message}".strip()[:500]
        if not reply.success:
            if mapping.says_not_found(reply, settings):
                return NotFound()
            trouble = _trouble(mapping.classify(reply, settings), message)
            return trouble or Unknown("not_proven", message, answered=True)
        if reply.order_code != number:
            if not reply.order_code and settings.not_found_when_empty:
                return NotFound()
            return Unknown("not_proven", "the WMS answers success without this document", answered=True)
        order, cancelled = delivery.order, reply.status in mapping.CANCELLED_STATUSES
        if delivery.operation is not Operation.CANCEL:
            if cancelled and not (order.closed or order.refunded or order.refund_open):
                return Unknown("not_proven", "the WMS has this document, and has cancelled it", answered=True)
            return Found(reply.reference)
        if cancelled:
            return Found(reply.reference)
        if reply.status:
            return NotFound()
        return Unknown("not_proven", "the WMS does not tell the status", answered=True)

    async def check(self, *, deadline_s: float) -> None:
        settings = self._settings
        body = mapping.render_query("ordergate-check", settings.warehouse_code, settings)
        reply = await self._post(mapping.QUERY, body, deadline_s=deadline_s)
        if reply.status != 200:
            raise OrdergateError(Text(f"{settings.url} 应答 {reply.status}", f"{settings.url} answers {reply.status}"))
        try:
            answer = mapping.parse_reply(reply.body)
        except BadInput as error:
            raise OrdergateError(
                Text(
                    f"{settings.url} 的应答不是奇门格式（{error.text.zh}）",
                    f"{settings.url} does not speak Qimen: {error.text.en}",
                )
            ) from error
        if mapping.classify(answer, settings).code == "auth":
            raise OrdergateError(
                Text(
                    f"WMS 拒绝签名（{answer.code}）：检查 app_key、secret 和 customer_id",
                    f"the WMS refuses our signature ({answer.code}): check app_key, secret, customer_id",
                )
            )

    def _render(self, delivery: Delivery) -> tuple[str, bytes | Rejected]:
        if delivery.operation is Operation.CANCEL:
            return mapping.CANCEL, mapping.render_cancel(delivery, self._settings)
        if delivery.operation is not Operation.CREATE:
            return "", Rejected("unsupported", f"a warehouse cannot be told `{delivery.operation}`")
        content = content_to_send(delivery)
        if content is None:
            return "", Rejected("content", "the order has no content")
        if content.currency != "CNY":
            return "", Rejected("currency", f"Qimen amounts are yuan, the order is in {content.currency}")
        items = items_to_pick(delivery, content)
        if isinstance(items, Rejected):
            return "", items
        return mapping.CREATE, mapping.render_create(delivery, content, items, self._settings)

    async def _call(
        self, method: str, body: bytes, *, deadline_s: float
    ) -> mapping.WmsReply | Failed | Throttled | Rejected | Unknown:
        """The WMS's envelope, or what stands for the lack of one."""
        try:
            reply = await self._post(method, body, deadline_s=deadline_s)
        except NotSent as error:
            return error.as_answer()
        except NoAnswer as error:
            return error.as_unknown()
        if reply.status != 200:
            return self._by_status(reply)
        try:
            return mapping.parse_reply(reply.body)
        except BadInput as error:
            return Unknown("unreadable", f"the answer is not a Qimen envelope: {error.message.en}")

    async def _post(self, method: str, body: bytes, *, deadline_s: float) -> HttpReply:
        query = mapping.query_of(method, self._settings, self._now())
        query["sign"] = mapping.sign(self._settings.secret, query, body)
        url = f"{self._settings.url}?{urlencode(query, quote_via=quote)}"
        return await self._http.post(url, body, deadline_s=deadline_s, headers=_HEADERS)

    def _by_status(self, reply: HttpReply) -> Failed | Throttled | Rejected | Unknown:
        verdict = mapping.classify_status(reply.status, self._settings)
        message = f"HTTP {reply.status}"
        wait_s = retry_after_s(reply.retry_after, now=self._now())
        if verdict.kind == "throttled":
            return Throttled(wait_s, message)
        if verdict.kind == "rejected":
            return Rejected(verdict.code, message)
        if verdict.kind == "unknown":
            return Unknown(verdict.code, message, timeout=reply.status == 504)
        return Failed(verdict.code, message, wait_s)


_HEADERS = {"content-type": "text/xml; charset=utf-8"}


def _trouble(verdict: mapping.Verdict, message: str) -> Throttled | Failed | Unknown | None:
    """An envelope that says nothing of the document itself; None where it does."""
    if verdict.kind == "throttled":
        return Throttled(mapping.ban_s(message), message)
    if verdict.kind == "failed":
        return Failed(verdict.code, message)
    if verdict.kind == "unknown":
        return Unknown(verdict.code, message, timeout=verdict.code == "gateway_timeout")
    return None


def _clock() -> float:
    return asyncio.get_running_loop().time()
