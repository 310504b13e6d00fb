"""``python -m bench``: orders/s, CPU, memory and latency of the gateway, beside what bounds it, in one run.

    topic → decode, review, stock locked, everything stored → one HTTP POST per order → outcome → offset

Real Kafka, real PostgreSQL with fsync on, `ordergate run` as users start it with metrics and logs on, orders of 1.2 KB.
In the same run and with the same bytes: `limit`, a bare loop of the HTTP client that the gateway uses; `aiohttp`, the
same with aiohttp; `naive`, the aiokafka + aiohttp forwarder that stores nothing. With --straight the same path with the
gateway's statements, codecs and HTTP client, and without anything that decides about an order.

`bound` (JSON: bound_orders_per_s) is what the run itself allowed: workers / CPU seconds of the gateway per order, and
where the sink takes its time no more than requests in flight (of all workers) / latency. Where the CPU is the bound,
`of bound` (ratio_bound) says how busy the workers kept theirs. The aim with one worker at 20 and 100 ms is 0.9, on a
machine that does nothing else.

Exit code 1, after all figures: a trial broke its limit (JSON: not_kept). With --backlog and --dead-target the memory
stays below 300 MB; after --kill orders flow again within 5 s; with --stored an order costs at most 1.3 times as much.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bench import report
from bench.baselines import Baselines
from bench.machine import Machine
from bench.peers import ParallelConsumer, PeerMissing
from bench.scenario import Plan, run
from bench.trials import Trial, adaptive, backlog, dead_target, killed, stored


def plans(*, quick: bool, count: int, in_flight: int) -> list[Plan]:
    """`in_flight` grows with the latency, or the limit alone would bound the rate."""
    first = Plan(name="1 worker, 0 ms", workers=1, latency_ms=0, count=count, in_flight=in_flight, paced_s=8)
    if quick:
        return [first]
    return [
        first,
        # Where requests in flight and the CPU would bound it alike, and where the CPU alone does.
        Plan(name="1 worker, 20 ms", workers=1, latency_ms=20, count=count, in_flight=4 * in_flight, paced_s=8),
        Plan(name="1 worker, 20 ms, twice", workers=1, latency_ms=20, count=count, in_flight=8 * in_flight, paced_s=8),
        Plan(name="1 worker, 100 ms", workers=1, latency_ms=100, count=count, in_flight=8 * in_flight, paced_s=8),
        Plan(name="2 workers, 20 ms", workers=2, latency_ms=20, count=count, in_flight=4 * in_flight, paced_s=8),
    ]


def main() -> int:
    given = _arguments()
    count = given.count or (20_000 if given.quick else 60_000)
    trials: list[Trial] = []
    results: list[report.Result] = []
    only_trials = any((given.backlog, given.dead_target, given.stored, given.kill, given.adaptive))
    with Machine() as machine:
        if not only_trials:
            baselines, peer = Baselines(machine, straight=given.straight), _peer(machine, given.peers)
            for plan in plans(quick=given.quick, count=count, in_flight=given.in_flight):
                say(f"{plan.name}: {plan.count:,} orders, {plan.in_flight} in flight")
                bounds = baselines.before(plan)
                if peer is not None:
                    bounds[peer.kind] = peer.run(plan)
                flow, paced = run(machine, plan)
                bounds = baselines.after(plan, bounds)
                results.append(report.Result(plan=plan, flow=flow, paced=paced, bounds=bounds))
        in_flight = given.in_flight
        if given.backlog:
            say(f"backlog of {given.backlog:,} events")
            trials.append(backlog(machine, events=given.backlog, in_flight=in_flight))
        if given.dead_target:
            say(f"{given.dead_target:,} events for a dead target")
            trials.append(dead_target(machine, events=given.dead_target, in_flight=in_flight))
        if given.stored:
            say(f"{given.stored:,} orders stored")
            trials.append(stored(machine, orders_stored=given.stored, count=20_000, in_flight=in_flight))
        if given.kill:
            say("kill -9 of the worker")
            trials.append(killed(machine, count=20_000, in_flight=in_flight))
        if given.adaptive:
            say(f"{given.adaptive:,} orders for each kind of target, with a fixed and with an adaptive limit")
            trials.extend(adaptive(machine, count=given.adaptive))
    if results:
        print(report.table(results))
    for trial in trials:
        print(report.line(trial))
    if given.json:
        print(json.dumps(report.as_json(results, trials)))
    return 1 if any(trial.broken for trial in trials) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="one worker, 0 ms, 20,000 orders")
    add("--json", action="store_true", help="the last line is one JSON object")
    add("--count", type=int, help="orders per scenario (default 60,000; quick 20,000)")
    add("--in-flight", type=int, default=32, help="at 0 ms; 4 and 8 times that at 20 ms, 8 at 100 ms")
    add("--straight", action="store_true",
        help="also the same path without what decides about an order: what the libraries alone cost")  # fmt: skip
    add("--peers", type=Path, metavar="DIR", help="also the Parallel Consumer, built from DIR/cpc")
    trials = parser.add_argument_group("trials, instead of the scenarios")
    add = trials.add_argument
    add("--backlog", type=int, metavar="N", help="memory with N events waiting in the topic; below 300 MB")
    add("--dead-target", type=int, metavar="N", nargs="?", const=100_000,
        help="memory when N events (100,000) find the target dead; below 300 MB")  # fmt: skip
    add("--stored", type=int, metavar="N",
        help="cost per order with N orders stored, beside that with 10,000; at most 1.3 times")  # fmt: skip
    add("--kill", action="store_true", help="seconds from kill -9 of the worker until orders flow again; within 5")
    add("--adaptive", type=int, metavar="N", nargs="?", const=8_000,
        help="N orders (8,000) for targets with and without a knee, fixed limit and adaptive")  # fmt: skip
    return parser.parse_args()


def _peer(machine: Machine, folder: Path | None) -> ParallelConsumer | None:
    if folder is None:
        return None
    try:
        return ParallelConsumer(machine, folder.resolve())
    except PeerMissing as missing:
        say(f"without the Parallel Consumer: {missing}")
        return None


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
