"""What the desk knows of the configuration: whose work is whose, how targets can be asked, how shops number orders."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

import msgspec

from gateway.core.delivery import AfterUnknown
from gateway.core.event import ConnectionName
from gateway.core.owner import OwnerRule
from gateway.settings import GatePolicy
from gateway.store.queries import LaneRow
from gateway.store.sql import Names
from gateway.store.wanted import Asking, Policies

_PER_S = 10.0
_SHARE = 0.5
"""Of a target's rate for a redrive, unless it is told otherwise: new orders go on beside it."""


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    """`owners`: whose work is whose. `prefixes`: of the shops' order numbers, `former`: of those of before. `renamed`:
    shops of before that have another name now. `asking` and `rates` are per target and operation; a rate of None has no
    limit. `watched`: whether conditions are looked for. `ship_by_lead`: how near a shop's latest time to ship has to
    be."""

    owners: tuple[OwnerRule, ...] = ()
    language: Literal["zh", "en"] = "zh"
    watched: bool = False
    ship_by_lead: timedelta = timedelta(hours=4)
    prefixes: Mapping[ConnectionName, str] = {}
    former: frozenset[str] = frozenset()
    renamed: Mapping[ConnectionName, ConnectionName] = {}
    asking: Mapping[tuple[ConnectionName, str], Asking] = {}
    rates: Mapping[tuple[ConnectionName, str], float | None] = {}

    def after(self, target: str, operation: str) -> AfterUnknown:
        found = self.asking.get((ConnectionName(target), operation))
        return AfterUnknown.PERSON if found is None else found.after

    def policies(self, names: Names) -> Policies:
        return {(names.id(target), operation): asking for (target, operation), asking in self.asking.items()}

    def seen(self, lane: LaneRow) -> LaneRow:
        """`lane`, and whether nothing of it is sent because its target is not configured (any more)."""
        if (ConnectionName(lane.target), lane.operation) in self.asking:
            return lane
        return msgspec.structs.replace(lane, stopped="not_configured")

    def pace(self, target: str | None, operation: str | None) -> float:
        """What a redrive releases a second when nobody says."""
        rates = [
            rate
            for (name, op), rate in self.rates.items()
            if rate is not None and target in (None, name) and operation in (None, op)
        ]
        return min([_PER_S, *(rate * _SHARE for rate in rates)])

    def numbers(self, channel_no: str) -> list[str]:
        """What an order of this number would be called here, in whichever shop."""
        return sorted({prefix + channel_no for prefix in self.former.union(self.prefixes.values())})


def asking_of(policy: GatePolicy, *, settle_s: float) -> Asking:
    return Asking(policy.after_unknown, settle_s)
