"""A filesystem that the kernel caches for ever, except for notifications."""

from __future__ import annotations

import errno
import stat
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
import trio

import triofuse as t
from triofuse.testing import FakeKernel

FILE = 2
FOR_EVER = 3600.0


async def nothing() -> None:
    """Do nothing."""


class Caching(t.Filesystem):
    """A root with ``file``; to look up ``trigger`` does what the test wants."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.content = b"old"
        self.mode = 0o600
        self.action: Callable[[], Awaitable[object]] = nothing
        self.slow = False
        self.arrived = trio.Event()
        self.let_go = trio.Event()
        self.cancelled = False

    async def lookup(self, request: t.Lookup) -> t.Entry:
        self.calls[f"lookup {request.name}"] += 1
        if request.name == "trigger":
            await self.action()
        elif request.name == "slow":
            await self._hold()
        if request.name != "file":
            raise t.FuseError(errno.ENOENT)
        return t.Entry(self._attr(FILE), entry_valid=FOR_EVER)

    async def _hold(self) -> None:
        self.arrived.set()
        try:
            await self.let_go.wait()
        except trio.Cancelled:
            self.cancelled = True
            raise

    def forget(self, request: t.Forget) -> None:
        self.calls["forget"] += 1

    def _attr(self, nodeid: int) -> t.FileAttr:
        if nodeid == 1:
            return t.FileAttr(1, stat.S_IFDIR | 0o755, nlink=2, attr_valid=FOR_EVER)
        mode = stat.S_IFREG | self.mode
        return t.FileAttr(FILE, mode, size=len(self.content), attr_valid=FOR_EVER)

    async def getattr(self, request: t.Getattr) -> t.FileAttr:
        return self._attr(request.nodeid)

    async def open(self, request: t.Open) -> t.Opened:
        return t.Opened(flags=t.OpenFlags.KEEP_CACHE)

    async def read(self, request: t.Read) -> bytes:
        self.calls["read"] += 1
        if self.slow:
            await self._hold()
        return self.content[request.offset : request.offset + request.size]


async def lookup(kernel: FakeKernel, name: str) -> None:
    """Look up a name that triggers something and does not exist."""
    with pytest.raises(OSError, match="No such file"):
        await kernel.lookup(1, name)
