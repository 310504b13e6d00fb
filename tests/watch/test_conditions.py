"""What begins, grows and ends, by tables: thresholds, flapping, a leader that changes. No clock but the table's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

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
    Imbalance,
    Key,
    Kind,
    Lost,
    Nearing,
    NotRenewed,
    OffPlaces,
    Refusal,
    Seen,
    Sign,
    Unread,
    Waiting,
)
from gateway.watch.conditions import Judged, Policy, judge, replacements, signs

T0 = datetime(2026, 5, 1, 1, 30, tzinfo=UTC)
DOWN = Key(Kind.TARGET, "wms-1", "create")
POLICY = Policy()


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


class Book:
    """The stored conditions, kept like the table keeps them, and what was told."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.policy = policy
        self.conditions: dict[Key, Condition] = {}
        self.told: list[tuple[float, Change, Key]] = []

    def look(self, seconds: float, *found: Sign) -> Judged:
        judged = judge(found, list(self.conditions.values()), at=at(seconds), policy=self.policy)
        self.conditions.update({one.key: one for one in judged.conditions})
        self.told += [(seconds, one.change, one.condition.key) for one in judged.changes]
        return judged


def down(since: float, *, count: int = 0) -> Sign:
    return Sign(key=DOWN, since=at(since), count=count, workers=1, of_workers=1)


def test_a_target_is_told_down_at_once_and_up_after_it_has_settled() -> None:
    book = Book()
    book.look(0)
    book.look(1, down(0.5))
    for second in range(2, 60):
        book.look(second, down(0.5))
    for second in range(60, 90):
        book.look(second)
    assert book.told == [(1, Change.OPENED, DOWN), (80, Change.CLOSED, DOWN)]


def test_a_breaker_that_flaps_for_an_hour_is_told_of_a_few_times() -> None:
    book, since = Book(), 0
    for second in range(3600):
        # 15 s open, 30 s closed: longer than the first settling, so that it is told up once.
        if second % 45 < 15:
            since = second if second % 45 == 0 else since
            book.look(second, down(since))
        else:
            book.look(second)
    assert [change for _, change, _ in book.told] == [Change.OPENED, Change.CLOSED, Change.OPENED]
    for second in range(3600, 3700):
        book.look(second)
    assert book.told[-1][1] is Change.CLOSED


def test_what_comes_back_much_later_is_a_new_affair() -> None:
    book = Book()
    for first in (0, 2000):
        book.look(first, down(first))
        book.look(first + 10)
        book.look(first + 30)
    assert [second for second, change, _ in book.told if change is Change.CLOSED] == [30, 2030]


def test_a_new_leader_with_the_same_table_tells_nothing_again() -> None:
    book = Book()
    book.look(0, down(0))
    book.look(5)
    successor = Book()
    successor.conditions = dict(book.conditions)
    successor.look(6, down(0))
    successor.look(7)
    successor.look(27)
    assert successor.told == [(27, Change.CLOSED, DOWN)]


@pytest.mark.parametrize("subject", ["", RENEWAL])
def test_a_refusal_of_what_has_left_the_configuration_is_over_though_it_is_stored_for_ever(subject: str) -> None:
    facts = Facts(
        refusals={} if subject else {"shop-a": Refusal("27", at(0))},
        not_renewed={"shop-a": NotRenewed("27", at(0), None)} if subject else {},
    )
    book = Book(Policy(polled=frozenset({"shop-a", "shop-b"})))
    book.look(1, *signs(facts, at=at(1), policy=book.policy))
    book.policy = Policy(polled=frozenset({"shop-b"}))
    for second in (2, 23):
        judged = book.look(second, *signs(facts, at=at(second), policy=book.policy))
    key = Key(Kind.AUTHORISE, "shop-a", subject)
    assert [(change, told) for _, change, told in book.told] == [(Change.OPENED, key), (Change.CLOSED, key)]
    assert [change.dropped for change in judged.changes] == [True]


