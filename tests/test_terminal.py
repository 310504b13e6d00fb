"""How a person reads what commands print."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.terminal import shown


def test_an_instant_is_shown_in_the_time_of_who_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a table that comes from the database as in one that comes from the API: they are compared."""
    at = datetime(2026, 5, 1, 1, 30, 5, 824526, tzinfo=UTC)
    monkeypatch.delenv("ORDERGATE_TIMEZONE", raising=False)
    assert shown(at) == "2026-05-01 09:30:05"
    monkeypatch.setenv("ORDERGATE_TIMEZONE", "UTC")
    assert shown(at) == "2026-05-01 01:30:05"
