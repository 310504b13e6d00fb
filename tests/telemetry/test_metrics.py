"""Metrics as Prometheus reads them, that their labels stay small, and what the hot path costs."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families

from gateway.core.delivery import Result
from gateway.core.event import ConnectionName, Leg
from gateway.core.happening import (
    Accepted,
    AttemptEnded,
    BatchCommitted,
    ConnectionChanged,
    ConnectionState,
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
from gateway.core.notice import PAST
from gateway.core.order import Operation, OrderNumber, Stage
from gateway.plugins import discover
from gateway.settings import parse
from gateway.shown import backlog_shown, begin_series
from gateway.store.queries import Backlog
from gateway.store.sql import Names
from gateway.telemetry.metrics import (
    MAX_CODES,
    METRICS,
    OTHER,
    RESULTS,
    Buckets,
    Domain,
    Gauges,
    LaneState,
    Metrics,
    metrics_page,
)
from gateway.telemetry.observe import MetricsObserver

SHOP, WMS = ConnectionName("shop-a"), ConnectionName("wms-1")
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def decided(number: str = "A1001", *, before: Stage | None = None, reasons: tuple[str, ...] = ()) -> OrderDecided:
    return OrderDecided(OrderNumber(number), SHOP, before, Stage.ALLOCATED, reasons, (), 3, 1, 0, 2, 0.04)


def attempt(
    number: str = "A1001", *, result: Result = Result.DONE, took_s: float = 0.2, code: str = ""
) -> AttemptEnded:
    return AttemptEnded(OrderNumber(number), WMS, Operation.CREATE, 1, result, code, took_s, 0.7)


def page(registry: CollectorRegistry) -> Samples:
    return parsed(metrics_page(registry))


def parsed(text: bytes) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


def observed(happenings: Iterable[Happening]) -> Samples:
    registry = CollectorRegistry()
    MetricsObserver(Metrics([SHOP, WMS], registry=registry))(list(happenings))
    return page(registry)


def test_each_happening_moves_its_metrics() -> None:
    found = observed(
        [
            Accepted(SHOP, "kafka"),
            Accepted(SHOP, "kafka"),
            Refused(SHOP, "signature"),
            decided(),
            decided(before=Stage.ALLOCATED),
            decided(before=Stage.RECEIVED, reasons=("missing:receiver.name",)),
            DeadLettered(7, SHOP, "json"),
            DeadLettered(8, ConnectionName("pos-7/4711"), "unknown_source"),
            DeadLettered(9, ConnectionName("pos-8/4712"), "unknown_source"),
            attempt(),
            attempt(result=Result.UNKNOWN, took_s=5.0, code="timeout"),
            LevelTold(SHOP, "S1", 3, Result.DONE, "", 0.1),
            LevelTold(SHOP, "S1", 4, Result.FAILED, "http_500", 0.1),
            BatchCommitted("inbox", 40, 0.03),
            GateChanged(WMS, "create", "open", "5 time-outs in a row"),
            GateChanged(WMS, "create", "half_open", "probe_due", questions=True),
            ConnectionChanged(SHOP, ConnectionState.RE_AUTHORISE, "expired"),
            WindowRead(SHOP, 3, datetime(2026, 5, 1, tzinfo=UTC)),
            WindowRead(SHOP, 0, datetime(2026, 5, 2, tzinfo=UTC)),
            PullFailed(SHOP, "throttled"),
            ShopReread(SHOP, 500, 2),
            Trouble("intake", "PostgreSQL is away"),
            Purged("event", 500),
            MessageEnded(SHOP, "throttled", "", 12),
            Watched(42.0),
        ]
    )
    gate = {"target": "wms-1", "operation": "create"}
    assert value(found, "ordergate_events_accepted_total", source="shop-a", leg="kafka") == 2
    assert value(found, "ordergate_events_refused_total", source="shop-a", code="signature") == 1
    assert value(found, "ordergate_orders_decided_total", connection="shop-a", stage="allocated") == 3
    assert value(found, "ordergate_orders_moved_total", connection="shop-a", stage="allocated") == 2
    assert value(found, "ordergate_orders_held_total", connection="shop-a", reason="missing:receiver.name") == 1
    assert value(found, "ordergate_events_decided_total", connection="shop-a") == 9
    assert value(found, "ordergate_events_duplicate_total", connection="shop-a") == 3
    assert value(found, "ordergate_commands_planned_total", connection="shop-a") == 6
    assert value(found, "ordergate_decision_lag_seconds_bucket", connection="shop-a", le="0.05") == 3
    assert value(found, "ordergate_dead_letters_total", source="shop-a", code="json") == 1
    assert value(found, "ordergate_dead_letters_total", source="other", code="unknown_source") == 2
    assert value(found, "ordergate_attempts_total", **gate, result="done") == 1
    assert value(found, "ordergate_attempts_total", **gate, result="unknown") == 1
    assert value(found, "ordergate_attempt_codes_total", **gate, code="timeout") == 1
    assert value(found, "ordergate_attempt_seconds_sum", **gate) == pytest.approx(5.2)
    assert value(found, "ordergate_end_to_end_seconds_count", **gate) == 1, "only what was acknowledged"
    assert value(found, "ordergate_levels_told_total", connection="shop-a", result="done") == 1
    assert value(found, "ordergate_levels_told_total", connection="shop-a", result="failed") == 1
    assert value(found, "ordergate_batch_events_total", leg="inbox") == 40
    assert value(found, "ordergate_batch_commit_seconds_count", leg="inbox") == 1
    assert value(found, "ordergate_breaker_changes_total", **gate, state="open") == 1
    assert value(found, "ordergate_question_breaker_changes_total", **gate, state="half_open") == 1
    assert value(found, "ordergate_gate_state", **gate, state="open") == 1, "that of the questions is another"
    assert value(found, "ordergate_gate_state", **gate, state="closed") == 0
    assert value(found, "ordergate_connection_changes_total", connection="shop-a", state="re_authorise") == 1
    assert value(found, "ordergate_pull_windows_total", source="shop-a") == 2
    read_to = value(found, "ordergate_pull_read_to_timestamp_seconds", source="shop-a")
    assert read_to == datetime(2026, 5, 2, tzinfo=UTC).timestamp()
    assert value(found, "ordergate_pull_failures_total", source="shop-a", code="throttled") == 1
    assert value(found, "ordergate_missed_orders_total", source="shop-a") == 2
    assert value(found, "ordergate_troubles_total", where="intake") == 1
    assert value(found, "ordergate_purged_rows_total", table="event") == 500
    assert value(found, "ordergate_notice_messages_total", connection="shop-a", result="throttled") == 1
    assert value(found, "ordergate_notice_looks_total") == 1
    assert value(found, "ordergate_notice_untold_seconds") == 42


def test_every_declared_metric_is_on_the_page_with_help() -> None:
    registry = CollectorRegistry()
    Metrics([SHOP], registry=registry)
    text = metrics_page(registry).decode()
    for metric in METRICS:
        assert metric.name.startswith("ordergate_") and metric.help
        assert f"# HELP {metric.name} " in text and f"# TYPE {metric.name} {metric.kind}" in text
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        assert not metric.buckets or metric.kind == "histogram"


def test_batches_and_single_happenings_count_the_same() -> None:
    happenings: list[Happening] = [decided(), attempt(), attempt(took_s=0.0), attempt(took_s=9e9), decided()]
    registry = CollectorRegistry()
    observer = MetricsObserver(Metrics([SHOP, WMS], registry=registry))
    for happening in happenings:
        observer([happening])
    assert without_created(page(registry)) == without_created(observed(happenings))


def without_created(samples: Samples) -> Samples:
    return {key: value for key, value in samples.items() if not key[0].endswith("_created")}


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(min_value=0, max_value=100) | st.sampled_from([0.1, 0.5, 1.0]), min_size=1, max_size=30))
def test_buckets_agree_with_the_library(values: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    bounds = (0.1, 0.5, 1.0, 10.0)
    Buckets(Histogram("h", "h", buckets=bounds, registry=ours)).observe(values)
    reference = Histogram("h", "h", buckets=bounds, registry=theirs)
    for one in values:
        reference.observe(one)
    left, right = without_created(page(ours)), without_created(page(theirs))
    assert left.keys() == right.keys()
    assert [left[key] for key in left] == [pytest.approx(right[key]) for key in left]


anything = st.text(max_size=12) | st.from_regex(r"[A-Z]{0,2}[0-9]{6,19}", fullmatch=True)
happenings = st.one_of(
    st.builds(Accepted, source=anything, leg=anything),
    st.builds(Refused, source=anything, code=anything),
    st.builds(DeadLettered, dead_letter_id=st.integers(), source=anything, code=anything),
    st.builds(Trouble, where=anything, what=anything),
    st.builds(GateChanged, target=anything, operation=anything, state=anything, reason=anything),
    st.builds(ConnectionChanged, connection=anything, state=st.sampled_from(ConnectionState), reason=anything),
    st.builds(PullFailed, source=anything, code=anything),
    st.builds(ShopReread, source=anything, orders=st.integers(0, 9), missed=st.integers(0, 9)),
    st.builds(BatchCommitted, leg=anything, events=st.integers(0, 500), took_s=st.floats(0, 10)),
    st.builds(
        OrderDecided,
        number=anything,
        connection=anything,
        stage_before=st.none(),
        stage=st.sampled_from(Stage),
        reasons=st.lists(anything, max_size=3).map(tuple),
        conflicts=st.lists(anything, max_size=3).map(tuple),
        events=st.integers(0, 9),
        duplicates=st.integers(0, 9),
        stale=st.integers(0, 9),
        commands=st.integers(0, 9),
        lag_s=st.floats(0, 10),
    ),
    st.builds(
        AttemptEnded,
        number=anything,
        target=anything,
        operation=st.sampled_from(Operation),
        seq=st.integers(1, 9),
        result=st.sampled_from(Result),
        code=anything,
        took_s=st.floats(0, 10),
        since_taken_s=st.none() | st.floats(0, 10),
    ),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(happenings, max_size=20))
def test_no_label_leaves_its_closed_set(batch: list[Happening]) -> None:
    """Whatever an adapter puts into a code or a name, no order id becomes a label."""
    registry = CollectorRegistry()
    MetricsObserver(Metrics([SHOP, WMS], registry=registry))(batch)
    labels_of = {
        metric.name.removesuffix("_total"): {label.name: label for label in metric.labels} for metric in METRICS
    }
    for family in registry.collect():
        for sample in family.samples:
            for name, text in sample.labels.items():
                if name == "le":
                    continue
                domain = labels_of[family.name][name].values
                if domain is Domain.CONNECTIONS:
                    assert text in (SHOP, WMS, OTHER)
                elif domain is Domain.CODES:
                    assert not any(text[i : i + 6].isdigit() for i in range(len(text) - 5))
                else:
                    assert isinstance(domain, tuple) and text in (*domain, OTHER)


def test_ever_new_codes_end_in_other() -> None:
    def word(number: int) -> str:
        return "".join(chr(ord("a") + int(digit)) for digit in str(number))

    registry = CollectorRegistry()
    observer = MetricsObserver(Metrics([SHOP], registry=registry))
    for start in range(0, 2000, 100):
        observer([Refused(SHOP, word(number)) for number in range(start, start + 100)])
    counts = {key: n for key, n in page(registry).items() if key[0] == "ordergate_events_refused_total"}
    assert len(counts) == MAX_CODES + 1
    assert sum(counts.values()) == 2000


CONFIGURED = """
connections:
  mall:
    adapter: pinduoduo
    prefix: P
    mode: observe
    pull: {every_s: 1800, delay_s: 600}
    settings: {client_id: fake-client, client_secret: fake-secret, access_token: fake-session}
    route: [{target: wms-1, warehouse: WH}]
  wms-1:
    adapter: webhook
    settings: {secrets: ["whsec_c2hvcC1zZWNyZXQtMDEyMzQ1Njc4OWFiY2RlZg=="], url: "https://wms.example.com"}
