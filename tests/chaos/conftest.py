"""Databases and folders for chaos runs; the servers are those of `tests/conftest.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.run import Report


@pytest.fixture
def folder(server_folder: Path) -> Path:
    return server_folder


@pytest.fixture
def show(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[Report], None]]:
    """Print the figures of a run past pytest's capture: they are the point of it."""

    def shown(report: Report) -> None:
        with capsys.disabled():
            print(f"\n{request.node.name}: {report}")

    yield shown