def test_a_refusal_that_ends_while_it_is_configured_was_authorised_again() -> None:
    book = Book(Policy(polled=frozenset({"shop-a"})))
    book.look(1, *signs(Facts(refusals={"shop-a": Refusal("27", at(0))}), at=at(1), policy=book.policy))
    book.look(2)
    assert [(change.change, change.dropped) for change in book.look(23).changes] == [(Change.CLOSED, False)]


def test_looking_twice_changes_nothing() -> None:
    book = Book()
    book.look(0, down(0))
    assert book.look(1, down(0)) == Judged((), ())
    book.look(2)
    assert book.look(3) == Judged((), ())


@pytest.mark.parametrize(
    "kind",
    [Kind.WORKER, Kind.INBOX, Kind.SHIP_BY, Kind.LEVEL, Kind.LEDGER, Kind.DEAD_LETTER, Kind.BLOCKED, Kind.CONFLICT],
)
def test_what_is_over_within_seconds_is_not_told(kind: Kind) -> None:
    book = Book()
    sign = Sign(key=Key(kind, "", "x"), since=at(0))
    book.look(4.9, sign)
    book.look(6)
    assert book.told == []
    book.look(7, sign)
    assert [change for _, change, _ in book.told] == [Change.OPENED]


def test_an_order_that_is_whole_within_half_a_minute_is_not_told_of() -> None:
    book = Book()
    held = Sign(key=Key(Kind.HOLD, "shop-a", "unmapped_sku"), since=at(0))
    book.look(29.9, held)
    assert book.told == []
    book.look(30, held)
    assert [change for _, change, _ in book.told] == [Change.OPENED]


def test_a_shop_is_told_of_when_nothing_was_read_for_a_minute() -> None:
    key = Key(Kind.SHOP_NOT_READ, "shop-b", "")
    book = Book()

    def look(second: float, *, since: float | None) -> None:
        facts = Facts(unread={} if since is None else {"shop-b": Unread("http_502", at(since))})
        book.look(second, *signs(facts, at=at(second), policy=POLICY))

    look(0, since=0)
    look(59, since=0)
    look(60, since=None)  # one page came through
    look(61, since=61)
    look(120, since=61)
    assert book.told == []
    look(121, since=61)
    look(200, since=None)
    look(220, since=None)
    assert book.told == [(121, Change.OPENED, key), (220, Change.CLOSED, key)]


def test_a_clock_is_told_of_when_it_has_been_off_for_a_minute() -> None:
    theirs, ours = Key(Kind.CLOCK, "wms-1", ""), Key(Kind.CLOCK, "", "@gateway-1")
    book = Book()

    def look(second: float, **since: float) -> None:
        subjects = {"theirs": "wms-1", "ours": "@gateway-1"}
        seen = {("clock", subjects[whose]): Seen(1, at(first), "{}") for whose, first in since.items()}
        book.look(second, *signs(Facts(seen=seen), at=at(second), policy=POLICY))

    # Our clock is set wrong: one after the other says so.
    look(0, theirs=0)
    look(10, theirs=0)
    look(20, ours=20)
    look(79, ours=20)
    assert book.told == []
    look(80, ours=20)
    # A worker started again, and sees it again within seconds.
    look(90)
    look(102, ours=101)
    look(200, ours=101)
    assert book.told == [(80, Change.OPENED, ours)]
    look(201)
    look(221)
    look(222, theirs=150)
    assert book.told[1:] == [(221, Change.CLOSED, ours), (222, Change.OPENED, theirs)]


def test_a_heap_that_grows_tenfold_is_told_again_and_a_target_is_not() -> None:
    book = Book()
    dead = Key(Kind.DEAD_LETTER, "shop-a", "json")

    def heap(count: int) -> Sign:
        return Sign(key=dead, since=at(-60), count=count)

    for second, count in enumerate((1, 5, 9, 10, 50, 99, 100, 250)):
        book.look(second, heap(count), down(0, count=count))
    assert [(s, change) for s, change, key in book.told if key == dead] == [
        (0, Change.OPENED), (3, Change.GROWN), (6, Change.GROWN),
    ]  # fmt: skip
    assert [change for _, change, key in book.told if key == DOWN] == [Change.OPENED]


