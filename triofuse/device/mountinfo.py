"""The list of mounts, read from /proc and statx(2).

The law: nothing here sends a request to the filesystem that is looked at.  It may not
have answered INIT, or the event loop that calls may be the one that serves it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress

import attrs

from triofuse.device.libc import O_PATH, MountNumbers, numbers_at

__all__ = [
    "MountEntry",
    "connection_device",
    "decode_mountinfo",
    "mounts_below",
    "numbers_here",
    "numbers_of",
    "read_mounts",
]

#: A space in a mount point is written \040; mangle() in fs/proc_namespace.c.
_ESCAPED = re.compile(rb"\\([0-7]{3})")

#: Bits of a minor number in the kernel's own dev_t (linux/kdev_t.h).
_MINORBITS = 20


@attrs.frozen
class MountEntry:
    """A line of /proc/self/mountinfo.

    Source: ``show_mountinfo()`` in fs/proc_namespace.c.

    Attributes:
      mount_id: The number of the mount; the kernel reuses it after the unmount.
      device: Major and minor number of the filesystem; reused as well.
      mount_point: The current path of the mount.
      fstype: The type given to mount(2), ``fuse`` or ``fuse.subtype`` for instance.
      source: The source given to mount(2).
      unique_id: The number that is never reused; 0 where it is not known.
      parent_id: ``mount_id`` of the mount that it is mounted on.
    """

    mount_id: int
    device: tuple[int, int]
    mount_point: str
    fstype: str
    source: str
    unique_id: int = 0
    parent_id: int = attrs.field(default=0, eq=False)

    @property
    def is_fuse(self) -> bool:
        """Whether it is a FUSE filesystem."""
        return self.fstype.partition(".")[0] in {"fuse", "fuseblk"}


def read_mounts() -> list[MountEntry]:
    """Return all mounts that this thread can see; at one path the oldest comes first.

    Raises:
      OSError: /proc is not mounted.
    """
    with open("/proc/thread-self/mountinfo", "rb") as mountinfo:
        return decode_mountinfo(mountinfo.read())


def decode_mountinfo(text: bytes) -> list[MountEntry]:
    """Decode the contents of /proc/self/mountinfo.

    Only a newline ends a line: a name may contain a carriage return.  A malformed line
    is skipped.
    """
    return list(_decode_lines(text.split(b"\n")))


def _decode_lines(lines: list[bytes]) -> Iterator[MountEntry]:
    for line in lines:
        with suppress(ValueError, IndexError):
            yield _decode_line(line)


def _decode_line(line: bytes) -> MountEntry:
    fields = line.split(b" ")
    # Any number of tags like shared:7 precede the dash.
    dash = fields.index(b"-", 6)
    major, minor = fields[2].split(b":")
    return MountEntry(
        mount_id=int(fields[0]),
        device=(int(major), int(minor)),
        mount_point=_unescape(fields[4]),
        fstype=_unescape(fields[dash + 1]),
        source=_unescape(fields[dash + 2]),
        parent_id=int(fields[1]),
    )


def mounts_below(mount_id: int, mounts: list[MountEntry]) -> list[MountEntry]:
    """Return the mounts on a mount, on its root too, directly or not."""
    found: list[MountEntry] = []
    parents = {mount_id}
    while True:
        more = [m for m in mounts if m.parent_id in parents and m not in found]
        if not more:
            return found
        found += more
        parents |= {entry.mount_id for entry in more}


def _unescape(field: bytes) -> str:
    return os.fsdecode(_ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), field))


def numbers_here(name: str) -> MountNumbers:
    """Return the numbers of the mount that a file of the current directory is on.

    Raises:
      OSError: As ``numbers_at``; or /proc is needed and not mounted.
    """
    with suppress(OSError):
        numbers = numbers_at(name)
        if numbers.mount_id:
            return numbers
    # Opening with O_PATH sends no request: do_o_path() in fs/namei.c.
    fd = os.open(name, O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return numbers_of(fd)
    finally:
        os.close(fd)


def numbers_of(fd: int) -> MountNumbers:
    """Return the numbers of the mount that a descriptor is on.

    Args:
      fd: A descriptor; O_PATH is enough, and that of fsmount(2) is one.

    Raises:
      OSError: /proc is not mounted, and statx(2) does not report the mount.
    """
    with suppress(OSError):
        numbers = numbers_at("", fd)
        if numbers.mount_id:
            return numbers
    mount_id = _fdinfo(fd, b"mnt_id")
    listed = (entry for entry in read_mounts() if entry.mount_id == mount_id)
    return next(
        (MountNumbers(mount_id, 0, entry.device) for entry in listed),
        MountNumbers(mount_id, 0, (0, 0)),
    )


def connection_device(fd: int) -> tuple[int, int] | None:
    """Return the device number of the mount behind a descriptor of /dev/fuse.

    Returns:
      Major and minor as in ``MountEntry.device``; None where the kernel does not
      report it, or nothing is mounted.

    Source: ``fuse_dev_show_fdinfo()`` in fs/fuse/dev.c.
    """
    device = _fdinfo(fd, b"fuse_connection")
    if not device:
        return None
    return device >> _MINORBITS, device & ((1 << _MINORBITS) - 1)


def _fdinfo(fd: int, key: bytes) -> int:
    with open(f"/proc/thread-self/fdinfo/{fd}", "rb") as fdinfo:
        for line in fdinfo.read().split(b"\n"):
            name, _, value = line.partition(b":")
            if name == key:
                return int(value)
    return 0
