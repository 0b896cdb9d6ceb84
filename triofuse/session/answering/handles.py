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

#: Files whose READs may wait for what is still to come.  A plain number: quicker.
_ENDLESS = int(OpenFlags.DIRECT_IO | OpenFlags.NONSEEKABLE | OpenFlags.STREAM)

#: What the kernel takes an open for that is answered with ENOSYS: fuse_file_open()
#: and fuse_dir_open() in fs/fuse.
_UNOPENED = Opened(0, OpenFlags.KEEP_CACHE)
_UNOPENED_DIRECTORY = Opened(0, OpenFlags.KEEP_CACHE | OpenFlags.CACHE_DIR)

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
    #: Whether the kernel is to ask at each open, whose caller is looked at then.
    _asked_always: bool = False
    #: The operations that the filesystem has answered with ENOSYS.
    _needless: set[Opcode] = attrs.field(factory=set, init=False)
    _opens: dict[_Key, list[Release]] = attrs.field(factory=dict, init=False)
    _endless: set[_Key] = attrs.field(factory=set, init=False)
    _listings: Listings = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._listings = Listings(self._filesystem, self.forget, self._report)

    async def open(self, request: Open) -> Opened:
        """Open a file and note its handle."""
        try:
            if self._needless and Opcode.OPEN in self._needless:
                return _UNOPENED
            opened = await self._filesystem.open(request)
        except FuseError as exc:
            return self._open_needless(Opcode.OPEN, exc)
        OPENED.check(opened)
        return self._note_file(request.nodeid, opened, request.flags)

    async def create(self, request: Create) -> tuple[Entry, Opened]:
        """Make a file and note its handle."""
        entry, opened = _pair(await self._filesystem.create(request))
        return entry, self._note_file(entry.nodeid, opened, request.flags)

    async def tmpfile(self, request: Tmpfile) -> tuple[Entry, Opened]:
        """Make a nameless file and note its handle."""
        entry, opened = _pair(await self._filesystem.tmpfile(request))
        return entry, self._note_file(entry.nodeid, opened, request.flags)

    async def opendir(self, request: Opendir) -> Opened:
        """Open a directory and note its handle."""
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
        """Return a page with attributes, likewise."""
        return await self._list(request, plus=True)

    @trio.lowlevel.enable_ki_protection
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

    async def _list(self, request: Readdir | Readdirplus, *, plus: bool) -> Page:
        opens = self._opens.get((request.nodeid, request.fh), ())
        return await self._listings.page(request, plus=plus, lasting=self._lasts(opens))

    def _lasts(self, opens: Sequence[Release]) -> bool:
        """Whether cookies must outlive the listing in which they were given.

        Several streams may share a handle, and a server of NFS opens the directory
        for each page: without O_DIRECTORY, ``__nfsd_open()`` in fs/nfsd/vfs.c.
        """
        if Opcode.OPENDIR in self._needless or len(opens) > 1:
            return True
        return self._exported and bool(opens) and not opens[0].flags & os.O_DIRECTORY

    def _note_file(self, nodeid: int, opened: Opened, flags: int) -> Opened:
        """Note a file's handle, and return it with what may be behind the file."""
        self._note(Release, nodeid, opened, flags)
        if int(opened.flags) & _ENDLESS:  # an IntFlag takes a microsecond for it
            self._endless.add((nodeid, opened.fh))
        return self._backings.opened(nodeid, opened)

    def _note(
        self, release: type[Release], nodeid: int, opened: Opened, flags: int
    ) -> None:
        numbers: tuple[object, object] = (opened.fh, opened.flags)
        if not all(isinstance(number, int) for number in numbers):
            raise ReplyError(OPENED.mistake_in(opened))  # before either is used
        undone = release(0, nodeid, 0, 0, 0, opened.fh, flags, 0, 0)
        self._opens.setdefault((nodeid, opened.fh), []).append(undone)

    def _open_needless(self, opcode: Opcode, exc: FuseError) -> Opened:
        """Answer for a filesystem that has nothing to do at open, ever: ENOSYS.

        With that the kernel would let in everybody without a word, also to what it
        has cached.  So it gets what it would do by itself, and goes on asking.
        """
        if exc.errno != errno.ENOSYS:
            raise exc
        self._needless.add(opcode)
        if not self._asked_always:
            raise exc
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
            if self._endless:
                self._endless.discard(key)
        return was_open


def _pair(created: tuple[Entry, Opened]) -> tuple[Entry, Opened]:
    """Return the answer to CREATE, which is used before it is encoded.

    Raises:
      ReplyError: It is something else.
    """
    answer: object = created
    if type(answer) is tuple and len(answer) == 2:
        entry, opened = answer
        if isinstance(entry, Entry) and isinstance(opened, Opened):
            return created
    raise ReplyError(CREATED.mistake_in(created))
