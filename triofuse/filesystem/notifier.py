"""What a filesystem may tell the kernel unasked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from triofuse.filesystem.replies import Buffer

__all__ = ["Notifier"]


class Notifier(Protocol):
    """Tells the kernel what has changed behind its back.

    ``Filesystem.notifier`` is one, and so is ``Session.notifier``.  What the kernel
    does not hold is nothing to drop: that is a success.

    ``inval_inode`` with an offset, ``inval_entry``, ``expire_entry``, ``delete``,
    ``store`` and ``prune`` may block in the kernel until other requests are answered:
    those that use the same directory, or the same part of the file.  They are sent from
    worker threads and keep nothing else waiting; whoever is cancelled while it waits
    has perhaps sent them.  **Called while a request is served they are only noted**,
    return at once, and are sent when that request has been answered; an error is then
    logged.  For the kernel may hold for that very request what they need.  Never have
    a request wait for another task that waits for one of them.

    Raises, each of them:
      CapabilityError: The protocol in use is too old for it.
      OSError: The kernel refuses it: EBUSY or ENOTEMPTY of ``delete``, EINVAL.
      RuntimeError: INIT is not answered yet, so the kernel holds nothing.
      trio.EndOfChannel: The filesystem is unmounted.

    Source: ``fuse_notify()`` in fs/fuse/dev.c.
    """

    async def inval_inode(self, nodeid: int, offset: int = 0, length: int = 0) -> None:
        """Drop the cached attributes of a node, and cached data.

        Args:
          nodeid: Which node.
          offset: Data from here on is dropped, bytes; with a negative one only the
            attributes are, which is done at once, also while a request is served.
          length: Bytes to drop; 0 is to the end.
        """
        ...

    async def inval_entry(self, parent: int, name: str) -> None:
        """Drop a cached name, and what hangs on it: its next use is a LOOKUP."""
        ...

    async def expire_entry(self, parent: int, name: str) -> None:
        """Have a cached name looked up at its next use, but keep what hangs on it."""
        ...

    async def delete(self, parent: int, child: int, name: str) -> None:
        """Say that a name is gone, as ``inval_entry``; who watches it (inotify) hears.

        Nothing happens where the kernel knows ``name`` as another node than ``child``.
        """
        ...

    async def store(self, nodeid: int, offset: int, data: Buffer) -> None:
        """Put data into the kernel's cache; past the end, the cached size grows."""
        ...

    async def retrieve(self, nodeid: int, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes of what is cached from ``offset`` on.

        It ends where something is not cached.  Waits for no other request.
        """
        ...

    async def poll(self, kh: int) -> None:
        """Have whoever polls an open file ask again; ``kh`` is of the `Poll` request.

        `Readiness` does it for you.
        """
        ...

    async def resend(self) -> None:
        """Have all requests sent again that were read but not answered.

        For a program that takes over a connection.  Those that this session has read
        go on, and are answered once.
        """
        ...

    async def inc_epoch(self) -> None:
        """Have all cached names looked up at their next use."""
        ...

    async def prune(self, nodeids: Iterable[int]) -> None:
        """Have nodes forgotten that nobody uses: a FORGET follows for each."""
        ...
