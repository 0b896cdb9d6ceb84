"""Mounting by system calls: by fsopen(2) and fsmount(2), else by mount(2)."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os

from triofuse.device.auto_unmount import Watcher
from triofuse.device.dev_fuse import DevFuse, DeviceError
from triofuse.device.fs_context import STRING_LIMIT, FsContext, move_mount
from triofuse.device.libc import (
    MNT_DETACH,
    UMOUNT_NOFOLLOW,
    MountNumbers,
    mount,
    umount2,
)
from triofuse.device.mount_error import MountError
from triofuse.device.mountinfo import MountEntry, numbers_here, numbers_of
from triofuse.device.mountpoint import Mountpoint
from triofuse.device.options import MountOptions

__all__ = ["entry_made", "mount_directly"]

_Parameters = list[tuple[str, str | None]]


def mount_directly(
    place: Mountpoint, options: MountOptions, watcher: Watcher | None
) -> tuple[DevFuse, MountEntry] | None:
    """Mount by system calls; blocks only in the kernel.

    Call it in a `MountThread`, for it changes the current directory.

    Args:
      place: The mountpoint, open.
      options: The mount options.
      watcher: The watcher process, which is told the mount.

    Returns:
      The device and the mount; None if this user may not mount.

    Raises:
      MountError: The mount failed; nothing is mounted.
    """
    try:
        device = DevFuse.open()
    except DeviceError as exc:
        if exc.errno == errno.EACCES:  # fusermount3 is set-user-ID: it may be allowed
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
    except BaseException as exc:
        device.close()
        if not isinstance(exc, OSError) or isinstance(exc, MountError):
            raise
        if exc.errno == errno.EPERM:
            return None
        raise _mount_error(exc, place, options) from None
    return device, entry


def _open_context(options: MountOptions) -> FsContext | None:
    """Return None where mount(2) is needed."""
    values = (value for _, value in options.parameters() if value is not None)
    if any(len(os.fsencode(value)) > STRING_LIMIT for value in values):
        return None
    try:
        return FsContext.open("fuse")
    except OSError:  # fall back to mount(2), whose error is the one to report
        return None


def _mount_in_steps(
    context: FsContext,
    place: Mountpoint,
    options: MountOptions,
    watcher: Watcher | None,
    device: int,
) -> MountEntry:
    """Mount by fsopen(2); the last step, move_mount(2), makes the mount visible."""
    try:
        context.configure([*_own_parameters(place, device), *options.parameters()])
        root = context.mount(options.attributes)
    finally:
        context.close()
    try:
        entry = entry_made(place, numbers_of(root))
        if watcher is not None:
            watcher.watch(entry.mount_id, entry.unique_id)
        move_mount(root, place.fd)
    finally:
        os.close(root)
    return entry


def _mount_at_once(
    place: Mountpoint, options: MountOptions, watcher: Watcher | None, device: int
) -> MountEntry:
    # The link leads to the open descriptor: no path is walked that could have changed.
    target = f"/proc/self/fd/{place.fd}"
    data = _mount_data(_own_parameters(place, device), options)
    name = place.enter_parent()
    mount(options.fsname, target, options.fstype, options.flags, data)
    try:
        entry = entry_made(place, numbers_here(name))
        if watcher is not None:
            watcher.watch(entry.mount_id, entry.unique_id)
    except BaseException:
        # Relative to the directory entered above: a mountpoint cannot be renamed.
        with contextlib.suppress(OSError):
            umount2(name, MNT_DETACH | UMOUNT_NOFOLLOW)
        raise
    return entry


def entry_made(place: Mountpoint, numbers: MountNumbers) -> MountEntry:
    """Return the entry of a new mount, as far as it is known."""
    return MountEntry(
        numbers.mount_id,
        numbers.device,
        place.path,
        fstype="fuse",
        source="",
        unique_id=numbers.unique_id,
    )


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
    # The kernel truncates longer data: copy_mount_options() in fs/namespace.c.
    if len(os.fsencode(data)) >= mmap.PAGESIZE:
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    return data


def _mount_error(exc: OSError, place: Mountpoint, options: MountOptions) -> MountError:
    number = exc.errno or errno.EIO
    words = exc.strerror or ""
    if words != os.strerror(number):
        return MountError(number, place.path, "mount(2)", words)
    remedy = None
    if number == errno.EINVAL and options.extra:
        remedy = f"the kernel does not know one of these: {', '.join(options.extra)}"
    return MountError(number, place.path, "mount(2)", remedy=remedy)
