"""A layer that notes in a journal what reaches a filesystem in memory.

The law: an event is noted after the filesystem has done it, without a checkpoint in
between, so the journal has the order in which things happened.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from triofuse.faults.journal import Journal
from triofuse.filesystem import requests as r
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.flags import FallocateMode, FsyncFlags, RenameFlags
from triofuse.filesystem.layer import Layer
from triofuse.filesystem.replies import Entry, FileAttr, Opened
from triofuse.tree.tree import Tree

__all__ = ["Recorder"]

_DATASYNC = int(FsyncFlags.FDATASYNC)


class Recorder(Layer):
    """Notes changes and promises.

    Args:
      inner: The tree.
      journal: What it notes them in.
    """

    def __init__(self, inner: Tree, journal: Journal) -> None:
        super().__init__(inner)
        self.journal = journal

    # --- Names

    async def create(self, request: r.Create) -> tuple[Entry, Opened]:
        """Make a file and open it."""
        entry, opened = await self.inner.create(request)
        self._made(request, entry, "create")
        return entry, opened

    async def tmpfile(self, request: r.Tmpfile) -> tuple[Entry, Opened]:
        """Make a nameless file and open it."""
        entry, opened = await self.inner.tmpfile(request)
        self.journal.make(entry.attr, f"tmpfile #{entry.attr.ino}")
        return entry, opened

    async def mknod(self, request: r.Mknod) -> Entry:
        """Make a file, device, pipe or socket."""
        entry = await self.inner.mknod(request)
        return self._made(request, entry, "mknod")

    async def mkdir(self, request: r.Mkdir) -> Entry:
        """Make a directory."""
        entry = await self.inner.mkdir(request)
        return self._made(request, entry, "mkdir")

    async def symlink(self, request: r.Symlink) -> Entry:
        """Make a symbolic link."""
        entry = await self.inner.symlink(request)
        return self._made(request, entry, "symlink", request.target)

    def _made(self, request: Any, entry: Entry, verb: str, target: str = "") -> Entry:
        text = f"{verb} {self.journal.path(request.nodeid, request.name)}"
        self.journal.make(entry.attr, text, target)
        self.journal.link(request.nodeid, request.name, entry.attr.ino, text)
        return entry

    async def link(self, request: r.Link) -> Entry:
        """Make a hard link."""
        entry = await self.inner.link(request)
        journal = self.journal
        new = journal.path(request.nodeid, request.newname)
        text = f"link {journal.path(request.oldnodeid)} -> {new}"
        journal.link(request.nodeid, request.newname, request.oldnodeid, text)
        return entry

    async def unlink(self, request: r.Unlink) -> None:
        """Remove a file's name."""
        await self.inner.unlink(request)
        self.journal.unlink(request.nodeid, request.name, "unlink")

    async def rmdir(self, request: r.Rmdir) -> None:
        """Remove an empty directory."""
        await self.inner.rmdir(request)
        self.journal.unlink(request.nodeid, request.name, "rmdir")

    async def rename(self, request: r.Rename) -> None:
        """Rename."""
        await self.rename2(request)

    async def rename2(self, request: r.Rename) -> None:
        """Rename as the flags say; without WHITEOUT, which overlays use."""
        if request.flags & RenameFlags.WHITEOUT:
            raise FuseError(errno.EINVAL)
        await self.inner.rename2(request)
        self.journal.rename(
            (request.nodeid, request.name),
            (request.newdir, request.newname),
            exchange=bool(request.flags & RenameFlags.EXCHANGE),
        )

    # --- Inodes

    async def setattr(self, request: r.Setattr) -> FileAttr:
        """Change attributes."""
        attr = await self.inner.setattr(request)
        if request.size is not None:
            self.journal.truncate(request.nodeid, request.size)
        if not (request.mode is request.new_uid is request.new_gid is None):
            self.journal.set_attributes(request.nodeid, attr)
        return attr

    async def setxattr(self, request: r.Setxattr) -> None:
        """Set an extended attribute."""
        await self.inner.setxattr(request)
        value = bytes(request.value)
        self.journal.set_xattr(request.nodeid, request.name, value)

    async def removexattr(self, request: r.Removexattr) -> None:
        """Remove an extended attribute."""
        await self.inner.removexattr(request)
        self.journal.set_xattr(request.nodeid, request.name, None)

    # --- Open files

    async def write(self, request: r.Write) -> int:
        """Write; with O_SYNC and O_DSYNC the data are durable at once."""
        data = bytes(request.data)
        written = await self.inner.write(request)
        self.journal.write(request.nodeid, request.offset, data[:written])
        if request.flags & os.O_DSYNC:
            self.journal.sync_file(request.nodeid, data_only=True)
        return written

    async def fallocate(self, request: r.Fallocate) -> None:
        """Change the space of a file."""
        await self.inner.fallocate(request)
        zeros = FallocateMode.PUNCH_HOLE | FallocateMode.ZERO_RANGE
        end = request.offset + request.length
        if request.mode & zeros:
            self.journal.zero(request.nodeid, request.offset, request.length)
        if not request.mode & FallocateMode.KEEP_SIZE:
            self.journal.truncate(
                request.nodeid, max(end, self.journal.size(request.nodeid))
            )

    async def copy_file_range(self, request: r.CopyFileRange) -> int:
        """Leave it to the kernel, which reads and writes."""
        raise FuseError(errno.EOPNOTSUPP)

    async def fsync(self, request: r.Fsync) -> None:
        """Promise that a file is durable."""
        await self.inner.fsync(request)
        data_only = bool(request.fsync_flags & _DATASYNC)
        self.journal.sync_file(request.nodeid, data_only=data_only)

    async def fsyncdir(self, request: r.Fsyncdir) -> None:
        """Promise that the names of a directory are durable."""
        await self.inner.fsyncdir(request)
        self.journal.sync_directory(request.nodeid)

    async def syncfs(self, request: r.Syncfs) -> None:
        """Promise that everything is durable."""
        self.journal.sync()