"""


def test_what_rules_compare_with_is_there_before_anything_has_happened() -> None:
    """For Prometheus a counter that is first seen at 5 has not risen."""
    configured = parse(CONFIGURED, {}, discover(), name="og.yaml", folder=Path("/srv"))
    registry = CollectorRegistry()
    metrics = Metrics(configured.connections, registry=registry)
    begin_series(configured, metrics, Gauges(metrics))
    show = backlog_shown(Gauges(metrics), Names({}), targets=["wms-1"], sources=["mall", "wms-1"])
    show(
        Backlog(
            lanes={},
            oldest_s={},
            inbox_rows=0,
            inbox_oldest_s=0.0,
            dead_letters={"mall": 3},
            levels_refused={},
            ledger_off=0,
        )
    )
    found = page(registry)
    for operation in configured.connections[WMS].gates:
        for result in RESULTS.values():
            gate = {"target": "wms-1", "operation": operation}
            assert value(found, "ordergate_attempts_total", **gate, result=result) == 0
    for code in ("unavailable", "signature", "adapter"):
        assert value(found, "ordergate_events_refused_total", source="wms-1", code=code) == 0
        assert value(found, "ordergate_events_refused_total", source="mall", code=code) is None, "it is asked"
    assert value(found, "ordergate_pull_windows_total", source="mall") == 0
    assert value(found, "ordergate_pull_allowed_age_seconds", source="mall") == 1800 + 600 + 900
    assert value(found, "ordergate_pull_allowed_age_seconds", source="wms-1") is None
    assert value(found, "ordergate_dead_letters_open", source="mall") == 3
    assert value(found, "ordergate_dead_letters_open", source="wms-1") == 0


def test_gauges_hold_the_whole_picture() -> None:
    registry = CollectorRegistry()
    gauges = Gauges(Metrics([SHOP, WMS], registry=registry))
    gauges.lanes({("wms-1", LaneState.OPEN): 5, ("wms-1", LaneState.PARKED): 2})
    gauges.lanes({("wms-1", LaneState.OPEN): 1})
    gauges.oldest_waiting({"wms-1": 12.5, "gone": 3.0})
    gauges.dead_letters_open({"shop-a": 4})
    gauges.dead_letters_open({})
    gauges.levels_refused({"shop-a": 2})
    gauges.near_ship_by({("shop-a", ""): 12, ("shop-a", PAST): 7})
    gauges.near_ship_by({("shop-a", ""): 9, ("shop-b", PAST): 1})
    gauges.ledger_off(3)
    gauges.held("wms-1", "create", 7)
    gauges.limit("wms-1", "create", 12)
    gauges.inbox(9, oldest_s=3.5)
    gauges.intake_lag(Leg.KAFKA, 11)
    gauges.gate_state("wms-1", "create", "closed")
    gauges.clock_skew("wms-1", -63.5)
    gauges.clock_skew("gone", 1.5)
    gauges.database_clock_skew(0.25)
    found = page(registry)
    assert value(found, "ordergate_lanes", target="wms-1", state="open") == 1
    assert value(found, "ordergate_lanes", target="wms-1", state="parked") == 0, "left out means none"
    assert value(found, "ordergate_oldest_waiting_seconds", target="wms-1") == 12.5
    assert value(found, "ordergate_oldest_waiting_seconds", target=OTHER) == 3
    assert value(found, "ordergate_dead_letters_open", source="shop-a") == 0
    assert value(found, "ordergate_levels_refused", connection="shop-a") == 2
    assert value(found, "ordergate_ship_by_near_orders", connection="shop-a") == 9
    assert value(found, "ordergate_ship_by_past_orders", connection="shop-a") == 0
    assert value(found, "ordergate_ledger_off") == 3
    assert value(found, "ordergate_gate_held_deliveries", target="wms-1", operation="create") == 7
    assert value(found, "ordergate_gate_limit_requests", target="wms-1", operation="create") == 12
    assert value(found, "ordergate_inbox_rows") == 9
    assert value(found, "ordergate_inbox_oldest_seconds") == 3.5
    assert value(found, "ordergate_intake_lag_events", leg="kafka") == 11
    assert value(found, "ordergate_clock_skew_seconds", connection="wms-1") == -63.5
    assert value(found, "ordergate_clock_skew_seconds", connection=OTHER) == 1.5
    assert value(found, "ordergate_database_clock_skew_seconds") == 0.25
    assert value(found, "ordergate_gate_state", target="wms-1", operation="create", state="closed") == 1


def test_a_picture_that_is_nobody_s_any_more_is_not_a_number() -> None:
    """On another machine somebody goes on reading; `max` over both is then what that one says."""
    registry = CollectorRegistry()
    gauges = Gauges(Metrics([SHOP, WMS], registry=registry))
    gauges.oldest_waiting({"wms-1": 900.0})
    gauges.inbox(9, oldest_s=3.5)
    gauges.backlog_unknown()
    found = page(registry)
    assert math.isnan(value(found, "ordergate_oldest_waiting_seconds", target="wms-1") or 0)
    assert math.isnan(value(found, "ordergate_inbox_rows") or 0)
    assert math.isnan(value(found, "ordergate_inbox_oldest_seconds") or 0)
    gauges.oldest_waiting({})
    assert value(page(registry), "ordergate_oldest_waiting_seconds", target="wms-1") == 0


WORKER = """
import sys
from pathlib import Path
from gateway.core.event import Leg
from gateway.core.happening import Accepted, BatchCommitted
from gateway.telemetry import metrics, observe, processes

