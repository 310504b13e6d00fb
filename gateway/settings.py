"""The configuration: one YAML file and the environment, as frozen structs.

It answers for what can be set, its defaults, and how the settings must fit each other. Everything is checked before
anything starts, and every problem is reported at once. Reading the file and checking a single value is
`gateway.schema`; what an adapter can be told is its own Settings struct, found through `gateway.plugins`.
"""

from __future__ import annotations

import enum
import re
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from gateway import schema as schemas
from gateway.core.delivery import AfterUnknown, after_unknown
from gateway.core.errors import BadInput, Problem, SettingsError
from gateway.core.event import ConnectionName
from gateway.core.keys import decode_key
from gateway.core.money import parse_minor
from gateway.core.notice import Kind
from gateway.core.order import Operation
from gateway.core.owner import OwnerKind
from gateway.plugins import Adapter, Registry
from gateway.schema import KeyPath, Node, Report
from gateway.sdk.adapter import Manifest, OperationManifest
from gateway.sdk.carriers import load_carriers

ENVIRONMENT_PREFIX = "ORDERGATE_"

Seconds = Annotated[float, Meta(gt=0, le=86400)]
Share = Annotated[float, Meta(gt=0, le=1)]
Address = Annotated[str, Meta(pattern=r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9_.-]+):\d{1,5}$", description="host:port")]
# Of names that can be looked up: an empty or overlong part of one is refused only when the worker already runs.
_BROKER = r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?):\d{1,5}"
CONNECTION_NAME = r"^[a-z0-9-]{1,40}$"
# A worker's lease outlives two sends one after the other, and misses this many beats before it is lost.
LEASE_DEADLINES = 2
LEASE_BEATS = 3


class Mode(enum.StrEnum):
    """What a connection may cause (F126): `observe` takes everything in and delivers nothing."""

    OBSERVE = "observe"
    LIVE = "live"


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Database(_Section, frozen=True, kw_only=True):
    url: Annotated[
        str,
        Meta(description="`embedded` (a PostgreSQL of its own in `data_dir`) or postgresql://user:password@host/name"),
    ] = "embedded"
    pool_size: Annotated[int, Meta(ge=2, le=200, description="Connections per worker")] = 10

    def __repr__(self) -> str:
        return f"Database(embedded={self.embedded})"

    @property
    def embedded(self) -> bool:
        return self.url == "embedded"


class KafkaSecurity(_Section, frozen=True, kw_only=True):
    protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
        Meta(description="As the brokers' listener is set up"),
    ] = "PLAINTEXT"
    mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None, Meta(description="With SASL_…: how to log in")
    ] = None
    username: str | None = None
    password: Annotated[str | None, Meta(description="Write it as ${NAME} or file:/path")] = None
    ca_file: Annotated[str | None, Meta(description="PEM file of the brokers' CA; without it the system's")] = None
    check_hostname: Annotated[
        bool, Meta(description="False only with `ca_file`, for brokers whose certificates carry other names")
    ] = True
    cert_file: Annotated[str | None, Meta(description="PEM file of a client certificate")] = None
    key_file: Annotated[str | None, Meta(description="PEM file of its key")] = None
    key_password: Annotated[str | None, Meta(description="Of an encrypted `key_file`")] = None

    def __repr__(self) -> str:
        return f"KafkaSecurity(protocol={self.protocol!r})"


class Kafka(_Section, frozen=True, kw_only=True):
    bootstrap: Annotated[
        str,
        Meta(pattern=rf"^{_BROKER}(,{_BROKER})*$", description="host:port, several with commas between"),
    ]
    topic: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,249}$", description="Topic of inbound events")] = (
        "ordergate.inbound"
    )
    group: Annotated[str, Meta(min_length=1, max_length=200, description="Consumer group of all workers")] = "ordergate"
    acknowledge_within_s: Annotated[
        Seconds, Meta(description="After this time without an acknowledgement an event goes to the inbox instead")
    ] = 2.0
    security: Annotated[
        KafkaSecurity, Meta(description="How to reach the brokers; files start at this file's folder")
    ] = KafkaSecurity()


class Http(_Section, frozen=True, kw_only=True):
    listen: Annotated[Address, Meta(description="host:port of webhooks, API and console")] = "127.0.0.1:8080"
    metrics_listen: Annotated[Address, Meta(description="host:port of metrics and health")] = "127.0.0.1:9464"
    body_limit_bytes: Annotated[
        int, Meta(ge=1024, le=1048576, description="Larger requests are answered 413; both legs carry up to 1 MiB")
    ] = 1048576

    @property
    def bind(self) -> tuple[str, int]:
        return host_port(self.listen)

    @property
    def metrics_bind(self) -> tuple[str, int]:
        return host_port(self.metrics_listen)


class Intake(_Section, frozen=True, kw_only=True):
    batch_events: Annotated[int, Meta(ge=1, le=5000, description="Most events in one transaction")] = 1000
    batch_wait_ms: Annotated[int, Meta(ge=0, le=5000, description="Longest wait for a batch to fill")] = 50


class Dispatch(_Section, frozen=True, kw_only=True):
    held_per_gate: Annotated[
        int, Meta(ge=1, le=1000000, description="Deliveries held in memory per gate; the rest waits in the database")
    ] = 5000
    lease_s: Annotated[
        Seconds, Meta(description="A worker silent for this long is replaced; more than twice the longest deadline")
    ] = 15.0
    heartbeat_s: Annotated[Seconds, Meta(description="How often a worker renews its lease")] = 3.0
    outcome_wait_ms: Annotated[
        int, Meta(ge=0, le=1000, description="Longest wait for outcomes to be written together")
    ] = 20


class Retry(_Section, frozen=True, kw_only=True):
    burst_retries: Annotated[int, Meta(ge=0, le=10, description="Retries at once, after the first try")] = 3
    base_s: Annotated[Seconds, Meta(description="First pause between them; doubles, with jitter")] = 0.2
    max_s: Annotated[Seconds, Meta(description="Longest pause between them")] = 5.0
    durable_base_s: Annotated[Seconds, Meta(description="First pause after the burst; doubles, with jitter")] = 10.0
    durable_max_s: Annotated[Seconds, Meta(description="Longest pause after a burst")] = 300.0
    budget_share: Annotated[Share, Meta(description="Retries as a share of first tries, per gate")] = 0.2


