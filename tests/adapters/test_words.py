"""What an adapter says of input it refuses is in Chinese and in English; and the test would notice what is not.

Read from the source: not every refusal is reached by a test.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.test_imports import ROOT
from tests.languages import CHINESE

FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "adapters").rglob("*.py"))
REFUSALS = {"BadInput": 1, "BadSignature": 0}
"""What is raised → which of its arguments is the message."""
TECHNICAL: frozenset[str] = frozenset()
"""Texts that are the same in both languages on purpose: formats and the like, as they stand in the source."""


class Module:
    def __init__(self, text: str) -> None:
        self._tree = ast.parse(text)
        self._functions = {
            node.name: node for node in ast.walk(self._tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        # Outer functions come first, so the innermost one stays.
        self._around = {
            node: function
            for function in ast.walk(self._tree)
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            for node in ast.walk(function)
        }

    def said(self) -> Iterator[ast.expr]:
        """Message and advice of every refusal."""
        for call in ast.walk(self._tree):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in REFUSALS:
                place = REFUSALS[call.func.id]
                yield from call.args[place : place + 1]
                yield from (given.value for given in call.keywords if given.arg in ("message", "advice"))

    def untold(self) -> Iterator[str]:
        for said in self.said():
            for text in self._texts(said):
                if not self._is_told(text):
                    yield f"{text.lineno}: {ast.unparse(text)}"

    def _texts(self, said: ast.expr) -> Iterator[ast.expr]:
        """What `said` may be, behind names, choices and the module's own functions."""
        match said:
            case ast.IfExp():
                yield from self._texts(said.body)
                yield from self._texts(said.orelse)
            case ast.Name() if values := self._values(said):
                for value in values:
                    yield from self._texts(value)
            case ast.Call(func=ast.Name(id=name)) if name in self._functions:
                for node in ast.walk(self._functions[name]):
                    if isinstance(node, ast.Return) and node.value is not None:
                        yield from self._texts(node.value)
            case _:
                yield said

    def _values(self, name: ast.Name) -> list[ast.expr]:
        """What is assigned to `name` in its function, else in the module."""
        function = self._around.get(name)
        for nodes in (ast.walk(function) if function is not None else (), self._tree.body):
            found = [
                node.value
                for node in nodes
                if isinstance(node, ast.Assign)
                and any(isinstance(target, ast.Name) and target.id == name.id for target in node.targets)
            ]
            if found:
                return found
        return []

    def _is_told(self, text: ast.expr) -> bool:
        match text:
            case ast.Call(func=ast.Name(id="Text"), args=[zh, en]):
                same = ast.unparse(zh)
                return self._is_chinese(zh) or (same == ast.unparse(en) and same in TECHNICAL)
            case ast.Attribute(attr="message" | "advice"):
                return True  # of another refusal, which has its words
        return False

    def _is_chinese(self, zh: ast.expr) -> bool:
        names = [node for node in ast.walk(zh) if isinstance(node, ast.Name)]
        return any(
            isinstance(node, ast.Constant) and isinstance(node.value, str) and CHINESE.search(node.value)
            for part in (zh, *(value for name in names for value in self._values(name)))
            for node in ast.walk(part)
        )


@pytest.mark.parametrize("file", FILES)
def test_every_refusal_is_told_in_both_languages(file: str) -> None:
    module = Module((ROOT / file).read_text(encoding="utf-8"))
    assert list(module.untold()) == []


def test_refusals_are_found() -> None:
    told = {file for file in FILES if any(Module((ROOT / file).read_text(encoding="utf-8")).said())}
    adapters = ("pinduoduo", "qimen", "taobao", "webhook")
    assert {f"adapters/{adapter}/mapping.py" for adapter in adapters} <= told


@pytest.mark.parametrize(
    "planted",
    [
        'raise BadInput("value", "is wrong")',
        'raise BadInput("value", f"is over {limit}")',
        'raise BadInput("value", Text("is wrong", "is wrong"))',
        'raise BadInput("value", Text("有误", "is wrong"), advice="look at it")',
        'advice = "look at it"\nraise BadInput("value", Text("有误", "is wrong"), advice=advice)',
        'raise BadInput("value", Text("有误", "is wrong") if limit else "is wrong")',
        '_WRONG = "is wrong"\ndef f():\n    raise BadInput("value", _WRONG)',
        'def f():\n    return BadInput("value", g())\ndef g():\n    return "one of: " + ", ".join(known)',
        'raise BadInput("value", said)',
        'raise BadSignature("does not match")',
    ],
)
def test_one_in_english_only_is_noticed(planted: str) -> None:
    assert len(list(Module(planted).untold())) == 1


@pytest.mark.parametrize(
    "planted",
    [
        'raise BadInput("value", Text("有误", "is wrong"), where="$.a", advice=Text(f"写成 {a}", f"write {a}"))',
        'def f():\n    zh = f"应为 {a}" if a else "有误"\n    raise BadInput("value", Text(zh, "is wrong"))',
        'raise BadInput("amount", error.message, advice=error.advice)',
    ],
)
def test_one_in_both_is_passed_over(planted: str) -> None:
    assert list(Module(planted).untold()) == []
