"""Mounting by fusermount3, and checking where it has mounted.

fusermount3 walks the path to the mountpoint again, with the rights of its user, and the
path may have changed.  So the directory is entered before, and checked afterwards.
"""

from __future__ import annotations

import contextlib
import errno

from triofuse.device.auto_unmount import Watcher
from triofuse.device.dev_fuse import DevFuse
from triofuse.device.direct_mount import entry_made
from triofuse.device.fusermount import find_fusermount, mount_with_fusermount
from triofuse.device.libc import MountNumbers
from triofuse.device.mount_error import MountError
from triofuse.device.mountinfo import (
    MountEntry,
    connection_device,
    numbers_here,
    read_mounts,
)
from triofuse.device.mountpoint import Mountpoint
from triofuse.device.options import MountOptions
from triofuse.device.unmounting import unmount

__all__ = ["mount_indirectly"]


def mount_indirectly(
    place: Mountpoint, options: MountOptions, watcher: Watcher | None
) -> tuple[DevFuse, MountEntry]:
    """Mount by fusermount3; blocks until it ends.

    Call it in a `MountThread`, for it changes the current directory.

    Args:
      place: The mountpoint, open.
      options: The mount options.
      watcher: The watcher process, which is told the mount.

    Returns:
      The device and the mount.

    Raises:
      MountError: The mount failed; nothing is mounted.
    """
    program = find_fusermount()
    if program is None:
        raise MountError(errno.EPERM, place.path, "mount(2)")
    name = place.enter_parent()
    before = numbers_here(name)
    device = None
    try:
        device = mount_with_fusermount(program, place.path, options)
        entry = _entry_here(place, name, before)
        if entry is None:
            raise _mounted_elsewhere(place, device)
        if watcher is not None:
            watcher.watch(entry.mount_id, entry.unique_id)
    except BaseException:
        _undo(place, name, before, device)
        raise
    return device, entry


def _entry_here(
    place: Mountpoint, name: str, before: MountNumbers
) -> MountEntry | None:
    """Return the new mount at a name of the current directory; None if there is none."""
    numbers = numbers_here(name)
    return None if numbers == before else entry_made(place, numbers)


def _entry_of(device: DevFuse | None) -> MountEntry | None:
    """Return the mount of a device, wherever it is."""
    connection = device and connection_device(device.fd)
    mounts = read_mounts() if connection else []
    return next((entry for entry in mounts if entry.device == connection), None)


def _mounted_elsewhere(place: Mountpoint, device: DevFuse) -> MountError:
    entry = _entry_of(device)
    if entry is None:
        return MountError(errno.ENOENT, place.path, "fusermount3", "unmounted at once")
    words = f"the path to it was changed meanwhile, and led to {entry.mount_point}"
    return MountError(errno.ESTALE, place.path, "fusermount3", words)


def _undo(
    place: Mountpoint, name: str, before: MountNumbers, device: DevFuse | None
) -> None:
    """Unmount what fusermount3 has mounted, if anything, here or elsewhere."""
    entry = None
    with contextlib.suppress(OSError):
        entry = _entry_here(place, name, before)
    with contextlib.suppress(OSError):
        entry = entry or _entry_of(device)
    if device is not None:
        device.close()
    if entry is not None:
        with contextlib.suppress(OSError):
            unmount(entry)
