"""An order is what its facts say: registers and grow-only sets, merged so that arrival order cannot matter.

One register per field group of the shop (content, payment, hold, closing, left) and per refund, whose newest value wins
by a *total* key: platform version, status rank, and where both tie (platform versions are whole seconds) a refund's
place in its life, then the encoded value itself. Things with an id of their own (warehouse confirmations and progress
reports) are grow-only sets. An order has exactly one shop connection, the one its number's prefix belongs to, so a
register needs no source in its key; warehouse ids carry their connection.

This module answers for the data, for merging it, and for what it says by itself (paid, held, shipped …); what is to be
done about it is decided in `gateway.pipeline`.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Generic, Literal, NewType, TypeVar

import msgspec

from gateway.core.event import ConnectionName

OrderNumber = NewType("OrderNumber", str)
"""Our number: ``<connection prefix><channel order number>``; what every target knows the order by."""

Sku = NewType("Sku", str)

T = TypeVar("T")


class Line(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One position of an order. Prices are minor units for one piece after discount; `quantity` ≥ 1."""

    line_no: str
    sku: Sku
    quantity: int
    price_minor: int
    name: str = ""
    discount_minor: int = 0


class Part(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What goes into one piece of what a shop sells: `pieces` ≥ 1 of the warehouse's `sku`. A gift has no price."""

    sku: Sku
    pieces: int
    gift: bool = False


class Recipe(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What stands in the warehouse for one piece of what a shop's order lines call `sku`."""

    sku: Sku
    parts: tuple[Part, ...]


class Receiver(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Who gets the parcel. Any part may be masked by the platform; then `token` holds its ciphertext (OAID)."""

    name: str = ""
    phone: str = ""
    province: str = ""
    city: str = ""
    district: str = ""
    town: str = ""
    detail: str = ""
    postcode: str = ""
    token: str = ""


class Content(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was ordered and where it goes. Amounts are minor units of `currency`; instants are aware UTC."""

    placed_at: datetime
    lines: tuple[Line, ...]
    receiver: Receiver
    total_minor: int
    currency: str = "CNY"
    freight_minor: int = 0
    discount_minor: int = 0
    buyer_note: str = ""
    seller_note: str = ""
    latest_ship_at: datetime | None = None


class Payment(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Whether the order is paid; `amount_minor` is what the buyer paid."""

    paid: bool
    amount_minor: int = 0
    paid_at: datetime | None = None
    method: str = ""


class Hold(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The channel forbids shipping for now (risk control, pre-sale, group buy not complete)."""

    held: bool
    reason: str = ""
    for_person: bool = False
    """The channel does not lift it by itself: a person has to act at the shop."""


class Closing(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The channel closed the order: nothing of it may be shipped."""

    closed: bool
    reason: str = ""
    after_shipping: bool = False
    """The channel knew all of it as shipped: goods that come back, and nothing that anybody could have stopped."""


class RefundStatus(enum.StrEnum):
    OPEN = "open"
    DONE = "done"
    REJECTED = "rejected"

    @property
    def place(self) -> int:
        """The place in a refund's life: an open one is settled later, and what is paid back is not taken back."""
        return _REFUND_LIFE.index(self)


_REFUND_LIFE = (RefundStatus.OPEN, RefundStatus.REJECTED, RefundStatus.DONE)


class Refund(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One after-sale case of the channel, known by its own id."""

    refund_id: str
    status: RefundStatus
    amount_minor: int = 0
    reason: str = ""


class Parcel(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A parcel the warehouse handed to a carrier. `items` are (sku, pieces); empty when the WMS does not say."""

    carrier: str
    tracking_no: str
    items: tuple[tuple[Sku, int], ...] = ()


class Confirmation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A warehouse says what it shipped. `final=False`: more follows, the order stays packed.

    `shipped` are the pieces per SKU over the whole confirmation; empty means "as ordered" on a final one.
    """

    confirmation_id: str
    final: bool
    parcels: tuple[Parcel, ...] = ()
    shipped: tuple[tuple[Sku, int], ...] = ()
    at: datetime | None = None


class ProgressStep(enum.IntEnum):
    """How far the warehouse is, in the order of its work; EXCEPTION stands outside of it."""

    ACCEPTED = 10
    PICKING = 20
    PACKING = 30
    READY = 40
    EXCEPTION = 90


class Progress(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One progress report of a warehouse. `source` is its connection; `merge` writes it down."""

    step: ProgressStep
    text: str = ""
    at: datetime | None = None
    source: ConnectionName = ConnectionName("")


class Party(enum.StrEnum):
    """Whose number a fact carries: the shop's own (`SHOP`), or ours, told back by a warehouse (`WAREHOUSE`)."""

    SHOP = "shop"
    WAREHOUSE = "warehouse"


class Facts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one event says about one order; groups it says nothing about are None or empty.

    `version` is the platform's own (modification time in ms, or a counter) and `rank` the place of the order's
    status in the platform's life cycle; together they order what the same platform says about the same order.
    """

    party: Party
    order_no: str
    version: int = 0
    rank: int = 0
    content: Content | None = None
    payment: Payment | None = None
    hold: Hold | None = None
    closing: Closing | None = None
    refunds: tuple[Refund, ...] = ()
    confirmations: tuple[Confirmation, ...] = ()
    progress: tuple[Progress, ...] = ()
    left: bool | None = None
    """Whether the channel has the whole order as shipped, by whomever."""
    refund_versions: dict[str, int] | None = None
    """Of refunds that change apart from the order, by id, in the unit of `version`: each counts as of its own, without
    a rank. All others count as of `version`."""

    @property
    def refunds_only(self) -> bool:
        """Whether it tells of refunds, and of the order itself nothing: as a case whose order could not be read."""
        told = (self.content, self.payment, self.hold, self.closing, self.left)
        return bool(self.refunds) and all(group is None for group in told)


class Register(msgspec.Struct, Generic[T], frozen=True, array_like=True, gc=False):
    """The newest value of one field group and the key it won by."""

    version: int
    rank: int
    value: T


class Mode(enum.StrEnum):
    """What a connection may cause: `observe` takes everything in, decides and shows, and delivers nothing."""

    OBSERVE = "observe"
    LIVE = "live"


class Origin(enum.StrEnum):
    """How the gateway stands to an order; fixed when it is first seen (cut-over)."""

    LIVE = "live"
    OBSERVED = "observed"
    """First seen while its connection only observed: somebody else delivers it."""
    BEFORE_START = "before_start"
    """Placed before the connection's `start_at`: the warehouse has it already."""


class Operation(enum.StrEnum):
    """What a target can be told. With the connection it names a gate."""

    CREATE = "create"
    CANCEL = "cancel"
    SHIP = "ship"
    STOCK = "stock"
    """How many pieces of one item a shop may sell. A level, not a command of an order: only the newest counts."""


class Command(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Something the order's state asks of a target. `key` is unique per (order, target) and says what it is for; what
    is planned anew for one that was withdrawn has the same.

    `seq` counts from 1 per (order, target): targets receive an order's commands in that sequence.
    """

    target: ConnectionName
    seq: int
    operation: Operation
    key: str


class Booking(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the stock ledger holds for this order: pieces locked, committed (paid) and shipped."""

    sku: Sku
    warehouse: str
    locked: int = 0
    committed: int = 0
    shipped: int = 0


class Route(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Which target fulfils the order, from which of its warehouses."""

    target: ConnectionName
    warehouse: str


class Passed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a person has let pass of an order that review held: a total of up to `total_minor`, and that the fields
    `without` are empty (``receiver.phone``). What was not looked at then holds it again: a higher total, another
    field."""

    total_minor: int = 0
    without: tuple[str, ...] = ()


class Stage(enum.StrEnum):
    """Where an order stands. Derived, never stepped (see `gateway.pipeline.review` and `plan`)."""

    RECEIVED = "received"
    REVIEWED = "reviewed"
    ALLOCATED = "allocated"
    PACKED = "packed"
    SHIPPED = "shipped"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"
    CONFLICT = "conflict"


Reason = Literal[
    "unpaid",
    "channel_hold",
    "held_for_person",
    "no_content",
    "paid_no_content",
    "observed",
    "before_start",
    "refund_open",
    "over_limit",
    "no_route",
    "paused",
    "unmapped_sku",
    "short_of_stock",
    "unknown_sku",
]
"""Why an order waits in *received*, or could not be allocated."""

MissingField = NewType("MissingField", str)
"""The one reason that is a family: ``missing:receiver.phone``."""

Conflict = Literal[
    "cancelled_but_shipped",
    "refunded_but_shipped",
    "shipped_unknown_order",
    "confirmed_by_other_warehouse",
    "changed_after_sent",
    "held_after_sent",
    "reopened_after_cancel",
    "warehouse_exception",
    "shipped_beyond_stock",
    "shipped_short",
    "shipped_elsewhere",
]
"""A contradiction between shop, gateway and warehouse, for a person."""


class Order(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """The merged state of one order, and what the gateway decided on it so far.

    The fields above the line are facts and depend on the set of events only. Those below are decisions:
    `route`, `booked` and `commands` remember what was done, `stage`, `reasons` and `conflicts` what follows.
    New fields go to the end with a default: stored orders of earlier releases are read as they are.
    """

    number: OrderNumber
    connection: ConnectionName = ConnectionName("")
    channel_no: str = ""
    content: Register[Content] | None = None
    payment: Register[Payment] | None = None
    hold: Register[Hold] | None = None
    closing: Register[Closing] | None = None
    refunds: dict[str, Register[Refund]] = {}
    confirmations: dict[str, Confirmation] = {}
    progress: tuple[Progress, ...] = ()
    # ------------------------------------------------------------------------------------------------------
    origin: Origin = Origin.LIVE
    route: Route | None = None
    booked: tuple[Booking, ...] = ()
    commands: tuple[Command, ...] = ()
    stage: Stage = Stage.RECEIVED
    reasons: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    sent_content: bytes = b""
    """Digest of the content that `create` was planned with, from when it was first replaced on; empty before."""
    unbooked: tuple[Sku, ...] = ()
    """SKUs that left without a booking, because no balance knew them then: they are never booked afterwards."""
    recipes: tuple[Recipe, ...] | None = None
    """What the shop's SKUs stood for when it was decided, in SKU order; None: the warehouse knows them as they are."""
    left: Register[bool] | None = None
    """A fact like those above the line: whether the channel has the whole order as shipped."""
    written_off: tuple[tuple[Sku, int], ...] = ()
    """Pieces that were shipped beyond what the books had, before the place was counted: they are never booked."""
    passed: Passed | None = None
    """What a person has let pass; None: nothing."""
    withdrawn: int = 0
    """So many of `commands`, the first of them, came to nothing: the create was not sent, since its cancel was behind
    it. Wanted after all, the order is sent anew."""

    def issued(self, operation: Operation) -> Command | None:
        """The last command of this kind, if any was planned and not withdrawn.

        What is before the last create was withdrawn, even where a gateway of before has rewritten the order since.
        """
        for command in reversed(self.commands[self.withdrawn :] if self.withdrawn else self.commands):
            if command.operation is operation:
                return command
            if command.operation is Operation.CREATE:
                return None
        return None

    @property
    def changed_after_sent(self) -> bool:
        """Whether lines, receiver or amounts are not those that `create` was planned with; False where it was not."""
        if self.content is None or not self.sent_content or self.content.rank >= _REDUCED:
            return False
        content = self.content.value
        return self.sent_content != digest(content) and self.sent_content != _digest_with_notes(content)

    @property
    def closed(self) -> bool:
        return self.closing is not None and self.closing.value.closed

    @property
    def returned(self) -> bool:
        """Closed after it had been shipped, by the channel's own account."""
        return self.closed and self.closing is not None and self.closing.value.after_shipping

    @property
    def paid(self) -> bool:
        return self.payment is not None and self.payment.value.paid

    @property
    def held(self) -> bool:
        return self.hold is not None and self.hold.value.held

    @property
    def left_unseen(self) -> bool:
        """Whether the channel says that it has left, and no warehouse that counts has said so."""
        return self.left is not None and self.left.value and not self.confirmed

    @property
    def gone(self) -> bool:
        """Whether it has left by another hand than ours: there is nothing to do for it.

        Where a warehouse was told of it before, its pieces stay booked until that says what it did.
        """
        return self.left_unseen and self.issued(Operation.CREATE) is None

    @property
    def left_by_other_hand(self) -> bool:
        """Whether its goods have left the shelf by another hand than ours, wherever they are now: `gone`, or closed by
        a channel that knew it as shipped."""
        if self.gone:
            return True
        return self.returned and not self.confirmed and self.issued(Operation.CREATE) is None

    @property
    def ship_by(self) -> datetime | None:
        """Until when the shop wants it shipped. None where it says nothing, or there is nothing to ship (any more).

        A year out of `_YEARS` is some platform's way of saying nothing.
        """
        if self.content is None:
            return None
        latest = self.content.value.latest_ship_at
        if latest is None or latest.year not in _YEARS:
            return None
        over = self.closed or self.refunded or (self.left is not None and self.left.value)
        if over or self.origin is not Origin.LIVE or self.confirmed or self.reported:
            return None
        return latest

    @property
    def refund_open(self) -> bool:
        return bool(self.refunds) and any(r.value.status is RefundStatus.OPEN for r in self.refunds.values())

    @property
    def refunded(self) -> bool:
        """Whether what was paid has been paid back in full.

        A shop that does not say what was paid means the order's total; while neither is known, no refund is a full one.
        """
        if not self.refunds or not self.paid or self.payment is None:
            return False
        owed = self.payment.value.amount_minor or (self.content.value.total_minor if self.content is not None else 0)
        done = sum(r.value.amount_minor for r in self.refunds.values() if r.value.status is RefundStatus.DONE)
        return 0 < owed <= done

    @property
    def confirmed(self) -> dict[str, Confirmation]:
        """The confirmations that count: of the warehouse the order is routed to, and none while no route is known.

        An order that is not ours to deliver was routed by somebody else: there, all of them count.
        """
        if not self.confirmations or self.origin is not Origin.LIVE:
            return self.confirmations
        if self.route is None:
            return {}
        ours = f"{self.route.target}/"
        return {name: told for name, told in self.confirmations.items() if name.startswith(ours)}

    @property
    def reported(self) -> tuple[Progress, ...]:
        """The progress reports that count, by the same rule; those that were stored without a source all do."""
        if not self.progress or self.origin is not Origin.LIVE:
            return self.progress
        if self.route is None:
            return ()
        ours = ("", self.route.target)
        return tuple([report for report in self.progress if report.source in ours])

    @property
    def shipped_final(self) -> bool:
        return bool(self.confirmations) and any(confirmation.final for confirmation in self.confirmed.values())


def merge(order: Order, facts: Facts, source: ConnectionName) -> Order:
    """`order` with `facts` merged in; the same object when nothing in them is new.

    Commutative, associative and idempotent over facts, so duplicates and reordering leave no trace:
    a fact older than what is known (or the same) changes nothing.
    """
    changes: dict[str, Any] = {}
    if facts.party is Party.SHOP and not order.connection:
        changes["connection"] = source
        changes["channel_no"] = facts.order_no
    key = (facts.version, facts.rank)
    if facts.content is not None and _wins(order.content, key, facts.content):
        changes["content"] = Register(*key, facts.content)
        if order.content is not None:
            changes["sent_content"] = _as_sent(order, order.content.value)
    if facts.payment is not None and _wins(order.payment, key, facts.payment):
        changes["payment"] = Register(*key, facts.payment)
    if facts.hold is not None and _wins(order.hold, key, facts.hold):
        changes["hold"] = Register(*key, facts.hold)
    if facts.left is not None and _wins(order.left, key, facts.left):
        changes["left"] = Register(*key, facts.left)
    if facts.closing is not None and _wins(order.closing, key, facts.closing):
        changes["closing"] = Register(*key, facts.closing)
    if facts.refunds:
        refunds = dict(order.refunds)
        for refund in facts.refunds:
            own = facts.refund_versions.get(refund.refund_id) if facts.refund_versions is not None else None
            at = key if own is None else (own, 0)
            if _refund_wins(refunds.get(refund.refund_id), at, refund):
                refunds[refund.refund_id] = Register(*at, refund)
        refunds = dict(sorted(refunds.items()))
        if refunds != order.refunds:
            changes["refunds"] = refunds
    if facts.confirmations:
        confirmations = dict(order.confirmations)
        for confirmation in facts.confirmations:
            name = f"{source}/{confirmation.confirmation_id}"
            known = confirmations.get(name)
            # One id, two contents: the greater encoding stays, so that both arrival orders agree.
            if known is None or (known != confirmation and _encode(confirmation) > _encode(known)):
                confirmations[name] = confirmation
        confirmations = dict(sorted(confirmations.items()))
        if confirmations != order.confirmations:
            changes["confirmations"] = confirmations
    if facts.progress:
        told = {msgspec.structs.replace(step, source=source) for step in facts.progress}
        if not told.issubset(order.progress):
            changes["progress"] = tuple(sorted(told.union(order.progress), key=_encode))
    return msgspec.structs.replace(order, **changes) if changes else order


def as_withdrawn(order: Order, target: ConnectionName) -> Order:
    """`order` once its commands to `target` so far, a create and its cancel, were withdrawn before they were sent."""
    places = [place for place, command in enumerate(order.commands, 1) if command.target == target]
    unbooked = order.unbooked if order.confirmed else ()  # what has not left is booked once it is counted
    return msgspec.structs.replace(order, withdrawn=places[-1], sent_content=b"", unbooked=unbooked)


def told_anew(order: Order, told: Iterable[tuple[ConnectionName, Facts]]) -> Order:
    """`order` as if `told` were all that was ever said of it; the same object where that comes to the same.

    What was done about it stays, and so does whose it is.
    """
    anew = Order(number=order.number, connection=order.connection, channel_no=order.channel_no)
    for source, facts in told:
        anew = merge(anew, facts, source)
    changes: dict[str, Any] = {
        name: getattr(anew, name) for name in _TOLD if getattr(anew, name) != getattr(order, name)
    }
    if not changes:
        return order
    if "content" in changes and order.content is not None:
        changes["sent_content"] = _as_sent(order, order.content.value)
    return msgspec.structs.replace(order, **changes)


def forgotten(before: Order, anew: Order) -> list[str]:
    """The kinds of facts of which `anew` knows less than `before`, or an older version."""
    found = []
    for name in _REGISTERS:
        known, now = getattr(before, name), getattr(anew, name)
        if known is not None and (now is None or _older(now, known)):
            found.append(name)
    if any(name not in anew.refunds or _older(anew.refunds[name], one) for name, one in before.refunds.items()):
        found.append("refunds")
    if not before.confirmations.keys() <= anew.confirmations.keys():
        found.append("confirmations")
    if not set(before.progress) <= set(anew.progress):
        found.append("progress")
    return found


def differences(before: Order, anew: Order) -> list[str]:
    """The kinds of facts that differ, and of what was ordered the fields: ``["content.receiver", "payment"]``."""
    found = []
    for name in _TOLD:
        known, now = getattr(before, name), getattr(anew, name)
        if known == now:
            continue
        if name != "content" or known is None or now is None:
            found.append(name)
            continue
        one, other = msgspec.structs.asdict(known.value), msgspec.structs.asdict(now.value)
        fields = [field for field in one if one[field] != other[field]]
        found += [f"content.{field}" for field in fields] or ["content"]
    return found


Stale = Literal["older", "unchanged"]
"""Why nothing of some facts is merged into an order: older than what is known, or with nothing in them that is not."""


def stale(order: Order, facts: Facts) -> Stale:
    """Why `merge` took nothing of `facts` into `order`."""
    key = (facts.version, facts.rank)
    for value, known in (
        (facts.content, order.content),
        (facts.payment, order.payment),
        (facts.hold, order.hold),
        (facts.left, order.left),
        (facts.closing, order.closing),
    ):
        if value is not None and known is not None and key < (known.version, known.rank):
            return "older"
    for refund in facts.refunds:
        own = facts.refund_versions.get(refund.refund_id) if facts.refund_versions is not None else None
        told = order.refunds.get(refund.refund_id)
        if told is not None and (key if own is None else (own, 0)) < (told.version, told.rank):
            return "older"
    return "unchanged"


def reduced(order: Order) -> Order:
    """What is kept of an order that is over: everything that keeps a late event from having an effect, no buyer.

    What the same version says again loses against the register that is left, so a late duplicate brings nothing back.
    Only for orders that wait for nothing: without a receiver an order would be held.
    """
    content = order.content
    if content is None or content.rank >= _REDUCED:
        return order
    kept = msgspec.structs.replace(content.value, receiver=Receiver(), buyer_note="", seller_note="")
    sent = order.sent_content
    if not sent and order.issued(Operation.CREATE) is not None:
        sent = digest(content.value)
    return msgspec.structs.replace(
        order, content=Register(content.version, content.rank + _REDUCED, kept), sent_content=sent
    )


def digest(content: Content) -> bytes:
    """Eight bytes that change when lines, receiver or amounts do; equal contents under two versions agree.

    Notes and the latest time to ship are left out: customer service writes memos all day, and platforms move the time.
    """
    return _digest_with_notes(msgspec.structs.replace(content, buyer_note="", seller_note="", latest_ship_at=None))


def _digest_with_notes(content: Content) -> bytes:
    """What earlier releases stored as `sent_content`; `merge` makes a `digest` of one that still fits."""
    return hashlib.blake2b(_encode(content), digest_size=8).digest()


_REGISTERS = ("content", "payment", "hold", "left", "closing")
_TOLD = (*_REGISTERS, "refunds", "confirmations", "progress")
"""The fields of an order that are facts."""

_YEARS = range(2000, 9999)
_REDUCED = 1 << 40
"""Added to a rank: above every rank of a platform, below the next version."""

_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def _as_sent(order: Order, replaced: Content) -> bytes:
    """`sent_content` once `replaced` is not what was ordered any more."""
    if order.issued(Operation.CREATE) is None or order.sent_content not in (b"", _digest_with_notes(replaced)):
        return order.sent_content
    return digest(replaced)


def _older(one: Register[Any], other: Register[Any]) -> bool:
    return (one.version, one.rank) < (other.version, other.rank)


def _wins(known: Register[Any] | None, key: tuple[int, int], value: Any) -> bool:
    if known is None:
        return True
    known_key = (known.version, known.rank)
    if key != known_key:
        # The same value under a newer key still moves the key: an older contradicting value must lose to it.
        return key > known_key
    return bool(known.value != value) and _encode(value) > _encode(known.value)


def _refund_wins(known: Register[Refund] | None, key: tuple[int, int], refund: Refund) -> bool:
    """Like `_wins`, and of one version and rank the status further in a refund's life wins before the encoding."""
    if known is None or key != (known.version, known.rank) or known.value.status is refund.status:
        return _wins(known, key, refund)
    return refund.status.place > known.value.status.place
