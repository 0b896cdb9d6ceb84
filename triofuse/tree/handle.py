"""An open file of a tree."""

from __future__ import annotations

import errno
from typing import Any

import attrs
import trio

from triofuse.filesystem.errors import FuseError
from triofuse.tree.file import File
from triofuse.tree.inode import Inode

__all__ = ["Broken", "Handle"]


@attrs.define(eq=False, repr=False)
class Handle:
    """An open file.

    Attributes:
      inode: Whose.
      node: The node as it was when it was opened.
      target: What requests are asked of: what ``open`` returned, or the node.
      flags: Those of open(2).
      entered: Whether ``open`` has succeeded.
      released: Set at the end, for what ``open`` has entered.
    """

    inode: Inode
    node: File
    target: Any
    flags: int
    entered: bool = False
    released: trio.Event | None = None


async def _fail(*_: object, **__: object) -> Any:
    """Answer with EIO."""
    raise FuseError(errno.EIO)


class Broken:
    """An open file whose context has failed: each request is EIO."""

    read = write = truncate = flush = fsync = fallocate = lseek = poll = ioctl = (
        staticmethod(_fail)
    )
