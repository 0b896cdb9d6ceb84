"""Requests about open files."""

from __future__ import annotations

import errno
import inspect
import logging
import os
import select
from contextlib import AbstractAsyncContextManager
from typing import Any

import trio

from triofuse.filesystem import requests as r
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.flags import (
    O_ACCMODE,
    FallocateMode,
    LockFlags,
    LockType,
    OpenFlags,
    PollFlags,
    ReleaseFlags,
    WriteFlags,
)
from triofuse.filesystem.replies import Buffer, Entry, FileData, FileLock, Opened
from triofuse.tree import xattrs
from triofuse.tree.attributes import Attributes, drop_privileges
from triofuse.tree.births import inherited, save_written
from triofuse.tree.file import File
from triofuse.tree.folder import FolderNode
from triofuse.tree.handle import Broken, Handle
from triofuse.tree.inode import Inode
from triofuse.tree.kinds import by_kind
from triofuse.tree.listings import Listings
from triofuse.tree.names import Names
from triofuse.tree.node import check_type, overrides

__all__ = ["Files"]

_log = logging.getLogger("triofuse")

#: What poll(2) says of a file that is always ready.
_ALWAYS_READY = select.POLLIN | select.POLLOUT | select.POLLRDNORM | select.POLLWRNORM

#: What most files are opened with.  To make a flag of two costs a whole microsecond.
_KEPT = OpenFlags.KEEP_CACHE | OpenFlags.NOFLUSH
_UNSIZED = OpenFlags.DIRECT_IO
_UNSIZED_QUIET = OpenFlags.DIRECT_IO | OpenFlags.NOFLUSH

_KILL_SUIDGID = int(WriteFlags.KILL_SUIDGID)


