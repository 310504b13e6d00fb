"""Log lines: one wide JSON line per order decision and per attempt, and structlog for everything else.

It answers for what a line holds, for masking personal data, and for writing lines whole: several workers share
standard error, so a write ends at a line's end and stays within PIPE_BUF, below which the kernel does not mix writers.

The two kinds of line that come per order are made of typed fields without buyer data, and skip structlog's processors:
a batch is encoded into one buffer and written at once. All other lines pass through `mask`.
"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec
import structlog

from gateway.core.happening import (
    AttemptEnded,
    BatchCommitted,
    ClockChanged,
    ClockCompared,
    ConnectionChanged,
    DeadLettered,
    GateChanged,
    Happening,
    LetterSuperseded,
    LevelTold,
    MessageEnded,
    OrderDecided,
    PullChanged,
    PullFailed,
    Purged,
    Refused,
    ShopReread,
    Trouble,
    WindowRead,
)
from gateway.telemetry.metrics import RESULTS

Event = MutableMapping[str, Any]
Level = Literal["debug", "info", "warning", "error"]

HIDDEN = "***"
SENSITIVE = frozenset(
    "name phone mobile tel telephone address addr detail street district town receiver buyer consignee contact note "
    "remark memo message_text idcard email postcode "
    "token secret password passwd pwd key signature sign authorization cookie session oaid body payload".split()
)
"""A key with one of these words in it (``receiver_name``, ``appKey``) is shown as ``***``."""

PLAIN = frozenset(
    "event level at order number sku connection source target operation stage adapter code reason reasons worker "
    "logger event_id dead_letter_id idempotency_key order_key adapter_name connection_name host_name file_name "
    "task_name logger_name metric_name table_name topic group partition offset traceparent".split()
)
"""Keys that are shown as they are: ours, never typed by a buyer. An order number may look like a phone number."""


def mask(logger: Any, method: str, event: Event) -> Event:
    """structlog processor: `event` without personal data and secrets.

    Sensitive keys lose their value, at any depth; in all other texts phone numbers, credentials and the values that
    PostgreSQL quotes are replaced. `event` itself (a fixed text of the program) is searched too.
    """
    return {key: _masked(key, value) for key, value in event.items()}


def mask_text(text: str) -> str:
    """`text` with phone numbers and credentials replaced."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


class Writer:
    """Writes whole lines to a file descriptor, in pieces that other processes' lines cannot get between.

    Never raises and waits at most `patience_s` for a full pipe, blocking or not, and not again before it has taken what
    it was given: lines that cannot be written are counted in `lost`.
    """

    def __init__(self, descriptor: int = 2, *, patience_s: float = 1.0) -> None:
        self._descriptor = descriptor
        self._patience_s = patience_s
        self._left_s = patience_s
        self._torn = False
        self.lost = 0

    def write(self, lines: bytes | bytearray) -> None:
        """Write `lines`, each ended by a line feed."""
        view = memoryview(lines)
        start, total = 0, len(lines)
        if self._torn:
            if not self._write(memoryview(b"\n")):  # ends the line that was cut short
                self.lost += lines.count(b"\n")
                return
            self._torn = False
        while start < total:
            end = total
            if total - start > _ATOMIC_BYTES:
                end = lines.rfind(b"\n", start, start + _ATOMIC_BYTES) + 1
                if end == 0:
                    # One line longer than that; it may be mixed with another process's.
                    end = start + _ATOMIC_BYTES
            start += self._write(view[start:end])
            if start < end:
                self.lost += lines.count(b"\n", start)
                self._torn = start > 0 and lines[start - 1] != _LINE_FEED
                self._left_s = 0.0
                return
        self._left_s = self._patience_s

    def _write(self, piece: memoryview) -> int:
        """How many bytes were taken."""
        done = 0
        while done < len(piece):
            try:
                if not self._takes():
                    break
                done += os.write(self._descriptor, piece[done:])
            except BlockingIOError:
                pass  # another process was faster
            except (OSError, ValueError):
                break
        return done

    def _takes(self) -> bool:
        """Whether a piece can be written now, or in what is left of the patience.

        Standard error is blocking, and to set it otherwise would do so for every process that shares it. But a pipe
        that has room takes a whole piece at once, unless another process takes the very last room in between.
        """
        ready = select.poll()
        ready.register(self._descriptor, select.POLLOUT)
        if ready.poll(0):
            return True
        if self._left_s <= 0.0:
            return False
        began = time.monotonic()
        taken = bool(ready.poll(self._left_s * 1000))
        self._left_s -= time.monotonic() - began
        return taken


