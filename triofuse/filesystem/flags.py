"""The flags of the protocol that a filesystem reads and answers.

Members have no C prefix; the docstring of each class names it.  Fields of requests
are plain integers: test a bit with ``request.flags & WriteFlags.CACHE``.
"""

from __future__ import annotations

import os
from enum import IntEnum, IntFlag
from typing import Final

from triofuse.filesystem.flag_types import and_gives_int
from triofuse.filesystem.init_flags import InitFlags
from triofuse.filesystem.statx_flags import StatxAttributes, StatxMask

__all__ = [
    "O_ACCMODE",
    "AttrFlags",
    "FallocateMode",
    "FsyncFlags",
    "GetattrFlags",
    "InitFlags",
    "IoctlFlags",
    "LockFlags",
    "LockType",
    "OpenFlags",
    "OpenInFlags",
    "PollFlags",
    "ReadFlags",
    "ReleaseFlags",
    "RenameFlags",
    "SetattrValid",
    "SetxattrFlags",
    "SetxattrInFlags",
    "StatxAttributes",
    "StatxMask",
    "WriteFlags",
]

#: ``os.O_ACCMODE``, for which PyPy has no name.
O_ACCMODE: Final = os.O_RDONLY | os.O_WRONLY | os.O_RDWR


@and_gives_int
class OpenFlags(IntFlag):
    """How the kernel treats an open file (``FOPEN_*``, fuse_open_out.open_flags).

    Attributes:
      DIRECT_IO: Each read(2) and write(2) is a request; without it the page cache
        answers what it has, and the size limits what is read.
      KEEP_CACHE: Keep cached data; without it each open(2) drops it.
      NONSEEKABLE: lseek(2) and pread(2) fail: ESPIPE; without it files are seekable.
      CACHE_DIR: Cache the listing; without it each listing is a READDIR.
      STREAM: As NONSEEKABLE, without a file position: reads and writes of one open file
        run in parallel; without it one after the other.
      NOFLUSH: close(2) sends no FLUSH, except with WRITEBACK_CACHE; without it each
        does.
      PARALLEL_DIRECT_WRITES: With DIRECT_IO: WRITEs that do not extend the file in
        parallel; without it one at a time.
      PASSTHROUGH: I/O goes to the file of ``backing_id``; without it all is sent.
    """

    DIRECT_IO = 1 << 0
    KEEP_CACHE = 1 << 1
    NONSEEKABLE = 1 << 2
    CACHE_DIR = 1 << 3
    STREAM = 1 << 4
    NOFLUSH = 1 << 5
    PARALLEL_DIRECT_WRITES = 1 << 6
    PASSTHROUGH = 1 << 7


@and_gives_int
class SetattrValid(IntFlag):
    """The fields given in a SETATTR (``FATTR_*``, fuse_setattr_in.valid).

    Attributes:
      MODE: ``mode`` is given.
      UID: ``new_uid`` is given.
      GID: ``new_gid`` is given.
      SIZE: ``size`` is given.
      ATIME: ``atime_ns`` is given.
      MTIME: ``mtime_ns`` is given.
      FH: ``fh`` is given.
      ATIME_NOW: ``atime_ns`` is the current time.
      MTIME_NOW: ``mtime_ns`` is the current time.
      LOCKOWNER: ``lock_owner`` is given.
      CTIME: ``ctime_ns`` is given.
      KILL_SUIDGID: Clear suid and sgid (HANDLE_KILLPRIV_V2).
    """

    MODE = 1 << 0
    UID = 1 << 1
    GID = 1 << 2
    SIZE = 1 << 3
    ATIME = 1 << 4
    MTIME = 1 << 5
    FH = 1 << 6
    ATIME_NOW = 1 << 7
    MTIME_NOW = 1 << 8
    LOCKOWNER = 1 << 9
    CTIME = 1 << 10
    KILL_SUIDGID = 1 << 11


@and_gives_int
class OpenInFlags(IntFlag):
    """Flags of an OPEN or CREATE (``FUSE_OPEN_*``, fuse_open_in.open_flags).

    Attributes:
      KILL_SUIDGID: With O_TRUNC: clear suid and sgid (HANDLE_KILLPRIV_V2).
    """

    KILL_SUIDGID = 1 << 0


@and_gives_int
class GetattrFlags(IntFlag):
    """Flags of a GETATTR or STATX (``FUSE_GETATTR_*``).

    Attributes:
      FH: ``fh`` is given.
    """

    FH = 1 << 0


@and_gives_int
class SetxattrInFlags(IntFlag):
    """Flags of a SETXATTR (``FUSE_SETXATTR_*``, fuse_setxattr_in.setxattr_flags).

    Attributes:
      ACL_KILL_SGID: Clear sgid: the caller is not in the group.
    """

    ACL_KILL_SGID = 1 << 0


