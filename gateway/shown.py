"""What a worker shows of itself: to Prometheus, to those who are told, and on the page of the gates."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence

from gateway.api.views import BreakerView, WorkerGate
from gateway.core.event import Leg
from gateway.core.notice import Sighting
from gateway.core.order import Operation
from gateway.dispatch.breaker import Breaker
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.gate import Gate
from gateway.dispatch.lease import Lease
from gateway.ingest.inbound import InboxLeg, KafkaLeg
from gateway.intake.kafka import KafkaReader
from gateway.settings import Settings
from gateway.shops import Shops
from gateway.store.queries import Backlog
from gateway.store.sql import Names
from gateway.telemetry.metrics import RESULTS, Gauges, LaneState, Metrics
from gateway.telemetry.processes import memory_bytes

GAUGES_EVERY_S = 5.0
_MAY_BE_UNREAD_S = 900.0
"""So much later than by its settings a polled shop may be read before Prometheus tells of it."""

_WATCHED_REFUSALS = ("unavailable", "signature", "adapter")
"""Of requests: those that the alert rules count."""


def sighted(dispatcher: Dispatcher, kafka: KafkaLeg | None, readers: Sequence[KafkaReader]) -> frozenset[Sighting]:
    """What only this worker knows.

    A breaker that a person holds open is not seen: he knows. Neither is one that is half open: whether it stays so or
    opens again shows before the condition has settled, and a quiet shop may not send enough to close it for hours.
    """
    seen = set()
    for gate in dispatcher.gates.values():
        breaker = gate.breaker.snapshot()
        if breaker.label == "open":
            code = "" if breaker.cause is None else breaker.cause.value
            seen.add(Sighting("breaker", f"{gate.target}/{gate.operation}", code))
    if kafka is not None and not kafka.up:
        seen.add(Sighting("kafka", "", ""))
    elif not all(reader.sound for reader in readers):
        # Not where it is away: that is one matter, and told already.
        seen.add(Sighting("kafka_not_read", "", ""))
    return frozenset(seen)


def gate_view(gate: Gate) -> WorkerGate:
    state = gate.state
    return WorkerGate(
        target=gate.target,
        operation=gate.operation,
        held=state.places,
        queued=state.queued,
        in_flight=state.in_flight,
        limit=gate.limit,
        waiting=state.waiting,
        throttled_for_s=round(state.throttled_s, 1),
        learnt_per_s=None if state.learnt_per_s is None else round(state.learnt_per_s, 1),
        breaker=_breaker_view(gate.breaker),
        questions=None if gate.questions is None else _breaker_view(gate.questions),
    )


def _breaker_view(breaker: Breaker) -> BreakerView:
    now = breaker.snapshot()
    return BreakerView(
        state=now.label,
        cause=None if now.cause is None else now.cause.value,
        failure_share=now.failure_share,
        calls=now.calls,
        reopen_in_s=now.reopen_in_s,
        refused=now.refused,
        dry_run=now.dry_run,
    )


async def show_gates(gauges: Gauges, dispatcher: Dispatcher) -> None:
    """What this worker holds, and how its breakers stand."""
    while True:
        for gate in dispatcher.gates.values():
            gauges.held(gate.target, gate.operation, gate.state.places)
            gauges.limit(gate.target, gate.operation, gate.limit)
            gauges.gate_state(gate.target, gate.operation, gate.breaker.snapshot().label)
        await asyncio.sleep(GAUGES_EVERY_S)


async def show_worker(
    gauges: Gauges, lease: Lease, readers: Sequence[KafkaReader], kafka_leg: KafkaLeg | None, inbox_leg: InboxLeg
) -> None:
    """That this worker lives, what it takes of the machine, and whether its legs take events."""
    counted_s = 0.0
    while True:
        cpu_s = time.process_time()
        alive_at = time.time() if lease.left_s() > 0 else None
        gauges.worker(alive_at=alive_at, cpu_s=cpu_s - counted_s, memory_bytes=memory_bytes())
        counted_s = cpu_s
        gauges.leg_up(Leg.INBOX, not inbox_leg.refused)
        if kafka_leg is not None:
            gauges.leg_up(Leg.KAFKA, kafka_leg.up)
            gauges.intake_lag(Leg.KAFKA, sum(reader.lag for reader in readers))
        await asyncio.sleep(GAUGES_EVERY_S)


async def show_connections(gauges: Gauges, shops: Shops) -> None:
    """How the connections stand, as this worker sees them."""
    while True:
        for name, state in shops.states().items():
            gauges.connection_state(name, state)
        await asyncio.sleep(GAUGES_EVERY_S)


def backlog_shown(
    gauges: Gauges, names: Names, *, targets: Sequence[str], sources: Sequence[str]
) -> Callable[[Backlog], None]:
    def show(backlog: Backlog) -> None:
        # A target with nothing open is shown as zero, not left out, and a source without dead letters likewise: how
        # they rise from none shows only then.
        lanes = Counter({(target, state): 0 for target in targets for state in LaneState})
        for (target_id, _), count in backlog.lanes.items():
            name = names.find(target_id) or "other"
            lanes[name, LaneState.OPEN] += count.open
            lanes[name, LaneState.PARKED] += count.parked
            lanes[name, LaneState.BLOCKED] += count.blocked
        gauges.lanes(lanes)
        ages_s = dict.fromkeys(targets, 0.0)
        for target_id, age_s in backlog.oldest_s.items():
            ages_s[names.find(target_id) or "other"] = age_s
        gauges.oldest_waiting(ages_s)
        gauges.inbox(backlog.inbox_rows, oldest_s=backlog.inbox_oldest_s)
        gauges.dead_letters_open({**dict.fromkeys(sources, 0), **backlog.dead_letters})
        gauges.levels_refused(backlog.levels_refused)
        gauges.near_ship_by({place: near.count for place, near in backlog.nearing.items()})
        gauges.ledger_off(backlog.ledger_off)

    return show


def begin_series(settings: Settings, metrics: Metrics, gauges: Gauges) -> None:
    """Show what the alert rules compare with before anything has happened.

    A counter that is first seen at 5 has not risen for Prometheus, and one that is not there compares with nothing.
    """
    gauges.config_hash(settings.config_hash)
    for connection in settings.connections.values():
        if connection.adapter.source_type is not None:
            for code in _WATCHED_REFUSALS:
                metrics.counter("ordergate_events_refused_total", connection.name, code)
        for operation in connection.gates.keys() - {Operation.STOCK}:
            for result in RESULTS.values():
                metrics.counter("ordergate_attempts_total", connection.name, operation, result)
        if (pull := connection.pull) is not None:
            metrics.counter("ordergate_pull_windows_total", connection.name)
            gauges.pull_allowed_age(connection.name, pull.every_s + pull.delay_s + _MAY_BE_UNREAD_S)
