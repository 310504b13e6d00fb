"""Which notices share a message, when one may leave, and that a text keeps its limit between two characters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.notice import Change, Key, Kind, Notice, Words
from gateway.core.owner import OwnerRule
from gateway.sdk.notify import Limits
from gateway.store.notices import Usage
from gateway.watch.digest import Channel, Outlet, Style, compose, fit, mentioned, plan, room

T0 = datetime(2026, 5, 1, 1, 30, tzinfo=UTC)
LIMITS = Limits(messages=20, window_s=65.0, text_bytes=2048)
STYLE = Style(language="zh")

pytestmark = pytest.mark.feature("F81")


def notice(
    number: int,
    kind: Kind = Kind.DEAD_LETTER,
    connection: str = "shop-a",
    *,
    change: Change = Change.OPENED,
    age_s: float = 0.0,
    apart: bool = False,
    refused_by: tuple[str, ...] = (),
) -> Notice:
    return Notice(
        notice_id=number,
        at=T0 - timedelta(seconds=age_s),
        key=Key(kind, connection, f"code-{number}"),
        change=change,
        words=Words(
            f"死信：{connection} code-{number}，{number} 条", "始于 05-01 09:30:05 (UTC+8)。", "处理：修复后放行"
        ),
        apart=apart,
        refused_by=refused_by,
    )


def channel(name: str = "robot", *usages: Usage) -> Channel:
    outlets = tuple(Outlet(f"{name}-{number}", usage) for number, usage in enumerate(usages or (Usage(),)))
    return Channel(name, LIMITS, outlets)


def test_few_go_out_one_by_one_and_those_of_one_kind_and_connection_together() -> None:
    notices = [notice(1), notice(2), notice(3, connection="shop-b"), notice(4, Kind.TARGET, "wms-1")]
    drafts = plan(notices, [channel()], at=T0, style=STYLE)
    assert [draft.notices for draft in drafts] == [(4,), (1, 2), (3,)]
    assert drafts[1].body == (
        "2 条通知：死信 2\n· 死信：shop-a code-1，1 条\n· 死信：shop-a code-2，2 条\n"
        "最早的一条：05-01 09:30:00 (UTC+8)。\n处理：修复后放行"
    )


def test_more_than_there_is_room_for_are_merged_by_kind_and_then_into_one() -> None:
    many = [notice(number, connection=f"shop-{number}") for number in range(50)]
    others = [notice(100 + number, Kind.TARGET, f"wms-{number}") for number in range(30)]
    by_kind = plan(many + others, [channel()], at=T0, style=STYLE)
    assert [len(draft.notices) for draft in by_kind] == [30, 50]
    one_left = Usage(used=9, last_at=T0)
    [all_in_one] = plan(many + others, [channel("robot", one_left)], at=T0, style=STYLE)
    assert sorted(all_in_one.notices) == sorted(n.notice_id for n in many + others)
    assert all_in_one.body.startswith("80 条通知：目标不可用 30、死信 50\n· ")
    assert len(all_in_one.body.encode()) <= LIMITS.text_bytes
    shown = all_in_one.body.count("\n· ")
    assert f"……另有 {80 - shown} 条，见 ordergate notices list" in all_in_one.body


@pytest.mark.parametrize(
    ("usage", "urgent", "messages"),
    [
        (Usage(), False, 10),
        (Usage(used=9), False, 1),
        (Usage(used=10, last_at=T0), False, 0),
        (Usage(used=10, last_at=T0 - timedelta(seconds=6.5)), False, 1),
        (Usage(used=15, last_at=T0 - timedelta(seconds=30)), False, 0),
        (Usage(used=15, last_at=T0 - timedelta(seconds=30)), True, 1),
        (Usage(used=20, last_at=T0 - timedelta(seconds=30)), True, 0),
        (Usage(hold_until=T0 + timedelta(seconds=1)), True, 0),
        (Usage(hold_until=T0), True, 10),
    ],
)
def test_when_a_message_may_leave(usage: Usage, urgent: bool, messages: int) -> None:
    assert room(usage, LIMITS, at=T0, urgent=urgent) == messages


def test_several_outlets_share_the_load() -> None:
    notices = [notice(number, connection=f"shop-{number}") for number in range(12)]
    drafts = plan(notices, [channel("robot", Usage(), Usage())], at=T0, style=STYLE)
    assert sorted(draft.outlet for draft in drafts) == ["robot-0"] * 6 + ["robot-1"] * 6


RESTING = Usage(hold_until=T0 + timedelta(seconds=60))
OUT = Usage(hold_until=T0 + timedelta(seconds=300))


@pytest.mark.parametrize(
    ("robot", "age_s", "asked"),
    [
        (Usage(), 0, "robot"),
        (RESTING, 0, None),
        (RESTING, 89, None),
        (RESTING, 90, "mail"),
        (OUT, 0, "mail"),
        (Usage(used=20, last_at=T0), 0, None),
        (Usage(used=20, last_at=T0), 90, "mail"),
    ],
)
def test_the_next_channel_is_asked_after_a_bounded_time(robot: Usage, age_s: float, asked: str | None) -> None:
    drafts = plan([notice(1, age_s=age_s)], [channel("robot", robot), channel("mail")], at=T0, style=STYLE)
    assert [draft.channel for draft in drafts] == ([asked] if asked else [])


def test_what_a_channel_refuses_goes_to_the_next_one_and_the_rest_does_not() -> None:
    notices = [notice(1, refused_by=("robot",)), notice(2)]
    drafts = plan(notices, [channel("robot"), channel("mail")], at=T0, style=STYLE)
    assert [(draft.channel, draft.notices) for draft in drafts] == [("robot", (2,)), ("mail", (1,))]


def test_what_was_refused_together_goes_alone() -> None:
    notices = [notice(1, apart=True), notice(2, apart=True), notice(3), notice(4)]
    assert [draft.notices for draft in plan(notices, [channel()], at=T0, style=STYLE)] == [(1,), (2,), (3, 4)]


@pytest.mark.parametrize(
    "usage", [Usage(), Usage(used=9, last_at=T0), Usage(used=15, last_at=T0 - timedelta(minutes=1))]
)
def test_what_has_to_go_alone_keeps_nothing_else_from_being_told(usage: Usage) -> None:
    alone = [notice(number, apart=True) for number in range(1, 400)]
    drafts = plan([*alone, notice(900, Kind.TARGET, "wms-1")], [channel("robot", usage)], at=T0, style=STYLE)
    assert drafts[0].notices == (900,)


def test_what_begins_stands_before_what_is_over() -> None:
    notices = [notice(1, Kind.TARGET, change=Change.CLOSED), notice(2, Kind.CONFLICT), notice(3, Kind.TARGET)]
    assert [draft.notices for draft in plan(notices, [channel()], at=T0, style=STYLE)] == [(3,), (2,), (1,)]


def test_the_first_rule_that_fits_names_the_owners_each_once() -> None:
    rules = [
        OwnerRule(connection="wms-1", kind="target", people=("wang",)),
        OwnerRule(connection="wms-1", people=("li",)),
        OwnerRule(people=("ops", "wang")),
    ]
    assert mentioned([notice(1, Kind.TARGET, "wms-1")], rules) == ("wang",)
    assert mentioned([notice(1, Kind.BACKLOG, "wms-1")], rules) == ("li",)
    assert mentioned([notice(1), notice(2, Kind.TARGET, "wms-1")], rules) == ("ops", "wang")
    assert mentioned([notice(1)], []) == ()


@given(st.text(), st.integers(min_value=3, max_value=200))
def test_a_text_is_cut_between_two_characters(text: str, limit: int) -> None:
    short = fit(text, limit)
    assert len(short.encode()) <= limit
    whole = text.encode("utf-8", "replace").decode()
    assert short == whole or (short.endswith("…") and whole.startswith(short[:-1]))


@given(st.lists(st.text(min_size=1, max_size=300), min_size=1, max_size=80), st.integers(300, 2048))
def test_every_notice_is_shown_or_counted_within_the_limit(titles: list[str], limit: int) -> None:
    notices = [
        Notice(
            notice_id=number,
            at=T0,
            key=Key(Kind.DEAD_LETTER, "shop", str(number)),
            change=Change.OPENED,
            words=Words(title.replace("\n", " "), "", ""),
        )
        for number, title in enumerate(titles)
    ]
    title, text = compose(notices, limit_bytes=limit, language="zh")
    assert len(text.encode("utf-8", "replace")) <= limit
    if len(titles) > 1:
        assert title == f"{len(titles)} 条通知：死信 {len(titles)}"
        shown = text.count("\n· ")
        assert shown == len(titles) or f"……另有 {len(titles) - shown} 条" in text
