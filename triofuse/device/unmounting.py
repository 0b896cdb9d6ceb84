"""Unmounting this process's own mount, and no other.

The law: enter the parent directory, check what is mounted at the name there, unmount the
name; the path is never walked twice.  A name that is a mountpoint cannot be renamed or
removed (``d_mountpoint`` in fs/namei.c).  None of this needs a descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from typing import Final

from triofuse.device.fusermount import unmount_with_fusermount
from triofuse.device.libc import (
    MNT_DETACH,
    UMOUNT_NOFOLLOW,
    mount_point_of,
    umount2,
)
from triofuse.device.mount_error import MountError
from triofuse.device.mount_users import users_of
from triofuse.device.mountinfo import (
    MountEntry,
    mounts_below,
    numbers_here,
    read_mounts,
)
from triofuse.filesystem.words import shown

__all__ = ["detach_here", "is_mounted", "unmount", "unmount_copies"]

_logger = logging.getLogger(__name__)

#: The directory of a mount may be renamed at any time, and then the search is retried.
_ATTEMPTS: Final = 100

#: The step that checks which mount is at the path.
_FIND: Final = "find the mount"

#: Errors that are retried: the mount is in use, or was moved between two checks.
_RETRIED: Final = frozenset({errno.EBUSY, errno.ENOENT, errno.ENOTDIR, errno.EINVAL})


def unmount(ours: MountEntry) -> None:
    """Unmount this process's own mount; returns when the mount is gone.

    Call it in a `MountThread`, for it changes the current directory.

    Blocks while the kernel writes back its cache: the server must answer requests, or
    have closed its device.  A mount that is in use is detached from the tree; the log
    lists its users.

    Raises:
      MountError: Another mount covers it, or this user may not unmount it.
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
                if exc.errno not in _RETRIED:
                    raise
                if exc.errno == errno.EBUSY and exc.step != _FIND and not lazy:
                    _log_users(ours, path)
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
    """Return whether a mount still exists, as far as this thread can see.

    Raises:
      MountError: /proc is not mounted, and the kernel is older than 6.8.
    """
    return _place_of(ours) is not None


def _place_of(ours: MountEntry) -> str | None:
    """Return the current path of a mount, which moves with its parent; None if gone."""
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
    """Enter the parent directory of a mount, and return the name of the mount.

    Raises:
      MountError: Another mount is there: ours is covered, or was just moved.
    """
    directory, name = os.path.split(path)
    name = name or "."
    try:
        os.chdir(directory)
        numbers = numbers_here(name)
    except OSError as exc:
        raise MountError(exc.errno or errno.EIO, path, _FIND) from None
    # The kernel reuses numbers at once: the same mount_id, even with the same device,
    # may be another mount.  It does not tell the unique one to another user.
    is_same = numbers.unique_id == ours.unique_id or 0 in {
        numbers.unique_id,
        ours.unique_id,
    }
    if numbers.mount_id != ours.mount_id or not is_same:
        raise MountError(errno.EBUSY, path, _FIND)
    return name


def detach_here(name: str, path: str, *, lazy: bool) -> None:
    """Unmount what is mounted at a name of the current directory.

    Args:
      name: The name.
      path: The mountpoint, for errors.
      lazy: Detach it from the tree even if it is in use (MNT_DETACH).

    Raises:
      MountError: EBUSY: it is in use; EPERM: this user may not unmount it.
    """
    try:
        umount2(name, UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0))
    except OSError as exc:
        if exc.errno != errno.EPERM:
            raise MountError(exc.errno or errno.EIO, path, "umount2") from None
        unmount_with_fusermount(name, path, lazy=lazy)


def _log_users(ours: MountEntry, path: str) -> None:
    """Log the users of a mount; errors of that do not prevent unmounting."""
    below: list[str] = []
    users = ""
    with contextlib.suppress(Exception):
        found = mounts_below(ours.mount_id, read_mounts())
        below = [shown(entry.mount_point) for entry in found]
    with contextlib.suppress(Exception):
        users = "; ".join(users_of(path))
    users = users or "its users are not known"
    _logger.warning("%s is unmounted lazily, it is in use: %s", shown(path), users)
    if below:
        message = "%s: what is mounted on it is unmounted with it: %s"
        _logger.warning(message, shown(path), "; ".join(below))
