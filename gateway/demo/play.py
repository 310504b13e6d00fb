"""The demo from beginning to end: sets the scene, lets the shops sell and the warehouse fail, shows it, and judges.

Leaves nothing behind: processes end and the folder is removed, whether it ends by itself or by Ctrl-C.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
import msgspec
from rich.console import Console, RenderableType
from rich.live import Live

from gateway.core.errors import OrdergateError
from gateway.demo import alarm, incident, naive, verdict, view
from gateway.demo.baskets import BEIJING, Basket, Totals, data_file, sample
from gateway.demo.figures import Figures, Watch
from gateway.demo.scene import WAREHOUSE, WMS, Scene, open_scene
from gateway.demo.shops import SURGE, Day, Shops, day_of
from gateway.demo.tuned import Figure, differences
from gateway.demo.verdict import Verdict

STOCK_SPARE = 5
"""Pieces of every product that are on the shelf beyond what is sold."""

_FRAME_S = 0.25
_LINE_S = 2.0
_RATE_OVER_S = 2.0
_STUCK_S = 60.0
_CAUGHT_UP_S = 10.0
_STOCK_AT_ONCE = 2_000


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for. `per_s`: orders a second before the surge; None: those of the baskets, in time-lapse."""

    orders: int = 2_000
    seed: int = 1
    per_s: float | None = None
    keep: Path | None = None
    as_json: bool = False
    without_gateway: bool = False


async def run_demo(wishes: Wishes) -> int:
    """Play it. The exit code: 0 when nothing was lost or doubled and all figures are equal, 1 if not, 130 stopped."""
    task = asyncio.current_task()
    assert task is not None

    def stop() -> None:
        # Once: a second Ctrl-C must not cut off the cleaning up.
        if not task.cancelling():
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        return await _play(wishes)
    except asyncio.CancelledError:
        print("已停止，已清理 / stopped, cleaned up", file=sys.stderr)
        return 130
    except BaseExceptionGroup as errors:
        # One reason is what a person can do something about; the rest fell with it.
        reason: BaseException = errors
        while isinstance(reason, BaseExceptionGroup):
            reason = reason.exceptions[0]
        if isinstance(reason, (OrdergateError, OSError)):
            raise reason from None
        raise


async def _play(wishes: Wishes) -> int:
    data_file()  # said at once when it is not installed
    console = Console(highlight=False)
    baskets = list(sample(wishes.orders, seed=wishes.seed))
    day = day_of(baskets, per_s=wishes.per_s)
    began = time.monotonic()
    if wishes.without_gateway:
        with _folder(wishes.keep) as folder:
            console.print(view.introduction_without(day))
            loss = await naive.play(folder, baskets, day, seed=wishes.seed, console=console)
        console.print(view.loss_panel(loss))
        if wishes.as_json:
            figures = {**msgspec.structs.asdict(loss), "without_gateway": True, "seed": wishes.seed}
            print(msgspec.json.encode(figures).decode(), flush=True)
        return 0
    with _folder(wishes.keep) as folder:
        console.print("[dim]准备数据库、WMS、店铺和网关 … setting the scene[/]")
        async with open_scene(folder) as scene:
            differs = differences(scene.configuration)
            console.print(view.introduction(day, differs=differs))
            await _fill_shelves(scene, baskets)
            result = await _Performance(scene, wishes, baskets, day, console).run()
        seconds = time.monotonic() - began
        console.print(view.verdict_panel(result, seconds=seconds))
        if wishes.keep is not None:
            console.print(f"[dim]日志、账本和数据 logs, books and data: {folder}[/]")
        if wishes.as_json:
            print(_summary(result, wishes, day, differs, seconds).decode(), flush=True)
    return 0 if result.ok else 1


