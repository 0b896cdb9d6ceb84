"""Which mounts there are, asked of the kernel and never of the mounts themselves.

The law: nothing here sends a request to a filesystem that is being looked at; it
may not have answered INIT, or may be served by the loop that is asking.
"""

from __future__ import annotations

import os
import re

import attrs

from triofuse.device.libc import O_PATH, unique_mount_id

__all__ = [
    "MountEntry",
    "connection_device",
    "decode_mountinfo",
    "entry_of",
    "identify",
    "mount_id_of",
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
    """

    mount_id: int
    device: tuple[int, int]
    mount_point: str
    fstype: str
    source: str
    unique_id: int = 0

    @property
    def is_fuse(self) -> bool:
        """Whether a FUSE server stands behind it."""
        return self.fstype.partition(".")[0] in {"fuse", "fuseblk"}


def read_mounts() -> list[MountEntry]:
    """Return all mounts that this process can see, the oldest of a place first.

    Raises:
      OSError: /proc is not there.
    """
    with open("/proc/self/mountinfo", "rb") as mountinfo:
        return decode_mountinfo(mountinfo.read())


def decode_mountinfo(text: bytes) -> list[MountEntry]:
    """Decode the contents of /proc/self/mountinfo."""
    return [_decode_line(line) for line in text.splitlines()]


def _decode_line(line: bytes) -> MountEntry:
    fields = line.split(b" ")
    # Before the dash stands any number of tags like shared:7.
    fstype, source = fields[fields.index(b"-", 6) + 1 :][:2]
    major, minor = fields[2].split(b":")
    return MountEntry(
        mount_id=int(fields[0]),
        device=(int(major), int(minor)),
        mount_point=_unescape(fields[4]),
        fstype=_unescape(fstype),
        source=_unescape(source),
    )


def _unescape(field: bytes) -> str:
    return os.fsdecode(_ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), field))


def mount_id_of(fd: int) -> tuple[int, int]:
    """Return the numbers of the mount that a descriptor is on.

    Args:
      fd: O_PATH will do, and fsmount(2) gives such.

    Returns:
      The number as in ``MountEntry.mount_id``, and the unique one or 0.

    Raises:
      OSError: /proc is not there.
    """
    return _fdinfo(fd, "mnt_id"), unique_mount_id(fd)


def connection_device(fd: int) -> tuple[int, int] | None:
    """Return the device number of the mount behind a descriptor of /dev/fuse.

    Returns:
      Major and minor as in ``MountEntry.device``; None where the kernel does not
      tell, or nothing is mounted.

    Source: ``fuse_dev_show_fdinfo()`` in fs/fuse/dev.c.
    """
    device = _fdinfo(fd, "fuse_connection")
    if not device:
        return None
    return device >> _MINORBITS, device & ((1 << _MINORBITS) - 1)


def identify(path: str, fd: int) -> MountEntry | None:
    """Find the mount that has just been made at a path.

    Args:
      path: The mountpoint.
      fd: The descriptor of /dev/fuse that serves it.

    Returns:
      The mount; None if somebody has unmounted it already.

    Raises:
      OSError: The path leads nowhere, or /proc is not there.
    """
    # An O_PATH descriptor asks the filesystem nothing: do_o_path() in fs/namei.c.
    root = os.open(path, O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return entry_of(root, fd)
    finally:
        os.close(root)


def entry_of(root: int, fd: int) -> MountEntry | None:
    """Find the mount that a descriptor is on, if it is what another one serves.

    Args:
      root: A descriptor of the mount, as for ``mount_id_of``.
      fd: The descriptor of /dev/fuse that serves it.

    Returns:
      The mount; if ``root`` is on another one, which may cover ours, then ours
      nevertheless; None if it is nowhere.

    Raises:
      OSError: /proc is not there.
    """
    mount_id, unique_id = mount_id_of(root)
    connection = connection_device(fd)
    mounts = read_mounts()
    for entry in mounts:
        ours = entry.device == connection if connection else entry.is_fuse
        if entry.mount_id == mount_id and ours:
            return attrs.evolve(entry, unique_id=unique_id)
    covered = (entry for entry in mounts if entry.device == connection)
    return next(covered, None)


def _fdinfo(fd: int, key: str) -> int:
    with open(f"/proc/self/fdinfo/{fd}") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name == key:
                return int(value)
    return 0
