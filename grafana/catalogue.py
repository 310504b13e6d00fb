"""The page of all metrics, docs/metrics.md, made of the code, the rules and the board: `./dev generate` writes it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import yaml

from gateway.telemetry.metrics import MAX_CODES, METRICS, OTHER, Domain, Label, Metric
from grafana.board import ROWS

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs" / "metrics.md"
RULES = ROOT / "deploy" / "prometheus" / "ordergate.rules.yml"

_HEAD = f"""\
# 指标 Metrics

由 `./dev generate` 从代码生成，请勿手改。Made from the code by `./dev generate`; do not edit.

地址：`http.metrics_listen` 的 `/metrics`，所有工作进程汇总在一页。标签只取下表的值，此外一律记为 `{OTHER}`；
标签里没有订单号、网址和买家信息。

One page for all workers. A label takes its values from the table, anything else becomes `{OTHER}`; no order number,
address or buyer data is ever a label.

- *connections*：配置中 `connections` 的名称。The names under `connections` in the configuration.
- *codes*：处理步骤与适配器的短代码，每个进程每个标签最多 {MAX_CODES} 个。
  Short codes of the steps and the adapters, at most {MAX_CODES} per label and process.
- 多机：来自数据库的指标（通道、最久等待、死信、被拒的库存、不平的账、发货时限、收件箱）只由一个进程给出，跨机取 `max`。
  Of several machines: what is read from the database is given by one process of all; take `max`.
"""

_KINDS = {"counter": "计数 counter", "gauge": "瞬时值 gauge", "histogram": "分布 histogram"}


def page() -> str:
    """The page as Markdown."""
    parts = [_HEAD]
    for metric in METRICS:
        parts.append(f"## {metric.name}\n\n{metric.zh}。{metric.help}.\n\n{_facts(metric)}\n")
    return "\n".join(parts)


def _facts(metric: Metric) -> str:
    lines = [f"- {_KINDS[metric.kind]}，单位 unit：{unit(metric.name)}"]
    lines += [f"- `{label.name}`：{_values(label)}" for label in metric.labels]
    if metric.buckets:
        lines.append("- 分桶上界 buckets：" + ", ".join(f"{bound:g}" for bound in metric.buckets))
    alerts, panels = alerts_with(metric.name), panels_with(metric.name)
    if alerts:
        lines.append("- 告警 alerts：" + ", ".join(f"[{name}]({page_})" for name, page_ in alerts))
    if panels:
        lines.append("- 看板 panels：" + "; ".join(panels))
    return "\n".join(lines)


def unit(name: str) -> str:
    """What one of it is, by its name."""
    stem = name.removesuffix("_total")
    for ending, words in (
        ("_timestamp_seconds", "Unix 时间（秒）seconds since 1970"),
        ("_seconds", "秒 seconds"),
        ("_bytes", "字节 bytes"),
        ("_state", "工作进程 workers"),
        ("_up", "0 或 1，0 or 1"),
    ):
        if stem.endswith(ending):
            return words
    return "个 pieces"


def alerts_with(metric: str) -> list[tuple[str, str]]:
    """(name, runbook as seen from docs/) of the alerts that look at the metric, straight or by a recorded series."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    looked_at = {metric, *(rule["record"] for rule in rules if "record" in rule and metric in names_in(rule["expr"]))}
    # A recorded series of a recorded series.
    looked_at |= {rule["record"] for rule in rules if "record" in rule and looked_at & names_in(rule["expr"])}
    return [
        (rule["alert"], rule["annotations"]["runbook"].removeprefix("docs/"))
        for rule in rules
        if "alert" in rule and looked_at & names_in(rule["expr"])
    ]


def panels_with(metric: str) -> list[str]:
    return [
        f"{row.title} / {panel.title}"
        for row in ROWS
        for panel in row.panels
        if any(metric in names_in(query.expr) for query in panel.queries)
    ]


def names_in(expr: str) -> set[str]:
    """Ordergate's series in an expression, of a histogram its name without the ending."""
    found: Iterable[str] = re.findall(r"\bordergate[_:][a-z0-9_:]+", expr)
    histograms = {metric.name for metric in METRICS if metric.kind == "histogram"}
    return {next((h for h in histograms if re.fullmatch(h + "_(bucket|sum|count)", name)), name) for name in found}


def _values(label: Label) -> str:
    if label.values is Domain.CONNECTIONS:
        return "*connections*"
    if label.values is Domain.CODES:
        return "*codes*"
    assert isinstance(label.values, tuple)
    return ", ".join(f"`{value}`" for value in label.values)


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
