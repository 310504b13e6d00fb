"""Which notices go together into which message, through which outlet, and how that reads. Pure.

Few notices go out one by one, those of one kind and connection together. When more is to say than the outlet's rate has
room for, they are merged: by kind, and then all into one. Nothing is left out without being counted: a text that is
full ends with how many more there are and where to read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from gateway.core.notice import Change, Kind, Notice
from gateway.core.owner import OwnerRule, matter_of, owners_of
from gateway.core.words import NOTICES
from gateway.sdk.notify import Limits
from gateway.store.notices import Draft, Usage
from gateway.watch.wording import Language, Say, sayer, when

_RESERVE = 4
"""A quarter of an outlet's rate is kept for what is urgent."""

_SOON_S = 120.0
"""Between two tries, and at its limit, an outlet rests for less; one that is out rests for longer."""

_KINDS = tuple(Kind)


class Outlet(msgspec.Struct, frozen=True):
    """One outlet of a channel, and what has gone through it."""

    name: str
    usage: Usage


class Channel(msgspec.Struct, frozen=True):
    """One medium, as planning sees it."""

    name: str
    limits: Limits
    outlets: tuple[Outlet, ...]


class Style(msgspec.Struct, frozen=True, kw_only=True):
    """How messages are made: language, who owns what, and how long a channel that cannot is waited for."""

    language: Language
    owners: tuple[OwnerRule, ...] = ()
    hand_over_s: float = 90.0


def plan(notices: Sequence[Notice], channels: Sequence[Channel], *, at: datetime, style: Style) -> list[Draft]:
    """The messages to send now. What is in none of them waits for the rate, or for a channel that comes back.

    Channels are asked in their order; the next one gets what the one before has not been able to take for
    `hand_over_s`, or has refused.
    """
    drafts: list[Draft] = []
    left = sorted(notices, key=_order)
    for channel in channels:
        mine = [notice for notice in left if channel.name not in notice.refused_by]
        if not mine:
            continue
        urgent = any(notice.urgent for notice in mine)
        rooms = {outlet.name: room(outlet.usage, channel.limits, at=at, urgent=urgent) for outlet in channel.outlets}
        if any(rooms.values()):
            drafts += _drafts(channel, rooms, mine, style)
        elif not _resting(channel, at, style) or _waited_s(mine, at) >= style.hand_over_s:
            continue
        taken = {notice.notice_id for notice in mine}
        left = [notice for notice in left if notice.notice_id not in taken]
    return drafts


