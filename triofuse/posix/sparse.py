"""The contents of memfs.py's files: bytes with holes.

Contents are extents: a stretch of the file, in whole pages, and where in the memory of
the `Space` it is.  A page that nobody wrote to has no extent, and reads as zeros: it
is a hole, or it is reserved, which means that a write will find a page for it.

Sizes and offsets are bytes.  What may have to do with any number of pages is done in
steps, between which other requests are served: no step takes longer than some
milliseconds.  The kernel lets nobody change the file meanwhile.
"""

from __future__ import annotations

import errno
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import partial

import attrs
import trio

from triofuse.filesystem.errors import FuseError
from triofuse.posix.space import PAGE, Ranges, Space

#: The longest file, bytes.
MAX_SIZE = (1 << 63) - 1
#: What one step does at most: bytes to release, and extents to look at.
STEP = 1 << 24
EXTENTS = 1 << 10


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
    #: The extents, in order: where each starts and stops in the file, and how far
    #: from there its bytes are in the memory.
    _starts: array[int] = attrs.Factory(partial(array, "Q"))
    _stops: array[int] = attrs.Factory(partial(array, "Q"))
    _shifts: array[int] = attrs.Factory(partial(array, "q"))
    _reserved: Ranges | None = None

    def read(self, offset: int, size: int) -> bytes:
        """Return a copy of up to ``size`` bytes; fewer are the end of the file."""
        end = min(offset + size, self.size)
        i = bisect_right(self._starts, offset) - 1
        if i >= 0 and offset < end <= self._stops[i]:
            shift = self._shifts[i]
            return self._space.read(offset + shift, end + shift)
        pieces = []
        for start, stop, shift in self._stored(offset, end):
            pieces.append(bytes(start - offset))
            pieces.append(self._space.read(start + shift, stop + shift))
            offset = stop
        pieces.append(bytes(max(end - offset, 0)))
        return b"".join(pieces)

    def write(self, offset: int, data: memoryview | bytes) -> None:
        """Write all of ``data``, or nothing if there is no space for it."""
        end = offset + len(data)
        if offset == end:
            return
        i = bisect_right(self._starts, offset) - 1
        if i < 0 or end > self._stops[i]:
            self._fill(offset, end)
            i = bisect_right(self._starts, offset) - 1
        if end <= self._stops[i]:
            self._space.write(offset + self._shifts[i], data)
        else:
            for start, stop, shift in self._stored(offset, end):
                self._space.write(start + shift, data[start - offset : stop - offset])
        if end > self.size:
            self.size = end

    async def truncate(self, size: int) -> None:
        """Set the size: what is cut off is lost, what is added is a hole."""
        if size > MAX_SIZE:
            raise FuseError(errno.EFBIG)
        shrinks, self.size = size <= self.size, size
        if shrinks:
            await self.punch(size, MAX_SIZE)  # with what was reserved beyond the end

    def lengthen(self, size: int) -> None:
        """Set the size, if that is more."""
        self.size = max(self.size, size)

    async def allocate(self, offset: int, size: int) -> None:
        """Take the space for bytes to come, which leaves the size alone.

        Raises:
          FuseError: EFBIG, or ENOSPC: some of the space may have been taken.
        """
        if offset + size > MAX_SIZE:
            raise FuseError(errno.EFBIG)
        first, last = _down(offset), _up(offset + size)
        # Whatever of it is here already, so much is missing.
        while (last - first) // PAGE - self.pages > self._space.free:
            if not self._space.reclaim():
                raise FuseError(errno.ENOSPC)
            await trio.lowlevel.checkpoint()
        with trio.CancelScope(shield=True):
            while (first := self._reserve(first, last)) < last:
                await trio.lowlevel.checkpoint()

    async def punch(self, offset: int, size: int) -> None:
        """Make bytes zero, and give back the pages that end there."""
        await self._clear(offset, min(offset + size, MAX_SIZE), reserve=False)

    async def zero(self, offset: int, size: int) -> None:
        """Make bytes zero and keep the space for them, which leaves the size alone."""
        await self.allocate(offset, size)
        await self._clear(offset, offset + size, reserve=True)

    def discard(self) -> bool:
        """Do a step on the way to an empty file; return whether there is more to do."""
        self.size = 0
        return self._drop(0, _up(MAX_SIZE)) > 0

    def seek_data(self, offset: int) -> int:
        """Return where data is, from ``offset`` on, else raise ENXIO."""
        self._check_seek(offset)
        i = bisect_right(self._stops, offset)
        if i == len(self._starts) or self._starts[i] >= self.size:
            raise FuseError(errno.ENXIO)
        return max(self._starts[i], offset)

    async def seek_hole(self, offset: int) -> int:
        """Return where a hole is, from ``offset`` on; the end of the file is one."""
        self._check_seek(offset)
        while (stop := self._end_of_data(offset)) > offset:
            offset = stop
            await trio.lowlevel.checkpoint()
        return min(offset, self.size)

    def _check_seek(self, offset: int) -> None:
        """Check that an offset is within the file; a negative one may come, too."""
        if not 0 <= offset < self.size:
            raise FuseError(errno.ENXIO)

    def _end_of_data(self, offset: int) -> int:
        """Return how far data goes on from ``offset``, in as many extents as a step."""
        i = bisect_right(self._starts, offset) - 1
        if i < 0 or self._stops[i] <= offset:
            return offset
        last = min(i + EXTENTS, len(self._starts) - 1)
        while i < last and self._stops[i] == self._starts[i + 1]:
            i += 1
        return self._stops[i]

    def _stored(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Cut a range at extents: where pieces start and stop, and their shifts."""
        if start >= stop:
            return
        i, j = bisect_right(self._stops, start), bisect_left(self._starts, stop)
        for k in range(i, j):
            yield (
                max(self._starts[k], start),
                min(self._stops[k], stop),
                self._shifts[k],
            )

    def _splice(self, i: int, j: int, extents: list[tuple[int, int, int]]) -> None:
        """Put extents in the place of those from ``i`` to before ``j``.

        What goes on in the file and in the memory becomes one.
        """
        starts, stops, shifts = array("Q"), array("Q"), array("q")
        for start, stop, shift in extents:
            if stops and stops[-1] == start and shifts[-1] == shift:
                stops[-1] = stop
            else:
                starts.append(start)
                stops.append(stop)
                shifts.append(shift)
        self._starts[i:j], self._stops[i:j] = starts, stops
        self._shifts[i:j] = shifts

    def _fill(self, offset: int, end: int) -> None:
        """Have an extent for each byte of a range.

        Raises:
          FuseError: EFBIG, or ENOSPC; nothing has changed then.
        """
        if end > MAX_SIZE:
            raise FuseError(errno.EFBIG)
        first, last = _down(offset), _up(end)
        if not self._reserved and self._append(first, last):
            return
        holes = self._holes(first, last)
        missing = sum(stop - start for start, stop in holes) // PAGE
        if self._reserved:
            missing -= self._reserved.count(first, last) // PAGE
        self._take(missing)
        if self._reserved:
            self._reserved.replace(first, last)
        # With the neighbours, of which the new ones may be the continuation.
        i, j = bisect_left(self._stops, first), bisect_right(self._starts, last)
        known = zip(self._starts[i:j], self._stops[i:j], self._shifts[i:j], strict=True)
        self._splice(i, j, sorted([*known, *self._allocated(holes)]))

    def _append(self, first: int, last: int) -> bool:
        """Have extents behind all others; return False if that is not where they go.

        Nearly all new bytes come at the end of a file.
        """
        stop = self._stops[-1] if self._stops else 0
        if self._stops and first < stop:
            if first < self._starts[-1]:
                return False
            first = stop
        self._take((last - first) // PAGE)
        for start, finish, shift in self._allocated([(first, last)]):
            if start == stop and self._stops and self._shifts[-1] == shift:
                self._stops[-1] = finish
            else:
                self._starts.append(start)
                self._stops.append(finish)
                self._shifts.append(shift)
            stop = finish
        return True

    def _allocated(
        self, holes: list[tuple[int, int]]
    ) -> Iterator[tuple[int, int, int]]:
        """Allocate pages for holes, which makes them extents."""
        for start, stop in holes:
            while start < stop:
                begin, end = self._space.allocate(stop - start)
                yield start, start + end - begin, begin - start
                start += end - begin

    def _holes(self, first: int, last: int) -> list[tuple[int, int]]:
        """Return the ranges in which no extent is."""
        holes = []
        for start, stop, _ in self._stored(first, last):
            if first < start:
                holes.append((first, start))
            first = stop
        if first < last:
            holes.append((first, last))
        return holes

    def _reserve(self, first: int, last: int) -> int:
        """Reserve pages from ``first`` on for a step, and return where it ended."""
        i = bisect_right(self._stops, first) + EXTENTS
        if i < len(self._starts):
            last = min(last, self._starts[i])
        if self._reserved is None:
            self._reserved = Ranges()
        last = self._reserved.ahead(first, last, EXTENTS)
        bounds = [bound for hole in self._holes(first, last) for bound in hole]
        missing = sum(bounds[1::2]) - sum(bounds[::2])
        self._take((missing - self._reserved.count(first, last)) // PAGE)
        self._reserved.replace(first, last, bounds)
        return last

    async def _clear(self, offset: int, end: int, *, reserve: bool) -> None:
        """Make bytes zero: parts of pages where they are, whole pages in steps."""
        first, last = _up(offset), _down(end)
        if end >= self.size:
            last = _up(end)  # behind the end there are zeros
        for start, stop in (offset, min(first, end)), (max(last, first), end):
            for begin, finish, shift in self._stored(start, stop):
                self._space.write(begin + shift, bytes(finish - begin))
        with trio.CancelScope(shield=True):
            while first < last and (last := self._drop(first, last, reserve=reserve)):
                if first < last:
                    await trio.lowlevel.checkpoint()

    def _drop(self, first: int, last: int, *, reserve: bool = False) -> int:
        """Drop extents from the end of a range; return what is left to be done.

        Returns:
          Where the step began: ``first`` if all is done.
        """
        if self._reserved:
            first = self._reserved.back(first, last, EXTENTS)
        i, j = bisect_right(self._stops, first), bisect_left(self._starts, last)
        if j - i > EXTENTS:
            i = j - EXTENTS
            first = self._starts[i]
        dropped, kept = 0, []
        for k in reversed(range(i, j)):
            begin, finish = max(self._starts[k], first), min(self._stops[k], last)
            shift = self._shifts[k]
            if dropped + finish - begin >= STEP:
                i, begin = k, finish - (STEP - dropped)
                first = begin
            if self._stops[k] > finish:
                kept.append((finish, self._stops[k], shift))
            if self._starts[k] < begin:
                kept.append((self._starts[k], begin, shift))
            self._space.release(begin + shift, finish + shift)
            dropped += finish - begin
            if i == k:
                break
        self._splice(i, j, kept[::-1])
        self._keep_reserved(first, last, dropped, reserve=reserve)
        return first

    def _keep_reserved(
        self, first: int, last: int, dropped: int, *, reserve: bool
    ) -> None:
        """Note what a step of `_drop` did to the count of pages."""
        if reserve and self._reserved is not None:
            self._reserved.replace(first, last, (first, last))
            return
        if self._reserved:
            dropped += self._reserved.count(first, last)
            self._reserved.replace(first, last)
        self._take(-(dropped // PAGE))

    def _take(self, pages: int) -> None:
        self._space.take(pages)
        self.pages += pages


def _down(offset: int) -> int:
    """Return the start of a page."""
    return offset & -PAGE


def _up(offset: int) -> int:
    """Return the end of a page."""
    return -(-offset & -PAGE)
