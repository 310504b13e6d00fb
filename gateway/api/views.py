"""The shapes of the API: requests, answers, and core values as JSON objects.

Core structs are stored as arrays, which nobody wants to read; `mirror` makes an object-shaped struct of each, so that
the API and its OpenAPI document follow the core without a second list of fields.
"""

from __future__ import annotations

import types
from datetime import datetime
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from gateway.api.advice import NextStep
from gateway.core.notice import Kind
from gateway.core.order import Content, Operation, Order
from gateway.core.owner import WorkKind
from gateway.core.text import NOTHING, Text
from gateway.store.ledger import Keep
from gateway.store.notices import NoticeRow
from gateway.store.queries import DeadLetterRow, EventSeen, Happened, LaneRow, OrderRow
from gateway.store.redrive import MOST_ITEMS, RedriveRow
from gateway.store.resolve import MOST_RESOLVED
from gateway.store.review import MOST_AT_ONCE, OrderGroup
from gateway.store.skus import SkuImport, UnmappedSku
from gateway.store.stock import Missing, StockRow, StockSet
from gateway.store.wanted import Preview, StuckKind, Wanted

Reason = Annotated[str, Meta(min_length=1, max_length=500, description="Why; kept with who did it")]
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern="^[^\\x00]*$(?!\\n)")]
Limit = Annotated[int, Meta(ge=1, le=500, description="Most rows in the answer")]
After = Annotated[str, Meta(pattern=r"^\d{1,18}$(?!\n)", description="`next` of the page before")]
"""Where a list in the sequence of ids goes on."""


def mirror(kind: Any) -> Any:
    """`kind` with every struct in it turned into one whose JSON is an object and that refuses unknown fields."""
    if kind in _MIRRORS:
        return _MIRRORS[kind]
    origin, args = get_origin(kind), get_args(kind)
    base = origin or kind
    if isinstance(base, type) and issubclass(base, msgspec.Struct):
        fields: list[Any] = []
        for field in msgspec.structs.fields(kind):
            if field.name == "sent_content":
                continue  # a digest for ourselves
            inner = mirror(field.type)
            if field.required:
                fields.append((field.name, inner))
            elif field.default is not msgspec.NODEFAULT:
                fields.append((field.name, inner, field.default))
            else:
                fields.append((field.name, inner, msgspec.field(default_factory=field.default_factory)))
        name = "".join(getattr(part, "__name__", "") for part in (base, *args))
        made = msgspec.defstruct(name, fields, frozen=True, kw_only=True, forbid_unknown_fields=True)
        made.__doc__ = base.__doc__
        _MIRRORS[kind] = made
        return made
    if args:
        inner_args = tuple(part if part is Ellipsis else mirror(part) for part in args)
        # `X | None` is a class of its own that cannot be subscripted.
        return Union[inner_args] if origin in (Union, types.UnionType) else origin[inner_args]  # noqa: UP007
    supertype = getattr(kind, "__supertype__", None)
    return kind if supertype is None else mirror(supertype)


_MIRRORS: dict[Any, Any] = {}
OrderState: Any = mirror(Order)
ContentObject: Any = mirror(Content)


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Every answer that is not 2xx. `error` is from a closed set; `advice` says what to do."""

    error: str
    message: Text
    where: str = ""
    advice: Text = NOTHING
    details: Any = None


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """It was done; `note` says what follows."""

    status: Literal["done"] = "done"
    note: Text


# --- connections


class PulledView(msgspec.Struct, frozen=True, kw_only=True):
    """How far a polled shop has been read, and by whom. `failing`: why it cannot be read now.

    `renewal_refused`: the platform's code, where it gives no new token for the present one; used until that ends.
    """

    owner: str | None
    read_to: datetime | None
    reread_at: datetime | None
    failing: str | None
    token_ends_at: datetime | None
    token_changed_at: datetime | None
    renewal_refused: str | None


class ConnectionView(msgspec.Struct, frozen=True, kw_only=True):
    """`reason`: why it is paused, or what the platform said of our authorisation."""

    name: str
    adapter: str
    state: Literal["ready", "paused", "re_authorise"]
    reason: str
    pull: PulledView | None


class ConnectionList(msgspec.Struct, frozen=True, kw_only=True):
    connections: list[ConnectionView]


class AuthoriseBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new authorisation of a shop, as its platform gave it. Instants with their time zone."""

    access_token: Annotated[str, Meta(min_length=1, max_length=4096)]
    reason: Reason
    refresh_token: Annotated[str, Meta(max_length=4096)] = ""
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None
    refresh_expires_at: Annotated[datetime, Meta(tz=True)] | None = None

    def __repr__(self) -> str:
        return "AuthoriseBody(…)"


