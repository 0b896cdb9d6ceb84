"""The filesystem in memory, with triofuse."""

from __future__ import annotations

import errno
import itertools
import stat
from collections.abc import Iterable, Iterator

import attrs

import triofuse
from tests.benchmarks.servers.contents import (
    DIRECTORY,
    FILE,
    LINK,
    PAUSES,
    contents,
    resize,
    store,
)
from tests.benchmarks.shape import Shape
from triofuse import DirEntry, Entry, FileAttr, FuseError, Opened, OpenFlags

ROOT = 1


@attrs.define(eq=False)
class Node:
    """An inode: what LOOKUP answers, and what is in it."""

    entry: Entry
    data: bytearray = attrs.Factory(bytearray)
    children: dict[str, Node] = attrs.Factory(dict)
    target: str = ""
    lookups: int = 0

    @property
    def attr(self) -> FileAttr:
        return self.entry.attr


class Memory(triofuse.Filesystem):
    """A tree in memory, complete enough for cp(1) and git(1)."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._flags = OpenFlags.DIRECT_IO if shape.io == "direct" else 0
        self._inos = itertools.count(ROOT)
        self._nodes: dict[int, Node] = {}
        root = self._make(DIRECTORY)
        for name, data in contents(shape).items():
            root.children[name] = self._make(FILE, data)

    def _make(self, mode: int, data: bytearray | None = None) -> Node:
        valid = self._shape.valid
        data = bytearray() if data is None else data
        attr = FileAttr(next(self._inos), mode, size=len(data), attr_valid=valid)
        node = Node(Entry(attr, entry_valid=valid), data)
        self._nodes[attr.ino] = node
        return node

    def _found(self, node: Node) -> Entry:
        node.lookups += 1
        return node.entry

    def _child(self, parent: int, name: str) -> Node:
        try:
            return self._nodes[parent].children[name]
        except KeyError:
            raise FuseError(errno.ENOENT) from None

    def _add(self, parent: int, name: str, mode: int) -> Node:
        siblings = self._nodes[parent].children
        if name in siblings:
            raise FuseError(errno.EEXIST)
        node = siblings[name] = self._make(mode)
        return node

    def _drop(self, node: Node) -> None:
        node.attr.nlink -= 1
        if node.lookups == 0:
            self._nodes.pop(node.attr.ino, None)

    async def init(self, config: triofuse.KernelConfig) -> None:
        if self._shape.io == "writeback":
            config.want(triofuse.InitFlags.WRITEBACK_CACHE)

    async def lookup(self, request: triofuse.Lookup) -> Entry:
        return self._found(self._child(request.nodeid, request.name))

    def forget(self, request: triofuse.Forget) -> None:
        node = self._nodes[request.nodeid]
        node.lookups -= request.nlookup
        if node.lookups == 0 and node.attr.nlink == 0:
            del self._nodes[request.nodeid]

    async def getattr(self, request: triofuse.Getattr) -> FileAttr:
        return self._nodes[request.nodeid].attr

    async def setattr(self, request: triofuse.Setattr) -> FileAttr:
        node = self._nodes[request.nodeid]
        attr = node.attr
        if request.size is not None:
            resize(node.data, request.size)
            attr.size = request.size
        if request.mode is not None:
            attr.mode = stat.S_IFMT(attr.mode) | stat.S_IMODE(request.mode)
        if request.new_uid is not None:
            attr.uid = request.new_uid
        if request.new_gid is not None:
            attr.gid = request.new_gid
        if request.atime_ns is not None:
            attr.atime_ns = request.atime_ns
        if request.mtime_ns is not None:
            attr.mtime_ns = request.mtime_ns
        return attr

    async def create(self, request: triofuse.Create) -> tuple[Entry, Opened]:
        node = self._add(request.nodeid, request.name, request.mode)
        return self._found(node), Opened(node.attr.ino, self._flags)

    async def mkdir(self, request: triofuse.Mkdir) -> Entry:
        mode = stat.S_IFDIR | request.mode
        return self._found(self._add(request.nodeid, request.name, mode))

    async def symlink(self, request: triofuse.Symlink) -> Entry:
        node = self._add(request.nodeid, request.name, LINK)
        node.target = request.target
        return self._found(node)

    async def readlink(self, request: triofuse.Readlink) -> str:
        return self._nodes[request.nodeid].target

    async def unlink(self, request: triofuse.Unlink) -> None:
        node = self._child(request.nodeid, request.name)
        del self._nodes[request.nodeid].children[request.name]
        self._drop(node)

    async def rmdir(self, request: triofuse.Rmdir) -> None:
        if self._child(request.nodeid, request.name).children:
            raise FuseError(errno.ENOTEMPTY)
        self._drop(self._nodes[request.nodeid].children.pop(request.name))

    async def rename(self, request: triofuse.Rename) -> None:
        node = self._child(request.nodeid, request.name)
        del self._nodes[request.nodeid].children[request.name]
        siblings = self._nodes[request.newdir].children
        replaced = siblings.get(request.newname)
        siblings[request.newname] = node
        if replaced is not None:
            self._drop(replaced)

    async def open(self, request: triofuse.Open) -> Opened:
        return Opened(request.nodeid, self._flags)

    async def read(self, request: triofuse.Read) -> memoryview:
        data = memoryview(self._nodes[request.fh].data)
        return data[request.offset : request.offset + request.size]

    async def write(self, request: triofuse.Write) -> int:
        node = self._nodes[request.fh]
        store(node.data, request.offset, request.data)
        node.attr.size = len(node.data)
        return request.size


class Listed(Memory):
    """With READDIR."""

    async def readdir(self, request: triofuse.Readdir) -> Iterable[DirEntry]:
        children = self._nodes[request.nodeid].children
        return (
            DirEntry(name, node.attr.ino, node.attr.mode)
            for name, node in children.items()
        )


class ListedWithAttributes(Memory):
    """With READDIRPLUS."""

    async def readdirplus(self, request: triofuse.Readdirplus) -> Iterable[DirEntry]:
        return self._entries(list(self._nodes[request.nodeid].children.items()))

    def _entries(self, children: list[tuple[str, Node]]) -> Iterator[DirEntry]:
        for name, node in children:
            attr = node.attr
            yield DirEntry(name, attr.ino, attr.mode, entry=self._found(node))


class Pausing(Listed):
    """Awaits something before each READ."""

    async def read(self, request: triofuse.Read) -> memoryview:
        await PAUSES[self._shape.pause]()
        return await super().read(request)


def main() -> None:
    mountpoint, shape = Shape.read()
    kind = Pausing if shape.pause else ListedWithAttributes if shape.plus else Listed
    triofuse.run(kind(shape), mountpoint)


if __name__ == "__main__":
    main()
