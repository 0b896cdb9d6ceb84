"""Encoding: what a filesystem answers, byte for byte as linux/fuse.h has it."""

from __future__ import annotations

import errno
import os
import stat
from typing import Any

import attrs
import pytest

from tests.wire import oracle
from tests.wire.golden import OPERATIONS as MESSAGES
from tests.wire.messages import CALLER, UNIQUE
from tests.wire.oracle import golden_struct
from triofuse.filesystem import requests as r
from triofuse.filesystem.flags import InitFlags, OpenFlags, StatxAttributes
from triofuse.filesystem.replies import (
    Entry,
    FileAttr,
    FileLock,
    IoctlReply,
    Opened,
    Statfs,
)
from triofuse.wire import encode as e
from triofuse.wire.opcodes import Opcode
from triofuse.wire.operations import OPERATIONS, operations_for

ATTR = FileAttr(
    ino=0xDEADBEEFBAADF00D,
    mode=stat.S_IFREG | 0o4755,
    nlink=3,
    size=0x123456789,
    blocks=0x91A2B4,
    uid=1001,
    gid=1002,
    rdev=os.makedev(8, 300),
    atime_ns=1_700_000_000_123_456_789,
    mtime_ns=-1,
    ctime_ns=0,
    btime_ns=-1_500_000_000,
    blksize=512,
    flags=2,
    attributes=StatxAttributes.IMMUTABLE,
    attr_valid=1.5,
)
ENTRY = Entry(ATTR, nodeid=0xCAFE, generation=9, entry_valid=0.25)
OPENED = Opened(0xFEEDFACECAFEBEEF, OpenFlags.DIRECT_IO | OpenFlags.NOFLUSH, 7)

ATTR_FIELDS = {
    "ino": 0xDEADBEEFBAADF00D,
    "size": 0x123456789,
    "blocks": 0x91A2B4,
    "atime": 1_700_000_000,
    "mtime": 2**64 - 1,  # -1: signed times travel in unsigned fields
    "ctime": 0,
    "atimensec": 123_456_789,
    "mtimensec": 999_999_999,
    "ctimensec": 0,
    "mode": stat.S_IFREG | 0o4755,
    "nlink": 3,
    "uid": 1001,
    "gid": 1002,
    "rdev": 300 & 0xFF | 8 << 8 | (300 & ~0xFF) << 12,  # new_encode_dev()
    "blksize": 512,
    "flags": 2,
}
INSIDE = {f"attr.{name}": value for name, value in ATTR_FIELDS.items()}

ENTRY_BYTES = golden_struct(
    "fuse_entry_out",
    nodeid=0xCAFE,
    generation=9,
    entry_valid=0,
    entry_valid_nsec=250_000_000,
    attr_valid=1,
    attr_valid_nsec=500_000_000,
    **INSIDE,
)


def made(mode: int) -> tuple[Entry, bytes]:
    """Return the entry of something else that was made, and its bytes."""
    entry = attrs.evolve(ENTRY, attr=attrs.evolve(ATTR, mode=mode))
    inside = {**INSIDE, "attr.mode": mode}
    return entry, golden_struct(
        "fuse_entry_out",
        nodeid=0xCAFE,
        generation=9,
        entry_valid=0,
        entry_valid_nsec=250_000_000,
        attr_valid=1,
        attr_valid_nsec=500_000_000,
        **inside,
    )


DIRECTORY = made(stat.S_IFDIR | 0o755)
ATTR_BYTES = golden_struct(
    "fuse_attr_out", attr_valid=1, attr_valid_nsec=500_000_000, **INSIDE
)
OPEN_BYTES = golden_struct(
    "fuse_open_out", fh=0xFEEDFACECAFEBEEF, open_flags=0b100001, backing_id=7
)
STATX_BYTES = golden_struct(
    "fuse_statx_out",
    attr_valid=1,
    attr_valid_nsec=500_000_000,
    **{
        "stat.mask": 0xFFF,
        "stat.blksize": 512,
        "stat.attributes": 0x10,
        "stat.attributes_mask": sum(oracle.related("statx_attributes").values()),
        "stat.nlink": 3,
        "stat.uid": 1001,
        "stat.gid": 1002,
        "stat.mode": stat.S_IFREG | 0o4755,
        "stat.ino": 0xDEADBEEFBAADF00D,
        "stat.size": 0x123456789,
        "stat.blocks": 0x91A2B4,
        "stat.atime.tv_sec": 1_700_000_000,
        "stat.atime.tv_nsec": 123_456_789,
        "stat.btime.tv_sec": -2,
        "stat.btime.tv_nsec": 500_000_000,
        "stat.mtime.tv_sec": -1,
        "stat.mtime.tv_nsec": 999_999_999,
        "stat.rdev_major": 8,
        "stat.rdev_minor": 300,
    },
)
STATFS = Statfs(1000, 500, 400, 90, 80, 512, 255, 1024)
STATFS_BYTES = golden_struct(
    "fuse_statfs_out",
    **{
        "st.blocks": 1000,
        "st.bfree": 500,
        "st.bavail": 400,
        "st.files": 90,
        "st.ffree": 80,
        "st.bsize": 512,
        "st.namelen": 255,
        "st.frsize": 1024,
    },
)
LOCK = FileLock(16, 2**63 - 1, 1, 4711)
LOCK_BYTES = golden_struct(
    "fuse_lk_out",
    **{"lk.start": 16, "lk.end": 2**63 - 1, "lk.type": 1, "lk.pid": 4711},
)

