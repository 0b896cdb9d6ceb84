"""Which mounts there are, asked of the kernel and never of the mounts themselves.

The law: nothing here sends a request to a filesystem that is being looked at; it
may not have answered INIT, or may be served by the loop that is asking.
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
      mount_id: The mount's number, given to another one as soon as it is free.
      device: Major and minor number of the filesystem; they too are given away.
      mount_point: Where the mount is now.
      fstype: As mount(2) was told, ``fuse`` or ``fuse.subtype`` for instance.
      source: As mount(2) was told.
      unique_id: The number that no other mount ever has, 0 where it is not known.
      parent_id: ``mount_id`` of the mount on which it stands.
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
        """Whether a FUSE server stands behind it."""
        return self.fstype.partition(".")[0] in {"fuse", "fuseblk"}


def read_mounts() -> list[MountEntry]:
    """Return all mounts that this thread can see, the oldest of a place first.

    Raises:
      OSError: /proc is not there.
    """
    with open("/proc/thread-self/mountinfo", "rb") as mountinfo:
        return decode_mountinfo(mountinfo.read())


def decode_mountinfo(text: bytes) -> list[MountEntry]:
    """Decode the contents of /proc/self/mountinfo.

    A newline ends a line and nothing else does: any user can have a carriage return in
    a name.  A line that makes no sense hides no other one.
    """
    return list(_decode_lines(text.split(b"\n")))


def _decode_lines(lines: list[bytes]) -> Iterator[MountEntry]:
    for line in lines:
        with suppress(ValueError, IndexError):
            yield _decode_line(line)


def _decode_line(line: bytes) -> MountEntry:
    fields = line.split(b" ")
    # Before the dash stands any number of tags like shared:7.
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
    """Return what stands on a mount, on its root too, directly or not."""
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
    """Return which mount a file of the current directory is on.

    Raises:
      OSError: As ``numbers_at`` does, or /proc is not there where that is needed.
    """
    with suppress(OSError):
        numbers = numbers_at(name)
        if numbers.mount_id:
            return numbers
    # An O_PATH descriptor asks the filesystem nothing: do_o_path() in fs/namei.c.
    fd = os.open(name, O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return numbers_of(fd)
    finally:
        os.close(fd)


def numbers_of(fd: int) -> MountNumbers:
    """Return the mount that a descriptor is on.

    Args:
      fd: O_PATH will do, and fsmount(2) gives such.

    Raises:
      OSError: /proc is not there, and statx(2) does not tell.
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
      tell, or nothing is mounted.

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
