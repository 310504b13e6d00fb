"""The producer's journal: every event that was acknowledged to it, on disk before anything else is sent.

A line is written behind the acknowledgement, so the journal never claims more than was promised to a sender.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec

End = Literal["sent", "stopped", "waiting", "any"]
"""Where an order has to end once all its events are acknowledged: at the WMS and not cancelled; never there, cancelled
there, or gone before the stop came; never there; or wherever the stock leaves it."""


class Acked(msgspec.Struct, frozen=True):
    """One acknowledged event. `number` is ours; `events` says how many different ones its order has in all."""

    number: str
    source: str
    event_id: str
    end: End
    events: int


class Journal:
    """Append-only; `write` returns when the lines are on the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Self:
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def write(self, lines: Iterable[Acked]) -> None:
        os.write(self._fd, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        os.fdatasync(self._fd)


def read(path: Path) -> list[Acked]:
    """All lines; one that was cut off by a crash of the producer is not there."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [msgspec.json.decode(line, type=Acked) for line in lines]