REQUESTS: dict[int, Any] = {golden.opcode: golden.request for golden in MESSAGES}

#: What each operation answers, and the body of the reply.
GOLDEN: list[tuple[Opcode, Any, bytes]] = [
    (Opcode.LOOKUP, ENTRY, ENTRY_BYTES),
    (Opcode.GETATTR, ATTR, ATTR_BYTES),
    (Opcode.SETATTR, ATTR, ATTR_BYTES),
    (Opcode.READLINK, "../\udcff/ä", b"../\xff/\xc3\xa4"),
    (Opcode.SYMLINK, *made(stat.S_IFLNK | 0o777)),
    (Opcode.MKNOD, *made(stat.S_IFIFO | 0o600)),
    (Opcode.MKDIR, *DIRECTORY),
    (Opcode.UNLINK, None, b""),
    (Opcode.RMDIR, None, b""),
    (Opcode.RENAME, None, b""),
    (Opcode.LINK, ENTRY, ENTRY_BYTES),
    (Opcode.OPEN, OPENED, OPEN_BYTES),
    (Opcode.READ, b"some\0data", b"some\0data"),
    (Opcode.WRITE, 0, golden_struct("fuse_write_out", size=0)),
    (Opcode.STATFS, STATFS, STATFS_BYTES),
    (Opcode.RELEASE, None, b""),
    (Opcode.FSYNC, None, b""),
    (Opcode.SETXATTR, None, b""),
    (Opcode.GETXATTR, b"va\0ue", b"va\0ue"),
    (Opcode.LISTXATTR, ["user.a", "user.\udcff"], b"user.a\0user.\xff\0"),
    (Opcode.REMOVEXATTR, None, b""),
    (Opcode.FLUSH, None, b""),
    (Opcode.OPENDIR, OPENED, OPEN_BYTES),
    (Opcode.RELEASEDIR, None, b""),
    (Opcode.FSYNCDIR, None, b""),
    (Opcode.GETLK, LOCK, LOCK_BYTES),
    (Opcode.SETLK, None, b""),
    (Opcode.SETLKW, None, b""),
    (Opcode.ACCESS, None, b""),
    (Opcode.CREATE, (ENTRY, OPENED), ENTRY_BYTES + OPEN_BYTES),
    (Opcode.BMAP, 2**40, golden_struct("fuse_bmap_out", block=2**40)),
    (
        Opcode.IOCTL,
        IoctlReply(-3, b"12345678"),
        golden_struct("fuse_ioctl_out", result=-3) + b"12345678",
    ),
    (Opcode.POLL, 0x19, golden_struct("fuse_poll_out", revents=0x19)),
    (Opcode.FALLOCATE, None, b""),
    (Opcode.RENAME2, None, b""),
    (Opcode.LSEEK, 2**62, golden_struct("fuse_lseek_out", offset=2**62)),
    (
        Opcode.COPY_FILE_RANGE,
        2**32 - 1,
        golden_struct("fuse_write_out", size=2**32 - 1),
    ),
    (Opcode.SYNCFS, None, b""),
    (Opcode.TMPFILE, (ENTRY, OPENED), ENTRY_BYTES + OPEN_BYTES),
    (Opcode.STATX, ATTR, STATX_BYTES),
    (
        Opcode.COPY_FILE_RANGE_64,
        2**33,
        golden_struct("fuse_copy_file_range_out", bytes_copied=2**33),
    ),
]

#: Encoded by tests/wire/test_directories.py.
LISTINGS = {Opcode.READDIR, Opcode.READDIRPLUS}

each_golden = pytest.mark.parametrize(
    ("opcode", "value", "body"), GOLDEN, ids=[opcode.name for opcode, _, _ in GOLDEN]
)


def test_there_is_a_golden_reply_for_every_operation() -> None:
    assert {opcode for opcode, _, _ in GOLDEN} | LISTINGS == OPERATIONS.keys()