counted = metrics.Metrics(["shop-a"])
observe.MetricsObserver(counted)([Accepted("shop-a", "inbox")] * int(sys.argv[1]) + [BatchCommitted("inbox", 2, 0.2)])
gauges = metrics.Gauges(counted)
gauges.intake_lag(Leg.KAFKA, int(sys.argv[1]))
gauges.inbox(int(sys.argv[1]), oldest_s=0.0)
if sys.argv[2:]:
    processes.forget(int(sys.argv[2]))
    sys.stdout.buffer.write(metrics.metrics_page())
else:
    import os
    print(os.getpid())
"""


def run(program: str, *arguments: str, folder: Path) -> bytes:
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", program, *arguments], env=environment, capture_output=True, check=True)
    return done.stdout


def test_workers_are_added_up(tmp_path: Path) -> None:
    dead = run(WORKER, "100", folder=tmp_path).decode().strip()
    run(WORKER, "10", folder=tmp_path)
    found = parsed(run(WORKER, "1", dead, folder=tmp_path))
    assert value(found, "ordergate_events_accepted_total", source="shop-a", leg="inbox") == 111, "counters stay"
    assert value(found, "ordergate_batch_commit_seconds_count", leg="inbox") == 3
    assert value(found, "ordergate_intake_lag_events", leg="kafka") == 11, "the dead worker's share is gone"
    assert value(found, "ordergate_inbox_rows") == 1, "the newest"


SCRAPE = """
import sys
from gateway.telemetry import metrics
sys.stdout.buffer.write(metrics.metrics_page())
"""

FORGET = """
import sys
from gateway.telemetry import processes
for pid in sys.argv[1:]:
    processes.forget(int(pid))
