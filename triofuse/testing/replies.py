"""Decoding of replies as the kernel does it, with the checks that it makes.

A format lists the structs of a reply and whether data may follow.  Its decoder returns
the value that the filesystem returned, or raises ReplyRefusedError if the caller would
get EIO.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import attrs

from triofuse.filesystem.flags import IoctlFlags, LockType, StatxMask
from triofuse.filesystem.replies import (
    Entry,
    FileAttr,
    FileLock,
    IoctlReply,
    Opened,
    Statfs,
)
from triofuse.wire import layouts
from triofuse.wire.decode import ENCODING, ENCODING_ERRORS
from triofuse.wire.layouts import Layout
from triofuse.wire.opcodes import FUSE_ROOT_ID

__all__ = [
    "ATTR",
    "BLOCK",
    "BYTES",
    "COPIED",
    "COPIED_32",
    "CREATED",
    "ENTRY",
    "IOCTL",
    "LOCK",
    "NAMES",
    "NOTHING",
    "OFFSET",
    "OPENED",
    "REVENTS",
    "SIZE",
    "STATFS",
    "STATX",
    "TARGET",
    "ReplyFormat",
    "ReplyRefusedError",
    "check_usable",
    "decode_entry_fields",
    "decode_name",
    "made",
    "require",
    "written",
]

T = TypeVar("T")

_NS = 1_000_000_000
_MAX_SIZE = 2**63 - 1
_FOR_EVER = 1 << 32

_TYPES = {
    stat.S_IFREG,
    stat.S_IFDIR,
    stat.S_IFLNK,
    stat.S_IFCHR,
    stat.S_IFBLK,
    stat.S_IFIFO,
    stat.S_IFSOCK,
}


class ReplyRefusedError(Exception):
    """A reply is invalid; its caller gets EIO.

    Attributes:
      errno: The error of the server's ``write``; 0 if that succeeds.
    """

    def __init__(self, reason: str, errno: int = 0) -> None:
        super().__init__(reason)
        self.errno = errno


def _no_nodes(_: object) -> list[int]:
    return []


@attrs.frozen
class ReplyFormat(Generic[T]):
    """The format of a reply.

    Attributes:
      structs: The structs of the body; nothing follows them unless ``data``.
      decode: Decodes the body, in the layouts of the newest protocol.
      data: Whether data follows, at most as much as was requested.
      counted: Returns the nodes of a value whose lookup counts grow by one.
      unusable: Returns the nodes that the kernel cannot use and forgets at once.
    """

    structs: tuple[Layout, ...]
    decode: Callable[[bytes], T]
    data: bool = False
    counted: Callable[[T], list[int]] = _no_nodes
    unusable: Callable[[T], list[int]] = _no_nodes


# --- Parts of replies


def require(condition: object, what: str) -> None:
    """Raise ReplyRefusedError with a reason unless a condition holds."""
    if not condition:
        raise ReplyRefusedError(what)


def _seconds(whole: int, nanoseconds: int) -> float:
    return math.inf if whole >= _FOR_EVER else whole + nanoseconds / _NS


def _ns(seconds: int, nanoseconds: int) -> int:
    return seconds * _NS + min(nanoseconds, _NS - 1)


def _attr(fields: Sequence[int], attr_valid: float) -> FileAttr:
    ino, size, blocks, atime, mtime, ctime, *rest = fields
    atimensec, mtimensec, ctimensec, mode, nlink, uid, gid, rdev, blksize, flags = rest
    return FileAttr(
        ino=ino,
        mode=mode,
        nlink=nlink,
        size=size,
        blocks=blocks,
        uid=uid,
        gid=gid,
        rdev=rdev,
        atime_ns=_ns(atime, atimensec),
        mtime_ns=_ns(mtime, mtimensec),
        ctime_ns=_ns(ctime, ctimensec),
        blksize=blksize,
        flags=flags,
        attr_valid=attr_valid,
    )


def _checked(attr: FileAttr) -> FileAttr:
    """Refuse what fuse_invalid_attr() does."""
    require(stat.S_IFMT(attr.mode) in _TYPES, f"no file type has mode {attr.mode:#o}")
    require(attr.size <= _MAX_SIZE, f"no file has {attr.size} bytes")
    return attr


def decode_entry_fields(fields: Sequence[int]) -> Entry:
    """Decode the fields of ``struct fuse_entry_out``."""
    nodeid, generation, entry_valid, attr_valid, entry_nsec, attr_nsec, *rest = fields
    attr = _attr(rest, _seconds(attr_valid, attr_nsec))
    return Entry(attr, nodeid, generation, _seconds(entry_valid, entry_nsec))


def check_usable(entry: Entry) -> Entry:
    """Return an entry that the kernel accepts; raise ReplyRefusedError for another."""
    require(entry.nodeid != FUSE_ROOT_ID, "nodeid 1 is the root's")
    if entry.nodeid:
        _checked(entry.attr)
    return entry


def decode_name(encoded: bytes) -> str:
    """Decode a name as the runtime does."""
    return str(encoded, ENCODING, ENCODING_ERRORS)


# --- Decoders


def _decode_nothing(_: bytes) -> None:
    return None


def _decode_entry(body: bytes) -> Entry:
    return check_usable(decode_entry_fields(layouts.ENTRY_OUT.unpack(body)))


def _decode_parent(body: bytes) -> Entry:
    """Decode the entry of "." or "..", which may be the root (fuse_get_parent())."""
    entry = decode_entry_fields(layouts.ENTRY_OUT.unpack(body))
    if entry.nodeid == FUSE_ROOT_ID:
        _checked(entry.attr)
        return entry
    return check_usable(entry)


def _decode_attr(body: bytes) -> FileAttr:
    valid, nsec, *fields = layouts.ATTR_OUT.unpack(body)
    return _checked(_attr(fields, _seconds(valid, nsec)))


def _decode_statx(body: bytes) -> FileAttr:
    fields = layouts.STATX_OUT.unpack(body)
    value = dict(zip(layouts.STATX_OUT.fields, fields, strict=True))

    def time(name: str) -> int:
        return _ns(value[f"stat.{name}.tv_sec"], value[f"stat.{name}.tv_nsec"])

    attr = FileAttr(
        ino=value["stat.ino"],
        mode=value["stat.mode"],
        nlink=value["stat.nlink"],
        size=value["stat.size"],
        blocks=value["stat.blocks"],
        uid=value["stat.uid"],
        gid=value["stat.gid"],
        rdev=os.makedev(value["stat.rdev_major"], value["stat.rdev_minor"]),
        atime_ns=time("atime"),
        mtime_ns=time("mtime"),
        ctime_ns=time("ctime"),
        btime_ns=time("btime") if value["stat.mask"] & StatxMask.BTIME else None,
        blksize=value["stat.blksize"],
        attributes=value["stat.attributes"],
        attr_valid=_seconds(value["attr_valid"], value["attr_valid_nsec"]),
    )
    return _checked(attr)


def _decode_opened(body: bytes) -> Opened:
    return Opened(*layouts.OPEN_OUT.unpack(body))


def _decode_created(body: bytes) -> tuple[Entry, Opened]:
    size = layouts.ENTRY_OUT.size
    return _decode_made(stat.S_IFREG, body[:size]), _decode_opened(body[size:])


def _decode_made(kind: int, body: bytes) -> Entry:
    entry = _decode_entry(body)
    require(entry.nodeid, "nodeid 0 cannot be made")
    require(stat.S_IFMT(entry.attr.mode) == kind, "another type than was to be made")
    return entry


def _decode_target(body: bytes) -> str:
    require(b"\0" not in body, "a NUL in the target")
    return decode_name(body)


def _decode_names(body: bytes) -> list[str]:
    require(not body or body.endswith(b"\0"), "no NUL behind the last name")
    return [decode_name(name) for name in body.split(b"\0")[:-1]]


def _decode_statfs(body: bytes) -> Statfs:
    return Statfs(*layouts.STATFS_OUT.unpack(body))


def _decode_lock(body: bytes) -> FileLock:
    lock = FileLock(*layouts.LK_OUT.unpack(body))
    require(lock.type in list(LockType), f"no lock is of type {lock.type}")
    if lock.type != LockType.UNLCK:
        require(lock.start <= lock.end <= _MAX_SIZE, "the lock ends before it begins")
    return lock


def _decode_ioctl(body: bytes) -> IoctlReply:
    result, flags, _, _ = layouts.IOCTL_OUT.unpack_from(body)
    require(not flags & IoctlFlags.RETRY, "RETRY is for CUSE only")
    return IoctlReply(result, body[layouts.IOCTL_OUT.size :])


def _number(layout: Layout) -> ReplyFormat[int]:
    def decode(body: bytes) -> int:
        (number,) = layout.unpack(body)
        return int(number)

    return ReplyFormat((layout,), decode)


def _node(entry: Entry) -> list[int]:
    return [entry.nodeid] if entry.nodeid else []


def _node_but_root(entry: Entry) -> list[int]:
    return [nodeid for nodeid in _node(entry) if nodeid != FUSE_ROOT_ID]


def _created_node(created: tuple[Entry, Opened]) -> list[int]:
    return _node(created[0])


# --- Formats

NOTHING = ReplyFormat((), _decode_nothing)
ENTRY = ReplyFormat((layouts.ENTRY_OUT,), _decode_entry, counted=_node)
PARENT = ReplyFormat((layouts.ENTRY_OUT,), _decode_parent, counted=_node_but_root)
ATTR = ReplyFormat((layouts.ATTR_OUT,), _decode_attr)
STATX = ReplyFormat((layouts.STATX_OUT,), _decode_statx)
OPENED = ReplyFormat((layouts.OPEN_OUT,), _decode_opened)
CREATED = ReplyFormat(
    (layouts.ENTRY_OUT, layouts.OPEN_OUT), _decode_created, counted=_created_node
)
BYTES = ReplyFormat((), bytes, data=True)
TARGET = ReplyFormat((), _decode_target, data=True)
NAMES = ReplyFormat((), _decode_names, data=True)
SIZE = _number(layouts.GETXATTR_OUT)
STATFS = ReplyFormat((layouts.STATFS_OUT,), _decode_statfs)
LOCK = ReplyFormat((layouts.LK_OUT,), _decode_lock)
BLOCK = _number(layouts.BMAP_OUT)
IOCTL = ReplyFormat((layouts.IOCTL_OUT,), _decode_ioctl, data=True)
REVENTS = _number(layouts.POLL_OUT)
OFFSET = _number(layouts.LSEEK_OUT)
COPIED = _number(layouts.COPY_FILE_RANGE_OUT)
COPIED_32 = _number(layouts.WRITE_OUT)


def made(kind: int) -> ReplyFormat[Entry]:
    """Return the format of the entry of a new inode; ``kind`` is its file type."""

    def decode(body: bytes) -> Entry:
        return _decode_made(kind, body)

    return ReplyFormat((layouts.ENTRY_OUT,), decode, counted=_node)


def written(size: int) -> ReplyFormat[int]:
    """Return the format of the reply to a WRITE of ``size`` bytes."""

    def decode(body: bytes) -> int:
        (number,) = layouts.WRITE_OUT.unpack(body)
        require(number <= size, f"{number} bytes written where there were {size}")
        return int(number)

    return ReplyFormat((layouts.WRITE_OUT,), decode)
