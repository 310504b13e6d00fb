"""What the commands make of an answer: JSON for programs, or a page for people; and the pages that several share."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from typing import Any

from gateway.core.text import Text
from gateway.core.words import word
from gateway.remote.client import RemoteError
from gateway.terminal import Language, Terminal

Page = Callable[[Terminal, Any], None]
"""Prints an answer for a person."""


def show(answer: Any, page: Page, *, lang: Language, as_json: bool) -> None:
    """Print `answer` as it is, or as `page` puts it."""
    terminal = Terminal(language=lang, as_json=as_json)
    if as_json:
        terminal.json(answer)
        return
    try:
        page(terminal, answer)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        missing = f"{type(error).__name__}: {error}"
        release = metadata.version("ordergate")
        raise RemoteError(
            Text(
                f"网关的应答不是这个命令（{release}）所认识的（{missing}）：网关是别的版本？"
                "用网关那台机器上的 ordergate，或加 --json 看原样",
                f"this command ({release}) does not know the gateway's answer ({missing}): is it of another release?"
                " use the ordergate of its machine, or see the answer with --json",
            )
        ) from error


def print_done(terminal: Terminal, answer: Any) -> None:
    terminal.line(f"完成：{answer['note']['zh']}", f"done: {answer['note']['en']}")


def print_written(terminal: Terminal, answer: Any) -> None:
    terminal.line(f"已写入 {answer['file']}", f"written to {answer['file']}")


def said(terminal: Terminal, text: Mapping[str, str]) -> str:
    """A text of an answer, which has it in both languages."""
    return terminal.choose(text["zh"], text["en"])


def print_more(terminal: Terminal, answer: Any) -> None:
    """A line below a list that was cut off at its limit."""
    if answer["next"]:
        after = shlex.quote(answer["next"])
        terminal.line(
            f"……还有更多，用 --limit、过滤条件或 --after {after}",
            f"… there are more: use --limit, a filter, or --after {after}",
        )


class Codes:
    """Chinese words for the codes of a page, and below it the codes themselves, which filters and commands take.

    In English the codes are words, and shorter.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._seen: dict[str, str] = {}

    def say(self, code: str | None, said: Callable[[str], Text] | Mapping[Any, Text]) -> str:
        """What `code` is called; nothing for no code."""
        if not code or self._terminal.language is not Language.ZH:
            return code or ""
        name = (said(code) if callable(said) else word(code, said)).zh
        if name != code:
            self._seen[code] = name
        return name

    def list(self, codes: Iterable[str], said: Callable[[str], Text] | Mapping[Any, Text]) -> str:
        return self._terminal.choose("、", " ").join(self.say(code, said) for code in codes)

    def print(self) -> None:
        if self._seen:
            self._terminal.plain("代码：" + "；".join(f"{code} {name}" for code, name in self._seen.items()))


def choices(zh: str, en: str, words: Mapping[Any, Text]) -> str:
    """The help of an option that takes one of a few codes."""
    # With spaces between: what has none is cut off where it does not fit.
    listed = " / ".join(f"{code} {said.zh}" for code, said in words.items())
    return f"{zh}： {listed}。 {en}"


def example(*commands: str) -> str:
    """The end of a command's help: how it is called."""
    return "例 / Examples:  " + "   |   ".join(f"ordergate {command}" for command in commands)
