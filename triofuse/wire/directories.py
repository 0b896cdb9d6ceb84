"""Directory listings: any iterable of entries, a page at a time."""

from __future__ import annotations

import errno
import itertools
import stat
import struct
from collections.abc import Generator, Iterable, Iterator, Sequence

import attrs

from triofuse.filesystem import requests as r
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.replies import Buffer, DirEntry, Entry
from triofuse.wire import layouts
from triofuse.wire.attributes import encode_entry
from triofuse.wire.encode import encode_name
from triofuse.wire.replies import ReplyError, mistake_in_entry

__all__ = ["Listing", "encode_direntplus", "encode_dirents"]

#: The inode number of ".." where nobody knows better, as in libfuse.
_UNKNOWN_INO = 0xFFFFFFFF
_NO_ENTRY = bytes(layouts.ENTRY_OUT.size)
_DOTS = frozenset({".", ".."})

#: The position of a listing that has failed: no READDIR goes on there.
_NOWHERE = -1

#: What fills a record up to a multiple of 8 bytes, by the length of its name.
_PADDING = tuple(bytes(-size % 8) for size in range(8))
_pack_dirent = layouts.DIRENT.pack


@attrs.define(eq=False, repr=False)
class Listing:
    """The entries of an open directory that the kernel has not got yet.

    Entries without an ``offset`` get their place in the listing as their cookie.

    Attributes:
      plus: Whether attributes are listed too.  Else a directory may change while it is
        read: all entries are taken at once.
      position: The cookie of the last entry that went out.
      numbered: Whether the filesystem gives offsets itself, so that the next page
        is to be asked of it.
      sent: The entries of the last page that count as lookups.
    """

    _entries: Iterator[DirEntry]
    plus: bool
    position: int = 0
    numbered: bool = False
    sent: list[Entry] = attrs.Factory(list)
    _left: list[Entry] = attrs.Factory(list)
    _returned: list[DirEntry] = attrs.Factory(list)  # a stack: next() takes the last
    #: What goes out where the listing is neither plus nor numbered, and what did not fit.
    _records: Iterator[bytes] | None = None
    _next_record: bytes | None = None

    @classmethod
    def of(
        cls,
        entries: Iterable[DirEntry],
        nodeid: int,
        offset: int,
        *,
        plus: bool,
        numbered: bool | None = None,
    ) -> Listing:
        """Begin a listing; the caller skips to ``offset`` where it is not numbered.

        Whether it is, an empty one cannot tell: ``numbered`` is what is known of it.

        Raises:
          ValueError: A name is none, where they are all taken at once.
        """
        listing = cls(iter(entries), plus)
        first = next(listing._entries, None)
        if first is not None:
            if not isinstance(first, DirEntry):
                raise ReplyError(mistake_in_entry(first))
            numbered = first.offset is not None
            listing._returned.append(first)
        if numbered:
            listing.numbered = True
            listing.position = offset
            return listing
        if first.name != "." if first else offset == 0 or numbered is False:
            listing._returned += _dots(nodeid)
        if not plus:
            listing._take_all(isinstance(entries, Sequence))
        return listing

    def _take_all(self, made: bool) -> None:
        """Keep all that is to be listed, whatever becomes of the directory.

        What is not made yet is kept as records: with a million small objects the
        garbage collector would take longer than all the rest.
        """
        first, self._returned = reversed(self._returned), []
        rest = tuple(self._entries) if made else self._entries
        self._entries = itertools.chain(first, rest)
        self._records = self._made() if made else iter(list(self._made()))

    def _made(self) -> Iterator[bytes]:
        """Make the records of all entries; names only: none counts as a lookup."""
        for number, entry in enumerate(self._entries, 1):
            if entry.entry is not None:
                self._leave(entry)
            yield _dirent(entry, number)

    def skip_to(self, offset: int) -> list[Entry]:
        """Move on to the cookie ``offset``, return the lookups left behind."""
        if self._records is not None:
            for _ in itertools.islice(self._records, offset - self.position):
                self.position += 1
            return self.take_left()
        while self.position < offset and (entry := self._next()) is not None:
            self.position += 1
            self._leave(entry)
        return self.take_left()

    def page(self, size: int) -> bytes:
        """Return as many records as fit into ``size`` bytes.

        Raises:
          FuseError: EINVAL: not even one fits, as in getdents(2).
          ValueError: A name is none.
        """
        sent: list[Entry] = []
        self.sent = sent
        if self._records is not None:
            return self._page_of_records(self._records, size)
        records: list[bytes] = []
        room, plus = size, self.plus
        pack = _direntplus if plus else _dirent
        entries, returned = self._entries, self._returned
        while entry := returned.pop() if returned else next(entries, None):
            offset = self.position + 1 if entry.offset is None else entry.offset
            try:
                record = pack(entry, offset)
            except BaseException:
                returned.append(entry)
                raise
            room -= len(record)
            if room < 0:
                returned.append(entry)
                if not records:
                    raise FuseError(errno.EINVAL)
                break
            records.append(record)
            self.position = offset
            if entry.entry is not None and _counts(entry):
                (sent if plus else self._left).append(entry.entry)
        return b"".join(records)

    def _page_of_records(self, left: Iterator[bytes], size: int) -> bytes:
        """Return a page of what has a record already, or gets it here."""
        records: list[bytes] = []
        if self._next_record is not None:
            left, self._next_record = itertools.chain((self._next_record,), left), None
        try:
            for record in left:
                size -= len(record)
                if size < 0:
                    self._next_record = record
                    break
                records.append(record)
        except BaseException:
            self.position = _NOWHERE
            raise
        if self._next_record is not None and not records:
            raise FuseError(errno.EINVAL)
        self.position += len(records)
        return b"".join(records)

    def close(self) -> list[Entry]:
        """End the listing, return the lookups that nobody will take.

        A generator is closed, for what it has not made cannot be lost; what
        another iterable still holds was handed over with it.
        """
        try:
            if isinstance(self._entries, Generator):
                self._entries.close()
        finally:
            while (entry := self._next()) is not None:
                self._leave(entry)
        return self.take_left()

    def take_left(self) -> list[Entry]:
        """Return the lookups that were left behind when something else failed."""
        left, self._left = self._left, []
        return left

    def _leave(self, entry: DirEntry) -> None:
        if entry.entry is not None and _counts(entry):
            self._left.append(entry.entry)

    def _next(self) -> DirEntry | None:
        if self._returned:
            return self._returned.pop()
        return next(self._entries, None)


