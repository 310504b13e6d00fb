"""The target of the benchmark: answers a POST with 200 after a latency and writes down which order it was.

The latency is fixed, or grows beyond a *knee*: with `n` in flight it is `(n / knee) ** growth` times as long. Growth 1
is a target that works on `knee` requests at a time and queues the others; above 1 they get in each other's way.

A process of its own, and as cheap as can be: it must not be what is measured. It reads `content-length` and
`"order_no"` and nothing else. Controlled by JSON lines on standard input (`Sink`).
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

_ANSWER = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"ok":true}'
_ORDER_NO = b'"order_no":"'


class Books(msgspec.Struct):
    """What arrived. `first_ns` and `last_ns` are the times of the first and last *new* order's answer."""

    distinct: int = 0
    duplicates: int = 0
    strangers: int = 0
    first_ns: int = 0
    last_ns: int = 0
    in_flight_peak: int = 0
    cpu_s: float = 0.0


class Sink:
    """Starts the sink process and talks to it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.sink"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.port: int = self._read()["port"]

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/orders"

    def reset(self, *, start: int, count: int, latency_ms: float, knee: int = 0, growth: float = 1.0) -> None:
        """Forget everything; expect the orders `start` to `start + count`, and answer after `latency_ms`.

        Later with more than `knee` in flight; 0 is no knee.
        """
        self._ask(do="reset", start=start, count=count, latency_s=latency_ms / 1000, knee=knee, growth=growth)

    def books(self) -> Books:
        return msgspec.convert(self._ask(do="books"), Books)

    def times(self, file: Path) -> array[int]:
        """When each expected order was answered first, in ns since the epoch; 0 for one that never came."""
        self._ask(do="dump", file=str(file))
        times = array("q")
        times.frombytes(file.read_bytes())
        return times

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def _ask(self, **command: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the sink ended with code {self._process.wait()}")
        return json.loads(line)


class _Server:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._start = 0
        self._latency_s = 0.0
        self._knee = 0
        self._growth = 1.0
        self._times = array("q")
        self._books = Books()
        # One latency for all, so answers fall due in the order of their requests and one timer serves them.
        self._due: deque[tuple[float, asyncio.Transport, int]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._in_flight = 0

    def obey(self, command: dict[str, Any]) -> Any:
        match command["do"]:
            case "reset":
                self._start, self._latency_s = command["start"], command["latency_s"]
                self._knee, self._growth = command["knee"], command["growth"]
                self._times = array("q", bytes(8 * command["count"]))
                self._books = Books()
            case "books":
                times = time.process_time()
                return msgspec.to_builtins(msgspec.structs.replace(self._books, cpu_s=times))
            case "dump":
                Path(command["file"]).write_bytes(self._times.tobytes())
        return {}

    def took(self, transport: asyncio.Transport, order: int) -> None:
        if self._knee:
            self._in_flight += 1
            self._books.in_flight_peak = max(self._books.in_flight_peak, self._in_flight)
            times = max(1.0, self._in_flight / self._knee) ** self._growth
            self._loop.call_later(self._latency_s * times, self._answer_late, transport, order)
        elif self._latency_s:
            self._due.append((self._loop.time() + self._latency_s, transport, order))
            self._books.in_flight_peak = max(self._books.in_flight_peak, len(self._due))
            if self._timer is None:
                self._timer = self._loop.call_later(self._latency_s, self._answer_due)
        else:
            self._answer(transport, order)

    def _answer_due(self) -> None:
        due, now = self._due, self._loop.time() + 0.0005
        while due and due[0][0] <= now:
            _, transport, order = due.popleft()
            self._answer(transport, order)
        self._timer = self._loop.call_later(due[0][0] - now, self._answer_due) if due else None

    def _answer_late(self, transport: asyncio.Transport, order: int) -> None:
        self._in_flight -= 1
        self._answer(transport, order)

    def _answer(self, transport: asyncio.Transport, order: int) -> None:
        books, place = self._books, order - self._start
        if not 0 <= place < len(self._times):
            books.strangers += 1
        elif self._times[place]:
            books.duplicates += 1
        else:
            now = self._times[place] = time.time_ns()
            books.distinct += 1
            books.last_ns = now
            if books.distinct == 1:
                books.first_ns = now
        transport.write(_ANSWER)


class _Protocol(asyncio.Protocol):
    def __init__(self, took: Callable[[asyncio.Transport, int], None]) -> None:
        self._took = took
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
            self._rest = b""
        while data:
            head = data.find(b"\r\n\r\n")
            if head < 0:
                break
            end = head + 4 + _length(data, head)
            if len(data) < end:
                break
            if data.startswith(b"GET "):  # the gateway looks whether somebody is there, and at the clock
                self._transport.write(_ANSWER)
                data = data[end:]
                continue
            number = data.find(_ORDER_NO, head) + len(_ORDER_NO)
            # `B0000001234` and `0000001234` are the same order: ours, and the shop's number of it.
            close = data.find(b'"', number)
            digits = data[close - 10 : close]
            self._took(self._transport, int(digits) if digits.isdigit() else -1)
            data = data[end:]
        self._rest = data


def _length(data: bytes, head: int) -> int:
    at = data.find(b"content-length:", 0, head)
    if at < 0:
        at = data.find(b"Content-Length:", 0, head)
        if at < 0:
            return 0
    return int(data[at + 15 : data.find(b"\r", at)])


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    sink = _Server(loop)
    server = await loop.create_server(lambda: _Protocol(sink.took), "127.0.0.1", 0, backlog=1024)
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)

    def say(answer: Any) -> None:
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()

    say({"port": server.sockets[0].getsockname()[1]})
    async for line in commands:
        say(sink.obey(json.loads(line)))


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve())
