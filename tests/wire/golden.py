"""Golden messages: for every opcode the bytes of a request, and the request."""

from __future__ import annotations

import os

from tests.wire.messages import (
    CALLER,
    FH,
    LENGTH,
    OFFSET,
    OWNER,
    PID,
    Golden,
    pad,
    s64,
    u32,
    u64,
)
from triofuse.filesystem import requests as r
from triofuse.filesystem.replies import FileLock
from triofuse.wire.opcodes import Opcode

# --- Extensions

#: A block of two security contexts, each padded to 8 bytes.
SEEK_HOLE = 4  # PyPy has no name for it

CONTEXTS = (
    u32(8 + 40 + 32)  # size
    + u32(2)  # nr_secctx
    + (u32(8) + pad(4) + b"security.selinux\0" + b"system_u" + pad(7))
    + (u32(4) + pad(4) + b"security.smack\0" + b"rubb" + pad(5))
)
TWO_CONTEXTS = (("security.selinux", b"system_u"), ("security.smack", b"rubb"))

ONE_CONTEXT = (
    u32(8 + 32)  # size
    + u32(1)  # nr_secctx
    + (u32(3) + pad(4) + b"security.selinux\0" + b"a\0b" + pad(4))
)
NO_CONTEXT = u32(8) + u32(0)
GROUPS = u32(16) + u32(32) + u32(1) + u32(0xC0FFEE)
THREE_GROUPS = u32(24) + u32(32) + u32(3) + u32(10) + u32(20) + u32(30)
#: Nobody knows it; 13 bytes long, so the next block starts 3 bytes behind it.
UNKNOWN = u32(13) + u32(99) + b"\xff" * 5 + pad(3)

# --- Messages

_READ = (
    u64(FH)
    + u64(OFFSET)
    + u32(0x2000)  # size
    + u32(2)  # read_flags: LOCKOWNER
    + u64(OWNER)
    + u32(os.O_RDWR)
    + pad(4)
)
_READ_FIELDS = (FH, OFFSET, 0x2000, 2, OWNER, os.O_RDWR)

_LOCK = (
    u64(FH)
    + u64(OWNER)
    + u64(0x1000)  # start
    + u64(0x7FFFFFFFFFFFFFFF)  # end
    + u32(1)  # type: WRLCK
    + u32(PID)
    + u32(1)  # lk_flags: FLOCK
    + pad(4)
)
_LOCK_FIELDS = (FH, OWNER, FileLock(0x1000, 0x7FFFFFFFFFFFFFFF, 1, PID), 1)

_COPY = (
    u64(FH)
    + u64(OFFSET)
    + u64(0x99)  # nodeid_out
    + u64(0xF00)  # fh_out
    + u64(0x5000)  # off_out
    + u64(LENGTH)
    + u64(0)  # flags
)
_COPY_FIELDS = (FH, OFFSET, 0x99, 0xF00, 0x5000, LENGTH, 0)

_RELEASE = u64(FH) + u32(os.O_WRONLY) + u32(2) + u64(OWNER)
_RELEASE_FIELDS = (FH, os.O_WRONLY, 2, OWNER)

_CREATE = (
    u32(os.O_RDWR)  # flags
    + u32(0o100644)  # mode
    + u32(0o022)  # umask
    + u32(1)  # open_flags: KILL_SUIDGID
)
_CREATE_FIELDS = (os.O_RDWR, 0o100644, 0o022, 1)

_SETATTR = (
    u32(0xFFF)  # valid: everything
    + pad(4)
    + u64(FH)
    + u64(LENGTH)  # size
    + u64(OWNER)
    + s64(-2)  # atime
    + s64(1_700_000_000)  # mtime
    + s64(0)  # ctime
    + u32(500_000_000)  # atimensec
    + u32(999_999_999)  # mtimensec
    + u32(1)  # ctimensec
    + u32(0o104755)  # mode
    + pad(4)
    + u32(1001)  # uid
    + u32(1002)  # gid
    + pad(4)
)

