"""What a mirror needs of the C library and ``os`` lacks; errors are OSErrors."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _declare(
    name: str, *argtypes: type, restype: Callable[[int], object] = _checked
) -> Callable[..., int]:
    function = getattr(_libc, name)
    function.argtypes, function.restype = argtypes, restype
    return function  # type: ignore[no-any-return]


_int, _uint, _ulong = ctypes.c_int, ctypes.c_uint, ctypes.c_ulong
_off_t, _size_t = ctypes.c_longlong, ctypes.c_size_t
_path, _pointer = ctypes.c_char_p, ctypes.c_void_p

_fallocate = _declare("fallocate", _int, _int, _off_t, _off_t)
_name_to_handle_at = _declare(
    "name_to_handle_at", _int, _path, _pointer, _pointer, _int
)
_open_by_handle_at = _declare("open_by_handle_at", _int, _pointer, _int)
_getdents64 = _declare("getdents64", _int, _pointer, _size_t)
_prctl = _declare("prctl", _int, _ulong)
_renameat2 = _declare("renameat2", _int, _path, _int, _path, _uint)
_setfsgid = _declare("setfsgid", _uint, restype=_uint)  # returns the previous one
_setfsuid = _declare("setfsuid", _uint, restype=_uint)
_statx = _declare("statx", _int, _path, _int, _uint, _pointer)
_syncfs = _declare("syncfs", _int)
_utimensat = _declare("utimensat", _int, _path, _pointer, _int)

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """Change the space of a file: all of fallocate(2), not just posix_fallocate."""
    _fallocate(fd, mode, offset, length)


def syncfs(fd: int) -> None:
    """Write a whole filesystem to its disk."""
    _syncfs(fd)


def rename(src_fd: int, src: str, dst_fd: int, dst: str, flags: int) -> None:
    """Rename with RENAME_NOREPLACE, RENAME_EXCHANGE or RENAME_WHITEOUT."""
    _renameat2(src_fd, os.fsencode(src), dst_fd, os.fsencode(dst), flags)


_UTIME_NOW, _UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
_TIMES = struct.Struct("=4q")


def _timespec(time_ns: int | None, now: int) -> tuple[int, int]:
    if time_ns is None:
        return 0, _UTIME_OMIT
    return (0, _UTIME_NOW) if now else divmod(time_ns, 1_000_000_000)


def utimens(
    path: str, atime_ns: int | None, mtime_ns: int | None, now: tuple[int, int]
) -> None:
    """Set times, those that are not None, and to the time it is where ``now`` says."""
    times = _TIMES.pack(*_timespec(atime_ns, now[0]), *_timespec(mtime_ns, now[1]))
    _utimensat(_AT_FDCWD, os.fsencode(path), times, 0)


def take_set_ids(file: str | int) -> None:
    """Take suid and sgid from a file, as somebody else's write does: chown(2) does."""
    if os.stat(file).st_mode & (stat.S_ISUID | stat.S_ISGID):
        os.chown(file, -1, -1)


_STATX = struct.Struct("=IIQ64xqI")  # mask, blksize, attributes, ..., btime
_STATX_BTIME = 0x800


def birth(fd: int) -> tuple[int | None, int]:
    """Return when an inode was made, if that is known, and its STATX_ATTR_ bits."""
    buffer = ctypes.create_string_buffer(256)
    _statx(fd, b"", _AT_EMPTY_PATH, _STATX_BTIME, buffer)
    mask, _, attributes, seconds, ns = _STATX.unpack_from(buffer)
    known = mask & _STATX_BTIME
    return (seconds * 1_000_000_000 + ns if known else None), attributes


_HANDLE = struct.Struct("=Ii")  # struct file_handle: size, type, then the bytes
_MAX_HANDLE_SZ = 128


