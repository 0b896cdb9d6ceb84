"""The program that unmounts one mount when the program that made it dies.

The law: it runs alone, as ``python -I -S watcher.py``, and so knows nothing of the
rest of the package; `auto_unmount` starts it and is the other end of its stdin, a
socket.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
import sys

#: What it says: that it watches, and what has come of UNMOUNT.
READY = b"r"
GONE = b"g"
STAYS = b"s"

#: What it is told, after MOUNT: to unmount a mount that may live, or to go.
UNMOUNT = b"u"
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


#: What it does not say: that something else is at the place of the mount.
_COVERED = b"c"

#: How often the mount is looked for while its directory may be on the move.
_ATTEMPTS = 100

#: Milliseconds after which a mount that was covered is looked for again.
_PERIOD = 1000


def main() -> None:
    """Wait for the end of the socket, then unmount what has died."""
    libc = ctypes.CDLL(None, use_errno=True)
    _say(READY)
    message = b""
    while received := _hear():
        message += received
        if len(message) > MOUNT.size and message.endswith(UNMOUNT):
            message = message[: MOUNT.size]
            _say(_unmount_now(libc, *MOUNT.unpack(message)))
    if len(message) != MOUNT.size:  # nothing was mounted, or all was put in order
        return
    # Until it is seen to be gone, or to live on elsewhere.
    with open("/proc/self/mountinfo", "rb") as mountinfo:
        changes = select.poll()
        changes.register(mountinfo, select.POLLPRI)
        while _unmount(libc, *MOUNT.unpack(message), only_dead=True) == _COVERED:
            changes.poll(_PERIOD)


def _say(word: bytes) -> None:
    try:  # noqa: SIM105  (contextlib takes as long to import as all the rest)
        os.write(0, word)
    except OSError:
        pass  # nobody is there any more


def _hear() -> bytes:
    while True:
        try:
            return os.read(0, 64)
        except ConnectionResetError:
            continue  # it died and has not read all: what it has said comes now


def _unmount_now(libc: ctypes.CDLL, mount_id: int, unique_id: int) -> bytes:
    """Unmount a mount, whether or not it lives; return GONE or STAYS."""
    for _ in range(_ATTEMPTS):
        try:
            result = _unmount(libc, mount_id, unique_id, only_dead=False)
        except OSError:
            return STAYS
        if result != _COVERED:
            return result
    return STAYS


def _unmount(
    libc: ctypes.CDLL, mount_id: int, unique_id: int, *, only_dead: bool
) -> bytes:
    """Unmount a mount; return GONE, STAYS or _COVERED."""
    path = _place_of(mount_id)
    if path is None:
        return GONE
    directory, _, name = path.rpartition(b"/")
    try:
        os.chdir(directory or b"/")
        # Neither of these asks the filesystem anything: do_o_path() in fs/namei.c.
        fd = os.open(name or b".", _O_PATH | os.O_NOFOLLOW)
    except OSError:
        return _COVERED
    found = _numbers(libc, fd)
    if found != (mount_id, unique_id):
        os.close(fd)
        return _COVERED if found[0] != mount_id else GONE
    if only_dead and not _is_dead(fd):
        return STAYS
    # By the descriptor it is this mount and no other, whatever happens to the path.
    failed = libc.umount2(b"/proc/self/fd/%d" % fd, _MNT_DETACH)
    os.close(fd)
    if failed:
        _ask_fusermount(name)
    return GONE if not failed or _place_of(mount_id) is None else STAYS


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
    with open(f"/proc/self/fdinfo/{fd}", "rb") as fdinfo:
        lines = fdinfo.read().split(b"\n")
    numbers = dict(line.split(b":", 1) for line in lines if b":" in line)
    return int(numbers[b"mnt_id"]), unique_id


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


def _ask_fusermount(name: bytes) -> None:
    program = sys.argv[1]
    if program:
        command = [program, "-u", "-z", "-q", "--", os.fsdecode(name)]
        os.spawnve(os.P_WAIT, program, command, {"LC_ALL": "C"})


if __name__ == "__main__":
    main()
