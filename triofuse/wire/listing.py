"""The listing of an open directory, a page at a time.

The law: an entry that has gone out keeps its cookie, and its place in the order, for
as long as the listing lives.  What has gone out is kept as records, without
attributes; what has not is asked of the iterable when it is wanted.
"""

from __future__ import annotations

import errno
import itertools
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

import attrs

from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.replies import Buffer, DirEntry, Entry
from triofuse.wire.dirents import (
    NO_ATTRIBUTES,
    encode_attributes,
    encode_dirent,
    names_of,
)
from triofuse.wire.entries import DOTS, EntrySource, counts, with_dots

__all__ = ["BY_NAME", "Listing", "Page"]

#: From here on cookies are hashes of names.  Below they are places in the listing.
BY_NAME = 1 << 61

#: The bits of a hash that are used: a cookie is a loff_t, which is not negative.
_HASH = BY_NAME - 1

#: Bytes of the smallest record.
_SMALLEST = 32

#: Entries that are taken at a time at the most, where not all are.
_CHUNK = 1 << 16


@attrs.define(eq=False, repr=False)
class Page:
    """Records for one reply.

    Attributes:
      body: The records.
      sent: The entries among them that the kernel counts as lookups.
    """

    body: Buffer
    sent: list[Entry] = attrs.Factory(list)


