"""`Passthrough`: a directory, mirrored; `make` for commands."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import trio

from triofuse.filesystem.flags import FsyncFlags, WriteFlags
from triofuse.filesystem.replies import (
    DirEntry,
    FileData,
    IoctlReply,
    Opened,
)
from triofuse.filesystem.requests import (
    CopyFileRange,
    Fallocate,
    Flush,
    Fsync,
    Fsyncdir,
    Ioctl,
    Lseek,
    Open,
    Opendir,
    Read,
    Readdir,
    Readdirplus,
    Release,
    Releasedir,
    Write,
)
from triofuse.mirror import attributes, inodeflags, libc
from triofuse.mirror.credentials import (
    charged,
    charged_anywhere,
)
from triofuse.mirror.names import OPEN_FLAGS, Names


class Passthrough(Names):
    """A mirror of the directory ``source``.

    It is opened here and now: a mount may soon hide it.
    """

    # --- Open files: the handle is the descriptor

    async def open(self, request: Open) -> Opened:
        flags = request.flags & OPEN_FLAGS
        if self._is_writable_memory(request):
            await self._tree.may_be_mapped(request.nodeid)
        path = self._tree.path(request.nodeid)

        append = request.flags & os.O_APPEND
        fd = self._files.open(request, lambda: libc.reopen(path, flags, append))
        return self._files.answer(request, request.nodeid, fd, request.flags)

    async def read(self, request: Read) -> FileData:
        self._tree.is_read_here(request.nodeid)
        return FileData(request.fh, request.offset, request.size)

    async def write(self, request: Write) -> int:
        if request.write_flags & WriteFlags.KILL_SUIDGID:
            attributes.take_set_ids(request.fh, request)

        def act() -> int:
            with self._files.as_writer(request.fh):
                return os.pwrite(request.fh, request.data, request.offset)

        return charged(request, act)

    async def flush(self, request: Flush) -> None:
        # A network filesystem may tell only now that it could not write.
        os.close(os.dup(request.fh))

    async def release(self, request: Release) -> None:
        self._files.close(request.fh)

    async def fsync(self, request: Fsync) -> None:
        datasync = request.fsync_flags & FsyncFlags.FDATASYNC
        sync = os.fdatasync if datasync else os.fsync
        with trio.CancelScope(shield=True):  # a database takes EINTR for lost data
            await trio.to_thread.run_sync(sync, request.fh, limiter=self._threads)

    async def fallocate(self, request: Fallocate) -> None:
        def act() -> None:
            with self._files.as_writer(request.fh):
                libc.fallocate(request.fh, request.mode, request.offset, request.length)

        charged(request, act)

    async def lseek(self, request: Lseek) -> int:
        return os.lseek(request.fh, request.offset, request.whence)

    async def copy_file_range(self, request: CopyFileRange) -> int:
        ends = request.fh_in, request.fh_out
        offsets = request.len, request.off_in, request.off_out

        def act() -> int:
            with self._files.as_writer(request.fh_out):
                return libc.copy_file_range(*ends, *offsets)

        in_thread = partial(charged_anywhere, request, act)
        return await trio.to_thread.run_sync(in_thread, limiter=self._threads)

    async def ioctl(self, request: Ioctl) -> IoctlReply:
        reply = inodeflags.relay(request.fh, request)
        if inodeflags.changes(request):  # which sets the ctime, and the kernel does not
            await self.notifier.inval_inode(request.nodeid, -1)
        return reply

    # --- Open directories, likewise

    async def opendir(self, request: Opendir) -> Opened:
        path, flags = self._tree.path(request.nodeid), os.O_RDONLY | os.O_DIRECTORY
        return Opened(self._files.open(request, lambda: os.open(path, flags)))

    async def readdir(self, request: Readdir) -> Iterable[DirEntry]:
        return self._list(request, plus=False)

    async def readdirplus(self, request: Readdirplus) -> Iterable[DirEntry]:
        if self._tree.nodes.is_crowded:
            await self._tree.make_room(request)
        return self._list(request, plus=True)

    def _list(
        self, request: Readdir | Readdirplus, *, plus: bool
    ) -> Iterator[DirEntry]:
        """Yield entries with SOURCE's own cookies.

        For READDIRPLUS each name is looked up when its turn comes, not before: what
        is yielded counts.
        """
        records = libc.getdents(request.fh, request.offset, request.size)
        for ino, offset, kind, name in records:
            entry = None
            if plus and name not in (".", ".."):
                with contextlib.suppress(OSError):  # it may be gone by now
                    entry = self._tree.find(request, name)
            yield DirEntry(name, ino, kind << 12, offset, entry)

    async def releasedir(self, request: Releasedir) -> None:
        self._files.close(request.fh)

    async def fsyncdir(self, request: Fsyncdir) -> None:
        await self.fsync(request)


def make(source: Path, mountpoint: Path, *, passthrough: bool = True) -> Passthrough:
    """Mirror a directory.

    Args:
      source: The directory.
      mountpoint: Where it is mirrored: not inside of it.
      passthrough: The kernel does not read and write by itself.
    """
    real = os.path.realpath(source), os.path.realpath(mountpoint)
    if real[0] != real[1] and os.path.commonpath(real) == real[0]:
        message = "MOUNTPOINT is inside SOURCE: the mirror would wait for itself"
        raise ValueError(message)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return Passthrough(source, backed=passthrough)
