"""A place in the tree that is to be mounted on."""

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

    def enter_parent(self) -> str:
        """Enter the directory that the place is in, and return its name there.

        To be called in a `MountThread`, for the current directory is changed.

        Raises:
          MountError: The place is not there any more.
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
    """Take a dead filesystem out of the tree, and nothing else with it."""
    try:
        mount_id = numbers_of(fd).mount_id
        mounts = read_mounts()
    except OSError as exc:
        raise MountError(exc.errno or errno.EIO, path, "stat") from None
    top = next((entry for entry in mounts if entry.mount_id == mount_id), None)
    if top is None or top.mount_point != path or not top.is_fuse:
        raise MountError(errno.ENOTCONN, path, "stat", remedy="what died is above it")
    below = mounts_below(mount_id, mounts)
    if below:
        raise _in_the_way(path, below)
    try:
        # By the descriptor it is this mount and no other, whatever happens to the path.
        umount2(f"/proc/self/fd/{fd}", MNT_DETACH)
    except OSError as exc:
        if exc.errno != errno.EPERM:
            raise MountError(exc.errno or errno.EIO, path, "umount2") from None
        unmount_with_fusermount(path, path, lazy=True)


def _in_the_way(path: str, below: list[MountEntry]) -> MountError:
    listed = ", ".join(f"{shown(m.mount_point)} ({shown(m.fstype)})" for m in below)
    remedy = f"unmount first what is mounted on it: {listed}"
    words = "clear_stale: other filesystems are mounted on the one that has died"
    return MountError(errno.EBUSY, path, "clear_stale", words, remedy)