# --- orders


Stages = Literal["received", "reviewed", "allocated", "packed", "shipped", "cancelled", "refunded", "conflict"]


class OrdersQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    stage: Stages | None = None
    reason: Annotated[Name, Meta(description="A code like `unpaid`; the order waits for it")] | None = None
    conflict: Annotated[Name, Meta(description="A code like `cancelled_but_shipped`")] | None = None
    connection: Name | None = None
    number: Annotated[Name, Meta(description="Our number begins with this")] | None = None
    channel_no: Annotated[Name, Meta(description="The shop's own number, whole")] | None = None
    near_ship_by: Annotated[
        Literal[0, 1],
        Meta(
            description="1: only what no warehouse has within `notices.ship_by_lead_s` of the shop's latest time to"
            " ship, or after it; the most urgent first"
        ),
    ] = 0
    after: (
        Annotated[str, Meta(pattern=r"^\d{1,18}(\.\d{1,18})?$(?!\n)", description="`next` of the page before")] | None
    ) = None
    limit: Limit = 50


class OrderList(msgspec.Struct, frozen=True, kw_only=True):
    """`next` is empty on the last page."""

    orders: list[OrderRow]
    next: str = ""


class OrdersWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which orders; at least one of these is needed."""

    stage: Stages | None = None
    code: Annotated[Name, Meta(description="A code like `no_route`; the order waits for it")] | None = None
    conflict: Annotated[Name, Meta(description="A code like `cancelled_but_shipped`")] | None = None
    connection: Annotated[Name, Meta(description="Orders of this shop")] | None = None
    number: Annotated[Name, Meta(description="Our number begins with this")] | None = None


class ReconsiderPreviewBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    wanted: OrdersWanted


class ReconsiderPreview(msgspec.Struct, frozen=True, kw_only=True):
    """How many fit, and what they are, the most first."""

    total: int
    groups: list[OrderGroup]


class ReconsiderBody(ReconsiderPreviewBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reason: Reason
    after: After = "0"
    limit: Annotated[int, Meta(ge=1, le=MOST_AT_ONCE, description="At most so many, the oldest first")] = MOST_AT_ONCE


class UnmaskQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    unmask: Annotated[Literal[0, 1], Meta(description="1: with personal data; this is recorded")] = 0


class OrderPage(msgspec.Struct, frozen=True, kw_only=True):
    """One order: its state, what is open, everything that happened, in time order, and what stock it lacks now.

    `unopened`: why its row cannot be read (a key that is missing, or damage), empty where it can; `order` then holds
    its number, shop, stage, reasons and conflicts alone, and what may quote its receiver is shown with `unmask=1` only.
    """

    number: str
    created_at: datetime
    updated_at: datetime
    masked: bool
    order: OrderState
    lanes: list[LaneRow]
    timeline: list[Happened]
    missing: tuple[Missing, ...] = ()
    unopened: Text = NOTHING


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """An original payload. `text` where it is UTF-8, `base64` always."""

    event: EventSeen
    text: str | None
    base64: str


class ReasonBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reason: Reason


class HandledBody(ReasonBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    conflicts: Annotated[
        list[Name] | None,
        Meta(
            description="Those that you have seen: refused where there is another one by now; without it all there are"
        ),
    ] = None


class PauseBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`operation`: only what is sent to the connection of this kind; without it all of the connection."""

    reason: Reason
    operation: Operation | None = None


# --- deliveries


class DeliveriesQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    state: Annotated[
        Literal["open", "waiting", "blocked"],
        Meta(description="`waiting` for its time, `blocked`: for a person, `open`: all"),
    ] = "open"
    target: Name | None = None
    after: Annotated[str, Meta(max_length=300, description="`next` of the page before")] | None = None
    limit: Limit = 50


class LaneList(msgspec.Struct, frozen=True, kw_only=True):
    """Oldest first. `next` is empty on the last page."""

    deliveries: list[LaneRow]
    next: str = ""


class ResendBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reason: Reason
    edit: Annotated[
        dict[str, Any],
        Meta(
            description='What to change in the content (RFC 7396): {"receiver": {"phone": "138…"}}; lists are'
            " replaced whole, amounts are minor units"
        ),
    ] = {}
    confirmed_absent: Annotated[
        bool, Meta(description="You have looked: the target does not have it. Needed where the outcome is unknown")
    ] = False
    if_attempts: Annotated[
        Annotated[int, Meta(ge=0, le=1_000_000)] | None,
        Meta(description="`attempts` as you saw it: refused where somebody has sent it since"),
    ] = None


class ResolveBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reason: Reason
    reference: Annotated[str, Meta(max_length=200, description="The target's own id, if you know it")] = ""


# --- dead letters


class DeadLettersQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    state: Literal["open", "all"] = "open"
    source: Name | None = None
    code: Annotated[Name, Meta(description="`behind`: those that wait for another one")] | None = None
    after: After | None = None
    limit: Limit = 50


class DeadLetterList(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first. `next` is empty on the last page."""

    dead_letters: list[DeadLetterRow]
    next: str = ""


class DeadLetterPage(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter. Its payload comes with `unmask=1` only. `closed_reason`: what the one who closed it said.

    `unopened`: why its payload cannot be opened, empty where it can.
    """

    dead_letter: DeadLetterRow
    closed_reason: str = ""
    text: str | None = None
    base64: str | None = None
    unopened: Text = NOTHING


class ReleaseBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without a body the event goes through again as it is."""

    body: Annotated[Any, Meta(description="Repaired payload: a JSON value, or a string with the payload's text")] = None
    body_base64: Annotated[str, Meta(description="Repaired payload as bytes")] | None = None
    another_order: Annotated[
        bool, Meta(description="The payload may be of another order than the dead letter: its number was wrong")
    ] = False
    reason: Annotated[str, Meta(max_length=500, description="Why; kept with who did it")] = ""


class Released(msgspec.Struct, frozen=True, kw_only=True):
    """`events`: how many go through intake again, those that waited behind included."""

    events: int


# --- work


class WorkQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kind: WorkKind | None = None
    connection: Annotated[Name, Meta(description="The shop, the target, or where the event came from")] | None = None
    operation: Annotated[Operation, Meta(description="Of deliveries")] | None = None
    code: Annotated[Name, Meta(description="The card's code, like `rejected:http_4xx`")] | None = None
    owner: Annotated[Name, Meta(description="One of those whose work it is by `owners` in the settings")] | None = None


class WorkItemsQuery(WorkQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    after: Annotated[str, Meta(max_length=100, description="`next` of the page before")] | None = None
    limit: Limit = 50


class ExportQuery(WorkQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=10_000, description="Most rows in the file, the oldest first")] = 5_000
    language: Annotated[Literal["zh", "en"] | None, Meta(description="As the settings say, unless given")] = None


class WorkCard(msgspec.Struct, frozen=True, kw_only=True):
    """One root cause: what it is, how many wait for it and since when, whose it is, and what to do."""

    kind: WorkKind
    connection: str
    operation: str
    code: str
    means: Text
    count: int
    oldest: datetime
    newest: datetime
    samples: tuple[str, ...]
    owners: tuple[str, ...]
    next: NextStep


class WorkCards(msgspec.Struct, frozen=True, kw_only=True):
    """The card with most behind it first. `total` counts what is on them."""

    cards: list[WorkCard]
    total: int


class WorkItem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that waits for a person. `codes`: all of its reasons or conflicts. `missing`: stock it lacks now."""

    kind: WorkKind
    number: str
    channel_no: str
    shop: str
    connection: str
    operation: str
    code: str
    codes: tuple[str, ...]
    means: Text
    since: datetime
    seq: int | None
    dead_letter_id: int | None
    stage: str
    latest_ship_at: datetime | None
    last_at: datetime | None
    last_result: str | None
    last_code: str | None
    owners: tuple[str, ...]
    next: NextStep
    missing: tuple[Missing, ...] = ()


class WorkItems(msgspec.Struct, frozen=True, kw_only=True):
    """Oldest first. `next` is empty on the last page."""

    items: list[WorkItem]
    next: str = ""


# --- many at once


class WantedBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which blocked deliveries and dead letters; at least one of the fields below `kinds` is needed."""

    kinds: Annotated[tuple[StuckKind, ...], Meta(min_length=1, max_length=2)] = ("delivery", "dead_letter")
    target: Annotated[Name, Meta(description="Deliveries to this connection; then no dead letters")] | None = None
    source: Annotated[Name, Meta(description="Of orders of this shop, or events from this connection")] | None = None
    operation: Annotated[Operation, Meta(description="Deliveries of this operation; then no dead letters")] | None = (
        None
    )
    code: (
        Annotated[
            Name,
            Meta(description="`rejected:http_4xx`, short `http_4xx`, `rejected` for all that begin so, `field`"),
        ]
        | None
    ) = None
    since: Annotated[datetime, Meta(tz=True, description="Waiting for a person since then or later")] | None = None
    until: Annotated[datetime, Meta(tz=True, description="Waiting for a person since before then")] | None = None

    def wanted(self) -> Wanted:
        return Wanted(**msgspec.structs.asdict(self))


Force = Annotated[
    bool,
    Meta(
        description="Also those whose target can neither be asked nor told twice: they are sent without asking, and"
        " what has arrived is doubled. The reason says why that is right"
    ),
]


class PreviewBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    wanted: WantedBody
    cap: Annotated[int, Meta(ge=1, le=MOST_ITEMS, description="Take at most so many, the oldest first")] = 1_000
    send_unasked: Force = False


class RedriveBody(PreviewBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reason: Reason
    per_s: Annotated[
        Annotated[float, Meta(ge=0.001, le=1_000)] | None,
        Meta(
            description="Released a second, evenly; without it 10, or half of what the target allows where that is less"
        ),
    ] = None
    start_in_s: Annotated[
        Annotated[float, Meta(ge=0, le=86_400)], Meta(description="Nothing is released before; time to think again")
    ] = 10.0


class RedrivePreview(msgspec.Struct, frozen=True, kw_only=True):
    """What would be done. `takes_s`: how long, at `per_s`, if nothing waits for the target."""

    preview: Preview
    per_s: float
    takes_s: float


class RedriveStarted(msgspec.Struct, frozen=True, kw_only=True):
    redrive: RedriveRow
    note: Text


class RedrivesQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    state: Literal["running", "all"] = "all"
    after: After | None = None
    limit: Limit = 20


class RedriveList(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first. `next` is empty on the last page."""

    redrives: list[RedriveRow]
    next: str = ""


class ResolvePreviewBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    wanted: WantedBody
    cap: Annotated[int, Meta(ge=1, le=MOST_RESOLVED, description="Take at most so many, the oldest first")] = 100


class ResolveManyBody(ResolvePreviewBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reason: Reason
    start_in_s: Annotated[
        Annotated[float, Meta(ge=0, le=86_400)],
        Meta(description="Nothing is resolved before, and it can be stopped; what is resolved cannot be undone"),
    ] = 10.0


# --- gates


class BreakerView(msgspec.Struct, frozen=True, kw_only=True):
    """The breaker of the worker that answered. `calls` and `failure_share` are of its window."""

    state: str
    cause: str | None
    failure_share: float
    calls: int
    reopen_in_s: float | None
    refused: int
    dry_run: bool


class WorkerGate(msgspec.Struct, frozen=True, kw_only=True):
    """One gate as the answering worker has it: deliveries in memory, most of them in flight (`limit`), its breakers.

    `questions` is the one before the questions about what is in doubt; null where nothing is ever asked about.
    `throttled_for_s`: so much longer nothing is sent, as the target has asked for patience; what waits for that counts
    as in flight. `learnt_per_s`: so many requests a second the target lets through, as this worker has learnt from its
    refusals; null where it refuses none.
    """

    target: str
    operation: str
    held: int
    queued: int
    in_flight: int
    limit: int
    waiting: int
    breaker: BreakerView
    questions: BreakerView | None
    throttled_for_s: float = 0.0
    learnt_per_s: float | None = None


class ForcedView(msgspec.Struct, frozen=True, kw_only=True):
    """`until_at` None: until somebody ends it (a paused operation)."""

    state: Literal["open", "closed"]
    reason: str
    author: str
    until_at: datetime | None


class GateView(msgspec.Struct, frozen=True, kw_only=True):
    """One gate. Lanes are those of the whole gateway; `worker` is the one that answered.

    `stock` has neither: levels are no deliveries, and one worker tells them, the shop's owner.
    """

    target: str
    operation: str
    paused: bool
    forced: ForcedView | None
    open: int
    parked: int
    blocked: int
    worker: WorkerGate | None


class GateList(msgspec.Struct, frozen=True, kw_only=True):
    gates: list[GateView]
    workers: int


class ForceBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    force: Annotated[Literal["open", "closed", "auto"], Meta(description="`auto` ends a hold")]
    reason: Reason
    for_s: Annotated[float, Meta(gt=0, le=604800, description="How long it holds, at most 7 days")] = 3600.0


# --- stock


class StockQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    sku: Annotated[Name, Meta(description="The SKU begins with this")] | None = None
    warehouse: Name | None = None
    off: Annotated[bool, Meta(description="Only those that are not the sum of their movements, by the last check")] = (
        False
    )
    # Two codes as JSON, of which every character may be written as six.
    after: Annotated[str, Meta(max_length=1_000, description="`next` of the page before")] | None = None
    limit: Limit = 100


class StockList(msgspec.Struct, frozen=True, kw_only=True):
    """In SKU order. `next` is empty on the last page."""

    stock: list[StockRow]
    next: str = ""


class StockDone(StockSet, frozen=True, kw_only=True):
    """`unrouted`: the warehouses that were named and that no shop's `route` leads to, so no order uses their stock."""

    unrouted: list[str]


Pieces = Annotated[int, Meta(ge=0, le=2_000_000_000)]
Code = Annotated[str, Meta(min_length=1, max_length=64, pattern="^[^\\x00]*$(?!\\n)")]


class StockItem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    sku: Code
    warehouse: Code
    on_hand: Pieces


class LedgerQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    sku: Code
    warehouse: Code
    limit: Annotated[int, Meta(ge=1, le=500, description="The newest movements")] = 20


class SettleBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`keep`: which of the two is right, the balance or the sum of its movements; the other one follows."""

    sku: Code
    warehouse: Code
    keep: Keep
    reason: Reason


# --- SKU tables


class SkusQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    sku: Annotated[Name, Meta(description="The shop's SKU begins with this")] | None = None
    refused: Annotated[bool, Meta(description="Only those the shop takes no level of")] = False
    after: Annotated[str, Meta(max_length=300, description="`next` of the page before")] | None = None
    limit: Limit = 100


class PartView(msgspec.Struct, frozen=True, kw_only=True):
    """`quantity` pieces of the warehouse's `sku` go into one piece of what the shop sells."""

    sku: str
    quantity: int
    gift: bool


class ListingView(msgspec.Struct, frozen=True, kw_only=True):
    """What a shop sells. `sent`: the level it was told last; `refused`: why it takes none; `failures` in a row."""

    sku: str
    title: str
    parts: list[PartView]
    item_id: str
    sku_id: str
    publish: bool
    sent: int | None
    sent_at: datetime | None
    failures: int
    refused: str | None


class SkuList(msgspec.Struct, frozen=True, kw_only=True):
    """In SKU order. `next` is empty on the last page. `mapped`: whether the shop's orders go by this table."""

    mapped: bool
    skus: list[ListingView]
    next: str = ""


class UnmappedQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limit: Limit = 100


class UnmappedList(msgspec.Struct, frozen=True, kw_only=True):
    """SKUs that hold orders because nothing stands for them, those that hold most first."""

    skus: list[UnmappedSku]


class SkuFileQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal["xlsx", "csv"] = "xlsx"
    language: Annotated[Literal["zh", "en"], Meta(description="Of the columns' titles")] = "zh"


class SkuFile(msgspec.Struct, frozen=True, kw_only=True):
    """`file` is base64."""

    name: str
    skus: int
    file: bytes


class SkuImportBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    file: Annotated[bytes, Meta(description="XLSX or CSV (UTF-8 or GBK) of at most 3 MB, in base64")]
    replace: Annotated[bool, Meta(description="Remove what the file does not name")] = False
    dry_run: Annotated[bool, Meta(description="Say what would change, and change nothing")] = False
    reason: Reason


class SkuPublishBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which published SKUs: those named, or all of them; with `refused` only those the shop takes no level of."""

    skus: Annotated[list[Name], Meta(min_length=1, max_length=5000)] | None = None
    refused: bool = False
    reason: Reason


class SkuImported(SkuImport, frozen=True, kw_only=True):
    """With `mapped` false the shop's orders do not use its table (`skus: as_is`)."""

    mapped: bool


class SkuPublished(msgspec.Struct, frozen=True, kw_only=True):
    """`listings`: how many have their level told again."""

    listings: int


class StockBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    items: Annotated[list[StockItem], Meta(min_length=1, max_length=5000)]
    reason: Reason


# --- notices


class NoticesQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    state: Literal["waiting", "sending", "sent", "merged", "failed"] | None = None
    kind: Kind | None = None
    connection: Name | None = None
    after: After | None = None
    limit: Limit = 50


class NoticeList(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first. `next` is empty on the last page."""

    notices: list[NoticeRow]
    next: str = ""


class ConditionView(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is the matter. `clear_since`: there is no sign of it any more, or hardly any of what was told.

    `told`: the count told last, or what was left of it for a while.
    """

    kind: Kind
    connection: str
    subject: str
    opened_at: datetime
    clear_since: datetime | None
    told: int


class ConditionList(msgspec.Struct, frozen=True, kw_only=True):
    """`watched` False: no channel is configured, so nobody looks for what may be the matter."""

    watched: bool
    conditions: list[ConditionView]
