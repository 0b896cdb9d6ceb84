"""A place in the tree: may it be mounted on, and whose mount is there now."""

from __future__ import annotations

import errno
import os
import stat

import attrs

from triofuse.device.fusermount import unmount_with_fusermount
from triofuse.device.libc import MNT_DETACH, UMOUNT_NOFOLLOW, umount2
from triofuse.device.mount_error import MountError
from triofuse.device.mountinfo import MountEntry, mount_id_at, read_mounts

__all__ = ["Mountpoint", "check_mountpoint", "detach", "unmount"]


@attrs.frozen
class Mountpoint:
    """Where a filesystem is to be mounted.

    Attributes:
      path: Absolute, without symbolic links.
      rootmode: S_IFDIR or S_IFREG, which the root of the filesystem will be.
    """

    path: str
    rootmode: int


def check_mountpoint(mountpoint: str, *, clear_stale: bool) -> Mountpoint:
    """Look at a mountpoint; blocks as long as the filesystems on the way do.

    Args:
      mountpoint: As the user wrote it.
      clear_stale: Unmount what has died there.

    Raises:
      MountError: It cannot be mounted on.
    """
    try:
        path = os.path.realpath(mountpoint)
    except OSError as exc:  # the current directory has been removed
        raise MountError(exc.errno or errno.EIO, mountpoint, "stat") from None
    while (mode := _mode(path, clear_stale=clear_stale)) is None:
        _clear(path)
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise MountError(errno.ENOTDIR, path, "stat")
    return Mountpoint(path, stat.S_IFMT(mode))


def _mode(path: str, *, clear_stale: bool) -> int | None:
    """Return ``st_mode``; None if a dead filesystem is to be cleared away."""
    try:
        mode = os.stat(path).st_mode
        # Attributes may outlive their filesystem in the kernel's cache; the state of
        # the filesystem is asked for each time: fuse_statfs() in fs/fuse/inode.c.
        os.statvfs(path)
        return mode
    except OSError as exc:
        if exc.errno == errno.ENOTCONN and clear_stale:
            return None
        raise MountError(exc.errno or errno.EIO, path, "stat") from None


def _clear(path: str) -> None:
    try:
        mount_id, _ = mount_id_at(path)
        mounts = read_mounts()
    except OSError as exc:
        raise MountError(exc.errno or errno.EIO, path, "stat") from None
    top = next((entry for entry in mounts if entry.mount_id == mount_id), None)
    if top is None or top.mount_point != path or not top.is_fuse:
        raise MountError(errno.ENOTCONN, path, "stat", remedy="what died is above it")
    detach(path, lazy=True)


def unmount(ours: MountEntry) -> None:
    """Unmount one's own mount and no other; that it is gone already is fine.

    Blocks while the kernel writes back, for which the server must go on answering
    or have closed its device.

    Raises:
      MountError: Another mount covers it, or it may not be unmounted.
    """
    for lazy in (False, True):
        path = _place_of(ours)
        if path is None:
            return
        try:
            detach(path, lazy=lazy)
        except MountError:
            # The first time: in use (EBUSY), or somebody was faster.
            if lazy:
                raise
        else:
            return


def _place_of(ours: MountEntry) -> str | None:
    """Return where a mount is now, for it moves with its parent; None if it is gone."""
    path = _listed(ours)
    if path is None:
        return None
    try:
        mount_id, unique_id = mount_id_at(path)
    except OSError as exc:
        reason = exc.errno or errno.EIO
    else:
        if mount_id == ours.mount_id:
            # The kernel gives numbers away again at once: the same number, and even
            # the same device, may be another mount.
            known = ours.unique_id and unique_id
            return None if known and unique_id != ours.unique_id else path
        reason = errno.EBUSY
    # It is covered, unless somebody has unmounted it since it was listed.
    if _listed(ours) is None:
        return None
    raise MountError(reason, path, "umount2")


def _listed(ours: MountEntry) -> str | None:
    try:
        mounts = read_mounts()
    except OSError as exc:
        number = exc.errno or errno.EIO
        raise MountError(number, ours.mount_point, "umount2") from None
    for entry in mounts:
        if (entry.mount_id, entry.device) == (ours.mount_id, ours.device):
            return entry.mount_point
    return None


def detach(path: str, *, lazy: bool) -> None:
    """Unmount what is at a path.

    Args:
      path: The mountpoint.
      lazy: Take it out of the tree even if it is in use (MNT_DETACH).

    Raises:
      MountError: EBUSY: it is in use; EPERM: it is not ours to unmount.
    """
    try:
        umount2(path, UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0))
    except OSError as exc:
        if exc.errno != errno.EPERM:
            raise MountError(exc.errno or errno.EIO, path, "umount2") from None
        unmount_with_fusermount(path, lazy=lazy)
