"""The class to subclass: one method an operation of the kernel.

This file is long because the protocol is: it holds every operation once, in the
order of a file's life, and nothing else.
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
from triofuse.filesystem.config import KernelConfig
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.flags import O_ACCMODE
from triofuse.filesystem.notifier import Notifier
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

#: Handles of directories that no filesystem has numbered itself.
_directory_handles = itertools.count(1)


class Filesystem:
    """A filesystem: subclass it and write the methods that it needs.

    Each method takes one request and returns one value.  To fail, raise an
    ``OSError``: its ``errno`` is what the caller gets; `FuseError` is the short
    form.  Anything else that is raised is a bug: the caller gets EIO and the log
    the traceback.

    Methods run as trio tasks, many at a time.  A signal that kills the caller cancels
    the method; protect what must not be left half done with a shielded
    ``trio.CancelScope``.  One that the caller survives, a timer's or SIGWINCH, changes
    nothing, as on a local filesystem, but for what waits by its nature: `setlkw`,
    `poll`, and `read` of a file that is opened with DIRECT_IO, NONSEEKABLE or STREAM.
    Those any signal cancels, and the caller gets EINTR; dropping a lock is none of them.

    A caller that /proc does not show (of another pid namespace, or with ``hidepid``)
    may have died of its signal or not: the method has a second to end by itself.

    Attributes:
      interruptible: The names of more methods that wait by their nature, so that any
        signal cancels them: ``{"open", "ioctl"}`` of a pipe, say.

    A method that is left out answers ENOSYS.  What the kernel makes of that is
    said at each; where nothing is said the caller sees "Function not implemented".
    What would write answers EROFS if a class has no method that does, else EPERM
    (``write``: EINVAL), as mkdir(2) and its kin say it of a filesystem that cannot.
    """

    interruptible: frozenset[str] = frozenset()

    @property
    def notifier(self) -> Notifier:
        """What tells the kernel of changes; there from ``init`` on.

        Of the latest session, where one filesystem is mounted several times.

        Raises:
          RuntimeError: Nobody serves this filesystem yet.
        """
        try:
            notifier: Notifier = self.__dict__["notifier"]
        except KeyError:
            message = f"{type(self).__name__} has no notifier before init() is called"
            raise RuntimeError(message) from None
        return notifier

    @notifier.setter
    def notifier(self, notifier: Notifier) -> None:
        self.__dict__["notifier"] = notifier

    # --- The life of a mount

    async def init(self, config: KernelConfig) -> None:
        """Get ready; called once, before any other method.

        Args:
          config: What the kernel offers, and what to take of it.

        Source: ``process_init_reply()`` in fs/fuse/inode.c.
        """

    async def destroy(self) -> None:
        """Let go of everything; called once, after all other methods have ended.

        The kernel sends no FORGET at unmount: drop all lookup counts here.  After
        10 seconds it is cancelled.
        """

    async def statfs(self, request: r.StatfsRequest) -> Statfs:
        """Return size and free space; all zero by default, as in libfuse."""
        return Statfs()

    async def syncfs(self, request: r.Syncfs) -> None:
        """Write everything to stable storage; left out, syncfs(2) succeeds.

        Only block device mounts (fuseblk) are asked.
        """
        raise unimplemented()

    # --- Names

    async def lookup(self, request: r.Lookup) -> Entry:
        """Find a name.

        Returns:
          The entry, which adds one to its lookup count; `Entry.negative` to have
          the absence cached; FuseError(ENOENT) to have it asked again.
        """
        raise unimplemented()

    def forget(self, request: r.Forget) -> None:
        """Take ``nlookup`` off a node's lookup count.

        A plain function: the kernel waits for nothing.  The root is never
        forgotten, and nothing is at unmount.
        """

    async def create(self, request: r.Create) -> tuple[Entry, Opened]:
        """Make a regular file and open it; left out, MKNOD and OPEN come instead."""
        raise unwritable(self, Filesystem, errno.ENOSYS)

    async def tmpfile(self, request: r.Tmpfile) -> tuple[Entry, Opened]:
        """Make a nameless file and open it; left out, O_TMPFILE is EOPNOTSUPP."""
        raise unwritable(self, Filesystem, errno.ENOSYS)

    async def mknod(self, request: r.Mknod) -> Entry:
        """Make a file, device, pipe or socket; the kernel does all I/O on the last."""
        raise unwritable(self, Filesystem, errno.EPERM)

    async def mkdir(self, request: r.Mkdir) -> Entry:
        """Make a directory."""
        raise unwritable(self, Filesystem, errno.EPERM)

    async def symlink(self, request: r.Symlink) -> Entry:
        """Make a symbolic link."""
        raise unwritable(self, Filesystem, errno.EPERM)

    async def link(self, request: r.Link) -> Entry:
        """Make a hard link, one lookup of its inode; left out, link(2) is EPERM."""
        raise unwritable(self, Filesystem, errno.ENOSYS)

    async def unlink(self, request: r.Unlink) -> None:
        """Remove a file's name; the node lives until RELEASE and FORGET."""
        raise unwritable(self, Filesystem, errno.EPERM)

    async def rmdir(self, request: r.Rmdir) -> None:
        """Remove an empty directory, else ENOTEMPTY."""
        raise unwritable(self, Filesystem, errno.EPERM)

    async def rename(self, request: r.Rename) -> None:
        """Rename, replacing what has the new name."""
        raise unwritable(self, Filesystem, errno.EPERM)

    async def rename2(self, request: r.Rename) -> None:
        """Rename as ``request.flags`` say: NOREPLACE, EXCHANGE or WHITEOUT.

        Apart from ``rename``, so that a filesystem that knows no flags cannot
        overwrite what was to be exchanged; left out, the caller gets EINVAL.
        """
        raise unwritable(self, Filesystem, errno.ENOSYS)

    # --- Inodes

    async def getattr(self, request: r.Getattr) -> FileAttr:
        """Return the attributes of an inode."""
        raise unimplemented()

    async def statx(self, request: r.Statx) -> FileAttr:
        """Return the attributes with ``btime_ns``; left out, ``getattr`` is asked."""
        raise unimplemented()

    async def setattr(self, request: r.Setattr) -> FileAttr:
        """Change what is not None in the request, return all attributes.

        chmod, chown, truncate and utimens come this way.
        """
        raise unwritable(self, Filesystem, errno.EPERM)

    async def access(self, request: r.Access) -> None:
        """Check permissions, else EACCES; left out, all is granted.

        Never called with the mount option ``default_permissions``.
        """
        raise unimplemented()

    async def readlink(self, request: r.Readlink) -> str:
        """Return the target of a symbolic link, at most 4095 bytes."""
        raise unimplemented()

    async def setxattr(self, request: r.Setxattr) -> None:
        """Set an extended attribute; left out, there are none (EOPNOTSUPP).

        Raises:
          FuseError: EEXIST for CREATE of one that exists, ENODATA for REPLACE of
            one that does not.
        """
        raise unimplemented()

    async def getxattr(self, request: r.Getxattr) -> Buffer:
        """Return an extended attribute, else ENODATA; left out, there are none."""
        raise unimplemented()

    async def listxattr(self, request: r.Listxattr) -> Iterable[str]:
        """Return the names of all extended attributes; left out, there are none."""
        raise unimplemented()

    async def removexattr(self, request: r.Removexattr) -> None:
        """Remove an extended attribute, else ENODATA; left out, EOPNOTSUPP."""
        raise unimplemented()

    # --- Open files

    async def open(self, request: r.Open) -> Opened:
        """Open a regular file; by default with handle 0, or EROFS for writing.

        FuseError(ENOSYS) means that nothing is ever to be done at open: the kernel
        asks no more, keeps its page cache over opens, and sends no RELEASE.
        """
        if request.flags & O_ACCMODE and not may_be_opened_to_write(self, Filesystem):
            raise FuseError(errno.EROFS)
        return Opened()

    async def read(self, request: r.Read) -> Buffer | FileData:
        """Return up to ``size`` bytes from ``offset``; fewer mean the end of file.

        A buffer is sent uncopied: do not change it until the next checkpoint.
        `FileData` names an open file in place of its bytes.
        """
        raise unimplemented()

    async def write(self, request: r.Write) -> int:
        """Write ``data`` at ``offset``, return the number of bytes written."""
        raise unwritable(self, Filesystem, errno.EINVAL)

    async def flush(self, request: r.Flush) -> None:
        """Close one descriptor; an error goes to close(2); left out, it succeeds.

        Comes once for each descriptor, and drops the POSIX locks of
        ``lock_owner``.  Whoever is killed interrupts its own FLUSH: it is started
        nevertheless, but already cancelled; shield what must be done.
        """
        raise unimplemented()

    async def release(self, request: r.Release) -> None:
        """Let go of a handle.  Nobody waits for it and errors reach nobody.

        Comes once for each `Opened`, from the runtime itself where the kernel has
        no occasion: the caller of OPEN is gone, or the mount is.  It is never
        interrupted; when the mount has ended it has 10 seconds.
        """

    async def fsync(self, request: r.Fsync) -> None:
        """Write a file to stable storage; left out, fsync(2) succeeds."""
        raise unimplemented()

    async def fallocate(self, request: r.Fallocate) -> None:
        """Change a file's space; left out, fallocate(2) is EOPNOTSUPP."""
        raise unimplemented()

    async def lseek(self, request: r.Lseek) -> int:
        """Find data or a hole, else ENXIO; left out, a file is all data.

        Returns:
          An offset in bytes.
        """
        raise unimplemented()

    async def copy_file_range(self, request: r.CopyFileRange) -> int:
        """Copy between files; left out, the kernel reads and writes.

        Returns:
          The number of bytes copied; fewer than asked is fine.
        """
        raise unimplemented()

    async def getlk(self, request: r.Getlk) -> FileLock:
        """Return the lock that stands in the way, or one of type UNLCK."""
        raise unimplemented()

    async def setlk(self, request: r.Setlk) -> None:
        """Take or drop a lock, EAGAIN if it is taken.

        Left out, the kernel keeps locks itself, which serves a filesystem that
        only this machine sees.
        """
        raise unimplemented()

    async def setlkw(self, request: r.Setlkw) -> None:
        """Take or drop a lock, waiting while it is taken; any signal cancels."""
        raise unimplemented()

    async def ioctl(self, request: r.Ioctl) -> IoctlReply:
        """Do what ioctl(2) asks; left out, ENOTTY."""
        raise unimplemented()

    async def poll(self, request: r.Poll) -> int:
        """Return which of ``request.events`` are ready; left out, always all."""
        raise unimplemented()

    async def bmap(self, request: r.Bmap) -> int:
        """Return the device's block of a file's block (fuseblk only); left out, 0."""
        raise unimplemented()

    # --- Open directories

    async def opendir(self, request: r.Opendir) -> Opened:
        """Open a directory; by default with a handle of its own.

        The runtime keeps the listing of a handle, in the order in which it was
        returned, until the directory is closed or read from its start again.  Where
        several share a handle, or this is ENOSYS, there is no such order: entries come
        in that of a hash of their names.  So give each open directory another ``fh``.
        """
        return Opened(fh=next(_directory_handles))

    async def readdir(self, request: r.Readdir) -> Iterable[DirEntry]:
        """Return the entries of a directory.

        Return them all: the runtime takes them at once and pages them, and adds ``.``
        and ``..`` unless the first entry is ``.``.  A generator is as good as a list,
        and better for a very large directory: a million objects at a time keep the
        garbage collector busy.

        What was listed keeps its place, whatever is made or removed meanwhile: 32 bytes
        and the name are kept of each entry while the directory is open.

        Or give each an ``offset`` of your own: then return those after the cookie
        ``request.offset`` (0 is the start), as many as you like; none means the end.
        """
        raise unimplemented()

    async def readdirplus(self, request: r.Readdirplus) -> Iterable[DirEntry]:
        """Return the entries of a directory, each with the `Entry` of its name.

        As ``readdir``; a generator is asked for no more than the kernel takes.
        Each `Entry` handed over counts as a lookup, and the runtime calls
        ``forget`` for those that the kernel did not get.  What exists already, as in
        a list, is handed over at once; an iterator hands an entry over as it is asked.

        Where the kernel goes over to names alone in the midst of a generator,
        ``readdir`` is asked for them, and what was listed is left out of its answer.
        """
        raise unimplemented()

    async def releasedir(self, request: r.Releasedir) -> None:
        """Let go of a directory's handle, as ``release``."""

    async def fsyncdir(self, request: r.Fsyncdir) -> None:
        """Write a directory to stable storage; left out, fsync(2) succeeds."""
        raise unimplemented()


def implements(filesystem: Filesystem, method: str) -> bool:
    """Whether ``filesystem`` has a method of its own in place of the default.

    Args:
      filesystem: Any filesystem.
      method: The name of a method: ``setlk``.
    """
    return overrides(filesystem, Filesystem, method)
