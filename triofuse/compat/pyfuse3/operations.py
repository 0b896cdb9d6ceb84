"""`Operations`, the class that pyfuse3's filesystems subclass."""

from __future__ import annotations

import errno
import logging
import sys
import traceback
from collections.abc import Sequence

from triofuse.compat.pyfuse3.values import (
    EntryAttributes,
    FileInfo,
    FUSEError,
    PollHandle,
    ReaddirToken,
    RequestContext,
    SetattrFields,
    StatvfsData,
)

__all__ = ["Operations"]

_log = logging.getLogger("triofuse.compat.pyfuse3")


def _unimplemented() -> FUSEError:
    """Return ENOSYS: the kernel learns that the handler does not exist."""
    return FUSEError(errno.ENOSYS)


class Operations:
    """The request handlers of a filesystem: override those that it has.

    Each fails with ENOSYS until it is overridden.  Names are bytes.  To fail, raise
    `FUSEError`; an ``OSError`` gives the caller its errno as well.  Any other exception
    is a bug: the caller gets EIO, and the log gets the traceback.

    Handlers are never cancelled for the sake of a caller: see `triofuse.compat`.

    Attributes:
      supports_dot_lookup: Whether ``lookup`` finds ``.`` and ``..``, for NFS.
      enable_writeback_cache: Whether the kernel collects writes in its cache.
      enable_acl: Whether the kernel enforces access control lists, which are extended
        attributes; this implies ``default_permissions``.
    """

    supports_dot_lookup: bool = True
    enable_writeback_cache: bool = False
    enable_acl: bool = False

    def init(self) -> None:
        """Prepare to serve; called once, before any handler."""

    def stacktrace(self) -> None:
        """Log the stacks of all threads.

        Called when somebody sets the attribute ``fuse_stacktrace`` of the mountpoint.
        """
        lines = []
        for thread, frame in sys._current_frames().items():
            lines.append(f"thread {thread}:\n")
            lines += traceback.format_stack(frame)
        _log.error("%s", "".join(lines))

    async def lookup(
        self, parent_inode: int, name: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        """Find a name.  What is found has one lookup more.

        An ``st_ino`` of 0 says that there is no such name, for ``entry_timeout``.
        """
        raise _unimplemented()

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """Subtract from the lookup counts: pairs of inode and number."""

    async def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        """Return the attributes of an inode."""
        raise _unimplemented()

    async def setattr(
        self,
        inode: int,
        attr: EntryAttributes,
        fields: SetattrFields,
        fh: int | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        """Set the attributes that ``fields`` names to those in ``attr``; return all."""
        raise _unimplemented()

    async def readlink(self, inode: int, ctx: RequestContext) -> bytes:
        """Return the target of a symbolic link."""
        raise _unimplemented()

    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        """Make a file, device, pipe or socket; counts as a lookup."""
        raise _unimplemented()

    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: RequestContext
    ) -> EntryAttributes:
        """Make a directory; counts as a lookup."""
        raise _unimplemented()

    async def unlink(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        """Remove a file's name; its inode stays until it is forgotten."""
        raise _unimplemented()

    async def rmdir(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        """Remove a directory; ENOTEMPTY if it is not empty."""
        raise _unimplemented()

    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        """Make a symbolic link; counts as a lookup."""
        raise _unimplemented()

    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: RequestContext,
    ) -> None:
        """Rename; ``flags`` is 0, RENAME_EXCHANGE or RENAME_NOREPLACE."""
        raise _unimplemented()

    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        """Make a hard link; counts as a lookup."""
        raise _unimplemented()

    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        """Open a file; ``flags`` are those of open(2)."""
        raise _unimplemented()

    async def read(self, fh: int, off: int, size: int) -> bytes:
        """Return ``size`` bytes from ``off``; fewer mean the end of the file."""
        raise _unimplemented()

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Write at ``off``; return the number of bytes written."""
        raise _unimplemented()

    async def flush(self, fh: int) -> None:
        """Handle close(2) of one descriptor."""
        raise _unimplemented()

    async def release(self, fh: int) -> None:
        """Release a handle, after the last close."""
        raise _unimplemented()

    async def fsync(self, fh: int, datasync: bool) -> None:
        """Write a file to stable storage; with ``datasync`` only its contents."""
        raise _unimplemented()

    async def poll(
        self, inode: int, fh: int, poll_handle: PollHandle | None, ctx: RequestContext
    ) -> int:
        """Return the events that are ready; keep ``poll_handle`` to tell of more."""
        raise _unimplemented()

    async def opendir(self, inode: int, ctx: RequestContext) -> int:
        """Open a directory; return a handle."""
        raise _unimplemented()

    async def readdir(self, fh: int, start_id: int, token: ReaddirToken) -> None:
        """List a directory from ``start_id`` on, by calls of `readdir_reply`."""
        raise _unimplemented()

    async def releasedir(self, fh: int) -> None:
        """Release a directory's handle."""
        raise _unimplemented()

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """Write a directory to stable storage."""
        raise _unimplemented()

    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        """Return size and free space."""
        raise _unimplemented()

    async def setxattr(
        self, inode: int, name: bytes, value: bytes, ctx: RequestContext
    ) -> None:
        """Set an extended attribute, whether it exists or not."""
        raise _unimplemented()

    async def getxattr(self, inode: int, name: bytes, ctx: RequestContext) -> bytes:
        """Return an extended attribute; ENOATTR if it is missing."""
        raise _unimplemented()

    async def listxattr(self, inode: int, ctx: RequestContext) -> Sequence[bytes]:
        """Return the names of the extended attributes."""
        raise _unimplemented()

    async def removexattr(self, inode: int, name: bytes, ctx: RequestContext) -> None:
        """Remove an extended attribute; ENOATTR if it is missing."""
        raise _unimplemented()

    async def access(self, inode: int, mode: int, ctx: RequestContext) -> bool:
        """Whether the caller has the rights ``mode``; not with default_permissions."""
        raise _unimplemented()

    async def create(
        self,
        parent_inode: int,
        name: bytes,
        mode: int,
        flags: int,
        ctx: RequestContext,
    ) -> tuple[FileInfo, EntryAttributes]:
        """Make a regular file and open it; counts as a lookup."""
        raise _unimplemented()
