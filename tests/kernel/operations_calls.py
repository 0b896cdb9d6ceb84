"""System calls that become one request and wait for its answer, in a table."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from operator import attrgetter, itemgetter
from typing import Any

import attrs
import pytest

import triofuse as t
from tests.kernel import operations_syscalls as syscalls
from tests.kernel.operations_probe import DIR, FILE, ROOT, TEXT, attr, new
from tests.kernel.operations_syscalls import UMASK

__all__ = ["CALLS", "FD", "Call"]

#: In a call's arguments: a descriptor of "file".
FD = "<fd>"


def _as_it_is(value: Any) -> Any:
    return value


@attrs.frozen
class Call:
    """A system call, the request it becomes, and what comes back.

    Attributes:
      method: The filesystem's method.
      answer: What that returns.
      function: What the client calls.
      arguments: With what; ``@/`` begins a path on the mount.
      request: The request that is expected, and ``fields`` of it.
      sees: What the client gets, as ``seen`` shows it.
      flags: With which FD is opened.
    """

    method: str
    answer: Any
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    request: type[t.Request]
    fields: dict[str, Any]
    sees: Any = None
    seen: Callable[[Any], Any] = _as_it_is
    flags: int = os.O_RDWR

    def on(self, mountpoint: str, fd: int | None) -> tuple[Any, ...]:
        """Return the arguments, with the mount's paths and a descriptor."""
        return tuple(
            fd
            if argument is FD
            else argument.replace("@/", f"{mountpoint}/", 1)
            if isinstance(argument, str)
            else argument
            for argument in self.arguments
        )


def _row(names: str, method: str, *columns: Any, **more: Any) -> Any:
    """Return a case that shows ``names``; what follows a colon tells it from others."""
    return pytest.param(Call(method, *columns, **more), id=names)


def _in_root(name: str, **fields: Any) -> dict[str, Any]:
    return {"nodeid": ROOT, "name": name, **fields}


def _of_file(**fields: Any) -> dict[str, Any]:
    return {"nodeid": FILE, "fh": 77, **fields}


_REGULAR, _DIRECTORY = stat.S_IFREG | 0o640, stat.S_IFDIR | 0o750
_CREATED = new(_REGULAR), t.Opened(fh=78)
_SYMLINK = new(stat.S_IFLNK | 0o777)
_FIGURES = t.Statfs(1000, 600, 500, 90, 80, bsize=8192, namelen=99, frsize=1024)
_CREATE_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL
_TMPFILE_FLAGS = os.O_RDWR | os.O_TMPFILE
_size = attrgetter("st_size")
_statvfs = attrgetter(
    "f_blocks", "f_bfree", "f_files", "f_ffree", "f_bsize", "f_namemax", "f_frsize"
)
_STATX = t.StatxMask.BASIC_STATS | t.StatxMask.BTIME

