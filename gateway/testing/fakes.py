"""The parts a fake of a target is made of: faults on demand, books of what really happened, and a server for both.

A fake speaks a target's wire format on a real socket, checks signatures, and writes down every effect, so that a test
can say afterwards what the target has, not what it was told. The dialect stands in the adapter's ``fake.py``.

Over HTTP, beside the dialect: ``GET /books``, ``GET /sums``, ``GET`` and ``POST /faults`` (a JSON object with the
fields of `Faults` to change), ``POST /reset``.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import signal
import socket
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import IO, Any, Self

import msgspec
import uvloop
from aiohttp import web


class Faults(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """What goes wrong. Shares are 0 to 1 and drawn from `seed`, order, command and attempt: the same in every run.

    Nothing of a request that meets a 5xx, a throttle, an error in 200 or a hang takes effect. `garbage_share` takes
    effect and answers something unreadable, `commit_then_timeout_share` takes effect and never answers,
    `commit_late_share` takes effect `late_by_s` after the request arrived.
    """

    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    hang_share: float = 0.0
    hang_s: float = 30.0
    share_5xx: float = 0.0
    status_5xx: int = 503
    retry_after: str | None = None
    error_in_200_share: float = 0.0
    throttle_per_s: float | None = None
    throttle_in_200: bool = False
    garbage_share: float = 0.0
    commit_then_timeout_share: float = 0.0
    commit_late_share: float = 0.0
    late_by_s: float = 1.0
    first_attempts_only: bool = False
    """Every share above meets first attempts of a command only."""
    commands: tuple[str, ...] = ()
    """Only these commands; empty: all."""
    clock_ahead_s: float = 0.0
    """The `Date` of every answer is so much later than it should be."""
    down_s: float = 0.0
    """Close the listening socket and every connection for this long, then listen again. Starts when posted."""
    seed: int = 0


_QUIET = Faults()


class OrderBook(msgspec.Struct, kw_only=True):
    """What happened to one order. `commands` are effects in the sequence they took place, `at` when (epoch, s)."""

    documents: int = 0
    cancelled: bool = False
    commands: list[str] = []
    at: list[float] = []
    requests: dict[str, int] = {}
    status: str = ""


class Books(msgspec.Struct, kw_only=True):
    """What a fake knows. `duplicates`: documents beyond an order's first; `repeats`: requests for what was there."""

    orders: dict[str, OrderBook] = {}
    requests: int = 0
    effects: int = 0
    telling: int = 0
    """How many of its own deeds it is telling the gateway of."""
    duplicates: int = 0
    repeats: int = 0
    refused: int = 0
    """Requests whose signature was not good."""
    injected: dict[str, int] = {}
    sums: dict[str, dict[str, int]] = {}
    """SKU → what was done with it (`created`, `cancelled`, `shipped`) → pieces."""
    amounts_minor: dict[str, int] = {}
    """SKU → what the documents say was paid for its pieces, where the dialect tells."""

    def order(self, number: str) -> OrderBook:
        book = self.orders.get(number)
        if book is None:
            book = self.orders[number] = OrderBook()
        return book

    def add(self, deed: str, items: Mapping[str, int]) -> None:
        for sku, pieces in items.items():
            row = self.sums.setdefault(sku, {})
            row[deed] = row.get(deed, 0) + pieces

    def add_amounts(self, amounts_minor: Mapping[str, int]) -> None:
        for sku, minor in amounts_minor.items():
            self.amounts_minor[sku] = self.amounts_minor.get(sku, 0) + minor


class Effect(msgspec.Struct, frozen=True):
    """One line of the journal file."""

    order: str
    command: str
    at: float
    key: str = ""
    items: dict[str, int] = {}
    amounts_minor: dict[str, int] = {}


