"""Tracks open files and directories, so that each is released once."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Sequence

import attrs
import trio

from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.flags import OpenFlags
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
from triofuse.session.answering.backings import Backings
from triofuse.session.answering.listings import Listings
from triofuse.wire.listing import Page
from triofuse.wire.opcodes import Opcode
from triofuse.wire.replies import CREATED, OPENED, ReplyError

__all__ = ["TRACKED", "Handles"]

_log = logging.getLogger("triofuse")

#: The methods of a filesystem that `Handles` wraps.
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

#: Flags of files whose READs may wait for data that is still to come (int: faster).
_ENDLESS = int(OpenFlags.DIRECT_IO | OpenFlags.NONSEEKABLE | OpenFlags.STREAM)

#: What the kernel assumes if an open is answered with ENOSYS: fuse_file_open() and
#: fuse_dir_open() in fs/fuse.
_UNOPENED = Opened(0, OpenFlags.KEEP_CACHE)
_UNOPENED_DIRECTORY = Opened(0, OpenFlags.KEEP_CACHE | OpenFlags.CACHE_DIR)

#: nodeid and fh: what a RELEASE names.
_Key = tuple[int, int]


@attrs.define(eq=False, repr=False)
class Handles:
    """Wraps the filesystem's methods that open, list and release.

    The kernel loses the last RELEASEs of a mount that ends while it is busy.  So open
    handles are counted here and released at the end.
    """

    _filesystem: Filesystem
    _strict: bool
    _backings: Backings
    #: Whether the filesystem may be exported over NFS.
    _exported: bool = False
    #: Whether the kernel must send each open, for its caller to be checked.
    _asked_always: bool = False
    #: Operations that the filesystem has answered with ENOSYS.
    _needless: set[Opcode] = attrs.field(factory=set, init=False)
    _opens: dict[_Key, list[Release]] = attrs.field(factory=dict, init=False)
    _endless: set[_Key] = attrs.field(factory=set, init=False)
    _listings: Listings = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._listings = Listings(self._filesystem, self.forget, self._report)

    async def open(self, request: Open) -> Opened:
        """Open a file and track its handle."""
        try:
            if self._needless and Opcode.OPEN in self._needless:
                return _UNOPENED
            opened = await self._filesystem.open(request)
        except FuseError as exc:
            return self._open_needless(Opcode.OPEN, exc)
        OPENED.check(opened)
        return self._note_file(request.nodeid, opened, request.flags)

    async def create(self, request: Create) -> tuple[Entry, Opened]:
        """Create a file and track its handle."""
        entry, opened = _pair(await self._filesystem.create(request))
        return entry, self._note_file(entry.nodeid, opened, request.flags)

    async def tmpfile(self, request: Tmpfile) -> tuple[Entry, Opened]:
        """Create an unnamed file and track its handle."""
        entry, opened = _pair(await self._filesystem.tmpfile(request))
        return entry, self._note_file(entry.nodeid, opened, request.flags)

    async def opendir(self, request: Opendir) -> Opened:
        """Open a directory and track its handle."""
        try:
            if self._needless and Opcode.OPENDIR in self._needless:
                return _UNOPENED_DIRECTORY
            opened = await self._filesystem.opendir(request)
        except FuseError as exc:
            return self._open_needless(Opcode.OPENDIR, exc)
        OPENED.check(opened)
        self._note(Releasedir, request.nodeid, opened, request.flags)
        return opened

    async def release(self, request: Release) -> None:
        """Release a file's handle."""
        was_open = self._drop((request.nodeid, request.fh))
        # First the set, mostly empty: an Opcode is hashed by Python code.
        if was_open or not self._needless or Opcode.OPEN not in self._needless:
            await self._filesystem.release(request)

    async def releasedir(self, request: Releasedir) -> None:
        """Release a directory's handle, and with the last one its listing."""
        key = (request.nodeid, request.fh)
        was_open = self._drop(key)
        if key not in self._opens:
            self._listings.end(key)
        if was_open or Opcode.OPENDIR not in self._needless:
            await self._filesystem.releasedir(request)

    async def readdir(self, request: Readdir) -> Page:
        """Return a page of the directory's listing."""
        return await self._list(request, plus=False)

    async def readdirplus(self, request: Readdirplus) -> Page:
        """Return a page of the directory's listing with attributes."""
        return await self._list(request, plus=True)

    @trio.lowlevel.enable_ki_protection
    async def release_all(self) -> None:
        """Release all open handles concurrently; the connection has ended."""
        self._listings.end_all()
        left = [release for opens in self._opens.values() for release in opens]
        async with trio.open_nursery() as nursery:
            for release in left:
                nursery.start_soon(self.release_quietly, release)

    async def release_quietly(self, release: Release) -> None:
        """Release a handle without a request; a failure is logged."""
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
        """Subtract from the lookup count of a node; a failure is logged."""
        try:
            self._filesystem.forget(request)
        except Exception:  # noqa: BLE001  (reported, and it stops nothing else)
            self._report("%r failed", request)

    def _report(self, message: str, *what: object) -> None:
        """Log a bug for which no caller waits; in strict mode it ends the session."""
        _log.exception(message, *what)
        if self._strict:
            raise

    async def _list(self, request: Readdir | Readdirplus, *, plus: bool) -> Page:
        opens = self._opens.get((request.nodeid, request.fh), ())
        return await self._listings.page(request, plus=plus, lasting=self._lasts(opens))

    def _lasts(self, opens: Sequence[Release]) -> bool:
        """Whether cookies must stay valid after the listing that has given them.

        Several streams may share a handle; and an NFS server opens the directory for
        each page, without O_DIRECTORY: ``__nfsd_open()`` in fs/nfsd/vfs.c.
        """
        if Opcode.OPENDIR in self._needless or len(opens) > 1:
            return True
        return self._exported and bool(opens) and not opens[0].flags & os.O_DIRECTORY

    def _note_file(self, nodeid: int, opened: Opened, flags: int) -> Opened:
        """Track a file's handle; return the reply with its backing id, if any."""
        self._note(Release, nodeid, opened, flags)
        if int(opened.flags) & _ENDLESS:  # an IntFlag takes a microsecond for it
            self._endless.add((nodeid, opened.fh))
        return self._backings.opened(nodeid, opened)

    def _note(
        self, release: type[Release], nodeid: int, opened: Opened, flags: int
    ) -> None:
        fh: object = opened.fh
        flags_given: object = opened.flags
        if not (isinstance(fh, int) and isinstance(flags_given, int)):
            raise ReplyError(OPENED.mistake_in(opened))  # before either is used
        undone = release(0, nodeid, 0, 0, 0, opened.fh, flags, 0, 0)
        self._opens.setdefault((nodeid, opened.fh), []).append(undone)

    def _open_needless(self, opcode: Opcode, exc: FuseError) -> Opened:
        """Answer an open to which the filesystem has replied ENOSYS.

        After ENOSYS the kernel never sends this open again, so with allow_root other
        users could open cached files.  Then it gets the equivalent reply instead.
        """
        if exc.errno != errno.ENOSYS:
            raise exc
        self._needless.add(opcode)
        if not self._asked_always:
            raise exc
        return _UNOPENED if opcode == Opcode.OPEN else _UNOPENED_DIRECTORY

    def _drop(self, key: _Key) -> bool:
        """Stop tracking one open of a handle; False if it was not open."""
        opens = self._opens.get(key)
        was_open = bool(opens)
        if opens:
            opens.pop()
            self._backings.released(key[0])
        if not opens:
            self._opens.pop(key, None)
            if self._endless:
                self._endless.discard(key)
        return was_open


def _pair(created: tuple[Entry, Opened]) -> tuple[Entry, Opened]:
    """Check the reply to CREATE or TMPFILE, which is used before it is encoded.

    Raises:
      ReplyError: It is not an `Entry` and an `Opened`.
    """
    answer: object = created
    if type(answer) is tuple and len(answer) == 2:
        entry, opened = answer
        if isinstance(entry, Entry) and isinstance(opened, Opened):
            return created
    raise ReplyError(CREATED.mistake_in(created))