class Files(Names, Listings, Attributes):
    """The requests about open files."""

    async def create(self, request: r.Create) -> tuple[Entry, Opened]:
        """Make a file and open it."""
        inode = await self._make(request, request.mode, request.umask)
        opened = await self._open(inode, request.flags & ~os.O_TRUNC)
        return self._entry(inode), opened

    async def tmpfile(self, request: r.Tmpfile) -> tuple[Entry, Opened]:
        """Make a nameless file and open it."""
        directory, node = self._folder(request.nodeid)
        self._check_writable(node)
        new, lists = await inherited(directory, request, request.mode, request.umask, 0)
        if node.HOLDS:
            self._check_space("", *lists, nodes=1)
        child = await node.make("", new, None)
        inode = self._known(directory, "", child)
        inode.set_nlink(0)
        for name, value in lists.items():
            await child.setxattr(name, value)
        opened = await self._open(inode, request.flags)
        return self._entry(inode), opened

    async def open(self, request: r.Open) -> Opened:
        """Open a file."""
        return await self._open(self._inode(request.nodeid), request.flags)

    async def _open(self, inode: Inode, flags: int) -> Opened:
        node = inode.node
        if not isinstance(node, File):
            raise FuseError(errno.EINVAL)
        if flags & O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC:
            self._check_writable(node)
        target: Any = node
        handle = Handle(inode, node, target, flags)
        if overrides(node, "open"):
            handle.target = await self._enter(handle, flags) or node
            handle.entered = True
        fh = next(self._fhs)
        self._handles[fh] = handle
        inode.nopen += 1
        self._inodes[self.number(inode)] = inode
        return Opened(
            fh,
            self._open_flags(node, handle.target),
            backing_fd=getattr(handle.target, "backing_fd", None),
        )

    def _open_flags(self, node: File, target: Any) -> OpenFlags:
        """Return what the kernel may do by itself."""
        flushes = (
            type(self).flush is not Files.flush
            or (target is not node and hasattr(target, "flush"))
            or overrides(node, "flush")
            or overrides(node, "setlk")
        )
        if not node.sized:
            return _UNSIZED if flushes else _UNSIZED_QUIET
        if node.keeps_content:
            return OpenFlags.KEEP_CACHE if flushes else _KEPT
        return OpenFlags(0) if flushes else OpenFlags.NOFLUSH

    async def _enter(self, handle: Handle, flags: int) -> Any:
        """Ask the node to open, which may give a context to be in until release."""
        opened = handle.node.open(flags)
        if not isinstance(opened, AbstractAsyncContextManager):
            return await opened
        handle.released = trio.Event()
        nursery = await self._nursery()
        return await nursery.start(self._hold, opened, handle)

    async def _hold(
        self,
        context: Any,
        handle: Handle,
        *,
        task_status: trio.TaskStatus[Any],
    ) -> None:
        assert handle.released is not None
        try:
            async with context as target:
                task_status.started(target)
                await handle.released.wait()
        except Exception:
            if not handle.entered:
                raise  # the error of open(2)
            _log.exception("what %s.open() entered failed", type(handle.node).__name__)
            handle.target = Broken()

    async def _nursery(self) -> trio.Nursery:
        await self._running.wait()
        assert self._tasks is not None
        return self._tasks

    async def release(self, request: r.Release) -> None:
        """Let go of a handle."""
        handle = self._handles.pop(request.fh)
        inode = handle.inode
        inode.nopen -= 1
        try:
            if request.release_flags & ReleaseFlags.FLOCK_UNLOCK:
                await self._unlock(handle, request.lock_owner, flock=True)
            if handle.released is not None:
                handle.released.set()
            elif handle.target is not handle.node:
                close = getattr(handle.target, "close", None)
                closed = None if close is None else close()
                if inspect.isawaitable(closed):
                    await closed
        finally:
            if inode.hidden is not None and not inode.nopen:
                await self._unhide(inode, *inode.hidden)
            if not inode.nlookup:
                self._let_go(inode)
            if self._ending.is_due:
                await self._ending.finish()

    async def _unhide(self, inode: Inode, directory: Inode, name: str) -> None:
        """Remove what a store kept although it had lost its name."""
        assert isinstance(directory.node, FolderNode)
        inode.hidden = None
        await directory.node.unlink(name, inode.node)

    async def read(self, request: r.Read) -> Buffer | FileData:
        """Read from what was opened."""
        handle = self._handles[request.fh]
        node = handle.node
        if node.in_memory and node.writable:
            handle.inode.accessed()
        data: Buffer | FileData = await handle.target.read(request.size, request.offset)
        if type(data) is not bytes:
            words = f"{type(handle.target).__name__}.read() returns bytes or a FileData"
            check_type(data, bytearray | memoryview | bytes | FileData, words)
        return data

    async def write(self, request: r.Write) -> int:
        """Write to what was opened."""
        handle = self._handles[request.fh]
        inode, node = handle.inode, handle.node
        write = getattr(handle.target, "write", node.write)
        written: int = await write(request.data, request.offset)
        words = f"{type(handle.target).__name__}.write() returns the bytes written"
        check_type(written, int, f"{words}, len(data) for instance")
        node.resized(max(inode.attr.size, request.offset + written))
        inode.modified()
        if request.write_flags & _KILL_SUIDGID:
            await drop_privileges(inode, request)
        elif inode.xattrs:
            xattrs.discard(inode, xattrs.CAPABILITIES)
        if not node.in_memory:
            await save_written(inode)
        return written

    async def flush(self, request: r.Flush) -> None:
        """Close one descriptor."""
        handle = self._handles[request.fh]
        await getattr(handle.target, "flush", handle.node.flush)()
        await self._unlock(handle, request.lock_owner, flock=False)

    async def _unlock(self, handle: Handle, owner: int, *, flock: bool) -> None:
        """Drop the locks of who closes a file."""
        if overrides(handle.node, "setlk"):
            everything = FileLock(type=LockType.UNLCK)
            await handle.node.setlk(everything, owner, wait=False, flock=flock)

    async def fsync(self, request: r.Fsync) -> None:
        """Write a file to stable storage."""
        handle = self._handles[request.fh]
        fsync = getattr(handle.target, "fsync", handle.node.fsync)
        await fsync(datasync=bool(request.fsync_flags & 1))

    async def fsyncdir(self, request: r.Fsyncdir) -> None:
        """Write a directory to stable storage."""
        _, node = self._folder(request.nodeid)
        await node.fsync(datasync=bool(request.fsync_flags & 1))

    async def fallocate(self, request: r.Fallocate) -> None:
        """Change the space of a file."""
        handle = self._handles[request.fh]
        inode, node = handle.inode, handle.node
        fallocate = getattr(handle.target, "fallocate", node.fallocate)
        await fallocate(request.mode, request.offset, request.length)
        end = request.offset + request.length
        grows = not request.mode & FallocateMode.KEEP_SIZE
        node.resized(max(inode.attr.size, end) if grows else inode.attr.size)
        inode.modified()
        await save_written(inode)

    async def lseek(self, request: r.Lseek) -> int:
        """Find data or a hole; where nobody knows, all is data."""
        handle = self._handles[request.fh]
        if not 0 <= request.offset < handle.inode.attr.size:
            raise FuseError(errno.ENXIO)
        lseek = getattr(handle.target, "lseek", handle.node.lseek)
        found: int = await lseek(request.offset, request.whence)
        return found

    async def copy_file_range(self, request: r.CopyFileRange) -> int:
        """Copy between files that can do that; the kernel copies between others."""
        source, (target, node) = (
            self._handles[request.fh_in],
            self._file(request.nodeid_out),
        )
        copied = await source.node.copy_file_range(
            request.off_in, node, request.off_out, request.len
        )
        node.resized(max(target.attr.size, request.off_out + copied))
        target.modified()
        await save_written(target)
        return copied

    @by_kind
    async def poll(self, request: r.Poll) -> int:
        """Return what a file is ready for."""
        handle = self._handles[request.fh]
        if request.flags & PollFlags.SCHEDULE_NOTIFY:
            self._polled.setdefault(request.nodeid, set()).add(request.kh)
        poll = getattr(handle.target, "poll", handle.node.poll)
        if not overrides(handle.node, "poll") and poll == handle.node.poll:
            return request.events & _ALWAYS_READY
        events: int = await poll(request.events)
        return events

    @by_kind
    async def getlk(self, request: r.Getlk) -> FileLock:
        """Return a lock that conflicts."""
        node = self._handles[request.fh].node
        return await node.getlk(request.lock, request.owner) or FileLock()

    @by_kind
    async def setlk(self, request: r.Setlk) -> None:
        """Take or drop a lock."""
        await self._lock(request, wait=False)

    @by_kind
    async def setlkw(self, request: r.Setlkw) -> None:
        """Take or drop a lock; wait while it conflicts."""
        await self._lock(request, wait=True)

    async def _lock(self, request: r.Getlk, *, wait: bool) -> None:
        node = self._handles[request.fh].node
        if not overrides(node, "setlk"):
            raise FuseError(errno.EOPNOTSUPP)
        flock = bool(request.lk_flags & LockFlags.FLOCK)
        await node.setlk(request.lock, request.owner, wait=wait, flock=flock)
