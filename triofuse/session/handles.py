"""Open files and directories: what must be released, and where listings stand."""

from __future__ import annotations

import errno
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import attrs
import trio

from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.flags import OpenFlags
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
from triofuse.wire.opcodes import Opcode

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

#: Files whose READs may wait for what is still to come.  A plain number: quicker.
_ENDLESS = int(OpenFlags.DIRECT_IO | OpenFlags.NONSEEKABLE | OpenFlags.STREAM)

#: What the kernel takes an open for that is answered with ENOSYS: fuse_file_open()
#: and fuse_dir_open() in fs/fuse.
_UNOPENED = Opened(0, OpenFlags.KEEP_CACHE)
_UNOPENED_DIRECTORY = Opened(0, OpenFlags.KEEP_CACHE | OpenFlags.CACHE_DIR)

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
    #: Whether the kernel is to ask at each open, whose caller is looked at then.
    _asked_always: bool = False
    #: The operations that the filesystem has answered with ENOSYS all the same.
    _needless: set[Opcode] = attrs.field(factory=set, init=False)
    _opens: dict[_Key, list[Release]] = attrs.field(factory=dict, init=False)
    _endless: set[_Key] = attrs.field(factory=set, init=False)
    _listings: dict[_Key, Listing] = attrs.field(factory=dict, init=False)
    _unopened: deque[_Key] = attrs.field(factory=deque, init=False)

    async def open(self, request: Open) -> Opened:
        """Open a file and note its handle."""
        try:
            if Opcode.OPEN in self._needless:
                return _UNOPENED
            opened = await self._filesystem.open(request)
        except FuseError as exc:
            return self._open_needless(Opcode.OPEN, exc)
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
        try:
            if Opcode.OPENDIR in self._needless:
                return _UNOPENED_DIRECTORY
            opened = await self._filesystem.opendir(request)
        except FuseError as exc:
            return self._open_needless(Opcode.OPENDIR, exc)
        self._note(Releasedir, request.nodeid, opened, request.flags)
        return opened

    async def release(self, request: Release) -> None:
        """Release a file's handle."""
        if (
            self._drop((request.nodeid, request.fh))
            or Opcode.OPEN not in self._needless
        ):
            await self._filesystem.release(request)

    async def releasedir(self, request: Releasedir) -> None:
        """Release a directory's handle, and with the last one its listing."""
        key = (request.nodeid, request.fh)
        was_open = self._drop(key)
        if key not in self._opens:
            self._end_listing(key)
        if was_open or Opcode.OPENDIR not in self._needless:
            await self._filesystem.releasedir(request)

    async def readdir(self, request: Readdir) -> Listing:
        """Return the listing, which stands at the entry that is wanted next."""
        return await self._list(request, self._filesystem.readdir, plus=False)

    async def readdirplus(self, request: Readdirplus) -> Listing:
        """Return the listing with its entries, likewise."""
        return await self._list(request, self._filesystem.readdirplus, plus=True)

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

    def is_endless(self, nodeid: int, fh: int) -> bool:
        """Whether a file was opened with DIRECT_IO, NONSEEKABLE or STREAM."""
        return (nodeid, fh) in self._endless

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
        if opened.flags & _ENDLESS:
            self._endless.add((nodeid, opened.fh))
        return self._backings.opened(nodeid, opened)

    def _note(
        self, release: type[Release], nodeid: int, opened: Opened, flags: int
    ) -> None:
        undone = release(0, nodeid, 0, 0, 0, opened.fh, flags, 0, 0)
        self._opens.setdefault((nodeid, opened.fh), []).append(undone)

    def _open_needless(self, opcode: Opcode, exc: FuseError) -> Opened:
        """Answer for a filesystem that has nothing to do at open, ever: ENOSYS.

        With that the kernel would let in everybody without a word, also to what it
        has cached.  So it gets what it would do by itself, and goes on asking.
        """
        if exc.errno != errno.ENOSYS or not self._asked_always:
            raise exc
        self._needless.add(opcode)
        return _UNOPENED if opcode == Opcode.OPEN else _UNOPENED_DIRECTORY

    def _drop(self, key: _Key) -> bool:
        """Note that a handle is released; False if it was not open."""
        opens = self._opens.get(key)
        was_open = bool(opens)
        if opens:
            opens.pop()
            self._backings.released(key[0])
        if not opens:
            self._opens.pop(key, None)
            self._endless.discard(key)
        return was_open
