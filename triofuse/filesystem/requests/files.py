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
      flags: Of open(2), without O_CREAT, O_EXCL and O_NOCTTY; O_TRUNC only with
        ``InitFlags.ATOMIC_O_TRUNC``, else a SETATTR of the size follows.
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
      size: Bytes wanted, at most 1 MiB as negotiated.
      read_flags: `ReadFlags`.
      lock_owner: Whose locks count, with ``ReadFlags.LOCKOWNER``.
      flags: Of open(2).
    """

    fh: int
    offset: int
    size: int
    read_flags: int
    lock_owner: int
    flags: int


class Readdir(Read):
    """List an open directory (``struct fuse_read_in``, getdents(2)).

    ``offset`` is the cookie of the last entry that the kernel has, ``size`` the
    room for records; the runtime looks after both.
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
      offset: Bytes from the start of the file; already the end for O_APPEND.
      size: Bytes of data.
      write_flags: `WriteFlags`; with ``CACHE`` the kernel writes back on its own,
        through any handle that is open for writing.
      lock_owner: Whose locks count, with ``WriteFlags.LOCKOWNER``.
      flags: Of open(2).
      data: The bytes, a view of the receive buffer: the handler's until it
        returns.  Copy what is to stay.
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
    """A descriptor of an open file is closed (``struct fuse_flush_in``, close(2)).

    Attributes:
      fh: The file handle.  A file may be flushed often: dup(2), fork(2).
      lock_owner: The owner whose POSIX locks on the file end here.
    """

    fh: int
    lock_owner: int


@attrs.define(eq=False, repr=False)
class Release(Request):
    """The last descriptor of an open file is gone (``struct fuse_release_in``).

    Attributes:
      fh: The file handle: used here for the last time.
      flags: Of open(2).
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
      fsync_flags: `FsyncFlags`: with FDATASYNC only what reading needs.
    """

    fh: int
    fsync_flags: int


class Fsyncdir(Fsync):
    """Write a directory to stable storage (FUSE_FSYNCDIR)."""

    __slots__ = ()


@attrs.define(eq=False, repr=False)
class Getlk(Request):
    """Ask what stands in the way of a lock (``struct fuse_lk_in``, F_GETLK).

    Attributes:
      fh: The file handle.
      owner: Who asks: an opaque number, equal for equal owners.
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
    """Take or drop a lock, waiting for it (F_SETLKW; flock(2)).

    LOCK_UN comes this way as well where LOCK_NB is not given with it.
    """

    __slots__ = ()


@attrs.define(eq=False, repr=False)
class Ioctl(Request):
    """Do what ioctl(2) asks on a file or directory (``struct fuse_ioctl_in``).

    Attributes:
      fh: The handle of the file or directory.
      flags: `IoctlFlags`.
      cmd: The command number.
      arg: The third argument of ioctl(2), an address of the caller's.
      in_size: Bytes of ``data``.
      out_size: The most bytes that may be answered.
      data: What the caller passed in, the handler's until it returns.
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
      kh: The kernel's number for whoever waits; a wake-up names it.
      flags: `PollFlags`: with SCHEDULE_NOTIFY somebody waits for a wake-up.
      events: ``select.POLLIN`` and so on: what is asked for.
    """

    fh: int
    kh: int
    flags: int
    events: int


@attrs.define(eq=False, repr=False)
class Fallocate(Request):
    """Change the space of a file (``struct fuse_fallocate_in``, fallocate(2)).

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
      offset: Where to start, bytes.
      whence: ``os.SEEK_DATA`` or ``os.SEEK_HOLE``; the kernel does the rest.
    """

    fh: int
    offset: int
    whence: int


@attrs.define(eq=False, repr=False)
class CopyFileRange(Request):
    """Copy between two files of this mount (``struct fuse_copy_file_range_in``).

    Attributes:
      fh_in: The handle of the source, which is ``nodeid``.
      off_in: Where to read, bytes.
      nodeid_out: The destination.
      fh_out: Its handle.
      off_out: Where to write, bytes.
      len: Bytes to copy.
      flags: Of copy_file_range(2); 0 so far.
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
      block: The block of the file.
      blocksize: Bytes.
    """

    block: int
    blocksize: int