class Breaker(_Section, frozen=True, kw_only=True):
    window_s: Annotated[Seconds, Meta(description="Calls of this long are judged")] = 60.0
    min_calls: Annotated[int, Meta(ge=1, le=10000, description="No verdict on fewer calls")] = 8
    failure_share: Annotated[Share, Meta(description="Opens at this share of failed or slow calls")] = 0.5
    consecutive_timeouts: Annotated[int, Meta(ge=1, le=1000, description="Opens after so many in a row")] = 5
    open_s: Annotated[Seconds, Meta(description="First time it stays open; doubles, with jitter")] = 10.0
    open_max_s: Annotated[Seconds, Meta(description="Longest time it stays open")] = 60.0
    ramp_s: Annotated[
        Annotated[float, Meta(ge=0, le=86400)], Meta(description="From the first good probe to full speed")
    ] = 10.0
    dry_run: Annotated[bool, Meta(description="Judges and reports, but lets everything through")] = False


ReceiverField = Literal[
    "receiver.name",
    "receiver.phone",
    "receiver.province",
    "receiver.city",
    "receiver.district",
    "receiver.town",
    "receiver.detail",
    "receiver.postcode",
]


class Review(_Section, frozen=True, kw_only=True):
    mandatory: Annotated[
        tuple[ReceiverField, ...], Meta(description="An order without one of these is held for a person")
    ] = ("receiver.name", "receiver.phone", "receiver.province", "receiver.city", "receiver.detail")
    max_total: Annotated[str, Meta(description="An order over this amount is held; written with two decimals")] = (
        "1000000.00"
    )

    @property
    def max_total_minor(self) -> int:
        return parse_minor(self.max_total)


class StockRules(_Section, frozen=True, kw_only=True):
    unknown_sku: Annotated[
        Literal["pass", "hold"], Meta(description="An order for a SKU without a stock row goes on, or is held")
    ] = "pass"


class Retention(_Section, frozen=True, kw_only=True):
    timeline_days: Annotated[
        int, Meta(ge=90, le=3650, description="Events, attempts, stock movements and the buyer of orders that are over")
    ] = 180
    tombstone_days: Annotated[
        int,
        Meta(
            ge=180,
            le=36500,
            description="Whole orders; longer than any shop looks back, or a late repeat would be a new order",
        ),
    ] = 730
    hours: Annotated[
        str,
        Meta(
            pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$",
            description="When old rows are removed, Beijing time",
        ),
    ] = "02:00-06:00"

    @property
    def minutes(self) -> tuple[int, int]:
        """Start and end of `hours`, in minutes since midnight."""
        start, end = (int(part[:2]) * 60 + int(part[3:]) for part in self.hours.split("-"))
        return start, end


class Log(_Section, frozen=True, kw_only=True):
    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="Least level written")] = "info"
    format: Annotated[Literal["json", "text"], Meta(description="`json` for collectors, `text` for eyes")] = "json"


class Encryption(_Section, frozen=True, kw_only=True):
    keys: Annotated[
        tuple[str, ...],
        Meta(
            max_length=20,
            description="Seal buyer data in the database: 32 bytes in base64 each, as ${NAME} or file:/path; the first "
            "seals, all open. `ordergate keys new` makes one",
        ),
    ] = ()

    def __repr__(self) -> str:
        return f"Encryption(keys={len(self.keys)})"

    @property
    def decoded(self) -> tuple[bytes, ...]:
        """The keys themselves. Raises ValueError."""
        return tuple(decode_key(key) for key in self.keys)


class PersonEntry(_Section, frozen=True, kw_only=True):
    """Somebody who is told; by each medium that knows one of these."""

    userid: Annotated[
        Annotated[str, Meta(pattern=r"^[^\s|@]{1,64}$")] | None, Meta(description="In WeCom; mentioned by it")
    ] = None
    mobile: Annotated[
        Annotated[str, Meta(pattern=r"^\+?\d{5,15}$")] | None, Meta(description="In WeCom, where there is no userid")
    ] = None
    email: Annotated[Annotated[str, Meta(pattern=r"^[^@\s<>,;]+@[A-Za-z0-9.-]+$")] | None, Meta(description="Mail")] = (
        None
    )

    def __repr__(self) -> str:
        return "PersonEntry()"


class OwnerEntry(_Section, frozen=True, kw_only=True):
    """Whose work something is; the first rule that fits counts, and one without conditions fits all."""

    people: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=60)], ...],
        Meta(
            min_length=1, max_length=20, description="Your own names; with `notices.channels`, of `notices.people`"
        ),
    ]
    connection: Annotated[str | None, Meta(description="Only of this connection")] = None
    kind: Annotated[
        OwnerKind | None, Meta(description="Only of this kind of work or notice; `blocked` and `delivery` are one")
    ] = None
    code: Annotated[
        str | None, Meta(description="Only this code (`short_of_stock`, `rejected`, `rejected:http_4xx`)")
    ] = None


class Notices(_Section, frozen=True, kw_only=True):
    channels: Annotated[
        tuple[str, ...],
        Meta(max_length=10, description="Connections that tell people; each takes over from the one before"),
    ] = ()
    people: Annotated[dict[str, PersonEntry], Meta(description="Who can be mentioned, under names of your own")] = {}
    mute: Annotated[tuple[Kind, ...], Meta(description="Kinds that nobody is told of")] = ()
    backlog_age_s: Annotated[Seconds, Meta(description="A delivery that waits longer is a backlog")] = 900.0
    settle_s: Annotated[
        Seconds,
        Meta(description="Over only after so long without a sign (above the deadlines); doubles for what comes back"),
    ] = 20.0
    hand_over_s: Annotated[
        Seconds, Meta(description="After this time the next channel is asked; above 65, a robot's pause at its limit")
    ] = 90.0
    runbook_url: Annotated[
        str, Meta(max_length=200, description="Where the pages of docs/runbooks lie; each notice ends with its page")
    ] = "docs/runbooks/"


class RouteTo(_Section, frozen=True, kw_only=True):
    """One place a connection's orders may go to, in order of preference."""

    target: Annotated[str, Meta(min_length=1, description="Name of a connection that takes orders")]
    warehouse: Annotated[str, Meta(min_length=1, max_length=64, description="Warehouse code, as the target calls it")]