def handle_of(fd: int) -> tuple[bytes, int]:
    """Return the file handle of an inode, and the number of the mount it is on.

    The handle outlives the descriptor, and even the inode: it names no other.
    """
    room = _HANDLE.size + _MAX_HANDLE_SZ
    handle = ctypes.create_string_buffer(_HANDLE.pack(_MAX_HANDLE_SZ, 0), room)
    mount = ctypes.c_int()
    _name_to_handle_at(fd, b"", handle, ctypes.byref(mount), _AT_EMPTY_PATH)
    size, _ = _HANDLE.unpack_from(handle)
    return handle.raw[: _HANDLE.size + size], mount.value


def open_handle(mount_fd: int, handle: bytes) -> int:
    """Open an inode with O_PATH; ``mount_fd`` is anything open on its mount."""
    return _open_by_handle_at(mount_fd, handle, os.O_PATH | os.O_NOFOLLOW)


class Dirent(NamedTuple):
    """One record of a directory; ``offset`` is where the next one is found."""

    ino: int
    offset: int
    type: int
    name: str


_DIRENT = struct.Struct("=QqHB")  # struct linux_dirent64, up to the name


def getdents(fd: int, offset: int, size: int) -> Iterator[Dirent]:
    """Read a directory from the cookie ``offset`` on, ``size`` bytes at most.

    ``os.scandir`` hides the cookies, and with them the only position in a
    directory that stays true while names come and go.
    """
    os.lseek(fd, offset, os.SEEK_SET)
    buffer = ctypes.create_string_buffer(size)
    records = memoryview(buffer)[: _getdents64(fd, buffer, size)].cast("B")
    while records:
        ino, next_offset, length, kind = _DIRENT.unpack_from(records)
        name, _, _ = bytes(records[_DIRENT.size : length]).partition(b"\0")
        yield Dirent(ino, next_offset, kind, os.fsdecode(name))
        records = records[length:]


_PR_GET_SECUREBITS, _PR_SET_SECUREBITS = 27, 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2


def _become(set_id: Callable[[int], int], number: int) -> None:
    """Set an id, and look: setfsuid(2) and setfsgid(2) do not say if they failed."""
    set_id(number)
    if set_id(-1) != number:
        raise PermissionError(errno.EPERM, f"cannot act as user or group {number}")


@contextlib.contextmanager
def _supplementary(groups: Sequence[int]) -> Iterator[None]:
    """Be in these groups besides one's own."""
    previous = os.getgroups()
    if groups:
        os.setgroups([*previous, *groups])
    try:
        yield
    finally:
        if groups:
            os.setgroups(previous)


@contextlib.contextmanager
def _filesystem_ids(uid: int, gid: int) -> Iterator[None]:
    """Own what this thread makes by these ids, and keep all capabilities."""
    securebits = _prctl(_PR_GET_SECUREBITS, 0)
    _prctl(_PR_SET_SECUREBITS, securebits | _SECBIT_NO_SETUID_FIXUP)
    try:
        _become(_setfsgid, gid)
        _become(_setfsuid, uid)
        yield
    finally:
        _setfsuid(os.geteuid())
        _setfsgid(os.getegid())
        _prctl(_PR_SET_SECUREBITS, securebits)


@contextlib.contextmanager
def acting_as(
    uid: int, gid: int, umask: int, groups: Sequence[int] = ()
) -> Iterator[None]:
    """Make files as somebody else would.

    What is made has its owner from the start, so that quotas, setgid directories
    and default ACLs do what they would do for that owner.  The rights are those of
    this process: the kernel has checked the caller's, with all of its groups.  The
    groups are for a server below, which may check them once more.

    The ids are the thread's, umask and groups the process's: no await inside.

    Raises:
      PermissionError: Only root can be somebody else.
    """
    previous = os.umask(umask)
    try:
        if (uid, gid) == (os.geteuid(), os.getegid()):
            yield
        else:
            with _supplementary(groups), _filesystem_ids(uid, gid):
                yield
    finally:
        os.umask(previous)