#: Filesystem operations.
OPERATIONS = [
    Golden(Opcode.LOOKUP, b"hello\0", r.Lookup(*CALLER, "hello")),
    Golden(
        Opcode.LOOKUP,
        b"\xff\xc3\xa4\x80\0",
        r.Lookup(*CALLER, "\udcffä\udc80"),
        variant="of bytes that are no text",
    ),
    Golden(
        Opcode.GETATTR,
        u32(1)  # getattr_flags: FH
        + pad(4)
        + u64(FH),
        r.Getattr(*CALLER, 1, FH),
    ),
    Golden(
        Opcode.GETATTR,
        u32(0) + pad(4) + u64(FH),
        r.Getattr(*CALLER, 0, None),
        variant="without a handle",
    ),
    Golden(
        Opcode.SETATTR,
        _SETATTR,
        r.Setattr(
            *CALLER,
            0xFFF,
            FH,
            LENGTH,
            OWNER,
            -1_500_000_000,
            1_700_000_000_999_999_999,
            1,
            0o104755,
            1001,
            1002,
        ),
    ),
    Golden(
        Opcode.SETATTR,
        u32(0) + _SETATTR[4:],
        r.Setattr(*CALLER, 0),
        variant="of nothing",
    ),
    Golden(Opcode.READLINK, b"", r.Readlink(*CALLER)),
    Golden(
        Opcode.SYMLINK,
        b"link\0../to/target\0",
        r.Symlink(*CALLER, "link", "../to/target"),
    ),
    Golden(
        Opcode.SYMLINK,
        b"link\0/\0",
        r.Symlink(*CALLER, "link", "/", TWO_CONTEXTS, (0xC0FFEE,)),
        CONTEXTS + GROUPS,
        variant="with contexts and groups",
    ),
    Golden(
        Opcode.MKNOD,
        u32(0o060600)  # mode
        + u32(0x0801)  # rdev
        + u32(0o077)  # umask
        + pad(4)
        + b"sda1\0",
        r.Mknod(*CALLER, 0o060600, os.makedev(8, 1), 0o077, "sda1"),
    ),
    Golden(
        Opcode.MKNOD,
        u32(0o010600) + u32(0) + u32(0o077) + pad(4) + b"fifo\0",
        r.Mknod(*CALLER, 0o010600, 0, 0o077, "fifo", (), (10, 20, 30)),
        UNKNOWN + THREE_GROUPS,
        variant="with unknown and groups",
    ),
    Golden(
        Opcode.MKDIR,
        u32(0o755)  # mode
        + u32(0o027)  # umask
        + b"dir\0",
        r.Mkdir(*CALLER, 0o755, 0o027, "dir"),
    ),
    Golden(
        Opcode.MKDIR,
        u32(0o755) + u32(0o027) + b"dir\0",
        r.Mkdir(*CALLER, 0o755, 0o027, "dir", (("security.selinux", b"a\0b"),)),
        ONE_CONTEXT,
        variant="with a context",
    ),
    Golden(Opcode.UNLINK, b"file\0", r.Unlink(*CALLER, "file")),
    Golden(Opcode.RMDIR, b"dir\0", r.Rmdir(*CALLER, "dir")),
    Golden(
        Opcode.RENAME,
        u64(0x99)  # newdir
        + b"old\0new name\0",
        r.Rename(*CALLER, 0x99, "old", "new name"),
    ),
    Golden(
        Opcode.LINK,
        u64(0x99)  # oldnodeid
        + b"another\0",
        r.Link(*CALLER, 0x99, "another"),
    ),
    Golden(
        Opcode.OPEN,
        u32(os.O_RDWR) + u32(1),  # flags, open_flags: KILL_SUIDGID
        r.Open(*CALLER, os.O_RDWR, 1),
    ),
    Golden(Opcode.READ, _READ, r.Read(*CALLER, *_READ_FIELDS)),
    Golden(
        Opcode.WRITE,
        u64(FH)
        + u64(OFFSET)
        + u32(9)  # size
        + u32(7)  # write_flags
        + u64(OWNER)
        + u32(os.O_APPEND)
        + pad(4)
        + b"some\0data",
        r.Write(
            *CALLER, FH, OFFSET, 9, 7, OWNER, os.O_APPEND, memoryview(b"some\0data")
        ),
    ),
    Golden(
        Opcode.WRITE,
        u64(FH) + u64(0) + u32(0) + u32(0) + u64(OWNER) + u32(0) + pad(4),
        r.Write(*CALLER, FH, 0, 0, 0, OWNER, 0, memoryview(b"")),
        variant="of nothing",
    ),
    Golden(Opcode.STATFS, b"", r.StatfsRequest(*CALLER)),
    Golden(Opcode.RELEASE, _RELEASE, r.Release(*CALLER, *_RELEASE_FIELDS)),
    Golden(
        Opcode.FSYNC,
        u64(FH)
        + u32(1)  # fsync_flags: FDATASYNC
        + pad(4),
        r.Fsync(*CALLER, FH, 1),
    ),
    Golden(
        Opcode.SETXATTR,
        u32(5)  # size
        + u32(2)  # flags: REPLACE
        + u32(1)  # setxattr_flags: ACL_KILL_SGID
        + pad(4)
        + b"user.x\0"
        + b"va\0ue",
        r.Setxattr(*CALLER, 5, 2, 1, "user.x", memoryview(b"va\0ue")),
    ),
    Golden(
        Opcode.SETXATTR,
        u32(0) + u32(0) + u32(0) + pad(4) + b"user.empty\0",
        r.Setxattr(*CALLER, 0, 0, 0, "user.empty", memoryview(b"")),
        variant="of nothing",
    ),
    Golden(
        Opcode.GETXATTR,
        u32(0x1000) + pad(4) + b"user.x\0",
        r.Getxattr(*CALLER, 0x1000, "user.x"),
    ),
    Golden(Opcode.LISTXATTR, u32(0x1000) + pad(4), r.Listxattr(*CALLER, 0x1000)),
    Golden(Opcode.REMOVEXATTR, b"user.x\0", r.Removexattr(*CALLER, "user.x")),
    Golden(
        Opcode.FLUSH,
        u64(FH) + pad(4) + pad(4) + u64(OWNER),
        r.Flush(*CALLER, FH, OWNER),
    ),
    Golden(
        Opcode.OPENDIR,
        u32(os.O_DIRECTORY) + u32(0),
        r.Opendir(*CALLER, os.O_DIRECTORY, 0),
    ),
    Golden(Opcode.READDIR, _READ, r.Readdir(*CALLER, *_READ_FIELDS)),
    Golden(Opcode.RELEASEDIR, _RELEASE, r.Releasedir(*CALLER, *_RELEASE_FIELDS)),
    Golden(Opcode.FSYNCDIR, u64(FH) + u32(0) + pad(4), r.Fsyncdir(*CALLER, FH, 0)),
    Golden(Opcode.GETLK, _LOCK, r.Getlk(*CALLER, *_LOCK_FIELDS)),
    Golden(Opcode.SETLK, _LOCK, r.Setlk(*CALLER, *_LOCK_FIELDS)),
    Golden(Opcode.SETLKW, _LOCK, r.Setlkw(*CALLER, *_LOCK_FIELDS)),
    Golden(Opcode.ACCESS, u32(os.R_OK) + pad(4), r.Access(*CALLER, os.R_OK)),
    Golden(
        Opcode.CREATE,
        _CREATE + b"file\0",
        r.Create(*CALLER, *_CREATE_FIELDS, "file"),
    ),
    Golden(
        Opcode.CREATE,
        _CREATE + b"file\0",
        r.Create(*CALLER, *_CREATE_FIELDS, "file", (), (0xC0FFEE,)),
        NO_CONTEXT + GROUPS,
        variant="with groups",
    ),
    Golden(
        Opcode.BMAP,
        u64(0x123456789)  # block
        + u32(512)  # blocksize
        + pad(4),
        r.Bmap(*CALLER, 0x123456789, 512),
    ),
    Golden(
        Opcode.IOCTL,
        u64(FH)
        + u32(16)  # flags: DIR
        + u32(0x80086601)  # cmd: FS_IOC_GETFLAGS
        + u64(0x7FFC00001000)  # arg
        + u32(4)  # in_size
        + u32(8)  # out_size
        + b"\1\2\3\4",
        r.Ioctl(
            *CALLER,
            FH,
            16,
            0x80086601,
            0x7FFC00001000,
            4,
            8,
            memoryview(b"\1\2\3\4"),
        ),
    ),
    Golden(
        Opcode.POLL,
        u64(FH)
        + u64(0xCAB1E)  # kh
        + u32(1)  # flags: SCHEDULE_NOTIFY
        + u32(0x19),  # events
        r.Poll(*CALLER, FH, 0xCAB1E, 1, 0x19),
    ),
    Golden(
        Opcode.FALLOCATE,
        u64(FH)
        + u64(OFFSET)
        + u64(LENGTH)
        + u32(3)  # mode: KEEP_SIZE | PUNCH_HOLE
        + pad(4),
        r.Fallocate(*CALLER, FH, OFFSET, LENGTH, 3),
    ),
    Golden(Opcode.READDIRPLUS, _READ, r.Readdirplus(*CALLER, *_READ_FIELDS)),
    Golden(
        Opcode.RENAME2,
        u64(0x99)  # newdir
        + u32(2)  # flags: EXCHANGE
        + pad(4)
        + b"old\0new\0",
        r.Rename(*CALLER, 0x99, "old", "new", 2),
    ),
    Golden(
        Opcode.LSEEK,
        u64(FH) + s64(-1) + u32(SEEK_HOLE) + pad(4),
        r.Lseek(*CALLER, FH, -1, SEEK_HOLE),
    ),
    Golden(Opcode.COPY_FILE_RANGE, _COPY, r.CopyFileRange(*CALLER, *_COPY_FIELDS)),
    Golden(Opcode.SYNCFS, pad(8), r.Syncfs(*CALLER)),
    Golden(Opcode.TMPFILE, _CREATE + b"/\0", r.Tmpfile(*CALLER, *_CREATE_FIELDS, "/")),
    Golden(
        Opcode.STATX,
        u32(1)  # getattr_flags: FH
        + pad(4)
        + u64(FH)
        + u32(0x2000)  # sx_flags
        + u32(0xFFF),  # sx_mask
        r.Statx(*CALLER, 1, FH, 0x2000, 0xFFF),
    ),
    Golden(
        Opcode.STATX,
        u32(0) + pad(4) + u64(FH) + u32(0) + u32(0xFFF),
        r.Statx(*CALLER, 0, None, 0, 0xFFF),
        variant="without a handle",
    ),
    Golden(Opcode.COPY_FILE_RANGE_64, _COPY, r.CopyFileRange(*CALLER, *_COPY_FIELDS)),
]
