"""How the commands are called: their help without cuts, and what is wrong with a command line in Chinese and English.

Typer and pydantic find what is wrong and say it in English only.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

import typer

from gateway.core.text import Text


@functools.cache
def fold_help() -> None:
    """Have help fold what is too long: a Chinese sentence is one word to rich, of which it leaves a part and "…"."""
    # Here, since what help is made of takes a tenth of a second, and hardly a command prints any.
    from rich.text import Text as RichText
    from typer import rich_utils

    # Typer's own, and private: a release without it cuts help as before, and nothing else.
    make = getattr(rich_utils, "_make_rich_text", None)
    if make is None:
        return

    def make_folding(**how: Any) -> Any:
        text = make(**how)
        if isinstance(text, RichText):
            text.overflow = "fold"
        return text

    rich_utils._make_rich_text = make_folding


def told(error: typer.TyperException) -> list[str]:
    """Lines that say what is wrong and how the command is called; none where its help was printed instead."""
    if type(error).__name__ == "NoArgsIsHelpError":
        return []  # a group without a command
    said = in_both(error.format_message())
    context: typer.Context | None = getattr(error, "ctx", None)
    lines = [f"错误：{said.zh}", f"error: {said.en}"]
    if context is not None:
        usage = " ".join(context.get_usage().split()).removeprefix("Usage: ")
        lines += [f"用法 / usage: {usage}", f"说明 / help: {context.command_path} --help"]
    return lines


def in_both(english: str) -> Text:
    """A message of typer or pydantic, with its Chinese; one that is not known here stays as it is."""
    if negative := _NEGATIVE.match(english):
        return Text(
            f"没有选项 {negative[1]}；这里的数不能为负。以 - 开头的文本写在 -- 之后",
            f"no such option: {negative[1]}; a number here cannot be negative. A text that begins with - goes after --",
        )
    return Text(_chinese(english), english[:1].lower() + english[1:].rstrip("."))


_NEGATIVE = re.compile(r"No such option: (-\d)")

_SAID: Sequence[tuple[re.Pattern[str], str]] = tuple(
    (re.compile(pattern, re.DOTALL), zh)
    for pattern, zh in (
        (r"Missing argument (.+?)\.", "缺少参数 {0}"),
        (r"Missing option (.+?)\.", "缺少选项 {0}"),
        (r"Missing (?:argument|option) (.+?)\. (.+)", "缺少 {0}：{1}"),
        (r"Missing command\.", "缺少子命令"),
        (r"No such option: (\S+) \(Possible options: (.+)\)", "没有选项 {0}（是不是 {1}？）"),
        (r"No such option: (.+)", "没有选项 {0}"),
        (r"No such command (.+?)\. Did you mean (.+)\?", "没有命令 {0}，是不是 {1}？"),
        (r"No such command (.+?)\.", "没有命令 {0}"),
        (r"Got unexpected extra argument\(s\) \((.+)\)", "多余的参数：{0}"),
        (r"Option (.+?) requires an argument\.", "选项 {0} 后面缺少值"),
        (r"Option (.+?) does not take a value\.", "选项 {0} 不带值"),
        (r"Argument (.+?) takes (\d+) values\.", "参数 {0} 要有 {1} 个值"),
        (r"Invalid value for ('[^']+'(?: / '[^']+')*(?: \(env var: [^)]+\))?): (.+)", "{0} 的值不对：{1}"),
        (r"Invalid value: (.+)", "值不对：{0}"),
        (r"Input should be greater than or equal to (\S+)", "应 ≥ {0}"),
        (r"Input should be less than or equal to (\S+)", "应 ≤ {0}"),
        (r"Input should be greater than (\S+)", "应 > {0}"),
        (r"Input should be less than (\S+)", "应 < {0}"),
        (r"Input should be a valid integer.*", "应为整数"),
        (r"Input should be a valid number.*", "应为数"),
        (r"Input should be a finite number", "应为有限的数"),
        (r"Input should be a valid boolean.*", "应为 true 或 false"),
        (r"(?:Value error, )?('.*') is not one of (.+)\.", "没有 {0}，可选：{1}"),
        (r"(?:File|Path|Directory) (.+) does not exist\.", "没有 {0}"),
    )
)
"""What click, which typer brings along, and pydantic say; what stands in braces may be one of these again."""


def _chinese(english: str) -> str:
    for pattern, zh in _SAID:
        match = pattern.fullmatch(english)
        if match is not None:
            return zh.format(*(_chinese(part) for part in match.groups())).replace("(env var: ", "(环境变量：")
    return english
