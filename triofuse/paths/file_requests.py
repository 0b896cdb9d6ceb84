"""Requests about open files and directories, by path."""

from __future__ import annotations

import errno
import itertools
import os
import stat
from functools import partial
from typing import Any

from triofuse.filesystem import requests as r
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.flags import (
    O_ACCMODE,
    LockFlags,
    LockType,
    OpenFlags,
    ReleaseFlags,
)
from triofuse.filesystem.replies import (
    Buffer,
    Entry,
    FileData,
    FileLock,
    IoctlReply,
    Opened,
)
from triofuse.paths.inodes import Handle, Inode
from triofuse.paths.methods import Method
from triofuse.paths.names import Names
from triofuse.paths.operations import OpenFile

__all__ = ["FileRequests"]

#: The whole file, for locks.
_END = 2**63 - 1

_FLOCK = int(LockFlags.FLOCK)
_FDATASYNC = 1


class FileRequests(Names):
    """The requests about open files and directories."""

    _open_flags: int
    _writable: bool
    _fhs = itertools.count(1)

    # --- Opening and closing

    async def open(self, request: r.Open) -> Opened:
        """Open a file."""
        inode = self._numbered[request.nodeid]
        if request.flags & O_ACCMODE != os.O_RDONLY and not self._writable:
            raise FuseError(errno.EROFS)
        method = self._methods.get("open")
        if method is None:
            return self._opened(inode, None, request.flags)
        note = partial(self._opened, inode, flags=request.flags)
        return await self._open_object(method, inode, request.flags, note, self._close)

    def _opened(self, inode: Inode, given: object, flags: int) -> Opened:
        """Note a handle; return what the kernel is told of it."""
        opened = given if isinstance(given, OpenFile) else OpenFile(given)
        handle = Handle(inode, opened.handle, flags)
        fh = next(self._fhs)
        self._handles[fh] = handle
        inode.handles = [*(inode.handles or ()), handle]
        say = opened.flags | self._open_flags
        if not inode.sized:
            say |= OpenFlags.DIRECT_IO
        return Opened(fh, say, backing_fd=opened.backing_fd)

    async def create(self, request: r.Create) -> tuple[Entry, Opened]:
        """Make a file and open it."""
        method = self._methods["create"]
        operation = partial(self._create, request, request.mode, request.flags, method)
        return await self._finish(method, operation, self._undo_create)

    async def _create(
        self, request: r.Create | r.Mknod, mode: int, flags: int, method: Method
    ) -> tuple[Entry, Opened]:
        directory, name = self._numbered[request.nodeid], request.name
        try:
            given = await self._ask(method, directory, name, mode, flags)
        except BaseException:
            self._doubt(directory, name)
            raise
        handle = given.handle if isinstance(given, OpenFile) else given
        try:
            value = await self._describe(directory, name, handle)
            entry = await self._made(directory, name, value)
        except BaseException:
            self._doubt(directory, name)
            release = self._methods.get("release")
            if release is not None:
                self._soon(self._ask, release, directory, name, handle)
            raise
        inode = self._numbered[entry.nodeid]
        return entry, self._opened(inode, given, flags)

    async def mknod(self, request: r.Mknod) -> Entry:
        """Make a file, device, pipe or socket."""
        if "mknod" in self._methods:
            return await super().mknod(request)
        if not stat.S_ISREG(request.mode):
            raise FuseError(errno.EPERM)
        method = self._methods["create"]
        operation = partial(self._create_closed, request, method)
        return await self._finish(method, operation, self._forget_entry)

    async def _create_closed(self, request: r.Mknod, method: Method) -> Entry:
        """Make a regular file of a store that makes them only open."""
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        entry, opened = await self._create(request, request.mode, flags, method)
        await self._close(opened)
        return entry

    async def _undo_create(self, created: tuple[Entry, Opened]) -> None:
        entry, opened = created
        await self._close(opened)
        await self._forget_entry(entry)

    async def release(self, request: r.Release) -> None:
        """Close a handle."""
        if request.release_flags & ReleaseFlags.FLOCK_UNLOCK:
            await self._drop_flock(request)
        await self._close_handle(request.fh)

    async def _close(self, opened: Opened) -> None:
        await self._close_handle(opened.fh)

    async def _close_handle(self, fh: int) -> None:
        handle = self._handles.pop(fh)
        inode = handle.inode
        try:
            method = self._methods.get("release")
            if method is not None:
                await self._ask(method, inode, None, handle.object)
        finally:
            inode.handles = [one for one in inode.handles or () if one is not handle]
            if inode.hidden and not inode.handles:
                await self._remove_hidden(inode)
            self._inodes.let_go(inode)

    async def opendir(self, request: r.Opendir) -> Opened:
        """Open a directory."""
        inode, method = self._numbered[request.nodeid], self._methods["opendir"]
        note = partial(self._opened_directory, inode, flags=request.flags)
        return await self._open_object(
            method, inode, request.flags, note, self._close_directory
        )

    def _opened_directory(self, inode: Inode, given: object, flags: int) -> Opened:
        opened = given if isinstance(given, OpenFile) else OpenFile(given)
        fh = next(self._fhs)
        self._handles[fh] = Handle(inode, opened.handle, flags)
        return Opened(fh, opened.flags)

    async def _close_directory(self, opened: Opened) -> None:
        await self._release_directory(opened.fh)

    async def releasedir(self, request: r.Releasedir) -> None:
        """Close the handle of a directory."""
        await self._release_directory(request.fh)

    async def _release_directory(self, fh: int) -> None:
        handle = self._handles.pop(fh)
        method = self._methods.get("releasedir")
        if method is not None:
            await self._ask(method, handle.inode, None, handle.object)

    # --- Data

    async def read(self, request: r.Read) -> Buffer | FileData:
        """Read from an open file."""
        method = self._read_method
        if method is None:
            raise FuseError(errno.EINVAL)
        handle = self._handles[request.fh]
        inode, uses = handle.inode, self._uses
        data: Buffer | FileData
        if method.in_thread or uses.moving or inode.path is None:
            data = await self._ask(
                method, inode, None, request.size, request.offset, handle.object
            )
            return data
        inode.users += 1  # as in _ask(), which costs a microsecond more
        try:
            data = await method.function(
                inode.path, request.size, request.offset, handle.object
            )
            return data
        finally:
            inode.users -= 1
            if uses.moving:
                uses.wake()

    async def write(self, request: r.Write) -> int:
        """Write to an open file."""
        handle = self._handles[request.fh]
        inode = handle.inode
        try:
            written: int = await self._ask(
                self._methods["write"],
                inode,
                None,
                request.data,
                request.offset,
                handle.object,
            )
        except BaseException:
            self._doubt_inode(inode)
            raise
        if inode.parent is not None:
            inode.parent.listing = None
        return written

    async def flush(self, request: r.Flush) -> None:
        """Close one descriptor, and drop the locks of its owner.

        It is done also for a process that was killed.
        """
        handle = self._handles[request.fh]
        flush, setlk = self._methods.get("flush"), self._methods.get("setlk")
        if setlk is None and flush is not None and not self._threads.is_full:
            await self._ask(flush, handle.inode, None, handle.object, begin_anyway=True)
            return

        async def operation() -> None:
            try:
                if flush is not None:
                    await self._ask(flush, handle.inode, None, handle.object)
            finally:
                if setlk is not None:
                    unlock = FileLock(0, _END, LockType.UNLCK)
                    arguments = unlock, request.lock_owner, False, handle.object
                    await self._ask(setlk, handle.inode, None, *arguments)

        await self._finish(flush or setlk or self._getattr_method, operation)

    async def fsync(self, request: r.Fsync) -> None:
        """Write a file to stable storage."""
        await self._sync(self._methods["fsync"], request)

    async def fsyncdir(self, request: r.Fsyncdir) -> None:
        """Write a directory to stable storage."""
        await self._sync(self._methods["fsyncdir"], request)

    async def _sync(self, method: Method, request: r.Fsync) -> None:
        inode, opened = self._numbered[request.nodeid], self._handles.get(request.fh)
        handle = None if opened is None else opened.object
        datasync = bool(request.fsync_flags & _FDATASYNC)
        await self._ask(method, inode, None, datasync, handle)

    async def fallocate(self, request: r.Fallocate) -> None:
        """Allocate or free space of a file."""
        handle, method = self._handles[request.fh], self._methods["fallocate"]
        arguments = request.mode, request.offset, request.length
        await self._ask(method, handle.inode, None, *arguments, handle.object)

    async def lseek(self, request: r.Lseek) -> int:
        """Find data or a hole."""
        handle, method = self._handles[request.fh], self._methods["lseek"]
        arguments = request.offset, request.whence, handle.object
        offset: int = await self._ask(method, handle.inode, None, *arguments)
        return offset

    async def ioctl(self, request: r.Ioctl) -> IoctlReply:
        """Do a command of ioctl(2)."""
        inode, opened = self._numbered[request.nodeid], self._handles.get(request.fh)
        handle = None if opened is None else opened.object
        arguments = request.cmd, bytes(request.data), request.out_size, handle
        reply = await self._ask(self._methods["ioctl"], inode, None, *arguments)
        return reply if isinstance(reply, IoctlReply) else IoctlReply(reply or 0)

    # --- Locks

    async def getlk(self, request: r.Getlk) -> FileLock:
        """Return the lock that conflicts."""
        handle, method = self._handles[request.fh], self._methods.get("getlk")
        if method is None:
            raise FuseError(errno.EINVAL)
        arguments = request.lock, request.owner, handle.object
        lock: FileLock = await self._ask(method, handle.inode, None, *arguments)
        return lock

    async def setlk(self, request: r.Setlk) -> None:
        """Take or drop a lock, without waiting."""
        await self._lock(request, wait=False)

    async def setlkw(self, request: r.Setlkw) -> None:
        """Take or drop a lock; wait while it conflicts."""
        await self._lock(request, wait=True)

    async def _lock(self, request: r.Setlk | r.Setlkw, *, wait: bool) -> None:
        handle, is_flock = self._handles[request.fh], request.lk_flags & _FLOCK
        method = self._methods["flock" if is_flock else "setlk"]
        what: Any = request.lock.type if is_flock else request.lock
        arguments = what, request.owner, wait, handle.object
        await self._ask(method, handle.inode, None, *arguments)

    async def _drop_flock(self, request: r.Release) -> None:
        method, handle = self._methods.get("flock"), self._handles[request.fh]
        if method is not None:
            arguments = LockType.UNLCK, request.lock_owner, False, handle.object
            await self._ask(method, handle.inode, None, *arguments)
