"""The sink's books: what every figure of the benchmark rests on."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.sink import Sink


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running


def _post(sink: Sink, number: str) -> bytes:
    with urllib.request.urlopen(sink.url, data=b'{"order_no":"%s"}' % number.encode(), timeout=5) as reply:
        body: bytes = reply.read()
        return body


def test_orders_are_counted_once_and_repeats_and_strangers_apart(sink: Sink, tmp_path: Path) -> None:
    sink.reset(start=10, count=5, latency_ms=0)
    before = time.time_ns()
    # Our number and the shop's number of one order are the same order.
    for number in ("B0000000010", "0000000010", "B0000000014", "B0000000015", "X"):
        assert _post(sink, number) == b'{"ok":true}'
    with urllib.request.urlopen(sink.url, timeout=5) as reply:  # a look at the sink is no order
        assert reply.read() == b'{"ok":true}'
    books = sink.books()
    assert (books.distinct, books.duplicates, books.strangers) == (2, 1, 2)
    times = sink.times(tmp_path / "times")
    assert [at > 0 for at in times] == [True, False, False, False, True]
    assert before < times[0] == books.first_ns < times[4] == books.last_ns


def test_an_answer_waits_for_the_latency(sink: Sink) -> None:
    sink.reset(start=0, count=1, latency_ms=50)
    started = time.monotonic()
    _post(sink, "B0000000000")
    assert time.monotonic() - started >= 0.049
    assert sink.books().distinct == 1


def test_beyond_its_knee_it_answers_later(sink: Sink) -> None:
    sink.reset(start=0, count=8, latency_ms=20, knee=2, growth=2.0)
    started = time.monotonic()
    _post(sink, "B0000000000")
    alone_s = time.monotonic() - started
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: _post(sink, f"B000000000{number}"), range(8)))
    together_s = time.monotonic() - started - alone_s
    peak = sink.books().in_flight_peak
    # The eighth of eight at once waits 16 times as long; on a crowded machine they are not all at once.
    assert 2 < peak <= 8
    assert alone_s >= 0.019 and together_s >= 0.02 * (peak / 2) ** 2 * 0.95