class Levels(_Section, frozen=True, kw_only=True):
    """What a shop is told of stock."""

    publish: Annotated[
        bool, Meta(description="Tells the shop how many of each published SKU it may sell; never while it is observed")
    ] = False
    keep_back: Annotated[int, Meta(ge=0, le=1000000, description="So many of each SKU are kept from the shop")] = 0
    share: Annotated[Share, Meta(description="Of the rest it may sell this share, rounded down")] = 1.0
    every_s: Annotated[Seconds, Meta(description="How often changes are looked for; of many only the last is told")] = (
        2.0
    )


class GateOverride(_Section, frozen=True, kw_only=True):
    """What the file sets for one operation; anything left out is the adapter's own value."""

    rate_per_s: Annotated[
        Annotated[float, Meta(gt=0, le=100000)] | None, Meta(description="Most requests a second, over all workers")
    ] = None
    burst: Annotated[
        Annotated[int, Meta(ge=1, le=100000)] | None, Meta(description="Requests that may go at once within the rate")
    ] = None
    in_flight: Annotated[
        Annotated[int, Meta(ge=1, le=10000)] | None, Meta(description="Most requests without an answer, per worker")
    ] = None
    deadline_s: Annotated[Seconds | None, Meta(description="After this time the outcome is unknown")] = None
    slow_s: Annotated[Seconds | None, Meta(description="Slower calls count against the breaker")] = None
    adaptive: Annotated[
        bool | None, Meta(description="Sends fewer at once than `in_flight` when more makes the target slower")
    ] = None


class PullOverride(_Section, frozen=True, kw_only=True):
    """How the file has a shop polled; anything left out is the adapter's own value."""

    every_s: Annotated[Seconds | None, Meta(description="How often the shop is asked what has changed")] = None
    window_s: Annotated[
        Seconds | None, Meta(description="Longest span of one question; at most what the platform takes")
    ] = None
    overlap_s: Annotated[
        Annotated[float, Meta(ge=0, le=86400)] | None,
        Meta(description="So much is read again each time, for orders that appear late; below window_s"),
    ] = None
    delay_s: Annotated[
        Annotated[float, Meta(ge=0, le=86400)] | None,
        Meta(description="Reading stays so far behind now; at least what the platform asks for"),
    ] = None
    deadline_s: Annotated[Seconds | None, Meta(description="Longest wait for one answer of the platform")] = None
    reread_hour: Annotated[
        int, Meta(ge=0, le=23, description="Daily, at this hour in Beijing, the last days are read again")
    ] = 4
    reread_days: Annotated[int, Meta(ge=0, le=90, description="How many days; 0: no daily re-read")] = 3


class RateOverride(_Section, frozen=True, kw_only=True):
    """The limit on everything that is asked of one connection; anything left out is the adapter's own value."""

    per_s: Annotated[
        Annotated[float, Meta(gt=0, le=100000)] | None,
        Meta(description="Most requests a second: polling and all gates, over all workers"),
    ] = None
    burst: Annotated[
        Annotated[int, Meta(ge=1, le=100000)] | None, Meta(description="Requests that may go at once within the rate")
    ] = None


class ConnectionEntry(_Section, frozen=True, kw_only=True):
    """A connection as the file says it."""

    adapter: Annotated[str, Meta(description="Which adapter it speaks through; `ordergate adapters` lists them")]
    prefix: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,12}$")] | None,
        Meta(description="For shops: our order numbers are this and the shop's number; none starts with another's"),
    ] = None
    mode: Annotated[
        Mode | None, Meta(description="Required for shops: `observe` takes in and delivers nothing, `live` delivers")
    ] = None
    start_at: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        Meta(
            description="For shops: orders placed before are known and never delivered, 2026-01-01T00:00:00+08:00; a "
            "shop that is polled is read from then on, without it from its first start"
        ),
    ] = None
    route: Annotated[tuple[RouteTo, ...], Meta(description="For shops: where its orders go, first choice first")] = ()
    skus: Annotated[
        Literal["as_is", "mapped"],
        Meta(
            description="For shops: `mapped` looks its SKUs up in its table (`ordergate skus`), bundles and gifts"
            " included, and holds orders with a SKU that is not there; `as_is`: they are the warehouse's own"
        ),
    ] = "as_is"
    stock: Annotated[Levels, Meta(description="For shops: which stock levels they are told")] = Levels()
    settle_s: Annotated[
        Annotated[float, Meta(ge=0, le=86400)] | None,
        Meta(description="For targets: *not found* counts only this long after the request (default 15)"),
    ] = None
    gates: Annotated[
        dict[Operation, GateOverride], Meta(description="Per operation (create, cancel, ship): limits and deadlines")
    ] = {}
    pull: Annotated[PullOverride | None, Meta(description="For shops that are polled: how")] = None
    rate: Annotated[
        RateOverride | None, Meta(description="The platform's limit on everything that is asked of this connection")
    ] = None
    settings: Annotated[dict[str, Any], Meta(description="The adapter's own settings; see its page")] = {}


class _Sections(_Section, frozen=True, kw_only=True):
    data_dir: Annotated[
        str, Meta(min_length=1, description="Where local data is kept; relative to the folder of this file")
    ] = "./data"
    language: Annotated[Literal["zh", "en"], Meta(description="Language of notices, reports and the console")] = "zh"
    database: Annotated[Database, Meta(description="PostgreSQL")] = Database()
    kafka: Annotated[
        Kafka | None, Meta(description="Optional; without it the inbox in PostgreSQL carries all events")
    ] = None
    http: Annotated[Http, Meta(description="Where the gateway listens")] = Http()
    intake: Annotated[Intake, Meta(description="How events are taken in")] = Intake()
    dispatch: Annotated[Dispatch, Meta(description="How deliveries leave")] = Dispatch()
    retry: Annotated[Retry, Meta(description="How a failed delivery is tried again")] = Retry()
    breaker: Annotated[Breaker, Meta(description="When a target is left alone for a while")] = Breaker()
    review: Annotated[Review, Meta(description="Which orders a person sees first")] = Review()
    stock: Annotated[StockRules, Meta(description="How stock is reserved")] = StockRules()
    encryption: Annotated[Encryption, Meta(description="Buyer data at rest")] = Encryption()
    carriers: Annotated[
        dict[str, dict[str, str]],
        Meta(description="Our carrier code → platform → its code; laid over the shipped table"),
    ] = {}
    owners: Annotated[
        tuple[OwnerEntry, ...],
        Meta(description="Whose work is what: shown at the desk, mentioned in notices; the first that fits counts"),
    ] = ()
    retention: Annotated[Retention, Meta(description="How long what is over is kept")] = Retention()
    log: Annotated[Log, Meta(description="Log lines on standard error")] = Log()
    notices: Annotated[Notices, Meta(description="Who is told what; nobody without `channels`")] = Notices()


