"""What an adapter raised is told with the line of its own, and without its words."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from gateway.core.errors import BadInput
from gateway.core.fault import raised
from gateway.core.money import parse_minor

CODE = """
import json

from gateway.core.money import parse_minor


def own():
    return {"phone": "13800000000"}["13900000000"]


def through_a_library():
    json.loads("13800000000 is no JSON")


def through_the_gateway():
    parse_minor("13800000000 is no amount")
"""


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "planted_fault").mkdir()
    (tmp_path / "planted_fault" / "target.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return importlib.import_module("planted_fault.target")


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("own", "KeyError at target.py:8"),
        ("through_a_library", "JSONDecodeError at target.py:12"),
        ("through_the_gateway", "BadInput at target.py:16"),
    ],
)
def test_the_line_of_the_adapter_is_told(broken: ModuleType, function: str, told: str) -> None:
    assert told_of(getattr(broken, function)) == told


def test_what_no_adapter_raised_has_no_line() -> None:
    assert told_of(lambda: parse_minor("no amount"), own_lines=2) == "BadInput"


def told_of(do: Callable[[], object], *, own_lines: int = 1) -> str:
    """`raised` of what `do` raises, without the lines of this test: a gateway's own stand in their place in life."""
    try:
        do()
    except (KeyError, ValueError, BadInput) as error:
        step = error.__traceback__
        for _ in range(own_lines):
            assert step is not None
            step = step.tb_next
        return raised(error.with_traceback(step))
    raise AssertionError("nothing was raised")
