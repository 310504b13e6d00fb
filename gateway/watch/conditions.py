"""From one look at the gateway to what has begun, grown or ended. Pure.

    facts → signs → (with the conditions known so far) → changes

A condition begins at the first firm sign that has lasted long enough, and ends when there has been no sign of it for a
while. That while doubles each time it comes back soon after its end: a breaker that flaps for an hour is told of three
or four times, not fifty. A heap is told again when it is ten times what was told; where a tenth of that or less is left
for that while, the tenth counts as told from then on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime

import msgspec

from gateway.core.code import code_of
from gateway.core.notice import (
    FAILING,
    PAST,
    RENEWAL,
    RESTARTS,
    Alive,
    Change,
    Condition,
    Facts,
    Group,
    Key,
    Kind,
    Lost,
    Sign,
)

_OPEN_AFTER_S: Mapping[Kind, float] = {
    # A worker that its supervisor starts again within seconds is nobody's business; neither is a start before Kafka is
    # connected.
    Kind.WORKER: 5.0,
    Kind.INBOX: 5.0,
    # Platforms stumble all day long; what has not been answered for a minute is an outage.
    Kind.SHOP_NOT_READ: 60.0,
    # A group that forms anew waits for its slowest member for half of that.
    Kind.KAFKA_NOT_READ: 60.0,
    # Whose clock it is shows only when all have answered since it was set.
    Kind.CLOCK: 60.0,
    # The first of many: they are counted together.
    Kind.SHIP_BY: 5.0,
    Kind.LEVEL: 5.0,
    Kind.LEDGER: 5.0,
    Kind.DEAD_LETTER: 5.0,
    Kind.BLOCKED: 5.0,
    Kind.CONFLICT: 5.0,
    # What arrives in two parts is whole by then, and stock that is counted in the morning is counted.
    Kind.HOLD: 30.0,
}
_COUNTED: Mapping[Kind, str] = {
    Kind.TARGET: "waiting",
    Kind.BLOCKED: "blocked",
    Kind.DEAD_LETTER: "dead_letters",
    Kind.CONFLICT: "conflicts",
    Kind.HOLD: "held",
    Kind.LEVEL: "levels",
    Kind.SHIP_BY: "nearing",
    Kind.LEDGER: "ledger",
}
_GROWS = frozenset({Kind.SHIP_BY, Kind.LEVEL, Kind.LEDGER, Kind.DEAD_LETTER, Kind.BLOCKED, Kind.CONFLICT, Kind.HOLD})
_GROWTH = 10
_LEAST_GROWN = 10
_MOST_DOUBLINGS = 10
_RESTARTS = 4
_RESTARTS_WITHIN_S = 300.0
"""So often within so long the worker of one place is gone: whatever ends it ends its successors, too."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """`backlog_age_s`: older is a backlog, and half of it is none any more. `ship_by_lead_s`: so long before the shop's
    latest time to ship an order that no warehouse has is told of. `settle_s`: so long there has to be no sign
    before a condition has ended; doubles up to `settle_max_s` for one that comes back within `again_s` of its end.
    `polled`: the connections that need an authorisation by the configuration; None: whichever.
    """

    backlog_age_s: float = 900.0
    ship_by_lead_s: float = 14_400.0
    settle_s: float = 20.0
    settle_max_s: float = 600.0
    again_s: float = 900.0
    mute: frozenset[Kind] = frozenset()
    polled: frozenset[str] | None = None

    def authorises(self, connection: str) -> bool:
        return self.polled is None or connection in self.polled


class Changed(msgspec.Struct, frozen=True):
    """A change that people are told of; `sign` None when there is none any more.

    `past`: how many of a shop's orders are past their ship-by time where none is near it any more. None near may mean
    that all of them are late, and those may be among others that have been told of before. `dropped`: what is over
    is so by the configuration, which needs that authorisation no more; its platform has not taken it again.
    """

    change: Change
    condition: Condition
    sign: Sign | None
    past: int = 0
    dropped: bool = False


class Judged(msgspec.Struct, frozen=True):
    """`conditions` are those to be stored, told of or not."""

    conditions: tuple[Condition, ...]
    changes: tuple[Changed, ...]


def signs(facts: Facts, *, at: datetime, policy: Policy) -> list[Sign]:
    """What is the matter now, by what `facts` show."""
    return [sign for sign in _signs(facts, at, policy) if sign.key.kind not in policy.mute]


def judge(
    found: Iterable[Sign],
    known: Collection[Condition],
    *,
    at: datetime,
    policy: Policy,
    uncounted: Collection[str] = frozenset(),
) -> Judged:
    """What has changed since the conditions `known` were stored. Shown the same twice, it finds nothing new.

    That there is no sign of something `uncounted` does not say that it is over.
    """
    shown = {sign.key: sign for sign in found}
    before = {condition.key: condition for condition in known}
    open_ = {key for key, condition in before.items() if condition.closed_at is None}
    stored: list[Condition] = []
    changes: list[Changed] = []
    for key in sorted(shown.keys() | open_):
        sign = shown.get(key)
        if sign is None and _counted(key) in uncounted:
            continue
        if key in open_:
            change, condition = _go_on(before[key], sign, at, policy)
        elif sign is not None and sign.firm and _lasted(sign, at):
            change, condition = Change.OPENED, _begin(sign, before.get(key), at, policy)
        else:
            continue
        if condition is not before.get(key):
            stored.append(condition)
        if change is not None:
            late = shown.get(key._replace(subject=PAST)) if key.kind is Kind.SHIP_BY and sign is None else None
            dropped = key.kind is Kind.AUTHORISE and not policy.authorises(key.connection)
            changes.append(Changed(change, condition, sign, 0 if late is None else late.count, dropped))
    return Judged(tuple(stored), tuple(changes))


def replacements(alive: Collection[Alive], lost: Collection[Lost]) -> dict[int, int]:
    """Which worker has taken the place of which lost one: lost id → the later one's id. Nobody replaces two.

    One of the same name, or else the first that started afterwards; it may be lost itself by now.
    """
    taken = {one.replaced_by for one in lost}
    later = sorted(
        (one.started_at, one.worker_id, one.name)
        for group in (alive, lost)
        for one in group
        if one.worker_id not in taken
    )
    pairs: dict[int, int] = {}
    for gone in sorted(lost, key=lambda one: (one.lost_at, one.worker_id)):
        if gone.replaced_by is not None:
            continue
        able = [one for one in later if one[0] >= gone.lost_at and one[1] != gone.worker_id]
        chosen = next((one for one in able if one[2] == gone.name), able[0] if able else None)
        if chosen is not None:
            later.remove(chosen)
            pairs[gone.worker_id] = chosen[1]
    return pairs


def _lasted(sign: Sign, at: datetime) -> bool:
    """Long enough to be told of. Where nothing has to last, clocks that differ do not matter."""
    after_s = _OPEN_AFTER_S.get(sign.key.kind, 0.0)
    return not after_s or _seconds(sign.since, at) >= after_s


def _begin(sign: Sign, before: Condition | None, at: datetime, policy: Policy) -> Condition:
    ended_at = before.closed_at if before is not None else None
    again = before is not None and ended_at is not None and _seconds(ended_at, at) < policy.again_s
    reopened = before.reopened + 1 if before is not None and again else 0
    return Condition(key=sign.key, opened_at=sign.since, reopened=min(reopened, _MOST_DOUBLINGS), told=sign.count)


def _go_on(condition: Condition, sign: Sign | None, at: datetime, policy: Policy) -> tuple[Change | None, Condition]:
    if sign is None or _has_fallen(condition, sign):
        # In the future: by a clock that was ahead, and has been set right since.
        if condition.clear_since is None or condition.clear_since > at:
            return None, msgspec.structs.replace(condition, clear_since=at)
        settle_s = min(policy.settle_s * 2**condition.reopened, policy.settle_max_s)
        if _seconds(condition.clear_since, at) < settle_s:
            return None, condition
        if sign is None:
            return Change.CLOSED, msgspec.structs.replace(condition, closed_at=at)
        # As if it were over and had come back as little as it is now, without a word about it.
        reopened = min(condition.reopened + 1, _MOST_DOUBLINGS)
        return None, msgspec.structs.replace(condition, clear_since=None, reopened=reopened, told=sign.count)
    if condition.clear_since is not None:
        condition = msgspec.structs.replace(condition, clear_since=None)
    if condition.key.kind in _GROWS and sign.count >= max(_LEAST_GROWN, _GROWTH * condition.told):
        return Change.GROWN, msgspec.structs.replace(condition, told=sign.count)
    return None, condition


def _counted(key: Key) -> str:
    """Which of the counted facts has the signs of `key`; "" for none."""
    if key.kind is Kind.BACKLOG:
        return "waiting" if key.connection else "inbox"
    return _COUNTED.get(key.kind, "")


def _has_fallen(condition: Condition, sign: Sign) -> bool:
    """Whether hardly anything is left of what was told: what comes on top of that is news, however much was told."""
    return condition.key.kind in _GROWS and sign.count * _GROWTH <= condition.told


def _signs(facts: Facts, at: datetime, policy: Policy) -> Iterator[Sign]:
    workers = len(facts.alive)
    for (what, subject), seen in facts.seen.items():
        if what == "breaker":
            connection, _, operation = subject.partition("/")
            waiting = facts.waiting.get((connection, operation))
            yield Sign(
                key=Key(Kind.TARGET, connection, operation),
                since=seen.first_at,
                count=waiting.count if waiting is not None else 0,
                age_s=_seconds(waiting.oldest_at, at) if waiting is not None else 0.0,
                code=seen.code,
                workers=seen.workers,
                of_workers=workers,
            )
        elif what == "kafka":
            yield Sign(
                key=Key(Kind.INBOX, "", ""),
                since=seen.first_at,
                count=facts.inbox.count if facts.inbox is not None else 0,
                workers=seen.workers,
                of_workers=workers,
            )
        elif what == "kafka_not_read":
            key = Key(Kind.KAFKA_NOT_READ, "", "")
            yield Sign(key=key, since=seen.first_at, workers=seen.workers, of_workers=workers)
        elif what == "clock":
            ours = subject.startswith(("@", "/"))
            yield Sign(
                key=Key(Kind.CLOCK, "", subject) if ours else Key(Kind.CLOCK, subject, ""),
                since=seen.first_at,
                code=seen.code,
                workers=seen.workers,
                of_workers=workers,
            )
    yield from _unproven(facts)
    for connection, refusal in facts.refusals.items():
        if not policy.authorises(connection):
            continue
        count = sum(waiting.count for (name, _), waiting in facts.waiting.items() if name == connection)
        yield Sign(key=Key(Kind.AUTHORISE, connection, ""), since=refusal.at, code=refusal.code, count=count)
    for connection, one in facts.not_renewed.items():
        if policy.authorises(connection):
            key = Key(Kind.AUTHORISE, connection, RENEWAL)
            yield Sign(key=key, since=one.at, code=one.code, until=one.ends_at)
    for connection, unread in facts.unread.items():
        yield Sign(key=Key(Kind.SHOP_NOT_READ, connection, ""), since=unread.since, code=unread.code)
    yield from _restarts(facts, at)
    found = replacements(facts.alive, facts.lost)
    for gone in facts.lost:
        if gone.replaced_by is None and gone.worker_id not in found:
            yield Sign(key=Key(Kind.WORKER, "", gone.name), since=gone.lost_at, count=gone.lanes, of_workers=workers)
    yield from _backlogs(facts, at, policy)
    yield from _levels(facts)
    for (connection, over), near in facts.nearing.items():
        past = facts.nearing.get((connection, PAST)) if not over else None
        yield Sign(
            key=Key(Kind.SHIP_BY, connection, over),
            since=near.since,
            count=near.count,
            until=near.first_by,
            past=past.count if past is not None else 0,
        )
    for warehouse, off in facts.ledger.items():
        example = msgspec.json.encode(off.example).decode()
        yield Sign(key=Key(Kind.LEDGER, "", warehouse), since=off.first_at, count=off.count, code=example)
    for kind, groups in (
        (Kind.DEAD_LETTER, facts.dead_letters),
        (Kind.BLOCKED, facts.blocked),
        (Kind.CONFLICT, facts.conflicts),
        (Kind.HOLD, facts.held),
    ):
        for (connection, code), group in _by_code(groups).items():
            yield Sign(key=Key(kind, connection, code), since=group.first_at, count=group.count)


def _restarts(facts: Facts, at: datetime) -> Iterator[Sign]:
    """Workers that are all replaced at once, and of which none lives to do much."""
    lately = [gone for gone in facts.lost if 0 <= _seconds(gone.lost_at, at) < _RESTARTS_WITHIN_S]
    if max(Counter(gone.name for gone in lately).values(), default=0) >= _RESTARTS:
        since = min(gone.lost_at for gone in lately)
        key = Key(Kind.WORKER, "", RESTARTS)
        yield Sign(key=key, since=since, count=len(lately), of_workers=len(facts.alive))


def _levels(facts: Facts) -> Iterator[Sign]:
    """One for each shop, whatever the codes are: those of a listing may differ from one try to the next.

    Another one for levels that do not get there at all.
    """
    shops: dict[str, list[tuple[int, str, Group]]] = {}
    for (connection, code), group in _by_code(facts.levels).items():
        if code == FAILING:
            yield Sign(key=Key(Kind.LEVEL, connection, FAILING), since=group.first_at, count=group.count)
            continue
        shops.setdefault(connection, []).append((group.count, code, group))
    for connection, groups in shops.items():
        yield Sign(
            key=Key(Kind.LEVEL, connection, ""),
            since=min(group.first_at for _, _, group in groups),
            count=sum(count for count, _, _ in groups),
            code=max(groups, key=lambda one: one[:2])[1],
        )


def _unproven(facts: Facts) -> Iterator[Sign]:
    """Targets of which a worker that has started since knows nothing, with deliveries that were tried in vain.

    Its breaker is closed because it is new, and what was seen before it went with its predecessor: that does not say
    that the target is up. Enough to keep a condition open, until those deliveries have gone through.
    """
    for (connection, operation), waiting in facts.waiting.items():
        seen = ("breaker", f"{connection}/{operation}") in facts.seen
        new = any(worker.started_at > waiting.oldest_at for worker in facts.alive)
        if waiting.failing and new and not seen:
            key = Key(Kind.TARGET, connection, operation)
            yield Sign(key=key, since=waiting.oldest_at, firm=False, count=waiting.count)


def _by_code(groups: Mapping[tuple[str, str], Group]) -> dict[tuple[str, str], Group]:
    """`groups` under codes that may be shown; those that may not are one, and so are all sources that are unknown."""
    merged: dict[tuple[str, str], Group] = {}
    for (connection, text), group in groups.items():
        code = code_of(text)
        # A name that is no connection is whatever somebody wrote, and may be another one every time.
        place = "" if code == "unknown_source" else connection, code
        other = merged.get(place, Group(0, group.first_at))
        merged[place] = Group(other.count + group.count, min(other.first_at, group.first_at))
    return merged


def _backlogs(facts: Facts, at: datetime, policy: Policy) -> Iterator[Sign]:
    waits = {("", "inbox"): facts.inbox} if facts.inbox is not None else {}
    for place, waiting in (*facts.waiting.items(), *waits.items()):
        age_s = _seconds(waiting.oldest_at, at)
        if age_s >= policy.backlog_age_s / 2:
            yield Sign(
                key=Key(Kind.BACKLOG, *place),
                since=waiting.oldest_at,
                firm=age_s >= policy.backlog_age_s,
                count=waiting.count,
                age_s=age_s,
            )


def _seconds(since: datetime, at: datetime) -> float:
    return (at - since).total_seconds()
