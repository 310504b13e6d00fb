"""Log lines: what they say, what they never say, and what they cost."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.delivery import Result
from gateway.core.event import ConnectionName
from gateway.core.happening import (
    Accepted,
    AttemptEnded,
    ClockChanged,
    ClockCompared,
    DeadLettered,
    GateChanged,
    LetterSuperseded,
    MessageEnded,
    OrderDecided,
    Refused,
    Trouble,
)
from gateway.core.order import Operation, OrderNumber, Stage
from gateway.telemetry.logs import HIDDEN, Logs, Writer, mask, mask_text

NOW = datetime(2026, 1, 5, 20, 0, 0, 123000, tzinfo=UTC)
DECIDED = OrderDecided(
    OrderNumber("A13800138000"),
    ConnectionName("shop-a"),
    Stage.RECEIVED,
    Stage.ALLOCATED,
    (),
    ("shipped_beyond_stock",),
    2,
    1,
    1,
    1,
    0.04219,
)
ATTEMPT = AttemptEnded(
    OrderNumber("A1001"), ConnectionName("wms-1"), Operation.CREATE, 1, Result.NOT_FOUND, "x", 0.21, None
)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Callable[..., tuple[Logs, Callable[[], list[str]]]]]:
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def make(
        level: Literal["debug", "info", "warning", "error"] = "info",
        form: Literal["json", "text"] = "json",
        now: Callable[[], datetime] = lambda: NOW,
    ) -> tuple[Logs, Callable[[], list[str]]]:
        logs = Logs(Writer(descriptor), level=level, form=form, now=now)
        return logs, lambda: path.read_text(encoding="utf-8").splitlines()

    yield make
    os.close(descriptor)


@pytest.fixture
def process_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_one_wide_line_per_decision_and_attempt(log: Any) -> None:
    logs, lines = log()
    logs([DECIDED, Accepted(ConnectionName("shop-a"), "kafka"), ATTEMPT])
    first, second = map(json.loads, lines())
    assert first == {
        "at": "2026-01-05T20:00:00.123Z",
        "level": "info",
        "event": "order_decided",
        "order": "A13800138000",
        "connection": "shop-a",
        "stage_before": "received",
        "stage": "allocated",
        "reasons": [],
        "conflicts": ["shipped_beyond_stock"],
        "events": 2,
        "duplicates": 1,
        "stale": 1,
        "commands": 1,
        "lag_s": 0.0422,
    }
    assert second == {
        "at": "2026-01-05T20:00:00.123Z",
        "level": "info",
        "event": "attempt_ended",
        "order": "A1001",
        "target": "wms-1",
        "operation": "create",
        "seq": 1,
        "result": "not_found",
        "code": "x",
        "took_s": 0.21,
        "since_taken_s": None,
    }


def test_a_clock_that_is_off_is_a_warning_and_one_that_is_right_again_is_not(log: Any) -> None:
    logs, lines = log()
    logs([ClockChanged("wms-1", -63), ClockChanged("ours", None)])
    off, right = map(json.loads, lines())
    assert (off["event"], off["level"], off["clock"], off["ahead_s"]) == ("clock_changed", "warning", "wms-1", -63)
    assert (right["level"], right["clock"], right["off"]) == ("info", "ours", False)


def test_the_first_comparison_of_a_clock_says_how_far_apart_in_which_direction(log: Any) -> None:
    logs, lines = log()
    logs([ClockCompared("wms-1", -63.04, 0.51, True), ClockCompared("database", 0.004, 0.001, False)])
    off, right = map(json.loads, lines())
    assert (off["event"], off["level"], off["clock"]) == ("clock_compared", "warning", "wms-1")
    assert (off["ahead_s"], off["give_s"], off["off"]) == (-63.0, 0.5, True)
    assert (right["level"], right["clock"], right["ahead_s"]) == ("info", "database", 0.0)


def test_levels_choose_lines(log: Any) -> None:
    batch = [
        DECIDED,
        Refused(ConnectionName("shop-a"), "signature"),
        DeadLettered(7, ConnectionName("shop-a"), "json"),
        LetterSuperseded(6, ConnectionName("shop-a")),
        GateChanged(ConnectionName("wms-1"), "create", "open", "5 time-outs"),
        Trouble("adapter", "boom for 13800138000"),
        MessageEnded(ConnectionName("robot"), "sent", "", 1),
        MessageEnded(ConnectionName("robot"), "unauthorised", "93000", 12),
    ]
    logs, lines = log("warning")
    logs(batch)
    events = [json.loads(line) for line in lines()]
    assert [event["event"] for event in events] == ["dead_lettered", "gate_changed", "trouble", "message_ended"]
    assert events[2]["what"] == "boom for [phone]"
    assert (events[3]["code"], events[3]["notices"]) == ("93000", 12)
    logs, lines = log("debug")
    logs(batch)
    assert {"refused", "letter_superseded"} <= {json.loads(line)["event"] for line in lines()[3:]}


def test_text_form_is_for_eyes(log: Any) -> None:
    logs, lines = log(form="text")
    logs([DECIDED])
    (line,) = lines()
    assert line.startswith("2026-01-05T20:00:00.123Z [info") and "order=A13800138000" in line


CANARIES = (
    "王小明",
    "13812345678",
    "文三路 90 号",
    "canary-secret",
    "138 1234 5678",
    "+86-13812345678",
    "0571-88889999",
)


def test_no_canary_comes_through_structlog(log: Any, process_logging: None) -> None:
    logs, lines = log()
    logs.configure()
    structlog.contextvars.bind_contextvars(buyerPhone="13812345678")
    logger = structlog.get_logger()
    logger.info(
        "parcel for 13812345678",
        order="A13800138000",
        receiver_name="王小明",
        receiver={"detail": "文三路 90 号"},
        items=[{"note": "王小明", "text": "ring 138 1234 5678 or +86-13812345678 or 0571-88889999"}],
        app_key="canary-secret",
        appSecrets=["canary-secret"],
        Authorization="Bearer canary-secret",
        url="https://wms/api?app_key=canary-secret&v=2",
        dsn="postgresql://u:canary-secret@db/x",
        raw="王小明".encode(),
        number=13812345678,
        mobile=13812345678,
        digits=13812345678,
    )
    answer = "sign=canary-secret\nDETAIL: Key (name)=(王小明) exists"
    try:
        raise ValueError(answer)
    except ValueError:
        logger.exception("failed")
    written = "\n".join(lines())
    assert not [canary for canary in CANARIES if canary in written and canary != "13812345678"], written
    event = json.loads(lines()[0])
    assert event.pop("number") == 13812345678, "allowed: ours"
    assert "13812345678" not in json.dumps(event)
    assert event["order"] == "A13800138000"
    assert event["url"] == "https://wms/api?app_key=***&v=2"
    assert event["receiver"] == HIDDEN
    assert list(event)[:3] == ["at", "level", "event"]
    assert "ValueError" in json.loads(lines()[1])["exception"]


def test_libraries_log_through_the_same_mask(log: Any, process_logging: None) -> None:
    logs, lines = log()
    logs.configure()
    logging.getLogger("aiokafka").info("not written")
    logging.getLogger("aiokafka").warning("call %s", "13812345678")
    (line,) = lines()
    assert json.loads(line) | {"at": ""} == {
        "at": "",
        "level": "warning",
        "event": "call [phone]",
        "logger": "aiokafka",
    }


def test_what_a_library_says_again_and_again_is_written_every_ten_seconds(log: Any) -> None:
    moment = [NOW]
    logs, lines = log(now=lambda: moment[0])

    def say(text: str, error: Exception | None = None) -> None:
        caught = (type(error), error, None) if error is not None else None
        logs.record(logging.LogRecord("aiokafka", logging.ERROR, "", 0, text, None, caught))

    for tenth in range(250):
        moment[0] = NOW + timedelta(seconds=tenth / 10)
        say("no broker")
    say("another")
    say("failed", ValueError("one"))
    say("failed", ValueError("two"))

    written = [json.loads(line) for line in lines()]
    assert [(one["event"], one.get("repeated")) for one in written] == [
        ("no broker", None),
        ("no broker", 99),
        ("no broker", 99),
        ("another", None),
        ("failed", None),
        ("failed", None),
    ]


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(st.text(max_size=10), st.recursive(st.text() | st.integers() | st.none() | st.binary(), st.lists))
)
def test_any_event_can_be_masked_and_rendered(event: dict[str, Any]) -> None:
    logs = Logs(Writer(-1), now=lambda: NOW)
    line = logs.render(mask(None, "info", {"event": "x", **event}))
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    json.loads(line)


@settings(deadline=None, max_examples=60)
@given(prefix=st.sampled_from(["", "a ", "，", "(", "电话"]), phone=st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True))
def test_phone_numbers_in_text_are_masked(prefix: str, phone: str) -> None:
    assert phone not in mask_text(f"{prefix}{phone}，请")


@pytest.mark.parametrize("text", ["2026-01-05T20:00:00.123Z", "took 12345678901 ns", "3918273918273918273", "A100"])
def test_what_is_no_phone_number_stays(text: str) -> None:
    assert mask_text(text) == text


def test_writers_that_share_a_pipe_do_not_mix_lines() -> None:
    reading, writing = os.pipe()
    batch = [DECIDED, ATTEMPT] * 300

    def work() -> None:
        logs = Logs(Writer(writing), now=lambda: NOW)
        for _ in range(5):
            logs(batch)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    closer = threading.Thread(target=lambda: [worker.join() for worker in workers] and os.close(writing))
    closer.start()
    with os.fdopen(reading, "rb") as stream:
        lines = stream.read().splitlines()
    closer.join()
    assert len(lines) == 4 * 5 * len(batch)
    assert {json.loads(line)["event"] for line in lines} == {"order_decided", "attempt_ended"}


def test_a_reader_that_is_gone_or_stuck_costs_lines_not_the_gateway() -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETFL, os.O_NONBLOCK)
    writer = Writer(writing, patience_s=0.01)
    logs = Logs(writer, now=lambda: NOW)
    logs([DECIDED] * 1000)
    assert 0 < writer.lost < 1000
    os.close(reading)
    lost = writer.lost
    logs([DECIDED] * 10)
    assert writer.lost == lost + 10
    os.close(writing)


def test_a_full_pipe_that_blocks_costs_lines_not_the_gateway() -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 2 * select.PIPE_BUF)
    assert os.get_blocking(writing), "as the standard error of a service is"
    writer = Writer(writing, patience_s=0.3)
    long = b'{"event":"' + b"x" * 3 * select.PIPE_BUF + b'"}\n'
    took_s = list[float]()

    def work() -> None:
        for lines in (long, *[b'{"event":"lost"}\n'] * 100):
            began = time.monotonic()
            writer.write(lines)
            took_s.append(time.monotonic() - began)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(20)
    assert not worker.is_alive(), "nobody reads, and the writer waits for ever"
    assert writer.lost == 101
    assert took_s[0] >= 0.3 and sum(took_s[1:]) < 0.3, "it waits for a stuck pipe once, not for every line"

    assert os.read(reading, 4 * select.PIPE_BUF) == long[: 2 * select.PIPE_BUF]
    writer.write(b'{"event":"back"}\n{"event":"again"}\n')
    assert writer.lost == 101
    assert os.read(reading, 100) == b'\n{"event":"back"}\n{"event":"again"}\n', "behind the line that was cut short"

    def read_late() -> None:
        time.sleep(0.05)
        os.read(reading, 2 * select.PIPE_BUF)

    os.write(writing, b"x" * 2 * select.PIPE_BUF)
    reader = threading.Thread(target=read_late)
    reader.start()
    writer.write(b'{"event":"patient"}\n')
    reader.join()
    assert writer.lost == 101, "once it has taken a write it is waited for again"
    os.close(reading)
    os.close(writing)


def test_cost_per_line() -> None:
    """Printed, not asserted: `pytest -s`."""
    descriptor = os.open("/dev/null", os.O_WRONLY)
    logs = Logs(Writer(descriptor))
    for name, batch in {"OrderDecided": [DECIDED] * 500, "AttemptEnded": [ATTEMPT] * 500, "alone": [ATTEMPT]}.items():
        best = 1.0
        for _ in range(50):
            started = time.perf_counter()
            logs(batch)
            best = min(best, time.perf_counter() - started)
        print(f"log line {name}: {best / len(batch) * 1e6:.2f} µs each in batches of {len(batch)}")
    os.close(descriptor)
