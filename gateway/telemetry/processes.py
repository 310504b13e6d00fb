"""The processes of one machine: the folder their metrics share, and what one takes of the machine.

Imports nothing of prometheus_client on purpose.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def prepare(folder: Path) -> None:
    """Empty `folder` and share the metrics of this process and its children there.

    The first process calls it, before prometheus_client is imported: that library chooses at import between values in
    memory and values in files. Raises RuntimeError when it is too late. What a run before left there is removed, or its
    counters would go on.
    """
    if "prometheus_client" in sys.modules:
        raise RuntimeError("prometheus_client is imported already: prepare the folder of the metrics first")
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink()
    os.environ[VARIABLE] = str(folder)


def forget(pid: int) -> None:
    """Take the gauges of a worker that ended out of the page; its counters stay."""
    if os.environ.get(VARIABLE):
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(pid)  # type: ignore[no-untyped-call]


def memory_bytes() -> int:
    """Resident memory of this process; where the kernel does not tell (no /proc), the most it ever had."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * resource.getpagesize()