class Document(_Sections, frozen=True, kw_only=True):
    """The whole file."""

    connections: Annotated[
        dict[Annotated[str, Meta(pattern=CONNECTION_NAME, description="a-z, 0-9 and -, up to 40")], ConnectionEntry],
        Meta(description="One entry per shop, warehouse or system, under a name of your own"),
    ] = {}


class GatePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for one operation of one connection: the adapter's manifest with the file laid over it.

    `rate_per_s` None: no limit. `in_flight` is per worker; the rate is shared by all.
    """

    idempotent: bool
    findable: bool
    rate_per_s: float | None
    burst: int
    in_flight: int
    deadline_s: float
    slow_s: float
    adaptive: bool

    @property
    def after_unknown(self) -> AfterUnknown:
        return after_unknown(idempotent=self.idempotent, findable=self.findable)


class PullPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How one shop is polled: the adapter's manifest with the file laid over it. See `PullManifest`."""

    window_s: float
    overlap_s: float
    lookback_s: float
    delay_s: float
    every_s: float
    deadline_s: float
    reread_hour: int = 4
    reread_days: int = 3


class RatePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The limit on everything that is asked of one connection, over all workers."""

    per_s: float
    burst: int


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """A connection, ready for use. `settings` is an instance of the adapter's Settings; `start_at` is UTC."""

    name: ConnectionName
    adapter: Adapter
    prefix: str | None
    mode: Mode
    start_at: datetime | None
    route: tuple[RouteTo, ...]
    skus: Literal["as_is", "mapped"]
    stock: Levels
    settle_s: float
    gates: Mapping[Operation, GatePolicy]
    settings: Any
    pull: PullPolicy | None = None
    rate: RatePolicy | None = None

    def __repr__(self) -> str:
        return f"Connection({self.name!r}, adapter={self.manifest.name!r}, mode={self.mode.value!r})"

    @property
    def manifest(self) -> Manifest:
        return self.adapter.manifest

    @property
    def is_shop(self) -> bool:
        """Whether orders begin here."""
        return self.prefix is not None

    @property
    def takes_orders(self) -> bool:
        return Operation.CREATE in self.gates

    @property
    def order_operations(self) -> tuple[Operation, ...]:
        """What the outbox delivers; levels of stock are published beside it."""
        return tuple(operation for operation in self.gates if operation is not Operation.STOCK)

    @property
    def publishes_levels(self) -> bool:
        """Whether it is told stock levels: not while it is only observed, another system does so then."""
        return self.stock.publish and self.mode is Mode.LIVE

    def gate(self, operation: Operation) -> GatePolicy:
        """The policy of `operation`. KeyError when the adapter does not declare it."""
        return self.gates[operation]


class Settings(_Sections, frozen=True, kw_only=True):
    """The whole configuration. `data_dir` is absolute."""

    connections: Mapping[ConnectionName, Connection]

    def __repr__(self) -> str:
        return f"Settings(connections={list(self.connections)!r})"


def load(path: Path, environ: Mapping[str, str], adapters: Registry) -> Settings:
    """The configuration in the YAML file `path`, or SettingsError with every problem in it.

    ``${NAME}`` comes from `environ`; ``file:/path`` is read. A key of a section can also be set as
    ``ORDERGATE_<SECTION>_<KEY>`` (``ORDERGATE_HTTP_LISTEN``) and wins over the file. Only adapters that a connection
    uses are imported.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        problem = Problem(str(path), f"cannot be read: {reason}", "name the configuration file with --config")
        raise SettingsError([problem]) from error
    return parse(text, environ, adapters, name=path.name, folder=path.parent)


def parse(text: str, environ: Mapping[str, str], adapters: Registry, *, name: str, folder: Path) -> Settings:
    """Like `load`, from text. Relative paths start at `folder`; `name` stands in the problems."""
    root, problems = schemas.read_yaml(text, name=name)
    if not isinstance(root.value, dict):
        problems.append(Problem(name, "is not a mapping (key: value)", "start from the example configuration"))
    if problems:
        raise SettingsError(problems)
    root = _overridden(root, environ)
    report = Report(root)
    root = _without_moved(root, report)
    root = schemas.fill(root, environ, folder, report=report)
    # Sections that are right are checked against each other even when others are wrong.
    sections = {
        field.encode_name: _section(root, field, report)
        for field in msgspec.structs.fields(Document)
        if field.encode_name in root.value
    }
    for key in root.value:
        if key not in Document.__struct_fields__:
            known = Document.__struct_fields__
            report.add((key,), "is not a known key", schemas.suggest(key, known) or "known here: " + ", ".join(known))
    document = Document(**{key: value for key, value in sections.items() if value is not _WRONG})
    _check_sections(document, report, folder)
    entries = _entries(root, report)
    loaded = {entry: _load_adapter(entry, entries[entry], adapters, report) for entry in entries}
    _check_prefixes(entries, report)
    connections: dict[ConnectionName, Connection] = {}
    for entry, adapter in loaded.items():
        connection = _connection(entry, entries[entry], adapter, root, report)
        if connection is not None:
            connections[connection.name] = connection
    for entry, adapter in loaded.items():
        if adapter is not None:
            _check_connection(entry, entries[entry], adapter, report)
            _check_gates(entry, entries[entry], adapter, connections.get(ConnectionName(entry)), report)
            _check_pull(entry, entries[entry], adapter.manifest, report)
        _check_route(entry, entries, loaded, connections, report)
    _check_lease(document.dispatch, connections, report)
    _check_retention(document.retention, connections, report)
    _check_carriers(document.carriers, adapters, report)
    _check_notices(document.notices, entries, loaded, report)
    _check_owners(document, entries, report)
    if report.problems:
        raise SettingsError(sorted(report.problems, key=_line))
    common = {field: getattr(document, field) for field in _Sections.__struct_fields__}
    common["data_dir"] = str(folder.joinpath(document.data_dir).resolve())
    common["kafka"] = _with_absolute_files(document.kafka, folder)
    return Settings(**common, connections=connections)


def host_port(address: str) -> tuple[str, int]:
    """``("127.0.0.1", 8080)`` of ``127.0.0.1:8080``; an IPv6 host loses its brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def schema() -> dict[str, Any]:
    """JSON Schema of the file, for editors."""
    made = msgspec.json.schema(Document)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Ordergate configuration", **made}