@and_gives_int
class SetxattrFlags(IntFlag):
    """The flags of setxattr(2) (``XATTR_*``, fuse_setxattr_in.flags).

    Attributes:
      CREATE: Fail with EEXIST if it exists.
      REPLACE: Fail with ENODATA if it does not exist.
    """

    CREATE = 1 << 0
    REPLACE = 1 << 1


@and_gives_int
class ReadFlags(IntFlag):
    """Flags of a READ (``FUSE_READ_*``, fuse_read_in.read_flags).

    Attributes:
      LOCKOWNER: ``lock_owner`` is given.
    """

    LOCKOWNER = 1 << 1


@and_gives_int
class WriteFlags(IntFlag):
    """Flags of a WRITE (``FUSE_WRITE_*``, fuse_write_in.write_flags).

    Attributes:
      CACHE: Writeback; the caller and its ``fh`` may be others.
      LOCKOWNER: ``lock_owner`` is given.
      KILL_SUIDGID: Clear suid and sgid (HANDLE_KILLPRIV_V2).
    """

    CACHE = 1 << 0
    LOCKOWNER = 1 << 1
    KILL_SUIDGID = 1 << 2


@and_gives_int
class ReleaseFlags(IntFlag):
    """Flags of a RELEASE (``FUSE_RELEASE_*``, fuse_release_in.release_flags).

    Attributes:
      FLUSH: Flush first; Linux does not send it.
      FLOCK_UNLOCK: Drop the flock(2) locks of ``lock_owner``.
    """

    FLUSH = 1 << 0
    FLOCK_UNLOCK = 1 << 1


@and_gives_int
class FsyncFlags(IntFlag):
    """Flags of an FSYNC (``FUSE_FSYNC_*``, fuse_fsync_in.fsync_flags).

    Attributes:
      FDATASYNC: fdatasync(2): no metadata that reading does not need.
    """

    FDATASYNC = 1 << 0


@and_gives_int
class LockFlags(IntFlag):
    """The kind of a lock (``FUSE_LK_*``, fuse_lk_in.lk_flags).

    Attributes:
      FLOCK: A flock(2) lock; else one of fcntl(2).
    """

    FLOCK = 1 << 0


class LockType(IntEnum):
    """The type of a lock (``F_*``, fuse_file_lock.type; fcntl(2)).

    Attributes:
      RDLCK: A shared lock.
      WRLCK: An exclusive lock.
      UNLCK: No lock.
    """

    RDLCK = 0
    WRLCK = 1
    UNLCK = 2


@and_gives_int
class PollFlags(IntFlag):
    """Flags of a POLL (``FUSE_POLL_*``, fuse_poll_in.flags).

    Attributes:
      SCHEDULE_NOTIFY: The caller waits for ``Notifier.poll``.
    """

    SCHEDULE_NOTIFY = 1 << 0


@and_gives_int
class IoctlFlags(IntFlag):
    """Flags of an IOCTL (``FUSE_IOCTL_*``, fuse_ioctl_in.flags).

    Attributes:
      COMPAT: A 32-bit caller on a 64-bit kernel.
      UNRESTRICTED: CUSE only.
      RETRY: CUSE only: ask again for other memory.
      IS_32BIT: FUSE_IOCTL_32BIT: a 32-bit caller.
      DIR: On a directory.
      COMPAT_X32: An x32 caller on a 64-bit kernel.
    """

    COMPAT = 1 << 0
    UNRESTRICTED = 1 << 1
    RETRY = 1 << 2
    IS_32BIT = 1 << 3
    DIR = 1 << 4
    COMPAT_X32 = 1 << 5


@and_gives_int
class AttrFlags(IntFlag):
    """Flags of an inode (``FUSE_ATTR_*``, fuse_attr.flags).

    Attributes:
      SUBMOUNT: A submount; virtiofs only.
      DAX: Use DAX; virtiofs only.
    """

    SUBMOUNT = 1 << 0
    DAX = 1 << 1


@and_gives_int
class RenameFlags(IntFlag):
    """The flags of renameat2(2) (``RENAME_*``, fuse_rename2_in.flags).

    Attributes:
      NOREPLACE: Fail with EEXIST if the new name exists.
      EXCHANGE: Exchange the two names.
      WHITEOUT: Leave a whiteout at the old name.
    """

    NOREPLACE = 1 << 0
    EXCHANGE = 1 << 1
    WHITEOUT = 1 << 2


@and_gives_int
class FallocateMode(IntFlag):
    """The mode of fallocate(2) (``FALLOC_FL_*``, fuse_fallocate_in.mode).

    Attributes:
      KEEP_SIZE: Do not change the size.
      PUNCH_HOLE: Free the range; it reads as zeros.
      ZERO_RANGE: Set the range to zeros.
    """

    KEEP_SIZE = 1 << 0
    PUNCH_HOLE = 1 << 1
    ZERO_RANGE = 1 << 4
