"""A place in the tree: may it be mounted on, and whose mount is there now."""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading

import attrs

from triofuse.device.fusermount import unmount_with_fusermount
from triofuse.device.holders import holders_of
from triofuse.device.libc import MNT_DETACH, O_PATH, UMOUNT_NOFOLLOW, umount2
from triofuse.device.mount_error import MountError
from triofuse.device.mountinfo import MountEntry, mount_id_of, read_mounts

__all__ = ["Mountpoint", "detach", "unmount"]

_logger = logging.getLogger(__name__)


@attrs.define(eq=False, repr=False)
class Mountpoint:
    """Where a filesystem is to be mounted: the owner of a descriptor of the place.

    What the descriptor leads to is what has been looked at and what is mounted on,
    whoever renames directories or swaps symbolic links in between.

    Attributes:
      path: As the user wrote it; once it is open absolute, without symbolic links.
      fd: With O_PATH; -1 while it is closed.
      rootmode: S_IFDIR or S_IFREG, which the root of the filesystem will be.
    """

    path: str
    fd: int = attrs.field(default=-1, init=False)
    rootmode: int = attrs.field(default=0, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def open(self, *, clear_stale: bool) -> None:
        """Look at the place; blocks as long as the filesystems on the way do.

        Args:
          clear_stale: Unmount what has died there.

        Raises:
          MountError: It cannot be mounted on.
        """
        fd = _open(self.path)
        try:
            while (mode := _mode(fd, self.path, clear_stale=clear_stale)) is None:
                place = _path_of(fd, self.path)
                _clear(fd, place)
                os.close(fd)
                fd = -1
                fd = _open(place)
            if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
                raise MountError(errno.ENOTDIR, self.path, "stat")
            self.path = _path_of(fd, self.path)
            self.rootmode = stat.S_IFMT(mode)
            with self._lock:
                if not self._closed:
                    self.fd, fd = fd, -1
        finally:
            if fd != -1:
                os.close(fd)

    def close(self) -> None:
        """Let go of the place; a thread that is still in ``open`` keeps nothing."""
        with self._lock:
            fd, self.fd, self._closed = self.fd, -1, True
        if fd != -1:
            os.close(fd)


def _open(path: str) -> int:
    # Symbolic links are followed here and never again.
    try:
        return os.open(path, O_PATH | os.O_CLOEXEC)
    except OSError as exc:
        raise MountError(exc.errno or errno.EIO, path, "stat") from None


def _path_of(fd: int, path: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError as exc:  # /proc is not there
        raise MountError(exc.errno or errno.EIO, path, "/proc/self/fd") from None


def _mode(fd: int, path: str, *, clear_stale: bool) -> int | None:
    """Return ``st_mode``; None if a dead filesystem is to be cleared away."""
    try:
        mode = os.fstat(fd).st_mode
        # Attributes may outlive their filesystem in the kernel's cache; the state of
        # the filesystem is asked for each time: fuse_statfs() in fs/fuse/inode.c.
        os.fstatvfs(fd)
        return mode
    except OSError as exc:
        if exc.errno == errno.ENOTCONN and clear_stale:
            return None
        raise MountError(exc.errno or errno.EIO, path, "stat") from None


def _clear(fd: int, path: str) -> None:
    try:
        mount_id, _ = mount_id_of(fd)
        mounts = read_mounts()
    except OSError as exc:
        raise MountError(exc.errno or errno.EIO, path, "stat") from None
    top = next((entry for entry in mounts if entry.mount_id == mount_id), None)
    if top is None or top.mount_point != path or not top.is_fuse:
        raise MountError(errno.ENOTCONN, path, "stat", remedy="what died is above it")
    detach(path, lazy=True, fd=fd)


def unmount(ours: MountEntry) -> None:
    """Unmount one's own mount and no other; that it is gone already is fine.

    Blocks while the kernel writes back, for which the server must go on answering
    or have closed its device.  What is in use is taken out of the tree; the log
    says who uses it.

    Raises:
      MountError: Another mount covers it, or it may not be unmounted.
    """
    reached = _reach(ours)
    if reached is None:
        return
    path, fd = reached
    os.close(fd)  # or it would be in use
    try:
        detach(path, lazy=False)
    except MountError as exc:
        # In use (EBUSY), or somebody was faster.
        if exc.errno == errno.EBUSY:
            held = "; ".join(holders_of(path)) or "somebody unknown"
            _logger.warning("%s is unmounted lazily, it is in use: %s", path, held)
        _detach_lazily(ours)


def _detach_lazily(ours: MountEntry) -> None:
    reached = _reach(ours)
    if reached is None:
        return
    path, fd = reached
    try:
        detach(path, lazy=True, fd=fd)
    finally:
        os.close(fd)


def _reach(ours: MountEntry) -> tuple[str, int] | None:
    """Return where a mount is now, for it moves with its parent, and a descriptor.

    The descriptor has O_PATH, and is the caller's to close.  None if the mount is
    gone.
    """
    path = _listed(ours)
    if path is None:
        return None
    fd = -1
    try:
        # An O_PATH descriptor asks the filesystem nothing: do_o_path() in fs/namei.c.
        fd = os.open(path, O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        mount_id, unique_id = mount_id_of(fd)
    except OSError as exc:
        reason = exc.errno or errno.EIO
    else:
        # The kernel gives numbers away again at once: the same number, and even the
        # same device, may be another mount.
        if (mount_id, unique_id) == (ours.mount_id, ours.unique_id or unique_id):
            return path, fd
        reason = errno.EBUSY if mount_id != ours.mount_id else 0
    if fd != -1:
        os.close(fd)
    # It is covered, unless somebody has unmounted it since it was listed.
    if not reason or _listed(ours) is None:
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


def detach(path: str, *, lazy: bool, fd: int | None = None) -> None:
    """Unmount what is at a path.

    Args:
      path: The mountpoint.
      lazy: Take it out of the tree even if it is in use (MNT_DETACH).
      fd: A descriptor of its root, if there is one: with it no path is walked. It
        is in use by that alone, so this is for ``lazy``.

    Raises:
      MountError: EBUSY: it is in use; EPERM: it is not ours to unmount.
    """
    target, flags = path, UMOUNT_NOFOLLOW
    if fd is not None:
        # That is a link to where the descriptor leads: proc_pid_get_link().
        target, flags = f"/proc/self/fd/{fd}", 0
    try:
        umount2(target, flags | (MNT_DETACH if lazy else 0))
    except OSError as exc:
        if exc.errno != errno.EPERM:
            raise MountError(exc.errno or errno.EIO, path, "umount2") from None
        unmount_with_fusermount(path, lazy=lazy)
