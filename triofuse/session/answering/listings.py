"""The listings of open directories, for READDIR and READDIRPLUS.

The law: an open directory has one listing, until it is read from the start again.  If
cookies must stay valid longer, they are hashes of the names, valid in any listing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import attrs

from triofuse.filesystem.filesystem import Filesystem, implements
from triofuse.filesystem.replies import DirEntry, Entry
from triofuse.filesystem.requests import Forget, Readdir, Readdirplus
from triofuse.wire.directories import NumberedListing, begin_listing
from triofuse.wire.entries import EntrySource
from triofuse.wire.listing import BY_NAME, Listing, Page
from triofuse.wire.replies import ENTRIES

__all__ = ["Listings"]

#: Listings by name that are kept; a dropped one is read again when needed.
_MAX_BY_NAME = 64

#: nodeid and fh: what a RELEASEDIR names.
_Key = tuple[int, int]


@attrs.define(eq=False, repr=False)
class Listings:
    """Keeps the listings; forgets the lookups of entries that were not sent."""

    _filesystem: Filesystem
    _forget: Callable[[Forget], None]
    _report: Callable[[str], None]
    _by_place: dict[_Key, Listing] = attrs.field(factory=dict, init=False)
    #: By nodeid, in the order of creation.
    _by_name: dict[int, Listing] = attrs.field(factory=dict, init=False)
    #: Whether anybody may hold a cookie that is a hash.
    _has_given_names: bool = attrs.field(default=False, init=False)

    @property
    def _has_names(self) -> bool:
        """Whether the filesystem lists names without looking each up."""
        return implements(self._filesystem, "readdir")

    async def page(
        self, request: Readdir | Readdirplus, *, plus: bool, lasting: bool
    ) -> Page:
        """Return the page that a request asks for.

        Args:
          request: Its ``offset`` is 0 or a cookie.
          plus: Whether it is with attributes.
          lasting: Whether cookies must stay valid after this listing.
        """
        kept = self._kept(request)
        if kept is None:
            listing = await self._begin(request, plus=plus, lasting=lasting)
        else:
            listing = kept
            if kept.needs_anew(request.offset, plus=plus or not self._has_names):
                await self._go_on(kept, request, plus=plus)
        try:
            page = listing.page(request.offset, request.size, plus=plus)
        finally:
            self._forget_left(listing)
        if isinstance(listing, NumberedListing):
            self._close(listing)
        return page

    def end(self, key: _Key) -> None:
        """Close the listing of a directory that is no longer open."""
        self._close(self._by_place.pop(key, None))

    def end_all(self) -> None:
        """Close all listings; the connection has ended."""
        for kept in (self._by_place, self._by_name):
            while kept:
                self._close(kept.popitem()[1])

    def _kept(self, request: Readdir | Readdirplus) -> Listing | None:
        if not request.offset:
            return None
        if request.offset >= BY_NAME:
            return self._by_name.get(request.nodeid)
        return self._by_place.get((request.nodeid, request.fh))

    async def _begin(
        self, request: Readdir | Readdirplus, *, plus: bool, lasting: bool
    ) -> Listing | NumberedListing:
        entries = await self._read(request, plus=plus)
        listing = begin_listing(entries, request.nodeid, request.offset, plus=plus)
        if isinstance(listing, NumberedListing):
            if not request.offset:  # it replaces what was kept of this handle
                self.end((request.nodeid, request.fh))
            return listing
        if request.offset >= BY_NAME and not self._has_given_names:
            # Nobody has such a cookie: somebody seeks at random, past the end.
            self._close(listing)
            return NumberedListing(EntrySource.of((), plus=plus))
        if request.offset >= BY_NAME or (lasting and not request.offset):
            try:
                listing.order_by_name()
            finally:
                self._forget_left(listing)
            self._has_given_names = True
            self._close(self._by_name.pop(request.nodeid, None))
            self._by_name[request.nodeid] = listing
            if len(self._by_name) > _MAX_BY_NAME:
                self._close(self._by_name.pop(next(iter(self._by_name))))
        else:
            key = (request.nodeid, request.fh)
            self.end(key)
            self._by_place[key] = listing
        return listing

    async def _go_on(
        self, listing: Listing, request: Readdir | Readdirplus, *, plus: bool
    ) -> None:
        """Read a directory again, for the entries that were not sent yet."""
        entries = await self._read(attrs.evolve(request, offset=0), plus=plus)
        try:
            listing.go_on(entries, request.nodeid, plus=plus)
        finally:
            self._forget_left(listing)

    async def _read(
        self, request: Readdir | Readdirplus, *, plus: bool
    ) -> Iterable[DirEntry]:
        entries = await (
            self._filesystem.readdirplus(cast(Readdirplus, request))
            if plus
            else self._filesystem.readdir(cast(Readdir, request))
        )
        ENTRIES.check(entries)
        return entries

    def _close(self, listing: Listing | NumberedListing | None) -> None:
        if listing is None:
            return
        try:
            self._forget_all(listing.close())
        except Exception:  # noqa: BLE001  (reported, and it stops nothing else)
            self._report("closing the listing of a directory failed")

    def _forget_left(self, listing: Listing | NumberedListing) -> None:
        self._forget_all(listing.take_left())

    def _forget_all(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._forget(Forget(0, entry.nodeid, 0, 0, 0, nlookup=1))
