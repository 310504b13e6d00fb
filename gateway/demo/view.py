"""What people see: the live view on a terminal, plain lines elsewhere, the verdict. Chinese first, then English."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gateway.core.money import format_minor
from gateway.core.order import Stage
from gateway.demo.baskets import SHOPS
from gateway.demo.figures import Figures
from gateway.demo.incident import ACTS
from gateway.demo.shops import SURGE, Day
from gateway.demo.tuned import Figure
from gateway.demo.verdict import Loss, Verdict


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one frame shows."""

    orders: int
    acknowledged: int
    rate_per_s: float
    repeated: int
    elapsed_s: float
    act: int
    resting: bool = False
    kafka_stopped: bool = False
    wms_rate_per_s: float
    most_waiting: int
    opened: int
    figures: Figures


STAGES: Mapping[str, tuple[str, str]] = {
    Stage.RECEIVED: ("已接收", "received"),
    Stage.REVIEWED: ("已审核", "reviewed"),
    Stage.ALLOCATED: ("已分配", "allocated"),
    Stage.PACKED: ("部分发货", "part shipped"),
    Stage.SHIPPED: ("已发货", "shipped"),
}
RESULTS: Mapping[str, tuple[str, str]] = {
    "done": ("成功", "done"),
    "failed": ("失败重试", "failed"),
    "unknown": ("超时不明", "unknown"),
    "found": ("查到已收", "found"),
    "not_found": ("查无", "not found"),
    "throttled": ("被限流", "throttled"),
    "rejected": ("被拒收", "rejected"),
}
BREAKER: Mapping[str, tuple[str, str, str]] = {
    "closed": ("闭合", "closed", "green"),
    "open": ("断开", "open", "bold red"),
    "half_open": ("试探", "probing", "yellow"),
}
RESTING = ("缓了一口气", "a breather")
_ALWAYS = ("done", "failed", "unknown", "found", "not_found")
_TUNED: Mapping[str, str] = {
    "kafka.acknowledge_within_s": "Kafka 多久不确认",
    "retry.base_s": "重试首次停顿",
    "retry.max_s": "重试最长停顿",
    "retry.durable_base_s": "一轮之后首次停顿",
    "retry.durable_max_s": "一轮之后最长停顿",
    "breaker.window_s": "熔断判断窗口",
    "breaker.open_s": "首次熔断",
    "breaker.open_max_s": "最长熔断",
    "breaker.ramp_s": "恢复到全速",
    "notices.backlog_age_s": "多久算积压",
    "notices.settle_s": "多久算恢复",
    "wms.settle_s": "查无多久才算数",
    "wms.gates.create.rate_per_s": "WMS 限速",
    "wms.gates.create.burst": "WMS 突发",
    "wms.gates.create.in_flight": "WMS 在途",
    "wms.gates.create.deadline_s": "WMS 时限",
    "wms.gates.create.slow_s": "WMS 算慢",
    "shops.gates.ship.in_flight": "回写在途",
    "shops.gates.ship.deadline_s": "回写时限",
    "shops.gates.ship.slow_s": "回写算慢",
    "shops.pull.every_s": "店铺轮询间隔",
    "shops.pull.overlap_s": "店铺窗口重叠",
    "shops.pull.reread_days": "每日重读天数",
    "shops.rate.per_s": "店铺限速",
    "shops.rate.burst": "店铺突发",
}
"""Settings in Chinese; one that is not here is shown by its key."""
FULL_HEIGHT = 32
"""A terminal with fewer lines gets the current act alone."""


def frame(picture: Picture, *, height: int = FULL_HEIGHT) -> RenderableType:
    """One frame of the live view; fits 80 columns, and 24 lines where `height` says so."""
    sides = Table.grid(expand=True, padding=(0, 0))
    sides.add_column(ratio=1)
    sides.add_column(ratio=1)
    sides.add_row(_stages(picture.figures, kafka_stopped=picture.kafka_stopped), _gate(picture))
    return Panel(
        Group(_progress(picture), sides, _incident(picture, whole=height >= FULL_HEIGHT), _notice(picture)),
        title="[bold]1 月 5 日 15:00[/] · the incident, on this machine",
        subtitle=f"[dim]{picture.elapsed_s:.0f} s · Ctrl-C 结束 to stop[/]",
        box=box.ROUNDED,
        padding=(0, 1),
    )


