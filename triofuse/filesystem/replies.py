"""The values that methods of a filesystem return."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import Self

import attrs

from triofuse.filesystem.attributes import (
    DEFAULT_VALID,
    FileAttr,
    look_up_owner_anew,
)

__all__ = [
    "Buffer",
    "DirEntry",
    "Entry",
    "FileAttr",
    "FileData",
    "FileLock",
    "IoctlReply",
    "KeptEntry",
    "Opened",
    "Statfs",
    "look_up_owner_anew",
]

#: Any object that ``os.writev`` takes.  Payloads are sent uncopied, except large views
#: of a far larger object, for which a copy is faster.
Buffer = bytes | bytearray | memoryview


def _ino(entry: Entry) -> int:
    return entry.attr.ino


@attrs.define
class Entry:
    """A name that was found or made, with its inode.

    Each entry that reaches the kernel with a ``nodeid`` other than 0 adds one to the
    lookup count of that node.  `Forget` subtracts it.

    Source: ``struct fuse_entry_out`` in linux/fuse.h.

    Attributes:
      attr: The inode's attributes.
      nodeid: The inode's number in later requests; 1 is only the root.  By default
        ``attr.ino``.
      generation: Distinguishes inodes that had the same ``nodeid`` over time.
      entry_valid: Seconds for which the kernel may cache the name.
    """

    attr: FileAttr
    nodeid: int = attrs.Factory(_ino, takes_self=True)
    generation: int = 0
    entry_valid: float = DEFAULT_VALID

    @classmethod
    def negative(cls, entry_valid: float = DEFAULT_VALID) -> Self:
        """Return an entry for a name that does not exist, cached for some seconds.

        A plain ENOENT is not cached: the kernel asks again each time.
        """
        nothing = FileAttr(0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)
        return cls(nothing, nodeid=0, entry_valid=entry_valid)


@attrs.define(eq=False)
class KeptEntry(Entry):
    """An entry that is sent many times: the runtime keeps its encoded form in it.

    Attributes:
      record: The encoded form; the runtime sets it.  Whoever changes ``attr``, or
        another attribute, sets it to None.
    """

    record: bytes | None = attrs.field(default=None, init=False)


@attrs.define
class DirEntry:
    """One name in a directory.

    Source: ``struct fuse_dirent`` and ``fuse_direntplus`` in linux/fuse.h.

    Attributes:
      name: The name, without slash or NUL.
      ino: Its inode number; 0 hides the entry from readdir(3).
      mode: Its file type as in ``st_mode``; 0 if unknown.
      offset: The cookie with which a later READDIR continues after this entry; or
        None, for all entries of a listing, to let the runtime make the pages.
      entry: For READDIRPLUS: what a LOOKUP of the name would return.  It counts as a
        lookup.  None means no attributes.
    """

    name: str
    ino: int
    mode: int = 0
    offset: int | None = None
    entry: Entry | None = None


@attrs.define
class Opened:
    """An open file or directory.

    Source: ``struct fuse_open_out`` in linux/fuse.h.

    Attributes:
      fh: The file handle of later requests, 0..2**64-1; the filesystem chooses it.
      flags: `OpenFlags`.
      backing_id: With ``OpenFlags.PASSTHROUGH``: the number of a `BackingId`, for
        filesystems that manage these themselves.
      backing_fd: A descriptor of a regular file that the kernel may read, write and
        map in place of this one, with ``InitFlags.PASSTHROUGH``.  O_PATH is enough.
        Keep it open until RELEASE.  All open files of an inode share the file of the
        first.  If the kernel refuses it, for example without CAP_SYS_ADMIN, the
        filesystem gets READ and WRITE as usual; the log says why, once.
      backing_as: A context manager that is entered while ``backing_fd`` is passed to
        the kernel.  The kernel reads and writes with the credentials that the thread
        has at that moment: they decide whose quota and reserved blocks the writes use
        (``fuse_backing_open()``).  None: the server's credentials.
    """

    fh: int = 0
    flags: int = 0
    backing_id: int = 0
    backing_fd: int | None = None
    backing_as: AbstractContextManager[object] | None = None


@attrs.frozen
class FileData:
    """Bytes of an open file, which the runtime reads: a reply to READ.

    Bytes in the page cache take one system call and no new memory; from 256 KiB on they
    are spliced, not read.  Other bytes are read in a thread, while the event loop
    runs.  So are files of a filesystem that cannot tell, such as tmpfs.  A session has
    40 threads for this, apart from ``trio.to_thread``.  If a slow disk blocks them
    all, further reads of this kind wait, and nothing else.  The caller gets an error
    of the read.

    Source: preadv(2), RWF_NOWAIT; cachestat(2), splice(2).

    Attributes:
      fd: The descriptor, open for reading.  It is used until the request is answered;
        a RELEASE of the same handle comes later.
      offset: The offset of the first byte.
      size: Bytes, at most ``request.size``.  If the file ends before, the reply is
        shorter.
    """

    fd: int
    offset: int
    size: int


@attrs.define
class FileLock:
    """A lock on a range of a file.

    Source: ``struct fuse_file_lock`` in linux/fuse.h; fcntl_locking(2).

    Attributes:
      start: First byte.
      end: Last byte, inclusive; 2**63-1 is the end of the file.
      type: `LockType`; UNLCK in a reply to GETLK means that no lock conflicts.
      pid: The process that holds it.
    """

    start: int = 0
    end: int = 2**63 - 1
    type: int = 2
    pid: int = 0


@attrs.define
class IoctlReply:
    """The answer to an IOCTL.

    Source: ``struct fuse_ioctl_out`` in linux/fuse.h.

    Attributes:
      result: The return value of ioctl(2).
      data: The bytes copied to the caller, at most ``request.out_size``; exactly so
        many for FS_IOC_GETFLAGS and FS_IOC_FSGETXATTR (``fuse_priv_ioctl()``).
    """

    result: int = 0
    data: Buffer = b""


@attrs.define
class Statfs:
    """The state of the filesystem: what statfs(2) and df(1) show.

    By default all zero, as in /proc; df(1) then omits it.  A filesystem that can be
    written should report its space, because some programs check before they write.

    Source: ``struct fuse_kstatfs`` in linux/fuse.h.

    Attributes:
      blocks: Size in units of ``frsize``.
      bfree: Free blocks.
      bavail: Free blocks for users without privileges.
      files: Inodes.
      ffree: Free inodes.
      bsize: Preferred size of I/O, bytes.
      namelen: Longest name, bytes.
      frsize: The unit of the block counts, bytes.
    """

    blocks: int = 0
    bfree: int = 0
    bavail: int = 0
    files: int = 0
    ffree: int = 0
    bsize: int = 4096
    namelen: int = 255
    frsize: int = 4096

    @classmethod
    def from_statvfs(cls, status: os.statvfs_result) -> Self:
        """Make a reply from a result of ``os.statvfs`` or ``os.fstatvfs``."""
        return cls(
            blocks=status.f_blocks,
            bfree=status.f_bfree,
            bavail=status.f_bavail,
            files=status.f_files,
            ffree=status.f_ffree,
            bsize=status.f_bsize,
            namelen=status.f_namemax,
            frsize=status.f_frsize,
        )
