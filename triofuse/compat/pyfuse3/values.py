"""The values that pyfuse3's request handlers get and return.

The encoders of triofuse take `EntryAttributes` as it is: the members have a second name
each, that of `triofuse.Entry` and `triofuse.FileAttr`.  So nothing is copied per request.
"""

from __future__ import annotations

import operator
import os
import stat
from collections.abc import Callable
from operator import attrgetter
from pickle import PicklingError
from typing import Any, NoReturn

import attrs

__all__ = [
    "EntryAttributes",
    "FUSEError",
    "FileHandleT",
    "FileInfo",
    "FileNameT",
    "FlagT",
    "InodeT",
    "ModeT",
    "PollHandle",
    "ReaddirToken",
    "RequestContext",
    "SetattrFields",
    "StatvfsData",
    "XAttrNameT",
]

FileHandleT = int
FileNameT = bytes
FlagT = int
InodeT = int
ModeT = int
XAttrNameT = bytes


class FUSEError(Exception):
    """Fails a request with an errno: ``raise FUSEError(errno.ENOENT)``.

    Unlike `triofuse.FuseError` it is no ``OSError``.
    """

    def __init__(self, errno: int) -> None:
        super().__init__(errno)
        self._errno = operator.index(errno)

    @property
    def errno(self) -> int:
        """The errno that the caller gets."""
        return self._errno

    @property
    def errno_(self) -> int:
        """The same."""
        return self._errno

    def __str__(self) -> str:
        return os.strerror(self._errno)