def line(picture: Picture) -> str:
    """The same in one line."""
    figures = picture.figures
    state = BREAKER.get(figures.gate.state, (figures.gate.state,) * 3)
    attempts = " ".join(
        f"{RESULTS[name][0]}/{name} {count:,}" for name, count in figures.attempts.items() if count and name in RESULTS
    )
    return (
        f"{picture.elapsed_s:5.1f} s  已确认/acknowledged {picture.acknowledged:,} ({picture.rate_per_s:.0f}/s)"
        f"  WMS {figures.at_wms:,}  等待/waiting {figures.waiting:,}"
        f"  已发货/shipped {figures.stages.get(Stage.SHIPPED, 0):,}  回写/written back {figures.written_back:,}"
        f"  熔断/breaker {state[0]}/{state[1]}  Kafka {'停/stopped' if picture.kafka_stopped else '通/up'}"
        f"  收件箱/by inbox {figures.inbox_events:,}  通知/notices {figures.notices}  {attempts}"
    )


def act_line(act: int, *, resting: bool) -> str:
    return "▶ " + " · ".join(RESTING if resting else (ACTS[act].zh, ACTS[act].en))


def kafka_line(stopped: bool) -> str:
    return "▶ " + ("Kafka 停了 · Kafka is stopped" if stopped else "Kafka 回来了 · Kafka goes on")


def notice_line(text: str) -> str:
    return "企业微信 WeCom ▶ " + text.replace("\n", " ")


def introduction(day: Day, *, differs: Mapping[str, tuple[Figure, Figure]]) -> RenderableType:
    """What is going to happen, and each setting of the demo that differs, beside the default of the product."""
    times = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    times.add_column("演示改过的设置 · set for this demo", no_wrap=True)
    times.add_column("演示 demo", justify="right", no_wrap=True)
    times.add_column("默认 default", justify="right", style="dim", no_wrap=True)
    for (key, here), defaults in _alike(differs).items():
        label = f"{_TUNED[key]} [dim]{key}[/]" if key in _TUNED else key
        times.add_row(label, _with_unit(key, here), " · ".join(_with_unit(key, one) for one in defaults))
    orders = len(day.bought_s)
    return Group(
        Text.from_markup(
            f"[bold]{orders:,} 笔真实购物[/]，{day.during_s:.0f} 秒：淘宝两店、拼多多、小程序"
            " → 网关 → 奇门 WMS → 回写店铺\n"
            f"[dim]{orders:,} real purchases within {day.during_s:.0f} s: two shops on Taobao, one on Pinduoduo,"
            " a mini-program → the gateway → a Qimen WMS → shipments written back[/]\n"
            f"以真实购买的 {day.time_lapse:,.0f} 倍速下单，平均每秒 {day.per_s:.1f} 单，15:00 起变为 {SURGE:g} 倍\n"
            f"[dim]placed {day.time_lapse:,.0f} times as fast as they were bought, {day.per_s:.1f} a second on the"
            f" average, and {SURGE:g} times that from 15:00 on[/]"
        ),
        times,
    )


def introduction_without(day: Day) -> RenderableType:
    """The same day through a naive forwarder."""
    orders, during_s = len(day.bought_s), day.during_s
    return Text.from_markup(
        f"[bold]没有网关的同一天[/]：{orders:,} 笔订单，{during_s:.0f} 秒，自制中间件直连 WMS（1 秒超时，重试 3 次）\n"
        f"[dim]The same day without the gateway: {orders:,} orders within {during_s:.0f} s, a home-made middleware"
        " straight to the WMS (1 s for an answer, 3 tries)[/]"
    )


def loss_panel(loss: Loss) -> RenderableType:
    """What the naive forwarder lost and doubled."""
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    for zh, en, value, good in (
        ("店铺下单", "orders placed", loss.orders_placed, True),
        ("WMS 里的订单", "orders at the WMS", loss.orders_at_wms, loss.orders_at_wms == loss.orders_placed),
        ("丢失", "lost", loss.lost, not loss.lost),
        ("重复", "doubled", loss.duplicated, not loss.duplicated),
        ("日志里的 Sync Failed", "lines of Sync Failed", loss.sync_failed, not loss.sync_failed),
    ):
        table.add_row(f"{zh} [dim]{en}[/]", f"[{'green' if good else 'bold red'}]{value:,}[/]")
    return Panel(
        table,
        title="[bold]没有网关[/] · Without the gateway",
        border_style="red" if loss.lost or loss.duplicated else "green",
        box=box.ROUNDED,
        padding=(0, 1),
        expand=False,
    )


