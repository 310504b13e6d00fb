"""Readiness as a table."""

from __future__ import annotations

from itertools import product

import pytest

from gateway.core.text import Text
from gateway.telemetry.health import Part, State, readiness

UP, DOWN, STARTING, STOPPING = State.UP, State.DOWN, State.STARTING, State.STOPPING


@pytest.mark.parametrize(
    ("states", "ready", "fatal", "others"),
    [
        ({Part.WORKER: UP, Part.DATABASE: UP}, True, [], []),
        ({Part.WORKER: UP, Part.DATABASE: UP, Part.KAFKA: DOWN}, True, [], [Part.KAFKA]),
        ({Part.WORKER: UP, Part.DATABASE: DOWN, Part.KAFKA: UP}, True, [], [Part.DATABASE]),
        ({Part.WORKER: UP, Part.DATABASE: DOWN, Part.KAFKA: DOWN}, False, [Part.DATABASE, Part.KAFKA], []),
        ({Part.WORKER: UP, Part.DATABASE: DOWN}, False, [Part.DATABASE], []),
        ({Part.WORKER: UP}, False, [Part.DATABASE], []),
        ({}, False, [Part.WORKER, Part.DATABASE], []),
        ({Part.WORKER: STOPPING, Part.DATABASE: UP, Part.INTAKE: STOPPING}, False, [Part.WORKER], [Part.INTAKE]),
        ({Part.WORKER: UP, Part.DATABASE: UP, Part.DISPATCH: DOWN, Part.INTAKE: STARTING}, True, [], None),
    ],
)
def test_readiness(states: dict[Part, State], ready: bool, fatal: list[Part], others: list[Part] | None) -> None:
    found = readiness(states)
    assert found.ready is ready
    assert [reason.part for reason in found.reasons if reason.fatal] == fatal
    if others is not None:
        assert [reason.part for reason in found.reasons if not reason.fatal] == others


def test_every_state_of_every_part_has_a_text_in_both_languages() -> None:
    for database, kafka, other in product(State, repeat=3):
        states = {part: other for part in Part} | {Part.DATABASE: database, Part.KAFKA: kafka}
        found = readiness(states)
        assert found.ready is (not any(reason.fatal for reason in found.reasons))
        assert all(found.texts("zh")) and all(found.texts("en"))
    kafka_down = readiness({Part.WORKER: UP, Part.DATABASE: UP, Part.KAFKA: DOWN})
    assert kafka_down.texts("zh") == ["Kafka不可用：事件写入数据库收件箱"]
    assert kafka_down.texts("en") == ["Kafka is down: events go to the inbox in the database"]


def test_why_the_database_is_down_stands_behind_that_it_is() -> None:
    found = readiness({Part.WORKER: UP, Part.DATABASE: DOWN}, {Part.DATABASE: Text("连接数已满", "none is free")})
    assert found.texts("zh") == ["数据库不可用（连接数已满）：不能接收事件"]
    assert found.texts("en") == ["the database is down (none is free): events cannot be taken"]
