"""The board "channels → gateway → targets" as data, and its JSON: `./dev generate` writes ``grafana/dashboards``.

A panel is a title in both languages, its queries, and where it stands follows from the order. Edit here, not the JSON:
a test holds the two together, and another runs every query against a real Prometheus that scrapes a real gateway.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "dashboards" / "ordergate.json"
SCHEMA_VERSION = 39
"""Of Grafana 11; later ones read it and bring it up."""

_COLUMNS = 24
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Query:
    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """`kind`: stat, timeseries or state-timeline. `reads` is what to look for, for whoever is on call."""

    zh: str
    en: str
    reads: str
    queries: Sequence[Query]
    kind: str = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 7
    stacked: bool = False
    steps: Sequence[tuple[float | None, str]] = ()
    mappings: Sequence[tuple[str, str, str]] = field(default=())

    @property
    def title(self) -> str:
        return f"{self.zh} {self.en}"


@dataclass(frozen=True, slots=True)
class Row:
    zh: str
    en: str
    panels: Sequence[Panel]

    @property
    def title(self) -> str:
        return f"{self.zh} {self.en}"


JOB = 'job="$job"'
SOURCE = f'{JOB},source=~"$source"'
CONNECTION = f'{JOB},connection=~"$source"'
TARGET = f'{JOB},target=~"$target"'
_GREEN_RED = ((None, "green"), (1, "red"))


def _per_minute(metric: str, selector: str, by: str = "") -> str:
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{{selector}}}[$__rate_interval])) * 60"


def _quantile(share: float, metric: str, selector: str, by: str) -> str:
    return f"histogram_quantile({share}, sum by ({by}, le) (rate({metric}_bucket{{{selector}}}[$__rate_interval])))"


def _state(state: str, number: int) -> str:
    return f'(max by (target, operation) (ordergate_gate_state{{{TARGET},state="{state}"}}) > 0) * 0 + {number}'


OVERVIEW = Row(
    "总览",
    "Overview",
    (
        Panel(
            "每分钟进单",
            "In per minute",
            "落盘并已答复发送方的事件。Events made durable and answered.",
            (Query(_per_minute("ordergate_events_accepted_total", JOB)),),
            kind="stat",
            width=3,
            height=4,
        ),
        Panel(
            "每分钟送达",
            "Delivered per minute",
            "对方已确认的下发。Deliveries that a target has acknowledged.",
            (Query(_per_minute("ordergate_attempts_total", f'{JOB},result=~"done|found"')),),
            kind="stat",
            width=3,
            height=4,
        ),
        Panel(
            "最久等待",
            "Oldest waiting",
            "全部目标和收件箱中等得最久的一条。The oldest of all deliveries and of what is in the inbox.",
            (Query(f"max(ordergate_oldest_waiting_seconds{{{JOB}}} or ordergate_inbox_oldest_seconds{{{JOB}}})"),),
            kind="stat",
            unit="s",
            width=3,
            height=4,
            steps=((None, "green"), (60, "yellow"), (600, "red")),
        ),
        Panel(
            "不可用的闸门",
            "Gates not closed",
            "熔断器打开或半开的闸门。Gates whose breaker is open or half open.",
            (
                Query(
                    'count(max by (target, operation) (ordergate_gate_state{job="$job",state=~"open|half_open"}) > 0)'
                    " or vector(0)"
                ),
            ),
            kind="stat",
            width=3,
            height=4,
            steps=_GREEN_RED,
        ),
        Panel(
            "等人处理",
            "Wait for a person",
            "被拒或结果不明而停住的下发。Deliveries blocked until somebody decides.",
            (Query(f'sum(max by (target) (ordergate_lanes{{{JOB},state="blocked"}}))'),),
            kind="stat",
            width=3,
            height=4,
            steps=((None, "green"), (1, "yellow")),
        ),
        Panel(
            "死信",
            "Dead letters",
            "未处理的死信。Dead letters that are open.",
            (Query(f"sum(max by (source) (ordergate_dead_letters_open{{{JOB}}})) or vector(0)"),),
            kind="stat",
            width=3,
            height=4,
            steps=((None, "green"), (1, "yellow")),
        ),
        Panel(
            "缺少的工作进程",
            "Workers missing",
            "应有减现有。Wanted less those that are there.",
            (Query(f"sum(ordergate_workers_wanted{{{JOB}}}) - sum(ordergate_workers{{{JOB}}})"),),
            kind="stat",
            width=3,
            height=4,
            steps=_GREEN_RED,
        ),
        Panel(
            "触发中的告警",
            "Alerts firing",
            "不含常亮的 Watchdog。Without the watchdog, which fires always.",
            (
                Query(
                    'count(ALERTS{alertname=~"Ordergate.*",alertstate="firing",severity!="none"}) or vector(0)',
                ),
            ),
            kind="stat",
            width=3,
            height=4,
            steps=_GREEN_RED,
        ),
    ),
)

CHANNELS = Row(
    "渠道",
    "Channels",
    (
        Panel(
            "每分钟收到",
            "Events in per minute",
            "每个渠道落盘的事件；店铺在卖而此处为零就是断流。Zero while the shop sells: its events do not come.",
            (Query(_per_minute("ordergate_events_accepted_total", SOURCE, "source"), "{{source}}"),),
        ),
        Panel(
            "每分钟裁决",
            "Orders decided per minute",
            "应当跟随左图。Follows the panel beside it; less means that intake is behind.",
            (Query(_per_minute("ordergate_orders_decided_total", CONNECTION, "connection"), "{{connection}}"),),
        ),
        Panel(
            "裁决延迟 p95",
            "Decision lag p95",
            "从收到到裁决提交。From taking an event to the commit of the decision.",
            (Query(_quantile(0.95, "ordergate_decision_lag_seconds", CONNECTION, "connection"), "{{connection}}"),),
            unit="s",
        ),
        Panel(
            "进入阶段",
            "Stages entered per minute",
            "订单流向；conflict 与 received 增多须查看。Where orders go; more in conflict or received wants a look.",
            (Query(_per_minute("ordergate_orders_moved_total", CONNECTION, "stage"), "{{stage}}"),),
            stacked=True,
        ),
        Panel(
            "等待原因",
            "Held per minute, by reason",
            "停在 received 的订单及原因。Orders that wait, and why.",
            (
                Query(
                    _per_minute("ordergate_orders_held_total", CONNECTION, "connection, reason"),
                    "{{connection}} {{reason}}",
                ),
                Query(
                    _per_minute("ordergate_order_conflicts_total", CONNECTION, "connection, conflict"),
                    "{{connection}} conflict {{conflict}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "未处理死信",
            "Dead letters open",
            "每条都挡住它那一单后面的事件。Each holds back later events of its order.",
            (Query(f"max by (source) (ordergate_dead_letters_open{{{SOURCE}}})", "{{source}}"),),
        ),
        Panel(
            "拒收与新死信",
            "Refused and set aside per minute",
            "签名不对、太大、无法解析。Bad signatures, too large, not to be read.",
            (
                Query(
                    _per_minute("ordergate_events_refused_total", SOURCE, "source, code"),
                    "{{source}} 拒收 refused {{code}}",
                ),
                Query(
                    _per_minute("ordergate_dead_letters_total", SOURCE, "source, code"),
                    "{{source}} 死信 dead letter {{code}}",
                ),
            ),
            width=12,
        ),
        Panel(
            "重复事件与新指令",
            "Duplicates and commands per minute",
            "重复是正常的：它们没有第二次效果。Duplicates are normal: they have no second effect.",
            (
                Query(
                    _per_minute("ordergate_events_decided_total", CONNECTION, "connection"),
                    "{{connection}} 事件 events",
                ),
                Query(
                    _per_minute("ordergate_events_duplicate_total", CONNECTION, "connection"),
                    "{{connection}} 重复 duplicates",
                ),
                Query(
                    _per_minute("ordergate_commands_planned_total", CONNECTION, "connection"),
                    "{{connection}} 指令 commands",
                ),
            ),
            width=12,
        ),
        Panel(
            "轮询落后",
            "Polled shops behind",
            "距已读到的时刻；超过平台延迟就是落后。How far behind a polled shop is read.",
            (
                Query(
                    f"time() - max by (source) (ordergate_pull_read_to_timestamp_seconds{{{SOURCE}}})",
                    "{{source}}",
                ),
                Query(f"max by (source) (ordergate_pull_allowed_age_seconds{{{SOURCE}}})", "{{source}} 容许 allowed"),
            ),
            unit="s",
        ),
        Panel(
            "每分钟轮询",
            "Windows read and questions failed per minute",
            "失败按平台原因。Failures by the platform's reason.",
            (
                Query(_per_minute("ordergate_pull_windows_total", SOURCE, "source"), "{{source}} 窗口 windows"),
                Query(
                    _per_minute("ordergate_pull_failures_total", SOURCE, "source, code"),
                    "{{source}} 失败 failed {{code}}",
                ),
            ),
        ),
        Panel(
            "重读补回的订单",
            "Orders found by the re-read, per day",
            "应为零；否则实时轮询漏了单。Should be zero, or polling misses orders.",
            (Query(f"sum by (source) (increase(ordergate_missed_orders_total{{{SOURCE}}}[1d]))", "{{source}}"),),
        ),
        Panel(
            "告知店铺的库存",
            "Stock levels told, per minute",
            "按结果，和被拒收的商品数（ordergate skus list --refused）。By outcome; and how many listings are refused.",
            (
                Query(
                    _per_minute("ordergate_levels_told_total", CONNECTION, "connection, result"),
                    "{{connection}} {{result}}",
                ),
                Query(f"max by (connection) (ordergate_levels_refused{{{CONNECTION}}})", "{{connection}} 拒收 refused"),
            ),
        ),
        Panel(
            "临近发货时限",
            "Near the time to ship",
            "没到仓库的订单，和已过时限的（ordergate orders list --near-ship-by）。No warehouse has them; past it.",
            (
                Query(f"max by (connection) (ordergate_ship_by_near_orders{{{CONNECTION}}})", "{{connection}}"),
                Query(
                    f"max by (connection) (ordergate_ship_by_past_orders{{{CONNECTION}}})", "{{connection}} 已过 past"
                ),
            ),
        ),
        Panel(
            "授权状态",
            "Authorisation",
            "失效的店铺须重新授权。A shop that is not authorised has to be authorised again.",
            (
                Query(
                    f'max by (connection) (ordergate_connection_state{{{CONNECTION},state="re_authorise"}})',
                    "{{connection}}",
                ),
            ),
            kind="state-timeline",
            width=24,
            height=4,
            mappings=(("0", "正常 good", "green"), ("1", "须重新授权 authorise again", "red")),
        ),
    ),
)

GATEWAY = Row(
    "网关",
    "Gateway",
    (
        Panel(
            "Kafka 与收件箱",
            "Kafka and inbox, events in per minute",
            "配置了 Kafka 时 inbox 应为零。With Kafka configured the inbox should be zero.",
            (Query(_per_minute("ordergate_events_accepted_total", SOURCE, "leg"), "{{leg}}"),),
            width=6,
            stacked=True,
        ),
        Panel(
            "未裁决的事件",
            "Events not decided",
            "Kafka 落后与收件箱行数。Kafka's lag and the rows of the inbox.",
            (
                Query(f"sum by (leg) (ordergate_intake_lag_events{{{JOB}}})", "{{leg}}"),
                Query(f"max(ordergate_inbox_rows{{{JOB}}})", "收件箱 inbox"),
            ),
            width=6,
        ),
        Panel(
            "收件箱最久等待",
            "Oldest in the inbox",
            "超过 10 分钟即告警。Beyond 10 minutes there is an alert.",
            (Query(f"max(ordergate_inbox_oldest_seconds{{{JOB}}})"),),
            unit="s",
            width=6,
        ),
        Panel(
            "Kafka 可用",
            "Kafka up",
            "每台网关能否写入 Kafka；未配置 Kafka 时为空。Whether a gateway can write to Kafka; empty without Kafka.",
            (Query(f'min by (instance) (ordergate_leg_up{{{JOB},leg="kafka"}})', "{{instance}}"),),
            kind="state-timeline",
            width=6,
            mappings=(("0", "不可用 down", "red"), ("1", "可用 up", "green")),
        ),
        Panel(
            "批次提交 p95",
            "Batch commit p95",
            "变长说明数据库跟不上。Growing means that the database does not keep up.",
            (Query(_quantile(0.95, "ordergate_batch_commit_seconds", JOB, "leg"), "{{leg}}"),),
            unit="s",
        ),
        Panel(
            "每分钟批内事件",
            "Events in batches per minute",
            "接收的吞吐。What intake gets through.",
            (Query(_per_minute("ordergate_batch_events_total", JOB, "leg"), "{{leg}}"),),
        ),
        Panel(
            "内部故障",
            "Troubles per minute",
            "已被控制住的内部故障。Failures inside that were contained.",
            (Query(_per_minute("ordergate_troubles_total", JOB, "where"), "{{where}}"),),
        ),
        Panel(
            "库存账不平",
            "Ledger off",
            "与变动之和不符的库存，应为零（stock list --off）。Balances that are not the sum of their movements.",
            (Query(f"max(ordergate_ledger_off{{{JOB}}})"),),
        ),
        Panel(
            "工作进程",
            "Workers",
            "现有、应有，10 分钟内的重启；各网关共用几份配置，应为一份。Those that are there and should be; restarts"
            " within 10 minutes; how many configurations the gateways go by, which should be one.",
            (
                Query(f"sum by (instance) (ordergate_workers{{{JOB}}})", "{{instance}} 现有 there"),
                Query(f"sum by (instance) (ordergate_workers_wanted{{{JOB}}})", "{{instance}} 应有 wanted"),
                Query(
                    f"sum by (instance, end) (increase(ordergate_worker_restarts_total{{{JOB}}}[10m]))",
                    "{{instance}} 重启 restarts ({{end}})",
                ),
                Query(f'count(count_values("hash", ordergate_config_hash{{{JOB}}}))', "配置 configurations"),
            ),
            width=6,
        ),
        Panel(
            "工作进程沉默时间",
            "Silence of the slowest worker",
            "超过 60 秒即告警。Beyond 60 s there is an alert.",
            (Query(f"time() - min by (instance) (ordergate_worker_alive_timestamp_seconds{{{JOB}}})", "{{instance}}"),),
            unit="s",
            width=6,
        ),
        Panel(
            "CPU（核）",
            "CPU (cores)",
            "每个工作进程最多一核。A worker takes one core at most.",
            (
                Query(
                    f"sum by (instance) (rate(ordergate_worker_cpu_seconds_total{{{JOB}}}[$__rate_interval]))",
                    "{{instance}}",
                ),
            ),
            width=6,
        ),
        Panel(
            "内存",
            "Memory",
            "应当平稳。Should be flat.",
            (Query(f"sum by (instance) (ordergate_worker_memory_bytes{{{JOB}}})", "{{instance}}"),),
            unit="bytes",
            width=6,
        ),
        Panel(
            "连接状态变化",
            "Changes of connections per hour",
            "暂停、恢复、授权失效。Paused, resumed, authorisation lost.",
            (
                Query(
                    f"sum by (connection, state) (increase(ordergate_connection_changes_total{{{JOB}}}[1h]))",
                    "{{connection}} {{state}}",
                ),
            ),
        ),
        Panel(
            "发给人的消息",
            "Messages to people per minute",
            "throttled 会稍后再发。What is throttled is sent later.",
            (
                Query(
                    _per_minute("ordergate_notice_messages_total", JOB, "connection, result"),
                    "{{connection}} {{result}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "通知：最久未送达与值守",
            "Notices: oldest untold, and looks per second",
            "looks 应为 1；未送达应为 0。Looks should be 1, untold 0.",
            (
                Query(f"max(ordergate_notice_untold_seconds{{{JOB}}})", "未送达（秒）untold, s"),
                Query(f"sum(rate(ordergate_notice_looks_total{{{JOB}}}[$__rate_interval]))", "值守 looks/s"),
            ),
        ),
        Panel(
            "时钟偏差",
            "Clocks apart",
            "本机快多少；超过 8 秒即告警。How far this machine is ahead; beyond 8 s there is an alert.",
            (
                Query(
                    f"max by (instance, connection) (ordergate_clock_skew_seconds{{{JOB}}})",
                    "{{instance}} {{connection}}",
                ),
                Query(
                    f"max by (instance) (ordergate_database_clock_skew_seconds{{{JOB}}})",
                    "{{instance}} 数据库 database",
                ),
            ),
            unit="s",
            width=12,
            height=5,
        ),
        Panel(
            "清除的行",
            "Rows purged per minute",
            "按保留期清除，在低峰时段。Removed by age, off-peak.",
            (Query(_per_minute("ordergate_purged_rows_total", JOB, "table"), "{{table}}"),),
            width=12,
            height=5,
            stacked=True,
        ),
    ),
)

TARGETS = Row(
    "目标",
    "Targets",
    (
        Panel(
            "熔断器",
            "Breakers",
            "红色：订单在库中等待，不会丢。Red: orders wait in the database, none is lost.",
            (
                Query(
                    " or ".join(
                        (
                            _state("forced_open", 3),
                            _state("forced_closed", 4),
                            _state("open", 2),
                            _state("half_open", 1),
                            f'max by (target, operation) (ordergate_gate_state{{{TARGET},state="closed"}}) * 0',
                        )
                    ),
                    "{{target}} {{operation}}",
                ),
            ),
            kind="state-timeline",
            width=24,
            height=6,
            mappings=(
                ("0", "正常 closed", "green"),
                ("1", "试探 half open", "yellow"),
                ("2", "打开 open", "red"),
                ("3", "人工打开 held open", "purple"),
                ("4", "人工关闭 held closed", "blue"),
            ),
        ),
        Panel(
            "每分钟送达",
            "Delivered per minute",
            "对方已确认的。What the target has acknowledged.",
            (
                Query(
                    _per_minute("ordergate_attempts_total", f'{TARGET},result=~"done|found"', "target, operation"),
                    "{{target}} {{operation}}",
                ),
            ),
        ),
        Panel(
            "最久等待",
            "Oldest waiting",
            "不含等人处理的。Without what waits for a person.",
            (Query(f"max by (target) (ordergate_oldest_waiting_seconds{{{TARGET}}})", "{{target}}"),),
            unit="s",
        ),
        Panel(
            "端到端 p50 / p95",
            "End to end p50 / p95",
            "从收到订单到对方确认。From taking the order to the acknowledgement.",
            (
                Query(
                    _quantile(0.5, "ordergate_end_to_end_seconds", TARGET, "target, operation"),
                    "{{target}} {{operation}} p50",
                ),
                Query(
                    _quantile(0.95, "ordergate_end_to_end_seconds", TARGET, "target, operation"),
                    "{{target}} {{operation}} p95",
                ),
            ),
            unit="s",
        ),
        Panel(
            "每分钟尝试，按结果",
            "Attempts per minute, by result",
            "unknown 会先查询再重发。What is unknown is looked up before it is sent again.",
            (Query(_per_minute("ordergate_attempts_total", TARGET, "target, result"), "{{target}} {{result}}"),),
            stacked=True,
        ),
        Panel(
            "失败占比",
            "Share that fails",
            "失败、被拒、结果不明在发送中的占比。Failed, rejected and unknown among what was sent.",
            (
                Query(
                    "sum by (target, operation) (rate(ordergate_attempts_total"
                    f'{{{TARGET},result=~"failed|rejected|unknown"}}[$__rate_interval]))'
                    " / (sum by (target, operation) (rate(ordergate_attempts_total"
                    f'{{{TARGET},result=~"done|failed|rejected|unknown"}}[$__rate_interval])) > 0)',
                    "{{target}} {{operation}}",
                ),
            ),
            unit="percentunit",
        ),
        Panel(
            "返回代码（前 10）",
            "Codes, the ten most frequent, per minute",
            "适配器归类的原因。Reasons as the adapter tells them.",
            (
                Query(
                    f"topk(10, {_per_minute('ordergate_attempt_codes_total', TARGET, 'target, operation, code')})",
                    "{{target}} {{operation}} {{code}}",
                ),
            ),
        ),
        Panel(
            "通道",
            "Lanes",
            "open 全部，parked 等待到时，blocked 等人处理。All; those that wait for their time; for a person.",
            (Query(f"max by (target, state) (ordergate_lanes{{{TARGET}}})", "{{target}} {{state}}"),),
        ),
        Panel(
            "单次耗时 p95",
            "Attempt time p95",
            "对方有多慢。How slow the target is.",
            (
                Query(
                    _quantile(0.95, "ordergate_attempt_seconds", TARGET, "target, operation"),
                    "{{target}} {{operation}}",
                ),
            ),
            unit="s",
        ),
        Panel(
            "内存中的下发与在途上限",
            "Held in memory, and the limit in flight",
            "held 顶到上限后其余留在库中。Beyond the bound of held the rest waits in the database.",
            (
                Query(
                    f"sum by (target, operation) (ordergate_gate_held_deliveries{{{TARGET}}})",
                    "{{target}} {{operation}} held",
                ),
                Query(
                    f"sum by (target, operation) (ordergate_gate_limit_requests{{{TARGET}}})",
                    "{{target}} {{operation}} limit",
                ),
            ),
        ),
        Panel(
            "熔断器变化",
            "Breaker changes per hour",
            "反复开合说明目标不稳。Opening again and again means that the target is not steady.",
            (
                Query(
                    f"sum by (target, operation, state) (increase(ordergate_breaker_changes_total{{{TARGET}}}[1h]))"
                    " or label_replace(sum by (target, operation, state)"
                    f" (increase(ordergate_question_breaker_changes_total{{{TARGET}}}[1h])),"
                    ' "operation", "$1 核对 questions", "operation", "(.*)")',
                    "{{target}} {{operation}} {{state}}",
                ),
            ),
            width=24,
            height=5,
            stacked=True,
        ),
    ),
)

ROWS = (OVERVIEW, CHANNELS, GATEWAY, TARGETS)


def board() -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    return {
        "uid": "ordergate-flow",
        "title": "Ordergate 渠道 → 网关 → 目标 (channels → gateway → targets)",
        "description": "每个渠道的订单是否进来、是否处理、是否送达。Whether orders come in, are decided, and arrive.",
        "tags": ["ordergate"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "timezone": "browser",
        "time": {"from": "now-3h", "to": "now"},
        "annotations": {"list": [_alerts()]},
        "templating": {"list": list(_variables())},
        "panels": list(_placed()),
        "links": [],
    }


def text() -> str:
    return json.dumps(board(), ensure_ascii=False, indent=2) + "\n"


def _alerts() -> dict[str, Any]:
    return {
        "name": "告警 Alerts",
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"Ordergate.*",alertstate="firing",severity="critical"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{target}}{{source}}{{connection}}{{instance}}",
        "step": "60s",
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "数据源 Data source", "type": "datasource", "query": "prometheus"}
    choices = (
        ("job", "作业 Job", "label_values(ordergate_workers, job)"),
        ("source", "渠道 Channel", 'label_values(ordergate_events_accepted_total{job="$job"}, source)'),
        ("target", "目标 Target", 'label_values(ordergate_gate_state{job="$job"}, target)'),
    )
    for name, label, query in choices:
        many = name != "job"
        yield {
            "name": name,
            "label": label,
            "type": "query",
            "datasource": _SOURCE,
            "query": {"query": query, "refId": name},
            "definition": query,
            "refresh": 2,
            "sort": 1,
            "multi": many,
            "includeAll": many,
            # `.*` instead of a list: a channel that has said nothing yet must not be cut off.
            **({"allValue": ".*", "current": {"text": "All", "value": "$__all"}} if many else {}),
        }


def _placed() -> Iterator[dict[str, Any]]:
    number, top = 1, 0
    for row in ROWS:
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": _COLUMNS, "h": 1},
            "panels": [],
        }
        number, top = number + 1, top + 1
        left = tallest = 0
        for panel in row.panels:
            if left + panel.width > _COLUMNS:
                left, top, tallest = 0, top + tallest, 0
            yield _panel(panel, number, {"x": left, "y": top, "w": panel.width, "h": panel.height})
            number, left, tallest = number + 1, left + panel.width, max(tallest, panel.height)
        top += tallest


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.reads,
        "datasource": _SOURCE,
        "gridPos": place,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _SOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
                "instant": panel.kind == "stat",
                "range": panel.kind != "stat",
                "editorMode": "code",
            }
            for index, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _OPTIONS[panel.kind],
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps = [{"color": color, "value": value} for value, color in panel.steps or ((None, "blue"),)]
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "thresholds": {"mode": "absolute", "steps": steps},
        "noValue": "–",
    }
    if panel.mappings:
        options = {
            value: {"text": shown, "color": color, "index": index}
            for index, (value, shown, color) in enumerate(panel.mappings)
        }
        defaults["mappings"] = [{"type": "value", "options": options}]
    if panel.kind == "stat":
        defaults["decimals"] = 0
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 30 if panel.stacked else 8,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
    if panel.kind == "state-timeline":
        defaults["custom"] = {"fillOpacity": 80, "lineWidth": 0}
    return defaults


_OPTIONS: dict[str, dict[str, Any]] = {
    "stat": {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "background",
        "graphMode": "none",
        "textMode": "value",
        "justifyMode": "auto",
        "orientation": "auto",
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
    },
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "state-timeline": {
        "mergeValues": True,
        "showValue": "auto",
        "rowHeight": 0.85,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"},
    },
}


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text(), encoding="utf-8")
