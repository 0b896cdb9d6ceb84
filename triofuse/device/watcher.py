"""The program that unmounts one mount when the program that made it dies.

The law: it runs alone, as ``python -I -S watcher.py``, and so knows nothing of the
rest of the package; `auto_unmount` starts it and is the other end of its stdin, a
socket.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

READY = b"r"
DISMISSED = b"d"

#: What is to be watched: the numbers of the mount, the second one 0 if unknown.
MOUNT = struct.Struct("=QQ")  # mount_id unique_id

#: linux/mount.h, linux/fcntl.h and linux/stat.h have these.
_MNT_DETACH = 2
_AT_EMPTY_PATH = 0x1000
_O_PATH = getattr(os, "O_PATH", 0o10000000)  # PyPy has no name for it
_AT_STATX_DONT_SYNC = 0x4000
_STATX_MNT_ID_UNIQUE = 0x4000
_SIZEOF_STATX = 256
_STX_MNT_ID_OFFSET = 144


def main() -> None:
    """Wait for the end of the socket, then unmount what has died."""
    os.write(0, READY)
    message = b""
    while received := os.read(0, 64):
        message += received
    if len(message) != MOUNT.size:  # nothing was mounted, or all was put in order
        return
    mount_id, unique_id = MOUNT.unpack(message)
    libc = ctypes.CDLL(None, use_errno=True)
    path = _place_of(mount_id)
    if path is None:
        return
    # Neither of these asks the filesystem anything: do_o_path() in fs/namei.c.
    fd = os.open(path, _O_PATH | os.O_NOFOLLOW)
    if _numbers(libc, fd) != (mount_id, unique_id) or not _is_dead(fd):
        return
    # By the descriptor it is this mount and no other, whatever happens to the path.
    if libc.umount2(b"/proc/self/fd/%d" % fd, _MNT_DETACH):
        os.close(fd)
        _ask_fusermount(path)


def _place_of(mount_id: int) -> bytes | None:
    """Return where a mount is now; None if it is gone."""
    with open("/proc/self/mountinfo", "rb") as mountinfo:
        for line in mountinfo:
            fields = line.split(b" ")
            if int(fields[0]) == mount_id:
                return _unescape(fields[4])
    return None


def _unescape(field: bytes) -> bytes:
    # mangle() in fs/proc_namespace.c writes a space as \040. Not `re`: importing it
    # takes as long as all the rest.
    first, *others = field.split(b"\\")
    return first + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in others)


def _numbers(libc: ctypes.CDLL, fd: int) -> tuple[int, int]:
    """Return the numbers of a descriptor's mount, as in ``MOUNT``."""
    status = ctypes.create_string_buffer(_SIZEOF_STATX)
    flags = _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC
    unique_id = 0
    if hasattr(libc, "statx") and not libc.statx(
        fd, b"", flags, ctypes.c_uint(_STATX_MNT_ID_UNIQUE), status
    ):
        (mask,) = struct.unpack_from("=I", status.raw)
        if mask & _STATX_MNT_ID_UNIQUE:
            (unique_id,) = struct.unpack_from("=Q", status.raw, _STX_MNT_ID_OFFSET)
    with open(f"/proc/self/fdinfo/{fd}") as lines:
        numbers = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(numbers["mnt_id"]), unique_id


def _is_dead(fd: int) -> bool:
    """Whether nobody serves it: the device may have been passed on and live.

    Waits as long as the server lets it.
    """
    try:
        os.fstatvfs(fd)
    except OSError as exc:
        # ECONNABORTED: it died while it was asked.
        return exc.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    return False


def _ask_fusermount(path: bytes) -> None:
    program = sys.argv[1]
    if program:
        place = os.fsdecode(path)
        os.execve(program, [program, "-u", "-z", "-q", "--", place], {"LC_ALL": "C"})


if __name__ == "__main__":
    main()
