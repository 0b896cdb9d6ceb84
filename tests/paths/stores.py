"""Stores for the tests: one in memory, async; one on disk, in threads."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs

from triofuse import Buffer, FuseError, PathOperations, Stat


@attrs.define(eq=False)
class Shelf(PathOperations):
    """Files and directories in a dictionary, by path; counts the calls."""

    files: dict[str, bytearray | None] = attrs.Factory(lambda: {"/": None})
    calls: Counter[str] = attrs.Factory(Counter)
    attributes_in_listings: bool = True

    @classmethod
    def of(cls, files: dict[str, bytes], **options: Any) -> Shelf:
        """Return a shelf with some files, and the directories above."""
        shelf = cls(**options)
        for path, data in files.items():
            parts = path.split("/")[1:-1]
            for depth in range(len(parts)):
                shelf.files["/" + "/".join(parts[: depth + 1])] = None
            shelf.files[path] = bytearray(data)
        return shelf

    def _find(self, path: str) -> bytearray | None:
        try:
            return self.files[path]
        except KeyError:
            raise FuseError(errno.ENOENT) from None

    def _stat(self, path: str) -> Stat:
        data = self._find(path)
        if data is None:
            return Stat(mode=stat.S_IFDIR | 0o755)
        return Stat(mode=stat.S_IFREG | 0o644, size=len(data))

    async def getattr(self, path: str, handle: object) -> Stat:
        self.calls["getattr"] += 1
        return self._stat(path)

    async def readdir(
        self, path: str, handle: object
    ) -> Iterable[tuple[str, Stat | None]]:
        self.calls["readdir"] += 1
        start = path.rstrip("/") + "/"
        names = [
            other.removeprefix(start)
            for other in self.files
            if other.startswith(start) and other != "/"
        ]
        return [
            (name, self._stat(start + name) if self.attributes_in_listings else None)
            for name in names
            if "/" not in name
        ]

    async def open(self, path: str, flags: int) -> bytearray | None:
        self.calls["open"] += 1
        return self._find(path)

    async def create(self, path: str, mode: int, flags: int) -> bytearray:
        return self.files.setdefault(path, bytearray())  # type: ignore[return-value]

    async def read(self, path: str, size: int, offset: int, handle: Any) -> bytes:
        self.calls["read"] += 1
        return bytes(self._data(path)[offset : offset + size])

    async def write(self, path: str, data: Buffer, offset: int, handle: Any) -> int:
        self._data(path)[offset : offset + len(data)] = data
        return len(data)

    def _data(self, path: str) -> bytearray:
        data = self._find(path)
        assert data is not None
        return data

    async def truncate(self, path: str, size: int, handle: Any) -> None:
        data = self._data(path)
        del data[size:]
        data.extend(bytes(size - len(data)))

    async def mkdir(self, path: str, mode: int) -> None:
        self.files[path] = None

    async def unlink(self, path: str) -> None:
        self._find(path)
        del self.files[path]

    async def rmdir(self, path: str) -> None:
        if any(other.startswith(f"{path}/") for other in self.files):
            raise FuseError(errno.ENOTEMPTY)
        await self.unlink(path)

    async def rename(self, old: str, new: str, flags: int) -> None:
        self._find(old)
        for path in list(self.files):
            if path == old or path.startswith(f"{old}/"):
                self.files[new + path.removeprefix(old)] = self.files.pop(path)


@attrs.define(eq=False)
class Mirror(PathOperations):
    """A directory of the disk, by plain methods that run in threads."""

    root: Path

    def _real(self, path: str) -> str:
        return f"{self.root}{path}"

    def getattr(self, path: str, handle: int | None) -> os.stat_result:
        if handle is not None:
            return os.fstat(handle)
        return os.lstat(self._real(path))

    def readdir(
        self, path: str, handle: object
    ) -> Iterable[tuple[str, os.stat_result]]:
        with os.scandir(self._real(path)) as entries:
            for entry in entries:
                yield entry.name, entry.stat(follow_symlinks=False)

    def readlink(self, path: str) -> str:
        return os.readlink(self._real(path))

    def open(self, path: str, flags: int) -> int:
        return os.open(self._real(path), flags)

    def create(self, path: str, mode: int, flags: int) -> int:
        return os.open(self._real(path), flags | os.O_CREAT, mode)

    def read(self, path: str, size: int, offset: int, handle: int) -> bytes:
        return os.pread(handle, size, offset)

    def write(self, path: str, data: Buffer, offset: int, handle: int) -> int:
        return os.pwrite(handle, data, offset)

    def release(self, path: str, handle: int) -> None:
        os.close(handle)

    def fsync(self, path: str, datasync: bool, handle: int) -> None:
        os.fsync(handle)

    def truncate(self, path: str, size: int, handle: int | None) -> None:
        os.truncate(self._real(path) if handle is None else handle, size)

    def chmod(self, path: str, mode: int, handle: object) -> None:
        os.chmod(self._real(path), stat.S_IMODE(mode))

    def chown(self, path: str, uid: int, gid: int, handle: object) -> None:
        os.lchown(self._real(path), uid, gid)

    def utimens(self, path: str, atime_ns: int, mtime_ns: int, handle: object) -> None:
        times = atime_ns, mtime_ns
        os.utime(self._real(path), ns=times, follow_symlinks=False)

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self._real(path), mode)

    def mknod(self, path: str, mode: int, rdev: int) -> None:
        os.mknod(self._real(path), mode, rdev)

    def symlink(self, target: str, path: str) -> None:
        os.symlink(target, self._real(path))

    def link(self, old: str, new: str) -> None:
        os.link(self._real(old), self._real(new))

    def unlink(self, path: str) -> None:
        os.unlink(self._real(path))

    def rmdir(self, path: str) -> None:
        os.rmdir(self._real(path))

    def rename(self, old: str, new: str, flags: int) -> None:
        os.rename(self._real(old), self._real(new))

    def statfs(self, path: str) -> os.statvfs_result:
        return os.statvfs(self._real(path))

    def getxattr(self, path: str, name: str) -> bytes:
        return os.getxattr(self._real(path), name, follow_symlinks=False)

    def listxattr(self, path: str) -> list[str]:
        return os.listxattr(self._real(path), follow_symlinks=False)

    def setxattr(self, path: str, name: str, value: bytes, flags: int) -> None:
        os.setxattr(self._real(path), name, value, flags, follow_symlinks=False)

    def removexattr(self, path: str, name: str) -> None:
        os.removexattr(self._real(path), name, follow_symlinks=False)
