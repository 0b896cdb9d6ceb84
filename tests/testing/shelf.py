"""A filesystem to test with: a few files, some of which are slow or broken."""

from __future__ import annotations

import errno
import stat
from collections import Counter
from collections.abc import Iterator

import trio

from triofuse.filesystem import requests as r
from triofuse.filesystem.config import KernelConfig
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.replies import Buffer, DirEntry, Entry, FileAttr, Opened

HOUR = 3600


class Shelf(Filesystem):
    """A filesystem that counts lookups and handles; reading ``slow`` takes an hour."""

    def __init__(self, count: int = 20) -> None:
        self.files = {number: bytearray(b"text") for number in range(2, count + 2)}
        self.names = {f"file{number}": number for number in self.files}
        self.names |= {"slow": 1000, "broken": 1001, "stubborn": 1002}
        self.lookups: Counter[int] = Counter()
        self.handles: set[int] = set()
        self.calls: Counter[str] = Counter()
        self.config: KernelConfig | None = None
        self.arrived = trio.Event()
        self.let_go = trio.Event()

    def entry(self, nodeid: int) -> Entry:
        self.lookups[nodeid] += 1
        return Entry(self.attr(nodeid))

    def attr(self, nodeid: int) -> FileAttr:
        if nodeid == 1:
            return FileAttr(1, stat.S_IFDIR | 0o755, nlink=2)
        size = len(self.files.get(nodeid, b""))
        return FileAttr(nodeid, stat.S_IFREG | 0o644, size=size)

    async def init(self, config: KernelConfig) -> None:
        self.config = config

    async def destroy(self) -> None:
        self.calls["destroy"] += 1

    async def lookup(self, request: r.Lookup) -> Entry:
        if request.name not in self.names:
            raise FuseError(errno.ENOENT)
        return self.entry(self.names[request.name])

    def forget(self, request: r.Forget) -> None:
        self.lookups[request.nodeid] -= request.nlookup

    async def getattr(self, request: r.Getattr) -> FileAttr:
        return self.attr(request.nodeid)

    async def open(self, request: r.Open) -> Opened:
        if request.nodeid == self.names["stubborn"]:
            self.arrived.set()
            with trio.CancelScope(shield=True):
                await self.let_go.wait()
        self.calls["open"] += 1
        self.handles.add(self.calls["open"])
        return Opened(self.calls["open"])

    async def release(self, request: r.Release) -> None:
        self.handles.remove(request.fh)

    async def read(self, request: r.Read) -> Buffer:
        if request.nodeid == self.names["broken"]:
            raise ZeroDivisionError("a bug")
        if request.nodeid == self.names["slow"]:
            self.calls["slow"] += 1
            await trio.sleep(HOUR)
            return b"at last"
        content = self.files[request.nodeid]
        return content[request.offset : request.offset + request.size]

    async def write(self, request: r.Write) -> int:
        content = self.files[request.nodeid]
        content[request.offset : request.offset + request.size] = request.data
        return request.size

    async def create(self, request: r.Create) -> tuple[Entry, Opened]:
        nodeid = max(self.files) + 1
        self.files[nodeid] = bytearray()
        self.names[request.name] = nodeid
        opening = r.Open(0, nodeid, 0, 0, 0, request.flags, 0)
        return self.entry(nodeid), await self.open(opening)

    async def readdir(self, request: r.Readdir) -> Iterator[DirEntry]:
        return (DirEntry(name, nodeid) for name, nodeid in self.names.items())

    async def readdirplus(self, request: r.Readdirplus) -> Iterator[DirEntry]:
        return (
            DirEntry(name, nodeid, entry=self.entry(nodeid))
            for name, nodeid in self.names.items()
        )
