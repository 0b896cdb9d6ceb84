"""The system calls about mounts, which Python does not have."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

__all__ = [
    "MNT_DETACH",
    "O_PATH",
    "UMOUNT_NOFOLLOW",
    "mount",
    "umount2",
    "unique_mount_id",
]

MNT_DETACH: Final = 2
UMOUNT_NOFOLLOW: Final = 8

#: PyPy has no name for it.  Source: asm-generic/fcntl.h.
O_PATH: Final = getattr(os, "O_PATH", 0o10000000)

# From linux/fcntl.h and linux/stat.h.
_AT_EMPTY_PATH: Final = 0x1000
_AT_STATX_DONT_SYNC: Final = 0x4000
_STATX_MNT_ID_UNIQUE: Final = 0x4000
_SIZEOF_STATX: Final = 256
_STX_MNT_ID_OFFSET: Final = 144

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


def unique_mount_id(fd: int) -> int:
    """Return the number of a descriptor's mount that no other mount ever had.

    No request goes to the filesystem, whether or not it has answered INIT.

    Args:
      fd: Any descriptor on the mount, O_PATH will do.

    Returns:
      The number; 0 where the kernel (before 6.8) or the C library has none, or
      where the mount is closed to this user.

    Source: ``STATX_MNT_ID_UNIQUE`` in linux/stat.h; ``fuse_getattr()`` in
    fs/fuse/dir.c.
    """
    statx = getattr(_libc, "statx", None)
    if statx is None:
        return 0
    status = ctypes.create_string_buffer(_SIZEOF_STATX)
    flags = _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC
    if statx(fd, b"", flags, ctypes.c_uint(_STATX_MNT_ID_UNIQUE), status):
        return 0
    (mask,) = struct.unpack_from("=I", status.raw)
    (mount_id,) = struct.unpack_from("=Q", status.raw, _STX_MNT_ID_OFFSET)
    return int(mount_id) if mask & _STATX_MNT_ID_UNIQUE else 0


def _last_error(target: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), target)
