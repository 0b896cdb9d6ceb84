"""A complete filesystem in memory: ``python examples/memfs.py MOUNTPOINT``.

A tree does the work: a directory that clients may change keeps in memory what they put
there.  Added are locks that are kept here, where others than this kernel could see them
too, in place of those that the kernel keeps by itself.

- The kernel resolves paths, checks permissions and access control lists
  (``default_permissions``), and lets nobody else into a directory that is being
  changed.
- Nobody but this kernel changes anything, so it may keep names, attributes and
  contents for ever.
- A node lives while it has a name, is open, or is known to the kernel.
- Whatever is kept counts towards the size: contents, names, targets, attributes.

It leaves out quotas, and writing back from the kernel's cache.  Nothing has to be
written to a disk, so fsync(2) has nothing to do.
"""

from __future__ import annotations

import gc
import sys

import triofuse
from triofuse import Directory, FileLock, LockTable


class MemFS(triofuse.Tree):
    """A filesystem in memory; it keeps its contents from mount to mount.

    Args:
      size: Bytes that it can take; by default half of the machine's memory.
    """

    def __init__(self, size: int | None = None) -> None:
        super().__init__(Directory(writable=True), size=size)
        self._locks = LockTable()

    async def flush(self, request: triofuse.Flush) -> None:
        self._locks.flush(request)

    async def release(self, request: triofuse.Release) -> None:
        self._locks.release(request)
        await super().release(request)

    async def getlk(self, request: triofuse.Getlk) -> FileLock:
        return self._locks.getlk(request)

    async def setlk(self, request: triofuse.Setlk) -> None:
        self._locks.setlk(request)

    async def setlkw(self, request: triofuse.Setlkw) -> None:
        await self._locks.setlkw(request)


def make(size: int | None = None) -> MemFS:
    """Keep files in memory, for as long as the filesystem is mounted.

    Args:
      size: Most bytes of all that is kept; by default half of the machine's memory.
    """
    # Nodes live long and make no cycles.  To look for some among a million of them
    # would hold everybody up for a second each time; the young are looked at as ever.
    if sys.implementation.name == "cpython":
        gc.set_threshold(*gc.get_threshold()[:2], 1 << 30)
    return MemFS(size)


if __name__ == "__main__":
    triofuse.main(make, foreground=True)
