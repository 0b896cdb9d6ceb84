"""Has the kernel forget what it has not used for long, so that memory stays bounded."""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import trio

from triofuse.filesystem.errors import CapabilityError
from triofuse.tree.inode import Inode

if TYPE_CHECKING:
    from triofuse.tree.table import Table

__all__ = ["Forgetting"]

#: How many inodes the kernel is asked to forget at a time.
_BATCH = 1024


@attrs.define(eq=False, repr=False)
class Forgetting:
    """Counts what the kernel knows, and asks it to forget.

    Attributes:
      most: How many inodes it may know.
      known: How many it knows.
    """

    _tree: Table
    most: float
    known: int = attrs.field(default=0, init=False)
    _due: trio.Event = attrs.field(factory=trio.Event, init=False)

    def ask_soon(self) -> None:
        """Have the task of the mount ask."""
        self._due.set()

    async def keep_on(self) -> None:
        """Ask when it is due, for as long as the mount lives."""
        while True:
            await self._due.wait()
            self._due = trio.Event()
            with suppress(trio.EndOfChannel):  # unmounted: it knows nothing any more
                await self._ask(self._oldest())

    def _oldest(self) -> list[Inode]:
        """Return some of those that the kernel was told of first.

        They are then the last, as those that are in use will stay.
        """
        inodes = self._tree._inodes  # noqa: SLF001  (it is part of it)
        wanted = min(int(self.known - self.most + self.most // 8) + 1, _BATCH)
        known = (inode for inode in inodes.values() if inode.nlookup)
        some = list(itertools.islice(known, wanted))
        for inode in some:
            inodes[inode.nodeid] = inodes.pop(inode.nodeid)
        return some

    async def _ask(self, inodes: list[Inode]) -> None:
        notifier = self._tree.notifier
        try:
            await notifier.prune([inode.nodeid for inode in inodes])
        except (CapabilityError, OSError):
            for inode in inodes:
                if inode.parent is not None and not inode.is_dir:
                    await notifier.inval_entry(inode.parent.nodeid, inode.name)
