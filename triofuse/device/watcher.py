"""The program that unmounts one mount when the process that made it dies.

The law: it runs as ``python -I -S watcher.py`` and imports nothing of the package.
`auto_unmount` starts it; its stdin is a socket to that process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
import sys

#: The messages that it sends: that it is ready, and the result of UNMOUNT.
READY = b"r"
GONE = b"g"
STAYS = b"s"

#: The messages that it receives after MOUNT: unmount now, alive or dead, or exit.
UNMOUNT = b"u"
DISMISSED = b"d"

#: The first message that it receives: the numbers of the mount, unique_id 0 if unknown.
MOUNT = struct.Struct("=QQ")  # mount_id unique_id

#: linux/mount.h, linux/fcntl.h and linux/stat.h have these.
_MNT_DETACH = 2
_AT_EMPTY_PATH = 0x1000
_O_PATH = getattr(os, "O_PATH", 0o10000000)  # PyPy has no name for it
_AT_STATX_DONT_SYNC = 0x4000
_STATX_MNT_ID_UNIQUE = 0x4000
_SIZEOF_STATX = 256
_STX_MNT_ID_OFFSET = 144


#: A result that is not sent: another mount is at the path of the mount.
_COVERED = b"c"

#: How often the mount is searched for; its directory may be renamed meanwhile.
_ATTEMPTS = 100

#: Milliseconds after which a covered mount is checked again.
_PERIOD = 1000


def main() -> None:
    """Wait until the socket is closed, then unmount the dead filesystem."""
    libc = ctypes.CDLL(None, use_errno=True)
    _send(READY)
    message = b""
    while received := _receive():
        message += received
        if len(message) > MOUNT.size and message.endswith(UNMOUNT):
            message = message[: MOUNT.size]
            _send(_unmount_now(libc, *MOUNT.unpack(message)))
    if len(message) != MOUNT.size:  # nothing was mounted, or DISMISSED was received
        return
    # Retry until the mount is gone, or another process is seen to serve it.
    with open("/proc/self/mountinfo", "rb") as mountinfo:
        changes = select.poll()
        changes.register(mountinfo, select.POLLPRI)
        while _unmount(libc, *MOUNT.unpack(message), only_dead=True) == _COVERED:
            changes.poll(_PERIOD)


def _send(message: bytes) -> None:
    try:  # noqa: SIM105  (contextlib takes as long to import as all the rest)
        os.write(0, message)
    except OSError:
        pass  # the server has died


def _receive() -> bytes:
    while True:
        try:
            return os.read(0, 64)
        except ConnectionResetError:
            continue  # the server died with unread input; its messages follow


def _unmount_now(libc: ctypes.CDLL, mount_id: int, unique_id: int) -> bytes:
    """Unmount a mount, alive or dead; return GONE or STAYS."""
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
        # Neither call sends a request to the filesystem: do_o_path() in fs/namei.c.
        fd = os.open(name or b".", _O_PATH | os.O_NOFOLLOW)
    except OSError:
        return _COVERED
    found = _numbers(libc, fd)
    if found != (mount_id, unique_id):
        os.close(fd)
        return _COVERED if found[0] != mount_id else GONE
    if only_dead and not _is_dead(fd):
        return STAYS
    # The descriptor names this mount even if the path changes.
    failed = libc.umount2(b"/proc/self/fd/%d" % fd, _MNT_DETACH)
    os.close(fd)
    if failed:
        _run_fusermount(name)
    return GONE if not failed or _place_of(mount_id) is None else STAYS


def _place_of(mount_id: int) -> bytes | None:
    """Return the current path of a mount; None if it is gone."""
    with open("/proc/self/mountinfo", "rb") as mountinfo:
        for line in mountinfo:
            fields = line.split(b" ")
            if int(fields[0]) == mount_id:
                return _unescape(fields[4])
    return None


def _unescape(field: bytes) -> bytes:
    # mangle() in fs/proc_namespace.c writes a space as \040.  `re` is not used:
    # importing it takes as long as all the rest.
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
    """Return whether no process serves the mount; another may have the device.

    Blocks until a server that is alive answers.
    """
    try:
        os.fstatvfs(fd)
    except OSError as exc:
        # ECONNABORTED: the connection ended during the request.
        return exc.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    return False


def _run_fusermount(name: bytes) -> None:
    program = sys.argv[1]
    if program:
        command = [program, "-u", "-z", "-q", "--", os.fsdecode(name)]
        os.spawnve(os.P_WAIT, program, command, {"LC_ALL": "C"})


if __name__ == "__main__":
    main()
