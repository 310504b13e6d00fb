"""What an adapter may tell: values of a parser's own kind are as good as those they stand for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.core.errors import BadInput
from gateway.core.event import ConnectionName, Event, EventId
from gateway.core.order import Content, Facts, Line, Party, Receiver, Sku
from gateway.core.sound import checked, sound, well_typed

EVENT = Event(
    id=EventId("1"),
    source=ConnectionName("shop"),
    type="",
    order_key="1",
    time=datetime(2026, 3, 4, tzinfo=UTC),
    body=b"",
)


class Text(str):
    """As lxml gives the text of an element."""


class Number(int):
    pass


class Moment(datetime):
    """As pendulum gives a time."""


def test_kinds_of_a_parser_are_stored_as_what_they_are() -> None:
    at = datetime(2026, 3, 4, 5, 6, 7, 89, UTC)

    def told(text: type[str], number: type[int], moment: type[datetime]) -> Facts:
        placed_at = moment(at.year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond, UTC)
        line = Line(text("1"), Sku(text("S1")), number(2), number(1000), name=text("茶"))
        content = Content(placed_at, (line,), Receiver(name=text("张三")), number(2000))
        return Facts(party=Party.SHOP, order_no=text("7"), version=number(3), content=content)

    read = sound(told(Text, Number, Moment))
    assert read == told(str, int, datetime)
    assert type(read.order_no) is str and read.content is not None and type(read.content.placed_at) is datetime


def test_what_is_well_typed_by_its_own_word_is_not_checked() -> None:
    told = Facts(party=Party.SHOP, order_no="", version=1.5)  # type: ignore[arg-type]

    def decode(_: object) -> Facts:
        return told

    with pytest.raises(BadInput):
        checked(decode)(EVENT)
    assert checked(well_typed(decode))(EVENT) is told
