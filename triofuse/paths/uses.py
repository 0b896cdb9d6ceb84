"""Which paths are in use, and which are being renamed or removed.

The law: a method's path stays valid until the method returns.  A rename waits for the
methods that use a path at or below what it moves, and keeps new ones waiting.

Source: ``get_path2()`` and ``queue_path()`` in libfuse's lib/fuse.c.
"""

from __future__ import annotations

import attrs
import trio

from triofuse.paths.inodes import Inode

__all__ = ["Uses"]


@attrs.define(eq=False, repr=False)
class Uses:
    """Lets methods use paths, and renames change them.

    Each inode counts the methods that use its path, in ``users``.

    Attributes:
      moving: What is being renamed or removed.
    """

    moving: list[Inode] = attrs.field(factory=list, init=False)
    _ended: trio.lowlevel.ParkingLot = attrs.field(
        factory=trio.lowlevel.ParkingLot, init=False
    )

    def end(self, inode: Inode) -> None:
        """Note that a method that used the path of an inode has returned."""
        inode.users -= 1
        if self.moving:
            self._ended.unpark_all()

    def wake(self) -> None:
        """Have those who wait look again."""
        self._ended.unpark_all()

    async def wait_for(self, *inodes: Inode) -> None:
        """Wait until nothing at or above these inodes is being moved."""
        while any(self._is_below(inode, self.moving) for inode in inodes):
            await self._ended.park()

    async def begin_move(self, moved: list[Inode], *directories: Inode) -> None:
        """Wait until nothing below uses a path, and keep others waiting.

        Args:
          moved: What loses its path.
          directories: Where from and where to; their paths stay valid.
        """
        while any(
            self._is_below(inode, self.moving) for inode in (*moved, *directories)
        ) or any(self._is_below(other, moved) for other in self.moving):
            await self._ended.park()
        self.moving += moved
        for directory in directories:
            directory.users += 1
        try:
            while any(inode.users for one in moved for inode in one.below()):
                await self._ended.park()
        except BaseException:
            self.end_move(moved, *directories)
            raise

    def end_move(self, moved: list[Inode], *directories: Inode) -> None:
        """Let others use their paths again."""
        for inode in moved:
            self.moving.remove(inode)
        for directory in directories:
            self.end(directory)
        self._ended.unpark_all()

    @staticmethod
    def _is_below(inode: Inode, above: list[Inode]) -> bool:
        return bool(above) and any(one in above for one in inode.ancestors())
