"""The flags of the protocol that a filesystem reads and answers.

Members drop the C prefix; the comment at each class gives it back.  Request
fields hold plain integers, so test a bit as ``request.flags & WriteFlags.CACHE``.
"""

from __future__ import annotations

import os
from enum import IntEnum, IntFlag
from typing import Final, TypeVar

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

_F = TypeVar("_F", bound=type[IntFlag])


def _tested(flags: _F) -> _F:
    """Let ``request.flags & flags.BIT`` be a plain integer.

    To make a flag of it takes half a microsecond, each time, for a mere test.
    """
    flags.__rand__ = int.__rand__  # type: ignore[assignment, misc]
    return flags


class InitFlags(IntFlag):
    """What kernel and filesystem agree on in INIT (``FUSE_*``, fuse_init_in.flags).

    Bits 32 and up travel in ``flags2``.
    """

    ASYNC_READ = 1 << 0
    POSIX_LOCKS = 1 << 1
    FILE_OPS = 1 << 2
    ATOMIC_O_TRUNC = 1 << 3
    EXPORT_SUPPORT = 1 << 4
    BIG_WRITES = 1 << 5
    DONT_MASK = 1 << 6
    SPLICE_WRITE = 1 << 7
    SPLICE_MOVE = 1 << 8
    SPLICE_READ = 1 << 9
    FLOCK_LOCKS = 1 << 10
    HAS_IOCTL_DIR = 1 << 11
    AUTO_INVAL_DATA = 1 << 12
    DO_READDIRPLUS = 1 << 13
    READDIRPLUS_AUTO = 1 << 14
    ASYNC_DIO = 1 << 15
    WRITEBACK_CACHE = 1 << 16
    NO_OPEN_SUPPORT = 1 << 17
    PARALLEL_DIROPS = 1 << 18
    HANDLE_KILLPRIV = 1 << 19
    POSIX_ACL = 1 << 20
    ABORT_ERROR = 1 << 21
    MAX_PAGES = 1 << 22
    CACHE_SYMLINKS = 1 << 23
    NO_OPENDIR_SUPPORT = 1 << 24
    EXPLICIT_INVAL_DATA = 1 << 25
    MAP_ALIGNMENT = 1 << 26
    SUBMOUNTS = 1 << 27
    HANDLE_KILLPRIV_V2 = 1 << 28
    SETXATTR_EXT = 1 << 29
    INIT_EXT = 1 << 30
    INIT_RESERVED = 1 << 31
    SECURITY_CTX = 1 << 32
    HAS_INODE_DAX = 1 << 33
    CREATE_SUPP_GROUP = 1 << 34
    HAS_EXPIRE_ONLY = 1 << 35
    DIRECT_IO_ALLOW_MMAP = 1 << 36
    DIRECT_IO_RELAX = 1 << 36
    PASSTHROUGH = 1 << 37
    NO_EXPORT_SUPPORT = 1 << 38
    HAS_RESEND = 1 << 39
    ALLOW_IDMAP = 1 << 40
    OVER_IO_URING = 1 << 41
    REQUEST_TIMEOUT = 1 << 42


@_tested
class OpenFlags(IntFlag):
    """How the kernel treats an open file (``FOPEN_*``, fuse_open_out.open_flags)."""

    DIRECT_IO = 1 << 0
    KEEP_CACHE = 1 << 1
    NONSEEKABLE = 1 << 2
    CACHE_DIR = 1 << 3
    STREAM = 1 << 4
    NOFLUSH = 1 << 5
    PARALLEL_DIRECT_WRITES = 1 << 6
    PASSTHROUGH = 1 << 7


@_tested
class SetattrValid(IntFlag):
    """Which fields of a SETATTR count (``FATTR_*``, fuse_setattr_in.valid)."""

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


@_tested
class OpenInFlags(IntFlag):
    """Notes on an OPEN or CREATE (``FUSE_OPEN_*``, fuse_open_in.open_flags)."""

    KILL_SUIDGID = 1 << 0


@_tested
class GetattrFlags(IntFlag):
    """Notes on a GETATTR or STATX (``FUSE_GETATTR_*``)."""

    FH = 1 << 0