HEAP = Key(Kind.BLOCKED, "wms-1", "rejected:business")


def heap(count: int) -> Sign:
    return Sign(key=HEAP, since=at(-60), count=count)


def test_a_heap_that_was_nearly_worked_off_and_grows_again_is_told_again() -> None:
    book = Book()
    book.look(0, heap(200))
    for second, count in ((600, 40), (640, 21), (660, 20), (679, 1), (680, 1), (700, 9)):
        book.look(second, heap(count))
    assert book.told == [(0, Change.OPENED, HEAP)], "less is no news"
    book.look(800, heap(1500))
    assert book.told[1:] == [(800, Change.GROWN, HEAP)]
    book.look(900)
    book.look(930)
    book.look(940)
    assert book.told[2:] == [(940, Change.CLOSED, HEAP)], "one that has come back is waited for twice as long"


@pytest.mark.parametrize(
    ("low", "low_s", "told"),
    [
        # Above a tenth of what was told, or not for long enough: the same heap as before.
        (201, 3600, [Change.OPENED]),
        (200, 19, [Change.OPENED]),
        # It comes back again and again: the time that it has to be low doubles.
        (200, 30, [Change.OPENED, Change.GROWN]),
        (200, 100, [Change.OPENED, Change.GROWN, Change.GROWN, Change.GROWN]),
    ],
)
def test_a_heap_that_flaps_for_hours_is_told_of_a_few_times(low: int, low_s: int, told: list[Change]) -> None:
    book = Book()
    for second in range(0, 10_000):
        book.look(second, heap(2000 if second % (15 + low_s) < 15 else low))
    assert [change for _, change, _ in book.told] == told


def test_a_backlog_ends_at_half_of_what_began_it() -> None:
    book = Book(Policy(backlog_age_s=900, settle_s=20))
    second = 0.0

    def age(oldest_s: float) -> None:
        nonlocal second
        second += 30
        facts = Facts(waiting={("wms-1", "create"): Waiting(7, at(second - oldest_s))})
        book.look(second, *signs(facts, at=at(second), policy=book.policy))

    for oldest_s in (500, 899, 901, 880, 460, 899, 449, 449, 899):
        age(oldest_s)
    key = Key(Kind.BACKLOG, "wms-1", "create")
    assert book.told == [(90, Change.OPENED, key), (240, Change.CLOSED, key)]


