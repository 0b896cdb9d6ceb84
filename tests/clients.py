"""The same client for the real kernel and for the fake one.

A scenario that passes on one must pass on the other: that is what makes the fake a
kernel.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import attrs
import trio

import triofuse as t
from triofuse.testing import FakeKernel, open_kernel

T = TypeVar("T")


@attrs.frozen
class Status:
    """What a client sees of a file."""

    kind: int
    size: int
    nlink: int


class Client(Protocol):
    """A process that uses a filesystem; paths are relative to its root."""

    async def stat(self, path: str) -> Status: ...
    async def read(self, path: str) -> bytes: ...
    async def write(self, path: str, data: bytes) -> None: ...
    async def names(self, path: str) -> list[str]: ...
    async def mkdir(self, path: str) -> None: ...
    async def unlink(self, path: str) -> None: ...
    async def rmdir(self, path: str) -> None: ...
    async def rename(self, old: str, new: str) -> None: ...
    async def link(self, old: str, new: str) -> None: ...
    async def symlink(self, target: str, path: str) -> None: ...
    async def readlink(self, path: str) -> str: ...
    async def truncate(self, path: str, size: int) -> None: ...
    async def setxattr(self, path: str, name: str, value: bytes) -> None: ...
    async def getxattr(self, path: str, name: str) -> bytes: ...
    async def listxattr(self, path: str) -> list[str]: ...


@attrs.define(eq=False)
class RealClient:
    """System calls on a mount, from a thread."""

    root: Path

    async def _call(self, function: Callable[..., T], *args: object) -> T:
        return await trio.to_thread.run_sync(function, *args)

    async def stat(self, path: str) -> Status:
        status = await self._call(os.lstat, self.root / path)
        kind = stat.S_IFMT(status.st_mode)
        return Status(kind, status.st_size, status.st_nlink)

    async def read(self, path: str) -> bytes:
        return await self._call((self.root / path).read_bytes)

    async def write(self, path: str, data: bytes) -> None:
        await self._call((self.root / path).write_bytes, data)

    async def names(self, path: str) -> list[str]:
        return sorted(await self._call(os.listdir, self.root / path))

    async def mkdir(self, path: str) -> None:
        await self._call(os.mkdir, self.root / path)

    async def unlink(self, path: str) -> None:
        await self._call(os.unlink, self.root / path)

    async def rmdir(self, path: str) -> None:
        await self._call(os.rmdir, self.root / path)

    async def rename(self, old: str, new: str) -> None:
        await self._call(os.rename, self.root / old, self.root / new)

    async def link(self, old: str, new: str) -> None:
        await self._call(os.link, self.root / old, self.root / new)

    async def symlink(self, target: str, path: str) -> None:
        await self._call(os.symlink, target, self.root / path)

    async def readlink(self, path: str) -> str:
        return await self._call(os.readlink, self.root / path)

    async def truncate(self, path: str, size: int) -> None:
        await self._call(os.truncate, self.root / path, size)

    async def setxattr(self, path: str, name: str, value: bytes) -> None:
        await self._call(os.setxattr, self.root / path, name, value)

    async def getxattr(self, path: str, name: str) -> bytes:
        return await self._call(os.getxattr, self.root / path, name)

    async def listxattr(self, path: str) -> list[str]:
        return sorted(await self._call(os.listxattr, self.root / path))


@attrs.define(eq=False)
class FakeClient:
    """Requests of a fake kernel, which walks paths as the real one does."""

    kernel: FakeKernel

    async def _node(self, path: str) -> int:
        nodeid = 1
        for name in filter(None, path.split("/")):
            nodeid = (await self._found(nodeid, name)).nodeid
        return nodeid

    async def _found(self, parent: int, name: str) -> t.Entry:
        entry = await self.kernel.lookup(parent, name)
        if entry.nodeid == 0:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return entry

    async def _parent(self, path: str) -> tuple[int, str]:
        head, _, name = path.rpartition("/")
        return await self._node(head), name

    async def stat(self, path: str) -> Status:
        attr = await self.kernel.getattr(await self._node(path))
        return Status(stat.S_IFMT(attr.mode), attr.size, attr.nlink)

    async def read(self, path: str) -> bytes:
        nodeid = await self._node(path)
        opened = await self.kernel.open(nodeid)
        data = await self.kernel.read(nodeid, opened.fh, size=1 << 22)
        await self._close(nodeid, opened.fh)
        return data

    async def write(self, path: str, data: bytes) -> None:
        parent, name = await self._parent(path)
        flags = os.O_WRONLY | os.O_TRUNC
        try:
            nodeid = (await self._found(parent, name)).nodeid
        except FileNotFoundError:
            entry, opened = await self.kernel.create(parent, name, flags)
            nodeid = entry.nodeid
        else:
            opened = await self.kernel.open(nodeid, os.O_WRONLY)
            await self.kernel.setattr(nodeid, size=0)
        await self.kernel.write(nodeid, opened.fh, 0, data)
        await self._close(nodeid, opened.fh)

    async def _close(self, nodeid: int, fh: int) -> None:
        await self.kernel.flush(nodeid, fh)
        await self.kernel.release(nodeid, fh)

    async def names(self, path: str) -> list[str]:
        nodeid = await self._node(path)
        opened = await self.kernel.opendir(nodeid)
        entries = await self.kernel.readdir(nodeid, opened.fh)
        await self.kernel.releasedir(nodeid, opened.fh)
        return sorted({entry.name for entry in entries} - {".", ".."})

    async def mkdir(self, path: str) -> None:
        await self.kernel.mkdir(*await self._parent(path))

    async def unlink(self, path: str) -> None:
        await self.kernel.unlink(*await self._parent(path))

    async def rmdir(self, path: str) -> None:
        await self.kernel.rmdir(*await self._parent(path))

    async def rename(self, old: str, new: str) -> None:
        parent, name = await self._parent(old)
        await self.kernel.rename(parent, name, *await self._parent(new))

    async def link(self, old: str, new: str) -> None:
        await self.kernel.link(await self._node(old), *await self._parent(new))

    async def symlink(self, target: str, path: str) -> None:
        await self.kernel.symlink(*await self._parent(path), target)

    async def readlink(self, path: str) -> str:
        return await self.kernel.readlink(await self._node(path))

    async def truncate(self, path: str, size: int) -> None:
        await self.kernel.setattr(await self._node(path), size=size)

    async def setxattr(self, path: str, name: str, value: bytes) -> None:
        await self.kernel.setxattr(await self._node(path), name, value)

    async def getxattr(self, path: str, name: str) -> bytes:
        return await self.kernel.getxattr(await self._node(path), name)

    async def listxattr(self, path: str) -> list[str]:
        return sorted(await self.kernel.listxattr(await self._node(path)))


#: What mounts a filesystem for a client: one of the two below.
Kernel = Callable[[t.Filesystem, str], AbstractAsyncContextManager[Client]]


@asynccontextmanager
async def real_kernel(
    filesystem: t.Filesystem, mountpoint: str
) -> AsyncIterator[Client]:
    """Mount a filesystem and return a process that uses it."""
    async with t.mount(filesystem, mountpoint, strict=True):
        yield RealClient(Path(mountpoint))


@asynccontextmanager
async def fake_kernel(
    filesystem: t.Filesystem, _mountpoint: str
) -> AsyncIterator[Client]:
    """Serve a filesystem to a fake kernel and return a process that uses it."""
    async with open_kernel(filesystem) as kernel:
        yield FakeClient(kernel)
