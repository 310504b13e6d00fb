"""A request that does not fit its struct: what msgspec says of it, in Chinese too, and at our path.

And what no struct can say: no text holds a NUL, which PostgreSQL cannot keep, and every instant is of this century.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, get_args, get_type_hints

import msgspec

from gateway.api.errors import SEE, ApiError, wrong
from gateway.core.shape import verdict_in_chinese
from gateway.core.text import NOTHING, Text


def misfit(error: msgspec.ValidationError, root: str, advice: Text = SEE) -> ApiError:
    """`error` as an answer; `root` is where the request's own path begins."""
    said, _, path = str(error).partition(" - at `$")
    return wrong(root + path.rstrip("`"), Text(verdict_in_chinese(said) or f"内容不合要求（{said}）", said), advice)


def one_of(kind: type, error: msgspec.ValidationError) -> Text:
    """The values that the field of the struct `kind` takes which `error` is about; nothing where it takes any."""
    name = str(error).partition(" - at `$.")[2].rstrip("`")
    given = get_args(get_type_hints(kind).get(name))  # of a Literal its values, of `Literal | None` the Literal
    codes = [str(value) for one in given for value in _values(one) if isinstance(value, str)]
    return Text(f"可以是 {'、'.join(codes)}", f"one of {', '.join(codes)}") if codes else NOTHING


def _values(given: Any) -> Iterable[object]:
    if isinstance(given, type) and issubclass(given, enum.Enum):
        return given
    return (given, *get_args(given))


def no_nul(value: str, where: str) -> str:
    """`value`. Raises ApiError where it holds a NUL."""
    if "\x00" in value:
        raise wrong(where, Text("含有 NUL 字符", "has a NUL character"), Text("去掉它", "take it out"))
    return value


def check_texts(document: Any, root: str) -> None:
    """Raises ApiError at the first text of the JSON value `document`, names of fields included, that holds a NUL."""
    for value, where in parts_of(document, root):
        if isinstance(value, str):
            no_nul(value, where)
        elif isinstance(value, Mapping):
            for name in value:
                no_nul(name, where)


def check_instants(body: Any, root: str) -> None:
    """Raises ApiError at the first instant within the struct `body` that is not of 2000 to 2099 (UTC)."""
    for value, where in parts_of(body, root):
        if isinstance(value, datetime) and not _FIRST <= value < _AFTER:
            raise wrong(
                where,
                Text("时间不在 2000 年至 2099 年之间", "is not between the years 2000 and 2099"),
                Text("检查年份", "look at the year"),
            )


_FIRST, _AFTER = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


def parts_of(value: Any, where: str) -> Iterator[tuple[Any, str]]:
    """`value` and everything in it, with its path. Without recursion: JSON may be nested deeper than Python calls."""
    waiting = [(value, where)]
    while waiting:
        value, where = waiting.pop()
        yield value, where
        if isinstance(value, msgspec.Struct):
            waiting += [(getattr(value, name), f"{where}.{name}") for name in reversed(value.__struct_fields__)]
        elif isinstance(value, Mapping):
            waiting += [(value[name], f"{where}.{name}") for name in reversed(value)]
        elif isinstance(value, list | tuple):
            waiting += [(value[index], f"{where}[{index}]") for index in reversed(range(len(value)))]