class Logs:
    """The log of one process: an `Observer` for happenings, and the end of structlog and `logging`."""

    def __init__(
        self,
        writer: Writer,
        *,
        level: Level = "info",
        form: Literal["json", "text"] = "json",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._writer = writer
        self._level = _LEVELS[level]
        self._now = now
        self._said: dict[tuple[str, str], _Said] = {}
        self._encoder = msgspec.json.Encoder(enc_hook=str)
        self._text = structlog.dev.ConsoleRenderer(colors=False, sort_keys=False) if form == "text" else None

    def __call__(self, happenings: Sequence[Happening]) -> None:
        """Write the lines of a batch, in its order."""
        at = self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        lines = bytearray()
        encode_into = self._encoder.encode_into
        fast = self._level <= logging.INFO and self._text is None
        for happening in happenings:
            if fast and type(happening) is OrderDecided:
                encode_into(_order_decided(happening, at), lines, -1)
                lines += b"\n"
            elif fast and type(happening) is AttemptEnded:
                encode_into(_attempt_ended(happening, at), lines, -1)
                lines += b"\n"
            else:
                level, event = _describe(happening, at)
                if event and level >= self._level:
                    lines += self.render(mask(None, "", event))
        if lines:
            self._writer.write(lines)

    def render(self, event: Event) -> bytes:
        """One line, its line feed included, of an event that has been masked."""
        if self._text is None:
            try:
                return self._encoder.encode(event) + b"\n"
            except (TypeError, ValueError, OverflowError):
                # Half a surrogate pair, or an integer beyond 64 bits: the slower encoder takes anything.
                return json.dumps(event, default=str).encode() + b"\n"
        shown = {("timestamp" if key == "at" else key): value for key, value in event.items()}
        return (str(self._text(None, "", shown)) + "\n").encode("utf-8", "replace")

    def configure(self) -> None:
        """Send structlog and the standard `logging` (warnings and worse of the libraries) through this log.

        Changes the process: the composition root calls it once.
        """
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                self._stamp,
                structlog.processors.format_exc_info,
                mask,
                self._last,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(self._level),
            logger_factory=lambda *_: _Lines(self._writer),
            cache_logger_on_first_use=True,
        )
        root = logging.getLogger()
        root.handlers = [_Handler(self)]
        root.setLevel(max(self._level, logging.WARNING))

    def record(self, record: logging.LogRecord) -> None:
        """Write what a library logged; the same again only 10 s later, with how often it came in between."""
        now, message = self._now(), record.getMessage()
        event: Event = {
            "at": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": message,
            "logger": record.name,
        }
        if record.exc_info and record.exc_info[1] is not None:
            event["exception"] = "".join(traceback.format_exception(record.exc_info[1]))
        elif (said := self._said.get((record.name, message))) is None:
            if len(self._said) >= _SAID_MOST:
                self._said.clear()
            self._said[record.name, message] = _Said(now)
        elif now - said.at < _SAME_AGAIN:
            said.since += 1
            return
        else:
            event["repeated"] = said.since
            said.at, said.since = now, 0
        self._writer.write(self.render(mask(None, "", event)))

    def _stamp(self, logger: Any, method: str, event: Event) -> Event:
        at = self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {"at": at, "level": event.pop("level", method), "event": event.pop("event", ""), **event}

    def _last(self, logger: Any, method: str, event: Event) -> bytes:
        return self.render(event)


