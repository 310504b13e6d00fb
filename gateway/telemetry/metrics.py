"""Every Prometheus metric of the gateway, declared as data, and the counters, histograms and gauges made of them.

It answers for names, help, buckets, and for labels that stay small: a label takes its values from a closed set, what
is outside of it becomes ``other``. What moves a metric is left to `observe` (happenings) and to whoever holds `Gauges`.

With several workers `PROMETHEUS_MULTIPROC_DIR` is set before prometheus_client is imported (`processes.prepare`); each
worker then writes its values to files, and `metrics_page` adds them up.
"""

from __future__ import annotations

import enum
import math
import os
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import prometheus_client
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.core.delivery import Result
from gateway.core.event import Leg
from gateway.core.happening import ConnectionState
from gateway.core.notice import PAST
from gateway.core.order import Operation, Stage
from gateway.telemetry.processes import SETTLED, VARIABLE

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


class WorkerEnd(enum.StrEnum):
    """How a worker ended that is started again."""

    FAILED = "failed"
    KILLED = "killed"
    """By a signal: the kernel, short of memory, or a person."""
    REPLACED = "replaced"
    """Its lease had run out, and others had taken over."""
    STOPPED = "stopped"
    """In order, though nobody had told the gateway to."""


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
    """One metric. `across` says how a gauge of several workers becomes one: add them up, or take the newest or least.

    `zh` is `help` in Chinese, for the catalogue.
    """

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    help: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()
    across: Literal["livesum", "livemostrecent", "livemin"] = "livesum"
    zh: str


def _values(kind: type[enum.StrEnum]) -> tuple[str, ...]:
    return tuple(member.value for member in kind)