class FakeServer(ABC):
    """A server of one target's dialect; an async context manager, reachable at `url` while it is open.

    With `journal`, effects are appended to that file and read back at the start: a fake that was killed knows what it
    had. `faults` may be replaced at any time.
    """

    def __init__(self, *, port: int = 0, faults: Faults | None = None, journal: Path | None = None) -> None:
        self.books = Books()
        self.faults = faults or _QUIET
        self._port = port
        self._journal_path = journal
        self._journal: IO[bytes] | None = None
        self._web: web.Server | None = None
        self._listener: asyncio.Server | None = None
        self._place: socket.socket | None = None
        self._tasks = asyncio.TaskGroup()
        self._closing = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._tokens = 0.0
        self._tokens_at = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        if self._journal_path is not None:
            if self._journal_path.exists():
                # The last line may be cut off where the fake was killed.
                for line in self._journal_path.read_bytes().split(b"\n")[:-1]:
                    self._enter(msgspec.json.decode(line, type=Effect))
            self._journal = self._journal_path.open("ab", buffering=0)
        self._keep_port()
        self._web = web.Server(self._handle, access_log=None)
        await self._tasks.__aenter__()
        await self._listen()
        await self.started()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        for task in self._running:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)
        await self.stopping()
        if self._listener is not None:
            self._listener.close()
        if self._web is not None:
            self._abort_connections()
            await self._web.shutdown(0.1)
        if self._place is not None:
            self._place.close()
        if self._journal is not None:
            self._journal.close()

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run `work` until it ends or the fake closes."""
        task = self._tasks.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def down(self, for_s: float) -> None:
        """Refuse connections for `for_s` seconds. What has been asked already may still take effect."""
        self._count("down")
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._abort_connections()
        await asyncio.sleep(for_s)
        await self._listen()

    # --- for the dialect ----------------------------------------------------------------------------------------

    @abstractmethod
    async def serve(self, request: web.BaseRequest, body: bytes) -> web.Response:
        """Answer one request of the dialect; effects go through `perform`."""

    @abstractmethod
    def apply(self, effect: Effect) -> None:
        """Enter `effect` into the books. Called for new effects and for those of the journal file."""

    @abstractmethod
    def error_in_200(self) -> web.Response: ...

    @abstractmethod
    def throttled_in_200(self) -> web.Response: ...

    async def started(self) -> None:  # noqa: B027
        """Called once the fake listens."""

    async def stopping(self) -> None:  # noqa: B027
        """Called when everything spawned has ended."""

    async def admin(self, request: web.BaseRequest, body: bytes) -> web.Response | None:
        """Answer an admin path of the dialect's own, or None."""
        return None

    def commit(self, effect: Effect) -> None:
        """Make `effect` happen: journal first, then books."""
        if self._journal is not None:
            self._journal.write(msgspec.json.encode(effect) + b"\n")
        self._enter(effect)

    async def perform(
        self, order: str, command: str, do: Callable[[], web.Response], *, requests: dict[str, int] | None = None
    ) -> web.Response:
        """`do()` and its answer, unless a fault comes between.

        Attempts are counted in `requests`; where none is given, in the order's book.
        """
        if requests is None:
            books = self.books
            requests = books.order(order).requests if order in books.orders or command != "query" else {}
        attempt = requests.get(command, 0) + 1
        requests[command] = attempt
        faults = self.faults
        if faults is _QUIET or (faults.commands and command not in faults.commands):
            return do()
        lot = hashlib.blake2b(f"{faults.seed}/{order}/{command}/{attempt}".encode(), digest_size=32).digest()

        def drawn(place: int, share: float) -> bool:
            if share <= 0 or (faults.first_attempts_only and attempt > 1):
                return False
            return int.from_bytes(lot[4 * place : 4 * place + 4], "big") < share * 2**32

        delay_ms = faults.latency_ms + faults.jitter_ms * lot[31] / 255
        if delay_ms > 0:
            await self._pause(delay_ms / 1000)
        if faults.throttle_per_s is not None and not self._token(faults.throttle_per_s):
            self._count("throttled")
            return self.throttled_in_200() if faults.throttle_in_200 else self._status(429)
        if drawn(0, faults.share_5xx):
            self._count("5xx")
            return self._status(faults.status_5xx)
        if drawn(1, faults.error_in_200_share):
            self._count("error_in_200")
            return self.error_in_200()
        if drawn(2, faults.hang_share):
            self._count("hang")
            return await self._hang()
        if drawn(3, faults.commit_then_timeout_share):
            self._count("commit_then_timeout")
            do()
            return await self._hang()
        if drawn(4, faults.commit_late_share):
            self._count("commit_late")
            await self._pause(faults.late_by_s)
            return do()
        if drawn(5, faults.garbage_share):
            self._count("garbage")
            do()
            return web.Response(body=b"<html><body>Bad gateway</body>", content_type="text/html")
        return do()

    # --- inside -------------------------------------------------------------------------------------------------

    def _enter(self, effect: Effect) -> None:
        self.books.effects += 1
        self.apply(effect)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        response = await self._respond(request)
        if self.faults.clock_ahead_s:
            response.headers["Date"] = formatdate(time.time() + self.faults.clock_ahead_s, usegmt=True)
        return response

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        path = request.path
        if path == "/books":
            return _json(self.books)
        if path == "/sums":
            return _json(self.books.sums)
        if path == "/reset":
            self.books = Books(telling=self.books.telling)
            return _json({})
        if path == "/faults":
            if request.method == "POST":
                try:
                    self.set_faults(msgspec.json.decode(body, type=dict[str, Any]))
                except msgspec.MsgspecError as error:
                    return web.Response(status=400, text=str(error))
            return _json(self.faults)
        answer = await self.admin(request, body)
        if answer is not None:
            return answer
        self.books.requests += 1
        return await self.serve(request, body)

    def set_faults(self, changes: Mapping[str, Any]) -> None:
        """Change some of the faults, the rest stays. Raises msgspec.ValidationError."""
        known = msgspec.structs.asdict(self.faults)
        faults = msgspec.convert({**known, **changes}, Faults)
        if faults.down_s > 0:
            self.spawn(self.down(faults.down_s), name="fake-down")
            faults = msgspec.structs.replace(faults, down_s=0.0)
        self.faults = _QUIET if faults == _QUIET else faults

    def _keep_port(self) -> None:
        """Take the port for good by a socket that never listens: nobody else gets it while this is down."""
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._place.bind(("127.0.0.1", self._port))
        self._port = self._place.getsockname()[1]

    async def _listen(self) -> None:
        assert self._web is not None
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._web, "127.0.0.1", self._port, backlog=1024, reuse_address=True)

    def _abort_connections(self) -> None:
        if self._web is None:
            return
        for connection in list(self._web.connections):
            if connection.transport is not None:
                connection.transport.abort()

    def _token(self, per_s: float) -> bool:
        """A bucket that holds a tenth of a second's worth, at least one."""
        now = time.monotonic()
        self._tokens = min(max(1.0, per_s / 10), self._tokens + (now - self._tokens_at) * per_s)
        self._tokens_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def _pause(self, for_s: float) -> None:
        """Sleep, unless the fake closes: then the request ends here, without effect."""
        try:
            await asyncio.wait_for(self._closing.wait(), for_s)
        except TimeoutError:
            return
        raise web.HTTPServiceUnavailable

    def _status(self, status: int) -> web.Response:
        headers = {} if self.faults.retry_after is None else {"Retry-After": self.faults.retry_after}
        return web.Response(status=status, headers=headers, body=b"fault")

    async def _hang(self) -> web.Response:
        await self._pause(self.faults.hang_s)
        return web.Response(status=504)

    def _count(self, what: str) -> None:
        self.books.injected[what] = self.books.injected.get(what, 0) + 1


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def run_fake(fake: FakeServer) -> None:
    """Serve until SIGTERM or SIGINT; the first line on stdout is the URL."""

    async def main() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with fake:
            sys.stdout.write(fake.url + "\n")
            sys.stdout.flush()
            await stop.wait()

    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main())