def test_what_the_facts_show() -> None:
    facts = Facts(
        seen={
            ("breaker", "wms-1/create"): Seen(2, at(-3), "timeouts"),
            ("kafka", ""): Seen(1, at(-9), ""),
            ("kafka_not_read", ""): Seen(2, at(-70), ""),
            ("clock", "wms-1"): Seen(1, at(-8), "{}"),
            ("clock", "/database"): Seen(2, at(-7), "{}"),
        },
        refusals={"shop-a": Refusal("27 invalid session", at(-60))},
        unread={"shop-b": Unread("timeout", at(-61))},
        alive=tuple(Alive(number, f"run/{number}", at(-100)) for number in (1, 2, 3)),
        waiting={("wms-1", "create"): Waiting(132, at(-40)), ("shop-a", "ship"): Waiting(5, at(-50))},
        blocked={("wms-1", "rejected:address"): Group(2, at(-70))},
        dead_letters={("shop-a", "json"): Group(9, at(-80))},
        conflicts={("shop-a", "cancelled_but_shipped"): Group(1, at(-90))},
        held={("shop-a", "missing:receiver.phone"): Group(5, at(-95))},
        levels={
            ("shop-a", "no_such_item"): Group(3, at(-20)),
            ("shop-a", "promoted"): Group(7, at(-10)),
            ("shop-b", "它不接受"): Group(1, at(-30)),
            ("shop-b", FAILING): Group(4, at(-1)),
        },
        nearing={("shop-a", ""): Nearing(9, at(-600), at(60)), ("shop-a", PAST): Nearing(3, at(-60), at(-60))},
        ledger={"WH": OffPlaces(2, at(-15), Imbalance("CUP-01", 3, -1, 0))},
        not_renewed={"shop-a": NotRenewed("27", at(-55), at(86400))},
        inbox=Waiting(4, at(-2)),
    )
    found = {sign.key: sign for sign in signs(facts, at=at(0), policy=POLICY)}
    assert found.keys() == {
        DOWN,
        Key(Kind.INBOX, "", ""),
        Key(Kind.KAFKA_NOT_READ, "", ""),
        Key(Kind.AUTHORISE, "shop-a", ""),
        Key(Kind.AUTHORISE, "shop-a", RENEWAL),
        Key(Kind.SHIP_BY, "shop-a", ""),
        Key(Kind.SHIP_BY, "shop-a", PAST),
        Key(Kind.LEVEL, "shop-a", ""),
        Key(Kind.LEVEL, "shop-b", ""),
        Key(Kind.LEVEL, "shop-b", FAILING),
        Key(Kind.LEDGER, "", "WH"),
        Key(Kind.SHOP_NOT_READ, "shop-b", ""),
        Key(Kind.CLOCK, "wms-1", ""),
        Key(Kind.CLOCK, "", "/database"),
        Key(Kind.BLOCKED, "wms-1", "rejected:address"),
        Key(Kind.DEAD_LETTER, "shop-a", "json"),
        Key(Kind.CONFLICT, "shop-a", "cancelled_but_shipped"),
        Key(Kind.HOLD, "shop-a", "missing:receiver.phone"),
    }
    assert found[DOWN] == Sign(key=DOWN, since=at(-3), count=132, code="timeouts", workers=2, of_workers=3, age_s=40.0)
    assert found[Key(Kind.AUTHORISE, "shop-a", "")].count == 5
    assert found[Key(Kind.AUTHORISE, "shop-a", RENEWAL)].until == at(86400)
    assert found[Key(Kind.SHOP_NOT_READ, "shop-b", "")].code == "timeout"
    refused = found[Key(Kind.LEVEL, "shop-a", "")]
    assert (refused.count, refused.since, refused.code) == (10, at(-20), "promoted")
    assert found[Key(Kind.LEVEL, "shop-b", "")].code == "other"
    near, past = (Key(Kind.SHIP_BY, "shop-a", over) for over in ("", PAST))
    assert found[near] == Sign(key=near, since=at(-600), count=9, until=at(60), past=3)
    assert found[past] == Sign(key=past, since=at(-60), count=3, until=at(-60))
    off = found[Key(Kind.LEDGER, "", "WH")]
    assert (off.count, off.since, '"CUP-01"' in off.code) == (2, at(-15), True)
    assert found[Key(Kind.INBOX, "", "")].count == 4
    unread = found[Key(Kind.KAFKA_NOT_READ, "", "")]
    assert (unread.since, unread.workers, unread.of_workers) == (at(-70), 2, 3)


@pytest.mark.feature("F74")
def test_orders_near_their_ship_by_time_are_told_once_again_tenfold_and_when_none_is_left() -> None:
    book = Book()
    key = Key(Kind.SHIP_BY, "shop-a", "")
    for second, count in ((4, 3), (6, 3), (60, 9), (14_401, 29), (14_600, 30)):
        near = Facts(nearing={("shop-a", ""): Nearing(count, at(0), at(14_400))})
        book.look(second, *signs(near, at=at(second), policy=book.policy))
    for second in range(15_000, 15_060):
        book.look(second)
    assert book.told == [(6, Change.OPENED, key), (14_600, Change.GROWN, key), (15_020, Change.CLOSED, key)]


