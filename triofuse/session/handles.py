"""Open files and directories: what must be released, and where listings stand."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Sequence

import attrs
import trio

from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.replies import Entry, Opened
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
from triofuse.session.listings import Listings
from triofuse.wire.listing import Page

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

#: nodeid and fh: what a RELEASE names.
_Key = tuple[int, int]


@attrs.define(eq=False, repr=False)
class Handles:
    """Stands before the filesystem wherever something is opened, listed, released.

    The kernel loses the last RELEASE of a mount that ends busily, so what is open
    is counted here and released at the end.
    """

    _filesystem: Filesystem
    _strict: bool
    _backings: Backings
    #: Whether the filesystem may be exported over NFS.
    _exported: bool = False
    _opens: dict[_Key, list[Release]] = attrs.field(factory=dict, init=False)
    _listings: Listings = attrs.field(init=False)
    #: Whether directories are opened without OPENDIR: it was answered with ENOSYS.
    _unasked: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._listings = Listings(self._filesystem, self.forget, self._report)

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
        try:
            opened = await self._filesystem.opendir(request)
        except FuseError as exc:
            self._unasked = self._unasked or exc.errno == errno.ENOSYS
            raise
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
            self._listings.end(key)
        await self._filesystem.releasedir(request)

    async def readdir(self, request: Readdir) -> Page:
        """Return a page of the directory's listing."""
        return await self._list(request, plus=False)

    async def readdirplus(self, request: Readdirplus) -> Page:
        """Return a page with attributes, likewise."""
        return await self._list(request, plus=True)

    async def release_all(self) -> None:
        """Release whatever is still open, all at once; the mount is gone."""
        self._listings.end_all()
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

    async def _list(self, request: Readdir | Readdirplus, *, plus: bool) -> Page:
        opens = self._opens.get((request.nodeid, request.fh), ())
        return await self._listings.page(request, plus=plus, lasting=self._lasts(opens))

    def _lasts(self, opens: Sequence[Release]) -> bool:
        """Whether cookies must outlive the listing in which they were given.

        Several streams may share a handle, and a server of NFS opens the directory
        for each page: without O_DIRECTORY, ``__nfsd_open()`` in fs/nfsd/vfs.c.
        """
        if self._unasked or len(opens) > 1:
            return True
        return self._exported and bool(opens) and not opens[0].flags & os.O_DIRECTORY

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
