"""The flags of the protocol that a filesystem reads and answers.

Members have no C prefix; the docstring of each class names it.  Fields of requests
are plain integers: test a bit with ``request.flags & WriteFlags.CACHE``.
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


def _and_gives_int(flags: _F) -> _F:
    """Make ``request.flags & flags.BIT`` a plain integer.

    A flag object would take half a microsecond for each test of a bit.
    """
    flags.__rand__ = int.__rand__  # type: ignore[assignment, misc]
    return flags


class InitFlags(IntFlag):
    """What kernel and filesystem negotiate in INIT (``FUSE_*``, fuse_init_in.flags).

    Bits from 32 on are sent in ``flags2``.
    """

    #: Several READs of a file at a time; without it one after the other.
    ASYNC_READ = 1 << 0
    #: fcntl(2) locks come as GETLK and SETLK; without it the kernel keeps them.
    POSIX_LOCKS = 1 << 1
    #: A file handle in every request of an open file; not offered by the kernel.
    FILE_OPS = 1 << 2
    #: O_TRUNC comes with OPEN; without it a SETATTR of the size follows.
    ATOMIC_O_TRUNC = 1 << 3
    #: LOOKUP of ``.`` and ``..`` resolves file handles; without it only cached
    #: nodes can be resolved.
    EXPORT_SUPPORT = 1 << 4
    #: WRITEs of several pages; without it of one page each.
    BIG_WRITES = 1 << 5
    #: The filesystem applies ``umask``; without it the kernel does.
    DONT_MASK = 1 << 6
    #: The kernel takes replies by splice(2); in effect without it.
    SPLICE_WRITE = 1 << 7
    #: The kernel may move spliced pages; in effect without it.
    SPLICE_MOVE = 1 << 8
    #: The kernel sends requests by splice(2); in effect without it.
    SPLICE_READ = 1 << 9
    #: flock(2) locks come as SETLK; without it the kernel keeps them.
    FLOCK_LOCKS = 1 << 10
    #: ioctl(2) on directories is sent; in effect without it.
    HAS_IOCTL_DIR = 1 << 11
    #: A changed mtime drops cached data; without it only a changed size does.
    AUTO_INVAL_DATA = 1 << 12
    #: Directories are listed with attributes; without it with names only.
    DO_READDIRPLUS = 1 << 13
    #: The kernel chooses READDIR or READDIRPLUS; without it always the latter.
    READDIRPLUS_AUTO = 1 << 14
    #: Direct I/O in parallel requests; without it one after the other.
    ASYNC_DIO = 1 << 15
    #: WRITEs are cached and sent later; without it write(2) waits for each.
    WRITEBACK_CACHE = 1 << 16
    #: ENOSYS of OPEN means that no OPEN is needed; in effect without it.
    NO_OPEN_SUPPORT = 1 << 17
    #: LOOKUP and READDIR of one directory in parallel; without it one at a time.
    PARALLEL_DIROPS = 1 << 18
    #: The filesystem clears suid, sgid and capabilities on write, truncate and
    #: chown; without it the kernel does.
    HANDLE_KILLPRIV = 1 << 19
    #: The kernel checks access control lists, as xattrs, and permissions; without
    #: it only the filesystem does.
    POSIX_ACL = 1 << 20
    #: After an abort through fusectl, reads of the device fail with ECONNABORTED;
    #: without it with ENODEV.
    ABORT_ERROR = 1 << 21
    #: Requests of up to ``max_pages`` pages; without it of 32.
    MAX_PAGES = 1 << 22
    #: Targets of symbolic links are cached; without it each use is a READLINK.
    CACHE_SYMLINKS = 1 << 23
    #: As NO_OPEN_SUPPORT, for OPENDIR; in effect without it.
    NO_OPENDIR_SUPPORT = 1 << 24
    #: A changed size does not drop cached data; without it it does.
    EXPLICIT_INVAL_DATA = 1 << 25
    #: The alignment of DAX mappings; virtiofs only.
    MAP_ALIGNMENT = 1 << 26
    #: An inode may be a submount (AttrFlags.SUBMOUNT); virtiofs only.
    SUBMOUNTS = 1 << 27
    #: The filesystem clears suid and sgid if a request says KILL_SUIDGID; without
    #: it the kernel does.
    HANDLE_KILLPRIV_V2 = 1 << 28
    #: SETXATTR carries `SetxattrInFlags`; without it these are 0.
    SETXATTR_EXT = 1 << 29
    #: INIT has ``flags2``; without it the flags from SECURITY_CTX on are ignored.
    INIT_EXT = 1 << 30
    #: Reserved; do not use.
    INIT_RESERVED = 1 << 31
    #: Requests that make an inode carry its security labels; without it none.
    SECURITY_CTX = 1 << 32
    #: DAX per inode; virtiofs only.
    HAS_INODE_DAX = 1 << 33
    #: Requests that make an inode carry the supplementary group that matches the
    #: directory's group; without it none.
    CREATE_SUPP_GROUP = 1 << 34
    #: The kernel knows ``Notifier.expire_entry``; in effect without it.
    HAS_EXPIRE_ONLY = 1 << 35
    #: Shared mmap(2) of files opened with DIRECT_IO; without it ENODEV.
    DIRECT_IO_ALLOW_MMAP = 1 << 36
    #: The old name of DIRECT_IO_ALLOW_MMAP.
    DIRECT_IO_RELAX = 1 << 36
    #: The kernel reads and writes ``Opened.backing_fd``; without it all I/O is sent.
    PASSTHROUGH = 1 << 37
    #: name_to_handle_at(2) fails with EOPNOTSUPP; without it the kernel makes
    #: handles.
    NO_EXPORT_SUPPORT = 1 << 38
    #: The kernel knows ``Notifier.resend``; in effect without it.
    HAS_RESEND = 1 << 39
    #: Mounts with mapped ids; without it mount_setattr(2) fails.
    ALLOW_IDMAP = 1 << 40
    #: Requests through io_uring; without it through the device.
    OVER_IO_URING = 1 << 41
    #: The kernel aborts the connection after ``request_timeout``; without it never.
    REQUEST_TIMEOUT = 1 << 42


@_and_gives_int
class OpenFlags(IntFlag):
    """How the kernel treats an open file (``FOPEN_*``, fuse_open_out.open_flags)."""

    DIRECT_IO = 1 << 0  #: Bypass the page cache.
    KEEP_CACHE = 1 << 1  #: Keep cached data; else OPEN drops it.
    NONSEEKABLE = 1 << 2  #: lseek(2) and pread(2) fail: ESPIPE.
    CACHE_DIR = 1 << 3  #: Cache the listing; else READDIR each time.
    STREAM = 1 << 4  #: As NONSEEKABLE, without a file position.
    NOFLUSH = 1 << 5  #: No FLUSH, except with WRITEBACK_CACHE.
    PARALLEL_DIRECT_WRITES = 1 << 6  #: With DIRECT_IO; else one at a time.
    PASSTHROUGH = 1 << 7  #: I/O goes to the file of ``backing_id``.


@_and_gives_int
class SetattrValid(IntFlag):
    """The fields given in a SETATTR (``FATTR_*``, fuse_setattr_in.valid)."""

    MODE = 1 << 0  #: ``mode`` is given.
    UID = 1 << 1  #: ``new_uid`` is given.
    GID = 1 << 2  #: ``new_gid`` is given.
    SIZE = 1 << 3  #: ``size`` is given.
    ATIME = 1 << 4  #: ``atime_ns`` is given.
    MTIME = 1 << 5  #: ``mtime_ns`` is given.
    FH = 1 << 6  #: ``fh`` is given.
    ATIME_NOW = 1 << 7  #: ``atime_ns`` is the current time.
    MTIME_NOW = 1 << 8  #: ``mtime_ns`` is the current time.
    LOCKOWNER = 1 << 9  #: ``lock_owner`` is given.
    CTIME = 1 << 10  #: ``ctime_ns`` is given.
    KILL_SUIDGID = 1 << 11  #: Clear suid and sgid (HANDLE_KILLPRIV_V2).


@_and_gives_int
class OpenInFlags(IntFlag):
    """Flags of an OPEN or CREATE (``FUSE_OPEN_*``, fuse_open_in.open_flags)."""

    KILL_SUIDGID = 1 << 0  #: With O_TRUNC: clear suid and sgid (HANDLE_KILLPRIV_V2).


@_and_gives_int
class GetattrFlags(IntFlag):
    """Flags of a GETATTR or STATX (``FUSE_GETATTR_*``)."""

    FH = 1 << 0  #: ``fh`` is given.


@_and_gives_int
class SetxattrInFlags(IntFlag):
    """Flags of a SETXATTR (``FUSE_SETXATTR_*``, fuse_setxattr_in.setxattr_flags)."""

    ACL_KILL_SGID = 1 << 0  #: Clear sgid: the caller is not in the group.


@_and_gives_int
class SetxattrFlags(IntFlag):
    """The flags of setxattr(2) (``XATTR_*``, fuse_setxattr_in.flags)."""

    CREATE = 1 << 0  #: Fail with EEXIST if it exists.
    REPLACE = 1 << 1  #: Fail with ENODATA if it does not exist.


@_and_gives_int
class ReadFlags(IntFlag):
    """Flags of a READ (``FUSE_READ_*``, fuse_read_in.read_flags)."""

    LOCKOWNER = 1 << 1  #: ``lock_owner`` is given.


@_and_gives_int
class WriteFlags(IntFlag):
    """Flags of a WRITE (``FUSE_WRITE_*``, fuse_write_in.write_flags)."""

    CACHE = 1 << 0  #: Writeback; the caller and its ``fh`` may be others.
    LOCKOWNER = 1 << 1  #: ``lock_owner`` is given.
    KILL_SUIDGID = 1 << 2  #: Clear suid and sgid (HANDLE_KILLPRIV_V2).


@_and_gives_int
class ReleaseFlags(IntFlag):
    """Flags of a RELEASE (``FUSE_RELEASE_*``, fuse_release_in.release_flags)."""

    FLUSH = 1 << 0  #: Flush first; Linux does not send it.
    FLOCK_UNLOCK = 1 << 1  #: Drop the flock(2) locks of ``lock_owner``.


@_and_gives_int
class FsyncFlags(IntFlag):
    """Flags of an FSYNC (``FUSE_FSYNC_*``, fuse_fsync_in.fsync_flags)."""

    FDATASYNC = 1 << 0  #: fdatasync(2): no metadata that reading does not need.


@_and_gives_int
class LockFlags(IntFlag):
    """The kind of a lock (``FUSE_LK_*``, fuse_lk_in.lk_flags)."""

    FLOCK = 1 << 0  #: A flock(2) lock; else one of fcntl(2).


class LockType(IntEnum):
    """The type of a lock (``F_*``, fuse_file_lock.type; fcntl(2))."""

    RDLCK = 0  #: A shared lock.
    WRLCK = 1  #: An exclusive lock.
    UNLCK = 2  #: No lock.


@_and_gives_int
class PollFlags(IntFlag):
    """Flags of a POLL (``FUSE_POLL_*``, fuse_poll_in.flags)."""

    SCHEDULE_NOTIFY = 1 << 0  #: The caller waits for ``Notifier.poll``.


@_and_gives_int
class IoctlFlags(IntFlag):
    """Flags of an IOCTL (``FUSE_IOCTL_*``, fuse_ioctl_in.flags)."""

    COMPAT = 1 << 0  #: A 32-bit caller on a 64-bit kernel.
    UNRESTRICTED = 1 << 1  #: CUSE only.
    RETRY = 1 << 2  #: CUSE only: ask again for other memory.
    IS_32BIT = 1 << 3  #: FUSE_IOCTL_32BIT: a 32-bit caller.
    DIR = 1 << 4  #: On a directory.
    COMPAT_X32 = 1 << 5  #: An x32 caller on a 64-bit kernel.


@_and_gives_int
class AttrFlags(IntFlag):
    """Flags of an inode (``FUSE_ATTR_*``, fuse_attr.flags)."""

    SUBMOUNT = 1 << 0  #: A submount; virtiofs only.
    DAX = 1 << 1  #: Use DAX; virtiofs only.


@_and_gives_int
class RenameFlags(IntFlag):
    """The flags of renameat2(2) (``RENAME_*``, fuse_rename2_in.flags)."""

    NOREPLACE = 1 << 0  #: Fail with EEXIST if the new name exists.
    EXCHANGE = 1 << 1  #: Exchange the two names.
    WHITEOUT = 1 << 2  #: Leave a whiteout at the old name.


@_and_gives_int
class FallocateMode(IntFlag):
    """The mode of fallocate(2) (``FALLOC_FL_*``, fuse_fallocate_in.mode)."""

    KEEP_SIZE = 1 << 0  #: Do not change the size.
    PUNCH_HOLE = 1 << 1  #: Free the range; it reads as zeros.
    ZERO_RANGE = 1 << 4  #: Set the range to zeros.


@_and_gives_int
class StatxMask(IntFlag):
    """Attributes that statx(2) wants or gets (``STATX_*``, fuse_statx.mask)."""

    TYPE = 1 << 0  #: The file type of ``mode``.
    MODE = 1 << 1  #: The permissions of ``mode``.
    NLINK = 1 << 2  #: ``nlink``.
    UID = 1 << 3  #: ``uid``.
    GID = 1 << 4  #: ``gid``.
    ATIME = 1 << 5  #: ``atime_ns``.
    MTIME = 1 << 6  #: ``mtime_ns``.
    CTIME = 1 << 7  #: ``ctime_ns``.
    INO = 1 << 8  #: ``ino``.
    SIZE = 1 << 9  #: ``size``.
    BLOCKS = 1 << 10  #: ``blocks``.
    BASIC_STATS = 0x7FF  #: All of the above.
    BTIME = 1 << 11  #: ``btime_ns``.


@_and_gives_int
class StatxAttributes(IntFlag):
    """Inode attributes of statx(2) (``STATX_ATTR_*``, fuse_statx.attributes)."""

    COMPRESSED = 1 << 2  #: Compressed by the filesystem.
    IMMUTABLE = 1 << 4  #: Cannot be changed (chattr +i).
    APPEND = 1 << 5  #: Can only be appended to (chattr +a).
    NODUMP = 1 << 6  #: Not for backups (chattr +d).
    ENCRYPTED = 1 << 11  #: Encrypted by the filesystem.
    AUTOMOUNT = 1 << 12  #: An automount trigger.
    VERITY = 1 << 20  #: Protected by fs-verity.
    DAX = 1 << 21  #: Uses DAX.
