"""What stat(2) shows of a node, as its author says it."""

from __future__ import annotations

import operator
import os
import stat
import time
from typing import Self

import attrs

from triofuse.filesystem.replies import FileAttr

__all__ = ["BLOCK", "Stat", "apply", "check_stat", "new_attr"]

#: The unit of ``st_blocks``, bytes.
BLOCK = 512


@attrs.frozen(kw_only=True)
class Stat:
    """Attributes of a node.  None leaves an attribute at its default, or as it is.

    Source: stat(2), ``struct fuse_attr`` in linux/fuse.h.

    Attributes:
      mode: Permissions, ``0o644``.  The file type follows from the kind of node.
        Default: 0o755 for directories, 0o644 for what can be written, else 0o444.
      uid: Owner.  Default: the user of this process.
      gid: Group.  Default: the group of this process.
      size: Bytes.  Default: the length of the contents, where it is known.
      nlink: Number of hard links.  Default: counted by the tree.
      blocks: 512-byte units in use.  Default: as many as ``size`` needs.
      rdev: Device number as of ``os.makedev``, for device nodes.
      blksize: Preferred size of I/O, bytes.
      atime_ns: Last access, nanoseconds since the epoch.  Default: now.
      mtime_ns: Last change of the contents.  Default: now.
      ctime_ns: Last change of the inode.  Default: ``mtime_ns``.
      btime_ns: Birth; only statx(2) shows it.
    """

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    nlink: int | None = None
    blocks: int | None = None
    rdev: int | None = None
    blksize: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None
    ctime_ns: int | None = None
    btime_ns: int | None = None

    @classmethod
    def of(cls, attr: FileAttr) -> Self:
        """Take all attributes from those of an inode."""
        return cls(**{name: getattr(attr, name) for name in _FIELDS})

    @classmethod
    def from_stat(cls, status: os.stat_result) -> Self:
        """Take all attributes from a result of ``os.stat`` and its kin."""
        return cls(
            mode=status.st_mode,
            uid=status.st_uid,
            gid=status.st_gid,
            size=status.st_size,
            nlink=status.st_nlink,
            blocks=status.st_blocks,
            rdev=status.st_rdev,
            blksize=status.st_blksize,
            atime_ns=status.st_atime_ns,
            mtime_ns=status.st_mtime_ns,
            ctime_ns=status.st_ctime_ns,
        )


#: The bits of a mode without its type.
_MODES = 0o7777

_TYPES = {int, type(None)}

_FIELDS = tuple(field.name for field in attrs.fields(Stat))

#: Attributes that are plain copies: ``mode`` keeps its type, ``blocks`` follows ``size``.
_PLAIN = tuple(name for name in _FIELDS if name not in {"mode", "size", "blocks"})
_plain, _all = operator.attrgetter(*_PLAIN), operator.attrgetter(*_FIELDS)


def new_attr(kind: int, given: Stat | None, permissions: int) -> FileAttr:
    """Return the attributes of a new node.

    Args:
      kind: The file type, ``stat.S_IFREG`` and its kin.
      given: What the author says.
      permissions: The default permissions.
    """
    nlink = 2 if kind == stat.S_IFDIR else 0
    if given is None:
        now = time.time_ns()
        return FileAttr(
            0,
            kind | permissions,
            nlink,
            uid=os.getuid(),
            gid=os.getgid(),
            atime_ns=now,
            mtime_ns=now,
            ctime_ns=now,
        )
    check_stat(given)
    mode, size, mtime = given.mode, given.size or 0, given.mtime_ns
    if mode is None:
        mode = permissions
    elif mode > _MODES:
        check_kind(kind, mode)
    if mtime is None:
        mtime = time.time_ns()
    return FileAttr(
        0,
        kind | mode & _MODES,
        nlink if given.nlink is None else given.nlink,
        size,
        -(-size // BLOCK) if given.blocks is None else given.blocks,
        os.getuid() if given.uid is None else given.uid,
        os.getgid() if given.gid is None else given.gid,
        given.rdev or 0,
        mtime if given.atime_ns is None else given.atime_ns,
        mtime,
        mtime if given.ctime_ns is None else given.ctime_ns,
        given.btime_ns,
        4096 if given.blksize is None else given.blksize,
    )


def check_kind(kind: int, mode: int) -> None:
    """Raise ValueError if the file type in a mode is another one."""
    if stat.S_IFMT(mode) not in (0, kind):
        told, is_ = stat.filemode(mode)[0], stat.filemode(kind)[0]
        message = f"mode {mode:#o} is of type {told!r}, the node {is_!r}"
        raise ValueError(message)


def apply(attr: FileAttr, changes: Stat) -> None:
    """Put what is given into the attributes of a node.

    Raises:
      ValueError: The file type of ``changes.mode`` is another one.
    """
    if changes.mode is not None:
        check_kind(stat.S_IFMT(attr.mode), changes.mode)
        attr.mode = stat.S_IFMT(attr.mode) | stat.S_IMODE(changes.mode)
    if changes.size is not None:
        attr.size = changes.size
        attr.blocks = -(-changes.size // BLOCK)
    if changes.blocks is not None:
        attr.blocks = changes.blocks
    for name, value in zip(_PLAIN, _plain(changes), strict=True):
        if value is not None:
            setattr(attr, name, value)


def check_stat(changes: Stat) -> None:
    """Raise what is wrong with attributes that an author gives.

    Raises:
      TypeError: One is no int, a time in seconds for instance.
      ValueError: One is negative that cannot be.
    """
    values = _all(changes)
    if set(map(type, values)) <= _TYPES and (changes.size or 0) >= 0:
        return  # nearly always
    for name, value in zip(_FIELDS, values, strict=True):
        if value is None:
            continue
        if type(value) is not int and not isinstance(value, int):
            hint = ": int(seconds * 10**9)" if name.endswith("_ns") else ""
            message = f"Stat.{name} is an int, not {value!r}{hint}"
            raise TypeError(message)
        if value < 0 and not name.endswith("_ns"):
            message = f"Stat.{name} is 0 or more, not {value}"
            raise ValueError(message)