# fmt: off
CALLS = [
    # Names
    _row("FUSE_LOOKUP", "lookup", new(_REGULAR, size=9), os.stat, ("@/name",), t.Lookup, _in_root("name"), 9, _size),
    _row("FUSE_MKDIR", "mkdir", new(_DIRECTORY), os.mkdir, ("@/new", 0o1777), t.Mkdir, _in_root("new", mode=0o1750, umask=UMASK)),
    _row("FUSE_SYMLINK", "symlink", _SYMLINK, os.symlink, ("to/../where", "@/new"), t.Symlink, _in_root("new", target="to/../where")),
    _row("FUSE_LINK", "link", t.Entry(new(_REGULAR).attr, nodeid=FILE), os.link, ("@/file", "@/new"), t.Link, {"nodeid": ROOT, "oldnodeid": FILE, "newname": "new"}),
    _row("FUSE_UNLINK", "unlink", None, os.unlink, ("@/file",), t.Unlink, _in_root("file")),
    _row("FUSE_RMDIR", "rmdir", None, os.rmdir, ("@/dir",), t.Rmdir, _in_root("dir")),
    _row("FUSE_RENAME", "rename", None, os.rename, ("@/file", "@/dir/new"), t.Rename, _in_root("file", newdir=DIR, newname="new", flags=0)),
    _row("FUSE_RENAME2: NOREPLACE", "rename2", None, syscalls.renameat2, ("@/file", "@/new", t.RenameFlags.NOREPLACE), t.Rename, _in_root("file", newdir=ROOT, newname="new", flags=t.RenameFlags.NOREPLACE)),
    _row("FUSE_RENAME2: EXCHANGE", "rename2", None, syscalls.renameat2, ("@/file", "@/other", t.RenameFlags.EXCHANGE), t.Rename, _in_root("file", newdir=ROOT, newname="other", flags=t.RenameFlags.EXCHANGE)),
    _row("FUSE_RENAME2: WHITEOUT", "rename2", None, syscalls.renameat2, ("@/file", "@/new", t.RenameFlags.WHITEOUT), t.Rename, _in_root("file", newname="new", flags=t.RenameFlags.WHITEOUT)),
    _row("FUSE_CREATE", "create", _CREATED, os.open, ("@/new", _CREATE_FLAGS, 0o666), t.Create, _in_root("new", mode=_REGULAR, umask=UMASK, open_flags=0)),
    _row("FUSE_TMPFILE", "tmpfile", _CREATED, os.open, ("@/dir", _TMPFILE_FLAGS, 0o666), t.Tmpfile, {"nodeid": DIR, "name": "/", "mode": _REGULAR, "umask": UMASK}),
    _row("FUSE_READLINK", "readlink", "to/../where", os.readlink, ("@/link",), t.Readlink, {}, "to/../where"),
    # Inodes
    _row("FUSE_GETATTR", "getattr", attr(FILE, _REGULAR, size=12345), os.stat, ("@/file",), t.Getattr, {"nodeid": FILE, "getattr_flags": 0, "fh": None}, 12345, _size),
    _row("FUSE_STATX", "statx", attr(FILE, _REGULAR, btime_ns=12345), syscalls.statx, ("@/file", _STATX), t.Statx, {"nodeid": FILE, "getattr_flags": 0, "fh": None, "sx_flags": 0, "sx_mask": _STATX}, 12345, itemgetter("btime_ns")),
    _row("FUSE_SETATTR", "setattr", attr(FILE, _REGULAR), os.chmod, ("@/file", 0o640), t.Setattr, {"nodeid": FILE, "mode": _REGULAR, "size": None}),
    _row("FUSE_STATFS", "statfs", _FIGURES, os.statvfs, ("@/dir",), t.StatfsRequest, {"nodeid": DIR}, (1000, 600, 90, 80, 8192, 99, 1024), _statvfs),
    _row("FUSE_ACCESS", "access", None, syscalls.access, ("@/file", os.R_OK | os.X_OK), t.Access, {"nodeid": FILE, "mask": os.R_OK | os.X_OK}),
    _row("FUSE_SETXATTR", "setxattr", None, os.setxattr, ("@/file", "user.a", b"va\0ue", os.XATTR_CREATE), t.Setxattr, {"nodeid": FILE, "name": "user.a", "value": b"va\0ue", "size": 5, "flags": t.SetxattrFlags.CREATE, "setxattr_flags": 0}),
    _row("FUSE_GETXATTR", "getxattr", b"va\0ue", os.getxattr, ("@/file", "user.a"), t.Getxattr, {"nodeid": FILE, "name": "user.a"}, b"va\0ue"),
    _row("FUSE_LISTXATTR", "listxattr", ["user.a", "user.b"], os.listxattr, ("@/file",), t.Listxattr, {"nodeid": FILE}, ["user.a", "user.b"]),
    _row("FUSE_REMOVEXATTR", "removexattr", None, os.removexattr, ("@/file", "user.a"), t.Removexattr, {"nodeid": FILE, "name": "user.a"}),
    # Open files
    _row("FUSE_OPEN", "open", t.Opened(fh=2**64 - 1), os.open, ("@/file", os.O_RDWR | os.O_APPEND), t.Open, {"nodeid": FILE, "open_flags": 0}),
    _row("FUSE_READ", "read", TEXT, os.read, (FD, 10), t.Read, _of_file(offset=0, size=4096), TEXT[:10]),
    _row("FUSE_WRITE", "write", 5, os.pwrite, (FD, b"bytes", 30), t.Write, _of_file(offset=30, size=5, data=b"bytes", write_flags=0, lock_owner=0), 5),
    _row("FUSE_FSYNC", "fsync", None, os.fsync, (FD,), t.Fsync, _of_file(fsync_flags=0)),
    _row("FUSE_FSYNC_FDATASYNC FUSE_FSYNC", "fsync", None, os.fdatasync, (FD,), t.Fsync, _of_file(fsync_flags=t.FsyncFlags.FDATASYNC)),
    _row("FUSE_FLUSH", "flush", None, os.close, (FD,), t.Flush, _of_file()),
    _row("FUSE_FALLOCATE", "fallocate", None, syscalls.fallocate, (FD, 0, 10, 20), t.Fallocate, _of_file(offset=10, length=20, mode=0)),
    _row("FUSE_FALLOCATE: KEEP_SIZE", "fallocate", None, syscalls.fallocate, (FD, 1, 10, 20), t.Fallocate, _of_file(mode=t.FallocateMode.KEEP_SIZE)),
    _row("FUSE_FALLOCATE: PUNCH_HOLE", "fallocate", None, syscalls.fallocate, (FD, 3, 10, 20), t.Fallocate, _of_file(mode=t.FallocateMode.PUNCH_HOLE | t.FallocateMode.KEEP_SIZE)),
    _row("FUSE_FALLOCATE: ZERO_RANGE", "fallocate", None, syscalls.fallocate, (FD, 16, 10, 20), t.Fallocate, _of_file(mode=t.FallocateMode.ZERO_RANGE)),
    _row("FUSE_LSEEK: SEEK_DATA", "lseek", 40, os.lseek, (FD, 7, os.SEEK_DATA), t.Lseek, _of_file(offset=7, whence=os.SEEK_DATA), 40),
    _row("FUSE_LSEEK: SEEK_HOLE", "lseek", 50, os.lseek, (FD, 9, os.SEEK_HOLE), t.Lseek, _of_file(offset=9, whence=os.SEEK_HOLE), 50),
    _row("FUSE_COPY_FILE_RANGE_64", "copy_file_range", 6, os.copy_file_range, (FD, FD, 10, 1, 50), t.CopyFileRange, {"nodeid": FILE, "fh_in": 77, "off_in": 1, "nodeid_out": FILE, "fh_out": 77, "off_out": 50, "len": 10, "flags": 0}, 6),
]
# fmt: on
