"""The entries that a filesystem returned and that are not sent yet."""

from __future__ import annotations

import itertools
import stat
from collections.abc import Collection, Generator, Iterable, Iterator

import attrs

from triofuse.filesystem.replies import DirEntry

__all__ = ["DOTS", "EntrySource", "counts", "with_dots"]

#: The inode number of ".." if the filesystem gives none, as in libfuse.
_UNKNOWN_INO = 0xFFFFFFFF

#: Names that the kernel never looks up.
DOTS = frozenset({".", ".."})


@attrs.define(eq=False, repr=False)
class EntrySource:
    """The entries that are not sent yet.

    Attributes:
      counting: Whether taking an entry may count as a lookup.  If so, no entry is
        taken only for its name.
      at_once: Whether all entries are taken at once.
      entries: The remaining entries.
      returned: Entries that were put back, to be taken before those; a stack.
    """

    counting: bool
    at_once: bool
    entries: Iterator[DirEntry]
    returned: list[DirEntry] = attrs.Factory(list)
    _made: bool = False
    _origin: Iterator[DirEntry] | None = None

    @classmethod
    def of(cls, entries: Iterable[DirEntry], *, plus: bool) -> EntrySource:
        """Make a source of the entries that the filesystem returned.

        A collection is copied at once, as it may change; all its lookups count.  A
        generator computes each entry when it is taken.
        """
        made = isinstance(entries, Collection) or hasattr(entries, "__length_hint__")
        kept = iter(tuple(entries)) if made else iter(entries)
        lazy = not made
        return cls(plus and lazy, lazy and not plus, kept, made=made, origin=kept)

    def take(self) -> DirEntry | None:
        """Return the next entry, None at the end."""
        return self.returned.pop() if self.returned else next(self.entries, None)

    def is_over(self) -> bool:
        """Whether there is no further entry."""
        entry = self.take()
        if entry is not None:
            self.returned.append(entry)
        return entry is None

    def iterate(self) -> Iterator[DirEntry]:
        """Return an iterator over the rest, for callers that put no entry back."""
        if self.returned:
            self.entries = itertools.chain(self.returned[::-1], self.entries)
            self.returned = []
        return self.entries

    def close(self) -> list[DirEntry]:
        """End the source; return entries that exist but were not sent.  Compute none."""
        left, self.returned = self.returned[::-1], []
        entries, self.entries = self.entries, iter(())
        if self._made:
            left += entries
        elif isinstance(self._origin, Generator):
            self._origin.close()
        return left


def with_dots(source: EntrySource, nodeid: int) -> EntrySource:
    """Add ``.`` and ``..`` before the entries, unless the first entry is ``.``."""
    first = source.take()
    if first is not None:
        source.returned.append(first)
    if first is None or first.name != ".":
        source.returned.append(DirEntry("..", _UNKNOWN_INO, stat.S_IFDIR))
        source.returned.append(DirEntry(".", nodeid, stat.S_IFDIR))
    return source


def counts(entry: DirEntry) -> bool:
    """Whether the kernel counts an entry as a lookup (fuse_direntplus_link())."""
    found = entry.entry
    return found is not None and found.nodeid != 0 and entry.name not in DOTS
