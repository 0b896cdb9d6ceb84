"""Open files of a program, and their locks."""

from __future__ import annotations

import ctypes
import fcntl
import os
from typing import Any, Final

from triofuse.compat.fuse.program import Program
from triofuse.compat.fuse.structures import c_flock, fuse_file_info
from triofuse.filesystem.flags import LockType, OpenFlags
from triofuse.filesystem.replies import Buffer, FileLock, IoctlReply
from triofuse.paths.operations import OpenFile

__all__ = ["Files"]

_LOCKS: Final = {
    LockType.RDLCK: fcntl.F_RDLCK,
    LockType.WRLCK: fcntl.F_WRLCK,
    LockType.UNLCK: fcntl.F_UNLCK,
}
_FLOCKS: Final = {
    LockType.RDLCK: fcntl.LOCK_SH,
    LockType.WRLCK: fcntl.LOCK_EX,
    LockType.UNLCK: fcntl.LOCK_UN,
}
_END: Final = 2**63 - 1


class Files(Program):
    """The methods of `PathOperations` about open files."""

    def open(self, path: str, flags: int) -> OpenFile:
        """Open a file, which is a `fuse_file_info` from now on."""
        info = fuse_file_info(flags)
        if self.raw_fi:
            self.do("open", self.text(path), info)
        else:
            info.fh = self.call("open", self.text(path), flags) or 0
        return OpenFile(info, _flags_of(info))

    async def _open_nothing(self, path: str, flags: int) -> OpenFile:
        """Open a file of a program that does not care; needs no thread."""
        return OpenFile(fuse_file_info(flags))

    def create(self, path: str, mode: int, flags: int) -> OpenFile:
        """Make and open a file."""
        info = fuse_file_info(flags)
        if self.raw_fi:
            self.do("create", self.text(path), mode, info)
        elif self.count("create", 3) == 2:
            info.fh = self.call("create", self.text(path), mode) or 0
        else:
            info.fh = self.call("create", self.text(path), mode, flags) or 0
        return OpenFile(info, _flags_of(info))

    def read(self, path: str, size: int, offset: int, handle: fuse_file_info) -> Buffer:
        """Read."""
        name = self.path(path, handle)
        data: Buffer | None = self.call("read", name, size, offset, self.fh(handle))
        return data or b""

    def write(
        self, path: str, data: Buffer, offset: int, handle: fuse_file_info
    ) -> int:
        """Write."""
        name = self.path(path, handle)
        return self.do("write", name, bytes(data), offset, self.fh(handle)) or 0

    def flush(self, path: str, handle: fuse_file_info) -> None:
        """Close one descriptor."""
        self.do("flush", self.path(path, handle), self.fh(handle))

    def release(self, path: str, handle: fuse_file_info) -> None:
        """Close the handle."""
        self.do("release", self.path(path, handle), self.fh(handle))

    def fsync(self, path: str, datasync: bool, handle: fuse_file_info) -> None:
        """Write to stable storage."""
        self.do("fsync", self.path(path, handle), int(datasync), self.fh(handle))

    def fallocate(
        self, path: str, mode: int, offset: int, length: int, handle: fuse_file_info
    ) -> None:
        """Allocate or free space."""
        name = self.path(path, handle)
        self.do("fallocate", name, mode, offset, length, self.fh(handle))

    def ioctl(
        self, path: str, cmd: int, data: bytes, out_size: int, handle: Any
    ) -> IoctlReply:
        """Do a command; the operation gets the address of a buffer."""
        buffer = ctypes.create_string_buffer(data, max(len(data), out_size, 1))
        fh, address = self.fh(handle), ctypes.addressof(buffer)
        result = self.do("ioctl", self.path(path, handle), cmd, 0, fh, 0, address)
        return IoctlReply(result or 0, buffer.raw[:out_size])

    def opendir(self, path: str, flags: int) -> fuse_file_info:
        """Open a directory."""
        return fuse_file_info(flags, self.call("opendir", self.text(path)) or 0)

    def releasedir(self, path: str, handle: fuse_file_info) -> None:
        """Close a directory."""
        self.do("releasedir", self.path(path, handle), handle.fh)

    def fsyncdir(
        self, path: str, datasync: bool, handle: fuse_file_info | None
    ) -> None:
        """Write a directory to stable storage."""
        fh = 0 if handle is None else handle.fh
        self.do("fsyncdir", self.path(path, handle), int(datasync), fh)

    # --- Locks

    def getlk(
        self, path: str, lock: FileLock, owner: int, handle: fuse_file_info
    ) -> FileLock:
        """Ask for a lock that conflicts."""
        found = self._lock(path, lock, owner, fcntl.F_GETLK, handle)
        if found.l_type == fcntl.F_UNLCK:
            return FileLock()
        end = found.l_start + found.l_len - 1 if found.l_len else _END
        kind = next(ours for ours, theirs in _LOCKS.items() if theirs == found.l_type)
        return FileLock(found.l_start, end, kind, found.l_pid)

    def setlk(
        self,
        path: str,
        lock: FileLock,
        owner: int,
        wait: bool,
        handle: fuse_file_info,
    ) -> None:
        """Take or drop a lock of fcntl(2)."""
        cmd = fcntl.F_SETLKW if wait else fcntl.F_SETLK
        self._lock(path, lock, owner, cmd, handle)

    def _lock(
        self, path: str, lock: FileLock, owner: int, cmd: int, handle: fuse_file_info
    ) -> c_flock:
        length = 0 if lock.end == _END else lock.end - lock.start + 1
        kind = _LOCKS[LockType(lock.type)]
        asked = c_flock(kind, os.SEEK_SET, lock.start, length, lock.pid)
        handle.lock_owner = owner
        name, address = self.path(path, handle), ctypes.addressof(asked)
        self.do("lock", name, self.fh(handle), cmd, address)
        return asked

    def flock(
        self,
        path: str,
        type: int,  # noqa: A002
        owner: int,
        wait: bool,
        handle: fuse_file_info,
    ) -> None:
        """Take or drop a lock of flock(2)."""
        handle.lock_owner = owner
        op = _FLOCKS[LockType(type)]
        if not wait and type != LockType.UNLCK:
            op |= fcntl.LOCK_NB
        self.do("flock", self.path(path, handle), self.fh(handle), op)


def _flags_of(info: fuse_file_info) -> int:
    flags = OpenFlags(0)
    for name, flag in {
        "direct_io": OpenFlags.DIRECT_IO,
        "keep_cache": OpenFlags.KEEP_CACHE,
        "nonseekable": OpenFlags.NONSEEKABLE,
        "noflush": OpenFlags.NOFLUSH,
        "parallel_direct_writes": OpenFlags.PARALLEL_DIRECT_WRITES,
    }.items():
        if getattr(info, name):
            flags |= flag
    return int(flags)
