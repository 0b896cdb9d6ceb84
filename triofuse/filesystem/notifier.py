"""The interface by which a filesystem notifies the kernel of changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from triofuse.filesystem.replies import Buffer

__all__ = ["BlockingNotifier", "Notifier"]


class Notifier(Protocol):
    """Notifies the kernel of changes that it did not make itself.

    ``Filesystem.notifier`` and ``Session.notifier`` are such objects.  To invalidate
    what the kernel does not cache is a success.

    When a call returns, the kernel has the notification.  ``inval_inode`` with an
    offset of 0 or more, ``inval_entry``, ``expire_entry``, ``delete``, ``store`` and
    ``prune`` may block in the kernel until other requests are answered: those that use
    the same directory, or the same part of the file.  They are sent from worker threads
    of the session and block nothing else.  A call that is cancelled while it blocks
    may have been sent.

    **A notification that would block on the request being served is sent after its
    reply**: the call returns at once, and an error is logged.  These are

    ==============================  ==============================================
    notification                    while serving, of the same nodeid
    ==============================  ==============================================
    inval_inode, store, prune       READ, WRITE, READLINK; SETATTR of the size, OPEN
                                    with O_TRUNC
    inval_entry, expire_entry       any request of the directory, except ACCESS,
                                    STATFS, LISTXATTR, RELEASEDIR; RENAME and LINK
                                    of either of two
    delete                          the same, of the directory or of the child; any
                                    UNLINK, RMDIR and RENAME
    ==============================  ==============================================

    All others are sent at once, also in a handler: ``inval_inode`` of another node, or
    with a negative offset, and names of another directory.  Such a call may block for
    more than a second, because other requests hold a lock, or rename(2) locks two
    directories during a LOOKUP.  In a handler it then returns after one second.
    Never let a request wait for another task that waits for a notification.

    Raises, each of them:
      CapabilityError: The protocol in use is too old for it.
      OSError: The kernel refuses it: EBUSY or ENOTEMPTY of ``delete``, EINVAL.
      RuntimeError: INIT is not answered yet, so the kernel holds nothing.
      trio.EndOfChannel: The filesystem is unmounted.

    Source: ``fuse_notify()`` in fs/fuse/dev.c.
    """

    @property
    def from_thread(self) -> BlockingNotifier:
        """The same notifications as plain functions, for any thread of the program."""
        ...

    async def inval_inode(self, nodeid: int, offset: int = 0, length: int = 0) -> None:
        """Drop the cached attributes of a node, and cached data.

        Args:
          nodeid: The node.
          offset: Drop data from here on, bytes.  If negative, drop the attributes
            only, which never blocks on a request.
          length: Bytes to drop; 0 means to the end.
        """
        ...

    async def inval_entry(self, parent: int, name: str) -> None:
        """Drop a cached name and all below it; its next use is a LOOKUP."""
        ...

    async def expire_entry(self, parent: int, name: str) -> None:
        """Let a cached name expire: its next use is a LOOKUP.  Keep what is below it."""
        ...

    async def delete(self, parent: int, child: int, name: str) -> None:
        """Drop a name that was deleted, as ``inval_entry``; inotify(7) reports it.

        Does nothing if the kernel has another node than ``child`` for ``name``.
        """
        ...

    async def store(self, nodeid: int, offset: int, data: Buffer) -> None:
        """Put data into the kernel's cache; data past the end extends the cached size."""
        ...

    async def retrieve(self, nodeid: int, offset: int, size: int) -> bytes:
        """Return up to ``size`` cached bytes from ``offset`` on.

        The result ends at the first byte that is not cached.  Blocks on no request.
        """
        ...

    async def poll(self, kh: int) -> None:
        """Wake the callers that poll an open file; ``kh`` is from the `Poll` request.

        `Readiness` does this for you.
        """
        ...

    async def resend(self) -> None:
        """Have the kernel send again all requests that were read but not answered.

        For a program that takes over a connection.  Requests that this session has in
        flight continue, and are answered once.
        """
        ...

    async def inc_epoch(self) -> None:
        """Expire all cached names: the next use of each is a LOOKUP."""
        ...

    async def prune(self, nodeids: Iterable[int]) -> None:
        """Have the kernel forget nodes that are not in use; a FORGET follows for each."""
        ...


class BlockingNotifier(Protocol):
    """Notifies the kernel from any thread: ``notifier.from_thread``.

    A call is sent at once.  It returns whether the kernel knows the node or name, and
    raises what `Notifier` raises.  It may block in the kernel until requests are
    answered.  In the thread of the event loop it never blocks for longer than 0.05
    seconds: then it returns True, and another thread sends on.  In a handler, what would
    wait for the handler's own request is sent after the reply.

    Source: ``fuse_notify()`` in fs/fuse/dev.c.
    """

    def inval_inode(self, nodeid: int, offset: int = 0, length: int = 0) -> bool:
        """Do as ``Notifier.inval_inode``."""
        ...

    def inval_entry(self, parent: int, name: str) -> bool:
        """Do as ``Notifier.inval_entry``."""
        ...

    def expire_entry(self, parent: int, name: str) -> bool:
        """Do as ``Notifier.expire_entry``."""
        ...

    def delete(self, parent: int, child: int, name: str) -> bool:
        """Do as ``Notifier.delete``."""
        ...

    def store(self, nodeid: int, offset: int, data: Buffer) -> bool:
        """Do as ``Notifier.store``."""
        ...

    def poll(self, kh: int) -> None:
        """Do as ``Notifier.poll``; it never blocks."""
        ...