def reference() -> str:
    """Every key of the file as Markdown: a table per section."""
    text = f"## Top level\n\n{schemas.table(Document)}"
    for field in msgspec.structs.fields(Document):
        kind = schemas.struct_of(field.type)
        if kind is not None:
            text += section(kind, field.encode_name, schemas.description(field.type), "##")
    return text


def section(kind: type[msgspec.Struct], name: str, description: str, level: str) -> str:
    """The keys of one section as Markdown, and below them those of the sections inside it."""
    heading = f"{name}.<name>" if kind is ConnectionEntry else name
    told = f"{description}.\n\n" if description else ""
    text = f"\n{level} `{heading}`\n\n{told}{schemas.table(kind)}"
    for field in msgspec.structs.fields(kind):
        inner = schemas.struct_of(field.type)
        if inner is not None:
            place = f"{heading}.{field.encode_name}"
            text += section(inner, place, schemas.description(field.type), "###")
    return text


# --- building ---------------------------------------------------------------------------------------------------

_WRONG: Any = object()
_DEFAULT_SETTLE_S = 15.0
_KAFKA_FILES = ("ca_file", "cert_file", "key_file")


def _line(problem: Problem) -> int:
    found = re.match(r"[^ ]*:(\d+)", problem.where)
    return int(found[1]) if found else 0


def _overridden(root: Node, environ: Mapping[str, str]) -> Node:
    """`root` with the keys that the environment sets.

    Unknown ``ORDERGATE_`` names are left alone on purpose: Kubernetes injects ``ORDERGATE_PORT`` and the like into
    every pod next to a Service called ordergate.
    """
    top = dict(root.value)
    for field in msgspec.structs.fields(_Sections):
        if field.encode_name in ("carriers", "owners"):
            continue  # a table and a list: no variable holds one
        kind = schemas.struct_of(field.type)
        name = ENVIRONMENT_PREFIX + field.encode_name.upper()
        if kind is None:
            if name in environ:
                top[field.encode_name] = Node(environ[name], f"environment {name}", environ[name], filled=True)
            continue
        given = {
            inner.encode_name: f"{name}_{inner.encode_name.upper()}"
            for inner in msgspec.structs.fields(kind)
            if f"{name}_{inner.encode_name.upper()}" in environ and schemas.struct_of(inner.type) is None
        }
        section = top.get(field.encode_name, Node({}, root.origin))
        if given and (section.value is None or isinstance(section.value, dict)):
            keys = {
                key: Node(environ[variable], f"environment {variable}", environ[variable], filled=True)
                for key, variable in given.items()
            }
            top[field.encode_name] = msgspec.structs.replace(section, value={**(section.value or {}), **keys})
    return msgspec.structs.replace(root, value=top)


def _without_moved(root: Node, report: Report) -> Node:
    """`root` without keys that have moved or changed their shape, each reported with what to write instead."""
    proposal = "owners: [{people: [wang], connection: wms-1}, {people: [li], code: short_of_stock}, {people: [ops]}]"
    top = dict(root.value)
    if "owners" in top and isinstance(top["owners"].value, dict):
        report.add(("owners",), "is a list of rules, of which the first that fits counts", proposal)
        del top["owners"]
    notices = top.get("notices")
    if notices is not None and isinstance(notices.value, dict) and "owners" in notices.value:
        report.add(("notices", "owners"), "has moved to the top level, beside `notices`", proposal)
        inner = {key: node for key, node in notices.value.items() if key != "owners"}
        top["notices"] = msgspec.structs.replace(notices, value=inner)
    return msgspec.structs.replace(root, value=top)


def _section(root: Node, field: msgspec.structs.FieldInfo, report: Report) -> Any:
    node = root.value[field.encode_name]
    if field.encode_name == "connections":
        return {}
    before = len(report.problems)
    value = schemas.convert(node, field.type, report, (field.encode_name,))
    return _WRONG if len(report.problems) > before or schemas.unresolved(node) else value


def _entries(root: Node, report: Report) -> dict[str, ConnectionEntry]:
    """The connections that are right by themselves."""
    node = root.value.get("connections")
    if node is None or node.value is None:
        return {}
    if not isinstance(node.value, dict):
        report.add(("connections",), "expected a mapping (name: connection)")
        return {}
    entries = {}
    for name, child in node.value.items():
        kind = dict[Annotated[str, Meta(pattern=CONNECTION_NAME, description="use a-z, 0-9 and -, up to 40")], Any]
        named = schemas.convert(Node({name: Node(None, child.origin)}, child.origin), kind, report, ("connections",))
        entry = schemas.convert(child, ConnectionEntry, report, ("connections", name))
        if named is not None and entry is not None:
            entries[name] = entry
    return entries


def _load_adapter(name: str, entry: ConnectionEntry, adapters: Registry, report: Report) -> Adapter | None:
    try:
        return adapters.load(entry.adapter)
    except SettingsError as error:
        for problem in error.problems:
            report.add(("connections", name, "adapter"), f"{problem.where} {problem.what}", problem.proposal)
        return None


def _connection(
    name: str, entry: ConnectionEntry, adapter: Adapter | None, root: Node, report: Report
) -> Connection | None:
    if adapter is None:
        return None
    path = ("connections", name, "settings")
    child = root.value["connections"].value[name]
    node = child.value.get("settings") or Node({}, child.origin)
    settings = schemas.convert(node, adapter.settings_type, report, path)
    if settings is None:
        return None
    # A connection may use less than its adapter can: a webhook without a URL takes orders in and nothing else.
    enabled = getattr(settings, "operations", None)
    declared = {op: m for op, m in adapter.manifest.operations.items() if enabled is None or op in enabled}
    return Connection(
        name=ConnectionName(name),
        adapter=adapter,
        prefix=entry.prefix,
        mode=entry.mode or Mode.LIVE,
        start_at=entry.start_at.astimezone(UTC) if entry.start_at else None,
        route=entry.route,
        skus=entry.skus,
        stock=entry.stock,
        settle_s=_DEFAULT_SETTLE_S if entry.settle_s is None else entry.settle_s,
        gates={op: _merged(manifest, entry.gates.get(op, GateOverride())) for op, manifest in declared.items()},
        settings=settings,
        pull=_pull_of(adapter.manifest, entry.pull),
        rate=_rate_of(adapter.manifest, entry.rate),
    )


