"""A filesystem in a disk image: ``python examples/lessons/13_image.py IMAGE MOUNTPOINT``."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import triofuse
from floppy import BLOCK, BLOCKS, DATA, LAST, NAME_SIZE, SLOTS, Floppy
from triofuse import AskedDirectory, FuseError, Node, Stat, Tree


class FloppyFile(triofuse.File):
    """A file on the disk.  Its slot in the directory is its inode number."""

    def __init__(self, disk: Floppy, slot: int) -> None:
        _, size, _, mode, mtime = disk.entry(slot)
        blocks = len(list(disk.chain(slot)))
        attributes = Stat(size=size, mode=mode, mtime_ns=mtime, blocks=blocks)
        super().__init__(key=slot, stat=attributes)
        self.disk, self.slot = disk, slot

    async def read(self, size: int, offset: int) -> bytes:
        size = min(size, self.disk.entry(self.slot)[1] - offset)
        pieces = self.disk.pieces(self.slot, offset, size)
        return b"".join(self.disk.disk[piece] for piece in pieces)

    async def write(self, data: memoryview, offset: int) -> int:
        end = offset + len(data)
        if end > self.disk.entry(self.slot)[1]:
            self.disk.resize(self.slot, end)
        for piece in self.disk.pieces(self.slot, offset, len(data)):
            count = piece.stop - piece.start
            self.disk.disk[piece], data = data[:count], data[count:]
        return end - offset

    async def truncate(self, size: int) -> None:
        self.disk.resize(self.slot, size)

    async def save(self, changes: Stat) -> None:
        """Keep mode and mtime; there is no room for owners."""
        name, size, first, mode, mtime = self.disk.entry(self.slot)
        mode = mode if changes.mode is None else stat.S_IMODE(changes.mode)
        mtime = mtime if changes.mtime_ns is None else changes.mtime_ns
        self.disk.put_entry(self.slot, name, size, first, mode, mtime)

    async def fsync(self, *, datasync: bool) -> None:
        self.disk.disk.flush()

    async def drop(self) -> None:
        """Free the blocks: it has no name, and nobody has it open any more."""
        self.disk.erase(self.slot)


class Root(AskedDirectory):
    """The only directory of the disk."""

    def __init__(self, disk: Floppy) -> None:
        super().__init__(key="root")
        self.disk = disk
        for slot in list(disk.orphans()):
            disk.erase(slot)

    async def lookup(self, name: str) -> Node | None:
        slot = self.disk.slot_of(os.fsencode(name))
        return None if slot is None else FloppyFile(self.disk, slot)

    def entries(self) -> Iterator[tuple[str, Node]]:
        for slot in range(SLOTS):
            if name := self.disk.entry(slot)[0]:
                yield os.fsdecode(name), FloppyFile(self.disk, slot)

    async def make(self, name: str, new: Stat, target: str | None) -> Node:
        mode, slot = new.mode or 0, self.disk.slot_of(b"")
        if not stat.S_ISREG(mode):
            raise FuseError(errno.EPERM)
        if slot is None:
            raise FuseError(errno.ENOSPC)
        now = new.mtime_ns or 0
        self.disk.put_entry(slot, encoded(name), 0, LAST, stat.S_IMODE(mode), now)
        return FloppyFile(self.disk, slot)

    def set_name(self, node: Node, name: bytes) -> None:
        """Write a name into the slot of a file; ``b""`` is none."""
        assert isinstance(node, FloppyFile)
        self.disk.put_entry(node.slot, name, *self.disk.entry(node.slot)[1:])

    async def unlink(self, name: str, node: Node) -> None:
        self.set_name(node, b"")

    async def rename(
        self, name: str, node: Node, to: Node, new_name: str, replaced: Node | None
    ) -> None:
        if replaced is not None:
            self.set_name(replaced, b"")
        self.set_name(node, encoded(new_name))


def encoded(name: str) -> bytes:
    """Return a name as the directory has it."""
    if len(os.fsencode(name)) > NAME_SIZE:
        raise FuseError(errno.ENAMETOOLONG)
    return os.fsencode(name)


class FloppyTree(Tree):
    """The tree, with the size of the disk for df(1)."""

    def __init__(self, disk: Floppy) -> None:
        super().__init__(Root(disk))
        self.disk = disk

    async def statfs(self, request: triofuse.StatfsRequest) -> triofuse.Statfs:
        free = self.disk.free
        return triofuse.Statfs(
            BLOCKS - DATA, free, free, frsize=BLOCK, namelen=NAME_SIZE
        )


def make(source: Path) -> Tree:
    """Show the files of a disk image of 1.44 MB.

    Args:
      source: The image; it need not exist.
    """
    return FloppyTree(Floppy(source))


if __name__ == "__main__":
    triofuse.main(make)
