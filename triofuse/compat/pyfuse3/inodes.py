"""The operations on inodes: attributes, permissions, extended attributes."""

from __future__ import annotations

import errno
import os
from typing import cast

import triofuse as t
from triofuse.compat.pyfuse3.translation import (
    Translated,
    caller,
    encoded,
    translating,
)
from triofuse.compat.pyfuse3.values import (
    EntryAttributes,
    FUSEError,
    RequestContext,
    SetattrFields,
)

__all__ = ["InodeHandlers"]


class InodeHandlers(Translated):
    """Calls the handlers that take an inode."""

    @translating
    async def statfs(self, request: t.StatfsRequest) -> t.Statfs:
        """Return size and free space."""
        data = await self._operations.statfs(caller(request))
        return t.Statfs(
            blocks=data.f_blocks,
            bfree=data.f_bfree,
            bavail=data.f_bavail,
            files=data.f_files,
            ffree=data.f_ffree,
            bsize=data.f_bsize,
            namelen=data.f_namemax,
            frsize=data.f_frsize,
        )

    async def getattr(self, request: t.Getattr) -> t.FileAttr:
        """Return the attributes of an inode."""
        ctx = RequestContext(request.uid, request.pid, request.gid)
        try:
            found = await self._operations.getattr(request.nodeid, ctx)
        except FUSEError as exc:
            raise t.FuseError(exc.errno) from None
        return found  # type: ignore[no-any-return]

    @translating
    async def setattr(self, request: t.Setattr) -> t.FileAttr:
        """Set attributes."""
        attr, fields = _changes(request)
        attr.st_ino = request.nodeid
        found = await self._operations.setattr(
            request.nodeid, attr, fields, request.fh, caller(request)
        )
        return cast(t.FileAttr, found)

    @translating
    async def access(self, request: t.Access) -> None:
        """Check permissions."""
        ctx = caller(request)
        if not await self._operations.access(request.nodeid, request.mask, ctx):
            raise t.FuseError(errno.EACCES)

    @translating
    async def readlink(self, request: t.Readlink) -> str:
        """Return the target of a symbolic link."""
        target = await self._operations.readlink(request.nodeid, caller(request))
        return os.fsdecode(target)

    @translating
    async def setxattr(self, request: t.Setxattr) -> None:
        """Set an extended attribute."""
        name, ctx, inode = encoded(request.name), caller(request), request.nodeid
        if inode == 1 and name == b"fuse_stacktrace":
            self._operations.stacktrace()
            return
        if request.flags & t.SetxattrFlags.REPLACE:
            await self._operations.getxattr(inode, name, ctx)
        elif request.flags & t.SetxattrFlags.CREATE:
            try:
                await self._operations.getxattr(inode, name, ctx)
            except FUSEError as exc:
                if exc.errno != errno.ENODATA:
                    raise
            else:
                raise t.FuseError(errno.EEXIST)
        await self._operations.setxattr(inode, name, bytes(request.value), ctx)

    @translating
    async def getxattr(self, request: t.Getxattr) -> t.Buffer:
        """Return an extended attribute."""
        name, ctx = encoded(request.name), caller(request)
        value = await self._operations.getxattr(request.nodeid, name, ctx)
        return cast(bytes, value)

    @translating
    async def listxattr(self, request: t.Listxattr) -> list[str]:
        """Return the names of all extended attributes."""
        names = await self._operations.listxattr(request.nodeid, caller(request))
        return [os.fsdecode(name) for name in names]

    @translating
    async def removexattr(self, request: t.Removexattr) -> None:
        """Remove an extended attribute."""
        name, ctx = encoded(request.name), caller(request)
        await self._operations.removexattr(request.nodeid, name, ctx)


#: The fields of `triofuse.Setattr` and those of `EntryAttributes`.
_SETTABLE = {
    "atime_ns": "st_atime_ns",
    "mtime_ns": "st_mtime_ns",
    "ctime_ns": "st_ctime_ns",
    "mode": "st_mode",
    "new_uid": "st_uid",
    "new_gid": "st_gid",
    "size": "st_size",
}


def _changes(request: t.Setattr) -> tuple[EntryAttributes, SetattrFields]:
    attr, given = EntryAttributes(), []
    for theirs, ours in _SETTABLE.items():
        value = getattr(request, theirs)
        given.append(value is not None)
        if value is not None:
            setattr(attr, ours, value)
    return attr, SetattrFields(*given)
