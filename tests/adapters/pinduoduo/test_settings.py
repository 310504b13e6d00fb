"""The settings as the configuration file gives them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.pinduoduo.settings import Meaning, Refunds, Settings
from gateway.core.errors import SettingsError
from gateway.plugins import discover
from gateway.sdk.models import ConnectionName, RefundStatus, Token
from gateway.settings import parse

TEXT = """
connections:
  pdd-1:
    adapter: pinduoduo
    prefix: P
    mode: observe
    settings:
      client_id: c
      client_secret: s
      access_token: T1
      refresh_token: R1
      expires_at: 2027-01-01T00:00:00+08:00
      errors: {50001: rejected, "70036": degraded}
      extra_parcels: all
      refunds: hold
      refund_queries: [2, 10]
      after_sales_statuses: {40: open, "41": null}
"""


def test_a_whole_one() -> None:
    settings = read(TEXT)

    assert settings.token == Token("T1", "R1", datetime(2026, 12, 31, 16, tzinfo=UTC))
    assert settings.errors == {"50001": Meaning.REJECTED, "70036": Meaning.DEGRADED}
    assert (settings.refunds, settings.refund_queries) == (Refunds.HOLD, (2, 10))
    assert settings.after_sales_statuses == {"40": RefundStatus.OPEN, "41": None}
    assert settings.url == "https://gw-api.pinduoduo.com/api/router"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("access_token: T1", 'access_token: ""', "settings.access_token"),
        ("extra_parcels: all", "extra_parcels: some", "one of: missing, all, off"),
        ("refunds: hold", "refunds: part", "one of: list, hold, all"),
        ("[2, 10]", "[]", "refund_queries"),
        ("50001: rejected", "50001: refused", "one of: throttled, unauthorised"),
        ("+08:00", "", "settings.expires_at"),
        ("client_id: c", "client: c", "client_id"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(old: str, new: str, said: str) -> None:
    with pytest.raises(SettingsError, match="pdd-1") as refused:
        read(TEXT.replace(old, new))
    assert said in str(refused.value)


def test_no_secret_is_shown() -> None:
    settings = Settings(client_id="c", client_secret="SECRET", access_token="TOKEN", refresh_token="REFRESH")
    assert not any(text in repr(settings) for text in ("SECRET", "TOKEN", "REFRESH"))


def read(text: str) -> Settings:
    parsed = parse(text, {}, discover(), name="test.yaml", folder=Path("/"))
    settings = parsed.connections[ConnectionName("pdd-1")].settings
    assert isinstance(settings, Settings)
    return settings
