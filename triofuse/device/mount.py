"""Mounting: by system calls if that is allowed, else by fusermount3.

The law: whatever walks a path runs in a thread, for the path may lead through a
mount that is served by the very loop which is waiting here.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import select
import stat
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import trio

from triofuse.device.auto_unmount import Watcher
from triofuse.device.direct_mount import mount_directly
from triofuse.device.fusermount import find_fusermount, mount_with_fusermount
from triofuse.device.mount_error import MountError
from triofuse.device.mountinfo import MountEntry, identify
from triofuse.device.mountpoint import Mountpoint, detach, unmount
from triofuse.device.options import MountOptions

__all__ = ["Mount", "mount_filesystem"]

_T = TypeVar("_T")

_INHERITED = re.compile(r"/dev/fd/([0-9]+)")

#: FUSE_MINOR of the misc devices, in linux/miscdevice.h.
_FUSE_DEVICE = os.makedev(10, 229)


@attrs.define(eq=False, repr=False)
class Mount:
    """A mounted filesystem: the owner of its mountpoint, but not of its device.

    Attributes:
      path: The mountpoint, absolute and without symbolic links, or ``/dev/fd/N``.
      fd: The descriptor of /dev/fuse, non-blocking and close-on-exec. It is the
        caller's, who wraps it in a channel and closes it; nothing here touches it
        again.
      root_type: S_IFDIR or S_IFREG, which the root of the filesystem must be; None
        for ``/dev/fd/N``.
    """

    path: str
    fd: int
    _entry: MountEntry | None = None
    _watcher: Watcher | None = None
    root_type: int | None = None

    async def unmount(self) -> None:
        """Unmount the filesystem, lazily if it is in use; again does nothing.

        Only this mount is unmounted, never another one at the same place; if
        somebody has unmounted it before, that is fine. What was inherited as
        ``/dev/fd/N`` stays mounted.

        The kernel may write back what it has cached: go on answering requests
        until this returns, or close the device first. When it is cancelled, the
        unmounting goes on in its thread.

        Raises:
          MountError: Another mount covers this one, or unmounting is not allowed.
        """
        await _in_thread(self._unmount, abandon=True)

    def _unmount(self) -> None:
        try:
            if self._entry is not None:
                unmount(self._entry)
            self._entry = None
        finally:
            if self._watcher is not None:
                self._watcher.dismiss()


async def mount_filesystem(
    mountpoint: str | os.PathLike[str], options: MountOptions
) -> Mount:
    """Mount a filesystem; nobody answers its requests yet.

    Until INIT is answered every access to the mountpoint waits: touch it from
    other threads or processes only.

    Args:
      mountpoint: A directory, or a regular file if the filesystem's root is one.
        ``/dev/fd/N`` is a descriptor of /dev/fuse that was mounted and passed on
        by whoever started this program: it is taken over as it is, not duplicated,
        and the options are without effect.
      options: How to mount.

    Returns:
      The mount. What it needs has been done even if the caller is cancelled
      meanwhile: mounting itself does not give way to cancellation, only looking at
      the mountpoint before it does.

    Raises:
      MountError: The filesystem is not mounted.
    """
    path = os.fspath(mountpoint)
    if inherited := _INHERITED.fullmatch(path):
        await trio.lowlevel.checkpoint()
        return _adopt(path, int(inherited[1]))
    place = Mountpoint(path)
    look = functools.partial(place.open, clear_stale=options.clear_stale)
    try:
        await _in_thread(look, abandon=True)
        return await _in_thread(_mount, place, options, abandon=False)
    finally:
        place.close()


async def _in_thread(function: Callable[..., _T], *arguments: Any, abandon: bool) -> _T:
    # A limiter of its own: threads that wait for this very filesystem may have used
    # up the common one.
    return await trio.to_thread.run_sync(
        function,
        *arguments,
        abandon_on_cancel=abandon,
        limiter=trio.CapacityLimiter(1),
    )


def _mount(place: Mountpoint, options: MountOptions) -> Mount:
    watcher = Watcher.start(place.path) if options.auto_unmount else None
    try:
        made = mount_directly(place, options, watcher)
        fd, entry = made or _mount_indirectly(place, options, watcher)
    except BaseException:
        if watcher is not None:
            watcher.dismiss()
        raise
    return Mount(place.path, fd, entry, watcher, place.rootmode)


def _mount_indirectly(
    place: Mountpoint, options: MountOptions, watcher: Watcher | None
) -> tuple[int, MountEntry | None]:
    program = find_fusermount()
    if program is None:
        raise MountError(errno.EPERM, place.path, "mount(2)")
    fd = mount_with_fusermount(program, place.path, options)
    entry = None
    try:
        entry = identify(place.path, fd)
        if entry is not None:
            _check_place(entry, place)
            if watcher is not None:
                watcher.watch(entry.mount_id, entry.unique_id)
    except OSError as exc:
        os.close(fd)
        with contextlib.suppress(MountError):
            unmount(entry) if entry else detach(place.path, lazy=True)
        if isinstance(exc, MountError):
            raise
        number = exc.errno or errno.EIO
        raise MountError(number, place.path, "/proc/self/mountinfo") from exc
    return fd, entry


def _check_place(entry: MountEntry, place: Mountpoint) -> None:
    """Raise MountError if fusermount3, who walks the path once more, was led astray."""
    if entry.mount_point != place.path:
        words = f"the path to it was changed meanwhile, and led to {entry.mount_point}"
        raise MountError(errno.ESTALE, place.path, "fusermount3", words)


def _adopt(path: str, fd: int) -> Mount:
    try:
        status = os.fstat(fd)
    except OSError as exc:
        raise MountError(exc.errno or errno.EIO, path, "/dev/fd") from None
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _FUSE_DEVICE:
        raise MountError(errno.ENODEV, path, "/dev/fd")
    state = select.poll()
    state.register(fd, 0)
    # fuse_dev_poll() in fs/fuse/dev.c: POLLERR if it is not, or no longer, mounted.
    if state.poll(0):
        raise MountError(errno.ENOTCONN, path, "/dev/fd")
    os.set_inheritable(fd, False)
    os.set_blocking(fd, False)
    return Mount(path, fd)
