"""The way out: shipments and stock levels.

What the platform answers to a shipment it has already is not documented, and somebody may have typed it in by hand. So
every trade is looked up first, and what is shipped there is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta

import msgspec

from adapters.taobao import mapping
from adapters.taobao.errors import Verdict
from adapters.taobao.settings import Settings
from adapters.taobao.source import DETAIL, LIST
from adapters.taobao.wire import Top
from gateway.sdk.adapter import Setup
from gateway.sdk.carriers import UnknownCarrier
from gateway.sdk.http import in_words
from gateway.sdk.models import (
    Answer,
    BadInput,
    Delivery,
    Done,
    Failed,
    Finding,
    Found,
    Level,
    NotFound,
    Operation,
    OrdergateError,
    Rejected,
    Text,
    Throttled,
    Unauthorised,
    Unknown,
)
from gateway.sdk.pull import Access

SEND = "taobao.logistics.offline.send"
SKU_LEVEL = "taobao.skus.quantity.update"
ITEM_LEVEL = "taobao.item.quantity.update"
PLATFORM = "taobao"
MOST_LINES = 50
"""`sub_tid` takes no more at once."""


class TaobaoTarget:
    """`ship` with its look-up, and `stock`."""

    def __init__(self, setup: Setup, access: Access) -> None:
        self._settings: Settings = setup.settings
        self._carriers = setup.carriers
        self._now = setup.now
        self._access = access
        self._top = Top(setup, access)

    async def send(self, delivery: Delivery, *, deadline_s: float) -> Answer:
        if delivery.operation is not Operation.SHIP:
            return Rejected("unsupported", f"a shop cannot be told `{delivery.operation}`")
        until = _clock() + deadline_s
        planned = self._plan(delivery)
        if isinstance(planned, Rejected):
            return planned
        oids = [oid for consignment in planned for oid in consignment.oids]
        standing = await self._look(delivery, until)
        if not isinstance(standing, mapping.Standing):
            return standing
        refusal = _refusal(standing, oids)
        if refusal is not None:
            return refusal
        if not standing.still_open(oids):
            return Done(already=True)
        for consignment in planned:
            answer = await self._consign(delivery, consignment, standing, until)
            if not isinstance(answer, Done):
                return answer
        return Done(planned[0].parcel.tracking_no)

    async def find(self, delivery: Delivery, *, deadline_s: float) -> Finding:
        """Found where every line of the shipment is shipped, by whomever; not found where one is not."""
        planned = self._plan(delivery)
        if isinstance(planned, Rejected):
            return planned
        standing = await self._look(delivery, _clock() + deadline_s)
        if isinstance(standing, Rejected):
            return Unknown(standing.code, standing.message, answered=True)
        if not isinstance(standing, mapping.Standing):
            return standing
        oids = [oid for consignment in planned for oid in consignment.oids]
        shipped = standing.any_shipped(oids) and not standing.still_open(oids)
        return Found(planned[0].parcel.tracking_no) if shipped else NotFound()

    async def set_level(self, level: Level, *, deadline_s: float) -> Answer:
        if not level.item_id:
            return Rejected("no_item", f"the listing of {level.sku!r} names no item (num_iid): add it to the SKU table")
        if level.quantity < 0:
            return Rejected("value", "a shop cannot sell less than nothing")
        params = {"num_iid": level.item_id, "type": "1"}
        if level.sku_id:
            params["skuid_quantities"] = f"{level.sku_id}:{level.quantity}"
        else:
            params["quantity"] = str(level.quantity)
        answer = await self._top.call(SKU_LEVEL if level.sku_id else ITEM_LEVEL, params, deadline_s=deadline_s)
        return answer.of_command() if isinstance(answer, Verdict) else Done()

    async def check(self, *, deadline_s: float) -> None:
        """Asks for one row: that proves address, signature, clock and authorisation."""
        now = self._now()
        params = {
            "fields": "tid",
            "start_modified": mapping.beijing(now - timedelta(seconds=60)),
            "end_modified": mapping.beijing(now),
            "page_size": "1",
            "use_has_next": "true",
        }
        answer = await self._top.call(LIST, params, deadline_s=deadline_s)
        if isinstance(answer, Verdict):
            said = _ADVICE.get(answer.code, in_words(answer.code, ""))
            raise OrdergateError(
                Text(
                    f"{self._settings.url}：{said.zh}（{answer.message}）",
                    f"{self._settings.url}: {said.en} ({answer.message})",
                )
            )

    def _plan(self, delivery: Delivery) -> tuple[mapping.Consignment, ...] | Rejected:
        """What is to be told, with the platform's names of the carriers."""
        planned = mapping.consignments(delivery)
        if isinstance(planned, Rejected):
            return planned
        try:
            return tuple(
                msgspec.structs.replace(
                    one,
                    parcel=msgspec.structs.replace(
                        one.parcel, carrier=self._carriers.code(one.parcel.carrier, PLATFORM)
                    ),
                )
                for one in planned
            )
        except UnknownCarrier as error:
            return Rejected("unknown_carrier", str(error))

    async def _look(
        self, delivery: Delivery, until: float
    ) -> mapping.Standing | Failed | Throttled | Rejected | Unauthorised:
        """Where the trade stands. Whatever goes wrong with the question, nothing has been sent.

        Rejected: the platform does not show this trade; the question holds nothing else that could be wrong.
        """
        params = {"fields": "tid,status,orders", "tid": delivery.order.channel_no}
        answer = await self._top.call(DETAIL, params, deadline_s=until - _clock())
        if isinstance(answer, Verdict):
            return Rejected(answer.code, answer.message) if answer.kind == "rejected" else answer.of_question()
        try:
            return mapping.read_standing(_decode_looked(answer).trade, self._settings)
        except msgspec.DecodeError:
            return Failed("unreadable", "the look-up has no trade in it")
        except BadInput as error:
            return Failed("unreadable", error.text.en)

    async def _consign(
        self, delivery: Delivery, consignment: mapping.Consignment, standing: mapping.Standing, until: float
    ) -> Answer:
        """Tell one parcel, in groups of lines; what the platform has of it already is left out."""
        open_oids = standing.still_open(consignment.oids)
        whole = standing.is_whole(open_oids)
        groups: Sequence[tuple[str, ...]] = (
            [open_oids]
            if whole
            else [open_oids[start : start + MOST_LINES] for start in range(0, len(open_oids), MOST_LINES)]
        )
        for oids in groups:
            params = {
                "tid": delivery.order.channel_no,
                "company_code": consignment.parcel.carrier,
                "out_sid": consignment.parcel.tracking_no,
            }
            if not whole:
                params |= {"is_split": "1", "sub_tid": ",".join(oids)}
            answer = await self._tell(params, until)
            if isinstance(answer, Rejected) and await self._came_first(delivery, oids, until):
                continue
            if not isinstance(answer, Done):
                return answer
        return Done()

    async def _tell(self, params: Mapping[str, str], until: float) -> Answer:
        if not await self._access.turn_before(until - LEAST_S):
            return Throttled(_TURN_LATER_S, "no turn of the rate budget came in time")
        answer = await self._top.call(SEND, params, deadline_s=until - _clock())
        if isinstance(answer, Verdict):
            return answer.of_command()
        try:
            if _decode_sent(answer).shipping.is_success:
                return Done()
        except msgspec.DecodeError:
            pass
        return Unknown("not_confirmed", "the platform does not say that it is shipped", answered=True)

    async def _came_first(self, delivery: Delivery, oids: Sequence[str], until: float) -> bool:
        """Whether a shipment was refused because somebody was faster: between our look and our word."""
        if not await self._access.turn_before(until - LEAST_S):
            return False
        standing = await self._look(delivery, until)
        return isinstance(standing, mapping.Standing) and standing.any_shipped(oids) and not standing.still_open(oids)


