"""`notice_s` is what it says: planted answers and messages, each kind of the latter in the gateway's own words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from adapters.wecom.fake import Told
from gateway.core.delivery import Result
from gateway.core.notice import Change, Condition, Key, Kind, Notice, Sign
from gateway.demo.alarm import Call, notice_s, read_calls, says_down
from gateway.watch.conditions import Changed
from gateway.watch.digest import compose
from gateway.watch.wording import words

T0 = 1_790_000_000.0
SLOW_S = 0.6
ROBOT_BYTES = 2048
DOWN = (Key(Kind.TARGET, "wms", "create"), Change.OPENED)
UP = (Key(Kind.TARGET, "wms", "create"), Change.CLOSED)
BACKLOG = (Key(Kind.BACKLOG, "wms", "create"), Change.OPENED)
OTHER_DOWN = (Key(Kind.TARGET, "wms-2", "create"), Change.OPENED)
SHOP_DOWN = (Key(Kind.TARGET, "taobao-1", "ship"), Change.OPENED)
KAFKA = (Key(Kind.INBOX, "", ""), Change.OPENED)


def call(at_s: float, result: Result, *, took_s: float = 0.03) -> Call:
    return Call(ended_at=T0 + at_s, took_s=took_s, result=result)


def message(at_s: float, *what: tuple[Key, Change]) -> Told:
    """One message at the robot, as the gateway writes it."""
    at = datetime.fromtimestamp(T0 + at_s, UTC)
    notices = []
    for number, (key, change) in enumerate(what):
        sign = Sign(key=key, since=at, count=17, code="failure_share", workers=1, of_workers=1, age_s=12.0)
        changed = Changed(change, Condition(key=key, opened_at=at), None if change is Change.CLOSED else sign)
        said = words(changed, at=at + timedelta(seconds=3), language="zh", runbooks="docs/runbooks/")
        notices.append(Notice(notice_id=number, at=at, key=key, change=change, words=said))
    return Told(at=T0 + at_s, outlet="robot", text=compose(notices, limit_bytes=ROBOT_BYTES, language="zh")[1])


FINE = [call(0.0, Result.DONE), call(0.5, Result.DONE, took_s=0.59)]


@pytest.mark.parametrize(
    "first_wrong",
    [
        call(10.0, Result.FAILED),
        call(10.0, Result.UNKNOWN, took_s=1.0),
        call(10.0, Result.DONE, took_s=0.6),
        call(10.0, Result.REJECTED, took_s=0.8),
    ],
)
def test_it_begins_with_the_first_answer_that_the_breaker_counts(first_wrong: Call) -> None:
    calls = [call(11.0, Result.FAILED), *FINE, first_wrong]
    assert notice_s(calls, [message(12.5, DOWN)], slow_s=SLOW_S) == 2.5


def test_an_alarm_for_slow_answers_counts_from_them_and_not_from_a_failure_after_it() -> None:
    """As it was measured once: the alarm 4.5 s before the first failure, a backlog 4.0 s after it."""
    calls = [*FINE, call(3.0, Result.DONE, took_s=0.7), call(10.0, Result.FAILED)]
    told = [message(5.5, DOWN), message(14.0, BACKLOG)]
    assert notice_s(calls, told, slow_s=SLOW_S) == 2.5


@pytest.mark.parametrize(
    "result", [Result.DONE, Result.THROTTLED, Result.UNAUTHORISED, Result.FOUND, Result.NOT_FOUND, Result.RESOLVED]
)
def test_what_the_breaker_does_not_count_begins_nothing(result: Result) -> None:
    took_s = 0.59 if result is Result.DONE else 5.0
    assert notice_s([call(1.0, result, took_s=took_s)], [message(2.0, DOWN)], slow_s=SLOW_S) is None


@pytest.mark.parametrize("other", [BACKLOG, UP, OTHER_DOWN, SHOP_DOWN, KAFKA])
def test_no_other_notice_is_the_figure(other: tuple[Key, Change]) -> None:
    calls = [*FINE, call(10.0, Result.FAILED)]
    assert notice_s(calls, [message(11.0, other)], slow_s=SLOW_S) is None
    assert notice_s(calls, [message(11.0, other), message(13.0, DOWN)], slow_s=SLOW_S) == 3.0


def test_the_alarm_counts_in_a_message_of_several_notices_too() -> None:
    calls = [call(10.0, Result.FAILED)]
    assert notice_s(calls, [message(11.0, BACKLOG, UP), message(12.0, BACKLOG, DOWN)], slow_s=SLOW_S) == 2.0


def test_it_is_the_first_alarm_and_never_below_zero() -> None:
    calls = [call(10.0, Result.FAILED)]
    assert notice_s(calls, [message(8.0, DOWN)], slow_s=SLOW_S) is None
    assert notice_s(calls, [message(8.0, DOWN), message(40.0, DOWN), message(11.0, DOWN)], slow_s=SLOW_S) == 1.0
    assert notice_s([], [message(8.0, DOWN)], slow_s=SLOW_S) is None
    assert notice_s(calls, [], slow_s=SLOW_S) is None


def test_what_people_read_of_an_alarm_is_known_again() -> None:
    assert says_down(message(0.0, DOWN).text)
    assert not any(says_down(message(0.0, other).text) for other in (BACKLOG, UP, OTHER_DOWN, SHOP_DOWN, KAFKA))


async def test_the_calls_are_those_that_sent_the_warehouse_a_new_document(migrated_url: str) -> None:
    connection = await asyncpg.connect(migrated_url)
    try:
        await connection.execute("INSERT INTO connection (name) VALUES ('taobao-1'), ('wms')")
        await connection.execute(
            "INSERT INTO delivery (order_id, target_id, seq, operation, key)"
            " SELECT 1, connection_id, seq, operation, 'k' FROM connection,"
            " (VALUES (1, 'create'), (2, 'cancel')) AS d (seq, operation)"
        )
        await connection.executemany(
            "INSERT INTO attempt (order_id, target_id, seq, worker_id, ended_at, took_ms, result, code)"
            " SELECT 1, connection_id, $2, 1, to_timestamp($3), $4, $5, $6 FROM connection WHERE name = $1",
            [
                ("wms", 1, T0 + 5.0, 1000, int(Result.UNKNOWN), "timeout"),
                ("wms", 1, T0 + 7.0, 40, int(Result.DONE), None),
                # Elsewhere, another operation, and a question about what is in doubt.
                ("taobao-1", 1, T0 + 1.0, 40, int(Result.FAILED), "status_503"),
                ("wms", 2, T0 + 2.0, 40, int(Result.FAILED), "status_503"),
                ("wms", 1, T0 + 3.0, 40, int(Result.FAILED), "find:status_503"),
            ],
        )
    finally:
        await connection.close()

    calls = sorted(await read_calls(migrated_url), key=lambda one: one.ended_at)

    assert calls == [call(5.0, Result.UNKNOWN, took_s=1.0), call(7.0, Result.DONE, took_s=0.04)]
    assert notice_s(calls, [message(9.0, DOWN)], slow_s=SLOW_S) == 4.0
