"""What a mirror needs of the C library and ``os`` lacks; errors are OSErrors."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
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

_capget = _declare("capget", _pointer, _pointer)
_capset = _declare("capset", _pointer, _pointer)
_copy_file_range = _declare(
    "copy_file_range", _int, _pointer, _int, _pointer, _size_t, _uint
)
_fallocate = _declare("fallocate", _int, _int, _off_t, _off_t)
_name_to_handle_at = _declare(
    "name_to_handle_at", _int, _path, _pointer, _pointer, _int
)
_open_by_handle_at = _declare("open_by_handle_at", _int, _pointer, _int)
_getdents64 = _declare("getdents64", _int, _pointer, _size_t)
_prctl = _declare("prctl", _int, _ulong)
_renameat2 = _declare("renameat2", _int, _path, _int, _path, _uint)
#: Both set an id of the calling thread and return the previous one, never an error.
setfsgid = _declare("setfsgid", _uint, restype=_uint)
setfsuid = _declare("setfsuid", _uint, restype=_uint)
_statx = _declare("statx", _int, _path, _int, _uint, _pointer)
_syncfs = _declare("syncfs", _int)
_utimensat = _declare("utimensat", _int, _path, _pointer, _int)

#: PyPy has no names for these.  Source: asm-generic/fcntl.h.
O_ACCMODE = os.O_WRONLY | os.O_RDWR
O_PATH = getattr(os, "O_PATH", 0o10000000)
O_TMPFILE = getattr(os, "O_TMPFILE", 0o20000000 | os.O_DIRECTORY)

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """Change the space of a file: all of fallocate(2), not just posix_fallocate."""
    _fallocate(fd, mode, offset, length)


def copy_file_range(src: int, dst: int, count: int, at: int, to: int) -> int:
    """Copy up to ``count`` bytes from offset ``at`` to offset ``to``; return how many.

    PyPy has no such call.
    """
    offsets = _off_t(at), _off_t(to)
    return _copy_file_range(
        src, ctypes.byref(offsets[0]), dst, ctypes.byref(offsets[1]), count, 0
    )


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


_STATX = struct.Struct("=IIQ64xqI")  # mask, blksize, attributes, ..., btime
_STATX_BTIME = 0x800


def birth(fd: int) -> tuple[int | None, int]:
    """Return when an inode was made, if that is known, and its STATX_ATTR_ bits."""
    buffer = ctypes.create_string_buffer(256)
    _statx(fd, b"", _AT_EMPTY_PATH, _STATX_BTIME, buffer)
    mask, _, attributes, seconds, ns = _STATX.unpack_from(buffer.raw)
    known = mask & _STATX_BTIME
    return (seconds * 1_000_000_000 + ns if known else None), attributes


_HANDLE = struct.Struct("=Ii")  # struct file_handle: size, type, then the bytes
_MAX_HANDLE_SZ = 128


def handle_of(fd: int) -> tuple[bytes, int]:
    """Return the file handle of an inode, and the number of the mount it is on.

    The handle outlives the descriptor, and even the inode: it names no other.
    """
    room, mount = _HANDLE.pack(_MAX_HANDLE_SZ, 0), ctypes.c_int()
    handle = ctypes.create_string_buffer(room, _HANDLE.size + _MAX_HANDLE_SZ)
    _name_to_handle_at(fd, b"", handle, ctypes.byref(mount), _AT_EMPTY_PATH)
    size, _ = _HANDLE.unpack_from(handle.raw)
    return handle.raw[: _HANDLE.size + size], mount.value


def open_handle(mount_fd: int, handle: bytes) -> int:
    """Open an inode with O_PATH; ``mount_fd`` is anything open on its mount."""
    return _open_by_handle_at(mount_fd, handle, O_PATH | os.O_NOFOLLOW)


def reopen(path: str, flags: int, append: int) -> int:
    """Open a file; with O_APPEND only where it opens in no other way.

    Args:
      path: Leads to it.
      flags: Of open(2).
      append: O_APPEND, if the caller wants that, else 0.
    """
    try:
        return os.open(path, flags)
    except PermissionError:
        if not append:
            raise
        return os.open(path, flags | append)


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
    records = memoryview(ctypes.string_at(buffer, _getdents64(fd, buffer, size)))
    while records:
        ino, next_offset, length, kind = _DIRENT.unpack_from(records)
        name, _, _ = bytes(records[_DIRENT.size : length]).partition(b"\0")
        yield Dirent(ino, next_offset, kind, os.fsdecode(name))
        records = records[length:]


_PR_GET_SECUREBITS, _PR_SET_SECUREBITS = 27, 28


def securebits() -> int:
    """Return how the ids and capabilities of this thread hang together."""
    return _prctl(_PR_GET_SECUREBITS, 0)


def set_securebits(bits: int) -> None:
    """Set them; it takes CAP_SETPCAP."""
    _prctl(_PR_SET_SECUREBITS, bits)


_PIDFD_THREAD = os.O_EXCL  # since Linux 6.9
_PIDFD_GET_INFO = 0xC040FF0B  # since Linux 6.13
#: struct pidfd_info: mask, cgroup; pids, ruid, rgid, ... up to fsuid, fsgid; exit code.
_PIDFD_INFO = struct.Struct("=16x9I2I4x")


def filesystem_ids(pid: int) -> tuple[int, int]:
    """Return uid and gid with which a thread acts on files.

    Raises:
      OSError: There is no such thread, or the kernel is too old to say so, or Python
        has no pidfd_open(2) (PyPy).
    """
    if not hasattr(os, "pidfd_open"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    fd = os.pidfd_open(pid, _PIDFD_THREAD)
    try:
        info = fcntl.ioctl(fd, _PIDFD_GET_INFO, bytes(_PIDFD_INFO.size))
    finally:
        os.close(fd)
    return _PIDFD_INFO.unpack(info)[-2:]


_CAP_HEADER = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, me
_CAP_SETS = struct.Struct("=6I")  # effective, permitted, inheritable: low, then high


def _cap_sets() -> list[int]:
    buffer = ctypes.create_string_buffer(_CAP_SETS.size)
    _capget(_CAP_HEADER, buffer)
    return list(_CAP_SETS.unpack(buffer.raw))


def effective() -> int:
    """Return the capabilities that this thread uses, bit N is number N."""
    sets = _cap_sets()
    return sets[3] << 32 | sets[0]


def set_effective(capabilities: int) -> None:
    """Use these capabilities in this thread, those of them that are permitted."""
    sets = _cap_sets()
    sets[0] = capabilities & sets[1]
    sets[3] = capabilities >> 32 & sets[4]
    _capset(_CAP_HEADER, _CAP_SETS.pack(*sets))
