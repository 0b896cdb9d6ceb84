"""What libfuse passes to programs by pointers, as plain objects of the same names."""

from __future__ import annotations

import ctypes
from typing import Any, ClassVar

import attrs

__all__ = ["c_flock", "fuse_config", "fuse_conn_info", "fuse_file_info"]

# The names are libfuse's: programs write them.


@attrs.define(eq=False)
class fuse_file_info:  # noqa: N801
    """An open file, for programs with ``raw_fi``.

    Attributes:
      flags: The flags of open(2).
      fh: The file handle, an int; the program sets it.
      direct_io: Set it to bypass the page cache.
      keep_cache: Set it to keep cached data over this open.
      nonseekable: Set it for a stream.
      cache_readdir: Set it to have listings cached.
      noflush: Set it to have no flush at close.
      parallel_direct_writes: Set it to allow parallel direct writes.
      flush: Whether this is a flush.
      writepage: Whether the kernel writes back its cache.
      flock_release: Whether the release drops a lock of flock(2).
      lock_owner: Who holds locks.
    """

    flags: int = 0
    fh: int = 0
    direct_io: int = 0
    keep_cache: int = 0
    nonseekable: int = 0
    cache_readdir: int = 0
    noflush: int = 0
    parallel_direct_writes: int = 0
    flush: int = 0
    writepage: int = 0
    flock_release: int = 0
    lock_owner: int = 0


@attrs.define(eq=False)
class fuse_conn_info:  # noqa: N801
    """The kernel's offer and the program's wishes, in ``init_with_config``.

    Attributes:
      proto_major, proto_minor: The protocol in use.
      max_write: Bytes of the largest write.
      max_readahead: Bytes to read ahead.
      capable: The capabilities that the kernel offers.
      want: Those that are asked for.
      max_background: The most asynchronous requests in flight; 0 is the default.
      congestion_threshold: From how many on the kernel throttles; 0 is the default.
      time_gran: Granularity of timestamps, nanoseconds.
      max_read: Bytes of the largest read; 0 is the default.
    """

    proto_major: int = 7
    proto_minor: int = 0
    max_write: int = 1 << 20
    max_read: int = 0
    max_readahead: int = 0
    capable: int = 0
    want: int = 0
    max_background: int = 0
    congestion_threshold: int = 0
    time_gran: int = 1


@attrs.define(eq=False)
class fuse_config:  # noqa: N801
    """The options of path filesystems, as libfuse has them.

    Those that change nothing here are kept, so that programs can set them.

    Attributes:
      set_gid, gid, set_uid, uid, set_mode, umask, fmask, dmask: Owners and modes to
        show in place of what the program says.
      entry_timeout, negative_timeout, attr_timeout: Seconds for which names, missing
        names and attributes are cached.
      ac_attr_timeout: The same for attributes with ``auto_cache``.
      hard_remove: Remove open files at once, do not rename them.
      use_ino, readdir_ino: Show the program's inode numbers.
      direct_io, kernel_cache, auto_cache: Whether data are cached over opens.
      nullpath_ok: Operations on open files may get None as path.
      no_rofd_flush: No flush of files that are open for reading only.
      parallel_direct_writes: Allow parallel direct writes.
      intr, intr_signal, remember: Without effect: see the page "Moving over".
      debug: Log each request.
    """

    set_gid: int = 0
    gid: int = 0
    set_uid: int = 0
    uid: int = 0
    set_mode: int = 0
    umask: int = 0
    fmask: int = 0
    dmask: int = 0
    entry_timeout: float = 1.0
    negative_timeout: float = 0.0
    attr_timeout: float = 1.0
    ac_attr_timeout_set: int = 0
    ac_attr_timeout: float = 0.0
    intr: int = 0
    intr_signal: int = 0
    remember: int = 0
    hard_remove: int = 0
    use_ino: int = 0
    readdir_ino: int = 0
    direct_io: int = 0
    kernel_cache: int = 0
    auto_cache: int = 0
    nullpath_ok: int = 0
    no_rofd_flush: int = 0
    parallel_direct_writes: int = 0
    debug: int = 0
    modules: Any = None


class c_flock(ctypes.Structure):  # noqa: N801
    """``struct flock`` of fcntl(2): what ``lock`` gets the address of."""

    _fields_: ClassVar = [  # type: ignore[mutable-override]
        ("l_type", ctypes.c_short),
        ("l_whence", ctypes.c_short),
        ("l_start", ctypes.c_int64),
        ("l_len", ctypes.c_int64),
        ("l_pid", ctypes.c_int),
    ]