class _Unpicklable:
    """Exists during one request only: it can be neither pickled nor copied."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise PicklingError(f"{type(self).__name__} instances can't be pickled")

    def __getstate__(self) -> NoReturn:
        raise PicklingError(f"{type(self).__name__} instances can't be pickled")


def _read_only(name: str, doc: str) -> Any:
    return property(attrgetter(name), doc=doc)


@attrs.define(eq=False, repr=False)
class RequestContext(_Unpicklable):
    """The caller of a request.  The fields cannot be set."""

    _uid: int = 0
    _pid: int = 0
    _gid: int = 0
    _umask: int = 0
    uid = _read_only("_uid", "The user id of the calling thread.")
    pid = _read_only("_pid", "The id of the calling thread; 0 if it is the kernel.")
    gid = _read_only("_gid", "The group id of the calling thread.")
    umask = _read_only("_umask", "Its umask, in requests that make a file; else 0.")


@attrs.define(eq=False, repr=False)
class SetattrFields(_Unpicklable):
    """Which attributes ``setattr`` has to change.  The fields cannot be set."""

    _atime: bool = False
    _mtime: bool = False
    _ctime: bool = False
    _mode: bool = False
    _uid: bool = False
    _gid: bool = False
    _size: bool = False
    update_atime = _read_only("_atime", "Whether ``st_atime_ns`` is new.")
    update_mtime = _read_only("_mtime", "Whether ``st_mtime_ns`` is new.")
    update_ctime = _read_only("_ctime", "Whether ``st_ctime_ns`` is new.")
    update_mode = _read_only("_mode", "Whether ``st_mode`` is new.")
    update_uid = _read_only("_uid", "Whether ``st_uid`` is new.")
    update_gid = _read_only("_gid", "Whether ``st_gid`` is new.")
    update_size = _read_only("_size", "Whether ``st_size`` is new.")


class _Stateful:
    """Can be copied and pickled; its state is a dict of its fields."""

    __slots__ = ()

    def __getstate__(self) -> dict[str, int]:
        kind: Any = type(self)
        names = (field.name for field in attrs.fields(kind))
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, int]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


@attrs.define(eq=False, getstate_setstate=False)
class EntryAttributes(_Stateful):
    """The attributes of an inode, and of the name under which it was found.

    Attributes:
      st_ino: The inode; 0 in a reply to ``lookup``: there is no such name.
      generation: Distinguishes inodes that had the same number over time.
      entry_timeout: Seconds for which the kernel may cache the name.
      attr_timeout: Seconds for which the kernel may cache the attributes.
      st_mode: File type and permissions; a regular file by default.
      st_nlink: Number of hard links.
      st_uid: Owner.
      st_gid: Group.
      st_rdev: Device number, of device nodes.
      st_size: Bytes.
      st_blksize: Preferred size of I/O, bytes.
      st_blocks: 512-byte units in use.
      st_atime_ns: Last access, nanoseconds since the epoch.
      st_ctime_ns: Last change of the inode.
      st_mtime_ns: Last change of the contents.
      st_birthtime_ns: Birth; Linux has no place for it in these replies.
    """

    st_ino: int = attrs.field(default=0, init=False)
    generation: int = attrs.field(default=0, init=False)
    entry_timeout: float = attrs.field(default=300.0, init=False)
    attr_timeout: float = attrs.field(default=300.0, init=False)
    st_mode: int = attrs.field(default=stat.S_IFREG, init=False)
    st_nlink: int = attrs.field(default=1, init=False)
    st_uid: int = attrs.field(default=0, init=False)
    st_gid: int = attrs.field(default=0, init=False)
    st_rdev: int = attrs.field(default=0, init=False)
    st_size: int = attrs.field(default=0, init=False)
    st_blksize: int = attrs.field(default=4096, init=False)
    st_blocks: int = attrs.field(default=0, init=False)
    st_atime_ns: int = attrs.field(default=0, init=False)
    st_ctime_ns: int = attrs.field(default=0, init=False)
    st_mtime_ns: int = attrs.field(default=0, init=False)
    st_birthtime_ns: int = attrs.field(default=0, init=False)


#: The names of `triofuse.Entry` and `triofuse.FileAttr` for the same members.
_SECOND_NAMES = {
    "nodeid": "st_ino",
    "entry_valid": "entry_timeout",
    "attr_valid": "attr_timeout",
    "ino": "st_ino",
    "mode": "st_mode",
    "nlink": "st_nlink",
    "uid": "st_uid",
    "gid": "st_gid",
    "rdev": "st_rdev",
    "size": "st_size",
    "blksize": "st_blksize",
    "blocks": "st_blocks",
    "atime_ns": "st_atime_ns",
    "ctime_ns": "st_ctime_ns",
    "mtime_ns": "st_mtime_ns",
}


def _name_again() -> None:
    for second, first in _SECOND_NAMES.items():
        setattr(EntryAttributes, second, getattr(EntryAttributes, first))
    EntryAttributes.attr = property(lambda self: self)  # type: ignore[attr-defined]
    EntryAttributes.flags = 0  # type: ignore[attr-defined]


_name_again()


@attrs.define(eq=False)
class FileInfo:
    """An open file, as ``open`` and ``create`` return it.

    Attributes:
      fh: The handle of later requests; the filesystem chooses it.
      direct_io: Whether the kernel caches nothing of it.
      keep_cache: Whether what the kernel has cached of it stays valid.
      nonseekable: Whether it has no position.
    """

    fh: int = 0
    direct_io: bool = False
    keep_cache: bool = True
    nonseekable: bool = False


@attrs.define(eq=False, getstate_setstate=False)
class StatvfsData(_Stateful):
    """The state of the filesystem, with the fields of statvfs(3), all 0 by default."""

    f_bsize: int = attrs.field(default=0, init=False)
    f_frsize: int = attrs.field(default=0, init=False)
    f_blocks: int = attrs.field(default=0, init=False)
    f_bfree: int = attrs.field(default=0, init=False)
    f_bavail: int = attrs.field(default=0, init=False)
    f_files: int = attrs.field(default=0, init=False)
    f_ffree: int = attrs.field(default=0, init=False)
    f_favail: int = attrs.field(default=0, init=False)
    f_namemax: int = attrs.field(default=0, init=False)


class PollHandle(_Unpicklable):
    """Wakes the callers that poll an open file; ``poll`` gets one."""

    __slots__ = ("_wake",)
    _wake: Callable[[], None]

    def __init__(self) -> None:
        raise TypeError("PollHandle cannot be instantiated directly: poll() gets one")

    @classmethod
    def _made(cls, wake: Callable[[], None]) -> PollHandle:
        handle = cls.__new__(cls)
        handle._wake = wake
        return handle

    def notify(self) -> None:
        """Wake the callers, in any thread; they ask again what is ready.

        Raises:
          OSError: The filesystem is unmounted.
        """
        self._wake()


class ReaddirToken:
    """One call of ``readdir``; pass it to `readdir_reply`."""

    __slots__ = ("_entries", "_room")

    def __init__(self) -> None:
        self._room = 0
        self._entries: list[Any] = []