def room(usage: Usage, limits: Limits, *, at: datetime, urgent: bool) -> int:
    """How many messages may leave through an outlet now.

    The first half of the rate at once, the rest evenly over the window, so that an outlet under a storm still speaks
    every few seconds: with 20 in 65 s ten at once, then one every 6.5 s, the last five only for what is urgent.
    """
    if usage.hold_until is not None and usage.hold_until > at:
        return 0
    half = max(1, limits.messages // 2)
    if usage.used < half:
        return half - usage.used
    cap = limits.messages if urgent else limits.messages - limits.messages // _RESERVE
    if usage.used >= cap:
        return 0
    pace = timedelta(seconds=limits.window_s / max(1, limits.messages - half))
    return 1 if usage.last_at is None or at - usage.last_at >= pace else 0


def is_out(usage: Usage, *, at: datetime, hand_over_s: float) -> bool:
    """Whether an outlet rests for so long, after failing or a refusal, that what waits for it goes elsewhere."""
    soon = at + timedelta(seconds=min(hand_over_s, _SOON_S))
    return usage.hold_until is not None and usage.hold_until > soon


def fit(text: str, limit_bytes: int) -> str:
    """`text` within `limit_bytes` of UTF-8, cut between two characters and marked with …"""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit_bytes:
        return raw.decode()
    mark = "…".encode()
    return raw[: max(0, limit_bytes - len(mark))].decode("utf-8", "ignore") + "…"


def compose(notices: Sequence[Notice], *, limit_bytes: int, language: Language) -> tuple[str, str]:
    """Title and text of one message that holds all of `notices`, most urgent first.

    It says when the first of them came: what begins, ends and begins again would read the same the second time, and a
    medium that drops what it has just been sent (WeCom's applications do) would keep it to itself.
    """
    say = sayer(language)
    notices = sorted(notices, key=_order)
    first = notices[0].words
    if len(notices) == 1:
        return first.title, fit("\n".join(filter(None, (first.title, first.facts, first.advice))), limit_bytes)
    title = _summary(notices, say)
    alike = len({(notice.key.kind, notice.key.connection, notice.change) for notice in notices}) == 1
    since = when(min(notice.at for notice in notices))
    tail = say(f"\n最早的一条：{since}。", f"\nThe first of them: {since}.")
    tail += f"\n{first.advice}" if alike and first.advice else ""
    return title, _listed(title, [notice.words.title for notice in notices], tail, limit_bytes, say)


def mentioned(notices: Iterable[Notice], rules: Sequence[OwnerRule]) -> tuple[str, ...]:
    """Names of the people to mention, each once."""
    found: dict[str, None] = {}
    for notice in notices:
        found.update(dict.fromkeys(owners_of(matter_of(notice.key), rules)))
    return tuple(found)


def _drafts(channel: Channel, rooms: Mapping[str, int], notices: Sequence[Notice], style: Style) -> list[Draft]:
    rooms = dict(rooms)
    drafts = []
    for group in _grouped(notices, sum(rooms.values())):
        outlet = max(rooms, key=lambda name: rooms[name])
        rooms[outlet] -= 1
        title, body = compose(group, limit_bytes=channel.limits.text_bytes, language=style.language)
        drafts.append(
            Draft(
                channel=channel.name,
                outlet=outlet,
                title=title,
                body=body,
                people=mentioned(group, style.owners),
                notices=tuple(notice.notice_id for notice in group),
            )
        )
    return drafts


def _grouped(notices: Sequence[Notice], messages: int) -> list[list[Notice]]:
    """`notices` in at most so many groups, most urgent first; those that find no room are in none.

    Some have to go alone, hundreds perhaps: one message is kept from them for all the others.
    """
    rest = [notice for notice in notices if not notice.apart]
    alone = [[notice] for notice in notices if notice.apart][: messages - bool(rest)]
    groups = alone + (_together(rest, messages - len(alone)) if rest else [])
    return sorted(groups, key=lambda group: _order(group[0]))


def _together(notices: Sequence[Notice], messages: int) -> list[list[Notice]]:
    for together in (
        lambda notice: (notice.key.kind, notice.key.connection, notice.change),
        lambda notice: (notice.key.kind,),
    ):
        groups: dict[tuple[str, ...], list[Notice]] = {}
        for notice in notices:
            groups.setdefault(together(notice), []).append(notice)
        if len(groups) <= messages:
            return list(groups.values())
    return [list(notices)]


def _summary(notices: Sequence[Notice], say: Say) -> str:
    """``9 条通知：目标不可用 3、死信 5、恢复 1``."""
    counts: dict[str, int] = {}
    for notice in notices:
        over = notice.change is Change.CLOSED
        kind = NOTICES[notice.key.kind]
        name = say("恢复", "over") if over else say(kind.zh, kind.en)
        counts[name] = counts.get(name, 0) + 1
    listed = say("、", ", ").join(f"{name} {count}" for name, count in counts.items())
    return say(f"{len(notices)} 条通知：{listed}", f"{len(notices)} notices: {listed}")


def _listed(head: str, lines: Sequence[str], tail: str, limit_bytes: int, say: Say) -> str:
    """`head`, as many `lines` as fit, how many more there are, and `tail`."""

    def more(count: int) -> str:
        return say(
            f"\n……另有 {count} 条，见 ordergate notices list", f"\n… and {count} more, see ordergate notices list"
        )

    whole = head + "".join(f"\n· {line}" for line in lines) + tail
    if len(whole.encode("utf-8", "replace")) <= limit_bytes:
        return whole
    room_bytes = limit_bytes - len((head + more(len(lines)) + tail).encode("utf-8", "replace"))
    shown = 0
    for line in lines:
        room_bytes -= len(f"\n· {line}".encode("utf-8", "replace"))
        if room_bytes < 0:
            break
        shown += 1
    text = head + "".join(f"\n· {line}" for line in lines[:shown]) + more(len(lines) - shown) + tail
    return fit(text, limit_bytes)


def _order(notice: Notice) -> tuple[bool, int, datetime, int]:
    over = notice.change is Change.CLOSED
    return over, _KINDS.index(notice.key.kind), notice.at, notice.notice_id


def _resting(channel: Channel, at: datetime, style: Style) -> bool:
    """Whether some outlet can be expected to speak again soon."""
    return not all(is_out(outlet.usage, at=at, hand_over_s=style.hand_over_s) for outlet in channel.outlets)


def _waited_s(notices: Sequence[Notice], at: datetime) -> float:
    return max((at - notice.at).total_seconds() for notice in notices)
