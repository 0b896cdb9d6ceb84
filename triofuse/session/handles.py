"""Open files and directories: what must be released, and where listings stand."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import attrs
import trio

from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.replies import DirEntry, Entry, Opened
from triofuse.filesystem.requests import (
    Create,
    Forget,
    Open,
    Opendir,
    Readdir,
    Readdirplus,
    Release,
    Releasedir,
    Tmpfile,
)
from triofuse.session.backings import Backings
from triofuse.wire.directories import Listing

__all__ = ["TRACKED", "Handles"]

_log = logging.getLogger("triofuse")

#: The methods of a filesystem that `Handles` stands before.
TRACKED = frozenset(
    {
        "open",
        "create",
        "tmpfile",
        "opendir",
        "release",
        "releasedir",
        "readdir",
        "readdirplus",
    }
)

#: Listings that are kept of directories without a handle.
_MAX_UNOPENED = 64

#: nodeid and fh: what a RELEASE names.
_Key = tuple[int, int]

L = TypeVar("L", bound=Readdir | Readdirplus)


@attrs.define(eq=False, repr=False)
class Handles:
    """Stands before the filesystem wherever something is opened, listed, released.

    The kernel loses the last RELEASE of a mount that ends busily, so what is open
    is counted here and released at the end.
    """

    _filesystem: Filesystem
    _strict: bool
    _backings: Backings
    _opens: dict[_Key, list[Release]] = attrs.field(factory=dict, init=False)
    _listings: dict[_Key, Listing] = attrs.field(factory=dict, init=False)
    _unopened: deque[_Key] = attrs.field(factory=deque, init=False)

    async def open(self, request: Open) -> Opened:
        """Open a file and note its handle."""
        opened = await self._filesystem.open(request)
        return self._note_file(request.nodeid, opened, request.flags)

    async def create(self, request: Create) -> tuple[Entry, Opened]:
        """Make a file and note its handle."""
        entry, opened = await self._filesystem.create(request)
        return entry, self._note_file(entry.nodeid, opened, request.flags)

    async def tmpfile(self, request: Tmpfile) -> tuple[Entry, Opened]:
        """Make a nameless file and note its handle."""
        entry, opened = await self._filesystem.tmpfile(request)
        return entry, self._note_file(entry.nodeid, opened, request.flags)

    async def opendir(self, request: Opendir) -> Opened:
        """Open a directory and note its handle."""
        opened = await self._filesystem.opendir(request)
        self._note(Releasedir, request.nodeid, opened, request.flags)
        return opened

    async def release(self, request: Release) -> None:
        """Release a file's handle."""
        self._drop((request.nodeid, request.fh))
        await self._filesystem.release(request)

    async def releasedir(self, request: Releasedir) -> None:
        """Release a directory's handle, and with the last one its listing."""
        key = (request.nodeid, request.fh)
        self._drop(key)
        if key not in self._opens:
            self._end_listing(key)
        await self._filesystem.releasedir(request)

    async def readdir(self, request: Readdir) -> Listing:
        """Return the listing, which stands at the entry that is wanted next."""
        return await self._list(request, self._filesystem.readdir, plus=False)

    async def readdirplus(self, request: Readdirplus) -> Listing:
        """Return the listing with its entries, likewise."""
        return await self._list(request, self._filesystem.readdirplus, plus=True)

    @trio.lowlevel.enable_ki_protection
    async def release_all(self) -> None:
        """Release whatever is still open, all at once; the mount is gone."""
        for key in list(self._listings):
            self._end_listing(key)
        left = [release for opens in self._opens.values() for release in opens]
        async with trio.open_nursery() as nursery:
            for release in left:
                nursery.start_soon(self.release_quietly, release)

    async def release_quietly(self, release: Release) -> None:
        """Release a handle that nobody else will; a bug there stops nothing else."""
        try:
            if isinstance(release, Releasedir):
                await self.releasedir(release)
            else:
                await self.release(release)
        except Exception:  # noqa: BLE001  (reported, and it stops nothing else)
            self._report("%r failed", release)

    def forget(self, request: Forget) -> None:
        """Take lookups off a node."""
        try:
            self._filesystem.forget(request)
        except Exception:  # noqa: BLE001  (reported, and it stops nothing else)
            self._report("%r failed", request)

    def _report(self, message: str, *what: object) -> None:
        """Log a bug that no caller waits for; in strict mode it ends the session."""
        _log.exception(message, *what)
        if self._strict:
            raise

    async def _list(
        self,
        request: L,
        read: Callable[[L], Awaitable[Iterable[DirEntry]]],
        *,
        plus: bool,
    ) -> Listing:
        key = (request.nodeid, request.fh)
        listing = self._listings.get(key)
        if (
            listing is not None
            and listing.position == request.offset
            and listing.plus == plus
            and not listing.numbered
        ):
            return listing
        numbered = None if listing is None else listing.numbered
        entries = await read(request)
        self._end_listing(key)  # also one that another READDIR has begun meanwhile
        listing = Listing.of(
            entries,
            request.nodeid,
            request.offset,
            plus=plus,
            numbered=numbered,
        )
        self._listings[key] = listing
        if key not in self._opens and key not in self._unopened:
            self._bound_unopened(key)
        self._leave(listing, lambda: listing.skip_to(request.offset))
        return listing

    def _bound_unopened(self, key: _Key) -> None:
        """End the oldest listing that no RELEASEDIR will end: OPENDIR is ENOSYS."""
        self._unopened.append(key)
        if len(self._unopened) > _MAX_UNOPENED:
            self._end_listing(self._unopened.popleft())

    def _end_listing(self, key: _Key) -> None:
        listing = self._listings.pop(key, None)
        if listing is None:
            return
        try:
            self._leave(listing, listing.close)
        except Exception:  # noqa: BLE001  (reported, and it stops nothing else)
            self._report("closing the listing of a directory failed")

    def _leave(self, listing: Listing, step: Callable[[], list[Entry]]) -> None:
        """Forget the lookups that a step leaves behind, also where it fails."""
        try:
            left = step()
        except BaseException:
            left = listing.take_left()
            raise
        finally:
            for entry in left:
                self.forget(Forget(0, entry.nodeid, 0, 0, 0, nlookup=1))

    def _note_file(self, nodeid: int, opened: Opened, flags: int) -> Opened:
        """Note a file's handle, and return it with what may be behind the file."""
        self._note(Release, nodeid, opened, flags)
        return self._backings.opened(nodeid, opened)

    def _note(
        self, release: type[Release], nodeid: int, opened: Opened, flags: int
    ) -> None:
        undone = release(0, nodeid, 0, 0, 0, opened.fh, flags, 0, 0)
        self._opens.setdefault((nodeid, opened.fh), []).append(undone)

    def _drop(self, key: _Key) -> None:
        opens = self._opens.get(key)
        if opens:
            opens.pop()
            self._backings.released(key[0])
        if not opens:
            self._opens.pop(key, None)
