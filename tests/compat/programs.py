"""What the tests of `triofuse.compat.fuse` share: a program, and ways to run one."""

from __future__ import annotations

import errno
import os
import select
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import triofuse.compat.fuse as fuse
from tests.conftest import mounts_below

SECONDS = 20


def wait_until_mounted(mountpoint: str, thread: threading.Thread | None = None) -> None:
    """Wait until something is mounted; the kernel tells who polls the table."""
    deadline = time.monotonic() + SECONDS
    with open("/proc/self/mounts") as table:
        changes = select.poll()
        changes.register(table, select.POLLPRI)
        while mountpoint not in mounts_below(mountpoint):
            assert thread is None or thread.is_alive(), "FUSE() has ended"
            assert time.monotonic() < deadline
            changes.poll(100)
    # Until INIT is answered, the kernel looks up one name of a directory at a time.
    os.stat(mountpoint)


@contextmanager
def served(operations: Any, mountpoint: str, **options: Any) -> Iterator[Path]:
    """Serve a program in a thread, and unmount it at the end."""
    raised: list[BaseException] = []

    def serve() -> None:
        try:
            fuse.FUSE(operations, mountpoint, foreground=True, **options)
        except BaseException as exc:  # noqa: BLE001  (raised in the test)
            raised.append(exc)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        wait_until_mounted(mountpoint, thread)
        yield Path(mountpoint)
    finally:
        if mounts_below(mountpoint):
            subprocess.run(["umount", mountpoint], check=False, capture_output=True)
        thread.join(SECONDS)
    assert not thread.is_alive()
    if raised:
        raise raised[0]


class Memory(fuse.Operations):
    """A directory with files in memory, as programs have it; notes all calls."""

    use_ns = True

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self.status: dict[str, dict[str, Any]] = {
            "/": {"st_mode": stat.S_IFDIR | 0o755}
        }
        self.calls: list[tuple[Any, ...]] = []
        self.handles = 0

    def note(self, *call: Any) -> None:
        self.calls.append(call)

    def called(self, name: str) -> list[tuple[Any, ...]]:
        """Return the arguments of all calls of an operation."""
        return [call[1:] for call in self.calls if call[0] == name]

    def getattr(self, path: str, fh: Any = None) -> dict[str, Any]:
        if path not in self.status:
            raise fuse.FuseOSError(errno.ENOENT)
        size = len(self.files.get(path, b""))
        return {"st_size": size, "st_nlink": 1, **self.status[path]}

    def readdir(self, path: str, fh: Any) -> list[Any]:
        return [".", "..", *(name[1:] for name in self.status if name != "/")]

    def create(self, path: str, mode: int, flags: Any = None) -> int:
        self.note("create", path, mode, flags)
        self.files[path] = bytearray()
        self.status[path] = {"st_mode": stat.S_IFREG | stat.S_IMODE(mode)}
        return self.new_handle()

    def new_handle(self) -> int:
        self.handles += 1
        return self.handles

    def open(self, path: str, flags: Any) -> int:
        self.note("open", path, flags)
        return self.new_handle()

    def read(self, path: str, size: int, offset: int, fh: Any) -> bytes:
        self.note("read", path, size, offset, fh)
        return bytes(self.files[path][offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: Any) -> int:
        assert type(data) is bytes
        self.files[path][offset : offset + len(data)] = data
        return len(data)

    def truncate(self, path: str, length: int, fh: Any = None) -> int:
        self.note("truncate", path, length, fh)
        file = self.files[path]
        del file[length:]
        file.extend(bytes(length - len(file)))
        return 0

    def unlink(self, path: str) -> int:
        del self.status[path]
        self.files.pop(path, None)
        return 0

    def rename(self, old: str, new: str) -> int:
        self.note("rename", old, new)
        self.status[new] = self.status.pop(old)
        if old in self.files:
            self.files[new] = self.files.pop(old)
        return 0

    def release(self, path: str, fh: Any) -> int:
        self.note("release", path, fh)
        return 0

    def utimens(self, path: str, times: Any = None) -> int:
        self.note("utimens", path, times)
        self.status[path]["st_atime"], self.status[path]["st_mtime"] = times
        return 0

    def chmod(self, path: str, mode: int) -> int:
        self.status[path]["st_mode"] = stat.S_IFREG | stat.S_IMODE(mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        self.note("chown", path, uid, gid)
        return 0

    def init(self, path: str) -> None:
        self.note("init", path)

    def destroy(self, path: str) -> None:
        self.note("destroy", path)


def errno_of(function: Any, *arguments: Any) -> int | None:
    """Return the errno of a call that fails, None if it succeeds."""
    try:
        function(*arguments)
    except OSError as exc:
        return exc.errno
    return None


def flags_without_creat(flags: int) -> int:
    """Return flags of open(2) as far as tests compare them."""
    return flags & os.O_ACCMODE
