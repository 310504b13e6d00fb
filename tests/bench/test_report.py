"""The last line of `--json` is read by programs."""

from __future__ import annotations

import json

import pytest

from bench import report
from bench.baselines import Bound
from bench.scenario import Flow, Paced, Plan
from bench.trials import Trial, cost_broken, flow_broken, memory_broken


def result(*, workers: int = 1, latency_ms: float, in_flight: int, orders_per_s: float, cpu_s: float) -> report.Result:
    cost = {"gateway": cpu_s, "postgres": 0.05, "kafka": 0.03, "sink": 0.01}
    return report.Result(
        plan=Plan(name="one", workers=workers, latency_ms=latency_ms, count=100, in_flight=in_flight, paced_s=0),
        flow=Flow(orders_per_s=orders_per_s, recorded_per_s=orders_per_s, cpu_s_per_1000=cost, peak_mb=150),
        paced=None,
        bounds={},
    )


def test_a_scenario_names_every_figure_and_its_ratios() -> None:
    cost = {"gateway": 0.1, "postgres": 0.05, "kafka": 0.03, "sink": 0.01}
    result = report.Result(
        plan=Plan(name="one", workers=1, latency_ms=0, count=100, in_flight=32, paced_s=1),
        flow=Flow(orders_per_s=5000, recorded_per_s=4900, cpu_s_per_1000=cost, peak_mb=150),
        paced=Paced(rate_per_s=2500, p50_ms=20, p99_ms=90),
        bounds={"limit": Bound(10_000, 0.04, 80), "naive": Bound(2500, 0.2, 60)},
    )
    (found,) = json.loads(json.dumps(report.as_json([result])))["scenarios"]
    wanted = {
        "name": "one", "workers": 1, "latency_ms": 0, "orders_per_s": 5000, "cpu_s_per_1000": 0.1, "peak_mb": 150,
        "p50_ms": 20, "p99_ms": 90, "ratio_limit": 0.5, "ratio_aiohttp": None, "ratio_naive": 2.0,
    }  # fmt: skip
    assert {key: found[key] for key in wanted} == wanted
    assert "ordergate, one" in report.table([result])


@pytest.mark.parametrize(
    ("workers", "latency_ms", "in_flight", "cpu_s", "bound"),
    [
        (1, 0, 32, 0.25, 4000),
        (1, 20, 32, 0.25, 1600),
        (1, 20, 128, 0.25, 4000),
        (1, 100, 256, 0.25, 2560),
        (2, 20, 32, 0.25, 3200),
        (2, 20, 128, 0.25, 8000),
    ],
)
def test_the_bound_is_the_cpus_or_the_requests_in_flight(
    workers: int, latency_ms: float, in_flight: int, cpu_s: float, bound: float
) -> None:
    one = result(workers=workers, latency_ms=latency_ms, in_flight=in_flight, orders_per_s=1200, cpu_s=cpu_s)
    (found,) = report.as_json([one])["scenarios"]
    assert (found["bound_orders_per_s"], found["ratio_bound"]) == (bound, round(1200 / bound, 3))
    (row,) = (line for line in report.table([one]).splitlines() if "ordergate, one" in line)
    assert f"│ {bound:,} │" in " ".join(row.split()), "no cell is cut short"


def test_a_trial_says_which_limit_it_broke() -> None:
    broken = Trial("backlog", {"events": 5, "peak_mb": 300.0}, memory_broken(300.0))
    assert report.line(broken) == "backlog: events 5, peak_mb 300.0; NOT KEPT: peak_mb 300.0 is not below 300"
    kept = Trial("kill -9 of the worker", {"flows_again_s": 2.0}, flow_broken(2.0))
    assert report.line(kept) == "kill -9 of the worker: flows_again_s 2.0"
    assert report.as_json([], [broken, kept])["trials"] == {
        "backlog": {"events": 5, "peak_mb": 300.0, "not_kept": ("peak_mb 300.0 is not below 300",)},
        "kill -9 of the worker": {"flows_again_s": 2.0, "not_kept": ()},
    }


def test_the_limits_of_the_trials() -> None:
    assert not (memory_broken(299.9) or flow_broken(5.0) or cost_broken(1.3))
    assert memory_broken(300.0) and flow_broken(5.001) and cost_broken(1.3001)
