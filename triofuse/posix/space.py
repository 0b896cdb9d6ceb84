"""The memory of memfs.py: pages, who has how many of them, and what they hold.

A filesystem has one range of virtual memory, as long as its size.  The operating system
puts memory behind a page when it is first written to, and takes it back when the page
is released (MADV_DONTNEED).  So the process has in memory what `Space.used` says, and
a page that is allocated holds zeros.

Pages are counted before they are allocated: fallocate(2) counts pages which a later
write allocates.  What is no page of a file is counted in bytes, and takes a page for
each 4096 of them: names, targets of links, extended attributes.
"""

from __future__ import annotations

import errno
import mmap
import os
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

import attrs

from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.replies import Statfs

#: The longest name, bytes.
NAME_MAX = 255
#: The unit in which space is counted, bytes.
PAGE = 1 << 12
#: What a name costs beside its letters, bytes: its place in a table, and objects.  An
#: extended attribute costs the same.
OVERHEAD = 320

#: How much released memory is kept for the next who needs some, bytes: to zero it costs
#: less than to ask the operating system for other memory.
WARM = 1 << 20
_ZEROS = memoryview(bytes(WARM))

#: linux/mman.h: no promise that there is memory for all of it.  The mmap module has
#: the name since Python 3.13.
_MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)


def cost_of(text: str) -> int:
    """Return what a name takes, bytes: a letter takes one, or up to four of them."""
    return OVERHEAD + (len(text) if text.isascii() else 4 * len(text))


@attrs.define(eq=False)
class Space:
    """A number of pages, shared by all that is in a filesystem.

    Attributes:
      total: How many there are.  There are as many nodes.
      taken: How many the files have.
      small: Bytes that names, targets and extended attributes take.
      reclaim: Gives back some of what is needed no more, within milliseconds, and
        returns whether there was any.  Asked when space is short.
    """

    total: int
    taken: int = 0
    small: int = 0
    reclaim: Callable[[], bool] = attrs.field(default=lambda: False, repr=False)
    _memory: mmap.mmap = attrs.field(init=False, repr=False)
    #: Pages that were released, as (start, stop) in bytes; behind `_fresh` none was
    #: ever allocated.
    _released: list[tuple[int, int]] = attrs.field(init=False, factory=list, repr=False)
    _fresh: int = attrs.field(default=0, init=False)
    #: Those of them whose memory is still there, and their bytes.
    _warm: list[tuple[int, int]] = attrs.field(init=False, factory=list, repr=False)
    _warmth: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        self._memory = mmap.mmap(-1, max(self.total, 1) * PAGE, flags=flags)
        # With huge pages a write of one byte would take 2 MiB.
        self._memory.madvise(mmap.MADV_NOHUGEPAGE)

    @classmethod
    def of(cls, size: int | None) -> Space:
        """Return a space of so many bytes, by default half of the machine's memory."""
        if size is None:
            size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        return cls(size // PAGE)

    @property
    def used(self) -> int:
        """How many pages are taken."""
        return self.taken - -self.small // PAGE

    @property
    def free(self) -> int:
        """How many pages are left."""
        return self.total - self.used

    def take(self, pages: int) -> None:
        """Count pages; a negative number gives them back.

        Raises:
          FuseError: ENOSPC: there are not so many left.
        """
        if pages > 0:
            while pages > self.free:
                self._reclaim()
        self.taken += pages

    def charge(self, size: int) -> None:
        """Count bytes that are not a file's contents, as `take` does.

        Raises:
          FuseError: ENOSPC: there is no page left for them.
        """
        self.check(size)
        self.small += size

    def check(self, size: int) -> None:
        """Raise ENOSPC if `charge` would."""
        if size > 0:
            while self.taken - -(self.small + size) // PAGE > self.total:
                self._reclaim()

    def _reclaim(self) -> None:
        if not self.reclaim():
            raise FuseError(errno.ENOSPC)

    def statfs(self, nodes: int) -> Statfs:
        """Return what df(1) shows, with so many nodes in use."""
        free, ffree = self.free, self.total - nodes
        return Statfs(self.total, free, free, self.total, ffree, PAGE, NAME_MAX, PAGE)

    # --- The pages themselves, by their place in the memory, bytes

    def allocate(self, size: int) -> tuple[int, int]:
        """Return up to ``size`` bytes of zeros, which were counted before.

        Args:
          size: Whole pages.

        Returns:
          Where they start, and where they stop.
        """
        if self._warm:
            start, stop = self._warm.pop()
            if stop - start > size:
                self._warm.append((start + size, stop))
                stop = start + size
            self._warmth -= stop - start
            self._memory[start:stop] = _ZEROS[: stop - start]
        elif self._released:
            start, stop = self._released.pop()
            if stop - start > size:
                self._released.append((start + size, stop))
                stop = start + size
        else:
            start, stop = self._fresh, min(self._fresh + size, self.total * PAGE)
            self._fresh = stop
        return start, stop

    def release(self, start: int, stop: int) -> None:
        """Give allocated pages back, and nearly all memory to the operating system."""
        if self._warmth + stop - start <= WARM:
            self._warm.append((start, stop))
            self._warmth += stop - start
            return
        self._memory.madvise(mmap.MADV_DONTNEED, start, stop - start)
        if self._released:  # keep together what was allocated and is released so
            before, after = self._released[-1]
            if after == start or stop == before:
                self._released.pop()
                start, stop = min(start, before), max(stop, after)
        self._released.append((start, stop))

    def read(self, start: int, stop: int) -> bytes:
        """Return a copy of bytes."""
        return self._memory[start:stop]

    def write(self, start: int, data: memoryview | bytes) -> None:
        """Store bytes."""
        self._memory[start : start + len(data)] = data


@attrs.define(eq=False)
class Ranges:
    """A set of numbers that come in ranges.

    `bounds` are where the set starts and stops by turns: a bound at an even place is
    the first number of a range, the next one the first number behind it.
    """

    bounds: array[int] = attrs.Factory(lambda: array("Q"))

    def __bool__(self) -> bool:
        return bool(self.bounds)

    def count(self, first: int, last: int) -> int:
        """Return how many numbers from ``first`` to before ``last`` are in the set."""
        i, j = bisect_right(self.bounds, first), bisect_left(self.bounds, last)
        found = array("Q", [first][: i % 2]) + self.bounds[i:j]
        found.extend([last][: j % 2])
        return sum(found[1::2]) - sum(found[::2])

    def replace(self, first: int, last: int, ranges: Sequence[int] = ()) -> None:
        """Set what is in the set from ``first`` to before ``last``.

        Args:
          first: The first number to set.
          last: The number behind them.
          ranges: Bounds within these, in order; none empties the range.
        """
        i, j = bisect_left(self.bounds, first), bisect_right(self.bounds, last)
        new = [*[first][: i % 2], *ranges, *[last][: j % 2]]
        # A range that goes on is one, not two.
        if len(new) > 1 and i % 2 and new[0] == new[1]:
            del new[:2]
        if len(new) > 1 and j % 2 and new[-1] == new[-2]:
            del new[-2:]
        self.bounds[i:j] = array("Q", new)

    def back(self, first: int, last: int, limit: int) -> int:
        """Return from where to ``last`` there are at most ``limit`` bounds."""
        j = bisect_right(self.bounds, last)
        return max(first, self.bounds[j - limit]) if j >= limit else first

    def ahead(self, first: int, last: int, limit: int) -> int:
        """Return up to where there are at most ``limit`` bounds from ``first`` on."""
        i = bisect_left(self.bounds, first) + limit
        return min(last, self.bounds[i]) if i < len(self.bounds) else last
