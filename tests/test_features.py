"""The marks that say which test proves which row of the feature list: there are such tests, and each row has one.

Read from the source, so that it holds for whatever part of the tests is being run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parent
FIRST_RELEASE = (6, 7, 8, 24, 52, 74, *range(75, 82), 94, 101, 103, *range(115, 118), 119, 120, 125, 126, 127, 129, 130)
"""What the first release does beside the way of an order, by the rows of the feature list."""
WAY_OF_AN_ORDER = (2, 4, 5, *range(9, 16), 45, 46, *range(63, 74), 109)
"""What it rests on: orders in once, decided once, and out once whatever fails."""


def marks(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Every ``pytest.mark.feature("F1")`` of a file, and whether it stands on tests: on one, on its parameters, or on
    all of a file that has some."""
    tests = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    names = [node.name for node in tests if node.name.startswith("test_")]
    for node in tree.body:
        on_a_test = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in names
        on_its_file = isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "pytestmark" for target in node.targets
        )
        inside_a_helper = isinstance(node, ast.FunctionDef) and not on_a_test and bool(names)
        for found in ast.walk(node):
            if isinstance(found, ast.Call) and ast.unparse(found.func) == "pytest.mark.feature":
                (given,) = found.args
                assert isinstance(given, ast.Constant) and isinstance(given.value, str), ast.unparse(found)
                yield given.value, on_a_test or inside_a_helper or (on_its_file and bool(names))


def collect() -> dict[str, list[str]]:
    """Row → the files with tests that prove it."""
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for row, on_tests in marks(ast.parse(path.read_text(encoding="utf-8"))):
            name = str(path.relative_to(TESTS))
            assert on_tests, f"{name}: {row} marks no test"
            found.setdefault(row, []).append(name)
    return found


def test_every_row_of_the_first_release_has_a_test_that_proves_it() -> None:
    found = collect()
    assert [f"F{row}" for row in (*WAY_OF_AN_ORDER, *FIRST_RELEASE) if f"F{row}" not in found] == []


def test_marks_name_rows() -> None:
    assert [row for row in collect() if not re.fullmatch(r"F([1-9]|[1-9]\d|1[0-2]\d|13[0-3])", row)] == []


def test_a_mark_that_stands_on_nothing_is_seen() -> None:
    lost = ast.parse('import pytest\npytestmark = pytest.mark.feature("F8")\ndef helper():\n    pass\n')
    kept = ast.parse('import pytest\n@pytest.mark.feature("F8")\nasync def test_it():\n    pass\n')
    assert list(marks(lost)) == [("F8", False)] and list(marks(kept)) == [("F8", True)]
