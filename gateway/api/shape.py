"""A request that does not fit its struct: what msgspec says of it, in Chinese too, and at our path."""

from __future__ import annotations

import re

import msgspec

from gateway.api.errors import SEE, ApiError, wrong
from gateway.core.text import Text


def misfit(error: msgspec.ValidationError, root: str, advice: Text = SEE) -> ApiError:
    """`error` as an answer; `root` is where the request's own path begins."""
    said, _, path = str(error).partition(" - at `$")
    return wrong(root + path.rstrip("`"), Text(_in_chinese(said), said), advice)


def _in_chinese(said: str) -> str:
    for pattern, zh in _SAYINGS:
        if match := pattern.fullmatch(said):
            return zh.format(*(_BOUNDS.get(part, part) for part in match.groups()))
    return f"内容不合要求（{said}）"


_BOUNDS = {">=": "不小于", "<=": "不大于", ">": "大于", "<": "小于"}

# What stands in it may be any text of the sender's, line ends included.
_SAYINGS = tuple(
    (re.compile(pattern, re.DOTALL), zh)
    for pattern, zh in (
        ("Object missing required field (`.*`)", "缺少必填字段 {0}"),
        ("Object contains unknown field (`.*`)", "没有字段 {0}"),
        ("Expected (`.*`), got (`.*`)", "应为 {0}，实际是 {1}"),
        ("Expected (`.*`) of length ([<>]=) (.*)", "{0} 的长度应{1} {2}"),
        ("Expected (`.*`) ([<>]=?) (.*)", "{0} 应{1} {2}"),
        ("Expected (`.*`) matching regex (.*)", "{0} 应符合正则 {1}"),
        ("Expected (`.*`) with a timezone component", "{0} 应带时区"),
        ("Invalid enum value (.*)", "没有 {0} 这个取值"),
        ("Invalid RFC3339 encoded datetime", "不是 RFC 3339 格式的时间"),
        ("Invalid base64 encoded string", "不是 base64"),
        ("(?:Integer value|Number|Timestamp is) out of range ?", "数值超出范围"),
    )
)
