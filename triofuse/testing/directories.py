"""System calls on open directories."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Unpack

import attrs

from triofuse.filesystem.replies import DirEntry, Opened
from triofuse.testing import replies as f
from triofuse.testing.listings import DIRENTPLUS, DIRENTS
from triofuse.testing.messages import Caller
from triofuse.testing.requests import Requester
from triofuse.wire import layouts
from triofuse.wire.opcodes import FUSE_ROOT_ID, Opcode

__all__ = ["DirectoryCalls"]

#: Bytes of the buffer that a C library's readdir(3) uses.
_BUFFER_SIZE = 32768


@attrs.define(eq=False)
class DirectoryCalls(Requester):
    """System calls on open directories, by node and handle."""

    async def opendir(
        self, nodeid: int = FUSE_ROOT_ID, **caller: Unpack[Caller]
    ) -> Opened:
        """Open a directory."""
        body = layouts.OPEN_IN.pack(os.O_RDONLY | os.O_DIRECTORY, 0)
        return await self._ask(Opcode.OPENDIR, f.OPENED, nodeid, body, caller=caller)

    async def releasedir(self, nodeid: int, fh: int) -> None:
        """Close the last descriptor of a directory; errors are ignored."""
        if Opcode.OPENDIR in self.unsupported:
            return
        flags = os.O_RDONLY | os.O_DIRECTORY
        body = layouts.RELEASE_IN.pack(fh, flags, 0, 0)
        with suppress(OSError):
            await self._ask(Opcode.RELEASEDIR, f.NOTHING, nodeid, body)

    async def fsyncdir(
        self, nodeid: int, fh: int, fsync_flags: int = 0, **caller: Unpack[Caller]
    ) -> None:
        """Write a directory to stable storage."""
        body = layouts.FSYNC_IN.pack(fh, fsync_flags)
        await self._ask(Opcode.FSYNCDIR, f.NOTHING, nodeid, body, caller=caller)

    async def readdir(
        self,
        nodeid: int = FUSE_ROOT_ID,
        fh: int = 0,
        offset: int = 0,
        *,
        size: int = _BUFFER_SIZE,
        **caller: Unpack[Caller],
    ) -> list[DirEntry]:
        """List a directory from a cookie to the end, ``size`` bytes at a time."""
        place = (nodeid, fh, offset, size)
        return await self._list(Opcode.READDIR, DIRENTS, place, caller)

    async def readdirplus(
        self,
        nodeid: int = FUSE_ROOT_ID,
        fh: int = 0,
        offset: int = 0,
        *,
        size: int = _BUFFER_SIZE,
        **caller: Unpack[Caller],
    ) -> list[DirEntry]:
        """List a directory and look up each entry."""
        place = (nodeid, fh, offset, size)
        return await self._list(Opcode.READDIRPLUS, DIRENTPLUS, place, caller)

    async def _list(
        self,
        opcode: Opcode,
        expected: f.ReplyFormat[list[DirEntry]],
        place: tuple[int, int, int, int],
        caller: Caller,
    ) -> list[DirEntry]:
        nodeid, fh, offset, size = place
        entries: list[DirEntry] = []
        while True:
            body = layouts.READ_IN.pack(fh, offset, size, 0, 0, 0)
            page = await self._ask(
                opcode, expected, nodeid, body, room=size, caller=caller
            )
            if not page:
                return entries
            entries += page
            offset = page[-1].offset or 0
