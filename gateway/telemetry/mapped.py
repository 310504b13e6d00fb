"""The files that several processes' metrics are in, on room that the disk has given before anything is written there.

prometheus_client maps files that are longer than what the disk has given them, and where it is full by the time they
are written to, the kernel ends the process (SIGBUS): the parent, or every worker as soon as it starts. Here what finds
no room stays off the page until there is some, and the process goes on.
"""

from __future__ import annotations

import logging
import os
import time
from typing import cast

from prometheus_client import values
from prometheus_client.mmap_dict import _INITIAL_MMAP_SIZE, MmapedDict

from gateway.core.text import system_reason

AGAIN_S = 5.0
"""So soon is room looked for again, when something counts that has found none."""

_Value = tuple[float, float]
"""A value, and when it was set."""


class MappedFile(MmapedDict):
    """One file of one process. Not for two threads at a time."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        self._fname = filename
        self._made = False
        self._positions: dict[str, int] = {}
        self._roomless: dict[str, _Value] = {}
        self._again_at = 0.0

    def read_value(self, key: str) -> _Value:
        if key not in self._positions and not self._placed(key):
            return self._roomless.setdefault(key, (0.0, 0.0))
        return cast(_Value, super().read_value(key))  # type: ignore[no-untyped-call]

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        if key not in self._positions and not self._placed(key):
            self._roomless[key] = value, timestamp
            return
        super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        if self._made:
            super().close()  # type: ignore[no-untyped-call]

    def _placed(self, key: str) -> bool:
        """Whether `key` has a place in the file now."""
        now = time.monotonic()
        if now < self._again_at:
            return False
        try:
            if not self._made:
                _reserve(self._fname, _INITIAL_MMAP_SIZE)
                super().__init__(self._fname)  # type: ignore[no-untyped-call]
                self._made = True
            # What the library adds to a key: its length, up to 8 bytes of padding, the value and its time.
            if self._used + len(key.encode()) + 28 > self._capacity:
                _reserve(self._fname, 2 * self._capacity)
            self._init_value(key)  # type: ignore[no-untyped-call]
        except OSError as error:
            if not self._again_at:
                _log.warning(
                    "%s 写不进：%s；部分指标暂不显示 / cannot be written, some metrics are not shown",
                    self._fname,
                    system_reason(error).zh,
                )
            self._again_at = now + AGAIN_S
            return False
        if key in self._roomless:
            super().write_value(key, *self._roomless.pop(key))  # type: ignore[no-untyped-call]
        return True


def map_with_room() -> None:
    """Have prometheus_client keep what it counts in such files from now on; to be called before anything counts."""
    values.MmapedDict = MappedFile  # type: ignore[attr-defined]


def _reserve(file: str, size_bytes: int) -> None:
    """Fill `file` up to `size_bytes` with zeros. Raises OSError where they find no room, and leaves it as it was."""
    # A new one is never seen empty: that would break the page.
    written = file if os.path.exists(file) else f"{file}.new"
    descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        before = os.fstat(descriptor).st_size
        while (left := size_bytes - os.fstat(descriptor).st_size) > 0:
            os.write(descriptor, bytes(left))
    except OSError:
        os.ftruncate(descriptor, before)
        raise
    finally:
        os.close(descriptor)
    if written != file:
        os.rename(written, file)


_log = logging.getLogger(__name__)
