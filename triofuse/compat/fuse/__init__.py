"""fusepy's and mfusepy's module, without libfuse: ``import triofuse.compat.fuse as fuse``.

`FUSE` mounts an object with the methods of `Operations` and returns when it is
unmounted.
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
