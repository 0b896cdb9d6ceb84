"""Encoders of attributes and entries: the replies to GETATTR, LOOKUP, STATX.

Values that make the kernel return EIO are refused here, so that the log says why.
"""

from __future__ import annotations

import os
import stat
from functools import lru_cache

from triofuse.filesystem import requests as r
from triofuse.filesystem.flags import StatxAttributes, StatxMask
from triofuse.filesystem.replies import Buffer, Entry, FileAttr, KeptEntry
from triofuse.wire import layouts
from triofuse.wire.opcodes import FUSE_ROOT_ID
from triofuse.wire.replies import ReplyError

__all__ = ["encode_attr", "encode_entry", "encode_made", "encode_statx"]

#: Lifetimes from this many seconds on are infinite, as in the kernel's jiffies.
_FOR_EVER = 1 << 32

_pack_attr = layouts.ATTR_OUT.pack
_pack_entry = layouts.ENTRY_OUT.pack
_NS = 1_000_000_000


#: Modes that are known to be valid: a set look-up takes a third of a shift's time.
_modes: set[int] = set()

_TYPES = {
    stat.S_IFREG,
    stat.S_IFDIR,
    stat.S_IFLNK,
    stat.S_IFCHR,
    stat.S_IFBLK,
    stat.S_IFIFO,
    stat.S_IFSOCK,
}


#: Bytes of the largest file: LLONG_MAX.
_MOST = 2**63 - 1

#: What these make; the others say it themselves, in ``mode``.
_MADE = {r.Mkdir: stat.S_IFDIR, r.Symlink: stat.S_IFLNK}


def _check_attr(attr: FileAttr) -> None:
    """Refuse the attributes that fuse_invalid_attr() in fs/fuse/dir.c refuses."""
    if _MOST < attr.size < 2**64:
        message = f"a FileAttr with size {attr.size}; 2**63-1 is the most"
        raise ReplyError(message)
    _check_mode(attr.mode)


def _check_mode(mode: int) -> None:
    kind = stat.S_IFMT(mode)
    if mode != kind | stat.S_IMODE(mode):
        message = f"a mode of {mode:#o}, which is none"
        raise ReplyError(message)
    if kind not in _TYPES:
        message = (
            f"a mode of {mode:#o}, which has no file type: "
            f"give stat.S_IFREG | {stat.S_IMODE(mode):#o}, or S_IFDIR, S_IFLNK, ..."
        )
        raise ReplyError(message)
    _modes.add(mode)


def _check_entry(entry: Entry, request: object) -> None:
    """Refuse the entries that fuse_lookup() in fs/fuse/dir.c refuses."""
    if entry.nodeid == FUSE_ROOT_ID and not _is_for_export(request):
        raise ReplyError("an Entry with nodeid 1, which is the root and nothing else")
    if entry.nodeid == 0 and not isinstance(request, r.Lookup):
        raise ReplyError("an Entry with nodeid 0, but what was made has a number")
    if entry.nodeid == 0 and entry.attr.mode:
        raise ReplyError(
            "an Entry with nodeid 0, which says that there is no such name: "
            "number what is there from 2 on, or return Entry.negative()"
        )
    if entry.nodeid:
        _check_attr(entry.attr)


def _is_for_export(request: object) -> bool:
    """Whether a LOOKUP resolves a file handle, as of fuse_get_parent()."""
    return isinstance(request, r.Lookup) and request.name in (".", "..")


@lru_cache  # a filesystem uses few lifetimes, and each reply has two
def _duration(seconds: float) -> tuple[int, int]:
    """Split seconds into whole ones and nanoseconds."""
    if seconds >= _FOR_EVER:
        return _FOR_EVER, 0
    whole = int(seconds)
    return whole, int((seconds - whole) * _NS)


# The next two functions repeat the fields of an attribute: one pack() for the whole
# reply takes two thirds of the time of two.


def encode_made(entry: Entry, request: object) -> bytes:
    """Encode the ``struct fuse_entry_out`` of what was made.

    Raises:
      ReplyError: It is not what was to be made: create_new_entry() in fs/fuse/dir.c.
    """
    kind = stat.S_IFMT(getattr(request, "mode", 0)) or _MADE.get(type(request), 0)
    if kind and entry.nodeid and stat.S_IFMT(entry.attr.mode) != kind:
        message = (
            f"an Entry with a mode of {entry.attr.mode:#o} "
            f"where {stat.filemode(kind)[0]!r} was to be made: {kind:#o}"
        )
        raise ReplyError(message)
    return encode_entry(entry, request)


