"""Every code that people meet has words in both languages: what is added without any is found here."""

from __future__ import annotations

import ast
import enum
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from gateway.api.views import NoticesQuery
from gateway.core import words
from gateway.core.delivery import Result
from gateway.core.happening import ConnectionState
from gateway.core.notice import Change, Kind
from gateway.core.order import Conflict, Operation, Reason, Stage, Stale
from gateway.core.owner import OwnerKind, WorkKind
from gateway.core.stock import Balance
from gateway.core.text import Text
from gateway.dispatch.breaker import State, _label
from gateway.settings import ReceiverField
from gateway.store.queries import Happened, LaneRow
from gateway.store.redrive import RedriveRow
from gateway.store.wanted import Group
from tests.languages import CHINESE

ROOT = Path(__file__).resolve().parents[2]


def literal(kind: type, field: str) -> Iterator[str]:
    """The values of a Literal, also of one that is optional."""
    for part in (hint := get_type_hints(kind)[field], *get_args(hint)):
        yield from (value for value in get_args(part) if isinstance(value, str))


def given(call: str, place: int) -> set[str]:
    """The texts that stand in the code as an argument of `call`."""
    found = set()
    for top in ("gateway", "adapters"):
        for file in (ROOT / top).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == call:
                    argument = node.args[place] if len(node.args) > place else None
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        found.add(argument.value)
    return found


def actions() -> set[str]:
    """What is written down of what people did to an order."""
    found = set()
    for file in (ROOT / "gateway").rglob("*.py"):
        if file.name != "words.py":
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    kind, _, deed = node.value.partition(".")
                    if kind in ("order", "delivery", "dead_letter") and deed.isidentifier() and deed.islower():
                        found.add(node.value)
    return found


ANSWERS = {
    code
    for call in ("Failed", "Unknown", "Rejected", "Unauthorised", "NotSent", "NoAnswer")
    for code in given(call, 0)
    if not code.startswith("http_")
}
BREAKERS = {_label(state, reason) for state in State for reason in (None, "by hand")}

SETS: list[tuple[str, Iterable[Any], Mapping[Any, Text]]] = [
    ("stages", Stage, words.STAGES),
    ("reasons", get_args(Reason), words.REASONS),
    ("conflicts", get_args(Conflict), words.CONFLICTS),
    ("letters", given("BadInput", 0) | given("DeadLetter", 2) | {"behind", "signature", "too_large"}, words.LETTERS),
    ("operations", Operation, words.OPERATIONS),
    ("results", Result, words.RESULTS),
    ("lanes", literal(LaneRow, "state"), words.LANES),
    ("breakers", BREAKERS, words.BREAKERS),
    ("connections", ConnectionState, words.CONNECTIONS),
    ("work", get_args(WorkKind), words.WORK),
    ("notices", Kind, words.NOTICES),
    ("changes", Change, words.CHANGES),
    ("notice states", literal(NoticesQuery, "state"), words.NOTICE_STATES),
    ("redrives", literal(RedriveRow, "state"), words.REDRIVES),
    ("hows", literal(Group, "how"), words.HOWS),
    ("happened", (kind.__struct_config__.tag for kind in get_args(Happened)), words.HAPPENED),
    ("balance", Balance.__struct_fields__[1:], words.BALANCE),
    ("actions", actions(), words.ACTIONS),
    ("fields", (*get_args(ReceiverField), "lines"), words.FIELDS),
    ("blocks", ["rejected", "unknown", "unreadable", "sealed"], words.BLOCKS),
    ("answers", ANSWERS | {"unsupported", "redirect"}, words.ANSWERS),
    ("resolutions", ["open", "released", "discarded", "superseded"], words.RESOLUTIONS),
]


@pytest.mark.parametrize(("codes", "told"), [row[1:] for row in SETS], ids=[row[0] for row in SETS])
def test_every_code_has_words(codes: Iterable[Any], told: Mapping[Any, Text]) -> None:
    wanted = set(codes)
    assert len(wanted) > 2 and wanted == set(told)
    for code, said in told.items():
        name = code.name if isinstance(code, enum.IntEnum) else str(code)
        assert CHINESE.search(said.zh) and said.zh != name, code
        assert said.en and not CHINESE.search(said.en), code
    assert len({said.zh for said in told.values()}) == len(told), "two codes that read the same"


@pytest.mark.parametrize(
    ("said", "zh", "en"),
    [
        (words.reason("unpaid"), "未付款", "not paid"),
        (words.reason("missing:receiver.phone"), "缺少收件人电话", "the receiver's telephone is missing"),
        (words.reason("missing:content.colour"), "缺少content.colour", "content.colour is missing"),
        (words.reason("of_a_later_release"), "of_a_later_release", "of_a_later_release"),
        (words.blocked("rejected:http_4xx"), "被目标拒收（http_4xx）", "the target refuses it (http_4xx)"),
        (
            words.blocked("rejected:unknown_carrier"),
            "被目标拒收（快递公司没有对照）",
            "the target refuses it (unknown_carrier)",
        ),
        (words.blocked("unknown"), "不清楚对方是否已收到", "nobody knows whether the target has it"),
        (words.answer("timeout"), "超时没有应答", "no answer in time"),
        (words.answer("find:timeout"), "查询时超时没有应答", "asked: no answer in time"),
        (words.answer("find:S07"), "查询时S07", "asked: S07"),
        (words.answer("isv.user-not-exist"), "isv.user-not-exist", "isv.user-not-exist"),
        (words.result("not_found"), "查到对方没有", "not found there"),
        (words.subject("backlog", "create"), "下单", "create"),
        (words.subject("blocked", "unknown"), "不清楚对方是否已收到", "nobody knows whether the target has it"),
        (words.subject("conflict", "held_after_sent"), "下发后被平台暂停发货", "held by the channel after it was sent"),
        (words.subject("dead_letter", "json"), "报文不是 JSON", "the payload is not JSON"),
        (words.subject("authorise", "renewal"), "续期被拒", "renewal refused"),
        (words.subject("authorise", ""), "", ""),
        (words.subject("worker", "9f3c/0"), "9f3c/0", "9f3c/0"),
    ],
)
def test_what_is_not_one_of_few_is_told_too(said: Text, zh: str, en: str) -> None:
    assert said == Text(zh, en)


def test_what_a_redrive_does_has_words() -> None:
    assert set(literal(RedriveRow, "does")) == set(words.DOES)
    assert all(CHINESE.search(said.zh) and not CHINESE.search(said.en) for said in words.DOES.values())


def test_why_an_event_changed_nothing_has_words() -> None:
    assert set(get_args(Stale)) == set(words.STALE)
    assert all(CHINESE.search(said.zh) and not CHINESE.search(said.en) for said in words.STALE.values())


def test_every_kind_of_notice_may_have_an_owner() -> None:
    assert set(Kind) <= set(get_args(OwnerKind))