@_tested
class SetxattrInFlags(IntFlag):
    """Notes on a SETXATTR (``FUSE_SETXATTR_*``, fuse_setxattr_in.setxattr_flags)."""

    ACL_KILL_SGID = 1 << 0


@_tested
class SetxattrFlags(IntFlag):
    """What setxattr(2) demands (``XATTR_*``, fuse_setxattr_in.flags)."""

    CREATE = 1 << 0
    REPLACE = 1 << 1


@_tested
class ReadFlags(IntFlag):
    """Notes on a READ (``FUSE_READ_*``, fuse_read_in.read_flags)."""

    LOCKOWNER = 1 << 1


@_tested
class WriteFlags(IntFlag):
    """Notes on a WRITE (``FUSE_WRITE_*``, fuse_write_in.write_flags)."""

    CACHE = 1 << 0
    LOCKOWNER = 1 << 1
    KILL_SUIDGID = 1 << 2


@_tested
class ReleaseFlags(IntFlag):
    """Notes on a RELEASE (``FUSE_RELEASE_*``, fuse_release_in.release_flags)."""

    FLUSH = 1 << 0
    FLOCK_UNLOCK = 1 << 1


@_tested
class FsyncFlags(IntFlag):
    """Notes on an FSYNC (``FUSE_FSYNC_*``, fuse_fsync_in.fsync_flags)."""

    FDATASYNC = 1 << 0


@_tested
class LockFlags(IntFlag):
    """Which kind of lock is meant (``FUSE_LK_*``, fuse_lk_in.lk_flags)."""

    FLOCK = 1 << 0


class LockType(IntEnum):
    """The state of a lock (``F_*``, fuse_file_lock.type; fcntl(2))."""

    RDLCK = 0
    WRLCK = 1
    UNLCK = 2


@_tested
class PollFlags(IntFlag):
    """Notes on a POLL (``FUSE_POLL_*``, fuse_poll_in.flags)."""

    SCHEDULE_NOTIFY = 1 << 0


@_tested
class IoctlFlags(IntFlag):
    """Who asks for an IOCTL (``FUSE_IOCTL_*``, fuse_ioctl_in.flags)."""

    COMPAT = 1 << 0
    UNRESTRICTED = 1 << 1
    RETRY = 1 << 2
    IS_32BIT = 1 << 3  #: FUSE_IOCTL_32BIT
    DIR = 1 << 4
    COMPAT_X32 = 1 << 5


@_tested
class AttrFlags(IntFlag):
    """What an inode is to the kernel (``FUSE_ATTR_*``, fuse_attr.flags)."""

    SUBMOUNT = 1 << 0
    DAX = 1 << 1


@_tested
class RenameFlags(IntFlag):
    """What renameat2(2) asks (``RENAME_*``, fuse_rename2_in.flags)."""

    NOREPLACE = 1 << 0
    EXCHANGE = 1 << 1
    WHITEOUT = 1 << 2


@_tested
class FallocateMode(IntFlag):
    """What fallocate(2) asks (``FALLOC_FL_*``, fuse_fallocate_in.mode)."""

    KEEP_SIZE = 1 << 0
    PUNCH_HOLE = 1 << 1
    ZERO_RANGE = 1 << 4


@_tested
class StatxMask(IntFlag):
    """Which attributes statx(2) wants or got (``STATX_*``, fuse_statx.mask)."""

    TYPE = 1 << 0
    MODE = 1 << 1
    NLINK = 1 << 2
    UID = 1 << 3
    GID = 1 << 4
    ATIME = 1 << 5
    MTIME = 1 << 6
    CTIME = 1 << 7
    INO = 1 << 8
    SIZE = 1 << 9
    BLOCKS = 1 << 10
    BASIC_STATS = 0x7FF
    BTIME = 1 << 11


@_tested
class StatxAttributes(IntFlag):
    """Inode attributes that statx(2) shows (``STATX_ATTR_*``, fuse_statx.attributes)."""

    COMPRESSED = 1 << 2
    IMMUTABLE = 1 << 4
    APPEND = 1 << 5
    NODUMP = 1 << 6
    ENCRYPTED = 1 << 11
    AUTOMOUNT = 1 << 12
    VERITY = 1 << 20
    DAX = 1 << 21
