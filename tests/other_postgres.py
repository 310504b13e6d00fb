"""A plugin of pytest: the tests on another PostgreSQL than the bundled one, as people bring it.

POSTGRES_PROGRAMS=/usr/lib/postgresql/15/bin ./dev test -p tests.other_postgres tests/store
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway.embedded import postgres

_NEWER = {"--locale-provider=builtin", "--builtin-locale=C.UTF-8"}
"""Options of initdb since PostgreSQL 17."""


class _Account(postgres._Account):
    def run(self, command: Sequence[str | Path], **more: Any) -> Any:
        if Path(command[0]).name == "initdb":
            command = [part for part in command if part not in _NEWER and part != "--locale=C"] + ["--locale=C.UTF-8"]
        return super().run(command, **more)


_programs = Path(os.environ["POSTGRES_PROGRAMS"])
postgres._programs = lambda account: _programs
postgres._Account = _Account  # type: ignore[misc]


def pytest_report_header() -> str:
    return f"PostgreSQL of {_programs}"
