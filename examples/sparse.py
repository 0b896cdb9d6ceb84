"""The contents of memfs.py's files: bytes with holes, and the space for them.

Contents are cut into chunks of 64 KiB.  A chunk that nobody wrote to does not exist;
one that does is as long as what was written to it, and what is missing at its end
reads as zeros.  So a small file costs a small chunk, a large write is a handful of
copies, and a hole is a chunk that is missing or short.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import attrs

from triofuse import FuseError, Statfs

#: The longest name, bytes.
NAME_MAX = 255
#: The longest file, bytes: what is beyond is a mistake of the caller's.
MAX_SIZE = 1 << 50
#: The unit in which space is counted, bytes.
PAGE = 1 << 12
CHUNK = 1 << 16


@attrs.define(eq=False)
class Space:
    """A number of pages, shared by all files of a filesystem.

    Attributes:
      total: How many there are.  There are as many nodes: else nodes without
        contents could fill the memory.
      used: How many are taken.
    """

    total: int
    used: int = 0

    @classmethod
    def of(cls, size: int | None) -> Space:
        """Return a space of so many bytes, by default half of the machine's memory."""
        if size is None:
            size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        return cls(size // PAGE)

    def take(self, pages: int) -> None:
        """Take pages; a negative number gives them back.

        Raises:
          FuseError: ENOSPC: there are not so many left.
        """
        if pages > 0 and self.used + pages > self.total:
            raise FuseError(errno.ENOSPC)
        self.used += pages

    def statfs(self, nodes: int) -> Statfs:
        """Return what df(1) shows, with so many nodes in use."""
        free = self.total - self.used
        ffree = self.total - nodes
        return Statfs(self.total, free, free, self.total, ffree, PAGE, NAME_MAX, PAGE)


@attrs.define(eq=False)
class SparseFile:
    """Bytes with holes.

    Attributes:
      size: The length, holes included.  Nothing but zeros is stored behind it.
      pages: What is taken of the space.
    """

    _space: Space
    size: int = 0
    pages: int = 0
    _chunks: dict[int, bytearray] = attrs.Factory(dict)

    def read(self, offset: int, size: int) -> bytes:
        """Return a copy of up to ``size`` bytes; fewer are the end of the file."""
        pieces: list[bytes | memoryview] = []
        for number, start, stop in _spans(offset, min(size, self.size - offset)):
            piece = memoryview(self._chunks.get(number, b""))[start:stop]
            missing = stop - start - len(piece)
            pieces += (piece, bytes(missing)) if missing else (piece,)
        return b"".join(pieces)

    def write(self, offset: int, data: memoryview | bytes) -> None:
        """Write all of ``data``, or nothing if there is no space for it."""
        if not data:
            return
        self._reserve(offset, len(data))
        self.lengthen(offset + len(data))
        for number, start, stop in _spans(offset, len(data)):
            piece, data = data[: stop - start], data[stop - start :]
            chunk = self._chunks.setdefault(number, bytearray())
            _lengthen(chunk, start)
            if len(chunk) == start:
                chunk += piece
            else:
                # Not chunk[start:stop] = piece, which would copy the piece twice.
                _lengthen(chunk, stop)
                memoryview(chunk)[start:stop] = piece

    def truncate(self, size: int) -> None:
        """Set the size: what is cut off is lost, what is added is a hole."""
        if size > MAX_SIZE:
            raise FuseError(errno.EFBIG)
        if size <= self.size:
            self.punch(size, MAX_SIZE)  # with what was allocated beyond the end
        self.size = size

    def allocate(self, offset: int, size: int) -> None:
        """Take the space for bytes to come, which leaves the size alone."""
        self._reserve(offset, size)
        for number, _, stop in _spans(offset, size):
            _lengthen(self._chunks.setdefault(number, bytearray()), stop)

    def lengthen(self, size: int) -> None:
        """Set the size, if that is more."""
        self.size = max(self.size, size)

    def punch(self, offset: int, size: int) -> None:
        """Make bytes zero, and give back the space of chunks that end there."""
        end = min(offset + size, MAX_SIZE)
        for number in self._present(offset // CHUNK, -(-end // CHUNK)):
            start = max(offset - number * CHUNK, 0)
            stop = min(end - number * CHUNK, CHUNK)
            chunk = self._chunks[number]
            if stop < len(chunk):
                memoryview(chunk)[start:stop] = bytes(stop - start)
                continue
            self._take(_pages(min(start, len(chunk))) - _pages(len(chunk)))
            del chunk[start:]
            if not chunk:
                del self._chunks[number]

    def zero(self, offset: int, size: int) -> None:
        """Make bytes zero and keep the space for them, which leaves the size alone."""
        self.allocate(offset, size)
        for number, start, stop in _spans(offset, size):
            memoryview(self._chunks[number])[start:stop] = bytes(stop - start)

    def seek_data(self, offset: int) -> int:
        """Return where data is, from ``offset`` on, else raise ENXIO."""
        for number in self._present(offset // CHUNK, -(-self.size // CHUNK)):
            start = max(number * CHUNK, offset)
            if start < min(number * CHUNK + len(self._chunks[number]), self.size):
                return start
        raise FuseError(errno.ENXIO)

    def seek_hole(self, offset: int) -> int:
        """Return where a hole is, from ``offset`` on; the end of the file is one."""
        if offset >= self.size:
            raise FuseError(errno.ENXIO)
        number, start = divmod(offset, CHUNK)
        while (stored := len(self._chunks.get(number, b""))) > start:
            offset = number * CHUNK + stored
            if stored < CHUNK:
                break
            number, start = number + 1, 0
        return min(offset, self.size)

    def _reserve(self, offset: int, size: int) -> None:
        """Take the pages that ``size`` bytes at ``offset`` need and do not have."""
        if offset + size > MAX_SIZE:
            raise FuseError(errno.EFBIG)
        if size > self._space.total * PAGE:
            raise FuseError(errno.ENOSPC)
        get = self._chunks.get
        wanted = 0
        for number, _, stop in _spans(offset, size):
            wanted += max(_pages(stop) - _pages(len(get(number, b""))), 0)
        self._take(wanted)

    def _take(self, pages: int) -> None:
        self._space.take(pages)
        self.pages += pages

    def _present(self, first: int, last: int) -> list[int]:
        """Return the chunks there are from ``first`` to before ``last``, in order.

        Whichever is less work: a hole may be larger than all that is stored.
        """
        if last - first < len(self._chunks):
            return [number for number in range(first, last) if number in self._chunks]
        return sorted(number for number in self._chunks if first <= number < last)


def _spans(offset: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Cut a range of bytes into chunk number, start and stop within the chunk."""
    while size > 0:
        number, start = divmod(offset, CHUNK)
        stop = min(start + size, CHUNK)
        yield number, start, stop
        offset += stop - start
        size -= stop - start


def _lengthen(chunk: bytearray, size: int) -> None:
    """Append zeros up to ``size`` bytes."""
    if len(chunk) < size:
        chunk += bytes(size - len(chunk))


def _pages(size: int) -> int:
    return -(-size // PAGE)