"""


def scraped(folder: Path) -> Samples:
    return parsed(run(SCRAPE, folder=folder))


def test_the_page_is_there_while_a_process_makes_its_files(tmp_path: Path) -> None:
    """And when it was killed over it."""
    run(WORKER, "10", folder=tmp_path)
    for kind in ("counter", "histogram", "gauge_livesum"):
        (tmp_path / f"{kind}_4711.db").touch()
    found = scraped(tmp_path)
    assert value(found, "ordergate_events_accepted_total", source="shop-a", leg="inbox") == 10


def counts(samples: Samples) -> Samples:
    gauges = {metric.name for metric in METRICS if metric.kind == "gauge"}
    return {key: number for key, number in samples.items() if key[0] not in gauges}


def test_what_the_dead_have_counted_stays_in_one_file(tmp_path: Path) -> None:
    """However many workers end: each page reads every file."""
    dead = [run(WORKER, str(number), folder=tmp_path).decode().strip() for number in (100, 10, 1)]
    before = scraped(tmp_path)
    assert value(before, "ordergate_events_accepted_total", source="shop-a", leg="inbox") == 111
    run(FORGET, *dead, *dead, folder=tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"counter_ended.db", "histogram_ended.db"}
    assert counts(scraped(tmp_path)) == counts(before)
    # The kernel gives process ids again.
    again = run(WORKER, "1000", folder=tmp_path).decode().strip()
    for file in tmp_path.glob(f"*_{again}.db"):
        file.rename(str(file).replace(again, dead[0]))
    run(FORGET, dead[0], folder=tmp_path)
    assert value(scraped(tmp_path), "ordergate_events_accepted_total", source="shop-a", leg="inbox") == 1111


def test_counts_that_cannot_be_merged_stay_where_they_are(tmp_path: Path) -> None:
    dead = run(WORKER, "100", folder=tmp_path).decode().strip()
    before = scraped(tmp_path)
    (tmp_path / "counter_ended.db.new").mkdir()
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(FORGET, dead, folder=tmp_path)
    assert b"IsADirectoryError" in failed.value.stderr
    assert counts(scraped(tmp_path)) == counts(before)


@pytest.mark.parametrize("content", [b"", b"\x40\0\0\0" + b"\x7f" * 60])
def test_a_file_that_was_never_whole_does_not_break_the_page(tmp_path: Path, content: bytes) -> None:
    dead = run(WORKER, "100", folder=tmp_path).decode().strip()
    run(FORGET, dead, folder=tmp_path)
    before = scraped(tmp_path)
    (tmp_path / "counter_1.db").write_bytes(content)
    run(FORGET, "1", folder=tmp_path)
    assert scraped(tmp_path) == before


def test_no_page_sees_counts_on_their_way(tmp_path: Path) -> None:
    """Twice, or not at all: Prometheus takes the fall after it for a restart, and counts everything anew."""
    run(WORKER, "100", folder=tmp_path)
    (one,) = tmp_path.glob("counter_*.db")
    for pid in range(1_000_000, 1_000_100):
        shutil.copy(one, tmp_path / f"counter_{pid}.db")
    program = """