def verdict_panel(verdict: Verdict, *, seconds: float) -> RenderableType:
    """The verdict, figure by figure; what should be 0 and is not stands out."""
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")

    def row(zh: str, en: str, value: int, wanted: int, *, more: str = "") -> None:
        style = "green" if value == wanted else "bold red"
        table.add_row(f"{zh} [dim]{en}[/]", f"[{style}]{value:,}[/]", more)

    placed = verdict.orders_placed
    row("店铺下单（已确认）", "orders placed", placed, placed, more=f"空篮除外 empty: {verdict.excluded}")
    row("WMS 里的订单", "orders at the WMS", verdict.orders_at_wms, placed)
    row("发货已回写店铺", "written back", verdict.written_back, placed)
    row("丢失", "lost", verdict.lost, 0)
    row("重复", "doubled", verdict.duplicated, 0)
    row("数量不符的商品", "SKUs: pieces differ", verdict.skus_pieces_differ, 0, more=_out_of(verdict.skus))
    row("金额不符的商品", "SKUs: amounts differ", verdict.skus_amounts_differ, 0)
    row("网关账不符的商品", "SKUs: gateway differs", verdict.skus_gateway_differ, 0)
    row("库存不符的商品", "SKUs: stock differs", verdict.skus_stock_differ, 0)
    for zh, en, seconds_, most in (
        ("首次异常到告警", "first bad answer to alarm", verdict.notice_s, 60.0),
        ("WMS 恢复到追平", "WMS back to caught up", verdict.catch_up_s, 60.0),
    ):
        shown = "—" if seconds_ is None else f"{seconds_:.1f} s"
        style = "green" if seconds_ is not None and seconds_ <= most else "yellow"
        table.add_row(f"{zh} [dim]{en}[/]", f"[{style}]{shown}[/]", "")
    table.add_row("Kafka 停时走收件箱 [dim]by the inbox[/]", f"{verdict.inbox_events:,}", "")
    for zh, en, value in (
        ("没有下过的单", "never placed", verdict.never_placed),
        ("错误回写", "written back wrongly", verdict.written_back_wrongly),
        ("未到已发货", "not shipped", verdict.not_shipped),
        ("等人处理", "waiting for a person", verdict.for_a_person),
        ("死信", "dead letters", verdict.dead_letters),
    ):
        if value:
            row(zh, en, value, 0)
    for name, found in verdict.samples.items():
        table.add_row(f"[dim]{name}[/]", "", ", ".join(found))
    summary = (
        "[bold green]一单未丢，一单未重，件数金额分毫不差[/]\nnothing lost, nothing doubled, every figure equal"
        if verdict.ok
        else "[bold red]账目不符[/] · the accounts do not agree"
    )
    sums = (
        f"{verdict.pieces:,} 件 pieces · ¥{format_minor(verdict.amount_minor)} · {verdict.skus:,} SKU · {seconds:.0f} s"
    )
    return Panel(
        Group(Text.from_markup(summary), Text(sums, style="dim"), Text(""), table),
        title="[bold]对账结果[/] · Verdict",
        border_style="green" if verdict.ok else "red",
        box=box.ROUNDED,
        padding=(0, 1),
        expand=False,
    )


def _alike(differs: Mapping[str, tuple[Figure, Figure]]) -> dict[tuple[str, Figure], list[Figure]]:
    """Setting and value → its defaults: shops are set alike and are one row, with the default of each platform."""
    rows: dict[tuple[str, Figure], list[Figure]] = {}
    shops = {shop.name for shop in SHOPS}
    for path, (here, default) in differs.items():
        key = path.removeprefix("connections.")
        name, _, rest = key.partition(".")
        defaults = rows.setdefault((f"shops.{rest}" if name in shops else key, here), [])
        if default not in defaults:
            defaults.append(default)
    return rows


def _with_unit(key: str, figure: Figure) -> str:
    if figure is None or isinstance(figure, bool):
        return {None: "无 none", True: "是 yes", False: "否 no"}[figure]
    unit = "/s" if key.endswith("per_s") else " s" if key.endswith("_s") else ""
    return f"{figure:g}{unit}"


