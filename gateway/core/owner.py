"""Whose work something is: one list of rules, for the desk, which shows who, and for notices, which mention them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import msgspec

from gateway.core.notice import Key, Kind

WorkKind = Literal["hold", "conflict", "delivery", "dead_letter"]
"""What can wait for a person, as the desk calls it."""

OwnerKind = Literal[
    WorkKind,
    "database",
    "target",
    "authorise",
    "shop_not_read",
    "kafka_not_read",
    "clock",
    "worker",
    "inbox",
    "ship_by",
    "backlog",
    "level",
    "ledger",
    "blocked",
]
"""What the desk or the notices call it. `blocked` is the notice of a `delivery` that waits for a person."""

_WITH_CODE = (Kind.DEAD_LETTER, Kind.BLOCKED, Kind.CONFLICT, Kind.HOLD)
WITH_CODE = frozenset({*get_args(WorkKind), *(kind.value for kind in _WITH_CODE)})
"""Kinds whose matters have a code."""
OF_NO_CONNECTION = frozenset(
    kind.value for kind in (Kind.DATABASE, Kind.WORKER, Kind.INBOX, Kind.KAFKA_NOT_READ, Kind.LEDGER)
)
"""Kinds whose matters are of no connection."""


class Matter(msgspec.Struct, frozen=True):
    """What somebody is to look after. `connection` and `code` may be empty."""

    kind: str
    connection: str
    code: str = ""


class OwnerRule(msgspec.Struct, frozen=True, kw_only=True):
    """`people` own what fits; an empty part fits all. A code also fits by its part before the colon: `rejected`."""

    people: tuple[str, ...]
    connection: str = ""
    kind: OwnerKind | None = None
    code: str = ""

    def fits(self, matter: Matter) -> bool:
        return (
            self.connection in ("", matter.connection)
            and (self.kind is None or _plain(self.kind) == _plain(matter.kind))
            and self.code in ("", matter.code, matter.code.split(":", 1)[0])
        )


def matter_of(key: Key) -> Matter:
    """What a notice is about."""
    return Matter(key.kind.value, key.connection, key.subject if key.kind in _WITH_CODE else "")


def owners_of(matter: Matter, rules: Sequence[OwnerRule]) -> tuple[str, ...]:
    """The people of the first rule that fits, nobody where none does."""
    return next((rule.people for rule in rules if rule.fits(matter)), ())


def _plain(kind: str) -> str:
    return "delivery" if kind == "blocked" else kind
