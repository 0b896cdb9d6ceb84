"""Checks the root of a filesystem before its mount is ready.

The kernel has made the root's inode with the mountpoint's type.  If ``getattr`` returns
another type, the kernel marks the inode bad, and all calls get EIO for ever:
``fuse_make_bad()`` in fs/fuse/fuse_i.h.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
from typing import Final

import trio

from triofuse.device.mount_error import MountError
from triofuse.filesystem.filesystem import Filesystem, implements
from triofuse.filesystem.replies import FileAttr
from triofuse.filesystem.requests import Getattr
from triofuse.wire.opcodes import FUSE_ROOT_ID

__all__ = ["check_root", "refused_root"]

_log = logging.getLogger("triofuse")

#: Seconds for which a mount waits for the root's attributes.  They may take longer: the
#: program may do what they need only when it is mounted.
_MAX_WAIT: Final = 1.0

#: Turns of the event loop in which a ``getattr`` that does not block returns.
_TURNS: Final = 3

_KINDS: Final = {stat.S_IFDIR: "a directory", stat.S_IFREG: "a regular file"}


async def check_root(
    filesystem: Filesystem, root_type: int | None, mountpoint: str
) -> None:
    """Call ``getattr`` for the root, as if a process had called stat(2).

    An OSError does not end the mount: a backend may be unavailable for a moment.
    Errors and bugs are logged.  A filesystem that is ``shielded`` is not asked: a call
    that takes too long could not be cancelled.

    Args:
      filesystem: The filesystem; it is being served already.
      root_type: S_IFDIR or S_IFREG.  None if another program has mounted it: then
        either is accepted, and the check does not wait.
      mountpoint: For the error message.

    Raises:
      MountError: The root has another type.
    """
    if filesystem.shielded or not implements(filesystem, "getattr"):
        return
    name = f"{type(filesystem).__name__}.getattr()"
    attr: object = None
    over = threading.Event()
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            nonlocal attr
            attr = await _getattr(filesystem, name)
            over.set()
            nursery.cancel_scope.cancel()

        nursery.start_soon(ask)
        try:
            await _wait(over, _MAX_WAIT if root_type else 0.0)
        finally:
            over.set()  # else the thread would go on waiting
        nursery.cancel_scope.cancel()
    if isinstance(attr, FileAttr) and isinstance(attr.mode, int):
        _check_type(attr.mode, root_type, mountpoint, name)


async def refused_root(
    filesystem: Filesystem, root_type: int | None, mountpoint: str
) -> MountError | None:
    """Return why the root cannot be mounted, as ``check_root`` raises it; None if it can."""
    try:
        await check_root(filesystem, root_type, mountpoint)
    except MountError as exc:
        return exc
    return None


async def _wait(over: threading.Event, seconds: float) -> None:
    """Wait in real time, even if the program's clock is a mock."""
    for _ in range(_TURNS):
        await trio.lowlevel.checkpoint()
        if over.is_set():
            return
    if seconds:
        await trio.to_thread.run_sync(
            over.wait, seconds, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
        )


async def _getattr(filesystem: Filesystem, name: str) -> object:
    request = Getattr(0, FUSE_ROOT_ID, os.getuid(), os.getgid(), os.getpid(), 0, None)
    try:
        return await filesystem.getattr(request)
    except OSError as exc:
        _log.warning("%s of the root (nodeid 1) fails: %s", name, exc)
    except Exception:  # noqa: BLE001  (a caller of stat(2) gets EIO)
        _log.warning("%s of the root (nodeid 1) fails", name, exc_info=True)
    return None


def _check_type(mode: int, root_type: int | None, mountpoint: str, name: str) -> None:
    kind = stat.S_IFMT(mode)
    if kind == root_type or (root_type is None and kind in _KINDS):
        return
    due = _KINDS.get(root_type or stat.S_IFDIR, "a directory")
    if kind:
        said = f"is {_KINDS.get(kind, 'neither a directory nor a regular file')}"
        remedy = f"the mountpoint is {due}: choose another, or another root"
    else:
        said = "has no file type"
        bits = "S_IFREG" if root_type == stat.S_IFREG else "S_IFDIR"
        remedy = f"give stat.{bits} | {mode:#o}"
    words = f"the root is {mode:#o} by {name}, which {said}"
    place = mountpoint or "a descriptor"
    raise MountError(errno.ENOTDIR, place, "getattr of the root", words, remedy)