def _counts(entry: DirEntry) -> bool:
    """Whether the kernel will count an entry as a lookup, as fuse_direntplus_link()."""
    found = entry.entry
    return found is not None and found.nodeid != 0 and entry.name not in _DOTS


def _dots(nodeid: int) -> list[DirEntry]:
    return [
        DirEntry("..", _UNKNOWN_INO, stat.S_IFDIR),
        DirEntry(".", nodeid, stat.S_IFDIR),
    ]


def _dirent(entry: DirEntry, offset: int) -> bytes:
    """Return a ``struct fuse_dirent`` with its name, padded to 8 bytes."""
    try:
        name = encode_name(entry.name)
        size = len(name)
        fixed = _pack_dirent(entry.ino, offset, size, entry.mode >> 12)
    except (AttributeError, TypeError, ValueError, struct.error) as exc:
        raise _explained(entry, exc) from exc
    return fixed + name + _PADDING[size & 7]


def _direntplus(entry: DirEntry, offset: int) -> bytes:
    """Return a ``struct fuse_direntplus`` with its name, padded to 8 bytes."""
    try:
        head = _NO_ENTRY if entry.entry is None else encode_entry(entry.entry, None)
    except (AttributeError, TypeError, ValueError, struct.error) as exc:
        raise _explained(entry, exc) from exc
    return head + _dirent(entry, offset)


def _explained(entry: object, exc: Exception) -> Exception:
    """Return what is wrong with an entry, or what was raised where that is not plain."""
    mistake = mistake_in_entry(entry)
    return ReplyError(mistake) if mistake else exc


def encode_dirents(listing: Iterable[DirEntry], request: r.Readdir) -> Buffer:
    """Encode a page of ``struct fuse_dirent``."""
    return _listing(listing, request, plus=False).page(request.size)


def encode_direntplus(listing: Iterable[DirEntry], request: r.Readdirplus) -> Buffer:
    """Encode a page of ``struct fuse_direntplus``."""
    return _listing(listing, request, plus=True).page(request.size)


def _listing(entries: Iterable[DirEntry], request: r.Read, *, plus: bool) -> Listing:
    """Return the listing that the session keeps, or one for this page only."""
    if isinstance(entries, Listing):
        return entries
    listing = Listing.of(entries, request.nodeid, request.offset, plus=plus)
    listing.skip_to(request.offset)
    return listing
