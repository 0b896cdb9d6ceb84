"""What stat(2) shows, in each of the forms in which a store may say it."""

from __future__ import annotations

import os
import stat
from collections.abc import Hashable
from typing import TypeAlias

from triofuse.filesystem.replies import FileAttr
from triofuse.tree.stat import Stat

__all__ = ["Attributes", "Described", "describe", "renumbered"]

#: What a store may return for attributes.
Attributes: TypeAlias = FileAttr | Stat | os.stat_result

#: The attributes, what identifies the inode among hard links, whether the size is known.
Described: TypeAlias = tuple[FileAttr, Hashable, bool]

_DIRECTORY = stat.S_IFDIR
_REGULAR = stat.S_IFREG


def describe(value: object, valid: float, path: str) -> Described:
    """Return what a store said of a file.

    Args:
      value: What it returned.
      valid: Seconds for which the kernel may cache it.
      path: The path, for messages.

    Raises:
      TypeError: The value is something else.
      ValueError: It has no file type.
    """
    if type(value) is FileAttr:
        if value.nlink > 1 and value.ino and value.mode & 0o170000 != _DIRECTORY:
            return value, value.ino, True
        return value, None, True
    if isinstance(value, os.stat_result):
        attr = FileAttr.from_stat(value, attr_valid=valid)
        if attr.nlink > 1 and attr.mode & 0o170000 != _DIRECTORY:
            return attr, (value.st_dev, attr.ino), True
        return attr, None, True
    if isinstance(value, Stat):
        return _from_stat(value, valid, path)
    message = (
        f"the attributes of {path!r} are {value!r:.80}; "
        "a Stat, FileAttr or os.stat_result is due"
    )
    raise TypeError(message)


def _from_stat(given: Stat, valid: float, path: str) -> Described:
    mode = given.mode
    if mode is None or not mode & 0o170000:
        message = (
            f"Stat(mode=...) of {path!r} has no file type: "
            "write stat.S_IFREG | 0o644, or stat.S_IFDIR | 0o755"
        )
        raise ValueError(message)
    size = given.size
    attr = FileAttr(0, mode, 1, size or 0, given.blocks, attr_valid=valid)
    mtime = given.mtime_ns
    if mtime is not None:
        attr.mtime_ns = mtime
        attr.ctime_ns = mtime if given.ctime_ns is None else given.ctime_ns
        attr.atime_ns = mtime if given.atime_ns is None else given.atime_ns
    for name in "uid", "gid", "nlink", "rdev", "blksize":
        value = getattr(given, name)
        if value is not None:
            setattr(attr, name, value)
    for name in "atime_ns", "ctime_ns", "btime_ns":
        value = getattr(given, name)
        if value is not None:
            setattr(attr, name, value)
    return attr, None, size is not None or mode & 0o170000 != _REGULAR


def renumbered(attr: FileAttr, ino: int, nlink: int) -> FileAttr:
    """Return a copy with another inode number and number of links."""
    return FileAttr(
        ino,
        attr.mode,
        nlink,
        attr.size,
        attr.blocks,
        attr.uid,
        attr.gid,
        attr.rdev,
        attr.atime_ns,
        attr.mtime_ns,
        attr.ctime_ns,
        attr.btime_ns,
        attr.blksize,
        attr.flags,
        attr.attributes,
        attr.attr_valid,
    )
