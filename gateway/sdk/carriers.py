"""Carrier codes: what a warehouse calls a carrier, and what each platform calls it.

The table ships with the gateway (``carriers.csv``) and is extended or overridden in the configuration. An unknown
carrier is never guessed: the delivery is rejected with that reason, a person adds the row and sends it again.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from importlib import resources

import msgspec


class UnknownCarrier(Exception):
    """`code` has no row, or its row has no name for `platform`."""

    def __init__(self, code: str, platform: str) -> None:
        super().__init__(f"carrier {code!r} has no code for {platform}: add it under `carriers:` in the configuration")
        self.code = code
        self.platform = platform


class Carriers(msgspec.Struct, frozen=True):
    """Our code (upper case, the one Qimen uses) → platform → the platform's code."""

    rows: Mapping[str, Mapping[str, str]]

    def code(self, carrier: str, platform: str) -> str:
        """The platform's code for our `carrier`. Raises UnknownCarrier."""
        row = self.rows.get(carrier.upper())
        if row is None or not row.get(platform):
            raise UnknownCarrier(carrier, platform)
        return row[platform]

    def extended(self, extra: Mapping[str, Mapping[str, str]]) -> Carriers:
        """This table with rows of the configuration laid over it, cell by cell."""
        rows = {code: dict(row) for code, row in self.rows.items()}
        for code, row in extra.items():
            rows.setdefault(code.upper(), {}).update(row)
        return Carriers(rows)


def load_carriers() -> Carriers:
    """The table that ships with the gateway."""
    text = resources.files("gateway.sdk").joinpath("carriers.csv").read_text(encoding="utf-8")
    rows = {}
    for row in csv.DictReader(text.splitlines()):
        rows[row.pop("code")] = {platform: value for platform, value in row.items() if value}
    return Carriers(rows)
