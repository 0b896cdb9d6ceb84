"""Mounting without an event loop, for programs that serve the mount later."""

from __future__ import annotations

import os

from triofuse.device.mount import INHERITED, Mount, adopt, make_mount, start_thread
from triofuse.device.mountpoint import Mountpoint
from triofuse.device.options import MountOptions

__all__ = ["mount_sync"]


def mount_sync(
    mountpoint: str | os.PathLike[str], options: MountOptions | None = None
) -> Mount:
    """Mount without an event loop; serve the mount afterwards with `triofuse.mount`.

    The program may fork before it serves: the process that serves owns the mount.  If
    nobody serves it, it is unmounted when the program exits, or by
    ``Mount.unmount_sync``.

    Args:
      mountpoint: An existing directory, or a file if the filesystem's root is one.
      options: The mount options.

    Raises:
      MountError: The mount failed; nothing is mounted.

    Source: mount(2), fusermount3(1).
    """
    options = options or MountOptions()
    path = os.fspath(mountpoint)
    if inherited := INHERITED.fullmatch(path):
        return adopt(path, int(inherited[1]), options)
    place = Mountpoint(path)
    made: list[Mount] = []
    try:
        place.open(clear_stale=options.clear_stale)
        thread = start_thread(place.path)

        def mount() -> None:
            made.append(make_mount(place, options, thread, watched=False))

        try:
            thread.run_sync(mount, timeout=None)
        except BaseException:  # KeyboardInterrupt: the thread may still be at it
            thread.submit(lambda: made[0].undo_here())
            thread.close()
            raise
    finally:
        place.close()
    made[0].device.is_inherited = True
    return made[0]
