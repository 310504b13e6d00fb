"""Every Prometheus metric of the gateway, declared as data, and the counters, histograms and gauges made of them.

It answers for names, help, buckets, and for labels that stay small: a label takes its values from a closed set, what
is outside of it becomes ``other``. What moves a metric is left to `observe` (happenings) and to whoever holds `Gauges`.

With several workers `PROMETHEUS_MULTIPROC_DIR` is set before prometheus_client is imported (`processes.prepare`); each
worker then writes its values to files, and `metrics_page` adds them up.
"""

from __future__ import annotations

import enum
import os
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec
import prometheus_client
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.core.delivery import Result
from gateway.core.event import Leg
from gateway.core.happening import ConnectionState
from gateway.core.order import Operation, Stage

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST
OTHER = "other"
MAX_CODES = 64
"""Distinct values one code label may take per process; more become `other`."""


class LaneState(enum.StrEnum):
    OPEN = "open"
    PARKED = "parked"
    BLOCKED = "blocked"


class GateState(enum.StrEnum):
    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"
    FORCED_OPEN = "forced_open"
    FORCED_CLOSED = "forced_closed"


class Domain(enum.Enum):
    """Label values that are known only when the gateway runs."""

    CONNECTIONS = "connections"
    """Names of the configured connections."""
    CODES = "codes"
    """Codes that the steps and the adapters choose: short, no long number in them, at most MAX_CODES."""


