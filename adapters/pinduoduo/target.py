"""The way out: the parcels of an order, and how many pieces a shop may sell."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import msgspec

from adapters.pinduoduo import mapping, wire
from adapters.pinduoduo.settings import Refunds, Settings
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
    Unknown,
    confirmation_to_tell,
)
from gateway.sdk.pull import Access

_TURN_LATER_S = 1.0
"""Our own budget is busy, the platform was not asked: no reason to ask it less and less."""
LEAST_S = 0.05
"""Less than this left of a deadline is not worth a question."""
MOST_SKEW = timedelta(seconds=10)
"""A time stamp may be ten minutes off. But we end each window 195 s ago (`delay_s`), and the platform refuses one that
ends less than three minutes ago by its own clock: farther apart than this, nothing could be read."""


class PinduoduoTarget:
    """`ship` looks the order up first. What the platform shows already is not sent again; what it lacks is.

    An order is shipped with one parcel. Further parcels, of this confirmation or of a later one, are added as extra
    tracking numbers, which the buyer sees. Nothing that is there is ever overwritten: an order that somebody shipped by
    hand keeps that number and gets ours beside it. A refused request is followed by one more look, so that "shipped
    already" is success.
    """

    def __init__(self, setup: Setup, access: Access) -> None:
        self._settings: Settings = setup.settings
        self._carriers = setup.carriers
        self._now = setup.now
        self._access = access
        self._router = wire.Router(setup, access)

    async def send(self, delivery: Delivery, *, deadline_s: float) -> Answer:
        until = _clock() + deadline_s
        shipments = self._shipments(delivery)
        if isinstance(shipments, Rejected):
            return shipments
        order_sn = delivery.order.channel_no
        order = await self._look(order_sn, deadline_s=deadline_s)
        if not isinstance(order, mapping.OrderInfo):
            return order if isinstance(order, Rejected) else wire.as_later(order)
        missing = self._missing(shipments, order)
        if not missing:
            return Done(_reference(shipments), already=True)
        answer: Answer | None = None
        if not order.shipped:
            answer = await self._write(
                wire.SHIP,
                {
                    "order_sn": order_sn,
                    "logistics_id": missing[0].logistics_id,
                    "tracking_number": missing[0].tracking_number,
                    "redelivery_type": 1,
                },
                until=until,
            )
            missing = missing[1:] if self._settings.extra_parcels != "off" else []
        if missing and answer is None:
            answer = await self._add(order_sn, order, missing, until=until)
        if isinstance(answer, Rejected):
            return await self._after_refusal(order_sn, shipments, answer, until=until)
        return answer or Done(_reference(shipments))

    async def find(self, delivery: Delivery, *, deadline_s: float) -> Finding:
        """Whether the platform shows every parcel of the confirmation. *Not found* is certain: its answer has the
        order, without them."""
        shipments = self._shipments(delivery)
        if isinstance(shipments, Rejected):
            return shipments
        order = await self._look(delivery.order.channel_no, deadline_s=deadline_s)
        if isinstance(order, Rejected):
            return Unknown(order.code, order.message, answered=True)
        if not isinstance(order, mapping.OrderInfo):
            return order
        return NotFound() if self._missing(shipments, order) else Found(_reference(shipments))

    async def set_level(self, level: Level, *, deadline_s: float) -> Answer:
        """`goods_id` is needed, and the variant by its id or by the merchant's code."""
        if not level.item_id:
            return Rejected("no_item", "the listing has no goods_id (item id): the platform asks for one")
        answer = await self._router.call(
            wire.QUANTITY,
            {
                "goods_id": level.item_id,
                "sku_id": level.sku_id,
                "outer_id": "" if level.sku_id else level.sku,
                "quantity": level.quantity,
                "update_type": 1,
            },
            deadline_s=deadline_s,
        )
        return _succeeded(answer) or Done()

    async def check(self, *, deadline_s: float) -> None:
        """Clock, signature, authorisation, and whether the list of after-sale cases may be read."""
        until = _clock() + deadline_s
        answer = await self._router.call(wire.TIME, {}, deadline_s=deadline_s)
        if not isinstance(answer, bytes):
            raise self._no(answer)
        now = self._now()
        try:
            theirs = mapping.parse_beijing(_read_time(answer).time, "$.time")
        except (msgspec.DecodeError, BadInput):
            theirs = None  # How it writes the time is not documented; the next answer tells what matters.
        if theirs is not None and abs(theirs - now) > MOST_SKEW:
            off_s = (now - theirs).total_seconds()
            raise OrdergateError(
                Text(
                    f"本机时钟与平台相差 {off_s:+.0f} 秒：请校准（NTP）",
                    f"this machine's clock is {off_s:+.0f} s off the platform's: set it right (NTP)",
                )
            )
        if not await self._access.turn_before(until):
            raise self._no_turn()
        end = int(now.timestamp()) - 300
        span = {"start_updated_at": end - 1, "end_updated_at": end, "page": 1, "page_size": 1}
        kinds = {"is_lucky_flag": 0, "order_status": 5, "refund_status": 5}
        answer = await self._router.call(wire.CHANGED_ORDERS, {**span, **kinds}, deadline_s=max(until - _clock(), 0.1))
        if not isinstance(answer, bytes):
            raise self._no(answer)
        if self._settings.refunds is not Refunds.LIST:
            return
        if not await self._access.turn_before(until):
            raise self._no_turn()
        cases = {"after_sales_status": self._settings.refund_queries[0], "after_sales_type": 1}
        answer = await self._router.call(wire.CHANGED_CASES, {**span, **cases}, deadline_s=max(until - _clock(), 0.1))
        if not isinstance(answer, bytes):
            said = self._no(answer).text
            raise OrdergateError(
                Text(
                    f"售后列表（{wire.CHANGED_CASES.name}）读不到，"
                    f"请为应用申请该接口权限，或设 `refunds: hold`：{said.zh}",
                    f"the list of after-sale cases ({wire.CHANGED_CASES.name}) cannot be read; have it granted to the"
                    f" application, or set `refunds: hold`: {said.en}",
                )
            )

    def _no_turn(self) -> OrdergateError:
        return OrdergateError(
            Text("限速已用完，暂时不能检查：请重试", "the rate limit leaves no request for a check now: try again")
        )

    def _no(self, trouble: wire.Trouble) -> OrdergateError:
        said = in_words("throttled" if isinstance(trouble, Throttled) else trouble.code, trouble.message)
        return OrdergateError(Text(f"{self._settings.url}：{said.zh}", f"{self._settings.url}: {said.en}"))

    def _shipments(self, delivery: Delivery) -> list[mapping.Shipment] | Rejected:
        if delivery.operation is not Operation.SHIP:
            return Rejected("unsupported", f"a shop cannot be told `{delivery.operation}`")
        confirmation = confirmation_to_tell(delivery)
        if confirmation is None or not confirmation.parcels:
            return Rejected("content", f"the order has no parcel for {delivery.command.key}")
        shipments = []
        for parcel in confirmation.parcels:
            try:
                code = self._carriers.code(parcel.carrier, mapping.PLATFORM)
            except UnknownCarrier as error:
                return Rejected("unknown_carrier", str(error))
            if not (code.isascii() and code.isdigit()):
                return Rejected("unknown_carrier", f"carrier {parcel.carrier!r}: logistics_id {code!r} is no number")
            shipments.append(mapping.Shipment(int(code), parcel.tracking_no))
        return shipments

    def _missing(self, shipments: Sequence[mapping.Shipment], order: mapping.OrderInfo) -> list[mapping.Shipment]:
        if order.shipped and self._settings.extra_parcels == "off":
            return []
        return mapping.missing(shipments, order)

    async def _look(self, order_sn: str, *, deadline_s: float) -> mapping.OrderInfo | wire.Trouble:
        """The order as the platform has it now."""
        answer = await self._router.call(wire.ORDER, {"order_sn": order_sn}, deadline_s=deadline_s)
        if not isinstance(answer, bytes):
            return answer
        try:
            order = mapping.read(bytes(_read_detail(answer).order_info))
            return order if order.order_sn == order_sn else Failed("shape", "the platform answers with another order")
        except (msgspec.DecodeError, BadInput) as error:
            why = error.text.en if isinstance(error, BadInput) else error
            return Failed("shape", f"the order's detail cannot be read: {why}")

    async def _write(self, method: wire.Method, parameters: dict[str, object], *, until: float) -> Answer | None:
        """None: done. The turn before it is part of the deadline."""
        if not await self._access.turn_before(until) or until - _clock() < LEAST_S:
            return Throttled(_TURN_LATER_S, "the rate limit left no time for it")
        return _succeeded(await self._router.call(method, parameters, deadline_s=until - _clock()))

    async def _add(
        self, order_sn: str, order: mapping.OrderInfo, missing: Sequence[mapping.Shipment], *, until: float
    ) -> Answer | None:
        tracks = [{"shipping_id": one.logistics_id, "tracking_number": one.tracking_number} for one in missing]
        if self._settings.extra_parcels == "all":
            # Where the platform replaces its list, what is in it must be said again.
            tracks = [
                *(
                    {"shipping_id": int(shown.logistics_id), "tracking_number": shown.tracking_number}
                    for shown in order.extra_delivery_list or ()
                    if shown.logistics_id and shown.tracking_number
                ),
                *tracks,
            ]
        parameters = {"order_sn": order_sn, "extra_track_type": 1, "extra_track_list": tracks}
        return await self._write(wire.EXTRA_PARCELS, parameters, until=until)

    async def _after_refusal(
        self, order_sn: str, shipments: Sequence[mapping.Shipment], refused: Rejected, *, until: float
    ) -> Answer:
        """Perhaps it was refused because it is there: by an earlier request of ours that was slow, or by hand."""
        if not await self._access.turn_before(until) or until - _clock() < LEAST_S:
            return Unknown(refused.code, refused.message, answered=True)
        order = await self._look(order_sn, deadline_s=until - _clock())
        if not isinstance(order, mapping.OrderInfo):
            return Unknown(refused.code, refused.message, answered=True)
        return refused if self._missing(shipments, order) else Done(_reference(shipments), already=True)


class _Detail(msgspec.Struct, frozen=True):
    order_info: msgspec.Raw


class _Success(msgspec.Struct, frozen=True):
    is_success: bool | None = None
    success: bool | None = None


class _Time(msgspec.Struct, frozen=True):
    time: str


_read_detail = msgspec.json.Decoder(_Detail).decode
_read_success = msgspec.json.Decoder(_Success, strict=False).decode
_read_time = msgspec.json.Decoder(_Time).decode


def _succeeded(answer: bytes | wire.Trouble) -> Answer | None:
    """None where the platform says that it is done."""
    if not isinstance(answer, bytes):
        return answer
    try:
        said = _read_success(answer)
    except msgspec.DecodeError:
        return Unknown("unreadable", "the answer says neither done nor refused")
    if said.is_success or said.success:
        return None
    return Rejected("refused", "the platform answers: no success")


def _reference(shipments: Sequence[mapping.Shipment]) -> str:
    return "+".join(shipment.tracking_number for shipment in shipments)[:200]


def _clock() -> float:
    return asyncio.get_running_loop().time()
