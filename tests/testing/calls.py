"""A table of system calls: the call, its request and its reply."""

from __future__ import annotations

import math
import os
import stat
from typing import Any

import attrs

from tests.testing.scripted import Call
from tests.wire.golden import SEEK_HOLE
from triofuse.filesystem import requests as r
from triofuse.filesystem.flags import (
    LockType,
    OpenFlags,
    RenameFlags,
    SetattrValid,
)
from triofuse.filesystem.replies import (
    Entry,
    FileAttr,
    FileLock,
    IoctlReply,
    Opened,
    Statfs,
)
from triofuse.testing import Caller
from triofuse.wire.opcodes import Opcode

WHO = Caller(uid=1001, gid=1002, pid=1003)


def by(nodeid: int) -> tuple[int, int, int, int, int]:
    """Return the header of the first request after INIT."""
    return 4, nodeid, 1001, 1002, 1003


def own(nodeid: int) -> tuple[int, int, int, int, int]:
    """Return the header of a request of the kernel itself, without a caller."""
    return 4, nodeid, 0, 0, 0


ATTR = FileAttr(
    ino=7,
    mode=stat.S_IFREG | 0o640,
    nlink=2,
    size=2**63 - 1,
    blocks=9,
    uid=1001,
    gid=1002,
    atime_ns=-1,
    mtime_ns=1_700_000_000_123_456_789,
    blksize=512,
    flags=2,
    attr_valid=1.5,
)
STATX = attrs.evolve(
    ATTR,
    btime_ns=-1_500_000_000,
    attributes=0x10,
    rdev=os.makedev(8, 300),
    flags=0,
)
OPENED = Opened(0xFEEDFACECAFEBEEF, OpenFlags.DIRECT_IO, 7)
LOCK = FileLock(16, 4096, LockType.WRLCK, 4711)
FREE = FileLock(type=LockType.UNLCK)
FH = 0xFEED


def entry_of(kind: int) -> Entry:
    attr = attrs.evolve(ATTR, mode=kind | 0o700)
    return Entry(attr, nodeid=7, generation=3, entry_valid=math.inf)


ENTRY = entry_of(stat.S_IFREG)


