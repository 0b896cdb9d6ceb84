"""pyfuse3's module, served by triofuse: ``import triofuse.compat.pyfuse3 as pyfuse3``.

It has all of pyfuse3 3.5.  `triofuse.compat` says what differs.  The kernel's side is
that of `triofuse.Filesystem`.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any, Final, Literal

from trio.lowlevel import TrioToken

from triofuse.compat.pyfuse3 import lifetime as _lifetime
from triofuse.compat.pyfuse3.functions import (
    get_sup_groups,
    getxattr,
    listdir,
    setxattr,
    syncfs,
)
from triofuse.compat.pyfuse3.lifetime import close, default_options, init, terminate
from triofuse.compat.pyfuse3.listing import readdir_reply
from triofuse.compat.pyfuse3.notifications import (
    invalidate_entry,
    invalidate_entry_async,
    invalidate_inode,
    notify_store,
)
from triofuse.compat.pyfuse3.operations import Operations
from triofuse.compat.pyfuse3.values import (
    EntryAttributes,
    FileHandleT,
    FileInfo,
    FileNameT,
    FlagT,
    FUSEError,
    InodeT,
    ModeT,
    PollHandle,
    ReaddirToken,
    RequestContext,
    SetattrFields,
    StatvfsData,
    XAttrNameT,
)

__all__ = [
    "ENOATTR",
    "RENAME_EXCHANGE",
    "RENAME_NOREPLACE",
    "ROOT_INODE",
    "EntryAttributes",
    "FUSEError",
    "FileHandleT",
    "FileInfo",
    "FileNameT",
    "FlagT",
    "InodeT",
    "ModeT",
    "NamespaceT",
    "Operations",
    "PollHandle",
    "ReaddirToken",
    "RequestContext",
    "SetattrFields",
    "StatDict",
    "StatvfsData",
    "XAttrNameT",
    "close",
    "default_options",
    "get_sup_groups",
    "getxattr",
    "init",
    "invalidate_entry",
    "invalidate_entry_async",
    "invalidate_inode",
    "listdir",
    "main",
    "notify_store",
    "readdir_reply",
    "setxattr",
    "syncfs",
    "terminate",
    "trio_token",
]

#: The version whose interface this is.
__version__ = "3.5.0"

#: The inode of the mountpoint.
ROOT_INODE: Final = 1

#: What fails with "No such attribute".
ENOATTR: Final = errno.ENODATA

#: Flags of ``rename``, from linux/fs.h.
RENAME_NOREPLACE: Final = 1
RENAME_EXCHANGE: Final = 2

_NANOS_PER_SEC: Final = 1_000_000_000

NamespaceT = Literal["system", "user"]
StatDict = Mapping[str, int]

#: The event loop while `main` runs, for ``trio.from_thread.run``; else None.
trio_token: TrioToken | None = None


async def main(min_tasks: int = 1, max_tasks: int = 99) -> None:  # noqa: ARG001
    """Serve until the filesystem is unmounted, or `terminate` is called.

    Args:
      min_tasks: Has no effect: tasks are started when they are needed.
      max_tasks: The most handlers that run at one time.

    Raises:
      RuntimeError: `init` was not called.
    """
    await _lifetime.serve(max_tasks, _publish)


def _publish(token: Any) -> None:
    global trio_token
    trio_token = token