_LEVELS: Mapping[Level, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_ATOMIC_BYTES = select.PIPE_BUF
_LINE_FEED = ord("\n")
# aiokafka tells 80 times a second of a broker that it is sent to and cannot reach: 2 GB of log a day.
_SAME_AGAIN = timedelta(seconds=10)
_SAID_MOST = 200
_RESULT_NAMES = {result.value: name for result, name in RESULTS.items()}
_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # Mobile and landline numbers of mainland China, alone or with +86, spaces or dashes.
    (re.compile(r"(?<![0-9A-Za-z])(?:\+?86[- ]?)?1[3-9][0-9][- ]?[0-9]{4}[- ]?[0-9]{4}(?![0-9])"), "[phone]"),
    (re.compile(r"(?<![0-9A-Za-z])0[0-9]{2,3}-[0-9]{7,8}(?![0-9])"), "[phone]"),
    (re.compile(r"whsec_[A-Za-z0-9+/=_-]+"), "whsec_***"),
    (re.compile(r"(?i)\b(bearer|basic) [A-Za-z0-9+/=._~-]+"), r"\1 ***"),
    (re.compile(r"://[^/\s:@]*:[^/\s@]+@"), "://***@"),
    (re.compile(r"(?i)\b((?:app_?)?(?:key|secret|sign|token|password|session))=[^&\s]+"), r"\1=***"),
    # PostgreSQL quotes the row or the key that violated a constraint.
    (re.compile(r"(?m)^(DETAIL: ).*$"), r"\1***"),
)


class _Said(msgspec.Struct):
    """When a message was written last, and how often it has come since."""

    at: datetime
    since: int = 0


class _Lines:
    """What structlog calls a logger: takes rendered lines."""

    def __init__(self, writer: Writer) -> None:
        self._write = writer.write

    def msg(self, line: bytes) -> None:
        self._write(line)

    debug = info = warning = warn = error = critical = exception = fatal = log = msg


class _Handler(logging.Handler):
    def __init__(self, logs: Logs) -> None:
        super().__init__()
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._logs.record(record)
        except Exception:
            self.handleError(record)


# Structs are encoded by place, without a dict for each of the two lines that come per order.
class OrderLine(msgspec.Struct, frozen=True, gc=False):
    at: str
    level: str
    event: str
    order: str
    connection: str
    stage_before: str | None
    stage: str
    reasons: tuple[str, ...]
    conflicts: tuple[str, ...]
    events: int
    duplicates: int
    stale: int
    commands: int
    lag_s: float


class AttemptLine(msgspec.Struct, frozen=True, gc=False):
    at: str
    level: str
    event: str
    order: str
    target: str
    operation: str
    seq: int
    result: str
    code: str
    took_s: float
    since_taken_s: float | None


def _order_decided(one: OrderDecided, at: str) -> OrderLine:
    return OrderLine(
        at,
        "info",
        "order_decided",
        one.number,
        one.connection,
        one.stage_before,
        one.stage,
        one.reasons,
        one.conflicts,
        one.events,
        one.duplicates,
        one.stale,
        one.commands,
        round(one.lag_s, 4),
    )


def _attempt_ended(one: AttemptEnded, at: str) -> AttemptLine:
    return AttemptLine(
        at,
        "info",
        "attempt_ended",
        one.number,
        one.target,
        one.operation,
        one.seq,
        _RESULT_NAMES[one.result._value_],
        one.code,
        round(one.took_s, 4),
        None if one.since_taken_s is None else round(one.since_taken_s, 4),
    )


