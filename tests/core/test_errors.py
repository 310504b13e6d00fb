"""The tree of errors as its module opens with it, and what their texts tell."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gateway.core import errors
from gateway.core.errors import (
    BadInput,
    BadSignature,
    DatabaseBusy,
    OrdergateError,
    Problem,
    SettingsError,
    TooLarge,
    Unavailable,
)
from gateway.core.text import Text


def _tree(kind: type, depth: int = 0) -> list[tuple[int, str]]:
    below = [
        row for child in kind.__subclasses__() if child.__module__ == errors.__name__ for row in _tree(child, depth + 1)
    ]
    return [(depth, kind.__name__), *below]


def test_a_problem_in_plain_text_is_shown_as_it_is_in_both_languages() -> None:
    problem: Any = Problem("x", "is missing", "write x")  # type: ignore[arg-type]
    assert str(problem) == "x: is missing — write x"
    assert problem.said("zh") == problem.said("en")


def test_the_module_opens_with_its_tree() -> None:
    """So whoever catches by the tree catches what it shows."""
    drawn = re.findall(r"^    ([│├└─ ]*)(\w+)", errors.__doc__ or "", re.MULTILINE)
    assert [(len(branch) // 4, name) for branch, name in drawn] == _tree(OrdergateError)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (BadInput("shape", "is not a list"), "$: is not a list"),
        (BadInput("value", "is negative", where="$.total", advice="look"), "$.total: is negative (look)"),
        (BadSignature("no signature matches"), "headers: no signature matches"),
        (BadInput("value", Text("不能为负", "is negative")), "$: 不能为负 / $: is negative"),
        (
            TooLarge(1024),
            "$: 报文超过 1024 字节 (拆分订单，或调高上限)"
            " / $: body is over 1024 bytes (split the order or raise the limit)",
        ),
        (Unavailable("the inbox is away"), "the inbox is away; retry after 1 s"),
        (Unavailable("the inbox is away", retry_after_s=0.25), "the inbox is away; retry after 0.25 s"),
        (DatabaseBusy("collided", retry_after_s=60), "collided; retry after 60 s"),
    ],
)
def test_an_error_says_what_and_where_and_what_to_do(error: OrdergateError, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize(
    ("error", "code"),
    [(BadInput("shape", "x"), "shape"), (BadSignature("x"), "signature"), (TooLarge(1), "too_large")],
)
def test_input_that_is_refused_has_a_code_fit_for_a_label(error: BadInput, code: str) -> None:
    assert error.code == code


def test_settings_are_refused_with_every_problem() -> None:
    one = Problem("http.listen", Text("不是地址", "is not an address"), Text("写成 主机:端口", "write host:port"))
    other = Problem("databse", Text("没有这个键", "is unknown"))
    error = SettingsError([one, other])
    assert error.problems == (one, other)
    assert str(error) == "http.listen: is not an address — write host:port\ndatabse: is unknown"