PURGED_TABLES = (
    "orders",
    "reduced",
    "event",
    "attempt",
    "movement",
    "delivery_edit",
    "dead_letter",
    "audit",
    "redrive",
    "redrive_item",
)

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
        zh="在一条通道上落盘后才答复发送方的事件",
        labels=(_SOURCE, _LEG),
    ),
    Metric(
        name="ordergate_events_refused_total",
        kind="counter",
        help="Requests turned away, by reason; nothing of them is kept",
        zh="被拒收的请求，按原因；不留任何内容",
        labels=(_SOURCE, _CODE),
    ),
    Metric(
        name="ordergate_events_decided_total",
        kind="counter",
        help="Events whose order was decided, duplicates included",
        zh="已裁决订单的事件，含重复事件",
        labels=(_CONNECTION,),
    ),
    Metric(
        name="ordergate_events_duplicate_total",
        kind="counter",
        help="Events that said nothing new",
        zh="没有新内容的事件",
        labels=(_CONNECTION,),
    ),
    Metric(
        name="ordergate_orders_decided_total",
        kind="counter",
        help="Decisions on orders, by the stage they left the order in",
        zh="订单裁决次数，按裁决后的阶段",
        labels=(_CONNECTION, _STAGE),
    ),
    Metric(
        name="ordergate_orders_moved_total",
        kind="counter",
        help="Orders that entered a stage",
        zh="进入某阶段的订单",
        labels=(_CONNECTION, _STAGE),
    ),
    Metric(
        name="ordergate_orders_held_total",
        kind="counter",
        help="Decisions that made an order wait, by reason",
        zh="使订单等待的裁决，按原因",
        labels=(_CONNECTION, Label("reason", Domain.CODES)),
    ),
    Metric(
        name="ordergate_order_conflicts_total",
        kind="counter",
        help="Decisions that found a contradiction a person has to settle",
        zh="发现矛盾、须由人处理的裁决",
        labels=(_CONNECTION, Label("conflict", Domain.CODES)),
    ),
    Metric(
        name="ordergate_commands_planned_total",
        kind="counter",
        help="Commands written to the outbox",
        zh="写入发件箱的指令",
        labels=(_CONNECTION,),
    ),
    Metric(
        name="ordergate_dead_letters_total",
        kind="counter",
        help="Events set aside for a person, by what is wrong with them",
        zh="搁置待人处理的事件，按问题",
        labels=(_SOURCE, _CODE),
    ),
    Metric(
        name="ordergate_attempts_total",
        kind="counter",
        help="Attempts of deliveries, by outcome",
        zh="下发尝试，按结果",
        labels=(*_GATE, Label("result", tuple(RESULTS.values()))),
    ),
    Metric(
        name="ordergate_levels_told_total",
        kind="counter",
        help="Calls that tell a shop how much of a SKU it may sell, by outcome",
        zh="告知店铺可售数量的调用，按结果",
        labels=(_CONNECTION, Label("result", tuple(RESULTS.values()))),
    ),
    Metric(
        name="ordergate_attempt_codes_total",
        kind="counter",
        help="Attempts that ended with a code of the adapter",
        zh="以适配器代码结束的尝试",
        labels=(*_GATE, _CODE),
    ),
    Metric(
        name="ordergate_batch_events_total",
        kind="counter",
        help="Events in committed batches of intake",
        zh="已提交批次中的事件",
        labels=(_LEG,),
    ),
    Metric(
        name="ordergate_breaker_changes_total",
        kind="counter",
        help="Changes of a gate's breaker, by the state it went to",
        zh="闸门熔断器的状态变化，按变后的状态",
        labels=(*_GATE, Label("state", _values(GateState))),
    ),
    Metric(
        name="ordergate_question_breaker_changes_total",
        kind="counter",
        help="Changes of the breaker before a gate's questions about what is in doubt, by the state it went to",
        zh="闸门核对查询（存疑下发）的熔断器状态变化，按变后的状态",
        labels=(*_GATE, Label("state", _values(GateState))),
    ),
    Metric(
        name="ordergate_notice_messages_total",
        kind="counter",
        help="Messages to people, by how the attempt ended",
        zh="发给人的消息，按结果",
        labels=(
            _CONNECTION,
            Label("result", ("sent", "failed", "throttled", "unknown", "unauthorised", "rejected")),
        ),
    ),
    Metric(
        name="ordergate_notice_looks_total",
        kind="counter",
        help="Looks whether people have to be told, one a second over all workers; none: nobody watches",
        zh="检查是否须通知人的次数，全部工作进程合计每秒一次；为零说明无人值守",
    ),
    Metric(
        name="ordergate_troubles_total",
        kind="counter",
        help="Failures inside the gateway that were contained, by where they happened",
        zh="网关内部已被控制住的故障，按发生处",
        labels=(Label("where", Domain.CODES),),
    ),
    Metric(
        name="ordergate_connection_changes_total",
        kind="counter",
        help="Changes of a connection, by the state it went to",
        zh="连接的状态变化，按变后的状态",
        labels=(_CONNECTION, Label("state", _values(ConnectionState))),
    ),
    Metric(
        name="ordergate_pull_windows_total",
        kind="counter",
        help="Windows of polled shops that were read through",
        zh="已读完的轮询窗口",
        labels=(_SOURCE,),
    ),
    Metric(
        name="ordergate_pull_failures_total",
        kind="counter",
        help="Questions to polled shops that were not answered with a page, by reason",
        zh="未得到数据页的轮询，按原因",
        labels=(_SOURCE, _CODE),
    ),
    Metric(
        name="ordergate_missed_orders_total",
        kind="counter",
        help="Orders that only the daily re-read of their shop has found",
        zh="只有每日重读才发现的订单",
        labels=(_SOURCE,),
    ),
    Metric(
        name="ordergate_attempt_seconds",
        kind="histogram",
        help="Time of one attempt, from the request to its outcome",
        zh="一次尝试的耗时，从请求到结果",
        labels=_GATE,
        buckets=_FAST_S,
    ),
    Metric(
        name="ordergate_end_to_end_seconds",
        kind="histogram",
        help="Time from taking an order's event to the target's acknowledgement",
        zh="从收到订单事件到对方确认的时间",
        labels=_GATE,
        buckets=_SLOW_S,
    ),
    Metric(
        name="ordergate_decision_lag_seconds",
        kind="histogram",
        help="Time from taking an event to the commit of the decision on it",
        zh="从收到事件到其裁决提交的时间",
        labels=(_CONNECTION,),
        buckets=_SLOW_S,
    ),
    Metric(
        name="ordergate_batch_commit_seconds",
        kind="histogram",
        help="Time of one batch of intake, from its first read to the commit",
        zh="一个接收批次的耗时，从首次读取到提交",
        labels=(_LEG,),
        buckets=_FAST_S,
    ),
    Metric(
        name="ordergate_gate_state",
        kind="gauge",
        help="Workers whose breaker of this gate is in this state",
        zh="本闸门熔断器处于该状态的工作进程数",
        labels=(*_GATE, Label("state", _values(GateState))),
    ),
    Metric(
        name="ordergate_gate_held_deliveries",
        kind="gauge",
        help="Deliveries held in memory, waiting for the gate or in flight",
        zh="内存中等待闸门或在途的下发",
        labels=_GATE,
    ),
    Metric(
        name="ordergate_gate_limit_requests",
        kind="gauge",
        help="Most requests in flight at once, as the limit of this gate stands now",
        zh="本闸门当前允许的最大在途请求数",
        labels=_GATE,
    ),
    Metric(
        name="ordergate_connection_state",
        kind="gauge",
        help="1 for the state a connection is in, 0 for the others",
        zh="连接所处的状态为 1，其余为 0",
        labels=(_CONNECTION, Label("state", _values(ConnectionState))),
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_pull_read_to_timestamp_seconds",
        kind="gauge",
        help="Everything that changed at a polled shop up to this instant is durable here",
        zh="该店铺截至此刻的变更都已落盘（Unix 时间）",
        labels=(_SOURCE,),
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_pull_allowed_age_seconds",
        kind="gauge",
        help="How far behind now a polled shop may be read: `every_s` and `delay_s` of its settings, and 15 minutes",
        zh="该店铺的已读时刻最多可落后多久：设置的 `every_s` 与 `delay_s`，再加 15 分钟",
        labels=(_SOURCE,),
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_lanes",
        kind="gauge",
        help="Lanes in the database: open (all), parked (waiting for their time), blocked (waiting for a person)",
        zh="数据库中的通道：open 全部，parked 等待到时，blocked 等人处理",
        labels=(_TARGET, Label("state", _values(LaneState))),
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_oldest_waiting_seconds",
        kind="gauge",
        help="Age of the oldest delivery that is neither done nor waiting for a person",
        zh="最久未完成（且不是在等人处理）的下发已等待的时间",
        labels=(_TARGET,),
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_inbox_rows",
        kind="gauge",
        help="Events in the inbox that are not decided",
        zh="收件箱中未裁决的事件",
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_inbox_oldest_seconds",
        kind="gauge",
        help="Age of the oldest event in the inbox that is not decided; 0 when there is none",
        zh="收件箱中最早的未裁决事件已等待的时间；没有时为 0",
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_dead_letters_open",
        kind="gauge",
        help="Dead letters that wait for a person",
        zh="等待人处理的死信",
        labels=(_SOURCE,),
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_levels_refused",
        kind="gauge",
        help="Listings whose stock level the shop refuses: it sells by an older one",
        zh="店铺拒收库存的商品：仍按原来的数量销售",
        labels=(_CONNECTION,),
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_ship_by_near_orders",
        kind="gauge",
        help="Orders that no warehouse has less than notices.ship_by_lead_s before the shop's latest time to ship",
        zh="距最晚发货时间不足 notices.ship_by_lead_s 而还没到仓库的订单",
        labels=(_CONNECTION,),
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_ship_by_past_orders",
        kind="gauge",
        help="Orders that no warehouse has after the shop's latest time to ship",
        zh="已过最晚发货时间而还没到仓库的订单",
        labels=(_CONNECTION,),
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_ledger_off",
        kind="gauge",
        help="Balances (SKU and warehouse) that are not the sum of their movements",
        zh="与库存变动之和不符的库存（SKU × 仓库）",
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_notice_untold_seconds",
        kind="gauge",
        help="Age of the oldest notice that no channel has taken",
        zh="最久没有任何渠道收下的通知已等待的时间",
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_clock_skew_seconds",
        kind="gauge",
        help="By how much this machine's clock is ahead of a connection's; below zero it is behind",
        zh="本机时钟比该连接的时钟快多少；为负则慢",
        labels=(_CONNECTION,),
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_database_clock_skew_seconds",
        kind="gauge",
        help="By how much this machine's clock is ahead of the database's; below zero it is behind",
        zh="本机时钟比数据库的时钟快多少；为负则慢",
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_intake_lag_events",
        kind="gauge",
        help="Events on a leg that no worker has decided",
        zh="通道上尚未裁决的事件",
        labels=(_LEG,),
    ),
    Metric(
        name="ordergate_leg_up",
        kind="gauge",
        help="1 while every worker can make events durable on this leg, else 0; the inbox by the last event it got",
        zh="所有工作进程都能在该通道落盘时为 1，否则为 0；收件箱以交给它的最后一个事件为准",
        labels=(_LEG,),
        across="livemin",
    ),
    Metric(
        name="ordergate_config_hash",
        kind="gauge",
        help="A number made of the configuration that orders are decided and sent by, secrets left out",
        zh="由订单判断和下发所依据的配置（不含密钥）算出的数",
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_workers",
        kind="gauge",
        help="Worker processes that run; 0 when none does",
        zh="正在运行的工作进程；一个也没有时为 0",
    ),
    Metric(
        name="ordergate_workers_wanted",
        kind="gauge",
        help="Worker processes that should be there, as `ordergate run --workers` says",
        zh="应有的工作进程（ordergate run --workers）",
        across="livemostrecent",
    ),
    Metric(
        name="ordergate_worker_restarts_total",
        kind="counter",
        help="Workers that ended and are started again, by how they ended",
        zh="结束后被重新拉起的工作进程，按结束方式",
        labels=(Label("end", _values(WorkerEnd)),),
    ),
    Metric(
        name="ordergate_worker_alive_timestamp_seconds",
        kind="gauge",
        help="When the worker that has been silent for longest last ran its loop with a lease in hand (Unix time)",
        zh="沉默最久的工作进程最后一次持租约运行的时刻（Unix 时间）",
        across="livemin",
    ),
    Metric(
        name="ordergate_worker_cpu_seconds_total",
        kind="counter",
        help="CPU time of the workers",
        zh="工作进程的 CPU 时间",
    ),
    Metric(
        name="ordergate_worker_memory_bytes",
        kind="gauge",
        help="Resident memory of the workers",
        zh="工作进程的常驻内存",
    ),
    Metric(
        name="ordergate_purged_rows_total",
        kind="counter",
        help="Rows removed by age, and as `reduced` orders that stay without their buyer",
        zh="按保留期清除的行；`reduced` 为保留订单、去掉买家信息",
        labels=(Label("table", PURGED_TABLES),),
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

    def pull_allowed_age(self, source: str, age_s: float) -> None:
        """So far behind now may a polled shop be read."""
        self._metrics.gauge("ordergate_pull_allowed_age_seconds", source).set(age_s)

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

    def inbox(self, rows: float, *, oldest_s: float) -> None:
        """Events in the inbox, and the age of the oldest; 0 when there is none."""
        self._metrics.gauge("ordergate_inbox_rows").set(rows)
        self._metrics.gauge("ordergate_inbox_oldest_seconds").set(oldest_s)

    def dead_letters_open(self, counts: Mapping[str, int]) -> None:
        """Per source, the dead letters waiting for a person; a source left out has none."""
        self._snapshot("ordergate_dead_letters_open", {(source,): n for source, n in counts.items()})

    def levels_refused(self, counts: Mapping[str, int]) -> None:
        """Per shop, the listings whose level it refuses; a shop left out has none."""
        self._snapshot("ordergate_levels_refused", {(shop,): n for shop, n in counts.items()})

    def near_ship_by(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Per shop, and `PAST` or nothing, the orders near their latest time to ship; what is left out has none."""
        for name, wanted in (("ordergate_ship_by_near_orders", ""), ("ordergate_ship_by_past_orders", PAST)):
            self._snapshot(name, {(shop,): n for (shop, over), n in counts.items() if over == wanted})

    def ledger_off(self, balances: float) -> None:
        """Balances that are not the sum of their movements, by the last check."""
        self._metrics.gauge("ordergate_ledger_off").set(balances)

    def config_hash(self, number: int) -> None:
        """Of the file that this process has read; below 2⁵³."""
        self._metrics.gauge("ordergate_config_hash").set(number)

    def backlog_unknown(self) -> None:
        """This process reads the database's picture no longer: what it showed last is not the state now.

        Not a number instead of zero: `max` over several machines then takes the one that knows.
        """
        for name, seen in self._seen.items():
            for labels in seen:
                self._metrics.gauge(name, *labels).set(math.nan)
        self.inbox(math.nan, oldest_s=math.nan)
        self.ledger_off(math.nan)

    def notices_untold(self, age_s: float) -> None:
        self._metrics.gauge("ordergate_notice_untold_seconds").set(age_s)

    def clock_skew(self, connection: str, ahead_s: float) -> None:
        """Our clock is so far ahead of a connection's; not a number: not known any more."""
        self._metrics.gauge("ordergate_clock_skew_seconds", connection).set(ahead_s)

    def database_clock_skew(self, ahead_s: float) -> None:
        self._metrics.gauge("ordergate_database_clock_skew_seconds").set(ahead_s)

    def intake_lag(self, leg: Leg, events: int) -> None:
        """Events that this worker has still to decide on `leg` (its own partitions)."""
        self._metrics.gauge("ordergate_intake_lag_events", leg.value).set(events)

    def leg_up(self, leg: Leg, up: bool) -> None:
        """Whether this worker can make events durable on a leg that is configured."""
        self._metrics.gauge("ordergate_leg_up", leg.value).set(up)

    def worker(self, *, alive_at: float | None, cpu_s: float, memory_bytes: int) -> None:
        """This worker runs: since when it was last sure of its lease (None: not now), `cpu_s` more than last time."""
        self._metrics.gauge("ordergate_workers").set(1)
        if alive_at is not None:
            self._metrics.gauge("ordergate_worker_alive_timestamp_seconds").set(alive_at)
        self._metrics.counter("ordergate_worker_cpu_seconds_total").inc(cpu_s)
        self._metrics.gauge("ordergate_worker_memory_bytes").set(memory_bytes)

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


class ParentMetrics:
    """The parent's own metrics: how many workers there should be, and its restarts. Once per process, which has no
    other metric of ours."""

    def __init__(self, wanted: int) -> None:
        declared = {metric.name: metric for metric in METRICS}
        for name, workers in (("ordergate_workers_wanted", wanted), ("ordergate_workers", 0)):
            # Every worker adds itself to `ordergate_workers`; the parent's 0 is what is left when none does.
            metric = declared[name]
            Gauge(name, metric.help, multiprocess_mode=metric.across).set(workers)
        metric = declared["ordergate_worker_restarts_total"]
        self._restarts = Counter(metric.name, metric.help, _names(metric))
        for end in WorkerEnd:
            # From the start: what appears with a 1 has not risen, for Prometheus.
            self._restarts.labels(end.value)

    def restarted(self, end: WorkerEnd) -> None:
        self._restarts.labels(end.value).inc()


def metrics_page(registry: CollectorRegistry = REGISTRY) -> bytes:
    """The metrics in the text format 0.0.4 of Prometheus; of all workers where several run."""
    if os.environ.get(VARIABLE):
        registry = CollectorRegistry()
        _Files(registry)  # type: ignore[no-untyped-call]
    with SETTLED:
        return prometheus_client.generate_latest(registry)


class _Files(MultiProcessCollector):
    """The files of all processes, without those that a process has just made, or was killed over: there is nothing in
    them yet, and over one of them the library would give no page at all."""

    def collect(self) -> Iterable[prometheus_client.Metric]:
        files = [str(file) for file in Path(os.environ[VARIABLE]).glob("*.db") if _size(file)]
        merged: Iterable[prometheus_client.Metric] = self.merge(files, accumulate=True)  # type: ignore[no-untyped-call]
        return merged


def _size(file: Path) -> int:
    """0 where it has just been removed."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


_CODE_FORM = re.compile(r"[A-Za-z0-9_.:-]{1,40}")
_LONG_NUMBER = re.compile(r"[0-9]{6}")


def _of(kind: str) -> list[Metric]:
    return [metric for metric in METRICS if metric.kind == kind]


def _names(metric: Metric) -> tuple[str, ...]:
    return tuple(label.name for label in metric.labels)
