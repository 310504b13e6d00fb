"""The processes of one machine: the folder their metrics share, and what one takes of the machine.

Imports nothing of prometheus_client on purpose.
"""

from __future__ import annotations

import fcntl
import os
import resource
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

SETTLED = threading.Lock()
"""Held while a worker's counts move to those of all that ended, and while the page is made: on their way they are
missing, and Prometheus would take that for a restart and count everything anew."""

_ENDED = "ended"
"""Where a file's name has a process id: what all the workers that ended have counted."""


@contextmanager
def folder_of_ours(data_dir: Path) -> Iterator[Path]:
    """``data_dir/metrics``, or where another gateway that runs has taken that, ``metrics-2`` and so on: ours meanwhile.

    The kernel gives it back when this process dies. Raises OSError where nothing can be written there.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        name = "metrics" if number == 1 else f"metrics-{number}"
        # Beside the folder, not in it: who removes the folder must not free it.
        with (data_dir / f"{name}.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                number += 1
                continue
            yield data_dir / name
            return


def prepare(folder: Path) -> None:
    """Empty `folder` and share the metrics of this process and its children there.

    The first process calls it, before prometheus_client is imported: that library chooses at import between values in
    memory and values in files. Raises RuntimeError when it is too late. What a run before left there is removed, or its
    counters would go on.
    """
    if "prometheus_client" in sys.modules:
        raise RuntimeError("prometheus_client is imported already: prepare the folder of the metrics first")
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db*"):
        file.unlink()
    os.environ[VARIABLE] = str(folder)


def forget(pid: int) -> None:
    """Take the gauges of a worker that ended out of the page, and add its counts to those of the others that ended.

    So the folder stays as small, and the page as quick, however many workers end. To be called once it has ended; safe
    to repeat. Raises OSError where the folder cannot be written: its counts then stay on the page from its own files.
    """
    if folder := os.environ.get(VARIABLE):
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(pid)  # type: ignore[no-untyped-call]
        for kind in ("counter", "histogram"):
            with SETTLED:
                _merge(Path(folder) / f"{kind}_{pid}.db", into=Path(folder) / f"{kind}_{_ENDED}.db")


def _merge(file: Path, *, into: Path) -> None:
    if not file.exists():
        return
    # Out of the page first: whatever fails after it, nothing is counted twice.
    aside = file.with_suffix(".db.ended")
    file.rename(aside)
    try:
        try:
            counts = _counts(into)
            for key, value in _counts(aside).items():
                counts[key] = counts.get(key, 0.0) + value
        except (ValueError, RuntimeError, struct.error):
            pass  # killed while it made the file: what cannot be read would break every page to come
        else:
            new = into.with_suffix(".db.new")
            new.write_bytes(_file_of(counts))
            new.replace(into)
    except OSError:
        aside.rename(file)
        raise
    aside.unlink()


def _counts(file: Path) -> dict[str, float]:
    """What a file of prometheus_client holds, by its keys."""
    from prometheus_client.mmap_dict import MmapedDict

    if not file.exists():
        return {}
    return {key: value for key, value, _, _ in MmapedDict.read_all_values_from_file(file)}  # type: ignore[no-untyped-call]


def _file_of(counts: dict[str, float]) -> bytes:
    """A file of prometheus_client's form (`mmap_dict.MmapedDict`), which itself would map it into memory: where the
    disk is full, that ends the process."""
    entries = bytearray()
    for key, value in counts.items():
        text = key.encode()
        padded = text + b" " * (8 - (len(text) + 4) % 8)
        entries += struct.pack(f"i{len(padded)}sdd", len(text), padded, value, 0.0)
    return struct.pack("i4x", 8 + len(entries)) + bytes(entries)


def memory_bytes() -> int:
    """Resident memory of this process; where the kernel does not tell (no /proc), the most it ever had."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * resource.getpagesize()
