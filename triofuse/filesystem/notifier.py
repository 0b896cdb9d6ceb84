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

    When a call returns, the kernel has heard of it.  For that ``inval_inode`` with an
    offset, ``inval_entry``, ``expire_entry``, ``delete``, ``store`` and ``prune`` may
    block in the kernel until other requests are answered: those that use the same
    directory, or the same part of the file.  They are sent from worker threads of the
    session's own and keep nothing else waiting; whoever is cancelled while it waits
    has perhaps sent them.

    **What would wait for the very request that is being served is sent when that has
    been answered**: the call returns at once, and an error is logged.  That is

    ==============================  ==============================================
    what is told                    while serving, of the same nodeid
    ==============================  ==============================================
    inval_inode, store, prune       READ, WRITE, READLINK; SETATTR of the size, OPEN
                                    with O_TRUNC
    inval_entry, expire_entry       all that is asked of the directory, but ACCESS,
                                    STATFS, LISTXATTR, RELEASEDIR; for RENAME and
                                    LINK of either of two
    delete                          the same, of the directory or of the child; any
                                    UNLINK, RMDIR and RENAME
    ==============================  ==============================================

    All else goes out at once, in a handler as elsewhere: ``inval_inode`` of another
    node, or with a negative offset, names of another directory.  Where the kernel does
    not take that within a second, because others hold what it needs, or rename(2) holds
    two directories over a LOOKUP, the handler goes on before the kernel has heard.
    Never have a request wait for another task that waits for a notification.

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
            attributes are, which waits for no request.
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
