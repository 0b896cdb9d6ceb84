"""The end of nodes, and of what the kernel knows of them.

The law: a node is dropped once, when no name, handle or lookup of it is left.  That is
decided at a checkpoint, so that what is taken out and put in elsewhere is a move.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, cast

import attrs
import trio

from triofuse.tree.directory import Directory
from triofuse.tree.file import File
from triofuse.tree.inode import Inode
from triofuse.tree.node import GONE, overrides

if TYPE_CHECKING:
    from triofuse.tree.table import Table

__all__ = ["Ending"]

_log = logging.getLogger("triofuse")


@attrs.define(eq=False, repr=False)
class Ending:
    """Finds out what is unused, and ends it."""

    _tree: Table
    #: What may be unused.
    _suspects: list[Inode] = attrs.field(factory=list, init=False)
    #: What has been dropped, and whose ``drop`` is due.
    _due: deque[Inode] = attrs.field(factory=deque, init=False)
    #: Files whose contents are too large to be given back at once.
    _large: list[File] = attrs.field(factory=list, init=False)
    _some: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._tree.space.reclaim = self.reclaim

    @property
    def is_due(self) -> bool:
        """Whether `finish` has anything to do."""
        return bool(self._suspects or self._due)

    def suspect(self, inode: Inode) -> None:
        """Note that perhaps nothing is left of an inode."""
        self._suspects.append(inode)

    def soon(self) -> None:
        """Have the task of the mount decide."""
        if self._suspects:
            self._some.set()

    def decide(self) -> None:
        """Drop what nothing is left of; who has a ``drop`` of its own has it called."""
        while self._suspects:
            inode = self._suspects.pop()
            if not inode.is_used and not inode.dropped:
                self._drop(inode)
        if self._due or self._large:
            self._some.set()

    def _drop(self, inode: Inode) -> None:
        inode.dropped = True
        node, number = inode.node, inode.attr.ino
        if inode.owner is not None:
            self._tree._inodes.pop(number, None)  # noqa: SLF001  (it is part of it)
            if not inode.is_asked:
                self._tree.nodes -= 1
        if node.HOLDS:
            cast(Directory, node).empty()
        if overrides(node, "drop"):
            self._due.append(inode)
        else:
            self._give_back(inode)

    def _give_back(self, inode: Inode) -> None:
        """Give back the memory that a node has taken."""
        node = inode.node
        if isinstance(node, File) and node.discard():
            self._large.append(node)
        inode.charge(-inode.charged)
        inode.node = GONE  # else they would be a cycle, which only gc finds

    async def finish(self) -> None:
        """Drop what nothing is left of, and call each ``drop`` that is due."""
        if self._suspects:
            self.decide()
        while self._due:
            inode = self._due.popleft()
            node = inode.node
            try:
                await node.drop()
            except Exception:  # noqa: BLE001  (logged; others are dropped, too)
                _log.exception("%s.drop() failed", type(node).__name__)
            finally:
                self._give_back(inode)

    async def keep_on(self) -> None:
        """Do so for as long as the mount lives, and give back large contents."""
        while True:
            await self._some.wait()
            self._some = trio.Event()
            await self.finish()
            while self.reclaim():
                await trio.lowlevel.checkpoint()

    def reclaim(self) -> bool:
        """Give back a step of the contents of what has been dropped."""
        if not self._large:
            return False
        if not self._large[-1].discard():
            self._large.pop()
        return True
