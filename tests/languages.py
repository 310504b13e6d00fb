"""Problems in English, after a look that each says the same in Chinese."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gateway.core.errors import Problem, Said
from gateway.core.text import Text

CHINESE = re.compile("[\u4e00-\u9fff]")
_COMMAND = re.compile(r"(ordergate|pip|kafka-topics\.sh|owners:|settings\.|[A-Z]{4,}|PostgreSQL) |https://")


def english(problems: Iterable[Problem]) -> list[Said]:
    found = list(problems)
    for problem in found:
        assert is_told(problem.what), problem
        assert not problem.proposal or is_told(problem.proposal) or is_a_command(problem.proposal), problem
    return [problem.said("en") for problem in found]


def is_told(text: Text) -> bool:
    """Whether it is a text in both languages."""
    return bool(CHINESE.search(text.zh)) and bool(re.search("[a-z]{2}", text.en)) and text.zh != text.en


def is_a_command(text: Text) -> bool:
    return text.zh == text.en and bool(_COMMAND.match(text.en))