@each_golden
def test_an_answer_becomes_its_bytes(opcode: Opcode, value: Any, body: bytes) -> None:
    assert bytes(OPERATIONS[opcode].encode(value, REQUESTS[opcode])) == body


@each_golden
def test_a_golden_reply_is_as_long_as_the_header_says(
    opcode: Opcode, value: Any, body: bytes
) -> None:
    size = oracle.OPCODES[f"FUSE_{opcode.name}"].get("reply_fixed_size")

    if opcode == Opcode.IOCTL:
        assert len(body) == size + len(value.data)
    elif size is not None:
        assert len(body) == size


def test_a_header_says_how_long_the_reply_is() -> None:
    golden = golden_struct("fuse_out_header", len=16 + 128, unique=UNIQUE)

    assert e.encode_header(UNIQUE, 128) == golden


def test_an_error_is_a_header_and_no_more() -> None:
    golden = golden_struct("fuse_out_header", len=16, error=-2, unique=UNIQUE)

    assert e.encode_error(UNIQUE, errno.ENOENT) == golden


# --- Older protocols


@pytest.mark.parametrize(
    ("opcode", "value", "body", "minor"),
    [
        (Opcode.STATFS, STATFS, STATFS_BYTES[:48], 3),
        (Opcode.GETATTR, ATTR, ATTR_BYTES[:96], 8),
        (Opcode.SETATTR, ATTR, ATTR_BYTES[:96], 8),
        (Opcode.LOOKUP, ENTRY, ENTRY_BYTES[:120], 8),
        (Opcode.MKDIR, DIRECTORY[0], DIRECTORY[1][:120], 8),
        (Opcode.LINK, ENTRY, ENTRY_BYTES[:120], 8),
        (Opcode.CREATE, (ENTRY, OPENED), ENTRY_BYTES[:120] + OPEN_BYTES, 8),
    ],
)
def test_an_older_protocol_has_shorter_replies(
    opcode: Opcode, value: Any, body: bytes, minor: int
) -> None:
    request = REQUESTS[opcode]
    older = operations_for(minor, InitFlags(0))[opcode]
    newer = operations_for(minor + 1, InitFlags(0))[opcode]

    assert older.encode(value, request) == body
    assert newer.encode(value, request) == OPERATIONS[opcode].encode(value, request)
    assert older.method == newer.method
    assert older.undo is newer.undo


def test_an_older_create_has_both_shorter() -> None:
    """Before 7.12 the request is shorter, before 7.9 the reply as well."""
    row = operations_for(8, InitFlags(0))[Opcode.CREATE]
    current = OPERATIONS[Opcode.CREATE]

    assert row.decode is not current.decode
    assert row.encode is not current.encode


# --- What is taken back when the kernel refuses a reply


def _forget(nodeid: int) -> r.Forget:
    return r.Forget(0, nodeid, 0, 0, 0, 1)


@pytest.mark.parametrize(
    ("opcode", "value", "undone"),
    [
        (Opcode.LOOKUP, ENTRY, [_forget(0xCAFE)]),
        (Opcode.LOOKUP, Entry.negative(), []),
        (Opcode.MKNOD, ENTRY, [_forget(0xCAFE)]),
        (Opcode.MKDIR, ENTRY, [_forget(0xCAFE)]),
        (Opcode.SYMLINK, ENTRY, [_forget(0xCAFE)]),
        (Opcode.LINK, ENTRY, [_forget(0xCAFE)]),
        (
            Opcode.OPEN,
            OPENED,
            [r.Release(0, CALLER[1], 0, 0, 0, OPENED.fh, os.O_RDWR, 0, 0)],
        ),
        (
            Opcode.OPENDIR,
            OPENED,
            [r.Releasedir(0, CALLER[1], 0, 0, 0, OPENED.fh, os.O_DIRECTORY, 0, 0)],
        ),
        (
            Opcode.CREATE,
            (ENTRY, OPENED),
            [
                r.Release(0, 0xCAFE, 0, 0, 0, OPENED.fh, os.O_RDWR, 0, 0),
                _forget(0xCAFE),
            ],
        ),
        (
            Opcode.TMPFILE,
            (ENTRY, OPENED),
            [
                r.Release(0, 0xCAFE, 0, 0, 0, OPENED.fh, os.O_RDWR, 0, 0),
                _forget(0xCAFE),
            ],
        ),
        (Opcode.GETATTR, ATTR, []),
        (Opcode.WRITE, 9, []),
        (Opcode.READDIRPLUS, [], []),
    ],
)
def test_a_refused_reply_is_taken_back(
    opcode: Opcode, value: Any, undone: list[r.Request]
) -> None:
    assert OPERATIONS[opcode].undo(value, REQUESTS[opcode]) == undone
