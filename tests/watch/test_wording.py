"""How every kind reads in both languages: short, within a robot's limit, and naming only commands that there are."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import typer

from gateway.cli import app
from gateway.core.clock import DATABASE, Off
from gateway.core.notice import FAILING, PAST, RENEWAL, RESTARTS, Change, Condition, Imbalance, Key, Kind, Notice, Sign
from gateway.watch.conditions import Changed
from gateway.watch.digest import compose
from gateway.watch.wording import Language, sayer, span, words
from tests.architecture.test_imports import ROOT

T0 = datetime(2026, 5, 1, 1, 30, 5, tzinfo=UTC)
LANGUAGES: tuple[Language, ...] = ("zh", "en")
KEYS = {
    Kind.DATABASE: Key(Kind.DATABASE, "", "gateway-1"),
    Kind.TARGET: Key(Kind.TARGET, "wms-1", "create"),
    Kind.AUTHORISE: Key(Kind.AUTHORISE, "shop-a", ""),
    Kind.SHOP_NOT_READ: Key(Kind.SHOP_NOT_READ, "shop-b", ""),
    Kind.KAFKA_NOT_READ: Key(Kind.KAFKA_NOT_READ, "", ""),
    Kind.CLOCK: Key(Kind.CLOCK, "wms-1", ""),
    Kind.WORKER: Key(Kind.WORKER, "", "9f3c/0"),
    Kind.INBOX: Key(Kind.INBOX, "", ""),
    Kind.BACKLOG: Key(Kind.BACKLOG, "wms-1", "create"),
    Kind.SHIP_BY: Key(Kind.SHIP_BY, "shop-a", ""),
    Kind.LEVEL: Key(Kind.LEVEL, "shop-a", ""),
    Kind.LEDGER: Key(Kind.LEDGER, "", "WH-HZ"),
    Kind.DEAD_LETTER: Key(Kind.DEAD_LETTER, "shop-a", "json"),
    Kind.BLOCKED: Key(Kind.BLOCKED, "wms-1", "rejected:address"),
    Kind.CONFLICT: Key(Kind.CONFLICT, "shop-a", "cancelled_but_shipped"),
    Kind.HOLD: Key(Kind.HOLD, "shop-a", "missing:receiver.phone"),
}
ALONE = Off(ahead_s=63, agreeing=0, asked=1, names=())
CHANGES = [(kind, change) for kind in Kind for change in Change]


def text_of(key: Key, change: Change, language: Language, *, off: Off = ALONE) -> str:
    code = msgspec.json.encode(off).decode() if key.kind is Kind.CLOCK else "27 invalid session"
    sign = Sign(key=key, since=T0, count=132, code=code, workers=2, of_workers=3, age_s=754.0, until=T0)
    condition = Condition(key=key, opened_at=T0)
    changed = Changed(change, condition, None if change is Change.CLOSED else sign)
    said = words(changed, at=T0 + timedelta(minutes=31), language=language, runbooks="docs/runbooks/")
    notice = Notice(notice_id=1, at=T0, key=key, change=change, words=said)
    return compose([notice], limit_bytes=2048, language=language)[1]


def test_a_target_that_is_down_reads_like_this() -> None:
    assert text_of(KEYS[Kind.TARGET], Change.OPENED, "zh") == (
        "不可用：wms-1 下单，132 单在等\n"
        "始于 05-01 09:30:05 (UTC+8)。3 个进程中 2 个已熔断（多数请求失败或过慢）。"
        "网关已停止下发，自动试探，恢复后补发，不会重复。最早的一单已等 13 分钟。\n"
        "处理：联系对方确认系统状态；订单无需手工处理\n"
        "docs/runbooks/target.md"
    )
    assert text_of(KEYS[Kind.TARGET], Change.CLOSED, "zh") == (
        "已恢复：wms-1 下单\n始于 05-01 09:30:05 (UTC+8)，历时 31 分钟。"
    )
    assert text_of(KEYS[Kind.TARGET], Change.CLOSED, "en") == (
        "Up again: wms-1 create\nSince 05-01 09:30:05 (UTC+8), for 31 min."
    )


@pytest.mark.feature("F74")
def test_orders_near_their_ship_by_time_read_like_this() -> None:
    key = KEYS[Kind.SHIP_BY]
    assert text_of(key, Change.OPENED, "zh") == (
        "临近发货时限：shop-a，132 单未到仓库\n"
        "始于 05-01 09:30:05 (UTC+8)。最早的要在 05-01 09:30:05 (UTC+8) 前发货。"
        "过了时限网关也不会放弃，照常发送；迟发由平台处罚。\n"
        "处理：ordergate orders list --near-ship-by --connection shop-a，按原因处理最早的\n"
        "docs/runbooks/ship_by.md"
    )
    sign = Sign(key=key, since=T0, count=9, until=T0 + timedelta(hours=8), past=3)
    opened = Changed(Change.OPENED, Condition(key=key, opened_at=T0), sign)
    assert words(opened, at=T0, language="zh", runbooks="r/").title == (
        "临近发货时限：shop-a，9 单未到仓库，另有 3 单已过时限"
    )
    said = words(opened, at=T0, language="en", runbooks="r/")
    assert said.title == "Ship-by near: shop-a, 9 orders not at a warehouse, 3 more are past it"
    assert "The first has to be shipped by 05-01 17:30:05 (UTC+8). The gateway does not give up" in said.facts
    past = Key(Kind.SHIP_BY, "shop-a", PAST)
    assert text_of(past, Change.OPENED, "zh").startswith(
        "已过发货时限：shop-a，132 单未到仓库\n"
        "始于 05-01 09:30:05 (UTC+8)。最早的应在 05-01 09:30:05 (UTC+8) 前发货。过了"
    )
    assert text_of(past, Change.CLOSED, "zh").startswith("没有已过发货时限而未到仓库的订单了：shop-a\n")
    assert text_of(past, Change.OPENED, "en").startswith("Past ship-by: shop-a, 132 orders not at a warehouse\n")
    over = Changed(Change.CLOSED, Condition(key=key, opened_at=T0), None, past=2)
    assert [words(over, at=T0, language=language, runbooks="r/").title for language in LANGUAGES] == [
        "没有临近发货时限而未到仓库的订单了：shop-a，已过时限的有 2 单",
        "No orders near their ship-by time any more: shop-a, 2 are past it",
    ]


def test_a_ledger_that_is_off_reads_like_this() -> None:
    off = msgspec.json.encode(Imbalance("CUP-01", 3, 0, -12)).decode()
    key = KEYS[Kind.LEDGER]
    changed = Changed(Change.OPENED, Condition(key=key, opened_at=T0), Sign(key=key, since=T0, count=2, code=off))
    zh, en = (words(changed, at=T0, language=language, runbooks="docs/runbooks/") for language in LANGUAGES)
    assert zh.title == "库存账不平：WH-HZ，2 个 SKU"
    assert "库存数量不等于库存变动之和（如 CUP-01：在库差 +3、已占差 -12）。" in zh.facts
    assert "They are not the sum of their movements (as CUP-01: on hand +3, committed -12)." in en.facts
    assert en.advice.endswith("docs/runbooks/ledger.md")


def test_workers_that_end_again_and_again_read_like_this() -> None:
    key = Key(Kind.WORKER, "", RESTARTS)
    opened = text_of(key, Change.OPENED, "zh")
    assert opened.startswith("工作进程反复重启：132 次\n") and "刚升级或改过配置的，先退回" in opened
    assert text_of(key, Change.CLOSED, "en").startswith("Workers no longer end again and again\n")


def test_levels_that_do_not_get_through_are_not_said_to_be_refused() -> None:
    key = Key(Kind.LEVEL, "shop-a", FAILING)
    assert text_of(key, Change.OPENED, "zh").startswith("库存回传一再失败：shop-a，132 个商品\n")
    for language in LANGUAGES:
        said = text_of(key, Change.OPENED, language)
        assert "被拒" not in said and "refuse" not in said and "level_told" in said and "runbooks/level.md" in said
    assert text_of(key, Change.CLOSED, "en").startswith("Stock levels get through again: shop-a\n")


def test_events_that_kafka_dropped_are_not_said_to_be_kept() -> None:
    key = Key(Kind.DEAD_LETTER, "orders", "dropped")
    assert text_of(key, Change.OPENED, "zh").startswith("死信：orders Kafka 已删除，未读取，132 条\n")
    for language in LANGUAGES:
        said = text_of(key, Change.OPENED, language)
        assert "ordergate dead list --source orders --code dropped" in said
        assert "原文完整保留" not in said and "kept whole" not in said and "release" not in said


def test_what_this_gateway_lacks_is_not_blamed_on_the_target() -> None:
    sealed = text_of(Key(Kind.BLOCKED, "wms-1", "sealed"), Change.OPENED, "zh")
    assert "对方拒收" not in sealed and "把缺少的密钥加回 encryption.keys" in sealed
    assert "对方可能已收到" in sealed and "密钥确已丢失的" in sealed, "who ships by hand has to look first"
    later = text_of(Key(Kind.BLOCKED, "wms-1", "unreadable"), Change.OPENED, "en")
    assert "refuses" not in later and "upgrade the gateway" in later
    unknown = text_of(Key(Kind.BLOCKED, "wms-1", "unknown"), Change.OPENED, "zh")
    assert "到对方系统核实" in unknown
    carrier = text_of(Key(Kind.BLOCKED, "shop", "rejected:unknown_carrier"), Change.OPENED, "zh")
    assert "修改后重发" not in carrier and "在配置 carriers 里补上" in carrier, "the same content goes out after it"
    refused = text_of(Key(Kind.BLOCKED, "wms-1", "rejected:address"), Change.OPENED, "zh")
    assert "对方拒收" in refused and "修改后重发" in refused


def test_a_code_of_ours_is_told_in_words_and_by_itself() -> None:
    key = Key(Kind.SHOP_NOT_READ, "shop-b", "")
    for code, told in (("timeout", "店铺读不到：shop-b（超时没有应答 timeout）"), ("27", "店铺读不到：shop-b（27）")):
        changed = Changed(Change.OPENED, Condition(key=key, opened_at=T0), Sign(key=key, since=T0, code=code))
        assert words(changed, at=T0, language="zh", runbooks="r/").title == told


def test_events_of_unknown_sources_read_like_this() -> None:
    key = Key(Kind.DEAD_LETTER, "", "unknown_source")
    said = text_of(key, Change.OPENED, "zh")
    assert said.startswith("死信：来源没有配置，132 条\n") and "dead list --code unknown_source，" in said
    assert text_of(key, Change.CLOSED, "en").startswith("No dead letters any more: unknown_source\n")


@pytest.mark.parametrize("code", ["other", '{"behind_s": 3}'])
def test_a_clock_of_another_release_is_told_without_its_figures(code: str) -> None:
    key = Key(Kind.CLOCK, "wms-1", "")
    sign = Sign(key=key, since=T0, count=1, code=code, workers=1, of_workers=1)
    changed = Changed(Change.OPENED, Condition(key=key, opened_at=T0), sign)
    said = words(changed, at=T0, language="zh", runbooks="docs/runbooks/")
    assert said.title == "时钟不准：wms-1" and "chronyc" in said.advice


def test_a_clock_that_is_off_reads_like_this() -> None:
    ours = Off(ahead_s=63, agreeing=4, asked=5, names=(DATABASE, "shop-a", "shop-b"))
    machine = Key(Kind.CLOCK, "", "@gateway-1")
    assert text_of(machine, Change.OPENED, "zh", off=ours) == (
        "时钟不准：gateway-1（快 63 秒）\n"
        "始于 05-01 09:30:05 (UTC+8)。比对了 5 个时钟，4 个（数据库、shop-a、shop-b 等）都这样说。"
        "平台拒绝时间戳不准的请求（拼多多的轮询只容 10 秒，其他 5 至 10 分钟）。\n"
        "处理：在 gateway-1 上校准时钟，启用 NTP（chronyc tracking）\n"
        "docs/runbooks/clock.md"
    )
    assert text_of(machine, Change.OPENED, "en", off=ours).startswith("Clock off: gateway-1 is 63 s fast\n")
    assert text_of(machine, Change.CLOSED, "zh").startswith("时钟不再有偏差：gateway-1\n")


@pytest.mark.parametrize(
    ("key", "off", "title", "advice"),
    [
        # Ours is ahead of it, and agrees with the others: it is slow.
        (
            Key(Kind.CLOCK, "wms-1", ""),
            Off(ahead_s=63, agreeing=2, asked=3, names=("shop-a", DATABASE)),
            "时钟不准：wms-1（慢 63 秒）",
            "请 wms-1 的维护方校准时钟；本机无需处理",
        ),
        (
            Key(Kind.CLOCK, "", DATABASE),
            Off(ahead_s=-600, agreeing=2, asked=3, names=("shop-a", "wms-1")),
            "时钟不准：数据库（快 10 分钟）",
            "在数据库所在机器上启用 NTP（chronyc tracking）",
        ),
        (
            Key(Kind.CLOCK, "wms-1", ""),
            ALONE,
            "时钟相差 63 秒：本机与 wms-1",
            "先核对本机（chronyc tracking）；本机准确，则请 wms-1 校准",
        ),
        (
            Key(Kind.CLOCK, "", "@gateway-1"),
            Off(ahead_s=-20, agreeing=2, asked=2, names=("shop-a", "wms-1")),
            "时钟不准：gateway-1（慢 20 秒）",
            "在 gateway-1 上校准时钟，启用 NTP（chronyc tracking）",
        ),
    ],
)
def test_a_clock_is_fast_or_slow_and_somebody_has_to_set_it(key: Key, off: Off, title: str, advice: str) -> None:
    first, facts, last, _page = text_of(key, Change.OPENED, "zh", off=off).splitlines()
    assert (first, last) == (title, f"处理：{advice}")
    assert ("没有别的时钟可以判断" in facts) is (off.agreeing == 0)
    assert text_of(key, Change.OPENED, "en", off=off).isascii()


@pytest.mark.parametrize("subject", ["", RENEWAL])
def test_an_authorisation_that_is_needed_no_more_is_not_said_to_be_given_again(subject: str) -> None:
    condition = Condition(key=Key(Kind.AUTHORISE, "shop-a", subject), opened_at=T0, closed_at=T0)
    changed = Changed(Change.CLOSED, condition, None, dropped=True)
    assert [words(changed, at=T0, language=language, runbooks="r/").title for language in LANGUAGES] == [
        "按现在的配置不再需要授权：shop-a",
        "No authorisation needed any more, by the configuration: shop-a",
    ]


def test_a_refused_renewal_says_until_when_the_authorisation_lasts() -> None:
    key = Key(Kind.AUTHORISE, "shop-a", RENEWAL)
    sign = Sign(key=key, since=T0, code="27", until=T0 + timedelta(days=6))
    said = words(Changed(Change.OPENED, Condition(key=key, opened_at=T0), sign), at=T0, language="zh", runbooks="r/")
    assert said.title == "授权续期被拒：shop-a，现有授权到 05-07 09:30:05 (UTC+8) 为止"
    assert "平台返回 27" in said.facts and said.advice.endswith("authorise shop-a\nr/authorise.md")
    closed = Changed(Change.CLOSED, Condition(key=key, opened_at=T0), None)
    assert words(closed, at=T0, language="en", runbooks="r/").title == "Authorisation renewed: shop-a"


@pytest.mark.parametrize(("kind", "change"), CHANGES)
def test_every_notice_says_what_since_when_and_where_to_look(kind: Kind, change: Change) -> None:
    for language in LANGUAGES:
        text = text_of(KEYS[kind], change, language)
        assert "05-01 09:30:05 (UTC+8)" in text
        assert KEYS[kind].connection in text
        assert len(text.encode()) < 1000
        assert text.isascii() or language == "zh"
        if change is not Change.CLOSED:
            assert text.endswith(f"docs/runbooks/{kind.value}.md")


COMMAND = re.compile(r"ordergate((?: [a-z][a-z-]*)+)((?: (?:--[a-z-]+|[^\s`；，,;.)）]+))*)")


def texts() -> list[str]:
    notices = [text_of(KEYS[kind], change, language) for kind, change in CHANGES for language in LANGUAGES]
    pages = [page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("runbooks/*.md"))]
    return notices + pages


def test_every_command_that_is_named_is_there_with_its_options() -> None:
    found = set()
    for text in texts():
        for match in COMMAND.finditer(text):
            found.add(" ".join(match[0].split()))
    assert len(found) > 10
    top: Any = typer.main.get_command(app)
    for line in sorted(found):
        command = top
        parts = line.split()[1:]
        while parts and parts[0] in getattr(command, "commands", ()):
            command = command.commands[parts.pop(0)]
        assert not hasattr(command, "commands"), f"{line}: no such command"
        known = {option for parameter in command.params for option in parameter.opts}
        assert {part for part in parts if part.startswith("--")} <= known, line


@pytest.mark.parametrize(
    ("seconds", "zh", "en"),
    [
        (-1, "0 秒", "0 s"),
        (89, "89 秒", "89 s"),
        (90, "2 分钟", "2 min"),
        (5399, "1 小时 30 分钟", "1 h 30 min"),
        (7200, "2 小时", "2 h"),
        (200_000, "2 天", "2 days"),
    ],
)
def test_spans(seconds: float, zh: str, en: str) -> None:
    assert (span(seconds, sayer("zh")), span(seconds, sayer("en"))) == (zh, en)
