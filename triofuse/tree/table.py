"""The inodes that the kernel knows, and what it is told of them."""

from __future__ import annotations

import errno
import itertools
import math
import stat
import threading
from collections.abc import Hashable
from weakref import WeakValueDictionary

import trio

from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.replies import Entry, FileAttr
from triofuse.filesystem.requests import Forget
from triofuse.posix.space import Space
from triofuse.tree.changes import Changes
from triofuse.tree.directory import AskedDirectory, Directory, FolderNode, adopt
from triofuse.tree.file import File
from triofuse.tree.handle import Handle
from triofuse.tree.inode import Inode
from triofuse.tree.node import Node, inode_of, overrides
from triofuse.tree.stat import apply

__all__ = ["Table"]

ROOT = 1

#: Absent names that the kernel may keep at a time; it asks again for others.
_MAX_ABSENT = 10_000


class Table(Filesystem):
    """Numbers inodes, and counts what the kernel knows of each."""

    def __init__(self, root: Node, space: Space, *, read_only: bool) -> None:
        inode = inode_of(root)
        if inode.owner is not None or inode.parent is not None:
            message = "the root of a tree cannot be part of another tree"
            raise ValueError(message)
        self.space = space
        self.root = root
        self._read_only = read_only
        self._numbers = itertools.count(ROOT)
        self._inodes: dict[int, Inode] = {}
        self._keys: WeakValueDictionary[Hashable, Inode] = WeakValueDictionary()
        self._absent: set[tuple[int, str]] = set()
        self._changes = Changes()
        self._unused: list[Inode] = []
        self._some_unused = trio.Event()
        self._thread = 0
        self._handles: dict[int, Handle] = {}
        self._fhs = itertools.count(1)
        self._tasks: trio.Nursery | None = None
        self._running = trio.Event()
        self._adopt_root(inode)

    def _adopt_root(self, inode: Inode) -> None:
        inode.owner = self
        self._inodes[self.number(inode)] = inode
        if isinstance(inode.node, Directory):
            for child in inode.node.values():
                adopt(child, inode)

    # --- What nodes ask of the tree

    def number(self, inode: Inode) -> int:
        """Return the inode's number; the first time, choose it."""
        attr = inode.attr
        if not attr.ino:
            attr.ino = next(self._numbers)
            if inode.valid < math.inf == inode.fresh_until and self._thread:
                inode.fresh_until = trio.current_time() + inode.valid
            if inode.key is not None:
                self._keys[inode.key] = inode
        return attr.ino

    def check_thread(self) -> None:
        """Raise RuntimeError in a thread that may not change the tree."""
        if self._thread not in (0, threading.get_ident()):
            message = (
                "this tree is mounted, so it is changed in trio's thread only: "
                "use trio.from_thread.run_sync(...)"
            )
            raise RuntimeError(message)

    def attributes_changed(self, inode: Inode) -> None:
        """Have the kernel drop the attributes of an inode."""
        if inode.nlookup or inode.attr.ino == ROOT:
            self._changes.attributes(inode.attr.ino)

    def data_changed(self, inode: Inode) -> None:
        """Have the kernel drop attributes and data of an inode."""
        if inode.nlookup or inode.attr.ino == ROOT:
            self._changes.data(inode.attr.ino)

    def name_changed(self, directory: Inode, name: str, child: Inode | None) -> None:
        """Have the kernel drop a name, if it was told of it."""
        parent = directory.attr.ino
        if child is None:
            known = (parent, name) in self._absent
            self._absent.discard((parent, name))
        else:
            known = child.nlookup > 0
        if known:
            gone = child is not None and child.parent is None
            self._changes.name(parent, name, child.attr.ino if gone and child else 0)
        self.attributes_changed(directory)

    def may_be_unused(self, inode: Inode) -> None:
        """Look soon whether anything is left of an inode."""
        if overrides(inode.node, "drop", Node):
            self._unused.append(inode)
            self._some_unused.set()

    # --- What the kernel knows

    def _inode(self, nodeid: int) -> Inode:
        try:
            return self._inodes[nodeid]
        except KeyError:
            raise FuseError(errno.ESTALE) from None

    def _file(self, nodeid: int) -> tuple[Inode, File]:
        inode = self._inode(nodeid)
        if not isinstance(inode.node, File):
            raise FuseError(errno.EINVAL)
        return inode, inode.node

    def _folder(self, nodeid: int) -> tuple[Inode, FolderNode]:
        inode = self._inode(nodeid)
        if not isinstance(inode.node, FolderNode):
            raise FuseError(errno.ENOTDIR)
        return inode, inode.node

    async def _child(self, directory: Inode, name: str) -> Inode | None:
        """Return the inode of a name, from memory or from the store."""
        node = directory.node
        assert isinstance(node, FolderNode)
        child = await node.lookup(name)
        return None if child is None else self._known(directory, name, child)

    def _known(self, directory: Inode, name: str, child: Node) -> Inode:
        """Return the inode of a child; a newer object of one takes its place."""
        inode = inode_of(child)
        if inode.owner is self and inode.parent is not None:
            return inode
        if inode.valid < math.inf:
            inode.fresh_until = trio.current_time() + inode.valid
        if inode.key is None and isinstance(directory.node, AskedDirectory):
            inode.key = (directory.attr.ino, name)
        former = None if inode.key is None else self._keys.get(inode.key)
        if former is inode:
            return inode
        inode.owner = self
        if former is not None and stat.S_IFMT(former.attr.mode ^ inode.attr.mode):
            del self._keys[inode.key]  # it is something else now
            former = None
        if not inode.attr.nlink:  # the store says nothing of it
            inode.attr.nlink = 1 if former is None else former.attr.nlink
        return inode if former is None else _renewed(former, inode)

    def _is_fresh(self, inode: Inode) -> bool:
        return inode.fresh_until == math.inf or inode.fresh_until > trio.current_time()

    async def _fresh(self, inode: Inode) -> FileAttr:
        """Return attributes that are not older than they may be."""
        if not self._is_fresh(inode):
            changes = await inode.node.refresh()
            if changes is not None:
                apply(inode.attr, changes)
            inode.fresh_until = trio.current_time() + inode.valid
        return inode.attr

    def _entry(self, inode: Inode) -> Entry:
        """Return what the kernel is told of a name: one lookup more."""
        self._inodes[self.number(inode)] = inode
        inode.nlookup += 1
        return Entry(inode.attr, entry_valid=math.inf if inode.parent else inode.valid)

    def _absence(self, directory: Inode, name: str) -> Entry:
        """Return what the kernel is told of a name that is not there."""
        if len(self._absent) >= _MAX_ABSENT:
            raise FuseError(errno.ENOENT)
        valid = math.inf
        if isinstance(directory.node, AskedDirectory):
            valid = directory.valid
        else:
            self._absent.add((directory.attr.ino, name))
        return Entry.negative(valid)

    def forget(self, request: Forget) -> None:
        """Take lookups off an inode."""
        inode = self._inodes.get(request.nodeid)
        if inode is not None:
            inode.nlookup -= request.nlookup
            self._let_go(inode)

    def _let_go(self, inode: Inode) -> None:
        """Drop an inode that neither the kernel nor a handle needs."""
        if inode.nlookup <= 0 and not inode.nopen and inode.attr.ino != ROOT:
            self._inodes.pop(inode.attr.ino, None)
            self.may_be_unused(inode)

    async def _drop_unused(self) -> None:
        """Call ``drop`` of what nothing is left of."""
        while self._unused:
            inode = self._unused.pop()
            if not inode.is_used and not inode.dropped:
                inode.dropped = True
                await inode.node.drop()

    async def _keep_dropping(self) -> None:
        """Drop what the program has removed, for as long as the mount lives."""
        while True:
            await self._some_unused.wait()
            self._some_unused = trio.Event()
            await self._drop_unused()

    def _check_writable(self, node: Node) -> None:
        if self._read_only or not node.writable:
            raise FuseError(errno.EROFS)


def _renewed(former: Inode, newer: Inode) -> Inode:
    """Give the inode of an older object the attributes of a newer one."""
    number = former.attr.ino
    former.attr = newer.attr
    former.attr.ino = number
    former.fresh_until, former.valid = newer.fresh_until, newer.valid
    former.node = newer.node
    newer.node._inode = former  # noqa: SLF001  (the tree is its friend)
    return former