def _with_absolute_files(kafka: Kafka | None, folder: Path) -> Kafka | None:
    if kafka is None:
        return None
    security = kafka.security
    files = {key: getattr(security, key) for key in _KAFKA_FILES}
    absolute = {key: str(folder.joinpath(file).resolve()) for key, file in files.items() if file is not None}
    return msgspec.structs.replace(kafka, security=msgspec.structs.replace(security, **absolute))


def _merged(declared: OperationManifest, override: GateOverride) -> GatePolicy:
    values = {key: getattr(declared, key) for key in GatePolicy.__struct_fields__}
    return GatePolicy(**{**values, **_given(override)})


def _pull_of(manifest: Manifest, override: PullOverride | None) -> PullPolicy | None:
    if manifest.pull is None:
        return None
    return PullPolicy(**{**msgspec.structs.asdict(manifest.pull), **_given(override or PullOverride())})


def _rate_of(manifest: Manifest, override: RateOverride | None) -> RatePolicy | None:
    """None: no limit. A file that gives only a burst has no rate to go with it (`_check_pull`)."""
    values = msgspec.structs.asdict(manifest.rate) if manifest.rate is not None else {"burst": 1}
    values |= _given(override or RateOverride())
    return RatePolicy(**values) if "per_s" in values else None


def _given(override: msgspec.Struct) -> dict[str, Any]:
    """What the file has set."""
    return {key: value for key, value in msgspec.structs.asdict(override).items() if value is not None}


# --- how the settings must fit each other -----------------------------------------------------------------------


def _check_sections(document: Document, report: Report, folder: Path) -> None:
    url = document.database.url
    if url != "embedded" and urlsplit(url).scheme not in ("postgresql", "postgres"):
        report.add(("database", "url"), "is neither `embedded` nor a postgresql:// address")
    for key, address in (("listen", document.http.listen), ("metrics_listen", document.http.metrics_listen)):
        if host_port(address)[1] > 65535:
            report.add(("http", key), f"has no port {host_port(address)[1]}", "ports end at 65535")
    if document.http.bind == document.http.metrics_bind and document.http.bind[1] != 0:
        report.add(("http", "metrics_listen"), "is the same address as http.listen", "give it a port of its own")
    retry, breaker, dispatch = document.retry, document.breaker, document.dispatch
    for path, low, high in (
        (("retry", "base_s"), retry.base_s, ("retry.max_s", retry.max_s)),
        (("retry", "durable_base_s"), retry.durable_base_s, ("retry.durable_max_s", retry.durable_max_s)),
        (("breaker", "open_s"), breaker.open_s, ("breaker.open_max_s", breaker.open_max_s)),
    ):
        if low > high[1]:
            report.add(path, f"is {low:g}, more than {high[0]} ({high[1]:g})", "lower it or raise the other")
    if dispatch.heartbeat_s * LEASE_BEATS > dispatch.lease_s:
        what = f"is {dispatch.heartbeat_s:g}: a lease of {dispatch.lease_s:g} s has no room for {LEASE_BEATS} beats"
        report.add(("dispatch", "heartbeat_s"), what, f"at most {dispatch.lease_s / LEASE_BEATS:g}")
    try:
        total_minor = document.review.max_total_minor
    except BadInput as error:
        report.add(("review", "max_total"), error.message, error.advice)
    else:
        if total_minor <= 0:
            report.add(("review", "max_total"), "is not above zero", "every order would be held")
    for index, key in enumerate(document.encryption.keys):
        place: KeyPath = ("encryption", "keys", index)
        try:
            decode_key(key)
        except ValueError as error:
            report.add(place, str(error), "`ordergate keys new` makes one")
        if key in document.encryption.keys[:index]:
            report.add(place, "is there twice", "remove one of them")
    if document.kafka is not None:
        for address in document.kafka.bootstrap.split(","):
            if host_port(address)[1] > 65535:
                report.add(("kafka", "bootstrap"), f"has no port {host_port(address)[1]}", "ports end at 65535")
        _check_kafka(document.kafka.security, report, folder)


def _check_kafka(security: KafkaSecurity, report: Report, folder: Path) -> None:
    place: KeyPath = ("kafka", "security")
    tls = security.protocol.endswith("SSL")
    login = ("mechanism", "username", "password")
    sasl = security.protocol.startswith("SASL")
    for key in login:
        if sasl and getattr(security, key) is None:
            report.add((*place, key), f"is missing: {security.protocol} logs in", f"add `{key}: …`")
        elif not sasl and getattr(security, key) is not None:
            report.add((*place, key), f"has no use with {security.protocol}", f"use SASL_SSL or remove {key}")
    for key in _KAFKA_FILES:
        file = getattr(security, key)
        if file is None:
            continue
        if not tls:
            report.add((*place, key), f"has no use with {security.protocol}", f"use SSL or SASL_SSL, or remove {key}")
        elif not folder.joinpath(file).is_file():
            report.add((*place, key), f"there is no file {file}", "relative paths start at the folder of this file")
    if (security.cert_file is None) != (security.key_file is None):
        missing = "cert_file" if security.cert_file is None else "key_file"
        report.add((*place, missing), "is missing", "a client certificate needs both cert_file and key_file")
    if security.key_password is not None and security.key_file is None:
        report.add((*place, "key_password"), "has no use without a key_file", "remove it")
    if not security.check_hostname and not tls:
        report.add((*place, "check_hostname"), f"has no use with {security.protocol}", "remove it")
    elif not security.check_hostname and security.ca_file is None:
        what = "cannot be false without ca_file: a certificate that anybody can buy would do"
        report.add((*place, "check_hostname"), what, "add `ca_file: …`, the CA that signed the brokers' certificates")
    if tls:
        _check_certificates(security, report, folder)


