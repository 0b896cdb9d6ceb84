"""System calls for mounts that the Python standard library lacks."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Final

import attrs

__all__ = [
    "MNT_DETACH",
    "O_PATH",
    "UMOUNT_NOFOLLOW",
    "MountNumbers",
    "mount",
    "mount_point_of",
    "numbers_at",
    "umount2",
    "unshare_directory",
]

MNT_DETACH: Final = 2
UMOUNT_NOFOLLOW: Final = 8

#: PyPy has no name for it.  Source: asm-generic/fcntl.h.
O_PATH: Final = getattr(os, "O_PATH", 0o10000000)

# From linux/fcntl.h and linux/stat.h.
_AT_FDCWD: Final = -100
_AT_SYMLINK_NOFOLLOW: Final = 0x100
_AT_NO_AUTOMOUNT: Final = 0x800
_AT_EMPTY_PATH: Final = 0x1000
_AT_STATX_DONT_SYNC: Final = 0x4000
_STATX_MNT_ID: Final = 0x1000
_STATX_MNT_ID_UNIQUE: Final = 0x4000
_SIZEOF_STATX: Final = 256
_STX_DEV_OFFSET: Final = 136
_STX_MNT_ID_OFFSET: Final = 144

#: CLONE_FS of linux/sched.h.
_CLONE_FS: Final = 0x200

#: Linux 6.8; the number is the same wherever Python runs.
_SYS_STATMOUNT: Final = 457

#: ``struct mnt_id_req`` of linux/mount.h: size, spare, mnt_id, param.
_MNT_ID_REQ: Final = struct.Struct("=IIQQ")
_STATMOUNT_MNT_POINT: Final = 0x10
_MNT_POINT_OFFSET: Final = 108
_STRINGS_OFFSET: Final = 512

#: ``struct statmount`` and the longest path.
_STATMOUNT_SIZE: Final = 512 + 2 * 4096

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)


def mount(source: str, target: str, fstype: str, flags: int, data: str) -> None:
    """Call mount(2).

    Raises:
      OSError: As mount(2) says; ``filename`` is the target.
    """
    if _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        os.fsencode(fstype),
        flags,
        os.fsencode(data),
    ):
        raise _last_error(target)


def umount2(target: str, flags: int) -> None:
    """Call umount2(2).

    Raises:
      OSError: As umount2(2) says; ``filename`` is the target.
    """
    if _libc.umount2(os.fsencode(target), flags):
        raise _last_error(target)


@attrs.frozen
class MountNumbers:
    """The numbers of the mount that a file is on.

    Attributes:
      mount_id: As in ``MountEntry``; 0 where the kernel (before 5.8) or the C library
        does not report it.
      unique_id: As in ``MountEntry``; 0 before Linux 6.8.
      device: As in ``MountEntry``; (0, 0) where it is not known.
    """

    mount_id: int
    unique_id: int
    device: tuple[int, int]


def numbers_at(name: str, fd: int = _AT_FDCWD) -> MountNumbers:
    """Return the numbers of the mount that a file is on.

    Opens no descriptor, and sends no request to the filesystem, whether or not it has
    answered INIT.

    Args:
      name: A path, whose last component is not followed; empty for ``fd`` itself.
      fd: A directory, or with an empty name any descriptor; O_PATH is enough.

    Raises:
      OSError: As statx(2); EACCES: this user may not access the mount.  ENOSYS: the
        C library has no statx(2).

    Source: ``STATX_MNT_ID_UNIQUE`` in linux/stat.h; ``fuse_getattr()`` in
    fs/fuse/dir.c.
    """
    mount_id, device = _statx(name, fd, _STATX_MNT_ID)
    unique_id, _ = _statx(name, fd, _STATX_MNT_ID_UNIQUE)
    return MountNumbers(mount_id, unique_id, device)


def _statx(name: str, fd: int, wanted: int) -> tuple[int, tuple[int, int]]:
    statx = getattr(_libc, "statx", None)
    if statx is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), name)
    status = ctypes.create_string_buffer(_SIZEOF_STATX)
    flags = _AT_SYMLINK_NOFOLLOW | _AT_NO_AUTOMOUNT | _AT_STATX_DONT_SYNC
    flags |= 0 if name else _AT_EMPTY_PATH
    if statx(fd, os.fsencode(name), flags, ctypes.c_uint(wanted), status):
        raise _last_error(name)
    (mask,) = struct.unpack_from("=I", status.raw)
    (number,) = struct.unpack_from("=Q", status.raw, _STX_MNT_ID_OFFSET)
    major, minor = struct.unpack_from("=II", status.raw, _STX_DEV_OFFSET)
    return int(number) if mask & wanted else 0, (major, minor)


def mount_point_of(unique_id: int) -> str:
    """Return the path of a mount in the namespace and below the root of this thread.

    Opens no descriptor and needs no /proc.

    Raises:
      OSError: ENOENT: the mount is gone.  ENOSYS: the kernel is older than 6.8.
        EPERM: the mount is not reachable from here.

    Source: statmount(2).
    """
    request = _MNT_ID_REQ.pack(_MNT_ID_REQ.size, 0, unique_id, _STATMOUNT_MNT_POINT)
    answer = ctypes.create_string_buffer(_STATMOUNT_SIZE)
    size = ctypes.c_size_t(_STATMOUNT_SIZE)
    if _libc.syscall(
        ctypes.c_long(_SYS_STATMOUNT), request, answer, size, ctypes.c_uint(0)
    ):
        raise _last_error("")
    (offset,) = struct.unpack_from("=I", answer.raw, _MNT_POINT_OFFSET)
    return os.fsdecode(answer.raw[_STRINGS_OFFSET + offset :].partition(b"\0")[0])


def unshare_directory() -> None:
    """Give this thread a current directory and a root of its own.

    Raises:
      OSError: A security policy forbids unshare(2).
    """
    if _libc.unshare(_CLONE_FS):
        raise _last_error("")


def _last_error(target: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), target)
