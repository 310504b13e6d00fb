"""What a run found: a table for people and one JSON object for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from bench.baselines import Bound
from bench.scenario import Flow, Paced, Plan
from bench.trials import Trial


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario of the gateway and the bounds that were measured around it."""

    plan: Plan
    flow: Flow
    paced: Paced | None
    bounds: dict[str, Bound]

    def ratio(self, kind: str) -> float | None:
        bound = self.bounds.get(kind)
        return None if bound is None else self.flow.orders_per_s / bound.orders_per_s

    @property
    def bound_orders_per_s(self) -> float:
        """What could have come of it with all workers' CPUs busy, or with as many requests in flight as may be.

        One worker that takes 0.25 CPU seconds for 1,000 orders: 4,000; with 32 in flight at 20 ms: min(1,600, 4,000).
        """
        plan = self.plan
        cpu_bound = plan.workers / self.flow.cpu_s_per_1000["gateway"] * 1000
        if plan.latency_ms > 0:
            return min(plan.workers * plan.in_flight / plan.latency_ms * 1000, cpu_bound)  # `in_flight` is per worker
        return cpu_bound

    @property
    def ratio_bound(self) -> float:
        return self.flow.orders_per_s / self.bound_orders_per_s


def table(results: Sequence[Result]) -> str:
    """Rows of the gateway, each followed by its bounds."""
    grid = Table(title="Orders through the whole path", title_justify="left")
    for column in (
        "what", "orders\n/s", "recorded\n/s", "CPU s\n/1000", "PostgreSQL", "Kafka", "sink", "peak\nMB", "p50\nms",
        "p99\nms", "bound", "of\nbound", "of\nlimit", "of\naiohttp", "of\nnaive",
    ):  # fmt: skip
        grid.add_column(column, justify="left" if column == "what" else "right")
    for result in results:
        flow, paced, cpu = result.flow, result.paced, result.flow.cpu_s_per_1000
        grid.add_row(
            f"ordergate, {result.plan.name}",
            f"{flow.orders_per_s:,.0f}",
            f"{flow.recorded_per_s:,.0f}",
            *(f"{cpu[who]:.3f}" for who in ("gateway", "postgres", "kafka", "sink")),
            f"{flow.peak_mb:.0f}",
            "" if paced is None else f"{paced.p50_ms:.1f}",
            "" if paced is None else f"{paced.p99_ms:.1f}",
            f"{result.bound_orders_per_s:,.0f}",
            f"{result.ratio_bound:.2f}",
            *(
                "" if (ratio := result.ratio(kind)) is None else f"{ratio:.2f}"
                for kind in ("limit", "aiohttp", "naive")
            ),
        )
        for kind, bound in result.bounds.items():
            grid.add_row(
                f"  {kind}", f"{bound.orders_per_s:,.0f}", "", f"{bound.cpu_s_per_1000:.3f}", "", "", "",
                f"{bound.peak_mb:.0f}",
            )  # fmt: skip
    console = Console(width=160)
    with console.capture() as capture:
        console.print(grid)
    return capture.get()


def line(trial: Trial) -> str:
    """``backlog: events 1000000, peak_mb 310.0; NOT KEPT: peak_mb 310.0 is not below 300``."""
    found = f"{trial.name}: " + ", ".join(f"{name} {value}" for name, value in trial.figures.items())
    return "; ".join([found, *(f"NOT KEPT: {broken}" for broken in trial.broken)])


def as_json(results: Sequence[Result], trials: Sequence[Trial] = ()) -> dict[str, Any]:
    """``{"scenarios": [...]}``, and "trials" if there were any; what was not measured is null."""
    found: dict[str, Any] = {"scenarios": [_scenario(result) for result in results]}
    if trials:
        found["trials"] = {trial.name: {**trial.figures, "not_kept": trial.broken} for trial in trials}
    return found


def _scenario(result: Result) -> dict[str, Any]:
    flow, paced, plan = result.flow, result.paced, result.plan
    return {
        "name": plan.name,
        "workers": plan.workers,
        "latency_ms": plan.latency_ms,
        "orders_per_s": round(flow.orders_per_s, 1),
        "cpu_s_per_1000": round(flow.cpu_s_per_1000["gateway"], 4),
        "peak_mb": round(flow.peak_mb, 1),
        "p50_ms": None if paced is None else round(paced.p50_ms, 2),
        "p99_ms": None if paced is None else round(paced.p99_ms, 2),
        **{
            f"ratio_{kind}": None if (ratio := result.ratio(kind)) is None else round(ratio, 3)
            for kind in ("limit", "aiohttp", "naive")
        },
        "bound_orders_per_s": round(result.bound_orders_per_s, 1),
        "ratio_bound": round(result.ratio_bound, 3),
        "in_flight": plan.in_flight,
        "orders": plan.count,
        "recorded_per_s": round(flow.recorded_per_s, 1),
        "postgres_cpu_s_per_1000": round(flow.cpu_s_per_1000["postgres"], 4),
        "kafka_cpu_s_per_1000": round(flow.cpu_s_per_1000["kafka"], 4),
        "bounds": {kind: msgspec.to_builtins(bound) for kind, bound in result.bounds.items()},
    }
