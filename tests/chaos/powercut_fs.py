"""A file system that keeps what has not been fsynced in its memory only: kill -9 of this process is a power cut.

``python -m tests.chaos.powercut_fs BACKING MOUNT`` serves until unmounted. The idea is LazyFS's: kill -9 of a program
proves little about its files, because what it wrote lives on in the page cache. Contents are lost like that;
names are not (creating, renaming and removing goes through at once). Needs /dev/fuse, libfuse 2 and root.
"""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]


def missing() -> str:
    """Why this machine cannot do it; empty when it can."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse is not there or not open to us"
    if os.geteuid() != 0:
        return "only root may mount for another account"
    if not may_mount():
        return "mounting is not permitted here"
    if ctypes.util.find_library("fuse") is None and ctypes.util.find_library("fuse3") is None:
        return "libfuse is not installed"
    if shutil.which("fusermount3") is None and shutil.which("fusermount") is None:
        return "fusermount is not installed"
    try:
        import mfusepy  # noqa: F401
    except (ImportError, OSError) as error:
        return f"mfusepy cannot be used: {error}"
    return ""


def may_mount() -> bool:
    """Root of a container often may not; only trying tells."""
    libc = ctypes.CDLL(None)
    with tempfile.TemporaryDirectory() as folder:
        if libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, None) != 0:
            return False
        return bool(libc.umount2(os.fsencode(folder), 0) == 0)


LIES = ".lies"
"""Behind the name of the backing folder: a file that is there while the disk lies."""


class PowerCut:
    """`backing` mounted at `mount`; `cut` loses what was not fsynced and mounts again."""

    def __init__(self, backing: Path, mount: Path) -> None:
        self._backing = backing
        self._mount = mount
        self._lies = Path(f"{backing}{LIES}")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def lie(self) -> None:
        """From now until the power is cut, say that the write-ahead log is on the disk, and keep it in memory."""
        self._lies.touch()

    def cut(self) -> None:
        """Nothing may be running on the mount any more."""
        self._end()
        self._lies.unlink(missing_ok=True)
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.powercut_fs", str(self._backing), str(self._mount)], cwd=ROOT
        )
        ends_at = time.monotonic() + 10
        while not os.path.ismount(self._mount):
            if self._process.poll() is not None or time.monotonic() > ends_at:
                raise OSError(f"{self._mount} could not be mounted")
            time.sleep(0.02)

    def _end(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        subprocess.run(["umount", "-l", str(self._mount)], check=True)


def serve(backing: str, mount: str) -> None:
    """Serve `backing` at `mount`, on one thread, until unmounted."""
    import mfusepy as fuse

    class Volatile(fuse.Operations):  # type: ignore[misc]
        use_ns = True

        def __init__(self) -> None:
            self._dirty: dict[str, bytearray] = {}

        def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
            try:
                found = os.lstat(backing + path)
            except OSError as error:
                raise fuse.FuseOSError(error.errno) from error
            values: dict[str, Any] = {
                name: getattr(found, name) for name in ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size")
            }
            for name in ("st_atime", "st_mtime", "st_ctime"):
                values[name] = getattr(found, name + "_ns")
            if path in self._dirty:
                values["st_size"] = len(self._dirty[path])
            return values

        def readdir(self, path: str, fh: int) -> list[str]:
            return [".", "..", *os.listdir(backing + path)]

        def create(self, path: str, mode: int, fi: Any = None) -> int:
            os.close(os.open(backing + path, os.O_CREAT | os.O_RDWR, mode))
            self._own(path)
            return 0

        def open(self, path: str, flags: int) -> int:
            return 0

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            return bytes(self._image(path)[offset : offset + size])

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            image = self._image(path)
            if len(image) < offset:
                image.extend(b"\0" * (offset - len(image)))
            image[offset : offset + len(data)] = data
            return len(data)

        def truncate(self, path: str, length: int, fh: int | None = None) -> int:
            image = self._image(path)
            del image[length:]
            image.extend(b"\0" * (length - len(image)))
            return 0

        def fsync(self, path: str, datasync: int, fh: int) -> int:
            if path in self._dirty and not (path.startswith("/pg_wal/") and os.path.exists(backing + LIES)):
                with open(backing + path, "r+b") as file:
                    file.write(self._dirty[path])
                    file.truncate(len(self._dirty[path]))
            return 0

        def flush(self, path: str, fh: int) -> int:
            return 0

        def release(self, path: str, fh: int) -> int:
            return 0

        def unlink(self, path: str) -> int:
            self._dirty.pop(path, None)
            os.unlink(backing + path)
            return 0

        def rename(self, old: str, new: str) -> int:
            self._dirty.pop(new, None)
            if old in self._dirty:
                self._dirty[new] = self._dirty.pop(old)
            os.rename(backing + old, backing + new)
            return 0

        def mkdir(self, path: str, mode: int) -> int:
            os.mkdir(backing + path, mode)
            self._own(path)
            return 0

        def rmdir(self, path: str) -> int:
            os.rmdir(backing + path)
            return 0

        def chmod(self, path: str, mode: int) -> int:
            os.chmod(backing + path, mode)
            return 0

        def chown(self, path: str, uid: int, gid: int) -> int:
            os.chown(backing + path, uid, gid)
            return 0

        def utimens(self, path: str, times: Any = None) -> int:
            return 0

        def _image(self, path: str) -> bytearray:
            image = self._dirty.get(path)
            if image is None:
                with open(backing + path, "rb") as file:
                    image = self._dirty[path] = bytearray(file.read())
            return image

        def _own(self, path: str) -> None:
            # PostgreSQL insists on files of its own account.
            uid, gid, _ = fuse.fuse_get_context()
            os.chown(backing + path, uid, gid)

    fuse.FUSE(Volatile(), mount, foreground=True, nothreads=True, allow_other=True)


if __name__ == "__main__":
    serve(os.path.abspath(sys.argv[1]), sys.argv[2])
