"""The flags that kernel and filesystem negotiate."""

from __future__ import annotations

from enum import IntFlag

__all__ = ["InitFlags"]


class InitFlags(IntFlag):
    """What kernel and filesystem negotiate in INIT (``FUSE_*``, fuse_init_in.flags).

    Bits from 32 on are sent in ``flags2``.

    Attributes:
      ASYNC_READ: Several READs of a file at a time; without it one after the other.
      POSIX_LOCKS: fcntl(2) locks come as GETLK and SETLK; without it the kernel keeps
        them.
      FILE_OPS: A file handle in every request of an open file; not offered by the
        kernel.
      ATOMIC_O_TRUNC: O_TRUNC comes with OPEN; without it a SETATTR of the size follows.
      EXPORT_SUPPORT: LOOKUP of ``.`` and ``..`` resolves file handles; without it only
        cached nodes can be resolved.
      BIG_WRITES: WRITEs of several pages; without it of one page each.
      DONT_MASK: The filesystem applies ``umask``; without it the kernel does.
      SPLICE_WRITE: The kernel takes replies by splice(2); in effect without it.
      SPLICE_MOVE: The kernel may move spliced pages; in effect without it.
      SPLICE_READ: The kernel sends requests by splice(2); in effect without it.
      FLOCK_LOCKS: flock(2) locks come as SETLK; without it the kernel keeps them.
      HAS_IOCTL_DIR: ioctl(2) on directories is sent; in effect without it.
      AUTO_INVAL_DATA: A changed mtime drops cached data; without it only a changed size
        does.
      DO_READDIRPLUS: Directories are listed with attributes; without it with names
        only.
      READDIRPLUS_AUTO: The kernel chooses READDIR or READDIRPLUS; without it always the
        latter.
      ASYNC_DIO: Direct I/O in parallel requests; without it one after the other.
      WRITEBACK_CACHE: WRITEs are cached and sent later; without it write(2) waits for
        each.
      NO_OPEN_SUPPORT: ENOSYS of OPEN means that no OPEN is needed; in effect without
        it.
      PARALLEL_DIROPS: LOOKUP and READDIR of one directory in parallel; without it one
        at a time.
      HANDLE_KILLPRIV: The filesystem clears suid, sgid and capabilities on write,
        truncate and chown; without it the kernel does.
      POSIX_ACL: The kernel checks access control lists, as xattrs, and permissions;
        without it only the filesystem does.
      ABORT_ERROR: After an abort through fusectl, reads of the device fail with
        ECONNABORTED; without it with ENODEV.
      MAX_PAGES: Requests of up to ``max_pages`` pages; without it of 32.
      CACHE_SYMLINKS: Targets of symbolic links are cached; without it each use is a
        READLINK.
      NO_OPENDIR_SUPPORT: As NO_OPEN_SUPPORT, for OPENDIR; in effect without it.
      EXPLICIT_INVAL_DATA: A changed size does not drop cached data; without it it does.
      MAP_ALIGNMENT: The alignment of DAX mappings; virtiofs only.
      SUBMOUNTS: An inode may be a submount (AttrFlags.SUBMOUNT); virtiofs only.
      HANDLE_KILLPRIV_V2: The filesystem clears suid and sgid if a request says
        KILL_SUIDGID; without it the kernel does.
      SETXATTR_EXT: SETXATTR carries `SetxattrInFlags`; without it these are 0.
      INIT_EXT: INIT has ``flags2``; without it the flags from SECURITY_CTX on are
        ignored.
      INIT_RESERVED: Reserved; do not use.
      SECURITY_CTX: Requests that make an inode carry its security labels; without it
        none.
      HAS_INODE_DAX: DAX per inode; virtiofs only.
      CREATE_SUPP_GROUP: Requests that make an inode carry the supplementary group that
        matches the directory's group; without it none.
      HAS_EXPIRE_ONLY: The kernel knows ``Notifier.expire_entry``; in effect without it.
      DIRECT_IO_ALLOW_MMAP: Shared mmap(2) of files opened with DIRECT_IO; without it
        ENODEV.
      DIRECT_IO_RELAX: The old name of DIRECT_IO_ALLOW_MMAP.
      PASSTHROUGH: The kernel reads and writes ``Opened.backing_fd``; without it all I/O
        is sent.
      NO_EXPORT_SUPPORT: name_to_handle_at(2) fails with EOPNOTSUPP; without it the
        kernel makes handles.
      HAS_RESEND: The kernel knows ``Notifier.resend``; in effect without it.
      ALLOW_IDMAP: Mounts with mapped ids; without it mount_setattr(2) fails.
      OVER_IO_URING: Requests through io_uring; without it through the device.
      REQUEST_TIMEOUT: The kernel aborts the connection after ``request_timeout``;
        without it never.
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
