"""Encoders of directory listings, from any iterable of entries."""

from __future__ import annotations

import errno
from collections.abc import Iterable

import attrs

from triofuse.filesystem import requests as r
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.replies import Buffer, DirEntry, Entry
from triofuse.wire.dirents import encode_attributes, encode_dirent
from triofuse.wire.entries import EntrySource, counts, with_dots
from triofuse.wire.listing import Listing, Page
from triofuse.wire.replies import ReplyError, mistake_in_entry

__all__ = [
    "NumberedListing",
    "begin_listing",
    "encode_direntplus",
    "encode_dirents",
]


@attrs.define(eq=False, repr=False)
class NumberedListing:
    """One page of entries whose cookies the filesystem chose itself."""

    _source: EntrySource
    _left: list[Entry] = attrs.Factory(list)

    def page(self, offset: int, size: int, *, plus: bool) -> Page:
        """Return as many records as fit into ``size`` bytes.

        Raises:
          FuseError: EINVAL: ``size`` is too small for one record, as in getdents(2).
          ReplyError: A name is invalid, an entry has no offset, or it has the offset
            that was asked for, so that a listing would never end.
        """
        body: list[bytes] = []
        sent: list[Entry] = []
        returned = self._source.returned
        try:
            while (entry := self._source.take()) is not None:
                returned.append(entry)  # until it is known to fit
                record = encode_dirent(entry, _offset_of(entry, offset))
                if plus:
                    record = encode_attributes(entry) + record
                size -= len(record)
                if size < 0:
                    break
                del returned[-1]
                body.append(record)
                if entry.entry is not None and counts(entry):
                    (sent if plus else self._left).append(entry.entry)
        except BaseException:
            self._left += sent
            raise
        if returned and not body:
            raise FuseError(errno.EINVAL)
        return Page(b"".join(body), sent)

    def close(self) -> list[Entry]:
        """End the page; return the entries whose lookups the kernel does not count."""
        left, self._left = self._left, []
        return left + [e.entry for e in self._source.close() if e.entry and counts(e)]

    def take_left(self) -> list[Entry]:
        """Return the entries that were sent without their lookup, and forget them."""
        left, self._left = self._left, []
        return left


def begin_listing(
    entries: Iterable[DirEntry], nodeid: int, offset: int, *, plus: bool
) -> Listing | NumberedListing:
    """Begin a listing with the entries that a filesystem returned.

    Args:
      entries: The return value of ``readdir`` or ``readdirplus``.
      nodeid: The directory.
      offset: The cookie in the request.
      plus: Whether each entry may count as a lookup (READDIRPLUS).
    """
    source = EntrySource.of(entries, plus=plus)
    first = source.take()
    if first is not None:
        if not isinstance(first, DirEntry):
            raise ReplyError(mistake_in_entry(first))
        source.returned.append(first)
    # No entries after a cookie: the end, from a filesystem that chooses cookies.
    if offset if first is None else first.offset is not None:
        return NumberedListing(source)
    return Listing(with_dots(source, nodeid))


def _offset_of(entry: object, begun: int) -> int:
    if not isinstance(entry, DirEntry):
        raise ReplyError(mistake_in_entry(entry))
    if entry.offset is None:
        message = f"{entry.name!r} without an offset, although other entries have one"
        raise ReplyError(message)
    if entry.offset == begun:
        message = (
            f"{entry.name!r} with offset {begun}, after which the listing was to go on: "
            "an offset says what comes after its entry, and is not 0"
        )
        raise ReplyError(message)
    return entry.offset


def encode_dirents(listing: Iterable[DirEntry], request: r.Readdir) -> Buffer:
    """Encode a page of ``struct fuse_dirent``."""
    return _page(listing, request, plus=False).body


def encode_direntplus(listing: Iterable[DirEntry], request: r.Readdirplus) -> Buffer:
    """Encode a page of ``struct fuse_direntplus``."""
    return _page(listing, request, plus=True).body


def _page(entries: Iterable[DirEntry] | Page, request: r.Read, *, plus: bool) -> Page:
    """Return the page that the session made; without one, the page of a new listing."""
    if isinstance(entries, Page):
        return entries
    listing = begin_listing(entries, request.nodeid, request.offset, plus=plus)
    return listing.page(request.offset, request.size, plus=plus)
