"""Mounting: by system calls if that is allowed, else by fusermount3.

The law: code that walks a path runs in a thread, for the path may lead through a mount
that this event loop serves.  The thread and the process that undo a mount are started
before the mount is made.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import os
import re
import select
import stat
import weakref

import attrs
import trio

from triofuse.device.auto_unmount import Watcher
from triofuse.device.dev_fuse import DevFuse
from triofuse.device.direct_mount import mount_directly
from triofuse.device.forks import belongs_to_parent, no_fork
from triofuse.device.indirect_mount import mount_indirectly
from triofuse.device.mount_error import MountError
from triofuse.device.mount_thread import MountThread, namespace
from triofuse.device.mountinfo import MountEntry, read_mounts
from triofuse.device.mountpoint import Mountpoint
from triofuse.device.options import MountOptions
from triofuse.device.readahead import set_readahead
from triofuse.device.unmounting import unmount, unmount_copies

__all__ = [
    "INHERITED",
    "Mount",
    "adopt",
    "make_mount",
    "mount_filesystem",
    "start_thread",
]

#: A descriptor of /dev/fuse that is mounted already.
INHERITED = re.compile(r"/dev/fd/([0-9]+)")

#: FUSE_MINOR of the misc devices, in linux/miscdevice.h.
_FUSE_DEVICE = os.makedev(10, 229)


@attrs.define(eq=False, repr=False)
class Mount:
    """A mounted filesystem: the owner of its mountpoint, but not of its device.

    `triofuse.mount_sync` makes one without an event loop; pass it to `triofuse.mount` to
    serve it.  Until it is served every access to the mountpoint blocks.

    A forked child owns nothing: it closes the descriptors and unmounts nothing.  What
    `mount_sync` made, and nobody serves yet, belongs to the parent and the child: the
    one that serves it owns it.

    Attributes:
      path: The mountpoint, absolute and without symbolic links, or ``/dev/fd/N``.
      device: The device, owned by the caller, who wraps it in a channel and closes it.
      options: The options of the mount.
      root_type: The type that the root of the filesystem must have, S_IFDIR or
        S_IFREG; None for ``/dev/fd/N``.
    """

    path: str
    device: DevFuse
    _entry: MountEntry | None = None
    _watcher: Watcher | None = None
    _thread: MountThread | None = None
    root_type: int | None = None
    options: MountOptions = attrs.field(factory=MountOptions)
    #: Whether a child was forked that may serve it.
    _is_shared: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        belongs_to_parent(self)
        if self._entry is not None:
            _mounted.add(self)

    async def unmount(self) -> None:
        """Unmount the filesystem, lazily if it is in use; a second call does nothing.

        Only this mount is unmounted, never another one at the same place.  It is no
        error if it is unmounted already.  What was inherited as ``/dev/fd/N`` stays
        mounted.

        The kernel may write back its cache: answer requests until this returns, or
        close the device first.  After a cancellation the unmount continues in its
        thread.

        Raises:
          MountError: Another mount covers this one, or unmounting is not allowed.
        """
        entry = self._entry
        if entry is None:
            return await trio.lowlevel.checkpoint()
        thread = self._own_thread()
        await thread.run(self._unmount, abandon=True)
        thread.close()
        if namespace() not in {thread.namespace, ""}:  # unshare(2) has copied the mount
            here = start_thread(self.path)
            await here.run(functools.partial(_unmount_copies, entry), abandon=True)
            here.close()
        return None

    def set_readahead(self, size: int) -> None:
        """Set how many bytes the kernel reads ahead on this mount, once INIT is answered.

        Raises:
          OSError: Not allowed, or the mount was inherited.
        """
        if self._entry is None:
            raise OSError(errno.ENODEV, "the mount belongs to another program")
        set_readahead(self._entry.device, size)

    def unmount_sync(self) -> None:
        """Close the device and unmount, outside of an event loop.

        Nobody answers requests meanwhile: what the kernel has not written back is lost.
        A second call does nothing.

        Raises:
          MountError: Another mount covers this one, or unmounting is not allowed.
          TimeoutError: It takes more than ten seconds, and continues in its thread.
        """
        self.device.close()
        if self._entry is not None:
            thread = self._own_thread()
            thread.run_sync(self._unmount)
            thread.close()

    def leave_mounted(self) -> None:
        """Close the device and give up the mount, which stays until umount(8)."""
        self.device.close()
        self.disown()

    def claim(self) -> None:
        """Make it this process's own: it is about to be served here.

        Raises:
          MountError: ``auto_unmount``: its process cannot be started.
        """
        self.device.is_inherited = self._is_shared = False
        if self.options.auto_unmount and self._entry and self._watcher is None:
            self._watcher = Watcher.start(self.path)
            self._watcher.watch(self._entry.mount_id, self._entry.unique_id)

    def _own_thread(self) -> MountThread:
        """Return the mount thread; a new one after fork(2), which copies no threads."""
        if self._thread is None:
            self._thread = start_thread(self.path)
        return self._thread

    def abandon(self) -> None:
        """Close the device and unmount in the thread; does not wait for that."""
        try:
            self.device.close()
        finally:  # the program may have closed it: closerange(2) in a daemon, say
            if self._entry is not None:
                self._own_thread().submit(self._unmount)

    def undo(self) -> None:
        """Do as ``abandon``, but wait at most ten seconds; for use outside of trio.

        If a child was forked that may serve it, only the device is closed.
        """
        with contextlib.suppress(OSError):  # the program may have closed it
            self.device.close()
        if self._entry is not None and not self._is_shared:
            with contextlib.suppress(Exception):
                self._own_thread().run_sync(self._unmount)

    def undo_here(self) -> None:
        """Close the device and unmount, in the mount thread itself."""
        self.device.close()
        self._unmount()

    def disown(self) -> None:
        """Give up ownership in a forked child; the mount stays."""
        if self.device.is_inherited:
            self._thread, self._is_shared = None, True
        else:
            self._entry = self._thread = self._watcher = None

    def note_fork(self) -> None:
        """Note, in the parent, that a child was forked."""
        self._is_shared = self.device.is_inherited

    def _unmount(self) -> None:
        """Unmount in the mount thread; then end the watcher."""
        watcher = self._watcher
        if self._entry is not None:
            try:
                unmount_copies(self._entry)
                unmount(self._entry)
            except BaseException:
                if watcher is None or not watcher.unmount():
                    raise
        self._entry = self._thread = None
        if watcher is not None:
            watcher.dismiss()


def _unmount_copies(entry: MountEntry) -> None:
    for copy in read_mounts():
        if copy.device == entry.device:
            unmount(copy)


#: The mounts to undo when the interpreter exits: their event loop has failed, or ran in
#: a daemon thread.
_mounted: weakref.WeakSet[Mount] = weakref.WeakSet()


@atexit.register
def _undo_all() -> None:
    for mount in list(_mounted):
        mount.undo()


def _note_forks() -> None:
    for mount in list(_mounted):
        mount.note_fork()


os.register_at_fork(after_in_parent=_note_forks)


async def mount_filesystem(
    mountpoint: str | os.PathLike[str], options: MountOptions
) -> Mount:
    """Mount a filesystem; its requests are not served yet.

    Until INIT is answered every access to the mountpoint blocks: access it from other
    threads or processes only.

    Args:
      mountpoint: A directory, or a regular file if the filesystem's root is one.
        ``/dev/fd/N`` is a descriptor of /dev/fuse that is mounted already and was
        inherited.  It is taken over, not duplicated, and the options have no effect.
      options: The mount options.

    Returns:
      The mount.  Mounting itself cannot be cancelled or interrupted; opening the
      mountpoint before it can.  There is no checkpoint after mounting.

    Raises:
      MountError: The mount failed; nothing is mounted.
    """
    path = os.fspath(mountpoint)
    if inherited := INHERITED.fullmatch(path):
        await trio.lowlevel.checkpoint()
        return adopt(path, int(inherited[1]), options)
    place = Mountpoint(path)
    look = functools.partial(place.open, clear_stale=options.clear_stale)
    try:
        # A limiter of its own: threads that are blocked on this filesystem may have
        # exhausted the default limiter.
        limiter = trio.CapacityLimiter(1)
        await trio.to_thread.run_sync(look, abandon_on_cancel=True, limiter=limiter)
        thread = start_thread(place.path)
        mount = functools.partial(make_mount, place, options, thread)
        try:
            return await thread.run(mount, abandon=False)
        except BaseException:
            thread.close()
            raise
    finally:
        place.close()


def start_thread(path: str) -> MountThread:
    """Start the thread for a mount; its errors name the mountpoint."""
    try:
        return MountThread.start()
    except RuntimeError as exc:
        raise MountError(errno.EAGAIN, path, "start a thread", str(exc)) from None
    except OSError as exc:
        raise MountError(exc.errno or errno.EIO, path, "unshare(2)") from None


def make_mount(
    place: Mountpoint,
    options: MountOptions,
    thread: MountThread,
    *,
    watched: bool = True,
) -> Mount:
    """Mount, in a mount thread; ``watched``: start the ``auto_unmount`` process."""
    watched = watched and options.auto_unmount
    watcher = Watcher.start(place.path) if watched else None
    try:
        # A child that another thread forks meanwhile would inherit the descriptors.
        with no_fork:
            made = mount_directly(place, options, watcher)
        device, entry = made or mount_indirectly(place, options, watcher)
    except BaseException:
        if watcher is not None:
            watcher.dismiss()
        raise
    finally:
        os.chdir("/")
    return Mount(
        place.path, device, entry, watcher, thread, place.rootmode, options=options
    )


def adopt(path: str, fd: int, options: MountOptions) -> Mount:
    """Take over an inherited descriptor of a mount."""
    try:
        status = os.fstat(fd)
    except OSError as exc:
        raise MountError(exc.errno or errno.EIO, path, "/dev/fd") from None
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _FUSE_DEVICE:
        raise MountError(errno.ENODEV, path, "/dev/fd")
    state = select.poll()
    state.register(fd, 0)
    # fuse_dev_poll() in fs/fuse/dev.c: POLLERR if it is not mounted, or no longer.
    if state.poll(0):
        raise MountError(errno.ENOTCONN, path, "/dev/fd")
    return Mount(path, DevFuse(fd), options=options)