def _describe(happening: Happening, at: str) -> tuple[int, Event]:
    """Level and line of a happening; an empty line for what only metrics count."""
    match happening:
        case OrderDecided():
            return logging.INFO, msgspec.structs.asdict(_order_decided(happening, at))
        case AttemptEnded():
            return logging.INFO, msgspec.structs.asdict(_attempt_ended(happening, at))
        case LevelTold(connection, sku, quantity, result, code, took_s):
            return _line(
                "info", "level_told", at, connection=connection, sku=sku, quantity=quantity,
                result=_RESULT_NAMES[result._value_], code=code, took_s=round(took_s, 4),
            )  # fmt: skip
        case DeadLettered(dead_letter_id, source, code):
            return _line("warning", "dead_lettered", at, dead_letter_id=dead_letter_id, source=source, code=code)
        case LetterSuperseded(dead_letter_id, source):
            return _line("info", "letter_superseded", at, dead_letter_id=dead_letter_id, source=source)
        case GateChanged(target, operation, state, reason, questions):
            event = "questions_changed" if questions else "gate_changed"
            return _line("warning", event, at, target=target, operation=operation, state=state, why=reason)
        case ConnectionChanged(connection, state, reason):
            return _line("warning", "connection_changed", at, connection=connection, state=state, why=reason)
        case PullChanged(source, code):
            return _line("warning" if code else "info", "pull_changed", at, source=source, code=code)
        case PullFailed(source, code):
            return _line("debug", "pull_failed", at, source=source, code=code)
        case WindowRead(source, events, read_to):
            return _line("debug", "window_read", at, source=source, events=events, read_to=read_to.isoformat())
        case ShopReread(source, orders, missed):
            return _line(
                "warning" if missed else "info", "shop_reread", at, source=source, orders=orders, missed=missed
            )
        case MessageEnded(channel, result, code, notices):
            level: Level = "info" if result == "sent" else "warning"
            return _line(level, "message_ended", at, connection=channel, result=result, code=code, notices=notices)
        case ClockChanged(clock, ahead_s):
            off = ahead_s is not None
            return _line("warning" if off else "info", "clock_changed", at, clock=clock, off=off, ahead_s=ahead_s)
        case ClockCompared(clock, ahead_s, give_s, off):
            return _line(
                "warning" if off else "info", "clock_compared", at, clock=clock, off=off,
                ahead_s=round(ahead_s, 1), give_s=round(give_s, 1),
            )  # fmt: skip
        case Trouble(where, what):
            return _line("error", "trouble", at, where=where, what=what)
        case Refused(source, code):
            # Debug: whoever floods the door must not flood the log.
            return _line("debug", "refused", at, source=source, code=code)
        case Purged(table, rows):
            return _line("debug", "purged", at, table=table, rows=rows)
        case BatchCommitted(leg, events, took_s):
            return _line("debug", "batch_committed", at, leg=leg, events=events, took_s=took_s)
    return logging.DEBUG, {}


def _line(level: Level, event: str, at: str, **values: Any) -> tuple[int, Event]:
    return _LEVELS[level], {"at": at, "level": level, "event": event, **values}


def _masked(key: str, value: Any) -> Any:
    if value is None or isinstance(value, (bool, float)):
        return value
    if key not in PLAIN and _is_sensitive(key):
        return HIDDEN
    if isinstance(value, str):
        # `event` holds a fixed text, or what a library made of its arguments.
        return value if key in PLAIN and key != "event" else mask_text(value)
    if isinstance(value, int):
        return value if key in PLAIN else _masked_number(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping):
        return {str(inner): _masked(str(inner), held) for inner, held in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_masked(key, held) for held in value]
    return mask_text(str(value))


def _masked_number(value: int) -> int | str:
    text = str(value)
    masked = mask_text(text)
    return value if masked == text else masked


def _is_sensitive(key: str) -> bool:
    words = [word.lower() for word in _WORDS.findall(key)]
    return any(word in SENSITIVE or word.removesuffix("s") in SENSITIVE for word in words)
