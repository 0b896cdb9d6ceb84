"""The kernel's defaults for operations that were answered ENOSYS."""

from __future__ import annotations

import errno
import select
from typing import Any

from triofuse.filesystem.flags import OpenFlags
from triofuse.filesystem.replies import Opened
from triofuse.wire.opcodes import Opcode

__all__ = ["DEFAULTS", "FAILURES"]

#: The values that replace a reply from then on.
DEFAULTS: dict[int, Any] = {
    Opcode.OPEN: Opened(flags=OpenFlags.KEEP_CACHE),
    Opcode.OPENDIR: Opened(flags=OpenFlags.KEEP_CACHE | OpenFlags.CACHE_DIR),
    Opcode.FLUSH: None,
    Opcode.FSYNC: None,
    Opcode.FSYNCDIR: None,
    Opcode.SYNCFS: None,
    Opcode.ACCESS: None,
    Opcode.BMAP: 0,
    Opcode.POLL: select.POLLIN | select.POLLOUT | select.POLLRDNORM | select.POLLWRNORM,
}

#: The errors that the caller gets from then on; ENOSYS where the kernel falls back.
FAILURES: dict[int, int] = {
    Opcode.LINK: errno.EPERM,
    Opcode.RENAME2: errno.EINVAL,
    Opcode.SETXATTR: errno.EOPNOTSUPP,
    Opcode.GETXATTR: errno.EOPNOTSUPP,
    Opcode.LISTXATTR: errno.EOPNOTSUPP,
    Opcode.REMOVEXATTR: errno.EOPNOTSUPP,
    Opcode.TMPFILE: errno.EOPNOTSUPP,
    Opcode.FALLOCATE: errno.EOPNOTSUPP,
    Opcode.CREATE: errno.ENOSYS,
    Opcode.LSEEK: errno.ENOSYS,
    Opcode.COPY_FILE_RANGE_64: errno.ENOSYS,
    Opcode.COPY_FILE_RANGE: errno.ENOSYS,
    Opcode.STATX: errno.ENOSYS,
}
