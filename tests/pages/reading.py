"""The commands that the pages tell people to type: found in the text, their placeholders filled in.

A command is a line of an `sh` block, or inline code that begins with one of `PROGRAMS`, or with a group of `ordergate`
and a command of it (`deliveries resolve`).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer.main

from gateway.cli import app

ROOT = Path(__file__).resolve().parents[2]

PROGRAMS = frozenset(
    "ordergate .venv/bin/ordergate .venv/bin/python python python3 ./dev ./deploy/compose/make-secrets createdb psql"
    " pg_dump pg_restore pg_basebackup curl export cp docker systemctl useradd install uv kafka-topics.sh".split()
)

_COMMANDS: Any = typer.main.get_command(app)
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`([^`]+)`")
_COMMENT = re.compile(r"(?:^|\s\s+)#.*")


def pages() -> list[str]:
    """Every page for people, relative to the root, and the two configurations that explain themselves.

    Decisions and the changelog tell nobody to type anything.
    """
    found = [ROOT / "README.md", ROOT / "README.zh-CN.md", ROOT / "CONTRIBUTING.md"]
    for folder in ("docs", "deploy", "adapters"):
        found += sorted((ROOT / folder).rglob("*.md"))
    found += sorted((ROOT / "docs").glob("*.yaml"))
    return [path.relative_to(ROOT).as_posix() for path in found if "decisions" not in path.parts]


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def commands_of(text: str, names: Mapping[str, str]) -> list[str]:
    """The commands of a page in its sequence, each once, with words replaced by `names`.

    Two that differ only in the reason that a person gives are one: half of a page says it in Chinese, half in English.
    `open|close` stands for two commands.
    """
    found: dict[str, str] = {}
    for line in _lines(text):
        for command in _alternatives(" ".join(names.get(word, word) for word in line.split())):
            found.setdefault(without_reason(command), command)
    return list(found.values())


def blocks_of(page: str, language: str) -> list[str]:
    return [text for kind, text in _FENCED.findall(text_of(page)) if kind == language]


def without_reason(command: str) -> str:
    """`command` without the reason that a person gives for it; that of `orders list` is none, it is looked for."""
    if not command.startswith("ordergate "):
        return command
    found, _ = _called(command)
    whys = [one.opts for one in getattr(found, "params", ()) if {"-r", "--reason"} <= set(one.opts)]
    words, kept = iter(shlex.split(command)), []
    for word in words:
        if any(word in names for names in whys):
            next(words, None)
        else:
            kept.append(word)
    return shlex.join(kept)


def only_named(command: str) -> bool:
    """Whether this names a command of `ordergate` and leaves out what it cannot do without."""
    if not command.startswith("ordergate "):
        return False
    found, given = _called(command)
    if hasattr(found, "commands"):
        return True
    options = {name: one for one in found.params for name in (*one.opts, *one.secondary_opts)}
    used, arguments = set(), 0
    while given:
        word = given.pop(0)
        if word == "--help":
            return False
        if not word.startswith("-") or word == "-":
            arguments += 1
            continue
        name, _, value = word.partition("=")
        assert name in options, f"`{command}`: there is no option `{name}`"
        used.add(options[name].name)
        if not options[name].is_flag and not value:
            if not given:
                return True
            given.pop(0)
    needed = [one for one in found.params if one.required]
    positional = sum(one.param_type_name == "argument" for one in needed)
    return arguments < positional or any(one.param_type_name == "option" and one.name not in used for one in needed)


def begins(command: str, named: str) -> bool:
    """Whether `command` is `named` with more to it."""
    words, start = command.split(), named.split()
    return len(words) > len(start) and words[: len(start)] == start


def _called(command: str) -> tuple[Any, list[str]]:
    """The command (or the group) that is meant, and the words behind its name."""
    found, given = _COMMANDS, shlex.split(command)[1:]
    while given and hasattr(found, "commands"):
        assert given[0] in found.commands, f"`{command}`: there is no `{given[0]}`"
        found = found.commands[given.pop(0)]
    return found, given


def _lines(text: str) -> Iterator[str]:
    at = 0
    for fenced in _FENCED.finditer(text):
        yield from _inline(text[at : fenced.start()])
        at = fenced.end()
        if fenced[1] == "sh":
            joined = fenced[2].replace("\\\n", " ")
            yield from filter(None, (_COMMENT.sub("", line).strip() for line in joined.splitlines()))
    yield from _inline(text[at:])


def _inline(text: str) -> Iterator[str]:
    for code in _INLINE.findall(text):
        words = code.split()
        if len(words) > 1 and words[0] in PROGRAMS:
            yield code
        elif len(words) > 1 and words[0] in _COMMANDS.commands and words[1] in _below(words[0]):
            yield f"ordergate {code}"


def _below(name: str) -> Collection[str]:
    return getattr(_COMMANDS.commands[name], "commands", ())


def _alternatives(command: str) -> list[str]:
    words = command.split()
    for number, word in enumerate(words):
        if re.fullmatch(r"[a-z]+(\|[a-z]+)+", word):
            return [" ".join([*words[:number], one, *words[number + 1 :]]) for one in word.split("|")]
    return [command]