import re, threading
from gateway.telemetry import metrics, processes
def end():
    for pid in range(1_000_000, 1_000_100):
        processes.forget(pid)
ending = threading.Thread(target=end)
ending.start()
pages = []
while not pages or ending.is_alive():
    pages.append(metrics.metrics_page().decode())
found = {re.search("ordergate_events_accepted_total{.*} (.*)", page)[1] for page in pages}
print(len(pages) > 1, found)
"""
    assert run(program, folder=tmp_path).decode().strip() == "True {'10100.0'}"


def test_folder_is_prepared_before_the_library_comes_in(tmp_path: Path) -> None:
    (tmp_path / "counter_1.db").write_bytes(b"of a run before")
    (tmp_path / "counter_1.db.ended").write_bytes(b"killed while it merged")
    program = """
import os, sys
from pathlib import Path
from gateway.telemetry import processes
processes.prepare(Path(sys.argv[1]))
import prometheus_client
try:
    processes.prepare(Path(sys.argv[1]))
except RuntimeError:
    print(os.environ["PROMETHEUS_MULTIPROC_DIR"], os.listdir(sys.argv[1]))
"""
    assert run(program, str(tmp_path), folder=Path("/nowhere")).decode().strip() == f"{tmp_path} []"


def test_cost_of_the_hot_path() -> None:
    """Printed, not asserted: `pytest -s`."""
    observer = MetricsObserver(Metrics([SHOP, WMS], registry=CollectorRegistry()))
    batches: dict[str, list[Happening]] = {
        "Accepted": [Accepted(SHOP, "kafka")] * 500,
        "OrderDecided": [decided() for _ in range(500)],
        "AttemptEnded": [attempt(took_s=i / 500) for i in range(500)],
    }
    for name, batch in batches.items():
        observer(batch)
        best = min(_timed(observer, batch) for _ in range(30))
        print(f"metrics {name}: {best / len(batch) * 1e6:.2f} µs each in batches of {len(batch)}")
    single = [attempt()]
    print(f"metrics AttemptEnded alone: {min(_timed(observer, single) for _ in range(300)) * 1e6:.2f} µs")


def _timed(observer: MetricsObserver, batch: list[Happening]) -> float:
    started = time.perf_counter()
    observer(batch)
    return time.perf_counter() - started
