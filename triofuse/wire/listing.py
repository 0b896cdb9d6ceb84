"""The listing of an open directory, one page at a time.

The law: an entry that was sent keeps its cookie and its place as long as the listing
exists.  Sent entries are kept as records, without attributes; others are taken from
the iterable when they are needed.
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

#: Cookies from here on are hashes of names; below they are places in the listing.
BY_NAME = 1 << 61

#: The bits of a hash in a cookie, which is a loff_t and must not be negative.
_HASH = BY_NAME - 1

#: Bytes of the smallest record.
_SMALLEST = 32

#: The most entries that are taken at a time, unless all are taken at once.
_CHUNK = 1 << 16


@attrs.define(eq=False, repr=False)
class Page:
    """The records of one reply.

    Attributes:
      body: The records.
      sent: The entries in them that the kernel counts as lookups.
    """

    body: Buffer
    sent: list[Entry] = attrs.Factory(list)


@attrs.define(eq=False, repr=False)
class Listing:
    """The entries of a directory, with a stable order and stable cookies.

    A record takes 32 bytes and its name, as long as the listing exists.
    """

    _source: EntrySource
    #: The cookies, sorted, if they are hashes; None if they are places: 1, 2, 3.
    _hashes: Sequence[int] | None = None
    _records: bytearray = attrs.Factory(bytearray)
    #: The end of each record in `_records`, after a 0.
    _ends: array[int] = attrs.field(factory=lambda: array("Q", [0]))
    _left: list[Entry] = attrs.Factory(list)
    _broken: bool = False

    def __len__(self) -> int:
        """Return the number of entries that have a record."""
        return len(self._ends) - 1

    @property
    def is_by_name(self) -> bool:
        """Whether its cookies are also valid in another listing of the directory."""
        return self._hashes is not None

    def order_by_name(self) -> None:
        """Make the cookies hashes of the names; call it before the first page."""
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
        """Whether the filesystem must be asked again for the entries after a cookie.

        So if the last iteration failed, or if a READDIR would take entries that
        count as lookups.
        """
        if self._index(offset) < len(self):
            return False
        if self._broken:
            return True
        return self._source.counting and not plus and not self._source.is_over()

    def go_on(self, entries: Iterable[DirEntry], nodeid: int, *, plus: bool) -> None:
        """Continue with the entries of a new call, without those already sent."""
        known = names_of(self._records)
        source = with_dots(EntrySource.of(entries, plus=plus), nodeid)
        old, self._source, self._broken = self._source, source, False
        source.entries = self._without_known(source.iterate(), known)
        self._leave(old.close())

    def page(self, offset: int, size: int, *, plus: bool) -> Page:
        """Return as many records after a cookie as fit into ``size`` bytes.

        An entry that is sent again has no attributes: its lookup was counted before.

        Raises:
          FuseError: EINVAL: ``size`` is too small for one record, as in getdents(2).
          ValueError: A name is invalid.
        """
        index = self._index(offset)
        while len(self) < index and self._take(index - len(self)):
            pass
        if plus and index < len(self):
            return Page(self._sent_before(index, size))
        if plus:
            return self._not_sent_before(size)
        start = self._ends[min(index, len(self))]
        while self._ends[-1] - start <= size and self._take(size // _SMALLEST + 1):
            pass
        stop = bisect_right(self._ends, start + size) - 1
        if stop == index < len(self):
            raise FuseError(errno.EINVAL)
        return Page(self._records[start : self._ends[stop]])

    def close(self) -> list[Entry]:
        """End the listing; return the entries whose lookups the kernel does not count."""
        self._leave(self._source.close())
        return self.take_left()

    def take_left(self) -> list[Entry]:
        """Return the entries that were sent without their lookup, and forget them."""
        left, self._left = self._left, []
        return left

    def _index(self, offset: int) -> int:
        """Return the index of the first entry after a cookie."""
        if self._hashes is None:
            return offset
        return bisect_right(self._hashes, offset)

    def _cookies(self, start: int, count: int) -> Sequence[int]:
        """Return the cookies of ``count`` entries."""
        if self._hashes is None:
            return range(start + 1, start + count + 1)
        return self._hashes[start : start + count]

    def _take(self, count: int) -> bool:
        """Take the next entries and make their records; return False at the end.

        They are kept as records, not as objects: a million small objects keep the
        garbage collector busy for longer than everything else takes.
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

    def _not_sent_before(self, size: int) -> Page:
        """Return a page of READDIRPLUS of entries that were not sent before."""
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

    def _sent_before(self, index: int, size: int) -> bytes:
        """Return a page of READDIRPLUS of entries that were sent before."""
        body: list[bytes | bytearray] = []
        # The smallest record: attributes and a name of one byte.
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

    def _without_known(
        self, entries: Iterable[DirEntry], known: set[str]
    ) -> Iterator[DirEntry]:
        """Yield the entries without known names, each of which occurs at most once."""
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
    """Return the cookie of a name; it is stable within this process."""
    if name in DOTS:
        return BY_NAME + len(name) - 1
    return BY_NAME + max(hash(name) & _HASH, len(DOTS))
