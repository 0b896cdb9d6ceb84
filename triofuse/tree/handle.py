"""An open file of a tree."""

from __future__ import annotations

from typing import Any

import attrs
import trio

from triofuse.tree.file import File
from triofuse.tree.inode import Inode

__all__ = ["Handle"]


@attrs.define(eq=False, repr=False)
class Handle:
    """An open file.

    Attributes:
      inode: Whose.
      node: The node as it was when it was opened.
      target: What requests are asked of: what ``open`` returned, or the node.
      released: Set at the end, for what ``open`` has entered.
    """

    inode: Inode
    node: File
    target: Any
    released: trio.Event | None = None
