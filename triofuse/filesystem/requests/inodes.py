"""Requests about an inode: its attributes, permissions and extended attributes."""

from __future__ import annotations

import attrs

from triofuse.filesystem.requests.request import Request

__all__ = [
    "Access",
    "Forget",
    "Getattr",
    "Getxattr",
    "Listxattr",
    "Readlink",
    "Removexattr",
    "Setattr",
    "Setxattr",
    "StatfsRequest",
    "Statx",
    "Syncfs",
]


@attrs.define(eq=False, repr=False)
class Forget(Request):
    """The kernel drops a node from its cache (``struct fuse_forget_in``).

    Attributes:
      nlookup: The number to subtract from the lookup count of ``nodeid``.  At 0 the
        kernel has forgotten the node.
    """

    nlookup: int


@attrs.define(eq=False, repr=False)
class Getattr(Request):
    """Return the attributes of an inode (``struct fuse_getattr_in``, stat(2)).

    Attributes:
      getattr_flags: `GetattrFlags`.
      fh: The handle of an open regular file, or None.
    """

    getattr_flags: int
    fh: int | None


@attrs.define(eq=False, repr=False)
class Statx(Request):
    """Return the attributes of an inode, with birth time (``struct fuse_statx_in``).

    Attributes:
      getattr_flags: `GetattrFlags`.
      fh: The handle of an open regular file, or None.
      sx_flags: The flags of statx(2); 0 in all kernels so far.
      sx_mask: `StatxMask`, the wanted attributes; return those you have.
    """

    getattr_flags: int
    fh: int | None
    sx_flags: int
    sx_mask: int


@attrs.define(eq=False, repr=False)
class Setattr(Request):
    """Change attributes of an inode (``struct fuse_setattr_in``).

    Sent for chmod, chown, truncate and utimens.  Do not change what is None.  If all
    is None, just return the attributes.

    Attributes:
      valid: `SetattrValid`: the given fields, and ``ATIME_NOW``, ``MTIME_NOW``,
        ``KILL_SUIDGID``.
      fh: The handle of an open file, or None.
      size: The new size, bytes.
      lock_owner: The lock owner of the caller, for a change of size.
      atime_ns: The new time of access, nanoseconds since the epoch (with
        ``ATIME_NOW`` the kernel's current time).
      mtime_ns: The new time of modification, likewise.
      ctime_ns: The new time of change; only sent with WRITEBACK_CACHE.
      mode: The new permissions, with the file type.
      new_uid: The new owner.
      new_gid: The new group.
    """

    valid: int
    fh: int | None = None
    size: int | None = None
    lock_owner: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None
    ctime_ns: int | None = None
    mode: int | None = None
    new_uid: int | None = None
    new_gid: int | None = None


class Readlink(Request):
    """Return the target of a symbolic link (FUSE_READLINK)."""

    __slots__ = ()


@attrs.define(eq=False, repr=False)
class Access(Request):
    """Check the caller's permissions (``struct fuse_access_in``, access(2)).

    Attributes:
      mask: ``os.R_OK``, ``os.W_OK`` and ``os.X_OK``; 0 is ``os.F_OK``.
    """

    mask: int


class StatfsRequest(Request):
    """Return size and free space of the filesystem of ``nodeid`` (FUSE_STATFS)."""

    __slots__ = ()


class Syncfs(Request):
    """Write everything to stable storage (``struct fuse_syncfs_in``, syncfs(2))."""

    __slots__ = ()


@attrs.define(eq=False, repr=False)
class Setxattr(Request):
    """Set an extended attribute (``struct fuse_setxattr_in``, setxattr(2)).

    Attributes:
      size: Size of the value, bytes.
      flags: `SetxattrFlags`.
      setxattr_flags: `SetxattrInFlags`.
      name: The full name: ``user.comment``.
      value: The value; valid until the method returns, copy what you keep.
    """

    size: int
    flags: int
    setxattr_flags: int
    name: str
    value: memoryview = attrs.field(repr=False)


@attrs.define(eq=False, repr=False)
class Getxattr(Request):
    """Return an extended attribute (``struct fuse_getxattr_in``, getxattr(2)).

    Attributes:
      size: Size of the caller's buffer, bytes; 0 asks for the size of the value.  The
        runtime handles both.
      name: The full name.
    """

    size: int
    name: str


@attrs.define(eq=False, repr=False)
class Listxattr(Request):
    """Return the names of the extended attributes (listxattr(2)).

    Attributes:
      size: Size of the caller's buffer, as in `Getxattr`.
    """

    size: int


@attrs.define(eq=False, repr=False)
class Removexattr(Request):
    """Remove an extended attribute (FUSE_REMOVEXATTR, removexattr(2)).

    Attributes:
      name: The full name.
    """

    name: str
