"""Happenings → metrics: an Observer that adds to each metric once per batch.

It answers for which happening moves which metric. The hot path counts in plain dicts and lists and touches a counter
once per label set and batch; label children are looked up once and kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from prometheus_client import Counter

from gateway.core.delivery import Result
from gateway.core.happening import (
    Accepted,
    AttemptEnded,
    BatchCommitted,
    ConnectionChanged,
    DeadLettered,
    GateChanged,
    Happening,
    LevelTold,
    MessageEnded,
    OrderDecided,
    PullFailed,
    Purged,
    Refused,
    ShopReread,
    Trouble,
    Watched,
    WindowRead,
)
from gateway.telemetry.metrics import RESULTS, Buckets, Gauges, Metrics

Counts = defaultdict[tuple[str, ...], int]
Times = defaultdict[tuple[str, ...], list[float]]

# Enough for every label set of a large installation; a stream of ever new values must not fill the memory.
_KEPT_CHILDREN = 20_000
_ACKNOWLEDGED = (Result.DONE, Result.FOUND)
_RESULT_NAMES = {result.value: name for result, name in RESULTS.items()}


class MetricsObserver:
    """An `Observer` for the metrics of one process. Called from one thread."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._gauges = Gauges(metrics)
        self._counters: dict[tuple[str, ...], Counter] = {}
        self._histograms: dict[tuple[str, ...], Buckets] = {}

    def __call__(self, happenings: Sequence[Happening]) -> None:
        """Add a batch to the metrics; its order does not matter, save that the last state of a gate counts."""
        counts: Counts = defaultdict(int)
        times: Times = defaultdict(list)
        decisions: dict[str, list[Any]] = {}
        attempts: dict[tuple[str, str], list[AttemptEnded]] = {}
        for happening in happenings:
            kind = type(happening)
            # The two kinds that come per order are grouped first, so that each group is added up in one go.
            if kind is OrderDecided:
                group = decisions.get(happening.connection)  # type: ignore[union-attr]
                if group is None:
                    group = decisions[happening.connection] = []  # type: ignore[union-attr]
                group.append(happening)
            elif kind is AttemptEnded:
                # `_value_`: the hash of an enum member and its `value` run Python code, a plain string's do not.
                gate = (happening.target, happening.operation._value_)  # type: ignore[union-attr]
                ended = attempts.get(gate)
                if ended is None:
                    ended = attempts[gate] = []
                ended.append(happening)  # type: ignore[arg-type]
            else:
                self._count(happening, counts, times)
        for connection, decided in decisions.items():
            _count_decisions(connection, decided, counts, times)
        for gate, group in attempts.items():
            _count_attempts(gate, group, counts, times)
        for key, count in counts.items():
            counter = self._counters.get(key)
            if counter is None:
                counter = self._metrics.counter(*key)
                if len(self._counters) < _KEPT_CHILDREN:
                    self._counters[key] = counter
            counter.inc(count)
        for key, values in times.items():
            histogram = self._histograms.get(key)
            if histogram is None:
                histogram = self._metrics.histogram(*key)
                if len(self._histograms) < _KEPT_CHILDREN:
                    self._histograms[key] = histogram
            histogram.observe(values)

    def _count(self, happening: Happening, counts: Counts, times: Times) -> None:
        match happening:
            case Accepted(source, leg):
                counts["ordergate_events_accepted_total", source, leg] += 1
            case Refused(source, code):
                counts["ordergate_events_refused_total", source, code] += 1
            case LevelTold(connection, _, _, result, _, _):
                counts["ordergate_levels_told_total", connection, RESULTS[result]] += 1
            case BatchCommitted(leg, events, took_s):
                counts["ordergate_batch_events_total", leg] += events
                times["ordergate_batch_commit_seconds", leg].append(took_s)
            case DeadLettered(_, source, code):
                # A name that is no connection is whatever somebody wrote: no label.
                known = "other" if code == "unknown_source" else source
                counts["ordergate_dead_letters_total", known, code] += 1
            case GateChanged(target, operation, state, _, True):
                counts["ordergate_question_breaker_changes_total", target, operation, state] += 1
            case GateChanged(target, operation, state, _):
                counts["ordergate_breaker_changes_total", target, operation, state] += 1
                self._gauges.gate_state(target, operation, state)
            case ConnectionChanged(connection, change, _):
                counts["ordergate_connection_changes_total", connection, change.value] += 1
            case WindowRead(source, _, read_to):
                counts["ordergate_pull_windows_total", source] += 1
                self._gauges.pull_read_to(source, read_to.timestamp())
            case PullFailed(source, code):
                counts["ordergate_pull_failures_total", source, code] += 1
            case ShopReread(source, _, missed):
                counts["ordergate_missed_orders_total", source] += missed
            case MessageEnded(channel, result, _, _):
                counts["ordergate_notice_messages_total", channel, result] += 1
            case Watched(untold_s):
                counts[("ordergate_notice_looks_total",)] += 1
                self._gauges.notices_untold(untold_s)
            case Trouble(where, _):
                counts["ordergate_troubles_total", where] += 1
            case Purged(table, rows):
                counts["ordergate_purged_rows_total", table] += rows


def _count_decisions(connection: str, decided: list[OrderDecided], counts: Counts, times: Times) -> None:
    stages: defaultdict[str, int] = defaultdict(int)
    moves: defaultdict[str, int] = defaultdict(int)
    events = duplicates = commands = 0
    lags: list[float] = []
    for one in decided:
        stage = one.stage
        stages[stage._value_] += 1
        if one.stage_before is not stage:
            moves[stage._value_] += 1
        events += one.events
        duplicates += one.duplicates
        commands += one.commands
        lags.append(one.lag_s)
        if one.reasons:
            for reason in one.reasons:
                counts["ordergate_orders_held_total", connection, reason] += 1
        if one.conflicts:
            for conflict in one.conflicts:
                counts["ordergate_order_conflicts_total", connection, conflict] += 1
    for name, count in stages.items():
        counts["ordergate_orders_decided_total", connection, name] += count
    for name, count in moves.items():
        counts["ordergate_orders_moved_total", connection, name] += count
    counts["ordergate_events_decided_total", connection] += events
    if duplicates:
        counts["ordergate_events_duplicate_total", connection] += duplicates
    if commands:
        counts["ordergate_commands_planned_total", connection] += commands
    times["ordergate_decision_lag_seconds", connection] = lags


def _count_attempts(gate: tuple[str, str], ended: list[AttemptEnded], counts: Counts, times: Times) -> None:
    results: defaultdict[int, int] = defaultdict(int)
    took: list[float] = []
    whole: list[float] = []
    for one in ended:
        result = one.result
        results[result._value_] += 1
        took.append(one.took_s)
        if one.since_taken_s is not None and result in _ACKNOWLEDGED:
            whole.append(one.since_taken_s)
        if one.code:
            counts["ordergate_attempt_codes_total", *gate, one.code] += 1
    for value, count in results.items():
        counts["ordergate_attempts_total", *gate, _RESULT_NAMES[value]] += count
    times["ordergate_attempt_seconds", *gate] = took
    if whole:
        times["ordergate_end_to_end_seconds", *gate] = whole
