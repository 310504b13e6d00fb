"""What msgspec says of a value that does not fit its type, in Chinese. No value is quoted: it may be a buyer's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

JSON_KINDS: Mapping[str, str] = {
    "int": "整数",
    "float": "小数",
    "str": "文本",
    "bool": "真假值",
    "null": "空",
    "array": "数组",
    "object": "对象",
    "datetime": "时刻",
    "bytes": "base64 文本",
}


def verdict_in_chinese(said: str, *, kinds: Mapping[str, str] = JSON_KINDS) -> str | None:
    """``应为整数或空，现为文本`` of "Expected `int | null`, got `str`"; None of what has no words here.

    `said` is without its place (" - at `$.x`"). `kinds`: what types are called where the value stands.
    """
    for pattern, zh in _VERDICTS:
        if match := pattern.fullmatch(said):
            return zh.format(*(_named(part, kinds) for part in match.groups()))
    return None


def _named(part: str, kinds: Mapping[str, str]) -> str:
    """``整数或空`` of msgspec's ``int | null``; what is no kind (a number) as it is."""
    return "或".join(kinds.get(kind, kind) for kind in part.split(" | "))


# What stands in it may be any text of the sender's, line ends included.
_VERDICTS: Sequence[tuple[re.Pattern[str], str]] = tuple(
    (re.compile(pattern, re.DOTALL), zh)
    for pattern, zh in (
        (r"Object missing required field (`.*`)", "缺少必填字段 {0}"),
        (r"Object contains unknown field (`.*`)", "没有字段 {0}"),
        (r"Expected `array` of length (\d+), got (\d+)", "应有 {0} 项，现有 {1} 项"),
        (r"Expected `(?:array|object)` of length >= (\d+)", "至少要有 {0} 项"),
        (r"Expected `(?:array|object)` of length <= (\d+)", "最多 {0} 项"),
        (r"Expected `str` of length >= (\d+)", "至少要有 {0} 个字符"),
        (r"Expected `str` of length <= (\d+)", "最多 {0} 个字符"),
        (r"Expected `datetime` with a timezone component", "缺少时区（如 +08:00）"),
        (r"Expected `([^`]+)`, got `([^`]+)`", "应为{0}，现为{1}"),
        (r"Expected `([^`]+)` (>=|<=|>|<) (\S+)", "应为{0}且 {1} {2}"),
        (r"Expected `([^`]+)` matching regex (.*)", "应为{0}，并符合正则 {1}"),
        (r"Invalid RFC3339 encoded datetime", "不是时刻（写成 2026-01-01T00:00:00+08:00）"),
        (r"Invalid base64 encoded string", "不是 base64"),
        (r"Invalid enum value .*", "不是可用的值"),
        (r"(?:Integer value|Number|Timestamp is) out of range ?", "数值超出范围"),
    )
)