_TURN_LATER_S = 1.0
"""Our own budget is busy, the platform was not asked: no reason to ask it less and less."""
LEAST_S = 0.05
"""Less than this left of a deadline is not worth a request."""


def _refusal(standing: mapping.Standing, oids: Sequence[str]) -> Rejected | None:
    """Why these lines of the trade cannot be shipped; None where they can, or have been."""
    unknown = [oid for oid in oids if oid not in standing.lines]
    if unknown:
        return Rejected("unknown_line", f"the trade has no line {unknown[0]}: was it changed after it was sent?")
    if not standing.still_open(oids):
        if standing.any_shipped(oids):
            return None
        return Rejected("closed", "the trade or these lines of it are closed: have the parcel come back")
    if standing.stand not in ("paid", "shipped"):
        return Rejected("not_shippable", f"the platform does not let a trade be shipped that is {standing.stand}")
    return None


_ADVICE = {
    "session": Text("授权已失效，请重新授权店铺", "the authorisation has ended, authorise the shop again"),
    "clock": Text("本机时钟不准，请启用 NTP", "this machine's clock is off, run NTP"),
    "signature": Text(
        "平台拒绝签名，检查 app_secret 和 sign_method",
        "the platform refuses the signature, check app_secret and sign_method",
    ),
    "app_key": Text("平台不认识 app_key", "the platform does not know app_key"),
    "permission": Text("应用没有读取交易的权限", "the app lacks the permission to read trades"),
}


class _Looked(msgspec.Struct, frozen=True):
    trade: msgspec.Raw


class _Shipping(msgspec.Struct, frozen=True):
    is_success: bool = False


class _Sent(msgspec.Struct, frozen=True):
    shipping: _Shipping


_decode_looked = msgspec.json.Decoder(_Looked).decode
_decode_sent = msgspec.json.Decoder(_Sent).decode


def _clock() -> float:
    return asyncio.get_running_loop().time()
