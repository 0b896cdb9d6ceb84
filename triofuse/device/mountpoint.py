"""The mountpoint, opened and checked before mounting."""

from __future__ import annotations

import errno
import os
import stat
import threading

import attrs

from triofuse.device.fusermount import unmount_with_fusermount
from triofuse.device.libc import MNT_DETACH, O_PATH, umount2
from triofuse.device.mount_error import MountError
from triofuse.device.mountinfo import (
    MountEntry,
    mounts_below,
    numbers_of,
    read_mounts,
)
from triofuse.filesystem.words import shown

__all__ = ["Mountpoint"]


@attrs.define(eq=False, repr=False)
class Mountpoint:
    """The owner of a descriptor of the place where a filesystem is to be mounted.

    The check and the mount use the same descriptor, so renamed directories and swapped
    symbolic links in between have no effect.

    Attributes:
      path: As the user wrote it; after ``open`` absolute and without symbolic links.
      fd: The descriptor, with O_PATH; -1 while it is closed.
      rootmode: The type of the filesystem's root, S_IFDIR or S_IFREG.
    """

    path: str
    fd: int = attrs.field(default=-1, init=False)
    rootmode: int = attrs.field(default=0, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def open(self, *, clear_stale: bool) -> None:
        """Open and check the place; blocks while filesystems on the path block.

        Args:
          clear_stale: Unmount a dead FUSE filesystem there.

        Raises:
          MountError: The place cannot be mounted on.
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

    def enter_parent(self) -> str:
        """Enter the parent directory of the place, and return the name of the place.

        Call it in a `MountThread`, for it changes the current directory.

        Raises:
          MountError: The place is gone.
        """
        try:
            path = os.readlink(f"/proc/self/fd/{self.fd}")
            if self.rootmode == stat.S_IFDIR:
                os.fchdir(self.fd)
                os.chdir("..")
            else:
                os.chdir(os.path.dirname(path))
            name = os.path.basename(path) or "."
            place, found = os.fstat(self.fd), os.stat(name, follow_symlinks=False)
        except OSError as exc:
            raise MountError(exc.errno or errno.EIO, self.path, "mount(2)") from None
        if not os.path.samestat(place, found):
            raise MountError(errno.ENOENT, self.path, "mount(2)")
        return name

    def close(self) -> None:
        """Close the descriptor; a thread still in ``open`` closes its own."""
        with self._lock:
            fd, self.fd, self._closed = self.fd, -1, True
        if fd != -1:
            os.close(fd)


def _open(path: str) -> int:
    # Symbolic links are followed here, and nowhere else.
    try:
        return os.open(path, O_PATH | os.O_CLOEXEC)
    except OSError as exc:
        raise MountError(exc.errno or errno.EIO, path, "stat") from None


def _path_of(fd: int, path: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError as exc:  # /proc is not mounted
        raise MountError(exc.errno or errno.EIO, path, "/proc/self/fd") from None


def _mode(fd: int, path: str, *, clear_stale: bool) -> int | None:
    """Return ``st_mode``; None if there is a dead filesystem to unmount."""
    try:
        mode = os.fstat(fd).st_mode
        # The kernel may still cache attributes of a dead filesystem.  STATFS is never
        # cached: fuse_statfs() in fs/fuse/inode.c.
        os.fstatvfs(fd)
        return mode
    except OSError as exc:
        if exc.errno == errno.ENOTCONN and clear_stale:
            return None
        raise MountError(exc.errno or errno.EIO, path, "stat") from None


def _clear(fd: int, path: str) -> None:
    """Unmount a dead filesystem, but no other mount."""
    try:
        mount_id = numbers_of(fd).mount_id
        mounts = read_mounts()
    except OSError as exc:
        raise MountError(exc.errno or errno.EIO, path, "stat") from None
    top = next((entry for entry in mounts if entry.mount_id == mount_id), None)
    if top is None or top.mount_point != path or not top.is_fuse:
        remedy = "the dead filesystem is mounted on a directory above it"
        raise MountError(errno.ENOTCONN, path, "stat", remedy=remedy)
    below = mounts_below(mount_id, mounts)
    if below:
        raise _covered_by(path, below)
    try:
        # The descriptor names this mount even if the path changes.
        umount2(f"/proc/self/fd/{fd}", MNT_DETACH)
    except OSError as exc:
        if exc.errno != errno.EPERM:
            raise MountError(exc.errno or errno.EIO, path, "umount2") from None
        unmount_with_fusermount(path, path, lazy=True)


def _covered_by(path: str, below: list[MountEntry]) -> MountError:
    listed = ", ".join(f"{shown(m.mount_point)} ({shown(m.fstype)})" for m in below)
    remedy = f"unmount first what is mounted on it: {listed}"
    words = "clear_stale: other filesystems are mounted on the one that has died"
    return MountError(errno.EBUSY, path, "clear_stale", words, remedy)
