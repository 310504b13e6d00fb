"""The last line of `--json` is read by programs."""

from __future__ import annotations

import json

from bench import report
from bench.baselines import Bound
from bench.scenario import Flow, Paced, Plan


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
