"""The entries of a directory before they go out: what the filesystem has returned."""

from __future__ import annotations

import itertools
import stat
from collections.abc import Collection, Generator, Iterable, Iterator

import attrs

from triofuse.filesystem.replies import DirEntry

__all__ = ["DOTS", "EntrySource", "counts", "with_dots"]

#: The inode number of ".." where nobody knows better, as in libfuse.
_UNKNOWN_INO = 0xFFFFFFFF

#: Names that the kernel never looks up.
DOTS = frozenset({".", ".."})


@attrs.define(eq=False, repr=False)
class EntrySource:
    """The entries that have not gone out yet.

    Attributes:
      counting: Whether an entry may count as a lookup when it is taken: it is better
        not taken for its name alone.
      at_once: Whether all are to be taken at once.
      entries: The rest.
      returned: What comes before it; a stack.
    """

    counting: bool
    at_once: bool
    entries: Iterator[DirEntry]
    returned: list[DirEntry] = attrs.Factory(list)
    _made: bool = False
    _origin: Iterator[DirEntry] | None = None

    @classmethod
    def of(cls, entries: Iterable[DirEntry], *, plus: bool) -> EntrySource:
        """Take what the filesystem has returned.

        What exists already is taken at once, for it may change: its lookups are
        counted.  An iterator that computes hands each entry over as it is taken.
        """
        made = isinstance(entries, Collection) or hasattr(entries, "__length_hint__")
        kept = iter(tuple(entries)) if made else iter(entries)
        lazy = not made
        return cls(plus and lazy, lazy and not plus, kept, made=made, origin=kept)

    def take(self) -> DirEntry | None:
        """Return the next entry; None is the end."""
        return self.returned.pop() if self.returned else next(self.entries, None)

    def is_over(self) -> bool:
        """Whether there is no further entry."""
        entry = self.take()
        if entry is not None:
            self.returned.append(entry)
        return entry is None

    def iterate(self) -> Iterator[DirEntry]:
        """Return all that is left, for whoever returns nothing."""
        if self.returned:
            self.entries = itertools.chain(self.returned[::-1], self.entries)
            self.returned = []
        return self.entries

    def close(self) -> list[DirEntry]:
        """Return what was handed over and has not gone out; the rest is not computed."""
        left, self.returned = self.returned[::-1], []
        entries, self.entries = self.entries, iter(())
        if self._made:
            left += entries
        elif isinstance(self._origin, Generator):
            self._origin.close()
        return left


def with_dots(source: EntrySource, nodeid: int) -> EntrySource:
    """Put the dots before the entries, unless they begin with them."""
    first = source.take()
    if first is not None:
        source.returned.append(first)
    if first is None or first.name != ".":
        source.returned.append(DirEntry("..", _UNKNOWN_INO, stat.S_IFDIR))
        source.returned.append(DirEntry(".", nodeid, stat.S_IFDIR))
    return source


def counts(entry: DirEntry) -> bool:
    """Whether the kernel will count an entry as a lookup, as fuse_direntplus_link()."""
    found = entry.entry
    return found is not None and found.nodeid != 0 and entry.name not in DOTS
