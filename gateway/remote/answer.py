"""What the commands make of an answer: JSON for programs, or a page for people; and the pages that several share."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from gateway.terminal import Language, Terminal

Page = Callable[[Terminal, Any], None]
"""Prints an answer for a person."""


def show(answer: Any, page: Page, *, lang: Language, as_json: bool) -> None:
    """Print `answer` as it is, or as `page` puts it."""
    terminal = Terminal(language=lang, as_json=as_json)
    if as_json:
        terminal.json(answer)
    else:
        page(terminal, answer)


def print_done(terminal: Terminal, answer: Any) -> None:
    terminal.plain(f"{terminal.choose('完成', 'done')}: {answer['note']}")


def print_more(terminal: Terminal, answer: Any) -> None:
    """A line below a list that was cut off at its limit."""
    if answer["next"]:
        after = shlex.quote(answer["next"])
        terminal.line(
            f"……还有更多，用 --limit、过滤条件或 --after {after}",
            f"… there are more: use --limit, a filter, or --after {after}",
        )


def example(*commands: str) -> str:
    """The end of a command's help: how it is called."""
    return "例 / Examples:  " + "   |   ".join(f"ordergate {command}" for command in commands)