def _check_certificates(security: KafkaSecurity, report: Report, folder: Path) -> None:
    """Load every file that is there as the clients will: what they cannot read ends a worker at its start."""
    place: KeyPath = ("kafka", "security")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ca, cert, key = (folder.joinpath(getattr(security, name) or "") for name in _KAFKA_FILES)
    if ca.is_file():
        try:
            context.load_verify_locations(ca)
        except (OSError, ValueError) as error:
            proposal = "a Java trust store becomes PEM with: keytool -list -rfc -keystore FILE"
            report.add((*place, "ca_file"), f"{security.ca_file} {_unread(error, 'holds no certificate')}", proposal)
    if cert.is_file() and key.is_file():
        try:
            # A password, even the empty one, keeps OpenSSL from asking for it at the terminal.
            context.load_cert_chain(cert, key, password=security.key_password or "")
        except (OSError, ValueError) as error:
            what = _unread(error, f"and {security.key_file} are not a certificate and its key")
            proposal = "PEM files that belong together; an encrypted key needs key_password"
            report.add((*place, "cert_file"), f"{security.cert_file} {what}", proposal)


def _unread(error: Exception, otherwise: str) -> str:
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        return f"cannot be read: {error.strerror}"
    return otherwise


def _check_prefixes(entries: Mapping[str, ConnectionEntry], report: Report) -> None:
    # "A" and "AB": number AB17 could be order B17 of the first shop or 17 of the second.
    prefixes = sorted((entry.prefix, name) for name, entry in entries.items() if entry.prefix is not None)
    for index, (prefix, name) in enumerate(prefixes):
        for longer, other in prefixes[index + 1 :]:
            if longer.startswith(prefix):
                relation = "is also the prefix" if longer == prefix else f"starts with {prefix!r}, the prefix"
                what = f"{longer!r} {relation} of connections.{name}: their order numbers could be the same"
                report.add(("connections", other, "prefix"), what, "choose prefixes of which none begins another")


def _check_connection(name: str, entry: ConnectionEntry, adapter: Adapter, report: Report) -> None:
    place: KeyPath = ("connections", name)
    manifest = adapter.manifest
    if entry.prefix is None:
        # Only orders can come from an adapter that takes none; where both are possible, the prefix tells.
        is_shop = manifest.source is not None and Operation.CREATE not in manifest.operations
        if is_shop:
            proposal = "add a short prefix, like `prefix: A`: our order numbers begin with it"
            report.add((*place, "prefix"), "is missing: orders come from this connection", proposal)
        for key, given in (
            ("route", bool(entry.route)),
            ("start_at", entry.start_at is not None),
            ("skus", entry.skus != "as_is"),
            ("stock", entry.stock.publish),
        ):
            if given and not is_shop:
                report.add((*place, key), "has no use without a prefix", "it is for connections where orders begin")
        if entry.mode is Mode.OBSERVE and not is_shop:
            report.add((*place, "mode"), "has no use here: no orders begin at this connection", "observe at the shops")
    elif manifest.source is None:
        report.add((*place, "prefix"), f"has no use: the adapter {manifest.name} brings no orders", "remove it")
    elif entry.mode is None:
        # Without a choice, a first start would send what the warehouse already has.
        proposal = "`observe` first (nothing is delivered), `live` to deliver, with `start_at` for the cut-over"
        report.add((*place, "mode"), "is missing: say whether its orders are delivered", proposal)
    elif not entry.route and entry.mode is Mode.LIVE:
        proposal = "add `route: [{target: …, warehouse: …}]`, or `mode: observe`"
        report.add((*place, "route"), "is missing: its orders would have nowhere to go", proposal)
    elif entry.stock.publish and not entry.route:
        report.add((*place, "stock"), "has no use without a route: no stock is this shop's", "add `route`")
    if entry.stock.publish and Operation.STOCK not in manifest.operations:
        what = f"cannot be told: the adapter {manifest.name} takes no stock levels"
        report.add((*place, "stock", "publish"), what, "remove it")
    if entry.settle_s is not None and manifest.target is None:
        report.add((*place, "settle_s"), f"has no use: the adapter {manifest.name} sends nothing", "remove it")


def _check_gates(
    name: str, entry: ConnectionEntry, adapter: Adapter, connection: Connection | None, report: Report
) -> None:
    operations = adapter.manifest.operations
    for operation, override in entry.gates.items():
        path = ("connections", name, "gates", operation.value)
        if operation not in operations:
            proposal = "it declares: " + (", ".join(operations) or "nothing")
            report.add(path, f"the adapter {adapter.manifest.name} does not declare {operation}", proposal)
            continue
        if connection is not None and operation not in connection.gates:
            proposal = "see its settings, or remove the gate"
            report.add(path, f"has no use: by its settings this connection is never told to {operation}", proposal)
        gate = _merged(operations[operation], override)
        if override.slow_s is not None and gate.slow_s >= gate.deadline_s:
            what = f"is {gate.slow_s:g}, not below deadline_s ({gate.deadline_s:g}): no call would ever be slow"
            report.add((*path, "slow_s"), what, f"something like {gate.deadline_s * 0.6:g}")
        if override.adaptive and gate.in_flight == 1:
            report.add((*path, "adaptive"), "has no use with in_flight 1", "raise in_flight, or remove it")


def _check_pull(name: str, entry: ConnectionEntry, manifest: Manifest, report: Report) -> None:
    place: KeyPath = ("connections", name)
    polled, pull = manifest.pull, _pull_of(manifest, entry.pull)
    if polled is None or pull is None:
        if entry.pull is not None:
            what = f"has no use: the adapter {manifest.name} is not polled"
            report.add((*place, "pull"), what, "remove it")
    else:
        if pull.window_s > polled.window_s:
            what = f"is {pull.window_s:g}: the platform takes questions over {polled.window_s:g} s at most"
            report.add((*place, "pull", "window_s"), what, f"at most {polled.window_s:g}")
        elif pull.overlap_s >= pull.window_s:
            what = f"is {pull.overlap_s:g}, not below window_s ({pull.window_s:g}): reading would never get ahead"
            report.add((*place, "pull", "overlap_s"), what, f"something like {pull.window_s / 10:g}")
        if pull.delay_s < polled.delay_s:
            what = f"is {pull.delay_s:g}: the platform's newest {polled.delay_s:g} s cannot be asked for"
            report.add((*place, "pull", "delay_s"), what, f"at least {polled.delay_s:g}")
    if entry.rate is not None and manifest.pull is None and manifest.target is None:
        what = f"has no use: nothing is asked of the adapter {manifest.name}"
        report.add((*place, "rate"), what, "remove it")
    elif entry.rate is not None and _rate_of(manifest, entry.rate) is None:
        report.add((*place, "rate", "per_s"), "is missing: the adapter declares no rate", "add `per_s: …`")