def _progress(picture: Picture) -> RenderableType:
    figures = picture.figures
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True, style="dim", min_width=6)
    rows = (
        ("店铺已下单", "orders placed", picture.acknowledged, f"{picture.rate_per_s:.0f}/s", "cyan"),
        ("WMS 已收单", "at the WMS", figures.at_wms, f"{picture.wms_rate_per_s:.0f}/s", "blue"),
        ("发货已回写", "written back", figures.written_back, "", "green"),
    )
    for zh, en, count, more, style in rows:
        bar = ProgressBar(
            total=picture.orders, completed=min(count, picture.orders), complete_style=style, finished_style=style
        )
        table.add_row(f"{zh} [dim]{en}[/]", bar, f"[bold]{count:,}[/]", more)
    return table


def _stages(figures: Figures, *, kafka_stopped: bool) -> RenderableType:
    table = _figures_table()
    table.add_row("收件箱 [dim]inbox[/]", _count(figures.inbox))
    known = dict(figures.stages)
    for stage, (zh, en) in STAGES.items():
        table.add_row(f"{zh} [dim]{en}[/]", _count(known.pop(stage, 0)))
    for stage, count in sorted(known.items()):
        table.add_row(f"[red]{stage}[/]", f"[red]{count:,}[/]")
    table.add_row("WMS 发货次数 [dim]confirmed[/]", _count(figures.shipped_by_wms))
    table.add_row("Kafka", "[bold red]停 stopped[/]" if kafka_stopped else "[green]通 up[/]")
    table.add_row("走收件箱 [dim]by the inbox[/]", _count(figures.inbox_events))
    return Panel(table, title="订单阶段 · stages", title_align="left", box=box.ROUNDED, border_style="dim")


def _gate(picture: Picture) -> RenderableType:
    figures = picture.figures
    gate = figures.gate
    table = _figures_table()
    zh, en, style = BREAKER.get(gate.state, (gate.state, "", "yellow"))
    left = f" {gate.reopen_in_s:.1f} s" if gate.state == "open" and gate.reopen_in_s is not None else ""
    table.add_row("熔断 [dim]breaker[/]", f"[{style}]{zh} {en}{left}[/]")
    table.add_row("断开次数 [dim]opened[/]", _count(picture.opened))
    waiting = f"[bold yellow]{figures.waiting:,}[/]" if figures.waiting > 50 else _count(figures.waiting)
    table.add_row("等待送出 [dim]waiting[/]", waiting)
    oldest = f"{figures.oldest_s:.0f} s" if figures.oldest_s >= 1 else "[dim]0 s[/]"
    table.add_row("最久已等 [dim]oldest[/]", oldest)
    table.add_row("在途请求 [dim]in flight[/]", _count(gate.in_flight))
    for name, (zh, en) in RESULTS.items():
        count = figures.attempts.get(name, 0)
        if count or name in _ALWAYS:
            table.add_row(f"{zh} [dim]{en}[/]", _count(count))
    return Panel(table, title="通往 WMS 的闸门 · gate", title_align="left", box=box.ROUNDED, border_style="dim")


def _incident(picture: Picture, *, whole: bool) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column()
    for index, act in enumerate(ACTS):
        if index == picture.act:
            zh, en = RESTING if picture.resting else (act.zh, act.en)
            style = "bold green" if picture.resting or index in (0, len(ACTS) - 1) else "bold red"
            table.add_row(f"[{style}]▶[/]", f"[{style}]{zh}[/] {en}")
        elif whole:
            mark = "[green]✓[/]" if index < picture.act else "[dim]·[/]"
            table.add_row(mark, f"[dim]{act.zh} {act.en}[/]")
    return Panel(
        table,
        title="正在发生 · what happens now",
        title_align="left",
        box=box.ROUNDED,
        border_style="dim",
    )


def _notice(picture: Picture) -> RenderableType:
    figures = picture.figures
    first, *_ = figures.last_notice.splitlines() or [""]
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append("企业微信 WeCom ", style="dim")
    text.append(f"{figures.notices} ", style="bold" if figures.notices else "dim")
    text.append(first or "—", style="yellow" if first else "dim")
    return text


def _count(count: int) -> str:
    return f"{count:,}" if count else "[dim]0[/]"


def _figures_table() -> Table:
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    return table


def _out_of(skus: int) -> str:
    return f"共 of {skus:,}"
