"""The incident: what happens on the day, act by act, as data; and the clock that plays it.

It is the afternoon of 5 January: orders come four times as fast, the warehouse gets slower and worse until it is gone,
and Kafka goes away in the middle.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import msgspec

from gateway.core.errors import OrdergateError
from gateway.demo.scene import Broker, post
from gateway.testing.fakes import Faults

_AGAIN_S = 0.3


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """From `begins` on, a share of the time in which orders come in, until the next act."""

    begins: float
    zh: str
    en: str
    faults: Faults
    down: bool = False
    """The server is away until the act is over."""
    rest: float = 0.0
    """Share of the time before the next act in which the warehouse behaves, so that every act meets a fresh breaker."""


_FINE = Faults(latency_ms=15, jitter_ms=30)

ACTS = (
    Act(begins=0.0, zh="平常的下午", en="an ordinary afternoon", faults=_FINE),
    Act(begins=0.2, zh="15:00 订单 +300%", en="15:00, orders +300 %", faults=_FINE),
    Act(
        begins=0.28,
        rest=0.02,
        zh="WMS 变慢：0.2–0.9 秒才回复",
        en="the WMS is slow: 0.2 to 0.9 s",
        faults=Faults(latency_ms=200, jitter_ms=700),
    ),
    Act(
        begins=0.4,
        rest=0.02,
        zh="WMS 收单不回复，部分晚落账",
        en="takes orders, never answers",
        faults=Faults(
            latency_ms=15, jitter_ms=30, commit_then_timeout_share=0.35, commit_late_share=0.12, late_by_s=1.5
        ),
    ),
    Act(
        begins=0.52,
        rest=0.02,
        zh="WMS 报错：六成请求返回 503",
        en="failing: 60 % of the calls get a 503",
        faults=Faults(latency_ms=15, jitter_ms=30, share_5xx=0.6),
    ),
    Act(
        begins=0.64,
        zh="WMS 挂起：六成请求石沉大海",
        en="hanging: 60 % of the calls vanish",
        faults=Faults(latency_ms=15, jitter_ms=30, hang_share=0.6),
    ),
    Act(begins=0.74, zh="WMS 宕机：拒绝连接", en="down: refuses connections", faults=_FINE, down=True),
    Act(begins=0.86, zh="WMS 恢复", en="back again", faults=_FINE),
)

KAFKA_STOPS = 0.34
KAFKA_STOPPED_S = 10.0
"""From this share of the time on Kafka is stopped for so long, or for a fifth of a shorter day."""


async def stop_kafka(broker: Broker, *, during_s: float, begin: Callable[[bool], None]) -> None:
    """Stop the broker (SIGSTOP: it answers nobody, and no connection breaks), and let it go on. `begin` hears both."""
    await asyncio.sleep(KAFKA_STOPS * during_s)
    begin(True)
    with broker.stopped():
        await asyncio.sleep(min(KAFKA_STOPPED_S, during_s / 5))
    begin(False)


async def play(wms_url: str, *, during_s: float, seed: int, begin: Callable[[int, bool], None]) -> None:
    """Play all acts over `during_s`; `begin` hears of each, and (True) of the rest after it. Ends with the last one."""
    started = time.monotonic()

    async def reach(share: float) -> None:
        await asyncio.sleep(max(0.0, started + share * during_s - time.monotonic()))

    for index, act in enumerate(ACTS):
        await reach(act.begins)
        ends = ACTS[index + 1].begins if index + 1 < len(ACTS) else 1.0
        changes: dict[str, Any] = {**msgspec.structs.asdict(act.faults), "seed": seed}
        if act.down:
            changes["down_s"] = (ends - act.begins) * during_s
        begin(index, False)
        until = started + 2 * during_s
        await _tell(f"{wms_url}/faults", changes, until=until)
        if act.rest:
            await reach(ends - act.rest)
            begin(index, True)
            await _tell(f"{wms_url}/faults", {**msgspec.structs.asdict(_FINE), "seed": seed}, until=until)


async def _tell(url: str, changes: dict[str, Any], *, until: float) -> None:
    """Until it is heard: a warehouse that is coming back may take a moment."""
    while True:
        try:
            return await post(url, changes)
        except (aiohttp.ClientError, TimeoutError) as error:
            # The connection on which `down` is asked for is among those it cuts.
            if changes.get("down_s"):
                return
            if time.monotonic() > until:
                raise OrdergateError(f"the warehouse of the demo is gone: {error}") from error
            await asyncio.sleep(_AGAIN_S)