def _check_route(
    name: str,
    entries: Mapping[str, ConnectionEntry],
    loaded: Mapping[str, Adapter | None],
    connections: Mapping[ConnectionName, Connection],
    report: Report,
) -> None:
    takers = [other for other, connection in connections.items() if connection.takes_orders]
    for index, choice in enumerate(entries[name].route):
        path = ("connections", name, "route", index, "target")
        listed = "these take orders: " + (", ".join(takers) or "none")
        adapter = loaded.get(choice.target)
        if choice.target not in report.root.value["connections"].value:
            proposal = schemas.suggest(choice.target, takers) or listed
            report.add(path, f"there is no connection {choice.target!r}", proposal)
        elif adapter is not None and Operation.CREATE not in adapter.manifest.operations:
            report.add(path, f"{choice.target!r} does not take orders: its adapter declares no `create`", listed)
        elif choice.target in connections and choice.target not in takers:
            report.add(path, f"{choice.target!r} does not take orders by its settings", listed)
        # A target that is wrong by itself has been reported there.


def _check_lease(dispatch: Dispatch, connections: Mapping[ConnectionName, Connection], report: Report) -> None:
    for name, connection in connections.items():
        pull = connection.pull
        if pull is not None and dispatch.lease_s <= pull.deadline_s + dispatch.heartbeat_s:
            # One request leaves per turn, and only where the lease, renewed a heartbeat ago, outlives it.
            needed_s = pull.deadline_s + dispatch.heartbeat_s
            what = (
                f"is {pull.deadline_s:g}: with a heartbeat that is not within dispatch.lease_s ({dispatch.lease_s:g})"
            )
            proposal = f"below {dispatch.lease_s - dispatch.heartbeat_s:g}, or a lease_s of {needed_s + 2:g}"
            report.add(("connections", name, "pull", "deadline_s"), what, proposal)
    gates = [(gate.deadline_s, name, op) for name, c in connections.items() for op, gate in c.gates.items()]
    if not gates:
        return
    deadline_s, name, operation = max(gates)
    if dispatch.lease_s <= deadline_s * LEASE_DEADLINES:
        what = (
            f"is {dispatch.lease_s:g}, not above {LEASE_DEADLINES} × {deadline_s:g} "
            f"(deadline_s of connections.{name}.gates.{operation})"
        )
        report.add(
            ("dispatch", "lease_s"), what, f"at least {deadline_s * LEASE_DEADLINES + 5:g}, or shorter deadlines"
        )


def _check_retention(retention: Retention, connections: Mapping[ConnectionName, Connection], report: Report) -> None:
    if retention.tombstone_days < retention.timeline_days:
        what = f"is {retention.tombstone_days}, below timeline_days ({retention.timeline_days})"
        report.add(("retention", "tombstone_days"), what, "whole orders stay longer than their timelines")
    for name, connection in connections.items():
        pull = connection.manifest.pull
        if pull is not None and retention.tombstone_days * 86_400 <= pull.lookback_s:
            days = int(pull.lookback_s // 86_400) + 1
            what = f"is {retention.tombstone_days}, but {name} may tell of orders from {days} days ago"
            report.add(("retention", "tombstone_days"), what, f"at least {days + 1}")


def _check_notices(
    notices: Notices,
    entries: Mapping[str, ConnectionEntry],
    loaded: Mapping[str, Adapter | None],
    report: Report,
) -> None:
    place: KeyPath = ("notices",)
    tellers = [name for name, adapter in loaded.items() if adapter is not None and adapter.notifier_type is not None]
    listed = "these tell people: " + (", ".join(tellers) or "none")
    for index, channel in enumerate(notices.channels):
        if channel not in entries:
            proposal = schemas.suggest(channel, tellers) or listed
            report.add((*place, "channels", index), f"there is no connection {channel!r}", proposal)
        elif loaded.get(channel) is not None and channel not in tellers:
            what = f"{channel!r} tells nobody: its adapter declares no notifier"
            report.add((*place, "channels", index), what, listed)
        elif channel in notices.channels[:index]:
            report.add((*place, "channels", index), f"{channel!r} stands here twice", "remove one")
    for name, person_entry in notices.people.items():
        if person_entry == PersonEntry():
            proposal = "add `userid`, `mobile` or `email`"
            report.add((*place, "people", name), "cannot be reached", proposal)
    if not notices.channels and notices.people:
        report.add((*place, "channels"), "is missing: nobody would be told anything", listed)


def _check_owners(document: Document, entries: Mapping[str, ConnectionEntry], report: Report) -> None:
    people = document.notices.people
    for index, rule in enumerate(document.owners):
        place: KeyPath = ("owners", index)
        if rule.connection is not None and rule.connection not in entries:
            proposal = schemas.suggest(rule.connection, entries) or "configured: " + (", ".join(entries) or "none")
            report.add((*place, "connection"), f"there is no connection {rule.connection!r}", proposal)
        # Without a channel nobody is mentioned, and the desk shows any name.
        for number, person in enumerate(rule.people if document.notices.channels else ()):
            if person not in people:
                known = "known: " + (", ".join(people) or "none, add `notices.people`")
                proposal = schemas.suggest(person, people) or known
                report.add((*place, "people", number), f"nobody is called {person!r}", proposal)
        if (rule.connection, rule.kind, rule.code) == (None, None, None) and index + 1 < len(document.owners):
            report.add((*place,), "fits everything: the rules after it never count", "make it the last one")


def _check_carriers(carriers: Mapping[str, Mapping[str, str]], adapters: Registry, report: Report) -> None:
    if not carriers:
        return
    known = {*adapters.manifests, *(platform for row in load_carriers().rows.values() for platform in row)}
    for code, row in carriers.items():
        for platform in row:
            if platform not in known:
                proposal = schemas.suggest(platform, known) or "known: " + ", ".join(sorted(known))
                report.add(("carriers", code, platform), "is not a platform of the carrier table", proposal)
