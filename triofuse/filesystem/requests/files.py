"""Requests about open files and directories."""

from __future__ import annotations

import attrs

from triofuse.filesystem.replies import FileLock
from triofuse.filesystem.requests.request import Request

__all__ = [
    "Bmap",
    "CopyFileRange",
    "Fallocate",
    "Flush",
    "Fsync",
    "Fsyncdir",
    "Getlk",
    "Ioctl",
    "Lseek",
    "Open",
    "Opendir",
    "Poll",
    "Read",
    "Readdir",
    "Readdirplus",
    "Release",
    "Releasedir",
    "Setlk",
    "Setlkw",
    "Write",
]


@attrs.define(eq=False, repr=False)
class Open(Request):
    """Open a regular file (``struct fuse_open_in``, open(2)).

    Attributes:
      flags: The flags of open(2), without O_CREAT, O_EXCL and O_NOCTTY.  O_TRUNC only
        with ``InitFlags.ATOMIC_O_TRUNC``; without that a SETATTR of the size follows.
      open_flags: `OpenInFlags`.
    """

    flags: int
    open_flags: int


class Opendir(Open):
    """Open a directory (``struct fuse_open_in``, opendir(3))."""

    __slots__ = ()


@attrs.define(eq=False, repr=False)
class Read(Request):
    """Read from an open file (``struct fuse_read_in``).

    Attributes:
      fh: The file handle.
      offset: Bytes from the start of the file.
      size: Bytes wanted; at most the negotiated ``max_write``, in whole pages.
      read_flags: `ReadFlags`.
      lock_owner: The lock owner of the caller, with ``ReadFlags.LOCKOWNER``.
      flags: The flags of open(2).
    """

    fh: int
    offset: int
    size: int
    read_flags: int
    lock_owner: int
    flags: int


class Readdir(Read):
    """List an open directory (``struct fuse_read_in``, getdents(2)).

    ``offset`` is the cookie of the last entry that the kernel has; ``size`` is the
    space for records.  The runtime handles both.
    """

    __slots__ = ()


class Readdirplus(Read):
    """List an open directory with a LOOKUP of each name (FUSE_READDIRPLUS)."""

    __slots__ = ()


@attrs.define(eq=False, repr=False)
class Write(Request):
    """Write to an open file (``struct fuse_write_in``).

    Attributes:
      fh: The file handle.
      offset: Bytes from the start of the file.  For O_APPEND the kernel has set it to
        the end.
      size: Bytes of data.
      write_flags: `WriteFlags`; with ``CACHE`` the kernel writes back its cache,
        through any handle that is open for writing.
      lock_owner: The lock owner of the caller, with ``WriteFlags.LOCKOWNER``.
      flags: The flags of open(2).
      data: The bytes, a view of the receive buffer.  It is valid until the method
        returns; copy what you keep.
    """

    fh: int
    offset: int
    size: int
    write_flags: int
    lock_owner: int
    flags: int
    data: memoryview = attrs.field(repr=False)


@attrs.define(eq=False, repr=False)
class Flush(Request):
    """One descriptor of an open file is closed (``struct fuse_flush_in``, close(2)).

    Attributes:
      fh: The file handle.  It may be flushed several times: dup(2), fork(2).
      lock_owner: The owner whose POSIX locks on the file are dropped.
    """

    fh: int
    lock_owner: int


@attrs.define(eq=False, repr=False)
class Release(Request):
    """The last descriptor of an open file is gone (``struct fuse_release_in``).

    Attributes:
      fh: The file handle; this is its last use.
      flags: The flags of open(2).
      release_flags: `ReleaseFlags`.
      lock_owner: The owner of flock(2) locks, with ``FLOCK_UNLOCK``.
    """

    fh: int
    flags: int
    release_flags: int
    lock_owner: int


class Releasedir(Release):
    """The last descriptor of an open directory is gone (closedir(3))."""

    __slots__ = ()