class Label(msgspec.Struct, frozen=True):
    name: str
    values: tuple[str, ...] | Domain


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric. `across` says how a gauge of several workers becomes one: add them up, or take the newest."""

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    help: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()
    across: Literal["livesum", "livemostrecent"] = "livesum"


def _values(kind: type[enum.StrEnum]) -> tuple[str, ...]:
    return tuple(member.value for member in kind)


RESULTS = {result: result.name.lower() for result in Result}

_CONNECTION = Label("connection", Domain.CONNECTIONS)
_SOURCE = Label("source", Domain.CONNECTIONS)
_TARGET = Label("target", Domain.CONNECTIONS)
_CODE = Label("code", Domain.CODES)
_LEG = Label("leg", _values(Leg))
_STAGE = Label("stage", _values(Stage))
_OPERATION = Label("operation", _values(Operation))
_GATE = (_TARGET, _OPERATION)
_FAST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)


METRICS: tuple[Metric, ...] = (
    Metric(
        name="ordergate_events_accepted_total",
        kind="counter",
        help="Events made durable on a leg before their sender was told so",
        labels=(_SOURCE, _LEG),
    ),
    Metric(
        name="ordergate_events_refused_total",
        kind="counter",
        help="Requests turned away, by reason; nothing of them is kept",
        labels=(_SOURCE, _CODE),
    ),
    Metric(
        name="ordergate_events_decided_total",
        kind="counter",
        help="Events whose order was decided, duplicates included",
        labels=(_CONNECTION,),
    ),
    Metric(
        name="ordergate_events_duplicate_total",
        kind="counter",
        help="Events that said nothing new",
        labels=(_CONNECTION,),
    ),
    Metric(
        name="ordergate_orders_decided_total",
        kind="counter",
        help="Decisions on orders, by the stage they left the order in",
        labels=(_CONNECTION, _STAGE),
    ),
    Metric(
        name="ordergate_orders_moved_total",
        kind="counter",
        help="Orders that entered a stage",
        labels=(_CONNECTION, _STAGE),
    ),
    Metric(
        name="ordergate_orders_held_total",
        kind="counter",
        help="Decisions that made an order wait, by reason",
        labels=(_CONNECTION, Label("reason", Domain.CODES)),
    ),
    Metric(
        name="ordergate_order_conflicts_total",
        kind="counter",
        help="Decisions that found a contradiction a person has to settle",
        labels=(_CONNECTION, Label("conflict", Domain.CODES)),
    ),
    Metric(
        name="ordergate_commands_planned_total",
        kind="counter",
        help="Commands written to the outbox",
        labels=(_CONNECTION,),
    ),
    Metric(
        name="ordergate_dead_letters_total",
        kind="counter",
        help="Events set aside for a person, by what is wrong with them",
        labels=(_SOURCE, _CODE),
    ),
    Metric(
        name="ordergate_attempts_total",
        kind="counter",
        help="Attempts of deliveries, by outcome",
        labels=(*_GATE, Label("result", tuple(RESULTS.values()))),
    ),
    Metric(
        name="ordergate_levels_told_total",
        kind="counter",
        help="Calls that tell a shop how much of a SKU it may sell, by outcome",
        labels=(Label("connection", Domain.CONNECTIONS), Label("result", tuple(RESULTS.values()))),
    ),
    Metric(
        name="ordergate_attempt_codes_total",
        kind="counter",
        help="Attempts that ended with a code of the adapter",
        labels=(*_GATE, _CODE),
    ),
    Metric(
        name="ordergate_batch_events_total",
        kind="counter",
        help="Events in committed batches of intake",
        labels=(_LEG,),
    ),
    Metric(
        name="ordergate_breaker_changes_total",
        kind="counter",
        help="Changes of a gate's breaker, by the state it went to",
        labels=(*_GATE, Label("state", _values(GateState))),
    ),
    Metric(
        name="ordergate_notice_messages_total",
        kind="counter",
        help="Messages to people, by how the attempt ended",
        labels=(
            _CONNECTION,
            Label("result", ("sent", "failed", "throttled", "unknown", "unauthorised", "rejected")),
        ),
    ),
    Metric(
        name="ordergate_notice_looks_total",
        kind="counter",
        help="Looks whether people have to be told, one a second over all workers; none: nobody watches",
    ),
    Metric(
        name="ordergate_troubles_total",
        kind="counter",
        help="Failures inside the gateway that were contained, by where they happened",
        labels=(Label("where", Domain.CODES),),
    ),
    Metric(
        name="ordergate_connection_changes_total",
        kind="counter",
        help="Changes of a connection, by the state it went to",
        labels=(_CONNECTION, Label("state", _values(ConnectionState))),
    ),
    Metric(
        name="ordergate_pull_windows_total",
        kind="counter",
        help="Windows of polled shops that were read through",
        labels=(_SOURCE,),
    ),
    Metric(
        name="ordergate_pull_failures_total",
        kind="counter",
        help="Questions to polled shops that were not answered with a page, by reason",
        labels=(_SOURCE, _CODE),
    ),
    Metric(
        name="ordergate_missed_orders_total",
        kind="counter",
        help="Orders that only the daily re-read of their shop has found",
        labels=(_SOURCE,),
    ),
    Metric(
        name="ordergate_attempt_seconds",
        kind="histogram",
        help="Time of one attempt, from the request to its outcome",
        labels=_GATE,
        buckets=_FAST_S,
    ),
    Metric(
        name="ordergate_end_to_end_seconds",
        kind="histogram",
        help="Time from taking an order's event to the target's acknowledgement",
        labels=_GATE,
        buckets=_SLOW_S,
    ),
    Metric(
        name="ordergate_decision_lag_seconds",
        kind="histogram",
        help="Time from taking an event to the commit of the decision on it",
        labels=(_CONNECTION,),
        buckets=_SLOW_S,
    ),
    Metric(
        name="ordergate_batch_commit_seconds",
        kind="histogram",
        help="Time of one batch of intake, from its first read to the commit",
        labels=(_LEG,),
        buckets=_FAST_S,
    ),
    Metric(
        name="ordergate_gate_state",
        kind="gauge",
        help="Workers whose breaker of this gate is in this state",
        labels=(*_GATE, Label("state", _values(GateState))),
    ),
    Metric(
        name="ordergate_gate_held_deliveries",
        kind="gauge",
        help="Deliveries held in memory, waiting for the gate or in flight",
        labels=_GATE,
    ),
    Metric(
        name="ordergate_gate_limit_requests",
        kind="gauge",
        help="Most requests in flight at once, as the limit of this gate stands now",
        labels=_GATE,
    ),
    Metric(
        name="ordergate_connection_state",
        kind="gauge",
        help="1 for the state a connection is in, 0 for the others",
        labels=(_CONNECTION, Label("state", _values(ConnectionState))),
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_pull_read_to_timestamp_seconds",
        kind="gauge",
        help="Everything that changed at a polled shop up to this instant is durable here",
        labels=(_SOURCE,),
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_lanes",
        kind="gauge",
        help="Lanes in the database: open (all), parked (waiting for their time), blocked (waiting for a person)",
        labels=(_TARGET, Label("state", _values(LaneState))),
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_oldest_waiting_seconds",
        kind="gauge",
        help="Age of the oldest delivery that is not done",
        labels=(_TARGET,),
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_inbox_rows",
        kind="gauge",
        help="Events in the inbox that are not decided",
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_dead_letters_open",
        kind="gauge",
        help="Dead letters that wait for a person",
        labels=(_SOURCE,),
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_notice_untold_seconds",
        kind="gauge",
        help="Age of the oldest notice that no channel has taken",
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_intake_lag_events",
        kind="gauge",
        help="Events on a leg that no worker has read",
        labels=(_LEG,),
    ),
)


class Buckets:
    """One histogram with its labels filled in, which takes many values at once.

    prometheus_client observes one value at a time and walks all bounds for each; here the bounds are bisected and a
    bucket is added to once. It reaches into the library for that; a test compares both roads.
    """

    __slots__ = ("_bounds", "_buckets", "_sum")

    def __init__(self, histogram: Histogram) -> None:
        self._bounds = histogram._upper_bounds
        self._buckets = histogram._buckets
        self._sum = histogram._sum

    def observe(self, values: Sequence[float]) -> None:
        """Add all `values` (seconds, finite)."""
        bounds = self._bounds
        if len(values) == 1:
            self._buckets[bisect_left(bounds, values[0])].inc(1)
        else:
            counts = [0] * len(bounds)
            for value in values:
                counts[bisect_left(bounds, value)] += 1
            for index, count in enumerate(counts):
                if count:
                    self._buckets[index].inc(count)
        self._sum.inc(sum(values))


class Metrics:
    """The metrics of one process. Make one per registry; `connections` are the values connection labels may take."""

    def __init__(self, connections: Iterable[str], *, registry: CollectorRegistry = REGISTRY) -> None:
        self._connections = frozenset(connections)
        self._codes: dict[tuple[str, str], set[str]] = {}
        self._declared = {metric.name: metric for metric in METRICS}
        self._counters = {m.name: Counter(m.name, m.help, _names(m), registry=registry) for m in _of("counter")}
        self._histograms = {
            m.name: Histogram(m.name, m.help, _names(m), buckets=m.buckets, registry=registry) for m in _of("histogram")
        }
        self._gauges = {
            m.name: Gauge(m.name, m.help, _names(m), multiprocess_mode=m.across, registry=registry)
            for m in _of("gauge")
        }

    def counter(self, name: str, *values: str) -> Counter:
        """The counter `name` with its labels filled in; a value outside its closed set is `other`."""
        counter = self._counters[name]
        return counter.labels(*self._bounded(name, values)) if values else counter

    def histogram(self, name: str, *values: str) -> Buckets:
        histogram = self._histograms[name]
        return Buckets(histogram.labels(*self._bounded(name, values)) if values else histogram)

    def gauge(self, name: str, *values: str) -> Gauge:
        gauge = self._gauges[name]
        return gauge.labels(*self._bounded(name, values)) if values else gauge

    def _bounded(self, name: str, values: tuple[str, ...]) -> list[str]:
        labels = self._declared[name].labels
        return [self._bound(name, label, value) for label, value in zip(labels, values, strict=True)]

    def _bound(self, name: str, label: Label, value: str) -> str:
        if label.values is Domain.CONNECTIONS:
            return value if value in self._connections else OTHER
        if label.values is not Domain.CODES:
            return value if value in label.values else OTHER
        # A code that holds a long number is an order id or a phone number that slipped in.
        if not _CODE_FORM.fullmatch(value) or _LONG_NUMBER.search(value):
            return OTHER
        known = self._codes.setdefault((name, label.name), set())
        if value not in known and len(known) >= MAX_CODES:
            return OTHER
        known.add(value)
        return value


class Gauges:
    """What other parts of the gateway report about their state now."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._seen: dict[str, set[tuple[str, ...]]] = {}

    def gate_state(self, target: str, operation: str, state: str) -> None:
        """This worker's breaker of a gate is in `state` now (and in no other)."""
        for each in GateState:
            self._metrics.gauge("ordergate_gate_state", target, operation, each.value).set(each.value == state)

    def connection_state(self, connection: str, state: str) -> None:
        """A connection is in `state` now (and in no other)."""
        for each in ConnectionState:
            self._metrics.gauge("ordergate_connection_state", connection, each.value).set(each.value == state)

    def pull_read_to(self, source: str, timestamp_s: float) -> None:
        """A polled shop has been read up to this instant (seconds since 1970)."""
        self._metrics.gauge("ordergate_pull_read_to_timestamp_seconds", source).set(timestamp_s)

    def held(self, target: str, operation: str, deliveries: int) -> None:
        """This worker holds so many deliveries of a gate in memory."""
        self._metrics.gauge("ordergate_gate_held_deliveries", target, operation).set(deliveries)

    def limit(self, target: str, operation: str, requests: int) -> None:
        """This worker may have so many requests of a gate in flight now."""
        self._metrics.gauge("ordergate_gate_limit_requests", target, operation).set(requests)

    def lanes(self, counts: Mapping[tuple[str, LaneState], int]) -> None:
        """The whole picture of the database; a (target, state) left out has none."""
        self._snapshot("ordergate_lanes", {(target, state.value): n for (target, state), n in counts.items()})

    def oldest_waiting(self, ages_s: Mapping[str, float]) -> None:
        """Per target, the age of the oldest delivery not done; a target left out has none."""
        self._snapshot("ordergate_oldest_waiting_seconds", {(target,): age for target, age in ages_s.items()})

    def inbox_rows(self, rows: int) -> None:
        self._metrics.gauge("ordergate_inbox_rows").set(rows)

    def dead_letters_open(self, counts: Mapping[str, int]) -> None:
        """Per source, the dead letters waiting for a person; a source left out has none."""
        self._snapshot("ordergate_dead_letters_open", {(source,): n for source, n in counts.items()})

    def notices_untold(self, age_s: float) -> None:
        self._metrics.gauge("ordergate_notice_untold_seconds").set(age_s)

    def intake_lag(self, leg: Leg, events: int) -> None:
        """Events that this worker has still to read on `leg` (its own partitions)."""
        self._metrics.gauge("ordergate_intake_lag_events", leg.value).set(events)

    def _snapshot(self, name: str, values: Mapping[tuple[str, ...], float]) -> None:
        totals: dict[tuple[str, ...], float] = {}
        for labels, value in values.items():
            bounded = tuple(self._metrics._bounded(name, labels))
            totals[bounded] = totals.get(bounded, 0) + value
        seen = self._seen.setdefault(name, set())
        for labels in seen - totals.keys():
            self._metrics.gauge(name, *labels).set(0)
        for labels, value in totals.items():
            self._metrics.gauge(name, *labels).set(value)
        seen.update(totals)


def metrics_page(registry: CollectorRegistry = REGISTRY) -> bytes:
    """The metrics as Prometheus reads them (`CONTENT_TYPE`); of all workers where several run."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return prometheus_client.generate_latest(registry)


_CODE_FORM = re.compile(r"[A-Za-z0-9_.:-]{1,40}")
_LONG_NUMBER = re.compile(r"[0-9]{6}")


def _of(kind: str) -> list[Metric]:
    return [metric for metric in METRICS if metric.kind == kind]


def _names(metric: Metric) -> tuple[str, ...]:
    return tuple(label.name for label in metric.labels)