@pytest.mark.feature("F74")
def test_an_order_that_nobody_sees_to_when_its_time_is_over_hides_none_that_comes_near_later() -> None:
    book = Book()
    near, past = (Key(Kind.SHIP_BY, "shop-a", over) for over in ("", PAST))
    forgotten = Nearing(1, at(100), at(100))
    for second in (*range(0, 100, 10), *range(100, 200, 10), *range(50_000, 50_050, 10)):
        nearing = {("shop-a", PAST): forgotten} if second >= 100 else {("shop-a", ""): Nearing(1, at(-60), at(100))}
        if second >= 50_000:
            nearing["shop-a", ""] = Nearing(2, at(49_990), at(60_000))
        book.look(second, *signs(Facts(nearing=nearing), at=at(second), policy=book.policy))
    assert book.told == [
        (0, Change.OPENED, near),
        (110, Change.OPENED, past),
        (120, Change.CLOSED, near),
        (50_000, Change.OPENED, near),
    ]


@pytest.mark.feature("F74")
def test_that_none_is_near_any_more_tells_of_those_that_have_become_late() -> None:
    """The forgotten one has been told of, and what joins it is not told of until they are ten."""
    key = Key(Kind.SHIP_BY, "shop-a", "")
    condition = Condition(key=key, opened_at=at(0), clear_since=at(60), told=1)
    late = Facts(nearing={("shop-a", PAST): Nearing(2, at(-600), at(-600)), ("shop-b", PAST): Nearing(7, at(0), at(0))})
    forgotten = Condition(key=Key(Kind.SHIP_BY, "shop-a", PAST), opened_at=at(-600), told=1)
    other = Condition(key=Key(Kind.SHIP_BY, "shop-b", PAST), opened_at=at(-600), told=7)
    found = signs(late, at=at(90), policy=POLICY)
    judged = judge(found, [condition, forgotten, other], at=at(90), policy=POLICY)
    assert [(one.change, one.condition.key, one.past) for one in judged.changes] == [(Change.CLOSED, key, 2)]


@pytest.mark.feature("F74")
def test_that_ship_by_times_were_not_looked_at_does_not_say_that_none_is_near() -> None:
    book = Book()
    near = Facts(nearing={("shop-a", ""): Nearing(3, at(-60), at(600))})
    book.look(0, *signs(near, at=at(0), policy=POLICY))
    for second in range(1, 90):
        known = list(book.conditions.values())
        assert judge([], known, at=at(second), policy=POLICY, uncounted={"nearing"}) == Judged((), ())


def test_sources_that_nobody_knows_are_one_matter() -> None:
    """Whoever produces to the topic may name another one every time."""
    groups = {(f"pos-{number}", "unknown_source"): Group(2, at(-number)) for number in range(300)}
    [sign] = signs(Facts(dead_letters=groups), at=at(0), policy=POLICY)
    assert sign == Sign(key=Key(Kind.DEAD_LETTER, "", "unknown_source"), since=at(-299), count=600)


def test_a_worker_that_is_new_does_not_say_that_a_target_is_up() -> None:
    waiting = {("wms-1", "create"): Waiting(7, at(-300), failing=7)}
    old, new = Alive(1, "a/0", at(-900)), Alive(2, "a/1", at(10))
    book = Book()

    def look(second: float, *alive: Alive, failing: bool = True, seen: bool = False) -> None:
        facts = Facts(
            alive=alive,
            waiting=waiting if failing else {},
            seen={("breaker", "wms-1/create"): Seen(1, at(0), "timeouts")} if seen else {},
        )
        book.look(second, *signs(facts, at=at(second), policy=POLICY))

    look(0, old, seen=True)
    look(11, new)  # it went, and its sighting with it
    look(200, new)
    assert [change for _, change, _ in book.told] == [Change.OPENED]
    look(201, new, failing=False)
    look(221, new, failing=False)
    assert [change for _, change, _ in book.told] == [Change.OPENED, Change.CLOSED]
    # One that was there all the time has seen that it is up, whatever still waits for its back-off; and it begins none.
    other = Book()
    other.look(0, *signs(Facts(alive=(new,), waiting=waiting), at=at(20), policy=POLICY))
    assert other.told == []
    assert signs(Facts(alive=(old,), waiting=waiting), at=at(20), policy=POLICY) == []


