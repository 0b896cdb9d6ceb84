"""The filesystem in memory, with pyfuse3."""

from __future__ import annotations

import errno
import itertools
import stat
from collections.abc import Sequence

import attrs
import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, RequestContext

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


@attrs.define(eq=False)
class Node:
    """An inode: what LOOKUP answers, and what is in it."""

    attr: EntryAttributes
    data: bytearray = attrs.Factory(bytearray)
    children: dict[bytes, Node] = attrs.Factory(dict)
    target: bytes = b""
    lookups: int = 0


class Memory(pyfuse3.Operations):
    """A tree in memory, complete enough for cp(1) and git(1).

    pyfuse3 knows no plain READDIR: a listing always has its attributes.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.enable_writeback_cache = shape.io == "writeback"
        self._shape = shape
        self._direct = shape.io == "direct"
        self._inos = itertools.count(pyfuse3.ROOT_INODE)
        self._nodes: dict[int, Node] = {}
        self._handles = itertools.count(1)
        self._listings: dict[int, list[tuple[bytes, Node]]] = {}
        root = self._make(DIRECTORY)
        for name, data in contents(shape).items():
            root.children[name.encode()] = self._make(FILE, data)

    def _make(self, mode: int, data: bytearray | None = None) -> Node:
        attr = EntryAttributes()
        attr.st_ino = next(self._inos)
        attr.st_mode = mode
        attr.st_nlink = 1
        attr.st_size = 0 if data is None else len(data)
        attr.attr_timeout = attr.entry_timeout = self._shape.valid
        node = Node(attr, bytearray() if data is None else data)
        self._nodes[attr.st_ino] = node
        return node

    def _found(self, node: Node) -> EntryAttributes:
        node.lookups += 1
        return node.attr

    def _child(self, parent: int, name: bytes) -> Node:
        try:
            return self._nodes[parent].children[name]
        except KeyError:
            raise FUSEError(errno.ENOENT) from None

    def _add(self, parent: int, name: bytes, mode: int) -> Node:
        siblings = self._nodes[parent].children
        if name in siblings:
            raise FUSEError(errno.EEXIST)
        node = siblings[name] = self._make(mode)
        return node

    def _drop(self, node: Node) -> None:
        node.attr.st_nlink -= 1
        if node.lookups == 0:
            self._nodes.pop(node.attr.st_ino, None)

    def _opened(self, ino: int) -> FileInfo:
        return FileInfo(fh=ino, direct_io=self._direct, keep_cache=False)

    async def lookup(
        self, parent_inode: int, name: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        return self._found(self._child(parent_inode, name))

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        for ino, nlookup in inode_list:
            node = self._nodes[ino]
            node.lookups -= nlookup
            if node.lookups == 0 and node.attr.st_nlink == 0:
                del self._nodes[ino]

    async def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        return self._nodes[inode].attr

    async def setattr(
        self,
        inode: int,
        attr: EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        node = self._nodes[inode]
        own = node.attr
        if fields.update_size:
            resize(node.data, attr.st_size)
            own.st_size = attr.st_size
        if fields.update_mode:
            mode = stat.S_IFMT(own.st_mode) | stat.S_IMODE(attr.st_mode)
            own.st_mode = mode
        if fields.update_uid:
            own.st_uid = attr.st_uid
        if fields.update_gid:
            own.st_gid = attr.st_gid
        if fields.update_atime:
            own.st_atime_ns = attr.st_atime_ns
        if fields.update_mtime:
            own.st_mtime_ns = attr.st_mtime_ns
        return own

    async def create(
        self,
        parent_inode: int,
        name: bytes,
        mode: int,
        flags: int,
        ctx: RequestContext,
    ) -> tuple[FileInfo, EntryAttributes]:
        node = self._add(parent_inode, name, mode)
        return self._opened(node.attr.st_ino), self._found(node)

    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: RequestContext
    ) -> EntryAttributes:
        return self._found(self._add(parent_inode, name, stat.S_IFDIR | mode))

    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        node = self._add(parent_inode, name, LINK)
        node.target = target
        return self._found(node)

    async def readlink(self, inode: int, ctx: RequestContext) -> bytes:
        return self._nodes[inode].target

    async def unlink(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        node = self._child(parent_inode, name)
        del self._nodes[parent_inode].children[name]
        self._drop(node)

    async def rmdir(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        if self._child(parent_inode, name).children:
            raise FUSEError(errno.ENOTEMPTY)
        self._drop(self._nodes[parent_inode].children.pop(name))

    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: RequestContext,
    ) -> None:
        if flags:
            raise FUSEError(errno.EINVAL)
        node = self._child(parent_inode_old, name_old)
        del self._nodes[parent_inode_old].children[name_old]
        siblings = self._nodes[parent_inode_new].children
        replaced = siblings.get(name_new)
        siblings[name_new] = node
        if replaced is not None:
            self._drop(replaced)

    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        return self._opened(inode)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        return bytes(memoryview(self._nodes[fh].data)[off : off + size])

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        node = self._nodes[fh]
        store(node.data, off, buf)
        node.attr.st_size = len(node.data)
        return len(buf)

    async def release(self, fh: int) -> None:
        pass

    async def opendir(self, inode: int, ctx: RequestContext) -> int:
        fh = next(self._handles)
        self._listings[fh] = list(self._nodes[inode].children.items())
        return fh

    async def readdir(
        self, fh: int, start_id: int, token: pyfuse3.ReaddirToken
    ) -> None:
        children = self._listings[fh]
        for number in range(start_id, len(children)):
            name, node = children[number]
            if not pyfuse3.readdir_reply(token, name, node.attr, number + 1):
                break
            node.lookups += 1

    async def releasedir(self, fh: int) -> None:
        del self._listings[fh]


class Pausing(Memory):
    """Awaits something before each READ."""

    async def read(self, fh: int, off: int, size: int) -> bytes:
        await PAUSES[self._shape.pause]()
        return await super().read(fh, off, size)


def serve(operations: pyfuse3.Operations, mountpoint: str) -> None:
    """Mount, and serve until unmounted."""
    options = set(pyfuse3.default_options) - {"default_permissions"}
    pyfuse3.init(operations, mountpoint, options)
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close()


def main() -> None:
    mountpoint, shape = Shape.read()
    serve(Pausing(shape) if shape.pause else Memory(shape), mountpoint)


if __name__ == "__main__":
    main()
