"""The name of a run of this gateway: that of the run before it in the same folder, where nothing of that is alive.

A worker that starts under the name of a dead one takes over its deliveries at once and is, to Kafka, the same member of
the group; under another name others wait until its lease and its session have run out.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@contextmanager
def run_name(data_dir: Path) -> Iterator[tuple[str, int | None]]:
    """The name, and what each worker has to inherit: a file that is locked for as long as one process has it open.

    Who gets the lock knows that all those of the run before are dead. The name follows from the file, the host's name
    and when this kernel has started: a copy of the folder, or of the whole machine, has another one. Without the lock
    (another gateway runs in this folder, or a worker of a parent that was killed has not ended yet) it is one that
    nobody has.
    """
    try:
        lock = os.open(data_dir / "run.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        yield _new(), None
        return
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            name = _of(lock)
        except OSError:
            yield _new(), None
        else:
            yield name, lock
    finally:
        os.close(lock)


def _of(lock: int) -> str:
    """Raises OSError where the system does not say when it was started."""
    there = os.fstat(lock)
    told = f"{_BOOT_ID.read_text().strip()} {os.uname().nodename} {there.st_dev} {there.st_ino}"
    return hashlib.blake2b(told.encode(), digest_size=6).hexdigest()


def _new() -> str:
    return secrets.token_hex(6)
