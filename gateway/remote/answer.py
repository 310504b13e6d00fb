"""What the commands print of an answer that several of them get."""

from __future__ import annotations

from typing import Any

from gateway.terminal import Language, Terminal


def done(answer: Any, language: Language, as_json: bool) -> None:
    terminal = Terminal(language=language, as_json=as_json)
    if as_json:
        terminal.json(answer)
    else:
        terminal.plain(f"{terminal.choose('完成', 'done')}: {answer['note']}")
