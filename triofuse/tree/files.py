"""Requests about open files."""

from __future__ import annotations

import errno
import inspect
import os
from typing import Any

import trio

from triofuse.filesystem import requests as r
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.flags import FallocateMode, OpenFlags, WriteFlags
from triofuse.filesystem.replies import Buffer, Entry, FileData, Opened
from triofuse.tree.attributes import Attributes, drop_privileges
from triofuse.tree.file import File
from triofuse.tree.handle import Handle
from triofuse.tree.inode import Inode
from triofuse.tree.names import Names, inherited
from triofuse.tree.node import overrides

__all__ = ["Files"]

#: Bytes that one COPY_FILE_RANGE copies at most: other requests wait for so long.
_COPY_MAX = 1 << 23

_KILL_SUIDGID = int(WriteFlags.KILL_SUIDGID)


class Files(Names, Attributes):
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
        new, xattrs = inherited(directory, request, request.mode, request.umask, 0)
        inode = self._known(directory, "", await node.make("", new, None))
        inode.attr.nlink = 0
        inode.xattrs = xattrs or None
        opened = await self._open(inode, request.flags)
        return self._entry(inode), opened

    async def open(self, request: r.Open) -> Opened:
        """Open a file."""
        return await self._open(self._inode(request.nodeid), request.flags)

    async def _open(self, inode: Inode, flags: int) -> Opened:
        node = inode.node
        if not isinstance(node, File):
            raise FuseError(errno.EINVAL)
        if flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC:
            self._check_writable(node)
        target: Any = node
        handle = Handle(inode, node, target)
        if overrides(node, "open", File):
            handle.target = await self._enter(handle, flags) or node
        fh = next(self._fhs)
        self._handles[fh] = handle
        inode.nopen += 1
        self._inodes[self.number(inode)] = inode
        return Opened(
            fh,
            _open_flags(node, handle.target),
            backing_fd=getattr(handle.target, "backing_fd", None),
        )

    async def _enter(self, handle: Handle, flags: int) -> Any:
        """Ask the node to open, which may give a context to be in until release."""
        opened = handle.node.open(flags)
        if not hasattr(opened, "__aenter__"):
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
        async with context as target:
            task_status.started(target)
            await handle.released.wait()

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
            if handle.released is not None:
                handle.released.set()
            elif handle.target is not handle.node:
                close = getattr(handle.target, "close", None)
                closed = None if close is None else close()
                if inspect.isawaitable(closed):
                    await closed
        finally:
            self._let_go(inode)
            if self._unused:
                await self._drop_unused()

    async def read(self, request: r.Read) -> Buffer | FileData:
        """Read from what was opened."""
        handle = self._handles[request.fh]
        target = handle.target
        data: Buffer | FileData = await target.read(request.size, request.offset)
        return data

    async def write(self, request: r.Write) -> int:
        """Write to what was opened."""
        handle = self._handles[request.fh]
        inode, node = handle.inode, handle.node
        write = getattr(handle.target, "write", node.write)
        written: int = await write(request.data, request.offset)
        node.resized(max(inode.attr.size, request.offset + written))
        inode.modified()
        if request.write_flags & _KILL_SUIDGID:
            await drop_privileges(inode)
        return written

    async def flush(self, request: r.Flush) -> None:
        """Close one descriptor."""
        handle = self._handles[request.fh]
        await getattr(handle.target, "flush", handle.node.flush)()

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
        """Change the space of a file in memory."""
        inode, file = self._file(request.nodeid)
        self._check_writable(file)
        content = file.stored()
        if content is None:
            raise FuseError(errno.EOPNOTSUPP)
        if request.mode & FallocateMode.PUNCH_HOLE:
            await content.punch(request.offset, request.length)
        elif request.mode & FallocateMode.ZERO_RANGE:
            await content.zero(request.offset, request.length)
        else:
            await content.allocate(request.offset, request.length)
        if not request.mode & FallocateMode.KEEP_SIZE:
            content.lengthen(request.offset + request.length)
        file.resized(content.size)
        inode.modified()

    async def lseek(self, request: r.Lseek) -> int:
        """Find data or a hole; where nobody knows, all is data."""
        inode, file = self._file(request.nodeid)
        if not 0 <= request.offset < inode.attr.size:
            raise FuseError(errno.ENXIO)
        content = file.stored()
        find_data = request.whence == os.SEEK_DATA
        if content is None:
            return request.offset if find_data else inode.attr.size
        if find_data:
            return content.seek_data(request.offset)
        return await content.seek_hole(request.offset)

    async def copy_file_range(self, request: r.CopyFileRange) -> int:
        """Copy between files in memory; the kernel copies between others."""
        _, one = self._file(request.nodeid)
        target, other = self._file(request.nodeid_out)
        here, there = one.stored(), other.stored()
        if here is None or there is None:
            raise FuseError(errno.EOPNOTSUPP)
        self._check_writable(other)
        data = here.read(request.off_in, min(request.len, _COPY_MAX))
        there.write(request.off_out, data)
        other.resized(there.size)
        target.modified()
        return len(data)


def _open_flags(node: File, target: Any) -> int:
    """Return what the kernel may do by itself."""
    flags = OpenFlags.NOFLUSH if _never_flushes(node, target) else OpenFlags(0)
    if not node.sized:
        return flags | OpenFlags.DIRECT_IO
    if node.keeps_content:
        return flags | OpenFlags.KEEP_CACHE
    return flags


def _never_flushes(node: File, target: Any) -> bool:
    own = target is not node and hasattr(target, "flush")
    return not own and not overrides(node, "flush", File)
