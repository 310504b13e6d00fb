"""docs/webhook.md shows the commands as they are: every field, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters.webhook import mapping
from adapters.webhook.mapping import CancelOut, CreateOut, ItemOut, LineOut, ParcelOut, PickOut, ReceiverOut, ShipOut

TEXT = (Path(__file__).resolve().parents[3] / "docs/webhook.md").read_text(encoding="utf-8")
SHOWN: dict[str, dict[str, Any]] = {
    document["type"]: document
    for document in map(msgspec.json.decode, re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL))
}


@pytest.mark.parametrize(
    ("name", "kind", "inside"),
    [
        ("order.create", CreateOut, {"lines": LineOut, "items": PickOut}),
        ("order.cancel", CancelOut, {}),
        ("order.ship", ShipOut, {"parcels": ParcelOut, "shipped": ItemOut}),
    ],
)
def test_a_command_has_the_fields_that_the_page_shows(
    name: str, kind: type[msgspec.Struct], inside: dict[str, type[msgspec.Struct]]
) -> None:
    shown = SHOWN[name]
    assert [*shown] == ["type", *kind.__struct_fields__]
    for field, part in inside.items():
        assert [list(one) for one in shown[field]] == [list(part.__struct_fields__)]
    assert msgspec.json.decode(msgspec.json.encode(msgspec.convert(shown, kind))) == shown


def test_the_receiver_has_no_other_fields() -> None:
    assert set(SHOWN["order.create"]["receiver"]) <= set(ReceiverOut.__struct_fields__)


@pytest.mark.parametrize("status", [200, 302, 401, 403, 404, 408, 422, 425, 429, 500, 503])
def test_a_status_means_what_the_page_says(status: int) -> None:
    rows = dict(re.findall(r"^\| ([^|]*xx[^|]*|429) \| (.*) \|$", TEXT, re.MULTILINE))
    row = next(
        (row for row in rows if str(status) in row or (f"{status // 100}xx" in row and "other" not in row)),
        "any other 4xx",
    )
    told = {"done": "done", "failed": "tries again", "throttled": "waits", "rejected": "a person"}
    assert rows[row].startswith(told[mapping.classify(status)[0]])
