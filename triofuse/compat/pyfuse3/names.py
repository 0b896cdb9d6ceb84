"""The operations on names."""

from __future__ import annotations

import stat
from typing import cast

import triofuse as t
from triofuse.compat.pyfuse3.translation import (
    Translated,
    caller,
    encoded,
    entry_for,
    opened_as,
    translating,
)
from triofuse.compat.pyfuse3.values import FUSEError, RequestContext

__all__ = ["NameHandlers"]


class NameHandlers(Translated):
    """Calls the handlers that take a name."""

    async def lookup(self, request: t.Lookup) -> t.Entry:
        """Find a name."""
        ctx = RequestContext(request.uid, request.pid, request.gid)
        name = request.name.encode("utf-8", "surrogateescape")
        try:
            found = await self._operations.lookup(request.nodeid, name, ctx)
        except FUSEError as exc:
            raise t.FuseError(exc.errno) from None
        return found if found.st_ino else entry_for(found)

    @translating
    async def create(self, request: t.Create) -> tuple[t.Entry, t.Opened]:
        """Make a regular file and open it."""
        info, found = await self._operations.create(
            request.nodeid,
            encoded(request.name),
            request.mode,
            request.flags,
            caller(request, request.umask),
        )
        attr = cast(t.FileAttr, found)
        valid = found.entry_timeout
        return t.Entry(attr, found.st_ino, found.generation, valid), opened_as(info)

    @translating
    async def mknod(self, request: t.Mknod) -> t.Entry:
        """Make a file, device, pipe or socket."""
        found = await self._operations.mknod(
            request.nodeid,
            encoded(request.name),
            request.mode,
            request.rdev,
            caller(request, request.umask),
        )
        return entry_for(found)

    @translating
    async def mkdir(self, request: t.Mkdir) -> t.Entry:
        """Make a directory."""
        found = await self._operations.mkdir(
            request.nodeid,
            encoded(request.name),
            stat.S_IMODE(request.mode) | stat.S_IFDIR,
            caller(request, request.umask),
        )
        return entry_for(found)

    @translating
    async def symlink(self, request: t.Symlink) -> t.Entry:
        """Make a symbolic link."""
        name, target = encoded(request.name), encoded(request.target)
        ctx = caller(request)
        return entry_for(
            await self._operations.symlink(request.nodeid, name, target, ctx)
        )

    @translating
    async def link(self, request: t.Link) -> t.Entry:
        """Make a hard link."""
        name, ctx = encoded(request.newname), caller(request)
        found = await self._operations.link(
            request.oldnodeid, request.nodeid, name, ctx
        )
        return entry_for(found)

    @translating
    async def unlink(self, request: t.Unlink) -> None:
        """Remove a file's name."""
        name, ctx = encoded(request.name), caller(request)
        await self._operations.unlink(request.nodeid, name, ctx)

    @translating
    async def rmdir(self, request: t.Rmdir) -> None:
        """Remove a directory."""
        name, ctx = encoded(request.name), caller(request)
        await self._operations.rmdir(request.nodeid, name, ctx)

    @translating
    async def rename(self, request: t.Rename) -> None:
        """Rename."""
        await self._operations.rename(
            request.nodeid,
            encoded(request.name),
            request.newdir,
            encoded(request.newname),
            request.flags,
            caller(request),
        )

    async def rename2(self, request: t.Rename) -> None:
        """Rename with flags."""
        await self.rename(request)
