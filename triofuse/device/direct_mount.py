"""Mounting by system calls, for those who may: step by step, else by mount(2)."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os

from triofuse.device.auto_unmount import Watcher
from triofuse.device.dev_fuse import DevFuse, DeviceError
from triofuse.device.fs_context import STRING_LIMIT, FsContext, move_mount
from triofuse.device.libc import MNT_DETACH, UMOUNT_NOFOLLOW, mount, umount2
from triofuse.device.mount_error import MountError
from triofuse.device.mountinfo import MountEntry, entry_of, identify, mount_id_of
from triofuse.device.mountpoint import Mountpoint
from triofuse.device.options import MountOptions

__all__ = ["mount_directly"]

_Parameters = list[tuple[str, str | None]]


def mount_directly(
    place: Mountpoint, options: MountOptions, watcher: Watcher | None
) -> tuple[int, MountEntry | None] | None:
    """Mount; blocks no longer than the kernel takes.

    Args:
      place: Where, open.
      options: How.
      watcher: Who is to be told what there is to unmount.

    Returns:
      The descriptor of /dev/fuse, non-blocking and close-on-exec, and the mount,
      None if somebody has unmounted it already; None in place of all that if this
      user may not mount.

    Raises:
      MountError: It is not mounted.
    """
    try:
        device = DevFuse.open()
    except DeviceError as exc:
        if exc.errno == errno.EACCES:  # perhaps fusermount3, which is setuid, may
            return None
        number = exc.errno or errno.EIO
        words = exc.strerror or ""
        raise MountError(number, place.path, "open /dev/fuse", words) from None
    try:
        context = _open_context(options)
        if context is None:
            entry = _mount_at_once(place, options, watcher, device.fd)
        else:
            entry = _mount_in_steps(context, place, options, watcher, device.fd)
    except OSError as exc:
        device.close()
        if exc.errno == errno.EPERM:
            return None
        if isinstance(exc, MountError):
            raise
        raise _mount_error(exc, place, options) from None
    return device.fd, entry


def _open_context(options: MountOptions) -> FsContext | None:
    """Return None where mount(2) is needed."""
    values = (value for _, value in options.parameters() if value is not None)
    if any(len(os.fsencode(value)) > STRING_LIMIT for value in values):
        return None
    try:
        return FsContext.open("fuse")
    except OSError:  # whatever it is: mount(2) is the judge
        return None


def _mount_in_steps(
    context: FsContext,
    place: Mountpoint,
    options: MountOptions,
    watcher: Watcher | None,
    device: int,
) -> MountEntry | None:
    try:
        context.configure([*_own_parameters(place, device), *options.parameters()])
        root = context.mount(options.attributes)
    finally:
        context.close()
    try:
        # Told before there is anything in the tree, so that nothing is ever there
        # which the watcher does not know.
        if watcher is not None:
            watcher.watch(*mount_id_of(root))
        move_mount(root, place.fd)
        try:
            return entry_of(root, device)
        except OSError as exc:
            with contextlib.suppress(OSError):
                umount2(f"/proc/self/fd/{root}", MNT_DETACH)
            raise _unidentified(exc, place) from exc
    finally:
        os.close(root)


def _mount_at_once(
    place: Mountpoint, options: MountOptions, watcher: Watcher | None, device: int
) -> MountEntry | None:
    # A link to where the descriptor leads: no path is walked that could have changed.
    target = f"/proc/self/fd/{place.fd}"
    data = _mount_data(_own_parameters(place, device), options)
    mount(options.fsname, target, options.fstype, options.flags, data)
    try:
        entry = identify(place.path, device)
        if watcher is not None and entry is not None:
            watcher.watch(entry.mount_id, entry.unique_id)
    except OSError as exc:
        with contextlib.suppress(OSError):
            umount2(place.path, MNT_DETACH | UMOUNT_NOFOLLOW)
        if isinstance(exc, MountError):
            raise
        raise _unidentified(exc, place) from exc
    return entry


def _own_parameters(place: Mountpoint, device: int) -> _Parameters:
    return [
        ("fd", str(device)),
        ("rootmode", f"{place.rootmode:o}"),
        ("user_id", str(os.getuid())),
        ("group_id", str(os.getgid())),
    ]


def _mount_data(own: _Parameters, options: MountOptions) -> str:
    words = [f"{name}={value}" for name, value in own]
    data = ",".join([*words, *options.kernel_words()])
    # The kernel cuts off what is longer: copy_mount_options() in fs/namespace.c.
    if len(os.fsencode(data)) >= mmap.PAGESIZE:
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    return data


def _unidentified(exc: OSError, place: Mountpoint) -> MountError:
    return MountError(exc.errno or errno.EIO, place.path, "/proc/self/mountinfo")


def _mount_error(exc: OSError, place: Mountpoint, options: MountOptions) -> MountError:
    number = exc.errno or errno.EIO
    words = exc.strerror or ""
    if words != os.strerror(number):
        return MountError(number, place.path, "mount(2)", words)
    remedy = None
    if number == errno.EINVAL and options.extra:
        remedy = f"the kernel does not know one of these: {', '.join(options.extra)}"
    return MountError(number, place.path, "mount(2)", remedy=remedy)
