"""What the commands print of an answer, in the API's own shapes."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.api.advice import NextStep
from gateway.api.masking import state_of
from gateway.api.views import (
    BreakerView,
    ConditionList,
    ConditionView,
    DeadLetterList,
    DeadLetterPage,
    ForcedView,
    GateList,
    GateView,
    LaneList,
    OrderList,
    OrderPage,
    RedriveList,
    RedrivePreview,
    RedriveStarted,
    Released,
    StockList,
    UnmappedList,
    WorkCard,
    WorkCards,
    WorkerGate,
    WorkItem,
    WorkItems,
)
from gateway.cli import main
from gateway.core.event import ConnectionName
from gateway.core.notice import Kind
from gateway.core.order import Confirmation, Order, OrderNumber, Parcel, Register, Sku, Stage
from gateway.core.text import Text
from gateway.store.queries import (
    AttemptEnded,
    ByHand,
    ContentEdited,
    DeadLetterRow,
    Decided,
    DeliveryPlanned,
    EventSeen,
    Happened,
    LaneRow,
    OrderRow,
    Redriven,
    SetAside,
    StockMoved,
)
from gateway.store.redrive import RedriveRow
from gateway.store.reparse import Reparsed
from gateway.store.review import Approved
from gateway.store.skus import UnmappedSku
from gateway.store.stock import Missing, StockRow
from gateway.store.wanted import Group, Preview, Wanted
from tests.core.sample import PLACED_AT, content
from tests.languages import CHINESE
from tests.remote.answering import OK, answering

ORDER = OrderRow(
    order_id=1,
    number="A1",
    connection="shop",
    stage=Stage.RECEIVED,
    reasons=("unpaid", "channel_hold"),
    conflicts=(),
    created_at=PLACED_AT,
    updated_at=PLACED_AT,
    ship_by=PLACED_AT + timedelta(days=2),
)
LANE = LaneRow(
    number="A1",
    target="wms",
    seq=1,
    last_seq=1,
    operation="create",
    key="create",
    state="blocked",
    stopped=None,
    blocked="rejected",
    in_doubt=False,
    bursts=0,
    not_before=PLACED_AT,
    opened_at=PLACED_AT,
    worker=None,
    attempts=3,
    last_at=PLACED_AT,
    last_result="rejected",
    last_code="business",
    last_detail="SKU unknown",
)
LETTER = DeadLetterRow(
    dead_letter_id=7,
    source="shop",
    type="ordergate.order.v1",
    event_id="E1",
    order_key="1",
    number="A1",
    code="field",
    message=Text("$.lines：缺少", "$.lines: is missing"),
    advice=Text("补上", "add it"),
    leg="kafka",
    partition=0,
    position=1,
    body_bytes=2,
    happened_at=PLACED_AT,
    taken_at=PLACED_AT,
    created_at=PLACED_AT,
    closed_at=None,
    closed_by=None,
    resolution=None,
)
TIMELINE: list[Happened] = [
    EventSeen(at=PLACED_AT, n=1, event_id="E1", source="shop", type="order", happened_at=PLACED_AT, stage="received"),
    EventSeen(
        at=PLACED_AT,
        n=2,
        event_id="E0",
        source="shop",
        type="order",
        happened_at=PLACED_AT,
        stage="received",
        stale="older",
        reasons=("unpaid", "missing:receiver.phone"),
    ),
    Decided(at=PLACED_AT, stage="reviewed", reasons=("short_of_stock",)),
    Decided(at=PLACED_AT, stage="allocated", reasons=()),
    DeliveryPlanned(at=PLACED_AT, target="wms", seq=1, operation="create", key="create"),
    DeliveryPlanned(at=PLACED_AT, target="shop", seq=1, operation="ship", key="ship:wms/MSG-77"),
    AttemptEnded(
        at=PLACED_AT,
        target="wms",
        seq=1,
        result="rejected",
        code="business",
        detail="SKU unknown",
        took_ms=12,
        worker=1,
    ),
    StockMoved(at=PLACED_AT, sku="X", warehouse="W1", on_hand=-2, locked=0, committed=-2),
    ContentEdited(at=PLACED_AT, target="wms", seq=1, author="wang"),
    SetAside(at=PLACED_AT, dead_letter_id=7, code="field", resolution="released"),
    Redriven(at=PLACED_AT, redrive_id=3, target="wms", seq=1, author="admin/li", state="done"),
    ByHand(at=PLACED_AT, actor="admin/li", action="delivery.resolve", subject="wms/1", reason="typed in"),
    ByHand(at=PLACED_AT, actor="admin/li", action="dead_letter.release", subject="#7", reason="put right"),
]
NEXT = NextStep(
    zh="排除原因后成批重发", en="send all again", command="ordergate deliveries redrive", call="POST /redrives"
)
CARD = WorkCard(
    kind="delivery",
    connection="wms",
    operation="create",
    code="unknown",
    means=Text("不清楚", "nobody knows"),
    count=400,
    oldest=PLACED_AT,
    newest=PLACED_AT,
    samples=("A1", "A2"),
    owners=("仓库组", "王五"),
    next=NEXT,
)
ITEM = WorkItem(
    kind="delivery",
    number="A1",
    channel_no="1",
    shop="shop",
    connection="wms",
    operation="create",
    code="unknown",
    codes=("unknown",),
    means=Text("不清楚", "nobody knows"),
    since=PLACED_AT,
    seq=1,
    dead_letter_id=None,
    stage="allocated",
    latest_ship_at=PLACED_AT,
    last_at=PLACED_AT,
    last_result="unknown",
    last_code="deadline",
    owners=("仓库组",),
    next=NEXT,
)
REDRIVE = RedriveRow(
    redrive_id=3,
    does="send",
    state="stopped",
    wanted=Wanted(target="wms"),
    reason="they are back",
    author="admin/li",
    forced=False,
    per_s=20.0,
    created_at=PLACED_AT,
    starts_at=PLACED_AT + timedelta(seconds=3),
    next_at=PLACED_AT + timedelta(seconds=9),
    ended_at=PLACED_AT,
    ended_by="admin/li",
    total=10,
    waiting=0,
    released=0,
    done=5,
    found=2,
    withdrawn=1,
    again=1,
    skipped=0,
    kept=3,
    undone=1,
    left=0,
)
STOCK = StockRow(sku="茶", warehouse="W1", on_hand=9, locked=1, committed=2, available=6)


@contextmanager
def answering_with(answer: Any) -> Iterator[str]:
    body = msgspec.json.encode(answer)
    with answering(OK + b"%d\r\n\r\n%s" % (len(body), body)) as (url, _):
        yield url


def printed(capsys: pytest.CaptureFixture[str], answer: Any, *command: str) -> str:
    """What the command prints when the gateway answers so."""
    with answering_with(answer) as url:
        with pytest.raises(SystemExit) as ended:
            main([*command, "--url", url, "--token", "og_token"])
    out = capsys.readouterr()
    assert not ended.value.code, out.err
    return out.out


LISTS = {
    ("orders", "list"): (
        lambda rest: OrderList(orders=[ORDER], next=rest),
        "A1 shop 已接收 未付款、平台暂停发货 2026-05-03 09:00:00 2026-05-01 09:00:00",
    ),
    ("deliveries", "list"): (
        lambda rest: LaneList(deliveries=[LANE], next=rest),
        "A1 wms 1 下单 待人工 被目标拒收 3 被拒收 business",
    ),
    ("dead", "list"): (
        lambda rest: DeadLetterList(dead_letters=[LETTER], next=rest),
        "7 shop A1 报文字段缺失或多余 $.lines：缺少 补上",
    ),
    ("work", "items"): (lambda rest: WorkItems(items=[ITEM], next=rest), "下发受阻 A1 shop wms 下单 不清楚 unknown"),
    ("redrives", "list"): (
        lambda rest: RedriveList(redrives=[REDRIVE], next=rest),
        "3 重发 已停止 10 0 0 5 2 1 they are back admin/li 2026-05-01 09:00:03",
    ),
    ("stock", "list"): (lambda rest: StockList(stock=[STOCK], next=rest), "茶 W1 9 1 2 6"),
}


@pytest.mark.parametrize("command", LISTS, ids=" ".join)
def test_a_list_says_whether_it_goes_on(command: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    answer, row = LISTS[command]
    whole = printed(capsys, answer(""), *command)
    cut_off = printed(capsys, answer("7"), *command)
    assert row in " ".join(whole.split()) and "还有更多" not in whole
    assert row in " ".join(cut_off.split()) and "还有更多" in cut_off and "--after 7" in cut_off
    assert "there are more" in printed(capsys, answer("7"), *command, "--lang", "en")


CODES = {
    ("orders", "list"): "代码：received 已接收；unpaid 未付款；channel_hold 平台暂停发货",
    ("deliveries", "list"): "代码：create 下单；blocked 待人工；rejected 被目标拒收",
    ("dead", "list"): "代码：field 报文字段缺失或多余",
    ("work", "items"): "代码：delivery 下发受阻；create 下单",
}


@pytest.mark.parametrize("command", CODES, ids=" ".join)
def test_below_a_list_stand_the_codes_that_filters_take(
    command: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert CODES[command] in printed(capsys, LISTS[command][0](""), *command)


def test_where_no_order_is_found_it_is_said_where_else_one_may_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert "见 `ordergate dead list`" in printed(capsys, OrderList(orders=[]), "orders", "list", "--number", "A1")
    assert "dead list" not in printed(capsys, OrderList(orders=[ORDER]), "orders", "list")


def test_in_english_the_codes_are_the_words(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, OrderList(orders=[ORDER]), "orders", "list", "--lang", "en")
    assert "A1 shop received unpaid channel_hold" in " ".join(out.split()) and not CHINESE.search(out)


def test_an_order_number_stays_on_one_line_where_the_rest_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    number = "TB" + "3927461500123" * 4
    message, advice = Text("缺少 " * 80, "is missing " * 40), Text("补上 " * 80, "add it " * 40)
    letter = msgspec.structs.replace(LETTER, number=number, message=message, advice=advice)
    assert number in printed(capsys, DeadLetterList(dead_letters=[letter]), "dead", "list")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"not_before": PLACED_AT.replace(year=2090)}, "等待 至 2090-05-01 09:00:00"),
        ({}, "等待"),
        ({"stopped": "paused"}, "等待（连接已暂停）"),
        ({"stopped": "authorise", "state": "held"}, "排队发送（需重新授权）"),
        ({"stopped": "breaker"}, "等待（闸门手动断开）"),
    ],
)
def test_a_delivery_that_waits_says_for_what(
    capsys: pytest.CaptureFixture[str], changes: dict[str, Any], told: str
) -> None:
    lane = msgspec.structs.replace(LANE, **{"state": "waiting", "blocked": None, **changes})
    shown = " ".join(printed(capsys, LaneList(deliveries=[lane]), "deliveries", "list").split())
    assert f"下单 {told} 3 被拒收" in shown


GATE = GateView(
    target="wms",
    operation="create",
    paused=False,
    forced=None,
    open=12,
    parked=3,
    blocked=1,
    worker=WorkerGate(
        target="wms",
        operation="create",
        held=9,
        queued=1,
        in_flight=8,
        limit=32,
        waiting=0,
        breaker=BreakerView(
            state="half_open",
            cause="timeouts",
            failure_share=0.5,
            calls=10,
            reopen_in_s=None,
            refused=0,
            dry_run=False,
        ),
        questions=None,
    ),
)
CONDITION = ConditionView(
    kind=Kind.BLOCKED, connection="wms", subject="rejected:sku", opened_at=PLACED_AT, clear_since=None, told=3
)


def test_gates_and_conditions_are_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    gates = printed(capsys, GateList(gates=[GATE], workers=2), "gates", "list")
    assert "wms 下单 试探 12 3 1 9 8/32 50%" in " ".join(gates.split()) and "代码：create 下单" in gates
    assert GATE.worker is not None
    patient = msgspec.structs.replace(GATE.worker, throttled_for_s=2990.4)
    gates = printed(capsys, GateList(gates=[msgspec.structs.replace(GATE, worker=patient)], workers=2), "gates", "list")
    assert "试探，被限流，还有 2990 秒" in gates
    paced = msgspec.structs.replace(GATE.worker, learnt_per_s=41.7)
    gates = printed(capsys, GateList(gates=[msgspec.structs.replace(GATE, worker=paced)], workers=2), "gates", "list")
    assert "试探，被限流，降到每秒 42 次" in gates
    paced = msgspec.structs.replace(GATE.worker, learnt_per_s=0.1)
    gates = printed(capsys, GateList(gates=[msgspec.structs.replace(GATE, worker=paced)], workers=2), "gates", "list")
    assert "降到每秒 0.1 次" in gates, "it is not nothing"
    asking = msgspec.structs.replace(GATE.worker, questions=msgspec.structs.replace(GATE.worker.breaker, state="open"))
    gates = printed(capsys, GateList(gates=[msgspec.structs.replace(GATE, worker=asking)], workers=2), "gates", "list")
    assert "8/32 50% 断开" in " ".join(gates.split())
    # The worker that answers has not looked at the database yet: what was ordered is told at once.
    forced = ForcedView(state="open", reason="仓库盘点", author="admin/li", until_at=PLACED_AT)
    held = GateList(gates=[msgspec.structs.replace(GATE, forced=forced)], workers=2)
    told = "断开，到 2026-05-01 09:00:00：仓库盘点 (admin/li)"
    assert told in " ".join(printed(capsys, held, "gates", "list").split())
    english = printed(capsys, held, "gates", "list", "--lang", "en")
    assert "open until 2026-05-01 09:00:00: 仓库盘点 (admin/li)" in " ".join(english.split())
    paused = msgspec.structs.replace(GATE, forced=msgspec.structs.replace(forced, until_at=None))
    ended = GateList(gates=[paused], workers=2)
    assert "断开，直到恢复：仓库盘点 (admin/li)" in " ".join(printed(capsys, ended, "gates", "list").split())
    english = printed(capsys, ended, "gates", "list", "--lang", "en")
    assert "open until resumed: 仓库盘点 (admin/li)" in " ".join(english.split())
    conditions = printed(capsys, ConditionList(watched=True, conditions=[CONDITION]), "notices", "open")
    assert "待人工 wms 被目标拒收（sku） 2026-05-01 09:00:00 3" in " ".join(conditions.split())
    assert "代码：blocked 待人工；rejected:sku 被目标拒收（sku）" in conditions


@pytest.mark.parametrize("command", LISTS, ids=" ".join)
def test_a_program_gets_the_answer_as_it_is(command: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    answer = LISTS[command][0]("7")
    assert json.loads(printed(capsys, answer, *command, "--json")) == json.loads(msgspec.json.encode(answer))


def test_an_order_that_is_let_pass_is_said_to_with_its_total(capsys: pytest.CaptureFixture[str]) -> None:
    passed = ("over_limit", "missing:receiver.phone")
    command = ("orders", "approve", "A1", "-r", "x")
    out = printed(capsys, Approved(passed=passed, left=("unpaid",), total_minor=900_000), *command)
    assert out == ("已放行：金额超过审核上限、缺少收件人电话 (9000.00)；即将重新判断\n还在等待：未付款\n")
    out = printed(capsys, Approved(passed=passed[1:], left=()), *command, "--lang", "en")
    assert out == "passed: missing:receiver.phone; the order is decided again in a moment\n"


def test_an_order_is_shown_with_its_prices_and_all_that_happened(capsys: pytest.CaptureFixture[str]) -> None:
    order = Order(
        number=OrderNumber("A1"),
        connection=ConnectionName("shop"),
        content=Register(1, 0, msgspec.structs.replace(content({"X": 2}, total_minor=2000), latest_ship_at=PLACED_AT)),
        reasons=("unpaid",),
        conflicts=("warehouse_exception",),
        confirmations={"wms/MSG-77": Confirmation("MSG-77", True, (Parcel("SF", "SF0001", ((Sku("X"), 2),)),))},
    )
    page = OrderPage(
        number="A1",
        created_at=PLACED_AT,
        updated_at=PLACED_AT,
        masked=True,
        order=state_of(order, unmask=False),
        lanes=[LANE],
        timeline=TIMELINE,
        missing=(
            Missing(sku="CUP", warehouse="W1", pieces=3, available=1),
            Missing(sku="TEA", warehouse="W1", pieces=2, available=None),
        ),
    )
    out = " ".join(printed(capsys, page, "orders", "show", "A1").split())
    assert "1 X 2 10.00" in out and "快递 运单号 仓库商品 × 件数 SF SF0001 X × 2" in out
    assert "缺货 SKU 仓库 缺少 可用" in out and "CUP W1 3 1 TEA W1 2" in out
    assert "A1 shop 已接收 未付款 仓库报告异常 金额：20.00 CNY 最晚发货：2026-05-01 09:00:00" in out
    assert "A1 wms 1 下单 待人工" in out
    for told in (
        "收到消息 #1 shop order → 已接收 2026",
        "收到消息 #2 shop order → 已接收：未付款、缺少收件人电话（比已知的旧，未采用）",
        "重新判断 → 已审核：库存不足 2026",
        "重新判断 → 已分配 2026",
        "计划下发 wms 1 下单",
        "计划下发 shop 1 发货回传 wms/MSG-77",
        "下发结果 wms 1 被拒收 business SKU unknown (12 ms)",
        "库存变动 X W1 在库 -2 锁定 +0 已占 -2",
        "修改内容 wms 1 wang",
        "死信 #7 报文字段缺失或多余，已放行",
        "批量重发 #3 wms 1 admin/li",
        "人工操作 admin/li 标记已处理 wms/1 typed in",
        "人工操作 admin/li 放行死信 #7 put right",
    ):
        assert told in out
    english = " ".join(printed(capsys, page, "orders", "show", "A1", "--lang", "en").split())
    for told in (
        "event #1 shop order → received 2026",
        "event #2 shop order → received: unpaid missing:receiver.phone (older than what was known, not taken over)",
        "attempt wms 1 rejected business SKU unknown (12 ms)",
        "stock X W1 on_hand -2 locked +0 committed -2",
        "by hand admin/li taken for done wms/1 typed in",
    ):
        assert told in english


def test_times_are_those_of_beijing_or_of_the_zone_that_is_set(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = OrderList(orders=[ORDER])
    assert "2026-05-01 09:00:00" in printed(capsys, answer, "orders", "list")
    monkeypatch.setenv("ORDERGATE_TIMEZONE", "UTC")
    assert "2026-05-01 01:00:00" in printed(capsys, answer, "orders", "list")
    for wrong in ("Mars/Olympus", "../../etc/passwd"):
        monkeypatch.setenv("ORDERGATE_TIMEZONE", wrong)
        with answering_with(answer) as url, pytest.raises(SystemExit) as ended:
            main(["orders", "list", "--url", url, "--token", "og_token"])
        assert ended.value.code == 1 and "ORDERGATE_TIMEZONE" in capsys.readouterr().err


def test_a_card_says_how_many_why_since_when_whose_and_what_next(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, WorkCards(cards=[CARD], total=400), "work", "list")
    for told in (
        "400 × 下发受阻 wms 下单: 不清楚 (unknown)  [仓库组、王五]",
        "如 A1、A2",
        "→ 排除原因后成批重发: ordergate deliveries redrive",
        "共 400 项",
    ):
        assert told in out
    assert "400 × delivery wms create: nobody knows" in printed(
        capsys, WorkCards(cards=[CARD], total=400), "work", "list", "--lang", "en"
    )
    assert "没有待办" in printed(capsys, WorkCards(cards=[], total=0), "work", "list")


def test_a_look_before_a_redrive_says_what_is_asked_first(capsys: pytest.CaptureFixture[str]) -> None:
    group = Group(
        kind="delivery",
        connection="wms",
        operation="create",
        code="unknown",
        how="ask",
        count=40,
        oldest=PLACED_AT,
        newest=PLACED_AT,
        samples=("A1",),
    )
    look = RedrivePreview(
        preview=Preview(total=40, chosen=30, staying=0, elsewhere=10, groups=(group,)), per_s=20.0, takes_s=1.5
    )
    out = " ".join(printed(capsys, look, "deliveries", "redrive", "--target", "wms").split())
    assert "wms 下单 不清楚对方是否已收到 40" in out and "先查询对方，没有才发送" in out
    assert "符合 40，将处理 30，留给人工 0，在其他批次中 10" in out and "每秒 20 个，约需 2 秒" in out


def test_a_stopped_redrive_says_what_came_back(capsys: pytest.CaptureFixture[str]) -> None:
    out = " ".join(printed(capsys, REDRIVE, "redrives", "show", "3").split())
    for told in (
        "条件 目标 wms",
        "停止时未动 3",
        "已恢复原状 1",
        "又受阻 1",
        "其中对方已有 2",
        "其中未发出：此前已取消 1",
        "开始 2026-05-01 09:00:03",
    ):
        assert told in out


@pytest.mark.parametrize(
    ("wanted", "zh", "en"),
    [
        (
            Wanted(kinds=("delivery",), operation="create", code="rejected:http_4xx", since=PLACED_AT),
            "条件 类型 下发受阻；操作 下单；原因 被目标拒收（http_4xx）；受阻自 2026-05-01 09:00:00",
            "Filter kind delivery; operation create; code rejected:http_4xx; since 2026-05-01 09:00:00",
        ),
        (
            Wanted(kinds=("dead_letter",), source="shop", code="field", until=PLACED_AT),
            "条件 类型 死信；来源 shop；原因 报文字段缺失或多余；受阻早于 2026-05-01 09:00:00",
            "Filter kind dead_letter; source shop; code field; before 2026-05-01 09:00:00",
        ),
    ],
)
def test_what_a_redrive_takes_is_told_in_words(
    wanted: Wanted, zh: str, en: str, capsys: pytest.CaptureFixture[str]
) -> None:
    row = msgspec.structs.replace(REDRIVE, wanted=wanted)
    out = printed(capsys, row, "redrives", "show", "3")
    assert zh in " ".join(out.split()) and f"{wanted.code} " in out.splitlines()[-1]
    assert en in " ".join(printed(capsys, row, "redrives", "show", "3", "--lang", "en").split())


def test_a_look_goes_by_the_rate_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    look = RedrivePreview(preview=Preview(total=40, chosen=30, staying=0, elsewhere=10, groups=()), per_s=10, takes_s=3)
    command = ("deliveries", "redrive", "--target", "wms", "--dry-run")
    assert "每秒 10 个，约需 3 秒；要执行：不写 --dry-run，加 --yes --reason" in printed(capsys, look, *command)
    assert "每秒 0.5 个，约需 60 秒" in printed(capsys, look, *command, "--rate", "0.5")
    assert "店铺已取消" not in printed(capsys, look, *command)
    off = msgspec.structs.replace(look, preview=msgspec.structs.replace(look.preview, called_off=2))
    assert "其中 2 个订单店铺已取消或退款：先下单，取消随后发出" in printed(capsys, off, *command)
    nothing = msgspec.structs.replace(look, preview=msgspec.structs.replace(look.preview, total=0, chosen=0))
    out = printed(capsys, nothing, *command)
    assert "没有符合条件的" in out and "要执行" not in out
    told = json.loads(printed(capsys, look, *command, "--rate", "0.5", "--json"))
    assert (told["per_s"], told["takes_s"]) == (0.5, 60.0)


def test_skus_that_are_not_all_are_not_told_as_all(capsys: pytest.CaptureFixture[str]) -> None:
    unmapped = UnmappedList(skus=[UnmappedSku(sku="X", name="茶", orders=3)])
    command = ("skus", "list", "shop", "--unmapped")
    assert "或许还有" not in printed(capsys, unmapped, *command)
    out = printed(capsys, unmapped, *command, "--limit", "1")
    assert "压住订单最多的 1 个，或许还有：用 --limit，或 ordergate skus template shop table.xlsx" in out
    for also in (("--sku", "X"), ("--refused",), ("--after", "X")):
        with pytest.raises(SystemExit):
            main([*command, *also, "--token", "og_x"])
        assert "--unmapped" in capsys.readouterr().err


def test_a_redrive_that_resolves_says_what_cannot_be_undone(capsys: pytest.CaptureFixture[str]) -> None:
    resolves = msgspec.structs.replace(REDRIVE, does="resolve", done=7, found=0, again=0, kept=3, undone=0)
    out = " ".join(printed(capsys, resolves, "redrives", "show", "3").split())
    for told in ("做什么 标记已处理", "已标记 7", "已变化而跳过 0", "停止时未动 3", "已标记的不能撤销"):
        assert told in out
    assert "已恢复原状" not in out and "又受阻" not in out
    assert "不能撤销" not in printed(capsys, REDRIVE, "redrives", "show", "3")
    out = printed(capsys, resolves, "redrives", "show", "3", "--lang", "en")
    assert "takes for handled" in out and "what is resolved cannot be undone" in out
    untouched = msgspec.structs.replace(resolves, done=0, kept=10)
    assert "不能撤销" not in printed(capsys, untouched, "redrives", "show", "3")

    running = msgspec.structs.replace(resolves, state="running", done=0, kept=0, waiting=10)
    command = ("deliveries", "resolve-many", "--target", "wms", "--yes", "-r", "x")
    out = printed(capsys, RedriveStarted(redrive=running, note=Text("", "")), *command)
    assert "批次 3：标记已处理 10 个，每秒 20 个，2026-05-01 09:00:09 开始" in out
    assert "ordergate redrives stop 3 -r REASON" in out and "已标记的不能撤销" in out
    sends = RedriveStarted(redrive=REDRIVE, note=Text("", ""))
    out = printed(capsys, sends, "deliveries", "redrive", "--target", "wms", "--yes", "-r", "x")
    assert "批次 3：重发 10 个" in out and "不能撤销" not in out

    look = Preview(total=3, chosen=3, staying=0, elsewhere=0, groups=())
    out = printed(capsys, look, "deliveries", "resolve-many", "--target", "wms")
    assert "--start-in 秒（默认 10）内可停止，已标记的不能撤销" in out


@pytest.mark.parametrize("group", ["work", "orders", "deliveries", "redrives", "dead", "gates", "stock"])
def test_every_command_shows_how_it_is_called(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    from typer.main import get_command

    from gateway.cli import app

    commands = get_command(app).commands[group].commands  # type: ignore[attr-defined]
    assert commands
    for name, command in commands.items():
        assert command.epilog and f"ordergate {group} {name}" in command.epilog, name
        assert {"--json", "--url", "--token"} <= {option for p in command.params for option in p.opts}, name


@pytest.mark.parametrize("payload", [b'{"a": 1}', b"\xff\x00\n", b""], ids=["text", "bytes", "empty"])
def test_a_payload_is_written_as_it_is_and_for_its_owner_only(
    payload: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = DeadLetterPage(dead_letter=LETTER, base64=base64.b64encode(payload).decode())
    file = tmp_path / "letter.json"
    assert printed(capsys, page, "dead", "show", "7", "-o", str(file)) == f"已写入 {file}\n"
    assert file.read_bytes() == payload and file.stat().st_mode & 0o777 == 0o600
    told = json.loads(printed(capsys, page, "dead", "show", "7", "-o", str(file), "--json"))
    assert told == {"file": str(file), "bytes": len(payload)}


def test_a_payload_that_cannot_be_opened_writes_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = DeadLetterPage(dead_letter=LETTER, unopened=Text("密钥不在配置里", "its key is not there"))
    with answering_with(page) as url, pytest.raises(SystemExit) as ended:
        main(["dead", "show", "7", "-o", str(tmp_path / "x"), "--url", url, "--token", "og_token"])
    assert ended.value.code == 1 and "密钥不在配置里" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_dead_letter_says_how_its_payload_is_had(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, DeadLetterPage(dead_letter=LETTER), "dead", "show", "7")
    assert "ordergate dead show 7 -o 文件" in out
    shown = printed(capsys, DeadLetterPage(dead_letter=LETTER, text="{}", base64="e30="), "dead", "show", "7")
    assert "-o 文件" not in shown


def test_a_closed_dead_letter_says_who_closed_it_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    letter = msgspec.structs.replace(LETTER, closed_at=PLACED_AT, closed_by="admin/li", resolution="released")
    page = DeadLetterPage(dead_letter=letter, closed_reason="put right")
    out = " ".join(printed(capsys, page, "dead", "show", "7").split())
    assert "处理人 admin/li" in out and "处理 已放行" in out and "处理原因 put right" in out


@pytest.mark.parametrize("behind", [0, 2])
def test_a_discard_says_that_it_is_done_whatever_waited_behind(behind: int, capsys: pytest.CaptureFixture[str]) -> None:
    answer = Released(events=behind)
    assert printed(capsys, answer, "dead", "discard", "7", "-r", "x") == f"已放弃；其后 {behind} 条消息重新处理\n"
    english = printed(capsys, answer, "dead", "discard", "7", "-r", "x", "--lang", "en")
    assert english == f"discarded; {behind} event(s) behind it go through again\n"


@pytest.mark.parametrize(
    ("page", "payload"),
    [
        (DeadLetterPage(dead_letter=LETTER), ""),
        (DeadLetterPage(dead_letter=LETTER, text='{"a": 1}', base64="eyJhIjogMX0="), '{"a": 1}'),
        (DeadLetterPage(dead_letter=LETTER, text=None, base64="/w=="), "/w=="),
        (DeadLetterPage(dead_letter=LETTER, text="", base64=""), ""),
    ],
    ids=["masked", "text", "bytes", "empty"],
)
def test_a_dead_letter_ends_with_its_payload_where_it_was_asked_for(
    page: DeadLetterPage, payload: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed(capsys, page, "dead", "show", "7")
    assert "$.lines：缺少" in out
    last = out.rstrip("\n").splitlines()[-1]
    assert last == payload if payload else "处理 未处理" in " ".join(out.split())


@pytest.mark.parametrize(
    "command", [("orders", "list"), ("gates", "list"), ("stock", "list"), ("work", "list")], ids=" ".join
)
@pytest.mark.parametrize("answer", [{}, [], None, {"orders": [{}], "gates": [{}], "stock": [{}], "cards": [{}]}])
def test_an_answer_of_another_release_is_told_as_that(
    answer: Any, command: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with answering_with(answer) as url, pytest.raises(SystemExit) as ended:
        main([*command, "--url", url, "--token", "og_token"])
    err = capsys.readouterr().err
    assert ended.value.code == 1 and "网关是别的版本？" in err and "is it of another release?" in err
    assert json.loads(printed(capsys, answer, *command, "--json")) == answer


def test_an_order_s_number_is_asked_for_as_it_was_meant() -> None:
    for given in ("AA1001", " AA1001\u3000", "ＡＡ１００１"):
        with answering(OK + b"2\r\n\r\n{}") as (url, asked), pytest.raises(SystemExit):
            main(["orders", "show", given, "--json", "--url", url, "--token", "og_token"])
        assert asked().startswith(b"GET /api/v1/orders/AA1001 HTTP/1.1\r\n")
        with answering(OK + b"2\r\n\r\n{}") as (url, asked), pytest.raises(SystemExit):
            main(["orders", "list", "--number", given, "--json", "--url", url, "--token", "og_token"])
        assert b"number=AA1001 " in asked() or b"number=AA1001&" in asked()


def test_a_gateway_without_tls_is_not_told_as_one_that_forbids(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (url, _), pytest.raises(SystemExit) as ended:
        main(["orders", "list", "--url", url.replace("http:", "https:"), "--token", "og_token"])
    err = capsys.readouterr().err
    assert ended.value.code == 1 and "TLS 出错" in err and "不允许" not in err


@pytest.mark.parametrize(("how", "follows"), [("--dry-run", "leave --dry-run out"), ("-rx", "decided again")])
def test_what_parsing_again_changes_is_named(capsys: pytest.CaptureFixture[str], how: str, follows: str) -> None:
    answer = Reparsed(messages=3, changes=("content.receiver", "payment"))
    said = printed(capsys, answer, "orders", "reparse", "A1", how, "--lang", "en")
    assert said.startswith("3 messages; what differs: content.receiver, payment\n") and follows in said
    answer = Reparsed(messages=3, changes=())
    assert printed(capsys, answer, "orders", "reparse", "A1", how) == "3 条报文，与已知一致\n"