class _Performance:
    """One run on a scene that is set."""

    def __init__(self, scene: Scene, wishes: Wishes, baskets: list[Basket], day: Day, console: Console) -> None:
        self._scene = scene
        self._wishes = wishes
        self._baskets = baskets
        self._day = day
        self._console = console
        # The purchases are of 2017; moved as a whole, so that the last one was made just now.
        last = max(basket.bought_at for basket in baskets)
        shift = timedelta(seconds=int((datetime.now(BEIJING) - last).total_seconds()) - 60)
        self._shops = Shops(
            hooks_url=f"{scene.gateway_url}/hooks",
            secrets=scene.secrets,
            platforms=scene.platforms,
            journal=scene.acknowledged,
            shift=shift,
        )
        self._watch = Watch(scene, self._shops.placed)
        self._figures = Figures()
        self._act = 0
        self._resting = False
        self._kafka_stopped = False
        self._told = 0
        self._back_at: float | None = None
        self._caught_up_at: float | None = None
        self._most_waiting = 0
        self._opened = 0
        self._at_wms: deque[tuple[float, int]] = deque()
        self._began = time.monotonic()

    async def run(self) -> Verdict:
        """Until everything has come to rest, or nothing has moved for a minute."""
        self._began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            seed, during_s = self._wishes.seed, self._day.during_s
            playing = [
                group.create_task(self._shops.sell(self._baskets, self._day), name="shops"),
                group.create_task(
                    incident.play(self._scene.wms_url, during_s=during_s, seed=seed, begin=self._begin_act),
                    name="incident",
                ),
                group.create_task(
                    incident.stop_kafka(self._scene.broker, during_s=during_s, begin=self._stop_kafka), name="kafka"
                ),
            ]
            showing = group.create_task(self._show(), name="view")
            await self._settled(playing)
            showing.cancel()
        scene = self._scene
        judged = verdict.judge(
            acknowledged=verdict.read_journal(scene.acknowledged),
            totals=self._shops.totals,
            wms=await verdict.read_books(scene.wms_url),
            shops=await verdict.read_books(scene.shops_url),
            platforms={
                number: scene.platforms.told(placed.basket.shop, placed.basket.order_no)
                for number, placed in self._shops.placed.items()
                if placed.basket.shop.name in scene.platforms.shops
            },
            known=await verdict.read_known(scene.database_url),
            stock_left=STOCK_SPARE,
        )
        calls = await alarm.read_calls(scene.database_url)
        slow_s = scene.configuration["connections"][WMS]["gates"]["create"]["slow_s"]
        return msgspec.structs.replace(
            judged,
            notice_s=alarm.notice_s(calls, scene.wecom.told, slow_s=slow_s),
            catch_up_s=(round(self._caught_up_at - self._back_at, 1) if self._caught_up_at and self._back_at else None),
            inbox_events=self._figures.inbox_events,
        )

    def _begin_act(self, act: int, resting: bool) -> None:
        self._act, self._resting = act, resting
        if act == len(incident.ACTS) - 1:
            self._back_at = time.monotonic()
        self._say(view.act_line(act, resting=resting))

    def _stop_kafka(self, stopped: bool) -> None:
        self._kafka_stopped = stopped
        self._say(view.kafka_line(stopped))

    def _say(self, line: str) -> None:
        """Where nobody looks at a live view."""
        if not self._console.is_terminal:
            self._console.print(line, soft_wrap=True, markup=False)

    async def _settled(self, playing: list[asyncio.Task[None]]) -> None:
        moved_at, before = time.monotonic(), self._figures
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            while True:
                figures = await self._watch.look(session)
                self._most_waiting = max(self._most_waiting, figures.waiting)
                self._opened += figures.gate.state == "open" and self._figures.gate.state != "open"
                self._figures = figures
                for told in self._scene.wecom.told[self._told :]:
                    self._say(view.notice_line(told.text))
                    self._told += 1
                if self._back_at and not self._caught_up_at and figures.oldest_s < _CAUGHT_UP_S:
                    self._caught_up_at = time.monotonic()
                self._at_wms.append((time.monotonic(), figures.at_wms))
                over = all(task.done() for task in playing)
                if over and figures.settled and sum(figures.stages.values()) >= self._shops.acknowledged:
                    return
                progress = (figures.stages, figures.written_back, figures.at_wms)
                if progress != (before.stages, before.written_back, before.at_wms) or not over:
                    moved_at, before = time.monotonic(), figures
                if time.monotonic() - moved_at > _STUCK_S:
                    return
                await asyncio.sleep(_FRAME_S)

    async def _show(self) -> None:
        if not self._console.is_terminal:
            while True:
                await asyncio.sleep(_LINE_S)
                self._console.print(view.line(self._picture()), soft_wrap=True, markup=False)

        def frame() -> RenderableType:
            return view.frame(self._picture(), height=self._console.height)

        with Live(frame(), console=self._console, auto_refresh=False) as live:
            try:
                while True:
                    live.update(frame(), refresh=True)
                    await asyncio.sleep(_FRAME_S)
            finally:
                live.update(frame(), refresh=True)

    def _wms_rate_per_s(self) -> float:
        while len(self._at_wms) > 1 and self._at_wms[0][0] < self._at_wms[-1][0] - _RATE_OVER_S:
            self._at_wms.popleft()
        if len(self._at_wms) < 2:
            return 0.0
        (since, before), (now, after) = self._at_wms[0], self._at_wms[-1]
        return (after - before) / (now - since)

    def _picture(self) -> view.Picture:
        return view.Picture(
            orders=self._wishes.orders,
            acknowledged=self._shops.acknowledged,
            rate_per_s=self._shops.rate_per_s(),
            repeated=self._shops.repeated,
            elapsed_s=time.monotonic() - self._began,
            wms_rate_per_s=self._wms_rate_per_s(),
            act=self._act,
            resting=self._resting,
            kafka_stopped=self._kafka_stopped,
            most_waiting=self._most_waiting,
            opened=self._opened,
            figures=self._figures,
        )


