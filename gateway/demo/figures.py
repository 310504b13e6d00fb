"""What is going on now, asked of everybody: the gateway's API, metrics and database, and the journals of the fakes."""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import msgspec

from gateway.core.delivery import Result
from gateway.core.order import Operation, Stage
from gateway.demo.platforms import Told
from gateway.demo.scene import WMS, Scene
from gateway.demo.shops import Placed
from gateway.store.sql import AWAY
from gateway.testing.fakes import Effect

_ATTEMPTS = re.compile(r"^ordergate_attempts_total\{(.+)\} (\S+)$", re.MULTILINE)
_ACCEPTED = re.compile(r"^ordergate_events_accepted_total\{(.+)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class GateFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The gate of the warehouse's `create`. `state` is the breaker's; `open`: deliveries not done, `parked` in the
    database of them, `blocked` for a person."""

    state: str = "closed"
    reopen_in_s: float | None = None
    failure_share: float = 0.0
    in_flight: int = 0
    open: int = 0
    parked: int = 0
    blocked: int = 0


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One look. `at_wms` and `written_back` are counted from the journals of the fakes, not from what we believe."""

    stages: Mapping[str, int] = {}
    inbox: int = 0
    at_wms: int = 0
    documents: int = 0
    shipped_by_wms: int = 0
    """Confirmations."""
    written_back: int = 0
    """Orders whose shop knows of the whole shipment."""
    oldest_s: float = 0.0
    """Age of the oldest order that is not at the warehouse."""
    inbox_events: int = 0
    """Events that the inbox took because Kafka did not."""
    gate: GateFigures = GateFigures()
    open_elsewhere: int = 0
    """Deliveries to shops that are not done."""
    attempts: Mapping[str, int] = {}
    notices: int = 0
    last_notice: str = ""

    @property
    def waiting(self) -> int:
        """Known to the gateway and not yet at the warehouse, as far as the gateway knows."""
        return self.inbox + self.gate.open

    @property
    def settled(self) -> bool:
        """Nothing is left to do for anybody, but for what waits for a person."""
        shipped = self.stages.get(Stage.SHIPPED, 0)
        return (
            not self.inbox
            and self.gate.open == self.gate.blocked
            and not self.open_elsewhere
            and shipped == sum(self.stages.values())
            and self.written_back >= shipped
        )


class JournalTail:
    """Counts the effects in a fake's journal as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0
        self.commands: Counter[str] = Counter()
        self.orders: set[str] = set()

    def read_on(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read_bytes)
            # The last line may be half written.
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read_bytes += len(whole) + len(newline)
        for line in whole.splitlines():
            effect = msgspec.json.decode(line, type=Effect)
            self.commands[effect.command] += 1
            self.orders.add(effect.order)


class Watch:
    """Looks at the scene. What does not answer just now keeps its last figures."""

    def __init__(self, scene: Scene, placed: Mapping[str, Placed]) -> None:
        self._scene = scene
        self._placed = placed
        self._wms = JournalTail(scene.wms_journal)
        self._shops = JournalTail(scene.shops_journal)
        self._not_at_wms: deque[tuple[str, float]] = deque()
        self._not_written_back: dict[str, Placed] = {}
        self._seen = 0
        self._written_back = 0
        self._inbox_events = 0
        self._open_elsewhere = 0
        self._stages: Mapping[str, int] = {}
        self._inbox = 0
        self._gate = GateFigures()
        self._attempts: Mapping[tuple[str, str, str], int] = {}

    async def look(self, session: aiohttp.ClientSession) -> Figures:
        """The figures of now; takes no longer than a second or two, whatever is down."""
        self._wms.read_on()
        self._shops.read_on()
        await self._ask_database()
        try:
            await self._ask_gateway(session)
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError):
            pass
        attempts = Counter[str]()
        for (operation, result, target), count in self._attempts.items():
            if target == WMS and operation == Operation.CREATE:
                attempts[result] += count
        commands = self._wms.commands
        self._ask_shops()
        told = self._scene.wecom.told
        return Figures(
            stages=self._stages,
            inbox=self._inbox,
            at_wms=len(self._wms.orders),
            documents=commands["create"],
            shipped_by_wms=commands["ship"] + commands["ship_part"],
            written_back=self._written_back,
            oldest_s=max(0.0, time.time() - self._not_at_wms[0][1]) if self._not_at_wms else 0.0,
            inbox_events=self._inbox_events,
            gate=self._gate,
            open_elsewhere=self._open_elsewhere,
            attempts={str(result.name).lower(): attempts[result.name.lower()] for result in Result},
            notices=len(told),
            last_notice=told[-1].text if told else "",
        )

    def _ask_shops(self) -> None:
        """What the shops know by now; nothing is looked at again once it is settled."""
        for number in islice(self._placed, self._seen, None):
            placed = self._placed[number]
            self._not_at_wms.append((number, placed.at))
            self._not_written_back[number] = placed
            self._seen += 1
        # Placed in sequence, not delivered in it: the oldest one is what is asked for.
        while self._not_at_wms and self._not_at_wms[0][0] in self._wms.orders:
            self._not_at_wms.popleft()
        for number, placed in list(self._not_written_back.items()):
            shop = placed.basket.shop
            if shop.name in self._scene.platforms.shops:
                told = self._scene.platforms.told(shop, placed.basket.order_no) is Told.ONCE
            else:
                told = number in self._shops.orders
            if told:
                self._written_back += 1
                del self._not_written_back[number]

    async def _ask_database(self) -> None:
        try:
            connection = await asyncpg.connect(self._scene.database_url, timeout=2, command_timeout=2)
            try:
                rows = await connection.fetch("SELECT stage, count(*) FROM orders GROUP BY stage")
                self._stages = {row[0]: row[1] for row in rows}
                self._inbox = await connection.fetchval("SELECT count(*) FROM inbox")
            finally:
                await connection.close(timeout=2)
        except (*AWAY, asyncpg.PostgresError):
            pass

    async def _ask_gateway(self, session: aiohttp.ClientSession) -> None:
        headers = {"Authorization": f"Bearer {self._scene.token}"}
        async with session.get(f"{self._scene.gateway_url}/api/v1/gates", headers=headers) as answer:
            gates = msgspec.json.decode(await answer.read(), type=dict[str, Any]).get("gates", ())
        self._open_elsewhere = sum(gate["open"] for gate in gates if gate["target"] != WMS)
        for gate in gates:
            if gate["target"] == WMS and gate["operation"] == Operation.CREATE:
                worker = gate["worker"] or {}
                breaker = worker.get("breaker") or {}
                self._gate = GateFigures(
                    state=breaker.get("state", "closed"),
                    reopen_in_s=breaker.get("reopen_in_s"),
                    failure_share=breaker.get("failure_share", 0.0),
                    in_flight=worker.get("in_flight", 0),
                    open=gate["open"],
                    parked=gate["parked"],
                    blocked=gate["blocked"],
                )
        async with session.get(self._scene.metrics_url) as answer:
            page = await answer.text()
        attempts = {}
        for labels, count in _ATTEMPTS.findall(page):
            label = dict(_LABEL.findall(labels))
            attempts[label["operation"], label["result"], label["target"]] = int(float(count))
        self._attempts = attempts
        self._inbox_events = sum(
            int(float(count)) for labels, count in _ACCEPTED.findall(page) if 'leg="inbox"' in labels
        )
