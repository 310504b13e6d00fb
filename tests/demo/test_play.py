"""The demo as people start it, with few orders."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import psutil
import pytest
import yaml
from rich.console import Console

from adapters.qimen.fake import signed_query
from gateway.demo import view
from gateway.demo.baskets import SHOPS
from gateway.demo.figures import Figures, GateFigures, JournalTail
from gateway.demo.incident import ACTS
from gateway.testing.fakes import Effect
from tests.pages.stage import until

ROOT = Path(__file__).resolve().parents[2]


def start(temporary: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gateway", "demo", *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def processes_in(folder: Path) -> list[str]:
    """Command lines that name the folder."""
    return [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in part for part in process.info["cmdline"] or ())
    ]


@pytest.mark.feature("F120")
async def test_a_short_day_survives_the_incident(server_folder: Path) -> None:
    """Two shops on Taobao, one on Pinduoduo and a mini-program, Kafka stopped, the warehouse worse and worse."""
    process = start(server_folder, "--orders", "200", "--seed", "3", "--json")
    out, err = await asyncio.to_thread(process.communicate, timeout=120)

    assert process.returncode == 0, out + err
    summary = msgspec.json.decode(out.splitlines()[-1])
    assert summary["orders_placed"] == summary["orders_at_wms"] == summary["written_back"] == 200, summary
    assert summary["lost"] == summary["duplicated"] == 0
    assert summary["ok"] and not summary["samples"]
    assert summary["notice_s"] is not None and summary["catch_up_s"] is not None and summary["inbox_events"] > 0
    assert summary["config"]["workers"] == 1
    differs = summary["config"]["differs"]
    assert differs["connections.wms.gates.create.rate_per_s"] == {"demo": 300.0, "default": None}
    for key, figures in differs.items():
        assert_is_shown(key.replace("connections.", ""), out, **figures)
    for act in ACTS:
        assert act.zh in out
    assert list(server_folder.iterdir()) == []
    assert processes_in(server_folder) == []


def assert_is_shown(key: str, out: str, *, demo: float, default: float | None) -> None:
    """In a row of the table before the beginning, the default beside it; shops share theirs."""
    for shop in SHOPS:
        key = key.replace(f"{shop.name}.", "shops.")
    rows = [line for line in out.splitlines() if f" {key} " in line]
    assert rows, f"{key} is not shown"
    figures = [set(re.findall(r"(?<![\w.])[0-9.]+", row.partition(key)[2])) for row in rows]
    wanted = {f"{demo:g}"} | ({f"{default:g}"} if default is not None else set())
    assert any(wanted <= shown for shown in figures), (key, wanted, rows)


def figures_of(entry: Any, key: str = "") -> dict[str, float]:
    """The numbers in a configuration, by their path. What wires it up is text."""
    if isinstance(entry, dict):
        found = [figures_of(inner, f"{key}.{name}" if key else name) for name, inner in entry.items()]
        return {path: figure for one in found for path, figure in one.items()}
    return {key: entry} if isinstance(entry, (bool, int, float)) else {}


PLANTED = ("--orders", "60", "--seed", "3", "--rate", "5", "--json")


async def test_a_lost_and_a_doubled_order_end_with_1(server_folder: Path) -> None:
    """The journal of the shops has one more order that was acknowledged, which nobody ever saw again; and somebody
    sends the warehouse once more what it has from us."""
    folder = server_folder / "kept"
    process = start(server_folder, *PLANTED, "--keep", str(folder))

    def created() -> list[Effect]:
        journal = folder / "wms.journal"
        lines = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
        effects = [msgspec.json.decode(line, type=Effect) for line in lines]
        return [effect for effect in effects if effect.command == "create"]

    def plant() -> None:
        wait_for_line(process, ACTS[0].zh)
        with (folder / "acknowledged.journal").open("ab") as journal:
            journal.write(b'{"number":"D-planted","at":1.0}\n')
        until(created, "the warehouse to have an order")
        send_again(folder, created()[0])

    summary = await ended_with(process, 1, after=plant)
    document = yaml.safe_load((folder / "ordergate.yaml").read_text(encoding="utf-8"))
    differs = {key: figures["demo"] for key, figures in summary["config"]["differs"].items()}
    assert len(differs) > 20 and differs == figures_of(document), "whatever is set, and nothing else"
    numbers = [effect.order for effect in created()]
    assert (summary["orders_placed"], summary["orders_at_wms"], summary["ok"]) == (61, 60, False)
    assert (summary["lost"], summary["samples"]["lost"]) == (1, ["D-planted"])
    assert summary["duplicated"] == len(numbers) - 60 >= 1
    assert summary["samples"]["duplicated"] == [numbers[0]]


async def ended_with(process: subprocess.Popen[str], code: int, *, after: Callable[[], None]) -> dict[str, Any]:
    """The summary of a demo that ends with `code`, once `after` has been done to it."""
    try:
        await asyncio.to_thread(after)
        out, err = await asyncio.to_thread(process.communicate, timeout=120)
    finally:
        process.terminate()
    assert process.returncode == code, out + err
    summary: dict[str, Any] = msgspec.json.decode(out.splitlines()[-1])
    return summary


def send_again(folder: Path, effect: Effect) -> None:
    """A signed Qimen request for a new document, until the warehouse of the demo has answered one."""
    document = yaml.safe_load((folder / "ordergate.yaml").read_text(encoding="utf-8"))
    wms = document["connections"]["wms"]["settings"]
    lines = "".join(
        f"<orderLine><itemCode>{sku}</itemCode><planQty>{pieces}</planQty></orderLine>"
        for sku, pieces in effect.items.items()
    )
    code = f"<deliveryOrder><deliveryOrderCode>{effect.order}</deliveryOrderCode></deliveryOrder>"
    body = f"<request>{code}<orderLines>{lines}</orderLines></request>".encode()

    def answered() -> bool:
        query = signed_query(
            "deliveryorder.create",
            body,
            secret=wms["secret"],
            app_key=wms["app_key"],
            customer_id=wms["customer_id"],
        )
        request = urllib.request.Request(f"{wms['url']}?{urlencode(query, quote_via=quote)}", body)
        try:
            with urllib.request.urlopen(request, timeout=2) as answer:
                return b"success" in answer.read()
        except OSError:
            return False

    until(answered, "the warehouse to take it again")


def wait_for_line(process: subprocess.Popen[str], part: str) -> None:
    """Until it has said a line with `part`, or has ended."""
    assert process.stdout is not None
    for line in process.stdout:
        if part in line:
            return


@pytest.mark.real
async def test_the_same_day_without_the_gateway_loses_orders(server_folder: Path) -> None:
    process = start(server_folder, "--orders", "150", "--seed", "3", "--without-gateway", "--json")
    out, err = await asyncio.to_thread(process.communicate, timeout=120)

    assert process.returncode == 0, out + err
    loss = msgspec.json.decode(out.splitlines()[-1])
    assert loss["without_gateway"] and loss["orders_placed"] == 150
    assert loss["lost"] == loss["orders_placed"] - loss["orders_at_wms"] > 10
    assert loss["sync_failed"] > 10
    assert "没有网关" in out and "Sync Failed" in out
    assert list(server_folder.iterdir()) == []
    assert processes_in(server_folder) == []


@pytest.mark.real
@pytest.mark.parametrize("at", ["setting the scene", ACTS[2].zh, "Kafka is stopped"])
async def test_control_c_cleans_up(server_folder: Path, at: str) -> None:
    """Also while the database is starting, which goes on in a thread of its own."""
    process = start(server_folder, "--orders", "100")
    await asyncio.wait_for(asyncio.to_thread(wait_for_line, process, at), 60)
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.to_thread(process.communicate, timeout=60)

    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert list(server_folder.iterdir()) == []
    assert processes_in(server_folder) == []


async def test_a_folder_in_use_is_left_alone(server_folder: Path) -> None:
    (server_folder / "mine").write_text("precious")
    process = start(server_folder, "--orders", "100", "--keep", str(server_folder))
    _, err = await asyncio.to_thread(process.communicate, timeout=60)

    assert process.returncode == 1
    assert "not empty" in err
    assert [path.name for path in server_folder.iterdir()] == ["mine"]


@pytest.mark.parametrize("height", [24, 32])
@pytest.mark.parametrize("act", range(len(ACTS)))
def test_a_frame_fits_an_ordinary_terminal(height: int, act: int) -> None:
    picture = view.Picture(
        orders=2_000,
        acknowledged=1_234,
        rate_per_s=44.7,
        kafka_stopped=True,
        repeated=3,
        elapsed_s=31.0,
        act=act,
        wms_rate_per_s=190,
        most_waiting=345,
        opened=4,
        figures=Figures(
            stages={"received": 1, "allocated": 400, "packed": 12, "shipped": 821},
            at_wms=1_100,
            written_back=800,
            oldest_s=12.3,
            inbox_events=45,
            notices=3,
            last_notice="【WMS 停】wms create：连续超时，已熔断 12 秒，345 单在等\n其余照常",
            gate=GateFigures(state="open", reopen_in_s=2.3, open=345, parked=300, in_flight=16),
            attempts={"done": 1_000, "failed": 200, "unknown": 100, "found": 60, "not_found": 40, "throttled": 0},
        ),
    )
    console = Console(width=80, height=height, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(view.frame(picture, height=height))

    shown = capture.get()
    # The cursor's line below the frame has to fit too.
    assert len(shown.splitlines()) < height
    assert "…" not in shown
    assert ACTS[act].en in shown


def test_the_tail_of_a_journal_counts_whole_lines_once(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    tail = JournalTail(path)
    tail.read_on()
    line = b'{"order":"A1","command":"create","at":1.0}\n'
    path.write_bytes(line + line[:10])
    tail.read_on()
    assert (tail.commands["create"], tail.orders) == (1, {"A1"})
    with path.open("ab") as file:
        file.write(line[10:])
    tail.read_on()
    tail.read_on()
    assert tail.commands["create"] == 2
