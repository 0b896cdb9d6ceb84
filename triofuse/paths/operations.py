"""`PathOperations`, the class to subclass for a store whose names are paths.

It has every operation once, in the order of a file's life, and nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

import attrs

from triofuse.filesystem.config import KernelConfig
from triofuse.filesystem.flags import RenameFlags
from triofuse.filesystem.replies import (
    Buffer,
    DirEntry,
    FileData,
    FileLock,
    IoctlReply,
    Statfs,
)
from triofuse.paths.attributes import Attributes

if TYPE_CHECKING:
    import os

__all__ = ["Listed", "OpenFile", "PathOperations"]

T = TypeVar("T")

#: What a method returns: a plain one the value itself, an async one an awaitable.
Answer: TypeAlias = T | Awaitable[T]

#: An entry of a listing: a name, a name with its attributes, or a `DirEntry`.
Listed: TypeAlias = str | tuple[str, Attributes | None] | DirEntry


@attrs.frozen
class OpenFile:
    """An open file with flags, for ``open`` and ``create`` to return.

    Attributes:
      handle: Any object; other methods get it as ``handle``.
      flags: `OpenFlags`: DIRECT_IO or KEEP_CACHE, for instance.
      backing_fd: As in `Opened`: the kernel reads and writes that file by itself.
    """

    handle: object = None
    flags: int = 0
    backing_fd: int | None = None


class PathOperations:
    """The methods of a store whose names are paths; `PathFilesystem` serves it.

    Write the methods that you need, each either async or plain.  Plain methods may
    block: they run in threads.  To fail, raise an ``OSError``, for instance
    ``FuseError(errno.ENOENT)`` or ``FileNotFoundError(errno.ENOENT, ...)``.  Who calls
    is `current_request`.

    A path is absolute, ``/`` is the root.  It stays valid until the method returns:
    renames and removals wait.  The path of an open file that was removed is empty.

    ``handle`` is what ``open``, ``create`` or ``opendir`` returned, or None where
    the request is about no open file.  A method that has no use for it may leave this
    argument out.  So ``def getattr(self, path)`` and ``def read(self, path, size,
    offset)`` work as well.

    Attributes are a `Stat` with file type and permissions in ``mode``, an
    ``os.stat_result`` or a `FileAttr`.  A Stat without ``size`` says that nobody knows
    the size: then the file is read until its end.  Files with the same ``ino`` and an
    ``nlink`` above 1 are hard links to one file.

    Attributes:
      rename_flags: The flags that `rename` understands; requests with others get
        EINVAL and are not passed on.
    """

    rename_flags: ClassVar[int | RenameFlags] = 0

    # --- The whole store

    def init(self, config: KernelConfig) -> Answer[None]:  # noqa: ARG002
        """Prepare to serve; called first."""
        return None

    def destroy(self) -> Answer[None]:
        """Release everything; called last, when all threads have ended."""
        return None

    def statfs(self, path: str) -> Answer[Statfs | os.statvfs_result]:
        """Return size and free space; without this, all is zero."""
        raise NotImplementedError

    # --- Names

    def getattr(self, path: str, handle: Any) -> Answer[Attributes]:
        """Return attributes; ENOENT if there is no such path."""
        raise NotImplementedError

    def readdir(
        self, path: str, handle: Any
    ) -> Answer[Iterable[Listed]] | AsyncIterable[Listed]:
        """Return or yield the names in a directory.

        Attributes beside the names save a `getattr` for each: they answer READDIRPLUS,
        and lookups for as long as they are valid.  Lookups of names that are not in
        the listing are answered from it, too.
        """
        raise NotImplementedError

    def readlink(self, path: str) -> Answer[str]:
        """Return the target of a symbolic link."""
        raise NotImplementedError

    def mkdir(self, path: str, mode: int) -> Answer[Attributes | None]:
        """Make a directory.

        This method and those below that make a name may return its attributes, which
        saves a `getattr`.
        """
        raise NotImplementedError

    def mknod(self, path: str, mode: int, rdev: int) -> Answer[Attributes | None]:
        """Make a file, device, pipe or socket; ``mode`` has the file type."""
        raise NotImplementedError

    def symlink(self, target: str, path: str) -> Answer[Attributes | None]:
        """Make ``path`` a symbolic link to ``target``."""
        raise NotImplementedError

    def link(self, old: str, new: str) -> Answer[Attributes | None]:
        """Make ``new`` a hard link to ``old``."""
        raise NotImplementedError

    def unlink(self, path: str) -> Answer[None]:
        """Remove a file's name."""
        raise NotImplementedError

    def rmdir(self, path: str) -> Answer[None]:
        """Remove an empty directory; ENOTEMPTY if it is not."""
        raise NotImplementedError

    def rename(self, old: str, new: str, flags: int) -> Answer[None]:
        """Rename a file or directory; replace what has the name ``new``.

        ``flags`` is 0, or some of `rename_flags`.
        """
        raise NotImplementedError

    # --- Attributes

    def chmod(self, path: str, mode: int, handle: Any) -> Answer[None]:
        """Set the permissions; ``mode`` has the file type as well."""
        raise NotImplementedError

    def chown(self, path: str, uid: int, gid: int, handle: Any) -> Answer[None]:
        """Set owner and group; -1 leaves one as it is."""
        raise NotImplementedError

    def truncate(self, path: str, size: int, handle: Any) -> Answer[None]:
        """Set the size; what is added reads as zeros."""
        raise NotImplementedError

    def utimens(
        self, path: str, atime_ns: int, mtime_ns: int, handle: Any
    ) -> Answer[None]:
        """Set the times of access and change, nanoseconds since the epoch."""
        raise NotImplementedError

    def access(self, path: str, mask: int) -> Answer[None]:
        """Check permissions; EACCES if denied.  Without this, all is granted.

        Not called with the mount option ``default_permissions``.
        """
        raise NotImplementedError

    def getxattr(self, path: str, name: str) -> Answer[Buffer]:
        """Return an extended attribute; ENODATA if there is none."""
        raise NotImplementedError

    def listxattr(self, path: str) -> Answer[Iterable[str]]:
        """Return the names of all extended attributes."""
        raise NotImplementedError

    def setxattr(self, path: str, name: str, value: bytes, flags: int) -> Answer[None]:
        """Set an extended attribute; ``flags`` are `SetxattrFlags`."""
        raise NotImplementedError

    def removexattr(self, path: str, name: str) -> Answer[None]:
        """Remove an extended attribute; ENODATA if there is none."""
        raise NotImplementedError

    # --- Open files

    def open(self, path: str, flags: int) -> Answer[object]:
        """Open a file; return any object, its handle, or an `OpenFile`.

        Without this the handle is None.

        Args:
          path: The path.
          flags: Of open(2).  O_TRUNC is not among them: `truncate` is called.
        """
        raise NotImplementedError

    def create(self, path: str, mode: int, flags: int) -> Answer[object]:
        """Make a regular file and open it; return what `open` returns.

        Without this, `mknod` and `open` are called.
        """
        raise NotImplementedError

    def read(
        self, path: str, size: int, offset: int, handle: Any
    ) -> Answer[Buffer | FileData]:
        """Return ``size`` bytes from ``offset``; fewer mean the end of the file."""
        raise NotImplementedError

    def write(self, path: str, data: Buffer, offset: int, handle: Any) -> Answer[int]:
        """Write ``data`` at ``offset``; return the number of bytes written.

        In an async method ``data`` is valid until the method returns.
        """
        raise NotImplementedError

    def flush(self, path: str, handle: Any) -> Answer[None]:
        """Close one descriptor; close(2) returns an error.  May come several times."""
        raise NotImplementedError

    def release(self, path: str, handle: Any) -> Answer[None]:
        """Close the handle; called once for each `open` and `create`."""
        raise NotImplementedError

    def fsync(self, path: str, datasync: bool, handle: Any) -> Answer[None]:
        """Write a file to stable storage; without its metadata if ``datasync``."""
        raise NotImplementedError

    def fallocate(
        self, path: str, mode: int, offset: int, length: int, handle: Any
    ) -> Answer[None]:
        """Allocate or free space; ``mode`` is `FallocateMode`."""
        raise NotImplementedError

    def lseek(self, path: str, offset: int, whence: int, handle: Any) -> Answer[int]:
        """Find data or a hole: ``os.SEEK_DATA`` or ``os.SEEK_HOLE``."""
        raise NotImplementedError

    def ioctl(
        self, path: str, cmd: int, data: bytes, out_size: int, handle: Any
    ) -> Answer[IoctlReply | int]:
        """Do a command of ioctl(2); ENOTTY if it is unknown.

        Args:
          path: The path.
          cmd: The command number.
          data: The bytes from the caller.
          out_size: The most bytes that the reply may have.
          handle: The handle.
        """
        raise NotImplementedError

    def getlk(
        self, path: str, lock: FileLock, owner: int, handle: Any
    ) -> Answer[FileLock]:
        """Return the lock of fcntl(2) that conflicts, or one of type UNLCK."""
        raise NotImplementedError

    def setlk(
        self,
        path: str,
        lock: FileLock,
        owner: int,
        wait: bool,
        handle: Any,
    ) -> Answer[None]:
        """Take or drop a lock of fcntl(2); EAGAIN if it conflicts and ``wait`` is false.

        Without this, the kernel keeps the locks.  All locks of an owner are dropped
        when it closes a descriptor: that is a call of this method, too.
        """
        raise NotImplementedError

    def flock(
        self,
        path: str,
        type: int,  # noqa: A002
        owner: int,
        wait: bool,
        handle: Any,
    ) -> Answer[None]:
        """Take or drop a lock of flock(2); ``type`` is `LockType`."""
        raise NotImplementedError

    # --- Open directories

    def opendir(self, path: str, flags: int) -> Answer[object]:
        """Open a directory; return any object, its handle."""
        raise NotImplementedError

    def releasedir(self, path: str, handle: Any) -> Answer[None]:
        """Close the handle of a directory."""
        raise NotImplementedError

    def fsyncdir(self, path: str, datasync: bool, handle: Any) -> Answer[None]:
        """Write a directory to stable storage."""
        raise NotImplementedError
