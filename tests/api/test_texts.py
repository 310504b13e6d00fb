"""Everything that the API says to people, it says in Chinese and in English."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import gateway.api
from gateway.api.shape import misfit
from gateway.api.views import (
    AuthoriseBody,
    ContentObject,
    ForceBody,
    OrdersQuery,
    ReasonBody,
    RedriveBody,
    SkuImportBody,
    StockBody,
    UnmaskQuery,
)
from tests.languages import CHINESE

_API = Path(gateway.api.__file__).parent
_CHINESE_OR_ITS_MARKS = re.compile("[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]")


def texts(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """What each `Text` of literals says, with its line; what is put into them from elsewhere is left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Text":
            zh, en = node.args
            if isinstance(zh, ast.Constant | ast.JoinedStr | ast.BinOp):
                yield node.lineno, _literal(zh), _literal(en)


def _literal(node: ast.expr) -> str:
    parts = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
    return "".join(part for part in parts if isinstance(part, str))


def test_every_text_is_in_both_languages() -> None:
    found = 0
    for file in sorted(_API.glob("*.py")):
        for line, zh, en in texts(ast.parse(file.read_text())):
            found += 1
            assert _CHINESE_OR_ITS_MARKS.search(zh) and not CHINESE.search(en), f"{file.name}:{line}"
    assert found > 100


@pytest.mark.parametrize(
    ("request_", "kind", "where", "zh"),
    [
        ({}, ReasonBody, "$", "缺少必填字段 `reason`"),
        ({"reason": "x", "a`\nb": 1}, ReasonBody, "$", "没有字段 `a`\nb`"),
        ({"reason": 1}, ReasonBody, "$.reason", "应为文本，现为整数"),
        ({"reason": ""}, ReasonBody, "$.reason", "至少要有 1 个字符"),
        ({"reason": "x" * 501}, ReasonBody, "$.reason", "最多 500 个字符"),
        ([], ReasonBody, "$", "应为对象，现为数组"),
        ({"items": [], "reason": "x"}, StockBody, "$.items", "至少要有 1 项"),
        ({"limit": 501}, OrdersQuery, "$.limit", "应为整数且 <= 500"),
        ({"stage": "lost"}, OrdersQuery, "$.stage", "不是可用的值"),
        ({"unmask": 2}, UnmaskQuery, "$.unmask", "不是可用的值"),
        ({"after": "x"}, OrdersQuery, "$.after", "应为文本，并符合正则 '^\\\\d{1,18}(\\\\.\\\\d{1,18})?$(?!\\\\n)'"),
        ({"wanted": {}, "reason": "x", "per_s": 0}, RedriveBody, "$.per_s", "应为小数且 >= 0.001"),
        ({"force": "open", "reason": "x", "for_s": 0}, ForceBody, "$.for_s", "应为小数且 > 0.0"),
        ({"wanted": {}, "reason": "x", "per_s": "1"}, RedriveBody, "$.per_s", "应为小数或空，现为文本"),
        ({"file": "not base64!", "reason": "x"}, SkuImportBody, "$.file", "不是 base64"),
        (
            {"access_token": "t", "reason": "x", "expires_at": "2026-05-01T09:30:00"}, AuthoriseBody, "$.expires_at",
            "缺少时区（如 +08:00）",
        ),
        ({"placed_at": "yesterday"}, ContentObject, "$.placed_at", "不是时刻（写成 2026-01-01T00:00:00+08:00）"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_in_both_languages(request_: Any, kind: Any, where: str, zh: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(request_, kind)

    problem = misfit(refused.value, "$").problem

    assert (problem.where, problem.message.zh) == (where, zh)
    assert problem.message.en == str(refused.value).partition(" - at `")[0]


def test_what_has_no_words_here_stands_in_english() -> None:
    assert misfit(msgspec.ValidationError("Invalid UUID"), "$").problem.message.zh == "内容不合要求（Invalid UUID）"


def test_a_number_that_is_too_great_is_told() -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.json.decode(b'{"wanted": {}, "reason": "x", "start_in_s": 1e999}', type=RedriveBody)
    assert misfit(refused.value, "$").problem.message.zh == "数值超出范围"
