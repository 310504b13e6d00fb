"""What the commands make of an answer: JSON for programs, or a page for people; and the pages that several share."""

from __future__ import annotations

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
        terminal.line("……还有更多，用 --limit 或过滤条件", "… there are more: use --limit or a filter")