#: The call, its request and its reply.
CALLS: dict[Opcode, tuple[Call, r.Request, Any]] = {
    Opcode.LOOKUP: (
        lambda k: k.lookup(1, "ä\udcff", **WHO),
        r.Lookup(*by(1), "ä\udcff"),
        ENTRY,
    ),
    Opcode.GETATTR: (
        lambda k: k.getattr(7, FH, **WHO),
        r.Getattr(*by(7), 1, FH),
        ATTR,
    ),
    Opcode.SETATTR: (
        lambda k: k.setattr(
            7,
            SetattrValid.MTIME_NOW,
            fh=FH,
            size=10,
            lock_owner=11,
            atime_ns=-1,
            mtime_ns=2,
            ctime_ns=3_000_000_001,
            mode=0o600,
            new_uid=12,
            new_gid=13,
            **WHO,
        ),
        r.Setattr(
            *by(7), 0x77F | 1 << 8, FH, 10, 11, -1, 2, 3_000_000_001, 0o600, 12, 13
        ),
        ATTR,
    ),
    Opcode.READLINK: (
        lambda k: k.readlink(7, **WHO),
        r.Readlink(*by(7)),
        "../ä\udcff",
    ),
    Opcode.SYMLINK: (
        lambda k: k.symlink(1, "link", "target", **WHO),
        r.Symlink(*by(1), "link", "target"),
        entry_of(stat.S_IFLNK),
    ),
    Opcode.MKNOD: (
        lambda k: k.mknod(1, "fifo", stat.S_IFIFO | 0o600, 3, 0o22, **WHO),
        r.Mknod(*by(1), stat.S_IFIFO | 0o600, 3, 0o22, "fifo"),
        entry_of(stat.S_IFIFO),
    ),
    Opcode.MKDIR: (
        lambda k: k.mkdir(1, "dir", 0o700, 0o22, **WHO),
        r.Mkdir(*by(1), 0o700, 0o22, "dir"),
        entry_of(stat.S_IFDIR),
    ),
    Opcode.UNLINK: (
        lambda k: k.unlink(1, "file", **WHO),
        r.Unlink(*by(1), "file"),
        None,
    ),
    Opcode.RMDIR: (lambda k: k.rmdir(1, "dir", **WHO), r.Rmdir(*by(1), "dir"), None),
    Opcode.RENAME: (
        lambda k: k.rename(1, "old", 2, "new", **WHO),
        r.Rename(*by(1), 2, "old", "new", 0),
        None,
    ),
    Opcode.RENAME2: (
        lambda k: k.rename(1, "old", 2, "new", RenameFlags.EXCHANGE, **WHO),
        r.Rename(*by(1), 2, "old", "new", 2),
        None,
    ),
    Opcode.LINK: (
        lambda k: k.link(7, 1, "other", **WHO),
        r.Link(*by(1), 7, "other"),
        ENTRY,
    ),
    Opcode.OPEN: (
        lambda k: k.open(7, os.O_RDWR, 1, **WHO),
        r.Open(*by(7), os.O_RDWR, 1),
        OPENED,
    ),
    Opcode.READ: (
        lambda k: k.read(
            7, FH, 5, 4096, read_flags=2, lock_owner=9, flags=os.O_RDWR, **WHO
        ),
        r.Read(*by(7), FH, 5, 4096, 2, 9, os.O_RDWR),
        b"some\0data",
    ),
    Opcode.WRITE: (
        lambda k: k.write(
            7, FH, 5, b"data", write_flags=2, lock_owner=9, flags=os.O_RDWR, **WHO
        ),
        r.Write(*by(7), FH, 5, 4, 2, 9, os.O_RDWR, memoryview(b"data")),
        4,
    ),
    Opcode.STATFS: (
        lambda k: k.statfs(7, **WHO),
        r.StatfsRequest(*by(7)),
        Statfs(1, 2, 3, 4, 5, 512, 100, 1024),
    ),
    Opcode.RELEASE: (
        lambda k: k.release(7, FH, os.O_RDWR, 2, 9),
        r.Release(*own(7), FH, os.O_RDWR, 2, 9),
        None,
    ),
    Opcode.FSYNC: (lambda k: k.fsync(7, FH, 1, **WHO), r.Fsync(*by(7), FH, 1), None),
    Opcode.SETXATTR: (
        lambda k: k.setxattr(7, "user.x", b"va\0ue", 1, 1, **WHO),
        r.Setxattr(*by(7), 5, 1, 1, "user.x", memoryview(b"va\0ue")),
        None,
    ),
    Opcode.GETXATTR: (
        lambda k: k.getxattr(7, "user.x", 64, **WHO),
        r.Getxattr(*by(7), 64, "user.x"),
        b"va\0ue",
    ),
    Opcode.LISTXATTR: (
        lambda k: k.listxattr(7, 64, **WHO),
        r.Listxattr(*by(7), 64),
        ["user.x", "user.\udcff"],
    ),
    Opcode.REMOVEXATTR: (
        lambda k: k.removexattr(7, "user.x", **WHO),
        r.Removexattr(*by(7), "user.x"),
        None,
    ),
    Opcode.FLUSH: (lambda k: k.flush(7, FH, 9, **WHO), r.Flush(*by(7), FH, 9), None),
    Opcode.OPENDIR: (
        lambda k: k.opendir(7, **WHO),
        r.Opendir(*by(7), os.O_DIRECTORY, 0),
        OPENED,
    ),
    Opcode.RELEASEDIR: (
        lambda k: k.releasedir(7, FH),
        r.Releasedir(*own(7), FH, os.O_DIRECTORY, 0, 0),
        None,
    ),
    Opcode.FSYNCDIR: (
        lambda k: k.fsyncdir(7, FH, 1, **WHO),
        r.Fsyncdir(*by(7), FH, 1),
        None,
    ),
    Opcode.GETLK: (
        lambda k: k.getlk(7, FH, LOCK, 9, **WHO),
        r.Getlk(*by(7), FH, 9, LOCK, 0),
        FREE,
    ),
    Opcode.SETLK: (
        lambda k: k.setlk(7, FH, LOCK, 9, 1, **WHO),
        r.Setlk(*by(7), FH, 9, LOCK, 1),
        None,
    ),
    Opcode.SETLKW: (
        lambda k: k.setlkw(7, FH, LOCK, 9, 1, **WHO),
        r.Setlkw(*by(7), FH, 9, LOCK, 1),
        None,
    ),
    Opcode.ACCESS: (
        lambda k: k.access(7, os.R_OK, **WHO),
        r.Access(*by(7), os.R_OK),
        None,
    ),
    Opcode.CREATE: (
        lambda k: k.create(1, "file", os.O_RDWR, 0o600, 0o22, **WHO),
        r.Create(*by(1), os.O_RDWR, stat.S_IFREG | 0o600, 0o22, 0, "file"),
        (ENTRY, OPENED),
    ),
    Opcode.TMPFILE: (
        lambda k: k.tmpfile(1, os.O_RDWR, 0o600, 0o22, **WHO),
        r.Tmpfile(*by(1), os.O_RDWR, stat.S_IFREG | 0o600, 0o22, 0, "/"),
        (ENTRY, OPENED),
    ),
    Opcode.BMAP: (
        lambda k: k.bmap(7, 2**40, 512, **WHO),
        r.Bmap(*by(7), 2**40, 512),
        2**41,
    ),
    Opcode.IOCTL: (
        lambda k: k.ioctl(7, FH, 1234, b"in", 8, arg=5, flags=16, **WHO),
        r.Ioctl(*by(7), FH, 16, 1234, 5, 2, 8, memoryview(b"in")),
        IoctlReply(-3, b"out"),
    ),
    Opcode.POLL: (
        lambda k: k.poll(7, FH, 0x41, 5, 1, **WHO),
        r.Poll(*by(7), FH, 5, 1, 0x41),
        0x41,
    ),
    Opcode.FALLOCATE: (
        lambda k: k.fallocate(7, FH, 1, 2, 3, **WHO),
        r.Fallocate(*by(7), FH, 1, 2, 3),
        None,
    ),
    Opcode.LSEEK: (
        lambda k: k.lseek(7, FH, 5, SEEK_HOLE, **WHO),
        r.Lseek(*by(7), FH, 5, SEEK_HOLE),
        2**62,
    ),
    Opcode.COPY_FILE_RANGE_64: (
        lambda k: k.copy_file_range(7, 1, 2, 8, 3, 4, 2**33, 0, **WHO),
        r.CopyFileRange(*by(7), 1, 2, 8, 3, 4, 2**33, 0),
        2**33,
    ),
    Opcode.SYNCFS: (lambda k: k.syncfs(**WHO), r.Syncfs(*by(1)), None),
    Opcode.STATX: (
        lambda k: k.statx(7, mask=0x800, **WHO),
        r.Statx(*by(7), 0, None, 0, 0x800),
        STATX,
    ),
}
