"""A disk of 1.44 MB: superblock, table of blocks, directory, data.

The disk is an array of 2,880 blocks of 512 bytes.  A file is a chain of blocks: the
table says for each block which one follows.  Numbers are little-endian, as on x86 and
ARM.  Nothing here knows of FUSE.
"""

import errno
import mmap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from struct import Struct

BLOCK, BLOCKS = 512, 2880
SUPERBLOCK = Struct("<8sHHHH")  # magic, blocks, first of table, of directory, of data
TABLE, DIRECTORY, DATA = 1, 13, 27  # the table has 12 blocks, the directory 14
MAGIC = b"LESSON13"
FREE, LAST = 0, 0xFFFF  # in the table; other values are the next block of the chain
ENTRY = Struct("<48sIHHq")  # name, size, first block, mode, mtime: 64 bytes
NAME_SIZE = 48
SLOTS = (DATA - DIRECTORY) * BLOCK // ENTRY.size


class Floppy:
    """The blocks of a disk, and what they mean."""

    def __init__(self, image: Path) -> None:
        if not image.exists():
            head = SUPERBLOCK.pack(MAGIC, BLOCKS, TABLE, DIRECTORY, DATA)
            image.write_bytes(head.ljust(BLOCK * BLOCKS, b"\0"))
        with open(image, "r+b") as file:
            self.disk = mmap.mmap(file.fileno(), 0)
        if self.disk[: len(MAGIC)] != MAGIC or len(self.disk) != BLOCK * BLOCKS:
            message = f"{image} is not a disk of this lesson"
            raise ValueError(message)
        self.table = memoryview(self.disk)[TABLE * BLOCK : DIRECTORY * BLOCK].cast("H")

    # --- The directory: 112 slots; one without a name and without blocks is free

    def entry(self, slot: int) -> tuple[bytes, int, int, int, int]:
        """Return name, size, first block, mode and mtime (nanoseconds) of a slot."""
        name, *rest = ENTRY.unpack_from(
            self.disk, DIRECTORY * BLOCK + slot * ENTRY.size
        )
        return name.rstrip(b"\0"), *rest

    def put_entry(self, slot: int, *entry: bytes | int) -> None:
        """Write a slot."""
        ENTRY.pack_into(self.disk, DIRECTORY * BLOCK + slot * ENTRY.size, *entry)

    def slot_of(self, name: bytes) -> int | None:
        """Return the slot of a name; of ``b""`` a free one."""
        for slot in range(SLOTS):
            found, _, first, *_ = self.entry(slot)
            if found == name and (name or first == FREE):
                return slot
        return None

    def orphans(self) -> Iterator[int]:
        """Yield the files that were removed, but not closed before the power failed."""
        for slot in range(SLOTS):
            name, _, first, *_ = self.entry(slot)
            if not name and first != FREE:
                yield slot

    def erase(self, slot: int) -> None:
        """Free the blocks and the slot of a file."""
        self.resize(slot, 0)
        self.put_entry(slot, b"", 0, FREE, 0, 0)

    # --- The table of blocks

    def chain(self, slot: int) -> Iterator[int]:
        """Yield the blocks of a file."""
        block = self.entry(slot)[2]
        while block not in (FREE, LAST):
            yield block
            block = self.table[block]

    @property
    def free(self) -> int:
        """How many blocks are free."""
        return sum(self.table[block] == FREE for block in range(DATA, BLOCKS))

    def resize(self, slot: int, size: int) -> None:
        """Take blocks to the end of a chain, or free them, until the size fits."""
        name, old, _, mode, mtime = self.entry(slot)
        chain, count = list(self.chain(slot)), -(-size // BLOCK)
        if count - len(chain) > self.free:
            raise OSError(errno.ENOSPC, "the disk is full")
        if size < old and size % BLOCK:  # what is cut off must not come back
            start = chain[count - 1] * BLOCK
            self.disk[start + size % BLOCK : start + BLOCK] = bytes(
                BLOCK - size % BLOCK
            )
        unused = (b for b in range(DATA, BLOCKS) if self.table[b] == FREE)
        added = [next(unused) for _ in range(count - len(chain))]
        for block in added:
            self.disk[block * BLOCK : (block + 1) * BLOCK] = bytes(BLOCK)
        for block in chain[count:]:
            self.table[block] = FREE
        chain = chain[:count] + added
        for block, following in pairwise([*chain, LAST]):
            self.table[block] = following
        self.put_entry(slot, name, size, chain[0] if chain else LAST, mode, mtime)

    # --- Data

    def pieces(self, slot: int, offset: int, size: int) -> Iterator[slice]:
        """Yield where on the disk some bytes of a file are, block by block."""
        for index, block in enumerate(self.chain(slot)):
            start = max(offset - index * BLOCK, 0)
            end = min(offset + size - index * BLOCK, BLOCK)
            if start < end:
                yield slice(block * BLOCK + start, block * BLOCK + end)
