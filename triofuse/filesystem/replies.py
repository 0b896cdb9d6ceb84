"""What a filesystem answers with."""

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
    "Opened",
    "Statfs",
    "look_up_owner_anew",
]

#: Anything that ``os.writev`` takes: payloads are sent as they are, uncopied but for
#: large pieces of something far larger, which are sent sooner from a copy.
Buffer = bytes | bytearray | memoryview

#: The lifetime of names and attributes in the kernel's cache, as in libfuse.
DEFAULT_VALID = 1.0

#: The times that nobody has given.  They never change while a program runs: with a new
#: mtime at each stat(2) the kernel would drop the page cache, and make(1) rebuild.
_STARTED_NS = time.time_ns()

#: Two system calls take as long as all the rest of a FileAttr.
_uid = lru_cache(os.getuid)
_gid = lru_cache(os.getgid)


def look_up_owner_anew() -> None:
    """Have attributes belong to whoever runs the program now: it mounts something."""
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
      blocks: 512-byte units in use; by default as many as ``size`` takes.  Less than
        that tells tar(1) and cp(1) that the file has holes: 0 is all hole, and they
        do not read it.
      uid: Owner; by default who mounts, or before that who runs the program.
      gid: Group; likewise.
      rdev: Device number as of ``os.makedev``, for device nodes.
      atime_ns: Last access, nanoseconds since the epoch; may be negative.  All three
        times are by default when the program started.
      mtime_ns: Last change of the contents.
      ctime_ns: Last change of the inode.
      btime_ns: Birth, or None where it is not known; only STATX carries it.
      blksize: Preferred size of I/O, bytes; 0 lets the kernel choose 4096.
      flags: `AttrFlags`.
      attributes: `StatxAttributes`; only STATX carries them, and Linux 6.18 shows
        nobody (``fuse_do_statx()``).
      attr_valid: Seconds for which the kernel may use these attributes unasked;
        ``math.inf`` is for ever.
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
        """Take the attributes from a result of ``os.stat`` and its kin.

        Args:
          status: What to copy.
          ino: Another inode number than ``status.st_ino``.
          attr_valid: Seconds for which the kernel may use the attributes.
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
        """What st_blocks shows: ``blocks``, or as many as ``size`` takes."""
        return -(-self.size // 512) if self.blocks is None else self.blocks

    def __eq__(self, other: object) -> bool:
        """Whether both show the same, whether or not it was given."""
        if not isinstance(other, FileAttr):
            return NotImplemented
        return self._shown() == other._shown()

    def _shown(self) -> tuple[object, ...]:
        return attrs.astuple(attrs.evolve(self, blocks=self.blocks_in_use))


def _ino(entry: Entry) -> int:
    return entry.attr.ino


@attrs.define
class Entry:
    """A name that was found or made, and the inode it leads to.

    Each entry that reaches the kernel with a ``nodeid`` other than 0 adds one to
    the lookup count of that node; `Forget` takes it off again.

    Source: ``struct fuse_entry_out`` in linux/fuse.h.

    Attributes:
      attr: The inode's attributes.
      nodeid: The number by which later requests name the inode, never 1 (the
        root) for anything else; ``attr.ino`` by default.
      generation: Tells apart the inodes that one ``nodeid`` named over time.
      entry_valid: Seconds for which the kernel may use the name unasked.
    """

    attr: FileAttr
    nodeid: int = attrs.Factory(_ino, takes_self=True)
    generation: int = 0
    entry_valid: float = DEFAULT_VALID

    @classmethod
    def negative(cls, entry_valid: float = DEFAULT_VALID) -> Self:
        """Say that a name does not exist, and for how many seconds that holds.

        A plain ENOENT says the same, but the kernel asks again each time.
        """
        nothing = FileAttr(0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)
        return cls(nothing, nodeid=0, entry_valid=entry_valid)


@attrs.define
class DirEntry:
    """One name in a directory.

    Source: ``struct fuse_dirent`` and ``fuse_direntplus`` in linux/fuse.h.

    Attributes:
      name: The name, without slash or NUL.
      ino: Its inode number; 0 hides the entry from readdir(3).
      mode: Its file type as in ``st_mode``; 0 where it is not known.
      offset: The cookie from which a later READDIR goes on after this entry, or
        None (for all entries of a listing) to let the runtime do the paging.
      entry: For READDIRPLUS: what a LOOKUP of the name would have returned, and
        counted as one; None for no attributes.
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
      fh: The file handle, 0..2**64-1, that later requests carry; the filesystem's
        to choose.
      flags: `OpenFlags`.
      backing_id: With ``OpenFlags.PASSTHROUGH``: the number of a `BackingId`, of
        those who keep these themselves.
      backing_fd: A regular file that the kernel may read, write and map in place of
        this one, with ``InitFlags.PASSTHROUGH``; O_PATH will do, and it must stay
        open until RELEASE.  What is open of an inode at a time shares the first
        one's file.  Where the kernel does not want it, for want of CAP_SYS_ADMIN
        say, the filesystem is asked as ever; the log says why, once.
      backing_as: Entered while ``backing_fd`` is given to the kernel, which reads and
        writes it with the credentials of the thread at that moment: it decides
        whose quota and whose share of reserved blocks the writes are charged to
        (``fuse_backing_open()``).  None: those of the server.
    """

    fh: int = 0
    flags: int = 0
    backing_id: int = 0
    backing_fd: int | None = None
    backing_as: AbstractContextManager[object] | None = None


@attrs.frozen
class FileData:
    """Bytes of an open file, which the runtime reads: an answer to READ.

    What is in the page cache takes one system call and no new memory, and from
    256 KiB on is not even read, but spliced; what is not, or is on a filesystem that
    cannot tell, as tmpfs, is read in a thread, while the loop goes on.  A session has
    40 threads for that, whatever else uses ``trio.to_thread``; where a slow disk keeps
    them all, further reads of that kind wait for one, and nothing else does.  An error
    is the caller's.

    Source: preadv(2), RWF_NOWAIT; cachestat(2), splice(2).

    Attributes:
      fd: The descriptor, open for reading.  It is used until the request has been
        answered: a RELEASE of the same handle comes later.
      offset: Of the first byte.
      size: Bytes, at most ``request.size``; a file that ends before is a shorter
        answer.
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
      type: `LockType`; UNLCK means that nothing is in the way.
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
      result: What ioctl(2) returns.
      data: What it copies out, at most ``request.out_size`` bytes; exactly these
        for FS_IOC_GETFLAGS and its kin (``fuse_priv_ioctl()``).
    """

    result: int = 0
    data: Buffer = b""


@attrs.define
class Statfs:
    """The state of the filesystem: what statfs(2) and df(1) show.

    All zero by default, as in /proc: df(1) leaves it out then.  What can be written
    had better tell its space, for some programs look before they write.

    Source: ``struct fuse_kstatfs`` in linux/fuse.h.

    Attributes:
      blocks: Size in units of ``frsize``.
      bfree: Free blocks.
      bavail: Free blocks for users without privileges.
      files: Inodes.
      ffree: Free inodes.
      bsize: Preferred size of I/O, bytes.
      namelen: Longest name, bytes.
      frsize: The unit of ``blocks``, bytes.
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
        """Take the figures from a result of ``os.statvfs`` or ``os.fstatvfs``."""
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