async def _fill_shelves(scene: Scene, baskets: list[Basket]) -> None:
    """Put what will be sold and a little more on the shelf, through the gateway's own API."""
    totals = Totals()
    for basket in baskets:
        totals.add(basket)
    items = [
        {"sku": sku, "warehouse": WAREHOUSE, "on_hand": pieces + STOCK_SPARE} for sku, pieces in totals.pieces.items()
    ]
    headers = {"Authorization": f"Bearer {scene.token}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=60)) as session:
        for first in range(0, len(items), _STOCK_AT_ONCE):
            body = msgspec.json.encode({"items": items[first : first + _STOCK_AT_ONCE], "reason": "opening count"})
            async with session.put(f"{scene.gateway_url}/api/v1/stock", data=body) as answer:
                if answer.status != 200:
                    raise OrdergateError(f"the stock was not taken: {await answer.text()}")


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Where everything of this run lies; removed at the end unless it is to be kept.

    Not below TMPDIR's depths: a socket's path is short, and the database's account has to get there.
    """
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise OrdergateError(f"{keep} is not empty: name a new folder")
        yield keep.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="ordergate-demo-"))
    try:
        folder.chmod(0o711)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _summary(
    result: Verdict, wishes: Wishes, day: Day, differs: Mapping[str, tuple[Figure, Figure]], seconds: float
) -> bytes:
    figures = msgspec.structs.asdict(result)
    return msgspec.json.encode(
        {
            **figures,
            "ok": result.ok,
            "seconds": round(seconds, 1),
            "seed": wishes.seed,
            "config": {
                "orders_per_s": round(day.per_s, 1),
                "time_lapse": round(day.time_lapse, 1),
                "surge": SURGE,
                "workers": 1,
                "differs": {key: {"demo": here, "default": default} for key, (here, default) in differs.items()},
            },
        }
    )
