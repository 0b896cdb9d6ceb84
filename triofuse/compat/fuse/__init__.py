"""fusepy's and mfusepy's module, without libfuse: ``import triofuse.compat.fuse as fuse``.

`FUSE` mounts an object with the methods of `Operations`, and returns when it is unmounted.

**The same** are names, arguments, results and defaults of mfusepy 3.1 on Linux, and those
of fusepy 3.0; the options of libfuse; the logger "fuse".  A call operator of the
program's own sees all calls, as in fusepy.  ``nothreads`` runs operations in the thread
that mounts.

**Better**:

* No libfuse is needed, of no version.
* A client that is killed while an operation works for it is gone at once.  The operation
  goes on; a file that it has opened for nobody is released.  Not with ``nothreads``.
* Any number of mounts in a process, each `FUSE` in a thread of its own.
* Files with the same ``st_ino`` and an ``st_nlink`` above 1 are one file to the kernel,
  with one size and one page cache; links made through the mount always are.
* A rename with flags (RENAME_EXCHANGE, RENAME_NOREPLACE) gets EINVAL if ``rename`` takes
  no third argument; mfusepy renames as if there were none.
* ``utimens`` gets both times, also if only one changes; files hidden by ``.fuse_hidden``
  are not listed.
* An error to mount is a `RuntimeError` that says what failed and what to do.

**Different**:

* What a program lacks is answered as POSIX says: EPERM, or EROFS if it changes nothing;
  libfuse answers ENOSYS.  ``utimens`` succeeds if the program can write.
* ``truncate`` is called for open(2) with O_TRUNC, if the program has it.
* ``lock`` gets the address of a `c_flock`, ``ioctl`` the address of a buffer.
* ``read_buf``, ``write_buf``, ``poll`` and ``bmap`` are never called: they take libfuse's
  structures.  ``intr``, ``remember`` and options for speed have no effect.
* `fuse_file_info`, `fuse_conn_info` and `fuse_config` are plain objects of the same fields.
"""

from triofuse.compat.fuse.mounting import FUSE, fuse_exit, fuse_get_context
from triofuse.compat.fuse.operations import (
    ENOATTR,
    ENOTSUP,
    FuseOSError,
    LoggingMixIn,
    Operations,
    ReadDirResult,
    log_callback,
    overrides,
)
from triofuse.compat.fuse.structures import (
    c_flock,
    fuse_config,
    fuse_conn_info,
    fuse_file_info,
)

#: The libfuse that programs may rely on.
fuse_version_major, fuse_version_minor = 3, 14

__all__ = [
    "ENOATTR",
    "ENOTSUP",
    "FUSE",
    "FuseOSError",
    "LoggingMixIn",
    "Operations",
    "ReadDirResult",
    "c_flock",
    "fuse_config",
    "fuse_conn_info",
    "fuse_exit",
    "fuse_file_info",
    "fuse_get_context",
    "fuse_version_major",
    "fuse_version_minor",
    "log_callback",
    "overrides",
]
