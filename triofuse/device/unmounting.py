"""Unmounting one's own mount, and no other.

The law: what is unmounted is the last part of a path in a directory that has been
entered, after a look at what is there; the path is never walked twice.  A name on which
something is mounted is not renamed nor removed by anybody (``d_mountpoint`` in
fs/namei.c).  None of this needs a descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from typing import Final

from triofuse.device.fusermount import unmount_with_fusermount
from triofuse.device.holders import holders_of
from triofuse.device.libc import (
    MNT_DETACH,
    UMOUNT_NOFOLLOW,
    mount_point_of,
    umount2,
)
from triofuse.device.mount_error import MountError
from triofuse.device.mountinfo import (
    MountEntry,
    mounts_below,
    numbers_here,
    read_mounts,
)
from triofuse.filesystem.words import shown

__all__ = ["detach_here", "is_mounted", "unmount", "unmount_copies"]

_logger = logging.getLogger(__name__)

#: Its directory may be renamed while it is looked for, as often as somebody likes.
_ATTEMPTS: Final = 100

#: The step that looks for the mount at its place.
_FIND: Final = "find the mount"

#: Either it is in use, or it was moved between two looks.
_MAY_PASS: Final = frozenset({errno.EBUSY, errno.ENOENT, errno.ENOTDIR, errno.EINVAL})


def unmount(ours: MountEntry) -> None:
    """Unmount one's own mount; returns when it is seen to be gone.

    To be called in a `MountThread`, for the current directory is changed.

    Blocks while the kernel writes back, for which the server must go on answering
    or have closed its device.  What is in use is taken out of the tree; the log
    says who uses it.

    Raises:
      MountError: Another mount covers it, or it may not be unmounted.
    """
    lazy = False
    error: MountError | None = None
    try:
        for _ in range(_ATTEMPTS):
            path = _place_of(ours)
            if path is None:
                return
            try:
                detach_here(_enter(ours, path), path, lazy=lazy)
            except MountError as exc:
                if exc.errno not in _MAY_PASS:
                    raise
                if exc.errno == errno.EBUSY and exc.step != _FIND and not lazy:
                    _tell_who_uses(ours, path)
                    lazy = True
                error = exc
    finally:
        os.chdir("/")
    if error is not None:
        raise error


def unmount_copies(ours: MountEntry) -> None:
    """Unmount what mount --bind has made of one's own mount, which dies with it.

    To be called while it is mounted itself: until then nothing else has its device.
    """
    try:
        mounts = read_mounts()
    except OSError:
        return
    if all(entry.mount_id != ours.mount_id for entry in mounts):
        return
    device = next(e.device for e in mounts if e.mount_id == ours.mount_id)
    for copy in mounts:
        if copy.device != device or copy.mount_id == ours.mount_id:
            continue
        try:
            unmount(copy)
        except MountError as exc:
            _logger.warning("a copy of %s stays: %s", shown(ours.mount_point), exc)


def is_mounted(ours: MountEntry) -> bool:
    """Whether a mount is still there, as far as this thread can see.

    Raises:
      MountError: /proc is not there, and the kernel is older than 6.8.
    """
    return _place_of(ours) is not None


def _place_of(ours: MountEntry) -> str | None:
    """Return where a mount is now, for it moves with its parent; None if it is gone."""
    if ours.unique_id:
        try:
            return mount_point_of(ours.unique_id)
        except OSError as exc:
            if exc.errno == errno.ENOENT:
                return None
    try:
        mounts = read_mounts()
    except OSError as exc:
        number = exc.errno or errno.EIO
        raise MountError(number, ours.mount_point, "umount2") from None
    for entry in mounts:
        same = entry.device == ours.device if any(ours.device) else entry.is_fuse
        if same and entry.mount_id == ours.mount_id:
            return entry.mount_point
    return None


def _enter(ours: MountEntry, path: str) -> str:
    """Enter the directory of a mount, and return its name there.

    Raises:
      MountError: Something else is there: it is covered, or has just been moved.
    """
    directory, name = os.path.split(path)
    name = name or "."
    try:
        os.chdir(directory)
        numbers = numbers_here(name)
    except OSError as exc:
        raise MountError(exc.errno or errno.EIO, path, _FIND) from None
    # The kernel gives numbers away again at once: the same number, and even the same
    # device, may be another mount.  It does not tell the unique one to another user.
    is_same = numbers.unique_id == ours.unique_id or 0 in {
        numbers.unique_id,
        ours.unique_id,
    }
    if numbers.mount_id != ours.mount_id or not is_same:
        raise MountError(errno.EBUSY, path, _FIND)
    return name


def detach_here(name: str, path: str, *, lazy: bool) -> None:
    """Unmount what is at a name of the current directory.

    Args:
      name: The name.
      path: The mountpoint, for errors.
      lazy: Take it out of the tree even if it is in use (MNT_DETACH).

    Raises:
      MountError: EBUSY: it is in use; EPERM: it is not ours to unmount.
    """
    try:
        umount2(name, UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0))
    except OSError as exc:
        if exc.errno != errno.EPERM:
            raise MountError(exc.errno or errno.EIO, path, "umount2") from None
        unmount_with_fusermount(name, path, lazy=lazy)


def _tell_who_uses(ours: MountEntry, path: str) -> None:
    """Log it; whatever is wrong with that does not hinder unmounting."""
    below: list[str] = []
    held = ""
    with contextlib.suppress(Exception):
        found = mounts_below(ours.mount_id, read_mounts())
        below = [shown(entry.mount_point) for entry in found]
    with contextlib.suppress(Exception):
        held = "; ".join(holders_of(path))
    held = held or "somebody unknown"
    _logger.warning("%s is unmounted lazily, it is in use: %s", shown(path), held)
    if below:
        message = "%s: what is mounted on it is unmounted with it: %s"
        _logger.warning(message, shown(path), "; ".join(below))
