"""The values that methods of a filesystem return."""

from __future__ import annotations

import os
import stat
import time
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Self

import attrs

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

#: The lifetime of names and attributes in the kernel's cache, seconds; as in libfuse.
DEFAULT_VALID = 1.0

#: The default of times.  It is constant while a program runs: with a new mtime at each
#: stat(2) the kernel would drop the page cache, and make(1) would rebuild.
_STARTED_NS = time.time_ns()

#: Cached: the two system calls take as long as the rest of a FileAttr.
_uid = lru_cache(os.getuid)
_gid = lru_cache(os.getgid)


def look_up_owner_anew() -> None:
    """Update the default owner of attributes to the current user, at each mount."""
    _uid.cache_clear()
    _gid.cache_clear()


@attrs.define
class FileAttr:
    """The attributes of an inode: what stat(2) shows.

    Source: ``struct fuse_attr`` and ``struct fuse_statx`` in linux/fuse.h.

    Attributes:
      ino: Inode number (``st_ino``); also the default ``nodeid`` of an `Entry`.
      mode: File type and permissions (``st_mode``).
      nlink: Number of hard links.
      size: Bytes.
      blocks: 512-byte units in use; by default as many as ``size`` needs.  Fewer tell
        tar(1) and cp(1) that the file has holes.  With 0 they take the whole file for
        a hole and do not read it.
      uid: Owner; by default the user who mounts, before that the program's user.
      gid: Group; likewise.
      rdev: Device number as of ``os.makedev``, for device nodes.
      atime_ns: Last access, nanoseconds since the epoch; may be negative.  The default
        of all three times is the start of the program.
      mtime_ns: Last change of the contents.
      ctime_ns: Last change of the inode.
      btime_ns: Birth, or None if unknown; only STATX carries it.
      blksize: Preferred size of I/O, bytes; 0 lets the kernel choose 4096.
      flags: `AttrFlags`.
      attributes: `StatxAttributes`; only STATX carries them, and Linux 6.18 does not
        pass them on (``fuse_do_statx()``).
      attr_valid: Seconds for which the kernel may cache these attributes;
        ``math.inf`` is without limit.
    """

    ino: int
    mode: int
    nlink: int = 1
    size: int = 0
    blocks: int | None = None
    uid: int = attrs.Factory(_uid)
    gid: int = attrs.Factory(_gid)
    rdev: int = 0
    atime_ns: int = _STARTED_NS
    mtime_ns: int = _STARTED_NS
    ctime_ns: int = _STARTED_NS
    btime_ns: int | None = None
    blksize: int = 4096
    flags: int = 0
    attributes: int = 0
    attr_valid: float = DEFAULT_VALID

    @classmethod
    def from_stat(
        cls,
        status: os.stat_result,
        *,
        ino: int | None = None,
        attr_valid: float = DEFAULT_VALID,
    ) -> Self:
        """Make attributes from a result of ``os.stat``, ``os.fstat`` or ``os.lstat``.

        Args:
          status: The result to copy.
          ino: The inode number; ``status.st_ino`` by default.
          attr_valid: Seconds for which the kernel may cache the attributes.
        """
        return cls(
            ino=status.st_ino if ino is None else ino,
            mode=status.st_mode,
            nlink=status.st_nlink,
            size=status.st_size,
            blocks=status.st_blocks,
            uid=status.st_uid,
            gid=status.st_gid,
            rdev=status.st_rdev,
            atime_ns=status.st_atime_ns,
            mtime_ns=status.st_mtime_ns,
            ctime_ns=status.st_ctime_ns,
            blksize=status.st_blksize,
            attr_valid=attr_valid,
        )

    @property
    def is_dir(self) -> bool:
        """Whether this is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def blocks_in_use(self) -> int:
        """The value of st_blocks: ``blocks``, or as many as ``size`` needs."""
        return -(-self.size // 512) if self.blocks is None else self.blocks

    def __eq__(self, other: object) -> bool:
        """Whether both have equal fields; a default ``blocks`` counts as its value."""
        if not isinstance(other, FileAttr):
            return NotImplemented
        return self._shown() == other._shown()

    def _shown(self) -> tuple[object, ...]:
        return attrs.astuple(attrs.evolve(self, blocks=self.blocks_in_use))


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
