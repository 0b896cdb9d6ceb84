"""A filesystem for `triofuse.compat.pyfuse3`, and a mount of it."""

from __future__ import annotations

import errno
import os
import select
import stat
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

import triofuse.compat.pyfuse3 as pyfuse3

TEXT = b"hello world\n"
FILES = {b"message": 2, b"slow": 3, b"bug": 4, b"oserror": 5, b"ends": 6}


class Files(pyfuse3.Operations):
    """Some files; the name says what reading one does.  It notes its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._noted = trio.Event()
        self.lookups: Counter[int] = Counter()
        self.xattrs: dict[bytes, bytes] = {}
        self.handle: pyfuse3.PollHandle | None = None
        self.ready = 0
        self.let_go = trio.Event()
        self.slow_began = trio.Event()
        self.page = 0  # entries a page of readdir takes, 0 for as many as fit

    def note(self, *call: Any) -> None:
        self.calls.append(call)
        self._noted.set()

    async def wait_for(self, name: str) -> None:
        """Wait until a call of this name has come."""
        with trio.fail_after(10):
            while not self.named(name):
                self._noted = trio.Event()
                await self._noted.wait()

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self.calls if call[0] == name]

    def attr(self, inode: int) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        directory = inode in (1, 20)
        entry.st_mode = stat.S_IFDIR | 0o755 if directory else stat.S_IFREG | 0o644
        entry.st_size = 0 if directory else len(TEXT)
        entry.st_mtime_ns = entry.st_atime_ns = entry.st_ctime_ns = 1_500_000_000_7
        entry.st_uid, entry.st_gid = os.getuid(), os.getgid()
        entry.attr_timeout = entry.entry_timeout = 0
        return entry

    def made(self, inode: int, mode: int) -> pyfuse3.EntryAttributes:
        entry = self.attr(inode)
        entry.st_mode = mode
        self.lookups[inode] += 1
        return entry

    def init(self) -> None:
        self.note("init")

    def stacktrace(self) -> None:
        self.note("stacktrace")

    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        self.note("lookup", parent_inode, name, ctx.uid, ctx.pid)
        if name == b"negative":
            entry = pyfuse3.EntryAttributes()
            entry.entry_timeout = 100
            return entry
        if name not in FILES:
            raise pyfuse3.FUSEError(errno.ENOENT)
        self.lookups[FILES[name]] += 1
        return self.attr(FILES[name])

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        for inode, number in inode_list:
            self.note("forget", inode, number)
            self.lookups[inode] -= number

    async def getattr(
        self, inode: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        return self.attr(inode)

    async def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        changed = [
            name
            for name in ("atime", "mtime", "ctime", "mode", "uid", "gid", "size")
            if getattr(fields, f"update_{name}")
        ]
        self.note("setattr", inode, changed, attr, fh)
        return self.attr(inode)

    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        return b"/target\xff"

    async def mknod(
        self,
        parent_inode: int,
        name: bytes,
        mode: int,
        rdev: int,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        self.note("mknod", name, mode, rdev, ctx.umask)
        return self.made(21, mode)

    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        self.note("mkdir", name, mode, ctx.umask)
        return self.made(20, mode)

    async def unlink(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> None:
        self.note("unlink", parent_inode, name)

    async def rmdir(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> None:
        self.note("rmdir", parent_inode, name)

    async def symlink(
        self,
        parent_inode: int,
        name: bytes,
        target: bytes,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        self.note("symlink", name, target)
        return self.made(22, stat.S_IFLNK | 0o777)

    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        self.note("rename", name_old, name_new, flags)

    async def link(
        self,
        inode: int,
        new_parent_inode: int,
        new_name: bytes,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        self.note("link", inode, new_parent_inode, new_name)
        self.lookups[inode] += 1
        return self.attr(inode)

    async def open(
        self, inode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.FileInfo:
        self.note("open", inode, flags)
        return pyfuse3.FileInfo(fh=inode, keep_cache=False)

    async def create(
        self,
        parent_inode: int,
        name: bytes,
        mode: int,
        flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        self.note("create", name, mode, ctx.umask)
        return pyfuse3.FileInfo(fh=23), self.made(23, mode)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        self.note("read", fh, off, size)
        if fh == FILES[b"slow"]:
            self.slow_began.set()
            await self.let_go.wait()
            self.note("slow read ends")
        elif fh == FILES[b"bug"]:
            raise ValueError("a bug")
        elif fh == FILES[b"oserror"]:
            raise OSError(errno.EXDEV, "what the disk said")
        return TEXT[off : off + size]

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        self.note("write", fh, off, buf)
        return len(buf)

    async def flush(self, fh: int) -> None:
        self.note("flush", fh)

    async def release(self, fh: int) -> None:
        self.note("release", fh)

    async def fsync(self, fh: int, datasync: bool) -> None:
        self.note("fsync", fh, datasync)

    async def poll(
        self,
        inode: int,
        fh: int,
        poll_handle: pyfuse3.PollHandle | None,
        ctx: pyfuse3.RequestContext,
    ) -> int:
        self.note("poll", inode, fh, poll_handle is not None)
        self.handle = poll_handle or self.handle
        return self.ready

    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        self.note("opendir", inode)
        return inode

    async def readdir(
        self, fh: int, start_id: int, token: pyfuse3.ReaddirToken
    ) -> None:
        self.note("readdir", fh, start_id)
        names = sorted(FILES) if fh == 1 else []
        entry = pyfuse3.EntryAttributes()
        for number, name in enumerate(names[start_id:], start_id + 1):
            vars_of = self.attr(FILES[name]).__getstate__()
            entry.__setstate__(vars_of)  # the same object for all
            if not pyfuse3.readdir_reply(token, name, entry, number):
                return
            self.lookups[FILES[name]] += 1
            if self.page and number % self.page == 0:
                return

    async def releasedir(self, fh: int) -> None:
        self.note("releasedir", fh)

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        self.note("fsyncdir", fh, datasync)

    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = 512
        data.f_blocks, data.f_bfree, data.f_bavail = 100, 50, 40
        data.f_files, data.f_ffree, data.f_favail = 30, 20, 10
        data.f_namemax = 200
        return data

    async def setxattr(
        self, inode: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext
    ) -> None:
        self.xattrs[name] = value

    async def getxattr(
        self, inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> bytes:
        if name not in self.xattrs:
            raise pyfuse3.FUSEError(pyfuse3.ENOATTR)
        return self.xattrs[name]

    async def listxattr(
        self, inode: int, ctx: pyfuse3.RequestContext
    ) -> Sequence[bytes]:
        return list(self.xattrs)

    async def removexattr(
        self, inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> None:
        if self.xattrs.pop(name, None) is None:
            raise pyfuse3.FUSEError(pyfuse3.ENOATTR)

    async def access(self, inode: int, mode: int, ctx: pyfuse3.RequestContext) -> bool:
        self.note("access", inode, mode)
        return inode != FILES[b"bug"]


@asynccontextmanager
async def mounted(
    operations: Any, mountpoint: str, *options: str
) -> AsyncIterator[None]:
    """Serve for the length of a block, with the options and no others."""
    pyfuse3.init(operations, mountpoint, {"fsname=test", *options})
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pyfuse3.main)
            try:
                yield
            finally:
                if isinstance(operations, Files):
                    operations.let_go.set()
                pyfuse3.terminate()
    finally:
        pyfuse3.close()


#: Runs a function that uses the mount, in a thread.
in_thread = trio.to_thread.run_sync

PRI = select.POLLPRI
