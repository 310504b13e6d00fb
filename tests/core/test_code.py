"""Codes stand in columns, logs, metrics and notices in plain text, whatever an adapter makes of a platform's words."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.core.code import code_of
from gateway.core.delivery import Failed, Rejected, Unauthorised, Unknown
from gateway.core.errors import BadInput


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("rejected:address", "rejected:address"),
        ("27 session 61023", "27"),
        ("10019: access_token 已过期", "10019"),
        ("张三丰", "other"),
        ("", "other"),
        ("13912345678", "other"),
        ("order-1234567890", "other"),
        ("x" * 200, "x" * 64),
    ],
)
def test_only_codes_are_shown(text: str, code: str) -> None:
    assert code_of(text) == code


@pytest.mark.parametrize("kind", [Failed, Rejected, Unauthorised, Unknown])
def test_no_answer_has_a_code_that_quotes(kind: Any) -> None:
    assert kind("isv.receiver-wrong:张三丰", "words").code == "isv.receiver-wrong"
    assert kind("张三丰").code == kind("13912345678").code == "other"
    assert kind("").code == "" and kind(404).code == "404"
    assert kind("http_503") == kind("http_503")


def test_neither_has_bad_input() -> None:
    assert BadInput("张三丰", "is no status").code == "other"
    assert BadInput("value", "is no status").code == "value"
