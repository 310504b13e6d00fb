"""``python -m bench``: orders/s, CPU, memory and latency of the gateway, beside what bounds it, in one run.

    topic → decode, review, stock locked, everything stored → one HTTP POST per order → outcome → offset

Real Kafka, real PostgreSQL with fsync on, `ordergate run` as users start it with metrics and logs on, orders of 1.2 KB.
In the same run and with the same bytes: `limit`, a bare loop of the HTTP client that the gateway uses; `aiohttp`, the
same with aiohttp; `naive`, the aiokafka + aiohttp forwarder that stores nothing.
"""

from __future__ import annotations

import argparse
import json
import sys

from bench import report
from bench.baselines import Baselines
from bench.machine import Machine
from bench.scenario import Plan, run


def plans(*, quick: bool, count: int, in_flight: int) -> list[Plan]:
    """`in_flight` grows with the latency, or the limit alone would bound the rate."""
    first = Plan(name="1 worker, 0 ms", workers=1, latency_ms=0, count=count, in_flight=in_flight, paced_s=8)
    if quick:
        return [first]
    return [
        first,
        Plan(name="1 worker, 20 ms", workers=1, latency_ms=20, count=count, in_flight=4 * in_flight, paced_s=8),
        Plan(name="1 worker, 100 ms", workers=1, latency_ms=100, count=count, in_flight=8 * in_flight, paced_s=8),
        Plan(name="2 workers, 20 ms", workers=2, latency_ms=20, count=count, in_flight=4 * in_flight, paced_s=8),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./dev bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one worker, 0 ms, 20,000 orders")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--count", type=int, default=None, help="orders per scenario (default 20,000 or 60,000)")
    parser.add_argument("--in-flight", type=int, default=32, help="at 0 ms; 4 and 8 times that at 20 and 100 ms")
    given = parser.parse_args()
    count = given.count or (20_000 if given.quick else 60_000)
    results = []
    with Machine() as machine:
        baselines = Baselines(machine)
        for plan in plans(quick=given.quick, count=count, in_flight=given.in_flight):
            say(f"{plan.name}: {plan.count:,} orders, {plan.in_flight} in flight")
            bounds = baselines.before(plan)
            flow, paced = run(machine, plan)
            bounds = baselines.after(plan, bounds)
            results.append(report.Result(plan=plan, flow=flow, paced=paced, bounds=bounds))
    print(report.table(results))
    if given.json:
        print(json.dumps(report.as_json(results)))
    return 0


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
