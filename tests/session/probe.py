"""A filesystem whose files misbehave, each in its own way."""

from __future__ import annotations

import errno
import stat
from collections import Counter
from collections.abc import Callable

import trio

import triofuse as t

#: name -> nodeid; the name says what reading the file does.
FILES = {"plain": 2, "slow": 3, "bug": 4, "denied": 5, "stubborn": 6, "nosys": 7}
NAMES = {nodeid: name for name, nodeid in FILES.items()}
TEXT = b"plain text\n"


class Probe(t.Filesystem):
    """Counts requests, open handles and lookups."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.lookups: Counter[int] = Counter()
        self.handles: set[int] = set()
        self.ended: list[str] = []
        self.arrived = trio.Event()
        self.let_go = trio.Event()
        self.on_destroy: Callable[[], None] = lambda: None

    def attr(self, nodeid: int) -> t.FileAttr:
        if nodeid == 1:
            return t.FileAttr(1, stat.S_IFDIR | 0o755, nlink=2, attr_valid=0)
        mode = stat.S_IFREG | 0o644
        return t.FileAttr(nodeid, mode, size=len(TEXT), attr_valid=0)

    async def init(self, config: t.KernelConfig) -> None:
        self.calls["init"] += 1

    async def destroy(self) -> None:
        self.calls["destroy"] += 1
        self.on_destroy()

    async def lookup(self, request: t.Lookup) -> t.Entry:
        self.calls["lookup"] += 1
        if request.name not in FILES:
            raise t.FuseError(errno.ENOENT)
        nodeid = FILES[request.name]
        self.lookups[nodeid] += 1
        return t.Entry(self.attr(nodeid), entry_valid=0)

    def forget(self, request: t.Forget) -> None:
        self.lookups[request.nodeid] -= request.nlookup

    async def getattr(self, request: t.Getattr) -> t.FileAttr:
        self.calls["getattr"] += 1
        return self.attr(request.nodeid)

    async def readdir(self, request: t.Readdir) -> list[t.DirEntry]:
        return [t.DirEntry(name, nodeid) for name, nodeid in FILES.items()]

    async def open(self, request: t.Open) -> t.Opened:
        if NAMES[request.nodeid] == "stubborn":
            await self._hold("open")
        fh = self.calls["open"] = self.calls["open"] + 1
        self.handles.add(fh)
        return t.Opened(fh, t.OpenFlags.DIRECT_IO)

    async def release(self, request: t.Release) -> None:
        self.calls["release"] += 1
        self.handles.remove(request.fh)

    async def _hold(self, what: str) -> None:
        """Ignore an interrupt until the test releases it."""
        self.arrived.set()
        with trio.CancelScope(shield=True):
            await self.let_go.wait()
        self.ended.append(what)

    async def read(self, request: t.Read) -> t.Buffer | t.FileData:
        self.calls["read"] += 1
        match NAMES[request.nodeid]:
            case "slow":
                await self._sleep()
            case "bug":
                raise ZeroDivisionError("a bug of the filesystem")
            case "denied":
                raise PermissionError(errno.EACCES, "not today")
            case "nosys":
                raise OSError(errno.ENOSYS, "by accident")
        return TEXT[request.offset : request.offset + request.size]

    async def _sleep(self) -> None:
        self.arrived.set()
        try:
            await self.let_go.wait()
        except trio.Cancelled:
            self.ended.append("cancelled")
            raise
        self.ended.append("woken")
