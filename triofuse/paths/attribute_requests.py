"""Requests about inodes, by path: attributes, targets, extended attributes."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from triofuse.filesystem import requests as r
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.flags import SetattrValid
from triofuse.filesystem.replies import Buffer, FileAttr, Statfs
from triofuse.paths.attributes import describe
from triofuse.paths.inodes import Inode
from triofuse.paths.methods import Method
from triofuse.paths.serving import Serving

__all__ = ["AttributeRequests"]

#: Plain numbers: ``&`` with a member of an IntFlag takes a microsecond.
_ATIME_NOW, _MTIME_NOW = int(SetattrValid.ATIME_NOW), int(SetattrValid.MTIME_NOW)


class AttributeRequests(Serving):
    """The requests about inodes."""

    async def statfs(self, request: r.StatfsRequest) -> Statfs:
        """Return size and free space."""
        inode = self._numbered[request.nodeid]
        status = await self._ask(self._methods["statfs"], inode, None)
        if isinstance(status, os.statvfs_result):
            return Statfs.from_statvfs(status)
        answer: Statfs = status
        return answer

    async def getattr(self, request: r.Getattr) -> FileAttr:
        """Return attributes."""
        inode, fh = self._numbered[request.nodeid], request.fh
        if fh is None and inode.path and not inode.hidden:  # the quick way
            value = await self._ask(self._getattr_method, inode, None, None)
            if type(value) is FileAttr and value.ino:
                return value
        else:
            value = await self._ask_of(self._getattr_method, inode, fh)
        return self._described(inode, value)

    async def _attributes(self, inode: Inode, fh: int | None) -> FileAttr:
        value = await self._ask_of(self._getattr_method, inode, fh)
        return self._described(inode, value)

    def _described(self, inode: Inode, value: object) -> FileAttr:
        attr, _, sized = describe(value, self._validity.attr, inode.name)
        inode.sized = sized
        return self._shown(inode, attr)

    async def _ask_of(
        self, method: Method, inode: Inode, fh: int | None, *arguments: Any
    ) -> Any:
        """Call a method with the path of an inode, and with an open handle if need be.

        Raises:
          FuseError: ENOENT: it has neither a path nor a handle.
        """
        handle = None
        if fh is not None and fh in self._handles:
            handle = self._handles[fh].object
        elif inode.parent is None and not inode.path_now():
            if not inode.handles:
                raise FuseError(errno.ENOENT)
            handle = inode.handles[-1].object
        return await self._ask(method, inode, None, *arguments, handle)

    async def setattr(self, request: r.Setattr) -> FileAttr:
        """Change attributes: chmod, chown, truncate and utimensat."""
        inode = self._numbered[request.nodeid]
        changes = self._changes(request)
        if not changes:
            return await self._attributes(inode, request.fh)

        async def operation() -> FileAttr:
            try:
                for method, arguments in changes:
                    given = arguments or await self._times(inode, request)
                    await self._ask_of(method, inode, request.fh, *given)
                return await self._attributes(inode, request.fh)
            except BaseException:
                self._doubt_inode(inode)
                raise
            finally:
                for directory, _ in inode.places():
                    directory.changed()

        method = changes[0][0]
        return await self._finish(method, operation, partial(self._undone, inode))

    async def _undone(self, inode: Inode, _: FileAttr) -> None:
        """Have the kernel ask for attributes that were changed after all."""
        self._doubt_inode(inode)

    def _changes(self, request: r.Setattr) -> list[tuple[Method, tuple[int, ...]]]:
        """Return the methods to call, with their arguments except for times.

        Raises:
          FuseError: EPERM: the store has no method for it.
        """
        changes: list[tuple[str, tuple[int, ...]]] = []
        if request.mode is not None:
            changes.append(("chmod", (request.mode,)))
        if request.new_uid is not None or request.new_gid is not None:
            uid = -1 if request.new_uid is None else request.new_uid
            gid = -1 if request.new_gid is None else request.new_gid
            changes.append(("chown", (uid, gid)))
        if request.size is not None:
            changes.append(("truncate", (request.size,)))
        if request.atime_ns is not None or request.mtime_ns is not None:
            changes.append(("utimens", ()))
        try:
            return [(self._methods[name], arguments) for name, arguments in changes]
        except KeyError:
            raise FuseError(errno.EPERM) from None

    async def _times(self, inode: Inode, request: r.Setattr) -> tuple[int, int]:
        """Return both times; one that is not to be changed as it is."""
        atime, mtime = request.atime_ns, request.mtime_ns
        now = time.time_ns()
        if atime is not None and request.valid & _ATIME_NOW:
            atime = now
        if mtime is not None and request.valid & _MTIME_NOW:
            mtime = now
        if atime is None or mtime is None:
            attr = await self._attributes(inode, request.fh)
            atime = attr.atime_ns if atime is None else atime
            mtime = attr.mtime_ns if mtime is None else mtime
        return atime, mtime

    async def access(self, request: r.Access) -> None:
        """Check permissions."""
        inode = self._numbered[request.nodeid]
        await self._ask(self._methods["access"], inode, None, request.mask)

    async def readlink(self, request: r.Readlink) -> str:
        """Return the target of a symbolic link."""
        inode = self._numbered[request.nodeid]
        target: str = await self._ask(self._methods["readlink"], inode, None)
        return target

    # --- Extended attributes

    async def getxattr(self, request: r.Getxattr) -> Buffer:
        """Return an extended attribute."""
        inode, method = self._numbered[request.nodeid], self._methods["getxattr"]
        value: Buffer = await self._ask(method, inode, None, request.name)
        return value

    async def listxattr(self, request: r.Listxattr) -> Iterable[str]:
        """Return the names of all extended attributes."""
        inode, method = self._numbered[request.nodeid], self._methods["listxattr"]
        names: Iterable[str] = await self._ask(method, inode, None)
        return names

    async def setxattr(self, request: r.Setxattr) -> None:
        """Set an extended attribute."""
        inode, method = self._numbered[request.nodeid], self._methods["setxattr"]
        value = bytes(request.value)
        await self._ask(method, inode, None, request.name, value, request.flags)

    async def removexattr(self, request: r.Removexattr) -> None:
        """Remove an extended attribute."""
        inode, method = self._numbered[request.nodeid], self._methods["removexattr"]
        await self._ask(method, inode, None, request.name)