def test_a_muted_kind_is_not_seen() -> None:
    facts = Facts(dead_letters={("shop-a", "json"): Group(9, at(-80))})
    assert signs(facts, at=at(0), policy=Policy(mute=frozenset({Kind.DEAD_LETTER}))) == []


def lost(number: int, name: str, *, started: float, gone: float, replaced_by: int | None = None) -> Lost:
    return Lost(number, name, at(started), at(gone), 3, replaced_by)


@pytest.mark.parametrize(
    ("alive", "gone", "pairs"),
    [
        # Nobody has started since.
        ([Alive(2, "b/0", at(-50))], [lost(1, "a/0", started=-100, gone=-10)], {}),
        # The same slot started again, and not the other that started before it.
        (
            [Alive(2, "a/1", at(-5)), Alive(3, "a/0", at(-4))],
            [lost(1, "a/0", started=-100, gone=-10)],
            {1: 3},
        ),
        # Another machine stepped in.
        ([Alive(2, "b/0", at(-5))], [lost(1, "a/0", started=-100, gone=-10)], {1: 2}),
        # Two went, one came: it stands for one of them only, now and later.
        (
            [Alive(3, "b/0", at(-5))],
            [lost(1, "a/0", started=-100, gone=-10), lost(2, "a/1", started=-100, gone=-10)],
            {1: 3},
        ),
        (
            [Alive(3, "b/0", at(-5))],
            [lost(1, "a/0", started=-100, gone=-10, replaced_by=3), lost(2, "a/1", started=-100, gone=-10)],
            {},
        ),
        # The one who stepped in went too, and was replaced.
        (
            [Alive(3, "a/0", at(-2))],
            [lost(1, "a/0", started=-100, gone=-10), lost(2, "a/0", started=-8, gone=-4)],
            {1: 2, 2: 3},
        ),
    ],
)
def test_who_replaces_whom(alive: list[Alive], gone: list[Lost], pairs: dict[int, int]) -> None:
    assert replacements(alive, gone) == pairs


def test_a_worker_is_silent_until_another_one_has_taken_its_place() -> None:
    book = Book()
    facts = Facts(alive=(Alive(2, "b/0", at(-50)),), lost=(lost(1, "a/0", started=-100, gone=0),))
    book.look(6, *signs(facts, at=at(6), policy=POLICY))
    facts = msgspec.structs.replace(facts, alive=(*facts.alive, Alive(3, "a/0", at(30))))
    book.look(31, *signs(facts, at=at(31), policy=POLICY))
    book.look(51, *signs(facts, at=at(51), policy=POLICY))
    key = Key(Kind.WORKER, "", "a/0")
    assert book.told == [(6, Change.OPENED, key), (51, Change.CLOSED, key)]


def test_workers_that_end_again_and_again_are_told_of_though_each_is_replaced() -> None:
    """Every few seconds, by whatever each of them meets at its start."""
    book, key = Book(), Key(Kind.WORKER, "", RESTARTS)
    ends = [2.0, 6, 11, 17, 27, 37, 47]
    for second in range(400):
        gone = [
            lost(n, "a/0", started=end - 1, gone=end, replaced_by=n + 1) for n, end in enumerate(ends) if end <= second
        ]
        facts = Facts(alive=(Alive(9, "a/0", at(second)),), lost=tuple(gone))
        book.look(second, *signs(facts, at=at(second), policy=POLICY))
    # Over when fewer than four are left of the last five minutes, and that has settled.
    assert book.told == [(17, Change.OPENED, key), (317 + 20, Change.CLOSED, key)]


def test_workers_that_all_go_at_once_do_not_end_again_and_again() -> None:
    """A machine short of memory, or an upgrade."""
    gone = tuple(lost(n, f"a/{n}", started=-900, gone=0, replaced_by=n + 10) for n in range(8))
    found = signs(Facts(alive=(Alive(20, "a/0", at(1)),), lost=gone), at=at(2), policy=POLICY)
    assert found == []