@attrs.define(eq=False, repr=False)
class Fsync(Request):
    """Write a file to stable storage (``struct fuse_fsync_in``, fsync(2)).

    Attributes:
      fh: The file handle.
      fsync_flags: `FsyncFlags`; with FDATASYNC only data, and metadata needed to read
        it.
    """

    fh: int
    fsync_flags: int


class Fsyncdir(Fsync):
    """Write a directory to stable storage (FUSE_FSYNCDIR)."""

    __slots__ = ()


@attrs.define(eq=False, repr=False)
class Getlk(Request):
    """Find a lock that conflicts (``struct fuse_lk_in``, F_GETLK).

    Attributes:
      fh: The file handle.
      owner: The lock owner: an opaque number, equal for equal owners.
      lock: The lock in question.
      lk_flags: `LockFlags`.
    """

    fh: int
    owner: int
    lock: FileLock
    lk_flags: int


class Setlk(Getlk):
    """Take or drop a lock, without waiting (F_SETLK; flock(2) with LOCK_NB)."""

    __slots__ = ()


class Setlkw(Getlk):
    """Take or drop a lock, and block while it conflicts (F_SETLKW; flock(2)).

    LOCK_UN without LOCK_NB is sent as this request, too.
    """

    __slots__ = ()


@attrs.define(eq=False, repr=False)
class Ioctl(Request):
    """Do a command of ioctl(2) on a file or directory (``struct fuse_ioctl_in``).

    Attributes:
      fh: The handle of the file or directory.
      flags: `IoctlFlags`.
      cmd: The command number.
      arg: The third argument of ioctl(2), an address in the caller's memory.
      in_size: Size of ``data``, bytes.
      out_size: The most bytes of the reply's data.
      data: The bytes from the caller; valid until the method returns.
    """

    fh: int
    flags: int
    cmd: int
    arg: int
    in_size: int
    out_size: int
    data: memoryview = attrs.field(repr=False)


@attrs.define(eq=False, repr=False)
class Poll(Request):
    """Ask whether a file is ready (``struct fuse_poll_in``, poll(2)).

    Attributes:
      fh: The file handle.
      kh: The kernel's poll handle of the open file; pass it to ``Notifier.poll``.
      flags: `PollFlags`; with SCHEDULE_NOTIFY the caller waits for a wake-up.
      events: The events that the caller asks for: ``select.POLLIN`` and so on.
    """

    fh: int
    kh: int
    flags: int
    events: int


@attrs.define(eq=False, repr=False)
class Fallocate(Request):
    """Allocate or free space of a file (``struct fuse_fallocate_in``, fallocate(2)).

    Attributes:
      fh: The file handle.
      offset: Bytes from the start of the file.
      length: Bytes.
      mode: `FallocateMode`.
    """

    fh: int
    offset: int
    length: int
    mode: int


@attrs.define(eq=False, repr=False)
class Lseek(Request):
    """Find data or a hole (``struct fuse_lseek_in``, lseek(2)).

    Attributes:
      fh: The file handle.
      offset: The start of the search, bytes.
      whence: ``os.SEEK_DATA`` or ``os.SEEK_HOLE``; the kernel handles all others.
    """

    fh: int
    offset: int
    whence: int


@attrs.define(eq=False, repr=False)
class CopyFileRange(Request):
    """Copy between two files of this mount (``struct fuse_copy_file_range_in``).

    Attributes:
      fh_in: The handle of the source, whose node is ``nodeid``.
      off_in: The offset in the source, bytes.
      nodeid_out: The node of the destination.
      fh_out: The handle of the destination.
      off_out: The offset in the destination, bytes.
      len: Bytes to copy.
      flags: The flags of copy_file_range(2); 0 so far.
    """

    fh_in: int
    off_in: int
    nodeid_out: int
    fh_out: int
    off_out: int
    len: int
    flags: int


@attrs.define(eq=False, repr=False)
class Bmap(Request):
    """Find a block of a file on the device (``struct fuse_bmap_in``, FIBMAP).

    Attributes:
      block: The number of the block in the file.
      blocksize: The size of a block, bytes.
    """

    block: int
    blocksize: int