@attrs.define(eq=False, repr=False)
class Listing:
    """The entries of a directory, in an order and with cookies that stay.

    A record takes 24 bytes, its name and 8 bytes, for as long as the listing lives.
    """

    _source: EntrySource
    #: The cookies by name, in order; None where they are places: 1, 2, 3.
    _hashes: Sequence[int] | None = None
    _records: bytearray = attrs.Factory(bytearray)
    #: Where each record ends in `_records`, behind a 0.
    _ends: array[int] = attrs.field(factory=lambda: array("Q", [0]))
    _left: list[Entry] = attrs.Factory(list)
    _broken: bool = False

    def __len__(self) -> int:
        """Return how many entries have a record."""
        return len(self._ends) - 1

    @property
    def is_by_name(self) -> bool:
        """Whether its cookies are as good for another reading of the directory."""
        return self._hashes is not None

    def order_by_name(self) -> None:
        """Have the cookies depend on nothing but the names, before any goes out."""
        entries: dict[int, DirEntry] = {}
        try:
            for entry in self._source.iterate():
                cookie = _hash_of(entry.name)
                while cookie in entries:
                    cookie += 1
                entries[cookie] = entry
        except BaseException:
            self._leave(entries.values())
            raise
        self._hashes = array("Q", sorted(entries))
        self._source = EntrySource.of(
            [entries[cookie] for cookie in self._hashes], plus=True
        )

    def needs_anew(self, offset: int, *, plus: bool) -> bool:
        """Whether the directory is to be read anew for what comes after a cookie.

        That is where the last reading has failed, and where names are wanted of
        entries each of which would be looked up.
        """
        if self._index(offset) < len(self):
            return False
        if self._broken:
            return True
        return self._source.counting and not plus and not self._source.is_over()

    def go_on(self, entries: Iterable[DirEntry], nodeid: int, *, plus: bool) -> None:
        """Go on with entries that were read anew, but for those that have gone out."""
        known = names_of(self._records)
        source = with_dots(EntrySource.of(entries, plus=plus), nodeid)
        old, self._source, self._broken = self._source, source, False
        source.entries = self._unknown(source.iterate(), known)
        self._leave(old.close())

    def page(self, offset: int, size: int, *, plus: bool) -> Page:
        """Return as many records after a cookie as fit into ``size`` bytes.

        What goes out once more has no attributes: the kernel has counted its lookup.

        Raises:
          FuseError: EINVAL: not even one fits, as in getdents(2).
          ValueError: A name is none.
        """
        index = self._index(offset)
        while len(self) < index and self._take(index - len(self)):
            pass
        if plus and index < len(self):
            return Page(self._again(index, size))
        if plus:
            return self._plus_page(size)
        start = self._ends[min(index, len(self))]
        while self._ends[-1] - start <= size and self._take(size // _SMALLEST + 1):
            pass
        stop = bisect_right(self._ends, start + size) - 1
        if stop == index < len(self):
            raise FuseError(errno.EINVAL)
        return Page(self._records[start : self._ends[stop]])

    def close(self) -> list[Entry]:
        """End the listing, return the lookups that nobody will take."""
        self._leave(self._source.close())
        return self.take_left()

    def take_left(self) -> list[Entry]:
        """Return the lookups of entries that went out without them, or will not."""
        left, self._left = self._left, []
        return left

    def _index(self, offset: int) -> int:
        """Return how many entries come before what follows a cookie."""
        if self._hashes is None:
            return offset
        return bisect_right(self._hashes, offset)

    def _cookies(self, start: int, count: int) -> Sequence[int]:
        """Return the cookies of so many entries."""
        if self._hashes is None:
            return range(start + 1, start + count + 1)
        return self._hashes[start : start + count]

    def _take(self, count: int) -> bool:
        """Give the next entries their records; False is the end.

        What is not made yet is kept as records: with a million small objects the
        garbage collector would take longer than all the rest.
        """
        records: list[bytes] = []
        count = BY_NAME if self._source.at_once else min(count, _CHUNK)
        taken = itertools.islice(self._source.iterate(), count)
        cookies = self._cookies(len(self), count)
        try:
            for entry, cookie in zip(taken, cookies, strict=False):
                if getattr(entry, "entry", None) is not None:
                    self._leave((entry,))
                records.append(encode_dirent(entry, cookie))
        except BaseException:
            self._broken = True
            raise
        finally:
            self._keep(records)
        return bool(records)

    def _plus_page(self, size: int) -> Page:
        """Return a page of what goes out for the first time."""
        heads: list[bytes] = []
        records: list[bytes] = []
        sent: list[Entry] = []
        entries, returned = self._source.entries, self._source.returned
        number, hashes = len(self), self._hashes
        try:
            while entry := returned.pop() if returned else next(entries, None):
                cookie = number + 1 if hashes is None else hashes[number]
                try:
                    head = encode_attributes(entry)
                    record = encode_dirent(entry, cookie)
                except BaseException:
                    returned.append(entry)
                    raise
                size -= len(head) + len(record)
                if size < 0:
                    returned.append(entry)
                    break
                number += 1
                heads.append(head)
                records.append(record)
                found = entry.entry
                if found and found.nodeid and entry.name not in DOTS:
                    sent.append(found)
        except BaseException:
            self._broken = True
            self._left += sent
            raise
        finally:
            self._keep(records)
        if returned and not records:
            raise FuseError(errno.EINVAL)
        pieces = itertools.chain.from_iterable(zip(heads, records, strict=True))
        return Page(b"".join(pieces), sent)

    def _again(self, index: int, size: int) -> bytes:
        """Return a page of READDIRPLUS of what has gone out before."""
        body: list[bytes | bytearray] = []
        # The smallest record has attributes and a name of one byte.
        ends = self._ends[index : index + size // len(NO_ATTRIBUTES) + 2]
        for start, end in itertools.pairwise(ends):
            size -= len(NO_ATTRIBUTES) + end - start
            if size < 0:
                break
            body += (NO_ATTRIBUTES, self._records[start:end])
        if not body:
            raise FuseError(errno.EINVAL)
        return b"".join(body)

    def _keep(self, records: list[bytes]) -> None:
        self._records += b"".join(records)
        lengths = map(len, records)
        self._ends.extend(itertools.accumulate(lengths, initial=self._ends.pop()))

    def _unknown(
        self, entries: Iterable[DirEntry], known: set[str]
    ) -> Iterator[DirEntry]:
        """Leave out what is known, each name of which comes once at the most."""
        rest = iter(entries)
        while known and (entry := next(rest, None)) is not None:
            if entry.name in known:
                known.remove(entry.name)
                self._leave((entry,))
            else:
                yield entry
        yield from rest

    def _leave(self, entries: Iterable[DirEntry]) -> None:
        self._left += [e.entry for e in entries if e.entry and counts(e)]


def _hash_of(name: str) -> int:
    """Return the cookie of a name, the same as long as this process lives."""
    if name in DOTS:
        return BY_NAME + len(name) - 1
    return BY_NAME + max(hash(name) & _HASH, len(DOTS))