def encode_entry(entry: Entry, request: object) -> bytes:
    """Encode ``struct fuse_entry_out``; what a `KeptEntry` keeps is taken as it is.

    Raises:
      ReplyError: The kernel would return EIO.  Not checked if ``request`` is None.
    """
    kept = entry if isinstance(entry, KeptEntry) else None
    if kept is not None and kept.record is not None and entry.nodeid > 1:
        return kept.record
    attr = entry.attr
    wrong = entry.nodeid < 2 or attr.mode not in _modes or attr.size > _MOST
    if wrong and request is not None:
        _check_entry(entry, request)
    blocks = attr.blocks
    if blocks is None:
        blocks = (attr.size + 511) >> 9
    atime, mtime, ctime = attr.atime_ns, attr.mtime_ns, attr.ctime_ns
    asec, ansec = atime // _NS, atime % _NS
    if mtime == atime:  # a comparison costs a quarter of what splitting costs
        msec, mnsec = asec, ansec
    else:
        msec, mnsec = mtime // _NS, mtime % _NS
    if ctime == mtime:
        csec, cnsec = msec, mnsec
    else:
        csec, cnsec = ctime // _NS, ctime % _NS
    entry_valid, entry_valid_nsec = _duration(entry.entry_valid)
    attr_valid, attr_valid_nsec = _duration(attr.attr_valid)
    record = _pack_entry(
        entry.nodeid,
        entry.generation,
        entry_valid,
        attr_valid,
        entry_valid_nsec,
        attr_valid_nsec,
        attr.ino,
        attr.size,
        blocks,
        asec,
        msec,
        csec,
        ansec,
        mnsec,
        cnsec,
        attr.mode,
        attr.nlink,
        attr.uid,
        attr.gid,
        attr.rdev,
        attr.blksize,
        attr.flags,
    )
    if kept is not None:
        kept.record = record
    return record


def encode_attr(attr: FileAttr, request: r.Request) -> Buffer:
    """Encode ``struct fuse_attr_out``.

    Raises:
      ReplyError: The kernel would return EIO.
    """
    mode, size, blocks = attr.mode, attr.size, attr.blocks
    if mode not in _modes or size > _MOST:
        _check_attr(attr)
    if blocks is None:
        blocks = (size + 511) >> 9
    atime, mtime, ctime = attr.atime_ns, attr.mtime_ns, attr.ctime_ns
    asec, ansec = atime // _NS, atime % _NS
    if mtime == atime:  # a comparison costs a quarter of what splitting costs
        msec, mnsec = asec, ansec
    else:
        msec, mnsec = mtime // _NS, mtime % _NS
    if ctime == mtime:
        csec, cnsec = msec, mnsec
    else:
        csec, cnsec = ctime // _NS, ctime % _NS
    valid, valid_nsec = _duration(attr.attr_valid)
    return _pack_attr(
        valid,
        valid_nsec,
        attr.ino,
        size,
        blocks,
        asec,
        msec,
        csec,
        ansec,
        mnsec,
        cnsec,
        mode,
        attr.nlink,
        attr.uid,
        attr.gid,
        attr.rdev,
        attr.blksize,
        attr.flags,
    )


def encode_statx(attr: FileAttr, request: r.Statx) -> Buffer:
    """Encode ``struct fuse_statx_out``; without BTIME if the birth is unknown."""
    if attr.mode not in _modes or attr.size > _MOST:
        _check_attr(attr)
    valid, valid_nsec = _duration(attr.attr_valid)
    mask = _BASIC_STATS if attr.btime_ns is None else _BASIC_STATS_AND_BTIME
    return layouts.STATX_OUT.pack(
        valid,
        valid_nsec,
        0,
        mask,
        attr.blksize,
        attr.attributes,
        attr.nlink,
        attr.uid,
        attr.gid,
        attr.mode,
        attr.ino,
        attr.size,
        attr.blocks_in_use,
        _ALL_ATTRIBUTES,
        *divmod(attr.atime_ns, _NS),
        *divmod(attr.btime_ns or 0, _NS),
        *divmod(attr.ctime_ns, _NS),
        *divmod(attr.mtime_ns, _NS),
        os.major(attr.rdev),
        os.minor(attr.rdev),
        0,
        0,
    )


_BASIC_STATS = int(StatxMask.BASIC_STATS)
_BASIC_STATS_AND_BTIME = int(StatxMask.BASIC_STATS | StatxMask.BTIME)
_ALL_ATTRIBUTES = sum(StatxAttributes)
