"""`Filesystem`, the class to subclass: one method per operation.

This file is long because the protocol is.  It has every operation once, in the order
of a file's life, and nothing else.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterable

from triofuse.filesystem import requests as r
from triofuse.filesystem.absence import (
    may_be_opened_to_write,
    overrides,
    unimplemented,
    unwritable,
)
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.flags import O_ACCMODE
from triofuse.filesystem.lifetime import Lifetime
from triofuse.filesystem.replies import (
    Buffer,
    DirEntry,
    Entry,
    FileAttr,
    FileData,
    FileLock,
    IoctlReply,
    Opened,
    Statfs,
)

__all__ = ["Filesystem", "implements"]

#: Handles for directories of filesystems that choose none.
_directory_handles = itertools.count(1)


class Filesystem(Lifetime):
    """A filesystem: subclass it and write the methods that you need.

    Each method takes one request and returns one value.  To fail, raise an
    ``OSError``: the caller gets its ``errno``; `FuseError` is the short form.  Any
    other exception is a bug: the caller gets EIO, and the log gets the traceback.

    Methods run as trio tasks, many at a time.  A signal that kills the caller cancels
    the method.  Shield what must not be left half done with ``trio.CancelScope``.

    A signal that the caller survives, such as a timer's or SIGWINCH, changes nothing,
    as on a local filesystem.  Exceptions are methods that may block for long: `poll`,
    `setlkw` of a lock, and `read` of a file opened with DIRECT_IO, NONSEEKABLE or
    STREAM.  Any signal cancels these, and the caller gets EINTR.

    It is unknown whether a signal killed a caller that /proc does not show (in another
    pid namespace, or with ``hidepid``).  The method is cancelled after one second.

    Attributes:
      interruptible: The names of more methods that any signal cancels: ``{"open"}``.
      mount_options: Its defaults of ``-o``: ``"default_permissions,noatime"``.
      shielded: Whether methods are never cancelled.  A killed caller is answered at
        once; its method goes on, and what it returns is undone (FORGET, RELEASE).
        Until then, requests that the kernel would not send meanwhile wait.

    A method that is not implemented answers ENOSYS.  Each says what the kernel does
    then; by default the caller gets "Function not implemented".  Methods that write
    answer EROFS if the class implements none of them.  If it implements another, they
    answer EPERM (``write``: EINVAL), as mkdir(2) where there are no directories.
    """

    interruptible: frozenset[str] = frozenset()
    mount_options: str = ""
    shielded: bool = False

    # --- The whole filesystem

    async def statfs(self, request: r.StatfsRequest) -> Statfs:
        """Return size and free space; by default all zero, as in libfuse."""
        return Statfs()

    async def syncfs(self, request: r.Syncfs) -> None:
        """Write everything to stable storage; without this, syncfs(2) succeeds.

        Only called for mounts of block devices (fuseblk).
        """
        raise unimplemented()

    # --- Names

    async def lookup(self, request: r.Lookup) -> Entry:
        """Find a name.

        Returns:
          The entry, which adds one to the node's lookup count.  `Entry.negative`
          lets the kernel cache that the name does not exist; after
          FuseError(ENOENT) it asks again.
        """
        raise unimplemented()

    def forget(self, request: r.Forget) -> None:
        """Subtract ``nlookup`` from a node's lookup count.

        A plain function: the kernel expects no reply.  It is never called for the
        root, nor at unmount.
        """

    async def create(self, request: r.Create) -> tuple[Entry, Opened]:
        """Make a regular file and open it; without this, MKNOD and OPEN are sent."""
        raise unwritable(self, Filesystem, errno.ENOSYS)

    async def tmpfile(self, request: r.Tmpfile) -> tuple[Entry, Opened]:
        """Make a file without a name and open it; without this, EOPNOTSUPP."""
        raise unwritable(self, Filesystem, errno.ENOSYS)

    async def mknod(self, request: r.Mknod) -> Entry:
        """Make a file, device, pipe or socket; the kernel does the I/O of the last three."""
        raise unwritable(self, Filesystem, errno.EPERM)

    async def mkdir(self, request: r.Mkdir) -> Entry:
        """Make a directory."""
        raise unwritable(self, Filesystem, errno.EPERM)

    async def symlink(self, request: r.Symlink) -> Entry:
        """Make a symbolic link."""
        raise unwritable(self, Filesystem, errno.EPERM)

    async def link(self, request: r.Link) -> Entry:
        """Make a hard link; counts as a lookup.  Without this, EPERM."""
        raise unwritable(self, Filesystem, errno.ENOSYS)

    async def unlink(self, request: r.Unlink) -> None:
        """Remove a file's name; keep the node until RELEASE and FORGET."""
        raise unwritable(self, Filesystem, errno.EPERM)

    async def rmdir(self, request: r.Rmdir) -> None:
        """Remove a directory; ENOTEMPTY if it is not empty."""
        raise unwritable(self, Filesystem, errno.EPERM)

    async def rename(self, request: r.Rename) -> None:
        """Rename; replace an existing file of the new name."""
        raise unwritable(self, Filesystem, errno.EPERM)

    async def rename2(self, request: r.Rename) -> None:
        """Rename with ``request.flags``: NOREPLACE, EXCHANGE or WHITEOUT.

        This is a method of its own, so that a filesystem that ignores flags cannot
        overwrite a file that was to be exchanged.  Without this, EINVAL.
        """
        raise unwritable(self, Filesystem, errno.ENOSYS)

    # --- Inodes

    async def getattr(self, request: r.Getattr) -> FileAttr:
        """Return the attributes of an inode."""
        raise unimplemented()

    async def statx(self, request: r.Statx) -> FileAttr:
        """Return the attributes with ``btime_ns``; without this, ``getattr`` is called."""
        raise unimplemented()

    async def setattr(self, request: r.Setattr) -> FileAttr:
        """Set the attributes that are not None in the request; return all attributes.

        Called for chmod, chown, truncate and utimens.
        """
        raise unwritable(self, Filesystem, errno.EPERM)

    async def access(self, request: r.Access) -> None:
        """Check permissions; EACCES if denied.  Without this, all is granted.

        Not called with the mount option ``default_permissions``.
        """
        raise unimplemented()

    async def readlink(self, request: r.Readlink) -> str:
        """Return the target of a symbolic link, at most 4095 bytes."""
        raise unimplemented()

    async def setxattr(self, request: r.Setxattr) -> None:
        """Set an extended attribute; without this, EOPNOTSUPP.

        Raises:
          FuseError: EEXIST for CREATE if it exists, ENODATA for REPLACE if it does
            not.
        """
        raise unimplemented()

    async def getxattr(self, request: r.Getxattr) -> Buffer:
        """Return an extended attribute; ENODATA if missing.  Without this, EOPNOTSUPP."""
        raise unimplemented()

    async def listxattr(self, request: r.Listxattr) -> Iterable[str]:
        """Return the names of all extended attributes; without this, EOPNOTSUPP."""
        raise unimplemented()

    async def removexattr(self, request: r.Removexattr) -> None:
        """Remove an extended attribute; ENODATA if missing.  Without this, EOPNOTSUPP."""
        raise unimplemented()

    # --- Open files

    async def open(self, request: r.Open) -> Opened:
        """Open a regular file; by default with handle 0, or EROFS for writing.

        FuseError(ENOSYS) tells the kernel that open needs no request: it sends no
        further OPEN and no RELEASE, and keeps its page cache over opens.
        """
        if request.flags & O_ACCMODE and not may_be_opened_to_write(self, Filesystem):
            raise FuseError(errno.EROFS)
        return Opened()

    async def read(self, request: r.Read) -> Buffer | FileData:
        """Return ``size`` bytes from ``offset``; fewer mean the end of the file.

        A buffer is sent uncopied: do not change it until the next checkpoint.
        Return `FileData` to have the runtime read an open file.
        """
        raise unimplemented()

    async def write(self, request: r.Write) -> int:
        """Write ``data`` at ``offset``; return the number of bytes written."""
        raise unwritable(self, Filesystem, errno.EINVAL)

    async def flush(self, request: r.Flush) -> None:
        """Handle close(2) of one descriptor; without this, close(2) succeeds.

        close(2) returns its error.  Called once per descriptor; drop the POSIX locks of
        ``lock_owner``.  A process that is killed interrupts its own FLUSH: the method
        starts nevertheless, but already cancelled.  Shield what must be done.
        """
        raise unimplemented()

    async def release(self, request: r.Release) -> None:
        """Release a handle.  No caller waits for it, and errors are not reported.

        Called once for each `Opened`; by the runtime itself if the kernel cannot,
        because the caller of OPEN is gone or the filesystem is unmounted.  It is never
        interrupted.  After unmount it is cancelled after 10 seconds.
        """

    async def fsync(self, request: r.Fsync) -> None:
        """Write a file to stable storage; without this, fsync(2) succeeds."""
        raise unimplemented()

    async def fallocate(self, request: r.Fallocate) -> None:
        """Allocate or free space of a file; without this, EOPNOTSUPP."""
        raise unimplemented()

    async def lseek(self, request: r.Lseek) -> int:
        """Find data or a hole; ENXIO if none.  Without this, a file is all data.

        Returns:
          An offset in bytes.
        """
        raise unimplemented()

    async def copy_file_range(self, request: r.CopyFileRange) -> int:
        """Copy between files; without this, the kernel sends READ and WRITE.

        Returns:
          The number of bytes copied; may be fewer than asked for.
        """
        raise unimplemented()

    async def getlk(self, request: r.Getlk) -> FileLock:
        """Return the conflicting lock, or one of type UNLCK if there is none."""
        raise unimplemented()

    async def setlk(self, request: r.Setlk) -> None:
        """Take or drop a lock; EAGAIN if it conflicts.

        Without this, the kernel keeps the locks itself.  That is enough for a
        filesystem that only this machine uses.
        """
        raise unimplemented()

    async def setlkw(self, request: r.Setlkw) -> None:
        """Take or drop a lock; block while it conflicts.  Any signal cancels this."""
        raise unimplemented()

    async def ioctl(self, request: r.Ioctl) -> IoctlReply:
        """Do a command of ioctl(2); without this, ENOTTY."""
        raise unimplemented()

    async def poll(self, request: r.Poll) -> int:
        """Return which of ``request.events`` are ready; without this, all are."""
        raise unimplemented()

    async def bmap(self, request: r.Bmap) -> int:
        """Return the device's block of a file's block (fuseblk only); without this, 0."""
        raise unimplemented()

    # --- Open directories

    async def opendir(self, request: r.Opendir) -> Opened:
        """Open a directory; by default with a handle of its own.

        The runtime keeps the listing of a handle, in the order that ``readdir``
        returned, until the directory is closed or read from its start again.  If open
        directories share a handle, or this raises ENOSYS, entries are ordered by a
        hash of their names.  So give each open directory its own ``fh``.
        """
        return Opened(fh=next(_directory_handles))

    async def readdir(self, request: r.Readdir) -> Iterable[DirEntry]:
        """Return the entries of a directory.

        Return all of them: the runtime takes them at once, makes pages, and adds ``.``
        and ``..`` unless the first entry is ``.``.  A generator works as well as a
        list.  It is better for a very large directory, because a million objects keep
        the garbage collector busy.

        An entry keeps its place, whatever is made or removed meanwhile.  The runtime
        keeps 32 bytes and the name of each entry while the directory is open.

        Or give each entry your own ``offset``.  Then return the entries after the
        cookie ``request.offset`` (0 is the start), any number of them; none is the end.
        """
        raise unimplemented()

    async def readdirplus(self, request: r.Readdirplus) -> Iterable[DirEntry]:
        """Return the entries of a directory, each with the `Entry` of its name.

        As ``readdir``, but the runtime takes no more from a generator than the kernel
        asks for.  Each `Entry` that the runtime takes counts as a lookup; it calls
        ``forget`` for those that the kernel did not get.  All entries of a list are
        taken at once, those of an iterator one by one.

        If the kernel continues a generator's listing with READDIR, the runtime calls
        ``readdir`` for the rest and skips what was listed before.
        """
        raise unimplemented()

    async def releasedir(self, request: r.Releasedir) -> None:
        """Release a directory's handle, as ``release``."""

    async def fsyncdir(self, request: r.Fsyncdir) -> None:
        """Write a directory to stable storage; without this, fsync(2) succeeds."""
        raise unimplemented()


def implements(filesystem: Filesystem, method: str) -> bool:
    """Whether ``filesystem`` overrides a method of `Filesystem`.

    Args:
      filesystem: Any filesystem.
      method: The name of a method: ``setlk``.
    """
    return overrides(filesystem, Filesystem, method)
